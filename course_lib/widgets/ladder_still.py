"""The still of the ladder explorer: fills, and below them five answers (lesson 10)."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.pictures import QUERY, READ, hatched, to_pixels
from course_lib.widgets.ladder_reading import (
    KINDS,
    Answer,
    Moved,
    Reading,
    Weighed,
)
from course_lib.widgets.pixel_explorer import (
    INK,
    Box,
    coloured,
    dimmed,
    framed,
    marked,
)
from course_lib.widgets.sampling_reading import PlaceReads
from course_lib.widgets.sampling_still import dots, ground, panel

WIDTH, GAP, ACROSS = 820, 8, 7  # pixels, and tiles in a row
CARD = (WIDTH - 4 * GAP) // 5
MARGIN = 4  # pixels around a window that are drawn with it
LETTERS = 27  # in a line of a card
KEYS = (
    "A dot: known, a cross: missing. Gates: dark shut, bright open. Frames: copied "
    "from. Filters: blue below 0, brown above."
)
MINUS, PLUS, NEUTRAL = (31, 84, 158), (150, 79, 10), (245, 245, 243)

Fills = Mapping[str, tuple[Tensor, float | None]]
Pixel = tuple[int, int]


def ladder_still(
    given: Tensor,
    hole: Tensor,
    part: Box,
    pixel: Pixel,
    fills: Fills,
    readings: Mapping[str, Reading],
) -> np.ndarray:
    """The hole and every fill of ``part`` with its error; the answers below; uint8."""
    about = "The part around the hole. Below each fill: its mean absolute error in the "
    about += "hole; 0 is perfect."
    rows = [_line(about), *_strip(given, hole, part, fills)]
    photo = given, hole, pixel
    cards = [_card(kind, read, photo) for kind, read in readings.items()]
    if cards:
        rows += [_asked_line(hole, pixel), _line(KEYS, bold=False)]
        rows.append(_beside(cards))
    return np.concatenate([_wide(row) for row in rows])


def _strip(given: Tensor, hole: Tensor, part: Box, fills: Fills) -> list[np.ndarray]:
    """Rows of tiles: what was given, then each fill; the best is named so."""
    top, left, height, width = part
    known = [error for _, error in fills.values() if error is not None]
    best = min(known, default=None)
    named = {"given": hatched(given, hole)}
    for label, (filled, error) in fills.items():
        told = "" if error is None else f"\n{error:.4f}"
        named[f"{label}{told}{' best' if error == best and told else ''}"] = filled
    tiles = [
        _tile(name, value[..., top : top + height, left : left + width])
        for name, value in named.items()
    ]
    return [_beside(tiles[k : k + ACROSS]) for k in range(0, len(tiles), ACROSS)]


def _tile(name: str, picture: Tensor) -> np.ndarray:
    side = (WIDTH - (ACROSS - 1) * GAP) // ACROSS
    lines = name.split("\n")
    paper = Image.new("RGB", (side, side + 40), "white")
    shown = Image.fromarray(to_pixels(picture)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    paper.paste(shown, (0, 0))
    _write(paper, (0, side + 2), lines, bold=name.endswith("best"))
    return np.asarray(paper)


def _asked_line(hole: Tensor, pixel: Pixel) -> np.ndarray:
    where = "missing" if hole[(0, 0, *pixel)] else "known"
    told = f"row {pixel[0]}, column {pixel[1]} ({where}), yellow"
    return _line(f"“What did you look at here?”   {told}")


def _line(text: str, bold: bool = True) -> np.ndarray:
    paper = Image.new("RGB", (WIDTH, 22), "white")
    _write(paper, (0, 2), [text], bold=bold)
    return np.asarray(paper)


def _card(kind: str, read: Reading, photo: tuple[Tensor, Tensor, Pixel]) -> np.ndarray:
    """Who answers, a picture, and the answer in words."""
    answer = read.ask(*photo[2])
    said = [answer.short, *wrap(answer.says, LETTERS)]
    paper = Image.new("RGB", (CARD, CARD + 36 + 15 * 8), "white")
    _write(paper, (0, 0), [KINDS[kind].verb], bold=True)
    _write(paper, (0, 15), [KINDS[kind].layer])
    picture = _PICTURES[kind](read, answer, *photo)
    paper.paste(picture.resize((CARD, CARD), Image.Resampling.LANCZOS), (0, 33))
    _write(paper, (0, CARD + 36), said[:1], bold=True)
    _write(paper, (0, CARD + 51), said[1:])
    return np.asarray(paper)


# ---- the five pictures ---------------------------------------------------------------


def _window(
    _: Reading, answer: Answer, given: Tensor, hole: Tensor, pixel: Pixel
) -> Image.Image:
    """The first window: dots on known pixels, crosses on others."""
    top, left, tall, _wide = answer.facts["window"]
    taps = torch.tensor(answer.facts["taps"])
    count = round(len(taps) ** 0.5)
    places = tall / count * torch.cartesian_prod(*[torch.arange(count)] * 2)
    places = places + torch.tensor([top, left])
    ones, none = torch.ones(len(taps)), torch.zeros(len(taps), dtype=torch.bool)
    seen = (taps == 1).float()
    reads = PlaceReads(places, places, places, seen, seen, none, none, ones, None)
    side = tall + 2 * MARGIN
    corner = top - MARGIN - 0.5, left - MARGIN - 0.5
    picture = ground(given, hole, (*corner, side))
    scale = picture.width / side

    def at(place: Sequence[float]) -> tuple[float, float]:
        return (place[1] - corner[1]) * scale, (place[0] - corner[0]) * scale

    draw = ImageDraw.Draw(picture)
    dots(draw, reads, at, 0.28 * tall / count * scale)
    box = [*at((top - 0.5, left - 0.5)), *at((top + tall - 0.5, left + tall - 0.5))]
    draw.rectangle(box, outline=(10, 12, 20), width=12)
    draw.rectangle(box, outline=QUERY, width=8)
    return picture


def _gate(
    read: Reading, _: Answer, given: Tensor, hole: Tensor, pixel: Pixel
) -> Image.Image:
    """The mean gate over the photo, the asked pixel marked."""
    assert isinstance(read, Weighed)
    field = coloured(read.stretched[None, None])
    whole = F.interpolate(field, given.shape[-2:])
    return Image.fromarray(to_pixels(marked(whole, *pixel)))


def _sources(
    read: Reading, answer: Answer, given: Tensor, hole: Tensor, pixel: Pixel
) -> Image.Image:
    """The photo, dim; teal frames at the best sources, yellow around the asked one."""
    field = hatched(dimmed(given), hole)
    for source in reversed(answer.facts["top"]):
        field = _frame(field, source["box"], READ)
    if answer.facts["patch"]:
        field = _frame(field, answer.facts["patch"], QUERY)
    return Image.fromarray(to_pixels(field))


def _filters(
    read: Reading, answer: Answer, given: Tensor, hole: Tensor, pixel: Pixel
) -> Image.Image:
    """The filters that changed most: made here on the left, the usual on the right."""
    facts = answer.facts
    columns = []
    for name in ("here", "full"):
        filters = torch.tensor(facts[name]) / facts["limit"]
        side = round(filters.shape[1] ** 0.5)
        tiles = [_signed(each.view(side, side)) for each in filters]
        columns.append(np.concatenate(tiles))
    paper = Image.new("RGB", (CARD, CARD), (206, 210, 217))
    side = (CARD - 16 - 3 * 5) // 2
    for k, column in enumerate(columns):
        for n, tile in enumerate(np.split(column, len(facts["here"]))):
            big = Image.fromarray(tile).resize((side, side), Image.Resampling.NEAREST)
            paper.paste(big, (7 + k * (side + 5), 18 + n * (side + 5)))
    for k, name in enumerate(("made here", "usual")):
        _write(paper, (7 + k * (side + 5), 2), [name])
    return paper


def _reads(
    read: Reading, answer: Answer, given: Tensor, hole: Tensor, pixel: Pixel
) -> Image.Image:
    """Where the reads lie, and from where they moved."""
    assert isinstance(read, Moved)
    reads, half = read.level.at(*read.level.cell(*pixel)), answer.facts["half"]
    region = (pixel[0] - half - 0.5, pixel[1] - half - 0.5, 2 * half + 1)
    return panel(given, hole, region, pixel, reads, [], True)


_PICTURES: dict[
    str, Callable[[Reading, Answer, Tensor, Tensor, Pixel], Image.Image]
] = {
    "partial": _window,
    "gated": _gate,
    "attention": _sources,
    "filter": _filters,
    "sampling": _reads,
}


# ---- small helpers -------------------------------------------------------------------


def _frame(image: Tensor, box: Sequence[int], colour: str) -> Tensor:
    """A box in a colour with a dark rim inside, seen on any ground."""
    top, left, tall, wide = box
    inner = (top + 1, left + 1, tall - 2, wide - 2)
    return framed(framed(image, inner, (10, 12, 20)), box, _rgb(colour))


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def _signed(weights: Tensor) -> np.ndarray:
    """Weights in ``[-1, 1]`` as colours, blue below 0 and brown above, uint8."""
    share = weights.clamp(-1, 1).abs()[..., None]
    ends = [torch.tensor(colour).float() for colour in (MINUS, PLUS, NEUTRAL)]
    end = torch.where(weights[..., None] < 0, ends[0], ends[1])
    return (ends[2] + share * (end - ends[2])).round().byte().numpy()


def _write(
    paper: Image.Image, place: tuple[int, int], lines: Sequence[str], bold: bool = False
) -> None:
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(11.5)
    for k, line in enumerate(lines):
        at = (place[0], place[1] + 15 * k)
        draw.text(at, line, fill=INK, font=font, stroke_width=0.3 if bold else 0)


def _beside(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height next to each other, white between them."""
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for tile in tiles for part in (gap, tile)]
    return np.concatenate(parts[1:], 1)


def _wide(pixels: np.ndarray) -> np.ndarray:
    """White to the right, up to the width of the still."""
    room = ((0, 0), (0, max(0, WIDTH - pixels.shape[1])), (0, 0))
    return np.pad(pixels, room, constant_values=255)
