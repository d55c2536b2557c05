"""Where each place copies from, in numbers, colours and pixels (lesson 06).

The attention explorer shows it; a lesson may ask it directly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers import ContextualAttention
from course_lib.layers.attention import DENSE
from course_lib.networks.reading import device_of, evaluating
from course_lib.tensors import check_pair, composite, hide
from course_lib.widgets.base import WidgetError

Fill = Callable[[Tensor, Tensor], Tensor]

KEYS = 1024  # of the colours, at most: a picture is averaged down until they fit
TOP = 5  # sources that are named
MOST = 0.9  # the part of the attention that "most of it" means
WAYS = (
    "below",
    "to the lower right",
    "to the right",
    "to the upper right",
    "above",
    "to the upper left",
    "to the left",
    "to the lower left",
)
TURNS, HUES = (0, 90, 180, 270, 360), (0, 60, 180, 270, 360)  # of a direction, degrees
NAMES = ("red", "orange", "yellow", "green", "turquoise", "blue", "violet", "pink")


@dataclass(frozen=True)
class AttentionMaps:
    """What one attention layer was given for one picture, kept on the CPU.

    ``query``, ``background (1, C, H, W)`` and ``hole (1, 1, H, W)`` as in
    ``ContextualAttention.forward``; ``layer`` is that layer, whose settings count;
    ``scale``: pixels of the photo along one place of the maps.
    """

    name: str
    query: Tensor
    background: Tensor
    hole: Tensor
    layer: ContextualAttention
    scale: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the grid of queries, and of that of keys."""
        rate = self.layer.rate
        return self.hole.shape[-2] // rate, self.hole.shape[-1] // rate

    @property
    def step(self) -> int:
        """Pixels of the photo from one query to the next."""
        return self.scale * self.layer.rate

    @cached_property
    def usable(self) -> Tensor:
        """``(keys,)`` bool: what may be copied; with scores of 0 all of it is."""
        nothing = torch.zeros_like(self.hole)
        blind = self._like(0.0, False)
        return blind(nothing, nothing, self.hole)[1][0].amax(0) > 0

    def attend(self, softmax_scale: float, fuse: bool) -> Tensor:
        """The attention ``(queries, keys)`` of these maps under other settings."""
        with torch.no_grad():
            layer = self._like(softmax_scale, fuse)
            found: Tensor = layer(self.query, self.background, self.hole)[1][0]
        return found

    def _like(self, softmax_scale: float, fuse: bool) -> ContextualAttention:
        own = self.layer
        return ContextualAttention(
            own.patch_size, own.rate, softmax_scale, fuse, own.compat, own.cosine
        )


def colour_maps(rough: Tensor, hole: Tensor) -> AttentionMaps:
    """The layer on a photo's own colours: no network, nothing learned.

    ``rough (1, 3, H, W)`` is the photo with a first fill in its hole ``(1, 1, H, W)``.
    It is averaged down until there are at most 1,024 keys, and the mean colour of what
    is known is taken off. A place is missing if any of its pixels is. Raises
    ``WidgetError`` for sides that do not split.
    """
    layer = ContextualAttention()
    height, width = hole.shape[-2:]
    scale = 1
    while height * width > KEYS * (scale * layer.rate) ** 2:
        scale *= 2
    if height % (scale * layer.rate) or width % (scale * layer.rate):
        raise WidgetError(
            f"a picture of {height} x {width} px does not split into patches of "
            f"{scale * layer.rate} px: crop or resize it to multiples of that"
        )
    small, missing = F.avg_pool2d(rough, scale), F.max_pool2d(hole, scale)
    colours = small - _mean(small, missing)
    return AttentionMaps("its colours", colours, colours, missing, layer, scale)


def feature_maps(network: nn.Module, image: Tensor, hole: Tensor) -> AttentionMaps:
    """Run a network once; what its layer of contextual attention was given.

    Of several layers it is the one that ran last. Raises ``WidgetError`` when none did,
    when its maps are no whole number of times smaller than the photo, or too large.
    """
    at = device_of(network)
    with record(network) as evidence, evaluating(network), torch.no_grad():
        network(image.to(at), hole.to(at))
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, ContextualAttention)
    }
    found = [name for name in evidence if name in layers]
    if not found:
        raise WidgetError(
            "This network has no contextual attention: show one that has, such as "
            "CoarseToFine(attention_rate=1), or leave the network out."
        )
    facts = {k: v[:1].float().cpu() for k, v in evidence[found[-1]].items()}
    small = facts["hole"]
    scale = hole.shape[-1] // small.shape[-1]
    if hole.shape[-2:] != tuple(scale * side for side in small.shape[-2:]):
        raise WidgetError(
            f"the maps of {found[-1]} have {small.shape[-2]} x {small.shape[-1]} "
            f"places, which do not divide {hole.shape[-2]} x {hole.shape[-1]} px"
        )
    places = small.numel() // layers[found[-1]].rate ** 2
    if places**2 > DENSE:
        raise WidgetError(
            f"the maps of {found[-1]} have {places:,} places to copy from; the "
            f"explorer shows at most {math.isqrt(DENSE):,}: give it a smaller photo"
        )
    given = facts["query"].clone(), facts["background"].clone(), small.clone()
    name = found[-1] or type(network).__name__
    return AttentionMaps(name, *given, layers[found[-1]], scale)


