"""Exercises of lesson 10: the ladder, and what its table may say."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises import Cases, Exercise
from course_lib.exercises.mistakes import Judge, Mistakes, answers


def _drawn(draw: torch.Generator, *shape: int, low: float, high: float) -> Tensor:
    """Numbers between two limits, as errors are: never 0."""
    drawn = torch.rand(shape, generator=draw, dtype=torch.float64)
    return low + (high - low) * drawn


ATOL, RTOL = 1e-7, 1e-5  # a mean in float32 passes


# ------------------------------------------------------------------------------- 10.1


def mean_and_spread(scores: torch.Tensor) -> tuple[float, float]:
    """One form's score, and how much of it was luck: ``(mean, spread)``, two floats.

    ``scores`` (seeds, 6, 2) has a score for each seed and each cell of the table; NaN
    where there was nothing to score. A seed's score is the mean over all cells that it
    has, at least one. Returns the mean of the seeds' scores, and their sample standard
    deviation: the root of (the sum of squared distances from that mean, divided by the
    number of seeds - 1). With a single seed the spread is 0.
    """
    each = scores.nanmean((1, 2))
    spread = float(each.std()) if len(each) > 1 else 0.0
    return float(each.mean()), spread


def _spread_cases() -> Cases:
    draw = torch.Generator().manual_seed(101)

    def scores(seeds: int) -> Tensor:
        return _drawn(draw, seeds, 6, 2, low=0.05, high=0.2)

    three, five = scores(3).roll(1, 0), scores(5)
    without, partly = three.clone(), five.clone()
    without[:, 0, 1] = without[:, 4] = torch.nan
    partly[1, :, 0] = partly[3, 2:5, 1] = partly[4, 0] = torch.nan
    single = torch.full((3, 6, 2), torch.nan, dtype=torch.float64)
    single[:, 2, 1] = torch.tensor([0.11, 0.17, 0.08])
    return {
        "three seeds": (three,),
        "cells without a hole": (without,),
        "one seed": (scores(1),),
        "one seed, cells without a hole": (without[1:2],),
        "cells that some seeds lack": (partly,),
        "one cell in all": (single,),
        "seeds that agree": (scores(1).expand(4, 6, 2),),
        "not contiguous": (scores(12).unflatten(0, (6, 2))[..., 0].permute(2, 0, 1),),
        "decibels": (100 * three + 10,),
        "float32": (without.float(),),
    }


def _seed_means(scores: Tensor) -> Tensor:
    return scores.nanmean((1, 2))


def _deviation(x: Tensor, less: int = 1, dim: tuple[int, ...] = (0,)) -> Tensor:
    """The deviation along ``dim``, NaN left out; NaN where there is no number."""
    far = (x - x.nanmean(dim, keepdim=True)).square()
    count = (~x.isnan()).sum(dim)
    found = (far.nansum(dim) / (count - less).clamp(min=1)).sqrt()
    return torch.where(count > 0, found, torch.nan)


@dataclass(frozen=True)
class _Spread:
    """The reference with other functions in the places of its own."""

    seen: Callable[[Tensor], Tensor] = torch.clone
    each: Callable[[Tensor], Tensor] = _seed_means
    mean: Callable[[Tensor], Tensor] = torch.mean
    spread: Callable[[Tensor], Tensor] = _deviation
    of_cells: Callable[[Tensor], Tensor] | None = None  # the spread before the means
    end: Callable[[float, float], tuple[float, float]] = lambda a, b: (a, b)

    def __call__(self, scores: Tensor) -> tuple[float, float]:
        scores = self.seen(scores)
        each = self.each(scores)
        spread = self.of_cells(scores) if self.of_cells else self.spread(each)
        return self.end(float(self.mean(each)), float(spread))


def _pooled_mean(scores: Tensor) -> tuple[float, float]:
    return float(scores.nanmean()), mean_and_spread(scores)[1]


MEANS: Mistakes = {
    "0 / 0": (
        _Spread(spread=lambda e: ((e - e.mean()).square().sum() / (len(e) - 1)).sqrt()),
        "the spread of a single seed is 0 / 0: return 0.0 there",
    ),
    "NaN counted": (
        _Spread(each=lambda scores: scores.mean((1, 2))),
        "a cell without a hole is NaN, and makes a mean NaN: leave it out",
    ),
    "NaN as 0": (
        _Spread(seen=torch.nan_to_num),
        "cells without a hole were counted as 0, which would be a perfect score: leave "
        "them out",
    ),
    "population": (
        _Spread(spread=lambda each: _deviation(each, less=0)),
        "the squares were divided by the number of seeds: divide by one less, because "
        "their own mean is nearer to them than the true one",
    ),
    "standard error": (
        _Spread(spread=lambda each: _deviation(each) / math.sqrt(len(each))),
        "this is how uncertain the mean is: asked is how much one seed varies, without "
        "the root of their number",
    ),
    "variance": (
        _Spread(spread=lambda each: _deviation(each).square()),
        "the spread is a variance: take its root",
    ),
    "range": (
        _Spread(spread=lambda each: each.amax() - each.amin()),
        "this is the largest less the smallest: take the standard deviation",
    ),
    "mean distance": (
        _Spread(spread=lambda e: (e - e.mean()).abs().sum() / max(len(e) - 1, 1)),
        "the distances from the mean were not squared",
    ),
    "relative": (
        _Spread(spread=lambda each: _deviation(each) / each.mean()),
        "the spread was divided by the mean: leave it in the unit of the score",
    ),
    "spread of cells": (
        _Spread(of_cells=lambda scores: _deviation(scores, dim=(1, 2)).mean()),
        "this is how far the cells of the table differ: holes are hard and easy with "
        "every seed; take the spread of the seeds' means",
    ),
    "spread of the mean table": (
        _Spread(of_cells=lambda scores: _deviation(scores.nanmean(0), dim=(0, 1))),
        "this is the spread of the cells of a mean table: the seeds are gone from it",
    ),
    "spread of everything": (
        _Spread(of_cells=lambda scores: _deviation(scores.flatten())),
        "this is the spread of all numbers, cells and seeds together: first one mean "
        "for each seed",
    ),
    "spread in each cell": (
        _Spread(of_cells=lambda scores: _deviation(scores).nanmean()),
        "this is the spread in each cell, averaged: chance cancels over cells, so "
        "first one mean for each seed",
    ),
    "row by row": (
        _Spread(each=lambda scores: scores.nanmean(2).nanmean(1)),
        "rows with one cell count as much as rows with two: all cells of a seed count "
        "alike",
    ),
    "column by column": (
        _Spread(each=lambda scores: scores.nanmean(1).nanmean(1)),
        "a column with few cells counts as much as one with many: all cells of a seed "
        "count alike",
    ),
    "all at once": (
        _pooled_mean,
        "this mean is over all numbers, so a seed that lacks cells counts less: first "
        "one mean for each seed",
    ),
    "median": (
        _Spread(mean=torch.median),
        "this is the middle seed: take the mean",
    ),
    "best seed": (
        _Spread(mean=torch.amin),
        "this is the smallest seed's score: the mean of all is asked, luck included",
    ),
    "first seed": (
        _Spread(mean=lambda each: each[0]),
        "this is the first seed's score: take the mean of all",
    ),
    "swapped": (
        _Spread(end=lambda mean, spread: (spread, mean)),
        "the two are swapped: first the mean",
    ),
}


# ------------------------------------------------------------------------------- 10.2


def verdict(ours: torch.Tensor, other: torch.Tensor) -> tuple[float, int, float]:
    """Whether one form is better than another: ``(share, wins, chance)``.

    ``ours`` and ``other`` (seeds,) are errors above 0, smaller is better, with the same
    seeds in the same order. Returns

    - share, a float: by what part our error is smaller, 1 - ours / other for each seed,
      then the mean over the seeds; below 0 if ours is larger;
    - wins, an int: the number of seeds with which ours is smaller;
    - chance, a float: if each seed had tossed a fair coin for who wins, how probable is
      a result at least as lopsided, to either side? Seeds with equal errors toss none
      and are left out. With n seeds left, of which the luckier form won m, that is
      twice the probability of m or more heads in n tosses, but at most 1.
    """
    wins, losses = int((ours < other).sum()), int((ours > other).sum())
    n, m = wins + losses, max(wins, losses)
    heads = sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n
    return float((1 - ours / other).mean()), wins, min(2 * heads, 1.0)


def _verdict_cases() -> Cases:
    draw = torch.Generator().manual_seed(102)

    def pair(wins: int, losses: int, ties: int = 0) -> tuple[Tensor, Tensor]:
        count = wins + losses + ties
        other = _drawn(draw, count, low=0.08, high=0.2)
        less = _drawn(draw, count, low=0.01, high=0.3)
        sign = torch.tensor([1.0] * wins + [-1.0] * losses + [0.0] * ties)
        order = torch.randperm(count, generator=draw)
        return (other * (1 - sign * less))[order], other[order]

    ours, other = pair(6, 3)
    return {
        "seven of nine seeds": pair(7, 2),
        "two of nine seeds": pair(2, 7),
        "equal errors": pair(3, 4, 3),
        "mostly won, two equal": pair(5, 1, 2),
        "all of three seeds": pair(3, 0),
        "none of three seeds": pair(0, 3),
        "as many won as lost": pair(2, 2),
        "all equal": pair(0, 0, 3),
        "one seed": pair(1, 0),
        "twenty seeds": pair(14, 6),
        "not contiguous": tuple(torch.stack([ours, other], 1).unbind(1)),
        "float32": (ours.float(), other.float()),
    }


def _paired_share(ours: Tensor, other: Tensor) -> Tensor:
    return (1 - ours / other).mean()


def _smaller(ours: Tensor, other: Tensor) -> float:
    return int((ours < other).sum())


def _heads(n: int, m: int) -> float:
    """How probable at least m heads in n tosses are."""
    return sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n


def _two_sided(wins: int, losses: int, ties: int) -> float:
    return min(2 * _heads(wins + losses, max(wins, losses)), 1.0)


def _all_toss(wins: int, losses: int) -> float:
    return _two_sided(wins, losses, 0)


def _normal(wins: int, losses: int, ties: int) -> float:
    return math.erfc(abs(wins - losses) / math.sqrt(2 * max(wins + losses, 1)))


def _this_alone(wins: int, losses: int, ties: int) -> float:
    return min(2 * math.comb(wins + losses, wins) / 2 ** (wins + losses), 1.0)


@dataclass(frozen=True)
class _Verdict:
    """The reference with other functions in the places of its own."""

    seen: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda a, b: (a, b)
    share: Callable[[Tensor, Tensor], Tensor] = _paired_share
    wins: Callable[[Tensor, Tensor], float] = _smaller
    chance: Callable[[int, int, int], float] = _two_sided  # of wins, losses, ties

    def __call__(self, ours: Tensor, other: Tensor) -> tuple[float, float, float]:
        ours, other = self.seen(ours, other)
        counts = ((r(ours, other)) for r in (torch.lt, torch.gt, torch.eq))
        chance = self.chance(*(int(found.sum()) for found in counts))
        return float(self.share(ours, other)), self.wins(ours, other), chance


def _sorted_both(ours: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return ours.sort().values, other.sort().values


VERDICTS: Mistakes = {
    "ratio of means": (
        _Verdict(share=lambda a, b: 1 - a.mean() / b.mean()),
        "the means were compared: take the share of each seed, then the mean",
    ),
    "best against best": (
        _Verdict(share=lambda a, b: 1 - a.amin() / b.amin()),
        "the best seed of each was compared: take the share of each seed, then the "
        "mean",
    ),
    "median": (
        _Verdict(share=lambda a, b: (1 - a / b).median()),
        "this is the middle share: take the mean",
    ),
    "difference": (
        _Verdict(share=lambda a, b: (b - a).mean()),
        "this is a difference of errors: a share has no unit, 1 - ours / other",
    ),
    "ratio": (
        _Verdict(share=lambda a, b: (a / b).mean()),
        "this is how large our error is as a share of the other's: take 1 less it",
    ),
    "sign": (
        _Verdict(share=lambda a, b: (a / b - 1).mean()),
        "the share has the wrong sign: above 0 means that ours is smaller",
    ),
    "divided by ours": (
        _Verdict(share=lambda a, b: (b / a - 1).mean()),
        "this is by how much the other error is larger than ours: divide by other",
    ),
    "swapped": (
        lambda ours, other: _Verdict()(other, ours),
        "ours and other are swapped: the first is ours, and smaller is better",
    ),
    "percent": (
        _Verdict(share=lambda a, b: 100 * (1 - a / b).mean()),
        "the share is in percent: 0.1 is a tenth",
    ),
    "sorted": (
        _Verdict(seen=_sorted_both),
        "the errors were sorted, each by itself: seed k belongs to seed k, which saw "
        "the same pictures and holes",
    ),
    "losses": (
        _Verdict(wins=lambda a, b: int((a > b).sum())),
        "this is the number of seeds with a larger error: smaller is better",
    ),
    "share of seeds": (
        _Verdict(wins=lambda a, b: float((a < b).double().mean())),
        "the wins are a share of the seeds: count them",
    ),
    "wins less losses": (
        _Verdict(wins=lambda a, b: int((a < b).sum() - (a > b).sum())),
        "losses were subtracted from the wins: only count the wins",
    ),
    "below the mean": (
        _Verdict(wins=lambda a, b: int((a < b.mean()).sum())),
        "each seed was held against the other's mean: hold it against the same seed",
    ),
    "half a win": (
        _Verdict(wins=lambda a, b: int((a < b).sum()) + int((a == b).sum()) / 2),
        "equal errors were counted as half a win: they are none",
    ),
    "equal errors won": (
        _Verdict(
            wins=lambda a, b: int((a <= b).sum()),
            chance=lambda won, lost, tied: _all_toss(won + tied, lost),
        ),
        "equal errors were counted as won: smaller means <, and they toss no coin",
    ),
    "equal errors lost": (
        _Verdict(chance=lambda won, lost, tied: _all_toss(won, lost + tied)),
        "equal errors were counted as lost in the chance: they toss no coin, leave "
        "them out",
    ),
    "one side": (
        _Verdict(chance=lambda won, lost, tied: _heads(won + lost, max(won, lost))),
        "this is the chance to one side: the other could have won as lopsidedly, so "
        "take twice as much",
    ),
    "our side twice": (
        _Verdict(chance=lambda won, lost, tied: min(2 * _heads(won + lost, won), 1.0)),
        "the chance begins at our wins, also when we lost more: begin at the larger of "
        "wins and losses",
    ),
    "above 1": (
        _Verdict(chance=lambda won, lost, tied: 2 * _heads(won + lost, max(won, lost))),
        "a chance is above 1: with as many won as lost the middle was counted twice",
    ),
    "this result alone": (
        _Verdict(chance=_this_alone),
        "this is the chance of exactly this result: count the more lopsided ones too",
    ),
    "more lopsided only": (
        _Verdict(
            chance=lambda won, lost, tied: min(
                2 * _heads(won + lost, max(won, lost) + 1), 1.0
            )
        ),
        "only more lopsided results were counted: at least as lopsided has this one",
    ),
    "all to one side": (
        _Verdict(chance=lambda won, lost, tied: min(2 / 2 ** (won + lost), 1.0)),
        "this is the chance that one form wins with all seeds: begin at the wins there "
        "are",
    ),
    "normal": (
        _Verdict(chance=_normal),
        "this is the normal distribution's: with so few tosses count exactly",
    ),
    "complement": (
        _Verdict(chance=lambda won, lost, tied: 1 - _two_sided(won, lost, tied)),
        "this is 1 less the chance: small must mean that luck explains little",
    ),
}


# ------------------------------------------------------------------------------- 10.3


def best_where(errors: torch.Tensor) -> torch.Tensor:
    """Which form is best in each cell of the table.

    ``errors`` (forms, 6, 2), smaller is better, finite or NaN: NaN where a form has no
    score. Returns (6, 2), of dtype int64: the number, counted from 0, of the form with
    the smallest error in the cell. Of equal errors the first form wins, one without a
    score never; -1 where none has a score.
    """
    missing = errors.isnan()
    best = torch.where(missing, torch.inf, errors).argmin(0)
    return torch.where(missing.all(0), -1, best)


def _best_cases() -> Cases:
    draw = torch.Generator().manual_seed(106)

    def errors(forms: int) -> Tensor:
        return _drawn(draw, forms, 6, 2, low=0.05, high=0.2)

    seven, four = errors(7), errors(4)
    without, partly = seven.clone(), four.clone()
    without[:, 0, 1] = without[:, 5] = torch.nan
    partly[0, 1:4] = partly[2, 3:, 0] = partly[:, 2, 1] = torch.nan
    partly[1:, 4, 1] = torch.nan
    return {
        "seven forms": (seven,),
        "cells without a hole": (without,),
        "forms without a score": (partly,),
        "equal errors": ((40 * errors(6)).round() / 40,),
        "one form": (without[3:4],),
        "no score at all": (torch.full_like(four, torch.nan),),
        "errors below 0": (-40 * without,),
        "not contiguous": (without.permute(1, 2, 0).contiguous().permute(2, 0, 1),),
        "float32": (partly.float(),),
    }


def _without_nan(errors: Tensor) -> Tensor:
    return torch.where(errors.isnan(), torch.inf, errors)


def _first_least(seen: Tensor) -> Tensor:
    return seen.argmin(0)


def _last_least(seen: Tensor) -> Tensor:
    return len(seen) - 1 - seen.flip(0).argmin(0)


def _no_score(errors: Tensor) -> Tensor:
    return errors.isnan().all(0)


@dataclass(frozen=True)
class _Best:
    """The reference with other functions in the places of its own."""

    seen: Callable[[Tensor], Tensor] = _without_nan
    least: Callable[[Tensor], Tensor] = _first_least
    empty: Callable[[Tensor], Tensor] = _no_score
    end: Callable[[Tensor], Tensor] = torch.clone

    def __call__(self, errors: Tensor) -> Tensor:
        best = self.end(self.least(self.seen(errors))).expand(errors.shape[1:])
        return torch.where(self.empty(errors), -1, best)


def _not_one(errors: Tensor) -> Tensor:
    return torch.zeros_like(errors[0], dtype=torch.bool)


def _least_mean(errors: Tensor, dim: tuple[int, ...]) -> Tensor:
    mean = _without_nan(errors.nanmean(dim, keepdim=True))
    return mean.argmin(0).expand(errors.shape[1:])


def _most_often(errors: Tensor) -> Tensor:
    best = best_where(errors)
    found = best[best >= 0].mode().values if (best >= 0).any() else best.new_zeros(())
    return torch.where(best < 0, -1, found)


BEST: Mistakes = {
    "largest": (
        _Best(seen=lambda errors: _without_nan(-errors)),
        "these are the forms with the largest error: take the smallest",
    ),
    "-1 forgotten": (
        _Best(empty=_not_one),
        "a cell in which nobody has a score got a winner: say -1 there",
    ),
    "NaN wins": (
        _Best(seen=torch.clone),
        "a form without a score won: put infinity in the place of NaN first; argmin "
        "takes NaN for the smallest",
    ),
    "-1 too often": (
        _Best(empty=lambda errors: errors.isnan().any(0)),
        "a cell is -1 because one form lacks a score there: only where all lack it",
    ),
    "last of equals": (
        _Best(least=_last_least),
        "of equal errors the last form was taken: take the first",
    ),
    "best everywhere": (
        lambda errors: torch.where(_no_score(errors), -1, _least_mean(errors, (1, 2))),
        "this is the form with the smallest mean of all cells, everywhere: choose anew "
        "in each cell",
    ),
    "best of a row": (
        lambda errors: torch.where(_no_score(errors), -1, _least_mean(errors, (2,))),
        "holes at the border and inside were taken together: choose in each cell",
    ),
    "best of a column": (
        lambda errors: torch.where(_no_score(errors), -1, _least_mean(errors, (1,))),
        "holes of all sizes were taken together: choose in each cell",
    ),
    "most often best": (
        _most_often,
        "this is the form that wins most cells, everywhere: say who wins each cell",
    ),
    "counted from 1": (
        _Best(end=lambda best: best + 1),
        "forms are counted from 1: the first is 0",
    ),
    "second": (
        _Best(
            least=lambda seen: seen.argsort(dim=0, stable=True)[min(1, len(seen) - 1)]
        ),
        "this is the second best form: the smallest comes first in argsort, at 0",
    ),
    "rank of the first": (
        _Best(least=lambda seen: seen.argsort(dim=0, stable=True).argsort(0)[0]),
        "this is the rank of form 0: which form has rank 0?",
    ),
    "how many": (
        _Best(end=lambda best: torch.zeros_like(best)),
        "form 0 is named everywhere: it wins only where its error is smallest",
    ),
}


# ------------------------------------------------------------------------------- 10.4


def front(cost: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Which forms are worth a look: those that no other form beats.

    ``cost`` and ``error`` are (forms,), finite, smaller is better; ``cost`` may be
    whole numbers, in any unit. Form k beats form i if it is at most as dear and at most
    as wrong, and less of at least one. Returns (forms,), of dtype bool: True where no
    form beats form i. Two forms with equal cost and equal error do not beat each other.
    """
    dearer, worse = cost[:, None] > cost, error[:, None] > error
    less = (cost[:, None] < cost) | (error[:, None] < error)
    beats = ~dearer & ~worse & less
    return ~beats.any(0)


