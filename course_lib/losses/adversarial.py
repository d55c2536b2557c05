"""Adversarial losses: two numbers, one for the critic, one for the generator.

The hinge loss belongs to lesson 05, the Wasserstein loss and its penalty to lesson 06.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.tensors import ContractError


def hinge_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The hinge loss of SN-PatchGAN from a critic's scores: ``(critic, generator)``.

    ``critic = (mean(relu(1 - real)) + mean(relu(1 + fake))) / 2``, at least 0, and
    ``generator = -mean(fake)``. Every score of a patch counts alone, in whatever shape
    they come. The half is in the published code of Yu et al. 2019; their paper has
    none. Raises ``ContractError`` if there is no score to average.
    """
    _check_scores(real, fake)
    critic = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    return critic, -fake.mean()


def wgan_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The Wasserstein loss from a critic's scores: ``(critic, generator)``.

    ``critic = mean(fake) - mean(real)``, any number, and ``generator = -mean(fake)``.
    It means a distance only for a critic that is nowhere steeper than 1: add
    ``gradient_penalty``. Arjovsky et al. 2017, equation 2; as published by Yu et al.
    2018. Raises ``ContractError`` if there is no score to average.
    """
    _check_scores(real, fake)
    return fake.mean() - real.mean(), -fake.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    hole: Tensor | None = None,
    t: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How far the critic's slope is from 1 between real and fake pictures; a scalar.

    The mean over samples of ``(norm - 1) ** 2``, where ``norm`` is that of the
    gradient at ``real + t * (fake - real)`` with respect to all values of a sample, of
    ``critic(pictures)`` summed. ``hole (N, 1, H, W)``: only its gradient counts, for
    pictures that are equal elsewhere. ``t (N, 1, 1, 1)``: in [0, 1], by default drawn
    from ``generator``, a CPU generator; one of the two must be given. No gradient
    reaches ``real`` and ``fake``. The weight (10 in the papers) is not in it.

    Gulrajani et al. 2017, equation 3; inside the hole by Yu et al. 2018.
    Raises ``ContractError`` for shapes that do not belong together.
    """
    wanted = (len(real), 1, *real.shape[2:])
    if real.shape != fake.shape or (hole is not None and hole.shape != wanted):
        raise ContractError(
            f"real {tuple(real.shape)}, fake {tuple(fake.shape)} and hole "
            f"{None if hole is None else tuple(hole.shape)} do not belong together: "
            f"expected pictures of one shape, and a hole {wanted}"
        )
    if t is None:
        if generator is None:
            raise ContractError("give t, or a generator that it is drawn from")
        t = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator)
    between = torch.lerp(real.detach(), fake.detach(), t.to(real)).requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(
            critic(between).sum(), between, create_graph=True
        )
    if hole is not None:
        slope = torch.where(hole == 1, slope, 0)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def _check_scores(real: Tensor, fake: Tensor) -> None:
    if not real.numel() or not fake.numel():
        raise ContractError(
            f"scores of real pictures {tuple(real.shape)} and of fakes "
            f"{tuple(fake.shape)}: neither may be empty"
        )
