# %% [markdown]
# # The ladder: what is each idea worth?
#
# ![One photo with a hole, filled without learning by a smooth membrane, and by six networks of equal size, each with another idea](../assets/figures/10_ladder.png)
#
# By the end you will have one table for every idea of this course, and know which of its
# differences to believe.

# %% [markdown]
# | | |
# |---|---|
# | **Goals** | tell a difference from the luck of a seed<br>read what each idea buys: where, and how much<br>weigh quality against weights, time and memory<br>see five mechanisms answer the same question about the same pixel |
# | **Minutes** | read 37 · run 2 · practise 65 |
# | **Before you start** | lessons 03 to 09 |
# | **Cost** | ci 60 s · laptop 80 s · gpu not measured |

# %%
import math

import torch

import course_lib as cl

run = cl.start("10")

# %% [markdown]
# ## The problem
#
# Every lesson so far compared its idea with the one before. Papers do the same: each new
# layer beats the last, trained by its authors, for as long as they liked, with the size they
# liked. We know of no table that has all of these ideas under **one** budget. Here are three
# networks, in two scores. All are *the same* plain U-Net; only the seed of the training
# differs.

# %%
ladder = cl.studies.load("ladder")
for metric in ("hole_l1", "hole_psnr"):
    each = ladder.mean("plain", metric)
    print(f"plain, {metric}:", *(f"{value:.4f}" for value in each))

# %%
first, *_, last = ladder.mean("plain").sort().values.tolist()
luck = 1 - first / last
print(f"the luckiest seed has {luck:.1%} less error than the unluckiest")
cl.claim("luck alone: 2 %", 0.015 < luck < 0.025)

# %% [markdown]
# A paper that showed the best of them against the worst could report progress. So which
# of the differences between *ideas* are real?
#
# ## By hand
#
# Two methods, three seeds, errors in thousandths: A has 98, 92, 95; B has 95, 90, 92. The
# means are 95 and 92.3. Within A the errors differ by 6, within B by 5: twice the difference of
# the means. Is B better?

# %%
a, b = [98, 92, 95], [95, 90, 92]
pairs = [x - y for x, y in zip(a, b, strict=True)]
print("range of A", max(a) - min(a), "of B", max(b) - min(b), "differences", pairs)
cl.claim("B is ahead on every seed", min(pairs) > 0)
all_alike = 2 * math.comb(3, 3) / 2**3
print(f"three fair coins fall alike in {all_alike:.0%} of all cases")

# %% [markdown]
# With the same seed both saw the same photos and holes in the same order; where that made the
# luck, it cancels in *paired* differences: 3, 2 and 3, all of one sign. (The weights they
# begin with differ all the same.) That is no proof: three coins fall alike in one case of
# four. Three seeds can make us doubt a difference. Six that are all alike, to either side,
# have the chance 2/64, 3 %.
#
# How far do the differences spread? *Spread* is from here on the standard deviation: of 3, 2, 3
# the mean is 2.67, the squared distances from it 0.11, 0.44, 0.11; their sum divided by 2, and
# then the root, is 0.58. (By 2 and not 3, because the mean was taken from the same numbers
# and lies too close to them.) The number after a `+-` is this spread; the true difference may
# lie further off.
#
# ## Naive code


# %%
def compare_naive(ours, other):
    """Two lists of errors, seed by seed -> mean gain, its spread, seeds won."""
    gains, won = [], 0
    for mine, theirs in zip(ours, other, strict=True):
        gains.append(1 - mine / theirs)
        won += mine < theirs
    mean = sum(gains) / len(gains)
    spread = (sum((g - mean) ** 2 for g in gains) / (len(gains) - 1)) ** 0.5
    return mean, spread, won


# %% [markdown]
# ## Without loops


# %%
def compare(ours, other):
    """The same for tensors ``(seeds,)``."""
    gain = 1 - ours / other
    return gain.mean().item(), gain.std().item(), int((gain > 0).sum())


