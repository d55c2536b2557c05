"""The mining explorer without a browser: four holes, their errors, what it refuses."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from course_lib import holes, photos
from course_lib.evaluation import hole_l1
from course_lib.mining import mined_holes
from course_lib.networks import MaskGenerator
from course_lib.tensors import ContractError
from course_lib.widgets import MiningExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.mining_reading import (
    HIGH,
    KINDS,
    LOW,
    brightness,
    untrained_miner,
)

SIDE = 32
STEPS = (0, 30, 900)


class Smooth(nn.Module):
    """A referee that answers with the mean of what it sees; notes what that was."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image, hole):
        self.seen.append((image, hole, self.training))
        known = torch.where(hole.bool(), 0.0, image)
        mean = known.sum((2, 3)) / (1 - hole).sum((2, 3))
        return mean[..., None, None].expand_as(image)


class Miner(nn.Module):
    """A miner that expects the error to grow downwards, or to the left."""

    def __init__(self, axis):
        super().__init__()
        self.axis = axis

    def forward(self, image):
        ramp = torch.linspace(-4, -1, SIDE)
        ramp = ramp[:, None] if self.axis == 2 else ramp.flip(0)
        return ramp.expand(len(image), 1, SIDE, SIDE) + image.mean(1, True) / 10


def square(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, SIDE, SIDE, generator=draw)


@pytest.fixture
def referee():
    return Smooth()


@pytest.fixture
def miners():
    torch.manual_seed(1)
    return {0: Miner(2), 30: Miner(3), 900: MaskGenerator()}


@pytest.fixture
def explorer(miners, referee):
    return MiningExplorer(square(), 0.25, miners=miners, referee=referee, size=SIDE)


def state(explorer):
    names = ("image", "hole", "expected", "holes", "errors", "fills")
    data = [getattr(explorer, f"{name}_bytes") for name in names]
    return repr(explorer), str(explorer.shown), data, explorer.settings


def facts(explorer, kind):
    return next(each for each in explorer.shown["kinds"] if each["kind"] == kind)


# ---- four holes ----


@pytest.mark.parametrize("variety", [0.0, 0.4])
def test_the_holes_are_those_that_the_library_makes(explorer, miners, variety):
    explorer.set(steps=30, area=0.4, variety=variety, draw=3)
    other = explorer.shown["other"]
    assert other == explorer.photo_labels[1]
    second = photos.square(photos.load(other), SIDE)
    score = miners[30](torch.cat([square(), second]))
    scores = torch.cat([score, -score[:1]])
    draw = torch.Generator().manual_seed(3)
    mined, shuffled, hardest = mined_holes(scores, 0.4, variety, draw).split(1)
    drawn = holes.irregular(1, SIDE, torch.Generator().manual_seed(3))
    random = holes.grow(drawn, torch.tensor([round(0.4 * SIDE**2) / SIDE**2]))
    expected = dict(zip(KINDS, (random, mined, shuffled, hardest), strict=True))
    assert [*explorer.found] == [*KINDS]
    for kind, hole in expected.items():
        assert explorer.found[kind].hole.equal(hole), kind
    assert explorer.hole.equal(mined)
    assert len({float(hole.mean()) for hole in expected.values()}) == 1
    assert explorer.score.equal(score[:1])


def test_the_errors_are_those_of_the_fills(explorer, referee):
    explorer.set(steps=30)
    for kind, each in explorer.found.items():
        inside = each.hole.bool().expand_as(each.picture)
        assert each.picture[~inside].equal(square()[~inside]), "known pixels stay"
        mean = square()[~inside].view(3, -1).mean(1).view(1, 3, 1, 1)
        found = each.picture[inside]
        assert torch.allclose(found, mean.expand_as(square())[inside], atol=1e-5)
        told = facts(explorer, kind)
        assert told["measured"] == pytest.approx(
            float(hole_l1(each.picture, square(), each.hole)), abs=1e-6
        )
        expected = explorer.score.exp()[each.hole.bool()].mean()
        assert told["expected"] == pytest.approx(float(expected), abs=1e-6)
    errors = [facts(explorer, kind)["expected"] for kind in ("mined", "hardest")]
    assert errors[0] < errors[1]


def test_the_referee_never_sees_what_is_hidden(explorer, referee):
    assert len(referee.seen) == 1, "four holes are one batch"
    given, hole, _ = referee.seen[0]
    missing = hole.bool().expand_as(given)
    assert given.isnan().equal(missing)
    assert given[~missing].equal(square().expand_as(given)[~missing])


