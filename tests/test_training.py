"""The loop: what it records, how it stops, and that it goes on exactly."""

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib import training
from course_lib.session import start
from course_lib.training import History, TrainingError, fit

each_ahead = pytest.mark.parametrize("ahead", [0, 1, 3])


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if type(thread).__name__ != "TMonitor"] == []


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


@each_ahead
def test_the_loop_is_the_plain_loop(ahead: int):
    ours, theirs = Setup(), Setup()
    history = ours.fit(5, ahead=ahead)
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


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (
            None,
            r'the step returned NoneType: return a dict of losses, such as \{"loss"',
        ),
        (torch.ones(()), "the step returned Tensor"),
        (
            {"a": 1.0, "b": torch.ones(3)},
            r"the loss 'b' has the shape \(3,\).*mean\(\)",
        ),
    ],
)
def test_a_step_that_returns_no_losses_is_told_so(returned: object, says: str):
    with pytest.raises(TrainingError, match=says):
        plain(lambda _: returned, iter(range(9)))


def test_losses_of_any_kind_are_read_exactly_and_with_one_wait():
    class Waits(TorchDispatchMode):
        """Counts the numbers asked for one by one: a GPU is waited for each time."""

        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    one, tenth = torch.tensor([1.0]), torch.tensor(0.1, dtype=torch.float64)
    losses = {"z": one, "half": torch.tensor(0.75).bfloat16(), "a": tenth, "n": 2}
    with Waits() as waits:
        history = plain(lambda _: losses, iter(range(9)))
    assert history.losses == {
        "z": [1.0] * 3,
        "half": [0.75] * 3,
        "a": [0.1] * 3,
        "n": [2.0] * 3,
    }
    assert list(history.losses) == list(losses)
    assert waits.count == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"every": 0}, "every=0: steps between two checkpoints, at least 1"),
        ({"state": {"w": nn.Parameter(torch.ones(1))}}, r"state\['w'\] is a Parameter"),
        ({"state": {"rate": 0.1}}, r"state\['rate'\] is a float: give networks"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_the_first_step(options, says):
    steps: list[int] = []
    with pytest.raises(TrainingError, match=says):
        plain(lambda k: steps.append(k) or {}, iter(range(9)), **options)
    assert steps == []


def test_a_checkpoint_may_be_named_by_a_string(tmp_path: Path):
    Setup().fit(2, str(tmp_path / "run.pt"))
    assert Setup().fit(2, tmp_path / "run.pt").steps == 2


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


def test_the_history_says_where_the_time_went_and_its_repr_no_digits():
    history = History({"loss": [1.0] * 600}, 600, 41.0, 0.82, goal=600)
    assert history.waiting_share == pytest.approx(0.02)
    assert str(history) == "600 steps in 41 s, 2 % of it waiting for data"
    assert repr(history) == "History(600 steps of loss)"
    short = History({}, 3, 2.34, 0, interrupted=True, goal=9)
    assert str(short).startswith("interrupted after 3 of 9: 3 steps in 2.3 s, 0 %")
    assert "in 12 min" in str(History(seconds=700.0))
    assert "in 3.0 h" in str(History(seconds=10800.0))
    assert History().waiting_share == 0
    fresh = plain(lambda _: {"a": 1.0, "b": 2.0}, iter(range(9)))
    assert (repr(fresh), fresh.goal) == ("History(3 steps of a, b)", 3)


# ---------------------------------------------------------------------------- progress


def counted(goal: int, **options) -> History:
    return fit(lambda _: {"loss": 0.1234}, iter(range(999)), steps=goal, **options)


def test_a_log_gets_about_ten_plain_lines_and_a_summary(capsys: pytest.CaptureFixture):
    history = counted(200)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [
        f"{20 * k}/200" for k in range(1, 11)
    ]
    assert lines[4].startswith("step 100/200  loss 0.1234  ")
    assert " it/s  waiting " in lines[4]
    assert lines[-1] == str(history)


def test_a_slow_training_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(training, "LINE_PAUSE", 0.0)
    counted(31)
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 31 + 1
    assert "\r" not in captured.err
    assert captured.out == ""


def test_a_terminal_gets_a_bar_that_goes_away(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    slow = lambda _: time.sleep(0.03) or {"loss": 0.1234}  # noqa: E731
    fit(slow, iter(range(9)), steps=9)
    shown = capsys.readouterr().err
    assert "\r" in shown
    assert "loss=0.1234" in shown
    assert "step" not in shown
    assert shown.endswith("\r")


def test_nothing_is_shown_when_it_is_not_wanted(capsys, monkeypatch):
    counted(20, progress=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    counted(20, progress=False)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------- resuming


@each_ahead
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, ahead: int):
    whole = Setup()
    expected = whole.fit(9)
    first = Setup()

    def step(batch: Tensor) -> dict[str, Tensor]:
        if first.calls == 3:
            signal.raise_signal(signal.SIGINT)  # in the midst of the fourth step
        return first.step(batch)

    stopped = first.fit(9, tmp_path / "run.pt", step=step, ahead=ahead)
    assert stopped.interrupted
    assert stopped.steps == first.calls == 4  # the running step was finished
    second = Setup()
    torch.rand(5, generator=second.generator)
    second.step(torch.rand(8, 3))  # whatever it was, it is replaced
    resumed = second.fit(9, tmp_path / "run.pt", ahead=ahead)
    assert resumed.losses == expected.losses
    assert (resumed.steps, resumed.interrupted) == (9, False)
    assert second.calls == 1 + 5
    assert same(second, whole)
    assert resumed.seconds > stopped.seconds


@each_ahead
def test_a_kill_between_checkpoints_goes_on_from_the_last(tmp_path: Path, ahead: int):
    whole, killed = Setup(), Setup()
    expected = whole.fit(8)

    def step(batch: Tensor) -> dict[str, Tensor]:
        if killed.calls == 7:
            raise MemoryError
        return killed.step(batch)

    with pytest.raises(MemoryError):
        killed.fit(8, tmp_path / "run.pt", step=step, every=3, ahead=ahead)
    second = Setup()
    resumed = second.fit(8, tmp_path / "run.pt")
    assert second.calls == 2  # 6 of 8 were saved
    assert resumed.losses == expected.losses
    assert same(second, whole)


def test_a_second_stage_goes_on_and_a_finished_one_does_nothing(tmp_path: Path):
    whole, staged = Setup(), Setup()
    whole.fit(6)
    staged.fit(4, tmp_path / "run.pt", ahead=2)
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


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["network"], "it holds generator, optimizer, schedule as well"),
        (
            ["network", "optimizer", "schedule", "noise"],
            "it holds generator as well and it holds no noise",
        ),
    ],
)
def test_a_checkpoint_with_other_names_is_refused_and_kept(tmp_path, names, says):
    path = tmp_path / "run.pt"
    Setup().fit(2, path)
    stored, second = path.read_bytes(), Setup()
    before = weights_of(second)
    every = second.state | {"noise": torch.Generator()}
    state = {name: every[name] for name in names}
    with pytest.raises(TrainingError, match=rf"run\.pt cannot be resumed.*{says}"):
        second.fit(3, path, state=state)
    assert path.read_bytes() == stored
    assert all(map(torch.equal, weights_of(second), before))


