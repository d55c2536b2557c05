# %% [markdown]
# # Deformable sampling: look where it is worth looking
#
# ![A photo with a hole; the reads of one window inside it, all in the hole, moved to its rim and begun at the nearest known pixels; a fill](../assets/figures/08_deformable_sampling.png)
#
# By the end you will have built a convolution that chooses where it reads, kept its
# reads out of the hole, and measured what that is worth.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | read a picture between its pixels, by hand<br>build deformable convolution three ways and prove them equal<br>find out why reads do not leave a hole by themselves<br>drive them out, begin outside, and compare what fills better<br>let each place choose its kernel, and see the choice collapse |
# | **Minutes** | read 50 · run 2 · practise 45 |
# | **Before you start** | lessons 04 and 05 |
# | **Cost** | ci 80 s · laptop 100 s · gpu not measured |

# %%
import torch
import torch.nn.functional as F

import course_lib as cl

run = cl.start("08")

# %% [markdown]
# ## The problem
#
# Partial convolution rescales what its window knows. Deep inside a hole a window knows
# nothing, and nothing can be rescaled. How often is that so? We ask the U-Net of lesson
# 04 about ten holes of 30 to 40 %: of the places that lie in the hole, how many know
# nothing at all after each level?

# %%
partial = cl.zoo.load("partial_unet")
photos = cl.photos.squares("evaluation", 128)
bench = cl.holes.benchmark(128, per_cell=20)
holes = bench.hole[(bench.bucket == 3) & ~bench.border]
with cl.evidence.record(partial) as evidence:
    partial(photos[:10], holes[:10])

# %%
empty = []
for level in range(1, 6):
    inside = holes[:10, :, :: 2**level, :: 2**level] == 1
    known = evidence[f"encoder.{level - 1}.conv"]["valid"][:, :1]
    empty.append((known[inside] == 0).float().mean().item())
    print(
        f"level {level}: a place is {2**level:2} pixels, {empty[-1]:4.0%} know nothing"
    )
cl.claim("after level 1 over a third know nothing", empty[0] > 1 / 3)

# %% [markdown]
# Those places wait. Only where a place is 8 or 16 pixels wide has every one heard of
# something, and what it heard is coarse. But the picture is full of pixels: why should
# a window read where there is nothing?
#
# Cai et al. (2024) let it read elsewhere. Only the abstract of their paper is public. It
# names three ideas: *deformable* convolution for inpainting, with **a constraint that
# keeps its reads out of corrupted regions**; **kernels that are selected by content**;
# and holes that are mined for training, our next lesson. How each works here is our own
# construction, and so are all numbers.
#
# ## By hand
#
# A read that may move by any distance ends up between pixels. There it takes the four
# around, each by how near it is: *bilinear*. The picture counts; we read at row 1.25,
# column 0.5.

# %%
counting = torch.arange(12.0).view(3, 4)
row, column = 1.25, 0.5
shares = torch.tensor([[0.75 * 0.5, 0.75 * 0.5], [0.25 * 0.5, 0.25 * 0.5]])
four = counting[1:3, 0:2]
by_hand = (four * shares).sum().item()
print(counting.int().tolist())
print(f"{four.tolist()} by {shares.tolist()}: {by_hand}")
expected = 4 * row + column  # the picture is a slope: 4 a row, 1 a column
cl.claim("between its pixels the slope goes on", by_hand == expected)

# %% [markdown]
# The answer changes smoothly with row and column, so both can be learned: the slope
# along the row is the difference of its neighbours. Outside the picture a pixel is 0.
#
# ## Naive code
#
# A convolution of 3 × 3 is nine reads, each with its weights. Deformable convolution
# (Dai et al. 2017) adds an *offset* to each read, in pixels: row, then column, of its
# own at every place; and Zhu et al. (2019) scale each read, *modulation*:
#
# $$y(p) = \sum_k w_k\; x(p + p_k + \Delta_k(p))\; m_k(p)$$


# %%
from itertools import product


