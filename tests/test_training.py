"""The loop: what it records, how it stops, and that it goes on exactly."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from course_lib import training
from course_lib.training import TrainingError, fit


class Setup:
    """A tiny training with everything that has a state."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        )
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.05)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda k: 1 / (1 + k)
        )
        self.generator = torch.Generator().manual_seed(0)
        self.calls = 0

    @property
    def state(self) -> dict:
        names = ("network", "optimizer", "schedule", "generator")
        return {name: getattr(self, name) for name in names}

    def batches(self) -> Iterator[Tensor]:
        while True:
            yield torch.rand(8, 3, generator=self.generator)

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        loss = (self.network(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss.detach(), "double": 2 * loss.detach()}

    def fit(self, steps: int, checkpoint: Path | None = None, **options):
        options = {"state": self.state, "progress": False} | options
        return fit(
            options.pop("step", self.step),
            options.pop("batches", self.batches()),
            steps=steps,
            checkpoint=checkpoint,
            **options,
        )

    def everything(self) -> list[Tensor]:
        """All numbers that training changes, moments and counters included."""
        found = list(self.network.state_dict().values())
        for entry in self.optimizer.state_dict()["state"].values():
            found += [entry[key] for key in sorted(entry)]
        rate = torch.tensor(self.optimizer.param_groups[0]["lr"], dtype=torch.float64)
        return [*found, rate, self.generator.get_state()]


def same(one: Setup, two: Setup) -> bool:
    pairs = zip(one.everything(), two.everything(), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def plain(step, batches: Iterator, steps: int = 3, **options) -> training.History:
    return fit(step, batches, steps=steps, progress=False, **options)


# ------------------------------------------------------------------------- what it does


def test_losses_and_steps_are_recorded_in_order():
    numbers = iter(range(10))
    history = plain(lambda k: {"a": torch.tensor(k * 1.0), "b": k + 0.5}, numbers)
    assert history.losses == {"a": [0, 1, 2], "b": [0.5, 1.5, 2.5]}
    assert (history.steps, history.interrupted) == (3, False)
    assert next(numbers) == 3  # not one batch more than needed


def test_the_loop_is_the_plain_loop():
    ours, theirs = Setup(), Setup()
    history = ours.fit(5)
    losses = [
        theirs.step(next(batch))["loss"].item() for batch in [theirs.batches()] * 5
    ]
    assert history.losses["loss"] == losses
    assert same(ours, theirs)


def test_steps_are_counted_whatever_the_step_returns():
    calls = []

    def alternate(k: int) -> dict[str, float]:
        calls.append(k)
        return [{"critic": 1.0}, {"painter": 2.0}, {}][k % 3]

    history = plain(alternate, iter(range(100)), steps=6)
    assert calls == list(range(6))
    assert history.steps == 6
    assert history.losses == {"critic": [1, 1], "painter": [2, 2]}


def test_no_steps_do_nothing():
    assert plain(None, iter(()), steps=0).losses == {}


def test_waiting_and_working_are_measured():
    def slow() -> Iterator[int]:
        while True:
            time.sleep(0.02)
            yield 0

    def working(_: int) -> dict[str, float]:
        time.sleep(0.01)
        return {"loss": 0.0}

    history = plain(working, slow())
    assert 0.06 <= history.waiting <= history.seconds - 0.03


def test_progress_is_shown_with_the_losses(capsys: pytest.CaptureFixture):
    fit(lambda _: {"loss": 0.1234}, iter(range(99)), steps=20, progress=True)
    assert "loss=0.1234" in capsys.readouterr().err
    plain(lambda _: {"loss": 0.1234}, iter(range(99)), steps=20)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------- resuming


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path):
    whole = Setup()
    expected = whole.fit(9)
    first = Setup()

    def step(batch: Tensor) -> dict[str, Tensor]:
        if first.calls == 3:
            signal.raise_signal(signal.SIGINT)  # in the midst of the fourth step
        return first.step(batch)

    stopped = first.fit(9, tmp_path / "run.pt", step=step)
    assert stopped.interrupted
    assert stopped.steps == first.calls == 4  # the running step was finished
    second = Setup()
    torch.rand(5, generator=second.generator)
    second.step(torch.rand(8, 3))  # whatever it was, it is replaced
    resumed = second.fit(9, tmp_path / "run.pt")
    assert resumed.losses == expected.losses
    assert (resumed.steps, resumed.interrupted) == (9, False)
    assert second.calls == 1 + 5
    assert same(second, whole)
    assert resumed.seconds > stopped.seconds


def test_a_kill_between_checkpoints_goes_on_from_the_last(tmp_path: Path):
    whole, killed = Setup(), Setup()
    expected = whole.fit(8)

    def step(batch: Tensor) -> dict[str, Tensor]:
        if killed.calls == 7:
            raise MemoryError
        return killed.step(batch)

    with pytest.raises(MemoryError):
        killed.fit(8, tmp_path / "run.pt", step=step, every=3)
    second = Setup()
    resumed = second.fit(8, tmp_path / "run.pt")
    assert second.calls == 2  # 6 of 8 were saved
    assert resumed.losses == expected.losses
    assert same(second, whole)


def test_a_second_stage_goes_on_and_a_finished_one_does_nothing(tmp_path: Path):
    whole, staged = Setup(), Setup()
    whole.fit(6)
    staged.fit(4, tmp_path / "run.pt")
    stored = torch.load(tmp_path / "run.pt")
    stored["history"]["seconds"] += 100
    torch.save(stored, tmp_path / "run.pt")
    history = staged.fit(6, tmp_path / "run.pt")
    assert same(staged, whole)
    assert 100 < history.seconds < 150
    assert staged.fit(6, tmp_path / "run.pt").losses == history.losses
    assert staged.calls == 6


def test_a_checkpoint_is_swapped_in_whole(tmp_path: Path, monkeypatch):
    first = Setup()
    first.fit(2, tmp_path / "deep" / "run.pt")
    before = (tmp_path / "deep" / "run.pt").read_bytes()

    def half(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        first.fit(4, tmp_path / "deep" / "run.pt")
    assert (tmp_path / "deep" / "run.pt").read_bytes() == before


@pytest.mark.parametrize("damage", ["junk", "cut", "other", "old"])
def test_a_checkpoint_that_cannot_be_read_says_so(tmp_path: Path, damage: str):
    path = tmp_path / "run.pt"
    Setup().fit(2, path)
    if damage == "junk":
        path.write_bytes(b"junk")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "other":
        stored = torch.load(path)
        stored["state"]["network"] = nn.Linear(2, 2).state_dict()
        torch.save(stored, path)
    else:
        stored = torch.load(path)
        del stored["history"]["steps"]
        torch.save(stored, path)
    with pytest.raises(TrainingError) as caught:
        Setup().fit(4, path)
    for part in ("run.pt cannot be resumed", "Delete it to start again"):
        assert part in str(caught.value)


# ---------------------------------------------------------------------------- stopping


def test_an_interrupt_leaves_a_usable_network_and_the_usual_handler():
    before = signal.getsignal(signal.SIGINT)
    setup = Setup()

    def step(batch: Tensor) -> dict[str, Tensor]:
        signal.raise_signal(signal.SIGINT)
        return setup.step(batch)

    history = setup.fit(5, step=step)
    assert (history.steps, history.interrupted, len(history.losses["loss"])) == (
        1,
        True,
        1,
    )
    assert setup.network(torch.rand(8, 3)).isfinite().all()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_stops_at_once_and_saves_no_half_step(tmp_path: Path):
    setup = Setup()

    def step(batch: Tensor) -> dict[str, Tensor]:
        if setup.calls == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("went on")
        return setup.step(batch)

    history = setup.fit(5, tmp_path / "run.pt", step=step, every=2)
    assert (history.steps, history.interrupted) == (2, True)
    again = Setup()
    again.fit(5, tmp_path / "run.pt")
    whole = Setup()
    whole.fit(5)
    assert same(again, whole)


def test_an_interrupt_while_waiting_for_data_stops_after_that_step():
    def batches() -> Iterator[int]:
        yield 0
        signal.raise_signal(signal.SIGINT)
        yield 1
        raise AssertionError("asked for more")

    history = plain(lambda _: {"loss": 0.0}, batches(), steps=5)
    assert (history.steps, history.interrupted) == (2, True)


def test_outside_the_main_thread_it_trains_too():
    found = []
    work = lambda: found.append(plain(lambda _: {"loss": 1.0}, iter(range(9))))  # noqa: E731
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].steps == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_named_and_not_recorded(tmp_path: Path, bad: float):
    path, recorded = tmp_path / "run.pt", []

    def step(k: int) -> dict[str, float]:
        recorded.append(k)
        return {"fine": 1.0, "critic": bad if k == 3 else 1.0}

    with pytest.raises(TrainingError) as caught:
        plain(step, iter(range(9)), 9, checkpoint=path, every=2)
    for part in ("step 4: critic is not finite", "learning rate", "empty hole"):
        assert part in str(caught.value)
    stored = torch.load(path)["history"]
    assert stored["losses"] == {"fine": [1, 1], "critic": [1, 1]}


def test_batches_that_end_are_reported():
    with pytest.raises(TrainingError, match="ended after 2 steps; give an iterator"):
        plain(lambda _: {"loss": 0.0}, iter(range(2)))
