"""What is wrong with an answer, said so that its author can see it."""

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

WINDOW = 6  # rows and columns of an array that are shown side by side


def difference(
    answer: Any, target: Any, atol: float, rtol: float, part: str = ""
) -> str:
    """Say how ``answer`` differs from ``target``; empty when it does not.

    Compares tensors and arrays (type, shape, dtype, values), numbers, text, and
    tuples, lists and dicts of them. ``|answer - target|`` may be up to
    ``atol + rtol * |target|``; NaN equals only NaN, and an infinity only itself. A
    tensor or array without dimensions, of dtype bool, may stand for a bool. ``part``
    names what is compared.
    """
    if isinstance(target, (torch.Tensor, np.ndarray)):
        return _differing_arrays(answer, target, atol, rtol, part)
    if isinstance(target, (tuple, list, Mapping)):
        return _differing_containers(answer, target, atol, rtol, part)
    if isinstance(target, torch.Generator):
        return ""  # a generator among the arguments is there to be drawn from
    return _differing_values(answer, target, atol, rtol, part)


def gradient_difference(
    answer: Any,
    answer_inputs: tuple[Any, ...],
    target: Any,
    target_inputs: tuple[Any, ...],
    names: list[str],
    atol: float,
    rtol: float,
) -> str:
    """Say how the gradients of two answers with respect to their inputs differ.

    The answers are reduced to one number each by the same fixed random weights.
    ``names`` holds what each input is called.
    """
    if not any(tensor.requires_grad for tensor in _tensors(answer)):
        return (
            "the value is right, but no gradient flows through it: look for .detach(), "
            ".item(), .data, torch.no_grad or NumPy on the way."
        )
    found = _gradients(answer, answer_inputs)
    right = _gradients(target, target_inputs)
    named = [n for n, i in zip(names, target_inputs, strict=True) if _is_leaf(i)]
    for name, ours, theirs in zip(named, found, right, strict=True):
        text = difference(ours, theirs, atol, rtol, f" for {name}")
        if text:
            text = text.replace("your answer", "the gradient")
            return f"the value is right, its gradient is not: {text}"
    return ""


