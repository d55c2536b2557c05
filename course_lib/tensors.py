"""What an image and a hole are: the checks and the operations all code shares.

- image: float tensor ``(N, 3, H, W)``, values in ``[0, 1]``.
- hole: float tensor ``(N, 1, H, W)``, **1 = missing**, 0 = known, nothing between.
- valid: ``1 - hole``.

Lesson 01 builds these conventions.
"""

import torch
from torch import Tensor


class ContractError(ValueError):
    """An image or a hole that is not what the course's conventions ask for."""


def check_image(image: Tensor, name: str = "image", *, finite: bool = True) -> Tensor:
    """Return ``image`` if it is a float ``(N, 3, H, W)`` tensor in ``[0, 1]``.

    ``finite=False`` allows NaN and values outside the range: for pictures whose
    hidden pixels may hold anything. Raises ``ContractError`` otherwise.
    """
    _check_tensor(image, name, channels=3)
    if finite:
        _check_range(image, name)
    return image


def check_hole(hole: Tensor, name: str = "hole") -> Tensor:
    """Return ``hole`` if it is a float ``(N, 1, H, W)`` tensor of zeros and ones.

    1 = missing. Raises ``ContractError`` for another shape or type, and for grey
    values, which come from a bilinear resize or a lossy file.
    """
    _check_tensor(hole, name, channels=1)
    odd = hole[(hole != 0) & (hole != 1)]
    if odd.numel():
        raise ContractError(
            f"{name} must hold only 0 (known) and 1 (missing), but {odd.numel()} of "
            f"{hole.numel()} values differ, such as {odd[0].item():.4g}. Resize holes "
            "with holes.resize, or binarise: (hole > 0.5).float()"
        )
    return hole


def check_pair(image: Tensor, hole: Tensor, *, values: bool = True) -> None:
    """Check an image with its hole: same batch and size, known pixels in range.

    What lies under the hole is not looked at: it may be NaN. ``values=False`` looks at
    shapes and types only, for a training loop: reading values makes a GPU wait.
    Raises ``ContractError``.
    """
    check_image(image, finite=False)
    _check_tensor(hole, "hole", channels=1)
    if image.shape[0] != hole.shape[0] or image.shape[-2:] != hole.shape[-2:]:
        raise ContractError(
            f"image {_shape(image)} and hole {_shape(hole)} must have the same N, H "
            "and W; each picture has its own hole (hole.expand(N, -1, -1, -1) shares)"
        )
    if image.device != hole.device:
        raise ContractError(
            f"image is on {image.device} and hole on {hole.device}: move one with .to()"
        )
    if values:
        check_hole(hole)
        _check_range(hide(image, hole, 0.0), "image (its known pixels)")


def hide(image: Tensor, hole: Tensor, fill: float | Tensor = 0.5) -> Tensor:
    """``image`` with its missing pixels replaced by ``fill`` (mid grey by default).

    Selects instead of multiplying, because NaN times 0 is NaN: nothing under the
    hole can reach the result. ``fill`` is a number or broadcasts to ``(N, 3, H, W)``.
    """
    missing = hole.bool()
    value = torch.as_tensor(fill, dtype=image.dtype, device=image.device)
    return torch.where(missing, value, image)


def composite(prediction: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """Known pixels of ``image``, bit-exact; ``prediction`` where the hole is.

    Shapes ``(N, 3, H, W)``, ``(N, 3, H, W)`` and ``(N, 1, H, W)``. Whatever the
    image holds under the hole, and the prediction outside it, is dropped.
    Raises ``ContractError`` when the shapes do not belong together.
    """
    check_prediction(prediction, image, hole)
    return torch.where(hole.bool(), prediction.to(image.dtype), image)


def check_prediction(prediction: Tensor, image: Tensor, hole: Tensor) -> None:
    """Check that the shapes of a prediction, its image and its hole fit; no values.

    Nothing is broadcast: a hole for each picture. Raises ``ContractError``.
    """
    if prediction.shape != image.shape:
        raise ContractError(
            f"prediction {_shape(prediction)} and image {_shape(image)} must have the "
            "same shape; give the picture that the prediction was made for"
        )
    if hole.shape != (image.shape[0], 1, *image.shape[-2:]):
        raise ContractError(
            f"hole {_shape(hole)} does not fit image {_shape(image)}: expected "
            f"({image.shape[0]}, 1, {image.shape[-2]}, {image.shape[-1]}); make it at "
            "that size, or use holes.resize"
        )


def sketch_in_hole(sketch: Tensor | None, image: Tensor, hole: Tensor) -> Tensor:
    """A sketch where pixels are missing, 0 elsewhere, in the image's type.

    ``sketch``, ``hole`` and the result are ``(N, 1, H, W)``; None is an empty sketch.
    Raises ``ContractError`` for another shape than the hole's.
    """
    if sketch is None:
        return torch.zeros_like(hole, dtype=image.dtype)
    if sketch.shape != hole.shape:
        raise ContractError(
            f"sketch {_shape(sketch)}, expected the hole's shape {_shape(hole)}: one "
            "line drawing for each picture"
        )
    return torch.where(hole == 1, sketch.to(image.dtype), 0)


def _check_tensor(value: Tensor, name: str, channels: int) -> None:
    kind = "image" if channels == 3 else "hole"
    expected = f"a float tensor (N, {channels}, H, W)"
    if not isinstance(value, Tensor):
        raise ContractError(
            f"{name} is a {type(value).__name__}, expected {expected}. "
            f"photos.decode and holes.* give such tensors"
        )
    if value.dim() != 4 or value.shape[1] != channels:
        raise ContractError(
            f"{name} has shape {_shape(value)}, expected (N, {channels}, H, W)"
            f"{_shape_hint(value, channels)}"
        )
    if not value.is_floating_point():
        scale = " / 255" if value.dtype == torch.uint8 and kind == "image" else ""
        raise ContractError(
            f"{name} has dtype {value.dtype}, expected {expected}: use "
            f"{name}.float(){scale}"
        )
    if value.numel() == 0:
        raise ContractError(
            f"{name} has shape {_shape(value)}, expected at least one pixel: look "
            "where it was cut or selected from"
        )


def _shape_hint(value: Tensor, channels: int) -> str:
    if value.dim() in (3, 4) and value.shape[-1] == channels == 3:
        axes = "2, 0, 1)[None]" if value.dim() == 3 else "0, 3, 1, 2)"
        return f". Channels come before rows: x.permute({axes}"
    if value.dim() in (2, 3):
        axes = ", ".join(["None"] * (4 - value.dim()))
        return f". Add the axes that are missing: x[{axes}]"
    if value.dim() == 4 and value.shape[1] == 1:
        return ". Grey becomes colour with x.expand(-1, 3, -1, -1)"
    return f". Select the channels that are meant, such as x[:, :{channels}]"


def _check_range(image: Tensor, name: str) -> None:
    low, high = torch.aminmax(image.detach())
    if low.isnan() or high.isnan():
        count = int(image.isnan().sum())
        raise ContractError(
            f"{name} holds {count} NaN among {image.numel()} values, expected [0, 1]; "
            "find where they come from (a division by zero, or a hole that was "
            "multiplied away instead of hidden with hide)"
        )
    if low < -1e-4 or high > 1 + 1e-4:
        raise ContractError(
            f"{name} has values from {low.item():.4g} to {high.item():.4g}, expected "
            "[0, 1]; divide by 255, or map [-1, 1] by (x + 1) / 2"
        )


def _shape(value: Tensor) -> str:
    return str(tuple(value.shape))
