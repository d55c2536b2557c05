"""The U-Net of partial convolutions: how its hole closes, and how parts count."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from unets import pair, small

from course_lib.evidence import record
from course_lib.layers import PartialConv2d, Parts, pairs
from course_lib.networks import UNet

# Side, kernels, hole's side: share of the side's square that is unknown, by level
CLOSING = [
    (64, (7, 5, 5, 3, 3), 16, [0.0625, 0.024, 0.004, 0, 0, 0]),
    (64, (7, 5, 5, 3, 3), 32, [0.25, 0.165, 0.098, 0.016, 0, 0]),
    (64, (7, 5, 5, 3, 3), 48, [0.5625, 0.431, 0.316, 0.141, 0.063, 0]),
    (256, (7, 5, 5, *(3,) * 4), 128, [0.25, 0.227, 0.205, 0.165, 0.098, 0.016, 0, 0]),
]


@pytest.mark.parametrize(("side", "kernels", "hole_side", "expected"), CLOSING)
def test_how_the_hole_closes(side, kernels, hole_side, expected):
    network = UNet(PartialConv2d, (2,) * len(kernels), kernels).eval()
    hole = torch.zeros(1, 1, side, side)
    edge = (side - hole_side) // 2
    hole[..., edge : edge + hole_side, edge : edge + hole_side] = 1
    with record(network) as evidence:
        network(torch.rand(1, 3, side, side), hole)
    levels = [evidence[f"encoder.{k}.conv"]["valid"] for k in range(len(kernels))]
    shares = [hole.mean().item()] + [1 - level.mean().item() for level in levels]
    assert shares == pytest.approx(expected, abs=0.0006)
    # The way up starts from what the bottom knows: here everything
    assert (evidence["decoder.0.conv"]["valid"] == 1).all()


class EveryChannel(nn.Conv2d):
    """The usual formulation: a second convolution counts over all channels."""

    reads_validity = True

    def forward(self, x: Parts, valid: Parts) -> tuple[Tensor, Tensor]:
        found = pairs(x, valid)
        x = torch.cat([part for part, _ in found], 1)
        valid = torch.cat([v.expand_as(part) for part, v in found], 1)
        settings = None, self.stride, self.padding
        count = F.conv2d(valid, torch.ones_like(self.weight), *settings)
        ratio = self.weight[0].numel() / count.clamp(min=1)
        y = F.conv2d(x * valid, self.weight, *settings) * ratio
        known = (count > 0).to(x.dtype)
        if self.bias is not None:
            y = (y + self.bias.view(-1, 1, 1)) * known
        return y, known


def test_it_is_the_network_that_counts_over_all_channels():
    image, hole = pair()
    ours, theirs = small(conv=PartialConv2d).train(), small(conv=EveryChannel).train()
    theirs.load_state_dict(ours.state_dict())
    made, expected = ours(image, hole), theirs(image, hole)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    for y in (made, expected):
        (y - image).abs().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_a_decoder_window_counts_both_parts_by_their_channels():
    network, (image, hole) = small(conv=PartialConv2d), pair(2, 32, 48)
    hole[0, :, 1:31, 1:47] = 1  # stays open down to the bottom
    with record(network) as evidence:
        network(image, hole)
    below = F.interpolate(evidence["encoder.2.conv"]["valid"], (8, 12), mode="nearest")
    assert 0 < below.mean() < 1
    skip = evidence["encoder.1.conv"]["valid"]
    counted = torch.cat([below.expand(-1, 8, -1, -1), skip.expand(-1, 6, -1, -1)], 1)
    expected = F.avg_pool2d(counted, 3, 1, 1).mean(1, keepdim=True)
    torch.testing.assert_close(evidence["decoder.0.conv"]["window"], expected)
    below = F.interpolate(evidence["decoder.1.conv"]["valid"], (32, 48), mode="nearest")
    known = torch.cat([below.expand(-1, 4, -1, -1), (1 - hole).expand_as(image)], 1)
    expected = F.avg_pool2d(known, 3, 1, 1).mean(1, keepdim=True)
    torch.testing.assert_close(evidence["last"]["window"], expected)
