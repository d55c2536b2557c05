#!/usr/bin/env python3
"""The course's one command: install the packages once, then do what was asked.

    python3 course.py lab        open lesson 00 in JupyterLab
    python3 course.py test       run every check and every test
    python3 course.py check      show versions, device, memory and what lessons cost
    python3 course.py notebooks  rebuild the notebooks (or only: notebooks 00 01)
    python3 course.py weights    retrain the shipped weights (or only: weights NAME)
    python3 course.py ladder     train and score what is missing of lesson 10's table
    python3 course.py fill       fill your own photos: fill FOLDER
    python3 course.py setup      only install

Arguments after the command are passed on: `lab --no-browser`, `test -k holes`.
Only the standard library is used, in syntax that Python 3.8 can still read, so that
an unsupported Python gets a sentence instead of a syntax error.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
ENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
STAMP = ENV / "course-stamp"
BUSY = ROOT / ".cache" / "setup.lock"
FIRST = "notebooks/00_start_here.ipynb"

# What a learner may have set for other projects and what would break this one.
FOREIGN = (
    "PIP_PREFIX",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_SYSTEM_PYTHON",
)
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "msedge",
)  # what the browser test can drive
AGAIN = "nothing is broken, and the same command starts again."
FULL = f"The disk that holds {ROOT} is full: make room, and run the same command again."


class CourseError(Exception):
    """A reason to end, told in one sentence; `status` becomes the exit status."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        """Keep the sentence and the exit status."""
        super().__init__(sentence)
        self.status = status


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; every failure is one sentence."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(__doc__)
            return 0
        name, rest = arguments[0], list(arguments[1:])
        if name not in COMMANDS:
            known = ", ".join(COMMANDS)
            raise CourseError(f"There is no command {name!r}; there are {known}.", 2)
        setup()
        return COMMANDS[name](rest)
    except CourseError as error:
        print(error, file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nStopped: " + AGAIN, file=sys.stderr)
        return 130


def lab(rest: Sequence[str]) -> int:
    """Open lesson 00 in JupyterLab."""
    # Given as a default address, the lesson also opens over SSH and without a browser.
    options = [f"--LabApp.default_url=/lab/tree/{FIRST}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # a container; JupyterLab would refuse to start
    return become(["-m", "jupyterlab", *options, *rest])


def test(rest: Sequence[str]) -> int:
    """Run ruff, mypy and pytest, all of them even when one fails."""
    settings = {}
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        provide_browser()
        settings["COURSE_REQUIRE_BROWSER"] = "1"
    steps = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["pytest", *rest],
    )
    failed = [step for step in steps if call(["-m", *step], settings) != 0]
    if failed:
        names = ", ".join(" ".join(step) for step in failed)
        raise CourseError(f"Failed: {names}.")
    print("Everything passed.")
    return 0


def check(rest: Sequence[str]) -> int:
    """Show versions, device, memory, disk and what each lesson will cost here."""
    if rest:
        raise CourseError(f"The command check takes no arguments: {' '.join(rest)}", 2)
    # Not -m: the package has imported this module by then, which Python warns about.
    return become(["-c", "from course_lib import session; print(session.report())"])


def notebooks(rest: Sequence[str]) -> int:
    """Rebuild the notebooks from their sources."""
    return become(["-m", "course_lib.notebooks", *rest])


def weights(rest: Sequence[str]) -> int:
    """Retrain the weights that come with the course."""
    return become(["-m", "course_lib.recipes", *rest])


def ladder(rest: Sequence[str]) -> int:
    """Fill lesson 10's table cell by cell; it goes on where it was."""
    return become(["-m", "course_lib.recipes", "ladder", "ladder_time", *rest])


def fill(rest: Sequence[str]) -> int:
    """Fill the photos of a folder; `fill --help` says how holes are named."""
    # Paths are meant from where the command was typed, not from the course's folder.
    code = (
        f"import os, sys; os.chdir({os.getcwd()!r}); from course_lib import folders; "
        f"sys.exit(folders.main({list(rest)!r}))"
    )
    return become(["-c", code])


def setup_only(rest: Sequence[str]) -> int:
    """Say where the packages are; `main` has installed them by now."""
    if rest:
        raise CourseError(f"The command setup takes no arguments: {' '.join(rest)}", 2)
    print(f"Ready: the packages are in {ENV}.")
    return 0


