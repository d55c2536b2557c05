"""The kernel explorer: which kernels a layer makes for a window (lesson 07)."""

import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from course_lib.evaluation import hole_l1
from course_lib.networks import Cascade
from course_lib.networks.reading import device_of, evaluating
from course_lib.pictures import QUERY, Picture, grid, hatched, to_pixels
from course_lib.tensors import check_pair, composite, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.kernel_reading import (
    ALL,
    KernelLevel,
    mask_features,
    read_levels,
)
from course_lib.widgets.pixel_explorer import (
    INK,
    Box,
    PixelExplorer,
    around,
    coloured,
    cut,
    dimmed,
    framed,
    loaded,
    placed,
    viridis,
)

NETWORK = "cascade"
TINT = 0.85  # how strongly the map covers the photo
MINUS, PLUS, NEUTRAL = (31, 84, 158), (150, 79, 10), (245, 245, 243)
STILL_WIDTH = 780


class KernelExplorer(PixelExplorer):
    """Drag a hole under a window and see the kernels that the layer makes for it.

    ``network``: a ``Cascade`` of mask-aware layers, or the name of a shipped one; it is
    read at the start, so make a new explorer after training it on. ``image``:
    ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, or the name of a bundled photo, of
    which the central square is shown at ``size``. ``hole``: ``(1, 1, H, W)``, 1 =
    missing; by default a square in the middle.

    ``look`` asks about a window of a level or about one output channel, ``cut`` moves
    the hole, as the page does. ``kernels`` are those of the window, ``full_kernels``
    those of a window that knows everything, ``similarity`` compares them at every place
    of the level; ``answers`` are the cascade's. Raises ``WidgetError``,
    ``ContractError`` or ``ZooError`` and then changes nothing.
    """

    _esm = module("pixel_explorer", "hole_canvas", "weights", "kernel_explorer")
    asks: ClassVar = {
        "look": "look",
        "level": "level",
        "channel": "look",
        "drag": "cut",
        "place": "cut",
    }
    colours = traitlets.Bytes(read_only=True).tag(sync=True)
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    truth_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    kernel_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    full_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    similarity_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    answers_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        network: nn.Module | str = NETWORK,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        *,
        size: int = 128,
        title: str = "Which kernel does this window get?",
    ) -> None:
        self._network = loaded(network)
        self._levels = read_levels(self._network)
        super().__init__(image, hole, size=size, title=title)
        self._answers: list[Tensor] | None = self._answer(self._hole)
        self._features = mask_features(self._network, self._hole)
        self._pattern, self._box = cut(self._hole)
        self._index = 0
        self._channel: int | None = None  # None: all, as means over the inputs
        self._anchor = (0, 0)  # the middle of the asked window, in pixels
        self._publish_choices()
        self._publish_hole()
        self.look()

    @property
    def levels(self) -> list[KernelLevel]:
        """What each level can make, the finest first."""
        return self._levels

    @property
    def kernels(self) -> Tensor:
        """The kernels of the asked window, ``(out, in, k, k)``."""
        return self._level.kernels(self._here)

    @property
    def full_kernels(self) -> Tensor:
        """Those of a window that knows everything, far from the border."""
        return self._level.kernels(self._level.full)

    @property
    def similarity(self) -> Tensor:
        """``(h, w)``: at each place of the level the cosine to ``full_kernels``."""
        return self._level.compared(self._features[self._index][0])[0]

    @property
    def answers(self) -> list[Tensor]:
        """The photo with the answer of each decoder in its hole, coarse to fine."""
        if self._answers is None:  # the hole was only dragged
            self._answers = self._answer(self._hole)
        return self._answers

    def look(
        self,
        level: int | None = None,
        row: int | None = None,
        column: int | None = None,
        *,
        channel: int | str | None = None,
    ) -> "KernelExplorer":
        """Ask about a window; without anything, half-way down the hole's left edge.

        ``level`` counts from 1, the finest; alone it keeps the place. ``row`` and
        ``column`` count windows of that level. ``channel`` of the output shows the
        kernel of each input, "all" the mean over the inputs for every output; alone it
        keeps the place. Returns the explorer.
        """
        index = self._index if level is None else self._find(level)
        chosen = self._checked(index, channel)
        anchor = self._anchor
        if row is not None or column is not None:
            anchor = self._middle(index, row, column)
        elif level is None and channel is None:
            anchor = self._at_edge()
        self._index, self._channel, self._anchor = index, chosen, anchor
        self._tell()
        return self

    def level(self, number: int) -> "KernelExplorer":
        """Show another level at the same place; returns the explorer."""
        return self.look(number)

    def cut(
        self,
        box: Box | None = None,
        *,
        hole: Tensor | None = None,
        answers: bool = True,
    ) -> "KernelExplorer":
        """Move the hole under the window, which stays; returns the explorer.

        ``box`` is (top, left, height, width) in pixels; only a rectangle takes another
        height and width. ``hole`` is a whole new one, ``(1, 1, H, W)``. Without
        ``answers`` the cascade does not run before they are asked for: kernels need
        the hole alone.
        """
        pattern, place = self._cutting(box, hole)
        top, left, height, width = place
        new = torch.zeros(1, 1, self.height, self.width)
        new[..., top : top + height, left : left + width] = pattern
        check_pair(self._image, new)
        found = self._answer(new) if answers else None
        self._features = mask_features(self._network, new)
        self._answers, self._hole = found, new
        self._pattern, self._box = pattern, place
        with self.hold_sync():
            self._publish_hole()
            self._tell()
        return self

    # ---- what is asked ------------------------------------------------------------

    def _find(self, level: int) -> int:
        last = len(self._levels)
        if not isinstance(level, int) or not 1 <= level <= last:
            raise WidgetError(
                f"no level {level!r}; there are 1 to {last}, 1 the finest"
            )
        return level - 1

    def _checked(self, index: int, channel: int | str | None) -> int | None:
        """The channel to show; one that a level does not have becomes all."""
        count = len(self._levels[index].parts[0])
        if channel is None:
            own = self._channel
            return own if own is not None and own < count else None
        if channel == ALL:
            return None
        if not isinstance(channel, int) or not 0 <= channel < count:
            raise WidgetError(
                f"channel {channel!r}: level {index + 1} has output channels 0 to "
                f'{count - 1}; or "{ALL}"'
            )
        return channel

    def _middle(
        self, index: int, row: int | None, column: int | None
    ) -> tuple[int, int]:
        """The pixel in the middle of a window."""
        size = self._features[index].shape[-2:]
        for name, value, count in zip(
            ("row", "column"), (row, column), size, strict=True
        ):
            if not isinstance(value, int) or not 0 <= value < count:
                raise WidgetError(
                    f"{name} {value!r} is not between 0 and {count - 1}: level "
                    f"{index + 1} has {size[0]} x {size[1]} windows; give a row and a "
                    "column"
                )
        stride = self._levels[index].stride
        return stride * cast(int, row), stride * cast(int, column)

    def _at_edge(self) -> tuple[int, int]:
        """The pixel half-way down the left edge of the hole's box, or in the middle."""
        top, left, height, _ = self._box
        if not height:
            return self.height // 2, self.width // 2
        return top + height // 2, left

    def _cutting(self, box: Box | None, hole: Tensor | None) -> tuple[Tensor, Box]:
        """The pattern of the new hole and its box."""
        if hole is not None and box is None:
            hole = hole[:1].detach().float().cpu()
            check_pair(self._image, hole)
            return cut(hole)
        if hole is not None or box is None or len(box) != 4:
            raise WidgetError(
                f"box {box!r} with{'out' if hole is None else ''} a hole: give either "
                "box=(top, left, height, width) in pixels, or hole=a tensor"
            )
        pattern = self._pattern if self._pattern.numel() else torch.ones(1, 1)
        return placed(pattern, box, self.height, self.width)

    @torch.no_grad()
    def _answer(self, hole: Tensor) -> list[Tensor]:
        network = cast(Cascade, self._network)
        at = device_of(network)
        with evaluating(network):
            made = network.stages(self._image.to(at), hole.to(at))
        return [composite(x.float().cpu(), self._image, hole) for x in made]

    # ---- changing and telling -----------------------------------------------------

    @property
    def _level(self) -> KernelLevel:
        return self._levels[self._index]

    @property
    def _place(self) -> tuple[int, int]:
        """The window of this level whose middle is nearest to the asked place."""
        stride, size = self._level.stride, self._features[self._index].shape[-2:]
        row, column = (
            min((k + stride // 2) // stride, n - 1)
            for k, n in zip(self._anchor, size, strict=True)
        )
        return row, column

    @property
    def _here(self) -> Tensor:
        row, column = self._place
        return self._features[self._index][0, :, row, column]

    def _publish_choices(self) -> None:
        """What does not change: the levels, the decoders and the colours."""
        levels = [
            {
                "number": level.number,
                "size": list(features.shape[-2:]),
                "stride": level.stride,
                "side": level.side,
                "outputs": level.parts.shape[1],
                "inputs": level.inputs,
                "kernel": level.parts.shape[-1],
            }
            for level, features in zip(self._levels, self._features, strict=True)
        ]
        with self.hold_sync():
            self.set_trait("colours", viridis().tobytes())
            self.set_trait("truth_bytes", to_pixels(self._image).tobytes())
            controls = {"levels": levels, "decoders": self._decoders, "tint": TINT}
            self.set_trait("controls", controls)

    @property
    def _decoders(self) -> list[str]:
        count = len(cast(Cascade, self._network).refinements)
        return ["recovery", *(f"refinement {k + 1}" for k in range(count))]

    def _publish_hole(self) -> None:
        """What the hole changes; old answers stay until there are new ones."""
        given = to_pixels(hide(self._image, self._hole))
        self.set_trait("image_bytes", given.tobytes())
        self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
        if self._answers is not None:
            made = b"".join(to_pixels(answer).tobytes() for answer in self._answers)
            self.set_trait("answers_bytes", made)

    def _tell(self) -> None:
        """The asked window: its kernels, and how like the known one each place is."""
        row, column = self._place
        cosine, ratio = self._level.compared(self._features[self._index][0])
        facts = {
            **self._facts(row, column),
            "answered": self._answers is not None,
            "cosine": float(cosine[row, column]),
            "ratio": float(ratio[row, column]),
            "errors": self._errors(),
        }
        with self.hold_sync():
            self.set_trait("kernel_bytes", _floats(self._tiles(self.kernels)))
            self.set_trait("full_bytes", _floats(self._tiles(self.full_kernels)))
            self.set_trait("similarity_bytes", _floats(cosine))
            self.set_trait("shown", facts)

    def _facts(self, row: int, column: int) -> dict[str, Any]:
        level = self._level
        inside = int(level.counted(torch.ones_like(self._hole))[row, column])
        known = int(level.counted(1 - self._hole)[row, column])
        return {
            "level": level.number,
            "row": row,
            "column": column,
            "middle": [level.stride * k for k in (row, column)],
            "window": list(level.window(row, column)),
            "known": known,
            "missing": inside - known,
            "beyond": level.side**2 - inside,
            "active": int((self._here > 0).sum()),
            "features": len(self._here),
            "channel": ALL if self._channel is None else self._channel,
            "limit": level.limits[ALL if self._channel is None else "one"],
            "box": list(self._box),
            "rectangle": bool(self._pattern.all()) and self._box[2] > 0,
            "share": float(self._hole.mean()),
        }

    def _errors(self) -> list[float] | None:
        """The hole's L1 of each answer; None while there is none or no truth."""
        if self._answers is None:
            return None
        errors = [float(hole_l1(x, self._image, self._hole)) for x in self._answers]
        return None if any(error != error for error in errors) else errors

    def _tiles(self, kernels: Tensor) -> Tensor:
        """What is drawn of kernels ``(out, in, k, k)``: ``(tiles, k, k)``."""
        return kernels.mean(1) if self._channel is None else kernels[self._channel]

    # ---- the still ----------------------------------------------------------------

    def still(self) -> Picture:
        """Window, similarity, both kernels; below, the cascade's answers and facts."""
        above = _beside(self._still_maps(), self._still_kernels())
        below = _beside(self._still_answers(), self._still_lines())
        return Picture(np.concatenate([above, below]), repr(self))

    def _still_maps(self) -> np.ndarray:
        given, shown = hide(self._image, self._hole), self.shown
        stride = self._level.stride
        cells = self.similarity
        rows, columns = (
            ((torch.arange(n) + stride // 2) // stride).clamp(max=count - 1)
            for n, count in zip(given.shape[-2:], cells.shape, strict=True)
        )
        field = coloured(unlike(cells)[rows[:, None], columns][None, None])
        over = dimmed(given) + TINT * (field - dimmed(given))
        columns_ = {
            f"{100 * shown['share']:.1f} % missing": hatched(given, self._hole),
            f"cosine here: {shown['cosine']:.2f}": over,
        }
        window, ink = _visible(shown["window"], self.height, self.width), _rgb(QUERY)
        columns_ = {k: framed(v, window, ink) for k, v in columns_.items()}
        return grid(columns_, scale=190 / max(self.height, self.width)).pixels

    def _still_kernels(self) -> np.ndarray:
        """The tiles of this window, and below them those of one that knows all."""
        what = "outputs" if self._channel is None else f"inputs of {self._channel}"
        parts = []
        for name, kernels in (
            (f"kernels made here ({what})", self.kernels),
            ("when nothing is missing", self.full_kernels),
        ):
            tiles = self._tiles(kernels) / self.shown["limit"]
            mosaic = _mosaic(tiles, 380, 84)
            paper = Image.new("RGB", (382, mosaic.shape[0] + 20), "white")
            draw = ImageDraw.Draw(paper)
            draw.text((0, 2), name, fill=INK, font=ImageFont.load_default(12))
            paper.paste(Image.fromarray(mosaic), (0, 20))
            parts.append(np.asarray(paper))
        return np.concatenate(parts)

    def _still_answers(self) -> np.ndarray:
        made, errors = self.answers, self._errors()
        columns = {"truth": self._image}
        for k, name in enumerate(self._decoders):
            columns[name if errors is None else f"{name}: {errors[k]:.3f}"] = made[k]
        top, left, side, _ = around(self._box, self.height, self.width)
        cut_out = {
            name: value[..., top : top + side, left : left + side]
            for name, value in columns.items()
        }
        tile = min(118, 470 // len(cut_out) - 6)
        resized = {
            name: F.interpolate(
                value, (tile, tile), mode="bilinear", align_corners=False
            )
            for name, value in cut_out.items()
        }
        return grid(resized, scale=1).pixels

    def _still_lines(self) -> np.ndarray:
        shown = self.shown
        lines = [
            f"level {shown['level']}, window at row {shown['row']}, column "
            f"{shown['column']}",
            _known(shown),
            f"to the known kernel: cosine {shown['cosine']:.2f},",
            f"{shown['ratio']:.2f} times as long",
            f"{shown['active']} of {shown['features']} mask features above 0",
            f"weights: blue -, brown +, up to {shown['limit']:.2f}",
            "map: cosine 1 dark, 0 bright; answers: L1",
        ]
        paper = Image.new("RGB", (300, 20 + 18 * len(lines)), "white")
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
        for k, line in enumerate(lines):
            draw.text((0, 8 + 18 * k), line, fill=INK, font=font)
        return np.asarray(paper)

    def __repr__(self) -> str:
        shown = self.shown
        which = (
            f"all {len(self._level.parts[0])} output channels"
            if self._channel is None
            else f"output channel {self._channel}"
        )
        return (
            f"kernel explorer: level {shown['level']}, window at row {shown['row']}, "
            f"column {shown['column']}: {_known(shown)}; its kernels have cosine "
            f"{shown['cosine']:.2f} to those of a window that knows everything and "
            f"are {shown['ratio']:.2f} times as long; {shown['active']} of "
            f"{shown['features']} mask features above 0; {which}; "
            f"{100 * shown['share']:.1f} % of the photo missing"
        )


def _known(shown: dict[str, Any]) -> str:
    total = shown["known"] + shown["missing"] + shown["beyond"]
    beyond = f", {shown['beyond']} beyond the border" if shown["beyond"] else ""
    return f"{shown['known']} of its {total} pixels known{beyond}"


def _floats(value: Tensor) -> bytes:
    return value.contiguous().float().numpy().tobytes()


def _visible(window: list[int], height: int, width: int) -> Box:
    """The part of a window that lies in the picture."""
    top, left, tall, wide = window
    bottom, right = min(top + tall, height), min(left + wide, width)
    top, left = max(top, 0), max(left, 0)
    return top, left, bottom - top, right - left


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def unlike(cosine: Tensor) -> Tensor:
    """How unlike two kernels are, by their angle: 0 the same, 1 from 90 degrees on."""
    return cosine.clamp(0, 1).acos() / (math.pi / 2)


def signed(values: np.ndarray) -> np.ndarray:
    """Values from -1 to 1 in blue, white and brown; uint8 with a last axis of 3."""
    share = np.abs(values).clip(0, 1)[..., None]
    ends = np.where(values[..., None] < 0, MINUS, PLUS)
    return (NEUTRAL + share * (ends - np.asarray(NEUTRAL))).round().astype(np.uint8)


def _mosaic(tiles: Tensor, width: int, height: int) -> np.ndarray:
    """Tiles ``(n, k, k)`` from -1 to 1 as rows of squares that fit; uint8 RGB."""
    count, side = len(tiles), tiles.shape[-1]
    gap = 5
    sides = [
        min((width + gap) / n - gap, (height + gap) / -(-count // n) - gap)
        for n in range(1, count + 1)
    ]
    most = max(range(count), key=lambda n: sides[n]) + 1
    cell = max(1, int(sides[most - 1] // side))
    step = cell * side + gap
    rows = -(-count // most)
    canvas = np.full((rows * step, width, 3), 255, np.uint8)
    for k, tile in enumerate(signed(tiles.numpy())):
        top, left = (k // most) * step, (k % most) * step
        large = tile.repeat(cell, 0).repeat(cell, 1)
        canvas[top : top + len(large), left : left + len(large)] = large
    return canvas


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures in a row, filled with white up to the width of the still."""
    height = max(len(left), len(right)) + 8
    parts = [
        np.pad(part, ((0, height - len(part)), (0, wide), (0, 0)), constant_values=255)
        for part, wide in ((left, 12), (right, 0))
    ]
    both = np.concatenate(parts, 1)
    room = ((0, 0), (0, max(0, STILL_WIDTH - both.shape[1])), (0, 0))
    return np.pad(both, room, constant_values=255)
