# %% [markdown]
# # Mask mining: holes worth training on
#
# ![A photo; how hard each of its pixels would be, were it hidden; the hole that is mined from that, and its fill; a random hole of the same area, and its fill](../assets/figures/09_mask_mining.png)
#
# By the end you will have built a network that knows, before anything is hidden, what
# an inpainter could guess, and measured what such holes are good for.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | measure how hard each pixel is when it is hidden<br>teach a generator to expect that error, and cut holes of exact area from it<br>break five other objectives, and say why each fails<br>tell what the choice of a hole is worth from what its shape is worth<br>judge the claim that mined holes train better inpainters |
# | **Minutes** | read 40 · run 2 · practise 65 |
# | **Before you start** | lessons 04 and 08 |
# | **Cost** | ci 70 s · laptop 90 s · gpu not measured |

# %%
import torch
import torch.nn.functional as F

import course_lib as cl

run = cl.start("09")

# %% [markdown]
# ## The problem
#
# Until now chance decided what we hide. Some pixels are easy to guess, such as sky between
# sky. Of others, such as a face behind the hole, nobody could know anything. How uneven
# is it? We hide each pixel of four photos about ten times, under 30 random holes of 35 %,
# and note how wrong lesson 08's `nearest_unet` is there.

# %%
network = cl.zoo.load("nearest_unet")
photos = cl.photos.squares("evaluation", 128)
draw = run.generator("holes")


def irregular(count, size=128):
    """Random holes of 35 %."""
    drawn = cl.holes.irregular(count, size, draw)
    return cl.holes.grow(drawn, torch.full((count,), 0.35))


measured = cl.mining.hidden_error(network, photos[:4], irregular(30))

# %%
print("four photos; below, the error of each pixel when hidden, white = 0.3 and more")
shade = (measured / 0.3).clamp(0, 1).expand(-1, 3, -1, -1)
shown = torch.cat([photos[:4], shade], 2)
cl.pictures.grid({f"photo {n + 1}": shown[n : n + 1] for n in range(4)})

