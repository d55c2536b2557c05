"""Holes: what is missing. 1 = missing, 0 = known; lesson 01 builds each of them.

Makers return float ``(count, 1, H, W)`` on the CPU and draw from the generator that is
passed in. ``size`` is a side or ``(H, W)``.
"""

import math
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_lib import photos
from course_lib.session import ASSETS
from course_lib.tensors import check_hole, hide

Size = int | tuple[int, int]
Generator = torch.Generator

BUCKETS = ((0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))
MARGIN = 0.1  # share of the side that holes "without border" keep free
OCCLUSIONS = ASSETS / "holes" / "occlusions.png"
OCCLUSION_SIDE = 256


class HoleError(ValueError):
    """A hole that cannot be made or read as asked."""


# ---------------------------------------------------------------- rectangles, strokes


def rectangles(
    count: int,
    size: Size,
    generator: Generator,
    *,
    side: tuple[float, float] = (0.25, 0.5),
    per_picture: int = 1,
    margin: float = 0.0,
) -> Tensor:
    """Axis-parallel rectangles, the holes of the first deep inpainters.

    Height and width are drawn apart, each ``side`` times the picture's; the place is
    uniform, ``margin`` times the picture's side away from the border. 64 of 128 px
    take about 2 ms on one CPU core (``benchmarks/makers.py``).
    Raises ``HoleError`` if such a rectangle does not fit.
    """
    height, width = _pair(size)
    if not 0 < side[0] <= side[1] <= 1 - 2 * margin:
        raise HoleError(
            f"side {side} with margin {margin}: need 0 < low <= high <= 1 - 2 * margin"
        )
    if any(n <= 2 * math.ceil(margin * n) for n in (height, width)):
        raise HoleError(f"size {size} has no room inside a margin of {margin}")
    draws = torch.rand(4, count, per_picture, generator=generator)
    inside = torch.ones(count, per_picture, height, width, dtype=torch.bool)
    for axis, length in ((0, height), (1, width)):
        extent = side[0] + (side[1] - side[0]) * draws[axis]
        gap = math.ceil(margin * length)
        pixels = (extent * length).round().clamp(1, length - 2 * gap)
        room = length - 2 * gap - pixels
        first = gap + (draws[2 + axis] * (room + 1)).floor().clamp(max=room)
        place = torch.arange(length)
        along = (place >= first[..., None]) & (place < (first + pixels)[..., None])
        inside &= along[..., None] if axis == 0 else along[..., None, :]
    return inside.any(1, keepdim=True).float()


def strokes(
    count: int,
    size: Size,
    generator: Generator,
    *,
    per_picture: tuple[int, int] = (1, 3),
    vertices: tuple[int, int] = (4, 11),
    width: tuple[float, float] = (12 / 256, 40 / 256),
) -> Tensor:
    """Free-form brush strokes: random walks that zigzag up and down.

    After algorithm 1 of Yu et al. 2019 with the constants of their code: each stroke
    has ``vertices`` segments; they head about 72 degrees above and below one
    direction along the rows, in turn: a zigzag that drifts; a segment is about an
    eighth of the diagonal long; joints are round; half of the strokes are mirrored in
    rows, half in columns, which balances the drift (the published code means to and
    does not, so that most of its strokes drift to the right). The brush ``width`` is a
    share of the picture's geometric mean side, because the published 12 to 40 pixels
    fit 256-pixel pictures only. Every hole has at least one pixel. 64 of 128 px take
    about 10 ms on one CPU core (``benchmarks/makers.py``).
    """
    height, width_px = _pair(size)
    most = per_picture[1]
    points, brush, used = _walks(count * most, vertices, height, width_px, generator)
    brush = (width[0] + (width[1] - width[0]) * brush) * math.sqrt(height * width_px)
    drawn = torch.randint(per_picture[0], most + 1, (count, 1), generator=generator)
    used = used & (torch.arange(most) < drawn).reshape(-1, 1)
    which = torch.arange(count).repeat_interleave(most)[:, None].expand_as(used)
    radius = (brush / 2).clamp(min=0.71)[:, None].expand_as(used)
    start, end = points[:, :-1], points[:, 1:]
    return _capsules(
        count, (height, width_px), which[used], start[used], end[used], radius[used]
    )


