"""Exercises of lesson 04: partial convolution."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises import Cases, Exercise

Layer = Callable[..., tuple[Tensor, Tensor]]

# ------------------------------------------------------------------------------- 04.1


def known_after(valid: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """The validity after a partial convolution, padded by kernel // 2 on all sides.

    ``valid`` is (N, C, H, W), 1 = known, with one channel or one for each feature;
    ``kernel`` is odd. What lies outside the picture is unknown. Returns (N, 1, H', W')
    in the dtype of ``valid``: 1 where the window holds anything known, 0 elsewhere.
    """
    known = valid.amax(1, keepdim=True)
    return torch.nn.functional.max_pool2d(known, kernel, stride, kernel // 2)


def _scattered(draw: torch.Generator, *shape: int, share: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=draw) < share).double()


def _validity_cases() -> Cases:
    draw = torch.Generator().manual_seed(41)
    corner = torch.zeros(1, 1, 8, 8)
    corner[..., 0, 7] = 1
    turned = _scattered(draw, 2, 2, 9, 6, share=0.1).transpose(2, 3)
    return {
        "one known pixel in a corner": (corner, 3, 1),
        "three channels": (_scattered(draw, 1, 3, 8, 8, share=0.05), 3, 1),
        "stride 2, odd sides, a batch": (_scattered(draw, 2, 1, 9, 7, share=0.1), 5, 2),
        "not contiguous": (turned, 3, 2),
        "a kernel of one pixel": (_scattered(draw, 1, 2, 5, 5), 1, 1),
        "nothing known": (torch.zeros(1, 1, 6, 6), 3, 1),
        "everything known": (torch.ones(2, 1, 6, 7), 7, 2),
    }


def _only_full(valid: Tensor, kernel: int, stride: int) -> Tensor:
    return 1 - known_after(1 - valid, kernel, stride)


def _known_share(valid: Tensor, kernel: int, stride: int) -> Tensor:
    return F.avg_pool2d(valid.mean(1, True), kernel, stride, kernel // 2)


def _every_channel(valid: Tensor, kernel: int, stride: int) -> Tensor:
    return F.max_pool2d(valid.amin(1, True), kernel, stride, kernel // 2)


def _per_channel(valid: Tensor, kernel: int, stride: int) -> Tensor:
    return F.max_pool2d(valid, kernel, stride, kernel // 2)


def _known_border(valid: Tensor, kernel: int, stride: int) -> Tensor:
    side = kernel // 2
    framed = F.pad(valid.amax(1, True), [side] * 4, value=1.0)
    return F.max_pool2d(framed, kernel, stride)


def _as_bool(valid: Tensor, kernel: int, stride: int) -> Tensor:
    return known_after(valid, kernel, stride) > 0


# ------------------------------------------------------------------------------- 04.2


def partial_each(
    x: torch.Tensor, valid: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Partial convolution in which every channel has its own validity.

    ``x`` and ``valid`` are (N, C, H, W), 1 = known; ``weight`` is (O, C, K, K) with K
    odd, ``bias`` (O,). Stride 1, and K // 2 unknown pixels of padding, so the size
    stays; sum(1) is C * K * K everywhere. Values that are not known may be NaN or
    infinite; nothing of them may be seen. No gradient may be NaN, and none flows into
    ``valid``. Returns [0] the features (N, O, H, W), 0 where a window knows nothing,
    and [1] the validity (N, 1, H, W) in the dtype of ``x``.
    """
    side = weight.shape[-1] // 2
    conv = torch.nn.functional.conv2d
    total = conv(torch.where(valid == 1, x, 0), weight, padding=side)
    ones = torch.ones_like(weight[:1])
    known = conv(valid.detach().to(x.dtype), ones, padding=side)
    y = total * (ones.numel() / known.clamp(min=1)) + bias[:, None, None]
    return torch.where(known > 0, y, 0), (known > 0).to(x.dtype)


