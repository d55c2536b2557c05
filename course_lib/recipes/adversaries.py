"""Training against critics: of patches (lesson 05), global and local (lesson 06)."""

import torch
from torch import Tensor

from course_lib import training
from course_lib.losses import gradient_penalty, hinge_losses, wgan_losses
from course_lib.networks import CoarseToFine, PatchCritic, PictureCritic, around
from course_lib.recipes import runs
from course_lib.session import Budget
from course_lib.tensors import composite

ADVERSARIAL = 0.03  # of the hinge loss beside L1; 0.5 makes stripes (lesson 05)
WASSERSTEIN = 0.003  # of the Wasserstein loss of both critics: lesson 06 derives it
PENALTY = 10.0  # of the gradient penalty, as published
CRITIC_STEPS = 3  # for each step of the generator (published: 5)
GAMMA = 0.81  # of the discounted L1 at 128 pixels: the published 0.9 at 256


def train_against_critic(
    network: CoarseToFine,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    weight: float = ADVERSARIAL,
    seed: int = 0,
) -> training.History:
    """Train a network further: L1 as before, and a patch critic to be deceived.

    In each step first the critic learns, from the composite without its graph; then
    the generator, from what the critic says now, which counts ``weight`` times; with 0
    the critic looks on, and all else is the same. One critic for all stages, which must
    share their picture size. Resumable.
    """
    run = runs.Run(name, stages, seed, network=network, rate=rate, weight=weight)
    critic = PatchCritic(stages[-1].size, width=32, guided=network.guided)
    betas = (0.5, 0.999)
    own, own_schedule = run.prepare(network, rate, betas)
    its, its_schedule = run.prepare(critic, rate, betas)

    def step(batch: runs.Batch) -> dict[str, Tensor]:
        image, hole, *sketches = batch
        with run.accelerator.autocast():
            predictions = runs.predicted(network, batch)
        filled = composite(predictions[-1].float(), image, hole)
        critic.requires_grad_(True)
        with run.accelerator.autocast():
            real = critic(image, hole, *sketches).float()
            fake = critic(filled.detach(), hole, *sketches).float()
        judged, _ = hinge_losses(real, fake)
        run.update(its, its_schedule, judged)
        critic.requires_grad_(False)
        with run.accelerator.autocast():
            fake = critic(filled, hole, *sketches).float()
        _, deceived = hinge_losses(real.detach(), fake)
        loss, inside = runs.fill_loss(predictions, batch)
        run.update(own, own_schedule, loss + weight * deceived)
        return {
            "critic": judged.detach(),
            "generator": deceived.detach(),
            "hole": inside.detach(),
        }

    state = {
        "network": network,
        "critic": critic,
        "optimizer": own,
        "critic_optimizer": its,
        "schedule": own_schedule,
        "critic_schedule": its_schedule,
    }
    return run.fit(step, state, guided=network.guided)


def train_against_two(
    network: CoarseToFine,
    name: str,
    stages: tuple[Budget, ...],
    *,
    rate: float,
    weight: float = WASSERSTEIN,
    seed: int = 0,
) -> training.History:
    """Train a network further as Yu et al. 2018 do: two critics, Wasserstein loss.

    The holes are boxes. A batch is cut into ``CRITIC_STEPS`` parts: the critics learn
    from one after the other, the generator from the last. One critic sees the whole
    composite, one a cut of half its side around the hole; the penalty on their slope
    counts in the hole. The generator's L1 is spatially discounted; what the critics
    say counts ``weight`` times, and with 0 they look on. One picture size for all
    stages. Resumable.
    """
    run = runs.Run(name, stages, seed, network=network, rate=rate, weight=weight)
    size, betas = stages[-1].size, (0.5, 0.9)
    critics = torch.nn.ModuleList(PictureCritic(s, 16) for s in (size, size // 2))
    own, own_schedule = run.prepare(network, rate, betas)
    its, its_schedule = run.prepare(critics, rate, betas, CRITIC_STEPS)
    draw = torch.Generator().manual_seed(seed)  # the batches draw from another thread

    def views(image: Tensor, hole: Tensor) -> list[Tensor]:
        return [image, *around(hole, size // 2, image)]

    def judge(image: Tensor, filled: Tensor, hole: Tensor) -> Tensor:
        total, gaps = torch.zeros((), device=image.device), views(hole, hole)
        pairs = zip(critics, views(image, hole), views(filled, hole), gaps, strict=True)
        for critic, real, fake, gap in pairs:
            loss, _ = wgan_losses(critic(real), critic(fake))
            bend = gradient_penalty(critic, real, fake, gap, generator=draw)
            total = total + loss + PENALTY * bend
        return total

    def step(batch: runs.Batch) -> dict[str, Tensor]:
        critics.requires_grad_(True)
        for image, hole in zip(*(p.chunk(CRITIC_STEPS) for p in batch), strict=True):
            with torch.no_grad(), run.accelerator.autocast():
                rough = network(image, hole)
            judged = judge(image, composite(rough.float(), image, hole), hole)
            run.update(its, its_schedule, judged)
        critics.requires_grad_(False)
        with run.accelerator.autocast():
            predictions = network.stages(image, hole)
        filled = composite(predictions[-1].float(), image, hole)
        seen = zip(critics, views(filled, hole), strict=True)
        deceived = -sum(critic(view).mean() for critic, view in seen)
        loss, inside = runs.fill_loss(predictions, (image, hole), GAMMA)
        run.update(own, own_schedule, loss + weight * deceived)
        return {
            "critic": judged.detach(),
            "generator": deceived.detach(),
            "hole": inside.detach(),
        }

    state = {
        "network": network,
        "critics": critics,
        "optimizer": own,
        "critic_optimizer": its,
        "schedule": own_schedule,
        "critic_schedule": its_schedule,
        "draw": draw,
    }
    return run.fit(step, state, boxes=True)
