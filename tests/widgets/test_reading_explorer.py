"""The reading explorer without a browser: what a pixel reads, what a fill changes."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import zoo
from course_lib.layers import PartialConv2d
from course_lib.networks import UNet
from course_lib.networks.reading import influence, receptive_field
from course_lib.tensors import ContractError, composite, hide
from course_lib.widgets import ReadingExplorer
from course_lib.widgets.base import WidgetError
from course_lib.widgets.reading_explorer import DECADES, FILLS, NEAR, smallest_square

SIDE = 32


class Shift(nn.Module):
    """A network that reads one pixel only: that which lies ``by`` to the left."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, image, hole):
        return hide(image, hole).roll(self.by, -1)


class Broken(Shift):
    """Fails when it is asked with another fill."""

    fill = 0.5

    def forward(self, image, hole):
        if self.fill != 0.5:
            raise RuntimeError("no other colour")
        return super().forward(image, hole)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(channels=(8, 8), kernels=(5, 3)).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., 10:19, 12:21] = 1
    return hole


@pytest.fixture
def explorer(network, image, hole):
    return ReadingExplorer(network, image, hole)


def floats(data):
    return torch.from_numpy(np.frombuffer(data, np.float32).copy())


# ---- what it reads ----


def test_the_deepest_pixel_is_asked_first(explorer):
    shown = explorer.shown
    assert (shown["row"], shown["column"], shown["distance"]) == (14, 16, 5)
    assert shown["missing"]


def test_it_shows_the_gradient_of_the_asked_pixel(explorer, network, image, hole):
    explorer.look(12, 30)
    output, gradient = influence(network, image, hole, 12, 30)
    assert torch.equal(explorer.influence, gradient)
    assert torch.equal(explorer.output, output)
    assert torch.equal(explorer.filled, composite(output, image, hole))
    page = floats(explorer.influence_bytes).reshape(gradient.shape)
    most = gradient.max()
    assert page.max() == 1
    strong = gradient > most / 10**DECADES
    expected = 1 + (gradient[strong] / most).log10() / DECADES
    assert torch.allclose(page[strong], expected)
    assert (page[~strong] == 0).all()


def test_the_facts_are_those_of_the_gradient(explorer, network):
    shown = explorer.look(9, 16).shown
    share = explorer.influence[0, 0].double()
    share = share / share.sum()
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    near = (rows - 9) ** 2 + (columns - 16) ** 2 <= NEAR**2
    assert shown["near"] == pytest.approx(float(share[near].sum()))
    assert shown["near"] < 1
    assert shown["under"] == 0
    assert shown["field"] == list(receptive_field(network, 9, 16))
    top, left, height, width = shown["square"]
    held = share[top : top + height, left : left + width].sum()
    assert float(held) >= 0.95


@pytest.mark.parametrize("by", [0, 3, 9])
def test_a_known_answer(image, hole, by):
    """Of a network that copies, all the influence lies in the pixel it copies."""
    shown = ReadingExplorer(Shift(by), image, hole).look(2, 20).shown
    assert shown["square"] == [2, 20 - by, 1, 1]
    assert shown["near"] == (1 if by <= NEAR else 0)
    assert shown["field"] is None
    nothing = ReadingExplorer(Shift(0), image, hole).look(14, 16)
    assert nothing.shown["square"] is None
    assert "reads nothing" in repr(nothing)


@pytest.mark.parametrize("shape", [(9, 9), (7, 12)])
def test_no_smaller_square_holds_as_much(shape):
    share = torch.rand(shape, generator=torch.Generator().manual_seed(1)).double() ** 4
    for mass in (0.2, 0.6, 1.0):
        top, left, height, width = smallest_square(share, mass)
        held = share[top : top + height, left : left + width].sum()
        assert held >= mass * share.sum() * (1 - 1e-9)
        side = max(height, width) - 1
        for row in range(shape[0]):
            for column in range(shape[1]):
                window = share[row : row + side, column : column + side]
                assert window.sum() < mass * share.sum() * (1 - 1e-9)


def test_what_lies_under_the_hole_is_never_seen(network, image, hole, explorer):
    broken = torch.where(hole.bool(), torch.nan, image)
    other = ReadingExplorer(network, broken, hole)
    for name in ("influence_bytes", "given_bytes", "filled_bytes", "gap_bytes"):
        assert getattr(other, name) == getattr(explorer, name), name
    assert np.array_equal(other.still().pixels, explorer.still().pixels)


# ---- the fill ----


@pytest.mark.parametrize("fill", [0, 0.3, 1, "noise"])
def test_a_fill_changes_what_the_network_finds(explorer, network, image, hole, fill):
    explorer.sweep(fill)
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    network.fill = noise if fill == "noise" else fill
    with torch.no_grad():
        expected = network(image, hole)
        network.fill = 0.5
        plain = network(image, hole)
    assert torch.allclose(explorer.output, expected, atol=1e-6)
    missing = hole.bool().expand_as(image)
    change = float((expected - plain).abs()[missing].mean())
    assert explorer.change == pytest.approx(change, rel=1e-4)
    assert explorer.change > 1e-4
    assert explorer.shown["most"] >= explorer.change
    given = np.frombuffer(explorer.given_bytes, np.uint8).reshape(SIDE, SIDE, 3)
    if fill != "noise":
        assert (given[10:19, 12:21] == round(255 * fill + 0.001)).all()


