"""What contextual attention costs: its time beside other forms, and its memory.

    python benchmarks/attention.py [rounds]
    python benchmarks/attention.py memory

Time, there and back, with propagation, on maps of 96 channels at rate 2:

- ``port``: as public code has it, a loop over samples, patches as the kernels of a
  convolution, propagation as two convolutions with the identity and two turns of the
  matrix, pasting as a transposed convolution. Written from the equations.
- ``batched``: no loop, two products of all patches, the same turns between them.
- ``ours``: the layer, all scores at once; ``blocks``: the layer, a few rows at a time.
- ``products``: only the two matrix products that the layer makes, there and back. This
  is the limit for a layer that is written so: what ``ours`` takes beyond it is sums
  that move the matrix through memory.
- ``published``: only the two products of all patches, the limit for ``batched``.

A product of 3 by 3 patches of C channels has 9 C multiplications for each pair of
places, and pasting patches of 4 by 4 has 16 C. The layer makes products of places,
C and 4 C, and finds the rest by sums along diagonals, which are cheap.

All take turns in each round, on one thread. The number is the processor's time, which
other programs stretch little, and its ratio to ``ours``: medians over the rounds.
Memory is the peak of a process of its own for each case, beyond what it had before.
Not a test: a busy machine must not turn anything red.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import course_lib.layers.attention as layer_module
from course_lib.layers import ContextualAttention

CHANNELS, RATE, SCALE = 96, 2, 10.0
CASES = ((1, 64), (8, 64), (1, 128), (8, 128))  # batch, side of the maps
PICTURES = ((512, 512), (1080, 1920))  # the maps have a quarter of the side
Form = Callable[[Tensor, Tensor, Tensor], Tensor]


def port(query: Tensor, background: Tensor, hole: Tensor) -> Tensor:
    """The loop over samples of the public ports, with the hole of the first sample."""
    h, w = (side // RATE for side in query.shape[-2:])
    low, seen, gone = (
        F.interpolate(x, scale_factor=1 / RATE) for x in (query, background, hole[:1])
    )
    near = F.unfold(gone, 3, padding=1).mean(1)
    usable = (near == 0).to(query.dtype).view(1, -1, 1, 1)
    pasted = F.unfold(background, 2 * RATE, padding=RATE // 2, stride=RATE)
    found = []
    for one, patches, values in zip(
        low.split(1), F.unfold(seen, 3, padding=1), pasted, strict=True
    ):
        kernels = patches.t().reshape(h * w, -1, 3, 3)
        lengths = kernels.flatten(1).norm(dim=1).clamp_min(1e-4)
        scores = F.conv2d(one, kernels / lengths.view(-1, 1, 1, 1), padding=1)
        scores = convolved(scores.view(1, 1, h * w, h * w), h, w).view(1, -1, h, w)
        shares = F.softmax(scores * usable * SCALE, 1) * usable
        kernels = values.t().reshape(h * w, -1, 2 * RATE, 2 * RATE)
        y = F.conv_transpose2d(shares, kernels, stride=RATE, padding=RATE // 2)
        found.append(y / 4)
    return torch.cat(found)


def convolved(scores: Tensor, h: int, w: int) -> Tensor:
    """Propagation as published: the identity as a kernel, the matrix turned, again."""
    eye = torch.eye(3, dtype=scores.dtype).view(1, 1, 3, 3)
    for rows, columns in ((h, w), (w, h)):
        scores = turned(F.conv2d(scores, eye, padding=1), rows, columns)
    return scores


def turned(scores: Tensor, h: int, w: int) -> Tensor:
    """Places numbered column by column instead of row by row, queries and keys."""
    apart = scores.unflatten(-1, (h, w)).unflatten(-3, (h, w))
    return apart.transpose(-2, -1).transpose(-4, -3).flatten(-2).flatten(-3, -2)


def batched(query: Tensor, background: Tensor, hole: Tensor) -> Tensor:
    """All samples in two products of patches, with shifted sums for propagation."""
    h, w = (side // RATE for side in query.shape[-2:])
    queries, keys, gone = (
        F.unfold(x[..., ::RATE, ::RATE], 3, padding=1)
        for x in (query, background, hole)
    )
    keys = keys / keys.norm(dim=1, keepdim=True).clamp_min(1e-4)
    scores = queries.transpose(1, 2) @ keys
    for rows, columns in ((h, w), (w, h)):
        padded = F.pad(scores, (1, 1, 1, 1))
        scores = padded[:, :-2, :-2] + scores + padded[:, 2:, 2:]
        scores = turned(scores, rows, columns)
    usable = gone.sum(1, keepdim=True) == 0
    shares = (SCALE * scores).masked_fill(~usable, 0.0).softmax(-1)
    shares = shares.masked_fill(~usable, 0.0)
    values = F.unfold(background, 2 * RATE, padding=RATE // 2, stride=RATE)
    pasted = values @ shares.transpose(1, 2)
    size = query.shape[-2:]
    return F.fold(pasted, size, 2 * RATE, padding=RATE // 2, stride=RATE) / 4


def layer(dense: bool) -> Form:
    """Ours with the published arithmetic, at once or in blocks."""
    module = ContextualAttention(rate=RATE, softmax_scale=SCALE, compat="deepfill")

    def run(query: Tensor, background: Tensor, hole: Tensor) -> Tensor:
        usual = layer_module.DENSE
        layer_module.DENSE = 2**40 if dense else 0
        try:
            return module(query, background, hole)[0]
        finally:
            layer_module.DENSE = usual

    return run


def products(batch: int, *matrices: tuple[int, int]) -> Callable[[], float]:
    """Only the matrix products: of so many places, each of so many numbers.

    Three for each matrix of places by places: itself, and the slopes of both factors.
    """
    made = [
        [torch.randn(batch, places, length) for _ in range(2)]
        + [torch.empty(batch, places, places), torch.empty(batch, places, length)]
        for places, length in matrices
    ]

    def run() -> float:
        begin = time.process_time()
        for left, right, matrix, slope in made:
            torch.bmm(left, right.transpose(1, 2), out=matrix)
            torch.bmm(matrix, right, out=slope)
            torch.bmm(matrix.transpose(1, 2), left, out=slope)
        return time.process_time() - begin

    return run


def maps(batch: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features as a network has them, small, and the hole of all samples."""
    draw = torch.Generator().manual_seed(0)
    shape = batch, CHANNELS, height, width
    query, background = (0.1 * torch.randn(shape, generator=draw) for _ in range(2))
    hole = torch.zeros(batch, 1, height, width)
    hole[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    return query.requires_grad_(), background.requires_grad_(), hole


def step(form: Form, given: tuple[Tensor, Tensor, Tensor]) -> Callable[[], float]:
    """One forward and backward pass, and the processor's time it took."""

    def run() -> float:
        begin = time.process_time()
        torch.autograd.grad(form(*given).sum(), given[:2])
        return time.process_time() - begin

    return run


def times(batch: int, side: int, rounds: int) -> None:
    """All forms in turns; a row for each."""
    given, s = maps(batch, side, side), side // RATE
    forms = {"ours": layer(True), "blocks": layer(False)}
    forms |= {"batched": batched, "port": port}
    y = {name: form(*given).detach() for name, form in forms.items()}
    for found in y.values():
        torch.testing.assert_close(found, y["port"], rtol=1e-4, atol=1e-4)
    runs = {name: step(form, given) for name, form in forms.items()}
    ours = ((s + 2) ** 2, CHANNELS), ((s + 1) ** 2, RATE**2 * CHANNELS)
    theirs = (s**2, 9 * CHANNELS), (s**2, 4 * RATE**2 * CHANNELS)
    runs |= {"products": products(batch, *ours)}
    runs |= {"published": products(batch, *theirs)}
    taken = [{name: run() for name, run in runs.items()} for _ in range(rounds)]
    print(f"\nbatch {batch}, maps of {side} x {side}, load {os.getloadavg()[0]:.1f}")
    for name in runs:
        middle = statistics.median(one[name] for one in taken)
        ratio = statistics.median(one[name] / one["ours"] for one in taken)
        print(f"  {name:10}{middle:8.2f} s{ratio:8.2f} x ours", flush=True)


def peak(height: int, width: int, train: bool, dense: bool | None) -> None:
    """Run one case once, in this process, and print what it took."""
    given = maps(1, height, width)
    layer_module.DENSE = layer_module.DENSE if dense is None else 2**40 * dense
    module = ContextualAttention()
    module(*maps(1, 8, 8))[0].sum().backward()  # what is loaded once
    before, begin = _memory(), time.process_time()
    with torch.set_grad_enabled(train):
        y, attention = module(*given)
    if train:
        y.sum().backward()
    seconds, grown = time.process_time() - begin, _memory() - before
    how = "blocks" if attention is None else "at once"
    what = "there and back" if train else "forward"
    size = f"maps of {height} x {width}, {what}, {how}"
    print(f"  {size:46}{grown:7.2f} GB {seconds:7.1f} s", flush=True)


def _memory() -> float:
    """The most memory that this process has had so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def memory() -> None:
    """A process for each case: pictures of 512 and of 1080 rows."""
    for height, width in PICTURES:
        print(f"\npicture of {height} x {width}, {CHANNELS} channels, batch 1")
        ways = ("True", "False") if height * width <= 512**2 else ("None",)
        for train in (False, True):
            for dense in ways:
                case = (str(height // 4), str(width // 4), str(train), dense)
                subprocess.run([sys.executable, __file__, "peak", *case], check=True)


def main(arguments: list[str]) -> None:
    """Times, or memory, or one case of memory."""
    torch.set_num_threads(1)
    if arguments[:1] == ["peak"]:
        height, width, train, dense = arguments[1:]
        choice = None if dense == "None" else dense == "True"
        peak(int(height), int(width), train == "True", choice)
    elif arguments[:1] == ["memory"]:
        memory()
    else:
        rounds = int(arguments[0]) if arguments else 5
        for batch, side in CASES:
            times(batch, side, rounds if batch * side**2 < 8 * 128**2 else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
