"""Mask-aware dynamic filtering: equal to making every kernel; its special cases."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import evidence
from course_lib.layers import MaskAwareDynamicConv2d
from course_lib.losses import gradient_penalty
from course_lib.tensors import ContractError

T = torch.full((1, 1, 1, 1), 0.5)


def made(*shape: int, **options) -> MaskAwareDynamicConv2d:
    torch.manual_seed(0)
    return MaskAwareDynamicConv2d(*shape, **options).double()


def draw(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def naive(
    layer: MaskAwareDynamicConv2d, x: Tensor, mask_features: Tensor
) -> tuple[Tensor, Tensor]:
    """Place by place: the window, the kernel made for it, their product."""
    features = layer.mask_conv(mask_features).clamp(min=0)
    size, step = layer.kernel_size, layer.stride
    padded = F.pad(x, [layer.padding] * 4)
    weight = layer.filter_conv.weight[:, :, 0, 0]
    samples = []
    for sample, mask in zip(padded, features, strict=True):
        rows = []
        for i in range(features.shape[2]):
            row = []
            for j in range(features.shape[3]):
                kernel = weight @ mask[:, i, j] + layer.filter_conv.bias
                kernel = kernel.view(-1, layer.out_channels)
                top, left = i * step, j * step
                window = sample[:, top : top + size, left : left + size]
                row.append(window.flatten() @ kernel)
            rows.append(torch.stack(row, -1))
        samples.append(torch.stack(rows, -2))
    return torch.stack(samples), features


SHAPES = [
    (2, 3, 3, 1, 1, 3, 4),  # in, out, k, stride, padding, mask in, mask channels
    (2, 3, 5, 2, 2, 2, 4),
    (3, 1, 3, 2, 1, 1, 1),
    (1, 4, 1, 1, 0, 3, 2),
    (2, 2, 3, 1, 0, 2, 3),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_gated_convolutions_equal_a_kernel_for_every_place(shape: tuple[int, ...]):
    layer = made(*shape)
    x = draw(2, shape[0], 7, 10).requires_grad_()
    masks = draw(2, shape[5], 7, 10, seed=2).requires_grad_()
    sources = [x, masks, *layer.parameters()]
    found, slopes = [], []
    for compute in (layer, lambda *given: naive(layer, *given)):
        y, features = compute(x, masks)
        found.append((y, features))
        loss = y.sin().sum() + features.cos().sum()
        slopes.append(torch.autograd.grad(loss, sources))
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    for fast, slow in zip(*slopes, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_its_gradients_have_gradients(shape: tuple[int, ...]):
    layer = made(*shape)
    x = draw(2, shape[0], 4, 5).requires_grad_()
    masks = draw(2, shape[5], 4, 5, seed=2).requires_grad_()
    sources = [x, masks, *layer.parameters()]
    assert torch.autograd.gradgradcheck(
        lambda x, masks, *_: layer(x, masks), sources, fast_mode=True
    )


def test_a_gradient_penalty_reaches_every_weight():
    """The critic's slope comes from a plain sum, which has no graph of its own."""
    layer, x = made(2, 3, 3, 1, 1, 2, 4), draw(1, 2, 5, 6)
    masks, found = draw(1, 2, 5, 6, seed=2), []
    for compute in (layer, lambda *given: naive(layer, *given)):
        penalty = gradient_penalty(
            lambda given, by=compute: by(given, masks)[0], x, x + 1, t=T
        )
        found.append(torch.autograd.grad(penalty, list(layer.parameters())))
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
        assert fast.any()


def test_a_kernel_can_be_looked_at():
    layer, x, masks = made(2, 3, 3, 2, 1, 2, 4), draw(2, 2, 8, 9), draw(2, 2, 8, 9)
    y, _ = layer(x, masks)
    kernel = layer.kernels_at(masks, 2, 3)
    assert kernel.shape == (2, 3, 2, 3, 3)
    window = F.pad(x, [1] * 4)[:, :, 4:7, 6:9]
    torch.testing.assert_close(
        torch.einsum("noikl,nikl->no", kernel, window), y[..., 2, 3]
    )