def test_all_fills_are_compared(explorer):
    assert explorer.changes == {}, "not before somebody asks"
    explorer.sweep(0.25)
    assert list(explorer.changes) == [str(fill) for fill in FILLS]
    assert explorer.changes["0.5"] == 0
    assert explorer.changes["0.25"] == pytest.approx(explorer.change)
    assert explorer.sweep().change == 0


def test_partial_convolution_does_not_change_at_all(image, hole):
    torch.manual_seed(0)
    network = UNet(PartialConv2d, channels=(8, 8), kernels=(5, 3)).eval()
    explorer = ReadingExplorer(network, image, hole).sweep("noise")
    assert set(explorer.changes.values()) == {0.0}
    assert "changes the hole by exactly 0" in repr(explorer)


def test_the_network_keeps_its_fill(explorer, network, image, hole):
    for fill in (1, "noise"):
        explorer.sweep(fill).look(3, 3)
        assert network.fill == 0.5
    broken = ReadingExplorer(Broken(1), image, hole)
    with pytest.raises(RuntimeError, match="no other colour"):
        broken.sweep(1)
    assert broken._network.fill == 0.5
    assert broken.shown["fill"] == 0.5


def test_a_network_without_a_fill_cannot_be_swept(image, hole):
    explorer = ReadingExplorer(Shift(1), image, hole)
    assert explorer.controls["fills"] == []
    with pytest.raises(WidgetError, match="no fill colour"):
        explorer.sweep(0)


def test_the_network_is_left_as_it_was(explorer, network):
    network.train()
    explorer.look(3, 4).sweep(0)
    assert network.training
    assert all(p.grad is None for p in network.parameters())


# ---- what it says ----


def test_repr_states_the_facts(explorer):
    text = repr(explorer.look(9, 16))
    square = max(explorer.shown["square"][2:])
    for fact in (
        "row 9, column 16, 0.0 px from",
        f"95% of its influence within {square} px a side",
        f"{max(explorer.shown['field'][2:])} px in theory",
        f"{explorer.shown['near']:.0%} within 8 px; exactly 0 from under the hole",
    ):
        assert fact in text
    assert "fill" not in text
    explorer.sweep(0)
    assert f"fill 0 changes the hole by {255 * explorer.change:.1f} of" in repr(
        explorer
    )


def test_the_still_shows_what_is_read_and_what_changes(explorer):
    first = explorer.still()
    assert first.text == repr(explorer)
    assert len(first._repr_png_()) < 60_000
    assert not np.array_equal(first.pixels, explorer.look(3, 3).still().pixels)
    swept = explorer.sweep("noise").still()
    assert "noise" in swept.text
    assert not np.array_equal(first.pixels[:, :200], swept.pixels[:, :200])


def test_the_shipped_network_answers_for_a_named_photo():
    explorer = ReadingExplorer("plain_unet", "lincolnmemorial", size=64)
    assert explorer.image.shape == (1, 3, 64, 64)
    assert explorer.shown["under"] == 0
    assert not any(p.requires_grad for p in zoo.load("plain_unet").parameters())


# ---- what goes wrong ----


def test_nothing_changes_when_a_value_is_wrong(explorer):
    before = repr(explorer)
    for row, column in ((SIDE, 0), (0, SIDE), (-1, 0), (None, 5), (5, None)):
        with pytest.raises(WidgetError, match="is not between"):
            explorer.look(row, column)
    for fill in (-0.1, 1.1, float("nan"), "grey"):
        with pytest.raises(WidgetError, match="neither between"):
            explorer.sweep(fill)
    assert repr(explorer) == before


def test_what_does_not_belong_together_is_refused(network, image, hole):
    with pytest.raises(ContractError, match="same N, H"):
        ReadingExplorer(network, image, hole[..., :16])
    with pytest.raises(WidgetError, match="something known"):
        ReadingExplorer(network, image, torch.zeros_like(hole))
    with pytest.raises(WidgetError, match="something known"):
        ReadingExplorer(network, image, torch.ones_like(hole))
    with pytest.raises(ContractError, match="multiples of 4"):
        ReadingExplorer(network, image[..., :30], hole[..., :30])


# ---- the page ----


def test_the_page_asks_what_look_and_sweep_ask(explorer, make_view):
    view = make_view(explorer)
    assert "error" not in view.ask("look", row=3, column=5)
    assert (explorer.shown["row"], explorer.shown["column"]) == (3, 5)
    assert "error" not in view.ask("sweep", fill="noise")
    assert explorer.shown["fill"] == "noise"
    view.ask("sweep", fill=0.5)
    assert explorer.change == 0
    view.ask("look", row=None, column=None)
    assert explorer.shown["distance"] == 5


def test_the_page_is_told_what_does_not_work(explorer, make_view):
    view, before = make_view(explorer), repr(explorer)
    assert "is not between" in view.ask("look", row=99, column=0)["error"]
    assert "unknown" in view.ask("paint")["error"]
    assert repr(explorer) == before


def test_a_network_that_finds_the_nearest_pixels_has_no_colour_to_change(image, hole):
    torch.manual_seed(0)
    network = UNet(channels=(8, 8), kernels=(5, 3), fill="nearest").eval()
    explorer = ReadingExplorer(network, image, hole)
    assert explorer.controls["fills"] == []
    with torch.no_grad():
        assert torch.equal(explorer.output, network(image, hole))
    with pytest.raises(WidgetError, match="no fill colour"):
        explorer.sweep(0.25)
