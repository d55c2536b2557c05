"""Lesson 07's exercises take every right answer, and say what is wrong with others."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from verdicts import verdict

from course_lib.exercises import find, grade, lesson_07
from course_lib.layers import MaskAwareDynamicConv2d, PointwiseNorm


def _number_by_number(
    features: Tensor, weight: Tensor, bias: Tensor, inputs: int, size: int
) -> Tensor:
    """Walks through the published order, a number at a time."""
    outputs = len(bias) // (inputs * size * size)
    kernel = bias.new_zeros(outputs, inputs, size, size)
    ranges = range(inputs), range(size), range(size), range(outputs)
    for row, (i, down, across, o) in enumerate(product(*ranges)):
        kernel[o, i, down, across] = bias[row] + weight[row].dot(features)
    return kernel


def _as_unfolded(
    features: Tensor, weight: Tensor, bias: Tensor, inputs: int, size: int
) -> Tensor:
    """As the matrix of an unfolded window, which conv2d's own view turns round."""
    matrix = F.linear(features, weight, bias).reshape(inputs * size**2, -1)
    return matrix.T.reshape(-1, inputs, size, size)


def _kernel(numbers: Tensor, inputs: int, size: int) -> Tensor:
    return numbers.reshape(inputs * size**2, -1).T.unflatten(1, (inputs, size, size))


