"""The U-Net: what it hides, what it refuses, how it hosts a convolution."""

import pytest
import torch
from torch import Tensor, nn
from unets import pair, small

from course_lib.holes import nearest_fill
from course_lib.layers import (
    ContextualAttention,
    GatedConv2d,
    MaskAwareDynamicConv2d,
    PartialConv2d,
    Parts,
    PlainConv2d,
    PointwiseNorm,
    ReachSelection2d,
)
from course_lib.networks import UNet
from course_lib.tensors import ContractError


def test_a_known_grey_and_a_missing_one_are_told_apart_by_the_hole():
    image, hole = pair()
    grey = torch.full_like(image, 0.5)
    blind = small(sees_hole=False)
    assert torch.equal(blind(grey, hole), blind(grey, 1 - hole))
    assert not torch.equal(small()(grey, hole), small()(grey, 1 - hole))


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


@pytest.mark.parametrize(
    "conv",
    [ContextualAttention, MaskAwareDynamicConv2d, PointwiseNorm, ReachSelection2d],
)
@pytest.mark.parametrize("where", ["conv", "first", "decoder"])
def test_a_layer_that_takes_other_arguments_is_named(conv: type, where: str):
    told = rf"{conv.__name__} cannot be hosted .*bias.* such as PlainConv2d, Partial"
    with pytest.raises(ValueError, match=told):
        small(**{where: conv})


def test_a_fill_that_is_no_number_must_be_a_known_one():
    with pytest.raises(ValueError, match="fill 'harmonic': a number is expected"):
        small(fill="harmonic")


def test_another_convolution_first_and_on_the_way_up():
    network = small(conv=PlainConv2d, first=PartialConv2d, decoder=GatedConv2d)
    kinds = [type(stage.conv) for stage in network.encoder]
    assert kinds == [PartialConv2d, PlainConv2d, PlainConv2d]
    assert {type(stage.conv) for stage in network.decoder} == {GatedConv2d}
    assert isinstance(network.last, PlainConv2d)  # gated ones activate
    assert network.sees_hole


def test_filled_from_the_nearest_pixel_it_sees_that_picture():
    image, hole = pair()
    told = small(fill="nearest")
    grey = small(fill=0.5)
    assert not torch.equal(told(image, hole), grey(image, hole))
    grey.fill = nearest_fill(image, hole)  # what hide() then puts under the hole
    assert torch.equal(told(image, hole), grey(image, hole))
    secret = torch.where(hole.bool(), torch.nan, image)
    assert torch.equal(told(secret, hole), told(image, hole))
