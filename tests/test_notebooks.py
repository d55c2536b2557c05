"""Every committed lesson is what its source says and follows the rules of lessons.

The rules are functions in ``course_lib/notebooks/rules.py``, the form of the lesson box
is in ``course_lib/notebooks/box.py``, and ``notebooks/source/TEMPLATE.md`` shows all of
it. nbval runs the lessons beside this file; ``test_mutants.py`` shows that a change to
a lesson turns one of the two red.
"""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output

from course_lib.notebooks import (
    NOTEBOOKS,
    RULES,
    SOURCES,
    box,
    cells,
    from_source,
    normalise,
    read,
    rules,
    sources,
    target_of,
)
from course_lib.session import LESSONS as LESSON_TABLE

LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


@each_lesson
@pytest.mark.parametrize("rule", RULES)
def test_lesson(path: Path, rule: str):
    assert RULES[rule](read(path), path) == []


@each_lesson
def test_a_lesson_is_what_its_source_says(path: Path):
    source = SOURCES / f"{path.stem}.py"
    assert cells(read(path)) == cells(from_source(source)), (
        f"{path.name} is stale: python -m course_lib.notebooks {path.name[:2]}"
    )


def test_every_source_has_its_notebook():
    assert [target_of(source) for source in sources()] == LESSONS


@each_lesson
def test_the_minutes_add_up(path: Path):
    """Those of the box, of its exercises, and of the table of lessons."""
    found, text = box(path), "".join(cell.source for cell in read(path).cells)
    exercises = re.findall(r"^\*.* · difficulty . of 3 · (\d+) minutes\*$", text, re.M)
    assert found.practise == sum(map(int, exercises))
    assert found.minutes == LESSON_TABLE[path.name[:2]].minutes


# --- the rules notice what breaks them ---

MARGINS = {"compared_outputs", "words", "exercises", "self_quiz", "small_cells"}


@pytest.fixture
def template(tmp_path: Path) -> tuple[NotebookNode, Path]:
    """The lesson in the authors' template: short, otherwise as a lesson must be."""
    text = (SOURCES / "TEMPLATE.md").read_text(encoding="utf-8")
    script = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    notebook = normalise(jupytext.reads(script, fmt="py:percent"))
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [new_output("stream", text=f"{count}\n")]
    path = tmp_path / "01_template.ipynb"
    (tmp_path / "picture.png").touch()
    source = notebook.cells[0].source
    notebook.cells[0].source = re.sub(r"\(\.\./.*?\)", "(picture.png)", source)
    library = notebook.cells[-1]
    library.source = re.sub(r"\(\.\./.*?\)", "(picture.png)", library.source)
    normalise(notebook)
    nbformat.write(notebook, path)
    return notebook, path


def test_the_template_follows_the_rules(template: tuple[NotebookNode, Path]):
    notebook, path = template
    broken = {name: rule(notebook, path) for name, rule in RULES.items()}
    assert {name for name, problems in broken.items() if problems} <= MARGINS
    assert broken["exercises"] == ["1 exercises, 3 to 5 is right"]
    assert "2 questions" in broken["self_quiz"][0]


def test_the_box_is_read(template: tuple[NotebookNode, Path]):
    found = box(template[1])
    assert found.goals == (
        "make a ring",
        "measure a hole",
        "find a hole at the border",
    )
    assert (found.read, found.run, found.practise, found.minutes) == (3, 1, 30, 34)
    assert found.before == "lesson 00"
    assert found.cost == {"ci": "10 s", "laptop": "20 s", "gpu": "10 s"}


