"""The normal form of a lesson: what is stored of a notebook, and what never is."""

import base64
import hashlib
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from course_lib.session import ROOT

CODE_LINES = 30  # of a cell
LINE_LENGTH = 88  # of a line of code
PICTURE_BYTES = 60_000
NOTEBOOK_BYTES = 500_000

# The same text is made of these in the stored outputs and, by nbval, in the fresh ones
# (tests/nbval_sanitize.cfg): what differs from run to run and means nothing.
SANITIZE = (
    (r"0x[0-9a-fA-F]{6,}", "0xADDRESS"),
    (r"\S*ipykernel_\d+[/\\]\d+\.py", "<cell>"),
)

# The start of a path that only one machine has: any machine's, and this one's
_HERE = {str(ROOT), str(Path.home()), tempfile.gettempdir()} - {"/"}
MACHINE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|Users|root|tmp|mnt|private|var/folders)/[\w.]"
    r"|\b[A-Z]:\\{1,2}(?:Users|Temp)\b|"
    + "|".join(rf"{re.escape(path)}(?![\w-])" for path in sorted(_HERE))
)

_VIEW = "application/vnd.jupyter.widget-view+json"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"\d+%\|")
IGNORED = {"nbval-ignore-output", "nbval-skip"}


class BuildError(Exception):
    """A lesson cannot be stored; the message names the cell and the cure."""


def normalise(notebook: NotebookNode, code_lines: int = CODE_LINES) -> NotebookNode:
    """Bring a notebook, executed or not, into its normal form, in place.

    Doing it twice changes nothing more. Raises ``BuildError`` for what must not be
    repaired silently: stderr, colour codes, a machine's path, too much of anything.
    A cell may have ``code_lines`` lines.
    """
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(
            display_name="Python 3 (ipykernel)", language="python", name="python3"
        ),
        language_info=NotebookNode(name="python"),
    )
    seen: Counter[str] = Counter()
    for index, cell in enumerate(notebook.cells):
        tags = list(cell.metadata.get("tags", []))
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        cell.id = _cell_id(cell, seen)
        if cell.cell_type == "code":
            where = f"code cell {code_number(notebook, index)}"
            _check_source(cell.source, where, code_lines)
            cell.outputs = _normal_outputs(cell, where)
    return notebook


def code_number(notebook: NotebookNode, index: int) -> int:
    """The number that Jupyter shows at the cell with this index: In [number]."""
    return sum(cell.cell_type == "code" for cell in notebook.cells[: index + 1])


def tags_of(cell: NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", []))


def _cell_id(cell: NotebookNode, seen: Counter[str]) -> str:
    """From what the cell says, so that a new cell leaves the ids of others alone."""
    text = f"{cell.cell_type}\n{cell.source}".encode()
    digest = hashlib.sha256(text).hexdigest()[:12]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _check_source(source: str, where: str, code_lines: int) -> None:
    lines = source.splitlines()
    if len(lines) > code_lines:
        raise BuildError(f"{where} has {len(lines)} lines, at most {code_lines}: split")
    for line in lines:
        if len(line) > LINE_LENGTH:
            raise BuildError(
                f"{where}: a line above {LINE_LENGTH} characters\n  {line}"
            )
    if lines and lines[-1].rstrip().endswith(";"):
        raise BuildError(f"{where} ends in a semicolon, which hides output")


def _normal_outputs(cell: NotebookNode, where: str) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            _check_stream(output, where)
            output.text = sanitize(output.text)
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        elif output.output_type == "error":
            output.evalue = sanitize(_ANSI.sub("", output.evalue))
            output.traceback = [f"{output.ename}: {output.evalue}"]
        elif not _normal_data(cell, output, where):
            continue
        kept.append(output)
    text = "\n".join(_texts(kept))
    if _ANSI.search(text):
        raise BuildError(f"{where} prints colour codes, which show as noise elsewhere")
    if MACHINE_PATH.search(text):
        found = MACHINE_PATH.search(text)
        line = next(x for x in text.splitlines() if found and found.group() in x)
        raise BuildError(f"{where} shows a path of this machine:\n  {line.strip()}")
    return kept


def _check_stream(output: NotebookNode, where: str) -> None:
    if output.name != "stdout":
        text = _ANSI.sub("", output.text).strip()
        raise BuildError(
            f"{where} writes to stderr (a warning, a log, a progress bar?); "
            f"a lesson is stored without:\n{text[:800]}"
        )


def _normal_data(cell: NotebookNode, output: NotebookNode, where: str) -> bool:
    """Tidy a display; False when nothing of it is worth keeping."""
    data = output.data
    was_widget = data.pop(_VIEW, None) is not None
    for mime, value in list(data.items()):
        if isinstance(value, list):
            value = "".join(value)
        if mime.startswith("image/") and isinstance(value, str):
            value = value.strip()
            _check_picture(mime, value, where)
        elif isinstance(value, str):
            value = sanitize(value)
        data[mime] = value
    if output.output_type == "execute_result":
        output.execution_count = cell.execution_count
    is_bar = was_widget and _BAR.search(str(data.get("text/plain", "")))
    if is_bar and not any(mime.startswith("image/") for mime in data):
        if not tags_of(cell) & IGNORED:
            raise BuildError(
                f"{where} shows a progress bar: tag it nbval-ignore-output, or hide it"
            )
        return False
    return bool(data)


def _check_picture(mime: str, value: str, where: str) -> None:
    raster = mime in ("image/png", "image/jpeg", "image/gif", "image/webp")
    size = len(base64.b64decode(value)) if raster else len(value.encode())
    if size > PICTURE_BYTES:
        raise BuildError(
            f"{where}: a picture of {size / 1000:.0f} KB, at most "
            f"{PICTURE_BYTES // 1000} KB: show it smaller, or as JPEG"
        )


def sanitize(text: str) -> str:
    """Replace what differs from run to run, as nbval does."""
    for pattern, replacement in SANITIZE:
        text = re.sub(pattern, replacement, text)
    return text


def _texts(outputs: list[NotebookNode]) -> list[str]:
    texts: list[Any] = []
    for output in outputs:
        if output.output_type == "error":
            texts += output.traceback
        texts.append(output.get("text", ""))
        data = output.get("data", {})
        texts += [v for mime, v in data.items() if not mime.startswith("image/")]
    return [text for text in texts if isinstance(text, str)]
