"""How shipped files are made: reproducible batches, exact resume, honest cards."""

import itertools
import signal
import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from course_lib import holes, photos, recipes, sketch, studies, training, zoo
from course_lib.layers import (
    DeformableSampling2d,
    MaskAwareDynamicConv2d,
    SamplingFacts,
)
from course_lib.mining import mined_holes
from course_lib.networks import Cascade, CoarseToFine, MaskGenerator, UNet
from course_lib.recipes import adversaries, generators, mining, rungs, runs
from course_lib.recipes.weights import curves, training_facts
from course_lib.session import Budget
from course_lib.tensors import check_hole, check_image


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Three photographs, twelve holes, and checkpoints of our own."""
    few = photos.collection("train", limit=3)
    monkeypatch.setattr(photos, "collection", lambda _: few)
    monkeypatch.setattr(runs, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(runs, "POOL", 12)
    runs._pool.cache_clear()
    yield
    runs._pool.cache_clear()


def tiny() -> UNet:
    return UNet(channels=(4, 6), kernels=(3, 3))


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat(
        [value.flatten().double() for value in network.state_dict().values()]
    )


STAGES = (Budget(3, 4, 16), Budget(2, 2, 32))


def test_every_recipe_says_what_it_makes_and_an_unknown_one_lists_them(capsys):
    assert all(recipe.__doc__ for recipe in recipes.RECIPES.values())
    assert recipes.main(["nothing", "plain_unet"]) == 2
    said = capsys.readouterr().out
    assert "unknown: nothing" in said
    assert all(name in said for name in recipes.RECIPES)


def test_main_makes_what_is_named_or_all(monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    for name in ("a", "b"):
        monkeypatch.setitem(recipes.RECIPES, name, lambda name=name: made.append(name))
    for name in set(recipes.RECIPES) - {"a", "b"}:
        monkeypatch.delitem(recipes.RECIPES, name)
    assert recipes.main(["b"]) == recipes.main([]) == 0
    assert made == ["b", "a", "b"]


def two_batches(seed: int, stage: Budget) -> list[Tensor]:
    stream = runs.training_batches(stage, torch.Generator().manual_seed(seed))
    return [part for batch in (next(stream), next(stream)) for part in batch]


def test_batches_are_pictures_with_holes_and_repeat():
    stage = Budget(9, 5, 24)
    image, hole, *_ = once = two_batches(0, stage)
    assert check_image(image).shape == (5, 3, 24, 24)
    assert check_hole(hole).shape == (5, 1, 24, 24)
    assert (holes.ratio(hole) > 0).all()
    assert all(map(torch.equal, once, two_batches(0, stage)))
    assert not torch.equal(image, two_batches(1, stage)[0])
    assert not torch.equal(image, once[2])


def test_training_holes_fill_every_bucket_evenly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs, "POOL", 240)
    counts = holes.bucket(runs._pool(32)).bincount(minlength=6)
    assert (counts >= 20).all()
    assert counts.sum() == 240


def test_batches_turn_and_mirror_the_holes_of_the_pool():
    stream = runs.training_batches(Budget(1, 4, 24), torch.Generator().manual_seed(0))
    pool = runs._pool(24)

    def place(hole: Tensor) -> int:
        """Which of the eight symmetries leads from a hole of the pool to this one."""
        found = [
            number
            for number in range(8)
            for known in pool
            if torch.equal(_turned(known, number), hole)
        ]
        assert found, "a hole that is not in the pool"
        return found[0]

    seen = {place(hole) for _ in range(40) for hole in next(stream)[1]}
    assert len(seen) > 5


def _turned(hole: Tensor, number: int) -> Tensor:
    turned = torch.rot90(hole, number % 4, (-2, -1))
    return turned.flip(-1) if number >= 4 else turned


def test_every_picture_counts_the_same_however_small_its_hole(monkeypatch):
    image = torch.zeros(2, 3, 16, 16)
    hole = torch.zeros(2, 1, 16, 16)
    hole[0, :, :2, :2], hole[1, :, :, :8] = 1, 1

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor([1.0, 0.25]))

        def forward(self, image: Tensor, hole: Tensor) -> Tensor:
            return self.value.view(2, 1, 1, 1).expand(2, 3, 16, 16)

    monkeypatch.setattr(
        runs, "training_batches", lambda *_, **__: iter([(image, hole)] * 2)
    )
    history = runs.train_fill(Half(), "half", (Budget(1, 2, 16),), rate=1e-3)
    assert history.losses["hole"] == [pytest.approx(0.625)]
    assert history.losses["loss"] == [pytest.approx(0.625 + 0.625)]


def test_the_rate_rises_shortly_and_falls_to_two_per_cent():
    rates = [runs.warm_cosine(k / 1000) for k in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates.index(max(rates)) == pytest.approx(20, abs=2)
    assert all(a >= b for a, b in pairwise(rates[20:]))
    assert rates[-1] == pytest.approx(0.02)
    assert runs.warm_cosine(1.5) == pytest.approx(0.02)


def test_training_depends_on_the_seed_alone_and_resumes_exactly(monkeypatch):
    first = tiny()
    history = runs.train_fill(first, "first", STAGES, rate=1e-3)
    assert history.steps == 5
    assert set(history.losses) == {"loss", "hole"}
    second, whole = tiny(), runs.training_batches

    def cut(
        stage: Budget, generator: torch.Generator, guided: bool
    ) -> Iterator[runs.Batch]:
        assert generator.initial_seed() == 0
        for number, batch in enumerate(whole(stage, generator, guided)):
            if number == 1:
                signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr(runs, "training_batches", cut)
    with pytest.raises(SystemExit, match="second: stopped at step 2; call again"):
        runs.train_fill(second, "second", STAGES, rate=1e-3)
    monkeypatch.setattr(runs, "training_batches", whole)
    again = tiny()
    resumed = runs.train_fill(again, "second", STAGES, rate=1e-3)
    assert resumed.losses == history.losses
    assert torch.equal(weights(again), weights(first))


def break_off(monkeypatch, ahead: int) -> None:
    """Let ``runs`` draw so far ahead, and each training stop after its second step."""
    real = training.fit

    def cut(step: Any, *given: Any, **options: Any) -> training.History:
        steps: list[int] = []

        def counted(batch: Any) -> Any:
            steps.append(1)
            if len(steps) == 2:
                signal.raise_signal(signal.SIGINT)
            return step(batch)

        return real(counted, *given, ahead=ahead, **options)

    monkeypatch.setattr(training, "fit", cut)


def against_critic(network: CoarseToFine, name: str) -> training.History:
    stages = (Budget(4, 2, 16),)
    return adversaries.train_against_critic(network, name, stages, rate=1e-3)


def against_two(network: CoarseToFine, name: str) -> training.History:
    network.coarse.requires_grad_(False)
    stages = (Budget(4, 6, 32),)
    return adversaries.train_against_two(network, name, stages, rate=1e-3)


def with_a_miner(network: CoarseToFine, name: str) -> training.History:
    unguided = UNet(channels=(4, 6), kernels=(3, 3))
    history, _ = mined(unguided, name, Budget(4, 4, 32))
    network.coarse.layers = unguided  # so that its weights are compared too
    return history


@pytest.mark.parametrize("train", [against_critic, against_two, with_a_miner])
@pytest.mark.parametrize("ahead", [0, 2])
def test_recipes_resume_exactly_when_a_thread_draws_the_batches(
    monkeypatch, train, ahead: int
):
    first = guided()
    history = train(first, "whole")
    again = guided()
    with monkeypatch.context() as patch:
        break_off(patch, ahead)
        with pytest.raises(SystemExit, match="cut: stopped at step 2; call again"):
            train(guided(), "cut")
        with pytest.raises(SystemExit, match="cut: stopped at step 4; call again"):
            train(guided(), "cut")
    resumed = train(again, "cut")
    assert resumed.losses == history.losses
    assert torch.equal(weights(again), weights(first))


_PLAN = {"rate": 1e-3, "seed": 0}
_CHANGES = [
    {"rate": 1e-1},
    {"seed": 7},
    {"loss": lambda predictions, batch: runs.fill_loss(predictions, batch)},
    {"sampling": {"length": 1.0}},
    {"anew": False},
]


def stopped(monkeypatch, train: Any) -> None:
    with monkeypatch.context() as patch:
        break_off(patch, 0)
        with pytest.raises(SystemExit, match="stopped at step 2"):
            train()


@pytest.mark.parametrize("change", _CHANGES)
def test_an_interrupted_training_goes_on_under_its_own_plan_only(
    monkeypatch, capsys, change: dict[str, Any]
):
    def train(name: str, **changed: Any) -> training.History:
        torch.manual_seed(0)
        stages = (Budget(4, 2, 16),)
        network = UNet(DeformableSampling2d, channels=(4, 6), kernels=(3, 3))
        return runs.train_fill(network, name, stages, **(_PLAN | changed))

    stopped(monkeypatch, lambda: train("run"))
    assert train("run", **change).losses == train("other", **change).losses
    assert (
        "run: begins anew, what it began was not this plan" in capsys.readouterr().out
    )
    stopped(monkeypatch, lambda: train("same", **change))
    assert train("same", **change).steps == 4
    assert "begins anew" not in capsys.readouterr().out


def test_another_form_of_one_objective_begins_anew(monkeypatch, capsys):
    """Two partial functions of one are two plans."""
    network = UNet(channels=(4, 6), kernels=(3, 3))

    def train(form: str) -> training.History:
        objective, stages = generators.NAIVE[form], (Budget(4, 2, 16),)
        torch.manual_seed(0)
        return mining.train_by(
            objective, MaskGenerator(), network, "by", stages, rate=1e-3
        )

    stopped(monkeypatch, lambda: train("no slope"))
    train("through")
    assert "by: begins anew" in capsys.readouterr().out


def test_another_network_under_the_same_name_begins_anew(monkeypatch, capsys):
    """Also where all its weights are of the same shapes."""
    stages, shape = (Budget(4, 2, 16),), {"channels": (4, 6), "kernels": (3, 3)}

    def train(**options: Any) -> training.History:
        return runs.train_fill(UNet(**shape, **options), "run", stages, rate=1e-3)

    stopped(monkeypatch, train)
    train(fill="nearest")
    assert "run: begins anew" in capsys.readouterr().out


def test_a_cell_whose_plan_has_changed_begins_anew_though_interrupted(
    monkeypatch, tmp_path: Path, capsys
):
    form = study_of_two(monkeypatch, tmp_path)["still"]
    form = replace(form, stages=(Budget(4, 2, 16),))
    fill = recipes.studies.fill
    stopped(monkeypatch, lambda: fill("tried", {"still": form}, seeds=1))
    other = {**form.plan["arguments"], "conv": "PartialConv2d"}
    changed = replace(form, plan=form.plan | {"arguments": other})
    fill("tried", {"still": changed}, seeds=1)
    assert "tried_study.still.0: begins anew" in capsys.readouterr().out
    assert studies.cells("tried")["still 0"]["network"] == changed.plan


def test_a_batch_with_an_empty_hole_has_a_loss(monkeypatch):
    image, hole = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    hole[1, :, :2, :2] = 1
    made = torch.ones(2, 3, 8, 8, requires_grad=True)
    loss, inside = runs.fill_loss((made,), (image, hole))
    assert (loss.item(), inside.item()) == (1.5, 0.5)
    loss.backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    runs.Run("ungoverned", STAGES, 0)
    assert runs.commit("ungoverned") == "unknown"


def test_guided_batches_bring_sketches_a_third_of_them_empty_others_thinned():
    stream = runs.training_batches(
        Budget(1, 60, 32), torch.Generator().manual_seed(0), guided=True
    )
    image, _, drawn = next(stream)
    lines = sketch.edges(image)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn <= lines).all()
    left = drawn.sum((1, 2, 3)) / lines.sum((1, 2, 3)).clamp(min=1)
    assert 0.2 < (left == 0).float().mean() < 0.47
    assert ((left > 0) & (left < 1)).any()


def guided() -> CoarseToFine:
    torch.manual_seed(0)
    return CoarseToFine(4, (1,), guided=True)


def test_both_stages_are_trained_and_the_sketch_is_used():
    network = guided()
    before = deepcopy(network.state_dict())
    history = runs.train_fill(network, "guided", (Budget(2, 2, 16),), rate=1e-3)
    assert history.steps == 2
    moved = {
        k for k, v in network.state_dict().items() if not torch.equal(v, before[k])
    }
    assert {"coarse.layers.0.weight", "fine.layers.0.weight"} <= moved


def test_the_adversarial_training_moves_both_and_resumes_exactly(monkeypatch):
    stages, seen = (Budget(4, 2, 16),), []
    first, whole = guided(), runs.training_batches
    history = adversaries.train_against_critic(first, "a", stages, rate=1e-3)
    assert set(history.losses) == {"critic", "generator", "hole"}
    assert not torch.equal(weights(first), weights(guided()))

    def cut(*stage: Any, **kinds: bool) -> Iterator[runs.Batch]:
        for number, batch in enumerate(whole(*stage, **kinds)):
            seen.append(number)
            if number == 2:
                signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr(runs, "training_batches", cut)
    with pytest.raises(SystemExit, match="b: stopped at step"):
        adversaries.train_against_critic(guided(), "b", stages, rate=1e-3)
    monkeypatch.setattr(runs, "training_batches", whole)
    again = guided()
    resumed = adversaries.train_against_critic(again, "b", stages, rate=1e-3)
    assert resumed.losses == history.losses
    assert torch.equal(weights(again), weights(first))


def test_a_critic_that_does_not_care_leaves_l1_alone(monkeypatch):
    """With weight 0 the generator learns what ``train_fill`` teaches it."""
    betas = {"betas": (0.5, 0.999)}
    plain, versed = guided(), guided()
    with_critic = adversaries.train_against_critic(
        versed, "critic", (Budget(1, 2, 16),), rate=1e-3, weight=0.0
    )
    prepare = runs.Run.prepare
    monkeypatch.setattr(runs, "initialise", lambda _: None)
    monkeypatch.setattr(runs.Run, "prepare", lambda *given: prepare(*given, **betas))
    alone = runs.train_fill(plain, "alone", (Budget(1, 2, 16),), rate=1e-3)
    assert alone.losses["hole"] == with_critic.losses["hole"]
    assert torch.allclose(weights(plain), weights(versed), atol=1e-7)


def test_two_critics_teach_the_free_stage_alone_and_it_resumes_exactly(monkeypatch):
    stages, whole = (Budget(3, 6, 32),), runs.training_batches

    def free() -> CoarseToFine:
        network = guided()
        network.coarse.requires_grad_(False)
        return network

    first, before = free(), weights(guided().coarse)
    history = adversaries.train_against_two(first, "a", stages, rate=1e-3)
    assert set(history.losses) == {"critic", "generator", "hole"}
    assert torch.equal(weights(first.coarse), before)
    assert not torch.equal(weights(first.fine), weights(guided().fine))

    def cut(*stage: Any, **kinds: bool) -> Iterator[runs.Batch]:
        for number, batch in enumerate(whole(*stage, **kinds)):
            if number == 1:
                signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr(runs, "training_batches", cut)
    with pytest.raises(SystemExit, match="b: stopped at step"):
        adversaries.train_against_two(free(), "b", stages, rate=1e-3)
    monkeypatch.setattr(runs, "training_batches", whole)
    again = free()
    resumed = adversaries.train_against_two(again, "b", stages, rate=1e-3)
    assert resumed.losses == history.losses
    assert torch.equal(weights(again), weights(first))


def test_the_rate_of_critics_falls_over_all_their_updates():
    run = runs.Run("rates", (Budget(10, 6, 32),), 0)
    _, schedule = run.prepare(tiny(), 1.0, updates=3)
    rates = []
    for _ in range(30):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates[9] > 0.7
    assert rates[29] == pytest.approx(0.02)


def test_boxes_are_boxes_of_a_quarter_to_half_the_side():
    stream = runs.training_batches(
        Budget(1, 40, 32), torch.Generator().manual_seed(0), boxes=True
    )
    _, hole = next(stream)
    for part in hole:
        rows, columns = part[0].amax(1).sum(), part[0].amax(0).sum()
        assert part.sum() == rows * columns
        assert 8 <= min(rows, columns) <= max(rows, columns) <= 16


def test_frozen_parts_are_not_begun_anew():
    network = guided()
    network.coarse.requires_grad_(False)
    before = weights(network.coarse), weights(network.fine)
    runs.train_fill(network, "half frozen", (Budget(1, 2, 16),), rate=1e-9)
    assert torch.equal(weights(network.coarse), before[0])
    assert not torch.allclose(weights(network.fine), before[1], atol=1e-3)


def test_training_can_go_on_with_a_loss_of_its_own():
    network = tiny()
    before = [p.clone() for p in network.parameters()]

    def loss(predictions: tuple[Tensor, ...], batch: runs.Batch) -> tuple[Tensor, ...]:
        inside = predictions[-1].float().mean()
        return 3 * inside, inside

    history = runs.train_fill(
        network, "on", (Budget(1, 2, 16),), rate=1e-9, loss=loss, anew=False
    )
    for now, begun in zip(network.parameters(), before, strict=True):
        assert torch.allclose(now, begun, atol=1e-7)
    (inside,) = history.losses["hole"]
    assert history.losses["loss"] == [pytest.approx(3 * inside)]


def test_layers_that_choose_their_reads_are_charged_and_begin_without_a_choice():
    conv = partial(DeformableSampling2d, starts="window")
    network = UNet(conv, channels=(4, 6), kernels=(3, 3))
    torch.nn.init.ones_(network.encoder[0].conv.head.bias)
    charged = {"unknown": 5.0, "length": 0.5}
    history = runs.train_fill(
        network, "moved", (Budget(2, 2, 16),), rate=1e-3, sampling=charged
    )
    assert history.losses["unknown"][0] == pytest.approx(1)  # nothing has moved yet
    assert history.losses["length"][0] == pytest.approx(0, abs=1e-6)
    free = UNet(conv, channels=(4, 6), kernels=(3, 3))
    runs.train_fill(free, "free", (Budget(2, 2, 16),), rate=1e-3)
    heads = [n.encoder[1].conv.head.weight for n in (network, free)]
    assert not torch.equal(*heads)


def study_of_two(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """A study of two forms of tiny networks, where nothing is scored at length."""
    monkeypatch.setattr(studies, "FOLDER", folder)
    monkeypatch.setattr(zoo, "FOLDER", folder / "weights")
    scored = {metric: [[0.1, 0.2]] * 6 for metric in recipes.studies.METRICS}
    monkeypatch.setattr(recipes.studies.weights, "scores", lambda *_: scored)
    shape = {"channels": [4, 6], "kernels": [3, 3]}
    still = {"class": "UNet", "arguments": shape}
    moved = {
        "class": "UNet",
        "arguments": shape | {"conv": ["DeformableSampling2d", {}]},
    }
    form = partial(recipes.studies.Form, stages=(Budget(1, 2, 16),))
    return {
        "still": form(still),
        "moved": form(moved, {"length": 1.0}, "kept"),
    }


def test_a_study_goes_on_where_it_was_and_repeats_what_has_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
):
    forms = study_of_two(monkeypatch, tmp_path)
    recipes.studies.fill("tried", forms, seeds=1)
    assert list(studies.cells("tried")) == ["moved 0", "still 0"]
    assert zoo.load("kept") is not None
    found = studies.cells("tried")["moved 0"]
    assert list(found["reads"]["encoder.0.conv"]) == list(SamplingFacts._fields)
    assert "reads" not in studies.cells("tried")["still 0"]
    capsys.readouterr()
    recipes.studies.fill("tried", forms, seeds=2)
    said = capsys.readouterr().out
    assert "tried: still, seed 1" in said
    assert "seed 0" not in said
    longer = {
        form: replace(asked, stages=(Budget(2, 2, 16),))
        for form, asked in forms.items()
    }
    recipes.studies.fill("tried", longer, seeds=1)
    assert "tried: moved, seed 0" in capsys.readouterr().out
    assert len(studies.cells("tried")) == 4


def test_a_cell_that_another_process_trains_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
):
    forms = study_of_two(monkeypatch, tmp_path)
    with runs.alone("tried_study.still.0"):
        recipes.studies.fill("tried", forms, seeds=1)
    assert list(studies.cells("tried")) == ["moved 0"]
    assert "still, seed 0: another process is at it" in capsys.readouterr().out
    recipes.studies.fill("tried", forms, seeds=1)
    assert list(studies.cells("tried")) == ["moved 0", "still 0"]


def test_two_that_fill_one_study_lose_no_cell(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(studies, "FOLDER", tmp_path)

    def fill(form: str) -> None:
        for k in range(30):
            recipes.studies.write("tried", f"{form} {k}", {"seed": k})

    writers = [threading.Thread(target=fill, args=(form,)) for form in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wanted = {f"{form} {k}" for form in "ab" for k in range(30)}
    assert set(studies.cells("tried")) == wanted
    with runs.alone("tried_study", wait=False) as mine:
        assert mine


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_number_that_json_does_not_have_is_not_written(monkeypatch, tmp_path, bad):
    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    recipes.studies.write("tried", "fine 0", {"seed": 0})
    before = studies.path("tried").read_bytes()
    with pytest.raises(studies.StudyError, match="tried, odd 1: scores is not finite"):
        recipes.studies.write("tried", "odd 1", {"seed": 1, "scores": [[bad]]})
    assert studies.path("tried").read_bytes() == before


def test_a_form_may_train_with_mined_holes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    moved = study_of_two(monkeypatch, tmp_path)["moved"]
    monkeypatch.setattr(recipes.studies, "miner_facts", lambda *_: {"mined": 0.1})
    monkeypatch.setattr(recipes.studies, "predictable_holes", lambda _: 0.2)
    form = replace(moved, kept="", mining={"share": [1.0, 0.0]})
    heard = []
    train = recipes.studies.train_mining

    def listen(*arguments: Any, **options: Any) -> Any:
        heard.append(options)
        return train(*arguments, **options)

    monkeypatch.setattr(recipes.studies, "train_mining", listen)
    recipes.studies.fill("tried", {"curriculum": form}, seeds=1)
    cell = studies.cells("tried")["curriculum 0"]
    assert cell["mining"] == {"share": [1.0, 0.0]}
    assert (cell["miner"], cell["easy"]) == ({"mined": 0.1}, 0.2)
    assert heard[0]["sampling"] == {"length": 1.0}
    assert heard[0]["share"] == [1.0, 0.0]
    recipes.studies.fill("tried", {"curriculum": form}, seeds=1)
    assert len(heard) == 1
    other = replace(form, mining={"share": [1.0, 0.5]})
    recipes.studies.fill("tried", {"curriculum": other}, seeds=1)
    assert len(heard) == 2


def test_a_form_may_train_a_shipped_network_further(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    forms = study_of_two(monkeypatch, tmp_path)
    recipes.studies.fill("tried", forms, seeds=1)  # now "kept" ships
    shipped = zoo.load("kept")
    monkeypatch.setattr(recipes.studies, "miner_facts", lambda *_: {})
    monkeypatch.setattr(recipes.studies, "predictable_holes", lambda _: 0.2)
    further = replace(forms["moved"], kept="", begins="kept", mining={"share": 0.0})
    ended = []
    monkeypatch.setattr(
        recipes.studies.weights, "scores", lambda network, *_: ended.append(network)
    )
    monkeypatch.setattr(recipes.studies, "METRICS", ())
    recipes.studies.fill("tried", {"further": further}, metrics=(), seeds=1)
    assert studies.cells("tried")["further 0"]["begins"] == "kept"
    pairs = zip(ended[0].parameters(), shipped.parameters(), strict=True)
    moved = max(float((p - q).detach().abs().max()) for p, q in pairs)
    assert 0 < moved < 1e-3  # one step of a tenth of the rate; no weight drawn anew


def test_a_training_begins_from_its_seed_alone_whatever_was_drawn_before():
    """Transposed and mask-aware convolutions too."""
    begun = []
    for draw in (1, 2):
        torch.manual_seed(draw)
        network = Cascade((4, 6), (6, 8), (5, 3), mask_channels=3, hidden=4)
        torch.manual_seed(0)
        runs.initialise(network)
        begun.append(weights(network))
    assert torch.equal(*begun)
    layer = network.filters[1]
    assert isinstance(layer, MaskAwareDynamicConv2d)
    fixed = layer.filter_conv.bias.std().item()
    assert fixed == pytest.approx((4 * 9) ** -0.5, rel=0.2)  # not zeros


def test_the_discounted_loss_weighs_each_picture_the_same():
    image, hole = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    hole[0, :, 2:5, 2:5], hole[1, :, 0, 0] = 1, 1
    wrong = torch.zeros_like(image)
    wrong[0, :, 3, 3] = 1  # 2 from the nearest known pixel; the 8 around it 1
    loss, inside = runs.fill_loss((wrong,), (image, hole), 0.5)
    share = 0.25 / (8 * 0.5 + 0.25)
    assert inside.item() == pytest.approx(share / 2)
    assert loss.item() == pytest.approx(share / 2 + 1 / 128)
    _, flat = runs.fill_loss((wrong,), (image, hole))
    assert flat.item() == pytest.approx(1 / 9 / 2)


def test_a_card_says_how_it_was_trained():
    history = runs.train_fill(tiny(), "tiny", STAGES, rate=1e-3)
    history.seconds = 90
    facts = training_facts("tiny", history, STAGES, seed=3)
    assert facts["seed"] == 3
    assert facts["steps"] == [
        {"steps": 3, "batch": 4, "size": 16},
        {"steps": 2, "batch": 2, "size": 32},
    ]
    assert facts["minutes"] == 1.5
    assert str(len(photos.names("train"))) in facts["data"]
    assert {"commit", "device", "torch", "python"} <= set(facts)


def test_curves_have_as_many_points_as_there_are_steps_to_show():
    history = training.History({"a": [1.0, 3.0, 5.0, 7.0], "b": [2.0]})
    assert curves(history, points=2) == {"a": [2.0, 6.0], "b": [2.0]}


def test_occlusions_are_made_of_moving_training_photos(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(holes, "OCCLUSIONS", tmp_path / "new" / "sheet.png")
    monkeypatch.setattr(holes, "OCCLUSION_SIDE", 64)
    asked = []
    load = photos.load

    def flow(first: Tensor, second: Tensor) -> Tensor:  # a false one, but fast
        shift = torch.zeros(1, 2, 64, 64)
        shift[..., 30:34, 28:36] = 6.0 * (len(asked) % 3 - 1)
        return shift

    monkeypatch.setattr(holes, "optical_flow", flow)
    monkeypatch.setattr(photos, "load", lambda name: asked.append(name) or load(name))
    recipes.occlusions()
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))
    assert sheet.shape == (6 * 64, 8 * 64)
    assert set(asked) <= set(photos.names("train"))
    tiles = sheet.reshape(6, 64, 8, 64).any((1, 3))
    assert tiles.all()


class Noted(UNet):
    """A tiny network that remembers the holes it was given while it trained."""

    def __init__(self) -> None:
        super().__init__(channels=(4, 6), kernels=(3, 3))
        self.given: list[Tensor] = []

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        self.given.append(hole)
        return super().forward(image, hole)


def mined(
    network: UNet, name: str, *stages: Budget, **options: Any
) -> tuple[Any, MaskGenerator]:
    miner = MaskGenerator((4, 6), (1, 2))
    stages = stages or (Budget(3, 4, 32),)
    history = mining.train_mining(network, miner, name, stages, rate=1e-3, **options)
    return history, miner


def test_mining_trains_both_and_says_what_happened():
    network, count = Noted(), 6
    history, miner = mined(network, "a", Budget(count, 4, 32))
    assert history.steps == count
    parts = ("hole", "score", "area", "mined", "random")
    assert {
        name: len(values) for name, values in history.losses.items()
    } == dict.fromkeys(parts, count)
    begun = tiny(), MaskGenerator((4, 6), (1, 2))
    torch.manual_seed(0)
    begun[1].reset_parameters()
    runs.initialise(begun[0])
    for now, before in zip((network, miner), begun, strict=True):
        assert all(
            not torch.equal(p, q)
            for p, q in zip(now.parameters(), before.parameters(), strict=True)
        )
    areas = [float(holes.ratio(check_hole(hole)).mean()) for hole in network.given]
    assert history.losses["area"] == pytest.approx(areas)
    means = torch.tensor([history.losses["mined"], history.losses["random"]]).mean(0)
    assert history.losses["hole"] == pytest.approx(means.tolist())


def random_holes(count: int, size: int = 32, batch: int = 4) -> list[Tensor]:
    stage = Budget(count, batch, size)
    stream = runs.training_batches(stage, torch.Generator().manual_seed(0))
    return [next(stream)[1] for _ in range(count)]


def test_half_of_the_holes_are_mined_at_the_areas_of_those_they_replace():
    network = Noted()
    mined(network, "half")
    for given, drawn in zip(network.given, random_holes(3), strict=True):
        assert torch.equal(holes.ratio(given), holes.ratio(drawn))
        assert torch.equal(given[2:], drawn[2:])
        assert (given[:2] != drawn[:2]).any((1, 2, 3)).all()


def mined_counts(network: Noted, count: int) -> list[int]:
    pairs = zip(network.given, random_holes(count), strict=True)
    return [int((a != b).any(1).any(1).any(1).sum()) for a, b in pairs]


@pytest.mark.filterwarnings("error::UserWarning")  # torch's, for means of nothing
@pytest.mark.parametrize(("share", "kinds"), [(0.0, {"random"}), (1.0, {"mined"})])
def test_all_holes_can_be_of_one_kind(share: float, kinds: set[str]):
    network = Noted()
    history, _ = mined(network, "one kind", share=share)
    assert set(history.losses) == {"hole", "score", "area"} | kinds
    assert mined_counts(network, 3) == [round(4 * share)] * 3


def test_a_curriculum_begins_with_mined_holes_and_ends_without():
    network = Noted()
    mined(network, "curriculum", Budget(10, 4, 32), share=(1.0, 0.0))
    counts = mined_counts(network, 10)
    assert counts[0] == 4
    assert counts[-1] <= 1
    assert sum(counts) == pytest.approx(22, abs=5)  # 4 * (1 + .9 + ... + .1)


def test_a_share_between_whole_pictures_is_right_on_average():
    draw = torch.Generator().manual_seed(0)
    counts = [mining._how_many(0.3, 0.5, 4, draw) for _ in range(300)]
    assert set(counts) == {1, 2}
    assert sum(counts) / 300 == pytest.approx(1.2, abs=0.1)


def test_the_hardest_holes_are_where_the_predictable_ones_are_not():
    easy, hard = Noted(), Noted()
    stage = Budget(1, 4, 32)
    mined(easy, "easy", stage, share=1.0, noise=0.0)
    mined(hard, "hard", stage, share=1.0, noise=0.0, hardest=True)
    both = easy.given[0] * hard.given[0]
    small = holes.ratio(easy.given[0]) <= 0.5
    assert small.any()
    assert (both[small] == 0).all()
    assert torch.equal(holes.ratio(easy.given[0]), holes.ratio(hard.given[0]))


def test_mining_depends_on_the_seed_alone_and_resumes_exactly(monkeypatch):
    stages, whole = (Budget(3, 4, 16), Budget(2, 2, 32)), runs.training_batches
    options = {"share": (1.0, 0.3)}
    torch.manual_seed(4)
    first = tiny()
    history, miner = mined(first, "first", *stages, **options)

    def cut(*stage: Any, **kinds: bool) -> Iterator[runs.Batch]:
        for number, batch in enumerate(whole(*stage, **kinds)):
            if number == 1:
                signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr(runs, "training_batches", cut)
    torch.manual_seed(5)
    with pytest.raises(SystemExit, match="second: stopped at step 2; call again"):
        mined(tiny(), "second", *stages, **options)
    monkeypatch.setattr(runs, "training_batches", whole)
    again = tiny()
    resumed, miner_again = mined(again, "second", *stages, **options)
    assert resumed.losses == history.losses
    assert torch.equal(weights(again), weights(first))
    assert torch.equal(weights(miner_again), weights(miner))
    other, _ = mined(tiny(), "other", *stages, **options, seed=1)
    assert other.losses != history.losses


def test_a_frozen_network_is_measured_and_left_as_it_is():
    network = tiny().requires_grad_(False)
    before = weights(network)
    history, _ = mined(network, "frozen", share=0.0)
    assert torch.equal(weights(network), before)
    assert not network.training
    assert history.losses["score"][0] != history.losses["score"][-1]
    learning = tiny()
    learning.load_state_dict(network.state_dict())
    mined(learning, "going on", Budget(1, 4, 32), anew=False)
    for now, begun in zip(learning.parameters(), network.parameters(), strict=True):
        assert torch.allclose(now, begun, atol=2e-3)  # one step at most


def test_mining_can_be_watched_and_charges_for_reads():
    shape = {"channels": (4, 6), "kernels": (3, 3)}
    networks = [UNet(DeformableSampling2d, **shape) for _ in range(2)]
    seen: list[int] = []
    for network, charge in zip(networks, (None, {"length": 5.0}), strict=True):
        mined(
            network,
            f"charged {charge}",
            sampling=charge,
            watch=lambda step, miner: seen.append(step),
        )
    assert seen == [1, 2, 3] * 2
    assert not torch.equal(*map(weights, networks))


def test_an_objective_trains_the_miner_alone():
    network, miner = tiny(), MaskGenerator((4, 6), (1, 2))
    before = weights(network)

    def lower(score: Tensor, image: Tensor, given: torch.nn.Module) -> Tensor:
        assert given is network
        assert not given.training
        return score.mean()

    history = mining.train_by(
        lower, miner, network, "by", (Budget(5, 2, 16),), rate=1e-2
    )
    assert torch.equal(weights(network), before)
    assert history.losses["loss"][-1] < history.losses["loss"][0]


def test_naive_objectives_have_slopes_of_different_terms():
    """All charge for errors; some ask the network, compare, look inside."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 32, 32, generator=draw)
    score = torch.randn(2, 1, 32, 32, generator=draw, requires_grad=True)
    network = UNet(channels=(4, 6), kernels=(3, 3)).eval()
    slopes = {
        name: torch.autograd.grad(objective(score, image, network), score)[0]
        for name, objective in generators.NAIVE.items()
    }
    assert all(slope.abs().sum() > 0 for slope in slopes.values())
    for one, other in itertools.combinations(slopes.values(), 2):
        assert not torch.allclose(one, other)
    hole = mined_holes(score, mining.AREA)
    with torch.no_grad():
        error = (network(image, hole) - image).abs().mean(1, keepdim=True)
    usual = (error * hole).sum((1, 2, 3), keepdim=True) / hole.sum((1, 2, 3))[0]
    sure = (error - usual).abs() > 1e-3
    assert (slopes["no slope"] <= 0).all()  # errors are never below 0: all scores rise
    uphill = (slopes["no slope, less the mean"] * (error - usual))[sure]
    assert (uphill < 0).all()  # a lower score hides: worse ones than usual rise
    uphill = (slopes["inside"] * (error - usual))[sure & hole.bool()]
    assert (uphill < 0).all()
    assert not slopes["inside"][hole == 0].any()