def test_networks_are_asked_in_evaluation_and_left_as_they_were(
    explorer, referee, miners
):
    assert referee.training
    assert miners[900].training
    assert not any(training for *_, training in referee.seen)


def test_a_hole_on_show_is_not_filled_again(explorer, referee):
    first = explorer.found["random"]
    explorer.set(steps=0)
    hole = referee.seen[-1][1]
    assert len(hole) == 3, "the random hole is the same after every step"
    assert explorer.found["random"].picture.equal(first.picture)
    explorer.look(3, 3)
    assert len(referee.seen) == 2
    explorer.set(photo=explorer.photo_labels[1])
    assert len(referee.seen[-1][1]) == 4, "another photo: the same hole, another fill"


def test_each_step_is_another_miner(explorer, miners):
    for steps in STEPS:
        explorer.set(steps=steps)
        miner = miners[steps].eval()
        with torch.no_grad():
            assert torch.allclose(explorer.score, miner(square()), atol=1e-6)
        assert explorer.shown["steps"] == steps
    assert explorer.controls["steps"] == [*STEPS]


def test_the_untrained_miner_is_always_the_same_and_leaves_the_state():
    before = torch.get_rng_state()
    first, second = untrained_miner(), untrained_miner()
    assert torch.get_rng_state().equal(before)
    assert not first.training
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert one.equal(two)
    torch.manual_seed(0)
    fresh = MaskGenerator()
    assert all(
        a.equal(b) for a, b in zip(first.parameters(), fresh.parameters(), strict=True)
    )


def test_another_draws_anew(explorer):
    before = {kind: each.hole for kind, each in explorer.found.items()}
    explorer.another()
    now = explorer.found
    changed = [kind for kind in KINDS if not now[kind].hole.equal(before[kind])]
    assert changed == ["random"], "without noise a mined hole stays"
    explorer.set(variety=0.5)
    noisy = explorer.found["mined"].hole
    assert explorer.another().settings.draw == 2
    assert not explorer.found["mined"].hole.equal(noisy)
    explorer.set(draw=9999).another()
    assert explorer.settings.draw == 0


# ---- one pixel ----


def test_a_pixel_tells_what_is_expected_and_measured(explorer):
    explorer.set(steps=0)
    for row, column in ((0, 0), (2, 20), (31, 31)):
        shown = explorer.look(row, column).shown
        score = float(explorer.score[0, 0, row, column])
        assert shown["expected"] == pytest.approx(math.exp(score), rel=1e-5)
        for kind, each in explorer.found.items():
            here = facts(explorer, kind)["here"]
            if not each.hole[0, 0, row, column]:
                assert here is None
                continue
            error = (each.picture - square())[0, :, row, column].abs().mean()
            assert here == pytest.approx(float(error), abs=1e-6)
    assert facts(explorer, "hardest")["here"] is not None, "the last row is hardest"
    assert facts(explorer, "mined")["here"] is None


def test_without_a_pixel_the_deepest_of_the_mined_hole_is_followed(explorer):
    explorer.set(steps=0)
    row, column = explorer.shown["row"], explorer.shown["column"]
    framed = torch.nn.functional.pad(explorer.hole, (1, 1, 1, 1))
    away = holes.distance(framed)[0, 0, 1:-1, 1:-1]
    assert away[row, column] == away.max()
    explorer.set(steps=30)
    assert (explorer.shown["row"], explorer.shown["column"]) != (row, column)
    explorer.look(5, 6).set(steps=0)
    assert (explorer.shown["row"], explorer.shown["column"]) == (5, 6)
    assert explorer.look().shown["row"] == row


# ---- photos ----


def test_a_photo_is_a_name_a_number_or_an_image(miners, referee):
    options = {"miners": miners, "referee": referee, "size": SIDE, "steps": 0}
    names = photos.names("evaluation")
    by_name = MiningExplorer("hedgehog", **options)
    by_number = MiningExplorer(names.index("hedgehog"), **options)
    assert by_name.photo == by_number.photo == "hedgehog"
    assert by_name.image.equal(photos.square(photos.load("hedgehog"), SIDE))
    assert repr(by_name) == repr(by_number)
    wide = MiningExplorer(torch.rand(1, 3, 60, 90), **options)
    assert wide.image.shape == (1, 3, SIDE, SIDE)
    assert len(wide.photo_labels) == len(set(wide.photo_labels)) == 9


