"""The U-Net that hosts one convolution of the course after another; from lesson 03.

The shape of Liu et al. 2018: stride-2 convolutions down, nearest up-sampling and one
convolution up, skips that carry features and validity side by side.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.holes import nearest_fill
from course_lib.layers import ContextualAttention, Parts, PlainConv2d, promises
from course_lib.tensors import ContractError, check_pair, hide

HOSTED = "PlainConv2d, PartialConv2d, GatedConv2d or DeformableSampling2d"


class UNet(nn.Module):
    """Image and hole in, image out.

    ``conv``: the convolution, ``(x, valid) -> (y, valid)``, see ``layers``, or what
    else takes the arguments of ``nn.Conv2d`` and keeps that contract; ``first`` and
    ``decoder``: another one for the first level, for the way up and the output.
    ``channels``: of each level, from the finest; the side must be a multiple of
    ``2 ** len(channels)``. ``kernels``: of the encoder's levels. ``sees_hole``: whether
    the hole is a fourth input channel; left out, it is one unless the convolution reads
    validity itself, as partial convolution does. ``fill``: the colour the network finds
    where pixels are missing, or ``"nearest"``: that of the nearest known pixel.
    ``copies``: on the way up, at a quarter of the side, contextual attention copies
    features from afar and a convolution joins them; lesson 10. Raises ``ValueError``
    for a convolution that takes other arguments, and for levels that do not fit.
    """

    def __init__(
        self,
        conv: Callable[..., nn.Module] = PlainConv2d,
        channels: Sequence[int] = (32, 64, 96, 128, 128),
        kernels: Sequence[int] = (7, 5, 5, 3, 3),
        sees_hole: bool | None = None,
        fill: float | Literal["nearest"] = 0.5,
        *,
        first: Callable[..., nn.Module] | None = None,
        decoder: Callable[..., nn.Module] | None = None,
        copies: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(kernels):
            raise ValueError(f"{len(channels)} channels but {len(kernels)} kernels")
        if isinstance(fill, str) and fill != "nearest":
            raise ValueError(f"fill {fill!r}: a number is expected, or 'nearest'")
        if copies and len(channels) < 3:
            raise ValueError(f"{len(channels)} levels: copies need at least 3")
        if sees_hole is None:
            sees_hole = not promises(conv, "reads_validity")
        self.sees_hole, self.fill = sees_hole, fill
        self.factor = 2 ** len(channels)  # both sides must be multiples of it
        inputs = [3 + sees_hole, *channels]
        down, up = [first or conv, *[conv] * (len(channels) - 1)], decoder or conv
        self.encoder = nn.ModuleList(
            Stage(each, inputs[k], inputs[k + 1], kernels[k], 2, nn.ReLU(), norm=k > 0)
            for k, each in enumerate(down)
        )
        self.decoder = nn.ModuleList()
        below = channels[-1]
        for skip in reversed(inputs[1:-1]):
            self.decoder.append(
                Stage(up, below + skip, skip, 3, 1, nn.LeakyReLU(0.2), norm=True)
            )
            below = skip
        self.copying = _Copying(up, channels[1]) if copies else None
        last = PlainConv2d if promises(up, "activates") else up
        self.last = last(below + inputs[0], 3, 3, padding=1)

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """``image (N, 3, H, W)``, ``hole (N, 1, H, W)`` -> ``(N, 3, H, W)``.

        The raw prediction of every pixel, in ``[0, 1]``; known pixels are not copied
        (``composite`` does that). Pixels under the hole are never read. Raises
        ``ContractError`` for a side that cannot be halved often enough; values are
        checked in evaluation mode only.
        """
        self._check(image, hole)
        valid = 1 - hole.to(image.dtype)
        x = _seen(image, hole, self.fill)
        x = torch.cat([x, valid], 1) if self.sees_hole else x
        trail = [(x, valid)]
        for stage in self.encoder:
            trail.append(stage(*trail[-1]))
        x, valid = trail.pop()
        for stage in self.decoder:
            x, valid = stage(*_beside(x, valid, *trail.pop()))
            if self.copying and 4 * x.shape[-1] == hole.shape[-1]:
                x = self.copying(x, valid, hole)
        y, _ = self.last(*_beside(x, valid, *trail.pop()))
        return torch.sigmoid(y)

    def _check(self, image: Tensor, hole: Tensor) -> None:
        check_pair(image, hole, values=not self.training)
        if image.shape[-2] % self.factor or image.shape[-1] % self.factor:
            raise ContractError(
                f"picture of {image.shape[-2]} x {image.shape[-1]} pixels: this "
                f"network halves it {len(self.encoder)} times, so both sides must be "
                f"multiples of {self.factor}; crop or pad it, as large.fill_any does"
            )


class Stage(nn.Module):
    """Convolution, batch normalisation (optional), activation."""

    def __init__(
        self,
        conv: Callable[..., nn.Module],
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        activation: nn.Module,
        norm: bool,
    ) -> None:
        super().__init__()
        try:
            bias = not norm
            self.conv = conv(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
        except TypeError as error:  # it takes other arguments
            raise ValueError(
                f"{getattr(conv, '__name__', conv)} cannot be hosted ({error}): a UNet "
                "builds conv(inputs, outputs, kernel, stride, padding, bias=...), such "
                f"as {HOSTED}"
            ) from error
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        brings_its_own = promises(conv, "activates")
        self.activation = nn.Identity() if brings_its_own else activation

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:
        """The contract of every layer that knows validity."""
        y, known = self.conv(x, valid)
        return self.activation(self.norm(y)), known


class _Copying(nn.Module):
    """Contextual attention beside the features, and a convolution that joins both."""

    def __init__(self, conv: Callable[..., nn.Module], channels: int) -> None:
        super().__init__()
        self.attention = ContextualAttention(rate=1)
        self.join = Stage(
            conv, 2 * channels, channels, 3, 1, nn.LeakyReLU(0.2), norm=True
        )

    def forward(self, x: Tensor, valid: Tensor, hole: Tensor) -> Tensor:
        """A place is never copied from if any of its pixels is missing."""
        missing = F.adaptive_max_pool2d(hole.to(x.dtype), x.shape[-2:])
        copied, _ = self.attention(x, x, missing)
        joined, _ = self.join((x, copied), (valid, valid))
        return joined


def _seen(image: Tensor, hole: Tensor, fill: float | str) -> Tensor:
    """The picture as the network finds it."""
    if isinstance(fill, str):
        return nearest_fill(image, hole)
    return hide(image, hole, fill)


def _beside(
    x: Tensor, valid: Tensor, skip: Tensor, skip_valid: Tensor
) -> tuple[Parts, Parts]:
    """Up-sample to the skip's size; both parts keep their own validity."""
    x = F.interpolate(x, skip.shape[-2:], mode="nearest")
    valid = F.interpolate(valid, skip.shape[-2:], mode="nearest")
    return (x, skip), (valid, skip_valid)
