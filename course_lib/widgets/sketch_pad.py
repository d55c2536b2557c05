"""The sketch pad: draw lines into a hole and watch the fill follow them (lesson 05)."""

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from course_lib import holes
from course_lib import sketch as drawing
from course_lib.evaluation import hole_l1
from course_lib.networks.reading import device_of
from course_lib.pictures import QUERY, Picture, grid, hatched, to_pixels
from course_lib.tensors import ContractError, check_pair, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.photo_choice import PhotoChoice, Photos, gathered, put_in
from course_lib.widgets.pixel_explorer import PixelExplorer, loaded

NETWORKS = {  # as many steps, without and with a critic
    "without a critic": "coarse_to_fine_longer",
    "with a critic": "coarse_to_fine_gan",
}
REACH = 2  # pixels between a line and an edge of the fill that meets it
FADED = 0.35  # of a line outside the hole, in the still
MARGIN = 12  # pixels around the hole and the lines, in the still

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
Networks = Mapping[str, Network | str] | Network | str
Facts = dict[str, Any]


class SketchPad(PhotoChoice, PixelExplorer):
    """Draw lines into the hole of a photo: each network fills it with and without them.

    ``image``: ``(1, 3, H, W)`` in ``[0, 1]``, used as it is; or the name of a bundled
    photo, or several, cut to ``size`` x ``size``; by default a handful of the
    evaluation photos. ``hole``: ``(1, 1, H, W)``, 1 = missing; by default a square in
    the middle. ``networks``: label -> ``network(image, hole, sketch) -> image`` or the
    name of a shipped one; a single one will do. A network gets mid grey under the hole
    and the lines inside it.

    The next cell reads ``image``, ``hole``, ``sketch`` and the composites in ``fills``
    and ``fills_without``. ``draw``, ``draw_edges`` and ``look`` do from Python what the
    page does; they change nothing when they raise: ``WidgetError``, ``ContractError``,
    ``PhotoError`` or ``ZooError``, and what a network raises.
    """

    _esm = module("pixel_explorer", "brush", "photo_strip", "sketch_pad")
    asks: ClassVar = {
        "show": "_take_state",
        "edges": "draw_edges",
        "upload": "_take_file",
    }
    first_side = 0.4
    # One byte a pixel: 1 = drawn, 2 = an edge of the hidden photo.
    sketch_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    # For each label the composite without the lines, then the one with them.
    fills_bytes = traitlets.List(traitlets.Bytes(), read_only=True).tag(sync=True)

    def __init__(
        self,
        image: Photos = None,
        hole: Tensor | None = None,
        *,
        networks: Networks = NETWORKS,
        size: int = 128,
        title: str = "What do your lines change?",
    ) -> None:
        self._networks = _named(networks)
        every = gathered(image, size)
        first = next(iter(every))
        super().__init__(every[first], hole, size=size, title=title)
        self._offer(every | {first: self._image}, size)
        self.set_trait("labels", list(self._networks))
        self._plain: dict[str, Tensor] = {}
        self._near: dict[str, Tensor] = {}  # of the fills without lines: kept
        self._change(first, self._hole, torch.zeros_like(self._hole))

    @property
    def sketch(self) -> Tensor:
        """Every line drawn, ``(1, 1, H, W)``, 1 on a line; networks read the hole's."""
        return (self._marks > 0).float()

    @property
    def fills(self) -> dict[str, Tensor]:
        """Label -> composite ``(1, 3, H, W)`` that followed the lines."""
        return dict(self._guided)

    @property
    def fills_without(self) -> dict[str, Tensor]:
        """Label -> composite ``(1, 3, H, W)`` of the same network without lines."""
        return dict(self._plain)

    def draw(self, sketch: Tensor) -> "SketchPad":
        """Show these lines instead of those on show; returns the pad.

        ``sketch (1, 1, H, W)``, 1 on a line, else 0. Raises ``ContractError``.
        """
        return self.look(sketch)

    def draw_edges(self) -> "SketchPad":
        """Draw the true edges of the hidden photo into the hole, instead of all lines.

        They are given, as in training: a fill that has them was told what it could
        not know. Returns the pad. Raises ``WidgetError`` where the photo is unknown.
        """
        if not self._image.isfinite().all():
            raise WidgetError("What the hole hides is unknown: it has no edges.")
        found = drawing.edges(self._image.clamp(0, 1))
        self._change(self.photo, self._hole, 2 * found * self._hole)
        return self

    def look(
        self,
        sketch: Tensor | None = None,
        hole: Tensor | None = None,
        photo: str | None = None,
    ) -> "SketchPad":
        """Set lines, a hole or a photo; what is left out stays; returns the pad.

        Lines do not stay when the photo changes. A hole is resized when it must be.
        """
        label = photo or self.photo
        image = self._known_photo(label)
        if hole is None:
            height, width = image.shape[-2:]
            fits = self._hole.shape[-2:] == (height, width)
            hole = self._hole if fits else holes.resize(self._hole, (height, width))
        if sketch is not None:
            marks = _checked_lines(sketch, hole)
        elif image is self._image and self._marks.shape == hole.shape:
            marks = self._marks
        else:
            marks = torch.zeros_like(hole)
        self._change(label, hole.detach().float().cpu(), marks)
        return self

    def still(self) -> Picture:
        """The hole with its lines, and each network's fill without and with them."""
        names, part = list(self._networks), self._framed()
        column = hatched(self._image, self._hole)
        column = _inked(column, self._marks, self._hole).expand(len(names), -1, -1, -1)
        columns = {
            "hole and lines": column[part],
            "without lines": torch.cat([self._plain[name] for name in names])[part],
            "with the lines": torch.cat([self._guided[name] for name in names])[part],
        }
        rows = names if len(names) > 1 else ()
        return grid(columns, rows=rows, text=f"{self!r}: {self.shown['told']}")

    def _framed(self) -> tuple[Any, ...]:
        """Where the hole and the lines lie, with a margin; everything without them."""
        found = ((self._hole + self._marks)[0, 0] > 0).nonzero()
        if not len(found):
            return (...,)
        low = (found.amin(0) - MARGIN).clamp(min=0).tolist()
        high = (found.amax(0) + 1 + MARGIN).tolist()
        return (..., *(slice(a, b) for a, b in zip(low, high, strict=True)))

    def __repr__(self) -> str:
        shown = self.shown
        given = f", {shown['given']} of them edges of the photo" * bool(shown["given"])
        return (
            f"SketchPad({self.width}x{self.height}, {self.photo}, hole "
            f"{100 * self._hole.mean().item():.1f} %, {shown['counted']} line pixels "
            f"count{given}, {shown['outside']} do not; {', '.join(self._networks)})"
        )

    # ---- what the page asks -------------------------------------------------------

    def _take_state(self, photo: str | None, hole: bytes, sketch: bytes) -> None:
        """The whole state that a view wants, so that its newest request is enough."""
        if photo is not None and photo != self.photo:
            self.look(hole=self._read(hole) if self._fits(photo) else None, photo=photo)
        else:
            marks = self._read(sketch).clamp(max=2)
            self._change(self.photo, self._read(hole).clamp(max=1), marks)

    def _take_file(self, **part: Any) -> None:
        label = self._take_part(**part)
        if label is not None:
            self.look(photo=label)

    def _fits(self, photo: str) -> bool:
        return self._known_photo(photo).shape[-2:] == self._hole.shape[-2:]

    def _read(self, data: bytes) -> Tensor:
        if len(data) != self._hole.numel():
            raise WidgetError("The drawing does not fit the photo: draw it again.")
        values = torch.from_numpy(np.frombuffer(data, np.uint8).astype(np.float32))
        return values.view_as(self._hole)

    # ---- the state ----------------------------------------------------------------

    def _change(self, photo: str, hole: Tensor, marks: Tensor) -> None:
        """Take a whole new state; nothing changes when a part of it is wrong."""
        image = self._known_photo(photo)
        check_pair(image, hole)
        started = time.perf_counter()
        same = image is self._image and torch.equal(hole, self._hole)
        lines = torch.where(hole.bool(), marks.sign(), 0.0)
        nothing = torch.zeros_like(lines)
        plain = (
            self._plain if same and self._plain else self._fill(image, hole, nothing)
        )
        guided = self._fill(image, hole, lines) if lines.any() else dict(plain)
        self._image, self._hole, self._marks = image, hole.clone(), marks.clone()
        self._near = self._near if plain is self._plain else {}
        self._plain, self._guided = plain, guided
        self._publish(photo, lines, 1000 * (time.perf_counter() - started))

    def _fill(self, image: Tensor, hole: Tensor, lines: Tensor) -> dict[str, Tensor]:
        """What each network makes of the hole; none is asked where none can answer."""
        if not hole.any() or hole.all():
            return dict.fromkeys(self._networks, hide(image, hole))
        found = {}
        for label, network in self._networks.items():
            device = device_of(network)
            given = (hide(image, hole), hole, lines)
            with torch.no_grad():
                guess = network(*(part.to(device).clone() for part in given))
            found[label] = put_in(guess, label, image, hole)
        return found

    def _publish(self, photo: str, lines: Tensor, ms: float) -> None:
        given = int(((self._marks == 2) & (lines > 0)).sum())
        facts = {
            "networks": self._scores(lines),
            "counted": int(lines.sum()),
            "given": given,
            "outside": int((self._marks > 0).sum() - lines.sum()),
            "hole": int(self._hole.sum()),
        }
        facts["told"] = self._told(facts)
        facts["ms"] = ms
        pairs = [(self._plain[k], self._guided[k]) for k in self._networks]
        pictures = [to_pixels(picture).tobytes() for pair in pairs for picture in pair]
        seen = hide(self._image, self._hole)  # what is hidden never reaches the page
        with self.hold_sync():
            self.set_trait("photo", photo)
            self.set_trait("height", self._image.shape[-2])
            self.set_trait("width", self._image.shape[-1])
            self.set_trait("image_bytes", to_pixels(seen).tobytes())
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
            self.set_trait("sketch_bytes", self._marks.byte().numpy().tobytes())
            self.set_trait("fills_bytes", pictures)
            self.set_trait("shown", facts)

    def _scores(self, lines: Tensor) -> list[Facts]:
        """For each network the error of both fills, and how far they meet the lines.

        An error is None where it is unknown: no hole, or a hidden photo with NaN.
        """

        answered = bool(self._hole.any() and not self._hole.all())

        drawn = answered and bool(lines.any())

        def score(filled: Tensor, near: Tensor | None) -> Facts:
            error = float(hole_l1(filled, self._image, self._hole))
            known = answered and np.isfinite(error)
            met = None if near is None else _met(near, lines)
            return {"l1": error if known else None, "met": met}

        found = []
        for name in self._networks:
            plain, guided = self._plain[name], self._guided[name]
            if drawn and name not in self._near:
                self._near[name] = _near_edges(plain)
            without = self._near[name] if drawn else None
            followed = _near_edges(guided) if drawn else None
            found.append(
                {"without": score(plain, without), "with": score(guided, followed)}
            )
        return found

    def _told(self, facts: Facts) -> str:
        if not facts["hole"]:
            return "No hole: choose Hole and paint one."
        if self._hole.all():
            return "The hole covers everything: nothing is known to fill from."
        counted, outside, given = (facts[k] for k in ("counted", "outside", "given"))
        text = f"{counted} line pixels count" if counted else "No line counts yet"
        if outside:
            text += f", {outside} outside the hole do not"
        text += "." if counted else ": both fills are the same."
        if given:
            text += f" {given} are edges of the hidden photo, given as a condition."
        pairs = zip(self._networks, facts["networks"], strict=True)
        errors = [_error(name, scores, counted) for name, scores in pairs]
        return f"{text} Hole L1: {'; '.join(errors)}."


