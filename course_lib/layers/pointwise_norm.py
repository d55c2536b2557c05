"""Point-wise normalisation: scale and shift at each place, from a guide; lesson 07.

Zhu et al. 2021 (MADF); Park et al. 2019 (SPADE) with the features of
another decoder in place of a label map.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.tensors import ContractError


class PointwiseNorm(nn.Module):
    """Batch normalisation, then ``x * (1 + scale) + shift`` with maps from a guide.

    ``scale`` and ``shift`` are 3 x 3 convolutions of ``relu(shared(guidance))``, which
    has ``hidden`` channels. With both at 0 it is batch normalisation without weights.
    """

    def __init__(
        self, channels: int, guidance_channels: int, hidden: int = 128
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(guidance_channels, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.shift = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """``x (N, C, H, W)``, ``guidance (N, G, h, w)`` -> ``(N, C, H, W)``.

        The guide is resized bilinearly where its size is another. Raises
        ``ContractError`` when channels or batch do not fit.
        """
        channels, wanted = self.norm.num_features, self.shared.in_channels
        if x.dim() != 4 or x.shape[1] != channels:
            raise ContractError(
                f"features {tuple(x.shape)}: expected (N, {channels}, H, W)"
            )
        if (
            guidance.dim() != 4
            or guidance.shape[1] != wanted
            or len(guidance) != len(x)
        ):
            raise ContractError(
                f"guidance {tuple(guidance.shape)} for features {tuple(x.shape)}: "
                f"expected ({len(x)}, {wanted}, h, w)"
            )
        if guidance.shape[2:] != x.shape[2:]:
            guidance = F.interpolate(
                guidance, x.shape[2:], mode="bilinear", align_corners=False
            )
        hidden = F.relu(self.shared(guidance))
        return self.norm(x) * (1 + self.scale(hidden)) + self.shift(hidden)
