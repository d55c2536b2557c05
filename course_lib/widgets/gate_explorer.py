"""The gate explorer: what each gate of a trained network let through (lesson 05)."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from course_lib import holes
from course_lib.pictures import Picture, grid, hatched, to_pixels
from course_lib.tensors import check_pair, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.gate_reading import BINS, GatedLayer, record_gates
from course_lib.widgets.pixel_explorer import (
    INK,
    PHOTO,
    THUMBNAIL,
    Box,
    PixelExplorer,
    beside,
    chart,
    coloured,
    cut,
    deepest,
    loaded,
    marked,
    placed,
    small,
    viridis,
)
from course_lib.widgets.window_explorer import known_over

NETWORK, RIVAL = "gated_unet", "partial_unet"
PHOTOS = (PHOTO, "scarlet_macaw", "hedgehog", "rocamadour")  # none was trained on
HOLES = ("square", "strokes", "irregular", "none")
OWN = "yours"  # a photo or a hole that was given
SHARE = 0.12  # of the photo: a drawn hole has about as much as the square
STRIP = 7  # channels in the still
STILL_WIDTH = 780


class GateExplorer(PixelExplorer):
    """Choose a photo, a hole, a layer and a channel; see its gate, and ask for a place.

    ``image``: ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, or the name of a bundled
    photo, of which the central square is shown at ``size``. ``hole``: ``(1, 1, H, W)``,
    1 = missing; by default a square in the middle. ``network``: ``(image, hole) ->
    image`` whose layers emit a gate as evidence, such as ``UNet(conv=GatedConv2d)``, or
    the name of a shipped one; ``rival`` a network of partial convolutions, its name, or
    None: its hard rule stands beside the gate of the layer of the same name.

    ``look`` asks about a place or a channel, ``layer``, ``photo`` and ``set`` (the
    hole) choose, as the page does; ``layers`` holds the gates of all layers. Both
    networks run once for each photo and hole. Raises ``WidgetError``,
    ``ContractError`` or ``ZooError`` and then changes nothing.
    """

    _esm = module("pixel_explorer", "hole_canvas", "gate_explorer")
    asks: ClassVar = {
        "look": "look",
        "channel": "look",
        "layer": "layer",
        "photo": "photo",
        "hole": "set",
        "place": "set",
    }
    first_side = 0.35
    colours = traitlets.Bytes(read_only=True).tag(sync=True)
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    thumbnails_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    layer_facts: traitlets.List[dict[str, Any]] = traitlets.List(read_only=True).tag(
        sync=True
    )
    film_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    gates_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    small_hole_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    rule_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        *,
        network: nn.Module | str = NETWORK,
        rival: nn.Module | str | None = RIVAL,
        size: int = 128,
        title: str = "What did each gate let through?",
    ) -> None:
        self._network = loaded(network)
        self._rival = None if rival is None else loaded(rival)
        super().__init__(image, hole, size=size, title=title)
        given = OWN if isinstance(image, Tensor) else image or PHOTO
        self._photos = beside(given, self._image, PHOTOS)
        self._photo = next(iter(self._photos))
        self._holes = self._first_holes(None if hole is None else self._hole)
        self._form = next(iter(self._holes))
        self._asked: tuple[int, int] | None = None  # None: the deepest
        self._index = 0
        self._channel: int | None = None  # None: the strongest
        self._publish_choices()
        self._change()

    @property
    def layers(self) -> dict[str, GatedLayer]:
        """The gates of each layer, by name, in the order they ran."""
        return {layer.name: layer for layer in self._layers}

    def look(
        self,
        layer: str | None = None,
        row: int | None = None,
        column: int | None = None,
        *,
        channel: int | None = None,
    ) -> "GateExplorer":
        """Ask about a pixel of the photo; without one, about the deepest of the hole.

        With a ``layer`` or a ``channel`` alone the place stays; another layer shows the
        channel that tells the hole best. Returns the explorer.
        """
        index = self._index if layer is None else self._find(layer)
        asked = self._pixel_of(row, column)
        if asked is None and not (layer is None and channel is None):
            asked = self._asked
        if channel is None and index == self._index:
            channel = self._channel
        self._check_channel(index, channel)
        self._index, self._channel, self._asked = index, channel, asked
        self._publish()
        return self

    def layer(self, name: str) -> "GateExplorer":
        """Show another layer at the same place; returns the explorer."""
        return self.look(name)

    def photo(self, name: str) -> "GateExplorer":
        """Show another of the photos, under the same hole; returns the explorer."""
        if name not in self._photos:
            known = ", ".join(self._photos)
            raise WidgetError(f"no photo {name!r}; there are {known}")
        self._change(photo=name)
        return self

    def set(
        self,
        *,
        hole: Tensor | None = None,
        name: str | None = None,
        box: Box | None = None,
    ) -> "GateExplorer":
        """Change the hole: by a tensor, its name, or where its box lies.

        ``box`` is (top, left, height, width) in pixels; only a square takes another
        height and width. Returns the explorer.
        """
        known = dict(self._holes)
        if hole is not None:
            hole = hole[:1].detach().float().cpu()
            check_pair(self._image, hole)
            name, known[OWN] = OWN, cut(hole)
        name = name or self._form
        if name not in known:
            raise WidgetError(f"no hole {name!r}; there are {', '.join(known)}")
        if box is not None:
            known[name] = placed(known[name][0], box, self.height, self.width)
        self._change(form=name, known=known)
        if hole is not None:
            self._publish_choices()
        return self

    # ---- choices ------------------------------------------------------------------

    def _first_holes(self, given: Tensor | None) -> dict[str, tuple[Tensor, Box]]:
        size = (self.height, self.width)

        def drawn(name: str) -> Tensor:
            """Of some holes the one nearest to the usual share, clear of the border."""
            many = getattr(holes, name)(64, size, torch.Generator().manual_seed(0))
            away = (holes.ratio(many) - SHARE).abs() + holes.touches_border(many)
            return many[away.argmin()][None]

        made = {
            "square": self._first_hole(),
            "strokes": drawn("strokes"),
            "irregular": drawn("irregular"),
            "none": torch.zeros(1, 1, *size),
        }
        found = {name: cut(made[name]) for name in HOLES}
        return found if given is None else {OWN: cut(given), **found}

    def _publish_choices(self) -> None:
        data = b"".join(small(photo) for photo in self._photos.values())
        names = {"photos": [*self._photos], "holes": [*self._holes]}
        more = {"thumbnail": THUMBNAIL, "rival": self._rival is not None}
        with self.hold_sync():
            self.set_trait("colours", viridis().tobytes())
            self.set_trait("controls", {**names, **more})
            self.set_trait("thumbnails_bytes", data)

    def _find(self, name: str) -> int:
        names = [layer.name for layer in self._layers]
        short = name.removesuffix(".conv").replace(".layers.", ".")
        if short not in names:
            raise WidgetError(f"no layer {name!r}; there are {', '.join(names)}")
        return names.index(short)

    def _check_channel(self, index: int, channel: int | None) -> None:
        last = len(self._layers[index].gate) - 1
        if channel is not None and not 0 <= channel <= last:
            raise WidgetError(f"channel {channel} is not between 0 and {last}")

    # ---- changing and telling -----------------------------------------------------

    def _change(
        self,
        photo: str | None = None,
        form: str | None = None,
        known: dict[str, tuple[Tensor, Box]] | None = None,
    ) -> None:
        """Take another photo or hole; nothing changes when a network cannot run."""
        photo, form = photo or self._photo, form or self._form
        known = self._holes if known is None else known
        pattern, (top, left, height, width) = known[form]
        hole = torch.zeros(1, 1, self.height, self.width)
        hole[..., top : top + height, left : left + width] = pattern
        image = self._photos[photo]
        check_pair(image, hole)
        layers = record_gates(self._network, self._rival, image, hole)
        self._photo, self._form, self._holes = photo, form, known
        self._image, self._hole, self._layers = image, hole, layers
        self._deepest = deepest(hole)
        self._publish()

    def _publish(self) -> None:
        layer = self._layers[self._index]
        channel = layer.strongest if self._channel is None else self._channel
        self._channel = channel
        row, column = self._asked or self._deepest
        h, w = layer.size
        cell = row * h // self.height, column * w // self.width
        _, box = self._holes[self._form]
        facts = {
            "layer": self._index,
            "name": layer.name,
            "channel": channel,
            "row": row,
            "column": column,
            "photo": self._photo,
            "hole": self._form,
            "box": list(box),
            "rectangle": bool(self._holes[self._form][0].all()) and box[2] > 0,
            "share": float(self._hole.mean()),
            "order": layer.order,
            "aucs": [None if v != v else v for v in layer.auc.tolist()],
            **layer.facts(channel, *cell),
        }
        best = [(each, each.strongest) for each in self._layers]
        with self.hold_sync():
            self.set_trait("shown", facts)
            self.set_trait("layer_facts", [_layer_facts(*pair) for pair in best])
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
            given = to_pixels(hide(self._image, self._hole))
            self.set_trait("image_bytes", given.tobytes())
            film = b"".join(_bytes(each.gate[k]) for each, k in best)
            self.set_trait("film_bytes", film)
            self.set_trait("gates_bytes", _bytes(layer.gate))
            self.set_trait("small_hole_bytes", _bytes(layer.hole, 1))
            rule = b"" if layer.rule is None else _bytes(layer.rule, 1)
            self.set_trait("rule_bytes", rule)

    # ---- the still ----------------------------------------------------------------

    def still(self) -> Picture:
        """Photo, gate and rule; below, channels from AUC 1 to 0 and a histogram."""
        strip = self._still_channels()
        bars = self._still_bars(strip.shape[0], STILL_WIDTH - strip.shape[1] - 12)
        gap = np.full((strip.shape[0], 12, 3), 255, np.uint8)
        below = np.concatenate([strip, gap, bars], 1)
        parts = [self._still_maps(), below, self._still_lines()]
        return Picture(np.concatenate([_wide(part) for part in parts]), repr(self))

    def _still_maps(self) -> np.ndarray:
        shown, layer = self.shown, self._layers[self._index]
        given = hide(self._image, self._hole)
        photo = hatched(given, self._hole)
        columns = {
            f"photo: {100 * shown['share']:.1f} % missing": photo,
            f"{layer.name}: gate {shown['channel']}": self._gate(shown["channel"]),
        }
        if layer.rule is not None:
            columns["partial convolution: 0 or 1"] = known_over(given, layer.rule)
        at = shown["row"], shown["column"]
        side = 256 / max(self.height, self.width)
        scale = side if side < 1 else max(1, round(side))
        return grid({k: marked(v, *at) for k, v in columns.items()}, scale=scale).pixels

    def _gate(self, channel: int) -> Tensor:
        """The map of a channel in colours, at the photo's size."""
        value = self._layers[self._index].gate[channel][None, None]
        return coloured(F.interpolate(value, (self.height, self.width), mode="nearest"))

    def _still_channels(self) -> np.ndarray:
        layer = self._layers[self._index]
        order = layer.order
        steps = np.linspace(0, len(order) - 1, min(STRIP, len(order))).round()
        chosen = [order[int(k)] for k in steps]
        columns = {f"{k}: {_two(float(layer.auc[k]))}": self._gate(k) for k in chosen}
        return grid(columns, scale=66 / max(self.height, self.width)).pixels

    def _still_bars(self, height: int, width: int) -> np.ndarray:
        inside, outside = self.shown["bins"]
        colours = np.full((BINS, 3), 150, np.uint8)
        levels = ((0, "0"), (1, "100 %"))
        room = max(120, width)
        return chart(inside, colours, [], None, height, [*outside], levels, room)

    def _still_lines(self) -> np.ndarray:
        shown = self.shown
        lines = [
            "left: channels by AUC (1: more open in all of the hole; 0: the reverse)",
            f"right: values of gate {shown['channel']} from 0 to 1, bars in the hole, "
            f"line outside: {self._told()}",
        ]
        if (rule := shown["rule"]) is not None:
            lines.append(
                f"hard rule: mean {_two(rule['inside'])} in the hole, "
                f"{_two(rule['outside'])} outside, AUC {_two(rule['auc'])}"
            )
        paper = Image.new("RGB", (STILL_WIDTH, 8 + 17 * len(lines)), "white")
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
        for k, line in enumerate(lines):
            draw.text((0, 4 + 17 * k), line, fill=INK, font=font)
        return np.asarray(paper)

    def _told(self) -> str:
        shown = self.shown
        return (
            f"mean {_two(shown['inside'])} in the hole, {_two(shown['outside'])} "
            f"outside, AUC {_two(shown['auc'])}"
        )

    def __repr__(self) -> str:
        shown, layer = self.shown, self._layers[self._index]
        count = len(layer.gate)
        ends = layer.auc[[layer.order[0], layer.order[-1]]].tolist()
        spread = (
            "AUC undefined: it needs missing and known places"
            if shown["auc"] is None
            else f"AUC of its {count} channels from {ends[0]:.2f} to {ends[1]:.2f}"
        )
        return (
            f"gate explorer: {layer.name}, {layer.size[0]} x {layer.size[1]}, channel "
            f"{shown['channel']}: {self._told()}; {spread}; at row {shown['row']}, "
            f"column {shown['column']} {shown['open_here']} of {count} channels are "
            "more than half open"
        )


def _wide(pixels: np.ndarray) -> np.ndarray:
    """White to the right, up to the width of the still, and some below."""
    room = ((0, 8), (0, STILL_WIDTH - pixels.shape[1]), (0, 0))
    return np.pad(pixels, room, constant_values=255)


def _layer_facts(layer: GatedLayer, strongest: int) -> dict[str, Any]:
    area = float(layer.auc[strongest])
    return {
        "name": layer.name,
        "size": list(layer.size),
        "channels": len(layer.gate),
        "strongest": strongest,
        "auc": None if area != area else area,
    }


def _bytes(value: Tensor, scale: int = 255) -> bytes:
    return (value * scale).round().byte().numpy().tobytes()


def _two(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.2f}"
