"""Holes: each fast maker against the loop that defines it, and what it promises."""

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from course_lib import holes, photos
from course_lib.holes import HoleError
from course_lib.tensors import ContractError, check_hole

SIZES = [32, (24, 40), (41, 17)]
MAKERS = {
    "rectangles": holes.rectangles,
    "strokes": holes.strokes,
    "irregular": holes.irregular,
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_hole(count: int = 2, height: int = 12, width: int = 17) -> Tensor:
    draw = torch.rand(count, 1, height, width, generator=seeded(7))
    return (draw < torch.linspace(0.1, 0.6, count).view(-1, 1, 1, 1)).float()


# ------------------------------------------------------------------- promises of all


@each_maker
@pytest.mark.parametrize("size", SIZES)
def test_a_maker_gives_binary_holes_of_the_size_asked_for(make, size):
    hole = check_hole(make(20, size, seeded()))
    height, width = (size, size) if isinstance(size, int) else size
    assert hole.shape == (20, 1, height, width)
    assert hole.dtype == torch.float32
    assert (holes.ratio(hole) > 0).all()
    assert (holes.ratio(hole) < 1).all()


@each_maker
def test_the_same_seed_gives_the_same_holes_and_the_global_one_rests(make):
    before = torch.get_rng_state()
    assert torch.equal(make(6, 32, seeded()), make(6, 32, seeded()))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(make(6, 32, seeded()), make(6, 32, seeded(1)))
    generator = seeded()
    assert not torch.equal(make(6, 32, generator), make(6, 32, generator))


@each_maker
def test_each_sample_has_its_own_hole(make):
    assert len(make(8, 32, seeded()).flatten(1).unique(dim=0)) == 8


@each_maker
def test_no_hole_can_be_asked_for_but_no_pixel_cannot(make):
    assert make(0, 16, seeded()).shape == (0, 1, 16, 16)
    with pytest.raises(HoleError, match="must be positive"):
        make(1, (16, 0), seeded())


# ------------------------------------------------------------------------ rectangles


def test_a_rectangle_is_filled_and_within_its_sides():
    hole = holes.rectangles(60, (40, 80), seeded(), side=(0.2, 0.5))
    for sample in hole[:, 0]:
        rows, columns = sample.nonzero().T
        height = int(rows.max() - rows.min()) + 1
        width = int(columns.max() - columns.min()) + 1
        assert len(rows) == height * width
        assert 8 <= height <= 20
        assert 16 <= width <= 40


def test_rectangles_are_drawn_as_the_loop_draws_them():
    size, count, each = (12, 18), 5, 3
    draws = torch.rand(4, count, each, generator=seeded())
    expected = torch.zeros(count, 1, *size)
    for n in range(count):
        for k in range(each):
            edges = []
            for axis in (0, 1):
                pixels = round((0.25 + 0.25 * draws[axis, n, k].item()) * size[axis])
                first = int(draws[2 + axis, n, k].item() * (size[axis] - pixels + 1))
                edges += [first, first + pixels]
            expected[n, 0, edges[0] : edges[1], edges[2] : edges[3]] = 1
    found = holes.rectangles(count, size, seeded(), per_picture=each)
    assert torch.equal(found, expected)


def test_a_place_is_uniform_from_edge_to_edge():
    hole = holes.rectangles(400, 8, seeded(), side=(0.5, 0.5))
    starts = hole[:, 0].amax(2).argmax(1)
    counts = torch.bincount(starts, minlength=5).tolist()
    assert len(counts) == 5
    assert all(50 < count < 110 for count in counts)


@pytest.mark.parametrize("size", [10, 13, 64, (11, 40)])
@pytest.mark.parametrize("margin", [0.1, 0.25])
def test_a_margin_stays_free(size, margin: float):
    hole = holes.rectangles(
        80, size, seeded(), side=(0.1, 1 - 2 * margin), margin=margin
    )
    assert not holes.touches_border(hole, margin).any()
    assert (holes.ratio(hole) > 0).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"side": (0.0, 0.5)}, "0 < low"),
        ({"side": (0.5, 0.4)}, "low <= high"),
        ({"side": (0.2, 0.9), "margin": 0.1}, "1 - 2 \\* margin"),
        ({"side": (0.01, 0.02), "margin": 0.48}, "no room inside a margin of 0.48"),
    ],
)
def test_a_rectangle_that_does_not_fit_is_refused(options: dict, says: str):
    with pytest.raises(HoleError, match=says):
        holes.rectangles(1, 8, seeded(), **options)


