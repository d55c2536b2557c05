"""The window explorer: what one output pixel of a layer reads, and how a hole closes.

Lesson 04 builds partial convolution with it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from course_lib.pictures import QUERY, READ, WRONG, Picture, grid, hatched, to_pixels
from course_lib.tensors import hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.pixel_explorer import (
    INK,
    PixelExplorer,
    dimmed,
    loaded,
    marked,
)
from course_lib.widgets.window_reading import (
    GREY,
    KNOWN,
    PADDING,
    Layer,
    record_layers,
    window_facts,
)

NETWORK = "partial_unet"
TINT = 0.3  # how strongly teal covers what is known
RIM = 0.8  # how white the outline of the photo's hole is, in the still
STILL_WIDTH = 820


class WindowExplorer(PixelExplorer):
    """Click an output pixel of any layer: its window, what of it is known, its value.

    ``network``: ``(image, hole) -> image`` with layers that read validity, such as
    ``UNet(conv=PartialConv2d)``, or the name of a shipped one. ``image``:
    ``(1, 3, H, W)`` in ``[0, 1]``, or the name of a bundled photo, of which the
    central square is shown at ``size``. ``hole``: ``(1, 1, H, W)``, 1 = missing; by
    default a square in the middle.

    ``layer`` shows another layer and keeps the place, ``look`` asks about one pixel of
    a layer's output, as a click does; ``layers`` holds what each was given. The
    network runs once, at the start. Raises ``WidgetError`` or ``ContractError`` and
    then changes nothing.
    """

    _esm = module("pixel_explorer", "window_explorer")
    asks: ClassVar = {"look": "look", "layer": "layer", "channel": "look"}
    first_side = 0.5  # the U-Net needs four layers to close it
    layer_facts: traitlets.List[dict[str, Any]] = traitlets.List(read_only=True).tag(
        sync=True
    )
    maps_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    given_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        network: nn.Module | str = NETWORK,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        *,
        size: int = 128,
        title: str = "What does this window know?",
    ) -> None:
        super().__init__(image, hole, size=size, title=title)
        self._given = hide(self._image, self._hole, GREY)
        self._layers = record_layers(loaded(network), self._image, self._hole)
        self._publish()
        self._middle = self._middle_of_hole()
        self._anchor = self._middle  # the asked place
        self._index, self._channel = 0, 0
        self.look()

    @property
    def layers(self) -> dict[str, Layer]:
        """What each layer was given and gave, by name, in the order they ran."""
        return {layer.name: layer for layer in self._layers}

    def look(
        self,
        layer: str | None = None,
        row: int | None = None,
        column: int | None = None,
        *,
        channel: int | None = None,
    ) -> "WindowExplorer":
        """Ask about an output pixel; without one, about the window that knows least.

        ``row`` and ``column`` count pixels of that layer's output; a window that knows
        nothing is not the least one. ``channel`` of the output is what the values are
        about; given alone, the place stays. Returns the explorer.
        """
        index = self._index if layer is None else self._find(layer)
        if row is None and column is None:
            alone = layer is None and channel is not None
            row, column = self._there(index) if alone else self._poorest(index)
        if row is None or column is None:
            raise WidgetError(
                f"row {row} and column {column}: give both of a pixel, or neither"
            )
        self._change(index, row, column, channel)
        if (row, column) != self._there(index):
            height, width = self._layers[index].size
            self._anchor = (row + 0.5) / height, (column + 0.5) / width
        return self

    def layer(self, name: str) -> "WindowExplorer":
        """Show another layer at the same place of the picture; returns the explorer."""
        index = self._find(name)
        self._change(index, *self._there(index), None)
        return self

    def still(self) -> Picture:
        """The hole and how it closes along the encoder; the asked window below."""
        strip = self._still_strip()
        width = strip.shape[1]
        parts = [strip, strip_legend(width), self._still_window(width)]
        return Picture(np.concatenate(parts), repr(self))

    def _still_strip(self) -> np.ndarray:
        shown = [n for n in self.layers if n.startswith("encoder")] or [*self.layers]
        shown = shown[:5]
        if self.shown["name"] not in shown:
            shown.append(self.shown["name"])
        side = min(128, STILL_WIDTH // (len(shown) + 1) - 6)
        tall = max(1, round(side * self.height / self.width))
        photo = F.interpolate(hatched(self._given, self._hole), (tall, side))
        columns = {f"hole: {_share(_unknown(1 - self._hole))}": photo}
        for name in shown:
            layer = self.layers[name]
            tile = self._still_tile(layer, (tall, side))
            left = _share(layer.unknown) if layer.unknown else "closed"
            columns[f"{name}: {left}"] = tile
        return grid(columns, scale=1).pixels

    def _still_tile(self, layer: Layer, size: tuple[int, int]) -> Tensor:
        """What is known after a layer; lines are drawn last, so that none is lost."""
        tile = F.interpolate(known_over(self._given, layer.valid), size)
        inside = F.interpolate(self._hole, size)
        rim = inside - (1 - F.max_pool2d(1 - inside, 3, 1, 1))
        tile = torch.where(rim > 0, tile + RIM * (1 - tile), tile)
        if layer.name != self.shown["name"]:
            return tile
        places = zip(("row", "column"), size, layer.size, strict=True)
        return marked(tile, *(int((self.shown[k] + 0.5) * n / m) for k, n, m in places))

    def _still_window(self, width: int) -> np.ndarray:
        shown, layer = self.shown, self._layers[self._index]
        paper = Image.new("RGB", (width, 182), "white")
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
        left = 0
        for name, taps in zip(layer.part_names, shown["taps"], strict=True):
            draw.text((left, 10), f"its window: {name}", fill=INK, font=font)
            draw_taps(draw, taps, layer.kernel, left, 30)
            left += 164
        for k, line in enumerate(self._still_lines()):
            draw.text((left, 30 + 18 * k), line, fill=INK, font=font)
        return np.asarray(paper)

    def _still_lines(self) -> list[str]:
        shown, layer = self.shown, self._layers[self._index]
        place = f"{layer.name}, row {shown['row']}, column {shown['column']}"
        read = f"{shown['read']} of {shown['total']} values in the window are known"
        legend = "teal, dot: known   red, cross: missing   open: beyond the border"
        strip = "above: the share still unknown after each layer"
        if shown["ratio"] is None:
            told = ["empty window: output 0, stays unknown"]
        else:
            told = [
                f"ratio {shown['total']} / {shown['read']} = {shown['ratio']:.2f}",
                f"output channel {shown['channel']}: {_number(shown['partial'])}",
                f"without the ratio: {_number(shown['zero'])}",
                f"plain convolution, hole filled by 0.5: {_number(shown['grey'])}",
            ]
        return [place, read, *told, legend, strip]

    def __repr__(self) -> str:
        shown, layer = self.shown, self._layers[self._index]
        height, width = layer.kernel
        places = [f"{n} of {height * width}" for n in shown["known"]]
        known = f"{places[0]} places known"
        if len(places) > 1:
            each = zip(places, layer.part_names, strict=True)
            known = "places known: " + ", ".join(f"{n} {name}" for n, name in each)
        ratio = shown["ratio"]
        told = "empty: output 0" if ratio is None else f"ratio {ratio:.2f}"
        return (
            f"window explorer: {layer.name}, {height} x {width} window at row "
            f"{shown['row']}, column {shown['column']}, {known}, {told}, "
            f"{100 * layer.unknown:.1f} % of the map unknown"
        )

    # ---- places -------------------------------------------------------------------

    def _middle_of_hole(self) -> tuple[float, float]:
        """In shares of the picture; of the picture when nothing is missing."""
        found = self._hole[0, 0].nonzero().double() + 0.5
        if not len(found):
            return 0.5, 0.5
        row, column = found.mean(0).tolist()
        return row / self.height, column / self.width

    def _find(self, name: str) -> int:
        names = [layer.name for layer in self._layers]
        short = name.removesuffix(".conv")
        if short not in names:
            raise WidgetError(f"no layer {name!r}; there are {', '.join(names)}")
        return names.index(short)

    def _poorest(self, index: int) -> tuple[int, int]:
        """The window that knows least, yet something; of equal ones the most central.

        Central in the hole. The border of the picture does not count as missing here.
        """
        share = self._layers[index].share
        least = share == torch.where(share > 0, share, 2).min()
        height, width = share.shape
        rows = (torch.arange(height) + 0.5)[:, None] / height - self._middle[0]
        columns = (torch.arange(width) + 0.5) / width - self._middle[1]
        away = torch.where(least, rows.square() + columns.square(), torch.inf)
        row, column = divmod(int(away.argmin()), width)
        return row, column

    def _there(self, index: int) -> tuple[int, int]:
        """The pixel of a layer's output that lies where the last one did."""
        (down, across), (height, width) = self._anchor, self._layers[index].size
        return min(int(down * height), height - 1), min(int(across * width), width - 1)

    # ---- changing and telling -----------------------------------------------------

    def _publish(self) -> None:
        facts, maps = [], []
        for layer in self._layers:
            found = layer.maps()
            maps += [map_.byte().numpy().tobytes() for map_ in found]
            parts = [
                {"name": name, "channels": x.shape[1], "unknown": _unknown(known)}
                for name, (x, _), known in zip(
                    layer.part_names, layer.parts, found[:-1], strict=True
                )
            ]
            facts.append(
                {
                    "name": layer.name,
                    "kernel": list(layer.kernel),
                    "stride": list(layer.stride),
                    "input": list(layer.input_size),
                    "output": list(layer.size),
                    "channels": layer.output.shape[1],
                    "parts": parts,
                    "unknown": layer.unknown,
                }
            )
        self.set_trait("layer_facts", facts)
        self.set_trait("maps_bytes", b"".join(maps))
        self.set_trait("given_bytes", to_pixels(self._given).tobytes())

    def _change(self, index: int, row: int, column: int, channel: int | None) -> None:
        """Take a whole new state; nothing changes when a part of it is wrong."""
        layer = self._layers[index]
        for name, value, size in zip(
            ("row", "column"), (row, column), layer.size, strict=True
        ):
            if not 0 <= value < size:
                raise WidgetError(
                    f"{name} {value} is not between 0 and {size - 1}: the output of "
                    f"{layer.name} has {layer.size[0]} x {layer.size[1]} pixels"
                )
        last = layer.output.shape[1] - 1
        if channel is None:
            channel = min(self._channel, last)
        if not 0 <= channel <= last:
            raise WidgetError(f"channel {channel} is not between 0 and {last}")
        facts = window_facts(layer, row, column, channel)
        self._index, self._channel = index, channel
        self.set_trait("shown", {"layer": index, "name": layer.name, **facts})


