"""How the shipped weights and pictures are made: ``course.py weights NAME`` repeats it.

A recipe can be interrupted and called again: it goes on from its checkpoint.
"""

import math
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from course_lib import (
    evaluation,
    evidence,
    fills,
    holes,
    photos,
    pictures,
    session,
    training,
    zoo,
)
from course_lib.losses import discount_weights
from course_lib.session import ASSETS, ROOT, Budget, start
from course_lib.tensors import composite

CHECKPOINTS = ROOT / ".cache" / "checkpoints"
Batch = tuple[Tensor, Tensor]


BUDGET = (Budget(8_000, 16, 64), Budget(4_000, 8, 128))  # every U-Net of the course
RATE = 2e-3
GATED_CHANNELS = [24, 40, 72, 88, 96]  # with gates .3 % fewer parameters than plain


def plain_unet() -> None:
    """The plain U-Net of lesson 03, told by a fourth channel what is missing."""
    _unet("plain_unet", {})


def plain_unet_blind() -> None:
    """The same without that channel: it must find the grey hole by itself."""
    _unet("plain_unet_blind", {"sees_hole": False})


def partial_unet() -> None:
    """The U-Net of lesson 04: partial convolutions, otherwise the plain one."""
    _unet("partial_unet", {"conv": "PartialConv2d"})


def gated_unet() -> None:
    """The U-Net of lesson 05: gated convolutions, with the plain one's parameters."""
    _unet("gated_unet", {"conv": "GatedConv2d", "channels": GATED_CHANNELS})


def _unet(name: str, arguments: dict[str, Any]) -> None:
    plan = {"class": "UNet", "arguments": arguments}
    network = zoo.build(plan)
    history = train_fill(network, name, BUDGET, rate=RATE)
    facts = training_facts(name, history, BUDGET, seed=0)
    facts["loss"] = "L1: mean of the hole, each picture the same, + mean of all pixels"
    facts["rate"] = f"Adam {RATE}, one cosine down to 2 %"
    facts["scores"] = scores(network)
    zoo.save(network, name, plan, facts)
    forget(name)


def forget(name: str) -> None:
    """Remove a finished training's checkpoint: the next call trains anew."""
    for ending in (".pt", ".commit"):
        (CHECKPOINTS / f"{name}{ending}").unlink(missing_ok=True)


def occlusions() -> None:
    """The raw occlusion maps behind ``holes.irregular``: 48 moving pairs of photos.

    The outermost pixels, which leave the picture with the motion, are left out.
    """
    generator = torch.Generator().manual_seed(0)
    side, rim = holes.OCCLUSION_SIDE, 24
    tiles: list[Tensor] = []
    known = photos.names("train")
    while len(tiles) < 48:
        pick = torch.randperm(len(known), generator=generator)[:2].tolist()
        pair = [photos.square(photos.load(known[k]), side) for k in pick]
        first, second, _ = holes.moving_pair(pair[0], pair[1], generator)
        forward = holes.optical_flow(first, second)
        backward = holes.optical_flow(second, first)
        inner = holes.inconsistent(forward, backward)[..., rim:-rim, rim:-rim]
        if 0.01 < float(inner.mean()) < 0.3:
            tiles.append(F.pad(inner[0, 0], (rim, rim, rim, rim)))
            print(f"{len(tiles)} of 48: {float(inner.mean()):.3f}", flush=True)
    rows = [torch.cat(tiles[k : k + 8], 1) for k in range(0, 48, 8)]
    sheet = Image.fromarray((torch.cat(rows) > 0).numpy())
    holes.OCCLUSIONS.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(holes.OCCLUSIONS, optimize=True)


def figures() -> None:
    """The title pictures of lessons 00 to 04, and of the README."""
    draw = torch.Generator().manual_seed
    ibex = photos.square(photos.load("nubian_ibex"), 192)
    hole = holes.strokes(1, 192, start("00").generator("hole 57"), width=(0.1, 0.12))
    _figure("00_start_here", _four_fills(ibex, hole), 1.0)
    columns = photos.square(photos.load("lincolnmemorial"), 192)
    shapes = {
        "square": holes.rectangles(1, 192, draw(2), side=(0.387, 0.387)),
        "brush strokes": holes.strokes(1, 192, draw(2)),
        "irregular": holes.irregular(1, 192, draw(2)),
    }
    kinds = {
        name: pictures.hatched(columns, holes.grow(shape, torch.tensor([0.15])))
        for name, shape in shapes.items()
    }
    _figure("01_holes", {"the photo": columns, **kinds}, 1.0)
    _figure("02_losses", _errors_and_weights(), 1.0)
    sheep = photos.square(photos.load("sheep"), 192)
    stroke = holes.strokes(1, 192, start("03").generator("hole 2"))
    fifth = holes.grow(stroke, torch.tensor([0.2]))
    _figure("03_unet", _four_colours(sheep, fifth), 1.0)
    stroke = holes.strokes(1, 128, start("04").generator("hole 10"))
    sheep = photos.square(photos.load("sheep"), 128)
    fifth = holes.grow(stroke, torch.tensor([0.2]))
    _figure("04_partial_convolution", _closing_hole(sheep, fifth), 1.0)
    chosen = ("nubian_ibex", "chateaudechambord", "rhinoceros")
    images = torch.cat([photos.square(photos.load(name), 160) for name in chosen])
    painted = holes.strokes(3, 160, draw(25), per_picture=(1, 1), width=(0.12, 0.14))
    _figure("readme", _four_fills(images, painted), 1.0)


