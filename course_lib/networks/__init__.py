"""Networks of the course: ``network(image, hole) -> image`` in ``[0, 1]``."""

from course_lib.networks.norms import FrozenBatchNorm2d, freeze_norms
from course_lib.networks.reading import influence, receptive_field
from course_lib.networks.unet import UNet

__all__ = [
    "FrozenBatchNorm2d",
    "UNet",
    "freeze_norms",
    "influence",
    "receptive_field",
]
