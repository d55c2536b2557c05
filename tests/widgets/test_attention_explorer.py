"""The attention explorer without a browser: rows, sources, entropy, what is pasted."""

import math
import re
from colorsys import rgb_to_hsv

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import fills
from course_lib.layers import ContextualAttention
from course_lib.tensors import ContractError, composite, hide
from course_lib.widgets import AttentionExplorer, attention_reading
from course_lib.widgets.attention_reading import (
    colour_maps,
    entropies,
    feature_maps,
    row_facts,
    way,
    wheel,
)
from course_lib.widgets.base import WidgetError
from course_lib.widgets.pixel_explorer import deepest

SIDE = 64


class Deaf(nn.Module):
    """A network without attention."""

    def forward(self, image, hole):
        return image


class Network(nn.Module):
    """Features at a quarter of the side, and attention over them."""

    def __init__(self, **settings):
        super().__init__()
        self.features = nn.Conv2d(3, 6, 4, 4)
        self.deep = nn.ModuleDict({"attention": ContextualAttention(**settings)})

    def forward(self, image, hole):
        found = self.features(fills.mean(image, hole))
        self.heard = found, found + 1, F.max_pool2d(hole, 4)
        self.answer = self.deep["attention"](*self.heard)
        return image


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(rate=1, softmax_scale=3.0, fuse=False).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., 17:43, 22:50] = 1
    return hole


@pytest.fixture
def explorer(image, hole):
    return AttentionExplorer(image, hole)


def by_hand(image, hole, scale, fuse, shrink=1):
    """The layer on the colours, from the layer alone."""
    rough = composite(fills.harmonic(hide(image, hole), hole), hide(image, hole), hole)
    small, missing = F.avg_pool2d(rough, shrink), F.max_pool2d(hole, shrink)
    known = missing[0, 0] == 0
    colours = small - small[0, :, known].mean(1).view(1, 3, 1, 1)
    layer = ContextualAttention(softmax_scale=scale, fuse=fuse)
    y, attention = layer(colours, colours, missing)
    return y + (small - colours), attention[0]