def _four_fills(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    network = zoo.load("plain_unet")
    methods = {"mean": fills.mean, "harmonic": fills.harmonic, "Telea": fills.telea}
    made = {name: fill(image, hole) for name, fill in methods.items()}
    made["small network"] = composite(network(image, hole), image, hole)
    return {"a hole": pictures.hatched(image, hole), **made}


def _errors_and_weights() -> dict[str, Tensor]:
    """Where 800 fills of a square are wrong, and what each of its pixels weighs."""
    castle = photos.square(photos.load("chateaudechambord"), 192)
    hole = F.pad(torch.ones(1, 1, 96, 96), [48] * 4)
    weight = discount_weights(hole, 0.95)
    return {
        "a hole": pictures.hatched(castle, hole),
        "mean error of 800 fills": _tinted(castle, hole, _mean_error(), pictures.WRONG),
        "weights, gamma 0.95": _tinted(castle, hole, weight, pictures.READ),
    }


def _mean_error() -> Tensor:
    """Of crops of the evaluation photos at 128 px, enlarged to ``(1, 1, 192, 192)``."""
    network, generator = zoo.load("plain_unet"), torch.Generator().manual_seed(0)
    crops = photos.collection("evaluation")
    hole = F.pad(torch.ones(1, 1, 64, 64), [32] * 4).expand(20, -1, -1, -1)
    total = torch.zeros(1, 1, 128, 128)
    for _ in range(40):
        image = crops.crops(20, 128, generator)
        total += (network(image, hole) - image).abs().mean((0, 1))
    return F.interpolate(total / 40, 192, mode="bicubic", align_corners=False)


def _tinted(image: Tensor, hole: Tensor, values: Tensor, colour: str) -> Tensor:
    """The hole filled with a colour, from its darkest to its brightest value."""
    low, high = values[hole == 1].aminmax()
    tint = torch.tensor([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    shade = ((values - low) / (high - low)).clamp(0, 1) * tint.view(3, 1, 1)
    return torch.where(hole == 1, shade, image)


def _four_colours(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """The answers of one plain network to four colours that hide one hole."""
    network = zoo.load("plain_unet")
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    tints = {"grey": 0.5, "black": 0.0, "white": 1.0, "noise": noise}
    made = {"a hole": pictures.hatched(image, hole)}
    for name, tint in tints.items():
        network.fill = tint  # type: ignore[assignment]
        made[f"hidden by {name}"] = composite(network(image, hole), image, hole)
    return made


def _closing_hole(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """What is known after two layers, and both networks' answers to a white hole."""
    plain, partial = zoo.load("plain_unet"), zoo.load("partial_unet")
    plain.fill = partial.fill = 1.0  # type: ignore[assignment]
    with evidence.record(partial) as found:
        answer = partial(image, hole)
    made = {"a hole": pictures.hatched(image, hole)}
    for k in range(2):
        known = found[f"encoder.{k}.conv"]["valid"]
        open_still = 1 - F.interpolate(known, image.shape[-2:], mode="nearest")
        made[f"after layer {k + 1}"] = pictures.hatched(image, open_still)
    made["plain, hole white"] = composite(plain(image, hole), image, hole)
    made["partial, hole white"] = composite(answer, image, hole)
    return made


def _figure(name: str, columns: dict[str, Tensor], scale: float) -> None:
    drawn = pictures.grid(columns, scale=scale).pixels
    path = ASSETS / "figures" / f"{name}.png"
    path.write_bytes(pictures.png(drawn, limit=150_000))


RECIPES: dict[str, Callable[[], None]] = {
    "occlusions": occlusions,
    "plain_unet": plain_unet,
    "plain_unet_blind": plain_unet_blind,
    "partial_unet": partial_unet,
    "gated_unet": gated_unet,
    "figures": figures,
}


def train_fill(
    network: torch.nn.Module,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    seed: int = 0,
) -> training.History:
    """Train ``network(image, hole)`` with L1 on random crops and holes, resumable.

    The loss is the mean error in the hole, each picture counting the same however
    small its hole, plus the mean error of all pixels.
    """
    accelerator = training.accelerator(session.best_device())
    torch.manual_seed(seed)
    _initialise(network)
    network.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = accelerator.prepare(torch.optim.Adam(network.parameters(), lr=rate))
    total = sum(stage.steps for stage in stages)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer.optimizer, lambda step: _warm_cosine(step / total)
    )
    generator = torch.Generator().manual_seed(seed)
    checkpoint = CHECKPOINTS / f"{name}.pt"
    if not checkpoint.exists():  # a card names the code that the training began with
        CHECKPOINTS.mkdir(parents=True, exist_ok=True)
        checkpoint.with_suffix(".commit").write_text(_commit())

    def step(batch: Batch) -> dict[str, Tensor]:
        image, hole = batch
        with accelerator.autocast():
            prediction = network(image, hole)
        error = (prediction.float() - image).abs().mean(1, keepdim=True)
        inside = (error * hole).sum((1, 2, 3)) / hole.sum((1, 2, 3))
        loss = inside.mean() + error.mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        return {"loss": loss.detach(), "hole": inside.mean().detach()}

    done = 0
    for stage in stages:
        done += stage.steps
        network.train()
        history = training.fit(
            step,
            training_batches(stage, generator),
            steps=done,
            state={
                "network": network,
                "optimizer": optimizer,
                "schedule": schedule,
                "generator": generator,
            },
            checkpoint=checkpoint,
            accelerator=accelerator,
        )
        if history.interrupted:
            raise SystemExit(f"{name}: stopped at step {history.steps}; call again")
    return history


POOL = 2048  # training holes drawn beforehand for a stage; growing them takes long


def training_batches(stage: Budget, generator: torch.Generator) -> Iterator[Batch]:
    """Crops of the training photos with holes: half strokes, half irregular.

    Their ratios are even over all six buckets. A stage draws its holes beforehand,
    always the same ones; a batch takes some and turns and mirrors them.
    """
    crops = photos.collection("train")
    pool = _pool(stage.size)
    while True:
        image = crops.crops(stage.batch, stage.size, generator)
        pick = torch.randint(len(pool), (stage.batch,), generator=generator)
        turn = int(torch.randint(8, (), generator=generator))
        hole = torch.rot90(pool[pick], turn % 4, (-2, -1))
        yield image, hole.flip(-1) if turn >= 4 else hole


@lru_cache(2)
def _pool(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    shapes = [holes.strokes(POOL // 2, size, generator)]
    shapes += [holes.irregular(POOL - POOL // 2, size, generator)]
    low, high = holes.BUCKETS[0][0], holes.BUCKETS[-1][1]
    target = low + (high - low) * torch.rand(POOL, generator=generator)
    return holes.grow(torch.cat(shapes), target)


def scores(network: torch.nn.Module) -> dict[str, Any]:
    """What a card says about quality: every metric by hole-ratio bucket and border.

    On the evaluation photos at 128 px with ``holes.benchmark(128, per_cell=20)``; the
    composite is scored. A test takes the same numbers from the stored weights again.
    """
    network = deepcopy(network).half().float().eval().cpu()  # as they will be stored
    table = evaluation.evaluate(
        {"network": network},
        photos.squares("evaluation", 128),
        holes.benchmark(128, 20),
    )
    cells = {
        metric: [[round(value, 4) for value in row] for row in found.tolist()]
        for metric, found in table.rows["network"].items()
    }
    return {
        "photos": "evaluation, 128 px, central squares",
        "holes": "benchmark(128, per_cell=20, seed=0): every photo once in every cell",
        "rows": [f"({low}, {high}]" for low, high in holes.BUCKETS],
        "columns": ["without border", "with border"],
        **cells,
    }


def _initialise(network: torch.nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:  # drawn when the layer was made, without a seed
                torch.nn.init.zeros_(module.bias)


def _warm_cosine(progress: float) -> float:
    """Learning-rate factor: a short rise, then half a cosine down to 2 %."""
    warm = min(1.0, progress / 0.02 + 0.01)
    return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def training_facts(
    name: str, history: training.History, stages: tuple[Budget, ...], seed: int
) -> dict[str, Any]:
    """What a card says about how its weights were trained."""
    device = Accelerator().device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "seed": seed,
        "commit": (CHECKPOINTS / f"{name}.commit").read_text(),
        "device": named,
        "minutes": round(history.seconds / 60, 1),
        "steps": [vars(stage) for stage in stages],
        "data": f"{len(photos.names('train'))} bundled training photos, random crops",
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
    }


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def main(wanted: list[str]) -> int:
    """Make the named weights, or all of them."""
    unknown = [name for name in wanted if name not in RECIPES]
    if unknown:
        print(f"unknown: {', '.join(unknown)}. There is {', '.join(RECIPES)}")
        return 2
    for name in wanted or RECIPES:
        print(f"{name}: {RECIPES[name].__doc__}")
        RECIPES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
