"""Exercises of lesson 06: contextual attention."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.exercises import Cases, Exercise
from course_lib.exercises.comparison import difference

# ------------------------------------------------------------------------------- 06.1


def best_match(
    query: torch.Tensor,
    background: torch.Tensor,
    hole: torch.Tensor,
    place: tuple[int, int],
) -> tuple[tuple[int, int] | None, float]:
    """Where the background looks most like the query at one place, and how much so.

    ``query`` and ``background`` are (C, H, W), ``hole`` is (1, H, W), 1 = missing in
    the background. The patch of a place (row, column) is 3 x 3, around it, in all
    channels, and 0 outside the map. Compares the query's patch at ``place`` with each
    background patch in which nothing is missing (outside the map nothing is) by the
    cosine of the angle between them, which is 0 for a patch of zeros. Under the hole
    the background may be NaN.

    Returns [0] the (row, column) of the largest cosine, two ints, of equal ones the
    first row by row, and [1] the cosine, a float. If there is nothing to compare with,
    returns None and NaN.
    """
    unfold = torch.nn.functional.unfold
    width = query.shape[2]
    wanted = unfold(query[None], 3, padding=1)[0, :, place[0] * width + place[1]]
    keys = unfold(background[None], 3, padding=1)[0]
    usable = unfold(hole[None], 3, padding=1)[0].sum(0) == 0
    if not usable.any():
        return None, float("nan")
    cosines = torch.nn.functional.cosine_similarity(wanted[:, None], keys, dim=0)
    best = int(cosines.masked_fill(~usable, -2.0).argmax())
    return (best // width, best % width), float(cosines[best])


def _numbers(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _box(shape: tuple[int, ...], rows: slice, columns: slice) -> Tensor:
    """A hole of this shape that is missing in one box."""
    hole = torch.zeros(shape, dtype=torch.float64)
    hole[..., rows, columns] = 1
    return hole


def _blocks() -> Tensor:
    """Three like blocks of four ones, whose patches have cosines without rounding."""
    blocks = torch.zeros(1, 8, 9, dtype=torch.float64)
    for row, column in ((1, 6), (5, 1), (5, 6)):
        blocks[0, row : row + 2, column : column + 2] = 1
    return blocks


def _match_cases() -> Cases:
    draw = torch.Generator().manual_seed(61)
    wide, tall = _numbers(draw, 2, 6, 7), _numbers(draw, 3, 9, 5)
    loud, turned = wide.clone(), _numbers(draw, 7, 6, 4).permute(2, 1, 0)
    loud[:, 4, 5] *= 40  # the largest products, and not the likeliest
    like, near = (map_ + 0.4 * _numbers(draw, *map_.shape) for map_ in (wide, tall))
    middle = _box((1, 6, 7), slice(2, 4), slice(2, 4))
    side = _box((1, 9, 5), slice(5, 9), slice(0, 3))
    torn = torch.where(side == 1, torch.nan, tall)
    grid = torch.zeros_like(side)
    grid[:, 1::3, 1::3] = 1
    blocks = _blocks()
    return {
        "a hole in the middle": (like, wide, middle, (2, 3)),
        "beside the hole": (near, tall, side, (4, 1)),
        "a loud place": (like, loud, middle, (3, 2)),
        "odd sides, a corner": (near, tall, side, (0, 4)),
        "an edge": (near, tall, side, (3, 0)),
        "three patches alike": (blocks, blocks, 0 * blocks, (5, 6)),
        "only unlike patches": (0 * wide + 1, -1 - wide.abs(), middle, (1, 1)),
        "NaN under the hole": (near, torn, side, (6, 1)),
        "a query of zeros": (0 * wide, wide, middle, (2, 2)),
        "nothing missing, the map itself": (wide, wide, 0 * middle, (4, 6)),
        "known places, no known patch": (near, tall, grid, (2, 2)),
        "everything missing": (near, tall, 0 * grid + 1, (4, 4)),
        "not contiguous": (turned, turned.flip(2), middle[..., :6, :7], (2, 2)),
    }


def _patches(x: Tensor) -> Tensor:
    """``(N, 9 C, H * W)`` of a map ``(N, C, H, W)``: 3 x 3, zeros outside."""
    return F.unfold(x, 3, padding=1)


def _cosine(wanted: Tensor, keys: Tensor) -> Tensor:
    return F.cosine_similarity(wanted, keys, dim=0)


def _untouched(hole: Tensor) -> Tensor:
    """Which places have a patch with nothing missing: ``(H * W,)``."""
    return _patches(hole[None])[0].sum(0) == 0


def _mean_removed(wanted: Tensor, keys: Tensor) -> Tensor:
    return _cosine(wanted - wanted.mean(0), keys - keys.mean(0))


def _pixel_by_pixel(wanted: Tensor, keys: Tensor) -> Tensor:
    """The mean of nine cosines, one for each pixel of a patch."""
    apart = (part.unflatten(0, (-1, 9)) for part in (wanted, keys))
    return _cosine(*apart).mean(0)


@dataclass(frozen=True)
class _Match:
    """The reference with something else in the place of one of its steps."""

    score: Callable[[Tensor, Tensor], Tensor] = _cosine
    patches: Callable[[Tensor], Tensor] = _patches
    usable: Callable[[Tensor], Tensor] = _untouched
    unusable: float = -math.inf
    last: bool = False  # of equal ones
    none: Any = (None, math.nan)

    def __call__(
        self, query: Tensor, background: Tensor, hole: Tensor, place: tuple[int, int]
    ) -> Any:
        width, usable = query.shape[2], self.usable(hole)
        if not usable.any():
            return self.none
        at = place[0] * width + place[1]
        wanted = self.patches(query[None])[0, :, at, None]
        scores = self.score(wanted, self.patches(background[None])[0])
        scores = scores.masked_fill(~usable, self.unusable)
        found = (scores == scores.max()).nonzero().flatten().tolist() or [0]
        best = found[-1 if self.last else 0]
        return (best // width, best % width), float(scores[best])


def _distance(wanted: Tensor, keys: Tensor) -> Tensor:
    return -(wanted - keys).norm(dim=0)


def _with_place(
    change: Callable[[int, int], tuple[int, int]],
) -> Callable[..., tuple[Any, float]]:
    """The right answer with its place written in another way."""

    def answer(*case: Any) -> tuple[Any, float]:
        found, cosine = best_match(*case)
        return change(*found) if found else found, cosine

    return answer


# ------------------------------------------------------------------------------- 06.2


def attend(
    query: torch.Tensor, background: torch.Tensor, hole: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contextual attention with patches of 3 x 3, without propagation.

    ``query`` and ``background`` are (N, C, H, W); ``hole`` is (N, 1, H, W), 1 = missing
    in the background. The patch of a place is 3 x 3, around it, and 0 outside the map.
    A background patch, a key, is usable if nothing in it is missing (outside nothing
    is). Returns

    [1] the attention, (N, H W, H W), a row for each query and a column for each key,
    both row by row: over the usable keys the softmax of ``scale`` times the product of
    the query's patch and the key's, divided by the key's length, or by 1e-4 where it is
    shorter; 0 for all others. With no usable key in a sample its attention is 0.

    [0] y, (N, C, H, W): each query pastes, with the middle at its place, the sum of the
    background patches times its attention; where pasted patches overlap, their mean.
    Nothing under the hole, not even NaN, changes y or the attention.
    """
    unfold, fold = torch.nn.functional.unfold, torch.nn.functional.fold
    usable = unfold(hole, 3, padding=1).amax(1, keepdim=True) == 0
    keys = unfold(background.masked_fill(hole == 1, 0), 3, padding=1)
    queries = unfold(query, 3, padding=1)
    unit = torch.nn.functional.normalize(keys, dim=1, eps=1e-4)
    scores = scale * queries.transpose(1, 2) @ unit
    lowest = torch.finfo(scores.dtype).min
    shares = scores.masked_fill(~usable, lowest).softmax(2)
    attention = shares.masked_fill(~usable, 0)
    pasted = keys @ attention.transpose(1, 2)
    ones = unfold(torch.ones_like(query), 3, padding=1)
    size = query.shape[2:]
    return fold(pasted, size, 3, padding=1) / fold(ones, size, 3, padding=1), attention


