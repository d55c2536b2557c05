"""From the script an author edits to the notebook a learner opens."""

import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)
from nbformat import NotebookNode

from course_lib.notebooks.normal import (
    NOTEBOOK_BYTES,
    BuildError,
    code_number,
    normalise,
    tags_of,
)
from course_lib.notebooks.seal import seal
from course_lib.session import ROOT

NOTEBOOKS = ROOT / "notebooks"
SOURCES = NOTEBOOKS / "source"
SEAL = ROOT / "build" / "ipython"
CELL_SECONDS = 120


@dataclass(frozen=True)
class Built:
    """What one build did."""

    path: Path
    changed: bool  # whether other bytes were stored than stood there
    seconds: float


def sources(folder: Path | None = None) -> list[Path]:
    """The scripts of all lessons, in their order."""
    return sorted((folder or SOURCES).glob("[0-9][0-9]_*.py"))


def target_of(source: Path, folder: Path | None = None) -> Path:
    """Where the notebook of a source script is stored."""
    return (folder or NOTEBOOKS) / f"{source.stem}.ipynb"


def read(path: Path) -> NotebookNode:
    """Read a source script (.py) or a notebook (.ipynb) as a notebook."""
    if path.suffix == ".ipynb":
        return nbformat.read(path, as_version=4)
    notebook: NotebookNode = jupytext.read(path, fmt="py:percent")
    return notebook


def from_source(source: Path) -> NotebookNode:
    """The notebook that a source script describes, not executed."""
    try:
        return normalise(read(source))
    except BuildError as error:
        raise BuildError(f"{source.name}: {error}") from None


def cells(notebook: NotebookNode) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """What comes from the source: id, type, text and tags of each cell."""
    return [
        (c.get("id", ""), c.cell_type, c.source, tuple(c.metadata.get("tags", [])))
        for c in notebook.cells
    ]


def is_stale(source: Path, target: Path) -> bool:
    """Whether a notebook is missing, never run, or not what its source says."""
    if not target.is_file():
        return True
    stored = read(target)
    unrun = any(c.cell_type == "code" and not c.execution_count for c in stored.cells)
    return unrun or cells(stored) != cells(from_source(source))


def build(source: Path, target: Path, seal_folder: Path | None = None) -> Built:
    """Execute a lesson in the ``ci`` profile and store it in its normal form.

    Raises ``BuildError`` when a cell fails or breaks a limit; the notebook that stood
    there before then stays as it was.
    """
    began = time.perf_counter()
    notebook = from_source(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    execute(notebook, target.parent, source.name, seal_folder)
    try:
        text = as_text(normalise(notebook))
    except BuildError as error:
        raise BuildError(f"{source.name}: {error}") from None
    changed = not target.is_file() or target.read_bytes() != text.encode()
    if changed:
        store(text, target)
    return Built(target, changed, time.perf_counter() - began)


def execute(
    notebook: NotebookNode, folder: Path, name: str, seal_folder: Path | None = None
) -> None:
    """Run all cells in a fresh sealed kernel that works in ``folder``."""
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    environment = os.environ | seal(seal_folder or SEAL)
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise BuildError(_failure(notebook, name, _plain(error.traceback))) from None
    except CellTimeoutError:
        text = f"ran longer than {CELL_SECONDS} seconds"
        raise BuildError(_failure(notebook, name, text)) from None
    except DeadKernelError:
        text = "the kernel died (out of memory?)"
        raise BuildError(_failure(notebook, name, text)) from None


def as_text(notebook: NotebookNode) -> str:
    """The bytes that are stored, as text. Raises ``BuildError`` above the limit."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, indent=1, ensure_ascii=False) + "\n"
    size = len(text.encode())
    if size > NOTEBOOK_BYTES:
        raise BuildError(
            f"the notebook has {size // 1000} KB, at most {NOTEBOOK_BYTES // 1000}: "
            "fewer or smaller pictures"
        )
    return text.replace("\r\n", "\n")


def store(text: str, target: Path) -> None:
    """Write a notebook at once, so that an interrupted build leaves the old one."""
    mark = hashlib.sha256(str(os.getpid()).encode()).hexdigest()[:6]
    draft = target.with_name(f".{target.name}.{mark}.tmp")
    draft.write_bytes(text.encode())
    draft.replace(target)


def _failure(notebook: NotebookNode, name: str, what: str) -> str:
    """Name the cell that was running: the last one that has been started."""
    started = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "execution" in cell.metadata
    ]
    index = started[-1] if started else 0
    cell = notebook.cells[index]
    total = code_number(notebook, len(notebook.cells) - 1)
    lines = [f"  {n:2} | {x}" for n, x in enumerate(cell.source.splitlines(), start=1)]
    tags = f", tags {', '.join(sorted(tags_of(cell)))}" if tags_of(cell) else ""
    head = f"{name}: code cell {code_number(notebook, index)} of {total} failed{tags}"
    return "\n".join([head, "", *lines, "", what.strip()])


def _plain(traceback: str) -> str:
    """The last lines of a traceback, without colour and without the cell itself."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", traceback)
    text = text.rpartition("\n------------------\n")[2]
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= 40 else ["[...]", *lines[-40:]])
