"""Partial convolution: the naive loops agree, and nothing hidden is ever read."""

from copy import deepcopy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from samples import draw, made, scattered
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers import PartialConv2d, PartialConv3d
from course_lib.tensors import ContractError

Layer = PartialConv2d | PartialConv3d


def naive(layer: Layer, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 1 and 2 as they stand, window by window; any number of axes."""
    sides = [side for side in reversed(layer.padding) for _ in range(2)]
    x, valid = F.pad(x, sides), F.pad(valid.expand_as(x), sides)
    axes = list(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True))
    size = [
        (side - gap * (k - 1) - 1) // step + 1
        for side, (k, step, gap) in zip(x.shape[2:], axes, strict=True)
    ]
    outputs, known = [], []
    for n, *place in product(range(len(x)), *map(range, size)):
        y = x.new_zeros(layer.out_channels)
        window = [
            slice(p * step, p * step + gap * (k - 1) + 1, gap)
            for p, (k, step, gap) in zip(place, axes, strict=True)
        ]
        seen = valid[n][:, *window] == 1
        if seen.any():
            weights, values = layer.weight[:, seen], x[n][:, *window][seen]
            y = weights @ values * seen.numel() / seen.sum()
            y = y if layer.bias is None else y + layer.bias
        outputs.append(y)
        known.append(float(seen.any()))
    y = torch.stack(outputs).view(len(x), *size, -1).movedim(-1, 1)
    return y, torch.tensor(known, dtype=x.dtype).view(len(x), 1, *size)


def agree(layer: Layer, x: Tensor, valid: Tensor, given: tuple | None = None) -> None:
    """Values, validity and gradients of the layer are those of the loops."""
    x = x.requires_grad_()
    found = []
    for fast in (True, False):
        inputs = given if fast and given else (x, valid)
        y, known = layer(*inputs) if fast else naive(layer, *inputs[:2])
        leaves = [*layer.parameters(), x]
        weights = draw(*y.shape, seed=9)
        found.append([y, known, *torch.autograd.grad((y * weights).sum(), leaves)])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 3], ids=["shared", "per_channel"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "bias"),
    [
        (3, 1, 1, 1, True),
        (7, 2, 3, 1, False),
        (5, 2, 2, 1, True),
        (3, 2, 0, 2, True),
        (3, 1, 2, 2, False),
        ((1, 4), (2, 3), (0, 5), (1, 2), True),
        (2, 2, 3, 1, True),  # whole windows of padding
    ],
)
def test_it_is_the_naive_loop(kernel, stride, padding, dilation, bias, channels):
    layer = made(PartialConv2d, 3, 4, kernel, stride, padding, dilation, bias)
    agree(layer, draw(2, 3, 11, 14), scattered(2, channels, 11, 14))


def test_it_is_the_naive_loop_in_three_dimensions():
    layer = made(PartialConv3d, 2, 3, (3, 5, 3), (1, 2, 2), (1, 2, 1), (2, 1, 1))
    agree(layer, draw(2, 2, 5, 10, 9), scattered(2, 1, 5, 10, 9))
    agree(layer, draw(2, 2, 5, 10, 9), scattered(2, 2, 5, 10, 9))


def test_parts_count_by_their_channels():
    layer = made(PartialConv2d, 7, 4, 3, padding=1)
    x = draw(2, 7, 9, 10).requires_grad_()
    below, skip = scattered(2, 1, 9, 10), scattered(2, 1, 9, 10, seed=5)
    every = torch.cat([below.expand(-1, 5, -1, -1), skip.expand(-1, 2, -1, -1)], 1)
    agree(layer, x, every, ((x[:, :5], x[:, 5:]), (below, skip)))
    agree(layer, x, every, ((x[:, :5], x[:, 5:]), (below, every[:, 5:])))


def test_the_two_part_identity():
    """sum(M) = C_below * S(K) + C_skip * S(M), S the sum over one channel's window."""
    layer = made(PartialConv2d, 7, 1, 3, padding=1)
    below, skip = scattered(2, 1, 9, 10), scattered(2, 1, 9, 10, seed=5)
    ones = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    sums = [F.conv2d(part, ones, padding=1) for part in (below, skip)]
    with record(layer) as evidence:
        layer((draw(2, 5, 9, 10), draw(2, 2, 9, 10)), (below, skip))
    expected = (5 * sums[0] + 2 * sums[1]) / (7 * 9)
    torch.testing.assert_close(evidence[""]["window"], expected)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2), (7, 2), (3, 2)])
