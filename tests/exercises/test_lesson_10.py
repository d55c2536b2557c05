"""Lesson 10's exercises take every right answer, and say what is wrong with others."""

import statistics
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
import torch
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from course_lib.exercises import find, grade, lesson_10
from course_lib.studies import Study


def _in_plain_python(scores: Tensor) -> tuple[float, float]:
    each = []
    for seed in scores.double().flatten(1).tolist():
        known = [value for value in seed if value == value]
        each.append(sum(known) / len(known))
    return statistics.mean(each), statistics.stdev(each) if len(each) > 1 else 0.0


def _corrected(scores: Tensor) -> tuple[float, float]:
    """With the population's deviation, corrected."""
    known = ~scores.isnan()
    each = torch.where(known, scores, 0).sum((1, 2)) / known.sum((1, 2))
    n = len(each)
    spread = each.std(correction=0) * (n / max(n - 1, 1)) ** 0.5
    return each.mean().item(), spread.item()


def _all_tosses(ours: Tensor, other: Tensor) -> tuple[float, int, float]:
    """Adds a seed at a time to the chances of 0, 1, 2, ... heads."""
    won, lost = int((other > ours).sum()), int((other < ours).sum())
    chances = [Fraction(1)]
    for _ in range(won + lost):
        pairs = zip([0, *chances], [*chances, 0], strict=True)
        chances = [Fraction(a + b) / 2 for a, b in pairs]
    far = abs(won - lost)
    tosses = won + lost
    lopsided = [p for k, p in enumerate(chances) if abs(2 * k - tosses) >= far]
    return float(((other - ours) / other).mean()), won, float(sum(lopsided))


def _scipys(ours: Tensor, other: Tensor) -> tuple[float, int, float]:
    won, left = int((ours < other).sum()), int((ours != other).sum())
    chance = binomtest(won, left).pvalue if left else 1.0
    return float(1 - (ours / other).mean()), won, float(chance)


def _cell_by_cell(errors: Tensor) -> Tensor:
    best = torch.full(errors.shape[1:], -1)
    for row, column in product(*map(range, errors.shape[1:])):
        least = float("inf")
        for form, error in enumerate(errors[:, row, column].tolist()):
            if error < least:  # NaN is not
                least, best[row, column] = error, form
    return best


def _by_sorting(errors: Tensor) -> Tensor:
    first = errors.sort(dim=0, stable=True)
    return torch.where(first.values[0].isnan(), -1, first.indices[0])


def _form_by_form(cost: Tensor, error: Tensor) -> Tensor:
    forms = list(zip(cost.tolist(), error.tolist(), strict=True))
    beaten = [any(k[0] <= c and k[1] <= e and k != (c, e) for k in forms)
              for c, e in forms]  # fmt: skip
    return ~torch.tensor(beaten)


def _swept(cost: Tensor, error: Tensor) -> Tensor:
    """The least error at a cost, and less than at any smaller cost."""
    kept = torch.zeros(len(cost), dtype=torch.bool)
    least = float("inf")
    for price in cost.unique().tolist():
        here = cost == price
        best = error[here].min().item()
        if best < least:
            kept |= here & (error == best)
            least = best
    return kept


