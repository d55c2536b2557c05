"""VGG features, the losses and the distance, against the definitions written out."""

from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torchvision.models import VGG16_Weights, vgg

from course_lib import photos
from course_lib.losses import (
    FeaturesError,
    TorchvisionFeatures,
    VggFeatures,
    features,
    gram,
    perceptual,
    perceptual_and_style,
    torchvision_features,
    vgg_distance,
)
from course_lib.tensors import ContractError, composite

NAN = float("nan")


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


@pytest.mark.parametrize("scaled", [False, True])
def test_pooled_and_scaled_maps_are_the_published_ones_pooled_and_divided(scaled):
    image = pictures()
    scales = perceptual.MEAN_ACTIVATIONS if scaled else (1, 1, 1)
    plain = VggFeatures(scaled=scaled)(image)
    pooled = VggFeatures(scaled=scaled, pooled=True)(image)
    for k, expected in enumerate(by_definition(image)):
        tolerance = {"rtol": 1e-4, "atol": 1e-2 / scales[k]}
        torch.testing.assert_close(plain[k], expected / scales[k], **tolerance)
        below = F.max_pool2d(expected, 2) / scales[k]
        torch.testing.assert_close(pooled[k], below, **tolerance)


def test_the_mean_activations_are_those_of_the_validation_photos():
    image = photos.squares("validation", 128)
    assert len(image) == 13
    measured = [maps.mean().item() for maps in features()(image)]
    assert measured == pytest.approx(perceptual.MEAN_ACTIVATIONS, abs=0.05)
    scaled = features(scaled=True)(image)
    assert [maps.mean().item() for maps in scaled] == pytest.approx([1] * 3, rel=1e-3)


def test_the_smallest_picture_is_taken():
    shapes = [tuple(maps.shape[1:]) for maps in features()(torch.rand(1, 3, 4, 4))]
    assert shapes == [(64, 4, 4), (128, 2, 2), (256, 1, 1)]


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
    assert features() is features(torch.device("cpu"))
    assert features(scaled=True) is features("cpu", scaled=True)
    assert features(scaled=True) is not features()


# --------------------------------------------------------- perceptual and style loss


def stand_in(image: torch.Tensor) -> list[torch.Tensor]:
    """Three small layers, for sums that can be written out."""
    return [image, F.avg_pool2d(image, 2).sin(), F.avg_pool2d(image, 4)[:, :2]]


@pytest.fixture
def case():
    draw = torch.Generator().manual_seed(5)
    ours, image = torch.rand(2, 2, 3, 8, 12, generator=draw, dtype=torch.float64)
    hole = (torch.rand(2, 1, 8, 12, generator=draw) < 0.4).double()
    return ours, image, hole


def loop_gram(maps):
    """The product of each pair of channels, position by position."""
    count, channels, height, width = maps.shape
    rows = []
    for n in range(count):
        for a in range(channels):
            for b in range(channels):
                total = maps.new_zeros(())
                for y in range(height):
                    for x in range(width):
                        total = total + maps[n, a, y, x] * maps[n, b, y, x]
                rows.append(total / (channels * height * width))
    return torch.stack(rows).view(count, channels, channels)


def loop_mean_gap(one, two):
    total = one.new_zeros(())
    for a, b in zip(one.flatten(), two.flatten(), strict=True):
        total = total + (a - b).abs()
    return total / one.numel()


def loop_losses(ours, image, hole):
    filled = image.clone()
    for n, _, y, x in hole.nonzero().tolist():
        filled[n, :, y, x] = ours[n, :, y, x]
    found = {"perceptual": ours.new_zeros(()), "style": ours.new_zeros(())}
    for picture in (ours, filled):
        for one, two in zip(stand_in(picture), stand_in(image), strict=True):
            found["perceptual"] = found["perceptual"] + loop_mean_gap(one, two)
            gap = loop_mean_gap(loop_gram(one), loop_gram(two))
            found["style"] = found["style"] + gap
    return found


def test_gram_equals_the_loop(case):
    maps = case[0] - 0.5
    torch.testing.assert_close(gram(maps), loop_gram(maps), rtol=1e-12, atol=1e-15)
    assert torch.equal(gram(maps), gram(maps).transpose(1, 2))
    shifted = maps.roll((3, 5), (2, 3))  # where it is does not matter
    torch.testing.assert_close(gram(shifted), gram(maps), rtol=1e-12, atol=1e-15)
    tiled = maps.repeat(1, 1, 2, 3)
    torch.testing.assert_close(gram(tiled), gram(maps), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["perceptual", "style"])
def test_both_losses_equal_the_loops_with_their_gradients(case, name):
    ours, image, hole = case
    one, two = (ours.clone().requires_grad_() for _ in range(2))
    found = perceptual_and_style(one, image, hole, stand_in)
    expected = loop_losses(two, image, hole)
    assert list(found) == ["perceptual", "style"]
    assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-12)
    found[name].backward()
    expected[name].backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-15)


def test_by_default_the_scaled_pools_are_compared(case):
    image, hole = pictures(), (pictures()[:, :1] < 0.4).float()
    ours = image.flip(-1)
    found = perceptual_and_style(ours, image, hole)
    scaled = [
        F.max_pool2d(maps, 2) / scale
        for picture in (ours, composite(ours, image, hole), image)
        for maps, scale in zip(
            by_definition(picture), perceptual.MEAN_ACTIVATIONS, strict=True
        )
    ]
    made, joined, wanted = scaled[:3], scaled[3:6], scaled[6:]
    pairs = list(zip(made + joined, wanted * 2, strict=True))
    gap = sum((a - b).abs().mean() for a, b in pairs)
    style = sum((gram(a) - gram(b)).abs().mean() for a, b in pairs)
    torch.testing.assert_close(found["perceptual"], gap, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["style"], style, rtol=1e-4, atol=1e-8)


