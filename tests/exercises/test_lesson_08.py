"""Lesson 08's exercises take every right answer, and say what is wrong with others."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from verdicts import verdict

from course_lib import layers
from course_lib.evidence import record
from course_lib.exercises import find, grade, lesson_08
from course_lib.layers.sampling import read, tap_positions
from course_lib.layers.sampling_training import balance


def _four_by_name(x: Tensor, row: float, column: float) -> Tensor:
    """On a picture with room around it, of which only what is needed is looked at."""
    height, width = x.shape[2:]
    if not (-1 < row < height and -1 < column < width):
        return torch.zeros_like(x[:, :, 0, 0])
    around = F.pad(x, (1, 2, 1, 2))
    i, j = math.floor(row) + 1, math.floor(column) + 1
    down, right = row + 1 - i, column + 1 - j
    lines = [around[..., i, j : j + 2], around[..., i + 1, j : j + 2]]
    each = torch.stack(lines, 2)
    shares = torch.tensor([[1 - down], [down]]) * torch.tensor([[1 - right, right]])
    return torch.where(shares > 0, each * shares, 0).sum((2, 3)).to(x.dtype)


def _hat(x: Tensor, row: float, column: float) -> Tensor:
    """A share for each pixel of the picture, most of them 0."""
    rows = (1 - (torch.arange(x.shape[2]) - row).abs()).clamp(min=0)
    columns = (1 - (torch.arange(x.shape[3]) - column).abs()).clamp(min=0)
    shares = (rows[:, None] * columns).to(x.dtype)
    return (x.masked_fill(shares == 0, 0) * shares).sum((2, 3))


def _by_library(x: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    tall, wide = weight.shape[2:]
    return layers.deform_conv2d(x, offsets, weight, padding=(tall // 2, wide // 2))


def _tap_by_tap(x: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    y = 0
    tall, wide = weight.shape[2:]
    rows, columns = (torch.arange(side).to(x) for side in x.shape[2:])
    for k, (i, j) in enumerate(product(range(tall), range(wide))):
        dy, dx = offsets[:, 2 * k], offsets[:, 2 * k + 1]
        row = rows[:, None] + i - tall // 2 + dy
        column = columns + j - wide // 2 + dx
        found = read(x, torch.stack([row, column], 1)[:, None])[:, :, 0]
        y = y + F.conv2d(found, weight[:, :, i, j, None, None])
    return y


def _by_axes(positions: Tensor) -> Tensor:
    return positions.var(1, correction=0).sum(1, keepdim=True).sqrt()


def _norms(positions: Tensor) -> Tensor:
    apart = torch.linalg.vector_norm(positions - positions.mean(1, True), dim=(1, 2))
    return (apart / positions.shape[1] ** 0.5)[:, None]


def _place_by_place(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    """With nothing divided where nothing is known."""
    y = torch.zeros_like(reads[:, :1, 0]).repeat(1, len(weight), 1, 1)
    total = (modulation * seen).sum(1)
    for n, i, j in (total > 1e-3).nonzero().tolist():
        scaled = reads[n, :, :, i, j] * modulation[n, :, i, j]
        factor = weight.shape[2] / total[n, i, j]
        y[n, :, i, j] = (weight * scaled).sum((1, 2)) * factor
    return y + 0 * sum(part.sum() for part in (reads, seen, modulation, weight))


def _normalised_first(
    reads: Tensor, seen: Tensor, modulation: Tensor, weight: Tensor
) -> Tensor:
    """Scales each read before the sum; where little is known, by 0."""
    total = (modulation * seen).sum(1, keepdim=True)
    little = total <= 1e-3
    factor = (1 / total.masked_fill(little, 1)).masked_fill(little, 0)
    scaled = reads * (modulation * factor * seen.shape[1])[:, None]
    return F.conv2d(scaled.flatten(1, 2), weight.flatten(1)[..., None, None])


def _with_torch(shares: Tensor) -> Tensor:
    each = torch.special.entr(shares).sum(1).mean()
    whole = torch.special.entr(shares.mean((0, 2, 3))).sum()
    return torch.tensor([each, whole, whole - each], dtype=shares.dtype)


def _by_divergence(shares: Tensor) -> Tensor:
    """The information as the mean divergence from the mean share."""
    flat = shares.movedim(1, -1).flatten(0, 2)
    mean = flat.mean(0)
    logs = [part.clamp(min=1e-30).log() for part in (flat, mean)]
    told = (flat * (logs[0] - logs[1])).sum(1).mean()
    each = -(flat * logs[0]).sum(1).mean()
    return torch.stack([each, each + told, told])


OTHERS = [
    ("08.1", _four_by_name),
    ("08.1", _hat),
    ("08.2", _by_library),
    ("08.2", _tap_by_tap),
    ("08.3", _by_axes),
    ("08.3", _norms),
    ("08.3", layers.spread),
    ("08.4", _place_by_place),
    ("08.4", _normalised_first),
    ("08.5", _with_torch),
    ("08.5", _by_divergence),
]


@pytest.mark.parametrize(("key", "answer"), OTHERS)
def test_another_right_answer_passes(key: str, answer: Callable[..., Any]):
    assert grade(find(key), answer) == len(find(key).cases())


def test_a_pixel_is_read_as_the_library_reads():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=draw)
    places = 10 * torch.rand(40, 2, dtype=torch.float64, generator=draw) - 2
    positions = places.view(1, 40, 2, 1, 1).expand(2, -1, -1, -1, -1)
    found = read(x, positions)[..., 0, 0]
    for k, (row, column) in enumerate(places.tolist()):
        assert torch.allclose(lesson_08.bilinear(x, row, column), found[:, :, k])


def test_an_undeformed_window_has_its_usual_spread():
    size = ((3, 3), (1, 1), (1, 1), (1, 1))
    positions = tap_positions(torch.zeros(1, 1, 4, 6), *size)[None]
    found = lesson_08.spread(positions)
    assert torch.allclose(found, torch.full((1, 1, 4, 6), math.sqrt(4 / 3)))


@pytest.mark.parametrize("modulated", [True, False])
def test_the_sum_is_the_layers(modulated: bool):
    torch.manual_seed(0)
    layer = layers.DeformableSampling2d(
        3, 4, 3, padding=1, bias=False, starts="window", modulated=modulated, reach=1
    ).double()
    for part in layer.head.parameters():
        torch.nn.init.normal_(part, std=0.3)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    valid = torch.ones(2, 1, 9, 8, dtype=torch.float64)
    valid[:, :, 1:8, 1:7] = 0
    valid[1, :, 4:] = 0.3
    with record(layer) as evidence:
        y, known = layer(x, valid)
    shown = evidence[""]
    seen = shown["seen"]
    modulation = shown.get("modulation", torch.ones_like(seen))
    reads = read(x * valid, shown["positions"])
    found = lesson_08.knowing_sum(reads, seen, modulation, layer.weight.flatten(2))
    assert (known == 0).any()
    assert (known > 0).any()
    assert torch.allclose(found, y)
    assert torch.equal(found == 0, (known == 0).expand_as(found))


def test_facts_of_shares_that_can_be_counted_by_hand():
    halves = torch.zeros(1, 2, 2, 4, dtype=torch.float64)
    halves[:, 0, 0] = halves[:, 1, 1] = 1  # above one kernel, below the other
    log2, facts = math.log(2), lesson_08.selection_facts
    assert facts(halves).tolist() == pytest.approx([0, log2, log2])
    assert facts(0 * halves + 0.5).tolist() == pytest.approx([log2, log2, 0])
    shares = torch.rand(2, 5, 4, 3).softmax(1)
    lost = math.log(5) - facts(shares)[1]
    assert torch.allclose(lost, balance(shares), atol=1e-6)


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("08.1", "float32", "the dtype of your answer is torch.float32"),
        ("08.2", "offsets detached", "for `offsets`"),
        ("08.2", "features detached", "for `x`"),
        ("08.2", "the kernel detached", "for `weight`"),
        ("08.4", "chosen after the division", "NaN"),
        ("08.4", "validity detached", "for `seen`"),
        ("08.4", "modulation detached", "for `modulation`"),
        ("08.4", "s detached", "for `seen`"),
    ],
)
def test_what_the_judge_lets_pass_is_told_by_the_check(key: str, name: str, said: str):
    assert said in verdict(key, find(key).wrong[name])
