"""The PNG encoder, read again by Pillow; pixels, hatching and grids."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import rc_params_from_file
from matplotlib.colors import to_rgb
from PIL import Image, ImageFont
from torch import Tensor

from course_lib import pictures
from course_lib.pictures import Picture, grid, hatched, png, show, to_pixels
from course_lib.tensors import ContractError


def noise(height: int = 9, width: int = 14, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def colour(text: str) -> list[int]:
    return [int(text[k : k + 2], 16) for k in (1, 3, 5)]


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.verify()  # every chunk's check sum
    return Image.open(io.BytesIO(data))


# ------------------------------------------------------------------------ the encoder


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (9, 14), (120, 33)])
def test_the_encoder_is_exact(shape: tuple[int, int]):
    pixels = noise(*shape)
    picture = decoded(png(pixels))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    assert np.array_equal(np.asarray(picture), pixels)


def test_the_encoder_takes_views_and_repeats_itself():
    pixels = noise(20, 30)[::2, ::-3]
    assert np.array_equal(np.asarray(decoded(png(pixels))), pixels)
    assert png(pixels) == png(pixels.copy())


def test_smooth_pictures_become_small():
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[:, None, None], 3, 2)
    smooth = np.ascontiguousarray(np.broadcast_to(ramp, (200, 300, 3)))
    assert len(png(smooth)) < 1500


def test_a_limit_reduces_colours_only_as_far_as_needed():
    pixels = noise(60, 80)
    whole = png(pixels)
    assert png(pixels, len(whole)) == whole
    sizes, colours = [], []
    for limit in (len(whole) - 1, 4500, 3300):
        data = png(pixels, limit)
        assert len(data) <= limit
        picture = decoded(data)
        assert picture.mode == "P"
        sizes.append(len(data))
        colours.append(
            len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))
        )
    assert colours == sorted(colours, reverse=True)
    assert 200 < colours[0] <= 256
    assert 32 < colours[1] <= 64
    assert 16 <= colours[2] <= 32


def test_a_palette_keeps_few_colours_exact():
    few = np.array([[255, 0, 0], [0, 200, 10], [3, 4, 250]], np.uint8)
    pixels = few[np.random.default_rng(0).integers(0, 3, (40, 50))]
    data = png(pixels, len(png(pixels)) - 1)
    picture = decoded(data)
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture.convert("RGB")), pixels)


def test_a_limit_that_cannot_be_kept_is_an_error():
    with pytest.raises(
        ContractError, match="80 x 60 pixels does not fit into 500 bytes"
    ):
        png(noise(60, 80), 500)


@pytest.mark.parametrize(
    "pixels", [noise().astype(float), noise()[..., 0], noise()[..., :2], noise()[None]]
)
def test_the_encoder_refuses_other_arrays(pixels: np.ndarray):
    with pytest.raises(ContractError) as caught:
        png(pixels)
    for part in (str(pixels.dtype), str(pixels.shape), "uint8 (H, W, 3)", "to_pixels"):
        assert part in str(caught.value)


def test_a_picture_shows_its_pixels_and_says_its_text():
    picture = Picture(noise(), "two fish")
    assert repr(picture) == "two fish"
    assert np.array_equal(np.asarray(decoded(picture._repr_png_())), noise())


def test_a_picture_that_is_too_large_is_shown_smaller():
    data = Picture(noise(350, 450) // 2, "")._repr_png_()
    assert len(data) <= pictures.MAX_PNG_BYTES
    small = decoded(data).convert("RGB")
    assert 0.4 < small.width / 450 < 0.95
    assert small.width / small.height == pytest.approx(9 / 7, abs=0.02)
    assert np.asarray(small).mean() == pytest.approx(63, abs=5)


# ------------------------------------------------------------------- from tensors


def test_pixels_are_rounded_to_the_nearest():
    image = torch.tensor([0.0, 0.4, 0.6, 127.49 / 255, 127.51 / 255, 1.0])
    found = to_pixels(image.view(1, 1, 1, 6).expand(1, 3, 1, 6))
    assert found.dtype == np.uint8
    assert found[0, :, 0].tolist() == [0, 102, 153, 127, 128, 255]


def test_every_byte_survives():
    pixels = noise()
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    assert np.array_equal(to_pixels(image), pixels)
    assert np.array_equal(to_pixels(image[None].requires_grad_()), pixels)
    assert np.array_equal(to_pixels(image.double()), pixels)


def test_values_outside_are_clipped_and_nan_is_shown_as_wrong():
    image = torch.zeros(3, 1, 3)
    image[:, 0, 0], image[:, 0, 1], image[1, 0, 2] = 3.0, -3.0, float("nan")
    found = to_pixels(image)[0].tolist()
    assert found == [[255] * 3, [0] * 3, colour(pictures.WRONG)]


def test_one_channel_is_grey():
    assert to_pixels(torch.full((1, 1, 2, 2), 0.2)).tolist() == [[[51] * 3] * 2] * 2


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 4, 4), (4, 4), (4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ContractError) as caught:
        to_pixels(torch.zeros(shape))
    for part in (str(shape), "(3, H, W)", "image[k]"):
        assert part in str(caught.value)


# --------------------------------------------------------------------------- hatching


def pair() -> tuple[Tensor, Tensor]:
    image = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(2, 1, 20, 30)
    hole[0, :, 2:12, 4:20] = 1
    hole[1, :, 10:, :] = 1
    return image, hole


def test_a_hole_is_hatched_and_the_rest_untouched():
    image, hole = pair()
    drawn = hatched(image, hole)
    known = (hole == 0).expand_as(image)
    assert torch.equal(drawn[known], image[known])
    dark, light = (
        torch.tensor(c) / 255 for c in (pictures.HOLE_DARK, pictures.HOLE_LIGHT)
    )
    for n, _, y, x in hole.nonzero().tolist():
        expected = light if (y + x) % 8 < 2 else dark
        assert torch.allclose(drawn[n, :, y, x], expected)


def test_what_the_hole_hides_is_not_drawn():
    image, hole = pair()
    hidden = torch.where(hole == 1, float("nan"), image)
    assert torch.equal(hatched(hidden, hole), hatched(image, hole))
    assert np.array_equal(show(hidden, hole).pixels, show(image, hole).pixels)


# -------------------------------------------------------------------------------- grids


def test_a_grid_puts_every_picture_in_its_place():
    image, hole = pair()
    made = grid({"photo": image, "hole": hole}, scale=1)
    assert made.pixels.shape == (20 + 2 * 20 + 6, 2 * 30 + 6, 3)
    for i in range(2):
        for j, column in enumerate((image, hole)):
            top, left = 20 + 26 * i, 36 * j
            tile = made.pixels[top : top + 20, left : left + 30]
            assert np.array_equal(tile, to_pixels(column[i]))
    assert (made.pixels[40:46] == 255).all()
    assert (made.pixels[:20] < 128).any()  # the names


def test_a_grid_enlarges_by_whole_pixels_and_shrinks_smoothly():
    image, _ = pair()
    large = grid({"a": image[:1]}, scale=3).pixels[20:]
    assert np.array_equal(large, to_pixels(image[0]).repeat(3, 0).repeat(3, 1))
    small = grid({"a": image[:1]}, scale=0.5).pixels[20:].astype(float) / 255
    assert small.shape == (10, 15, 3)
    assert small.std() < 0.75 * image[0].std().item()  # averaged, not picked
    assert small.mean() == pytest.approx(image[0].mean().item(), abs=0.02)


@pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 20_000)])
def test_a_strip_of_one_pixel_stays_visible(size: tuple[int, int]):
    shown = pictures.grid({"strip": torch.zeros(1, 3, *size)})
    assert (shown.pixels[20:] == 0).all(2).any()


def test_a_grid_says_what_it_shows():
    image, hole = pair()
    made = grid({"photo": image, "hole": hole}, text="PSNR 21 dB")
    assert repr(made) == "2 x 2 pictures of 30 x 20: photo | hole (PSNR 21 dB)"


def test_rows_get_their_names_in_a_margin_of_their_own():
    image, _ = pair()
    made = grid({"a": image}, rows=("one", "two"), scale=1).pixels
    assert made.shape == (66, 74 + 30, 3)
    assert np.array_equal(made[20:40, 74:], to_pixels(image[0]))
    assert (made[20:40, :74] < 128).any()
    assert (made[46:66, :74] < 128).any()


def test_a_long_name_of_a_row_is_not_cut_by_its_picture():
    image, _ = pair()
    name = "no slope, less the mean"
    made = grid({"a": image}, rows=(name, "two"), scale=1).pixels
    side = made.shape[1] - 30
    assert np.array_equal(made[20:40, side:], to_pixels(image[0]))
    written = (made[20:40, :side] < 128).any((0, 2)).nonzero()[0]
    whole = ImageFont.load_default(12).getlength(name)
    assert whole - 3 < written.max() < side - 3  # all of it, and then a gap


@pytest.mark.parametrize("rows", [(), ("a",)])
@pytest.mark.parametrize("side", [16, 100, 128, 256, 700])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 7])
def test_a_grid_is_at_most_820_pixels_wide(rows, side: int, columns: int):
    tile = torch.zeros(1, 1, 4, side)
    made = grid({str(k): tile for k in range(columns)}, rows=rows).pixels
    assert made.shape[1] <= 820
    assert made.shape[1] > 400 or side * columns * 4 < 420


def test_a_grid_refuses_what_does_not_fit_together():
    image, hole = pair()
    with pytest.raises(ContractError) as caught:
        grid({"photo": image, "small": hole[..., :10]})
    for part in (
        "photo",
        "(2, 3, 20, 30)",
        "(2, 1, 20, 10)",
        "one N, H and W",
        "resize",
    ):
        assert part in str(caught.value)
    with pytest.raises(ContractError, match="at least one column"):
        grid({})
    with pytest.raises(ContractError, match="1 row names for 2 pictures"):
        grid({"photo": image}, rows=("one",))


def test_show_shows_the_first_with_or_without_its_hole():
    image, hole = pair()
    plain, holed = show(image, text="a fish"), show(image, hole)
    assert repr(plain) == "1 x 1 pictures of 30 x 20: a fish"
    scale = (plain.pixels.shape[1]) // 30
    expected = to_pixels(image[0]).repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(plain.pixels[20:], expected)
    expected = to_pixels(hatched(image, hole)[0]).repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(holed.pixels[20:], expected)


# What colours look like without red, or without green, cones (Machado et al. 2009)
SIGHTS = {
    "all": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_lines_of_figures_have_no_colour_that_means_something(sight: str):
    style = Path(pictures.__file__).with_name("course.mplstyle")
    cycle = rc_params_from_file(style, use_default_template=False)["axes.prop_cycle"]
    lines = [to_rgb(one["color"]) for one in cycle]
    styles = [str(one["linestyle"]) for one in cycle]
    assert len(set(styles)) == len(lines) == 6, "no two differ in colour alone"
    meant = [to_rgb(c) for c in (pictures.READ, pictures.WRONG, pictures.QUERY)]
    seen = np.array(SIGHTS[sight]) @ (np.array([*lines, *meant]) ** 2.2).T
    seen = (seen.clip(0, 1) ** (1 / 2.2)).T
    apart = np.linalg.norm(seen[:6, None] - seen[None], axis=-1)
    assert apart[:, 6:].min() > 0.34, "teal, vermilion and yellow keep their meaning"