# --------------------------------------------------------------------------- strokes


def drawn(monkeypatch: pytest.MonkeyPatch, count: int, size, **options):
    """The hole of ``strokes`` and the arguments it gave to ``_capsules``."""
    taken = []
    fast = holes._capsules
    monkeypatch.setattr(holes, "_capsules", lambda *a: taken.append(a) or fast(*a))
    hole = holes.strokes(count, size, seeded(), **options)
    return hole, taken[0]


@pytest.mark.parametrize("size", [(16, 16), (14, 23)])
def test_capsules_are_the_pixels_near_a_segment(monkeypatch, size):
    hole, (count, _, which, start, end, radius) = drawn(monkeypatch, 4, size)
    gap = torch.full((count, *size), math.inf, dtype=torch.float64)
    rounds = zip(
        which.tolist(), start.tolist(), end.tolist(), radius.tolist(), strict=True
    )
    for n, (ay, ax), (by, bx), r in rounds:
        length = (by - ay) ** 2 + (bx - ax) ** 2
        for y in range(size[0]):
            for x in range(size[1]):
                py, px = y + 0.5, x + 0.5
                t = ((py - ay) * (by - ay) + (px - ax) * (bx - ax)) / (length or 1)
                t = min(1.0, max(0.0, t))
                away = math.hypot(py - ay - t * (by - ay), px - ax - t * (bx - ax)) - r
                gap[n, y, x] = min(gap[n, y, x], away)
    sure = gap.abs() > 1e-4  # the rest is rounding
    assert sure.float().mean() > 0.99
    assert torch.equal(hole[:, 0][sure], (gap <= 0).float()[sure])
    assert set(which.tolist()) == set(range(count))


def test_a_stroke_is_a_zigzag_inside_the_picture_and_drifts_any_way():
    points, brush, used = holes._walks(200, (4, 11), 60, 90, seeded())
    assert (points >= 0).all()
    assert (points <= torch.tensor([60.0, 90.0])).all()
    assert set(used.sum(1).tolist()) == set(range(4, 12))
    assert (used[:, :-1] >= used[:, 1:]).all()
    assert 0 <= brush.min() < brush.max() <= 1
    step = points[:, 1:] - points[:, :-1]
    inside = ((points > 0) & (points < torch.tensor([60.0, 90.0]))).all(-1)
    free = inside[:, 1:] & (step.norm(dim=-1) > 1e-3)
    zigzag = torch.where(torch.arange(11) % 2 == 0, -1, 1) * step[..., 0]
    rising = ((zigzag > 0) | ~free).all(1)
    falling = ((zigzag < 0) | ~free).all(1)
    assert (rising | falling).all()
    steep = torch.atan2(step[..., 0].abs(), step[..., 1]).rad2deg()
    right = (((steep > 24 - 0.1) & (steep < 120 + 0.1)) | ~free).all(1)
    left = (((steep > 60 - 0.1) & (steep < 156 + 0.1)) | ~free).all(1)
    assert (right | left).all()
    drift = torch.where(free, step[..., 1], 0.0).sum(1)  # both ways, up and down first
    for drifts in (drift > 0, drift < 0):
        for starts in (rising & ~falling, falling & ~rising):
            assert 25 < (drifts & starts).sum() < 75
    unit = math.hypot(60, 90) / 8
    assert step.norm(dim=-1).max() <= 2 * unit + 1e-3
    assert abs(step.norm(dim=-1)[free].mean() - unit) < 0.25 * unit


def test_the_brush_scales_with_the_picture(monkeypatch: pytest.MonkeyPatch):
    for side in (64, 256):
        _, (*_, radius) = drawn(monkeypatch, 100, side)
        share = 2 * radius / side
        assert 12 / 256 <= share.min() < 14 / 256
        assert 38 / 256 < share.max() <= 40 / 256
    _, (*_, wide) = drawn(monkeypatch, 100, (64, 256))
    assert wide.max() <= 20 / 256 * 128


