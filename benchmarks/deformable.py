"""What deformable convolution costs, beside torchvision's operator and a plain one.

    python benchmarks/deformable.py [rounds] [device]

There and back, offsets of about two pixels, modulation, one picture. ``ours``:
``layers.deform_conv2d``, bilinear reads by ``grid_sample`` and one matrix product.
``torchvision``: its operator. ``plain``: an ordinary convolution of the same window and
width, ``partial``: a partial one. ``layer``: the whole of ``DeformableSampling2d``,
with its head, the way to the nearest known place and validity read along, in a hole of
a quarter of the picture. ``selection``: four kernels mixed at each place over shared
reads; ``4 x ours`` and ``4 x torchvision``: what four deformable convolutions with
offsets of their own take, mixed by the same shares. The forms take turns in each round,
on one thread; a number is the median over the rounds of a time divided by that of
``plain`` in the same round. Then the memory that a form needs beyond its input at its
peak, each in a process of its own (on Linux). Not a test: a busy machine must not turn
anything red.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from course_lib.layers import DeformableSampling2d, PartialConv2d, deform_conv2d

CASES = {  # in, out, kernel, side
    "level 1": (3, 32, 7, 64),
    "level 2": (32, 64, 5, 32),
    "wide": (64, 64, 3, 64),
    "odd side": (64, 64, 3, 33),
}
KERNELS = 4
MEASURED = ("ours", "torchvision", "selection", "4 x torchvision")


def prepared(case: str, device: str = "cpu") -> dict[str, Callable[[], Tensor]]:
    """Each form as a function of nothing, all with the same inputs."""
    torch.manual_seed(0)
    into, out, kernel, side = CASES[case]
    taps, shape = kernel**2, (into, out, kernel, 1, kernel // 2)
    x, *weights = (
        torch.randn(size, device=device).requires_grad_()
        for size in [(1, into, side, side)] + KERNELS * [(out, into, kernel, kernel)]
    )
    offsets = (2 * torch.randn(KERNELS, 1, 2 * taps, side, side)).to(device)
    modulation = torch.rand(KERNELS, 1, taps, side, side, device=device)
    chosen = torch.randn(1, KERNELS, side, side, device=device).softmax(1)
    for value in (offsets, modulation, chosen):
        value.requires_grad_()
    valid = torch.ones(1, 1, side, side, device=device)
    valid[..., side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 0
    ways = {"ours": deform_conv2d, "torchvision": torchvision.ops.deform_conv2d}

    def one(way: Callable[..., Tensor], k: int = 0) -> Tensor:
        return way(x, offsets[k], weights[k], None, 1, kernel // 2, 1, modulation[k])

    def mixed(way: Callable[..., Tensor]) -> Tensor:
        return sum(one(way, k) * chosen[:, k : k + 1] for k in range(KERNELS))

    forms: dict[str, Callable[[], Tensor]] = {}
    for name, way in ways.items():
        forms[name] = partial(one, way)
        forms[f"{KERNELS} x {name}"] = partial(mixed, way)
    for name, layer in {
        "partial": PartialConv2d(*shape),
        "layer": DeformableSampling2d(*shape),
        "selection": DeformableSampling2d(*shape, kernels=KERNELS),
    }.items():
        forms[name] = partial(lambda hosted: hosted(x, valid)[0], layer.to(device))
    plain = torch.nn.Conv2d(*shape).to(device)
    return {"plain": lambda: plain(x), **forms}


def seconds(form: Callable[[], Tensor], device: str) -> float:
    """There and back; on the CPU of the processor: other programs do not count."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    begin = clock()
    form().sum().backward()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - begin


def times(case: str, rounds: int, device: str) -> dict[str, float]:
    """Median seconds of the plain one, and of the others divided by it."""
    forms = prepared(case, device)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 1):  # the first warms up
        for name, form in forms.items():
            taken[name].append(seconds(form, device))
    ratios = {
        name: statistics.median(
            a / b for a, b in zip(each[1:], taken["plain"][1:], strict=True)
        )
        for name, each in taken.items()
    }
    return {**ratios, "plain": statistics.median(taken["plain"][1:])}


def peak(case: str, form: str) -> float:
    """MiB that one pass there and back adds to the peak of a process of its own."""
    command = [sys.executable, __file__, "peak", case, form]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(found.stdout)


def _peak(case: str, form: str) -> None:
    chosen = prepared(case)[form]
    prepared("level 1")["plain"]().sum().backward()  # what torch loads by then
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    before = _status("VmRSS")
    chosen().sum().backward()
    print(_status("VmHWM") - before)


def _status(name: str) -> float:
    """MiB of memory that this process has now (VmRSS) or had at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(name)) / 1024


def main(rounds: int, device: str) -> None:
    """A block for each case."""
    for case, shape in CASES.items():
        found = times(case, rounds, device)
        print(f"{case}: in, out, kernel, side = {shape}")
        print(f"  plain {1e3 * found.pop('plain'):.1f} ms; the others over it:")
        print("  " + "  ".join(f"{name} {ratio:.1f}" for name, ratio in found.items()))
        faster = found["torchvision"] / found["ours"]
        selection = found[f"{KERNELS} x torchvision"] / found["selection"]
        print(f"  ours {faster:.1f} times faster, selection {selection:.1f} times")
        if device == "cpu" and sys.platform == "linux":
            memory = "  ".join(f"{name} {peak(case, name):.0f}" for name in MEASURED)
            print(f"  peak MiB: {memory}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["peak"]:
        _peak(*sys.argv[2:4])
    else:
        rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
        main(rounds, sys.argv[2] if len(sys.argv) > 2 else "cpu")
