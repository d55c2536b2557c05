"""Adversarial losses: by hand, at their corners, and the gradients they give."""

import pytest
import torch

from course_lib.losses import gradient_penalty, hinge_losses, wgan_losses
from course_lib.tensors import ContractError


def test_numbers_by_hand():
    real = torch.tensor([[2.0, 0.5, -1.0, 1.0]])  # too low by 0, 0.5, 2, 0
    fake = torch.tensor([[-3.0, 0.0, 1.5]])  # too high by 0, 1, 2.5
    critic, generator = hinge_losses(real, fake)
    assert critic.item() == pytest.approx((2.5 / 4 + 3.5 / 3) / 2)
    assert generator.item() == pytest.approx(0.5)  # -(-1.5 / 3)


def test_a_critic_that_is_sure_has_nothing_to_learn():
    real = torch.tensor([1.0, 5.0, 1.2]).requires_grad_()
    fake = torch.tensor([-1.0, -9.0, -1.01]).requires_grad_()
    critic, _ = hinge_losses(real, fake)
    assert critic.item() == 0
    critic.backward()
    assert (real.grad[1:] == 0).all()
    assert (fake.grad[1:] == 0).all()


def test_a_critic_that_knows_nothing_loses_one():
    zeros = torch.zeros(2, 8, 4, 4)
    critic, generator = hinge_losses(zeros, zeros)
    assert critic.item() == 1
    assert generator.item() == 0


@pytest.mark.parametrize("scores", [5.0, -3.0])
def test_the_loss_has_no_bound_above_and_zero_below(scores: float):
    """All wrong by the same: 1 + |scores| on one side, nothing on the other."""
    same = torch.full((2, 3), scores)
    critic, _ = hinge_losses(same, same)
    assert critic.item() == pytest.approx((1 + abs(scores)) / 2)


def test_every_score_pulls_the_generator_alike():
    real = torch.randn(2, 8, 4, 4).requires_grad_()
    fake = (10 * torch.randn(2, 8, 4, 4)).requires_grad_()
    _, generator = hinge_losses(real, fake)
    generator.backward()
    torch.testing.assert_close(fake.grad, torch.full_like(fake, -1 / fake.numel()))
    assert real.grad is None


def test_what_pulls_the_critic():
    """Half a mean: each score on the wrong side of its margin pulls by 1/(2 numel)."""
    real = torch.tensor([0.5, 2.0, -1.0, 1.5], dtype=torch.float64).requires_grad_()
    fake = torch.tensor([0.5, -2.0], dtype=torch.float64).requires_grad_()
    critic, _ = hinge_losses(real, fake)
    critic.backward()
    assert real.grad.tolist() == [-1 / 8, 0, -1 / 8, 0]
    assert fake.grad.tolist() == [1 / 4, 0]


def test_shapes_do_not_matter_and_need_not_agree():
    real, fake = torch.randn(4, 3), torch.randn(2, 3, 5)
    found = hinge_losses(real, fake)
    flat = hinge_losses(real.flatten(), fake.flatten())
    for one, other in zip(found, flat, strict=True):
        torch.testing.assert_close(one, other)
        assert one.shape == ()


@pytest.mark.parametrize("shape", [(0,), (0, 8, 4, 4), (2, 8, 0, 4)])
def test_no_score_is_refused(shape: tuple[int, ...]):
    for given in (
        (torch.zeros(shape), torch.zeros(2)),
        (torch.zeros(2), torch.zeros(shape)),
    ):
        with pytest.raises(ContractError, match="neither may be empty"):
            hinge_losses(*given)


# --- Wasserstein loss and gradient penalty ------------------------------------------


def test_wasserstein_by_hand():
    real, fake = torch.tensor([[3.0, 1.0]]), torch.tensor([[0.5], [-1.5]])
    critic, generator = wgan_losses(real, fake)
    assert critic.item() == -2.5
    assert generator.item() == 0.5
    with pytest.raises(ContractError, match="neither may be empty"):
        wgan_losses(real, fake[:0])


