"""The sampling explorer without a browser: reads, numbers, what it says and refuses."""

from functools import partial

import numpy as np
import pytest
import torch

from course_lib.evidence import record
from course_lib.layers import DeformableSampling2d, PartialConv2d, PlainConv2d
from course_lib.networks import UNet
from course_lib.tensors import ContractError
from course_lib.widgets import SamplingExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.sampling_reading import (
    PlaceReads,
    read_sampling,
    reads_of_reads,
)

SIDE = 32
BOX = (9, 7, 12, 11)  # of the hole: top, left, height, width


def network(seed, amount=0.7, first=None, conv=DeformableSampling2d, **options):
    """Untrained, its heads filled with noise, so that reads move."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    found = UNet(
        conv=partial(conv, **options) if options else conv,
        first=first,
        decoder=PlainConv2d,
        channels=(4, 5, 6),
        kernels=(5, 3, 3),
    )
    for stage in found.encoder:
        for weight in getattr(stage.conv, "head", torch.nn.Module()).parameters():
            noise = torch.randn(weight.shape, generator=draw)
            weight.data = amount * noise / weight[0].numel() ** 0.5
    return found.eval()


@pytest.fixture(scope="module")
def networks():
    nearest = partial(DeformableSampling2d, tells="window")
    return {
        "off": network(0, 2.0, starts="window", moves="all"),
        "hard": network(1, first=nearest, starts="window"),
        "selection": network(2, starts="window", kernels=4),
    }


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    return rectangle(BOX)


@pytest.fixture
def explorer(networks, image, hole):
    return SamplingExplorer(networks, image, hole)


def rectangle(box):
    top, left, height, width = box
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., top : top + height, left : left + width] = 1
    return hole


def evidence(network, image, hole):
    with torch.no_grad(), record(network) as found:
        network(image, hole)
    return [found[f"encoder.{k}.conv"] for k in range(3)]


def place(explorer):
    shown = explorer.shown
    return shown["network"], shown["layer"], shown["row"], shown["column"]


def state(explorer):
    names = ("reads", "further", "image", "hole")
    data = [getattr(explorer, f"{name}_bytes") for name in names]
    return repr(explorer), str(explorer.shown), data


def reads_from(positions, unmoved, seen=None, begins=None):
    """Reads of which only some facts matter."""
    count = len(positions)
    ones, none = torch.ones(count), torch.zeros(count, dtype=torch.bool)
    seen, begins = (ones if x is None else torch.tensor(x) for x in (seen, begins))
    positions, unmoved = torch.tensor(positions), torch.tensor(unmoved)
    return PlaceReads(
        positions, unmoved, positions, seen, begins, none, none, ones, None
    )


# ---- reads ----


def test_reads_are_what_the_layer_showed_in_pixels_of_the_photo(networks, image, hole):
    for each in networks.values():
        shown = evidence(each, image, hole)
        for level, facts in zip(read_sampling(each, image, hole), shown, strict=True):
            k = level.number - 1
            assert (level.scale, level.stride) == (2**k, 2 ** (k + 1))
            row, column = level.cell(13, 18)
            assert (row, column) == (13 // 2 ** (k + 1), 18 // 2 ** (k + 1))
            reads = level.at(row, column)
            raw = facts["positions"][0, :, :, row, column]
            assert reads.inputs.equal(raw)
            assert torch.allclose(reads.positions, raw * 2**k)
            assert reads.seen.equal(facts["seen"][0, :, row, column])
            assert reads.modulation.equal(facts["modulation"][0, :, row, column])
            moved = facts["offsets"][0, :, row, column].view(-1, 2)
            length = moved.norm(dim=1).mean() * 2**k
            assert reads.length == pytest.approx(float(length), abs=1e-4)
            assert (reads.shares is None) == ("shares" not in facts)
            if reads.shares is not None:
                assert reads.shares.equal(facts["shares"][0, :, row, column])


def test_on_the_first_layer_the_photos_own_hole_tells_what_is_known(
    networks, image, hole
):
    level = read_sampling(networks["off"], image, hole)[0]
    for row, column in ((0, 0), (6, 6), (8, 4), (15, 15)):
        reads = level.at(row, column)
        known, missing, outside = [], [], []
        for y in range(2 * row - 2, 2 * row + 3):
            for x in range(2 * column - 2, 2 * column + 3):
                inside = 0 <= y < SIDE and 0 <= x < SIDE
                known.append(inside and hole[0, 0, y, x] == 0)
        assert reads.before == sum(map(int, known))
        for y, x in reads.positions.round().long().tolist():
            inside = 0 <= y < SIDE and 0 <= x < SIDE
            missing.append(inside and bool(hole[0, 0, y, x]))
            outside.append(not inside)
        assert reads.missing.tolist() == missing
        assert reads.outside.tolist() == outside
    assert sum(outside), "a read of the corner leaves the photo"


def test_deeper_layers_are_told_by_what_the_layer_below_gave(networks, image, hole):
    levels = read_sampling(networks["hard"], image, hole)
    valid = evidence(networks["hard"], image, hole)[0]["valid"][0, 0]
    assert ((valid > 0) & (valid < 1)).any(), "a fraction, not the photo's hole"
    assert levels[1].begins[4].equal(valid[::2, ::2]), "the middle tap of 3 x 3"


def test_the_hard_form_begins_all_reads_on_known_pixels(image, hole):
    still = network(0, 0.0, first=partial(DeformableSampling2d), starts="window")
    level = read_sampling(still, image, hole)[0]
    reads = level.at(*level.cell(15, 12))
    assert reads.before < 10
    assert reads.after == 25
    assert not reads.missing.any()
    assert reads.length > 2


def test_length_spread_and_counts_by_hand():
    square = [[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]]
    far = [[3.0, 4.0], [3.0, 6.0], [5.0, 4.0], [5.0, 6.0]]
    reads = reads_from(far, square, [0.5, 0.49, 1.0, 0.0], [0.0, 0.0, 0.6, 0.2])
    assert (reads.length, reads.spread) == pytest.approx((5, 1))
    assert (reads.before, reads.after) == (1, 2)
    assert reads.known.tolist() == [True, False, True, False]
    collapsed = reads_from([[1.0, 1.0]] * 4, square)
    assert collapsed.spread == 0
    assert collapsed.length == pytest.approx(2**0.5)
    wider = [[2 * y, 2 * x] for y, x in square]
    assert reads_from(wider, square).spread == pytest.approx(2)
    assert reads_from([[5.0, 1.0]], [[1.0, 1.0]]).spread == 1, "one tap cannot collapse"


def test_reads_of_reads_are_those_of_the_place_that_was_read(networks, image, hole):
    levels = read_sampling(networks["off"], image, hole)
    parent = levels[1].at(0, 0)
    found = reads_of_reads(levels[0], parent)
    assert len(found) == 9
    nowhere = 0
    for each, (y, x) in zip(found, parent.inputs.tolist(), strict=True):
        row, column = round(y), round(x)
        if 0 <= row < 16 and 0 <= column < 16:
            assert each.positions.equal(levels[0].at(row, column).positions)
            assert each.seen.equal(levels[0].at(row, column).seen)
        else:
            nowhere += 1
            assert each is None
    assert 0 < nowhere < 9, "some reads of the corner leave the photo"


def test_a_network_is_left_as_it_was(image, hole):
    own = network(0, starts="window").train()
    before = [value.clone() for value in own.state_dict().values()]
    read_sampling(own, image, hole)
    assert own.training
    after = own.state_dict().values()
    assert all(a.equal(b) for a, b in zip(before, after, strict=True))
    assert not any(stage.conv._forward_pre_hooks for stage in own.encoder)


# ---- the explorer ----


def test_the_first_place_is_the_deepest_of_the_hole_and_follows_it(explorer):
    assert place(explorer) == ("off", 1, 14, 12)
    explorer.set(box=(2, 20, 5, 5))
    assert place(explorer) == ("off", 1, 4, 22)
    assert explorer.shown["box"] == [2, 20, 5, 5]
    explorer.look(3, 4).set(box=BOX)
    assert place(explorer) == ("off", 1, 3, 4), "an asked pixel stays"
    assert place(explorer.look()) == ("off", 1, 14, 12)


def test_python_does_what_a_click_does(explorer, networks, image, hole):
    explorer.network, explorer.layer, explorer.follow = "selection", 2, True
    assert (explorer.network, explorer.layer, explorer.follow) == ("selection", 2, True)
    explorer.look(13, 18)
    level = read_sampling(networks["selection"], image, hole)[1]
    reads = level.at(3, 4)
    assert explorer.reads.positions.equal(reads.positions)
    assert [each.number for each in explorer.levels] == [1, 2, 3]
    rows = np.frombuffer(explorer.reads_bytes, np.float32).reshape(9, 7)
    assert np.array_equal(rows[:, :2], reads.positions.numpy())
    assert np.array_equal(rows[:, 2:4], reads.unmoved.numpy())
    assert np.array_equal(rows[:, 4], reads.seen.numpy())
    assert np.array_equal(rows[:, 5], reads.modulation.numpy())
    assert np.array_equal(rows[:, 6] == 1, reads.missing.numpy())
    assert np.array_equal(rows[:, 6] == 2, reads.outside.numpy())
    shown = explorer.shown
    assert shown["shares"] == pytest.approx(reads.shares.tolist())
    assert (shown["before"], shown["after"]) == (reads.before, reads.after)


def test_reads_of_reads_reach_the_page(explorer):
    explorer.set(layer=2, follow=True).look(13, 18)
    rows = np.frombuffer(explorer.further_bytes, np.float32).reshape(-1, 5)
    found = reads_of_reads(explorer.levels[0], explorer.reads)
    there = [k for k, each in enumerate(found) if each is not None]
    further = explorer.shown["further"]
    assert further["count"] == len(rows) == 25 * len(there)
    assert (
        further["known"]
        == sum(found[k].after for k in there)
        == ((rows[:, 2] >= 0.5).sum())
    )
    assert further["nowhere"] == 9 - len(there)
    assert sorted(set(rows[:, 4].astype(int))) == there
    first = rows[rows[:, 4] == there[0], :2]
    assert np.array_equal(first, found[there[0]].positions.numpy())
    explorer.layer = 1
    assert (explorer.shown["further"], explorer.further_bytes) == (None, b"")
    assert explorer.follow, "it waits until there is a finer layer again"
    explorer.set(layer=3, follow=False)
    assert explorer.shown["further"] is None


def test_the_networks_stand_beside_each_other(explorer, networks, image, hole):
    explorer.set(network="hard", layer=3).look(20, 3)
    for rival, (label, each) in zip(
        explorer.shown["rivals"], networks.items(), strict=True
    ):
        reads = read_sampling(each, image, hole)[2].at(2, 0)
        assert rival == {"network": label, "known": reads.after, "count": 9}


def test_a_layer_that_does_not_choose_is_not_shown(networks, image, hole):
    mixed = network(0, conv=DeformableSampling2d, first=PartialConv2d)
    explorer = SamplingExplorer({**networks, "mixed": mixed}, image, hole)
    explorer.network = "mixed"
    assert place(explorer)[:2] == ("mixed", 2), "the nearest that it has"
    with pytest.raises(WidgetError, match="no layer 1 that chooses its reads; there"):
        explorer.layer = 1
    assert explorer.set(follow=True).shown["further"] is None
    explorer.set(network="off", layer=1)
    assert [each["network"] for each in explorer.shown["rivals"]] == [*networks]


def test_each_network_runs_once_for_a_photo_and_a_hole(explorer, networks, monkeypatch):
    calls = []
    for label, each in networks.items():
        forward = each.forward
        counted = partial(
            lambda f, n, *pair: calls.append(n) or f(*pair), forward, label
        )
        monkeypatch.setattr(each, "forward", counted)
    explorer.look(3, 3)
    explorer.set(network="hard", layer=2, follow=True)
    assert calls == []
    explorer.set(box=(1, 1, 4, 4))
    assert calls == [*networks]


def test_what_lies_under_the_hole_changes_nothing(explorer, networks, image, hole):
    broken = torch.where(hole.bool(), torch.nan, image)
    other = SamplingExplorer(networks, broken, hole)
    for layer in (1, 2, 3):
        other.set(layer=layer, follow=True)
        explorer.set(layer=layer, follow=True)
        assert state(other) == state(explorer)
    assert other.still().pixels.size
    before = state(other)
    with pytest.raises(ContractError, match="NaN"):
        other.set(box=(0, 0, 3, 3))  # it would lie in the open
    assert state(other) == before


def test_repr_and_still_state_the_facts(explorer):
    shown = explorer.set(network="selection", layer=2, follow=True).look(13, 18).shown
    shares = ", ".join(f"{share:.2f}" for share in shown["shares"])
    beyond = f", {shown['outside']} outside it" if shown["outside"] else ""
    further = shown["further"]
    assert repr(explorer) == (
        "sampling explorer: selection, layer 2, row 13, column 18 (known): of 9 reads "
        f"{shown['before']} known unmoved, {shown['after']} where they are; "
        f"{shown['missing']} in the photo's hole ({100 * shown['missing'] / 9:.0f} %)"
        f"{beyond}; moved by {shown['length']:.1f} px on average, spread "
        f"{shown['spread']:.2f} times as unmoved; kernel shares {shares}; of their "
        f"{further['count']} own reads {further['known']} known"
    )
    first = explorer.still()
    assert first.text == repr(explorer)
    assert np.array_equal(first.pixels, explorer.still().pixels)
    assert first.pixels.shape[1] == 780
    second = explorer.set(follow=False).still()
    assert (first.pixels != second.pixels).any()
    assert (second.pixels != explorer.look(0, 0).still().pixels).any()
    assert set(explorer._repr_mimebundle_()[0]) >= {"text/plain", "image/png"}


def test_the_enlarged_part_holds_every_read(explorer):
    for network in ("off", "hard"):
        for layer in (1, 2, 3):
            explorer.set(network=network, layer=layer, follow=True)
            for pixel in ((14, 12), (0, 31), (20, 5)):
                shown = explorer.look(*pixel).shown
                rows = np.frombuffer(explorer.reads_bytes, np.float32).reshape(-1, 7)
                far = np.abs(rows[:, :2] - np.array(pixel)).max()
                assert far <= shown["half"] <= 4 * far + 8


def test_other_sides_and_no_hole_will_do(networks):
    explorer = SamplingExplorer(networks, torch.rand(1, 3, 40, 72))
    assert explorer.set(layer=3).levels[2].size == (5, 9)
    explorer.set(hole=torch.zeros(1, 1, 40, 72)).look()
    assert (explorer.shown["missing"], explorer.shown["share"]) == (0, 0)
    assert explorer.still().pixels.size


def test_wrong_requests_change_nothing(explorer):
    before = state(explorer)
    for wrong, told in (
        (lambda: explorer.look(SIDE, 0), f"row {SIDE} is not between 0 and {SIDE - 1}"),
        (lambda: explorer.look(column=5), "give both a row and a column"),
        (
            lambda: explorer.set(network="none"),
            "no network 'none'; there are off, hard",
        ),
        (lambda: explorer.set(layer=4), "no layer 4 that chooses its reads"),
        (lambda: explorer.set(photo="none"), "no photo 'none'"),
        (lambda: explorer.set(box=(30, 0, 12, 11)), "does not fit a picture of 32"),
        (lambda: explorer.levels[0].at(16, 0), "level 1 has 16 x 16 places"),
    ):
        with pytest.raises(WidgetError, match=told):
            wrong()
    with pytest.raises(ContractError, match="same N, H"):
        explorer.set(hole=torch.zeros(1, 1, 8, 8))
    assert state(explorer) == before


def test_nothing_changes_when_a_network_fails(explorer, networks, monkeypatch):
    before = state(explorer)

    def broken(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(networks["selection"], "forward", broken)
    with pytest.raises(RuntimeError, match="no memory left"):
        explorer.set(box=(0, 0, 9, 9), network="hard", layer=2)
    assert state(explorer) == before
    assert explorer.hole.equal(rectangle(BOX))


@pytest.mark.parametrize("kind", [PlainConv2d, PartialConv2d])
def test_a_network_that_chooses_no_reads_is_refused(image, hole, kind):
    plain = UNet(conv=kind, channels=(4,), kernels=(3,))
    with pytest.raises(WidgetError, match="this UNet chooses no reads: expected"):
        SamplingExplorer({"plain": plain}, image, hole)
    with pytest.raises(WidgetError, match="this Identity chooses no reads"):
        read_sampling(torch.nn.Identity(), image, hole)


def test_no_network_at_all_is_refused(image):
    with pytest.raises(WidgetError, match="networks is empty"):
        SamplingExplorer({}, image)


def test_the_page_asks_what_python_asks(explorer, make_view):
    view = make_view(explorer)
    for kind, values in (
        ("network", {"network": "hard"}),
        ("layer", {"layer": 2}),
        ("follow", {"follow": True}),
        ("place", {"box": [1, 2, 9, 8]}),
        ("look", {"row": 5, "column": 6}),
    ):
        assert "error" not in view.ask(kind, **values)
    assert place(explorer) == ("hard", 2, 5, 6)
    assert explorer.shown["further"]
    assert explorer.hole.equal(rectangle((1, 2, 9, 8)))
    assert "error" not in view.ask("look", row=None, column=None)
    assert place(explorer)[2:] != (5, 6)
    before = repr(explorer)
    assert "is not between" in view.ask("look", row=99, column=0)["error"]
    assert "no network" in view.ask("network", network="none")["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before