def test_strokes_cover_what_the_published_ones_cover_at_any_size():
    share = {
        side: float(holes.ratio(holes.strokes(120, side, seeded())).mean())
        for side in (64, 128, 256)
    }
    assert all(0.12 < value < 0.18 for value in share.values())
    assert max(share.values()) - min(share.values()) < 0.02


def test_more_strokes_and_joints_make_larger_holes():
    def mean(**options) -> float:
        return float(holes.ratio(holes.strokes(60, 32, seeded(), **options)).mean())

    assert mean(per_picture=(1, 1)) < 0.7 * mean(per_picture=(4, 4))
    assert mean(vertices=(1, 1)) < 0.7 * mean(vertices=(9, 9))
    assert mean(width=(0.05, 0.05)) < 0.7 * mean(width=(0.2, 0.2))


def test_even_the_thinnest_stroke_leaves_a_pixel():
    thin = {"width": (1e-6, 1e-6), "per_picture": (1, 1), "vertices": (1, 1)}
    for size in (1, 2, (3, 50)):
        assert (holes.ratio(holes.strokes(300, size, seeded(), **thin)) > 0).all()


# ----------------------------------------------------------------- from optical flow


def smooth_flow(seed: int, size: tuple[int, int] = (9, 13)) -> Tensor:
    coarse = torch.randn(2, 2, 3, 3, generator=seeded(seed), dtype=torch.float64)
    return 1.5 * torch.nn.functional.interpolate(
        coarse, size, mode="bicubic", align_corners=True
    )


def test_inconsistent_is_the_check_written_out():
    forward, backward = smooth_flow(0), smooth_flow(1) / 2 - smooth_flow(0)
    count, _, height, width = forward.shape
    expected = torch.zeros(count, 1, height, width, dtype=torch.float64)
    for n in range(count):
        for y in range(height):
            for x in range(width):
                w = forward[n, :, y, x]
                expected[n, 0, y, x] = marked(w, backward[n], y, x)
    found = holes.inconsistent(forward, backward)
    assert torch.equal(found, expected)
    assert 0.1 < found.mean() < 0.9


def marked(w: Tensor, backward: Tensor, y: int, x: int) -> bool:
    """One pixel: leaves the picture, or does not come back to itself."""
    height, width = backward.shape[-2:]
    qy, qx = y + w[0].item(), x + w[1].item()
    if not (0 <= qy <= height - 1 and 0 <= qx <= width - 1):
        return True
    top, left = min(int(qy), height - 2), min(int(qx), width - 2)
    fy, fx = qy - top, qx - left
    four = backward[:, top : top + 2, left : left + 2]
    rows = four[:, 0] * (1 - fy) + four[:, 1] * fy
    b = rows[:, 0] * (1 - fx) + rows[:, 1] * fx
    gap = (w + b).square().sum()
    return bool(gap > 0.01 * (w.square().sum() + b.square().sum()) + 0.5)


def test_a_whole_shift_is_consistent_except_where_it_leaves():
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 1] = 2.0
    expected = torch.zeros(1, 1, 6, 8)
    expected[..., 6:] = 1
    assert torch.equal(holes.inconsistent(flow, -flow), expected)
    flow[:, 0], flow[:, 1] = -1.0, 0.0
    assert torch.equal(
        holes.inconsistent(flow, -flow).amax(-1).flatten(), torch.eye(6)[0]
    )


def test_a_flow_that_is_no_number_is_never_consistent():
    flow, broken = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), float("nan"))
    assert holes.inconsistent(broken, flow).all()
    assert holes.inconsistent(flow, broken).all()


def covered(motion: Tensor) -> Tensor:
    """The true occlusion of a moving pair, pixel by pixel, from the true motion."""
    size = motion.shape[-1]
    steps = motion[0].flatten(1).T.unique(dim=0)
    front = steps[steps.square().sum(1).argmax()]
    taken = {  # where the front goes
        (y + int(front[0]), x + int(front[1]))
        for y in range(size)
        for x in range(size)
        if torch.equal(motion[0, :, y, x], front)
    }
    hole = torch.zeros(1, 1, size, size)
    for y in range(size):
        for x in range(size):
            step = motion[0, :, y, x]
            goal = (y + int(step[0]), x + int(step[1]))
            hidden = goal in taken and not torch.equal(step, front)
            hole[0, 0, y, x] = hidden or not all(0 <= g < size for g in goal)
    return hole