def weights_of(setup: Setup) -> list[Tensor]:
    return [value.clone() for value in setup.network.state_dict().values()]


def test_a_refused_checkpoint_changes_nothing_of_the_state(tmp_path: Path):
    path, sizes = tmp_path / "run.pt", (3, 2)
    first = {"a": Setup().network, "b": nn.Linear(2, 2)}
    plain(lambda _: {}, iter(range(9)), state=first, checkpoint=path)
    setup, untouched = Setup(), Setup()
    for each in (setup, untouched):
        each.step(torch.ones(8, 3))
    state = {"a": setup.network, "b": nn.Linear(*sizes)}
    with pytest.raises(TrainingError, match="size mismatch"):
        plain(None, iter(()), 9, state=state, checkpoint=path)
    assert same(setup, untouched)


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


def test_a_loss_that_is_no_number_puts_the_last_good_state_back(tmp_path: Path):
    good, setup = Setup(), Setup()
    good.fit(4)

    def step(batch: Tensor) -> dict[str, Tensor]:
        losses = setup.step(batch if setup.calls < 5 else batch * math.nan)
        return losses

    with pytest.raises(TrainingError, match=r"step 6: loss.*as it was after step 4"):
        setup.fit(9, tmp_path / "run.pt", step=step, every=2, ahead=2)
    assert same(setup, good)
    with pytest.raises(TrainingError, match=r"empty hole$"):
        setup.fit(9, step=lambda _: {"loss": math.nan})


# ------------------------------------------------------------------ batches drawn ahead


