"""Five layers asked about one pixel: what did you look at here? (lesson 10).

The ladder explorer shows the answers; a lesson may ask directly. Each class reads a
network once for a photo and its hole, ``read(network, image, hole)``, and then answers
for any pixel, ``ask(row, column)``. The layer that is asked is the first one at the
finest resolution, wherever in the network it lies.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from course_lib.layers import (
    ContextualAttention,
    DeformableSampling2d,
    GatedConv2d,
    MaskAwareDynamicConv2d,
    PartialConv2d,
)
from course_lib.widgets.attention_reading import AttentionMaps, feature_maps, row_facts
from course_lib.widgets.gate_reading import GatedLayer, record_gates
from course_lib.widgets.kernel_reading import (
    ALL,
    KernelLevel,
    mask_features,
    read_levels,
)
from course_lib.widgets.sampling_reading import SamplingLevel, read_sampling
from course_lib.widgets.sampling_still import zoom_half
from course_lib.widgets.window_reading import Layer, record_layers, window_facts

OPEN = 0.5  # from there a gate counts as open
FILTERS = 2  # that are drawn, those that change most


@dataclass(frozen=True)
class Answer:
    """What one layer says: in short, as a sentence, and in numbers to draw."""

    short: str
    says: str
    facts: dict[str, Any]


class Reading(Protocol):
    """What a network's layers of one kind looked at, for one photo and its hole."""

    layer: ClassVar[str]
    lesson: ClassVar[str]
    verb: ClassVar[str]
    kind: ClassVar[type[nn.Module]]

    @classmethod
    def read(cls, network: nn.Module, image: Tensor, hole: Tensor) -> Self:
        """Run the network once; ``image (1, 3, H, W)``, ``hole (1, 1, H, W)``."""
        ...

    def ask(self, row: int, column: int) -> Answer:
        """The answer for a pixel of the photo."""
        ...


@dataclass(frozen=True)
class Counted:
    """Partial convolution: which pixels of its window are known, and since when."""

    layer: ClassVar[str] = "partial convolution"
    lesson: ClassVar[str] = "04"
    verb: ClassVar[str] = "I counted"
    kind: ClassVar[type[nn.Module]] = PartialConv2d
    layers: list[Layer]
    photo: tuple[int, int]

    @classmethod
    def read(cls, network: nn.Module, image: Tensor, hole: Tensor) -> Self:
        """All layers that read validity, in the order they ran."""
        height, width = hole.shape[-2:]
        return cls(record_layers(network, image, hole), (height, width))

    @property
    def first(self) -> Layer:
        """The one that is asked."""
        return max(self.layers, key=lambda layer: layer.input_size)

    def ask(self, row: int, column: int) -> Answer:
        """``taps``: 0 unknown, 1 known, 2 outside; ``levels``: known after each."""
        first = self.first
        found = window_facts(first, *_cell(first.size, self.photo, row, column), 0)
        known, taps = found["known"][0], found["taps"][0]
        scale = self.photo[0] // first.input_size[0]
        levels = self._levels(row, column)
        facts = {
            "taps": taps,
            "window": [scale * value for value in found["box"]],
            "known": known,
            "total": len(taps),
            "outside": found["padding"],
            "ratio": found["ratio"],
            "levels": levels,
        }
        if known == len(taps):
            told = f"All {known} pixels of my window are known: nothing to make up for."
        elif known:
            told = (
                f"{known} of the {len(taps)} pixels of my window are known, so I scale "
                f"their sum by {found['ratio']:.2f}."
            )
        else:
            told = f"None of the {len(taps)} pixels of my window is known: I answer 0."
            since = levels.index(True) + 1 if True in levels else None
            told += f" {_since(since, len(levels))}"
        return Answer(f"{known} of {len(taps)} known", told, facts)

    def _levels(self, row: int, column: int) -> list[bool]:
        """Is anything known here, after each level of the way down?"""
        areas = [layer.size[0] * layer.size[1] for layer in self.layers]
        down = self.layers[: areas.index(min(areas)) + 1]
        return [
            bool(layer.valid[(0, 0, *_cell(layer.size, self.photo, row, column))])
            for layer in down
        ]


