"""Critics: networks that tell a filled picture from a real one; lesson 05."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from course_lib.tensors import ContractError, check_pair


class PatchCritic(nn.Module):
    """SN-PatchGAN: stride-2 convolutions, and a score for every place and channel.

    ``size``: the side of the pictures it will see; it is halved until about 4 x 4
    places are left (6 convolutions at 256 pixels as published, 4 at 64). ``width``:
    channels of the first convolution; 2, then 4 times as many follow. ``guided``: a
    sketch is a further input channel. ``normalised``: spectral norm on every
    convolution, which keeps its largest singular value near 1: torch follows a changed
    weight by one power iteration a call, and only in training mode.

    Yu et al. 2019, section 3.3. The published code ends in a leaky ReLU; this one in
    the plain score, so that minus one is as easy to reach as plus one.
    """

    def __init__(
        self,
        size: int,
        width: int = 64,
        guided: bool = False,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        if size < 16:
            raise ContractError(f"pictures of {size} pixels: a critic needs 16 or more")
        depth = round(math.log2(size)) - 2
        self.guided = guided
        widths = [width * min(2**k, 4) for k in range(depth)]
        layers: list[nn.Module] = []
        for before, after in zip([4 + guided, *widths], widths, strict=False):
            conv = nn.Conv2d(before, after, 5, stride=2, padding=2)
            layers += [spectral_norm(conv) if normalised else conv, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(
        self, image: Tensor, hole: Tensor, sketch: Tensor | None = None
    ) -> Tensor:
        """``image (N, 3, H, W)`` in ``[0, 1]``, ``hole`` -> scores ``(N, C, h, w)``.

        Above 0: looks real. The picture is read everywhere, so give a composite.
        ``sketch (N, 1, H, W)`` counts inside the hole; None is an empty one. Raises
        ``ContractError`` for shapes that do not belong together.
        """
        check_pair(image, hole, values=False)
        inputs = [2 * image - 1, hole.to(image.dtype)]
        if self.guided:
            inputs.append(inside(sketch, image, hole))
        elif sketch is not None:
            raise ContractError(
                "this critic takes no sketch: build it with guided=True"
            )
        return self.layers(torch.cat(inputs, 1))


def inside(sketch: Tensor | None, image: Tensor, hole: Tensor) -> Tensor:
    """The sketch where pixels are missing, ``(N, 1, H, W)``; nothing for None.

    Raises ``ContractError`` for another shape than the hole's.
    """
    if sketch is None:
        return torch.zeros_like(hole, dtype=image.dtype)
    if sketch.shape != hole.shape:
        raise ContractError(
            f"sketch {tuple(sketch.shape)}, expected the hole's shape "
            f"{tuple(hole.shape)}: one line drawing for each picture"
        )
    return torch.where(hole == 1, sketch.to(image.dtype), 0)
