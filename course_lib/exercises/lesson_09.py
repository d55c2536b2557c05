"""Exercises of lesson 09: predictable mask mining."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import course_lib as cl
from course_lib.exercises import Cases, Exercise
from course_lib.exercises.comparison import difference
from course_lib.exercises.mistakes import Judge, Mistakes, answers


def _numbers(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _scattered(draw: torch.Generator, *shape: int, share: float = 0.4) -> Tensor:
    """Single pixels missing here and there."""
    drawn = torch.rand(shape, generator=draw, dtype=torch.float64)
    return (drawn < share).to(torch.float64)


def _each(x: Tensor) -> Tensor:
    """The sum of each picture: ``(N,)``."""
    return x.sum((1, 2, 3))


def _first_go(flat: Tensor) -> Tensor:
    """Pixels from the lowest score up, ties in reading order: ``(N, H * W)``."""
    return flat.argsort(dim=1, stable=True)


def _last_go(flat: Tensor) -> Tensor:
    """The same with ties from the end."""
    return flat.shape[1] - 1 - flat.flip(1).argsort(dim=1, stable=True)


def _cut(first: Tensor, size: int | Tensor) -> Tensor:
    """1 at the first ``size`` pixels of an order, (N, H * W)."""
    chosen = (torch.arange(first.shape[1]) < size).expand(first.shape)
    return torch.zeros(first.shape).scatter(1, first, chosen.float())


def _unsorted(first: Tensor, size: int | Tensor) -> Tensor:
    return (torch.arange(first.shape[1]) < size).expand(first.shape).float()


def _ranked(first: Tensor, size: int | Tensor) -> Tensor:
    return (first < size).float()


# ------------------------------------------------------------------------------- 09.1


def lowest(score: torch.Tensor, ratio: float) -> torch.Tensor:
    """The easiest pixels of each picture: a hole of exactly the area asked for.

    ``score`` (N, 1, H, W) is low where a hidden pixel is expected to be easy. ``ratio``
    is from 0 to 1. Returns the hole (N, 1, H, W), of the dtype of ``score``: in each
    picture 1 at exactly round(ratio * H * W) pixels, those of lowest score, 0
    elsewhere. Of equal scores the first in reading order go missing: row by row, each
    from left to right.
    """
    flat = score.flatten(1)
    easiest = flat.argsort(dim=1, stable=True)[:, : round(ratio * flat.shape[1])]
    return torch.zeros_like(flat).scatter(1, easiest, 1).reshape(score.shape)


def _lowest_cases() -> Cases:
    draw = torch.Generator().manual_seed(91)
    score, tall = _numbers(draw, 3, 1, 5, 7), _numbers(draw, 2, 1, 9, 4)
    barred = tall.clone()
    barred[..., :2, :] = torch.inf
    barred[..., 4, 1] = -torch.inf
    coarse = _numbers(draw, 2, 1, 6, 7).round()
    return {
        "a batch": (score + torch.tensor([-1.0, 0, 1]).view(3, 1, 1, 1), 0.4),
        "an area to round up": (tall, 0.3),
        "an area to round down": (score, 0.55),
        "equal scores": (coarse, 0.5),
        "all scores equal": (torch.zeros(2, 1, 4, 5, dtype=torch.float64), 0.25),
        "equal scores, not contiguous": (coarse.transpose(2, 3), 0.35),
        "infinite scores": (barred, 0.6),
        "one sample, one row": (score[1:2, :, :1], 0.3),
        "nothing missing": (score, 0.0),
        "everything missing": (tall, 1.0),
        "float32": (tall.float(), 0.125),
    }


@dataclass(frozen=True)
class _Lowest:
    """The reference with other functions in the places of its own."""

    score: Callable[[Tensor], Tensor] = torch.clone
    order: Callable[[Tensor], Tensor] = _first_go
    size: Callable[[float], int] = round
    share: Callable[[float], float] = float
    cut: Callable[[Tensor, int], Tensor] = _cut
    end: Callable[[Tensor], Tensor] = torch.clone

    def __call__(self, score: Tensor, ratio: float) -> Tensor:
        flat = self.score(score).flatten(1)
        area = flat.shape[1]
        size = min(max(self.size(self.share(ratio) * area), 0), area)
        hole = self.cut(self.order(flat), size).to(score.dtype)
        return self.end(hole.view(score.shape))


def _edge(score: Tensor, ratio: float) -> Tensor:
    """The highest score in the hole: ``(N, 1, 1, 1)``."""
    flat = score.flatten(1).sort(dim=1).values
    size = round(ratio * flat.shape[1])
    edge = flat[:, size - 1] if size else flat.new_full((len(flat),), -torch.inf)
    return edge.view(-1, 1, 1, 1)


def _up_to_the_edge(score: Tensor, ratio: float) -> Tensor:
    return (score <= _edge(score, ratio)).to(score.dtype)


def _below_the_edge(score: Tensor, ratio: float) -> Tensor:
    return (score < _edge(score, ratio)).to(score.dtype)


def _soft(score: Tensor, ratio: float) -> Tensor:
    return torch.sigmoid(_edge(score, ratio) - score)


def _over_the_batch(score: Tensor, ratio: float) -> Tensor:
    together = score.flatten()[None, None, None]
    size = len(score) * round(ratio * score[0].numel())
    return _Lowest(size=lambda pixels: size)(together, ratio).view(score.shape)


def _by_column(score: Tensor, ratio: float) -> Tensor:
    return lowest(score.transpose(2, 3), ratio).transpose(2, 3)


LOWEST: Mistakes = {
    "highest": (
        _Lowest(order=lambda flat: _first_go(-flat)),
        "these are the highest scores: the hole is where the score is low",
    ),
    "inverted polarity": (
        _Lowest(end=lambda hole: 1 - hole),
        "this is what stays known: 1 means missing",
    ),
    "over the batch": (
        _over_the_batch,
        "the lowest scores of the whole batch were taken: each picture has its own",
    ),
    "a threshold, ties in": (
        _up_to_the_edge,
        "every pixel up to a threshold is missing, so equal scores make the hole "
        "larger than asked: choose places, not values",
    ),
    "soft": (
        _soft,
        "this is a soft threshold: a hole holds only 0 and 1",
    ),
    "rounded down": (
        _Lowest(size=math.floor),
        "the number of pixels was cut off: use round()",
    ),
    "rounded up": (
        _Lowest(size=math.ceil),
        "the number of pixels was rounded up: use round()",
    ),
    "at least one": (
        _Lowest(size=lambda pixels: max(round(pixels), 1)),
        "at ratio 0 the hole has no pixel at all",
    ),
    "one more": (
        _Lowest(size=lambda pixels: round(pixels) + 1),
        "one pixel too many is missing: the first k are [:k]",
    ),
    "one fewer": (
        _Lowest(size=lambda pixels: round(pixels) - 1),
        "one pixel too few is missing: the first k are [:k], with the k-th",
    ),
    "what is kept": (
        _Lowest(share=lambda ratio: 1 - ratio),
        "this leaves the share ratio known: it is the share that goes missing",
    ),
    "the last of equals": (
        _Lowest(order=_last_go),
        "of equal scores the last were taken: take the first, with a stable sort",
    ),
    "by column": (
        _by_column,
        "equal scores were taken column by column: reading order goes row by row",
    ),
    "places taken for ranks": (
        _Lowest(cut=_ranked),
        "argsort says which pixel has a rank, not which rank a pixel has: scatter 1 to "
        "its first places",
    ),
    "in reading order": (
        _Lowest(cut=_unsorted),
        "the first pixels in reading order are missing: go from the sorted order back "
        "to the places",
    ),
    "by size": (
        _Lowest(score=torch.abs),
        "the sign of the score was lost: a score may be negative",
    ),
    "one hole for all": (
        _Lowest(end=lambda hole: hole[:1].expand_as(hole)),
        "all pictures have the first one's hole: each has its own",
    ),
    "scores kept": (
        lambda score, ratio: torch.where(lowest(score, ratio) == 1, score, 0),
        "the scores are returned: the hole is 1 there",
    ),
}


# ------------------------------------------------------------------------------- 09.2


def error_map_loss(
    score: torch.Tensor, error: torch.Tensor, hole: torch.Tensor
) -> torch.Tensor:
    """What teaches a score to be the logarithm of the error that it should expect.

    All are (N, 1, H, W). ``error`` e, at least 0, is what an inpainter missed each
    pixel by; ``score`` s is the guess, made before. Take e * exp(-s) + s at each pixel,
    the mean over the pixels of a picture's hole (1 = missing), and then the mean over
    all pictures; one without a hole adds 0 to it. Returns a tensor without dimensions.

    Nothing outside the hole is read: scores and errors may be NaN or infinite there.
    The gradient reaches ``score`` alone, is finite, and 0 outside the hole; none
    reaches ``error``.
    """
    missing = hole == 1
    s = torch.where(missing, score, 0)
    e = torch.where(missing, error.detach(), 0)
    each = (e * torch.exp(-s) + s).sum((1, 2, 3))
    return (each / missing.sum((1, 2, 3)).clamp(min=1)).mean()


def _loss_cases() -> Cases:
    draw = torch.Generator().manual_seed(92)

    def case(count: int, height: int, width: int) -> tuple[Tensor, ...]:
        shape = (count, 1, height, width)
        share = torch.linspace(0.2, 0.8, count).view(-1, 1, 1, 1)
        drawn = torch.rand(shape, generator=draw, dtype=torch.float64)
        return _numbers(draw, *shape), 2 * drawn.roll(1, 3), (drawn < share).double()

    score, error, hole = case(3, 5, 7)
    tall, missed, gap = case(2, 9, 4)
    some = hole.clone()
    some[1:] = 0
    some[2, 0, 1, 3] = 1
    out = gap == 0
    return {
        "a batch": (score, error, hole),
        "NaN outside": (tall.masked_fill(out, torch.nan), missed / ~out, gap),
        "infinite scores outside": (tall.masked_fill(out, -torch.inf), missed, gap),
        "no hole, and one of one pixel": (score, error, some),
        "everything missing": (tall, missed, torch.ones_like(gap)),
        "no error": (score, 0 * error, hole),
        "one sample, not contiguous": tuple(p[:1].mT for p in (tall, missed, gap)),
        "low scores, small errors": (score / 4 - 3, (error + 0.2) / 20, hole),
        "float32": tuple(part.float() for part in (tall, missed, gap)),
    }


def _ask_loss(
    answer: Callable[..., Any], score: Tensor, error: Tensor, hole: Tensor
) -> Any:
    return answer(score, error, hole.detach())  # a hole needs no gradient


def _width(e: Tensor, s: Tensor) -> Tensor:
    return e * torch.exp(-s) + s


def _hole_means(each: Tensor, missing: Tensor) -> Tensor:
    return _each(torch.where(missing, each, 0)) / _each(missing).clamp(min=1)


@dataclass(frozen=True)
class _Loss:
    """The reference with other functions in the places of its own.

    ``safe`` is False where pixels are left out after the formula only.
    """

    formula: Callable[[Tensor, Tensor], Tensor] = _width
    missing: Callable[[Tensor], Tensor] = torch.clone
    means: Callable[[Tensor, Tensor], Tensor] = _hole_means
    end: Callable[[Tensor], Tensor] = torch.mean
    error: Callable[[Tensor], Tensor] = torch.detach
    score: Callable[[Tensor], Tensor] = torch.clone
    safe: bool = True

    def __call__(self, score: Tensor, error: Tensor, hole: Tensor) -> Tensor:
        missing = self.missing(hole == 1)
        s, e = self.score(score), self.error(error)
        if self.safe:
            s, e = (torch.where(missing, part, 0) for part in (s, e))
        return self.end(self.means(self.formula(e, s), missing))


def _counted_alone(means: Tensor, missing: Tensor) -> Tensor:
    """The means of pictures that have a hole."""
    found = _hole_means(means, missing)[missing.any(3).any(2).any(1)]
    return found if len(found) else means.new_zeros(1)


LOSSES: Mistakes = {
    "multiplied": (
        _Loss(
            means=lambda each, m: _each(each * m) / _each(m).clamp(min=1), safe=False
        ),
        "NaN times 0 is NaN: choose with torch.where before you compute",
    ),
    "divided by no pixels": (
        _Loss(means=lambda each, m: _each(torch.where(m, each, 0)) / _each(m)),
        "a picture without a hole gives 0 / 0: divide by at least 1 there",
    ),
    "empty pictures not counted": (
        _Loss(means=_counted_alone),
        "pictures without a hole were left out: they add 0, and count in the mean",
    ),
    "the whole picture": (
        _Loss(missing=torch.ones_like),
        "known pixels were counted too: only errors under the hole are errors of the "
        "inpainter",
    ),
    "outside the hole": (
        _Loss(missing=torch.logical_not),
        "known pixels were counted, missing ones were not: 1 means missing",
    ),
    "+ s forgotten": (
        _Loss(formula=lambda e, s: e * torch.exp(-s)),
        "+ s is missing: without it the larger the score, the smaller the loss, and "
        "it grows for ever",
    ),
    "e forgotten": (
        _Loss(formula=lambda e, s: torch.exp(-s) + s),
        "the error is not in it: then every picture has the score 0",
    ),
    "- s": (
        _Loss(formula=lambda e, s: e * torch.exp(-s) - s),
        "s is subtracted: add it, so that a large score costs something",
    ),
    "exp(s)": (
        _Loss(formula=lambda e, s: e * torch.exp(s) + s),
        "the exponent has the wrong sign: e * exp(-s)",
    ),
    "squared": (
        _Loss(formula=lambda e, s: e.square() * torch.exp(-s) + s),
        "the error was squared: exp(s) would be its mean square",
    ),
    "the distance of logarithms": (
        _Loss(formula=lambda e, s: (s - e.log()).abs()),
        "this is the distance of s and log e: it learns the median, not the mean",
    ),
    "the squared distance of logarithms": (
        _Loss(formula=lambda e, s: (s - e.log()).square()),
        "this is the squared distance of s and log e: it learns the mean of the "
        "logarithms, which is below the logarithm of the mean",
    ),
    "the distance": (
        _Loss(formula=lambda e, s: (s - e).abs()),
        "the score was compared with e itself: exp(s) is what should be near e",
    ),
    "all pixels alike": (
        _Loss(
            means=lambda each, m: (
                torch.where(m, each, 0).sum() / m.sum().clamp(min=1)
            )[None]
        ),
        "this is the mean over all missing pixels of the batch, so large holes count "
        "more: first the mean of each picture",
    ),
    "divided by the picture": (
        _Loss(means=lambda each, m: torch.where(m, each, 0).mean((1, 2, 3))),
        "the sum was divided by all pixels of the picture: divide by those of its hole",
    ),
    "a sum over the hole": (
        _Loss(means=lambda each, m: _each(torch.where(m, each, 0))),
        "this is a sum over the hole: take the mean",
    ),
    "a sum over pictures": (
        _Loss(end=torch.sum),
        "this is a sum over the pictures: take the mean",
    ),
    "the first picture alone": (
        _Loss(end=lambda means: means[0]),
        "only the first picture is counted: take all",
    ),
}


# ------------------------------------------------------------------------------- 09.3


def overlap(hole: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How alike two holes are: the part of their union that both have, per picture.

    Both are (N, 1, H, W), 1 = missing, 0 = known. For each picture, count the pixels
    that are missing in both, and those missing in at least one; returns the first count
    divided by the second, (N,), of the dtype of ``hole``. 1 = the same hole, 0 = no
    pixel in common, NaN = both are empty.
    """
    both, either = hole * other, torch.maximum(hole, other)
    return both.sum((1, 2, 3)) / either.sum((1, 2, 3))


