"""Exercises of lesson 02: losses."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_lib import holes
from course_lib.exercises import Cases, Exercise

# ------------------------------------------------------------------------------- 02.1


def rings(hole: torch.Tensor) -> torch.Tensor:
    """In which ring of its hole each pixel lies: 0 known, 1 the outermost, and so on.

    ``hole`` is (N, 1, H, W), 1 = missing. A missing pixel is in ring 1 if one of its
    eight neighbours is known, in ring 2 if none is known but one is in ring 1, and so
    on. What lies outside the picture is not known. In a picture without any known pixel
    every pixel is in ring max(H, W). Returns the shape and dtype of ``hole``.
    """
    ring, left = torch.zeros_like(hole), hole
    for _ in range(max(hole.shape[-2:])):
        ring = ring + left
        left = -torch.nn.functional.max_pool2d(-left, 3, 1, 1)
    return ring


def _rings_cases() -> Cases:
    draw = torch.Generator().manual_seed(21)
    box = torch.zeros(1, 1, 9, 11)
    box[..., 2:7, 2:9] = 1
    free = (torch.rand(3, 1, 13, 10, generator=draw) < 0.95).double()
    corner = torch.zeros(1, 1, 7, 8)
    corner[..., :5, 4:] = 1
    return {
        "a rectangle": (box,),
        "a batch of free shapes, double": (free,),
        "a hole in a corner": (corner,),
        "not contiguous": (free.transpose(2, 3),),
        "an empty hole": (torch.zeros(1, 1, 4, 5),),
        "one full hole, one with a pixel known": (
            torch.stack([torch.ones(1, 5, 7), (torch.arange(35) != 9).view(1, 5, 7)]),
        ),
    }


def _rings_by(hole: Tensor, grown: Callable[[Tensor], Tensor]) -> Tensor:
    ring, known = torch.zeros_like(hole), 1 - hole
    for _ in range(max(hole.shape[-2:])):
        ring = ring + (1 - known)
        known = torch.maximum(known, grown(known))
    return ring


def _four_neighbours(known: Tensor) -> Tensor:
    pool = torch.nn.functional.max_pool2d
    return torch.maximum(pool(known, (3, 1), 1, (1, 0)), pool(known, (1, 3), 1, (0, 1)))


def _known_outside(known: Tensor) -> Tensor:
    framed = torch.nn.functional.pad(known, (1, 1, 1, 1), value=1)
    return torch.nn.functional.max_pool2d(framed, 3, 1)


def _half_the_short_side(hole: Tensor) -> Tensor:
    """Enough peelings for a hole in the middle, too few for one at the border."""
    ring, left = torch.zeros_like(hole), hole
    for _ in range(min(hole.shape[-2:]) // 2):
        ring = ring + left
        left = -torch.nn.functional.max_pool2d(-left, 3, 1, 1)
    return ring


def _euclidean(hole: Tensor) -> Tensor:
    away = holes.distance(hole).clamp(max=max(hole.shape[-2:]))
    return away.to(hole.dtype)


# ------------------------------------------------------------------------------- 02.2


def weighted_each(
    prediction: torch.Tensor,
    image: torch.Tensor,
    hole: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """The weighted mean absolute error in the hole, for each picture by itself.

    Shapes (N, C, H, W), (N, C, H, W), (N, 1, H, W), 1 = missing, and (N, 1, H, W).
    All weights are above 0. Each picture's sum of weight times absolute error, over its
    missing pixels and channels, is divided by C times the sum of the weights in its own
    hole; a picture without a hole gives 0. Known pixels do not count, nor do their
    weights: prediction and image may hold NaN there, and the gradient there is 0.
    Returns (N,).
    """
    missing = hole.bool()
    ours, theirs = (torch.where(missing, x, 0.0) for x in (prediction, image))
    counted = torch.where(missing, weights, 0.0)
    total = (counted * (ours - theirs).abs()).sum((1, 2, 3))
    count = prediction.shape[1] * counted.sum((1, 2, 3))
    return total / torch.where(count > 0, count, 1.0)


def _weighted_cases() -> Cases:
    draw = torch.Generator().manual_seed(22)
    ours, image = torch.rand(2, 3, 3, 7, 5, generator=draw, dtype=torch.float64)
    weights = 0.1 + torch.rand(3, 1, 7, 5, generator=draw, dtype=torch.float64)
    hole = (torch.rand(3, 1, 7, 5, generator=draw) < 0.5).double()
    some = hole.clone()
    some[1] = 0
    spoiled = torch.where(hole.bool(), ours, torch.nan)
    turned = [part.transpose(2, 3) for part in (hole, weights)]
    return {
        "three pictures, three holes": (ours, image, hole, weights),
        "one without a hole": (ours, image, some, weights),
        "full holes": (ours, image, torch.ones_like(hole), weights),
        "tiny weights": (ours, image, hole, 0.001 * weights),
        "NaN in known pixels of the prediction": (spoiled, image, hole, weights),
        "NaN in known pixels of both": (spoiled, spoiled + 0.1, hole, weights),
        "one channel, not contiguous": (
            *(x[:, :1].transpose(2, 3) for x in (ours, image)),
            *turned,
        ),
    }


def _with_gradient(answer: Callable[..., Any], prediction: Tensor, *rest: Any) -> Any:
    """The loss, and its gradient with respect to the prediction."""
    leaf = prediction.clone().requires_grad_()
    loss = answer(leaf, *rest)
    if not isinstance(loss, Tensor):
        return loss
    slope = torch.zeros_like(leaf)  # of a loss through which no gradient flows
    if loss.requires_grad:
        (slope,) = torch.autograd.grad(loss.sum(), leaf)
    return {"loss": loss.detach(), "gradient": slope}


def _one_for_the_batch(p: Tensor, i: Tensor, h: Tensor, w: Tensor) -> Tensor:
    counted = torch.where(h.bool(), w, 0.0)
    error = torch.where(h.bool(), (p - i).abs(), 0.0)
    loss = (counted * error).sum() / (p.shape[1] * counted.sum())
    return loss.expand(len(p))


def _size_averaged(p: Tensor, i: Tensor, h: Tensor, w: Tensor) -> Tensor:
    error = (torch.where(h.bool(), p, 0.0) - torch.where(h.bool(), i, 0.0)).abs()
    return (w * error).mean((1, 2, 3))


def _by_pixels(p: Tensor, i: Tensor, h: Tensor, w: Tensor) -> Tensor:
    error = (torch.where(h.bool(), p, 0.0) - torch.where(h.bool(), i, 0.0)).abs()
    count = (p.shape[1] * h.sum((1, 2, 3))).clamp(min=1)
    return (w * error).sum((1, 2, 3)) / count


def _at_least_one(p: Tensor, i: Tensor, h: Tensor, w: Tensor) -> Tensor:
    missing = h.bool()
    error = (torch.where(missing, p, 0.0) - torch.where(missing, i, 0.0)).abs()
    counted = w * h
    count = p.shape[1] * counted.sum((1, 2, 3))
    return (counted * error).sum((1, 2, 3)) / count.clamp(min=1)


def _multiplied(p: Tensor, i: Tensor, h: Tensor, w: Tensor) -> Tensor:
    counted = w * h
    total = (counted * (p - i).abs()).sum((1, 2, 3))
    return total / (p.shape[1] * counted.sum((1, 2, 3))).clamp(min=1e-9)


# ------------------------------------------------------------------------------- 02.3


def known_share(
    hole: torch.Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> torch.Tensor:
    """Which share of the published weights lies on known pixels, for each hole.

    ``hole`` is (N, 1, H, W), 1 = missing. The box begins at row ``top`` and column
    ``left``; its pixel in row i and column j, counted from 0 in the box, weighs
    gamma ** min(i, height - i, j, width - j). Pixels outside the box weigh nothing.
    Returns (N,): known weight over all weight, in the dtype of ``hole``.
    """
    i, j = torch.arange(height)[:, None], torch.arange(width)
    nearest = torch.minimum(torch.minimum(i, height - i), torch.minimum(j, width - j))
    weights = gamma ** nearest.to(hole.dtype)
    inside = hole[:, 0, top : top + height, left : left + width]
    return (weights * (1 - inside)).sum((1, 2)) / weights.sum()


def _known_cases() -> Cases:
    draw = torch.Generator().manual_seed(23)
    free = (torch.rand(3, 1, 12, 15, generator=draw) < 0.6).double()
    moved = torch.zeros(1, 1, 12, 15)
    moved[..., 2:8, 3:9] = 1
    return {
        "three free shapes": (free, 2, 3, 9, 8, 0.9),
        "a hole at the upper left of its box": (moved, 2, 3, 8, 8, 0.7),
        "a hole at the lower right of its box": (moved, 0, 1, 8, 8, 0.7),
        "a box as large as the picture": (free, 0, 0, 12, 15, 0.8),
        "gamma 1": (free, 1, 4, 10, 7, 1.0),
        "nothing missing": (torch.zeros(2, 1, 9, 9), 1, 1, 5, 5, 0.9),
        "everything missing": (torch.ones(2, 1, 9, 9), 1, 1, 5, 5, 0.9),
    }


def _symmetric(
    hole: Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> Tensor:
    i, j = torch.arange(1, height + 1)[:, None], torch.arange(1, width + 1)
    rows = torch.minimum(i, height + 1 - i)
    columns = torch.minimum(j, width + 1 - j)
    weights = gamma ** torch.minimum(rows, columns).to(hole.dtype)
    inside = hole[:, 0, top : top + height, left : left + width]
    return (weights * (1 - inside)).sum((1, 2)) / weights.sum()


def _farther(
    hole: Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> Tensor:
    i, j = torch.arange(height)[:, None], torch.arange(width)
    far = torch.maximum(torch.minimum(i, height - i), torch.minimum(j, width - j))
    weights = gamma ** far.to(hole.dtype)
    inside = hole[:, 0, top : top + height, left : left + width]
    return (weights * (1 - inside)).sum((1, 2)) / weights.sum()


def _from_the_far_end(
    hole: Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> Tensor:
    inside = hole[..., top : top + height, left : left + width]
    return known_share(inside.flip(2, 3), 0, 0, height, width, gamma)


def _one_pixel_off(
    hole: Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> Tensor:
    moved = hole.roll((1, 1), (2, 3))
    return known_share(moved, top, left, height, width, gamma)


def _of_the_picture(
    hole: Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> Tensor:
    share = known_share(hole, top, left, height, width, gamma)
    inside = hole[..., top : top + height, left : left + width]
    return share * inside[0].numel() / hole[0].numel()


# ------------------------------------------------------------------------------- 02.4

Loss = Callable[[Tensor], Tensor]


def balance(losses: tuple, prediction: torch.Tensor) -> torch.Tensor:
    """Weights that let every loss pull equally hard at the prediction.

    ``losses`` are functions of the prediction that return a scalar. The pull of one is
    the norm (root of the sum of squares) of its gradient with respect to the
    prediction. The first weight is always 1. Each other weight, times the pull of its
    loss, gives the pull of the first; it is 0 for a loss that does not pull at all.
    Returns a tensor (K,) without gradient, in the dtype of ``prediction``.
    """
    leaf = prediction.detach().clone().requires_grad_()
    pulls = torch.stack([torch.autograd.grad(f(leaf), leaf)[0].norm() for f in losses])
    weights = torch.where(pulls > 0, pulls[0] / pulls, 0.0)
    weights[0] = 1
    return weights


def _absolute(x: Tensor) -> Tensor:
    return (x - 0.5).abs().mean()


def _squared(x: Tensor) -> Tensor:
    return (x - 0.2).square().sum()


def _steps(x: Tensor) -> Tensor:
    return x.diff(dim=-1).abs().sum() / 7


def _large(x: Tensor) -> Tensor:
    return 1000 * x.sigmoid().mean()


def _constant(x: Tensor) -> Tensor:
    return 0 * x.sum() + 3


def _balance_cases() -> Cases:
    draw = torch.Generator().manual_seed(24)
    one = torch.rand(1, 3, 5, 7, generator=draw, dtype=torch.float64)
    two = torch.rand(2, 3, 4, 9, generator=draw, dtype=torch.float64)
    return {
        "two losses": ((_absolute, _squared), one),
        "four losses, a batch": ((_squared, _large, _steps, _absolute), two),
        "one that does not pull": ((_large, _constant, _absolute), one),
        "the first does not pull": ((_constant, _squared), one),
        "one loss": ((_steps,), two),
        "not contiguous": ((_steps, _large), one.transpose(2, 3)),
        "float32": ((_large, _absolute), two.float()),
    }


def _by_values(losses: tuple[Loss, ...], prediction: Tensor) -> Tensor:
    values = torch.stack([loss(prediction) for loss in losses])
    return values[0] / values


def _scaled(
    losses: tuple[Loss, ...], prediction: Tensor, size: Callable[[Tensor], Tensor]
) -> Tensor:
    leaf = prediction.detach().clone().requires_grad_()
    pulls = torch.stack([size(torch.autograd.grad(f(leaf), leaf)[0]) for f in losses])
    weights = torch.where(pulls > 0, pulls[0] / pulls, 0.0)
    weights[0] = 1
    return weights


def _infinite(losses: tuple[Loss, ...], prediction: Tensor) -> Tensor:
    weights = balance(losses, prediction)
    return torch.where(weights > 0, weights, torch.inf)


def _inverse(losses: tuple[Loss, ...], prediction: Tensor) -> Tensor:
    weights = balance(losses, prediction)
    return torch.where(weights > 0, 1 / weights, 0.0)


EXERCISES = (
    Exercise(
        "02.1",
        reference=rings,
        cases=_rings_cases,
        wrong={
            "four neighbours": lambda hole: _rings_by(hole, _four_neighbours),
            "known outside the picture": lambda hole: _rings_by(hole, _known_outside),
            "Euclidean distance": _euclidean,
            "Euclidean distance, rounded up": lambda hole: _euclidean(hole).ceil(),
            "half the short side": _half_the_short_side,
            "counted from 0": lambda hole: (rings(hole) - 1).clamp(min=0),
            "one too many": lambda hole: rings(hole) + hole,
            "at most three": lambda hole: rings(hole).clamp(max=3),
            "inverted": lambda hole: rings(1 - hole),
            "one hole for the batch": lambda hole: rings(
                hole.amax(0, keepdim=True).expand_as(hole)
            ),
            "the hole itself": lambda hole: hole.clone(),
            "whole numbers": lambda hole: rings(hole).long(),
        },
    ),
    Exercise(
        "02.2",
        reference=weighted_each,
        cases=_weighted_cases,
        wrong={
            "one number for the batch": _one_for_the_batch,
            "size-averaged": _size_averaged,
            "divided by the pixels": _by_pixels,
            "multiplied, not selected": _multiplied,
            "a small sum of weights raised to 1": _at_least_one,
            "channels forgotten": lambda p, i, h, w: (
                weighted_each(p, i, h, w) * p.shape[1]
            ),
            "known and missing swapped": lambda p, i, h, w: weighted_each(
                p, i, 1 - h, w
            ),
            "weights of the known pixels too": lambda p, i, h, w: weighted_each(
                torch.where(h.bool(), p, i.nan_to_num()),
                i.nan_to_num(),
                torch.ones_like(h),
                w,
            ),
            "squared": lambda p, i, h, w: weighted_each(
                torch.where(h.bool(), (p - i).square(), 0.0), torch.zeros_like(i), h, w
            ),
            "no gradient": lambda p, i, h, w: weighted_each(p.detach(), i, h, w),
            "zeros": lambda p, i, h, w: (
                0 * torch.where(h.bool(), p, 0.0).sum((1, 2, 3))
            ),
        },
        call=_with_gradient,
    ),
    Exercise(
        "02.3",
        reference=known_share,
        cases=_known_cases,
        wrong={
            "the paper's symmetric weights": _symmetric,
            "share of the missing pixels": lambda *case: 1 - known_share(*case),
            "all pixels weigh the same": lambda *case: known_share(*(*case[:5], 1.0)),
            "the farther side": _farther,
            "counted from the far end": _from_the_far_end,
            "the box one pixel off": _one_pixel_off,
            "divided by the whole picture": _of_the_picture,
            "height and width swapped": lambda hole, top, left, height, width, gamma: (
                known_share(hole, top, left, width, height, gamma)
            ),
            "known over missing": lambda *case: (
                known_share(*case) / (1 - known_share(*case)).clamp(min=1e-9)
            ),
            "one number": lambda *case: known_share(*case).mean(),
        },
    ),
    Exercise(
        "02.4",
        reference=balance,
        cases=_balance_cases,
        rtol=1e-4,
        wrong={
            "by the values of the losses": _by_values,
            "by the sum of the gradient": lambda losses, x: _scaled(
                losses, x, lambda slope: slope.abs().sum()
            ),
            "by the largest slope": lambda losses, x: _scaled(
                losses, x, lambda slope: slope.abs().max()
            ),
            "without the root": lambda losses, x: _scaled(
                losses, x, lambda slope: slope.square().sum()
            ),
            "the other way round": _inverse,
            "infinite without a pull": _infinite,
            "ones": lambda losses, x: torch.ones(len(losses), dtype=x.dtype),
            "adding up to 1": lambda losses, x: (
                balance(losses, x) / balance(losses, x).sum()
            ),
        },
    ),
)
