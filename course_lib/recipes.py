"""How the shipped weights and pictures are made: ``course.py weights NAME`` repeats it.

A recipe can be interrupted and called again: it goes on from its checkpoint.
"""

import math
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from course_lib import evaluation, fills, holes, photos, pictures, training, zoo
from course_lib.networks import UNet
from course_lib.session import ASSETS, ROOT, Budget, start
from course_lib.tensors import composite, hide

CHECKPOINTS = ROOT / ".cache" / "checkpoints"
Batch = tuple[Tensor, Tensor]


def start_unet() -> None:
    """The plain U-Net of lesson 00: L1 only, holes six times the weight."""
    network = UNet()
    stages = (Budget(8_000, 16, 64), Budget(4_000, 8, 128), Budget(2_000, 8, 128))
    cycles = (12_000, 2_000)
    history = train_fill(network, "start_unet", stages, rate=1e-3, cycles=cycles)
    facts = training_facts("start_unet", history, stages, seed=0)
    facts["loss"] = "L1, size-averaged: 1 on known pixels, 6 in the hole"
    facts["rate"] = "Adam 1e-3, cosine over 12,000 steps; from 5e-4 over 2,000"
    facts["scores"] = scores(network)
    zoo.save(network, "start_unet", {"class": "UNet", "arguments": {}}, facts)
    forget("start_unet")


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
    """The title pictures of lessons 00 and 01, and of the README."""
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
    chosen = ("nubian_ibex", "chateaudechambord", "rhinoceros")
    images = torch.cat([photos.square(photos.load(name), 160) for name in chosen])
    painted = holes.strokes(3, 160, draw(25), per_picture=(1, 1), width=(0.12, 0.14))
    _figure("readme", _four_fills(images, painted), 1.0)


def _four_fills(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    network = zoo.load("start_unet")
    methods = {"mean": fills.mean, "harmonic": fills.harmonic, "Telea": fills.telea}
    made = {name: fill(image, hole) for name, fill in methods.items()}
    made["small network"] = composite(network(image, hole), image, hole)
    return {"a hole": pictures.hatched(image, hole), **made}


def _figure(name: str, columns: dict[str, Tensor], scale: float) -> None:
    drawn = pictures.grid(columns, scale=scale).pixels
    path = ASSETS / "figures" / f"{name}.png"
    path.write_bytes(pictures.png(drawn, limit=150_000))


RECIPES: dict[str, Callable[[], None]] = {
    "occlusions": occlusions,
    "start_unet": start_unet,
    "figures": figures,
}


def train_fill(
    network: torch.nn.Module,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    cycles: tuple[int, ...] = (),
    seed: int = 0,
) -> training.History:
    """Train ``network(image, hole)`` with L1 on random crops and holes, resumable.

    ``cycles``: steps of each cosine of the learning rate, one over all stages if
    left out; each starts at half the rate of the one before.
    """
    torch.manual_seed(seed)
    _initialise(network)
    accelerator = Accelerator()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    network, optimizer = accelerator.prepare(network, optimizer)
    cycles = cycles or (sum(stage.steps for stage in stages),)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate_factor(step, cycles)
    )
    generator = torch.Generator().manual_seed(seed)
    state = {"network": network, "optimizer": optimizer, "schedule": schedule}
    checkpoint = CHECKPOINTS / f"{name}.pt"
    if not checkpoint.exists():  # a card names the code that the training began with
        CHECKPOINTS.mkdir(parents=True, exist_ok=True)
        checkpoint.with_suffix(".commit").write_text(_commit())

    def step(batch: Batch) -> dict[str, Tensor]:
        image, hole = (part.to(accelerator.device) for part in batch)
        network.train()
        error = (network(hide(image, hole), hole) - image).abs()
        loss = (error * (1 + 5 * hole)).mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        return {"loss": loss.detach(), "hole": (error * hole).mean().detach()}

    done = 0
    for stage in stages:
        done += stage.steps
        history = training.fit(
            step,
            training_batches(stage, generator),
            steps=done,
            state=state | {"generator": generator},
            checkpoint=checkpoint,
        )
        if history.interrupted:
            raise SystemExit(f"{name}: stopped at step {history.steps}; call again")
    return history


def training_batches(stage: Budget, generator: torch.Generator) -> Iterator[Batch]:
    """Crops of the training photos with holes: half strokes, half rectangles."""
    crops = photos.collection("train")
    while True:
        image = crops.crops(stage.batch, stage.size, generator)
        half = stage.batch // 2
        drawn = holes.strokes(stage.batch - half, stage.size, generator)
        boxes = holes.rectangles(half, stage.size, generator, side=(0.15, 0.5))
        yield image, torch.cat([drawn, boxes])


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


def _rate_factor(step: int, cycles: tuple[int, ...]) -> float:
    factor = 1.0
    for length in cycles[:-1]:
        if step < length:
            return factor * _warm_cosine(step / length)
        step, factor = step - length, factor / 2
    return factor * _warm_cosine(step / cycles[-1])


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