@dataclass(frozen=True)
class Weighed:
    """Gated convolution: how far each channel opened."""

    layer: ClassVar[str] = "gated convolution"
    lesson: ClassVar[str] = "05"
    verb: ClassVar[str] = "I weighed"
    kind: ClassVar[type[nn.Module]] = GatedConv2d
    first: GatedLayer
    photo: tuple[int, int]

    @classmethod
    def read(cls, network: nn.Module, image: Tensor, hole: Tensor) -> Self:
        """The gates of the finest layer."""
        found = record_gates(network, None, image, hole)
        height, width = hole.shape[-2:]
        return cls(max(found, key=lambda layer: layer.size), (height, width))

    @property
    def mean(self) -> Tensor:
        """The gate on average over the channels, ``(h, w)``."""
        return self.first.gate.mean(0)

    @property
    def stretched(self) -> Tensor:
        """The same, the least value as 0 and the largest as 1, to be drawn."""
        low, high = self.mean.aminmax()
        return (self.mean - low) / (high - low).clamp_min(1e-6)

    def ask(self, row: int, column: int) -> Answer:
        """``gates``: of each channel here, in ``[0, 1]``; ``low`` to ``high``: all."""
        cell = _cell(self.first.size, self.photo, row, column)
        here, mean = self.first.gate[:, cell[0], cell[1]], self.mean
        open_, count = int((here > OPEN).sum()), len(here)
        facts = {
            "size": list(self.first.size),
            "gates": here.tolist(),
            "open": open_,
            "channels": count,
            "mean": float(here.mean()),
            "photo": float(mean.mean()),
            "low": float(mean.min()),
            "high": float(mean.max()),
        }
        told = (
            f"{open_} of my {count} gates are over {OPEN} here; on average a gate is "
            f"{facts['mean']:.2f} open, {facts['photo']:.2f} over the whole photo."
        )
        return Answer(f"{open_} of {count} open", told, facts)


