"""The reading explorer: what an output pixel reads, and what a fill colour changes.

Lesson 03 builds its measures; the lessons after it compare their layers with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from course_lib import holes
from course_lib.networks.reading import (
    device_of,
    evaluating,
    influence,
    receptive_field,
)
from course_lib.pictures import Picture, grid, hatched, to_pixels
from course_lib.tensors import ContractError, composite, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.pixel_explorer import (
    STILL,
    PixelExplorer,
    chart,
    dimmed,
    framed,
    loaded,
    marked,
)

NETWORK = "plain_unet"
MASS = 0.95  # of the influence, in the smallest square that holds it
NEAR = 8  # pixels: what counts as near
DECADES = 3  # the overlay ends at a thousandth of the strongest influence
FILLS = (0, 0.25, 0.5, 0.75, 1, "noise")
NOISE_SEED = 0
TEAL = (22, 194, 176)

Fill = float | str


class ReadingExplorer(PixelExplorer):
    """Click an output pixel: what of the photo moved it, and how far away that is.

    ``network``: ``(image, hole) -> image``, or the name of a shipped one. ``image``:
    ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, whatever lies under the hole, or the
    name of a bundled photo, of which the central square is shown at ``size``.
    ``hole``: ``(1, 1, H, W)``, 1 = missing; by default a square in the middle.

    ``look`` asks for a pixel as a click does. ``sweep`` hides the hole with another
    colour, 0 to 1, or "noise", if the network's ``fill`` is one; it is put back after
    each answer. ``influence``, ``output``, ``filled`` and ``changes`` are for the next
    cell. Raises ``WidgetError`` or ``ContractError`` and then changes nothing.
    """

    _esm = module("pixel_explorer", "reading_explorer")
    asks: ClassVar = {"look": "look", "sweep": "sweep"}
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    influence_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    given_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    filled_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    gap_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    changes = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        network: nn.Module | str = NETWORK,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        *,
        size: int = 128,
        title: str = "What does this pixel read?",
    ) -> None:
        super().__init__(image, hole, size=size, title=title)
        self._network = loaded(network)
        if not self._hole.any() or self._hole.all():
            raise WidgetError("The hole must leave something known and something not.")
        self._distance = holes.distance(self._hole)
        trained = getattr(self._network, "fill", None)
        none = trained is None or trained == "nearest"
        self._trained = None if none else float(cast(float, trained))
        self._plain = self._answer_to(self._trained)
        fills = [] if self._trained is None else list(FILLS)
        steps = {"fills": fills, "trained": self._trained, "decades": DECADES}
        self.set_trait("controls", {**steps, "mass": MASS, "near": NEAR})
        self._change(*self._deepest(), self._trained)

    @property
    def influence(self) -> Tensor:
        """How strongly each input pixel moves the asked one, ``(1, 1, H, W)``."""
        return self._influence

    @property
    def output(self) -> Tensor:
        """The network's raw prediction at the fill on show, ``(1, 3, H, W)``."""
        return self._output

    @property
    def filled(self) -> Tensor:
        """The photo with the prediction in its hole, ``(1, 3, H, W)``."""
        return composite(self._output, self._image, self._hole)

    @property
    def change(self) -> float:
        """Mean absolute difference in the hole to the answer at the trained fill."""
        return self._change_of(self._output)

    def look(
        self, row: int | None = None, column: int | None = None
    ) -> "ReadingExplorer":
        """Ask about an output pixel; without one, about the deepest in the hole.

        Returns the explorer. Raises ``WidgetError`` for a pixel outside the picture.
        """
        place = self._pixel_of(row, column) or self._deepest()
        self._change(*place, self._fill)
        return self

    def sweep(self, fill: Fill | None = None) -> "ReadingExplorer":
        """Hide the hole with another colour; without one, with the trained one.

        Returns the explorer; ``change`` says what it changed, and ``changes`` what
        each of the usual colours does. Raises ``WidgetError`` for a network without
        a fill, and for a colour that is none.
        """
        if self._trained is None:
            raise WidgetError("This network has no fill colour that could be changed.")
        fill = self._trained if fill is None else fill
        number = isinstance(fill, int | float) and 0 <= fill <= 1
        if not number and fill != "noise":
            raise WidgetError(f"fill {fill!r} is neither between 0 and 1 nor 'noise'")
        if not self.changes:
            found = {str(f): self._change_of(self._answer_to(f)) for f in FILLS}
            self.set_trait("changes", found)
        self._change(self.shown["row"], self.shown["column"], fill)
        return self

    def still(self) -> Picture:
        """What the pixel reads and the answer; with another fill, what it changes."""
        shown, swept = self.shown, self._fill != self._trained
        place = shown["row"], shown["column"]
        left = self._given() if swept else self._still_reading()
        name = f"hidden by {self._fill}" if swept else "read by the marked pixel"
        columns = {name: marked(left, *place), "answer": marked(self.filled, *place)}
        side = STILL / max(self.height, self.width)
        pair = grid(columns, scale=side if side < 1 else max(1, round(side))).pixels
        height = pair.shape[0]
        right = self._still_changes(height) if swept else self._still_row(height)
        gap = np.full((height, 12, 3), 255, np.uint8)
        return Picture(np.concatenate([pair, gap, right], 1), repr(self))

    def _still_reading(self) -> Tensor:
        strength = 0.92 * self._strength()
        under = hatched(dimmed(self._given()), self._hole)
        teal = torch.tensor(TEAL).view(3, 1, 1) / 255
        return framed(
            under * (1 - strength) + teal * strength, self.shown["square"], TEAL
        )

    def _still_row(self, height: int) -> np.ndarray:
        bars = self._strength()[0, 0, self.shown["row"]].tolist()
        levels = [(1 - k / DECADES, f"1/{10**k}") for k in range(1, DECADES + 1)]
        return chart(
            bars,
            np.tile(np.array([TEAL], np.uint8), (self.width, 1)),
            [f"influence along row {self.shown['row']}, 1 = strongest of all"],
            self.shown["column"],
            height,
            levels=[(1, "1"), *levels],
            width=300,
        )

    def _still_changes(self, height: int) -> np.ndarray:
        bars, names = list(self.changes.values()), list(self.changes)
        marker = names.index(str(self._fill)) if str(self._fill) in names else None
        lines = [f"fills: {', '.join(names)}", "change of the answer in the hole"]
        colours = np.tile(np.array([[92, 122, 160]], np.uint8), (len(bars), 1))
        return chart(bars, colours, lines, marker, height, width=300)

    def __repr__(self) -> str:
        shown = self.shown
        field, square = shown["field"], shown["square"]
        theory = f"{max(field[2:])} px in theory" if field else "no limit known"
        text = (
            f"ReadingExplorer(row {shown['row']}, column {shown['column']}, "
            f"{shown['distance']:.1f} px from the nearest known pixel: "
        )
        if square is None:
            text += "reads nothing"
        else:
            text += (
                f"{MASS:.0%} of its influence within {max(square[2:])} px a side, "
                f"{theory}; {shown['near']:.0%} within {NEAR} px; "
                f"{_exactly(shown['under'])} from under the hole"
            )
        if self._fill != self._trained:
            text += f"; fill {self._fill} changes the hole by {_levels(self.change)}"
        return text + ")"

    # ---- asking the network -------------------------------------------------------

    def _deepest(self) -> tuple[int, int]:
        row, column = divmod(int(self._distance.argmax()), self.width)
        return row, column

    def _colour_of(self, fill: Fill | None) -> float | Tensor:
        if fill != "noise":
            return float(fill or 0)
        generator = torch.Generator().manual_seed(NOISE_SEED)
        return torch.rand(self._image.shape, generator=generator)

    @contextmanager
    def _hidden_by(self, fill: Fill | None) -> Iterator[tuple[Tensor, Tensor]]:
        """The photo and hole for the network, which finds ``fill`` in the hole."""
        device = device_of(self._network)
        pair = self._image.to(device), self._hole.to(device)
        if fill is None:  # the network has no fill
            yield pair
            return
        kept = self._network.fill
        colour = self._colour_of(fill)
        moved = colour.to(device) if isinstance(colour, Tensor) else colour
        self._network.fill = moved  # type: ignore[assignment]
        try:
            yield pair
        finally:
            self._network.fill = kept

    def _answer_to(self, fill: Fill | None) -> Tensor:
        with self._hidden_by(fill) as pair, evaluating(self._network), torch.no_grad():
            found: Tensor = self._network(*pair).float().cpu()
        return found

    def _change_of(self, output: Tensor) -> float:
        return float((output - self._plain).abs().mean(1)[self._hole[:, 0] > 0].mean())

    def _given(self) -> Tensor:
        colour = 0.5 if self._fill is None else self._colour_of(self._fill)
        return hide(self._image, self._hole, colour)

    # ---- telling ------------------------------------------------------------------

    def _change(self, row: int, column: int, fill: Fill | None) -> None:
        """Take a new pixel and fill; nothing changes when the network fails."""
        with self._hidden_by(fill) as pair:
            output, gradient = influence(self._network, *pair, row, column)
        self._output, self._influence = output.float().cpu(), gradient.float().cpu()
        self._fill = fill
        gap = (self._output - self._plain).abs().mean(1, keepdim=True)
        given = self._given()
        with self.hold_sync():
            self.set_trait("shown", self._facts(row, column))
            self.set_trait("influence_bytes", self._strength().numpy().tobytes())
            self.set_trait("given_bytes", to_pixels(given).tobytes())
            self.set_trait("filled_bytes", to_pixels(self.filled).tobytes())
            self.set_trait("gap_bytes", (gap * self._hole).numpy().tobytes())

    def _strength(self) -> Tensor:
        """Influence for the eye: 1 the strongest, 0 a thousandth of it or less."""
        most = self._influence.max()
        if not most > 0:
            return torch.zeros_like(self._influence)
        return (1 + (self._influence / most).log10() / DECADES).clamp(0, 1)

    def _facts(self, row: int, column: int) -> dict[str, Any]:
        total = float(self._influence.double().sum())
        field = self._field(row, column)
        facts = {
            "row": row,
            "column": column,
            "missing": bool(self._hole[0, 0, row, column]),
            "distance": float(self._distance[0, 0, row, column]),
            "field": field,
            "square": None,
            "near": 0.0,
            "under": 0.0,
            "fill": self._fill,
            "change": self.change,
            "most": float((self._output - self._plain).abs().mean(1).amax()),
        }
        if total > 0:
            share = self._influence[0, 0].double() / total
            facts["square"] = smallest_square(share, MASS)
            facts["near"] = float(share[self._away(row, column) <= NEAR].sum())
            facts["under"] = float(share[self._hole[0, 0] > 0].sum())
        return facts

    def _away(self, row: int, column: int) -> Tensor:
        rows = torch.arange(self.height)[:, None] - row
        columns = torch.arange(self.width)[None] - column
        return (rows.square() + columns.square()).sqrt()

    def _field(self, row: int, column: int) -> list[int] | None:
        try:
            return list(receptive_field(self._network, row, column))
        except ContractError:
            return None


def smallest_square(share: Tensor, mass: float) -> list[int]:
    """Top, left, height, width of the smallest square that holds this share of it all.

    ``share (H, W)``, not negative. Of equally small ones that with the most; as high
    and as wide as the picture at most.
    """
    total = float(share.sum())
    low, high = 1, max(share.shape)
    while low < high:  # a larger square never holds less
        middle = (low + high) // 2
        enough = float(_held(share, middle).max()) >= mass * total
        low, high = (low, middle) if enough else (middle + 1, high)
    held = _held(share, low)
    top, left = divmod(int(held.argmax()), held.shape[1])
    return [top, left, min(low, share.shape[0]), min(low, share.shape[1])]


def _held(share: Tensor, side: int) -> Tensor:
    """What each square of a side holds, from sums over all that is above and left."""
    height, width = (min(side, n) for n in share.shape)
    sums = F.pad(share.cumsum(0).cumsum(1), (1, 0, 1, 0))
    rows = sums[height:] - sums[:-height]
    return rows[:, width:] - rows[:, :-width]


def _exactly(value: float) -> str:
    return "exactly 0" if value == 0 else f"{value:.2%}"


def _levels(change: float) -> str:
    return "exactly 0" if change == 0 else f"{255 * change:.1f} of 255"
