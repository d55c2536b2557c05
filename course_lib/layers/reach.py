"""Kernels of several reaches, and a gate that knows which find anything; lesson 08.

Our own construction, from an idea in the abstract of Cai et al. 2024, "Deformable
dynamic sampling and dynamic predictable mask mining for image inpainting": kernels are
selected by content. That they differ in reach, and all else here, is ours.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.layers import sampling_training
from course_lib.layers.parts import Parts, pairs
from course_lib.layers.sampling import known_features, known_share


class ReachSelection2d(nn.Module):
    """Partial convolutions of several sizes, mixed at each place by a softmax.

    ``y = sum_k share_k (W_k x / coverage_k) + b``, where ``coverage_k`` is how much of
    the window of kernel k is known; stride 1, same size. The shares are a softmax of
    ``scores / temperature``, and with ``coverage`` of that ``+ log(coverage_k)``. The
    scores come from a 3 x 3 convolution of known features and validity, which starts
    at 0. A kernel whose window knows nothing has no share; where all windows are so,
    ``y`` is exactly 0, and unknown. All else becomes known. Padding is unknown.
    """

    reads_validity = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        sizes: Sequence[int] = (3, 7, 13),
        bias: bool = True,
        *,
        temperature: float = 1.0,
        coverage: bool = True,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        if not self.sizes or any(size < 1 or size % 2 == 0 for size in self.sizes):
            raise ValueError(f"sizes {self.sizes} must be odd, and at least one")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.temperature, self.coverage = temperature, coverage
        each = [
            nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
            for size in self.sizes
        ]
        self.kernels = nn.ModuleList(each)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.head = None
        if len(self.sizes) > 1:
            self.head = nn.Conv2d(in_channels + 1, len(self.sizes), 3, padding=1)
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:
        """``x (N, C, H, W)``, ``valid (N, 1 or C, H, W)`` -> ``y``, ``(N, 1, H, W)``.

        Validity from 0 to 1; what has none is never read, be it NaN, and the rest
        counts by it. After a skip both are given in parts: ``((x, skip), (valid,
        skip_valid))``. No gradient reaches ``valid``. Raises ``ContractError`` when
        the shapes do not belong together.
        """
        found = pairs(x, valid)
        features, share = known_features(found), known_share(found)
        coverage = torch.cat(  # sums of zeros: an empty window has exactly 0
            [F.avg_pool2d(share, size, 1, size // 2) for size in self.sizes], 1
        )
        shares = self._choose(features, share, coverage)
        known = coverage.amax(1, keepdim=True) > 0
        y = self._mix(features, shares, coverage)
        if self.bias is not None:
            bias = self.bias.to(y.dtype)[:, None, None]
            y = torch.where(known, y + bias, 0)
        emit(self, "shares", shares)
        emit(self, "coverage", coverage)
        emit(self, "valid", known.to(share.dtype))
        if sampling_training.listens(self):
            mean = shares.sum((0, 2, 3), keepdim=True) / known.sum().clamp(min=1)
            sampling_training.tell(self, {"balance": sampling_training.balance(mean)})
        return y, known.to(found[0][1].dtype)

    def _choose(self, features: Tensor, share: Tensor, coverage: Tensor) -> Tensor:
        """The share of each kernel at each place, ``(N, K, H, W)``."""
        scores = torch.zeros_like(coverage)
        if self.head is not None:
            seen = torch.cat([features, share.to(features.dtype)], 1)
            scores = self.head(seen).to(share.dtype) / self.temperature
        some = coverage > 0
        if self.coverage:
            scores = scores + torch.where(some, coverage, 1).log()
        # Where no window knows anything, finite scores: no softmax of nothing
        left_out = ~some & some.any(1, keepdim=True)
        shares = scores.masked_fill(left_out, -torch.inf).softmax(1)
        return torch.where(some, shares, 0)

    def _mix(self, features: Tensor, shares: Tensor, coverage: Tensor) -> Tensor:
        """The outputs of all kernels, renormalised and weighed, ``(N, out, H, W)``."""
        factors = (shares / torch.where(coverage > 0, coverage, 1)).split(1, 1)
        each = [cast(Tensor, kernel(features)) for kernel in self.kernels]
        parts = [y * factor for y, factor in zip(each, factors, strict=True)]
        return torch.stack(parts).sum(0).to(each[0].dtype)
