"""What the U-Net keeps whatever convolution it hosts: the hole stays unread.

A new convolution is one line in ``CONVOLUTIONS``; its own facts are tested elsewhere.
"""

import pickle
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor
from unets import pair, small

from course_lib.layers import (
    DeformableSampling2d,
    GatedConv2d,
    PartialConv2d,
    PlainConv2d,
    promises,
)

CONVOLUTIONS = [
    PlainConv2d,
    PartialConv2d,
    GatedConv2d,
    DeformableSampling2d,
]
every_unet = pytest.mark.parametrize("conv", CONVOLUTIONS)
both_modes = pytest.mark.parametrize("training", [True, False])


@every_unet
def test_a_picture_of_any_shape_comes_out_in_range(conv: type):
    image, hole = pair()
    made = small(conv=conv)(image, hole)
    assert made.shape == image.shape
    assert 0 < made.min() < made.max() < 1


@every_unet
@both_modes
@pytest.mark.parametrize("sees_hole", [True, False])
def test_what_lies_under_the_hole_changes_nothing(
    conv: type, training: bool, sees_hole: bool
):
    image, hole = pair()
    network = small(conv=conv, sees_hole=sees_hole).train(training)
    made = network(image, hole)
    for hidden in (torch.rand_like(image), torch.tensor(float("nan")), 9.0):
        assert torch.equal(network(torch.where(hole == 1, hidden, image), hole), made)
    brighter = torch.where(hole == 0, 1 - image, image)
    assert not torch.equal(network(brighter, hole), made)
    network.fill = 0.1  # who reads validity reads no fill
    reads = promises(conv, "reads_validity")
    assert torch.equal(network(image, hole), made) == reads


@every_unet
@both_modes
def test_no_gradient_reaches_a_hidden_pixel(conv: type, training: bool):
    network, (image, hole) = small(conv=conv).train(training), pair()
    poisoned = torch.where(hole == 1, float("nan"), image).requires_grad_()
    network(poisoned, hole).sum().backward()
    assert (poisoned.grad[hole.expand_as(image) == 1] == 0).all()
    assert (poisoned.grad[hole.expand_as(image) == 0] != 0).any()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert all((p.grad != 0).any() for p in network.parameters())


@every_unet
@both_modes
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_a_full_hole_give_finite_pictures(
    conv: type, training: bool, value: float
):
    network, (image, hole) = small(conv=conv).train(training), pair()
    poisoned = image if value == 0 else torch.full_like(image, float("nan"))
    made = network(poisoned, torch.full_like(hole, value))
    made.sum().backward()
    assert made.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_unet
def test_each_sample_has_its_own_hole(conv: type):
    network, (image, hole) = small(conv=conv), pair(3)
    made = network(image, hole)
    for k in range(3):
        alone = network(image[k : k + 1], hole[k : k + 1])
        torch.testing.assert_close(made[k : k + 1], alone, rtol=1e-5, atol=1e-6)
    other = hole.clone()
    other[1] = 1 - other[1]
    changed = network(image, other)
    assert torch.equal(changed[[0, 2]], made[[0, 2]])
    assert not torch.equal(changed[1], made[1])


@every_unet
def test_the_hole_is_a_channel_unless_the_convolution_reads_it(conv: type):
    told = not promises(conv, "reads_validity")
    for asked, expected in ((None, told), (True, True), (False, False)):
        network = small(conv=conv, sees_hole=asked)
        assert network.sees_hole is expected
        assert network.encoder[0].conv.weight.shape[1] == 3 + expected


@every_unet
def test_a_hole_of_another_precision_is_taken(conv: type):
    network, (image, hole) = small(conv=conv), pair()
    assert torch.equal(network(image, hole.double()), network(image, hole))


@every_unet
def test_it_runs_in_half_precision(conv: type):
    network, (image, hole) = small(conv=conv).train(), pair()
    expected = network(image, hole)
    with torch.autocast("cpu", torch.bfloat16):
        made = network(image, hole)
    made.float().sum().backward()
    torch.testing.assert_close(made.float(), expected, rtol=0.05, atol=0.03)
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_unet
@pytest.mark.parametrize("copy", [deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_does_the_same_and_calls_leave_nothing_behind(conv: type, copy):
    network, (image, hole) = small(conv=conv), pair()
    made: Tensor = network(image, hole)
    network(*pair(1, 8, 8))
    assert torch.equal(copy(network)(image, hole), made)


@every_unet
def test_options_filled_in_beforehand_change_nothing_else(conv: type):
    """``functools.partial`` hides whether a layer activates or reads validity."""
    image, hole = pair()
    filled = small(conv=partial(conv, dilation=1))
    assert torch.equal(filled(image, hole), small(conv=conv)(image, hole))
