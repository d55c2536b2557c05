# %% [markdown]
# # Start here: fill a hole
#
# ![A photo of an ibex with hatched strokes over its face and flank, and four fills of that hole side by side: one flat colour, a smooth membrane, Telea's streaks, and a small network](../assets/figures/00_start_here.png)
#
# By the end you will have painted a hole into a photo, filled it in four ways, and found
# out why the fill with the best score is not the fill you would hang on the wall.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | paint a hole and fill it<br>write two fills yourself, and prove them right<br>say what the most quoted score, PSNR, rewards, and why<br>know how every lesson of this course works |
# | **Minutes** | read 33 · run 1 · practise 30 |
# | **Before you start** | nothing but Python and a little PyTorch: tensors, indexing |
# | **Cost** | ci 40 s · laptop 40 s · gpu not measured |

# %% [markdown]
# Press **Shift + Enter** to run a cell and move on to the next. The first is the same in
# every lesson: it loads the course's library and finds out where we are running.

# %%
import torch

import course_lib as cl

run = cl.start("00")

# %% [markdown]
# `run` holds everything that depends on your machine. It has one of three *profiles*:
# `ci` (seconds, for automatic tests), `laptop` (at most about two minutes a lesson) and
# `gpu` (longer, on larger pictures). You may choose one with `cl.start("00", profile="laptop")`.
# Nothing you read below changes with it, except how long networks train (*steps*), on
# how many pictures at a time (*batch*) and on how large ones (*px*).

# %% tags=["nbval-ignore-output"]
print(run)

# %% [markdown]
# ## The problem
#
# *Inpainting* means: some pixels of a picture are missing; invent them so that nobody
# notices. Two tensors describe the task, here and in all lessons:
#
# - `image`, shape `(N, 3, H, W)`, colours from 0 to 1;
# - `hole`, shape `(N, 1, H, W)`, **1 = missing, 0 = known**, nothing between.
#
# But first, paint. Choose a photo or your own, paint over what should disappear, and
# watch it being filled; *filled by* chooses among four fills, which the lesson explains one
# by one (*harmonic* is a smooth membrane). With the keyboard, the arrows move the brush and
# Space paints.

# %%
network, card = cl.zoo.load("plain_unet"), cl.zoo.card("plain_unet")
four = {
    "mean": cl.fills.mean,
    "harmonic": cl.fills.harmonic,
    "Telea": cl.fills.telea,
    "network": network,
}
names = ["nubian_ibex", "sheep", "lincolnmemorial", "scarlet_macaw", "pika"]
scratch = cl.holes.strokes(
    1, 256, run.generator("scratch 62"), per_picture=(1, 1), width=(0.05, 0.07)
)
painter = cl.HolePainter(names, four).look(scratch, fill="harmonic")
painter

# %% [markdown]
# Three things to try: a thin scratch (brush 4 px; which fills hide it?), a hole as wide
# as the animal (what does each fill put there?), and the columns of the Lincoln Memorial
# (can any fill carry a straight edge across?). *Compare all fills* shows the four at
# once. What you painted is a tensor in the next cell.
#
# <details><summary>What we saw</summary>
#
# The scratch: all but the mean hide it. The animal: none draws one; a flat colour, a blur,
# streaks, a pinkish fog. The columns: none carries them across.
#
# </details>

# %%
print(painter)
print(f"{int(painter.hole.sum())} missing pixels of {painter.hole.numel()}")

# %% [markdown]
# From here on everybody looks at the same hole. It hides an ibex's face, parts of its
# flank and a patch of the plain. Ask yourself what belongs under the hatching.

# %%
image = cl.photos.square(cl.photos.load("nubian_ibex"), 192)
hole = cl.holes.strokes(1, 192, run.generator("hole 57"), width=(0.1, 0.12))
print(f"image {tuple(image.shape)}, from {image.min():.2f} to {image.max():.2f}")
print(f"hole {tuple(hole.shape)}, missing: {hole.mean():.1%}")
cl.claim("the hole hides the face", hole[..., 36:80, 55:85].mean() > 0.75)
cl.pictures.grid({"the photo": image, "its hole": cl.pictures.hatched(image, hole)})

