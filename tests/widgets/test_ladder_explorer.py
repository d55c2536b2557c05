"""The ladder explorer without a browser: fills, five answers, what it refuses."""

import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import fills, holes, zoo
from course_lib.evaluation import hole_l1
from course_lib.evidence import record
from course_lib.layers import DeformableSampling2d, GatedConv2d, PartialConv2d
from course_lib.networks import Cascade, UNet
from course_lib.recipes.rungs import LADDER
from course_lib.tensors import ContractError, composite, hide
from course_lib.widgets import LadderExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.ladder_explorer import RUNGS, SHARES
from course_lib.widgets.ladder_reading import KINDS, Counted

SIDE = 32
BOX = (9, 7, 12, 11)  # of the hole: top, left, height, width
LABELS = ["plain", "partial", "gated", "attention", "filter", "sampling"]


def unet(**options):
    return UNet(channels=(4, 6, 8), kernels=(7, 3, 3), **options)


@pytest.fixture(scope="module")
def rungs():
    torch.manual_seed(0)
    moving = unet(conv=partial(DeformableSampling2d, starts="window"))
    draw = torch.Generator().manual_seed(0)
    for stage in moving.encoder:
        for weight in stage.conv.head.parameters():
            weight.data = 0.3 * torch.randn(weight.shape, generator=draw)
    small = {"narrow": (4, 6, 8), "wide": (4, 6, 8), "kernels": (7, 3, 3)}
    found = {
        "plain": unet(),
        "partial": unet(conv=PartialConv2d),
        "gated": unet(conv=GatedConv2d),
        "attention": unet(conv=GatedConv2d, copies=True),
        "filter": Cascade(**small, refinements=1, mask_channels=4, hidden=4),
        "sampling": moving,
    }
    return {label: network.eval() for label, network in found.items()}


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def rectangle(box, side=SIDE):
    top, left, height, width = box
    hole = torch.zeros(1, 1, side, side)
    hole[..., top : top + height, left : left + width] = 1
    return hole


@pytest.fixture
def hole():
    return rectangle(BOX)


@pytest.fixture
def explorer(rungs, image, hole):
    return LadderExplorer(image, hole, rungs=rungs)


def heard(network, image, hole):
    with torch.no_grad(), record(network) as evidence:
        network(hide(image, hole), hole)
    return evidence


def state(explorer):
    names = ("image", "hole", "gate", "attention")
    data = [getattr(explorer, f"{name}_bytes") for name in names]
    shown = {k: v for k, v in explorer.shown.items() if k != "turn"}
    return repr(explorer), str(shown), data


# ---- the fills ----


def test_the_fills_are_what_each_rung_returns(explorer, rungs, image, hole):
    given = hide(image, hole)
    with torch.no_grad():
        found = {label: fill(given, hole) for label, fill in fills.available().items()}
        found |= {label: network(given, hole) for label, network in rungs.items()}
    assert list(explorer.fills) == [*fills.available(), *LABELS]
    for label, guess in found.items():
        filled = composite(guess.clamp(0, 1), image, hole)
        assert torch.allclose(explorer.fills[label], filled, atol=1e-6), label
        error = float(hole_l1(filled, image, hole))
        assert explorer.errors[label] == pytest.approx(error, abs=1e-6)
    assert explorer.best == min(explorer.errors, key=explorer.errors.get)
    assert explorer.shown["errors"] == explorer.errors
    assert explorer.shown["best"] == explorer.best


def test_the_rungs_are_shipped_and_the_ladders_but_for_the_mined_holes():
    assert set(RUNGS.values()) <= set(zoo.names())
    assert set(RUNGS) - {"nearest reads"} == set(LADDER) - {"+ mined holes"}
    assert len(set(RUNGS.values())) == len(RUNGS)


