"""Pixel losses: L1 by region, spatially discounted L1, total variation; lesson 02.

Every loss says what it averages over. ``hole`` is 1 where pixels are missing. Errors of
pixels that do not count are selected away, so that NaN there changes neither a value
nor a gradient. Half precision is widened to float32 before anything is summed.

Each raises ``ContractError`` when the shapes do not belong together: nothing is
broadcast. A hole on the CPU must hold zeros and ones only; on another device any value
but 0 counts as missing, because to read it there would make training wait.
"""

from typing import Literal

import torch
from torch import Tensor

from course_lib import holes
from course_lib.losses.inputs import take
from course_lib.tensors import ContractError, check_hole, composite

Where = Literal["hole", "valid", "all"]
Normaliser = Literal["image", "region"]


def l1(
    prediction: Tensor,
    image: Tensor,
    hole: Tensor,
    where: Where = "hole",
    normaliser: Normaliser = "image",
) -> Tensor:
    """Mean absolute error of the missing, the known, or all pixels; a scalar.

    Shapes ``(N, C, H, W)`` twice and ``(N, 1, H, W)``. ``normaliser="image"`` divides
    the sum by all ``N * C * H * W`` values, as Liu et al. 2018 do ("size-averaged"),
    so that a small hole weighs little; ``"region"`` divides by the values that
    count, and gives 0 where none does. Raises ``ContractError`` for unknown names.
    """
    prediction, image, hole = take(prediction, image, hole)
    region = _region(hole, where)
    error = _selected_error(prediction, image, region)
    return error.sum() / _count(region, prediction, normaliser)


def discount_weights(hole: Tensor, gamma: float) -> Tensor:
    """``gamma ** d`` with d the distance to the nearest known pixel, in pixels.

    ``(N, 1, H, W)`` in the hole's dtype, on its device: 1 on known pixels, ``gamma`` on
    the rim of the hole, less inside. The distance is exact and Euclidean, for any
    hole (Yu et al. 2018 state the idea; their code measures to a rectangle). Raises
    ``ContractError`` for a gamma outside (0, 1] or a hole that leaves nothing known.
    """
    if not 0 < gamma <= 1:
        raise ContractError(f"gamma is {gamma}, expected 0 < gamma <= 1")
    away = holes.distance(check_hole(hole))
    if away.isinf().any():
        raise ContractError("a hole covers its whole picture: no distance is defined")
    return (gamma**away).to(hole.dtype)


def spatially_discounted_l1(
    prediction: Tensor,
    image: Tensor,
    hole: Tensor,
    gamma: float = 0.9,
    normaliser: Literal["image", "region", "weights"] = "image",
) -> Tensor:
    """L1 in the hole, each pixel weighted by :func:`discount_weights`; a scalar.

    ``normaliser="weights"`` divides by the sum of the weights, which keeps the loss
    at one scale when ``gamma`` changes; the others as in :func:`l1`.
    """
    prediction, image, hole = take(prediction, image, hole)
    weights = discount_weights(hole, gamma) * hole
    error = weights * _selected_error(prediction, image, hole)
    if normaliser == "weights":
        total = weights.sum() * prediction.shape[1]
        return error.sum() / total.clamp(min=torch.finfo(weights.dtype).tiny)
    return error.sum() / _count(hole, prediction, normaliser)


def total_variation(prediction: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute step between neighbours of the composite, near the hole; a scalar.

    Steps count where both pixels lie in the hole dilated by one pixel (a 3 x 3
    window), the region P of Liu et al. 2018; the sum is divided by all
    ``N * C * H * W`` values.
    """
    prediction, image, hole = take(prediction, image, hole)
    filled = composite(prediction, image, hole)
    near = torch.nn.functional.max_pool2d(hole, 3, 1, 1).bool()
    total = filled.new_zeros(())
    for axis in (-1, -2):
        length = filled.shape[axis] - 1
        both = near.narrow(axis, 1, length) & near.narrow(axis, 0, length)
        step = filled.narrow(axis, 1, length) - filled.narrow(axis, 0, length)
        total = total + torch.where(both, step.abs(), 0.0).sum()
    return total / filled.numel()


def _region(hole: Tensor, where: str) -> Tensor:
    match where:
        case "hole":
            return (hole != 0).to(hole.dtype)
        case "valid":
            return (hole == 0).to(hole.dtype)
        case "all":
            return torch.ones_like(hole)
    raise ContractError(f"where is {where!r}, expected one of hole, valid, all")


def _selected_error(prediction: Tensor, image: Tensor, region: Tensor) -> Tensor:
    """Absolute error inside the region, 0 outside, where neither picture is read."""
    counts = region.bool()
    ours, theirs = (torch.where(counts, x, 0.0) for x in (prediction, image))
    return (ours - theirs).abs()


def _count(region: Tensor, prediction: Tensor, normaliser: str) -> Tensor | int:
    match normaliser:
        case "image":
            return prediction.numel()
        case "region":
            return (region.sum() * prediction.shape[1]).clamp(min=1)
    raise ContractError(
        f"normaliser is {normaliser!r}, expected image or region (or weights, for the "
        "spatially discounted L1)"
    )
