"""What an output pixel reads of the input: by gradient, and by its windows; lesson 03.

Two answers to one question. ``influence`` measures how strongly each input pixel
moves one output pixel of a network as it is; ``receptive_field`` counts which input
pixels its windows could reach at most.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from course_lib.networks.unet import UNet
from course_lib.tensors import ContractError

Interval = tuple[int, int]  # first and last index


def influence(
    network: nn.Module, image: Tensor, hole: Tensor, row: int, column: int
) -> tuple[Tensor, Tensor]:
    """How much each input pixel moves the output pixel at ``row`` and ``column``.

    ``image (1, 3, H, W)`` and ``hole (1, 1, H, W)`` -> the raw prediction
    ``(1, 3, H, W)`` and the size ``(1, 1, H, W)`` of the gradient of the pixel's sum
    over colours, itself summed over the input's colours. 0 under the hole in every
    network that selects. Batch normalisation uses its stored statistics; the network
    is left as it was.
    """
    with evaluating(network), torch.enable_grad():
        seen = image.detach().clone().requires_grad_()
        output = network(seen, hole)
        (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), seen)
    return output.detach(), gradient.abs().sum(1, keepdim=True)


def device_of(network: object) -> torch.device:
    """Where a network wants its input: the device of its weights.

    The CPU for one without weights, and for a plain function.
    """
    weights = network.parameters() if isinstance(network, nn.Module) else ()
    return next((weight.device for weight in weights), torch.device("cpu"))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """All parts in evaluation mode; each goes back to its own mode afterwards."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def receptive_field(
    network: nn.Module, row: int, column: int
) -> tuple[int, int, int, int]:
    """Top, left, height and width of what a U-Net's output pixel can reach.

    Counted backwards through the network, from each output interval to the input
    interval of the convolution, through every skip. It may reach beyond the picture
    (into padding), and it depends on the place of the pixel among the strides. Raises
    ``ContractError`` for any network but a ``UNet`` of convolutions with a window
    (``kernel_size``, ``stride``, ``padding`` and ``dilation`` in numbers).
    """
    if not isinstance(network, UNet):
        raise ContractError(
            f"the windows of a {type(network).__name__} cannot be counted: only those "
            "of a UNet"
        )
    top, bottom = _reach(network, row, 0)
    left, right = _reach(network, column, 1)
    return top, left, bottom + 1 - top, right + 1 - left


def _reach(network: UNet, place: int, axis: int) -> Interval:
    """The input interval along one axis, joined over all ways through the network."""
    convs, ups = (
        [cast(nn.Module, stage.conv) for stage in part]
        for part in (network.encoder, network.decoder)
    )
    here = _window(network.last, (place, place), axis)
    found = [here]  # the last layer reads the input itself, by the outermost skip
    for level, conv in enumerate(reversed(ups), start=1):
        here = _window(conv, (here[0] // 2, here[1] // 2), axis)
        found.append(_down(convs[:level], here, axis))  # by the skip of this level
    below = (here[0] // 2, here[1] // 2)
    found.append(_down(convs, below, axis))
    return min(first for first, _ in found), max(last for _, last in found)


def _down(convs: list[nn.Module], interval: Interval, axis: int) -> Interval:
    for conv in reversed(convs):
        interval = _window(conv, interval, axis)
    return interval


def _window(conv: nn.Module, interval: Interval, axis: int) -> Interval:
    """What a convolution reads to make the outputs of an interval."""
    names = ("kernel_size", "stride", "padding", "dilation")
    values = [getattr(conv, name, None) for name in names]
    pairs = [(v, v) if isinstance(v, int) else v for v in values]
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ContractError(f"{type(conv).__name__} has no window that can be counted")
    size, stride, padding, dilation = (pair[axis] for pair in pairs if pair)
    first = interval[0] * stride - padding
    return first, interval[1] * stride - padding + dilation * (size - 1)
