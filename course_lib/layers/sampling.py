"""Reading pictures between their pixels: deformable convolution; lesson 08 builds it.

Dai et al. 2017, "Deformable convolutional networks", with the modulation of Zhu et al.
2019, "Deformable ConvNets v2": ``y(p) = sum_k w_k x(p + p_k + offset_k) m_k``.
"""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.holes import nearest
from course_lib.tensors import ContractError

Pair = tuple[int, int]
Geometry = tuple[Pair, Pair, Pair, Pair]  # kernel, stride, padding, dilation


def deform_conv2d(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    modulation: Tensor | None = None,
) -> Tensor:
    """A convolution whose reads are moved: ``(N, C, H, W)`` -> ``(N, out, H', W')``.

    ``weight (out, C, kh, kw)`` has n = kh * kw taps, counted row by row. ``offsets
    (N, 2 n, H', W')``: for each tap dy, then dx, in pixels. ``modulation (N, n, H',
    W')`` scales each read. Reads are bilinear, and zero outside the picture. Equal to
    ``torchvision.ops.deform_conv2d``, in values and in gradients; one group. Raises
    ``ContractError`` when shapes do not belong together.
    """
    if x.dim() != 4 or weight.dim() != 4 or x.shape[1] != weight.shape[1]:
        raise ContractError(
            f"x {tuple(x.shape)} must be (N, C, H, W) and weight {tuple(weight.shape)} "
            "(out, C, kh, kw), with the same C"
        )
    kernel = (weight.shape[2], weight.shape[3])
    shape = (x, kernel, pair(stride), pair(padding), pair(dilation))
    _check(offsets, modulation, len(x), prod(kernel), output_size(*shape))
    positions = tap_positions(*shape) + by_tap(offsets)
    return weighted(read(x, positions), weight, bias, modulation)


def faster(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    modulation: Tensor | None,
) -> Tensor:
    """The same without bias, by the form that is faster where ``x`` is.

    On a CPU ours, six times faster there and back than torchvision's operator
    (``benchmarks/deformable.py``); on CUDA that operator, which is written for it.
    """
    geometry = (stride, padding, dilation)
    if not x.is_cuda:
        return deform_conv2d(x, offsets, weight, None, *geometry, modulation)
    return torchvisions(x, offsets, weight, *geometry, modulation)


def torchvisions(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    modulation: Tensor | None,
) -> Tensor:
    """torchvision's operator, in the precision of positions, as ours reads."""
    from torchvision.ops import deform_conv2d as operator

    precise = exact(x)
    given = [value.to(precise) for value in (x, offsets, weight)]
    mask = None if modulation is None else modulation.to(precise)
    with torch.autocast(x.device.type, enabled=False):
        y = operator(*given, None, stride, padding, dilation, mask)
    return y.to(weight.dtype)