# %% [markdown]
# You probably saw a muzzle and an eye, continued the outline of the neck, and drew hair.
# You used three things: the colours *next to* the hole, the lines that *enter* it, and
# what you *know* about animals. The fills have the first, some of the second, and very
# little of the third. How far does that get them?

# %% [markdown]
# ## By hand
#
# Take a grey picture of 4 × 4 pixels, dark on the left, bright on the right, with two
# missing pixels. `-1` marks them: there is *nothing* there, and a fill must not look.
# (The truth below the gap is 20 and 60, as in the rows around it.)

# %%
grey = torch.tensor([[10, 20, 60, 70]] * 4, dtype=torch.float64)
gap = torch.zeros(4, 4, dtype=torch.float64)
gap[1, 1] = gap[1, 2] = 1
print(torch.where(gap.bool(), -1, grey).int())

# %% [markdown]
# **Fill 1, the mean.** Every missing pixel gets the mean of all known ones. There are 14
# known pixels; they sum to 560.

# %%
known = grey[gap == 0]
print(f"{known.sum():.0f} / {known.numel()} = {known.mean():.0f}")
print(torch.where(gap.bool(), known.mean(), grey).int())

# %% [markdown]
# 40 appears nowhere in this picture: the mean is too bright on the left and too dark on
# the right. It ignores *where* the hole is.
#
# **Fill 2, the membrane.** Each missing pixel shall be the mean of its four neighbours.
# Call the two unknowns $a$ (left) and $b$ (right). Above, below and beside them we read
# 20, 20, 10 and 60, 60, 70, and each is the other's neighbour:
#
# $$4a = 20 + 20 + 10 + b \qquad 4b = 60 + 60 + 70 + a$$
#
# Two equations, two unknowns. Four times the first plus the second is
# $16a + 4b = 200 + 4b + 190 + a$, so $15a = 390$; likewise $15b = 810$.

# %%
matrix = torch.tensor([[4, -1], [-1, 4]], dtype=torch.float64)
a, b = torch.linalg.solve(matrix, torch.tensor([50, 190], dtype=torch.float64))
print(f"a = {a:.0f}, b = {b:.0f}")
cl.claim(
    "the membrane is nearer to the truth (20, 60) than the mean",
    (a - 20).abs() < 20 and (b - 60).abs() < 20,
)

# %% [markdown]
# The membrane is what a soap film does in a wire frame. Its name in the field, and in our
# tables, is **harmonic**. A hole of $k$ pixels gives $k$ equations like the two above.

# %% [markdown]
# ## Naive code
#
# The mean first, as plainly as it can be said: loop over all pixels, add up the known
# ones, put the mean into the others.


# %%
def mean_naive(image, hole):
    """(3, H, W) and (H, W), 1 = missing -> (3, H, W); loops over every pixel."""
    filled = image.clone()
    for channel in range(3):
        total, count = 0.0, 0
        for y in range(hole.shape[0]):
            for x in range(hole.shape[1]):
                if hole[y, x] == 0:
                    total += image[channel, y, x].item()
                    count += 1
        filled[channel][hole == 1] = total / count
    return filled


# %% [markdown]
# The membrane without solving equations: start anywhere, and replace each missing pixel
# by the mean of its neighbours, again and again. Pixels at the edge of the picture have
# three neighbours or two. This is Jacobi's method from 1845.


# %%
def neighbours_mean(values, y, x):
    """Mean over the pixels above, below, left and right that lie in the picture."""
    height, width = values.shape
    near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    inside = [(i, j) for i, j in near if 0 <= i < height and 0 <= j < width]
    return sum(values[i, j] for i, j in inside) / len(inside)


def harmonic_naive(values, hole, sweeps):
    """(H, W) and (H, W), 1 = missing -> (H, W); starts from zero in the hole."""
    now = torch.where(hole.bool(), 0, values)
    for _ in range(sweeps):
        after = now.clone()
        for y, x in hole.nonzero().tolist():
            after[y, x] = neighbours_mean(now, y, x)
        now = after
    return now


