"""The metrics against their definitions, and the table that catches who peeks."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from course_lib import evaluation, fills, holes
from course_lib.evaluation import MethodError, Scores, evaluate, score
from course_lib.holes import Benchmark
from course_lib.losses import vgg_distance
from course_lib.tensors import ContractError, composite, hide


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def triple(count: int = 3, height: int = 24, width: int = 28) -> tuple[Tensor, ...]:
    """A prediction, the true pictures, and their holes."""
    image = torch.rand(count, 3, height, width, generator=seeded())
    noise = torch.rand(count, 3, height, width, generator=seeded(1))
    hole = holes.rectangles(count, (height, width), seeded(2))
    return (0.8 * image + 0.2 * noise).clamp(0, 1), image, hole


# --------------------------------------------------------------------------- metrics


def test_hole_l1_and_hole_psnr_are_means_over_the_missing_pixels():
    filled, image, hole = (part.double() for part in triple())
    l1 = evaluation.hole_l1(filled, image, hole)
    peak = evaluation.hole_psnr(filled, image, hole)
    for n in range(3):
        gaps = [
            (filled[n, c, y, x] - image[n, c, y, x]).item()
            for _, y, x in hole[n].nonzero().tolist()
            for c in range(3)
        ]
        assert l1[n].item() == pytest.approx(np.mean(np.abs(gaps)))
        expected = 10 * math.log10(1 / np.mean(np.square(gaps)))
        assert peak[n].item() == pytest.approx(expected)
    assert l1.dtype == peak.dtype == torch.float64


def test_psnr_is_taken_picture_by_picture():
    filled, image, _ = triple()
    expected = [
        10 * math.log10(1 / ((f - i) ** 2).mean())
        for f, i in zip(filled, image, strict=True)
    ]
    assert evaluation.psnr(filled, image).tolist() == pytest.approx(expected, rel=1e-4)
    assert evaluation.psnr(filled[:1], image[:1]).shape == (1,)
    half = image * 0 + 0.5
    assert evaluation.psnr(half + 0.1, half).tolist() == pytest.approx(
        [20.0] * 3, rel=1e-4
    )


def test_ssim_is_scikit_images_map_on_the_mirrored_picture():
    from skimage.metrics import structural_similarity

    filled, image, _ = triple()
    found = evaluation.ssim(filled, image)
    for n in range(3):
        one, two = (
            np.pad(p[n].double(), ((0, 0), (5, 5), (5, 5)), mode="reflect")
            for p in (filled, image)
        )
        _, full = structural_similarity(
            one,
            two,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,  # sigma 1.5, 11 pixels
            use_sample_covariance=False,
            full=True,
        )
        expected = full[:, 5:-5, 5:-5].mean()
        assert found[n].item() == pytest.approx(expected, abs=1e-4)
    assert evaluation.ssim(image, image).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert evaluation.ssim(filled[:1], image[:1]).shape == (1,)


def test_seam_is_the_excess_of_the_steps_across_the_rim():
    filled, image, hole = (part.double() for part in triple())
    hole[0, 0, 0, 0] = 1  # a rim at the corner too
    found = evaluation.seam(filled, image, hole)
    _, _, height, width = image.shape
    for n in range(3):
        excess = []
        for y in range(height):
            for x in range(width):
                for v, u in ((y + 1, x), (y, x + 1)):
                    if (
                        v < height
                        and u < width
                        and hole[n, 0, y, x] != hole[n, 0, v, u]
                    ):
                        ours = (filled[n, :, y, x] - filled[n, :, v, u]).abs().mean()
                        true = (image[n, :, y, x] - image[n, :, v, u]).abs().mean()
                        excess.append((ours - true).item())
        assert found[n].item() == pytest.approx(np.mean(excess))
    assert found.dtype == torch.float64


def test_seam_sees_a_step_and_only_a_step():
    image = torch.full((1, 3, 8, 8), 0.5)
    hole = torch.zeros(1, 1, 8, 8)
    hole[..., 2:6, 2:6] = 1
    assert evaluation.seam(image, image, hole).item() == 0
    brighter = torch.where(hole == 1, 0.7, image)
    assert evaluation.seam(brighter, image, hole).item() == pytest.approx(0.2)
    smooth = torch.where(hole == 1, 0.7, image)
    assert evaluation.seam(image, smooth, hole).item() == pytest.approx(-0.2)


def test_gradient_energy_is_the_mean_over_neighbours_both_missing():
    picture, _, hole = (part.double() for part in triple())
    hole[0, 0, -1, -3:] = 1  # at the border, and a pair beside the rectangle
    found = evaluation.gradient_energy(picture, hole)
    _, _, height, width = picture.shape
    for n in range(3):
        steps = []
        for y in range(height):
            for x in range(width):
                for v, u in ((y + 1, x), (y, x + 1)):
                    if (
                        v < height
                        and u < width
                        and hole[n, 0, y, x] == hole[n, 0, v, u] == 1
                    ):
                        gap = picture[n, :, y, x] - picture[n, :, v, u]
                        steps.append(gap.square().mean().item())
        assert found[n].item() == pytest.approx(np.mean(steps))
    assert found.dtype == torch.float64


def test_gradient_energy_lies_between_a_constant_and_a_chessboard():
    hole = torch.zeros(1, 1, 6, 7)
    hole[..., 1:5, 2:6] = 1
    chess = ((torch.arange(6)[:, None] + torch.arange(7)) % 2).float()
    constant = torch.where(hole == 1, 0.3, chess.expand(1, 3, -1, -1))
    assert evaluation.gradient_energy(constant, hole).item() == 0
    board = chess.expand(1, 3, -1, -1)
    assert evaluation.gradient_energy(board, hole).item() == 1


def test_gradient_energy_needs_two_missing_neighbours():
    picture, _, _ = triple(3, 8, 8)
    hole = torch.zeros(3, 1, 8, 8)
    hole[1, 0, 2, 2] = hole[1, 0, 3, 3] = 1  # they touch at a corner only
    hole[2, 0, 2, 2:4] = 1
    found = evaluation.gradient_energy(picture, hole)
    assert found.isnan().tolist() == [True, True, False]
    expected = (picture[2, :, 2, 2] - picture[2, :, 2, 3]).square().mean()
    assert found[2].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -9.0])
def test_gradient_energy_never_reads_a_known_pixel(poison: float):
    picture, _, hole = triple()
    found = evaluation.gradient_energy(picture, hole)
    spoiled = torch.where(hole == 1, picture, poison).requires_grad_()
    again = evaluation.gradient_energy(spoiled, hole)
    assert torch.equal(again, found)
    again.sum().backward()
    assert spoiled.grad is not None
    assert (spoiled.grad.abs().amax(1, keepdim=True) * (1 - hole) == 0).all()


def test_gradient_energy_refuses_what_does_not_belong_together():
    picture, _, hole = triple(2)
    with pytest.raises(ContractError, match="same N, H and W"):
        evaluation.gradient_energy(picture, hole[:1])
    with pytest.raises(ContractError, match="hole has shape"):
        evaluation.gradient_energy(picture, hole.expand(-1, 3, -1, -1))
    with pytest.raises(ContractError, match="hole must hold only 0"):
        evaluation.gradient_energy(picture, 0.3 * hole)
    with pytest.raises(ContractError, match="image has shape"):
        evaluation.gradient_energy(picture[0], hole)


def test_equal_pictures_have_the_best_scores():
    _, image, hole = triple(1)
    found = score(image, image, hole)
    assert found.hole_l1.item() == found.vgg.item() == found.seam.item() == 0
    assert found.hole_psnr.item() == found.psnr.item() == math.inf
    assert found.ssim.item() == pytest.approx(1, abs=1e-5)


def test_without_a_hole_the_metrics_of_the_hole_are_no_number():
    filled, image, hole = triple(2)
    hole[1] = 0
    found = score(filled, image, hole)
    for metric in ("hole_l1", "hole_psnr", "seam"):
        assert getattr(found, metric).isnan().tolist() == [False, True]


def test_a_metric_of_the_hole_reads_no_other_pixel():
    filled, image, hole = triple()
    poisoned = torch.where(hole == 1, filled, float("nan"))
    for metric in (evaluation.hole_l1, evaluation.hole_psnr):
        assert torch.equal(metric(poisoned, image, hole), metric(filled, image, hole))
    far = 1 - holes.dilate(hole, 1)  # the seam also reads the rim
    poisoned = torch.where(far == 1, float("nan"), filled)
    seam = evaluation.seam
    assert torch.equal(seam(poisoned, image, hole), seam(filled, image, hole))


def same(one: Scores, two: Scores) -> bool:
    return all(torch.equal(vars(one)[m], vars(two)[m]) for m in evaluation.METRICS)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -9.0, 0.123])
def test_what_is_predicted_outside_the_hole_changes_no_score(poison: float):
    filled, image, hole = triple(2)
    assert same(
        score(torch.where(hole == 1, filled, poison), image, hole),
        score(filled, image, hole),
    )


def test_scores_are_those_of_the_composite():
    prediction, image, hole = triple(2)
    filled = composite(prediction, image, hole)
    found = score(prediction, image, hole)
    assert torch.equal(found.hole_l1, evaluation.hole_l1(filled, image, hole))
    assert torch.equal(found.hole_psnr, evaluation.hole_psnr(filled, image, hole))
    assert torch.equal(found.psnr, evaluation.psnr(filled, image))
    assert torch.equal(found.ssim, evaluation.ssim(filled, image))
    assert torch.equal(found.vgg, vgg_distance(filled, image))
    assert torch.equal(found.seam, evaluation.seam(filled, image, hole))


def test_each_picture_is_scored_by_itself():
    filled, image, hole = triple()
    together = score(filled, image, hole)
    for k in range(3):
        alone = score(*(part[k : k + 1] for part in (filled, image, hole)))
        for metric in evaluation.METRICS:
            ours, expected = (vars(s)[metric] for s in (together, alone))
            torch.testing.assert_close(ours[k : k + 1], expected, rtol=1e-4, atol=1e-5)


def test_score_refuses_what_does_not_belong_together():
    filled, image, hole = triple(2)
    with pytest.raises(ContractError, match="same shape"):
        score(filled[..., :20], image, hole)
    with pytest.raises(ContractError, match="same N, H and W"):
        score(filled, image, hole[:1])
    with pytest.raises(ContractError, match=r"image holds .* NaN"):
        score(filled, hide(image, hole, float("nan")), hole)
    with pytest.raises(ContractError, match=r"prediction \(in the hole\) holds .* NaN"):
        score(hide(filled, hole, float("nan")), image, hole)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_float32(kind: torch.dtype):
    prediction, image, hole = (part.to(kind) for part in triple(2, 64, 64))
    wide = [part.float() for part in (prediction, image, hole)]
    assert same(score(prediction, image, hole), score(*wide))
    for metric in (evaluation.hole_l1, evaluation.hole_psnr, evaluation.seam):
        assert torch.equal(metric(prediction, image, hole), metric(*wide))
    for whole in (evaluation.psnr, evaluation.ssim):
        assert torch.equal(whole(prediction, image), whole(*wide[:2]))


def test_a_metric_broadcasts_nothing():
    filled, image, hole = triple(2)
    for metric in (evaluation.hole_l1, evaluation.hole_psnr, evaluation.seam):
        with pytest.raises(ContractError, match="same shape"):
            metric(filled[:1], image, hole)
        with pytest.raises(ContractError, match=r"hole \(1, 1, 24, 28\) does not fit"):
            metric(filled, image, hole[:1])
    for whole in (evaluation.psnr, evaluation.ssim):
        with pytest.raises(ContractError, match="same shape"):
            whole(filled[:1], image)
        with pytest.raises(ContractError, match="image has shape"):
            whole(filled[0], image[0])


def test_scores_carry_no_gradient():
    filled, image, hole = triple(1)
    found = score(filled.requires_grad_(), image, hole)
    assert not any(value.requires_grad for value in vars(found).values())


def test_auc_is_the_share_of_pairs_that_are_in_order():
    hole = torch.zeros(1, 1, 4, 5)
    hole[..., 1:3, 2:] = 1
    value = torch.randint(0, 4, (3, 4, 5), generator=seeded()) / 3  # with many ties
    value[2] = hole[0, 0]
    found = evaluation.auc(value, hole)
    for k in range(3):
        pairs = [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a in value[k][hole[0, 0] == 1].tolist()
            for b in value[k][hole[0, 0] == 0].tolist()
        ]
        assert found[k].item() == pytest.approx(np.mean(pairs), abs=1e-12)
    assert 0 < found[0] < 1
    assert found[2] == 1
    assert evaluation.auc(1 - value, hole).tolist() == pytest.approx(
        (1 - found).tolist()
    )
    assert evaluation.auc(value.exp(), hole).equal(found), "only the order counts"
    assert evaluation.auc(value * 0, hole).tolist() == [0.5] * 3


def test_auc_is_undefined_without_a_hole_or_with_nothing_else():
    value = torch.rand(2, 4, 5, generator=seeded())
    for missing in (0.0, 1.0):
        assert evaluation.auc(value, torch.full((1, 1, 4, 5), missing)).isnan().all()
    hole = torch.zeros(1, 1, 4, 5)
    hole[..., :2] = 1
    for column in (0, 4):
        broken = value.clone()
        broken[1, 0, column] = torch.nan
        assert evaluation.auc(broken, hole).isnan().tolist() == [False, True]
    with pytest.raises(ContractError, match=r"\(2, 4, 5\) and hole \(1, 1, 4, 4\)"):
        evaluation.auc(value, hole[..., :4])


# ------------------------------------------------------------------------- evaluate


def small_benchmark() -> Benchmark:
    """Five holes of 16 pixels in three cells."""
    hole = torch.zeros(5, 1, 16, 16)
    hole[0, :, 5:9, 5:9] = 1
    hole[1, :, 5:8, 5:9] = 1
    hole[2, :, :4, :4] = 1
    hole[3:, :, 3:13, 3:13] = 1
    bucket = holes.bucket(hole)
    assert bucket.tolist() == [0, 0, 0, 3, 3]
    return Benchmark(hole, bucket, holes.touches_border(hole))


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=seeded())


def test_a_table_holds_the_mean_of_each_cell():
    images, benchmark = pictures(), small_benchmark()
    table = evaluate({"mean": fills.mean}, images, benchmark)
    truth = images[[0, 1, 0, 1, 0]]  # hole k lies on picture k % N
    found = score(fills.mean(truth, benchmark.hole), truth, benchmark.hole)
    for metric in evaluation.METRICS:
        values, cells = vars(found)[metric], table.rows["mean"][metric]
        assert cells.shape == (6, 2)
        expected = torch.full((6, 2), float("nan"))
        expected[0, 0], expected[0, 1] = values[:2].mean(), values[2]
        expected[3, 0] = values[3:].mean()
        torch.testing.assert_close(
            cells, expected, equal_nan=True, rtol=1e-4, atol=1e-5
        )
        mean = (expected[0, 0] + expected[0, 1] + expected[3, 0]) / 3
        assert table.mean("mean", metric) == pytest.approx(mean.item(), rel=1e-4)


def test_batches_change_no_score(monkeypatch: pytest.MonkeyPatch):
    whole = evaluate({"m": fills.mean}, pictures(), small_benchmark())
    sizes = []
    monkeypatch.setattr(evaluation, "BATCH", 2)

    def method(image: Tensor, hole: Tensor) -> Tensor:
        sizes.append(len(image))
        return fills.mean(image, hole)

    parts = evaluate({"m": method}, pictures(), small_benchmark())
    assert sizes == [2, 2, 1]
    for metric in evaluation.METRICS:
        ours, expected = parts.rows["m"][metric], whole.rows["m"][metric]
        torch.testing.assert_close(ours, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_some_metrics_can_be_taken_alone():
    only = ("seam", "hole_l1")
    some = evaluate({"m": fills.mean}, pictures(), small_benchmark(), only)
    full = evaluate({"m": fills.mean}, pictures(), small_benchmark())
    assert list(some.rows["m"]) == list(only)
    for metric in only:
        ours, expected = some.rows["m"][metric], full.rows["m"][metric]
        torch.testing.assert_close(ours, expected, equal_nan=True, rtol=0, atol=0)
    assert str(some).splitlines()[0].split() == ["seam", "hole", "L1"]
    with pytest.raises(ContractError, match=r"metrics holds lpips.*vgg.*choose"):
        evaluate({}, pictures(), small_benchmark(), ("psnr", "lpips"))
    assert str(evaluate({}, pictures(), small_benchmark())).strip() == ""


def test_a_method_gets_nan_under_the_hole_and_no_gradient():
    seen = []

    def method(image: Tensor, hole: Tensor) -> Tensor:
        seen.append(
            (image.isnan().all(1, keepdim=True).float(), hole, torch.is_grad_enabled())
        )
        return hide(image, hole)

    evaluate({"grey": method}, pictures(), small_benchmark())
    hidden, hole, grad = seen[0]
    assert torch.equal(hidden, hole)
    assert not grad


def test_a_method_that_multiplies_is_caught_by_name():
    def honest(image: Tensor, hole: Tensor) -> Tensor:
        return hide(image, hole)

    def multiplies(image: Tensor, hole: Tensor) -> Tensor:
        return image * (1 - hole)

    with pytest.raises(MethodError) as caught:
        evaluate(
            {"honest": honest, "sloppy": multiplies}, pictures(), small_benchmark()
        )
    for part in ("sloppy returned NaN at", "read them", "torch.where or hide"):
        assert part in str(caught.value)
    assert str(int(small_benchmark().hole.sum())) in str(caught.value)


def test_a_method_of_another_shape_is_caught_by_name():
    with pytest.raises(MethodError, match=r"half returned \(5, 3, 8, 8\) for .*16"):
        evaluate({"half": lambda x, _: x[..., ::2, ::2]}, pictures(), small_benchmark())


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            lambda x: None,
            r"returned None, expected a tensor \(5, 3, 16, 16\): .*return",
        ),
        (lambda x: x.nan_to_num(0.5) * 255, r": its prediction .* has values .* 255"),
        (lambda x: x.nan_to_num(torch.inf), r": its prediction .* has values"),
        (lambda x: x.nan_to_num(0.5).byte(), r": its prediction .* dtype torch.uint8"),
    ],
)
def test_a_method_that_gives_no_picture_is_caught_by_name(made, says: str):
    with pytest.raises(MethodError, match=f"^odd{says}|^odd {says}"):
        evaluate({"odd": lambda x, _: made(x)}, pictures(), small_benchmark())


def test_a_method_may_leave_anything_beside_its_hole():
    def careless(image: Tensor, hole: Tensor) -> Tensor:
        return torch.where(hole == 1, 0.5, -7.0).expand_as(image)

    found = evaluate({"careless": careless}, pictures(), small_benchmark())
    grey = evaluate({"grey": hide}, pictures(), small_benchmark())
    assert found.mean("careless", "psnr") == grey.mean("grey", "psnr")


def test_a_method_cannot_spoil_the_holes_of_the_next():
    def spoils(image: Tensor, hole: Tensor) -> Tensor:
        filled = hide(image, hole)
        hole.zero_()
        return filled

    both = {"spoils": spoils, "after": hide}
    rows = evaluate(both, pictures(), small_benchmark()).rows
    honest = evaluate({"alone": hide}, pictures(), small_benchmark()).rows["alone"]
    for found in (rows["spoils"]["hole_l1"], rows["after"]["hole_l1"]):
        assert torch.equal(found.nan_to_num(9), honest["hole_l1"].nan_to_num(9))


def test_pictures_and_holes_must_fit_before_any_method_runs():
    def never(image: Tensor, hole: Tensor) -> Tensor:
        raise AssertionError("called")

    with pytest.raises(ContractError, match="same N, H and W"):
        evaluate({"m": never}, torch.rand(1, 3, 8, 8), small_benchmark())
    with pytest.raises(ContractError, match="images has shape"):
        evaluate({"m": never}, torch.rand(3, 8, 8), small_benchmark())
    with pytest.raises(ContractError, match="at least one pixel"):
        evaluate({"m": never}, torch.rand(0, 3, 16, 16), small_benchmark())


# -------------------------------------------------------------------- printed tables


def test_the_printed_table_has_a_row_for_each_method_and_a_mean_for_each_metric():
    table = evaluate({"mean": fills.mean, "grey": hide}, pictures(), small_benchmark())
    head, *rows = str(table).splitlines()
    assert head.split()[-1] == "seam"
    assert [row.split()[0] for row in rows] == ["mean", "grey"]
    numbers = [float(cell) for cell in rows[0].split()[1:]]
    expected = [table.mean("mean", metric) for metric in evaluation.METRICS]
    assert numbers == pytest.approx(expected, abs=6e-2)
    assert numbers[0] == pytest.approx(expected[0], abs=6e-5)


def test_by_bucket_has_a_column_for_each_bucket():
    table = evaluate({"mean": fills.mean}, pictures(), small_benchmark())
    head, row = table.by_bucket("hole_l1").splitlines()
    assert " ".join(head.split()) == "hole L1 to 10% to 20% to 30% to 40% to 50% to 60%"
    cells = table.rows["mean"]["hole_l1"].nanmean(1).tolist()
    assert [float(c) for c in row.split()[1:]] == pytest.approx(
        cells, abs=1e-4, nan_ok=True
    )


def test_csv_has_every_cell():
    table = evaluate({"a, b": fills.mean}, pictures(), small_benchmark())
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert len(rows) == 6 * 6 * 2
    row = next(
        r
        for r in rows
        if r["metric"] == "ssim" and r["low"] == "0.3" and r["border"] == "0"
    )
    assert row["method"] == "a, b"
    assert row["high"] == "0.4"
    assert float(row["value"]) == pytest.approx(
        table.rows["a, b"]["ssim"][3, 0].item(), abs=1e-5
    )