def _overlap_cases() -> Cases:
    draw = torch.Generator().manual_seed(93)
    few, many = (_scattered(draw, 3, 1, 5, 7, share=share) for share in (0.4, 0.7))
    hole, other = torch.cat([few[:2], many[2:]]), torch.cat([many[:2], few[2:]])
    wide, box = _scattered(draw, 4, 1, 9, 6), torch.zeros(4, 1, 9, 6).double()
    box[..., 2:7, 1:4] = 1
    mixed = torch.stack([box[0], 0 * box[0], box[0], 0 * box[0]])
    return {
        "a batch": (hole, other),
        "the same hole": (wide, wide.clone()),
        "nothing in common": (wide, 1 - wide),
        "one inside the other": (wide * box, box),
        "the next picture's hole": (wide, wide.roll(1, 0)),
        "one is empty": (0 * hole, other),
        "both are empty, in two pictures": (mixed, 0 * mixed),
        "everything missing": (torch.ones_like(hole), hole),
        "one sample, not contiguous": (wide[:1].mT, box[:1].mT),
        "float32": (hole.float(), other.float()),
    }


@dataclass(frozen=True)
class _Overlap:
    """The reference with other functions in the places of its own."""

    holes: Callable[[Tensor], Tensor] = torch.clone
    both: Callable[[Tensor, Tensor], Tensor] = torch.mul
    either: Callable[[Tensor, Tensor], Tensor] = torch.maximum
    count: Callable[[Tensor], Tensor] = _each
    end: Callable[[Tensor], Tensor] = torch.clone

    def __call__(self, hole: Tensor, other: Tensor) -> Tensor:
        pair = self.holes(hole), self.holes(other)
        both, either = self.both(*pair), self.either(*pair)
        return self.end(self.count(both) / self.count(either)).to(hole.dtype)


