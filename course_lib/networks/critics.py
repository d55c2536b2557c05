"""Critics: networks that tell a filled picture from a real one; lessons 05 and 06."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from course_lib.tensors import ContractError, check_pair, sketch_in_hole


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
            inputs.append(sketch_in_hole(sketch, image, hole))
        elif sketch is not None:
            raise ContractError(
                "this critic takes no sketch: build it with guided=True"
            )
        return self.layers(torch.cat(inputs, 1))


class PictureCritic(nn.Module):
    """One score for a whole picture, or for a part cut out around its hole.

    ``size``: the side of what it will see; four stride-2 convolutions as published, or
    fewer where less than 4 x 4 places would be left. ``width``: channels of the first;
    2, then 4 times as many follow (published: 64). No normalisation: a gradient penalty
    works on one picture at a time, and batch statistics would mix them.

    The global and the local critic of Yu et al. 2018, section 3.2; they are not told
    the hole. The published local one ends in 8 times the channels of the first.
    """

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        if size < 16:
            raise ContractError(f"pictures of {size} pixels: a critic needs 16 or more")
        self.size, depth = size, min(4, size.bit_length() - 3)
        widths = [width * min(2**k, 4) for k in range(depth)]
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths], widths, strict=False):
            layers += [nn.Conv2d(before, after, 5, 2, 2), nn.LeakyReLU(0.2)]
        places = math.ceil(size / 2**depth) ** 2
        layers += [nn.Flatten(), nn.Linear(places * widths[-1], 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """``image (N, 3, size, size)`` in ``[0, 1]`` -> ``(N, 1)``; any number.

        Raises ``ContractError`` for another size.
        """
        if image.shape[1:] != (3, self.size, self.size):
            raise ContractError(
                f"image {tuple(image.shape)}: this critic was built for (N, 3, "
                f"{self.size}, {self.size})"
            )
        return self.layers(2 * image - 1)


def around(hole: Tensor, size: int, *pictures: Tensor) -> list[Tensor]:
    """Square cuts of ``size`` pixels around each sample's hole, for the local critic.

    ``hole (N, 1, H, W)``; each of ``pictures`` is ``(N, C, H, W)`` and gives ``(N, C,
    size, size)``. The cut is centred on the hole's bounding box and pushed back into
    the picture; gradients pass. Raises ``ContractError`` for an empty hole, for
    pictures of another batch or size, and where the cut would not hold the box or is
    larger than the picture.
    """
    for picture in pictures:
        if len(picture) != len(hole) or picture.shape[2:] != hole.shape[2:]:
            raise ContractError(
                f"picture {tuple(picture.shape)} and hole {tuple(hole.shape)}: each "
                "picture must have the batch, height and width of the hole"
            )
    corners = [_corner(part, size) for part in hole]
    return [
        torch.stack(
            [
                picture[k, :, top : top + size, left : left + size]
                for k, (top, left) in enumerate(corners)
            ]
        )
        for picture in pictures
    ]


def _corner(hole: Tensor, size: int) -> tuple[int, int]:
    """Top and left of the cut for one hole ``(1, H, W)``."""
    corner = []
    for axis, side in ((1, "rows"), (2, "columns")):
        length = hole.shape[axis]
        found = hole[0].amax(2 - axis).nonzero()
        if not len(found):
            raise ContractError("an empty hole: there is nothing to cut around")
        low, high = int(found[0]), int(found[-1]) + 1
        if high - low > size or size > length:
            raise ContractError(
                f"a cut of {size} pixels around a hole of {high - low} {side} in a "
                f"picture of {length}: it must hold the hole and fit the picture"
            )
        corner.append(min(max((low + high - size) // 2, 0), length - size))
    return corner[0], corner[1]
