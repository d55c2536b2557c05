"""Lesson 09's generators: ``course.py weights miner miners``."""

from collections.abc import Callable
from functools import partial
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
    """The same with three seeds, and what other objectives make of it."""
    forms = {"error map": _miner} | {form: _by(form) for form in NAIVE}
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


def paid(
    score: Tensor,
    image: Tensor,
    network: torch.nn.Module,
    *,
    slope: bool = False,
    mean: bool = True,
    hidden: bool = False,
) -> Tensor:
    """A naive objective: the error at each pixel teaches its score directly.

    ``slope``: through the inpainter as well, so that the score also learns what that
    would rather not see. ``mean``: each error is compared with the mean of its hole.
    ``hidden``: pixels in the hole alone, as a known one is easy to repeat, which says
    nothing of how hard it would be to guess.
    """
    hole = straight_through(score, AREA)
    given = hole.detach()
    if slope:
        error = (network(image, hole) - image).abs().mean(1, keepdim=True)
    else:
        error = pixel_error(network(image, given), image)
    if mean:
        count = given.sum((1, 2, 3), keepdim=True)
        usual = (given * error).sum((1, 2, 3), keepdim=True) / count
        error = error - usual.detach()
    if hidden:
        error = torch.where(given.bool(), error, 0.0)
    return (hole * error).sum() / given.sum()


NAIVE: dict[str, Callable[[Tensor, Tensor, torch.nn.Module], Tensor]] = {
    "through": partial(paid, slope=True, mean=False),
    "no slope": partial(paid, mean=False),
    "through, less the mean": partial(paid, slope=True),
    "no slope, less the mean": paid,
    "through, hidden": partial(paid, slope=True, mean=False, hidden=True),
    "no slope, hidden": partial(paid, mean=False, hidden=True),
    "through, less the mean, hidden": partial(paid, slope=True, hidden=True),
    "inside": partial(paid, hidden=True),
}


def _by(form: str) -> Callable[[int], None]:
    def train(seed: int) -> None:
        name, made = f"miner.{form}.{seed}", MaskGenerator()
        history = train_by(
            NAIVE[form],
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
