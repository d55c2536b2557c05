"""Deformable sampling that knows the hole: look where it is worth looking; lesson 08.

Cai et al. 2024, "Deformable dynamic sampling and dynamic predictable mask mining for
image inpainting". Only the abstract is public. From it: deformable convolution, a
constraint that keeps the reads out of corrupted regions, kernels that are selected by
content. How each is done here is our choice.
"""

from math import prod
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.layers import sampling_training
from course_lib.layers.parts import Parts, pairs
from course_lib.layers.sampling import (
    Geometry,
    Pair,
    faster,
    known_features,
    known_share,
    padded,
    read,
    tap_positions,
    ways,
    windows,
)

FADES = 4.0  # pixels: from there a read counts half for who is told "near"
NOTHING = 1e-3  # of one read: what a window read must exceed to be known


class Reads(NamedTuple):
    """What a layer decided for each place of its output."""

    offsets: Tensor  # (N, n, 2, H', W') from the ordinary window, in pixels
    learned: Tensor  # the part of them that the head chose
    movable: Tensor  # (N, n, 1, H', W') which of them it may choose
    modulation: Tensor | None  # (N, n, H', W')
    shares: Tensor | None  # (N, K, H', W')


class DeformableSampling2d(nn.Conv2d):
    """A convolution that moves its reads out of the hole, and beyond that learns to.

    ``y = sum_k w_k m_k (v x)_k * n / sum_k (m_k v_k) + b``: features times validity,
    and validity, are read at the same moved positions, so that between a known and an
    unknown pixel the known one counts. Exactly 0, and unknown, where nothing known is
    read. A modulation that all reads of a window have in common cancels.
    Every piece is a choice of ours that can be switched:

    - ``starts="nearest"``: a tap that begins on an unknown place, or outside, begins
      at the nearest known place instead; ``"window"``: all stay where they are.
    - ``moves``: which taps learned offsets move from there: those that began on
      ``"unknown"`` places, ``"all"``, or ``"none"``. At most by ``reach`` pixels of
      this layer's input: ``reach * tanh(o / reach)``.
    - ``modulated``: each read is scaled by ``2 * sigmoid``, 1 at the start.
    - ``sees_way``: the head that chooses sees not only features and validity, but how
      far the nearest known place is and in which direction.
    - ``renormalised``: the factor ``n / sum``; without it unknown reads count as 0.
    - ``kernels`` = K > 1: K kernels, mixed at each place by a softmax of the head's
      scores over ``temperature``. Reads are shared, the mixing is at the output.
    - ``tells``: validity of the output is the mean over what was read (``"reads"``);
      or of that over ``1 + d / FADES``, d the pixels it was fetched from (``"near"``);
      or the mean over the unmoved window (``"window"``). After ``starts="nearest"``
      all reads are known: the last two keep the hole in mind, and of these ``"near"``
      alone lets later layers use what was fetched from far, where nothing is nearer.
    - ``known_from``: a place counts as known from this validity on; where a sample
      has no such place, its most known ones do.

    The head starts at 0: an undeformed layer, but for ``starts``. Its losses are in
    ``sampling_losses``.
    """

    reads_validity = True
    chooses_reads = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        bias: bool = True,
        *,
        starts: Literal["nearest", "window"] = "nearest",
        moves: Literal["unknown", "all", "none"] = "unknown",
        reach: float = 8.0,
        modulated: bool = True,
        sees_way: bool = True,
        renormalised: bool = True,
        kernels: int = 1,
        temperature: float = 1.0,
        tells: Literal["reads", "near", "window"] = "reads",
        known_from: float = 0.5,
    ) -> None:
        every = kernels * out_channels
        super().__init__(
            in_channels, every, kernel_size, stride, padding, dilation, bias=bias
        )
        _check_options(starts, moves, tells)
        self.out_channels = out_channels  # what comes out; the weight has K times these
        self.starts, self.moves, self.reach = starts, moves, reach
        self.modulated, self.sees_way = modulated, sees_way
        self.renormalised, self.tells, self.known_from = renormalised, tells, known_from
        self.kernels, self.temperature = kernels, temperature
        self.taps = prod(self.kernel_size)
        shape = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.geometry = cast("Geometry", shape)
        self.parts = (
            2 * self.taps * (moves != "none"),
            self.taps * modulated,
            kernels * (kernels > 1),
        )
        self.head = self._new_head() if sum(self.parts) else None
        self.reset_head()

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``x (N, C, H, W)``, ``valid (N, 1 or C, H, W)`` -> ``y``, ``(N, 1, H', W')``.

        Validity from 0 to 1; what has none is never read, be it NaN, and the rest
        counts by it. After a skip both are given in parts: ``((x, skip), (valid,
        skip_valid))``. No gradient reaches ``valid``. Raises ``ContractError`` when
        the shapes do not belong together.
        """
        found = pairs(x, valid)
        features, share = known_features(found), known_share(found)
        if self.head is None and self.starts == "window":
            y, known = self._unmoved(features, share)
            return y, known.to(found[0][1].dtype)
        hole, way = ways(share, self.known_from, self.geometry)
        reads = self._choose(features, share, hole, way)
        positions = tap_positions(share, *self.geometry) + reads.offsets
        seen = read(share, positions)[:, 0]
        y, counted = self._sum(features, reads, seen)
        known = torch.where(counted > NOTHING, self._told(share, reads, seen), 0)
        self._show(reads, positions, seen, known)
        if sampling_training.listens(self):
            sampling_training.tell(self, self._losses(reads, positions, way))
        return y, known.to(found[0][1].dtype)

    def reset_head(self) -> None:
        """The head says nothing again: reads stay where they begin."""
        for parameter in () if self.head is None else self.head.parameters():
            nn.init.zeros_(parameter)

    def _new_head(self) -> nn.Conv2d:
        """One convolution, at most 3 x 3; its zeros leave the layer undeformed.

        A head as wide as a 7 x 7 window would have more weights than the layer.
        """
        shape = [_narrowed(*each) for each in zip(*self.geometry, strict=True)]
        inputs = self.in_channels + 1 + 5 * self.sees_way
        head = nn.utils.skip_init(  # draws nothing: other weights as without a head
            nn.Conv2d, inputs, sum(self.parts), *zip(*shape, strict=True)
        )
        return cast(nn.Conv2d, head)

    def _choose(
        self, features: Tensor, share: Tensor, hole: Tensor, way: Tensor
    ) -> Reads:
        """Offsets, modulation and kernel shares for each place of the output."""
        start = windows(way, self.geometry) if self.starts == "nearest" else None
        movable = windows(hole, self.geometry).bool() | (self.moves == "all")
        learned = modulation = shares = None
        if self.head is not None:
            inputs = self._described(features, share, way).to(self.head.weight.dtype)
            scores = self.head(inputs).to(share.dtype)
            moved, scaled, chosen = scores.split(self.parts, 1)
            if self.moves != "none":
                bounded = self.reach * torch.tanh(moved / self.reach)
                learned = torch.where(movable, bounded.unflatten(1, (-1, 2)), 0)
            if self.modulated:
                modulation = 2 * torch.sigmoid(scaled)
            if self.kernels > 1:
                shares = torch.softmax(chosen / self.temperature, 1)
        if learned is None:
            learned = torch.zeros_like(movable, dtype=share.dtype).expand(
                -1, -1, 2, -1, -1
            )
        offsets = learned if start is None else start + learned
        return Reads(offsets, learned, movable, modulation, shares)

    def _described(self, features: Tensor, share: Tensor, way: Tensor) -> Tensor:
        """What the head sees: features, validity, distance, direction, and the way."""
        if not self.sees_way:
            return torch.cat([features, share.to(features.dtype)], 1)
        top, left = self.geometry[2]
        inner = way[..., top : top + share.shape[2], left : left + share.shape[3]]
        distance = inner.square().sum(1, keepdim=True).sqrt()
        direction = inner / distance.clamp(min=1)
        seen = [share, distance / self.reach, direction, inner / self.reach]
        return torch.cat([features, *(each.to(features.dtype) for each in seen)], 1)

    def _unmoved(self, features: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Without choices: a partial convolution whose validity may be a fraction."""
        geometry = self.geometry[1:]
        ones = share.new_ones(1, 1, *self.kernel_size)
        counted = F.conv2d(share, ones, None, *geometry)
        y = F.conv2d(features, self.weight, None, *geometry)
        known = torch.where(counted > NOTHING, counted / self.taps, 0).clamp(max=1)
        emit(
            self,
            "seen",
            lambda: windows(padded(share, self.geometry, 0.0), self.geometry)[:, :, 0],
        )
        emit(self, "valid", known)
        return self._balanced(y, counted, self._bias()), known

    def _sum(
        self, features: Tensor, reads: Reads, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The output, and how many known reads each place has, by their weight."""
        y = faster(
            features,
            reads.offsets.flatten(1, 2),
            self.weight,
            *self.geometry[1:],
            reads.modulation,
        )
        bias, dtype = self._bias(), y.dtype
        if reads.shares is not None:  # in float32: they widen what they weigh
            y = _mixed(y, reads.shares)
            bias = None if bias is None else _mixed(bias, reads.shares)
        counted = seen if reads.modulation is None else seen * reads.modulation
        counted = counted.sum(1, keepdim=True)
        return self._balanced(y, counted, bias).to(dtype), counted

    def _bias(self) -> Tensor | None:
        return None if self.bias is None else self.bias[None, :, None, None]

    def _balanced(self, y: Tensor, counted: Tensor, bias: Tensor | None) -> Tensor:
        """As loud as with all reads known, then the bias; 0 where none is."""
        dtype, known = y.dtype, counted > NOTHING
        if self.renormalised:
            y = y * (self.taps / torch.where(known, counted, 1))
        y = y if bias is None else y + bias
        return (torch.where(known, y, 0) if self.renormalised else y).to(dtype)

    def _told(self, share: Tensor, reads: Reads, seen: Tensor) -> Tensor:
        """How much of the output is known, see ``tells``: from 0 to 1."""
        if self.tells == "window":
            unmoved = padded(share, self.geometry, 0.0)
            return windows(unmoved, self.geometry).mean(1)
        found = seen.detach()
        if self.tells == "near":
            far = reads.offsets.detach().square().sum(2).sqrt()
            found = found / (1 + far / FADES)
        return found.mean(1, keepdim=True).clamp(max=1)

    def _losses(
        self, reads: Reads, positions: Tensor, way: Tensor
    ) -> dict[str, Tensor]:
        """See ``sampling_losses``."""
        terms: dict[str, Tensor] = {}
        if self.moves != "none":
            depth = way.square().sum(1, keepdim=True).sqrt()
            corner = positions.new_tensor(self.geometry[2]).view(2, 1, 1)
            deep = sampling_training.depth_at(depth, positions + corner)
            unmoved = windows(depth, self.geometry).sum()
            terms["unknown"] = deep.sum() / unmoved.clamp(min=1)
            terms["length"] = sampling_training.length(
                reads.learned, reads.movable, self.reach
            )
        if reads.shares is not None:
            terms["balance"] = sampling_training.balance(reads.shares)
        return terms

    def _show(
        self, reads: Reads, positions: Tensor, seen: Tensor, known: Tensor
    ) -> None:
        emit(self, "offsets", lambda: reads.offsets.flatten(1, 2))
        emit(self, "positions", positions)
        emit(self, "seen", seen)
        emit(self, "valid", known)
        if reads.modulation is not None:
            emit(self, "modulation", reads.modulation)
        if reads.shares is not None:
            emit(self, "shares", reads.shares)


def _narrowed(size: int, stride: int, padding: int, gap: int) -> tuple[int, ...]:
    """Along one axis, three taps around the same middles, where that can be."""
    edge = padding - gap * (size - 1) // 2 + 1
    if size > 3 and size % 2 and edge >= 0:
        return 3, stride, edge, 1
    return size, stride, padding, gap


def _mixed(each: Tensor, shares: Tensor) -> Tensor:
    """``each (N, K * out, H', W')``, weighed by ``shares (N, K, H', W')``."""
    parts = each.unflatten(1, (shares.shape[1], -1)).unbind(1)
    weighed = [
        part * share for part, share in zip(parts, shares.split(1, 1), strict=True)
    ]
    return torch.stack(weighed).sum(0)


def _check_options(starts: str, moves: str, tells: str) -> None:
    for value, allowed in (
        (starts, ("nearest", "window")),
        (moves, ("unknown", "all", "none")),
        (tells, ("reads", "near", "window")),
    ):
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
