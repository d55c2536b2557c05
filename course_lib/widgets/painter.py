"""The hole painter: paint a hole into a photo and watch it being filled (lesson 00)."""

import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from course_lib import fills as classical
from course_lib import zoo
from course_lib.evaluation import hole_psnr
from course_lib.networks.reading import device_of
from course_lib.pictures import Picture, grid, hatched, to_pixels
from course_lib.tensors import check_pair, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.photo_choice import PhotoChoice, Photos, gathered, put_in

Fill = Callable[[Tensor, Tensor], Tensor]
Facts = dict[str, Any]

NETWORK = "plain_unet"  # the shipped network behind the fill called "network"
PREFERRED = "harmonic"
STILL = 256  # pixels a side of each picture in the still
STAGES = ("empty", "full", "open", "filled")


class HolePainter(PhotoChoice):
    """Paint a hole with the mouse, a finger or the keys; a fill answers each stroke.

    ``photos``: an image ``(1, 3, H, W)`` in ``[0, 1]`` (used as it is), the name of a
    bundled photo or a list of names (cut to ``size`` x ``size``); by default a handful
    of the evaluation photos. ``fills``: label -> function
    ``(image (1, 3, H, W), hole (1, 1, H, W)) -> image``; by default the classical ones
    and the shipped network, loaded when it is first used. A fill gets the image with
    mid grey under the hole: no fill can peek. ``hole`` and ``fill`` are what to start
    with; ``brush`` is in pixels of the photo; ``live`` fills after every stroke.

    The next cell reads ``image``, ``hole`` and ``filled``; ``look`` paints from Python.
    Raises ``ContractError``, ``PhotoError`` or ``WidgetError``.
    """

    _esm = module("brush", "photo_strip", "painter")
    brush = traitlets.Int(18, min=2, max=64).tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    # The state on show. The page asks for changes by requests; only Python sets these.
    height = traitlets.Int(read_only=True).tag(sync=True)
    width = traitlets.Int(read_only=True).tag(sync=True)
    image_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    hole_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    filled_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    fill = traitlets.Unicode(read_only=True).tag(sync=True)
    fill_labels = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    stage = traitlets.Enum(STAGES, "empty", read_only=True).tag(sync=True)
    status = traitlets.Unicode(read_only=True).tag(sync=True)

    def __init__(
        self,
        photos: Photos = None,
        fills: Mapping[str, Fill] | None = None,
        *,
        hole: Tensor | None = None,
        fill: str | None = None,
        size: int = 256,
        brush: int = 18,
        live: bool = True,
        title: str = "Paint a hole",
    ) -> None:
        every = gathered(photos, size)
        self._fills = dict(_default_fills() if fills is None else fills)
        if not self._fills:
            raise WidgetError("fills is empty: give at least one {label: function}")
        self._results: dict[str, tuple[Tensor, float]] = {}
        self._image = self._hole = self._filled = torch.zeros(1, 1, 0, 0)
        super().__init__(title=title, brush=brush, live=live)
        self.set_trait("fill_labels", list(self._fills))
        self._offer(every, size)
        first = PREFERRED if PREFERRED in self._fills else next(iter(self._fills))
        self.look(hole, fill or first, next(iter(every)))

    @property
    def image(self) -> Tensor:
        """The photo as it was before any hole, ``(1, 3, H, W)`` in ``[0, 1]``."""
        return self._image.clone()

    @property
    def hole(self) -> Tensor:
        """What was painted: ``(1, 1, H, W)`` float, 1 = missing, 0 = known."""
        return self._hole.clone()

    @property
    def filled(self) -> Tensor:
        """The composite on show: the photo where it is known, the fill in the hole.

        ``(1, 3, H, W)`` in ``[0, 1]``. Where no fill has answered (the hole covers
        everything, or filling waits for its button) the hole is mid grey.
        """
        return self._filled.clone()

    def look(
        self,
        hole: Tensor | None = None,
        fill: str | None = None,
        photo: str | None = None,
    ) -> "HolePainter":
        """Do from Python what the page does: set a hole, a fill or a photo, and fill.

        ``hole`` is ``(1, 1, H, W)``, 1 = missing. What is left out stays as it is.
        Returns the painter. Raises ``ContractError``, ``WidgetError``, and whatever
        the fill raises.
        """
        self._show(photo or self.photo, fill or self.fill, hole)
        return self

    def answer(self, request: Facts) -> Facts:
        """Answer the page: ``show`` a state, take an ``upload``, ``compare`` a fill."""
        match request.get("kind"):
            case "show":
                return self._answer_show(request)
            case "upload":
                return self._answer_upload(request)
            case "compare":
                return self._answer_compare(request)
            case kind:
                raise WidgetError(f"The page asked for {kind!r}, which is unknown.")

    def still(self) -> Picture:
        """The photo with its hole hatched, and the filled photo beside it."""
        name = {"filled": f"filled by {self.fill}", "empty": "original"}
        columns = {
            "hole": hatched(self._image, self._hole),
            name.get(self.stage, "not filled"): self._filled,
        }
        scale = min(1.0, STILL / max(self.height, self.width))
        return grid(columns, scale=scale, text=repr(self))

    def __repr__(self) -> str:
        share = 100 * self._hole.mean().item()
        return (
            f"HolePainter({self.width}x{self.height}, hole {share:.1f} %, {self.fill})"
        )

    # ---- what the page asks -------------------------------------------------------

    def _answer_show(self, request: Facts) -> Facts:
        """The whole state that a view wants, so that its newest request is enough."""
        data = np.frombuffer(request["hole"], np.uint8)
        if data.size != self.height * self.width:
            raise WidgetError(
                "The painted hole does not fit the photo: paint it again."
            )
        hole = torch.from_numpy((data > 0).astype(np.float32))
        hole = hole.view(1, 1, self.height, self.width)
        photo = request["photo"] or self.photo
        fits = self._known_photo(photo).shape[-2:] == hole.shape[-2:]
        self._show(photo, request["fill"], hole if fits else None, request["run"])
        return {}

    def _answer_upload(self, request: Facts) -> Facts:
        given = (request[name] for name in ("name", "first", "last", "part"))
        label = self._take_part(*given)
        if label is not None:
            self._show(label, self.fill, run=self.live)
        return {}

    def _answer_compare(self, request: Facts) -> Facts:
        """What one fill makes of the hole, beside the one on show."""
        label = self._known_fill(request["fill"])
        if self.stage in ("empty", "full"):
            return {"fill": label, "picture": to_pixels(self._filled).tobytes()}
        result, _ = self._result(label)
        reply = {"fill": label, "picture": to_pixels(result).tobytes()}
        decibels = hole_psnr(result, self._image, self._hole).item()
        known = not math.isnan(decibels)  # else the photo has NaN under the hole
        return reply | ({"psnr": min(99.0, decibels)} if known else {})

    # ---- the state ----------------------------------------------------------------

    def _show(
        self, photo: str, fill: str, hole: Tensor | None = None, run: bool = True
    ) -> None:
        """Change the state and fill; nothing changes if an argument is wrong."""
        image, fill = self._known_photo(photo), self._known_fill(fill)
        if hole is None:
            fits = self._hole.shape[-2:] == image.shape[-2:]
            hole = self._hole if fits else torch.zeros_like(image[:, :1])
        check_pair(image, hole)
        hole = hole.detach().float().cpu()
        if image is not self._image or not torch.equal(hole, self._hole):
            self._results.clear()
        self._image, self._hole = image, hole.clone()
        self.set_trait("photo", photo)
        self.set_trait("fill", fill)
        try:
            self._refill(run)
        finally:
            self._publish()

    def _refill(self, run: bool) -> None:
        share = f"Hole {100 * self._hole.mean().item():.1f} % of the photo"
        self._filled = hide(self._image, self._hole)
        if not self._hole.any():
            self._tell("empty", "No hole yet: this is the original.")
        elif self._hole.all():
            self._tell(
                "full", "The hole covers everything: nothing is known to fill from."
            )
        else:
            self._tell("open", f"{share}, not filled yet.")
            if run:
                self._filled, ms = self._result(self.fill)
                name = self.fill.replace("_", " ")
                self._tell("filled", f"{share}. Filled by {name} in {ms:.0f} ms.")

    def _result(self, label: str) -> tuple[Tensor, float]:
        """The composite that a fill makes of this photo and hole, and its time in ms.

        Kept until the photo or the hole changes.
        """
        if label not in self._results:
            started = time.perf_counter()
            fill = self._fills[label]
            at = device_of(fill)
            with torch.no_grad():
                seen = hide(self._image, self._hole)
                guess = fill(seen.to(at), self._hole.clone().to(at))
            result = put_in(guess, label, self._image, self._hole)
            self._results[label] = result, 1000 * (time.perf_counter() - started)
        return self._results[label]

    def _tell(self, stage: str, status: str) -> None:
        self.set_trait("stage", stage)
        self.set_trait("status", status)

    def _publish(self) -> None:
        """Send the state to every view, in one message."""
        with self.hold_sync():
            self.set_trait("height", self._image.shape[-2])
            self.set_trait("width", self._image.shape[-1])
            self.set_trait("image_bytes", to_pixels(self._image).tobytes())
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
            self.set_trait("filled_bytes", to_pixels(self._filled).tobytes())

    def _known_fill(self, label: str) -> str:
        if label not in self._fills:
            raise WidgetError(f"no fill {label!r}; there are {', '.join(self._fills)}")
        return label


def _default_fills() -> dict[str, Fill]:
    network = {"network": _network_fill} if NETWORK in zoo.names() else {}
    return {**classical.available(), **network}


def _network_fill(image: Tensor, hole: Tensor) -> Tensor:
    return _network()(image, hole)


@lru_cache
def _network() -> nn.Module:
    return zoo.load(NETWORK)
