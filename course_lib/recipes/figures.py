"""The title pictures of lessons and README: ``course.py weights figures``."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import (
    evaluation,
    evidence,
    fills,
    holes,
    large,
    photos,
    pictures,
    sketch,
    zoo,
)
from course_lib.layers import ContextualAttention, MaskAwareDynamicConv2d
from course_lib.losses import discount_weights
from course_lib.mining import mined_holes
from course_lib.networks import Cascade
from course_lib.session import ASSETS, start
from course_lib.tensors import composite, hide


def figures() -> None:
    """The title pictures of lessons 00 to 11, and of the README."""
    draw = torch.Generator().manual_seed
    ibex = photos.square(photos.load("nubian_ibex"), 192)
    hole = holes.strokes(1, 192, start("00").generator("hole 57"), width=(0.1, 0.12))
    _figure("00_start_here", _four_fills(ibex, hole), 1.0)
    columns = photos.square(photos.load("lincolnmemorial"), 192)
    shapes = {
        "square": holes.rectangles(1, 192, draw(2), side=(0.387, 0.387)),
        "brush strokes": holes.strokes(1, 192, draw(2)),
        "irregular": holes.irregular(1, 192, draw(2)),
    }
    kinds = {
        name: pictures.hatched(columns, holes.grow(shape, torch.tensor([0.15])))
        for name, shape in shapes.items()
    }
    _figure("01_holes", {"the photo": columns, **kinds}, 1.0)
    _figure("02_losses", _errors_and_weights(), 1.0)
    sheep = photos.square(photos.load("sheep"), 192)
    stroke = holes.strokes(1, 192, start("03").generator("hole 2"))
    fifth = holes.grow(stroke, torch.tensor([0.2]))
    _figure("03_unet", _four_colours(sheep, fifth), 1.0)
    stroke = holes.strokes(1, 128, start("04").generator("hole 10"))
    sheep = photos.square(photos.load("sheep"), 128)
    fifth = holes.grow(stroke, torch.tensor([0.2]))
    _figure("04_partial_convolution", _closing_hole(sheep, fifth), 1.0)
    square = F.pad(torch.ones(1, 1, 56, 64), [36, 28, 40, 32])
    castle = photos.square(photos.load("chateaudechambord"), 128)
    _figure("05_gated_convolution", _gates_and_lines(castle, square), 1.0)
    square = F.pad(torch.ones(1, 1, 48, 48), [40] * 4)
    palace = photos.square(photos.load("hawamahal"), 128)
    _figure("06_contextual_attention", _copied_and_rebuilt(palace, square), 1.0)
    square = F.pad(torch.ones(1, 1, 52, 60), [34, 34, 50, 26])
    memorial = photos.square(photos.load("lincolnmemorial"), 128)
    _figure("07_dynamic_filtering", _made_filters(memorial, square), 1.0)
    square = F.pad(torch.ones(1, 1, 52, 60), [34, 34, 38, 38])
    sheep = photos.square(photos.load("sheep"), 128)
    _figure("08_deformable_sampling", _moved_reads(sheep, square), 1.0)
    rhino = photos.square(photos.load("rhinoceros"), 128)
    _figure("09_mask_mining", _mined_holes(rhino), 1.0)
    macaw = photos.square(photos.load("scarlet_macaw"), 128)
    _figure("10_ladder", _every_rung(macaw), 1.0)
    _figure("11_at_scale", _tiled(), 0.96)
    chosen = ("nubian_ibex", "chateaudechambord", "rhinoceros")
    images = torch.cat([photos.square(photos.load(name), 160) for name in chosen])
    painted = holes.strokes(3, 160, draw(25), per_picture=(1, 1), width=(0.12, 0.14))
    _figure("readme", _four_fills(images, painted), 1.0)


def _four_fills(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    network = zoo.load("plain_unet")
    methods = {"mean": fills.mean, "harmonic": fills.harmonic, "Telea": fills.telea}
    made = {name: fill(image, hole) for name, fill in methods.items()}
    made["small network"] = composite(network(image, hole), image, hole)
    return {"a hole": pictures.hatched(image, hole), **made}


def _errors_and_weights() -> dict[str, Tensor]:
    """Where 800 fills of a square are wrong, and what each of its pixels weighs."""
    castle = photos.square(photos.load("chateaudechambord"), 192)
    hole = F.pad(torch.ones(1, 1, 96, 96), [48] * 4)
    weight = discount_weights(hole, 0.95)
    return {
        "a hole": pictures.hatched(castle, hole),
        "mean error of 800 fills": _tinted(castle, hole, _mean_error(), pictures.WRONG),
        "weights, gamma 0.95": _tinted(castle, hole, weight, pictures.READ),
    }


def _mean_error() -> Tensor:
    """Of crops of the evaluation photos at 128 px, enlarged to ``(1, 1, 192, 192)``."""
    network, generator = zoo.load("plain_unet"), torch.Generator().manual_seed(0)
    crops = photos.collection("evaluation")
    hole = F.pad(torch.ones(1, 1, 64, 64), [32] * 4).expand(20, -1, -1, -1)
    total = torch.zeros(1, 1, 128, 128)
    for _ in range(40):
        image = crops.crops(20, 128, generator)
        total += (network(image, hole) - image).abs().mean((0, 1))
    return F.interpolate(total / 40, 192, mode="bicubic", align_corners=False)


def _tinted(image: Tensor, hole: Tensor, values: Tensor, colour: str) -> Tensor:
    """The hole filled with a colour, from its darkest to its brightest value."""
    low, high = values[hole == 1].aminmax()
    tint = torch.tensor([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    shade = ((values - low) / (high - low)).clamp(0, 1) * tint.view(3, 1, 1)
    return torch.where(hole == 1, shade, image)


def _four_colours(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """The answers of one plain network to four colours that hide one hole."""
    network = zoo.load("plain_unet")
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    tints = {"grey": 0.5, "black": 0.0, "white": 1.0, "noise": noise}
    made = {"a hole": pictures.hatched(image, hole)}
    for name, tint in tints.items():
        network.fill = tint  # type: ignore[assignment]
        made[f"hidden by {name}"] = composite(network(image, hole), image, hole)
    return made


def _closing_hole(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """What is unknown after two layers, and both networks' answers to a white hole.

    Grey counts as known by then, but was under the hole.
    """
    plain, partial = zoo.load("plain_unet"), zoo.load("partial_unet")
    plain.fill = partial.fill = 1.0  # type: ignore[assignment]
    with evidence.record(partial) as found:
        answer = partial(image, hole)
    made = {"a hole": pictures.hatched(image, hole)}
    for k in range(2):
        known = found[f"encoder.{k}.conv"]["valid"]
        open_still = 1 - F.interpolate(known, image.shape[-2:], mode="nearest")
        made[f"after layer {k + 1}"] = pictures.hatched(hide(image, hole), open_still)
    made["plain, hole white"] = composite(plain(image, hole), image, hole)
    made["partial, hole white"] = composite(answer, image, hole)
    return made


def _gates_and_lines(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """A rule beside a gate that shuts; a fill without and with the photo's edges."""
    rule, gated = zoo.load("partial_unet"), zoo.load("gated_unet")
    with evidence.record(rule) as known:
        rule(image, hole)
    with evidence.record(gated) as found:
        gated(image, hole)
    gate = found["encoder.0.conv"]["gate"]
    small = holes.resize(hole, gate.shape[-1])
    tells = evaluation.auc(gate[0], small).nan_to_num(0.5) < 0.1
    inside = small[0, 0] == 1
    drop = gate[0, :, ~inside].mean(1) - gate[0, :, inside].mean(1)
    best = int(torch.where(tells, drop, -1.0).argmax())
    maps = {
        "rule, layer 1": known["encoder.0.conv"]["valid"],
        "a gate, layer 1": gate[:, best : best + 1],
    }
    network, lines = zoo.load("coarse_to_fine_gan"), sketch.edges(image) * hole
    drawn = torch.where(lines == 1, 1.0, pictures.hatched(image, hole))
    made = {"a hole and lines": drawn}
    for name, value in maps.items():
        shade = 0.1 + 0.8 * value  # a white one would be lost on a white page
        made[name] = F.interpolate(shade, image.shape[-2:]).expand(-1, 3, -1, -1)
    made["fill without lines"] = composite(network(image, hole), image, hole)
    made["fill with lines"] = composite(network(image, hole, lines), image, hole)
    return made


