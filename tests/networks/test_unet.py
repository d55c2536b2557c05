"""The U-Net: what it hides, what it refuses, how it hosts a convolution."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from course_lib.layers import GatedConv2d, PartialConv2d, Parts, PlainConv2d
from course_lib.networks import UNet
from course_lib.tensors import ContractError


def small(**options) -> UNet:
    torch.manual_seed(0)
    return UNet(channels=(4, 6, 8), kernels=(5, 3, 3), **options).eval()


def pair(count: int = 2, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.3).float()
    return image, hole


def test_a_picture_of_any_shape_comes_out_in_range():
    image, hole = pair()
    made = small()(image, hole)
    assert made.shape == image.shape
    assert 0 <= made.min() < made.max() <= 1


@pytest.mark.parametrize("sees_hole", [True, False])
def test_noise_and_nan_under_the_hole_change_nothing(sees_hole: bool):
    network, (image, hole) = small(sees_hole=sees_hole), pair()
    made = network(image, hole)
    for hidden in (
        torch.rand_like(image),
        torch.tensor(float("nan")),
        torch.tensor(9.0),
    ):
        assert torch.equal(network(torch.where(hole == 1, hidden, image), hole), made)
    brighter = torch.where(hole == 0, 1 - image, image)
    assert not torch.equal(network(brighter, hole), made)


def test_no_gradient_reaches_a_hidden_pixel():
    network, (image, hole) = small(), pair()
    poisoned = torch.where(hole == 1, float("nan"), image).requires_grad_()
    network(poisoned, hole).sum().backward()
    assert (poisoned.grad[hole.expand_as(image) == 1] == 0).all()
    assert (poisoned.grad[hole.expand_as(image) == 0] != 0).any()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert all((p.grad != 0).any() for p in network.parameters())


def test_each_sample_has_its_own_hole():
    network, (image, hole) = small(), pair(3)
    made = network(image, hole)
    for k in range(3):
        alone = network(image[k : k + 1], hole[k : k + 1])
        torch.testing.assert_close(made[k : k + 1], alone, rtol=1e-5, atol=1e-6)
    other = hole.clone()
    other[1] = 1 - other[1]
    assert torch.equal(network(image, other)[[0, 2]], made[[0, 2]])


def test_the_hole_is_a_fourth_channel_only_if_asked_for():
    assert small().encoder[0].conv.weight.shape[1] == 4
    assert small(sees_hole=False).encoder[0].conv.weight.shape[1] == 3
    image, hole = pair()
    grey = torch.full_like(image, 0.5)  # a known grey and a missing one look the same
    blind = small(sees_hole=False)
    assert torch.equal(blind(grey, hole), blind(grey, 1 - hole))
    assert not torch.equal(small()(grey, hole), small()(grey, 1 - hole))


def test_a_hole_of_another_precision_is_taken():
    network, (image, hole) = small(), pair()
    assert torch.equal(network(image, hole.double()), network(image, hole))


class Spy(PlainConv2d):
    """A convolution that keeps the validity it was given and returns zeros."""

    seen: Parts

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:
        self.seen = valid
        y, valid = super().forward(x, valid)
        return y, torch.zeros_like(valid)


def test_every_convolution_gets_validity_and_skips_carry_it_beside():
    network, (image, hole) = small(conv=Spy), pair()
    network(image, hole)
    assert torch.equal(network.encoder[0].conv.seen, 1 - hole)
    assert (network.encoder[1].conv.seen == 0).all()
    for stage in network.decoder:
        below, skip = stage.conv.seen
        assert below.shape == skip.shape
        assert (below == 0).all()
        assert (skip == 0).all()
    below, skip = network.last.seen
    assert (below == 0).all()
    assert torch.equal(skip, 1 - hole)  # the outermost skip


@pytest.mark.parametrize(
    "conv",
    [PlainConv2d, PartialConv2d, GatedConv2d],
)
def test_options_filled_in_beforehand_change_nothing_else(conv: type):
    """``functools.partial`` hides whether a layer activates or reads validity."""
    image, hole = pair()
    filled = small(conv=partial(conv, dilation=1))
    assert torch.equal(filled(image, hole), small(conv=conv)(image, hole))


@pytest.mark.parametrize("shape", [(12, 16), (16, 20)])
def test_a_side_that_cannot_be_halved_is_refused(shape: tuple[int, int]):
    image, hole = pair(1, *shape)
    with pytest.raises(ContractError) as caught:
        small()(image, hole)
    for part in (
        f"{shape[0]} x {shape[1]}",
        "3 times",
        "multiples of 8",
        "crop or pad",
    ):
        assert part in str(caught.value)


def test_a_pair_that_does_not_fit_is_refused():
    image, hole = pair()
    with pytest.raises(ContractError, match="same N, H and W"):
        small()(image, hole[:1])
    with pytest.raises(ValueError, match="3 channels but 2 kernels"):
        UNet(channels=(4, 4, 4), kernels=(3, 3))


def test_normalisation_is_everywhere_but_first_and_last():
    network = small()
    norms = [isinstance(s.norm, nn.BatchNorm2d) for s in network.encoder]
    assert norms == [False, True, True]
    assert all(isinstance(s.norm, nn.BatchNorm2d) for s in network.decoder)
    assert network.encoder[0].conv.bias is not None
    assert network.encoder[1].conv.bias is None