def _walks(
    count: int, vertices: tuple[int, int], height: int, width: int, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Joints ``(count, V+1, 2)`` as (y, x), brush in [0, 1], used ``(count, V)``."""
    most = vertices[1]
    mean_angle, spread = 2 * math.pi / 5, 2 * math.pi / 15
    draw = torch.rand(count, most, 2, generator=generator)
    around = mean_angle + spread * (2 * draw[:, :1, 1] - 1)  # one centre for a stroke
    angle = around + spread * (2 * draw[..., 0] - 1)
    up = torch.arange(most) % 2 == 0
    angle = torch.where(up, 2 * math.pi - angle, angle)
    unit = math.hypot(height, width) / 8
    length = torch.randn(count, most, generator=generator) * unit / 2 + unit
    step = length.clamp(0, 2 * unit)[..., None] * torch.stack(
        [angle.sin(), angle.cos()], -1
    )
    scale = torch.tensor([float(height), float(width)])
    position = torch.rand(count, 2, generator=generator) * scale
    joints = [position]
    for k in range(most):  # a walk is sequential: each step is kept in the picture
        position = torch.minimum((position + step[:, k]).clamp(min=0), scale)
        joints.append(position)
    number = torch.randint(vertices[0], most + 1, (count, 1), generator=generator)
    brush = torch.rand(count, generator=generator)
    mirrored = torch.rand(count, 1, 2, generator=generator) < 0.5
    points = torch.stack(joints, 1)
    points = torch.where(mirrored, scale - points, points)
    return points, brush, torch.arange(most) < number


def _capsules(
    count: int,
    size: tuple[int, int],
    which: Tensor,
    start: Tensor,
    end: Tensor,
    radius: Tensor,
) -> Tensor:
    """Draw thick round segments: in each row of pixels, one is a run from x to x."""
    height, width = size
    low = (torch.minimum(start[:, 0], end[:, 0]) - radius - 0.5).ceil().clamp(min=0)
    high = (torch.maximum(start[:, 0], end[:, 0]) + radius - 0.5).floor()
    rows = (high.clamp(max=height - 1) - low + 1).clamp(min=0).long()
    segment = torch.arange(len(rows)).repeat_interleave(rows)
    first = (rows.cumsum(0) - rows).repeat_interleave(rows)
    y = low.long()[segment] + torch.arange(len(segment)) - first
    left, right = _runs(y + 0.5, start[segment], end[segment], radius[segment])
    left = (left - 0.5).ceil().clamp(0, width).long()
    right = (right - 0.5).floor().clamp(-1, width - 1).long() + 1
    row = which[segment] * height + y
    edges = torch.zeros(count * height, width + 1)
    some = left < right
    for x, sign in ((left, 1.0), (right, -1.0)):  # a run opens, and closes
        change = torch.full((int(some.sum()),), sign)
        edges.index_put_((row[some], x[some]), change, accumulate=True)
    return (edges.cumsum(1)[:, :width] > 0).float().view(count, 1, height, width)


def _runs(
    y: Tensor, start: Tensor, end: Tensor, radius: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the line at height ``y`` enters and leaves a capsule; inf, -inf if not.

    A capsule is two discs and the band between them; it is convex, so that the
    leftmost entry and the rightmost exit of the three are its own.
    """
    along = end - start
    length = along.norm(dim=1).clamp(min=1e-9)
    dy, dx = (along / length[:, None]).unbind(1)
    lefts, rights = [], []
    for centre in (start, end):
        half = (radius.square() - (y - centre[:, 0]).square()).sqrt()  # NaN: no disc
        lefts.append((centre[:, 1] - half).nan_to_num(math.inf))
        rights.append((centre[:, 1] + half).nan_to_num(-math.inf))
    # in the band: |across| <= radius and 0 <= forward <= length, both linear in x
    rise = y - start[:, 0]
    band = [_between(dy, -dx * rise, -radius, radius)]
    band += [_between(dx, dy * rise, torch.zeros_like(length), length)]
    lefts.append(start[:, 1] + torch.maximum(band[0][0], band[1][0]))
    rights.append(start[:, 1] + torch.minimum(band[0][1], band[1][1]))
    empty = (lefts[2] > rights[2]) | (length < 1e-6)  # a point has no band
    lefts[2] = lefts[2].masked_fill(empty, math.inf)
    rights[2] = rights[2].masked_fill(empty, -math.inf)
    return torch.stack(lefts).amin(0), torch.stack(rights).amax(0)


def _between(
    slope: Tensor, offset: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """The x with ``low <= slope * x + offset <= high``: from and to."""
    flat = slope.abs() < 1e-7
    safe = torch.where(flat, 1.0, slope)
    one, two = (low - offset) / safe, (high - offset) / safe
    inside = (low <= offset) & (offset <= high)
    everywhere = torch.where(inside, math.inf, -math.inf)
    left = torch.where(flat, -everywhere, torch.minimum(one, two))
    right = torch.where(flat, everywhere, torch.maximum(one, two))
    return left, right


# -------------------------------------------------------------- holes from optical flow


def inconsistent(forward: Tensor, backward: Tensor) -> Tensor:
    """Where forward and backward optical flow disagree: occluded or uncovered pixels.

    ``forward`` and ``backward`` are ``(N, 2, H, W)`` in pixels, channel 0 along rows,
    channel 1 along columns: ``second(p + forward(p)) = first(p)``. A pixel p is marked
    when ``|w + b(p + w)|^2 > 0.01 (|w|^2 + |b(p + w)|^2) + 0.5`` (the check of
    Sundaram et al. 2010), or when it leaves the picture. Returns ``(N, 1, H, W)``.
    """
    returned, inside = _look_up(backward, forward)
    gap = (forward + returned).square().sum(1, keepdim=True)
    size = (forward.square() + returned.square()).sum(1, keepdim=True)
    agree = (gap <= 0.01 * size + 0.5) & inside  # NaN agrees with nothing
    return (~agree).to(forward.dtype)


def _look_up(field: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """``field`` read bilinearly at ``p + flow(p)``, and which of these lie inside."""
    height, width = flow.shape[-2:]
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y, x = rows + flow[:, 0], columns + flow[:, 1]
    inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    read = F.grid_sample(field, grid, padding_mode="border", align_corners=False)
    return read, inside[:, None]


def optical_flow(first: Tensor, second: Tensor) -> Tensor:
    """TV-L1 optical flow from ``first`` to ``second`` by scikit-image: (1, 2, H, W).

    Two images ``(1, 3, H, W)``; grey values are compared. About a second at 128 px.
    Raises ``HoleError`` for a batch.
    """
    if len(first) != 1 or first.shape != second.shape:
        raise HoleError(
            f"optical_flow takes one pair of equal size, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}; call it for each pair"
        )
    from skimage.registration import optical_flow_tvl1

    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    pair = (first.detach().cpu(), second.detach().cpu())
    grey = [(image * weights).sum(1)[0].numpy() for image in pair]
    flow = optical_flow_tvl1(*grey)
    return torch.from_numpy(np.ascontiguousarray(flow))[None].float()


def moving_pair(
    background: Tensor, foreground: Tensor, generator: Generator, motion: float = 0.08
) -> tuple[Tensor, Tensor, Tensor]:
    """Two frames in which a piece of one photo moves over another photo.

    ``background`` and ``foreground`` are ``(1, 3, S, S)``. The background pans a
    little; a random blob cut from the foreground moves by about ``motion`` sides.
    Returns the first frame, the second frame, and the true motion from the first to
    the second ``(1, 2, S, S)`` in pixels.
    """
    size = background.shape[-1]
    angle = torch.rand(2, generator=generator) * 2 * math.pi
    reach = torch.tensor([motion * size, 0.3 * motion * size])
    shift = (reach[:, None] * torch.stack([angle.sin(), angle.cos()], 1)).round()
    blob = _blob(size, generator)
    still = torch.zeros(1, 2, size, size)
    move, pan = (still + s.view(1, 2, 1, 1) for s in shift)
    first = torch.where(blob > 0, foreground, background)
    moved_blob = (_look_up(blob, -move)[0] > 0.5).float()
    moved_front = _look_up(foreground, -move)[0]
    second = torch.where(moved_blob > 0, moved_front, _look_up(background, -pan)[0])
    return first, second, torch.where(blob > 0, move, pan)


def _blob(size: int, generator: Generator) -> Tensor:
    """A random smooth region covering about a third of the picture."""
    coarse = torch.randn(1, 1, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return (smooth > smooth.flatten().quantile(0.65)).float()


@lru_cache(1)
def occlusions() -> Tensor:
    """The bundled raw occlusion maps ``(K, 1, 256, 256)``, thin as the check left them.

    Made by ``course.py weights occlusions`` from moving pairs of training photos.
    """
    if not OCCLUSIONS.exists():
        raise HoleError(
            f"{OCCLUSIONS.name} is missing: run `python3 course.py weights occlusions`"
        )
    sheet = torch.from_numpy(np.array(Image.open(OCCLUSIONS).convert("L")))
    side = OCCLUSION_SIDE
    tiles = sheet.unfold(0, side, side).unfold(1, side, side).reshape(-1, 1, side, side)
    return (tiles > 127).float()


def irregular(
    count: int,
    size: Size,
    generator: Generator,
    *,
    dilation: tuple[float, float] = (9 / 512, 49 / 512),
    threshold: float = 0.6,
) -> Tensor:
    """Irregular holes: occlusions of moving pictures, moved, turned and dilated.

    The recipe of Liu et al. 2018: random rotation, translation and crop, threshold
    0.6, then dilation by 9 to 49 pixels at 512 (here ``dilation`` shares of the side).
    Every hole has at least one pixel.
    """
    height, width = _pair(size)
    if count == 0:
        return torch.zeros(0, 1, height, width)
    bank = occlusions()
    pick = torch.randint(len(bank), (count,), generator=generator)
    turned = _turn(bank[pick], (height, width), generator)
    thin = (turned > threshold).float()
    empty = thin.flatten(1).sum(1) == 0
    thin[empty, :, height // 2, width // 2] = 1
    draw = torch.rand(count, generator=generator)
    pixels = (dilation[0] + (dilation[1] - dilation[0]) * draw) * min(height, width)
    return dilate(thin, pixels / 2)


def _turn(hole: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Random rotation, mirror, translation and crop, resampled once, bilinearly."""
    count = len(hole)
    draw = torch.rand(count, 5, generator=generator)
    angle = 2 * math.pi * draw[:, 0]
    zoom = 0.5 + 0.5 * draw[:, 1]
    mirror = torch.where(draw[:, 2] < 0.5, -1.0, 1.0)
    shift = (draw[:, 3:] - 0.5) * 0.8
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = [torch.stack([cos * mirror, -sin, shift[:, 0]], 1)]
    rows += [torch.stack([sin * mirror, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 1, *size], align_corners=False)
    return F.grid_sample(hole, grid, align_corners=False)


# ------------------------------------------------------------------- measure and change


def ratio(hole: Tensor) -> Tensor:
    """The share of missing pixels of each sample, ``(N,)``."""
    return hole.flatten(1).mean(1)


def bucket(hole: Tensor) -> Tensor:
    """The hole-ratio bucket of each sample, ``(N,)`` integers, -1 outside all.

    Bucket k holds ratios in ``(BUCKETS[k][0], BUCKETS[k][1]]``, as in Liu et al. 2018.
    """
    sides = [low for low, _ in BUCKETS] + [BUCKETS[-1][1]]
    edges = torch.tensor(sides, dtype=torch.float64)
    missing = hole.flatten(1).count_nonzero(1).cpu().double()
    found = torch.bucketize(missing / hole.shape[-2:].numel(), edges) - 1
    return torch.where(found < len(BUCKETS), found, -1)


def touches_border(hole: Tensor, margin: float = MARGIN) -> Tensor:
    """Whether a hole comes nearer to the border than ``margin`` sides, ``(N,)``."""
    top, left = (math.ceil(margin * n) for n in hole.shape[-2:])
    inner = hole[..., top : hole.shape[-2] - top, left : hole.shape[-1] - left]
    missing, within = hole.flatten(1), inner.flatten(1)  # sums of halves would round
    return missing.count_nonzero(1) > within.count_nonzero(1)


def distance(hole: Tensor) -> Tensor:
    """Exact Euclidean distance of each pixel to the nearest known pixel, in pixels.

    ``(N, 1, H, W)`` float64 on the hole's device (float32 where that has no float64:
    MPS); 0 on known pixels, 1 on the rim of the hole. What lies outside the picture
    is not known. A sample without a known pixel gets infinity. Computed by SciPy on
    the CPU, wherever the hole is.
    """
    from scipy.ndimage import distance_transform_edt

    missing = (hole != 0).cpu().numpy()  # NumPy has no bfloat16
    found = np.full(missing.shape, np.inf)
    for field, sample in zip(found, missing, strict=True):
        if not sample.all():
            field[0] = distance_transform_edt(sample[0])
    return torch.from_numpy(found).to(hole.device, _exact_dtype(hole.device))


def nearest(hole: Tensor) -> Tensor:
    """The row and column of the known pixel nearest to each pixel: ``(N, 2, H, W)``.

    Whole numbers (int64) on the hole's device. A known pixel is its own nearest; of
    several at the same distance one is taken, always the same. In a sample without a
    known pixel each is its own. Computed by SciPy on the CPU, as ``distance`` is.
    """
    from scipy.ndimage import distance_transform_edt

    missing = (hole[:, 0] != 0).cpu().numpy()
    found = np.empty((len(missing), 2, *missing.shape[1:]), dtype=np.int64)
    found[:] = np.indices(missing.shape[1:])
    for places, sample in zip(found, missing, strict=True):
        if sample.any() and not sample.all():
            places[:] = distance_transform_edt(
                sample, return_distances=False, return_indices=True
            )
    return torch.from_numpy(found).to(hole.device)


def nearest_fill(image: Tensor, hole: Tensor) -> Tensor:
    """Each missing pixel takes the colour of the nearest known one; grey if none is.

    ``image (N, C, H, W)``, ``hole (N, 1, H, W)`` -> ``(N, C, H, W)``. What the hole
    hides is not read.
    """
    row, column = nearest(hole).unbind(1)
    flat = (row * hole.shape[-1] + column).flatten(1)[:, None]
    found = hide(image, hole).flatten(2)
    return found.gather(2, flat.expand_as(found)).view_as(image)


def _exact_dtype(device: torch.device) -> torch.dtype:
    """The longest floats of a device.

    float32 still tells all distances apart up to a side of 1024: they are roots of
    whole numbers up to 2 * 1023 ** 2.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def dilate(hole: Tensor, radius: float | Tensor) -> Tensor:
    """The hole grown by a disc of ``radius`` pixels, one number or one per sample."""
    away = distance(1 - hole)  # of a known pixel to the hole
    reach = torch.as_tensor(radius, dtype=away.dtype, device=hole.device)
    return (away <= reach.reshape(-1, 1, 1, 1)).to(hole.dtype)


def grow(hole: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """The hole grown or shrunk to ``target`` ratios ``(N,)``, pixel by pixel.

    Pixels join in the order of their distance to the hole, and leave deepest last; a
    frame of ``margin`` sides stays known. Exact to one pixel. Raises ``HoleError``
    when the frame leaves too little room, or a hole is empty.
    """
    height, width = hole.shape[-2:]
    top, left = (math.ceil(margin * n) for n in (height, width))
    frame = torch.ones(1, 1, height, width, device=hole.device)
    frame[..., top : height - top, left : width - left] = 0
    pixels = (target * height * width).round().long()
    room = int(frame.numel() - frame.sum())
    if int(pixels.max()) > room:
        raise HoleError(
            f"ratio {float(target.max()):.3f} does not fit: margin {margin} leaves "
            f"{room / frame.numel():.3f} of the picture"
        )
    order = distance(1 - hole) - distance(hole).clamp(max=1e6)
    if order.isinf().any():
        raise HoleError("cannot grow an empty hole: it has no place to grow from")
    order = order.masked_fill(frame.bool(), math.inf).flatten(1)
    rank = order.argsort(dim=1, stable=True).argsort(dim=1)
    return (rank < pixels[:, None]).reshape(hole.shape).to(hole.dtype)


def resize(hole: Tensor, size: Size) -> Tensor:
    """The hole at another size, nearest neighbour: it stays 0 or 1.

    Raises ``ContractError`` if ``hole`` is not binary before.
    """
    check_hole(hole)
    return F.interpolate(hole, _pair(size), mode="nearest-exact")


# -------------------------------------------------------------------- benchmark, files


@dataclass(frozen=True)
class Benchmark:
    """A fixed set of holes: ``hole (N, 1, S, S)``, ``bucket (N,)``, ``border (N,)``.

    ``border`` is true where a hole comes nearer to the border than ``MARGIN`` sides.
    """

    hole: Tensor
    bucket: Tensor
    border: Tensor

    def __len__(self) -> int:
        """How many holes there are."""
        return len(self.hole)


def benchmark(size: int, per_cell: int = 4, seed: int = 0) -> Benchmark:
    """Holes of known size for every method: 6 ratio buckets, with and without border.

    ``per_cell`` holes for each of the 12 cells, half strokes and half irregular,
    grown to a ratio drawn evenly from the bucket; without border, a frame of
    ``MARGIN`` sides stays known; with border, a hole that misses the border is moved
    to the left one. The same arguments give the same holes.
    """
    generator = torch.Generator().manual_seed(seed)
    parts, buckets, borders = [], [], []
    for number, (low, high) in enumerate(BUCKETS):
        for border in (True, False):
            half = per_cell // 2
            shapes = [strokes(per_cell - half, size, generator)]
            shapes += [irregular(half, size, generator)]
            draw = torch.rand(per_cell, generator=generator) * 0.98 + 0.01
            target = low + (high - low) * draw
            grown = grow(torch.cat(shapes), target, 0.0 if border else MARGIN)
            parts.append(_to_border(grown) if border else grown)
            buckets += [number] * per_cell
            borders += [border] * per_cell
    return Benchmark(torch.cat(parts), torch.tensor(buckets), torch.tensor(borders))


def _to_border(hole: Tensor) -> Tensor:
    """Move each hole that stays clear of the border to the left, until it touches."""
    moved = hole.clone()
    for k in (~touches_border(hole)).nonzero().flatten().tolist():
        empty_columns = int(hole[k].any(dim=-2).flatten().float().argmax())
        moved[k] = hole[k].roll(-empty_columns, dims=-1)
    return moved


def from_files(
    source: str | Path | Iterable[Path],
    size: Size,
    *,
    hole_is: Literal["white", "black"],
    limit: int | None = None,
) -> Tensor:
    """Read hole pictures, such as the NVIDIA irregular set: a folder, zip, or paths.

    ``hole_is`` says which colour is missing and has no default, because the two
    halves of the NVIDIA set disagree: its test holes are white, its training holes
    black. Resized nearest, cut at half. Raises ``HoleError`` for a file that is no
    picture, no file at all, or an average ratio above the last bucket (0.6), the
    sign of the wrong colour.
    """
    _check_colour(hole_is)
    pictures = [_read_grey(file, size) for file in islice(_hole_files(source), limit)]
    if not pictures:
        raise HoleError(f"{source} holds no PNG, JPEG or WebP file")
    white = torch.stack(pictures)[:, None] > 0.5
    hole = (white if hole_is == "white" else ~white).float()
    share = float(hole.mean())
    if share > BUCKETS[-1][1]:
        other = "black" if hole_is == "white" else "white"
        raise HoleError(
            f"{share:.0%} of the pixels would be missing with hole_is={hole_is!r}: "
            f"the colours look swapped, try hole_is={other!r}"
        )
    return hole


def read(path: str | Path, size: Size, *, hole_is: Literal["white", "black"]) -> Tensor:
    """One hole picture, read as by ``from_files``: ``(1, 1, H, W)``, of any ratio.

    Raises ``HoleError`` for a file that is no picture.
    """
    _check_colour(hole_is)
    white = _read_grey(Path(path), size)[None, None] > 0.5
    return (white if hole_is == "white" else ~white).float()


def files(folder: str | Path) -> list[Path]:
    """The PNG, JPEG and WebP files in a folder and those inside it, in order.

    The ``._NAME`` files of a Mac are left out.
    Raises ``HoleError`` if there are none.
    """
    found = [p for p in _hole_files(Path(folder)) if isinstance(p, Path)]
    if not found:
        raise HoleError(f"{folder} holds no PNG, JPEG or WebP file")
    return found


def _hole_files(source: str | Path | Iterable[Path]) -> Iterator[Path | IO[bytes]]:
    """The files one after the other, so that a large archive is not held open whole."""
    if not isinstance(source, str | Path):
        yield from source
        return
    path = Path(source).expanduser()
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if _is_picture(p.name))
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if _is_picture(name.rpartition("/")[2]):
                    with archive.open(name) as file:
                        yield file
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise HoleError(f"{path} is neither a folder nor a zip file") from error


def _is_picture(name: str) -> bool:
    endings = (".png", ".jpg", ".jpeg", ".webp")
    return name.lower().endswith(endings) and not name.startswith("._")  # a Mac's


def _check_colour(hole_is: str) -> None:
    if hole_is not in ("white", "black"):
        raise HoleError(f"hole_is must be 'white' or 'black', not {hole_is!r}")


def _read_grey(file: Path | IO[bytes], size: Size) -> Tensor:
    height, width = _pair(size)
    try:
        with Image.open(file) as picture:
            grey = photos.eight_bits(picture).convert("L")
            resized = grey.resize((width, height), Image.Resampling.NEAREST)
            return torch.from_numpy(np.array(resized)).float() / 255
    except Exception as error:  # a damaged file makes a reader raise of any kind
        raise HoleError(
            f"{getattr(file, 'name', file)} is no picture: {error}"
        ) from error


def _pair(size: Size) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise HoleError(f"size {size} must be positive")
    return height, width
