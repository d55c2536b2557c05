"""Every layer of the course in one table: beside its published form and a plain one.

    python benchmarks/layers.py [rounds]

There and back, one representative size each, on one thread. *ours*: the layer.
*published*: the formulation of the paper's public code, as the layer's own benchmark
has it (the paper's two convolutions for gates, torchvision's operator for deformable
reads). *plain*: an ordinary convolution
of the same window and width. They take turns in each round; a ratio is the median over
the rounds of a time divided by ours of the same round, so a busy machine counts for
little. *limit*: the arithmetic of ours (PyTorch's counter) by its time, as a share of
the fastest arithmetic seen here: a large product of matrices, a large convolution.
*kept*: what the way there keeps for the way back, beside the parameters.

Prints a Markdown table and writes ``assets/benchmarks/layers.json``, an entry for each
device; the README shows it, and a test compares the two. Not a test of speed.
"""

import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import attention
import deformable
import dynamic
import gated
import partial_conv
import torch
from machine import processor
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.layers import PartialConv2d
from course_lib.recipes import rungs
from course_lib.session import ASSETS
from course_lib.widgets import LadderExplorer

FILE = ASSETS / "benchmarks" / "layers.json"
Forms = dict[str, Callable[[], Tensor]]


def partial_forms() -> Forms:
    """64 channels, 3 x 3, on a map of 64 x 64 with a hole in the middle."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, 64, 64, requires_grad=True)
    valid = torch.ones(4, 1, 64, 64)
    valid[..., 16:48, 16:48] = 0
    shape = (64, 64, 3, 1, 1)
    ours, published = PartialConv2d(*shape), partial_conv.EveryChannel(*shape)
    plain = nn.Conv2d(*shape)
    return {
        "ours": lambda: ours(x, valid)[0],
        "published": lambda: published(x, valid)[0],
        "plain": lambda: plain(x),
    }


def gated_forms() -> Forms:
    """A layer in the middle of the gated U-Net; two convolutions, as in the paper."""
    torch.manual_seed(0)
    layer, x = gated.shapes()["encoder.1.conv"]
    made, x = gated.rivals(layer, x), x.requires_grad_()
    return {
        "ours": lambda: made["gated"](x),
        "published": lambda: made["two"](x),
        "plain": lambda: made["plain"](x),
    }


def attention_forms() -> Forms:
    """Maps of 64 x 64 with 96 channels, two samples; plain: a 3 x 3 convolution."""
    given = attention.maps(2, 64, 64)
    ours, plain = attention.layer(True), nn.Conv2d(96, 96, 3, 1, 1)
    return {
        "ours": lambda: ours(*given),
        "published": lambda: attention.port(*given),
        "plain": lambda: plain(given[0]),
    }


def dynamic_forms() -> Forms:
    """The second level of a photo of 256 x 256."""
    return dynamic.prepared("level 2", 256)


def deformable_forms() -> Forms:
    """64 channels, 3 x 3, offsets of two pixels, on a map of 64 x 64."""
    made = deformable.prepared("wide")
    return {
        "ours": made["ours"],
        "published": made["torchvision"],
        "plain": made["plain"],
    }


LAYERS: dict[str, Callable[[], Forms]] = {
    "partial convolution": partial_forms,
    "gated convolution": gated_forms,
    "contextual attention": attention_forms,
    "mask-aware filters": dynamic_forms,
    "deformable reads": deformable_forms,
}


def seconds(form: Callable[[], Tensor]) -> float:
    """Of the processor, there and back."""
    begin = time.process_time()
    form().sum().backward()
    return time.process_time() - begin


def operations(form: Callable[[], object]) -> int:
    """Multiplications and additions of products and convolutions, all it calls."""
    with FlopCounterMode(display=False) as counter:
        form()
    return counter.get_total_flops()


def fastest(rounds: int) -> float:
    """Operations a second that this machine reaches at most, of two candidates."""
    matrix, x = torch.randn(2048, 2048), torch.randn(4, 64, 64, 64)
    weight, rates = torch.randn(64, 64, 3, 3), []
    for work in (lambda: matrix @ matrix, lambda: nn.functional.conv2d(x, weight)):
        taken, count = [], operations(work)
        for _ in range(rounds + 1):
            begin = time.process_time()
            work()
            taken.append(time.process_time() - begin)
        rates.append(count / statistics.median(taken[1:]))
    return max(rates)


def row(forms: Forms, rounds: int) -> dict[str, float]:
    """What the table says of one layer."""
    most = fastest(rounds)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 1):  # the first warms up
        for name, form in forms.items():
            taken[name].append(seconds(form))
    ours = taken["ours"][1:]
    count = operations(lambda: forms["ours"]().sum().backward())
    found = {"ms": 1000 * statistics.median(ours)}
    found["limit"] = count / statistics.median(ours) / most
    for name in ("published", "plain"):
        pairs = zip(taken[name][1:], ours, strict=True)
        found[name] = statistics.median(other / own for other, own in pairs)
    found |= {f"{name} mb": rungs.kept_mb(form) for name, form in forms.items()}
    return {name: round(value, 2) for name, value in found.items()}


def more(rounds: int) -> dict[str, float]:
    """Milliseconds of a step of training, and of a click in the ladder explorer."""
    step = rungs.training_step(rungs.LADDER["partial"])
    explorer = LadderExplorer(photo="sheep")
    works = {
        "step of training": step,
        "click in the explorer": lambda: explorer.look(60, 60) and explorer.answers,
    }
    found = {}
    for name, work in works.items():
        taken = []
        for _ in range(rounds + 1):
            begin = time.process_time()
            work()
            taken.append(1000 * (time.process_time() - begin))
        found[name] = round(statistics.median(taken[1:]), 1)
    return found


def markdown(device: str, facts: dict[str, object]) -> str:
    """The table as the README shows it."""
    lines = [
        "| layer, there and back | ours takes | of the limit | published form takes "
        "| plain convolution takes | kept in memory: ours, published |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in facts["layers"].items():  # type: ignore[attr-defined]
        lines.append(
            f"| {name} | {found['ms']:.1f} ms | {found['limit']:.0%} "
            f"| {found['published']:.1f} times as long "
            f"| {found['plain']:.2f} times | {found['ours mb']:.1f}, "
            f"{found['published mb']:.1f} MB |"
        )
    step, click = facts["more"].values()  # type: ignore[attr-defined]
    lines += [
        "",
        f"A step of training (lesson 10's *partial*, 8 crops of 64 px): {step} ms, "
        f"or {8000 / step:.0f} crops a second; Python's part of a click in the ladder "
        f"explorer takes {click} ms. Medians of {facts['rounds']} rounds in turns on "
        f"{device}, torch {facts['torch']}, {facts['date']}.",
    ]
    return "\n".join(lines)


def main(rounds: int) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    facts: dict[str, object] = {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
        "rounds": rounds,
        "load": round(os.getloadavg()[0], 1),
    }
    facts["layers"] = {name: row(forms(), rounds) for name, forms in LAYERS.items()}
    facts["more"] = more(rounds)
    every = json.loads(FILE.read_text()) if FILE.exists() else {}
    every[processor()] = facts
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(every, indent=1) + "\n")
    print(markdown(processor(), facts))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 15)