# %%
ours, other = (ladder.mean(form).double() for form in ("partial", "plain"))
by_loops = torch.tensor(compare_naive(ours.tolist(), other.tolist()))
same = torch.allclose(by_loops, torch.tensor(compare(ours, other)))
cl.claim("loops = without loops", same)
same = torch.allclose(1 - ours / other, ladder.ahead("partial", of="plain").double())
cl.claim("and the study's own gains", same)

# %% [markdown]
# ## The rules
#
# Eight networks, the *rungs*. All have 272,000 weights within 2 %, so those with gates,
# heads or filters are narrower. All are trained from three seeds on the same crops of
# 161 photos, with the same holes in the same order (but half of those of *+ mined holes*):
# 800 steps of eight crops of 64 px, then 100 steps of eight of 128 px, Adam with one schedule;
# the loss is L1 over the hole plus L1 over the photo. Tested on 20 other photos of 128 px, each
# under twelve holes, that cover under 10 % to 60 % of it; half of them touch its border.
#
# | rung | lesson | builds on | what is new |
# |---|---|---|---|
# | *plain* | 03, `blind` | | a U-Net, not told where the hole is |
# | *+ hole channel* | 03, `told` | *plain* | the hole is a fourth channel (*plain* in lesson 08's study) |
# | *partial* | 04 | *+ hole channel* | a rule for what is known |
# | *gated* | 05 | *+ hole channel* | learned gates |
# | *+ attention* | 06 | *gated* | a second branch that copies, where the map is a quarter of the photo's side |
# | *mask-aware* | 07, *dynamic* | *+ hole channel* | filters made from the hole, three decoders in a row |
# | *deformable* | 08, *recommended* | *partial* | reads that move, beginning at the nearest known pixels |
# | *+ mined holes* | 09 | *deformable* | half of its holes are mined |
#
# Three have more than L1 on the answer: *mask-aware* the same on two earlier decoders,
# *deformable* and *+ mined holes* two small charges for where reads go (lesson 08). *+ mined
# holes* also trains a generator of 69,000 weights, not counted: no fill needs it.
#
# And those that learn nothing: the mean colour, *harmonic* (lesson 00's membrane), *biharmonic*
# (a thin plate in its place, which goes on with slopes), the *nearest* known pixel, OpenCV's
# Telea and Navier-Stokes (lesson 03). Before you look: which order do you expect?

# %%
trained = [form for form in ladder.forms if ladder.of(form)[0]["parameters"]]
sizes = torch.tensor([ladder.of(form)[0]["parameters"] for form in trained])
cl.claim("all within 2 % of the same size", sizes.max() < 1.02 * sizes.min())
cl.claim("three seeds each", all(len(ladder.of(form)) == 3 for form in trained))
print(ladder)

# %%
from matplotlib import pyplot as plt

figure, axis = plt.subplots(figsize=(7, 3.6))
shown = [form for form in ladder.forms if form != "mean"]  # far to the right of all
for place, form in enumerate(shown):
    seeds = ladder.mean(form)
    taught = form in trained
    axis.plot(
        seeds,
        [place] * len(seeds),
        "o" if taught else "d",
        color="#0f8f83" if taught else "none",
        markeredgecolor="#0f8f83" if taught else "0.4",
    )
axis.set_yticks(range(len(shown)), shown)
axis.invert_yaxis()
axis.grid(axis="x", alpha=0.3)
axis.set(xlabel="hole L1: dots are three seeds, diamonds learned nothing")
print("each rung's three seeds, and the fills that learn nothing, best mean on top")
plt.show()

# %% [markdown]
# Hole L1 is the mean absolute error in the hole; less is better. Those without weights have no
# seeds either: one number. Did you expect *harmonic*, lesson 00's membrane, at the top? And
# where dots of two rungs stand side by side, would you dare to rank them?
#
# ## Which differences are real?
#
# Each rung against the one it builds on, seed by seed:

# %%
steps = [("+ hole channel", "plain"), ("partial", "+ hole channel")]
steps += [("gated", "+ hole channel"), ("+ attention", "gated")]
steps += [("mask-aware", "+ hole channel"), ("deformable", "partial")]
steps += [("+ mined holes", "deformable")]
gain = {}
for form, below in steps:
    gain[form] = ladder.ahead(form, of=below)
    each = " ".join(f"{100 * value:+5.1f} %" for value in gain[form])
    mean, spread, won = compare(ladder.mean(form), ladder.mean(below))
    print(f"{form:14} over {below:14} {each}   mean {mean:+.1%} +- {spread:.1%}")

