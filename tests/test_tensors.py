"""The conventions: what is let through, what is refused with which words."""

import numpy as np
import pytest
import torch
from torch import Tensor

from course_lib.tensors import (
    ContractError,
    check_hole,
    check_image,
    check_pair,
    composite,
    hide,
    sketch_in_hole,
)


def pair(count: int = 2, height: int = 5, width: int = 7) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.4).float()
    return image, hole


def refuse(function, *arguments, says: str) -> None:
    """Each part of ``says``, split at |, stands in the error's text."""
    with pytest.raises(ContractError) as caught:
        function(*arguments)
    for part in says.split("|"):
        assert part in str(caught.value)


def test_hide_and_composite_are_the_loops_they_replace():
    image, hole = pair()
    other = 1 - image
    hidden, joined = image.clone(), image.clone()
    for n, _, y, x in hole.nonzero().tolist():
        hidden[n, :, y, x] = 0.25
        joined[n, :, y, x] = other[n, :, y, x]
    assert torch.equal(hide(image, hole, 0.25), hidden)
    assert torch.equal(composite(other, image, hole), joined)


def test_hide_takes_a_number_or_colours_and_mid_grey_by_default():
    image, hole = pair()
    assert (hide(image, hole)[hole.expand_as(image) == 1] == 0.5).all()
    colour = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])[..., None, None]
    filled = hide(image, hole, colour)
    assert torch.equal(filled, torch.where(hole == 1, colour, image))
    assert hide(image.double(), hole).dtype == torch.float64


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -3.0])
def test_what_the_hole_hides_reaches_nothing(poison: float):
    image, hole = pair()
    dirty = torch.where(hole == 1, poison, image)
    assert torch.equal(hide(dirty, hole), hide(image, hole))
    made = torch.rand_like(image)
    assert torch.equal(composite(made, dirty, hole), composite(made, image, hole))
    check_pair(dirty, hole)


def test_no_gradient_reaches_a_hidden_pixel_and_all_of_it_a_known_one():
    image, hole = pair()
    poisoned = torch.where(hole == 1, float("nan"), image).requires_grad_()
    hide(poisoned, hole).square().sum().backward()
    assert torch.equal(poisoned.grad, torch.where(hole == 1, 0.0, 2 * image))


def test_composite_drops_the_prediction_outside_the_hole_and_keeps_the_dtype():
    image, hole = pair()
    prediction = torch.where(hole == 1, 0.5, float("nan")).expand_as(image)
    joined = composite(prediction.double(), image, hole)
    assert joined.dtype == image.dtype
    known = (hole == 0).expand_as(image)
    assert torch.equal(joined[known], image[known])
    assert (joined[~known] == 0.5).all()


def test_good_tensors_pass_unchanged():
    image, hole = pair()
    assert check_image(image) is image
    assert check_hole(hole) is hole
    assert check_image(image.half()).dtype == torch.float16
    check_image(torch.full((1, 3, 2, 2), float("nan")), finite=False)
    check_image(torch.full((1, 3, 2, 2), 1 + 5e-5))  # rounding of a sum is no error
    check_pair(image, hole)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((1, 3, 4, 4)), "image is a ndarray|float tensor|photos.decode"),
        (torch.zeros(3, 4, 5), "(3, 4, 5)|(N, 3, H, W)|x[None]"),
        (torch.zeros(4, 5), "(4, 5)|(N, 3, H, W)|x[None, None]"),
        (torch.zeros(4, 5, 3), "(4, 5, 3)|(N, 3, H, W)|x.permute(2, 0, 1)[None]"),
        (torch.zeros(1, 4, 5, 3), "(1, 4, 5, 3)|(N, 3, H, W)|x.permute(0, 3, 1, 2)"),
        (torch.zeros(1, 1, 4, 5), "(1, 1, 4, 5)|(N, 3, H, W)|x.expand(-1, 3, -1, -1)"),
        (torch.zeros(1, 4, 4, 5), "(1, 4, 4, 5)|(N, 3, H, W)|x[:, :3]"),
        (torch.zeros(0, 3, 4, 5), "(0, 3, 4, 5)|at least one pixel|cut or selected"),
        (
            torch.zeros(1, 3, 4, 5, dtype=torch.uint8),
            "torch.uint8|float tensor|image.float() / 255",
        ),
        (torch.zeros(1, 3, 4, 5).int(), "torch.int32|float tensor|image.float()"),
        (torch.full((1, 3, 2, 2), 200.0), "200 to 200|[0, 1]|divide by 255"),
        (torch.full((1, 3, 2, 2), -1.0), "-1 to -1|[0, 1]|(x + 1) / 2"),
        (torch.full((1, 3, 2, 2), float("inf")), "inf|[0, 1]|divide by 255"),
        (torch.full((1, 3, 2, 2), float("nan")), "12 NaN|[0, 1]|hide"),
    ],
)
def test_a_bad_image_is_told_what_was_given_expected_and_to_do(image, says: str):
    refuse(check_image, image, says=says)


