"""The ladder explorer: one hole, every fill; one click, five answers (lesson 10)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from course_lib import fills as classical
from course_lib import holes
from course_lib.evaluation import hole_l1
from course_lib.networks.reading import device_of, evaluating
from course_lib.pictures import Picture, to_pixels
from course_lib.tensors import check_pair, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.ladder_reading import (
    KINDS,
    Answer,
    Copied,
    Reading,
    Weighed,
    has,
)
from course_lib.widgets.ladder_still import ladder_still
from course_lib.widgets.photo_choice import PhotoChoice, put_in
from course_lib.widgets.pixel_explorer import (
    AskedPixel,
    Box,
    around,
    beside,
    coloured,
    cut,
    deepest,
    loaded,
)

Fill = Callable[[Tensor, Tensor], Tensor]

# The ladder from below: the label of a rung, the shipped network that stands for it
# These are the long ladder of lesson 10, and of the deformable ones the small network
# whose reads have learned to move.
RUNGS = {
    "plain": "plain_unet_blind",
    "+ hole channel": "plain_unet",
    "partial": "partial_unet",
    "gated": "gated_unet",
    "+ attention": "contextual_attention",
    "mask-aware": "cascade",
    "deformable": "sampling_recommended",
    "nearest reads": "nearest_unet",
}
PHOTOS = (
    "lincolnmemorial",
    "hedgehog",
    "hawamahal",
    "scarlet_macaw",
    "sheep",
    "calf",
    "rocamadour",
    "navajo",
)  # none was trained on
OWN = "yours"  # a photo that was given
PRESETS = ("stroke", "box", "irregular")
SHARES = (0.08, 0.25)  # of the photo: how large a hole of a preset is


@dataclass(frozen=True)
class Rung:
    """What one rung made of the hole: the composite, its error, and its evidence.

    ``readings`` by the kinds of layer that this rung speaks for.
    """

    filled: Tensor
    error: float | None
    readings: dict[str, Reading]


class LadderExplorer(PhotoChoice, AskedPixel):
    """Paint a hole, see every rung fill it; click a pixel and hear five answers.

    ``photo``: the name of a bundled one, of which the central square is shown at
    ``size``, or an image ``(1, 3, H, W)`` in ``[0, 1]``, used as it is. ``hole``: ``(1,
    1, H, W)``, 1 = missing, or "stroke", "box", "irregular"; by default a square in the
    middle. ``row`` and ``column`` of the asked pixel; by default the deepest.
    ``rungs``: label -> a network, the name of a shipped one, or any ``(image, hole) ->
    image``; by default those of ``RUNGS``. The classical fills
    stand beside them. The first rung with a layer of a kind answers for that kind.

    ``look`` asks about a pixel, ``set`` changes photo and hole. ``fills``, ``errors``,
    ``best`` and ``answers`` are what the page shows. Raises ``WidgetError``,
    ``ContractError``, ``PhotoError`` or ``ZooError`` and then changes nothing.
    """

    _esm = module(
        "pixel_explorer", "brush", "photo_strip", "reads", "weights", "ladder_explorer"
    )
    asks: ClassVar = {
        "look": "look",
        "answers": "_tell",
        "photo": "_change",
        "paint": "_paint",
        "preset": "_change",
        "upload": "_take_upload",
    }
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    gate_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    attention_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        photo: Tensor | str | None = None,
        hole: Tensor | str | None = None,
        row: int | None = None,
        column: int | None = None,
        rungs: Mapping[str, nn.Module | str | Fill] | None = None,
        *,
        size: int = 128,
        title: str = "One click, five answers",
    ) -> None:
        rungs = RUNGS if rungs is None else rungs
        self._rungs = _networks(rungs)
        self._about = {
            label: _about(rung, rungs[label]) for label, rung in self._rungs.items()
        }
        self._untrained = classical.available()
        _check_labels(self._rungs, self._untrained)
        self._speakers = _speakers(self._rungs)
        self._done: dict[str, Rung] = {}
        self._turn = self._draws = 0
        given = PHOTOS[0] if photo is None else photo
        own = hole if isinstance(hole, Tensor) else None
        super().__init__(given, own, size=size, title=title)
        label = given if isinstance(given, str) else OWN
        self._offer(beside(label, self._image, PHOTOS), min(self.height, self.width))
        self._publish_choices()
        self._asked = self._pixel_of(row, column)
        self.set(photo=label, hole=self._hole if hole is None else hole)

    @property
    def fills(self) -> dict[str, Tensor]:
        """The photo with its hole filled, ``(1, 3, H, W)``, by label, from below."""
        return {label: rung.filled for label, rung in self._all().items()}

    @property
    def errors(self) -> dict[str, float | None]:
        """The mean absolute error in the hole; None without a hole or a truth."""
        return {label: rung.error for label, rung in self._all().items()}

    @property
    def best(self) -> str | None:
        """The label of the smallest error; None where there is no error."""
        known = {k: error for k, error in self.errors.items() if error is not None}
        return min(known, key=known.__getitem__) if known else None

    @property
    def answers(self) -> dict[str, Answer]:
        """What each kind of layer says about the asked pixel: up to five."""
        readings = self._readings()
        return {kind: read.ask(*self._pixel) for kind, read in readings.items()}

    @property
    def stage(self) -> str:
        """Of the hole: "empty", "full" or, between both, "open"."""
        if not self._hole.any():
            return "empty"
        return "full" if self._hole.all() else "open"

    def set(
        self, *, photo: str | None = None, hole: Tensor | str | None = None
    ) -> "LadderExplorer":
        """Change the photo or the hole, and fill it; returns the explorer.

        ``hole`` is a tensor, or one of the presets, which is drawn anew each time.
        """
        label, image, missing = self._checked(photo, hole)
        every = [] if missing.all() else [*self._untrained, *self._rungs]
        done = {each: self._compute(each, image, missing) for each in every}
        self._show(label, image, missing, done)
        self._tell()
        return self

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the page; a request ``fill`` is answered by a picture."""
        if request.get("kind") == "fill":
            return self._answer_fill(str(request.get("label")))
        return super().answer(request)

    # ---- what the page asks: it fetches the fills one by one ----------------------

    def _change(self, photo: str | None = None, preset: str | None = None) -> None:
        self._show(*self._checked(photo, preset), {})
        self._tell_waiting()

    def _paint(self, hole: bytes) -> None:
        data = np.frombuffer(hole, np.uint8)
        if data.size != self.height * self.width:
            raise WidgetError(
                "The painted hole does not fit the photo: paint it again."
            )
        painted = torch.from_numpy((data > 0).astype(np.float32))
        painted = painted.view(1, 1, self.height, self.width)
        self._show(*self._checked(None, painted), {})
        self._tell_waiting()

    def _take_upload(self, name: str, first: bool, last: bool, part: bytes) -> None:
        label = self._take_part(name, first, last, part)
        if label is not None:
            self._change(photo=label)

    def _answer_fill(self, label: str) -> dict[str, Any]:
        if label not in self._untrained and label not in self._rungs:
            known = ", ".join([*self._untrained, *self._rungs])
            raise WidgetError(f"no rung {label!r}; there are {known}")
        if self.stage == "full":
            raise WidgetError("Nothing is known: leave some of the photo.")
        rung = self._rung(label)
        picture = to_pixels(rung.filled).tobytes()
        told = {"label": label, "turn": self._turn, "wrong": rung.error}
        return told | {"picture": picture}

    # ---- reading and filling ------------------------------------------------------

    def _checked(
        self, photo: str | None, hole: Tensor | str | None
    ) -> tuple[str, Tensor, Tensor]:
        """A photo's label, itself, and a hole that fits it; raises for what does not.

        A hole that was not given stays, unless the photo has another size.
        """
        label = photo or self.photo
        image = self._known_photo(label)
        size = (image.shape[-2], image.shape[-1])
        if isinstance(hole, str):
            hole = self._drawn(hole, size)
        elif hole is not None:
            hole = hole[:1].detach().float().cpu()
        elif self._hole.shape[-2:] == image.shape[-2:]:
            hole = self._hole
        else:
            hole = self._drawn("box", size)
        check_pair(image, hole)
        return label, image, hole

    def _drawn(self, preset: str, size: tuple[int, int]) -> Tensor:
        """The next hole of a preset whose area lies between ``SHARES``."""
        makers: dict[str, Callable[..., Tensor]] = {
            "stroke": holes.strokes,
            "box": holes.rectangles,
            "irregular": holes.irregular,
        }
        if preset not in makers:
            raise WidgetError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
        self._draws += 1
        draws = torch.Generator().manual_seed(self._draws)
        for _ in range(100):
            hole = makers[preset](1, size, draws)
            if SHARES[0] <= float(hole.mean()) <= SHARES[1]:
                break
        return hole

    def _all(self) -> dict[str, Rung]:
        """Every rung, filled now where it has not been yet; none for a full hole."""
        every = [] if self.stage == "full" else [*self._untrained, *self._rungs]
        return {label: self._rung(label) for label in every}

    def _rung(self, label: str) -> Rung:
        if label not in self._done:
            self._done[label] = self._compute(label, self._image, self._hole)
        return self._done[label]

    @torch.no_grad()
    def _compute(self, label: str, image: Tensor, hole: Tensor) -> Rung:
        given = hide(image, hole)
        readings: dict[str, Reading] = {}
        if label in self._untrained:
            guess = self._untrained[label](given, hole) if hole.any() else given
        else:
            guess, readings = self._run(label, given, hole)
        filled = put_in(guess, label, image, hole)
        error = float(hole_l1(filled, image, hole))
        return Rung(filled, error if error == error else None, readings)

    def _run(
        self, label: str, given: Tensor, hole: Tensor
    ) -> tuple[Tensor, dict[str, Reading]]:
        """What a rung answers; a network that speaks is read in that same run."""
        rung = self._rungs[label]
        readings: dict[str, Reading] = {}
        outputs: list[Tensor] = []
        for kind, speaker in self._speakers.items():
            if speaker == label and isinstance(rung, nn.Module):
                with _heard(rung, outputs):
                    readings[kind] = KINDS[kind].read(rung, given, hole)
        guess = outputs[0] if outputs else _called(rung, given, hole)
        return guess, readings

    # ---- telling the page ---------------------------------------------------------

    def _publish_choices(self) -> None:
        """What does not change: the rungs, the presets, and the kinds that answer."""
        kinds = [
            {
                "kind": kind,
                "layer": read.layer,
                "lesson": read.lesson,
                "verb": read.verb,
            }
            for kind, read in KINDS.items()
        ]
        labels = {"untrained": [*self._untrained], "trained": [*self._rungs]}
        more = {"presets": [*PRESETS], "answers": kinds, "about": self._about}
        self.set_trait("controls", {"rungs": labels, **more})

    def _show(
        self, label: str, image: Tensor, hole: Tensor, done: dict[str, Rung]
    ) -> None:
        """Take a photo and its hole, checked, with what is known of both."""
        self._image, self._hole, self._done = image, hole, done
        self._box = cut(hole)[1]
        self._deepest = deepest(hole)
        height, width = image.shape[-2:]
        if self._asked and not (self._asked[0] < height and self._asked[1] < width):
            self._asked = None
        self._turn += 1
        shown = torch.where(image.isfinite().all(1, keepdim=True), image, 0.5)
        with self.hold_sync():
            self.set_trait("photo", label)
            self.set_trait("height", height)
            self.set_trait("width", width)
            self.set_trait("image_bytes", to_pixels(shown).tobytes())
            self.set_trait("hole_bytes", hole.byte().numpy().tobytes())

    def _tell(self) -> None:
        """The asked pixel: what each kind of layer says about it, and all errors."""
        answers = [
            {"kind": kind, "rung": self._speakers[kind], **vars(answer)}
            for kind, answer in self.answers.items()
        ]
        more = {"ready": True, "errors": self.errors, "best": self.best}
        with self.hold_sync():
            self._publish_maps()
            self.set_trait("shown", self._facts() | more | {"answers": answers})

    def _tell_waiting(self) -> None:
        """The hole alone; the page fetches the fills, and then the answers."""
        more = {"ready": False, "errors": {}, "best": None, "answers": []}
        self.set_trait("shown", self._facts() | more)

    def _facts(self) -> dict[str, Any]:
        row, column = self._pixel
        return {
            "turn": self._turn,
            "stage": self.stage,
            "photo": self.photo,
            "row": row,
            "column": column,
            "missing_here": bool(self._hole[0, 0, row, column]),
            "away": self._away(),
            "area": int(self._hole.sum()),
            "share": float(self._hole.mean()),
            "around": list(self._around),
        }

    @property
    def _around(self) -> Box:
        """The part of the photo that the fills are shown of."""
        if not self._hole.any():
            return 0, 0, self.height, self.width
        return around(self._box, self.height, self.width, 1.3)

    def _away(self) -> float | None:
        """How far the asked pixel is from a known one, in pixels; None without any."""
        if self.stage == "full":
            return None
        return float(holes.distance(self._hole)[(0, 0, *self._pixel)])

    def _readings(self) -> dict[str, Reading]:
        """What the rung that speaks for each kind of layer looked at."""
        found: dict[str, Reading] = {}
        for rung in self._all().values():
            found |= rung.readings
        return {kind: found[kind] for kind in KINDS if kind in found}

    def _publish_maps(self) -> None:
        """The mean gate in colours, and the attention of the asked place."""
        readings = self._readings()
        gate, copied = readings.get("gated"), readings.get("attention")
        if isinstance(gate, Weighed):
            pixels = to_pixels(coloured(gate.stretched[None, None]))
            self.set_trait("gate_bytes", pixels.tobytes())
        if isinstance(copied, Copied):
            shares = copied.shares(*self._pixel)
            self.set_trait("attention_bytes", shares.numpy().tobytes())

    # ---- the still, and in words ---------------------------------------------------

    def still(self) -> Picture:
        """The hole, every fill with its error, and below them the five answers."""
        pixels = ladder_still(
            hide(self._image, self._hole),
            self._hole,
            self._around,
            self._pixel,
            {label: (rung.filled, rung.error) for label, rung in self._all().items()},
            self._readings(),
        )
        return Picture(pixels, repr(self))

    def __repr__(self) -> str:
        row, column = self._pixel
        where = "missing" if self._hole[0, 0, row, column] else "known"
        share = 100 * float(self._hole.mean())
        lines = [
            f"ladder explorer: {self.photo}, hole {share:.1f} % of the photo",
            f"mean absolute error in the hole: {self._told_errors()}",
            f"row {row}, column {column} ({where}):",
        ]
        for kind, answer in self.answers.items():
            lines.append(f"  {KINDS[kind].layer}: {answer.says}")
        return "\n".join(lines)

    def _told_errors(self) -> str:
        """Of each rung to four digits, and the best one."""
        if self.stage != "open":
            return "there is no hole" if self.stage == "empty" else "nothing is known"
        if self.best is None:
            return "the truth is not known"
        told = [f"{label} {error:.4f}" for label, error in self.errors.items()]
        return f"{', '.join(told)}; best: {self.best}"


