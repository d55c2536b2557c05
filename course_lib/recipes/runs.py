"""How the shipped networks are trained: batches, steps, resumable runs."""

import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import IO, Any

import torch
from torch import Tensor

from course_lib import holes, photos, session, sketch, training
from course_lib.layers import (
    DeformableSampling2d,
    MaskAwareDynamicConv2d,
    sampling_losses,
    weighed,
)
from course_lib.losses import discount_weights
from course_lib.session import ROOT, Budget

CHECKPOINTS = ROOT / ".cache" / "checkpoints"
Batch = tuple[Tensor, ...]  # picture, hole, and a sketch for networks it guides
Loss = Callable[[tuple[Tensor, ...], Batch], tuple[Tensor, Tensor]]  # and hole L1
CONVOLUTIONS = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
POOL = 2048  # training holes drawn beforehand for a stage; growing them takes long


def train_fill(
    network: torch.nn.Module,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    loss: Loss | None = None,
    sampling: Mapping[str, float] | None = None,
    anew: bool = True,
    seed: int = 0,
) -> training.History:
    """Train ``network(image, hole)`` on random crops and holes, resumable.

    Called again with another plan (any argument, another network), it begins anew.
    ``loss`` of all answers and the batch, by default ``fill_loss``: the mean error in
    the hole, each picture counting the same however small its hole, plus the mean error
    of all pixels, of every answer that the network has. ``sampling`` adds losses of
    layers that choose their reads, each term with its weight; see
    ``layers.sampling_losses``. Where a sketch guides the network, two of three pictures
    bring one. Parts whose parameters are frozen keep them; all others begin anew, or
    with ``anew=False`` go on as they are.
    """
    plan = {"rate": rate, "sampling": sampling, "anew": anew, "loss": loss}
    run = Run(name, stages, seed, network=network, **plan)
    if anew:
        initialise(network)
    optimizer, schedule = run.prepare(network, rate)

    def step(batch: Batch) -> dict[str, Tensor]:
        with run.accelerator.autocast(), sampling_losses(network) as chosen:
            predictions = predicted(network, batch)
        total, inside = (loss or fill_loss)(predictions, batch)
        terms = {"loss": total, "hole": inside}
        terms |= {term: weighed(chosen, **{term: 1.0}) for term in sampling or ()}
        if sampling:
            total = total + weighed(chosen, **sampling)
        run.update(optimizer, schedule, total)
        return {term: value.detach() for term, value in terms.items()}

    state = {"network": network, "optimizer": optimizer, "schedule": schedule}
    return run.fit(step, state, guided=getattr(network, "guided", False))


class Run:
    """A named, seeded training over stages: its device, its randomness, its file.

    ``asked`` is the rest of its plan: a checkpoint of another plan is dropped.
    """

    def __init__(
        self, name: str, stages: tuple[Budget, ...], seed: int, **asked: Any
    ) -> None:
        self.name, self.stages = name, stages
        self.accelerator = training.accelerator(session.best_device())
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.checkpoint = CHECKPOINTS / f"{name}.pt"
        steps = [vars(stage) for stage in stages]
        _hold_to(name, {"steps": steps, "seed": seed, **asked})
        if not self.checkpoint.exists():  # a card names the code that it began with
            self.checkpoint.with_suffix(".commit").write_text(_head())

    def prepare(
        self,
        network: torch.nn.Module,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        updates: int = 1,
    ) -> tuple[Any, Any]:
        """The network on its device; its optimizer and its schedule over all stages.

        ``updates``: how many the network gets in each step.
        """
        network.to(self.accelerator.device).to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(network.parameters(), lr=rate, betas=betas)
        total = updates * sum(stage.steps for stage in self.stages)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            adam, lambda step: warm_cosine(step / total)
        )
        return self.accelerator.prepare(adam), schedule

    def update(self, optimizer: Any, schedule: Any, loss: Tensor) -> None:
        """One step of one optimizer, downhill on the loss."""
        optimizer.zero_grad()
        self.accelerator.backward(loss)
        optimizer.step()
        schedule.step()

    def fit(
        self,
        step: Callable[[Batch], dict[str, Tensor]],
        state: dict[str, Any],
        **kinds: bool,
    ) -> training.History:
        """All stages one after the other; goes on where it was interrupted."""
        done = 0
        for stage in self.stages:
            done += stage.steps
            for part in state.values():
                if isinstance(part, torch.nn.Module):
                    part.train()
            history = training.fit(
                step,
                training_batches(stage, self.generator, **kinds),
                steps=done,
                state=state | {"generator": self.generator},
                checkpoint=self.checkpoint,
                accelerator=self.accelerator,
            )
            if history.interrupted:
                raise SystemExit(
                    f"{self.name}: stopped at step {history.steps}; call again"
                )
        return history


def training_batches(
    stage: Budget,
    generator: torch.Generator,
    guided: bool = False,
    boxes: bool = False,
) -> Iterator[Batch]:
    """Crops of the training photos with holes: half strokes, half irregular.

    Their ratios are even over all six buckets. A stage draws its holes beforehand,
    always the same ones; a batch takes some and turns and mirrors them. ``guided``: a
    sketch beside them, see ``partly_drawn``. ``boxes``: a rectangle in each, a quarter
    to half as wide and high as the picture.
    """
    crops = photos.collection("train")
    pool = _boxes(stage.size) if boxes else _pool(stage.size)
    while True:
        image = crops.crops(stage.batch, stage.size, generator)
        pick = torch.randint(len(pool), (stage.batch,), generator=generator)
        turn = int(torch.randint(8, (), generator=generator))
        hole = torch.rot90(pool[pick], turn % 4, (-2, -1))
        hole = hole.flip(-1) if turn >= 4 else hole
        yield (image, hole, partly_drawn(image, generator)) if guided else (image, hole)


