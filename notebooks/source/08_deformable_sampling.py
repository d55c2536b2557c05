# %% [markdown]
# # Deformable sampling: look where it is worth looking
#
# ![The reads of one window in a hole, three times: free, they stay; constrained, they move towards the rim; recommended, they begin outside it; and its fill](../assets/figures/08_deformable_sampling.png)
#
# By the end you will have built a convolution that chooses where it reads, and measured
# what that is worth.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | read a picture between its pixels, by hand<br>build deformable convolution twice and prove both equal to torchvision's<br>find out why reads do not leave a hole by themselves<br>drive them out, begin outside, and compare what fills better<br>let each place choose its kernel, and see the choice collapse |
# | **Minutes** | read 55 · run 2 · practise 70 |
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
# 04, whose first window is 7 × 7, about ten holes of 30 to 40 %: of the places that lie
# in the hole, how many know nothing at all after each level?

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

# %%
cl.claim("after level 1 more than three in four know nothing", empty[0] > 0.75)
cl.claim("after level 2 more than half", empty[1] > 0.5)
cl.claim("only after level 5 none", empty[4] == 0 < empty[3])

# %% [markdown]
# Those places wait. Where a place is 8 pixels wide, one in five still knows nothing; only
# at 32 has every one heard of something, and what it heard is coarse. But the picture is
# full of pixels: why should a window read where there is nothing?
#
# Cai et al. (2024) let it read elsewhere. Only the abstract of their paper is free to read.
# It names three ideas: *deformable* convolution with **a constraint that keeps its reads
# out of corrupted regions**; **kernels selected by content**; and holes mined for training,
# our next lesson. How each works here, and all numbers, are ours. (Near
# our *unknown only*, with code: DSNet, Wang et al. 2021.)
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

# %%
print(f"{four.tolist()} by {shares.tolist()}: {by_hand}")
expected = 4 * row + column  # the picture is a slope: 4 a row, 1 a column
cl.claim("between its pixels the slope goes on", by_hand == expected)

# %% [markdown]
# The answer changes with row and column, so both can be learned: between whole positions
# its slope to the right is the difference of the pixels right and left (5 - 4 and 9 - 8,
# mixed by row). On a whole position there are two slopes, one to each side; PyTorch and
# torchvision take the one to the right and below. Outside the picture a pixel is 0.
#
# ## Naive code
#
# A convolution of 3 × 3 is nine reads, each with its weights. Deformable convolution
# (Dai et al. 2017) adds an *offset* $\Delta_k$ to each read, in pixels: row, then column,
# of its own at every place; Zhu et al. (2019) also scale each read by a *modulation*
# $m_k$, a gate per read. With $p_k$ where read k lies in an unmoved window:
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
def deform_all(x, offsets, weight, modulation):
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
alike = zip(x, offsets, modulation, strict=True)
one_by_one = [deform_naive(*each, weight, m) for *each, m in alike]
made = [torch.stack(one_by_one), deform_all(*given)]
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
still = deform_all(x, 0 * offsets, weight, ones)
cl.claim(
    "offsets 0: a convolution", torch.allclose(still, F.conv2d(x, weight, None, 1, 1))
)

# %%
aside = torch.zeros_like(offsets)
aside[:, 1::2] = 2  # each read's second number
moved = deform_all(x, aside, weight, ones)
inner = torch.allclose(moved[..., 1:4], still[..., 3:6])  # away from the border
cl.claim("all reads two columns to the right: what stands there", inner)

# %% [markdown]
# ## Do reads leave a hole?
#
# A small convolution, the *head*, looks at the features and chooses the offsets; it
# begins with zeros, as if there were none. In the library an offset is at most 8 pixels of
# what the layer reads.
#
# To keep reads out of the hole we need a loss that falls when they leave. The obvious
# one: read *validity* (1 = known) at the same places, and ask for more of it. How many of
# the reads in the hole feel that loss at all?

# %%
many = cl.holes.irregular(64, 48, run.generator("holes"))
ratio = 0.2 + 0.3 * torch.rand(64, generator=run.generator("ratios"))
many = cl.holes.grow(many, ratio)
taps = torch.arange(-1.0, 2.0)
nine = torch.cartesian_prod(taps, taps)[:, :, None, None]
places = torch.stack(torch.meshgrid(*2 * [torch.arange(48.0)], indexing="ij"))


