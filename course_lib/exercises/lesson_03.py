"""Exercises of lesson 03: a plain U-Net, and where it fails."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises import Cases, Exercise

State = dict[str, Tensor]
Joined = tuple[Tensor, Tensor]

# ------------------------------------------------------------------------------- 03.1


def stack(size: int, layers: list[tuple[int, int, int, int]]) -> tuple[int, int]:
    """Side of the output, and receptive field, of convolutions one after the other.

    ``size``: side of the square input in pixels. Each layer is (kernel, stride,
    padding, dilation), the first one first; a kernel of k taps with dilation d spans
    d * (k - 1) + 1 pixels. ``padding`` pixels are added at both ends; only windows that
    fit whole are counted. The receptive field is the distance in input pixels from the
    first to the last that one output can depend on, both included, as if the picture
    had no end. Returns two ints: [0] the side, [1] the receptive field. No layers:
    (size, 1).
    """
    field = jump = 1  # jump: input pixels from one output to the next
    for kernel, stride, padding, dilation in layers:
        reach = dilation * (kernel - 1)
        size = (size + 2 * padding - reach - 1) // stride + 1
        field += reach * jump
        jump *= stride
    return size, field


def _stack_cases() -> Cases:
    encoder = [(7, 2, 3, 1), (5, 2, 2, 1), (5, 2, 2, 1), (3, 2, 1, 1), (3, 2, 1, 1)]
    return {
        "one 3 x 3 convolution": (9, [(3, 1, 0, 1)]),
        "the encoder of this lesson": (128, encoder),
        "an odd side, stride 2": (15, [(3, 2, 1, 1), (3, 2, 0, 1)]),
        "dilation after a stride": (33, [(3, 2, 1, 1), (3, 1, 4, 4)]),
        "stride before and after": (64, [(5, 1, 2, 1), (4, 4, 0, 1), (3, 3, 1, 2)]),
        "a 1 x 1 convolution": (8, [(1, 1, 0, 1), (1, 2, 0, 1), (3, 1, 1, 1)]),
        "a picture smaller than the field": (5, 4 * [(3, 1, 1, 1)]),
        "no layers": (7, []),
    }


def _wrong_stack(
    early: bool = False, tall: bool = False, flat: bool = False, half: bool = False
) -> Callable[..., tuple[int, int]]:
    """The reference with one mistake in it."""

    def answer(size: int, layers: list[tuple[int, int, int, int]]) -> tuple[int, int]:
        field = jump = 1
        for kernel, stride, padding, dilation in layers:
            reach = kernel - 1 if flat else dilation * (kernel - 1)
            sides = padding if half else 2 * padding
            jump *= stride if early else 1
            size = (size + sides - reach - 1) // stride + 1
            field += (reach + tall) * jump
            jump *= 1 if early else stride
        return size, field

    return answer


def _jumpless(size: int, layers: list[tuple[int, int, int, int]]) -> tuple[int, int]:
    side, _ = stack(size, layers)
    return side, 1 + sum(d * (k - 1) for k, _, _, d in layers)


def _clipped(size: int, layers: list[tuple[int, int, int, int]]) -> tuple[int, int]:
    side, field = stack(size, layers)
    return side, min(field, size)


# ------------------------------------------------------------------------------- 03.2


def join(
    below: torch.Tensor,
    below_valid: torch.Tensor,
    skip: torch.Tensor,
    skip_valid: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the next convolution of a decoder gets: features and validity.

    ``below`` (N, C, h, w) comes from the coarser level and ``skip`` (N, D, H, W) from
    the encoder; each validity has one channel, 1 = known and 0 = not. ``below`` and
    ``below_valid`` are brought to H x W by nearest neighbour: output row r shows row
    floor(r * h / H), and columns alike.
    Returns [0] the features (N, C + D, H, W), those of ``below`` first, and [1] the
    validity (N, 1, H, W): 1 where either part is known.
    """
    size = skip.shape[-2:]
    up = torch.nn.functional.interpolate(below, size, mode="nearest")
    known = torch.nn.functional.interpolate(below_valid, size, mode="nearest")
    return torch.cat([up, skip], 1), torch.maximum(known, skip_valid)


