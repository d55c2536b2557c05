"""The two-stage generator: what it hides, a sketch, attention, its layers."""

import pytest
import torch
from torch import Tensor, nn

from course_lib import evidence
from course_lib.layers import GatedConv2d, GatedUpConv2d, PlainConv2d
from course_lib.networks import CoarseToFine
from course_lib.tensors import ContractError, composite

NAN = float("nan")


def small(**options) -> CoarseToFine:
    """With weights so large that an input still shows after two stages of gates."""
    torch.manual_seed(0)
    network = CoarseToFine(**{"width": 4, "dilations": (1, 2), **options})
    for name, values in network.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(values, std=2.1 / values[0].numel() ** 0.5)
    return network.eval()


def pair(count: int = 2, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.3).float()
    hole[0, :, 2:13, 3:14] = 1
    return image, hole


def lines(hole: Tensor, seed: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(hole.shape, generator=draw) < 0.2).float()


def differ(found: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> list[bool]:
    return [not torch.equal(a, b) for a, b in zip(found, others, strict=True)]


def test_both_answers_are_pictures_of_the_same_shape():
    network, (image, hole) = small(), pair()
    coarse, fine = network.stages(image, hole)
    for made in (coarse, fine):
        assert made.shape == image.shape
        assert 0 <= made.min() < made.max() <= 1
    assert not torch.equal(coarse, fine)
    assert torch.equal(network(image, hole), fine)


KINDS = [{}, {"guided": True}, {"attention_rate": 1}, {"attention_rate": 2}]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_nan_under_the_hole_change_nothing(kind: dict, training: bool):
    network, (image, hole) = small(**kind).train(training), pair()
    given = [lines(hole)] if "guided" in kind else []
    made = network.stages(image, hole, *given)
    for hidden in (torch.rand_like(image), torch.tensor(NAN), torch.tensor(1e30)):
        other = torch.where(hole == 1, hidden, image)
        assert differ(network.stages(other, hole, *given), made) == [False, False]
    brighter = torch.where(hole == 0, 1 - image, image)
    assert differ(network.stages(brighter, hole, *given), made) == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_a_hidden_pixel(kind: dict):
    network, (image, hole) = small(**kind), pair(2, 32, 48)
    hole[1] = 0
    hole[1, :, 4:9, 4:9] = 1  # so that something is left to copy
    poisoned = torch.where(hole == 1, NAN, image).requires_grad_()
    given = [lines(hole)] if "guided" in kind else []
    sum(made.sum() for made in network.stages(poisoned, hole, *given)).backward()
    assert (poisoned.grad[hole.expand_as(image) == 1] == 0).all()
    assert (poisoned.grad[hole.expand_as(image) == 0] != 0).any()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert all((p.grad != 0).any() for p in network.parameters())


def test_the_fine_answer_alone_trains_the_coarse_stage():
    network, (image, hole) = small(), pair()
    network(image, hole).sum().backward()
    assert all((p.grad != 0).any() for p in network.coarse.parameters())


def test_the_fine_stage_sees_the_picture_with_the_coarse_fill_and_no_more():
    network, (image, hole) = small(guided=True), pair()
    seen = {}
    for name in ("coarse", "fine"):
        stage = getattr(network, name)
        stage.register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0]})
        )
    coarse, _ = network.stages(image, hole, lines(hole))
    known = (2 * image - 1) * (1 - hole)  # 0 is mid grey
    expected = torch.cat([known, 1 - hole, lines(hole) * hole], 1)
    torch.testing.assert_close(seen["coarse"], expected)
    torch.testing.assert_close(seen["fine"], 2 * composite(coarse, image, hole) - 1)


def test_a_sketch_counts_in_the_hole_only():
    network, (image, hole) = small(guided=True), pair()
    drawn = lines(hole)
    made = network.stages(image, hole, drawn)
    for outside in (1 - drawn, torch.tensor(NAN), torch.tensor(7.0)):
        other = torch.where(hole == 0, outside, drawn)
        assert differ(network.stages(image, hole, other), made) == [False, False]
    other = torch.where(hole == 1, 1 - drawn, drawn)
    assert differ(network.stages(image, hole, other), made) == [True, True]
    followed = drawn.requires_grad_()
    network(image, hole, followed).sum().backward()
    assert (followed.grad[hole == 0] == 0).all()
    assert (followed.grad[hole == 1] != 0).any()


