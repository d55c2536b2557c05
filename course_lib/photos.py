"""Real photographs as tensors: the bundled ones, your own, and training crops.

Every picture is ``(1, 3, H, W)`` float in ``[0, 1]``. Lesson 00 introduces it.
"""

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from course_lib.session import ASSETS

SPLITS = ("train", "validation", "evaluation")
FOLDER = ASSETS / "photos"
MANIFEST = FOLDER / "manifest.csv"
FILLED = ("course_lib", "filled")  # a text in each PNG that ``folders`` made
HOLE = ".hole.png"  # how the hole of a photo is named: beach.jpg, beach.hole.png
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
MAX_PIXELS = 64_000_000
KEPT_SIDE = 1024  # the short side that a collection keeps in memory, in pixels


class PhotoError(ValueError):
    """A picture that cannot be read, or a collection without pictures."""


@lru_cache
def manifest() -> dict[str, dict[str, str]]:
    """Every bundled photograph by name: split, size, licence, author, source page."""
    with MANIFEST.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def names(split: str | None = None) -> list[str]:
    """Names of the bundled photographs, of one split or of all, in manifest order.

    The splits share no subject: ``train``, ``validation`` (to choose settings) and
    ``evaluation`` (for the numbers that are printed).
    """
    if split is not None and split not in SPLITS:
        raise PhotoError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    return [name for name, row in manifest().items() if split in (None, row["split"])]


def load(name: str) -> Tensor:
    """A bundled photograph by its name; ``names()`` lists them."""
    if name not in manifest():
        raise PhotoError(
            f"no bundled photograph is called {name!r}; photos.names() lists all "
            f"{len(manifest())}, such as {', '.join(names()[:4])}"
        )
    return read(FOLDER / f"{name}.webp")


def read(path: str | Path) -> Tensor:
    """Read a picture file. Raises ``PhotoError`` that names a file it cannot read."""
    return _to_float(_decode_file(Path(path)))


def decode(data: bytes, name: str = "the picture") -> Tensor:
    """Decode the bytes of a picture file to ``(1, 3, H, W)`` in ``[0, 1]``.

    Applies the EXIF rotation; alpha is laid over white; grey, palette, CMYK and
    16-bit pictures become RGB. Raises ``PhotoError`` if it is no picture, is damaged,
    or has more than 64 megapixels.
    """
    return _to_float(_decode(data, name))


def files(folder: str | Path) -> list[Path]:
    """The pictures in a folder and those inside it, by their endings, in order.

    Left out is what lies beside photos and is none: holes (``NAME.hole.png``), fills
    that the course made of them, and the ``._NAME`` files of a Mac. Raises
    ``PhotoError`` if there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise PhotoError(f"{folder} is no folder; write folder:PATH of your pictures")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.name.endswith(HOLE)
        and not path.name.startswith("._")
        and not (path.suffix.lower() == ".png" and is_fill(path))
    )


def is_fill(path: Path) -> bool:
    """Whether a file is a PNG that ``folders.fill_folder`` made: it says so itself."""
    return texts(path).get(FILLED[0]) == FILLED[1]


def texts(path: Path) -> dict[str, object]:
    """What a picture file says beside its pixels; nothing, if it is no picture."""
    try:
        with warnings.catch_warnings():  # the pixels are not read
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                return {str(key): value for key, value in opened.info.items()}
    except Exception:  # as in _decode
        return {}


def eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits, or in floats, as 8 bits; other pictures as they are.

    65535 becomes 255, and so does the largest float. Pillow's ``convert`` would cut
    at 255 instead of dividing.
    """
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    top = 65535 if picture.mode.startswith("I") else max(values.max(), 1e-9)
    return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))


