"""The sketch pad without a browser: what lines change, and what the page asks."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_lib import photos, sketch, zoo
from course_lib.networks import CoarseToFine
from course_lib.tensors import ContractError
from course_lib.widgets import SketchPad, sketch_pad
from course_lib.widgets.base import WidgetError

SIZE = 32


def ink(image, hole, lines):
    """A network that paints the lines it is given white and the rest 0.25."""
    return torch.where(lines > 0, 1.0, 0.25).expand_as(image)


def average(image, hole, lines):
    """A network that reads every pixel that it can see, lines too."""
    return (image.mean((2, 3), keepdim=True) + lines.mean()).expand_as(image) / 2


def broken(image, hole, lines):
    if lines.any():
        raise RuntimeError("out of ink")
    return image


@pytest.fixture
def image():
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIZE, SIZE)
    hole[..., 8:20, 12:28] = 1
    return hole


@pytest.fixture
def lines():
    """A row of 20 pixels, 14 of them in the hole."""
    lines = torch.zeros(1, 1, SIZE, SIZE)
    lines[..., 10, 6:26] = 1
    return lines


@pytest.fixture
def pad(image, hole):
    return SketchPad(image, hole, networks={"ink": ink, "average": average})


@pytest.fixture
def view(pad, make_view):
    return make_view(pad)


def show(view, hole, marks, photo=None):
    data = {"hole": hole.byte().numpy().tobytes(), "sketch": marks.byte().numpy()}
    return view.ask(
        "show", photo=photo, hole=data["hole"], sketch=data["sketch"].tobytes()
    )


def inside(hole, image):
    return hole.bool().expand_as(image)


# ---- lines and fills ----


def test_each_network_fills_with_and_without_the_lines(pad, image, hole, lines):
    pad.draw(lines)
    counted = lines * hole
    expected = torch.where(counted > 0, 1.0, 0.25).expand_as(image)
    missing = inside(hole, image)
    assert torch.equal(pad.fills["ink"][missing], expected[missing])
    assert (pad.fills_without["ink"][missing] == 0.25).all()
    for filled in (*pad.fills.values(), *pad.fills_without.values()):
        assert torch.equal(filled[~missing], image[~missing]), "known is bit-exact"
    assert not torch.equal(pad.fills["average"], pad.fills_without["average"])
    assert torch.equal(pad.sketch, lines), "what was drawn outside stays drawn"
    assert (pad.shown["counted"], pad.shown["outside"]) == (14, 6)
    assert pad.shown["told"].startswith("14 line pixels count, 6 outside the hole do")


def test_lines_outside_the_hole_never_reach_a_network(image, hole):
    def spy(image, hole, lines):
        seen.append(lines)
        return image

    seen = []
    pad = SketchPad(image, hole, networks=spy).draw(1 - hole)
    assert not any(lines.any() for lines in seen)
    assert pad.shown["told"].startswith("No line counts yet, 832 outside")
    pad.draw(torch.ones_like(hole))
    assert torch.equal(seen[-1], hole)
    assert len(seen) == 2, "the fill without lines is kept, and no lines are none"
    assert pad.fills.keys() == {"network"}


@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), 7.0])
def test_what_the_hole_hides_changes_nothing(image, hole, lines, hidden):
    def result(picture):
        pad = SketchPad(picture, hole, networks={"average": average}).draw(lines)
        state = pad.get_state()
        data = [*state["fills_bytes"], state["image_bytes"], pad._repr_mimebundle_()]
        return pad.fills["average"], data[:-1], data[-1][0]["image/png"]

    other = torch.where(inside(hole, image), hidden, image)
    (filled, data, still), (again, same, picture) = result(image), result(other)
    assert torch.equal(filled, again)
    assert data == same
    assert still == picture


def test_an_unknown_hidden_photo_has_no_error_and_no_edges(image, hole, make_view):
    image[inside(hole, image)] = float("nan")
    pad = SketchPad(image, hole, networks=ink)
    assert pad.shown["networks"][0]["without"]["l1"] is None
    assert "network unknown" in pad.shown["told"]
    assert "is unknown" in make_view(pad).ask("edges")["error"]
    assert not pad.sketch.any()


def test_the_page_never_gets_what_is_hidden(pad, hole):
    shown = np.frombuffer(pad.image_bytes, np.uint8).reshape(SIZE, SIZE, 3)
    assert (shown[hole[0, 0].bool().numpy()] == 128).all()
    pad.look(hole=hole.roll(4, 2))
    shown = np.frombuffer(pad.image_bytes, np.uint8).reshape(SIZE, SIZE, 3)
    assert (shown[8:12, 12:28] != 128).any(), "and what is known again comes back"


def test_the_numbers_are_the_ones_of_the_fills(pad, image, hole, lines):
    pad.draw(lines)
    facts = pad.shown["networks"][0]
    for side, fills in (("without", pad.fills_without), ("with", pad.fills)):
        error = (fills["ink"] - image)[inside(hole, image)].abs().mean()
        assert facts[side]["l1"] == pytest.approx(error.item(), abs=1e-6)
        assert facts[side]["met"] == lines_met(fills["ink"], lines * hole)
    assert f"ink {facts['without']['l1']:.3f}, with" in pad.shown["told"]


def lines_met(picture, lines):
    """The share of the pixels on lines that have an edge of the picture near them."""
    return sketch_pad._met(sketch_pad._near_edges(picture), lines)


def test_lines_are_met_by_edges_at_most_two_pixels_away():
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., 30:] = 1
    columns = torch.arange(64)
    for column, share in ((30, 1), (32, 1), (40, 0)):
        lines = (columns == column).float().expand(1, 1, 64, 64)
        lines = lines * (columns.view(-1, 1) > 9) * (columns.view(-1, 1) < 50)
        assert lines_met(picture, lines) == share, column


def test_a_generator_of_the_course_is_guided():
    torch.manual_seed(0)
    network = CoarseToFine(width=4, dilations=[1], guided=True).eval()
    pad = SketchPad("bison", networks={"mine": network}, size=SIZE).draw_edges()
    alone = network(pad.image, pad.hole, pad.sketch)
    missing = inside(pad.hole, alone)
    assert torch.allclose(pad.fills["mine"][missing], alone[missing], atol=1e-6)
    assert not torch.equal(pad.fills["mine"], pad.fills_without["mine"])


def test_networks_may_be_names_of_shipped_ones(image, monkeypatch):
    asked = []
    monkeypatch.setattr(zoo, "load", lambda name: asked.append(name) or ink)
    assert SketchPad(image).labels == ["without a critic", "with a critic"]
    assert SketchPad(image, networks="mine").labels == ["mine"]
    assert asked == ["coarse_to_fine_longer", "coarse_to_fine_gan", "mine"]
    with pytest.raises(WidgetError, match="networks is empty"):
        SketchPad(image, networks={})


# ---- the edges of the photo ----


def test_true_edges_are_drawn_and_said_to_be_given(hole, make_view):
    pad = SketchPad("lincolnmemorial", networks=ink, size=64)
    view = make_view(pad)
    assert "error" not in view.ask("edges")
    found = sketch.edges(pad.image) * pad.hole
    assert found.sum() > 10
    assert torch.equal(pad.sketch, found)
    assert pad.shown["given"] == pad.shown["counted"] == int(found.sum())
    assert "are edges of the hidden photo, given as a condition" in pad.shown["told"]
    marks = 2 * found
    marks[..., 32, 20:44] = 1
    show(view, pad.hole, marks)
    assert pad.shown["given"] == int((marks == 2).sum()) < pad.shown["counted"]
    pad.draw(found)
    assert pad.shown["given"] == 0, "lines that Python draws are nobody's edges"


# ---- what the page asks ----


def test_a_stroke_reaches_the_kernel(pad, view, image, hole, lines):
    assert "error" not in show(view, hole, lines)
    assert torch.equal(pad.sketch, lines)
    assert pad.sketch.dtype == torch.float32
    other = SketchPad(image, hole, networks={"ink": ink, "average": average})
    other.draw(lines)
    assert torch.equal(other.fills["ink"], pad.fills["ink"])
    assert other.sketch_bytes == pad.sketch_bytes
    show(view, hole.roll(8, 3), lines)
    assert torch.equal(pad.hole, hole.roll(8, 3))
    assert pad.shown["counted"] == 6


def test_a_drawing_of_another_size_is_refused(pad, view, hole, lines):
    before = pad.get_state()
    assert "does not fit" in show(view, hole, lines[..., 1:])["error"]
    assert "does not fit" in show(view, hole[..., 1:], lines)["error"]
    assert pad.get_state() == before


def test_another_photo_keeps_the_hole_and_drops_the_lines(make_view):
    names = photos.names("evaluation")[:2]
    pad = SketchPad(names, networks=ink, size=SIZE)
    first, hole = pad.image, pad.hole
    pad.draw(hole)
    shifted = hole.roll(3, 3)
    show(make_view(pad), shifted, hole, photo=names[1])
    assert pad.photo == names[1]
    assert not torch.equal(pad.image, first)
    assert torch.equal(pad.hole, shifted)
    assert not pad.sketch.any()
    file = io.BytesIO()
    Image.new("RGB", (90, 60), (200, 40, 40)).save(file, "png")
    upload = {"name": "mine.png", "first": True, "last": True, "part": file.getvalue()}
    assert "error" not in make_view(pad).ask("upload", **upload)
    assert pad.photo == "mine.png"
    assert pad.image[0, :, 0, 0].argmax() == 0
    assert torch.equal(pad.hole, shifted)


def test_a_photo_of_another_size_gets_its_hole_resized(pad, view, hole):
    file = io.BytesIO()
    Image.new("RGB", (90, 60)).save(file, "png")
    upload = {"name": "mine.png", "first": True, "last": True, "part": file.getvalue()}
    assert "error" not in view.ask("upload", **upload)
    assert pad.hole.shape == (1, 1, 128, 128)
    assert torch.equal(pad.hole, F.interpolate(hole, (128, 128), mode="nearest"))
    assert (pad.height, pad.width) == (128, 128)
    show(view, pad.hole, pad.hole, photo="photo")
    assert torch.equal(pad.hole, hole)


@pytest.mark.parametrize(("kind", "text"), [("dance", "unknown"), ("draw", "unknown")])
def test_other_requests_are_refused(view, kind, text):
    assert text in view.ask(kind)["error"]


def test_wrong_arguments_change_nothing(pad, hole, lines, view):
    pad.draw(lines)
    before = pad.get_state()
    for wrong in (lines / 2, lines * float("nan"), lines[..., 1:], lines[0]):
        with pytest.raises(ContractError, match="sketch"):
            pad.draw(wrong)
    with pytest.raises(ContractError):
        pad.look(hole=hole / 2)
    with pytest.raises(WidgetError, match="no photo 'nobody'"):
        pad.look(photo="nobody")
    assert "no photo 'nobody'" in show(view, hole, lines, photo="nobody")["error"]
    assert pad.get_state() == before
    assert "error" not in show(view, hole, lines)


def test_a_network_that_fails_is_named_and_changes_nothing(
    image, hole, lines, make_view
):
    pad = SketchPad(image, hole, networks={"mine": broken})
    before = pad.get_state()
    error = show(make_view(pad), hole, lines)["error"]
    assert error.startswith("RuntimeError: out of ink (in broken, line")
    assert pad.get_state() == before
    with pytest.raises(WidgetError, match=r"'network' returned \(1, 1, 32, 32\)"):
        SketchPad(image, networks=lambda image, hole, lines: lines)
    with pytest.raises(WidgetError, match="'network' left 576 values"):
        SketchPad(image, hole, networks=lambda *_: image * float("nan"))


@pytest.mark.parametrize(("level", "text"), [(0, "No hole"), (1, "covers everything")])
def test_without_a_hole_or_without_a_photo_none_is_asked(image, hole, level, text):
    pad = SketchPad(image, hole, networks=ink)
    pad._networks = {"network": lambda *_: pytest.fail("was asked")}
    pad.look(hole=torch.full_like(hole, level))
    assert text in pad.shown["told"]
    assert pad.shown["networks"][0]["with"] == {"l1": None, "met": None}


def test_nobody_can_change_the_pad_through_what_it_gives(pad, lines):
    def vandal(image, hole, lines):
        image.zero_(), hole.fill_(1), lines.zero_()
        return image

    pad._networks = {"vandal": vandal}
    pad._plain = {}
    hole = pad.hole.clone()
    pad.draw(lines)
    pad.sketch.zero_()
    pad.fills.clear()
    assert torch.equal(pad.hole, hole)
    assert torch.equal(pad.sketch, lines)
    assert pad.fills.keys() == {"vandal"}


# ---- what a reader without a kernel sees ----


def test_repr_and_still_say_the_facts(image, hole, lines):
    def pad(**networks):
        return SketchPad(image, hole, networks=networks).draw(lines)

    two = pad(ink=ink, average=average)
    assert repr(two) == (
        "SketchPad(32x32, photo, hole 18.8 %, 14 line pixels count, 6 do not; "
        "ink, average)"
    )
    data, metadata = two._repr_mimebundle_()
    again = pad(ink=ink, average=average)._repr_mimebundle_()
    assert data["image/png"] == again[0]["image/png"]
    assert metadata["image/png"]["alt"] == again[1]["image/png"]["alt"]
    assert "ink 0." in metadata["image/png"]["alt"]
    picture = two.still().pixels
    assert picture.shape[0] > 1.5 * pad(ink=ink).still().pixels.shape[0]
    yellow = (np.abs(picture.astype(int) - [255, 216, 77]).max(-1) < 3).sum()
    assert yellow >= 2 * 14, "the lines are in the picture"


def test_the_still_shows_hole_and_lines_large(pad, hole, lines):
    assert pad._framed() == (..., slice(0, 32), slice(0, 40))
    corner = torch.zeros_like(lines)
    corner[..., 31, 0] = 1
    pad.draw(corner)
    assert pad._framed()[1:] == (slice(0, 44), slice(0, 40)), "outside lines too"
    pad.look(corner * 0, hole * 0)
    assert pad._framed() == (...,), "nothing to frame"
    real = SketchPad(networks={"ink": ink, "average": average}).draw_edges().still()
    assert real.pixels.shape[1] > 600
    assert len(real._repr_png_()) < 60_000


def test_edges_of_the_fills_without_lines_are_found_once(pad, hole, lines, monkeypatch):
    found, near = [], sketch_pad._near_edges
    monkeypatch.setattr(
        sketch_pad, "_near_edges", lambda picture: found.append(1) or near(picture)
    )
    pad.draw(lines)
    assert len(found) == 4, "both fills of both networks"
    pad.draw(lines.roll(3, 2))
    assert len(found) == 6, "only those that follow the lines"
    pad.look(hole=hole.roll(2, 2))
    assert len(found) == 10, "another hole: other fills"
    counted = pad.sketch * pad.hole
    for name, scores in zip(pad.fills, pad.shown["networks"], strict=True):
        assert scores["without"]["met"] == lines_met(pad.fills_without[name], counted)
        assert scores["with"]["met"] == lines_met(pad.fills[name], counted)