# %%
unanimous = {form for form, each in gain.items() if (each > 0).all()}
lost = {form for form, each in gain.items() if (each < 0).all()}
cl.claim(
    "ahead on every seed", unanimous == {"+ hole channel", "partial", "deformable"}
)
cl.claim("behind on every seed", lost == {"+ attention", "mask-aware"})
large = min(gain["+ hole channel"].min(), gain["deformable"].min())
cl.claim("told, and begun with known pixels: over 8 % on each seed", large > 0.08)

# %% [markdown]
# Five of seven steps are unanimous; coins would make one or two so. Trust the size as well:
# 10 and 12 % are far beyond any spread here. *Told* pays, and so does *deformable*. Partial adds
# 1 to 3 %. Gates do nothing that we can see. Attention is *behind* what it builds on; a filter
# for each window too, but by no more than its spread. Why, this table cannot say; a guess: they
# leave less width, and 900 steps are few. Mined holes, lesson 09's question, are behind on
# two seeds of three. (Did pairing help? For *deformable* much: a spread of 0.1 %. For *partial* not:
# it cancels only luck that both share.)
#
# *Deformable* changes several things at once. Lesson 08's study separates them; its *plain* is
# our *+ hole channel*, told what is missing.

# %%
filled = cl.studies.load("sampling").ahead("plain, filled", of="plain")
whole = ladder.ahead("deformable", of="+ hole channel")
print(
    "told, a nearest fill first:", *(f"{100 * x:+.1f} %" for x in filled), "over told"
)
print("deformable:                ", *(f"{100 * x:+.1f} %" for x in whole), "over told")
cl.claim("most of the lead is the fill's", filled.mean() > 0.8 * whole.mean())

# %% [markdown]
# ## Where?
#
# One number hides where a rung is good. Scores are kept in 6 × 2 cells: six shares of the
# photo missing, and whether the hole touches its border. (A cell with nothing to score is
# NaN.) The same errors by how much is missing:

# %%
rows = {
    form: {
        metric: ladder.scores(form, metric).mean(0) for metric in cl.evaluation.METRICS
    }
    for form in ladder.forms
}
table = cl.evaluation.Table(rows)
print(table.by_bucket("hole_l1"))

# %%
names, l1 = list(rows), torch.stack([each["hole_l1"] for each in rows.values()])
for border, where in enumerate(("inside", "at the border")):
    best = [names[k] for k in l1[:, :, border].argmin(0)]
    print(f"{where:14}:", ", ".join(best))

# %% [markdown]
# The first line names the best in holes that do not touch the photo's border, the second in
# holes that do. In small holes smooth fills win; *biharmonic* is best in the smallest and worst
# of them in the largest. *Deformable* is
# ahead of *harmonic* inside the photo from 30 % on, at the border only above 50 %; in the
# largest holes, both kinds together, by 2 %. L1 likes what is smooth. Do the other scores
# agree? (L1 and VGG distance: less is better; PSNR and SSIM: more; *seam*: at 0 the rim jumps
# as in the photo, above it more, below it less: too smooth. What counts is how far it is
# from 0.)

# %%
print(table)


# %%
def least(metric, forms=trained):
    return min(table.mean(form, metric) for form in forms)


cl.claim(
    "L1: harmonic ahead of every rung",
    table.mean("harmonic", "hole_l1") < least("hole_l1"),
)
big = {form: rows[form]["hole_l1"][5].mean() for form in ("harmonic", "deformable")}
cl.claim("but in the largest holes deformable", big["deformable"] < big["harmonic"])
rest = [form for form in table.rows if form != "biharmonic"]
first = table.mean("biharmonic", "vgg") < least("vgg", rest)
cl.claim("VGG distance: biharmonic ahead of all", first)

