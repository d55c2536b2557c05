"""Photos to choose from, bundled or the reader's own: for painter and sketch pad."""

import io
from collections.abc import Sequence

import traitlets
from PIL import Image
from torch import Tensor

from course_lib import photos as bundled
from course_lib.pictures import to_pixels
from course_lib.tensors import composite
from course_lib.widgets.base import CourseWidget, WidgetError

HANDFUL = 8
THUMBNAIL = 96  # pixels, shown at half of it
UPLOAD_BYTES = 12_000_000

Photos = Tensor | str | Sequence[str] | None


class PhotoChoice(CourseWidget):
    """An explorer whose reader picks a photo from a strip, or brings one.

    A subclass calls ``_offer`` once, looks a label up with ``_known_photo``, and hands
    each request ``upload`` to ``_take_part``. The page's part is ``photo_strip.js``.
    """

    photo = traitlets.Unicode(read_only=True).tag(sync=True)
    photo_labels = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    thumbnails = traitlets.List(traitlets.Bytes(), read_only=True).tag(sync=True)
    upload_limit = traitlets.Int(UPLOAD_BYTES, read_only=True).tag(sync=True)

    def _offer(self, photos: dict[str, Tensor], size: int) -> None:
        self._photos, self._photo_size, self._upload = photos, size, b""
        self._list_photos()

    def _known_photo(self, label: str) -> Tensor:
        if label not in self._photos:
            raise WidgetError(
                f"no photo {label!r}; there are {', '.join(self._photos)}"
            )
        return self._photos[label]

    def _take_part(self, name: str, first: bool, last: bool, part: bytes) -> str | None:
        """One part of a file; after the last, the label of the photo.

        A message above 10 MB would close the connection.
        """
        self._upload = (b"" if first else self._upload) + part
        if len(self._upload) > self.upload_limit:
            self._upload = b""
            megabytes = self.upload_limit / 1e6
            raise WidgetError(f"The file has more than {megabytes:.0f} MB.")
        if not last:
            return None
        data, self._upload = self._upload, b""
        label = str(name)[:60] or "your photo"
        self._photos[label] = bundled.square(
            bundled.decode(data, label), self._photo_size
        )
        self._list_photos()
        return label

    def _list_photos(self) -> None:
        with self.hold_sync():
            self.set_trait("photo_labels", list(self._photos))
            self.set_trait("thumbnails", [_jpeg(p) for p in self._photos.values()])


def gathered(photos: Photos, size: int) -> dict[str, Tensor]:
    """Label -> image ``(1, 3, H, W)``: one as it is, or bundled ones cut to a square.

    None: a handful of the evaluation photos. Raises ``WidgetError``, ``PhotoError``.
    """
    if isinstance(photos, Tensor):
        if photos.dim() != 4 or photos.shape[0] != 1:
            given = tuple(photos.shape)
            raise WidgetError(f"photos has shape {given}, expected one (1, 3, H, W)")
        return {"photo": photos.detach().float().cpu()}
    if photos is None:
        every = bundled.names("evaluation")
        photos = every[:: max(1, len(every) // HANDFUL)][:HANDFUL]
    labels = [photos] if isinstance(photos, str) else list(photos)
    if not labels:
        raise WidgetError("photos is empty: give an image, a name or a list of names")
    return {label: bundled.square(bundled.load(label), size) for label in labels}


def put_in(guess: object, label: str, image: Tensor, hole: Tensor) -> Tensor:
    """The composite of what the fill ``label`` returned, clipped to ``[0, 1]``.

    Raises ``WidgetError`` when it is no image of that shape, or not finite in the hole.
    """
    if not isinstance(guess, Tensor) or guess.shape != image.shape:
        shape = getattr(guess, "shape", None)
        given = tuple(shape) if shape is not None else type(guess).__name__
        raise WidgetError(
            f"{label!r} returned {given}, expected an image {tuple(image.shape)}."
        )
    guess = guess.detach().cpu()
    bad = int((~guess.isfinite() & hole.bool()).sum())
    if bad:
        raise WidgetError(f"{label!r} left {bad} values in the hole NaN or infinite.")
    return composite(guess.clamp(0, 1), image, hole)


def _jpeg(image: Tensor) -> bytes:
    small = Image.fromarray(to_pixels(bundled.square(image, THUMBNAIL)))
    file = io.BytesIO()
    small.save(file, "jpeg", quality=85)
    return file.getvalue()
