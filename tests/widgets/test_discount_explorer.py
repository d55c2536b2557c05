"""The discount explorer without a browser: weights, rings, and what the code did."""

import math

import numpy as np
import pytest
import torch

from course_lib import holes
from course_lib.losses import discount_weights
from course_lib.tensors import ContractError
from course_lib.widgets import DiscountExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.discount_explorer import published_weights

HEIGHT, WIDTH = 40, 48


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=generator)


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, HEIGHT, WIDTH)
    hole[..., 10:21, 20:33] = 1
    return hole


@pytest.fixture
def explorer(image, hole):
    return DiscountExplorer(image, hole)


@pytest.fixture
def bent(hole):
    """A hole that is no rectangle: two known pixels in the box of 11 x 13."""
    hole[..., 10:11, 20:22] = 0
    return hole


def floats(data):
    return torch.from_numpy(np.frombuffer(data, np.float32).copy())


# ---- the weights ----


@pytest.mark.parametrize("gamma", [1, 0.99, 0.9, 0.7])
def test_the_page_shows_the_library_s_weights(explorer, hole, gamma):
    explorer.set(gamma=gamma)
    expected = discount_weights(hole, gamma)
    assert torch.equal(explorer.weights, expected)
    assert torch.equal(floats(explorer.weights_bytes), expected.flatten())
    assert explorer.shown["gamma"] == explorer.gamma == gamma


def test_a_pixel_is_told_its_distance_and_weight(explorer, hole):
    explorer.look(12, 25)
    shown = explorer.shown
    assert (shown["row"], shown["column"]) == (12, 25)
    assert shown["distance"] == 3
    assert shown["weight"] == pytest.approx(0.9**3)
    assert shown["deepest_in_row"]["distance"] == 3
    known = explorer.look(0, 47).shown
    assert (known["distance"], known["weight"]) == (0, 1)


def test_the_deepest_pixel_is_asked_until_the_reader_asks_another(explorer):
    assert explorer.shown["distance"] == explorer.shown["deepest"]["distance"] == 6
    explorer.set(box=(0, 0, 21, 31))
    assert explorer.shown["distance"] == explorer.shown["deepest"]["distance"]
    explorer.look(2, 3).set(box=(10, 10, 3, 3))
    assert (explorer.shown["row"], explorer.shown["column"]) == (2, 3)
    assert explorer.look().shown["distance"] == 2


def test_the_mean_and_the_rings_add_up(explorer, hole):
    shown = explorer.shown
    weights, away = explorer.weights[hole.bool()], holes.distance(hole)[hole.bool()]
    assert shown["mean"] == pytest.approx(float(weights.mean()))
    expected = [float(weights[away == k].sum() / weights.sum()) for k in (1, 2)]
    expected.append(float(weights[(away == 3) | (away == 4)].sum() / weights.sum()))
    expected.append(float(weights[away >= 5].sum() / weights.sum()))
    assert [r["weight"] for r in shown["rings"]] == pytest.approx([*expected, 0])
    assert sum(r["pixels"] for r in shown["rings"]) == pytest.approx(1)
    assert shown["rings"][0]["pixels"] == pytest.approx(44 / 143)


def test_every_so_many_pixels_the_weight_halves(explorer):
    assert 0.9 ** explorer.shown["halving"] == pytest.approx(0.5)
    assert explorer.set(gamma=1).shown["halving"] is None


# ---- the published code ----


def test_the_code_measures_to_the_box_and_starts_at_0(hole):
    found = published_weights(hole, 0.5)[0, 0]
    for row in range(HEIGHT):
        for column in range(WIDTH):
            i, j = row - 10, column - 20
            if 0 <= i < 11 and 0 <= j < 13:
                expected = 0.5 ** min(i, 11 - i, j, 13 - j)
                assert float(found[row, column]) == expected
            else:
                assert math.isnan(found[row, column])


def test_it_differs_where_top_and_left_are_near(explorer, hole):
    found, weights = published_weights(hole, 0.9), discount_weights(hole, 0.9)
    differs = (found != weights) & hole.bool() & ((found - weights).abs() > 1e-6)
    assert explorer.shown["code"]["differs"] == int(differs.sum())
    assert differs[0, 0, 10, 20:33].all()
    assert not differs[0, 0, 20, 21:33].any()
    assert explorer.shown["code"]["most"] == pytest.approx(0.1)
    assert explorer.shown["code"]["known"] == 0
    assert explorer.set(gamma=1).shown["code"]["differs"] == 0


def test_it_weighs_known_pixels_of_a_hole_that_is_no_rectangle(explorer, bent):
    explorer.set(hole=bent)
    assert explorer.shown["code"]["known"] == 2
    assert explorer.shown["shape"] == "free-form"
    page = floats(explorer.code_bytes).reshape(bent.shape)
    assert torch.equal(page.isnan(), published_weights(bent, 0.9).isnan())


