"""The mining explorer: what a miner hides, and what that is worth (lesson 09)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from course_lib import photos as bundled
from course_lib.pictures import Picture, grid, hatched, to_pixels
from course_lib.tensors import check_image
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.mining_reading import (
    HIGH,
    KINDS,
    LOW,
    Filled,
    brightness,
    filled,
    four_holes,
    scored,
    untrained_miner,
)
from course_lib.widgets.photo_choice import PhotoChoice, gathered
from course_lib.widgets.pixel_explorer import (
    INK,
    PHOTO,
    AskedPixel,
    coloured,
    deepest,
    loaded,
    marked,
    viridis,
)

MINERS = {30: "miner_at_30", 100: "miner_at_100", 300: "miner_at_300", 900: "miner"}
REFEREE = "partial_unet"  # it never met the miner
AREAS = (0.1, 0.6)
DRAWS = 10_000  # then they begin again


@dataclass(frozen=True)
class Settings:
    """What can be chosen; every fact on show follows from it and the asked pixel."""

    photo: str
    steps: int
    area: float
    variety: float = 0.0
    draw: int = 0


class MiningExplorer(PhotoChoice, AskedPixel):
    """Follow a miner's training: the hole that it mines, beside three others.

    ``photo``: the name of a bundled photo, its number among the evaluation photos, or
    ``(1, 3, H, W)`` in ``[0, 1]``; its central square is shown at ``size``. ``area``:
    the share of it that goes missing, 0.1 to 0.6. ``steps``: after how many steps of
    training the miner is asked; ``miners`` has one for each, a network ``image ->
    score`` or the name of a shipped one; by default 0, untrained, to 900. ``referee``
    fills every hole, with NaN under it: ``network(image, hole)`` or a name.

    Four holes of that area: *random*, *mined* (the lowest expected error), *shuffled*
    (mined for the next photo of the strip) and *hardest* (the highest). ``look`` asks
    about a pixel, ``set`` changes the rest, ``another`` draws anew. ``score``, ``hole``
    (the mined one) and ``found`` are for the next cell. Raises ``WidgetError``,
    ``PhotoError``, ``ContractError`` or ``ZooError`` and then changes nothing.
    """

    _esm = module("pixel_explorer", "photo_strip", "mining_explorer")
    asks: ClassVar = {
        "look": "look",
        "photo": "set",
        "steps": "set",
        "area": "set",
        "variety": "set",
        "another": "another",
        "upload": "_take_file",
    }
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    colours = traitlets.Bytes(read_only=True).tag(sync=True)
    # One byte a pixel: where the expected error lies on the scale of colours.
    expected_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    # For each kind: the hole and its errors, one byte a pixel; and the composite.
    holes_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    errors_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    fills_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        photo: Tensor | str | int = PHOTO,
        area: float = 0.35,
        steps: int = 900,
        *,
        miners: Mapping[int, nn.Module | str] | None = None,
        referee: nn.Module | str = REFEREE,
        size: int = 128,
        title: str = "Which hole is worth training on?",
    ) -> None:
        every = _photos(photo, size)
        first = next(iter(every))
        self._miners = _miners(miners)
        self._referee = loaded(referee)
        super().__init__(every[first], size=size, title=title, finite=True)
        self._offer(every, size)
        self._found: dict[str, Filled] = {}
        ends = {"low": AREAS[0], "high": AREAS[1], "errors": [LOW, HIGH]}
        self.set_trait("controls", {"steps": [*self._miners], **ends})
        self.set_trait("colours", viridis().tobytes())
        self._take(Settings(first, steps, area))

    @property
    def settings(self) -> Settings:
        """Photo, steps, area, variety and draw, as they are on show."""
        return self._settings

    @property
    def score(self) -> Tensor:
        """The miner's score of the photo, ``(1, 1, H, W)``: a logarithm of errors."""
        return self._score

    @property
    def found(self) -> dict[str, Filled]:
        """Kind -> its hole, the referee's fill of it, and the errors."""
        return dict(self._found)

    def set(
        self,
        *,
        photo: str | None = None,
        steps: int | None = None,
        area: float | None = None,
        variety: float | None = None,
        draw: int | None = None,
    ) -> "MiningExplorer":
        """Change some of the settings; returns the explorer.

        ``photo`` is a label of the strip. ``variety``: how strong the noise is that is
        added to the score, 0 to 1; ``draw`` numbers it, and the random hole.
        """
        given: dict[str, Any] = {"photo": photo, "steps": steps, "area": area}
        given |= {"variety": variety, "draw": draw}
        changed = {name: value for name, value in given.items() if value is not None}
        self._take(replace(self._settings, **changed))
        return self

    def another(self) -> "MiningExplorer":
        """Another random hole, and other noise; returns the explorer."""
        return self.set(draw=(self._settings.draw + 1) % DRAWS)

    # ---- changing and telling -----------------------------------------------------

    def _take_file(self, **part: Any) -> None:
        label = self._take_part(**part)
        if label is not None:
            self.set(photo=label)

    def _take(self, settings: Settings) -> None:
        """Take a whole new state; nothing changes when a part of it is wrong."""
        _check(settings, self._miners)
        image = self._known_photo(settings.photo)
        labels = [*self._photos]
        other = labels[(labels.index(settings.photo) + 1) % len(labels)]
        both = torch.cat([image, self._photos[other]])
        score, rival = scored(self._miners[settings.steps], both).split(1)
        found = four_holes(score, rival, settings.area, settings.variety, settings.draw)
        before = self._found if image is self._image else {}
        every = filled(self._referee, image, score.exp(), found, before)
        self._settings, self._other = settings, other
        self._image, self._hole = image, every["mined"].hole
        self._score, self._found = score, every
        # Beyond the border counts as known here: a corner would be deepest, half seen
        row, column = deepest(F.pad(self._hole, (1, 1, 1, 1)))
        self._deepest = row - 1, column - 1
        self._publish()

    def _publish(self) -> None:
        every = self._found.values()
        expected = brightness(self._score.exp())
        errors = torch.cat([brightness(each.error) for each in every])
        fills = b"".join(to_pixels(each.picture).tobytes() for each in every)
        with self.hold_sync():
            self.set_trait("photo", self._settings.photo)
            self.set_trait("image_bytes", to_pixels(self._image).tobytes())
            self.set_trait("hole_bytes", _bytes(self._hole))
            self.set_trait("expected_bytes", _bytes(255 * expected))
            holes = torch.cat([each.hole for each in every])
            self.set_trait("holes_bytes", _bytes(holes))
            self.set_trait("errors_bytes", _bytes(255 * errors))
            self.set_trait("fills_bytes", fills)
            self._tell()

    def _tell(self) -> None:
        """The numbers, and the asked pixel: nothing is computed anew."""
        row, column = self._pixel
        settings = self._settings
        kinds = []
        for kind, each in self._found.items():
            here = bool(each.hole[0, 0, row, column])
            error = float(each.error[0, 0, row, column]) if here else None
            told = {"measured": each.measured, "expected": each.foreseen}
            kinds.append({"kind": kind, **told, "here": error})
        facts = {
            "photo": settings.photo,
            "other": self._other,
            "steps": settings.steps,
            "area": settings.area,
            "variety": settings.variety,
            "draw": settings.draw,
            "missing": float(self._hole.mean()),
            "kinds": kinds,
            "row": row,
            "column": column,
            "expected": float(self._score[0, 0, row, column].exp()),
        }
        self.set_trait("shown", facts)

    # ---- the still ----------------------------------------------------------------

    def still(self) -> Picture:
        """Above the photo and its four holes; below the expected error, and fills."""
        shown = self.shown
        field = coloured(brightness(self._score.exp()))
        pair = torch.cat([self._image, field])
        columns = {"photo": marked(pair, shown["row"], shown["column"])}
        for each in shown["kinds"]:
            one = self._found[each["kind"]]
            seen = torch.cat([hatched(self._image, one.hole), one.picture])
            columns[f"{each['kind']} {each['measured']:.3f}"] = seen
        tiles = grid(columns, scale=128 / self.width).pixels
        return Picture(np.concatenate([tiles, self._legend(tiles.shape[1])]), self._alt)

    def _legend(self, width: int) -> np.ndarray:
        """What the two rows are and how the map is read, uint8 ``(H, width, 3)``."""
        settings = self._settings
        lines = (
            f"above: the photo and four holes of {100 * settings.area:.0f} %, each "
            "with the mean error of the fill below it",
            f"below the photo: the error that the miner expects after {settings.steps} "
            f"steps; dark {LOW}, easy; bright {HIGH}, hard",
        )
        paper = Image.new("RGB", (width, 18 * len(lines) + 6), "white")
        draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
        for k, line in enumerate(lines):
            draw.text((0, 4 + 18 * k), line, fill=INK, font=font)
        return np.asarray(paper)

    @property
    def _alt(self) -> str:
        return (
            f"{self!r}. Above, the photo and each hole hatched; below, the map of "
            "expected errors, and the four fills."
        )

    def __repr__(self) -> str:
        shown = self.shown
        errors = {each["kind"]: each["measured"] for each in shown["kinds"]}
        told = ", ".join(f"{kind} {_three(errors[kind])}" for kind in REPR_ORDER)
        mined = shown["kinds"][KINDS.index("mined")]
        more = f", variety {shown['variety']:g}" if shown["variety"] else ""
        more += f", draw {shown['draw']}" if shown["draw"] else ""
        here = mined["here"]
        hidden = "known" if here is None else f"mined, measured {_three(here)}"
        return (
            f"mining explorer: {shown['photo']}, area {100 * shown['area']:.0f} %, "
            f"after {shown['steps']} steps{more}: {told}; the miner expects "
            f"{_three(mined['expected'])}; row {shown['row']}, column "
            f"{shown['column']}: expected {_three(shown['expected'])}, {hidden}"
        )


