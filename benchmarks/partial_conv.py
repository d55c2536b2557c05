"""What partial convolution costs: the whole U-Net, forward and backward.

    python benchmarks/partial_conv.py [rounds]

Three networks of equal shape take turns in one run: ordinary convolution, ours with
one channel of validity for each part, and the usual formulation of public code, which
counts with a second convolution over all channels. Prints the processor's time and the
memory of one step, on one thread. Not a test: a busy machine must not turn anything
red.
"""

import os
import statistics
import sys
import time
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from course_lib import holes
from course_lib.layers import PartialConv2d, Parts, PlainConv2d, pairs
from course_lib.networks import UNet

SIZES = ((64, 16), (128, 8))  # pixels, batch


class EveryChannel(nn.Conv2d):
    """Validity for every feature channel, counted by a convolution with ones."""

    def __init__(self, *arguments: int, **options: int) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("ones", torch.ones_like(self.weight), persistent=False)

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """As the published layers do it, in the same order of operations."""
        found = pairs(x, valid)
        every = [known.expand_as(part) for part, known in found]
        whole = torch.cat([part for part, _ in found], 1) if every[1:] else found[0][0]
        counted = torch.cat(every, 1) if every[1:] else every[0]
        settings = self.stride, self.padding
        with torch.no_grad():
            count = F.conv2d(counted, self.ones, None, *settings)
            known = count.clamp(0, 1)
            ratio = self.weight[0].numel() / (count + 1e-8) * known
        y = F.conv2d(whole * counted, self.weight, self.bias, *settings)
        if self.bias is None:
            return y * ratio, known
        bias = self.bias.view(1, -1, 1, 1)
        return ((y - bias) * ratio + bias) * known, known


def networks() -> dict[str, UNet]:
    """The same U-Net three times; the first is what the others are compared with."""
    kinds = {"plain": PlainConv2d, "partial": PartialConv2d, "every": EveryChannel}
    made = {}
    for name, conv in kinds.items():
        torch.manual_seed(0)
        made[name] = UNet(conv=conv, sees_hole=False)
    return made


def step(network: UNet, image: Tensor, hole: Tensor) -> tuple[float, float]:
    """Seconds of the processor: forward alone, and with backward."""
    network.zero_grad()
    begin = time.process_time()
    made = network(image, hole)
    middle = time.process_time()
    made.mean().backward()
    return middle - begin, time.process_time() - begin


def peak_mb(network: UNet, image: Tensor, hole: Tensor) -> float:
    """The most that one step holds at once, in MB, by the profiler of torch.

    It notes every allocation of a tensor, and its end. Weights, their gradients and
    the pictures were there before and do not count; nor does what oneDNN keeps to
    itself.
    """
    network.zero_grad(set_to_none=False)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        network(image, hole).mean().backward()
    noted = watched.profiler.kineto_results.events()
    changes = sorted(
        (e.start_ns(), e.nbytes()) for e in noted if e.name() == "[memory]"
    )
    return max(accumulate(size for _, size in changes)) / 1e6


def report(size: int, batch: int, rounds: int) -> None:
    """One table: medians, and the median of each round's ratio to plain."""
    image = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    hole = holes.strokes(batch, size, torch.Generator().manual_seed(0))
    found = networks()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    for network in found.values():
        step(network, image, hole)  # warms up
    for _ in range(rounds):
        for name, network in found.items():
            taken[name].append(step(network, image, hole))
    print(f"{size} px, batch {batch}, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(
        f"{'':9}{'forward':>10}{'and back':>10}{'ratio':>8}{'memory':>10}{'ratio':>8}"
    )
    memory = {name: peak_mb(n, image, hole) for name, n in found.items()}
    for name in found:
        forward, both = (
            statistics.median(part) for part in zip(*taken[name], strict=True)
        )
        ratio = _ratio([b for _, b in taken[name]], [b for _, b in taken["plain"]])
        more = memory[name] / memory["plain"]
        print(
            f"{name:9}{1e3 * forward:7.0f} ms{1e3 * both:7.0f} ms{ratio:8.2f}"
            f"{memory[name]:7.0f} MB{more:8.2f}",
            flush=True,
        )
    times = [[both for _, both in taken[name]] for name in ("every", "partial")]
    print(f"partial is {_ratio(*times):.2f} times as fast as every", flush=True)


def _ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for pixels, pictures in SIZES:
        report(pixels, pictures, int(sys.argv[1]) if len(sys.argv) > 1 else 15)
