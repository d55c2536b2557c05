"""What mask-aware dynamic filtering costs, beside the form in which it was published.

    python benchmarks/dynamic.py [rounds]

The encoder levels of Zhu et al. 2021 (table of widths in ``networks/cascade.py``), each
for a picture of 64 to 512 pixels, there and back. ``ours``: 17 ordinary convolutions in
one, gated by the mask's features. ``published``: a kernel for every place, made by a
1 x 1 convolution, times the unfolded input. ``plain``: one ordinary convolution of the
same window and width, which no form can beat. They take turns in each round, on one
thread; a number is the median over the rounds of a time divided by ours of the same
round. Then the memory that a form needs beyond its input at its peak, each in a process
of its own (on Linux). Not a test: a busy machine must not turn anything red.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.layers import MaskAwareDynamicConv2d

LEVELS = {  # in, out, kernel, and by how much the input is smaller than the picture
    "level 1": (4, 16, 7, 1),
    "level 2": (16, 32, 5, 2),
    "level 3": (32, 64, 3, 4),
    "level 4": (64, 128, 3, 8),
}
SIZES = (64, 128, 256, 512)
FORMS = ("ours", "published", "plain")


def published(layer: MaskAwareDynamicConv2d, x: Tensor, masks: Tensor) -> Tensor:
    """All kernels, then each times its window: ``y (N, out, H', W')``."""
    features = F.relu(layer.mask_conv(masks))
    kernels = layer.filter_conv(features).flatten(2)  # (N, in * k * k * out, places)
    kernels = kernels.unflatten(1, (-1, layer.out_channels))
    windows = F.unfold(x, layer.kernel_size, 1, layer.padding, layer.stride)
    y = torch.einsum("nil,niol->nol", windows, kernels)
    return y.unflatten(2, features.shape[2:])


def prepared(level: str, size: int) -> dict[str, Callable[[], Tensor]]:
    """Each form as a function of nothing, all with the same weights and inputs."""
    torch.manual_seed(0)
    into, out, kernel, smaller = LEVELS[level]
    masked = 1 if level == "level 1" else 16
    layer = MaskAwareDynamicConv2d(into, out, kernel, 2, kernel // 2, masked)
    plain = torch.nn.Conv2d(into, out, kernel, 2, kernel // 2)
    side = size // smaller
    x, masks = torch.rand(1, into, side, side), torch.rand(1, masked, side, side)
    x.requires_grad_(), masks.requires_grad_()
    return {
        "ours": lambda: layer(x, masks)[0],
        "published": lambda: published(layer, x, masks),
        "plain": lambda: plain(x),
    }


def seconds(form: Callable[[], Tensor]) -> float:
    """Of the processor, there and back; other programs do not stretch them."""
    begin = time.process_time()
    form().sum().backward()
    return time.process_time() - begin


def times(level: str, size: int, rounds: int) -> dict[str, float]:
    """Median seconds of ours, and of the others divided by ours."""
    forms = prepared(level, size)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 1):
        for name, form in forms.items():
            taken[name].append(seconds(form))
    ratios = {
        name: statistics.median(
            a / b for a, b in zip(each[1:], taken["ours"][1:], strict=True)
        )
        for name, each in taken.items()
    }
    return {**ratios, "ours": statistics.median(taken["ours"][1:])}


def peak(level: str, size: int, form: str) -> float:
    """MiB that one pass there and back adds to the peak of a process of its own."""
    command = [sys.executable, __file__, "peak", level, str(size), form]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(found.stdout)


def _peak(level: str, size: int, form: str) -> None:
    chosen = prepared(level, size)[form]
    prepared("level 4", 64)["plain"]().sum().backward()  # what torch loads by then
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    before = _status("VmRSS")
    chosen().sum().backward()
    print(_status("VmHWM") - before)


def _status(name: str) -> float:
    """MiB of memory that this process has now (VmRSS) or had at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(name)) / 1024


def main(rounds: int) -> None:
    """A row for each level and size."""
    print("picture  level        ours   published  plain (over ours)   peak MiB")
    for size in SIZES:
        for level in LEVELS:
            found = times(level, size, rounds)
            memory = "  ".join(f"{k} {peak(level, size, k):6.0f}" for k in FORMS[:2])
            print(
                f"{size:4} px  {level}{1e3 * found['ours']:9.1f} ms"
                f"{found['published']:9.1f}{found['plain']:9.2f}        {memory}",
                flush=True,
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["peak"]:
        _peak(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
