"""Deformable sampling: equal to plain loops; where it reads, what it never reads."""

from functools import partial
from itertools import product
from math import log

import pytest
import torch
import torch.nn.functional as F
from samples import draw, made, scattered
from test_sampling import bilinear
from torch import Tensor, nn

from course_lib import holes
from course_lib.evidence import record
from course_lib.layers import (
    DeformableSampling2d,
    PartialConv2d,
    parameter_groups,
    sampling_losses,
    weighed,
)
from course_lib.layers.sampling import deform_conv2d, faster, torchvisions
from course_lib.layers.sampling_training import depth_at
from course_lib.networks import UNet

UNMOVED = {"starts": "window", "moves": "none", "modulated": False}


def layer(*shape: int, moved: float = 0.5, **options) -> DeformableSampling2d:
    """Seeded, float64, with a head that has already learned something."""
    found = made(DeformableSampling2d, *shape, **options)
    if found.head is not None:
        for k, parameter in enumerate(found.head.parameters()):
            parameter.data = moved * draw(*parameter.shape, seed=20 + k)
    return found


class Given(nn.Module):
    """In place of a head: scores for each tap and place, to be set or optimised."""

    def __init__(self, layer: DeformableSampling2d, count: int, *size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, sum(layer.parts), *size).double())

    def forward(self, _: Tensor) -> Tensor:
        return self.weight


def evidence(layer: nn.Module, *inputs) -> dict[str, Tensor]:
    with record(layer) as found:
        layer(*inputs)
    return found[""]


def losses(layer: nn.Module, *inputs) -> dict[str, Tensor]:
    with sampling_losses(layer) as found:
        layer(*inputs)
    return found[""]


# --------------------------------------------------------------- equal to what is known


def naive_scores(layer, features: Tensor, share: Tensor, way: Tensor) -> Tensor:
    edge = layer.padding[0]
    inner = way[..., edge:-edge, edge:-edge] if edge else way
    seen = [features, share]
    if layer.sees_way:
        away = inner.norm(dim=1, keepdim=True)
        unit = torch.where(away > 0, inner / away, 0)
        seen += [away / layer.reach, unit, inner / layer.reach]
    return layer.head(torch.cat(seen, 1))


def naive(layer: DeformableSampling2d, x: Tensor, valid: Tensor):
    """Place by place and tap by tap, for one padding and stride on both axes."""
    n, K = layer.taps, layer.kernels  # noqa: N806
    edge, step, width = layer.padding[0], layer.stride[0], layer.kernel_size[1]
    features = torch.where(valid > 0, x, 0) * valid
    hole = F.pad((valid < layer.known_from).double(), [edge] * 4, value=1)
    here = torch.stack(
        torch.meshgrid(*map(torch.arange, hole.shape[2:]), indexing="ij")
    )
    way = (holes.nearest(hole) - here).double()
    scores = naive_scores(layer, features, valid, way)
    y, known = [], []
    for b, i, j in product(range(len(x)), *map(range, scores.shape[2:])):
        moved, scaled, chosen = scores[b, :, i, j].split([2 * n, n, K])
        shares = (chosen / layer.temperature).softmax(0)
        weight = (shares.view(K, 1, 1, 1, 1) * layer.weight.unflatten(0, (K, -1))).sum(
            0
        )
        bias = shares @ layer.bias.view(K, -1)
        total, counted, read = torch.zeros_like(bias), 0.0, 0.0
        for k in range(n):
            row, column = (
                i * step + k // width,
                j * step + k % width,
            )  # in padded places
            at = torch.tensor([row - edge, column - edge]).double()
            if layer.starts == "nearest":
                at = at + way[b, :, row, column]
            if layer.moves == "all" or hole[b, 0, row, column]:
                o = moved[2 * k : 2 * k + 2]
                at = at + layer.reach * torch.tanh(o / layer.reach)
            m, v = 2 * scaled[k].sigmoid(), bilinear(valid[b], *at)[0]
            tap = weight[:, :, k // width, k % width]
            total = total + m * (tap @ bilinear(features[b], *at))
            counted, read = counted + m * v, read + v.item()
        empty = counted < 1e-3
        y.append(torch.zeros_like(bias) if empty else total * n / counted + bias)
        known.append(0.0 if empty else read / n)
    size = len(x), *scores.shape[2:]
    return torch.stack(y).view(*size, -1).permute(0, 3, 1, 2), torch.tensor(known).view(
        len(x), 1, *scores.shape[2:]
    )


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 3, 3, 1, 1), {"kernels": 2, "temperature": 0.5}),
        ((2, 3, 3, 2, 1), {"kernels": 2, "moves": "all", "reach": 2.0}),
        ((1, 2, 2, 1, 0), {"kernels": 3, "starts": "window", "sees_way": False}),
        ((2, 2, 3, 1, 1), {"kernels": 2, "starts": "window", "moves": "all"}),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_it_equals_plain_loops(shape, options, soft: bool):
    chosen = layer(*shape, **options)
    x = draw(2, shape[0], 5, 6).requires_grad_()
    valid = scattered(2, 1, 5, 6, share=0.5)
    valid[0, ..., 3:] = 1
    if soft:
        valid = valid * draw(2, 1, 5, 6, seed=9).sigmoid()
        valid[:, :, 2, 4] = 0.9
    sources, found = [x, *chosen.parameters()], []
    for compute in (chosen, partial(naive, chosen)):
        y, known = compute(x, valid)
        found.append([y, known.double(), *torch.autograd.grad(y.sin().sum(), sources)])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-7)


