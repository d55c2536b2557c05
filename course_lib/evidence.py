"""How a layer shows what it looked at; lesson 04 is the first to read it.

A layer calls ``emit(self, "gate", gate)`` where it decides. Nothing is kept, and
nothing costs time, until somebody listens::

    with record(network) as evidence:
        network(image, hole)
    evidence["encoder.0"]["gate"]      # (N, C, H, W)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

Evidence = dict[str, dict[str, Tensor]]

_listener: ContextVar[tuple[dict[int, str], Evidence] | None] = ContextVar(
    "evidence", default=None
)


def emit(layer: nn.Module, name: str, value: Tensor | Callable[[], Tensor]) -> None:
    """Say what ``layer`` decided. ``value`` may be a function, called only if heard.

    The last value of a name wins when a layer runs twice in one recording.
    """
    heard = _listener.get()
    if heard is None or id(layer) not in heard[0]:
        return
    found = value() if callable(value) else value
    heard[1].setdefault(heard[0][id(layer)], {})[name] = found.detach()


@contextmanager
def record(network: nn.Module) -> Iterator[Evidence]:
    """Collect what the layers of ``network`` emit, by layer name, then by fact.

    The network itself has the name ``""``. A recording inside a recording hears
    its own network only. Values are detached and stay on their device.
    """
    evidence: Evidence = {}
    names = {id(module): name for name, module in network.named_modules()}
    token = _listener.set((names, evidence))
    try:
        yield evidence
    finally:
        _listener.reset(token)