# %% [markdown]
# On the picture from above it should creep towards 26 and 54. Watch the larger of the two
# errors: each sweep divides it by four. (The wider a hole, the less a sweep achieves.)

# %%
for sweeps in range(6):
    found = harmonic_naive(grey, gap, sweeps)[1]
    error = max(abs(26 - found[1]), abs(54 - found[2]))
    print(f"{sweeps} sweeps: {found[1]:7.3f} {found[2]:7.3f}, error {error:.3f}")

# %% [markdown]
# ## The library's version
#
# Nobody loops over pixels in Python. In tensors the mean takes three lines (the first two
# check the input and make room for large sums). Note `torch.where` in `hide`: it *selects*. Multiplying by `1 - hole` would look the same, until the
# day a hidden pixel holds NaN, because NaN × 0 is NaN.

# %%
cl.show_source(cl.fills.mean)
cl.show_source(cl.hide)

# %% [markdown]
# For the membrane, the library writes all $k$ equations into one sparse matrix and
# solves them at once, exactly. Is it the same as our loops? We check both fills on a
# random picture, in double precision; then NaN appears under the hole.

# %%
noise = torch.rand(1, 3, 12, 12, generator=run.generator("check"), dtype=torch.float64)
spot = cl.holes.rectangles(1, 12, run.generator("spot")).double()
by_loop = mean_naive(noise[0], spot[0, 0])
gap_mean = (by_loop - cl.fills.mean(noise, spot)[0]).abs().max()
swept = harmonic_naive(noise[0, 0], spot[0, 0], sweeps=400)
gap_harmonic = (swept - cl.fills.harmonic(noise, spot)[0, 0]).abs().max()
cl.claim("mean: loops and library agree to 1e-12", gap_mean < 1e-12)
cl.claim("harmonic: loops and library agree to 1e-9", gap_harmonic < 1e-9)

# %%
fills = {name: four[name] for name in ("mean", "harmonic", "Telea")}
spoiled = cl.hide(image, hole, float("nan"))
for name, fill in four.items():
    same = torch.equal(fill(image, hole), fill(spoiled, hole))
    cl.claim(f"{name}: NaN under the hole changes nothing", same)

# %% [markdown]
# That last property runs through the whole course: **what the hole hides never leaks.**
# A method that peeks looks brilliant in its tables and fails on the first real photo.

# %% [markdown]
# ## Look inside: the four side by side
#
# *Telea* (2004) marches inwards from the rim and carries colours along. The network is a
# small *U-Net*, which shrinks a picture to see far and enlarges it again (lesson 03 builds
# it); it has seen 161 photos with holes and was asked to guess. What do you expect of it:
# sharper than the membrane, or not?
#
# All pictures are *composites*: known pixels are copied, bit for bit, and only the hole is
# new.

# %%
fills["network"] = network
steps = sum(stage["steps"] for stage in card["steps"])
print(f"{card['parameters']:,} parameters, {steps:,} steps of training")
print(f"trained on {card['data']}: {card['minutes']:.0f} minutes, {card['device']}")
filled = {n: cl.composite(f(image, hole), image, hole) for n, f in fills.items()}
errors = {n: cl.evaluation.hole_l1(f, image, hole).item() for n, f in filled.items()}
for name, value in errors.items():
    print(f"{name:9} mean absolute error in the hole {value:.3f}")
ranks = sorted(errors, key=errors.get)
cl.claim("on this hole the network is third", ranks.index("network") == 2)
close_up = {name: result[..., 30:158, 30:158] for name, result in filled.items()}
cl.pictures.grid(close_up, scale=1.55)

# %% [markdown]
# Look closely. The **mean** leaves a flat scar: it knows the colours of the photo and
# nothing of the place. The **membrane** meets the rim without a seam and is smooth in
# between: a blur with the right colours. **Telea** pulls streaks inwards that collide in
# the middle. The **network** continues the large shapes: its flank ends in a soft edge,
# near where the chest was: a little sharper there than the membrane, and nowhere else. Where it
# is unsure it paints fog, below the chest even pink fog. Its error is larger than those of the membrane and Telea; so far on one hole.

