"""What explorers share that ask about one pixel of a photo with a hole (lesson 02).

The photo, the hole, the requests of the page, the colours of a field, and the chart of
one row that the stills show. CONTRIBUTING.md says how a new explorer takes it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from course_lib import holes, photos, zoo
from course_lib.pictures import QUERY, to_pixels
from course_lib.tensors import check_image, check_pair
from course_lib.widgets.base import CourseWidget, WidgetError

PHOTO = "lincolnmemorial"
THUMBNAIL = 48  # pixels a side
STILL = 256  # pixels a side of each picture in the still
INK, GREY = (40, 44, 52), (150, 156, 168)

Box = tuple[int, int, int, int]  # top, left, height, width
PROTOCOL = {"kind", "view", "seq", "binary"}  # of a request: not for its method


class PixelExplorer(CourseWidget):
    """A photo, a hole, and the pixel that is asked about: the base of an explorer.

    ``image``: ``(1, 3, H, W)`` in ``[0, 1]``, used as it is, or the name of a bundled
    photo, of which the central square is shown at ``size``; ``finite=False`` allows
    anything under the hole. ``hole``: ``(1, 1, H, W)``, 1 = missing; by default a
    square in the middle. Raises ``ContractError`` when they do not fit.

    A subclass fills ``shown``, the facts on show, writes ``look`` and says in ``asks``
    which method answers which request of the page; what a request holds are its
    arguments.
    """

    asks: ClassVar[Mapping[str, str]] = {"look": "look"}
    first_side: ClassVar[float] = 0.3  # of the default hole, a share of the photo's
    height = traitlets.Int(read_only=True).tag(sync=True)
    width = traitlets.Int(read_only=True).tag(sync=True)
    image_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    hole_bytes = traitlets.Bytes(read_only=True).tag(sync=True)
    shown = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        image: Tensor | str | None,
        hole: Tensor | None = None,
        *,
        size: int,
        title: str,
        finite: bool = False,
    ) -> None:
        super().__init__(title=title)
        if not isinstance(image, Tensor):
            image = photos.square(photos.load(image or PHOTO), size)
        self._image = check_image(image, finite=finite)[:1].detach().float().cpu()
        self.set_trait("height", self._image.shape[-2])
        self.set_trait("width", self._image.shape[-1])
        self.set_trait("image_bytes", to_pixels(self._image).tobytes())
        hole = self._first_hole() if hole is None else hole[:1].detach().float().cpu()
        check_pair(self._image, hole)
        self._hole = hole
        self.set_trait("hole_bytes", hole.byte().numpy().tobytes())

    @property
    def image(self) -> Tensor:
        """The photo, ``(1, 3, H, W)`` in ``[0, 1]``."""
        return self._image

    @property
    def hole(self) -> Tensor:
        """The hole on show, ``(1, 1, H, W)``, 1 = missing."""
        return self._hole

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the page by the method that ``asks`` names."""
        kind = str(request.get("kind"))
        if kind not in self.asks:
            raise WidgetError(f"The page asked for {kind!r}, which is unknown.")
        given = {name: v for name, v in request.items() if name not in PROTOCOL}
        getattr(self, self.asks[kind])(**given)
        return {}

    def _first_hole(self) -> Tensor:
        hole = torch.zeros(1, 1, self.height, self.width)
        side = max(1, round(self.first_side * min(self.height, self.width)))
        top, left = (self.height - side) // 2, (self.width - side) // 2
        hole[..., top : top + side, left : left + side] = 1
        return hole

    def _pixel_of(self, row: int | None, column: int | None) -> tuple[int, int] | None:
        """The pixel that is asked about, checked; None where neither is given."""
        if row is None and column is None:
            return None
        self._check_pixel(row, column)
        return cast("tuple[int, int]", (row, column))

    def _check_pixel(self, row: int | None, column: int | None) -> None:
        for name, value, size in (
            ("row", row, self.height),
            ("column", column, self.width),
        ):
            if not isinstance(value, Integral) or not 0 <= value < size:
                raise WidgetError(
                    f"{name} {value!r} is not between 0 and {size - 1}: give both a "
                    "row and a column"
                )