# %%
def felt(charge):
    """Of all reads that are charged for, the share whose charge has a slope."""
    beside = 0.4 * torch.rand(len(charge), 9, 2, 48, 48, generator=draw) - 0.2
    offsets = beside.requires_grad_()  # off the pixels: there one side only would count
    found = read_all(charge, places + nine + offsets)[:, 0]
    found.sum().backward()
    slope = offsets.grad.abs().sum(2)
    return (slope[found > 0] > 1e-3).float().mean().item()


# %%
away = cl.holes.distance(many[:8]).float()  # to the nearest known pixel
feel = {"in the hole or not": felt(many[:8]), "how deep": felt(away)}
for name, share in feel.items():
    print(f"charged by {name}: {share:.0%} of the reads in the hole have a slope")

# %%
binary, graded = feel.values()
cl.claim(
    "by depth: nearly all; by validity: under half",
    graded > 0.95 and binary < 0.5,
)

# %% [markdown]
# Validity is flat inside a hole: only reads at its rim feel it. So the library charges
# each read by its depth, and outside the picture depth goes on growing (else reads flee
# over the border). Divided by the depth of unmoved windows, this loss, *unknown*, begins
# at 1. Layers tell it to whoever listens, by layer name (here `""`: it is alone).
#
# Now a head must learn the way out. What must it see? We train heads on nothing but holes:
# one sees what a 3 × 3 window shows, the other is also told how far the nearest known
# pixel is, and in which direction. Which leaves?


# %%
def trained_head(steps=60, **kind):
    """A layer whose head has learned, from holes alone, to leave them."""
    torch.manual_seed(0)
    kind |= {"starts": "window", "moves": "all", "modulated": False}
    layer = cl.layers.DeformableSampling2d(3, 1, 3, padding=1, **kind)
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


# %%
test = many[56:]
inside = test[:, 0] == 1


def facts_of(at):
    """Inside: share of unknown reads, their spread, how many different pixels."""
    unknown = (read_all(1 - test, at)[:, 0] < 0.5).float().mean(1)[inside].mean()
    wide = cl.layers.spread(at)[:, 0][inside].mean()
    row, column = at.round().unbind(2)
    which = (48 * row + column).sort(1).values
    different = 1 + (which.diff(dim=1) != 0).sum(1)[inside].float().mean()
    return unknown.item(), wide.item(), different.item()


def told(name, at):
    unknown, wide, different = facts_of(at)
    print(f"{name:12}: {unknown:4.0%} of the reads unknown", end=", ")
    print(f"spread {wide:.2f} pixels, {different:.1f} different pixels")
    return unknown, wide, different


# %% tags=["nbval-ignore-output"]
reads = {"unmoved": (places + nine).expand(8, -1, -1, -1, -1)}
reads["sees 3 x 3"] = reads_of(trained_head(sees_way=False), test)
reads["sees the way"] = reads_of(trained_head(), test)
facts = {name: told(name, at) for name, at in reads.items()}

# %%
cl.claim("a 3 x 3 view: over 3 in 4 stay", facts["sees 3 x 3"][0] > 0.75)
cl.claim("told the way: over half have left", facts["sees the way"][0] < 0.5)
narrow = facts["sees the way"][1] < 0.6 * facts["unmoved"][1]
cl.claim("but their spread is under six tenths", narrow)

# %% [markdown]
# Deep inside, a 3 × 3 view shows the same in all directions: nothing. All its head can
# do is move each read alike everywhere.
#
# *Spread* is the root mean square distance of a window's reads from their middle. Driven
# out, they huddle on the rim: nine reads of three or four pixels. The loss is content,
# though a convolution lives on *different* pixels. Does that matter?
#
# ## Begin outside
#
# Nobody has to learn where the nearest known pixel is. *Nearest* begins there: a read
# that falls on a missing pixel, or outside the picture, is moved to the known pixel
# nearest to it.

# %%
still = {"modulated": False, "moves": "none"}  # a layer that chooses nothing
nearest = cl.layers.DeformableSampling2d(3, 1, 3, padding=1, starts="nearest", **still)
reads["nearest"] = reads_of(nearest, test)
facts["nearest"] = told("nearest", reads["nearest"])
cl.claim("no read is lost", facts["nearest"][0] == 0)
few = facts["nearest"][2] < facts["unmoved"][2] / 2
cl.claim("but it reads fewer than half as many different pixels", few)


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
        axis.set(title=f"{name}: {int((~good).sum())} unknown", xticks=[], yticks=[])
        axis.spines[:].set_visible(True)
    plt.show()


