"""Lesson 09's exercises take every right answer, and say what is wrong with others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from verdicts import verdict

from course_lib import mining
from course_lib.exercises import find, grade, lesson_09
from course_lib.tensors import composite


def _by_rank(score: Tensor, ratio: float) -> Tensor:
    """With the rank of every pixel, and a threshold on ranks."""
    flat = score.flatten(1)
    rank = flat.argsort(dim=1, stable=True).argsort(dim=1)
    size = round(ratio * flat.shape[1])
    return (rank < size).to(score.dtype).view(score.shape)


def _one_after_another(score: Tensor, ratio: float) -> Tensor:
    """In plain Python: places ordered by score and then by number."""
    hole = torch.zeros(score.shape, dtype=score.dtype)
    for picture, values in zip(hole, score, strict=True):
        numbers = values.flatten().tolist()
        places = sorted(range(len(numbers)), key=lambda k: (numbers[k], k))
        for place in places[: round(ratio * len(numbers))]:
            picture.view(-1)[place] = 1
    return hole


def _picture_by_picture(score: Tensor, error: Tensor, hole: Tensor) -> Tensor:
    """Chosen by an index, so that nothing outside the hole is ever touched."""
    total = torch.zeros((), dtype=score.dtype)
    for s, e, missing in zip(score, error, hole == 1, strict=True):
        if missing.any():
            each = e[missing].detach() / s[missing].exp() + s[missing]
            total = total + each.mean()
    return total / len(score)


def _indices(score: Tensor, error: Tensor, hole: Tensor) -> Tensor:
    """Every missing pixel of the batch at once, weighted by its picture."""
    picture, *_ = index = hole.nonzero(as_tuple=True)
    s, e = score[index], error.data[index]
    share = 1 / (hole.sum((1, 2, 3))[picture] * len(hole))
    return ((e * (-s).exp() + s) * share).sum()


def _as_sets(hole: Tensor, other: Tensor) -> Tensor:
    found = []
    for pair in zip(hole, other, strict=True):
        a, b = (set(part.flatten().nonzero().flatten().tolist()) for part in pair)
        found.append(len(a & b) / len(a | b) if a | b else torch.nan)
    return torch.tensor(found, dtype=hole.dtype)


def _by_areas(hole: Tensor, other: Tensor) -> Tensor:
    both = ((hole == 1) & (other == 1)).flatten(1).sum(1).to(hole.dtype)
    return both / (hole.sum((1, 2, 3)) + other.sum((1, 2, 3)) - both)


def _pixel_by_pixel(score: Tensor, budget: float, low: float, high: float) -> Tensor:
    """Adds the next pixel as long as the mean with it is at most the budget."""
    hole = torch.zeros(score.shape, dtype=score.dtype)
    for picture, values in zip(hole, score, strict=True):
        numbers = values.flatten().tolist()
        least, most = (round(share * len(numbers)) for share in (low, high))
        total = 0.0
        places = sorted(range(len(numbers)), key=lambda k: (numbers[k], k))
        for size, place in enumerate(places[:most], 1):
            total += torch.tensor(numbers[place], dtype=torch.float64).exp().item()
            if size > least and total / size > budget:
                break
            picture.view(-1)[place] = 1
    return hole


def _by_lowest(score: Tensor, budget: float, low: float, high: float) -> Tensor:
    """Tries every area from the largest down."""
    area, parts = score[0].numel(), []
    for one in score.split(1):
        for size in range(round(high * area), round(low * area) - 1, -1):
            hole = lesson_09.lowest(one, size / area)
            if size == 0 or one[hole == 1].exp().mean() <= budget:
                break
        parts.append(hole)
    return torch.cat(parts)


def _photo_by_photo(
    network: nn.Module, image: Tensor, hole: Tensor, shifts: tuple[int, ...]
) -> tuple[float, float]:
    """One photo at a time; keeps the modes by itself."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    count, found = len(image), {}
    with torch.inference_mode():
        for shift in {0} | {shift % count for shift in shifts}:
            errors = []
            for k in range(count):
                photo, gap = image[k : k + 1], hole[(k - shift) % count][None]
                made = network(photo.masked_fill(gap == 1, torch.nan), gap)
                wrong = (made - photo)[(gap == 1).expand_as(photo)]
                errors.append(wrong.abs().mean().item())
            found[shift] = sum(errors) / count
    for part, mode in modes.items():
        part.training = mode
    others = [found[shift % count] for shift in shifts if shift % count]
    return found[0], sum(others) / len(others)


def _all_at_once(
    network: nn.Module, image: Tensor, hole: Tensor, shifts: tuple[int, ...]
) -> tuple[float, float]:
    """All shifts in one batch; compares what a composite shows."""
    each = [0, *(shift for shift in shifts if shift % len(hole))]
    gaps = torch.cat([hole.roll(shift, 0) for shift in each])
    photos = image.repeat(len(each), 1, 1, 1)
    training = [part for part in network.modules() if part.training]
    network.eval()
    with torch.no_grad():
        made = network(torch.where(gaps == 1, torch.nan, photos), gaps)
        shown = composite(made, photos, gaps)
    for part in training:
        part.training = True
    error = (shown - photos).abs().mean(1).sum((1, 2)) / gaps.sum((1, 2, 3))
    mined, *others = error.view(len(each), -1).mean(1).tolist()
    return mined, sum(others) / len(others)


