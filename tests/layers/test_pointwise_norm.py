"""Point-wise normalisation: what it is without a guide, and where the guide acts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import PointwiseNorm
from course_lib.tensors import ContractError


def made(channels: int = 3, guidance: int = 2) -> PointwiseNorm:
    torch.manual_seed(0)
    return PointwiseNorm(channels, guidance, hidden=5).double()


def draw(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def silent(layer: PointwiseNorm, value: float = 0.0) -> PointwiseNorm:
    """Scale ``value`` and shift 0 everywhere, whatever the guide says."""
    for conv in (layer.scale, layer.shift):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    nn.init.constant_(layer.scale.bias, value)
    return layer


def test_by_hand():
    layer, x, guide = made(), 2 + 3 * draw(4, 3, 6, 7), draw(4, 2, 6, 7, seed=2)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    plain = (x - mean.view(3, 1, 1)) / (variance.view(3, 1, 1) + 1e-5).sqrt()
    hidden = layer.shared(guide).clamp(min=0)
    expected = plain * (1 + layer.scale(hidden)) + layer.shift(hidden)
    torch.testing.assert_close(layer(x, guide), expected)
    torch.testing.assert_close(layer.norm.running_mean, 0.1 * mean)


def test_without_a_word_from_the_guide_it_is_batch_normalisation():
    layer, x = silent(made()), 2 + 3 * draw(4, 3, 6, 7)
    y = layer(x, draw(4, 2, 6, 7, seed=2))
    torch.testing.assert_close(y, F.batch_norm(x, None, None, training=True))
    assert (silent(made(), -1)(x, draw(4, 2, 6, 7)) == 0).all()


def test_the_guide_acts_where_it_changes_and_no_further():
    layer, x, guide = made().eval(), draw(1, 3, 12, 12), draw(1, 2, 12, 12, seed=2)
    y, other = layer(x, guide), guide.clone()
    other[..., 5, 6] += 3
    moved = (layer(x, other) != y).any(1)[0].nonzero()
    assert moved.amin(0).tolist() == [3, 4]  # two 3 x 3 convolutions reach 2 px
    assert moved.amax(0).tolist() == [7, 8]


def test_a_constant_guide_is_one_affine_map_per_channel_inside():
    layer, x = made().eval(), draw(2, 3, 9, 9)
    y = layer(x, torch.full((2, 2, 9, 9), 0.7).double())[..., 2:-2, 2:-2]
    plain = layer.norm(x)[..., 2:-2, 2:-2]
    for channel in range(3):
        before, after = plain[:, channel].flatten(), y[:, channel].flatten()
        steepness = (after[1:] - after[0]) / (before[1:] - before[0])
        torch.testing.assert_close(steepness, steepness[:1].expand_as(steepness))


def test_a_smaller_guide_is_resized_bilinearly():
    layer, x, guide = made().eval(), draw(1, 3, 8, 8), draw(1, 2, 4, 4, seed=2)
    large = F.interpolate(guide, (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(layer(x, guide), layer(x, large))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 2, 8, 8), (2, 8, 8)])
def test_a_guide_that_does_not_fit_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ContractError, match=r"expected \(1, 2, h, w\)"):
        made()(draw(1, 3, 8, 8), draw(*shape))


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (3, 8, 8)])
def test_features_that_do_not_fit_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ContractError, match=r"expected \(N, 3, H, W\)"):
        made()(draw(*shape), draw(1, 2, 8, 8))
