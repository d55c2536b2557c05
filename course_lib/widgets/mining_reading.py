"""Four holes of one area, and the error that a referee makes in each (lesson 09)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import holes
from course_lib.mining import mined_holes, pixel_error
from course_lib.networks import MaskGenerator
from course_lib.networks.reading import device_of, evaluating
from course_lib.tensors import hide
from course_lib.widgets.photo_choice import put_in

KINDS = ("random", "mined", "shuffled", "hardest")
LOW, HIGH = 0.01, 0.3  # errors at the dark and the bright end of the colours


@dataclass(frozen=True)
class Filled:
    """One hole of a photo as the referee filled it; all ``(1, C, H, W)``.

    ``picture`` is the composite, ``error`` that of each pixel, 0 where it is known,
    ``expected`` what the miner expected of each.
    """

    hole: Tensor
    picture: Tensor
    error: Tensor
    expected: Tensor

    @property
    def measured(self) -> float:
        """The referee's mean error in the hole."""
        return float(self.error[self.hole.bool()].mean())

    @property
    def foreseen(self) -> float:
        """The mean error in the hole that the miner expects."""
        return float(self.expected[self.hole.bool()].mean())


def untrained_miner() -> MaskGenerator:
    """The generator of step 0; the global state of randomness stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MaskGenerator().eval()


def scored(miner: nn.Module, image: Tensor) -> Tensor:
    """The miner's score of each picture, ``(N, 1, H, W)``; it is left as it was."""
    with torch.no_grad(), evaluating(miner):
        score: Tensor = miner(image.to(device_of(miner)))
    return score.cpu()


def four_holes(
    score: Tensor, other: Tensor, area: float, variety: float, draw: int
) -> dict[str, Tensor]:
    """Kind -> hole ``(1, 1, H, W)`` of the same ``area``, to the pixel.

    ``score`` and ``other (1, 1, H, W)`` are those of the photo and of another one, for
    which the shuffled hole is mined. ``draw`` seeds the random hole and the noise, of
    the deviation ``variety``, that each mined one gets for itself.
    """
    scores = torch.cat([score, other, -score])
    generator = torch.Generator().manual_seed(draw)
    mined, shuffled, hardest = mined_holes(scores, area, variety, generator).split(1)
    seen = torch.Generator().manual_seed(draw)  # it is the same at every variety
    size = (score.shape[-2], score.shape[-1])
    drawn = holes.irregular(1, size, seen)
    random = holes.grow(drawn, mined.mean((1, 2, 3)))
    return dict(zip(KINDS, (random, mined, shuffled, hardest), strict=True))


def filled(
    referee: nn.Module,
    image: Tensor,
    expected: Tensor,
    found: Mapping[str, Tensor],
    before: Mapping[str, Filled],
) -> dict[str, Filled]:
    """Every hole of ``found`` filled; the referee gets NaN under it.

    A hole of ``before``, of the same photo, that is on show already is not filled
    again.
    """
    pictures = {
        kind: before[kind].picture
        for kind, hole in found.items()
        if kind in before and before[kind].hole.equal(hole)
    }
    asked = [kind for kind in found if kind not in pictures]
    if asked:
        every = torch.cat([found[kind] for kind in asked])
        given = hide(image.expand(len(asked), -1, -1, -1), every, math.nan)
        with torch.no_grad(), evaluating(referee):
            at = device_of(referee)
            made = referee(given.to(at), every.to(at))
        for kind, each in zip(asked, made.split(1), strict=True):
            pictures[kind] = put_in(each, kind, image, found[kind])
    return {
        kind: Filled(hole, pictures[kind], pixel_error(pictures[kind], image), expected)
        for kind, hole in found.items()
    }


def brightness(error: Tensor) -> Tensor:
    """Where errors stand between ``LOW`` and ``HIGH``, by their logarithm: ``[0, 1]``.

    The same for every photo and step, so that two maps can be compared.
    """
    place = (error.clamp(min=LOW) / LOW).log() / math.log(HIGH / LOW)
    return place.clamp(0, 1)
