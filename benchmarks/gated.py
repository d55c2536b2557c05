"""What gated convolution costs: layer by layer, and the whole U-Net, there and back.

    python benchmarks/gated.py [rounds]

First the convolutions of ``UNet(GatedConv2d)`` at 128 pixels, each beside three others
of the same window and input: ``two``, a convolution for the feature and one for the
gate; ``plain``, an ordinary one with as many outputs; ``wide``, an ordinary one with
twice as many, which gated convolution cannot beat, since it holds one. All but the
gated ones end in the same ELU. Then the whole network beside plain ones: of as many
parameters, and of the same channels. They take turns in each round, on one thread; a
number is the median over the rounds of a time divided by another of the same round, so
a busy machine counts for little. In float32, in bfloat16 by autocast, and on a GPU
where there is one. Not a test: a busy machine must not turn anything red.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import holes
from course_lib.layers import GatedConv2d, PlainConv2d
from course_lib.networks import UNet

SIZE, BATCH = 128, 8
CHANNELS = (24, 40, 72, 88, 96)  # with gates as many parameters as plain has
Step = Callable[[], float]


class Separate(nn.Module):
    """Feature and gate from two convolutions, as the paper writes it."""

    def __init__(self, feature: nn.Conv2d, gate: nn.Conv2d) -> None:
        super().__init__()
        self.feature, self.gate = feature, gate

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, C, H, W)`` -> ``(N, out, H', W')``."""
        return F.elu(self.feature(x)) * torch.sigmoid(self.gate(x))


class Gated(nn.Module):
    """Ours, on features alone: all valid."""

    def __init__(self, layer: GatedConv2d, x: Tensor) -> None:
        super().__init__()
        self.layer, self.valid = layer, torch.ones_like(x[:, :1])

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, C, H, W)`` -> ``(N, out, H', W')``."""
        return self.layer(x, self.valid)[0]


def shapes() -> dict[str, tuple[GatedConv2d, Tensor]]:
    """The gated convolutions of the network and an input for each, by name."""
    network, found = UNet(GatedConv2d, channels=CHANNELS), {}

    def keep(layer: nn.Module, given: tuple, name: str) -> None:
        x = given[0] if isinstance(given[0], Tensor) else torch.cat(given[0], 1)
        found[name] = (layer, torch.randn_like(x))

    for name, layer in network.named_modules():
        if isinstance(layer, GatedConv2d):
            layer.register_forward_pre_hook(
                lambda layer, given, name=name: keep(layer, given, name)
            )
    network(*pictures("cpu"))
    return found


def pictures(device: str) -> tuple[Tensor, Tensor]:
    """A batch of noise with strokes for holes."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(BATCH, 3, SIZE, SIZE, generator=draw)
    return image.to(device), holes.strokes(BATCH, SIZE, draw).to(device)


def rivals(layer: GatedConv2d, x: Tensor) -> dict[str, nn.Module]:
    """The gated layer and what it is compared with."""

    def conv(outputs: int) -> nn.Conv2d:
        return nn.Conv2d(
            *(layer.in_channels, outputs, layer.kernel_size, layer.stride),
            *(layer.padding, layer.dilation),
            bias=layer.bias is not None,
        )

    out = layer.out_channels
    return {
        "gated": Gated(GatedConv2d(*_settings(layer)), x),
        "two": Separate(conv(out), conv(out)),
        "plain": nn.Sequential(conv(out), nn.ELU()),
        "wide": nn.Sequential(conv(2 * out), nn.ELU()),
    }


def _settings(layer: GatedConv2d) -> tuple:
    """Arguments that make another layer like this one."""
    window = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return layer.in_channels, layer.out_channels, *window, None, layer.bias is not None


def step(network: nn.Module, *given: Tensor, half: bool) -> Step:
    """One forward and backward pass, and how long it took."""
    device = given[0].device.type

    def run() -> float:
        network.zero_grad()
        begin = _clock(device)
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            y = network(*given)
        y.float().mean().backward()
        return _clock(device) - begin

    return run


def _clock(device: str) -> float:
    """The processor's time, which other programs do not stretch; a GPU's in full."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def in_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, round by round, after one that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, run in steps.items():
            taken[name].append(run())
    return {name: times[1:] for name, times in taken.items()}


def layers(device: str, half: bool, rounds: int) -> None:
    """A row for each layer, and one for the sum of all."""
    total: dict[str, list[float]] = {}
    print(f"{'':32}{'gated':>10}{'two':>8}{'plain':>8}{'wide':>8}   (over gated)")
    for name, (layer, x) in shapes().items():
        x = x.to(device).requires_grad_(name != "encoder.0.conv")
        steps = {
            other: step(network.to(device), x, half=half)
            for other, network in rivals(layer, x).items()
        }
        taken = in_turns(steps, rounds)
        for other, times in taken.items():
            before = total.get(other, [0.0] * rounds)
            total[other] = [a + b for a, b in zip(before, times, strict=True)]
        what = f"{layer.in_channels}-{layer.out_channels}, {x.shape[-1]} px"
        _row(f"{name:17}{what}", taken, "gated")
    _row("all of them", total, "gated")


def whole(device: str, half: bool, rounds: int) -> None:
    """The network with gates, and plain ones: equal parameters, equal channels."""
    made = {
        "gated": UNet(GatedConv2d, channels=CHANNELS),
        "plain, equal parameters": UNet(PlainConv2d),
        "plain, equal channels": UNet(PlainConv2d, channels=CHANNELS),
    }
    given = pictures(device)
    steps = {k: step(v.to(device), *given, half=half) for k, v in made.items()}
    taken = in_turns(steps, rounds)
    for name, network in made.items():
        count = sum(p.numel() for p in network.parameters())
        _row(f"{name:24}{count:8d}", {"this": taken[name], **taken}, "gated", (name,))


def _row(
    name: str,
    taken: dict[str, list[float]],
    base: str,
    shown: tuple[str, ...] = ("two", "plain", "wide"),
) -> None:
    first = taken.get("this", taken[base])
    ratios = [
        statistics.median(a / b for a, b in zip(taken[k], taken[base], strict=True))
        for k in shown
    ]
    told = "".join(f"{ratio:8.2f}" for ratio in ratios)
    print(f"{name:32}{1e3 * statistics.median(first):7.1f} ms{told}", flush=True)


def main(rounds: int) -> None:
    """Everything, in each type and on each device there is."""
    torch.manual_seed(0)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for half in (False, True):
            kind = "bfloat16 by autocast" if half else "float32"
            load = os.getloadavg()[0]
            print(f"\n{device}, {kind}, {BATCH} of {SIZE} px, load {load:.1f}")
            layers(device, half, rounds)
            whole(device, half, rounds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
