"""A changed number, picture, code or connection turns the run of a lesson red.

A tiny lesson is built, changed in one place, and run by nbval as the lessons are.
"""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat import NotebookNode

from course_lib.notebooks import NOTEBOOKS, build, from_source, is_stale, read, rules

ROOT = NOTEBOOKS.parent
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
TINY = """\
# %% [markdown]
# # A tiny lesson

# %%
import base64

from IPython.display import Image

total = sum(range(10))
print(f"the total is {total}")

# %%
print("half of it is", total / 2)
object()

# %% tags=["nbval-ignore-output"]
print("some seconds passed")

# %%
pixel = "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
display(Image(base64.b64decode(pixel), format="png"))
print("the picture has 1 pixel")
"""


def _change_output(notebook: NotebookNode) -> None:
    _output(notebook, "the total is").text = "the total is 46\n"


def _change_code(notebook: NotebookNode) -> None:
    cell = _cell(notebook, "range(10)")
    cell.source = cell.source.replace("10", "11")


def _lose_picture(notebook: NotebookNode) -> None:
    cell = _cell(notebook, "pixel =")
    cell.outputs = [o for o in cell.outputs if o.output_type == "stream"]


def _strip(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _reach_out(notebook: NotebookNode) -> None:
    cell = _cell(notebook, "range(10)")
    cell.source += "\nimport socket\nsocket.create_connection(('192.0.2.1', 80), 1)"


def _change_picture(notebook: NotebookNode) -> None:
    cell = _cell(notebook, "pixel =")
    cell.outputs[0].data["image/png"] = base64.b64encode(b"another").decode()


MUTANTS: dict[str, tuple[Callable[[NotebookNode], None], bool]] = {
    "other_pixels": (_change_picture, True),
    "number": (_change_output, False),
    "code": (_change_code, False),
    "picture_lost": (_lose_picture, False),
    "network": (_reach_out, False),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Which mutants of a built notebook pass strict nbval, run as the lessons are."""
    folder = tmp_path_factory.mktemp("mutants")
    source = _tiny(folder)
    build(source, folder / "built" / "99_tiny.ipynb")
    built = read(folder / "built" / "99_tiny.ipynb")
    for name, (mutate, _) in MUTANTS.items():
        mutant = deepcopy(built)
        mutate(mutant)
        nbformat.write(mutant, folder / f"{name}.ipynb")
    return run_nbval(folder, [f"{name}.ipynb" for name in MUTANTS])


def run_nbval(folder: Path, names: list[str]) -> dict[str, bool]:
    """Run notebooks as the course does and say of each whether all cells passed."""
    report = folder / "report.xml"
    options = [
        "-p",
        "conftest",
        "-n",
        "2",
        "--rootdir",
        str(folder),
        f"--junitxml={report}",
    ]
    options += ["-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    options += [f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}"]
    command = [sys.executable, "-m", "pytest", "-q", *options, *names]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # where conftest.py is
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    cases = list(ElementTree.parse(report).iter("testcase"))
    passed = {name.removesuffix(".ipynb"): True for name in names}
    seen = set()
    for case in cases:
        name = case.attrib["classname"].split(".")[0]
        seen.add(name)
        passed[name] &= case.find("failure") is None and case.find("error") is None
    assert seen == set(passed), result.stdout + result.stderr
    return passed


@pytest.mark.parametrize("name", MUTANTS)
def test_nbval_notices(name: str, verdicts: dict[str, bool]):
    assert verdicts[name] == MUTANTS[name][1]


def test_a_stripped_notebook_is_noticed(tmp_path: Path):
    tiny, target = _tiny(tmp_path), tmp_path / "99_tiny.ipynb"
    notebook = _built(tiny)
    _strip(notebook)
    nbformat.write(notebook, target)
    assert rules.stored_outputs(notebook, target)
    assert is_stale(tiny, target)


@pytest.mark.skipif(not LESSONS, reason="no lesson is built yet")
def test_one_digit_of_the_first_lesson_is_compared(tmp_path: Path):
    """Cut after the first number that is printed, so that it takes seconds."""
    notebook = read(LESSONS[0])
    index = next(
        i
        for i, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and not rules.tags_of(cell) & rules.IGNORED
        and any(re.search(r"\d", o.get("text", "")) for o in cell.outputs)
    )
    notebook.cells = notebook.cells[: index + 1]
    output = next(o for o in notebook.cells[-1].outputs if re.search(r"\d", o.text))
    output.text = re.sub(
        r"\d", lambda digit: str((int(digit[0]) + 1) % 10), output.text, count=1
    )
    nbformat.write(notebook, tmp_path / "digit.ipynb")
    assert run_nbval(tmp_path, ["digit.ipynb"]) == {"digit": False}


def test_a_changed_source_is_noticed(tmp_path: Path):
    tiny, target = _tiny(tmp_path), tmp_path / "99_tiny.ipynb"
    assert is_stale(tiny, target)
    nbformat.write(_built(tiny), target)
    assert not is_stale(tiny, target)
    text = tiny.read_text()
    for old, new in [
        ("range(10)", "range(11)"),  # code
        ("A tiny", "A small"),  # prose
        ('tags=["nbval-ignore-output"]', ""),  # tags
        ("# %%\nprint(", "# %%\npass\n\n# %%\nprint("),  # order
    ]:
        assert old in text
        tiny.write_text(text.replace(old, new, 1))
        assert is_stale(tiny, target)
    tiny.write_text(text)
    assert not is_stale(tiny, target)


def _tiny(folder: Path) -> Path:
    path = folder / "99_tiny.py"
    path.write_text(TINY, encoding="utf-8")
    return path


def _built(source: Path) -> NotebookNode:
    """What a build of the tiny lesson gives, without a kernel."""
    notebook = from_source(source)
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
    return notebook


def _cell(notebook: NotebookNode, text: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if text in cell.source)


def _output(notebook: NotebookNode, text: str) -> NotebookNode:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return next(output for output in outputs if text in output.get("text", ""))
