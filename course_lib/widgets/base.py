"""The base of every explorer: questions from the page, answers from Python, a still.

An explorer is a card in the page (``static/<name>.js``) and a Python object that owns
the facts. Two channels join them:

- *State* (the pictures, the chosen pixel, the title) lies in synchronised traits. It
  outlives a page reload, and every view of the same explorer shows it.
- *Requests* (a click, a stroke) are messages ``{kind, view, seq, ...}`` from the page.
  ``answer`` changes the state and returns facts; the reply repeats ``view`` and
  ``seq``, so a view knows its own answers and drops old ones. A view sends its newest
  request only after the last was answered: dragging never floods the kernel.

An exception inside ``answer`` becomes the reply ``{error: sentence}``, which the card
shows; without that it would vanish into JupyterLab's log console.
"""

import time
import traceback
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from course_lib.pictures import Picture

STATIC = Path(__file__).parent / "static"


class WidgetError(ValueError):
    """A request that an explorer cannot answer; the text says what to do."""


class CourseWidget(anywidget.AnyWidget):
    """What all explorers share. A subclass writes ``answer``, ``still``, ``__repr__``.

    A subclass also has ``look(...)``, which does from Python what a click does in the
    page (and raises, where the page shows a message), so that a lesson and a test
    need no browser.
    """

    _css = (STATIC / "style.css").read_text("utf-8")
    title = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._receive)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of the page: change the state, return the facts.

        ``request`` holds what the view sent, binary values as ``bytes``. A value of
        the returned dict may be ``bytes`` too. Whatever is raised is shown.
        """
        raise NotImplementedError

    def still(self) -> Picture:
        """The picture that a reader without a kernel sees; the same for same facts."""
        raise NotImplementedError

    def _receive(self, _: object, content: dict[str, Any], buffers: list[Any]) -> None:
        if "seq" not in content:  # a message of the framework, not of a view
            return
        named = zip(content.get("binary", ()), buffers, strict=False)
        request = content | {name: bytes(data) for name, data in named}
        started = time.perf_counter()
        try:
            reply = self.answer(request)
        except (Exception, KeyboardInterrupt) as error:
            reply = {"error": sentence(error)}
        reply["ms"] = 1000 * (time.perf_counter() - started)
        self._reply(content, reply)

    def _reply(self, content: dict[str, Any], reply: dict[str, Any]) -> None:
        binary = [name for name, value in reply.items() if isinstance(value, bytes)]
        facts = {name: value for name, value in reply.items() if name not in binary}
        address = {"view": content.get("view"), "seq": content["seq"], "binary": binary}
        self.send(facts | address, [reply[name] for name in binary])

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        still = self.still()
        data = data | {"text/plain": repr(self), "image/png": still._repr_png_()}
        return data, metadata | {"image/png": {"alt": still.text}}


def module(*names: str) -> str:
    """The ES module of one explorer: what all share, then its own parts, in order."""
    parts = [STATIC / f"{name}.js" for name in ("common", *names)]
    return "\n".join(part.read_text("utf-8") for part in parts)


def sentence(error: BaseException) -> str:
    """What a reader is told about an error.

    The text of the course's own errors, which are written for the reader; of any
    other its kind and place too.
    """
    if type(error).__module__.startswith("course_lib."):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    where = traceback.extract_tb(error.__traceback__)
    place = f" (in {where[-1].name}, line {where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{place}"