# %% [markdown]
# PSNR and SSIM put *harmonic* first as well, VGG distance *biharmonic*; there five, *deformable*
# and *+ mined holes* among them, lie within 0.002 of each other. The seam tells the rungs
# apart most clearly: *plain* +0.042, *deformable* +0.002. Of the fills that learn nothing all but
# the mean are too smooth.
#
# ## The long ladder
#
# Is the order a property of the ideas, or of the budget? The course ships networks of four
# times the size, 1.08 million weights within 1 %, trained for 13 times as many steps on 22 times
# as many crops: 8,000 steps of sixteen crops of 64 px, 4,000 of eight of 128 px. The test is
# the same. One seed each, so a difference of one or two percent may be luck.

# %%
long = {
    "plain": "plain_unet_blind",
    "+ hole channel": "plain_unet",
    "partial": "partial_unet",
    "gated": "gated_unet",
    "mask-aware": "cascade",
    "nearest reads": "nearest_unet",
}
cards = {form: cl.zoo.card(name) for form, name in long.items()}
sizes = torch.tensor([card["parameters"] for card in cards.values()])
cl.claim("the same size within 1 %", sizes.max() < 1.01 * sizes.min())
same = {str(card["steps"]) for card in cards.values()}
cl.claim("and the same steps", len(same) == 1)

# %%
after = {
    form: {m: torch.tensor(card["scores"][m]) for m in cl.evaluation.METRICS}
    for form, card in cards.items()
}
after["harmonic"] = rows["harmonic"]
print(cl.evaluation.Table(after))

# %%
error = {form: scores["hole_l1"].mean() for form, scores in after.items()}
reads = cl.studies.load("sampling")  # lesson 08's, under the short budget
for form in long:
    study, row = (reads, "nearest") if form == "nearest reads" else (ladder, form)
    before = study.mean(row).mean()
    print(f"{form:14} {before:.4f} -> {error[form]:.4f}", end=", ")
    print(f"{1 - error[form] / before:.0%} less")
worse = [form for form in long if error[form] > error["harmonic"]]
print("still behind harmonic in L1:", ", ".join(worse))
ssim = {form: scores["ssim"].nanmean() for form, scores in after.items()}
passed = [form for form in long if ssim[form] > ssim["harmonic"]]
cl.claim("SSIM: only nearest reads pass it", passed == ["nearest reads"])
middle = [error[form] for form in long if form not in ("plain", "nearest reads")]
cl.claim("four lie within 1.6 %", max(middle) < 1.016 * min(middle))

# %% [markdown]
# (*Nearest reads*: lesson 08's network whose first reads begin at the nearest known pixels and
# never move; under the short budget it had 0.0983. Learned reads were not trained for so long.
# *Nearest*, in the tables, is no network: it is the fill alone.)
#
# What changed by more than luck is the membrane's place: in L1 it was ahead of every rung, now
# five of these six are ahead of it. (In VGG distance too, where *deformable* was before; in SSIM
# only *nearest reads*, in PSNR none.) *Told*, *partial*, *gated* and *mask-aware* changed places
# too, but within 1.6 %: by our own rule that is no order. *Plain* is still last; *nearest
# reads* are first, by under 2 %, which one seed cannot tell from luck either. Steps, batch and size all changed; which did it is open. **A
# ranking holds under its budget**; a table that does not say which says little.
#
# ## What does it cost?
#
# Equal weights are not equal work. *Step*: a training step of eight crops, of 64 px and of
# 128 px. *Fill*: one photo of 128 px. *Memory*: what a step of 64 px keeps for the way back.
# Times are processor time of one thread, median of 15 turns, without drawing crops and holes;
# a tenth is noise (*deformable* and *+ mined holes* fill with the same network).

# %%
costs = cl.studies.load("ladder_costs").every
columns = {"step_ms": "step 64", "step_128_ms": "step 128", "fill_ms": "fill"}
print(
    f"{'ms; MB':15}" + "".join(f"{name:>10}" for name in (*columns.values(), "memory"))
)
for form in trained:
    cost = costs[f"{form} 0"]
    row = [cost[name] for name in (*columns, "kept_mb")]
    print(f"{form:15}" + "".join(f"{value:10.1f}" for value in row))

