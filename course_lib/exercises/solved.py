"""The solved twin of a lesson: the notebook of a learner who got everything right.

Made by the tests and run like the lesson itself, which proves that each reference
answer works where a learner would type it.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode

from course_lib.exercises import NOT_YET, Exercise, of_lesson, passed_on
from course_lib.notebooks import BuildError, normalise, read
from course_lib.notebooks.build import as_text, store
from course_lib.notebooks.normal import CODE_LINES
from course_lib.notebooks.rules import exercise_cells

ANSWER_LINES = 20  # that an answer may add to a cell: no reader meets the twin


def write_solved(path: Path, folder: Path) -> Path:
    """Store the solved twin of the notebook ``path`` in ``folder``."""
    notebook = read(path)
    known: dict[str, Exercise] = {}
    if exercise_cells(notebook):
        known = {exercise.key: exercise for exercise in of_lesson(path.name[:2])}
    target = folder / f"{path.stem}_solved.ipynb"
    store(as_text(solve(notebook, known)), target)
    return target


def solve(notebook: NotebookNode, known: Mapping[str, Exercise]) -> NotebookNode:
    """A copy with every stub replaced by its reference, and the output that gives."""
    solved = deepcopy(notebook)
    for key, cell in exercise_cells(solved).items():
        if key not in known:
            raise BuildError(f"exercise {key} is in the notebook, not in the library")
        exercise = known[key]
        cell.source = _fill_in(cell.source, exercise)
        before = f"Exercise {key}: {NOT_YET}"
        after = f"Exercise {key}: {passed_on(len(exercise.cases()))}"
        texts = [o for o in cell.outputs if before in o.get("text", "")]
        if len(texts) != 1:
            raise BuildError(f"exercise {key} does not show once: {before}")
        texts[0].text = texts[0].text.replace(before, after)
    return normalise(solved, CODE_LINES + ANSWER_LINES)


def _fill_in(source: str, exercise: Exercise) -> str:
    """Replace the stub's definition in a cell by the reference's source."""
    stub = definition(source, exercise.reference.__name__)
    lines = source.splitlines()
    answer = textwrap.dedent(inspect.getsource(exercise.reference)).splitlines()
    return "\n".join(lines[: stub.lineno - 1] + answer + lines[stub.end_lineno :])


def definition(source: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The function or class ``name`` that a piece of source defines."""
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
    raise BuildError(f"the stub does not define {name}, as the library does")


def specification(node: ast.FunctionDef | ast.ClassDef) -> str:
    """The task as it is written down: names, annotations and docstrings, no code."""
    lines = [f"{node.name}: {ast.get_docstring(node)}"]
    if isinstance(node, ast.FunctionDef):
        returns = ast.unparse(node.returns) if node.returns else ""
        return f"({ast.unparse(node.args)}) -> {returns} " + lines[0]
    inner = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    return "\n".join(lines + [specification(item) for item in inner])
