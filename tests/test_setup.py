"""course.py: installs once, recovers from everything, and says what is wrong."""

import ast
import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from course_lib import recipes

ROOT = Path(__file__).parents[1]
GIB = 2**30
posix = pytest.mark.skipif(os.name == "nt", reason="signals and scripts of POSIX")


def make_copy(folder: Path) -> Path:
    """Put what an installation reads into a folder of its own."""
    for name in ("course.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """course.py of a fresh copy, on a large disk, without uv and outside CI."""
    spec = importlib.util.spec_from_file_location(
        "course_copy", make_copy(tmp_path) / "course.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(module, "find_uv", lambda: None)
    for name in ("CI", "COURSE_REQUIRE_BROWSER"):
        monkeypatch.delenv(name, raising=False)
    disk(monkeypatch, module, 100)
    return module


def disk(monkeypatch: pytest.MonkeyPatch, module: ModuleType, gib: float) -> None:
    """Pretend that so much of the disk is free."""
    usage = SimpleNamespace(free=int(gib * GIB))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)


class Runner:
    """Stands in for subprocess.run, and for making a real virtual environment."""

    def __init__(self, course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.course = course
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.fails: dict[int, BaseException] = {}
        monkeypatch.setattr(course.subprocess, "run", self)
        monkeypatch.setattr(course, "make_environment", self.make_environment)

    def __call__(self, command: list[str], **options: Any) -> None:
        self.commands.append(list(command))
        self.environments.append(options["env"])
        if len(self.commands) in self.fails:
            raise self.fails.pop(len(self.commands))

    def make_environment(self, with_pip: bool) -> None:
        python = self.course.interpreter()
        python.parent.mkdir(parents=True)
        python.write_text("", "utf-8")
        (self.course.ENV / "pip").write_text(str(with_pip), "utf-8")


@pytest.fixture
def runner(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(course, monkeypatch)


def failure() -> subprocess.CalledProcessError:
    return subprocess.CalledProcessError(1, "pip")


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was printed to the learner as the reason."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


# --- the file itself ----------------------------------------------------------------


def test_python_3_8_can_read_it_and_the_standard_library_is_enough():
    tree = ast.parse((ROOT / "course.py").read_text("utf-8"), feature_version=(3, 8))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 13), (3, 14, 0)])
def test_an_unsupported_python_gets_one_sentence(tmp_path: Path, version):
    make_copy(tmp_path)
    code = (
        f"import runpy, sys; sys.version_info = {(*version, 'final', 0)};"
        "sys.argv = ['course.py', 'lab'];"
        "runpy.run_path('course.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert ".".join(map(str, version)) in line
    assert "Python 3.11 to 3.13" in line
    assert "3.12 course.py lab" in line
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_supported_pythons_pass(course, monkeypatch, minor):
    monkeypatch.setattr(course.sys, "version_info", (3, minor, 0, "final", 0))
    course.check_python()


@pytest.mark.parametrize(
    ("where", "name", "value", "says"),
    [
        ("sys", "implementation", SimpleNamespace(name="pypy"), "CPython"),
        ("sys", "maxsize", 2**31 - 1, "64-bit"),
    ],
)
def test_other_kinds_of_python_are_refused(
    course, monkeypatch, capsys, where, name, value, says
):
    monkeypatch.setattr(getattr(course, where), name, value)
    assert course.main(["setup"]) == 1
    assert says in sentence(capsys)


def test_intel_macs_are_refused(course, monkeypatch, capsys):
    monkeypatch.setattr(course.sys, "platform", "darwin")
    monkeypatch.setattr(course.platform, "machine", lambda: "x86_64")
    assert course.main(["setup"]) == 1
    assert "Intel Macs" in sentence(capsys)


def test_an_unknown_command_lists_what_exists(course, runner, capsys):
    assert course.main(["lba"]) == 2
    line = sentence(capsys)
    assert "'lba'" in line
    assert all(name in line for name in course.COMMANDS)
    assert runner.commands == []


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_names_every_command_and_installs_nothing(
    course, runner, capsys, arguments
):
    assert course.main(arguments) == 0
    printed = capsys.readouterr().out
    for name in course.COMMANDS:
        assert f"course.py {name}" in printed
    assert runner.commands == []


# --- installing ---------------------------------------------------------------------


def test_the_first_call_installs_lock_and_course_with_pip(course, runner, tmp_path):
    assert course.main(["setup"]) == 0
    python = str(course.interpreter())
    lock, editable = runner.commands
    assert lock[:3] == editable[:3] == [python, "-m", "pip"]
    assert lock[-3:] == ["--require-hashes", "-r", str(tmp_path / "requirements.lock")]
    assert editable[-4:-2] == ["--no-deps", "--no-build-isolation"]
    assert editable[-2:] == ["-e", str(tmp_path)]
    assert (course.ENV / "pip").read_text("utf-8") == "True"


def test_uv_is_used_when_it_is_there(course, runner, monkeypatch):
    monkeypatch.setattr(course, "find_uv", lambda: "/opt/uv")
    assert course.main(["setup"]) == 0
    start = ["/opt/uv", "pip", "install", "--python", str(course.interpreter())]
    assert [command[:5] for command in runner.commands] == [start, start]
    assert "--require-hashes" in runner.commands[0]
    assert (course.ENV / "pip").read_text("utf-8") == "False"


def test_a_uv_that_does_not_run_is_not_used(course, runner, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(course.shutil, "which", lambda _: "/stand-in/for/uv")
    monkeypatch.setattr(course.subprocess, "run", raising(failure()))
    assert course.find_uv() is None
    monkeypatch.setattr(course.subprocess, "run", raising(FileNotFoundError()))
    assert course.find_uv() is None
    monkeypatch.setattr(course.subprocess, "run", lambda *_, **__: None)
    assert course.find_uv() == "/stand-in/for/uv"


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that only raises."""

    def raise_it(*_: Any, **__: Any) -> None:
        raise error

    return raise_it


def test_settings_for_other_projects_do_not_reach_the_installer(
    course, runner, monkeypatch
):
    for name in course.FOREIGN:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "99")
    assert course.main(["setup"]) == 0
    for environment in runner.environments:
        assert not set(course.FOREIGN) & set(environment)
        assert environment["PIP_DEFAULT_TIMEOUT"] == "99"
        assert environment["VIRTUAL_ENV"] == str(course.ENV)