def _attend_cases() -> Cases:
    draw = torch.Generator().manual_seed(62)
    query, map_ = _numbers(draw, 1, 2, 6, 6), _numbers(draw, 1, 2, 6, 6)
    many, maps = _numbers(draw, 3, 2, 5, 7), _numbers(draw, 3, 2, 5, 7)
    hole = _box((1, 1, 6, 6), slice(2, 4), slice(1, 4))
    holes = _box((3, 1, 5, 7), slice(1, 3), slice(2, 4))
    holes[1], holes[2] = holes[0].flip(-1), 1
    single = _box((1, 1, 6, 6), slice(0, 6), slice(0, 6))
    single[..., 2:5, 3:6] = 0
    half = map_.clone()
    half[..., 3:, :] = 0
    turned = _numbers(draw, 1, 5, 7, 2).permute(0, 3, 2, 1)
    torn, loud = (torch.where(hole == 1, fill, map_) for fill in (torch.nan, 1e3))
    return {
        "a hole in the middle": (query, map_, hole, 1.0),
        "nothing missing, scale 3": (query, map_, 0 * hole, 3.0),
        "a batch, each with its hole, one full": (many, maps, holes, 2.0),
        "everything missing": (query, map_, 0 * hole + 1, 10.0),
        "one usable key": (query, map_, single, 10.0),
        "NaN under the hole": (query, torn, hole, 2.0),
        "large values under the hole": (query, loud, hole, 2.0),
        "every usable key the same": (query, map_, hole, 0.0),
        "zeros in the background": (query, half, hole, 2.0),
        "a map that fills itself": (map_, map_, hole, 10.0),
        "a large scale": (query, map_, hole, 500.0),
        "not contiguous": (turned, turned.flip(3), holes[:1].transpose(2, 3), 2.0),
    }


