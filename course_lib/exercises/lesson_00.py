"""Exercises of lesson 00: select, the mean fill, the best constant, one sweep."""

import torch
import torch.nn.functional as F

from course_lib.exercises import Cases, Exercise


def put_back(
    prediction: torch.Tensor, image: torch.Tensor, hole: torch.Tensor
) -> torch.Tensor:
    """The prediction where the hole is 1, the image where it is 0.

    Shapes (N, 3, H, W), (N, 3, H, W), (N, 1, H, W). The image may hold NaN under the
    hole and the prediction NaN outside it: none of them may reach the result.
    """
    return torch.where(hole.bool(), prediction, image)


def mean_fill(image: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Fill each picture's hole with the mean colour of its own known pixels.

    Shapes (N, 3, H, W) and (N, 1, H, W), 1 = missing. Hidden pixels may hold NaN. Each
    picture has at least one known pixel. Known pixels are returned unchanged.
    """
    missing = hole.bool()
    total = torch.where(missing, 0, image).sum((2, 3), keepdim=True)
    known = (1 - hole).sum((2, 3), keepdim=True)
    return torch.where(missing, total / known, image)


def best_constant(values: torch.Tensor, error: str) -> torch.Tensor:
    """The number c with the smallest mean error to all values, without dimensions.

    ``error`` is "squared" or "absolute": the mean error to make smallest. Among equally
    good numbers for "absolute", the smallest that is one of the values.
    """
    return values.mean() if error == "squared" else values.flatten().median()


def sweep(values: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Replace each missing pixel by the mean of its neighbours in the picture.

    Shapes (H, W) and (H, W), 1 = missing, at least 2 pixels in all; the neighbours are
    those above, below, left and right, as they were before the sweep. Known pixels are
    returned unchanged.
    """
    both = torch.stack([values, torch.ones_like(values)])
    framed = torch.nn.functional.pad(both, (1, 1, 1, 1))
    above, below = framed[:, :-2, 1:-1], framed[:, 2:, 1:-1]
    left, right = framed[:, 1:-1, :-2], framed[:, 1:-1, 2:]
    total, count = above + below + left + right
    return torch.where(hole.bool(), total / count, values)


def _pair(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image with NaN under its hole, and the hole; each sample its own."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(*shape, generator=draw, dtype=torch.float64)
    hole = (torch.rand(shape[0], 1, *shape[2:], generator=draw) < 0.4).double()
    hole[..., 0, 0] = 0  # at least one known pixel
    return image.masked_fill(hole.bool(), float("nan")), hole


def put_back_cases() -> Cases:
    """Predictions that hold NaN wherever they must not be used."""
    draw = torch.Generator().manual_seed(1)
    plain = torch.rand(2, 1, 3, 4, 4, generator=draw).double()
    corner = torch.zeros(1, 1, 4, 4).double()
    corner[..., :2, :2] = 1
    found: Cases = {"plain numbers": (*plain, corner)}
    named = (
        ("a batch, NaN where nothing may be read", (3, 3, 5, 7)),
        ("one picture, NaN where nothing may be read", (1, 3, 8, 8)),
    )
    for name, shape in named:
        image, hole = _pair(len(found), *shape)
        other = torch.rand(*shape, generator=torch.Generator().manual_seed(9)).double()
        found[name] = (other.masked_fill(hole == 0, float("nan")), image, hole)
    image = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(5)).double()
    nothing, everything = (torch.full((2, 1, 4, 4), k).double() for k in (0.0, 1.0))
    found["an empty hole"] = (image * torch.nan, image, nothing)
    found["a full hole"] = (image, image * torch.nan, everything)
    return found


def mean_fill_cases() -> Cases:
    """Pictures with NaN under their holes."""
    image = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(5)).double()
    almost = torch.ones(2, 1, 4, 6).double()
    almost[:, :, 2, 3] = 0
    few = torch.arange(1.0, 13.0).double().reshape(1, 3, 2, 2)
    spot = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]).double()
    return {
        "plain numbers": (few, spot),
        "a batch, each its own hole, NaN under it": _pair(0, 4, 3, 6, 5),
        "one picture, NaN under the hole": _pair(1, 1, 3, 9, 9),
        "not contiguous": tuple(part.transpose(2, 3) for part in _pair(2, 2, 3, 4, 7)),
        "an empty hole": (image, torch.zeros(2, 1, 4, 6).double()),
        "one known pixel": (image.masked_fill(almost.bool(), torch.nan), almost),
    }


