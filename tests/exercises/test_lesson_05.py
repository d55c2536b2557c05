"""Lesson 05's exercises take every right answer, and name the classic mistakes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.exercises import WrongAnswer, find, grade, lesson_05
from course_lib.layers import GatedConv2d
from course_lib.losses import hinge_losses


def _joined(weight: Tensor, bias: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """From two halves put together again, with the logit written out."""
    feature, gate = weight.chunk(2)
    score = math.log(share / (1 - share))
    level = torch.full((len(gate),), score, dtype=bias.dtype)
    return torch.cat([feature, 0 * gate]), torch.cat([bias[: len(gate)], level])


class _Library(nn.Module):
    """The library's layer, with its weights where the exercise wants them."""

    def __init__(self, *options: Any) -> None:
        super().__init__()
        self.layer = GatedConv2d(*options)
        out, into, *_ = self.layer.weight.shape
        self.conv = nn.Conv2d(into, out, self.layer.kernel_size)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        held = dict(self.conv.named_parameters())
        return torch.func.functional_call(self.layer, held, (x, valid))


def _rank_sum(gate: Tensor, hole: Tensor) -> Tensor:
    """Mann and Whitney's statistic from SciPy's ranks."""
    resized = F.interpolate(hole[None], gate.shape[1:])[0, 0].flatten() == 1
    count, known = int(resized.sum()), int((~resized).sum())
    if not count or not known:
        return torch.full(gate.shape[:1], torch.nan, dtype=torch.float64)
    ranks = torch.from_numpy(scipy.stats.rankdata(gate.flatten(1).numpy(), axis=1))
    return (ranks[:, resized].sum(1) - count * (count + 1) / 2) / (count * known)