def _one_by_one(
    x: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """A convolution for each feature, added up as they come."""
    filters = {"stride": stride, "padding": padding}
    y = F.conv2d(x, _kernel(bias, x.shape[1], size), **filters)
    for gate, column in zip(features.unbind(1), weight.unbind(1), strict=True):
        kernel = _kernel(column, x.shape[1], size)
        y = y + gate.unsqueeze(1) * F.conv2d(x, kernel, **filters)
    return y


def _unfolded(
    x: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """All windows times all parts of the kernels: a matrix product."""
    windows = F.unfold(x, size, padding=padding, stride=stride)
    gates = torch.cat([torch.ones_like(features[:, :1]), features], 1).flatten(2)
    parts = torch.cat([bias[:, None], weight], 1).unflatten(0, (windows.shape[1], -1))
    each = torch.einsum("nip,ioj->njop", windows, parts)
    return (each * gates[:, :, None]).sum(1).unflatten(2, features.shape[2:])


def _windows_scaled(
    x: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """Each window times each feature, then one product: many numbers, but no kernel."""
    windows = F.unfold(x, size, padding=padding, stride=stride)
    gates = torch.cat([torch.ones_like(features[:, :1]), features], 1).flatten(2)
    scaled = windows[:, :, None] * gates[:, None]
    parts = torch.cat([bias[:, None], weight], 1).unflatten(0, (windows.shape[1], -1))
    y = parts.movedim(1, 0).flatten(1) @ scaled.flatten(1, 2)
    return y.unflatten(2, features.shape[2:])


def _with_numpy(
    hole: Tensor, size: int, stride: int, padding: int
) -> tuple[Tensor, Tensor]:
    """Windows of a padded array as bytes, which can be counted in a dictionary."""
    around = np.pad(
        hole.numpy()[:, 0], [(0, 0)] + [(padding,) * 2] * 2, constant_values=1
    )
    windows = np.lib.stride_tricks.sliding_window_view(around, (size, size), (1, 2))
    numbers, maps = [], []
    for sample in windows[:, ::stride, ::stride]:
        keys = [[window.tobytes() for window in row] for row in sample]
        flat = [key for row in keys for key in row]
        numbers.append(len(set(flat)))
        maps.append([[[flat.count(key) / len(flat) for key in row] for row in keys]])
    return torch.tensor(numbers), torch.tensor(maps, dtype=hole.dtype)


def _pairs(hole: Tensor, size: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Every window against every other."""
    known = (
        F.pad(1 - hole, [padding] * 4).unfold(2, size, stride).unfold(3, size, stride)
    )
    flat = known[:, 0].flatten(3).flatten(1, 2)
    same = (flat[:, :, None] == flat[:, None]).all(3).to(hole.dtype)
    like = same.mean(2)
    number = (1 / same.sum(2)).sum(1).round().long()
    return number, like.view(len(hole), 1, *known.shape[2:4])


def _by_library(
    x: Tensor, guidance: Tensor, to_scale: Tensor, to_shift: Tensor
) -> Tensor:
    """Batch normalisation of PyTorch, both maps from one convolution."""
    guide = F.interpolate(guidance, x.shape[-2:], mode="bilinear", align_corners=False)
    maps = F.conv2d(guide, torch.cat([to_scale, to_shift]), padding=1)
    scale, shift = maps.chunk(2, 1)
    plain = F.batch_norm(x, None, None, training=True, eps=1e-5)
    return torch.addcmul(plain + shift, plain, scale)


def _with_a_layer(
    x: Tensor, guidance: Tensor, to_scale: Tensor, to_shift: Tensor
) -> Tensor:
    resize = nn.Upsample(x.shape[2:], mode="bilinear", align_corners=False)
    guide, plain = resize(guidance), nn.BatchNorm2d(x.shape[1], affine=False)(x)
    scale, shift = (F.conv2d(guide, w, padding="same") for w in (to_scale, to_shift))
    return plain + plain * scale + shift


def _mean_of_squares(
    x: Tensor, guidance: Tensor, to_scale: Tensor, to_shift: Tensor
) -> Tensor:
    """The variance as the mean of squares less the square of the mean."""
    guide = F.interpolate(guidance, x.shape[2:], mode="bilinear", align_corners=False)
    mean, squares = (a.mean((0, 2, 3), keepdim=True) for a in (x, x**2))
    plain = (x - mean) / torch.sqrt(squares - mean**2 + 1e-5)
    scale, shift = (F.conv2d(guide, w, padding=1) for w in (to_scale, to_shift))
    return plain * (1 + scale) + shift


OTHERS = [
    ("07.1", _number_by_number),
    ("07.1", _as_unfolded),
    ("07.2", _one_by_one),
    ("07.2", _unfolded),
    ("07.2", _windows_scaled),
    ("07.3", _with_numpy),
    ("07.3", _pairs),
    ("07.4", _by_library),
    ("07.4", _with_a_layer),
    ("07.4", _mean_of_squares),
]


@pytest.mark.parametrize(("key", "answer"), OTHERS)
def test_another_right_answer_passes(key: str, answer: Callable[..., Any]):
    assert grade(find(key), answer) == len(find(key).cases())


@pytest.fixture
def layer() -> MaskAwareDynamicConv2d:
    torch.manual_seed(0)
    return MaskAwareDynamicConv2d(3, 2, 5, 2, 2, 1, 6).double()


def _layer_of(layer: MaskAwareDynamicConv2d) -> tuple[Tensor, Tensor]:
    weight, bias = (part.detach() for part in layer.filter_conv.parameters())
    return weight[:, :, 0, 0], bias


def _valid() -> Tensor:
    hole = torch.zeros(2, 1, 14, 18, dtype=torch.float64)
    hole[0, :, 3:9, 5:12] = 1
    hole[1, :, 6:, :4] = 1
    return 1 - hole


def test_kernels_and_results_are_those_of_the_library(layer: MaskAwareDynamicConv2d):
    x = torch.randn(2, 3, 14, 18, dtype=torch.float64)
    y, features = layer(x, _valid())
    weight, bias = _layer_of(layer)
    made = lesson_07.made_kernel(features[1, :, 3, 4], weight, bias, 3, 5)
    assert torch.allclose(made, layer.kernels_at(_valid(), 3, 4)[1])
    assert torch.allclose(lesson_07.filtered(x, features, weight, bias, 5, 2, 2), y)


def test_windows_are_alike_where_the_library_makes_the_same_kernel(
    layer: MaskAwareDynamicConv2d,
):
    """The first level of lesson 07's network is asked for its kernels."""
    valid = _valid()
    numbers, share = lesson_07.different_windows(1 - valid, 5, 2, 2)
    rows, columns = share.shape[2:]
    for sample in range(2):
        made = [
            layer.kernels_at(valid, i, j)[sample].detach().flatten()
            for i, j in product(range(rows), range(columns))
        ]
        kernels = torch.stack(made)
        same = torch.cdist(
            kernels, kernels, compute_mode="donot_use_mm_for_euclid_dist"
        )
        alike = (same < 1e-9).double().mean(1)
        assert torch.allclose(share[sample].flatten(), alike)
        assert numbers[sample] == round((1 / (alike * len(made))).sum().item())


def test_counts_of_holes_that_can_be_counted_by_hand():
    empty, single = torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
    single[..., 2, 3] = 1
    for hole, size, padding, number in (
        (empty, 3, 0, 1),
        (empty, 3, 1, 9),  # a middle, four sides, four corners
        (empty, 1, 1, 2),
        (1 - empty, 3, 1, 1),
        (single, 3, 0, 10),  # 9 places for the missing pixel, and none
    ):
        found, share = lesson_07.different_windows(hole, size, 1, padding)
        assert found.tolist() == [number]
        assert (1 / share).mean() == pytest.approx(number)


def test_normalised_is_what_the_library_does_with_its_hidden_features():
    torch.manual_seed(0)
    norm = PointwiseNorm(4, 3, hidden=5).double()
    for part in (norm.scale, norm.shift):
        torch.nn.init.zeros_(part.bias)
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    guidance = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    found = lesson_07.normalised(
        x, norm.shared(guidance).relu(), norm.scale.weight, norm.shift.weight
    )
    assert torch.allclose(found, norm(x, guidance))


@pytest.mark.parametrize("name", ["a kernel for each place", "place by place"])
def test_kernels_for_all_places_are_noticed_though_the_values_are_right(name: str):
    said = verdict("07.2", find("07.2").wrong[name])
    assert said.startswith("the values are right, but the tensors made")
    assert "fewer than 985,600 are asked for" in said
    assert ("616 of shape 3200" if name == "place by place" else "3200") in said
    assert said.endswith(lesson_07.NO_KERNEL)


def test_work_counts_what_is_made_and_no_view():
    def answer(x: Tensor, *rest: Any) -> Tensor:
        twice = x.expand(100, *x.shape).flatten(1).T.unfold(0, 3, 1)[:2]
        made = x + 1
        made *= 2
        made.add_(x)
        return made.view(-1)[: twice.shape[0]]

    x = torch.zeros(1, 3, 4, 5)
    found = lesson_07._ask_filtered(answer, x, x, x, x, 3, 1, 1)
    assert found["work"] == lesson_07._Work(60, (1, 3, 4, 5), 1)


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("07.2", "features detached", "for `features`"),
        ("07.2", "kernels detached", "for `weight`"),
        ("07.4", "statistics detached", "for `x`"),
        ("07.4", "the guide detached", "for `guidance`"),
        ("07.4", "all detached", "no gradient flows through it"),
        ("07.3", "the number alone", "a tuple of 2 is asked for"),
    ],
)
def test_what_the_judge_lets_pass_is_told_by_the_check(key: str, name: str, said: str):
    assert said in verdict(key, find(key).wrong[name])