def test_no_sketch_is_an_empty_one():
    network, (image, hole) = small(guided=True), pair()
    made = network.stages(image, hole)
    empty = network.stages(image, hole, torch.zeros_like(hole))
    assert differ(made, empty) == [False, False]
    assert differ(made, network.stages(image, hole, lines(hole))) == [True, True]
    whole = torch.zeros_like(hole)  # nothing is missing: no line can matter
    assert torch.equal(network(image, whole, lines(hole)), network(image, whole))


def test_each_sample_has_its_own_hole_and_sketch():
    network, (image, hole) = small(guided=True), pair(2)
    drawn = lines(hole)
    made = network.stages(image, hole, drawn)
    for k in range(2):
        at = slice(k, k + 1)
        for found, alone in zip(
            made, network.stages(image[at], hole[at], drawn[at]), strict=True
        ):
            torch.testing.assert_close(found[at], alone, rtol=1e-5, atol=1e-6)
    others = image.flip(0), hole.flip(0), drawn.flip(0)
    given = zip((image, hole, drawn), others, strict=True)
    mixed = [torch.cat([a[:1], b[:1]]) for a, b in given]
    assert torch.equal(network(*mixed)[:1], made[1][:1])


def test_a_hole_and_a_sketch_of_other_types_are_taken():
    network, (image, hole) = small(guided=True), pair()
    drawn = lines(hole)
    made = network(image, hole, drawn)
    assert torch.equal(network(image, hole.double(), drawn.bool()), made)
    double = network.double()(image.double(), hole, drawn)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), made, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_a_full_hole_give_finite_pictures(value: float, kind: dict):
    network, (image, hole) = small(**kind), pair()
    poisoned = image if value == 0 else torch.full_like(image, NAN)
    for made in network.stages(poisoned, torch.full_like(hole, value)):
        assert made.isfinite().all()


# Yu et al. 2019, as published for 256 pixels: channels after the gate, kernel, stride,
# dilation, and by how much its output is smaller than the picture
TABLE = [
    *[(24, 5, 1, 1, 1), (48, 3, 2, 1, 2), (48, 3, 1, 1, 2), (96, 3, 2, 1, 4)],
    *[(96, 3, 1, gap, 4) for gap in (1, 1, 2, 4, 8, 16, 1, 1)],
    *[(48, 3, 1, 1, 2), (48, 3, 1, 1, 2), (24, 3, 1, 1, 1), (12, 3, 1, 1, 1)],
    (3, 3, 1, 1, 1),
]