def _layer_cases() -> Cases:
    draw = torch.Generator().manual_seed(42)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    x, turned = numbers(1, 3, 8, 8), numbers(2, 2, 9, 7).transpose(2, 3)
    valid = _scattered(draw, 1, 3, 8, 8, share=0.4)
    valid[..., :5, :5] = 0  # some windows are empty
    uneven = torch.stack([torch.ones(7, 9), torch.zeros(7, 9)]).expand(2, -1, -1, -1)
    spoiled = torch.where(valid == 1, x, float("nan"))
    endless = torch.where(valid == 1, x, x.sign() * float("inf"))
    three, five = (numbers(4, 3, 3, 3), numbers(4)), (numbers(2, 2, 5, 5), numbers(2))
    return {
        "NaN under the hole": (spoiled, valid, *three),
        "scattered, with empty windows": (x, valid, *three),
        "infinities under the hole": (endless, valid, *three),
        "one channel known, the other not": (turned, uneven.double(), *five),
        "a batch, odd sides, not contiguous": (
            turned,
            _scattered(draw, 2, 2, 7, 9, share=0.6),
            *five,
        ),
        "nothing known": (x, torch.zeros_like(valid), *three),
        "everything known": (x, torch.ones_like(valid), *three),
        "a kernel of one pixel": (x, valid, numbers(2, 3, 1, 1), numbers(2)),
    }


