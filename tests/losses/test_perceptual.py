"""The VGG features and the distance, against the definition written out."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from course_lib.losses import VggFeatures, perceptual, vgg_distance


def pictures(count: int = 2, height: int = 24, width: int = 32) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 4, 4, generator=draw)
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def by_definition(image: torch.Tensor) -> list[torch.Tensor]:
    """Blue, green, red in 0 to 255 minus their means, through the stored layers."""
    weights = {k: v.float() for k, v in load_file(perceptual.WEIGHTS).items()}

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        w, b = weights[f"conv{name}.weight"], weights[f"conv{name}.bias"]
        return F.conv2d(x, w, b, padding=1).clamp(min=0)

    red, green, blue = (255 * image).unbind(1)
    x = torch.stack([blue - 103.939, green - 116.779, red - 123.68], 1)
    one = layer(layer(x, "1_1"), "1_2")
    two = layer(layer(F.max_pool2d(one, 2), "2_1"), "2_2")
    three = layer(layer(layer(F.max_pool2d(two, 2), "3_1"), "3_2"), "3_3")
    return [one, two, three]


def test_features_are_the_published_layers():
    image = pictures()
    found = VggFeatures()(image)
    assert [tuple(f.shape) for f in found] == [
        (2, 64, 24, 32),
        (2, 128, 12, 16),
        (2, 256, 6, 8),
    ]
    for ours, expected in zip(found, by_definition(image), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-2)


def test_the_distance_is_the_mean_squared_gap_of_unit_features():
    one, two = pictures(), pictures().flip(-1)
    expected = torch.zeros(2)
    for a, b in zip(by_definition(one), by_definition(two), strict=True):
        gap = a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)
        expected += gap.square().sum(1).flatten(1).mean(1) / 3
    found = vgg_distance(one, two)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, vgg_distance(two, one))
    assert (found > 0.05).all()


def test_equal_pictures_have_distance_zero_and_each_sample_its_own():
    image = pictures(3)
    other = image.clone()
    other[1] = image[1].flip(0)
    found = vgg_distance(other, image)
    assert found[[0, 2]].tolist() == [0, 0]
    torch.testing.assert_close(found[1:2], vgg_distance(other[1:2], image[1:2]))


def test_gradients_reach_the_picture_but_no_weight():
    image = pictures(1).requires_grad_()
    vgg_distance(image, image.detach().flip(-1)).sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in perceptual.features().parameters())


def test_a_picture_in_double_precision_is_taken(monkeypatch: pytest.MonkeyPatch):
    image = pictures(1)
    found = vgg_distance(image.double(), image.flip(-1).double())
    torch.testing.assert_close(found.float(), vgg_distance(image, image.flip(-1)))


def test_loading_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    VggFeatures()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_extractor_is_loaded_once():
    assert perceptual.features() is perceptual.features()
