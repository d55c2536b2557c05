"""A time limit for an answer: a loop that never ends must not hang the notebook."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

AGAIN = 1.0  # seconds; the alarm rings on, in case an answer caught the first one
PATIENCE = 6  # times the limit by the clock, for a thread that works little or waits
DEBUGGERS = ("bdb", "pdb", "pydevd", "_pydevd_bundle")


class TookTooLong(BaseException):
    """The time is over. No ``Exception``, so that ``except Exception`` lets it pass."""


def within(seconds: float, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``call(*arguments)``; raise ``TookTooLong`` inside it after ``seconds``.

    These are seconds in which this thread worked, so a busy machine stops nobody; by
    the clock six times as many are the limit. There is no limit outside the main
    thread, on a system without SIGALRM, and once the call waits in a debugger. What
    was set for SIGALRM before is set again after.
    """
    if not _can_ring():
        return call(*arguments)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _alarm(seconds))
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
            return call(*arguments)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # once more, because the alarm may ring just before the line above
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            rest = max(left - (time.monotonic() - started), 0.001)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _can_ring() -> bool:
    """False also where a handler is set that Python could not set again."""
    return (
        hasattr(signal, "SIGALRM")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is not None
    )


def _alarm(seconds: float) -> Callable[[int, FrameType | None], None]:
    started, worked = time.monotonic(), time.thread_time()

    def ring(number: int, frame: FrameType | None) -> None:
        if _debugging(frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        # A tenth less, for what was not this thread's work while the alarm was set
        worked_enough = time.thread_time() - worked >= 0.9 * seconds
        if worked_enough or time.monotonic() - started > PATIENCE * seconds:
            raise TookTooLong

    return ring


def _debugging(frame: FrameType | None) -> bool:
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in DEBUGGERS:
            return True
        frame = frame.f_back
    return False