# %% [markdown]
# ## Train
#
# Where does such a network come from? From many small corrections. Here a much smaller
# one takes `run.steps` of them, on crops with random holes; the shipped one took
# as many as are printed above, and its loss counts the hole more than what is known.
# Lesson 03 explains every line; for now, read `step`: predict, compare, correct. (The
# network is handed the clean picture, and the first thing it does is hide the hole: it
# never sees what is missing.)

# %%
torch.manual_seed(run.seed)
small = cl.networks.UNet(channels=(16, 32, 64), kernels=(5, 5, 3)).to(run.device)
optimizer = torch.optim.Adam(small.parameters(), lr=2e-3)
crops = cl.photos.collection("train", limit=24)
draw = run.generator("training")


def batches():
    """Endless pairs (image, hole) from the training photos."""
    while True:
        clean = crops.crops(run.batch, run.size, draw)
        yield clean, cl.holes.strokes(run.batch, run.size, draw)


def step(batch):
    """Predict, compare, correct."""
    clean, missing = (part.to(run.device) for part in batch)
    loss = (small(clean, missing) - clean).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"L1": loss}


# %% tags=["nbval-ignore-output"]
history = cl.training.fit(step, batches(), steps=run.steps)
curve = history.losses["L1"]
print(f"L1 of the first step {curve[0]:.3f}, of step {history.steps} {curve[-1]:.3f}")

# %% [markdown]
# A handful of steps teaches next to nothing; in the profile `laptop` watch the number
# fall, and with a GPU let it run.

# %% [markdown]
# ## Experiment: which fill is best?
#
# One hole proves nothing. We take 20 photos that no network was trained on, lay holes of 1 to
# 60 % on each of them, sorted by size into six *buckets* (up to 10 %, 10 to 20 % and so on), and
# score the four fills with measures that papers print:
#
# - **hole L1**: mean absolute error over the missing pixels, less is better;
# - **PSNR** $= -10\log_{10}(\text{mean squared error})$ in decibels: an error of 0.1
#   everywhere gives 20 dB, 0.01 gives 40 dB, more is better; *hole PSNR* counts only the
#   missing pixels;
# - **SSIM**: similarity of local means, contrasts and patterns, 1 is equal;
# - **seam**: how much harder the edge at the rim is than in the truth; 0 is right, below it
#   the rim is too smooth.
#
# Each method receives pictures with NaN under the hole: peeking is impossible. Watch what
# happens to one that "fills" by returning the picture it was given.

# %%
bench = cl.holes.benchmark(128, per_cell=20)
photos = cl.photos.squares("evaluation", 128)
try:
    cl.evaluation.evaluate({"peek": lambda image, hole: image}, photos, bench)
except cl.evaluation.MethodError as error:
    print(error)

# %%
measures = ("hole_l1", "hole_psnr", "psnr", "ssim", "seam")
table = cl.evaluation.evaluate(fills, photos, bench, measures)
print(f"{len(bench)} holes on {len(photos)} photos")
print(table)


# %%
def mean_of(metric):
    """Method -> its mean over all holes."""
    return {name: table.mean(name, metric) for name in fills}


l1, psnr, seam = mean_of("hole_l1"), mean_of("psnr"), mean_of("seam")
cl.claim("the mean fill has the lowest PSNR", min(psnr, key=psnr.get) == "mean")
cl.claim("the mean fill has the most visible seam", max(seam, key=seam.get) == "mean")
cl.claim("the membrane has the highest PSNR", max(psnr, key=psnr.get) == "harmonic")
cl.claim("the network beats Telea in PSNR", psnr["network"] > psnr["Telea"])
cl.claim("the network has the smallest hole L1", min(l1, key=l1.get) == "network")
least = min(seam, key=lambda name: abs(seam[name]))
cl.claim("and the seam nearest to 0", least == "network")
for metric in ("hole_psnr", "ssim"):
    found = mean_of(metric)
    best = max(found, key=found.get)
    cl.claim(f"the membrane has the highest {metric}", best == "harmonic")

# %% [markdown]
# Five measures, two winners, both by a little. In hole L1 it is the network, third on the
# ibex: it was trained to make this error small; its seam is the least, too. In both PSNRs
# and in SSIM it is the membrane: an equation, no learning, nothing known about animals. Does it depend on the size of the hole?

