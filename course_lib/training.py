"""The training loop: progress, checkpoints, interruption; lesson 03 opens it.

A lesson writes its own step; the loop only calls it::

    accelerator = training.accelerator(run)
    network = UNet().to(accelerator.device)
    optimizer = accelerator.prepare(torch.optim.Adam(network.parameters()))

    def step(batch):
        image, hole = batch
        with accelerator.autocast():
            loss = (network(image, hole) - image).abs().mean()
        optimizer.zero_grad(); accelerator.backward(loss); optimizer.step()
        return {"loss": loss}

    state = {"network": network, "optimizer": optimizer, "generator": generator}
    history = fit(step, batches, steps=run.steps, state=state, accelerator=accelerator)
"""

import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import send_to_device
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib.session import Run

Losses = Mapping[str, Tensor]
Watch = Callable[["History"], object]

WATCH_PAUSE = 0.5  # seconds between two looks at the training, at least
WATCH_SHARE = 0.02  # of the time may go into looking
LINE_PAUSE = 10.0  # seconds between two lines in a log, at most
AHEAD = 2  # batches drawn ahead where another device computes


class TrainingError(RuntimeError):
    """Training that cannot go on: a loss that is not finite, a bad checkpoint."""


class _NotFiniteError(TrainingError):
    """A loss that is no number: what the step left behind is of no use."""


@dataclass(repr=False)
class History:
    """What happened: the loss curves, and where the time went.

    ``str(history)`` is the summary "600 steps in 41 s, 2 % of it waiting for data".
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0  # done, those before a resume included
    seconds: float = 0.0
    waiting: float = 0.0  # seconds of it in which the step had to wait for a batch
    interrupted: bool = False
    goal: int = 0  # the steps that were asked for

    @property
    def waiting_share(self) -> float:
        """How much of the time went into waiting for data, between 0 and 1."""
        return self.waiting / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        done = f"{self.steps} steps in {_spoken(self.seconds)}"
        share = f"{self.waiting_share:.0%}".replace("%", " %")
        stopped = f"interrupted after {self.steps} of {self.goal}: "
        return f"{stopped * self.interrupted}{done}, {share} of it waiting for data"

    def __repr__(self) -> str:  # what every machine agrees on: no digits of a loss
        return f"History({self.steps} steps of {', '.join(self.losses) or 'no loss'})"


def accelerator(
    where: Run | torch.device | str = "cpu",
    precision: str = "auto",
    *,
    accumulate: int = 1,
    compiled: bool = False,
) -> Accelerator:
    """Hugging Face's ``Accelerator`` for a run or device.

    ``precision``: ``"no"`` (32 bits), ``"bf16"``, ``"fp16"``, or ``"auto"``: bf16 where
    the hardware multiplies in it (CUDA since Ampere, CPUs with AVX512-BF16 or AMX),
    else no. Weights and optimiser stay in 32 bits; only what runs inside
    ``with accelerator.autocast()`` is computed in half of them.

    ``accumulate``: parts of a batch, one after the other, whose mean gradient makes a
    step, for those ``with accelerator.accumulate(network)``. ``compiled``: what
    ``prepare`` returns of a network is compiled by ``torch.compile`` (inductor).

    Prepare the optimiser (fp16 needs it: the loss is scaled) and move the network with
    ``.to(accelerator.device)``. Preparing the network too would wrap its ``forward``
    for good, so that it stays in half precision after the training; it is needed for
    several processes only, and :func:`fit` stores the network inside then.

    Accelerate keeps one setting a process: a new accelerator replaces the one before.
    ``"cuda:1"`` also becomes torch's current device, the one that Accelerate takes;
    of several processes each has its own, whatever the index.
    Raises ``TrainingError`` where the device or the precision is not to be had.
    """
    device = where.device if isinstance(where, Run) else torch.device(where)
    if precision == "auto":
        precision = "bf16" if _multiplies_bf16(device) else "no"
    if precision not in ("no", "bf16", "fp16"):
        raise TrainingError(f"precision {precision!r}: choose auto, no, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise TrainingError("fp16 needs a GPU; a CPU computes in bf16 or with no")
    if not PartialState._shared_state or not PartialState().use_distributed:
        AcceleratorState._reset_state(reset_partial_state=True)
        _make_current(device)
    made = Accelerator(
        mixed_precision=precision,
        cpu=device.type == "cpu",
        gradient_accumulation_steps=accumulate,
        dynamo_backend="inductor" if compiled else None,
    )
    if made.device.type != device.type:
        raise TrainingError(
            f"no {device.type} here: Accelerate found {made.device.type}"
        )
    return made


def _make_current(device: torch.device) -> None:
    """Accelerate's one process computes on the current GPU: make it the one named."""
    if device.type != "cuda" or device.index is None:
        return
    count = torch.cuda.device_count()
    if device.index >= count:
        raise TrainingError(
            f"no {device} here: torch sees {count} GPUs, from cuda:0 on"
        )
    torch.cuda.set_device(device)


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False