def _front_cases() -> Cases:
    draw = torch.Generator().manual_seed(135)

    def forms(count: int) -> tuple[Tensor, Tensor]:
        """Dearer ones err less, mostly."""
        cost = _drawn(draw, count, low=1, high=9)
        noise = _drawn(draw, count, low=0.04, high=0.12)
        return cost, 0.2 / cost.sqrt() + noise

    cost, error = forms(12)
    bent = torch.tensor([4, 1, 3, 2, 5.0]).double()
    height = torch.tensor([0.16, 0.2, 0.19, 0.195, 0.1]).double()  # bulges outwards
    coarse = torch.tensor([[1, 5, 2, 4, 3, 1, 2, 4], [22, 10, 16, 12, 16, 20, 18, 10]])
    twins = torch.tensor([7, 0, 7, 3, 9, 5, 0, 9]) % 12
    steps = (20 * error).round() / 20
    wide = torch.stack(forms(9), 1)
    return {
        "twelve forms": (cost, error),
        "equal costs, equal errors": (coarse[0], coarse[1] / 100.0),
        "a front that bulges": (bent, height),
        "twins": (cost[twins], error[twins]),
        "coarse errors": (cost, steps),
        "coarse costs": ((cost / 2).round(), error),
        "all of one cost": (torch.full_like(cost, 4), steps),
        "nobody is beaten": (bent, 1 / bent),
        "one beats all": (bent, bent / 40),
        "one form": (cost[:1], error[:1]),
        "whole numbers": ((1000 * cost).long(), error),
        "below 0": (cost, -30 - 4 * error),
        "not contiguous": tuple(wide.unbind(1)),
        "float32": (cost.float(), error.float()),
    }