def _join_cases() -> Cases:
    draw = torch.Generator().manual_seed(32)

    def parts(
        n: int, c: int, d: int, low: tuple[int, int], high: tuple[int, int]
    ) -> list[Tensor]:
        sides = (n, c, *low), (n, 1, *low), (n, d, *high), (n, 1, *high)
        found = [torch.rand(s, generator=draw, dtype=torch.float64) for s in sides]
        return [f if k % 2 == 0 else (f > 0.5).double() for k, f in enumerate(found)]

    odd = parts(2, 3, 2, (3, 4), (5, 7))
    turned = parts(2, 2, 4, (3, 5), (6, 10))
    plain = parts(1, 2, 2, (4, 4), (8, 8))
    nothing, everything = list(plain), list(plain)
    nothing[1], nothing[3] = torch.zeros_like(plain[1]), torch.zeros_like(plain[3])
    everything[1] = torch.ones_like(plain[1])
    return {
        "twice the size": tuple(plain),
        "odd sides, a batch": tuple(odd),
        "not contiguous": tuple(part.transpose(2, 3) for part in turned),
        "nothing known": tuple(nothing),
        "everything known below": tuple(everything),
        "the same size": tuple(parts(1, 1, 3, (5, 5), (5, 5))),
    }


def _smooth_join(below: Tensor, known: Tensor, skip: Tensor, other: Tensor) -> Joined:
    size = skip.shape[-2:]
    up = F.interpolate(below, size, mode="bilinear", align_corners=False)
    return torch.cat([up, skip], 1), join(below, known, skip, other)[1]


def _grey_join(below: Tensor, known: Tensor, skip: Tensor, other: Tensor) -> Joined:
    up = F.interpolate(known, skip.shape[-2:], mode="bilinear", align_corners=False)
    return join(below, known, skip, other)[0], torch.maximum(up, other)


def _skip_first(below: Tensor, known: Tensor, skip: Tensor, other: Tensor) -> Joined:
    features, valid = join(below, known, skip, other)
    return features.roll(skip.shape[1], 1), valid


def _both_known(below: Tensor, known: Tensor, skip: Tensor, other: Tensor) -> Joined:
    up = F.interpolate(known, skip.shape[-2:], mode="nearest")
    return join(below, known, skip, other)[0], torch.minimum(up, other)


def _doubled(below: Tensor, known: Tensor, skip: Tensor, other: Tensor) -> Joined:
    height, width = skip.shape[-2:]
    up, valid = (
        part.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :height, :width]
        for part in (below, known)
    )
    return torch.cat([up, skip], 1), torch.maximum(valid, other)


def _without_gradient(
    below: Tensor, known: Tensor, skip: Tensor, other: Tensor
) -> Joined:
    return join(below, known, skip.detach(), other)


# ------------------------------------------------------------------------------- 03.3


