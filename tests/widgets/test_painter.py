"""The hole painter without a browser: what the page asks, what the next cell reads."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import photos
from course_lib.tensors import ContractError
from course_lib.widgets import HolePainter
from course_lib.widgets.base import WidgetError

SIZE = 64


def grey(image, hole):
    """A fill that reads nothing: the hole becomes 0.25."""
    return torch.full_like(image, 0.25)


def average(image, hole):
    return image.mean((2, 3), keepdim=True).expand_as(image)


def broken(image, hole):
    raise RuntimeError("out of paint")


@pytest.fixture
def image():
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIZE, SIZE)
    hole[..., 10:26, 20:52] = 1
    return hole


@pytest.fixture
def painter(image):
    return HolePainter(image, {"grey": grey, "average": average, "broken": broken})


@pytest.fixture
def view(painter, make_view):
    return make_view(painter)


def show(view, hole, **changes):
    request = {"photo": None, "fill": "grey", "run": True, **changes}
    return view.ask("show", hole=hole.byte().numpy().tobytes(), **request)


def upload(view, data, name="mine.png", part=2**20):
    reply = {}
    for start in range(0, len(data), part):
        last = start + part >= len(data)
        piece = data[start : start + part]
        reply = view.ask("upload", name=name, first=start == 0, last=last, part=piece)
        if "error" in reply:
            break
    return reply


def encoded(picture, kind="png", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def shown(painter):
    shape = (painter.height, painter.width, 3)
    return np.frombuffer(painter.filled_bytes, np.uint8).reshape(shape)


# ---- painting ----


def test_a_stroke_reaches_the_kernel_and_is_filled(painter, view, image, hole):
    reply = show(view, hole)
    assert "error" not in reply
    assert torch.equal(painter.hole, hole)
    assert painter.hole.dtype == torch.float32
    missing = hole.bool().expand_as(image)
    assert (painter.filled[missing] == 0.25).all()
    assert torch.equal(painter.filled[~missing], image[~missing]), "known is bit-exact"
    assert (shown(painter)[10:26, 20:52] == 64).all()
    assert painter.stage == "filled"


def test_look_does_what_a_stroke_does(painter, view, image, hole):
    show(view, hole)
    other = HolePainter(image, {"grey": grey}).look(hole)
    assert torch.equal(other.filled, painter.filled)
    assert other.hole_bytes == painter.hole_bytes == hole.byte().numpy().tobytes()


def test_the_state_on_show_outlives_the_page(painter, view, hole):
    show(view, hole)
    state = painter.get_state()
    assert state["hole_bytes"] == hole.byte().numpy().tobytes()
    assert state["filled_bytes"] == painter.filled_bytes
    assert state["stage"] == "filled"


def test_without_a_hole_the_original_is_shown(painter, image):
    assert torch.equal(painter.filled, image)
    assert painter.stage == "empty"
    assert "original" in painter.status


def test_a_hole_over_everything_is_said_and_not_filled(painter, view):
    reply = show(view, torch.ones(1, 1, SIZE, SIZE), fill="broken")
    assert "error" not in reply
    assert painter.stage == "full"
    assert "nothing is known" in painter.status
    assert (painter.filled == 0.5).all()


def test_filling_can_wait_for_its_button(painter, view, hole):
    show(view, hole, run=False)
    assert painter.stage == "open"
    assert torch.equal(painter.hole, hole), "the hole is in the kernel all the same"
    assert (painter.filled[hole.bool().expand(-1, 3, -1, -1)] == 0.5).all()
    show(view, hole, run=True)
    assert painter.stage == "filled"


@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), 7.0, "noise"])
def test_what_the_hole_hides_changes_nothing(image, hole, hidden):
    def result(picture):
        painter = HolePainter(picture, {"average": average}, hole=hole)
        return painter.filled, painter.filled_bytes

    other = image.clone()
    under = hole.bool().expand_as(image)
    noise = torch.rand(int(under.sum()), generator=torch.Generator().manual_seed(1))
    other[under] = noise if hidden == "noise" else hidden
    filled, data = result(image)
    again, data_again = result(other)
    assert torch.equal(filled, again)
    assert data == data_again


def test_a_fill_cannot_change_the_painter(image, hole):
    def vandal(image, hole):
        image.zero_()
        hole.fill_(1)
        return image

    painter = HolePainter(image, {"vandal": vandal}, hole=hole)
    painter.hole.zero_()
    painter.image.zero_()
    assert torch.equal(painter.hole, hole)
    assert torch.equal(painter.image, image)
    assert painter.filled[~hole.bool().expand_as(image)].sum() > 0


def test_a_fill_is_not_asked_twice_for_the_same_hole(image, hole):
    calls = []

    def counting(image, hole):
        calls.append(hole.sum().item())
        return image

    painter = HolePainter(image, {"counting": counting, "grey": grey}, hole=hole)
    painter.look(fill="grey").look(fill="counting")
    assert calls == [512]
    painter.look(torch.eye(SIZE)[None, None])
    assert calls == [512, SIZE]


# ---- what goes wrong ----


def test_a_fill_that_raises_is_shown_and_loses_no_stroke(painter, view, hole):
    reply = show(view, hole, fill="broken")
    assert reply["error"].startswith("RuntimeError: out of paint (in broken, line")
    assert torch.equal(painter.hole, hole)
    assert painter.stage == "open"
    assert (shown(painter)[10:26, 20:52] == 128).all(), "no older result is shown"
    assert "error" not in show(view, hole, fill="grey")
    with pytest.raises(RuntimeError, match="out of paint"):
        painter.look(fill="broken")


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (lambda image, hole: None, "NoneType"),
        (lambda image, hole: image[0], "(3, 64, 64)"),
        (lambda image, hole: image.mean(1, keepdim=True), "(1, 1, 64, 64)"),
        (lambda image, hole: image * float("nan"), "NaN"),
    ],
)
def test_a_fill_that_returns_no_image_is_told_so(image, hole, make_view, bad, text):
    view = make_view(HolePainter(image, {"mine": bad}))
    error = show(view, hole, fill="mine")["error"]
    assert "'mine'" in error
    assert text in error


def test_values_out_of_range_are_clipped(image, hole):
    painter = HolePainter(image, {"loud": lambda image, hole: image * 0 + 9}, hole=hole)
    assert painter.filled.max() == 1


def test_wrong_arguments_change_nothing(painter, hole):
    painter.look(hole)
    before = painter.get_state()
    with pytest.raises(WidgetError, match="no fill 'telepathy'; there are grey"):
        painter.look(fill="telepathy")
    with pytest.raises(WidgetError, match="no photo 'nobody'"):
        painter.look(photo="nobody")
    with pytest.raises(ContractError, match="hole"):
        painter.look(hole / 2)
    with pytest.raises(ContractError):
        painter.look(hole[..., 1:])
    assert painter.get_state() == before


def test_a_stroke_of_another_size_is_refused(painter, view, hole):
    reply = show(view, hole[..., 1:])
    assert "does not fit" in reply["error"]
    assert not painter.hole.any()


def test_an_unknown_request_is_an_error(view):
    assert "unknown" in view.ask("dance")["error"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"photos": []}, "photos is empty"),
        ({"photos": torch.zeros(2, 3, 8, 8)}, "expected one"),
        ({"photos": torch.zeros(1, 3, 8, 8), "fills": {}}, "fills is empty"),
    ],
)
def test_a_painter_without_photo_or_fill_says_what_it_needs(given, text):
    with pytest.raises(WidgetError, match=text):
        HolePainter(**given)


# ---- photos ----


def test_bundled_photos_are_squared_and_can_be_changed(make_view):
    names = photos.names("evaluation")[:3]
    painter = HolePainter(names, {"grey": grey}, size=SIZE)
    assert painter.photo_labels == names
    expected = photos.square(photos.load(names[0]), SIZE)
    assert torch.equal(painter.image, expected)
    assert Image.open(io.BytesIO(painter.thumbnails[2])).format == "JPEG"
    hole = torch.eye(SIZE)[None, None]
    show(make_view(painter), hole, photo=names[1])
    assert painter.photo == names[1]
    assert not torch.equal(painter.image, expected)
    assert torch.equal(painter.hole, hole), "the hole stays"


def test_by_default_there_are_photos_and_all_classical_fills():
    painter = HolePainter(size=32)
    assert len(painter.photo_labels) >= 6
    assert set(painter.photo_labels) <= set(photos.names("evaluation"))
    assert {"mean", "harmonic", "biharmonic"} <= set(painter.fill_labels)
    assert painter.fill == "harmonic"
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., 8:16, 8:16] = 1
    assert "harmonic" in painter.look(hole).status


def left_red():
    """A picture of 90 x 60 whose left half is red and whose right half is blue."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:, :45, 0], pixels[:, 45:, 2] = 255, 255
    return Image.fromarray(pixels)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down: the reader sees it turned by half
    picture = left_red().transpose(Image.Transpose.ROTATE_180)
    return encoded(picture, "jpeg", quality=95, exif=exif)


