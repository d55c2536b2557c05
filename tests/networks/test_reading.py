"""What an output pixel reads: by gradient, by counted windows, and both by force."""

import pytest
import torch

from course_lib.layers import PartialConv2d, PlainConv2d
from course_lib.networks import UNet
from course_lib.networks.reading import device_of, influence, receptive_field
from course_lib.tensors import ContractError

SIDE = 64


@pytest.fixture(params=[PlainConv2d, PartialConv2d], ids=["plain", "partial"])
def network(request):
    """Tiny, with positive weights only: no influence can cancel or be cut off."""
    torch.manual_seed(0)
    made = UNet(request.param, channels=(2, 3, 3), kernels=(5, 3, 3)).double().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(weight.abs() * 0.1 + 0.01)
        made.last.weight.mul_(1e-3)  # else the sigmoid at the end hardly moves
    return made


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    return 0.1 + 0.8 * draw


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
    hole[..., 20:30, 24:40] = 1
    return hole


def test_the_gradient_is_what_a_small_change_changes(network, image, hole):
    output, found = influence(network, image, hole, 25, 30)
    with torch.no_grad():
        assert torch.equal(output, network(image, hole))
    for row, column in ((25, 22), (18, 30), (10, 10), (25, 30)):
        expected = 0.0
        for channel in range(3):
            ends = []
            for step in (0.01, -0.01):
                moved = image.clone()
                moved[0, channel, row, column] += step
                with torch.no_grad():
                    ends.append(network(moved, hole)[0, :, 25, 30].sum())
            expected += abs(float(ends[0] - ends[1])) / 0.02
        assert float(found[0, 0, row, column]) == pytest.approx(expected, rel=1e-3)


def test_nothing_under_the_hole_is_read_be_it_nan(network, image, hole):
    output, found = influence(network, image, hole, 25, 30)
    broken = torch.where(hole.bool(), torch.nan, image)
    again = influence(network, broken, hole, 25, 30)
    assert torch.equal(output, again[0])
    assert torch.equal(found, again[1])
    assert (found[hole.bool()] == 0).all()
    assert (found[~hole.bool()] > 0).any()


def test_the_network_is_left_as_it_was(network, image, hole):
    network.train()
    network.encoder[1].eval()
    before = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    first = influence(network, image, hole, 25, 30)
    assert [module.training for module in network.modules()] == before
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert all(p.grad is None for p in network.parameters())
    with torch.no_grad():
        assert torch.equal(influence(network.eval(), image, hole, 25, 30)[1], first[1])


@pytest.mark.parametrize("place", [(31, 31), (32, 32), (27, 36), (30, 0), (63, 33)])
def test_the_counted_windows_are_what_can_move_the_pixel(network, image, place):
    """Every pixel inside moves it when nothing cancels, and none outside does."""
    known = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
    _, found = influence(network, image, known, *place)
    top, left, height, width = receptive_field(network, *place)
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[max(0, top) : top + height, max(0, left) : left + width] = True
    assert not expected.all()
    assert torch.equal(found[0, 0] > 0, expected)


def test_kernels_of_one_axis_are_counted_apart():
    def wide(inputs, outputs, kernel, stride=1, padding=0, bias=True):
        size, room = (1, kernel), (0, padding)
        return PlainConv2d(inputs, outputs, size, stride, room, bias=bias)

    network = UNet(wide, channels=(2, 2), kernels=(3, 3))
    top, left, height, width = receptive_field(network, 11, 11)
    assert (top, height) == (8, 4), "the deepest value is up-sampled to 4 x 4 pixels"
    assert left < top
    assert width > height


def test_only_windows_are_counted():
    with pytest.raises(ContractError, match="only those of a UNet"):
        receptive_field(torch.nn.Conv2d(3, 3, 3), 0, 0)
    network = UNet(channels=(2,), kernels=(3,))
    network.last = torch.nn.Identity()
    with pytest.raises(ContractError, match="Identity has no window"):
        receptive_field(network, 0, 0)


def test_a_network_wants_its_input_where_its_weights_are():
    assert device_of(PlainConv2d(3, 3, 1)).type == "cpu"
    assert device_of(PlainConv2d(3, 3, 1, device="meta")).type == "meta"
    assert device_of(torch.nn.Identity()) == device_of(len) == torch.device("cpu")
