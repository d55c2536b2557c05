"""The window explorer without a browser: layers, places, values, and what it says."""

import re

import numpy as np
import pytest
import torch

from course_lib.layers import PartialConv2d
from course_lib.networks import UNet
from course_lib.tensors import ContractError
from course_lib.widgets import WindowExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.pixel_explorer import marked
from course_lib.widgets.window_reading import window_facts

SIDE = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNet(PartialConv2d, channels=(8, 8, 8, 8), kernels=(7, 5, 3, 3)).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., 14:52, 16:54] = 1
    return hole


@pytest.fixture
def explorer(network, image, hole):
    return WindowExplorer(network, image, hole)


def place(explorer):
    shown = explorer.shown
    return shown["name"], shown["row"], shown["column"]


# ---- layers and places ----


def test_the_window_that_knows_least_comes_first(explorer):
    assert explorer.shown["name"] == "encoder.0"
    share = explorer.layers["encoder.0"].share
    asked = share[explorer.shown["row"], explorer.shown["column"]]
    assert 0 < asked == share[share > 0].min()


def test_of_equal_windows_the_most_central_in_the_hole_comes_first(
    explorer, network, image, hole
):
    """All windows above the hole know one row; the border's know less, yet lie out."""
    share = explorer.layers["encoder.0"].share
    assert (share == 7 / 49).sum() > 10
    assert place(explorer) == ("encoder.0", 8, 17)
    beside = torch.zeros_like(hole)
    beside[..., 17:54, 14:52] = 1  # here those that know least stand to the left
    assert place(WindowExplorer(network, image, beside)) == ("encoder.0", 17, 8)


def test_another_layer_keeps_the_place(explorer):
    explorer.look("encoder.0", 21, 10)
    explorer.layer("encoder.2")
    assert place(explorer) == ("encoder.2", 5, 2)
    explorer.look(channel=2)
    assert place(explorer.layer("last")) == ("last", 43, 21)
    assert place(explorer.layer("encoder.0")) == ("encoder.0", 21, 10)
    explorer.look(channel=3)
    assert place(explorer) == ("encoder.0", 21, 10)
    assert place(explorer.layer("encoder.1.conv")) == ("encoder.1", 10, 5)


def test_the_hole_closes_and_is_told_in_numbers(explorer):
    facts = explorer.layer_facts
    unknown = [layer["unknown"] for layer in facts]
    assert unknown[:4] == sorted(unknown[:4], reverse=True)
    assert unknown[0] > unknown[1] > 0 == unknown[-1]
    data = np.frombuffer(explorer.maps_bytes, np.uint8)
    at = 0
    for layer, kept in zip(facts, explorer.layers.values(), strict=True):
        for part, (_, valid) in zip(layer["parts"], kept.parts, strict=True):
            size = valid.shape[-2] * valid.shape[-1]
            found = data[at : at + size].reshape(layer["input"])
            assert np.array_equal(found, valid[0, 0].numpy())
            assert part["unknown"] == pytest.approx(1 - found.mean())
            at += size
        size = layer["output"][0] * layer["output"][1]
        found = data[at : at + size].reshape(layer["output"])
        assert np.array_equal(found, kept.valid[0, 0].numpy())
        assert layer["unknown"] == pytest.approx(1 - found.mean())
        at += size
    assert at == len(data)


def test_both_parts_of_a_skip_are_told(explorer):
    shown = explorer.look("decoder.2", 16, 17).shown
    layer = explorer.layers["decoder.2"]
    assert [part["name"] for part in explorer.layer_facts[6]["parts"]] == [
        "decoder",
        "skip",
    ]
    assert shown["known"] == [9, 0]
    assert shown["read"] == 9 * layer.parts[0][0].shape[1]
    assert shown["ratio"] == pytest.approx(2)
    assert "places known: 9 of 9 decoder, 0 of 9 skip, ratio 2.00" in repr(explorer)


def test_the_facts_are_those_of_the_window(explorer):
    explorer.look("encoder.1", 3, 7, channel=5)
    facts = window_facts(explorer.layers["encoder.1"], 3, 7, 5)
    assert explorer.shown == {"layer": 1, "name": "encoder.1", **facts}


def test_a_channel_survives_a_layer_that_has_fewer(explorer):
    explorer.look("encoder.0", 3, 3, channel=7)
    assert explorer.layer("last").shown["channel"] == 2


