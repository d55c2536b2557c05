"""Line drawings that guide a fill: edges of a photo, or strokes of your own; lesson 05.

A sketch is float ``(N, 1, H, W)``, 1 on a line, one pixel wide. Yu et al. 2019 take the
lines of a learned edge detector (HED); here Canny's, which needs no weights.
"""

import numpy as np
import torch
from scipy.ndimage import label
from skimage.feature import canny
from torch import Tensor

from course_lib.tensors import ContractError, check_image

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SIGMA = 2.0  # the blur before the derivative, in pixels, at a short side of 128


def edges(image: Tensor, sigma: float | None = None) -> Tensor:
    """Canny's edges of the picture's luma, ``(N, 1, H, W)``, 1 = edge, binary.

    ``sigma``: the blur in pixels; more of it leaves the large outlines only. Left out,
    it is 2 pixels at a short side of 128 and grows with the picture. Runs on the CPU
    (scikit-image); the answer is on the picture's device. Raises ``ContractError`` for
    a picture with NaN, or that is none.
    """
    check_image(image)
    sigma = SIGMA * min(image.shape[-2:]) / 128 if sigma is None else sigma
    if not sigma > 0:
        raise ContractError(f"sigma {sigma}: the blur must be above 0 pixels")
    weights = torch.tensor(LUMA, device=image.device).view(1, 3, 1, 1)
    grey = (image.float() * weights).sum(1).cpu().numpy()
    found = [torch.from_numpy(canny(picture, sigma)) for picture in grey]
    return torch.stack(found)[:, None].to(image)


def some_lines(drawing: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The sketch with each of its lines kept by the chance ``share``, else erased.

    A line is what hangs together, corners included. A network trained on whole
    sketches only would expect every line; a hand draws few. ``share`` is in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ContractError(f"share {share}: a chance lies between 0 and 1")
    kept = []
    for lines in drawing[:, 0].cpu().numpy():
        numbered, count = label(lines, np.ones((3, 3)))
        chosen = torch.rand(count + 1, generator=generator) < share
        chosen[0] = False  # what is no line
        kept.append(chosen[torch.from_numpy(numbered).long()])
    return torch.stack(kept)[:, None].to(drawing)
