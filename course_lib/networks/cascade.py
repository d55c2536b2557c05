"""An encoder that filters by the mask, and decoders that refine one another; lesson 07.

Zhu et al. 2021, "Image inpainting by end-to-end cascaded refinement with mask
awareness" (MADF).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import MaskAwareDynamicConv2d, PlainConv2d, PointwiseNorm
from course_lib.tensors import ContractError, check_pair, hide


class Cascade(nn.Module):
    """Image and hole in; one picture from every decoder out, coarse to fine.

    The encoder halves the picture once a level by ``MaskAwareDynamicConv2d``. The
    *recovery* decoder goes up again with skips. Each *refinement* decoder goes up from
    the same lowest features without skips; at every level it is normalised by what the
    decoder before it had there.

    ``narrow``: channels of the encoder's levels, from the finest; ``wide``: of the
    skips and decoders. ``kernels``: of the encoder's levels. ``refinements``: how many
    such decoders. ``mask_channels``: features of the mask at each level; None for
    ordinary convolutions, for which validity is a channel of the input and no more.
    ``hidden``: of point-wise normalisation; None for batch normalisation, which nothing
    guides. Published, for 256 to 512 pixels: 7 levels, narrow 16, 32, 64, then 128,
    wide 64, 128, 256, then 512, 2 refinements, hidden 128.
    """

    def __init__(
        self,
        narrow: Sequence[int] = (8, 16, 24, 32),
        wide: Sequence[int] = (16, 32, 48, 64),
        kernels: Sequence[int] = (7, 5, 3, 3),
        refinements: int = 2,
        mask_channels: int | None = 16,
        hidden: int | None = 32,
    ) -> None:
        super().__init__()
        if not len(narrow) == len(wide) == len(kernels):
            raise ValueError(
                f"{len(narrow)} narrow widths, {len(wide)} wide ones and "
                f"{len(kernels)} kernels: each level needs all three"
            )
        self.filters, self.skips = nn.ModuleList(), nn.ModuleList()
        self.factor = 2 ** len(narrow)  # both sides must be multiples of it
        before, masks = 4, 1
        for inside, outside, kernel in zip(narrow, wide, kernels, strict=True):
            shape = (before, inside, kernel, 2, kernel // 2)
            if mask_channels is None:
                self.filters.append(PlainConv2d(*shape))
            else:
                made = MaskAwareDynamicConv2d(*shape, masks, mask_channels)
                self.filters.append(made)
                masks = mask_channels
            self.skips.append(nn.Conv2d(inside, outside, 1))
            before = inside
        self.recovery = _Recovery(wide)
        self.refinements = nn.ModuleList(
            _Refinement(wide, hidden, earlier=k + 1) for k in range(refinements)
        )

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """``image (N, 3, H, W)``, ``hole (N, 1, H, W)`` -> ``(N, 3, H, W)``.

        The last decoder's raw answer for every pixel, in ``[0, 1]``. Pixels under the
        hole are never read. Raises ``ContractError`` for a side that cannot be halved
        often enough; values are checked in evaluation mode only.
        """
        return self.stages(image, hole)[-1]

    def stages(self, image: Tensor, hole: Tensor) -> tuple[Tensor, ...]:
        """The answers of all decoders, the last one last; training needs them all."""
        self._check(image, hole)
        valid = 1 - hole.to(image.dtype)
        given = torch.cat([2 * hide(image, hole) - 1, valid], 1)  # missing: 0
        features, known, skips = given, valid, [given]
        for layer, widen in zip(self.filters, self.skips, strict=True):
            features, known = layer(features, known)
            features = F.relu(features)
            skips.append(F.relu(widen(features)))
        picture, guides = self.recovery(skips)
        pictures = [picture]
        for decoder in self.refinements:
            picture, guides = decoder(skips[-1], guides, [*pictures, given])
            pictures.append(picture)
        return tuple(torch.sigmoid(picture) for picture in pictures)

    def _check(self, image: Tensor, hole: Tensor) -> None:
        check_pair(image, hole, values=not self.training)
        if image.shape[-2] % self.factor or image.shape[-1] % self.factor:
            raise ContractError(
                f"picture of {image.shape[-2]} x {image.shape[-1]} pixels: this "
                f"network halves it {len(self.filters)} times, so both sides must be "
                f"multiples of {self.factor}; crop or pad it, as large.fill_any does"
            )


class _Recovery(nn.Module):
    """Up with skips; the guides are what it had at each level, the lowest first."""

    def __init__(self, wide: Sequence[int]) -> None:
        super().__init__()
        self.ups, self.joins = nn.ModuleList(), nn.ModuleList()
        for below, here in _steps(wide):
            self.ups.append(_Up(below, here, nn.BatchNorm2d(here)))
            self.joins.append(nn.Conv2d(2 * here, here, 3, padding=1))
        self.last = nn.ConvTranspose2d(wide[0], 3, 4, 2, 1)
        self.join = nn.Conv2d(3 + 4, 3, 3, padding=1)

    def forward(self, skips: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Skips from the picture down -> a raw picture, and the guides."""
        x, guides = skips[-1], []
        for up, join, skip in zip(self.ups, self.joins, skips[-2:0:-1], strict=True):
            x = F.relu(join(torch.cat([skip, up(x)], 1)))
            guides.append(x)
        return self.join(torch.cat([skips[0], self.last(x)], 1)), guides


class _Refinement(nn.Module):
    """Up without skips, guided at each level by the decoder before."""

    def __init__(self, wide: Sequence[int], hidden: int | None, earlier: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList(
            _Up(
                below,
                here,
                nn.BatchNorm2d(here)
                if hidden is None
                else PointwiseNorm(here, here, hidden),
            )
            for below, here in _steps(wide)
        )
        self.last = nn.Conv2d(wide[0] + 3 * earlier + 4, 3, 1)

    def forward(
        self, lowest: Tensor, guides: list[Tensor], pictures: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Lowest features, guides, earlier raw pictures and the input -> both anew."""
        x, own = lowest, []
        for up, guide in zip(self.ups, guides, strict=True):
            x = up(x, guide)
            own.append(x)
        x = F.interpolate(
            x, pictures[0].shape[2:], mode="bilinear", align_corners=False
        )
        return self.last(torch.cat([x, *pictures], 1)), own


class _Up(nn.Module):
    """Twice the size by a transposed convolution, a norm, a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), norm

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, out, 2 H, 2 W)``; a guide if the norm reads it."""
        y = self.conv(x)
        guided = isinstance(self.norm, PointwiseNorm)
        return F.leaky_relu(self.norm(y, guide) if guided else self.norm(y), 0.2)


def _steps(wide: Sequence[int]) -> list[tuple[int, int]]:
    """From the lowest level up to the finest: channels below and here."""
    return [(wide[k], wide[k - 1]) for k in range(len(wide) - 1, 0, -1)]