def copy_with_gradients(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, with every floating-point tensor asking for its gradient."""
    return tuple(
        a.detach().requires_grad_()
        if isinstance(a, torch.Tensor) and a.is_floating_point()
        else a
        for a in arguments
    )


def _gradients(output: Any, inputs: tuple[Any, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = [t for t in _tensors(output) if t.is_floating_point()]
    weights = [torch.rand(t.shape, generator=generator, dtype=t.dtype) for t in outputs]
    total = sum((t * w).sum() for t, w in zip(outputs, weights, strict=True))
    leaves = [i for i in inputs if _is_leaf(i)]
    if not isinstance(total, torch.Tensor) or not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    pairs = zip(found, leaves, strict=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in pairs]


def _is_leaf(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


def _differing_values(
    answer: Any, target: Any, atol: float, rtol: float, part: str
) -> str:
    """The difference of two numbers, flags, texts or other single values."""
    wanted = type(target).__name__
    asked = f"{_a(wanted)} is asked for"
    if isinstance(target, (bool, np.bool_)):
        if not _is_flag(answer):
            return f"your answer{part} is {_kind(answer)}, {asked}: use {wanted}(...)."
        answer, target = bool(answer), bool(target)
    elif isinstance(target, numbers.Real):
        if not isinstance(answer, numbers.Real) or isinstance(answer, bool):
            return f"your answer{part} is {_kind(answer)}, {asked}: use {wanted}(...)."
        ours, theirs = float(answer), float(target)
        near = math.isfinite(theirs) and abs(ours - theirs) <= atol + rtol * abs(theirs)
        if near or ours == theirs or (math.isnan(ours) and math.isnan(theirs)):
            return ""
    elif target is None and answer is not None:
        return f"your answer{part} is {_kind(answer)}, None is asked for."
    elif not isinstance(answer, type(target)):
        return f"your answer{part} is {_kind(answer)}, {asked}."
    if answer == target:
        return ""
    return f"your answer{part} is {answer!r}, right is {target!r}."


def _is_flag(value: Any) -> bool:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.ndim == 0 and value.dtype in (torch.bool, np.bool_)
    return isinstance(value, (bool, np.bool_))


def _differing_containers(
    answer: Any, target: Any, atol: float, rtol: float, part: str
) -> str:
    wanted = f"{_a(type(target).__name__)} of {len(target)}"
    if isinstance(target, Mapping):
        if not isinstance(answer, Mapping):
            return f"your answer{part} is {_kind(answer)}, {wanted} is asked for."
        if set(answer) != set(target):
            keys = f"{sorted(map(str, answer))}, not {sorted(map(str, target))}"
            return f"the keys of your answer{part} are {keys}."
        pairs = {repr(key): (answer[key], target[key]) for key in target}
    else:
        if not isinstance(answer, (tuple, list)) or len(answer) != len(target):
            return f"your answer{part} is {_kind(answer)}, {wanted} is asked for."
        both = zip(answer, target, strict=True)
        pairs = {str(index): pair for index, pair in enumerate(both)}
    for key, (ours, theirs) in pairs.items():
        text = difference(ours, theirs, atol, rtol, f"{part}[{key}]")
        if text:
            return text
    return ""


def _differing_arrays(
    answer: Any, target: Any, atol: float, rtol: float, part: str
) -> str:
    wanted = "torch.Tensor" if isinstance(target, torch.Tensor) else "numpy.ndarray"
    if not isinstance(answer, type(target)):
        return f"your answer{part} is {_kind(answer)}, {_a(wanted)} is asked for."
    if tuple(answer.shape) != tuple(target.shape):
        shapes = f"{tuple(answer.shape)}, right is {tuple(target.shape)}"
        return f"the shape of your answer{part} is {shapes}."
    if answer.dtype != target.dtype:
        return f"the dtype of your answer{part} is {answer.dtype}, not {target.dtype}."
    ours, theirs = _float64(answer), _float64(target)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):  # inf - inf and 0 * inf, both sorted out
        less = np.where(same, 0.0, ours - theirs)
        allowed = atol + rtol * np.abs(theirs)
    wrong = ~same & ~(np.isfinite(theirs) & (np.abs(less) <= allowed))
    if not wrong.any():
        return ""
    gap = np.where(wrong, np.where(np.isnan(less), np.inf, np.abs(less)), -1.0)
    worst = np.unravel_index(int(gap.argmax()), gap.shape)
    lines = [
        f"the values of your answer{part} differ in {int(wrong.sum())} of {wrong.size} "
        f"places.",
        _largest(ours[worst], theirs[worst], float(allowed[worst]), worst),
    ]
    bad = ours[wrong & ~np.isfinite(ours) & np.isfinite(theirs)].size
    lines += [f"  {bad} of your values are NaN or infinite"] if bad else []
    return "\n".join(lines + _side_by_side(ours, theirs, less, worst))


def _largest(ours: float, theirs: float, allowed: float, worst: tuple[Any, ...]) -> str:
    """The line about the worst place; the difference itself if rounding hides it."""
    at = f" at [{', '.join(str(int(i)) for i in worst)}]" if worst else ""
    mine, right = _number(ours), _number(theirs)
    if mine != right:
        return f"  largest difference{at}: yours is {mine}, right is {right}"
    return (
        f"  largest difference{at}: {_number(abs(ours - theirs))}, where right is "
        f"about {right} (up to {_number(allowed)} passes)"
    )


def _side_by_side(
    ours: np.ndarray, theirs: np.ndarray, less: np.ndarray, worst: tuple[Any, ...]
) -> list[str]:
    """Target and answer as two columns of numbers, around the worst place.

    If both look the same, what one is less the other.
    """
    if not worst:
        return []
    spans = [_window(int(i), n) for i, n in zip(worst, ours.shape, strict=True)][-2:]
    index = (*worst[:-2], *spans)
    shown = ", ".join(
        f"{s.start}:{s.stop}" if isinstance(s, slice) else str(int(s)) for s in index
    )
    parts = (np.atleast_2d(a[index]) for a in (theirs, ours, less))
    left, right, between = (_rows(part) for part in parts)
    if left == right:
        return [f"  yours less right, at [{shown}]:", *(f"    {a}" for a in between)]
    width = max(len("right"), *(len(row) for row in left))
    lines = [f"  at [{shown}]:", f"    {'right':<{width}}   yours"]
    return lines + [f"    {a:<{width}}   {b}" for a, b in zip(left, right, strict=True)]


def _window(centre: int, size: int) -> slice:
    start = max(0, min(centre - WINDOW // 2, size - WINDOW))
    return slice(start, min(size, start + WINDOW))


def _rows(array: np.ndarray) -> list[str]:
    cells = [[_number(value) for value in row] for row in array]
    width = max(len(cell) for row in cells for cell in row)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _float64(array: Any) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = array.to(torch.complex128 if array.is_complex() else torch.float64)
        array = array.numpy()
    return np.asarray(array, dtype=np.float64)


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return f"a torch.Tensor of shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list, Mapping)):
        return f"{_a(type(value).__name__)} of {len(value)}"
    return _a(type(value).__name__)


def _a(name: str) -> str:
    """The name of a type with its article: a float, an int, an ndarray."""
    spoken_vowel = name[0] in "aeioAEIO" or name == "ndarray"
    return f"an {name}" if spoken_vowel else f"a {name}"
