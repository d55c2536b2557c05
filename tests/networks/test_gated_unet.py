"""The U-Net of gated convolutions: it brings its own activation."""

import torch
from torch import nn
from unets import pair, small

from course_lib.evidence import record
from course_lib.layers import GatedConv2d, PlainConv2d


def test_no_second_activation_and_a_last_layer_without_gate():
    network = small(conv=GatedConv2d)
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
    states = small(conv=GatedConv2d).state_dict()
    for name, shape in {
        "encoder.0.conv.weight": (8, 4, 5, 5),
        "encoder.0.conv.bias": (8,),
        "encoder.2.conv.weight": (16, 6, 3, 3),
        "decoder.0.conv.weight": (12, 14, 3, 3),
        "last.weight": (3, 8, 3, 3),
    }.items():
        assert states[name].shape == shape
    assert "encoder.1.conv.bias" not in states  # batch normalisation brings one


def test_every_gate_can_be_seen():
    network, (image, hole) = small(conv=GatedConv2d), pair()
    with record(network) as evidence:
        network(image, hole)
    places = [f"encoder.{k}.conv" for k in range(3)]
    places += [f"decoder.{k}.conv" for k in range(2)]
    assert sorted(evidence) == sorted(places)
    sizes = [evidence[place]["gate"].shape[1:] for place in places]
    assert sizes == [(4, 8, 12), (6, 4, 6), (8, 2, 3), (6, 4, 6), (4, 8, 12)]
