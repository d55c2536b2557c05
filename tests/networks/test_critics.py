"""The critics: size, what a score sees, spectral norm; cuts around a hole."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from course_lib.losses import gradient_penalty
from course_lib.networks import PatchCritic, PictureCritic, around
from course_lib.tensors import ContractError


def made(size: int = 32, **options) -> PatchCritic:
    torch.manual_seed(0)
    return PatchCritic(size, **{"width": 4, **options})


def pair(count: int = 2, height: int = 32, width: int = 32) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, height, width, generator=draw)
    hole = (torch.rand(count, 1, height, width, generator=draw) < 0.3).float()
    return image, hole


def convs(critic: PatchCritic) -> list[nn.Conv2d]:
    return [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]


DEPTHS = [(16, 2), (32, 3), (64, 4), (128, 5), (256, 6), (512, 7)]


@pytest.mark.parametrize(("size", "depth"), DEPTHS)
def test_the_depth_leaves_four_by_four_places(size: int, depth: int):
    critic = made(size, width=2)
    assert len(convs(critic)) == depth
    scores = critic(*pair(1, size, size))
    assert scores.shape == (1, 2 * min(2 ** (depth - 1), 4), 4, 4)


def test_the_published_layers():
    critic = PatchCritic(256)
    shapes = [(c.in_channels, c.out_channels) for c in convs(critic)]
    assert shapes == [(4, 64), (64, 128), (128, 256), *[(256, 256)] * 3]
    for conv in convs(critic):
        assert (conv.kernel_size, conv.stride, conv.padding) == ((5, 5), (2, 2), (2, 2))
        assert conv.bias is not None
    kinds = [type(layer).__name__ for layer in critic.layers]
    assert [name.removeprefix("Parametrized") for name in kinds] == [
        *["Conv2d", "LeakyReLU"] * 5,
        "Conv2d",
    ]
    # By hand: 25 taps of each pair of channels, and a bias
    by_hand = [25 * before * after + after for before, after in shapes]
    assert sum(p.numel() for p in critic.parameters()) == sum(by_hand) == 5_946_816


@pytest.mark.parametrize(("size", "expected"), [(64, 61), (128, 125), (256, 253)])
def test_what_one_score_sees(size: int, expected: int):
    """By gradient, of a score whose window lies inside a picture large enough."""
    critic = made(size, width=1, normalised=False)
    for conv in convs(critic):
        nn.init.constant_(conv.weight, 0.1)  # no path is lost
    side = 3 * size
    image = torch.rand(1, 3, side, side).requires_grad_()
    scores = critic(image, torch.zeros(1, 1, side, side))
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    rows, columns = (image.grad.abs().sum((0, 1)) > 0).nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == expected
    assert columns.max() - columns.min() + 1 == expected


def test_the_first_score_is_a_plain_number():
    """Both signs are as easy: no leaky ReLU after the last convolution."""
    critic, (image, hole) = made(), pair(4)
    last = convs(critic)[-1]
    nn.init.zeros_(last.bias)
    scores = critic.eval()(image, hole)
    before = critic.layers[:-1](torch.cat([2 * image - 1, hole], 1))
    torch.testing.assert_close(scores, last(before))
    assert scores.min() < 0 < scores.max()


def test_a_picture_that_is_not_square():
    assert made(32)(*pair(2, 32, 64)).shape == (2, 16, 4, 8)


def top_value(conv: nn.Conv2d) -> float:
    """The largest singular value of the kernel as a matrix, one row a channel."""
    return torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2).item()


def test_the_largest_singular_value_becomes_one():
    critic, (image, hole) = made(64, width=8), pair(1, 64, 64)
    for k, conv in enumerate(convs(critic)):  # as training would leave them
        assert is_parametrized(conv, "weight")
        nn.init.normal_(conv.parametrizations.weight.original, std=0.5 + k)
    for _ in range(100):
        critic.train()(image, hole)
    critic.eval()
    assert [top_value(c) for c in convs(critic)] == pytest.approx([1] * 4, abs=1e-3)


def test_without_spectral_norm_the_weights_are_as_they_are():
    critic, (image, hole) = made(64, width=8, normalised=False), pair(1, 64, 64)
    for conv in convs(critic):
        assert not is_parametrized(conv)
        nn.init.normal_(conv.weight, std=0.5)
    for _ in range(3):
        critic.train()(image, hole)
    assert min(top_value(c) for c in convs(critic)) > 2


@pytest.mark.parametrize("factor", [0.01, 3.0, 100.0])
@pytest.mark.parametrize("normalised", [True, False])
def test_a_larger_weight_says_nothing_louder(factor: float, normalised: bool):
    critic = made(64, width=8, normalised=normalised).eval()
    x = torch.rand(1, 8, 16, 16)
    for conv in convs(critic)[1:2]:
        before = conv(x)
        stored = conv.parametrizations.weight.original if normalised else conv.weight
        with torch.no_grad():
            stored.mul_(factor)
        after = conv(x)
        if normalised:
            torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
        else:
            assert (after - before).abs().max() > 0.1 * before.abs().max()


def test_it_reads_the_picture_everywhere_and_the_hole():
    critic, (image, hole) = made().eval(), pair(1)
    followed = image.requires_grad_()
    critic(followed, hole).square().sum().backward()
    assert (followed.grad != 0).all()
    assert not torch.equal(critic(image, 1 - hole), critic(image, hole))


def test_each_sample_is_judged_alone():
    critic, (image, hole) = made().eval(), pair(3)
    scores = critic(image, hole)
    for k in range(3):
        alone = critic(image[k : k + 1], hole[k : k + 1])
        torch.testing.assert_close(scores[k : k + 1], alone, rtol=1e-5, atol=1e-6)


def test_a_sketch_counts_in_the_hole_only():
    critic, (image, hole) = made(guided=True).eval(), pair()
    drawn = (torch.rand(hole.shape) < 0.3).float()
    scores = critic(image, hole, drawn)
    for outside in (1 - drawn, torch.tensor(float("nan"))):
        other = torch.where(hole == 0, outside, drawn)
        assert torch.equal(critic(image, hole, other), scores)
    assert not torch.equal(critic(image, hole, 1 - drawn), scores)
    assert not torch.equal(critic(image, hole), scores)
    assert torch.equal(critic(image, hole), critic(image, hole, drawn * 0))


def test_a_critic_without_sketch_takes_none():
    image, hole = pair()
    with pytest.raises(ContractError, match=r"takes no sketch: .*guided=True"):
        made()(image, hole, hole)


def test_what_does_not_belong_together_is_refused():
    image, hole = pair()
    with pytest.raises(ContractError, match="same N, H and W"):
        made()(image, hole[:1])
    with pytest.raises(ContractError, match="expected the hole's shape"):
        made(guided=True)(image, hole, hole[:1])
    with pytest.raises(ContractError, match="expected the hole's shape"):
        made(guided=True)(image, hole, hole.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("size", [-4, 0, 8, 15])
def test_a_picture_too_small_to_halve_twice_is_refused(size: int):
    with pytest.raises(ContractError, match=f"pictures of {size} pixels: .*16 or more"):
        PatchCritic(size)


def test_the_names_of_its_parameters():
    names = set(made(16).state_dict())
    assert {"layers.0.bias", "layers.0.parametrizations.weight.original"} <= names
    plain = made(16, normalised=False).state_dict()
    assert list(plain) == [f"layers.{k}.{part}" for k in (0, 2) for part in PARTS]


PARTS = ("weight", "bias")


def test_the_published_global_and_local_critic():
    """Yu et al. 2018: 5 x 5, stride 2; 64, 128, 256, 256; one number from all places.

    The published local critic has 512 channels in its last layer, ours 256 in both.
    """
    critic = PictureCritic(256)
    shapes = [(c.in_channels, c.out_channels) for c in critic.layers[:-2:2]]
    assert shapes == [(3, 64), (64, 128), (128, 256), (256, 256)]
    assert critic.layers[-1].in_features == 16 * 16 * 256
    by_hand = [25 * before * after + after for before, after in shapes] + [65_537]
    assert sum(p.numel() for p in critic.parameters()) == sum(by_hand) == 2_733_441


@pytest.mark.parametrize(("size", "depth"), [(16, 2), (32, 3), (64, 4), (128, 4)])
def test_a_score_for_each_picture_alone(size: int, depth: int):
    torch.manual_seed(0)
    critic = PictureCritic(size, width=4)
    assert len(critic.layers) == 2 * depth + 2
    image = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    scores = critic(image)
    assert scores.shape == (3, 1)
    torch.testing.assert_close(critic(image[1:2]), scores[1:2])
    image.requires_grad_()
    critic(image)[0].sum().backward()
    assert (image.grad[0] != 0).float().mean() > 0.9  # it sees all of its picture
    assert (image.grad[1:] == 0).all()


@pytest.mark.parametrize(("size", "places"), [(24, 6), (31, 8), (48, 6), (100, 7)])
def test_at_least_four_by_four_places_are_left_at_any_size(size: int, places: int):
    critic = PictureCritic(size, width=1)
    widest = critic.layers[-4].out_channels
    assert critic.layers[-1].in_features == places**2 * widest
    assert critic(torch.zeros(1, 3, size, size)).shape == (1, 1)


def test_a_penalty_can_train_it():
    torch.manual_seed(0)
    critic = PictureCritic(16, width=4)
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    penalty = gradient_penalty(critic, image, 1 - image, t=torch.ones(2, 1, 1, 1) / 2)
    penalty.backward()
    assert all((p.grad != 0).any() for p in critic.layers[0].parameters() if p.ndim > 1)


@pytest.mark.parametrize("shape", [(2, 3, 16, 24), (2, 1, 16, 16), (3, 16, 16)])
def test_a_picture_critic_takes_the_size_that_it_was_built_for(shape: tuple):
    with pytest.raises(ContractError, match=r"built for \(N, 3, 16, 16\)"):
        PictureCritic(16, width=2)(torch.zeros(shape))
    with pytest.raises(ContractError, match="16 or more"):
        PictureCritic(8)


def boxed(*box: int) -> Tensor:
    top, left, height, width = box
    hole = torch.zeros(1, 1, 12, 16)
    hole[..., top : top + height, left : left + width] = 1
    return hole


def test_a_cut_is_centred_on_its_hole_and_stays_in_the_picture():
    hole = torch.cat([boxed(4, 6, 2, 4), boxed(0, 0, 1, 1), boxed(9, 10, 3, 6)])
    places = torch.arange(12.0).view(12, 1) * 100 + torch.arange(16.0)
    places = places.expand(3, 1, 12, 16)
    cut, gap = around(hole, 6, places, hole)
    assert cut.shape == (3, 1, 6, 6)
    # Top and left: box centres 5, 8 minus 3; pushed to 0, 0; pushed back to 6, 10
    assert cut[:, 0, 0, 0].tolist() == [205, 0, 610]
    assert torch.equal(gap.sum((1, 2, 3)), hole.sum((1, 2, 3)))  # all of it inside


def test_a_cut_passes_gradients_to_its_own_part_only():
    image = torch.rand(1, 3, 12, 16, requires_grad=True)
    (cut,) = around(boxed(4, 6, 2, 4), 6, image)
    cut.sum().backward()
    assert image.grad.sum() == 3 * 36
    assert image.grad[..., 2:8, 5:11].min() == 1


def test_a_hole_that_no_cut_can_hold_is_refused():
    with pytest.raises(ContractError, match="nothing to cut around"):
        around(boxed(0, 0, 0, 0), 6)
    with pytest.raises(ContractError, match="hole of 7 rows"):
        around(boxed(2, 2, 7, 3), 6)
    with pytest.raises(ContractError, match="cut of 14 pixels"):
        around(boxed(2, 2, 3, 3), 14)


@pytest.mark.parametrize("shape", [(1, 3, 6, 8), (2, 3, 12, 16), (1, 3, 12, 17)])
def test_a_cut_of_another_picture_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ContractError, match=r"picture .* must have the batch, height"):
        around(boxed(2, 2, 3, 3), 6, torch.rand(1, 3, 12, 16), torch.rand(shape))
