"""Lesson 11's exercises take every right answer, and agree with the library."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from verdicts import verdict

from course_lib import large
from course_lib.datasets import Batches
from course_lib.exercises import find, grade, lesson_11


def _dealt(step: int, batch: int, process: int, processes: int) -> Tensor:
    """By cutting what a step takes."""
    every = torch.arange(step * batch * processes, (step + 1) * batch * processes)
    return every.view(processes, batch)[process]


def _by_index(x: Tensor, factor: int) -> Tensor:
    rows, columns = (
        torch.arange((n + factor - 1) // factor * factor).clamp(max=n - 1)
        for n in x.shape[2:]
    )
    return x[..., rows[:, None], columns]


def _one_by_one(x: Tensor, factor: int) -> Tensor:
    while x.shape[2] % factor:
        x = torch.cat([x, x[:, :, -1:]], 2)
    while x.shape[3] % factor:
        x = torch.cat([x, x[..., -1:]], 3)
    return x


def _by_distance(starts: list[int], tile: int, length: int) -> Tensor:
    first = torch.tensor(starts)[:, None]
    place = torch.arange(length)
    ends = torch.minimum(place - first + 1, first + tile - place).clamp(min=0).double()
    return F.normalize(ends, p=1, dim=0)


def _by_mean(totals: Tensor, pixels: Tensor) -> Tensor:
    return totals / pixels.double().mean().to(totals)


def _by_shares(totals: Tensor, pixels: Tensor) -> Tensor:
    """The mean of each, weighted by how much of all its pixels are."""
    means = totals / pixels.clamp(min=1)
    return means * pixels * len(totals) / pixels.sum()


OTHERS = [
    ("11.1", _dealt),
    ("11.2", _by_index),
    ("11.2", _one_by_one),
    ("11.2", lambda x, factor: large.padded(x, x[:, :1], factor)[0]),
    ("11.3", _by_distance),
    ("11.4", _by_mean),
    ("11.4", _by_shares),
]


@pytest.mark.parametrize(("key", "answer"), OTHERS)
def test_another_right_answer_passes(key: str, answer: Callable[..., Any]):
    assert grade(find(key), answer) == len(find(key).cases())


class _Told:
    """Stands in for pairs: a position is its own picture."""

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(position), torch.tensor(0)


def test_the_library_takes_the_same_positions():
    batches = Batches(_Told(), 3, process=1, processes=4)  # type: ignore[arg-type]
    for step in range(3):
        taken, _ = next(batches)
        assert torch.equal(taken, lesson_11.positions(step, 3, 1, 4))


def test_losses_lead_to_the_gradient_of_the_mean_over_pixels():
    totals = torch.tensor([6.0, 2.0, 5.0], requires_grad=True)
    pixels = torch.tensor([2, 6, 4])
    averaged = torch.autograd.grad(lesson_11.own_losses(totals, pixels).mean(), totals)
    wanted = torch.autograd.grad(totals.sum() / pixels.sum(), totals)
    assert torch.allclose(averaged[0], wanted[0])


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("11.1", "floats", "dtype"),
        ("11.2", "the first sample alone", "shape"),
        ("11.3", "float32", "the dtype of your answer is torch.float32"),
        ("11.4", "detached", "gradient"),
    ],
)
def test_what_the_judge_lets_pass_is_told_by_the_check(key: str, name: str, said: str):
    assert said in verdict(key, find(key).wrong[name])