def _frozen_between(
    generator: nn.Module,
    critic: nn.Module,
    own: torch.optim.Optimizer,
    its: torch.optim.Optimizer,
    image: Tensor,
    hole: Tensor,
    restored: bool = True,
) -> tuple[float, ...]:
    """Predicts twice, and freezes the critic while the generator learns."""
    with torch.no_grad():
        fill = torch.where(hole == 1, generator(image, hole), image)
    its.zero_grad(set_to_none=False)
    first, _ = hinge_losses(critic(image, hole), critic(fill, hole))
    first.backward()
    its.step()
    flags = [p.requires_grad for p in critic.parameters()]
    critic.requires_grad_(False)
    prediction = generator(image, hole)
    scores = critic(torch.where(hole == 1, prediction, image), hole)
    distance = F.l1_loss(prediction, image)
    own.zero_grad()
    (distance - 0.1 * scores.mean()).backward()
    own.step()
    if restored:
        for parameter, flag in zip(critic.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
    return first.item(), -scores.mean().item(), distance.item()


OTHERS = {
    "05.1": _joined,
    "05.2": _Library,
    "05.3": _rank_sum,
    "05.4": _frozen_between,
}


@pytest.mark.parametrize("key", OTHERS)
def test_another_right_answer_passes(key: str):
    answer: Callable[..., Any] = OTHERS[key]
    assert grade(find(key), answer) == len(find(key).cases())


def test_a_held_gate_is_held_in_the_librarys_layer():
    layer = GatedConv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    held = lesson_05.hold_gate(layer.weight.detach(), layer.bias.detach(), 0.3)
    named = dict(zip(("weight", "bias"), held, strict=True))
    found, _ = torch.func.functional_call(layer, named, (x, x[:, :1]))
    feature = F.conv2d(x, layer.weight, layer.bias, padding=1)[:, :4]
    assert torch.allclose(found, 0.3 * F.elu(feature), atol=1e-6)


def test_weights_changed_in_place_are_named():
    def in_place(weight: Tensor, bias: Tensor, share: float) -> tuple[Tensor, Tensor]:
        new_weight, new_bias = lesson_05.hold_gate(weight, bias, share)
        return weight.copy_(new_weight), bias.copy_(new_bias)

    with pytest.raises(WrongAnswer, match="changes `weight` and `bias` in place"):
        grade(find("05.1"), in_place)


def test_one_graph_for_both_updates_is_told_as_pytorch_tells_it():
    between = partial(lesson_05._one_graph, steps_last=False)
    with pytest.raises(WrongAnswer, match="modified by an inplace operation") as caught:
        grade(find("05.4"), between)
    assert caught.value.crashed


def test_a_critic_left_frozen_is_named_before_the_next_step_fails():
    with pytest.raises(WrongAnswer, match=r"critic\.layers\.0\.weight\.requires_grad"):
        grade(find("05.4"), partial(_frozen_between, restored=False))


def test_a_layer_without_its_conv_is_told_what_is_missing():
    with pytest.raises(WrongAnswer, match=r"self\.conv is asked for"):
        grade(find("05.2"), lambda *options: GatedConv2d(*options))
    with pytest.raises(WrongAnswer, match=r"has the shape .* right is"):
        grade(find("05.2"), lambda i, o, *rest: lesson_05.GatedConv(i, 2 * o, *rest))


def _verdict(answer: Callable[..., Any]) -> str:
    with pytest.raises(WrongAnswer) as caught:
        grade(find("05.4"), answer)
    return str(caught.value).split(": ", 1)[1]


# What of each wrong step the message names; then comes the hint at the mistake
FIRST = {
    "no detach": "generator's weights after step 1",
    "the generator learns nothing of the critic": "generator's weights after step 1",
    "against the old critic": "adversarial",
    "generator first": "adversarial",
    "one graph, both steps last": "critic's weights after step 1",
    "the raw prediction to the critic": "the critic's loss",
    "no half": "the critic's loss",
    "weight 1": "generator's weights after step 1",
    "real and fake swapped": "the critic's loss",
    "a hinge for the generator": "adversarial",
    "the hinge of mean scores": "the critic's loss",
    "distance in the hole only": "distance",
    "gradients added up": "critic's weights after step 2",
    "the generator's gradient in the critic": "hold a gradient that is not of",
    "critic left frozen": "flags are not as they were: critic.layers.0.weight",
    "critic thawed": "flags are not as they were: critic.layers.0.weight",
    "always in train mode": "flags are not as they were: generator.training",
    "losses in another order": "the critic's loss",
    "losses as tensors": "is a torch.Tensor of shape (), a float is asked for",
}


@pytest.mark.parametrize("name", lesson_05.MISTAKES)
def test_the_message_names_the_part_and_the_mistake(name: str):
    answer, hint = lesson_05.MISTAKES[name]
    verdict = _verdict(answer)
    assert FIRST[name] in verdict.splitlines()[0]
    assert verdict.endswith(f"\n  {hint}")
    assert verdict.count("\n  step 1 was right") == ("step 2" in FIRST[name])


def test_no_two_mistakes_have_the_same_hint():
    hints = [hint for _, hint in lesson_05.MISTAKES.values()]
    assert len(set(hints)) == len(hints) == len(FIRST)


def test_an_unknown_mistake_is_named_by_its_part_alone():
    hints = [hint for _, hint in lesson_05.MISTAKES.values()]
    for options, part in (
        ({"half": 0.7, "hinged": True}, "the critic's loss, value [0] returned by"),
        ({"hinged": True, "weight": 3.0}, "adversarial, value [1] returned by step 1"),
        ({"hole_only": True, "cut": True}, "distance, value [2] returned by step 1"),
        ({"weight": 0.2}, "the values of the generator's weights after step 1"),
        ({"frozen": True, "weight": 0.2}, "flags are not as they were"),
    ):
        verdict = _verdict(lesson_05._WrongStep(**options))
        assert part in verdict
        assert not any(hint in verdict for hint in hints)


@pytest.mark.parametrize("answer", [lambda *case: 1.0, lambda *case: (0.0, 0.0)])
def test_what_is_not_three_losses_is_named(answer: Callable[..., Any]):
    assert "what is returned by step 1" in _verdict(answer)
    assert "a tuple of 3 is asked for" in _verdict(answer)