# %%
print(table.by_bucket("hole_psnr"))
membrane, learned = table.rows["harmonic"], table.rows["network"]
lead = (membrane["hole_psnr"] - learned["hole_psnr"]).mean(1)
less = (membrane["hole_l1"] - learned["hole_l1"]).mean(1)
cl.claim("to 30 % the membrane leads by more than 0.2 dB", lead[:3].min() > 0.2)
cl.claim("above 30 % they are within 0.1 dB", lead[3:].abs().max() < 0.1)
cl.claim("and there the network's hole L1 is smaller", less[3:].min() > 0)

# %% [markdown]
# In a small hole the neighbours say nearly everything, and the membrane listens to
# nothing else. The larger the hole, the less they say, and the network, which has seen
# other pictures, draws level. It is a small one, and had the minutes printed above on a
# processor without a GPU; lesson 03 builds it and shows where it fails.
#
# But is the membrane, or the network, a fill you would choose? Look again at the four
# pictures above.

# %% [markdown]
# ## What PSNR rewards
#
# Time for the honest failure, and this time the *measure* fails. A bison stands on a
# meadow, and we cut a square out of the grass. Fill A is the membrane. Fill B copies
# grass from 130 pixels to the left. Beside PSNR we read the **VGG** distance: how different
# two pictures look to a network that classifies photos, 0 is equal. Which fill would you
# hang on the wall, and which one will have the better PSNR?

# %%
meadow = cl.photos.square(cl.photos.load("bison"), 256)
cut = torch.zeros(1, 1, 256, 256)
cut[..., 190:254, 150:214] = 1
smooth = cl.fills.harmonic(meadow, cut)
copied = cl.composite(meadow.roll(130, dims=-1), meadow, cut)
scores = {}
for name, result in {"A, membrane": smooth, "B, copied grass": copied}.items():
    found = cl.evaluation.score(result, meadow, cut)
    scores[name[0]] = found
    print(
        f"{name:16} hole PSNR {found.hole_psnr.item():5.2f} dB, "
        f"VGG {found.vgg.item():.4f}"
    )
cl.pictures.grid({"hole": cl.pictures.hatched(meadow, cut), "A": smooth, "B": copied})

# %% [markdown]
# B is hard to find, unless you spot the pale tuft that now stands there twice; A is a
# blurred patch. PSNR prefers A by more than four decibels; the VGG distance prefers B.
#
# Why? Call the true grass $t$ and the copied grass $c$: two random textures with the same
# mean $\mu$ and variance $\sigma^2$, independent of each other; $E$ is the average over
# many pixels. The flat fill $\mu$ has the error $E[(t-\mu)^2] = \sigma^2$. For the perfect
# but independent texture the mixed term averages out:
#
# $$E[(t-c)^2] = E[(t-\mu)^2] + E[(c-\mu)^2] = 2\sigma^2$$
#
# Twice as much: $10\log_{10}2 = 3.01$ dB **less for being realistic**. On pure noise we
# should find just this number. On the meadow there is more. Why: is the copied grass of
# another colour, or of another variance?

# %%
texture = run.generator("texture")
true, other = torch.randn(2, 1_000_000, generator=texture, dtype=torch.float64)
flat_error, real_error = true.square().mean(), (true - other).square().mean()
loss = 10 * torch.log10(real_error / flat_error)
cl.close("decibels lost by a perfect texture", loss, 3.01, 0.02)
lost = (scores["A"].hole_psnr - scores["B"].hole_psnr).item()
cl.claim("on the meadow PSNR prefers the blur by more than 4 dB", lost > 4)
square = (..., slice(190, 254), slice(150, 214))
grass = [meadow[square], copied[square]]
offset = (grass[0] - grass[1]).mean((2, 3)).square().mean()
variance = [patch.var((2, 3)).mean() for patch in grass]
print(f"variance {variance[0]:.4f}, of the copy {variance[1]:.4f}", end=", ")
print(f"squared difference of their colours {offset:.4f}")
cl.claim("the copy varies 1.3 times as much", variance[1] > 1.3 * variance[0])
cl.claim("the colour adds under 2 %", offset < 0.02 * variance[0])
cl.claim("the VGG distance prefers the grass", bool(scores["B"].vgg < scores["A"].vgg))

