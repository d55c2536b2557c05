# %% [markdown]
# # What to minimise
#
# ![A photo of a castle with a square missing, the mean error of 800 fills of such a square, which grows from 0.03 at its rim to 0.14 in the middle, and the weights that a discounted loss gives to the same pixels, which shrink towards the middle](../assets/figures/02_losses.png)
#
# By the end you will have turned "this fill is wrong" into a number in five ways, and
# measured what a network gives up when you choose one of them. (Above, bright is much, on
# a scale for each panel.)

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | weigh each missing pixel by its distance to what is known<br>say what a loss averages over, and what that changes<br>compare pictures by features and by Gram matrices<br>find the wrong input scale of a VGG by its numbers<br>measure what a weight buys and who pays |
# | **Minutes** | read 53 · run 2 · practise 45 |
# | **Before you start** | lessons 00 and 01 |
# | **Cost** | ci 30 s · laptop 28 s · gpu not measured |

# %%
import torch

import course_lib as cl

run = cl.start("02")

# %% [markdown]
# ## The problem
#
# A network learns by making one number small. Which? Lesson 00 used L1, the mean
# absolute error. Three fills of the same square: the truth blurred; the truth, a little
# lighter; the truth with noise. The last two are just strong enough that all three have
# *exactly* the same L1. (The photo has less contrast, so that nothing exceeds white.)


# %%
def square(size, side):
    """A hole (1, 1, size, size): a square of ``side`` pixels in the middle."""
    inside = (torch.arange(size) - (size - 1) / 2).abs() < side / 2
    return (inside[:, None] & inside).float()[None, None]


# %%
photo = 0.1 + 0.8 * cl.photos.square(cl.photos.load("chateaudechambord"), 192)
hole = square(192, 96)
coarse = torch.nn.functional.avg_pool2d(photo, 6)
blurred = torch.nn.functional.interpolate(
    coarse, scale_factor=6, mode="bilinear", align_corners=False
)

# %%
amount = cl.losses.l1(blurred, photo, hole, normaliser="region")
sign = 2 * torch.randint(0, 2, hole.shape, generator=run.generator("noise")) - 1
three = {"blurred": blurred, "lighter": photo + amount, "noise": photo + amount * sign}
for name, fill in three.items():
    loss = cl.losses.l1(fill, photo, hole, normaliser="region")
    print(f"{name:8} L1 in the hole {loss:.4f}")
seen = {n: cl.composite(f, photo, hole) for n, f in three.items()}
cl.pictures.grid({n: f[..., 40:152, 40:152] for n, f in seen.items()}, scale=2)

# %% [markdown]
# One number, three very different pictures: L1 does not say *what kind* of error it
# adds up, nor *where*. The network of lesson 00 fills the middle of 20 photos; how
# large is its error, ring by ring, from the rim inwards?


# %%
def by_ring(error, hole, ends):
    """Mean error from one ring's end to the next, in pixels from the known ones."""
    away = cl.holes.distance(hole).expand_as(error)
    starts = (0, *ends[:-1])
    rings = [(away > a) & (away <= b) for a, b in zip(starts, ends, strict=True)]
    return torch.stack([error[ring].mean() for ring in rings])


# %%
network = cl.zoo.load("plain_unet")
photos = cl.photos.squares("evaluation", 128)
middle = square(128, 64).expand(20, -1, -1, -1)
with torch.no_grad():
    errors = (network(photos, middle) - photos).abs().mean(1, keepdim=True)

# %%
ends = (1, 2, 4, 8, 16, 32)
rings = by_ring(errors, middle, ends)
for end, value in zip(ends, rings, strict=True):
    print(f"up to {end:2} px from the rim: {value:.3f}")
cl.claim("the error grows from ring to ring", (rings.diff() > 0).all())
deep = cl.holes.distance(middle) > 8
far = errors[deep].sum() / errors[middle == 1].sum()
pixels = deep.sum() / middle.sum()
print(f"deeper than 8 px: {pixels:.0%} of the missing pixels, {far:.0%} of the L1")
cl.claim("the middle has more than its share of the L1", far > pixels)

# %% [markdown]
# At the rim the neighbours nearly give the answer. In the middle there are many right
# answers, only one of them is "the truth", and most of what the network is scolded for
# lies there. Two questions for this lesson: *how much shall each pixel count*, and
# *what counts as a difference*?
#
# ## By hand
#
# First question. Yu et al. (2018): a missing pixel counts $\gamma^{d}$, where $d$ is
# its distance to the **nearest known pixel** and $\gamma$ at most 1. Here is a hole of
# 3 × 4 pixels that touches the right edge. What lies beyond the edge is not known, so
# from there nothing comes nearer.

# %%
tiny = torch.zeros(5, 5, dtype=torch.float64)
tiny[1:4, 1:5] = 1
away = cl.holes.distance(tiny[None, None])[0, 0]
print(away.int())
print(0.5**away)

# %% [markdown]
# With $\gamma = 0.5$: nine pixels in ring 1 weigh 0.5 each, three in ring 2 weigh 0.25
# each, 5.25 in all. If every missing pixel is wrong by 1, and we divide by all 25
# pixels, the loss is $5.25 / 25 = 0.21$.
#
# ## Naive code
#
# The definition, pixel by pixel: try every known pixel, keep the smallest distance.

# %%
import math


def weights_naive(hole, gamma):
    """(H, W), 1 = missing -> (H, W): gamma to the distance of the nearest known."""
    known = (hole == 0).nonzero().tolist()
    weights = torch.ones_like(hole)
    for y, x in hole.nonzero().tolist():
        weights[y, x] = gamma ** min(math.dist((y, x), pixel) for pixel in known)
    return weights


# %%
def discounted_naive(prediction, image, hole, gamma):
    """Images (3, H, W), hole (H, W) -> weighted L1 in the hole, over all values."""
    total, weights = 0.0, weights_naive(hole, gamma)
    for y, x in hole.nonzero().tolist():
        for channel in range(3):
            gap = prediction[channel, y, x] - image[channel, y, x]
            total += weights[y, x] * gap.abs()
    return total / image.numel()


# %% [markdown]
# Without loops: all distances between missing and known pixels in one table, and its
# smallest value in each row.


# %%
def weights_of(hole, gamma):
    """The same for (H, W), all pixels at once."""
    known, missing = (hole == 0).nonzero(), hole.nonzero()
    gaps = missing[:, None] - known
    weights = torch.ones_like(hole)
    nearest = gaps.square().sum(-1).amin(1).to(hole.dtype).sqrt()
    weights[hole == 1] = gamma**nearest
    return weights


# %%
def discounted(prediction, image, hole, gamma):
    """The same loss for (3, H, W) and (H, W)."""
    error = torch.where(hole == 1, (prediction - image).abs(), 0)
    return (weights_of(hole, gamma) * error).mean()


