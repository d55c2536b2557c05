# %% [markdown]
# # At scale: any picture, any number of machines
#
# ![A long photo with a band missing; tiles filled side by side, with seams; the same tiles feathered; and one tile, fading where it counts less](../assets/figures/11_at_scale.png)
#
# By the end you will have filled a photo that the network refused, and trained one network
# three ways, at once, in parts and as two processes, and got the same curve.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | fill a photo of any size in tiles that agree where they meet<br>show that parts of a batch, and processes that share it, learn as one<br>kill a training and go on as if nothing had happened<br>read what mixed precision, layout and compiling are worth<br>fill a folder of your own photos |
# | **Minutes** | read 39 · run 1 · practise 55 |
# | **Before you start** | lessons 03 and 08 |
# | **Cost** | ci 80 s · laptop 80 s · gpu not measured |

# %%
import torch

import course_lib as cl

run = cl.start("11")

# %% [markdown]
# ## The problem
#
# `nearest_unet` of lesson 08 was trained on squares of 64 and then 128 pixels. A photo from a
# camera is neither square nor as small. Here is one of 300 × 450 with a band missing. What does
# the network say?

# %%
network = cl.zoo.load("nearest_unet")
photo = cl.photos.load("lincolnmemorial")[..., :300, :450]
hole = torch.zeros(1, 1, 300, 450)
hole[..., 170:220, 40:410] = 1
try:
    network(photo, hole)
except cl.tensors.ContractError as error:
    print(error)

# %% [markdown]
# It halves its input five times, so it wants multiples of 32. Two ways out come to mind.
# *Resize*: make it small, fill, enlarge, put the known pixels back; then the fill is as
# blurred as an enlarged photo is. *Cut* it into squares of 128, fill each by itself and put
# them beside each other: every pixel of the fill is made at full size. (And why not the
# whole photo at once, padded? The memory for a network's answer grows with the area. Where
# it is enough, at once is possible, and we shall compare with it.) We cut six photos of
# 256 × 384, which are exactly six squares each.

# %%
from itertools import product

import torch.nn.functional as F


def cut(name, height=256, width=384):
    """The middle of a photo at this size, as large as possible."""
    photo = cl.photos.load(name)
    factor = max(height / photo.shape[2], width / photo.shape[3])
    size = [round(factor * n) for n in photo.shape[2:]]
    kind = {"mode": "bilinear", "align_corners": False, "antialias": True}
    small = F.interpolate(photo, size, **kind).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return small[..., top : top + height, left : left + width]


# %%
def side_by_side(network, image, hole, tile=128):
    """Each square by itself; sides are multiples of ``tile``."""
    made = torch.zeros_like(image)
    for top, left in product(*(range(0, n, tile) for n in image.shape[2:])):
        part = (..., slice(top, top + tile), slice(left, left + tile))
        made[part] = network(image[part], hole[part])
    return cl.composite(made, image, hole)


# %%
names = cl.photos.names("evaluation")[6:18:2]
photos = torch.cat([cut(name) for name in names])
band = torch.zeros(6, 1, 256, 384)
band[..., 108:148, 32:352] = 1
naive = side_by_side(network, photos, band)


def jump(image, place, axis=3, hole=band):
    """Mean step in colour to a column (axis 3) or row (2) from the one before."""
    here, before = image.select(axis, place), image.select(axis, place - 1)
    step = (here - before).abs().mean(1, keepdim=True)
    return step[hole.select(axis, place) == 1].mean().item()


# %%
seams = jump(naive, 128), jump(naive, 256), jump(naive, 128, axis=2)
others = [jump(naive, column) for column in range(140, 220, 10)]
elsewhere = sum(others) / len(others)
print("where squares meet {:.3f}, {:.3f}, in row 128 {:.3f}".format(*seams))
print(f"elsewhere {elsewhere:.3f}")
cl.claim("squares meet in a step of over three times", min(seams) > 3 * elsewhere)
sheep = slice(3, 4)
shown = {"a hole": cl.pictures.hatched(photos, band)[sheep], "squares": naive[sheep]}
cl.pictures.grid(shown, scale=1)

# %% [markdown]
# Each square guessed without the squares beside it, and where they meet the guesses disagree: at
# columns 128 and 256, and most visibly along row 128. How do we let tiles agree?
#
# ## By hand
#
# Let them overlap, and let each count less towards its own edge, where it saw least. A line
# of six pixels, two tiles of four; in a tile the weights are 1, 2, 2, 1. Tile A answers 30
# everywhere, tile B 60. Divide by the sum of weights at each pixel.

