"""The U-Net of gated convolutions: it brings its own activation and hides the hole."""

import pytest
import torch
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers import GatedConv2d, PlainConv2d
from course_lib.networks import UNet


def small(**options) -> UNet:
    torch.manual_seed(0)
    options = {"conv": GatedConv2d, "channels": (4, 6, 8), **options}
    return UNet(kernels=(5, 3, 3), **options).eval()


def pair(count: int = 2, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.3).float()
    hole[0, :, 2:13, 3:14] = 1
    return image, hole


def test_no_second_activation_and_a_last_layer_without_gate():
    network = small()
    for stage in [*network.encoder, *network.decoder]:
        assert type(stage.conv) is GatedConv2d
        assert type(stage.conv.activation) is nn.ELU
        assert type(stage.activation) is nn.Identity
        x = torch.randn(2, stage.conv.in_channels, 8, 8)
        valid = torch.ones(2, 1, 8, 8)
        y, _ = stage(x, valid)
        assert torch.equal(y, stage.norm(stage.conv(x, valid)[0]))
        assert y.min() < 0
    assert type(network.last) is PlainConv2d
    assert network.last.weight.shape == (3, 4 + 4, 3, 3)


def test_other_convolutions_keep_the_networks_activation():
    network = small(conv=PlainConv2d)
    assert {type(s.activation) for s in network.encoder} == {nn.ReLU}
    assert {type(s.activation) for s in network.decoder} == {nn.LeakyReLU}


def test_the_names_of_its_parameters():
    states = small().state_dict()
    for name, shape in {
        "encoder.0.conv.weight": (8, 4, 5, 5),
        "encoder.0.conv.bias": (8,),
        "encoder.2.conv.weight": (16, 6, 3, 3),
        "decoder.0.conv.weight": (12, 14, 3, 3),
        "last.weight": (3, 8, 3, 3),
    }.items():
        assert states[name].shape == shape
    assert "encoder.1.conv.bias" not in states  # batch normalisation brings one


def test_the_hole_is_a_channel_unless_told_otherwise():
    assert small().sees_hole
    assert small(sees_hole=False).encoder[0].conv.weight.shape[1] == 3


@pytest.mark.parametrize("sees_hole", [None, False])
@pytest.mark.parametrize("training", [True, False])
def test_noise_and_nan_under_the_hole_change_nothing(sees_hole, training: bool):
    network, (image, hole) = small(sees_hole=sees_hole), pair()
    network.train(training)
    made = network(image, hole)
    assert made.shape == image.shape
    assert 0 < made.min() < made.max() < 1
    for hidden in (torch.rand_like(image), torch.tensor(float("nan"))):
        other = torch.where(hole == 1, hidden, image)
        assert torch.equal(network(other, hole), made)
    brighter = torch.where(hole == 0, 1 - image, image)
    assert not torch.equal(network(brighter, hole), made)


def test_no_gradient_reaches_a_hidden_pixel():
    network, (image, hole) = small().train(), pair()
    poisoned = torch.where(hole == 1, float("nan"), image).requires_grad_()
    network(poisoned, hole).sum().backward()
    assert (poisoned.grad[hole.expand_as(image) == 1] == 0).all()
    assert (poisoned.grad[hole.expand_as(image) == 0] != 0).any()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert all((p.grad != 0).any() for p in network.parameters())


def test_every_gate_can_be_seen():
    network, (image, hole) = small(), pair()
    with record(network) as evidence:
        network(image, hole)
    places = [f"encoder.{k}.conv" for k in range(3)]
    places += [f"decoder.{k}.conv" for k in range(2)]
    assert sorted(evidence) == sorted(places)
    sizes = [evidence[place]["gate"].shape[1:] for place in places]
    assert sizes == [(4, 8, 12), (6, 4, 6), (8, 2, 3), (6, 4, 6), (4, 8, 12)]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_a_full_hole_give_finite_pictures(value: float):
    network, (image, hole) = small().train(), pair()
    poisoned = image if value == 0 else torch.full_like(image, float("nan"))
    made = network(poisoned, torch.full_like(hole, value))
    made.sum().backward()
    assert made.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())