def _mean_of_all(x: Tensor) -> Tensor:
    return x.sum().expand(len(x))


OVERLAPS: Mistakes = {
    "0 where both are empty": (
        _Overlap(end=torch.nan_to_num),
        "two empty holes gave 0: that is 0 / 0, so NaN; neither alike nor unlike",
    ),
    "1 where both are empty": (
        _Overlap(end=lambda found: found.nan_to_num(1)),
        "two empty holes gave 1: that is 0 / 0, so NaN; a generator that makes only "
        "empty holes must not look fine",
    ),
    "known pixels": (
        _Overlap(holes=lambda hole: 1 - hole),
        "this is how alike the known parts are: 1 means missing",
    ),
    "pixels that agree": (
        _Overlap(
            both=lambda a, b: (a == b).to(a.dtype),
            either=lambda a, b: torch.ones_like(a),
        ),
        "pixels known in both were counted as alike: two small holes far apart would "
        "agree nearly everywhere",
    ),
    "the share of the picture": (
        _Overlap(either=lambda a, b: torch.ones_like(a)),
        "this is the share of the picture that both hide: divide by the union",
    ),
    "divided by the hole": (
        _Overlap(either=lambda a, b: a),
        "the count was divided by the pixels of hole alone: divide by the union",
    ),
    "divided by the other": (
        _Overlap(either=lambda a, b: b),
        "the count was divided by the pixels of other alone: divide by the union",
    ),
    "divided by both": (
        _Overlap(either=torch.add),
        "pixels missing in both were counted twice below: the union has them once",
    ),
    "dice": (
        _Overlap(either=lambda a, b: (a + b) / 2),
        "this is twice the common part over the sum of the areas (Dice): divide by the "
        "union",
    ),
    "the larger hole": (
        lambda a, b: _each(a * b) / torch.maximum(_each(a), _each(b)),
        "the count was divided by the larger of the two areas: the union is larger",
    ),
    "the smaller hole": (
        lambda a, b: _each(a * b) / torch.minimum(_each(a), _each(b)),
        "the count was divided by the smaller of the two areas: divide by the union",
    ),
    "upside down": (
        lambda a, b: 1 / overlap(a, b),
        "the fraction is upside down: it is never above 1",
    ),
    "what differs": (
        _Overlap(end=lambda found: 1 - found),
        "this is the part of the union that only one has: 1 less what is asked",
    ),
    "over the batch": (
        _Overlap(count=_mean_of_all),
        "pixels of all pictures were counted together: each picture has its own number",
    ),
    "the mean of all": (
        _Overlap(end=lambda found: found.mean().expand_as(found)),
        "all pictures have the same number, the mean: give each its own",
    ),
}