def test_what_lies_under_the_hole_is_never_seen(network, image, hole, explorer):
    broken = torch.where(hole.bool(), torch.nan, image)
    other = WindowExplorer(network, broken, hole)
    assert other.maps_bytes == explorer.maps_bytes
    assert other.given_bytes == explorer.given_bytes
    for name in explorer.layers:
        assert other.look(name).shown == explorer.look(name).shown
    assert np.array_equal(other.still().pixels, explorer.still().pixels)


@pytest.mark.parametrize("missing", [0, 1])
def test_an_empty_and_a_full_hole(network, image, hole, missing):
    explorer = WindowExplorer(network, image, torch.full_like(hole, missing))
    shares = {layer["unknown"] for layer in explorer.layer_facts}
    assert shares == {missing}
    assert (explorer.shown["ratio"] is None) == bool(missing)
    assert explorer.still().pixels.size


# ---- what it says ----


def test_repr_states_the_facts(explorer):
    explorer.look("encoder.1", 4, 7)
    known = explorer.shown["known"][0]
    assert 0 < known < 25
    assert repr(explorer) == (
        "window explorer: encoder.1, 5 x 5 window at row 4, column 7, "
        f"{known} of 25 places known, ratio {25 / known:.2f}, "
        f"{100 * explorer.layers['encoder.1'].unknown:.1f} % of the map unknown"
    )
    explorer.look("encoder.0", 16, 17)
    assert "0 of 49 places known, empty: output 0, " in repr(explorer)


def test_the_still_follows(explorer):
    first = explorer.still()
    assert first.text == repr(explorer)
    assert len(first._repr_png_()) < 60_000
    assert first.pixels.shape[1] <= 820
    again = explorer.look("encoder.0", 3, 3).still()
    assert not np.array_equal(first.pixels[:148], again.pixels[:148]), "the mark"
    assert not np.array_equal(first.pixels[148:], again.pixels[148:]), "the window"
    decoder = explorer.look("decoder.2", 16, 17).still()
    assert decoder.pixels.shape[1] <= 820
    assert np.array_equal(decoder.pixels, explorer.still().pixels)


def test_a_mark_at_the_border_is_seen_whole(explorer):
    picture = torch.zeros(1, 3, 20, 24)
    middle = (marked(picture, 10, 12) > 0).sum()
    for row, column in ((0, 0), (19, 23), (8, 23)):
        assert (marked(picture, row, column) > 0).sum() == middle
    size = explorer.layers["encoder.0"].size
    explorer.look("encoder.0", size[0] - 1, size[1] - 1)
    yellow = (explorer.still().pixels[:148] == (255, 216, 77)).all(-1)
    assert yellow.sum() == 16


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer):
    before = repr(explorer), dict(explorer.shown)
    for row, column in ((32, 0), (0, 32), (-1, 0)):
        with pytest.raises(WidgetError, match=r"encoder\.0 has 32 x 32 pixels"):
            explorer.look("encoder.0", row, column)
    with pytest.raises(WidgetError, match=r"no layer 'middle'; there are encoder\.0"):
        explorer.layer("middle")
    with pytest.raises(WidgetError, match="channel 8 is not between 0 and 7"):
        explorer.look(channel=8)
    with pytest.raises(WidgetError, match="row None and column 5: give both"):
        explorer.look(column=5)
    assert (repr(explorer), explorer.shown) == before


def test_what_does_not_belong_together_is_refused(network, image, hole):
    with pytest.raises(WidgetError, match="no layer that reads validity"):
        WindowExplorer(UNet(channels=(8,), kernels=(3,)).eval(), image, hole)
    with pytest.raises(ContractError, match="same N, H"):
        WindowExplorer(network, image, hole[..., :16])


# ---- the page ----


def test_the_page_asks_what_python_asks(explorer, make_view):
    view = make_view(explorer)
    assert "error" not in view.ask("look", row=5, column=6)
    assert place(explorer) == ("encoder.0", 5, 6)
    assert "error" not in view.ask("layer", name="encoder.1")
    assert place(explorer) == ("encoder.1", 2, 3)
    assert "error" not in view.ask("channel", channel=6)
    assert explorer.shown["channel"] == 6
    assert place(explorer) == ("encoder.1", 2, 3)
    view.ask("look", row=None, column=None)
    share = explorer.layers["encoder.1"].share
    asked = share[explorer.shown["row"], explorer.shown["column"]]
    assert asked == share[share > 0].min()


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), repr(explorer)
    assert "is not between" in view.ask("look", row=99, column=0)["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before


def test_what_is_shown_is_plain_data(explorer):
    """The page gets numbers: no tensor, no NaN, no infinity."""
    for name in explorer.layers:
        text = str(explorer.look(name, 0, 0).shown)
        assert not re.search(r"tensor|nan|inf", text)
