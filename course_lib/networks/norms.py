"""Batch normalisation whose statistics stay fixed while the rest trains; lesson 04.

Liu et al. 2018 fine-tune with the encoder's frozen: there the statistics of a batch
are those of its holes too.
"""

from typing import Self

from torch import nn


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Always uses its running statistics, in training mode too; scale and shift learn.

    ``train()`` does not thaw it: loops call that, and a frozen layer must not care.
    """

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever is asked for."""
        return super().train(False)


def freeze_norms(module: nn.Module) -> nn.Module:
    """Fix the statistics of every ``BatchNorm2d`` in ``module``, in place.

    Parameters stay the same objects and keep their names, so an optimiser, a
    checkpoint and the zoo go on as before; ``module.train()`` does not undo it, copies
    stay frozen. Returns ``module``. Raises ``ValueError`` if it has none.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        raise ValueError("there is no BatchNorm2d in here: nothing was frozen")
    for norm in norms:
        # The class alone decides: tensors, hooks and state stay as they are
        norm.__class__ = FrozenBatchNorm2d
        norm.eval()
    return module