def _draw_by_draw(
    ours: Tensor, other: Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    shares, photos = [], ours.shape[1]
    for row in torch.randint(photos, (draws, photos), generator=generator):
        shares.append(lesson_10.verdict(ours[:, row].mean(1), other[:, row].mean(1))[0])
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.tensor(shares, dtype=torch.float64).quantile(ends).tolist()
    return low, high


def _counted(
    ours: Tensor, other: Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """How often each photo is drawn, and one product of matrices."""
    photos = ours.shape[1]
    drawn = torch.randint(photos, (draws, photos), generator=generator)
    often = torch.nn.functional.one_hot(drawn, photos).sum(1).to(ours.dtype)
    share = sorted((1 - (often @ ours.mT) / (often @ other.mT)).mean(1).tolist())
    return _between(share, 0.025), _between(share, 0.975)


def _between(values: list[float], at: float) -> float:
    place = at * (len(values) - 1)
    below, part = int(place), place % 1
    above = min(below + 1, len(values) - 1)
    return values[below] * (1 - part) + values[above] * part


OTHERS = [
    ("10.1", _in_plain_python),
    ("10.1", _corrected),
    ("10.2", _all_tosses),
    ("10.2", _scipys),
    ("10.3", _cell_by_cell),
    ("10.3", _by_sorting),
    ("10.4", _form_by_form),
    ("10.4", _swept),
    ("10.5", _draw_by_draw),
    ("10.5", _counted),
]


@pytest.mark.parametrize(("key", "answer"), OTHERS)
def test_another_right_answer_passes(key: str, answer: Callable[..., Any]):
    assert grade(find(key), answer) == len(find(key).cases())


def test_the_mean_is_what_a_study_prints():
    scores = find("10.1").cases()["cells without a hole"][0].float()
    cells = {
        f"form {seed}": {"seed": seed, "scores": {"hole_l1": rows.tolist()}}
        for seed, rows in enumerate(scores)
    }
    each = Study(cells).mean("form")
    mean, spread = lesson_10.mean_and_spread(Study(cells).scores("form"))
    assert mean == pytest.approx(each.mean().item())
    assert spread == pytest.approx(each.std().item(), rel=1e-4)


def test_three_seeds_can_never_be_rarer_than_one_in_four():
    other = torch.ones(3)
    assert lesson_10.verdict(0.1 * other, other) == (pytest.approx(0.9), 3, 0.25)
    assert lesson_10.verdict(2 * other, other) == (-1, 0, 0.25)
    assert lesson_10.verdict(other, other) == (0, 0, 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
def test_the_chance_is_that_of_the_sign_test(won: int, lost: int, tied: int):
    ours = torch.tensor([0.9] * won + [1.1] * lost + [1.0] * (tied + 1))
    found = lesson_10.verdict(ours, torch.ones(len(ours)))
    left = won + lost
    assert found[1] == won
    assert found[2] == pytest.approx(binomtest(won, left).pvalue if left else 1)


FORMS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1)


@settings(deadline=None, max_examples=50)
@given(FORMS)
def test_the_front_beats_all_others_and_none_of_its_own(forms: list[tuple[int, int]]):
    cost, error = torch.tensor(forms).unbind(1)
    kept = lesson_10.front(cost, error).tolist()
    ours = [form for form, stays in zip(forms, kept, strict=True) if stays]

    def beaten(form: tuple[int, int]) -> bool:
        return any(k != form and k[0] <= form[0] and k[1] <= form[1] for k in ours)

    assert [not beaten(form) for form in forms] == kept


def _pairs(lead: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Errors of 3 seeds on 60 photos, of which some are ten times as hard."""
    draw = torch.Generator().manual_seed(seed)
    hard = 0.02 + 0.2 * torch.rand(1, 60, generator=draw)
    noise = 0.9 + 0.2 * torch.rand(2, 3, 60, generator=draw)
    return (1 - lead) * hard * noise[0], hard * noise[1]


def test_pairs_make_the_interval_narrow_and_it_holds_the_lead():
    pair = _pairs(0.05)
    low, high = lesson_10.interval(*pair, 400, torch.Generator().manual_seed(1))
    assert 0 < low < lesson_10.verdict(*(x.mean(1) for x in pair))[0] < high
    apart = lesson_10.INTERVALS["each form its own"][0]
    wide = apart(*pair, 400, torch.Generator().manual_seed(1))
    assert wide[0] < 0
    assert wide[1] - wide[0] > 5 * (high - low)


def test_a_lead_that_is_the_same_everywhere_hangs_on_no_photo():
    other = _pairs(0)[1].double()
    generator = torch.Generator().manual_seed(1)
    assert lesson_10.interval(0.8 * other, other, 50, generator) == (
        pytest.approx(0.2),
        pytest.approx(0.2),
    )


def test_the_cases_have_what_they_are_called_after():
    table = find("10.1").cases()["cells without a hole"][0].isnan()
    assert table.any()
    assert (table == table[0]).all()
    coarse = find("10.3").cases()["equal errors"][0]
    assert ((coarse == coarse.amin(0)).sum(0) > 1).any()
    cost, error = find("10.4").cases()["twins"]
    kept = lesson_10.front(cost, error)
    forms = list(zip(cost[kept].tolist(), error[kept].tolist(), strict=True))
    assert len(set(forms)) < len(forms)
    for key in ("10.1", "10.2", "10.3", "10.4", "10.5"):
        parts = find(key).cases()["not contiguous"]
        tensors = [part for part in parts if isinstance(part, Tensor)]
        assert not all(part.is_contiguous() for part in tensors)


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("10.1", "tensors", "a float is asked for"),
        ("10.1", "only the mean", "a tuple of 2 is asked for"),
        ("10.2", "tensors", "a float is asked for"),
        ("10.2", "who won", "a tuple of 3 is asked for"),
        ("10.2", "equal errors toss", "leave them out"),
        ("10.2", "one side, ours", "take twice as much"),
        ("10.3", "argmax", "take the smallest"),
        ("10.3", "argmin", "say -1 there"),
        ("10.3", "NaN as 0", "infinity in the place of NaN"),
        ("10.3", "the errors", "the dtype of your answer is torch.float64"),
        ("10.3", "one number", "the shape of your answer is ()"),
        ("10.4", "less of one", "at most as much of both"),
        ("10.4", "sweep, better than all before", "only the first of twins stayed"),
        ("10.4", "sweep, at least as good", "the dearer one stayed"),
        ("10.4", "numbers", "the shape of your answer is (6,)"),
        ("10.5", "tensors", "a float is asked for"),
        ("10.5", "numbers of the global generator", "right is"),
    ],
)
def test_what_is_said_of_a_wrong_answer(key: str, name: str, said: str):
    assert said in verdicts.verdict(key, find(key).wrong[name])


@pytest.mark.parametrize("key", ["10.1", "10.2", "10.3", "10.4"])
def test_an_answer_that_writes_into_its_input_is_told_so(key: str):
    def in_place(first: Tensor, *rest: Any) -> Any:
        found = find(key).reference(first, *rest)
        first.mul_(0)
        return found

    assert "in place: work on a copy" in verdicts.verdict(key, in_place)
