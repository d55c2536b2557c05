"""Two generators in a row: a rough fill, then a better one; lessons 05 and 06.

The shape of Yu et al. 2019 (DeepFill v2): each halves the picture twice, looks far with
dilated convolutions, and has neither normalisation nor skips.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import (
    ContextualAttention,
    GatedConv2d,
    GatedUpConv2d,
    Parts,
    PlainConv2d,
)
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
    sketch. ``attention_rate``: the fine stage gets a second branch with contextual
    attention of this rate (published: 2); None leaves it out. ``fine_width``: that of
    the fine stage, if it is another.

    The coarse stage sees the hidden picture, validity and the sketch; the fine stage
    only the picture with the coarse fill in it, as published.
    """

    def __init__(
        self,
        width: int = 24,
        dilations: Sequence[int] = (2, 4, 8, 16),
        guided: bool = False,
        attention_rate: int | None = None,
        fine_width: int | None = None,
    ) -> None:
        super().__init__()
        self.guided, self.factor = guided, 4 * (attention_rate or 1)
        self.coarse = _Stage(4 + guided, width, dilations)
        fine = width if fine_width is None else fine_width
        self.fine = (
            _Stage(3, fine, dilations)
            if attention_rate is None
            else _TwoBranches(3, fine, dilations, attention_rate)
        )

    def forward(
        self, image: Tensor, hole: Tensor, sketch: Tensor | None = None
    ) -> Tensor:
        """``image (N, 3, H, W)``, ``hole (N, 1, H, W)`` -> ``(N, 3, H, W)``.

        The fine stage's raw answer for every pixel, in ``[0, 1]``. ``sketch (N, 1, H,
        W)``, 1 on lines, is read inside the hole only; None is an empty one. Pixels
        under the hole are never read. Raises ``ContractError`` for sides that are no
        multiples of 4 (with attention: of 4 times its rate), and for a sketch that the
        network was not built for.
        """
        return self.stages(image, hole, sketch)[1]

    def stages(
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
        if image.shape[-2] % self.factor or image.shape[-1] % self.factor:
            raise ContractError(
                f"picture of {image.shape[-2]} x {image.shape[-1]} pixels: both sides "
                f"must be multiples of {self.factor}, because this network halves it "
                f"twice{self._attends()}; crop or pad it"
            )
        if sketch is not None and not self.guided:
            raise ContractError(
                "this network takes no sketch: build it with guided=True"
            )

    def _attends(self) -> str:
        rate = self.factor // 4
        return f" and its attention takes every {rate}. place" if rate > 1 else ""


class _Stage(nn.Module):
    """Down twice, dilated convolutions, up twice; the last layer has no gate."""

    def __init__(self, inputs: int, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        deep = 4 * width
        self.layers = nn.ModuleList(
            [*_down(inputs, width), *_far(deep, dilations), *_up(deep, width)]
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Features with their validity -> a picture in ``[0, 1]``."""
        return _picture(_through(self.layers, x, valid)[0])


class _TwoBranches(nn.Module):
    """One branch invents by dilated convolutions, one copies by attention; joined."""

    def __init__(
        self, inputs: int, width: int, dilations: Sequence[int], rate: int
    ) -> None:
        super().__init__()
        deep = 4 * width
        self.inventing = nn.ModuleList([*_down(inputs, width), *_far(deep, dilations)])
        self.copying = nn.ModuleList(_down(inputs, width, last=nn.ReLU()))
        self.attention = ContextualAttention(rate=rate)
        self.copied = nn.ModuleList(_far(deep, ()))
        self.joined = nn.ModuleList(_up(2 * deep, width))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Features with their validity -> a picture in ``[0, 1]``.

        A place of the small map counts as missing if any of its pixels is: what the
        rough fill made is asked for, never copied.
        """
        invented, small = _through(self.inventing, x, valid)
        features, _ = _through(self.copying, x, valid)
        missing = F.adaptive_max_pool2d(1 - valid, features.shape[-2:])
        found, _ = self.attention(features, features, missing)
        copied, _ = _through(self.copied, found, small)
        both = (invented, copied), (small, small)
        return _picture(_through(self.joined, *both)[0])


def _down(inputs: int, width: int, last: nn.Module | None = None) -> list[nn.Module]:
    """To a quarter of the side and four times the width."""
    half, deep = 2 * width, 4 * width
    return [
        GatedConv2d(inputs, width, 5, padding=2),
        GatedConv2d(width, half, 3, 2, 1),
        GatedConv2d(half, half, 3, padding=1),
        GatedConv2d(half, deep, 3, 2, 1),
        GatedConv2d(deep, deep, 3, padding=1),
        GatedConv2d(deep, deep, 3, padding=1, activation=last),
    ]


def _far(deep: int, dilations: Sequence[int]) -> list[nn.Module]:
    """Dilated convolutions, which look far, and two that do not."""
    return [
        GatedConv2d(deep, deep, 3, padding=gap, dilation=gap)
        for gap in (*dilations, 1, 1)
    ]


def _up(inputs: int, width: int) -> list[nn.Module]:
    """Back to full size and three colours; two branches are joined by a convolution."""
    half, deep = 2 * width, 4 * width
    joined = [GatedConv2d(inputs, deep, 3, padding=1)] if inputs > deep else []
    return [
        *joined,
        GatedUpConv2d(deep, half, 3, padding=1),
        GatedConv2d(half, half, 3, padding=1),
        GatedUpConv2d(half, width, 3, padding=1),
        GatedConv2d(width, width // 2, 3, padding=1),
        PlainConv2d(width // 2, 3, 3, padding=1),
    ]


def _through(
    layers: Iterable[nn.Module], x: Parts, valid: Parts
) -> tuple[Tensor, Tensor]:
    for layer in layers:
        x, valid = layer(x, valid)
    return cast("tuple[Tensor, Tensor]", (x, valid))


def _picture(x: Tensor) -> Tensor:
    return (torch.tanh(x) + 1) / 2
