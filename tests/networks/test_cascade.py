"""The cascade: what it hides, what guides what, and its published layers."""

import pytest
import torch
from torch import Tensor, nn

from course_lib.layers import MaskAwareDynamicConv2d, PointwiseNorm
from course_lib.networks import Cascade
from course_lib.tensors import ContractError

NAN = float("nan")
SMALL = {"narrow": (4, 6), "wide": (6, 8), "kernels": (5, 3), "hidden": 4}


def small(**options) -> Cascade:
    torch.manual_seed(0)
    network = Cascade(**{**SMALL, "mask_channels": 3, **options})
    for name, values in network.named_parameters():
        if name.endswith("weight") and values.dim() > 1:
            nn.init.normal_(values, std=1.5 / values[0].numel() ** 0.5)
    return network.eval()


def pair(count: int = 2, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.3).float()
    hole[0, :, 2:13, 3:14] = 1
    return image, hole


@pytest.mark.parametrize("refinements", [0, 1, 2])
def test_a_picture_from_every_decoder_the_last_is_the_answer(refinements: int):
    network, (image, hole) = small(refinements=refinements), pair()
    made = network.stages(image, hole)
    assert len(made) == refinements + 1
    for picture in made:
        assert picture.shape == image.shape
        assert 0 <= picture.min() < picture.max() <= 1
    assert torch.equal(network(image, hole), made[-1])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hidden", [None, 4])
def test_nothing_from_under_the_hole(training: bool, hidden: int | None):
    network, (image, hole) = small(hidden=hidden).train(training), pair()
    made = network.stages(image, hole)
    for hidden_value in (torch.rand_like(image), torch.tensor(NAN)):
        other = torch.where(hole == 1, hidden_value, image)
        again = network.stages(other, hole)
        assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))
    brighter = torch.where(hole == 0, 1 - image, image)
    again = network.stages(brighter, hole)
    assert not any(torch.equal(a, b) for a, b in zip(made, again, strict=True))


def test_no_gradient_reaches_a_hidden_pixel_and_every_part_learns():
    network, (image, hole) = small(), pair()
    poisoned = torch.where(hole == 1, NAN, image).requires_grad_()
    sum(made.square().sum() for made in network.stages(poisoned, hole)).backward()
    assert (poisoned.grad[hole.expand_as(image) == 1] == 0).all()
    assert (poisoned.grad[hole.expand_as(image) == 0] != 0).any()
    assert all((p.grad != 0).any() for p in network.parameters())


def reached(network: Cascade, stage: int) -> set[str]:
    """Which parts the answer of one stage teaches."""
    network.stages(*pair())[stage].sum().backward()
    return {
        name.rsplit(".", 2)[0] if "refine" in name else name.split(".")[0]
        for name, p in network.named_parameters()
        if p.grad is not None and (p.grad != 0).any()
    }


def test_a_later_picture_teaches_the_earlier_decoders_and_never_the_reverse():
    parts = reached(small(), 0)
    assert parts == {"filters", "skips", "recovery"}
    last = reached(small(), 2)
    assert {"recovery", "refinements.1"} <= {part[:13] for part in last}
    assert any(part.startswith("refinements.0") for part in last)


def test_each_refinement_is_guided_by_the_decoder_before_it():
    network, (image, hole) = small(), pair()
    made = network.stages(image, hole)
    for norm in network.refinements[1].modules():
        if isinstance(norm, PointwiseNorm):
            nn.init.zeros_(norm.shared.weight)
            nn.init.zeros_(norm.shared.bias)
    deaf = network.stages(image, hole)
    same = [torch.equal(a, b) for a, b in zip(made, deaf, strict=True)]
    assert same == [True, True, False]


def test_samples_do_not_mix_and_the_mask_makes_the_filters():
    """In evaluation: batch statistics would mix the samples."""
    network, (image, hole) = small(), pair()
    made = network(image, hole)
    alone = network(image[:1], hole[:1])
    torch.testing.assert_close(alone, made[:1], rtol=1e-3, atol=1e-4)
    network.filters[0].mask_conv.weight.data.zero_()
    assert not torch.equal(network(image, hole), made)


def test_the_published_widths():
    """Zhu et al. 2021: 7 levels; the input is the picture beside its mask."""
    wide = (64, 128, 256, 512, 512, 512, 512)
    network = Cascade(
        (16, 32, 64, 128, 128, 128, 128), wide, (7, 5, 3, 3, 3, 3, 3), hidden=128
    )
    shapes = [
        (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
        for layer in network.filters
        if isinstance(layer, MaskAwareDynamicConv2d)
    ]
    assert shapes == [
        *[(4, 16, 7, 2), (16, 32, 5, 2), (32, 64, 3, 2), (64, 128, 3, 2)],
        *[(128, 128, 3, 2)] * 3,
    ]
    assert [skip.out_channels for skip in network.skips] == list(wide)
    ups = [up.conv.out_channels for up in network.recovery.ups]
    assert ups == [512, 512, 512, 256, 128, 64]
    # 64 features, one or two earlier pictures, and the input (published: 6 channels)
    assert [d.last.in_channels for d in network.refinements] == [71, 74]


@pytest.mark.parametrize("shape", [(18, 24), (16, 26)])
def test_a_side_that_cannot_be_halved_is_refused(shape: tuple[int, int]):
    with pytest.raises(ContractError, match=r"halves it 2 times.*multiples of 4"):
        small()(*pair(1, *shape))


def test_bad_settings_and_pictures_are_refused():
    with pytest.raises(ValueError, match="2 narrow widths, 3 wide ones"):
        Cascade((4, 6), (6, 8, 8), (3, 3))
    image, hole = pair()
    with pytest.raises(ContractError, match="same N, H and W"):
        small()(image, hole[:1])
    with pytest.raises(ContractError, match="NaN"):
        small()(torch.full_like(image, NAN), hole)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_a_full_hole_give_finite_pictures(value: float):
    network, (image, hole) = small(), pair()
    poisoned = image if value == 0 else torch.full_like(image, NAN)
    for made in network.stages(poisoned, torch.full_like(hole, value)):
        assert made.isfinite().all()


def test_without_mask_features_the_encoder_is_ordinary():
    network, (image, hole) = small(mask_channels=None), pair()
    assert not any(isinstance(m, MaskAwareDynamicConv2d) for m in network.modules())
    assert [layer.weight.shape[0] for layer in network.filters] == [4, 6]
    for made in network.stages(image, hole):
        assert made.shape == image.shape
    other = torch.where(hole == 1, NAN, image)
    assert torch.equal(network(other, hole), network(image, hole))