def _copied_and_rebuilt(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """Where the middle of a hole copies from; a photo rebuilt of another's patches."""
    network = zoo.load("contextual_attention")
    with evidence.record(network) as found:
        filled = composite(network(image, hole), image, hole)
    attention = found["fine.attention"]["attention"][0]
    side = int(len(attention) ** 0.5)
    step, middle = image.shape[-1] // side, side // 2
    row = attention[middle * side + middle]
    field = pictures.hatched(0.4 + 0.6 * hide(image, hole), hole)
    for place in row.topk(4).indices.tolist():
        field = _framed(field, place // side * step, place % side * step, pictures.READ)
    asks, answers = (
        photos.square(photos.load(name), 128) for name in ("rhinoceros", "hedgehog")
    )
    means = [x.mean((2, 3), keepdim=True) for x in (asks, answers)]
    rebuilt, _ = ContextualAttention()(
        4 * (asks - means[0]), 4 * (answers - means[1]), torch.zeros(1, 1, 128, 128)
    )
    return {
        "a hole": pictures.hatched(image, hole),
        "copied from": _framed(field, middle * step, middle * step, pictures.QUERY),
        "filled": filled,
        "a rhinoceros": asks,
        "a hedgehog": answers,
        "one of the other": rebuilt / 4 + means[1],
    }


def _made_filters(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """Three windows, one of them wholly known, their filters, and what they lead to.

    Of the channel whose filter changes most; as means over the colours, negative
    numbers blue, positive ones brown.
    """
    network, valid = cast(Cascade, zoo.load("cascade")), 1 - hole
    layer = cast(MaskAwareDynamicConv2d, network.filters[0])
    places = ((12, 16), (25, 32), (40, 46))  # all known, the upper rim, the right rim
    made = torch.cat([layer.kernels_at(valid, *place) for place in places])
    channel = (made[1:] - made[:1]).square().sum((0, 2, 3, 4)).argmax()
    colour = made[:, channel, :3].mean(1)
    tiles = F.interpolate((colour / colour.abs().max())[:, None], scale_factor=6)
    negative, positive = (
        torch.tensor(ends).view(3, 1, 1) for ends in ((0.12, 0.33, 0.62), (0.6, 0.3, 0))
    )
    ends = torch.where(tiles < 0, negative, positive)
    painted = torch.lerp(torch.full_like(ends, 0.96), ends, tiles.abs())
    shelf = torch.ones_like(image)
    field = pictures.hatched(image, hole)
    for number, ((row, column), tile) in enumerate(zip(places, painted, strict=True)):
        field = _framed(field, 2 * row - 2, 2 * column - 2, pictures.QUERY)
        top = 43 * number
        shelf[0, :, top : top + 42, 43:85] = tile
    every = layer.filter_conv(F.relu(layer.mask_conv(valid)))[0]
    alike = F.cosine_similarity(every, every[:, 12, 16, None, None], dim=0)
    shade = (0.9 - 0.8 * (alike - alike.min()) / (1 - alike.min()))[None, None]
    return {
        "three windows": field,
        "a filter for each": shelf,
        "how unlike the first": F.interpolate(shade, scale_factor=2).expand_as(image),
        "filled": composite(network(image, hole), image, hole),
    }


def _moved_reads(image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    """The first level's reads of one window in three networks, and what one fills.

    Known reads are teal discs, unknown ones vermilion rings.
    """
    row, column, large = 24, 25, 3  # of 64 places each way
    shown = {}
    for name in ("free", "constrained", "recommended"):
        network = zoo.load(f"sampling_{name}")
        with evidence.record(network) as found:
            filled = composite(network(image, hole), image, hole)
        facts = found["encoder.0.conv"]
        places = facts["positions"][0, :, :, row, column]
        known = facts["seen"][0, :, row, column] >= 0.5
        field = pictures.hatched(0.4 + 0.6 * hide(image, hole), hole)
        field = F.interpolate(field, scale_factor=large)
        top, left = (2 * large * place - 1 for place in (row, column))
        field = _framed(field, top, left, pictures.QUERY)
        for place, good in zip(places, known, strict=True):
            down, right = (large * float(k) + 1 for k in place)
            field = _dotted(field, down, right, known=bool(good))
        shown[name] = field
    return {**shown, "filled by it": F.interpolate(filled, scale_factor=large)}


def _mined_holes(image: Tensor) -> dict[str, Tensor]:
    """How hard each pixel would be; the easiest 35 %, a random hole, both filled."""
    network, score = zoo.load("nearest_unet"), zoo.load("miner")(image)
    drawn = holes.irregular(1, image.shape[-1], torch.Generator().manual_seed(4))
    low, high = score.amin(), score.amax()
    made = {"expected error": ((score - low) / (high - low)).expand_as(image)}
    for name, hole in (
        ("mined", mined_holes(score, 0.35)),
        ("random", holes.grow(drawn, torch.tensor([0.35]))),
    ):
        made[name] = pictures.hatched(image, hole)
        made[f"filled: {name}"] = composite(network(image, hole), image, hole)
    return {"a photo": image, **made}


def _every_rung(image: Tensor) -> dict[str, Tensor]:
    """One hole, filled without learning and by six networks of equal size."""
    hole = F.pad(torch.ones(1, 1, 46, 46), [41] * 4)
    made = {"a hole": pictures.hatched(image, hole)}
    made["harmonic"] = fills.harmonic(image, hole)
    for label, name in {
        "plain": "plain_unet_blind",
        "+ hole channel": "plain_unet",
        "partial": "partial_unet",
        "gated": "gated_unet",
        "mask-aware": "cascade",
        "nearest reads": "nearest_unet",
    }.items():
        made[label] = composite(zoo.load(name)(image, hole), image, hole)
    return made


def _tiled() -> dict[str, Tensor]:
    """A band filled in tiles side by side, in feathered ones, and one of these."""
    photo = photos.load("sheep")
    photo = F.interpolate(photo, size=(282, 389), mode="bilinear", antialias=True)
    photo = photo[..., 12:268, :384].clamp(0, 1)
    hole = F.pad(torch.ones(1, 1, 40, 320), [32, 32, 108, 108])
    network = zoo.load("nearest_unet")
    hard = large.fill_any(network, photo, hole, tile=128, overlap=0)
    soft = large.fill_any(network, photo, hole, tile=128, overlap=32)
    counts = torch.outer(*(large.feather(n, 128, 32)[-2] for n in (256, 384))).float()
    columns = {
        "a hole": pictures.hatched(photo, hole),
        "tiles side by side": hard,
        "feathered tiles": soft,
        "one tile, as it counts": 1 - counts * (1 - soft),
    }
    return {name: each[..., 48:208, 72:312] for name, each in columns.items()}


def _dotted(image: Tensor, row: float, column: float, *, known: bool) -> Tensor:
    """A disc where something known is read, a ring where it is unknown."""
    height, width = (torch.arange(float(side)) for side in image.shape[-2:])
    away = ((height[:, None] - row) ** 2 + (width - column) ** 2).sqrt()
    inked = away < 3.5 if known else (away < 4) & (away > 2)
    colour = pictures.READ if known else pictures.WRONG
    tint = torch.tensor([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return torch.where(inked, tint.view(3, 1, 1), image)


def _framed(image: Tensor, top: int, left: int, colour: str) -> Tensor:
    """A frame of 12 pixels around the place of 4 that begins at ``top``, ``left``."""
    frame = torch.zeros_like(image[:, :1])
    rows, columns = (slice(max(0, k - 4), k + 8) for k in (top, left))
    frame[..., rows, columns] = 1
    inner = F.max_pool2d(1 - frame, 5, 1, 2)  # what is nearer than 2 to the outside
    tint = torch.tensor([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return torch.where(frame * inner == 1, tint.view(3, 1, 1), image)


def _figure(name: str, columns: dict[str, Tensor], scale: float) -> None:
    drawn = pictures.grid(columns, scale=scale).pixels
    path = ASSETS / "figures" / f"{name}.png"
    path.write_bytes(pictures.png(drawn, limit=170_000))