_Compare = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Front:
    """Not beaten by any form k, with another meaning of beaten."""

    beats: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # costs, errors of k, i

    def __call__(self, cost: Tensor, error: Tensor) -> Tensor:
        return ~self.beats(cost[:, None], cost, error[:, None], error).any(0)


def _usual(ck: Tensor, ci: Tensor, ek: Tensor, ei: Tensor) -> Tensor:
    return (ck <= ci) & (ek <= ei) & ((ck < ci) | (ek < ei))


def _twins_out(first: bool) -> _Front:
    """Twins beat each other: all of them, or all but the first."""

    def beats(ck: Tensor, ci: Tensor, ek: Tensor, ei: Tensor) -> Tensor:
        number = torch.arange(len(ci))
        others = number[:, None] < number if first else number[:, None] != number
        return (ck <= ci) & (ek <= ei) & ((ck < ci) | (ek < ei) | others)

    return _Front(beats)


def _sweep(
    compare: _Compare, by_error: bool = True, back: bool = True, ends: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """From the cheapest up, each held against the best error so far."""

    def answer(cost: Tensor, error: Tensor) -> Tensor:
        first = torch.arange(len(cost))
        if by_error:
            first = error.argsort(stable=True)
        first = first[cost[first].argsort(stable=True)]
        found = error[first]
        best = torch.cat([found.new_full((1,), torch.inf), found.cummin(0).values[:-1]])
        kept = compare(found, found.roll(1) if ends else best)
        if ends:
            kept[0] = True
        return torch.zeros_like(kept).scatter(0, first, kept) if back else kept

    return answer


def _hull(cost: Tensor, error: Tensor) -> Tensor:
    """Best for some exchange rate of cost and error."""
    kept = front(cost, error)
    for i in kept.nonzero().flatten().tolist():
        left, right = cost < cost[i], cost > cost[i]
        rise = (error - error[i]) / (cost - cost[i])
        if left.any() and right.any() and rise[left].amax() > rise[right].amin():
            kept[i] = False
    return kept


def _ends(cost: Tensor, error: Tensor) -> Tensor:
    return front(cost, error) & ((cost == cost.amin()) | (error == error.amin()))


def _product(cost: Tensor, error: Tensor) -> Tensor:
    return cost * error == (cost * error).amin()


FRONTS: Mistakes = {
    "strict on both": (
        _Front(lambda ck, ci, ek, ei: (ck < ci) & (ek < ei)),
        "a form that is as dear as another and worse, or as good and dearer, is beaten "
        "too: at most on both, less on one",
    ),
    "twins out": (
        _twins_out(first=False),
        "twins, equal in both, beat each other: at least one of the two must be less",
    ),
    "itself": (
        _Front(lambda ck, ci, ek, ei: (ck <= ci) & (ek <= ei)),
        "no form is left, as if each beat itself: at most as much of both, and less of "
        "at least one",
    ),
    "first twin": (
        _twins_out(first=True),
        "only the first of twins stayed: both do, neither is better",
    ),
    "strict cost": (
        _Front(lambda ck, ci, ek, ei: (ck < ci) & (ek <= ei)),
        "of forms that cost the same the worse one stayed: it is beaten",
    ),
    "strict error": (
        _Front(lambda ck, ci, ek, ei: (ck <= ci) & (ek < ei)),
        "of forms that err the same the dearer one stayed: it is beaten",
    ),
    "cheapest": (
        lambda cost, error: front(cost, error) & (cost == cost.amin()),
        "only the cheapest is left: a dearer form that errs less is not beaten",
    ),
    "best": (
        lambda cost, error: front(cost, error) & (error == error.amin()),
        "only the best is left: a cheaper form is not beaten by it",
    ),
    "cheapest and best": (
        _ends,
        "only the cheapest and the best are left: forms between them need not be "
        "beaten",
    ),
    "hull": (
        _hull,
        "this is the convex hull: forms that bulge outwards were taken for beaten, but "
        "there is no form between two others that you could take instead",
    ),
    "product": (
        _product,
        "cost and error were multiplied: then one form wins, which one is a matter of "
        "units",
    ),
    "sweep in any order": (
        _sweep(torch.lt, by_error=False),
        "sorted by cost alone, of forms that cost the same the first stayed, however "
        "wrong: compare these too",
    ),
    "sweep, not sorted back": (
        _sweep(torch.lt, back=False),
        "the answer is in the order of cost: go back to the forms' own",
    ),
    "neighbours": (
        _sweep(torch.lt, ends=True),
        "each form was held against the next cheaper one alone: any cheaper one may "
        "beat it",
    ),
    "beaten": (
        lambda cost, error: ~front(cost, error),
        "these are the beaten ones: True where nobody beats a form",
    ),
    "larger is better": (
        lambda cost, error: front(cost, -error),
        "large errors were taken for good: smaller is better",
    ),
    "dear is better": (
        lambda cost, error: front(-cost, error),
        "high costs were taken for good: smaller is better",
    ),
    "who beats": (
        lambda cost, error: ~_usual(cost[:, None], cost, error[:, None], error).any(1),
        "these are the forms that beat nobody: look along the other axis",
    ),
}


# ------------------------------------------------------------------------------- 10.5


def interval(
    ours: torch.Tensor, other: torch.Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """How far a lead hangs on the photos it was measured on: ``(low, high)``, floats.

    ``ours`` and ``other`` (seeds, photos) are errors above 0, with the same seeds and
    the same photos in the same order. Imagine another evaluation: as many photos, drawn
    from these, one more than once, another never. Draw d, of ``draws``, is row d of
    ``torch.randint(photos, (draws, photos), generator=generator)``, called once: both
    forms and all seeds have the photos of that row. Its share is that of exercise 10.2:
    the error of a seed is the mean over the drawn photos, 1 - ours / other for each
    seed, then the mean over the seeds.

    Returns the quantiles 0.025 and 0.975 of the shares, as ``torch.quantile`` has them:
    95 of 100 imagined evaluations lie between.
    """
    photos = ours.shape[1]
    drawn = torch.randint(photos, (draws, photos), generator=generator)
    share = (1 - ours[:, drawn].mean(2) / other[:, drawn].mean(2)).mean(0)
    return float(share.quantile(0.025)), float(share.quantile(0.975))


def _interval_cases() -> Cases:
    draw = torch.Generator().manual_seed(105)

    def case(seeds: int, photos: int, draws: int, lead: float) -> tuple[Any, ...]:
        hard = _drawn(draw, 1, photos, low=0.03, high=0.3)  # the same for both
        level = _drawn(draw, seeds, 1, low=0.7, high=1.4)
        ours, other = (
            hard * level * _drawn(draw, seeds, photos, low=0.7, high=1.3)
            for _ in range(2)
        )
        return (1 - lead) * ours, other, draws, torch.Generator().manual_seed(photos)

    ours, other, draws, generator = case(3, 16, 90, 0.1)
    return {
        "three seeds": case(3, 20, 150, 0.1),
        "one seed": case(1, 12, 100, -0.05),
        "few draws": case(3, 10, 7, 0.0),
        "one draw": case(2, 9, 1, 0.2),
        "one photo": case(3, 1, 20, 0.1),
        "a clear lead": case(4, 25, 200, 0.5),
        "equal errors": (ours, ours.clone(), draws, torch.Generator().manual_seed(1)),
        "not contiguous": (ours.mT.contiguous().mT, other, draws, generator),
        "float32": (*(x.float() for x in case(3, 20, 120, 0.1)[:2]), 60, _seven()),
    }


def _seven() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def _afresh(answer: Callable[..., Any]) -> Callable[..., Any]:
    """An answer that leaves the generator of a case for the next one as it was."""

    def asked(ours: Tensor, other: Tensor, draws: int, generator: Any) -> Any:
        again = torch.Generator()
        again.set_state(generator.get_state())
        return answer(ours, other, draws, again)

    return asked


def _draw(photos: int, draws: int, generator: torch.Generator) -> Tensor:
    return torch.randint(photos, (draws, photos), generator=generator)


def _turned_draw(photos: int, draws: int, generator: torch.Generator) -> Tensor:
    return torch.randint(photos, (photos, draws), generator=generator).T


def _permuted(photos: int, draws: int, generator: torch.Generator) -> Tensor:
    return torch.stack(
        [torch.randperm(photos, generator=generator) for _ in range(draws)]
    )


_Again = Callable[[], Tensor]  # draws once more


def _both_drawn(
    ours: Tensor, other: Tensor, drawn: Tensor, again: _Again
) -> tuple[Tensor, Tensor]:
    return ours[:, drawn], other[:, drawn]


def _share_of_means(ours: Tensor, other: Tensor) -> Tensor:
    return (1 - ours.mean(2) / other.mean(2)).mean(0)


def _quantiles(share: Tensor) -> tuple[Tensor, Tensor]:
    return share.quantile(0.025), share.quantile(0.975)


def _between(low: float, high: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda share: (share.quantile(low), share.quantile(high))


def _two_deviations(share: Tensor) -> tuple[Tensor, Tensor]:
    far = 1.96 * _deviation(share)
    return share.mean() - far, share.mean() + far


def _no_quantile(share: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted, and places counted off."""
    found, count = share.sort().values, len(share)
    return found[int(0.025 * count)], found[min(int(0.975 * count), count - 1)]


@dataclass(frozen=True)
class _Interval:
    """The reference with other functions in the places of its own."""

    draw: Callable[[int, int, torch.Generator], Tensor] = _draw
    take: Callable[[Tensor, Tensor, Tensor, _Again], tuple[Tensor, Tensor]] = (
        _both_drawn
    )
    share: Callable[[Tensor, Tensor], Tensor] = _share_of_means
    limits: Callable[[Tensor], tuple[Tensor, Tensor]] = _quantiles
    end: Callable[[float, float], tuple[float, float]] = lambda a, b: (a, b)

    def __call__(
        self, ours: Tensor, other: Tensor, draws: int, generator: torch.Generator
    ) -> tuple[float, float]:
        def draw() -> Tensor:
            return self.draw(ours.shape[1], draws, generator)

        taken = self.take(ours, other, draw(), draw)
        low, high = self.limits(self.share(*taken))
        return self.end(float(low), float(high))


def _each_form(
    ours: Tensor, other: Tensor, drawn: Tensor, again: _Again
) -> tuple[Tensor, Tensor]:
    return ours[:, drawn], other[:, again()]


def _each_seed(
    ours: Tensor, other: Tensor, drawn: Tensor, again: _Again
) -> tuple[Tensor, Tensor]:
    each = [drawn, *(again() for _ in ours[1:])]
    return tuple(  # type: ignore[return-value]
        torch.stack([form[k, rows] for k, rows in enumerate(each)])
        for form in (ours, other)
    )


def _ours_alone(
    ours: Tensor, other: Tensor, drawn: Tensor, again: _Again
) -> tuple[Tensor, Tensor]:
    return ours[:, drawn], other[:, None].expand(-1, len(drawn), -1)


def _one_pot(
    ours: Tensor, other: Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """All pairs of seed and photo, drawn as if each were a photo."""
    flat = ours.reshape(1, -1), other.reshape(1, -1)
    return interval(*flat, draws, generator)


def _seed_intervals(
    ours: Tensor, other: Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    drawn = _draw(ours.shape[1], draws, generator)
    share = 1 - ours[:, drawn].mean(2) / other[:, drawn].mean(2)
    low, high = (share.quantile(q, dim=1).mean() for q in (0.025, 0.975))
    return float(low), float(high)


_BOOTSTRAPS: Mistakes = {
    "each form its own": (
        _Interval(take=_each_form),
        "the two forms were given other photos: pairs stay together, so that hard "
        "photos are hard for both",
    ),
    "each seed its own": (
        _Interval(take=_each_seed),
        "each seed was given other photos, so their luck cancels: an evaluation "
        "has the same photos for all seeds",
    ),
    "ours alone": (
        _Interval(take=_ours_alone),
        "only the photos of ours were drawn: both forms have those of the row",
    ),
    "one pot": (
        _one_pot,
        "seeds and photos were drawn from one pot: three seeds on a photo are not "
        "three photos",
    ),
    "each once": (
        _Interval(draw=_permuted),
        "every photo was drawn once, so all draws are the same evaluation: draw "
        "with repetition",
    ),
    "turned": (
        _Interval(draw=_turned_draw),
        "the drawn numbers are in other places: a row for each draw, a column for "
        "each photo",
    ),
    "photo by photo": (
        _Interval(share=lambda a, b: (1 - a / b).mean((0, 2))),
        "the share was taken for each photo, so easy photos count as much as hard "
        "ones: first the mean error over the photos",
    ),
    "seeds pooled": (
        _Interval(share=lambda a, b: 1 - a.mean((0, 2)) / b.mean((0, 2))),
        "seeds were averaged before the share: take the share of each seed, then "
        "the mean",
    ),
    "difference": (
        _Interval(share=lambda a, b: (b - a).mean((0, 2))),
        "these are differences of errors: a share is 1 - ours / other",
    ),
    "ratio": (
        _Interval(share=lambda a, b: 1 - _share_of_means(a, b)),
        "these are ratios ours / other: a share is 1 less them",
    ),
    "swapped forms": (
        lambda ours, other, *rest: interval(other, ours, *rest),
        "ours and other are swapped: the first is ours, and smaller is better",
    ),
    "sign": (
        _Interval(share=lambda a, b: -_share_of_means(a, b)),
        "the shares have the wrong sign: above 0 means that ours is smaller",
    ),
    "extremes": (
        _Interval(limits=_between(0, 1)),
        "these are the smallest and the largest share: the more draws, the farther "
        "apart; take the quantiles 0.025 and 0.975",
    ),
    "90 of 100": (
        _Interval(limits=_between(0.05, 0.95)),
        "5 of 100 were cut off at each end: 5 of 100 at both together",
    ),
    "quartiles": (
        _Interval(limits=_between(0.25, 0.75)),
        "half of the draws were cut off: 0.25 is not 0.025",
    ),
    "percent": (
        _Interval(end=lambda low, high: (100 * low, 100 * high)),
        "the shares are in percent: 0.1 is a tenth",
    ),
    "two deviations": (
        _Interval(limits=_two_deviations),
        "this is the mean and 1.96 deviations: let the draws speak, take their "
        "quantiles",
    ),
    "counted off": (
        _Interval(limits=_no_quantile),
        "a quantile that lies between two draws was rounded to one: torch.quantile "
        "divides the gap",
    ),
    "interval of each seed": (
        _seed_intervals,
        "each seed got an interval, and these were averaged: first the mean of the "
        "seeds' shares in each draw",
    ),
    "first seed": (
        lambda ours, other, *rest: interval(ours[:1], other[:1], *rest),
        "only the first seed was used: take the mean of all",
    ),
    "width": (
        _Interval(end=lambda low, high: (low, high - low)),
        "the second number is a width: give the upper end",
    ),
    "upside down": (
        _Interval(end=lambda low, high: (high, low)),
        "the two are swapped: first the lower end",
    ),
}
INTERVALS: Mistakes = {
    name: (_afresh(answer), hint) for name, (answer, hint) in _BOOTSTRAPS.items()
}

EXERCISES = (
    Exercise(
        "10.1",
        reference=mean_and_spread,
        cases=_spread_cases,
        judge=Judge(mean_and_spread, MEANS, ATOL, RTOL),
        wrong=answers(MEANS)
        | {
            "tensors": lambda scores: tuple(map(torch.tensor, mean_and_spread(scores))),
            "only the mean": lambda scores: mean_and_spread(scores)[0],
            "each seed": lambda scores: scores.nanmean((1, 2)),
        },
    ),
    Exercise(
        "10.2",
        reference=verdict,
        cases=_verdict_cases,
        judge=Judge(verdict, VERDICTS, ATOL, RTOL),
        wrong=answers(VERDICTS)
        | {
            "tensors": lambda *pair: tuple(map(torch.tensor, verdict(*pair))),
            "equal errors toss": _Verdict(
                chance=lambda won, lost, tied: min(
                    2 * _heads(won + lost + tied, max(won, lost)), 1.0
                )
            ),
            "one side, ours": _Verdict(
                chance=lambda won, lost, tied: _heads(won + lost, won)
            ),
            "who won": lambda ours, other: ours < other,
        },
    ),
    Exercise(
        "10.3",
        reference=best_where,
        cases=_best_cases,
        judge=Judge(best_where, BEST),
        wrong=answers(BEST)
        | {
            "argmax": lambda errors: errors.argmax(0),
            "argmin": lambda errors: errors.argmin(0),
            "NaN as 0": _Best(seen=torch.nan_to_num),
            "the errors": lambda errors: _without_nan(errors).amin(0),
            "one number": lambda errors: errors.nanmean((1, 2)).argmin(),
            "the best cell": lambda errors: _without_nan(errors).flatten(1).argmin(1),
        },
    ),
    Exercise(
        "10.4",
        reference=front,
        cases=_front_cases,
        judge=Judge(front, FRONTS),
        wrong=answers(FRONTS)
        | {
            "less of one": _Front(lambda ck, ci, ek, ei: (ck < ci) | (ek < ei)),
            "sweep, better than all before": _sweep(torch.lt),
            "sweep, at least as good": _sweep(torch.le),
            "numbers": lambda *forms: front(*forms).nonzero().flatten(),
            "floats": lambda *forms: front(*forms).double(),
        },
    ),
    Exercise(
        "10.5",
        reference=interval,
        cases=_interval_cases,
        judge=Judge(_afresh(interval), INTERVALS, ATOL, RTOL),
        wrong=answers(INTERVALS)
        | {
            "tensors": lambda *case: tuple(map(torch.tensor, interval(*case))),
            "numbers of the global generator": lambda ours, other, draws, generator: (
                interval(ours, other, draws, torch.Generator().manual_seed(12345))
            ),
        },
    ),
)