def moving(seed: int, size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    names = photos.names("train")
    chosen = (names[2 * seed + 40], names[2 * seed + 3])
    behind, front = (photos.square(photos.load(name), size) for name in chosen)
    return holes.moving_pair(front, behind, seeded(seed))


def test_a_moving_pair_moves_as_it_says():
    first, second, motion = moving(0)
    assert motion.shape == (1, 2, 64, 64)
    assert len(motion[0].flatten(1).T.unique(dim=0)) == 2
    seen = covered(motion)[0, 0] == 0
    for y, x in seen.nonzero().tolist():
        down, right = motion[0, :, y, x].int().tolist()
        gap = second[0, :, y + down, x + right] - first[0, :, y, x]
        assert gap.abs().max() < 1e-4


def test_motion_grows_with_the_share_asked_for():
    image = torch.rand(1, 3, 32, 32, generator=seeded())
    still = holes.moving_pair(image, image, seeded(), motion=0.0)
    assert torch.equal(still[2], torch.zeros(1, 2, 32, 32))
    _, _, far = holes.moving_pair(image, image, seeded(), motion=0.25)
    assert abs(far.square().sum(1).sqrt().max() - 8) <= 1


def test_flow_and_check_find_what_is_covered_in_real_pictures():
    recalls, precisions = [], []
    for seed in range(3):
        first, second, motion = moving(seed)
        forward = holes.optical_flow(first, second)
        backward = holes.optical_flow(second, first)
        assert forward.shape == motion.shape
        found, true = holes.inconsistent(forward, backward), covered(motion)
        error = (forward - motion).square().sum(1, keepdim=True).sqrt()
        assert error[true == 0].median() < 0.25  # pixels; motion is about 5
        recalls.append(float((holes.dilate(found, 2) * true).sum() / true.sum()))
        precisions.append(float((holes.dilate(true, 2) * found).sum() / found.sum()))
    assert min(recalls) > 0.6  # measured .87, .81, .66, within two pixels
    assert min(precisions) > 0.5  # measured .58, .75, .78


# ------------------------------------------------------------------ irregular holes


def bank(monkeypatch: pytest.MonkeyPatch, sheet: Tensor) -> None:
    monkeypatch.setattr(holes, "occlusions", lambda: sheet)


def test_the_bundled_occlusions_are_thin_and_binary():
    sheet = check_hole(holes.occlusions())
    assert sheet.shape[1:] == (1, holes.OCCLUSION_SIDE, holes.OCCLUSION_SIDE)
    assert len(sheet) >= 40
    assert holes.ratio(sheet).min() > 0.005
    assert holes.ratio(sheet).max() < 0.35


def test_the_sheet_is_cut_row_by_row(tmp_path: Path, monkeypatch):
    side = 4
    pixels = np.zeros((2 * side, 3 * side), np.uint8)
    pixels[side:, side : 2 * side] = 255  # second row, second column
    Image.fromarray(pixels).save(tmp_path / "sheet.png")
    monkeypatch.setattr(holes, "OCCLUSIONS", tmp_path / "sheet.png")
    monkeypatch.setattr(holes, "OCCLUSION_SIDE", side)
    tiles = holes.occlusions.__wrapped__()
    assert tiles.flatten(1).mean(1).tolist() == [0, 0, 0, 0, 1, 0]
    monkeypatch.setattr(holes, "OCCLUSIONS", tmp_path / "gone.png")
    with pytest.raises(HoleError, match=r"gone\.png is missing.*weights occlusions"):
        holes.occlusions.__wrapped__()


def test_an_empty_occlusion_becomes_a_disc_of_the_dilation(monkeypatch):
    bank(monkeypatch, torch.zeros(1, 1, 16, 16))
    hole = holes.irregular(2, 65, seeded(), dilation=(0.2, 0.2))
    y, x = np.mgrid[:65, :65]
    disc = torch.from_numpy(np.hypot(y - 32, x - 32) <= 0.1 * 65).float()
    assert torch.equal(hole, disc.expand(2, 1, 65, 65))


def test_dilation_is_a_share_of_the_side(monkeypatch):
    bank(monkeypatch, torch.zeros(1, 1, 16, 16))
    widest = [
        holes.irregular(200, side, seeded())[:, 0, side // 2].sum(1) / side
        for side in (65, 129)
    ]
    for width in widest:
        assert abs(width.min() - 9 / 512) < 0.02
        assert abs(width.max() - 49 / 512) < 0.02


def test_an_occlusion_is_turned_moved_and_cropped(monkeypatch):
    sheet = torch.zeros(1, 1, 33, 33)
    sheet[..., 8:25, 15:18] = 1  # an upright bar
    bank(monkeypatch, sheet)
    hole = holes.irregular(100, 33, seeded(), dilation=(0, 0))
    tall = hole.amax(-1).sum((1, 2))
    wide = hole.amax(-2).sum((1, 2))
    assert (tall > 2 * wide).any()
    assert (wide > 2 * tall).any()
    rows, columns = torch.meshgrid(torch.arange(33), torch.arange(33), indexing="ij")
    weight = hole[:, 0] / hole.sum((2, 3))[..., None]
    for place in (rows, columns):
        centre = (weight * place).sum((1, 2))
        assert centre.max() - centre.min() > 10


def test_all_occlusions_are_used(monkeypatch):
    sheet = torch.zeros(4, 1, 32, 32)
    for k in range(4):
        sheet[k, :, : 4 * k + 4, :] = 1
    chosen = []
    turn = holes._turn
    monkeypatch.setattr(holes, "_turn", lambda h, *a: chosen.append(h) or turn(h, *a))
    bank(monkeypatch, sheet)
    holes.irregular(60, 16, seeded())
    assert len(chosen[0].flatten(1).sum(1).unique()) == 4


# ---------------------------------------------------------------- measure and change


def test_ratio_is_the_share_of_each_sample():
    hole = random_hole(3)
    expected = [sample.sum().item() / sample.numel() for sample in hole]
    assert holes.ratio(hole).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("side", [100, 64, 128, 30])
def test_a_bucket_is_open_below_and_closed_above_for_every_count(side: int):
    total = side * side
    step = 1 if side < 50 else 37
    edges = [round(share * total) for share in (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    counts = set(range(0, total, step)) | {e + d for e in edges for d in (-1, 0, 1)}
    counts = sorted(counts)
    hole = torch.zeros(len(counts), 1, total, 1)
    for sample, count in zip(hole, counts, strict=True):
        sample[0, :count] = 1
    for count, found in zip(counts, holes.bucket(hole).tolist(), strict=True):
        expected = -1
        for number in range(6):
            low, high = max(1, 10 * number), 10 * number + 10  # per cent
            if low * total < 100 * count <= high * total:
                expected = number
        assert found == expected, count


def brute_distance(hole: Tensor) -> Tensor:
    away = torch.zeros(hole.shape, dtype=torch.float64)
    for n, sample in enumerate(hole[:, 0]):
        known = (sample == 0).nonzero().tolist()
        for y, x in (sample == 1).nonzero().tolist():
            gaps = [math.hypot(y - ky, x - kx) for ky, kx in known]
            away[n, 0, y, x] = min(gaps, default=math.inf)
    return away


def test_distance_is_the_nearest_of_all_known_pixels():
    hole = random_hole(3, 8, 11)
    hole[2] = 1
    hole[2, 0, 3, 4] = 0
    found = holes.distance(hole)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, brute_distance(hole), rtol=0, atol=1e-12)


def test_distance_without_a_hole_is_zero_and_without_a_known_pixel_infinite():
    hole = torch.stack([torch.zeros(1, 4, 5), torch.ones(1, 4, 5)])
    assert holes.distance(hole)[0].max() == 0
    assert holes.distance(hole)[1].isinf().all()


def test_nearest_leads_to_a_known_pixel_at_that_distance():
    hole = random_hole(3, 8, 11)
    hole[2] = 1
    hole[2, 0, 3, 4] = 0
    found = holes.nearest(hole)
    assert found.dtype == torch.int64
    here = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(11), indexing="ij"))
    away = (found - here).double().square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(away, brute_distance(hole), rtol=0, atol=1e-12)
    for sample, (rows, columns) in zip(hole[:, 0], found, strict=True):
        assert (sample[rows, columns] == 0).all()


def test_without_a_hole_or_a_known_pixel_each_is_its_own_nearest():
    hole = torch.stack([torch.zeros(1, 4, 5), torch.ones(1, 4, 5)])
    here = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij"))
    assert torch.equal(holes.nearest(hole), here.expand(2, -1, -1, -1))
    assert holes.nearest(hole[:0]).shape == (0, 2, 4, 5)


def test_a_nearest_fill_takes_known_colours_and_reads_no_hidden_one():
    hole = random_hole(3, 8, 11)
    hole[2] = 1
    image = torch.rand(3, 3, 8, 11)
    secret = torch.where(hole.bool(), torch.nan, image)
    filled = holes.nearest_fill(secret, hole)
    assert torch.equal(filled[2], torch.full((3, 8, 11), 0.5))  # nothing is known
    for sample in (0, 1):
        rows, columns = holes.nearest(hole)[sample]
        assert torch.equal(filled[sample], image[sample][:, rows, columns])
    assert holes.nearest_fill(image, 0 * hole).equal(image)


def test_float32_keeps_all_distances_apart_where_there_is_nothing_longer():
    assert holes._exact_dtype(torch.device("mps")) == torch.float32
    assert holes._exact_dtype(torch.device("cuda")) == torch.float64
    squares = torch.arange(2 * 1023**2 + 1)
    away = squares.double().sqrt().float()
    assert (away.diff() > 0).all()
    assert torch.equal(away.double().square().round().long(), squares)


def test_dilate_joins_each_pixel_within_the_radius():
    hole = (torch.rand(3, 1, 9, 14, generator=seeded()) < 0.04).float()
    radius = torch.tensor([1.0, 2.3, 0.0])
    expected = torch.zeros_like(hole)
    for n, sample in enumerate(hole[:, 0]):
        for y, x in sample.nonzero().tolist():
            for v in range(9):
                for u in range(14):
                    if math.hypot(v - y, u - x) <= radius[n]:
                        expected[n, 0, v, u] = 1
    assert torch.equal(holes.dilate(hole, radius), expected)
    assert torch.equal(holes.dilate(hole, 0.0), hole)
    assert torch.equal(holes.dilate(hole, 2.3)[1], expected[1])
    nothing = torch.zeros(1, 1, 4, 4)
    assert torch.equal(holes.dilate(nothing, 5), nothing)


def test_grow_reaches_the_ratio_pixel_by_pixel_in_the_order_of_distance():
    hole = random_hole(2)
    pixels = hole[0].numel()
    away, depth = brute_distance(1 - hole), brute_distance(hole)
    order = away - depth
    for target in (0.05, 0.3, 0.62, 0.9):
        grown = holes.grow(hole, torch.full((2,), target))
        assert grown.sum((1, 2, 3)).tolist() == [round(target * pixels)] * 2
        for n in range(2):
            inside, outside = (order[n][grown[n] == k] for k in (1, 0))
            assert inside.max() <= outside.min()


def test_grow_takes_a_target_for_each_sample_and_nests():
    hole = holes.strokes(3, 32, seeded())
    small = holes.grow(hole, torch.tensor([0.1, 0.2, 0.3]))
    large = holes.grow(hole, torch.tensor([0.2, 0.4, 0.6]))
    assert holes.ratio(small).tolist() == pytest.approx([0.1, 0.2, 0.3], abs=1e-3)
    assert (large >= small).all()
    assert torch.equal(holes.grow(hole, holes.ratio(hole)), hole)


def test_grow_keeps_a_frame_free():
    hole = holes.strokes(4, 40, seeded())
    grown = holes.grow(hole, torch.full((4,), 0.55), margin=0.1)
    assert not holes.touches_border(grown, 0.1).any()
    assert holes.ratio(grown).tolist() == pytest.approx([0.55] * 4)


def test_grow_refuses_what_cannot_be():
    hole = holes.strokes(1, 32, seeded())
    with pytest.raises(HoleError, match=r"ratio 0.700 does not fit: margin 0.1 leaves"):
        holes.grow(hole, torch.tensor([0.7]), margin=0.1)
    with pytest.raises(HoleError, match="empty hole"):
        holes.grow(torch.zeros(1, 1, 8, 8), torch.tensor([0.1]))


def test_touches_border_is_the_loop_over_the_frame():
    hole = torch.zeros(40, 1, 10, 20)
    draw = seeded()
    for sample in hole:
        y = torch.randint(0, 10, (), generator=draw)
        sample[0, y, torch.randint(0, 20, (), generator=draw)] = 1
    for margin in (0.0, 0.1, 0.25):
        top, left = math.ceil(10 * margin), math.ceil(20 * margin)
        for sample, found in zip(hole, holes.touches_border(hole, margin), strict=True):
            _, y, x = sample.nonzero()[0].tolist()
            expected = min(y, 9 - y) < top or min(x, 19 - x) < left
            assert bool(found) == expected


def test_resize_takes_the_nearest_and_stays_binary():
    hole = random_hole(2, 12, 18)
    assert torch.equal(holes.resize(hole, (4, 6)), hole[..., 1::3, 1::3])
    doubled = hole.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(holes.resize(hole, (24, 36)), doubled)
    check_hole(holes.resize(hole, 31))
    with pytest.raises(ContractError, match="only 0"):
        holes.resize(hole * 0.5, 8)


# ------------------------------------------------------------------------- benchmark


@pytest.mark.parametrize(("size", "per_cell"), [(64, 3), (128, 2)])
def test_the_benchmark_is_what_it_says(size: int, per_cell: int):
    made = holes.benchmark(size, per_cell)
    assert len(made) == 12 * per_cell == len(check_hole(made.hole))
    assert made.hole.shape[-2:] == (size, size)
    assert torch.equal(holes.bucket(made.hole), made.bucket)
    assert torch.equal(holes.touches_border(made.hole), made.border)
    cells = 2 * made.bucket + made.border
    assert torch.bincount(cells).tolist() == [per_cell] * 12


def test_the_benchmark_is_the_same_for_the_same_arguments():
    before = torch.get_rng_state()
    one, two = holes.benchmark(64, 1), holes.benchmark(64, 1)
    assert torch.equal(one.hole, two.hole)
    assert torch.equal(torch.get_rng_state(), before)
    other = holes.benchmark(64, 1, seed=1)
    assert not torch.equal(one.hole, other.hole)
    assert torch.equal(one.bucket, other.bucket)


def test_a_benchmark_has_strokes_and_irregular_holes(monkeypatch):
    asked = {"strokes": 0, "irregular": 0}
    for name in asked:
        make = getattr(holes, name)

        def count(number, *rest, name=name, make=make):
            asked[name] += number
            return make(number, *rest)

        monkeypatch.setattr(holes, name, count)
    holes.benchmark(64, 2)
    assert asked == {"strokes": 12, "irregular": 12}


def test_a_hole_that_misses_the_border_is_moved_there_whole():
    hole = torch.zeros(2, 1, 20, 30)
    hole[0, 0, 8:12, 9:14] = 1
    hole[0, 0, 9, 10] = 0
    hole[1, 0, 8:12, 1:3] = 1  # is there
    moved = holes._to_border(hole)
    assert torch.equal(moved[1], hole[1])
    assert torch.equal(moved[0, ..., :5], hole[0, ..., 9:14])
    assert moved[0].sum() == hole[0].sum()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_every_kind_of_float_is_measured_alike(kind: torch.dtype):
    hole = holes.rectangles(2, (24, 30), seeded())
    other, image = hole.to(kind), torch.rand(2, 3, 24, 30, generator=seeded()).to(kind)
    assert torch.equal(holes.distance(other), holes.distance(hole))
    assert torch.equal(holes.nearest(other), holes.nearest(hole))
    assert torch.equal(holes.dilate(other, 2.0), holes.dilate(hole, 2.0).to(kind))
    filled = holes.nearest_fill(image, other)
    assert torch.equal(filled, holes.nearest_fill(image.double(), hole).to(kind))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_one_pixel_at_the_border_of_a_large_hole_is_noticed(kind: torch.dtype):
    hole = torch.zeros(2, 1, 300, 300, dtype=kind)
    hole[..., 40:260, 40:260] = 1
    hole[0, 0, 0, 0] = 1
    assert holes.touches_border(hole).tolist() == [True, False]


# ------------------------------------------------------------------------ from files


def save_holes(folder: Path, count: int = 3) -> Tensor:
    """White holes on black as PNG files, and the same as a tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    hole = holes.rectangles(count, (16, 24), seeded())
    for k, sample in enumerate(hole):
        pixels = (255 * sample[0]).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{k:05}.png")
    return hole


def test_a_folder_is_read_in_order_with_either_polarity(tmp_path: Path):
    hole = save_holes(tmp_path / "white")
    size = (16, 24)
    assert torch.equal(holes.from_files(tmp_path, size, hole_is="white"), hole)
    (tmp_path / "black").mkdir()
    for path in (tmp_path / "white").iterdir():
        inverse = Image.open(path).point(lambda value: 255 - value)
        inverse.save(tmp_path / "black" / path.name)
    found = holes.from_files(str(tmp_path / "black"), size, hole_is="black")
    assert torch.equal(found, hole)


def test_paths_and_a_zip_give_the_same(tmp_path: Path):
    hole = save_holes(tmp_path / "set")
    paths = sorted((tmp_path / "set").iterdir())
    found = holes.from_files(paths[1:], (16, 24), hole_is="white")
    assert torch.equal(found, hole[1:])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in reversed(paths):
            archive.write(path, f"masks/{path.name}")
        archive.writestr("masks/readme.txt", "not looked at")
    found = holes.from_files(tmp_path / "set.zip", (16, 24), hole_is="white", limit=2)
    assert torch.equal(found, hole[:2])


def test_what_a_mac_adds_is_no_hole(tmp_path: Path):
    hole = save_holes(tmp_path / "set")
    paths = sorted((tmp_path / "set").iterdir())
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in paths:
            archive.write(path, f"masks/{path.name}")
            archive.writestr(f"__MACOSX/masks/._{path.name}", "no picture")
    found = holes.from_files(tmp_path / "set.zip", (16, 24), hole_is="white")
    assert torch.equal(found, hole)
    (tmp_path / "set" / "._00000.png").write_text("no picture")
    assert holes.files(tmp_path / "set") == paths


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path):
    deep = np.full((4, 6), 300, np.uint16)  # of 65535: practically black
    deep[:2] = 65535
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = holes.read(tmp_path / "deep.png", (4, 6), hole_is="white")
    assert found[0, 0, :, 0].tolist() == [1, 1, 0, 0]


def test_a_file_whose_reader_fails_otherwise_is_named(tmp_path: Path, monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("no item")

    save_holes(tmp_path, 1)
    monkeypatch.setattr(Image.Image, "convert", fails)
    with pytest.raises(HoleError, match=r"00000\.png is no picture: no item"):
        holes.read(tmp_path / "00000.png", 16, hole_is="white")


def test_grey_rims_are_cut_and_resizing_stays_binary(tmp_path: Path):
    pixels = np.full((20, 20), 255, np.uint8)
    pixels[:, 5:] = 127
    pixels[:, 10:] = 128
    pixels[:, 15:] = 0
    Image.fromarray(pixels).save(tmp_path / "soft.png")
    found = holes.from_files(tmp_path, (4, 4), hole_is="white")
    assert found[0, 0, 0].tolist() == [1, 0, 1, 0]
    check_hole(holes.from_files(tmp_path, 33, hole_is="black"))


def test_the_wrong_colour_is_noticed(tmp_path: Path):
    save_holes(tmp_path)
    with pytest.raises(
        HoleError, match=r"\d\d% .*hole_is='black'.*try hole_is='white'"
    ):
        holes.from_files(tmp_path, 16, hole_is="black")
    with pytest.raises(HoleError, match="'white' or 'black', not 'grey'"):
        holes.from_files(tmp_path, 16, hole_is="grey")  # type: ignore[arg-type]
    for odd in ("White", "grey"):
        with pytest.raises(HoleError, match=f"'white' or 'black', not '{odd}'"):
            holes.read(tmp_path / "00000.png", 16, hole_is=odd)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="hole_is"):
        holes.from_files(tmp_path, 16)  # type: ignore[call-arg]


def test_what_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(HoleError, match="holds no PNG, JPEG or WebP"):
        holes.from_files(tmp_path, 16, hole_is="white")
    with pytest.raises(HoleError, match="gone is neither a folder nor a zip file"):
        holes.from_files(tmp_path / "gone", 16, hole_is="white")
    (tmp_path / "set.zip").write_bytes(b"no archive")
    with pytest.raises(HoleError, match=r"set\.zip is neither"):
        holes.from_files(tmp_path / "set.zip", 16, hole_is="white")
    save_holes(tmp_path)
    (tmp_path / "00001.png").write_bytes(b"junk")
    with pytest.raises(HoleError, match=r"00001\.png is no picture"):
        holes.from_files(tmp_path, 16, hole_is="white")
