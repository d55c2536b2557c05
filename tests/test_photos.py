"""Photographs: every kind of file, the splits, and training crops."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_lib import folders, photos
from course_lib.photos import Collection, PhotoError


def colours(height: int = 5, width: int = 7) -> np.ndarray:
    """A picture in which every pixel and every corner differs."""
    y, x = np.mgrid[:height, :width]
    blue = (7 * x + 11 * y) % 256
    return np.stack([20 * y, 20 * x, blue], -1).astype(np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def as_bytes(image: torch.Tensor) -> np.ndarray:
    assert image.dtype == torch.float32
    assert image.shape[:2] == (1, 3)
    return (image[0] * 255).round().byte().permute(1, 2, 0).numpy()


def claimed(width: int, height: int) -> bytes:
    """The head of a PNG file of that size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", 99) + b"IDAT"


# ------------------------------------------------------------------------ kinds of file


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda p: np.rot90(p)),
    ],
)
def test_exif_rotation_is_applied(orientation: int, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(colours()), exif=exif)
    assert np.array_equal(as_bytes(photos.decode(data)), upright(colours()))


def test_plain_colours_come_through_exactly():
    assert np.array_equal(
        as_bytes(photos.decode(encoded(Image.fromarray(colours())))), colours()
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode: str):
    layers = len(mode)
    pixels = np.zeros((1, 3, layers), np.uint8)
    pixels[0, :, -1] = (255, 128, 0)  # black, half, nothing
    shown = as_bytes(photos.decode(encoded(Image.fromarray(pixels, mode))))
    assert shown[0].tolist() == [[0, 0, 0], [127, 127, 127], [255, 255, 255]]


def test_a_palette_with_a_transparent_entry_is_laid_over_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        shown = as_bytes(photos.decode(encoded(picture, kind, transparency=1)))
        assert shown[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_grey_and_black_and_white_get_three_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    shown = as_bytes(photos.decode(encoded(Image.fromarray(grey))))
    assert np.array_equal(shown, np.repeat(grey[..., None], 3, 2))
    ink = Image.fromarray(grey > 100)
    shown = as_bytes(photos.decode(encoded(ink)))
    assert np.array_equal(shown[..., 0], (grey > 100) * 255)


def test_sixteen_bits_are_scaled_not_clipped():
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        shown = as_bytes(photos.decode(encoded(Image.fromarray(deep), kind)))
        assert shown[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floating_point_grey_is_scaled_to_its_maximum():
    values = np.array([[0, 0.25, 0.5]], np.float32)
    shown = as_bytes(photos.decode(encoded(Image.fromarray(values), "TIFF")))
    assert shown[0, :, 1].tolist() == [0, 127, 255]


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_becomes_red_green_blue(kind: str):
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, :16, 1:3] = 255  # magenta and yellow make red
    inks[:, 32:, 3] = 255  # black
    data = encoded(Image.fromarray(inks, "CMYK"), kind)
    shown = as_bytes(photos.decode(data)).astype(int)
    for column, colour in ((8, (255, 0, 0)), (24, (255, 255, 255)), (40, (0, 0, 0))):
        assert np.abs(shown[8, column] - colour).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(kind: str):
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    exact = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **exact)
    assert as_bytes(photos.decode(data))[2, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_named_and_called_damaged(kind: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PhotoError, match="holiday"):
        photos.decode(data[: len(data) // 2], "holiday")


@pytest.mark.parametrize(
    "data", [b"", b"dear diary", b"\x89PNG\r\n\x1a\n", b"\xff\xd8"]
)
def test_what_is_no_picture_is_called_so(data: bytes):
    with pytest.raises(
        PhotoError, match=r"my_file is not a picture.*JPEG, PNG or WebP"
    ):
        photos.decode(data, "my_file")


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((8001, 8000), "poster has 8001 x 8000 pixels"),
        ((9500, 9500), "poster has 9500 x 9500 pixels"),
        ((30_000, 30_000), "poster has more"),
    ],
)
def test_a_huge_picture_is_refused_before_it_is_decoded(
    size: tuple[int, int], says: str
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PhotoError) as caught:
            photos.decode(claimed(*size), "poster")
    for part in (says, "more than 64 megapixels", "make it smaller"):
        assert part in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_never_escapes_as_another_error():
    draw = np.random.default_rng(0)
    kinds = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]
    kinds += ["AVIF"] * (".avif" in Image.registered_extensions())
    for kind in kinds:
        good = np.frombuffer(encoded(Image.fromarray(colours(16, 16)), kind), np.uint8)
        for _ in range(60):
            bad = good.copy()
            bad[draw.integers(0, len(bad), 4)] = draw.integers(0, 256, 4)
            try:
                image = photos.decode(bad.tobytes())
            except PhotoError:
                continue
            assert 0 <= image.min() <= image.max() <= 1