def test_validity_is_a_max_pool_and_never_shrinks(kernel: int, stride: int):
    valid = scattered(2, 1, 17, 20, share=0.05)
    layer = made(PartialConv2d, 3, 2, kernel, stride, kernel // 2)
    _, known = layer(draw(2, 3, 17, 20), valid)
    assert torch.equal(known, F.max_pool2d(valid, kernel, stride, kernel // 2))
    assert 0 < known.mean() < 1
    assert (known >= valid[..., ::stride, ::stride]).all()


def test_empty_windows_are_exactly_zero_whatever_the_bias():
    layer = made(PartialConv2d, 3, 4, 3, padding=1)
    nn.init.constant_(layer.bias, 5)
    valid = scattered(2, 1, 16, 16)
    y, known = layer(draw(2, 3, 16, 16), valid)
    empty = known.expand_as(y) == 0
    assert empty.any()
    assert (y[empty] == 0).all()
    assert (y[~empty] != 0).all()
    y, known = layer(draw(2, 3, 16, 16), valid * 0)
    assert (y == 0).all()
    assert (known == 0).all()


def test_without_hole_and_padding_it_is_the_ordinary_convolution():
    layer, x = made(PartialConv2d, 3, 4, 3, dilation=2), draw(2, 3, 9, 12)
    y, known = layer(x, torch.ones(2, 1, 9, 12))
    expected = F.conv2d(x, layer.weight, layer.bias, dilation=2)
    torch.testing.assert_close(y, expected)
    assert (known == 1).all()


def test_padding_counts_as_unknown():
    layer = made(PartialConv2d, 1, 1, 3, padding=1)
    with record(layer) as evidence:
        layer(draw(1, 1, 4, 5), torch.ones(1, 1, 4, 5))
    ratio = 1 / evidence[""]["window"][0, 0]
    edge, corner = 1.5, 2.25
    expected = torch.full((4, 5), edge, dtype=torch.float64)
    expected[1:-1, 1:-1] = 1
    expected[::3, ::4] = corner
    torch.testing.assert_close(ratio, expected)


def test_a_constant_picture_stays_constant_layer_after_layer():
    x = torch.full((1, 1, 32, 32), 0.5, dtype=torch.float64)
    valid = scattered(1, 1, 32, 32, share=0.3)
    for kernel, stride in [(7, 2), (5, 2), (3, 1), (3, 2)]:
        layer = made(PartialConv2d, 1, 1, kernel, stride, kernel // 2, bias=False)
        nn.init.constant_(layer.weight, 1 / kernel**2)
        x, valid = layer(x, valid)
        torch.testing.assert_close(x, 0.5 * valid)


def test_it_is_homogeneous_up_to_the_bias():
    layer, valid = made(PartialConv2d, 3, 4, 3, padding=1), scattered(2, 1, 9, 12)
    x, bias = draw(2, 3, 9, 12), layer.bias.view(-1, 1, 1)
    (once, known), (thrice, _) = layer(x, valid), layer(3 * x, valid)
    torch.testing.assert_close((thrice - bias) * known, 3 * (once - bias) * known)


def test_evidence_tells_the_known_share_and_the_validity():
    layer, valid = made(PartialConv2d, 3, 4, 5, 2, 2), scattered(2, 1, 16, 20)
    with record(layer) as evidence:
        _, known = layer(draw(2, 3, 16, 20), valid)
    assert set(evidence[""]) == {"window", "valid"}
    assert torch.equal(evidence[""]["valid"], known)
    expected = F.avg_pool2d(valid, 5, 2, 2)
    torch.testing.assert_close(evidence[""]["window"], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_counts_in_single(dtype: torch.dtype):
    """2304 values in a window: half types cannot tell such a number from the next."""
    layer = made(PartialConv2d, 256, 4, 3, padding=1).float()
    x, valid = draw(2, 256, 9, 9).float(), scattered(2, 256, 9, 9, share=0.95).float()
    with record(layer) as evidence:
        expected, known = layer(x, valid)
    halved = deepcopy(layer).to(dtype)
    with record(halved) as half_evidence:
        y, half_known = halved(x.to(dtype), valid.to(dtype))
    assert y.dtype == half_known.dtype == dtype
    assert torch.equal(half_evidence[""]["window"], evidence[""]["window"])
    assert torch.equal(half_known.float(), known)
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)
    with torch.autocast("cpu", dtype), record(layer) as cast_evidence:
        y, cast_known = layer(x, valid)
    assert y.dtype == dtype
    assert torch.equal(cast_evidence[""]["window"], evidence[""]["window"])
    assert torch.equal(cast_known, known)
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)


def test_grey_validity_is_refused_where_speed_does_not_count():
    layer, x = made(PartialConv2d, 3, 4, 3), draw(2, 3, 9, 9)
    grey = scattered(2, 1, 9, 9)
    grey[1, 0, 4, 4] = 0.5
    layer.train()(x, grey)
    with pytest.raises(ContractError, match=r"only 0 and 1: .*nearest"):
        layer.eval()(x, grey)
    with pytest.raises(ContractError, match="only 0 and 1"):
        layer((x[:, :1], x[:, 1:]), (grey.round(), grey))
    layer(x, grey.round())
