"""The shipped networks, their budgets and cards: ``course.py weights NAME``."""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from course_lib import evaluation, holes, photos, training, zoo
from course_lib.losses import PARTIAL_CONVOLUTION_WEIGHTS, cascade_loss
from course_lib.networks import CoarseToFine
from course_lib.recipes import adversaries, runs
from course_lib.session import Budget

BUDGET = (Budget(8_000, 16, 64), Budget(4_000, 8, 128))  # every U-Net of the course
RATE = 2e-3
GATED_CHANNELS = [24, 40, 72, 88, 96]  # with gates .3 % fewer parameters than plain
_STILL = {"moves": "none", "modulated": False}
STILL = ["DeformableSampling2d", {"starts": "window", **_STILL}]
NEAREST = ["DeformableSampling2d", {"tells": "near", **_STILL}]
GUIDED_BUDGET = (Budget(9_000, 8, 64), Budget(2_500, 4, 128))
GUIDED = {"width": 12, "dilations": [1, 2, 4, 8], "guided": True}
CRITIC_BUDGET = (Budget(1_600, 4, 128),)
CRITIC_RATE = 2e-4
COPYING_BUDGET = (Budget(3_000, 8, 64), Budget(1_200, 4, 128))  # the fine stage alone
COPYING = GUIDED | {"attention_rate": 1}
INVENTING = GUIDED | {"fine_width": 16}  # without attention 2.6 % more parameters
CASCADE = {  # with mask-aware filters .2 % more parameters than the plain U-Net
    "narrow": [8, 12, 16, 24, 32],
    "wide": [16, 32, 48, 60, 76],
    "kernels": [7, 5, 3, 3, 3],
    "hidden": 24,
}
STATIC = {"narrow": [32, 48, 72, 104, 136], "mask_channels": None}  # as many again
FEATURES_BUDGET = (Budget(300, 4, 128),)
FEATURES_RATE = 2e-4  # published
BOXES_BUDGET = (Budget(400, 12, 128),)


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


def nearest_unet() -> None:
    """Lesson 08: a partial U-Net whose first reads begin at the nearest known pixel."""
    _unet("nearest_unet", {"conv": STILL, "first": NEAREST})


def coarse_to_fine() -> None:
    """The two stages of lesson 05, which follow a sketch; L1 alone."""
    plan = {"class": "CoarseToFine", "arguments": GUIDED}
    network = zoo.build(plan)
    history = runs.train_fill(network, "coarse_to_fine", GUIDED_BUDGET, rate=RATE)
    facts = {
        "loss": f"{FILL} for both stages",
        "rate": f"Adam {RATE}, one cosine down to 2 %",
        "sketch": _SKETCH,
    }
    _keep(network, "coarse_to_fine", plan, history, GUIDED_BUDGET, facts)


def coarse_to_fine_gan() -> None:
    """The same network trained further against a patch critic."""
    _against_critic("coarse_to_fine_gan", adversaries.ADVERSARIAL)


def coarse_to_fine_longer() -> None:
    """The control of that: trained as long, with a critic whose word counts nothing."""
    _against_critic("coarse_to_fine_longer", 0.0)


def coarse_to_fine_stripes() -> None:
    """A critic that counts too much: sixteen times as heavy, stripes for detail."""
    _against_critic("coarse_to_fine_stripes", 0.5)


def contextual_attention() -> None:
    """Lesson 06: the coarse stage of lesson 05; the fine stage copies as well."""
    _new_fine_stage("contextual_attention", COPYING)


def no_attention() -> None:
    """Its control: as many steps, 2.6 % more weights; the fine stage only invents."""
    _new_fine_stage("no_attention", INVENTING)


