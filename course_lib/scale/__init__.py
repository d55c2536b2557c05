"""One training for a laptop and for many GPUs: Accelerate starts it; lesson 11.

    python -m course_lib.scale OUT --data places365:PATH --size 256 --steps 100000
    accelerate launch --num_processes 4 -m course_lib.scale OUT ...

and in a notebook ``notebook_launcher(scale.train, (plan, OUT), num_processes=4)``.
"""

import argparse
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from course_lib import datasets, holes, photos, session, training, zoo
from course_lib.recipes.runs import fill_loss, initialise, warm_cosine
from course_lib.tensors import ContractError

Batch = tuple[Tensor, Tensor]
HOSTED = ("PlainConv2d", "PartialConv2d", "GatedConv2d", "DeformableSampling2d")
GROUPS = 8  # of channels that are normalised together
PROCESSES = "processes"  # how plan.json calls their number


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and by which means; a field is an option of the script.

    A step sees ``batch * accumulate * processes`` pictures: ``batch`` at once in each
    process, ``accumulate`` times in a row.
    """

    data: str = "train"  # see datasets.pictures
    hole: str = "mixed"  # strokes, irregular, mixed, or a folder of hole pictures
    hole_is: str = ""  # in such a folder: black (NVIDIA's training set) or white
    conv: str = "PlainConv2d"  # a layer of the course, one of HOSTED
    norm: str = "batch"  # or group, which looks at no other picture of the batch
    size: int = 64  # pixels a side
    batch: int = 8
    accumulate: int = 1
    steps: int = 1000
    every: int = 500  # steps between two checkpoints
    rate: float = 2e-3
    seed: int = 0
    workers: int = 0  # processes that load pictures, for each process that trains
    precision: str = "auto"  # no, bf16, fp16; auto: bf16 where the hardware has it
    compile: bool = False
    channels_last: bool = True
    cpu: bool = False  # also where there is a GPU


def train(plan: Plan, out: str | Path, *, watch: bool = True) -> training.History:
    """Train a U-Net as planned, or go on where the training in ``out`` was stopped.

    The same call in every process that Accelerate started, or in the only one. In
    ``out`` it leaves ``plan.json``, ``checkpoint.pt`` and at the end ``losses.json``.
    Losses are means over all processes. A resumed training equals one that was never
    stopped. ``watch``: show progress. Raises ``TrainingError``, for example when
    ``out`` holds a training with another plan or number of processes, and
    ``DatasetError`` or ``HoleError`` where there is no such data.
    """
    out = Path(out)
    accelerator = accelerator_for(plan)
    _check(plan, accelerator)
    batches, network = batches_for(plan, accelerator), built(plan, accelerator)
    if accelerator.is_main_process:  # last: what cannot begin leaves no plan behind
        _remember(plan, out, accelerator)
    accelerator.wait_for_everyone()
    network = accelerator.prepare(network)
    adam = torch.optim.Adam(network.parameters(), lr=plan.rate)
    optimizer = accelerator.prepare(adam)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: warm_cosine(step / plan.steps)
    )
    history = training.fit(
        functools.partial(step, network, optimizer, schedule, plan, accelerator),
        batches,
        steps=plan.steps,
        state={
            "network": network,
            "optimizer": optimizer,
            "schedule": schedule,
            "batches": batches,
        },
        checkpoint=out / "checkpoint.pt",
        every=plan.every,
        accelerator=accelerator,
        ahead=0,  # the workers are ahead
        progress=watch,
    )
    if accelerator.is_main_process and not history.interrupted:
        _write(out / "losses.json", json.dumps(history.losses))
    return history


def step(
    network: nn.Module,
    optimizer: Any,
    schedule: Any,
    plan: Plan,
    accelerator: Accelerator,
    batch: Batch,
) -> dict[str, Tensor]:
    """One step on this process's share of a batch, in ``plan.accumulate`` parts.

    The parts' gradients are averaged by ``accelerator.accumulate``, and over the
    processes by ``accelerator.backward``. Returns the mean losses of all of it.
    """
    found = []
    for image, hole in zip(*(x.split(plan.batch) for x in batch), strict=True):
        with accelerator.accumulate(network):
            if plan.channels_last:
                image = image.contiguous(memory_format=torch.channels_last)
            with accelerator.autocast():
                made = network(image, hole)
            loss, inside = fill_loss((made,), (image, hole))
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        found.append(torch.stack([loss.detach(), inside.detach()]))
    schedule.step()
    mean = cast(Tensor, accelerator.reduce(torch.stack(found).mean(0), "mean"))
    return {"loss": mean[0], "hole": mean[1]}


def accelerator_for(plan: Plan) -> Accelerator:
    """Accelerate for this process, as the plan asks."""
    return training.accelerator(
        "cpu" if plan.cpu else session.best_device(),
        plan.precision,
        accumulate=plan.accumulate,
        compiled=plan.compile,
    )


def batches_for(plan: Plan, accelerator: Accelerator) -> datasets.Batches:
    """This process's share of the plan's batches, all parts of a step at once."""
    folder = plan.hole not in datasets.KINDS
    pairs = datasets.Pairs(
        plan.data,
        plan.size,
        cast(Any, Path(plan.hole) if folder else plan.hole),
        plan.seed,
        cast(Any, plan.hole_is or None),
    )
    return datasets.Batches(
        pairs,
        plan.batch * plan.accumulate,
        workers=plan.workers,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        pin=accelerator.device.type == "cuda",
    )


def built(plan: Plan, accelerator: Accelerator | None = None) -> nn.Module:
    """The plan's U-Net, untrained, seeded, on the accelerator's device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        arguments = {"conv": plan.conv}
        network = zoo.build({"class": "UNet", "arguments": arguments})
        initialise(network)
    if plan.norm == "group":
        network = group_norms(network)
    if accelerator is None:
        return network
    if accelerator.num_processes > 1:  # has no effect where norms are not of a batch
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    network = network.to(accelerator.device).train()
    form = torch.channels_last if plan.channels_last else torch.contiguous_format
    return network.to(memory_format=form)