def test_later_calls_touch_neither_disk_nor_network(course, runner, monkeypatch):
    assert course.main(["setup"]) == 0
    for name in ("alone", "install", "clear", "find_uv", "check_disk", "run", "call"):
        monkeypatch.setattr(course, name, raising(AssertionError(name)))
    monkeypatch.setattr(course.subprocess, "run", raising(AssertionError("run")))
    assert course.main(["setup"]) == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "again"),
    [
        ("requirements.lock", "anyio==", "anyio-2==", True),
        ("pyproject.toml", 'version = "0.1.0"', 'version = "0.1.1"', True),
        ("pyproject.toml", "[build-system]", "[build-system]\n# new", True),
        ("pyproject.toml", "line-length = 88", "line-length = 89", False),
    ],
)
def test_only_a_change_of_what_is_installed_installs_again(
    course, runner, tmp_path, file, old, new, again
):
    assert course.main(["setup"]) == 0
    text = (tmp_path / file).read_text("utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1), "utf-8")
    (course.ENV / "left over").write_text("", "utf-8")
    assert course.main(["setup"]) == 0
    assert len(runner.commands) == (4 if again else 2)
    assert (course.ENV / "left over").exists() is not again


@pytest.mark.parametrize("changed", ["python", "place"])
def test_another_python_or_place_installs_again(course, runner, monkeypatch, changed):
    assert course.main(["setup"]) == 0
    if changed == "python":
        monkeypatch.setattr(course.sysconfig, "get_config_var", lambda _: ".cp3x.so")
    else:
        monkeypatch.setattr(course, "ROOT", course.ROOT / "moved")
    assert not course.ready()


def test_jupyterlab_starts_without_its_news_question(course, runner):
    assert course.main(["setup"]) == 0
    file = course.ENV / "share/jupyter/lab/settings/overrides.json"
    settings = json.loads(file.read_text("utf-8"))
    notification = settings["@jupyterlab/apputils-extension:notification"]
    assert notification["fetchNews"] == "false"


@pytest.mark.parametrize(
    ("system", "uv", "gib"),
    [
        ("linux", "uv", 8),
        ("linux", None, 12),
        ("darwin", None, 3),
        ("win32", None, 3),
    ],
)
def test_how_much_disk_is_asked_for(course, monkeypatch, system, uv, gib):
    monkeypatch.setattr(course.sys, "platform", system)
    disk(monkeypatch, course, gib - 0.1)
    with pytest.raises(course.CourseError, match=f"about {gib} GiB of free disk"):
        course.check_disk(uv)
    disk(monkeypatch, course, gib + 0.1)
    course.check_disk(uv)


def test_too_little_disk_installs_nothing(course, runner, monkeypatch, capsys):
    disk(monkeypatch, course, 2.5)
    assert course.main(["lab"]) == 1
    assert "has 2.5 GiB: make room" in sentence(capsys)
    assert runner.commands == []
    disk(monkeypatch, course, 100)
    assert course.main(["setup"]) == 0


def test_the_space_of_an_old_environment_counts_as_free(course, runner, monkeypatch):
    (course.ENV / "lib").mkdir(parents=True)
    free = lambda _: SimpleNamespace(free=(1 if course.ENV.exists() else 13) * GIB)  # noqa: E731
    monkeypatch.setattr(course.shutil, "disk_usage", free)
    assert course.main(["setup"]) == 0


# --- interrupted and broken installs ------------------------------------------------


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "Stopped: nothing is broken"),
        (failure(), 1, "could not be installed"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "is full: make room"),
    ],
)
def test_after_an_interruption_the_next_call_recovers(
    course, runner, capsys, step, error, status, says
):
    runner.fails[step] = error
    assert course.main(["setup"]) == status
    assert says in sentence(capsys)
    assert not course.STAMP.exists()
    assert not course.ready()
    assert course.main(["setup"]) == 0
    assert len(runner.commands) == step + 2
    assert course.ready()


