"""Reach selection: equal to plain loops; who gets a share, and what is never read."""

from functools import partial
from itertools import product
from math import log

import pytest
import torch
from samples import draw, made, scattered
from torch import Tensor

from course_lib.evidence import record
from course_lib.layers import (
    PartialConv2d,
    ReachSelection2d,
    sampling_losses,
    weighed,
)


def layer(*arguments, **options) -> ReachSelection2d:
    """Seeded, float64, with a head that has already learned something."""
    found = made(ReachSelection2d, *arguments, **options)
    if found.head is not None:
        for k, parameter in enumerate(found.head.parameters()):
            parameter.data = 0.5 * draw(*parameter.shape, seed=20 + k)
    return found


def evidence(chosen: ReachSelection2d, *inputs) -> dict[str, Tensor]:
    with record(chosen) as found:
        chosen(*inputs)
    return found[""]


def window(values: Tensor, i: int, j: int, size: int) -> Tensor:
    """``values (C, H, W)`` around a place, with zeros outside: ``(C, size, size)``."""
    found = values.new_zeros(len(values), size, size)
    for a, b in product(range(size), repeat=2):
        row, column = i + a - size // 2, j + b - size // 2
        if 0 <= row < values.shape[1] and 0 <= column < values.shape[2]:
            found[:, a, b] = values[:, row, column]
    return found


def naive(chosen: ReachSelection2d, x: Tensor, valid: Tensor):
    """Place by place and kernel by kernel; only kernels that find something."""
    features = torch.where(valid > 0, x, 0) * valid
    y, known = torch.zeros(len(x), chosen.out_channels, *x.shape[2:]).double(), []
    for n, i, j in product(range(len(x)), *map(range, x.shape[2:])):
        seen = window(torch.cat([features[n], valid[n]]), i, j, 3)
        scores, outputs = [], []
        for k, (size, kernel) in enumerate(
            zip(chosen.sizes, chosen.kernels, strict=True)
        ):
            covered = window(valid[n], i, j, size).mean()
            if covered == 0:
                continue
            score = (chosen.head.weight[k] * seen).sum() + chosen.head.bias[k]
            score = score / chosen.temperature
            scores.append(score + covered.log() if chosen.coverage else score)
            around = window(features[n], i, j, size)
            outputs.append((kernel.weight * around).sum((1, 2, 3)) / covered)
        known.append(bool(outputs))
        if outputs:
            shares = torch.stack(scores).softmax(0)
            y[n, :, i, j] = shares @ torch.stack(outputs) + chosen.bias
    return y, torch.tensor(known).view(len(x), 1, *x.shape[2:])


def holed() -> Tensor:
    """One sample with places that only the larger windows, or none, know; one mixed."""
    valid = scattered(2, 1, 8, 9, share=0.5)
    valid[0] = 0
    valid[0, :, 0, :2] = 1
    return valid


