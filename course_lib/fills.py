"""Classical fills, without learning: the first competitors of every network.

Each is ``fill(image, hole) -> image``: ``(N, 3, H, W)`` in ``[0, 1]`` and
``(N, 1, H, W)``, 1 = missing. Known pixels come back bit-exact; pixels under the hole
are never read. Lesson 00 builds ``mean`` and ``harmonic`` and compares all.
"""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from course_lib.tensors import ContractError, check_pair, composite, hide

Fill = Callable[[Tensor, Tensor], Tensor]


def mean(image: Tensor, hole: Tensor) -> Tensor:
    """Every missing pixel gets the mean colour of the known pixels of its picture."""
    _check(image, hole)
    wide = torch.promote_types(image.dtype, torch.float32)  # a sum of halves overflows
    known = (1 - hole).sum((2, 3), keepdim=True, dtype=wide)
    colour = hide(image, hole, 0.0).sum((2, 3), keepdim=True, dtype=wide) / known
    return hide(image, hole, colour)


def harmonic(image: Tensor, hole: Tensor) -> Tensor:
    """The smoothest membrane: every missing pixel is the mean of its neighbours.

    Solves the discrete Laplace equation exactly (sparse LU in float64); pixels at the
    picture's border have fewer neighbours (Neumann condition).
    """
    return _each(image, hole, solve_laplace)


def biharmonic(image: Tensor, hole: Tensor) -> Tensor:
    """The smoothest plate: continues slopes into the hole; scikit-image.

    No darker and no brighter than the known pixels of the picture.
    """
    from skimage.restoration import inpaint_biharmonic

    return _each(
        image,
        hole,
        lambda picture, missing: inpaint_biharmonic(picture, missing, channel_axis=-1),
    )


def telea(image: Tensor, hole: Tensor) -> Tensor:
    """Fast marching from the rim inwards (Telea 2004); OpenCV, radius 3, 8 bits."""
    return _opencv(image, hole, "INPAINT_TELEA")


def navier_stokes(image: Tensor, hole: Tensor) -> Tensor:
    """Isophotes flow into the hole (Bertalmio 2001); OpenCV, radius 3, 8 bits."""
    return _opencv(image, hole, "INPAINT_NS")


def available() -> dict[str, Fill]:
    """The fills that work here, by name; Telea and Navier–Stokes need OpenCV."""
    found: dict[str, Fill] = {
        "mean": mean,
        "harmonic": harmonic,
        "biharmonic": biharmonic,
    }
    if find_spec("cv2"):
        found |= {"Telea": telea, "Navier-Stokes": navier_stokes}
    return found


def solve_laplace(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Fill ``values (H, W, C)`` where ``missing (H, W)``, by the Laplace equation.

    Returns float64. The values under ``missing`` are not read.
    """
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import splu

    count = int(missing.sum())
    number = np.full(missing.shape, -1)
    number[missing] = np.arange(count)
    rows, columns = np.nonzero(missing)
    neighbours = np.zeros(count)
    known = np.zeros((count, values.shape[-1]))
    pairs = []
    for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        y, x = rows + down, columns + right
        height, width = missing.shape
        here = np.flatnonzero((y >= 0) & (x >= 0) & (y < height) & (x < width))
        neighbours[here] += 1
        other = number[y[here], x[here]]
        pairs.append(np.stack([here, other])[:, other >= 0])
        here, y, x = (part[other < 0] for part in (here, y[here], x[here]))
        known[here] += values[y, x]  # a pixel occurs once for a direction
    links = np.concatenate(pairs, axis=1)
    ones = np.ones(links.shape[1])
    joined = coo_array((ones, (links[0], links[1])), shape=(count, count))
    matrix = (diags_array(neighbours) - joined).tocsc()
    solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    filled = np.array(values, dtype=np.float64)
    filled[missing] = solver.solve(known)
    return filled


def _check(image: Tensor, hole: Tensor) -> None:
    check_pair(image, hole)
    full = (hole.flatten(1).min(1).values == 1).nonzero().flatten().tolist()
    if full:
        raise ContractError(
            f"the hole of sample {full[0]} covers the whole picture: nothing is known "
            "to fill it from. Leave at least one pixel"
        )


def _each(
    image: Tensor,
    hole: Tensor,
    fill: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Tensor:
    """Run a NumPy fill, ``(H, W, 3), (H, W) -> (H, W, 3)``, over the batch."""
    _check(image, hole)
    pictures = hide(image, hole, 0.5).detach().cpu().double().numpy()
    missing = (hole[:, 0] > 0).cpu().numpy()  # NumPy has no bfloat16
    result = [
        fill(np.ascontiguousarray(picture.transpose(1, 2, 0)), gap)
        for picture, gap in zip(pictures, missing, strict=True)
    ]
    filled = torch.from_numpy(np.stack(result).transpose(0, 3, 1, 2)).clamp(0, 1)
    return composite(filled.to(image), image, hole)


def _opencv(image: Tensor, hole: Tensor, method: str) -> Tensor:
    if not find_spec("cv2"):
        raise ModuleNotFoundError(
            "this fill needs OpenCV: pip install opencv-python-headless"
        )
    import cv2

    def fill(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
        bytes_ = (picture * 255 + 0.5).astype(np.uint8)
        flag = getattr(cv2, method)
        return cv2.inpaint(bytes_, missing.astype(np.uint8), 3, flag) / 255

    return _each(image, hole, fill)
