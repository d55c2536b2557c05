"""The kernel explorer without a browser: kernels, likeness, answers, what it says."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.evaluation import hole_l1
from course_lib.networks import Cascade, UNet
from course_lib.tensors import ContractError, composite
from course_lib.widgets import KernelExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.kernel_reading import mask_features, read_levels

SIDE = 64
PLAN = {"narrow": (5, 6, 7), "wide": (6, 8, 9), "kernels": (7, 5, 3)}
BOX = (21, 13, 20, 17)  # of the hole: top, left, height, width


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Cascade(**PLAN, mask_channels=6, hidden=4).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    return rectangle(BOX)


@pytest.fixture
def explorer(network, image, hole):
    return KernelExplorer(network, image, hole)


def rectangle(box):
    top, left, height, width = box
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., top : top + height, left : left + width] = 1
    return hole


def given_to(network, hole):
    """The mask features that each level is given, by the network's own layers."""
    known, found = 1 - hole, []
    for layer in network.filters:
        found.append(known)
        blank = torch.zeros(1, layer.in_channels, *known.shape[-2:])
        known = layer(blank, known)[1]
    return found


def kernels_at(network, hole, level, row, column):
    """``(out, in, k, k)``, as the layer itself makes them."""
    before = given_to(network, hole)[level - 1]
    with torch.no_grad():
        return network.filters[level - 1].kernels_at(before, row, column)[0]


def place(explorer):
    shown = explorer.shown
    return shown["level"], shown["row"], shown["column"], shown["channel"]


def state(explorer):
    names = ("kernel", "full", "similarity", "answers", "image", "hole", "truth")
    data = [getattr(explorer, f"{name}_bytes") for name in names]
    return repr(explorer), str(explorer.shown), data


# ---- kernels ----


def test_the_kernels_are_those_that_the_layer_makes(explorer, network, hole):
    for level, row, column in ((1, 14, 9), (1, 0, 31), (2, 6, 3), (3, 7, 0), (3, 4, 3)):
        made = explorer.look(level, row, column).kernels
        assert torch.allclose(
            made, kernels_at(network, hole, level, row, column), atol=1e-5
        )


def test_the_full_kernel_is_that_of_a_known_window_far_from_the_border(
    explorer, network
):
    for level in (1, 2, 3):
        full = explorer.look(level).full_kernels
        known = torch.zeros(1, 1, 128, 128)
        middle = 128 // 2**level // 2
        assert torch.allclose(
            full, kernels_at(network, known, level, middle, middle), atol=1e-5
        )
    corner = kernels_at(network, known, 3, 0, 0)
    assert not torch.allclose(full, corner, atol=1e-2), "the border counts as missing"


