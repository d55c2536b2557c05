"""How pytest runs here: sealed kernels, solved twins, one clear failure a notebook."""

import os
import runpy
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
SOLVED = ROOT / "build" / "solved"


def pytest_configure(config: pytest.Config) -> None:
    """Seal what the kernels inherit; make the solved twins, once, before the workers.

    The seal is loaded by its path: torch must not be imported before OMP_NUM_THREADS
    is set, and not at all in the process that only hands out the tests.
    """
    if hasattr(config, "workerinput"):
        return  # a worker inherits both from the process that started it
    os.environ.update(_seal(ROOT / "build" / "ipython"))
    everything = config.args_source == config.ArgsSource.TESTPATHS
    if everything or any("solved" in argument for argument in config.args):
        _write_solved_twins()
    if everything and str(SOLVED) not in config.args:
        config.args.append(str(SOLVED))


def _seal(folder: Path) -> dict[str, str]:
    path = ROOT / "course_lib" / "notebooks" / "seal.py"
    return runpy.run_path(str(path))["seal"](folder)


def _write_solved_twins() -> None:
    from course_lib.exercises.solved import write_solved
    from course_lib.notebooks import BuildError

    SOLVED.mkdir(parents=True, exist_ok=True)
    for old in SOLVED.glob("*.ipynb"):
        old.unlink()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        try:
            write_solved(path, SOLVED)
        except BuildError as error:  # test_exercises.py fails on it, with the reason
            print(f"no solved twin of {path.name}: {error}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say where a failed notebook cell is written, and what to do about it."""
    report = yield
    if _is_cell(item) and report.failed:
        item.parent._failed_first = item.name  # type: ignore[union-attr]
        report.longrepr = f"{report.longrepr}\n{_advice(item)}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    """After the first failure in a notebook, its other cells say nothing new."""
    first = getattr(item.parent, "_failed_first", None)
    if _is_cell(item) and first:
        pytest.skip(f"{first} failed before it")


def _is_cell(item: pytest.Item) -> bool:
    return type(item).__name__ == "IPyNbCell"


def _advice(item: pytest.Item) -> str:
    number = item.cell.execution_count  # type: ignore[attr-defined]
    lesson = item.path.name[:2]
    if item.path.parent == SOLVED:
        return (
            f"This is In [{number}] of the solved twin of lesson {lesson}: the lesson "
            "with the answers of course_lib/exercises put in."
        )
    return (
        f"This is In [{number}] of {item.path.name}. If the new output is the right "
        f"one, store it: python -m course_lib.notebooks {lesson}"
    )