COMMANDS = {
    "lab": lab,
    "test": test,
    "notebooks": notebooks,
    "weights": weights,
    "ladder": ladder,
    "check": check,
    "fill": fill,
    "setup": setup_only,
}


def setup() -> None:
    """Make .venv hold what requirements.lock says; return at once when it does."""
    check_python()
    if ready():
        return
    try:
        with alone():
            if not ready():  # another call may have finished it while we waited
                install()
    except subprocess.CalledProcessError as error:
        if free_gib() < 0.5:
            raise CourseError(FULL) from error
        raise CourseError(
            "The packages could not be installed (the lines above say why; most often"
            f" it is the network): {AGAIN}"
        ) from error
    except OSError as error:
        raise CourseError(explain(error)) from error


def check_python() -> None:
    """Refuse a Python that PyTorch has no packages for."""
    low, high = supported()
    if not low <= sys.version_info[1] <= high:
        here = ".".join(map(str, sys.version_info[:3]))
        other = f"py -3.{high - 1}" if os.name == "nt" else f"python3.{high - 1}"
        raise CourseError(
            f"This course needs Python 3.{low} to 3.{high} and this is Python {here}:"
            f" start it with one of those, for example: {other} course.py lab"
        )
    if sys.implementation.name != "cpython" or sys.maxsize < 2**32:
        raise CourseError("This course needs the standard 64-bit Python (CPython).")
    if (sys.platform, platform.machine()) == ("darwin", "x86_64"):
        raise CourseError(
            "PyTorch no longer supports Intel Macs or Intel builds of Python: start the"
            " course with an arm64 Python on Apple silicon."
        )


def supported() -> tuple[int, int]:
    """Read the oldest and the newest minor version of Python 3 from pyproject.toml."""
    try:
        LOCK.stat()
        text = PROJECT.read_text("utf-8")
    except OSError as error:
        raise CourseError(
            f"{error.filename} is missing: run course.py inside a complete copy of the"
            " course."
        ) from error
    found = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text)
    assert found, "pyproject.toml states the supported Python as >=3.A,<3.B"
    return int(found[1]), int(found[2]) - 1


def ready() -> bool:
    """Tell whether .venv was made completely, from this lock and by this Python."""
    try:
        return interpreter().exists() and STAMP.read_text("utf-8") == fingerprint()
    except (OSError, UnicodeDecodeError):
        return False


