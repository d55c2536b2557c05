"""The hole explorer: steer a maker of holes and see what it makes (lesson 01)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib import holes, photos
from course_lib.pictures import QUERY, Picture, grid, hatched, to_pixels
from course_lib.tensors import check_image
from course_lib.widgets.base import CourseWidget, WidgetError, module

PHOTO = "lincolnmemorial"
SAMPLES = 64  # holes of the same settings in the histogram
SAMPLE_SIZE = 64  # pixels a side of each; a ratio hardly depends on it
SAMPLE_SEED = 2_000_003  # apart from the seeds that a reader steps through
STILL = 256  # pixels a side of each picture in the still
LAST_SEED = 9999
_EDGES = [low for low, _ in holes.BUCKETS] + [holes.BUCKETS[-1][1]]


@dataclass(frozen=True)
class Control:
    """One slider; ``unit`` says what its value is.

    ``share`` of the picture's side, ``whole`` number of things, ``level`` between 0 and
    1, or ``target``: a ratio to grow to, where 0 leaves a hole as drawn.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    unit: str  # "share", "whole", "level" or "target"


MARGIN = Control("margin", "Frame kept free", 0, 0.2, 0.01, 0, "share")
TARGET = Control("target", "Grow to", 0, 0.6, 0.01, 0, "target")  # 0: as drawn

CONTROLS = {
    "rectangles": (
        Control("side", "Longest side", 0.05, 0.8, 0.01, 0.5, "share"),
        Control("count", "Rectangles", 1, 8, 1, 1, "whole"),
    ),
    "strokes": (
        Control("count", "Strokes, at most", 1, 8, 1, 3, "whole"),
        Control("width", "Widest brush", 0.02, 0.4, 0.01, 0.16, "share"),
        Control("vertices", "Most segments", 1, 24, 1, 11, "whole"),
    ),
    "irregular": (
        Control("dilation", "Strongest dilation", 0, 0.3, 0.01, 0.1, "share"),
        Control("threshold", "Threshold", 0.1, 0.9, 0.05, 0.6, "level"),
    ),
}

Values = dict[str, float]
Maker = Callable[[int, int, torch.Generator, Values], Tensor]


def _rectangles(count: int, size: int, g: torch.Generator, v: Values) -> Tensor:
    pieces, side = int(v["count"]), (v["side"] / 2, v["side"])
    return holes.rectangles(
        count, size, g, side=side, per_picture=pieces, margin=v["margin"]
    )


def _strokes(count: int, size: int, g: torch.Generator, v: Values) -> Tensor:
    most, segments = int(v["count"]), int(v["vertices"])
    width = (0.3 * v["width"], v["width"])
    return holes.strokes(
        count,
        size,
        g,
        per_picture=(1, most),
        vertices=(min(4, segments), segments),
        width=width,
    )


def _irregular(count: int, size: int, g: torch.Generator, v: Values) -> Tensor:
    dilation = (9 / 49 * v["dilation"], v["dilation"])
    return holes.irregular(count, size, g, dilation=dilation, threshold=v["threshold"])


MAKERS: dict[str, Maker] = {
    "rectangles": _rectangles,
    "strokes": _strokes,
    "irregular": _irregular,
}


