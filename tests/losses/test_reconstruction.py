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
LOSSES = (l1, spatially_discounted_l1, total_variation)


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


@pytest.mark.parametrize("normaliser", ["image", "region", "weights"])
def test_the_gradient_is_the_weight_times_the_sign(case, normaliser):
    ours, image, hole = case
    ours = ours.clone().requires_grad_()
    spatially_discounted_l1(ours, image, hole, 0.9, normaliser).backward()
    weights = 0.9 ** loop_distance(hole) * hole
    count = {"image": ours.numel(), "region": 3 * hole.sum()}
    count["weights"] = 3 * weights.sum()
    expected = weights * (ours.detach() - image).sign() / count[normaliser]
    torch.testing.assert_close(ours.grad, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("where", ["hole", "valid", "all"])
@pytest.mark.parametrize("normaliser", ["image", "region"])
def test_the_gradient_of_l1_is_the_sign_in_the_region(case, where, normaliser):
    ours, image, hole = case
    ours = ours.clone().requires_grad_()
    l1(ours, image, hole, where, normaliser).backward()
    region = {"hole": hole, "valid": 1 - hole, "all": torch.ones_like(hole)}[where]
    count = ours.numel() if normaliser == "image" else 3 * region.sum()
    expected = region * (ours.detach() - image).sign() / count
    torch.testing.assert_close(ours.grad, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_sample_is_its_own(case, loss):
    ours, image, hole = case
    together = ours.clone().requires_grad_()
    whole = loss(together, image, hole)
    whole.backward()
    found = 0.0
    for k in range(2):
        alone = ours[k : k + 1].clone().requires_grad_()
        part = loss(alone, image[k : k + 1], hole[k : k + 1])
        part.backward()
        found += part.item() / 2
        torch.testing.assert_close(
            alone.grad / 2, together.grad[k : k + 1], rtol=1e-12, atol=1e-15
        )
    assert whole.item() == pytest.approx(found, rel=1e-12)


def test_weights_fall_with_the_distance_and_flip_with_the_hole(case):
    _, _, hole = case
    weights = discount_weights(hole, 0.8)
    order = loop_distance(hole).flatten().argsort()
    assert (weights.flatten()[order].diff() <= 1e-12).all()
    flipped = discount_weights(hole.flip(-1), 0.8).flip(-1)
    assert torch.equal(flipped, weights)
    alone = discount_weights(hole[1:], 0.8)
    assert torch.equal(alone, weights[1:])  # each sample its own


def loop_total_variation(ours, image, hole):
    """Both neighbours in the hole dilated by one pixel; divided by all values."""
    count, _, height, width = hole.shape
    near = torch.zeros_like(hole)
    for n, _, y, x in hole.nonzero().tolist():
        near[n, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
    total = ours.new_zeros(())
    for n, _, y, x in near.nonzero().tolist():
        for i, j in ((y + 1, x), (y, x + 1)):
            if i < height and j < width and near[n, 0, i, j]:
                one = (ours if hole[n, 0, y, x] else image)[n, :, y, x]
                two = (ours if hole[n, 0, i, j] else image)[n, :, i, j]
                total = total + (one - two).abs().sum()
    return total / (count * 3 * height * width)


def test_total_variation_equals_the_loop_with_its_gradient(case):
    ours, image, hole = case
    corner = torch.zeros_like(hole)
    corner[:, :, 0, -1] = 1
    for missing in (hole, corner, torch.ones_like(hole)):
        one, two = (ours.clone().requires_grad_() for _ in range(2))
        found = total_variation(one, image, missing)
        expected = loop_total_variation(two, image, missing)
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)
        found.backward()
        expected.backward()
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-15)
        assert (one.grad[(missing == 0).expand_as(ours)] == 0).all()


def test_total_variation_does_not_look_beyond_one_pixel_around_the_hole(case):
    ours, image, _ = case
    hole = torch.zeros(2, 1, 9, 7, dtype=torch.float64)
    hole[..., 3:5, 2:4] = 1
    far = image.clone()
    far[..., [0, 1, 6, 7, 8], :] = 0.5
    far[..., [0, 5, 6]] = 0.5
    found = total_variation(ours, far, hole)
    assert torch.equal(found, total_variation(ours, image, hole))
    far[..., 2, 1] = 2.5  # a corner of the ring
    assert total_variation(ours, far, hole) > found


@pytest.mark.parametrize("where", ["hole", "valid"])
def test_l1_reads_neither_picture_outside_its_region(case, where):
    ours, image, hole = case
    outside = hole == (0 if where == "hole" else 1)
    spoiled = ours.masked_fill(outside, NAN).requires_grad_()
    for normaliser in ("image", "region"):
        spoiled.grad = None
        found = l1(spoiled, image.masked_fill(outside, NAN), hole, where, normaliser)
        assert torch.equal(found, l1(ours, image, hole, where, normaliser))
        found.backward()
        assert (spoiled.grad[outside.expand_as(ours)] == 0).all()
        assert spoiled.grad.isfinite().all()


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_summed_in_float32(loss, dtype):
    image = torch.zeros(1, 3, 256, 256)
    ours = image.clone()
    ours[..., ::2, :] = 1  # every row a step: 97 920 and more, float16 ends at 65 504
    hole = torch.ones_like(image[:, :1])
    hole[..., 0] = 0
    expected = loss(ours, image, hole)
    found = loss(ours.to(dtype), image.to(dtype), hole.to(dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_empty_holes_cost_nothing(case):
    ours, image, hole = case
    nothing = torch.zeros_like(hole)
    for name in ("image", "region", "weights"):
        assert spatially_discounted_l1(ours, image, nothing, 0.9, name) == 0
    assert total_variation(ours, image, nothing) == 0


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.01, NAN])
def test_a_gamma_out_of_range_is_refused(case, gamma):
    with pytest.raises(ContractError, match="expected 0 < gamma <= 1"):
        discount_weights(case[2], gamma)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_does_not_fit_is_refused_not_broadcast(case, loss):
    ours, image, hole = case
    with pytest.raises(ContractError, match="must have the same shape"):
        loss(ours[:1], image, hole)
    with pytest.raises(ContractError, match="must have the same shape"):
        loss(ours, image[..., :1], hole)
    with pytest.raises(ContractError, match="does not fit image"):
        loss(ours, image, hole[:1])
    with pytest.raises(ContractError, match="does not fit image"):
        loss(ours, image, hole.expand_as(ours))
    with pytest.raises(ContractError, match=r"only 0 .known. and 1 .missing."):
        loss(ours, image, hole * 0.5)
    with pytest.raises(ContractError, match=r"only 0 .known. and 1 .missing."):
        loss(ours, image, hole.masked_fill(hole == 1, NAN))


def test_what_cannot_be_is_said(case):
    ours, image, hole = case
    full = hole.clone()
    full[1] = 1
    with pytest.raises(ContractError, match="covers its whole picture"):
        discount_weights(full, 0.9)
    with pytest.raises(ContractError, match="expected one of hole, valid, all"):
        l1(ours, image, hole, where="holes")
    with pytest.raises(ContractError, match="expected image or region"):
        l1(ours, image, hole, normaliser="mean")
    with pytest.raises(ContractError, match="weights"):
        l1(ours, image, hole, normaliser="weights")