def fingerprint() -> str:
    """Hash all that the installed packages depend on: lock, build, Python, place."""
    sections = re.split(r"(?m)^(?=\[)", PROJECT.read_text("utf-8"))
    build = [
        section
        for section in sections
        if section.startswith(("[project", "[build-system", "[tool.setuptools"))
    ]
    python = str(sysconfig.get_config_var("EXT_SUFFIX"))  # version, variant, machine
    parts = [LOCK.read_text("utf-8"), *build, python, str(ROOT)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def interpreter(windows: bool = os.name == "nt") -> Path:
    """Give the path of .venv's own Python."""
    return ENV / "Scripts" / "python.exe" if windows else ENV / "bin" / "python"


def install() -> None:
    """Make .venv anew; the stamp comes last, so that half an install never counts."""
    goal = fingerprint()
    clear()
    uv = find_uv()
    check_disk(uv)
    print(
        f"Installing the packages into {ENV} with {'uv' if uv else 'pip'}, once: on"
        " Linux about 3 GB to download and 6 GB of disk, elsewhere a third of that.",
        flush=True,
    )
    make_environment(with_pip=uv is None)
    python = str(interpreter())
    tool = [uv, "pip"] if uv else [python, "-m", "pip", "--disable-pip-version-check"]
    place = ["--python", python] if uv else []
    run([*tool, "install", *place, "--require-hashes", "-r", str(LOCK)])
    editable = ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    run([*tool, "install", *place, *editable])
    finish(goal)


def finish(goal: str) -> None:
    """Set the course's defaults for JupyterLab, then stamp .venv as complete."""
    settings = ENV / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": False}
    overrides = {"@jupyterlab/apputils-extension:notification": quiet}
    (settings / "overrides.json").write_text(json.dumps(overrides), "utf-8")
    draft = STAMP.with_suffix(".new")
    draft.write_text(goal, "utf-8")
    draft.replace(STAMP)


def clear() -> None:
    """Remove whatever stands where .venv belongs, the stamp first."""
    if ENV.is_symlink() or ENV.is_file():
        ENV.unlink()
    elif ENV.exists():
        if STAMP.is_file():
            STAMP.unlink()
        shutil.rmtree(ENV)


def check_disk(uv: str | None) -> None:
    """Refuse to begin what the disk cannot hold."""
    if sys.platform.startswith("linux"):  # where PyTorch brings CUDA along
        needed = 8 if uv else 12  # pip unpacks beside all that it has downloaded
    else:
        needed = 3
    free = free_gib()
    if free < needed:
        raise CourseError(
            f"Installing needs about {needed} GiB of free disk and {ROOT} has"
            f" {free:.1f} GiB: make room and run the same command again."
        )


def free_gib() -> float:
    """Measure the free disk where the packages go."""
    return shutil.disk_usage(ROOT).free / 2**30


def find_uv() -> str | None:
    """Give the path of uv, when there is one and it runs."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    try:  # a version manager's stand-in may exist without the program behind it
        subprocess.run([uv, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return uv


def make_environment(with_pip: bool) -> None:
    """Make an empty .venv with the Python that runs this file."""
    needed = ["venv", "ensurepip"] if with_pip else ["venv"]
    if not all(importlib.util.find_spec(module) for module in needed):
        raise CourseError(
            "This Python cannot make virtual environments: install its venv package (on"
            " Debian and Ubuntu: apt install python3-venv) and run the same command."
        )
    import venv

    venv.create(ENV, with_pip=with_pip, symlinks=os.name != "nt")


def explain(error: OSError) -> str:
    """Turn an error of the file system into one sentence that says what to do."""
    if error.errno == errno.ENOSPC:
        return FULL
    return (
        f"{error.filename or ROOT} cannot be written ({error.strerror or error}): keep"
        " the course in a folder of your own, and close all that still uses its .venv."
    )


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the right to install; wait while another call of course.py has it."""
    BUSY.parent.mkdir(exist_ok=True)
    with open(BUSY, "a+") as handle:
        # Held by the installer too: one that outlives this process keeps its right, and
        # with its end, however violent, the system frees it. No lock can grow stale.
        os.set_inheritable(handle.fileno(), True)
        if not take(handle):
            print("Another course.py is installing the packages: waiting.", flush=True)
            while not take(handle):
                time.sleep(0.5)
        yield


def take(handle: IO[str]) -> bool:
    """Lock an open file, unless another process has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a network file system without locks: nothing to wait for
        return True
    return True


def provide_browser() -> None:
    """In CI, as root on Debian, install the Chromium that the browser test drives."""
    if any(shutil.which(name) for name in BROWSERS) or not shutil.which("apt-get"):
        return
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    print("No Chromium for the browser test: installing Debian's.", flush=True)
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for order in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        command = ["apt-get", "-qq", *order]
        say(command)
        if subprocess.call(command, env=quiet) != 0:
            print("apt-get failed; the browser test will say so too.", flush=True)
            return


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Give the variables for a program in .venv, free of what belongs elsewhere."""
    kept = {name: text for name, text in os.environ.items() if name not in FOREIGN}
    path = f"{interpreter().parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    kept.update(PATH=path, VIRTUAL_ENV=str(ENV), PYTHONUTF8="1", **settings)
    return kept


def say(command: Sequence[str]) -> None:
    """Print a command before it runs."""
    print("+", " ".join(command), flush=True)


def run(command: Sequence[str]) -> None:
    """Run a step of the installation; raises CalledProcessError when it fails."""
    say(command)
    # On Windows no handle is passed down: a locked byte belongs to its process there.
    keep = os.name == "nt"
    subprocess.run(command, check=True, cwd=ROOT, env=environment({}), close_fds=keep)


def call(arguments: Sequence[str], settings: dict[str, str]) -> int:
    """Run .venv's Python and return its exit status."""
    command = [str(interpreter()), *arguments]
    say(command)
    return subprocess.call(command, cwd=ROOT, env=environment(settings))


def become(arguments: Sequence[str]) -> int:
    """Let .venv's Python take over, so that Ctrl-C reaches only it."""
    if os.name == "nt":
        signal.signal(signal.SIGINT, lambda *_: None)  # Windows cannot replace itself
        return call(arguments, {})
    command = [str(interpreter()), *arguments]
    say(command)
    os.chdir(ROOT)
    os.execve(command[0], command, environment({}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