# ------------------------------------------------------------------------------- 09.4


def budgeted(
    score: torch.Tensor, budget: float, low: float, high: float
) -> torch.Tensor:
    """A hole in each picture, as large as the error expected in it allows.

    ``score`` (N, 1, H, W) is the logarithm of the expected error: exp(score) is what a
    hidden pixel is expected to be missed by. Pixels go missing from the lowest score
    up; of equal scores the first in reading order. Each picture has a hole of its own
    size, the largest in which the mean of exp(score) is at most ``budget``; but never
    fewer than round(low * H * W) pixels, whatever their error, and never more than
    round(high * H * W), with 0 <= low <= high <= 1.

    Returns the holes (N, 1, H, W), 1 = missing, of the dtype of ``score``.
    """
    easiest, place = score.flatten(1).sort(dim=1, stable=True)
    area = easiest.shape[1]
    rank = torch.arange(1, area + 1)
    mean = easiest.exp().cumsum(1) / rank
    size = (mean <= budget).sum(1, keepdim=True)
    size = size.clamp(round(low * area), round(high * area))
    chosen = (rank <= size).to(score.dtype)
    return torch.zeros_like(chosen).scatter(1, place, chosen).view(score.shape)


def _budget_cases() -> Cases:
    draw = torch.Generator().manual_seed(94)

    def scores(*shape: int) -> Tensor:
        return 0.9 * _numbers(draw, *shape) - 2

    score, wide = scores(3, 1, 5, 7), scores(3, 1, 6, 9)
    uneven = wide + torch.tensor([2.5, 0.8, -2.5]).view(3, 1, 1, 1)
    coarse = (2 * scores(2, 1, 8, 7)).round() / 2
    barred = wide.clone()
    barred[..., 2:] = torch.inf
    shifts = torch.tensor([-0.3, 0.4, 0.1]).view(3, 1, 1, 1)
    return {
        "a batch": (score + shifts, 0.12, 0.06, 0.95),
        "one too hard, one too easy": (uneven, 0.1, 0.15, 0.6),
        "limits to round": (uneven[..., :7], 0.1, 0.11, 0.635),
        "equal scores": (coarse, 0.09, 0.1, 0.9),
        "equal scores, not contiguous": (coarse.mT, 0.11, 0.1, 0.9),
        "all as large as the budget": (0 * wide, 1.0, 0.25, 0.75),
        "pixels that must stay known": (barred, 5.0, 0.1, 0.5),
        "one area allowed": (uneven, 0.1, 0.4, 0.4),
        "nothing fits, nothing must": (score + 5, 0.1, 0.0, 0.6),
        "everything fits": (score - 5, 0.5, 0.1, 1.0),
        "one sample, one row": (score[:1, :, :1], 0.15, 0.2, 0.9),
        "float32": (score.float(), 0.15, 0.1, 0.7),
    }


