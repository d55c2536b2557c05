"""Exercises of lesson 05: gated convolution."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.exercises import Cases, Exercise
from course_lib.exercises.comparison import difference

# ------------------------------------------------------------------------------- 05.1


def hold_gate(
    weight: torch.Tensor, bias: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of a gated convolution with every gate held at one value.

    ``weight`` is (2 C, I, K, K), ``bias`` is (2 C,): outputs 0 to C - 1 of the
    convolution are features, outputs C to 2 C - 1 the scores of their gates, which are
    sigmoid(score). Returns a new weight and a new bias, with which every gate is
    ``share``, strictly between 0 and 1, whatever the layer reads, while its features
    stay as they are. The arguments are not changed.
    """
    half = len(bias) // 2
    weight, bias = weight.clone(), bias.clone()
    weight[half:] = 0
    bias[half:] = torch.logit(torch.tensor(share, dtype=bias.dtype))
    return weight, bias


def _numbers(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _scattered(draw: torch.Generator, *shape: int, share: float = 0.4) -> Tensor:
    return (torch.rand(shape, generator=draw) < share).double()


def _held_cases() -> Cases:
    draw = torch.Generator().manual_seed(51)

    def weights(out: int, into: int, kernel: int) -> tuple[Tensor, Tensor]:
        return _numbers(draw, 2 * out, into, kernel, kernel), _numbers(draw, 2 * out)

    wide = _numbers(draw, 5, 3, 3, 4).permute(3, 1, 0, 2)[..., :3, :]
    single = tuple(part.float() for part in weights(4, 2, 5))
    return {
        "half open": (*weights(2, 2, 3), 0.5),
        "nearly shut": (*weights(2, 2, 3), 0.1),
        "nearly open, odd numbers of channels": (*weights(3, 5, 3), 0.9),
        "one feature, one gate": (*weights(1, 1, 3), 0.25),
        "a kernel of one pixel": (*weights(3, 4, 1), 0.75),
        "a bias of zeros": (weights(2, 3, 3)[0], _numbers(draw, 4) * 0, 0.3),
        "not contiguous": (wide, _numbers(draw, 4), 0.6),
        "float32": (*single, 0.999),
    }


def _wrong_hold(
    weight_by: Callable[[Tensor], Tensor] = torch.zeros_like,
    bias_by: Callable[[Tensor], Tensor] = torch.logit,
    which: Callable[[int], slice] = lambda count: slice(count // 2, None),
    features: Callable[[Tensor, Tensor], Tensor] = lambda part, share: part,
    added: bool = False,
) -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """The reference with something else in the gate's weights, in its bias, or beside.

    ``which`` of the outputs are taken for scores, ``features`` makes the others.
    """

    def answer(weight: Tensor, bias: Tensor, share: float) -> tuple[Tensor, Tensor]:
        held = torch.tensor(share, dtype=bias.dtype)
        gates = which(len(bias))
        new_weight, new_bias = features(weight, held), features(bias, held)
        new_weight, new_bias = new_weight.clone(), new_bias.clone()
        new_weight[gates] = weight_by(weight[gates])
        new_bias[gates] = bias_by(held) + (bias[gates] if added else 0)
        return new_weight, new_bias

    return answer


def _inputs_for_outputs(
    weight: Tensor, bias: Tensor, share: float
) -> tuple[Tensor, Tensor]:
    held = hold_gate(weight, bias, share)[1]
    weight = weight.clone()
    weight[:, weight.shape[1] // 2 :] = 0
    return weight, held


# ------------------------------------------------------------------------------- 05.2


class GatedConv(torch.nn.Module):
    """A gated convolution: one convolution computes features and scores together.

    ``self.conv``, a torch.nn.Conv2d with bias and 2 * ``out`` outputs, holds all
    weights: the features first, then the scores. ``kernel``, ``stride``, ``padding``
    (with zeros) and ``dilation`` are the same for both.
    """

    def __init__(
        self, into: int, out: int, kernel: int, stride: int, padding: int, dilation: int
    ) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(into, 2 * out, kernel, stride, padding, dilation)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``x`` is (N, into, H, W), ``valid`` is (N, 1, H, W), 1 = known.

        Returns [0] ELU(feature) * sigmoid(score), (N, out, H', W'), in which ``valid``
        plays no part, and [1] ``valid`` resized to (N, 1, H', W') as
        torch.nn.functional.interpolate does it with mode="nearest".
        """
        feature, score = self.conv(x).chunk(2, 1)
        y = torch.nn.functional.elu(feature) * torch.sigmoid(score)
        return y, torch.nn.functional.interpolate(valid, y.shape[2:], mode="nearest")


def _layer_cases() -> Cases:
    draw = torch.Generator().manual_seed(52)

    def weights(out: int, channels: int, kernel: int) -> tuple[Tensor, Tensor]:
        weight = _numbers(draw, 2 * out, channels, kernel, kernel) / kernel
        return weight, _numbers(draw, 2 * out)

    x, valid = _numbers(draw, 1, 3, 8, 8), _scattered(draw, 1, 1, 8, 8)
    wide, some = _numbers(draw, 2, 2, 11, 7), _scattered(draw, 2, 1, 11, 7)
    turned, few = wide.transpose(2, 3), some.transpose(2, 3)
    none, whole = torch.zeros_like(valid), torch.ones_like(valid)
    return {  # stride, padding, dilation
        "the size stays": (x, valid, *weights(4, 3, 3), 1, 1, 1),
        "no padding": (x, valid, *weights(2, 3, 3), 1, 0, 1),
        "half the size": (x, valid, *weights(2, 3, 3), 2, 1, 1),
        "stride 2, odd sides, a batch": (wide, some, *weights(3, 2, 5), 2, 2, 1),
        "dilation 2": (x, valid, *weights(2, 3, 3), 1, 2, 2),
        "stride 2 and dilation 3": (wide, some, *weights(2, 2, 3), 2, 3, 3),
        "not contiguous": (turned, few, *weights(3, 2, 3), 1, 1, 1),
        "a kernel of one pixel": (x, valid, *weights(2, 3, 1), 1, 0, 1),
        "nothing known": (x, none, *weights(2, 3, 3), 1, 1, 1),
        "everything known": (x, whole, *weights(2, 3, 3), 2, 1, 1),
    }


def _ask_layer(
    answer: Callable[..., Any],
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
    dilation: int,
) -> Any:
    """What the layer answers with these weights in its ``conv``."""
    sizes = (x.shape[1], len(weight) // 2, weight.shape[-1])
    layer = answer(*sizes, stride, padding, dilation)
    if not isinstance(layer, nn.Module):
        return layer
    conv = getattr(layer, "conv", None)
    if not isinstance(conv, nn.Conv2d) or conv.bias is None:
        raise TypeError("self.conv is asked for, a torch.nn.Conv2d with bias")
    if conv.weight.shape != weight.shape:
        found, right = tuple(conv.weight.shape), tuple(weight.shape)
        raise ValueError(f"self.conv.weight has the shape {found}, right is {right}")
    given = {"conv.weight": weight, "conv.bias": bias}
    return torch.func.functional_call(layer, given, (x, valid.detach()))


def _layer(
    features: Callable[[GatedConv, Tensor, Tensor], Tensor] | None = None,
    validity: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Callable[..., GatedConv]:
    """The reference that computes one of its two results in another way."""

    class Mistaken(GatedConv):
        def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
            y, known = super().forward(x, valid)
            y = features(self, x, valid) if features else y
            return y, validity(valid, y) if validity else known

    return Mistaken


def _halves(made: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., GatedConv]:
    """The reference with ``made(feature, score)`` for its output."""

    def features(layer: GatedConv, x: Tensor, valid: Tensor) -> Tensor:
        feature, score = layer.conv(x).chunk(2, 1)
        return made(feature, score)

    return _layer(features)


def _gate(
    bias: bool = True, first: bool = False, stride: int = 0, dilation: int = 0
) -> Callable[..., GatedConv]:
    """The reference with another convolution for the gate, cut to the right size."""

    def features(layer: GatedConv, x: Tensor, valid: Tensor) -> Tensor:
        conv = layer.conv
        feature = conv(x).chunk(2, 1)[0]
        weight, shift = (
            part.chunk(2)[1] for part in dict(conv.named_parameters()).values()
        )
        if first:
            x, weight = x[:, :1], weight[:, :1]
        apart = dilation or conv.dilation[0]
        lost = (conv.dilation[0] - apart) * (weight.shape[-1] // 2)
        side, step = int(conv.padding[0]) - lost, stride or conv.stride[0]
        score = F.conv2d(x, weight, shift if bias else None, step, side, apart)
        score = score[..., : feature.shape[2], : feature.shape[3]]
        return F.elu(feature) * score.sigmoid()

    return _layer(features)


def _hidden_first(layer: GatedConv, x: Tensor, valid: Tensor) -> Tensor:
    return GatedConv.forward(layer, x * valid, valid)[0]


def _gated_by_validity(layer: GatedConv, x: Tensor, valid: Tensor) -> Tensor:
    y, known = GatedConv.forward(layer, x, valid)
    return y * known


# ------------------------------------------------------------------------------- 05.3


def gate_auc(gate: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """How well each channel's gate tells missing from known places: its AUC.

    ``gate`` is (C, h, w); ``hole`` is (1, H, W), 1 = missing, and is resized to (h, w)
    as torch.nn.functional.interpolate does it with mode="nearest". The AUC of a channel
    is the share, of all pairs of a missing and a known place, in which the gate is
    larger at the missing one; a pair of equal gates counts one half. Returns float64,
    (C,); NaN if no place is missing, or none is known. Do not go through the pairs: a
    map of 128 x 128 can have 67 million of them in each channel.
    """
    size = gate.shape[1:]
    resized = torch.nn.functional.interpolate(hole[None], size, mode="nearest")[0, 0]
    missing = gate[:, resized == 1].contiguous()
    known = gate[:, resized == 0].sort(1).values
    smaller = torch.searchsorted(known, missing)
    not_larger = torch.searchsorted(known, missing, right=True)
    return (smaller + not_larger).double().mean(1) / (2 * known.shape[1])


def _auc_cases() -> Cases:
    draw = torch.Generator().manual_seed(53)

    def gates(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draw)

    hole = _scattered(draw, 1, 9, 7).float()
    by_hand = torch.tensor([[[0.9, 0.2], [0.5, 0.5]], [[0.0, 0.0], [1.0, 1.0]]])
    large = _scattered(draw, 1, 128, 128, share=0.25).float()
    noise = gates(2, 128, 128)
    found = torch.stack([noise[0] + large[0], noise[1] - 0.1 * large[0]]).sigmoid()
    steps = (4 * gates(5, 9, 7)).round() / 4
    shut = torch.stack([torch.zeros(9, 7), torch.ones(9, 7), 1 - hole[0], hole[0]])
    single = (torch.arange(63) == 40).float().view(1, 9, 7)
    return {
        "four places": (by_hand, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])),
        "odd sides": (gates(3, 9, 7), hole),
        "many equal gates": (steps, hole),
        "shut, open, the hole itself": (shut, hole),
        "a hole at twice the size": (gates(3, 8, 6), _scattered(draw, 1, 16, 12)),
        "a hole at no multiple of the size": (steps, _scattered(draw, 1, 23, 24)),
        "not contiguous": (gates(7, 9, 4).permute(2, 1, 0).double(), hole),
        "nothing missing": (gates(2, 5, 5), torch.zeros(1, 5, 5)),
        "everything missing": (gates(2, 5, 5), torch.ones(1, 10, 10)),
        "one place missing": (steps[:2], single),
        "128 x 128": (found, large),
    }


def _split(gate: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
    """The gates at missing and, sorted, at known places: each (C, places)."""
    resized = F.interpolate(hole[None], gate.shape[1:], mode="nearest")[0, 0]
    return gate[:, resized == 1].contiguous(), gate[:, resized == 0].sort(1).values


def _wrong_ties(right: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def answer(gate: Tensor, hole: Tensor) -> Tensor:
        missing, known = _split(gate, hole)
        wins = torch.searchsorted(known, missing, right=right).double()
        return wins.mean(1) / known.shape[1]

    return answer


def _ranked_as_they_come(gate: Tensor, hole: Tensor) -> Tensor:
    """By ranks, but one of two equal gates comes before the other."""
    resized = F.interpolate(hole[None], gate.shape[1:], mode="nearest")[0, 0]
    missing = resized.flatten() == 1
    ranks = gate.flatten(1).argsort(dim=1, stable=True).argsort(1).double() + 1
    count, known = missing.sum().item(), (~missing).sum().item()
    wins = ranks[:, missing].sum(1) - count * (count + 1) / 2
    return wins / torch.tensor(count * known)


def _pooled(gate: Tensor, hole: Tensor) -> Tensor:
    missing, known = _split(gate, hole)
    both = missing.reshape(1, -1), known.reshape(1, -1)
    row = torch.cat(both, 1)[None]
    where = torch.cat([torch.ones_like(both[0]), torch.zeros_like(both[1])], 1)[None]
    return gate_auc(row, where.float()).expand(len(gate))


def _resized_by(
    resize: Callable[[Tensor, tuple[int, int]], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    def answer(gate: Tensor, hole: Tensor) -> Tensor:
        return gate_auc(gate, resize(hole, (gate.shape[1], gate.shape[2])))

    return answer


def _gate_resized(gate: Tensor, hole: Tensor) -> Tensor:
    size = (hole.shape[1], hole.shape[2])
    return gate_auc(F.interpolate(gate[None], size, mode="nearest")[0], hole)


def _difference_of_means(gate: Tensor, hole: Tensor) -> Tensor:
    missing, known = (part.double() for part in _split(gate, hole))
    return (missing.mean(1) - known.mean(1) + 1) / 2


def _either_way(gate: Tensor, hole: Tensor) -> Tensor:
    found = gate_auc(gate, hole)
    return torch.maximum(found, 1 - found)


# ------------------------------------------------------------------------------- 05.4


def adversarial_step(
    generator: torch.nn.Module,
    critic: torch.nn.Module,
    own: torch.optim.Optimizer,
    its: torch.optim.Optimizer,
    image: torch.Tensor,
    hole: torch.Tensor,
) -> tuple[float, float, float]:
    """One step of both networks: first the critic's, then the generator's against it.

    ``generator(image, hole)`` predicts a picture, ``critic(picture, hole)`` scores one;
    ``own`` optimises the generator, ``its`` the critic. The fill is the prediction
    where ``hole`` is 1, and ``image`` elsewhere. With the critic's scores ``real`` of
    ``image`` and ``fake`` of the fill, the critic's loss is
    (mean(relu(1 - real)) + mean(relu(1 + fake))) / 2. The generator's loss is
    distance + 0.1 * adversarial: distance is the mean of abs(prediction - image) over
    the whole picture, and adversarial is -mean(fake), with ``fake`` from the critic
    after its step.

    Each network steps down its own loss alone, whatever gradients were there before.
    Afterwards no parameter of the critic holds a gradient of the generator's loss, and
    every ``requires_grad`` and ``training`` is as it was. Returns three floats: the
    critic's loss, adversarial, distance.
    """
    prediction = generator(image, hole)
    fill = torch.where(hole == 1, prediction, image)
    real, fake = critic(image, hole), critic(fill.detach(), hole)
    critical = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    its.zero_grad()
    critical.backward()
    its.step()

    adversarial = -critic(fill, hole).mean()
    distance = (prediction - image).abs().mean()
    own.zero_grad()
    learning = [p for p in generator.parameters() if p.requires_grad]
    (distance + 0.1 * adversarial).backward(inputs=learning)
    own.step()
    return critical.item(), adversarial.item(), distance.item()


class _Reader(nn.Module):
    """Two convolutions that read a picture and its hole."""

    def __init__(self, out: int, stride: int, last: nn.Module) -> None:
        super().__init__()
        first = nn.Conv2d(4, 6, 3, stride, 1)
        self.layers = nn.Sequential(first, nn.Softplus(), nn.Conv2d(6, out, 3, 1, 1))
        self.last = last

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return self.last(self.layers(torch.cat([image, hole], 1)))


@dataclass(frozen=True)
class _Setting:
    """What the two networks are like; they are made anew for every answer."""

    seed: int
    rule: str = "SGD"
    frozen: bool = False  # the first layer of each
    resting: bool = False  # in eval mode
    stale: bool = False  # gradients left from before

    def networks(self) -> tuple[nn.Module, nn.Module]:
        draw = torch.Generator().manual_seed(self.seed)
        both = _Reader(3, 1, nn.Sigmoid()), _Reader(2, 2, nn.Identity())
        for network in both:
            network.double().train(not self.resting)
            for name, parameter in network.named_parameters():
                parameter.data.copy_(_numbers(draw, *parameter.shape) / 2)
                parameter.requires_grad_(not (self.frozen and "layers.0" in name))
                parameter.grad = torch.ones_like(parameter) if self.stale else None
        return both

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        if self.rule == "Adam":
            return torch.optim.Adam(network.parameters(), lr=0.05)
        return torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.5)


def _step_cases() -> Cases:
    draw = torch.Generator().manual_seed(54)

    def pictures(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draw, dtype=torch.float64)

    image, hole = pictures(2, 3, 8, 8), _scattered(draw, 2, 1, 8, 8)
    odd, some = pictures(3, 3, 9, 7), _scattered(draw, 3, 1, 9, 7)
    turned, box = pictures(1, 3, 10, 6).transpose(2, 3), torch.zeros(1, 1, 6, 10)
    box[..., 1:5, 2:8] = 1
    return {
        "two pictures": (_Setting(1), image, hole),
        "Adam, a batch, odd sides": (_Setting(2, rule="Adam"), odd, some),
        "not contiguous": (_Setting(3), turned, box.double()),
        "nothing missing": (_Setting(4), image, torch.zeros_like(hole)),
        "everything missing": (_Setting(5), image, torch.ones_like(hole)),
        "gradients left from before": (_Setting(6, stale=True), image, hole),
        "a frozen layer in each": (_Setting(7, frozen=True), image, hole),
        "both in eval mode": (_Setting(8, resting=True), image, hole),
    }


def _ask_steps(
    answer: Callable[..., Any], setting: _Setting, image: Tensor, hole: Tensor
) -> Any:
    """What two steps return, and in which state each leaves the networks."""
    generator, critic = networks = setting.networks()
    own, its = setting.optimizer(generator), setting.optimizer(critic)
    stepped: list[str] = []
    own.register_step_post_hook(lambda *_: stepped.append("generator"))
    its.register_step_post_hook(lambda *_: stepped.append("critic"))
    found: dict[str, Any] = dict.fromkeys(STEPS, "not asked")
    for step in STEPS:
        asked, flags = _critical_gradient(*networks, image, hole), _flags(*networks)
        losses = answer(generator, critic, own, its, image, hole)
        if losses is None or losses is Ellipsis:
            return losses
        now = _flags(*networks)
        moved = [name for name in now if now[name] != flags[name]]
        found[step] = {
            "flags changed": moved,
            "losses": losses,
            "critic": deepcopy(critic.state_dict()),
            "generator": deepcopy(generator.state_dict()),
            "others": _others(critic, asked),
            "stepped": tuple(stepped),  # for the hints: no answer is wrong by it
        }
        if moved:  # the next step might not run at all
            break
    return found


def _flags(generator: nn.Module, critic: nn.Module) -> dict[str, bool]:
    """Every ``requires_grad`` and ``training`` of both networks."""
    flags = {}
    for title, network in {"generator": generator, "critic": critic}.items():
        for name, parameter in network.named_parameters(title):
            flags[f"{name}.requires_grad"] = parameter.requires_grad
        for name, module in network.named_modules(prefix=title):
            flags[f"{name}.training"] = module.training
    return flags


def _critical_gradient(
    generator: nn.Module, critic: nn.Module, image: Tensor, hole: Tensor
) -> dict[str, Tensor]:
    """The gradient of the critic's loss, by parameter, as it should be."""
    judge = deepcopy(critic)
    with torch.no_grad():
        fill = torch.where(hole == 1, generator(image, hole), image)
    real, fake = judge(image, hole), judge(fill, hole)
    loss = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    learning = {n: p for n, p in judge.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(loss, list(learning.values()))
    return dict(zip(learning, slopes, strict=True))


def _others(critic: nn.Module, asked: dict[str, Tensor]) -> list[str]:
    """The parameters whose gradient is neither none, nor 0, nor the one asked for."""
    left = {n: p.grad for n, p in critic.named_parameters() if p.grad is not None}
    return [
        name
        for name, slope in left.items()
        if slope.any() and not (name in asked and torch.allclose(slope, asked[name]))
    ]


def _judge_steps(got: Any, setting: _Setting, image: Tensor, hole: Tensor) -> str:
    """The first part that is wrong, and the mistake behind it where it is known."""
    right = _ask_steps(adversarial_step, setting, image, hole)
    for number, step in enumerate(STEPS):
        fault = _fault(got[step], right[step], step)
        if fault:
            before = "  step 1 was right in all its parts" if number else ""
            lines = fault, before, _known_mistake(got, setting, image, hole)
            return "\n".join(line for line in lines if line)
    return ""


def _fault(got: dict[str, Any], right: dict[str, Any], step: str) -> str:
    """What is wrong after one step, causes before what follows from them."""
    losses, flags, others = got["losses"], got["flags changed"], got["others"]
    if not isinstance(losses, (tuple, list)) or len(losses) != len(LOSSES):
        return _apart(losses, right["losses"], f"what is returned by {step}")
    if flags:
        return f"after {step} these flags are not as they were: {_some(flags)}."
    ours, theirs = (_parts(found, step) for found in (got, right))
    for called, value in ours.items():
        text = _apart(value, theirs[called], called)
        if text:
            return text
    if not others:
        return ""
    return (
        f"after {step} parameters of the critic hold a gradient that is not of the "
        f"critic's loss: {_some(others)}."
    )


def _parts(found: dict[str, Any], step: str) -> dict[str, Any]:
    """What one step returned and left, by what messages call it: causes first."""
    shown = {
        f"{name}, value [{number}] returned by {step},": found["losses"][number]
        for number, name in enumerate(LOSSES)
    }
    critical, *others = shown.items()
    critic, generator = (
        (f"the {name}'s weights after {step}", found[name])
        for name in ("critic", "generator")
    )
    return dict([critical, critic, *others, generator])


def _apart(answer: Any, target: Any, called: str) -> str:
    text = difference(answer, target, ATOL, RTOL, f" for {called}")
    return text.replace("your answer for ", "")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _known_mistake(got: Any, setting: _Setting, image: Tensor, hole: Tensor) -> str:
    """The hint for the mistake that ends in the same losses, weights and flags."""
    for answer, hint in MISTAKES.values():
        found = _ask_steps(answer, setting, image, hole)
        if not difference(got, found, ATOL, RTOL):
            return f"  {hint}"
    return ""


STEPS = "step 1", "step 2"
LOSSES = "the critic's loss", "adversarial", "distance"
ATOL, RTOL = 1e-6, 1e-5
Losses = tuple[float, float, float]


@dataclass(frozen=True)
class _WrongStep:
    """The reference with one mistake in it."""

    attached: bool = False
    cut: bool = False
    old: bool = False
    raw: bool = False
    half: float = 0.5
    weight: float = 0.1
    swapped: bool = False
    hinged: bool = False
    pooled: bool = False
    hole_only: bool = False
    kept: bool = False
    spilt: bool = False
    frozen: bool = False
    thawed: bool = False
    training: bool = False

    def __call__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        own: torch.optim.Optimizer,
        its: torch.optim.Optimizer,
        image: Tensor,
        hole: Tensor,
    ) -> Losses:
        if self.training:
            generator.train()
            critic.train()
        if not self.kept:
            own.zero_grad()
            its.zero_grad()
        prediction = generator(image, hole)
        fill = prediction if self.raw else torch.where(hole == 1, prediction, image)
        judge = deepcopy(critic) if self.old else critic
        critical = self._critical(critic, image, fill, hole)
        critical.backward(retain_graph=self.attached)
        its.step()
        fake = judge(fill.detach() if self.cut else fill, hole)
        adversarial = (1 - fake).relu().mean() if self.hinged else -fake.mean()
        error = (prediction - image).abs()
        distance = (error * hole if self.hole_only else error).mean()
        self._down(distance + self.weight * adversarial, generator, critic)
        own.step()
        return critical.item(), adversarial.item(), distance.item()

    def _critical(
        self, critic: nn.Module, image: Tensor, fill: Tensor, hole: Tensor
    ) -> Tensor:
        shown = fill if self.attached else fill.detach()
        real, fake = critic(image, hole), critic(shown, hole)
        if self.swapped:
            real, fake = fake, real
        if self.pooled:
            real, fake = real.mean(), fake.mean()
        return self.half * ((1 - real).relu().mean() + (1 + fake).relu().mean())

    def _down(self, loss: Tensor, generator: nn.Module, critic: nn.Module) -> None:
        learning = [p for p in generator.parameters() if p.requires_grad]
        loss.backward(inputs=None if self.spilt else learning)
        if self.frozen or self.thawed:
            critic.requires_grad_(self.thawed)


def _generator_first(
    generator: nn.Module,
    critic: nn.Module,
    own: torch.optim.Optimizer,
    its: torch.optim.Optimizer,
    image: Tensor,
    hole: Tensor,
) -> Losses:
    prediction = generator(image, hole)
    fill = torch.where(hole == 1, prediction, image)
    adversarial, distance = (
        -critic(fill, hole).mean(),
        (prediction - image).abs().mean(),
    )
    own.zero_grad()
    (distance + 0.1 * adversarial).backward()
    own.step()
    real, fake = critic(image, hole), critic(fill.detach(), hole)
    critical = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    its.zero_grad()
    critical.backward()
    its.step()
    return critical.item(), adversarial.item(), distance.item()


def _one_graph(
    generator: nn.Module,
    critic: nn.Module,
    own: torch.optim.Optimizer,
    its: torch.optim.Optimizer,
    image: Tensor,
    hole: Tensor,
    steps_last: bool = True,
) -> Losses:
    """One graph for both updates: an error, or silently wrong with the steps last.

    With ``its.step()`` between the two (``steps_last=False``) PyTorch notices that the
    critic's weights, which the second ``backward`` needs, were changed in place.
    """
    prediction = generator(image, hole)
    fill = torch.where(hole == 1, prediction, image)
    real, fake = critic(image, hole), critic(fill, hole)
    critical = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    adversarial, distance = -fake.mean(), (prediction - image).abs().mean()
    its.zero_grad()
    critical.backward(retain_graph=True)
    if not steps_last:
        its.step()
    own.zero_grad()
    (distance + 0.1 * adversarial).backward()
    own.step()
    if steps_last:
        its.step()
    return critical.item(), adversarial.item(), distance.item()


# Each with the hint for an answer that ends in the same losses, weights and flags
MISTAKES: dict[str, tuple[Callable[..., Any], str]] = {
    "no detach": (
        _WrongStep(attached=True),
        "the critic's loss reached the generator too: the critic learns from a fill "
        "that is detached, or the generator's gradients are zeroed after it",
    ),
    "the generator learns nothing of the critic": (
        _WrongStep(cut=True),
        "this is a step down the distance alone: no gradient comes through the "
        "critic's scores; what the generator is judged by must not be detached",
    ),
    "against the old critic": (
        _WrongStep(old=True),
        "this is what the critic says before its step: score the fill again after it",
    ),
    "generator first": (
        _generator_first,
        "the generator stepped before the critic: it is the other way round",
    ),
    "one graph, both steps last": (
        _one_graph,
        "the critic stepped last, with the gradient of the generator's loss in it: let "
        "it step on its own loss first, then score the fill again",
    ),
    "the raw prediction to the critic": (
        _WrongStep(raw=True),
        "the critic was shown the whole prediction: known pixels come from the image",
    ),
    "no half": (_WrongStep(half=1.0), "this is the sum of both halves: divide by 2"),
    "weight 1": (
        _WrongStep(weight=1.0),
        "adversarial went into the generator's loss with the weight 1, not 0.1",
    ),
    "real and fake swapped": (
        _WrongStep(swapped=True),
        "the scores are swapped: relu(1 - real) is of the image, relu(1 + fake) of the "
        "fill",
    ),
    "a hinge for the generator": (
        _WrongStep(hinged=True),
        "this is a hinge: for the generator it is -mean(fake), without relu",
    ),
    "the hinge of mean scores": (
        _WrongStep(pooled=True),
        "this is the relu of a mean: relu first, for each score, then the mean",
    ),
    "distance in the hole only": (
        _WrongStep(hole_only=True),
        "only the hole was counted: the distance is over the whole picture",
    ),
    "gradients added up": (
        _WrongStep(kept=True),
        "gradients of the step before were still there: zero_grad() before backward()",
    ),
    "the generator's gradient in the critic": (
        _WrongStep(spilt=True),
        "the generator's backward() left it there: name its inputs, or zero the "
        "critic's gradients afterwards",
    ),
    "critic left frozen": (
        _WrongStep(frozen=True),
        "the critic was frozen and not thawed again",
    ),
    "critic thawed": (
        _WrongStep(thawed=True),
        "what was frozen before has been thawed: put back each flag as it was",
    ),
    "always in train mode": (
        _WrongStep(training=True),
        "train() was called: both networks stay in the mode that they came in",
    ),
    "losses in another order": (
        lambda *case: adversarial_step(*case)[::-1],
        "the losses are right, their order is not: critic's, adversarial, distance",
    ),
    "losses as tensors": (
        lambda *case: tuple(map(torch.tensor, adversarial_step(*case))),
        "the numbers are right: return them as floats, with .item()",
    ),
}


EXERCISES = (
    Exercise(
        "05.1",
        reference=hold_gate,
        cases=_held_cases,
        wrong={
            "as it was": lambda weight, bias, share: (weight.clone(), bias.clone()),
            "halves swapped": _wrong_hold(which=lambda count: slice(count // 2)),
            "interleaved": _wrong_hold(which=lambda count: slice(1, None, 2)),
            "one gate only": _wrong_hold(
                which=lambda count: slice(count // 2, count // 2 + 1)
            ),
            "the last gate only": _wrong_hold(which=lambda count: slice(-1, None)),
            "features held too": _wrong_hold(which=lambda count: slice(None)),
            "inputs cut, not outputs": _inputs_for_outputs,
            "weights left": _wrong_hold(torch.clone),
            "weights of one": _wrong_hold(torch.ones_like),
            "middle of the kernel left": _wrong_hold(
                lambda w: (
                    w * F.pad(torch.ones_like(w[..., :1, :1]), [w.shape[-1] // 2] * 4)
                )
            ),
            "share for a bias": _wrong_hold(bias_by=torch.clone),
            "sigmoid of share": _wrong_hold(bias_by=torch.sigmoid),
            "logarithm of share": _wrong_hold(bias_by=torch.log),
            "share / (1 - share)": _wrong_hold(
                bias_by=lambda share: share / (1 - share)
            ),
            "logarithm to base 10": _wrong_hold(
                bias_by=lambda share: (share / (1 - share)).log10()
            ),
            "logarithm to base 2": _wrong_hold(
                bias_by=lambda share: (share / (1 - share)).log2()
            ),
            "atanh, for a gate of tanh": _wrong_hold(bias_by=torch.atanh),
            "the other sign": _wrong_hold(bias_by=lambda share: -share.logit()),
            "a bias of 0": _wrong_hold(bias_by=torch.zeros_like),
            "added to the bias": _wrong_hold(added=True),
            "features scaled": _wrong_hold(features=lambda part, share: part * share),
            "features without bias": lambda weight, bias, share: (
                hold_gate(weight, bias, share)[0],
                hold_gate(weight, bias * 0, share)[1],
            ),
            "gates alone": lambda weight, bias, share: tuple(
                part[len(bias) // 2 :] for part in hold_gate(weight, bias, share)
            ),
            "bias first": lambda *case: hold_gate(*case)[::-1],
            "the bias alone": lambda *case: hold_gate(*case)[1],
        },
    ),
    Exercise(
        "05.2",
        reference=GatedConv,
        cases=_layer_cases,
        atol=1e-10,
        rtol=1e-10,
        gradient=True,
        call=_ask_layer,
        wrong={
            "halves swapped": _halves(lambda f, s: F.elu(s) * f.sigmoid()),
            "activation on the score": _halves(
                lambda f, s: F.elu(f) * F.elu(s).sigmoid()
            ),
            "activation on the product": _halves(lambda f, s: F.elu(f * s.sigmoid())),
            "no activation": _halves(lambda f, s: f * s.sigmoid()),
            "no gate": _halves(lambda f, s: F.elu(f)),
            "one gate for all": _halves(lambda f, s: F.elu(f) * s[:, :1].sigmoid()),
            "no bias in the gate": _gate(bias=False),
            "gate of the first channel": _gate(first=True),
            "gate without stride": _gate(stride=1),
            "gate without dilation": _gate(dilation=1),
            "gated by validity": _layer(_gated_by_validity),
            "hidden first": _layer(_hidden_first),
            "validity averaged": _layer(
                validity=lambda v, y: F.interpolate(v, y.shape[2:], mode="area")
            ),
            "known if anything is": _layer(
                validity=lambda v, y: F.adaptive_max_pool2d(v, y.shape[2:])
            ),
            "validity as it came": _layer(validity=lambda v, y: v.clone()),
            "all known": _layer(validity=lambda v, y: torch.ones_like(y[:, :1])),
            "inverted validity": _layer(
                validity=lambda v, y: F.interpolate(1 - v, y.shape[2:])
            ),
            "validity for each feature": _layer(
                validity=lambda v, y: F.interpolate(v, y.shape[2:]).expand_as(y)
            ),
        },
    ),
    Exercise(
        "05.3",
        reference=gate_auc,
        cases=_auc_cases,
        wrong={
            "ties lose": _wrong_ties(right=False),
            "ties win": _wrong_ties(right=True),
            "ties by position": _ranked_as_they_come,
            "inverted": lambda gate, hole: 1 - gate_auc(gate, hole),
            "pooled over channels": _pooled,
            "the larger of both ways": _either_way,
            "difference of means": _difference_of_means,
            "gate at one half": lambda gate, hole: gate_auc(
                (gate > 0.5).to(gate.dtype), hole
            ),
            "hole averaged": _resized_by(
                lambda hole, size: (F.adaptive_avg_pool2d(hole, size) >= 0.5).float()
            ),
            "hole of anything": _resized_by(F.adaptive_max_pool2d),
            "hole cut to size": _resized_by(lambda hole, s: hole[:, : s[0], : s[1]]),
            "gate resized": _gate_resized,
            "one half without pairs": lambda gate, hole: gate_auc(
                gate, hole
            ).nan_to_num(0.5),
            "float32": lambda gate, hole: gate_auc(gate, hole).float(),
            "one number": lambda gate, hole: gate_auc(gate, hole).mean(),
        },
    ),
    Exercise(
        "05.4",
        reference=adversarial_step,
        cases=_step_cases,
        call=_ask_steps,
        judge=_judge_steps,
        wrong={name: answer for name, (answer, _) in MISTAKES.items()},
    ),
)