# %%
import matplotlib.pyplot as plt

number = int(inside.flatten(1).sum(1).argmax())
depth = cl.holes.distance(test[number : number + 1])[0, 0, 12:36, 12:36]
at = divmod(int((depth - 6).abs().argmin()), 24)
one = {name: positions[number] for name, positions in reads.items()}
show_reads(one, test[number, 0], 12 + at[0], 12 + at[1])
print(f"a window {depth[at]:.0f} pixels deep (square), its nine reads; white is known")

# %% [markdown]
# *Nearest* huddles as well, on even fewer pixels (dots lie on each other); where a window
# lies between two rims it is torn in two, so its mean spread is large all the same. What
# does such a layer compute?

# %%
torch.manual_seed(0)
layer = cl.layers.DeformableSampling2d(3, 8, 5, 2, 2, starts="nearest", **still)
one_photo, one_hole = photos[:1], holes[:1]
y, _ = layer(one_photo, 1 - one_hole)
framed = F.pad(one_photo, [2] * 4), F.pad(one_hole, [2] * 4, value=1)
filled = cl.holes.nearest_fill(*framed)
same = F.conv2d(filled, layer.weight, layer.bias, 2)
same = torch.allclose(y, same, atol=1e-6)
cl.claim("an ordinary convolution, of a filled picture", same)

# %% [markdown]
# So the strongest constraint needs no deformable convolution: fill the picture with its
# nearest known pixels, then convolve. The study below has that rival: *plain, filled*.
#
# In this layer every read is known. If its output were called known, the next layer would
# never hear of the hole. So what is handed on is marked: its validity is the mean, over the
# reads, of 1 / (1 + d / 4), d how far each was fetched, in pixels. The next layer reads
# features times validity, $(vx)_k$, and validity, $v_k$, and corrects its sum as in lesson
# 04:
#
# $$y = \frac{n}{\sum_k m_k v_k} \sum_k w_k\, m_k\, (vx)_k + b$$
#
# (Fractions stand in both sums, so they scale nothing twice. A modulation that all
# nine share cancels.) Far-fetched features count little
# beside true neighbours, and fully where there is nothing else. In what follows a read is
# *called* known if its validity is at least a half.

# %%
noise = torch.rand(1, 3, 24, 24, generator=draw)
square = F.pad(torch.ones(1, 1, 12, 12), [6] * 4)
layer = cl.layers.DeformableSampling2d(3, 8, 3, 1, 1, starts="window")
torch.nn.init.normal_(layer.head.weight, std=0.3)
secret = torch.where(square == 1, torch.nan, noise)
same = torch.equal(layer(noise, 1 - square)[0], layer(secret, 1 - square)[0])
cl.claim("reads moved at random: what the hole hides is never read", same)

# %%
chooses_nothing = cl.layers.DeformableSampling2d(
    3, 8, 3, 1, 1, starts="window", **still
)
rule = cl.layers.PartialConv2d(3, 8, 3, 1, 1)
rule.load_state_dict(chooses_nothing.state_dict())
pair = [conv(noise, 1 - square)[0] for conv in (chooses_nothing, rule)]
same = torch.allclose(*pair, atol=1e-6)
cl.claim("without any choice: a partial convolution", same)

# %% [markdown]
# These are the layer's choices: reads begin in the `"window"` or at the `"nearest"` known
# pixel (`starts`); which of them learned offsets may move, `"none"`, those that begin on
# the `"unknown"`, or `"all"` (`moves`); whether they are `modulated`, by 0 to 2 and at the
# start 1; whether the head `sees_way`; what the output `tells` of its validity, the mean
# over its `"reads"` or the marked one, `"near"`; and how many `kernels` it has.

# %%
cl.show_source(cl.layers.DeformableSampling2d.forward)