UPLOADS = {
    "EXIF-rotated JPEG": turned(),
    "RGBA PNG": encoded(left_red().convert("RGBA")),
    "CMYK JPEG": encoded(left_red().convert("CMYK"), "jpeg", quality=95),
    "WebP": encoded(left_red(), "webp", quality=95),
}


@pytest.mark.parametrize("kind", UPLOADS)
def test_an_own_photo_arrives_upright_and_in_colour(painter, view, hole, kind):
    painter.look(hole)
    assert "error" not in upload(view, UPLOADS[kind])
    assert painter.photo == "mine.png"
    assert painter.photo_labels[-1] == "mine.png"
    assert len(painter.thumbnails) == 2
    assert painter.image.shape == (1, 3, 256, 256)
    red, blue = painter.image[0, :, 128, 20], painter.image[0, :, 128, 235]
    assert red.argmax() == 0
    assert red.max() > 0.8
    assert blue.argmax() == 2
    assert blue.max() > 0.5
    assert painter.stage == "empty", "a hole of another size is dropped"


def test_grey_and_transparent_photos_become_three_channels(painter, view):
    upload(view, encoded(left_red().convert("L")))
    assert torch.equal(painter.image[:, 0], painter.image[:, 1])
    upload(view, encoded(Image.new("RGBA", (50, 50), (0, 0, 0, 0))), "clear.png")
    assert (painter.image == 1).all(), "what is transparent becomes white paper"


