"""Losses of several terms: their terms, their weights, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.losses import (
    PARTIAL_CONVOLUTION_WEIGHTS,
    cascade_loss,
    gram,
    partial_convolution_loss,
)
from course_lib.tensors import ContractError

PAPER = {
    "valid": 1,
    "hole": 6,
    "perceptual": 0.05,
    "style": 120,
    "total_variation": 0.1,
}


def look(picture):
    """A small stand-in for the VGG: two maps of different sizes."""
    return [3 * picture, F.avg_pool2d(picture, 2).square()]


@pytest.fixture
def case():
    draw = torch.Generator().manual_seed(4)
    ours, image = torch.rand(2, 2, 3, 8, 6, generator=draw, dtype=torch.float64)
    hole = (torch.rand(2, 1, 8, 6, generator=draw) < 0.4).double()
    return ours.requires_grad_(), image, hole


def by_definition(ours, image, hole):
    """Equation 7 written out, with M the validity as in the paper."""
    valid = 1 - hole
    gap = (ours - image).abs()
    filled = valid * image + hole * ours
    perceptual = style = 0.0
    for picture in (ours, filled):
        for mine, wanted in zip(look(picture), look(image), strict=True):
            perceptual = perceptual + (mine - wanted).abs().mean()
            style = style + (gram(mine) - gram(wanted)).abs().mean()
    near = (F.conv2d(hole, torch.ones(1, 1, 3, 3).double(), padding=1) > 0).double()
    rows = (near[..., 1:, :] * near[..., :-1, :] * filled.diff(dim=2)).abs().sum()
    columns = (near[..., 1:] * near[..., :-1] * filled.diff(dim=3)).abs().sum()
    return {
        "valid": (valid * gap).mean(),
        "hole": (hole * gap).mean(),
        "perceptual": perceptual,
        "style": style,
        "total_variation": (rows + columns) / image.numel(),
    }


def test_terms_total_and_gradient_are_the_papers(case):
    found = partial_convolution_loss(*case, look)
    expected = by_definition(*case)
    assert list(found) == [*expected, "total"]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=0)
    total = sum(PAPER[name] * value for name, value in expected.items())
    slopes = [torch.autograd.grad(t, case[0])[0] for t in (found["total"], total)]
    torch.testing.assert_close(found["total"], total)
    torch.testing.assert_close(*slopes)


def test_weights_are_the_papers_and_cannot_be_changed():
    assert dict(PARTIAL_CONVOLUTION_WEIGHTS) == PAPER
    with pytest.raises(TypeError):
        PARTIAL_CONVOLUTION_WEIGHTS["hole"] = 1


@pytest.mark.parametrize("name", PAPER)
def test_each_weight_weighs_its_own_term(case, name):
    only = {term: float(term == name) for term in PAPER}
    found = partial_convolution_loss(*case, look, only)
    torch.testing.assert_close(found["total"], found[name])


def test_tiling_changes_only_what_the_new_borders_touch(case):
    tiled = [part.repeat(1, 1, 2, 2) for part in case]
    once, four = (partial_convolution_loss(*c, look) for c in (case, tiled))
    for name in ("valid", "hole", "perceptual", "style"):
        torch.testing.assert_close(once[name], four[name])


def test_default_extractor_is_the_scaled_vgg():
    draw = torch.Generator().manual_seed(1)
    ours, image = torch.rand(2, 1, 3, 16, 16, generator=draw)
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 4:12, 4:12] = 1
    found = partial_convolution_loss(ours, image, hole)
    perfect = partial_convolution_loss(image, image, hole)
    # scaled to activations near 1; the raw ones would be 100 times as large
    assert 0.5 < found["perceptual"] < 20
    assert all(perfect[name] == 0 for name in PAPER if name != "total_variation")


@pytest.mark.parametrize(
    "weights", [{}, {**PAPER, "tv": 1}, {"hole": 6}], ids=["none", "more", "fewer"]
)
def test_refuses_weights_of_other_terms(case, weights):
    with pytest.raises(ContractError, match="expected one for each of valid, hole"):
        partial_convolution_loss(*case, look, weights)


def test_refuses_shapes_that_do_not_belong_together(case):
    ours, image, hole = case
    with pytest.raises(ContractError):
        partial_convolution_loss(ours, image, hole[..., :4], look)


def answers(case, count):
    ours = case[0]
    return [(ours.detach() * (k + 1) / 3).requires_grad_() for k in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_cascade_is_asked_for_more_from_answer_to_answer(case, count):
    _, image, hole = case
    predictions = answers(case, count)
    found = cascade_loss(predictions, image, hole, look)
    asked = {"valid": 0, "hole": 0, "perceptual": 1, "style": 2, "total_variation": 2}
    every = [by_definition(picture, image, hole) for picture in predictions]
    expected = {
        name: sum(terms[name] for terms in every[first:])
        for name, first in asked.items()
        if count > first
    }
    assert list(found) == [*expected, "total"]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=0)
    total = sum(PAPER[name] * value for name, value in expected.items())
    slopes = [torch.autograd.grad(t, predictions) for t in (found["total"], total)]
    torch.testing.assert_close(*slopes)


def test_a_term_without_weight_is_not_computed(case):
    def never(picture):
        raise AssertionError("looked")

    weights = {**PAPER, "perceptual": 0, "style": 0, "total_variation": 0}
    found = cascade_loss(answers(case, 3), *case[1:], never, weights)
    assert list(found) == ["valid", "hole", "total"]
    only = cascade_loss(answers(case, 3), *case[1:], look, {**PAPER, "style": 0})
    assert list(only) == ["valid", "hole", "perceptual", "total_variation", "total"]


def test_a_cascade_reads_nothing_that_is_not_there(case):
    with pytest.raises(ContractError, match="no predictions"):
        cascade_loss([], *case[1:], look)
    with pytest.raises(ContractError, match="expected one for each of valid, hole"):
        cascade_loss(answers(case, 1), *case[1:], look, {"hole": 6})
