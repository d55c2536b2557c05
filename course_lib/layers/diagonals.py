"""Sums along the diagonals of a matrix of all places by all places; lesson 06.

In contextual attention everything but two matrix products is such a sum. Row p and
column q of the matrix are places of two maps; to step to the neighbours of both at once
is to step along a diagonal. A patch is a window of places, so the scores of patches are
``windowed`` scores of places; pasted patches overlap, so what a place receives is a
``spread`` attention; and propagation adds neighbours to neighbours (``propagated``).

Each is linear and knows its own adjoint, which autograd would have to find with
a copy of the matrix for every step.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Run = tuple[int, int, int]  # places from, from + 1, ... step to places to, to + 1, ...


def windowed(scores: Tensor, side: int) -> Tensor:
    """``(N, h + r, w + r, h + r, w + r)`` with ``r = side - 1`` to ``(N, h, w, h, w)``.

    ``y[p, q] = sum over i, j < side of scores[p + (i, j), q + (i, j)]``.
    """
    return _Windowed.apply(scores, side)


def spread(shares: Tensor, side: int) -> Tensor:
    """The adjoint of ``windowed``: ``(N, h, w, ...)`` to ``(N, h + r, w + r, ...)``."""
    return _Spread.apply(shares, side)


def propagated(scores: Tensor, rows: range, h: int, w: int) -> Tensor:
    """Scores with those of their neighbours added, ``(N, len(rows) * w, h * w)``.

    ``s'[p, q] = s[p-1, q-1] + s[p, q] + s[p+1, q+1]`` with the places numbered row by
    row, then the same with them numbered column by column. As published, the
    numbering goes on at the end of a row: there a neighbour is far away.
    ``scores`` are those of the queries in ``halo(rows, h)``, row after row.
    """
    parts = halo(rows, h)
    joined = _Propagated.apply(scores, parts, h, w)
    before = parts[0].index(rows.start) if len(parts) == 1 else 2
    return joined[:, before * w : (before + len(rows)) * w]


def halo(rows: range, h: int) -> list[range]:
    """The rows of queries whose scores propagation into ``rows`` of ``h`` reads.

    Two more on each side. After the last row comes the first.
    """
    first, last = rows.start - 2, rows.stop + 2
    if last - first >= h:
        return [range(h)]
    if first < 0:
        return [range(first + h, h), range(last)]
    if last > h:
        return [range(first, h), range(last - h)]
    return [range(first, last)]


class _Windowed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, side: int) -> Tensor:
        ctx.side = side
        return _shrink(_shrink(scores, side, 1), side, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, None]:
        return _grow(_grow(push, ctx.side, 2), ctx.side, 1), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shares: Tensor, side: int) -> Tensor:
        ctx.side = side
        return _grow(_grow(shares, side, 2), side, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, None]:
        return _shrink(_shrink(push, ctx.side, 1), ctx.side, 2), None


class _Propagated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, parts: list[range], h: int, w: int) -> Tensor:
        keys = _steps(h, w)
        ctx.along, ctx.down = zip(
            (_within(step, parts, w) for step in keys), keys, strict=True
        )
        return _joined(_joined(scores, *ctx.along), *ctx.down)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, None, None, None]:
        # each of the two is its own adjoint; both are, the other way round
        return _joined(_joined(push, *ctx.down), *ctx.along), None, None, None


def _shrink(x: Tensor, side: int, axis: int) -> Tensor:
    """Sum a window of ``side`` along one axis of both maps."""
    size, other = x.shape[axis] - side + 1, x.shape[axis + 2] - side + 1
    parts = (x.narrow(axis, i, size).narrow(axis + 2, i, other) for i in range(side))
    total = next(parts).clone(memory_format=torch.contiguous_format)
    for part in parts:
        total += part
    return total


def _grow(x: Tensor, side: int, axis: int) -> Tensor:
    """The adjoint of ``_shrink``: each entry goes to ``side`` places."""
    size, other = x.shape[axis], x.shape[axis + 2]
    shape = list(x.shape)
    shape[axis], shape[axis + 2] = size + side - 1, other + side - 1
    total = x.new_zeros(shape)
    for i in range(side):
        total.narrow(axis, i, size).narrow(axis + 2, i, other).add_(x)
    return total


def _steps(h: int, w: int) -> tuple[list[Run], list[Run]]:
    """The step to the next place: row by row, and column by column."""
    last = (h - 1) * w  # where the last row begins
    return [(0, 1, h * w - 1)], [(0, w, last), (last, 1, w - 1)]


def _within(step: list[Run], parts: list[range], w: int) -> list[Run]:
    """The same step among the places of some rows, numbered as they follow."""
    found: list[Run] = []
    begins: dict[range, int] = {}
    for part in parts:
        begins[part] = w * sum(map(len, begins))
    for (place, to, many), source, target in product(step, parts, parts):
        by = to - place
        low = max(place, source.start * w, target.start * w - by)
        high = min(place + many, source.stop * w, target.stop * w - by)
        if low < high:
            here = begins[source] + low - source.start * w
            there = begins[target] + low + by - target.start * w
            found.append((here, there, high - low))
    return found


def _joined(scores: Tensor, rows: list[Run], keys: list[Run]) -> Tensor:
    """Add to each score the one a step on, and the one a step back, in both maps."""
    total = scores.clone()
    for (p, next_p, many), (q, next_q, others) in product(rows, keys):
        here = (..., slice(p, p + many), slice(q, q + others))
        there = (..., slice(next_p, next_p + many), slice(next_q, next_q + others))
        total[here] += scores[there]
        total[there] += scores[here]
    return total
