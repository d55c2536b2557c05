"""Pictures of any size for networks made for one: padded, in tiles; lesson 11.

``fill_any(network, image, hole)`` is the fill of a picture that the network itself
would refuse for its sides, or that is too large to be given to it at once.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import holes
from course_lib.tensors import ContractError, check_pair, composite, hide

Network = Callable[[Tensor, Tensor], Tensor]
Padding = Literal["reflect", "replicate", "missing"]
Spans = list[tuple[int, int]]

TILE, OVERLAP = 128, 32  # pixels; the shipped networks were trained on 128


@torch.no_grad()
def fill_any(
    network: Network,
    image: Tensor,
    hole: Tensor,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    padding: Padding = "replicate",
    coarse: bool = True,
) -> Tensor:
    """The picture with its hole filled by ``network(image, hole)``, whatever its size.

    ``image (N, 3, H, W)`` in ``[0, 1]``, ``hole (N, 1, H, W)`` -> ``(N, 3, H, W)``.
    Known pixels come back bit-exact; what the hole hides is never read. The network is
    given its own floats: a float64 picture is float32 to a float32 network.

    A side that is no multiple of ``network.factor`` (1 where there is none) is padded
    for the network and cut again, see :func:`padded`. A side longer than ``tile``
    pixels is cut into tiles that overlap by ``overlap`` or more and are put together by
    :func:`feather`; only tiles that touch the hole are computed.

    A tile sees nothing of the rest, so one inside a large hole would see nothing at
    all. With ``coarse``, pixels of the hole further than a quarter of a tile from
    anything known are therefore taken from the picture at half its size, filled first
    by the same rule, and count as known afterwards: large holes get their broad colours
    from a small picture and their rim from a large one. Where one tile is the whole
    picture the answer is the network's own.

    Raises ``ContractError`` for tiles that do not suit the network or their overlap,
    and for a picture without a known pixel.
    """
    check_pair(image, hole)
    _check(tile, overlap, _factor(network), hole)
    if max(image.shape[-2:]) > tile and coarse:
        image, open_ = _deep_filled(network, image, hole, tile, overlap, padding)
    else:
        open_ = hole
    shown, missing = padded(hide(image, open_), open_, _factor(network), padding)
    made = _in_tiles(network, shown, missing, tile, overlap)
    height, width = image.shape[-2:]
    return composite(made[..., :height, :width], image, open_)


def padded(
    image: Tensor, hole: Tensor, factor: int, padding: Padding = "replicate"
) -> tuple[Tensor, Tensor]:
    """Picture and hole, made longer below and right until ``factor`` divides the sides.

    Picture and hole go on alike: ``"replicate"`` repeats the last row and column,
    ``"reflect"`` mirrors at the border; with ``"missing"`` what is added is missing.
    Returns both, ``(N, 3, H', W')`` and ``(N, 1, H', W')``. Raises ``ContractError``
    for another ``padding``.
    """
    if padding not in get_args(Padding):
        raise ContractError(
            f"padding {padding!r}, expected one of {', '.join(get_args(Padding))}: "
            "choose among these"
        )
    rows, columns = (
        _continued(side, _up_to(side, factor), padding) for side in image.shape[-2:]
    )
    wide, missing = (x[..., rows[:, None], columns] for x in (image, hole))
    if padding == "missing":
        missing = missing.clone()
        missing[..., image.shape[-2] :, :] = 1
        missing[..., image.shape[-1] :] = 1
    return wide, missing


def spans(length: int, tile: int, overlap: int) -> Spans:
    """Where the tiles of one side begin and end: evenly spread, as few as possible.

    Neighbours share ``overlap`` pixels or more; the first begins at 0, the last ends
    at ``length``; a side not longer than a tile is one span.
    """
    if length <= tile:
        return [(0, length)]
    gaps = math.ceil((length - tile) / (tile - overlap))
    starts = [round(k * (length - tile) / gaps) for k in range(gaps + 1)]
    return [(start, start + tile) for start in starts]


def feather(length: int, tile: int, overlap: int) -> Tensor:
    """How much each tile counts at each pixel of a side: ``(tiles, length)``, float64.

    A tile's weight rises from its edge over ``overlap`` pixels by a quarter of a
    squared sine wave, which has no kink, and falls alike; not at the picture's own
    border. Divided by their sum, so the weights of all tiles add up to one.
    """
    found = torch.zeros(len(cut := spans(length, tile, overlap)), length).double()
    for weights, (first, end) in zip(found, cut, strict=True):
        inside = torch.arange(first, end, dtype=torch.float64) + 0.5
        away = [inside - first] * (first > 0) + [end - inside] * (end < length)
        weights[first:end] = 1
        for distance in away:
            share = (distance / max(overlap, 1)).clamp(max=1)
            weights[first:end] *= (share * math.pi / 2).sin().square()
    return found / found.sum(0)


def tiles_touched(hole: Tensor, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """The tiles, as rows and columns, that some sample's hole ``(N, 1, H, W)`` touches.

    These are computed, all others are known throughout.
    """
    return [
        (slice(*rows), slice(*columns))
        for _, rows, columns in _placed(hole, tile, overlap)
        if hole[..., slice(*rows), slice(*columns)].any()
    ]


# ---- the parts ----


def _in_tiles(
    network: Network, image: Tensor, hole: Tensor, tile: int, overlap: int
) -> Tensor:
    """The network's answer for padded pictures, put together from tiles; 0 elsewhere.

    Each picture has its own tiles: those that only another's hole touches are left out.
    """
    made, own = torch.zeros_like(image), _dtype(network, image)
    down, across = (feather(side, tile, overlap) for side in image.shape[-2:])
    alone = len(down) == len(across) == 1
    for (i, j), rows, columns in _placed(hole, tile, overlap):
        place = (..., slice(*rows), slice(*columns))
        touched = hole[place].flatten(1).any(1).nonzero().flatten()
        if not len(touched):
            continue
        shown, missing = (x[place][touched].to(own) for x in (image, hole))
        answer = network(shown, missing).to(image.dtype)
        if not alone:  # times 1 would be exact, but a NaN's place would be lost
            weight = torch.outer(down[i, slice(*rows)], across[j, slice(*columns)])
            answer = answer * weight.to(answer)
        made[place].index_add_(0, touched, answer)
    return made


def _placed(
    hole: Tensor, tile: int, overlap: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    down, across = (spans(side, tile, overlap) for side in hole.shape[-2:])
    for (i, rows), (j, columns) in product(enumerate(down), enumerate(across)):
        yield (i, j), rows, columns


def _deep_filled(
    network: Network,
    image: Tensor,
    hole: Tensor,
    tile: int,
    overlap: int,
    padding: Padding,
) -> tuple[Tensor, Tensor]:
    """Picture with deep pixels filled from half its size; what is still open."""
    deep = (holes.distance(hole) > tile // 4).to(hole.dtype)
    if not deep.any():
        return image, hole
    half = ((image.shape[-2] + 1) // 2, (image.shape[-1] + 1) // 2)
    known = F.adaptive_avg_pool2d(1 - hole, half)
    colours = F.adaptive_avg_pool2d(hide(image, hole, 0.0), half)
    small_hole = (known == 0).to(hole.dtype)
    small = (colours / known.clamp(min=1e-6)).clamp(0, 1)
    options = {"tile": tile, "overlap": overlap, "padding": padding}
    filled = fill_any(network, small, small_hole, **options)  # type: ignore[arg-type]
    large = F.interpolate(
        filled, image.shape[-2:], mode="bilinear", align_corners=False
    )
    return torch.where(deep.bool(), large, image), hole - deep


def _continued(side: int, length: int, padding: Padding) -> Tensor:
    """Which rows of a picture to take so that it has ``length`` of them."""
    place = torch.arange(length)
    if padding == "replicate" or side == 1:
        return place.clamp(max=side - 1)
    period = 2 * side - 2  # back and forth; the last row is not repeated
    return (side - 1) - ((place % period) - (side - 1)).abs()


def _up_to(side: int, factor: int) -> int:
    return math.ceil(side / factor) * factor


def _dtype(network: Network, image: Tensor) -> torch.dtype:
    """What a network computes in: its weights' type, or without any the picture's."""
    weights = network.parameters() if isinstance(network, nn.Module) else iter(())
    return next(weights, image).dtype


def _factor(network: Network) -> int:
    return int(getattr(network, "factor", 1))


def _check(tile: int, overlap: int, factor: int, hole: Tensor) -> None:
    if tile < 1 or tile % factor:
        raise ContractError(
            f"tile {tile}: this network needs a multiple of {factor}, such as "
            f"{max(1, round(tile / factor)) * factor}"
        )
    if not 0 <= overlap <= tile // 2:
        raise ContractError(
            f"overlap {overlap} with tiles of {tile}: from 0 to {tile // 2} is possible"
        )
    full = hole.flatten(1).all(1).nonzero().flatten().tolist()
    if full:
        raise ContractError(
            f"the hole of sample {full[0]} covers the whole picture: nothing is known "
            "to fill it from. Leave at least one pixel"
        )
