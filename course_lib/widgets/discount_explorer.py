"""The discount explorer: how much each missing pixel counts in the loss (lesson 02)."""

import math
from typing import Any, ClassVar

import numpy as np
import torch
import traitlets
from torch import Tensor

from course_lib import holes
from course_lib.losses import discount_weights
from course_lib.pictures import Picture, grid
from course_lib.tensors import check_hole, check_pair
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.pixel_explorer import (
    STILL,
    PixelExplorer,
    chart,
    coloured,
    dimmed,
    marked,
    viridis,
)

# One press each, close where a step changes most; the slider reaches all others.
GAMMAS = (0.7, 0.9, 0.92, 0.94, 0.95, 0.96, 0.98, 0.99, 1)
LOWEST_GAMMA = 0.5  # of the slider
RINGS = ((0, 1), (1, 2), (2, 4), (4, 8), (8, math.inf))  # low < distance <= high
RING_LABELS = ("1", "2", "3–4", "5–8", "> 8")
SHAPES = ("rectangle", "free-form")
MARGIN = 9  # known pixels beside the hole in the chart
STROKES_SEED = 15  # of the free-form hole that comes with the explorer

Box = tuple[int, int, int, int]  # top, left, height, width


def published_weights(hole: Tensor, gamma: float) -> Tensor:
    """The weights of the published code: measured to a box, not to the hole.

    ``(N, 1, H, W)`` -> ``gamma ** min(i, h - i, j, w - j)`` at row i and column j of
    the box of h x w pixels around each hole, counted from 0, NaN outside the box.
    So the top row and the left column get 1, the bottom and the right gamma. Source:
    ``spatial_discounting_mask`` in the code of Yu et al. 2018, whose hole is always
    a rectangle.
    """
    found = torch.full_like(hole, torch.nan)
    for k in range(len(hole)):
        if hole[k].any():
            top, left, height, width = box_of(hole[k : k + 1])
            i, j = torch.arange(height)[:, None], torch.arange(width)[None]
            rows, columns = torch.minimum(i, height - i), torch.minimum(j, width - j)
            weights = gamma ** torch.minimum(rows, columns).to(hole)
            found[k, 0, top : top + height, left : left + width] = weights
    return found


def box_of(hole: Tensor) -> Box:
    """Top, left, height and width of the smallest box around a hole."""
    rows, columns = hole[0, 0].any(1).nonzero(), hole[0, 0].any(0).nonzero()
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left