def test_an_own_photo_of_the_same_size_keeps_the_hole(image, hole, make_view):
    painter = HolePainter(image, {"grey": grey}, size=SIZE, hole=hole)
    upload(make_view(painter), encoded(left_red()))
    assert torch.equal(painter.hole, hole)
    assert painter.stage == "filled"


def test_an_own_photo_may_come_in_parts_and_again(painter, view):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise))
    assert "error" not in upload(view, data, part=50_000)
    first = painter.image
    assert "error" not in upload(view, encoded(left_red()), part=100)
    assert painter.photo_labels == ["photo", "mine.png"], "the same name is replaced"
    assert not torch.equal(painter.image, first)


BROKEN = {
    "text": (b"this is not a picture\n" * 40, "not a picture"),
    "nothing": (b"\x00", "not a picture"),
    "truncated": (encoded(left_red(), "jpeg")[:400], "damaged or incomplete"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_picture_loses_nothing(painter, view, hole, kind):
    painter.look(hole)
    before = painter.get_state()
    data, text = BROKEN[kind]
    error = upload(view, data, "notes.txt")["error"]
    assert text in error
    assert "notes.txt" in error
    assert painter.get_state() == before
    assert "error" not in show(view, hole), "and painting goes on"


def test_a_huge_file_is_refused_before_it_is_decoded(painter, view, monkeypatch):
    monkeypatch.setattr(photos, "decode", lambda *_: pytest.fail("was decoded"))
    parts = [view.ask("upload", name="big", first=True, last=False, part=bytes(7**8))]
    while "error" not in parts[-1]:
        part = bytes(7**8)
        parts.append(view.ask("upload", name="big", first=False, last=False, part=part))
        assert len(parts) < 5
    assert parts[-1]["error"] == "The file has more than 12 MB."
    assert painter.photo_labels == ["photo"]


# ---- comparing, and what a reader without a kernel sees ----


def test_comparing_changes_nothing_and_says_how_close(painter, view, image, hole):
    show(view, hole)
    before = painter.get_state()
    reply = view.ask("compare", fill="average")
    assert reply["fill"] == "average"
    assert len(reply["picture"]) == 3 * SIZE * SIZE
    inside = hole.bool().expand_as(image)
    guess = average(torch.where(hole.bool(), 0.5, image), hole)
    error = (guess - image)[inside].square().mean()
    assert reply["psnr"] == pytest.approx(-10 * error.log10().item(), abs=1e-3)
    assert painter.get_state() == before


def test_comparing_without_a_hole_has_no_number(view):
    assert "psnr" not in view.ask("compare", fill="grey")


def test_a_perfect_fill_has_a_finite_number(image, hole, make_view):
    view = make_view(HolePainter(image, {"truth": lambda *_: image}, hole=hole))
    assert view.ask("compare", fill="truth")["psnr"] == 99


def test_comparing_with_an_unknown_truth_has_no_number(image, hole, make_view):
    image[hole.bool().expand_as(image)] = float("nan")
    view = make_view(HolePainter(image, {"grey": grey}, hole=hole))
    reply = view.ask("compare", fill="grey")
    assert len(reply["picture"]) == 3 * SIZE * SIZE
    assert "psnr" not in reply


def test_a_network_on_another_device_fills(image, hole, elsewhere):
    painter = HolePainter(image, {"network": elsewhere}, hole=hole)
    assert painter.stage == "filled"


def test_repr_states_the_facts(painter, hole):
    assert repr(painter) == "HolePainter(64x64, hole 0.0 %, grey)"
    assert repr(painter.look(hole)) == "HolePainter(64x64, hole 12.5 %, grey)"


def test_the_still_is_small_and_always_the_same(hole):
    def bundle():
        name = photos.names("evaluation")[0]
        big = torch.zeros(1, 1, 256, 256)
        big[..., 60:120, 80:200] = 1
        return HolePainter(name, {"grey": grey}, hole=big)._repr_mimebundle_()

    data, metadata = bundle()
    assert data["image/png"] == bundle()[0]["image/png"]
    assert len(data["image/png"]) <= 60_000
    assert Image.open(io.BytesIO(data["image/png"])).size[0] > 500
    assert "hole 11.0 %" in metadata["image/png"]["alt"]