def test_the_page_says_which_network_stands_for_a_rung(explorer, rungs):
    weights = sum(p.numel() for p in rungs["plain"].parameters())
    about = explorer.controls["about"]
    assert about["plain"] == f"UNet, {weights:,} weights"
    assert list(about) == LABELS


def test_each_network_runs_once_for_a_hole_and_never_for_a_click(
    explorer, rungs, monkeypatch
):
    calls = []
    for label, network in rungs.items():
        forward = network.forward
        counted = partial(lambda f, n, *x: calls.append(n) or f(*x), forward, label)
        monkeypatch.setattr(network, "forward", counted)
    explorer.look(3, 3).look()
    repr(explorer)
    explorer.still()
    assert calls == []
    explorer.set(hole=rectangle((1, 1, 4, 4)))
    assert calls == LABELS


def test_any_function_may_be_a_rung(image, hole):
    grey = torch.full_like(image, 0.5)
    explorer = LadderExplorer(image, hole, rungs={"grey": lambda image, hole: grey})
    assert explorer.fills["grey"].equal(composite(grey, image, hole))
    assert explorer.answers == {}
    assert explorer.shown["answers"] == []
    assert explorer.still().pixels.size


# ---- the five answers ----


def test_partial_convolution_counts_the_known_pixels(explorer, rungs, image, hole):
    evidence = heard(rungs["partial"], image, hole)
    for row, column in ((13, 18), (14, 12), (0, 0), (3, 30)):
        facts = explorer.look(row, column).answers["partial"].facts
        top, left = row // 2 * 2 - 3, column // 2 * 2 - 3
        taps = []
        for y in range(top, top + 7):
            for x in range(left, left + 7):
                inside = 0 <= y < SIDE and 0 <= x < SIDE
                taps.append(int(1 - hole[0, 0, y, x]) if inside else 2)
        assert facts["taps"] == taps
        assert facts["window"] == [top, left, 7, 7]
        known = taps.count(1)
        assert facts["known"] == known
        share = evidence["encoder.0.conv"]["window"][0, 0, row // 2, column // 2]
        assert float(share) == pytest.approx(known / 49)
        assert facts["ratio"] == (pytest.approx(49 / known) if known else None)
        assert facts["levels"] == [
            bool(
                evidence[f"encoder.{k}.conv"]["valid"][
                    0, 0, row // 2 ** (k + 1), column // 2 ** (k + 1)
                ]
            )
            for k in range(3)
        ]


def test_partial_convolution_says_since_when_it_knows(image):
    hole = rectangle((2, 2, 28, 28))
    torch.manual_seed(0)
    network = UNet(conv=PartialConv2d, channels=(4, 6, 8), kernels=(3, 3, 3)).eval()
    reading = Counted.read(network, image, hole)
    says = {row: reading.ask(row, 16).says for row in (0, 3, 6, 16)}
    assert says[0].startswith("6 of the 9 pixels of my window are known, so I scale")
    assert says[6].endswith("The first that I know here is on level 2 of 3.")
    assert says[16].endswith("I know nothing here on any of my 3 levels.")
    for row, told in says.items():
        levels = reading.ask(row, 16).facts["levels"]
        assert ("level" in told) == (not levels[0])


def test_gated_convolution_says_its_gates(explorer, rungs, image, hole):
    gate = heard(rungs["gated"], image, hole)["encoder.0.conv"]["gate"][0]
    for row, column in ((13, 18), (0, 31)):
        facts = explorer.look(row, column).answers["gated"].facts
        here = gate[:, row // 2, column // 2]
        assert facts["gates"] == pytest.approx(here.tolist())
        assert (facts["open"], facts["channels"]) == (int((here > 0.5).sum()), 4)
        assert facts["mean"] == pytest.approx(float(here.mean()))
        assert facts["photo"] == pytest.approx(float(gate.mean()))
    assert facts["size"] == [16, 16]
    assert len(explorer.gate_bytes) == 3 * 16 * 16


def test_contextual_attention_says_where_it_copies_from(explorer, rungs, image, hole):
    evidence = heard(rungs["attention"], image, hole)
    (attention,) = (x["attention"][0] for x in evidence.values() if "attention" in x)
    step = SIDE // math.isqrt(len(attention))
    for row, column in ((13, 18), (30, 2)):
        facts = explorer.look(row, column).answers["attention"].facts
        across = SIDE // step
        shares = attention[row // step * across + column // step]
        best, index = shares.max(0)
        assert facts["top"][0]["share"] == pytest.approx(float(best), rel=1e-4)
        found = facts["top"][0]["row"], facts["top"][0]["column"]
        assert found == divmod(int(index), across)
        sent = np.frombuffer(explorer.attention_bytes, np.float32)
        assert np.allclose(sent, shares, atol=1e-5)
        for source in facts["top"]:
            top, left, tall, wide = source["box"]
            assert not hole[..., top : top + tall, left : left + wide].any()


def test_mask_aware_filtering_shows_the_filters_it_made(explorer, rungs, hole):
    layer = rungs["filter"].filters[0]
    with torch.no_grad():
        full = layer.kernels_at(torch.ones(1, 1, 64, 64), 16, 16)[0]
        for row, column in ((13, 18), (14, 8), (28, 28)):
            here = layer.kernels_at(1 - hole, row // 2, column // 2)[0]
            facts = explorer.look(row, column).answers["filter"].facts
            cosine = torch.cosine_similarity(here.flatten(), full.flatten(), 0)
            assert facts["cosine"] == pytest.approx(float(cosine), abs=1e-4)
            angle = math.degrees(math.acos(min(1, facts["cosine"])))
            assert facts["angle"] == pytest.approx(angle)
            apart = (here - full).mean(1).flatten(1).norm(dim=1)
            assert apart[facts["outputs"][0]] == pytest.approx(float(apart.max()))
            for k, output in enumerate(facts["outputs"]):
                for name, kernel in (("here", here), ("full", full)):
                    drawn = kernel[output].mean(0).flatten().tolist()
                    assert facts[name][k] == pytest.approx(drawn, abs=1e-5)
            top, left = row // 2 * 2 - 3, column // 2 * 2 - 3
            missing = [
                int(not (0 <= y < SIDE and 0 <= x < SIDE) or hole[0, 0, y, x])
                for y in range(top, top + 7)
                for x in range(left, left + 7)
            ]
            assert facts["missing"] == missing


def test_deformable_sampling_says_where_its_reads_lie(explorer, rungs, image, hole):
    evidence = heard(rungs["sampling"], image, hole)["encoder.0.conv"]
    for row, column in ((13, 18), (2, 2)):
        facts = explorer.look(row, column).answers["sampling"].facts
        at = (0, slice(None), row // 2, column // 2)
        positions = evidence["positions"][0, :, :, row // 2, column // 2]
        reads = torch.tensor(facts["reads"])
        assert torch.allclose(reads[:, :2], positions, atol=1e-4)
        assert torch.allclose(reads[:, 2], evidence["seen"][at])
        assert torch.allclose(reads[:, 3], evidence["modulation"][at])
        assert facts["known"] == int((evidence["seen"][at] >= 0.5).sum())
        offsets = evidence["offsets"][at].view(-1, 2)
        assert facts["length"] == pytest.approx(float(offsets.norm(dim=1).mean()))


def test_a_layer_is_found_wherever_it_lies(rungs, image, hole):
    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.deep = torch.nn.Sequential(torch.nn.Identity(), rungs["attention"])

        def forward(self, image, hole):
            return self.deep[1](image, hole)

    explorer = LadderExplorer(image, hole, rungs={"inner": Inner().eval()})
    direct = LadderExplorer(image, hole, rungs={"own": rungs["attention"]})
    assert list(explorer.answers) == ["gated", "attention"]
    assert explorer.answers == direct.answers
    assert explorer.fills["inner"].equal(direct.fills["own"])


def test_the_first_pixel_is_the_deepest_and_follows_the_hole(explorer):
    assert (explorer.shown["row"], explorer.shown["column"]) == (14, 12)
    assert explorer.shown["away"] == float(holes.distance(explorer.hole)[0, 0, 14, 12])
    explorer.set(hole=rectangle((2, 20, 5, 5)))
    assert (explorer.shown["row"], explorer.shown["column"]) == (4, 22)
    explorer.look(3, 4).set(hole=rectangle(BOX))
    assert (explorer.shown["row"], explorer.shown["column"]) == (3, 4)


def test_a_pixel_may_be_given_at_the_start(rungs, image, hole):
    explorer = LadderExplorer(image, hole, 5, 6, rungs)
    assert (explorer.shown["row"], explorer.shown["column"]) == (5, 6)
    with pytest.raises(WidgetError, match="row 32 is not between 0 and 31"):
        LadderExplorer(image, hole, SIDE, 0, rungs)


# ---- what may be given ----


def test_what_lies_under_the_hole_changes_nothing(explorer, rungs, image, hole):
    broken = torch.where(hole.bool(), torch.nan, image)
    other = LadderExplorer(broken, hole, rungs=rungs)
    for label, filled in explorer.fills.items():
        assert torch.equal(other.fills[label], filled), label
    assert other.answers == explorer.answers
    assert set(other.errors.values()) == {None}
    assert other.best is None
    assert "the truth is not known" in repr(other)
    assert other.still().pixels.size
    before = state(other)
    with pytest.raises(ContractError, match="NaN"):
        other.set(hole=rectangle((0, 0, 3, 3)))  # it would lie in the open
    assert state(other) == before


def test_without_a_hole_there_is_no_error(explorer, image):
    explorer.set(hole=torch.zeros(1, 1, SIDE, SIDE))
    assert explorer.stage == "empty"
    assert all(filled.equal(image) for filled in explorer.fills.values())
    assert set(explorer.errors.values()) == {None}
    assert explorer.answers["partial"].facts["known"] == 49
    assert explorer.answers["filter"].says.startswith("These are my usual filters")
    assert "there is no hole" in repr(explorer)
    assert explorer.still().pixels.size


def test_a_hole_that_covers_everything_leaves_nothing_to_say(explorer):
    explorer.set(hole=torch.ones(1, 1, SIDE, SIDE))
    assert explorer.stage == "full"
    assert (explorer.fills, explorer.answers, explorer.best) == ({}, {}, None)
    assert (explorer.shown["away"], explorer.shown["answers"]) == (None, [])
    assert "nothing is known" in repr(explorer)
    assert explorer.still().pixels.size
    explorer.set(hole=rectangle(BOX))
    assert len(explorer.answers) == 5


def test_a_hole_that_leaves_no_patch_leaves_nothing_to_copy(explorer):
    checks = torch.zeros(1, 1, SIDE, SIDE)
    checks[..., ::4, ::4] = 1
    told = explorer.set(hole=checks).answers["attention"]
    assert told.short == "nothing to copy"
    assert explorer.still().pixels.size


def test_presets_are_drawn_anew_each_time(explorer, rungs):
    for preset in ("stroke", "box", "irregular"):
        first = explorer.set(hole=preset).hole
        assert SHARES[0] <= float(first.mean()) <= SHARES[1]
        assert not explorer.set(hole=preset).hole.equal(first)
    one = LadderExplorer("hedgehog", "stroke", rungs=rungs, size=SIDE)
    two = LadderExplorer("hedgehog", "stroke", rungs=rungs, size=SIDE)
    assert one.hole.equal(two.hole)
    assert one.photo == "hedgehog"


def test_wrong_requests_change_nothing(explorer):
    before = state(explorer)
    for wrong, told in (
        (lambda: explorer.look(SIDE, 0), f"row {SIDE} is not between 0 and {SIDE - 1}"),
        (lambda: explorer.set(photo="none"), "no photo 'none'; there are yours"),
        (
            lambda: explorer.set(hole="round"),
            "no preset 'round'; there are stroke",
        ),
    ):
        with pytest.raises(WidgetError, match=told):
            wrong()
    with pytest.raises(ContractError, match="same N, H"):
        explorer.set(hole=torch.zeros(1, 1, 8, 8))
    with pytest.raises(ContractError, match="must hold only 0"):
        explorer.set(hole=torch.full((1, 1, SIDE, SIDE), 0.5))
    assert state(explorer) == before


def test_wrong_rungs_are_refused(image, hole, rungs):
    with pytest.raises(WidgetError, match="rungs is empty"):
        LadderExplorer(image, hole, rungs={})
    with pytest.raises(WidgetError, match="a rung is called 'mean'"):
        LadderExplorer(image, hole, rungs={"mean": rungs["plain"]})
    with pytest.raises(WidgetError, match="'small' returned"):
        LadderExplorer(image, hole, rungs={"small": lambda x, _: x[..., :4]})
    with pytest.raises(WidgetError, match="values in the hole NaN"):
        LadderExplorer(image, hole, rungs={"nan": lambda x, _: x * torch.nan})


def test_nothing_changes_when_a_network_fails(explorer, rungs, monkeypatch):
    before = state(explorer)

    def broken(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(rungs["sampling"], "forward", broken)
    with pytest.raises(RuntimeError, match="no memory left"):
        explorer.set(hole=rectangle((0, 0, 9, 9)))
    assert state(explorer) == before


# ---- the page ----


def test_the_page_fetches_fill_by_fill_then_the_answers(explorer, rungs, make_view):
    view, hole = make_view(explorer), rectangle((3, 4, 9, 8))
    painted = hole.byte().numpy().tobytes()
    assert "error" not in view.ask("paint", hole=painted)
    shown = explorer.shown
    assert (shown["ready"], shown["answers"], shown["area"]) == (False, [], 72)
    for label in explorer.controls["rungs"]["untrained"] + LABELS:
        reply = view.ask("fill", label=label)
        assert reply["turn"] == shown["turn"]
        assert len(reply["picture"]) == 3 * SIDE * SIDE
        assert reply["wrong"] == explorer.errors[label]
    assert not explorer.shown["ready"]
    view.ask("answers")
    assert explorer.shown["ready"]
    lazily = state(explorer)
    explorer.set(hole=torch.zeros(1, 1, SIDE, SIDE)).set(hole=hole)
    assert state(explorer) == lazily
    assert [answer["kind"] for answer in explorer.shown["answers"]] == [*KINDS]
    assert [answer["rung"] for answer in explorer.shown["answers"]] == LABELS[1:]


def test_the_page_asks_pixels_photos_and_presets(explorer, make_view):
    view = make_view(explorer)
    view.ask("look", row=3, column=4)
    assert (explorer.shown["row"], explorer.shown["column"]) == (3, 4)
    view.ask("look", row=None, column=None)
    assert (explorer.shown["row"], explorer.shown["column"]) == (14, 12)
    view.ask("photo", photo="hedgehog")
    assert (explorer.shown["photo"], explorer.shown["ready"]) == ("hedgehog", False)
    before = explorer.hole
    view.ask("preset", preset="irregular")
    assert not explorer.hole.equal(before)


def test_malformed_messages_change_nothing(explorer, make_view):
    view, before = make_view(explorer), state(explorer)
    for kind, values, told in (
        ("dance", {}, "The page asked for 'dance', which is unknown"),
        ("paint", {"hole": b"\0" * 7}, "does not fit the photo"),
        ("paint", {}, "missing 1 required"),
        ("fill", {"label": "none"}, "no rung 'none'; there are mean"),
        ("fill", {}, "no rung 'None'"),
        ("fill", {"label": ["mean"]}, "no rung"),
        ("look", {"row": 99, "column": 1}, "row 99 is not between"),
        ("look", {"row": "x", "column": 1}, "row 'x' is not between"),
        ("photo", {"photo": "none"}, "no photo 'none'"),
        ("preset", {"preset": "round"}, "no preset 'round'"),
        ("upload", {"name": "x", "first": True, "last": True, "part": b"no"}, "x"),
    ):
        assert told in view.ask(kind, **values)["error"], kind
    assert state(explorer) == before
    explorer.set(hole=torch.ones(1, 1, SIDE, SIDE))
    told = view.ask("fill", label="mean")["error"]
    assert told == "Nothing is known: leave some of the photo."


def test_the_readers_own_photo_arrives_in_parts(explorer, make_view):
    file = io.BytesIO()
    Image.new("RGB", (60, 50), (200, 30, 30)).save(file, "png")
    data, view = file.getvalue(), make_view(explorer)
    half = len(data) // 2
    view.ask("upload", name="red.png", first=True, last=False, part=data[:half])
    assert explorer.photo == "yours"
    view.ask("upload", name="red.png", first=False, last=True, part=data[half:])
    assert explorer.photo == "red.png"
    assert "red.png" in explorer.photo_labels
    assert explorer.image.shape == (1, 3, SIDE, SIDE)
    assert explorer.errors["mean"] == pytest.approx(0, abs=1e-3)


def test_a_photo_of_another_size_gets_a_hole_of_its_own(rungs, make_view):
    image = torch.rand(1, 3, SIDE, 48, generator=torch.Generator().manual_seed(1))
    explorer = LadderExplorer(image, rungs=rungs).look(3, 47)
    assert explorer.shown["around"][2:] == [16, 16]
    file = io.BytesIO()
    Image.new("RGB", (50, 50)).save(file, "png")
    view = make_view(explorer)
    given = {"name": "own", "first": True, "last": True, "part": file.getvalue()}
    assert "error" not in view.ask("upload", **given)
    assert (explorer.width, explorer.height) == (SIDE, SIDE)
    assert explorer.hole.shape == (1, 1, SIDE, SIDE)
    assert explorer.shown["column"] < SIDE


# ---- in words and as a still ----


def test_repr_states_the_facts(explorer):
    lines = repr(explorer.look(13, 18)).splitlines()
    share = 100 * 12 * 11 / SIDE**2
    assert lines[0] == f"ladder explorer: yours, hole {share:.1f} % of the photo"
    told = ", ".join(f"{k} {error:.4f}" for k, error in explorer.errors.items())
    assert lines[1] == (
        f"mean absolute error in the hole: {told}; best: {explorer.best}"
    )
    assert lines[2] == "row 13, column 18 (known):"
    assert lines[3:] == [
        f"  {KINDS[kind].layer}: {answer.says}"
        for kind, answer in explorer.answers.items()
    ]
    assert len(lines) == 8


def test_the_still_shows_the_same_and_is_small(explorer):
    first = explorer.still()
    assert first.text == repr(explorer)
    assert np.array_equal(first.pixels, explorer.still().pixels)
    assert first.pixels.shape[1] == 820
    assert (first.pixels != explorer.look(0, 0).still().pixels).any()
    assert len(first._repr_png_()) <= 60_000
    data, more = explorer._repr_mimebundle_()
    assert set(data) >= {"text/plain", "image/png"}
    assert more["image/png"]["alt"] == repr(explorer)


def test_a_network_on_another_device_is_asked_there(image, hole, elsewhere):
    explorer = LadderExplorer(image, hole, rungs={"far": elsewhere})
    assert explorer.errors["far"] > 0


def test_a_row_alone_is_no_pixel(rungs, image, hole):
    with pytest.raises(WidgetError, match="give both a row and a column"):
        LadderExplorer(image, hole, row=3, rungs=rungs)
