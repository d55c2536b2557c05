"""Contextual attention: its definition in loops, and what must hold of any copying."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import course_lib.layers.attention as module
from course_lib.evidence import record
from course_lib.layers import ContextualAttention
from course_lib.layers.diagonals import windowed
from course_lib.tensors import ContractError, hide


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def boxes(*places: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """A hole for each sample: rows from, to, columns from, to."""
    hole = torch.zeros(len(places), 1, *size, dtype=torch.float64)
    for sample, (top, bottom, left, right) in zip(hole, places, strict=True):
        sample[:, top:bottom, left:right] = 1
    return hole


def maps(size: tuple[int, int] = (12, 16), channels: int = 4) -> tuple[Tensor, ...]:
    """Two maps of two samples, and a hole for each sample."""
    query, background = draw(2, channels, *size), draw(2, channels, *size, seed=1)
    return query, background, boxes((4, 6, 4, 7), (2, 4, 10, 12), size=size)


def close(found: Tensor, expected: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=atol, atol=atol)


# ---------------------------------------------------------------- the definition


def window(x: Tensor, row: int, column: int, size: int, step: int = 1) -> Tensor:
    """``(C, size, size)`` of ``x (C, H, W)`` from a corner on; outside is zero."""
    taken = x.new_zeros(len(x), size, size)
    for i in range(size):
        for j in range(size):
            at = row + i * step, column + j * step
            if 0 <= at[0] < x.shape[1] and 0 <= at[1] < x.shape[2]:
                taken[:, i, j] = x[:, at[0], at[1]]
    return taken


def naive_propagated(scores: Tensor, h: int, w: int) -> Tensor:
    """Each place is told its neighbours by name: along the rows, then the columns."""
    for order in ("rows", "columns"):
        places = [i * w + j for i in range(h) for j in range(w)]
        if order == "columns":
            places = [i * w + j for j in range(w) for i in range(h)]
        summed = scores.clone()
        for p in range(h * w):
            for q in range(h * w):
                for step in (-1, 1):
                    if 0 <= p + step < h * w and 0 <= q + step < h * w:
                        other = scores[places[p + step], places[q + step]]
                        summed[places[p], places[q]] += other
        scores = summed
    return scores


def naive_sample(
    layer: ContextualAttention, query: Tensor, background: Tensor, hole: Tensor
) -> tuple[Tensor, Tensor]:
    """``(C, H, W)`` three times, one query, one key, one pixel after the other."""
    rate, size, reach = layer.rate, layer.patch_size, layer.patch_size // 2
    h, w = (side // rate for side in hole.shape[1:])
    corners = [(i * rate, j * rate) for i in range(h) for j in range(w)]
    compare = [(i - reach * rate, j - reach * rate) for i, j in corners]
    paste = [(i - rate // 2, j - rate // 2) for i, j in corners]
    scores, usable = query.new_zeros(h * w, h * w), torch.zeros(h * w).bool()
    keys = [window(background, *at, size, rate) for at in compare]
    for q, at in enumerate(compare):
        wanted = window(query, *at, size, rate)
        if layer.cosine:
            wanted = wanted / wanted.norm().clamp_min(1e-4)
        for k, key in enumerate(keys):
            scores[q, k] = (wanted * key / key.norm().clamp_min(1e-4)).sum()
    for k in range(h * w):
        touched = window(hole, *compare[k], size, rate).sum()
        if layer.compat is None:
            touched = touched + window(hole, *paste[k], 2 * rate).sum()
        usable[k] = touched == 0
    if layer.fuse:
        scores = naive_propagated(scores, h, w)
    attention = torch.zeros_like(scores)
    for q in range(h * w):
        logits = layer.softmax_scale * scores[q]
        if layer.compat == "deepfill":
            attention[q] = torch.softmax(logits * usable, 0) * usable
        elif usable.any():
            attention[q, usable] = torch.softmax(logits[usable], 0)
    total, count = torch.zeros_like(background), torch.zeros_like(hole)
    known = torch.where(hole.bool(), 0.0, background)
    values = [window(known, *at, 2 * rate) for at in paste]
    for q, (row, column) in enumerate(paste):
        patch = sum(attention[q, k] * value for k, value in enumerate(values))
        for i in range(2 * rate):
            for j in range(2 * rate):
                if 0 <= row + i < total.shape[1] and 0 <= column + j < total.shape[2]:
                    total[:, row + i, column + j] += patch[:, i, j]
                    count[:, row + i, column + j] += 1
    return total / (4 if layer.compat == "deepfill" else count), attention


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((8, 6), {}),
        ((8, 6), {"fuse": False}),
        ((8, 6), {"compat": "deepfill"}),
        ((6, 8), {"compat": "deepfill", "fuse": False}),
        ((6, 8), {"cosine": True}),
        ((4, 3), {"rate": 1}),
        ((6, 9), {"rate": 3, "patch_size": 1, "softmax_scale": 2.0}),
        ((12, 8), {"rate": 4}),
        ((8, 6), {"patch_size": 5}),
        ((2, 8), {}),
        ((6, 2), {}),
        ((2, 2), {}),
    ],
)
def test_it_is_the_naive_loop_in_values_and_gradients(size, settings):
    layer = ContextualAttention(**{"softmax_scale": 0.7, **settings})
    query, background = draw(2, 2, *size), draw(2, 2, *size, seed=1)
    hole = boxes((0, 1, 0, 1), (size[0] - 1, size[0], 0, 1), size=size)
    leaves = [query.requires_grad_(), background.requires_grad_()]
    y, attention = layer(query, background, hole)
    samples = zip(query, background, hole, strict=True)
    alone = [naive_sample(layer, *sample) for sample in samples]
    expected = [torch.stack(both) for both in zip(*alone, strict=True)]
    push, other = draw(*y.shape, seed=2), draw(*attention.shape, seed=3)
    found = [y, attention]
    for outputs in (found, expected):
        pushed = (outputs[0] * push).sum() + (outputs[1] * other).sum()
        outputs += torch.autograd.grad(pushed, leaves, allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, torch.zeros_like(ours) if theirs is None else theirs)


# ---------------------------------------------------------------- who copies from whom


@pytest.mark.parametrize("rate", [1, 2, 4])
@pytest.mark.parametrize("fuse", [False, True])
def test_rows_sum_to_one_over_the_usable_keys(rate: int, fuse: bool):
    size = (8 * rate, 6 * rate)
    query, background, _ = maps(size)
    hole = boxes((0, rate, 0, rate), (3 * rate, 4 * rate, 2, 3), size=size)
    y, attention = ContextualAttention(rate=rate, fuse=fuse)(query, background, hole)
    assert y.shape == query.shape
    assert attention.shape == (2, 48, 48)
    close(attention.sum(2), torch.ones(2, 48, dtype=torch.float64))
    assert attention.min() >= 0
    coarse = hole[..., ::rate, ::rate]
    near = nn.functional.max_pool2d(coarse, 3, 1, 1).flatten(1).bool()
    assert (attention.transpose(1, 2)[near] == 0).all()


def test_rows_of_the_published_arithmetic_sum_to_less():
    """Each unusable key takes exp(0) of the softmax, and none of the result."""
    query, background, hole = maps()
    layer = ContextualAttention(compat="deepfill", fuse=False)
    _, attention = layer(0.05 * query, background, hole)
    used = attention.sum(1, keepdim=True) > 0
    assert 0 < used.sum() < used.numel()
    assert (attention.sum(2) < 1 - 1e-3).all()
    usual = ContextualAttention(fuse=False)(0.05 * query, background, hole)[1]
    both = used & (usual.sum(1, keepdim=True) > 0)
    among = [torch.where(both, shares, 0) for shares in (attention, usual)]
    close(*(shares / shares.sum(2, keepdim=True) for shares in among))


def test_without_any_scale_each_unusable_key_takes_as_much_as_a_usable_one():
    query, background, hole = maps()
    layer = ContextualAttention(compat="deepfill", fuse=False, softmax_scale=0)
    attention = layer(query, background, hole)[1]
    keys = attention.shape[2]
    usable = (attention.sum(1) > 0).sum(1, keepdim=True)
    close(attention.sum(2), (usable / keys).expand(-1, keys).to(attention))


@pytest.mark.parametrize("rate", [1, 2, 4])
def test_a_key_that_would_paste_a_missing_place_is_not_used(rate: int):
    """A hole between the places that the coarse grid looks at counts too."""
    size = (6 * rate, 7 * rate)
    query, background, _ = maps(size)
    hole = boxes((3 * rate - 1, 3 * rate, 0, 1), (0, 1, 0, 1), size=size)
    _, attention = ContextualAttention(rate=rate, fuse=False)(query, background, hole)
    given = attention[0].sum(0).unflatten(0, (6, 7)) > 0
    assert not given[2, 0]
    assert given[5].all()


def test_nothing_under_the_hole_is_copied_or_seen_without_propagation():
    query, background, hole = maps()
    layer = ContextualAttention(fuse=False)
    expected = layer(query, background, hole)
    other = torch.where(hole.bool(), draw(*background.shape, seed=5), background)
    for found, same in zip(layer(query, other, hole), expected, strict=True):
        assert torch.equal(found, same)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("compat", [None, "deepfill"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_under_the_hole_reaches_nothing(fuse: bool, compat: str | None, bad: float):
    query, background, hole = maps()
    layer = ContextualAttention(fuse=fuse, compat=compat)
    expected = layer(query, hide(background, hole, 0.0), hole)
    spoilt = hide(background, hole, bad).requires_grad_()
    found = layer(query, spoilt, hole)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    found[0].square().sum().backward()
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()
    assert spoilt.grad[hole.bool().expand_as(spoilt.grad)].eq(0).all()


def test_nan_in_a_query_stays_with_the_queries_that_read_it():
    query, background, hole = maps((12, 16))
    query[0, 0, 10, 14] = torch.nan  # the place 5, 7 of the coarse grid
    y, attention = ContextualAttention(fuse=False)(query, background, hole)
    lost = attention.isnan().any(2).unflatten(1, (6, 8))
    assert lost[0, 4:, 6:].all()
    assert lost.sum() == 4
    assert y[0, :, :7].isfinite().all()
    assert y[1].isfinite().all()


def test_values_get_no_gradient_from_where_nothing_is_copied():
    query, background, hole = maps()
    background.requires_grad_()
    y, _ = ContextualAttention(fuse=False)(query, background, hole)
    (slope,) = torch.autograd.grad(y.square().sum(), background)
    assert slope[hole.bool().expand_as(slope)].eq(0).all()
    assert slope[~hole.bool().expand_as(slope)].ne(0).any()


@pytest.mark.parametrize("compat", [None, "deepfill"])
@pytest.mark.parametrize("fuse", [False, True])
def test_everything_missing_gives_zeros(compat: str | None, fuse: bool):
    query, background, hole = maps()
    hole[1] = 1
    query.requires_grad_()
    background = hide(background, hole, torch.nan).requires_grad_()
    y, attention = ContextualAttention(compat=compat, fuse=fuse)(
        query, background, hole
    )
    assert y[1].eq(0).all()
    assert attention[1].eq(0).all()
    assert y[0].ne(0).any()
    with torch.autograd.set_detect_anomaly(True):  # nor is there NaN on the way back
        y.square().sum().backward()
    for leaf in (query, background):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad[1].eq(0).all()


# ---------------------------------------------------------------- what it can copy


def periodic(channels: int = 16, period: int = 8, times: int = 3) -> Tensor:
    return draw(1, channels, period, period).repeat(1, 1, times, times)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("rate", [1, 2, 4])
def test_a_periodic_map_is_copied_exactly(rate: int, fuse: bool):
    whole = periodic(period=8 if rate < 4 else 16)
    side = whole.shape[-1]
    hole = boxes((side // 2 - 2, side // 2 + 2, 10, 14), size=(side, side))
    layer = ContextualAttention(rate=rate, softmax_scale=100.0, fuse=fuse)
    y, _ = layer(whole, hide(whole, hole, torch.nan) if not fuse else whole, hole)
    close(y, whole, 1e-6)


def test_the_published_arithmetic_halves_the_border():
    whole = periodic()
    hole = boxes((10, 14, 10, 14), size=(24, 24))
    layer = ContextualAttention(softmax_scale=100.0, compat="deepfill")
    y, _ = layer(whole, whole, hole)
    close(y[..., 1:-1, 1:-1], whole[..., 1:-1, 1:-1], 1e-6)
    close(y[..., 0, 1:-1], whole[..., 0, 1:-1] / 2, 1e-6)
    close(y[..., 1:-1, -1], whole[..., 1:-1, -1] / 2, 1e-6)
    close(y[..., ::23, ::23], whole[..., ::23, ::23] / 4, 1e-6)


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_a_constant_map_stays_constant(rate: int):
    """From keys inside: a key at the border would paste the zeros outside as well."""
    query, _, _ = maps((8 * rate, 9 * rate))
    hole = torch.zeros_like(query[:, :1])
    hole[..., 0], hole[..., -1], hole[..., 0, :], hole[..., -1, :] = 1, 1, 1, 1
    hole[0, :, 3 * rate, 3 * rate] = 1
    y, _ = ContextualAttention(rate=rate)(query, torch.full_like(query, 0.7), hole)
    close(y, torch.full_like(y, 0.7))


def test_a_steep_softmax_copies_the_best_key_alone():
    query, background, hole = maps()
    _, soft = ContextualAttention()(query, background, hole)
    _, steep = ContextualAttention(softmax_scale=1e6)(query, background, hole)
    expected = nn.functional.one_hot(soft.argmax(2), soft.shape[2]).double()
    close(steep, expected)


# ---------------------------------------------------------------- what changes nothing


def test_the_length_of_a_query_is_a_temperature_unless_cosine():
    query, background, hole = maps()
    plain, cosine = ContextualAttention(), ContextualAttention(cosine=True)
    base, sharp = (plain(c * query, background, hole)[1] for c in (0.1, 0.2))
    assert (sharp.amax(2) > base.amax(2)).double().mean() > 0.9
    doubled = ContextualAttention(softmax_scale=20.0)(0.1 * query, background, hole)
    close(sharp, doubled[1])
    close(cosine(7 * query, background, hole)[1], cosine(query, background, hole)[1])


def test_the_length_of_a_key_does_not_matter():
    query, background, hole = maps()
    layer = ContextualAttention()
    close(layer(query, 5 * background, hole)[1], layer(query, background, hole)[1])
    one = ContextualAttention(patch_size=1, fuse=False, rate=1)
    lengths = 0.5 + draw(2, 1, 12, 16, seed=8).abs()
    found = one(query, lengths * background, hole)[1]
    close(found, one(query, background, hole)[1])


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("compat", [None, "deepfill"])
def test_a_sample_in_a_batch_is_a_sample_alone(fuse: bool, compat: str | None):
    given = maps()
    layer = ContextualAttention(fuse=fuse, compat=compat)
    together, swapped = layer(*given), layer(*(x.flip(0) for x in given))
    for i in range(2):
        alone = layer(*(x[i : i + 1] for x in given))
        for batch, other, one in zip(together, swapped, alone, strict=True):
            close(batch[i : i + 1], one)
            close(other[1 - i : 2 - i], one)


def test_propagation_wraps_at_row_ends():
    """As published: after the last column comes the first column of the next row."""
    query, background = torch.zeros(2, 1, 1, 4, 4).unbind()
    query[..., 1, 0], background[..., 1, 0] = 1, 1
    hole = torch.zeros_like(query)
    layer = ContextualAttention(patch_size=1, rate=1, fuse=True)
    attention = layer(query, background, hole)[1][0]
    assert attention[3, 3] > 100 * attention[3, 0]  # row 0, column 3: one before row 1
    plain = ContextualAttention(patch_size=1, rate=1, fuse=False)
    close(plain(query, background, hole)[1][0, 3], torch.full((16,), 1 / 16))


# ---------------------------------------------------------------- in blocks


@pytest.mark.parametrize("size", [(16, 12), (20, 10), (10, 24), (2, 12), (12, 2)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fuse": False},
        {"compat": "deepfill"},
        {"cosine": True, "patch_size": 5},
        {"rate": 1, "patch_size": 1},
    ],
)
@pytest.mark.parametrize("block", [1, 500, 1600])
def test_blocks_of_queries_give_the_same(size, settings, block, monkeypatch):
    layer, (query, background, _) = ContextualAttention(**settings), maps(size)
    hole = boxes((0, 2, 2, 4), (1, 2, 0, 1), size=size)
    leaves = [query.mul_(0.3).requires_grad_(), background.requires_grad_()]
    push = draw(*query.shape, seed=4)

    def computed() -> tuple[Tensor | None, list[Tensor]]:
        y, attention = layer(*leaves, hole)
        with torch.no_grad():
            again = layer(*leaves, hole)[0]
        slopes = torch.autograd.grad((y * push).sum(), leaves)
        return attention, [y, again, *slopes]

    attention, expected = computed()
    monkeypatch.setattr(module, "DENSE", 0)
    monkeypatch.setattr(module, "BLOCK", block)
    nothing, found = computed()
    assert attention is not None
    assert nothing is None
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs)


def test_blocks_are_for_more_than_the_documented_number_of_scores(monkeypatch):
    given = maps((12, 16))  # 2 samples, 48 queries, 48 keys
    monkeypatch.setattr(module, "DENSE", 2 * 48 * 48)
    assert ContextualAttention()(*given)[1] is not None
    monkeypatch.setattr(module, "DENSE", 2 * 48 * 48 - 1)
    assert ContextualAttention()(*given)[1] is None


def test_blocks_are_small(monkeypatch):
    """Beyond ``DENSE`` no matrix holds the rows of all queries."""
    seen = []

    def watched(scores: Tensor, side: int) -> Tensor:
        seen.append(scores.shape[1])
        return windowed(scores, side)

    monkeypatch.setattr(module, "windowed", watched)
    given = maps((40, 16))
    monkeypatch.setattr(module, "DENSE", 0)
    monkeypatch.setattr(module, "BLOCK", 2 * 3 * 8 * 160)  # three rows of 8 queries
    ContextualAttention()(*given)
    assert max(seen) <= 3 + 4 + 2  # with the halo of propagation and that of patches
    assert len(seen) >= 7


@pytest.mark.parametrize("settings", [{}, {"fuse": False}, {"compat": "deepfill"}])
@pytest.mark.parametrize("size", [(12, 16), (16, 4), (4, 20)])
def test_the_rows_of_some_queries_are_those_of_the_matrix(settings, size):
    layer, (query, background, _) = ContextualAttention(**settings), maps(size)
    hole = boxes((0, 2, 2, 4), (1, 2, 0, 1), size=size)
    whole = layer(query, background, hole)[1]
    last = whole.shape[1] - 1
    places = [last, 0, 5, 0, last // 2]
    close(layer.rows(query, background, hole, places), whole[:, places])
    one = layer.rows(query, background, hole, torch.tensor([3]).tolist())
    close(one, whole[:, 3:4])


@pytest.mark.parametrize("places", [[48], [-1], []])
def test_rows_of_queries_that_are_not_there_are_refused(places: list[int]):
    with pytest.raises(ContractError, match="0 to 47"):
        ContextualAttention().rows(*maps(), places)


# ---------------------------------------------------------------- as a module


def test_it_has_no_parameters_and_can_be_copied():
    layer = ContextualAttention(rate=4, fuse=False)
    assert not list(layer.state_dict())
    given = maps((16, 24))
    for other in (copy.deepcopy(layer), copy.copy(layer)):
        assert torch.equal(other(*given)[0], layer(*given)[0])
    assert torch.equal(pickle.loads(pickle.dumps(layer))(*given)[0], layer(*given)[0])


def test_under_autocast_it_computes_in_float32():
    query, background, hole = (x.float() for x in maps())
    layer = ContextualAttention()
    expected = layer(query, background, hole)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(query, background, hole)
        rough = layer(query.bfloat16(), background.bfloat16(), hole)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert rough[0].dtype == torch.bfloat16
    exact = layer(query.bfloat16().float(), background.bfloat16().float(), hole)
    assert torch.equal(rough[0], exact[0].bfloat16())


def test_it_says_what_it_looked_at():
    given, layer = maps(), ContextualAttention()
    with record(layer) as evidence:
        _, attention = layer(*given)
    heard = evidence[""]
    assert list(heard) == ["query", "background", "hole", "attention"]
    for found, expected in zip(heard.values(), (*given, attention), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch_size": 4}, "patch_size is 4"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"rate": 0}, "rate is 0"),
        ({"compat": "deepfil"}, "'deepfil'"),
        ({"softmax_scale": -1.0}, "softmax_scale is -1.0"),
        ({"softmax_scale": float("nan")}, "softmax_scale is nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, words: str):
    with pytest.raises(ContractError, match=words):
        ContextualAttention(**settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q, b, hole: (q[..., :-1], b[..., :-1], hole[..., :-1]), "14 or 16"),
        (
            lambda q, b, hole: (q[..., 1:, :], b[..., 1:, :], hole[..., 1:, :]),
            "10 or 12",
        ),
        (lambda q, b, hole: (q, b[:1], hole), "of the same shape"),
        (lambda q, b, hole: (q[0], b[0], hole), "of the same shape"),
        (lambda q, b, hole: (q, b.float(), hole), "float64"),
        (lambda q, b, hole: (q, b, hole[:1]), "a hole for each sample"),
        (lambda q, b, hole: (q, b, hole[..., ::2, ::2]), "holes.resize"),
        (lambda q, b, hole: (q, b, 0.5 * hole), "only 0"),
        (lambda q, b, hole: (q, b, hole.to("meta")), "hole on meta"),
        (lambda q, b, hole: (q, b, hole[:, 0]), "expected \\(N, 1, H, W\\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(change, words: str):
    with pytest.raises(ContractError, match=words):
        ContextualAttention().eval()(*change(*maps()))