def test_each_picture_is_looked_at_once_and_the_target_gets_no_gradient(case):
    ours, image, hole = (part.clone() for part in case)
    seen = []

    def extractor(picture):
        seen.append((picture.detach(), torch.is_grad_enabled()))
        return stand_in(picture)

    ours.requires_grad_()
    image.requires_grad_()
    sum(perceptual_and_style(ours, image, hole, extractor).values()).backward()
    expected = [image.detach(), ours.detach(), composite(*case)]
    assert len(seen) == 3
    for (picture, grad), wanted in zip(seen, expected, strict=True):
        assert torch.equal(picture, wanted)
        assert grad == (wanted is not expected[0])
    assert image.grad is None
    assert ours.grad.abs().min() > 0


def test_equal_pictures_cost_nothing_and_without_a_hole_only_the_prediction_does(case):
    ours, image, hole = case
    nothing = perceptual_and_style(image, image, hole, stand_in)
    assert [value.item() for value in nothing.values()] == [0, 0]
    known = perceptual_and_style(ours, image, torch.zeros_like(hole), stand_in)
    whole = perceptual_and_style(ours, image, torch.ones_like(hole), stand_in)
    for name in ("perceptual", "style"):
        assert whole[name].item() == pytest.approx(2 * known[name].item(), rel=1e-12)


def test_the_batch_is_the_mean_of_its_samples(case):
    together = perceptual_and_style(*case, stand_in)
    alone = [
        perceptual_and_style(*(part[k : k + 1] for part in case), stand_in)
        for k in range(2)
    ]
    for name, value in together.items():
        mean = sum(found[name].item() for found in alone) / 2
        assert value.item() == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("extractor", [None, stand_in])
def test_the_composite_reads_the_prediction_in_the_hole_only(case, extractor):
    ours, image, hole = (part.float() for part in case)
    spoiled = ours.masked_fill(hole == 0, NAN).requires_grad_()
    filled = composite(spoiled, image, hole)
    found = perceptual_and_style(filled, image, hole, extractor)
    joined = composite(ours, image, hole)
    expected = perceptual_and_style(joined, image, hole, extractor)
    assert found == expected
    sum(found.values()).backward()
    assert spoiled.grad.isfinite().all()
    assert (spoiled.grad[(hole == 0).expand_as(ours)] == 0).all()
    assert spoiled.grad.any()


def test_a_prediction_that_is_not_a_number_is_not_hidden(case):
    ours, image, hole = case
    spoiled = ours.masked_fill(hole == 0, NAN)
    found = perceptual_and_style(spoiled, image, hole, stand_in)
    assert all(value.isnan() for value in found.values())


def test_half_precision_changes_neither_features_nor_sums():
    image = pictures(1)
    ours, hole = image.flip(-1), (image[:, :1] < 0.5).float()
    expected = perceptual_and_style(ours, image, hole)
    maps, distance = features()(image), vgg_distance(ours, image)
    sums = gram(maps[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert perceptual_and_style(ours, image, hole) == expected
        inside = features()(image)
        assert torch.equal(vgg_distance(ours, image), distance)
        assert torch.equal(gram(maps[0]), sums)
    assert all(torch.equal(a, b) for a, b in zip(inside, maps, strict=True))
    large = torch.full((1, 2, 64, 64), 100.0)  # a sum of 4e7, float16 ends at 65 504
    torch.testing.assert_close(gram(large.half()), torch.full((1, 2, 2), 5000.0))
    halves = (part.half() for part in (ours, image, hole))
    found = perceptual_and_style(*halves)
    for name, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.02, atol=0)


def test_what_does_not_fit_is_refused(case):
    ours, image, hole = case
    with pytest.raises(ContractError, match="must have the same shape"):
        perceptual_and_style(ours[:1], image, hole, stand_in)
    with pytest.raises(ContractError, match="does not fit image"):
        perceptual_and_style(ours, image, hole[:1], stand_in)
    with pytest.raises(ContractError, match=r"only 0 .known. and 1 .missing."):
        perceptual_and_style(ours, image, hole * 0.5, stand_in)


# ---------------------------------------------------------------------- torchvision


@pytest.fixture(scope="module")
def torchvision_network():
    """torchvision's layers with drawn weights: nothing is downloaded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Module()
        network.features = vgg.make_layers(vgg.cfgs["D"][:10], batch_norm=False)
    return network


def test_torchvision_features_are_its_pools_of_the_normalised_picture(
    torchvision_network, monkeypatch
):
    stored = torchvision_network.state_dict()
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda self, **_: stored)
    extractor = torchvision_features("cpu")
    assert isinstance(extractor, TorchvisionFeatures)
    image = pictures()
    normalise = VGG16_Weights.IMAGENET1K_V1.transforms()
    mean, deviation = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (normalise.mean, normalise.std)
    )
    x = (image - mean) / deviation
    for first, last, found in zip(
        (0, 5, 10), (5, 10, 17), extractor(image), strict=True
    ):
        x = torchvision_network.features[first:last](x)
        torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in extractor.parameters())
    hole = (image[:, :1] < 0.4).float()
    loss = perceptual_and_style(image.flip(-1), image, hole, extractor)
    assert loss["perceptual"] > 0


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("bad hash")])
def test_without_its_download_torchvision_is_refused_clearly(error, monkeypatch):
    def fail(self, **_):
        raise error

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", fail)
    with pytest.raises(FeaturesError, match=r"downloaded.*need no network"):
        torchvision_features()