@pytest.mark.parametrize(("guided", "inputs"), [(False, 4), (True, 5)])
def test_the_layers_are_the_published_ones(guided: bool, inputs: int):
    network = CoarseToFine(guided=guided)
    for stage, channels in ((network.coarse, inputs), (network.fine, 3)):
        assert len(stage.layers) == len(TABLE) == 17
        sizes = []
        for layer in stage.layers:
            layer.register_forward_hook(
                lambda _, __, y, sizes=sizes: sizes.append(y[0].shape[1:])
            )
        stage(torch.rand(1, channels, 16, 24), torch.ones(1, 1, 16, 24))
        for layer, size, (out, kernel, stride, gap, less) in zip(
            stage.layers, sizes, TABLE, strict=True
        ):
            assert size == (out, 16 // less, 24 // less)
            shape = layer.weight.shape
            assert shape[1:] == (channels, kernel, kernel)
            assert shape[0] == (out if out == 3 else 2 * out)
            assert layer.stride == (stride, stride)
            assert layer.dilation == (gap, gap)
            channels = out
        kinds = [type(layer) for layer in stage.layers]
        assert kinds.count(GatedUpConv2d) == 2
        assert kinds.count(GatedConv2d) == 14
        assert kinds[12] is kinds[14] is GatedUpConv2d
        assert kinds[-1] is PlainConv2d


def test_the_number_of_parameters():
    """By hand: 2 * out * (in * k * k + 1) for each gated layer, 327 for the last."""
    first = 2 * 24 * (4 * 25 + 1)
    down = 2 * 48 * (24 * 9 + 48 * 9 + 2) + 2 * 96 * (48 * 9 + 96 * 9 + 2)
    middle = 2 * 96 * 7 * (96 * 9 + 1)
    up = 2 * 48 * (96 * 9 + 48 * 9 + 2) + 2 * 24 * (48 * 9 + 1) + 2 * 12 * (24 * 9 + 1)
    coarse = first + down + middle + up + 327
    assert coarse == 1_629_951

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    network = CoarseToFine()
    assert count(network.coarse) == coarse
    assert count(network.fine) == coarse - 2 * 24 * 25  # 3 inputs
    assert count(CoarseToFine(guided=True)) == count(network) + 2 * 24 * 25


def test_the_names_of_its_parameters():
    names = list(CoarseToFine(4, (1,), guided=True).state_dict())
    assert names == [
        f"{stage}.layers.{k}.{part}"
        for stage in ("coarse", "fine")
        for k in range(14)
        for part in ("weight", "bias")
    ]


def far(network: CoarseToFine, image: Tensor, hole: Tensor) -> Tensor:
    """Attention that the fine stage pays, ``(N, queries, keys)``."""
    with evidence.record(network) as found:
        network(image, hole)
    return found["fine.attention"]["attention"]


@pytest.mark.parametrize("rate", [1, 2])
def test_it_copies_only_from_places_whose_patch_is_wholly_known(rate: int):
    network, (image, hole) = small(attention_rate=rate), pair(1, 32, 48)
    hole[:] = 0
    hole[..., 11, 17] = 1  # a single pixel: row 2, column 4 of a quarter
    attention = far(network, image, hole)
    step, columns = 4 * rate, 48 // (4 * rate)
    assert attention.shape == (1, 32 // step * columns, 32 // step * columns)
    used = attention[0].sum(0).view(-1, columns) > 0
    row, column = 11 // step, 17 // step
    assert not used[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()
    assert used[row + 2 :].any()
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))


def test_where_nothing_can_be_copied_the_other_branch_fills_alone():
    network, (image, hole) = small(attention_rate=1), pair(1)
    hole[:] = 0
    hole[..., ::6, ::6] = 1
    assert far(network, image, hole).abs().max() == 0
    made = network(image, hole)
    assert made.isfinite().all()
    assert made.std() > 0.01


def test_the_second_branch_has_the_published_layers():
    """Yu et al. 2019: channels, kernel and stride of the attention branch."""
    network = CoarseToFine(attention_rate=2)
    shapes = [
        (layer.out_channels, layer.kernel_size[0], layer.stride[0])
        for layer in network.fine.copying
    ]
    down = [(24, 5, 1), (48, 3, 2), (48, 3, 1), (96, 3, 2), (96, 3, 1), (96, 3, 1)]
    assert shapes == down
    assert isinstance(network.fine.copying[-1].activation, nn.ReLU)
    assert [layer.out_channels for layer in network.fine.copied] == [96, 96]
    assert network.fine.joined[0].in_channels == 192
    assert network.fine.attention.rate == 2


def test_the_fine_stage_may_have_another_width():
    wide = CoarseToFine(4, (1,), fine_width=8)
    alone = CoarseToFine(8, (1,))
    count = [sum(p.numel() for p in m.fine.parameters()) for m in (wide, alone)]
    assert count[0] == count[1]
    assert wide.coarse.layers[0].out_channels == 4


def test_sides_must_suit_the_rate_of_attention_too():
    network = small(attention_rate=4)
    assert network(*pair(1, 32, 16)).shape == (1, 3, 32, 16)
    with pytest.raises(ContractError, match=r"16 x 24 .* multiples of 16.*every 4"):
        network(*pair())


@pytest.mark.parametrize("shape", [(18, 24), (16, 26), (15, 15)])
def test_a_side_that_cannot_be_halved_twice_is_refused(shape: tuple[int, int]):
    with pytest.raises(ContractError) as caught:
        small()(*pair(1, *shape))
    for part in (f"{shape[0]} x {shape[1]}", "halves it twice", "multiples of 4"):
        assert part in str(caught.value)


def test_a_sketch_needs_a_network_that_was_built_for_it():
    image, hole = pair()
    with pytest.raises(ContractError, match=r"takes no sketch: .*guided=True"):
        small()(image, hole, lines(hole))
    with pytest.raises(ContractError, match="takes no sketch"):
        small().stages(image, hole, lines(hole))


def test_a_sketch_has_the_shape_of_the_hole():
    network, (image, hole) = small(guided=True), pair()
    drawn = lines(hole)
    for wrong in (
        drawn[:1],
        drawn.expand(-1, 3, -1, -1),
        drawn[..., :16],
        drawn[:, 0],
        drawn[0],
    ):
        with pytest.raises(ContractError, match=r"sketch .* expected the hole's shape"):
            network(image, hole, wrong)


def test_a_pair_that_does_not_fit_is_refused():
    network, (image, hole) = small(), pair()
    with pytest.raises(ContractError, match="same N, H and W"):
        network(image, hole[:1])
    grey = hole.clone()
    grey[0, 0, 0, 0] = 0.5
    with pytest.raises(ContractError, match="only 0"):
        network(image, grey)
    with pytest.raises(ContractError, match="NaN"):
        network(torch.full_like(image, NAN), hole)
