"""Your own photos, a folder of them, filled by one call or one command; lesson 11.

``python3 course.py fill FOLDER`` fills every ``photo.jpg`` that has a
``photo.hole.png`` beside it.
"""

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor, nn

from course_lib import large, photos, pictures, session, zoo
from course_lib.tensors import ContractError

NETWORK = "nearest_unet"
HOW = "course_lib.how"  # in a fill's PNG, the text that says by what it was made
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
    not fully transparent is: a layer of its own, painted over the photo in any colour.
    It has the photo's size, or another of the same shape. Photos without one are left
    alone.

    ``network``: the name of a shipped one that fills, or any ``(image, hole) ->
    image``; it gets the photo by ``large.fill_any``. The filled photo is written to
    ``NAME.png`` in the folder ``into``, by default ``filled`` inside ``folder``; known
    pixels are as they were read, upright, alpha laid over white, in the photo's RGB
    colour profile if it has one. Originals are never written to.

    A fill that is there, newer than its two files and made by the same weights with
    the same ``tile`` and ``overlap`` is kept, so an interrupted call goes on; another
    is replaced (give each network its own ``into`` to compare). What a plain function
    made is always made again: nothing tells whether it is the same one.

    What cannot be read or filled is skipped and named with its reason. Raises
    ``FolderError`` if the folder holds no such pair, the network of that name does not
    fill, or ``into`` is the folder itself, cannot be made, or holds a picture of that
    name that was not made here.
    """
    folder = Path(folder).expanduser()
    into = Path(into).expanduser() if into else folder / "filled"
    pairs = _pairs(folder)
    if into.resolve() == folder.resolve():
        raise FolderError("into is the folder itself: originals are not written to")
    _refuse_strangers([into / f"{photo.stem}.png" for photo, _ in pairs])
    fill = _shipped(network, device) if isinstance(network, str) else network
    _make(into)
    report, how = Filled(into), _how(fill, tile, overlap)
    for photo, hole in pairs:
        target = into / f"{photo.stem}.png"
        if _is_done(target, (photo, hole), how):
            report.before.append(photo.name)
            continue
        try:
            image = photos.read(photo)
            missing = read_hole(hole, (image.shape[-2], image.shape[-1]))
            made = large.fill_any(
                fill, image.to(device), missing.to(device), tile=tile, overlap=overlap
            )
            _write(made, target, how, _profile(photo))
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
    try:
        given = _parser().parse_args(arguments)
        overlap = min(large.OVERLAP, given.tile // 4)
        options = {"into": given.into, "tile": given.tile, "overlap": overlap}
        device = session.best_device()
        report = fill_folder(given.folder, given.network, device=device, **options)
    except (FolderError, zoo.ZooError, OSError) as error:
        print(error)
        return 2
    print(report)
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("course.py fill", description=_HELP)
    parser.add_argument("folder", help="where the photos are")
    parser.add_argument("--network", default=NETWORK, choices=zoo.fillers())
    parser.add_argument("--into", help="where filled photos go; default FOLDER/filled")
    parser.add_argument("--tile", type=int, default=large.TILE, help="pixels a side")
    return parser


_HELP = (
    "Fills every NAME.jpg that has a NAME.hole.png beside it, white where something is "
    "missing, and writes NAME.png into another folder."
)

_PLAIN = (bool, float, int, str, tuple, type(None))  # settings of a part of a network
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
        if target.exists() and not photos.is_fill(target):
            raise FolderError(
                f"{target.name} in {target.parent.name} was not made by this call: "
                "choose another folder, nothing of yours is written over"
            )


def _shipped(name: str, device: str | torch.device) -> nn.Module:
    if name in set(zoo.names()) - set(zoo.fillers()):
        raise FolderError(
            f"{name} makes holes and fills none: choose one of "
            f"{', '.join(zoo.fillers())}"
        )
    return zoo.load(name, device)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be made ({error.strerror or error}): choose another "
            "folder for the filled photos"
        ) from error


def _how(network: large.Network, tile: int, overlap: int) -> str | None:
    """By what a fill is made; None for what cannot be told from others."""
    if not isinstance(network, nn.Module):
        return None
    digest = hashlib.sha256()
    for name, part in network.named_modules():
        plain = {k: v for k, v in vars(part).items() if isinstance(v, _PLAIN)}
        digest.update(f"{name} {type(part)} {sorted(plain.items())}".encode())
    for _, value in [*network.named_parameters(), *network.named_buffers()]:
        digest.update(
            value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()
        )
    return f"{digest.hexdigest()} with tiles of {tile} that overlap by {overlap}"


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    if not folder.is_dir():
        raise FolderError(f"{folder} is no folder")
    named = sorted(p for p in folder.iterdir() if p.suffix.lower() in photos.SUFFIXES)
    found = [
        (photo, photo.with_suffix(photos.HOLE))
        for photo in named
        if not photo.name.endswith(photos.HOLE)
        and photo.with_suffix(photos.HOLE).exists()
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
            upright = photos.eight_bits(ImageOps.exif_transpose(opened))
            alpha = np.asarray(upright.convert("RGBA").getchannel("A"))
            if alpha.min() == 255:
                return upright.convert("L")
            return Image.fromarray(np.where(alpha > 0, 255, 0).astype(np.uint8))
    except Exception as error:  # a damaged file makes a reader raise of any kind
        raise FolderError(f"{path.name} cannot be read: {error}") from error


def _check_shape(size: tuple[int, int], wanted: tuple[int, int], name: str) -> None:
    ratio = (size[0] * wanted[1]) / (size[1] * wanted[0])
    if abs(ratio - 1) > MAX_SHAPE_GAP:
        raise FolderError(
            f"{name} has {size[0]} x {size[1]} pixels and the photo {wanted[0]} x "
            f"{wanted[1]}: paint it on the photo as it is seen, upright and uncut"
        )


def _is_done(target: Path, sources: tuple[Path, ...], how: str | None) -> bool:
    if how is None or photos.texts(target).get(HOW) != how:
        return False
    return all(target.stat().st_mtime >= s.stat().st_mtime for s in sources)


def _profile(photo: Path) -> bytes | None:
    """The photo's colour profile; none of grey or CMYK, as the fill is RGB."""
    found = photos.texts(photo).get("icc_profile")
    return found if isinstance(found, bytes) and found[16:20] == b"RGB " else None


def _write(image: Tensor, target: Path, how: str | None, profile: bytes | None) -> None:
    """Beside the place, then moved there: half a file never looks like a whole one.

    In a new folder, so that no file that is there already has the draft's name.
    """
    mark = PngImagePlugin.PngInfo()
    mark.add_text(*photos.FILLED)
    if how is not None:
        mark.add_text(HOW, how)
    made = Image.fromarray(pictures.to_pixels(image))
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=target.parent) as place:
        draft = Path(place) / target.name
        made.save(draft, format="PNG", pnginfo=mark, icc_profile=profile)
        os.replace(draft, target)
