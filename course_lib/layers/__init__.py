"""Layers of the course: each takes features and validity and returns both.

``forward(x, valid) -> (y, valid)`` with ``x (N, C, H, W)`` and ``valid (N, 1, H, W)``,
1 = known. So one network hosts them all.
"""

from course_lib.layers.plain import PlainConv2d

__all__ = ["PlainConv2d"]
