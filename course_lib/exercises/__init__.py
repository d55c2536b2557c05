"""The exercises of every lesson: what is asked, how an answer is checked, progress.

A lesson NN keeps its exercises in ``course_lib/exercises/lesson_NN.py`` as a tuple
``EXERCISES``. Lesson 00 explains :func:`check` to the reader.
"""

import contextlib
import importlib
import inspect
import pkgutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from course_lib.exercises import record
from course_lib.exercises.comparison import (
    copy_with_gradients,
    difference,
    gradient_difference,
)
from course_lib.exercises.limit import TookTooLong, within
from course_lib.session import LESSONS

Cases = dict[str, tuple[Any, ...]]
SECONDS = 10.0  # what an answer may take for a case, or PATIENCE times the reference
PATIENCE = 50


def _call(answer: Callable[..., Any], *arguments: Any) -> Any:
    return answer(*arguments)


@dataclass(frozen=True)
class Exercise:
    """One exercise: its reference answer, seeded cases and known wrong answers.

    ``reference``: a function (or class); its signature and docstring are the task, and
    its source must run with the names that the notebook has imported.
    ``cases``: makes ``{what the case is: arguments}``, at least three, equal and new
    each time it is called, so that a ``torch.Generator`` or a layer with a memory among
    the arguments starts afresh.
    ``wrong``: named wrong answers that the check must reject; at least three.
    ``atol``, ``rtol``: how far numbers may be from the reference's.
    ``gradient``: also compare the gradients of all floating-point tensor arguments.
    ``call``: how an answer is asked, ``call(answer, *arguments)``; for a class, for
    example, ``lambda layer, x: layer(3, 8)(x)``. Messages call the arguments as
    ``call`` does, or else as the reference does.
    ``judge``: replaces the comparison with the reference; ``judge(given, *arguments)``
    returns what is wrong with it in one sentence, or "" when it is right.
    """

    key: str
    reference: Callable[..., Any]
    cases: Callable[[], Cases]
    wrong: Mapping[str, Callable[..., Any]]
    atol: float = 1e-6
    rtol: float = 1e-5
    gradient: bool = False
    call: Callable[..., Any] = _call
    judge: Callable[..., str] | None = None


class NotAttempted(Exception):
    """The answer is still empty."""


class WrongAnswer(AssertionError):
    """The answer was given and is wrong; the message says in which case and how.

    ``crashed`` tells an answer that raised an error, or never ended, from one that gave
    a wrong value.
    """

    def __init__(self, message: str, crashed: bool = False) -> None:
        super().__init__(message)
        self.crashed = crashed

    def _render_traceback_(self) -> list[str]:
        # IPython prints this in place of the traceback, which is about our files
        return str(self).splitlines()


