"""Where a place of a network reads, and what it finds there, read by read (lesson 08).

The sampling explorer shows it; a lesson may ask directly. Positions are rows and
columns in pixels of the photo, whole numbers in the middle of a pixel. A pixel p of
what level k reads, the finest being level 0 here, is put at ``p * 2 ** k``: there are
the middles of the windows that it was made from.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers import DeformableSampling2d, Parts, pairs, promises, spread
from course_lib.layers.sampling import (
    known_share,
    padded,
    tap_positions,
    windows,
)
from course_lib.networks import UNet
from course_lib.networks.reading import device_of, evaluating
from course_lib.tensors import check_pair
from course_lib.widgets.base import WidgetError

KNOWN = 0.5  # of validity: from there a read counts as known


@dataclass(frozen=True)
class PlaceReads:
    """What one place of a level read: n reads, in the order of the window's taps.

    ``positions (n, 2)`` and ``unmoved (n, 2)``, where an ordinary window reads, in
    pixels of the photo; ``inputs (n, 2)`` as ``positions``, in pixels of what the level
    reads. ``seen (n,)`` and ``begins (n,)``: the validity there. ``missing (n,)``: the
    nearest pixel of the photo is in its hole; ``outside (n,)``: there is none.
    ``modulation (n,)``, 1 where the layer has none; ``shares (K,)`` of its kernels.
    """

    positions: Tensor
    unmoved: Tensor
    inputs: Tensor
    seen: Tensor
    begins: Tensor
    missing: Tensor
    outside: Tensor
    modulation: Tensor
    shares: Tensor | None

    @property
    def known(self) -> Tensor:
        """``(n,)``: which reads found a validity of at least one half."""
        return self.seen >= KNOWN

    @property
    def before(self) -> int:
        """How many reads of the unmoved window are known."""
        return int((self.begins >= KNOWN).sum())

    @property
    def after(self) -> int:
        """How many reads are known where they are."""
        return int(self.known.sum())

    @property
    def length(self) -> float:
        """How far a read was moved, on average, in pixels of the photo."""
        return float((self.positions - self.unmoved).norm(dim=1).mean())

    @property
    def spread(self) -> float:
        """Of the reads around their middle; 1 = as unmoved, 0 = all at one point."""
        moved, own = (
            float(spread(each[None, :, :, None, None]))
            for each in (self.positions, self.unmoved)
        )
        return moved / own if own else 1.0


@dataclass(frozen=True)
class SamplingLevel:
    """All reads of one level of an encoder, for one photo and its hole, on the CPU.

    ``number`` counts from 1, the finest; ``kernel`` is the window's height and width,
    ``scale`` the pixels of the photo between two of what the level reads, ``stride``
    those between two of its places. ``positions (n, 2, h, w)`` and ``unmoved`` in
    pixels of what it reads; ``seen``, ``begins`` and ``modulation (n, h, w)``,
    ``shares (K, h, w)``: see ``PlaceReads``. ``hole (H, W)`` is the photo's.
    """

    number: int
    kernel: tuple[int, int]
    scale: int
    stride: int
    positions: Tensor
    unmoved: Tensor
    seen: Tensor
    begins: Tensor
    modulation: Tensor | None
    shares: Tensor | None
    hole: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """How many places the level has, down and across."""
        return self.seen.shape[1], self.seen.shape[2]

    def cell(self, row: int, column: int) -> tuple[int, int]:
        """The place that a pixel of the photo belongs to."""
        return row // self.stride, column // self.stride

    def in_photo(self, positions: Tensor) -> Tensor:
        """From pixels of what the level reads to pixels of the photo."""
        return positions * self.scale

    def at(self, row: int, column: int) -> PlaceReads:
        """What a place read; ``row`` and ``column`` count places of this level."""
        size = self.size
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            raise WidgetError(
                f"no place at row {row}, column {column}: level {self.number} has "
                f"{size[0]} x {size[1]} places"
            )
        return self.every([(row, column)])[0]

    def every(self, places: Sequence[tuple[int, int]]) -> list[PlaceReads]:
        """The same for many places of this level at once."""
        rows, columns = torch.tensor(places, dtype=torch.long).view(-1, 2).unbind(1)

        def of(values: Tensor) -> Tensor:
            return values[..., rows, columns].movedim(-1, 0)

        inputs = of(self.positions)
        positions, unmoved = self.in_photo(inputs), self.in_photo(of(self.unmoved))
        seen = of(self.seen)
        missing, outside = self._on_photo(positions)
        weights = seen.new_ones(seen.shape)
        if self.modulation is not None:
            weights = of(self.modulation)
        one_kernel: list[Tensor | None] = [None] * len(places)
        shares = one_kernel if self.shares is None else [*of(self.shares)]
        each = (positions, unmoved, inputs, seen, of(self.begins), missing, outside)
        return [PlaceReads(*one) for one in zip(*each, weights, shares, strict=True)]

    def _on_photo(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Which positions lie on a missing pixel of the photo, and which on none."""
        size = torch.tensor(self.hole.shape)
        pixels = positions.round()
        outside = ((pixels < 0) | (pixels >= size)).any(-1)
        row, column = pixels.clamp(min=0).minimum(size - 1).long().unbind(-1)
        return (self.hole[row, column] > 0) & ~outside, outside


