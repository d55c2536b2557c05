"""What every layer keeps: ``forward(x, valid) -> (y, valid)``, whole or in parts.

A new layer is one line in ``LAYERS``; what only it does is tested in its own file.
"""

import pickle
from copy import deepcopy

import pytest
import torch
from samples import draw, made, scattered
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers import (
    DeformableSampling2d,
    GatedConv2d,
    GatedConv3d,
    GatedUpConv2d,
    PartialConv2d,
    PartialConv3d,
    PlainConv2d,
    ReachSelection2d,
    promises,
)
from course_lib.tensors import ContractError


class TwoReaches(ReachSelection2d):
    """Built as the others are; it has one stride and padding of its own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *_, **__) -> None:
        super().__init__(inputs, outputs, (kernel, kernel + 2))


class ThreeKernels(DeformableSampling2d):
    """Mixes three kernels at each place."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options, kernels=3)


# Each with the size that it is tested at: two axes, or three for pictures in time
LAYERS = {
    PlainConv2d: (9, 12),
    PartialConv2d: (9, 12),
    PartialConv3d: (3, 9, 12),
    GatedConv2d: (9, 12),
    GatedConv3d: (3, 9, 12),
    GatedUpConv2d: (9, 12),
    DeformableSampling2d: (9, 12),
    ThreeKernels: (9, 12),
    TwoReaches: (9, 12),
}
SHARING = [DeformableSampling2d, ThreeKernels]  # tell a share, not 0 or 1
READING = [kind for kind in LAYERS if promises(kind, "reads_validity")]
FLAT = [kind for kind, size in LAYERS.items() if len(size) == 2]
DEEP = [kind for kind, size in LAYERS.items() if len(size) == 3]
every_layer = pytest.mark.parametrize("kind", LAYERS)


def fed(kind: type, channels: int = 3, known: int = 1) -> tuple[Tensor, Tensor]:
    """Features and validity; two samples, neither all known nor all unknown."""
    size = LAYERS[kind]
    return draw(2, channels, *size), scattered(2, known, *size)