# %%
toy = discounted(torch.ones(3, 5, 5), torch.zeros(3, 5, 5), tiny, 0.5)
print(f"by hand 0.21, in tensors {toy:.2f}")
draw = run.generator("check")
ours, image = torch.rand(2, 3, 11, 9, generator=draw, dtype=torch.float64)
ours.requires_grad_()
shape = (torch.rand(11, 9, generator=draw) < 0.7).double()

# %% [markdown]
# The library handles batches, every sample with its own hole, and takes the distances
# from an exact transform in place of the large table. All three must agree, in value
# and in gradient, on a hole of 70 % random pixels.

# %%
library = cl.losses.spatially_discounted_l1
found = {
    "loops": discounted_naive(ours, image, shape, 0.9),
    "tensors": discounted(ours, image, shape, 0.9),
    "library": library(ours[None], image[None], shape[None, None], 0.9),
}

# %%
slope = {n: torch.autograd.grad(loss, ours)[0] for n, loss in found.items()}
for name in ("tensors", "library"):
    gap = (found[name] - found["loops"]).abs()
    tilt = (slope[name] - slope["loops"]).abs().max()
    cl.claim(f"{name} = loops, value and gradient", max(gap, tilt) < 1e-14)
print(f"loss {found['library'].item():.6f}")

# %% [markdown]
# From here on we use the library's; `holes.distance` is the exact transform.

# %%
cl.show_source(cl.losses.discount_weights)

# %% [markdown]
# What must hold for every hole? $\gamma = 1$ is plain L1 in the hole; weights lie above
# 0, never above 1, and never rise inwards; and the gradient of a missing pixel is
# nothing but its weight and a sign, over the number of values.

# %%
batch = torch.stack([shape, square(12, 6)[0, 0, :11, :9].double()])[:, None]
pair = torch.rand(2, 2, 3, 11, 9, generator=draw, dtype=torch.float64)
weights = cl.losses.discount_weights(batch, 0.7)
away = cl.holes.distance(batch).flatten()
falling = weights.flatten()[away.argsort()].diff() <= 1e-15
expected = weights * batch * (pair[0] - pair[1]).sign() / pair[0].numel()
mine = pair[0].clone().requires_grad_()
library(mine, pair[1], batch, 0.7).backward()

# %%
plain = cl.losses.l1(*pair, batch)
cl.claim("gamma 1 is L1 in the hole", torch.equal(library(*pair, batch, 1.0), plain))
cl.claim("0 < weight <= 1", (weights > 0).all() and (weights <= 1).all())
cl.claim("no weight rises with the distance", falling.all())
cl.claim("gradient = weight * sign / N", torch.allclose(mine.grad, expected))

# %% [markdown]
# Which distance? For a rectangle it makes no difference whether one walks straight
# (Euclid), like a rook (*taxicab*) or like a king (*chessboard*): the nearest known
# pixel lies straight ahead. For free shapes the three disagree.

# %%
from scipy import ndimage

stroke = cl.holes.strokes(1, 64, run.generator("stroke 8"), width=(0.25, 0.3))
for name, shape in {"square": square(64, 32), "stroke": stroke}.items():
    euclid = cl.holes.distance(shape)[0, 0]
    print(f"{name}, {int(shape.sum())} px, deepest: Euclid {euclid.max():.1f}", end="")
    for metric in ("taxicab", "chessboard"):
        other = ndimage.distance_transform_cdt(shape[0, 0].numpy(), metric)
        different = (euclid - torch.from_numpy(other)).abs() > 1e-9
        print(f"; {metric} {other.max()}, {int(different.sum())} px differ", end="")
    print()

# %% [markdown]
# ## Averaged over what?
#
# The sum is divided by a count, and papers rarely say which. The authors of partial
# convolution (lesson 04) answer in their FAQ: their L1 losses are *size-averaged*,
# divided by all values of the **whole picture**, the known ones included.
# `normaliser="image"` does that, `"region"` divides by the missing values alone. We
# tile a picture 2 × 2, and we shrink the hole; each missing pixel stays wrong by 0.1.

# %%
wrong, small = photo + 0.1, square(192, 24)
tile = [part.repeat(1, 1, 2, 2) for part in (wrong, photo, hole)]
cases = {"hole 25 %": (wrong, photo, hole), "tiled 2 x 2": tile}
cases["hole 1.6 %"] = (wrong, photo, small)
for name, case in cases.items():
    both = [cl.losses.l1(*case, normaliser=by) for by in ("image", "region")]
    print(f"{name:12} image {both[0]:.5f}, region {both[1]:.5f}")

# %% [markdown]
# Neither depends on the size of the picture. But size-averaged, a hole of 1.6 % weighs
# a sixteenth of one of 25 %: training is about large holes. Averaged over the region,
# both weigh the same. (In a batch the region is that of all pictures together; exercise
# 02.2 keeps them apart.) The paper's weights, 1 for known pixels and 6 for the hole,
# belong to the first. Published code disagrees, also on total variation, which comes
# below:
#
# | code | L1 divided by | total variation over |
# |---|---|---|
# | the paper, with its FAQ | whole picture | hole, dilated by one pixel |
# | PConv-Keras | whole picture | hole, dilated by one pixel |
# | naoto0804's PyTorch version | whole picture, standardised colours | whole composite |
# | MMagic | region | hole, not dilated |
# | DSNet | whole picture | composite with known pixels set to 0 |
#
# ## What the published code does
#
# Yu et al.'s paper says nearest known pixel, $\gamma = 0.99$. Their code has a
# rectangle of $h \times w$ pixels and, at row $i$ and column $j$ counted from 0,
# $\gamma^{\min(i,\ h-i,\ j,\ w-j)}$ with $\gamma = 0.9$. Look at the corners:


# %%
def published(height, width, gamma):
    """The weights of the published code for a box: (height, width)."""
    i, j = torch.arange(height)[:, None], torch.arange(width)
    rows, columns = torch.minimum(i, height - i), torch.minimum(j, width - j)
    return gamma ** torch.minimum(rows, columns).double()


code = published(4, 4, 0.9)
print("code", code, sep="\n")
box = square(6, 4).double()
print("paper", cl.losses.discount_weights(box, 0.9)[0, 0, 1:5, 1:5], sep="\n")

# %% [markdown]
# Off by one: top and left weigh 1, bottom and right 0.9. In a box of 128 pixels that
# raises the mean weight by only 5 %. Two other differences matter more. First, the hole
# is the box *shrunk* by 0 to 16 pixels at top and bottom, and likewise at both sides;
# nobody measures again, so **known** pixels get the largest weights. All 17 × 17 cases:

