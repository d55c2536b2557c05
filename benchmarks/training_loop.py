"""What the training loop costs: ``fit`` beside the same steps in a bare PyTorch loop.

    python benchmarks/training_loop.py [steps of each round]

Trains the course's U-Net, 16 pictures of 64 pixels, in short rounds that take turns,
so that a busy machine slows all of them alike; the rate is the median over the rounds.
Goal: ``fit`` at 0.97 of the bare loop or better, watched or not. Then the share of time
that a training waits for its data.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from course_lib import training
from course_lib.networks import UNet
from course_lib.recipes import runs
from course_lib.session import Budget, best_device
from course_lib.tensors import composite, hide
from course_lib.widgets import TrainingView

ROUNDS = 7
Batch = tuple[Tensor, Tensor]


class Setup:
    """One network, its optimiser and its step; each way of looping has its own."""

    def __init__(self, size: int, precision: str = "auto") -> None:
        torch.manual_seed(0)
        self.accelerator = training.accelerator(best_device(), precision)
        self.network: nn.Module = UNet().to(self.accelerator.device)
        adam = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.optimizer = self.accelerator.prepare(adam)
        self.batches = runs.training_batches(
            Budget(0, 16, size), torch.Generator().manual_seed(0)
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of a lesson."""
        image, hole = batch
        with self.accelerator.autocast():
            error = (self.network(hide(image, hole), hole) - image).abs()
            loss = (error * (1 + 5 * hole)).mean()
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        return {"loss": loss.detach(), "hole": (error * hole).mean().detach()}

    def fit(self, batches: Iterator[Batch], steps: int, **options: object) -> None:
        """The course's loop."""
        state = {"network": self.network, "optimizer": self.optimizer}
        training.fit(
            self.step,
            batches,
            steps=steps,
            state=state,
            progress=False,
            accelerator=self.accelerator,
            **options,
        )

    def bare(self, batches: Iterator[Batch], steps: int) -> None:
        """The loop as everybody writes it: no accelerator, losses read each step."""
        device = self.accelerator.device
        half = self.accelerator.mixed_precision == "bf16"
        kept = []
        for _ in range(steps):
            image, hole = (part.to(device, non_blocking=True) for part in next(batches))
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                error = (self.network(hide(image, hole), hole) - image).abs()
                loss = (error * (1 + 5 * hole)).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            kept.append((loss.item(), (error * hole).mean().item()))


def throughput(steps: int) -> None:
    """Steps a second in turns; the ratio is to the bare loop of the same round."""
    ways = {name: Setup(64) for name in ("bare", "fit", "fit, watched")}
    ways["bare"].optimizer = torch.optim.Adam(ways["bare"].network.parameters(), 1e-3)
    batches = [next(ways["bare"].batches) for _ in range(8)]
    image, hole = (part[:1].to(ways["bare"].accelerator.device) for part in batches[0])
    watched = ways["fit, watched"]
    view = TrainingView(
        lambda: composite(watched.network(hide(image, hole), hole), image, hole)
    )

    def run(name: str, count: int) -> float:
        given = (batches[k % len(batches)] for k in range(count))
        loops: dict[str, Callable[[], None]] = {
            "bare": lambda: ways[name].bare(given, count),
            "fit": lambda: ways[name].fit(given, count),
            "fit, watched": lambda: ways[name].fit(given, count, watch=view),
        }
        begin = time.perf_counter()
        loops[name]()
        return count / (time.perf_counter() - begin)

    for name in ways:
        run(name, 2)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(ROUNDS):
        order = list(ways)[k % 3 :] + list(ways)[: k % 3]
        for name in order:
            rates[name].append(run(name, steps))
    print(f"{'loop':16}{'steps a second':>16}{'of the bare loop':>18}")
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(found, rates["bare"], strict=True)]
        middle, ratio = statistics.median(found), statistics.median(ratios)
        print(f"{name:16}{middle:16.2f}{ratio:18.3f}", flush=True)


def waiting(steps: int) -> None:
    """The share of time that goes into waiting for batches, drawn at once or ahead."""
    print(f"\n{'size':16}{'ahead':>8}{'steps a second':>16}{'waiting':>10}")
    for size in (64, 128):
        for ahead in (0, 2):
            setup = Setup(size)
            next(setup.batches)  # the photos are read once
            history = training.fit(
                setup.step,
                setup.batches,
                steps=steps,
                progress=False,
                accelerator=setup.accelerator,
                ahead=ahead,
            )
            rate, share = history.steps / history.seconds, history.waiting_share
            print(
                f"{size:3} px, batch 16 {ahead:7}{rate:16.2f}{share:10.1%}", flush=True
            )


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    made = training.accelerator(best_device())
    print(
        f"U-Net, batch 16, {made.device}, precision {made.mixed_precision}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; "
        f"{ROUNDS} rounds of {many} steps\n"
    )
    throughput(many)
    waiting(many)
