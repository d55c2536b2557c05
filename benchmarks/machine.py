"""What the numbers of a benchmark are true for."""

import platform
from pathlib import Path

import torch


def processor() -> str:
    """What the processor calls itself, as far as it says, and how many threads."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1] for line in lines if line.startswith("model name")]
        model = (names or [model])[0].strip()
    return f"{model}, {torch.get_num_threads()} thread"
