"""Exercises of lesson 07: mask-aware dynamic filtering."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib.exercises import Cases, Exercise
from course_lib.exercises.mistakes import Judge, Mistakes, answers


def _numbers(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _features(draw: torch.Generator, *shape: int) -> Tensor:
    """At least 0, and often 0, as after ReLU."""
    return _numbers(draw, *shape).relu()


# ------------------------------------------------------------------------------- 07.1


def made_kernel(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    inputs: int,
    size: int,
) -> torch.Tensor:
    """The kernel that mask-aware dynamic filtering makes for one window.

    ``features`` (J,), at least 0, are the mask features at the window's place. A linear
    layer, ``weight`` (inputs * size * size * outputs, J) and ``bias`` (inputs * size *
    size * outputs,), makes all numbers of the kernel from them: for each feature what
    it scales, and a fixed part that no feature scales. They come in the published
    order: the input channel changes slowest, then the row, then the column, and the
    output channel changes fastest.

    Returns the kernel in the order of ``torch.nn.functional.conv2d``: (outputs, inputs,
    size, size), rows before columns.
    """
    numbers = weight @ features + bias
    return numbers.view(inputs, size, size, -1).permute(3, 0, 1, 2)


def _kernel_cases() -> Cases:
    draw = torch.Generator().manual_seed(71)

    def layer(count: int, inputs: int, size: int, outputs: int) -> tuple[Any, ...]:
        rows = inputs * size**2 * outputs
        weight, bias = _numbers(draw, rows, count), _numbers(draw, rows)
        return _features(draw, count), weight, bias, inputs, size

    features, weight, bias, *sizes = layer(5, 3, 3, 2)
    turned = weight.T.contiguous().T
    single = tuple(part.float() for part in layer(4, 2, 5, 3)[:3])
    return {
        "each number says channel, row, column, output": _numbered(2, 3, 4),
        "random numbers": layer(4, 3, 5, 2),
        "one feature, one input": layer(1, 1, 3, 4),
        "one output": layer(3, 4, 3, 1),
        "as many outputs as inputs": layer(6, 3, 3, 3),
        "a kernel of one pixel": layer(3, 5, 1, 4),
        "all features 0": (0 * features, weight, bias, *sizes),
        "nothing fixed, not contiguous": (features + 1, turned, 0 * bias, *sizes),
        "sixteen features, 7 x 7": layer(16, 4, 7, 3),
        "float32": (*single, 2, 5),
    }


def _numbered(inputs: int, size: int, outputs: int) -> tuple[Any, ...]:
    """Makes 1111, for channel 1, row 1, column 1, output 1, up to the last."""
    parts = [torch.arange(1.0, count + 1) for count in (inputs, size, size, outputs)]
    digits = torch.cartesian_prod(*parts).double()
    named = digits @ torch.tensor([1000.0, 100.0, 10.0, 1.0], dtype=torch.float64)
    weight, features = torch.stack([named / 2, named / 8], 1), torch.tensor([1.0, 2.0])
    return features.double(), weight, named / 4, inputs, size


def _ordered(numbers: Tensor, inputs: int, size: int) -> Tensor:
    return numbers.view(inputs, size, size, -1).permute(3, 0, 1, 2)


def _sum(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return weight @ features + bias


def _outputs_slowest(numbers: Tensor, inputs: int, size: int) -> Tensor:
    return numbers.view(-1, inputs, size, size)


def _outputs_second(numbers: Tensor, inputs: int, size: int) -> Tensor:
    return numbers.view(inputs, -1, size, size).transpose(0, 1)


def _channels_third(numbers: Tensor, inputs: int, size: int) -> Tensor:
    return numbers.view(size, size, inputs, -1).permute(3, 2, 0, 1)


def _only_strongest(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    best = features.argmax()
    return weight[:, best] * features[best] + bias


@dataclass(frozen=True)
class _Made:
    """The reference with another sum, another order, or something at the end."""

    total: Callable[[Tensor, Tensor, Tensor], Tensor] = _sum
    order: Callable[[Tensor, int, int], Tensor] = _ordered
    end: Callable[[Tensor], Tensor] = torch.clone

    def __call__(
        self, features: Tensor, weight: Tensor, bias: Tensor, inputs: int, size: int
    ) -> Tensor:
        return self.end(self.order(self.total(features, weight, bias), inputs, size))


def _two_orders(
    features: Tensor, weight: Tensor, bias: Tensor, inputs: int, size: int
) -> Tensor:
    fixed = _outputs_slowest(bias, inputs, size)
    return _ordered(weight @ features, inputs, size) + fixed


MADE: Mistakes = {
    "outputs slowest": (
        _Made(order=_outputs_slowest),
        "here the output channel changes slowest, as in conv2d: it must change "
        "fastest, so it is the last axis of the view, and only then do axes move",
    ),
    "outputs second": (
        _Made(order=_outputs_second),
        "here the output channel is the second axis of the view: it changes fastest, "
        "so it must be the last, after row and column",
    ),
    "channels third": (
        _Made(order=_channels_third),
        "here row and column change slower than the input channel: in unfold's order "
        "the channel comes first",
    ),
    "rows and columns swapped": (
        _Made(end=lambda kernel: kernel.transpose(2, 3)),
        "rows and columns are swapped: keep their order when you move axes",
    ),
    "inputs before outputs": (
        _Made(end=lambda kernel: kernel.transpose(0, 1)),
        "inputs stand before outputs: conv2d wants (outputs, inputs, size, size)",
    ),
    "a matrix": (
        _Made(end=lambda kernel: kernel.flatten(1).T),
        "this is the matrix that multiplies an unfolded window: give it the shape of a "
        "kernel",
    ),
    "as unfold has it": (
        _Made(end=lambda kernel: kernel.permute(1, 2, 3, 0)),
        "the outputs are still the last axis: move it to the front with permute",
    ),
    "the kernel turned round": (
        _Made(end=lambda kernel: kernel.flip(2, 3)),
        "the kernel is turned round: conv2d does not flip, so nothing has to be undone",
    ),
    "the fixed part forgotten": (
        _Made(total=lambda features, weight, bias: weight @ features),
        "the fixed part is missing: add the bias",
    ),
    "the fixed part alone": (
        _Made(total=lambda features, weight, bias: bias.clone()),
        "this is the fixed part alone: add what the features scale",
    ),
    "the fixed part scaled too": (
        _Made(total=lambda features, weight, bias: (weight + bias[:, None]) @ features),
        "the features scale the fixed part too: add the bias once, after the product",
    ),
    "the fixed part in another order": (
        _two_orders,
        "only the fixed part is out of order: add the bias before the view",
    ),
    "a mean over the features": (
        _Made(total=lambda features, weight, bias: (weight * features).mean(1) + bias),
        "this is a mean over the features: it is their sum",
    ),
    "features not asked": (
        _Made(total=lambda features, weight, bias: weight.sum(1) + bias),
        "every feature counts as 1: multiply by the features",
    ),
    "the strongest feature alone": (
        _Made(total=_only_strongest),
        "only the largest feature is counted: all have their part",
    ),
    "features as shares": (
        _Made(total=lambda features, *layer: _sum(features.softmax(0), *layer)),
        "a softmax was taken over the features: they are used as they are",
    ),
    "no negative number": (
        _Made(end=torch.relu),
        "numbers below 0 are cut: ReLU belongs to the features, not to the kernel",
    ),
    "the kernel as shares": (
        _Made(end=lambda kernel: kernel / kernel.sum((1, 2, 3), keepdim=True)),
        "the kernel was divided by its sum: nothing is normalised",
    ),
}


# ------------------------------------------------------------------------------- 07.2


def filtered(
    x: torch.Tensor,
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    size: int,
    stride: int,
    padding: int,
) -> torch.Tensor:
    """Filters every window with a kernel of its own, and makes none of these kernels.

    ``x`` is (N, inputs, H, W); ``features`` (N, J, H', W'), at least 0, has the size of
    the output: of a convolution of ``x`` with ``size``, ``stride`` and ``padding`` with
    zeros. ``weight`` (inputs * size * size * outputs, J) and ``bias`` (inputs * size *
    size * outputs,) make the kernel of a place from the J features there, weight @
    features + bias; of its numbers the input channel changes slowest, then row and
    column, and the output channel fastest. Returns y (N, outputs, H', W'): at each
    place the window there, multiplied with the kernel made there and added up, as
    ``torch.nn.functional.conv2d`` does it.

    The kernels of all places would be N * H' * W' * inputs * size * size * outputs
    numbers. For a large map, all tensors that are made on the way, results included and
    views not, have fewer numbers than that together.
    """
    conv2d, inputs = torch.nn.functional.conv2d, x.shape[1]
    numbers = torch.cat([bias[:, None], weight], 1).T
    kernels = numbers.reshape(len(numbers), inputs, size, size, -1)
    kernels = kernels.permute(0, 4, 1, 2, 3)  # (1 + J, outputs, inputs, size, size)
    each = conv2d(x, kernels.flatten(0, 1), stride=stride, padding=padding)
    each = each.unflatten(1, (len(numbers), -1))
    return each[:, 0] + (each[:, 1:] * features[:, :, None]).sum(1)


def _filter_cases() -> Cases:
    draw = torch.Generator().manual_seed(72)

    def case(
        x: Tensor, count: int, out: int, size: int, stride: int, padding: int
    ) -> tuple[Any, ...]:
        sides = ((n + 2 * padding - size) // stride + 1 for n in x.shape[2:])
        features = _features(draw, len(x), count, *sides)
        rows = x.shape[1] * size**2 * out
        weight, bias = _numbers(draw, rows, count), _numbers(draw, rows)
        return x, features, weight, bias, size, stride, padding

    x, wide = _numbers(draw, 1, 2, 6, 6), _numbers(draw, 3, 3, 9, 7)
    small = case(x, 3, 2, 3, 1, 1)
    turned = _numbers(draw, 2, 6, 8, 3).permute(0, 3, 2, 1)
    level = case(wide, 4, 2, 3, 2, 1)
    alike = (wide, level[1][:, :, :1, :1].expand_as(level[1]).contiguous() + 1)
    large = _numbers(draw, 2, 8, 14, 11)
    return {
        "6 x 6, three features": case(x, 3, 3, 3, 1, 1),
        "odd sides, a batch, stride 2": case(wide, 4, 2, 5, 2, 2),
        "no padding": case(wide, 2, 5, 3, 1, 0),
        "one feature, one output": case(x, 1, 1, 3, 2, 1),
        "a kernel of one pixel": case(wide, 3, 4, 1, 1, 0),
        "all features 0": (x, 0 * small[1], *small[2:]),
        "the same features at all places": (*alike, *level[2:]),
        "nothing fixed": (*small[:3], 0 * small[3], *small[4:]),
        "stride 3, more padding, not contiguous": case(turned, 3, 4, 3, 3, 2),
        "a large map": case(large, 3, 16, 5, 1, 2),
    }


class _MakesNew(TorchDispatchMode):
    """Counts the numbers in all tensors made, without views, by their shape."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or PyTorch would load its compiler here, which takes seconds

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[tuple[int, ...]] = Counter()
        self.numbers: Counter[tuple[int, ...]] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        old = {_place(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            if _place(tensor) not in old:
                shape = tuple(tensor.shape)
                storage = tensor.untyped_storage()
                self.times[shape] += 1
                self.numbers[shape] += storage.nbytes() // tensor.element_size()
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _place(tensor: Tensor) -> int:
    """Where a tensor's numbers are: the same for all views of it."""
    return tensor.untyped_storage().data_ptr()


@dataclass(frozen=True)
class _Work:
    """How many numbers an answer made on its way, and in which shape most of them."""

    numbers: int
    shape: tuple[int, ...]
    times: int


def _ask_filtered(
    answer: Callable[..., Any],
    x: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Any:
    with _MakesNew() as made:
        y = answer(x, features, weight, bias, size, stride, padding)
    if y is None or y is Ellipsis:
        return y
    shape, _ = (made.numbers.most_common(1) or [((), 0)])[0]
    work = _Work(made.numbers.total(), shape, made.times[shape])
    return {"y": y, "work": work}


def _judge_filtered(
    got: Any, x: Tensor, features: Tensor, weight: Tensor, bias: Tensor, *rest: int
) -> str:
    text = _VALUES(got["y"], x, features, weight, bias, *rest)
    kernels = len(features) * features[0, 0].numel() * len(bias)
    work: _Work = got["work"]
    if text or kernels < LARGE or work.numbers < kernels:
        return text
    shape = " x ".join(map(str, work.shape))
    return (
        f"the values are right, but the tensors made on the way have {work.numbers:,} "
        f"numbers together; fewer than {kernels:,} are asked for, which is what the "
        f"kernels of all places have.\n  {work.times:,} of shape {shape} have most of "
        f"them\n  {NO_KERNEL}"
    )


NO_KERNEL = (
    "a place's kernel is a sum of kernels that are the same for all places, each "
    "scaled by a feature there: filter with those, and scale what comes out"
)
LARGE = 500_000


def _parts(x: Tensor, weight: Tensor, bias: Tensor, size: int) -> Tensor:
    """The fixed kernel, then each feature's: (1 + J, outputs, inputs, k, k)."""
    numbers = torch.cat([bias[:, None], weight], 1)
    split = numbers.view(x.shape[1], size, size, -1, numbers.shape[1])
    return split.permute(4, 3, 0, 1, 2)


def _convolved(x: Tensor, parts: Tensor, stride: int, padding: int) -> Tensor:
    y = F.conv2d(x, parts.flatten(0, 1), None, stride, padding)
    return y.unflatten(1, (len(parts), -1))


def _gated(each: Tensor, features: Tensor) -> Tensor:
    return each[:, 0] + torch.einsum("njohw,njhw->nohw", each[:, 1:], features)


@dataclass(frozen=True)
class _Filter:
    """The reference with other functions in the places of its own."""

    features: Callable[[Tensor], Tensor] = torch.clone
    parts: Callable[[Tensor], Tensor] = torch.clone
    each: Callable[[Tensor, Tensor, int, int], Tensor] = _convolved
    end: Callable[[Tensor, Tensor], Tensor] = _gated

    def __call__(
        self,
        x: Tensor,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        size: int,
        stride: int,
        padding: int,
    ) -> Tensor:
        parts = self.parts(_parts(x, weight, bias, size))
        each = self.each(x, parts, stride, padding)
        return self.end(each, self.features(features))


def _kernel_for_each(
    x: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """The published form: unfold, and all kernels at once."""
    windows = F.unfold(x, size, padding=padding, stride=stride)  # (N, i k k, places)
    made = torch.einsum("wj,njp->npw", weight, features.flatten(2)) + bias
    kernels = made.unflatten(2, (windows.shape[1], -1))
    y = torch.einsum("nip,npio->nop", windows, kernels)
    return y.unflatten(2, features.shape[2:])


def _place_by_place(
    x: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """A kernel at a time, in a loop."""
    windows = F.unfold(x, size, padding=padding, stride=stride).mT
    flat, results = features.flatten(2).mT, []
    for window, feature in zip(windows.flatten(0, 1), flat.flatten(0, 1), strict=True):
        kernel = (weight @ feature + bias).view(len(window), -1)
        results.append(window @ kernel)
    return (
        torch.stack(results)
        .unflatten(0, windows.shape[:2])
        .mT.unflatten(2, features.shape[2:])
    )


def _cut(each: Tensor, features: Tensor) -> Tensor:
    """To the size of the features, with zeros where there is nothing to cut."""
    down, right = (features.shape[k] - each.shape[k + 1] for k in (2, 3))
    return F.pad(each, [0, right, 0, down])


def _at_steps_of_1(x: Tensor, features: Tensor, *rest: Any) -> Tensor:
    weight, bias, size, _, padding = rest
    each = _convolved(x, _parts(x, weight, bias, size), 1, padding)
    return _gated(_cut(each, features), features)


def _not_padded(x: Tensor, features: Tensor, *rest: Any) -> Tensor:
    weight, bias, size, stride, _ = rest
    each = _convolved(x, _parts(x, weight, bias, size), stride, 0)
    return _gated(_cut(each, features), features)


def _inputs_gated(x: Tensor, features: Tensor, *rest: Any) -> Tensor:
    """Scales what goes in, by features brought to the size of ``x``."""
    weight, bias, size, stride, padding = rest
    fixed, *parts = _parts(x, weight, bias, size)
    large = F.interpolate(features, x.shape[2:], mode="nearest")
    y = F.conv2d(x, fixed, None, stride, padding)
    for j, part in enumerate(parts):
        y = y + F.conv2d(x * large[:, j, None], part, None, stride, padding)
    return y


def _mirrored(x: Tensor, parts: Tensor, stride: int, padding: int) -> Tensor:
    return _convolved(F.pad(x, [padding] * 4, mode="reflect"), parts, stride, 0)


def _taken_apart(x: Tensor, parts: Tensor, stride: int, padding: int) -> Tensor:
    """The outputs of the one convolution, with its two axes confused."""
    y = F.conv2d(x, parts.flatten(0, 1), None, stride, padding)
    return y.unflatten(1, (-1, len(parts))).transpose(1, 2)


def _read_as(order: Callable[[Tensor, int, int], Tensor]) -> _Filter:
    """The reference that takes the kernels' numbers in another order."""

    def read(parts: Tensor) -> Tensor:
        inputs, size = parts.shape[2:4]
        lines = parts.permute(0, 2, 3, 4, 1).flatten(1)
        return torch.stack([order(line, inputs, size) for line in lines])

    return _Filter(parts=read)


def _sharing(share: Callable[[Tensor, Tensor], Tensor]) -> _Filter:
    """The reference with ``share(each, features)`` added to the fixed part's result."""
    return _Filter(end=lambda each, features: each[:, 0] + share(each, features))


def _scaled(each: Tensor, features: Tensor) -> Tensor:
    return each[:, 1:] * features[:, :, None]


FILTERED: Mistakes = {
    "outputs slowest": (_read_as(_outputs_slowest), MADE["outputs slowest"][1]),
    "outputs second": (_read_as(_outputs_second), MADE["outputs second"][1]),
    "channels third": (_read_as(_channels_third), MADE["channels third"][1]),
    "rows and columns swapped": (
        _Filter(parts=lambda parts: parts.mT),
        "rows and columns of the kernels are swapped",
    ),
    "the kernels turned round": (
        _Filter(parts=lambda parts: parts.flip(3, 4)),
        "the kernels are turned round: conv2d does not flip",
    ),
    "outputs and features confused": (
        _Filter(each=_taken_apart),
        "the outputs of one convolution were taken apart in another order than its "
        "kernels were put together",
    ),
    "the fixed part forgotten": (
        _Filter(end=lambda each, features: _scaled(each, features).sum(1)),
        "the fixed part is missing: a convolution with the kernel made of the bias",
    ),
    "the fixed part alone": (
        _Filter(end=lambda each, features: each[:, 0].clone()),
        "this is the fixed part alone: add what the features scale",
    ),
    "the fixed part for each feature": (
        _sharing(
            lambda each, features: (
                _scaled(each, features).sum(1) + (features.shape[1] - 1) * each[:, 0]
            )
        ),
        "the fixed part is counted once for each feature: add it once",
    ),
    "the fixed part scaled too": (
        _Filter(
            end=lambda each, features: (
                _scaled(each, features).sum(1) + each[:, 0] * features.sum(1, True)
            )
        ),
        "the features scale the fixed part too: it stays as it is",
    ),
    "a mean over the features": (
        _sharing(lambda each, features: _scaled(each, features).mean(1)),
        "this is a mean over the features: it is their sum",
    ),
    "features not asked": (
        _sharing(lambda each, features: each[:, 1:].sum(1)),
        "every feature counts as 1: multiply by the features",
    ),
    "the strongest feature alone": (
        _sharing(lambda each, features: _scaled(each, features).amax(1)),
        "this is the largest over the features: it is their sum",
    ),
    "features as shares": (
        _Filter(features=lambda features: features.softmax(1)),
        "a softmax was taken over the features: they are used as they are",
    ),
    "one sample's features for all": (
        _Filter(features=lambda features: features[:1].expand_as(features)),
        "all samples were filtered by the features of the first: each has its own",
    ),
    "the same features at all places": (
        _Filter(features=lambda f: f.mean((2, 3), keepdim=True).expand_as(f)),
        "the features were averaged over the places: then every window has the same "
        "kernel",
    ),
    "what goes in scaled": (
        _inputs_gated,
        "the features scale x: then each pixel of a window has its own scale. Scale "
        "what comes out",
    ),
    "stride forgotten": (
        _at_steps_of_1,
        "the windows lie one pixel apart: give conv2d the stride",
    ),
    "padding forgotten": (
        _not_padded,
        "the windows start inside x: give conv2d the padding",
    ),
    "mirrored at the border": (
        _Filter(each=_mirrored),
        "x was mirrored at the border: pad with zeros",
    ),
    "ReLU at the end": (
        _Filter(end=lambda each, features: _gated(each, features).relu()),
        "values below 0 are cut: nothing comes after the filtering",
    ),
}


# ------------------------------------------------------------------------------- 07.3


def different_windows(
    hole: torch.Tensor, size: int, stride: int, padding: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many different kernels the first level can make, and how rare each one is.

    ``hole`` is (N, 1, H, W), binary, 1 = missing. The first level looks at 1 - hole
    through windows of ``size`` x ``size``, ``stride`` apart, after ``padding`` with
    zeros on all sides, and makes a kernel for each window from what it sees there. So
    what is outside the picture counts as missing, and two windows get the same kernel
    if the same of their places are missing.

    Returns [0] the number of different windows of each sample, int64, (N,), and [1] a
    map, (N, 1, H', W') of the dtype of ``hole``, H' x W' as of a convolution: of all
    windows of the sample, the share that equals this one, itself included.
    """
    unfold = torch.nn.functional.unfold
    windows = unfold(1 - hole, size, padding=padding, stride=stride)
    rows = (hole.shape[2] + 2 * padding - size) // stride + 1
    numbers, shares = [], []
    for sample in windows:
        found = torch.unique(sample, dim=1, return_inverse=True, return_counts=True)
        _, which, times = found
        numbers.append(len(times))
        shares.append(times[which].view(1, rows, -1).to(hole.dtype) / len(which))
    return torch.tensor(numbers), torch.stack(shares)


def _scattered(draw: torch.Generator, *shape: int, share: float = 0.4) -> Tensor:
    return (torch.rand(shape, generator=draw) < share).float()


def _box(shape: tuple[int, ...], rows: slice, columns: slice) -> Tensor:
    hole = torch.zeros(shape)
    hole[..., rows, columns] = 1
    return hole


def _window_cases() -> Cases:
    draw = torch.Generator().manual_seed(73)
    small = _box((1, 1, 7, 9), slice(2, 5), slice(2, 5))
    few = torch.cat([small, small.flip(3), 0 * small])
    few[1, 0, 0, 0] = 1
    wide = torch.zeros(1, 1, 17, 23)
    wide[..., 4:11, 6:15] = 1
    wide[..., 9:16, 9:11] = 1
    three = torch.cat([wide, 0 * wide, 0 * wide + 1])
    noise = _scattered(draw, 2, 1, 13, 11)
    level = _box((1, 1, 32, 32), slice(9, 22), slice(12, 25))
    turned = _scattered(draw, 2, 1, 7, 12, share=0.15).transpose(2, 3)
    return {
        "7 x 9, a box": (small, 3, 1, 1),
        "nothing missing": (0 * wide, 3, 1, 1),
        "everything missing": (0 * wide + 1, 3, 1, 1),
        "a batch, odd sides, stride 2": (three, 5, 2, 2),
        "each sample its hole": (few, 2, 1, 0),
        "no padding": (wide, 3, 1, 0),
        "7 x 7, as in MADF": (level, 7, 2, 3),
        "scattered, 7 x 7": (noise, 7, 1, 3),
        "windows of one pixel": (noise, 1, 1, 0),
        "more padding than a window needs": (wide, 3, 2, 3),
        "windows with gaps": (noise.double(), 2, 3, 0),
        "not contiguous": (turned, 3, 1, 1),
    }


def _windows(hole: Tensor, size: int, stride: int, padding: int) -> Tensor:
    return F.unfold(1 - hole, size, padding=padding, stride=stride)


def _count(sample: Tensor) -> tuple[int, Tensor]:
    """The number of different columns, and how many are like each."""
    _, which, times = torch.unique(
        sample, dim=1, return_inverse=True, return_counts=True
    )
    return len(times), times[which]


def _share(times: Tensor, hole: Tensor, number: int) -> Tensor:
    return times.to(hole.dtype) / len(times)


@dataclass(frozen=True)
class _Windows:
    """The reference with other functions in the places of its own."""

    see: Callable[[Tensor, int, int, int], Tensor] = _windows
    key: Callable[[Tensor], Tensor] = torch.clone
    count: Callable[[Tensor], tuple[int, Tensor]] = _count
    share: Callable[[Tensor, Tensor, int], Tensor] = _share

    def __call__(
        self, hole: Tensor, size: int, stride: int, padding: int
    ) -> tuple[Tensor, Tensor]:
        down, across = (
            (side + 2 * padding - size) // stride + 1 for side in hole.shape[2:]
        )
        numbers, shares = [], []
        for sample in self.see(hole, size, stride, padding):
            number, times = self.count(self.key(sample))
            numbers.append(number)
            shares.append(self.share(times, hole, number).view(1, down, across))
        return torch.tensor(numbers), torch.stack(shares)


def _pooled(
    hole: Tensor, size: int, stride: int, padding: int
) -> tuple[Tensor, Tensor]:
    """All samples as one."""
    windows = _windows(hole, size, stride, padding)
    number, times = _count(windows.transpose(0, 1).flatten(1))
    like = different_windows(hole, size, stride, padding)[1]
    share = times.to(hole.dtype) / len(times)
    return torch.full((len(hole),), number), share.view_as(like)


def _only_first(
    hole: Tensor, size: int, stride: int, padding: int
) -> tuple[Tensor, Tensor]:
    return different_windows(hole[:1].expand_as(hole), size, stride, padding)


def _middle(sample: Tensor) -> Tensor:
    return sample[len(sample) // 2, None]


def _in_float32(sample: Tensor) -> Tensor:
    """A number for each pattern, of more binary digits than float32 has."""
    powers = 2.0 ** torch.arange(len(sample), dtype=torch.float32)
    return (powers @ sample.float())[None]


def _neighbours(sample: Tensor) -> tuple[int, Tensor]:
    """Counts runs: equal windows that are not neighbours count again."""
    _, which, times = torch.unique_consecutive(
        sample, dim=1, return_inverse=True, return_counts=True
    )
    return len(times), times[which]


def _values(sample: Tensor) -> tuple[int, Tensor]:
    """``unique`` without ``dim``: of the zeros and ones, not of the windows."""
    return len(sample.unique()), _count(sample)[1]


def _of_map(
    change: Callable[[Tensor], Tensor],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """The right number with another map."""

    def answer(*case: Any) -> tuple[Tensor, Tensor]:
        number, share = different_windows(*case)
        return number, change(share)

    return answer


WINDOWS: Mistakes = {
    "outside known": (
        _Windows(
            see=lambda hole, *window: (
                1 - F.unfold(hole, window[0], padding=window[2], stride=window[1])
            )
        ),
        "outside the picture counts as known: unfold 1 - hole, so that zeros are "
        "missing",
    ),
    "the middle alone": (
        _Windows(key=_middle),
        "only the middle of each window is compared: all its places are",
    ),
    "how many are known": (
        _Windows(key=lambda sample: sample.sum(0, keepdim=True)),
        "windows are compared by how many of their places are missing: it matters "
        "which",
    ),
    "known if anything is": (
        _Windows(key=lambda sample: sample.amax(0, keepdim=True)),
        "windows are compared by whether anything is known: compare each place",
    ),
    "known if all is": (
        _Windows(key=lambda sample: sample.amin(0, keepdim=True)),
        "windows are compared by whether everything is known: compare each place",
    ),
    "runs": (
        _Windows(count=_neighbours),
        "equal windows that are not neighbours are counted again: use unique, not "
        "unique_consecutive",
    ),
    "values": (
        _Windows(count=_values),
        "unique without dim looks at single numbers: compare columns, dim=1",
    ),
    "a number of too many digits": (
        _Windows(key=_in_float32),
        "windows of 49 places became numbers of 49 binary digits: float32 holds 24 and "
        "takes some of them for equal",
    ),
    "samples together": (
        _pooled,
        "the windows of all samples were counted together: each sample for itself",
    ),
    "the first sample for all": (
        _only_first,
        "all samples have the first one's result",
    ),
    "how many, not which share": (
        _Windows(share=lambda times, hole, number: times.to(hole.dtype)),
        "the map counts windows: divide by the number of windows",
    ),
    "share of the pixels": (
        _Windows(share=lambda times, hole, number: times / hole[0].numel()),
        "the map is divided by the number of pixels: divide by the number of windows",
    ),
    "share of the different": (
        _Windows(share=lambda times, hole, number: times.to(hole.dtype) / number),
        "the map is divided by the number of different windows: divide by that of all",
    ),
    "itself left out": (
        _Windows(
            share=lambda times, hole, number: (times - 1).to(hole.dtype) / len(times)
        ),
        "the window itself is left out: it is included",
    ),
    "the others": (
        _of_map(lambda share: 1 - share),
        "this is the share that differs from the window: return the share that equals "
        "it",
    ),
    "evenly": (
        _Windows(
            share=lambda times, hole, number: torch.full(
                times.shape, 1 / number, dtype=hole.dtype
            )
        ),
        "every window has the same share: count how often each occurs",
    ),
    "a list of shares": (
        _of_map(lambda share: share.flatten(2)),
        "the map's rows and columns are missing: view(N, 1, H', W')",
    ),
    "columns first": (
        _of_map(lambda share: share.flatten(2).view(share.mT.shape).mT),
        "the windows are numbered row by row: H' rows of W'",
    ),
    "map first": (
        lambda *case: different_windows(*case)[::-1],
        "the number comes first, then the map",
    ),
}


# ------------------------------------------------------------------------------- 07.4


def normalised(
    x: torch.Tensor,
    guidance: torch.Tensor,
    to_scale: torch.Tensor,
    to_shift: torch.Tensor,
) -> torch.Tensor:
    """Point-wise normalisation: at each place its own scale and shift, from a guide.

    ``x`` is (N, C, H, W), ``guidance`` (N, G, h, w). Where h x w is not H x W, the
    guide is first resized to it, as ``torch.nn.functional.interpolate`` does it with
    mode="bilinear" and align_corners=False. ``to_scale`` and ``to_shift``, (C, G, 3,
    3), are the weights of two convolutions of the guide, padded by 1 with zeros,
    without bias; they make the maps scale and shift, each (N, C, H, W).

    Each channel of ``x`` is normalised over the batch and all places: less its mean,
    divided by the root of its variance + 1e-5, where the variance is the mean of the
    squared distances from the mean. Returns that times (1 + scale), plus shift.
    Gradients flow through all of it, the statistics too; a channel that is the same
    everywhere stays finite, and so do its gradients.
    """
    functional, size = torch.nn.functional, x.shape[2:]
    if guidance.shape[2:] != size:
        guidance = functional.interpolate(
            guidance, size, mode="bilinear", align_corners=False
        )
    scale = functional.conv2d(guidance, to_scale, padding=1)
    shift = functional.conv2d(guidance, to_shift, padding=1)
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt() * (1 + scale) + shift


def _norm_cases() -> Cases:
    draw = torch.Generator().manual_seed(74)

    def numbers(*shape: int) -> Tensor:  # of the dtype that layers are made in
        return torch.randn(shape, generator=draw)

    def case(shape: tuple[int, ...], guide: tuple[int, ...]) -> tuple[Tensor, ...]:
        x, guidance = numbers(*shape), numbers(shape[0], *guide)
        spread = 0.5 + torch.rand(shape[1], 1, 1, generator=draw)
        layers = (numbers(shape[1], guide[0], 3, 3) / 3 for _ in range(2))
        return x * spread + numbers(shape[1], 1, 1), guidance, *layers

    x, guidance, scale, shift = case((2, 3, 6, 5), (2, 6, 5))
    flat, quiet = x.clone(), x / 500
    flat[:, 1] = 0.75
    unlike = case((4, 2, 5, 5), (3, 5, 5))
    far = unlike[0] + torch.arange(4).view(4, 1, 1, 1)
    wide = (part.transpose(2, 3) for part in case((2, 3, 9, 6), (2, 4, 7)))
    ones = torch.ones_like(guidance)
    return {
        "a batch, a guide of its size": case((3, 2, 7, 5), (3, 7, 5)),
        "samples unlike each other": (far, *unlike[1:]),
        "little variance": (quiet, guidance, scale, shift),
        "a smaller guide, odd sides": case((2, 3, 9, 7), (2, 4, 3)),
        "a larger guide": case((2, 2, 5, 7), (3, 11, 13)),
        "a constant channel": (flat, guidance, scale, shift),
        "a constant guide": (x, ones, scale, shift),
        "scale 0, shift 0": (x, guidance, 0 * scale, 0 * shift),
        "one sample, one channel": case((1, 1, 5, 3), (1, 5, 3)),
        "not contiguous": tuple(wide),
    }


def _by_batch(x: Tensor, dim: tuple[int, ...] = (0, 2, 3), n: int = 0) -> Tensor:
    variance, mean = torch.var_mean(x, dim, correction=n, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def _maps(guidance: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(guidance, weight, padding=1)


def _bilinear(guidance: Tensor, size: Any, corners: bool = False) -> Tensor:
    return F.interpolate(guidance, size, mode="bilinear", align_corners=corners)


@dataclass(frozen=True)
class _Norm:
    """The reference with other functions in the places of its own."""

    norm: Callable[[Tensor], Tensor] = _by_batch
    resize: Callable[[Tensor, Any], Tensor] = _bilinear
    maps: Callable[[Tensor, Tensor], Tensor] = _maps
    end: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda x, scale, shift: (
        x * (1 + scale) + shift
    )

    def __call__(
        self, x: Tensor, guidance: Tensor, to_scale: Tensor, to_shift: Tensor
    ) -> Tensor:
        guide = self.resize(guidance, x.shape[2:])
        scale, shift = self.maps(guide, to_scale), self.maps(guide, to_shift)
        return self.end(self.norm(x), scale, shift)


def _root_first(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance.sqrt() + 1e-5)


def _maps_resized(
    x: Tensor, guidance: Tensor, to_scale: Tensor, to_shift: Tensor
) -> Tensor:
    """First the convolutions, at the guide's size, then the resizing."""
    weights = (to_scale, to_shift)
    scale, shift = (_bilinear(_maps(guidance, w), x.shape[2:]) for w in weights)
    return _by_batch(x) * (1 + scale) + shift


def _guide_normalised(
    x: Tensor, guidance: Tensor, to_scale: Tensor, to_shift: Tensor
) -> Tensor:
    return normalised(x, _by_batch(guidance), to_scale, to_shift)


def _detached(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


NORMALISED: Mistakes = {
    "the 1 forgotten": (
        _Norm(end=lambda x, scale, shift: x * scale + shift),
        "the 1 is missing: multiply by 1 + scale, so that a scale of 0 changes nothing",
    ),
    "scale and shift swapped": (
        _Norm(end=lambda x, scale, shift: x * (1 + shift) + scale),
        "scale and shift are swapped",
    ),
    "shift first": (
        _Norm(end=lambda x, scale, shift: (x + shift) * (1 + scale)),
        "the shift was scaled too: multiply first, then add it",
    ),
    "shift forgotten": (
        _Norm(end=lambda x, scale, shift: x * (1 + scale)),
        "the shift is missing",
    ),
    "one scale for a channel": (
        _Norm(
            end=lambda x, scale, shift: (
                x * (1 + scale.mean((2, 3), True)) + shift.mean((2, 3), True)
            )
        ),
        "scale and shift are one number for each channel: each place has its own",
    ),
    "not normalised": (
        _Norm(norm=torch.clone),
        "x is not normalised, or by a mean of 0 and a variance of 1, as in evaluation "
        "mode: take both from x",
    ),
    "each sample by itself": (
        _Norm(norm=lambda x: _by_batch(x, (2, 3))),
        "each sample was normalised by itself: mean and variance go over the batch too",
    ),
    "all channels together": (
        _Norm(norm=lambda x: _by_batch(x, (0, 1, 2, 3))),
        "all channels were normalised together: each has its own mean and variance",
    ),
    "over the channels": (
        _Norm(norm=lambda x: _by_batch(x, (1,))),
        "each place was normalised over its channels: it goes over batch and places",
    ),
    "each place over the batch": (
        _Norm(norm=lambda x: _by_batch(x, (0,))),
        "each place has its own mean and variance: take them over the places too",
    ),
    "n - 1": (
        _Norm(norm=lambda x: _by_batch(x, n=1)),
        "the sum of squares was divided by n - 1: divide by n, with correction=0",
    ),
    "the mean left": (
        _Norm(norm=lambda x: x / (x.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()),
        "the mean was not taken away",
    ),
    "no root": (
        _Norm(
            norm=lambda x: (
                (x - x.mean((0, 2, 3), True))
                / (x.var((0, 2, 3), False, keepdim=True) + 1e-5)
            )
        ),
        "x was divided by the variance: take its root first",
    ),
    "1e-5 after the root": (
        _Norm(norm=_root_first),
        "1e-5 was added to the root: add it to the variance, before the root",
    ),
    "nothing added": (
        _Norm(
            norm=lambda x: (
                (x - x.mean((0, 2, 3), True))
                / x.var((0, 2, 3), False, keepdim=True).sqrt()
            )
        ),
        "1e-5 is missing: without it a constant channel is 0 / 0",
    ),
    "corners aligned": (
        _Norm(resize=lambda guide, size: _bilinear(guide, size, corners=True)),
        "the guide was resized with align_corners=True",
    ),
    "nearest": (
        _Norm(resize=lambda guide, size: F.interpolate(guide, size, mode="nearest")),
        "the guide was resized by nearest neighbour: mode is bilinear",
    ),
    "the guide averaged": (
        _Norm(resize=F.adaptive_avg_pool2d),
        "the guide was resized by averaging: mode is bilinear",
    ),
    "the guide smoothed": (
        _Norm(
            resize=lambda guide, size: F.interpolate(
                guide, size, mode="bilinear", align_corners=False, antialias=True
            )
        ),
        "the guide was smoothed as it shrank: antialias is off",
    ),
    "maps resized": (
        _maps_resized,
        "scale and shift were resized: resize the guide, then convolve",
    ),
    "ReLU on scale and shift": (
        _Norm(maps=lambda guide, weight: _maps(guide, weight).relu()),
        "scale and shift were cut at 0: they may be negative",
    ),
    "mirrored at the border": (
        _Norm(
            maps=lambda guide, weight: F.conv2d(
                F.pad(guide, [1] * 4, mode="reflect"), weight
            )
        ),
        "the guide was mirrored at the border: pad with zeros",
    ),
    "the guide normalised": (
        _guide_normalised,
        "the guide was normalised too: only x is",
    ),
}

DETACHED: dict[str, Callable[..., Any]] = {
    "statistics detached": _Norm(norm=_detached),
    "the guide detached": lambda x, guidance, *layers: normalised(
        x, guidance.detach(), *layers
    ),
    "all detached": lambda *case: normalised(*case).detach(),
}

_VALUES = Judge(filtered, FILTERED)

EXERCISES = (
    Exercise(
        "07.1",
        reference=made_kernel,
        cases=_kernel_cases,
        gradient=True,
        judge=Judge(made_kernel, MADE, 1e-6, 1e-5),
        wrong=answers(MADE),
    ),
    Exercise(
        "07.2",
        reference=filtered,
        cases=_filter_cases,
        atol=1e-9,
        rtol=1e-7,
        gradient=True,
        call=_ask_filtered,
        judge=_judge_filtered,
        wrong=answers(FILTERED)
        | {
            "a kernel for each place": _kernel_for_each,
            "place by place": _place_by_place,
            "features detached": _Filter(features=torch.detach),
            "kernels detached": _Filter(parts=torch.detach),
        },
    ),
    Exercise(
        "07.3",
        reference=different_windows,
        cases=_window_cases,
        judge=Judge(different_windows, WINDOWS, 1e-6, 1e-5),
        wrong=answers(WINDOWS)
        | {"the number alone": lambda *case: different_windows(*case)[0]},
    ),
    Exercise(
        "07.4",
        reference=normalised,
        cases=_norm_cases,
        atol=1e-3,  # of gradients, which a small variance makes a thousand times larger
        rtol=1e-3,
        gradient=True,
        judge=Judge(normalised, NORMALISED, 2e-4, 1e-4),
        wrong=answers(NORMALISED) | DETACHED,
    ),
)