# %%
weight, boxes = published(128, 128, 0.9), []
for up in range(17):
    for side in range(17):
        kept = (slice(up, 128 - up), slice(side, 128 - side))
        boxes.append((weight[kept].numel() / 128**2, weight[kept].sum() / weight.sum()))
area, share = 1 - torch.tensor(boxes).mean(0)
print(f"known pixels: {area:.0%} of the box, {share:.0%} of its weight, on average")

# %% [markdown]
# Second, the loss compares the *raw* output in the box; a PyTorch port compares the
# composite, where known pixels are right. At half the size ($\gamma$ still 0.9), for our
# trained network, and for plain grey in place of an untrained one:

# %%
inner, box = square(128, 56), (..., slice(32, 96), slice(32, 96))
inside, weight = inner[box], published(64, 64, 0.9).float()
with torch.no_grad():
    outputs = {"trained": network(photos, inner.expand(20, -1, -1, -1))}
outputs["plain grey"] = torch.full_like(photos, 0.5)
known = {}
for name, output in outputs.items():
    weighted = weight * (output - photos).abs()[box]
    raw, composite = weighted.mean(), (weighted * inside).mean()
    known[name] = 1 - composite / raw
    print(f"{name:10} raw {raw:.4f}, composite {composite:.4f}", end="")
    print(f": {known[name]:.0%} from known pixels")
cl.claim("known pixels: a larger part for grey", known["plain grey"] > known["trained"])

# %% [markdown]
# The trained network nearly repeats its known pixels, so they add little. Plain grey is
# punished about as much for what was never missing as for the hole. Last, free-form
# holes in their bounding boxes, 40 single brush strokes:


