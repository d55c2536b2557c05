"""No empty and no wrong answer passes an exercise, and each right one does."""

import ast
import contextlib
import inspect
import linecache
import os
import re
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
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
from course_lib.exercises.limit import TookTooLong, within
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
    "in place": (lambda x: x.mul_(2), "changes `x` in place"),
    "crash": (lambda x: x @ torch.ones(99), "raises RuntimeError"),
    "detached": (lambda x: x.detach() * 2, "no gradient flows"),
    "gradient": (lambda x: x + x.detach(), "gradient is not.*gradient for `x` differ"),
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


INF = float("inf")
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
    (torch.tensor(True), True, True),
    (torch.tensor(True), False, False),
    (torch.tensor([True]), True, False),
    (torch.tensor(1), True, False),
    (np.array(False), False, True),
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
    (torch.tensor([INF, -INF, 1]), torch.tensor([INF, -INF, 1]), True),
    (torch.tensor([INF, 1]), torch.tensor([-INF, 1]), False),
    (torch.tensor([INF, 1]), torch.tensor([2.0, 1]), False),
    (torch.tensor([2.0, 1]), torch.tensor([INF, 1]), False),
    (torch.tensor([INF]), torch.tensor([float("nan")]), False),
    (INF, INF, True),
    (1.0, INF, False),
    (INF, 1.0, False),
    (-INF, INF, False),
    (float("nan"), float("nan"), True),
    (torch.tensor(2), torch.tensor(3), False),
    (torch.ones(0, 3), torch.ones(0, 3), True),
]


@pytest.mark.parametrize(("answer", "target", "agree"), PAIRS)
def test_all_kinds_of_answers_are_compared(answer: Any, target: Any, agree: bool):
    assert (difference(answer, target, 1e-6, 1e-6) == "") == agree


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_equal_infinities_and_nan_agree_whatever_is_allowed(tolerance: float):
    odd = torch.tensor([INF, -INF, float("nan"), 1.0])
    assert not difference(odd, odd.clone(), tolerance, tolerance)
    text = difference(odd.nan_to_num(0, 3, 3), odd, tolerance, tolerance)
    assert "differ in 3 of 4 places" in text
    assert "yours is 3, right is inf" in text


UNCLEAR = [  # answer, target, what is said
    (torch.tensor(1), True, "shape (), a bool is asked for: use bool(...)"),
    (torch.tensor([True]), True, "shape (1,), a bool is asked for: use bool(...)"),
    (1, True, "is an int, a bool is asked for: use bool(...)"),
    (True, 1, "is a bool, an int is asked for: use int(...)"),
    (torch.tensor(2), 2, "shape (), an int is asked for: use int(...)"),
    (np.zeros(3), "a", "is an ndarray, a str is asked for."),
    (None, True, "is None, a bool is asked for"),
    ((0, 0), None, "is a tuple of 2, None is asked for."),
    (torch.tensor(True), False, "is True, right is False"),
]


@pytest.mark.parametrize(("answer", "target", "said"), UNCLEAR)
def test_an_answer_of_another_kind_is_told_which_one_is_wanted(
    answer: Any, target: Any, said: str
):
    text = difference((answer,), (target,), 1e-6, 1e-6)
    assert text.startswith("your answer[0] ")
    assert said in text


def test_a_difference_too_small_for_the_tables_is_printed_itself():
    right = torch.tensor([[0.5, 2.0, INF], [1.0, 3.0, 4.0]], dtype=torch.float64)
    mine = right.clone()
    mine[1, 0] -= 3e-5
    text = difference(mine, right, 1e-6, 1e-6)
    assert text.splitlines() == [
        "the values of your answer differ in 1 of 6 places.",
        "  largest difference at [1, 0]: 3e-05, where right is about 1"
        " (up to 2e-06 passes)",
        "  yours less right, at [0:2, 0:3]:",
        "         0      0      0",
        "    -3e-05      0      0",
    ]
    single = difference(mine[1, 0], right[1, 0], 1e-6, 1e-6)
    assert "largest difference: 3e-05, where right is about 1" in single
    mine[1, 0] = 7
    assert "right         yours" in difference(mine, right, 1e-6, 1e-6)


TWO = Exercise(
    "99.3",
    reference=lambda image, valid: (image * valid).sum(),
    cases=lambda: {"c": (torch.ones(2), torch.ones(2))},
    wrong={},
    gradient=True,
)
AS_CLASS = Exercise(
    "99.4",
    reference=torch.nn.Identity,
    cases=lambda: {"c": (1, torch.ones(2))},
    wrong={},
    call=lambda layer, size, features: layer()(features),
)
UNNAMED = Exercise("99.5", lambda *x: x[1] * 2, TWO.cases, {}, gradient=True)


class _Adding(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1) - 1