def _unknown(map_: Tensor) -> float:
    return float((map_ == 0).double().mean())


def _share(part: float) -> str:
    return f"{100 * part:.1f} %"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-0.000", "0.000")


def known_over(image: Tensor, valid: Tensor) -> Tensor:
    """The photo with a coarser map over it: known is teal, unknown hatched glass."""
    known = F.interpolate(valid, image.shape[-2:], mode="nearest")
    ground = dimmed(image)
    teal = torch.tensor([int(READ[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return hatched(ground + TINT * (teal.view(3, 1, 1) - ground), 1 - known)


def strip_legend(width: int) -> np.ndarray:
    """What the signs in the strip of a still mean, uint8 ``(28, width, 3)``."""
    paper = Image.new("RGB", (width, 28), "white")
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    names = ("known or computed", "still unknown", "hole of the photo", "asked pixel")
    for k, name in enumerate(names):
        left = 170 * k
        box = [left, 10, left + 13, 21]
        draw.rectangle(box, ("#3c746e", "#10131c", "#3c746e", "#3c746e")[k])
        if k == 1:
            draw.line([left + 2, 20, left + 11, 11], "#8a8f9c")
        elif k == 2:
            draw.rectangle([left + 3, 13, left + 10, 18], outline="white")
        elif k == 3:
            draw.rectangle([left + 4, 13, left + 9, 18], outline=QUERY)
        draw.text((left + 19, 8), name, fill=INK, font=font)
    return np.asarray(paper)


def draw_taps(
    draw: ImageDraw.ImageDraw,
    taps: Sequence[int],
    kernel: tuple[int, int],
    left: int,
    top: int,
    side: int = 140,
) -> None:
    """A window as a table: dots are known, crosses are not, padding is open."""
    height, width = kernel
    cell = side / max(kernel)
    for k, tap in enumerate(taps):
        x, y = left + (k % width) * cell, top + (k // width) * cell
        middle, inner = (x + cell / 2, y + cell / 2), cell / 6
        near = [middle[0] - inner, middle[1] - inner]
        far = [middle[0] + inner, middle[1] + inner]
        box = [x + 1, y + 1, x + cell - 1, y + cell - 1]
        if tap == KNOWN:
            draw.rectangle(box, READ)
            draw.ellipse([*near, *far], "white")
            continue
        paper, ink = ("white", WRONG) if tap == PADDING else (WRONG, "white")
        draw.rectangle(box, paper, outline=WRONG)
        draw.line([*near, *far], ink, 2)
        draw.line([near[0], far[1], far[0], near[1]], ink, 2)
    frame = [left, top, left + width * cell, top + height * cell]
    draw.rectangle(frame, outline=INK, width=4)
    inside = [f + d for f, d in zip(frame, (1, 1, -1, -1), strict=True)]
    draw.rectangle(inside, outline=QUERY, width=2)