def test_an_interrupted_repeat_does_not_keep_the_old_stamp(course, runner, monkeypatch):
    assert course.main(["setup"]) == 0
    course.interpreter().unlink()
    with monkeypatch.context() as patch:
        patch.setattr(course.shutil, "rmtree", raising(KeyboardInterrupt()))
        assert course.main(["setup"]) == 130
    assert not course.STAMP.exists()


def test_an_installer_that_filled_the_disk_is_told_apart(
    course, runner, monkeypatch, capsys
):
    free = lambda _: SimpleNamespace(free=(0 if runner.commands else 13) * GIB)  # noqa: E731
    monkeypatch.setattr(course.shutil, "disk_usage", free)
    runner.fails[1] = failure()
    assert course.main(["setup"]) == 1
    assert "is full: make room" in sentence(capsys)


def file_in_place(course: ModuleType) -> None:
    course.ENV.write_text("not a folder", "utf-8")


def half_made(course: ModuleType) -> None:
    (course.ENV / "lib" / "python").mkdir(parents=True)


def dangling_link(course: ModuleType) -> None:
    course.ENV.symlink_to(course.ROOT / "gone")


def link_elsewhere(course: ModuleType) -> None:
    (course.ROOT / "elsewhere").mkdir()
    (course.ROOT / "elsewhere" / "kept").write_text("", "utf-8")
    course.ENV.symlink_to(course.ROOT / "elsewhere")


def no_interpreter(course: ModuleType) -> None:
    course.main(["setup"])
    course.interpreter().unlink()


def dangling_interpreter(course: ModuleType) -> None:
    no_interpreter(course)
    course.interpreter().symlink_to(course.ROOT / "uninstalled python")


def foreign_stamp(course: ModuleType) -> None:
    course.main(["setup"])
    course.STAMP.write_bytes(b"\xff\xfe")


def stamp_is_folder(course: ModuleType) -> None:
    course.main(["setup"])
    course.STAMP.unlink()
    course.STAMP.mkdir()


