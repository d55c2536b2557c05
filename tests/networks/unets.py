"""What the tests of all U-Nets are fed with: a small one, pictures and holes."""

import torch
from torch import Tensor

from course_lib.networks import UNet


def small(**options) -> UNet:
    torch.manual_seed(0)
    return UNet(channels=(4, 6, 8), kernels=(5, 3, 3), **options).eval()


def pair(count: int = 2, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor]:
    """Holes of single pixels; the first has a large one beside them."""
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.3).float()
    hole[0, :, 2:13, 3:14] = 1
    return image, hole
