"""Lesson 09's generators: ``course.py weights miner miners``."""

from typing import Any

import torch
from torch import Tensor

from course_lib import studies, zoo
from course_lib.mining import pixel_error, straight_through
from course_lib.networks import MaskGenerator
from course_lib.recipes import runs, weights
from course_lib.recipes.mining import AREA, miner_facts, train_by, train_mining
from course_lib.recipes.studies import BUDGET, RATE, write
from course_lib.session import Budget

PLAN: dict[str, Any] = {"class": "MaskGenerator", "arguments": {}}
PARTNER = "nearest_unet"
SNAPSHOTS = (30, 100, 300)  # steps after which the miner of seed 0 ships as well
NAIVE_BUDGET = (Budget(400, 8, 64),)


def miner() -> None:
    """Lesson 09: a generator that learned the errors of a finished inpainter."""
    _miner(0)


def miners() -> None:
    """The same with three seeds, and what two other objectives make of it."""
    forms = {"error map": _miner, "through": _by(through), "inside": _by(inside)}
    for seed in range(3):
        for form, train in forms.items():
            if f"{form} {seed}" not in studies.cells("miners"):
                train(seed)


def _miner(seed: int) -> None:
    network, made = zoo.load(PARTNER), MaskGenerator()
    name = f"miner.{seed}"
    facts = {
        "command": "python3 course.py weights miner",
        "loss": f"error map; of {PARTNER} {zoo.card(PARTNER)['sha256'][:12]}",
        "holes": "half random, half mined",
        "rate": f"Adam {RATE}, one cosine down to 2 %",
    }

    def watch(step: int, miner: MaskGenerator) -> None:
        if step in SNAPSHOTS:
            zoo.save(miner, f"miner_at_{step}", PLAN, facts | {"at": step})

    history = train_mining(
        network, made, name, BUDGET, rate=RATE, seed=seed, watch=None if seed else watch
    )
    told = weights.training_facts(name, history, BUDGET, seed)
    found = {"miner": miner_facts(made, seed)}
    if seed == 0:
        curves = {"curves": weights.curves(history)}
        zoo.save(made, "miner", PLAN, facts | told | found | curves)
        for step in SNAPSHOTS:  # their cards say as much as the miner's
            name_then = f"miner_at_{step}"
            zoo.save(zoo.load(name_then), name_then, PLAN, facts | told | {"at": step})
    write("miners", f"error map {seed}", told | found)
    runs.forget(name)


def through(score: Tensor, image: Tensor, network: torch.nn.Module) -> Tensor:
    """The naive objective: the error in the hole, and its slope through the network."""
    hole = straight_through(score, AREA)
    error = (network(image, hole) - image).abs().mean(1, keepdim=True)
    return (hole * error).sum() / hole.detach().sum()


def inside(score: Tensor, image: Tensor, network: torch.nn.Module) -> Tensor:
    """Only the explicit term: which errors are in the hole, seen from their mean.

    Of pixels in the hole alone: a known one is easy to repeat, which says nothing of
    how hard it would be to guess.
    """
    hole = straight_through(score, AREA)
    error, given = pixel_error(network(image, hole.detach()), image), hole.detach()
    count = given.sum((1, 2, 3), keepdim=True)
    usual = (given * error).sum((1, 2, 3), keepdim=True) / count
    worse = torch.where(given.bool(), error - usual, 0.0)
    return (hole * worse / count).sum() / len(hole)


def _by(objective: Any) -> Any:
    def train(seed: int) -> None:
        form = objective.__name__
        name, made = f"miner.{form}.{seed}", MaskGenerator()
        history = train_by(
            objective,
            made,
            zoo.load("plain_unet"),
            name,
            NAIVE_BUDGET,
            rate=RATE,
            seed=seed,
        )
        told = weights.training_facts(name, history, NAIVE_BUDGET, seed)
        write("miners", f"{form} {seed}", told | {"miner": miner_facts(made, seed)})
        runs.forget(name)

    return train
