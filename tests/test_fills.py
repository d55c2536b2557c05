"""The classical fills: promises of all, and each against what defines it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from course_lib import fills, holes
from course_lib.tensors import ContractError

each_fill = pytest.mark.parametrize(
    "fill", fills.available().values(), ids=fills.available()
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(count: int = 2, height: int = 20, width: int = 26) -> tuple[Tensor, Tensor]:
    image = torch.rand(count, 3, height, width, generator=seeded())
    hole = holes.rectangles(count, (height, width), seeded(), per_picture=2)
    hole[0, 0, 0, :3] = 1  # at the corner too
    return image, hole


# ------------------------------------------------------------------- promises of all


@each_fill
def test_known_pixels_are_bit_exact_and_the_hole_is_filled(fill):
    image, hole = pair()
    filled = fill(torch.where(hole == 1, float("nan"), image), hole)
    known = (hole == 0).expand_as(image)
    assert filled.dtype == image.dtype
    assert torch.equal(filled[known], image[known])
    assert filled.isfinite().all()
    assert 0 <= filled.min() <= filled.max() <= 1


@each_fill
def test_noise_and_nan_under_the_hole_change_nothing(fill):
    image, hole = pair()
    filled = fill(image, hole)
    for hidden in (float("nan"), float("inf"), -7.0, torch.rand_like(image)):
        dirty = torch.where(hole == 1, torch.as_tensor(hidden), image)
        assert torch.equal(fill(dirty, hole), filled)
    assert not torch.equal(fill(1 - image, hole), filled)


@each_fill
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_every_kind_of_float_is_filled(fill, kind: torch.dtype):
    image, hole = (part.to(kind) for part in pair())
    filled = fill(image, hole)
    assert filled.dtype == kind
    expected = fill(image.float(), hole.float())
    torch.testing.assert_close(filled.float(), expected, rtol=0, atol=8e-3)


@each_fill
def test_each_sample_has_its_own_hole(fill):
    image, hole = pair(3)
    filled = fill(image, hole)
    for k in range(3):
        alone = fill(image[k : k + 1], hole[k : k + 1])
        torch.testing.assert_close(filled[k : k + 1], alone, rtol=0, atol=1e-6)


@each_fill
def test_the_arguments_stay_as_they_were(fill):
    image, hole = pair()
    before = (image.clone(), hole.clone(), torch.get_rng_state())
    fill(image, hole)
    after = (image, hole, torch.get_rng_state())
    assert all(map(torch.equal, before, after))


@each_fill
def test_without_a_hole_nothing_happens(fill):
    image, hole = pair()
    hole[0] = 0
    filled = fill(image, hole)
    assert torch.equal(filled[0], image[0])
    assert not torch.equal(filled[1], image[1])
    assert torch.equal(fill(image, torch.zeros_like(hole)), image)


@each_fill
def test_a_flat_picture_stays_flat(fill):
    image, hole = pair()
    flat = torch.full_like(image, 0.6)  # 153 of 255
    bytes_ = fill in (fills.telea, fills.navier_stokes)  # Telea cuts, step by step
    torch.testing.assert_close(
        fill(flat, hole), flat, rtol=0, atol=4 / 255 if bytes_ else 1e-5
    )


@each_fill
def test_one_known_pixel_is_enough_but_none_is_refused(fill):
    image, hole = pair(2, 5, 6)
    hole[1] = 1
    hole[1, 0, 2, 3] = 0
    assert fill(image, hole).isfinite().all()
    hole[1] = 1
    with pytest.raises(ContractError) as caught:
        fill(image, hole)
    for part in ("sample 1", "covers the whole picture", "Leave at least one pixel"):
        assert part in str(caught.value)


@each_fill
def test_a_pair_that_does_not_fit_is_refused(fill):
    image, hole = pair()
    with pytest.raises(ContractError, match="same N, H and W"):
        fill(image, hole[:1])
    with pytest.raises(ContractError, match=r"only 0 \(known\) and 1"):
        fill(image, hole / 2)
    with pytest.raises(ContractError, match="divide by 255"):
        fill(255 * image, hole)


@each_fill
def test_double_precision_stays_double(fill):
    image, hole = pair()
    assert fill(image.double(), hole.double()).dtype == torch.float64


# ------------------------------------------------------------------------------ mean


def test_mean_is_the_mean_of_the_known_pixels():
    image, hole = pair()
    filled = fills.mean(image, hole)
    for n in range(2):
        known = image[n][:, hole[n, 0] == 0]
        for channel in range(3):
            expected = known[channel].double().mean()
            values = filled[n, channel][hole[n, 0] == 1]
            torch.testing.assert_close(values, expected.float().expand_as(values))


def test_mean_of_a_large_picture_in_half_precision_does_not_overflow():
    image = torch.full((1, 3, 300, 300), 0.5, dtype=torch.float16)
    hole = torch.zeros(1, 1, 300, 300, dtype=torch.float16)
    hole[..., :10, :10] = 1
    assert (fills.mean(image, hole) == 0.5).all()


# -------------------------------------------------------------------------- harmonic


def laplace(height: int = 12, width: int = 9) -> tuple[np.ndarray, np.ndarray]:
    image, hole = pair(1, height, width)
    return image[0].permute(1, 2, 0).double().numpy(), hole[0, 0].numpy() > 0


def neighbours(y: int, x: int, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    four = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
    return [(v, u) for v, u in four if 0 <= v < shape[0] and 0 <= u < shape[1]]


def test_laplace_is_the_dense_system_solved():
    values, missing = laplace()
    places = [tuple(p) for p in np.argwhere(missing)]
    matrix, known = np.zeros((len(places), len(places))), np.zeros((len(places), 3))
    for row, (y, x) in enumerate(places):
        for place in neighbours(y, x, missing.shape):
            matrix[row, row] += 1
            if missing[place]:
                matrix[row, places.index(place)] -= 1
            else:
                known[row] += values[place]
    filled = fills.solve_laplace(values, missing)
    expected = np.linalg.solve(matrix, known)
    np.testing.assert_allclose(filled[missing], expected, atol=1e-12)
    assert np.array_equal(filled[~missing], values[~missing])


def test_every_missing_pixel_is_the_mean_of_its_neighbours():
    values, missing = laplace(25, 31)
    filled = fills.solve_laplace(values, missing)
    for y, x in np.argwhere(missing):
        around = [filled[place] for place in neighbours(y, x, missing.shape)]
        assert np.abs(filled[y, x] - np.mean(around, axis=0)).max() < 1e-10


def test_jacobi_iteration_ends_where_the_solver_starts():
    values, missing = laplace()
    filled, now = (
        fills.solve_laplace(values, missing),
        np.where(missing[..., None], 0, values),
    )
    for _ in range(1500):
        padded = np.pad(now, ((1, 1), (1, 1), (0, 0)), mode="edge")
        up, down = padded[:-2, 1:-1], padded[2:, 1:-1]
        left, right = padded[1:-1, :-2], padded[1:-1, 2:]
        now = np.where(missing[..., None], (up + down + left + right) / 4, values)
    np.testing.assert_allclose(now, filled, atol=1e-6)


def test_a_ramp_is_reproduced():
    y, x = np.mgrid[:14, :18] / 40.0
    ramp = np.stack([y, x, 0.2 + y / 2 + x / 2], -1)
    missing = np.zeros((14, 18), bool)
    missing[3:11, 4:16] = True
    spoiled = np.where(missing[..., None], np.nan, ramp)
    np.testing.assert_allclose(fills.solve_laplace(spoiled, missing), ramp, atol=1e-12)


def test_no_filled_value_leaves_the_range_of_the_rim():
    values, missing = laplace(25, 31)
    values[~missing] = 0.3 + 0.4 * values[~missing]
    filled = fills.solve_laplace(values, missing)[missing]
    assert (filled.min(0) >= values[~missing].min(0)).all()
    assert (filled.max(0) <= values[~missing].max(0)).all()


def test_harmonic_is_the_solver_on_each_picture():
    image, hole = pair()
    image = image.double()
    filled = fills.harmonic(image, hole.double())
    for n in range(2):
        values = image[n].permute(1, 2, 0).numpy()
        expected = fills.solve_laplace(values, hole[n, 0].numpy() > 0)
        np.testing.assert_allclose(filled[n].permute(1, 2, 0), expected, atol=1e-15)


def test_the_solver_returns_double_and_needs_no_hole():
    values, missing = laplace()
    filled = fills.solve_laplace(values.astype(np.float32), missing)
    assert filled.dtype == np.float64
    nothing = np.zeros_like(missing)
    assert np.array_equal(fills.solve_laplace(values, nothing), values)


# ------------------------------------------------------------------------ biharmonic


def test_biharmonic_reproduces_a_cubic():
    y, x = np.mgrid[:16, :20] / 20.0
    cubic = 0.4 + 0.3 * x**3 - 0.5 * x * y**2 + 0.2 * y
    image = torch.from_numpy(np.stack([cubic, y, x * y])[None])
    hole = torch.zeros(1, 1, 16, 20, dtype=torch.float64)
    hole[..., 5:10, 6:13] = 1
    torch.testing.assert_close(fills.biharmonic(image, hole), image, rtol=0, atol=1e-8)
    assert (fills.harmonic(image, hole) - image).abs().max() > 1e-3


def test_biharmonic_continues_a_slope_up_to_the_brightest_known_pixel():
    ramp = torch.linspace(0.1, 0.9, 12, dtype=torch.float64).expand(1, 3, 10, 12)
    image = torch.cat([ramp, ramp.flip(-1)], -1)
    hole = torch.zeros(1, 1, 10, 24, dtype=torch.float64)
    hole[..., 6:18] = 1  # the rim has 0.46
    assert fills.harmonic(image, hole)[..., 6:18].max() < 0.47
    assert fills.biharmonic(image, hole)[..., 6:18].max() < 0.47
    image[..., 0] = 1.0
    assert fills.biharmonic(image, hole)[..., 6:18].max() > 0.6


# ---------------------------------------------------------------------------- OpenCV

needs_opencv = pytest.mark.skipif("Telea" not in fills.available(), reason="no OpenCV")


@needs_opencv
@pytest.mark.parametrize("fill", [fills.telea, fills.navier_stokes])
def test_opencv_fills_are_opencvs(fill):
    import cv2

    image, hole = pair(1)
    flag = cv2.INPAINT_TELEA if fill is fills.telea else cv2.INPAINT_NS
    pixels = (torch.where(hole == 1, 0.5, image)[0] * 255).round().byte()
    missing = hole[0, 0].byte().numpy()
    made = cv2.inpaint(pixels.permute(1, 2, 0).contiguous().numpy(), missing, 3, flag)
    expected = torch.from_numpy(made).permute(2, 0, 1) / 255
    inside = (hole[0] == 1).expand_as(image[0])
    torch.testing.assert_close(fill(image, hole)[0][inside], expected[inside])


def test_without_opencv_two_fills_are_missing_and_say_why(monkeypatch):
    monkeypatch.setattr(fills, "find_spec", lambda _: None)
    assert list(fills.available()) == ["mean", "harmonic", "biharmonic"]
    with pytest.raises(ModuleNotFoundError, match="opencv-python-headless"):
        fills.telea(*pair())
