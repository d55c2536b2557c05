"""An inpainter, and the generator that mines holes for it, together; lesson 09."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from course_lib import evaluation, holes, photos, training, zoo
from course_lib.layers import sampling_losses, weighed
from course_lib.mining import (
    error_map_loss,
    hidden_error,
    mined_holes,
    overlap,
    pixel_error,
)
from course_lib.networks import MaskGenerator
from course_lib.recipes import runs
from course_lib.session import Budget

NOISE = 0.2  # of mined holes: two of one picture share less than half, error + 4 %


def train_mining(
    network: torch.nn.Module,
    miner: MaskGenerator,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    share: float | Sequence[float] = 0.5,
    noise: float = NOISE,
    hardest: bool = False,
    sampling: Mapping[str, float] | None = None,
    anew: bool = True,
    seed: int = 0,
    watch: Callable[[int, MaskGenerator], None] | None = None,
) -> training.History:
    """Train ``network(image, hole)`` and ``miner`` together, resumable.

    In each step a ``share`` of the pictures gets holes that the miner finds, of the
    same areas as the random ones they replace; a pair is the share of the first and of
    the last step, a straight line between them: ``(1, 0)`` is a curriculum, mined
    first. ``hardest`` turns the miner's order around. The network learns to fill them,
    with ``runs.fill_loss``; then the miner, from the error that was just made under
    every hole, mined or random. Neither loss has a gradient in the other's weights.

    The network begins anew, or with ``anew=False`` goes on as it is; one that is frozen
    keeps its weights and statistics, and is only measured. The miner always begins
    anew. The history has the loss in the ``"hole"``, the miner's (``"score"``), the
    mean ``"area"``, and the error in ``"mined"`` and ``"random"`` holes, each of the
    steps that had such. ``sampling``: as ``runs.train_fill`` has it. ``watch`` is
    called after each step, with its number and the miner.
    """
    plan: dict[str, Any] = {
        "rate": rate,
        "share": share,
        "noise": noise,
        "hardest": hardest,
    }
    plan |= {"sampling": sampling, "anew": anew, "network": network, "miner": miner}
    run = runs.Run(name, stages, seed, **plan)
    own, state = _begin(run, network, miner, rate, anew)
    its, its_schedule = run.prepare(miner, rate)
    steps = sum(stage.steps for stage in stages)
    draw = torch.Generator().manual_seed(seed)  # the batches draw from another thread

    def step(batch: runs.Batch) -> dict[str, Tensor]:
        image, hole = batch
        # No autocast: the slope of a dilated convolution of 40 channels, channels last,
        # in bfloat16 is NaN on some CPUs (PyTorch 2.15)
        score = miner(image)
        count = _how_many(share, its_schedule.last_epoch / steps, len(image), draw)
        order = -score if hardest else score
        hole = _with_mined(hole, order, count, noise, draw)
        with run.accelerator.autocast(), sampling_losses(network) as chosen:
            predictions = runs.predicted(network, (image, hole))
        loss, inside = runs.fill_loss(predictions, (image, hole))
        if sampling:
            loss = loss + weighed(chosen, **sampling)
        if own:
            run.update(*own, loss)
        taught = error_map_loss(score, pixel_error(predictions[-1], image), hole)
        run.update(its, its_schedule, taught)
        facts = {"hole": inside, "score": taught, "area": holes.ratio(hole).mean()}
        facts |= _apart(predictions[-1], image, hole, count)
        if watch is not None:
            watch(its_schedule.last_epoch, miner)
        return {fact: value.detach() for fact, value in facts.items()}

    state |= {"miner": miner, "miner_optimizer": its, "miner_schedule": its_schedule}
    return run.fit(step, state | {"draw": draw})


def _begin(
    run: runs.Run,
    network: torch.nn.Module,
    miner: MaskGenerator,
    rate: float,
    anew: bool,
) -> tuple[tuple[Any, Any] | None, dict[str, Any]]:
    """The network's optimizer and schedule, if it learns; what of it changes."""
    miner.reset_parameters()
    if not any(p.requires_grad for p in network.parameters()):
        network.to(run.accelerator.device).eval()
        return None, {}
    if anew:
        runs.initialise(network)
    own = run.prepare(network, rate)
    return own, {"network": network, "optimizer": own[0], "schedule": own[1]}


def _how_many(
    share: float | Sequence[float],
    progress: float,
    pictures: int,
    draw: torch.Generator,
) -> int:
    """How many pictures of a batch get mined holes; right on average."""
    first, last = (share, share) if isinstance(share, int | float) else share
    wanted = pictures * (first + (last - first) * progress)
    return int(wanted + float(torch.rand((), generator=draw)))


