"""Line drawings that guide a fill: edges of a photo, or strokes of your own; lesson 05.

A sketch is float ``(N, 1, H, W)``, 1 on a line, which is one pixel wide (two where an
edge lies exactly between them). Yu et al. 2019 take the lines of a learned edge
detector (HED); here Canny's, which needs no weights.
"""

import math

import numpy as np
import torch
from scipy.ndimage import label
from skimage.feature import canny
from torch import Tensor

from course_lib.tensors import ContractError, check_image

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SIGMA = 2.0  # the blur before the derivative, in pixels, at a short side of 128
BEGINS, CONTINUES = 1 / 8, 1 / 16  # the contrast of an edge: of a line, and further on


def edges(image: Tensor, sigma: float | None = None) -> Tensor:
    """Canny's edges of the picture's luma, ``(N, 1, H, W)``, 1 = edge, binary.

    ``sigma``: the blur in pixels; more of it leaves the large outlines only. Left out,
    it is 2 pixels at a short side of 128 and grows with the picture. A line begins at a
    step of 1/8 of the range and follows it down to 1/16, whatever the blur. Runs on the
    CPU (scikit-image); the answer is on the picture's device. Raises ``ContractError``
    for a picture with NaN, or that is none.
    """
    check_image(image)
    sigma = SIGMA * min(image.shape[-2:]) / 128 if sigma is None else sigma
    if not sigma > 0:
        raise ContractError(f"sigma {sigma}: the blur must be above 0 pixels")
    weights = torch.tensor(LUMA, device=image.device).view(1, 3, 1, 1)
    grey = (image.detach().float() * weights).sum(1).cpu().numpy()
    # What scikit-image's Sobel filter answers to a blurred step from 0 to 1: the same
    # thresholds for every blur would leave a large picture without lines
    step = 4 * math.erf(1 / (sigma * math.sqrt(2)))
    low, high = CONTINUES * step, BEGINS * step
    found = [torch.from_numpy(canny(picture, sigma, low, high)) for picture in grey]
    return torch.stack(found)[:, None].to(image)


def some_lines(drawing: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The sketch with each of its lines kept by the chance ``share``, else erased.

    A line is what hangs together, corners included. A network trained on whole
    sketches only would expect every line; a hand draws few. ``share`` is in [0, 1].
    Raises ``ContractError`` for another share, and for another shape.
    """
    if drawing.dim() != 4 or drawing.shape[1] != 1:
        raise ContractError(
            f"drawing {tuple(drawing.shape)}, expected (N, 1, H, W), as edges gives it"
        )
    if not 0 <= share <= 1:
        raise ContractError(f"share {share}: a chance lies between 0 and 1")
    kept = []
    for lines in (drawing[:, 0] != 0).cpu().numpy():
        numbered, count = label(lines, np.ones((3, 3)))
        chosen = torch.rand(count + 1, generator=generator) < share
        chosen[0] = False  # what is no line
        kept.append(chosen[torch.from_numpy(numbered).long()])
    return torch.stack(kept)[:, None].to(drawing)
