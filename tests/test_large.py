"""Any size: the padding is cut, the tiles add up to one, known pixels stay."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import fills, large, zoo
from course_lib.holes import strokes
from course_lib.large import feather, fill_any, padded, spans, tiles_touched
from course_lib.tensors import ContractError, composite


def pair(height: int, width: int, count: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    image = torch.rand(count, 3, height, width, generator=generator)
    return image, strokes(count, (height, width), generator)


def box(height: int, width: int, top: int, left: int, side: int) -> Tensor:
    hole = torch.zeros(1, 1, height, width)
    hole[..., top : top + side, left : left + side] = 1
    return hole


class Place(nn.Module):
    """Answers with the mean of what it is shown, and remembers the sizes and holes."""

    def __init__(self, factor: int = 1) -> None:
        super().__init__()
        self.factor, self.shown = factor, []

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        assert image.shape[-2] % self.factor == image.shape[-1] % self.factor == 0
        assert not hole.flatten(1).all(1).any(), "a tile that knows nothing"
        self.shown.append((image, hole))
        known = (image * (1 - hole)).sum((2, 3), keepdim=True)
        return (known / (1 - hole).sum((2, 3), keepdim=True)).expand_as(image)


# ----------------------------------------------------------------------------- one tile


def test_where_one_tile_is_enough_the_answer_is_the_networks_own():
    network = zoo.load("nearest_unet")
    image, hole = pair(64, 96, 2)
    expected = composite(network(image, hole), image, hole)
    assert torch.equal(fill_any(network, image, hole, tile=96, overlap=32), expected)
    with pytest.raises(ContractError, match=r"as large\.fill_any does"):
        network(image[..., :50], hole[..., :50])


@pytest.mark.parametrize("name", ["nearest_unet", "cascade", "contextual_attention"])
def test_any_size_is_filled_and_what_is_known_stays(name: str):
    image, hole = pair(45, 83)
    filled = fill_any(zoo.load(name), image, hole, tile=64, overlap=16)
    assert filled.shape == image.shape
    known = hole.expand_as(image) == 0
    assert torch.equal(filled[known], image[known])
    assert (filled[~known] != image[~known]).all()


@pytest.mark.parametrize("padding", ["replicate", "reflect", "missing"])
def test_a_padded_picture_begins_with_itself(padding: large.Padding):
    image, hole = pair(5, 7)
    wide, missing = padded(image, hole, 16, padding)
    assert wide.shape == (1, 3, 16, 16)
    assert torch.equal(wide[..., :5, :7], image)
    assert torch.equal(missing[..., :5, :7], hole)
    pads = {"replicate": (0, 9, 0, 11), "reflect": (0, 6, 0, 4)}
    if padding == "missing":
        assert missing[..., 5:, :].all()
        assert missing[..., 7:].all()
    else:
        down, right = pads[padding][3] + 5, pads[padding][1] + 7
        for found, given in ((wide, image), (missing, hole)):
            expected = F.pad(given, pads[padding], mode=padding)
            assert torch.equal(found[..., :down, :right], expected)


def test_an_unknown_padding_is_refused():
    image, hole = pair(5, 7)
    for fill in (
        lambda: padded(image, hole, 16, "zeros"),  # type: ignore[arg-type]
        lambda: fill_any(Place(), image, hole, padding="zeros"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ContractError, match=r"'zeros', .*reflect, replicate, miss"):
            fill()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_gets_its_own_kind_of_floats(kind: torch.dtype):
    network = zoo.load("nearest_unet")
    image, hole = pair(45, 83)
    image, hole = image.to(kind), hole.to(kind)
    filled = fill_any(network, image, hole, tile=64, overlap=16)
    assert filled.dtype == kind
    expected = fill_any(network, image.float(), hole.float(), tile=64, overlap=16)
    torch.testing.assert_close(filled.float(), expected, rtol=0, atol=1e-2)
    assert torch.equal(*(torch.where(hole == 1, 0.0, x) for x in (filled, image)))
    half = zoo.load("nearest_unet").to(kind)
    made = fill_any(half, image.float(), hole.float(), tile=64, overlap=16)
    assert made.dtype == torch.float32


def test_a_picture_of_one_pixel_a_side_is_padded_too():
    image, hole = torch.rand(1, 3, 1, 9), torch.zeros(1, 1, 1, 9)
    hole[..., 4] = 1
    assert fill_any(Place(8), image, hole, tile=16, overlap=8).shape == image.shape


# -------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize("length", [31, 32, 33, 57, 64, 100, 1001])
@pytest.mark.parametrize("overlap", [0, 1, 8, 16])
def test_spans_cover_a_side_and_share_enough(length: int, overlap: int):
    found = spans(length, 32, overlap)
    assert (found[0][0], found[-1][1]) == (0, length)
    assert all(end - start == min(32, length) for start, end in found)
    assert all(before[1] - after[0] >= overlap for before, after in pairwise(found))
    if length > 32:
        fewer = len(found) - 1
        assert fewer * (32 - overlap) + overlap < length, "more tiles than needed"


@pytest.mark.parametrize("length", [20, 32, 33, 50, 100, 333])
@pytest.mark.parametrize("overlap", [0, 1, 8, 16])
def test_weights_add_up_to_one_and_fall_to_the_tiles_edges(length: int, overlap: int):
    weights = feather(length, 32, overlap)
    assert torch.allclose(weights.sum(0), torch.ones(length).double(), atol=1e-12)
    assert (weights >= 0).all()
    for row, (first, end) in zip(weights, spans(length, 32, overlap), strict=True):
        assert row[:first].sum() == row[end:].sum() == 0
        if first > 0 and overlap > 1:
            assert row[first] < 0.2
            assert row[first] < row[first + 1]
        if end < length and overlap > 1:
            assert row[end - 1] < 0.2


def test_where_two_tiles_meet_the_weights_are_a_quarter_wave():
    weights = feather(56, 32, 8)
    inside = (torch.arange(8).double() + 0.5) / 8 * torch.pi / 2
    assert torch.allclose(weights[1, 24:32], inside.sin().square())
    assert torch.allclose(weights[0, 24:32], inside.cos().square())


def test_tiles_that_agree_leave_no_seam():
    image, hole = pair(70, 101, 2)
    image[:] = 0.25
    filled = fill_any(Place(), image, hole, tile=32, overlap=8)
    assert torch.allclose(filled, torch.tensor(0.25), atol=1e-6)


def test_a_fill_that_needs_little_around_it_is_the_same_in_tiles():
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 3, 90, 120, generator=generator)
    hole = (torch.rand(1, 1, 90, 120, generator=generator) < 0.03).float()

    def local(shown: Tensor, missing: Tensor) -> Tensor:
        around = F.avg_pool2d(F.pad(shown * (1 - missing), [1] * 4), 3, 1)
        return around / F.avg_pool2d(F.pad(1 - missing, [1] * 4), 3, 1).clamp(min=0.1)

    inside = torch.zeros_like(hole)
    inside[..., 1:-1, 1:-1] = 1
    hole = hole * inside
    whole = fill_any(local, image, hole, tile=128, overlap=32)
    tiled = fill_any(local, image, hole, tile=32, overlap=8)
    assert (whole - tiled).abs().max() < 0.05  # pixels at a tile's edge count little
    assert (whole - tiled).abs().mean() < 1e-3


def test_only_tiles_that_touch_the_hole_are_computed():
    network, image = Place(), torch.rand(1, 3, 96, 96)
    fill_any(network, image, box(96, 96, 2, 2, 4), tile=32, overlap=0)
    assert len(network.shown) == 1
    assert torch.equal(network.shown[0][0][..., 8:, 8:], image[..., 8:32, 8:32])
    assert tiles_touched(box(96, 96, 30, 30, 4), 32, 0) == [
        (slice(a, a + 32), slice(b, b + 32)) for a in (0, 32) for b in (0, 32)
    ]
    network.shown.clear()
    fill_any(network, image, torch.zeros(1, 1, 96, 96), tile=32, overlap=8)
    assert network.shown == []


def test_each_picture_of_a_batch_has_its_own_tiles():
    network = Place()
    hole = torch.cat([box(96, 96, 2, 2, 4), box(96, 96, 80, 80, 4)])
    image = torch.rand(2, 3, 96, 96)
    both = fill_any(network, image, hole, tile=32, overlap=8)
    assert [len(shown) for shown, _ in network.shown] == [1, 1]
    alone = [
        fill_any(network, image[k : k + 1], hole[k : k + 1], tile=32, overlap=8)
        for k in (0, 1)
    ]
    assert torch.equal(both, torch.cat(alone))


@pytest.mark.parametrize("size", [(40, 50), (100, 130)])
def test_nothing_under_the_hole_is_read(size: tuple[int, int]):
    network = zoo.load("nearest_unet")
    image, hole = pair(*size)
    hole[..., 5:35, 5:35] = 1
    secret = torch.where(hole == 1, torch.nan, image)
    answers = [
        fill_any(network, shown, hole, tile=64, overlap=16) for shown in (image, secret)
    ]
    assert torch.equal(*answers)
    assert answers[0].isfinite().all()


# -------------------------------------------------------------------------- large holes


def test_a_hole_larger_than_a_tile_is_filled_from_a_smaller_picture_first():
    network = Place()  # refuses a tile that knows nothing
    image = torch.full((1, 3, 200, 240), 0.75)
    hole = box(200, 240, 30, 40, 140)
    image[hole.expand_as(image) == 1] = torch.nan
    filled = fill_any(network, image, hole, tile=32, overlap=8)
    assert torch.allclose(filled, torch.tensor(0.75), atol=1e-5)
    sizes = {tuple(shown.shape[-2:]) for shown, _ in network.shown}
    assert sizes == {(32, 32), (25, 30)}  # tiles, and an eighth of the picture
    with pytest.raises(AssertionError, match="knows nothing"):
        fill_any(network, image, hole, tile=32, overlap=8, coarse=False)


def test_the_middle_comes_from_the_small_picture_and_the_rim_from_the_large_one():
    image, hole = torch.rand(1, 3, 64, 64), box(64, 64, 16, 16, 32)

    def told(shown: Tensor, missing: Tensor) -> Tensor:
        return torch.full_like(shown, float(missing.mean()))

    filled = fill_any(told, image, hole, tile=32, overlap=8)
    small = filled[0, 0, 32, 32]  # a quarter of the small picture is missing
    assert small == pytest.approx(0.25, abs=1e-6)
    assert filled[0, 0, 17, 17] != pytest.approx(0.25, abs=1e-3)


def test_a_classical_fill_takes_tiles_too():
    image, hole = pair(70, 80)
    filled = fill_any(fills.harmonic, image, hole, tile=32, overlap=8)
    known = hole.expand_as(image) == 0
    assert torch.equal(filled[known], image[known])


# ----------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tile": 40}, "tile 40: this network needs a multiple of 32, such as 32"),
        ({"tile": 0}, "such as 32"),
        ({"tile": 64, "overlap": 40}, "overlap 40 with tiles of 64: from 0 to 32"),
        ({"overlap": -1}, "overlap -1"),
    ],
)
def test_what_does_not_suit_is_refused(options: dict[str, int], says: str):
    image, hole = pair(40, 40)
    with pytest.raises(ContractError, match=says):
        fill_any(Place(32), image, hole, **options)  # type: ignore[arg-type]


def test_a_picture_of_which_nothing_is_known_is_refused():
    image, hole = pair(40, 40, 2)
    hole[1] = 1
    with pytest.raises(ContractError, match="hole of sample 1 covers the whole"):
        fill_any(Place(), image, hole)
    with pytest.raises(ContractError, match="same N, H"):
        fill_any(Place(), image, hole[..., :30])
