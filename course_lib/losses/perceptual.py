"""Comparing pictures by what a VGG-16 sees in them; lesson 02 explains it.

The bundled layers 1_1 to 3_3 are those of the original Oxford VGG-16 (Simonyan and
Zisserman 2015, CC BY 4.0). They expect BGR in 0 to 255 minus the mean colour;
torchvision's VGG-16 expects another scale.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import skip_init  # draws nothing from the global generator

from course_lib.session import ASSETS

WEIGHTS = ASSETS / "features" / "vgg16_relu3_3.safetensors"
BLOCKS = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"))


class VggFeatures(nn.Module):
    """Features after relu1_2, relu2_2 and relu3_3 (each then pooled for the next)."""

    bgr_mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        stored = {key: value.float() for key, value in load_file(WEIGHTS).items()}
        self.convolutions = nn.ModuleDict()
        for name in (name for block in BLOCKS for name in block):
            weight, bias = stored[f"conv{name}.weight"], stored[f"conv{name}.bias"]
            conv = skip_init(nn.Conv2d, *weight.shape[1::-1], 3, padding=1)
            conv.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions[name] = conv
        mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        self.register_buffer("bgr_mean", mean)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(N, 3, H, W)`` in [0, 1] -> 64, 128 and 256 channels at H, H/2 and H/4."""
        x = image.flip(1) * 255 - self.bgr_mean
        found: list[Tensor] = []
        for block in BLOCKS:
            x = F.max_pool2d(x, 2) if found else x
            for name in block:
                x = F.relu(self.convolutions[name](x))
            found.append(x)
        return found


@lru_cache(4)
def features(device: torch.device | str = "cpu") -> VggFeatures:
    """The bundled extractor, loaded once for each device."""
    return VggFeatures().to(device)


def vgg_distance(prediction: Tensor, image: Tensor) -> Tensor:
    """How different two batches look to the VGG-16, ``(N,)``; 0 = equal.

    At each of three layers the features of a position are scaled to length 1; the
    squared difference is summed over channels, averaged over positions and layers:
    LPIPS (Zhang et al. 2018) with equal weights for all channels.
    """
    extractor = features(image.device)
    total = torch.zeros(len(image), device=image.device)
    pairs = zip(extractor(prediction.float()), extractor(image.float()), strict=True)
    for ours, theirs in pairs:
        gap = F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)
        total = total + gap.square().sum(1).mean((1, 2))
    return total / len(BLOCKS)