# %%
milliseconds = {form: costs[f"{form} 0"]["step_ms"] for form in trained}
dearest = milliseconds["deformable"] / milliseconds["partial"]
memory = {form: costs[f"{form} 0"]["kept_mb"] for form in trained}
cl.claim("deformable: over four times partial's time", dearest > 4)
cl.claim("and nine times its memory", memory["deformable"] > 9 * memory["partial"])
copied = costs["+ attention 0"]
more = copied["step_128_ms"] / copied["step_ms"]
cl.claim("attention: four times the pixels, over eight times the time", more > 8)

# %% [markdown]
# (Attention compares every place with every other.) So another question is as fair: what is
# each worth in **equal time**? All rungs once more, with as many steps as fit into the time of
# *gated*'s 900 by that table, and no more exact than it; three seeds.

# %%
timed = cl.studies.load("ladder_time")
for form in timed.forms:
    steps = [sum(part["steps"] for part in cell["steps"]) for cell in timed.of(form)]
    each = " ".join(f"{value:.4f}" for value in timed.mean(form))
    print(f"{form:15} {steps[0]:5} steps: hole L1 {each}")

# %%
cl.claim("three seeds each", all(len(timed.of(form)) == 3 for form in trained))
lead = timed.ahead("deformable", of="+ hole channel")
cl.claim(
    "deformable, in under a sixth of its steps: 4 to 7 % ahead of told",
    0.04 < lead.min() < lead.max() < 0.07,
)
cl.claim("less than half of its lead in equal steps", lead.mean() < whole.mean() / 2)
left = timed.ahead("partial", of="+ hole channel")
cl.claim(
    "partial: under 1 %, and not on every seed", left.mean() < 0.01 and left.min() < 0
)
dear = timed.ahead("gated", of="+ hole channel")
cl.claim("gated: behind told on every seed", (dear < 0).all())
dear = timed.ahead("+ attention", of="plain")
cl.claim("+ attention: behind even plain, on every seed", (dear < 0).all())
dear = timed.ahead("mask-aware", of="plain")
cl.claim("mask-aware: within its spread of plain", dear.mean().abs() < dear.std())
cl.claim("and not on every seed behind", dear.max() > 0)

# %%
figure, axis = plt.subplots(figsize=(7.2, 3.8))
inks = {"plain": "#8a8a8a", "mask-aware": "#8a5a1c", "+ attention": "#c03a9b"}
inks |= {"+ hole channel": "#2f2f2f", "gated": "#7a5cc8", "partial": "#0f8f83"}
inks |= {"+ mined holes": "#e8a000", "deformable": "#d8472b"}
for (form, ink), mark in zip(inks.items(), "os^D*vPX", strict=True):
    path = [ladder.mean(form).mean(), timed.mean(form).mean()]
    path += [error[form]] if form in error else []
    axis.plot(range(len(path)), path, f"{mark}-", color=ink, label=form)
axis.plot(2, error["nearest reads"], "x", color="0.2", label="nearest reads")
axis.axhline(error["harmonic"], color="0.6", linewidth=0.8)
axis.text(1.5, error["harmonic"], "harmonic", va="bottom", ha="center", color="0.4")
axis.set_xticks(range(3), ["equal steps", "equal time", "long, larger"])
axis.set(ylabel="hole L1")
axis.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
print("mean hole L1 under three budgets; lines that cross changed their order")
print("only five of the eight rungs, and nearest reads, were trained long")
plt.show()

# %% [markdown]
# Beginning with known pixels keeps a lead although its steps are dear: 5 % over *told*, with
# equal steps 13 %. But look back: the *nearest* fill alone, untrained, has 0.1050; in 188 steps
# *deformable* has hardly got beyond where it began. Of partial's lead little is left, and gates
# cost more than they bring. *+ attention* is behind even *plain* on every seed; *mask-aware*
# cannot be told from it (on one seed it is ahead).
#
# ## Look inside: one click, five answers
#
# Now the ideas side by side on one photo: the long ladder; as *+ attention* lesson 06's network,
# trained on another budget; as *deformable* the small network of the first table; and fills
# that learn nothing. Click into the hole: what did each mechanism look at, to decide what belongs
# *there*? Then click near the rim: which answers change? And whose *fill*, above, does not know
# where the hole is?

