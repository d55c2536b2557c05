"""The training loop: progress, checkpoints, interruption; lesson 03 opens it.

A lesson writes its own step; the loop only calls it::

    def step(batch):
        loss = ...
        optimizer.zero_grad(); accelerator.backward(loss); optimizer.step()
        return {"loss": loss}

    history = fit(step, batches, steps=run.steps)
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

Losses = Mapping[str, Tensor]


class TrainingError(RuntimeError):
    """Training that cannot go on: a loss that is not finite, a bad checkpoint."""


@dataclass
class History:
    """What happened: the loss curves, and where the time went."""

    losses: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0  # done, those before a resume included
    seconds: float = 0.0
    waiting: float = 0.0  # seconds of it spent waiting for data
    interrupted: bool = False


def fit(
    step: Callable[[Any], Losses],
    batches: Iterator[Any],
    *,
    steps: int,
    state: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
    every: int = 500,
    progress: bool = True,
) -> History:
    """Call ``step(next(batches))`` until ``steps`` are done, and keep the losses.

    ``state`` names everything that changes while training (networks, optimisers,
    random generators). With ``checkpoint`` it is saved every ``every`` steps and at
    the end; if that file exists, training goes on from it, and the result equals an
    uninterrupted run when ``batches`` draws only from generators in ``state``.

    Interrupting the kernel stops after the running step, saves, and returns what is
    there; interrupting twice stops at once and saves nothing. Raises
    ``TrainingError`` when a loss is not finite (the checkpoint keeps the last good
    state), when the batches end too early, or the checkpoint cannot be read.
    """
    history = History()
    state = dict(state or {})
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, state)
    bar = tqdm(total=steps, initial=history.steps, disable=not progress, leave=False)
    begin = time.perf_counter()
    before = history.seconds
    with _interruptible(history), bar:
        while history.steps < steps and not history.interrupted:
            batch = _wait(batches, history)
            _note(history, step(batch))
            history.seconds = before + time.perf_counter() - begin
            bar.update()
            if history.steps % 10 == 0:
                bar.set_postfix({k: f"{v[-1]:.4f}" for k, v in history.losses.items()})
            if checkpoint is not None and history.steps % every == 0:
                _save(checkpoint, state, history)
        if checkpoint is not None:
            _save(checkpoint, state, history)
    return history


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


def _wait(batches: Iterator[Any], history: History) -> Any:
    asked = time.perf_counter()
    try:
        return next(batches)
    except StopIteration:
        raise TrainingError(
            f"the batches ended after {history.steps} steps; give an iterator that "
            "starts again by itself"
        ) from None
    finally:
        history.waiting += time.perf_counter() - asked


def _note(history: History, losses: Losses) -> None:
    detached = {name: torch.as_tensor(v).detach() for name, v in losses.items()}
    numbers = {name: float(v) for name, v in detached.items()}
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"step {history.steps + 1}: {', '.join(bad)} is not finite. Lower the "
            "learning rate, or look for a division by an empty hole"
        )
    for name, value in numbers.items():
        history.losses.setdefault(name, []).append(value)
    history.steps += 1


def _save(path: Path, state: Mapping[str, Any], history: History) -> None:
    """Write beside the old file, then swap: a kill leaves one that can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    taken = {name: _get(value) for name, value in state.items()}
    facts = {k: v for k, v in vars(history).items() if k != "interrupted"}
    partial = path.with_suffix(".partial")
    torch.save({"state": taken, "history": facts}, partial)
    os.replace(partial, path)


def _resume(path: Path, state: Mapping[str, Any]) -> History:
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        for name, value in state.items():
            _set(value, stored["state"][name])
        facts = stored["history"]
        return History(steps=facts.pop("steps"), **facts)
    except Exception as error:
        raise TrainingError(
            f"checkpoint {path.name} cannot be resumed ({type(error).__name__}: "
            f"{error}). Delete it to start again"
        ) from error


def _get(value: Any) -> Any:
    return (
        value.get_state() if isinstance(value, torch.Generator) else value.state_dict()
    )


def _set(value: Any, stored: Any) -> None:
    if isinstance(value, torch.Generator):
        value.set_state(stored)
    else:
        value.load_state_dict(stored)
