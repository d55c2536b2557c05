"""Adversarial losses: two numbers, one for the critic, one for the generator.

The hinge loss belongs to lesson 05.
"""

from torch import Tensor

from course_lib.tensors import ContractError


def hinge_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The hinge loss of SN-PatchGAN from a critic's scores: ``(critic, generator)``.

    ``critic = (mean(relu(1 - real)) + mean(relu(1 + fake))) / 2``, at least 0, and
    ``generator = -mean(fake)``. Every score of a patch counts alone, in whatever shape
    they come. The half is in the published code of Yu et al. 2019; their paper has
    none. Raises ``ContractError`` if there is no score to average.
    """
    if not real.numel() or not fake.numel():
        raise ContractError(
            f"scores of real pictures {tuple(real.shape)} and of fakes "
            f"{tuple(fake.shape)}: neither may be empty"
        )
    critic = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    return critic, -fake.mean()
