"""Mined holes: exact areas, nothing to smuggle, gradients that pass and that do not."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from course_lib import holes
from course_lib.mining import (
    FINEST,
    budgeted_holes,
    error_map_loss,
    free_holes,
    hidden_error,
    mined_holes,
    overlap,
    pixel_error,
    straight_through,
)
from course_lib.networks import MaskGenerator, UNet
from course_lib.tensors import ContractError, check_hole


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores(count: int = 2, height: int = 12, width: int = 16) -> Tensor:
    return torch.randn(count, 1, height, width, generator=seeded())


def pixels(hole: Tensor) -> list[int]:
    return hole.sum((1, 2, 3)).int().tolist()


# ---- mined holes


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 17),
    st.integers(2, 17),
    st.floats(0.001, 0.999),
    st.sampled_from([0.0, 0.7]),
)
@example(1, 2, 5, 0.1499999999, 0.0)  # in single precision: two pixels, not one
def test_the_area_is_exact_for_any_ratio_and_size(count, height, width, ratio, noise):
    area = height * width
    hole = mined_holes(scores(count, height, width), ratio, noise, seeded())
    assert check_hole(hole).shape == (count, 1, height, width)
    expected = min(max(round(ratio * area), 1), area - 1)  # never empty, never full
    assert pixels(hole) == [expected] * count


def test_each_picture_has_its_own_ratio():
    hole = mined_holes(scores(3), torch.tensor([0.1, 0.5, 0.9]))
    assert pixels(hole) == [19, 96, 173]
    other = holes.irregular(5, 33, seeded())
    hole = mined_holes(scores(5, 33, 33), holes.ratio(other))
    assert pixels(hole) == pixels(other)


def test_the_lowest_scores_are_missing():
    score = scores()
    hole = mined_holes(score, 0.3).bool()
    for s, h in zip(score, hole, strict=True):
        assert s[h].max() < s[~h].min()
    assert mined_holes(torch.tensor([[[[3.0, 1], [2, 4]]]]), 0.5).tolist() == [
        [[[0, 1], [1, 0]]]
    ]


def test_of_equal_scores_the_first_go():
    hole = mined_holes(torch.zeros(1, 1, 3, 4), 0.5)
    assert hole.flatten().tolist() == [1] * 6 + [0] * 6
    coarse = scores().round()
    assert torch.equal(mined_holes(coarse, 0.4), mined_holes(coarse.clone(), 0.4))
    assert coarse.unique().numel() < 10  # many are equal


def test_a_batch_is_its_pictures_one_by_one():
    score = scores(3)
    each = [mined_holes(part[None], 0.35) for part in score]
    assert torch.equal(mined_holes(score, 0.35), torch.cat(each))


def test_noise_gives_variety_at_equal_area_and_repeats_with_its_seed():
    score = 0.1 * scores(2, 32, 32)
    draw = seeded()
    first, second = (mined_holes(score, 0.35, 1.0, draw) for _ in range(2))
    assert pixels(first) == pixels(second) == [358, 358]
    assert 0.1 < (first != second).float().mean() < 0.6
    assert torch.equal(first, mined_holes(score, 0.35, 1.0, seeded()))
    assert not torch.equal(first[0], first[1])
    quiet = mined_holes(score, 0.35)
    near, far = (mined_holes(score, 0.35, n, seeded()) for n in (0.02, 0.5))
    assert (near != quiet).float().mean() < (far != quiet).float().mean()
    assert torch.equal(quiet, mined_holes(score, 0.35, 0.0, seeded()))


def test_how_alike_two_holes_are():
    hole, other = torch.zeros(4, 1, 2, 4), torch.zeros(4, 1, 2, 4)
    hole[:3, :, 0], other[0, :, 0] = 1, 1
    other[1, :, 1], other[2, :, :, :2] = 1, 1
    found = overlap(hole, other)
    assert found[:3].tolist() == pytest.approx([1, 0, 2 / 6])
    assert found[3].isnan()
    apart = mined_holes(torch.randn(8, 1, 64, 64, generator=seeded()), 0.4)
    alike = overlap(apart, apart.roll(1, 0))
    assert float(alike.mean()) == pytest.approx(0.4 / 1.6, abs=0.02)
    with pytest.raises(ContractError, match="differ in shape"):
        overlap(hole, other[:1])
    with pytest.raises(ContractError, match="other must hold only 0"):
        overlap(hole, other + 0.5)


def test_noise_is_smooth_and_as_large_as_asked():
    flat = torch.zeros(4, 1, 48, 48)
    hole = mined_holes(flat, 0.5, 1.0, seeded())
    changes = hole.diff(dim=-1).abs().mean() + hole.diff(dim=-2).abs().mean()
    assert changes < 0.25  # white noise: 1
    slope = torch.linspace(0, 10, 48).expand(1, 1, 48, 48).contiguous()
    moved = mined_holes(slope, 0.5, 1.0, seeded()) != mined_holes(slope, 0.5)
    columns = moved.any(-2).flatten().nonzero()
    assert 15 <= columns.min() < 24 <= columns.max() <= 33  # 1 is five columns


def test_a_margin_and_infinite_scores_stay_known():
    score = scores(2, 20, 30)
    hole = mined_holes(score, 0.5, margin=0.1)
    assert pixels(hole) == [300, 300]
    assert not holes.touches_border(hole, 0.1).any()
    score[:, :, :, :10] = math.inf
    assert not mined_holes(score, 0.5)[..., :10].any()
    with pytest.raises(ContractError, match=r"420 pixels does not fit.*leave 400 of"):
        mined_holes(score, 0.7)
    with pytest.raises(ContractError, match=r"420 pixels.*margin 0.2.*leave 216 of"):
        mined_holes(scores(1, 20, 30), 0.7, margin=0.2)


def test_a_bare_margin_is_named_when_it_is_too_large():
    with pytest.raises(ContractError, match=r"0 <= margin < 0.5"):
        mined_holes(scores(), 0.1, margin=0.5)


@pytest.mark.parametrize(
    "ratio", [0.0, 1.0, -0.1, 35, math.nan, torch.tensor([0.5, 1])]
)
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ContractError, match=r"between 0 and 1, such as 0\.35"):
        mined_holes(scores(), ratio)


def test_a_ratio_for_other_pictures_is_refused():
    with pytest.raises(ContractError, match=r"ratio \(3,\): expected one number or"):
        mined_holes(scores(2), torch.tensor([0.1, 0.2, 0.3]))


def test_nan_and_wrong_shapes_are_refused():
    broken = scores()
    broken[1, 0, 2, 3] = math.nan
    for mine in (
        lambda s: mined_holes(s, 0.3),
        lambda s: straight_through(s, 0.3),
        lambda s: free_holes(s, seeded()),
    ):
        with pytest.raises(ContractError, match="score holds 1 NaN among 384"):
            mine(broken)
        with pytest.raises(ContractError, match=r"expected floats \(N, 1, H, W\)"):
            mine(broken[:, 0])
        with pytest.raises(ContractError, match=r"expected floats \(N, 1, H, W\)"):
            mine(scores().long())
    with pytest.raises(ContractError, match="noise needs a generator"):
        mined_holes(scores(), 0.3, noise=0.1)


def test_no_gradient_passes_a_mined_hole():
    score = scores().requires_grad_()
    assert not mined_holes(score, 0.3, 0.5, seeded()).requires_grad


# ---- budgeted holes


def expected_errors(score: Tensor, hole: Tensor) -> Tensor:
    """The mean of ``exp(score)`` over each hole, in double precision: ``(N,)``."""
    inside = torch.where(hole.bool(), score.double().exp(), 0.0)
    return inside.sum((1, 2, 3)) / hole.sum((1, 2, 3))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 17),
    st.integers(2, 17),
    st.floats(0.05, 20),
    st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)).map(sorted),
)
@example(2, 12, 16, 1.0, [0.1, 0.6])
def test_a_budget_is_kept_and_used_up_within_the_limits(
    count, height, width, budget, limits
):
    score, area = scores(count, height, width), height * width
    hole = budgeted_holes(score, budget, *limits)
    assert check_hole(hole).shape == score.shape
    least, most = (min(max(round(share * area), 1), area - 1) for share in limits)
    means = expected_errors(score, hole).tolist()
    for k, (size, mean) in enumerate(zip(pixels(hole), means, strict=True)):
        assert least <= size <= most
        assert size == least or mean <= budget * (1 + 1e-9)
        assert torch.equal(hole[k], mined_holes(score, size / area)[k])
        if size < most:  # one pixel more is too much
            larger = mined_holes(score, (size + 1) / area)
            assert expected_errors(score, larger)[k] > budget


@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 20), st.floats(0.05, 20))
def test_a_larger_budget_never_gives_a_smaller_hole(budget, other):
    holes_of = [budgeted_holes(scores(), each) for each in sorted((budget, other))]
    assert (holes_of[0] <= holes_of[1]).all()


def test_the_area_of_a_budget_by_hand():
    """Errors 1, 2, 3 and 6: the running means are 1, 1.5, 2 and 3."""
    score = torch.tensor([6.0, 1, 3, 2]).log().view(1, 1, 2, 2)
    found = [budgeted_holes(score, b, 0.25, 0.75) for b in (0.5, 1.4, 1.6, 2.1, 9)]
    assert [pixels(hole) for hole in found] == [[1], [1], [2], [3], [3]]
    assert found[2].flatten().tolist() == [0, 1, 0, 1]
    even = torch.zeros(1, 1, 2, 5)
    assert pixels(budgeted_holes(even, 1.0, 0.2, 0.7)) == [7]  # at most, not below


def test_an_easy_picture_gets_a_larger_hole_than_a_hard_one():
    score = scores(3) + torch.tensor([-1.0, 0, 3]).view(3, 1, 1, 1)
    hole = budgeted_holes(score, 0.5)
    assert pixels(hole) == [115, pixels(hole)[1], 19]
    assert 19 < pixels(hole)[1] < 115
    each = torch.tensor([0.5, 0.7, 30.0])
    apart = [budgeted_holes(score[k, None], float(each[k])) for k in range(3)]
    assert torch.equal(budgeted_holes(score, each), torch.cat(apart))


def test_what_may_not_go_missing_stays_known_under_any_budget():
    score = scores(2, 20, 30).requires_grad_()
    barred = score.masked_fill(torch.arange(30) < 20, math.inf)
    hole = budgeted_holes(barred, 1e6)
    assert pixels(hole) == [200, 200]
    assert not hole[..., :20].any()
    assert not hole.requires_grad
    with pytest.raises(ContractError, match=r"240 pixels does not fit.*leave 200 of"):
        budgeted_holes(barred, 1e6, 0.4)


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf, torch.zeros(2)])
def test_a_budget_that_is_no_error_is_refused(budget):
    with pytest.raises(ContractError, match=r"a mean error above 0, such as 0\.05"):
        budgeted_holes(scores(), budget)


def test_budgets_and_limits_that_do_not_fit_are_refused():
    with pytest.raises(ContractError, match=r"budget \(3,\): expected one number or"):
        budgeted_holes(scores(2), torch.ones(3))
    with pytest.raises(ContractError, match=r"low 0\.5 is above high 0\.2"):
        budgeted_holes(scores(), 0.1, 0.5, 0.2)
    with pytest.raises(ContractError, match="between 0 and 1"):
        budgeted_holes(scores(), 0.1, 0.0, 0.2)
    with pytest.raises(ContractError, match="score holds 1 NaN among"):
        budgeted_holes(scores().where(scores() < scores().max(), math.nan), 0.1)


# ---- the loss of the error map


def test_the_loss_is_smallest_at_the_logarithm_of_the_mean_error():
    error = torch.tensor([0.1, 0.3]).view(1, 1, 1, 2)
    hole = torch.ones_like(error)

    def loss(s: float) -> float:
        return float(error_map_loss(torch.full_like(error, s), error, hole))

    best = math.log(0.2)
    assert loss(best) == pytest.approx(1 + best)
    assert loss(best) < min(loss(best - 0.05), loss(best + 0.05))


def test_each_picture_counts_the_same_however_small_its_hole():
    hole = torch.zeros(2, 1, 8, 8)
    hole[0, :, 0, 0], hole[1, :, :, :4] = 1, 1
    score = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    loss = error_map_loss(score, torch.full_like(score, 0.5), hole)
    each = [0.5 * math.exp(-s) + s for s in (1, 3)]
    assert float(loss) == pytest.approx(sum(each) / 2)


def test_nothing_outside_the_hole_is_read_be_it_nan():
    score, error = scores(), scores().abs()
    hole = (scores() > 0.3).float()
    expected = error_map_loss(score, error, hole)
    dirty = torch.where(hole.bool(), score, -math.inf).requires_grad_()
    wrong = torch.where(hole.bool(), error, math.nan).requires_grad_()
    found = error_map_loss(dirty, wrong, hole)
    assert torch.equal(found, expected)
    found.backward()
    assert wrong.grad is None
    assert dirty.grad.isfinite().all()
    assert torch.equal(dirty.grad != 0, hole.bool())


def test_an_error_that_nobody_sees_does_not_send_the_score_to_minus_infinity():
    score = torch.full((1, 1, 2, 2), math.log(FINEST), requires_grad=True)
    error_map_loss(score, torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).backward()
    assert score.grad.abs().max() < 1e-6


def test_a_picture_without_a_hole_adds_nothing():
    score, hole = scores().requires_grad_(), torch.zeros(2, 1, 12, 16)
    assert error_map_loss(score, scores().abs(), hole) == 0
    hole[0] = 1
    error_map_loss(score, scores().abs(), hole).backward()
    assert (score.grad[1] == 0).all()
    with pytest.raises(ContractError, match="must have the same shape"):
        error_map_loss(score, scores().abs(), hole[:1])


def test_the_error_of_a_pixel_is_its_mean_over_colours():
    image = torch.zeros(1, 3, 1, 2)
    made = torch.tensor([[0.3, 0.0], [0.0, 0.0], [-0.6, 0.9]]).view(1, 3, 1, 2)
    found = pixel_error(made.requires_grad_(), image)
    assert torch.allclose(found, torch.tensor([0.3, 0.3]).view(1, 1, 1, 2))
    assert not found.requires_grad
    assert pixel_error(image.half(), image.half()).dtype == torch.float32


def networks() -> tuple[UNet, MaskGenerator, Tensor, Tensor]:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 16, 24, generator=seeded())
    hole = holes.rectangles(2, (16, 24), seeded())
    return UNet(channels=(4, 6), kernels=(3, 3)), MaskGenerator((4, 6)), image, hole


def test_neither_network_is_taught_by_the_loss_of_the_other():
    inpainter, miner, image, _ = networks()
    score = miner(image)
    hole = mined_holes(score, 0.3)
    made = inpainter(image, hole)
    error_map_loss(score, pixel_error(made, image), hole).backward()
    assert all(p.grad is None for p in inpainter.parameters())
    assert any((p.grad != 0).any() for p in miner.parameters())
    miner.zero_grad(set_to_none=True)
    (made - image).abs().mean().backward()
    assert all(p.grad is None for p in miner.parameters())
    assert all(p.grad is not None for p in inpainter.parameters())


def test_what_was_hidden_before_changes_no_mined_hole_and_what_is_hidden_no_error():
    """The hole follows from the picture alone; the error from what it leaves known."""
    inpainter, miner, image, earlier = networks()
    with torch.no_grad():
        first = mined_holes(miner(image), 0.3)
        inpainter(torch.where(earlier.bool(), math.nan, image), earlier)
        assert torch.equal(mined_holes(miner(image), 0.3), first)
        made = inpainter(image, first)
        for under in (math.nan, torch.rand(image.shape, generator=seeded(1))):
            broken = torch.where(first.bool(), under, image)
            assert torch.equal(inpainter(broken, first), made)


# ---- the oracle


class Grey(nn.Module):
    """Says grey everywhere; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor, bool]] = []

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        self.seen.append((image, hole, self.training))
        # its error grows with the hole, so that the mean over holes can be told
        return torch.full_like(image, 0.5) + hole.mean((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_hidden_error_is_the_mean_over_the_holes_that_hide_a_pixel(batch: int):
    image = torch.rand(2, 3, 5, 7, generator=seeded())
    gaps = (torch.rand(4, 1, 5, 7, generator=seeded(1)) < 0.4).float()
    network = Grey()
    found = hidden_error(network, image, gaps, batch)
    assert found.shape == (2, 1, 5, 7)
    for n in range(2):
        for y in range(5):
            for x in range(7):
                each = [
                    float((0.5 + gap.mean() - image[n, :, y, x]).abs().mean())
                    for gap in gaps
                    if gap[0, y, x]
                ]
                expected = sum(each) / len(each) if each else math.nan
                assert float(found[n, 0, y, x]) == pytest.approx(
                    expected, nan_ok=True, abs=1e-6
                )
    assert found.isnan().any()  # else the loop proved less
    assert sum(len(given) for given, _, _ in network.seen) == 8
    assert max(len(given) for given, _, _ in network.seen) == min(batch, 8)


def test_the_oracle_never_lets_the_network_see_under_the_hole():
    image, gaps = torch.rand(2, 3, 5, 7, generator=seeded()), torch.zeros(1, 1, 5, 7)
    gaps[..., 1:3, 2:5] = 1
    network = Grey().train()
    hidden_error(network, image, gaps)
    ((given, hole, training),) = network.seen
    assert torch.equal(given.isnan(), hole.bool().expand_as(given))
    assert not training
    assert network.training


def test_an_oracle_can_be_mined_once_every_pixel_was_hidden():
    inpainter, _, image, hole = networks()
    both = torch.cat([hole[:1], 1 - hole[:1]])
    truth = hidden_error(inpainter, image, both)
    mined = mined_holes(truth.log(), 0.3)
    assert (truth * mined).sum() / mined.sum() < truth.mean()
    with pytest.raises(ContractError, match="pixels that were never hidden"):
        mined_holes(hidden_error(inpainter, image, hole[:1]).log(), 0.3)


def test_holes_of_another_size_are_refused():
    with pytest.raises(ContractError, match="same H and W"):
        hidden_error(Grey(), torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 5))
    with pytest.raises(ContractError, match="only 0"):
        hidden_error(Grey(), torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), 0.5))


