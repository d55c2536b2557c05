"""Exercises of lesson 11: at scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises import Cases, Exercise
from course_lib.exercises.mistakes import Judge, Mistakes, answers

# ------------------------------------------------------------------------------- 11.1


def positions(step: int, batch: int, process: int, processes: int) -> torch.Tensor:
    """Which positions of the training data one process takes in one step.

    Steps and processes are counted from 0. All processes together take the next
    ``batch * processes`` positions in each step, beginning at 0 in step 0; process 0
    has the first ``batch`` of them, process 1 the next ``batch``, and so on. Returns
    the positions of process number ``process`` in rising order: int64, shape (batch,).
    """
    first = (step * processes + process) * batch
    return torch.arange(first, first + batch)


def _position_cases() -> Cases:
    return {
        "the third of six, step 3": (3, 4, 2, 6),
        "the last of five": (2, 3, 4, 5),
        "the first step": (0, 6, 1, 2),
        "one process": (7, 5, 0, 1),
        "one picture each": (9, 1, 2, 4),
        "far on": (250_000, 32, 7, 8),
    }


def _from(first: int, batch: int, apart: int = 1) -> Tensor:
    return first + apart * torch.arange(batch)


TAKEN: Mistakes = {
    "in turns": (
        lambda s, b, p, n: _from(s * b * n + p, b, n),
        "positions are dealt out one by one: each process has its own in a row",
    ),
    "each from the beginning": (
        lambda s, b, p, n: _from(s * b, b),
        "every process takes the same positions: where does `process` count?",
    ),
    "the same within a step": (
        lambda s, b, p, n: _from(s * b * n, b),
        "every process begins where process 0 does",
    ),
    "steps of one batch": (
        lambda s, b, p, n: _from((s + p) * b, b),
        "a step moves by `batch` positions: it moves by what all processes take",
    ),
    "a whole step each": (
        lambda s, b, p, n: _from((s + p) * b * n, b),
        "a process begins a whole step after the one before: `batch` is enough",
    ),
    "processes from 1": (
        lambda s, b, p, n: _from((s * n + p - 1) * b, b),
        "processes are counted from 0 here, not from 1",
    ),
    "steps from 1": (
        lambda s, b, p, n: _from(((s - 1) * n + p) * b, b),
        "steps are counted from 0 here, not from 1",
    ),
    "p and n swapped": (
        lambda s, b, p, n: _from((s * p + n) * b, b),
        "`process` and `processes` are swapped",
    ),
    "from the end": (
        lambda s, b, p, n: _from((s * n + n - 1 - p) * b, b),
        "process 0 has the first positions of a step, not the last",
    ),
}


# ------------------------------------------------------------------------------- 11.2


def pad_to(x: torch.Tensor, factor: int) -> torch.Tensor:
    """A picture made larger until both its sides are multiples of ``factor``.

    ``x`` is (N, C, H, W). Rows are added below and columns to the right, as few as
    possible; where a side is a multiple already, none. Each added row is the last row
    of ``x`` again, each added column the last column. A factor may be larger than a
    side. Returns (N, C, H', W') of the dtype of ``x``; its first H rows and W columns
    are ``x``.
    """
    down, right = (-side % factor for side in x.shape[2:])
    return F.pad(x, (0, right, 0, down), mode="replicate")


def _pad_cases() -> Cases:
    draw = torch.Generator().manual_seed(112)
    x = torch.rand(2, 3, 5, 10, generator=draw, dtype=torch.float64)
    return {
        "5 x 10 to multiples of 8": (x, 8),
        "rows fit": (x[:, :, :4], 4),
        "columns fit": (x, 2),
        "both fit": (x[:, :, :4, :4], 4),
        "factor 1": (x, 1),
        "larger than the picture": (x[:, :, :2, :3], 16),
        "one pixel": (x[:1, :1, :1, :1], 4),
        "not contiguous": (x.mT[:, :1], 4),
        "float32": (x.float(), 7),
    }


def _up(side: int, factor: int) -> int:
    return -(-side // factor) * factor


def _again(places: Tensor, side: int) -> Tensor:
    return places.clamp(0, side - 1)


def _mirrored(places: Tensor, side: int) -> Tensor:
    period = max(1, 2 * side - 2)
    return (side - 1) - ((places % period) - (side - 1)).abs()


@dataclass(frozen=True)
class _Pad:
    """The reference with other functions in the places of its own."""

    goal: Callable[[int, int], int] = _up
    place: Callable[[Tensor, int], Tensor] = _again
    before: Callable[[int], int] = lambda added: 0  # rows above, of those added
    axes: tuple[bool, bool] = (True, True)

    def __call__(self, x: Tensor, factor: int) -> Tensor:
        for axis, padded in zip((2, 3), self.axes, strict=True):
            side = x.shape[axis]
            goal = self.goal(side, factor) if padded else side
            first = self.before(goal - side)
            places = torch.arange(goal) - first
            x = x.index_select(axis, self.place(places, side))
        return x


def _zeros(x: Tensor, factor: int) -> Tensor:
    down, right = (-side % factor for side in x.shape[2:])
    return F.pad(x, (0, right, 0, down))


def _swapped(x: Tensor, factor: int) -> Tensor:
    down, right = (-side % factor for side in x.shape[2:])
    return F.pad(x, (0, down, 0, right), mode="replicate")


def _resized(x: Tensor, factor: int) -> Tensor:
    size = [_up(side, factor) for side in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _largest(x: Tensor, factor: int) -> Tensor:
    goal = _up(max(x.shape[2:]), factor)
    return _Pad(goal=lambda side, _: goal)(x, factor)


PADDED: Mistakes = {
    "always": (
        _Pad(goal=lambda side, factor: side + factor - side % factor),
        "a side that fits already got a whole factor more: `-side % factor` is 0 there",
    ),
    "zeros": (_zeros, "the new pixels are 0: repeat the last row and column"),
    "mirrored": (
        _Pad(place=_mirrored),
        "the picture is mirrored: repeat its last row and column instead",
    ),
    "from the start again": (
        _Pad(place=lambda places, side: places % side),
        "the picture begins again: repeat its last row and column instead",
    ),
    "cut": (
        _Pad(goal=lambda side, factor: max(side // factor, 1) * factor),
        "this cuts down to a multiple: add rows and columns instead",
    ),
    "above and left": (
        _Pad(before=lambda added: added),
        "rows were added above and columns at the left: below and right is asked",
    ),
    "on both sides": (
        _Pad(before=lambda added: added // 2),
        "pixels were added on both sides: add below and at the right only",
    ),
    "rows only": (_Pad(axes=(True, False)), "the columns were left as they were"),
    "columns only": (_Pad(axes=(False, True)), "the rows were left as they were"),
    "swapped": (
        _swapped,
        "rows and columns are swapped: `F.pad` begins with the last axis",
    ),
    "resized": (_resized, "the picture was resized: its own pixels have to stay"),
    "a square": (_largest, "both sides got the larger one's length: each has its own"),
}


# ------------------------------------------------------------------------------- 11.3


def tile_shares(starts: list[int], tile: int, length: int) -> torch.Tensor:
    """What each of several overlapping tiles counts at each pixel of a line.

    Tile k covers the ``tile`` pixels from ``starts[k]`` on, all within the line's
    ``length``; each pixel is covered by one tile or more, in any order. Within a tile
    the weight rises by one from each end towards the middle: 1, 2, 3, ..., 3, 2, 1;
    that of a tile of 4 is 1, 2, 2, 1. Outside it is 0. A tile's share at a pixel is its
    weight there, divided by the sum of all tiles' weights there.

    Returns the shares (tiles, length), float64; those of each pixel add up to 1.
    """
    found = torch.zeros(len(starts), length, dtype=torch.float64)
    inside = torch.arange(tile)
    for weights, start in zip(found, starts, strict=True):
        weights[start : start + tile] = torch.minimum(inside, tile - 1 - inside) + 1.0
    return found / found.sum(0)


def _share_cases() -> Cases:
    return {
        "three tiles, two of them far over each other": ([0, 3, 5], 6, 11),
        "tiles of odd size": ([0, 3, 6], 5, 11),
        "not in order": ([4, 0], 6, 10),
        "no overlap": ([0, 4], 4, 8),
        "one tile": ([0], 7, 7),
        "tiles of one pixel": ([0, 1, 2], 1, 3),
        "two tiles in one place": ([0, 0, 2], 4, 6),
    }


def _ends(inside: Tensor, tile: int) -> Tensor:
    return torch.minimum(inside, tile - 1 - inside) + 1.0


def _of_all(found: Tensor) -> Tensor:
    return found / found.sum(0)


@dataclass(frozen=True)
class _Shares:
    """The reference with other functions in the places of its own."""

    weight: Callable[[Tensor, int], Tensor] = _ends
    end: Callable[[Tensor], Tensor] = _of_all

    def __call__(self, starts: Sequence[int], tile: int, length: int) -> Tensor:
        found = torch.zeros(len(starts), length, dtype=torch.float64)
        for weights, start in zip(found, starts, strict=True):
            weights[start : start + tile] = self.weight(torch.arange(tile), tile)
        return self.end(found)


def _one_hot(winner: Tensor, found: Tensor) -> Tensor:
    return F.one_hot(winner, len(found)).T.to(found)


SHARED: Mistakes = {
    "not divided": (
        _Shares(end=torch.clone),
        "these are weights: divide by their sum over the tiles at each pixel",
    ),
    "each counts alike": (
        _Shares(weight=lambda inside, tile: torch.ones(tile)),
        "all tiles at a pixel count alike: a tile counts less towards its ends",
    ),
    "from 0": (
        _Shares(weight=lambda inside, tile: _ends(inside, tile) - 1),
        "the weight at a tile's end is 0: begin with 1, else 0 is divided by 0",
    ),
    "each tile's sum": (
        _Shares(end=lambda found: found / found.sum(1, keepdim=True)),
        "weights were divided by each tile's own sum: divide by that over the tiles",
    ),
    "each tile's peak": (
        _Shares(end=lambda found: found / found.amax(1, keepdim=True)),
        "weights were divided by a tile's largest: divide by the sum at each pixel",
    ),
    "the largest at a pixel": (
        _Shares(end=lambda found: found / found.amax(0)),
        "weights were divided by the largest at the pixel: divide by their sum",
    ),
    "the largest wins": (
        _Shares(end=lambda found: _one_hot(found.argmax(0), found)),
        "one tile has the whole pixel: a hard seam. Share it",
    ),
    "the last wins": (
        _Shares(
            end=lambda found: _one_hot(
                len(found) - 1 - (found.flip(0) > 0).int().argmax(0), found
            )
        ),
        "the last tile overwrites the others: share the pixel",
    ),
    "the first wins": (
        _Shares(end=lambda found: _one_hot((found > 0).int().argmax(0), found)),
        "the first tile keeps the pixel: share it with the others",
    ),
    "rising only": (
        _Shares(weight=lambda inside, tile: inside + 1.0),
        "weights rise and never fall: a tile has two ends",
    ),
    "falling only": (
        _Shares(weight=lambda inside, tile: tile - inside + 0.0),
        "weights fall and never rise: a tile has two ends",
    ),
    "squares": (
        _Shares(weight=lambda inside, tile: _ends(inside, tile).square()),
        "the weights are squares: 1, 2, 3, not 1, 4, 9",
    ),
    "the other way round": (
        _Shares(weight=lambda inside, tile: (tile + 1) // 2 + 1 - _ends(inside, tile)),
        "the ends of a tile count most: they know least about what is around",
    ),
    "exponentials": (
        _Shares(weight=lambda inside, tile: _ends(inside, tile).exp()),
        "this is a softmax: divide the weights themselves by their sum",
    ),
}


# ------------------------------------------------------------------------------- 11.4


def own_losses(totals: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """What each process has to call backward on, so that all learn from one mean.

    In a step process k finds the error ``totals[k]``, summed over the ``pixels[k]``
    missing pixels of its pictures. ``totals`` is a float tensor (P,), ``pixels`` int64
    (P,), 1 or more. Each process calls backward on a loss of its own; then gradients
    are averaged over the P processes, as they always are.

    Wanted is the gradient of the mean error of all missing pixels of the step. Returns
    (P,): the loss of each process, made from its own total. Gradients reach ``totals``.
    """
    return totals * len(totals) / pixels.sum()


def _loss_cases() -> Cases:
    draw = torch.Generator().manual_seed(114)
    totals = 100 * torch.rand(8, generator=draw, dtype=torch.float64)
    pixels = torch.randint(1, 400, (8,), generator=draw)
    return {
        "three processes": (
            torch.tensor([6.0, 2.0, 5.0], dtype=torch.float64),
            torch.tensor([2, 6, 5]),
        ),
        "eight": (totals, pixels),
        "alone": (totals[:1], pixels[:1]),
        "equal holes": (totals[:4], torch.full((4,), 50)),
        "one missing pixel": (totals[:2], torch.tensor([900, 1])),
        "float32": (totals.float(), pixels),
    }


LOSSES: Mistakes = {
    "each its own mean": (
        lambda totals, pixels: totals / pixels,
        "each divides by its own pixels: those of a small hole then count more",
    ),
    "P forgotten": (
        lambda totals, pixels: totals / pixels.sum(),
        "averaging over the processes divides by P once more: make up for it",
    ),
    "P the other way": (
        lambda totals, pixels: totals / pixels.sum() / len(totals),
        "P divides twice now: multiply by it",
    ),
    "by shares": (
        lambda totals, pixels: totals * pixels / pixels.sum(),
        "the share of the pixels belongs to means: `totals` are sums already",
    ),
    "P times its own mean": (
        lambda totals, pixels: totals * len(totals) / pixels,
        "each divides by its own pixels, and P makes it no better",
    ),
    "the whole in each": (
        lambda totals, pixels: (totals.sum() / pixels.sum()).expand(len(totals)),
        "each has the loss of all: it can follow the gradient of its own total only",
    ),
    "the mean of means": (
        lambda totals, pixels: (totals / pixels).mean().expand(len(totals)),
        "this is the mean of the processes' means, not the mean over pixels",
    ),
    "by the processes": (
        lambda totals, pixels: totals / len(totals),
        "no number of pixels is in it: wanted is a mean over pixels",
    ),
    "the largest hole": (
        lambda totals, pixels: totals / pixels.max(),
        "divided by the largest hole: by the mean hole is right",
    ),
}

EXERCISES = (
    Exercise(
        "11.1",
        reference=positions,
        cases=_position_cases,
        judge=Judge(positions, TAKEN, 0, 0),
        wrong=answers(TAKEN) | {"floats": lambda *case: positions(*case).float()},
    ),
    Exercise(
        "11.2",
        reference=pad_to,
        cases=_pad_cases,
        judge=Judge(pad_to, PADDED, 0, 0),
        wrong=answers(PADDED)
        | {"the first sample alone": lambda x, factor: pad_to(x[:1], factor)},
    ),
    Exercise(
        "11.3",
        reference=tile_shares,
        cases=_share_cases,
        judge=Judge(tile_shares, SHARED),
        wrong=answers(SHARED) | {"float32": lambda *case: tile_shares(*case).float()},
    ),
    Exercise(
        "11.4",
        reference=own_losses,
        cases=_loss_cases,
        gradient=True,
        judge=Judge(own_losses, LOSSES, 1e-6, 1e-6),
        wrong=answers(LOSSES)
        | {"detached": lambda totals, pixels: own_losses(totals.detach(), pixels)},
    ),
)