def usable(hole, rate=2):
    """Which cells touch nothing missing, by a loop over what each reads and pastes."""
    tall, wide = (side // rate for side in hole.shape[-2:])
    missing = hole[0, 0].bool()
    found = []
    for row in range(tall):
        for column in range(wide):
            reads = [
                (row + i, column + j)
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                if 0 <= row + i < tall and 0 <= column + j < wide
            ]
            clean = not any(missing[rate * r, rate * c] for r, c in reads)
            top, left = (max(0, rate * k - rate // 2) for k in (row, column))
            bottom, right = (rate * k - rate // 2 + 2 * rate for k in (row, column))
            found.append(clean and not missing[top:bottom, left:right].any())
    return torch.tensor(found)


def everything(explorer):
    names = ("row", "image", "hole", "rough", "pasted", "wheel", "cells", "thumbnails")
    data = [getattr(explorer, f"{name}_bytes") for name in names]
    return repr(explorer), str(explorer.shown), data


# ---- what is compared ----


@pytest.mark.parametrize(("scale", "fuse"), [(10.0, True), (1.5, False)])
def test_colours_are_what_the_layer_makes_of_them(explorer, image, hole, scale, fuse):
    explorer.set(softmax_scale=scale, propagation=fuse)
    y, attention = by_hand(image, hole, scale, fuse)
    assert torch.allclose(explorer.attention, attention, atol=1e-5)
    missing = hole.bool().expand_as(image)
    assert torch.allclose(explorer.pasted[missing], y[missing].clamp(0, 1), atol=1e-5)
    assert explorer.pasted[~missing].equal(image[~missing])


def test_large_photos_are_averaged_and_pasted_at_full_size(hole):
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 3, 128, 96, generator=generator)
    hole = torch.zeros(1, 1, 128, 96)
    hole[..., 40:72, 28:60] = 1
    explorer = AttentionExplorer(image, hole)
    assert explorer.shown["grid"] == [32, 24]
    assert explorer.shown["step"] == 4
    y, attention = by_hand(image, hole, 10.0, True, shrink=2)
    assert torch.allclose(explorer.attention, attention, atol=1e-5)
    small = F.avg_pool2d(explorer.pasted, 2)
    inside = F.max_pool2d(hole, 2).bool().expand_as(small)
    assert torch.allclose(small[inside], y[inside].clamp(0, 1), atol=1e-5)


def test_features_are_what_the_network_gave_its_layer(network, image, hole):
    explorer = AttentionExplorer(image, hole, network=network)
    shown = explorer.shown
    assert (shown["source"], shown["name"]) == ("features", "deep.attention")
    assert (shown["softmax_scale"], shown["propagation"]) == (3.0, False)
    maps = explorer.maps
    for found, given in zip(
        (maps.query, maps.background, maps.hole), network.heard, strict=True
    ):
        assert found.equal(given)
    assert explorer.attention.equal(network.answer[1][0])
    explorer.set(softmax_scale=20, propagation=True)
    layer = ContextualAttention(rate=1, softmax_scale=20.0)
    assert explorer.attention.equal(layer(*network.heard)[1][0])
    explorer.set(source="colours")
    assert explorer.maps.name == "its colours"
    assert explorer.attention.equal(explorer.maps.attend(20.0, True))
    assert explorer.shown["own"] == [10.0, True]


@pytest.mark.parametrize("settings", [{"rate": 2}, {"compat": "deepfill", "rate": 1}])
def test_other_layers_paste_what_they_attend_to(image, hole, settings):
    torch.manual_seed(1)
    network = Network(patch_size=5, cosine=True, **settings).eval()
    explorer = AttentionExplorer(image, hole, network=network)
    assert explorer.attention.equal(network.answer[1][0])
    assert explorer.shown["patch"] == 5
    assert explorer.shown["step"] == 4 * settings["rate"]
    assert explorer.shown["own"] == [10.0, True]
    assert 0 < explorer.shown["entropy"] <= explorer.shown["entropy_most"]
    assert explorer.shown["sum"] <= 1 + 1e-6


def test_a_network_is_left_as_it_was(image, hole):
    network = Network(rate=1).train()
    feature_maps(network, image, hole)
    assert network.training


def test_another_fill_asks_another_question(image, hole):
    def white(image, hole):
        assert not hole.all()
        assert (image[hole.expand_as(image) == 1] == 0.5).all(), "it sees the hole grey"
        return torch.ones_like(image)

    explorer = AttentionExplorer(image, hole, fill=white)
    inside = hole.bool().expand_as(image)
    query = explorer.maps.query
    assert torch.allclose(query[inside].max(), query[inside].view(3, -1)[:, 0].max())
    assert not explorer.attention.equal(AttentionExplorer(image, hole).attention)


# ---- what is said about a place ----


def test_the_facts_of_a_place_are_those_of_its_row(explorer, hole):
    shown = explorer.look(30, 41).shown
    assert shown["cell"] == [15, 20]
    assert (shown["step"], shown["grid"]) == (2, [32, 32])
    row = explorer.attention[15 * 32 + 20]
    assert np.frombuffer(explorer.row_bytes, np.float32).tolist() == row.tolist()
    assert shown["usable"] == int(usable(hole).sum())
    assert explorer.maps.usable.equal(usable(hole))
    positive = row[row > 0].double()
    assert shown["entropy"] == pytest.approx(-float((positive * positive.log2()).sum()))
    assert shown["entropy_most"] == math.log2(shown["usable"])
    assert shown["even"] == pytest.approx(2 ** shown["entropy"])
    best = row.topk(5)
    assert [s["share"] for s in shown["top"]] == best.values.tolist()
    for source, index in zip(shown["top"], best.indices.tolist(), strict=True):
        down, across = 2 * (source["row"] - 15), 2 * (source["column"] - 20)
        assert source["row"] * 32 + source["column"] == index
        assert source["far"] == pytest.approx(math.hypot(down, across))
        assert source["way"] == way(down, across)
    ranked = sorted(row.tolist(), reverse=True)
    assert sum(ranked[: shown["most"]]) >= 0.9 - 1e-6
    assert sum(ranked[: shown["most"] - 1]) < 0.9
    assert shown["missing_here"] is True
    assert explorer.look(3, 4).shown["missing_here"] is False


def test_the_ends_of_entropy(image, hole):
    rough = hide(image, hole)
    maps = colour_maps(rough, hole)
    even = maps.usable.float()[None].expand(1024, -1) / maps.usable.sum()
    facts = row_facts(maps, even, (3, 4))
    assert facts["entropy"] == pytest.approx(facts["entropy_most"])
    assert facts["most"] == math.ceil(0.9 * facts["usable"])
    single = torch.zeros(1024, 1024)
    single[:, 7] = 0.25  # rows may sum to less than one
    facts = row_facts(maps, single, (0, 3))
    assert (facts["entropy"], facts["even"], facts["most"]) == (0, 1, 1)
    assert facts["sum"] == 0.25
    assert facts["top"][0] == {
        "row": 0,
        "column": 7,
        "share": 0.25,
        "far": 8.0,
        "way": "to the right",
    }


def test_a_lower_temperature_is_surer(explorer):
    spread = []
    for scale in (1, 10, 100):
        explorer.set(softmax_scale=scale)
        spread.append((explorer.shown["entropy"], explorer.shown["average"]))
    assert spread == sorted(spread, reverse=True)
    inside = explorer.maps.hole[0, 0, ::2, ::2].bool() | (
        F.max_pool2d(explorer.maps.hole, 2)[0, 0] > 0
    )
    mean = entropies(explorer.attention)[inside.flatten()].mean()
    assert explorer.shown["average"] == pytest.approx(float(mean))


@pytest.mark.parametrize(
    ("down", "across", "words", "name", "hue"),
    [
        (9, 0, "below", "red", 0),
        (9, 9, "to the lower right", "orange", 30),
        (0, 9, "to the right", "yellow", 60),
        (-9, 9, "to the upper right", "green", 120),
        (-9, 0, "above", "turquoise", 180),
        (-9, -9, "to the upper left", "blue", 225),
        (0, -9, "to the left", "violet", 270),
        (9, -9, "to the lower left", "pink", 315),
    ],
)
def test_the_wheel_points(down, across, words, name, hue, explorer):
    assert way(down, across) == words
    k = explorer.controls["names"].index(name)
    turned = math.radians(45 * k)
    assert math.sin(turned) * across >= -1e-9
    assert math.cos(turned) * down >= -1e-9
    near, full, beyond = wheel(
        torch.tensor([[1, 1], [2, 2], [4, 4]]) / 2 * torch.tensor([down, across]),
        math.hypot(down, across),
    ).tolist()
    assert full == beyond
    found = rgb_to_hsv(*full)
    assert found[0] * 360 % 360 == pytest.approx(hue, abs=1e-3)
    assert found[1] == pytest.approx(1)
    assert rgb_to_hsv(*near)[1] == pytest.approx(0.5)


def test_nowhere_is_white_and_here():
    assert wheel(torch.zeros(2), 5).tolist() == [1, 1, 1]
    assert way(0, 0) == "here"


def test_the_map_has_the_colour_of_each_best_source(explorer, hole):
    colours = np.frombuffer(explorer.wheel_bytes, np.uint8).reshape(32, 32, 3)
    cells = np.frombuffer(explorer.cells_bytes, np.uint8).reshape(32, 32)
    assert np.array_equal(cells, F.max_pool2d(hole, 2)[0, 0].numpy())
    for row, column in ((10, 14), (15, 20), (3, 3)):
        best = int(explorer.attention[row * 32 + column].argmax())
        offset = 2 * torch.tensor([best // 32 - row, best % 32 - column])
        expected = wheel(offset, SIDE / 2) * 255
        assert np.abs(colours[row, column] - expected.numpy()).max() <= 1


# ---- places and choices ----


def test_the_deepest_pixel_is_asked_and_followed(explorer, hole):
    asked = explorer.shown["row"], explorer.shown["column"]
    assert asked == deepest(hole)
    explorer.set(box=(7, 26, 26, 28))
    assert (explorer.shown["row"], explorer.shown["column"]) == (
        asked[0] - 10,
        asked[1] + 4,
    )
    explorer.look(5, 60).set(box=(17, 22, 26, 28))
    assert (explorer.shown["row"], explorer.shown["column"]) == (5, 60)
    assert explorer.look().shown["row"] == asked[0]


@pytest.mark.parametrize("source", ["colours", "features"])
def test_a_changed_explorer_is_like_a_new_one(network, image, hole, source):
    explorer = AttentionExplorer(image, hole, network=network).set(source=source)
    explorer.set(photo="hedgehog", box=(4, 6, 20, 13), softmax_scale=7)
    explorer.set(propagation=True)
    fresh = AttentionExplorer(
        explorer.image.clone(), explorer.hole.clone(), network=network
    )
    fresh.set(source=source, softmax_scale=7, propagation=True)
    assert fresh.attention.equal(explorer.attention)
    assert fresh.pasted_bytes == explorer.pasted_bytes
    assert explorer.hole.sum() == explorer.hole[..., 4:24, 6:19].sum() == 20 * 13


def test_a_hole_of_any_form_moves_but_does_not_stretch(explorer):
    other = torch.zeros(1, 1, SIDE, SIDE)
    other[..., 10, 11] = other[..., 12, 19] = 1
    assert explorer.set(hole=other).hole.equal(other)
    assert not explorer.shown["rectangle"]
    moved = explorer.set(box=(20, 20, 3, 9)).hole[0, 0]
    assert moved.nonzero().tolist() == [[20, 20], [22, 28]]
    with pytest.raises(WidgetError, match="stays 3 x 9"):
        explorer.set(box=(20, 20, 4, 9))


def test_an_empty_hole_has_nothing_to_paste(image, hole):
    explorer = AttentionExplorer(image, torch.zeros_like(hole))
    shown = explorer.shown
    assert (shown["average"], shown["missing_here"]) == (None, False)
    assert explorer.pasted.equal(image)
    assert shown["usable"] == shown["keys"] == 1024
    assert explorer.still().pixels.size


@pytest.mark.parametrize("named", [False, True])
def test_what_lies_under_the_hole_changes_nothing(network, image, hole, named):
    made = {"network": network} if named else {}
    explorer = AttentionExplorer(image, hole, **made)
    for hidden in (torch.nan, torch.rand(1, 3, 1, 1)):
        broken = torch.where(hole.bool(), hidden, image)
        other = AttentionExplorer(broken, hole, **made)
        assert everything(other)[:2] == everything(explorer)[:2]
        assert everything(other)[2][:-1] == everything(explorer)[2][:-1]
        assert np.array_equal(other.still().pixels, explorer.still().pixels)
    broken = torch.where(hole.bool(), torch.nan, image)
    other = AttentionExplorer(broken, hole, **made)
    before = everything(other)
    with pytest.raises(ContractError, match="NaN"):
        other.set(box=(0, 0, 26, 28))  # its NaN would lie in the open
    assert everything(other) == before


def test_no_picture_of_the_page_shows_what_is_hidden(image, hole, explorer):
    for name in ("image", "rough", "pasted"):
        data = np.frombuffer(getattr(explorer, f"{name}_bytes"), np.uint8)
        shown = torch.from_numpy(data.reshape(SIDE, SIDE, 3).copy()).permute(2, 0, 1)
        inside = hole[0].bool().expand_as(image[0])
        away = (shown / 255 - image[0])[inside].abs().mean()
        assert away > 0.1, name


# ---- what it says ----


def test_repr_states_the_facts(explorer):
    shown = explorer.look(30, 41).shown
    best = shown["top"][0]
    row, column = (2 * best[k] + 1 for k in ("row", "column"))
    assert repr(explorer) == (
        f"attention explorer: row 30, column 41 (missing) copies most, "
        f"{100 * best['share']:.1f} %, from row {row}, column {column}, "
        f"{best['far']:.0f} px off, {best['way']}; {shown['most']} of "
        f"{shown['usable']} patches make up 90 %, entropy {shown['entropy']:.2f} of at "
        f"most {shown['entropy_most']:.2f} bits; its colours, softmax scale 10, with "
        "propagation"
    )
    known = repr(explorer.set(softmax_scale=100).look(2, 3))
    assert "(known) copies most" in known
    assert "from row 3, column 3, its own place" in known


def test_the_still_follows():
    explorer = AttentionExplorer()
    first = explorer.still()
    assert first.text == repr(explorer)
    assert len(first._repr_png_()) < 60_000
    assert first.pixels.shape[1] <= 820
    assert np.array_equal(first.pixels, explorer.still().pixels)
    assert not np.array_equal(first.pixels, explorer.look(50, 50).still().pixels)


def test_what_is_shown_is_plain_data(explorer, network, image, hole):
    """The page gets numbers: no tensor, no NaN, no infinity."""
    for each in (explorer, AttentionExplorer(image, hole, network=network)):
        for scale in (0.01, 1e4):
            text = str(each.set(softmax_scale=scale).shown) + str(each.controls)
            assert not re.search(r"tensor|nan|inf|array", text)


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer, hole):
    before = everything(explorer)
    nearly = torch.ones_like(hole)
    nearly[..., :2, :2] = 0
    for wrong, told in (
        (lambda: explorer.look(64, 0), "row 64 is not between 0 and 63"),
        (lambda: explorer.look(0, -1), "column -1 is not between"),
        (lambda: explorer.set(photo="moon"), "no photo 'moon'; there are yours"),
        (lambda: explorer.set(source="sound"), "no source 'sound'"),
        (lambda: explorer.set(source="features"), "made without a network"),
        (lambda: explorer.set(softmax_scale=0), "softmax_scale is 0, expected above"),
        (lambda: explorer.set(softmax_scale=math.nan), "expected above 0"),
        (lambda: explorer.set(box=(50, 0, 26, 28)), "does not fit a picture"),
        (lambda: explorer.set(hole=torch.ones_like(hole)), "all of the photo is"),
        (lambda: explorer.set(hole=nearly), "every patch touches the hole"),
    ):
        with pytest.raises(WidgetError, match=told):
            wrong()
    with pytest.raises(ContractError, match="same N, H"):
        explorer.set(hole=torch.zeros(1, 1, 8, 8))
    assert everything(explorer) == before


def test_a_first_fill_on_another_device_is_asked_there(image, hole, elsewhere):
    explorer = AttentionExplorer(image, hole, fill=elsewhere)
    assert torch.equal(explorer.hole, hole)


def test_what_cannot_be_shown_is_refused(network, image, hole, monkeypatch):
    with pytest.raises(WidgetError, match="all of the photo is missing"):
        AttentionExplorer(image, torch.ones_like(hole))
    monkeypatch.setattr(attention_reading, "DENSE", 15)
    with pytest.raises(WidgetError, match=r"places to copy from.* at most 3:"):
        feature_maps(network, image, hole)
    with pytest.raises(WidgetError, match="no contextual attention: show one"):
        AttentionExplorer(image, hole, network=Deaf())
    odd = torch.rand(1, 3, 66, 70), torch.zeros(1, 1, 66, 70)
    with pytest.raises(
        WidgetError, match="66 x 70 px does not split into patches of 4"
    ):
        AttentionExplorer(*odd)


def test_the_page_asks_what_python_asks(network, image, hole, make_view):
    explorer = AttentionExplorer(image, hole, network=network)
    view = make_view(explorer)
    for kind, values in (
        ("look", {"row": 5, "column": 6}),
        ("scale", {"softmax_scale": 25.12}),
        ("propagation", {"propagation": True}),
        ("source", {"source": "colours"}),
        ("place", {"box": [1, 2, 9, 8]}),
        ("photo", {"photo": "hedgehog"}),
    ):
        assert "error" not in view.ask(kind, **values)
    shown = explorer.shown
    assert (shown["row"], shown["column"]) == (5, 6)
    assert (shown["softmax_scale"], shown["propagation"]) == (25.12, True)
    assert (shown["source"], shown["photo"]) == ("colours", "hedgehog")
    assert explorer.hole.sum() == explorer.hole[..., 1:10, 2:10].sum() == 72
    assert "error" not in view.ask("look", row=None, column=None)
    assert explorer.shown["missing_here"]


def test_a_click_moves_the_row_and_nothing_else(explorer, make_view, monkeypatch):
    view, before = make_view(explorer), everything(explorer)[2]
    monkeypatch.setattr(
        ContextualAttention, "forward", lambda *_: pytest.fail("attended anew")
    )
    assert "error" not in view.ask("look", row=9, column=9)
    after = everything(explorer)[2]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), everything(explorer)
    assert "is not between" in view.ask("look", row=99, column=0)["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert everything(explorer) == before