# ---- what the naive objectives need


def test_straight_through_is_binary_forwards_and_a_soft_threshold_backwards():
    score = scores().double().requires_grad_()
    ratio = torch.tensor([0.2, 0.6])
    hole = straight_through(score, ratio, temperature=0.5)
    assert torch.equal(check_hole(hole), mined_holes(score, ratio))
    given = scores(2).double().flip(-1)
    (hole * given).sum().backward()
    inside = torch.where(hole.bool(), score, -math.inf)
    edge = inside.amax((1, 2, 3), keepdim=True).detach()
    soft = torch.sigmoid((edge - score) / 0.5)
    expected = -given * soft * (1 - soft) / 0.5
    assert torch.allclose(score.grad, expected)
    assert score.grad.isfinite().all()
    assert (score.grad != 0).all()


def test_free_holes_are_binary_and_have_no_area_of_their_own():
    score = torch.tensor([-4.0, 0.0, 4.0]).view(3, 1, 1, 1).repeat(1, 1, 40, 40)
    hole = free_holes(score.requires_grad_(), seeded())
    check_hole(hole)
    shares = holes.ratio(hole.detach()).tolist()
    assert shares == pytest.approx([0.982, 0.5, 0.018], abs=0.03)
    assert torch.equal(hole, free_holes(score, seeded()))
    hole.sum().backward()
    chance = torch.sigmoid(-score)
    assert torch.allclose(score.grad, -chance * (1 - chance))
    assert (score.grad < 0).all()


def test_under_a_penalty_on_the_kept_area_free_holes_grow_and_mined_ones_do_not():
    score = torch.zeros(1, 1, 16, 16, requires_grad=True)
    for _ in range(30):
        (slope,) = torch.autograd.grad(-free_holes(score, seeded()).mean(), score)
        score = (score - 500 * slope).detach().requires_grad_()
    assert holes.ratio(free_holes(score, seeded())).item() > 0.9
    assert pixels(mined_holes(score, 0.25)) == [64]