def _mean_error(easiest: Tensor) -> Tensor:
    """The mean of exp over the first 1, 2, ... of a sorted row."""
    return easiest.exp().cumsum(1) / torch.arange(1, easiest.shape[1] + 1)


def _running_mean(easiest: Tensor) -> Tensor:
    return easiest.cumsum(1) / torch.arange(1, easiest.shape[1] + 1)


def _at_most(found: Tensor, budget: float) -> Tensor:
    return found <= budget


def _both(size: Tensor, low: int, high: int) -> Tensor:
    return size.clamp(low, high)


@dataclass(frozen=True)
class _Budgeted:
    """The reference with other functions in the places of its own."""

    order: Callable[[Tensor], Tensor] = _first_go
    cost: Callable[[Tensor], Tensor] = _mean_error
    fits: Callable[[Tensor, float], Tensor] = _at_most
    size: Callable[[Tensor], Tensor] = torch.clone
    whole: Callable[[float], int] = round
    limit: Callable[[Tensor, int, int], Tensor] = _both
    cut: Callable[[Tensor, Tensor], Tensor] = _cut
    end: Callable[[Tensor], Tensor] = torch.clone

    def __call__(self, score: Tensor, budget: float, low: float, high: float) -> Tensor:
        flat = score.flatten(1)
        first = self.order(flat)
        cost = self.cost(flat.gather(1, first))
        size = self.size(self.fits(cost, budget).sum(1, keepdim=True))
        limits = (self.whole(share * flat.shape[1]) for share in (low, high))
        hole = self.cut(first, self.limit(size, *limits)).to(score.dtype)
        return self.end(hole.view(score.shape))


def _together(score: Tensor, budget: float, low: float, high: float) -> Tensor:
    """All pixels of the batch in one order, under one budget."""
    return budgeted(score.reshape(1, 1, 1, -1), budget, low, high).view(score.shape)


def _mean_size(size: Tensor) -> Tensor:
    return size.double().mean().round().long().expand_as(size)


BUDGETED: Mistakes = {
    "less than the budget": (
        _Budgeted(fits=lambda found, budget: found < budget),
        "a mean as large as the budget was refused: at most means <=",
    ),
    "each pixel": (
        _Budgeted(cost=torch.exp),
        "each pixel was held to the budget: only the mean over the hole must keep it, "
        "so harder pixels fit in as well",
    ),
    "the mean of the logarithms": (
        _Budgeted(cost=lambda easiest: _running_mean(easiest).exp()),
        "this is the mean of the logarithms: first exp, then the mean",
    ),
    "exp forgotten": (
        _Budgeted(cost=_running_mean),
        "the score was held to the budget: it is a logarithm, take exp(score)",
    ),
    "a sum": (
        _Budgeted(cost=lambda easiest: easiest.exp().cumsum(1)),
        "the sum of the errors was held to the budget: divide it by how many they are",
    ),
    "divided by the picture": (
        _Budgeted(cost=lambda easiest: easiest.exp().cumsum(1) / easiest.shape[1]),
        "the sum was divided by all pixels of the picture: divide by those of the hole",
    ),
    "all or nothing": (
        _Budgeted(cost=lambda easiest: _mean_error(easiest)[:, -1:].expand_as(easiest)),
        "the mean over the whole picture was held to the budget: take the mean over "
        "the easiest 1, 2, 3, ...",
    ),
    "no limits": (
        _Budgeted(limit=lambda size, low, high: size),
        "the area is not clipped: keep it between low and high",
    ),
    "no lower limit": (
        _Budgeted(limit=lambda size, low, high: size.clamp(max=high)),
        "a hard picture's hole is smaller than low: the area has two limits",
    ),
    "no upper limit": (
        _Budgeted(limit=lambda size, low, high: size.clamp(min=low)),
        "an easy picture's hole is larger than high: the area has two limits",
    ),
    "limits rounded down": (
        _Budgeted(whole=math.floor),
        "the limits were cut off: use round()",
    ),
    "limits rounded up": (
        _Budgeted(whole=math.ceil),
        "the limits were rounded up: use round()",
    ),
    "one more": (
        _Budgeted(size=lambda size: size + 1),
        "one pixel too many is missing: with it the mean is above the budget",
    ),
    "one fewer": (
        _Budgeted(size=lambda size: size - 1),
        "one pixel too few is missing: it is the number of means that fit",
    ),
    "one area, the mean": (
        _Budgeted(size=_mean_size),
        "all pictures have one area, a mean: an easy one's hole is the larger",
    ),
    "one area, the first's": (
        _Budgeted(size=lambda size: size[:1].expand_as(size)),
        "all pictures have the first one's area: each has its own",
    ),
    "one area, the smallest": (
        _Budgeted(size=lambda size: size.amin().expand_as(size)),
        "all pictures have the hardest one's area: each has its own",
    ),
    "one budget for the batch": (
        _together,
        "pixels of all pictures share one budget: each picture has its own",
    ),
    "hardest first": (
        _Budgeted(order=lambda flat: _first_go(-flat)),
        "the hardest pixels go first: begin with the lowest score",
    ),
    "the last of equals": (
        _Budgeted(order=_last_go),
        "of equal scores the last were taken: take the first, with a stable sort",
    ),
    "places taken for ranks": (
        _Budgeted(cut=_ranked),
        "the order says which pixel has a rank, not which rank a pixel has: scatter "
        "along it",
    ),
    "in reading order": (
        _Budgeted(cut=_unsorted),
        "the size is right, but the first pixels in reading order are missing: go from "
        "the sorted order back to the places",
    ),
    "inverted polarity": (
        _Budgeted(end=lambda hole: 1 - hole),
        "this is what stays known: 1 means missing",
    ),
}


