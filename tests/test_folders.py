"""A folder of photos: what is filled, what is named, and that originals stay."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor, nn

from course_lib import folders, zoo
from course_lib.folders import FolderError, fill_folder, read_hole


def bright(image: Tensor, hole: Tensor) -> Tensor:
    """A fill of one colour that no photo here has."""
    return torch.full_like(image, 1.0)


class Bright(nn.Module):
    """As ``bright``, of a brightness that is a weight, and with a setting."""

    def __init__(self, value: float = 1.0, setting: int = 0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.setting = setting

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return self.value.expand_as(image)


def photo(path: Path, width: int = 40, height: int = 30, mode: str = "RGB", **kind):
    generator = np.random.default_rng(width)
    pixels = generator.integers(0, 200, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **kind)


def hole(path: Path, width: int = 40, height: int = 30) -> np.ndarray:
    drawn = np.zeros((height, width), np.uint8)
    drawn[height // 3 : height // 2, width // 3 : width // 2] = 255
    Image.fromarray(drawn).save(path)
    return drawn > 0


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo(tmp_path / "beach.png")
    hole(tmp_path / "beach.hole.png")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_what_is_missing_is_filled_and_all_else_is_the_photos(folder: Path):
    photo(folder / "alone.jpg")
    before = contents(folder)
    report = fill_folder(folder, bright)
    assert (report.done, report.before, report.failed) == (["beach.png"], [], {})
    made, truth = read(folder / "filled" / "beach.png"), read(folder / "beach.png")
    missing = read(folder / "beach.hole.png") > 0
    assert (made[missing] == 255).all()
    assert (made[~missing] == truth[~missing]).all()
    assert contents(folder) == before
    assert [p.name for p in (folder / "filled").iterdir()] == ["beach.png"]


def test_a_shipped_network_fills_by_its_name(folder: Path):
    report = fill_folder(folder, "plain_unet", into=folder / "deep" / "er", tile=32,
                         overlap=8)  # fmt: skip
    made = read(folder / "deep" / "er" / "beach.png")
    assert report.done == ["beach.png"]
    assert made.shape == (30, 40, 3)


def test_a_second_call_goes_on_and_a_changed_hole_is_filled_again(folder: Path):
    photo(folder / "wood.jpg")
    hole(folder / "wood.hole.png")

    def stop(*_: object) -> None:
        if (folder / "filled" / "beach.png").exists():
            raise KeyboardInterrupt

    stopped = Bright()
    stopped.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        fill_folder(folder, stopped)
    report = fill_folder(folder, Bright())
    assert (report.done, report.before) == (["wood.jpg"], ["beach.png"])
    assert str(report).startswith("1 filled, 1 were already, 0 failed")
    later = (folder / "filled" / "beach.png").stat().st_mtime + 10
    os.utime(folder / "beach.hole.png", (later, later))
    assert fill_folder(folder, Bright()).done == ["beach.png"]


def test_what_another_network_or_tile_made_is_made_again(folder: Path):
    fill_folder(folder, Bright(0.9))
    assert fill_folder(folder, Bright(0.9)).before == ["beach.png"]
    for network in (Bright(0.2), Bright(0.2, setting=1), bright, bright):
        assert fill_folder(folder, network).done == ["beach.png"]
        for other in ({"tile": 64}, {"overlap": 16}, {}):
            assert fill_folder(folder, network, **other).done == ["beach.png"]
    made, missing = (
        read(folder / "filled" / "beach.png"),
        read(folder / "beach.hole.png"),
    )
    assert (made[missing > 0] == 255).all()


def test_a_shipped_network_knows_its_own_fills_and_no_others(folder: Path):
    network = zoo.load("partial_unet")
    assert fill_folder(folder, "partial_unet").done == ["beach.png"]
    assert fill_folder(folder, "partial_unet").before == ["beach.png"]
    assert fill_folder(folder, network).before == ["beach.png"]
    assert fill_folder(folder, network).before == ["beach.png"]  # it has run, or not
    assert fill_folder(folder, "plain_unet").done == ["beach.png"]


def test_a_draft_has_no_name_of_a_file_that_is_there(folder: Path):
    own = folder / "own"
    own.mkdir()
    for ending in ("partial", "draft", "tmp", "new"):
        (own / f"beach.{ending}").write_text("mine")
    before = contents(own)
    fill_folder(folder, bright, into=own)
    made = contents(own)
    assert made.pop("beach.png")
    assert made == before
    assert {p.name for p in own.iterdir()} == {*before, "beach.png"}


def test_a_colour_profile_is_kept_if_the_fill_has_its_colours(folder: Path):
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo(folder / "beach.png", icc_profile=wide)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for name, odd in (("lab", lab), ("junk", b"no profile")):
        photo(folder / f"{name}.png", icc_profile=odd)
        hole(folder / f"{name}.hole.png")
    assert fill_folder(folder, bright).failed == {}
    found = {
        name: Image.open(folder / "filled" / f"{name}.png").info.get("icc_profile")
        for name in ("beach", "lab", "junk")
    }
    assert found == {"beach": wide, "lab": None, "junk": None}


def test_half_a_file_never_looks_like_a_whole_one(folder: Path, monkeypatch):
    def full(self: Image.Image, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    report = fill_folder(folder, bright)
    assert report.failed == {"beach.png": "disk full"}
    assert list((folder / "filled").iterdir()) == []


def test_what_cannot_be_filled_is_named_and_the_rest_goes_on(folder: Path):
    (folder / "broken.jpg").write_bytes(b"no picture")
    hole(folder / "broken.hole.png")
    photo(folder / "odd.jpg")
    (folder / "odd.hole.png").write_bytes(b"no hole")
    photo(folder / "wide.jpg")
    hole(folder / "wide.hole.png", 30, 40)
    photo(folder / "whole.jpg")
    Image.new("L", (40, 30)).save(folder / "whole.hole.png")
    photo(folder / "gone.jpg")
    Image.new("L", (40, 30), 255).save(folder / "gone.hole.png")
    report = fill_folder(folder, bright)
    assert report.done == ["beach.png"]
    says = {
        "broken.jpg": "broken.jpg is not a picture",
        "odd.jpg": "odd.hole.png cannot be read",
        "wide.jpg": "wide.hole.png has 30 x 40 pixels and the photo 40 x 30",
        "whole.jpg": "in whole.hole.png nothing is missing",
        "gone.jpg": "everything is missing",
    }
    assert says.keys() == report.failed.keys()
    for name, text in says.items():
        assert text in report.failed[name]
        assert f"  {name}: " in str(report)


def test_a_turned_photo_gets_its_hole_upright(tmp_path: Path):
    photo(tmp_path / "turned.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"
          b"\x01\0\0\0\x06\0\0\0\0\0\0\0")  # fmt: skip
    missing = hole(tmp_path / "turned.hole.png", 30, 40)
    assert fill_folder(tmp_path, bright).failed == {}
    made = read(tmp_path / "filled" / "turned.png")
    assert made.shape == (40, 30, 3)
    assert (made[missing] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA"])
def test_grey_palette_and_alpha_photos_are_filled(tmp_path: Path, mode: str):
    photo(tmp_path / "beach.png", mode=mode)
    missing = hole(tmp_path / "beach.hole.png")
    assert fill_folder(tmp_path, bright).failed == {}
    made = read(tmp_path / "filled" / "beach.png")
    assert made.shape == (30, 40, 3)
    assert (made[missing] == 255).all()
    assert (made[~missing] < 255).any(1).all()


def test_a_hole_may_be_a_painted_layer_or_of_another_size(tmp_path: Path):
    layer = np.zeros((30, 40, 4), np.uint8)
    layer[10:15, 20:30] = (200, 10, 30, 255)  # red on transparent
    Image.fromarray(layer).save(tmp_path / "layer.png")
    painted = read_hole(tmp_path / "layer.png", (30, 40))
    assert painted.sum() == 50
    assert painted[0, 0, 10:15, 20:30].all()
    small = read_hole(tmp_path / "layer.png", (60, 80))
    assert small.sum() == 200
    assert small[0, 0, 20:30, 40:60].all()
    layer[:, :5, 3] = 1  # what a soft brush leaves at its rim
    Image.fromarray(layer).save(tmp_path / "layer.png")
    assert read_hole(tmp_path / "layer.png", (30, 40)).sum() == 50 + 150
    black = np.zeros((30, 40), np.uint8)
    black[3:6] = 255
    Image.fromarray(black).save(tmp_path / "grey.png")
    assert read_hole(tmp_path / "grey.png", (30, 40)).sum() == 120
    deep = black.astype(np.uint16) * 257
    deep[20:] = 300  # of 65535: practically black
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_hole(tmp_path / "deep.png", (30, 40)).sum() == 120


def test_folders_that_cannot_be_filled_say_what_is_needed(folder: Path):
    with pytest.raises(FolderError, match="is no folder"):
        fill_folder(folder / "beach.png", bright)
    with pytest.raises(FolderError, match="originals are not written to"):
        fill_folder(folder, bright, into=folder / "filled" / "..")
    photo(folder / "beach.jpg")
    with pytest.raises(FolderError, match=r"beach.jpg, beach.png share one hole"):
        fill_folder(folder, bright)
    (folder / "beach.hole.png").unlink()
    with pytest.raises(FolderError, match=r"there has to be beach.hole.png"):
        fill_folder(folder, bright)


def test_a_picture_that_was_not_made_here_is_never_written_over(folder: Path):
    own = folder / "own"
    own.mkdir()
    photo(own / "beach.png", 10, 10)
    for later in (10, -10):  # newer and older than the photo
        moment = (folder / "beach.png").stat().st_mtime + later
        os.utime(own / "beach.png", (moment, moment))
        before = contents(own)
        with pytest.raises(FolderError, match=r"beach.png in own was not made by"):
            fill_folder(folder, bright, into=own)
        assert contents(own) == before
    (own / "beach.png").write_bytes(b"no picture")
    with pytest.raises(FolderError, match="was not made by"):
        fill_folder(folder, bright, into=own)


@pytest.mark.parametrize("error", [RuntimeError("no memory"), MemoryError()])
def test_one_photo_that_is_too_much_does_not_stop_the_folder(folder: Path, error):
    photo(folder / "wood.jpg", 60, 30)
    hole(folder / "wood.hole.png", 60, 30)

    def weak(image: Tensor, missing: Tensor) -> Tensor:
        if image.shape[-1] > 40:
            raise error
        return bright(image, missing)

    report = fill_folder(folder, weak)
    assert report.done == ["beach.png"]
    assert report.failed == {"wood.jpg": str(error) or "MemoryError"}


def test_a_hole_of_too_many_pixels_is_named(folder: Path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # a bomb is twice as many
    with pytest.raises(FolderError, match=r"beach.hole.png cannot be read"):
        read_hole(folder / "beach.hole.png", (30, 40))


def test_the_command_prints_what_became_of_the_photos(folder: Path, capsys):
    options = [str(folder), "--into", str(folder / "made"), "--network", "plain_unet"]
    assert folders.main(options) == 0
    assert "1 filled, 0 were already, 0 failed" in capsys.readouterr().out
    small = [str(folder), "--into", str(folder / "small"), "--tile", "32"]
    assert folders.main([*small, "--network", "plain_unet"]) == 0
    capsys.readouterr()
    (folder / "odd.jpg").write_bytes(b"")
    hole(folder / "odd.hole.png")
    assert folders.main(options) == 1
    assert "odd.jpg: odd.jpg is not a picture" in capsys.readouterr().out
    assert folders.main([str(folder / "none")]) == 2
    assert "is no folder" in capsys.readouterr().out


def test_a_network_that_makes_holes_is_not_offered(folder: Path, capsys):
    with pytest.raises(SystemExit):
        folders.main([str(folder), "--network", "miner"])
    assert "invalid choice: 'miner'" in capsys.readouterr().err
    with pytest.raises(FolderError, match=r"miner makes holes .*partial_unet"):
        fill_folder(folder, "miner")


def test_the_command_ends_in_a_sentence(folder: Path, capsys, monkeypatch):
    for into in (folder / "beach.png", folder / "beach.png" / "inner"):
        assert folders.main([str(folder), "--into", str(into)]) == 2
        assert f"{into} cannot be made (" in capsys.readouterr().out
    for error in (zoo.ZooError("damaged"), PermissionError("not allowed")):

        def broken(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(zoo, "load", broken)
        assert folders.main([str(folder)]) == 2
        assert str(error) in capsys.readouterr().out


def test_a_hole_whose_reader_fails_otherwise_is_named(folder: Path, monkeypatch):
    def fails(*_: object) -> None:
        raise TypeError("a number was expected")

    monkeypatch.setattr(Image.Image, "convert", fails)
    said = re.escape("beach.hole.png cannot be read: a number was expected")
    with pytest.raises(FolderError, match=said):
        read_hole(folder / "beach.hole.png", (30, 40))
