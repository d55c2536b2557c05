"""Exercises of lesson 01: holes."""

import torch
from torch import Tensor

from course_lib.exercises import Cases, Exercise

# ------------------------------------------------------------------------------- 01.1


def read_hole(grey: torch.Tensor, hole_is: str) -> torch.Tensor:
    """Stored grey pictures as holes: cut at half, and of the right polarity.

    ``grey`` is uint8 (N, H, W); above 127 counts as white. ``hole_is`` is "white" or
    "black": the colour of the missing pixels.
    Returns float32 (N, 1, H, W), 1 = missing, 0 = known, nothing between.
    """
    white = (grey > 127)[:, None]
    missing = white if hole_is == "white" else ~white
    return missing.float()


def _read_hole_cases() -> Cases:
    draw = torch.Generator().manual_seed(11)
    grey = torch.randint(0, 256, (3, 5, 7), generator=draw).byte()
    clean = ((grey > 200) * 255).byte()
    half = torch.tensor([[[126, 127, 128]]]).byte()
    return {
        "black and white, white is missing": (clean, "white"),
        "black and white, black is missing": (clean, "black"),
        "grey pixels of a JPEG": (grey, "white"),
        "grey pixels, black is missing": (grey, "black"),
        "a view that is not contiguous": (grey.transpose(1, 2), "white"),
        "126, 127 and 128, white is missing": (half, "white"),
        "126, 127 and 128, black is missing": (half, "black"),
        "nothing missing": (torch.zeros(1, 3, 3, dtype=torch.uint8), "white"),
        "everything missing": (torch.zeros(1, 3, 3, dtype=torch.uint8), "black"),
    }


def _grey_kept(grey: Tensor, hole_is: str) -> Tensor:
    share = grey[:, None].float() / 255
    return share if hole_is == "white" else 1 - share


def _127_in_no_colour(grey: Tensor, hole_is: str) -> Tensor:
    missing = grey > 127 if hole_is == "white" else grey < 127
    return missing[:, None].float()


def _128_black(grey: Tensor, hole_is: str) -> Tensor:
    missing = grey > 128 if hole_is == "white" else grey <= 128
    return missing[:, None].float()


def _any_grey(grey: Tensor, hole_is: str) -> Tensor:
    background = 0 if hole_is == "white" else 255
    return (grey != background)[:, None].float()


# ------------------------------------------------------------------------------- 01.2


def dilate(hole: torch.Tensor, radius: float) -> torch.Tensor:
    """Every hole grown by a disc: missing is what has a missing pixel within reach.

    ``hole`` is (N, 1, H, W), 1 = missing. Distances are taken between the centres of
    pixels; a distance of exactly ``radius`` (in pixels, maybe not whole) is in reach.
    Returns the shape and dtype of ``hole``.
    """
    reach = int(radius)
    steps = torch.arange(-reach, reach + 1)
    disc = (steps[:, None] ** 2 + steps**2 <= radius**2).to(hole.dtype)
    near = torch.nn.functional.conv2d(hole, disc[None, None], padding=reach)
    return (near > 0.5).to(hole.dtype)


def _dilate_cases() -> Cases:
    draw = torch.Generator().manual_seed(12)
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    corner = torch.zeros(1, 1, 6, 8)
    corner[..., 0, 7] = 1
    batch = (torch.rand(3, 1, 11, 7, generator=draw) < 0.04).double()
    return {
        "one pixel, radius 2": (dot, 2.0),
        "one pixel, radius 2.5": (dot, 2.5),
        "one pixel, radius 3": (dot, 3.0),
        "a corner": (corner, 2.0),
        "a batch, odd sides, double": (batch, 1.5),
        "not contiguous": (batch.transpose(2, 3), 2.0),
        "radius 0": (batch, 0.0),
        "an empty hole": (torch.zeros(1, 1, 5, 5), 2.0),
        "a full hole": (torch.ones(2, 1, 5, 5), 2.0),
    }