def line(slopes: torch.Tensor):
    """A critic whose slope is the same everywhere; one number for each value."""
    return lambda picture: (picture * slopes).sum((1, 2, 3))


def pair(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    real, fake = torch.rand(2, count, 3, 4, 5, generator=draw, dtype=torch.float64)
    return real, fake


@pytest.mark.parametrize("steepness", [0.0, 0.5, 1.0, 3.0])
def test_the_penalty_of_a_line_is_its_steepness_less_one_squared(steepness: float):
    slopes = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    slopes[0, 0, 1, 2], slopes[0, 2, 3, 4] = 0.6 * steepness, 0.8 * steepness
    t = torch.rand(2, 1, 1, 1)
    penalty = gradient_penalty(line(slopes), *pair(), t=t)
    assert penalty.item() == pytest.approx((steepness - 1) ** 2)


def test_inside_a_hole_only_its_slope_counts():
    slopes = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    slopes[..., 0, 0], slopes[..., 3, 3] = 2 / 3**0.5, 7
    hole = torch.zeros(2, 1, 4, 5, dtype=torch.float64)
    hole[..., 0, 0] = 1
    t = torch.full((2, 1, 1, 1), 0.5)
    assert gradient_penalty(line(slopes), *pair(), hole, t).item() == pytest.approx(1)
    assert gradient_penalty(line(slopes), *pair(), t=t).item() > 100


def test_it_is_taken_between_each_pair_at_its_own_t():
    seen = []

    def critic(picture):
        seen.append(picture.detach())
        return picture.square().sum((1, 2, 3))

    (real, fake), t = pair(), torch.tensor([0.0, 0.25]).view(2, 1, 1, 1)
    penalty = gradient_penalty(critic, real, fake, t=t)
    assert torch.equal(seen[0][0], real[0])
    torch.testing.assert_close(seen[0][1], real[1] + 0.25 * (fake[1] - real[1]))
    norms = (2 * seen[0]).flatten(1).norm(dim=1)
    assert penalty.item() == pytest.approx((norms - 1).square().mean().item())


def test_it_trains_the_critic_and_leaves_the_pictures_alone():
    critic = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ELU(), torch.nn.Conv2d(4, 1, 2)
    ).double()
    real, fake = (part.requires_grad_() for part in pair())
    with torch.no_grad():  # as when a loss is only looked at
        shown = gradient_penalty(critic, real, fake, t=torch.zeros(2, 1, 1, 1))
    penalty = gradient_penalty(critic, real, fake, t=torch.zeros(2, 1, 1, 1))
    assert torch.equal(shown, penalty)
    penalty.backward()
    assert all(critic[k].weight.grad.abs().sum() > 0 for k in (0, 2))
    assert real.grad is None
    assert fake.grad is None


def test_t_comes_from_the_generator():
    slopes = torch.rand(1, 3, 4, 5, dtype=torch.float64)

    def critic(picture):
        return (picture.square() * slopes).sum((1, 2, 3))

    draws = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    made = [gradient_penalty(critic, *pair(), generator=draw) for draw in draws]
    assert made[0] == made[1] != made[2]
    with pytest.raises(ContractError, match="give t, or a generator"):
        gradient_penalty(critic, *pair())


def test_pictures_that_do_not_belong_together():
    real, fake = pair()
    with pytest.raises(ContractError, match="do not belong together"):
        gradient_penalty(line(real[:1]), real, fake[:1], t=torch.zeros(2, 1, 1, 1))
    with pytest.raises(ContractError, match="do not belong together"):
        gradient_penalty(line(real[:1]), real, fake, torch.ones(1, 1, 4, 5))
    t = torch.zeros(2, 1, 1, 1)
    for shape in ((2, 1, 4, 6), (2, 1, 4), (2, 3, 4, 5)):
        with pytest.raises(ContractError, match=r"expected .* a hole \(2, 1, 4, 5\)"):
            gradient_penalty(line(real[:1]), real, fake, torch.ones(shape), t)
