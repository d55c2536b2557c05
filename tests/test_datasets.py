"""Pictures at scale: every source gives the same positions to whoever asks."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from course_lib import datasets, holes, photos
from course_lib.datasets import Batches, DatasetError, Pairs, pictures
from course_lib.tensors import check_hole, check_image


def photo(path: Path, shade: int, size: tuple[int, int] = (40, 30), **kind) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 2 * shade, 0)).save(path, **kind)


def shades(pairs: Pairs, positions: range) -> list[int]:
    """Which photos positions show, known by their red."""
    return [round(float(pairs[p][0][0].mean() * 255)) for p in positions]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(4):
        photo(tmp_path / "photos" / f"{k}.png", 10 * k + 10)
    photo(tmp_path / "photos" / "deep" / "er" / "5.png", 50)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


# ------------------------------------------------------------------------------ sources


def test_a_folder_gives_all_pictures_in_it_and_below(folder: Path):
    pairs = Pairs(f"folder:{folder}", 16)
    assert len(pairs) == 5
    assert sorted(shades(pairs, range(5))) == [10, 20, 30, 40, 50]


def places(root: Path) -> None:
    (root / "categories_places365.txt").write_text("/a/abbey 0\n/z/zoo 1\n")
    lines = []
    for k, name in enumerate(("a/abbey/1.jpg", "z/zoo/2.jpg")):
        photo(root / "data_256_standard" / name, 60 + 60 * k, quality=95)
        lines.append(f"/{name} {k}")
    (root / "places365_train_standard.txt").write_text("\n".join(lines))


def celeba(root: Path) -> None:
    base = root / "celeba"
    for k in range(3):
        photo(base / "img_align_celeba" / f"{k}.jpg", 60 + 60 * (k % 2), (178, 218))
    rows = {
        "list_eval_partition.txt": [f"{k}.jpg {k // 2}" for k in range(3)],
        "identity_CelebA.txt": [f"{k}.jpg 1" for k in range(3)],
    }
    for name in ("list_bbox_celeba", "list_landmarks_align_celeba", "list_attr_celeba"):
        rows[f"{name}.txt"] = ["3", "a b", *(f"{k}.jpg 1 1" for k in range(3))]
    for name, lines in rows.items():
        (base / name).write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("kind", "make", "modules"),
    [("places365", places, "places365"), ("celeba", celeba, "celeba")],
)
def test_torchvisions_data_sets_are_read_where_they_are(
    tmp_path: Path, monkeypatch, kind, make, modules
):
    with pytest.raises(DatasetError, match=kind):
        pictures(f"{kind}:{tmp_path}")
    make(tmp_path)
    seen = f"torchvision.datasets.{modules}.check_integrity"
    monkeypatch.setattr(seen, lambda path, *_, **__: Path(path).exists())
    pairs = Pairs(f"{kind}:{tmp_path}", 16)
    assert len(pairs) == 2  # of CelebA: those for training
    assert sorted(shades(pairs, range(2))) == pytest.approx([60, 120], abs=3)


def test_the_bundled_photos_are_a_source_too():
    assert len(Pairs("validation", 8)) == len(photos.names("validation"))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("folder:nowhere", "nowhere is no folder"),
        ("imagenet:x", "choose train, validation, folder:PATH"),
        ("imagenet", "choose train, validation, folder:PATH"),
        ("evaluation", "choose train, validation, folder:PATH"),
        ("folder:", "'folder:' names no folder: write folder:PATH"),
        ("celeba", "'celeba' names no folder: write celeba:PATH"),
    ],
)
def test_a_source_that_is_not_there_is_named(source: str, says: str):
    with pytest.raises(DatasetError, match=says):
        pictures(source)


def test_a_folder_without_a_picture_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"folder:.*no picture .looked for .*\.avif"):
        pictures(f"folder:{tmp_path}")


def test_a_folder_of_pictures_is_the_same_to_all_who_read_it(folder: Path):
    photo(folder / "6.gif", 60)
    avif = ".avif" in Image.registered_extensions()
    if avif:
        photo(folder / "7.AVIF", 70)
    photo(folder / "0.hole.png", 80)
    photo(folder / "._0.png", 90)
    held = photos.collection(f"folder:{folder}")
    found = pictures(f"folder:{folder}")
    reds = [round(float(found[k][0].float().mean()), -1) for k in range(len(found))]
    assert reds == [round(float(p[0].float().mean()), -1) for p in held.pictures]
    assert sorted(reds) == [10, 20, 30, 40, 50, 60] + [70] * avif


def test_grey_of_sixteen_bits_is_not_cut(tmp_path: Path):
    grey = np.full((8, 8), 32768, np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert pictures(f"folder:{tmp_path}")[0].unique().tolist() == [127]


def test_a_turned_photo_is_shown_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10] = 255  # white above; upright it is at the right
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = pictures(f"folder:{tmp_path}")[0]
    assert found[:, :, 10:].min() == 255
    assert found[:, :, :10].max() == 0


# -------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("kind", datasets.KINDS)
def test_a_pair_keeps_the_conventions_and_is_the_same_each_time(kind: datasets.Kind):
    pairs = Pairs("validation", 24, kind, seed=3)
    image, hole = pairs[7]
    check_image(image[None])
    check_hole(hole[None])
    assert 0 < hole.mean() <= 0.6
    again = Pairs("validation", 24, kind, seed=3)
    for position in (3, 7):
        pair = zip(pairs[position], again[position], strict=True)
        assert all(torch.equal(a, b) for a, b in pair)
    other = Pairs("validation", 24, kind, seed=4)
    assert not torch.equal(other[7][1], hole)
    assert not torch.equal(pairs[8][1], hole)


def test_holes_are_evenly_large():
    pairs = Pairs([torch.zeros(3, 16, 16).byte()], 32, "mixed")
    ratios = torch.stack([pairs[p][1].mean() for p in range(120)])
    counts = torch.histc(ratios, 6, 0.01, 0.6)
    assert counts.min() >= 10


def test_an_epoch_has_every_picture_once_in_an_order_of_its_own(folder: Path):
    pairs = Pairs(f"folder:{folder}", 8)
    epochs = [[pairs.which(p) for p in range(5 * e, 5 * e + 5)] for e in range(4)]
    assert all(sorted(each) == list(range(5)) for each in epochs)
    assert len({tuple(each) for each in epochs}) > 1
    assert pairs.which(2) == epochs[0][2]


def test_holes_of_a_folder_are_read_turned_and_not_resized_softly(tmp_path: Path):
    drawn = np.full((64, 64), 255, np.uint8)
    drawn[:8, :16] = 0
    for k in range(3):
        Image.fromarray(drawn).save(tmp_path / f"{k}.png")
    pairs = Pairs("validation", 32, tmp_path, hole_is="black")
    found = [pairs[p][1] for p in range(80)]
    assert all(hole.sum() == 4 * 8 for hole in found)
    check_hole(torch.stack(found))
    assert len({tuple(hole.flatten().tolist()) for hole in found}) == 8
    with pytest.raises(holes.HoleError, match="try hole_is='black'"):
        Pairs("validation", 32, tmp_path, hole_is="white")
    with pytest.raises(holes.HoleError):
        Pairs("validation", 32, tmp_path / "none", hole_is="black")
    with pytest.raises(holes.HoleError, match="say which colour is missing"):
        Pairs("validation", 32, tmp_path)


def hole_file(path: Path, shade: int = 255, **boxes: slice) -> None:
    drawn = np.full((64, 64), shade, np.uint8)
    if boxes:
        drawn[boxes["rows"], boxes["columns"]] = 255 - shade
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(drawn).save(path)


def test_a_hole_file_that_hides_nothing_or_everything_is_passed_over(tmp_path: Path):
    for k in range(40):
        hole_file(tmp_path / f"{k:02}.png", rows=slice(8), columns=slice(16))
    hole_file(tmp_path / "07.png")  # nothing; the spot check looks at 00, 02, ...
    hole_file(tmp_path / "11.png", 0)  # everything
    hole_file(tmp_path / "13.png", rows=slice(1, 2), columns=slice(64))  # thin: gone
    pairs = Pairs("validation", 32, tmp_path, hole_is="black")
    found = [pairs[p][1] for p in range(120)]
    assert all(hole.sum() == 4 * 8 for hole in found)
    again = Pairs("validation", 32, tmp_path, hole_is="black")
    assert all(torch.equal(again[p][1], found[p]) for p in (119, 3, 60))


def test_a_folder_whose_holes_all_vanish_at_this_size_is_named(tmp_path: Path):
    for k in range(3):
        hole_file(tmp_path / f"{k}.png", rows=slice(8), columns=slice(16))
    pairs = Pairs("validation", 32, tmp_path, hole_is="black")
    for k in range(3):
        hole_file(tmp_path / f"{k}.png")
    says = (
        r"[012]\.png hides nothing or everything at 32 pixels.*take such pictures out"
    )
    with pytest.raises(DatasetError, match=says):
        pairs[0]


@pytest.mark.parametrize(
    "error", [Image.DecompressionBombError, struct.error, RuntimeError, TypeError]
)
def test_whatever_a_reader_raises_the_next_picture_is_taken(error: type[Exception]):
    class Odd:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Tensor:
            if index == 0:
                raise error("too large")
            return torch.zeros(3, 8, 8).byte()

    pairs = Pairs(Odd(), 8)
    with pytest.warns(UserWarning, match=rf"0 is damaged: {error.__name__}: too large"):
        assert all(pairs[p][0].sum() == 0 for p in range(2))


def test_a_damaged_picture_is_replaced_by_the_next(folder: Path):
    (folder / "1.png").write_bytes(b"no picture")
    pairs = Pairs(f"folder:{folder}", 8)
    with pytest.warns(UserWarning, match=r"picture 1 is damaged.*took the next"):
        found = shades(pairs, range(5))
    assert sorted(found) == [10, 30, 30, 40, 50]
    for k in (0, 2, 3):
        (folder / f"{k}.png").write_bytes(b"")
    (folder / "deep" / "er" / "5.png").write_bytes(b"")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(DatasetError, match="so are the others"),
    ):
        pairs[0]


# ------------------------------------------------------------------------------ batches


def taken(batches: Batches, count: int) -> list[tuple[Tensor, ...]]:
    return [next(batches) for _ in range(count)]


def same(one, two) -> bool:
    flat = zip(sum(one, ()), sum(two, ()), strict=True)
    return all(torch.equal(a, b) for a, b in flat)


def test_processes_share_what_one_would_take():
    pairs = Pairs("validation", 8)
    whole = taken(Batches(pairs, 6), 3)
    parts = [taken(Batches(pairs, 2, process=k, processes=3), 3) for k in range(3)]
    joined = [
        tuple(torch.cat(each) for each in zip(*shares, strict=True))
        for shares in zip(*parts, strict=True)
    ]
    assert same(joined, whole)
    resumed = Batches(pairs, 2, process=2, processes=3)
    resumed.load_state_dict({"taken": 2})
    assert same(taken(resumed, 1), parts[2][2:])


def test_workers_change_nothing_and_a_state_goes_on():
    pairs = Pairs("validation", 8)
    whole = taken(Batches(pairs, 2), 5)
    by_workers = Batches(pairs, 2, workers=2)
    assert same(taken(by_workers, 3), whole[:3])
    state = by_workers.state_dict()
    assert state == {"taken": 3}
    again = Batches(pairs, 2)
    next(again)
    again.load_state_dict(state)
    assert same(taken(again, 2), whole[3:])
    assert iter(again) is again


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_leave_the_global_random_state_alone(workers: int):
    before = torch.get_rng_state()
    next(Batches(Pairs("validation", 8), 2, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"process": 2, "processes": 2}])
def test_batches_that_cannot_be_are_refused(wrong: dict[str, int]):
    with pytest.raises(DatasetError, match="batch"):
        Batches(Pairs("validation", 8), **{"batch": 1} | wrong)