def test_read_names_a_file_that_is_missing_or_broken(tmp_path: Path):
    with pytest.raises(PhotoError, match=r"cannot read .*gone\.png"):
        photos.read(tmp_path / "gone.png")
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(PhotoError, match=r"notes\.jpg is not a picture"):
        photos.read(tmp_path / "notes.jpg")
    Image.fromarray(colours()).save(tmp_path / "good.png")
    assert np.array_equal(as_bytes(photos.read(tmp_path / "good.png")), colours())


# ------------------------------------------------------------------ bundled photographs


def test_the_splits_share_nothing_and_hold_all():
    parts = [photos.names(split) for split in photos.SPLITS]
    together = [name for part in parts for name in part]
    assert all(parts)
    assert len(together) == len(set(together)) == len(photos.names())
    with pytest.raises(PhotoError, match=r"'test'.*train, validation, evaluation"):
        photos.names("test")


def test_a_photograph_is_loaded_by_name():
    name = photos.names("evaluation")[0]
    row = photos.manifest()[name]
    image = photos.load(name)
    assert image.shape == (1, 3, int(row["height"]), int(row["width"]))
    assert 0 <= image.min() < image.max() <= 1
    with pytest.raises(PhotoError, match=r"'unicorn'.*photos.names\(\) lists all"):
        photos.load("unicorn")


def test_credits_name_author_licence_and_page():
    name = photos.names()[0]
    row = photos.manifest()[name]
    (line,) = photos.credits([name])
    columns = ("name", "author", "licence", "source", "changes")
    assert all(row[key] in line for key in columns)


def test_square_is_the_central_square():
    wide = torch.arange(3 * 4 * 10).reshape(1, 3, 4, 10).float() / 120
    assert torch.equal(photos.square(wide, 4), wide[..., 3:7])
    assert torch.equal(photos.square(wide.mT, 4), wide.mT[..., 3:7, :])
    flat = torch.full((2, 3, 5, 9), 0.3)
    torch.testing.assert_close(photos.square(flat, 8), torch.full((2, 3, 8, 8), 0.3))


def test_squares_are_a_batch_of_the_first():
    batch = photos.squares("validation", 16, 2)
    assert batch.shape == (2, 3, 16, 16)
    second = photos.load(photos.names("validation")[1])
    assert torch.equal(batch[1:], photos.square(second, 16))


# -------------------------------------------------------------------------- own folders