def row_facts(
    maps: AttentionMaps, attention: Tensor, cell: tuple[int, int]
) -> dict[str, Any]:
    """All there is to say about where one query copies from, in plain numbers.

    ``entropy`` is in bits, of at most ``entropy_most``, that of an even spread over the
    ``usable`` keys; ``even`` is how many keys an even spread of this entropy has;
    ``most`` how many make up 90 %. ``top`` are the strongest sources: ``row`` and
    ``column`` of the grid, ``share``, ``far`` in pixels of the photo, and ``way``.
    """
    wide, step = maps.size[1], maps.step
    row = attention[cell[0] * wide + cell[1]]
    ranked, order = row.sort(descending=True, stable=True)
    usable = int(maps.usable.sum())
    top = []
    for share, index in zip(ranked[:TOP].tolist(), order[:TOP].tolist(), strict=True):
        if maps.usable[index]:
            at = divmod(index, wide)
            down, across = (step * (a - b) for a, b in zip(at, cell, strict=True))
            far = math.hypot(down, across)
            told = {"share": share, "far": far, "way": way(down, across)}
            top.append({"row": at[0], "column": at[1], **told})
    entropy = float(entropies(row[None])[0])
    part = ranked.double().cumsum(0)
    return {
        "usable": usable,
        "keys": len(row),
        "entropy": entropy,
        "entropy_most": math.log2(usable),
        "even": 2**entropy,
        "most": int((part < MOST * part[-1] - 1e-7).sum()) + 1,
        "sum": float(part[-1]),
        "top": top,
    }


def entropies(attention: Tensor) -> Tensor:
    """How spread out each row ``(queries, keys)`` is, in bits; 0 is a single source."""
    share = attention.double()
    share = share / share.sum(-1, keepdim=True).clamp_min(1e-30)
    return 0 - torch.special.xlogy(share, share).sum(-1) / math.log(2)


def offsets(maps: AttentionMaps, attention: Tensor) -> Tensor:
    """From each query to its best source, ``(h, w, 2)``: down, across, in pixels."""
    height, width = maps.size
    best = attention.argmax(-1)
    here = torch.arange(height * width)
    down = best // width - here // width
    across = best % width - here % width
    return maps.step * torch.stack([down, across], -1).view(height, width, 2)


def missing_queries(maps: AttentionMaps) -> Tensor:
    """``(h, w)`` bool: the queries whose place is missing, if only in part."""
    return F.max_pool2d(maps.hole, maps.layer.rate)[0, 0].bool()


def wheel(offset: Tensor, full: float) -> Tensor:
    """Offsets ``(..., 2)``, down and across, as colours ``(..., 3)`` in ``[0, 1]``.

    Hue is the direction, saturation the distance: white is nowhere, ``full`` pixels or
    more have the full colour. Oriented like the map of Yu et al. 2018: green is to the
    upper right, pink to the lower left.
    """
    from matplotlib.colors import hsv_to_rgb

    down, across = offset.double().unbind(-1)
    turn = torch.rad2deg(torch.atan2(across, down)) % 360
    hue = np.interp(turn.numpy(), TURNS, HUES) / 360 % 1
    far = (torch.hypot(down, across) / full).clamp(max=1).numpy()
    colours = hsv_to_rgb(np.stack([hue, far, 1 - 0.06 * far], -1))
    return torch.from_numpy(colours).float()


def wheel_disc(side: int) -> Tensor:
    """The legend of :func:`wheel`, ``(side, side, 3)``: each colour where it points."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    return wheel(torch.stack(torch.meshgrid(line, line, indexing="ij"), -1), 1.0)


def way(down: float, across: float) -> str:
    """A direction in words, such as "to the upper right"; "here" for none."""
    if not down and not across:
        return "here"
    return WAYS[round(math.degrees(math.atan2(across, down)) / 45) % 8]


def paste(maps: AttentionMaps, attention: Tensor, given: Tensor) -> Tensor:
    """What this attention puts together of a photo ``(1, 3, H, W)``, everywhere.

    As the layer does with its background: patches of twice the step, weighted, and
    their mean where they overlap; beyond the border lies the mean colour. Averaged down
    to maps of colours, it is the layer's own y.
    """
    mean = _mean(F.avg_pool2d(given, maps.scale), maps.hole)
    rate, step = maps.layer.rate, maps.step
    before = rate // 2 * maps.scale
    room = (before, step - before, before, step - before)
    patches = F.unfold(F.pad(given - mean, room), 2 * step, stride=step)
    size = given.shape[-2] + step, given.shape[-1] + step

    def folded(x: Tensor) -> Tensor:
        laid = F.fold(x, size, 2 * step, stride=step)
        return laid[..., before : size[0] - room[3], before : size[1] - room[1]]

    total = folded(patches @ attention.T[None])
    return mean + total / folded(torch.ones_like(patches[:, : 4 * step**2]))


def _mean(x: Tensor, hole: Tensor) -> Tensor:
    """Of each channel, over what is known."""
    known = (1 - hole).sum((2, 3), keepdim=True).clamp_min(1)
    return hide(x, hole, 0.0).sum((2, 3), keepdim=True) / known


def filled(image: Tensor, hole: Tensor, fill: Fill) -> Tensor:
    """The photo ``(1, 3, H, W)`` with a first fill in its hole, in ``[0, 1]``."""
    check_pair(image, hole)
    hidden, at = hide(image, hole), device_of(fill)
    with torch.no_grad():
        rough = fill(hidden.to(at), hole.to(at)).float().cpu()
    return composite(rough, hidden, hole).clamp(0, 1)
