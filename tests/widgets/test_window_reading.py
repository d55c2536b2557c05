"""What a layer was given: recorded from outside, and a window of it by plain loops."""

import pytest
import torch
from torch import nn

from course_lib.layers import PartialConv2d
from course_lib.networks import UNet
from course_lib.widgets.base import WidgetError
from course_lib.widgets.window_reading import (
    KNOWN,
    PADDING,
    UNKNOWN,
    record_layers,
    window_facts,
)

SIDE = 32
NAMES = ["encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1", "last"]


class Single(nn.Module):
    """One layer, so that odd geometries can be asked for."""

    def __init__(self, **shape):
        super().__init__()
        self.conv = PartialConv2d(3, 4, **shape)

    def forward(self, image, hole):
        return self.conv(image, 1 - hole)[0]


class Grey(PartialConv2d):
    """Reads validity, yet does not say how much of a window it knew."""

    def forward(self, x, valid):
        return nn.Conv2d.forward(self, x), valid


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(PartialConv2d, channels=(8, 6, 5), kernels=(7, 5, 3)).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hole():
    hole = torch.zeros(1, 1, SIDE, SIDE)
    hole[..., 8:25, 10:27] = 1
    return hole


def by_loops(layer, row, column, channel, fill):
    """Known values, and the weighted sums: of what is known, and of what is not."""
    height, width = layer.kernel
    read, known_sum, other, at = 0, 0.0, 0.0, 0
    for x, valid in layer.parts:
        for c in range(x.shape[1]):
            v = valid[0, c if valid.shape[1] > 1 else 0]
            for i in range(height):
                for j in range(width):
                    y = row * layer.stride[0] - layer.padding[0] + i * layer.dilation[0]
                    z = (
                        column * layer.stride[1]
                        - layer.padding[1]
                        + j * layer.dilation[1]
                    )
                    if not (0 <= y < v.shape[0] and 0 <= z < v.shape[1]):
                        continue
                    weight = float(layer.weight[channel, at + c, i, j])
                    if v[y, z]:
                        read += 1
                        known_sum += weight * float(x[0, c, y, z])
                    else:
                        other += weight * fill
        at += x.shape[1]
    return read, known_sum, other


def test_every_layer_is_recorded_in_the_order_it_runs(network, image, hole):
    layers = record_layers(network, image, hole)
    assert [layer.name for layer in layers] == NAMES
    assert [layer.size[0] for layer in layers] == [16, 8, 4, 8, 16, 32]
    assert [layer.input_size[0] for layer in layers] == [32, 16, 8, 8, 16, 32]
    assert [layer.part_names for layer in layers[2:4]] == [
        ["input"],
        ["decoder", "skip"],
    ]
    assert torch.equal(layers[0].parts[0][1], 1 - hole)


def test_the_network_is_left_as_it_was(network, image, hole):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers = record_layers(network, image, hole)
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(part._forward_hooks for part in network.modules())
    with torch.no_grad():
        network.encoder[0].conv.weight.zero_()
    assert layers[0].weight.any(), "a copy: what is shown stays what was recorded"


@pytest.mark.parametrize("name", NAMES)
def test_a_window_by_loops(network, image, hole, name):
    layer = {found.name: found for found in record_layers(network, image, hole)}[name]
    height, width = layer.size
    for row, column in ((0, 0), (height // 2, width // 2), (height - 1, 1), (1, 2)):
        facts = window_facts(layer, row, column, 2)
        read, known_sum, other = by_loops(layer, row, column, 2, 0.5)
        assert facts["read"] == read
        bias = 0.0 if layer.bias is None else float(layer.bias[2])
        assert facts["zero"] == pytest.approx(known_sum + bias, abs=1e-5)
        assert facts["grey"] == pytest.approx(known_sum + other + bias, abs=1e-5)
        own = float(layer.output[0, 2, row, column])
        assert facts["partial"] == pytest.approx(own, abs=1e-5)
        share = float(layer.window[0, 0, row, column])
        assert share == pytest.approx(read / facts["total"])
        if read:
            assert facts["ratio"] * share == pytest.approx(1)
        else:
            assert (facts["ratio"], facts["partial"]) == (None, 0)


@pytest.mark.parametrize(
    "shape",
    [
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": (5, 3), "stride": (2, 1), "padding": (1, 0)},
        {"kernel_size": 1},
    ],
)
def test_odd_geometries_are_read_as_torch_reads_them(image, hole, shape):
    torch.manual_seed(0)
    (layer,) = record_layers(Single(**shape).eval(), image, hole)
    plain = torch.where(hole.bool(), 0.5, image)
    plain = nn.functional.conv2d(
        plain, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation
    )
    for row, column in ((0, 0), (5, 6), (9, 20)):
        facts = window_facts(layer, row, column, 3)
        own = float(layer.output[0, 3, row, column])
        assert facts["partial"] == pytest.approx(own, abs=1e-5)
        assert facts["grey"] == pytest.approx(float(plain[0, 3, row, column]), abs=1e-5)


def test_each_tap_is_told_apart(network, image, hole):
    first = record_layers(network, image, hole)[0]
    facts = window_facts(first, 0, 0, 0)  # centre at pixel 0, three pixels of padding
    (taps,) = torch.tensor(facts["taps"]).reshape(1, 7, 7)
    assert facts["box"] == [-3, -3, 7, 7]
    assert (taps[:3] == PADDING).all()
    assert (taps[:, :3] == PADDING).all()
    assert (taps[3:, 3:] == KNOWN).all()
    assert facts["padding"] == 49 - 16
    facts = window_facts(first, 4, 8, 0)  # rows 5 to 11, columns 13 to 19
    (taps,) = torch.tensor(facts["taps"]).reshape(1, 7, 7)
    assert (taps[:3] == KNOWN).all()
    assert (taps[3:] == UNKNOWN).all()
    assert facts["known"] == [21]
    assert facts["ratio"] == pytest.approx(49 / 21)


def test_the_border_does_not_count_in_the_share(network, image, hole):
    for layer in record_layers(network, image, torch.zeros_like(hole)):
        assert torch.allclose(layer.share, torch.ones_like(layer.share))
    layer = record_layers(network, image, hole)[0]
    assert float(layer.share[4, 8]) == pytest.approx(21 / 49)
    assert float(layer.window[0, 0, 0, 0]) == pytest.approx(16 / 49)


def test_a_network_that_reads_no_validity_is_refused(image, hole):
    for conv in (Grey, None):
        network = (
            UNet(channels=(8,), kernels=(3,)) if conv is None else Single(kernel_size=3)
        )
        if conv is not None:
            network.conv = Grey(3, 4, 3, padding=1)
        with pytest.raises(WidgetError, match="no layer that reads validity"):
            record_layers(network.eval(), image, hole)