OTHERS = [
    ("09.1", _by_rank),
    ("09.1", _one_after_another),
    ("09.2", _picture_by_picture),
    ("09.2", _indices),
    ("09.3", _as_sets),
    ("09.3", _by_areas),
    ("09.3", mining.overlap),
    ("09.4", _pixel_by_pixel),
    ("09.4", _by_lowest),
    ("09.5", _photo_by_photo),
    ("09.5", _all_at_once),
]


@pytest.mark.parametrize(("key", "answer"), OTHERS)
def test_another_right_answer_passes(key: str, answer: Callable[..., Any]):
    assert grade(find(key), answer) == len(find(key).cases())


def _scores(draw: int, shape: tuple[int, int, int]) -> Tensor:
    count, height, width = shape
    generator = torch.Generator().manual_seed(draw)
    x = torch.randn(count, 1, height, width, generator=generator, dtype=torch.float64)
    return (4 * x).round() / 4 if draw % 2 else x  # with ties, or without


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(2, 9))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), SHAPES, st.floats(0.02, 0.98))
def test_the_hole_is_the_library_s(draw: int, shape: Any, ratio: float):
    area = shape[1] * shape[2]
    ratio = min(max(round(ratio * area), 1), area - 1) / area
    score = _scores(draw, shape)
    found = lesson_09.lowest(score, ratio)
    assert torch.equal(found, mining.mined_holes(score, ratio))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), SHAPES, st.floats(0.05, 5))
def test_the_budgeted_hole_is_the_library_s(draw: int, shape: Any, budget: float):
    area, score = shape[1] * shape[2], _scores(draw, shape)
    low, high = (min(max(round(s * area), 1), area - 1) / area for s in (0.2, 0.7))
    found = lesson_09.budgeted(score, budget, low, high)
    assert torch.equal(found, mining.budgeted_holes(score, budget, low, high))


def test_no_case_of_the_budget_hangs_on_rounding():
    for name, (score, budget, *_) in find("09.4").cases().items():
        if name == "all as large as the budget":
            continue  # exp(0) and a mean of ones are exact
        errors = score.double().flatten(1).sort().values.exp()
        means = errors.cumsum(1) / torch.arange(1, errors.shape[1] + 1)
        assert (means / budget - 1).abs().min() > 1e-5, name


def test_the_cases_of_the_budget_reach_both_limits_and_neither():
    for name, where in {
        "a batch": ["between"] * 3,
        "one too hard, one too easy": ["low", "between", "high"],
    }.items():
        score, budget, low, high = find("09.4").cases()[name]
        area = score[0].numel()
        limits = {round(low * area): "low", round(high * area): "high"}
        sizes = lesson_09.budgeted(score, budget, low, high).sum((1, 2, 3)).int()
        assert [limits.get(size, "between") for size in sizes.tolist()] == where
        assert len(set(sizes.tolist())) == 3


def test_the_loss_is_the_library_s_where_errors_can_be_seen():
    for name, (score, error, hole) in find("09.2").cases().items():
        if name == "no error":
            continue  # what nobody sees counts as the finest error there
        ours, theirs = (
            loss(score, error, hole)
            for loss in (lesson_09.error_map_loss, mining.error_map_loss)
        )
        assert torch.allclose(ours, theirs), name


class _Colour(nn.Module):
    """Paints every hole in one colour."""

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        assert torch.equal(image.isnan(), (hole == 1).expand_as(image))
        return torch.full_like(image, 0.25)


def test_errors_that_can_be_counted_by_hand():
    """Each photo is 0.25 in its own hole, and something else elsewhere."""
    hole = torch.zeros(3, 1, 3, 4)
    for k in range(3):
        hole[k, :, k] = 1
    image = torch.where(
        hole == 1, 0.25, torch.tensor([0.35, 0.45, 0.55])[:, None, None]
    )
    mined, shuffled = lesson_09.judge(_Colour(), image, hole, (1, 2))
    assert mined == pytest.approx(0, abs=1e-7)
    assert shuffled == pytest.approx(0.2)


def test_holes_that_are_the_same_everywhere_have_nothing_to_gain_by_their_photo():
    photo = torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(3, 1, 4, 5)
    hole[:, :, 1:3, 1:3] = 1
    mined, shuffled = lesson_09.judge(_Colour(), photo, hole, (1, 2))
    assert mined == pytest.approx(shuffled)
    assert (lesson_09.overlap(hole, hole.roll(1, 0)) == 1).all()


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("09.1", "truth values", "the dtype of your answer is torch.bool"),
        ("09.1", "a threshold, ties out", "one pixel too few"),
        ("09.2", "a gradient into the error", "for `error`"),
        ("09.2", "score detached", "no gradient flows through it"),
        ("09.2", "chosen after the formula", "NaN"),
        ("09.2", "one number for each picture", "the shape of your answer is (3,)"),
        ("09.3", "one number", "the shape of your answer is ()"),
        ("09.4", "sizes", "the shape of your answer is (3,)"),
        ("09.5", "tensors", "a float is asked for"),
        ("09.5", "only the mined", "a tuple of 2 is asked for"),
        ("09.5", "gradients recorded", "called with gradients switched on"),
        ("09.5", "left in evaluation mode", "not as it was: network.training"),
        ("09.5", "left frozen", "layers.0.0.weight.requires_grad"),
    ],
)
def test_what_is_said_of_a_wrong_answer(key: str, name: str, said: str):
    assert said in verdict(key, find(key).wrong[name])


def test_an_answer_that_writes_into_its_input_is_told_so():
    def in_place(score: Tensor, ratio: float) -> Tensor:
        hole = lesson_09.lowest(score, ratio)
        score.copy_(hole)
        return hole

    assert "changes `score` in place" in verdict("09.1", in_place)
