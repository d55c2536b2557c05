"""Your own photos, a folder of them, filled by one call or one command; lesson 11.

``python3 course.py fill FOLDER`` fills every ``photo.jpg`` that has a
``photo.hole.png`` beside it.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from course_lib import large, photos, pictures, session, zoo
from course_lib.tensors import ContractError

HOLE = ".hole.png"
NETWORK = "nearest_unet"
MARK = ("course_lib", "filled")  # a text in each PNG that was made here
MAX_SHAPE_GAP = 0.01  # by which the shapes of a photo and its hole may differ


class FolderError(ValueError):
    """A folder that cannot be filled, or a hole that does not belong to its photo."""


@dataclass
class Filled:
    """What became of the photos of a folder, by file name; printed, it is a summary."""

    into: Path
    done: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)  # filled by an earlier call
    failed: dict[str, str] = field(default_factory=dict)  # name: why

    def __str__(self) -> str:
        lines = [f"{len(self.done)} filled, {len(self.before)} were already, "]
        lines[0] += f"{len(self.failed)} failed; see the folder {self.into.name}"
        return "\n".join(lines + [f"  {n}: {why}" for n, why in self.failed.items()])


def fill_folder(
    folder: str | Path,
    network: str | large.Network = NETWORK,
    *,
    into: str | Path | None = None,
    tile: int = large.TILE,
    overlap: int = large.OVERLAP,
    device: str | torch.device = "cpu",
) -> Filled:
    """Fill each ``NAME.jpg`` (or .png, .webp, ...) that has a ``NAME.hole.png``.

    In the hole's picture white is missing. If it has transparent pixels, all that is
    not transparent is: a layer of its own, painted over the photo in any colour. It has
    the photo's size, or another of the same shape. Photos without one are left alone.

    ``network``: the name of a shipped one, or any ``(image, hole) -> image``; it gets
    the photo by ``large.fill_any``. The filled photo is written to ``NAME.png`` in the
    folder ``into``, by default ``filled`` inside ``folder``; known pixels are as they
    were read, upright, alpha laid over white. Originals are never written to. A
    photo that is there and newer than its two files is not filled again, so an
    interrupted call goes on. What cannot be read or filled is skipped and named with
    its reason. Raises ``FolderError`` if the folder holds no such pair, ``into`` is
    the folder itself, or holds a picture of that name that was not made here.
    """
    folder = Path(folder).expanduser()
    into = Path(into).expanduser() if into else folder / "filled"
    pairs = _pairs(folder)
    if into.resolve() == folder.resolve():
        raise FolderError("into is the folder itself: originals are not written to")
    _refuse_strangers([into / f"{photo.stem}.png" for photo, _ in pairs])
    fill = zoo.load(network, device) if isinstance(network, str) else network
    into.mkdir(parents=True, exist_ok=True)
    report = Filled(into)
    for photo, hole in pairs:
        target, sources = into / f"{photo.stem}.png", (photo, hole)
        if _is_newer(target, sources):
            report.before.append(photo.name)
            continue
        try:
            image = photos.read(photo)
            missing = read_hole(hole, (image.shape[-2], image.shape[-1]))
            made = large.fill_any(
                fill, image.to(device), missing.to(device), tile=tile, overlap=overlap
            )
            _write(made, target)
            report.done.append(photo.name)
        except _SKIPPED as error:
            report.failed[photo.name] = str(error) or type(error).__name__
    return report


def read_hole(path: str | Path, size: tuple[int, int]) -> Tensor:
    """The hole ``(1, 1, H, W)`` of a photo of ``size`` (H, W), upright.

    Raises ``FolderError`` for a file that is no picture, one of another shape than the
    photo, and one in which nothing or everything is missing.
    """
    path, wanted = Path(path), size[::-1]
    missing = _missing(path)
    _check_shape(missing.size, wanted, path.name)
    hole = np.asarray(missing.resize(wanted, Image.Resampling.NEAREST))
    share = float((hole > 127).mean())
    if share in (0.0, 1.0):
        found = "nothing" if share == 0 else "everything"
        raise FolderError(
            f"in {path.name} {found} is missing: paint what is missing white on black, "
            "or in any colour on a transparent layer"
        )
    return torch.from_numpy((hole > 127).astype(np.float32))[None, None]


def main(arguments: Sequence[str]) -> int:
    """``course.py fill FOLDER``: fill its photos and print what became of them."""
    parser = argparse.ArgumentParser("course.py fill", description=_HELP)
    parser.add_argument("folder", help="where the photos are")
    parser.add_argument("--network", default=NETWORK, choices=zoo.names())
    parser.add_argument("--into", help="where filled photos go; default FOLDER/filled")
    parser.add_argument("--tile", type=int, default=large.TILE, help="pixels a side")
    given = parser.parse_args(arguments)
    try:
        overlap = min(large.OVERLAP, given.tile // 4)
        options = {"into": given.into, "tile": given.tile, "overlap": overlap}
        device = session.best_device()
        report = fill_folder(given.folder, given.network, device=device, **options)
    except FolderError as error:
        print(error)
        return 2
    print(report)
    return 1 if report.failed else 0


_HELP = (
    "Fills every NAME.jpg that has a NAME.hole.png beside it, white where something is "
    "missing, and writes NAME.png into another folder."
)

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_SKIPPED = (  # one file; the rest of the folder goes on
    photos.PhotoError,
    FolderError,
    ContractError,
    OSError,
    Image.DecompressionBombError,
    RuntimeError,  # such as a device without memory for it
    MemoryError,
)


def _refuse_strangers(targets: list[Path]) -> None:
    for target in targets:
        if target.exists() and not _made_here(target):
            raise FolderError(
                f"{target.name} in {target.parent.name} was not made by this call: "
                "choose another folder, nothing of yours is written over"
            )


def _made_here(path: Path) -> bool:
    try:
        with Image.open(path) as opened:
            return bool(opened.info.get(MARK[0]) == MARK[1])
    except _UNREADABLE:
        return False


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    if not folder.is_dir():
        raise FolderError(f"{folder} is no folder")
    named = sorted(p for p in folder.iterdir() if p.suffix.lower() in photos.SUFFIXES)
    found = [
        (photo, photo.with_suffix(HOLE))
        for photo in named
        if not photo.name.endswith(HOLE) and photo.with_suffix(HOLE).exists()
    ]
    if not found:
        raise FolderError(
            f"{folder.name} holds no photo with its hole: beside beach.jpg there has "
            "to be beach.hole.png, of the same size, white where something is missing"
        )
    stems = [photo.stem for photo, _ in found]
    twice = [photo.name for photo, _ in found if stems.count(photo.stem) > 1]
    if twice:
        raise FolderError(f"{', '.join(twice)} share one hole: rename all but one")
    return found


def _missing(path: Path) -> Image.Image:
    """8-bit grey: above 127 is missing."""
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            alpha = upright.convert("RGBA").getchannel("A")
            layer = int(np.asarray(alpha).min()) < 255
            return alpha if layer else upright.convert("L")
    except _UNREADABLE as error:
        raise FolderError(f"{path.name} cannot be read: {error}") from error


def _check_shape(size: tuple[int, int], wanted: tuple[int, int], name: str) -> None:
    ratio = (size[0] * wanted[1]) / (size[1] * wanted[0])
    if abs(ratio - 1) > MAX_SHAPE_GAP:
        raise FolderError(
            f"{name} has {size[0]} x {size[1]} pixels and the photo {wanted[0]} x "
            f"{wanted[1]}: paint it on the photo as it is seen, upright and uncut"
        )


def _is_newer(target: Path, sources: tuple[Path, ...]) -> bool:
    if not target.exists():
        return False
    return all(target.stat().st_mtime >= s.stat().st_mtime for s in sources)


def _write(image: Tensor, target: Path) -> None:
    """Beside the place, then moved there: half a file never looks like a whole one."""
    draft = target.with_suffix(".partial")
    mark = PngImagePlugin.PngInfo()
    mark.add_text(*MARK)
    Image.fromarray(pictures.to_pixels(image)).save(draft, format="PNG", pnginfo=mark)
    os.replace(draft, target)