def _networks(
    rungs: Mapping[str, nn.Module | str | Fill],
) -> dict[str, nn.Module | Fill]:
    """Each rung as what can be called; a name becomes the shipped network."""
    if not rungs:
        raise WidgetError("rungs is empty: give at least one, under a label")
    return {
        label: loaded(rung) if isinstance(rung, str) else rung
        for label, rung in rungs.items()
    }


def _about(rung: object, given: object) -> str:
    """What stands for a rung: the name it was given by, and how many weights it has."""
    name = given if isinstance(given, str) else type(rung).__name__
    if not isinstance(rung, nn.Module):
        return name
    return f"{name}, {sum(p.numel() for p in rung.parameters()):,} weights"


def _check_labels(rungs: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
    twice = [label for label in rungs if label in taken]
    if twice:
        raise WidgetError(
            f"a rung is called {twice[0]!r}, as one of the classical fills that stand "
            "beside the rungs: give it another label"
        )


def _speakers(rungs: Mapping[str, object]) -> dict[str, str]:
    """Kind of layer -> the label of the first rung that has one: it answers."""
    found: dict[str, str] = {}
    for kind, read in KINDS.items():
        have = [label for label, rung in rungs.items() if has(rung, read.kind)]
        if have:
            found[kind] = have[0]
    return found


def _called(rung: nn.Module | Fill, given: Tensor, hole: Tensor) -> Tensor:
    if isinstance(rung, nn.Module):
        at = device_of(rung)
        with evaluating(rung):
            found: Tensor = rung(given.to(at), hole.to(at))
        return found
    return rung(given, hole)


@contextmanager
def _heard(network: nn.Module, outputs: list[Tensor]) -> Iterator[None]:
    """Keeps what the network answers while it is read."""
    hook = network.register_forward_hook(lambda _, __, out: outputs.append(out))
    try:
        yield
    finally:
        hook.remove()