# %%
explorer = cl.LadderExplorer(photo="hawamahal").look(60, 64)
explorer

# %%
other, short = cl.LadderExplorer(photo="hawamahal"), {}
for row in (60, 48, 45):  # the hole begins at row 45
    answers = other.look(row, 64).shown["answers"]
    short[row] = {each["kind"]: each["short"] for each in answers}
    print(f"row {row}:", "; ".join(short[row].values()))
alike = {kind for kind, told in short[60].items() if told == short[48][kind]}
cl.claim("rows 60 and 48: three answer alike", alike == {"partial", "gated", "filter"})
changed = all(told != short[45][kind] for kind, told in short[60].items())
cl.claim("row 45, at the rim: all five answer otherwise", changed)

# %% [markdown]
# At the rim all five change their answer. But once the window is full of hole, three of them
# have said all they can: the count, the gates and the filters are the same wherever you click.
# Attention and reads still depend on the place, as they look beyond the window. The fill of
# *plain* does not know where the hole is. (One hole proves nothing about the order: sizes and
# budgets differ here.)
#
# Five answers to one question. Partial convolution counts what is known. A gate scales what
# the window found. Attention looks for a patch that resembles its first guess, anywhere in
# the photo. A mask-aware filter is made for this very window. And deformable reads go
# where something is. All of them are ways to deal with one fact: a window in a hole is not
# like other windows.
#
# ## Train one
#
# In short, without the schedule, with strokes only and with the holes of a batch as one region
# (lesson 02), the training of a rung begins like this.
# `ci` takes 4 steps of *partial*; `course.py ladder` takes 900, and writes what it measured.

# %%
torch.manual_seed(run.seed)
network = cl.zoo.build(ladder.plan("partial")).to(run.device)
accelerator = cl.training.accelerator(run)
adam = torch.optim.Adam(network.parameters(), lr=2e-3)
optimizer = accelerator.prepare(adam)


# %%
def step(batch):
    """Nearly the loss of a rung: here all holes of the batch are one region."""
    image, hole = batch
    made = network(image, hole)
    inside = cl.losses.l1(made, image, hole, "hole", "region")
    optimizer.zero_grad()
    accelerator.backward(inside + cl.losses.l1(made, image, hole, "all"))
    optimizer.step()
    return {"hole": inside}


def batches(draw, crops):
    """Endless pairs: crops of photos, strokes."""
    while True:
        image = crops.crops(run.batch, run.size, draw)
        yield image, cl.holes.strokes(run.batch, run.size, draw)


# %%
photo = cl.photos.square(cl.photos.load("hawamahal"), 128).to(run.device)
hole = cl.holes.rectangles(1, 128, run.generator("box")).to(run.device)


def now():
    """What the network in training puts into one hole."""
    return cl.composite(network(photo, hole), photo, hole)


view = cl.TrainingView(now)
view

# %% tags=["nbval-ignore-output"]
data = batches(run.generator("training"), cl.photos.collection("train", limit=48))
options = {"accelerator": accelerator, "watch": view, "state": {"network": network}}
history = cl.training.fit(step, data, steps=run.steps, **options)
print(history)
view.still()

# %% [markdown]
# ## What we do not know
#
# - **The long ladder with three seeds**, and learned reads, mined holes and attention on it.
# - **Other photos.** All numbers rest on 20; exercise 10.5 builds the tool that says how far
#   that carries. It wants an error for each photo, which our tables do not keep.
# - **Larger.** 64 to 128 px and 161 photos; papers use 256 px and a million. What has to be
#   learned gains most from data.
# - **Other losses.** All rungs minimise L1; a critic (lesson 05) changes what looks best.
# - **The best setting of each.** One rate and one L1 for all is fair, and perhaps not to
#   each.
# - **A GPU.** `course.py ladder` runs there as well; nobody has yet.
#
# ## Exercises
#
# ### Exercise 10.1 · The spread before the difference
#
# *Warm up · difficulty 1 of 3 · 5 minutes*
#
# Before two forms are compared: how far apart are two trainings of the same one?
#
# <details><summary>Hint 1</summary>
#
# First one number for each seed. Which axes does `nanmean` go over?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `each.std()` divides by one less than their number; with one seed, by 0.
#
# </details>


