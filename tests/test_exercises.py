"""No empty and no wrong answer passes an exercise, and each right one does."""

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_lib import exercises
from course_lib.exercises import (
    NOT_YET,
    Cases,
    Exercise,
    NotAttempted,
    WrongAnswer,
    check,
    grade,
    record,
)
from course_lib.exercises.comparison import difference
from course_lib.exercises.solved import definition, solve, specification, write_solved
from course_lib.notebooks import NOTEBOOKS, SOURCES, BuildError, read
from course_lib.notebooks.rules import exercise_cells

REAL = [e for lesson in exercises.lessons() for e in exercises.of_lesson(lesson)]
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
_STUBS = [(path, key) for path in LESSONS for key in exercise_cells(read(path))]
each_exercise = pytest.mark.parametrize("exercise", REAL, ids=lambda e: e.key)
each_stub = pytest.mark.parametrize(("path", "key"), _STUBS, ids=[k for _, k in _STUBS])


def _template() -> tuple[Exercise, ...]:
    """The exercises of the authors' template, so that it cannot go out of date."""
    text = (SOURCES / "TEMPLATE.md").read_text(encoding="utf-8")
    source = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    scope: dict[str, Any] = {"__name__": "lesson_template"}
    exec(source, scope)
    return scope["EXERCISES"]


def _raise() -> None:
    raise NotImplementedError


# --- every exercise of the course ------------------------------------------------


@pytest.mark.parametrize("exercise", [*REAL, *_template()], ids=lambda e: e.key)
def test_the_reference_passes_and_the_wrong_answers_do_not(exercise: Exercise):
    assert re.fullmatch(r"\d\d\.[1-5]", exercise.key)
    assert grade(exercise, exercise.reference) >= 3
    assert len(exercise.wrong) >= 3
    for name, wrong in exercise.wrong.items():
        with pytest.raises(WrongAnswer) as caught:
            grade(exercise, wrong)
        assert not caught.value.crashed, f"{name} is rejected because it crashes"


@each_exercise
@pytest.mark.parametrize(
    "empty", [lambda *_: None, lambda *_: ..., lambda *_: _raise(), None, ...]
)
def test_an_empty_answer_never_passes(exercise: Exercise, empty: Any):
    with pytest.raises((NotAttempted, WrongAnswer)):
        grade(exercise, empty)


@each_exercise
def test_cases_are_the_same_each_time(exercise: Exercise):
    first, second = exercise.cases(), exercise.cases()
    assert list(first) == list(second)
    for name in first:
        assert not difference(first[name], second[name], 0, 0)


@pytest.mark.parametrize("lesson", exercises.lessons())
def test_keys_are_numbered_in_order(lesson: str):
    keys = [exercise.key for exercise in exercises.of_lesson(lesson)]
    assert keys == [f"{lesson}.{n}" for n in range(1, len(keys) + 1)]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lesson_and_library_have_the_same_exercises(path: Path):
    lesson = path.name[:2]
    known = exercises.of_lesson(lesson) if lesson in exercises.lessons() else ()
    assert list(exercise_cells(read(path))) == [exercise.key for exercise in known]


@each_stub
def test_a_stub_is_specified_as_its_reference_is(path: Path, key: str):
    exercise = exercises.find(key)
    stub = definition(
        exercise_cells(read(path))[key].source, exercise.reference.__name__
    )
    source = textwrap.dedent(inspect.getsource(exercise.reference))
    assert specification(stub) == specification(
        definition(source, exercise.reference.__name__)
    )