def test_the_thread_draws_while_the_step_computes():
    def slow() -> Iterator[int]:
        while True:
            time.sleep(0.02)
            yield 0

    def working(_: int) -> dict[str, float]:
        time.sleep(0.03)
        return {"loss": 0.0}

    alone, ahead = (plain(working, slow(), 8, ahead=ahead) for ahead in (0, 2))
    assert alone.waiting > 0.15
    assert ahead.waiting < alone.waiting / 2


def test_the_thread_draws_no_batch_that_is_not_needed():
    numbers = iter(range(10))
    assert plain(lambda k: {"a": k}, numbers, 4, ahead=3).losses == {"a": [0, 1, 2, 3]}
    assert next(numbers) == 4


def test_the_thread_is_never_further_ahead_than_it_may_be():
    drawn, seen = [], []

    def batches() -> Iterator[int]:
        for k in range(99):
            drawn.append(k)
            yield k

    def step(k: int) -> dict[str, float]:
        time.sleep(0.01)
        seen.append(len(drawn) - k - 1)
        return {"loss": 0.0}

    plain(step, batches(), 12, ahead=2)
    assert max(seen) == 2


@each_ahead
def test_a_generator_of_the_step_is_stored_as_the_step_left_it(tmp_path, ahead: int):
    def run(steps: int, path: Path | None = None) -> tuple[Setup, torch.Generator]:
        setup, noise = Setup(), torch.Generator().manual_seed(1)
        state = setup.state | {"noise": noise}

        def step(batch: Tensor) -> dict[str, Tensor]:
            time.sleep(0.002)  # let the thread get ahead
            return setup.step(batch + torch.rand(8, 3, generator=noise))

        setup.fit(steps, path, step=step, state=state, ahead=ahead)
        return setup, noise

    whole, expected = run(7)
    run(3, tmp_path / "run.pt")
    resumed, noise = run(7, tmp_path / "run.pt")
    assert same(resumed, whole)
    assert torch.equal(noise.get_state(), expected.get_state())


def test_generators_are_left_as_after_the_last_batch_that_was_used():
    setup, plainly = Setup(), Setup()

    def step(batch: Tensor) -> dict[str, Tensor]:
        if setup.calls == 2:
            time.sleep(0.02)
            signal.raise_signal(signal.SIGINT)
        return setup.step(batch)

    assert setup.fit(50, step=step, ahead=4).steps == 3
    plainly.fit(3)
    assert torch.equal(setup.generator.get_state(), plainly.generator.get_state())


@each_ahead
def test_batches_that_fail_or_end_are_a_training_error(ahead: int):
    def failing() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("no such photo")

    step = lambda _: {"loss": 0.0}  # noqa: E731
    with pytest.raises(
        TrainingError, match="after 2 steps: OSError: no such"
    ) as caught:
        plain(step, failing(), 5, ahead=ahead)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(TrainingError, match="ended after 2 steps"):
        plain(step, iter(range(2)), 5, ahead=ahead)


def test_a_step_that_fails_leaves_no_thread():
    def slow() -> Iterator[int]:
        for k in range(99):
            time.sleep(0.1 * (k > 0))  # the thread is in here when the step fails
            yield k

    with pytest.raises(ZeroDivisionError):
        plain(lambda _: 1 / 0, slow(), 9, ahead=2)  # see no_thread_is_left


# --------------------------------------------------------------------------- Accelerate


def stand_in(**facts) -> SimpleNamespace:
    """What ``fit`` reads of an accelerator, for devices that are not here."""
    usual = {"device": torch.device("cpu"), "is_main_process": True, "scaler": None}
    found = usual | facts
    return SimpleNamespace(**found, unwrap_model=lambda value, **_: value)


def test_batches_come_to_the_device_whatever_their_shape():
    def step(batch: dict) -> dict[str, float]:
        image, (hole, name) = batch["pair"]
        assert image.device.type == hole.device.type == "meta"
        assert name == "ibex"
        return {"loss": 0.0}

    batch = {"pair": (torch.ones(1, 3, 4, 4), [torch.ones(1, 1, 4, 4), "ibex"])}
    meta = stand_in(device=torch.device("meta"))
    assert plain(step, iter([batch] * 3), accelerator=meta).steps == 3


def test_batches_are_drawn_ahead_only_where_another_device_computes():
    threads = []
    step = lambda _: threads.append(threading.active_count()) or {}  # noqa: E731
    batches = lambda: iter(torch.ones(99, 1))  # noqa: E731
    before = threading.active_count()
    plain(step, batches(), 1, accelerator=stand_in())
    plain(step, batches(), 9, accelerator=stand_in(device=torch.device("meta")))
    assert threads[0] == before
    assert max(threads) == before + 1