def fit(
    step: Callable[[Any], Losses],
    batches: Iterator[Any],
    *,
    steps: int,
    state: Mapping[str, Any] | None = None,
    checkpoint: Path | str | None = None,
    every: int = 500,
    progress: bool = True,
    accelerator: Accelerator | None = None,
    ahead: int | None = None,
    watch: Watch | None = None,
) -> History:
    """Call ``step(next(batches))`` until ``steps`` are done, and keep the losses.

    ``step`` returns a dict of losses, one number each. ``state`` names everything that
    changes while training (networks, optimisers, random generators). With
    ``checkpoint`` it is saved every ``every`` steps and at the end; if that file
    exists, training goes on from it, and the result equals an uninterrupted run when
    ``batches`` draws only from generators in ``state``.

    With ``accelerator`` each batch is moved to its device, its loss scaler is part of
    the state, and of several processes only the main one shows and writes.

    ``ahead`` batches are drawn by a thread while the step computes; by default 2 where
    the accelerator is not the CPU, else 0, and always 0 where ``batches`` is itself in
    ``state``: it counts what was drawn. The generators that the first batch draws from
    belong to that thread: the step must not use them. They are stored, and left behind,
    as they were after the last batch that was used.

    ``watch(history)`` is called between two steps: before the first, after the last,
    and at most twice a second, so rarely that it takes about a fiftieth of the time.
    Around it networks in ``state`` are in evaluation mode, gradients are off, and
    torch's global random state is put back: watching changes no training.

    Interrupting the kernel stops after the running step, saves, and returns what is
    there; interrupting twice stops at once and saves nothing. Raises
    ``TrainingError`` when a loss is not finite (``state`` falls back to the checkpoint,
    if there is one), when the batches fail or end, when the checkpoint cannot be read
    or has other names (``state`` stays as it was), and for arguments that cannot be.
    """
    main = accelerator is None or accelerator.is_main_process
    state = _checked(state, every)
    ahead = _how_far(ahead, accelerator, any(v is batches for v in state.values()))
    path = None if checkpoint is None else Path(checkpoint)
    store = _Store(path, state, accelerator)
    history = store.load()
    history.goal = steps
    look = _Look(watch if main else None, store.state)
    feed = _Feed(batches, steps - history.steps, ahead, store)
    try:
        with (
            _interruptible(history),
            feed,
            _Progress(history, progress and main) as bar,
        ):
            look(history)
            for batch in feed.until_done(history):
                _note(history, step(batch))
                bar.show()
                look(history)
                if history.steps % every == 0:
                    store.save(history, feed.states)
            store.save(history, feed.states)
            look(history, last=True)
    except _NotFiniteError as error:
        raise TrainingError(f"{error}{store.fall_back()}") from None
    return history


def _checked(state: Mapping[str, Any] | None, every: int) -> dict[str, Any]:
    """A copy of the state, all of which can be stored."""
    if every < 1:
        raise TrainingError(f"every={every}: steps between two checkpoints, at least 1")
    found = dict(state or {})
    for name, value in found.items():
        both = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
        if not (both or isinstance(value, torch.Generator)):
            raise TrainingError(
                f"state[{name!r}] is a {type(value).__name__}: give networks, "
                "optimisers and others with state_dict and load_state_dict, or a "
                "torch.Generator"
            )
    return found


def _how_far(ahead: int | None, accelerator: Accelerator | None, counts: bool) -> int:
    """``counts``: the batches are in the state, which must say what was used."""
    if counts and ahead:
        raise TrainingError(
            f"ahead={ahead}, and the batches are in state: they count what was drawn, "
            "so a resumed training would leave some out. Leave ahead away"
        )
    if counts:
        return 0
    if ahead is not None:
        return ahead
    return AHEAD if accelerator and accelerator.device.type != "cpu" else 0


@contextmanager
def _interruptible(history: History) -> Iterator[None]:
    """Let the first Ctrl-C wait for the end of the step: half a step is no state."""

    def stop(*_: object) -> None:
        if history.interrupted:
            raise KeyboardInterrupt
        history.interrupted = True

    usual = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    try:
        if main:
            signal.signal(signal.SIGINT, stop)
        yield
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        if main and usual is not None:
            signal.signal(signal.SIGINT, usual)


def _note(history: History, losses: Losses) -> None:
    numbers = _numbers(losses)
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise _NotFiniteError(
            f"step {history.steps + 1}: {', '.join(bad)} is not finite. Lower the "
            "learning rate, or look for a division by an empty hole"
        )
    for name, value in numbers.items():
        history.losses.setdefault(name, []).append(value)
    history.steps += 1