# %% tags=["exercise-10.1"]
def mean_and_spread(scores: torch.Tensor) -> tuple[float, float]:
    """One form's score, and how much of it was luck: ``(mean, spread)``, two floats.

    ``scores`` (seeds, 6, 2) has a score for each seed and each cell of the table; NaN
    where there was nothing to score. A seed's score is the mean over all cells that it
    has, at least one. Returns the mean of the seeds' scores, and their sample standard
    deviation: the root of (the sum of squared distances from that mean, divided by the
    number of seeds - 1). With a single seed the spread is 0.
    """
    raise NotImplementedError


mean_and_spread = cl.check("10.1", mean_and_spread)

# %% [markdown]
# ### Exercise 10.2 · The same seeds, and a coin
#
# *Build · difficulty 2 of 3 · 15 minutes*
#
# How small can this chance be with three seeds? Work it out first.
#
# <details><summary>Hint 1</summary>
#
# A share for each seed, then the mean. Ties are no tosses: n = wins + losses.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Exactly k of n coins fall on heads with probability `math.comb(n, k) / 2**n`. Add up
# from k = m to n; double it, because the other form could have been the lucky one.
#
# </details>


# %% tags=["exercise-10.2"]
def verdict(ours: torch.Tensor, other: torch.Tensor) -> tuple[float, int, float]:
    """Whether one form is better than another: ``(share, wins, chance)``.

    ``ours`` and ``other`` (seeds,) are errors above 0, smaller is better, with the same
    seeds in the same order. Returns

    - share, a float: by what part our error is smaller, 1 - ours / other for each seed,
      then the mean over the seeds; below 0 if ours is larger;
    - wins, an int: the number of seeds with which ours is smaller;
    - chance, a float: if each seed had tossed a fair coin for who wins, how probable is
      a result at least as lopsided, to either side? Seeds with equal errors toss none
      and are left out. With n seeds left, of which the luckier form won m, that is
      twice the probability of m or more heads in n tosses, but at most 1.
    """
    raise NotImplementedError


verdict = cl.check("10.2", verdict)

# %% [markdown]
# ### Exercise 10.3 · Who wins where
#
# *Analyse · difficulty 1 of 3 · 10 minutes*
#
# A mean over the table hides that one form may win small holes and another large ones.
#
# <details><summary>Hint 1</summary>
#
# What does `argmin` do with NaN? Which value could never win?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.where` twice: infinity for NaN before, -1 where `isnan().all(0)` after.
#
# </details>


# %% tags=["exercise-10.3"]
def best_where(errors: torch.Tensor) -> torch.Tensor:
    """Which form is best in each cell of the table.

    ``errors`` (forms, 6, 2), smaller is better, finite or NaN: NaN where a form has no
    score. Returns (6, 2), of dtype int64: the number, counted from 0, of the form with
    the smallest error in the cell. Of equal errors the first form wins, one without a
    score never; -1 where none has a score.
    """
    raise NotImplementedError


best_where = cl.check("10.3", best_where)

# %% [markdown]
# ### Exercise 10.4 · Worth a look
#
# *Build · difficulty 2 of 3 · 15 minutes*
#
# With cost and error there is no winner, only forms that nobody beats. Once it is right, ask
# it about this lesson: the rungs' `step_ms` and their mean hole L1.
#
# <details><summary>Hint 1</summary>
#
# Compare all with all: `cost[:, None] <= cost` has k in rows, i in columns.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Three tables, joined by `&`: at most as dear, at most as wrong, less of one (`|`).
# Then `any` over k, and not.
#
# </details>