# %%
def in_box(brush, gamma):
    """Share of published weight on known pixels; published weights on the rim."""
    rows, columns = (brush[0].any(axis).nonzero()[:, 0] for axis in (1, 0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside, depth = brush[0][cut], cl.holes.distance(brush[None])[0, 0][cut]
    code = published(*inside.shape, gamma)
    return (code * (1 - inside)).sum() / code.sum(), code[depth == 1]


# %%
brushes = cl.holes.strokes(40, 256, run.generator("brushes"), per_picture=(1, 1))
shares, rims = zip(*(in_box(brush, 0.9) for brush in brushes), strict=True)
ratios = torch.stack([rim.max() / rim.min() for rim in rims])
print(f"weight on known pixels: {torch.stack(shares).mean():.0%} on average")
print(f"rim: heaviest / lightest pixel {ratios.median():.0f} in the median hole")
cl.claim("for most, over ten times", (ratios > 10).double().mean() > 0.5)

# %% [markdown]
# In the paper's formula all pixels of the rim weigh the same; that is why the library
# measures to the nearest known pixel. (The next version of the published code drops the
# discount.)
#
# **How strong is a gamma?** The half-life is $\ln 0.5 / \ln \gamma$ pixels. And since
# distances are in pixels, $\gamma$ must follow the size of the picture:
# $\gamma_S = \gamma_{256}^{256/S}$ keeps the profile of a hole that scales along.

# %%
for gamma in (0.99, 0.9):
    half = math.log(0.5) / math.log(gamma)
    weight = cl.losses.discount_weights(square(256, 128).double(), gamma)
    inside = weight[square(256, 128) == 1]
    print(f"{gamma}: half-life {half:4.1f} px, at 256 px with a hole of 128:", end=" ")
    print(f"mean {inside.mean():.3f}, deepest {inside.min():.4f}", end="; ")
    print(f"code: mean {published(128, 128, gamma).mean():.3f}")
for size in (128, 64, 32):
    print(f"0.9 at 256 px is {0.9 ** (256 / size):.3f} at {size} px")

# %% [markdown]
# The paper's 0.99 never falls below 0.52 there: a mild slope. The mean matters too:
# divided by a count of pixels, 0.9 makes the loss of equal errors four times smaller,
# so every *other* term grows by that much beside it. `normaliser="weights"` divides by
# the sum of the weights.
#
# ## Total variation: is it smooth, and does it join?
#
# Second question: what counts as a difference? *Total variation* adds the steps from
# each pixel to the next, to the right and down, and needs no truth. Liu et al. take it
# of the composite, over the hole **dilated by one pixel**, and divide by all values.
# Plain loops first, then slices.


# %%
def variation_naive(filled, near):
    """(C, H, W), (H, W) -> steps between neighbours that are near, over all values."""
    total, (_, height, width) = 0.0, filled.shape
    for y in range(height):
        for x in range(width):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < height and u < width and near[y, x] and near[v, u]:
                    total += (filled[:, v, u] - filled[:, y, x]).abs().sum()
    return total / filled.numel()


# %%
def variation(filled, near):
    """The same, all pixels at once."""
    down = filled.diff(dim=1).abs() * (near[1:] & near[:-1])
    right = filled.diff(dim=2).abs() * (near[:, 1:] & near[:, :-1])
    return (down.sum() + right.sum()) / filled.numel()


# %%
hollow = square(12, 6)[..., :11, :9].double()
near = torch.nn.functional.max_pool2d(hollow, 3, 1, 1)[0, 0].bool()
filled = torch.where(hollow[0] == 1, ours, image)
library = cl.losses.total_variation(ours[None], image[None], hollow)
loops = variation_naive(filled, near)
for name, found in {"slices": variation(filled, near), "library": library}.items():
    slopes = [
        torch.autograd.grad(f, ours, retain_graph=True)[0] for f in (loops, found)
    ]
    same = torch.allclose(found, loops) and torch.allclose(*slopes)
    cl.claim(f"{name} = loops, value and gradient", same)

# %% [markdown]
# What would be lost without the dilation? Three fills of the castle: the mean, one flat
# colour; the membrane; the truth. We split the loss into steps inside the hole and the
# seam (with the steps among the known pixels around it, the same for all three).

# %%
filled = {"mean": cl.fills.mean(photo, hole), "truth": photo}
filled["membrane"] = cl.fills.harmonic(photo, hole)
parts = {}
for name, fill in filled.items():
    inside = variation(fill[0], hole[0, 0] == 1)
    total = cl.losses.total_variation(fill, photo, hole)
    parts[name] = (inside, total - inside, total)
    print("{:9} inside {:.5f} + seam {:.5f} = {:.5f}".format(name, *parts[name]))

# %%
mean, membrane, truth = (parts[name] for name in ("mean", "membrane", "truth"))
cl.claim("undilated, the mean fill would be free", mean[0] < 1e-6)
cl.claim("its seam costs over 4 times the membrane's", mean[1] > 4 * membrane[1])
cl.claim(
    "in all, the two cost the same to 2 %", (mean[2] / membrane[2] - 1).abs() < 0.02
)
cl.claim("the truth costs over 5 times as much", truth[2] > 5 * mean[2])

# %% [markdown]
# Total variation hardly cares whether a difference is one cliff or a long slope. And
# the truth costs most: left alone, this loss wants a flat patch. Liu et al. give it a weight
# of 0.1.
#
# ## Features: compare what is seen
#
# A *perceptual loss* compares pictures by the features that a network for classifying
# photos computes from them: here VGG-16, up to its third block of convolutions. Of each
# block's 64, 128 and 256 maps we show one, picked by hand because it is easy to read
# (relu2_2 is what leaves the second layer of block 2):

# %%
features, seen = cl.losses.features(), {"photo": photo}
chosen = {"relu1_2": 27, "relu2_2": 3, "relu3_3": 61}
for (name, channel), maps in zip(chosen.items(), features(photo), strict=True):
    print(f"{name}: {tuple(maps.shape[1:])}, mean activation {maps.mean():.0f}")
    one = maps[:, [channel]] / maps[:, channel, 4:-4, 4:-4].quantile(0.99)
    seen[f"{name}, map {channel}"] = torch.nn.functional.interpolate(one, 192)
cl.pictures.grid({k: v.expand(-1, 3, -1, -1) for k, v in seen.items()}, scale=1)

# %% [markdown]
# The first answers to pale surfaces, the second to upper outlines, the third to
# the castle's busy walls. The perceptual loss is the mean absolute difference of such
# maps: edges must stand where they stood. The *style loss* forgets where. Its **Gram
# matrix** says which channels fire together: multiply two channels position by
# position, add up, and divide by channels × height × width. Two channels, four
# positions:

# %%
maps = torch.tensor([[1.0, 0, 2, 1], [0, 3, 1, 0]]).double().view(1, 2, 2, 2)
print("sums: 1·1 + 2·2 + 1·1 = 6, 2·1 = 2, 3·3 + 1·1 = 10; divided by 8:")
print(cl.losses.gram(maps)[0])


# %%
def gram_naive(maps):
    """(C, H, W) -> (C, C), loops over every pair of channels and position."""
    channels, height, width = maps.shape
    found = torch.zeros(channels, channels, dtype=maps.dtype)
    for a in range(channels):
        for b in range(channels):
            for y in range(height):
                for x in range(width):
                    found[a, b] += maps[a, y, x] * maps[b, y, x]
    return found / maps.numel()


# %%
def gram(maps):
    """The same for a batch (N, C, H, W)."""
    return torch.einsum("nahw,nbhw->nab", maps, maps) / maps[0].numel()


# %%
maps = torch.rand(2, 5, 4, 3, generator=run.generator("maps"), dtype=torch.float64)
maps.requires_grad_()
loops = torch.stack([gram_naive(one) for one in maps])
for name, found in {"einsum": gram(maps), "library": cl.losses.gram(maps)}.items():
    slopes = [
        torch.autograd.grad(g.square().sum(), maps, retain_graph=True)[0]
        for g in (loops, found)
    ]
    same = torch.allclose(found, loops) and torch.allclose(*slopes)
    cl.claim(f"{name} = loops, value and gradient", same)

# %% [markdown]
# Both losses in full, as in Liu et al. (2018): sum over three layers (after their
# pooling), once for the raw output and once for the composite.


# %%
def perceptual(ours, theirs):
    """Lists of maps (N, C, h, w) -> mean absolute difference, summed over layers."""
    return sum((a - b).abs().mean() for a, b in zip(ours, theirs, strict=True))


def style(ours, theirs):
    """The same for the Gram matrices."""
    return perceptual([gram(a) for a in ours], [gram(b) for b in theirs])


# %%
look = cl.losses.features(scaled=True, pooled=True)
crop, gap = photo[..., 64:128, 64:128], square(64, 32)
grain = torch.randn(crop.shape, generator=run.generator("guess"))
guess = (crop + 0.1 * grain).requires_grad_()
target = look(crop)
outputs = [look(guess), look(cl.composite(guess, crop, gap))]
library = cl.losses.perceptual_and_style(guess, crop, gap)

# %%
for name, loss in {"perceptual": perceptual, "style": style}.items():
    mine = sum(loss(maps, target) for maps in outputs)
    slopes = [
        torch.autograd.grad(value, guess, retain_graph=True)[0]
        for value in (mine, library[name])
    ]
    gap_of = (slopes[0] - slopes[1]).abs().max() / slopes[1].abs().max()
    same = torch.allclose(mine, library[name], rtol=1e-4) and gap_of < 1e-3
    cl.claim(f"{name}: ours = library, value and gradient", same)

# %% [markdown]
# How blind is style to *where*? Two predictions: shuffled positions of the feature maps
# leave the Gram matrix as it was; and the photo with its quarters swapped crosswise is
# better in style than the blur of the beginning, and worse perceptually.

# %%
maps = look(photo)
order = torch.randperm(maps[2][0, 0].numel(), generator=run.generator("order"))
mixed = maps[2].flatten(2)[..., order].view_as(maps[2])
same = torch.allclose(gram(mixed), gram(maps[2]), rtol=1e-4)
cl.claim("shuffled positions: the same Gram matrix", same)

# %%
scores = {}
for name, fill in {"swapped": photo.roll((96, 96), (2, 3)), "blurred": blurred}.items():
    scores[name] = [loss(look(fill), maps).item() for loss in (perceptual, style)]
    print("{}: perceptual {:.2f}, style {:.4f}".format(name, *scores[name]))
(p_swap, s_swap), (p_blur, s_blur) = scores["swapped"], scores["blurred"]
cl.claim("perceptual prefers the blur", p_blur < p_swap)
cl.claim("style prefers the swapped quarters", s_swap < s_blur)

# %% [markdown]
# ### On which scale does the VGG see?
#
# The FAQ of partial convolution has one more warning: VGGs exist for different inputs.
# Ours, the original, was trained on 0 to 255; torchvision's on [0, 1], normalised. Our
# extractor wants [0, 1] and multiplies by 255 itself. What happens to a fill's two
# losses if a picture on another scale is handed in? And without `scaled=True`, which
# divides each layer by its mean activation over 13 photos kept for choices?

# %%
mean, deviation = (
    torch.tensor(numbers).view(1, 3, 1, 1)
    for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)

# %%
raw = cl.losses.features(pooled=True)
ways = {
    "[0, 1], right": look,
    "0 to 255": lambda x: look(255 * x),
    "normalised": lambda x: look((x - mean) / deviation),
    "divided by 255 twice": lambda x: look(x / 255),
    "[0, 1], raw activations": raw,
}

# %%
fill, found = cl.fills.telea(crop, gap), {}
pixel = 6 * cl.losses.l1(fill, crop, gap)
print(" " * 24 + "perceptual       style  share of L1, perceptual, style")
for name, way in ways.items():
    found[name] = both = cl.losses.perceptual_and_style(fill, crop, gap, way)
    terms = [pixel, 0.05 * both["perceptual"], 120 * both["style"]]
    shares = " ".join(f"{term / sum(terms):6.1%}" for term in terms)
    print(f"{name:24} {both['perceptual']:9.3f} {both['style']:11.5f}  {shares}")

# %% [markdown]
# The shares are those in the paper's weighted sum of these three,
# $6 L_1 + 0.05 L_\text{perc} + 120 L_\text{style}$. Nothing crashes. The perceptual loss moves
# by a factor of 5 to 300, style mostly by its square, because a Gram matrix is a product.

# %%
right, large = found["[0, 1], right"], found["0 to 255"]
ratio = {name: (large[name] / right[name]).item() for name in right}
cl.claim("255 times the input: perceptual over 100 times", ratio["perceptual"] > 100)
cl.claim("and style over 10,000 times", ratio["style"] > 10_000)

# %% [markdown]
# So weights tuned on one scale do not carry over to another. Raw activations average 90
# to 170 on our photo; divided by each layer's usual mean they are near 1. Even so style
# has 93 % of this sum; exercise 02.4 finds weights of your own. (Online,
# `cl.losses.torchvision_features()` fetches torchvision's VGG as the last argument of
# `perceptual_and_style`.)
#
# ## Which loss prefers which fill?
#
# 20 photos, a square hole, five "fills": the truth with noise, blurred, and shifted by
# three pixels; Telea; the mean. Before you run it: which is best by each loss?

# %%
small, gap = cl.photos.squares("evaluation", 64), square(64, 24).expand(20, -1, -1, -1)
noise = 0.1 * torch.randn(small.shape, generator=run.generator("grain"))
soft = torch.nn.functional.avg_pool2d(small, 5, 1, 2, count_include_pad=False)
fills = {"truth": small, "noise": (small + noise).clamp(0, 1), "blurred": soft}
fills |= {"shifted": small.roll(3, -1), "Telea": cl.fills.telea(small, gap)}
fills["mean"] = cl.fills.mean(small, gap)

# %%
targets = look(small)
table = {name: {} for name in ("L1", "TV", "perceptual", "style")}
for name, fill in fills.items():
    filled = cl.composite(fill, small, gap)
    maps = targets if name == "truth" else look(filled)
    table["L1"][name] = cl.losses.l1(filled, small, gap, normaliser="region").item()
    table["TV"][name] = cl.losses.total_variation(filled, small, gap).item()
    table["perceptual"][name] = perceptual(maps, targets).item()
    table["style"][name] = style(maps, targets).item()

# %%
print(" " * 10 + "".join(f"{name:>9}" for name in fills))
for loss, row in table.items():
    print(f"{loss:10}" + "".join(f"{value:9.4f}" for value in row.values()))

# %%
ranked = {loss: sorted(row, key=row.get) for loss, row in table.items()}
for loss, order in ranked.items():
    print(f"{loss:10} " + " < ".join(order))

# %%
best = {loss: next(n for n in order if n != "truth") for loss, order in ranked.items()}
cl.claim("L1 prefers the blur", best["L1"] == "blurred")
cl.claim(
    "total variation prefers the mean, even to the truth", ranked["TV"][0] == "mean"
)
cl.claim("the perceptual loss prefers the noise", best["perceptual"] == "noise")
cl.claim("style prefers the shifted truth", best["style"] == "shifted")
louder = cl.composite((small + 1.5 * noise).clamp(0, 1), small, gap)
worse = perceptual(look(louder), targets) > table["perceptual"]["blurred"]
cl.claim("noise of 0.15: the perceptual loss prefers the blur", worse)

# %% [markdown]
# Four losses, four winners, on the mean of 20 photos. L1 forgives the blur, total
# variation prefers a flat patch to the truth itself, the perceptual loss forgives fine
# noise, and style a shift. But the strengths are ours: noise of 0.15, and the
# perceptual loss prefers the blur. A ranking of losses belongs to its pictures.
#
# ## Look inside: drag a gamma
#
# What do you expect: at which $\gamma$ does the deepest pixel of a hole 64 pixels wide
# weigh half of a rim pixel? The explorer shows the weights over the photo and along one
# row; drag the hole, drag $\gamma$, ask for a pixel. The red line is the published code.

# %%
explorer = cl.DiscountExplorer("chateaudechambord", square(128, 64), gamma=0.9)
explorer

# %% [markdown]
# <details><summary>Answer</summary>
#
# 0.978: $\gamma^{31} = 1/2$, because the deepest pixel is 31 rings further in.
#
# </details>
#
# Try the free-form hole at 0.9, where the published weights differ most; 0.99, nearly
# flat; 0.7, where most of a large hole counts nothing. The same without a kernel:
# profiles through the middle, and what the deepest pixel weighs.

# %%
from matplotlib import pyplot as plt

figure, axes = plt.subplots(figsize=(7, 2.6))
for gamma, line in zip((1, 0.99, 0.9, 0.7), ("-", "--", "-.", ":"), strict=True):
    weights = cl.losses.discount_weights(explorer.hole, gamma)[0, 0, 64]
    axes.plot(weights, line, label=f"gamma {gamma}")
    print(f"gamma {gamma:4}: weight of the deepest pixel {weights.min():.5f}")
axes.set(xlabel="column", ylabel="weight", title="Weights along row 64")
axes.legend()
print(f"half of a rim pixel at gamma {0.5 ** (1 / 31):.3f}")
plt.show()

# %% [markdown]
# ## Train
#
# Beside the shipped network, which filled the square at the beginning, a much
# smaller one learns for `run.steps` steps with the discounted loss. $\gamma$ follows
# the picture's size, and the sum is divided by the weights, so that another $\gamma$
# does not change how much the hole counts beside the known pixels.

# %%
card = cl.zoo.card("plain_unet")
print(
    f"shipped: {sum(stage['steps'] for stage in card['steps']):,} steps, {card['loss']}"
)
torch.manual_seed(run.seed)
learner = cl.networks.UNet(channels=(16, 32, 64), kernels=(5, 5, 3)).to(run.device)
optimizer = torch.optim.Adam(learner.parameters(), lr=2e-3)
crops, draw = cl.photos.collection("train", limit=24), run.generator("training")
gamma = 0.9 ** (256 / run.size)


# %%
def batches():
    """Endless pairs (image, hole): crops with a square hole, half as wide."""
    while True:
        clean = crops.crops(run.batch, run.size, draw)
        yield clean, square(run.size, run.size // 2).expand(run.batch, -1, -1, -1)


# %%
def step(batch):
    """Predict, compare, correct: the known pixels' mean, and six times the hole's."""
    clean, missing = (part.to(run.device) for part in batch)
    output = learner(clean, missing)
    known = cl.losses.l1(output, clean, missing, "valid", "region")
    inside = cl.losses.spatially_discounted_l1(output, clean, missing, gamma, "weights")
    optimizer.zero_grad()
    (known + 6 * inside).backward()
    optimizer.step()
    return {"known": known, "hole": inside}


# %% [markdown]
# A view shows losses and fills while `fit` runs; afterwards, drag along the curves.


# %%
def look_at():
    """What the network in training puts into three photos."""
    pair = test[:3].to(run.device), missing[:3].to(run.device)
    return cl.composite(learner(*pair), *pair)


test = cl.photos.squares("evaluation", run.size)
missing = square(run.size, run.size // 2).expand(len(test), -1, -1, -1)
view = cl.TrainingView(look_at, pictures=3)
view

# %% tags=["nbval-ignore-output"]
state = {"network": learner}
history = cl.training.fit(step, batches(), steps=run.steps, state=state, watch=view)
print(history)
view.still()

# %% tags=["nbval-ignore-output"]
ends = [end for end in (1, 2, 4, 8, 16, 32) if end <= run.size // 4]
for name, model in {"this one": learner.eval(), "shipped": network}.items():
    place = next(model.parameters()).device
    with torch.no_grad():
        output = model(test.to(place), missing.to(place)).cpu()
    error = (output - test).abs().mean(1, keepdim=True)
    cells = zip(ends, by_ring(error, missing, ends), strict=True)
    print(f"{name:8} error", *(f"to {end} px {value:.3f}" for end, value in cells))

# %% [markdown]
# Four steps in `ci` teach nothing. In `laptop` (64 px) the small one came to 0.093 at the rim
# and 0.167 in the middle; the shipped one to 0.056 and 0.143. But it had more
# training, data and capacity: this cannot say what *gamma* did.
#
# ## Experiment: who pays?
#
# Same start, same pictures, same steps; only $\gamma$ differs: 1, 0.99, 0.9, 0.7, and
# $0.923 = 0.99^{256/32}$, the paper's own at this size; on three seeds. Fifteen
# networks must be small: each is linear, sees the frame of 320 known pixels around a
# square of 16 × 16, squeezes them through **24 numbers**, and spreads these over the
# 256 missing pixels. The pictures are smooth random fields: noise on every fourth
# pixel, interpolated, shifted at random. The rim can be known, the middle cannot.


# %%
def fields(count, draw):
    """Smooth random grey pictures, (count, 32, 32)."""
    coarse = torch.randn(count, 1, 12, 12, generator=draw)
    fine = torch.nn.functional.interpolate(
        coarse, scale_factor=4, mode="bicubic", align_corners=False
    )
    corner = torch.randint(4, 8, (count, 2), generator=draw).tolist()
    cut = [f[0, y : y + 32, x : x + 32] for f, (y, x) in zip(fine, corner, strict=True)]
    return torch.stack(cut)


# %%
gone = square(32, 16)[0, 0].bool()
seen = square(32, 24)[0, 0].bool() & ~gone
test = fields(1000, run.generator("test"))
print(f"{int(seen.sum())} known pixels, {int(gone.sum())} missing")

# %% [markdown]
# All networks train at once: seeds and gammas are two leading axes of one tensor of
# weights. The losses are summed; each network gets its own gradient only. Weights are
# scaled to mean 1, so that no $\gamma$ learns faster.


# %%
def start_of(width, draws, gammas):
    """Two layers (seed, gamma, in, out); all gammas of a seed start alike."""
    layers = []
    for rows, columns in ((320, width), (width, 256)):
        drawn = [torch.randn(1, rows, columns, generator=d) for d in draws]
        layer = torch.stack(drawn).repeat(1, len(gammas), 1, 1) / rows**0.5
        layers.append(layer.requires_grad_())
    return layers


# %%
def train(width, gammas, seeds=3, steps=600):
    """Error on test fields of each seed, gamma and missing pixel."""
    fields_of = [cl.losses.discount_weights(square(32, 16), g) for g in gammas]
    weight = torch.stack([field[0, 0, gone] for field in fields_of])[:, None]
    weight = weight / weight.mean(-1, keepdim=True)
    draws = [run.generator(f"seed {seed}") for seed in range(seeds)]
    data = torch.stack([fields(4096, draw) for draw in draws])[:, None]
    layers = start_of(width, draws, gammas)
    optimizer = torch.optim.Adam(layers, lr=4e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        pick = [torch.randint(4096, (64,), generator=d) for d in draws]
        batch = torch.stack([part[:, p] for part, p in zip(data, pick, strict=True)])
        loss = (batch[..., seen] @ layers[0] @ layers[1] - batch[..., gone]).abs()
        optimizer.zero_grad()
        (loss * weight).mean((-1, -2)).sum().backward()
        optimizer.step()
        falling.step()
    with torch.no_grad():
        guess = test[:, seen] @ layers[0] @ layers[1]
    return (guess - test[:, gone]).abs().mean(2)


# %%
gammas, ends = (1, 0.99, 0.9, 0.7, 0.99**8), (1, 2, 4, 8)
depth = cl.holes.distance(square(32, 16))[0, 0, gone]
spans = list(zip((0, *ends[:-1]), ends, strict=True))


def changes(error):
    """Error by ring (seed, gamma, ring), and its change against gamma 1."""
    parts = [error[..., (depth > a) & (depth <= b)].mean(-1) for a, b in spans]
    ring = torch.stack(parts, -1)
    return ring, ring / ring[:, :1] - 1


# %%
error = train(24, gammas)
ring, change = changes(error)
for name, value, expected in zip(
    ("1", "2", "3–4", "5–8"),
    ring[:, 0].mean(0),
    (0.142, 0.253, 0.514, 0.666),
    strict=True,
):
    cl.close(f"gamma 1, error in ring {name}", value, expected, 0.02)
guess = test[:, gone][:, depth > 4].abs().mean()
cl.close("a guess of 0 everywhere, error in ring 5–8", guess, 0.673, 0.02)

# %% [markdown]
# In rings 5 to 8 the network hardly beats a guess of 0, the mean of all fields; in ring
# 1 it errs a fifth as much. What we expect of a falling $\gamma$: ring 1 gets better,
# the centre pays.

# %%
figure, axes = plt.subplots(figsize=(7, 2.8))
for k, mark in zip((1, 4, 2, 3), "oD^s", strict=True):
    percent = 100 * change[:, k]
    axes.plot(percent.mean(0), marker=mark, label=f"gamma {gammas[k]:.3g}")
    for one in percent:
        axes.plot(one, mark, color=axes.lines[-1].get_color(), alpha=0.3, ms=4)
axes.axhline(0, color="black", linewidth=0.8)
axes.set_xticks(range(4), ["1", "2", "3–4", "5–8"])
axes.set(xlabel="ring", ylabel="change of the error, %")
axes.set_title("Against gamma 1: mean (line) and three seeds (pale)")
axes.legend()
falling = change[:, [0, 1, 4, 2, 3], 0].diff() < 0
cl.claim("ring 1 falls with every step of gamma, on each seed", falling.all())
plt.show()

# %%
cl.close("ring 1 at 0.99, change in %", 100 * change[:, 1, 0].mean(), -0.7, 0.5)
cl.close("ring 1 at 0.923, change in %", 100 * change[:, 4, 0].mean(), -4.7, 2)
cl.close("ring 1 at 0.9, change in %", 100 * change[:, 2, 0].mean(), -6, 2)
cl.close("ring 1 at 0.7, change in %", 100 * change[:, 3, 0].mean(), -17, 4)
cl.close("rings 2 to 4 at 0.7, change in %", 100 * change[:, 3, 1:3].mean(), 4.6, 1.5)

# %%
total = error.mean(-1)[:, 3] / error.mean(-1)[:, 0] - 1
claims = {
    "at 0.99 no ring changes by 1.5 %": change[:, 1].abs() < 0.015,
    "at 0.7 rings 2 and 3–4 are worse by over 2 %": change[:, 3, 1:3] > 0.02,
    "at 0.7 rings 5 to 8 change by less than 1.5 %": change[:, 3, 3].abs() < 0.015,
    "at 0.7 the whole hole is worse, by less than 2 %": (total > 0) & (total < 0.02),
}
for sentence, true in claims.items():
    cl.claim(f"{sentence}, on each seed", true.all())

# %% [markdown]
# Half right. The rim gains with every step of $\gamma$, but the rings *beside* it pay, where
# something could still be known; the centre is a guess in any case
# and loses next to nothing. The paper's 0.99, copied unchanged to 32 pixels,
# **hardly shows**: −0.7 % at the rim. Scaled to 0.923, it buys nearly 5 % at the rim.
#
# ### The honest failure: no squeeze, hardly any effect
#
# Why does anyone pay? Because 24 numbers cannot serve all rings. Let 256 numbers
# through, one for each missing pixel. If that is the reason, what happens to gain and
# price?

# %%
_, wide = changes(train(256, (1, 0.7)))
cl.claim("with 256 numbers no ring gets worse by 0.3 %", wide[:, 1].max() < 0.003)
cl.close("ring 1, change in %", 100 * wide[:, 1, 0].mean(), -1.5, 1)
gains = wide[:, 1, 0].abs() < change[:, 3, 0].abs() / 4
cl.claim("and ring 1 gains less than a quarter of before, on each seed", gains.all())

# %% [markdown]
# Nobody pays. Without a squeeze the problem falls apart into one for each missing
# pixel, and to weigh a problem does not move its optimum. (Ring 1 still gains 1.5 %,
# as training ends before the optimum.) In
# the extreme the fill itself is free: 256 numbers to be chosen, nine equally good
# answers, and each $\gamma$ ends at the same picture, pixel by pixel the *median* of
# lesson 00.

# %%
answers = fields(9, run.generator("answers"))[:, gone]
free = torch.zeros(len(gammas), 1, 256, requires_grad=True)
weight = torch.stack([g ** depth.float() for g in gammas])[:, None]
optimizer = torch.optim.Adam([free], lr=0.05)
falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 400)

# %%
for _ in range(400):
    optimizer.zero_grad()
    (weight * (free - answers).abs()).sum().backward()
    optimizer.step()
    falling.step()
apart = (free - answers.median(0).values).abs().amax((1, 2))
cl.claim("all five end at the median, to 0.01", (apart < 0.01).all())

# %% [markdown]
# So a weight on a pixel is no command. Where capacity (as in these linear networks) or steps
# are short, it decides what the network gives up. And it decides how much L1 counts beside other terms.

# %% [markdown]
# ## Exercises
#
# ### Exercise 02.1 · Rings without a distance
#
# *Warm up · difficulty 1 of 3 · 8 minutes*
#
# Peel a hole from outside, one ring at a time.
#
# <details><summary>Hint 1</summary>
#
# A pixel is in ring 3 if it is still missing after two peelings. So peel max(H, W)
# times and add up what is left before each.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `max_pool2d(x, 3, 1, 1)` is the largest value of nine and never reads the outside. The
# smallest is `-max_pool2d(-x, 3, 1, 1)`.
#
# </details>


# %% tags=["exercise-02.1"]
def rings(hole: torch.Tensor) -> torch.Tensor:
    """In which ring of its hole each pixel lies: 0 known, 1 the outermost, and so on.

    ``hole`` is (N, 1, H, W), 1 = missing. A missing pixel is in ring 1 if one of its
    eight neighbours is known, in ring 2 if none is known but one is in ring 1, and so
    on. What lies outside the picture is not known. In a picture without any known pixel
    every pixel is in ring max(H, W). Returns the shape and dtype of ``hole``.
    """
    raise NotImplementedError


rings = cl.check("02.1", rings)

# %% [markdown]
# ### Exercise 02.2 · Every picture for itself
#
# *Build · difficulty 2 of 3 · 12 minutes*
#
# The library's loss is one number for a batch, in which a picture with a large hole
# counts more. Give each picture its own.
#
# <details><summary>Hint 1</summary>
#
# Select, do not multiply: 0 times NaN is NaN. `torch.where(missing, x, 0.0)` gives 0,
# and lets no gradient through to what it dropped.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `.sum((1, 2, 3))` keeps the pictures apart. Replace a count of 0 by 1 before dividing.
#
# </details>


# %% tags=["exercise-02.2"]
def weighted_each(
    prediction: torch.Tensor,
    image: torch.Tensor,
    hole: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """The weighted mean absolute error in the hole, for each picture by itself.

    Shapes (N, C, H, W), (N, C, H, W), (N, 1, H, W), 1 = missing, and (N, 1, H, W).
    All weights are above 0. Each picture's sum of weight times absolute error, over its
    missing pixels and channels, is divided by C times the sum of the weights in its own
    hole; a picture without a hole gives 0. Known pixels do not count, nor do their
    weights: prediction and image may hold NaN there, and the gradient there is 0.
    Returns (N,).
    """
    raise NotImplementedError


weighted_each = cl.check("02.2", weighted_each)

# %% [markdown]
# ### Exercise 02.3 · What the box counts
#
# *Analyse · difficulty 2 of 3 · 10 minutes*
#
# How much of the published weights falls on pixels that were known all along?
#
# <details><summary>Hint 1</summary>
#
# Cut the box out of the hole; the weights are those of `published` above.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `hole[:, 0, top : top + height, left : left + width]`, and sum over the last two axes.
#
# </details>


# %% tags=["exercise-02.3"]
def known_share(
    hole: torch.Tensor, top: int, left: int, height: int, width: int, gamma: float
) -> torch.Tensor:
    """Which share of the published weights lies on known pixels, for each hole.

    ``hole`` is (N, 1, H, W), 1 = missing. The box begins at row ``top`` and column
    ``left``; its pixel in row i and column j, counted from 0 in the box, weighs
    gamma ** min(i, height - i, j, width - j). Pixels outside the box weigh nothing.
    Returns (N,): known weight over all weight, in the dtype of ``hole``.
    """
    raise NotImplementedError


known_share = cl.check("02.3", known_share)

# %% [markdown]
# ### Exercise 02.4 · Equal pull
#
# *Stretch · difficulty 3 of 3 · 15 minutes*
#
# A large loss need not pull hard. Find weights that make all terms pull equally.
#
# <details><summary>Hint 1</summary>
#
# Make a leaf: `prediction.detach().clone().requires_grad_()`. What does
# `torch.autograd.grad(loss(leaf), leaf)` return?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `grad[0].norm()` is the pull. The weight is the first pull over this one, 0 where it
# is 0; the first weight is 1 whatever its pull.
#
# </details>


# %% tags=["exercise-02.4"]
def balance(losses: tuple, prediction: torch.Tensor) -> torch.Tensor:
    """Weights that let every loss pull equally hard at the prediction.

    ``losses`` are functions of the prediction that return a scalar. The pull of one is
    the norm (root of the sum of squares) of its gradient with respect to the
    prediction. The first weight is always 1. Each other weight, times the pull of its
    loss, gives the pull of the first; it is 0 for a loss that does not pull at all.
    Returns a tensor (K,) without gradient, in the dtype of ``prediction``.
    """
    raise NotImplementedError


balance = cl.check("02.4", balance)

# %% [markdown]
# Your weights (or the reference's), on Telea's fill of the crop:

# %%
fill, gap = cl.fills.telea(crop, square(64, 32)), square(64, 32)
losses = (
    lambda x: cl.losses.l1(x, crop, gap),
    lambda x: cl.losses.total_variation(x, crop, gap),
    lambda x: cl.losses.perceptual_and_style(x, crop, gap)["perceptual"],
    lambda x: cl.losses.perceptual_and_style(x, crop, gap)["style"],
)
names = ("L1", "TV", "perceptual", "style")
papers = (6, 0.1, 0.05, 120)
print(" " * 10 + "  yours  Liu et al.")
for name, own, paper in zip(names, balance(losses, fill), papers, strict=True):
    print(f"{name:10} {own:7.3g} {paper / 6:8.3g}")

# %% [markdown]
# Both columns are relative to L1. With *our* features and this fill, the published
# weights would let style pull over fifty times as hard as L1, and total variation forty
# times less.
#
# ## Self-quiz
#
# **1.** $\gamma = 0.7$ made the rim better. Who paid, and when does nobody?
#
# <details><summary>Answer</summary>
#
# Rings 2 to 4, where something could still be known. Nobody pays when capacity
# suffices: each pixel then has its own optimum, which no weight moves.
#
# </details>
#
# **2.** $\gamma = 0.9$ is chosen for 256 px. Which has the same profile at 64 px?
#
# <details><summary>Answer</summary>
#
# $0.9^{256/64} = 0.656$: distances in pixels are four times shorter.
#
# </details>
#
# **3.** Your perceptual loss is 200 times that of a paper. What do you look at first?
#
# <details><summary>Answer</summary>
#
# The input scale of the VGG, and whether its activations are divided by their mean.
#
# </details>
#
# **4.** A style loss is 0. Is the fill equal to the truth?
#
# <details><summary>Answer</summary>
#
# No. The Gram matrix does not know where anything is: shuffled feature positions have
# the same one.
#
# </details>

# %% [markdown]
# ## Summary
#
# A loss says which pixels count, what counts as a difference, and what the sum is
# divided by. Discounted L1 weighs a missing pixel by $\gamma$ to its distance from the
# nearest known one; published code measures to a box, which differs most for free-form
# holes. In linear networks a small $\gamma$ bought a better rim and the rings beside it paid, but
# only where capacity was short; copied to another size without scaling, it does something else.
# Total variation prefers a flat patch, the perceptual loss wants things in their place, style
# forgets places, and both depend on the VGG's scale.
#
# Next: lesson 03 builds the plain U-Net, trains it properly, and shows where it fails.
#
# ## References
#
# - J. Yu, Z. Lin, J. Yang, X. Shen, X. Lu, T. Huang, [Generative Image Inpainting with
#   Contextual Attention](https://arxiv.org/abs/1801.07892), CVPR 2018, section 3; its
#   [published code](https://github.com/JiahuiYu/generative_inpainting/tree/v1.0.0),
#   `spatial_discounting_mask`; the
#   [port](https://github.com/daa233/generative-inpainting-pytorch) that weighs composites.
# - G. Liu, F. Reda, K. Shih, T.-C. Wang, A. Tao, B. Catanzaro, [Image Inpainting for
#   Irregular Holes Using Partial Convolutions](https://arxiv.org/abs/1804.07723), ECCV
#   2018, equations 3 to 7. The table of implementations was read from
#   [PConv-Keras](https://github.com/MathiasGruber/PConv-Keras),
#   [naoto0804's version](https://github.com/naoto0804/pytorch-inpainting-with-partial-conv),
#   [MMagic](https://github.com/open-mmlab/mmagic) and
#   [DSNet](https://github.com/wangning-001/DSNet).
# - L. Gatys, A. Ecker, M. Bethge, [Image Style Transfer Using Convolutional Neural
#   Networks](https://openaccess.thecvf.com/content_cvpr_2016/html/Gatys_Image_Style_Transfer_CVPR_2016_paper.html),
#   CVPR 2016: the Gram matrix as style.
# - J. Johnson, A. Alahi, L. Fei-Fei, [Perceptual Losses for Real-Time Style Transfer and
#   Super-Resolution](https://arxiv.org/abs/1603.08155), ECCV 2016.
# - K. Simonyan, A. Zisserman, [Very Deep Convolutional Networks for Large-Scale Image
#   Recognition](https://arxiv.org/abs/1409.1556), ICLR 2015: the VGG.
# - In the library: [reconstruction.py](../course_lib/losses/reconstruction.py),
#   [perceptual.py](../course_lib/losses/perceptual.py) and
#   [discount_explorer.py](../course_lib/widgets/discount_explorer.py).
