# %% [markdown]
# # A plain U-Net, and where it fails
#
# ![A photo of a sheep with a hole, and four answers of one trained network to four colours that hid the hole: after grey a blurred flank, after black a black patch, after white a white one, after noise a speckled one](../assets/figures/03_unet.png)
#
# By the end you will have built and trained the network that hosts every layer of this
# course, and measured two failures that give the next lessons their work.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | prove a convolution from loops equal to the library's<br>read a U-Net: shapes, parameters, skips, reach<br>write a training step, and resume a training bit for bit<br>measure colour discrepancy and blur<br>say in numbers why the next lesson is needed |
# | **Minutes** | read 52 · run 2 · practise 26 |
# | **Before you start** | lessons 00 to 02 |
# | **Cost** | ci 50 s · laptop 80 s · gpu not measured |

# %%
import torch
import torch.nn.functional as F

import course_lib as cl

run = cl.start("03")

# %% [markdown]
# ## The problem
#
# Two trained networks come with this lesson. Both find mid grey, 0.5, where pixels are
# missing. `told` is also given the hole, as a fourth channel; `blind` must notice the
# grey by itself.

# %%
TOLD, BLIND = "plain_unet", "plain_unet_blind"
told, blind = cl.zoo.load(TOLD), cl.zoo.load(BLIND)
for name in (TOLD, BLIND):
    card = cl.zoo.card(name)
    steps = sum(stage["steps"] for stage in card["steps"])
    print(f"{name}: {card['parameters']:,} parameters, {steps:,} steps of training,")
    print(f"  {card['minutes']:.0f} minutes on one {card['device']}")

# %% [markdown]
# Which colour hides a hole is our choice; nothing was ever there to be seen. So it
# should not matter. We ask `told` about one photo and one hole, hidden by the grey that
# it was trained with, and then by other colours. `told.fill` is that colour.

# %%
photo = cl.photos.square(cl.photos.load("sheep"), 128)
stroke = cl.holes.strokes(1, 128, run.generator("hole 2"))
hole = cl.holes.grow(stroke, torch.tensor([0.2]))
noise = torch.rand(photo.shape, generator=run.generator("noise"))
seen = {}
tints = {"grey": 0.5, "black": 0.0, "white": 1.0, "noise": noise}
for name, colour in tints.items():
    told.fill = colour
    seen[name] = cl.composite(told(photo, hole), photo, hole)
told.fill = 0.5

# %%
for name, filled in seen.items():
    score = cl.evaluation.hole_psnr(filled, photo, hole).item()
    moved = 255 * cl.evaluation.hole_l1(filled, seen["grey"], hole).item()
    print(f"{name:6} hole PSNR {score:4.1f} dB, {moved:5.1f} of 255 away from grey's")
cl.pictures.grid({"hole": cl.pictures.hatched(photo, hole), **seen})

# %% [markdown]
# One network, one photo, one hole, and four answers; black even comes back as black. And
# yet the fourth channel says exactly where nothing is to be seen. Why does the colour
# that we put there matter at all?
#
# ## By hand
#
# A picture of 5 × 5 pixels, all 2; the pixel in row 1 and column 1 is missing. The
# plainest convolution adds up each window of 3 × 3, so every output should be
# $9 \cdot 2 = 18$. We put 2, then 0, then 9 into the hole. Which outputs change?

# %%
sums = {}
for colour in (2, 0, 9):
    tiny = torch.full((1, 1, 5, 5), 2.0)
    tiny[..., 1, 1] = colour
    sums[colour] = F.conv2d(tiny, torch.ones(1, 1, 3, 3))[0, 0].int()
for rows in zip(*sums.values(), strict=True):
    print("     ".join(" ".join(f"{n:2}" for n in row.tolist()) for row in rows))

# %% [markdown]
# Four of the nine windows contain the missing pixel, and each adds its colour like any
# other: 16 with black, 25 with 9. A convolution cannot leave a pixel out. And the next
# layer reads those outputs. How far does one missing pixel get?

# %%
signal = torch.zeros(1, 1, 17, 17)
signal[..., 8, 8] = 1  # what the missing pixel adds
for layer in range(1, 5):
    signal = F.conv2d(signal, torch.ones(1, 1, 3, 3), padding=1)
    print(f"after layer {layer}: {int((signal != 0).sum())} values depend on it")

# %% [markdown]
# ## Naive code, then without loops
#
# The definition: lay the kernel on every window, multiply, add, and add the bias.
# `stride` is the step from window to window, `padding` a frame of zeros around the
# picture.


# %%
def conv_naive(x, weight, bias, stride, padding):
    """x (C, H, W), weight (O, C, K, K), bias (O,) -> (O, H', W')."""
    x, size = F.pad(x, [padding] * 4), weight.shape[-1]
    tops = range(0, x.shape[1] - size + 1, stride)
    lefts = range(0, x.shape[2] - size + 1, stride)
    y = torch.empty(len(weight), len(tops), len(lefts), dtype=x.dtype)
    for o in range(len(weight)):
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                window = x[:, top : top + size, left : left + size]
                y[o, i, j] = (window * weight[o]).sum() + bias[o]
    return y


# %% [markdown]
# Without loops: `unfold` shows all windows as two further axes, without copying a
# pixel, and `einsum` multiplies and adds along channels and window.


# %%
def conv(x, weight, bias, stride, padding):
    """x (N, C, H, W) -> (N, O, H', W')."""
    size = weight.shape[-1]
    windows = F.pad(x, [padding] * 4).unfold(2, size, stride).unfold(3, size, stride)
    return torch.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None]


# %% [markdown]
# The library's `PlainConv2d` is PyTorch's convolution in the contract that all layers
# of the course share: `layer(x, valid) -> (y, valid)`. Are the three equal, in values
# and in gradients, with an odd side, a stride and padding?