def read_sampling(
    network: nn.Module, image: Tensor, hole: Tensor
) -> list[SamplingLevel]:
    """The levels of a U-Net's encoder that choose their reads, the finest first.

    ``image (1, 3, H, W)``, ``hole (1, 1, H, W)``; the network runs once and is left as
    it was. Raises ``WidgetError`` for one without such a level.
    """
    check_pair(image, hole)
    layers = _layers(network)
    inputs: dict[int, Tensor] = {}
    at = device_of(network)
    with ExitStack() as stack:
        for number, layer in layers.items():
            hook = layer.register_forward_pre_hook(_keeper(inputs, number))
            stack.callback(hook.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(network))
        evidence = stack.enter_context(record(network))
        network(image[:1].to(at), hole[:1].to(at))
    names = {id(module): name for name, module in network.named_modules()}
    return [
        _level(number, layer, inputs[number], evidence[names[id(layer)]], hole)
        for number, layer in layers.items()
    ]


def reads_of_reads(below: SamplingLevel, reads: PlaceReads) -> list[PlaceReads | None]:
    """What each read found was itself read: its own reads, one level finer.

    A read of level k lies on the output of level k - 1, ``below``; the nearest place
    there is asked. None for a read that lies outside it, where nothing was read.
    """
    places = [(row, column) for row, column in reads.inputs.round().long().tolist()]
    size = below.size
    inside = [0 <= row < size[0] and 0 <= column < size[1] for row, column in places]
    there = iter(below.every([at for at, ok in zip(places, inside, strict=True) if ok]))
    return [next(there) if ok else None for ok in inside]


def _layers(network: nn.Module) -> dict[int, DeformableSampling2d]:
    """The layers that choose, by the number of their level."""
    stages = list(network.encoder) if isinstance(network, UNet) else []
    found = {
        number: cast(DeformableSampling2d, stage.conv)
        for number, stage in enumerate(stages, start=1)
        if promises(type(stage.conv), "chooses_reads")
    }
    if not found:
        raise WidgetError(
            f"this {type(network).__name__} chooses no reads: expected a UNet whose "
            "encoder does; build one by UNet(conv=DeformableSampling2d)"
        )
    return found


def _keeper(
    inputs: dict[int, Tensor], number: int
) -> Callable[[nn.Module, tuple[Parts, Parts]], None]:
    """A hook that keeps the validity that a layer is given, ``(1, 1, H, W)``."""

    def keep(_: nn.Module, given: tuple[Parts, Parts]) -> None:
        inputs[number] = known_share(pairs(*given))

    return keep


def _level(
    number: int,
    layer: DeformableSampling2d,
    share: Tensor,
    shown: dict[str, Tensor],
    hole: Tensor,
) -> SamplingLevel:
    unmoved = tap_positions(share, *layer.geometry)
    begins = windows(padded(share, layer.geometry, 0.0), layer.geometry)[0, :, 0]
    # A layer that moves nothing may read without positions
    found = {"positions": unmoved[None], "seen": begins[None], **shown}
    kept = {
        name: found[name][0].float().cpu() if name in found else None
        for name in ("positions", "seen", "modulation", "shares")
    }
    scale = hole.shape[-2] // share.shape[-2]
    return SamplingLevel(
        number,
        layer.kernel_size,  # type: ignore[arg-type]
        scale,
        scale * layer.stride[0],
        cast(Tensor, kept["positions"]),
        unmoved.float().cpu(),
        cast(Tensor, kept["seen"]),
        begins.float().cpu(),
        kept["modulation"],
        kept["shares"],
        hole[0, 0].float().cpu(),
    )
