"""Where layers read, counted: each number against one worked out by hand."""

import math

import pytest
import torch

from course_lib.layers import (
    DeformableSampling2d,
    PartialConv2d,
    sampling_facts,
    spread,
)
from course_lib.layers.sampling import tap_positions
from course_lib.networks import UNet


class Single(torch.nn.Module):
    """One layer as a network of picture and hole."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.one = DeformableSampling2d(3, 2, 3, padding=1, **options)

    def forward(self, image: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return self.one(image, 1 - hole)[0]


def one_pixel() -> tuple[torch.Tensor, torch.Tensor]:
    hole = torch.zeros(2, 1, 5, 7)
    hole[:, :, 2, 3] = 1
    return torch.rand(2, 3, 5, 7), hole


def test_spread_of_an_unmoved_window_and_of_a_point():
    at = tap_positions(torch.zeros(1, 1, 4, 5), (3, 3), (1, 1), (1, 1), (1, 1))[None]
    torch.testing.assert_close(spread(at), torch.full((1, 1, 4, 5), math.sqrt(4 / 3)))
    assert (spread(at[:, :1].expand_as(at)) == 0).all()
    line = torch.tensor([[0.0, 0.0], [3.0, 4.0]]).view(1, 2, 2, 1, 1)
    assert spread(line).item() == 2.5


def test_a_layer_that_moves_nothing_reads_what_its_window_shows():
    network = Single(starts="window", moves="all")
    facts = sampling_facts(network, *one_pixel())["one"]
    expected = (1 / 9, 1 / 9, 0, 1)
    assert facts == pytest.approx(expected, abs=1e-6)


def test_a_missing_middle_is_fetched_from_its_neighbour():
    facts = sampling_facts(Single(moves="none"), *one_pixel())["one"]
    # One of nine taps moves by one pixel, onto one of its four neighbours.
    at = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)] + [(0, 1)]
    moved = torch.tensor(at).float().view(1, 9, 2, 1, 1)
    wide = spread(moved).item() / math.sqrt(4 / 3)
    assert facts == pytest.approx((1 / 9, 0, 1 / 9, wide), abs=1e-6)


def test_without_a_missing_middle_there_is_nothing_to_tell():
    image, hole = one_pixel()
    facts = sampling_facts(Single(moves="none"), image, 0 * hole)["one"]
    assert all(math.isnan(value) for value in facts)


def test_only_layers_that_move_reads_are_told_of_and_nothing_stays_behind():
    still = {"starts": "window", "moves": "none", "modulated": False}
    network = UNet(
        lambda *shape, **more: DeformableSampling2d(*shape, starts="window", **more),
        (4, 6),
        (5, 3),
        sees_hole=False,
        first=PartialConv2d,
        decoder=lambda *shape, **more: DeformableSampling2d(*shape, **still, **more),
    ).eval()
    hole = torch.zeros(1, 1, 8, 8)
    hole[..., 2:6, 2:6] = 1
    assert list(sampling_facts(network, torch.rand(1, 3, 8, 8), hole)) == [
        "encoder.1.conv"
    ]
    assert not any(module._forward_pre_hooks for module in network.modules())
