"""Losses of the course; each says what it averages over."""

from course_lib.losses.perceptual import VggFeatures, vgg_distance

__all__ = ["VggFeatures", "vgg_distance"]
