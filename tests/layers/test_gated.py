"""Gated convolution: the naive loops agree, and the gate is the second half."""

import math
from copy import deepcopy
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import draw, made, scattered
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers import GatedConv2d, GatedConv3d, GatedUpConv2d, PlainConv2d

Layer = GatedConv2d | GatedConv3d


def halves(layer: Layer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weight and bias of the feature, weight and bias of the gate."""
    out = len(layer.weight) // 2
    weight, bias = layer.weight.detach(), layer.bias.detach()
    return weight[:out], bias[:out], weight[out:], bias[out:]


def naive(layer: Layer, x: np.ndarray, push: np.ndarray) -> list[np.ndarray]:
    """Pixel by pixel, channel by channel, tap by tap; any number of axes.

    Returns y, and the gradients of ``(y * push).sum()`` by x, weight and bias.
    """
    weight, out = layer.weight.detach().numpy(), push.shape[1]
    no_bias = np.zeros(2 * out)
    bias = no_bias if layer.bias is None else layer.bias.detach().numpy()
    settings = layer.stride, layer.padding, layer.dilation, x.shape[2:]
    axes = list(zip(*settings, strict=True))
    y, by_x, by_weight, by_bias = map(np.zeros_like, (push, x, weight, bias))
    for n, o, *place in product(*map(range, push.shape)):
        seen = []
        for c, *tap in product(*map(range, weight.shape[1:])):
            spot = [
                p * step - pad + t * gap
                for p, t, (step, pad, gap, _) in zip(place, tap, axes, strict=True)
            ]
            if all(0 <= s < side for s, (*_, side) in zip(spot, axes, strict=True)):
                seen.append(((n, c, *spot), (c, *tap)))
        feature, score = (
            bias[half] + sum(weight[half, *tap] * x[at] for at, tap in seen)
            for half in (o, out + o)
        )
        gate = 1 / (1 + math.exp(-score))
        value, slope = (
            (feature, 1) if feature > 0 else (math.exp(feature) - 1, math.exp(feature))
        )
        y[n, o, *place] = value * gate
        pushed = push[n, o, *place]
        for half, by in (
            (o, pushed * slope * gate),
            (out + o, pushed * value * gate * (1 - gate)),
        ):
            by_bias[half] += by
            for at, tap in seen:
                by_weight[half, *tap] += by * x[at]
                by_x[at] += by * weight[half, *tap]
    return [y, by_x, by_weight, by_bias]


def agree(layer: Layer, x: Tensor) -> None:
    """Values and gradients of the layer are those of the loops."""
    x = x.requires_grad_()
    y, _ = layer(x, torch.ones_like(x[:, :1]))
    push = draw(*y.shape, seed=9)
    leaves = [x, *layer.parameters()]
    found = [y, *torch.autograd.grad((y * push).sum(), leaves)]
    expected = naive(layer, x.detach().numpy(), push.numpy())[: len(found)]
    for ours, theirs in zip(found, expected, strict=True):
        theirs = torch.from_numpy(theirs)
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "bias"),
    [
        (3, 1, 1, 1, True),
        (3, 1, 0, 1, False),
        (5, 1, 2, 1, True),
        (3, 2, 1, 1, True),
        (5, 2, 2, 1, False),
        (3, 1, 2, 2, True),
        (3, 2, 4, 4, True),
        ((1, 4), (2, 3), (0, 5), (1, 2), True),
        (1, 1, 0, 1, True),
    ],
)
def test_it_is_the_naive_loop(kernel, stride, padding, dilation, bias):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias}
    agree(made(GatedConv2d, 3, 2, kernel, **options), draw(2, 3, 7, 8))


def test_it_is_the_naive_loop_in_three_dimensions():
    layer = made(GatedConv3d, 2, 2, (3, 1, 3), (1, 2, 2), (1, 0, 2), (1, 1, 2))
    agree(layer, draw(1, 2, 3, 4, 7))
    agree(made(GatedConv3d, 2, 1, 3, 2, 1, bias=False), draw(2, 2, 3, 4, 5))


@pytest.mark.parametrize("gap", [1, 2])
def test_one_picture_in_time_is_a_picture(gap: int):
    flat = made(GatedConv2d, 3, 4, 3, 2, gap, gap)
    deep = made(GatedConv3d, 3, 4, (1, 3, 3), (1, 2, 2), (0, gap, gap), gap, seed=7)
    states = flat.state_dict()
    states["weight"] = states["weight"].unsqueeze(2)
    deep.load_state_dict(states)
    x, valid = draw(2, 3, 9, 10), scattered(2, 1, 9, 10)
    y, known = flat(x, valid)
    deep_y, deep_known = deep(x.unsqueeze(2), valid.unsqueeze(2))
    torch.testing.assert_close(deep_y.squeeze(2), y, rtol=1e-12, atol=1e-12)
    assert torch.equal(deep_known.squeeze(2), known)


@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.Identity(), nn.PReLU(4)])
def test_it_is_two_convolutions_side_by_side(activation: nn.Module | None):
    options = {"stride": 2, "padding": 4, "dilation": 2}
    layer = made(GatedConv2d, 3, 4, 5, activation=activation, **options)
    feature, gate = nn.Conv2d(3, 4, 5, **options), nn.Conv2d(3, 4, 5, **options)
    numbers = halves(layer)
    for conv, weight, bias in ((feature, *numbers[:2]), (gate, *numbers[2:])):
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    x = draw(2, 3, 11, 14).requires_grad_()
    phi = F.elu if activation is None else activation
    y, _ = layer(x, torch.ones(2, 1, 11, 14))
    expected = phi(feature(x)) * torch.sigmoid(gate(x))
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    push = draw(*y.shape, seed=3)
    ours = torch.autograd.grad((y * push).sum(), [x, layer.weight, layer.bias])
    theirs = torch.autograd.grad(
        (expected * push).sum(),
        [x, feature.weight, gate.weight, feature.bias, gate.bias],
    )
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-10, atol=1e-10)
    for ours_by, (by_feature, by_gate) in (
        (ours[1], theirs[1:3]),
        (ours[2], theirs[3:]),
    ):
        both = torch.cat([by_feature, by_gate])
        torch.testing.assert_close(ours_by, both, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("score", "share"), [(30.0, 1.0), (0.0, 0.5), (-800.0, 0.0)])
def test_a_gate_that_ignores_the_window_is_a_factor(score: float, share: float):
    layer = made(GatedConv2d, 3, 4, 3, padding=1)
    weight, bias, gate_weight, gate_bias = halves(layer)
    nn.init.zeros_(gate_weight)
    nn.init.constant_(gate_bias, score)
    x = draw(2, 3, 8, 9)
    y, _ = layer(x, torch.ones(2, 1, 8, 9))
    plain = F.elu(F.conv2d(x, weight, bias, padding=1))
    torch.testing.assert_close(y, share * plain, rtol=1e-12, atol=1e-13)


def test_the_feature_comes_first():
    layer, x, valid = (
        made(GatedConv2d, 3, 4, 3),
        draw(1, 3, 8, 9),
        torch.ones(1, 1, 8, 9),
    )
    weight, bias, gate_weight, gate_bias = halves(layer)
    gate = torch.sigmoid(F.conv2d(x, gate_weight, gate_bias))
    expected = F.elu(F.conv2d(x, weight, bias)) * gate
    torch.testing.assert_close(layer(x, valid)[0], expected)
    swapped = deepcopy(layer)
    with torch.no_grad():
        swapped.weight.copy_(layer.weight.roll(4, 0))
        swapped.bias.copy_(layer.bias.roll(4, 0))
    assert (swapped(x, valid)[0] - expected).abs().max() > 0.1


def test_nothing_in_and_no_bias_is_nothing_out():
    for layer in (
        made(GatedConv2d, 3, 4, 3, padding=1, bias=False),
        made(GatedConv2d, 3, 4, 3, padding=1),
    ):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        y, _ = layer(torch.zeros(1, 3, 6, 7).double(), torch.ones(1, 1, 6, 7))
        assert (y == 0).all()


def test_what_comes_out_is_above_minus_one():
    layer = made(GatedConv2d, 3, 16, 3, padding=1)
    y, _ = layer(5 * draw(4, 3, 16, 16), torch.ones(4, 1, 16, 16))
    assert -1 < y.min() < -0.9
    assert y.max() > 10


@pytest.mark.parametrize(
    ("settings", "size", "expected"),
    [
        ((3, 1, 1), (8, 9), (8, 9)),
        ((3, 2, 1), (8, 10), (4, 5)),
        ((3, 2, 1), (9, 11), (5, 6)),
        ((5, 2, 2), (7, 8), (4, 4)),
        ((3, 1, 16, 16), (8, 9), (8, 9)),
        ((5, 1, 0), (7, 8), (3, 4)),
    ],
)
def test_the_size_that_comes_out(settings, size, expected):
    layer = made(GatedConv2d, 3, 4, *settings)
    y, known = layer(draw(2, 3, *size), scattered(2, 1, *size))
    assert y.shape == (2, 4, *expected)
    assert known.shape == (2, 1, *expected)
    assert layer.out_channels == 4
    assert layer.weight.shape[0] == 8


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(16, 24), (9, 15)])
def test_validity_is_carried_as_the_plain_layer_does(channels, stride, size):
    layer = made(GatedConv2d, 3, 4, 5, stride, 2)
    plain = made(PlainConv2d, 3, 4, 5, stride, 2)
    x, valid = draw(2, 3, *size), scattered(2, channels, *size)
    y, known = layer(x, valid)
    assert torch.equal(known, plain(x, valid)[1])
    assert torch.equal(y, layer(x, 1 - valid)[0])  # no value is changed by it
    if size == (16, 24):
        either = valid.amax(1, keepdim=True)
        assert torch.equal(known, either[..., ::stride, ::stride])


def test_up_is_nearest_neighbour_and_a_gated_convolution():
    up, gated = (
        made(kind, 3, 4, 3, padding=1) for kind in (GatedUpConv2d, GatedConv2d)
    )
    x, valid = draw(2, 3, 5, 6), scattered(2, 1, 5, 6)
    large, large_valid = (
        t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (x, valid)
    )
    y, known = up(x, valid)
    expected, carried = gated(large, large_valid)
    assert y.shape == (2, 4, 10, 12)
    assert torch.equal(y, expected)
    assert torch.equal(known, carried)
    assert torch.equal(known, large_valid)
    parts = up((x[:, :2], x[:, 2:]), (valid, valid * 0))
    assert torch.equal(parts[0], y)
    assert torch.equal(parts[1], known)


@pytest.mark.parametrize("kind", [GatedConv2d, GatedUpConv2d])
def test_evidence_is_the_gate(kind: type):
    layer = made(kind, 3, 4, 3, 2, 1)
    x, valid = draw(2, 3, 8, 9), torch.ones(2, 1, 8, 9)
    with record(layer) as evidence:
        y, _ = layer(x.requires_grad_(), valid)
    assert set(evidence[""]) == {"gate"}
    gate = evidence[""]["gate"]
    assert gate.shape == y.shape
    assert not gate.requires_grad
    assert 0 < gate.min() < 0.4
    assert 0.6 < gate.max() < 1
    _, _, weight, bias = halves(layer)
    large = F.interpolate(x, scale_factor=2.0) if kind is GatedUpConv2d else x
    expected = torch.sigmoid(F.conv2d(large, weight, bias, 2, 1))
    torch.testing.assert_close(gate, expected.detach())


def test_evidence_in_time_is_the_gate():
    layer = made(GatedConv3d, 2, 3, 3, padding=1)
    with record(layer) as evidence:
        y, _ = layer(draw(1, 2, 3, 4, 5), torch.ones(1, 1, 3, 4, 5))
    assert evidence[""]["gate"].shape == y.shape


@pytest.mark.parametrize("kind", [GatedConv2d, GatedConv3d, GatedUpConv2d])
def test_the_names_of_its_parameters(kind: type):
    assert list(kind(3, 4, 3).state_dict()) == ["weight", "bias"]
    assert list(kind(3, 4, 3, bias=False).state_dict()) == ["weight"]
    prelu = kind(3, 4, 3, activation=nn.PReLU())
    assert list(prelu.state_dict()) == ["weight", "bias", "activation.weight"]
    assert kind.activates


def test_two_layers_do_not_share_an_activation():
    assert GatedConv2d(3, 4, 3).activation is not GatedConv2d(3, 4, 3).activation


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [GatedConv2d, GatedConv3d, GatedUpConv2d])
def test_large_numbers_stay_finite_in_half_precision(dtype: torch.dtype, kind: type):
    size = (3, 5, 6) if kind is GatedConv3d else (5, 6)
    layer, x = made(kind, 3, 4, 3, padding=1).to(dtype), draw(2, 3, *size)
    huge = (5000 * x.clamp(-1, 1)).to(dtype).requires_grad_()  # float16 ends at 65504
    y, _ = layer(huge, torch.ones_like(huge[:, :1]))
    y.float().mean().backward()
    assert y.abs().max() > 100
    for found in (y, huge.grad, layer.weight.grad, layer.bias.grad):
        assert found.isfinite().all()
