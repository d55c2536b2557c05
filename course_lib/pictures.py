"""Pictures of the course: grids, holes drawn over photos, and a small PNG encoder.

One vocabulary of colour everywhere: a hole is hatched, what a layer reads is teal, what
is wrong is vermilion, the query is yellow.
"""

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.tensors import ContractError

READ = "#16c2b0"  # teal: what a layer reads
WRONG = "#ff6b4a"  # vermilion: invalid, or an error
QUERY = "#ffd84d"  # yellow: the pixel that is asked about
HOLE_DARK, HOLE_LIGHT = (22, 26, 38), (92, 97, 112)
MAX_PNG_BYTES = 60_000  # a picture stored in a notebook


@dataclass(frozen=True)
class Picture:
    """A picture shown by Jupyter: ``pixels (H, W, 3)`` uint8 and a text for all.

    ``text`` is what a screen reader and a plain-text view get.
    """

    pixels: np.ndarray
    text: str

    def _repr_png_(self) -> bytes:
        """At most 60 KB: a large photo is shown smaller if fewer colours do not do."""
        pixels = self.pixels
        while True:
            try:
                return png(pixels, MAX_PNG_BYTES)
            except ContractError:
                height, width = (max(1, round(0.8 * n)) for n in pixels.shape[:2])
                smaller = Image.fromarray(pixels).resize((width, height))
                pixels = np.asarray(smaller)

    def __repr__(self) -> str:
        return self.text