def group_norms(network: nn.Module) -> nn.Module:
    """``GroupNorm`` of up to 8 groups in place of each ``BatchNorm2d``, in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                groups = next(
                    n for n in range(GROUPS, 0, -1) if child.num_features % n == 0
                )
                setattr(parent, name, nn.GroupNorm(groups, child.num_features))
    return network


def load(out: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The network of the training in ``out``, as far as it has come, ready to fill.

    Raises ``TrainingError`` where there is no training, or a damaged one.
    """
    out = Path(out)
    try:
        plan = Plan(**_fields(_planned(out)))
    except (OSError, TypeError) as error:
        raise training.TrainingError(f"no training in {out}: {error}") from error
    path = out / "checkpoint.pt"
    if not path.exists():
        raise training.TrainingError(f"no training in {out}: no checkpoint.pt yet")
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        network = built(plan)
        network.load_state_dict(stored["state"]["network"])
    except Exception as error:
        raise training.TrainingError(
            f"{path} is damaged, or not of the plan beside it "
            f"({type(error).__name__}). Delete it to train again"
        ) from error
    return network.to(device).eval().requires_grad_(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The script: the folder, and an option for each field of the plan.

    Returns 0, or 2 after a line that says why nothing can be trained.
    """
    parser = argparse.ArgumentParser("course_lib.scale", description=train.__doc__)
    parser.add_argument("out", help="folder of the training; the same one resumes it")
    for entry in dataclasses.fields(Plan):
        kind = cast(Callable[[str], Any], type(entry.default))
        option: dict[str, Any] = {"type": kind, "default": entry.default}
        if kind is bool:
            option = {
                "action": argparse.BooleanOptionalAction,
                "default": entry.default,
            }
        parser.add_argument(f"--{entry.name.replace('_', '-')}", **option)
    given = vars(parser.parse_args(arguments))
    out = given.pop("out")
    try:
        history = train(Plan(**given), out)
    except _REFUSALS as error:
        print(error)
        return 2
    if training.PartialState().is_main_process:
        print(history)
    return 0


def _check(plan: Plan, accelerator: Accelerator) -> None:
    if plan.norm not in ("batch", "group"):
        raise training.TrainingError(f"norm {plan.norm!r}: choose batch or group")
    if plan.conv not in HOSTED:
        raise training.TrainingError(
            f"conv {plan.conv!r}: no layer of the course that a whole U-Net can have; "
            f"choose {', '.join(HOSTED)}"
        )
    least = dict.fromkeys(("size", "batch", "accumulate", "steps", "every"), 1)
    for name, low in {**least, "workers": 0}.items():
        if getattr(plan, name) < low:
            raise training.TrainingError(
                f"{name} {getattr(plan, name)}: at least {low} is expected"
            )
    shared = accelerator.num_processes > 1 and accelerator.device.type == "cpu"
    if plan.norm == "batch" and shared:
        raise training.TrainingError(
            "batch normalisation of several processes on a CPU: each would normalise "
            "its own share (PyTorch's SyncBatchNorm needs GPUs). Choose norm group"
        )


def _remember(plan: Plan, out: Path, accelerator: Accelerator) -> None:
    """Write the plan; a training goes on with the plan it began with, or not at all.

    With it goes what the machine adds: the number of processes, on which the batch of a
    step depends, and the precision that ``auto`` became.
    """
    path = out / "plan.json"
    now = dataclasses.asdict(plan) | {
        "precision": accelerator.mixed_precision,
        PROCESSES: accelerator.num_processes,
    }
    if path.exists() and (out / "checkpoint.pt").exists():
        before = _planned(out)
        changed = [k for k in now if now[k] != before.get(k) and k not in _MAY_CHANGE]
        if changed:
            raise training.TrainingError(
                f"{out.name} holds a training with another {', '.join(changed)}: go on "
                "with the same plan, or choose another folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(now, indent=1) + "\n")


def _planned(out: Path) -> dict[str, Any]:
    """What ``plan.json`` says. Raises ``OSError`` where there is none."""
    path = out / "plan.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise training.TrainingError(
            f"{path} is damaged: {error}. Choose another folder, or delete it and "
            "checkpoint.pt to train again"
        ) from error
    if not isinstance(found, dict):
        raise training.TrainingError(f"{path} is damaged: it holds no plan")
    return found


def _fields(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name != PROCESSES}


def _write(path: Path, text: str) -> None:
    """Beside the place, then moved there: a kill leaves no half of a file."""
    draft = path.with_suffix(".partial")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


_REFUSALS = (
    training.TrainingError,
    datasets.DatasetError,
    photos.PhotoError,
    holes.HoleError,
    ContractError,
)
_MAY_CHANGE = ("workers", "every", "cpu", "compile", "channels_last")
