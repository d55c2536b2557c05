"""Lesson 10: every idea on one skeleton under one budget; ``course.py ladder``.

A *rung* is one network. All have 272,000 weights within 2 %, the same photos, holes,
steps, optimiser and three seeds. Filled cell by cell into ``assets/studies``; a cell
says on which device it was trained, from which commit and for how many minutes.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from course_lib import evaluation, fills, holes, photos, studies, training, zoo
from course_lib.layers import sampling_losses, weighed
from course_lib.mining import error_map_loss, mined_holes, pixel_error
from course_lib.networks import MaskGenerator
from course_lib.recipes import runs
from course_lib.recipes.mining import NOISE
from course_lib.recipes.studies import BUDGET, RATE, SAMPLING, Form, fill, unet, write
from course_lib.session import Budget

_WIDE = [16, 32, 48, 64, 64]
_GATED = {"conv": "GatedConv2d"}
_MOVED = SAMPLING["recommended"]
LADDER = {
    "plain": Form(unet(_WIDE, sees_hole=False)),
    "+ hole channel": Form(unet(_WIDE)),
    "partial": Form(unet(_WIDE, conv="PartialConv2d")),
    "gated": Form(unet([12, 22, 34, 46, 44], **_GATED)),
    "+ attention": Form(unet([12, 22, 32, 44, 42], **_GATED, copies=True)),
    "mask-aware": Form(
        {
            "class": "Cascade",
            "arguments": {
                "narrow": [6, 8, 10, 12, 16],
                "wide": [9, 17, 25, 31, 38],
                "kernels": [7, 5, 3, 3, 3],
                "hidden": 12,
                "mask_channels": 8,
            },
        },
    ),
    "deformable": replace(_MOVED, kept=""),  # with seed 0 it is sampling_recommended
    "+ mined holes": replace(_MOVED, kept="", mining={"share": 0.5}),
}
TIMED = "gated"  # what the others may take at equal time
ROUNDS = 15


def ladder() -> None:
    """Lesson 10: the rungs at equal parameters, the untrained ones, what each costs."""
    untrained()
    fill("ladder", LADDER, evaluation.METRICS)
    if not studies.cells("ladder_costs"):
        ladder_costs()


def untrained() -> None:
    """The fills that learn nothing, on the same holes, and a copy of the nearest."""
    rivals = {**fills.available(), "nearest": holes.nearest_fill}
    missing = [name for name in rivals if f"{name} 0" not in studies.cells("ladder")]
    image, bench = photos.squares("evaluation", 128), holes.benchmark(128, 20)
    for name in missing:
        print(f"ladder: {name}", flush=True)
        begin = time.process_time()
        rows = evaluation.evaluate({name: rivals[name]}, image, bench).rows[name]
        scores = {
            metric: [[round(value, 4) for value in row] for row in found.tolist()]
            for metric, found in rows.items()
        }
        told: dict[str, object] = {"seed": 0, "parameters": 0, "device": "cpu"}
        told["scores"] = scores
        told["minutes"] = round((time.process_time() - begin) / 60, 2)
        write("ladder", f"{name} 0", told)


def ladder_time() -> None:
    """The rungs once more, each for as long as gated convolution takes."""
    cost = studies.cells("ladder_costs")
    if not cost:
        ladder_costs()
        cost = studies.cells("ladder_costs")
    usual = _whole(cost[f"{TIMED} 0"])
    forms = {}
    for rung, form in LADDER.items():
        share = usual / _whole(cost[f"{rung} 0"])
        stages = tuple(replace(s, steps=round(s.steps * share)) for s in BUDGET)
        forms[rung] = replace(form, stages=stages)
    fill("ladder_time", forms)


def _whole(cost: dict[str, Any]) -> float:
    """Milliseconds of all steps of the budget, the small and the large ones."""
    of = {64: "step_ms", 128: "step_128_ms"}
    return sum(stage.steps * cost[of[stage.size]] for stage in BUDGET)


def ladder_costs() -> None:
    """What a rung takes: a step of training, a picture filled, and memory."""
    works = {
        rung: {
            "step_ms": training_step(form),
            "step_128_ms": training_step(form, 128),
            "fill_ms": _answer(form),
        }
        for rung, form in LADDER.items()
    }
    taken: dict[str, dict[str, list[float]]]
    taken = {rung: {name: [] for name in each} for rung, each in works.items()}
    for _ in range(ROUNDS):  # all take turns: a busy machine is busy for each of them
        for rung, each in works.items():
            for name, work in each.items():
                work()  # the one before left its own memory and caches behind
                begin = time.process_time()
                work()
                taken[rung][name].append(1000 * (time.process_time() - begin))
    for rung, each in works.items():
        told: dict[str, Any] = {"seed": 0, "device": "cpu, one thread"}
        for name, times in taken[rung].items():
            told[name] = round(statistics.median(times), 1)
        told["kept_mb"] = kept_mb(each["step_ms"])
        write("ladder_costs", f"{rung} 0", told)


def training_step(form: Form, size: int = 64) -> Callable[[], None]:
    """One step as the recipes make it: 8 pictures of ``size``, there and back."""
    torch.manual_seed(0)
    network = zoo.build(form.plan).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    accelerator = training.accelerator("cpu")  # the processor's time is what is taken
    network.train()
    batch = next(runs.training_batches(Budget(1, 8, size), _generator()))
    mines = _mining_step(batch[0]) if form.mining else None

    def step() -> None:
        with accelerator.autocast(), sampling_losses(network) as chosen:
            answers = runs.predicted(network, batch)
        loss, _ = runs.fill_loss(answers, batch)
        if form.sampling:
            loss = loss + weighed(chosen, **form.sampling)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if mines:
            mines(answers[-1], batch[1])

    return step


def _mining_step(image: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """What a generator adds to a step: its score, half of the holes, its own step."""
    miner = MaskGenerator().to(image.device)
    optimizer = torch.optim.Adam(miner.parameters(), RATE)
    half = len(image) // 2

    def step(answer: torch.Tensor, hole: torch.Tensor) -> None:
        score = miner(image)
        mined_holes(score[:half], holes.ratio(hole[:half]), NOISE, _generator())
        loss = error_map_loss(score, pixel_error(answer, image), hole)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _answer(form: Form) -> Callable[[], None]:
    """One picture of 128 px filled."""
    network = zoo.build(form.plan).eval()
    image = photos.squares("evaluation", 128)[:1]
    hole = holes.benchmark(128, 1).hole[6:7]

    @torch.no_grad()
    def answer() -> None:
        network(image, hole)

    return answer


def kept_mb(work: Callable[[], object]) -> float:
    """What ``work`` keeps for the way back, in MB, beside parameters."""
    sizes: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # else memory lent again would be counted once

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            sizes[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return round(sum(sizes.values()) / 1e6, 2)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
