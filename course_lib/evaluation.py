"""How good is a fill? One table for every method; lesson 00 reads it first.

Every number is taken on the **composite** (known pixels copied), never on the raw
prediction. A method gets the picture with NaN under the hole: one that peeks is caught.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from course_lib import holes
from course_lib.losses import inputs, vgg_distance
from course_lib.tensors import (
    ContractError,
    check_hole,
    check_image,
    check_pair,
    check_prediction,
    composite,
    hide,
)

Method = Callable[[Tensor, Tensor], Tensor]

__all__ = [
    "METRICS",
    "MethodError",
    "Scores",
    "Table",
    "auc",
    "composite",
    "evaluate",
    "gradient_energy",
    "hole_l1",
    "hole_psnr",
    "psnr",
    "score",
    "seam",
    "ssim",
]


class MethodError(RuntimeError):
    """A method that returned no picture, another shape, or read the hidden pixels."""


def hole_l1(filled: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute error over the missing pixels, ``(N,)``; 0 = equal, at most 1.

    NaN for a sample without a hole. This and all other metrics compute in float32 at
    least, and raise ``ContractError`` for shapes that do not belong together.
    """
    filled, image, hole = inputs.take(filled, image, hole)
    return _in_hole((filled - image).abs(), hole)


def hole_psnr(filled: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of the missing pixels in dB, ``(N,)``; more is better.

    NaN for a sample without a hole.
    """
    filled, image, hole = inputs.take(filled, image, hole)
    return -10 * _in_hole((filled - image).square(), hole).log10()


def psnr(filled: Tensor, image: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of the whole picture in dB, ``(N,)``."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(
        *_wide(filled, image), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )


def ssim(filled: Tensor, image: Tensor) -> Tensor:
    """Structural similarity of the whole picture, ``(N,)``; 1 = equal, 11-px window."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = structural_similarity_index_measure(
        *_wide(filled, image), data_range=1.0, reduction="none"
    )
    assert isinstance(found, Tensor)
    return found.reshape(-1)


def seam(filled: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """How much harder the rim's edge is than in the true picture, ``(N,)``.

    The mean absolute colour step between neighbours of which one is missing and one
    known, minus the same in the true picture. 0 = as in the truth, positive = a
    visible seam, negative = the rim is smoother than the truth. NaN without a rim.
    """
    filled, image, hole = inputs.take(filled, image, hole)
    total = count = torch.zeros(len(hole), device=hole.device)
    for axis in (-1, -2):
        step = partial(torch.diff, dim=axis)
        rim = step(hole) != 0
        excess = step(filled).abs() - step(image).abs()
        total = total + torch.where(rim, excess, 0.0).mean(1).sum((1, 2))
        count = count + rim.sum((1, 2, 3))
    return total / count


def gradient_energy(picture: Tensor, hole: Tensor) -> Tensor:
    """How much detail is in the hole: its mean squared step, ``(N,)``.

    The mean of ``(p - q)^2`` over all colours and all pairs of neighbours ``p, q``, in
    a row or in a column, that are **both missing**. 0 = constant, at most 1 for colours
    in [0, 1]; NaN for a sample in which no two missing pixels are neighbours. Known
    pixels are never read: they may be NaN. Divided by that of the true picture it says
    how much of the photo's detail a fill has; right and wrong detail count alike, so it
    is a symptom of blur and no score. Lesson 03 introduces it.
    Raises ``ContractError`` for shapes that do not belong together or a grey hole.
    """
    check_pair(picture, hole, values=False)
    check_hole(hole)
    total = count = torch.zeros(len(hole), device=hole.device)
    for axis in (2, 3):
        length = hole.shape[axis] - 1
        both = hole.narrow(axis, 0, length) * hole.narrow(axis, 1, length)
        step = torch.where(both.bool(), picture.diff(dim=axis), 0.0)
        total = total + step.square().mean(1).sum((1, 2))
        count = count + both.sum((1, 2, 3))
    return total / count


def auc(value: Tensor, hole: Tensor) -> Tensor:
    """How well each map tells the hole from the rest: area under the ROC curve.

    ``value (C, h, w)``, ``hole (1, 1, h, w)`` of the same size, 1 = missing ->
    ``(C,)``, float64: the chance that a missing pixel, drawn at random, has a larger
    value than a known one, where equal values count half. 1 = larger at every missing
    pixel, 0 = at every known one, 0.5 = says nothing. Only the order of the values
    counts. NaN where nothing, or everything, is missing, and for a map with NaN.
    A gate of 24 x 64 x 64 takes 8 ms on one core. Lesson 05 reads gates with it.
    Raises ``ContractError`` for shapes that do not belong together or a grey hole.
    """
    check_hole(hole)
    if value.dim() != 3 or hole.shape != (1, 1, *value.shape[1:]):
        raise ContractError(
            f"value {tuple(value.shape)} and hole {tuple(hole.shape)} do not fit: "
            "expected (C, h, w) and (1, 1, h, w), the hole resized by nearest neighbour"
        )
    missing = hole[0, 0].bool()
    inside, outside = value[:, missing].contiguous(), value[:, ~missing].sort(1).values
    below = torch.searchsorted(outside, inside)
    up_to = torch.searchsorted(outside, inside, right=True)
    found = (below + up_to).double().mean(1) / (2 * outside.shape[1])
    return found.masked_fill(value.isnan().flatten(1).any(1), torch.nan)


@dataclass(frozen=True)
class Scores:
    """One number for each picture, ``(N,)`` each. How each is taken: its function."""

    hole_l1: Tensor
    hole_psnr: Tensor
    psnr: Tensor
    ssim: Tensor
    vgg: Tensor
    seam: Tensor


MEASURES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "hole_l1": hole_l1,
    "hole_psnr": hole_psnr,
    "psnr": lambda filled, image, hole: psnr(filled, image),
    "ssim": lambda filled, image, hole: ssim(filled, image),
    "vgg": lambda filled, image, hole: vgg_distance(filled, image),
    "seam": seam,
}
METRICS = tuple(MEASURES)
BATCH = 16  # pictures at once: the VGG's features of a whole benchmark need gigabytes


