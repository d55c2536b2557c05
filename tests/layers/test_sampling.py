"""Deformable convolution: equal to plain loops and to torchvision's operator."""

import math

import pytest
import torch
import torch.nn.functional as F
from samples import draw
from torch import Tensor
from torchvision.ops import deform_conv2d as torchvision_s

from course_lib.layers import deform_conv2d
from course_lib.layers.sampling import read, tap_positions
from course_lib.tensors import ContractError


def pixel(picture: Tensor, row: int, column: int) -> Tensor:
    height, width = picture.shape[1:]
    inside = 0 <= row < height and 0 <= column < width
    return picture[:, row, column] if inside else torch.zeros_like(picture[:, 0, 0])


def bilinear(picture: Tensor, row: Tensor, column: Tensor) -> Tensor:
    top, left = math.floor(row.item()), math.floor(column.item())
    down, right = row - top, column - left
    return (
        (1 - down) * (1 - right) * pixel(picture, top, left)
        + (1 - down) * right * pixel(picture, top, left + 1)
        + down * (1 - right) * pixel(picture, top + 1, left)
        + down * right * pixel(picture, top + 1, left + 1)
    )


def naive(x, offsets, weight, bias, stride, padding, dilation, modulation) -> Tensor:
    """Place by place and tap by tap."""
    _, _, kh, kw = weight.shape
    y = []
    for n, (i, j) in places(offsets):
        total = torch.zeros_like(bias) + bias
        for k in range(kh * kw):
            dy, dx = offsets[n, 2 * k : 2 * k + 2, i, j]
            row = i * stride[0] - padding[0] + k // kw * dilation[0] + dy
            column = j * stride[1] - padding[1] + k % kw * dilation[1] + dx
            found = bilinear(x[n], row, column) * modulation[n, k, i, j]
            total = total + weight[:, :, k // kw, k % kw] @ found
        y.append(total)
    count, _, height, width = offsets.shape
    return torch.stack(y).view(count, height, width, -1).permute(0, 3, 1, 2)


def places(offsets: Tensor):
    count, _, height, width = offsets.shape
    for n in range(count):
        for place in range(height * width):
            yield n, divmod(place, width)


def case(kernel, stride, padding, dilation, size=(7, 10), spread=2.0):
    """Everything an operator takes, in float64, asking for gradients."""
    inputs, taps = 3, kernel[0] * kernel[1]
    out = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, s, p, d in zip(
            size, kernel, stride, padding, dilation, strict=True
        )
    ]
    tensors = {
        "x": draw(2, inputs, *size),
        "offsets": draw(2, 2 * taps, *out, seed=1) * spread,
        "weight": draw(4, inputs, *kernel, seed=2),
        "bias": draw(4, seed=3),
        "modulation": draw(2, taps, *out, seed=4).sigmoid(),
    }
    return {name: value.requires_grad_() for name, value in tensors.items()}


def values_and_slopes(operator, given, stride, padding, dilation):
    order = [given[name] for name in ("x", "offsets", "weight", "bias")]
    y = operator(*order, stride, padding, dilation, given["modulation"])
    return y, torch.autograd.grad(y.sin().sum(), list(given.values()))


def assert_same(first, second, tolerance=1e-10):
    torch.testing.assert_close(first[0], second[0], rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(first[1], second[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1), (1, 1)),  # kernel, stride, padding, dilation
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 3), (1, 1), (2, 2), (2, 2)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((2, 3), (2, 1), (0, 2), (1, 3)),
    ((5, 1), (1, 3), (3, 0), (1, 1)),
    ((4, 4), (3, 2), (1, 2), (2, 1)),
]
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)


@every_geometry
@pytest.mark.parametrize("spread", [0.5, 30.0])  # within the window; far outside
def test_it_equals_torchvision_s_operator(geometry, spread: float):
    kernel, *rest = geometry
    given = case(kernel, *rest, spread=spread)
    ours = values_and_slopes(deform_conv2d, given, *rest)
    assert_same(ours, values_and_slopes(torchvision_s, given, *rest))


@pytest.mark.parametrize("geometry", GEOMETRIES[:1] + GEOMETRIES[4:5])
def test_it_equals_plain_loops(geometry):
    kernel, *rest = geometry
    given = case(kernel, *rest, size=(4, 5))
    ours = values_and_slopes(deform_conv2d, given, *rest)
    assert_same(ours, values_and_slopes(naive, given, *rest))


