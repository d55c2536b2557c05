"""What each way of training at scale is worth, side by side, on this machine.

    python benchmarks/scale.py [steps of each round] [pixels a side]

Trains the course's U-Net as ``course_lib.scale`` does, in short rounds in which the
ways take turns, so that a busy machine slows all of them alike; on a CPU seconds are
those of the process, in which others do not count. A ratio is pictures a second divided
by the first way's in the same round; the table has the median over the rounds, the
least and the most. Then one process against two that share a step, by the clock, and
the loading of pictures, alone and while training. All go to
``assets/benchmarks/scale.json``, under the device's name, which lesson 11 reads: run it
on a GPU to add its column. One CPU thread, unless ``OMP_NUM_THREADS`` says otherwise.
"""

import dataclasses
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import debug_launcher
from machine import processor
from PIL import Image

from course_lib import photos, scale, training
from course_lib.datasets import Batches, Pairs
from course_lib.pictures import to_pixels
from course_lib.scale import Plan
from course_lib.session import ASSETS, best_device

ROUNDS = 9
FILE = ASSETS / "benchmarks" / "scale.json"
PLAN = Plan(precision="no", channels_last=False, batch=8)
WAYS: dict[str, tuple[Plan, bool]] = {  # and whether 32 bits may be multiplied as TF32
    "float32, batch 8": (PLAN, False),
    "channels last": (dataclasses.replace(PLAN, channels_last=True), False),
    "bf16": (dataclasses.replace(PLAN, precision="bf16"), False),
    "bf16, channels last": (
        dataclasses.replace(PLAN, precision="bf16", channels_last=True),
        False,
    ),
    "compiled": (dataclasses.replace(PLAN, compile=True), False),
    "compiled, bf16, channels last": (
        dataclasses.replace(PLAN, compile=True, precision="bf16", channels_last=True),
        False,
    ),
    "batch 2": (dataclasses.replace(PLAN, batch=2), False),
    "batch 32": (dataclasses.replace(PLAN, batch=32), False),
    "4 parts of 8": (dataclasses.replace(PLAN, accumulate=4), False),
}
GPU_WAYS = {
    "TF32": (PLAN, True),
    "fp16": (dataclasses.replace(PLAN, precision="fp16"), False),
}


