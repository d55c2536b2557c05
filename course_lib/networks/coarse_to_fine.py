"""Two generators in a row: a rough fill, then a better one; lesson 05 builds it.

The shape of Yu et al. 2019 (DeepFill v2): each halves the picture twice, looks far with
dilated convolutions, and has neither normalisation nor skips.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.layers import GatedConv2d, GatedUpConv2d, PlainConv2d
from course_lib.tensors import (
    ContractError,
    check_pair,
    composite,
    hide,
    sketch_in_hole,
)


class CoarseToFine(nn.Module):
    """Image, hole and perhaps a sketch in; image out.

    ``width``: channels at full size; twice and four times as many below (published:
    24). ``dilations``: of the four convolutions in the middle of each stage, at a
    quarter of the side (published, for 256 pixels: 2, 4, 8, 16). ``guided``: takes a
    sketch.

    The coarse stage sees the hidden picture, validity and the sketch; the fine stage
    only the picture with the coarse fill in it, as published.
    """

    def __init__(
        self,
        width: int = 24,
        dilations: Sequence[int] = (2, 4, 8, 16),
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.guided = guided
        self.coarse = _Stage(4 + guided, width, dilations)
        self.fine = _Stage(3, width, dilations)

    def forward(
        self, image: Tensor, hole: Tensor, sketch: Tensor | None = None
    ) -> Tensor:
        """``image (N, 3, H, W)``, ``hole (N, 1, H, W)`` -> ``(N, 3, H, W)``.

        The fine stage's raw answer for every pixel, in ``[0, 1]``. ``sketch (N, 1, H,
        W)``, 1 on lines, is read inside the hole only; None is an empty one. Pixels
        under the hole are never read. Raises ``ContractError`` for sides that are no
        multiples of 4, and for a sketch that the network was not built for.
        """
        return self.both(image, hole, sketch)[1]

    def both(
        self, image: Tensor, hole: Tensor, sketch: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The answers of the coarse and the fine stage; training needs both."""
        self._check(image, hole, sketch)
        valid = 1 - hole.to(image.dtype)
        inputs = [2 * hide(image, hole) - 1, valid]
        if self.guided:
            inputs.append(sketch_in_hole(sketch, image, hole))
        coarse = self.coarse(torch.cat(inputs, 1), valid)
        rough = composite(coarse, image, hole)
        return coarse, self.fine(2 * rough - 1, valid)

    def _check(self, image: Tensor, hole: Tensor, sketch: Tensor | None) -> None:
        check_pair(image, hole, values=not self.training)
        if image.shape[-2] % 4 or image.shape[-1] % 4:
            raise ContractError(
                f"picture of {image.shape[-2]} x {image.shape[-1]} pixels: this "
                "network halves it twice, so both sides must be multiples of 4"
            )
        if sketch is not None and not self.guided:
            raise ContractError(
                "this network takes no sketch: build it with guided=True"
            )


class _Stage(nn.Module):
    """Down twice, dilated convolutions, up twice; the last layer has no gate."""

    def __init__(self, inputs: int, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        full, half, quarter = width, 2 * width, 4 * width
        self.layers = nn.ModuleList(
            [
                GatedConv2d(inputs, full, 5, padding=2),
                GatedConv2d(full, half, 3, 2, 1),
                GatedConv2d(half, half, 3, padding=1),
                GatedConv2d(half, quarter, 3, 2, 1),
                GatedConv2d(quarter, quarter, 3, padding=1),
                GatedConv2d(quarter, quarter, 3, padding=1),
                *[
                    GatedConv2d(quarter, quarter, 3, padding=gap, dilation=gap)
                    for gap in dilations
                ],
                GatedConv2d(quarter, quarter, 3, padding=1),
                GatedConv2d(quarter, quarter, 3, padding=1),
                GatedUpConv2d(quarter, half, 3, padding=1),
                GatedConv2d(half, half, 3, padding=1),
                GatedUpConv2d(half, full, 3, padding=1),
                GatedConv2d(full, full // 2, 3, padding=1),
                PlainConv2d(full // 2, 3, 3, padding=1),
            ]
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Features with their validity -> a picture in ``[0, 1]``."""
        for layer in self.layers:
            x, valid = layer(x, valid)
        return (torch.tanh(x) + 1) / 2