def test_the_similarity_is_the_cosine_of_the_kernels_themselves(
    explorer, network, hole
):
    for level in (1, 2, 3):
        explorer.look(level)
        full = explorer.full_kernels.flatten()
        map_ = explorer.similarity
        assert map_.shape == (SIDE // 2**level, SIDE // 2**level)
        last = len(map_) - 1
        for row, column in ((0, 0), (last // 2, last // 3), (last // 3, 1), (last, 2)):
            made = kernels_at(network, hole, level, row, column).flatten()
            expected = float(F.cosine_similarity(made, full, 0))
            assert float(map_[row, column]) == pytest.approx(expected, abs=1e-4)
            shown = explorer.look(level, row, column).shown
            assert shown["cosine"] == pytest.approx(expected, abs=1e-4)
            length = float(made.norm() / full.norm())
            assert shown["ratio"] == pytest.approx(length, rel=1e-4)
        assert map_.min() < 0.98, "the hole is seen"


def test_without_a_hole_all_kernels_but_those_of_the_border_are_alike(explorer):
    explorer.cut(hole=torch.zeros(1, 1, SIDE, SIDE))
    for level in explorer.levels:
        map_ = explorer.look(level.number).similarity
        far = level.counted(torch.ones(1, 1, SIDE, SIDE)) == level.side**2
        assert far.any()
        assert not far.all()
        assert (map_[far] > 1 - 1e-5).all()
        assert map_[~far].min() < 1 - 1e-3
    shown = explorer.look(1, 10, 10).shown
    assert shown["cosine"] == pytest.approx(1, abs=1e-5)
    assert shown["ratio"] == pytest.approx(1, abs=1e-5)
    assert (shown["share"], shown["errors"]) == (0, None)
    assert explorer.still().pixels.size


def test_only_the_pixels_of_the_window_reach_its_kernels(explorer, network):
    for level, row, column in ((1, 9, 12), (2, 7, 6), (3, 3, 4)):
        explorer.look(level, row, column)
        top, left, height, width = explorer.shown["window"]
        assert height == width == explorer.levels[level - 1].side
        given = torch.full((1, 1, SIDE, SIDE), 0.5, requires_grad=True)
        features = torch.zeros(())
        known = 1 - given
        for layer in list(network.filters)[:level]:
            known = F.softplus(layer.mask_conv(known))  # no feature is cut off by 0
        features = known[0, :, row, column].sum()
        (reached,) = torch.autograd.grad(features, given)
        rows, columns = reached[0, 0].nonzero(as_tuple=True)
        assert (int(rows.min()), int(columns.min())) == (max(top, 0), max(left, 0))
        assert int(rows.max()) == min(top + height, SIDE) - 1
        assert int(columns.max()) == min(left + width, SIDE) - 1


def test_pixels_of_a_window_are_counted_one_by_one(explorer, hole):
    for level, row, column in ((1, 10, 6), (1, 0, 0), (3, 7, 2), (2, 6, 4)):
        shown = explorer.look(level, row, column).shown
        top, left, height, width = shown["window"]
        counted = {"known": 0, "missing": 0, "beyond": 0}
        for y in range(top, top + height):
            for x in range(left, left + width):
                inside = 0 <= y < SIDE and 0 <= x < SIDE
                missing = inside and hole[0, 0, y, x] == 1
                kind = "missing" if missing else "known" if inside else "beyond"
                counted[kind] += 1
        assert counted == {name: shown[name] for name in counted}
        features = mask_features(explorer._network, hole)[level - 1][0, :, row, column]
        assert shown["active"] == int((features > 0).sum())
        assert shown["features"] == 6


def test_tiles_are_means_over_the_inputs_or_one_output(explorer):
    explorer.look(1, 10, 6)
    tiles = np.frombuffer(explorer.kernel_bytes, np.float32).reshape(5, 7, 7)
    assert np.allclose(tiles, explorer.kernels.mean(1).numpy())
    explorer.look(channel=3)
    for name, kernels in (
        ("kernel", explorer.kernels),
        ("full", explorer.full_kernels),
    ):
        data = getattr(explorer, f"{name}_bytes")
        tiles = np.frombuffer(data, np.float32).reshape(4, 7, 7)
        assert np.allclose(tiles, kernels[3].numpy())
    assert explorer.controls["levels"][0]["inputs"] == ["red", "green", "blue", "valid"]
    assert explorer.controls["levels"][1]["inputs"] == ["0", "1", "2", "3", "4"]


def test_the_scale_of_weights_stays_while_the_hole_moves(explorer):
    for channel in ("all", 2):
        for level in (1, 2, 3):
            limit = explorer.look(level, channel=channel).shown["limit"]
            weights = np.abs(np.frombuffer(explorer.full_bytes, np.float32))
            assert (weights <= limit).mean() > 0.9, "the scale holds nearly all"
            assert weights.max() > 0.4 * limit, "and is no wider than it must be"
            explorer.cut((3, 30, 9, 20))
            assert explorer.shown["limit"] == limit
            explorer.cut(BOX)


# ---- the cascade ----


def test_the_answers_are_those_of_the_cascade(explorer, network, image, hole):
    other = rectangle((2, 30, 11, 25))
    for cut, missing in (((21, 13, 20, 17), hole), ((2, 30, 11, 25), other)):
        explorer.cut(cut)
        with torch.no_grad():
            made = network.stages(image, missing)
        assert len(explorer.answers) == len(made) == 3
        for answer, raw, error in zip(
            explorer.answers, made, explorer.shown["errors"], strict=True
        ):
            filled = composite(raw, image, missing)
            assert torch.allclose(answer, filled, atol=1e-5)
            assert error == pytest.approx(float(hole_l1(filled, image, missing)))


def test_while_the_hole_is_dragged_the_cascade_rests(explorer, network, monkeypatch):
    calls = []
    stages = network.stages
    monkeypatch.setattr(
        network, "stages", lambda *pair: calls.append(1) or stages(*pair)
    )
    before, kernels = explorer.answers_bytes, explorer.kernels
    explorer.cut((25, 8, 20, 17), answers=False)
    assert calls == []
    assert explorer.shown["errors"] is None
    assert not explorer.shown["answered"]
    assert explorer.answers_bytes == before
    assert not explorer.kernels.equal(kernels)
    explorer.cut((25, 8, 20, 17))
    assert calls == [1]
    assert explorer.answers_bytes != before
    dragged = explorer.cut((3, 8, 20, 17), answers=False).answers
    assert all(
        a.equal(b)
        for a, b in zip(dragged, explorer.cut((3, 8, 20, 17)).answers, strict=True)
    )


def test_the_network_is_left_as_it_was(network, image):
    network.train()
    before = [value.clone() for value in network.state_dict().values()]
    KernelExplorer(network, image).look(2)
    assert network.training
    network.eval()
    same = zip(before, network.state_dict().values(), strict=True)
    assert all(a.equal(b) for a, b in same)


def test_what_lies_under_the_hole_changes_only_the_known_error(
    explorer, network, image, hole
):
    broken = torch.where(hole.bool(), torch.nan, image)
    other = KernelExplorer(network, broken, hole)
    assert all(a.equal(b) for a, b in zip(other.answers, explorer.answers, strict=True))
    for name in ("kernel", "full", "similarity", "answers", "image", "hole"):
        found = getattr(other, f"{name}_bytes")
        assert found == getattr(explorer, f"{name}_bytes")
    assert other.shown == {**explorer.shown, "errors": None}
    assert repr(other) == repr(explorer)
    assert other.still().pixels.size
    before = state(other)
    for answers in (True, False):
        with pytest.raises(ContractError, match="NaN"):
            other.cut((0, 0, 20, 17), answers=answers)  # it would lie in the open
    assert state(other) == before


# ---- places and choices ----


def test_the_first_window_lies_at_the_edge_of_the_hole(explorer):
    assert place(explorer) == (1, 16, 7, "all"), "pixel 31, 13: half-way down its left"
    assert explorer.shown["missing"] > 0
    assert explorer.shown["known"] > 0
    explorer.look(1, 3, 4)
    explorer.cut((0, 40, 10, 10))
    assert place(explorer) == (1, 3, 4, "all"), "the hole moves under the window"
    assert place(explorer.look()) == (1, 3, 20, "all")
    explorer.cut(hole=torch.zeros(1, 1, SIDE, SIDE))
    assert place(explorer.look()) == (1, 16, 16, "all")


def test_another_level_or_channel_keeps_the_place(explorer):
    explorer.look(1, 13, 21)
    assert place(explorer.level(3)) == (3, 3, 5, "all")
    assert place(explorer.look(channel=6)) == (3, 3, 5, 6)
    assert place(explorer.look(1)) == (1, 13, 21, "all"), "level 1 has no channel 6"
    assert place(explorer.look(channel=2)) == (1, 13, 21, 2)
    assert place(explorer.look(2)) == (2, 7, 11, 2)
    assert place(explorer.look(channel="all")) == (2, 7, 11, "all")
    assert place(explorer.look(row=1, column=2)) == (2, 1, 2, "all")
    assert place(explorer.look(3, 7, 7).level(1)) == (1, 28, 28, "all")


def test_a_hole_of_any_form_is_moved_but_only_a_rectangle_stretches(explorer):
    form = torch.zeros(1, 1, SIDE, SIDE)
    form[..., 4, 3] = form[..., 9, 8] = 1
    assert explorer.cut(hole=form).shown["box"] == [4, 3, 6, 6]
    assert not explorer.shown["rectangle"]
    explorer.cut((10, 20, 6, 6))
    assert explorer.hole[0, 0].nonzero().tolist() == [[10, 20], [15, 25]]
    with pytest.raises(WidgetError, match="this hole stays 6 x 6"):
        explorer.cut((10, 20, 7, 6))
    explorer.cut(hole=torch.zeros_like(form))
    assert explorer.cut((1, 2, 3, 4)).hole.equal(rectangle((1, 2, 3, 4)))
    assert explorer.shown["rectangle"]


# ---- what it says ----


def test_repr_states_the_facts(explorer):
    shown = explorer.look(2, 0, 4, channel=1).shown
    total = 15 * 15
    assert repr(explorer) == (
        f"kernel explorer: level 2, window at row 0, column 4: {shown['known']} of its "
        f"{total} pixels known, {shown['beyond']} beyond the border; its kernels have "
        f"cosine {shown['cosine']:.2f} to those of a window that knows everything and "
        f"are {shown['ratio']:.2f} times as long; {shown['active']} of 6 mask features "
        "above 0; output channel 1; 8.3 % of the photo missing"
    )
    assert "all 6 output channels" in repr(explorer.look(channel="all"))


def test_the_still_follows(explorer):
    first = explorer.look(1, 14, 8).still()
    assert first.text == repr(explorer)
    assert len(first._repr_png_()) < 60_000
    assert first.pixels.shape[1] <= 820
    assert np.array_equal(first.pixels, explorer.still().pixels)
    for change in (
        lambda: explorer.look(1, 3, 25),
        lambda: explorer.look(channel=2),
        lambda: explorer.cut((30, 30, 9, 9)),
        lambda: explorer.level(3),
    ):
        before = explorer.still().pixels
        assert not np.array_equal(before, change().still().pixels)


def test_the_still_of_a_large_photo_is_small(network):
    explorer = KernelExplorer(network, "hedgehog")
    assert explorer.image.shape == (1, 3, 128, 128)
    picture = explorer.still()
    assert picture.pixels.shape[1] <= 820
    assert len(picture._repr_png_()) < 60_000


def test_what_is_shown_is_plain_data(explorer):
    """The page gets numbers: no tensor, no NaN, no infinity."""
    for level in (1, 2, 3):
        shown = explorer.look(level, 0, 0).shown
        assert not re.search(r"tensor|nan|inf", str(shown))
        assert all(math.isfinite(shown[k]) for k in ("cosine", "ratio", "limit"))
    assert len(explorer.similarity_bytes) == 4 * 8 * 8


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer):
    explorer.look(2, 5, 6, channel=1)
    before = state(explorer)
    for wrong, told in (
        (lambda: explorer.look(4), "no level 4; there are 1 to 3, 1 the finest"),
        (lambda: explorer.level(0), "no level 0"),
        (lambda: explorer.look(3, 8, 0), "row 8 is not between 0 and 7: level 3 has"),
        (lambda: explorer.look(row=3), "column None is not between 0 and 15"),
        (lambda: explorer.look(1, 5, -1), "column -1 is not between 0 and 31"),
        (lambda: explorer.look(channel=6), "channel 6: level 2 has output channels 0"),
        (lambda: explorer.look(1, channel="red"), "channel 'red': level 1 has"),
        (lambda: explorer.cut((50, 0, 20, 17)), "does not fit a picture of 64 x 64"),
        (lambda: explorer.cut((5, 5, 0, 9)), "does not fit"),
        (lambda: explorer.cut((5, 5, 9)), "give either box"),
        (lambda: explorer.cut(), "give either box"),
    ):
        with pytest.raises(WidgetError, match=told):
            wrong()
    with pytest.raises(ContractError, match="same N, H"):
        explorer.cut(hole=torch.zeros(1, 1, 8, 8))
    assert state(explorer) == before


def test_nothing_changes_when_the_cascade_fails(explorer, network, monkeypatch):
    before = state(explorer)

    def broken(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(network, "stages", broken)
    with pytest.raises(RuntimeError, match="no memory left"):
        explorer.cut((0, 0, 9, 9))
    assert state(explorer) == before
    assert explorer.hole.equal(rectangle(BOX))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (UNet(channels=(4,), kernels=(3,)), "this UNet makes no kernels"),
        (Cascade(**PLAN, mask_channels=None), "Cascade of ordinary convolutions makes"),
    ],
)
def test_a_network_without_dynamic_kernels_is_refused(image, network, told):
    with pytest.raises(WidgetError, match=told):
        KernelExplorer(network, image)
    with pytest.raises(WidgetError, match="build one by"):
        read_levels(network)


def test_a_photo_that_the_cascade_cannot_halve_is_refused(network):
    with pytest.raises(ContractError, match="multiples of 8"):
        KernelExplorer(network, torch.rand(1, 3, 36, 40))


def test_other_sides_will_do(network):
    explorer = KernelExplorer(network, torch.rand(1, 3, 40, 72))
    assert explorer.look(3, 4, 8).similarity.shape == (5, 9)
    assert explorer.still().pixels.size


def test_the_page_asks_what_python_asks(explorer, make_view):
    view = make_view(explorer)
    for kind, values in (
        ("level", {"number": 2}),
        ("look", {"row": 5, "column": 6}),
        ("channel", {"channel": 3}),
    ):
        assert "error" not in view.ask(kind, **values)
    assert place(explorer) == (2, 5, 6, 3)
    assert "error" not in view.ask("channel", channel="all")
    assert "error" not in view.ask("drag", box=[1, 2, 9, 8], answers=False)
    assert explorer.shown["errors"] is None
    assert "error" not in view.ask("place", box=[1, 2, 9, 8])
    assert explorer.hole.equal(rectangle((1, 2, 9, 8)))
    assert len(explorer.shown["errors"]) == 3
    assert "error" not in view.ask("look", row=None, column=None)
    assert place(explorer) == (2, 1, 1, "all")


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), repr(explorer)
    assert "is not between" in view.ask("look", row=99, column=0)["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before
