"""The occlusion maps behind irregular holes: ``course.py weights occlusions``."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_lib import holes, photos


def occlusions() -> None:
    """The raw occlusion maps behind ``holes.irregular``: 48 moving pairs of photos.

    The outermost pixels, which leave the picture with the motion, are left out.
    """
    generator = torch.Generator().manual_seed(0)
    side, rim = holes.OCCLUSION_SIDE, 24
    tiles: list[Tensor] = []
    known = photos.names("train")
    while len(tiles) < 48:
        pick = torch.randperm(len(known), generator=generator)[:2].tolist()
        pair = [photos.square(photos.load(known[k]), side) for k in pick]
        first, second, _ = holes.moving_pair(pair[0], pair[1], generator)
        forward = holes.optical_flow(first, second)
        backward = holes.optical_flow(second, first)
        inner = holes.inconsistent(forward, backward)[..., rim:-rim, rim:-rim]
        if 0.01 < float(inner.mean()) < 0.3:
            tiles.append(F.pad(inner[0, 0], (rim, rim, rim, rim)))
            print(f"{len(tiles)} of 48: {float(inner.mean()):.3f}", flush=True)
    rows = [torch.cat(tiles[k : k + 8], 1) for k in range(0, 48, 8)]
    sheet = Image.fromarray((torch.cat(rows) > 0).numpy())
    holes.OCCLUSIONS.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(holes.OCCLUSIONS, optimize=True)
