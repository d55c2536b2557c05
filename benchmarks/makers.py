"""How fast the makers are, each beside a named alternative in the same run.

    python benchmarks/makers.py

Prints the best of several runs on one thread of this machine. Not a test: a busy
machine must not turn anything red.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision import transforms

from course_lib import fills, holes, photos

COUNT = 64


def best_ms(work: Callable[[], object], runs: int = 7) -> float:
    """Milliseconds of the fastest run, after one to warm up."""
    work()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


def line(name: str, value: float, unit: str, note: str = "") -> None:
    """One row of the report."""
    print(f"{name:46} {value:9.1f} {unit:10} {note}", flush=True)


def strokes_by_pillow(size: int, generator: torch.Generator) -> Tensor:
    """The usual way: Pillow's lines and circles, one hole after the other."""
    found = []
    for _ in range(COUNT):
        picture = Image.new("L", (size, size))
        draw = ImageDraw.Draw(picture)
        strokes = int(torch.randint(1, 4, (), generator=generator))
        for _ in range(strokes):
            _one_stroke(draw, size, generator)
        found.append(torch.from_numpy(np.array(picture)).float())
    return torch.stack(found)[:, None]


def _one_stroke(
    draw: ImageDraw.ImageDraw, size: int, generator: torch.Generator
) -> None:
    number = int(torch.randint(4, 12, (), generator=generator))
    numbers = torch.rand(number, 3, generator=generator).tolist()
    brush = size * (12 + 28 * numbers[0][2]) / 256
    points = [(size * numbers[0][0], size * numbers[0][1])]
    for k, (turn, reach, _) in enumerate(numbers):
        angle = 2 * math.pi / 5 + (2 * turn - 1) * 2 * math.pi / 15
        angle = 2 * math.pi - angle if k % 2 == 0 else angle
        length = 2 * reach * size * math.sqrt(2) / 8
        x, y = points[-1]
        x, y = x + length * math.cos(angle), y + length * math.sin(angle)
        points.append((min(max(x, 0), size), min(max(y, 0), size)))
    draw.line(points, fill=1, width=round(brush))
    for x, y in points:
        draw.ellipse(
            (x - brush / 2, y - brush / 2, x + brush / 2, y + brush / 2), fill=1
        )


def makers() -> None:
    """Holes: 64 of 128 pixels."""
    generator = torch.Generator().manual_seed(0)
    made = best_ms(lambda: holes.rectangles(COUNT, 128, generator))
    line("rectangles, 64 of 128 px", made, "ms", "goal 10")
    made = best_ms(lambda: holes.strokes(COUNT, 128, generator))
    line("strokes, 64 of 128 px", made, "ms", "goal 60")
    made = best_ms(lambda: strokes_by_pillow(128, generator))
    line("  the same by Pillow, in a loop", made, "ms")
    made = best_ms(lambda: holes.irregular(COUNT, 128, generator))
    line("irregular, 64 of 128 px", made, "ms")


def crops() -> None:
    """Training crops a second."""
    collection = photos.collection("train", limit=40)
    generator = torch.Generator().manual_seed(0)
    pillow = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in collection.pictures]
    for size in (64, 128, 256):
        made = best_ms(lambda s=size: collection.crops(COUNT, s, generator))
        line(f"crops of {size} px", 1000 * COUNT / made, "a second")
        # scale is a share of the area there: 0.16 is 0.4 squared
        usual = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.16, 1), ratio=(1, 1)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )
        batch = [pillow[k % len(pillow)] for k in range(COUNT)]
        made = best_ms(lambda u=usual, b=batch: torch.stack([u(p) for p in b]))
        line("  torchvision on decoded pictures", 1000 * COUNT / made, "a second")


def harmonic() -> None:
    """The Laplace solver on a free-form hole of 256 pixels."""
    image = photos.squares("evaluation", 256, 1)
    hole = holes.strokes(1, 256, torch.Generator().manual_seed(3))
    hole = holes.grow(hole, torch.tensor([0.25]))
    note = f"hole of {float(holes.ratio(hole)):.0%}"
    made = best_ms(lambda: fills.harmonic(image, hole), 5)
    line("harmonic fill, 256 px", made, "ms", note)
    values = image[0].permute(1, 2, 0).double().numpy()
    missing = hole[0, 0].numpy() > 0
    exact = fills.solve_laplace(values, missing)
    made = best_ms(lambda: by_spsolve(values, missing), 3)
    gap = np.abs(by_spsolve(values, missing) - exact).max()
    line("  scipy.sparse.linalg.spsolve", made, "ms", f"gap {gap:.1e}")
    made = best_ms(lambda: by_jacobi(values, missing), 2)
    gap = np.abs(by_jacobi(values, missing) - exact).max()
    line("  1000 Jacobi steps", made, "ms", f"gap {gap:.1e}")


def by_spsolve(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """One equation for every pixel of the picture, known ones included."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import spsolve

    height, width = missing.shape
    number = np.arange(missing.size).reshape(height, width)
    edges = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    one = np.concatenate([a.ravel() for a, _ in edges] + [b.ravel() for _, b in edges])
    two = np.concatenate([b.ravel() for _, b in edges] + [a.ravel() for a, _ in edges])
    links = csr_array((np.ones(len(one)), (one, two)), shape=(missing.size,) * 2)
    hole = missing.ravel().astype(float)
    degree = diags_array(links.sum(1))
    matrix = diags_array(1 - hole) + diags_array(hole) @ (degree - links)
    right = np.where(missing[..., None], 0, values).reshape(missing.size, -1)
    return spsolve(matrix.tocsc(), right).reshape(values.shape)


def by_jacobi(values: np.ndarray, missing: np.ndarray, steps: int = 1000) -> np.ndarray:
    """Each missing pixel becomes the mean of its neighbours, again and again."""
    now = np.where(missing[..., None], 0.5, values)
    for _ in range(steps):
        wide = np.pad(now, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
        now = np.where(missing[..., None], around / 4, values)
    return now


if __name__ == "__main__":
    torch.set_num_threads(1)
    makers()
    crops()
    harmonic()
