"""The hinge loss: by hand, at its corners, and the gradients it gives."""

import pytest
import torch

from course_lib.losses import hinge_losses
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