def _new_fine_stage(name: str, arguments: dict[str, Any]) -> None:
    plan = {"class": "CoarseToFine", "arguments": arguments}
    network = cast(CoarseToFine, zoo.build(plan))
    given = cast(CoarseToFine, zoo.load("coarse_to_fine"))
    network.coarse.load_state_dict(given.coarse.state_dict())
    network.coarse.requires_grad_(False)
    history = runs.train_fill(network, name, COPYING_BUDGET, rate=RATE)
    facts = {
        "begins": f"the coarse stage, frozen, {_begun_by()}",
        "loss": FILL,
        "rate": f"Adam {RATE}, one cosine down to 2 %",
        "sketch": _SKETCH,
        "curves": curves(history),
    }
    _keep(network, name, plan, history, COPYING_BUDGET, facts, "coarse_to_fine")


def contextual_attention_gan() -> None:
    """The same trained further, for boxes, against a global and a local critic."""
    _against_two("contextual_attention_gan", adversaries.WASSERSTEIN)


def contextual_attention_longer() -> None:
    """The control of that: as many steps for boxes, with critics who only look on."""
    _against_two("contextual_attention_longer", 0.0)


def _against_two(name: str, weight: float) -> None:
    plan = zoo.card("contextual_attention")["network"]
    network = cast(CoarseToFine, zoo.load("contextual_attention"))
    network.fine.requires_grad_(True)
    history = adversaries.train_against_two(
        network, name, BOXES_BUDGET, rate=CRITIC_RATE, weight=weight
    )
    told = adversaries
    facts = {
        "begins": _begun_by("contextual_attention"),
        "loss": f"{FILL}, discounted in the hole by {told.GAMMA}, "
        f"+ {weight} Wasserstein loss of a global and a local critic",
        "critics": f"{told.CRITIC_STEPS} steps each, {told.PENALTY:g} gradient penalty",
        "rate": f"Adam {CRITIC_RATE}, betas (.5, .9), one cosine down to 2 %; both",
        "holes": "boxes of a quarter to half the side",
        "curves": curves(history),
    }
    _keep(network, name, plan, history, BOXES_BUDGET, facts, "coarse_to_fine")


def cascade() -> None:
    """Lesson 07: filters made from the mask, three decoders, L1 on each of them."""
    _fills("cascade", {"class": "Cascade", "arguments": CASCADE})


def cascade_static() -> None:
    """Its control: as many parameters in ordinary convolutions, four times as wide."""
    _fills("cascade_static", {"class": "Cascade", "arguments": CASCADE | STATIC})


def cascade_features() -> None:
    """The cascade trained further, asked coarse to fine for what a VGG-16 sees."""
    _coarse_to_fine("cascade_features", PARTIAL_CONVOLUTION_WEIGHTS)


def cascade_longer() -> None:
    """The control of that: as many steps, and pixels are all that is asked for."""
    pixels = {**dict.fromkeys(PARTIAL_CONVOLUTION_WEIGHTS, 0.0), "valid": 1, "hole": 6}
    _coarse_to_fine("cascade_longer", pixels)


def _coarse_to_fine(name: str, weights: Mapping[str, float]) -> None:
    network = zoo.load("cascade").requires_grad_(True)

    def loss(
        predictions: tuple[Tensor, ...], batch: runs.Batch
    ) -> tuple[Tensor, Tensor]:
        image, hole = batch[:2]
        terms = cascade_loss(predictions, image, hole, weights=weights)
        _, inside = runs.fill_loss(predictions[-1:], batch)
        return terms["total"], inside

    history = runs.train_fill(
        network, name, FEATURES_BUDGET, rate=FEATURES_RATE, loss=loss, anew=False
    )
    told = ", ".join(f"{weight:g} {term}" for term, weight in weights.items() if weight)
    facts = {
        "begins": _begun_by("cascade"),
        "loss": f"coarse to fine, published weights: {told}",
        "rate": f"Adam {FEATURES_RATE}, one cosine down to 2 %",
        "curves": curves(history),
    }
    plan = zoo.card("cascade")["network"]
    _keep(network, name, plan, history, FEATURES_BUDGET, facts)


def _begun_by(name: str = "coarse_to_fine") -> str:
    return f"{name} {zoo.card(name)['sha256'][:12]}"


