"""How fast the distance to the nearest known pixel is, beside loops of other libraries.

    python benchmarks/distance.py [pictures]

One thread, free-form holes, the same input for all in one run; the best of several
runs. ``holes.distance`` is SciPy with the course's conventions around it: the ratio
says what these cost. OpenCV (an optional extra) is the fastest known alternative, in
float32. Not a test: a busy machine must not turn anything red.
"""

import sys

import numpy as np
import torch
from makers import best_ms
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from course_lib import holes

SIDES = (64, 128, 256, 512)


def by_scipy(hole: Tensor) -> np.ndarray:
    """One picture after the other, as SciPy's own manual does it."""
    return np.stack([distance_transform_edt(sample) for sample in hole[:, 0].numpy()])


def by_opencv(hole: Tensor) -> np.ndarray | None:
    """The same loop over OpenCV's exact transform, if it is installed."""
    try:
        import cv2
    except ImportError:
        return None
    samples = hole[:, 0].to(torch.uint8).numpy()
    kind = cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    return np.stack([cv2.distanceTransform(sample, *kind) for sample in samples])


def main(count: int) -> None:
    """Print one row for each side."""
    print(f"{count} holes, milliseconds; gap: the largest difference in pixels")
    print(f"{'side':>6}{'ours':>9}{'SciPy':>9}{'ratio':>8}{'gap':>9}", end="")
    print(f"{'OpenCV':>9}{'ratio':>8}{'gap':>9}")
    for side in SIDES:
        hole = holes.strokes(count, side, torch.Generator().manual_seed(0))
        found = holes.distance(hole)[:, 0].numpy()
        ours = best_ms(lambda h=hole: holes.distance(h))
        row = f"{side:6d}{ours:9.1f}"
        for other in (by_scipy, by_opencv):
            expected = other(hole)
            if expected is None:
                row += f"{'absent':>9}"
                continue
            took = best_ms(lambda f=other, h=hole: f(h))
            gap = np.abs(found - expected).max()
            row += f"{took:9.1f}{ours / took:8.2f}{gap:9.1e}"
        print(row, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
