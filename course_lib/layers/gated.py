"""Gated convolution, which learns how much of each value to let pass; lesson 05.

Yu et al. 2019, "Free-form image inpainting with gated convolution", section 3.1:
y = activation(feature) * sigmoid(gate), both linear in the same window.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.layers.parts import Parts, carried, together


class GatedConv2d(nn.Conv2d):
    """A convolution beside a second one whose sigmoid says how much of it passes.

    One convolution computes both: ``weight (2 * out, in, k, k)`` and ``bias`` hold the
    ``out`` feature channels first, then as many gates. The layer brings its own
    ``activation`` (of the feature; ELU as in the paper, ``nn.Identity()`` for none).
    """

    activates = True  # no activation after it, and not for the last layer of a network

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        activation: nn.Module | None = None,
        bias: bool = True,
    ) -> None:
        both = 2 * out_channels
        super().__init__(
            in_channels, both, kernel_size, stride, padding, dilation, bias=bias
        )
        self.out_channels = out_channels  # what comes out; the weight has twice these
        self.activation = nn.ELU() if activation is None else activation

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, H, W)``, ``valid (N, 1 or C, H, W)`` -> ``y (N, out, H', W')``.

        ``valid`` is not used: it is carried to the output's size, ``(N, 1, H', W')``,
        as PlainConv2d does it. What may gate is in ``x``: give the hole as a channel.
        After a skip both are given in parts: ``((x, skip), (valid, skip_valid))``.
        Raises ``ContractError`` when the shapes do not belong together.
        """
        return _gated(self, F.conv2d, x, valid)


class GatedConv3d(nn.Conv3d):
    """The same for pictures in time, ``(N, C, T, H, W)``; no lesson uses it yet."""

    activates = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        activation: nn.Module | None = None,
        bias: bool = True,
    ) -> None:
        both = 2 * out_channels
        super().__init__(
            in_channels, both, kernel_size, stride, padding, dilation, bias=bias
        )
        self.out_channels = out_channels  # what comes out; the weight has twice these
        self.activation = nn.ELU() if activation is None else activation

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, T, H, W)``, ``valid (N, 1 or C, T, H, W)``; see GatedConv2d."""
        return _gated(self, F.conv3d, x, valid)


class GatedUpConv2d(GatedConv2d):
    """Twice the size by nearest neighbour, then a gated convolution."""

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, H, W)`` -> ``y (N, out, 2 H, 2 W)`` with ``padding=k // 2``."""
        features, known = together(x, valid)
        features = F.interpolate(features, scale_factor=2.0, mode="nearest")
        known = F.interpolate(known, scale_factor=2.0, mode="nearest")
        return super().forward(features, known)


def _gated(
    layer: GatedConv2d | GatedConv3d,
    convolve: Callable[..., Tensor],
    x: Parts,
    valid: Parts,
) -> tuple[Tensor, Tensor]:
    features, known = together(x, valid, layer.weight.dim())
    both = convolve(
        features, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation
    )
    feature, score = both.chunk(2, 1)
    gate = torch.sigmoid(score)
    emit(layer, "gate", gate)
    return layer.activation(feature) * gate, carried(known, both)
