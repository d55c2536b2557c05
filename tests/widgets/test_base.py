"""What every explorer inherits: the protocol, errors, the still."""

import io
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from course_lib import widgets
from course_lib.pictures import MAX_PNG_BYTES, Picture
from course_lib.tensors import ContractError
from course_lib.widgets import CourseWidget
from course_lib.widgets.base import STATIC, module


class Doubler(CourseWidget):
    """The smallest explorer: doubles a number, reverses bytes."""

    _esm = module("brush", "photo_strip", "painter")

    def answer(self, request):
        if request["kind"] == "number":
            return {"double": 2 * request["value"]}
        if request["kind"] == "bytes":
            return {"length": len(request["data"]), "back": request["data"][::-1]}
        if request["kind"] == "contract":
            raise ContractError("hole has shape (3,), expected (N, 1, H, W)")
        if request["kind"] == "interrupt":
            raise KeyboardInterrupt
        return {"never": 1 / 0}

    def still(self):
        return Picture(np.full((40, 60, 3), 200, np.uint8), "a grey card")

    def __repr__(self):
        return "Doubler()"


@pytest.fixture
def view(make_view):
    return make_view(Doubler(title="Double"))


def test_a_reply_repeats_view_and_number_and_tells_the_time(view):
    first, second = view.ask("number", value=4), view.ask("number", value=5)
    assert (first["double"], second["double"]) == (8, 10)
    assert [first["seq"], second["seq"]] == [1, 2]
    assert first["view"] == "view"
    assert first["ms"] >= 0
    assert "error" not in first


def test_bytes_travel_both_ways(view):
    reply = view.ask("bytes", data=b"\x00abc\xff")
    assert reply["back"] == b"\xffcba\x00"
    assert reply["length"] == 5
    assert reply["binary"] == ["back"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("contract", "hole has shape (3,), expected (N, 1, H, W)"),
        ("interrupt", "Interrupted."),
        ("other", "ZeroDivisionError: division by zero (in answer, line"),
    ],
)
def test_what_goes_wrong_reaches_the_page_as_a_sentence(view, kind, text):
    reply = view.ask(kind)
    assert reply["error"].startswith(text)
    assert reply["seq"] == 1
    assert view.ask("number", value=1)["double"] == 2, (
        "and the next request is answered"
    )


def test_messages_of_the_framework_are_not_answered(view, monkeypatch):
    monkeypatch.setattr(view.widget, "answer", lambda _: pytest.fail("was asked"))
    view.widget._handle_custom_msg({"kind": "anywidget-command"}, [])
    assert view.replies == []


def test_a_reader_without_a_kernel_sees_a_picture_with_a_text():
    data, metadata = Doubler(title="Double")._repr_mimebundle_()
    assert data["text/plain"] == "Doubler()"
    assert Image.open(io.BytesIO(data["image/png"])).size == (60, 40)
    assert metadata["image/png"]["alt"] == "a grey card"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_even_noise_becomes_a_small_still_and_always_the_same():
    noise = np.random.default_rng(0).integers(0, 256, (300, 420, 3)).astype(np.uint8)
    data = Picture(noise, "noise")._repr_png_()
    assert len(data) <= MAX_PNG_BYTES
    assert data == Picture(noise, "noise")._repr_png_()
    assert Image.open(io.BytesIO(data)).size[0] < 420


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere(path):
    namespace = "http://www.w3.org/2000/svg"  # a name, no address that is asked
    text = path.read_text("utf-8").replace(namespace, "")
    text = text.replace("url(#", "")  # a pattern of the same drawing
    for way in ("http:", "https:", "//cdn", "import ", "@import", "url(", "fetch("):
        assert way not in text, f"{path.name} has {way!r}"


EXPLORERS = sorted({*widgets.__all__} - {"CourseWidget"})


@pytest.mark.skipif(not shutil.which("node"), reason="no node to parse the module with")
@pytest.mark.parametrize("name", EXPLORERS)
def test_the_module_is_valid_javascript(name, tmp_path):
    """Its parts fit too: a name that two of them declare is an error."""
    path = tmp_path / f"{name}.mjs"
    path.write_text(getattr(widgets, name)._esm, "utf-8")
    run = subprocess.run(
        ["node", "--check", path], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
