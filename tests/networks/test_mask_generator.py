"""The mask generator: any size, its own picture only, a score that can be learned."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import zoo
from course_lib.evidence import record
from course_lib.mining import error_map_loss
from course_lib.networks import MaskGenerator
from course_lib.networks.mask_generator import STRIDE, USUAL_ERROR
from course_lib.tensors import ContractError


def made(**options) -> MaskGenerator:
    torch.manual_seed(0)
    return MaskGenerator(**{"channels": (4, 6), **options})


def pictures(count: int = 2, height: int = 24, width: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=draw)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (24, 32), (31, 33), (64, 64)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_score_for_every_pixel_of_any_size(size: tuple[int, int], count: int):
    score = made()(pictures(count, *size))
    assert score.shape == (count, 1, *size)
    assert score.isfinite().all()


def test_its_size_is_that_of_a_small_network():
    first, wide, gaps = 16, 40, 4
    by_hand = (3 * 16 + 1) * first + (first * 16 + 1) * wide
    by_hand += gaps * (wide * 9 + 1) * wide + wide + 1
    found = sum(p.numel() for p in MaskGenerator().parameters())
    assert found == by_hand == 68_865
    other = MaskGenerator(channels=(8, 12), dilations=(1, 3))
    assert [conv.dilation for conv in other.around] == [(1, 1), (3, 3)]
    assert other.last.in_channels == 12


def test_it_begins_near_the_usual_error_and_not_equal_everywhere():
    score = made(channels=(16, 40))(pictures(2, 64, 64)).detach()
    assert float(score.mean()) == pytest.approx(math.log(USUAL_ERROR), abs=1)
    assert 1e-3 < float(score.std()) < 1


def test_the_score_lies_on_a_grid_that_is_enlarged_bilinearly():
    score = made()(pictures())
    middle = STRIDE // 2  # between grid points 0 and 1 the score is a straight line
    steps = score[..., middle : middle + STRIDE].diff(dim=-1)
    assert torch.allclose(steps, steps[..., :1].expand_as(steps), atol=1e-5)
    assert (steps.abs() > 0).any()


def test_an_odd_picture_is_continued_to_the_right_and_below():
    network, image = made(), pictures(2, 31, 33)
    longer = F.pad(image, (0, 3, 0, 1), mode="replicate")
    assert torch.equal(network(image), network(longer)[..., :31, :33])


def test_the_grid_is_centred_on_its_pixels():
    """A mirrored picture has the mirrored score, where weights are mirrored too."""
    network = made()
    for conv in [*network.down, *network.around]:
        conv.weight.data = conv.weight.data + conv.weight.data.flip(-1)
    image = pictures()
    assert torch.allclose(network(image).flip(-1), network(image.flip(-1)), atol=1e-5)


def test_each_picture_is_scored_alone_and_by_its_own_pixels():
    network, image = made(), pictures(3)
    alone = network(image[1:2])
    assert torch.allclose(network(image)[1:2], alone, atol=1e-6)
    image[0] = 0
    assert torch.allclose(network(image)[1:2], alone, atol=1e-6)


def test_it_sees_far():
    """Score in one corner, picture in the other: 50 pixels and more apart."""
    image = pictures(1, 64, 64).requires_grad_()
    made()(image)[..., 0, 0].sum().backward()
    rows, columns = image.grad.abs().amax((0, 1)).nonzero().T
    assert min(int(rows.max()), int(columns.max())) > 50


def test_a_seed_makes_the_same_network_and_parameters_are_drawn_anew():
    first, second = made(), made()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    second.reset_parameters()
    for conv in ("down.0", "around.1", "last"):
        a, b = first.get_submodule(conv), second.get_submodule(conv)
        assert not torch.equal(a.weight, b.weight)


def test_what_it_decided_can_be_read():
    network, image = made(), pictures()
    with record(network) as evidence:
        score = network(image)
    assert torch.equal(evidence[""]["score"], score)
    assert not evidence[""]["score"].requires_grad


def test_a_card_can_build_it():
    plan = {"class": "MaskGenerator", "arguments": {"channels": [4, 6]}}
    network = zoo.build(plan)
    assert isinstance(network, MaskGenerator)
    assert network.last.in_channels == 6


def test_what_is_no_picture_is_refused():
    network = made().eval()
    with pytest.raises(ContractError, match=r"expected \(N, 3, H, W\)"):
        network(pictures()[:, :1])
    with pytest.raises(ContractError, match="NaN"):
        network(torch.full((1, 3, 8, 8), torch.nan))
    assert network.train()(torch.full((1, 3, 8, 8), torch.nan)).isnan().all()


def test_it_learns_where_the_error_is():
    """Toy: a pixel's error is its own colour, and only random pixels are hidden."""
    network = made(channels=(8, 12), dilations=(1, 2))
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        image = torch.rand(4, 1, 4, 4, generator=draw).repeat_interleave(8, 2)
        image = image.repeat_interleave(8, 3).expand(-1, 3, -1, -1)
        hole = (torch.rand(4, 1, 32, 32, generator=draw) < 0.3).float()
        loss = error_map_loss(network(image), 0.02 + 0.3 * image[:, :1], hole)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = torch.corrcoef(
        torch.stack([network(image).flatten(), image[:, 0].flatten()])
    )
    assert found[0, 1] > 0.7