def partly_drawn(image: Tensor, generator: torch.Generator) -> Tensor:
    """Sketches to train with: a third are empty, the others a share of the lines.

    Without the empty ones a network needs a sketch; without the shares it expects
    every line of the photo, and a hand draws few.
    """
    drawn = sketch.edges(image)
    for k in range(len(drawn)):
        none, share = torch.rand(2, generator=generator).tolist()
        share = 0.0 if none < 1 / 3 else 0.3 + 0.7 * share
        drawn[k : k + 1] = sketch.some_lines(drawn[k : k + 1], share, generator)
    return drawn


@lru_cache(2)
def _pool(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    shapes = [holes.strokes(POOL // 2, size, generator)]
    shapes += [holes.irregular(POOL - POOL // 2, size, generator)]
    low, high = holes.BUCKETS[0][0], holes.BUCKETS[-1][1]
    target = low + (high - low) * torch.rand(POOL, generator=generator)
    return holes.grow(torch.cat(shapes), target)


@lru_cache(1)
def _boxes(size: int) -> Tensor:
    return holes.rectangles(POOL, size, torch.Generator().manual_seed(size))


def predicted(network: torch.nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    """The answer of every stage that the network has, the last one last."""
    stages = getattr(network, "stages", None)
    return (network(*batch),) if stages is None else stages(*batch)


def fill_loss(
    predictions: tuple[Tensor, ...], batch: Batch, gamma: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The loss of all stages, and the mean error of the last one in the hole.

    With ``gamma`` below 1 both are spatially discounted in the hole.
    """
    image, hole = batch[:2]
    weight = hole if gamma == 1 else hole * discount_weights(hole, gamma)
    total: Tensor | float = 0.0
    for prediction in predictions:
        error = (prediction.float() - image).abs().mean(1, keepdim=True)
        area = weight.sum((1, 2, 3)).clamp(min=1e-6)  # without a hole: no error in it
        inside = ((error * weight).sum((1, 2, 3)) / area).mean()
        total = total + inside + error.mean()
    return torch.as_tensor(total), inside


def initialise(network: torch.nn.Module) -> None:
    """Draw anew what was drawn, without a seed, when the network was made."""
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS) and module.weight.requires_grad:
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for module in network.modules():  # over the convolutions inside
        if isinstance(module, MaskAwareDynamicConv2d):
            module.reset_parameters()
        elif isinstance(module, DeformableSampling2d):
            module.reset_head()


def warm_cosine(progress: float) -> float:
    """Learning-rate factor: a short rise, then half a cosine down to 2 %."""
    warm = min(1.0, progress / 0.02 + 0.01)
    return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def commit(name: str) -> str:
    """The commit that a training began with."""
    return (CHECKPOINTS / f"{name}.commit").read_text()


def forget(name: str) -> None:
    """Remove a finished training's checkpoint: the next call trains anew."""
    for ending in (".pt", ".commit", ".plan"):
        (CHECKPOINTS / f"{name}{ending}").unlink(missing_ok=True)


@contextmanager
def alone(name: str, wait: bool = True) -> Iterator[bool]:
    """Hold the right to a name against other processes; whether it was to be had.

    The system frees it when the process ends, however violently: no lock grows stale.
    """
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    with open(CHECKPOINTS / f"{name}.lock", "a+b") as handle:
        mine = _take(handle)
        while wait and not mine:
            time.sleep(0.05)
            mine = _take(handle)
        yield mine


def _take(handle: IO[bytes]) -> bool:
    """Lock an open file until it is closed, unless it is locked.

    ``course.py`` has the same once more: it runs before anything is installed.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a network file system without locks: nothing to wait for
        return True
    return True


def _hold_to(name: str, plan: Mapping[str, Any]) -> None:
    """A checkpoint goes on under the plan it began with; of another, it is dropped."""
    path, now = CHECKPOINTS / f"{name}.plan", json.dumps(plan, default=_told)
    if path.exists() and path.read_text(encoding="utf-8") == now:
        return
    if (CHECKPOINTS / f"{name}.pt").exists():
        print(f"{name}: begins anew, what it began was not this plan", flush=True)
    forget(name)
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    path.write_text(now, encoding="utf-8")


def _told(value: Any) -> Any:
    """What JSON has no form for: a network by its parts, a function by its name."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, partial):
        return [_told(value.func), value.keywords]
    if not isinstance(value, torch.nn.Module):
        return getattr(value, "__qualname__", type(value).__name__)
    simple = (bool, int, float, str, tuple, type(None))
    parts: list[Any] = [
        (place, type(part).__name__, key, fact)
        for place, part in value.named_modules()
        for key, fact in sorted(vars(part).items())
        if isinstance(fact, simple) and key[0] != "_" and key != "training"
    ]
    parts += [(k, list(p.shape), p.requires_grad) for k, p in value.named_parameters()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _head() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:  # no git here, as beside a downloaded archive
        return "unknown"
    return found.stdout.strip() or "unknown"
