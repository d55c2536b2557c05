"""The kernels that mask-aware filtering makes for a hole, level by level (lesson 07).

The kernel explorer shows them; a lesson may ask them directly. A kernel is linear in
the mask features m: with the fixed part K_0 and a part K_j for each feature it is
``K_0 + sum_j m_j K_j``. So two kernels are compared by ``[1, m]`` and the inner
products of the parts alone, and no kernel is made to compare all places of a level.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import MaskAwareDynamicConv2d
from course_lib.networks import Cascade
from course_lib.widgets.base import WidgetError
from course_lib.widgets.pixel_explorer import Box

GIVEN = ("red", "green", "blue", "valid")  # what the first level reads
ALL = "all"
SHARE = 0.99  # of the weights, which the scale of colours holds


@dataclass(frozen=True)
class KernelLevel:
    """All kernels that one level of a cascade can make, kept on the CPU.

    ``number`` counts from 1; ``stride`` is the step between its windows and ``reach``
    how far they go from their middle, both in pixels of the hole. ``parts
    (1 + J, out, in, k, k)``: the fixed part of a kernel, then what each of the J mask
    features scales. ``full (J,)``: the mask features where nothing is missing and the
    border is far. ``limits``: of 100 weights 99 are at most that large, in windows
    known wholly, by half, by a quarter or not at all; for "all" of means over inputs.
    """

    number: int
    stride: int
    reach: int
    parts: Tensor
    full: Tensor
    limits: dict[str, float]

    @property
    def side(self) -> int:
        """Pixels a side of the part of the hole that reaches one kernel."""
        return 2 * self.reach + 1

    @property
    def inputs(self) -> list[str]:
        """The names of the input channels."""
        count = self.parts.shape[2]
        return [*GIVEN] if self.number == 1 else [str(k) for k in range(count)]

    def kernels(self, features: Tensor) -> Tensor:
        """Mask features ``(J,)`` of a place -> its kernels ``(out, in, k, k)``."""
        return self.parts[0] + torch.einsum("j,joikl->oikl", features, self.parts[1:])

    def compared(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Each place beside a window that knows everything; no kernel is made.

        ``features (J, h, w)`` -> the cosine of both kernels and the ratio of their
        lengths, each ``(h, w)``; all channels of a place are one vector.
        """
        flat = self.parts.flatten(1).double()
        products = flat @ flat.T
        here = _with_one(features.flatten(1).double())
        full = _with_one(self.full[:, None].double())
        lengths, length = (
            torch.einsum("jn,jk,kn->n", x, products, x).clamp_min(0).sqrt()
            for x in (here, full)
        )
        inner = (full.T @ products @ here)[0]
        cosine = inner / (lengths * length).clamp_min(1e-12)
        ratio = lengths / length.clamp_min(1e-12)
        size = features.shape[-2:]
        return cosine.clamp(-1, 1).view(size).float(), ratio.view(size).float()

    def window(self, row: int, column: int) -> Box:
        """The pixels of the hole that reach a place; they may leave the picture."""
        top, left = (self.stride * k - self.reach for k in (row, column))
        return top, left, self.side, self.side

    def counted(self, pixels: Tensor) -> Tensor:
        """How many of the window of each place are 1: ``(1, 1, H, W)`` -> ``(h, w)``.

        What lies beyond the border is none of them.
        """
        sums = F.avg_pool2d(
            pixels, self.side, self.stride, self.reach, divisor_override=1
        )
        return sums[0, 0].round().long()


def read_levels(network: nn.Module) -> list[KernelLevel]:
    """The levels of a cascade that makes its kernels; raises ``WidgetError`` else."""
    layers = _layers(network)
    found, stride, reach = [], 1, 0
    places = []
    for layer in layers:
        reach += stride * (layer.kernel_size // 2)
        stride *= layer.stride
        places.append((stride, reach))
    half = stride * -(-(reach + 1) // stride)  # so that the middle is far from borders
    all_features = mask_features(network, _typical_holes(2 * half))
    for number, (layer, (stride, reach), maps) in enumerate(
        zip(layers, places, all_features, strict=True), start=1
    ):
        parts, middle = _parts(layer), half // stride
        typical = maps[:, :, middle, middle]
        made = parts[0] + torch.einsum("nj,joikl->noikl", typical, parts[1:])
        limits = {
            name: float(np.quantile(values.abs().numpy(), SHARE))
            for name, values in ((ALL, made.mean(2)), ("one", made))
        }
        found.append(KernelLevel(number, stride, reach, parts, typical[0], limits))
    return found


@torch.no_grad()
def mask_features(network: nn.Module, hole: Tensor) -> list[Tensor]:
    """The mask features ``(N, J, h, w)`` of every level; no image is needed.

    ``hole (N, 1, H, W)``.
    """
    layers = _layers(network)
    known = (1 - hole).to(layers[0].filter_conv.weight)
    found = []
    for layer in layers:
        known = F.relu(layer.mask_conv(known))
        found.append(known.float().cpu())
    return found


def _layers(network: nn.Module) -> list[MaskAwareDynamicConv2d]:
    layers = list(network.filters) if isinstance(network, Cascade) else []
    if not layers or not all(isinstance(x, MaskAwareDynamicConv2d) for x in layers):
        kind = type(network).__name__
        of = " of ordinary convolutions" if isinstance(network, Cascade) else ""
        raise WidgetError(
            f"this {kind}{of} makes no kernels: expected a Cascade with mask features; "
            "build one by Cascade(mask_channels=16)"
        )
    return cast(list[MaskAwareDynamicConv2d], layers)


def _parts(layer: MaskAwareDynamicConv2d) -> Tensor:
    """``(1 + J, out, in, k, k)`` from the order of ``filter_conv``, out fastest."""
    weight = layer.filter_conv.weight.detach().flatten(1).T
    bias = cast(Tensor, layer.filter_conv.bias).detach()
    size = layer.kernel_size
    shape = (-1, layer.in_channels, size, size, layer.out_channels)
    parts = torch.cat([bias[None], weight]).view(shape)
    return parts.permute(0, 4, 1, 2, 3).float().cpu().contiguous()


def _typical_holes(side: int) -> Tensor:
    """``(10, 1, side, side)``: no hole first, all missing, halves and quarters."""
    low = torch.arange(side) > side // 2
    down, across = low[:, None].expand(side, side), low[None].expand(side, side)
    none = torch.zeros(side, side, dtype=torch.bool)
    halves = [down, ~down, across, ~across]
    quarters = [a & b for a in halves[:2] for b in halves[2:]]
    return torch.stack([none, ~none, *halves, *quarters])[:, None].float()


def _with_one(features: Tensor) -> Tensor:
    """``(J, n)`` -> ``(1 + J, n)``: the fixed part of a kernel always counts once."""
    return torch.cat([torch.ones_like(features[:1]), features])