def _against_critic(name: str, weight: float) -> None:
    plan = zoo.card("coarse_to_fine")["network"]
    network = cast(CoarseToFine, zoo.load("coarse_to_fine").requires_grad_(True))
    history = adversaries.train_against_critic(
        network, name, CRITIC_BUDGET, rate=CRITIC_RATE, weight=weight
    )
    facts = {
        "begins": _begun_by(),
        "loss": f"{FILL} for both stages, + {weight} critic's hinge loss",
        "rate": f"Adam {CRITIC_RATE}, betas (.5, .999), one cosine down to 2 %; both",
        "sketch": _SKETCH,
        "curves": curves(history),
    }
    _keep(network, name, plan, history, CRITIC_BUDGET, facts)


def curves(history: training.History, points: int = 60) -> dict[str, list[float]]:
    """What happened: every loss, as the means of so many equal parts of the steps.

    Of fewer steps than that, as many as there are.
    """
    return {
        name: [
            round(float(part.mean()), 4)
            for part in torch.tensor(values).tensor_split(min(points, len(values)))
        ]
        for name, values in history.losses.items()
    }


FILL = "L1: mean of the hole, each picture the same, + mean of all pixels"
_SKETCH = (
    "Canny's edges in the hole; none at all for a third, a share of them for the rest"
)


def _unet(name: str, arguments: dict[str, Any]) -> None:
    _fills(name, {"class": "UNet", "arguments": arguments})


def _fills(name: str, plan: dict[str, Any]) -> None:
    """A network that fills by itself, on the budget of every U-Net of the course."""
    network = zoo.build(plan)
    history = runs.train_fill(network, name, BUDGET, rate=RATE)
    answers = " for every decoder" if plan["class"] == "Cascade" else ""
    facts = {
        "loss": f"{FILL}{answers}",
        "rate": f"Adam {RATE}, one cosine down to 2 %",
        "curves": curves(history),
    }
    _keep(network, name, plan, history, BUDGET, facts)


def _keep(
    network: torch.nn.Module,
    name: str,
    plan: dict[str, Any],
    history: training.History,
    stages: tuple[Budget, ...],
    facts: dict[str, Any],
    shares: str | None = None,
) -> None:
    """Score the network, write weights and card, and drop the checkpoint."""
    told = training_facts(name, history, stages, seed=0)
    told |= facts | {"scores": scores(network)}
    zoo.save(network, name, plan, told, shares)
    runs.forget(name)


def scores(
    network: torch.nn.Module, metrics: Sequence[str] = evaluation.METRICS
) -> dict[str, Any]:
    """What a card says about quality: each metric by hole-ratio bucket and border.

    On the evaluation photos at 128 px with ``holes.benchmark(128, per_cell=20)``; the
    composite is scored. A test takes the same numbers from the stored weights again.
    """
    network = zoo.rounded(network).eval()
    table = evaluation.evaluate(
        {"network": network},
        photos.squares("evaluation", 128),
        holes.benchmark(128, 20),
        metrics,
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


def training_facts(
    name: str, history: training.History, stages: tuple[Budget, ...], seed: int
) -> dict[str, Any]:
    """What a card says about how its weights were trained."""
    device = Accelerator().device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "seed": seed,
        "commit": runs.commit(name),
        "device": named,
        "minutes": round(history.seconds / 60, 1),
        "steps": [vars(stage) for stage in stages],
        "data": f"{len(photos.names('train'))} bundled training photos, random crops",
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
    }


WEIGHTS: tuple[Callable[[], None], ...] = (
    plain_unet,
    plain_unet_blind,
    partial_unet,
    gated_unet,
    nearest_unet,
    coarse_to_fine,
    coarse_to_fine_gan,
    coarse_to_fine_longer,
    coarse_to_fine_stripes,
    contextual_attention,
    no_attention,
    contextual_attention_gan,
    contextual_attention_longer,
    cascade,
    cascade_static,
    cascade_features,
    cascade_longer,
)