def save_some(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(colours(8, 8 + k)).save(folder / f"photo{k}.png")


def test_a_folder_is_read_with_its_folders(tmp_path: Path):
    save_some(tmp_path / "inner")
    (tmp_path / "readme.txt").write_text("not looked at")
    Image.fromarray(colours()).save(tmp_path / "LOUD.JPG", "JPEG")
    found = photos.collection(f"folder:{tmp_path}")
    assert sorted(found.names) == ["LOUD", "photo0", "photo1"]
    assert len(found) == 3
    assert all(p.dtype == torch.uint8 and p.shape[0] == 3 for p in found.pictures)
    assert len(photos.collection(f"folder:{tmp_path}", limit=1)) == 1


def test_holes_and_fills_beside_photos_are_no_photos(tmp_path: Path):
    save_some(tmp_path)
    hole = np.zeros((8, 8), np.uint8)
    hole[2:5, 2:5] = 255
    Image.fromarray(hole).save(tmp_path / "photo0.hole.png")
    folders.fill_folder(tmp_path, lambda image, _: image)
    save_some(tmp_path / "filled" / "own", 1)
    (tmp_path / "._photo0.png").write_bytes(b"what a Mac leaves")
    found = photos.files(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "filled/own/photo0.png",
        "photo0.png",
        "photo1.png",
    ]
    assert len(photos.collection(f"folder:{tmp_path}")) == 3
    with pytest.raises(PhotoError, match="is no folder"):
        photos.files(tmp_path / "photo0.png")


def test_one_warning_names_the_broken_files(tmp_path: Path):
    save_some(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    (tmp_path / "empty.png").touch()
    with pytest.warns(UserWarning, match="broken.jpg, empty.png") as caught:
        found = photos.collection(f"folder:{tmp_path}")
    assert len(caught) == 1
    assert "skipped 2" in str(caught[0].message)
    assert len(found) == 2


def test_a_long_list_of_broken_files_is_cut(tmp_path: Path):
    save_some(tmp_path)
    for k in range(10):
        (tmp_path / f"bad{k}.png").touch()
    with pytest.warns(UserWarning, match=r"skipped 10 .*bad7\.png, \.\.\.$"):
        photos.collection(f"folder:{tmp_path}")


def test_no_picture_and_no_folder_are_errors(tmp_path: Path):
    with pytest.raises(PhotoError, match=r"no readable picture.*\.jpg"):
        photos.collection(f"folder:{tmp_path}")
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    with (
        pytest.warns(UserWarning, match="broken"),
        pytest.raises(PhotoError, match="no readable picture"),
    ):
        photos.collection(f"folder:{tmp_path}")
    with pytest.raises(PhotoError, match=r"gone is no folder; write folder:PATH"):
        photos.collection(f"folder:{tmp_path / 'gone'}")
    with pytest.raises(PhotoError, match=r"'training'.*train, validation"):
        photos.collection("training")


def test_a_large_photo_is_kept_smaller_and_whole(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(photos, "KEPT_SIDE", 20)
    large = Image.fromarray(colours(5, 10)).resize((80, 40), Image.Resampling.NEAREST)
    large.save(tmp_path / "large.png")
    Image.fromarray(colours(20, 60)).save(tmp_path / "small.png")
    kept, small = photos.collection(f"folder:{tmp_path}").pictures
    assert kept.shape == (3, 20, 40)
    corners = kept[:, ::19, ::39].permute(1, 2, 0).numpy()
    assert np.array_equal(corners, colours(5, 10)[::4, ::9])
    assert np.array_equal(small.permute(1, 2, 0).numpy(), colours(20, 60))


def test_a_bundled_split_is_a_collection():
    found = photos.collection("train", limit=2)
    assert found.names == photos.names("train")[:2]


# -------------------------------------------------------------------------------- crops


def places(height: int, width: int) -> torch.Tensor:
    """A picture whose red is the row and whose green is the column."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x, y + x]).byte()


def some(*pictures: torch.Tensor) -> Collection:
    return Collection([str(k) for k in range(len(pictures))], list(pictures))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_crop_is_a_window_of_a_picture_and_reaches_every_edge():
    found = some(places(12, 20))
    batch = found.crops(400, 6, seeded(), scale=(0.5, 0.5)) * 255
    tops, lefts, mirrored = set(), set(), 0
    for crop in batch.round().byte():
        back = crop[1, 0, 0] > crop[1, 0, -1]
        crop = crop.flip(-1) if back else crop
        top, left = int(crop[0, 0, 0]), int(crop[1, 0, 0])
        window = found.pictures[0][:, top : top + 6, left : left + 6]
        assert torch.equal(crop, window)
        mirrored += int(back)
        tops.add(top)
        lefts.add(left)
    assert tops == set(range(7))
    assert lefts == set(range(15))
    assert 150 < mirrored < 250


def test_crops_are_resized_once_with_antialiasing():
    noise = torch.randint(0, 256, (3, 40, 40), generator=seeded(), dtype=torch.uint8)
    batch = some(noise).crops(1, 10, seeded(), scale=(1, 1), flip=False)
    smooth = F.interpolate(
        noise[None].float(), (10, 10), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(255 * batch, smooth, rtol=0, atol=1.01)


def test_the_same_generator_gives_the_same_crops_and_the_global_one_rests():
    found = some(places(30, 40), places(50, 20))
    before = torch.get_rng_state()
    one, two = found.crops(8, 16, seeded()), found.crops(8, 16, seeded())
    assert torch.equal(one, two)
    assert not torch.equal(one, found.crops(8, 16, seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.shape == (8, 3, 16, 16)
    assert one.dtype == torch.float32
    assert 0 <= one.min() < one.max() <= 1


def test_every_picture_is_chosen():
    flat = [torch.full((3, 4, 4), k, dtype=torch.uint8) for k in range(5)]
    values = some(*flat).crops(100, 2, seeded())[:, 0, 0, 0] * 255
    assert set(values.round().int().tolist()) == set(range(5))


def test_flips_can_be_switched_off():
    batch = some(places(8, 8)).crops(20, 8, seeded(), scale=(1, 1), flip=False)
    assert torch.equal((255 * batch).round().byte()[7], places(8, 8))


def test_zoom_follows_the_scale():
    batch = some(places(100, 100)).crops(200, 8, seeded(), scale=(0.2, 0.6), flip=False)
    spans = 255 * (batch[:, 0, -1, 0] - batch[:, 0, 0, 0])
    assert 16 <= spans.min() < 22  # 20 to 60 pixels, less the half pixels at the ends
    assert 46 < spans.max() <= 60


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 200)])
def test_tiny_pictures_still_give_crops(shape: tuple[int, int]):
    batch = some(torch.full((3, *shape), 51, dtype=torch.uint8)).crops(4, 16, seeded())
    torch.testing.assert_close(batch, torch.full((4, 3, 16, 16), 0.2))


@pytest.mark.parametrize("scale", [(0, 1), (0.5, 1.5), (0.8, 0.4)])
def test_an_impossible_scale_is_refused(scale: tuple[float, float]):
    with pytest.raises(PhotoError, match="need 0 < low <= high <= 1"):
        some(places(8, 8)).crops(1, 4, seeded(), scale=scale)