# rule, what is replaced in the prose or code of the template, what the rule says
BROKEN = [
    ("lesson_box", "**Goals**", "**Aims**", "no lesson box"),
    ("lesson_box", "<br>measure a hole", "", "2 goals"),
    ("lesson_box", "run 1", "run a few", "minutes in the box"),
    ("reading_minutes", "read 3", "read 9", "lines of code take about"),
    ("lesson_box", "laptop 20 s · ", "", "cost in the box"),
    ("lesson_box", "| **Minutes**", "| **Hours**", "the box has the rows"),
    ("headings", "## The problem", "# The problem", "2 H1"),
    ("headings", "## The problem", "### The problem", "level 1 is followed by 3"),
    ("headings", "## Self-quiz", "## Quiz", "closing sections"),
    ("alt_texts", "![A photo with a ring-shaped hole, and", "![a](x.png) ![", "alt"),
    ("alt_texts", "Before the cell", "<img src='picture.png'> Before", "alt text"),
    ("alt_texts", "![A photo", "[A photo", "no picture below the title"),
    ("set_up", "import course_lib as cl", "import course_lib", "import course_lib as"),
    ("set_up", 'cl.start("01")', 'cl.start("02")', "run = cl"),
    ("set_up", "import torch\n\n", "import torch\na = 1\nb = 2\n", "5 lines"),
    ("exercises", "<summary>Hint 2", "<summary>More", "hints"),
    ("exercises", "difficulty 1", "difficulty 9", "no line"),
    ("exercises", "### Exercise 01.1 ·", "### Task 1 ·", "no heading"),
    ("exercises", "raise NotImplementedError", "return 1", "the stub"),
    ("exercises", 'ring = cl.check("01.1", ring)', "ring(1, 2, 3)", "cl.check"),
    ("self_quiz", "**2.** Three", "Three", "1 questions"),
    ("self_quiz", "Yours.", "", "1 folded"),
    ("summary", "At most 120 words.", "word " * 121, "121 words"),
    ("summary", "At most 120 words.", "", "0 words"),
    ("links", "(picture.png)", "(lost.png)", "broken link: lost"),
    ("links", "Before the cell", "[here](#no-such-place) Before", "no such heading"),
    ("links", "Before the cell", "[here](99_no.ipynb#x) Before", "broken link"),
    ("words", "At most 120 words.", "word " * 3000, "words"),
    ("no_machine_paths", "Before the cell", "Look at /home/me/x before", "one machine"),
    ("small_cells", "run = cl.start", "pass\n" * 31 + "run = cl.start", "lines"),
]


@pytest.mark.parametrize(("rule", "old", "new", "says"), BROKEN)
def test_a_broken_rule_is_named(
    rule: str, old: str, new: str, says: str, template: tuple[NotebookNode, Path]
):
    notebook, path = template
    before = RULES[rule](notebook, path)
    cell = _cell(notebook, old)
    cell.source = cell.source.replace(old, new, 1)
    after = [text for text in RULES[rule](notebook, path) if text not in before]
    assert any(says in text for text in after), after


def _cell(notebook: NotebookNode, text: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if text in cell.source)


def test_links_that_lead_somewhere_are_left_alone(template: tuple[NotebookNode, Path]):
    notebook, path = template
    cell = _cell(notebook, "Before the cell")
    cell.source += (
        "\n[a](#The-problem) [b](#the-problem) [c](https://example.org/x)"
        "\n[d](picture.png#part)\n```\n[e](nowhere)\n# no heading\n```"
    )
    assert RULES["links"](notebook, path) == []
    assert RULES["headings"](notebook, path) == []


def test_outputs_that_break_a_rule(template: tuple[NotebookNode, Path]):
    notebook, path = template
    picture = new_output(
        "display_data", data={"image/png": "AAAA", "text/plain": "<Figure with 1 Axes>"}
    )
    for cell in rules._code(notebook):
        cell.outputs = [picture]
    assert "shows a picture and no word" in rules.pictures_speak(notebook, path)[0]
    assert "0 compared outputs" in rules.compared_outputs(notebook, path)[0]
    cell.metadata["tags"] = ["nbval-ignore-output"]
    rules._code(notebook)[0].metadata["tags"] = ["nbval-skip"]
    assert "1 of 3 cells" in rules.compared_outputs(notebook, path)[1]
    cell.outputs = [new_output("error", ename="E", evalue="no", traceback=["E: no"])]
    assert rules.stored_outputs(notebook, path) == ["code cell 3 stores an error"]
    cell.metadata["tags"] = ["raises-exception"]
    assert rules.stored_outputs(notebook, path) == []
    cell.source += "\n# NBVAL_SKIP"
    assert "use a tag" in rules.stored_outputs(notebook, path)[0]
    notebook.metadata["widgets"] = {}
    assert rules.normal_form(notebook, path) == [
        "not in its normal form: build it again"
    ]