@pytest.mark.parametrize(
    "break_it",
    [
        file_in_place,
        half_made,
        no_interpreter,
        foreign_stamp,
        stamp_is_folder,
        pytest.param(dangling_link, marks=posix),
        pytest.param(link_elsewhere, marks=posix),
        pytest.param(dangling_interpreter, marks=posix),
    ],
)
def test_a_broken_environment_is_made_again(course, runner, break_it):
    break_it(course)
    runner.commands.clear()
    assert course.main(["setup"]) == 0
    assert len(runner.commands) == 2
    assert course.ready()
    assert course.ENV.is_dir()
    assert not course.ENV.is_symlink()
    if break_it is link_elsewhere:  # what the link pointed to was somebody's own
        assert (course.ROOT / "elsewhere" / "kept").exists()


def test_a_read_only_folder_is_explained(course, runner, monkeypatch, capsys):
    folder = str(course.BUSY.parent)
    error = OSError(errno.EROFS, "Read-only file system", folder)
    monkeypatch.setattr(course.Path, "mkdir", raising(error))
    assert course.main(["setup"]) == 1
    line = sentence(capsys)
    assert folder in line
    assert "Read-only file system" in line
    assert "a folder of your own" in line


def test_an_environment_in_use_is_explained(course, runner, monkeypatch, capsys):
    half_made(course)
    error = PermissionError(errno.EACCES, "Access is denied", "python.exe")
    monkeypatch.setattr(course.shutil, "rmtree", raising(error))
    assert course.main(["setup"]) == 1
    assert "close all that still uses its .venv" in sentence(capsys)


def test_a_python_without_venv_is_explained(course, monkeypatch, capsys):
    find = importlib.util.find_spec
    fake = lambda name: None if name == "ensurepip" else find(name)  # noqa: E731
    monkeypatch.setattr(course.importlib.util, "find_spec", fake)
    assert course.main(["setup"]) == 1
    assert "apt install python3-venv" in sentence(capsys)


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_an_incomplete_copy_is_explained(course, runner, tmp_path, capsys, name):
    (tmp_path / name).unlink()
    assert course.main(["lab"]) == 1
    line = sentence(capsys)
    assert name in line
    assert "complete copy" in line


def test_a_real_environment_runs_python(course):
    course.make_environment(with_pip=False)
    code = "import sys; print(sys.prefix != sys.base_prefix)"
    command = [str(course.interpreter()), "-c", code]
    assert subprocess.check_output(command, text=True).strip() == "True"


# --- several processes, real signals ------------------------------------------------

FAKE_UV = """#!{python}
import os, pathlib, sys, time
log = pathlib.Path("uv.log")
if "-r" in sys.argv:
    with log.open("a") as out:
        out.write("begin\\n")
    while pathlib.Path("hold").exists():
        time.sleep(0.02)
    with log.open("a") as out:
        out.write("end\\n")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A copy of the course whose uv only writes a diary, and waits for `hold`."""
    tools = make_copy(tmp_path) / "tools"
    tools.mkdir()
    uv = tools / "uv"
    uv.write_text(FAKE_UV.format(python=sys.executable), "utf-8")
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    text = (tmp_path / "course.py").read_text("utf-8")
    assert "needed = 8 if" in text  # but the machine that tests may have little disk
    (tmp_path / "course.py").write_text(text.replace("needed = 8 if", "needed = 0 if"))
    yield tmp_path
    (tmp_path / "hold").unlink(missing_ok=True)  # whoever still waits after a failure


