"""Sketches: where Canny draws its lines, and which of them are kept."""

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor

from course_lib import sketch
from course_lib.tensors import ContractError


def step(place: int, height: int = 32, width: int = 48, low=0.2, high=0.8) -> Tensor:
    """Dark on the left, light from column ``place`` on."""
    image = torch.full((1, 3, height, width), low)
    image[..., place:] = high
    return image


def test_edges_are_binary_lines_of_the_pictures_shape():
    image = torch.cat([step(20), step(31), torch.full((1, 3, 32, 48), 0.5)])
    drawn = sketch.edges(image, 1.5)
    assert drawn.shape == (3, 1, 32, 48)
    assert drawn.device == image.device
    assert drawn.unique().tolist() == [0, 1]
    assert (drawn.sum((1, 2, 3)) > 0).tolist() == [True, True, False]
    for k in range(3):  # each picture for itself
        assert torch.equal(sketch.edges(image[k : k + 1], 1.5), drawn[k : k + 1])


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_a_sketch_has_the_pictures_type(dtype: torch.dtype):
    drawn = sketch.edges(step(20).to(dtype), 1.5)
    assert drawn.dtype == dtype
    rounded = step(20).to(dtype).float()
    assert torch.equal(drawn.float(), sketch.edges(rounded, 1.5))
    generator = torch.Generator().manual_seed(0)
    kept = sketch.some_lines(drawn, 1.0, generator)
    assert kept.dtype == dtype
    assert torch.equal(kept, drawn)


@pytest.mark.parametrize("place", [12, 20, 33])
@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.5, None])
@pytest.mark.parametrize("turned", [False, True])
def test_a_step_is_one_line_where_it_is(place: int, sigma: float | None, turned: bool):
    image = step(place)
    image = image.transpose(-2, -1) if turned else image
    drawn = sketch.edges(image, sigma)
    drawn = drawn.transpose(-2, -1) if turned else drawn
    rows, columns = drawn[0, 0].nonzero(as_tuple=True)
    between = place - 0.5  # of two pixels
    assert ((columns - between).abs() <= 1).all()
    assert set(rows.tolist()) >= set(range(8, 24))  # unbroken, borders aside
    assert (drawn.sum(-1) <= 2).all()  # the step lies between two pixels


def test_no_edge_in_a_constant_picture():
    for colour in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0.55, 0.81]):
        image = torch.tensor(colour).view(1, 3, 1, 1).expand(-1, -1, 24, 32)
        assert (sketch.edges(image, 1.0) == 0).all()
        assert (sketch.edges(image) == 0).all()


def test_edges_are_those_of_the_luma():
    """Red and green of equal luma have none, however different they look."""
    image = torch.zeros(1, 3, 32, 32)
    image[:, 0, :, :16] = 0.587
    image[:, 1, :, 16:] = 0.299
    assert (sketch.edges(image, 1.0) == 0).all()
    image[:, 2, :, 16:] = 1  # .114 more
    image[:, 0, :, :16] = 0
    assert sketch.edges(image, 1.0).any()


def test_more_blur_leaves_large_outlines_only():
    fine = step(24, 48, 48)
    fine[..., 4:44:4, :] = 1 - fine[..., 4:44:4, :]  # thin stripes across
    few, many = (sketch.edges(fine, sigma).sum() for sigma in (3.0, 0.6))
    assert 0 < few < many / 3


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0, 4.0, 8.0])
def test_the_contrast_of_an_edge_is_the_same_for_every_blur(sigma: float):
    faint, clear = (step(64, 128, 128, 0.4, 0.4 + h) for h in (0.115, 0.16))
    assert not sketch.edges(faint, sigma).any()
    assert sketch.edges(clear, sigma)[..., 32:96, :].any(-1).all()


def test_a_larger_picture_keeps_its_lines():
    """Lines grow with the side, their pixels not with the area."""
    draw = torch.Generator().manual_seed(0)
    shape = {"mode": "bicubic", "align_corners": False}
    noise = torch.rand(1, 1, 6, 6, generator=draw).expand(-1, 3, -1, -1)
    sides = []
    for side in (128, 256, 512):
        image = F.interpolate(noise, (side, side), **shape).clamp(0, 1)
        sides.append(sketch.edges(image).sum().item() / side)
    assert sides[0] > 2
    assert sides[1:] == pytest.approx([sides[0]] * 2, rel=0.15)