def test_slopes_are_those_of_small_differences():
    chosen = layer(1, 2, 2, 1, 1, kernels=2, moves="all")
    valid = scattered(1, 1, 3, 4, share=0.7, seed=4)
    valid[..., 2:] = 1
    names = [name for name, _ in chosen.named_parameters()]

    def run(x, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(chosen, given, (x, valid))[0]

    x = draw(1, 1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *chosen.parameters()), atol=1e-4)


@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("known", [1, 3])
def test_unmoved_it_is_partial_convolution(kernel, stride: int, known: int):
    rest = (3, 4, kernel, stride, (1, 2), (2, 1))
    ours, theirs = (
        made(DeformableSampling2d, *rest, **UNMOVED),
        made(PartialConv2d, *rest),
    )
    x, valid = draw(2, 3, 9, 12), scattered(2, known, 9, 12)
    (y, after), (expected, some) = ours(x, valid), theirs(x, valid)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    assert torch.equal((after > 0).double(), some)
    assert ours.head is None


@pytest.mark.parametrize("moves", ["all", "unknown", "none"])
def test_a_new_layer_moves_nothing_by_itself(moves: str):
    x, valid = draw(2, 3, 9, 12), scattered(2, 1, 9, 12)
    shape = (3, 4, 3, 1, 1)
    new = made(DeformableSampling2d, *shape, starts="window", moves=moves)
    new.bias.data = layer(*shape, **UNMOVED).bias.data
    assert (evidence(new, x, valid)["modulation"] == 1).all()
    torch.testing.assert_close(new(x, valid), layer(*shape, **UNMOVED)(x, valid))


