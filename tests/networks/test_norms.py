"""Frozen batch normalisation: statistics stay, parameters learn, frozen for good."""

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

from course_lib.networks import UNet, freeze_norms


def trained():
    torch.manual_seed(0)
    network = UNet(channels=(4, 6, 8), kernels=(5, 3, 3))
    network(*batch(1))  # one batch of statistics
    return network


def batch(seed):
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 16, 16, generator=draw)
    hole = (torch.rand(2, 1, 16, 16, generator=draw) < 0.3).float()
    return image, hole


def statistics(module):
    return {n: v.clone() for n, v in module.state_dict().items() if "running" in n}


def test_statistics_stay_where_they_were_and_others_move():
    network = trained()
    assert freeze_norms(network.encoder) is network.encoder
    before = statistics(network)
    network.train()
    network(*batch(2))
    moved = {n for n, v in statistics(network).items() if not torch.equal(v, before[n])}
    assert moved == {n for n in before if n.startswith("decoder")}


def test_computes_with_them_in_training_mode():
    network = trained()
    freeze_norms(network)
    answers = [network.train(mode)(*batch(3)) for mode in (True, False)]
    torch.testing.assert_close(*answers, rtol=0, atol=0)
    assert network.train().training
    assert not network.encoder[1].norm.training


def test_scale_and_shift_still_learn_in_the_same_optimiser():
    network = trained()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    names = list(network.state_dict())
    freeze_norms(network.train())
    scale = network.encoder[1].norm.weight.detach().clone()
    network(*batch(4)).sum().backward()
    optimizer.step()
    assert not torch.equal(network.encoder[1].norm.weight, scale)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("copied", [deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_stay_frozen(copied):
    network = trained()
    freeze_norms(network)
    copy = copied(network)
    before = statistics(copy)
    copy.train()(*batch(5))
    after = statistics(copy)
    assert all(torch.equal(after[n], v) for n, v in before.items())


def test_a_norm_alone_and_nothing_to_freeze():
    norm = freeze_norms(nn.BatchNorm2d(3))
    norm.train()(torch.rand(2, 3, 4, 4))
    assert torch.equal(norm.running_mean, torch.zeros(3))
    with pytest.raises(ValueError, match="no BatchNorm2d"):
        freeze_norms(nn.Conv2d(3, 3, 3))