def test_the_blur_grows_with_the_short_side():
    draw = torch.Generator().manual_seed(0)
    for size, sigma in (((64, 96), 1.0), ((128, 128), 2.0), ((256, 192), 3.0)):
        image = torch.rand(1, 3, *size, generator=draw)
        assert torch.equal(sketch.edges(image), sketch.edges(image, sigma))
        assert not torch.equal(sketch.edges(image), sketch.edges(image, 0.8 * sigma))


def test_a_picture_that_is_followed_has_edges_too():
    image = step(20).requires_grad_()
    drawn = sketch.edges(image, 1.5)
    assert not drawn.requires_grad
    assert torch.equal(drawn, sketch.edges(image.detach(), 1.5))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 3, 8, 8), float("nan")), "NaN"),
        (torch.full((1, 3, 8, 8), 2.0), "values from 2 to 2"),
        (torch.zeros(1, 1, 8, 8), "image has shape"),
        (torch.zeros(3, 8, 8), "image has shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "dtype torch.uint8"),
    ],
)
def test_what_is_no_picture_is_refused(image: Tensor, message: str):
    with pytest.raises(ContractError, match=message):
        sketch.edges(image)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_blur_must_be_above_zero(sigma: float):
    with pytest.raises(ContractError, match="must be above 0 pixels"):
        sketch.edges(step(20), sigma)


def drawing() -> Tensor:
    """Two pictures of lines: straight ones, a diagonal, a dot, a closed one."""
    lines = torch.zeros(2, 1, 24, 24)
    lines[0, 0, 2, 1:20] = 1
    lines[0, 0, 5:12, 3] = 1
    lines[0, 0, range(6, 16), range(8, 18)] = 1  # hangs together by corners only
    lines[0, 0, 20, 20] = 1
    lines[1, 0, 4:10, 4:10] = 1
    lines[1, 0, 5:9, 5:9] = 0
    lines[1, 0, 15, 2:22] = 1
    for row in range(12, 24, 3):
        lines[1, 0, row, 12] = 1  # one crosses the line, the others stand alone
    return lines


COUNTS = [4, 5]


def test_the_ends_of_the_scale():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert torch.equal(sketch.some_lines(drawing(), 0, generator), drawing() * 0)
        assert torch.equal(sketch.some_lines(drawing(), 1, generator), drawing())


def test_between_them_whole_lines_are_kept():
    generator, whole = torch.Generator().manual_seed(0), drawing()
    kept_counts = [0, 0]
    for _ in range(300):
        kept = sketch.some_lines(whole, 0.3, generator)
        assert kept.shape == whole.shape
        assert kept.dtype == whole.dtype
        for k in range(2):
            numbered, count = label(whole[k, 0].numpy(), [[1] * 3] * 3)
            assert count == COUNTS[k]
            for line in range(1, count + 1):
                part = kept[k, 0][torch.from_numpy(numbered == line)]
                assert part.min() == part.max()  # all of it or nothing
                kept_counts[k] += int(part[0])
            assert (kept[k, 0][torch.from_numpy(numbered == 0)] == 0).all()
    for kept_count, lines in zip(kept_counts, COUNTS, strict=True):
        assert kept_count / (300 * lines) == pytest.approx(0.3, abs=0.06)


def test_lines_come_and_go_independently():
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(300):
        kept = sketch.some_lines(drawing()[:1], 0.5, generator)[0, 0]
        seen.add(tuple(kept[at].item() for at in ((2, 1), (5, 3), (6, 8), (20, 20))))
    assert len(seen) == 2**4


def test_the_generator_decides():
    first, again, other = (
        sketch.some_lines(drawing(), 0.5, torch.Generator().manual_seed(seed))
        for seed in (4, 4, 5)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    before = torch.random.get_rng_state()
    sketch.some_lines(drawing(), 0.5, torch.Generator())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_drawing_is_left_as_it_was():
    whole = drawing()
    sketch.some_lines(whole, 0.3, torch.Generator())
    assert torch.equal(whole, drawing())


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_that_is_no_chance_is_refused(share: float):
    with pytest.raises(ContractError, match="a chance lies between 0 and 1"):
        sketch.some_lines(drawing(), share, torch.Generator())


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 8, 8), (8, 8)])
def test_a_drawing_has_one_channel(shape: tuple[int, ...]):
    with pytest.raises(ContractError, match=r"expected \(N, 1, H, W\)"):
        sketch.some_lines(torch.zeros(shape), 0.5, torch.Generator())