# ------------------------------------------------------------------------------- 09.5


def judge(
    network: torch.nn.Module,
    image: torch.Tensor,
    hole: torch.Tensor,
    shifts: tuple[int, ...],
) -> tuple[float, float]:
    """How well ``network`` fills mined holes, and the same holes on other photos.

    ``image`` is (N, 3, H, W), ``hole`` (N, 1, H, W), 1 = missing, none of them empty.
    ``network(image, hole)`` predicts a picture; it must be given NaN for every pixel
    under the hole. The error of a picture is the mean, over the pixels of its hole and
    over the colours, of abs(prediction - image); outside the hole a prediction may be
    NaN. Every ``shift`` gives hole k to picture k + shift: ``hole.roll(shift, 0)``. One
    that gives each picture its own hole again, as 0 and N do, is left out.

    Returns two floats, means over the pictures: the error in the holes as they are, and
    the mean over the shifts of the error in rolled holes. The network works in
    evaluation mode and without gradient, and is left exactly as it was.
    """

    def error(given: torch.Tensor) -> float:
        made = network(cl.hide(image, given, torch.nan), given)
        each = cl.mining.pixel_error(made, image)
        inside = torch.where(given == 1, each, 0).sum((1, 2, 3))
        return float((inside / given.sum((1, 2, 3))).mean())

    with torch.no_grad(), cl.networks.reading.evaluating(network):
        others = [error(hole.roll(s, 0)) for s in shifts if s % len(hole)]
        return error(hole), sum(others) / len(others)


class _Referee(nn.Module):
    """Fills a hole from what is known; given the truth, it says nearly that."""

    def __init__(self, torn: bool) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5))
        self.layers = nn.Sequential(first, nn.Tanh(), nn.Conv2d(5, 3, 3, padding=1))
        self.torn = torn
        self.recorded = 0

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        self.recorded += torch.is_grad_enabled()
        known = torch.where(hole == 1, 0, image)
        made = self.layers(torch.cat([known, hole], 1))
        if self.torn:
            image = torch.where(hole == 1, image, torch.nan)
            made = torch.where(hole == 1, made, torch.nan)
        return torch.where(image.isnan(), made, 0.9 * image)


@dataclass(frozen=True)
class _Setting:
    """What the network is like; it is made anew for every answer."""

    seed: int
    mode: str = "eval"  # or train, or mixed: only the batch normalisation rests
    torn: bool = False  # NaN outside the hole
    frozen: bool = False  # the first layers want no gradient

    def network(self) -> _Referee:
        draw = torch.Generator().manual_seed(self.seed)
        network = _Referee(self.torn).double().train(self.mode != "eval")
        for parameter in network.parameters():
            parameter.data.copy_(_numbers(draw, *parameter.shape) / 2)
        part = network.layers[0]
        part.train(self.mode == "train").requires_grad_(not self.frozen)
        return network


