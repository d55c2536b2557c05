"""The house stands: floors, docstrings, no path of one machine, a quiet import."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "course_lib"
MODULES = sorted(LIBRARY.rglob("*.py"))

# A module imports only from floors below its own, or from its own package.
FLOORS = {
    "tensors": 0,
    "evidence": 0,
    "session": 0,
    "photos": 0.4,
    "holes": 0.5,
    "sketch": 0.5,
    "layers": 1,
    "losses": 1.5,
    "networks": 2,
    "zoo": 3,
    "studies": 3,
    "fills": 3,
    "mining": 3,
    "large": 3,
    "datasets": 3,
    "training": 4,
    "evaluation": 4,
    "recipes": 6,
    "folders": 6,
    "scale": 6.5,
    "lesson": 5,
    "pictures": 5,
    "widgets": 7,
    "notebooks": 7,
    "exercises": 8,
}
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(LIBRARY).as_posix()
)


def _room(path: Path) -> str:
    """The module or package of course_lib that a file belongs to."""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> Iterator[str]:
    """The modules and packages of course_lib that some code imports, wherever."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("course_lib."):
                    yield name.name.split(".")[1]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            if node.module == "course_lib":
                yield from (name.name for name in node.names)
            elif node.module and node.module.startswith("course_lib."):
                yield node.module.split(".")[1]


def undocumented(tree: ast.Module) -> list[str]:
    """The public functions, methods and classes that say nothing about themselves."""
    missing = [] if ast.get_docstring(tree) else ["the module"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    queue: list[ast.stmt] = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, kinds) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                missing.append(node.name)
            if isinstance(node, ast.ClassDef):
                queue += node.body
    return missing


@each_module
def test_a_module_imports_only_from_floors_below(path: Path):
    room = _room(path)
    if room == "__init__":
        return  # the door: it shows every floor
    assert room in FLOORS, f"{room} has no floor in this test and in the design"
    for other in imported_rooms(ast.parse(path.read_text(encoding="utf-8"))):
        assert other == room or FLOORS[other] < FLOORS[room], (
            f"{room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})"
        )


@each_module
def test_everything_public_has_a_docstring(path: Path):
    assert undocumented(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_two_checks_can_fail():
    code = (
        "import course_lib.widgets.base\nfrom course_lib import zoo as z, fills\n"
        "def f():\n    from course_lib.holes import ratio\n"
        "class A:\n    '''An A.'''\n    def g(self): ...\n    def _h(self): ..."
    )
    tree = ast.parse(code)
    assert sorted(imported_rooms(tree)) == ["fills", "holes", "widgets", "zoo"]
    assert sorted(undocumented(tree)) == ["f", "g", "the module"]


# How the paths of one machine begin
_MACHINE = re.compile(
    r"(?<![\w.:/~-])/(?:home|Users|root|tmp|mnt|private|var/folders)/[\w.]"
    r"|[A-Z]:\\{1,2}Users\\"
)
_MADE_UP = re.compile(r"/home/(?:me|you|somebody)\b")  # in examples


def machine_paths(text: str) -> list[str]:
    """The lines of a text that hold a path of one machine."""
    lines = (_MADE_UP.sub("", line) for line in text.splitlines())
    return [line.strip()[:120] for line in lines if _MACHINE.search(line)]


def test_no_file_holds_a_path_of_one_machine():
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("which files belong to the course is known to git only")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {}
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" in data[:8000]:
            continue  # a picture, or weights
        text = data.decode("utf-8", errors="replace")
        if lines := machine_paths(text) + [str(ROOT)] * (f"{ROOT}/" in text):
            found[name] = lines[:3]
    assert found == {}


@pytest.mark.parametrize("text", ["home/ann/x.py", "tmp/abc", "root/.cache", "Users/a"])
def test_a_path_of_one_machine_is_found(text: str):
    for before in ("see ", "'", "(", "="):
        assert machine_paths(f"{before}/{text}")
    assert machine_paths("C:" + r"\Users\ann")


@pytest.mark.parametrize(
    "text",
    ["https://a.org/home/x", "notebooks/home/x", "/home/me/photos", "a/home/b", "~/x"],
)
def test_other_paths_are_left_alone(text: str):
    assert machine_paths(text) == []


_IMPORT = """
import sys

def guard(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo"):
        raise SystemExit(f"{event} {arguments[1:]}")

sys.addaudithook(guard)
import IPython.display

def shown(*things, **options):
    raise SystemExit(f"displayed {things}")

IPython.display.display = IPython.core.display_functions.display = shown
import course_lib
assert "matplotlib.pyplot" not in sys.modules, "pyplot chooses a backend on import"
"""


def test_importing_the_library_does_nothing_else():
    run = subprocess.run(
        [sys.executable, "-c", _IMPORT], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
