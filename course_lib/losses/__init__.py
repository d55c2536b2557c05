"""Losses of the course; each says what it averages over."""

from course_lib.losses.perceptual import VggFeatures, vgg_distance
from course_lib.losses.reconstruction import (
    discount_weights,
    l1,
    spatially_discounted_l1,
    total_variation,
)

__all__ = [
    "VggFeatures",
    "discount_weights",
    "l1",
    "spatially_discounted_l1",
    "total_variation",
    "vgg_distance",
]