def best_constant_cases() -> Cases:
    """Skewed values, for which mean and median differ."""
    draw = torch.Generator().manual_seed(0)
    skewed = torch.rand(31, generator=draw, dtype=torch.float64) ** 4
    few = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.9])
    return {
        "squared, values 0, 0.1, 0.2, 0.3, 0.9": (few, "squared"),
        "absolute, values 0, 0.1, 0.2, 0.3, 0.9": (few, "absolute"),
        "squared, skewed values": (skewed, "squared"),
        "absolute, skewed values": (skewed, "absolute"),
        "absolute, values 0, 0.1, 0.7, 1": (
            torch.tensor([0.0, 0.1, 0.7, 1.0]),
            "absolute",
        ),
        "squared, a picture": (skewed[:30].reshape(5, 6), "squared"),
        "absolute, one value": (torch.tensor([0.25]), "absolute"),
    }


def sweep_cases() -> Cases:
    """Holes inside, at the border, in a corner, everywhere and nowhere."""
    draw = torch.Generator().manual_seed(0)
    values = torch.rand(5, 7, generator=draw, dtype=torch.float64)
    inside, corner = torch.zeros(2, 5, 7).double()
    inside[1:4, 2:5] = 1
    corner[:2, :3] = 1
    corner[-1, -1] = 1
    return {
        "inside": (values, inside),
        "at the border": (values, corner),
        "a full hole": (values, torch.ones(5, 7).double()),
        "an empty hole": (values, torch.zeros(5, 7).double()),
        "a single row": (values[:1], corner[:1]),
    }


def _zero_padded(values: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    kernel = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0.0]]).to(values) / 4
    mean = F.conv2d(values[None, None], kernel[None, None], padding=1)[0, 0]
    return torch.where(hole.bool(), mean, values)


def _around_the_edge(values: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    near = [values.roll(step, axis) for axis in (0, 1) for step in (1, -1)]
    return torch.where(hole.bool(), torch.stack(near).mean(0), values)


EXERCISES = (
    Exercise(
        "00.1",
        reference=put_back,
        cases=put_back_cases,
        wrong={
            "multiplied": lambda p, x, h: p * h + x * (1 - h),
            "inverted": lambda p, x, h: torch.where(h.bool(), x, p),
            "the prediction alone": lambda p, x, h: p.clone(),
            "the image alone": lambda p, x, h: x.clone(),
            "the hole twice": lambda p, x, h: p.nan_to_num() * h + x.nan_to_num() * h,
        },
    ),
    Exercise(
        "00.2",
        reference=mean_fill,
        cases=mean_fill_cases,
        wrong={
            "identity": lambda x, h: x.clone(),
            "zeros": lambda x, h: torch.where(h.bool(), 0, x),
            "divided by all pixels": lambda x, h: torch.where(
                h.bool(), torch.where(h.bool(), 0, x).mean((2, 3), keepdim=True), x
            ),
            "one mean for the batch": lambda x, h: torch.where(
                h.bool(), torch.where(h.bool(), 0, x).sum() / (1 - h).sum() / 3, x
            ),
            "multiplied": lambda x, h: (
                x * (1 - h)
                + h * (x * (1 - h)).sum((2, 3), True) / (1 - h).sum((2, 3), True)
            ),
            "one grey for all channels": lambda x, h: torch.where(
                h.bool(), mean_fill(x, h).mean(1, keepdim=True), x
            ),
        },
    ),
    Exercise(
        "00.3",
        reference=best_constant,
        cases=best_constant_cases,
        wrong={
            "always the mean": lambda v, error: v.mean(),
            "always the median": lambda v, error: v.flatten().median(),
            "swapped": lambda v, error: (
                v.mean() if error == "absolute" else v.flatten().median()
            ),
            "the middle of the range": lambda v, error: (v.min() + v.max()) / 2,
            "the upper of two middle values": lambda v, error: (
                v.mean() if error == "squared" else -(-v.flatten()).median()
            ),
        },
    ),
    Exercise(
        "00.4",
        reference=sweep,
        cases=sweep_cases,
        wrong={
            "identity": lambda v, h: v.clone(),
            "zeros around the picture": _zero_padded,
            "around the edge": _around_the_edge,
            "inverted": lambda v, h: sweep(v, 1 - h),
            "every pixel": lambda v, h: sweep(v, torch.ones_like(h)),
        },
    ),
)