class Counted:
    """Batches that count what was drawn of them, as ``datasets.Batches`` does."""

    def __init__(self) -> None:
        self.taken = 0

    def __next__(self) -> int:
        self.taken += 1
        return self.taken

    def state_dict(self) -> dict[str, int]:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.taken = state["taken"]


def test_batches_that_are_resumed_themselves_are_not_drawn_ahead(tmp_path: Path):
    seen: list[int] = []

    def step(k: int) -> dict[str, float]:
        seen.append(k)
        if k == 3:
            time.sleep(0.02)  # a thread would get ahead
            signal.raise_signal(signal.SIGINT)
        return {"loss": 0.0}

    def run(**options) -> History:
        batches = Counted()
        state, path = {"batches": batches}, tmp_path / "run.pt"
        meta = stand_in(device=torch.device("meta"))
        options |= {"state": state, "checkpoint": path, "accelerator": meta}
        return plain(step, batches, 8, **options)

    assert run().interrupted
    assert run(ahead=0).steps == 8
    assert seen == list(range(1, 9))
    with pytest.raises(TrainingError, match=r"ahead=2, and the batches are in state"):
        run(ahead=2)


def test_only_the_main_process_writes_shows_and_looks(tmp_path: Path, capsys):
    other, looks = stand_in(is_main_process=False), []
    path = tmp_path / "run.pt"
    options = {"accelerator": other, "checkpoint": path, "watch": looks.append}
    assert counted(20, **options).steps == 20
    assert (path.exists(), looks, capsys.readouterr().err) == (False, [], "")


def test_the_loss_scaler_is_part_of_the_checkpoint(tmp_path: Path):
    def setup(scale: float) -> tuple[Setup, torch.amp.GradScaler]:
        return Setup(), torch.amp.GradScaler("cpu", init_scale=scale)

    first, scaler = setup(64.0)
    first.fit(2, tmp_path / "run.pt", accelerator=stand_in(scaler=scaler))
    second, scaler = setup(1024.0)
    second.fit(3, tmp_path / "run.pt", accelerator=stand_in(scaler=scaler))
    assert scaler.get_scale() == 64


def test_a_wrapped_network_is_stored_by_its_own_names(tmp_path: Path):
    setup = Setup()
    here = training.accelerator("cpu", "bf16")
    wrapped = nn.DataParallel(here.prepare(setup.network))
    state = {"network": wrapped}
    setup.fit(2, tmp_path / "run.pt", state=state, accelerator=here)
    stored = torch.load(tmp_path / "run.pt")["state"]["network"]
    nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).load_state_dict(
        stored
    )
    setup.fit(3, tmp_path / "run.pt", state=state, accelerator=here)
    assert wrapped.module is setup.network


class Mixed(Setup):
    """The same training through Accelerate, in a precision."""

    def __init__(self, precision: str) -> None:
        super().__init__()
        self.accelerator = training.accelerator("cpu", precision)
        self.optimizer = self.accelerator.prepare(self.optimizer)
        self.inside: set[torch.dtype] = set()

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        with self.accelerator.autocast():
            made = self.network(batch)
            self.inside.add(made.dtype)
            loss = (made - batch.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        return {"loss": loss}

    def fit(self, steps: int, checkpoint: Path | None = None, **options):
        return super().fit(steps, checkpoint, accelerator=self.accelerator, **options)


def test_without_mixed_precision_it_is_the_plain_training():
    ours, theirs = Mixed("no"), Setup()
    del theirs.schedule
    theirs.schedule = torch.optim.lr_scheduler.LambdaLR(theirs.optimizer, lambda _: 1)
    ours.fit(6)
    theirs.fit(6)
    assert ours.inside == {torch.float32}
    assert same(ours, theirs)


def test_mixed_precision_computes_in_half_and_learns_the_same():
    half, full = Mixed("bf16"), Mixed("no")
    losses = full.fit(40).losses["loss"]
    half = Mixed("bf16")
    found = half.fit(40).losses["loss"]
    assert half.inside == {torch.bfloat16}
    assert full.inside == {torch.float32}
    assert {p.dtype for p in half.network.parameters()} == {torch.float32}
    assert found != losses
    assert found == pytest.approx(losses, rel=0.1, abs=0.02)
    assert half.network(torch.rand(8, 3)).dtype == torch.float32  # not wrapped


@each_ahead
def test_mixed_precision_resumes_exactly(tmp_path: Path, ahead: int):
    whole = Mixed("bf16")
    expected = whole.fit(9)
    Mixed("bf16").fit(4, tmp_path / "run.pt", ahead=ahead)
    second = Mixed("bf16")
    assert second.fit(9, tmp_path / "run.pt", ahead=ahead).losses == expected.losses
    assert same(second, whole)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({}, "no")],
)
def test_auto_is_half_where_the_processor_multiplies_in_it(
    monkeypatch, capabilities: dict, precision: str
):
    known = lambda: capabilities  # noqa: E731
    monkeypatch.setattr(torch.cpu, "get_capabilities", known, raising=False)
    assert training.accelerator(start("00", "ci")).mixed_precision == precision
    assert training.accelerator("cpu", "no").mixed_precision == "no"


