"""Many small networks under one protocol: ``course.py weights sampling_study``.

A study is filled cell by cell, a cell being one form with one seed: interrupted, it
goes on where it was; a cell whose plan has changed is trained again. Several processes
may fill one study: each trains the cells that no other is at. Results are in
``assets/studies``, where ``course_lib.studies`` reads them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any

import torch

from course_lib import holes, photos, studies, training, zoo
from course_lib.layers import sampling_facts
from course_lib.networks import MaskGenerator
from course_lib.recipes import runs, weights
from course_lib.recipes.mining import (
    NOISE,
    miner_facts,
    predictable_holes,
    train_mining,
)
from course_lib.session import Budget

RATE = 2e-3
METRICS = ("hole_l1", "hole_psnr", "ssim", "seam")
BUDGET = (Budget(800, 8, 64), Budget(100, 8, 128))


@dataclass(frozen=True)
class Form:
    """What one row of a study is: a network, and how it is trained."""

    plan: dict[str, Any]
    sampling: dict[str, float] = field(default_factory=dict)  # what its losses weigh
    kept: str = ""  # under which name the network of seed 0 ships
    mining: dict[str, Any] | None = None  # of train_mining: whose holes it trains with
    stages: tuple[Budget, ...] = BUDGET
    begins: str = ""  # a shipped network that is trained further, gently

    @property
    def wanted(self) -> dict[str, Any]:
        """What a cell of it must say to need no training again; beside the seed."""
        mined = {} if self.mining is None else {"mining": self.mining}
        plan: dict[str, Any] = {"network": self.plan, "sampling": self.sampling}
        plan |= mined
        if self.begins:
            plan["begins"] = self.begins
        return plan | {"steps": [vars(stage) for stage in self.stages]}


_D = "DeformableSampling2d"
_SCALED = [_D, {"starts": "window", "moves": "none"}]
_OF_ALL = [_D, {"starts": "window", "moves": "all"}]
_OF_UNKNOWN = [_D, {"starts": "window"}]
_CHOSEN = [_D, {"starts": "window", "kernels": 3}]
_FIRST = [_D, {"tells": "near"}]
_WIDE = [16, 32, 48, 64, 64]
_SCALED_WIDTHS = [16, 30, 46, 60, 62]
_SLIM = [14, 28, 40, 54, 56]  # what the heads cost is taken from the width
_NARROW = [10, 20, 32, 40, 42]  # and what three kernels cost


def unet(channels: Sequence[int], **arguments: Any) -> dict[str, Any]:
    """The plan of a U-Net, for ``zoo.build``."""
    return {"class": "UNet", "arguments": {"channels": list(channels), **arguments}}


def _moving(channels: Sequence[int] = _SLIM, **arguments: Any) -> dict[str, Any]:
    """Reads that move on the way down, partial convolutions on the way up."""
    return unet(channels, decoder=weights.STILL, **arguments)


_LIGHT = {"unknown": 0.1, "length": 0.05}
SAMPLING = {  # parameters differ by less than 1 %
    "plain": Form(unet(_WIDE)),
    "plain, filled": Form(unet(_WIDE, fill="nearest")),
    "partial": Form(unet(_WIDE, conv="PartialConv2d")),
    "nearest": Form(unet(_WIDE, conv=weights.STILL, first=weights.NEAREST)),
    "modulated": Form(_moving(_SCALED_WIDTHS, conv=_SCALED)),
    "free": Form(_moving(conv=_OF_ALL), {"unknown": 0.0}, "sampling_free"),
    "constrained": Form(
        _moving(conv=_OF_ALL), {"unknown": 1.0}, "sampling_constrained"
    ),
    "unknown only": Form(_moving(conv=_OF_UNKNOWN), {"unknown": 1.0}),
    "recommended": Form(
        _moving(conv=_OF_UNKNOWN, first=_FIRST), _LIGHT, "sampling_recommended"
    ),
    "selection": Form(
        _moving(_NARROW, conv=_CHOSEN, first=_FIRST),
        {**_LIGHT, "balance": 0.1},
        "sampling_selection",
    ),
}


def sampling_study() -> None:
    """Lesson 08: every form of moved reads, equal in parameters, three seeds."""
    fill("sampling", SAMPLING)


def sampling_kept() -> None:
    """The networks of that study that ship: four of its forms, with seed 0."""
    fill("sampling", {k: v for k, v in SAMPLING.items() if v.kept}, seeds=1)


_NEAR = SAMPLING["nearest"].plan
MINING = {  # one network, its reads begin at the nearest known pixels; whose holes?
    "random": Form(_NEAR, mining={"share": 0.0}),
    "mixed": Form(_NEAR, mining={"share": 0.5}),
    "mined": Form(_NEAR, mining={"share": 1.0}),
    "curriculum": Form(_NEAR, mining={"share": [1.0, 0.0]}),
    "hardest": Form(_NEAR, mining={"share": 0.5, "hardest": True}),
}


def mining_study() -> None:
    """Lesson 09: one network trained with random and with mined holes, three seeds."""
    fill("mining", MINING)


_LATE = Form(zoo.card("nearest_unet")["network"], begins="nearest_unet")
MINING_LATE = {  # the same question late in a long training
    "random": replace(_LATE, mining={"share": 0.0}),
    "mixed": replace(_LATE, mining={"share": 0.5}),
}


def mining_late() -> None:
    """Lesson 09: a finished network trained further with both kinds, three seeds."""
    fill("mining_late", MINING_LATE)


def fill(
    name: str,
    forms: Mapping[str, Form],
    metrics: Sequence[str] = METRICS,
    seeds: int = 3,
) -> None:
    """Train and score what is missing of a study, cell by cell."""
    for seed in range(seeds):
        for form, asked in forms.items():
            with runs.alone(_run(name, form, seed), wait=False) as mine:
                if not mine:
                    print(
                        f"{name}: {form}, seed {seed}: another process is at it",
                        flush=True,
                    )
                elif not _done(name, form, asked, seed):
                    print(f"{name}: {form}, seed {seed}", flush=True)
                    _cell(name, form, asked, metrics, seed)


def _done(name: str, form: str, asked: Form, seed: int) -> bool:
    found = studies.cells(name).get(f"{form} {seed}", {})
    wanted = asked.wanted | {"seed": seed}
    same = all(found.get(key) == value for key, value in wanted.items())
    return same and (not asked.kept or seed > 0 or asked.kept in zoo.names())


def _run(name: str, form: str, seed: int) -> str:
    return f"{name}_study.{form}.{seed}"


def _cell(name: str, form: str, asked: Form, metrics: Sequence[str], seed: int) -> None:
    """Train, score, write: one network."""
    network = zoo.load(asked.begins) if asked.begins else zoo.build(asked.plan)
    network.requires_grad_(True)
    run = _run(name, form, seed)
    history, found = _train(network, run, asked, seed)
    told = weights.training_facts(run, history, asked.stages, seed)
    if asked.kept and seed == 0:
        _keep(network, name, asked, told | {"curves": weights.curves(history)})
    network = zoo.rounded(network).eval()
    scored = weights.scores(network, metrics)
    found["scores"] = {metric: scored[metric] for metric in metrics}
    found["parameters"] = sum(p.numel() for p in network.parameters())
    write(name, f"{form} {seed}", asked.wanted | told | found | _reads(network))
    runs.forget(run)


def _train(
    network: torch.nn.Module, run: str, asked: Form, seed: int
) -> tuple[training.History, dict[str, Any]]:
    """What happened, and what is to be told beside the scores."""
    if asked.mining is None:
        return runs.train_fill(
            network,
            run,
            asked.stages,
            rate=RATE,
            sampling=asked.sampling or None,
            seed=seed,
        ), {}
    miner = MaskGenerator()
    history = train_mining(
        network,
        miner,
        run,
        asked.stages,
        rate=RATE / 10 if asked.begins else RATE,
        sampling=asked.sampling or None,
        anew=not asked.begins,
        seed=seed,
        **asked.mining,
    )
    facts = {"miner": miner_facts(miner, seed), "easy": predictable_holes(network)}
    return history, facts


def _keep(
    network: torch.nn.Module, name: str, asked: Form, told: dict[str, Any]
) -> None:
    """Ship it, with a card."""
    weighs = ", ".join(f"{v:g} {k}" for k, v in asked.sampling.items() if v)
    mined = f"; holes: {asked.mining}, noise {NOISE}" if asked.mining else ""
    facts = {
        "loss": weights.FILL + (f" + {weighs}" if weighs else "") + mined,
        "rate": f"Adam {RATE}, one cosine down to 2 %",
        "scores": weights.scores(network),
        "command": f"python3 course.py weights {name}_kept",
    }
    zoo.save(network, asked.kept, asked.plan, told | facts)


def _reads(network: torch.nn.Module) -> dict[str, Any]:
    """Where the layers of a trained network read, under 24 holes, two of every cell.

    ``None`` where a layer has no read to tell of: JSON knows no NaN.
    """
    benchmark = holes.benchmark(128, 2)
    image = photos.squares("evaluation", 128)
    image = image[torch.arange(len(benchmark)) % len(image)]
    found = sampling_facts(network, image, benchmark.hole)
    each = {name: facts._asdict() for name, facts in found.items()}
    rounded = {
        name: {k: None if isnan(v) else round(v, 4) for k, v in facts.items()}
        for name, facts in each.items()
    }
    return {"reads": rounded} if rounded else {}


def write(name: str, cell: str, facts: dict[str, Any]) -> None:
    """Put one cell into the file of a study, whoever else writes another one.

    Raises ``StudyError`` for a number that is not finite, as JSON has none.
    """
    for fact, value in facts.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise studies.StudyError(
                f"{name}, {cell}: {fact} is not finite, and JSON has no such number: "
                f"{value}. Nothing was written"
            ) from None
    path = studies.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with runs.alone(f"{name}_study"):
        every = studies.cells(name) | {cell: facts}
        rows = (f" {json.dumps(k)}: {json.dumps(every[k])}" for k in sorted(every))
        text = "{\n" + ",\n".join(rows) + "\n}"  # a line for each cell
        draft = Path(f"{path}.draft")
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)