@pytest.mark.parametrize("coverage", [True, False])
@pytest.mark.parametrize("soft", [False, True])
def test_it_equals_plain_loops(coverage: bool, soft: bool):
    chosen = layer(2, 3, (1, 3, 7), temperature=0.5, coverage=coverage)
    x, valid = draw(2, 2, 8, 9).requires_grad_(), holed()
    if soft:
        valid = valid * draw(2, 1, 8, 9, seed=9).sigmoid()
    sources, found = [x, *chosen.parameters()], []
    for compute in (chosen, partial(naive, chosen)):
        y, known = compute(x, valid)
        found.append([y, known.double(), *torch.autograd.grad(y.sin().sum(), sources)])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10)
    assert found[0][1].unique().tolist() == [0, 1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("coverage", [True, False])
def test_one_size_is_a_partial_convolution(size: int, bias: bool, coverage: bool):
    chosen = layer(3, 4, [size], bias=bias, coverage=coverage)
    partial_conv = PartialConv2d(3, 4, size, padding=size // 2, bias=bias).double()
    partial_conv.weight.data = chosen.kernels[0].weight.data
    if bias:
        partial_conv.bias.data = chosen.bias.data
    x, valid = draw(2, 3, 8, 9), holed()
    y, known = chosen(x, valid)
    expected, after = partial_conv(x, valid)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(known, after)


@pytest.mark.parametrize("coverage", [True, False])
def test_shares_go_to_kernels_that_find_something(coverage: bool):
    chosen = layer(2, 3, (1, 3, 7), coverage=coverage)
    found = evidence(chosen, draw(2, 2, 8, 9), holed())
    shares, covered, known = found["shares"], found["coverage"], found["valid"]
    assert shares.shape == covered.shape == (2, 3, 8, 9)
    torch.testing.assert_close(shares.sum(1, keepdim=True), known)
    assert ((shares > 0) == (covered > 0)).all()
    assert torch.equal(known, covered[:, 2:].sign())  # where the largest finds nothing
    assert 0 < known.mean() < 1


def test_coverage_says_how_much_of_each_window_is_known():
    valid = torch.ones(1, 1, 9, 9).double()
    valid[..., :3] = 0
    covered = evidence(layer(1, 1, (1, 3, 7)), draw(1, 1, 9, 9), valid)["coverage"]
    row = covered[0, :, 4]
    torch.testing.assert_close(row[0], valid[0, 0, 4])
    expected = torch.tensor([0, 0, 1, 2, 3, 3, 3, 3, 2]).double() / 3
    torch.testing.assert_close(row[1], expected)
    torch.testing.assert_close(row[2, 3:6], torch.tensor([4, 5, 6]).double() / 7)
    assert row[2, 0] * 7 == 1


def test_an_unlearned_gate_shares_by_coverage_or_evenly_among_those_that_find():
    x, valid = draw(2, 2, 8, 9), holed()
    found = evidence(made(ReachSelection2d, 2, 3, (1, 3, 7)), x, valid)
    covered = found["coverage"]
    total = covered.sum(1, keepdim=True)
    by_coverage = torch.where(total > 0, covered / total, 0)
    torch.testing.assert_close(found["shares"], by_coverage)
    even = made(ReachSelection2d, 2, 3, (1, 3, 7), coverage=False)
    shares = evidence(even, x, valid)["shares"]
    some = (covered > 0).double()
    torch.testing.assert_close(shares, some / some.sum(1, keepdim=True).clamp(min=1))


@pytest.mark.parametrize("coverage", [True, False])
def test_where_all_is_known_it_is_a_mix_of_plain_convolutions(coverage: bool):
    chosen = layer(2, 3, (3, 5), coverage=coverage)
    x, valid = draw(1, 2, 12, 12), torch.ones(1, 1, 12, 12).double()
    y, known = chosen(x, valid)
    shares = chosen.head(torch.cat([x, valid], 1)).softmax(1)
    each = [kernel(x) for kernel in chosen.kernels]
    mixed = shares[:, :1] * each[0] + shares[:, 1:] * each[1]
    expected = mixed + chosen.bias.view(-1, 1, 1)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(y[inside], expected[inside])
    assert (known == 1).all()


def test_a_full_hole_stays_unknown_and_teaches_nothing():
    chosen = layer(2, 3, (1, 3))
    x = torch.full((1, 2, 6, 7), torch.nan, dtype=torch.float64, requires_grad=True)
    with sampling_losses(chosen) as found:
        y, known = chosen(x, torch.zeros(1, 1, 6, 7).double())
    (y.sum() + weighed(found, balance=1.0)).backward()
    assert (y == 0).all()
    assert (known == 0).all()
    assert (x.grad == 0).all()
    assert all((parameter.grad == 0).all() for parameter in chosen.parameters())


def test_permuting_sizes_permutes_shares():
    order, sizes = [2, 0, 1], (1, 3, 7)
    first = layer(2, 3, sizes)
    second = layer(2, 3, [sizes[k] for k in order])
    for here, k in zip(second.kernels, order, strict=True):
        here.weight.data = first.kernels[k].weight.data
    second.head.weight.data = first.head.weight.data[order]
    second.head.bias.data = first.head.bias.data[order]
    given = draw(2, 2, 8, 9), holed()
    torch.testing.assert_close(first(*given), second(*given))
    shares = [evidence(each, *given)["shares"] for each in (first, second)]
    torch.testing.assert_close(shares[0][:, order], shares[1])


def test_a_low_temperature_decides():
    given = draw(2, 2, 8, 9), torch.ones(2, 1, 8, 9).double()
    soft, hard = layer(2, 3), layer(2, 3, temperature=1e-3)
    shares = [evidence(each, *given)["shares"].amax(1).mean() for each in (soft, hard)]
    assert shares[1] > 0.98 > shares[0] + 0.1


def test_balance_counts_known_places_only():
    chosen = layer(2, 3, (1, 3))
    x, valid = draw(1, 2, 8, 12), torch.ones(1, 1, 8, 12).double()
    valid[..., :5] = 0

    def balance(head: list[float]) -> Tensor:
        chosen.coverage = False
        chosen.head.weight.data.zero_()
        chosen.head.bias.data = torch.tensor(head).double()
        with sampling_losses(chosen) as found:
            chosen(x, valid)
        return found[""]["balance"]

    mean = torch.tensor([7 / 16, 9 / 16]).double()  # one column: only the larger finds
    expected = log(2) + (mean * mean.log()).sum()
    torch.testing.assert_close(balance([0.0, 0.0]), expected)
    torch.testing.assert_close(balance([-99.0, 0.0]), torch.tensor(log(2)).double())


@pytest.mark.parametrize("sizes", [(), (3, 4), (0,), (-1, 3)])
def test_sizes_are_odd(sizes):
    with pytest.raises(ValueError, match="must be odd"):
        ReachSelection2d(2, 3, sizes)