def read_naive(x, row, column):
    """x (C, H, W) at one place -> (C,)."""
    found, (top, left) = x.new_zeros(len(x)), ((row // 1).int(), (column // 1).int())
    for r, c in product((top, top + 1), (left, left + 1)):
        if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
            found += (1 - abs(row - r)) * (1 - abs(column - c)) * x[:, r, c]
    return found


# %%
def deform_naive(x, offsets, weight, modulation):
    """x (C, H, W), offsets (2 n, H, W), weight (O, C, k, k) -> (O, H, W)."""
    size = weight.shape[2]
    y = x.new_zeros(len(weight), *x.shape[1:])
    for i, j in product(*map(range, x.shape[1:])):
        for tap in range(size**2):
            down, right = divmod(tap, size)
            dy, dx = offsets[2 * tap : 2 * tap + 2, i, j]
            place = i + down - size // 2 + dy, j + right - size // 2 + dx
            found = read_naive(x, *place) * modulation[tap, i, j]
            y[:, i, j] += weight[:, :, down, right] @ found
    return y


# %% [markdown]
# ## Without loops
#
# `grid_sample` reads at any number of places at once; it counts from -1 at the left
# edge of the first pixel to 1 at the right edge of the last. Then a product with a matrix
# adds up, as in any convolution.


# %%
def read_all(x, positions):
    """x (N, C, H, W) at positions (N, n, 2, H', W') -> (N, C, n, H', W')."""
    size = torch.tensor(x.shape[2:], dtype=x.dtype).view(2, 1, 1)
    grid = ((2 * positions + 1) / size - 1).flip(2).movedim(2, -1)  # column first
    found = F.grid_sample(x, grid.flatten(2, 3), align_corners=False)
    return found.unflatten(3, positions.shape[3:])


# %%
def deform(x, offsets, weight, modulation):
    """The same for batches."""
    half, (height, width) = weight.shape[2] // 2, x.shape[2:]
    rows, columns = (torch.arange(n, dtype=x.dtype) for n in (height, width))
    taps = torch.arange(-half, half + 1, dtype=x.dtype)
    around = torch.cartesian_prod(taps, taps)[:, :, None, None]
    here = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    found = read_all(x, here + around + offsets.unflatten(1, (-1, 2)))
    return torch.einsum(
        "ncthw,oct->nohw", found * modulation[:, None], weight.flatten(2)
    )


# %% [markdown]
# Are they equal to the library's, and to torchvision's operator, in values and
# gradients?

# %%
from torchvision.ops import deform_conv2d as torchvisions

draw = run.generator("maps")
double = {"generator": draw, "dtype": torch.float64, "requires_grad": True}
x, weight = torch.randn(2, 3, 5, 7, **double), torch.randn(4, 3, 3, 3, **double)
offsets = torch.randn(2, 18, 5, 7, **double)
modulation = torch.rand(2, 9, 5, 7, **double)
given = (x, offsets, weight, modulation)

# %%
one_by_one = [
    deform_naive(*each, weight, m)
    for *each, m in zip(x, offsets, modulation, strict=True)
]
made = [torch.stack(one_by_one), deform(*given)]
kind = {"padding": 1}
made.append(torchvisions(x, offsets, weight, mask=modulation, **kind))
made.append(cl.layers.deform_conv2d(*given[:3], modulation=modulation, **kind))
slopes = [torch.autograd.grad(y.sin().sum(), given, retain_graph=True) for y in made]

# %%
same = [torch.allclose(y, made[-1]) for y in made[:-1]]
same += [
    torch.allclose(*pair)
    for each in slopes[:-1]
    for pair in zip(each, slopes[-1], strict=True)
]
print(f"output {tuple(made[-1].shape)}, {len(same)} comparisons")
cl.claim("loops = without loops = torchvision = library, and gradients", all(same))

# %%
ones = torch.ones_like(modulation)
still = deform(x, 0 * offsets, weight, ones)
cl.claim(
    "offsets 0: a convolution", torch.allclose(still, F.conv2d(x, weight, None, 1, 1))
)
aside = (
    torch.zeros_like(offsets).unflatten(1, (-1, 2)).index_fill(2, torch.tensor(1), 2)
)
moved = deform(x, aside.flatten(1, 2), weight, ones)
inner = torch.allclose(moved[..., 1:4], still[..., 3:6])
cl.claim("all reads two columns to the right: what stands there", inner)

# %% [markdown]
# ## Do reads leave a hole?
#
# A small convolution, the *head*, looks at the features and chooses the offsets; it
# begins with zeros, so the layer begins as it would without it. To keep reads out of the
# hole we need a loss that falls when they leave. The obvious one: read *validity* (1 =
# known) at the same places, and ask for more of it. How many of the reads in the hole
# feel that loss at all?

# %%
many = cl.holes.irregular(64, 48, run.generator("holes"))
ratio = 0.2 + 0.3 * torch.rand(64, generator=run.generator("ratios"))
many = cl.holes.grow(many, ratio)
taps = torch.arange(-1.0, 2.0)
nine = torch.cartesian_prod(taps, taps)[:, :, None, None]
places = torch.stack(torch.meshgrid(*2 * [torch.arange(48.0)], indexing="ij"))


# %%
def felt(charge):
    """Of all reads that are charged for, the share that could lower it a little."""
    offsets = torch.zeros(len(charge), 9, 2, 48, 48, requires_grad=True)
    found = read_all(charge, places + nine + offsets)[:, 0]
    found.sum().backward()
    slope = offsets.grad.abs().sum(2)
    return (slope[found > 0] > 1e-3).float().mean().item()


# %%
away = cl.holes.distance(many[:8]).float()  # to the nearest known pixel
feel = {"in the hole or not": felt(many[:8]), "how deep": felt(away)}
for name, share in feel.items():
    print(f"charged by {name}: {share:.0%} of the reads in the hole have a slope")
binary, graded = feel.values()
cl.claim(
    "by depth: nearly all; by validity: under a quarter",
    graded > 0.95 and binary < 0.25,
)

# %% [markdown]
# Validity is flat inside a hole: only reads at its rim feel it. So the library charges
# each read by its depth, and outside the picture depth goes on growing (else reads flee
# over the border). Divided by the depth of unmoved windows, this loss begins at 1.
#
# Now a head must learn the way out. What must it see? We train heads on nothing but holes:
# one sees what a 3 × 3 window shows, the other is also told how far the nearest known
# pixel is, and in which direction. Which leaves?


# %%
def trained_head(steps=60, **kind):
    """A layer whose head has learned, from holes alone, to leave them."""
    torch.manual_seed(0)
    layer = cl.layers.DeformableSampling2d(
        3, 1, 3, padding=1, modulated=False, starts="window", moves="all", **kind
    )
    optimizer = torch.optim.Adam(layer.head.parameters(), lr=0.02)
    for step in range(steps):
        some = many[8 * (step % 7) :][:8]
        with cl.layers.sampling_losses(layer) as found:
            layer(torch.zeros(8, 3, 48, 48), 1 - some)
        optimizer.zero_grad()
        found[""]["unknown"].backward()
        optimizer.step()
    return layer.requires_grad_(False)


# %%
def reads_of(layer, hole):
    """Positions (N, n, 2, H, W) of its reads."""
    with cl.evidence.record(layer) as evidence:
        layer(torch.zeros(len(hole), 3, 48, 48), 1 - hole)
    return evidence[""]["positions"]


# %% tags=["nbval-ignore-output"]
test = many[56:]
inside = test[:, 0] == 1
fetching = {"modulated": False, "moves": "none"}
reads = {"unmoved": (places + nine).expand(8, -1, -1, -1, -1)}
reads["sees 3 x 3"] = reads_of(trained_head(sees_way=False), test)
reads["sees the way"] = reads_of(trained_head(), test)
nearest = cl.layers.DeformableSampling2d(3, 1, 3, padding=1, **fetching)
reads["nearest"] = reads_of(nearest, test)  # comes further down
lost, width = {}, {}
for name, at in reads.items():
    unknown = (read_all(1 - test, at)[:, 0] < 0.5).float().mean(1)
    lost[name] = unknown[inside].mean().item()
    width[name] = cl.layers.spread(at)[:, 0][inside].mean().item()
    print(f"{name:12}: {lost[name]:4.0%} of the reads unknown", end=", ")
    print(f"spread {width[name]:.2f} pixels")

# %%
cl.claim("a 3 x 3 view: over 3 in 4 stay", lost["sees 3 x 3"] > 0.75)
cl.claim("told the way: over half have left", lost["sees the way"] < 0.5)

# %% [markdown]
# Deep inside, a 3 × 3 view shows the same in all directions: nothing. Its head cannot
# know where out is. (*Unmoved* is not 100 %: windows at the rim reach over it.)
#
# But look at the *spread*, the root mean square distance of a window's nine reads from
# their middle. Here is one window of each kind.


# %%
def show_reads(kinds, hole, row, column):
    """Reads of one window over a hole: dots are known, crosses are not."""
    _, axes = plt.subplots(1, len(kinds), figsize=(2.3 * len(kinds), 2.5))
    for axis, (name, at) in zip(axes, kinds.items(), strict=True):
        axis.imshow(1 - 0.25 * hole, cmap="gray", vmin=0, vmax=1)
        points = at[:, :, row, column]
        known = read_all(1 - hole[None, None], at[None, ..., row, column, None, None])
        good = known.flatten() >= 0.5
        for each, mark, colour in ((good, "o", "#0f8f83"), (~good, "x", "#d9482b")):
            down, right = points[each].T
            axis.plot(right, down, mark, color=colour, markersize=4)
        axis.plot(column, row, "s", color="#c79a00", fillstyle="none")
        axis.set(xlim=(column - 9, column + 9), ylim=(row + 9, row - 9))
        axis.set(title=f"{name}: {int((~good).sum())} lost", xticks=[], yticks=[])
    plt.show()


# %%
import matplotlib.pyplot as plt

number = int(inside.flatten(1).sum(1).argmax())
depth = cl.holes.distance(test[number : number + 1])[..., 12:36, 12:36]
row, column = (12 + n for n in divmod(int((depth - 6).abs().argmin()), 24))
one = {name: at[number] for name, at in reads.items()}
show_reads(one, test[number, 0], row, column)
print(
    f"a window {depth[0, 0, row - 12, column - 12]:.0f} pixels deep and its nine reads"
)

# %%
cl.claim(
    "driven out, the reads of a window huddle together",
    width["sees the way"] < 0.6 * width["unmoved"],
)

# %% [markdown]
# They have left the hole and huddle at one point of its rim: nine reads of about the
# same pixel. The loss is content. What a convolution lives on, nine *different* pixels,
# is gone. Keep that in mind when you see the reads of a trained network.
#
# ## Begin outside
#
# Nobody has to learn where the nearest known pixel is. The *hard* form begins there: a
# read that falls on a missing pixel, or outside the picture, is moved to the known
# pixel nearest to it; all others stay. That is *nearest* above: no read is lost, though
# the spread is not what it was. What does such a layer compute?

# %%
torch.manual_seed(0)
layer = cl.layers.DeformableSampling2d(3, 8, 5, 2, 2, **fetching)
one_photo, one_hole = photos[:1], holes[:1]
y, _ = layer(one_photo, 1 - one_hole)
framed = F.pad(one_photo, [2] * 4), F.pad(one_hole, [2] * 4, value=1)
filled = cl.holes.nearest_fill(*framed)
same = F.conv2d(filled, layer.weight, layer.bias, 2)
cl.claim(
    "an ordinary convolution, of a filled picture", torch.allclose(y, same, atol=1e-6)
)

# %% [markdown]
# So the strongest constraint needs no deformable convolution: fill the picture with its
# nearest known pixels, then convolve. If it helps, that must be said beside it, and the
# study below has that rival: *plain, filled*.
#
# One question is left. All its reads are known: is its output known too? Then the next
# layer never hears of the hole. We call what came from d pixels away known by
# 1 / (1 + d / 4): it counts little beside true neighbours, but where there is nothing
# else it is used, for sums of known reads are rescaled as in lesson 04:
#
# $$y = \frac{n}{\sum_k m_k v_k} \sum_k w_k\, m_k\, v_k\, x_k + b$$
#
# where $v_k$ is the validity read where $x_k$ is.

# %%
cl.show_source(cl.layers.DeformableSampling2d.forward)

# %%
x = torch.rand(1, 3, 24, 24, generator=draw)
square = F.pad(torch.ones(1, 1, 12, 12), [6] * 4)
layer = cl.layers.DeformableSampling2d(3, 8, 3, 1, 1, starts="window")
torch.nn.init.normal_(layer.head.weight, std=0.3)
secret = torch.where(square == 1, torch.nan, x)
same = torch.equal(layer(x, 1 - square)[0], layer(secret, 1 - square)[0])
cl.claim("whatever moves: what the hole hides is never read", same)
still = cl.layers.DeformableSampling2d(3, 8, 3, 1, 1, starts="window", **fetching)
rule = cl.layers.PartialConv2d(3, 8, 3, 1, 1)
rule.load_state_dict(still.state_dict())
pair = [conv(x, 1 - square)[0] for conv in (still, rule)]
cl.claim("nothing moved: a partial convolution", torch.allclose(*pair, atol=1e-6))

# %% [markdown]
# ## Look inside
#
# Four small U-Nets whose encoders move their reads, trained alike but for the constraint:
# *off*; *soft* (the loss above; all reads may move); *hard* (the first level begins at
# the nearest known pixels, deeper ones move only reads that begin on the unknown, all are
# charged lightly); and *selection*, which comes later. Click into the hole, near its rim,
# outside. Go down the levels; follow the reads of reads. Where do reads go with the
# constraint off?

# %%
photo = cl.photos.square(cl.photos.load("sheep"), 128)
hole = F.pad(torch.ones(1, 1, 52, 60), [34, 34, 38, 38])
explorer = cl.SamplingExplorer(image=photo, hole=hole).look(50, 52)
explorer

# %%
other = cl.SamplingExplorer(image=photo, hole=hole).look(50, 52)
known = {}
for kind, level in [(k, n) for k in ("off", "soft", "hard") for n in (1, 2, 3)]:
    other.set(network=kind, layer=level)
    known[kind, level] = other.reads.after
    print(f"{kind}, level {level}: {other.reads.before} known unmoved", end=", ")
    print(f"{other.reads.after} as moved by {other.reads.length:.1f} photo pixels")
cl.claim("off: none known at levels 1 and 2", known["off", 1] == known["off", 2] == 0)
cl.claim("soft: some at level 2", known["soft", 2] > 10)
cl.claim("hard: nearly all of 49 at level 1", known["hard", 1] > 44)

# %% [markdown]
# Twelve pixels deep, reads that nobody charges stay where they are. Charged ones crawl
# towards the rim, level by level. The first level of *hard* never had to.

# %% [markdown]
# ## Train one
#
# Below a network of the *hard* kind begins; `ci` takes 4 steps. Beside the photo it is
# asked for reads that are known (weight 0.1) and not far (0.05).

# %%
from functools import partial as with_options


def moving_unet(channels=(14, 28, 40, 54, 56)):
    """Reads move on the way down; partial convolutions lead up."""
    kind = with_options(cl.layers.DeformableSampling2d, starts="window")
    return cl.networks.UNet(
        kind,
        channels,
        first=with_options(cl.layers.DeformableSampling2d, tells="near"),
        decoder=with_options(kind, **fetching),
    )


# %%
torch.manual_seed(run.seed)
network = moving_unet().to(run.device)
accelerator = cl.training.accelerator(run)
optimizer = accelerator.prepare(torch.optim.Adam(network.parameters(), lr=2e-3))


def step(batch):
    """The usual loss, and what the reads are charged."""
    image, hole = batch
    with cl.layers.sampling_losses(network) as chosen:
        made = network(image, hole)
    inside = cl.losses.l1(made, image, hole, "hole", "region")
    loss = inside + cl.losses.l1(made, image, hole, "all")
    terms = {
        name: cl.layers.weighed(chosen, **{name: 1}) for name in ("unknown", "length")
    }
    loss = loss + 0.1 * terms["unknown"] + 0.05 * terms["length"]
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    return {"hole": inside} | terms


# %%
def batches(draw, crops):
    """Endless pairs: crops of photos, strokes."""
    while True:
        image = crops.crops(run.batch, run.size, draw)
        yield image, cl.holes.strokes(run.batch, run.size, draw)


def now():
    """What the network in training puts into the hole."""
    pair = photo.to(run.device), hole.to(run.device)
    return cl.composite(network(*pair), *pair)


view = cl.TrainingView(now)
view

# %% tags=["nbval-ignore-output"]
data = batches(run.generator("training"), cl.photos.collection("train", limit=48))
options = {"accelerator": accelerator, "watch": view, "state": {"network": network}}
history = cl.training.fit(step, data, steps=run.steps, **options)
print(history)
view.still()

# %% [markdown]
# ## What each piece is worth
#
# Nine small U-Nets of 272,000 weights each (heads cost weights, so those that move are
# narrower), three seeds, 800 steps of eight photos of 64 px and 100 of 128 px. *plain* is
# lesson 03's, *partial* lesson 04's. *plain, filled* is *plain*, told the hole, but its
# picture is filled from the nearest pixels beforehand. *nearest* begins its first reads
# there and moves none. *free* moves all reads of the encoder at no charge; *constrained*
# is charged (weight 1); *unknown only* is charged as much, but moves only reads that
# begin on the unknown. *recommended* joins *nearest* and light charges; *selection* adds
# a choice of three kernels. Rank them before you run the cell.

# %%
study = cl.studies.load("sampling")
print(study)

# %%
ahead = {form: 1 - study.mean(form) / study.mean("partial") for form in study.forms}
for form, each in ahead.items():
    print(
        f"{form:14} "
        + " ".join(f"{v:+6.1%}" for v in each)
        + " less error than partial"
    )

# %%
begun = ("recommended", "selection", "nearest", "plain, filled")
moved = ("free", "constrained", "unknown only")
least = torch.stack([ahead[form] for form in begun]).min()
most = torch.stack([ahead[form] for form in moved]).max()
cl.claim(
    "all that begin with known pixels: 8 % ahead and more, on each seed", least > 0.08
)
cl.claim("those that must find them: under 7 %", 0 < most < 0.07)

# %% [markdown]
# What wins is to *begin* with known pixels, and a fill beforehand, in front of lesson 03's
# network, gives most of that. Learned reads add a little on top; without it they help
# less, and whether they are charged makes no difference that three seeds can tell.
#
# But the nearest fill is not that good. Alone, without any network, its mean error is
# .105: *plain* has not caught up after 900 steps. Perhaps it is a **head start**, worth
# less the longer all train? (The comparison at the full budget is still in training.)

# %%
alone = cl.evaluation.evaluate(
    {"nearest fill": cl.holes.nearest_fill}, photos, bench, ("hole_l1", "hole_psnr")
)
print(alone)
# %% [markdown]
# ## Where do their reads go?
#
# Of windows whose middle is unknown: how many of a hundred reads are unknown before and
# after they moved, and the spread beside the unmoved one; level by level, mean of the
# seeds.

# %%
moving = [form for form in study.forms if "reads" in study.of(form)[0]]
for form in moving:
    before, after, wide = (
        study.reads(form, fact).mean(0) for fact in ("before", "after", "spread")
    )
    cells = zip(100 * before, 100 * after, wide, strict=True)
    row = "   ".join(f"{b:.0f} > {a:2.0f}, {w:.2f}" for b, a, w in cells)
    print(f"{form:12} {row}")

# %%
stay = study.reads("free", "after") - study.reads("free", "before")
gone = study.reads("constrained", "after") / study.reads("constrained", "before")
cl.claim(
    "free: on no seed fewer unknown in the first two levels", stay[:, :2].min() > -0.02
)
cl.claim("charged: at least a sixth of them leave, at each level", gone.max() < 5 / 6)
facts = cl.layers.sampling_facts(
    cl.zoo.load("sampling_free"),
    photos[torch.arange(24) % len(photos)],
    cl.holes.benchmark(128, 2).hole,
)
again = facts["encoder.0.conv"].after - study.reads("free", "after")[0, 0]
cl.claim("measured here again: as in the study", again.abs() < 2e-3)

# %% [markdown]
# A picture that looks right, reads leaving the hole, and a better fill are two things.
# And moving is not cheap. One step, side by side, four photos of 64 px:

# %% tags=["nbval-ignore-output"]
from time import process_time


def seconds(form, pair):
    """CPU seconds of one step, there and back; the best of three."""
    network = cl.zoo.build(study.of(form)[0]["network"])
    taken = []
    for _ in range(3):
        begin = process_time()
        network(*pair).sum().backward()
        taken.append(process_time() - begin)
    return min(taken)


small = photos[:4, :, ::2, ::2], holes[:4, :, ::2, ::2]
taken = {form: seconds(form, small) for form in ("partial", "nearest", "recommended")}
for form, second in taken.items():
    print(f"{form}: {second / taken['partial']:.1f} times partial")

# %% [markdown]
# ## Which kernel?
#
# The paper's second idea: several kernels, chosen at each place by content. Reads are
# shared; a softmax of the head's scores mixes the outputs. A toy in which one kernel
# cannot do: left of a border stripes lie, right of it they stand, and every other pixel
# is hidden, as on a chessboard. One 3 × 3 kernel does not know which neighbours to copy;
# two can share the work, if the choice is right. The head sees the slopes. Does each
# place find its kernel?

# %%
chess = (torch.arange(24)[:, None] + torch.arange(24)) % 2 == 1  # hidden


def striped(count, draw):
    """What is seen (with slopes), the whole picture, where stripes lie."""
    rows = torch.rand(count, 1, 24, 1, generator=draw).expand(-1, -1, -1, 24)
    columns = torch.rand(count, 1, 1, 24, generator=draw).expand(-1, -1, 24, -1)
    border = torch.randint(8, 17, (count, 1, 1, 1), generator=draw)
    left = (torch.arange(24) < border).expand(-1, -1, 24, -1)
    image = torch.where(left, rows, columns)
    seen = torch.where(chess, 0, image)
    slopes = [(seen.roll(-1, k) - seen.roll(1, k)).abs() for k in (2, 3)]
    return torch.cat([seen, *slopes], 1), image, left


# %%
def selecting(seed, kernels=2, balance=0.0, steps=200):
    """A layer that has learned to fill the chessboard."""
    torch.manual_seed(seed)
    draw, still = torch.Generator().manual_seed(seed), {"starts": "window", **fetching}
    layer = cl.layers.DeformableSampling2d(
        3, 1, 3, padding=1, kernels=kernels, sees_way=False, **still
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(steps):
        seen, image, _ = striped(8, draw)
        with cl.layers.sampling_losses(layer) as found:
            made, _ = layer(seen, torch.ones_like(image))
        loss = (made - image).abs()[..., chess].mean()
        if balance:
            loss = loss + cl.layers.weighed(found, balance=balance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer.requires_grad_(False)


# %% [markdown]
# *Balance* charges kernels that serve hardly anywhere: log K less the entropy of the mean
# share. Three numbers tell whether a choice was made: the entropy at each place (0: one
# kernel has it all), that of the mean share (1 bit: both serve), and their difference,
# the *mutual information*: what the place says about the kernel.

# %%
from math import log


def chosen_facts(layer):
    """Error in the hidden pixels, and three entropies in bits."""
    seen, image, _ = striped(64, torch.Generator().manual_seed(99))
    with cl.evidence.record(layer) as found:
        error = (
            (layer(seen, torch.ones_like(image))[0] - image).abs()[..., chess].mean()
        )
    if "shares" not in found[""]:
        return torch.stack([error, *3 * [torch.zeros(())]])
    share = found[""]["shares"][..., chess].movedim(1, 0).flatten(1)
    each, mean = (
        -torch.xlogy(p, p).sum(0).mean() / log(2)
        for p in (share, share.mean(1)[:, None])
    )
    return torch.stack([error, each, mean, mean - each])


# %% tags=["nbval-ignore-output"]
kinds = {"one kernel": {"kernels": 1}, "two": {}, "two, balanced": {"balance": 0.1}}
toy = {
    kind: torch.stack([chosen_facts(selecting(seed, **given)) for seed in range(4)])
    for kind, given in kinds.items()
}
for kind, rows in toy.items():
    for error, each, mean, told in rows:
        print(f"{kind:13}: error {error:.3f}, at a place {each:.2f} bits", end=", ")
        print(f"of the mean {mean:.2f}, information {told:.2f}")

# %%
cl.claim(
    "balanced, each seed: under half of one kernel's error",
    2 * toy["two, balanced"][:, 0].max() < toy["one kernel"][:, 0].min(),
)
cl.claim("not balanced, seed 3: as bad as one kernel", toy["two"][3, 0] > 0.12)
cl.claim("there one kernel has nearly all", toy["two"][3, 2] < 0.4)
cl.claim("and a place says nothing about its kernel", toy["two"][3, 3] < 0.1)

# %% [markdown]
# Two kernels fill this with a third of the error. Left alone, the choice fails on some
# seeds: the kernel that is ahead gets all places, and with them all the gradient. (Of six
# seeds tried one collapsed and one did by half; balanced ones, none.)
#
# In the study *selection* had three kernels in levels 2 to 5, balanced. It was not ahead
# of *recommended*; four wider levels were worth as much as three kernels.
#
# ## Which reach?
#
# Another choice: kernels of 3, 7 and 13 pixels, each a partial convolution. A window that
# knows nothing gets no share. One layer fills small boxes; what size does a place choose,
# at the rim and in the middle?

# %%
of_boxes = run.generator("boxes")
crops = cl.photos.collection("train", limit=24).crops(192, 32, of_boxes)
size = {"side": (0.25, 0.375), "margin": 0.1}
cut = cl.holes.rectangles(192, 32, of_boxes, **size)
unseen = cl.photos.squares("evaluation", 32).repeat(3, 1, 1, 1)
boxes = cl.holes.rectangles(60, 32, of_boxes, **size)


def reaching(seed, steps=160, learns=True, **kind):
    """A layer of several reaches that has learned to fill boxes."""
    torch.manual_seed(seed)
    layer = cl.layers.ReachSelection2d(3, 3, **kind)
    if layer.head is not None:
        layer.head.requires_grad_(learns)
    optimizer = torch.optim.Adam(layer.parameters(), lr=8e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    for step in range(steps):
        some = slice(8 * (step % 24), 8 * (step % 24) + 8)
        made, _ = layer(crops[some], 1 - cut[some])
        loss = cl.losses.l1(made, crops[some], cut[some], "hole", "region")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return layer.requires_grad_(False)


# %%
in_box, deep = boxes == 1, cl.holes.distance(boxes).float()


def chosen_size(layer):
    """Mean error in the boxes, and the mean size that each place chose."""
    with cl.evidence.record(layer) as found:
        made, _ = layer(unseen, 1 - boxes)
    sizes = torch.tensor(layer.sizes).view(-1, 1, 1)
    mean = (found[""]["shares"] * sizes).sum(1, keepdim=True)
    return (made - unseen).abs().mean(1, keepdim=True)[in_box].mean(), mean


# %% tags=["nbval-ignore-output"]
kinds = {"learned": {}, "not learned": {"learns": False}, "13 alone": {"sizes": (13,)}}
reach = {
    kind: [chosen_size(reaching(seed, **given)) for seed in range(3)]
    for kind, given in kinds.items()
}
for kind, found in reach.items():
    row = " ".join(f"{error:.4f}" for error, _ in found)
    rings = [found[0][1][deep == n].mean() for n in range(1, 6)]
    print(f"{kind:11}: L1 {row}; 1 to 5 deep:", *(f"{v:.1f}" for v in rings))

# %%
errors = {kind: torch.stack([e for e, _ in found]) for kind, found in reach.items()}
cl.claim(
    "three sizes beat 13 alone on each seed",
    (errors["not learned"] < errors["13 alone"]).all(),
)
cl.claim(
    "the learned choice beats both", (errors["learned"] < errors["not learned"]).all()
)
linked = {
    kind: torch.corrcoef(torch.stack([found[0][1][in_box], deep[in_box]]))[0, 1]
    for kind, found in reach.items()
}
cl.claim(
    "size follows depth, learned or not",
    min(linked["learned"], linked["not learned"]) > 0.85,
)

# %%
pick = slice(6, 11)
ring = (reach["learned"][0][1][pick] - 3) / 10 * boxes[pick]
print("sizes from 3 (black) to 13 (white) that places in a box chose, learned, seed 0")
cl.pictures.grid(
    {
        "a box": cl.pictures.hatched(unseen[pick], boxes[pick]),
        "size": ring.expand(-1, 3, -1, -1),
    }
)

# %% [markdown]
# Small kernels at the rim, large ones in the middle: a picture worth showing, and easy to
# misread. The choice that never learned has it too, for deep inside only the large window
# finds anything. Learning changed the rim, and that is where it gained.
#
# ## What we do not know
#
# - **The paper's method.** Only its abstract is public; another construction may do better.
# - **Learned reads at the full budget.** A step takes four times as long as partial
#   convolution's; we trained them for 900 steps.
# - **Other weights of the charges.** One of each was tried here.
# - **A better fill first.** The harmonic fill of lesson 00 beats the nearest one; in front
#   of a network we have not tried it.
# - **Equal time.** All had equal steps.
# - **A GPU.** There the library takes torchvision's operator; that was never timed.
#
# ## Exercises
#
# ### Exercise 08.1 · Between the pixels
#
# *Warm up · difficulty 1 of 3 · 10 minutes*
#
# A moved read seldom ends on a pixel. One place, four pixels, four shares.
#
# <details><summary>Hint 1</summary>
#
# `row // 1` is the floor, for negative numbers too: the first of two rows. How far is the
# place from each of the two, and what is 1 less that?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two rows times two columns: four pixels, each with the product of two shares. Skip one
# that is outside or has the share 0, and add up the rest.
#
# </details>


# %% tags=["exercise-08.1"]
def bilinear(x: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """What a picture shows at one place, which may lie between its pixels.

    ``x`` is (N, C, H, W); ``row`` and ``column`` are floats, in pixels. Pixel centres
    are at whole numbers: 0.0, 0.0 is the first pixel of the first row. The place lies
    in a square of four pixels. Each is multiplied with the share (1 - distance in rows)
    * (1 - distance in columns), and they are added up. Pixels outside the picture are
    0, and the place may be outside too, however far.

    Where a share is 0, the pixel is not looked at: it may be NaN. Returns (N, C), of
    the dtype of ``x``.
    """
    raise NotImplementedError


bilinear = cl.check("08.1", bilinear)

# %% [markdown]
# ### Exercise 08.2 · A convolution that moves its reads
#
# *Build · difficulty 2 of 3 · 20 minutes*
#
# The reading is given. What is left is to say where each tap reads.
#
# <details><summary>Hint 1</summary>
#
# A position has three parts: where the output's place is, where the tap lies in the
# window, seen from its middle, and the offset. Each has a shape that broadcasts to
# (N, n, 2, H, W).
#
# </details>
# <details><summary>Hint 2</summary>
#
# `offsets.unflatten(1, (-1, 2))` has dy and dx of each tap. Rows of the taps are
# `torch.arange(kh).repeat_interleave(kw) - kh // 2`, columns use `repeat`. At the end
# `torch.einsum` with `weight.flatten(2)` adds up over channels and taps.
#
# </details>


# %% tags=["exercise-08.2"]
def deform(
    x: torch.Tensor, offsets: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """A deformable convolution: each read of each window is moved by its own offset.

    ``x`` is (N, C, H, W), ``weight`` (out, C, kh, kw), kh and kw odd. The stride is 1;
    padding with kh // 2 rows and kw // 2 columns of zeros keeps the size H x W. A
    window has n = kh * kw taps, counted row by row. ``offsets`` (N, 2 * n, H, W) has
    for each place of the output, tap after tap, dy and then dx, in pixels: so far down
    and so far right of where an ordinary convolution reads it, the tap is read.

    Given is ``cl.layers.sampling.read(x, positions)``: ``positions`` (N, n, 2, H, W),
    row and column in pixels of ``x`` without padding, are read as in exercise 08.1; it
    returns (N, C, n, H, W). Returns y (N, out, H, W), the sum of all that a window
    reads times its weights, as ``torch.nn.functional.conv2d`` where all offsets are 0.
    Gradients reach ``x``, ``offsets`` and ``weight``.
    """
    raise NotImplementedError


deform = cl.check("08.2", deform)

# %% [markdown]
# ### Exercise 08.3 · How far apart
#
# *Analyse · difficulty 2 of 3 · 10 minutes*
#
# A constraint can be met by reading the same good pixel nine times. One number tells.
# Which one has a window of 3 × 3 that nothing moves? Work it out first.
#
# <details><summary>Hint 1</summary>
#
# Nine points, their mean, nine arrows from it. What is the mean over, and which axis has
# to be kept with `keepdim=True`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Square the arrows' two parts and add them (axis 2), then the mean over the reads (axis
# 1), then one root. Subtract the middle before you square.
#
# </details>


# %% tags=["exercise-08.3"]
def spread(positions: torch.Tensor) -> torch.Tensor:
    """How far apart the reads of each window lie, in pixels; 0 = all at one point.

    ``positions`` (N, n, 2, H, W) are the row and the column, in pixels, of the n reads
    at each place. The middle of a window's reads is the mean of their positions.
    Returns (N, 1, H, W), of the dtype of ``positions``: the root of the mean, over the
    n reads, of the squared distance from this middle. Distances are those in the plane:
    rows and columns belong together. Reads a thousand pixels away from row 0, column 0
    are no less exact in float32.
    """
    raise NotImplementedError


spread = cl.check("08.3", spread)

# %% [markdown]
# ### Exercise 08.4 · The sum that knows
#
# *Build · difficulty 3 of 3 · 15 minutes*
#
# Partial convolution's correction, for reads that lie anywhere. The check looks at the
# gradients as well, where nothing is known too.
#
# <details><summary>Hint 1</summary>
#
# Write the sum with `torch.einsum`, and s with one product and one `sum`. With
# everything known and a modulation of 1 the factor must be 1.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.where` chooses values, but the gradient of the side not chosen is multiplied with
# 0, and NaN times 0 is NaN. So make s harmless before you divide, and set y to 0 after.
#
# </details>


# %% tags=["exercise-08.4"]
def knowing_sum(
    reads: torch.Tensor,
    seen: torch.Tensor,
    modulation: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """The sum of what was read, corrected for how much of it is known.

    At each place n points were read. ``reads`` (N, C, n, H, W) are the features found
    there, multiplied with validity already, so 0 where nothing is known. ``seen``
    (N, n, H, W), 0 to 1, is the validity found there; ``modulation`` (N, n, H, W), at
    least 0, scales each read; ``weight`` is (out, C, n).

    Returns y (N, out, H, W): the sum over channels and points of weight * modulation *
    reads, times n / s, where s is the sum over the points of modulation * seen. Where
    s is not above 1e-3, y is exactly 0. Gradients reach all four arguments and are
    finite everywhere; from places where y was set to 0 comes none.
    """
    raise NotImplementedError


knowing_sum = cl.check("08.4", knowing_sum)

# %% [markdown]
# ### Exercise 08.5 · Who chooses what
#
# *Stretch · difficulty 3 of 3 · 15 minutes*
#
# Several kernels, and a choice among them at each place. All can be in use and the choice
# still mean nothing; three numbers tell these apart.
#
# <details><summary>Hint 1</summary>
#
# The same formula is used twice: on the shares of each place, then the mean; and on the
# mean of all shares. Over which axes does each mean go?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.xlogy(p, p)` is p log p, and 0 at 0. Sum it over axis 1 for each place, and over
# the only axis for `shares.mean((0, 2, 3))`. The third number is a difference.
#
# </details>


# %% tags=["exercise-08.5"]
def selection_facts(shares: torch.Tensor) -> torch.Tensor:
    """How decided places are about their kernel, and whether they decide differently.

    ``shares`` (N, K, H, W), at least 0, have the sum 1 over K: how much of each of K
    kernels every place uses. The entropy of K shares is - sum share * log(share), in
    nats, with 0 * log(0) = 0: it is 0 if one kernel has all, log K if all have alike.

    Returns three numbers, a tensor (3,) of the dtype of ``shares``: [0] the mean of the
    entropy at each place, over all places of all samples; [1] the entropy of the mean
    share, which is the mean over all places of all samples; [2] the mutual information
    of place and kernel, [1] - [0]: what the place tells about the kernel.
    """
    raise NotImplementedError


selection_facts = cl.check("08.5", selection_facts)

# %% [markdown]
# ## Self-quiz
#
# **1.** A tap of a 3 × 3 window lies on 10, 10; its offset is 0, 0.5. What does it read?
#
# <details><summary>Answer</summary>
#
# Half of the pixel 10, 10 and half of 10, 11: dx is the way to the right. If only one of
# the two is known, half of what is read is, and s counts it as half.
#
# </details>
#
# **2.** Training pushes reads out of the hole. How can that fail, and which number tells?
#
# <details><summary>Answer</summary>
#
# All reads of a window can meet on one known pixel: the loss is satisfied, and the window
# sees a single colour. Their spread is then 0; unmoved, 3 × 3 taps have √(4/3) = 1.15.
#
# </details>
#
# **3.** Why is s made from validity where the reads went, not where the window lies?
#
# <details><summary>Answer</summary>
#
# Because it corrects for what was read. A window deep in the hole whose taps all end on
# known pixels lacks nothing: n / s is 1 with a modulation of 1. The unmoved window's
# validity would be 0 there, and the output would be thrown away.
#
# </details>
#
# **4.** Four kernels, mean share 1/4 each, information 0. Is the choice worth anything?
#
# <details><summary>Answer</summary>
#
# No: every place uses the same mixture, which is one kernel. An even mean share can come
# from places that choose differently or from places that do not choose; the information
# tells them apart. It is largest, log 4, when each place uses one kernel, and all four
# are used alike.
#
# </details>

# %% [markdown]
# ## Summary
#
# Deformable convolution lets each read move; reading between pixels gives offsets a
# slope. Reads do not leave a hole by themselves: validity is flat inside it, and a small
# view does not show the way out. Charged by depth and told the way they leave, and
# huddle at the rim. To begin at the nearest known pixel needs no learning, and no
# deformable convolution: it is a filled picture, convolved. In short trainings that was
# worth more than all that was learned on top. Kernels can share the places by
# content, if they are kept balanced. And a map that looks learned may be geometry: ask
# the gate that never learned.
#
# Next: holes that are worth training on.
#
# ## References
#
# - Cai, Zeng, Yang, Jia, Lu and He, *Deformable Dynamic Sampling and Dynamic Predictable
#   Mask Mining for Image Inpainting*, IEEE TNNLS 35(12), 2024 (the abstract).
# - J. Dai, H. Qi, Y. Xiong, Y. Li, G. Zhang, H. Hu, Y. Wei, [Deformable Convolutional
#   Networks](https://arxiv.org/abs/1703.06211), ICCV 2017.
# - X. Zhu, H. Hu, S. Lin, J. Dai, [Deformable ConvNets v2: More Deformable, Better
#   Results](https://arxiv.org/abs/1811.11168), CVPR 2019.
# - In the library: [sampling.py](../course_lib/layers/sampling.py),
#   [deformable.py](../course_lib/layers/deformable.py),
#   [sampling_training.py](../course_lib/layers/sampling_training.py),
#   [reach.py](../course_lib/layers/reach.py) and
#   [sampling_explorer.py](../course_lib/widgets/sampling_explorer.py).
