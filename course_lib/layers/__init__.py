"""Layers of the course: nearly all take features and validity and return both.

``forward(x, valid) -> (y, valid)`` with ``x (N, C, H, W)`` and ``valid (N, 1, H, W)``,
1 = known. After a skip connection both come in parts, ``((x, skip), (valid,
skip_valid))``. So one network, ``networks.UNet(conv=...)``, hosts those that also take
the arguments of ``nn.Conv2d``: ``PlainConv2d``, ``PartialConv2d``, ``GatedConv2d`` and
``DeformableSampling2d``. ``ReachSelection2d`` has no stride, ``GatedUpConv2d`` doubles
the side, and the two 3-D ones are for pictures in time. ``ContextualAttention``,
``MaskAwareDynamicConv2d`` and ``PointwiseNorm`` have inputs of their own.
"""

from course_lib.layers.attention import ContextualAttention
from course_lib.layers.deformable import DeformableSampling2d
from course_lib.layers.dynamic import MaskAwareDynamicConv2d
from course_lib.layers.gated import GatedConv2d, GatedConv3d, GatedUpConv2d
from course_lib.layers.partial import PartialConv2d, PartialConv3d
from course_lib.layers.parts import Parts, carried, pairs, promises, together
from course_lib.layers.plain import PlainConv2d
from course_lib.layers.pointwise_norm import PointwiseNorm
from course_lib.layers.reach import ReachSelection2d
from course_lib.layers.sampling import deform_conv2d
from course_lib.layers.sampling_facts import SamplingFacts, sampling_facts, spread
from course_lib.layers.sampling_training import (
    parameter_groups,
    sampling_losses,
    weighed,
)

__all__ = [
    "ContextualAttention",
    "DeformableSampling2d",
    "GatedConv2d",
    "GatedConv3d",
    "GatedUpConv2d",
    "MaskAwareDynamicConv2d",
    "PartialConv2d",
    "PartialConv3d",
    "Parts",
    "PlainConv2d",
    "PointwiseNorm",
    "ReachSelection2d",
    "SamplingFacts",
    "carried",
    "deform_conv2d",
    "pairs",
    "parameter_groups",
    "promises",
    "sampling_facts",
    "sampling_losses",
    "spread",
    "together",
    "weighed",
]
