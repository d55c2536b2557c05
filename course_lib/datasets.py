"""Pictures by the million with holes, for trainings at scale; lesson 11.

torchvision's classes find and open Places365 and CelebA, ``photos.files`` the pictures
of a folder; here they are cropped and get their holes. What position p of a training
holds depends on the seed and p alone: not on how many workers load it, how many
processes share it, or how often it was resumed.
"""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import datasets as tv
from torchvision.transforms.v2.functional import pil_to_tensor

from course_lib import holes, photos

Kind = Literal["strokes", "irregular", "mixed"]
KINDS = ("strokes", "irregular", "mixed")
Batch = tuple[Tensor, Tensor]
TRIES = 20  # pictures after a damaged one that are looked at before giving up


class DatasetError(ValueError):
    """Pictures or holes to train with that are not there, or cannot be read."""


class Pictures(Protocol):
    """What a training draws from: uint8 pictures ``(3, H, W)`` by number."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> Any:
        """A picture, or a tuple that begins with one, as torchvision returns it."""
        ...


def pictures(source: str) -> Pictures:
    """All pictures of a source, no pixel of them read yet.

    - ``"train"``, ``"validation"``: the bundled photos, held in memory;
    - ``"folder:PATH"``: every picture in a folder and the folders inside it, as
      ``photos.files`` finds them;
    - ``"places365:PATH"``: Places365, the root that torchvision has it in, its training
      pictures of 256 px, or the large ones if only those are there;
    - ``"celeba:PATH"``: CelebA's training pictures, the root likewise.

    Nothing is downloaded. Raises ``DatasetError`` where there is no such data.
    """
    if source in ("train", "validation"):
        return photos.collection(source).pictures
    kind, _, place = source.partition(":")
    if not place and kind in ("folder", "places365", "celeba"):
        raise DatasetError(f"{source!r} names no folder: write {kind}:PATH")
    root = Path(place).expanduser()
    try:
        if kind == "folder":
            return _Folder(root)
        if kind == "places365":
            small = (root / "data_256_standard").is_dir()
            return tv.Places365(str(root), small=small, transform=_pixels)
        if kind == "celeba":
            return tv.CelebA(str(root), target_type=[], transform=_pixels)
    except (OSError, RuntimeError, photos.PhotoError) as error:
        raise DatasetError(f"{source}: {error}") from error
    raise DatasetError(
        f"{source!r}: choose train, validation, folder:PATH, places365:PATH or "
        "celeba:PATH"
    )


class Pairs(Dataset[Batch]):
    """``pairs[p]`` is the picture ``(3, S, S)`` and hole ``(1, S, S)`` of position p.

    Each epoch has every picture once, in an order of its own; of each a random square
    is cut as :meth:`photos.Collection.crops` does. ``hole``: brush ``"strokes"``,
    ``"irregular"`` ones, or half and half (``"mixed"``), each grown to a ratio drawn
    evenly from 1 to 60 %; or a folder of hole pictures, which are turned and mirrored.
    Then ``hole_is`` must say which colour is missing: black in the training set of the
    NVIDIA irregular holes, white in its test set. A damaged picture is replaced by the
    next one, with a warning; a hole picture that, at this size, hides nothing or
    everything by another one. Raises ``DatasetError`` where there is no other.
    """

    def __init__(
        self,
        source: str | Pictures,
        size: int,
        hole: Kind | Path = "mixed",
        seed: int = 0,
        hole_is: Literal["white", "black"] | None = None,
    ) -> None:
        self.pictures: Pictures = (
            pictures(source) if isinstance(source, str) else source
        )
        self.size, self.hole, self.seed, self.hole_is = size, hole, seed, hole_is
        if not len(self.pictures):
            raise DatasetError(f"{source}: no picture")
        self.files = [] if hole in KINDS else self._hole_files(Path(hole))
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        """The positions of one epoch; there are more after them."""
        return len(self.pictures)

    def __getitem__(self, position: int) -> Batch:
        """The picture and hole of a position, 0 or larger, without an end."""
        generator = self._generator(f"position {position}")
        crops = photos.Collection(["one"], [self._picture(position)])
        image = crops.crops(1, self.size, generator)[0]
        return image, self._hole(generator)

    def which(self, position: int) -> int:
        """The number of the picture that a position shows."""
        epoch, place = divmod(position, len(self))
        if self._order[0] != epoch:
            order = torch.randperm(
                len(self), generator=self._generator(f"epoch {epoch}")
            )
            self._order = (epoch, order)
        return int(self._order[1][place])

    def _generator(self, purpose: str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def _picture(self, position: int) -> Tensor:
        first = self.which(position)
        for number in range(first, first + min(TRIES, len(self))):
            try:
                found: Any = self.pictures[number % len(self)]
                return found[0] if isinstance(found, tuple) else found
            except Exception as error:  # a damaged file makes a reader raise any kind
                told = f"{type(error).__name__}: {error}"
                reason = f"picture {number % len(self)} is damaged: {told}"
                warnings.warn(f"{reason}; took the next", stacklevel=2)
        raise DatasetError(f"{reason}; so are the others after picture {first}")

    def _hole(self, generator: torch.Generator) -> Tensor:
        draw = torch.rand(2, generator=generator).tolist()
        if self.files:
            return self._read_hole(draw, generator)
        strokes = self.hole == "strokes" or (self.hole == "mixed" and draw[0] < 0.5)
        make = holes.strokes if strokes else holes.irregular
        low, high = holes.BUCKETS[0][0], holes.BUCKETS[-1][1]
        target = torch.tensor([low + (high - low) * draw[1]])
        return holes.grow(make(1, self.size, generator), target)[0]

    def _read_hole(self, draw: list[float], generator: torch.Generator) -> Tensor:
        for _ in range(TRIES):
            path = self.files[int(draw[0] * len(self.files))]
            hole = holes.read(path, self.size, hole_is=cast(Any, self.hole_is))
            if 0 < float(hole.mean()) < 1:
                turned = torch.rot90(hole, int(draw[1] * 4), (-2, -1))
                return (turned.flip(-1) if draw[1] * 8 % 2 < 1 else turned)[0]
            draw = torch.rand(2, generator=generator).tolist()
        raise DatasetError(
            f"{path} hides nothing or everything at {self.size} pixels, and so do "
            f"{TRIES - 1} others of its folder: take such pictures out"
        )

    def _hole_files(self, folder: Path) -> list[Path]:
        if self.hole_is is None:
            raise holes.HoleError(
                f"holes of the folder {folder}: say which colour is missing, "
                "hole_is='white' or 'black'"
            )
        found = holes.files(folder)
        some = found[:: max(1, len(found) // 32)]
        holes.from_files(some, self.size, hole_is=self.hole_is)  # or says what is wrong
        return found


class Batches:
    """Endless batches ``(image (B, 3, S, S), hole (B, 1, S, S))`` that can be resumed.

    Step s of a training takes positions ``s * B * processes`` onwards; process number
    ``process`` of them gets ``B`` in a row, so that all together take what one would
    with the batch ``B * processes``. ``workers`` load ahead in processes of their own.

    ``state_dict`` and ``load_state_dict`` hold the number of batches taken: in the
    ``state`` of :func:`training.fit` it makes resuming exact (with ``ahead=0``, as the
    workers are ahead already).
    """

    def __init__(
        self,
        pairs: Pairs,
        batch: int,
        *,
        workers: int = 0,
        process: int = 0,
        processes: int = 1,
        pin: bool = False,
    ) -> None:
        if batch < 1 or not 0 <= process < processes:
            raise DatasetError(f"batch {batch}, process {process} of {processes}")
        self.pairs, self.batch, self.workers, self.pin = pairs, batch, workers, pin
        self.process, self.processes = process, processes
        self.taken = 0
        self._running: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Itself: it goes on where it is."""
        return self

    def __next__(self) -> Batch:
        """The next batch."""
        if self._running is None:
            positions = _Positions(self.taken, self.batch, self.process, self.processes)
            loader: DataLoader[Any] = DataLoader(
                self.pairs,
                batch_sampler=positions,
                num_workers=self.workers,
                pin_memory=self.pin,
                generator=torch.Generator(),  # else it draws from the global one
            )
            self._running = iter(loader)
        image, hole = next(self._running)
        self.taken += 1
        return image, hole

    def state_dict(self) -> dict[str, int]:
        """How many batches were taken."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after as many batches as the state says."""
        self.taken, self._running = state["taken"], None


class _Positions(Sampler[list[int]]):
    """The positions of each batch of one process, without an end."""

    def __init__(self, taken: int, batch: int, process: int, processes: int) -> None:
        self.first = (taken * processes + process) * batch
        self.batch, self.step = batch, batch * processes

    def __iter__(self) -> Iterator[list[int]]:
        first = self.first
        while True:
            yield list(range(first, first + self.batch))
            first += self.step


class _Folder(Dataset[Tensor]):
    """The pictures of a folder, by number, opened when asked for."""

    def __init__(self, root: Path) -> None:
        self.paths = photos.files(root)
        if not self.paths:
            endings = ", ".join(sorted(photos.SUFFIXES))
            raise FileNotFoundError(
                f"no picture (looked for files ending in {endings})"
            )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """One of them. Raises whatever Pillow does for a damaged one."""
        with Image.open(self.paths[index]) as opened:
            return _pixels(opened)


def _pixels(picture: Image.Image) -> Tensor:
    """uint8 ``(3, H, W)``, upright. Alpha is dropped, as torchvision does."""
    upright = ImageOps.exif_transpose(picture)
    return pil_to_tensor(photos.eight_bits(upright).convert("RGB"))