# %% tags=["exercise-10.4"]
def front(cost: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Which forms are worth a look: those that no other form beats.

    ``cost`` and ``error`` are (forms,), finite, smaller is better; ``cost`` may be
    whole numbers, in any unit. Form k beats form i if it is at most as dear and at most
    as wrong, and less of at least one. Returns (forms,), of dtype bool: True where no
    form beats form i. Two forms with equal cost and equal error do not beat each other.
    """
    raise NotImplementedError


front = cl.check("10.4", front)

# %% [markdown]
# ### Exercise 10.5 · Other photos
#
# *Stretch · difficulty 3 of 3 · 20 minutes*
#
# Seeds say how lucky a training was. How lucky were the photos? Draw them again.
#
# <details><summary>Hint 1</summary>
#
# `ours[:, drawn]` is (seeds, draws, photos). Which axis becomes a mean first, and what
# is divided after it?
#
# </details>
# <details><summary>Hint 2</summary>
#
# One table of numbers for both forms and all seeds. Mean over axis 2, one share for
# each seed and draw, mean over axis 0, then two quantiles.
#
# </details>


# %% tags=["exercise-10.5"]
def interval(
    ours: torch.Tensor, other: torch.Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """How far a lead hangs on the photos it was measured on: ``(low, high)``, floats.

    ``ours`` and ``other`` (seeds, photos) are errors above 0, with the same seeds and
    the same photos in the same order. Imagine another evaluation: as many photos, drawn
    from these, one more than once, another never. Draw d, of ``draws``, is row d of
    ``torch.randint(photos, (draws, photos), generator=generator)``, called once: both
    forms and all seeds have the photos of that row. Its share is that of exercise 10.2:
    the error of a seed is the mean over the drawn photos, 1 - ours / other for each
    seed, then the mean over the seeds.

    Returns the quantiles 0.025 and 0.975 of the shares, as ``torch.quantile`` has them:
    95 of 100 imagined evaluations lie between.
    """
    raise NotImplementedError


interval = cl.check("10.5", interval)

# %% [markdown]
# ## Self-quiz
#
# **1.** Why three seeds, and why their spread before any difference?
#
# <details><summary>Answer</summary>
#
# Another seed gives other weights and another score. A difference that is no larger
# than the spread of the paired ones could be luck. Three seeds prove little: that all
# three go the same way has the chance 1/4 with fair coins.
#
# </details>
#
# **2.** Why do all forms get the same photos and holes, and why compare seed by seed?
#
# <details><summary>Answer</summary>
#
# In the test, large holes and rough photos are hard for all; with other ones for each form
# that would be taken for the form's merit. In training, the same crops in the same order are
# luck that both share. In pairs both cancel.
#
# </details>
#
# **3.** Why do equal parameters and equal time answer different questions?
#
# <details><summary>Answer</summary>
#
# Equal parameters and steps ask what an idea does with the same means, whatever a step
# costs. Equal time charges for it: a slow form takes fewer steps. An idea may win the
# first and lose the second.
#
# </details>
#
# **4.** A form leads after a short training. What may this not be evidence for?
#
# <details><summary>Answer</summary>
#
# That it leads after a long one. A form that begins with a good fill has a head start,
# which others may catch up with: train longer, and look again.
#
# </details>

# %% [markdown]
# ## Summary
#
# A difference counts when it is larger than the spread of the paired differences. Under one
# short budget, being told the hole and beginning with known pixels paid; gates, attention
# and made filters did not yet, and a membrane that learned nothing had less error than every
# rung. With four times the weights and thirteen times the steps five of six networks passed it
# in L1; whether their own order changed, one seed cannot say. Equal weights are not equal
# time. A table of methods without its budget, its spread and its untrained rivals is an
# advertisement.
#
# Next: from a laptop to many GPUs, and to photos of any size.
#
# ## References
#
# - M. Lucic, K. Kurach, M. Michalski, S. Gelly, O. Bousquet, [Are GANs Created
#   Equal?](https://arxiv.org/abs/1711.10337), NeurIPS 2018: budgets decide orders.
# - J. Pineau and others, [Improving Reproducibility in Machine Learning
#   Research](https://arxiv.org/abs/2003.12206), JMLR 2021.
# - In the library: [rungs.py](../course_lib/recipes/rungs.py),
#   [studies.py](../course_lib/studies.py) and
#   [ladder_explorer.py](../course_lib/widgets/ladder_explorer.py).
