"""Where the layers of a network read, in numbers; lesson 08 prints them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers.deformable import DeformableSampling2d
from course_lib.layers.parts import Parts, pairs
from course_lib.layers.sampling import known_share, padded, tap_positions, windows


class SamplingFacts(NamedTuple):
    """Of one layer: means over the windows whose middle tap begins on the unknown.

    Unknown is a validity below one half. NaN where there is no such window.
    """

    before: float  # share of what the unmoved window reads that is unknown, 0 to 1
    after: float  # the same of what the layer reads
    length: float  # how far a read was moved, in pixels of the layer's input
    spread: float  # of the reads around their middle; 1 = as unmoved, 0 = one point


@torch.no_grad()
def sampling_facts(
    network: nn.Module, image: Tensor, hole: Tensor
) -> dict[str, SamplingFacts]:
    """By layer name, in the order of the network, each layer that moves its reads.

    ``image (N, 3, H, W)``, ``hole (N, 1, H, W)``: all that ``network`` is given.
    """
    layers = dict(_layers(network))
    inputs: dict[str, Tensor] = {}
    with ExitStack() as hooks, record(network) as evidence:
        for name, layer in layers.items():
            handle = layer.register_forward_pre_hook(_keeper(inputs, name))
            hooks.callback(handle.remove)
        network(image, hole)
    return {
        name: _facts(layer, inputs[name], evidence[name])
        for name, layer in layers.items()
        if "positions" in evidence.get(name, {})
    }


def spread(positions: Tensor) -> Tensor:
    """Root mean squared distance of a window's reads from their middle, in pixels.

    ``positions (N, n, 2, H, W)`` -> ``(N, 1, H, W)``; 0 = all read one point.
    """
    middle = positions.mean(1, keepdim=True)
    return (positions - middle).square().sum(2).mean(1, keepdim=True).sqrt()


def _layers(network: nn.Module) -> Iterator[tuple[str, DeformableSampling2d]]:
    for name, module in network.named_modules():
        if isinstance(module, DeformableSampling2d):
            yield name, module


def _keeper(
    inputs: dict[str, Tensor], name: str
) -> Callable[[nn.Module, tuple[Parts, Parts]], None]:
    def keep(_: nn.Module, given: tuple[Parts, Parts]) -> None:
        inputs[name] = known_share(pairs(*given))

    return keep


def _facts(
    layer: DeformableSampling2d, share: Tensor, shown: dict[str, Tensor]
) -> SamplingFacts:
    begins = windows(padded(share, layer.geometry, 0.0), layer.geometry)[:, :, 0]
    where = begins[:, layer.taps // 2, None] < 0.5
    unmoved = tap_positions(share, *layer.geometry)[None]
    moved = (shown["positions"] - unmoved).square().sum(2).sqrt()
    each = [
        (begins < 0.5).to(share.dtype).mean(1, keepdim=True),
        (shown["seen"] < 0.5).to(share.dtype).mean(1, keepdim=True),
        moved.mean(1, keepdim=True),
        spread(shown["positions"]) / spread(unmoved),
    ]
    return SamplingFacts(*(float(value[where].mean()) for value in each))
