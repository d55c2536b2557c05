"""The attention explorer: where each place of a hole is copied from (lesson 06)."""

import math
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from course_lib import fills
from course_lib.pictures import QUERY, READ, Picture, grid, hatched, to_pixels
from course_lib.tensors import check_pair, composite, hide
from course_lib.widgets.attention_reading import (
    NAMES,
    AttentionMaps,
    Fill,
    colour_maps,
    entropies,
    feature_maps,
    filled,
    missing_queries,
    offsets,
    paste,
    row_facts,
    wheel,
    wheel_disc,
)
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.pixel_explorer import (
    INK,
    PHOTO,
    THUMBNAIL,
    AskedPixel,
    Box,
    beside,
    cut,
    deepest,
    dimmed,
    framed,
    loaded,
    placed,
    small,
)

COLOURS, FEATURES = "colours", "features"  # what is compared
PHOTOS = (PHOTO, "hawamahal", "hedgehog", "scarlet_macaw")  # none was trained on
OWN = "yours"  # a photo that was given
FAINTEST = 1e-4  # the share that is just not seen; the scale is logarithmic
DISC = 96  # pixels a side of the wheel
STILL_WIDTH = 780

Rgb = tuple[int, int, int]


class AttentionExplorer(AskedPixel):
    """Ask a place of a hole where contextual attention copies from, and how surely.

    ``image``: ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, or the name of a bundled
    photo, of which the central square is shown at ``size``. ``hole``: ``(1, 1, H, W)``,
    1 = missing; by default a square in the middle.

    The layer looks at the photo's own colours, averaged down to at most 1,024 patches;
    what it asks with is the first fill of the hole, ``fill(image, hole) -> image``, by
    default the harmonic one. With a ``network``, ``(image, hole) -> image`` with a
    ``ContextualAttention`` inside, or the name of a shipped one, it looks at that
    layer's features instead, and starts with that layer's own settings.

    ``look`` asks about a place, ``set`` changes all else, as the page does; ``maps`` is
    what the layer was given and ``attention (queries, keys)`` what it answered. Raises
    ``WidgetError``, ``ContractError`` or ``ZooError`` and then changes nothing.
    """

    _esm = module("pixel_explorer", "hole_canvas", "attention_explorer")
    asks: ClassVar = {
        "look": "look",
        "photo": "set",
        "place": "set",
        "source": "set",
        "scale": "set",
        "propagation": "set",
    }
    colours = traitlets.Bytes(read_only=True).tag(sync=True)
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    thumbnails_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    rough_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    pasted_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    wheel_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    cells_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    row_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        *,
        fill: Fill = fills.harmonic,
        network: nn.Module | str | None = None,
        size: int = 128,
        title: str = "Where does this patch copy from?",
    ) -> None:
        self._fill = fill
        self._network = None if network is None else loaded(network)
        super().__init__(image, hole, size=size, title=title)
        given = OWN if isinstance(image, Tensor) else image or PHOTO
        self._photos = beside(given, self._image, PHOTOS)
        self._photo = given
        self._pattern, self._box = cut(self._hole)
        self._source = COLOURS if network is None else FEATURES
        self._scale, self._fuse = 10.0, True
        self._maps: dict[str, AttentionMaps] = {}
        self._rough = self._image
        self._publish_choices()
        self._change()

    @property
    def maps(self) -> AttentionMaps:
        """What the layer on show was given."""
        return self._maps[self._source]

    @property
    def attention(self) -> Tensor:
        """``(queries, keys)``, as ``ContextualAttention`` gives it for one sample."""
        return self._attention

    @property
    def pasted(self) -> Tensor:
        """The photo with what the attention pastes in its hole, ``(1, 3, H, W)``."""
        return self._pasted

    def set(
        self,
        *,
        photo: str | None = None,
        hole: Tensor | None = None,
        box: Box | None = None,
        source: str | None = None,
        softmax_scale: float | None = None,
        propagation: bool | None = None,
    ) -> "AttentionExplorer":
        """Change the photo, the hole, or how the layer decides; returns the explorer.

        ``hole`` is a tensor, ``box`` (top, left, height, width) where it lies; only a
        rectangle takes another height and width. ``source`` is what is compared,
        "colours" or "features". ``softmax_scale`` is the inverse of a temperature.
        """
        if photo is not None and photo not in self._photos:
            known = ", ".join(self._photos)
            raise WidgetError(f"no photo {photo!r}; there are {known}")
        if source is not None:
            self._check_source(source)
        if softmax_scale is not None and not 0 < softmax_scale < math.inf:
            raise WidgetError(f"softmax_scale is {softmax_scale}, expected above 0")
        pattern, place = self._pattern, self._box
        if hole is not None:
            hole = hole[:1].detach().float().cpu()
            check_pair(self._image, hole)
            pattern, place = cut(hole)
        if box is not None:
            pattern, place = placed(pattern, box, self.height, self.width)
        self._change(photo, (pattern, place), source, softmax_scale, propagation)
        return self

    def _check_source(self, source: str) -> None:
        if source not in (COLOURS, FEATURES):
            raise WidgetError(
                f'no source {source!r}; there are "{COLOURS}" and "{FEATURES}"'
            )
        if source == FEATURES and self._network is None:
            raise WidgetError(
                "no features to compare: the explorer was made without a network"
            )

    # ---- changing and telling -----------------------------------------------------

    def _change(
        self,
        photo: str | None = None,
        where: tuple[Tensor, Box] | None = None,
        source: str | None = None,
        softmax_scale: float | None = None,
        propagation: bool | None = None,
    ) -> None:
        """Take a new state as a whole; nothing changes when a part cannot be."""
        image = self._photos[photo or self._photo]
        pattern, (top, left, height, width) = where or (self._pattern, self._box)
        hole = torch.zeros(1, 1, self.height, self.width)
        hole[..., top : top + height, left : left + width] = pattern
        source = source or self._source
        same = bool(self._maps) and photo in (None, self._photo)
        same = same and hole.equal(self._hole)
        rough = self._rough if same else filled(image, _some_known(hole), self._fill)
        maps = dict(self._maps) if same else {}
        if source not in maps:
            maps[source] = self._read(source, image, hole, rough)
        if not self._maps and source == FEATURES:  # at first, as the network has it
            own = maps[source].layer
            self._scale, self._fuse = own.softmax_scale, own.fuse
        scale = self._scale if softmax_scale is None else float(softmax_scale)
        fuse = self._fuse if propagation is None else bool(propagation)
        attention = maps[source].attend(scale, fuse)
        self._photo, self._pattern = photo or self._photo, pattern
        self._box, self._image, self._hole = (top, left, height, width), image, hole
        self._source, self._scale, self._fuse = source, scale, fuse
        self._rough, self._maps, self._attention = rough, maps, attention
        self._deepest = deepest(hole)
        self._publish()

    def _read(
        self, source: str, image: Tensor, hole: Tensor, rough: Tensor
    ) -> AttentionMaps:
        if source == COLOURS or self._network is None:
            maps = colour_maps(rough, hole)
        else:
            maps = feature_maps(self._network, hide(image, hole), hole)
        if not maps.usable.any():
            raise WidgetError(
                "nothing left to copy: every patch touches the hole; a smaller hole "
                "leaves some"
            )
        return maps

    def _publish_choices(self) -> None:
        """What does not change: the photos to choose from, and the wheel."""
        disc = wheel_disc(DISC).permute(2, 0, 1)[None]
        more = {
            "thumbnail": THUMBNAIL,
            "disc": DISC,
            "full": self._full,
            "names": [*NAMES],
            "faintest": FAINTEST,
            "network": self._network is not None,
        }
        data = b"".join(small(photo) for photo in self._photos.values())
        with self.hold_sync():
            self.set_trait("colours", to_pixels(disc).tobytes())
            self.set_trait("controls", {"photos": [*self._photos], **more})
            self.set_trait("thumbnails_bytes", data)

    @property
    def _full(self) -> int:
        """Pixels from which on an offset has its full colour."""
        return max(self.height, self.width) // 2

    def _publish(self) -> None:
        """What the photo, the hole or a setting changes; and the asked place."""
        maps, attention = self.maps, self._attention
        given = hide(self._image, self._hole)
        self._pasted = composite(
            paste(maps, attention, self._rough), given, self._hole
        ).clamp(0, 1)
        self._cells = missing_queries(maps)
        self._ways = wheel(offsets(maps, attention), self._full)
        spread = entropies(attention)[self._cells.flatten()]
        self._average = float(spread.mean()) if len(spread) else None
        ways = self._ways.permute(2, 0, 1)[None]
        with self.hold_sync():
            self.set_trait("image_bytes", to_pixels(given).tobytes())
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
            self.set_trait("rough_bytes", to_pixels(self._rough).tobytes())
            self.set_trait("pasted_bytes", to_pixels(self._pasted).tobytes())
            self.set_trait("wheel_bytes", to_pixels(ways).tobytes())
            self.set_trait("cells_bytes", self._cells.byte().numpy().tobytes())
            self._tell()

    def _tell(self) -> None:
        """The asked place alone: a row of what is known already."""
        maps = self.maps
        row, column = self._pixel
        cell = row // maps.step, column // maps.step
        width = maps.size[1]
        facts = {
            "row": row,
            "column": column,
            "cell": list(cell),
            "missing_here": bool(self._cells[cell]),
            "photo": self._photo,
            "box": list(self._box),
            "rectangle": bool(self._pattern.all()) and self._box[2] > 0,
            "share": float(self._hole.mean()),
            "source": self._source,
            "name": maps.name,
            "grid": list(maps.size),
            "step": maps.step,
            "patch": maps.layer.patch_size,
            "softmax_scale": self._scale,
            "propagation": self._fuse,
            "own": [maps.layer.softmax_scale, maps.layer.fuse],
            "average": self._average,
            **row_facts(maps, self._attention, cell),
        }
        here = self._attention[cell[0] * width + cell[1]]
        with self.hold_sync():
            self.set_trait("row_bytes", here.float().numpy().tobytes())
            self.set_trait("shown", facts)

    # ---- the still ----------------------------------------------------------------

    def still(self) -> Picture:
        """Where the place copies from, what is pasted, the directions; then facts."""
        parts = [self._still_pictures(), self._still_sources()]
        return Picture(np.concatenate([_wide(part) for part in parts]), repr(self))

    def _still_pictures(self) -> np.ndarray:
        given = hide(self._image, self._hole)
        cells = F.interpolate(self._cells[None, None].float(), given.shape[-2:])
        ways = F.interpolate(self._ways.permute(2, 0, 1)[None], given.shape[-2:])
        columns = {
            "Where it copies from": self._still_field(),
            "Its shares, on pixels": _frame(self._pasted, self._patch(), QUERY),
            "Way to best source": torch.where(cells > 0, ways, dimmed(given)),
        }
        side = 250 / max(self.height, self.width)
        scale = side if side < 1 else max(1, round(side))
        return grid(columns, scale=scale).pixels

    def _still_field(self) -> Tensor:
        """The photo, lit and teal where it is copied from, framed at the sources."""
        given = hide(self._image, self._hole)
        row = torch.frombuffer(bytearray(self.row_bytes), dtype=torch.float32)
        light = 1 - row.clamp_min(FAINTEST).log10() / math.log10(FAINTEST)
        light = light.clamp(0, 1).view(1, 1, *self.maps.size)
        light = F.interpolate(light, given.shape[-2:])
        teal = torch.tensor(_rgb(READ)).view(3, 1, 1) / 255
        ground = dimmed(given) + light * (given - dimmed(given))
        field = hatched(ground + 0.45 * light * (teal - ground), self._hole)
        for source in reversed(self.shown["top"]):
            field = _frame(field, self._patch(source["row"], source["column"]), READ)
        return _frame(field, self._patch(), QUERY)

    def _patch(self, row: int | None = None, column: int | None = None) -> Box:
        """The compared patch around a cell, the asked one, in pixels of the photo."""
        step, side = self.maps.step, self.maps.layer.patch_size
        if row is None or column is None:
            row, column = self.shown["cell"]
        top, left = ((k - side // 2) * step for k in (row, column))
        bottom = min(top + side * step, self.height)
        right = min(left + side * step, self.width)
        top, left = max(top, 0), max(left, 0)
        return top, left, bottom - top, right - left

    def _still_sources(self) -> np.ndarray:
        """The strongest sources as thumbnails, the wheel, and what all that means."""
        paper = Image.new("RGB", (STILL_WIDTH, 196), "white")
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
        photo = to_pixels(hide(self._image, self._hole))
        for k, source in enumerate(self.shown["top"]):
            top, left, tall, wide = self._patch(source["row"], source["column"])
            piece = Image.fromarray(photo[top : top + tall, left : left + wide])
            x = 4 + 66 * k
            draw.rectangle([x - 2, 6, x + 53, 61], outline=READ, width=2)
            paper.paste(piece.resize((52, 52), Image.Resampling.NEAREST), (x, 8))
            draw.text((x, 64), _percent(source["share"]), fill=INK, font=font)
        for k, line in enumerate(self._still_lines()):
            draw.text((0, 88 + 18 * k), line, fill=INK, font=font)
        self._still_wheel(paper, 586, 14)
        return np.asarray(paper)

    def _still_wheel(self, paper: Image.Image, left: int, top: int) -> None:
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(11)
        disc = to_pixels(wheel_disc(DISC).permute(2, 0, 1)[None])
        round_ = Image.new("L", (DISC, DISC))
        ImageDraw.Draw(round_).ellipse([0, 0, DISC - 1, DISC - 1], fill=255)
        middle = left + 96, top + 66
        paper.paste(
            Image.fromarray(disc),
            (middle[0] - DISC // 2, middle[1] - DISC // 2),
            round_,
        )
        for k, name in enumerate(NAMES):
            turn = math.radians(45 * k)
            x = middle[0] + math.sin(turn) * (DISC / 2 + 24)
            y = middle[1] + math.cos(turn) * (DISC / 2 + 9)
            draw.text((x, y), name, fill=INK, font=font, anchor="mm")
        below = f"white: near; full colour: {self._full} px or more"
        draw.text((middle[0], top + 146), below, fill=INK, font=font, anchor="mm")

    def _still_lines(self) -> list[str]:
        shown = self.shown
        on = "with" if shown["propagation"] else "without"
        average = self._average
        whole = "" if average is None else f"; mean of the hole {average:.2f}"
        row, column = (int((k + 0.5) * shown["step"]) for k in shown["cell"])
        what = f"the features that reach {shown['name']}"
        if shown["source"] == COLOURS:
            what = "colours, in the hole those of a first fill"
        return [
            f"yellow: the asked patch, around row {row}, column {column}; teal frames: "
            "its best sources, as above",
            _best(shown),
            f"{shown['most']} of {shown['usable']} patches make up 90 %; teal tint: "
            f"the share, logarithmic from {100 * FAINTEST:g} %",
            f"entropy {shown['entropy']:.2f} of at most {shown['entropy_most']:.2f} "
            f"bits, like an even choice of {shown['even']:.0f} patches{whole}",
            f"compared: {what}, patches of {shown['patch'] * shown['step']} px",
            f"softmax scale {shown['softmax_scale']:g}, {on} propagation",
        ]

    def __repr__(self) -> str:
        shown = self.shown
        on = "with" if shown["propagation"] else "without"
        where = "missing" if shown["missing_here"] else "known"
        return (
            f"attention explorer: row {shown['row']}, column {shown['column']} "
            f"({where}) {_best(shown)}; {shown['most']} of {shown['usable']} patches "
            f"make up 90 %, entropy {shown['entropy']:.2f} of at most "
            f"{shown['entropy_most']:.2f} bits; {shown['name']}, softmax scale "
            f"{shown['softmax_scale']:g}, {on} propagation"
        )


def _best(shown: dict[str, Any]) -> str:
    best = shown["top"][0]
    place = [int((best[k] + 0.5) * shown["step"]) for k in ("row", "column")]
    far = "its own place" if best["way"] == "here" else f"{best['far']:.0f} px off"
    way = "" if best["way"] == "here" else f", {best['way']}"
    return (
        f"copies most, {_percent(best['share'])}, from row {place[0]}, column "
        f"{place[1]}, {far}{way}"
    )


def _some_known(hole: Tensor) -> Tensor:
    if hole.all():
        raise WidgetError("all of the photo is missing: nothing is left to copy")
    return hole


def _frame(image: Tensor, box: Box, colour: str) -> Tensor:
    """A box in a colour with a dark rim inside, seen on any ground."""
    top, left, tall, wide = box
    inner = (top + 1, left + 1, tall - 2, wide - 2)
    return framed(framed(image, inner, (10, 12, 20)), box, _rgb(colour))


def _rgb(colour: str) -> Rgb:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _wide(pixels: np.ndarray) -> np.ndarray:
    """White to the right, up to the width of the still."""
    room = ((0, 0), (0, max(0, STILL_WIDTH - pixels.shape[1])), (0, 0))
    return np.pad(pixels, room, constant_values=255)
