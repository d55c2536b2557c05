"""Mask-aware dynamic filtering: for every window its own filter; lesson 07 builds it.

Zhu et al. 2021, "Image inpainting by end-to-end cascaded refinement with mask
awareness". The filters are made from features of the mask alone.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.tensors import ContractError

GROUP = 9  # kernels in one convolution: all together need half as much memory again


class MaskAwareDynamicConv2d(nn.Module):
    """A convolution whose kernel at each place is made from what is missing there.

    ``m = relu(mask_conv(mask_features))``, and at place n the kernel is the n-th column
    of ``filter_conv(m)``, linear in ``m(n)``. So with ``K_j`` the part that ``m_j``
    scales and ``K_0`` the bias of ``filter_conv``::

        y = K_0 * x + sum_j m_j (K_j * x)

    ``mask_channels`` + 1 ordinary convolutions, each gated by a feature of the mask:
    one convolution with that many times the outputs, and no kernel is ever made. The
    published form makes them all: ``in * k * k * out`` numbers for every place.

    ``filter_conv`` has ``(in * k * k, out)`` output channels, in the order of unfold,
    out fastest. No bias, no activation on ``y``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        mask_in_channels: int,
        mask_channels: int = 16,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.mask_conv = nn.Conv2d(
            mask_in_channels, mask_channels, kernel_size, stride, padding
        )
        weights = in_channels * kernel_size**2 * out_channels
        self.filter_conv = nn.Conv2d(mask_channels, weights, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw anew, so that ``y`` varies as a He-initialised convolution's does.

        Half of its variance comes from the fixed kernel, half from those that the mask
        features gate. A 1 x 1 convolution drawn by its own fan-in would make kernels
        that are larger by the square root of ``in * k * k``.
        """
        nn.init.kaiming_normal_(self.mask_conv.weight)
        nn.init.zeros_(cast(Tensor, self.mask_conv.bias))
        inputs = self.in_channels * self.kernel_size**2
        nn.init.normal_(cast(Tensor, self.filter_conv.bias), std=inputs**-0.5)
        gated = (inputs * self.filter_conv.in_channels) ** -0.5
        nn.init.normal_(self.filter_conv.weight, std=gated)

    def forward(self, x: Tensor, mask_features: Tensor) -> tuple[Tensor, Tensor]:
        """``x (N, in, H, W)``, ``mask_features (N, mask_in, H, W)`` -> both smaller.

        ``y (N, out, H', W')``, and the next mask features ``(N, J, H', W')``, at least
        0, with J = ``mask_channels``. Every value of a window is read: hide what the
        hole hides first. Raises ``ContractError`` when the shapes do not belong
        together.
        """
        self._check(x, mask_features)
        features = F.relu(self.mask_conv(mask_features))
        emit(self, "mask_features", features)
        kernels, y = self._kernels(), None
        gates = torch.cat([torch.ones_like(features[:, :1]), features], 1)
        for some, gate in zip(kernels.split(GROUP), gates.split(GROUP, 1), strict=True):
            each = F.conv2d(x, some.flatten(0, 1), None, self.stride, self.padding)
            part = _GatedSum.apply(each.unflatten(1, (len(some), -1)), gate)
            y = part if y is None else y + part
        return cast(Tensor, y), features

    def kernels_at(self, mask_features: Tensor, row: int, column: int) -> Tensor:
        """The kernels ``(N, out, in, k, k)`` made for one place of the output.

        ``mask_features`` as in ``forward``; ``row`` and ``column`` of ``y``.
        """
        made = F.relu(self.mask_conv(mask_features))[:, :, row, column]
        kernels = self._kernels()
        return kernels[0] + torch.einsum("nj,joikl->noikl", made, kernels[1:])

    def _kernels(self) -> Tensor:
        """``(1 + J, out, in, k, k)``: the fixed kernel, then each mask feature's."""
        size = (self.in_channels, self.kernel_size, self.kernel_size, self.out_channels)
        fixed = cast(Tensor, self.filter_conv.bias)[:, None]
        together = torch.cat([fixed, self.filter_conv.weight[:, :, 0, 0]], 1)
        return together.view(*size, -1).permute(4, 3, 0, 1, 2)

    def _check(self, x: Tensor, mask_features: Tensor) -> None:
        wanted = (self.in_channels, self.mask_conv.in_channels)
        for value, channels, name in zip(
            (x, mask_features), wanted, ("x", "mask_features"), strict=True
        ):
            if value.dim() != 4 or value.shape[1] != channels:
                raise ContractError(
                    f"{name} has shape {tuple(value.shape)}, expected (N, {channels}, "
                    "H, W), as this layer was built"
                )
        if (
            x.shape[0] != mask_features.shape[0]
            or x.shape[2:] != mask_features.shape[2:]
        ):
            raise ContractError(
                f"x {tuple(x.shape)} and mask_features {tuple(mask_features.shape)} "
                "must have the same batch and size: each picture has its own mask"
            )


class _GatedSum(torch.autograd.Function):
    """The sum over j of ``each[:, j] * gates[:, j]``: a gate for all channels.

    ``torch.einsum`` takes the same sum as one small matrix product for every place, for
    which it copies ``each``, there and back; twice the time and memory in all.
    """

    @staticmethod
    def forward(ctx: Any, each: Tensor, gates: Tensor) -> Tensor:
        ctx.save_for_backward(each, gates)
        y = each[:, 0] * gates[:, :1]
        for j in range(1, each.shape[1]):
            y.addcmul_(each[:, j], gates[:, j : j + 1])
        return y

    @staticmethod
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, Tensor]:
        # only what autograd can follow: a gradient penalty goes through here twice
        each, gates = ctx.saved_tensors
        back = push[:, None] * gates[:, :, None]
        return back, torch.stack([(part * push).sum(1) for part in each.unbind(1)], 1)