def _with_mined(
    hole: Tensor, score: Tensor, count: int, noise: float, draw: torch.Generator
) -> Tensor:
    """The holes of the first ``count`` pictures mined, each of the area it had."""
    if not count:
        return hole
    area = holes.ratio(hole[:count])
    mined = mined_holes(score[:count], area, noise, draw)
    return torch.cat([mined.to(hole.dtype), hole[count:]])


def _apart(
    prediction: Tensor, image: Tensor, hole: Tensor, count: int
) -> dict[str, Tensor]:
    """The mean error in the mined holes of a batch and in the random ones."""
    each = evaluation.hole_l1(prediction.detach().float(), image, hole)
    parts = {"mined": each[:count], "random": each[count:]}
    return {kind: part.mean() for kind, part in parts.items() if len(part)}


def train_by(
    objective: Callable[[Tensor, Tensor, torch.nn.Module], Tensor],
    miner: MaskGenerator,
    network: torch.nn.Module,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    seed: int = 0,
) -> training.History:
    """Train the miner alone, by a loss of its score, resumable; the network is frozen.

    ``objective(score, image, network)`` is that loss; the miner begins anew.
    """
    network.requires_grad_(False)
    plan = {"rate": rate, "objective": objective, "network": network, "miner": miner}
    run = runs.Run(name, stages, seed, **plan)
    miner.reset_parameters()
    network.to(run.accelerator.device).eval()
    its, schedule = run.prepare(miner, rate)

    def step(batch: runs.Batch) -> dict[str, Tensor]:
        loss = objective(miner(batch[0]), batch[0], network)
        run.update(its, schedule, loss)
        return {"loss": loss.detach()}

    state = {"miner": miner, "miner_optimizer": its, "miner_schedule": schedule}
    return run.fit(step, state)


AREA = 0.35  # of the holes that miners are compared at
REFEREE = "partial_unet"  # measures errors; never trained with a generator
SHIFTS = (1, 4, 7, 10, 13)  # by how many photos holes are passed on to others


@torch.no_grad()
def miner_facts(miner: MaskGenerator, seed: int = 0) -> dict[str, Any]:
    """Errors in holes of ``AREA``, on the evaluation photos, by who chose the holes.

    ``mined`` (``noisy``: with ``NOISE``), the same ones ``shuffled`` between photos,
    ``hardest``, ``random`` irregular ones, and ``oracle``, mined from the referee's own
    errors. ``overlap`` of holes of two photos, and ``again`` of two draws for one.
    """
    image, network = photos.squares("evaluation", 128), zoo.load(REFEREE)
    draw = torch.Generator().manual_seed(seed)
    score = miner.cpu().eval()(image)
    mined = mined_holes(score, AREA)
    noisy = [mined_holes(score, AREA, NOISE, draw) for _ in range(2)]
    rolled = [mined.roll(shift, 0) for shift in SHIFTS]
    groups = {
        "mined": [mined],
        "noisy": noisy,
        "shuffled": rolled,
        "hardest": [mined_holes(-score, AREA)],
        "random": [_irregular(len(image), k) for k in range(3)],
        "oracle": [mined_holes(oracle(), AREA)],
    }

    def error(hole: Tensor) -> float:
        return float(evaluation.hole_l1(network(image, hole), image, hole).mean())

    found = {
        kind: sum(map(error, group)) / len(group) for kind, group in groups.items()
    }
    found["overlap"] = float(torch.cat([overlap(mined, r) for r in rolled]).mean())
    found["again"] = float(overlap(*noisy).mean())
    return {key: round(value, 4) for key, value in found.items()}


@lru_cache(1)
def oracle() -> Tensor:
    """The logarithm of the referee's errors on the evaluation photos, smoothed.

    ``(20, 1, 128, 128)``; each pixel hidden by about a dozen of 36 irregular holes.
    """
    image = photos.squares("evaluation", 128)
    error = hidden_error(zoo.load(REFEREE), image, _irregular(36, 100))
    error = torch.where(error.isnan(), error.nanmean(), error)
    wide = torch.nn.functional.pad(error, [4] * 4, mode="replicate")
    return torch.nn.functional.avg_pool2d(wide, 9, 1).log()


@torch.no_grad()
def predictable_holes(network: torch.nn.Module) -> float:
    """A network's mean error in the oracle's holes: it is good where a guess can be."""
    image = photos.squares("evaluation", 128)
    hole = mined_holes(oracle(), AREA)
    network = zoo.rounded(network).eval()
    error = evaluation.hole_l1(network(image, hole), image, hole)
    return round(float(error.mean()), 4)


def _irregular(count: int, seed: int) -> Tensor:
    drawn = holes.irregular(count, 128, torch.Generator().manual_seed(seed))
    return holes.grow(drawn, torch.full((count,), AREA))