NAMED = {
    "in place": (TWO, lambda x, v: (x * v.mul_(1.5)).sum(), "changes `valid` in pl"),
    "both": (
        TWO,
        lambda x, v: (x.mul_(2) * v.mul_(2)).sum(),
        "changes `image` and `valid` in place",
    ),
    "gradient": (
        TWO,
        lambda x, v: (x * v.detach()).sum(),
        "values of the gradient for `valid` differ",
    ),
    "a class": (AS_CLASS, _Adding, "changes `features` in place"),
    "no names": (
        UNNAMED,
        lambda x, y: y + y.detach() + 0 * x,
        "the gradient for argument 2 differ",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_argument_concerned_is_named(name: str):
    exercise, answer, said = NAMED[name]
    with pytest.raises(WrongAnswer) as caught:
        grade(exercise, answer)
    assert said in str(caught.value)


def test_the_arguments_of_each_exercise_have_names():
    for exercise in REAL:
        for arguments in exercise.cases().values():
            names = exercises.names(exercise, len(arguments))
            assert len(names) == len(arguments)
            assert all(name.startswith("`") for name in names), exercise.key


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


# --- the time limit --------------------------------------------------------------

needs_alarm = pytest.mark.skipif(
    not hasattr(signal, "SIGALRM"), reason="this system has no alarm"
)


def _for_ever(*_: Any) -> None:
    until = time.monotonic() + 5  # so that a missing limit fails and does not hang
    while time.monotonic() < until:
        pass


def _typed(source: str, name: str) -> Callable[..., Any]:
    """The function ``name``, as if it had been typed in a cell."""
    file = "ipykernel_1/1.py"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope: dict[str, Any] = {"torch": torch}
    exec(compile(source, file, "exec"), scope)
    return scope[name]


ENDLESS = """\
def rings(hole):
    ring, left = torch.zeros_like(hole), hole
    while left.any():
        ring = ring + left
        left = -torch.nn.functional.max_pool2d(-left, 3, 1, 1)
    return ring
"""


@needs_alarm
def test_a_loop_without_end_is_stopped_and_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exercises, "SECONDS", 0.5)
    with pytest.raises(WrongAnswer) as caught:
        grade(exercises.find("02.1"), _typed(ENDLESS, "rings"))
    text = str(caught.value)
    assert "case “one full hole, one with a pixel known”" in text
    assert "stopped after 0.5 seconds" in text
    assert "a loop that never ends" in text
    assert re.search(r"in line [345] of your cell:  \w+", text)
    assert caught.value.crashed


@needs_alarm
def test_a_slow_reference_gives_more_time(monkeypatch: pytest.MonkeyPatch):
    def slow(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return x * 2

    monkeypatch.setattr(exercises, "SECONDS", 0.01)
    exercise = Exercise("99.6", slow, lambda: {"c": (torch.ones(2),)}, {})
    assert grade(exercise, lambda x: (time.sleep(0.1), x * 2)[1]) == 1


@needs_alarm
def test_a_busy_machine_stops_nobody_but_waiting_ends_too():
    """Asleep, a thread works as little as one that other processes keep waiting."""
    assert within(0.2, lambda: time.sleep(0.6) or 3) == 3
    started = time.monotonic()
    with pytest.raises(TookTooLong):
        within(0.2, lambda: time.sleep(5))
    assert 1.2 <= time.monotonic() - started < 4


@needs_alarm
def test_an_endless_loop_that_catches_errors_is_stopped_too():
    def stubborn() -> None:
        until, caught = time.monotonic() + 5, 0
        while time.monotonic() < until and caught < 2:
            try:
                _for_ever()
            except Exception:  # as a learner writes it
                pass
            except BaseException:
                caught += 1  # once is not enough

    started = time.monotonic()
    within(0.1, stubborn)
    assert 1 < time.monotonic() - started < 4


@needs_alarm
def test_handler_and_timer_are_as_they_were():
    rung: list[int] = []

    def mine(number: int, frame: Any) -> None:
        rung.append(number)

    before = signal.signal(signal.SIGALRM, mine)
    try:
        for limited in (_for_ever, lambda: None):
            signal.setitimer(signal.ITIMER_REAL, 30, 7)
            with contextlib.suppress(TookTooLong):
                within(0.1, limited)
            assert signal.getsignal(signal.SIGALRM) is mine
            left, interval = signal.getitimer(signal.ITIMER_REAL)
            assert (20 < left < 30, interval) == (True, 7)
        signal.setitimer(signal.ITIMER_REAL, 0)
        within(0.1, lambda: None)
        time.sleep(0.2)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert rung == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@needs_alarm
def test_an_interrupt_from_the_keyboard_still_arrives():
    before = signal.getsignal(signal.SIGALRM)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        grade(TOY, _for_ever)
    timer.join()
    assert time.monotonic() - started < 2
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_in_another_thread_there_is_no_limit():
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(within(0.05, lambda: time.sleep(0.2) or 3))
    )
    thread.start()
    thread.join()
    assert found == [3]


def test_without_an_alarm_there_is_no_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(signal, "SIGALRM", raising=False)
    assert within(0.05, lambda: time.sleep(0.2) or 3) == 3


@needs_alarm
@pytest.mark.parametrize("module", ["bdb", "pdb", "_pydevd_bundle.pydevd"])
def test_a_debugger_has_all_the_time(module: str):
    scope: dict[str, Any] = {"__name__": module, "sleep": time.sleep}
    exec("def prompt():\n    sleep(0.2)\n    return 3", scope)
    assert within(0.05, scope["prompt"]) == 3


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