def square(image: Tensor, size: int) -> Tensor:
    """The central square, resized to ``(N, 3, size, size)`` with antialiasing."""
    side = min(image.shape[-2:])
    top, left = ((n - side) // 2 for n in image.shape[-2:])
    crop = image[..., top : top + side, left : left + side]
    return _resize(crop, size).clamp(0, 1)


def squares(split: str, size: int, limit: int | None = None) -> Tensor:
    """The first ``limit`` photographs of a split as one batch of central squares."""
    return torch.cat([square(load(name), size) for name in names(split)[:limit]])


@dataclass
class Collection:
    """Photographs held decoded in memory, from which training crops are cut.

    Made by :func:`collection`. ``pictures`` are uint8 ``(3, H, W)`` tensors.
    """

    names: list[str]
    pictures: list[Tensor] = field(repr=False)

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.pictures)

    def crops(
        self,
        count: int,
        size: int,
        generator: torch.Generator,
        *,
        scale: tuple[float, float] = (0.4, 1.0),
        flip: bool = True,
    ) -> Tensor:
        """Random square crops ``(count, 3, size, size)``, float in ``[0, 1]``.

        Each crop is a view of a random photograph, with a side of ``scale`` times the
        photograph's short side, resized once; half of them are mirrored. All
        randomness comes from ``generator`` (a CPU generator). One CPU core cuts about
        5,000 crops of 128 px a second (``benchmarks/makers.py``).
        """
        if not 0 < scale[0] <= scale[1] <= 1:
            raise PhotoError(f"scale {scale}: need 0 < low <= high <= 1")
        draws = torch.rand(count, 5, generator=generator).tolist()
        cut = (self._cut(draw, size, scale) for draw in draws)
        turned = [
            crop.flip(-1) if flip and draw[4] < 0.5 else crop
            for crop, draw in zip(cut, draws, strict=True)
        ]
        return torch.cat(turned).contiguous().float().div_(255)

    def _cut(self, draw: list[float], size: int, scale: tuple[float, float]) -> Tensor:
        which, zoom, down, right, _ = draw
        picture = self.pictures[int(which * len(self.pictures))]
        height, width = picture.shape[-2:]
        side = int(min(height, width) * (scale[0] + zoom * (scale[1] - scale[0])))
        side = max(1, side)
        top = int(down * (height - side + 1))
        left = int(right * (width - side + 1))
        crop = picture[None, :, top : top + side, left : left + side]
        return _resize(crop, size)


def collection(source: str = "train", limit: int | None = None) -> Collection:
    """Photographs to train on: a bundled split, or ``"folder:PATH"`` for your own.

    Decoded once, here, and kept with a short side of at most 1024 pixels; which files
    of a folder are taken says :func:`files`. A file that cannot be read is skipped with
    one warning that names it. Raises ``PhotoError`` for an unknown split, a missing
    folder, or a folder without a readable picture.
    """
    own = source.startswith("folder:")
    paths = files(source.removeprefix("folder:")) if own else _bundled(source)
    found, pictures, broken = [], [], []
    for path in paths[:limit]:
        try:
            pictures.append(_bounded(_decode_file(path))[0])
            found.append(path.stem)
        except PhotoError:
            broken.append(path.name)
    if broken:
        shown = ", ".join(broken[:8]) + (", ..." if len(broken) > 8 else "")
        warnings.warn(f"skipped {len(broken)} unreadable: {shown}", stacklevel=2)
    if not pictures:
        raise PhotoError(
            f"{source!r} holds no readable picture (looked for files ending in "
            f"{', '.join(sorted(SUFFIXES))}; holes and fills are none)"
        )
    return Collection(found, pictures)


def _bundled(split: str) -> list[Path]:
    return [FOLDER / f"{name}.webp" for name in names(split)]


def _decode_file(path: Path) -> Tensor:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"cannot read {path}: {error.strerror or error}") from error
    return _decode(data, path.name)


def _decode(data: bytes, name: str) -> Tensor:
    """uint8 ``(1, 3, H, W)``, colours innermost: crops resize three times as fast."""
    try:
        with _open(data, name) as opened:
            upright = ImageOps.exif_transpose(opened)
            pixels = np.array(_to_rgb(upright))
    except UnidentifiedImageError as error:
        raise PhotoError(
            f"{name} is not a picture that can be read; use JPEG, PNG or WebP"
        ) from error
    except PhotoError:
        raise
    except Exception as error:  # a damaged file makes a reader raise of any kind
        reason = str(error) or type(error).__name__
        raise PhotoError(f"{name} is damaged or incomplete: {reason}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _open(data: bytes, name: str) -> Image.Image:
    limit = f"more than {MAX_PIXELS // 10**6} megapixels; make it smaller first"
    try:
        with warnings.catch_warnings():  # our own limit comes first
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name} has {limit}") from error
    if opened.width * opened.height > MAX_PIXELS:
        raise PhotoError(f"{name} has {opened.width} x {opened.height} pixels, {limit}")
    return opened


def _to_rgb(picture: Image.Image) -> Image.Image:
    picture = eight_bits(picture)
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La"):
        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(paper, layer)
    return picture.convert("RGB")


def _bounded(pixels: Tensor) -> Tensor:
    """A photo of 12 megapixels takes 36 MB, and a second for 50 of its crops."""
    factor = KEPT_SIDE / min(pixels.shape[-2:])
    if factor >= 1:
        return pixels
    size = [round(factor * n) for n in pixels.shape[-2:]]
    return F.interpolate(
        pixels, size, mode="bilinear", align_corners=False, antialias=True
    )


def _to_float(pixels: Tensor) -> Tensor:
    return pixels.contiguous().float() / 255


def _resize(image: Tensor, size: int) -> Tensor:
    return F.interpolate(
        image, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )


def credits(chosen: Sequence[str]) -> list[str]:
    """One line of credit (author, licence, page, changes) for each photograph."""
    columns = ("author", "licence", "source", "changes")
    rows = [manifest()[name] for name in chosen]
    return [f"{r['name']}: " + ", ".join(r[c] for c in columns) for r in rows]
