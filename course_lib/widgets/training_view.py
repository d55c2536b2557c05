"""The training view: loss and picture while ``fit`` runs, to look back on afterwards.

Lesson 03 is the first to train in front of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.pictures import QUERY, Picture, to_pixels
from course_lib.training import History
from course_lib.widgets.base import CourseWidget, WidgetError, module, sentence

MOST = 40  # pictures that are kept
WIDEST = 768  # pixels of all pictures of one moment together; larger are shrunk
BINS = 300  # points of a curve that are drawn, at most
SMOOTH = 1 / 12  # of a curve's points are averaged into one
STILL = 760  # pixels the still is wide
INKS = ("#1976d2", "#b0489b", "#5c7a1f", "#777777")  # of the curves, as in the page


@dataclass(frozen=True)
class Snapshot:
    """What the network made at one moment: ``pixels (N, H, W, 3)``, uint8."""

    step: int
    number: int  # of the look at the training that took it
    slot: int  # the trait ``picture_<slot>`` that carries it to the page
    pixels: np.ndarray


class TrainingView(CourseWidget):
    """Watches a training: ``fit(..., watch=view)`` draws into the view on show.

    ``look`` returns what to show: an image ``(3, H, W)`` or images ``(N, 3, H, W)`` in
    ``[0, 1]``, side by side, such as a composite of the network's output for a fixed
    photo and hole. It runs without gradients. ``fit`` puts networks that are in its
    ``state`` into evaluation mode around it; any other network it must switch itself.
    What it raises is shown in the view, and the training goes on. ``pictures``: how
    many it returns; the card keeps room for them from the beginning.

    The first picture is from before the first step. Up to 40 are kept, evenly spread
    over the training, and all of them are in the page: a slider, the arrow keys or a
    drag along the curve go back to one without waiting for Python, also while it
    trains. Another training in the same view starts it anew.

    ``steps`` and ``picture`` are for the next cell, ``look`` chooses one from Python,
    and ``still`` is for readers without a kernel: the first, the last and two between.
    """

    _esm = module("training_view")
    facts = traitlets.Dict(read_only=True).tag(sync=True)
    chosen = traitlets.Int(-1, read_only=True).tag(sync=True)  # a step; -1: the newest

    def __init__(
        self,
        look: Callable[[], Tensor] | None = None,
        *,
        pictures: int = 1,
        title: str = "Watch it learn",
    ) -> None:
        self._look = look
        self._room = [pictures, 1, 1] if look else []
        self._history = History()
        self._trouble = ""
        self._snapshots: list[Snapshot] = []
        self._looks, self._stride = 0, 1
        # One trait for each picture: none travels to the page twice.
        slots = {f"picture_{k}": traitlets.Bytes().tag(sync=True) for k in range(MOST)}
        self.add_traits(**slots)
        super().__init__(title=title)
        self._publish()

    @property
    def steps(self) -> list[int]:
        """After how many steps each kept picture was taken."""
        return [snapshot.step for snapshot in self._snapshots]

    @property
    def picture(self) -> Tensor:
        """The chosen picture, ``(N, 3, H, W)`` in ``[0, 1]``; else the newest.

        Raises ``WidgetError`` while there is none.
        """
        self._check_pictures()
        pixels = torch.from_numpy(self._snapshots[self._place()].pixels.copy())
        return pixels.permute(0, 3, 1, 2) / 255

    def look(self, step: int | None = None) -> "TrainingView":
        """Choose the picture nearest to a step, or without one follow the newest.

        Returns the view. Raises ``WidgetError`` while there is no picture.
        """
        self._check_pictures()
        nearest = -1 if step is None else min(self.steps, key=lambda s: abs(s - step))
        self.set_trait("chosen", nearest)
        return self

    def __call__(self, history: History) -> None:
        """What ``fit`` calls between two steps."""
        if history.steps < self._history.steps:  # another training
            self._snapshots, self._looks, self._stride = [], 0, 1
            self.set_trait("chosen", -1)
        self._history, self._trouble = history, ""
        try:
            pixels = self._pixels()
        except Exception as error:
            self._trouble = f"No picture: {sentence(error)}. The training goes on."
        else:
            self._keep(pixels)
        self._publish()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The page asks for nothing: all it shows is in it already."""
        raise WidgetError(f"The page asked for {request.get('kind')!r}: unknown.")

    def still(self) -> Picture:
        """Four of the pictures above the curves of the loss; before all, one line."""
        if not self._history.goal:
            return Picture(_line_still(_status(self._history)), repr(self))
        parts = [_curves_still(self.facts, self._marked())]
        if self._snapshots:
            parts.insert(0, self._row())
        return Picture(np.concatenate(parts), repr(self))

    def __repr__(self) -> str:  # no digits of a loss: they differ between machines
        names = ", ".join(self._history.losses) or "no loss"
        return f"TrainingView({self._history.steps} steps of {names})"

    # ---- the pictures -------------------------------------------------------------

    def _check_pictures(self) -> None:
        if not self._snapshots:
            raise WidgetError("no picture yet: give this view to fit as watch")

    def _pixels(self) -> np.ndarray | None:
        if self._look is None:
            return None
        with torch.no_grad():
            made = self._look()
        if not isinstance(made, Tensor) or made.dim() not in (3, 4) or not len(made):
            known = isinstance(made, Tensor)
            given = tuple(made.shape) if known else type(made).__name__
            raise WidgetError(
                f"look returned {given}, expected an image (3, H, W) or (N, 3, H, W)"
            )
        images = made if made.dim() == 4 else made[None]
        return np.stack([_shrunk(to_pixels(k), WIDEST // len(images)) for k in images])

    def _keep(self, pixels: np.ndarray | None) -> None:
        """Add a picture; the newest always stays, the others thin out evenly."""
        if pixels is None:
            self._looks += 1
            return
        kept = self._snapshots
        if kept and kept[-1].pixels.shape != pixels.shape:
            kept.clear()
        if kept and kept[-1].step == self._history.steps:
            self._looks = kept.pop().number
        elif kept and kept[-1].number % self._stride:
            kept.pop()
        if len(kept) == MOST:
            self._stride *= 2
            kept[:] = [one for one in kept if one.number % self._stride == 0]
        used = {one.slot for one in kept}
        slot = next(k for k in range(MOST) if k not in used)
        kept.append(Snapshot(self._history.steps, self._looks, slot, pixels))
        self._looks += 1

    def _place(self) -> int:
        return self.steps.index(self.chosen) if self.chosen in self.steps else -1

    def _marked(self) -> int | None:
        return self.steps[self._place()] if self._snapshots else None

    def _publish(self) -> None:
        kept, history = self._snapshots, self._history
        facts = {
            "step": history.steps,
            "goal": max(history.goal, history.steps),
            "status": _status(history),
            "trouble": self._trouble,
            "moving": not history.interrupted and history.steps < history.goal,
            "curves": [
                {"name": name, **curve(values, history.steps)}
                for name, values in history.losses.items()
            ],
            "size": list(kept[-1].pixels.shape[:3]) if kept else self._room,
            "pictures": [[one.step, one.slot] for one in kept],
        }
        with self.hold_sync():
            if kept:
                name = f"picture_{kept[-1].slot}"
                self.set_trait(name, kept[-1].pixels.tobytes())
            if self.chosen not in self.steps:
                self.set_trait("chosen", -1)
            self.set_trait("facts", facts)

    def _row(self) -> np.ndarray:
        """Up to four moments beside each other, uint8 ``(height, STILL, 3)``."""
        count, gap, head = len(self._snapshots), 12, 20
        last = self._place() % count
        places = sorted({round(k * last / 3) for k in range(4)})
        tiles = [np.concatenate(self._snapshots[k].pixels, 1) for k in places]
        height, width = tiles[0].shape[:2]
        wide = (STILL - 3 * gap) // 4
        tall = round(height * wide / width)
        paper = Image.new("RGB", (STILL, head + tall + gap), "white")
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
        for at, (place, tile) in enumerate(zip(places, tiles, strict=True)):
            left = at * (wide + gap)
            step = self._snapshots[place].step
            name = f"step {step:,}" if step else "before the first step"
            draw.text((left, 2), name, fill=(40, 44, 52), font=font)
            kind = Image.Resampling.NEAREST if wide > 2 * width else None
            paper.paste(Image.fromarray(tile).resize((wide, tall), kind), (left, head))
        return np.asarray(paper)


def curve(values: Sequence[float], steps: int) -> dict[str, list[float]]:
    """A loss as at most ``BINS`` points: its step, least, greatest and smoothed value.

    ``values`` are spread evenly over ``steps``: not every step has every loss. The
    smoothed value is the mean of a window around the point, cut off at both ends.
    """
    numbers = np.asarray(values, float)
    many = len(numbers) > BINS  # fewer are drawn one by one
    count = min(BINS, len(numbers) // 4) if many else len(numbers)
    edges = np.linspace(0, len(numbers), count + 1).astype(int)
    size = np.diff(edges)
    mean = np.add.reduceat(numbers, edges[:-1]) / size
    window = np.ones(2 * int(count * SMOOTH / 2) + 1)
    total = np.convolve(mean * size, window)
    weight = np.convolve(size, window)
    inside = slice(len(window) // 2, len(window) // 2 + count)
    middle = (edges[:-1] + edges[1:] + 1) / 2 * steps / len(numbers)
    middle[-1] = steps  # the newest value stands where the training is
    found = {
        "step": middle,
        "low": np.minimum.reduceat(numbers, edges[:-1]),
        "high": np.maximum.reduceat(numbers, edges[:-1]),
        "smooth": (total / weight)[inside],
    }
    return {name: [float(f"{v:.5g}") for v in row] for name, row in found.items()}


def _status(history: History) -> str:
    if not history.goal:
        return "No training yet: give this view to fit as watch."
    if history.interrupted or history.steps == history.goal:
        text = str(history)
        return f"{text[0].upper()}{text[1:]}."
    speed = history.steps / history.seconds if history.seconds else 0
    said = f", {speed:.3g} steps a second" if speed else ""
    return f"Step {history.steps:,} of {history.goal:,}{said}."


def _shrunk(pixels: np.ndarray, widest: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    share = widest / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(pixels).resize(size))


def _line_still(text: str) -> np.ndarray:
    """Text on white, uint8 ``(36, STILL, 3)``."""
    paper = Image.new("RGB", (STILL, 36), "white")
    font = ImageFont.load_default(14)
    ImageDraw.Draw(paper).text((4, 8), text, fill=(40, 44, 52), font=font)
    return np.asarray(paper)


def _curves_still(facts: dict[str, Any], marked: int | None) -> np.ndarray:
    """The smoothed curves over a pale band, uint8 ``(220, STILL, 3)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    figure = Figure((STILL / 100, 2.2), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for one, ink in zip(facts["curves"], cycle(INKS)):
        steps, last = one["step"], one["smooth"][-1]
        axes.fill_between(
            steps, one["low"], one["high"], color=ink, alpha=0.2, linewidth=0
        )
        axes.plot(steps, one["smooth"], color=ink, label=f"{one['name']} {last:.3g}")
    if marked is not None:
        axes.axvline(marked, color="#282c34", linewidth=1)
        top = axes.get_xaxis_transform()
        sign: dict[str, Any] = {
            "color": QUERY,
            "mec": "#282c34",
            "ms": 9,
            "clip_on": False,
        }
        axes.plot(marked, 1, "v", transform=top, **sign)
    if facts["curves"]:
        axes.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlim=(0, max(1, facts["goal"])), xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if all(value > 0 for one in facts["curves"] for value in one["low"]):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
