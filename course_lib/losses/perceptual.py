"""Comparing pictures by what a VGG-16 sees in them; lesson 02 explains it.

The bundled layers 1_1 to 3_3 are those of the original Oxford VGG-16 (Simonyan and
Zisserman 2015, CC BY 4.0). They expect BGR in 0 to 255 minus the mean colour;
torchvision's VGG-16 expects another scale, and loss weights are tuned to one of them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import skip_init  # draws nothing from the global generator

from course_lib.losses.inputs import take, widen
from course_lib.session import ASSETS
from course_lib.tensors import composite

WEIGHTS = ASSETS / "features" / "vgg16_relu3_3.safetensors"
BLOCKS = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"))
# Mean activation of relu1_2, relu2_2, relu3_3 over the 13 validation photos at 128 px:
# torch.stack([m.mean() for m in features()(photos.squares("validation", 128))])
MEAN_ACTIVATIONS = (116.3, 195.7, 179.1)

Extractor = Callable[[Tensor], Sequence[Tensor]]


class FeaturesError(RuntimeError):
    """Weights of a feature extractor that cannot be had."""


class _Vgg16(nn.Module):
    """Layers 1_1 to 3_3 of a VGG-16; each child prepares the picture its own way."""

    def __init__(
        self, stored: Mapping[str, Tensor], scales: Sequence[float], pooled: bool
    ) -> None:
        super().__init__()
        self.scales, self.pooled = tuple(scales), pooled
        self.convolutions = nn.ModuleDict()
        for name in (name for block in BLOCKS for name in block):
            weight, bias = stored[f"conv{name}.weight"], stored[f"conv{name}.bias"]
            conv = skip_init(nn.Conv2d, *weight.shape[1::-1], 3, padding=1)
            conv.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions[name] = conv
        self.requires_grad_(False)

    def _prepare(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(N, 3, H, W)`` in [0, 1] -> 64, 128 and 256 channels at H, H/2 and H/4.

        Pooled, each is half that size. Always float32, autocast or not: activations
        reach 12 000, where half precision counts in steps of 8.
        """
        with torch.autocast(image.device.type, enabled=False):
            x = self._prepare(image.float())
            found: list[Tensor] = []
            for block, scale in zip(BLOCKS, self.scales, strict=True):
                x = F.max_pool2d(x, 2) if found and not self.pooled else x
                for name in block:
                    x = F.relu(self.convolutions[name](x))
                x = F.max_pool2d(x, 2) if self.pooled else x
                found.append(x / scale)
            return found


class VggFeatures(_Vgg16):
    """The bundled Oxford VGG-16: relu1_2, relu2_2, relu3_3, or what pools of them keep.

    ``scaled`` divides each map by the layer's ``MEAN_ACTIVATIONS``, which brings
    activations of 100 to 200 down to about 1, where loss weights that were chosen for
    torchvision's VGG-16 belong. ``pooled`` gives pool1 to pool3, as Liu et al. 2018
    compare them; the scale stays that of the layer before its pool.
    """

    bgr_mean: Tensor

    def __init__(self, scaled: bool = False, pooled: bool = False) -> None:
        scales = MEAN_ACTIVATIONS if scaled else (1.0, 1.0, 1.0)
        super().__init__(load_file(WEIGHTS), scales, pooled)
        mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        self.register_buffer("bgr_mean", mean)

    def _prepare(self, image: Tensor) -> Tensor:
        return image.flip(1) * 255 - self.bgr_mean