def _square(hole: Tensor, radius: float) -> Tensor:
    reach = int(radius)
    return torch.nn.functional.max_pool2d(hole, 2 * reach + 1, 1, reach)


def _diamond(hole: Tensor, radius: float) -> Tensor:
    reach = int(radius)
    steps = torch.arange(-reach, reach + 1).abs()
    shape = (steps[:, None] + steps <= radius).to(hole.dtype)
    near = torch.nn.functional.conv2d(hole, shape[None, None], padding=reach)
    return (near > 0.5).to(hole.dtype)


# ------------------------------------------------------------------------------- 01.3


def damage(grey: torch.Tensor, hole: torch.Tensor) -> tuple[int, int]:
    """What the blend ``image * (1 - grey) + fill * grey`` does to a batch, in pixels.

    ``grey`` is (N, 1, H, W) with values from 0 to 1; ``hole`` is the true hole of the
    same shape, 0 or 1. Returns two numbers, each an int: [0] known pixels into which
    some of the fill gets, [1] missing pixels through which some of the image shines.
    """
    spoiled = ((hole == 0) & (grey > 0)).sum()
    shown = ((hole == 1) & (grey < 1)).sum()
    return int(spoiled), int(shown)


def _damage_cases() -> Cases:
    draw = torch.Generator().manual_seed(13)
    hole = (torch.rand(2, 1, 9, 5, generator=draw) < 0.3).float()
    soft = torch.rand(2, 1, 9, 5, generator=draw)
    blur = torch.nn.functional.avg_pool2d(hole, 3, 1, 1)
    return {
        "a blurred hole": (blur, hole),
        "noise": (soft, hole),
        "the true hole": (hole, hole),
        "inverted": (1 - hole, hole),
        "nothing missing": (soft, torch.zeros_like(hole)),
        "everything missing": (soft, torch.ones_like(hole)),
        "not contiguous": (blur.transpose(2, 3), hole.transpose(2, 3)),
    }


def _both_between(grey: Tensor, hole: Tensor) -> tuple[int, int]:
    between = (grey > 0) & (grey < 1)
    return int(((hole == 0) & between).sum()), int(((hole == 1) & between).sum())


def _at_half(grey: Tensor, hole: Tensor) -> tuple[int, int]:
    used = grey > 0.5
    return int(((hole == 0) & used).sum()), int(((hole == 1) & ~used).sum())


# ------------------------------------------------------------------------------- 01.4


