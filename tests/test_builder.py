"""The builder stores the same bytes twice, and refuses what must not be stored."""

import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_lib.notebooks import (
    NOTEBOOKS,
    BuildError,
    build,
    from_source,
    is_stale,
    normalise,
    read,
    rules,
    seal,
)
from course_lib.notebooks.__main__ import main
from course_lib.notebooks.build import as_text
from course_lib.notebooks.normal import SANITIZE, sanitize

ROOT = NOTEBOOKS.parent


def test_building_twice_gives_the_same_bytes(tmp_path: Path):
    tiny, target = tmp_path / "99_tiny.py", tmp_path / "99_tiny.ipynb"
    tiny.write_text("# %%\nprint(4)\nobject()\n\n# %% [markdown]\n# # Title\n")
    first = build(tiny, target)
    stored, when = target.read_bytes(), target.stat().st_mtime_ns
    second = build(tiny, target)
    assert (first.changed, second.changed) == (True, False)
    assert target.read_bytes() == stored
    assert target.stat().st_mtime_ns == when
    assert not is_stale(tiny, target)
    text = stored.decode()
    assert "0xADDRESS" in text
    assert '"execution": {' not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "99_tiny.ipynb",
        "99_tiny.py",
    ]
    notebook = read(target)
    assert rules.stored_outputs(notebook, target) == []
    assert rules.normal_form(notebook, target) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", r"99_tiny\.py: code cell 2 of 2 failed.*1 / 0.*ZeroDivisionError"),
        ("import warnings\nwarnings.warn('old')", "code cell 2 writes to stderr.*old"),
        ("print('\\x1b[31mred')", "code cell 2 prints colour codes"),
        ("import sys\nprint('/' + 'home/somebody/x')", "code cell 2 shows a path"),
        ("import os\nos._exit(1)", "code cell 2 of 2 failed.*kernel died"),
        (
            "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)",
            "no internet in lessons",
        ),
    ],
)
def test_a_bad_cell_is_named_and_the_old_notebook_stays(
    code: str, message: str, tmp_path: Path
):
    source, target = tmp_path / "99_tiny.py", tmp_path / "99_tiny.ipynb"
    source.write_text(f"# %%\nx = 1\n\n# %%\n{code}\n")
    target.write_text("the old one")
    with pytest.raises(BuildError) as caught:
        build(source, target)
    assert re.search(message, str(caught.value), re.DOTALL)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) < 60
    assert target.read_text() == "the old one"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n" * 31, "code cell 1 has 31 lines, at most 30"),
        (f"x = '{'a' * 90}'", "a line above 88 characters"),
        ("3;", "semicolon"),
    ],
)
def test_a_cell_that_is_too_large_is_refused_before_it_runs(
    code: str, message: str, tmp_path: Path
):
    source = tmp_path / "99_tiny.py"
    source.write_text(f"# %%\n{code}\n")
    with pytest.raises(BuildError, match=f"99_tiny.py: .*{message}"):
        build(source, tmp_path / "99_tiny.ipynb")


def test_the_command_says_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    module = "course_lib.notebooks.__main__"
    tiny, target = tmp_path / "99_tiny.py", tmp_path / "99_tiny.ipynb"
    tiny.write_text("# %% [markdown]\n# # No code\n")
    monkeypatch.setattr(f"{module}.sources", lambda: [tiny])
    monkeypatch.setattr(f"{module}.target_of", lambda source: target)
    assert main(["--check"]) == 1
    assert "99_tiny: stale" in capsys.readouterr().out
    nbformat.write(from_source(tiny), target)
    assert main(["--check"]) == 0
    assert main([]) == 0
    assert capsys.readouterr().out == "99_tiny: up to date\n" * 2
    with pytest.raises(SystemExit):
        main(["42"])
    assert "there is 99" in capsys.readouterr().err
    tiny.write_text("# %%\n3;\n")
    assert main([]) == 1
    assert "99_tiny.py: code cell 1 ends in a semicolon" in capsys.readouterr().err


# --- the normal form ---