# ---- the hole ----


def test_a_rectangle_is_moved_and_resized(explorer):
    explorer.set(box=(3, 4, 5, 6))
    expected = torch.zeros(1, 1, HEIGHT, WIDTH)
    expected[..., 3:8, 4:10] = 1
    assert torch.equal(explorer.hole, expected)
    assert explorer.hole_bytes == expected.byte().numpy().tobytes()
    assert explorer.shown["pixels"] == 30


def test_a_free_form_hole_is_moved_as_it_is(explorer, bent):
    explorer.set(hole=bent)
    explorer.set(box=(12, 23, 11, 13))
    assert torch.equal(explorer.hole, bent.roll((2, 3), (-2, -1)))
    with pytest.raises(WidgetError, match="stays 11 x 13 px"):
        explorer.set(box=(12, 23, 10, 13))


def test_each_shape_keeps_its_place(explorer, hole):
    explorer.set(shape="free-form")
    assert not torch.equal(explorer.hole, hole)
    assert not holes.touches_border(explorer.hole)
    explorer.set(shape="rectangle")
    assert torch.equal(explorer.hole, hole)


def test_the_asked_pixel_goes_with_the_hole(explorer):
    explorer.look(12, 25).set(box=(11, 22, 11, 13))
    assert (explorer.shown["row"], explorer.shown["column"]) == (13, 27)
    assert explorer.shown["distance"] == 3


# ---- what it says ----


def test_repr_states_the_facts(explorer):
    text = repr(explorer.look(12, 25))
    for fact in (
        "gamma 0.9, hole 143 px, deepest 6.0 px, weight there 0.531",
        f"mean weight {float(explorer.shown['mean']):.3f}",
        "row 12, column 25: 3.0 px, weight 0.729",
        "published code differs on",
    ):
        assert fact in text


def test_the_still_shows_the_field_and_the_row(explorer):
    first = explorer.still()
    assert first.text == repr(explorer)
    assert len(first._repr_png_()) < 60_000
    assert not np.array_equal(first.pixels, explorer.set(gamma=0.7).still().pixels)
    assert not np.array_equal(first.pixels, explorer.set(gamma=0.9).look(12, 25))


def test_a_named_photo_and_no_hole_are_enough():
    explorer = DiscountExplorer("lincolnmemorial", size=64)
    assert explorer.image.shape == (1, 3, 64, 64)
    assert explorer.shown["pixels"] == 15 * 15


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer, hole):
    before = repr(explorer)
    for wrong, kind in (
        ({"gamma": 0.0}, ContractError),
        ({"gamma": 1.01}, ContractError),
        ({"gamma": float("nan")}, ContractError),
        ({"shape": "circle"}, WidgetError),
        ({"box": (0, 0, 0, 5)}, WidgetError),
        ({"box": (30, 0, 11, 5)}, WidgetError),
        ({"box": (-1, 0, 5, 5)}, WidgetError),
        ({"box": (0, 0, HEIGHT, WIDTH)}, ContractError),
        ({"hole": torch.zeros_like(hole)}, WidgetError),
        ({"hole": hole[..., :20]}, ContractError),
    ):
        with pytest.raises(kind):
            explorer.set(**wrong)
    for row, column in ((HEIGHT, 0), (0, WIDTH), (-1, 0), (None, 5), (5, None)):
        with pytest.raises(WidgetError, match="is not between"):
            explorer.look(row, column)
    assert repr(explorer) == before
    assert torch.equal(explorer.hole, hole)


def test_an_image_that_is_none_is_refused():
    with pytest.raises(ContractError, match="expected"):
        DiscountExplorer(torch.zeros(1, 1, 8, 8))


# ---- the page ----


def test_the_page_moves_what_set_and_look_move(explorer, make_view):
    view = make_view(explorer)
    assert "error" not in view.ask("gamma", gamma=0.7)
    assert "error" not in view.ask("place", shape="rectangle", box=[1, 2, 9, 9])
    assert "error" not in view.ask("look", row=3, column=4)
    assert explorer.gamma == 0.7
    assert explorer.shown["box"] == [1, 2, 9, 9]
    assert explorer.shown["distance"] == 3
    view.ask("look", row=None, column=None)
    assert explorer.shown["distance"] == 5
    view.ask("shape", shape="free-form")
    assert explorer.shown["shape"] == "free-form"


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), repr(explorer)
    reply = view.ask("place", shape="rectangle", box=[0, 0, HEIGHT, WIDTH])
    assert "covers its whole picture" in reply["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before