class HoleExplorer(CourseWidget):
    """Choose a maker, move its sliders, and step through the holes that it makes.

    ``image``: ``(1, 3, H, W)`` in ``[0, 1]`` or the name of a bundled photo; its
    central square is shown at ``size``. ``maker`` is one of rectangles, strokes and
    irregular. ``settings`` are the sliders by name: those of the maker (``CONTROLS``),
    ``margin`` (the frame that stays known, a share of the side) and ``target`` (the
    ratio to grow or shrink to; 0 leaves a hole as it was drawn).

    The histogram shows the ratios of 64 further holes made with the same sliders,
    before they are grown. ``hole``, ``ratios`` and ``settings`` are for the next cell;
    ``look`` does from Python what the sliders do. Raises ``WidgetError`` for a wrong
    name or value, ``HoleError`` for a hole that cannot be made so.
    """

    _esm = module("hole_explorer")
    size = traitlets.Int(read_only=True).tag(sync=True)
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    image_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    hole_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    shown = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        image: Tensor | str | None = None,
        *,
        size: int = 256,
        maker: str = "strokes",
        seed: int = 0,
        title: str = "What does this maker make?",
        **settings: float,
    ) -> None:
        super().__init__(title=title)
        if not isinstance(image, Tensor):
            image = photos.load(image or PHOTO)
        self._image = photos.square(check_image(image)[:1], size).cpu()
        self._values = {name: _defaults(name) for name in MAKERS}
        self._drawn: tuple[object, Tensor] = (None, torch.zeros(0))
        self._maker, self._seed = maker, seed
        self.set_trait("size", size)
        self.set_trait("image_bytes", to_pixels(self._image).tobytes())
        every = {name: [*CONTROLS[name], MARGIN, TARGET] for name in MAKERS}
        sliders = {name: [asdict(c) for c in row] for name, row in every.items()}
        self.set_trait("controls", sliders)
        self.look(maker, seed=seed, **settings)

    @property
    def image(self) -> Tensor:
        """The photo, ``(1, 3, size, size)`` in ``[0, 1]``."""
        return self._image

    @property
    def hole(self) -> Tensor:
        """The hole on show, ``(1, 1, size, size)``, 1 = missing."""
        return self._hole

    @property
    def ratios(self) -> Tensor:
        """The ratios of the 64 holes in the histogram, ``(64,)``."""
        return self._ratios

    @property
    def settings(self) -> Values:
        """The values of the sliders, by name."""
        return dict(self._values[self._maker])

    def look(
        self, maker: str | None = None, *, seed: int | None = None, **settings: float
    ) -> "HoleExplorer":
        """Move to a maker, a seed or slider values; what is left out stays.

        Returns the explorer. Nothing changes when a value is wrong.
        """
        maker = maker or self._maker
        if maker not in MAKERS:
            raise WidgetError(f"no maker {maker!r}; there are {', '.join(MAKERS)}")
        seed = self._seed if seed is None else seed
        if not 0 <= seed <= LAST_SEED:
            raise WidgetError(f"seed {seed} is not between 0 and {LAST_SEED}")
        values = self._values[maker] | settings
        _check_values(maker, values)
        hole, ratios = self._make(maker, seed, values), self._sample(maker, values)
        self._maker, self._seed, self._values[maker] = maker, seed, values
        self._hole, self._ratios = hole, ratios
        self._publish()
        return self

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the page: the maker, seed and slider values that it shows now."""
        if request.get("kind") != "look":
            raise WidgetError(f"The page asked for {request.get('kind')!r}: unknown.")
        values = {name: float(v) for name, v in request["values"].items()}
        self.look(request["maker"], seed=int(request["seed"]), **values)
        return {}

    def still(self) -> Picture:
        """The photo with its hole, the hole alone, and the histogram."""
        side = STILL / self.size
        columns = {
            "in a photo": hatched(self._image, self._hole),
            "alone: white = 1 = missing": self._hole,
        }
        left = grid(columns, scale=side if side < 1 else max(1, round(side)))
        right = histogram(self._ratios, float(self._hole.mean()), left.pixels.shape[0])
        gap = np.full((left.pixels.shape[0], 12, 3), 255, np.uint8)
        return Picture(np.concatenate([left.pixels, gap, right], 1), repr(self))

    def __repr__(self) -> str:
        shown = self.shown
        spread = " ".join(str(number) for number in shown["counts"])
        return (
            f"HoleExplorer({shown['maker']}, seed {shown['seed']}: {shown['ratio']}, "
            f"{shown['bucket']}, {shown['border']}; {SAMPLES} like it: {spread} in the "
            f"six buckets, {shown['outside']} outside)"
        )

    # ---- making and telling -------------------------------------------------------

    def _make(self, maker: str, seed: int, values: Values) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        hole = MAKERS[maker](1, self.size, generator, values)
        target, margin = values["target"], values["margin"]
        if not target and not margin:
            return hole
        ratio = target or float(hole.mean())
        pixels = math.floor(ratio * hole.numel() + 1e-3)  # never beyond a bucket's end
        return holes.grow(hole, torch.tensor([pixels / hole.numel()]), margin)

    def _sample(self, maker: str, values: Values) -> Tensor:
        """Ratios of further holes; kept, because seed and target change none."""
        key = (maker, *(v for name, v in values.items() if name != "target"))
        if self._drawn[0] != key:
            generator = torch.Generator().manual_seed(SAMPLE_SEED)
            made = MAKERS[maker](SAMPLES, SAMPLE_SIZE, generator, values)
            self._drawn = key, holes.ratio(made)
        return self._drawn[1]

    def _publish(self) -> None:
        counts = _bucket_counts(self._ratios)
        near = bool(holes.touches_border(self._hole))
        facts = {
            "maker": self._maker,
            "seed": self._seed,
            "values": {name: dict(v) for name, v in self._values.items()},
            "share": float(self._hole.mean()),
            "ratio": f"{100 * float(self._hole.mean()):.1f} % missing",
            "bucket": _bucket_text(int(holes.bucket(self._hole))),
            "border": "near the border" if near else "clear of the border",
            "ratios": self._ratios.tolist(),
            "counts": counts,
            "outside": SAMPLES - sum(counts),
        }
        with self.hold_sync():
            self.set_trait("shown", facts)
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())


def histogram(ratios: Tensor, share: float, height: int) -> np.ndarray:
    """Bars of 2 % with the six buckets below, uint8 ``(height, 300, 3)``."""
    paper = Image.new("RGB", (300, height), "white")
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    small = ImageFont.load_default(10)
    ink, grey = (40, 44, 52), (150, 156, 168)
    draw.text(
        (0, 2), f"% missing of {SAMPLES} like it, before Grow to", fill=ink, font=font
    )
    counts = torch.histc(ratios, 40, 0, 0.8).tolist()
    base, step = height - 44, 7
    unit = (base - 44) / max(1.0, *counts)
    draw.line((10, base, 290, base), fill=grey)
    for k in range(len(counts)):
        number = counts[k]
        if not number:
            continue
        bar = (10 + k * step, base - number * unit, 10 + k * step + step - 2, base)
        draw.rectangle(bar, fill=(92, 122, 160))
    for low in _EDGES:
        x = 10 + low * 50 * step
        draw.line((x, base + 1, x, base + 6), fill=ink)
        draw.text((x - 5, base + 8), f"{low:.0%}"[:-1], fill=ink, font=small)
    numbers = _bucket_counts(ratios)
    for (low, high), number in zip(holes.BUCKETS, numbers, strict=True):
        place = 10 + (low + high) / 2 * 50 * step - 5
        draw.text((place, base + 24), str(number), fill=ink, font=font)
    x = 10 + min(share, 0.8) * 50 * step
    marker = [(x - 6, 24), (x + 6, 24), (x, 36)]
    draw.line((x, 30, x, base), fill=ink)
    draw.polygon(marker, fill=QUERY, outline=ink)
    return np.asarray(paper)


def _bucket_counts(ratios: Tensor) -> list[int]:
    """How many ratios each of the six buckets holds; a bucket owns its upper end."""
    edges = torch.tensor(_EDGES, dtype=torch.float64)
    # 0 is below all buckets, and the number after the last above them
    found = torch.bucketize(ratios.double(), edges)
    counts: list[int] = found.bincount(minlength=len(_EDGES) + 1)[1:-1].tolist()
    return counts


def _bucket_text(number: int) -> str:
    if number < 0:
        return "in no bucket"
    low, high = holes.BUCKETS[number]
    return f"bucket {number + 1} of 6 ({100 * low:.0f}–{100 * high:.0f} %)"


def _defaults(maker: str) -> Values:
    rows: Sequence[Control] = (*CONTROLS[maker], MARGIN, TARGET)
    return {control.name: control.value for control in rows}


def _check_values(maker: str, values: Values) -> None:
    known = {c.name: c for c in (*CONTROLS[maker], MARGIN, TARGET)}
    for name, value in values.items():
        if name not in known:
            raise WidgetError(f"{maker} have no {name!r}; there is {', '.join(known)}")
        low, high = known[name].low, known[name].high
        if not low - 1e-9 <= value <= high + 1e-9:
            raise WidgetError(f"{name} {value:g} is not between {low:g} and {high:g}")