@pytest.mark.parametrize("size", [(7, 10), (8, 16), (1, 5)])
@pytest.mark.parametrize("far", [0, 3])
def test_whole_offsets_have_torchvision_s_slopes_too(size, far: int):
    """Where a bilinear read has a corner, and on the line just outside the picture."""
    rest = [(1, 1), (1, 1), (1, 1)]
    given = case((3, 3), *rest, size=size)
    with torch.no_grad():
        given["offsets"].mul_(far).round_()
    ours = values_and_slopes(deform_conv2d, given, *rest)
    assert_same(ours, values_and_slopes(torchvision_s, given, *rest))


def test_slopes_are_those_of_small_differences():
    given = list(case((3, 3), (2, 2), (1, 1), (1, 1), size=(4, 5)).values())

    def operator(x, offsets, weight, bias, modulation):
        return deform_conv2d(x, offsets, weight, bias, 2, 1, 1, modulation)

    assert torch.autograd.gradcheck(operator, given)


@every_geometry
def test_without_offsets_it_is_an_ordinary_convolution(geometry):
    kernel, *rest = geometry
    given = case(kernel, *rest)
    still = torch.zeros_like(given["offsets"])
    y = deform_conv2d(given["x"], still, given["weight"], given["bias"], *rest)
    plain = F.conv2d(given["x"], given["weight"], given["bias"], *rest)
    torch.testing.assert_close(y, plain, rtol=1e-12, atol=1e-12)


def test_whole_offsets_are_shifted_reads():
    x, weight = draw(1, 2, 9, 9), draw(3, 2, 1, 1)
    offsets = torch.zeros(1, 2, 9, 9).double()
    offsets[:, 0], offsets[:, 1] = 2, -3
    shifted = torch.zeros_like(x)
    shifted[..., :7, 3:] = x[..., 2:, :6]
    y = deform_conv2d(x, offsets, weight)
    torch.testing.assert_close(y, F.conv2d(shifted, weight))


@pytest.mark.parametrize("far", [1e6, 1e30, float("inf"), -1e6, -float("inf")])
def test_nothing_is_read_however_far_outside(far: float):
    given = {
        name: value.detach() for name, value in case((3, 3), *[(1, 1)] * 3).items()
    }
    offsets = torch.zeros_like(given["offsets"], dtype=torch.float32)
    offsets[:, 1::2] = far  # along one axis only
    offsets.requires_grad_()
    x, weight, bias = (given[name].float() for name in ("x", "weight", "bias"))
    y = deform_conv2d(x, offsets, weight, bias, padding=1)
    assert torch.equal(y, bias[:, None, None].expand_as(y))
    y.sum().backward()
    assert (offsets.grad == 0).all()


@pytest.mark.parametrize("size", [(7, 100), (97, 33)])
def test_a_whole_position_reads_one_pixel_and_nothing_beside_it(size):
    """In float32 and at sides that are no powers of two, whose inverse is not exact."""
    ones = torch.ones(1, 1, *size)
    positions = tap_positions(ones, (1, 1), (1, 1), (0, 0), (1, 1))[None]
    for steps in ((0, 0), (1, 1)):  # every pixel of a chequered board
        board = torch.arange(size[0])[:, None] + torch.arange(size[1]) + steps[0]
        values = torch.where(board % 2 == 0, ones, 1e30)
        assert torch.equal(read(values, positions)[:, :, 0], values)


def test_half_precision_finds_places_far_from_the_corner():
    x = torch.rand(1, 1, 2, 600).bfloat16()
    offsets = torch.zeros(1, 2, 2, 600).bfloat16()
    ones = torch.ones(1, 1, 1, 1).bfloat16()
    assert torch.equal(deform_conv2d(x, offsets, ones), x)


X, OFFSETS, WEIGHT = draw(2, 3, 6, 7), draw(2, 18, 6, 7), draw(4, 3, 3, 3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": X[0]}, r"x \(3, 6, 7\) must be \(N, C, H, W\)"),
        ({"x": X[:, :2]}, "with the same C"),
        ({"weight": WEIGHT[0]}, r"weight \(3, 3, 3\)"),
        ({"offsets": OFFSETS[:, :9]}, r"offsets .*expected \(2, 18, 6, 7\).*of 9 taps"),
        ({"offsets": OFFSETS[..., :5]}, r"offsets .*expected \(2, 18, 6, 7\)"),
        ({"offsets": OFFSETS[:1]}, r"offsets .*expected \(2, 18, 6, 7\)"),
        ({"modulation": OFFSETS}, r"modulation .*expected \(2, 9, 6, 7\)"),
        ({"dilation": (1, 5)}, "11 pixels does not fit a side of 7 with padding 1"),
    ],
)
def test_what_does_not_belong_together_is_named(changed, words: str):
    given = {"x": X, "offsets": OFFSETS, "weight": WEIGHT, "padding": 1, **changed}
    with pytest.raises(ContractError, match=words):
        deform_conv2d(**given)