def _numbers(losses: Losses) -> dict[str, float]:
    """Plain numbers; a GPU is waited for once, not for each of them."""
    if not isinstance(losses, Mapping):
        raise TrainingError(
            f"the step returned {type(losses).__name__}: return a dict of losses, such "
            'as {"loss": loss}'
        )
    found = {name: torch.as_tensor(v).detach() for name, v in losses.items()}
    for name, value in found.items():
        if value.numel() != 1:
            raise TrainingError(
                f"the loss {name!r} has the shape {tuple(value.shape)}: return one "
                "number, such as its mean()"
            )
    numbers: dict[str, float] = {}
    for device in {value.device for value in found.values()}:
        here = {k: v.reshape(()) for k, v in found.items() if v.device == device}
        listed = torch.stack(list(here.values())).tolist()
        numbers |= dict(zip(here, map(float, listed), strict=True))
    return {name: numbers[name] for name in found}


# ---- the data ----


class _Feed:
    """The batches: drawn when asked for, or by a thread that is ``ahead`` of the step.

    ``states``: of the generators that the thread draws from, after the last batch
    that was taken. The generators themselves are further on until the feed closes.
    """

    def __init__(
        self, batches: Iterator[Any], count: int, ahead: int, store: "_Store"
    ) -> None:
        self.batches, self.count, self.store = batches, count, store
        self.states: dict[str, Tensor] = {}
        self.drawn: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.room = threading.Semaphore(ahead)
        self.closed = False
        threaded = ahead > 0 and count > 0
        self.worker = (
            threading.Thread(target=self._work, daemon=True) if threaded else None
        )

    def __enter__(self) -> Self:
        if self.worker:
            self.worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.worker:
            self.closed = True
            self.room.release()
            self.worker.join()
        for name, value in self.states.items():
            self.store.state[name].set_state(value)

    def until_done(self, history: History) -> Iterator[Any]:
        """The batches of the steps that are missing; keeps the times of ``history``."""
        begin, before = time.perf_counter(), history.seconds
        while history.steps < history.goal and not history.interrupted:
            asked = time.perf_counter()
            batch = self._take(history.steps)
            history.waiting += time.perf_counter() - asked
            yield self.store.to_device(batch)
            history.seconds = before + time.perf_counter() - begin

    def _take(self, done: int) -> Any:
        try:
            if not self.worker:
                return next(self.batches)
            batch, states, error = self.drawn.get()
            if error:
                raise error
        except StopIteration:
            raise TrainingError(
                f"the batches ended after {done} steps; give an iterator that starts "
                "again by itself"
            ) from None
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise TrainingError(
                f"the batches failed after {done} steps: {text}"
            ) from error
        self.states = states
        self.room.release()
        return batch

    def _work(self) -> None:
        begin = self.store.generators()
        mine = list(begin)
        for k in range(self.count):
            self.room.acquire()
            if self.closed:
                return
            try:
                batch = next(self.batches)
            except BaseException as error:  # the thread that trains will raise it
                return self.drawn.put((None, {}, error))
            now = self.store.generators()
            if k == 0:  # nobody steps yet: what changed was changed by this draw
                mine = [name for name in mine if not now[name].equal(begin[name])]
            self.drawn.put((batch, {name: now[name] for name in mine}, None))
        return None


# ---- the checkpoint ----