def _wrong_layer(
    multiplied: bool = False,
    window: bool = False,
    bias_scaled: bool = False,
    leaking: bool = False,
    plain: bool = False,
    inverted: bool = False,
    shared: bool = False,
    border: bool = False,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """The reference with one mistake in it."""

    def answer(
        x: Tensor, valid: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        valid = 1 - valid if inverted else valid.detach()
        side = weight.shape[-1] // 2
        hidden = x * valid if multiplied else torch.where(valid == 1, x, 0)
        total = F.conv2d(hidden, weight, padding=side)
        counted = valid.amax(1, True).expand_as(valid) if shared else valid
        known = F.conv2d(counted, torch.ones_like(weight[:1]), padding=side)
        size: float | Tensor = weight[0, 0].numel() if window else weight[0].numel()
        if border:  # only what lies inside the picture is counted
            inside = torch.ones_like(valid)
            size = F.conv2d(inside, torch.ones_like(weight[:1]), padding=side)
        ratio: float | Tensor = 1 if plain else size / known.clamp(min=1)
        shift = bias[:, None, None]
        y = (total + shift) * ratio if bias_scaled else total * ratio + shift
        y = y if leaking else torch.where(known > 0, y, 0)
        return y, (known > 0).to(x.dtype)

    return answer


def _infinite(
    x: Tensor, valid: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    side = weight.shape[-1] // 2
    total = F.conv2d(torch.where(valid == 1, x, 0), weight, padding=side)
    known = F.conv2d(valid.detach(), torch.ones_like(weight[:1]), padding=side)
    y = total * (weight[0].numel() / known) + bias[:, None, None]
    return torch.where(known > 0, y, 0), (known > 0).to(x.dtype)


def _without_nan(
    x: Tensor, valid: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Right but for an infinity under the hole, which times 0 is NaN."""
    multiplied = _wrong_layer(multiplied=True)
    return multiplied(torch.where(x.isnan(), 0, x), valid, weight, bias)


# ------------------------------------------------------------------------------- 04.3


def ratio_after_skip(
    below: torch.Tensor, skip: torch.Tensor, channels: tuple[int, int], kernel: int
) -> torch.Tensor:
    """The factor sum(1) / sum(M) of a decoder's partial convolution, (N, 1, H, W).

    ``below`` and ``skip`` are validities (N, 1, H, W), 1 = known; ``channels`` says how
    many feature channels have the first and how many the second. Stride 1, ``kernel``
    odd, padded by kernel // 2 with unknown values, which count in sum(1). The factor
    of a window that knows nothing is 0.
    """
    pool = torch.nn.functional.avg_pool2d
    each = channels[0] * below + channels[1] * skip
    share = pool(each, kernel, 1, kernel // 2) / sum(channels)
    return torch.where(share > 0, 1 / share, 0)


def _ratio_cases() -> Cases:
    draw = torch.Generator().manual_seed(43)
    below, skip = _scattered(draw, 2, 1, 8, 8, share=0.5), torch.ones(2, 1, 8, 8)
    holed = _scattered(draw, 2, 1, 7, 9, share=0.4)
    holed[..., :4, :5] = 0
    whole = torch.ones_like(holed)
    turned = holed.transpose(2, 3)
    return {
        "below knows all": (whole, holed, (64, 32), 3),
        "neither knows all": (below, skip.double() - below, (4, 2), 3),
        "the same corner open in both": (holed, holed, (4, 3), 3),
        "a wide kernel": (below, _scattered(draw, 2, 1, 8, 8), (1, 5), 5),
        "not contiguous": (turned, turned.flip(2), (3, 7), 3),
        "nothing known": (torch.zeros_like(whole), torch.zeros_like(whole), (2, 2), 3),
        "everything known": (whole, whole, (2, 6), 5),
    }


def _unweighted(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    return ratio_after_skip(below, skip, (1, 1), kernel)


def _merged(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    either = torch.maximum(below, skip)
    return ratio_after_skip(either, either, channels, kernel)


def _swapped(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    return ratio_after_skip(below, skip, channels[::-1], kernel)


def _inside_only(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    each = channels[0] * below + channels[1] * skip
    side = kernel // 2
    mean = F.avg_pool2d(each, kernel, 1, side, count_include_pad=False)
    return torch.where(mean > 0, sum(channels) / mean, 0)


def _share_itself(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    found = ratio_after_skip(below, skip, channels, kernel)
    return torch.where(found > 0, 1 / found, 0)


def _without_channels(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    return ratio_after_skip(below, skip, channels, kernel) / sum(channels)


def _clamped(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    found = ratio_after_skip(below, skip, channels, kernel)
    return torch.where(found > 0, found, kernel**2 * float(sum(channels)))


def _mean_of_ratios(
    below: Tensor, skip: Tensor, channels: tuple[int, int], kernel: int
) -> Tensor:
    first, second = (ratio_after_skip(v, v, (1, 1), kernel) for v in (below, skip))
    return (channels[0] * first + channels[1] * second) / sum(channels)


# ------------------------------------------------------------------------------- 04.4


def leaks(
    layer: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    x: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[bool, bool]:
    """Whether a layer ``(x, valid) -> (y, valid)`` reads what it must not.

    ``x`` is (N, C, H, W), finite; ``valid`` is (N, 1, H, W), 1 = known, and some of it
    is 0. Returns [0] True if a finite value under the hole can change any bit of an
    output, of this call or a later one (it is enough to compare 0 under the whole hole
    with 0.5, with -1 and with 1000), and [1] True if NaN under the hole can. ``x`` is
    not changed.
    """

    def differs(hidden: float | torch.Tensor) -> bool:
        calls = [torch.where(valid == 1, x, value) for value in (0, hidden, 0)]
        first, *later = (layer(call, valid) for call in calls)
        pairs = [both for y in later for both in zip(first, y, strict=True)]
        return not all(torch.equal(*both) for both in pairs)

    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    finite = any(differs(value) for value in (0.5, -1.0, 1e3, 100 * noise.to(x.dtype)))
    return finite, differs(float("nan"))


_WEIGHT = torch.linspace(-1, 1, 18, dtype=torch.float64).view(1, 2, 3, 3)


def _finish(total: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    known = F.avg_pool2d(valid, 3, 1, 1)
    y = torch.where(known > 0, total / known.clamp(min=1e-6), 0)
    return y, (known > 0).to(valid.dtype)


def _selects(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    hidden = torch.where(valid == 1, x, 0)
    return _finish(F.conv2d(hidden, _WEIGHT, padding=1), valid)


def _multiplies(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return _finish(F.conv2d(x * valid, _WEIGHT, padding=1), valid)


def _reads_all(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return _finish(F.conv2d(x, _WEIGHT, padding=1), valid)


def _reads_a_little(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    y, known = _selects(x, valid)
    return y + 1e-12 * F.conv2d(x, _WEIGHT, padding=1), known


def _reads_large(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    y, known = _selects(x, valid)
    return y + F.max_pool2d((x > 50).to(x).amax(1, True), 3, 1, 1), known


def _guesses_validity(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    y, known = _selects(x, valid)
    grey = ((x == 0.5).all(1, keepdim=True) & (valid == 0)).to(x)
    return y, known * (1 - grey)


def _knows_nothing(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(valid), torch.zeros_like(valid)


@dataclass
class _Remembering:
    """Selects, but what one call hides gets into the next. All of them are equal."""

    before: Tensor | None = field(default=None, compare=False, repr=False)

    def __call__(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        y, known = _selects(x, valid)
        seen, self.before = self.before, torch.where(valid == 1, 0, x).sum()
        return (y if seen is None else y + 0.01 * seen), known


def _leak_cases() -> Cases:
    draw = torch.Generator().manual_seed(44)
    x = torch.rand(2, 2, 7, 8, generator=draw, dtype=torch.float64)
    valid = _scattered(draw, 2, 1, 7, 8, share=0.6)
    half = torch.where(valid == 1, x, 0.5)
    dark = torch.where(valid == 1, x, 0.0)
    turned = torch.rand(1, 2, 9, 5, generator=draw, dtype=torch.float64).transpose(2, 3)
    some = _scattered(draw, 1, 1, 5, 9, share=0.5)
    return {
        "a layer that selects": (_selects, x, valid),
        "one that multiplies": (_multiplies, x, valid),
        "one that reads everything, x with 0.5 in the hole": (_reads_all, half, valid),
        "the same, x with 0 in the hole": (_reads_all, dark, valid),
        "one that reads very little": (_reads_a_little, x, valid),
        "one that notices large values only": (_reads_large, x, valid),
        "one whose validity depends on a colour": (_guesses_validity, x, valid),
        "not contiguous": (_multiplies, turned, some),
        "nothing known": (_reads_all, x, torch.zeros_like(valid)),
        "one that returns zeros": (_knows_nothing, x, valid),
        "one that remembers what the call before hid": (_Remembering(), x, valid),
    }


def _wrong_leaks(
    values: tuple[float, ...] = (0.5, -1.0, 1e3),
    exact: bool = True,
    features: bool = False,
    nan: bool = True,
) -> Callable[..., tuple[bool, bool]]:
    """The reference with fewer values, a tolerance, features only, or no NaN."""

    def answer(layer: Layer, x: Tensor, valid: Tensor) -> tuple[bool, bool]:
        def differs(value: float) -> bool:
            first = layer(torch.where(valid == 1, x, 0), valid)
            again = layer(torch.where(valid == 1, x, value), valid)
            pairs = list(zip(first, again, strict=True))[: 1 if features else 2]
            same = torch.equal if exact else torch.allclose
            return not all(same(a, b) for a, b in pairs)

        finite = any(differs(value) for value in values)
        return finite, differs(float("nan")) if nan else finite

    return answer


def _by_gradient(layer: Layer, x: Tensor, valid: Tensor) -> tuple[bool, bool]:
    x = x.clone().requires_grad_()
    y, _ = layer(x, valid)
    if not y.requires_grad:
        return False, False
    (slope,) = torch.autograd.grad(y.sum(), x)
    found = bool((slope * (1 - valid)).any())
    return found, found


def _no_nan_in_the_output(layer: Layer, x: Tensor, valid: Tensor) -> tuple[bool, bool]:
    y, _ = layer(torch.where(valid == 1, x, float("nan")), valid)
    found = bool(y.isnan().any())
    return found, found


def _each_call_afresh(layer: Layer, x: Tensor, valid: Tensor) -> tuple[bool, bool]:
    return leaks(lambda *case: deepcopy(layer)(*case), x, valid)


def _nan_first(layer: Layer, x: Tensor, valid: Tensor) -> tuple[bool, bool]:
    """Nothing to remember yet in the call before NaN, and none after it."""
    first = layer(torch.where(valid == 1, x, 0), valid)
    again = layer(torch.where(valid == 1, x, float("nan")), valid)
    same = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    return leaks(layer, x, valid)[0], not same


def _wrong_memory() -> Callable[..., tuple[bool, bool]]:
    found: dict[str, tuple[bool, bool]] = {}

    def answer(layer: Layer, x: Tensor, valid: Tensor) -> tuple[bool, bool]:
        name = getattr(layer, "__name__", type(layer).__name__)
        return found.setdefault(name, leaks(layer, x, valid))

    return answer


EXERCISES = (
    Exercise(
        "04.1",
        reference=known_after,
        cases=_validity_cases,
        wrong={
            "unchanged": lambda valid, kernel, stride: valid.clone(),
            "inverted": lambda valid, kernel, stride: (
                1 - known_after(valid, kernel, stride)
            ),
            "known if all of it is": _only_full,
            "the known share": _known_share,
            "known in every channel": _every_channel,
            "each channel for itself": _per_channel,
            "a known border": _known_border,
            "stride forgotten": lambda valid, kernel, stride: known_after(
                valid, kernel, 1
            ),
            "bool": _as_bool,
        },
    ),
    Exercise(
        "04.2",
        reference=partial_each,
        cases=_layer_cases,
        atol=1e-10,
        rtol=1e-10,
        gradient=True,
        wrong={
            "multiplied": _wrong_layer(multiplied=True),
            "window without channels": _wrong_layer(window=True),
            "bias scaled": _wrong_layer(bias_scaled=True),
            "bias in empty windows": _wrong_layer(leaking=True),
            "no ratio": _wrong_layer(plain=True),
            "inverted": _wrong_layer(inverted=True),
            "one validity for all channels": _wrong_layer(shared=True),
            "border not counted": _wrong_layer(border=True),
            "infinite on the way": _infinite,
            "only NaN taken out": _without_nan,
            "swapped": lambda *case: partial_each(*case)[::-1],
        },
    ),
    Exercise(
        "04.3",
        reference=ratio_after_skip,
        cases=_ratio_cases,
        wrong={
            "each part counts the same": _unweighted,
            "known where either is": _merged,
            "channels swapped": _swapped,
            "border not counted": _inside_only,
            "the share itself": _share_itself,
            "number of channels forgotten": _without_channels,
            "huge where nothing is known": _clamped,
            "mean of two ratios": _mean_of_ratios,
            "always 1": lambda below, skip, channels, kernel: torch.ones_like(below),
        },
    ),
    Exercise(
        "04.4",
        reference=leaks,
        cases=_leak_cases,
        wrong={
            "one small value": _wrong_leaks(values=(-1.0,)),
            "grey only": _wrong_leaks(values=(0.5,)),
            "with a tolerance": _wrong_leaks(exact=False),
            "features only": _wrong_leaks(features=True),
            "no NaN": _wrong_leaks(nan=False),
            "by gradient": _by_gradient,
            "NaN in the output": _no_nan_in_the_output,
            "a fresh copy of the layer for each call": _each_call_afresh,
            "NaN tried first": _nan_first,
            "a verdict kept for each layer": _wrong_memory(),
            "swapped": lambda *case: leaks(*case)[::-1],
            "never": lambda layer, x, valid: (False, False),
        },
    ),
)