class AskedPixel(PixelExplorer):
    """Asks about the deepest pixel of its hole, wherever that goes, or about another.

    A subclass sets ``_asked``, None for the deepest, and ``_deepest`` before it calls
    ``_tell``, which it writes: it tells about the pixel that is asked now.
    """

    _asked: tuple[int, int] | None = None
    _deepest: tuple[int, int]

    def look(self, row: int | None = None, column: int | None = None) -> Self:
        """Ask about a pixel of the photo; without one, about the deepest of the hole.

        The deepest pixel is followed when the hole moves. Returns the explorer. Raises
        ``WidgetError`` for a pixel outside the photo, and for a row or a column alone.
        """
        self._asked = self._pixel_of(row, column)
        self._tell()
        return self

    @property
    def _pixel(self) -> tuple[int, int]:
        return self._asked or self._deepest

    def _tell(self) -> None:
        raise NotImplementedError


def loaded(network: nn.Module | str) -> nn.Module:
    """A network as it is, or the shipped one of a name."""
    return zoo.load(network) if isinstance(network, str) else network


def beside(given: str, image: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """The photo that was given, then bundled ones of its size if it is a square."""
    found = {given: image}
    height, width = image.shape[-2:]
    for name in names if height == width else ():
        if name not in found:
            found[name] = photos.square(photos.load(name), width)
    return found


def small(photo: Tensor) -> bytes:
    """A photo as its thumbnail; what may stand under a hole, such as NaN, is grey."""
    finite = torch.where(photo.isfinite().all(1, keepdim=True), photo, 0.5)
    return to_pixels(photos.square(finite.clamp(0, 1), THUMBNAIL)).tobytes()


def cut(hole: Tensor) -> tuple[Tensor, Box]:
    """A hole as the pattern in its box; of no size where nothing is missing."""
    if not hole.any():
        return hole[0, 0, :0, :0], (0, 0, 0, 0)
    rows, columns = hole[0, 0].any(1).nonzero(), hole[0, 0].any(0).nonzero()
    top, left = int(rows[0]), int(columns[0])
    bottom, right = int(rows[-1]) + 1, int(columns[-1]) + 1
    pattern = hole[0, 0, top:bottom, left:right]
    return pattern, (top, left, bottom - top, right - left)


def placed(pattern: Tensor, box: Box, height: int, width: int) -> tuple[Tensor, Box]:
    """The pattern of a hole in another box of a picture; only a rectangle stretches.

    Raises ``WidgetError`` where the box leaves the picture or is of no size.
    """
    top, left, tall, wide = box
    inside = 0 <= top <= height - tall and 0 <= left <= width - wide
    if min(tall, wide) < 1 or not inside:
        raise WidgetError(
            f"a hole of {tall} x {wide} px at row {top}, column {left} does not "
            f"fit a picture of {height} x {width}"
        )
    if (tall, wide) != pattern.shape:
        if not pattern.numel() or not pattern.all():
            raise WidgetError(
                f"this hole stays {pattern.shape[0]} x {pattern.shape[1]} px"
            )
        pattern = torch.ones(tall, wide)
    return pattern, (top, left, tall, wide)


def around(box: Box, height: int, width: int, share: float = 1.5) -> Box:
    """A square of a picture around a box, ``share`` times as large where there is room.

    At least 16 pixels a side, and inside the picture.
    """
    side = min(height, width, max(16, round(share * max(box[2:]))))
    top, left = (
        min(max(low + (length - side) // 2, 0), size - side)
        for low, length, size in ((box[0], box[2], height), (box[1], box[3], width))
    )
    return top, left, side, side


def deepest(hole: Tensor) -> tuple[int, int]:
    """The pixel furthest from known ones; the middle where there is none of either."""
    height, width = hole.shape[-2:]
    if not hole.any() or hole.all():
        return height // 2, width // 2
    return divmod(int(holes.distance(hole)[0, 0].argmax()), width)


@lru_cache(1)
def viridis() -> np.ndarray:
    """The 256 colours of a perceptual map, dark to bright, uint8 ``(256, 3)``."""
    from matplotlib import colormaps

    colours: np.ndarray = colormaps["viridis"](np.arange(256), bytes=True)[:, :3]
    return np.ascontiguousarray(colours)


def coloured(field: Tensor) -> Tensor:
    """Values ``(N, 1, H, W)`` in ``[0, 1]`` in the colours of :func:`viridis`."""
    index = (field.clamp(0, 1) * 255).round().long()[:, 0]
    return torch.from_numpy(viridis())[index].permute(0, 3, 1, 2).float() / 255


def dimmed(image: Tensor) -> Tensor:
    """The photo pale and dark, as the ground for something more important."""
    grey = image.mean(1, keepdim=True)
    return 0.5 * (0.4 * image + 0.6 * grey) + 0.055


def framed(
    image: Tensor, box: Sequence[int] | None, colour: tuple[int, int, int]
) -> Tensor:
    """The picture with the frame of a box (top, left, height, width) drawn in it."""
    if box is None:
        return image
    top, left, height, width = box
    rows = torch.arange(image.shape[-2])[:, None]
    columns = torch.arange(image.shape[-1])[None]
    down = (rows >= top) & (rows < top + height)
    across = (columns >= left) & (columns < left + width)
    edge = (rows == top) | (rows == top + height - 1)
    side = (columns == left) | (columns == left + width - 1)
    line = (edge & across) | (side & down)
    ink = torch.tensor(colour).view(3, 1, 1) / 255
    return torch.where(line, ink.to(image), image)


def marked(image: Tensor, row: int, column: int) -> Tensor:
    """The picture with a yellow square, dark rimmed, around the asked pixel.

    At a border the square moves inwards, so that all of it is seen.
    """
    row, column = (
        min(max(k, 3), max(3, n - 4))
        for k, n in zip((row, column), image.shape[-2:], strict=True)
    )
    rows = (torch.arange(image.shape[-2]) - row).abs()[:, None]
    columns = (torch.arange(image.shape[-1]) - column).abs()[None]
    away = torch.maximum(rows, columns)
    colour = torch.tensor([int(QUERY[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    found = torch.where(((away == 1) | (away == 3)), 0.05, image)
    return torch.where(away == 2, colour.view(3, 1, 1), found)


def chart(
    bars: Sequence[float],
    colours: np.ndarray,
    lines: Sequence[str],
    marker: int | None,
    height: int,
    outline: Sequence[float | None] = (),
    levels: Sequence[tuple[float, str]] = ((0, "0"), (0.5, "0.5"), (1, "1")),
    width: int = 400,
) -> np.ndarray:
    """One row of a field as bars, text below; uint8 ``(height, width, 3)``.

    ``bars`` are values in ``[0, 1]``, ``colours (W, 3)`` theirs; ``marker`` is the
    asked column; ``outline`` is a second row, drawn as a vermilion line; ``levels`` are
    the lines across and their names.
    """
    paper = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    left = 8 + 8 * max(len(name) for _, name in levels)
    top, base = 22, height - 16 * len(lines) - 14
    step = (width - left - 6) / len(bars)

    def place(column: float, value: float) -> tuple[float, float]:
        return left + column * step, base - value * (base - top)

    for value, name in levels:
        _, y = place(0, value)
        draw.line((left, y, width - 6, y), fill=(225, 228, 233))
        draw.text((0, y - 7), name, fill=GREY, font=font)
    for k, value in enumerate(bars):
        corner, end = place(k, value), place(k + 1, 0)
        draw.rectangle((*corner, max(corner[0], end[0] - 1), base), tuple(colours[k]))
    for k, level in enumerate(outline):
        if level is not None:
            draw.line((*place(k, level), *place(k + 1, level)), (255, 107, 74), 2)
    if marker is not None:
        x, _ = place(marker + 0.5, 0)
        draw.line((x, top - 6, x, base), fill=INK)
        draw.polygon([(x - 6, 4), (x + 6, 4), (x, 16)], fill=QUERY, outline=INK)
    for k, line in enumerate(lines):
        draw.text((left, base + 8 + 16 * k), line, fill=INK, font=font)
    return np.asarray(paper)