def discrepancy(outputs: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """How far a network's answers to different fill colours lie apart, in the hole.

    ``outputs`` is (K, N, 3, H, W): K predictions for the same N pictures, one for each
    colour that hid the hole. ``hole`` is (N, 1, H, W), 1 = missing. The spread of a
    pixel and channel is its largest value among the K less its smallest. Returns
    (N,): the mean spread over the missing pixels and the channels of each picture, 0
    for a picture without a hole. Outside the hole the predictions may be NaN.
    """
    spread = outputs.amax(0) - outputs.amin(0)
    inside = torch.where(hole.bool(), spread, 0).sum((1, 2, 3))
    return inside / (3 * hole.sum((1, 2, 3))).clamp(min=1)


def _discrepancy_cases() -> Cases:
    draw = torch.Generator().manual_seed(33)

    def answers(k: int, n: int, height: int, width: int) -> Tensor:
        return torch.rand(k, n, 3, height, width, generator=draw, dtype=torch.float64)

    def hole(n: int, height: int, width: int, share: float) -> Tensor:
        drawn = torch.rand(n, 1, height, width, generator=draw) < share
        return drawn.double()

    one, three = answers(3, 1, 4, 4), answers(4, 3, 5, 7)
    uneven = torch.cat([hole(1, 5, 7, 0.1), hole(1, 5, 7, 0.8), hole(1, 5, 7, 0)])
    gap = hole(2, 6, 5, 0.5)
    spoiled = torch.where(gap.bool(), answers(3, 2, 6, 5), float("nan"))
    flat = torch.full((2, 1, 3, 3, 3), 0.25).double()
    turned = answers(3, 2, 7, 4).transpose(3, 4)
    return {
        "three colours": (one, hole(1, 4, 4, 0.5)),
        "a batch, small, large and no hole": (three, uneven),
        "NaN outside the hole": (spoiled, gap),
        "the same answer twice": (flat, torch.ones(1, 1, 3, 3).double()),
        "one colour only": (one[:1], hole(1, 4, 4, 0.5)),
        "not contiguous": (turned, hole(2, 4, 7, 0.4)),
    }


def _shared_mean(outputs: Tensor, hole: Tensor) -> Tensor:
    whole = discrepancy(outputs, hole) * hole.sum((1, 2, 3))
    return torch.full_like(whole, float(whole.sum() / hole.sum().clamp(min=1)))


def _to_the_first(outputs: Tensor, hole: Tensor) -> Tensor:
    pair = torch.stack([outputs[0], outputs[-1]])
    return discrepancy(pair, hole)


def _whole_picture(outputs: Tensor, hole: Tensor) -> Tensor:
    return discrepancy(outputs.nan_to_num(0), torch.ones_like(hole))


def _image_normalised(outputs: Tensor, hole: Tensor) -> Tensor:
    return discrepancy(outputs, hole) * hole.mean((1, 2, 3))


def _multiplied(outputs: Tensor, hole: Tensor) -> Tensor:
    spread = (outputs.amax(0) - outputs.amin(0)) * hole
    return spread.sum((1, 2, 3)) / (3 * hole.sum((1, 2, 3))).clamp(min=1)


# ------------------------------------------------------------------------------- 03.4


def average(
    kept: dict[str, torch.Tensor], now: dict[str, torch.Tensor], decay: float
) -> dict[str, torch.Tensor]:
    """One update of an exponential moving average of a network's weights.

    ``kept`` and ``now`` are state dicts with the same names. Floating-point tensors
    become decay * kept + (1 - decay) * now, in the dtype of ``kept``; anything else,
    such as the step counter of a batch normalisation, is copied from ``now``. Returns
    new tensors that carry no gradient and share no memory with either argument.
    """
    found = {}
    for name, value in now.items():
        new = value.detach()
        if kept[name].is_floating_point():
            mixed = decay * kept[name].detach() + (1 - decay) * new.to(kept[name].dtype)
            found[name] = mixed.to(kept[name].dtype)
        else:
            found[name] = new.clone()
    return found


def _average_cases() -> Cases:
    draw = torch.Generator().manual_seed(34)

    def state(dtype: torch.dtype, steps: int) -> State:
        return {
            "conv.weight": torch.randn(4, 3, 3, 3, generator=draw).to(dtype),
            "norm.running_mean": torch.randn(4, generator=draw).to(dtype),
            "norm.num_batches_tracked": torch.tensor(steps),
        }

    old, new = state(torch.float32, 5), state(torch.float32, 9)
    wide = state(torch.float64, 5)
    learnt = {name: value.clone() for name, value in new.items()}
    learnt["conv.weight"].requires_grad_()
    return {
        "decay 0.9": (old, new, 0.9),
        "decay 0: the new weights": (old, new, 0.0),
        "decay 1: the old weights": (old, new, 1.0),
        "an average in float64 of float32": (wide, new, 0.99),
        "weights that carry a gradient": (old, learnt, 0.5),
        "one number": ({"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}, 0.25),
    }


def _ask_average(
    answer: Callable[..., Any], kept: State, now: State, decay: float
) -> Any:
    """The answer, and which of its tensors are not what was asked for."""
    found = answer(kept, now, decay)
    if not isinstance(found, dict):
        return found
    taken = {v.data_ptr() for v in (*kept.values(), *now.values())}
    return {
        "average": found,
        "names of tensors with a gradient": [
            n for n, v in found.items() if v.requires_grad
        ],
        "names of tensors that share memory": [
            n for n, v in found.items() if v.data_ptr() in taken
        ],
    }


def _swapped(kept: State, now: State, decay: float) -> State:
    return average(kept, now, 1 - decay)


def _counters_too(kept: State, now: State, decay: float) -> State:
    found = average(kept, now, decay)
    for name, value in kept.items():
        if not value.is_floating_point():
            found[name] = (decay * value + (1 - decay) * now[name]).to(value.dtype)
    return found


def _old_counters(kept: State, now: State, decay: float) -> State:
    whole = {n: v for n, v in kept.items() if not v.is_floating_point()}
    return average(kept, now, decay) | {n: v.clone() for n, v in whole.items()}


def _new_dtype(kept: State, now: State, decay: float) -> State:
    found = average(kept, now, decay)
    return {name: value.to(now[name].dtype) for name, value in found.items()}


def _with_gradient(kept: State, now: State, decay: float) -> State:
    return {
        name: decay * kept[name] + (1 - decay) * value
        if value.is_floating_point()
        else value.clone()
        for name, value in now.items()
    }


def _shared_counters(kept: State, now: State, decay: float) -> State:
    whole = {n: v for n, v in now.items() if not v.is_floating_point()}
    return average(kept, now, decay) | whole


def _weights_only(kept: State, now: State, decay: float) -> State:
    found = average(kept, now, decay)
    return {n: now[n].clone() if "running" in n else v for n, v in found.items()}


EXERCISES = (
    Exercise(
        "03.1",
        reference=stack,
        cases=_stack_cases,
        wrong={
            "stride counted before its own kernel": _wrong_stack(early=True),
            "kernel in place of kernel - 1": _wrong_stack(tall=True),
            "dilation ignored": _wrong_stack(flat=True),
            "padding at one end": _wrong_stack(half=True),
            "strides ignored": _jumpless,
            "cut at the picture": _clipped,
            "swapped": lambda *case: stack(*case)[::-1],
            "layers in the other order": lambda size, layers: stack(size, layers[::-1]),
        },
    ),
    Exercise(
        "03.2",
        reference=join,
        cases=_join_cases,
        gradient=True,
        wrong={
            "bilinear features": _smooth_join,
            "bilinear validity": _grey_join,
            "skip first": _skip_first,
            "known where both are": _both_known,
            "always twice the size": _doubled,
            "no gradient to the skip": _without_gradient,
            "validity of the skip only": lambda b, v, s, w: (
                join(b, v, s, w)[0],
                w.clone(),
            ),
        },
    ),
    Exercise(
        "03.3",
        reference=discrepancy,
        cases=_discrepancy_cases,
        wrong={
            "one mean for the batch": _shared_mean,
            "first and last colour only": _to_the_first,
            "the whole picture": _whole_picture,
            "divided by all pixels": _image_normalised,
            "multiplied": _multiplied,
            "channels added up": lambda o, h: 3 * discrepancy(o, h),
            "standard deviation": lambda o, h: (
                torch.where(h.bool(), o.std(0, correction=0), 0).sum((1, 2, 3))
                / (3 * h.sum((1, 2, 3))).clamp(min=1)
            ),
            "inverted hole": lambda o, h: discrepancy(o.nan_to_num(0), 1 - h),
        },
    ),
    Exercise(
        "03.4",
        reference=average,
        cases=_average_cases,
        call=_ask_average,
        wrong={
            "old and new swapped": _swapped,
            "counters averaged": _counters_too,
            "counters of the old": _old_counters,
            "dtype of the new": _new_dtype,
            "carries a gradient": _with_gradient,
            "running statistics copied": _weights_only,
            "counters shared": _shared_counters,
            "the new weights": lambda kept, now, decay: {
                name: value.detach().clone() for name, value in now.items()
            },
        },
    ),
)
