"""Partial convolution, the layer that reads what is known only; lesson 04 builds it.

Liu et al. 2018, "Image inpainting for irregular holes using partial convolutions",
equations 1 and 2, with the factor sum(1) / sum(M) of the authors' later text and code.
"""

from collections.abc import Callable
from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.layers.parts import Parts, pairs
from course_lib.tensors import ContractError


class PartialConv2d(nn.Conv2d):
    """A convolution of the known values, scaled up by how many are missing.

    In each window ``y = W (x where known) * sum(1) / sum(valid) + b``; where a window
    holds nothing known, ``y`` is exactly 0 and stays unknown. Padding counts as
    unknown, so without any hole this is partial-convolution padding.
    """

    reads_validity = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias
        )

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, H, W)``, ``valid (N, 1 or C, H, W)`` -> ``y``, ``(N, 1, H', W')``.

        After a skip both are given in parts: ``((x, skip), (valid, skip_valid))``.
        Validity is binary, 1 = known. Nothing under a hole is read, be it NaN, and no
        gradient reaches it, nor ``valid``. Raises ``ContractError`` when the shapes do
        not belong together and, in evaluation mode, for values between 0 and 1.
        """
        return _partial(self, F.conv2d, x, valid)


class PartialConv3d(nn.Conv3d):
    """The same for pictures in time, ``(N, C, T, H, W)``; no lesson uses it yet."""

    reads_validity = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias
        )

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, T, H, W)``, ``valid (N, 1 or C, T, H, W)``; see PartialConv2d."""
        return _partial(self, F.conv3d, x, valid)


def _partial(
    layer: nn.Conv2d | nn.Conv3d,
    convolve: Callable[..., Tensor],
    x: Parts,
    valid: Parts,
) -> tuple[Tensor, Tensor]:
    found = pairs(x, valid, layer.weight.dim())
    if not layer.training:
        _check_binary(found)
    window = _known_share(layer, found)
    known = (window > 0).to(found[0][1].dtype)
    emit(layer, "window", window)
    emit(layer, "valid", known)
    hidden = [torch.where(v.bool(), part, 0) for part, v in found]
    whole = hidden[0] if len(hidden) == 1 else torch.cat(hidden, 1)
    y = convolve(whole, layer.weight, None, layer.stride, layer.padding, layer.dilation)
    # In place: y keeps its precision while the product is taken in float32
    y.mul_(torch.where(window > 0, 1 / window, 0))
    if layer.bias is not None:
        bias = layer.bias.to(y.dtype).view(-1, *[1] * (y.dim() - 2))
        y = torch.where(known.bool(), y + bias, 0)
    return y, known


@torch.no_grad()
def _known_share(
    layer: nn.Conv2d | nn.Conv3d, found: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """How much of each window is known: sum(M) / sum(1), ``(N, 1, H', W')``.

    The sum over channels comes first, so a single window sum S serves all parts:
    sum(M) = C_1 S(M_1) + C_2 S(M_2) = S(C_1 M_1 + C_2 M_2).
    """
    exact = torch.float64 if found[0][0].dtype == torch.float64 else torch.float32
    each = [
        valid.to(exact).sum(1, keepdim=True) * (x.shape[1] // valid.shape[1])
        for x, valid in found
    ]
    known = each[0] if len(each) == 1 else torch.stack(each).sum(0)
    return _window_sum(layer, known) / (layer.in_channels * prod(layer.kernel_size))


def _window_sum(layer: nn.Conv2d | nn.Conv3d, values: Tensor) -> Tensor:
    """The sum over each window of a padded map: along one axis, then the next.

    No convolution with ones: that may round (TF32), and a window whose sum is not
    exactly 0 would not be empty. These sums of whole numbers are exact.
    """
    padding = cast("tuple[int, ...]", layer.padding)
    values = F.pad(values, [side for side in reversed(padding) for _ in range(2)])
    shape = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    for axis, (size, step, gap) in enumerate(shape, start=2):
        windows = values.unfold(axis, gap * (size - 1) + 1, step)
        values = windows[..., ::gap].sum(-1)
    return values


def _check_binary(found: list[tuple[Tensor, Tensor]]) -> None:
    for _, valid in found:
        if ((valid != 0) & (valid != 1)).any():
            raise ContractError(
                "validity must hold only 0 and 1: resize it by nearest neighbour, or "
                "binarise: (valid > 0.5).float()"
            )