def png(pixels: np.ndarray, limit: int | None = None) -> bytes:
    """Encode uint8 ``(H, W, 3)`` as PNG; the same pixels always give the same bytes.

    With ``limit``, colours are first reduced, in steps down to 16, until the file has
    at most that many bytes. Raises ``ContractError`` for anything but uint8 RGB, or
    if the limit cannot be kept.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ContractError(
            f"png got {pixels.dtype} {pixels.shape}, expected uint8 (H, W, 3): use "
            "to_pixels(image)"
        )
    found = _encode(pixels, None)
    for colours in (256, 128, 64, 32, 16):
        if limit is None or len(found) <= limit:
            return found
        reduced = Image.fromarray(pixels).quantize(colours, dither=Image.Dither.NONE)
        found = _encode(np.array(reduced), reduced.getpalette())
    if limit is not None and len(found) > limit:
        raise ContractError(
            f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels does not fit "
            f"into {limit} bytes; show it smaller"
        )
    return found


def _encode(pixels: np.ndarray, palette: list[int] | None) -> bytes:
    """PNG file format: signature, IHDR, PLTE for indexed pixels, IDAT, IEND."""
    height, width = pixels.shape[:2]
    kind = 2 if palette is None else 3
    rows = pixels.reshape(height, -1)
    if kind == 2:  # filter "up": the difference to the row above compresses better
        rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.insert(rows, 0, 2 if kind == 2 else 0, axis=1)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    parts += [(b"PLTE", bytes(palette))] if palette is not None else []
    parts += [(b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def to_pixels(image: Tensor) -> np.ndarray:
    """``(3, H, W)`` or ``(1, 3, H, W)`` in [0, 1] -> uint8 ``(H, W, 3)``.

    One channel becomes grey. NaN is shown in the colour of what is wrong.
    """
    picture = image.detach().float().cpu()
    picture = picture[0] if picture.dim() == 4 and len(picture) == 1 else picture
    if picture.dim() != 3 or picture.shape[0] not in (1, 3):
        raise ContractError(
            f"picture has shape {tuple(image.shape)}, expected (3, H, W) or "
            "(1, 3, H, W): choose one with image[k], or show several with grid"
        )
    picture = picture.expand(3, -1, -1)
    broken = picture.isnan().any(0, keepdim=True)
    wrong = torch.tensor([int(WRONG[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    picture = torch.where(broken, wrong.view(3, 1, 1), picture).clamp(0, 1)
    return (picture * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()


def hatched(image: Tensor, hole: Tensor) -> Tensor:
    """The picture with its hole drawn as dark, hatched glass; ``(N, 3, H, W)``."""
    height, width = hole.shape[-2:]
    diagonal = torch.arange(height)[:, None] + torch.arange(width)
    line = (diagonal % 8 < 2).to(image)
    dark, light = (torch.tensor(c).to(image) / 255 for c in (HOLE_DARK, HOLE_LIGHT))
    glass = dark.view(3, 1, 1) * (1 - line) + light.view(3, 1, 1) * line
    return torch.where(hole.bool(), glass, image)


def grid(
    columns: Mapping[str, Tensor],
    *,
    rows: Sequence[str] = (),
    scale: float | None = None,
    text: str = "",
) -> Picture:
    """Pictures in named columns, one row for each sample, as one picture.

    ``columns``: name -> ``(N, 3, H, W)`` or ``(N, 1, H, W)``, all of one size.
    ``scale`` enlarges by nearest neighbour (a whole number) or shrinks smoothly; by
    default the grid is at most 820 pixels wide. A long name of a row makes room for
    itself. ``text`` adds facts to the description; shape, columns and rows are always
    named.
    """
    count, height, width = _same_shape(columns)
    if rows and len(rows) != count:
        raise ContractError(
            f"{len(rows)} row names for {count} pictures in a column: give one for each"
        )
    font = ImageFont.load_default(12)
    widest = max((math.ceil(font.getlength(name)) + 6 for name in rows), default=0)
    gap, head, side = 6, 20, max(74, widest) if rows else 0
    scale = scale or _fit(width, len(columns), 820 - side)
    h, w = (max(1, round(n * scale)) for n in (height, width))  # a strip stays seen
    shape = (head + count * (h + gap) - gap, side + len(columns) * (w + gap) - gap, 3)
    canvas = np.full(shape, 255, np.uint8)
    for j, value in enumerate(columns.values()):
        for i, tile in enumerate(value):
            top, left = head + i * (h + gap), side + j * (w + gap)
            canvas[top : top + h, left : left + w] = to_pixels(_scaled(tile, h, w))
    paper = Image.fromarray(canvas)
    draw = ImageDraw.Draw(paper)
    for j, name in enumerate(columns):
        draw.text((side + j * (w + gap), 2), name, fill=(40, 44, 52), font=font)
    for i, name in enumerate(rows):
        draw.text((0, head + i * (h + gap) + 2), name, fill=(40, 44, 52), font=font)
    said = f"{count} x {len(columns)} pictures of {width} x {height}: "
    said += " | ".join(columns) + (f" ({text})" if text else "")
    return Picture(np.asarray(paper), said)


def _same_shape(columns: Mapping[str, Tensor]) -> tuple[int, int, int]:
    shapes = {name: tuple(value.shape) for name, value in columns.items()}
    if len({(shape[0], *shape[2:]) for shape in shapes.values()}) != 1:
        raise ContractError(
            f"columns have shapes {shapes}, expected one N, H and W for all of at "
            "least one column: resize or select first"
        )
    count, _, height, width = next(iter(shapes.values()))
    return count, height, width


def _fit(width: int, columns: int, limit: int) -> float:
    room = (limit - 6 * columns) / columns / width
    return float(min(4, int(room))) if room >= 1 else room


def _scaled(tile: Tensor, height: int, width: int) -> Tensor:
    if tile.shape[-2:] == (height, width):
        return tile
    if height > tile.shape[-2]:
        return F.interpolate(tile[None], (height, width), mode="nearest")[0]
    return F.interpolate(
        tile[None].float(),
        (height, width),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0]


def show(image: Tensor, hole: Tensor | None = None, text: str = "") -> Picture:
    """One photo, with its hole hatched if one is given."""
    shown = image if hole is None else hatched(image, hole)
    return grid({text or "photo": shown[:1]})