@every_layer
@pytest.mark.parametrize("known", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_validity_comes_out_beside_the_values(kind: type, known: int, stride: int):
    x, valid = fed(kind, known=known)
    y, after = made(kind, 3, 4, 3, stride, 1)(x, valid)
    assert y.shape[:2] == (2, 4)
    assert after.shape == (2, 1, *y.shape[2:])
    assert after.dtype == valid.dtype
    assert y.dtype == x.dtype
    if kind in SHARING:
        assert 0 <= after.min() <= after.max() <= 1
    else:
        assert set(after.unique().tolist()) == {0, 1}


@every_layer
@pytest.mark.parametrize("below_known", [1, 5])
@pytest.mark.parametrize("skip_known", [1, 2])
def test_parts_are_their_concatenation(kind: type, below_known: int, skip_known: int):
    layer, (x, below) = made(kind, 7, 4, 3, 2, 1), fed(kind, 7, below_known)
    skip = scattered(2, skip_known, *LAYERS[kind], seed=5)
    parts = x[:, :5], x[:, 5:]
    every = [v.expand_as(part) for part, v in zip(parts, (below, skip), strict=True)]
    expected, after = layer(x, torch.cat(every, 1))
    y, known = layer(parts, (below, skip))
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(known, after)
    if kind not in READING:  # what either knows is known
        either = [v.amax(1, keepdim=True) for v in (below, skip)]
        expected, after = layer(x, torch.maximum(*either))
        assert torch.equal(y, expected)
        assert torch.equal(known, after)


@every_layer
def test_one_channel_of_validity_is_the_same_for_every_channel(kind: type):
    layer, (x, valid) = made(kind, 3, 4, 5, 2, 2), fed(kind)
    one, many = layer(x, valid), layer(x, valid.expand_as(x))
    torch.testing.assert_close(one[0], many[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(one[1], many[1])


@every_layer
@pytest.mark.parametrize("known", [1, 3])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -3.0])
def test_what_is_hidden_is_read_by_all_or_by_nobody(kind: type, known: int, value):
    """A layer that reads validity: no value, and no gradient, of a hidden pixel."""
    layer, (x, valid) = made(kind, 3, 4, 3, padding=1), fed(kind, known=known)
    if kind not in READING:  # for the others validity is but carried
        assert torch.equal(layer(x, valid)[0], layer(x, 1 - valid)[0])
        return
    found = []
    for hidden in (value, 0.0):
        layer.zero_grad()
        inputs = torch.where(valid == 1, x, hidden).requires_grad_()
        y, _ = layer(inputs, valid)
        y.square().sum().backward()
        assert (inputs.grad[valid.expand_as(x) == 0] == 0).all()
        assert (inputs.grad[valid.expand_as(x) == 1] != 0).any()
        gradients = [parameter.grad.clone() for parameter in layer.parameters()]
        found.append([y, inputs.grad, *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@every_layer
def test_no_gradient_reaches_validity(kind: type):
    layer, (x, valid) = made(kind, 3, 4, 3, padding=1), fed(kind)
    x.requires_grad_()
    valid.requires_grad_()
    y, known = layer(x, valid)
    y.square().sum().backward()
    assert valid.grad is None
    if kind in READING:
        assert not known.requires_grad
    else:
        assert (x.grad != 0).all()


@every_layer
def test_nothing_is_kept_between_calls(kind: type):
    layer, other = made(kind, 3, 4, 3, padding=1), made(kind, 3, 4, 3)
    x, valid = fed(kind)
    before, states = dict(vars(layer)), set(layer.state_dict())
    with record(other) as evidence:
        first = layer(x, valid)
    assert evidence == {}
    small = x[:1, ..., :5, :5]
    layer(small, torch.ones_like(small[:, :1]))
    layer(x, 1 - valid)
    again = layer(x, valid)
    assert torch.equal(again[0], first[0])
    assert torch.equal(again[1], first[1])
    assert vars(layer) == before
    assert set(layer.state_dict()) == states


@every_layer
@pytest.mark.parametrize("copy", [deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_does_the_same(kind: type, copy):
    layer, (x, valid) = made(kind, 3, 4, 3, padding=1), fed(kind)
    theirs, ours = copy(layer)(x, valid), layer(x, valid)
    assert torch.equal(theirs[0], ours[0])
    assert torch.equal(theirs[1], ours[1])


@every_layer
@pytest.mark.parametrize("kernel", [1, 3])  # a kernel of 1 may need no copy: no padding
def test_the_input_is_left_as_it_was(kind: type, kernel: int):
    x, valid = fed(kind)
    before = x.clone(), valid.clone()
    made(kind, 3, 4, kernel)(x, valid)
    assert torch.equal(x, before[0])
    assert torch.equal(valid, before[1])


@every_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_says_nearly_the_same(kind: type, dtype: torch.dtype):
    layer = made(kind, 3, 4, 3, padding=1).float()
    x, valid = (given.float() for given in fed(kind))
    expected, known = layer(x, valid)
    y, halved = deepcopy(layer).to(dtype)(x.to(dtype), valid.to(dtype))
    assert y.dtype == halved.dtype == dtype
    assert torch.equal(halved.float(), known)
    torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03)
    with torch.autocast("cpu", dtype):
        y, after = layer(x, valid)
    assert y.dtype == dtype
    assert after.dtype == valid.dtype
    assert torch.equal(after, known)
    torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03)


X, SKIP = torch.rand(2, 5, 6, 7), torch.rand(2, 3, 6, 7)
VALID, OTHER = (scattered(2, 1, 6, 7, seed=k).float() for k in (0, 1))


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize(
    ("x", "valid", "message"),
    [
        (X, (VALID,), r"both be tensors, or both be parts: .*\(x, skip\)"),
        ((X, SKIP), VALID, "both be tensors, or both be parts"),
        ((X, SKIP), (VALID,), "2 parts of features but 1 of validity"),
        ((X[:, :2], X[:, 2:]), (VALID,), "2 parts of features but 1 of validity"),
        ((), (), "0 parts of features but 0 of validity"),
        (X, VALID[:1], r"\(1, 1, 6, 7\) must have the same batch.*valid.expand"),
        (X, VALID[..., :1], "same batch and size"),
        (X, VALID[..., :3, :3], "same batch and size"),
        (X, VALID[:, 0], "must both have 4 axes"),
        (X[0], VALID[0], "must both have 4 axes"),
        (X, VALID.expand(-1, 2, -1, -1), r"5 feature channels.*layer\(\(x, skip\)"),
        (X, VALID.bool(), r"dtype torch.bool.*valid.float\(\)"),
        (X, VALID.long(), r"dtype torch.int64.*valid.float\(\)"),
        (X, VALID.to("meta"), "on cpu and validity on meta"),
        ((X, SKIP), (VALID, OTHER.bool()), "dtype torch.bool"),
    ],
)
def test_what_does_not_belong_together_is_named(kind: type, x, valid, message: str):
    with pytest.raises(ContractError, match=message):
        kind(5, 2, 3)(x, valid)


@pytest.mark.parametrize("kind", DEEP)
def test_a_picture_without_time_is_refused(kind: type):
    layer: nn.Module = kind(5, 2, 3)
    with pytest.raises(ContractError, match="must both have 5 axes"):
        layer(X, VALID)
    with pytest.raises(ContractError, match="same batch and size"):
        layer(X.unsqueeze(2).expand(-1, -1, 3, -1, -1), VALID.unsqueeze(2))