@pytest.mark.parametrize("starts", ["nearest", "window"])
def test_without_a_hole_it_is_an_ordinary_convolution_inside(starts: str):
    new = made(DeformableSampling2d, 3, 4, 3, 1, 1, starts=starts)
    x = draw(2, 3, 9, 12)
    y, known = new(x, torch.ones(2, 1, 9, 12).double())
    plain = F.conv2d(x, new.weight, new.bias, padding=1)
    torch.testing.assert_close(y[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
    assert not torch.allclose(y[..., 0, :], plain[..., 0, :])
    assert (known[..., 1:-1, 1:-1] == 1).all()


def test_not_renormalised_unknown_reads_count_as_zero():
    ours = made(DeformableSampling2d, 3, 4, 3, 1, 1, **UNMOVED, renormalised=False)
    x, valid = draw(2, 3, 9, 12), scattered(2, 1, 9, 12)
    plain = F.conv2d(x * valid, ours.weight, ours.bias, padding=1)
    torch.testing.assert_close(ours(x, valid)[0], plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_both_forms_are_one_operation(dtype: torch.dtype):
    x, offsets = draw(2, 3, 7, 9).to(dtype), 3 * draw(2, 12, 4, 3, seed=1)
    weight, modulation = draw(4, 3, 2, 3).to(dtype), draw(2, 6, 4, 3).sigmoid()
    if dtype != torch.float64:
        offsets, modulation = offsets.float(), modulation.float()
    for scale in (modulation, None):
        given = (x, offsets, weight, (2, 3), (1, 0), (1, 1), scale)
        y = torchvisions(*given)
        assert y.dtype == dtype
        rough = 0.05 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(faster(*given), y, rtol=rough, atol=rough)
        assert torch.equal(faster(*given), deform_conv2d(*given[:3], None, *given[3:]))


# ----------------------------------------------------------------------- where it reads


def holes_to_try():
    numbers = torch.Generator().manual_seed(3)
    yield from (torch.rand(1, 1, 9, 12, generator=numbers) < s for s in (0.1, 0.5, 0.9))
    yield from (
        holes.strokes(2, (9, 12), numbers),
        holes.rectangles(2, (9, 12), numbers),
    )
    single = torch.ones(1, 1, 9, 12)
    single[..., 4, 11] = 0
    yield single
    yield torch.zeros(1, 1, 9, 12)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape", [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 4, 2), (2, 2, 0, 1)]
)
def test_the_hard_start_reads_nothing_unknown(shape, precision: torch.dtype):
    new = made(DeformableSampling2d, 3, 4, *shape).to(precision)
    for hole in holes_to_try():
        valid = 1 - hole.to(precision)
        x = draw(len(hole), 3, 9, 12).to(precision)
        found = evidence(new, x, valid)
        assert (found["seen"] == 1).all()
        assert (found["valid"] == 1).all()
        assert losses(new, x, valid)["unknown"] == 0


def test_valid_taps_stay_and_others_begin_at_the_nearest_known_place():
    new = made(DeformableSampling2d, 1, 1, 3, 1, 1)
    valid = torch.ones(1, 1, 7, 9).double()
    valid[..., 2:5, 2:7] = 0
    x = draw(1, 1, 7, 9)
    positions = evidence(new, x, valid)["positions"][0]  # (n, 2, H', W')
    for i, j, k in product(range(7), range(9), range(9)):
        row, column = i + k // 3 - 1, j + k % 3 - 1
        at = positions[k, :, i, j]
        known = (valid[0, 0] == 1).nonzero()
        away = (known - torch.tensor([row, column])).double().norm(dim=1)
        gone = (at - torch.tensor([row, column])).norm()
        torch.testing.assert_close(gone, away.min())
        assert valid[0, 0, int(at[0]), int(at[1])] == 1


@pytest.mark.parametrize("moves", ["all", "unknown"])
def test_only_taps_that_may_move_do_and_by_no_more_than_the_reach(moves: str):
    chosen = layer(2, 3, 3, 1, 1, moved=50.0, moves=moves, reach=1.5, starts="window")
    x, valid = draw(1, 2, 8, 9), scattered(1, 1, 8, 9)
    found = evidence(chosen, x, valid)
    offsets = found["offsets"].unflatten(1, (9, 2))
    assert 1.4 < offsets.abs().max() <= 1.5
    around = F.unfold(F.pad(valid, [1] * 4), 3).view(1, 9, 1, 8, 9)
    still = (around == 1).expand_as(offsets)
    assert (offsets[~still] != 0).all()
    assert (offsets[still] != 0).any() == (moves == "all")


@pytest.mark.parametrize("starts", ["window", "nearest"])
def test_validity_is_read_where_features_are_and_is_nothing_outside(starts: str):
    chosen = layer(1, 1, 3, 1, 1, moved=5.0, moves="all", starts=starts)
    x, valid = draw(1, 1, 6, 12), scattered(1, 1, 6, 12)
    found = evidence(chosen, x, valid)
    seen, positions = found["seen"], found["positions"]
    assert 0 <= seen.min() < seen.max() <= 1
    row, column = positions.unbind(2)
    outside = (row <= -1) | (row >= 6) | (column <= -1) | (column >= 12)
    assert outside.any()
    assert (seen[outside] == 0).all()
    for k, i, j in product(range(9), range(6), range(12)):
        expected = bilinear(valid[0], *positions[0, k, :, i, j])[0]
        torch.testing.assert_close(seen[0, k, i, j], expected)


def test_what_is_told_next_is_what_was_read_or_what_lay_in_the_window():
    x, valid = draw(2, 3, 9, 12), scattered(2, 1, 9, 12)
    reads = layer(3, 4, 3, 2, 1, tells="reads")
    torch.testing.assert_close(
        reads(x, valid)[1], evidence(reads, x, valid)["seen"].mean(1, keepdim=True)
    )
    window = layer(3, 4, 3, 2, 1, tells="window")
    torch.testing.assert_close(window(x, valid)[1], F.avg_pool2d(valid, 3, 2, 1))
    assert torch.equal(window(x, valid)[0], reads(x, valid)[0])


@pytest.mark.parametrize("tells", ["reads", "window"])
def test_where_next_to_nothing_was_read_nothing_is_known(tells: str):
    faint = torch.full((1, 1, 5, 6), 1e-5).double()
    y, known = layer(1, 2, 3, 1, 1, tells=tells)(draw(1, 1, 5, 6), faint)
    assert (y == 0).all()
    assert (known == 0).all()
    away = made(DeformableSampling2d, 1, 2, 3, moves="all", reach=50.0, tells=tells)
    away.head = Given(away, 1, 3, 4)
    away.head.weight.data.fill_(1e3)  # all reads leave the picture
    y, known = away(draw(1, 1, 5, 6), torch.ones(1, 1, 5, 6).double())
    assert (y == 0).all()
    assert (known == 0).all()


def test_a_place_is_known_from_half_on_or_as_the_most_known_of_its_sample():
    new = made(DeformableSampling2d, 1, 1, 1)
    valid = torch.full((2, 1, 1, 5), 0.1).double()
    valid[0, ..., 2] = 0.6
    valid[1, ..., 3] = 0.4
    columns = evidence(new, draw(2, 1, 1, 5), valid)["positions"][:, 0, 1, 0]
    assert columns.tolist() == [[2] * 5, [3] * 5]
    new.known_from = 0.05
    columns = evidence(new, draw(2, 1, 1, 5), valid)["positions"][:, 0, 1, 0]
    assert columns.tolist() == [list(range(5))] * 2


# ------------------------------------------------------------------ what it never reads

CHOICES = [
    {"starts": starts, "moves": moves, "renormalised": renormalised, **more}
    for starts, moves, renormalised in product(
        ("nearest", "window"), ("unknown", "all"), (True, False)
    )
    for more in ({}, {"kernels": 3, "tells": "window"})
]


@pytest.mark.parametrize("options", CHOICES)
def test_nothing_hidden_leaks_however_the_reads_have_moved(options):
    chosen = layer(5, 3, 3, 2, 1, **options)
    x, skip = draw(2, 3, 9, 12), draw(2, 2, 9, 12, seed=7)
    valid, other = scattered(2, 1, 9, 12), scattered(2, 1, 9, 12, seed=8)
    found = []
    for hidden in (0.0, float("nan"), float("inf"), 1e30):
        chosen.zero_grad()
        parts = [
            torch.where(v == 1, part, hidden).requires_grad_()
            for part, v in ((x, valid), (skip, other))
        ]
        with record(chosen) as shown, sampling_losses(chosen) as terms:
            y, known = chosen(parts, (valid, other))
        (y.square().sum() + sum(terms[""].values())).backward()
        for part, v in zip(parts, (valid, other), strict=True):
            assert (part.grad[(v == 0).expand_as(part)] == 0).all()
        slopes = [parameter.grad.clone() for parameter in chosen.parameters()]
        found.append([y, known, *shown[""].values(), *terms[""].values(), *slopes])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@pytest.mark.parametrize("options", CHOICES)
def test_a_full_hole_gives_nothing_and_finite_slopes(options):
    chosen = layer(3, 4, 3, 1, 1, **options)
    x = torch.full((1, 3, 6, 7), float("nan")).double()
    with sampling_losses(chosen) as terms:
        y, known = chosen(x, torch.zeros(1, 1, 6, 7).double())
    assert (known == 0).all()
    if options["renormalised"]:
        assert (y == 0).all()
    (y.sum() + sum(terms[""].values())).backward()
    empty = torch.zeros(1, 1, 6, 7).double()
    assert (evidence(chosen, x, empty)["offsets"] != 0).all()  # every tap may move
    assert all(p.grad.isfinite().all() for p in chosen.parameters())


@pytest.mark.parametrize(
    ("shape", "window", "edge"),
    [
        ((7, 2, 3), (3, 3), (1, 1)),  # kernel, stride, padding (, dilation)
        (((5, 3), 1, (0, 1)), (5, 3), (0, 1)),  # no padding to make up for
        (((5, 3), 2, (1, 2), (1, 2)), (3, 3), (0, 2)),
        ((4, 1, 2), (4, 4), (2, 2)),
    ],
)
def test_the_head_is_narrow_around_the_middle_of_each_window(shape, window, edge):
    new = layer(1, 1, *shape)
    assert new.head.kernel_size == window
    assert new.head.padding == edge
    x = torch.zeros(1, 1, 11, 13).double()
    y, _ = new(x, torch.ones_like(x))
    assert y.shape[2:] == new.head(torch.zeros(1, 7, 11, 13).double()).shape[2:]
    positions = evidence(new, x, torch.ones_like(x))["positions"]
    around = new.head.weight.data.zero_()
    if window == (3, 3):  # a mark that the head's middle sees in row 4, column 6
        around[0, 0, 1, 1] = 1
        x[..., 4, 6] = 1
        seen = new.head(F.pad(x, (0, 0, 0, 0, 0, 6)))[0, 0] != new.head.bias[0]
        middle = positions[0, positions.shape[1] // 2, :, seen]
        assert (middle == torch.tensor([4.0, 6.0])[:, None]).all()


def test_one_modulation_for_all_taps_changes_nothing():
    chosen = made(DeformableSampling2d, 3, 4, 3, 1, 1)
    x, valid = draw(2, 3, 9, 12), scattered(2, 1, 9, 12)
    y, _ = chosen(x, valid)
    chosen.head.bias.data[18:] = -1.0
    torch.testing.assert_close(chosen(x, valid)[0], y)
    chosen.head.bias.data[18] = 1.0
    assert not torch.allclose(chosen(x, valid)[0], y)


# --------------------------------------------------------------------- kernel selection


def test_shares_sum_to_one_and_a_lower_temperature_decides_more():
    x, valid = draw(2, 3, 9, 12), scattered(2, 1, 9, 12)
    entropies = []
    for temperature in (10.0, 1.0, 0.1):
        chosen = layer(3, 4, 3, 1, 1, kernels=4, temperature=temperature)
        shares = evidence(chosen, x, valid)["shares"]
        assert shares.shape == (2, 4, 9, 12)
        torch.testing.assert_close(shares.sum(1), torch.ones(2, 9, 12).double())
        entropies.append(-torch.xlogy(shares, shares).sum(1).mean())
    assert entropies[0] > entropies[1] > entropies[2]


def test_permuted_kernels_permute_their_shares():
    first = layer(3, 4, 3, 1, 1, kernels=3)
    second = layer(3, 4, 3, 1, 1, kernels=3)
    order = torch.tensor([2, 0, 1])
    for name in ("weight", "bias"):
        value = getattr(first, name).data.unflatten(0, (3, 4))
        getattr(second, name).data = value[order].flatten(0, 1)
        value = getattr(first.head, name).data
        getattr(second.head, name).data = torch.cat([value[:27], value[27:][order]])
    x, valid = draw(2, 3, 9, 12), scattered(2, 1, 9, 12)
    torch.testing.assert_close(first(x, valid), second(x, valid))
    shares = [evidence(each, x, valid)["shares"] for each in (first, second)]
    torch.testing.assert_close(shares[0][:, order], shares[1])
    balances = [losses(each, x, valid)["balance"] for each in (first, second)]
    torch.testing.assert_close(*balances)


def test_balance_is_the_entropy_that_the_mean_share_lacks():
    chosen = made(DeformableSampling2d, 2, 3, 3, 1, 1, kernels=4)
    chosen.head = Given(chosen, 1, 4, 4)
    given = draw(1, 2, 4, 4), torch.ones(1, 1, 4, 4).double()
    assert losses(chosen, *given)["balance"].abs() < 1e-12
    for k in range(4):  # each place one kernel, each kernel as many places
        chosen.head.weight.data[:, 27 + k, :, k] = 100.0
    assert losses(chosen, *given)["balance"].abs() < 1e-12
    chosen.head.weight.data[:, 27:] = torch.tensor([100.0, 0, 0, 0]).view(4, 1, 1)
    assert abs(losses(chosen, *given)["balance"] - log(4)) < 1e-12


# ------------------------------------------------------------------------------- losses


def test_the_constraint_is_one_where_nothing_moved_and_leads_all_reads_out():
    chosen = made(DeformableSampling2d, 1, 1, 3, 1, 1, starts="window", moves="all")
    chosen.head = Given(chosen, 1, 16, 16)
    x, valid = draw(1, 1, 16, 16), torch.ones(1, 1, 16, 16).double()
    valid[..., 3:12, 4:14] = 0
    loss = losses(chosen, x, valid)["unknown"]
    assert loss == 1
    loss.backward()
    slopes = chosen.head.weight.grad[:, :18].unflatten(1, (9, 2)).abs().sum(2)
    before = evidence(chosen, x, valid)["seen"]
    assert (slopes[before == 0] > 0).double().mean() > 0.9  # deep inside and outside
    inner = -F.max_pool2d(F.pad(-valid, [1] * 4), 3, 1)  # all neighbours known too
    far = F.unfold(F.pad(inner, [1] * 4), 3).view_as(before) == 1
    assert (slopes[far] == 0).all()
    optimiser = torch.optim.Adam(chosen.head.parameters(), lr=0.3)
    for _ in range(60):
        optimiser.zero_grad()
        losses(chosen, x, valid)["unknown"].backward()
        optimiser.step()
    after = evidence(chosen, x, valid)["seen"]
    assert losses(chosen, x, valid)["unknown"] < 0.1
    assert (1 - after).mean() < 0.15 * (1 - before).mean()


def test_depth_goes_on_growing_outside_the_picture():
    depth = torch.zeros(1, 1, 4, 5).double()
    rows = torch.tensor([-3.5, -1.0, -0.5, 0.0, 3.0, 3.5, 4.0, 9.0]).double()
    place = torch.stack([rows, torch.full_like(rows, 2)])
    found = depth_at(depth, place.view(1, 1, 2, 1, -1))
    assert found.flatten().tolist() == [3.5, 1, 0.5, 0, 0, 0.5, 1, 6]


def test_the_length_is_a_share_of_the_reach_over_taps_that_may_move():
    chosen = made(DeformableSampling2d, 1, 1, 3, 1, 1, reach=4.0)
    chosen.head = Given(chosen, 1, 8, 9)
    x, valid = draw(1, 1, 8, 9), scattered(1, 1, 8, 9)
    given = losses(chosen, x, valid)["length"]
    assert given == 0
    given.backward()
    assert (chosen.head.weight.grad == 0).all()
    chosen.head.weight.data[:, :18] = 1e3
    expected = ((2 * 4.0**2 + 0.01) ** 0.5 - 0.1) / 4.0
    assert abs(losses(chosen, x, valid)["length"] - expected) < 1e-9
    still = layer(1, 1, 3, 1, 1, moves="none", kernels=2)
    assert set(losses(still, x, valid)) == {"balance"}  # nothing to choose but kernels


@pytest.mark.parametrize("renormalised", [True, False])
def test_without_choices_it_equals_the_form_that_reads_tap_by_tap(renormalised: bool):
    options = {"starts": "window", "modulated": False, "renormalised": renormalised}
    still = layer(3, 4, (5, 3), (2, 1), (2, 1), moves="none", **options)
    slow = layer(3, 4, (5, 3), (2, 1), (2, 1), moves="all", **options)
    slow.load_state_dict(slow.state_dict() | still.state_dict())
    slow.reset_head()
    x, valid = draw(2, 3, 11, 9), scattered(2, 1, 11, 9) * draw(2, 1, 11, 9).sigmoid()
    for found, expected in zip(still(x, valid), slow(x, valid), strict=True):
        torch.testing.assert_close(found, expected)


def test_near_tells_from_how_far_the_reads_were_fetched():
    valid = torch.zeros(1, 1, 1, 9, dtype=torch.float64)
    valid[..., 0] = 1
    fetching = layer(1, 1, 1, moves="none", modulated=False, tells="near")
    _, known = fetching(torch.ones_like(valid), valid)
    expected = [1 / (1 + column / 4) for column in range(9)]
    assert known.flatten().tolist() == pytest.approx(expected)


def small(**options) -> UNet:
    torch.manual_seed(0)
    conv = partial(DeformableSampling2d, **options)
    return UNet(conv=conv, channels=(4, 6), kernels=(5, 3))


def test_a_network_s_losses_are_collected_layer_by_layer_and_only_when_asked():
    network = small(kernels=2, starts="window")
    image, hole = torch.rand(2, 3, 8, 12), torch.zeros(2, 1, 8, 12)
    hole[..., 2:7, 3:9] = 1
    with sampling_losses(network) as found:
        network(image, hole)
    before = dict(found)
    network(image, 1 - hole)  # nobody listens any more
    assert all(found[name] is before[name] for name in before)
    sites = ["encoder.0.conv", "encoder.1.conv", "decoder.0.conv", "last"]
    assert list(found) == sites
    assert all(
        set(terms) == {"unknown", "length", "balance"} for terms in found.values()
    )
    expected = sum(0.1 * t["unknown"] + 2 * t["balance"] for t in found.values()) / 4
    loss = weighed(found, unknown=0.1, balance=2.0)
    torch.testing.assert_close(loss, expected)
    weighed(found, unknown=1.0).backward()
    assert network.encoder[0].conv.head.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match=r"'valid'.*'balance', 'length', 'unknown'"):
        weighed(found, valid=1.0)
    with sampling_losses(UNet(channels=(4,), kernels=(3,))) as found:
        network(image, hole)
    assert found == {}


def test_heads_can_learn_at_a_rate_of_their_own():
    network = small()
    others, heads = parameter_groups(network, 1e-3, heads=0.1)
    assert (others["lr"], heads["lr"]) == (1e-3, 1e-4)
    names = {id(p): name for name, p in network.named_parameters()}
    assert all(".head." in names[id(p)] for p in heads["params"])
    assert not any(".head." in names[id(p)] for p in others["params"])
    assert len(heads["params"]) == 8
    assert len(others["params"]) + 8 == len(names)
    torch.optim.Adam([others, heads])
    assert len(parameter_groups(small(**UNMOVED), 1e-3)) == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        UNMOVED,
        {"starts": "window", "moves": "all", "sees_way": False},
        {"kernels": 4, "tells": "window"},
    ],
)
def test_a_network_hosts_it_with_its_options(options, training: bool):
    network = small(**options).train(training)
    image, hole = torch.rand(2, 3, 8, 12), (torch.rand(2, 1, 8, 12) < 0.5).float()
    y = network(torch.where(hole == 1, float("nan"), image), hole)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_it_says_what_it_decided():
    chosen = layer(3, 4, 3, 2, 1, kernels=2)
    found = evidence(chosen, draw(2, 3, 8, 10), scattered(2, 1, 8, 10))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "offsets": (2, 18, 4, 5),
        "positions": (2, 9, 2, 4, 5),
        "seen": (2, 9, 4, 5),
        "valid": (2, 1, 4, 5),
        "modulation": (2, 9, 4, 5),
        "shares": (2, 2, 4, 5),
    }
    rows = 2 * torch.arange(4).view(4, 1) + torch.arange(3).repeat_interleave(3).view(
        9, 1, 1
    )
    moved = found["positions"][:, :, 0] - (rows - 1)
    torch.testing.assert_close(moved, found["offsets"][:, ::2])
    assert 0 < found["modulation"].min() < 1 < found["modulation"].max() < 2


@pytest.mark.parametrize("wrong", [{"starts": "far"}, {"moves": "no"}, {"tells": "it"}])
def test_an_unknown_choice_is_refused(wrong):
    with pytest.raises(ValueError, match="is none of"):
        DeformableSampling2d(1, 1, 3, **wrong)