class DiscountExplorer(PixelExplorer):
    """Drag gamma and a hole; see what every missing pixel weighs, and ask for one.

    ``image``: ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, or the name of a bundled
    photo, of which the central square is shown at ``size``. ``hole``:
    ``(1, 1, H, W)``, 1 = missing; a rectangle can be moved and resized, any other
    hole moved; by default a square. The weights are
    :func:`course_lib.losses.discount_weights`, recomputed in Python at each step.

    ``look`` asks for a pixel and ``set`` changes gamma or the hole, as the page does;
    ``weights``, ``hole`` and ``gamma`` are for the next cell. Raises ``WidgetError``
    or ``ContractError`` and then changes nothing.
    """

    _esm = module("pixel_explorer", "hole_canvas", "discount_explorer")
    asks: ClassVar = {"look": "look", "gamma": "set", "place": "set", "shape": "set"}
    first_side = 0.235  # 30 of 128 pixels
    colours = traitlets.Bytes(read_only=True).tag(sync=True)
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    weights_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    code_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        gamma: float = 0.9,
        *,
        size: int = 128,
        title: str = "How much does a missing pixel count?",
    ) -> None:
        super().__init__(image, size=size, title=title, finite=True)
        self._asked: tuple[int, int] | None = None  # None: the deepest
        self._pattern, self._boxes = self._first_shapes()
        self.set_trait("colours", viridis().tobytes())
        steps = {"gammas": list(GAMMAS), "low": LOWEST_GAMMA, "shapes": list(SHAPES)}
        self.set_trait("controls", steps)
        self._change(gamma, "rectangle", self._boxes["rectangle"], None)
        if hole is not None:
            self.set(hole=hole)

    @property
    def gamma(self) -> float:
        """The discount on show."""
        return self._gamma

    @property
    def weights(self) -> Tensor:
        """What each pixel weighs, ``(1, 1, H, W)``; known pixels are 1."""
        return self._weights

    def look(
        self, row: int | None = None, column: int | None = None
    ) -> "DiscountExplorer":
        """Ask about a pixel; without one, about the deepest, wherever the hole goes.

        Returns the explorer. Raises ``WidgetError`` for a pixel outside the picture.
        """
        asked = self._pixel_of(row, column)
        self._change(self._gamma, self._shape, self._boxes[self._shape], asked)
        return self

    def set(
        self,
        *,
        gamma: float | None = None,
        hole: Tensor | None = None,
        shape: str | None = None,
        box: Box | None = None,
    ) -> "DiscountExplorer":
        """Change gamma, or the hole: by a tensor, or by its shape and box.

        ``shape`` is "rectangle" or "free-form"; ``box`` is (top, left, height, width)
        in pixels; a free-form hole keeps its height and width. Returns the explorer.
        """
        pattern = self._pattern
        if hole is not None:
            check_pair(self._image, check_hole(hole[:1].detach().cpu()))
            shape, box, pattern = self._read_hole(hole[:1].detach().float().cpu())
        shape = shape or self._shape
        if shape not in SHAPES:
            raise WidgetError(f"no shape {shape!r}; there are {', '.join(SHAPES)}")
        box = self._boxes[shape] if box is None else box
        asked = self._carried(shape, box) if hole is None else None
        gamma = self._gamma if gamma is None else gamma
        self._change(gamma, shape, box, asked, pattern)
        return self

    def still(self) -> Picture:
        """The weights over the photo, and the row of the asked pixel as a chart."""
        shown, width = self.shown, self.width
        row, column = shown["row"], shown["column"]
        field = torch.where(
            self._hole.bool(), coloured(self._weights), dimmed(self._image)
        )
        side = STILL / max(self.height, width)
        left = grid(
            {"weights in the hole": marked(field, row, column)},
            scale=side if side < 1 else max(1, round(side)),
        ).pixels
        right = self._still_chart(row, column, left.shape[0])
        gap = np.full((left.shape[0], 12, 3), 255, np.uint8)
        return Picture(np.concatenate([left, gap, right], 1), repr(self))

    def _still_chart(self, row: int, column: int, height: int) -> np.ndarray:
        """The columns of the hole, some beside them, and the asked one."""
        _, left, _, width = self._boxes[self._shape]
        first = max(0, min(left - MARGIN, column - 2))
        last = min(self.width, max(left + width + MARGIN, column + 3))
        bars = self._weights[0, 0, row, first:last]
        colours = viridis()[(bars * 255).round().long()]
        colours[self._hole[0, 0, row, first:last] == 0] = (205, 209, 216)
        code = self._code[0, 0, row, first:last].tolist()
        outline = [None if math.isnan(weight) else weight for weight in code]
        shares = ", ".join(f"{100 * r['weight']:.0f}" for r in self.shown["rings"])
        lines = [
            f"weights along row {row}; line: published code",
            f"pixels 1, 2, 3-4, 5-8, > 8 deep hold {shares} %",
        ]
        return chart(bars.tolist(), colours, lines, column - first, height, outline)

    def __repr__(self) -> str:
        shown = self.shown
        shares = " ".join(f"{100 * ring['weight']:.1f}" for ring in shown["rings"])
        return (
            f"DiscountExplorer(gamma {shown['gamma']:g}, hole {shown['pixels']} px, "
            f"deepest {shown['deepest']['distance']:.1f} px, weight there "
            f"{shown['deepest']['weight']:.3f}, mean weight {shown['mean']:.3f}; row "
            f"{shown['row']}, column {shown['column']}: {shown['distance']:.1f} px, "
            f"weight {shown['weight']:.3f}; rings 1, 2, 3–4, 5–8, > 8 hold {shares} % "
            f"of the weight; published code differs on {shown['code']['differs']} px)"
        )

    # ---- the hole -----------------------------------------------------------------

    def _first_shapes(self) -> tuple[Tensor, dict[str, Box]]:
        """A square and a stroke, both in the middle."""
        height, width = self.height, self.width
        generator = torch.Generator().manual_seed(STROKES_SEED)
        room = (max(1, round(0.6 * height)), max(1, round(0.6 * width)))
        for _ in range(50):  # one that is whole: not cut at the border
            drawn = holes.strokes(
                1, room, generator, per_picture=(1, 1), width=(0.2, 0.3)
            )
            if not holes.touches_border(drawn):
                break
        top, left, tall, wide = box_of(drawn)
        boxes = {
            "rectangle": box_of(self._hole),
            "free-form": ((height - tall) // 2, (width - wide) // 2, tall, wide),
        }
        return drawn[0, 0, top : top + tall, left : left + wide], boxes

    def _read_hole(self, hole: Tensor) -> tuple[str, Box, Tensor]:
        if not hole.any():
            raise WidgetError("The hole is empty: there is nothing to weigh.")
        box = top, left, height, width = box_of(hole)
        cut = hole[0, 0, top : top + height, left : left + width]
        if cut.all():
            return "rectangle", box, self._pattern
        return "free-form", box, cut

    def _check_box(self, box: Box, shape: str, pattern: Tensor) -> None:
        top, left, height, width = box
        inside = 0 <= top <= self.height - height and 0 <= left <= self.width - width
        if min(height, width) < 1 or not inside:
            raise WidgetError(
                f"a hole of {height} x {width} px at row {top}, column {left} does not "
                f"fit a picture of {self.height} x {self.width}"
            )
        if shape == "free-form" and (height, width) != pattern.shape:
            tall, wide = pattern.shape
            raise WidgetError(f"this free-form hole stays {tall} x {wide} px")

    def _carried(self, shape: str, box: Box) -> tuple[int, int] | None:
        """The asked pixel, taken along by a hole that moves; None: the deepest."""
        old = self._boxes[self._shape]
        if self._asked is None or shape != self._shape or old[2:] != tuple(box[2:]):
            return self._asked
        row, column = self._asked[0] + box[0] - old[0], self._asked[1] + box[1] - old[1]
        return min(max(row, 0), self.height - 1), min(max(column, 0), self.width - 1)

    # ---- changing and telling -----------------------------------------------------

    def _change(
        self,
        gamma: float,
        shape: str,
        box: Box,
        asked: tuple[int, int] | None,
        pattern: Tensor | None = None,
    ) -> None:
        """Take a whole new state; nothing changes when a part of it is wrong."""
        pattern = self._pattern if pattern is None else pattern
        self._check_box(box, shape, pattern)
        top, left, height, width = box
        hole = torch.zeros(1, 1, self.height, self.width)
        hole[..., top : top + height, left : left + width] = (
            pattern if shape == "free-form" else 1
        )
        weights = discount_weights(hole, gamma)
        self._hole, self._weights, self._gamma = hole, weights, gamma
        self._distance, self._code = (
            holes.distance(hole),
            published_weights(hole, gamma),
        )
        self._shape, self._pattern, self._asked = shape, pattern, asked
        self._boxes = self._boxes | {shape: box}
        self._publish()

    def _publish(self) -> None:
        away, weights = self._distance[0, 0], self._weights[0, 0]
        deepest = self._pixel_facts(*divmod(int(away.argmax()), self.width))
        asked = self._pixel_facts(*self._asked) if self._asked else deepest
        along = away[asked["row"]]
        facts = {
            **asked,
            "gamma": self._gamma,
            "shape": self._shape,
            "box": list(self._boxes[self._shape]),
            "pixels": int(self._hole.sum()),
            "mean": float(weights[self._hole[0, 0].bool()].mean()),
            "halving": math.log(0.5, self._gamma) if self._gamma < 1 else None,
            "deepest": deepest,
            "deepest_in_row": self._pixel_facts(asked["row"], int(along.argmax())),
            "rings": self._ring_facts(),
            "code": self._code_facts(),
        }
        with self.hold_sync():
            self.set_trait("shown", facts)
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
            self.set_trait("weights_bytes", self._weights.numpy().tobytes())
            self.set_trait("code_bytes", self._code.numpy().tobytes())

    def _pixel_facts(self, row: int, column: int) -> dict[str, Any]:
        return {
            "row": row,
            "column": column,
            "distance": float(self._distance[0, 0, row, column]),
            "weight": float(self._weights[0, 0, row, column]),
        }

    def _ring_facts(self) -> list[dict[str, Any]]:
        """Shares of the hole's weight and of its pixels, ring by ring."""
        missing = self._hole.bool()
        away, weights = self._distance[missing], self._weights[missing]
        found = []
        for label, (low, high) in zip(RING_LABELS, RINGS, strict=True):
            here = (away > low) & (away <= high)
            weight = float(weights[here].sum() / weights.sum())
            pixels = float(here.double().mean())
            found.append({"label": label, "weight": weight, "pixels": pixels})
        return found

    def _code_facts(self) -> dict[str, Any]:
        """Where the published code gives a missing pixel another weight.

        ``known`` counts the known pixels inside the box, which it weighs too.
        """
        missing, boxed = self._hole.bool(), ~self._code.isnan()
        gap = (self._code - self._weights).abs()[missing]
        return {
            "differs": int((gap > 1e-6).sum()),
            "most": float(gap.max()),
            "known": int((boxed & ~missing).sum()),
        }
