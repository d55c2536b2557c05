"""Lesson 06's exercises take every right answer, and say what is wrong with others."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.exercises import WrongAnswer, find, grade, lesson_06
from course_lib.layers import ContextualAttention
from course_lib.losses import gradient_penalty


def _one_by_one(
    query: Tensor, background: Tensor, hole: Tensor, place: tuple[int, int]
) -> tuple[tuple[int, int] | None, float]:
    """A loop over all places, in NumPy."""
    maps = (np.pad(x.numpy(), [(0, 0), (1, 1), (1, 1)]) for x in (query, background))
    wanted, keys = (
        np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2)) for x in maps
    )
    gone = np.pad(hole.numpy()[0], 1)
    found: tuple[tuple[int, int] | None, float] = (None, float("nan"))
    a = wanted[:, place[0], place[1]].ravel()
    for row, column in np.ndindex(hole.shape[1], hole.shape[2]):
        if gone[row : row + 3, column : column + 3].any():
            continue
        b = keys[:, row, column].ravel()
        lengths = np.sqrt((a @ a) * (b @ b))
        cosine = float(a @ b / lengths) if lengths > 0 else 0.0
        if found[0] is None or cosine > found[1]:
            found = (row, column), cosine
    return found


def _as_kernels(
    query: Tensor, background: Tensor, hole: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The library's attention, pasted sample by sample with patches as kernels."""
    layer = ContextualAttention(3, rate=1, softmax_scale=scale, fuse=False)
    _, attention = layer(query, background, hole)
    known, results = torch.where(hole == 1, 0, background), []
    one, size = torch.ones_like(query[:1, :1]), query.shape[2:]
    kernel = torch.ones(1, 1, 3, 3, dtype=query.dtype)
    for shares, sample in zip(attention, known, strict=True):
        patches = F.unfold(sample[None], 3, padding=1)[0].T.unflatten(1, (-1, 3, 3))
        pasted = F.conv_transpose2d(shares.T.reshape(1, -1, *size), patches, padding=1)
        results.append(pasted / F.conv2d(one, kernel, padding=1))
    return torch.cat(results), attention


