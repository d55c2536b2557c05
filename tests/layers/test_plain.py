"""The plain layer: torch's convolution, with validity carried along."""

import pytest
import torch
from torch import nn

from course_lib.layers import PlainConv2d


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 2), (5, 2), (3, 2)])
def test_it_is_torchs_convolution_in_values_and_gradients(kernel: int, stride: int):
    draw = torch.Generator().manual_seed(0)
    ours = PlainConv2d(3, 4, kernel, stride, kernel // 2).double()
    theirs = nn.Conv2d(3, 4, kernel, stride, kernel // 2).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 8, 12, generator=draw, dtype=torch.float64)
    valid = torch.ones(2, 1, 8, 12, dtype=torch.float64)
    y, _ = ours(x, valid)
    expected = theirs(x)
    assert torch.equal(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_validity_is_every_stride_th_value(stride: int):
    draw = torch.Generator().manual_seed(0)
    valid = (torch.rand(2, 1, 16, 24, generator=draw) < 0.5).float()
    layer = PlainConv2d(3, 4, 5, stride, 2)
    y, carried = layer(torch.rand(2, 3, 16, 24), valid)
    assert carried.shape == (2, 1, *y.shape[-2:])
    assert torch.equal(carried, valid[..., ::stride, ::stride])