# %% [markdown]
# The variance: the copy has rougher grass than the truth.
#
# So a network that is trained to make the squared error small learns to paint the mean
# of everything that could be there: fog. L1 is no way out: its best guess is the median of
# all answers (exercise 00.3), fog as well. This explains half of the course. Lesson 02
# takes losses apart, lessons 05 and 06 train a critic that punishes fog, lesson 06 copies
# grass on purpose. And it is why no *network* in this course is judged by PSNR alone.

# %% [markdown]
# ## How the lessons work
#
# - `cl.claim` prints a ✓, and *raises* when the statement is false; `cl.close` does the same
#   for a number that differs a little between processors. All notebooks run in automatic
#   tests, so nothing with a ✓ can rot unnoticed.
# - `cl.show_source` shows the library's own code. What you read is what runs.
# - In an exercise, replace `raise NotImplementedError` and run the cell: the check says at
#   once whether your answer is right, and where it is not. An empty answer is no error:
#   the lesson goes on with the reference answer, so *Run All* always works.
#   `cl.progress()` shows what you have passed so far.
# - Everything that you can drag or paint in (an *explorer*) has a picture beside it, for
#   readers without a kernel.

# %% [markdown]
# ## Exercises
#
# ### Exercise 00.1 · Put the known pixels back
#
# *Warm up · difficulty 1 of 3 · 3 minutes*
#
# A network predicts every pixel; only those in the hole may be used.
#
# <details><summary>Hint 1</summary>
#
# `torch.where(condition, a, b)` takes `a` where the condition is true.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The hole has one channel and broadcasts over three; `hole.bool()` is the condition.
#
# </details>


# %% tags=["exercise-00.1"]
def put_back(
    prediction: torch.Tensor, image: torch.Tensor, hole: torch.Tensor
) -> torch.Tensor:
    """The prediction where the hole is 1, the image where it is 0.

    Shapes (N, 3, H, W), (N, 3, H, W), (N, 1, H, W). The image may hold NaN under the
    hole and the prediction NaN outside it: none of them may reach the result.
    """
    raise NotImplementedError


put_back = cl.check("00.1", put_back)

# %% [markdown]
# ### Exercise 00.2 · The mean fill, for a batch
#
# *Build · difficulty 2 of 3 · 8 minutes*
#
# Our loops took one picture. Write the mean fill for a batch in which every picture has
# its own hole, without a loop.
#
# <details><summary>Hint 1</summary>
#
# Sum over height and width with `.sum((2, 3), keepdim=True)`, after the hidden pixels
# have been replaced by 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# How many pixels are known in *each* picture? Divide the sums by that many, and finish
# with `torch.where`.
#
# </details>