def test_your_own_photo_is_its_own_truth(explorer, make_view):
    file = io.BytesIO()
    Image.new("RGB", (80, 60), (200, 30, 60)).save(file, "png")
    view, data = make_view(explorer), file.getvalue()
    half = len(data) // 2
    part = {"name": "red.png", "first": True, "last": False, "part": data[:half]}
    assert "error" not in view.ask("upload", **part)
    assert explorer.photo == "photo"
    part = {"name": "red.png", "first": False, "last": True, "part": data[half:]}
    assert "error" not in view.ask("upload", **part)
    assert explorer.photo == explorer.shown["photo"] == "red.png"
    assert explorer.image.shape == (1, 3, SIDE, SIDE)
    for kind in KINDS:
        assert facts(explorer, kind)["measured"] < 1e-6, "a red hole in red"
    before = state(explorer)
    part = {"name": "no.png", "first": True, "last": True, "part": b"no picture"}
    assert view.ask("upload", **part)["error"]
    assert state(explorer) == before


# ---- what the page gets ----


def test_the_bytes_of_the_page(explorer):
    explorer.set(steps=30)
    pixels = SIDE**2
    found = [explorer.found[kind] for kind in KINDS]
    hidden = np.frombuffer(explorer.holes_bytes, np.uint8).reshape(4, SIDE, SIDE)
    errors = np.frombuffer(explorer.errors_bytes, np.uint8).reshape(4, SIDE, SIDE)
    fills = np.frombuffer(explorer.fills_bytes, np.uint8).reshape(4, SIDE, SIDE, 3)
    for k, each in enumerate(found):
        assert np.array_equal(hidden[k], each.hole[0, 0].numpy())
        level = 255 * brightness(each.error)[0, 0].numpy()
        assert np.abs(errors[k] - level).max() <= 0.5
        made = 255 * each.picture[0].permute(1, 2, 0).numpy()
        assert np.abs(fills[k] - made).max() <= 0.51
    field = np.frombuffer(explorer.expected_bytes, np.uint8)
    assert len(field) == pixels
    level = 255 * brightness(explorer.score.exp()).flatten().numpy()
    assert np.abs(field - level).max() <= 0.5
    assert explorer.hole_bytes == hidden[1].tobytes()
    assert len(explorer.colours) == 768


def test_the_scale_of_colours_is_fixed_and_logarithmic():
    ends = torch.tensor([0, LOW, (LOW * HIGH) ** 0.5, HIGH, 1.0])
    assert brightness(ends).tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-5)


def test_repr_and_still_state_the_facts(explorer):
    explorer.set(steps=0).look(31, 4)
    told = {kind: facts(explorer, kind) for kind in KINDS}
    mean = {kind: f"{each['measured']:.3f}" for kind, each in told.items()}
    assert repr(explorer) == (
        f"mining explorer: photo, area 25 %, after 0 steps: mined {mean['mined']}, "
        f"shuffled {mean['shuffled']}, random {mean['random']}, hardest "
        f"{mean['hardest']}; the miner expects {told['mined']['expected']:.3f}; row "
        f"31, column 4: expected {explorer.shown['expected']:.3f}, known"
    )
    picture = explorer.still()
    assert repr(explorer) in picture.text
    assert "hatched" in picture.text
    assert np.array_equal(picture.pixels, explorer.still().pixels)
    assert picture.pixels.shape[1] == 5 * 134 - 6
    assert set(explorer._repr_mimebundle_()[0]) >= {"text/plain", "image/png"}
    moved = explorer.look(0, 3).still().pixels
    assert (picture.pixels != moved).any()
    error = facts(explorer, "mined")["here"]
    assert repr(explorer).endswith(f"mined, measured {error:.3f}")
    explorer.set(variety=0.25, draw=2)
    assert "after 0 steps, variety 0.25, draw 2: mined" in repr(explorer)


# ---- what is refused ----