def test_what_cannot_be_had_is_refused():
    with pytest.raises(TrainingError, match="choose auto, no, bf16 or fp16"):
        training.accelerator("cpu", "fp8")
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        training.accelerator("cpu", "fp16")
    with pytest.raises(TrainingError, match="no xpu here: Accelerate found"):
        training.accelerator("xpu", "no")


def test_a_gpu_named_by_its_number_is_the_one_that_computes(monkeypatch):
    """With two GPUs that are not here: Accelerate takes the current one."""
    current: list[torch.device] = []
    found = lambda **_: stand_in(device=torch.device("cuda"))  # noqa: E731
    monkeypatch.setattr(training, "Accelerator", found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    training.accelerator("cuda:1", "no")
    training.accelerator("cuda", "no")
    assert current == [torch.device("cuda:1")]
    with pytest.raises(TrainingError, match="no cuda:2 here: torch sees 2 GPUs"):
        training.accelerator("cuda:2", "no")


# ----------------------------------------------------------------------------- watching


def test_watching_changes_no_training():
    def look(history: History) -> None:
        watched.network(torch.rand(64, 3) * 100)  # would move the running mean
        torch.manual_seed(history.steps)
        assert not watched.network.training
        assert not torch.is_grad_enabled()
        seen.append(history.steps)

    def noisy(setup: Setup):  # draws from the global state, as dropout does
        return lambda batch: setup.step(batch + torch.rand(8, 3))

    seen: list[int] = []
    watched, alone = Setup(), Setup()
    for setup, watch in ((watched, look), (alone, None)):
        torch.manual_seed(5)
        setup.network[0].eval()  # a frozen part stays frozen
        training.WATCH_PAUSE, usual = 0.0, training.WATCH_PAUSE
        try:
            setup.fit(6, step=noisy(setup), watch=watch)
        finally:
            training.WATCH_PAUSE = usual
        modes = [module.training for module in setup.network]
        assert modes == [False, True, True]
    assert same(watched, alone)
    assert seen[0] == 0
    assert seen[-1] == 6


class Clock:
    """Time that passes only when it is told to, whatever else the machine does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        here = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(training, "time", here)

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_watching_is_rare_and_always_at_both_ends(monkeypatch):
    clock, seen = Clock(monkeypatch), []

    def look(history: History) -> None:
        seen.append((history.steps, history.losses.get("loss", [])[-1:]))

    def working(_: int) -> dict[str, float]:
        clock.work(0.125)
        return {"loss": 0.5}

    plain(working, iter(range(99)), 10, watch=look)  # every 0.5 s: every fourth step
    assert seen == [(0, []), (4, [0.5]), (8, [0.5]), (10, [0.5])]


def test_a_slow_look_is_taken_seldom(monkeypatch):
    clock, seen = Clock(monkeypatch), []

    def look(history: History) -> None:
        clock.work(0.125)
        seen.append(history.steps)

    def working(_: int) -> dict[str, float]:
        clock.work(0.5)
        return {}

    plain(working, iter(range(99)), 15, watch=look)
    assert seen == [0, 13, 15]  # 0.125 s of looking every 6.25 s


def test_an_interrupted_training_is_looked_at_once_more_a_broken_step_is_not():
    def run(times: int) -> list[tuple[int, bool]]:
        seen: list[tuple[int, bool]] = []

        def step(k: int) -> dict[str, float]:
            for _ in range(times * (k == 2)):
                signal.raise_signal(signal.SIGINT)
            return {"loss": 0.0}

        look = lambda h: seen.append((h.steps, h.interrupted))  # noqa: E731
        plain(step, iter(range(9)), 9, watch=look)
        return seen

    assert run(1) == [(0, False), (3, True)]
    assert run(2) == [(0, False)]
