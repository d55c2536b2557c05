"""What every loss of lesson 02 does first: refuse what does not fit, widen the rest."""

import torch
from torch import Tensor

from course_lib.tensors import check_hole, check_prediction


def widen(x: Tensor) -> Tensor:
    """At least float32: the sum over a batch leaves the range of half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def take(
    prediction: Tensor, image: Tensor, hole: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The three, in at least float32; shapes ``(N, C, H, W)`` twice, ``(N, 1, H, W)``.

    Raises ``ContractError`` when the shapes do not belong together, and for a hole
    with values between 0 and 1 if it is on the CPU: to read values makes a GPU wait.
    """
    check_prediction(prediction, image, hole)
    if hole.device.type == "cpu":
        check_hole(hole)
    return widen(prediction), widen(image), widen(hole)