def test_wrong_settings_change_nothing(explorer):
    before = state(explorer)
    for wrong, told in (
        (lambda: explorer.look(SIDE, 0), f"row {SIDE} is not between 0 and {SIDE - 1}"),
        (lambda: explorer.look(column=5), "give both a row and a column"),
        (lambda: explorer.look(0, 1.5), "column 1.5 is not between 0"),
        (
            lambda: explorer.set(steps=31),
            "no miner after 31 steps; there are 0, 30, 90",
        ),
        (lambda: explorer.set(area=0.05), "area 0.05 is not between 0.1 and 0.6"),
        (lambda: explorer.set(area=0.61), "area 0.61 is not between 0.1 and 0.6"),
        (lambda: explorer.set(area=float("nan")), "area nan is not between"),
        (lambda: explorer.set(area="large"), "area 'large' is not between"),
        (lambda: explorer.set(variety=-0.1), "variety -0.1 is not between 0 and 1"),
        (lambda: explorer.set(variety=True), "variety True is not between"),
        (lambda: explorer.set(draw=-1), "draw -1 is not between"),
        (lambda: explorer.set(draw=1.5), "draw 1.5 is no whole number"),
        (lambda: explorer.set(photo="none"), "no photo 'none'; there are photo, calf"),
    ):
        with pytest.raises(WidgetError, match=told):
            wrong()
        assert state(explorer) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"area": 0.7}, "area 0.7 is not between 0.1 and 0.6"),
        ({"steps": 50}, "no miner after 50 steps"),
        ({"photo": 20}, "photo 20 is not between 0 and 19"),
        ({"photo": True}, "photo True: give a name, a number or an image"),
        ({"photo": None}, "photo None: give a name"),
        ({"photo": "nobody"}, "no bundled photograph is called 'nobody'"),
        ({"photo": torch.full((1, 3, 32, 32), 2.0)}, "expected \\[0, 1\\]"),
        ({"photo": torch.full((1, 3, 32, 32), math.nan)}, "holds 3072 NaN"),
        ({"photo": torch.rand(2, 3, 32, 32)}, "expected one \\(1, 3, H, W\\)"),
        ({"miners": {}}, "miners is empty"),
    ],
)
def test_wrong_arguments_are_refused(miners, referee, options, told):
    given = {"photo": square(), "miners": miners, "referee": referee, "size": SIDE}
    kinds = (WidgetError, ContractError, photos.PhotoError)
    with pytest.raises(kinds, match=told):
        MiningExplorer(**(given | options))


def test_nothing_changes_when_the_referee_fails(explorer, referee, monkeypatch):
    before = state(explorer)
    monkeypatch.setattr(
        referee, "forward", lambda image, hole: torch.full_like(image, math.nan)
    )
    with pytest.raises(WidgetError, match="'mined' left 768 values in the hole NaN"):
        explorer.set(steps=0)
    assert state(explorer) == before


def test_the_page_asks_what_python_asks(explorer, make_view):
    view = make_view(explorer)
    label = explorer.photo_labels[2]
    for kind, values in (
        ("photo", {"photo": label}),
        ("steps", {"steps": 30}),
        ("area", {"area": 0.5}),
        ("variety", {"variety": 0.3}),
        ("another", {}),
        ("look", {"row": 5, "column": 6}),
    ):
        assert "error" not in view.ask(kind, **values)
    settings = explorer.settings
    assert (settings.photo, settings.steps, settings.area) == (label, 30, 0.5)
    assert (settings.variety, settings.draw) == (0.3, 1)
    assert (explorer.shown["row"], explorer.shown["column"]) == (5, 6)
    assert "error" not in view.ask("look", row=None, column=None)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("look", {"row": "5", "column": 6}),
        ("look", {"row": 5.5, "column": 6}),
        ("look", {"row": -1, "column": 6}),
        ("look", {"line": 5}),
        ("steps", {"steps": [30]}),
        ("steps", {"steps": "30"}),
        ("area", {"area": "0.3"}),
        ("area", {"area": {}}),
        ("variety", {"variety": 2}),
        ("photo", {"photo": 3}),
        ("photo", {"photo": ["calf"]}),
        ("another", {"draw": 3}),
        ("upload", {"name": "x"}),
        ("still", {}),
        ("_take", {}),
    ],
)
def test_malformed_messages_are_answered_and_change_nothing(
    explorer, make_view, kind, values
):
    before = state(explorer)
    assert make_view(explorer).ask(kind, **values)["error"]
    assert state(explorer) == before
    assert "error" not in make_view(explorer).ask("look", row=1, column=1)


def test_networks_on_another_device_are_asked_there(elsewhere):
    explorer = MiningExplorer(
        square(), miners={900: elsewhere}, referee=elsewhere, size=SIDE
    )
    assert explorer.found["mined"].picture.shape == (1, 3, SIDE, SIDE)