def _judge_cases() -> Cases:
    draw = torch.Generator().manual_seed(95)

    def pair(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        shape = (count, 1, height, width)
        image = torch.rand(count, 3, height, width, generator=draw, dtype=torch.float64)
        share = torch.linspace(0.15, 0.7, count).view(-1, 1, 1, 1)
        drawn = torch.rand(shape, generator=draw, dtype=torch.float64)
        return image, (drawn < share).double()

    four, three, two = pair(4, 9, 7), pair(3, 6, 8), pair(2, 5, 5)
    turned = three[0].transpose(2, 3), three[1].transpose(2, 3)
    return {
        "four pictures": (_Setting(1), *four, (1, 2)),
        "shift 0 among the shifts": (_Setting(2), *four, (0, 1, 3)),
        "shifts of N and more": (_Setting(3), *three, (1, 3, 5)),
        "NaN outside the hole": (_Setting(4, torn=True), *four, (1,)),
        "in training mode": (_Setting(5, mode="train"), *three, (1,)),
        "partly in training mode": (_Setting(6, mode="mixed"), *four, (2, 3)),
        "frozen layers": (_Setting(7, frozen=True), *three, (2,)),
        "shifts below 0": (_Setting(8), *four, (-1, -4, -2)),
        "two pictures": (_Setting(9, mode="train"), *two, (1,)),
        "not contiguous": (_Setting(10), *turned, (1, 2)),
    }


def _ask_judge(
    answer: Callable[..., Any],
    setting: _Setting,
    image: Tensor,
    hole: Tensor,
    shifts: tuple[int, ...],
) -> Any:
    """What is returned, and what is not as it should be with the network then."""
    network = setting.network()
    before, weights = _flags(network), deepcopy(network.state_dict())
    errors = answer(network, image, hole, shifts)
    if errors is None or errors is Ellipsis:
        return errors
    now = _flags(network)
    moved = [name for name in now if now[name] != before[name]]
    if difference(network.state_dict(), weights, 0, 0):
        moved.append("the stored statistics or weights")
    faults = []
    if moved:
        faults.append(f"after it the network is not as it was: {', '.join(moved)}.")
    if network.recorded:
        faults.append("the network was called with gradients switched on.")
    return {"errors": errors, "faults": faults}


def _flags(network: nn.Module) -> dict[str, bool]:
    """Every ``training`` and ``requires_grad``."""
    modes = {f"{n or 'network'}.training": p.training for n, p in _parts(network)}
    return modes | {
        f"{name}.requires_grad": parameter.requires_grad
        for name, parameter in network.named_parameters()
    }


def _parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(network.named_modules())


def _judge_errors(got: Any, *case: Any) -> str:
    """What is wrong with the two numbers, or else with what is left of the network."""
    text = difference(got["errors"], _ask_judge(judge, *case)["errors"], ATOL, RTOL)
    text = text or "\n  ".join(got["faults"])
    for answer, hint in JUDGED.values() if text else ():
        if not difference(got, _ask_judge(answer, *case), ATOL, RTOL):
            return f"{text}\n  {hint}"
    return text


ATOL, RTOL = 1e-7, 1e-6


def _hidden(image: Tensor, hole: Tensor) -> Tensor:
    return cl.hide(image, hole, torch.nan)


def _rolled(image: Tensor, hole: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    return image, hole.roll(shift, 0)


def _picture_means(error: Tensor, hole: Tensor) -> Tensor:
    return _each(torch.where(hole == 1, error, 0)) / _each(hole)


def _colour_mean(made: Tensor, image: Tensor) -> Tensor:
    return (made - image).abs().mean(1, keepdim=True)


def _all_but_own(shifts: tuple[int, ...], count: int) -> list[int]:
    return [shift for shift in shifts if shift % count]


def _average(found: list[float]) -> float:
    return sum(found) / len(found)


def _restored(network: nn.Module, modes: dict[str, bool]) -> None:
    for name, part in network.named_modules():
        part.training = modes[name]


@dataclass(frozen=True)
class _Judged:
    """The reference with other functions in the places of its own."""

    hidden: Callable[[Tensor, Tensor], Tensor] = _hidden
    rolled: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]] = _rolled
    error: Callable[[Tensor, Tensor], Tensor] = _colour_mean
    means: Callable[[Tensor, Tensor], Tensor] = _picture_means
    shifts: Callable[[tuple[int, ...], int], list[int]] = _all_but_own
    total: Callable[[list[float]], float] = _average
    end: Callable[[float, float], tuple[float, float]] = lambda a, b: (a, b)
    truth: bool = False  # the pictures compared with are not rolled
    evaluated: bool = True
    after: Callable[[nn.Module, dict[str, bool]], object] = _restored
    recorded: bool = False

    def __call__(
        self, network: nn.Module, image: Tensor, hole: Tensor, shifts: tuple[int, ...]
    ) -> tuple[float, float]:
        modes = {name: part.training for name, part in network.named_modules()}
        if self.evaluated:
            network.eval()
        with torch.set_grad_enabled(self.recorded):
            mined = self._one(network, image, hole, image)
            others = []
            for shift in self.shifts(shifts, len(hole)):
                photo, given = self.rolled(image, hole, shift)
                truth = image if self.truth else photo
                others.append(self._one(network, photo, given, truth))
        self.after(network, modes)
        return self.end(mined, self.total(others))

    def _one(self, network: nn.Module, image: Tensor, hole: Tensor, to: Tensor) -> Any:
        made = network(self.hidden(image, hole), hole)
        return self.means(self.error(made, to), hole).mean().item()


def _pooled(error: Tensor, hole: Tensor) -> Tensor:
    return torch.where(hole == 1, error, 0).sum() / hole.sum()