class Way:
    """One network trained in one way."""

    def __init__(self, plan: Plan, tf32: bool) -> None:
        self.plan, self.tf32 = plan, tf32
        accelerator = scale.accelerator_for(plan)
        self.network = accelerator.prepare(scale.built(plan, accelerator))
        self.adam = torch.optim.Adam(self.network.parameters(), lr=plan.rate)
        image = torch.rand(plan.batch * plan.accumulate, 3, plan.size, plan.size)
        hole = (torch.rand_like(image[:, :1]) < 0.3).float()
        self.batch = image.to(accelerator.device), hole.to(accelerator.device)

    def run(self, pictures: int) -> float:
        """Pictures a second."""
        accelerator = scale.accelerator_for(self.plan)  # the last one made counts
        optimizer = accelerator.prepare(self.adam)
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        torch.backends.cudnn.allow_tf32 = self.tf32
        schedule = torch.optim.lr_scheduler.LambdaLR(self.adam, lambda _: 1.0)
        steps = max(1, pictures // len(self.batch[0]))
        on_gpu = accelerator.device.type == "cuda"
        clock = time.perf_counter if on_gpu else time.process_time
        begin = clock()
        for _ in range(steps):
            scale.step(
                self.network, optimizer, schedule, self.plan, accelerator, self.batch
            )
        if on_gpu:
            torch.cuda.synchronize()
        return steps * len(self.batch[0]) / (clock() - begin)


def tried(name: str, plan: Plan, tf32: bool) -> Way | None:
    """A way that has run once, or None and a line that says why it does not."""
    begin = time.perf_counter()
    try:
        way = Way(plan, tf32)
        way.run(1)
    except Exception as error:
        print(f"{name}: not here ({type(error).__name__}: {str(error)[:200]})")
        return None
    print(f"{name}: first step {time.perf_counter() - begin:.1f} s", flush=True)
    return way


def ways(steps: int, size: int) -> dict[str, Any]:
    """The ratio of each way, from rounds in turns."""
    wanted = WAYS | (GPU_WAYS if best_device().type == "cuda" else {})
    made = {
        name: tried(name, dataclasses.replace(plan, size=size), tf32)
        for name, (plan, tf32) in wanted.items()
    }
    here = {name: way for name, way in made.items() if way}
    rates: dict[str, list[float]] = {name: [] for name in here}
    for k in range(ROUNDS):
        names = list(here)
        for name in names[k % len(names) :] + names[: k % len(names)]:
            rates[name].append(here[name].run(steps * PLAN.batch))
    first = rates[next(iter(rates))]
    print(f"\n{'':32}{'pictures/s':>12}{'ratio':>8}{'from':>8}{'to':>8}")
    found = {}
    for name, each in rates.items():
        ratios = [a / b for a, b in zip(each, first, strict=True)]
        row = [statistics.median(each), statistics.median(ratios)]
        row += [min(ratios), max(ratios)]
        print(f"{name:32}{row[0]:12.1f}" + "".join(f"{v:8.2f}" for v in row[1:]))
        keys = ("pictures_a_second", "ratio", "least", "most")
        found[name] = {k: round(v, 3) for k, v in zip(keys, row, strict=True)}
    return found


def loading(steps: int, size: int) -> dict[str, Any]:
    """Pictures a second that workers load from JPEG files of 512 px and more."""
    found = {}
    print(f"\n{'workers':>8}{'pictures/s, loading alone':>28}{'waiting, training':>20}")
    with tempfile.TemporaryDirectory() as folder:
        for name in photos.names("validation"):
            pixels = to_pixels(photos.load(name))
            Image.fromarray(pixels).save(Path(folder) / f"{name}.jpg", quality=90)
        pairs = Pairs(f"folder:{folder}", size)
        for workers in (0, 1, 2):
            batches = Batches(pairs, PLAN.batch, workers=workers)
            next(batches)
            begin = time.perf_counter()
            for _ in range(4 * steps):
                next(batches)
            rate = 4 * steps * PLAN.batch / (time.perf_counter() - begin)
            plan = dataclasses.replace(
                PLAN,
                data=f"folder:{folder}",
                workers=workers,
                steps=4 * steps,
                size=size,
                precision="auto",
            )
            with tempfile.TemporaryDirectory() as out:
                history = scale.train(plan, out, watch=False)
            found[str(workers)] = {
                "pictures_a_second": round(rate, 1),
                "waiting": round(history.waiting_share, 3),
            }
            print(f"{workers:8}{rate:28.1f}{history.waiting_share:20.1%}", flush=True)
    return found


def processes(steps: int, size: int) -> dict[str, Any]:
    """Pictures a second of one process and of two, 8 pictures each, on CPU cores."""
    if best_device().type != "cpu":
        return {}
    plan = dataclasses.replace(
        PLAN, steps=4 * steps, size=size, norm="group", cpu=True, channels_last=True
    )
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # they meet inside this machine
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for k in range(ROUNDS):
            for count in rates:
                out = Path(folder) / f"{count} {k}"
                debug_launcher(_trained, (plan, out), num_processes=count)
                rates[count].append(float((out / "rate").read_text()))
    ratios = [two / one for two, one in zip(rates[2], rates[1], strict=True)]
    row = [statistics.median(ratios), min(ratios), max(ratios)]
    print("\ntwo processes: {:.2f} times one's ({:.2f} to {:.2f})".format(*row))
    keys = ("ratio", "least", "most")
    found: dict[str, Any] = {k: round(v, 3) for k, v in zip(keys, row, strict=True)}
    return found | {"cores": os.cpu_count()}


def _trained(plan: Plan, out: Path) -> None:
    """In each process: train, and let the first say how many pictures a second."""
    history = scale.train(plan, out, watch=False)
    accelerator = scale.accelerator_for(plan)
    if accelerator.is_main_process:
        pictures = history.steps * plan.batch * accelerator.num_processes
        (out / "rate").write_text(str(pictures / history.seconds))


def device_name() -> str:
    """What the numbers are true for."""
    if best_device().type == "cuda":
        return torch.cuda.get_device_name()
    return processor()


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    device = device_name()
    print(f"U-Net, {side} px, {device}, load {os.getloadavg()[0]:.1f}\n")
    facts: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__.partition("+")[0],
        "size": side,
        "rounds": ROUNDS,
        "steps": many,
        "load": round(os.getloadavg()[0], 1),
    }
    facts["bf16"] = training.accelerator(best_device()).mixed_precision == "bf16"
    facts["processes"] = processes(many, side)  # first: before this one has threads
    facts["ways"] = ways(many, side)
    facts["loading"] = loading(many, side)
    FILE.parent.mkdir(exist_ok=True)
    everything = json.loads(FILE.read_text()) if FILE.exists() else {}
    everything[f"{device}, {side} px"] = facts
    FILE.write_text(json.dumps(everything, indent=1) + "\n")
