"""The hole explorer without a browser: makers, sliders, and what it says of a hole."""

import numpy as np
import pytest
import torch

from course_lib import holes
from course_lib.holes import HoleError
from course_lib.tensors import ContractError
from course_lib.widgets import HoleExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.hole_explorer import CONTROLS, MAKERS, SAMPLES, histogram

SIZE = 64


@pytest.fixture
def image():
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def explorer(image):
    return HoleExplorer(image, size=SIZE)


def page_hole(explorer):
    found = np.frombuffer(explorer.hole_bytes, np.uint8).copy()
    return torch.from_numpy(found).reshape(1, 1, SIZE, SIZE).float()


# ---- what it makes ----


@pytest.mark.parametrize("maker", MAKERS)
def test_a_hole_is_what_the_maker_makes_of_the_seed(explorer, maker):
    explorer.look(maker, seed=5)
    again = MAKERS[maker](1, SIZE, torch.Generator().manual_seed(5), explorer.settings)
    assert torch.equal(explorer.hole, again)
    assert torch.equal(page_hole(explorer), again)
    assert explorer.shown["share"] == pytest.approx(float(again.mean()))


@pytest.mark.parametrize("maker", MAKERS)
def test_the_start_is_the_library_s_own_maker(image, maker):
    defaults = HoleExplorer(image, size=SIZE, maker=maker)
    plain = getattr(holes, maker)(200, SIZE, torch.Generator().manual_seed(1)).mean()
    assert float(defaults.ratios.mean()) == pytest.approx(float(plain), rel=0.25)


def test_another_seed_is_another_hole_from_the_same_64(explorer):
    first, ratios = explorer.hole, explorer.ratios
    explorer.look(seed=1)
    assert not torch.equal(explorer.hole, first)
    assert torch.equal(explorer.ratios, ratios)


@pytest.mark.parametrize(
    ("maker", "name", "value"),
    [
        ("rectangles", "side", 0.8),
        ("rectangles", "count", 6),
        ("strokes", "count", 8),
        ("strokes", "width", 0.35),
        ("strokes", "vertices", 24),
        ("irregular", "dilation", 0.3),
        ("irregular", "threshold", 0.2),
    ],
)
def test_each_slider_makes_larger_holes(explorer, maker, name, value):
    before = explorer.look(maker).ratios.mean()
    assert explorer.look(maker, **{name: value}).ratios.mean() > before


@pytest.mark.parametrize("maker", MAKERS)
def test_a_frame_stays_known(explorer, maker):
    explorer.look(maker, margin=0.12, seed=3)
    assert not holes.touches_border(explorer.hole, 0.12)
    assert explorer.shown["border"] == "clear of the border"


@pytest.mark.parametrize("target", [0.1, 0.3, 0.6])
def test_growing_ends_in_the_bucket_that_owns_the_target(explorer, target):
    explorer.look("irregular", target=target)
    share = float(explorer.hole.mean())
    assert target - 1 / SIZE**2 <= share <= target
    assert explorer.shown["bucket"].startswith(f"bucket {round(10 * target)} of 6")


def test_the_makers_keep_their_own_sliders(explorer):
    explorer.look("strokes", count=7).look("rectangles", count=2).look("strokes")
    assert explorer.settings["count"] == 7


# ---- what it says ----


def test_the_buckets_count_the_64(explorer):
    numbers = holes.BUCKETS
    shares = explorer.ratios.tolist()
    expected = [sum(low < s <= high for s in shares) for low, high in numbers]
    assert explorer.shown["counts"] == expected
    assert sum(expected) + explorer.shown["outside"] == SAMPLES == len(shares)


def test_repr_states_the_facts(explorer):
    explorer.look("strokes", seed=2, target=0.25, margin=0.1)
    text = repr(explorer)
    for fact in ("strokes", "seed 2", "25.0 % missing", "bucket 3 of 6", "clear of"):
        assert fact in text


def test_the_still_shows_photo_hole_and_histogram(explorer):
    first = explorer.still()
    assert first.text == repr(explorer)
    assert first.pixels.shape[0] > SIZE
    assert len(first._repr_png_()) < 60_000
    assert not np.array_equal(first.pixels, explorer.look(seed=1).still().pixels)


def test_the_histogram_marks_the_hole_on_show():
    ratios = torch.full((SAMPLES,), 0.1)
    left, right = (histogram(ratios, share, 276) for share in (0.05, 0.55))
    columns = (left != right).any((0, 2)).nonzero()[0]
    assert columns.min() < 60
    assert columns.max() > 180


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer):
    before, hole = repr(explorer), explorer.hole
    for wrong in (
        {"maker": "scribbles"},
        {"seed": -1},
        {"width": 3.0},
        {"width": float("nan")},
        {"dilation": 0.1},
    ):
        with pytest.raises(WidgetError, match=r"no |between"):
            explorer.look(**wrong)
    with pytest.raises(HoleError, match="does not fit"):
        explorer.look(target=0.6, margin=0.2)
    assert repr(explorer) == before
    assert torch.equal(explorer.hole, hole)


def test_an_image_that_is_none_is_refused():
    with pytest.raises(ContractError, match="expected"):
        HoleExplorer(torch.zeros(1, 1, 8, 8))


# ---- the page ----


def test_the_page_moves_what_look_moves(explorer, make_view):
    view = make_view(explorer)
    values = {**explorer.settings, "count": 6, "width": 0.3}
    reply = view.ask("look", maker="strokes", seed=9, values=values)
    assert "error" not in reply
    assert explorer.settings == values
    assert explorer.shown["seed"] == 9


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), repr(explorer)
    values = {**explorer.settings, "target": 0.6, "margin": 0.2}
    reply = view.ask("look", maker="strokes", seed=0, values=values)
    assert "does not fit" in reply["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before


def test_every_slider_can_reach_its_start(explorer):
    for maker, rows in CONTROLS.items():
        for control in rows:
            assert control.low <= control.value <= control.high
        names = [row["name"] for row in explorer.controls[maker]]
        assert names == [c.name for c in rows] + ["margin", "target"]