class _Store:
    """Everything that changes while training: saved, loaded, moved to the device."""

    def __init__(
        self,
        path: Path | None,
        state: dict[str, Any],
        accelerator: Accelerator | None,
    ) -> None:
        self.path, self.state, self.accelerator = path, state, accelerator
        if accelerator is not None and accelerator.scaler is not None:
            self.state["accelerator.scaler"] = accelerator.scaler

    def to_device(self, batch: Any) -> Any:
        if self.accelerator is None:
            return batch
        return send_to_device(batch, self.accelerator.device, non_blocking=True)

    def generators(self) -> dict[str, Tensor]:
        found = self.state.items()
        return {k: v.get_state() for k, v in found if isinstance(v, torch.Generator)}

    def save(self, history: History, generators: Mapping[str, Tensor]) -> None:
        """Write beside the old file, then swap: a kill leaves one that can be read."""
        main = self.accelerator is None or self.accelerator.is_main_process
        if self.path is None or not main:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        taken = {name: self._get(value) for name, value in self.state.items()}
        facts = {k: v for k, v in vars(history).items() if k != "interrupted"}
        partial = self.path.with_suffix(".partial")
        torch.save({"state": {**taken, **generators}, "history": facts}, partial)
        os.replace(partial, self.path)

    def load(self) -> History:
        """Set the state to the checkpoint's; without one, a new history."""
        if self.path is None or not self.path.exists():
            return History()
        before: dict[str, Any] = {}
        try:
            stored = torch.load(self.path, weights_only=True, map_location="cpu")
            self._compare(stored["state"])
            facts = stored["history"]
            history = History(steps=facts.pop("steps"), **facts)
            before = {k: deepcopy(self._get(v)) for k, v in self.state.items()}
            for name, value in self.state.items():
                self._set(value, stored["state"][name])
            return history
        except Exception as error:
            for name, value in before.items():  # half of it may be set by now
                self._set(self.state[name], value)
            raise TrainingError(
                f"checkpoint {self.path.name} cannot be resumed "
                f"({type(error).__name__}: {error}). Delete it to start again"
            ) from error

    def _compare(self, stored: Mapping[str, Any]) -> None:
        """Names left out would be gone with the next save: refuse before anything."""
        gone, new = stored.keys() - self.state.keys(), self.state.keys() - stored.keys()
        says = [f"it holds {', '.join(sorted(gone))} as well"] * bool(gone)
        says += [f"it holds no {', '.join(sorted(new))}"] * bool(new)
        if says:
            raise TrainingError(
                f"{' and '.join(says)}; give a state with the same names"
            )

    def fall_back(self) -> str:
        """Set the state to the last good one; what to tell about it."""
        if self.path is None or not self.path.exists():
            return ""
        return (
            f". Everything in state is again as it was after step {self.load().steps}"
        )

    def _get(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return value.get_state()
        return self._bare(value).state_dict()

    def _set(self, value: Any, stored: Any) -> None:
        if isinstance(value, torch.Generator):
            value.set_state(stored)
        else:
            self._bare(value).load_state_dict(stored)

    def _bare(self, value: Any) -> Any:
        """The network inside what Accelerate or ``torch.compile`` made of it."""
        if self.accelerator is None or not isinstance(value, nn.Module):
            return value
        return self.accelerator.unwrap_model(value, keep_torch_compile=False)


# ---- what is shown ----


class _Progress:
    """A bar in a terminal and in a notebook; a plain line now and then in a log."""

    def __init__(self, history: History, shown: bool) -> None:
        self.history, self.shown = history, shown
        self.bar: tqdm | None = None
        self.first, self.begin = history.steps, time.perf_counter()
        self.last = self.begin

    def __enter__(self) -> Self:
        movable = sys.stderr.isatty() or "ipykernel" in type(sys.stderr).__module__
        if self.shown and movable:
            done, goal = self.history.steps, self.history.goal
            self.bar = tqdm(total=goal, initial=done, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.shown:
            print(self.history, file=sys.stderr, flush=True)

    def show(self) -> None:
        if self.bar is not None:
            losses = self.history.losses.items()
            self.bar.set_postfix({k: f"{v[-1]:.4f}" for k, v in losses}, refresh=False)
            self.bar.update()
        elif self.shown and self._due():
            print(self._line(), file=sys.stderr, flush=True)
            self.last = time.perf_counter()

    def _due(self) -> bool:
        """Every tenth of the steps, and every ten seconds."""
        done, goal = self.history.steps, self.history.goal
        tenth = 10 * done // goal > 10 * (done - 1) // goal
        return tenth or time.perf_counter() - self.last > LINE_PAUSE

    def _line(self) -> str:
        done, goal = self.history.steps, self.history.goal
        losses = "".join(f"  {k} {v[-1]:.4f}" for k, v in self.history.losses.items())
        speed = (done - self.first) / max(1e-9, time.perf_counter() - self.begin)
        waiting = f"waiting {100 * self.history.waiting_share:.0f} %"
        return f"step {done}/{goal}{losses}  {speed:.1f} it/s  {waiting}"


class _Look:
    """Calls ``watch`` between two steps, seldom enough that training hardly waits."""

    def __init__(self, watch: Watch | None, state: Mapping[str, Any]) -> None:
        self.watch, self.due = watch, 0.0
        self.networks = [v for v in state.values() if isinstance(v, nn.Module)]

    def __call__(self, history: History, last: bool = False) -> None:
        begin = time.perf_counter()
        if self.watch is None or (begin < self.due and not last):
            return
        with self._aside():
            self.watch(history)
        end = time.perf_counter()
        self.due = end + max(WATCH_PAUSE, (end - begin) / WATCH_SHARE)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Evaluation mode, no gradients, and the same random numbers afterwards."""
        modules = [m for network in self.networks for m in network.modules()]
        modes = [module.training for module in modules]
        count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
        with torch.random.fork_rng(range(count)), torch.no_grad():
            try:
                for network in self.networks:
                    network.eval()
                yield
            finally:
                for module, mode in zip(modules, modes, strict=True):
                    module.training = mode


def _spoken(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