# %%
for n, error in enumerate(measured.flatten(1).sort(1).values):
    third = error[: error.numel() // 3].sum() / error.sum()
    tenth = error[-error.numel() // 10 :].sum() / error.sum()
    print(
        f"photo {n + 1}: the easiest third of its pixels has {third:.0%} of the error,"
    )
    print(f"         the hardest tenth {tenth:.0%}")

# %% [markdown]
# In a random hole a few pixels make most of the loss. Would others be worth more?
#
# Cai et al. (2024) train the inpainter together with a *mask generator*, which makes holes
# "large yet predictable". As in lesson 08 only the abstract is free to read: the idea is
# theirs, how we do it is ours. First, is there anything to win? We smooth the measured
# error a little and hide the 35 % that were easiest.


# %%
def error_in(hole, image=photos[:4], inpainter=network):
    """Mean absolute error in the hole; what it hides is NaN."""
    with torch.no_grad():
        made = inpainter(cl.hide(image, hole, torch.nan), hole)
    return cl.evaluation.hole_l1(made, image, hole).mean().item()


# %%
smooth = F.avg_pool2d(F.pad(measured, [4] * 4, mode="replicate"), 9, 1)
oracle = cl.mining.mined_holes(smooth, 0.35)
at_random = sum(error_in(irregular(4)) for _ in range(4)) / 4
print(f"random {at_random:.4f}, the easiest 35 % {error_in(oracle):.4f}")
cl.claim("as large, under six tenths of the error", error_in(oracle) < 0.6 * at_random)

# %% [markdown]
# There is. But this *oracle* had to see each pixel hidden many times. Can a network say
# as much about a photo that it has never seen, at one look?
#
# ## By hand
#
# Two small things are needed. First, a hole of exact area from a map of scores: the lowest
# ones go. Of 16 pixels a ratio of 3/8 hides 6. Which six?

# %%
score = torch.tensor([[7, 2, 9, 9], [1, 1, 8, 9], [3, 2, 2, 6], [5, 2, 4, 8]])
order = score.flatten().tolist()
first = sorted(range(16), key=lambda pixel: order[pixel])[:6]
hole = [int(pixel in first) for pixel in range(16)]
print(*(hole[row : row + 4] for row in range(0, 16, 4)), sep="\n")
cl.claim("two ones and the first four of five twos", sum(order[p] for p in first) == 10)

# %% [markdown]
# Of equal scores the first in reading order goes: whatever the scores, the hole has six
# pixels. It cannot be empty, and it cannot be everything.
#
# Second, a loss that teaches the score $s$ what to expect. If errors $e$ spread like an
# exponential distribution of mean $\exp(s)$, the negative logarithm of their probability is
#
# $$L = e\,\exp(-s) + s$$
#
# Say a pixel has the errors 0.1 and 0.3, in turn. Which $s$ is best?

# %%
errors = torch.tensor([0.1, 0.3], dtype=torch.float64)
for expected in (0.1, 0.15, 0.2, 0.3):
    s = torch.tensor(expected, dtype=torch.float64).log()
    loss = (errors * (-s).exp() + s).mean()
    print(f"expect {expected:.2f}: s = {s:.3f}, loss {loss:.4f}")

# %% [markdown]
# The mean, 0.2: where $s = \log 0.2$ the slope $1 - e\exp(-s)$ is 0 on average. A
# logarithm makes relative mistakes count alike: 0.01 taken for 0.02, or 0.2 for 0.4.
#
# ## Naive code


# %%
def mined_naive(score, ratio):
    """score (N, 1, H, W) -> hole (N, 1, H, W): the lowest scores of each picture."""
    hole = torch.zeros_like(score)
    for n, one in enumerate(score.flatten(1).tolist()):
        order = sorted(range(len(one)), key=lambda pixel: one[pixel])
        for pixel in order[: round(ratio * len(one))]:
            hole[n].view(-1)[pixel] = 1
    return hole


# %%
def loss_naive(score, error, hole):
    """All (N, 1, H, W); only pixels in the hole teach."""
    total = 0
    for s, e, inside in zip(score, error, hole, strict=True):
        at = [tuple(place) for place in inside.nonzero().tolist()]
        total = total + sum(e[p] * torch.exp(-s[p]) + s[p] for p in at) / len(at)
    return total / len(score)


# %% [markdown]
# ## Without loops


# %%
def mined_all(score, ratio):
    """The same, sorted at once."""
    flat = score.flatten(1)
    first = flat.argsort(dim=1, stable=True)[:, : round(ratio * flat.shape[1])]
    return torch.zeros_like(flat).scatter_(1, first, 1.0).view_as(score)


# %%
def loss_all(score, error, hole):
    """The same; what is outside the hole is never looked at, not even as 0 times it."""
    s, e = (torch.where(hole == 1, x, 0.0) for x in (score, error))
    each = torch.where(hole == 1, e * torch.exp(-s) + s, 0.0)
    return (each.sum((1, 2, 3)) / hole.sum((1, 2, 3))).mean()


# %%
of_maps = run.generator("maps")
double = {"generator": of_maps, "dtype": torch.float64}
score = torch.randn(2, 1, 7, 9, **double, requires_grad=True)
hole = mined_all(score.detach(), 0.35)
error = 0.01 + torch.rand(2, 1, 7, 9, **double)  # the library takes 0.002 at least
# %%
made = [mined_naive(score, 0.35), hole, cl.mining.mined_holes(score, 0.35)]
same = all(torch.equal(each, made[0]) for each in made)
cl.claim("the same hole: loops, without loops, library", same)
print(f"{made[0].sum((1, 2, 3)).int().tolist()} of 63 pixels each")

# %%
forms = (loss_naive, loss_all, cl.mining.error_map_loss)
losses = torch.stack([form(score, error, hole) for form in forms])
slopes = [torch.autograd.grad(loss, score, retain_graph=True)[0] for loss in losses]
same = torch.allclose(losses, losses[:1].expand(3))
same &= all(torch.allclose(each, slopes[0]) for each in slopes)
cl.claim("the same loss and the same slopes", same)
cl.claim("outside the hole no slope", (slopes[0][hole == 0] == 0).all())
# %%
secret = torch.where(hole == 1, error, torch.nan)
cl.claim(
    "and nothing is read there",
    cl.mining.error_map_loss(score, secret, hole) == losses[2],
)

# %% [markdown]
# The hole is chosen by sorting, which has no slope. It needs none: the score is taught as a
# *prediction*, from errors that were made anyway, under any hole. So one step of training
# is: take photos; hide some pixels, by chance or by the score; let the inpainter fill them;
# note the error; teach the inpainter as always, and the generator by $L$. Neither loss
# reaches into the other's weights.
#
# ## The generator
#
# It sees the whole photo, before anything is hidden, and gives one score for each
# 4 × 4 pixels, enlarged smoothly. 69,000 weights.

# %%
cl.show_source(cl.networks.MaskGenerator.forward)

# %% [markdown]
# Does it work where we know the answer? A toy: on one side of a line, drawn by chance, a
# picture is smooth; on the other each pixel is drawn by itself, and nobody can guess it. The
# inpainter is fixed: it blurs what is known into the hole. At an area of 35 % the right
# answer is a hole on the smooth side, another one in every picture.


# %%
def toys(count, draw, size=32):
    """Pictures, and where they are smooth."""
    across = torch.linspace(-1, 1, size)
    angle = 6.283 * torch.rand(count, 1, 1, 1, generator=draw)
    colour, slope = torch.rand(2, count, 3, 1, 1, generator=draw)
    plain = (colour + (slope - 0.5) * across / 2).clamp(0, 1).expand(-1, -1, size, -1)
    grain = torch.rand(count, 3, size, size, generator=draw)
    side = across[:, None] * angle.sin() + across * angle.cos() > 0
    return torch.where(side, plain, grain), side


# %%
def blur(x):
    for _ in range(6):
        x = F.avg_pool2d(F.pad(x, [2] * 4, mode="replicate"), 5, 1)
    return x


def blurred_in(image, hole):
    """The mean of known colours near by; a formula, so slopes reach the hole too."""
    valid = 1 - hole
    return blur(image * valid) / (blur(valid) + 1e-4)


# %%
def toy_error(image, hole):
    return (blurred_in(image, hole) - image).abs().mean(1, keepdim=True)


pool = irregular(64, 32)


# %%
def expects(score, image, draw):
    """Ours: errors under random holes teach the score."""
    hole = pool[torch.randint(64, (len(image),), generator=draw)]
    return cl.mining.error_map_loss(score, toy_error(image, hole), hole)


# %%
def generator_of(objective, steps=120):
    """A generator that has learned by ``objective(score, image, draw)``."""
    torch.manual_seed(0)
    miner, draw = cl.networks.MaskGenerator(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(miner.parameters(), lr=3e-3)
    for _ in range(steps):
        image, _ = toys(8, draw)
        loss = objective(miner(image), image, draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return miner.eval().requires_grad_(False)


# %%
test, side = toys(64, torch.Generator().manual_seed(7))


def toy_facts(miner):
    """Of holes of 35 %: the error, after a shuffle, the smooth share, the overlap."""
    hole = cl.mining.mined_holes(miner(test), 0.35)
    other = hole.roll(1, 0)  # each picture gets the hole of the one before
    error = [(toy_error(test, h) * h).sum() / h.sum() for h in (hole, other)]
    smooth = (hole * side).sum() / hole.sum()
    return *error, smooth, cl.mining.overlap(hole, other).mean()


def tell(name, facts):
    error, shuffled, smooth, overlap = (f"{fact:.3f}" for fact in facts)
    print(f"{name:12}: error {error}, shuffled {shuffled},", end=" ")
    print(f"smooth {smooth}, overlap {overlap}")


expecting = generator_of(expects)
# %% tags=["nbval-ignore-output"]
toy = {"untrained": toy_facts(generator_of(expects, steps=0))}
toy["expects"] = toy_facts(expecting)
for name, facts in toy.items():
    tell(name, facts)

# %%
cl.claim("over 95 % of its holes is smooth", toy["expects"][2] > 0.95)
cl.claim(
    "under half the error of the same holes shuffled",
    2 * toy["expects"][0] < toy["expects"][1],
)
mined = cl.mining.mined_holes(expecting(test), 0.35)
print("six toys and the holes that were mined for them")
pairs = cl.pictures.hatched(test[:6], mined[:6])
cl.pictures.grid({f"toy {n + 1}": pairs[n : n + 1] for n in range(6)})

# %% [markdown]
# *Overlap* is the share of two holes' union that both hide. Holes of 35 % that know nothing
# of each other come near 0.35 / 1.65 = 0.21; a generator that makes the same hole for every
# picture has 1. *Shuffled* is our control for shape: the same holes, each on another picture.
#
# ## Five ways to fail
#
# Why not ask for what we want: holes with little error? The error in a hole *has* a slope
# with respect to the hole, if we pretend that a threshold has one (*straight-through*:
# forwards 0 or 1, backwards a sigmoid). We keep our toy and change the objective.
#
# - *free*: each pixel goes by itself, with a probability that is learned. Minimise the error
#   in the hole. A second form pays 0.05 for each unit of area away from 0.35.
# - *grey*: the hole is any number between 0 and 1, and hides as much of a pixel.
# - *through*: exact area, and the slope of the error, *through the inpainter*.
# - *hardest*: exact area, as much error as possible, as in adversarial training.
#
# Before you run it: what would you do, if you were each of them?


# %%
def free(score, image, draw, price=0.0):
    hole = cl.mining.free_holes(score + 2, draw)
    area = (hole.mean() - 0.35).abs()
    return (hole * toy_error(image, hole)).mean() + price * area


# %%
def grey(score, image, draw):
    hole = torch.sigmoid(-score - 2)
    return (hole * toy_error(image, hole)).sum() / hole.sum()


# %%
def through(score, image, draw):
    hole = cl.mining.straight_through(score, 0.35)
    return (hole * toy_error(image, hole)).sum() / hole.detach().sum()


def hardest(score, image, draw):
    hole = cl.mining.straight_through(score, 0.35)
    error = toy_error(image, hole.detach())
    usual = (hole.detach() * error).sum() / hole.detach().sum()
    return -(hole * (error - usual)).mean()


# %% tags=["nbval-ignore-output"]
from functools import partial

naive = {"free": free, "free, paid": partial(free, price=0.05), "grey": grey}
naive |= {"through": through, "hardest": hardest}
failed = {name: generator_of(objective) for name, objective in naive.items()}
toy |= {name: toy_facts(miner) for name, miner in failed.items()}
for name in naive:
    tell(name, toy[name])

# %%
would = {name: torch.sigmoid(-failed[name](test) - 2) for name in naive}
for name in ("free", "free, paid", "grey"):
    cl.claim(f"{name}: would hide under 1 % of a picture", would[name].mean() < 0.01)
cl.claim("free: no better than shuffled", toy["free"][0] > 0.95 * toy["free"][1])
alike = toy["free"][3] > 2 * 0.35 / 1.65
cl.claim("cut to 35 %: nearly the same hole for every picture", alike)
random = (toy_error(test, pool) * pool).sum() / pool.sum()
print(f"random holes: error {random:.3f}")
cl.claim("through: worse than random", toy["through"][0] > 1.2 * random)
cl.claim("hardest: worse still", toy["hardest"][0] > toy["through"][0])

# %%
rows = [mined, *(cl.mining.mined_holes(failed[k](test), 0.35) for k in naive)]
drawn = torch.cat([cl.pictures.hatched(test[:6], hole[:6]) for hole in rows], 2)
print("from above: expects,", ", ".join(naive), "(each cut to 35 %)")
cl.pictures.grid({f"toy {n + 1}": drawn[n : n + 1] for n in range(6)})

# %% [markdown]
# - *Free* finds the best answer to the question that was asked: no hole, no error. A price
#   for area must outweigh the error to change that; 0.05 does not. When all chances are
#   alike nothing is left to learn, and what remains hardly depends on the picture: cut to
#   35 %, it is **nearly the same hole for every picture**.
# - *Grey* cheats: a dot that weighs nothing. And a grey of 0.9 would hide nothing either.
#   One tenth of a pixel is left; an inpainter that learns can multiply it by ten.
# - *Through* asks which pixels the *inpainter* would rather not see. On our toy that is the
#   grain: it disturbs. It wins at the wrong game, and its holes are worse than random.
# - *Hardest* finds what nobody can know. From it, nothing can be learned.
#
# *Expects* plays none of these games. Its area is exact, so there is no empty hole; it is
# taught by errors under binary holes, so there is no leak; and nothing pays it for choosing.
#
# ## Real photos
#
# `miner` learned from `nearest_unet`, which was frozen: 900 steps of eight photos, half the
# holes random, half mined. We look at photos it has never seen, and measure with another
# inpainter, lesson 04's `partial_unet`: the *referee*, which never met it. Move the slider
# of training; compare the four holes. Where would you expect the mined hole?

# %%
explorer = cl.MiningExplorer(photo="rhinoceros", area=0.35)
explorer

# %%
referee = cl.zoo.load("partial_unet")
score = cl.zoo.load("miner")(photos)
mined = cl.mining.mined_holes(score, 0.35)
sets = {
    "mined": [mined],
    "shuffled": [mined.roll(by, 0) for by in (1, 4, 7)],
    "random": [irregular(20)],
    "hardest": [cl.mining.mined_holes(-score, 0.35)],
}
# %%
error = {
    name: sum(error_in(hole, photos, referee) for hole in each) / len(each)
    for name, each in sets.items()
}
for name, value in error.items():
    print(f"{name:9}: error {value:.4f}, {value / error['random'] - 1:+.0%} to random")

# %%
cl.claim("exact: 5734 of 16384 pixels", (mined.sum((1, 2, 3)) == 5734).all())
cl.claim("mined: under half of random", error["mined"] < 0.5 * error["random"])
cl.claim("and under six tenths of shuffled", error["mined"] < 0.6 * error["shuffled"])
cl.claim(
    "hardest: over a quarter more than random",
    error["hardest"] > 1.25 * error["random"],
)

# %% [markdown]
# Mined holes come in pieces; a random one is compact, so its middle is further from
# anything known. *Shuffled* says what that is worth: the same pieces on another photo have a
# tenth less error than random holes. The rest of the gain is knowledge of this photo.
#
# Three trainings each, and two of the naive objectives on photos (400 steps; *inside* is
# *through* without the slope through the network, each error seen from the mean of its
# hole). *Oracle* is mined from what the referee itself was measured to do, under 36 holes.

# %%
cells = cl.studies.load("miners").every
facts = ("mined", "shuffled", "random", "hardest", "oracle", "overlap")
print(" " * 12 + "".join(f"{fact:>10}" for fact in facts))
for name, cell in cells.items():
    print(f"{name:12}" + "".join(f"{cell['miner'][fact]:10.4f}" for fact in facts))


# %%
def each_seed(form, fact):
    every = [cells[f"{form} {seed}"]["miner"][fact] for seed in range(3)]
    return torch.tensor(every)


ours = {fact: each_seed("error map", fact) for fact in facts}
cl.claim("ours: under half of random", (ours["mined"] < 0.5 * ours["random"]).all())
level = (ours["mined"] < 1.05 * ours["oracle"]).all()
cl.claim("as good as the oracle's few measurements", level)
naive = {
    form: {fact: each_seed(form, fact) for fact in facts}
    for form in ("through", "inside")
}

# %%
for form, found in naive.items():
    worse = (found["mined"] > found["random"]).all()
    cl.claim(f"{form}: worse than random, each seed", worse)
    worse = (found["mined"] > found["shuffled"]).all()
    cl.claim("and worse on its own photo than on another", worse)
cl.claim("inside: two holes share over 60 %", naive["inside"]["overlap"].min() > 0.6)
cl.claim("two of ours under 30 %", ours["overlap"].max() < 0.3)

# %% [markdown]
# The generator reaches its oracle, which measured each pixel only about a dozen times and
# was smoothed; 161 photos and thousands of holes know as much. And *inside* shows the
# failure you would meet first in a real project: the same hole, whatever the photo.
#
# ### Nothing leaks, and no two need be alike
#
# The score is made before anything is hidden, so the hole may depend on what it hides. Is
# that a back door: could the shape of a hole *tell* the inpainter what is in it? The
# referee never met the generator, so it could not know the code. And what is under the
# hole, noise or NaN, changes no filled pixel:

# %%
noise = cl.hide(photos, mined, torch.rand(photos.shape, generator=draw))
with torch.no_grad():
    same = torch.equal(referee(noise, mined), referee(photos, mined))
cl.claim("noise under the hole: the same fill to the bit", same)

# %% [markdown]
# One photo would always get the same hole. Smooth noise on the score changes that. It is
# measured in the score's own unit: 0.5 makes a pixel look $e^{0.5}$ = 1.6 times as hard.

# %%
for noise in (0.0, 0.2, 0.5, 1.0):
    pair = [cl.mining.mined_holes(score, 0.35, noise, draw) for _ in range(2)]
    again = cl.mining.overlap(*pair).mean()
    error_now = sum(error_in(hole, photos, referee) for hole in pair) / 2
    print(f"noise {noise}: error {error_now:.4f}, overlap of two draws {again:.2f}")
cl.claim(
    "noise of 1: more variety, still below random",
    again < 0.5 and error_now < error["random"],
)

# %% [markdown]
# And the area need not be the same everywhere. A photo of sky can lose more than one of a
# crowd: take the easiest pixels while the *mean expected error* stays within a budget,
# and keep between 10 and 60 % (exercise 09.4).

# %%
budget = cl.mining.budgeted_holes(score, 0.04, low=0.1, high=0.6)
areas = cl.holes.ratio(budget)
print(f"areas from {areas.min():.0%} to {areas.max():.0%}, mean {areas.mean():.0%}")
print(f"error {error_in(budget, photos, referee):.4f}")
cl.claim("some photos give six times as much as others", areas.max() > 5 * areas.min())
pick = [int(areas.argmin()), int(areas.argmax())]
print("the photo that gives least, and the one that gives most")
shown = cl.pictures.hatched(photos[pick], budget[pick])
cl.pictures.grid({f"{areas[k]:.0%}": shown[n : n + 1] for n, k in enumerate(pick)})

# %% [markdown]
# ## Train one
#
# A generator begins, beside the same frozen inpainter. `ci` takes 8 steps. Two curves: the
# generator's loss, and the error in its own holes. Which falls below the error of random
# holes, and when?

# %%
torch.manual_seed(run.seed)
miner = cl.networks.MaskGenerator().to(run.device)
network = network.to(run.device)
accelerator = cl.training.accelerator(run)
optimizer = accelerator.prepare(torch.optim.Adam(miner.parameters(), lr=2e-3))


# %%
def step(batch):
    """Half of the holes mined; the errors under all of them teach."""
    image, hole = batch
    half, score = len(image) // 2, miner(image)
    mined = cl.mining.mined_holes(
        score[:half], cl.holes.ratio(hole[:half]), 0.2, noises
    )
    hole = torch.cat([mined, hole[half:]])
    with torch.no_grad():
        error = cl.mining.pixel_error(network(image, hole), image)
    loss = cl.mining.error_map_loss(score, error, hole)
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    each = (error * hole).sum((1, 2, 3)) / hole.sum((1, 2, 3))
    return {"loss": loss, "mined": each[:half].mean(), "random": each[half:].mean()}


# %%
def batches(draw, crops):
    """Endless pairs: crops of photos, strokes."""
    while True:
        image = crops.crops(run.batch, run.size, draw)
        yield image, cl.holes.strokes(run.batch, run.size, draw)


def now():
    """The hole that the generator in training would cut into one photo."""
    hole = cl.mining.mined_holes(miner(photos[:1].to(run.device)), 0.35)
    return cl.hide(photos[:1].to(run.device), hole, 0.5)


noises = run.generator("noises")
view = cl.TrainingView(now)
view

# %% tags=["nbval-ignore-output"]
data = batches(run.generator("training"), cl.photos.collection("train", limit=48))
options = {"accelerator": accelerator, "watch": view, "state": {"miner": miner}}
history = cl.training.fit(step, data, steps=run.steps, **options)
print(history)
view.still()

# %% [markdown]
# ## Does it train a better inpainter?
#
# That is what the idea is for. One small U-Net, *nearest* of lesson 08's study, with the
# same budget of 900 steps, three seeds; only whose holes it trains with differs. The
# generator learns beside it. *Random*: no mined holes. *Mixed*: half. *Mined*: all.
# *Curriculum*: all at first, none at last. *Hardest*: half are the hardest. All are tested
# on the 240 random holes of every lesson, and on *easy* ones, mined from the referee's
# measured errors. What do you bet on?

# %%
study = cl.studies.load("mining")
print(study)
print("\nerror in the easy holes, each seed")
for form in study.forms:
    print(f"{form:11}", *(f"{cell['easy']:.4f}" for cell in study.of(form)))

# %%
others = [form for form in study.forms if form != "random"]
gain = {form: study.ahead(form, of="random") for form in others}
for form, each in gain.items():
    print(f"{form:11}", *(f"{100 * value:+5.1f} %" for value in each), "less error")
best = [form for form in others if (gain[form] > 0).all()]
cl.claim("none is ahead of random holes on every seed", not best)


# %%
def easy(form):
    return torch.tensor([cell["easy"] for cell in study.of(form)])


on_easy = {form: 1 - easy(form) / easy("random") for form in others}
better = [form for form, each in on_easy.items() if (each > 0).all()]
print("less error in the easy holes on every seed:", ", ".join(better))
cl.claim("on the easy ones only the curriculum", better == ["curriculum"])
cl.claim("by under 3 %", on_easy["curriculum"].max() < 0.03)
cl.claim("all mined: over 2.5 % more on random ones", gain["mined"].max() < -0.025)

# %% [markdown]
# So here the answer is **no**. Whoever trains with mined holes fills random ones no better;
# with mined holes alone, worse on every seed. On the easy ones the *curriculum* is ahead, by
# 0.2 to 2.9 %. Two reasons offer themselves, and we tested neither: where a guess is easy
# little is left to learn; and steps with mined holes are not spent on random ones, of
# which the test is made. A longer training might judge otherwise. Lesson 10 asks again, with
# learned sampling.
#
# What the generator *can* do it does well: it says which pixels an inpainter can be
# trusted with, before anybody hides them.
#
# ## What we do not know
#
# - **The paper's generator.** We know its abstract; theirs may be another thing.
# - **A long training.** 900 steps are few; the networks still learn a lot from any hole.
# - **Other tests**: on people's own holes, objects to be removed, ease may matter more.
# - **Why *inside* fails** on photos. Its scores grow until the sigmoid has no slope; a
#   lower rate or another temperature may save it.
# - **A GPU**: no timing.
#
# ## Exercises
#
# ### Exercise 09.1 · The easiest pixels
#
# *Warm up · difficulty 1 of 3 · 5 minutes*
#
# An exact area: where scores are equal, a threshold is not enough.
#
# <details><summary>Hint 1</summary>
#
# Flatten each picture to a row. Which call returns places in the order of their values?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `argsort(dim=1, stable=True)`, its first `round(...)` columns; `scatter` a 1 there.
#
# </details>


# %% tags=["exercise-09.1"]
def lowest(score: torch.Tensor, ratio: float) -> torch.Tensor:
    """The easiest pixels of each picture: a hole of exactly the area asked for.

    ``score`` (N, 1, H, W) is low where a hidden pixel is expected to be easy. ``ratio``
    is from 0 to 1. Returns the hole (N, 1, H, W), of the dtype of ``score``: in each
    picture 1 at exactly round(ratio * H * W) pixels, those of lowest score, 0
    elsewhere. Of equal scores the first in reading order go missing: row by row, each
    from left to right.
    """
    raise NotImplementedError


lowest = cl.check("09.1", lowest)

# %% [markdown]
# ### Exercise 09.2 · What the score learns
#
# *Build · difficulty 2 of 3 · 15 minutes*
#
# Only hidden pixels have an error. Elsewhere the check puts NaN, and it looks at
# gradients.
#
# <details><summary>Hint 1</summary>
#
# The derivative by s is 1 − e · exp(−s): zero at s = log e. Which input is a fact,
# without a gradient?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Use `torch.where` **before** `exp`: a NaN chosen away afterwards spoils the gradient.
#
# </details>


# %% tags=["exercise-09.2"]
def error_map_loss(
    score: torch.Tensor, error: torch.Tensor, hole: torch.Tensor
) -> torch.Tensor:
    """What teaches a score to be the logarithm of the error that it should expect.

    All are (N, 1, H, W). ``error`` e, at least 0, is what an inpainter missed each
    pixel by; ``score`` s is the guess, made before. Take e * exp(-s) + s at each pixel,
    the mean over the pixels of a picture's hole (1 = missing), and then the mean over
    all pictures; one without a hole adds 0 to it. Returns a tensor without dimensions.

    Nothing outside the hole is read: scores and errors may be NaN or infinite there.
    The gradient reaches ``score`` alone, is finite, and 0 outside the hole; none
    reaches ``error``.
    """
    raise NotImplementedError


error_map_loss = cl.check("09.2", error_map_loss)

# %% [markdown]
# ### Exercise 09.3 · The same hole every time?
#
# *Analyse · difficulty 1 of 3 · 10 minutes*
#
# First guess what two holes of area 0.35 share by chance. What would 1 mean for two
# photos?
#
# <details><summary>Hint 1</summary>
#
# Missing in both: a product. In at least one: a maximum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# By chance 0.35² of the picture is in both: 0.1225 / 0.5775 = 0.21. A generator that
# ignores its photo gets 1.
#
# </details>


# %% tags=["exercise-09.3"]
def overlap(hole: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How alike two holes are: the part of their union that both have, per picture.

    Both are (N, 1, H, W), 1 = missing, 0 = known. For each picture, count the pixels
    that are missing in both, and those missing in at least one; returns the first count
    divided by the second, (N,), of the dtype of ``hole``. 1 = the same hole, 0 = no
    pixel in common, NaN = both are empty.
    """
    raise NotImplementedError


overlap = cl.check("09.3", overlap)

# %% [markdown]
# ### Exercise 09.4 · As large as it may be
#
# *Build · difficulty 3 of 3 · 15 minutes*
#
# A budget gives an easy photo a larger hole.
#
# <details><summary>Hint 1</summary>
#
# Sort. The mean of the easiest 1, 2, 3, ... never falls: count how often it fits.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Divide `exp().cumsum(1)` by `torch.arange(1, area + 1)`, count, `clamp`, then scatter
# `rank <= size` to the sorted places.
#
# </details>


# %% tags=["exercise-09.4"]
def budgeted(
    score: torch.Tensor, budget: float, low: float, high: float
) -> torch.Tensor:
    """A hole in each picture, as large as the error expected in it allows.

    ``score`` (N, 1, H, W) is the logarithm of the expected error: exp(score) is what a
    hidden pixel is expected to be missed by. Pixels go missing from the lowest score
    up; of equal scores the first in reading order. Each picture has a hole of its own
    size, the largest in which the mean of exp(score) is at most ``budget``; but never
    fewer than round(low * H * W) pixels, whatever their error, and never more than
    round(high * H * W), with 0 <= low <= high <= 1.

    Returns the holes (N, 1, H, W), 1 = missing, of the dtype of ``score``.
    """
    raise NotImplementedError


budgeted = cl.check("09.4", budgeted)

# %% [markdown]
# ### Exercise 09.5 · The control
#
# *Stretch · difficulty 3 of 3 · 20 minutes*
#
# Is it the fit to the photo, or the shape? Give mined holes to other photos.
#
# <details><summary>Hint 1</summary>
#
# Write the error for any holes; call it for `hole` and for rolled ones. Which shifts
# roll nothing?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `cl.hide(image, hole, torch.nan)`, `torch.no_grad()`; and `with
# cl.networks.reading.evaluating(network):` gives every part its mode back.
#
# </details>


# %% tags=["exercise-09.5"]
def judge(
    network: torch.nn.Module,
    image: torch.Tensor,
    hole: torch.Tensor,
    shifts: tuple[int, ...],
) -> tuple[float, float]:
    """How well ``network`` fills mined holes, and the same holes on other photos.

    ``image`` is (N, 3, H, W), ``hole`` (N, 1, H, W), 1 = missing, none of them empty.
    ``network(image, hole)`` predicts a picture; it must be given NaN for every pixel
    under the hole. The error of a picture is the mean, over the pixels of its hole and
    over the colours, of abs(prediction - image); outside the hole a prediction may be
    NaN. Every ``shift`` gives hole k to picture k + shift: ``hole.roll(shift, 0)``. One
    that gives each picture its own hole again, as 0 and N do, is left out.

    Returns two floats, means over the pictures: the error in the holes as they are, and
    the mean over the shifts of the error in rolled holes. The network works in
    evaluation mode and without gradient, and is left exactly as it was.
    """
    raise NotImplementedError


judge = cl.check("09.5", judge)

# %% [markdown]
# ## Self-quiz
#
# **1.** A generator is paid for low error, and its area is free. What does it make?
#
# <details><summary>Answer</summary>
#
# Empty holes: nothing hidden, nothing missed. The area must be exact for every picture;
# a mean over the batch leaves a way out.
#
# </details>
#
# **2.** Why not train on the hardest holes instead?
#
# <details><summary>Answer</summary>
#
# The largest errors are at noise and sharp edges, which known pixels do not tell: no
# inpainter can learn them.
#
# </details>
#
# **3.** Mined holes beat random ones. Why also give them to other photos?
#
# <details><summary>Answer</summary>
#
# Shape and area alone explain a part of it. Only what shuffling loses comes from the
# fit to the photo.
#
# </details>
#
# **4.** No gradient reaches the generator through the inpainter. What is gained?
#
# <details><summary>Answer</summary>
#
# It could place holes as signals, or leave tell-tale neighbours, and help the inpainter
# cheat. With errors as mere facts it can only predict them.
#
# </details>

# %% [markdown]
# ## Summary
#
# How hard a hidden pixel will be can be seen before it is hidden. A generator learns it as
# a prediction, from errors under any hole; sorted, its scores make holes of exact area.
# They have less than half the error of random ones, and most of that is knowledge of the
# photo: on other photos the same holes lose it. Objectives that *pay* a generator make
# holes of nothing, of grey, or worse than chance. The exact area closes the first door,
# binary holes the second, and that no slope runs through the inpainter the third. Trained
# with mined holes, our small inpainter filled random ones no better.
#
# Next: every idea of this course on one ladder.
#
# ## References
#
# - Cai, Zeng, Yang, Jia, Lu and He, *Deformable Dynamic Sampling and Dynamic Predictable
#   Mask Mining for Image Inpainting*, IEEE TNNLS 35(12), 2024 (the abstract).
# - A. Kendall, Y. Gal, [What Uncertainties Do We Need in Bayesian Deep Learning for
#   Computer Vision?](https://arxiv.org/abs/1703.04977), NeurIPS 2017: an error that a
#   network expects of itself.
# - Y. Bengio, N. Léonard, A. Courville, [Estimating or Propagating Gradients Through
#   Stochastic Neurons](https://arxiv.org/abs/1308.3432), 2013: straight-through.
# - In the library: [mining.py](../course_lib/mining.py),
#   [mask_generator.py](../course_lib/networks/mask_generator.py) and
#   [mining_explorer.py](../course_lib/widgets/mining_explorer.py).