def check(key: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """Check the answer to exercise ``key``, such as ``"04.2"``.

    Returns the answer itself when it passes all cases, and remembers it for
    :func:`progress`. An answer not attempted (it raises ``NotImplementedError``, or
    returns ``None`` or ``...``) is replaced by the reference, so that the lesson can
    go on. A wrong one raises ``WrongAnswer``; an unknown key a ``LookupError``.
    """
    exercise = find(key)
    try:
        count = grade(exercise, answer)
    except NotAttempted as empty:
        print(f"Exercise {key}: {empty}")
        return exercise.reference
    record.add(key)
    print(f"Exercise {key}: {passed_on(count)}")
    return answer


NOT_YET = "not attempted yet, going on with the reference answer"


def passed_on(count: int) -> str:
    """The words for an answer that passed ``count`` cases."""
    return f"passed on {count} cases"


def grade(exercise: Exercise, answer: Callable[..., Any]) -> int:
    """Run all cases and return their number; raise NotAttempted or WrongAnswer.

    A case may take ``SECONDS``, or ``PATIENCE`` times as long as the reference.
    """
    given, kept, asked = (exercise.cases() for _ in range(3))
    for number, name in enumerate(given):
        where = f"Exercise {exercise.key}, case “{name}”"
        started = time.perf_counter()
        target = exercise.call(exercise.reference, *asked[name])
        seconds = max(SECONDS, PATIENCE * (time.perf_counter() - started))
        got = _ask(exercise, answer, given[name], where, seconds, first=number == 0)
        verdict = _changes(exercise, given[name], kept[name])
        if not verdict and exercise.judge:
            verdict = exercise.judge(got, *kept[name])
        elif not verdict:
            verdict = difference(got, target, exercise.atol, exercise.rtol)
        if not verdict and exercise.gradient:
            verdict = _compare_gradients(exercise, answer, name, where, seconds)
        if verdict:
            raise WrongAnswer(f"{where}: {verdict}")
    return len(given)


def names(exercise: Exercise, count: int) -> list[str]:
    """What messages call the ``count`` arguments of a case: ``["`x`", "`valid`"]``."""
    for function, skipped in ((exercise.call, 1), (exercise.reference, 0)):
        with contextlib.suppress(TypeError, ValueError):  # some have no signature
            found = inspect.signature(function).parameters.values()
            plain = [p.name for p in found if p.kind <= p.POSITIONAL_OR_KEYWORD]
            if len(plain) >= skipped + count:
                return [f"`{name}`" for name in plain[skipped : skipped + count]]
    return [f"argument {number}" for number in range(1, count + 1)]


def _changes(exercise: Exercise, now: tuple[Any, ...], before: tuple[Any, ...]) -> str:
    both = zip(names(exercise, len(now)), now, before, strict=True)
    changed = [name for name, a, b in both if difference(a, b, 0.0, 0.0)]
    if not changed:
        return ""
    parts = " and ".join(changed)
    return (
        f"your answer changes {parts} in place: work on a copy, or make a new tensor."
    )


def _ask(
    exercise: Exercise,
    answer: Callable[..., Any],
    arguments: tuple[Any, ...],
    where: str,
    seconds: float,
    first: bool,
) -> Any:
    if answer is None or answer is Ellipsis:
        raise NotAttempted(NOT_YET)
    try:
        got = within(seconds, exercise.call, answer, *arguments)
    except TookTooLong as stop:
        text = f"{where}: {_endless(stop, seconds)}"
        raise WrongAnswer(text, crashed=True) from None
    except NotImplementedError:
        if first:
            raise NotAttempted(NOT_YET) from None
        raise WrongAnswer(f"{where}: your answer raises NotImplementedError.") from None
    except Exception as error:
        raise WrongAnswer(f"{where}: {_crash(error)}", crashed=True) from error
    if got is None or got is Ellipsis:
        shown = "None (is a return missing?)" if got is None else "..."
        if first:
            raise NotAttempted(f"your answer returns {shown}; {NOT_YET}")
        raise WrongAnswer(f"{where}: your answer returns {shown}.")
    return got


def _compare_gradients(
    exercise: Exercise,
    answer: Callable[..., Any],
    name: str,
    where: str,
    seconds: float,
) -> str:
    theirs = copy_with_gradients(exercise.cases()[name])
    ours = copy_with_gradients(exercise.cases()[name])
    got = _ask(exercise, answer, theirs, where, seconds, first=False)
    target = exercise.call(exercise.reference, *ours)
    called = names(exercise, len(ours))
    return gradient_difference(
        got, theirs, target, ours, called, exercise.atol, exercise.rtol
    )


def _crash(error: Exception) -> str:
    return f"your answer raises {type(error).__name__}: {error}{_typed_line(error)}"


def _endless(stop: TookTooLong, seconds: float) -> str:
    return (
        f"your answer was stopped after {seconds:.3g} seconds. Look for a loop that "
        f"never ends in this case.{_typed_line(stop)}"
    )


def _typed_line(error: BaseException) -> str:
    """The learner's own line that an error came from: the last one typed in a cell."""
    frames = traceback.extract_tb(error.__traceback__)
    typed = [frame for frame in frames if "ipykernel" in frame.filename]
    if not typed:
        return ""
    return f"\n  in line {typed[-1].lineno} of your cell:  {typed[-1].line}"


def find(key: str) -> Exercise:
    """The exercise with this key. Raises ``LookupError`` that lists what exists."""
    lesson = str(key).partition(".")[0]
    if lesson in lessons():
        for exercise in of_lesson(lesson):
            if exercise.key == key:
                return exercise
    known = [e.key for number in lessons() for e in of_lesson(number)]
    raise LookupError(
        f"there is no exercise {key!r}; there is {', '.join(known) or 'none yet'}"
    )


def lessons() -> list[str]:
    """The numbers of the lessons that have exercises."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(n.removeprefix("lesson_") for n in names if n.startswith("lesson_"))


def of_lesson(lesson: str) -> tuple[Exercise, ...]:
    """All exercises of a lesson, in the order of the lesson."""
    module = importlib.import_module(f"{__name__}.lesson_{lesson}")
    return tuple(module.EXERCISES)


def progress() -> None:
    """Print which exercises have been passed on this computer, a row for a lesson."""
    passed = record.read()
    print("exercises passed")
    for lesson in lessons():
        keys = [exercise.key for exercise in of_lesson(lesson)]
        dots = "".join("●" if key in passed else "○" for key in keys)
        count = sum(key in passed for key in keys)
        title = LESSONS[lesson].title if lesson in LESSONS else ""
        print(f"{lesson}  {dots:5}  {count} of {len(keys)}  {title}".rstrip())