def begin(clone: Path) -> subprocess.Popen[str]:
    """Start `course.py setup` there, in a process group of its own.

    A shell's background jobs, and so tests started as one, are deaf to Control + C.
    """
    path = f"{clone / 'tools'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "course.py", "setup"],
        cwd=clone,
        env=dict(os.environ, PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def diary(clone: Path) -> list[str]:
    log = clone / "uv.log"
    return log.read_text("utf-8").split() if log.exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_install_says_so_and_recovers(clone: Path, number: int):
    (clone / "hold").touch()
    first = begin(clone)
    wait_for(lambda: diary(clone))
    first.send_signal(number)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130
    assert errors.strip() == (
        "Stopped: nothing is broken, and the same command starts again."
    )
    assert not (clone / ".venv" / "course-stamp").exists()
    (clone / "hold").unlink()
    second = begin(clone)
    out, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (0, "")
    assert "Ready" in out
    assert diary(clone) == ["begin", "begin", "end"]


@posix
def test_a_killed_call_leaves_no_lock_but_its_installer_is_waited_for(clone: Path):
    (clone / "hold").touch()
    first = begin(clone)
    wait_for(lambda: diary(clone))
    first.kill()
    first.wait(60)
    assert not (clone / ".venv" / "course-stamp").exists()
    second = begin(clone)
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()
    assert diary(clone) == ["begin"]  # the orphaned installer still works in .venv
    (clone / "hold").unlink()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert diary(clone) == ["begin", "end", "begin", "end"]
    first.communicate()


@posix
def test_of_two_calls_one_installs_and_the_other_waits(clone: Path):
    (clone / "hold").touch()
    first = begin(clone)
    wait_for(lambda: diary(clone))
    second = begin(clone)
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()
    (clone / "hold").unlink()
    results = [call.communicate(timeout=60) for call in (first, second)]
    assert [call.returncode for call in (first, second)] == [0, 0]
    assert all("Ready" in out for out, _ in results)
    assert diary(clone) == ["begin", "end"]


# --- the commands -------------------------------------------------------------------


class Started(Exception):
    """Raised instead of replacing the test run by JupyterLab."""


@pytest.fixture
def started(course, runner, monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """What was started in .venv: the arguments, and the environment."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    def execve(path: str, command: list[str], environment: dict[str, str]) -> None:
        assert path == command[0] == str(course.interpreter())
        seen.append((command[1:], environment))
        raise Started

    monkeypatch.setattr(course.os, "execve", execve, raising=False)
    monkeypatch.setattr(course.os, "chdir", lambda _: None)
    monkeypatch.setattr(course.os, "geteuid", lambda: 1000, raising=False)
    return seen


def start(course: ModuleType, *arguments: str) -> None:
    with pytest.raises(Started):
        course.main(arguments)


@posix
def test_lab_opens_the_first_lesson_and_passes_arguments_on(course, started):
    start(course, "lab", "--no-browser", "--port=0")
    ((command, environment),) = started
    lesson = "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"
    assert command == ["-m", "jupyterlab", lesson, "--no-browser", "--port=0"]
    first = environment["PATH"].split(os.pathsep)[0]
    assert first == str(course.interpreter().parent)


@posix
def test_lab_starts_in_a_container_too(course, started, monkeypatch):
    monkeypatch.setattr(course.os, "geteuid", lambda: 0)
    start(course, "lab")
    assert started[0][0][-1] == "--allow-root"


@posix
@pytest.mark.parametrize(
    ("name", "module"),
    [("notebooks", "notebooks"), ("weights", "recipes")],
)
def test_the_rest_is_handed_to_the_library(course, started, name, module):
    start(course, name, "00", "--help")
    assert started[0][0] == ["-m", f"course_lib.{module}", "00", "--help"]


@posix
def test_ladder_names_its_recipes(course, started):
    start(course, "ladder")
    module, *named = started[0][0][1:]
    assert module == "course_lib.recipes"
    assert set(named) <= recipes.RECIPES.keys()
    assert named[0] == "ladder"


@posix
def test_check_prints_the_report_of_the_library(course, started, capsys):
    start(course, "check")
    ((flag, code),) = (command for command, _ in started)
    assert flag == "-c"
    compile(code, "check", "exec")
    assert "session.report()" in code


@posix
def test_fill_understands_paths_from_where_it_was_typed(course, started, tmp_path):
    start(course, "fill", "my photos", "--into", 'a "new" one')
    ((flag, code),) = (command for command, _ in started)
    assert flag == "-c"
    compile(code, "fill", "exec")
    assert f"os.chdir({os.getcwd()!r})" in code
    assert "folders.main(['my photos', '--into', 'a \"new\" one'])" in code


def test_on_windows_it_waits_for_what_it_started(course, runner, monkeypatch):
    assert course.interpreter(windows=True) == course.ENV / "Scripts" / "python.exe"
    assert course.interpreter(windows=False) == course.ENV / "bin" / "python"
    assert course.main(["setup"]) == 0
    seen = []

    def call(arguments, settings):
        seen.append(arguments)
        return 7

    monkeypatch.setattr(course, "call", call)
    monkeypatch.setattr(course, "os", SimpleNamespace(name="nt"))
    assert course.become(["-m", "jupyterlab"]) == 7
    assert seen == [["-m", "jupyterlab"]]


@pytest.mark.parametrize("name", ["setup", "check"])
def test_setup_and_check_take_no_arguments(course, runner, capsys, name):
    assert course.main([name, "now"]) == 2
    assert "takes no arguments" in sentence(capsys)


@pytest.fixture
def calls(course, runner, monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """What `test` ran: arguments after `-m`, and the settings it gave them."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    def call(command: list[str], **options: Any) -> int:
        seen.append((command, options["env"]))
        return 1 if "mypy" in command and course.mypy_fails else 0

    course.mypy_fails = False  # type: ignore[attr-defined]
    monkeypatch.setattr(course.subprocess, "call", call)
    return seen


CHECKS = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]


def test_test_runs_linter_formatter_types_and_tests(course, calls, capsys):
    assert course.main(["test", "-k", "holes"]) == 0
    assert [command[2:] for command, _ in calls] == [*CHECKS, ["pytest", "-k", "holes"]]
    printed = capsys.readouterr().out
    for command, environment in calls:
        assert "+ " + " ".join(command) in printed  # it shows what it runs
        assert "COURSE_REQUIRE_BROWSER" not in environment


def test_test_goes_on_after_a_failure_and_fails(course, calls, capsys):
    course.mypy_fails = True
    assert course.main(["test"]) == 1
    assert [command[2] for command, _ in calls] == ["ruff", "ruff", "mypy", "pytest"]
    assert sentence(capsys) == "Failed: mypy."


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_without_ci_no_browser_is_asked_for(course, calls, monkeypatch, value):
    monkeypatch.setenv("CI", value)
    machine(course, monkeypatch)
    assert course.main(["test"]) == 0
    assert len(calls) == 4
    assert "COURSE_REQUIRE_BROWSER" not in calls[-1][1]


def machine(
    course: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    programs: tuple[str, ...] = ("apt-get",),
    user: int = 0,
) -> None:
    """Pretend that these programs exist and that this user runs them."""
    which = lambda name: name if name in programs else None  # noqa: E731
    monkeypatch.setattr(course.shutil, "which", which)
    monkeypatch.setattr(course.os, "geteuid", lambda: user, raising=False)


def test_in_ci_the_browser_is_installed_and_required(course, calls, monkeypatch):
    monkeypatch.setenv("CI", "true")
    machine(course, monkeypatch)
    assert course.main(["test"]) == 0
    update, install, *rest = (command for command, _ in calls)
    assert update == ["apt-get", "-qq", "update"]
    assert install[:3] == ["apt-get", "-qq", "install"]
    assert install[-1] == "chromium"
    assert len(rest) == 4
    assert calls[-1][1]["COURSE_REQUIRE_BROWSER"] == "1"


@pytest.mark.parametrize(
    ("programs", "user"),
    [(("apt-get", "google-chrome"), 0), (("apt-get",), 1000), ((), 0)],
)
def test_in_ci_nothing_is_installed_where_it_cannot_or_need_not_be(
    course, calls, monkeypatch, programs, user
):
    monkeypatch.setenv("CI", "true")
    machine(course, monkeypatch, programs, user)
    assert course.main(["test"]) == 0
    assert len(calls) == 4
    assert calls[-1][1]["COURSE_REQUIRE_BROWSER"] == "1"


# --- what stands beside course.py ---------------------------------------------------


def test_ci_runs_the_test_command_of_the_readme_and_nothing_else():
    script = ROOT / ".ci" / "run"
    lines = script.read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/sh"
    orders = [line for line in lines if line and not line.startswith("#")]
    assert orders == [
        'cd "$(dirname "$0")/.." || exit 1',
        'export CI="${CI:-true}"',
        "exec python3 course.py test",
    ]
    assert "python3 course.py test\n" in (ROOT / "README.md").read_text("utf-8")
    if os.name != "nt":
        assert script.stat().st_mode & stat.S_IXUSR


def test_make_knows_every_command(course):
    text = (ROOT / "Makefile").read_text("utf-8")
    (names,) = re.findall(r"^COMMANDS := (.+)$", text, re.MULTILINE)
    assert set(names.split()) == set(course.COMMANDS)