@each_stub
def test_a_stub_as_shipped_is_not_attempted(path: Path, key: str):
    outputs = exercise_cells(read(path))[key].outputs
    assert [o.get("text") for o in outputs] == [f"Exercise {key}: {NOT_YET}\n"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_solved_twin_can_be_made(path: Path, tmp_path: Path):
    twin = read(write_solved(path, tmp_path))
    assert NOT_YET not in str(twin)
    assert len(twin.cells) == len(read(path).cells)


# --- the check itself ------------------------------------------------------------


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice x, of the shape of x."""
    return x * 2


def _cases() -> Cases:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    return {
        "odd": (draw(3, 5),),
        "batch": (draw(2, 3, 9, 11),),
        "strided": (draw(6, 4).T,),
    }


TOY = Exercise("99.1", double, _cases, {}, gradient=True)


@pytest.fixture
def toy_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lesson_99")
    module.EXERCISES = (TOY,)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "course_lib.exercises.lesson_99", module)
    monkeypatch.setattr(exercises, "lessons", lambda: ["99"])


@pytest.fixture
def progress_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSE_PROGRESS", "on")
    monkeypatch.setattr(record, "PATH", tmp_path / ".progress.json")
    return tmp_path / ".progress.json"


@pytest.mark.usefixtures("toy_lesson")
def test_a_right_answer_is_returned_and_remembered(
    progress_file: Path, capsys: pytest.CaptureFixture[str]
):
    def mine(x: torch.Tensor) -> torch.Tensor:
        return x + x

    assert check("99.1", mine) is mine
    assert capsys.readouterr().out == "Exercise 99.1: passed on 3 cases\n"
    assert record.read() == {"99.1"}
    exercises.progress()
    assert "99  ●" in capsys.readouterr().out


@pytest.mark.usefixtures("toy_lesson")
@pytest.mark.parametrize("empty", [lambda x: _raise(), lambda x: None, lambda x: ...])
def test_an_empty_answer_gives_the_reference(
    empty: Any, progress_file: Path, capsys: pytest.CaptureFixture[str]
):
    assert check("99.1", empty) is double
    printed = capsys.readouterr().out
    assert printed.startswith("Exercise 99.1: ")
    assert NOT_YET in printed
    assert not progress_file.exists()


@pytest.mark.usefixtures("toy_lesson")
def test_an_unknown_key_lists_what_exists():
    for key in ("99.2", "98.1", "nonsense"):
        with pytest.raises(LookupError, match=r"no exercise .* there is 99\.1"):
            check(key, double)


WRONG = {
    "value": (lambda x: x * 3, r"differ in 15 of 15 places.*largest.*right is"),
    "shape": (
        lambda x: (x * 2)[None],
        r"shape of your answer is \(1, 3, 5\), right is",
    ),
    "dtype": (lambda x: (x * 2).float(), "dtype of your answer is torch.float32"),
    "type": (lambda x: (x * 2).numpy(), "is an ndarray, a torch.Tensor is asked for"),
    "nan": (lambda x: x / 0 * 0, "15 of your values are NaN or infinite"),
    "in place": (lambda x: x.mul_(2), "changed its input in place"),
    "crash": (lambda x: x @ torch.ones(99), "raises RuntimeError"),
    "detached": (lambda x: x.detach() * 2, "no gradient flows"),
    "gradient": (lambda x: x + x.detach(), "gradient is not.*first input"),
    "one case": (lambda x: x * 2 if x.dim() < 4 else x, "case “batch”"),
    "later empty": (lambda x: x * 2 if x.dim() < 4 else None, "batch.*None"),
    "later stub": (lambda x: x * 2 if x.dim() < 4 else _raise(), "NotImplemented"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(name: str):
    answer, message = WRONG[name]
    with pytest.raises(WrongAnswer) as caught:
        grade(TOY, answer)
    assert re.search(message, str(caught.value), re.DOTALL)
    assert caught.value.crashed == (name == "crash")


def test_a_wrong_answer_is_shown_beside_the_right_one():
    def off_at_one_place(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[..., -1, -2] += 1
        return y

    with pytest.raises(WrongAnswer) as caught:
        grade(TOY, off_at_one_place)
    text = str(caught.value)
    assert "differ in 1 of 15 places" in text
    assert "at [2, 3]: yours is 2.244, right is 1.244" in text
    assert re.search(r"at \[0:3, 0:5\]:\n +right +yours\n", text)
    assert len(text.splitlines()) == 7
    assert caught.value._render_traceback_() == text.splitlines()


PAIRS = [  # answer, target, whether they agree
    (1.0 + 1e-9, 1.0, True),
    (1, 1.0, True),
    (np.float64(1), 1.0, True),
    (1.1, 1.0, False),
    (float("nan"), 1.0, False),
    (torch.tensor(1.0), 1.0, False),
    (True, 1, False),
    (1, True, False),
    (True, True, True),
    (np.bool_(False), False, True),
    ("a", "a", True),
    ("a", "b", False),
    ((1, torch.ones(2)), (1, torch.ones(2)), True),
    ((1, torch.ones(2)), (1, torch.zeros(2)), False),
    ((1,), (1, 2), False),
    (1, (1,), False),
    ({"a": 1}, {"a": 1}, True),
    ({"a": 1}, {"a": 2}, False),
    ({"a": 1}, {"b": 1}, False),
    (np.ones(2), np.ones(2), True),
    (torch.tensor([1, float("nan")]), torch.tensor([1, float("nan")]), True),
    (torch.tensor([float("nan"), 1]), torch.tensor([1, float("nan")]), False),
    (torch.tensor(float("inf")), torch.tensor(float("inf")), True),
    (torch.tensor(2), torch.tensor(3), False),
    (torch.ones(0, 3), torch.ones(0, 3), True),
]


@pytest.mark.parametrize(("answer", "target", "agree"), PAIRS)
def test_all_kinds_of_answers_are_compared(answer: Any, target: Any, agree: bool):
    assert (difference(answer, target, 1e-6, 1e-6) == "") == agree


def test_classes_generators_and_free_answers():
    torch_linear = Exercise(
        "99.2",
        torch.nn.Linear,
        lambda: {str(n): (n, torch.Generator().manual_seed(n)) for n in (1, 2, 3)},
        {},
        call=lambda layer, n, g: layer(n, 2)(torch.rand(1, n, generator=g)),
        judge=lambda y, n, g: "" if y.shape == (1, 2) else "shape",
    )
    assert grade(torch_linear, torch.nn.Linear) == 3
    with pytest.raises(WrongAnswer, match="shape"):
        grade(torch_linear, lambda n, m: torch.nn.Linear(n, m + 1))


# --- the record of progress ------------------------------------------------------


def test_a_damaged_record_is_set_aside(progress_file: Path):
    for damage in ("{", "[]", '{"passed": 3}', "\x00"):
        progress_file.write_text(damage)
        assert record.read() == set()
        assert not progress_file.exists()
        assert progress_file.with_name(".progress.damaged.json").read_text() == damage
    record.add("00.1")
    record.add("00.2")
    assert record.read() == {"00.1", "00.2"}
    assert [p.name for p in progress_file.parent.glob("*.tmp")] == []


def test_tests_and_builds_keep_no_record(tmp_path: Path):
    path = tmp_path / "progress.json"
    record.add("00.1", path)
    assert not path.exists()


def test_a_record_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COURSE_PROGRESS", "on")
    record.add("00.1", tmp_path / "no" / "such" / "folder.json")


# --- solved twins ----------------------------------------------------------------


def _stub_notebook() -> NotebookNode:
    source = (
        "import torch\n\n\ndef double(x: torch.Tensor) -> torch.Tensor:\n"
        '    """Twice x, of the shape of x."""\n    raise NotImplementedError\n\n\n'
        'double = cl.check("99.1", double)'
    )
    text = f"Exercise 99.1: {NOT_YET}\n"
    cell = new_code_cell(source, outputs=[new_output("stream", text=text)])
    cell.metadata["tags"] = ["exercise-99.1"]
    return new_notebook(cells=[cell])


def test_a_solved_twin_holds_the_reference():
    notebook = _stub_notebook()
    cell = solve(notebook, {"99.1": TOY}).cells[0]
    assert "return x * 2\n\n\ndouble = cl.check" in cell.source
    assert cell.source.startswith("import torch\n\n\ndef double(")
    assert "NotImplementedError" not in cell.source
    assert cell.outputs[0].text == "Exercise 99.1: passed on 3 cases\n"
    assert "NotImplementedError" in notebook.cells[0].source
    ast.parse(cell.source)


def test_a_twin_without_exercise_or_output_is_refused():
    with pytest.raises(BuildError, match="not in the library"):
        solve(_stub_notebook(), {})
    silent = _stub_notebook()
    silent.cells[0].outputs = []
    with pytest.raises(BuildError, match="does not show once"):
        solve(silent, {"99.1": TOY})


@pytest.mark.parametrize(
    ("old", "new"),
    [("Twice", "Thrice"), ("x: torch", "y: torch"), (") ->", ", k: int = 1) ->")],
)
def test_another_specification_is_noticed(old: str, new: str):
    source = _stub_notebook().cells[0].source
    reference = definition(inspect.getsource(double), "double")
    assert specification(definition(source, "double")) == specification(reference)
    other = definition(source.replace(old, new, 1), "double")
    assert specification(other) != specification(reference)