def test_a_miner_is_judged_by_who_chose_the_holes(monkeypatch: pytest.MonkeyPatch):
    """Of one that knows where pictures are flat: mined, then shuffled, then hardest."""
    small = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    flat = torch.zeros(8, 1, 32, 32)
    for k in range(8):
        flat[k, :, 4 * k : 4 * k + 14] = 1
    small = torch.where(flat == 1, 0.5, small)

    class Knows(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return (image - 0.5).abs().mean(1, keepdim=True)

    class Grey(torch.nn.Module):
        def forward(self, image: Tensor, hole: Tensor) -> Tensor:
            return torch.full_like(image, 0.5)

    monkeypatch.setattr(mining.photos, "squares", lambda *_: small)
    monkeypatch.setattr(mining.zoo, "load", lambda _: Grey())
    monkeypatch.setattr(mining, "oracle", lambda: Knows()(small))
    drawn = holes.rectangles(24, 32, torch.Generator().manual_seed(1))
    monkeypatch.setattr(mining, "_irregular", lambda count, seed: drawn[:count])
    found = mining.miner_facts(Knows())  # type: ignore[arg-type]
    assert found["mined"] == found["oracle"] < found["noisy"] < found["shuffled"]
    assert found["shuffled"] < found["hardest"]
    assert found["mined"] < found["random"]
    assert 0 < found["overlap"] < found["again"] <= 1


def test_the_rungs_are_of_equal_size():
    sizes = [
        sum(p.numel() for p in zoo.build(form.plan).parameters())
        for form in rungs.LADDER.values()
    ]
    assert max(sizes) < 1.02 * min(sizes)


def test_what_is_kept_for_the_way_back_is_counted_once_and_without_parameters():
    x = torch.ones(250_000, requires_grad=True)  # 1 MB
    weight = torch.nn.Parameter(torch.ones(250_000))
    assert rungs.kept_mb(lambda: x.exp()) == 1  # its result
    assert rungs.kept_mb(lambda: (x.exp() * weight).sum()) == 1
    assert rungs.kept_mb(lambda: x + 1) == 0
    assert rungs.kept_mb(lambda: (x.exp(), x.exp())) == 2


def test_a_step_of_each_rung_can_be_timed():
    for rung in ("partial", "+ mined holes"):
        assert rungs.kept_mb(rungs.training_step(rungs.LADDER[rung])) > 1