def _ask_attend(
    answer: Callable[..., Any],
    query: Tensor,
    background: Tensor,
    hole: Tensor,
    scale: float,
) -> Any:
    """Both results by name, the attention first: a wrong ``y`` may come from it."""
    found = answer(query, background, hole.detach(), scale)
    if found is None or found is Ellipsis:
        return found
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError("a tuple of two is asked for: y and the attention")
    return {"the attention": found[1], "y": found[0]}


@dataclass(frozen=True)
class _Attend:
    """The reference with other functions in the places of its own."""

    clean: Callable[[Tensor, Tensor], Tensor] = lambda b, h: b.masked_fill(h == 1, 0)
    patches: Callable[[Tensor], Tensor] = _patches
    queries: Callable[[Tensor], Tensor] = torch.clone
    unit: Callable[[Tensor], Tensor] = lambda k: F.normalize(k, dim=1, eps=1e-4)
    usable: Callable[[Tensor], Tensor] = lambda h: _patches(h).amax(1, True) == 0
    shares: Callable[[Tensor, Tensor], Tensor] | None = None
    scores: Callable[[Tensor], Tensor] = torch.clone
    after: Callable[[Tensor], Tensor] = torch.clone
    values: Callable[[Tensor], Tensor] = torch.clone
    divide: Callable[[Tensor], Tensor] = torch.clone  # of the number that overlap
    end: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda y, b, h: y

    def __call__(
        self, query: Tensor, background: Tensor, hole: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        usable = self.usable(hole)
        queries = self.queries(self.patches(query))
        keys = self.patches(self.clean(background, hole))
        scores = self.scores(scale * queries.transpose(1, 2) @ self.unit(keys))
        attention = self.after((self.shares or _shares)(scores, usable))
        pasted = self.values(keys) @ attention.transpose(1, 2)
        count = self.divide(_fold(_patches(torch.ones_like(query)), query))
        return self.end(_fold(pasted, query) / count, background, hole), attention


def _fold(pasted: Tensor, like: Tensor) -> Tensor:
    return F.fold(pasted, (like.shape[2], like.shape[3]), 3, padding=1)


def _shares(scores: Tensor, usable: Tensor, dim: int = 2) -> Tensor:
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~usable, lowest).softmax(dim).masked_fill(~usable, 0)


def _no_guard(scores: Tensor, usable: Tensor) -> Tensor:
    return scores.masked_fill(~usable, -torch.inf).softmax(2)


def _evenly(scores: Tensor, usable: Tensor) -> Tensor:
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~usable, lowest).softmax(2)


def _exponentials(scores: Tensor, usable: Tensor) -> Tensor:
    """A softmax by hand, without taking the largest score away first."""
    raised = scores.exp() * usable
    return raised / raised.sum(2, keepdim=True).clamp_min(1e-300)


def _one_hot(scores: Tensor, usable: Tensor) -> Tensor:
    best = scores.masked_fill(~usable, -torch.inf).argmax(2)
    return F.one_hot(best, scores.shape[2]).to(scores) * usable


def _propagated(scores: Tensor) -> Tensor:
    kernel = torch.eye(3, dtype=scores.dtype)[None, None]
    return F.conv2d(scores[:, None], kernel, padding=1)[:, 0]


def _mirrored(x: Tensor) -> Tensor:
    return F.unfold(F.pad(x, [1] * 4, mode="reflect"), 3)


def _edges_gone(hole: Tensor) -> Tensor:
    """Which places have a whole patch inside the map, with nothing missing."""
    around = F.pad(hole, [1] * 4, value=1.0)
    return F.unfold(around, 3).amax(1, keepdim=True) == 0


