"""Pixel losses: against plain loops, and what the hole hides never leaks."""

import math

import pytest
import torch

from course_lib.losses import (
    discount_weights,
    l1,
    spatially_discounted_l1,
    total_variation,
)
from course_lib.tensors import ContractError

NAN = float("nan")


@pytest.fixture
def case():
    draw = torch.Generator().manual_seed(3)
    ours, image = torch.rand(2, 2, 3, 9, 7, generator=draw, dtype=torch.float64)
    hole = (torch.rand(2, 1, 9, 7, generator=draw) < 0.4).double()
    hole[0, 0, 2:6, 1:5] = 1
    return ours, image, hole


def loop_distance(hole):
    """To the nearest known pixel, by trying all pairs."""
    away = torch.zeros_like(hole)
    for n, _, y, x in hole.nonzero().tolist():
        known = (hole[n, 0] == 0).nonzero().tolist()
        away[n, 0, y, x] = min(math.hypot(y - i, x - j) for i, j in known)
    return away


def loop_l1(ours, image, weights):
    total = 0.0
    for n in range(ours.shape[0]):
        for c in range(ours.shape[1]):
            for y in range(ours.shape[2]):
                for x in range(ours.shape[3]):
                    gap = abs(ours[n, c, y, x].item() - image[n, c, y, x].item())
                    total += weights[n, 0, y, x].item() * gap
    return total


@pytest.mark.parametrize("where", ["hole", "valid", "all"])
def test_l1_equals_the_loop(case, where):
    ours, image, hole = case
    weights = {"hole": hole, "valid": 1 - hole, "all": torch.ones_like(hole)}[where]
    total = loop_l1(ours, image, weights)
    whole = l1(ours, image, hole, where).item()
    region = l1(ours, image, hole, where, normaliser="region").item()
    assert whole == pytest.approx(total / ours.numel(), rel=1e-12)
    assert region == pytest.approx(total / (3 * weights.sum().item()), rel=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.9, 0.5])
def test_discounted_equals_the_loop(case, gamma):
    ours, image, hole = case
    weights = gamma ** loop_distance(hole)
    torch.testing.assert_close(
        discount_weights(hole, gamma), weights, rtol=1e-12, atol=0
    )
    total = loop_l1(ours, image, weights * hole)
    found = [
        spatially_discounted_l1(ours, image, hole, gamma, name).item()
        for name in ("image", "region", "weights")
    ]
    count = [ours.numel(), 3 * hole.sum().item(), 3 * (weights * hole).sum().item()]
    assert found == pytest.approx([total / n for n in count], rel=1e-12)


def test_gamma_one_is_plain_l1(case):
    ours, image, hole = case
    plain = l1(ours, image, hole)
    assert torch.equal(spatially_discounted_l1(ours, image, hole, 1.0), plain)


def test_the_gradient_is_the_weight_times_the_sign(case):
    ours, image, hole = case
    ours = ours.clone().requires_grad_()
    spatially_discounted_l1(ours, image, hole, 0.9).backward()
    weights = discount_weights(hole, 0.9) * hole
    expected = weights * (ours.detach() - image).sign() / ours.numel()
    torch.testing.assert_close(ours.grad, expected, rtol=1e-12, atol=0)


def test_weights_fall_with_the_distance_and_flip_with_the_hole(case):
    _, _, hole = case
    weights = discount_weights(hole, 0.8)
    order = loop_distance(hole).flatten().argsort()
    assert (weights.flatten()[order].diff() <= 1e-12).all()
    flipped = discount_weights(hole.flip(-1), 0.8).flip(-1)
    assert torch.equal(flipped, weights)
    alone = discount_weights(hole[1:], 0.8)
    assert torch.equal(alone, weights[1:])  # each sample its own


def test_total_variation_equals_the_loop(case):
    ours, image, hole = case
    filled = torch.where(hole.bool(), ours, image)
    total = 0.0
    near = torch.zeros_like(hole)
    for n, _, y, x in hole.nonzero().tolist():
        near[n, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
    for n, _, y, x in near.nonzero().tolist():
        for i, j in ((y + 1, x), (y, x + 1)):
            if i < 9 and j < 7 and near[n, 0, i, j]:
                step = filled[n, :, y, x] - filled[n, :, i, j]
                total += step.abs().sum().item()
    found = total_variation(ours, image, hole).item()
    assert found == pytest.approx(total / ours.numel(), rel=1e-12)


def test_nan_where_nothing_counts_changes_nothing(case):
    ours, image, hole = case
    spoiled = ours.masked_fill(hole == 0, NAN).requires_grad_()
    hidden = image.masked_fill(hole == 1, NAN)
    for loss in (l1, spatially_discounted_l1):
        assert torch.equal(loss(spoiled, image, hole), loss(ours, image, hole))
    assert torch.equal(
        total_variation(spoiled, hidden, hole), total_variation(ours, image, hole)
    )
    loss = l1(spoiled, image, hole) + total_variation(spoiled, hidden, hole)
    loss.backward()
    assert spoiled.grad.isfinite().all()
    assert (spoiled.grad[(hole == 0).expand_as(ours)] == 0).all()


def test_size_average_does_not_depend_on_the_size(case):
    ours, image, hole = (part.repeat(1, 1, 2, 3) for part in case)
    assert l1(ours, image, hole).item() == pytest.approx(l1(*case).item(), rel=1e-12)


def test_empty_holes_cost_nothing(case):
    ours, image, hole = case
    nothing = torch.zeros_like(hole)
    for name in ("image", "region", "weights"):
        assert spatially_discounted_l1(ours, image, nothing, 0.9, name) == 0
    assert total_variation(ours, image, nothing) == 0


def test_what_cannot_be_is_said(case):
    ours, image, hole = case
    with pytest.raises(ContractError, match="expected 0 < gamma <= 1"):
        discount_weights(hole, 0.0)
    with pytest.raises(ContractError, match="covers its whole picture"):
        discount_weights(torch.ones_like(hole), 0.9)
    with pytest.raises(ContractError, match="expected one of hole, valid, all"):
        l1(ours, image, hole, where="holes")
    with pytest.raises(ContractError, match="expected image, region or weights"):
        l1(ours, image, hole, normaliser="mean")
