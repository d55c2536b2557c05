"""What a training adds for layers that choose where they read; lesson 08.

Losses on what was read, and a slower rate for the heads that choose. Cai et al. 2024
name a constraint that keeps reads out of the hole; its form, and all else, is ours.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers.parts import promises
from course_lib.layers.sampling import read

Losses = dict[str, dict[str, Tensor]]

_listener: ContextVar[tuple[dict[int, str], Losses] | None] = ContextVar(
    "sampling_losses", default=None
)


@contextmanager
def sampling_losses(network: nn.Module) -> Iterator[Losses]:
    """Collect the losses of every layer of ``network`` that chooses its reads.

    By layer name, then by term, each one number that has a gradient::

        with sampling_losses(network) as found:
            made = network(image, hole)
        loss = ... + weighed(found, unknown=0.1, length=0.05)

    They are computed only while somebody listens, and nothing is kept in a layer.
    ``unknown``: how deep the reads lie in what is unknown, as a share of how deep an
    unmoved window's would: 1 when nothing moves, 0 when all reads are known.
    ``length``: the mean length of the learned offsets, as a share of the reach.
    ``balance`` (with several kernels): log K minus the entropy of the mean share of
    each, 0 when all serve equally.
    """
    found: Losses = {}
    names = {id(module): name for name, module in network.named_modules()}
    token = _listener.set((names, found))
    try:
        yield found
    finally:
        _listener.reset(token)


def weighed(found: Losses, **weights: float) -> Tensor:
    """One number: for each named term its weight times its mean over the layers.

    Layers without the term do not count. Raises ``ValueError`` for a term that no
    layer has.
    """
    total = torch.zeros(())
    for term, weight in weights.items():
        each = [terms[term] for terms in found.values() if term in terms]
        if not each:
            raise ValueError(
                f"no layer has the loss {term!r}: there are "
                f"{sorted({name for terms in found.values() for name in terms})}"
            )
        total = total.to(each[0].device) + weight * torch.stack(each).mean()
    return total


def parameter_groups(
    network: nn.Module, rate: float, heads: float = 1.0
) -> list[dict[str, Any]]:
    """For an optimiser: the heads that choose reads learn at ``heads * rate``.

    All parameters of ``network``, each once: first the others, then those of every
    head of a layer that promises ``chooses_reads``: its only children.
    """
    choosing = [m for m in network.modules() if promises(type(m), "chooses_reads")]
    heads_of = [child for layer in choosing for child in layer.children()]
    slow = [p for head in heads_of for p in head.parameters()]
    ids = {id(parameter) for parameter in slow}
    others = [p for p in network.parameters() if id(p) not in ids]
    groups: list[dict[str, Any]] = [{"params": others, "lr": rate}]
    if slow:
        groups.append({"params": slow, "lr": heads * rate})
    return groups


def listens(layer: nn.Module) -> bool:
    """Whether somebody collects the losses of this layer now."""
    heard = _listener.get()
    return heard is not None and id(layer) in heard[0]


def tell(layer: nn.Module, terms: Mapping[str, Tensor]) -> None:
    """Hand the losses of a layer to who listens; the last of a layer's runs wins."""
    heard = _listener.get()
    if heard is not None and id(layer) in heard[0]:
        heard[1][heard[0][id(layer)]] = dict(terms)


def depth_at(depth: Tensor, positions: Tensor) -> Tensor:
    """``depth (N, 1, H, W)`` read at ``(N, n, 2, H', W')``: ``(N, n, H', W')``.

    Depth is the distance to what is known, so that each unknown read has a slope that
    leads out (validity itself has one at the rim of the hole only). Outside the picture
    it goes on growing by 1 a pixel.
    """
    around = F.pad(depth, (1, 1, 1, 1), mode="replicate")  # its own lines lead back in
    for axis, line in ((2, 0), (2, -1), (3, 0), (3, -1)):
        around.select(axis, line).add_(1)
    last = positions.new_tensor(around.shape[2:]).view(2, 1, 1) - 1
    place = positions + 1
    inside = torch.minimum(place.clamp(min=0), last)
    return read(around, inside)[:, 0] + (place - inside).abs().sum(2)


def length(offsets: Tensor, movable: Tensor, reach: float) -> Tensor:
    """Mean length of ``offsets (N, n, 2, H', W')`` where ``movable``, over ``reach``.

    Rounded off below a tenth of a pixel, so that it has a slope (0) at no offset.
    """
    far = (offsets.square().sum(2, keepdim=True) + 0.01).sqrt() - 0.1
    return torch.where(movable, far, 0).sum() / movable.sum().clamp(min=1) / reach


def balance(shares: Tensor) -> Tensor:
    """``shares (N, K, H', W')`` -> log K - H(mean share), 0 when balanced."""
    mean = shares.mean((0, 2, 3))
    return torch.log(mean.new_tensor(len(mean))) + torch.xlogy(mean, mean).sum()