@dataclass(frozen=True)
class Copied:
    """Contextual attention: from where it copied, and how much."""

    layer: ClassVar[str] = "contextual attention"
    lesson: ClassVar[str] = "06"
    verb: ClassVar[str] = "I copied"
    kind: ClassVar[type[nn.Module]] = ContextualAttention
    maps: AttentionMaps
    attention: Tensor

    @classmethod
    def read(cls, network: nn.Module, image: Tensor, hole: Tensor) -> Self:
        """The layer with its own settings."""
        maps = feature_maps(network, image, hole)
        layer = maps.layer
        return cls(maps, maps.attend(layer.softmax_scale, layer.fuse))

    def ask(self, row: int, column: int) -> Answer:
        """``top``: the best sources; ``patch`` and each ``box`` in pixels."""
        maps, step = self.maps, self.maps.step
        cell = row // step, column // step
        if not maps.usable.any():
            told = "Every patch touches the hole: there is nothing that I may copy."
            return Answer("nothing to copy", told, {"top": [], "patch": None})
        facts = row_facts(maps, self.attention, cell)
        for source in facts["top"]:
            source["box"] = self._box(source["row"], source["column"])
        facts |= {"patch": self._box(*cell), "grid": list(maps.size)}
        best, most = facts["top"][0], facts["most"]
        far = "here itself" if best["way"] == "here" else f"{best['far']:.0f} px away"
        way = "" if best["way"] == "here" else f", {best['way']}"
        share = f"{100 * best['share']:.0f} %"
        told = f"I took {share} from the patch {far}{way}; "
        told += f"90 % come from {most} of {facts['usable']} patches."
        return Answer(f"{share} from one patch", told, facts)

    def shares(self, row: int, column: int) -> Tensor:
        """How much the place of a pixel takes from each other one, ``(keys,)``."""
        step = self.maps.step
        place = row // step * self.maps.size[1] + column // step
        return self.attention[place].float()

    def _box(self, row: int, column: int) -> list[int]:
        """The patch that is compared around a place, as far as it is in the photo."""
        step, side = self.maps.step, self.maps.layer.patch_size
        found = []
        for place, count in zip((row, column), self.maps.size, strict=True):
            low = max(0, place - side // 2)
            high = min(count, place - side // 2 + side)
            found.append((step * low, step * (high - low)))
        (top, height), (left, width) = found
        return [top, left, height, width]


@dataclass(frozen=True)
class Filtered:
    """Mask-aware dynamic filtering: the filters that were made for this window."""

    layer: ClassVar[str] = "mask-aware filtering"
    lesson: ClassVar[str] = "07"
    verb: ClassVar[str] = "I made a filter"
    kind: ClassVar[type[nn.Module]] = MaskAwareDynamicConv2d
    level: KernelLevel
    features: Tensor
    cosine: Tensor
    hole: Tensor

    @classmethod
    def read(cls, network: nn.Module, image: Tensor, hole: Tensor) -> Self:
        """The finest level; the filters depend on the hole alone."""
        level = min(read_levels(network), key=lambda each: each.number)
        features = mask_features(network, hole)[level.number - 1][0]
        return cls(level, features, level.compared(features)[0], hole)

    def ask(self, row: int, column: int) -> Answer:
        """``here`` and ``full``: the filters that differ most, mean over the inputs."""
        level = self.level
        place = row // level.stride, column // level.stride
        at = self.features[:, place[0], place[1]]
        here, full = (level.kernels(f).mean(1) for f in (at, level.full))
        apart = (here - full).flatten(1).norm(dim=1)
        chosen = apart.argsort(descending=True, stable=True)[:FILTERS]
        top, left, side, _ = level.window(*place)
        cosine = float(self.cosine[place])
        facts = {
            "here": here[chosen].flatten(1).tolist(),
            "full": full[chosen].flatten(1).tolist(),
            "outputs": chosen.tolist(),
            "count": len(here),
            "side": side,
            "limit": level.limits[ALL],
            "missing": self._missing(top, left, side).flatten().tolist(),
            "cosine": cosine,
            "angle": math.degrees(math.acos(min(1.0, max(-1.0, cosine)))),
        }
        if facts["angle"] < 1:
            told = "These are my usual filters: nothing is missing in this window."
        else:
            told = (
                f"I turned my {len(here)} filters by {facts['angle']:.0f} degrees from "
                "the usual ones (at 90 they share nothing), for what is missing in "
                "this window."
            )
        return Answer(f"turned by {facts['angle']:.0f}°", told, facts)

    def _missing(self, top: int, left: int, side: int) -> Tensor:
        """``(side, side)``: 1 where the photo is missing, also beyond its border."""
        height, width = self.hole.shape[-2:]
        padded = torch.ones(height + 2 * side, width + 2 * side)
        padded[side : side + height, side : side + width] = self.hole[0, 0]
        top, left = top + side, left + side
        return padded[top : top + side, left : left + side].long()


@dataclass(frozen=True)
class Moved:
    """Deformable sampling: where its reads lie, and what they find there."""

    layer: ClassVar[str] = "deformable sampling"
    lesson: ClassVar[str] = "08"
    verb: ClassVar[str] = "I looked elsewhere"
    kind: ClassVar[type[nn.Module]] = DeformableSampling2d
    level: SamplingLevel

    @classmethod
    def read(cls, network: nn.Module, image: Tensor, hole: Tensor) -> Self:
        """The finest level that chooses its reads."""
        return cls(read_sampling(network, image, hole)[0])

    def ask(self, row: int, column: int) -> Answer:
        """``reads``: row, column, validity and weight of each; ``half``: to zoom to."""
        reads = self.level.at(*self.level.cell(row, column))
        each = torch.cat(
            [reads.positions, torch.stack([reads.seen, reads.modulation], 1)], 1
        )
        count = len(reads.seen)
        facts = {
            "reads": each.tolist(),
            "unmoved": reads.unmoved.tolist(),
            "known": reads.after,
            "before": reads.before,
            "count": count,
            "length": reads.length,
            "half": zoom_half((row, column), reads, []),
        }
        told = (
            f"I moved my {count} reads by {reads.length:.1f} px on average: "
            f"{reads.after} find known pixels, unmoved {reads.before} would."
        )
        return Answer(f"{reads.after} of {count} known", told, facts)


KINDS: dict[str, type[Reading]] = {
    "partial": Counted,
    "gated": Weighed,
    "attention": Copied,
    "filter": Filtered,
    "sampling": Moved,
}


def has(network: object, kind: type[nn.Module]) -> bool:
    """Whether a layer of this kind is in a network."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    return any(isinstance(module, kind) for module in modules)


def _cell(
    size: tuple[int, int], photo: tuple[int, int], row: int, column: int
) -> tuple[int, int]:
    """The place of a map that a pixel of the photo belongs to."""
    return row * size[0] // photo[0], column * size[1] // photo[1]


def _since(level: int | None, count: int) -> str:
    if level is None:
        return f"I know nothing here on any of my {count} levels."
    return f"The first that I know here is on level {level} of {count}."
