"""Networks of the course: ``network(image, hole) -> image`` in ``[0, 1]``.

Beside them those that judge a picture, and one that says what could be hidden.
"""

from course_lib.networks.cascade import Cascade
from course_lib.networks.coarse_to_fine import CoarseToFine
from course_lib.networks.critics import PatchCritic, PictureCritic, around
from course_lib.networks.mask_generator import MaskGenerator
from course_lib.networks.norms import FrozenBatchNorm2d, freeze_norms
from course_lib.networks.reading import influence, receptive_field
from course_lib.networks.unet import UNet

__all__ = [
    "Cascade",
    "CoarseToFine",
    "FrozenBatchNorm2d",
    "MaskGenerator",
    "PatchCritic",
    "PictureCritic",
    "UNet",
    "around",
    "freeze_norms",
    "influence",
    "receptive_field",
]