def tap_positions(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Where each tap of a window reads before it is moved: ``(n, 2, H', W')``.

    Row and column in pixels of ``x``, whole numbers, in the precision of positions.
    """
    size = output_size(x, kernel, stride, padding, dilation)
    taps, starts = [], []
    for axis in (0, 1):
        place = torch.arange(size[axis], device=x.device) * stride[axis]
        starts.append(place - padding[axis])
        taps.append(torch.arange(kernel[axis], device=x.device) * dilation[axis])
    rows = (taps[0][:, None] + starts[0])[:, None, :, None]
    columns = (taps[1][:, None] + starts[1])[None, :, None, :]
    both = torch.broadcast_tensors(rows, columns)
    return torch.stack(both, 2).flatten(0, 1).to(exact(x))


def read(x: Tensor, positions: Tensor) -> Tensor:
    """``x (N, C, H, W)`` at ``positions (N, n, 2, H', W')`` -> ``(N, C, n, H', W')``.

    Bilinear between the four pixels around, zero outside the picture. Computed in
    float32 (float64 for float64): in half precision positions beyond 256 would be
    whole numbers. ``x`` is padded to sides that are powers of two, because then
    ``grid_sample``'s coordinates are exact: a whole position reads one pixel only,
    whatever lies beside it.
    """
    count, _, height, width = x.shape
    sides = [1 << (side - 1).bit_length() for side in (height, width)]
    x = x.to(positions.dtype)
    if sides != [height, width]:
        x = F.pad(x, (0, sides[1] - width, 0, sides[0] - height))
    row, column = positions.unbind(2)
    # However far outside, be it infinitely: nothing is read, nothing overflows
    outside = (row < -1) | (row > height) | (column < -1) | (column > width)
    grid = torch.stack([(2 * column + 1) / sides[1] - 1, (2 * row + 1) / sides[0] - 1])
    grid = grid.masked_fill(outside, -4).movedim(0, -1)
    found = F.grid_sample(
        x,
        grid.reshape(count, -1, 1, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return found.view(count, -1, *row.shape[1:])


def weighted(
    reads: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    modulation: Tensor | None = None,
) -> Tensor:
    """The sum over taps: ``reads (N, C, n, H', W')`` -> ``(N, out, H', W')``.

    One product with the matrix ``weight (out, C * n)``, as a convolution of one pixel.
    """
    if modulation is not None:
        reads = reads * modulation[:, None].to(reads.dtype)
    matrix = weight.flatten(1)[:, :, None, None]
    return F.conv2d(reads.flatten(1, 2).to(weight.dtype), matrix, bias)


def padded(values: Tensor, geometry: Geometry, outside: float) -> Tensor:
    """``values (N, C, H, W)`` with the padding of a convolution around them."""
    rows, columns = geometry[2]
    return F.pad(values, (columns, columns, rows, rows), value=outside)


def windows(values: Tensor, geometry: Geometry) -> Tensor:
    """What each tap finds where it is not moved: ``(N, n, C, H', W')``.

    ``values`` are padded already.
    """
    size, step, _, gap = geometry
    for axis in (0, 1):
        span = gap[axis] * (size[axis] - 1) + 1
        values = values.unfold(2 + axis, span, step[axis])[..., :: gap[axis]]
    return values.permute(0, 4, 5, 1, 2, 3).flatten(1, 2)


@torch.no_grad()
def ways(share: Tensor, known_from: float, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """What is unknown, and from each place the step to the nearest known one.

    ``share (N, 1, H, W)`` is validity; known is what reaches ``known_from``, or in a
    sample without that its highest. Returns ``(N, 1, .., ..)`` and ``(N, 2, .., ..)``
    of the padded picture; outside is unknown.
    """
    most = share.amax((1, 2, 3), keepdim=True).clamp(max=known_from)
    unknown = ((share < most) | (share == 0)).to(share.dtype)
    hole = padded(unknown, geometry, 1.0)
    rows, columns = (torch.arange(n, device=hole.device) for n in hole.shape[2:])
    here = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return hole, (nearest(hole) - here).to(share.dtype)


def known_features(found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """All features, 0 where nothing is known, else times how much is."""
    each = [
        torch.where(valid > 0, x, 0) * valid.detach().to(x.dtype) for x, valid in found
    ]
    return each[0] if len(each) == 1 else torch.cat(each, 1)


def known_share(found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Validity of all channels together, their mean: ``(N, 1, H, W)``, exact."""
    precise = exact(found[0][0])
    each = [
        valid.detach().to(precise).sum(1, keepdim=True) * (x.shape[1] // valid.shape[1])
        for x, valid in found
    ]
    channels = sum(x.shape[1] for x, _ in found)
    return torch.stack(each).sum(0) / channels


def by_tap(offsets: Tensor) -> Tensor:
    """``(N, 2 n, H', W')``, dy and dx of each tap, -> ``(N, n, 2, H', W')``."""
    return offsets.to(exact(offsets)).unflatten(1, (-1, 2))


def output_size(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Pair:
    """``(H', W')`` of a convolution of ``x (N, C, H, W)``; at least 1, or an error."""
    found = []
    for axis, side in enumerate(x.shape[-2:]):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        room = side + 2 * padding[axis] - reach
        if room < 0:
            raise ContractError(
                f"a window of {reach} pixels does not fit a side of {side} with "
                f"padding {padding[axis]}"
            )
        found.append(room // stride[axis] + 1)
    return found[0], found[1]


def pair(value: int | Pair) -> Pair:
    """One number for both axes, or rows and columns apart."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def exact(x: Tensor) -> torch.dtype:
    """The precision of positions: float64 beside float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check(
    offsets: Tensor, modulation: Tensor | None, count: int, taps: int, size: Pair
) -> None:
    wanted = {"offsets": (offsets, 2 * taps), "modulation": (modulation, taps)}
    for name, (value, channels) in wanted.items():
        expected = (count, channels, *size)
        if value is not None and value.shape != expected:
            raise ContractError(
                f"{name} has shape {tuple(value.shape)}, expected {expected}: for each "
                f"of {taps} taps and each place of the output"
            )
