"""Exercises of lesson 08: deformable dynamic sampling."""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Any

import torch
from torch import Tensor

import course_lib as cl
from course_lib.exercises import Cases, Exercise
from course_lib.exercises.mistakes import Judge, Mistakes, answers


def _numbers(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _shares(draw: torch.Generator, *shape: int) -> Tensor:
    """Evenly from 0 to 1."""
    return torch.rand(shape, generator=draw, dtype=torch.float64)


# ------------------------------------------------------------------------------- 08.1


def bilinear(x: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """What a picture shows at one place, which may lie between its pixels.

    ``x`` is (N, C, H, W); ``row`` and ``column`` are floats, in pixels. Pixel centres
    are at whole numbers: 0.0, 0.0 is the first pixel of the first row. The place lies
    in a square of four pixels. Each is multiplied with the share (1 - distance in rows)
    * (1 - distance in columns), and they are added up. Pixels outside the picture are
    0, and the place may be outside too, however far.

    Where a share is 0, the pixel is not looked at: it may be NaN. Returns (N, C), of
    the dtype of ``x``.
    """
    height, width = x.shape[2:]
    top, left = int(row // 1), int(column // 1)
    total = x.new_zeros(x.shape[:2])
    for i in (top, top + 1):
        for j in (left, left + 1):
            share = (1 - abs(row - i)) * (1 - abs(column - j))
            if share > 0 and 0 <= i < height and 0 <= j < width:
                total = total + share * x[:, :, i, j]
    return total


def _place_cases() -> Cases:
    draw = torch.Generator().manual_seed(81)
    x, tall = _numbers(draw, 2, 3, 5, 7), _numbers(draw, 1, 1, 9, 2)
    torn, turned = x.clone(), _numbers(draw, 3, 6, 4, 2).permute(3, 0, 2, 1)
    torn[..., 2, 4] = torch.nan
    return {
        "between four pixels": (x, 1.3, 4.6),
        "a whole row": (x, 2.0, 3.25),
        "a pixel's centre": (x, 3.0, 5.0),
        "outside, above": (x, -1.6, 2.25),
        "just above the picture": (x, -0.3, 2.25),
        "left of it": (x, 1.25, -0.875),
        "below the last row": (x, 4.4, 1.5),
        "right of the last column": (x, 0.5, 6.7),
        "outside a corner": (x, 4.6, 6.2),
        "the last pixel": (x, 4.0, 6.0),
        "one pixel outside": (x, -1.0, 3.0),
        "far outside": (x, -40.5, 3e6),
        "NaN beside a pixel's centre": (torn, 2.0, 3.0),
        "NaN above the row, not contiguous": (torn.mT, 5.0, 1.5),
        "one sample, one channel, tall": (tall, 7.75, 0.125),
        "a picture of one pixel": (x[..., 2:3, 3:4], 0.25, -0.5),
        "float32": (x.float(), 2.4, 0.7),
        "channels last": (turned, 0.1, 4.9),
    }


def _zero_outside(x: Tensor, i: int, j: int) -> Tensor:
    inside = 0 <= i < x.shape[2] and 0 <= j < x.shape[3]
    return x[:, :, i, j] if inside else x.new_zeros(x.shape[:2])


def _kept(total: Tensor, inside: float) -> Tensor:
    return total


@dataclass(frozen=True)
class _Place:
    """The reference with other functions in the places of its own; looks at all four.

    ``end`` is also given the sum of the shares inside the picture.
    """

    at: Callable[[float, float], tuple[float, float]] = lambda row, column: (
        row,
        column,
    )
    first: Callable[[float], int] = floor
    share: Callable[[float, float], float] = lambda down, right: (
        (1 - down) * (1 - right)
    )
    pixel: Callable[[Tensor, int, int], Tensor] = _zero_outside
    end: Callable[[Tensor, float], Tensor] = _kept

    def __call__(self, x: Tensor, row: float, column: float) -> Tensor:
        row, column = self.at(row, column)
        top, left = self.first(row), self.first(column)
        total, inside = x.new_zeros(x.shape[:2]), 0.0
        for i, down in ((top, row - top), (top + 1, top + 1 - row)):
            for j, right in ((left, column - left), (left + 1, left + 1 - column)):
                share = self.share(down, right)
                total = total + share * self.pixel(x, i, j)
                inside += share * (0 <= i < x.shape[2] and 0 <= j < x.shape[3])
        return self.end(total, inside)


def _nearest(x: Tensor, row: float, column: float) -> Tensor:
    return _zero_outside(x, floor(row + 0.5), floor(column + 0.5)).clone()


def _first_of_four(x: Tensor, row: float, column: float) -> Tensor:
    return _zero_outside(x, floor(row), floor(column)).clone()


def _border(x: Tensor, i: int, j: int) -> Tensor:
    height, width = x.shape[2:]
    return x[:, :, min(max(i, 0), height - 1), min(max(j, 0), width - 1)]


def _mirror(x: Tensor, i: int, j: int) -> Tensor:
    """Mirrored once around the pixels of the border."""
    last = (x.shape[2] - 1, x.shape[3] - 1)
    i, j = (min(abs(at), 2 * end - at) for at, end in zip((i, j), last, strict=True))
    return _zero_outside(x, i, j)


def _from_the_end(x: Tensor, i: int, j: int) -> Tensor:
    """A negative index, as Python has it."""
    height, width = x.shape[2:]
    there = -height <= i < height and -width <= j < width
    return x[:, :, i, j] if there else x.new_zeros(x.shape[:2])


BILINEAR: Mistakes = {
    "NaN times 0": (
        _Place(),
        "NaN times a share of 0 is NaN: leave out pixels whose share is 0",
    ),
    "NaN taken for 0": (
        lambda *case: _Place()(*case).nan_to_num(),
        "NaN was replaced after the sum, which then is 0: leave out pixels whose share "
        "is 0 before it",
    ),
    "all or nothing": (
        _Place(end=lambda total, inside: total if inside > 0.999 else 0 * total),
        "a place partly outside was set to 0: the pixels inside still count",
    ),
    "shares made 1 again": (
        _Place(end=lambda total, inside: total / inside if inside else total),
        "shares were divided by their sum inside the picture: what is outside is 0, "
        "and it counts",
    ),
    "rows and columns swapped": (
        _Place(at=lambda row, column: (column, row)),
        "row and column are swapped: the third axis of x counts rows, the last columns",
    ),
    "nearest": (
        _nearest,
        "this is the nearest pixel alone: mix the four around the place",
    ),
    "the first of four": (
        _first_of_four,
        "this is the pixel above and to the left alone: mix all four",
    ),
    "shares swapped": (
        _Place(share=lambda down, right: down * right),
        "each pixel has its opposite's share: the nearer, the more it counts",
    ),
    "four alike": (
        _Place(share=lambda down, right: 0.25),
        "all four count alike: the share depends on the distance",
    ),
    "mixed along rows only": (
        _Place(share=lambda down, right: (down < 0.5) * (1 - right)),
        "columns are mixed and rows are not: multiply two shares",
    ),
    "mixed along columns only": (
        _Place(share=lambda down, right: (1 - down) * (right < 0.5)),
        "rows are mixed and columns are not: multiply two shares",
    ),
    "centres at halves": (
        _Place(at=lambda row, column: (row - 0.5, column - 0.5)),
        "this is half a pixel off: the centre of the first pixel is at 0.0, 0.0",
    ),
    "one pixel off": (
        _Place(at=lambda row, column: (row - 1, column - 1)),
        "this is one pixel off, up and to the left",
    ),
    "cut, not floored": (
        _Place(first=int),
        "int() rounds towards 0: for negative numbers take the floor",
    ),
    "the border repeated": (
        _Place(pixel=_border),
        "outside, the border's pixel is repeated: there is 0",
    ),
    "mirrored at the border": (
        _Place(pixel=_mirror),
        "outside, the picture is mirrored: there is 0",
    ),
    "counted from the end": (
        _Place(pixel=_from_the_end),
        "a negative index counts from the end: outside is 0 on all four sides",
    ),
}


# ------------------------------------------------------------------------------- 08.2


def deform(
    x: torch.Tensor, offsets: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """A deformable convolution: each read of each window is moved by its own offset.

    ``x`` is (N, C, H, W), ``weight`` (out, C, kh, kw), kh and kw odd. The stride is 1;
    padding with kh // 2 rows and kw // 2 columns of zeros keeps the size H x W. A
    window has n = kh * kw taps, counted row by row. ``offsets`` (N, 2 * n, H, W) has
    for each place of the output, tap after tap, dy and then dx, in pixels: so far down
    and so far right of where an ordinary convolution reads it, the tap is read.

    Given is ``cl.layers.sampling.read(x, positions)``: ``positions`` (N, n, 2, H, W),
    row and column in pixels of ``x`` without padding, are read as in exercise 08.1; it
    returns (N, C, n, H, W). Returns y (N, out, H, W), the sum of all that a window
    reads times its weights, as ``torch.nn.functional.conv2d`` where all offsets are 0.
    Gradients reach ``x``, ``offsets`` and ``weight``.
    """
    tall, wide = weight.shape[2:]
    row, column = torch.arange(x.shape[2]), torch.arange(x.shape[3])
    down = torch.arange(tall).repeat_interleave(wide) - tall // 2
    right = torch.arange(wide).repeat(tall) - wide // 2
    rows = (down[:, None, None] + row[:, None]).expand(-1, -1, len(column))
    columns = (right[:, None, None] + column).expand(-1, len(row), -1)
    positions = torch.stack([rows, columns], 1) + offsets.unflatten(1, (-1, 2))
    reads = cl.layers.sampling.read(x, positions)
    return torch.einsum("nckhw,ock->nohw", reads, weight.flatten(2))


def _deform_cases() -> Cases:
    draw = torch.Generator().manual_seed(82)

    def case(x: Tensor, out: int, tall: int, wide: int, far: float = 1.5) -> Any:
        size = (x.shape[1], tall, wide)
        offsets = far * _numbers(draw, len(x), 2 * tall * wide, *x.shape[2:])
        return x, offsets, _numbers(draw, out, *size)

    x, small = _numbers(draw, 2, 3, 7, 9), _numbers(draw, 1, 2, 5, 4)
    turned = _numbers(draw, 2, 9, 6, 3).permute(0, 3, 2, 1)
    still = case(x, 2, 3, 3, 0)
    whole = case(small, 3, 3, 3, 2)
    moved = case(turned, 2, 3, 3)
    return {
        "a batch, 3 x 3": case(x, 4, 3, 3),
        "no offsets": still,
        "whole offsets": (small, whole[1].round(), whole[2]),
        "5 x 5": case(x, 2, 5, 5),
        "a window of three rows and one column": case(small, 2, 3, 1),
        "a window of one row and five columns": case(x, 2, 1, 5),
        "one tap": case(small, 3, 1, 1),
        "far offsets, many outside": case(x, 1, 3, 3, 6),
        "one channel, one output": case(small[:, :1], 1, 3, 3),
        "not contiguous": (moved[0], moved[1].mT.contiguous().mT, moved[2]),
    }


Kernel = tuple[int, int]


def _by_tap(offsets: Tensor, kernel: Kernel) -> Tensor:
    return offsets.unflatten(1, (-1, 2))


def _taps(kernel: Kernel) -> Tensor:
    """Row and column of each tap from the middle: ``(n, 2)``."""
    tall, wide = kernel
    down, right = torch.arange(tall) - tall // 2, torch.arange(wide) - wide // 2
    return torch.cartesian_prod(down, right).view(-1, 2)


def _places(height: int, width: int) -> Tensor:
    """Row and column of each place: ``(2, H, W)``."""
    lines = torch.arange(height), torch.arange(width)
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))


def _add(taps: Tensor, places: Tensor, moved: Tensor) -> Tensor:
    return taps[:, :, None, None] + places + moved


def _weighted(reads: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("nckhw,ock->nohw", reads, weight.flatten(2))


@dataclass(frozen=True)
class _Deform:
    """The reference with other functions in the places of its own."""

    x: Callable[[Tensor], Tensor] = torch.clone
    moved: Callable[[Tensor, Kernel], Tensor] = _by_tap
    taps: Callable[[Kernel], Tensor] = _taps
    places: Callable[[int, int], Tensor] = _places
    add: Callable[[Tensor, Tensor, Tensor], Tensor] = _add
    weight: Callable[[Tensor], Tensor] = torch.clone
    end: Callable[[Tensor, Tensor], Tensor] = _weighted

    def __call__(self, x: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
        kernel = (weight.shape[2], weight.shape[3])
        moved, taps = self.moved(offsets, kernel), self.taps(kernel)
        positions = self.add(taps, self.places(*x.shape[2:]), moved)
        reads = cl.layers.sampling.read(self.x(x), positions)
        return self.end(reads, self.weight(weight))


def _moved_by_column(offsets: Tensor, kernel: Kernel) -> Tensor:
    """Taps listed column by column, taken for a list row by row."""
    apart = offsets.unflatten(1, (kernel[1], kernel[0], 2))
    return apart.transpose(1, 2).flatten(1, 2)


def _clamped(taps: Tensor, places: Tensor, moved: Tensor) -> Tensor:
    last = torch.tensor(places.shape[1:]).view(2, 1, 1) - 1
    return _add(taps, places, moved).clamp(min=torch.zeros_like(last), max=last)


DEFORMED: Mistakes = {
    "dx before dy": (
        _Deform(moved=lambda offsets, kernel: _by_tap(offsets, kernel).flip(2)),
        "offsets are taken as dx, dy: dy, the way down, comes first",
    ),
    "all dy, then all dx": (
        _Deform(
            moved=lambda offsets, kernel: offsets.unflatten(1, (2, -1)).transpose(1, 2)
        ),
        "all dy are taken to stand before all dx: each tap has its dy and dx side by "
        "side, so (n, 2), not (2, n)",
    ),
    "offsets column by column": (
        _Deform(moved=_moved_by_column),
        "the offsets are given to the taps column by column: taps count row by row",
    ),
    "taps column by column": (
        _Deform(taps=lambda kernel: _taps(kernel[::-1]).flip(1)),
        "the taps' places are listed column by column: row by row, as offsets and "
        "weights are",
    ),
    "offsets not added": (
        _Deform(add=lambda taps, places, moved: _add(taps, places, 0 * moved)),
        "this is an ordinary convolution: add the offsets",
    ),
    "offsets subtracted": (
        _Deform(add=lambda taps, places, moved: _add(taps, places, -moved)),
        "the offsets are subtracted: dy counts down, dx to the right",
    ),
    "offsets rounded": (
        _Deform(add=lambda taps, places, moved: _add(taps, places, moved.round())),
        "the offsets were rounded: reads may lie between pixels",
    ),
    "half of each offset": (
        _Deform(moved=lambda offsets, kernel: _by_tap(offsets, kernel) / 2),
        "the offsets were halved: they are in pixels as they come",
    ),
    "one offset for all taps": (
        _Deform(
            moved=lambda offsets, kernel: _by_tap(offsets, kernel)[:, :1].expand(
                -1, kernel[0] * kernel[1], 2, -1, -1
            )
        ),
        "all taps are moved by the first one's offset: each has its own",
    ),
    "one sample's offsets for all": (
        _Deform(
            moved=lambda offsets, kernel: _by_tap(
                offsets[:1].expand_as(offsets), kernel
            )
        ),
        "all samples are moved by the first one's offsets: each has its own",
    ),
    "padding not subtracted": (
        _Deform(taps=lambda kernel: _taps(kernel) - _taps(kernel)[0]),
        "the window starts at its place: its middle must lie there, so subtract the "
        "padding",
    ),
    "padding of 1 always": (
        _Deform(taps=lambda kernel: _taps(kernel) - _taps(kernel)[0] - 1),
        "the padding is 1 for every window: it is kh // 2 and kw // 2",
    ),
    "padding added": (
        _Deform(taps=lambda kernel: _taps(kernel) - 3 * _taps(kernel)[0]),
        "the padding was added: subtract it, positions have none",
    ),
    "places forgotten": (
        _Deform(places=lambda height, width: 0 * _places(height, width)),
        "all windows lie in one corner: add the row and column of the output's place",
    ),
    "taps forgotten": (
        _Deform(taps=lambda kernel: 0 * _taps(kernel)),
        "all taps begin in the middle: add where each lies in the window",
    ),
    "rows and columns swapped": (
        _Deform(add=lambda *parts: _add(*parts).flip(2)),
        "positions are given as column, row: the row comes first",
    ),
    "kept inside the picture": (
        _Deform(add=_clamped),
        "positions were kept inside the picture: outside it, zeros are read",
    ),
    "a mean over the taps": (
        _Deform(
            end=lambda reads, weight: _weighted(reads, weight) / weight[0, 0].numel()
        ),
        "this is a mean over the taps: it is their sum",
    ),
    "the kernel turned round": (
        _Deform(weight=lambda weight: weight.flip(2, 3)),
        "the kernel is turned round: conv2d does not flip",
    ),
    "channels summed first": (
        _Deform(
            end=lambda reads, weight: torch.einsum(
                "nkhw,ok->nohw", reads.sum(1), weight.flatten(2).sum(1)
            )
        ),
        "channels were added up before the product: each has its own weights",
    ),
    "ReLU at the end": (
        _Deform(end=lambda reads, weight: _weighted(reads, weight).relu()),
        "values below 0 are cut: nothing comes after the sum",
    ),
}


# ------------------------------------------------------------------------------- 08.3


def spread(positions: torch.Tensor) -> torch.Tensor:
    """How far apart the reads of each window lie, in pixels; 0 = all at one point.

    ``positions`` (N, n, 2, H, W) are the row and the column, in pixels, of the n reads
    at each place. The middle of a window's reads is the mean of their positions.
    Returns (N, 1, H, W), of the dtype of ``positions``: the root of the mean, over the
    n reads, of the squared distance from this middle. Distances are those in the plane:
    rows and columns belong together. Reads a thousand pixels away from row 0, column 0
    are no less exact in float32.
    """
    middle = positions.mean(1, keepdim=True)
    squared = (positions - middle).square().sum(2)
    return squared.mean(1, keepdim=True).sqrt()


def _spread_cases() -> Cases:
    draw = torch.Generator().manual_seed(83)
    wide = 3 * _numbers(draw, 2, 9, 2, 5, 7) + 4
    window = _taps((3, 3)).double().view(1, 9, 2, 1, 1)
    point = _numbers(draw, 1, 1, 2, 4, 3).expand(1, 9, 2, 4, 3).contiguous()
    line = wide.clone()
    line[:, :, 1] = 2
    far = 1000 + _numbers(draw, 2, 5, 2, 3, 4)
    return {
        "a batch, nine reads": (wide,),
        "windows of 3 x 3 as they begin": (window + _places(4, 6),),
        "the same, 7 pixels apart": (7 * window + _places(4, 6),),
        "all at one point": (point,),
        "two points": (torch.cat([point[:, :2], point[:, :6] + 2], 1),),
        "in one column": (line,),
        "one read": (wide[:, :1],),
        "two reads, odd sides": (wide[:1, :2, :, :3],),
        "not contiguous": (wide.transpose(3, 4),),
        "float32": (wide.float(),),
        "float32, a thousand pixels away": (far.float(),),
    }


def _middle(positions: Tensor) -> Tensor:
    return positions.mean(1, keepdim=True)


def _squares(apart: Tensor) -> Tensor:
    return apart.square().sum(2)


def _root_mean(squared: Tensor) -> Tensor:
    return squared.mean(1, keepdim=True).sqrt()


@dataclass(frozen=True)
class _Spread:
    """The reference with other functions in the places of its own."""

    middle: Callable[[Tensor], Tensor] = _middle
    squared: Callable[[Tensor], Tensor] = _squares
    end: Callable[[Tensor], Tensor] = _root_mean

    def __call__(self, positions: Tensor) -> Tensor:
        return self.end(self.squared(positions - self.middle(positions)))


def _between_reads(positions: Tensor) -> Tensor:
    """From every read to every other, itself included."""
    apart = positions[:, :, None] - positions[:, None]
    return apart.square().sum(3).mean((1, 2))[:, None].sqrt()


def _squares_less_square(positions: Tensor) -> Tensor:
    variance = positions.square().mean(1, keepdim=True) - _middle(positions).square()
    return variance.sum(2).clamp(min=0).sqrt()


def _unbiased(squared: Tensor) -> Tensor:
    return (squared.sum(1, keepdim=True) / (squared.shape[1] - 1)).sqrt()


def _over_places(value: Tensor) -> Tensor:
    return value.mean((2, 3), keepdim=True).expand_as(value).clone()


def _place_of_reads(positions: Tensor) -> Tensor:
    """Each read from the middle of all places' reads with its number."""
    return positions.mean((3, 4), keepdim=True)


SPREAD: Mistakes = {
    "from the middle tap": (
        _Spread(middle=lambda p: p[:, p.shape[1] // 2, None]),
        "distances are from the window's middle tap: the middle is the mean of all "
        "positions",
    ),
    "from the first tap": (
        _Spread(middle=lambda p: p[:, :1]),
        "distances are from the first tap: the middle is the mean of all positions",
    ),
    "from zero": (
        _Spread(middle=lambda p: 0 * p),
        "distances are from row 0, column 0: subtract the middle of the reads",
    ),
    "from the median": (
        _Spread(middle=lambda p: p.median(1, keepdim=True).values),
        "distances are from the median: the middle is the mean",
    ),
    "from the middle of the extremes": (
        _Spread(middle=lambda p: (p.amin(1, True) + p.amax(1, True)) / 2),
        "distances are from halfway between the extremes: the middle is the mean",
    ),
    "one middle for all places": (
        _Spread(middle=lambda p: p.mean((1, 3, 4), keepdim=True)),
        "one middle was taken for all windows: each has its own",
    ),
    "over places": (
        _Spread(middle=_place_of_reads),
        "the mean goes over places: it goes over a window's reads, axis 1",
    ),
    "over the batch": (
        _Spread(middle=lambda p: p.mean(0, keepdim=True)),
        "the mean goes over the batch: it goes over a window's reads, axis 1",
    ),
    "no root": (
        _Spread(end=lambda squared: squared.mean(1, keepdim=True)),
        "this is the variance, in squared pixels: take the root",
    ),
    "no mean": (
        _Spread(end=lambda squared: squared.sum(1, keepdim=True).sqrt()),
        "squared distances were added up: take their mean over the n reads",
    ),
    "n - 1": (
        _Spread(end=_unbiased),
        "the sum of squares was divided by n - 1: divide by n",
    ),
    "a mean over the axes": (
        _Spread(squared=lambda apart: apart.square().mean(2)),
        "this is a mean over rows and columns: the squared distance is their sum",
    ),
    "each axis by itself": (
        lambda p: p.std(1, correction=0).sum(1, keepdim=True),
        "rows and columns each have a root, added afterwards: add first, one root",
    ),
    "rows alone": (
        _Spread(squared=lambda apart: apart[:, :, 0].square()),
        "only rows are counted: add the squares of the columns",
    ),
    "columns alone": (
        _Spread(squared=lambda apart: apart[:, :, 1].square()),
        "only columns are counted: add the squares of the rows",
    ),
    "along the axes": (
        _Spread(squared=lambda apart: apart.abs().sum(2).square()),
        "the distance is counted along rows and columns: in the plane it is the root "
        "of the sum of squares",
    ),
    "the mean distance": (
        _Spread(end=lambda squared: squared.sqrt().mean(1, keepdim=True)),
        "this is the mean distance: square first, root last",
    ),
    "the largest distance": (
        _Spread(end=lambda squared: squared.amax(1, keepdim=True).sqrt()),
        "this is the largest distance: take the root of the mean square",
    ),
    "between the reads": (
        _between_reads,
        "distances are between pairs of reads: measure each from the middle",
    ),
    "one number for a sample": (
        _Spread(end=lambda squared: _over_places(_root_mean(squared))),
        "this is a mean over the places: each place has its own number",
    ),
    "the square of the mean subtracted": (
        _squares_less_square,
        "the mean square less the square of the mean: far from 0 both are large, and "
        "their difference has no digits left. Subtract the middle first",
    ),
}


# ------------------------------------------------------------------------------- 08.4


def knowing_sum(
    reads: torch.Tensor,
    seen: torch.Tensor,
    modulation: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """The sum of what was read, corrected for how much of it is known.

    At each place n points were read. ``reads`` (N, C, n, H, W) are the features found
    there, multiplied with validity already, so 0 where nothing is known. ``seen``
    (N, n, H, W), 0 to 1, is the validity found there; ``modulation`` (N, n, H, W), at
    least 0, scales each read; ``weight`` is (out, C, n).

    Returns y (N, out, H, W): the sum over channels and points of weight * modulation *
    reads, times n / s, where s is the sum over the points of modulation * seen. Where
    s is not above 1e-3, y is exactly 0. Gradients reach all four arguments and are
    finite everywhere; from places where y was set to 0 comes none.
    """
    found = torch.einsum("nckhw,nkhw,ock->nohw", reads, modulation, weight)
    total = (modulation * seen).sum(1, keepdim=True)
    known = total > 1e-3
    found = found * (weight.shape[2] / torch.where(known, total, 1))
    return torch.where(known, found, 0)


def _sum_cases() -> Cases:
    draw = torch.Generator().manual_seed(84)

    def case(
        seen: Tensor, channels: int, out: int, modulation: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        count, points, *size = seen.shape
        features = _numbers(draw, count, channels, points, *size)
        if modulation is None:
            modulation = 2 * _shares(draw, *seen.shape) + 0.1
        weight = _numbers(draw, out, channels, points)
        return features * seen[:, None], seen, modulation, weight

    part = _shares(draw, 2, 9, 5, 7) * (_shares(draw, 2, 9, 5, 7) < 0.6)
    part[:, 0] = 0.5
    gaps, ones = part.clone(), torch.ones(1, 9, 4, 5, dtype=torch.float64)
    gaps[0, :, 1:4, 2:6] = 0
    binary = (_shares(draw, 2, 9, 6, 5) < 0.3).double()
    hardly, shut = part.clone(), 2 * _shares(draw, 2, 9, 5, 7) + 0.1
    hardly[:, :, 2:] *= 5e-5
    hardly[..., 2:, 1:3] = 0
    shut[..., 4:] *= 1e-5
    shut[:, 0, 0, 4:] += 0.003  # times 0.5: s is just above
    wide = case(part, 3, 2)
    return {
        "a batch, some points unknown": wide,
        "nothing, or hardly anything known": case(hardly, 3, 2),
        "hardly known, or all but shut": case(hardly, 2, 3, shut),
        "nothing known at some places": case(gaps, 3, 4),
        "known or not, whole": case(binary, 2, 3),
        "all known, modulation 1": case(ones, 3, 2, ones.clone()),
        "all known, modulated": case(ones, 2, 2),
        "nothing known": case(0 * ones, 2, 3),
        "modulation 0": case(part, 2, 2, 0 * part),
        "one point": case(part[:, :1], 3, 2),
        "one channel, 25 points, one output": case(_shares(draw, 1, 25, 3, 4), 1, 1),
        "not contiguous": tuple(a.mT.contiguous().mT for a in wide),
    }


def _counted(seen: Tensor, modulation: Tensor) -> Tensor:
    return (modulation * seen).sum(1, keepdim=True)


def _products(reads: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("nckhw,nkhw,ock->nohw", reads, modulation, weight)


def _corrected(found: Tensor, total: Tensor, points: int) -> Tensor:
    return found * points / total


def _above(total: Tensor, seen: Tensor) -> Tensor:
    return total > 1e-3


@dataclass(frozen=True)
class _Sum:
    """The reference with other functions in the places of its own."""

    seen: Callable[[Tensor], Tensor] = torch.clone
    scale: Callable[[Tensor], Tensor] = torch.clone
    found: Callable[[Tensor, Tensor, Tensor], Tensor] = _products
    total: Callable[[Tensor, Tensor], Tensor] = _counted
    known: Callable[[Tensor, Tensor], Tensor] = _above
    end: Callable[[Tensor, Tensor, int], Tensor] = _corrected

    def __call__(
        self, reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
    ) -> Tensor:
        seen, modulation = self.seen(seen), self.scale(modulation)
        found = self.found(reads, modulation, weight)
        total = self.total(seen, modulation)
        known = self.known(_counted(seen, modulation), seen)
        safe = torch.where(known & (total > 0), total, 1)
        return torch.where(known, self.end(found, safe, weight.shape[2]), 0)


def _validity_again(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    return knowing_sum(reads * seen[:, None], seen, modulation, weight)


def _kept_from_0(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    total = _counted(seen, modulation).clamp(min=1e-3)
    return _products(reads, modulation, weight) * weight.shape[2] / total


def _a_little_added(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    total = _counted(seen, modulation) + 1e-8
    return _products(reads, modulation, weight) * weight.shape[2] / total


def _divided_by_0(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    total = _counted(seen, modulation)
    return _products(reads, modulation, weight) * weight.shape[2] / total


def _chosen_late(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    """Right values; but the gradient passes through the division by 0."""
    y = _divided_by_0(reads, seen, modulation, weight)
    return torch.where(_counted(seen, modulation) > 1e-3, y, 0)


SUMMED: Mistakes = {
    "not corrected": (
        _Sum(end=lambda found, total, points: found),
        "the sum is not corrected: times n / s",
    ),
    "n forgotten": (
        _Sum(end=lambda found, total, points: found / total),
        "n is missing: with everything known and modulation 1 the factor must be 1",
    ),
    "n counts channels": (
        _Sum(found=lambda reads, *rest: _products(reads, *rest) * reads.shape[1]),
        "n was counted with the channels: it is the number of points",
    ),
    "upside down": (
        _Sum(end=lambda found, total, points: found * total / points),
        "the factor is upside down: the less is known, the larger it is",
    ),
    "the root of the factor": (
        _Sum(end=lambda found, total, points: found * (points / total).sqrt()),
        "this is the root of the factor: take n / s itself",
    ),
    "modulation not above": (
        _Sum(found=lambda r, m, w: _products(r, torch.ones_like(m), w)),
        "the reads are not scaled: multiply by modulation there too",
    ),
    "modulation not below": (
        _Sum(total=lambda seen, modulation: seen.sum(1, keepdim=True)),
        "modulation is missing in s: add up modulation * seen",
    ),
    "modulation nowhere": (
        _Sum(scale=torch.ones_like),
        "modulation is not used: it scales the reads, and counts in s",
    ),
    "modulation alone below": (
        _Sum(total=lambda seen, modulation: modulation.sum(1, keepdim=True)),
        "validity is missing in s: add up modulation * seen",
    ),
    "modulation as shares": (
        _Sum(scale=lambda modulation: modulation.softmax(1)),
        "a softmax was taken over modulation: it is used as it is",
    ),
    "validity again": (
        _validity_again,
        "the reads were multiplied with validity again: they are already",
    ),
    "points counted, not added": (
        _Sum(total=lambda seen, m: _counted((seen > 0).to(seen.dtype), m)),
        "points with any validity count as known in s: add up validity itself",
    ),
    "points that know more than half": (
        _Sum(total=lambda seen, m: _counted((seen > 0.5).to(seen.dtype), m)),
        "validity was cut at one half: add up validity itself",
    ),
    "one s for the picture": (
        _Sum(
            total=lambda *each: (
                _counted(*each).mean((2, 3), True).expand_as(_counted(*each))
            )
        ),
        "s is a mean over the places: each place has its own",
    ),
    "all points or nothing": (
        _Sum(known=lambda total, seen: (seen > 0).all(1, keepdim=True)),
        "a place with any unknown point was set to 0: only where s is not above 1e-3",
    ),
    "one sample's validity for all": (
        _Sum(seen=lambda seen: seen[:1].expand_as(seen)),
        "all samples have the first one's validity: each has its own",
    ),
    "divided by 0": (
        _divided_by_0,
        "s can be 0: put a 1 in its place there before you divide",
    ),
    "a little added": (
        _a_little_added,
        "something small was added to s: where s is not above 1e-3, y is exactly 0",
    ),
    "s kept from 0": (
        _kept_from_0,
        "s was kept at 1e-3 or more, but y was not set to 0 there",
    ),
    "known above 0": (
        _Sum(known=lambda total, seen: total > 0),
        "only where s is 0 was y set to 0: the limit is 1e-3",
    ),
    "known without modulation": (
        _Sum(
            known=lambda total, seen: (seen.sum(1, keepdim=True) > 1e-3) & (total > 0)
        ),
        "the limit was asked of validity alone: ask it of s, with modulation",
    ),
}


# ------------------------------------------------------------------------------- 08.5


def selection_facts(shares: torch.Tensor) -> torch.Tensor:
    """How decided places are about their kernel, and whether they decide differently.

    ``shares`` (N, K, H, W), at least 0, have the sum 1 over K: how much of each of K
    kernels every place uses. The entropy of K shares is - sum share * log(share), in
    nats, with 0 * log(0) = 0: it is 0 if one kernel has all, log K if all have alike.

    Returns three numbers, a tensor (3,) of the dtype of ``shares``: [0] the mean of the
    entropy at each place, over all places of all samples; [1] the entropy of the mean
    share, which is the mean over all places of all samples; [2] the mutual information
    of place and kernel, [1] - [0]: what the place tells about the kernel.
    """
    each = -torch.xlogy(shares, shares).sum(1).mean()
    mean = shares.mean((0, 2, 3))
    whole = -torch.xlogy(mean, mean).sum()
    return torch.stack([each, whole, whole - each])


def _selection_cases() -> Cases:
    draw = torch.Generator().manual_seed(85)
    soft = (2 * _numbers(draw, 2, 3, 5, 7)).softmax(1)
    unlike = (soft + torch.eye(3, dtype=torch.float64)[:2, :, None, None]) / 2
    hard = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1)
    one = torch.zeros_like(soft)
    one[:, 2] = 1
    two = soft.clone()
    two[:, 0] = 0
    alike = soft[:1, :, :1, :1].expand(2, 3, 4, 6).contiguous()
    return {
        "a batch, three kernels": (soft,),
        "samples unlike each other": (unlike,),
        "each place one kernel": (hard,),
        "one kernel everywhere": (one,),
        "a kernel that no place uses": (two / two.sum(1, keepdim=True),),
        "all kernels alike": (torch.full((1, 4, 3, 5), 0.25, dtype=torch.float64),),
        "all places alike": (alike,),
        "a single kernel": (torch.ones_like(soft[:, :1]),),
        "one place": (soft[:1, :, 2:3, 3:4],),
        "eight kernels": (_numbers(draw, 1, 8, 3, 5).softmax(1),),
        "not contiguous": (soft.mT.contiguous().mT.transpose(0, 2).flip(0),),
        "float32": (soft.float(),),
    }


def _entropy(shares: Tensor, dim: int = 0) -> Tensor:
    return -torch.xlogy(shares, shares).sum(dim)


def _all_mean(shares: Tensor, entropy: Callable[..., Tensor]) -> Tensor:
    return entropy(shares.mean((0, 2, 3)))


def _each_mean(shares: Tensor, entropy: Callable[..., Tensor]) -> Tensor:
    return entropy(shares, 1).mean()


def _three(each: Tensor, whole: Tensor) -> list[Tensor]:
    return [each, whole, whole - each]


@dataclass(frozen=True)
class _Selection:
    """The reference with other functions in the places of its own."""

    shares: Callable[[Tensor], Tensor] = torch.clone
    entropy: Callable[..., Tensor] = _entropy
    each: Callable[[Tensor, Callable[..., Tensor]], Tensor] = _each_mean
    whole: Callable[[Tensor, Callable[..., Tensor]], Tensor] = _all_mean
    end: Callable[[Tensor, Tensor], list[Tensor]] = _three

    def __call__(self, shares: Tensor) -> Tensor:
        shares = self.shares(shares)
        each, whole = (part(shares, self.entropy) for part in (self.each, self.whole))
        return torch.stack(self.end(each, whole))


def _scaled(factor: float) -> _Selection:
    return _Selection(entropy=lambda shares, dim=0: factor * _entropy(shares, dim))


def _winners(shares: Tensor) -> Tensor:
    return torch.zeros_like(shares).scatter(1, shares.argmax(1, keepdim=True), 1)


def _in_shares_of_log_k(shares: Tensor) -> Tensor:
    return selection_facts(shares) / torch.tensor(shares.shape[1]).log()


def _each_sample(shares: Tensor, entropy: Callable[..., Tensor]) -> Tensor:
    return entropy(shares.mean((2, 3)), 1).mean()


SELECTED: Mistakes = {
    "log2": (
        _scaled(1 / torch.log(torch.tensor(2.0, dtype=torch.float64)).item()),
        "these are bits: use the natural logarithm, torch.log",
    ),
    "log10": (
        _scaled(1 / torch.log(torch.tensor(10.0, dtype=torch.float64)).item()),
        "this is the logarithm of base 10: use the natural one, torch.log",
    ),
    "in shares of log K": (
        _in_shares_of_log_k,
        "entropies were divided by log K: leave them in nats",
    ),
    "sign of the entropy": (
        _scaled(-1),
        "the sign of the entropy is wrong: it is never negative",
    ),
    "a mean over the kernels": (
        _Selection(
            entropy=lambda shares, dim=0: _entropy(shares, dim) / shares.shape[dim]
        ),
        "this is a mean over the kernels: the entropy is a sum over them",
    ),
    "swapped": (
        _Selection(end=lambda each, whole: [whole, each, whole - each]),
        "[0] and [1] are swapped: first the mean of the entropies",
    ),
    "sign of the information": (
        _Selection(end=lambda each, whole: [each, whole, each - whole]),
        "the information has the wrong sign: [1] - [0]",
    ),
    "the sum of both": (
        _Selection(end=lambda each, whole: [each, whole, whole + each]),
        "[2] is the difference of the two, [1] - [0], not the sum",
    ),
    "the ratio of both": (
        _Selection(end=lambda each, whole: [each, whole, 1 - each / whole]),
        "[2] is the difference of the two, [1] - [0], not a ratio",
    ),
    "both of the mean": (
        _Selection(each=_all_mean),
        "[0] is the entropy of the mean share too: first the entropy of each place, "
        "then the mean",
    ),
    "both of each place": (
        _Selection(whole=_each_mean),
        "[1] is a mean of entropies too: first the mean share, then its entropy",
    ),
    "a sum over the places": (
        _Selection(each=lambda shares, entropy: entropy(shares, 1).sum()),
        "[0] is a sum over the places: it is their mean",
    ),
    "over columns": (
        _Selection(each=lambda shares, entropy: entropy(shares, 3).mean()),
        "[0] is the entropy along a row of places: it goes over the kernels, axis 1",
    ),
    "each sample by itself": (
        _Selection(whole=_each_sample),
        "[1] takes the mean share of each sample: take one, over all samples",
    ),
    "the first sample alone": (
        _Selection(shares=lambda shares: shares[:1]),
        "only the first sample is counted: take all",
    ),
    "the mean of squares": (
        _Selection(entropy=lambda shares, dim=0: 1 - shares.square().sum(dim)),
        "this is 1 less the sum of squares: the entropy has a logarithm",
    ),
    "winners counted": (
        _Selection(shares=_winners),
        "only the largest share of each place was counted, as 1: use the shares",
    ),
    "softmax again": (
        _Selection(shares=lambda shares: shares.softmax(1)),
        "a softmax was taken again: the shares have the sum 1 already",
    ),
    "the number of kernels in use": (
        _Selection(end=lambda *both: [part.exp() for part in _three(*both)]),
        "these are the exponentials of the entropies: leave them in nats",
    ),
    "NaN at 0": (
        _Selection(entropy=lambda shares, dim=0: -(shares * shares.log()).sum(dim)),
        "0 times log(0) is NaN: count it as 0, for example with torch.xlogy",
    ),
}

EXERCISES = (
    Exercise(
        "08.1",
        reference=bilinear,
        cases=_place_cases,
        judge=Judge(bilinear, BILINEAR, 1e-6, 1e-5),
        wrong=answers(BILINEAR)
        | {
            "the first sample alone": lambda *case: bilinear(*case)[:1],
            "float32": lambda *case: bilinear(*case).float(),
        },
    ),
    Exercise(
        "08.2",
        reference=deform,
        cases=_deform_cases,
        atol=1e-9,
        rtol=1e-7,
        gradient=True,
        judge=Judge(deform, DEFORMED),
        wrong=answers(DEFORMED)
        | {
            "offsets detached": lambda x, offsets, w: deform(x, offsets.detach(), w),
            "features detached": _Deform(x=torch.detach),
            "the kernel detached": _Deform(weight=torch.detach),
        },
    ),
    Exercise(
        "08.3",
        reference=spread,
        cases=_spread_cases,
        judge=Judge(spread, SPREAD, 1e-5, 1e-5),
        wrong=answers(SPREAD)
        | {
            "an axis lost": lambda positions: spread(positions)[:, 0],
            "rows and columns apart": lambda p: p.std(1, correction=0),
        },
    ),
    Exercise(
        "08.4",
        reference=knowing_sum,
        cases=_sum_cases,
        atol=1e-7,  # of gradients, in which s is squared
        rtol=1e-6,
        gradient=True,
        judge=Judge(knowing_sum, SUMMED),
        wrong=answers(SUMMED)
        | {
            "chosen after the division": _chosen_late,
            "validity detached": _Sum(seen=torch.detach),
            "modulation detached": _Sum(scale=torch.detach),
            "s detached": _Sum(total=lambda *each: _counted(*each).detach()),
        },
    ),
    Exercise(
        "08.5",
        reference=selection_facts,
        cases=_selection_cases,
        judge=Judge(selection_facts, SELECTED, 1e-6, 1e-5),
        wrong=answers(SELECTED)
        | {"the information alone": lambda shares: selection_facts(shares)[2]},
    ),
)