def _middles(
    query: Tensor, background: Tensor, hole: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Each query pastes a pixel, not a patch."""
    attention = attend(query, background, hole, scale)[1]
    known = background.masked_fill(hole == 1, 0).flatten(2)
    return (known @ attention.transpose(1, 2)).view_as(query), attention


# ------------------------------------------------------------------------------- 06.3


def sources(
    attention: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """From how many places each query copies, how much from the first, and from where.

    ``attention`` is (N, H W, H W), a row for each query and a column for each key, both
    row by row of maps that are ``width`` wide; a row sums to 1, or is all zeros, if
    there was nothing to copy from. Returns, in the dtype of ``attention``,

    [0] the effective number of keys of each query, (N, H W): exp of the row's entropy,
    which is the sum of -share * ln(share), and a share of 0 adds nothing to it;

    [1] the largest share of each row, (N, H W);

    [2] how far away that key is, (N, H W, 2): its row less the query's row, and its
    column less the query's column; of equal shares, the first key's.

    All three are NaN for a row of zeros.
    """
    count = torch.special.entr(attention).sum(2).exp()
    largest, best = attention.max(2)
    place = torch.arange(attention.shape[1])
    down = best // width - place // width
    right = best % width - place % width
    offset = torch.stack([down, right], 2).to(attention.dtype)
    nothing = largest == 0
    nan = float("nan")
    return (
        count.masked_fill(nothing, nan),
        largest.masked_fill(nothing, nan),
        offset.masked_fill(nothing[..., None], nan),
    )


def _source_cases() -> Cases:
    draw = torch.Generator().manual_seed(63)

    def shares(n: int, places: int, scale: float) -> Tensor:
        return (scale * _numbers(draw, n, places, places)).softmax(2)

    by_hand = torch.zeros(1, 6, 6, dtype=torch.float64)
    for query, keys in enumerate(([5], [0, 5], [0, 1, 2, 3], [3], [1, 4, 5], range(6))):
        by_hand[0, query, list(keys)] = 1 / len(keys)
    some = shares(2, 15, 3.0)
    some[:, ::4] = 0
    sparse = shares(3, 35, 4.0)
    sparse = sparse * (sparse > 0.05)
    eye = torch.eye(12, dtype=torch.float64)[None]
    ties = (2 * _numbers(draw, 1, 20, 20)).round().softmax(2)
    return {
        "2 x 3, equal shares": (by_hand, 3),
        "a batch, odd sides": (shares(2, 35, 2.0), 7),
        "rows of zeros": (some, 5),
        "most shares 0": (sparse / sparse.sum(2, keepdim=True), 5),
        "nothing missing: each copies itself": (eye.expand(2, -1, -1), 4),
        "everything missing": (torch.zeros(2, 12, 12, dtype=torch.float64), 3),
        "equal largest shares": (ties, 5),
        "one row": (shares(1, 9, 2.0), 9),
        "one column": (shares(1, 9, 2.0), 1),
        "not contiguous, float32": (shares(2, 12, 1.0).float(), 4),
    }


Sources = tuple[Tensor, Tensor, Tensor]


def _counted(count: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Sources]:
    """The reference with another number of sources."""

    def answer(attention: Tensor, width: int) -> Sources:
        right, largest, offset = sources(attention, width)
        return count(attention).masked_fill(right.isnan(), torch.nan), largest, offset

    return answer


def _moved(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Sources]:
    """The reference with another offset."""

    def answer(attention: Tensor, width: int) -> Sources:
        count, largest, offset = sources(attention, width)
        return count, largest, change(offset)

    return answer


def _entropy(attention: Tensor) -> Tensor:
    return torch.special.entr(attention).sum(2)


def _naive(attention: Tensor) -> Tensor:
    return (-attention * attention.log()).sum(2).exp()


def _place(attention: Tensor, width: int) -> Sources:
    """Where the best key is, not how far."""
    count, largest, offset = sources(attention, width)
    at = torch.arange(attention.shape[1])
    own = torch.stack([at // width, at % width], 1)
    return count, largest, offset + own


def _mean_offset(attention: Tensor, width: int) -> Sources:
    """The mean of all keys' offsets, by their shares."""
    count, largest, offset = sources(attention, width)
    at = torch.arange(attention.shape[1])
    own = torch.stack([at // width, at % width], 1).to(attention)
    return (
        count,
        largest,
        (attention @ own - own).masked_fill(offset.isnan(), torch.nan),
    )


def _across(attention: Tensor, width: int) -> Sources:
    return sources(attention, attention.shape[1] // width)


def _last(attention: Tensor, width: int) -> Sources:
    count, largest, _ = sources(attention, width)
    flipped = sources(attention.flip((1, 2)), width)[2].flip(1)
    return count, largest, -flipped


def _untold(attention: Tensor, width: int) -> Sources:
    """Rows of zeros like all others."""
    largest, best = attention.max(2)
    place = torch.arange(attention.shape[1])
    offset = [best // width - place // width, best % width - place % width]
    return _entropy(attention).exp(), largest, torch.stack(offset, 2).to(attention)


# ------------------------------------------------------------------------------- 06.4


def slope_penalty(
    critic: torch.nn.Module,
    real: torch.Tensor,
    fake: torch.Tensor,
    hole: torch.Tensor,
    t: torch.Tensor,
) -> torch.Tensor:
    """How far a critic's slope inside the hole is from 1, between real and fake.

    ``real`` and ``fake`` are (N, 3, H, W), ``hole`` is (N, 1, H, W), 1 = missing, ``t``
    is (N, 1, 1, 1), from 0 to 1. ``critic(pictures)`` gives scores of any shape, those
    of a sample from that sample alone. At real + t * (fake - real), take the gradient
    of the sum of a sample's scores with respect to its picture. Its norm is the root of
    the sum of its squares over all channels inside the hole; outside, the gradient has
    no part in it, even if it is infinite. Returns the mean over the samples of
    (norm - 1) ** 2, a tensor without dimensions.

    It can be stepped down: its gradient for the critic's parameters is right, and
    finite for a sample without a hole. No gradient reaches ``real`` and ``fake``, and
    no ``.grad`` and no ``requires_grad`` of any tensor or parameter changes.
    """
    real, fake = real.detach(), fake.detach()
    between = (real + t * (fake - real)).requires_grad_()
    scores = critic(between)
    (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    inside = torch.where(hole == 1, slope, 0)
    return (inside.flatten(1).norm(dim=1) - 1).square().mean()


class _Critic(nn.Module):
    """Scores of a picture, and beside them something endlessly steep where ``torn``."""

    def __init__(self, layers: nn.Module, torn: Tensor | None) -> None:
        super().__init__()
        self.layers, self.torn = layers, torn

    def forward(self, image: Tensor) -> Tensor:
        scores = self.layers(image)
        if self.torn is None:
            return scores
        steep = torch.where(self.torn == 1, image - image.detach(), 1).sqrt()
        return scores.flatten(1).sum(1) + steep.flatten(1).sum(1)


@dataclass(frozen=True)
class _Judge:
    """What the critic is like; it is made anew for every answer."""

    seed: int
    linear: bool = False  # its slope is its weights, wherever it is taken
    patches: bool = False  # a score for each patch, not for each picture
    torn: bool = False  # endlessly steep outside the hole
    stale: bool = False  # gradients left from before
    learned: bool = False  # fake comes from a generator, with its graph

    def critic(self, hole: Tensor) -> _Critic:
        draw = torch.Generator().manual_seed(self.seed)
        layers = self._layers().double()
        with torch.no_grad():
            layers(torch.zeros(1, 3, *hole.shape[2:], dtype=torch.float64))
            for parameter in layers.parameters():
                parameter.copy_(_numbers(draw, *parameter.shape) / 2)
                parameter.grad = torch.ones_like(parameter) if self.stale else None
        return _Critic(layers, 1 - hole if self.torn else None)

    def _layers(self) -> nn.Sequential:
        one = [nn.Flatten(), nn.LazyLinear(1)]
        if self.linear:
            return nn.Sequential(*one)
        last = [nn.Conv2d(4, 2, 3, 1, 1)] if self.patches else one
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), *last)


def _slope_cases() -> Cases:
    draw = torch.Generator().manual_seed(64)

    def pair(*shape: int) -> tuple[Tensor, Tensor]:
        both = torch.rand((2, *shape), generator=draw, dtype=torch.float64)
        return both[0], both[1]

    def part(count: int) -> Tensor:
        return torch.rand((count, 1, 1, 1), generator=draw, dtype=torch.float64)

    small, odd, square = pair(2, 3, 5, 4), pair(3, 3, 9, 7), pair(2, 3, 8, 8)
    few = _box((2, 1, 5, 4), slice(1, 3), slice(1, 4))
    few[1, :, 2:] = few[1, ..., 2:] = 0  # one pixel: norms below 1 and above
    holes = _box((3, 1, 9, 7), slice(2, 7), slice(1, 5))
    holes[1] = holes[0].flip(-1) * (torch.arange(7) % 2)
    box = _box((2, 1, 8, 8), slice(2, 6), slice(3, 7))
    mixed = holes.clone()
    mixed[0], mixed[2] = 0, 1
    turned = tuple(part_.transpose(2, 3) for part_ in pair(2, 3, 6, 9))
    across = _box((2, 1, 9, 6), slice(2, 6), slice(1, 4))
    return {
        "a linear critic": (_Judge(1, linear=True), *small, few, part(2)),
        "a batch, odd sides": (_Judge(2), *odd, holes, part(3)),
        "a score for each patch": (_Judge(3, patches=True), *square, box, part(2)),
        "at the real, at the fake": (_Judge(4), *square, box, part(2).round()),
        "endlessly steep outside": (_Judge(5, torn=True), *odd, holes, part(3)),
        "one hole empty, one full": (_Judge(6), *odd, mixed, part(3)),
        "nothing missing": (_Judge(7), *square, 0 * box, part(2)),
        "everything missing": (_Judge(8), *square, 0 * box + 1, part(2)),
        "gradients left from before": (_Judge(9, stale=True), *square, box, part(2)),
        "a fake with its graph": (_Judge(10, learned=True), *square, box, part(2)),
        "not contiguous": (_Judge(11, patches=True), *turned, across, part(2)),
    }


def _ask_slope(
    answer: Callable[..., Any],
    setting: _Judge,
    real: Tensor,
    fake: Tensor,
    hole: Tensor,
    t: Tensor,
) -> Any:
    """The penalty, its gradients, and what else is not as it was."""
    critic = setting.critic(hole)
    gain = torch.ones((), dtype=real.dtype, requires_grad=setting.learned)
    own = {f"critic.{name}": p for name, p in critic.named_parameters()}
    given = {"real": real.clone(), "fake": fake * gain, **own}
    before = _state(given)
    got = answer(critic, given["real"], given["fake"], hole.clone(), t.clone())
    if got is None or got is Ellipsis:
        return got
    now = _state(given)
    changed = [n for n in now if difference(now[n], before[n], 0.0, 0.0)]
    found = {"penalty": got, "changed": changed, "slopes": None}
    if changed or not isinstance(got, Tensor) or not got.requires_grad or got.dim():
        return found
    leaves = {**own, MAKER: gain} if setting.learned else own
    slopes = torch.autograd.grad(got, list(leaves.values()), allow_unused=True)
    found["slopes"] = {
        name: torch.zeros_like(leaf) if slope is None else slope
        for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)
    }
    return found


def _state(given: dict[str, Tensor]) -> dict[str, Any]:
    """Every ``.grad`` and every ``requires_grad``, by name."""
    leaves = {name: tensor for name, tensor in given.items() if tensor.is_leaf}
    state: dict[str, Any] = {}
    for name, leaf in leaves.items():
        state[f"{name}.grad"] = (
            None if leaf.grad is None else leaf.grad.detach().clone()
        )
        state[f"{name}.requires_grad"] = leaf.requires_grad
    return state


def _judge_slope(
    found: Any, setting: _Judge, real: Tensor, fake: Tensor, hole: Tensor, t: Tensor
) -> str:
    """What is wrong, in the order in which its author can mend it."""
    right = _ask_slope(slope_penalty, setting, real, fake, hole, t)
    got = found["penalty"]
    text = difference(got, right["penalty"], ATOL, RTOL)
    if text and setting.torn and isinstance(got, Tensor) and got.isnan().any():
        text += "\n  infinity times 0 is NaN: select what is inside with torch.where"
    if text:
        return text
    if found["changed"]:
        names = ", ".join(found["changed"][:2])
        return f"the penalty is right, but this is not as it was: {names}."
    if found["slopes"] is None:
        return (
            "the penalty is right, but no gradient flows through it: the slope must "
            "keep its own graph; look for create_graph, .detach() and .item()."
        )
    for name, slope in right["slopes"].items():
        text = difference(found["slopes"][name], slope, ATOL, RTOL, f" for {name}")
        if text and name == MAKER:
            return f"the penalty is right, but its gradient reaches {MAKER}: detach it."
        if text:
            text = text.replace("your answer", "the gradient")
            return f"the penalty is right, its gradient is not: {text}"
    return ""


MAKER = "the network that made `fake`"
ATOL, RTOL = 1e-9, 1e-7


@dataclass(frozen=True)
class _Slope:
    """The reference with other functions in the places of its own."""

    at: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.lerp
    total: Callable[[Tensor], Tensor] = torch.sum
    inside: Callable[[Tensor, Tensor], Tensor] = lambda s, h: torch.where(h == 1, s, 0)
    norm: Callable[[Tensor], Tensor] = lambda s: s.flatten(1).norm(dim=1)
    end: Callable[[Tensor], Tensor] = lambda norm: (norm - 1).square().mean()
    seen: Callable[[Tensor, Tensor], Tensor] = lambda between, hole: between
    graph: bool = True
    detached: bool = True
    backward: bool = False
    frozen: bool = False

    def __call__(
        self, critic: nn.Module, real: Tensor, fake: Tensor, hole: Tensor, t: Tensor
    ) -> Tensor:
        if self.detached:
            real, fake = real.detach(), fake.detach()
        between = self.at(real, fake, t).clone().requires_grad_()
        total = self.total(critic(self.seen(between, hole)))
        if self.backward:
            total.backward(retain_graph=True)
        (slope,) = torch.autograd.grad(total, between, create_graph=self.graph)
        if self.frozen:
            critic.requires_grad_(False)
        return self.end(self.norm(self.inside(slope, hole)))


def _by_area(slope: Tensor, hole: Tensor) -> Tensor:
    return torch.where(hole == 1, slope, 0) / hole.mean((1, 2, 3), True).clamp_min(1e-6)


EXERCISES = (
    Exercise(
        "06.1",
        reference=best_match,
        cases=_match_cases,
        wrong={
            "a product": _Match(lambda wanted, keys: (wanted * keys).sum(0)),
            "keys of length one, not the query": _Match(
                lambda wanted, keys: (wanted * F.normalize(keys, dim=0)).sum(0)
            ),
            "the nearest patch": _Match(_distance),
            "the mean taken away": _Match(_mean_removed),
            "nine cosines, their mean": _Match(_pixel_by_pixel),
            "the angle's sign lost": _Match(lambda w, k: _cosine(w, k).abs()),
            "the least like": _Match(lambda wanted, keys: -_cosine(wanted, keys)),
            "NaN for a patch of zeros": _Match(
                lambda w, k: (w * k).sum(0) / (w.norm(dim=0) * k.norm(dim=0))
            ),
            "a pixel, no patch": _Match(patches=lambda x: x.flatten(2)),
            "patches of 5 x 5": _Match(patches=lambda x: F.unfold(x, 5, padding=2)),
            "mirrored at the border": _Match(patches=lambda x: _mirrored(x)),
            "the hole forgotten": _Match(
                usable=lambda h: torch.ones_like(h).flatten() == 1
            ),
            "only the middle known": _Match(usable=lambda h: h.flatten() == 0),
            "anything known": _Match(
                usable=lambda h: F.max_pool2d(1 - h, 3, 1, 1).flatten() == 1
            ),
            "half of it known": _Match(
                usable=lambda h: _patches(h[None])[0].mean(0) < 0.5
            ),
            "from inside the hole": _Match(usable=lambda h: h.flatten() == 1),
            "missing outside": _Match(usable=lambda h: _edges_gone(h[None]).flatten()),
            "0 for what is not usable": _Match(unusable=0.0),
            "times what is usable": lambda query, b, hole, place: _Match(
                lambda w, k: _cosine(w, k) * _untouched(hole),
                usable=lambda h: _untouched(h) | _untouched(h).any(),
            )(query, b, hole, place),
            "the last of equal ones": _Match(last=True),
            "the first place if there is none": _Match(none=((0, 0), math.nan)),
            "0 if there is none": _Match(none=(None, 0.0)),
            "column first": _with_place(lambda row, column: (column, row)),
            "an offset": lambda q, b, h, place: _with_place(
                lambda row, column: (row - place[0], column - place[1])
            )(q, b, h, place),
            "the place turned": lambda query, b, hole, place: best_match(
                query.transpose(1, 2),
                b.transpose(1, 2),
                hole.transpose(1, 2),
                place[::-1],
            ),
            "query and background swapped": lambda query, b, *rest: _Match()(
                b.nan_to_num(), query, *rest
            ),
            "cosine first": lambda *case: best_match(*case)[::-1],
            "a tensor for the cosine": lambda *case: (
                best_match(*case)[0],
                torch.tensor(best_match(*case)[1]),
            ),
        },
    ),
    Exercise(
        "06.2",
        reference=attend,
        cases=_attend_cases,
        atol=1e-9,
        rtol=1e-7,
        gradient=True,
        call=_ask_attend,
        wrong={
            "the hole forgotten": _Attend(
                usable=lambda h: torch.ones_like(h.flatten(2)) == 1
            ),
            "inverted": _Attend(usable=lambda h: _patches(1 - h).amax(1, True) == 0),
            "only the middle known": _Attend(usable=lambda h: h.flatten(2) == 0),
            "missing outside": _Attend(usable=_edges_gone),
            "one hole for all": lambda q, b, h, scale: attend(
                q, b, h[:1].expand_as(h), scale
            ),
            "scores of 0": _Attend(shares=lambda s, ok: (s * ok).softmax(2)),
            "as published, 0 and 0 again": _Attend(
                shares=lambda s, ok: (s * ok).softmax(2) * ok
            ),
            "cut after the softmax": _Attend(shares=lambda s, ok: s.softmax(2) * ok),
            "NaN with no usable key": _Attend(shares=_no_guard),
            "evenly with no usable key": _Attend(shares=_evenly),
            "exponentials by hand": _Attend(shares=_exponentials),
            "softmax over the queries": _Attend(shares=lambda s, ok: _shares(s, ok, 1)),
            "the best key alone": _Attend(shares=_one_hot),
            "query patches of length one": _Attend(
                queries=lambda q: F.normalize(q, dim=1, eps=1e-4)
            ),
            "no length at all": _Attend(unit=torch.clone),
            "queries divided, keys not": _Attend(
                queries=lambda q: F.normalize(q, dim=1, eps=1e-4), unit=torch.clone
            ),
            "length squared": _Attend(
                unit=lambda k: k / k.square().sum(1, True).clamp_min(1e-4)
            ),
            "1e-4 added to each square": _Attend(
                unit=lambda k: k / (k.square() + 1e-4).sum(1, True).sqrt()
            ),
            "lengths over the places": _Attend(
                unit=lambda k: F.normalize(k, dim=2, eps=1e-4)
            ),
            "no scale": lambda q, b, h, scale: attend(q, b, h, 1.0),
            "divided by the scale": lambda q, b, h, scale: attend(
                q, b, h, 1 / max(scale, 1e-9)
            ),
            "by the root of the length too": lambda q, b, h, scale: attend(
                q, b, h, scale / (9 * q.shape[1]) ** 0.5
            ),
            "propagated": _Attend(scores=_propagated),
            "mirrored at the border": _Attend(patches=_mirrored),
            "lengths pasted too": _Attend(values=lambda k: F.normalize(k, dim=1)),
            "a pixel pasted": _middles,
            "added up": _Attend(divide=torch.ones_like),
            "divided by 9": _Attend(divide=lambda count: 0 * count + 9),
            "divided by 4": _Attend(divide=lambda count: 0 * count + 4),
            "NaN pasted": _Attend(clean=lambda b, h: b),
            "multiplied by what is known": _Attend(clean=lambda b, h: b * (1 - h)),
            "in the hole only": _Attend(end=lambda y, b, h: torch.where(h == 1, y, b)),
            "known places of y emptied": _Attend(end=lambda y, b, h: y * h),
            "query and background swapped": lambda q, b, h, scale: attend(
                b.nan_to_num(), q, h, scale
            ),
            "the map fills itself": lambda q, b, h, scale: attend(b, b, h, scale),
            "keys detached": _Attend(
                unit=lambda k: F.normalize(k.detach(), dim=1, eps=1e-4)
            ),
            "lengths detached": _Attend(
                unit=lambda k: k / k.detach().norm(dim=1, keepdim=True).clamp_min(1e-4)
            ),
            "attention detached": _Attend(after=torch.detach),
            "values detached": _Attend(values=torch.detach),
            "keys before queries": lambda *case: (
                attend(*case)[0],
                attend(*case)[1].transpose(1, 2),
            ),
            "attention first": lambda *case: attend(*case)[::-1],
        },
    ),
    Exercise(
        "06.3",
        reference=sources,
        cases=_source_cases,
        wrong={
            "entropy": _counted(_entropy),
            "entropy in bits": _counted(lambda a: _entropy(a) / math.log(2)),
            "exp of bits": _counted(lambda a: (_entropy(a) / math.log(2)).exp()),
            "2 to the entropy": _counted(lambda a: _entropy(a).exp2()),
            "the other sign": _counted(lambda a: (-_entropy(a)).exp()),
            "part of the largest entropy": _counted(
                lambda a: _entropy(a) / math.log(a.shape[2])
            ),
            "NaN for a share of 0": _counted(_naive),
            "a number added in the logarithm": _counted(
                lambda a: (-a * (a + 1e-3).log()).sum(2).exp()
            ),
            "1 / sum of squares": _counted(lambda a: 1 / a.square().sum(2)),
            "1 / largest": _counted(lambda a: 1 / a.amax(2)),
            "keys with a share": _counted(lambda a: (a > 0).sum(2).to(a)),
            "keys above the mean": _counted(
                lambda a: (a > 1 / a.shape[2]).sum(2).to(a)
            ),
            "of keys, not of queries": lambda a, width: sources(
                a.transpose(1, 2), width
            ),
            "mean over the batch": lambda a, width: sources(
                a.mean(0, keepdim=True).expand_as(a), width
            ),
            "the other way": _moved(torch.neg),
            "column first": _moved(lambda offset: offset.flip(2)),
            "distance": _moved(lambda offset: offset.norm(dim=2)),
            "without its sign": _moved(torch.abs),
            "coordinates in front": _moved(lambda offset: offset.movedim(2, 1)),
            "whole numbers": _moved(lambda offset: offset.nan_to_num().long()),
            "the key's place": _place,
            "mean offset": _mean_offset,
            "height for width": _across,
            "the last of equal ones": _last,
            "rows of zeros like others": _untold,
            "zeros for rows of zeros": lambda a, width: tuple(
                part.nan_to_num() for part in sources(a, width)
            ),
            "one source for rows of zeros": lambda a, width: (
                sources(a, width)[0].nan_to_num(1.0),
                *sources(a, width)[1:],
            ),
            "the number alone": lambda a, width: sources(a, width)[0],
            "share first": lambda a, width: tuple(
                sources(a, width)[place] for place in (1, 0, 2)
            ),
        },
    ),
    Exercise(
        "06.4",
        reference=slope_penalty,
        cases=_slope_cases,
        call=_ask_slope,
        judge=_judge_slope,
        wrong={
            "the whole picture": _Slope(inside=lambda slope, hole: slope),
            "outside the hole": _Slope(
                inside=lambda slope, hole: torch.where(hole == 1, 0, slope)
            ),
            "multiplied by the hole": _Slope(inside=lambda slope, hole: slope * hole),
            "divided by the hole's share": _Slope(inside=_by_area),
            "the hole's values shown alone": _Slope(
                seen=lambda between, hole: between * hole
            ),
            "t turned round": _Slope(
                at=lambda real, fake, t: torch.lerp(fake, real, t)
            ),
            "at the real": _Slope(at=lambda real, fake, t: real),
            "at the fake": _Slope(at=lambda real, fake, t: fake),
            "half way": _Slope(at=lambda real, fake, t: (real + fake) / 2),
            "one t for all": _Slope(
                at=lambda real, fake, t: torch.lerp(real, fake, t[:1])
            ),
            "the mean of the scores": _Slope(total=torch.mean),
            "one norm for the batch": _Slope(norm=lambda slope: slope.norm()),
            "a norm for each pixel": _Slope(norm=lambda slope: slope.norm(dim=1)),
            "a norm for each channel": _Slope(
                norm=lambda slope: slope.flatten(2).norm(dim=2)
            ),
            "no root": _Slope(norm=lambda slope: slope.square().flatten(1).sum(1)),
            "root of the mean": _Slope(
                norm=lambda slope: slope.square().flatten(1).mean(1).sqrt()
            ),
            "a sum of absolute values": _Slope(
                norm=lambda slope: slope.abs().flatten(1).sum(1)
            ),
            "no square": _Slope(end=lambda norm: (norm - 1).mean()),
            "absolute value": _Slope(end=lambda norm: (norm - 1).abs().mean()),
            "only above 1": _Slope(end=lambda norm: (norm - 1).relu().square().mean()),
            "only below 1": _Slope(end=lambda norm: (1 - norm).relu().square().mean()),
            "towards 0": _Slope(end=lambda norm: norm.square().mean()),
            "the mean norm": _Slope(end=lambda norm: (norm.mean() - 1).square()),
            "added up": _Slope(end=lambda norm: (norm - 1).square().sum()),
            "for each sample": _Slope(end=lambda norm: (norm - 1).square()),
            "times ten": _Slope(end=lambda norm: 10 * (norm - 1).square().mean()),
            "no graph": _Slope(graph=False),
            "detached": lambda *case: _Slope()(*case).detach(),
            "a float": lambda *case: _Slope()(*case).item(),
            "by backward": _Slope(backward=True),
            "the generator reached": _Slope(detached=False),
            "the critic left frozen": _Slope(frozen=True),
        },
    ),
)