# %%
torch.manual_seed(0)
layer = cl.layers.PlainConv2d(3, 4, 5, stride=2, padding=2).double()
draw = run.generator("layer")
x = torch.rand(1, 3, 11, 8, generator=draw, dtype=torch.float64, requires_grad=True)
valid = (torch.rand(1, 1, 11, 8, generator=draw) > 0.4).double()
given = (layer.weight, layer.bias, 2, 2)
made = [conv_naive(x[0], *given)[None], conv(x, *given), layer(x, valid)[0]]
print(f"output {tuple(made[2].shape)}, validity {tuple(layer(x, valid)[1].shape)}")

# %%
slopes = [torch.autograd.grad(y.sin().sum(), [x, layer.weight]) for y in made]
gap = max((y - made[2]).abs().max() for y in made)
cl.claim("loops = unfold = library, to 1e-12", gap < 1e-12)
gaps = [slope[k] - slopes[2][k] for slope in slopes[:2] for k in (0, 1)]
cl.claim("and so are their gradients", max(g.abs().max() for g in gaps) < 1e-12)

# %%
nothing = torch.zeros_like(valid)
cl.claim("validity changes no value", torch.equal(layer(x, nothing)[0], made[2]))

# %% [markdown]
# The last line is the weakness in one sentence: validity is handed in, carried along,
# and never used.
#
# ## The U-Net
#
# One 3 × 3 layer spans three pixels. A *U-Net* (Ronneberger et al. 2015) halves the
# picture again and again, so that a small kernel spans much of it, and then doubles it
# back. Ours, at 128 px, with the side at each stage and every skip:
#
# ```text
# 128 ─────────────── input beside ──────────────▶ 128  last
#   ▼ down 1                                        ▲
#   64 ───────────────── skip ─────────────▶ 64  up 4
#     ▼ down 2                                ▲
#     32 ─────────────── skip ─────────▶ 32  up 3
#       ▼ down 3                          ▲
#       16 ───────────── skip ─────▶ 16  up 2
#         ▼ down 4                    ▲
#          8 ─────────── skip ──▶ 8  up 1
#            ▼ down 5            ▲
#             4 ─────────────────┘
# ```
#
# The shape follows Liu et al. (2018): a convolution with stride 2 in each stage down, and
# nearest up-sampling with a 3 × 3 convolution in each stage up. Then, but for first and last
# stage, *batch normalisation* (channels less their batch mean, over their deviation: a bias
# before it is lost) and a ReLU, leaky on the way up. A *hook* runs
# whenever a module has run; ours writes down what it sees.

# %%
trail = []


def note(module, _, output):
    """Write down channels, side, kernel and parameters of one stage."""
    conv = getattr(module, "conv", module)
    count = sum(p.numel() for p in module.parameters())
    features = output[0]
    trail.append((conv.in_channels, *features.shape[1:3], conv.kernel_size[0], count))


# %%
stages = {f"down {k + 1}": stage for k, stage in enumerate(told.encoder)}
stages |= {f"up {k + 1}": stage for k, stage in enumerate(told.decoder)}
stages["last"] = told.last
hooks = [stage.register_forward_hook(note) for stage in stages.values()]
told(photo, hole)
for hook in hooks:
    hook.remove()
print("stage   channels      side  kernel  parameters")
for name, (reads, makes, side, kernel, count) in zip(stages, trail, strict=True):
    print(f"{name:6} {reads:4} to {makes:3} {side:7} {kernel:7} {count:11,}")
total = sum(row[-1] for row in trail)
cl.claim(f"{total:,} in all, as on the card", total == cl.zoo.card(TOLD)["parameters"])

# %% [markdown]
# Why do the stages up read so many channels? Each gets what comes from below *and* what
# the encoder had at that size: the **skip** connection. The last stage skips to the
# input itself. The whole way (`copying` waits for lesson 10): `_seen` puts `fill` where the hole is, so
# that what the photo has there is never read, but `fill` is; `_beside` up-samples and
# hands both parts, and the validity of both, to the next stage:

# %%
cl.show_source(cl.networks.UNet.forward)

# %% [markdown]
# What would be lost without skips? Both parts arrive side by side, so a layer that
# forgets the second one takes few lines. We train small networks of three levels at 32 px
# with and without, three seeds of 40 steps, and measure known and missing pixels of 20
# photos that they never saw. A missing pixel counts six times, as in lesson 02.


# %%
class Forgetful(cl.layers.PlainConv2d):
    """Reads zeros where a skip brings features."""

    def forward(self, x, valid):
        x = x if torch.is_tensor(x) else (x[0], torch.zeros_like(x[1]))
        return super().forward(x, valid)


crops = cl.photos.collection("train", limit=24)


def batches(generator, count, size):
    """Endless pairs: crops of photos, and holes."""
    while True:
        image = crops.crops(count, size, generator)
        yield image, cl.holes.strokes(count, size, generator)


