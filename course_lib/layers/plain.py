"""The ordinary convolution in the course's contract: it ignores what is missing."""

from torch import Tensor, nn

from course_lib.layers.parts import Parts, carried, together


class PlainConv2d(nn.Conv2d):
    """``nn.Conv2d`` that carries validity along without using it; lesson 03.

    ``valid`` is resized to the output's size by nearest neighbour: where the stride
    divides the side, that is every stride-th value. After a skip, what either part
    knows is known.
    """

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, H, W)``, ``valid (N, 1, H, W)`` -> both at the output's size.

        After a skip both are given in parts: ``((x, skip), (valid, skip_valid))``.
        """
        features, known = together(x, valid)
        y = super().forward(features)
        return y, carried(known, y)