def score(prediction: Tensor, image: Tensor, hole: Tensor) -> Scores:
    """All metrics of the composite of ``prediction``, picture by picture.

    Raises ``ContractError`` for shapes that do not belong together or a prediction
    with NaN in the hole.
    """
    return Scores(**_measure(METRICS, prediction, image, hole))


@torch.no_grad()
def _measure(
    metrics: Sequence[str], prediction: Tensor, image: Tensor, hole: Tensor
) -> dict[str, Tensor]:
    check_pair(image, hole)
    image = inputs.widen(check_image(image))
    filled = check_image(composite(prediction, image, hole), "prediction (in the hole)")
    filled = filled.clamp(0, 1)  # the check allows for rounding
    return {name: MEASURES[name](filled, image, hole) for name in metrics}


@dataclass(frozen=True)
class Table:
    """Mean scores of several methods in each bucket; printed, it is the table.

    ``rows[method][metric]`` is a tensor ``(6, 2)``: hole-ratio bucket by border
    (0 without holes at the border, 1 with). NaN where the benchmark has no hole.
    """

    rows: dict[str, dict[str, Tensor]]

    def mean(self, method: str, metric: str) -> float:
        """The mean over all cells that have holes."""
        return float(self.rows[method][metric].nanmean())

    def __str__(self) -> str:
        shown = list(next(iter(self.rows.values()), {}))
        lines = [" " * 14 + "".join(f"{_HEADS[m][0]:>14}" for m in shown)]
        for method in self.rows:
            cells = (f"{self.mean(method, m):{_HEADS[m][1]}}" for m in shown)
            lines.append(f"{method:14}" + "".join(f"{cell:>14}" for cell in cells))
        return "\n".join(lines)

    def by_bucket(self, metric: str) -> str:
        """One metric, a column for each hole-ratio bucket."""
        head, digits = _HEADS[metric]
        labels = [f"to {high:.0%}" for _, high in holes.BUCKETS]
        lines = [f"{head:14}" + "".join(f"{label:>9}" for label in labels)]
        for method, found in self.rows.items():
            cells = (f"{v:{digits}}" for v in found[metric].nanmean(1).tolist())
            lines.append(f"{method:14}" + "".join(f"{cell:>9}" for cell in cells))
        return "\n".join(lines)

    def csv(self) -> str:
        """Every cell as comma-separated text: method, metric, bucket, border, value."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "metric", "low", "high", "border", "value"])
        for method, found in self.rows.items():
            for metric, cells in found.items():
                for number, (low, high) in enumerate(holes.BUCKETS):
                    for border in (0, 1):
                        value = f"{float(cells[number, border]):.5f}"
                        writer.writerow([method, metric, low, high, border, value])
        return file.getvalue()


_HEADS = {  # what stands above a column, and its digits
    "hole_l1": ("hole L1", ".4f"),
    "hole_psnr": ("hole PSNR dB", ".1f"),
    "psnr": ("PSNR dB", ".1f"),
    "ssim": ("SSIM", ".4f"),
    "vgg": ("VGG", ".4f"),
    "seam": ("seam", "+.4f"),
}


def evaluate(
    methods: Mapping[str, Method],
    images: Tensor,
    benchmark: holes.Benchmark,
    metrics: Sequence[str] = METRICS,
) -> Table:
    """Score every method on the same pictures with the same holes.

    Hole k lies on picture ``k % N``: with ``per_cell`` a multiple of N, every cell of
    the table gets every picture equally often. A method is called with batches of
    pictures whose hidden pixels are NaN, and gives a prediction of the same shape.
    Raises ``MethodError``, naming the method, if it returns no picture, another shape,
    or in a hole NaN or values outside [0, 1]; and ``ContractError`` if pictures and
    holes do not fit, or a metric is unknown.
    ``metrics`` names those to take; the VGG distance costs most.
    """
    unknown = [name for name in metrics if name not in MEASURES]
    if unknown:
        raise ContractError(
            f"metrics holds {', '.join(unknown)}, expected some of "
            f"{', '.join(METRICS)}: choose among these"
        )
    check_image(images, "images")
    pick = torch.arange(len(benchmark)) % len(images)
    truth, hole = images[pick], benchmark.hole.to(images.device)
    check_pair(truth, hole)
    rows = {}
    for name, method in methods.items():
        parts = [
            _run(name, method, *batch, metrics)
            for batch in zip(truth.split(BATCH), hole.split(BATCH), strict=True)
        ]
        rows[name] = {
            metric: _by_cell(torch.cat([part[metric] for part in parts]), benchmark)
            for metric in metrics
        }
    return Table(rows)


def _run(
    name: str, method: Method, truth: Tensor, hole: Tensor, metrics: Sequence[str]
) -> dict[str, Tensor]:
    with torch.no_grad():
        prediction = method(hide(truth, hole, float("nan")), hole.clone())
    _check_prediction(name, prediction, hole, truth)
    return _measure(metrics, prediction, truth, hole)


def _check_prediction(name: str, made: object, hole: Tensor, truth: Tensor) -> None:
    if not isinstance(made, Tensor):
        raise MethodError(
            f"{name} returned {made!r:.40}, expected a tensor {tuple(truth.shape)}: "
            "end the method with return and the picture that it made"
        )
    if made.shape != truth.shape:
        raise MethodError(
            f"{name} returned {tuple(made.shape)} for pictures {tuple(truth.shape)}"
        )
    bad = int(hide(made, 1 - hole, 0.0).isnan().any(1).sum())
    if bad:
        raise MethodError(
            f"{name} returned NaN at {bad} missing pixels of {len(made)} pictures: the "
            "hidden pixels it gets are NaN, so it read them. Select with torch.where "
            "or hide(image, hole) instead of multiplying"
        )
    try:
        check_image(hide(made, 1 - hole, 0.0), "its prediction (in the hole)")
    except ContractError as error:
        raise MethodError(f"{name}: {error}") from error


def _by_cell(values: Tensor, benchmark: holes.Benchmark) -> Tensor:
    cells = torch.full((len(holes.BUCKETS), 2), float("nan"))
    for number in range(len(holes.BUCKETS)):
        for border in (0, 1):
            here = (benchmark.bucket == number) & (benchmark.border == bool(border))
            if here.any():
                cells[number, border] = values[here.to(values.device)].mean()
    return cells


def _in_hole(error: Tensor, hole: Tensor) -> Tensor:
    inside = torch.where(hole.bool(), error, 0.0).sum((1, 2, 3))
    return inside / (hole.sum((1, 2, 3)) * error.shape[1])


def _wide(filled: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    check_image(image, finite=False)
    check_prediction(filled, image, image[:, :1])  # of the hole only the shape counts
    return inputs.widen(filled), inputs.widen(image)