REPR_ORDER = ("mined", "shuffled", "random", "hardest")  # from the lowest, as a rule


def _photos(photo: Tensor | str | int, size: int) -> dict[str, Tensor]:
    """The photo that was asked for first, then a handful of the evaluation photos."""
    if isinstance(photo, int) and not isinstance(photo, bool):
        names = bundled.names("evaluation")
        if not 0 <= photo < len(names):
            raise WidgetError(f"photo {photo} is not between 0 and {len(names) - 1}")
        photo = names[photo]
    if not isinstance(photo, Tensor | str):
        raise WidgetError(
            f"photo {photo!r}: give a name, a number or an image (1, 3, H, W)"
        )
    if isinstance(photo, Tensor):
        check_image(photo)
    given = gathered(photo, size)
    given = {label: bundled.square(image, size) for label, image in given.items()}
    return given | {k: v for k, v in gathered(None, size).items() if k not in given}


def _miners(given: Mapping[int, nn.Module | str] | None) -> dict[int, nn.Module]:
    if given is None:
        return {0: untrained_miner(), **{k: loaded(v) for k, v in MINERS.items()}}
    if not given:
        raise WidgetError("miners is empty: give at least one, under its steps")
    return {steps: loaded(given[steps]) for steps in sorted(given)}


def _check(settings: Settings, miners: Mapping[int, nn.Module]) -> None:
    if settings.steps not in miners:
        known = ", ".join(map(str, miners))
        raise WidgetError(f"no miner after {settings.steps!r} steps; there are {known}")
    for name, value, low, high in (
        ("area", settings.area, *AREAS),
        ("variety", settings.variety, 0, 1),
        ("draw", settings.draw, 0, DRAWS - 1),
    ):
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            raise WidgetError(f"{name} {value!r} is not between {low} and {high}")
    if settings.draw != int(settings.draw):
        raise WidgetError(f"draw {settings.draw!r} is no whole number")


def _three(value: float) -> str:
    return f"{value:.3f}"


def _bytes(values: Tensor) -> bytes:
    return values.round().byte().numpy().tobytes()