def _image_rolled(image: Tensor, hole: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    return image.roll(shift, 0), hole


def _others_seen(
    network: nn.Module, image: Tensor, hole: Tensor, shifts: tuple[int, ...]
) -> tuple[float, float]:
    """Every picture stays hidden under its own hole while another is asked for."""
    once = _hidden(image, hole)
    wrong = _Judged(hidden=lambda image, given: _hidden(once, given))
    return wrong(network, image, hole, shifts)


def _leave_frozen(network: nn.Module, modes: dict[str, bool]) -> None:
    _restored(network, modes)
    network.requires_grad_(False)


JUDGED: Mistakes = {
    "a shift of N": (
        _Judged(shifts=lambda shifts, count: [s for s in shifts if s]),
        "a shift of N, or a multiple, gives every photo its own hole: leave it out too",
    ),
    "shift 0": (
        _Judged(shifts=lambda shifts, count: list(shifts)),
        "shift 0 was counted: each photo has its own hole there, so the control is "
        "partly what it controls",
    ),
    "multiplied": (
        _Judged(means=lambda error, hole: _each(error * hole) / _each(hole)),
        "NaN times 0 is NaN: choose the pixels of the hole with torch.where",
    ),
    "the whole picture": (
        _Judged(means=lambda error, hole: error.mean((1, 2, 3))),
        "known pixels were counted: the error is that of the hole",
    ),
    "divided by the picture": (
        _Judged(
            means=lambda e, hole: _each(torch.where(hole == 1, e, 0)) / e[0].numel()
        ),
        "the sum over the hole was divided by all pixels: divide by those of the hole",
    ),
    "pixels pooled": (
        _Judged(means=_pooled),
        "all missing pixels of the batch count alike: first the mean of each picture",
    ),
    "truth not hidden": (
        _Judged(hidden=lambda image, hole: image),
        "the network was shown the truth under the hole: put NaN there first",
    ),
    "hidden by grey": (
        _Judged(hidden=cl.hide),
        "under the hole was grey, which a network may take for the photo: put NaN",
    ),
    "hidden by black": (
        _Judged(hidden=lambda image, hole: cl.hide(image, hole, 0.0)),
        "under the hole was black, which a network may take for the photo: put NaN",
    ),
    "known pixels hidden too": (
        _others_seen,
        "a rolled hole was asked for while the photo was hidden under its own one too: "
        "start again from the photo",
    ),
    "the other way": (
        _Judged(rolled=_image_rolled),
        "photos were rolled, or holes the other way: use hole.roll(shift, 0)",
    ),
    "both rolled": (
        _Judged(rolled=lambda image, hole, s: (image.roll(s, 0), hole.roll(s, 0))),
        "photos and holes were rolled together, so each photo kept its own hole",
    ),
    "compared with another photo": (
        _Judged(rolled=_image_rolled, truth=True),
        "photos were rolled for the network, but it was compared with others: roll the "
        "holes alone",
    ),
    "rolled without an axis": (
        _Judged(rolled=lambda image, hole, shift: (image, hole.roll(shift))),
        "roll without an axis moves pixels through the flattened batch: use "
        "hole.roll(shift, 0)",
    ),
    "rolled sideways": (
        _Judged(rolled=lambda image, hole, shift: (image, hole.roll(shift, 3))),
        "holes were moved sideways in their own photos: roll along axis 0, the batch",
    ),
    "the first shift alone": (
        _Judged(total=lambda found: found[0]),
        "only the first shift was counted: take the mean over all",
    ),
    "the last shift alone": (
        _Judged(total=lambda found: found[-1]),
        "only the last shift was counted: take the mean over all",
    ),
    "a sum over shifts": (
        _Judged(total=sum),
        "this is a sum over the shifts: take the mean",
    ),
    "swapped": (
        _Judged(end=lambda mined, shuffled: (shuffled, mined)),
        "the two are swapped: first the error in each photo's own hole",
    ),
    "a difference": (
        _Judged(end=lambda mined, shuffled: (mined, shuffled - mined)),
        "the second is a difference: give both errors as they are",
    ),
    "squared": (
        _Judged(error=lambda made, image: (made - image).square().mean(1, True)),
        "the differences were squared: take their absolute value",
    ),
    "a sum over colours": (
        _Judged(error=lambda made, image: (made - image).abs().sum(1, True)),
        "this is a sum over the colours: take their mean",
    ),
    "not in evaluation mode": (
        _Judged(evaluated=False),
        "the network was asked in training mode: call network.eval() before",
    ),
    "left in evaluation mode": (
        _Judged(after=lambda network, modes: None),
        "the network was left in evaluation mode: give each part its own mode back",
    ),
    "the network's mode for all parts": (
        _Judged(after=lambda network, modes: network.train(modes[""])),
        "all parts got the mode of the whole: remember each part's own",
    ),
    "left in training mode": (
        _Judged(after=lambda network, modes: network.train()),
        "all parts were set to training mode: give each its own mode back",
    ),
    "gradients recorded": (
        _Judged(recorded=True),
        "put the calls under torch.no_grad()",
    ),
    "left frozen": (
        _Judged(after=_leave_frozen),
        "the weights were frozen and left so: use torch.no_grad() instead",
    ),
}

EXERCISES = (
    Exercise(
        "09.1",
        reference=lowest,
        cases=_lowest_cases,
        judge=Judge(lowest, LOWEST),
        wrong=answers(LOWEST)
        | {
            "a threshold, ties out": _below_the_edge,
            "truth values": lambda *case: lowest(*case) == 1,
            "torch.quantile": lambda score, ratio: (
                (score.flatten(1) <= score.flatten(1).quantile(ratio, 1, True))
                .view(score.shape)
                .to(score.dtype)
            ),
        },
    ),
    Exercise(
        "09.2",
        reference=error_map_loss,
        cases=_loss_cases,
        atol=1e-7,
        rtol=1e-6,
        gradient=True,
        call=_ask_loss,
        judge=Judge(error_map_loss, LOSSES, 1e-7, 1e-6),
        wrong=answers(LOSSES)
        | {
            "a gradient into the error": _Loss(error=torch.clone),
            "score detached": _Loss(score=torch.detach),
            "chosen after the formula": _Loss(safe=False),
            "one number for each picture": _Loss(end=torch.clone),
        },
    ),
    Exercise(
        "09.3",
        reference=overlap,
        cases=_overlap_cases,
        judge=Judge(overlap, OVERLAPS),
        wrong=answers(OVERLAPS)
        | {
            "one number": lambda *case: overlap(*case).mean(),
            "axes kept": lambda *case: overlap(*case).view(-1, 1, 1, 1),
        },
    ),
    Exercise(
        "09.4",
        reference=budgeted,
        cases=_budget_cases,
        judge=Judge(budgeted, BUDGETED),
        wrong=answers(BUDGETED)
        | {
            "sizes": lambda *case: _each(budgeted(*case)),
        },
    ),
    Exercise(
        "09.5",
        reference=judge,
        cases=_judge_cases,
        call=_ask_judge,
        judge=_judge_errors,
        wrong=answers(JUDGED)
        | {
            "tensors": lambda *case: tuple(map(torch.tensor, judge(*case))),
            "only the mined": lambda *case: judge(*case)[0],
        },
    ),
)
