"""The still of the sampling explorer: reads as dots on the photo (lesson 08)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.pictures import (
    HOLE_DARK,
    HOLE_LIGHT,
    QUERY,
    READ,
    WRONG,
    to_pixels,
)
from course_lib.widgets.pixel_explorer import INK
from course_lib.widgets.sampling_reading import KNOWN, PlaceReads

SIDE = 384  # pixels of each of the two pictures
FINE = 2  # drawn that much larger, then shrunk: smooth edges
HALVES = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # of what is enlarged, in pixels
DARK, PALE, OUTSIDE = (10, 12, 20), (255, 255, 255), (226, 229, 234)

Rgb = tuple[int, int, int]
Region = tuple[float, float, float]  # top, left and side, in pixels of the photo
Place = Callable[[Sequence[float]], tuple[float, float]]
Further = Sequence[PlaceReads | None]


def zoom_half(pixel: tuple[int, int], reads: PlaceReads, further: Further) -> int:
    """How far the enlarged part goes from the asked pixel: in steps, so it is calm."""
    found = [reads.positions, reads.unmoved]
    found += [each.positions for each in further if each is not None]
    far = (torch.cat(found) - torch.tensor(pixel)).abs().max()
    return next((half for half in HALVES if half >= float(far) + 1), HALVES[-1])


def reads_still(
    given: Tensor,
    hole: Tensor,
    pixel: tuple[int, int],
    reads: PlaceReads,
    further: Further,
    lines: Sequence[str],
) -> np.ndarray:
    """The photo with the reads of a place, the same enlarged, lines below; uint8."""
    height, width = hole.shape[-2:]
    side = max(height, width)
    half = zoom_half(pixel, reads, further)
    row, column = pixel
    regions = [
        (-0.5, -0.5, side),
        (row - half - 0.5, column - half - 0.5, 2 * half + 1),
    ]
    names = ["Its reads, joined to the asked pixel", "Enlarged: how each read moved"]
    paper = Image.new("RGB", (2 * SIDE + 12, SIDE + 32 + 18 * len(lines)), "white")
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    for k, (region, name) in enumerate(zip(regions, names, strict=True)):
        picture = panel(given, hole, region, pixel, reads, further, bool(k))
        paper.paste(picture, (k * (SIDE + 12), 20))
        draw.text((k * (SIDE + 12), 2), name, fill=INK, font=font)
    for k, line in enumerate(lines):
        draw.text((0, SIDE + 26 + 18 * k), line, fill=INK, font=font)
    return np.asarray(paper)


def panel(
    given: Tensor,
    hole: Tensor,
    region: Region,
    pixel: tuple[int, int],
    reads: PlaceReads,
    further: Further,
    large: bool,
) -> Image.Image:
    """One square part of the photo with all that is read in it."""
    top, left, side = region
    picture = ground(given, hole, region)
    scale = FINE * SIDE / side

    def at(position: Sequence[float]) -> tuple[float, float]:
        return (position[1] - left) * scale, (position[0] - top) * scale

    radius = _radius(reads.unmoved, scale)
    below = picture.copy()
    for each in further:
        if each is not None:
            dots(ImageDraw.Draw(below), each, at, 0.45 * radius)
    picture = Image.blend(picture, below, 0.7)
    draw, asked = ImageDraw.Draw(picture), at(pixel)
    for own, position in zip(
        reads.unmoved.tolist(), reads.positions.tolist(), strict=True
    ):
        begin = at(own) if large else asked
        _leader(draw, begin, at(position), large)
    dots(draw, reads, at, radius)
    x, y = asked
    for reach, ink, wide in ((15, DARK, 9), (13, QUERY, 5)):
        box = [x - reach, y - reach, x + reach, y + reach]
        draw.ellipse(box, outline=ink, width=wide)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def ground(given: Tensor, hole: Tensor, region: Region) -> Image.Image:
    """A part of the photo, enlarged, with its hole as hatched glass."""
    top, left, side = region
    corner = (left + 0.5, top + 0.5)
    extent = (*corner, corner[0] + side, corner[1] + side)
    size = FINE * SIDE

    def part(picture: Image.Image, beyond: Rgb | int) -> Image.Image:
        how = (Image.Transform.EXTENT, extent, Image.Resampling.NEAREST)
        return picture.transform((size, size), *how, fillcolor=beyond)

    diagonal = np.arange(size)[:, None] + np.arange(size)
    line = (diagonal % 28 < 4)[..., None]
    glass = np.where(line, np.array(HOLE_LIGHT), np.array(HOLE_DARK)).astype(np.uint8)
    picture = part(Image.fromarray(to_pixels(given)), OUTSIDE)
    missing = Image.fromarray((255 * hole[0, 0]).byte().numpy())
    picture.paste(Image.fromarray(glass), (0, 0), part(missing, 0))
    return picture


def _leader(
    draw: ImageDraw.ImageDraw,
    begin: tuple[float, float],
    end: tuple[float, float],
    starts: bool,
) -> None:
    """A thin pale line; ``starts`` marks where it begins by a square."""
    draw.line([begin, end], fill=DARK, width=4)
    draw.line([begin, end], fill=PALE, width=2)
    if starts:
        x, y = begin
        draw.rectangle([x - 4, y - 4, x + 4, y + 4], fill=PALE, outline=DARK)


def _radius(unmoved: Tensor, scale: float) -> float:
    """Of a dot that counts once: so that an unmoved window's dots do not touch."""
    gaps = (unmoved - unmoved[:1]).abs()
    step = float(gaps[gaps > 0].min()) if (gaps > 0).any() else 1.0
    return min(max(0.42 * step * scale, 3.5), 11.0)


def dots(
    draw: ImageDraw.ImageDraw, reads: PlaceReads, at: Place, radius: float
) -> None:
    """Known reads as filled dots, others as crosses; the area is the modulation."""
    positions, sizes = reads.positions.tolist(), reads.modulation.clamp(min=0.05).sqrt()
    for position, seen, size in zip(
        positions, reads.seen.tolist(), sizes.tolist(), strict=True
    ):
        x, y = at(position)
        r = radius * size
        if seen >= KNOWN:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=READ, outline=DARK)
            continue
        for ink, wide in ((DARK, 0.9 * r + 2), (WRONG, 0.5 * r + 1)):
            draw.line([x - r, y - r, x + r, y + r], fill=ink, width=round(wide))
            draw.line([x - r, y + r, x + r, y - r], fill=ink, width=round(wide))
