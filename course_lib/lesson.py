"""What a lesson says in the open: claims, numbers that must hold, and source code.

Lesson 00 shows how the three are used.
"""

import html
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pygments.token import Token

from course_lib.session import ROOT


def claim(text: str, truth: bool | np.bool_ | torch.Tensor) -> None:
    """Print ``✓ text`` when the claim holds; raise ``AssertionError`` when it does not.

    ``truth`` must be a bool, a NumPy bool or a bool tensor without dimensions. Anything
    else is a ``TypeError``: a tuple, a list or a string would be true by being there.
    """
    is_flag = isinstance(truth, (bool, np.bool_)) or (
        isinstance(truth, torch.Tensor)
        and truth.dtype == torch.bool
        and truth.dim() == 0
    )
    if not is_flag:
        raise TypeError(
            f"claim({text!r}, ...) needs True or False, not {_describe(truth)}: "
            "write the comparison out, for example (a < b) or torch.equal(a, b)"
        )
    if not bool(truth):
        raise AssertionError(f"✗ {text}")
    print(f"✓ {text}")


def close(name: str, value: Any, expected: float, tolerance: float) -> None:
    """Print ``✓ name = expected (± tolerance)``, the same text on every machine.

    Numbers that come out of training differ by some percent between processors, so
    their digits are not printed. Raises ``AssertionError`` with the value when it is
    further than ``tolerance`` from ``expected``, or is not a number.
    """
    number = float(value)
    if not abs(number - expected) <= tolerance:  # written so that a NaN fails too
        raise AssertionError(
            f"✗ {name} is {number:.6g}, expected {expected:g} ± {tolerance:g}"
        )
    print(f"✓ {name} = {expected:g} (± {tolerance:g})")


def show_source(thing: Callable[..., Any] | type) -> None:
    """Display the source of a function or class of the course, with its file.

    JupyterLab highlights it in the colours of the reader's theme. Raises ``TypeError``
    for anything that is not written in the course's own files.
    """
    from IPython.display import display

    where, source = _source_of(thing)
    data = {
        "text/plain": f"{where}\n\n{source}",
        "text/html": f"<p><code>{where}</code></p>{_highlighted(source)}",
    }
    display(data, raw=True)


def _highlighted(source: str) -> str:
    """The source as HTML in the theme's own colours; long lines scroll, not wrap."""
    from pygments.lexers import PythonLexer

    parts = []
    for kind, text in PythonLexer().get_tokens(source):
        colour = next((name for token, name in _COLOURS.items() if kind in token), "")
        style = f' style="color: var(--jp-mirror-editor-{colour}-color)"'
        escaped = html.escape(text, quote=False)
        parts.append(f"<span{style}>{escaped}</span>" if colour else escaped)
    return f'<pre style="{_LAYOUT}">{"".join(parts)}</pre>'


_LAYOUT = (
    "margin: 0; white-space: pre; overflow-x: auto; line-height: 1.4; "
    "font-size: var(--jp-code-font-size)"
)
_COLOURS = {
    Token.Keyword: "keyword",
    Token.Operator.Word: "keyword",
    Token.Literal.String: "string",
    Token.Literal.Number: "number",
    Token.Comment: "comment",
    Token.Name.Builtin: "builtin",
    Token.Name.Function: "def",
    Token.Name.Class: "def",
    Token.Name.Decorator: "meta",
}


def _source_of(thing: Any) -> tuple[str, str]:
    try:
        original = inspect.unwrap(thing)
        path = Path(inspect.getsourcefile(original) or "").resolve()
        where = path.relative_to(ROOT / "course_lib").as_posix()
        source = inspect.getsource(original)
    except (TypeError, ValueError, OSError) as error:
        raise TypeError(
            f"show_source needs a function or class of course_lib, not "
            f"{_describe(thing)}"
        ) from error
    return f"course_lib/{where}", textwrap.dedent(source).rstrip()


def _describe(thing: Any) -> str:
    if isinstance(thing, torch.Tensor):
        return f"a {thing.dtype} tensor of shape {tuple(thing.shape)}"
    text = repr(thing)
    return f"the {type(thing).__name__} {text if len(text) < 60 else text[:57] + '...'}"