@pytest.mark.parametrize(
    ("hole", "says"),
    [
        ([0, 1], "hole is a list|(N, 1, H, W)|holes.*"),
        (torch.zeros(1, 3, 4, 5), "(1, 3, 4, 5)|(N, 1, H, W)|x[:, :1]"),
        (torch.zeros(4, 5), "(4, 5)|(N, 1, H, W)|x[None, None]"),
        (torch.zeros(1, 1, 2, 2).bool(), "torch.bool|float tensor|hole.float()"),
        (torch.full((1, 1, 2, 2), 0.3), "4 of 4|only 0 (known) and 1|0.3|hole > 0.5"),
        (torch.full((1, 1, 2, 2), 255.0), "4 of 4|only 0 (known) and 1|255|binarise"),
        (torch.full((1, 1, 2, 2), float("nan")), "4 of 4|nan|holes.resize"),
    ],
)
def test_a_bad_hole_is_told_what_was_given_expected_and_to_do(hole, says: str):
    refuse(check_hole, hole, says=says)


def test_the_name_of_the_argument_stands_in_the_text():
    refuse(
        check_image, torch.zeros(3), "first frame", says="first frame has shape (3,)"
    )
    refuse(check_hole, torch.full((1, 1, 1, 1), 0.5), "stroke", says="stroke must hold")


def test_a_pair_must_belong_together():
    image, hole = pair()
    shapes = "image (2, 3, 5, 7)|must have the same N, H and W|hole.expand"
    refuse(check_pair, image, hole[:1], says=shapes + "|hole (1, 1, 5, 7)")
    refuse(check_pair, image, hole[..., :6], says=shapes + "|hole (2, 1, 5, 6)")
    refuse(check_pair, image.to("meta"), hole, says="cpu|meta|.to()")
    bright = torch.where(hole == 0, 255.0, image)
    refuse(check_pair, bright, hole, says="known pixels|255|divide by 255")
    broken = torch.where(hole == 0, float("nan"), image)
    refuse(check_pair, broken, hole, says="known pixels|NaN|hide")


def test_composite_refuses_what_does_not_fit():
    image, hole = pair()
    small = "prediction (1, 3, 5, 7)|image (2, 3, 5, 7)|same shape|give the picture"
    refuse(composite, image[:1], image, hole, says=small)
    other = "hole (2, 1, 5, 6)|expected (2, 1, 5, 7)|holes.resize"
    refuse(composite, image, image, hole[..., :6], says=other)
    refuse(composite, image, image, hole[:1], says="expected (2, 1, 5, 7)")


def test_a_sketch_counts_where_pixels_are_missing():
    image, hole = pair()
    drawn = torch.full_like(hole, float("nan"))
    drawn[hole == 1] = 1
    assert torch.equal(sketch_in_hole(drawn, image, hole), hole)
    nothing = sketch_in_hole(None, image.half(), hole)
    assert nothing.dtype == sketch_in_hole(drawn, image.half(), hole).dtype
    assert nothing.dtype == torch.float16
    assert nothing.shape == hole.shape
    assert (nothing == 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (2, 3, 5, 7), (2, 1, 7, 5)])
def test_a_sketch_of_another_shape_is_refused(shape: tuple[int, ...]):
    says = f"sketch {shape}|the hole's shape (2, 1, 5, 7)"
    refuse(sketch_in_hole, torch.zeros(shape), *pair(), says=says)