def test_the_normal_form_is_reached_in_one_step():
    notebook = _wild_notebook()
    once = nbformat.writes(normalise(notebook))
    assert nbformat.writes(normalise(deepcopy(notebook))) == once
    for noise in ("widget-view", "jupytext", "iopub", "0x7f", "40%"):
        assert noise not in once
    cell = notebook.cells[0]
    assert cell.metadata == {"tags": ["nbval-ignore-output"]}
    assert [o.output_type for o in cell.outputs] == ["stream", "display_data"]
    assert cell.outputs[0].text == "one\nat 0xADDRESS\n"
    assert cell.outputs[1].data == {"text/plain": "Explorer", "image/png": "AAAA"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata


def _wild_notebook() -> NotebookNode:
    view = "application/vnd.jupyter.widget-view+json"
    outputs = [
        new_output("stream", text="one\n"),
        new_output("stream", text="at 0x7f12345678\n"),
        new_output("display_data", data={view: {}, "text/plain": " 40%|##  | 2/5"}),
        new_output(
            "display_data",
            data={view: {}, "text/plain": "Explorer", "image/png": "AAAA\n"},
        ),
    ]
    cell = new_code_cell("x = 1", outputs=outputs, execution_count=1)
    cell.metadata = NotebookNode(
        tags=["nbval-ignore-output"],
        execution={"iopub.status.busy": "now"},
        jupytext={},
    )
    notebook = new_notebook(cells=[cell, new_code_cell("x = 1")])
    notebook.metadata = NotebookNode(widgets={}, jupytext={}, kernelspec={"name": "my"})
    return notebook


def test_cell_ids_are_stable_and_unique():
    notebook = normalise(_wild_notebook())
    first, second = (cell.id for cell in notebook.cells)
    assert first != second
    notebook.cells.insert(0, new_code_cell("y = 2"))
    assert [cell.id for cell in normalise(notebook).cells[1:]] == [first, second]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (new_output("stream", name="stderr", text="warned"), "stderr"),
        (
            new_output("display_data", data={"image/png": "A" * 90_000}),
            "a picture of 68 KB, at most 60",
        ),
        (
            new_output(
                "display_data",
                data={
                    "application/vnd.jupyter.widget-view+json": {},
                    "text/plain": "0%| | 0/9",
                },
            ),
            "progress bar",
        ),
    ],
)
def test_what_must_not_be_stored_is_refused(output: NotebookNode, message: str):
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[output])])
    with pytest.raises(BuildError, match=f"code cell 1.*{message}"):
        normalise(notebook)


def test_a_notebook_that_is_too_large_is_refused():
    outputs = [new_output("stream", text="x" * 510_000)]
    notebook = new_notebook(cells=[new_code_cell("x", outputs=outputs)])
    with pytest.raises(BuildError, match=r"the notebook has 51\d KB, at most 500"):
        as_text(notebook)


def test_nbval_and_the_builder_sanitise_the_same():
    text = (ROOT / "tests" / "nbval_sanitize.cfg").read_text()
    patterns = re.findall(r"^regex: (.*)\nreplace: (.*)$", text, re.MULTILINE)
    assert tuple(patterns) == SANITIZE
    assert len(patterns) <= 4
    noisy = "<A at 0x7f00aa00bb00> in /any/where/ipykernel_31/42.py, 0.123456789"
    assert sanitize(noisy) == "<A at 0xADDRESS> in <cell>, 0.123456789"


def test_a_sealed_process_reaches_itself_and_nothing_else(tmp_path: Path):
    seal(tmp_path)
    startup = tmp_path / "profile_default" / "startup" / "00-offline.py"
    code = """
import socket, urllib.request
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
socket.getaddrinfo("localhost", 80)
for reach in (
    lambda: socket.create_connection(("192.0.2.1", 80), 1),
    lambda: socket.create_connection(("2001:db8::1", 80), 1),
    lambda: urllib.request.urlopen("http://example.invalid"),
):
    try:
        reach()
    except OSError:  # which a lesson that copes with a failed download would catch
        print("tried")
    except RuntimeError as error:
        print(error)
print("close_sockets" in globals())
"""
    program = startup.read_text() + code
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    refusals = re.findall(
        r"no internet in lessons: this cell tried .*'(.*)'", run.stdout
    )
    assert refusals == ["192.0.2.1", "2001:db8::1", "example.invalid"]
    assert run.stdout.splitlines()[3:] == ["False"]


def test_a_seal_is_written_once(tmp_path: Path):
    environment = seal(tmp_path)
    files = sorted(path for path in tmp_path.rglob("*.py"))
    when = [path.stat().st_mtime_ns for path in files]
    assert seal(tmp_path) == environment
    assert [path.stat().st_mtime_ns for path in files] == when
    assert environment["COURSE_PROFILE"] == "ci"
    assert environment["IPYTHONDIR"] == str(tmp_path)
