"""The ordinary convolution in the course's contract: it ignores what is missing."""

import torch.nn.functional as F
from torch import Tensor, nn


class PlainConv2d(nn.Conv2d):
    """``nn.Conv2d`` that carries validity along without using it; lesson 03.

    ``valid`` is resized to the output's size by nearest neighbour: where the stride
    divides the side, that is every stride-th value.
    """

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, H, W)``, ``valid (N, 1, H, W)`` -> both at the output's size."""
        y = super().forward(x)
        return y, F.interpolate(valid, y.shape[-2:], mode="nearest")
