"""Where a lesson starts: profile, device, seed and budget; lesson 00 shows it.

``python -m course_lib.session`` prints what this machine is and what each lesson
will cost on it.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
PROFILES = ("ci", "laptop", "gpu")


class SessionError(ValueError):
    """An unknown lesson or profile."""


@dataclass(frozen=True)
class Budget:
    """How much a lesson trains: optimiser steps, pictures a step, their side."""

    steps: int
    batch: int
    size: int


@dataclass(frozen=True)
class Lesson:
    """One row of the course: what a notebook is called, builds and costs."""

    number: str
    name: str
    title: str
    builds: str
    minutes: int  # to read, run and practise
    seconds: int  # of running in the laptop profile, on the machine of PROBE_MS
    ci: Budget
    laptop: Budget
    gpu: Budget

    @property
    def notebook(self) -> str:
        """The notebook's path from the project root."""
        return f"notebooks/{self.number}_{self.name}.ipynb"


LESSONS = {
    lesson.number: lesson
    for lesson in (
        Lesson(
            "00",
            "start_here",
            "Start here: fill a hole",
            "paint a hole, four fills side by side, what PSNR rewards",
            minutes=64,
            seconds=37,
            ci=Budget(steps=4, batch=4, size=32),
            laptop=Budget(steps=400, batch=8, size=64),
            gpu=Budget(steps=2000, batch=64, size=128),
        ),
        Lesson(
            "01",
            "holes",
            "Holes: what is missing",
            "rectangles, strokes, holes from optical flow, buckets, polarity",
            minutes=80,
            seconds=24,
            ci=Budget(steps=4, batch=8, size=64),
            laptop=Budget(steps=4, batch=64, size=128),
            gpu=Budget(steps=4, batch=64, size=256),
        ),
        Lesson(
            "02",
            "losses",
            "What to minimise",
            "discounted L1, total variation, perceptual and style loss, error by ring",
            minutes=100,
            seconds=28,
            ci=Budget(steps=4, batch=4, size=32),
            laptop=Budget(steps=300, batch=8, size=64),
            gpu=Budget(steps=2000, batch=64, size=128),
        ),
        Lesson(
            "03",
            "unet",
            "A plain U-Net, and where it fails",
            "a U-Net, its reach, exact resume, colour discrepancy and blur",
            minutes=80,
            seconds=80,
            ci=Budget(steps=8, batch=4, size=32),
            laptop=Budget(steps=800, batch=8, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "04",
            "partial_convolution",
            "Partial convolution",
            "a layer that reads only what is known, its FAQ in code, seven bugs",
            minutes=100,
            seconds=50,
            ci=Budget(steps=4, batch=4, size=32),
            laptop=Budget(steps=300, batch=8, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "05",
            "gated_convolution",
            "Gated convolution",
            "a layer that learns what to trust, a critic, a fill that follows a sketch",
            minutes=100,
            seconds=90,
            ci=Budget(steps=4, batch=4, size=32),
            laptop=Budget(steps=200, batch=4, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "06",
            "contextual_attention",
            "Contextual attention: copy from what is known",
            "a layer that copies, where it looks, critics with a bounded slope",
            minutes=110,
            seconds=120,
            ci=Budget(steps=4, batch=4, size=32),
            laptop=Budget(steps=100, batch=4, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "07",
            "dynamic_filtering",
            "Mask-aware filters: one for every window",
            "a layer that makes filters from the hole, a cascade of decoders",
            minutes=97,
            seconds=100,
            ci=Budget(steps=4, batch=4, size=32),
            laptop=Budget(steps=100, batch=4, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "08",
            "deformable_sampling",
            "Deformable sampling: look where it is worth looking",
            "a convolution that chooses where it reads, and which kernel",
            minutes=127,
            seconds=100,
            ci=Budget(steps=4, batch=4, size=64),
            laptop=Budget(steps=100, batch=4, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "09",
            "mask_mining",
            "Mask mining: holes worth training on",
            "a network that knows beforehand which pixels could be guessed",
            minutes=113,
            seconds=90,
            ci=Budget(steps=8, batch=8, size=64),
            laptop=Budget(steps=150, batch=8, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "10",
            "ladder",
            "The ladder: what is each idea worth?",
            "one table for every idea, and five answers about one pixel",
            minutes=104,
            seconds=60,
            ci=Budget(steps=4, batch=8, size=64),
            laptop=Budget(steps=150, batch=8, size=64),
            gpu=Budget(steps=4000, batch=32, size=128),
        ),
        Lesson(
            "11",
            "at_scale",
            "At scale: any picture, any number of machines",
            "feathered tiles, processes that learn as one, exact resume",
            minutes=95,
            seconds=80,
            ci=Budget(steps=40, batch=4, size=32),
            laptop=Budget(steps=100, batch=4, size=32),
            gpu=Budget(steps=100, batch=4, size=32),
        ),
    )
}


@dataclass(frozen=True)
class Run:
    """What a lesson may read about where it runs. Made by :func:`start`."""

    lesson: str
    title: str
    profile: str
    device: torch.device
    seed: int
    steps: int
    batch: int
    size: int

    def generator(
        self, name: str, device: str | torch.device = "cpu"
    ) -> torch.Generator:
        """A fresh random generator for one purpose, such as ``"holes"``.

        The same lesson, seed and name always give the same stream, whatever was
        drawn before: cells can be run twice or out of order.
        """
        text = f"{self.lesson}/{self.seed}/{name}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        return torch.Generator(device).manual_seed(number)

    def __str__(self) -> str:
        """One line for the top of a lesson."""
        return (
            f"Lesson {self.lesson} · {self.title} — profile {self.profile} on "
            f"{self.device}, seed {self.seed}: {self.steps} steps, batch {self.batch}, "
            f"{self.size} px"
        )


def start(lesson: str, profile: str | None = None, seed: int = 0) -> Run:
    """Choose the profile and the device of a lesson, and set the figure style.

    Profile: the argument, else the environment variable ``COURSE_PROFILE``, else
    ``gpu`` where CUDA is, else ``laptop``. Without CUDA, profile ``gpu`` warns that its
    many large steps will take hours. Profile ``ci`` always runs on the CPU with
    one thread, so that its stored outputs can be reproduced. Raises ``SessionError``
    for a lesson or profile that does not exist.
    """
    row = find(lesson)
    chosen = profile or os.environ.get("COURSE_PROFILE") or automatic_profile()
    if chosen not in PROFILES:
        raise SessionError(
            f"unknown profile {chosen!r}: choose one of {', '.join(PROFILES)} "
            "(argument of start, or environment variable COURSE_PROFILE)"
        )
    if chosen == "ci":
        torch.set_num_threads(1)
    if chosen == "gpu" and not torch.cuda.is_available():
        warnings.warn(
            "profile gpu without CUDA: its many large steps will take hours here; "
            "profile laptop is made for this machine",
            stacklevel=2,
        )
    _set_figure_style()
    budget: Budget = getattr(row, chosen)
    device = torch.device("cpu") if chosen == "ci" else best_device()
    return Run(
        row.number,
        row.title,
        chosen,
        device,
        seed,
        budget.steps,
        budget.batch,
        budget.size,
    )


def find(lesson: str) -> Lesson:
    """The table row of a lesson number such as ``"00"``."""
    if lesson not in LESSONS:
        known = ", ".join(f"{row.number} ({row.title})" for row in LESSONS.values())
        raise SessionError(f"unknown lesson {lesson!r}: there is {known}")
    return LESSONS[lesson]


def automatic_profile() -> str:
    """``gpu`` where CUDA is available, else ``laptop``."""
    return "gpu" if torch.cuda.is_available() else "laptop"


def best_device() -> torch.device:
    """The machine's accelerator (CUDA, MPS, ...) if torch has one, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def _set_figure_style() -> None:
    from matplotlib import style

    style.use(Path(__file__).with_name("course.mplstyle"))


PROBE_MS = 33.0  # probe_ms() on the two CPU cores the lessons' seconds were taken on


def probe_ms(device: torch.device | str = "cpu") -> float:
    """Milliseconds for one forward and backward pass of a small convolution stack.

    The measure that :func:`report` scales the lessons' times with.
    """
    with torch.random.fork_rng(devices=[]):  # new layers draw their weights
        layers = [torch.nn.Conv2d(c, 32, 3, padding=1) for c in (3, 32, 32)]
    network = torch.nn.Sequential(*layers).to(device)
    batch = torch.zeros(8, 3, 64, 64, device=device)
    best = float("inf")
    for _ in range(6):
        begin = time.perf_counter()
        network(batch).sum().backward()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize()
        best = min(best, 1000 * (time.perf_counter() - begin))
    return best


def report() -> str:
    """Versions, device, memory, disk and the expected time of each lesson here.

    The time is that of the laptop profile on this machine's CPU.
    """
    device = best_device()
    versions = ["torch", "torchvision", "numpy", "jupyterlab", "anywidget", "nbval"]
    lines = [f"Python {platform.python_version()} on {platform.system()}"]
    lines += [f"{name} {_version(name)}" for name in versions]
    lines += [f"device {_device_name(device)}", f"profile {automatic_profile()}"]
    lines += [f"CPU cores {os.cpu_count()}, torch threads {torch.get_num_threads()}"]
    lines += [f"memory {_memory_gib():.0f} GiB"] if _memory_gib() else []
    free = shutil.disk_usage(ROOT).free / 2**30
    probe = probe_ms()
    lines += [f"disk {free:.0f} GiB free", f"probe {probe:.1f} ms a training step", ""]
    lines += ["lesson  laptop profile here, and with reading and exercises"]
    for row in LESSONS.values():
        seconds = row.seconds * probe / PROBE_MS
        lines.append(
            f"{row.number:6}  {seconds:6.0f} s    {row.minutes} min  {row.title}"
        )
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.processor() or platform.machine()})"


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 0.0


if __name__ == "__main__":
    print(report())