class TorchvisionFeatures(_Vgg16):
    """pool1 to pool3 of torchvision's VGG-16 (RGB, its mean and deviation).

    ``stored`` is the ``state_dict`` of ``torchvision.models.vgg16`` or of another
    network with its layers; only ``features.0`` to ``features.14`` are read.
    """

    rgb_mean: Tensor
    rgb_deviation: Tensor

    def __init__(self, stored: Mapping[str, Tensor]) -> None:
        names = [name for block in BLOCKS for name in block]
        places = (0, 2, 5, 7, 10, 12, 14)  # a ReLU follows each, a pool each block
        renamed = {
            f"conv{name}.{part}": stored[f"features.{place}.{part}"]
            for name, place in zip(names, places, strict=True)
            for part in ("weight", "bias")
        }
        super().__init__(renamed, (1.0, 1.0, 1.0), pooled=True)
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("rgb_mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("rgb_deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def _prepare(self, image: Tensor) -> Tensor:
        return (image - self.rgb_mean) / self.rgb_deviation


def features(
    device: torch.device | str = "cpu", *, scaled: bool = False, pooled: bool = False
) -> VggFeatures:
    """The bundled extractor, loaded once for each device and each way to read it."""
    return _loaded(torch.device(device), scaled, pooled)


@lru_cache(8)
def _loaded(device: torch.device, scaled: bool, pooled: bool) -> VggFeatures:
    return VggFeatures(scaled, pooled).to(device)


def torchvision_features(device: torch.device | str = "cpu") -> TorchvisionFeatures:
    """torchvision's pool1 to pool3; the first use downloads its whole VGG-16, 528 MB.

    An opt-in that nothing in the course needs: give it to
    :func:`perceptual_and_style` to train with the features of the published weights.
    Raises ``FeaturesError`` when the download fails.
    """
    from torchvision.models import VGG16_Weights

    try:
        published = VGG16_Weights.IMAGENET1K_V1
        stored = published.get_state_dict(map_location="cpu", check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, a broken file
        raise FeaturesError(
            f"torchvision's VGG-16 could not be downloaded ({error}). The bundled "
            "features need no network: features(device, scaled=True, pooled=True)"
        ) from error
    return TorchvisionFeatures(stored).to(device)


def gram(maps: Tensor) -> Tensor:
    """Which channels fire together: ``(N, C, H, W)`` -> ``(N, C, C)``.

    The inner products of all pairs of channels, divided by ``C * H * W`` (the K of
    Liu et al. 2018). At least float32, autocast or not: the sum over the positions
    leaves the range of half precision.
    """
    with torch.autocast(maps.device.type, enabled=False):
        rows = widen(maps).flatten(2)
        return rows @ rows.transpose(1, 2) / maps.shape[1:].numel()


def perceptual_and_style(
    prediction: Tensor,
    image: Tensor,
    hole: Tensor,
    extractor: Extractor | None = None,
) -> dict[str, Tensor]:
    """The losses ``"perceptual"`` and ``"style"`` of Liu et al. 2018, two scalars.

    Both compare the prediction, and the composite, with the image: for each layer the
    mean absolute difference of the features (perceptual) or of their :func:`gram`
    (style), summed over the layers and over the two. The paper's weights are 0.05 and
    120. ``extractor`` maps a picture to a list of ``(N, C, h, w)``; by default it is
    ``features(device, scaled=True, pooled=True)``.

    The image is the target: it is read under the hole too, and gets no gradient. The
    prediction is read everywhere by its own term and in the hole only by the
    composite's; to judge the composite alone, pass it as the prediction (both terms
    are then equal). Raises ``ContractError`` when the shapes do not belong together.
    """
    prediction, image, hole = take(prediction, image.detach(), hole)
    look = extractor or features(image.device, scaled=True, pooled=True)
    with torch.autocast(image.device.type, enabled=False):
        with torch.no_grad():
            target = look(image)
            target_grams = [gram(maps) for maps in target]
        perceptual = style = image.new_zeros(())
        for picture in (prediction, composite(prediction, image, hole)):
            ours = look(picture)
            for maps, wanted, wanted_gram in zip(
                ours, target, target_grams, strict=True
            ):
                perceptual = perceptual + F.l1_loss(maps, wanted)
                style = style + F.l1_loss(gram(maps), wanted_gram)
    return {"perceptual": perceptual, "style": style}


def vgg_distance(prediction: Tensor, image: Tensor) -> Tensor:
    """How different two batches look to the VGG-16, ``(N,)``; 0 = equal.

    At each of three layers the features of a position are scaled to length 1; the
    squared difference is summed over channels, averaged over positions and layers:
    LPIPS (Zhang et al. 2018) with equal weights for all channels.
    """
    extractor = features(image.device)
    total = torch.zeros(len(image), device=image.device)
    for ours, theirs in zip(extractor(prediction), extractor(image), strict=True):
        gap = F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)
        total = total + gap.square().sum(1).mean((1, 2))
    return total / len(BLOCKS)
