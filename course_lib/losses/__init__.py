"""Losses of the course; each says what it averages over."""

from course_lib.losses.adversarial import (
    gradient_penalty,
    hinge_losses,
    wgan_losses,
)
from course_lib.losses.combined import (
    PARTIAL_CONVOLUTION_WEIGHTS,
    cascade_loss,
    partial_convolution_loss,
)
from course_lib.losses.perceptual import (
    FeaturesError,
    TorchvisionFeatures,
    VggFeatures,
    features,
    gram,
    perceptual_and_style,
    torchvision_features,
    vgg_distance,
)
from course_lib.losses.reconstruction import (
    discount_weights,
    l1,
    spatially_discounted_l1,
    total_variation,
)

__all__ = [
    "PARTIAL_CONVOLUTION_WEIGHTS",
    "FeaturesError",
    "TorchvisionFeatures",
    "VggFeatures",
    "cascade_loss",
    "discount_weights",
    "features",
    "gradient_penalty",
    "gram",
    "hinge_losses",
    "l1",
    "partial_convolution_loss",
    "perceptual_and_style",
    "spatially_discounted_l1",
    "torchvision_features",
    "total_variation",
    "vgg_distance",
    "wgan_losses",
]
