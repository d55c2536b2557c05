"""The sampling explorer: where the window of a place reads, and what (lesson 08)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.pictures import Picture, to_pixels
from course_lib.tensors import check_pair, hide
from course_lib.widgets.base import WidgetError, module
from course_lib.widgets.pixel_explorer import (
    PHOTO,
    THUMBNAIL,
    AskedPixel,
    Box,
    beside,
    cut,
    deepest,
    loaded,
    placed,
    small,
)
from course_lib.widgets.sampling_reading import (
    PlaceReads,
    SamplingLevel,
    read_sampling,
    reads_of_reads,
)
from course_lib.widgets.sampling_still import reads_still, zoom_half

NETWORKS = {
    "free": "sampling_free",
    "constrained": "sampling_constrained",
    "recommended": "sampling_recommended",
    "selection": "sampling_selection",
}
PHOTOS = (PHOTO, "hawamahal", "hedgehog", "scarlet_macaw")  # none was trained on
OWN = "yours"  # a photo that was given

Levels = dict[int, SamplingLevel]


class SamplingExplorer(AskedPixel):
    """Ask a place of a photo where a layer reads for it, known or not.

    ``networks``: label -> a ``UNet`` whose encoder chooses its reads, or the name of a
    shipped one; one of them is on show, the others stand beside it in numbers. By
    default the shipped four: reads free, constrained, recommended (begun outside the
    hole), and that with a selection of kernels. They are read at the start and for
    each photo and hole, so make a new explorer after training one on. ``image``:
    ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, or the name of a bundled photo, of
    which the central square is shown at ``size``. ``hole``: ``(1, 1, H, W)``, 1 =
    missing; by default a square in the middle.

    ``look`` asks about a pixel; ``network``, ``layer`` (1 is the finest) and
    ``follow`` (reads of reads) can be set; ``set`` changes them, the photo and the
    hole together. ``reads`` is what the place on show read, ``levels`` all of the
    network on show. Raises ``WidgetError``, ``ContractError`` or ``ZooError`` and then
    changes nothing.
    """

    _esm = module("pixel_explorer", "hole_canvas", "reads", "sampling_explorer")
    asks: ClassVar = {
        "look": "look",
        "network": "set",
        "layer": "set",
        "follow": "set",
        "photo": "set",
        "place": "set",
    }
    controls = traitlets.Dict(read_only=True).tag(sync=True)
    thumbnails_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    reads_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    further_bytes = traitlets.Bytes(read_only=True).tag(sync=True)

    def __init__(
        self,
        networks: Mapping[str, nn.Module | str] = NETWORKS,
        image: Tensor | str | None = None,
        hole: Tensor | None = None,
        *,
        size: int = 128,
        title: str = "Where does this place read?",
    ) -> None:
        if not networks:
            raise WidgetError("networks is empty: give at least one, under a label")
        self._networks = {label: loaded(given) for label, given in networks.items()}
        super().__init__(image, hole, size=size, title=title)
        self._photo = OWN if isinstance(image, Tensor) else image or PHOTO
        self._photos = beside(self._photo, self._image, PHOTOS)
        self._pattern, self._box = cut(self._hole)
        self._network = next(iter(self._networks))
        self._follow = False
        self._found: dict[str, Levels] = {}
        self._take(self._photo, self._pattern, self._box)
        self._layer = min(self._found[self._network])
        self._publish_choices()
        self._publish()

    @property
    def network(self) -> str:
        """The label of the network on show; set it to see another."""
        return self._network

    @network.setter
    def network(self, label: str) -> None:
        """Show the network of this label."""
        self.set(network=label)

    @property
    def layer(self) -> int:
        """The number of the layer on show, 1 the finest; set it to see another."""
        return self._layer

    @layer.setter
    def layer(self, number: int) -> None:
        """Show this layer, 1 the finest."""
        self.set(layer=number)

    @property
    def follow(self) -> bool:
        """Whether the reads of reads are on show, one layer finer."""
        return self._follow

    @follow.setter
    def follow(self, on: bool) -> None:
        """Show the reads of reads, or hide them."""
        self.set(follow=on)

    @property
    def levels(self) -> list[SamplingLevel]:
        """All that the layers of the network on show read, the finest first."""
        return list(self._found[self._network].values())

    @property
    def reads(self) -> PlaceReads:
        """What the asked place read on the layer on show."""
        return self._at(self._network)

    def set(
        self,
        *,
        network: str | None = None,
        layer: int | None = None,
        follow: bool | None = None,
        photo: str | None = None,
        hole: Tensor | None = None,
        box: Box | None = None,
    ) -> "SamplingExplorer":
        """Change the network, the layer, the photo or the hole; returns the explorer.

        ``follow`` shows the reads of reads, which the finest layer has not: there it
        waits. ``hole`` is a tensor, ``box`` (top, left, height, width) where it lies;
        only a rectangle takes another height and width.
        """
        label = network or self._network
        number = self._checked(label, layer)
        if photo is not None and photo not in self._photos:
            known = ", ".join(self._photos)
            raise WidgetError(f"no photo {photo!r}; there are {known}")
        pattern, place = self._pattern, self._box
        if hole is not None:
            hole = hole[:1].detach().float().cpu()
            check_pair(self._image, hole)
            pattern, place = cut(hole)
        if box is not None:
            pattern, place = placed(pattern, box, self.height, self.width)
        if photo is not None or hole is not None or box is not None:
            self._take(photo or self._photo, pattern, place)
        self._network, self._layer = label, number
        self._follow = self._follow if follow is None else bool(follow)
        self._publish()
        return self

    def _checked(self, label: str, layer: int | None) -> int:
        """The layer to show of a network; one that it lacks becomes its nearest."""
        if label not in self._found:
            known = ", ".join(self._found)
            raise WidgetError(f"no network {label!r}; there are {known}")
        there = self._found[label]
        if layer is None:
            return min(there, key=lambda number: abs(number - self._layer))
        if layer not in there:
            known = ", ".join(map(str, there))
            raise WidgetError(
                f"no layer {layer!r} that chooses its reads; there are {known}, the "
                "first the finest"
            )
        return layer

    # ---- changing and telling -----------------------------------------------------

    def _take(self, photo: str, pattern: Tensor, box: Box) -> None:
        """Read another photo or hole; nothing changes when a network cannot."""
        top, left, height, width = box
        hole = torch.zeros(1, 1, self.height, self.width)
        hole[..., top : top + height, left : left + width] = pattern
        image = self._photos[photo]
        check_pair(image, hole)
        self._found = {
            label: {level.number: level for level in read_sampling(each, image, hole)}
            for label, each in self._networks.items()
        }
        self._photo, self._pattern, self._box = photo, pattern, box
        self._image, self._hole = image, hole
        self._deepest = deepest(hole)

    def _publish_choices(self) -> None:
        """What does not change: photos, networks, and the layers of each."""
        layers = {
            label: [
                {
                    "number": level.number,
                    "kernel": list(level.kernel),
                    "size": list(level.size),
                    "scale": level.scale,
                    "stride": level.stride,
                }
                for level in levels.values()
            ]
            for label, levels in self._found.items()
        }
        more = {"photos": [*self._photos], "thumbnail": THUMBNAIL}
        data = b"".join(small(photo) for photo in self._photos.values())
        with self.hold_sync():
            self.set_trait("controls", {"networks": layers, **more})
            self.set_trait("thumbnails_bytes", data)

    def _publish(self) -> None:
        given = hide(self._image, self._hole)
        with self.hold_sync():
            self.set_trait("image_bytes", to_pixels(given).tobytes())
            self.set_trait("hole_bytes", self._hole.byte().numpy().tobytes())
            self._tell()

    def _tell(self) -> None:
        """The asked place alone: slices of what was read already."""
        reads, further = self.reads, self._further()
        with self.hold_sync():
            self.set_trait("reads_bytes", _floats(_rows(reads)))
            self.set_trait("further_bytes", _floats(_parents(further)))
            self.set_trait("shown", self._facts(reads, further))

    def _facts(
        self, reads: PlaceReads, further: list[PlaceReads | None]
    ) -> dict[str, Any]:
        row, column = self._pixel
        level = self._found[self._network][self._layer]
        return {
            "network": self._network,
            "layer": self._layer,
            "follow": self._follow,
            "photo": self._photo,
            "row": row,
            "column": column,
            "cell": list(level.cell(row, column)),
            "missing_here": bool(self._hole[0, 0, row, column]),
            "box": list(self._box),
            "rectangle": bool(self._pattern.all()) and self._box[2] > 0,
            "share": float(self._hole.mean()),
            "count": len(reads.seen),
            "before": reads.before,
            "after": reads.after,
            "missing": int(reads.missing.sum()),
            "outside": int(reads.outside.sum()),
            "length": reads.length,
            "spread": reads.spread,
            "shares": None if reads.shares is None else reads.shares.tolist(),
            "further": _summed(further),
            "rivals": self._rivals(),
            "half": zoom_half((row, column), reads, further),
        }

    def _rivals(self) -> list[dict[str, Any]]:
        """Known reads of this place in every network that has the layer."""
        have = [k for k, levels in self._found.items() if self._layer in levels]
        every = {label: self._at(label) for label in have}
        return [
            {"network": label, "known": reads.after, "count": len(reads.seen)}
            for label, reads in every.items()
        ]

    def _further(self) -> list[PlaceReads | None]:
        """The reads of reads, where they are asked for and there are any."""
        below = self._found[self._network].get(self._layer - 1)
        if not self._follow or below is None:
            return []
        return reads_of_reads(below, self.reads)

    def _at(self, label: str) -> PlaceReads:
        level = self._found[label][self._layer]
        return level.at(*level.cell(*self._pixel))

    # ---- the still ----------------------------------------------------------------

    def still(self) -> Picture:
        """The photo with the reads of the place, the same enlarged, and the facts."""
        given = hide(self._image, self._hole)
        every = (self.reads, self._further())
        pixels = reads_still(given, self._hole, self._pixel, *every, self._lines())
        return Picture(pixels, repr(self))

    def _lines(self) -> list[str]:
        shown = self.shown
        told = repr(self).removeprefix("sampling explorer: ").split("; ")
        rivals = ", ".join(
            f"{each['network']} {each['known']} of {each['count']}"
            for each in shown["rivals"]
        )
        signs = (
            "teal dot: a known read; vermilion cross: an unknown one; area: its weight"
        )
        return [told[0], "; ".join(told[1:]), f"known here: {rivals}", signs]

    def __repr__(self) -> str:
        shown = self.shown
        where = "missing" if shown["missing_here"] else "known"
        count = shown["count"]
        lost = shown["missing"]
        beyond = f", {shown['outside']} outside it" if shown["outside"] else ""
        kernels = shown["shares"]
        shares = "" if kernels is None else f"; kernel shares {_shares(kernels)}"
        return (
            f"sampling explorer: {shown['network']}, layer {shown['layer']}, row "
            f"{shown['row']}, column {shown['column']} ({where}): of {count} reads "
            f"{shown['before']} known unmoved, {shown['after']} where they are; "
            f"{lost} in the photo's hole ({100 * lost / count:.0f} %){beyond}; moved "
            f"by {shown['length']:.1f} px on average, spread {shown['spread']:.2f} "
            f"times as unmoved{shares}{_told(shown['further'])}"
        )


def _rows(reads: PlaceReads) -> Tensor:
    """``(n, 7)``: where each read is and was, what it found, how much it counts."""
    kinds = reads.missing.float() + 2 * reads.outside.float()
    columns = [reads.seen, reads.modulation, kinds]
    return torch.cat(
        [reads.positions, reads.unmoved, torch.stack(columns, 1)], 1
    ).float()


def _parents(further: list[PlaceReads | None]) -> Tensor:
    """``(m, 5)``: row, column, validity, modulation, and which read each belongs to."""
    rows = [
        torch.cat(
            [
                each.positions,
                torch.stack([each.seen, each.modulation], 1),
                torch.full((len(each.seen), 1), float(k)),
            ],
            1,
        )
        for k, each in enumerate(further)
        if each is not None
    ]
    return torch.cat(rows).float() if rows else torch.zeros(0, 5)


def _summed(further: list[PlaceReads | None]) -> dict[str, int] | None:
    if not further:
        return None
    found = [each for each in further if each is not None]
    return {
        "count": sum(len(each.seen) for each in found),
        "known": sum(each.after for each in found),
        "missing": sum(int(each.missing.sum()) for each in found),
        "nowhere": len(further) - len(found),
    }


def _told(further: dict[str, int] | None) -> str:
    if further is None:
        return ""
    return f"; of their {further['count']} own reads {further['known']} known"


def _shares(shares: list[float]) -> str:
    return ", ".join(f"{share:.2f}" for share in shares)


def _floats(value: Tensor) -> bytes:
    return value.contiguous().numpy().tobytes()
