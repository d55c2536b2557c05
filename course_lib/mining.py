"""Holes worth training on: mined from a map of expected errors; lesson 09 builds it.

After the idea of Cai et al. 2024, large yet predictable holes; the objective is ours.
A score is low where a hidden pixel is expected to be easy, a logarithm of its error.
Because a hole is the easiest pixels of a picture, exactly as many as asked, it can be
neither empty nor full; and only errors under a hole teach the score, as facts to be
predicted: nothing pays the generator for what it chooses.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.networks.reading import evaluating
from course_lib.tensors import ContractError, check_hole, check_image, hide

SWELLS = 6  # points of smooth noise along each side
FINEST = 0.5 / 255  # an error that no screen shows: below it nothing is to be learned


def mined_holes(
    score: Tensor,
    ratio: float | Tensor,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    *,
    margin: float = 0.0,
) -> Tensor:
    """The pixels with the lowest score of each picture, as a hole ``(N, 1, H, W)``.

    ``score (N, 1, H, W)``; where it is +inf a pixel stays known. ``ratio``: the share
    of the picture that goes missing, one number or ``(N,)``, between 0 and 1; exact to
    one pixel, at least one missing and one known. Of equal scores the first in reading
    order goes. ``noise``: the standard deviation of a smooth random field, drawn from
    ``generator`` (a CPU generator), that is added to the score for variety; 0.5 is a
    factor of 1.6 in the error. A frame of ``margin`` sides stays known.

    No gradient. Raises ``ContractError`` for NaN, for a ratio out of range, and where
    fewer pixels than asked may go missing.
    """
    order = _checked(score).detach()
    if noise:
        order = order + noise * _swell(order, generator)
    order = order.masked_fill(_frame(order, margin), math.inf).flatten(1)
    count = _pixels(ratio, order)
    room = (order < math.inf).sum(1)
    if (count > room).any():
        k = int((count - room).argmax())
        raise ContractError(
            f"a hole of {int(count[k])} pixels does not fit: margin {margin} and "
            f"scores of +inf leave {int(room[k])} of {order.shape[1]}"
        )
    first = order.argsort(dim=1, stable=True)
    chosen = torch.arange(order.shape[1], device=order.device) < count[:, None]
    hole = torch.zeros_like(order).scatter_(1, first, chosen.to(order.dtype))
    return hole.view_as(score)


def budgeted_holes(
    score: Tensor, budget: float | Tensor, low: float = 0.1, high: float = 0.6
) -> Tensor:
    """The largest hole of each picture whose mean expected error fits a budget.

    ``score (N, 1, H, W)``, the logarithm of the expected error; +inf stays known.
    Pixels go missing from the lowest score up, as in ``mined_holes``, as long as the
    mean of ``exp(score)`` over the hole is at most ``budget``, in the unit of the
    error, one number or ``(N,)``. Then the area is clipped to between ``low`` and
    ``high`` of the picture, exact to one pixel; only at ``low`` may the mean exceed
    the budget. The sums are in double precision, on the CPU. -> ``(N, 1, H, W)``.

    No gradient. Raises ``ContractError`` for a budget that is not above 0 and finite,
    for limits that are no shares or swapped, and where ``mined_holes`` does.
    """
    order = _checked(score).detach().flatten(1).cpu()  # not every device has float64
    least, most = (_pixels(share, order) for share in (low, high))
    if (least > most).any():
        raise ContractError(f"low {low} is above high {high}")
    error = order.double().exp().sort(dim=1).values
    mean = error.cumsum(1) / torch.arange(1, error.shape[1] + 1)
    fitting = (mean <= _budget(budget, len(order))).sum(1)
    count = fitting.clamp(least, most)
    return mined_holes(score, count.double() / order.shape[1])


def pixel_error(prediction: Tensor, image: Tensor) -> Tensor:
    """Absolute error of each pixel, the mean over colours; without a gradient.

    ``(N, 3, H, W)`` twice -> ``(N, 1, H, W)``, at least float32.
    """
    difference = prediction.detach() - image.detach()
    error = difference.abs().mean(1, keepdim=True)
    return error.to(torch.promote_types(error.dtype, torch.float32))


def error_map_loss(score: Tensor, error: Tensor, hole: Tensor) -> Tensor:
    """``e * exp(-s) + s``, the mean over the hole of each picture, then over pictures.

    All ``(N, 1, H, W)``. It is smallest where ``s`` is the logarithm of the error that
    is expected: what a Laplace or exponential distribution of width ``exp(s)`` makes of
    ``e``. Errors below ``FINEST`` count as that. Neither an error nor a score outside
    the hole is read, and no gradient reaches ``error``; a picture without a hole adds
    0. Raises ``ContractError`` for shapes that differ.
    """
    if not score.shape == error.shape == hole.shape:
        raise ContractError(
            f"score {tuple(score.shape)}, error {tuple(error.shape)} and hole "
            f"{tuple(hole.shape)} must have the same shape (N, 1, H, W)"
        )
    missing = hole.bool()
    s = torch.where(missing, score, 0.0)
    e = error.detach().clamp(min=FINEST)
    each = torch.where(missing, e * torch.exp(-s) + s, 0.0)
    return (each.sum((1, 2, 3)) / missing.sum((1, 2, 3)).clamp(min=1)).mean()


@torch.no_grad()
def hidden_error(
    network: nn.Module, image: Tensor, holes: Tensor, batch: int = 16
) -> Tensor:
    """The error of each pixel when it was hidden: the oracle that a generator lacks.

    ``network(image, hole)``; ``image (N, 3, H, W)``; ``holes (K, 1, H, W)``, each laid
    over every picture, ``batch`` at once -> ``(N, 1, H, W)``, the mean over those holes
    that hide a pixel; NaN where none does. The network gets NaN under the hole, works
    in evaluation mode, and is left as it was.
    Raises ``ContractError`` where pictures and holes do not fit.
    """
    check_image(image)
    check_hole(holes)
    if image.shape[-2:] != holes.shape[-2:]:
        raise ContractError(
            f"image {tuple(image.shape)} and holes {tuple(holes.shape)} must have the "
            "same H and W; use holes.resize"
        )
    total, times = torch.zeros_like(image[:, :1]), torch.zeros_like(image[:, :1])
    with evaluating(network):
        for pair in torch.arange(len(image) * len(holes)).split(batch):
            which = (pair // len(holes)).to(image.device)
            picture, hole = image[which], holes[pair % len(holes)].to(image)
            made = network(hide(picture, hole, math.nan), hole)
            found = torch.where(hole.bool(), pixel_error(made, picture), 0.0)
            total.index_add_(0, which, found.to(total.dtype))
            times.index_add_(0, which, hole)
    return total / times  # 0 / 0: never hidden


def overlap(hole: Tensor, other: Tensor) -> Tensor:
    """How alike two holes are: the share of their union that both hide, ``(N,)``.

    ``(N, 1, H, W)`` twice, binary. 1 = equal, 0 = apart; holes of ratio a that know
    nothing of each other come near ``a / (2 - a)``. ``overlap(hole, hole.roll(1, 0))``
    finds a generator that makes the same hole for every picture. NaN where both are
    empty. Raises ``ContractError`` for grey holes or shapes that differ.
    """
    if check_hole(hole).shape != check_hole(other, "other").shape:
        raise ContractError(
            f"hole {tuple(hole.shape)} and other {tuple(other.shape)} differ in shape"
        )
    both, either = hole * other, torch.maximum(hole, other)
    return both.sum((1, 2, 3)) / either.sum((1, 2, 3))


def straight_through(
    score: Tensor, ratio: float | Tensor, temperature: float = 1.0
) -> Tensor:
    """``mined_holes``, with the gradient of a soft threshold put in its place.

    The value is binary; backwards it is ``sigmoid((t - s) / temperature)``, ``t`` the
    highest score in the hole, taken as a constant. Lesson 09 shows what goes wrong with
    it. Raises ``ContractError`` as ``mined_holes`` does.
    """
    hole = mined_holes(score, ratio)
    inside = score.detach().masked_fill(~hole.bool(), -math.inf)
    edge = inside.amax((1, 2, 3), keepdim=True)
    soft = torch.sigmoid((edge - score) / temperature)
    return hole + (soft - soft.detach())


def free_holes(score: Tensor, generator: torch.Generator) -> Tensor:
    """Each pixel missing by itself, with the probability ``sigmoid(-score)``.

    ``(N, 1, H, W)`` twice; ``generator`` is a CPU generator. The value is binary; the
    gradient is the probability's (straight-through). Nothing holds the area: lesson 09
    shows what becomes of it. Raises ``ContractError`` for NaN.
    """
    chance = torch.sigmoid(-_checked(score))
    draw = torch.rand(score.shape, generator=generator).to(score)
    hole = (draw < chance.detach()).to(score.dtype)
    return hole + (chance - chance.detach())


def _checked(score: Tensor) -> Tensor:
    if score.dim() != 4 or score.shape[1] != 1 or not score.is_floating_point():
        raise ContractError(
            f"score {tuple(score.shape)} of {score.dtype}: expected floats (N, 1, H, W)"
        )
    if bad := int(score.isnan().sum()):
        raise ContractError(
            f"score holds {bad} NaN among {score.numel()} values: a generator that "
            "diverged, or a map of errors of pixels that were never hidden"
        )
    return score


def _pixels(ratio: float | Tensor, order: Tensor) -> Tensor:
    """How many pixels of each sample of ``order (N, H * W)`` go missing."""
    count, area = order.shape
    given = ratio.detach().cpu() if isinstance(ratio, Tensor) else ratio
    share = torch.as_tensor(given, dtype=torch.float64)  # not every device has it
    if share.dim() > 1 or share.numel() not in (1, count):
        raise ContractError(
            f"ratio {tuple(share.shape)}: expected one number or ({count},), one for "
            "each picture"
        )
    if not ((share > 0) & (share < 1)).all():
        raise ContractError(
            f"ratio {share.flatten().tolist()}: a share between 0 and 1, such as 0.35"
        )
    pixels = (share * area).round().long().clamp(1, area - 1)
    return pixels.to(order.device).expand(count)


def _budget(budget: float | Tensor, count: int) -> Tensor:
    """The budget of each picture, ``(N, 1)`` or one number, on the CPU."""
    given = budget.detach().cpu() if isinstance(budget, Tensor) else budget
    limit = torch.as_tensor(given, dtype=torch.float64)
    if limit.dim() > 1 or limit.numel() not in (1, count):
        raise ContractError(
            f"budget {tuple(limit.shape)}: expected one number or ({count},), one for "
            "each picture"
        )
    if not ((limit > 0) & (limit < math.inf)).all():
        raise ContractError(
            f"budget {limit.flatten().tolist()}: a mean error above 0, such as 0.05"
        )
    return limit.view(-1, 1)


def _frame(order: Tensor, margin: float) -> Tensor:
    """Where nothing may go missing, ``(1, 1, H, W)``."""
    if not 0 <= margin < 0.5:
        raise ContractError(f"margin {margin}: expected 0 <= margin < 0.5 sides")
    height, width = order.shape[-2:]
    top, left = (math.ceil(margin * n) for n in (height, width))
    frame = torch.ones(1, 1, height, width, dtype=torch.bool, device=order.device)
    frame[..., top : height - top, left : width - left] = False
    return frame


def _swell(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Smooth noise ``(N, 1, H, W)``, in each sample of mean 0 and deviation 1."""
    if generator is None:
        raise ContractError("noise needs a generator that it is drawn from")
    coarse = torch.randn(len(like), 1, SWELLS, SWELLS, generator=generator)
    smooth = F.interpolate(
        coarse.to(like), like.shape[-2:], mode="bicubic", align_corners=True
    )
    middle = smooth.mean((2, 3), keepdim=True)
    width = smooth.std((2, 3), correction=0, keepdim=True)
    return (smooth - middle) / width.clamp(min=1e-6)