# %% tags=["exercise-00.2"]
def mean_fill(image: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Fill each picture's hole with the mean colour of its own known pixels.

    Shapes (N, 3, H, W) and (N, 1, H, W), 1 = missing. Hidden pixels may hold NaN. Each
    picture has at least one known pixel. Known pixels are returned unchanged.
    """
    raise NotImplementedError


mean_fill = cl.check("00.2", mean_fill)

# %% [markdown]
# ### Exercise 00.3 · The best constant
#
# *Analyse · difficulty 2 of 3 · 7 minutes*
#
# You may paint the whole hole in *one* grey value, and you know the true pixels. Which
# value makes the mean squared error smallest, and which the mean absolute error? (PSNR
# is the first in disguise; L1 is the second.)
#
# <details><summary>Hint 1</summary>
#
# Set the derivative of the mean of $(t - c)^2$ with respect to $c$ to zero.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The derivative of $|t - c|$ is +1 or -1: the best $c$ has as many values above as below.
# With an even count, take the lower of the two middle values, as `torch.median` does.
#
# </details>


# %% tags=["exercise-00.3"]
def best_constant(values: torch.Tensor, error: str) -> torch.Tensor:
    """The number c with the smallest mean error to all values, without dimensions.

    ``error`` is "squared" or "absolute": the mean error to make smallest. Among equally
    good numbers for "absolute", the smallest that is one of the values.
    """
    raise NotImplementedError


best_constant = cl.check("00.3", best_constant)

# %% [markdown]
# ### Exercise 00.4 · One sweep of the membrane
#
# *Stretch · difficulty 3 of 3 · 12 minutes*
#
# Turn the inner loops of `harmonic_naive` into tensor operations: one sweep over all
# missing pixels at once. (A loop passes the check too, but try without.)
#
# <details><summary>Hint 1</summary>
#
# Pad the picture with a frame of zeros (`torch.nn.functional.pad`) and add four shifted
# views of it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# How many neighbours lie in the picture? Do the same with a picture of ones, and divide.
#
# </details>


# %% tags=["exercise-00.4"]
def sweep(values: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Replace each missing pixel by the mean of its neighbours in the picture.

    Shapes (H, W) and (H, W), 1 = missing, at least 2 pixels in all; the neighbours are
    those above, below, left and right, as they were before the sweep. Known pixels are
    returned unchanged.
    """
    raise NotImplementedError


sweep = cl.check("00.4", sweep)

# %% [markdown]
# Your sweep (or the reference's) on the picture from the start: 400 sweeps reach what the
# library solves at once.

# %%
swept = torch.where(gap.bool(), 0, grey)
for _ in range(400):
    swept = sweep(swept, gap)
print(swept.round(decimals=6).int())
cl.claim(
    "your membrane is the one computed by hand",
    torch.equal(swept.round(decimals=6)[1], torch.tensor([10.0, 26, 54, 70]).double()),
)

# %% [markdown]
# ## Self-quiz
#
# **1.** What does `mean` fill if a colleague's hole holds 1 where the picture is *known*?
#
# <details><summary>Answer</summary>
#
# The known pixels, with the mean colour of the missing ones, which are garbage. Nothing
# crashes. Lesson 01 shows what that costs.
#
# </details>
#
# **2.** Why does the course hide pixels with `torch.where`, not `image * (1 - hole)`?
#
# <details><summary>Answer</summary>
#
# Because NaN × 0 and infinity × 0 are NaN: multiplying lets the hidden pixels through.
#
# </details>
#
# **3.** Two fills of a lawn: a blur with 22 dB and sharp grass with 18 dB. Which is worse?
#
# <details><summary>Answer</summary>
#
# PSNR does not say. An independent but perfect texture loses 3 dB against its own mean, and
# more when it varies more than the truth. Look, and read a perceptual distance too.
#
# </details>
#
# **4.** What would have happened in the table to a method that peeks under the hole?
#
# <details><summary>Answer</summary>
#
# Its pictures had NaN there, so it would have returned NaN, and the evaluation would have
# stopped with an error that names it.
#
# </details>

# %% [markdown]
# ## Summary
#
# An image is `(N, 3, H, W)` in [0, 1]; a hole is `(N, 1, H, W)` with 1 = missing, and what
# it hides never leaks. The mean ignores place; the membrane solves one equation for each
# missing pixel; Telea carries colours inwards; a small network guesses the large shapes
# and paints fog where it is unsure. That is no accident: squared error is smallest for the
# mean of all answers, L1 for their median, so PSNR prefers a blur to a perfect texture by
# 3 dB. No verdict on a network rests on PSNR alone, and what has a ✓ is
# checked at every run.
#
# **Next:** lesson 01 makes the holes themselves.
#
# ## References
#
# - A. Telea, *An image inpainting technique based on the fast marching method*, 2004.
# - Z. Wang et al., *Image quality assessment: from error visibility to structural
#   similarity*, 2004 (SSIM).
# - R. Zhang et al., [The unreasonable effectiveness of deep features as a perceptual
#   metric](https://arxiv.org/abs/1801.03924), 2018: the VGG distance follows its idea.
# - In this course: [fills](../course_lib/fills.py), [evaluation](../course_lib/evaluation.py),
#   [tensors](../course_lib/tensors.py), [the hole painter](../course_lib/widgets/painter.py).