# %%
def bare_loop(layer, seed, steps=40, colours=None):
    """Train a small U-Net made of ``layer``; ``colours()`` makes each step's fill."""
    torch.manual_seed(seed)
    network = cl.networks.UNet(layer, channels=(12, 24, 36), kernels=(5, 3, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    data = batches(torch.Generator().manual_seed(seed), 8, 32)
    for _ in range(steps):
        image, missing = next(data)
        network.fill = colours() if colours else 0.5
        error = (network(image, missing) - image).abs()
        loss = (error * (1 + 5 * missing)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


# %%
l1, psnr = cl.evaluation.hole_l1, cl.evaluation.hole_psnr
faces = cl.photos.squares("evaluation", 32)
gone = cl.holes.strokes(20, 32, run.generator("skips"))
errors = torch.zeros(2, 3, 2)  # with or without, seed, known or missing
for k, layer in enumerate((cl.layers.PlainConv2d, Forgetful)):
    for seed in range(3):
        answer = bare_loop(layer, seed)(faces, gone)
        errors[k, seed, 0] = l1(answer, faces, 1 - gone).mean()
        errors[k, seed, 1] = l1(answer, faces, gone).mean()

# %%
with_skips, without = errors.mean(1)  # each: known, missing
cl.close("known pixels with skips, mean L1", with_skips[0], 0.13, 0.04)
cl.close("known pixels without", without[0], 0.19, 0.05)
closer = errors[0] < errors[1]
cl.claim("known pixels: skips help, with each seed", closer[:, 0].all())
cl.claim("missing pixels: too", closer[:, 1].all())

# %% [markdown]
# Without skips even what is *known* has to squeeze through 4 × 4 pixels (32 halved three
# times) and comes back as a blur. With them detail has a short way.
#
# ## Look inside: what an output pixel reads
#
# To invent a pixel in the middle of a hole, a network must reach something known. How
# far? We count windows backwards, along one axis, the way through the bottom. An output
# row reads an interval of rows. A 3 × 3 convolution widens it by one at both ends; before
# an up-sampling it is halved; before a stride of 2 it is doubled and widened by half a
# kernel at both ends.


# %%
def way(place, kernels=(7, 5, 5, 3, 3)):
    """The rows that output row ``place`` can read, from stage to stage backwards."""
    rows = [(place - 1, place + 1)]  # the last stage
    for _ in kernels[1:]:  # the stages up
        rows.append((rows[-1][0] // 2 - 1, rows[-1][1] // 2 + 1))
    rows.append((rows[-1][0] // 2, rows[-1][1] // 2))  # the bottom
    for size in reversed(kernels):  # the stages down
        rows.append((2 * rows[-1][0] - size // 2, 2 * rows[-1][1] + size // 2))
    return rows


def reach(place):
    """First and last row of the photo that output row ``place`` can read."""
    return way(place)[-1]


print("row 128:", ", ".join(f"{first}–{last}" for first, last in way(128)))

# %% [markdown]
# From left to right: rows 127 to 129 for the last stage, 3 and 4 at the bottom, and in the
# end rows 57 to 167 of the photo.
#
# That is counted. It can also be measured. The *gradient* of an output pixel with respect
# to the photo says how strongly each input moves it; where it cannot look, it is 0.
# `influence` returns it. A photo of 256 px, no hole, four rows:

# %%
large = cl.photos.square(cl.photos.load("sheep"), 256)
whole = torch.zeros(1, 1, 256, 256)
found = {}
for place in (112, 120, 127, 128):
    _, strength = cl.networks.influence(told, large, whole, place, place)
    rows = strength[0, 0].any(1).nonzero().flatten()
    found[place] = (int(rows.min()), int(rows.max()))
    print(f"row {place}: counted {reach(place)}, measured {found[place]}")

# %%
same = all(reach(place) == rows for place, rows in found.items())
cl.claim("counted = measured", same)
fields = {p: cl.networks.receptive_field(told, p, 0) for p in range(128)}
same = all(reach(p) == (top, top + rows - 1) for p, (top, _, rows, _) in fields.items())
cl.claim("counted = the library's count, for 128 rows", same)

# %% [markdown]
# The count is exact, and it depends on where a pixel lies among the strides: row 128
# reaches 71 rows up and only 39 down, 111 in all; row 120 reads 143. But *can* read is not
# *does* read. Within what distance of the pixel, up, down, left and right, lies 95 % of
# the gradient: for a known pixel, and in the middle of wider and wider holes? We ask three
# photos.


# %%
def effective(network, image, hole, place, share=0.95):
    """Distance from (place, place) within which a share of the gradient lies."""
    _, strength = cl.networks.influence(network, image, hole, place, place)
    for distance in range(place):
        near = slice(place - distance, place + distance + 1)
        if strength[0, 0, near, near].sum() >= share * strength.sum():
            return distance


# %%
subjects = ("sheep", "calf", "lincolnmemorial")
three = [cl.photos.square(cl.photos.load(name), 256) for name in subjects]
away = {}
for side in (0, 16, 32, 64, 96):
    box, middle = whole.clone(), slice(128 - side // 2, 128 + side // 2)
    box[..., middle, middle] = 1
    away[side] = [effective(told, image, box, 128) for image in three]
    print(f"hole {side:2} px wide: 95 % of the gradient within", *away[side], "px")
mean = {side: sum(row) / 3 for side, row in away.items()}
wider = sorted(mean.values()) == list(mean.values())
cl.claim("the wider the hole, the further it reads, on average", wider)
cl.claim("but never beyond 71 px", max(map(max, away.values())) <= 71)

# %% [markdown]
# So the *effective* field is no constant of a network. A known pixel reads mostly nearby, a
# hidden one far away, though never further than the count allows. And where the count
# ends? Some missing pixels may have their whole window inside the hole. We count the known
# pixels of every window with running sums: what lies before its end less what lies
# before its beginning, for rows, then for columns.


# %%
def beyond(hole):
    """Which missing pixels can read nothing known at all, (N, 1, H, W)."""
    side = hole.shape[-1]
    ends = [reach(place) for place in range(side)]
    low, high = torch.tensor(ends).clamp(0, side - 1).T
    sums = F.pad((1 - hole).cumsum(2).cumsum(3), [1, 0, 1, 0])
    rows = sums[:, :, high + 1] - sums[:, :, low]
    known = rows[..., high + 1] - rows[..., low]
    return hole.bool() & (known == 0)


# %%
cut_off = {}
for side in (64, 128, 256):
    some = cl.holes.benchmark(side, per_cell=10)
    last = some.hole[some.bucket == 5]  # 50 to 60 % missing
    deep = cl.holes.distance(last).max()
    cut_off[side] = float(beyond(last).sum() / last.sum())
    print(f"{side:3} px: deepest pixel {deep:3.0f} px from the rim,", end=" ")
    print(f"{cut_off[side]:.1%} of the missing pixels out of reach")
cl.claim("at 64 px fewer than one in a thousand", cut_off[64] < 0.001)
cl.claim("at 256 px more than one in twenty", cut_off[256] > 0.05)

# %% [markdown]
# Even in these largest holes, at 128 px, the largest size in its training, 98.7 % of the
# missing pixels can read something known; at 256 px it is not deep enough. What does it
# put where it can know nothing? The three photos with the same square missing, 176
# pixels wide. Look at the middle.

# %%
three, square = torch.cat(three), whole.expand(3, -1, -1, -1).clone()
square[..., 40:216, 40:216] = 1
guess, lost = told(three, square), beyond(square)[0]

# %%
apart = guess.amax(0, keepdim=True) - guess.amin(0, keepdim=True)
same = apart.amax(1, keepdim=True) < 1e-4  # three photos, one answer
rows, columns = (lost[0].any(k).sum().item() for k in (1, 0))
print(f"out of reach: {rows} x {columns} pixels")
cl.claim("there the three photos get one answer", same[0][lost].all())
cl.claim("and nowhere else", not same[0][~lost].any())

# %%
shown = {"hole": cl.pictures.hatched(three, square)}
shown["told"] = cl.composite(guess, three, square)
shown["one answer for all"] = torch.where(same, guess, 0.7 + 0.3 * guess)
cl.pictures.grid(shown, rows=("sheep", "calf", "memorial"), scale=0.4)

# %% [markdown]
# The dark square is the same in all three: exactly there nothing of the photo arrives.
# No training can mend that, only depth. Liu et al. use eight levels at 512 px.
#
# Now ask it yourself. Click a pixel deep in the hole, one at its rim, a known one. Its
# square is the smallest that holds 95 % of the gradient, wherever it lies. Then drag the
# fill: how far does the hole change?

# %%
explorer = cl.ReadingExplorer(told, photo, hole)
explorer.look(48, 40)

# %% [markdown]
# Teal is what moved the pixel in question. Nothing under the hole is teal: `hide` replaces
# it before the network looks, and what it finds there instead is no part of the photo.
# Three pixels and six fills, for readers without a kernel (with other noise than above):

# %%
rim = (cl.holes.distance(hole)[0, 0, 48] == 1).nonzero()[0].item()
places = {"known": (48, 100), "at the rim": (48, rim), "inside": (48, 40)}
for kind, place in places.items():
    shown = explorer.look(*place).shown
    print(f"{kind:10} {shown['distance']:4.1f} px deep, 95 % of what moves it", end=" ")
    print(f"in {shown['square'][2]} x {shown['square'][3]} px,", end=" ")
    print(f"{shown['under']:.0%} under the hole")

# %%
for colour, change in explorer.sweep().changes.items():
    print(f"hidden by {colour:5}: the hole changes by {255 * change:5.1f} of 255")

# %% [markdown]
# ## Train: the loop in the open
#
# `bare_loop` above is all that a training needs. `training.fit` is that loop with
# progress, checkpoints and a stop button; it repeats a `step` that you write: predict,
# compare, correct. This step trained both networks (their learning rate fell from 0.002
# to 2 % of it). Its loss is the mean error in the hole, every picture counting the same
# however small its hole, plus the mean error of all pixels. The `accelerator`, from
# Hugging Face, knows the device: `autocast` computes in 16 bits where that is faster;
# the loss is taken in 32.


# %%
def step_of(state, accelerator):
    """The step that trains what is in ``state``."""
    network, optimizer = state["network"], state["optimizer"]

    def step(batch):
        image, hole = batch
        with accelerator.autocast():
            prediction = network(image, hole)
        error = (prediction.float() - image).abs().mean(1, keepdim=True)
        inside = (error * hole).sum((1, 2, 3)) / hole.sum((1, 2, 3))
        loss = inside.mean() + error.mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        return {"loss": loss, "hole": inside.mean()}

    return step


# %%
def fresh(accelerator, channels=(8, 16), kernels=(5, 3)):
    """All that changes while training: network, optimiser, random numbers."""
    torch.manual_seed(run.seed)
    network = cl.networks.UNet(channels=channels, kernels=kernels)
    network.to(accelerator.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    return {
        "network": network,
        "optimizer": accelerator.prepare(optimizer),
        "generator": torch.Generator().manual_seed(run.seed),
    }


# %% [markdown]
# A training of hours must survive a closed laptop. Given a `checkpoint`, `fit` stores
# `state` there, and goes on from it when it is called again. *Exactly* from there? We
# compare 12 steps in one go with 6, everything made afresh, and 6 more; and then forget
# one thing at a time.

# %%
import tempfile
from pathlib import Path

exact = cl.training.accelerator("cpu", precision="no")


def train(steps, file=None, forget=""):
    """Train a small network to step ``steps``; ``forget`` is not in the checkpoint."""
    state = fresh(exact)
    kept = {name: value for name, value in state.items() if name != forget}
    data = batches(state["generator"], 4, 32)
    options = {"state": kept, "checkpoint": file, "progress": False}
    cl.training.fit(step_of(state, exact), data, steps=steps, **options)
    return state["network"].state_dict()


# %%
differ, once = {}, train(12)
for forgot in ("nothing", "generator", "optimizer"):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.pt"
        train(6, file, forgot)
        again = train(12, file, forgot)
    differ[forgot] = sum(not torch.equal(once[name], again[name]) for name in once)
    print(f"{forgot:9} forgotten: {differ[forgot]:2} of {len(once)} tensors differ")
cl.claim("12 steps = 6 + 6 resumed, bit for bit", differ["nothing"] == 0)

# %% [markdown]
# With either forgotten, every trained tensor differs; the other two count
# batches. Nothing fails, the loss looks right, but it is another training: Adam's
# averages of past gradients and the random numbers belong to the state.
#
# Two more accidents. Somebody presses the stop button during the third step:

# %%
import signal as signals

state = fresh(exact)
network, step = state["network"], step_of(state, exact)
data, stops = batches(state["generator"], 4, 32), iter([False, False, True])


def stopped(batch):
    """A step; in the third one comes the signal that the stop button sends."""
    if next(stops):
        signals.raise_signal(signals.SIGINT)
    return step(batch)


history = cl.training.fit(stopped, data, steps=12, progress=False)
print(f"{history.steps} of {history.goal} steps, interrupted: {history.interrupted}")
three_steps, left = train(3), network.state_dict()
whole_step = all(torch.equal(left[name], three_steps[name]) for name in left)
cl.claim("the network is that of 3 whole steps, bit for bit", whole_step)

# %% [markdown]
# And a learning rate is far too high. One such step throws the weights so far that the
# next loss is no number, and every later step would train on garbage, for hours. What
# does `fit` do?


# %%
def wild(batch):
    """A step with a learning rate that nobody should choose."""
    for group in state["optimizer"].param_groups:
        group["lr"] = 1e30
    return step(batch)


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "small.pt"
    options = {"state": state, "checkpoint": file, "progress": False}
    cl.training.fit(step, data, steps=4, **options)
    good = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        cl.training.fit(wild, data, steps=8, **options)
    except cl.training.TrainingError as error:
        print(error)
left = network.state_dict()
same = all(torch.equal(left[name], good[name]) for name in good)
cl.claim("what is left is the network of step 4, bit for bit", same)

# %% [markdown]
# Four good steps, a wild fifth, and in the sixth the loss was no number: `fit` stopped
# and took back the last checkpoint, the state after step 4.
#
# Now a training to watch, as long as your profile allows, on your device. The view
# shows the loss, and what the network makes of the sheep; drag along the curve to go
# back in time. Press the stop button whenever you like.

# %%
accelerator = cl.training.accelerator(run)
size = {"channels": (16, 32, 64, 96), "kernels": (5, 5, 3, 3)}
state = fresh(accelerator, **size)


def sheep():
    """What the network in training puts into the hole."""
    pair = photo.to(run.device), hole.to(run.device)
    return cl.composite(state["network"](*pair), *pair)


view = cl.TrainingView(sheep)
view

# %% tags=["nbval-ignore-output"]
data = batches(state["generator"], run.batch, run.size)
options = {"state": state, "accelerator": accelerator, "watch": view}
history = cl.training.fit(step_of(state, accelerator), data, steps=run.steps, **options)
print(history)
view.still()

# %% [markdown]
# Each loss is that of one batch, and a fall at the end may be an easy batch: judge a network
# by many holes, as the bench table below does. *Waiting* is the share of the time in which the step stood still because crops and holes
# were not ready. And what do 16 bits save? `training.accelerator` chooses `bf16` where
# the hardware multiplies in it; if yours does not, there are two lines of 32 bits.

# %% tags=["nbval-ignore-output"]
import time

batch = [part.to(run.device) for part in next(batches(run.generator("time"), 8, 64))]
for precision in ("no", accelerator.mixed_precision):
    chosen = cl.training.accelerator(run, precision)
    step, times = step_of(fresh(chosen, (32, 64, 96), (7, 5, 5)), chosen), []
    for _ in range(5):
        begin = time.perf_counter()
        step(batch)["loss"].item()
        times.append(time.perf_counter() - begin)
    name = precision.replace("no", "32 bits")
    print(f"{name:8} {1000 * min(times):4.0f} ms a step")

# %% [markdown]
# ## Experiment 1: colour discrepancy
#
# From here on the shipped networks. 20 evaluation photos, each with a hole of 20 to
# 30 %, hidden in six ways; how far does the answer in the hole move from the one at
# 0.5? And what do you expect of `blind`, which has nothing but the colour to go by?

# %%
photos = cl.photos.squares("evaluation", 128)
bench = cl.holes.benchmark(128, per_cell=20)
holes = bench.hole[(bench.bucket == 2) & ~bench.border]
known = 1 - holes
own_mean = (photos * known).sum((2, 3), True) / known.sum((2, 3), True)
noise = torch.rand(photos.shape, generator=run.generator("noise"))
colours = {"0.5, as trained": 0.5, "0.45": 0.45, "mean of the photo": own_mean}
colours |= {"black": 0.0, "white": 1.0, "noise": noise}


# %%
def answers(network):
    """Colour -> the raw answers of a network when that colour hides the holes."""
    found = {}
    for name, colour in colours.items():
        network.fill = colour
        found[name] = network(photos, holes)
    network.fill = 0.5
    return found


made = {"told": answers(told), "blind": answers(blind)}

# %%
moved, reached = {}, {}
print("                     change, of 255       hole PSNR, dB")
print("hidden by             told     blind      told     blind")
for colour in colours:
    for name, found in made.items():
        change = l1(found[colour], found["0.5, as trained"], holes).mean()
        moved[name, colour] = 255 * change.item()
        reached[name, colour] = psnr(found[colour], photos, holes).mean().item()
    numbers = [column[name, colour] for column in (moved, reached) for name in made]
    print(f"{colour:16}" + "".join(f"{number:10.1f}" for number in numbers))

# %%
far = [moved[name, c] for name in made for c in ("black", "white", "noise")]
cl.claim("black, white, noise: the hole changes by over 20 of 255", min(far) > 20)
cost = reached["told", "0.5, as trained"] - reached["told", "0.45"]
cl.claim("a little darker, 0.45, costs told over 3 dB", cost > 3)
surprise = moved["told", "0.45"] > 2 * moved["blind", "0.45"]
cl.claim("and moves it more than twice as far as blind", surprise)

# %%
one = slice(12, 13)
shown = {
    colour: cl.composite(found[one], photos[one], holes[one])
    for colour, found in made["told"].items()
}
cl.pictures.grid(shown)

# %% [markdown]
# Liu et al. name it *colour discrepancy*. Being told where the hole is protects nobody. We
# even expected `blind` to depend most on the colour, and at 0.45 the opposite holds. And
# why is the mean of a meadow, a dull green, answered by neon? Compare how bright the
# answers are on average when the grey gets a little brighter:

# %%
bright = {}
for name, network in {"told": told, "blind": blind}.items():
    for fill in (0.4, 0.45, 0.5, 0.55, 0.6):
        network.fill = fill
        inside = network(photos, holes)[holes.expand_as(photos) == 1]
        bright[name, fill] = inside.mean().item()
    network.fill = 0.5
    row = [value for (which, _), value in bright.items() if which == name]
    print(f"{name:5}", *(f"{value:.2f}" for value in row))
slope = (bright["told", 0.55] - bright["told", 0.45]) / 0.1
cl.claim("told answers 0.05 with more than 0.1 of change", slope > 2)

# %% [markdown]
# `told` makes the difference from 0.5 about three times as large: a shade of green becomes
# neon. Our best explanation: in 12,000 steps it met nothing but 0.5 where its fourth
# channel says "missing", and learned to cancel exactly that; what is left over is treated
# as colour of the photo. `blind` must find holes by their colour, and so allows for a
# shade.
#
# ### Then train on every colour?
#
# You may object: then hide the holes of the training by random colours! We try it with
# the bare loop: three seeds of 100 steps with grey alone, and with a new colour for every
# picture. How far do black and white move the answer then?


# %%
def pull(colours, seed):
    """How far black and white move a small network's answer, of 255."""
    network = bare_loop(cl.layers.PlainConv2d, seed, 100, colours)
    found = []
    for fill in (0.5, 0.0, 1.0):
        network.fill = fill
        found.append(network(faces, gone))
    ways = [l1(other, found[0], gone).mean() for other in found[1:]]
    return 255 * sum(ways).item() / 2


# %%
kinds = {"grey alone": None, "random": lambda: torch.rand(8, 3, 1, 1)}
pulled = {kind: [pull(c, seed) for seed in range(3)] for kind, c in kinds.items()}
cl.close("mean move after grey alone", sum(pulled["grey alone"]) / 3, 80, 25)
cl.close("after random colours", sum(pulled["random"]) / 3, 32, 15)
pairs = list(zip(pulled["random"], pulled["grey alone"], strict=True))
cl.claim("random colours help, with each seed", all(a < b for a, b in pairs))
cl.claim("but the move stays above 5", min(pulled["random"]) > 5)

# %% [markdown]
# It helps, but it is no cure here: these networks ignore the colour only roughly. A *layer*
# that leaves the hole out would ignore it exactly, from its first step.
#
# Or: then always use 0.5! True, the first row of the table is all that a user sees. But
# 0.5 is a colour like any other. We paint a grey wall into the photos and declare
# *nothing* missing. What is the fourth channel worth there?

# %%
wall, none = photos.clone(), torch.zeros_like(holes)
wall[..., 40:88, 40:88] = 0.5
inside = torch.zeros_like(holes)
inside[..., 40:88, 40:88] = 1
off, walls = {}, {"a known wall": wall}
for name, network in {"told": told, "blind": blind}.items():
    walls[name] = network(wall, none)
    off[name] = 255 * l1(walls[name], wall, inside).mean().item()
    print(f"{name:5}: a known grey wall comes back {off[name]:.1f} of 255 off")
cl.claim("blind paints over it, told does not", off["blind"] > 5 * off["told"])
shown = {name: picture[14:15, :, 24:104, 24:104] for name, picture in walls.items()}
cl.pictures.grid(shown, scale=1)

# %% [markdown]
# ## Experiment 2: blur
#
# The second failure. A sharp picture has large steps between neighbours. We take the
# mean squared step, the *gradient energy*, between neighbours that are both missing,
# and divide it by that of the truth: 100 % would be as rich as the photo. The library
# has it, and later lessons measure blur with it too. (*Navier-Stokes*: lines of equal
# brightness go on.)

# %%
cl.show_source(cl.evaluation.gradient_energy)


# %%
def by_bucket(values):
    """The mean of one value a hole, (240,), in each of the six buckets."""
    return [values[bench.bucket == number].mean().item() for number in range(6)]


# %%
truth = photos.repeat(12, 1, 1, 1)  # cell after cell, as the benchmark's holes lie
fills = {"told": told, "blind": blind, "harmonic": cl.fills.harmonic}
fills |= {"Telea": cl.fills.telea, "Navier-Stokes": cl.fills.navier_stokes}
given = cl.hide(truth, bench.hole, float("nan"))  # so that nobody can peek
filled = {}
for name, fill in fills.items():
    parts = zip(given.split(20), bench.hole.split(20), strict=True)
    answer = torch.cat([fill(image, hole) for image, hole in parts])
    filled[name] = cl.composite(answer, truth, bench.hole)

# %%
head = "".join(f"{f'to {high:.0%}':>9}" for _, high in cl.holes.BUCKETS)
energy = cl.evaluation.gradient_energy
print(f"{'energy':14}{head}")
full, sharp = by_bucket(energy(truth, bench.hole)), {}
for name, result in filled.items():
    here = by_bucket(energy(result, bench.hole))
    sharp[name] = [a / b for a, b in zip(here, full, strict=True)]
    print(f"{name:14}" + "".join(f"{share:9.1%}" for share in sharp[name]))
kept = torch.tensor(list(sharp.values()))
cl.claim("told keeps under a quarter, in each bucket", (kept[0] < 0.25).all())
ordered = (kept[2] < kept[0]) & (kept[0] < kept[3])
cl.claim("harmonic even less, Telea more", ordered.all())

# %%
columns = {"hole": cl.pictures.hatched(truth, bench.hole)}
columns |= {name: filled[name] for name in filled if name != "blind"} | {"truth": truth}
middle = (slice(113, 114), slice(None), slice(32, 96), slice(32, 96))
cl.pictures.grid({name: column[middle] for name, column in columns.items()}, scale=2)

# %% [markdown]
# The larger the hole, the less is left: 3.6 % in the last bucket. L1 asks for the median
# of all possible answers (lesson 00), and that is smooth. Telea and Navier–Stokes keep
# more, but what they keep is streaks, not fur. Energy counts steps, right or wrong ones,
# so it is a symptom and no score.
#
# ## The bench table
#
# The same 240 fills, by bucket. A baseline that loses to methods of 2001 and 2004 would be
# none. Does `told` win where the holes are large? And where they are small? (`seam`:
# how much harder the edge at the rim is than in the truth; 0 is right.)

# %%
measures = {"hole PSNR, dB": (psnr, "9.1f"), "hole L1": (l1, "9.4f")}
measures["seam"] = (cl.evaluation.seam, "+9.4f")
table = {}
for title, (measure, digits) in measures.items():
    print(f"{title:14}{head}")
    for name, result in filled.items():
        table[title, name] = row = by_bucket(measure(result, truth, bench.hole))
        print(f"{name:14}" + "".join(f"{value:{digits}}" for value in row))

# %%
rows = {name: table["hole PSNR, dB", name] for name in filled}
for rival in ("Telea", "Navier-Stokes"):
    ahead = [rows["told"][k] - rows[rival][k] for k in range(2, 6)]
    cl.claim(f"above 20 % told beats {rival}, in each bucket", min(ahead) > 0)

# %%
above = {n: torch.tensor(table["hole L1", n])[2:] for n in filled if n != "told"}
mine = torch.tensor(table["hole L1", "told"])[2:]
least = all((mine < theirs).all() for theirs in above.values())
cl.claim("above 20 % told has the least hole L1 of all five", least)
seams = torch.tensor([table["seam", name] for name in filled]).abs()
cl.claim("its seam is the nearest to 0, in each bucket", not seams.argmin(0).any())

# %%
worth = [a - b for a, b in zip(rows["told"], rows["blind"], strict=True)]
print("the fourth channel is worth, in dB:", *(f"{value:.1f}" for value in worth))
cl.claim("which is something, in each bucket", min(worth) > 0)

# %%
card = torch.tensor(cl.zoo.card(TOLD)["scores"]["hole_psnr"]).mean(1)
same = (card - torch.tensor(rows["told"])).abs().max() < 0.05
cl.claim("the card says the same", same)
gap = torch.tensor(rows["harmonic"]) - torch.tensor(rows["told"])
cl.claim("harmonic has the better PSNR up to 30 %", (gap[:3] > 0.05).all())
cl.claim("beyond, they are level within 0.15 dB", (gap[3:].abs() < 0.15).all())

# %% [markdown]
# So `told` is a baseline worth beating: above 20 % missing it wins in PSNR and L1 against
# both old methods; up to 10 % it loses to Navier–Stokes in both. The fourth channel is
# worth a decibel there and a third of one in large holes (one training each: that third
# may be luck). And `harmonic`, the membrane of lesson 00, an equation that never saw a
# photo, has the better PSNR up to 30 %; beyond, the two are level.
#
# An honest failure to end with: the hole, of all 240, where `told` falls furthest
# behind the membrane in L1. What went wrong there?

# %%
hit = l1(filled["told"], truth, bench.hole)
hit = hit - l1(filled["harmonic"], truth, bench.hole)
worst = int(hit.argmax())
subject = cl.photos.names("evaluation")[worst % 20]
print(f"{subject}, {bench.hole[worst].mean():.0%} missing:", end=" ")
print(f"L1 {hit[worst]:.3f} behind; behind on {int((hit > 0).sum())} of {len(hit)}")

# %%
one = slice(worst, worst + 1)
columns = {"hole": cl.pictures.hatched(truth[one], bench.hole[one])}
columns |= {name: filled[name][one] for name in ("told", "harmonic")}
cl.pictures.grid(columns | {"truth": truth[one]})

# %% [markdown]
# The membrane joins brown to brown; `told` guesses pink. Neither thinks of an eye. On
# almost half of all holes the equation is nearer to the truth.
#
# ## Why the next lesson is needed, in numbers

# %%
needs = {
    "black in place of grey moves the hole by": [moved[n, "black"] for n in made],
    "noise in place of grey": [moved[n, "noise"] for n in made],
    "0.45 in place of 0.5": [moved[n, "0.45"] for n in made],
    "a known grey wall comes back off by": [off[n] for n in made],
    "energy left, holes to 60 %, of 100": [100 * sharp[n][5] for n in made],
}
print(f"{'of 255':42}  told  blind  wanted")
for what, (with_channel, without_channel) in needs.items():
    wanted = 100 if "energy" in what else 0
    print(f"{what:42}{with_channel:6.0f}{without_channel:7.0f}{wanted:8}")

# %% [markdown]
# By heart: **123, 42, 42, and it should be 0**: so far do black, noise and a slightly
# darker grey move the answer of a network that is told. A convolution
# adds what it should leave out. Partial convolution, lesson 04, leaves it out: these three
# must become exactly 0, whatever the training, without a fourth channel. It
# promises no decibels, and nothing for the last row: blur is a matter of the loss.
#
# ## Exercises
#
# ### Exercise 03.1 · Count a stack
#
# *Warm up · difficulty 1 of 3 · 4 minutes*
#
# From the input upwards, now with dilation (gaps between the taps of a kernel).
#
# <details><summary>Hint 1</summary>
#
# How many input pixels lie between two neighbouring outputs? Keep that number while you
# go up; each stride multiplies it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A layer adds `dilation * (kernel - 1)` times that number to the field, with the value
# from *before* its own stride.
#
# </details>


# %% tags=["exercise-03.1"]
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
    raise NotImplementedError


stack = cl.check("03.1", stack)

# %%
down = [(size, 2, size // 2, 1) for size in (7, 5, 5, 3, 3)]
print("our encoder at 128 px: side and field of the bottom", stack(128, down))
paper = down + [(3, 2, 1, 1)] * 3
print("that of the paper at 512 px:", stack(512, paper))

# %% [markdown]
# ### Exercise 03.2 · Join a skip
#
# *Build · difficulty 2 of 3 · 6 minutes*
#
# The two lines on which a U-Net's decoder stands, for sizes that are not halves.
#
# <details><summary>Hint 1</summary>
#
# `torch.nn.functional.interpolate` takes a size, such as `skip.shape[-2:]`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Features are concatenated with `torch.cat([...], 1)`. For zeros and ones, "either" is
# the larger of the two: `torch.maximum`.
#
# </details>


# %% tags=["exercise-03.2"]
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
    raise NotImplementedError


join = cl.check("03.2", join)

# %% [markdown]
# ### Exercise 03.3 · One number for colour discrepancy
#
# *Analyse · difficulty 2 of 3 · 6 minutes*
#
# The table above compared with 0.5. A number without a favourite: how far do *all*
# answers lie apart?
#
# <details><summary>Hint 1</summary>
#
# `outputs.amax(0) - outputs.amin(0)` is the spread of every pixel and channel.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A product with the hole keeps NaN; `torch.where` does not. And what is divided by must
# not be 0.
#
# </details>


# %% tags=["exercise-03.3"]
def discrepancy(outputs: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """How far a network's answers to different fill colours lie apart, in the hole.

    ``outputs`` is (K, N, 3, H, W): K predictions for the same N pictures, one for each
    colour that hid the hole. ``hole`` is (N, 1, H, W), 1 = missing. The spread of a
    pixel and channel is its largest value among the K less its smallest. Returns
    (N,): the mean spread over the missing pixels and the channels of each picture, 0
    for a picture without a hole. Outside the hole the predictions may be NaN.
    """
    raise NotImplementedError


discrepancy = cl.check("03.3", discrepancy)

# %% [markdown]
# The answers of both networks: to all six colours, and to the three that are near to grey.

# %%
for name, found in made.items():
    answered = torch.stack(list(found.values()))
    six, three = (255 * discrepancy(a, holes).mean() for a in (answered, answered[:3]))
    print(
        f"{name:5}: six answers lie {six:.0f} of 255 apart, the first three {three:.0f}"
    )

# %% [markdown]
# Six say little, as black comes back black and white white. Leaving the hole out makes
# all four numbers 0.

# %% [markdown]
# ### Exercise 03.4 · The average of many networks
#
# *Stretch · difficulty 3 of 3 · 10 minutes*
#
# Steps on random batches make weights wander. Many trainings keep a second network
# beside: the *exponential moving average* of the weights. Write one update of it, on
# state dicts.
#
# <details><summary>Hint 1</summary>
#
# `value.is_floating_point()` tells weights from counters.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `.detach()` drops the gradient and shares the memory, `.clone()` copies; a sum is new
# by itself. Bring `now` to the dtype of `kept` before mixing.
#
# </details>


# %% tags=["exercise-03.4"]
def average(
    kept: dict[str, torch.Tensor], now: dict[str, torch.Tensor], decay: float
) -> dict[str, torch.Tensor]:
    """One update of an exponential moving average of a network's weights.

    ``kept`` and ``now`` are state dicts with the same names. Floating-point tensors
    become decay * kept + (1 - decay) * now, in the dtype of ``kept``; anything else,
    such as the step counter of a batch normalisation, is copied from ``now``. Returns
    new tensors that carry no gradient and share no memory with either argument.
    """
    raise NotImplementedError


average = cl.check("03.4", average)

# %% [markdown]
# A weight that should be 1 and wanders by 0.1 with every step:

# %%
draw = run.generator("average")
kept, errors = {"w": torch.ones(1, dtype=torch.float64)}, []
for _ in range(2000):
    wander = torch.randn(1, generator=draw, dtype=torch.float64)
    now = {"w": 1 + 0.1 * wander}
    kept = average(kept, now, decay=0.98)
    errors.append((float(now["w"] - 1), float(kept["w"] - 1)))
alone, averaged = torch.tensor(errors).std(0)
print(f"off by {alone:.3f} alone, by {averaged:.3f} averaged")
cl.claim("the average wanders less than a fifth as far", averaged < alone / 5)

# %% [markdown]
# ## Self-quiz
#
# **1.** `told` is given the hole as a channel. Why does it still read its colour?
#
# <details><summary>Answer</summary>
#
# A convolution adds the colour whatever the fourth channel says. Training can teach the
# layers after it to cancel what 0.5 contributes, and it never showed another colour.
#
# </details>
#
# **2.** Row 128 can read 111 rows of the photo. What if all that it can read is missing?
#
# <details><summary>Answer</summary>
#
# It gives the same answer for every photo. (If the pixel is known, most of its gradient
# comes from nearby; in a hole, from wherever something is known.)
#
# </details>
#
# **3.** A colleague stores the weights alone and resumes from them. What is lost?
#
# <details><summary>Answer</summary>
#
# The optimiser's averages and the place in the random numbers: the same photos and holes
# come again, and the run is another one.
#
# </details>
#
# **4.** Telea keeps more gradient energy than the network. Is it the better fill?
#
# <details><summary>Answer</summary>
#
# No. Its streaks have large steps in wrong places. Energy that is missing shows a blur;
# energy that is there proves nothing.
#
# </details>

# %% [markdown]
# ## Summary
#
# A plain convolution adds up whatever its window holds, and its neighbours carry that
# on. A U-Net made of it copies known detail through skips and invents the rest from
# below, within a reach that can be counted and measured. Trained well, it beats Telea
# and Navier–Stokes on large holes. But its answer depends on the colour that hides the
# hole, even if it is told the hole; and what it invents is blurred. A training
# resumes exactly only with weights, optimiser and random numbers.
#
# **Next:** lesson 04, a convolution that leaves out what is missing.
#
# ## References
#
# - O. Ronneberger, P. Fischer, T. Brox, [U-Net: Convolutional Networks for Biomedical
#   Image Segmentation](https://arxiv.org/abs/1505.04597), MICCAI 2015.
# - G. Liu, F. Reda, K. Shih, T.-C. Wang, A. Tao, B. Catanzaro, [Image Inpainting for
#   Irregular Holes Using Partial Convolutions](https://arxiv.org/abs/1804.07723), ECCV
#   2018: the shape of our network, and colour discrepancy and blur by name.
# - K. He, X. Zhang, S. Ren, J. Sun, [Delving Deep into
#   Rectifiers](https://arxiv.org/abs/1502.01852), ICCV 2015: how the shipped weights
#   were initialised.
# - S. Ioffe, C. Szegedy, [Batch Normalization](https://arxiv.org/abs/1502.03167),
#   ICML 2015.
# - M. Bertalmio, A. Bertozzi, G. Sapiro, *Navier-Stokes, Fluid Dynamics, and Image and Video
#   Inpainting*, CVPR 2001.
# - In the library: [unet.py](../course_lib/networks/unet.py),
#   [reading.py](../course_lib/networks/reading.py),
#   [training.py](../course_lib/training.py), [plain.py](../course_lib/layers/plain.py).