def test_without_the_mask_s_part_it_is_one_convolution():
    layer = made(2, 3, 3, 1, 1, 2, 4)
    torch.nn.init.zeros_(layer.filter_conv.weight)
    x = draw(1, 2, 6, 6)
    y, _ = layer(x, draw(1, 2, 6, 6, seed=3))
    kernel = layer.filter_conv.bias.view(2 * 9, 3).t().view(3, 2, 3, 3)
    torch.testing.assert_close(y, F.conv2d(x, kernel, None, 1, 1))


def test_an_all_known_mask_gives_one_kernel_inside_and_others_at_the_border():
    layer, ones = made(2, 3, 3, 1, 1, 3, 4), torch.ones(1, 3, 8, 8).double()
    inside = layer.kernels_at(ones, 3, 3)
    torch.testing.assert_close(layer.kernels_at(ones, 4, 5), inside)
    assert (layer.kernels_at(ones, 0, 0) - inside).abs().max() > 0.01


def test_it_is_linear_in_the_features_of_the_picture():
    layer, masks = made(2, 3, 3, 1, 1, 2, 4), draw(1, 2, 6, 6)
    a, b = draw(1, 2, 6, 6, seed=4), draw(1, 2, 6, 6, seed=5)
    y = layer(2 * a - b, masks)[0]
    torch.testing.assert_close(y, 2 * layer(a, masks)[0] - layer(b, masks)[0])


def test_a_window_reads_its_own_part_of_the_mask_and_of_the_picture():
    layer, x, masks = made(2, 3, 3, 1, 1, 2, 4), draw(1, 2, 8, 8), draw(1, 2, 8, 8)
    y, _ = layer(x, masks)
    for changed in (0, 1):
        given = [x.clone(), masks.clone()]
        given[changed][..., 2, 5] += 1
        moved = (layer(*given)[0] != y).any(1)[0].nonzero()
        assert moved.amin(0).tolist() == [1, 4]
        assert moved.amax(0).tolist() == [3, 6]


def test_samples_do_not_mix_and_a_copy_does_the_same():
    layer, x, masks = made(2, 3, 3, 2, 1, 2, 4), draw(3, 2, 6, 7), draw(3, 2, 6, 7)
    y, features = layer(x, masks)
    torch.testing.assert_close(layer(x[1:2], masks[1:2])[0], y[1:2])
    other = deepcopy(layer)(x, masks)
    assert torch.equal(other[0], y)
    assert torch.equal(other[1], features)
    assert features.min() == 0


def test_it_tells_its_mask_features():
    layer, x, masks = made(2, 3, 3, 2, 1, 2, 4), draw(1, 2, 6, 6), draw(1, 2, 6, 6)
    with evidence.record(layer) as found:
        _, features = layer(x, masks)
    assert torch.equal(found[""]["mask_features"], features)


@pytest.mark.parametrize(
    ("x", "masks", "words"),
    [
        ((1, 3, 6, 6), (1, 2, 6, 6), r"x has shape .*expected \(N, 2, H, W\)"),
        ((1, 2, 6, 6), (1, 1, 6, 6), r"mask_features has shape .*\(N, 2, H, W\)"),
        ((1, 2, 6, 6), (2, 2, 6, 6), "same batch and size"),
        ((1, 2, 6, 6), (1, 2, 6, 5), "same batch and size"),
        ((2, 6, 6), (1, 2, 6, 6), "x has shape"),
    ],
)
def test_what_does_not_belong_together_is_refused(x, masks, words):
    with pytest.raises(ContractError, match=words):
        made(2, 3, 3, 1, 1, 2, 4)(draw(*x), draw(*masks))


def test_a_new_layer_varies_as_an_ordinary_convolution_does():
    """Mask features of the size that its own mask convolution makes; wide kernels."""
    torch.manual_seed(0)
    layer = MaskAwareDynamicConv2d(16, 64, 5, 1, 0, 4, mask_channels=16)
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(4, 16, 20, 20, generator=draw)
    y, features = layer(x, torch.randn(4, 4, 20, 20, generator=draw))
    assert 0.7 < features.square().mean() < 1.4
    assert 1.5 < y.var() < 2.5  # He's initialisation: 2, so that a ReLU leaves 1