# %%
weights = torch.tensor([[1, 2, 2, 1, 0, 0], [0, 0, 1, 2, 2, 1]])
answers = torch.tensor([[30], [60]])
total = weights.sum(0)
blended = (weights * answers).sum(0) // total
print("sum of weights", total.tolist())
print("blended", blended.tolist())
cl.claim("a ramp from 30 to 60", blended.tolist() == [30, 30, 40, 50, 60, 60])

# %% [markdown]
# A step of 30 became three of 10. That was scale in space. The second kind of scale is in
# machines: two processes share a batch of four pictures, each takes the mean of its own two
# gradients, and the two means are averaged. Is it the gradient of all four?

# %%
gradients = torch.tensor([[2, 4], [3, 7]])  # of two pictures, for each process
own = gradients.sum(1) // 2
print("each process's mean", own.tolist(), "and theirs", own.sum().item() // 2)
cl.claim("the mean of all four", own.sum() / 2 == gradients.sum() / 4)

# %% [markdown]
# So it is for pictures, as each process has equally many. Now count *pixels*: process A
# finds an error of 6 on 2 missing pixels, process B 6 on 6.

# %%
error, pixels = torch.tensor([6, 6]), torch.tensor([2, 6])
each = error // pixels
print("means", each.tolist(), "and theirs", each.sum().item() / 2)
print("of all pixels", error.sum().item() / pixels.sum().item())
cl.claim(
    "a mean of means is another loss", each.sum() / 2 != error.sum() / pixels.sum()
)

# %% [markdown]
# A loss that divides by the hole of a *batch* changes when the batch is shared; such is
# `cl.losses.l1(..., "hole", "region")`, in the trainings that lessons 04 to 10 do in the open.
# `cl.scale`, like all recipes of the shipped networks, divides by the hole of each *picture*
# first, then takes the mean over pictures, so that one may be shared; exercise 11.4 repairs
# the other kind.
#
# ## Naive code
#
# The library's weights rise by $\sin^2$ over the overlap, a curve without a kink at either
# end, and do not fall at the border of the picture, where no neighbour takes over. Its tiles are
# as few as possible and evenly spread, so they may share more than the `overlap` asked for:

# %%
for length in (256, 384):
    spans = cl.large.spans(length, tile=128, overlap=32)
    print(f"{length}: from and to", *spans, "share", spans[0][1] - spans[1][0])

# %% [markdown]
# Tile after tile, pixel after pixel:


# %%
from math import pi, sin


def weight_naive(pixel, first, end, length, overlap):
    """Of the tile from ``first`` to ``end`` at one pixel of a side."""
    weight = 1.0
    if first > 0:
        weight *= sin(min((pixel + 0.5 - first) / overlap, 1) * pi / 2) ** 2
    if end < length:
        weight *= sin(min((end - pixel - 0.5) / overlap, 1) * pi / 2) ** 2
    return weight


# %%
def tiled_naive(fill, image, hole, tile, overlap):
    """A picture (1, 3, H, W) from tiles that were filled one by one."""
    total, sums = torch.zeros_like(image), torch.zeros_like(hole)
    height, width = image.shape[2:]
    tiles = (cl.large.spans(n, tile, overlap) for n in (height, width))
    for rows, columns in product(*tiles):
        part = (..., slice(*rows), slice(*columns))
        answer = fill(image[part], hole[part])
        for i, j in product(range(*rows), range(*columns)):
            weight = weight_naive(i, *rows, height, overlap)
            weight *= weight_naive(j, *columns, width, overlap)
            total[..., i, j] += weight * answer[..., i - rows[0], j - columns[0]]
            sums[..., i, j] += weight
    return cl.composite(total / sums, image, hole)


# %% [markdown]
# ## Without loops over pixels
#
# A tile's weights are those of its rows times those of its columns. `feather` gives them for a
# whole side, divided by their sum already.


# %%
def tiled(fill, image, hole, tile, overlap):
    """The same."""
    made, sides = torch.zeros_like(image), []
    for length in image.shape[2:]:
        shares = cl.large.feather(length, tile, overlap)
        spans = cl.large.spans(length, tile, overlap)
        sides.append(list(zip(spans, shares, strict=True)))
    for (rows, down), (columns, across) in product(*sides):
        part = (..., slice(*rows), slice(*columns))
        weight = torch.outer(down[slice(*rows)], across[slice(*columns)])
        made[part] += weight * fill(image[part], hole[part])
    return cl.composite(made, image, hole)


# %% [markdown]
# Do both agree with the library? The fill is lesson 08's nearest colour, which has no size
# to insist on; the picture is small and odd.

# %%
draw = run.generator("small")
image = torch.rand(1, 3, 31, 45, generator=draw, dtype=torch.float64)
small = cl.holes.strokes(1, (31, 45), draw).double()
given = (cl.holes.nearest_fill, image, small)
options = {"tile": 16, "overlap": 6}
made = [tiled_naive(*given, **options), tiled(*given, **options)]
made.append(cl.large.fill_any(*given, **options, coarse=False))
same = [torch.allclose(each, made[-1]) for each in made]
columns = len(cl.large.spans(45, **options))
print(f"{small.sum():.0f} pixels filled by {columns} columns of tiles")
cl.claim("loops = without loops = library", all(same))

# %%
for length in (45, 100, 1001):
    shares = cl.large.feather(length, **options)
    print(
        f"{length} pixels: {len(shares)} tiles, largest sum {shares.sum(0).max():.3f}"
    )
    ones = torch.ones_like(shares[0])
    cl.claim(
        "at each pixel the shares add up to one", torch.allclose(shares.sum(0), ones)
    )

# %% [markdown]
# `fill_any` does more. It *pads* below and right to the next multiple by repeating the last
# row and column, then cuts; it computes only tiles that touch the hole; it leaves alone all
# that is known; and it treats large holes in a way of their own, further down. What should
# hold?

# %%
square, part = photos[:1, :, 64:192, 64:192], band[:1, :, 64:192, 64:192]
whole = cl.composite(network(square, part), square, part)
same = torch.equal(cl.large.fill_any(network, square, part), whole)
cl.claim("one tile is enough: the network's own answer, bit by bit", same)
filled = cl.large.fill_any(network, photo, hole)
known = hole.expand_as(photo) == 0
cl.claim("300 x 450: known pixels bit by bit", torch.equal(filled[known], photo[known]))
secret = torch.where(hole == 1, torch.nan, photo)
again = cl.large.fill_any(network, secret, hole)
cl.claim("what the hole hides is not read", torch.equal(again, filled))

# %%
_, wide = cl.large.padded(photo, hole, 32)  # 320 x 480
touched = cl.large.tiles_touched(wide, 128, 32)
every = [len(cl.large.spans(n, 128, 32)) for n in wide.shape[2:]]
print(f"{len(touched)} of {every[0] * every[1]} tiles touch the hole")
cl.pictures.grid(
    {"a hole": cl.pictures.hatched(photo, hole), "filled": filled}, scale=0.9
)

# %% [markdown]
# ## Look inside
#
# Paint a hole of your own in the painter, and compare the three fills: squares side by side,
# feathered tiles, and the whole photo at once. Where do you have to paint to see a seam?
#
# <details><summary>Answer</summary>
#
# With squares side by side: across column 128, column 256 or row 128, where they meet. A hole
# inside one square shows none.
#
# </details>
#
# Below the painter: which tiles are computed, and how much does each count? Teal are the
# tiles that a short hole (grey) touches, darker where several overlap; under them the shares
# of the columns of tiles along one row.

# %%
fills = {
    "feathered": lambda image, hole: cl.large.fill_any(network, image, hole),
    "side by side": lambda image, hole: side_by_side(network, image, hole),
    "at once": network,
}
cl.HolePainter(photos[sheep], fills, hole=band[:1], fill="feathered")

# %%
import matplotlib.pyplot as plt

figure, (above, below) = plt.subplots(2, 1, figsize=(6, 5.4), sharex=True)
short = torch.zeros(1, 1, 256, 384)
short[..., 20:50, 20:150] = 1
above.imshow(1 - 0.6 * short[0, 0], cmap="gray", vmin=0, vmax=1, aspect="auto")
for rows, columns in cl.large.tiles_touched(short, 128, 32):
    corner, look = (columns.start, rows.start), {"color": "#16c2b0"}
    above.add_patch(plt.Rectangle(corner, 127, 127, fill=False, lw=2, **look))
    above.add_patch(plt.Rectangle(corner, 127, 127, lw=0, alpha=0.25, **look))
for number, shares in enumerate(cl.large.feather(384, 128, 32)):
    below.plot(shares, ["-", "--", "-.", ":"][number], label=f"tile {number + 1}")
below.set(xlabel="column", ylabel="share")
below.legend()
plt.show()
touched = len(cl.large.tiles_touched(short, 128, 32))
every = [len(cl.large.spans(n, 128, 32)) for n in short.shape[2:]]
print(f"{touched} of {every[0] * every[1]} tiles touch the hole")

# %% [markdown]
# ## What tiles are worth
#
# First the band: is the line gone, and is the fill any better than the squares? A photo has
# edges of its own, so a step is compared with that of the photo filled at once, at the same
# place: where the squares met (columns 128 and 256, row 128), and where feathered tiles begin
# or end.

# %%
feathered = cl.large.fill_any(network, photos, band)
at_once = cl.composite(network(photos, band), photos, band)
made = {"side by side": naive, "feathered": feathered, "at once": at_once}
errors = {}
for name, each in made.items():
    errors[name] = cl.evaluation.hole_l1(each, photos, band).mean().item()
    print(f"{name:13} hole L1 {errors[name]:.4f}")

# %%
places = [(3, column) for column in (128, 256, 85, 171, 213, 299)]
ratios = {}
for axis, place in [(2, 128), *places]:
    steps = [jump(each, place, axis) for each in made.values()]
    ratios[axis, place] = squares, blended = [step / steps[2] for step in steps[:2]]
    line = f"{'row' if axis == 2 else 'column'} {place}"
    print(f"{line}: side by side {squares:.2f}, feathered {blended:.2f}")
met = [ratios[line][0] for line in [(2, 128), *places[:2]]]
cl.claim("squares: over three times the step of at once", min(met) > 3)
most = max(each[1] for each in ratios.values())
cl.claim("feathered: nowhere more than one and a half times", most < 1.5)

# %%
less = errors["feathered"] < 0.97 * errors["side by side"]
cl.claim("feathered: over 3 % less error than side by side", less)
near = abs(errors["feathered"] / errors["at once"] - 1) < 0.02
cl.claim("as good as the photo at once: within 2 %", near)

# %% [markdown]
# The steps of feathered tiles are up to 1.4 times those of the photo at once, and so is that of
# the squares in column 85, where nothing meets: of a seam nothing sure is left. (Along row 128
# the photo at once has a step too: *nearest* colours from above and below meet there.)
#
# The network sees a tile of 128 at a time, however large the photo. But a tile
# *inside* a large hole sees nothing known: it can only invent. So pixels deeper than a
# quarter of a tile are taken from the photo at half its size, filled by the same rule (and
# halved again, if need be), and count as known afterwards. Is that better than no such thing?
# We try `fill_any`'s tiles of 128, and tiles of 64, for which this hole is far too large.

# %%
large = torch.zeros(6, 1, 256, 384)
large[..., 48:208, 96:288] = 1
made = {"at once": cl.composite(network(photos, large), photos, large)}
for tile, (name, first) in product(
    (64, 128), (("alone", False), ("small photo first", True))
):
    options = {"tile": tile, "overlap": tile // 4, "coarse": first}
    made[f"{tile} {name}"] = cl.large.fill_any(network, photos, large, **options)
errors = {}
for name, each in made.items():
    errors[name] = cl.evaluation.hole_l1(each, photos, large).flatten()
    fewer = (errors[name] < errors["at once"]).sum()
    print(f"{name:21} hole L1 {errors[name].mean():.4f}, under at once: {fewer} of 6")

# %%
for tile, least in ((64, 0.15), (128, 0.02)):
    alone, coarse = errors[f"{tile} alone"], errors[f"{tile} small photo first"]
    print(f"{tile}: the small photo first is better on {(coarse < alone).sum()} of 6")
    less = coarse.mean() < (1 - least) * alone.mean()
    cl.claim(f"{tile}: over {least:.0%} less error", less)
    cl.claim("not more than at once", coarse.mean() < 1.01 * errors["at once"].mean())
shown = {"a hole": cl.pictures.hatched(photos, large)} | {
    name: each for name, each in made.items() if not name.startswith("128")
}
print("one photo:", ", ".join(shown))
cl.pictures.grid({name: each[sheep] for name, each in shown.items()})

# %% [markdown]
# With small tiles the small photo saves the fill; with tiles of 128 it is better on 4 of 6
# photos, too few to tell. Nor can six photos say whether tiles beat the photo at once. The fill
# is blurred all the same.
#
# ## Train: one program for one machine and many
#
# `cl.scale.train(plan, folder)` is a training as in lesson 03, on
# [Accelerate](https://huggingface.co/docs/accelerate). The same lines run in one process or
# in each of many:

# %%
cl.show_source(cl.scale.step)

# %% [markdown]
# There are two ways to a batch larger than fits. *Accumulation* splits it into parts, one after
# the other: inside `accumulate`, `optimizer.step` and `zero_grad` do nothing until the last
# part; `schedule.step`, outside, runs once. *Processes* share it, at the same time. Each
# process is a copy of this program with a whole copy of the network, all starting from equal
# weights. Each takes other pictures. `accelerator.backward` averages the gradients over all
# processes, so every copy makes the same step and the copies stay equal. A step is
# batch × accumulate × processes pictures.
#
# What a process takes is fixed by its number: position p of the data, its crop and
# its hole depend on a seed and p alone, whoever loads it. Three trainings with four pictures a
# step: at once, in two parts, by two processes (on Linux; elsewhere the third is left out).
# `ci` takes few steps.

# %%
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

folder = Path(tempfile.mkdtemp())

# %%
plan = cl.scale.Plan(size=32, batch=4, steps=6, norm="group", precision="no", cpu=True)
train = partial(cl.scale.train, watch=False)
train(plan, folder / "one")
train(replace(plan, batch=2, accumulate=2), folder / "parts")

# %% [markdown]
# The two processes get a program of their own. (Forking the process of a notebook, once it has
# computed with threads, can hang.) `debug_launcher` of Accelerate starts them on a CPU.


# %%
def start(threads, *arguments):
    """Python in a process of its own; what it says is left in log.txt."""
    own = {"OMP_NUM_THREADS": str(threads)}
    if Path("/sys/class/net/lo").exists():  # processes meet inside this machine
        own["GLOO_SOCKET_IFNAME"] = "lo"
    command = [sys.executable, *map(str, arguments)]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)


def finish(process, done=lambda: False, seconds=300):
    """Wait until it ends, is ``done`` or late; kill it. Returns how it ended."""
    until = time.monotonic() + seconds
    try:
        while process.poll() is None and not done() and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        process.kill()
        ended = process.wait()
    if ended and not done():
        print((folder / "log.txt").read_text()[-3000:])
    return ended


# %%
TWO = """
import sys
from accelerate import debug_launcher
from course_lib import scale

plan = scale.Plan(size=32, batch=2, steps=6, norm="group", precision="no", cpu=True)
debug_launcher(scale.train, (plan, sys.argv[1]), num_processes=2)
"""

# %% tags=["nbval-ignore-output"]
if sys.platform == "linux":
    print("ended with", finish(start(1, "-c", TWO, folder / "shared")))


# %%
def curve(name):
    """The losses that a training left behind."""
    return torch.tensor(json.loads((folder / name / "losses.json").read_text())["loss"])


# %% tags=["nbval-ignore-output"]
for name in ("parts", "shared"):
    if name == "shared" and sys.platform != "linux":
        print("shared: not tried here")
        continue
    apart = (curve(name) / curve("one") - 1).abs().max().item()
    print(f"{name}: {len(curve(name))} losses, relative difference up to {apart:.0e}")
    cl.claim("equal to the whole batch's to five digits", apart < 1e-5)

# %% [markdown]
# The U-Net of this plan has *group* normalisation: it looks at one picture only. Batch
# normalisation looks at the other pictures of the batch too, and in a part there are fewer.
# Does that show?

# %%
train(replace(plan, norm="batch"), folder / "batch norm")
parted = replace(plan, norm="batch", batch=2, accumulate=2)
train(parted, folder / "batch norm, parts")
apart = (curve("batch norm, parts") / curve("batch norm") - 1).abs()
cl.claim("batch norm: parts are another training", apart.max() > 1e-3)
cl.claim("from the first loss on", apart[0] > 1e-4)

# %% [markdown]
# So accumulation is no way to the batch statistics of a large batch. Between GPUs
# `cl.scale` uses `SyncBatchNorm`, which shares the statistics; on several CPU processes it
# refuses batch normalisation, as PyTorch has no such layer there.
#
# ## Killed
#
# Machines fail. Now the training runs as a script, in a process of its own with a worker that
# loads its data, and we kill it, with the signal that no program can catch, as soon as it has
# a checkpoint; `every=2` writes one after every second step. Then we go on here, without a
# worker. The cell below starts `python -m course_lib.scale`; for four GPUs begin with
# `accelerate launch --num_processes 4 -m course_lib.scale` instead, or stay in a notebook that
# has not touched a GPU yet: Accelerate's
# `notebook_launcher(cl.scale.train, (plan, OUT), num_processes=4)`.

# %% tags=["nbval-ignore-output"]
long = replace(plan, steps=run.steps, every=2)
options = "--size 32 --batch 4 --norm group --precision no --cpu --every 2 --workers 1"
script = ["-m", "course_lib.scale", folder / "killed", *options.split()]
saved = folder / "killed" / "checkpoint.pt"
process = start(torch.get_num_threads(), *script, "--steps", run.steps)
print("it ended with", finish(process, saved.exists))

# %% tags=["nbval-ignore-output"]
before = torch.load(saved)["history"]["steps"]
print(f"killed; {before} of {run.steps} steps were saved")
train(long, folder / "killed")
train(long, folder / "never killed")

# %%
cl.claim("it was killed before its end", 0 < before < run.steps)
same = torch.equal(curve("killed"), curve("never killed"))
cl.claim("the two curves are equal, bit by bit", same)

# %% tags=["nbval-ignore-output"]
figure, axes = plt.subplots(figsize=(6, 2.6))
axes.plot(curve("never killed"), lw=5, color="#16c2b0", label="never killed")
axes.plot(curve("killed"), "k--", lw=1, label="killed and resumed")
axes.axvline(before, color="#ff6b4a", ls=":", label="went on from here")
axes.set(xlabel="step", ylabel="loss")
axes.legend()
plt.show()
print(f"{run.steps} steps, one curve over the other")

# %% [markdown]
# The checkpoint holds the weights, the optimiser's moments, the schedule, and how many
# batches were taken. More is not needed, because a batch depends on its number alone. A
# checkpoint is written beside the old one and then takes its place, so a kill in the midst of
# writing leaves the old one whole.
#
# ## What is each tool worth?
#
# Three tools change the time, and the result hardly. *Channels last* stores all channels
# of a pixel beside each other, which suits convolutions. *Mixed precision*, bf16 here: weights
# stay float32, only multiplications use bf16, a number of half the bits; `autocast` in the step
# above chooses which. `torch.compile` joins operations. Does bf16 show in the losses?

# %%
train(replace(plan, precision="bf16"), folder / "bf16")
apart = (curve("bf16") / curve("one") - 1).abs().max()
cl.claim("bf16: six losses, each within a hundredth", apart < 0.01)
cl.claim("but other ones", apart > 1e-5)

# %% [markdown]
# `benchmarks/scale.py` measures the tools, and other sizes of the batch, in short rounds that take
# turns; a ratio compares rounds beside each other. These are its numbers, for the devices it
# has been run on. Guess the largest first.

# %%
path = cl.session.ASSETS / "benchmarks" / "scale.json"
for device, facts in json.loads(path.read_text()).items():
    print(f"{device}, torch {facts['torch']}, {facts['date']}, load {facts['load']}")
    print("  pictures a second, divided by the first row's: median, least, most")
    shared = {"two processes": facts["processes"]} if facts["processes"] else {}
    for name, row in (facts["ways"] | shared).items():
        numbers = f"{row['ratio']:.2f}  {row['least']:.2f} to {row['most']:.2f}"
        print(f"  {name:30} {numbers}")

# %%
facts = json.loads(path.read_text())["AMD EPYC, 1 thread, 64 px"]
ratio = {name: row["ratio"] for name, row in facts["ways"].items()}
both, compiled = "bf16, channels last", "compiled, bf16, channels last"
print(f"medians: {both} {ratio[both]:.2f}, compiled too {ratio[compiled]:.2f}")
cl.claim("median of bf16 alone: over 1.3", ratio["bf16"] > 1.3)
cl.claim("of bf16 and channels last: more", ratio[both] > ratio["bf16"])
cl.claim("compiled too: not more than that", ratio[compiled] < 1.05 * ratio[both])
cl.claim("compiled alone: under 1.3", ratio["compiled"] < 1.3)

# %%
cl.claim("four parts of 8: within a tenth of 8", abs(ratio["4 parts of 8"] - 1) < 0.1)
cl.claim("a batch of 2: under 0.8", ratio["batch 2"] < 0.8)
cl.claim("two processes: over 1.4 times one", facts["processes"]["ratio"] > 1.4)

# %% [markdown]
# This is one core of a CPU that multiplies bf16 in hardware; not all do. (The load is how many
# programs wanted a core.) The ranges overlap, so only medians are claimed.
# Parts hardly cost time, and should save memory, which is not measured here. A batch of 2
# costs a quarter; one of 32 wins nothing either. Compiling gains little here. Two processes, a
# core and 8 pictures each, beside one with a core and 8 pictures: timed by the clock, not twice as fast, because after each step
# they wait for each other and average their gradients. Of a GPU there are no numbers yet: run
# `python benchmarks/scale.py` on one, and the cell above shows them.
#
# ## Data, and your own photos
#
# A plan's `data` is `"train"`, `"folder:PATH"`, `"places365:PATH"` or `"celeba:PATH"`, read
# where torchvision's classes expect them; `hole` may be a folder of hole pictures, with
# `hole_is` for the colour that is missing: `"black"` in NVIDIA's training files, `"white"` in
# its test files (lesson 01). Nothing is downloaded.
#
# Once a network is trained, a folder of photos:
# `beach.jpg` and beside it `beach.hole.png`, white where something is missing, or painted on a
# transparent layer. One call fills them all: `fill_folder(FOLDER)`, or
# `python3 course.py fill FOLDER`, with `nearest_unet`;
# `fill_folder(FOLDER, cl.scale.load(OUT))` with a network that you trained into `OUT`. The cell
# below writes three photos into a folder, one of them cut short. What happens?

# %%
from PIL import Image

mine = folder / "photos"
mine.mkdir()
for name in ("beach", "wood", "broken"):
    Image.fromarray(cl.pictures.to_pixels(photo)).save(mine / f"{name}.jpg")
    Image.fromarray(cl.pictures.to_pixels(hole)).save(mine / f"{name}.hole.png")
(mine / "broken.jpg").write_bytes(b"half of a pho")
print(cl.folders.fill_folder(mine))

# %%
(mine / "filled" / "wood.png").unlink()  # as if the first call had been stopped
print(cl.folders.fill_folder(mine))

# %%
made = cl.photos.read(mine / "filled" / "wood.png")
given = cl.photos.read(mine / "wood.jpg")
cl.claim("known pixels are the photo's", torch.equal(made[known], given[known]))

# %% [markdown]
# ## What we do not know
#
# - **GPUs, and a second machine.** No number here is from a GPU; several GPUs, several
#   machines, fp16 and `SyncBatchNorm` were not tried.
# - **Real data.** No network of the course was trained on Places365 or CelebA.
# - **What more processes buy.** Two were timed, on one machine. Memory was not measured, of
#   parts or of tiles.
# - **Other tiles.** The shipped networks were trained on squares of 64 and 128; tiles of 128
#   with an overlap of 32 are a choice, not the best of many.
# - **Detail in large holes.** What comes from a small photo is blurred; nothing sharpens it.
#
# ## Exercises
#
# ### Exercise 11.1 · Whose turn is it?
#
# *Warm up · difficulty 1 of 3 · 10 minutes*
#
# Everything else rests on this: no picture twice, none left out. (Position p shows picture
# p modulo the number of pictures, in an order drawn anew for each epoch.)
#
# <details><summary>Hint 1</summary>
#
# How many positions do all processes take in the steps before this one?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `step * batch * processes` were taken before; `process * batch` of this step belong to
# others that come first. Then `torch.arange`.
#
# </details>


# %% tags=["exercise-11.1"]
def positions(step: int, batch: int, process: int, processes: int) -> torch.Tensor:
    """Which positions of the training data one process takes in one step.

    Steps and processes are counted from 0. All processes together take the next
    ``batch * processes`` positions in each step, beginning at 0 in step 0; process 0
    has the first ``batch`` of them, process 1 the next ``batch``, and so on. Returns
    the positions of process number ``process`` in rising order: int64, shape (batch,).
    """
    raise NotImplementedError


positions = cl.check("11.1", positions)


# %% [markdown]
# ### Exercise 11.2 · To the next multiple
#
# *Build · difficulty 1 of 3 · 15 minutes*
#
# What `fill_any` does to a photo before the network sees it.
#
# <details><summary>Hint 1</summary>
#
# How many rows are missing to the next multiple? In Python, what is `-5 % 8`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.pad(x, (left, right, above, below), mode="replicate")`: the last axis comes first.
#
# </details>


# %% tags=["exercise-11.2"]
def pad_to(x: torch.Tensor, factor: int) -> torch.Tensor:
    """A picture made larger until both its sides are multiples of ``factor``.

    ``x`` is (N, C, H, W). Rows are added below and columns to the right, as few as
    possible; where a side is a multiple already, none. Each added row is the last row
    of ``x`` again, each added column the last column. A factor may be larger than a
    side. Returns (N, C, H', W') of the dtype of ``x``; its first H rows and W columns
    are ``x``.
    """
    raise NotImplementedError


pad_to = cl.check("11.2", pad_to)


# %% [markdown]
# ### Exercise 11.3 · Sharing a pixel
#
# *Build · difficulty 2 of 3 · 15 minutes*
#
# The weights that you computed by hand, for any number of tiles.
#
# <details><summary>Hint 1</summary>
#
# Write each tile's weights into its row of a tensor of zeros; divide once, at the end.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With `inside = torch.arange(tile)` the distance to the nearer end is
# `torch.minimum(inside, tile - 1 - inside)`, and the weight is one more.
#
# </details>


# %% tags=["exercise-11.3"]
def tile_shares(starts: list[int], tile: int, length: int) -> torch.Tensor:
    """What each of several overlapping tiles counts at each pixel of a line.

    Tile k covers the ``tile`` pixels from ``starts[k]`` on, all within the line's
    ``length``; each pixel is covered by one tile or more, in any order. Within a tile
    the weight rises by one from each end towards the middle: 1, 2, 3, ..., 3, 2, 1;
    that of a tile of 4 is 1, 2, 2, 1. Outside it is 0. A tile's share at a pixel is its
    weight there, divided by the sum of all tiles' weights there.

    Returns the shares (tiles, length), float64; those of each pixel add up to 1.
    """
    raise NotImplementedError


tile_shares = cl.check("11.3", tile_shares)


# %% [markdown]
# ### Exercise 11.4 · One mean from many
#
# *Analyse · difficulty 3 of 3 · 15 minutes*
#
# The loss of *By hand* that could not be shared: share it.
#
# <details><summary>Hint 1</summary>
#
# Write down the gradient that you want, and the average of P gradients. What has to stand
# before each total for both to be equal?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Wanted: all totals by all pixels. The average brings a 1 / P that nobody asked for.
#
# </details>


# %% tags=["exercise-11.4"]
def own_losses(totals: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """What each process has to call backward on, so that all learn from one mean.

    In a step process k finds the error ``totals[k]``, summed over the ``pixels[k]``
    missing pixels of its pictures. ``totals`` is a float tensor (P,), ``pixels`` int64
    (P,), 1 or more. Each process calls backward on a loss of its own; then gradients
    are averaged over the P processes, as they always are.

    Wanted is the gradient of the mean error of all missing pixels of the step. Returns
    (P,): the loss of each process, made from its own total. Gradients reach ``totals``.
    """
    raise NotImplementedError


own_losses = cl.check("11.4", own_losses)


# %% [markdown]
# ## Self-quiz
#
# **1.** Why do a tile's weights not fall at the border of the picture?
#
# <details><summary>Answer</summary>
#
# There is no neighbour to take over. (Divided by the sum they would come out as 1 anyway, as
# long as they are not 0.)
#
# </details>
#
# **2.** Two processes with a batch of 8 each: which single process has the same curve?
#
# <details><summary>Answer</summary>
#
# One with a batch of 16, if nothing looks across pictures (batch normalisation does) and the
# loss is a mean over pictures.
#
# </details>
#
# **3.** If several workers draw from one generator, why can nothing be resumed exactly?
#
# <details><summary>Answer</summary>
#
# Who draws first depends on timing, and workers have drawn ahead when the checkpoint is
# written. A batch that depends on its number alone has neither problem.
#
# </details>
#
# **4.** Does accumulation make a step faster?
#
# <details><summary>Answer</summary>
#
# No: it computes the same, part after part. It saves memory.
#
# </details>
#
# ## Summary
#
# A network takes any size if pictures are padded to its multiple and cut into overlapping
# tiles whose shares add up to one; a large hole gets its middle from a smaller photo. Parts of a
# batch, and processes that share one, learn as the whole batch does, if normalisation and loss
# look at one picture at a time. A batch that depends on its number alone makes resuming exact,
# with any number of workers. On one busy CPU core bf16 with channels last trained 1.7 times as
# fast, as a median; on a GPU, measure.
#
# ## References
#
# - Accelerate, [documentation](https://huggingface.co/docs/accelerate) and
#   [code](https://github.com/huggingface/accelerate).
# - Li et al., *PyTorch Distributed*, 2020, [arXiv:2006.15704](https://arxiv.org/abs/2006.15704):
#   how gradients are averaged.
# - Micikevicius et al., *Mixed Precision Training*, 2018,
#   [arXiv:1710.03740](https://arxiv.org/abs/1710.03740).
# - Wu and He, *Group Normalization*, 2018, [arXiv:1803.08494](https://arxiv.org/abs/1803.08494).
# - Zhou et al., *Places*, 2017; Liu et al., *Deep Learning Face Attributes in the Wild*, 2015,
#   [arXiv:1411.7766](https://arxiv.org/abs/1411.7766): Places365 and CelebA.
# - Liu et al., *Image Inpainting for Irregular Holes*, 2018,
#   [arXiv:1804.07723](https://arxiv.org/abs/1804.07723): the NVIDIA holes.
# - In the library: [large.py](../course_lib/large.py), [scale](../course_lib/scale/__init__.py),
#   [datasets.py](../course_lib/datasets.py), [folders.py](../course_lib/folders.py) and
#   [the exercises](../course_lib/exercises/lesson_11.py).
