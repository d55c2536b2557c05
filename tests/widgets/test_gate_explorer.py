"""The gate explorer without a browser: gates, their AUC, the rule, what it says."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib import evaluation
from course_lib.evidence import record
from course_lib.layers import GatedConv2d, PartialConv2d
from course_lib.networks import CoarseToFine, UNet
from course_lib.tensors import ContractError
from course_lib.widgets import GateExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.gate_reading import record_gates

SIDE = 64
PLAN = {"channels": (8, 6, 5), "kernels": (7, 5, 3)}
LAYERS = ["encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNet(GatedConv2d, **PLAN).eval()


@pytest.fixture(scope="module")
def rival():
    torch.manual_seed(1)
    return UNet(PartialConv2d, **PLAN).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., 13:43, 21:52] = 1
    return hole


@pytest.fixture
def explorer(network, rival, image, hole):
    return GateExplorer(image, hole, network=network, rival=rival)


def place(explorer):
    shown = explorer.shown
    return shown["name"], shown["channel"], shown["row"], shown["column"]


def maps(explorer):
    names = ("film", "gates", "small_hole", "rule", "image", "hole")
    return [getattr(explorer, f"{name}_bytes") for name in names]


# ---- what is recorded ----


def test_the_gates_are_those_that_the_layers_emit(explorer, network, image, hole):
    assert list(explorer.layers) == LAYERS
    with record(network) as evidence, torch.no_grad():
        network(image, hole)
    for name, layer in explorer.layers.items():
        assert layer.gate.equal(evidence[f"{name}.conv"]["gate"][0])
        step = SIDE // layer.size[0]
        assert layer.hole.equal(hole[..., ::step, ::step]), "as validity is carried"
        assert layer.auc.equal(evaluation.auc(layer.gate, layer.hole))


def test_the_rule_is_what_partial_convolution_knows(explorer, rival, image, hole):
    with record(rival) as evidence, torch.no_grad():
        rival(image, hole)
    for name, layer in explorer.layers.items():
        assert layer.rule.equal(evidence[f"{name}.conv"]["valid"])
    first = explorer.layers["encoder.0"].rule
    known = F.conv2d(1 - hole, torch.ones(1, 1, 7, 7), stride=2, padding=3) > 0
    assert first.equal(known.float())


def test_the_network_is_left_as_it_was(network, rival, image, hole):
    network.train()
    state = [value.clone() for value in network.state_dict().values()]
    record_gates(network, rival, image, hole)
    assert network.training
    network.eval()
    same = zip(state, network.state_dict().values(), strict=True)
    assert all(before.equal(after) for before, after in same)


def test_channels_are_sorted_and_the_one_that_tells_most_comes_first(explorer):
    for name, layer in explorer.layers.items():
        shown = explorer.layer(name).shown
        ranked = layer.auc[shown["order"]].tolist()
        assert ranked == sorted(ranked, reverse=True)
        assert shown["aucs"] == layer.auc.tolist()
        away = (layer.auc - 0.5).abs()
        assert away[shown["channel"]] == away.max()


def test_the_facts_of_a_channel_are_those_of_its_map(explorer):
    shown = explorer.look("encoder.1", 30, 41, channel=4).shown
    layer = explorer.layers["encoder.1"]
    gate, missing = layer.gate[4], layer.hole[0, 0] == 1
    assert shown["inside"] == pytest.approx(float(gate[missing].mean()))
    assert shown["outside"] == pytest.approx(float(gate[~missing].mean()))
    assert shown["auc"] == float(layer.auc[4])
    assert shown["cell"] == [7, 10]
    assert shown["here"] == layer.gate[:, 7, 10].tolist()
    assert shown["open_here"] == sum(value > 0.5 for value in shown["here"])
    assert shown["missing_here"] is True
    for found, values in zip(
        shown["bins"], (gate[missing], gate[~missing]), strict=True
    ):
        tenths = np.histogram(values.numpy(), 10, (0, 1))[0]
        assert found == pytest.approx((tenths / len(values)).tolist())
    rule = shown["rule"]
    assert rule["inside"] == pytest.approx(float(layer.rule[0, 0][missing].mean()))
    assert rule["auc"] == pytest.approx(0.5 + (rule["inside"] - rule["outside"]) / 2)
    assert rule["here"] == layer.rule[0, 0, 7, 10]


# ---- places and choices ----


def test_the_deepest_pixel_is_asked_and_followed(explorer):
    down, across = place(explorer)[2:]
    assert (down, across) == (27, 35), "15 from three edges of 30 x 31 pixels"
    explorer.set(box=(3, 31, 30, 31))
    assert place(explorer)[2:] == (down - 10, across + 10)
    explorer.look(row=5, column=60)
    explorer.set(box=(13, 21, 30, 31))
    assert place(explorer)[2:] == (5, 60), "a place that was asked stays"
    assert explorer.shown["missing_here"] is False
    assert place(explorer.look())[2:] == (down, across)


def test_a_layer_or_a_channel_alone_keeps_the_place(explorer):
    explorer.look("encoder.0", 9, 8, channel=7)
    assert place(explorer) == ("encoder.0", 7, 9, 8)
    assert place(explorer.look(channel=2)) == ("encoder.0", 2, 9, 8)
    strongest = explorer.layers["decoder.1"].strongest
    assert place(explorer.layer("decoder.1.conv")) == ("decoder.1", strongest, 9, 8)
    assert place(explorer.look(row=1, column=2)) == ("decoder.1", strongest, 1, 2)


def test_another_hole_and_photo_are_seen_by_both_networks(explorer, network, rival):
    explorer.look("encoder.1", channel=3)
    for change in (
        lambda: explorer.set(name="strokes"),
        lambda: explorer.set(box=(0, 0, *explorer.shown["box"][2:])),
        lambda: explorer.set(name="square", box=(4, 6, 20, 11)),
        lambda: explorer.photo("hedgehog"),
        lambda: explorer.set(name="irregular"),
    ):
        change()
        fresh = record_gates(network, rival, explorer.image, explorer.hole)
        for layer, kept in zip(fresh, explorer.layers.values(), strict=True):
            assert layer.gate.equal(kept.gate)
            assert layer.rule.equal(kept.rule)
        gates = np.frombuffer(explorer.gates_bytes, np.uint8).reshape(6, 16, 16)
        assert np.abs(gates / 255 - fresh[1].gate.numpy()).max() <= 0.5 / 255 + 1e-6
        assert place(explorer)[:2] == ("encoder.1", 3)
        top, left, height, width = explorer.shown["box"]
        box = explorer.hole[..., top : top + height, left : left + width]
        assert box.sum() == explorer.hole.sum() > 0
    assert explorer.shown["photo"] == "hedgehog"


def test_a_moved_hole_is_found_where_it_was_left(explorer):
    explorer.set(name="square", box=(4, 6, 20, 11))
    explorer.set(name="strokes")
    assert explorer.set(name="square").shown["box"] == [4, 6, 20, 11]
    assert explorer.hole[..., 4:24, 6:17].all()
    other = torch.zeros(1, 1, SIDE, SIDE)
    other[..., 2, 3] = other[..., 4, 9] = 1
    assert explorer.set(hole=other).hole.equal(other)
    assert not explorer.shown["rectangle"]
    assert explorer.set(box=(10, 10, 3, 7)).hole[0, 0].nonzero().tolist() == [
        [10, 10],
        [12, 16],
    ]


def test_what_lies_under_the_hole_changes_nothing(
    network, rival, image, hole, explorer
):
    broken = torch.where(hole.bool(), torch.nan, image)
    other = GateExplorer(broken, hole, network=network, rival=rival)
    for name in LAYERS:
        assert str(other.layer(name).shown) == str(explorer.layer(name).shown)
        assert maps(other) == maps(explorer)
    assert np.array_equal(other.still().pixels, explorer.still().pixels)
    before = repr(other)
    with pytest.raises(ContractError, match="NaN"):
        other.set(box=(0, 0, 30, 31))  # its NaN would lie in the open
    assert (repr(other), other.shown["box"]) == (before, [13, 21, 30, 31])


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_an_empty_and_a_full_hole_have_no_auc(network, rival, image, hole, missing):
    hole = torch.full_like(hole, missing)
    explorer = GateExplorer(image, hole, network=network, rival=rival)
    shown = explorer.shown
    assert shown["auc"] is shown["rule"]["auc"] is None
    assert (shown["inside"] is None, shown["outside"] is None) == (not missing, missing)
    assert shown["order"] == list(range(8))
    assert "AUC undefined" in repr(explorer)
    assert explorer.still().pixels.size
    text = str(explorer.shown) + str(explorer.layer_facts)
    assert not re.search(r"tensor|nan|inf", text)


# ---- other networks ----


def test_any_network_of_gates_will_do(image, hole):
    torch.manual_seed(0)
    network = CoarseToFine(4, (2, 4)).eval()
    explorer = GateExplorer(image, hole, network=network, rival=None)
    names = list(explorer.layers)
    assert names[0] == "coarse.0"
    assert len(names) == 2 * 14
    assert explorer.look("fine.layers.3").shown["name"] == "fine.3"
    assert explorer.shown["rule"] is None
    assert explorer.rule_bytes == b""
    assert explorer.still().pixels.size


def test_a_rival_of_another_shape_has_no_rule_to_show(network, image, hole):
    rival = UNet(PartialConv2d, channels=(4,), kernels=(3,)).eval()
    explorer = GateExplorer(image, hole, network=network, rival=rival)
    rules = [layer.rule is None for layer in explorer.layers.values()]
    assert rules == [False, True, True, True, True]


def test_a_network_without_gates_is_refused(rival, image, hole):
    with pytest.raises(WidgetError, match="no gates: show one that is built of gated"):
        GateExplorer(image, hole, network=rival)


# ---- what it says ----


def test_repr_states_the_facts(explorer):
    explorer.look("encoder.2", 8, 9, channel=1)
    shown = explorer.shown
    ends = [shown["aucs"][shown["order"][k]] for k in (0, -1)]
    inside, outside, auc = (f"{shown[k]:.2f}" for k in ("inside", "outside", "auc"))
    assert repr(explorer) == (
        f"gate explorer: encoder.2, 8 x 8, channel 1: mean {inside} in the hole, "
        f"{outside} outside, AUC {auc}; AUC of its 5 channels from {ends[0]:.2f} to "
        f"{ends[1]:.2f}; at row 8, column 9 {shown['open_here']} of 5 channels are "
        "more than half open"
    )


def test_the_still_follows(explorer):
    first = explorer.look("encoder.0", channel=0).still()
    assert first.text == repr(explorer)
    assert len(first._repr_png_()) < 60_000
    assert first.pixels.shape[1] <= 820
    assert np.array_equal(first.pixels, explorer.still().pixels)
    assert not np.array_equal(first.pixels, explorer.look(channel=1).still().pixels)


def test_what_is_shown_is_plain_data(explorer):
    """The page gets numbers: no tensor, no NaN, no infinity."""
    for name in LAYERS:
        shown = explorer.look(name, 0, 0).shown
        assert not re.search(r"tensor|nan|inf", str(shown))
        assert all(math.isfinite(value) for value in shown["here"])
    sizes = [facts["size"] for facts in explorer.layer_facts]
    assert len(explorer.film_bytes) == sum(h * w for h, w in sizes)


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer):
    before = repr(explorer), str(explorer.shown), maps(explorer)
    for wrong, told in (
        (lambda: explorer.look(row=64, column=0), "row 64 is not between 0 and 63"),
        (lambda: explorer.look(column=5), "row None is not between 0 and 63"),
        (lambda: explorer.look(channel=8), "channel 8 is not between 0 and 7"),
        (lambda: explorer.look("encoder.1", channel=6), "not between 0 and 5"),
        (lambda: explorer.layer("middle"), "no layer 'middle'; there are encoder"),
        (lambda: explorer.photo("moon"), "no photo 'moon'; there are yours"),
        (lambda: explorer.set(name="ring"), "no hole 'ring'; there are yours, square"),
        (
            lambda: explorer.set(box=(40, 0, 30, 31)),
            "does not fit a picture of 64 x 64",
        ),
        (lambda: explorer.set(name="strokes", box=(0, 0, 3, 3)), "this hole stays"),
        (lambda: explorer.set(name="none", box=(0, 0, 3, 3)), "this hole stays"),
    ):
        with pytest.raises(WidgetError, match=told):
            wrong()
    with pytest.raises(ContractError, match="same N, H"):
        explorer.set(hole=torch.zeros(1, 1, 8, 8))
    assert (repr(explorer), str(explorer.shown), maps(explorer)) == before


def test_the_page_asks_what_python_asks(explorer, make_view):
    view = make_view(explorer)
    for kind, values in (
        ("look", {"row": 5, "column": 6}),
        ("layer", {"name": "encoder.1"}),
        ("channel", {"channel": 3}),
    ):
        assert "error" not in view.ask(kind, **values)
    assert place(explorer) == ("encoder.1", 3, 5, 6)
    assert "error" not in view.ask("hole", name="square")
    assert "error" not in view.ask("place", box=[1, 2, 9, 8])
    assert explorer.hole.sum() == explorer.hole[..., 1:10, 2:10].sum() == 72
    assert "error" not in view.ask("photo", name="rocamadour")
    assert explorer.shown["photo"] == "rocamadour"
    assert "error" not in view.ask("look", row=None, column=None)
    assert explorer.shown["missing_here"]


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), repr(explorer)
    assert "is not between" in view.ask("look", row=99, column=0)["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before