# %% [markdown]
# ## Which kernel?
#
# The paper's second idea: several kernels, chosen at each place by content. Reads are
# shared; a softmax of the head's scores mixes the outputs. A toy too hard for one
# kernel: left of a border stripes lie, right of it they stand, and every other pixel
# is hidden, as on a chessboard. One 3 × 3 kernel does not know which neighbours to copy;
# two can share the work, if the choice is right. The head is given the slopes of what is
# seen, so the choice is easy to find. Does each place find its kernel?

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
def selecting(seed, kernels=2, ahead=0.0, balance=0.0):
    """A layer that has learned to fill the chessboard; one kernel may begin ahead."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    kind = {"starts": "window", "sees_way": False, "kernels": kernels, **still}
    layer = cl.layers.DeformableSampling2d(3, 1, 3, padding=1, **kind)
    if kernels > 1:
        torch.nn.init.constant_(layer.head.bias[:1], ahead)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(200):
        seen, image, _ = striped(8, draw)
        with cl.layers.sampling_losses(layer) as found:
            made, _ = layer(seen, torch.ones_like(image))  # hidden ones are just 0 here
        loss = (made - image).abs()[..., chess].mean()
        if balance:
            loss = loss + cl.layers.weighed(found, balance=balance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer.requires_grad_(False)


# %% [markdown]
# *Balance* charges kernels that serve hardly anywhere: log K less the entropy of the mean
# share. Three numbers, in nats, tell whether a choice was made: the entropy at each place
# (0: one kernel has it all), that of the mean share (log 2 = 0.69: both serve), and their
# difference, the *mutual information*: what the place says about the kernel. Some layers
# begin with one kernel's score 5 ahead.


# %%
def entropies(share):
    """Shares (K, places): at a place, of the mean, and what the place tells."""
    each, mean = (
        -torch.xlogy(p, p).sum(0).mean() for p in (share, share.mean(1)[:, None])
    )
    return torch.stack([each, mean, mean - each]).abs()  # no -0.00


def chosen_facts(layer):
    """Error in the hidden pixels, and the three entropies."""
    seen, image, _ = striped(64, torch.Generator().manual_seed(99))
    with cl.evidence.record(layer) as found:
        made, _ = layer(seen, torch.ones_like(image))
    error = (made - image).abs()[..., chess].mean()[None]
    share = found[""].get("shares", torch.ones_like(image))
    return torch.cat([error, entropies(share[..., chess].movedim(1, 0).flatten(1))])


# %% tags=["nbval-ignore-output"]
kinds = {"one kernel": {"kernels": 1}, "two": {}, "one ahead": {"ahead": 5.0}}
kinds["balanced"] = {"ahead": 5.0, "balance": 0.1}
toy = {
    kind: torch.stack([chosen_facts(selecting(seed, **given)) for seed in range(4)])
    for kind, given in kinds.items()
}
for kind, each in toy.items():
    for error, place, mean, tells in each:
        print(f"{kind:10}: error {error:.3f}, entropy at a place {place:.2f}", end=", ")
        print(f"of the mean {mean:.2f}, information {tells:.2f}")

# %%
single = toy["one kernel"][:, 0].min()
cl.claim("two, best seed: under half its error", toy["two"][:, 0].min() < single / 2)
worst = toy["one ahead"][toy["one ahead"][:, 0].argmax()]
cl.claim("one ahead, worst seed: no better than one kernel", worst[0] > 0.9 * single)
cl.claim("there a place says nothing about its kernel", worst[3] < 0.05)
saved = 2 * toy["balanced"][:, 0].max() < single
cl.claim("as far ahead but balanced: under half, each seed", saved)

# %% [markdown]
# Two kernels have about a third of the error, if each finds its places. A kernel that is
# ahead may get all of them, once even without our help; the other never learns.
# Balance prevents it.
#
# ## Which reach?
#
# Instead of moving reads one can widen the window. Another choice: kernels of
# 3, 7 and 13 pixels, each a partial convolution. Before any learning a kernel's share is as
# large as the known share of its window, so one that knows nothing gets none. One layer
# fills small boxes; what size does a place choose, at the rim and in the middle?

# %%
of_boxes = run.generator("boxes")
crops = cl.photos.collection("train", limit=24).crops(192, 32, of_boxes)
size = {"side": (0.25, 0.375), "margin": 0.1}
cut = cl.holes.rectangles(192, 32, of_boxes, **size)
unseen = cl.photos.squares("evaluation", 32).repeat(3, 1, 1, 1)
boxes = cl.holes.rectangles(60, 32, of_boxes, **size)


# %%
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
    """By pixel: the error, and the mean size that the place chose."""
    with cl.evidence.record(layer) as found:
        made, _ = layer(unseen, 1 - boxes)
    sizes = torch.tensor(layer.sizes).view(-1, 1, 1)
    mean = (found[""]["shares"] * sizes).sum(1, keepdim=True)
    return (made - unseen).abs().mean(1, keepdim=True), mean


# %% tags=["nbval-ignore-output"]
gates = {"learned": {}, "not learned": {"learns": False}, "13 alone": {"sizes": (13,)}}
reach = {
    kind: [chosen_size(reaching(seed, **given)) for seed in range(3)]
    for kind, given in gates.items()
}
errors = {
    kind: torch.stack([error[in_box].mean() for error, _ in each])
    for kind, each in reach.items()
}

# %% tags=["nbval-ignore-output"]
for kind, each in reach.items():
    row = " ".join(f"{error:.4f}" for error in errors[kind])
    rings = [each[0][1][deep == n].mean() for n in range(1, 6)]
    print(f"{kind:11}: L1 {row}; sizes 1 to 5 deep:", *(f"{v:.1f}" for v in rings))
pairs = zip(reach["not learned"], reach["learned"], strict=True)
gained = torch.stack([before[0] - after[0] for before, after in pairs]).mean(0)
rings = [gained[deep == n].mean().item() for n in range(1, 6)]
print("what learning gained, 1 to 5 deep:", *(f"{v:+.4f}" for v in rings))

# %%
fixed = errors["not learned"]
cl.claim("three sizes beat 13 alone on each seed", (fixed < errors["13 alone"]).all())
cl.claim("learning gains on each seed", (errors["learned"] < fixed).all())
cl.claim("most at the rim", rings[0] == max(rings))

# %%
linked = [
    torch.corrcoef(torch.stack([reach[kind][0][1][in_box], deep[in_box]]))[0, 1]
    for kind in ("learned", "not learned")
]
cl.claim("size follows depth, learned or not", min(linked) > 0.85)

# %%
pick = slice(6, 12)
drawn = [cl.pictures.hatched(unseen[pick], boxes[pick])]
for kind in ("learned", "not learned"):
    shade = torch.where(in_box, (reach[kind][0][1] - 3) / 10, 0.5)
    drawn.append(shade[pick].expand(-1, 3, -1, -1))
print("six boxes; below, the size that each place chose, from 3 (black) to 13 (white),")
print(
    "after learning, and from a gate that never learned; around a box nothing chooses"
)
shown = [torch.cat([row[n] for row in drawn], 1)[None] for n in range(6)]
cl.pictures.grid({f"box {n + 1}": column for n, column in enumerate(shown)})

# %% [markdown]
# Small kernels at the rim, large ones in the middle: easy to misread. The gate that never
# learned has it too, for deep inside only the large window finds anything. Learning gained
# 0.7 to 2 %: at the rim; deeper it lost a little.

# %% [markdown]
# ## Look inside
#
# Four small U-Nets whose encoders move their reads (they are rows of the study below):
# *free* moves all reads, and nobody charges for it; *constrained* is charged by depth;
# *recommended* begins at the nearest known pixels in level 1, moves only reads that begin
# on the unknown, and is charged lightly; *selection* adds three balanced kernels to that. Level 1
# has windows of 7 × 7, 49 reads. Click into the hole, near its rim, outside. Go down the
# levels; switch on *reads of reads* (what the level below read for them). Where do reads go if
# nobody charges?

# %%
photo = cl.photos.square(cl.photos.load("sheep"), 128)
hole = F.pad(torch.ones(1, 1, 52, 60), [34, 34, 38, 38])
explorer = cl.SamplingExplorer(image=photo, hole=hole).look(50, 52)
explorer

# %%
other = cl.SamplingExplorer(image=photo, hole=hole).look(50, 52)
kinds, found = ("free", "constrained", "recommended"), {}
for kind, level in product(kinds, (1, 2, 3)):
    other.set(network=kind, layer=level)
    found[kind, level] = other.reads
    count, moved = len(other.reads.known), other.reads.length
    print(f"{kind}, level {level}: of {count}, {other.reads.before} known", end=", ")
    print(f"and {other.reads.after} after moving {moved:.1f} photo pixels")


# %%
def show_on_photo(axis, reads):
    """Dots where something known is read, crosses where not."""
    axis.imshow(cl.hide(photo, hole)[0].permute(1, 2, 0) * 0.5 + 0.5)
    for each, mark, colour in (
        (reads.known, "o", "#0f8f83"),
        (~reads.known, "x", "#d9482b"),
    ):
        down, right = reads.positions[each].T
        axis.plot(right, down, mark, color=colour, markersize=2.5)
    axis.plot(52, 50, "s", color="#c79a00", fillstyle="none")
    axis.set(xlim=(14, 90), ylim=(88, 12), xticks=[], yticks=[])
    axis.spines[:].set_visible(True)


_, axes = plt.subplots(3, 3, figsize=(6.6, 6.8))
for axis, (key, reads_here) in zip(axes.flat, found.items(), strict=True):
    show_on_photo(axis, reads_here)
    axis.set_title(f"{key[0]}, level {key[1]}")
plt.show()
print("the reads of one place in three networks, levels 1 to 3")

# %%
after = {key: reads_here.after for key, reads_here in found.items()}
cl.claim(
    "free: none known at levels 1 and 2", after["free", 1] == after["free", 2] == 0
)
cl.claim("constrained: none at level 1", after["constrained", 1] == 0)
cl.claim("but some at level 2", after["constrained", 2] > 10)
cl.claim("recommended: nearly all of 49", after["recommended", 1] > 44)

# %% [markdown]
# Thirteen pixels from the rim, reads that nobody charges stay inside. Constrained ones may
# move by 8 at level 1, which is not enough; level 2, with pixels two wide, gets most of
# them out. *Recommended* never had to. At its level 2 none counts as known before
# moving: what was fetched from 13 pixels away counts 1 / (1 + 13 / 4) = 0.24. So it looks further.

# %% [markdown]
# ## Train one
#
# Below a *recommended* network begins; `ci` takes 4 steps. Beside the photo it is charged
# for reads that are unknown (weight 0.1) and for long offsets (0.05; *length* is their mean,
# as a share of the 8 allowed pixels). *Unknown* begins at 0.8: of five levels the first
# begins outside. *Unknown* falls from the first step.

# %%
torch.manual_seed(run.seed)
study = cl.studies.load("sampling")
network = cl.zoo.build(study.plan("recommended")).to(run.device)
accelerator = cl.training.accelerator(run)
groups = cl.layers.parameter_groups(network, rate=2e-3, heads=1.0)
optimizer = accelerator.prepare(torch.optim.Adam(groups))


# %%
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
# Ten small U-Nets of 272,000 weights each (heads and kernels cost weights, so networks that
# have them are narrower), three seeds, eight photos a step: 800 steps of 64 px, then 100 of
# 128 px. *plain* is lesson 03's `told`, *partial* lesson 04's. *plain, filled* is
# *plain* on a picture filled from the nearest pixels. *nearest* begins its first reads
# there and moves none. In the others the encoder moves reads. *modulated* scales them and
# moves none: a control. *free* moves all at no charge; *constrained* is charged (weight 1);
# *unknown only* as much, but moves only reads that begin on the unknown. *recommended* and
# *selection* you know. Scores are lesson 03's, on 20 photos and 240 holes. Rank them first.

# %%
print(study)
fill = cl.evaluation.evaluate(
    {"the fill": cl.holes.nearest_fill}, photos, bench, ("hole_l1", "hole_psnr")
)
print("and the nearest fill alone, without any network:")
print(fill)

# %%
for form in study.forms:
    each = study.ahead(form, of="partial")
    cells = "  ".join(f"{100 * value:+5.1f} %" for value in each)
    print(f"{form:14} {cells}  less error than partial")


# %%
def ahead(form, of):
    """On each seed, how much less error."""
    return study.ahead(form, of).tolist()


begun = ("recommended", "selection", "nearest", "plain, filled")
moved = ("free", "constrained", "unknown only")
least = min(min(ahead(form, "partial")) for form in begun)
cl.claim("begin with known pixels: over 8 % ahead of partial, each seed", least > 0.08)
most = [ahead(form, "partial") for form in moved]
cl.claim(
    "must find them: ahead by 2 to 6 %",
    min(map(min, most)) > 0.02 and max(map(max, most)) < 0.06,
)

# %%
cl.claim(
    "moving, not only scaling: free ahead of modulated",
    min(ahead("free", "modulated")) > 0,
)
cl.claim(
    "charged: 1 to 2 % less L1 than free",
    0.01 < min(ahead("constrained", "free")) < max(ahead("constrained", "free")) < 0.02,
)
level = study.mean("constrained", "hole_psnr") - study.mean("free", "hole_psnr")
cl.claim("but no more PSNR: within 0.05 dB", level.abs().max() < 0.05)
cl.claim(
    "recommended ahead of nearest, each seed", min(ahead("recommended", "nearest")) > 0
)
cl.claim("and of plain, filled", min(ahead("recommended", "plain, filled")) > 0)
cl.claim("selection behind recommended", max(ahead("selection", "recommended")) < 0)

# %% [markdown]
# What wins is to *begin* with known pixels; a fill beforehand, in front of *plain*, gives
# most of that. *Recommended*, with learned offsets, modulation and charges, is 1 to 3 %
# further ahead. Reads that must find the known by themselves help less (we let them reach 8
# pixels). Charging them gains a little L1 and no PSNR.
#
# And those that lost? *Plain*, *partial* and *modulated* have more L1 than the nearest fill: after
# 900 steps they have not caught up with what *nearest* is given. (In PSNR, which punishes
# large errors, all are ahead of it.) Is it only a **head start**, gone when all train
# longer? `nearest_unet` and lesson 04's `partial_unet` had the full budget of this course:
# 22 times as many crops, and four times as many weights.

# %%
behind = {
    form
    for form in study.forms
    if study.mean(form).min() > fill.mean("the fill", "hole_l1")
}
print("more L1 than the fill alone, on each seed:", ", ".join(sorted(behind)))
cl.claim("plain and partial are among them", {"plain", "partial"} <= behind)
lowest = min(study.mean(form, "hole_psnr").min() for form in study.forms)
cl.claim("in PSNR all are ahead of it", lowest > fill.mean("the fill", "hole_psnr"))

# %%
full = {
    name: cl.zoo.card(f"{name}_unet")["scores"]
    for name in ("nearest", "gated", "partial")
}
error = {name: torch.tensor(row["hole_l1"]).mean() for name, row in full.items()}
for name, row in full.items():
    psnr = torch.tensor(row["hole_psnr"]).mean()
    print(f"{name}_unet: hole L1 {error[name]:.4f}, PSNR {psnr:.2f} dB")
gain = 1 - error["nearest"] / error["partial"]
short = sum(ahead("nearest", "partial")) / 3
print(f"nearest ahead of partial: {gain:.1%}; after the short training {short:.1%}")

# %%
cl.claim("most of the head start is gone", gain < short / 2)
cl.claim("but over 3 % are left", gain > 0.03)
others = (
    "plain_unet",
    "gated_unet",
    "coarse_to_fine",
    "contextual_attention",
    "cascade",
    "cascade_static",
)
rivals = [cl.zoo.card(name)["scores"]["hole_l1"] for name in others]
least = min(torch.tensor(row).mean() for row in rivals)
cl.claim("less error than these six of lessons 03 to 07", error["nearest"] < least)

# %% [markdown]
# Two thirds of the head start are gone. What is left makes it the best network so far, by 1.3 %
# over lesson 07's *static*, one run each: perhaps luck. And it learned nothing about where to
# read.
#
# ## Where do their reads go?
#
# Of windows whose middle is unknown: how many of a hundred reads are unknown before and
# after they moved, and the spread as a share of the unmoved window's; mean of the seeds.
# *Nearest* begins elsewhere in level 1, and moves nothing by itself.

# %%
print(f"{'':12} " + "".join(f"level {n}         " for n in range(1, 6)))
for form in study.moving:
    before, after, wide = (
        study.reads(form, fact).mean(0) for fact in ("before", "after", "spread")
    )
    cells = zip(100 * before, 100 * after, wide, strict=True)
    row = "  ".join(f"{b:3.0f} -> {a:2.0f}, {w:.2f}" for b, a, w in cells)
    print(f"{form:12} {row}")

# %%
stay = study.reads("free", "after") - study.reads("free", "before")
gone = study.reads("constrained", "after") / study.reads("constrained", "before")
cl.claim("free: no fewer unknown in levels 1 and 2, each seed", stay[:, :2].min() >= 0)
cl.claim("constrained: a sixth and more leave, each level", gone.max() < 5 / 6)
wide = study.reads("constrained", "spread").mean(0)
cl.claim(
    "it huddles from level 3 on, not before",
    wide[2:].max() < 0.75 < 0.85 < wide[:2].min(),
)

# %%
facts_again = cl.layers.sampling_facts(
    cl.zoo.load("sampling_free"),
    photos[torch.arange(24) % len(photos)],
    cl.holes.benchmark(128, 2).hole,
)
again = facts_again["encoder.0.conv"].after - study.reads("free", "after")[0, 0]
cl.claim("measured here again: as in the study", again.abs() < 2e-3)

# %% [markdown]
# *Free* reads stay or go further in: inside a hole, where all features are 0, a read has
# no slope. *Constrained* brings a quarter of its reads out at
# level 1 and two thirds at level 4, for 1 % of L1. Leaving the hole and filling it better are
# two things: *nearest* had the fewest different pixels, and beats *constrained*. Did kernels
# collapse in *selection*?

# %%
choosing = cl.zoo.load("sampling_selection")
with cl.evidence.record(choosing) as evidence:
    choosing(photos[:10], holes[:10])
for level in range(2, 6):
    share = evidence[f"encoder.{level - 1}.conv"]["shares"].movedim(1, 0).flatten(1)
    place, mean, tells = entropies(share)
    print(
        f"level {level}: entropy at a place {place:.2f}, of the mean {mean:.2f}",
        end=", ",
    )
    print(f"information {tells:.2f} of {torch.tensor(3.0).log():.2f}")
    cl.claim("no collapse, and hardly a choice", mean > 1 and tells < 0.05)

# %% [markdown]
# Balanced, no kernel is left out, and yet nothing is chosen: three act as one. Perhaps that is why
# *selection* gains nothing. What does moving cost, without charges?

# %% tags=["nbval-ignore-output"]
from time import process_time


def seconds(form, pair):
    """CPU seconds there and back, without charges; the best of three."""
    network = cl.zoo.build(study.plan(form))
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
# ## What we do not know
#
# - **The paper's method**: we know its abstract.
# - **Learned reads at the full budget.** A step is dear (lesson 10).
# - **Which piece of *recommended* earns its lead**; a longer reach; other charges.
# - **A better first fill**, such as *harmonic*.
# - **Equal time**: lesson 10.
# - **A GPU.** There the library takes torchvision's operator, untimed.
#
# ## Exercises
#
# ### Exercise 08.1 · Between the pixels
#
# *Warm up · difficulty 1 of 3 · 10 minutes*
#
# One place, four pixels, four shares. (`read_naive` looks at pixels whose share is 0.)
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
# The reading is given. Say where each tap reads, in windows that need not be square.
#
# <details><summary>Hint 1</summary>
#
# A position is a sum of three: the place, the tap seen from the window's middle, and the
# offset. Each has a shape that broadcasts to (N, n, 2, H, W).
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
# If a window reads one pixel nine times this number is 0. What is it for an unmoved
# window of 3 × 3? Work it out first.
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
# You saw these three numbers for places in a row; write them for maps.
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
# Half of the pixel 10, 10 and half of 10, 11: dx is the way to the right.
#
# </details>
#
# **2.** Training pushes reads out of the hole. How can that fail, and which number tells?
#
# <details><summary>Answer</summary>
#
# All reads of a window can meet on one known pixel: the loss is satisfied, and the window
# sees a single colour. Their spread is then 0; unmoved, 3 × 3 taps have √(4/3) = 1.15. But
# two clumps far apart have a large spread: count different pixels too.
#
# </details>
#
# **3.** Why is the sum of $m_k v_k$ taken where the reads went, not where the window lies?
#
# <details><summary>Answer</summary>
#
# Because it corrects for what was read. A window deep in the hole whose taps all end on
# known pixels lacks nothing.
#
# </details>
#
# **4.** Four kernels, mean share 1/4 each, information 0. Is the choice worth anything?
#
# <details><summary>Answer</summary>
#
# No: every place uses the same mixture, which is one kernel. The information is largest,
# log 4, when each place uses one kernel, and all four are used alike.
#
# </details>

# %% [markdown]
# ## Summary
#
# Deformable convolution lets each read move; reading between pixels gives offsets a
# slope. Reads do not leave a hole by themselves: validity is flat inside it, and a small
# view does not show the way out. Charged by depth and told the way, many leave; that alone
# hardly improves the fill. To begin at the nearest known pixel needs no learning, and no
# deformable convolution: it is a filled picture, convolved. It was worth more than all that
# was learned on top, much of it as a head start. Kernels share places more surely
# if they are balanced. And a map that looks learned may be geometry: ask the gate
# that never learned.
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
# - N. Wang, Y. Zhang, L. Zhang, *Dynamic Selection Network for Image Inpainting*, IEEE TIP
#   2021; [code](https://github.com/wangning-001/DSNet).
# - In the library: [sampling.py](../course_lib/layers/sampling.py),
#   [deformable.py](../course_lib/layers/deformable.py),
#   [sampling_training.py](../course_lib/layers/sampling_training.py),
#   [reach.py](../course_lib/layers/reach.py) and
#   [sampling_explorer.py](../course_lib/widgets/sampling_explorer.py).
