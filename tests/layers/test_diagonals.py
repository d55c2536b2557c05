"""Sums along diagonals: their definition in loops, and their adjoints."""

from itertools import product

import pytest
import torch
from torch import Tensor

from course_lib.layers.diagonals import halo, propagated, spread, windowed


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_windowed_is_its_loop(side: int):
    scores = draw(2, 5, 6, 7, 5)
    found = windowed(scores, side)
    assert found.shape == tuple(n - (side - 1) * (n != 2) for n in scores.shape)
    for y, x, v, u in product(*map(range, found.shape[1:])):
        window = product(range(side), range(side))
        expected = sum(scores[:, y + i, x + j, v + i, u + j] for i, j in window)
        torch.testing.assert_close(found[:, y, x, v, u], expected)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_spread_is_the_adjoint_of_windowed(side: int):
    more = side - 1
    small = draw(2, 2, 3, 4, 2)
    large = draw(2, 2 + more, 3 + more, 4 + more, 2 + more, seed=1)
    there, back = (windowed(large, side) * small).sum(), (spread(small, side) * large)
    torch.testing.assert_close(there, back.sum())


@pytest.mark.parametrize("name", [windowed, spread])
def test_gradients_of_windows(name):
    given = draw(1, 3, 3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: name(x, 2), given)


def turned(scores: Tensor, h: int, w: int) -> Tensor:
    """Both places numbered column by column instead of row by row."""
    apart = scores.unflatten(2, (h, w)).unflatten(1, (h, w))
    return apart.permute(0, 2, 1, 4, 3).flatten(3, 4).flatten(1, 2)


def naive(scores: Tensor, h: int, w: int) -> Tensor:
    """As published: a convolution with the identity, turned, and the same again."""
    eye = torch.eye(3, dtype=scores.dtype)[None, None]
    for sides in ((h, w), (w, h)):
        scores = torch.conv2d(scores[:, None], eye, padding=1)[:, 0]
        scores = turned(scores, *sides)
    return scores


SIZES = [(4, 5), (5, 4), (1, 6), (6, 1), (9, 2), (2, 9), (8, 3), (1, 1)]


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_propagated_is_two_convolutions_with_the_identity(h: int, w: int):
    scores = draw(2, h * w, h * w)
    found = propagated(scores, range(h), h, w)
    torch.testing.assert_close(found, naive(scores, h, w), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("h", "w"), [(4, 3), (7, 2)])
def test_gradients_of_propagation(h: int, w: int):
    rows = range(2, 3)
    height = w * sum(map(len, halo(rows, h)))
    given = draw(1, height, h * w).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: propagated(x, rows, h, w), given)


@pytest.mark.parametrize(("h", "w"), [*SIZES, (12, 3)])
@pytest.mark.parametrize("many", [1, 2, 5])
def test_propagation_into_some_rows_reads_no_more_than_its_halo(h, w, many):
    scores = draw(2, h * w, h * w)
    expected = naive(scores, h, w).unflatten(1, (h, w))
    for start in range(max(1, h - many)):
        rows = range(start, min(start + many, h))
        near = [row for part in halo(rows, h) for row in part]
        assert len(set(near)) == len(near) <= len(rows) + 4
        given = scores.unflatten(1, (h, w))[:, near].flatten(1, 2)
        found = propagated(given, rows, h, w).unflatten(1, (-1, w))
        torch.testing.assert_close(found, expected[:, list(rows)])