def _large_number(
    query: Tensor, background: Tensor, hole: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Unusable keys get a large negative score, and samples without any are cut."""
    y, attention = torch.zeros_like(query), torch.zeros(0)
    gone = F.conv2d(hole, torch.ones_like(hole[:1, :1, :3, :3]), padding=1).flatten(2)
    keys = F.unfold(torch.where(hole > 0, torch.zeros_like(hole), background), 3, 1, 1)
    unit = keys / keys.norm(dim=1, keepdim=True).clamp(min=1e-4)
    scores = torch.einsum("ndq,ndk->nqk", F.unfold(query, 3, 1, 1), unit) * scale
    attention = (scores - 1e12 * (gone > 0)).softmax(-1)
    attention = attention * (gone == 0).any(2, keepdim=True)
    y = F.fold(torch.einsum("nqk,ndk->ndq", attention, keys), query.shape[2:], 3, 1, 1)
    rows, columns = (torch.full((n,), 3.0) for n in query.shape[2:])
    for line in (rows, columns):
        line[[0, -1]] -= 1
    return y / torch.outer(rows, columns), attention


def _with_scipy(attention: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    shares = attention.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0, the NaN asked for
        count = np.exp(scipy.stats.entropy(shares.astype(np.float64), axis=2))
    grid = attention.shape[1] // width, width
    own = np.stack(np.unravel_index(np.arange(shares.shape[1]), grid), 1)
    best = np.stack(np.unravel_index(shares.argmax(2), grid), 2)
    offset, largest = (best - own).astype(np.float64), shares.max(2).astype(np.float64)
    offset[largest == 0] = largest[largest == 0] = np.nan
    found = (torch.from_numpy(part).to(attention) for part in (count, largest, offset))
    return tuple(found)


def _library(
    critic: nn.Module, real: Tensor, fake: Tensor, hole: Tensor, t: Tensor
) -> Tensor:
    return gradient_penalty(critic, real, fake, hole, t)


def _by_root(
    critic: nn.Module, real: Tensor, fake: Tensor, hole: Tensor, t: Tensor
) -> Tensor:
    """The norm as it is defined, from the gradient of scores in their own shape."""
    between = ((1 - t) * real + t * fake).detach().requires_grad_()
    scores = critic(between)
    slope = torch.autograd.grad(
        scores, between, torch.ones_like(scores), create_graph=True, retain_graph=True
    )[0].masked_fill(hole == 0, 0)
    return ((slope**2).sum((1, 2, 3)).sqrt() - 1).pow(2).mean()


OTHERS = [
    ("06.1", _one_by_one),
    ("06.2", _as_kernels),
    ("06.2", _large_number),
    ("06.3", _with_scipy),
    ("06.4", _library),
    ("06.4", _by_root),
]


@pytest.mark.parametrize(("key", "answer"), OTHERS)
def test_another_right_answer_passes(key: str, answer: Callable[..., Any]):
    assert grade(find(key), answer) == len(find(key).cases())


def _verdict(key: str, answer: Callable[..., Any]) -> str:
    with pytest.raises(WrongAnswer) as caught:
        grade(find(key), answer)
    return str(caught.value).split(": ", 1)[1]


def _wrong(key: str, name: str) -> str:
    return _verdict(key, find(key).wrong[name])


def test_the_match_is_exact_where_one_place_repeats_another():
    draw = torch.Generator().manual_seed(0)
    tile = torch.rand(3, 4, 5, generator=draw)
    map_, hole = tile.repeat(1, 3, 2), torch.zeros(1, 12, 10)
    hole[:, 4:8, 5:10] = 1
    place, cosine = lesson_06.best_match(map_, map_, hole, (5, 7))
    assert place == (1, 2)
    assert cosine == pytest.approx(1)


def test_no_patch_to_compare_with_is_told_apart_from_a_place():
    said = _wrong("06.1", "the first place if there is none")
    assert said == "your answer[0] is a tuple of 2, None is asked for."


def test_attention_copies_exactly_and_shares_all_of_itself():
    draw = torch.Generator().manual_seed(0)
    map_ = torch.rand(1, 2, 4, 5, generator=draw).repeat(1, 1, 4, 3) - 0.5
    hole = torch.zeros(1, 1, 16, 15)
    hole[..., 7:9, 6:9] = 1
    y, attention = lesson_06.attend(map_, map_, hole, 1e4)
    assert torch.allclose(y, map_, atol=1e-4)
    assert torch.allclose(attention.sum(2), torch.ones(1, 240))
    y, attention = lesson_06.attend(map_, map_, torch.ones_like(hole), 10.0)
    assert not y.any()
    assert not attention.any()


def test_a_wrong_attention_is_named_before_the_map_made_with_it():
    assert "your answer['the attention'] differ" in _wrong("06.2", "no length at all")
    assert "your answer['y'] differ" in _wrong("06.2", "added up")


def test_one_result_where_two_are_asked_for_is_named():
    said = _verdict("06.2", lambda *case: lesson_06.attend(*case)[0])
    assert "a tuple of two is asked for: y and the attention" in said


def test_a_few_equal_sources_are_counted():
    shares = torch.tensor([[[1.0, 0, 0, 0], [0, 0.5, 0, 0.5], [0.25] * 4, [0] * 4]])
    count, largest, offset = lesson_06.sources(shares, 2)
    nan = torch.nan
    assert torch.allclose(count, torch.tensor([[1, 2, 4, nan]]), equal_nan=True)
    assert torch.equal(largest[0, :3], torch.tensor([1, 0.5, 0.25]))
    assert offset[0, :3].tolist() == [[0, 0], [0, 0], [-1, 0]]
    assert offset[0, 3].isnan().all()


def test_the_penalty_of_a_linear_critic_is_known():
    weight = torch.tensor([3.0, 4.0, 12.0, 9.0])
    pair, hole = torch.rand(2, 1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    critic = nn.Linear(4, 1)
    critic.weight.data[0] = weight
    network = nn.Sequential(nn.Flatten(), critic)
    t = torch.full((1, 1, 1, 1), 0.3)
    found = lesson_06.slope_penalty(network, *pair, hole, t)
    assert found.item() == pytest.approx((5 - 1) ** 2)
    (slope,) = torch.autograd.grad(found, critic.weight)
    assert torch.allclose(slope, 2 * 4 * torch.tensor([0.6, 0.8, 0, 0]))


SAID = {
    "multiplied by the hole": "infinity times 0 is NaN: select what is inside",
    "no graph": "no gradient flows through it: the slope must keep its own graph",
    "a float": "is a float, a torch.Tensor is asked for",
    "by backward": "not as it was: critic.layers.1.weight.grad",
    "the critic left frozen": "not as it was: critic.layers.1.weight.requires_grad",
    "the generator reached": "its gradient reaches the network that made `fake`",
    "for each sample": "the shape of your answer is (2,), right is ()",
}


@pytest.mark.parametrize("name", SAID)
def test_a_wrong_penalty_is_told_what_is_wrong(name: str):
    assert SAID[name] in _wrong("06.4", name)


def test_gradients_added_to_old_ones_are_noticed():
    def twice(critic: nn.Module, *case: Tensor) -> Tensor:
        found = lesson_06.slope_penalty(critic, *case)
        if next(critic.parameters()).grad is not None:
            found.backward(retain_graph=True)
        return found

    assert "not as it was: critic.layers.0.weight.grad" in _verdict("06.4", twice)


def test_a_gradient_of_another_function_is_noticed():
    def half_detached(critic: nn.Module, *case: Tensor) -> Tensor:
        found = lesson_06.slope_penalty(critic, *case)
        return found / 2 + found.detach() / 2

    said = _verdict("06.4", half_detached)
    assert "its gradient is not: the values of the gradient for critic.layers" in said