def _near_edges(picture: Tensor) -> Tensor:
    """1 where a Canny edge is at most ``REACH`` pixels away, along both axes."""
    return F.max_pool2d(drawing.edges(picture), 2 * REACH + 1, 1, REACH)


def _met(near: Tensor, lines: Tensor) -> float:
    """The share of the lines' pixels that have an edge of the picture near them."""
    return float(near[lines.bool()].mean())


def _named(networks: Networks) -> dict[str, Network]:
    if isinstance(networks, str):
        networks = {networks: networks}
    elif not isinstance(networks, Mapping):
        networks = {"network": networks}
    if not networks:
        raise WidgetError("networks is empty: give at least one {label: network}")
    return {
        label: loaded(network) if isinstance(network, str) else network
        for label, network in networks.items()
    }


def _checked_lines(sketch: Tensor, hole: Tensor) -> Tensor:
    if sketch.shape != hole.shape:
        raise ContractError(
            f"sketch {tuple(sketch.shape)}, expected the hole's shape "
            f"{tuple(hole.shape)}"
        )
    lines = sketch.detach().float().cpu()
    if ((lines != 0) & (lines != 1)).any():
        raise ContractError("a sketch holds only 0 and 1 (a line): (drawn > 0.5)")
    return lines


def _inked(picture: Tensor, marks: Tensor, hole: Tensor) -> Tensor:
    """Lines over a picture: drawn ones yellow, given ones white, faded outside."""
    ink = torch.tensor([int(QUERY[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    colour = torch.where(marks == 2, 1.0, ink.view(3, 1, 1))
    strength = torch.where(hole.bool(), 1.0, FADED) * marks.sign()
    return torch.where(marks > 0, strength * colour + (1 - strength) * picture, picture)


def _error(name: str, scores: Facts, counted: int) -> str:
    without, guided = scores["without"]["l1"], scores["with"]["l1"]
    if without is None:
        return f"{name} unknown"
    if not counted:
        return f"{name} {without:.3f}"
    return f"{name} {without:.3f}, with the lines {guided:.3f}"