def inconsistent(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Where two flows (N, 2, H, W) disagree: (N, 1, H, W), 1 = no way back.

    Channel 0 of a flow is rows, channel 1 columns, in pixels; any fraction is
    allowed. With w = forward(p), and b = backward read bilinearly at p + w, pixel p is
    inconsistent where |w + b|^2 > 0.01 (|w|^2 + |b|^2) + 0.5, or where p + w lies
    outside the picture: below 0, or above the last row or column.
    """
    height, width = forward.shape[-2:]
    rows = torch.arange(height)[:, None] + forward[:, 0]
    columns = torch.arange(width) + forward[:, 1]
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0)
    inside = inside & (columns <= width - 1)
    place = [2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1]
    back = torch.nn.functional.grid_sample(
        backward, torch.stack(place, -1), align_corners=True
    )
    gap = (forward + back).square().sum(1)
    allowed = 0.01 * (forward.square() + back.square()).sum(1) + 0.5
    return ((gap > allowed) | ~inside).to(forward.dtype)[:, None]


def _inconsistent_cases() -> Cases:
    draw = torch.Generator().manual_seed(14)

    def field(count: int, height: int, width: int, size: float) -> Tensor:
        coarse = torch.randn(count, 2, 3, 3, generator=draw, dtype=torch.float64)
        return size * torch.nn.functional.interpolate(
            coarse, (height, width), mode="bilinear", align_corners=True
        )

    flow, other = field(2, 13, 9, 2.0), field(2, 13, 9, 2.0)
    shift = torch.zeros(1, 2, 6, 11, dtype=torch.float64)
    shift[:, 1] = 2
    big = 0.2 * field(1, 9, 14, 1.0) + 4
    return {
        "two random flows": (flow, other),
        "a gentle flow and its opposite": (0.3 * flow, -0.3 * flow),
        "two columns to the right": (shift, -shift),
        "a long way, nearly back": (big, 0.9 - big),
        "no motion": (torch.zeros_like(shift), torch.zeros_like(shift)),
        "float32, not contiguous": (
            flow.float().transpose(2, 3),
            other.float().transpose(2, 3),
        ),
    }


def _without_border(forward: Tensor, backward: Tensor) -> Tensor:
    height, width = forward.shape[-2:]
    rows = (torch.arange(height)[:, None] + forward[:, 0]).clamp(0, height - 1)
    columns = (torch.arange(width) + forward[:, 1]).clamp(0, width - 1)
    start = torch.stack(
        [rows - torch.arange(height)[:, None], columns - torch.arange(width)], 1
    )
    return inconsistent(start, backward)


def _same_place(forward: Tensor, backward: Tensor) -> Tensor:
    gap = (forward + backward).square().sum(1, keepdim=True)
    size = (forward.square() + backward.square()).sum(1, keepdim=True)
    return (gap > 0.01 * size + 0.5).to(forward.dtype)


EXERCISES = (
    Exercise(
        "01.1",
        reference=read_hole,
        cases=_read_hole_cases,
        wrong={
            "polarity ignored": lambda grey, hole_is: read_hole(grey, "white"),
            "inverted": lambda grey, hole_is: 1 - read_hole(grey, hole_is),
            "grey kept": _grey_kept,
            "any grey is missing": _any_grey,
            "black is below 127": _127_in_no_colour,
            "white is above 128": _128_black,
            "no channel axis": lambda *case: read_hole(*case)[:, 0],
            "truth values": lambda *case: read_hole(*case).bool(),
            "zeros": lambda grey, hole_is: torch.zeros(grey[:, None].shape),
        },
    ),
    Exercise(
        "01.2",
        reference=dilate,
        cases=_dilate_cases,
        wrong={
            "a square": _square,
            "a diamond": _diamond,
            "eroded": lambda hole, radius: 1 - dilate(1 - hole, radius),
            "diameter taken for radius": lambda hole, radius: dilate(hole, radius / 2),
            "one pixel too far": lambda hole, radius: dilate(hole, radius + 1),
            "the end excluded": lambda hole, radius: (
                dilate(hole, radius - 1e-3) if radius else hole.clone()
            ),
            "one hole for the batch": lambda hole, radius: dilate(
                hole.amax(0, keepdim=True).expand_as(hole), radius
            ),
            "identity": lambda hole, radius: hole.clone(),
        },
    ),
    Exercise(
        "01.3",
        reference=damage,
        cases=_damage_cases,
        wrong={
            "swapped": lambda *case: damage(*case)[::-1],
            "tensors": lambda *case: tuple(torch.tensor(n) for n in damage(*case)),
            "only grey pixels": _both_between,
            "cut at half": _at_half,
            "inverted hole": lambda grey, hole: damage(grey, 1 - hole),
            "the first picture only": lambda grey, hole: damage(grey[:1], hole[:1]),
        },
    ),
    Exercise(
        "01.4",
        reference=inconsistent,
        cases=_inconsistent_cases,
        wrong={
            "leaving is allowed": _without_border,
            "read at p": _same_place,
            "difference of the flows": lambda w, b: inconsistent(w, -b),
            "read at the nearest pixel": lambda w, b: inconsistent(w.round(), b),
            "rows and columns swapped": lambda w, b: inconsistent(w.flip(1), b.flip(1)),
            "inverted": lambda w, b: 1 - inconsistent(w, b),
        },
    ),
)
