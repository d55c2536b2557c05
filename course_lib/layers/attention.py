"""Contextual attention, which fills a hole by copying from far away; lesson 06.

Yu et al. 2018, "Generative image inpainting with contextual attention", section 4.1.
Written as two matrix products and sums along diagonals between them: see diagonals.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from course_lib.evidence import emit
from course_lib.layers.diagonals import halo, propagated, spread, windowed
from course_lib.tensors import ContractError, check_hole

DENSE = 2**26  # the largest N * queries * keys that is computed at once: 256 MB of it
BLOCK = 2**25  # how many of them are in memory at a time beyond that


class ContextualAttention(nn.Module):
    """Rebuilds each place of a map from the patches elsewhere that look most like it.

    Both maps are looked at on a grid ``rate`` times coarser (every ``rate``-th place,
    ``h = H / rate`` rows, ``w = W / rate`` columns). There each ``patch_size`` patch of
    ``query`` is compared with each one of ``background``, its keys; a softmax over the
    keys says how much to copy from where; what is pasted are background patches of side
    ``2 * rate`` at full resolution, and where pasted patches overlap, their mean.

    - ``softmax_scale``: scores times this go into the softmax.
    - ``fuse``: the paper's propagation. A score takes up those of the eight neighbours
      of its query, each with the like neighbour of its key. As published, on flattened
      maps: after the last column comes the first of the next row.
    - ``cosine``: query patches get length one too, as in the paper. The published code,
      and the default, divides only the keys by their length.
    - ``compat="deepfill"``: the published arithmetic. A key is usable when its patch on
      the coarse grid touches nothing missing, whatever it pastes. Unusable keys get the
      score 0 and afterwards the weight 0, so rows sum to less than one, and sums of
      patches are divided by 4 even at borders, where fewer than 4 overlap. Still every
      sample has its own hole, and what is missing pastes 0.

    Outside a map all is zero, also in the patches that a key at the border pastes.

    It has no parameters. Raises ``ContractError`` for settings that make no sense.
    """

    def __init__(
        self,
        patch_size: int = 3,
        rate: int = 2,
        softmax_scale: float = 10.0,
        fuse: bool = True,
        compat: str | None = None,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(patch_size, rate, softmax_scale, compat)
        self.patch_size, self.rate = patch_size, rate
        self.softmax_scale, self.fuse = softmax_scale, fuse
        self.compat, self.cosine = compat, cosine

    def forward(
        self, query: Tensor, background: Tensor, hole: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Fill maps ``(N, C, H, W)``: ``y`` of the same shape, and the attention.

        ``hole (N, 1, H, W)`` is that of the background at this resolution, 1 = missing.
        A key is usable when neither its patch nor what it would paste touches a missing
        place. The attention ``(N, h * w, h * w)`` has a row for each query and a column
        for each key, both row by row; rows sum to one over the usable keys. A sample
        without usable keys gets zeros, in ``y`` and in its attention.

        Beyond ``DENSE`` scores the work is done in blocks of queries: the same ``y``,
        in little memory, also in training, and None for the attention; ask ``rows``.

        Under the hole nothing of ``background`` is ever copied, and NaN there counts as
        0. With ``fuse`` the scores of unusable keys still reach those of their
        neighbours, so finite values under the hole (a first fill) have a say there.
        NaN in ``query`` makes NaN of what is computed from it, and only of that.
        Computed in float32 under autocast; gradients have no gradients of their own.
        Raises ``ContractError`` when the sides are no multiples of ``rate``, the shapes
        do not belong together, the tensors are on different devices or, in evaluation
        mode, the hole is not 0 and 1.
        """
        _check_maps(query, background, hole, self.rate, values=not self.training)
        with torch.autocast(query.device.type, enabled=False):
            maps = self._maps(_wide(query), _wide(background), hole)
            if len(query) * maps.usable.shape[-1] ** 2 <= DENSE:
                attention = self._attention(maps, range(maps.h))
                pasted = self._paste(maps, attention)
            else:
                attention, pasted = None, self._paste_in_blocks(maps)
            y = self._assemble(maps, pasted).to(query.dtype)
        emit(self, "query", query)
        emit(self, "background", background)
        emit(self, "hole", hole)
        if attention is not None:
            emit(self, "attention", attention)
        return y, attention

    def rows(
        self, query: Tensor, background: Tensor, hole: Tensor, places: Sequence[int]
    ) -> Tensor:
        """Attention of some queries only, ``(N, len(places), h * w)``, at any size.

        ``places`` are numbers of queries, row by row on the coarse grid: place
        ``i * w + j`` is that of row ``i * rate`` and column ``j * rate`` of the maps.
        Raises ``ContractError`` as ``forward`` does, and for a place that is not there.
        """
        _check_maps(query, background, hole, self.rate, values=True)
        with torch.autocast(query.device.type, enabled=False):
            maps = self._maps(_wide(query), _wide(background), hole)
            _check_places(places, maps.h, maps.w)
            found = {}
            for row in {place // maps.w for place in places}:
                attention = self._attention(maps, range(row, row + 1))
                for place in places:
                    if place // maps.w == row:
                        found[place] = attention[:, place % maps.w].clone()
            return torch.stack([found[place] for place in places], 1)

    def _maps(self, query: Tensor, background: Tensor, hole: Tensor) -> "_Maps":
        """All that does not grow with the square of the number of places."""
        rate, size, around = self.rate, self.patch_size, [self.patch_size // 2] * 4
        unknown = hole.bool() & ~background.isfinite()
        seen = background.masked_fill(unknown, 0.0)
        queries, keys, gone = (
            F.pad(x[..., ::rate, ::rate], around) for x in (query, seen, hole)
        )
        border = [rate // 2, rate - rate // 2] * 2
        shown = F.pad(background.masked_fill(hole.bool(), 0.0), border)
        usable = F.max_pool2d(gone, size, 1).flatten(2) == 0
        if self.compat is None:  # nor may it paste what is missing
            hidden = F.max_pool2d(F.pad(hole, border), 2 * rate, rate)
            usable = usable & (hidden.flatten(2) == 0)
        return _Maps(
            queries,
            keys,
            (1 / _length(queries, size)).transpose(1, 2) if self.cosine else None,
            self.softmax_scale / _length(keys, size),
            usable,
            F.pixel_unshuffle(shown, rate).flatten(2).transpose(1, 2),
            *(side // rate for side in hole.shape[-2:]),
        )

    def _attention(self, maps: "_Maps", rows: range) -> Tensor:
        """The shares ``(N, len(rows) * w, h * w)`` of the queries in some rows."""
        if self.fuse:
            parts = [self._scores(maps, part) for part in halo(rows, maps.h)]
            scores = torch.cat(parts, 1) if len(parts) > 1 else parts.pop()
            del parts  # a block's matrix is large: keep one
            logits = propagated(scores, rows, maps.h, maps.w)
        else:
            logits = self._scores(maps, rows)
        usable = maps.usable
        if self.compat == "deepfill":
            return logits.masked_fill(~usable, 0.0).softmax(-1).masked_fill(~usable, 0)
        some = usable.any(-1, keepdim=True)  # softmax of nothing but -inf is NaN
        shares = logits.masked_fill(~usable & some, -torch.inf).softmax(-1)
        return shares if some.all() else shares.masked_fill(~some, 0.0)

    def _scores(self, maps: "_Maps", rows: range) -> Tensor:
        """Scores of patches: windows of the products of places, by their lengths."""
        size = self.patch_size
        queries = maps.queries[:, :, rows.start : rows.stop + size - 1]
        products = queries.flatten(2).transpose(1, 2) @ maps.keys.flatten(2)
        apart = products.unflatten(2, maps.keys.shape[2:])
        apart = apart.unflatten(1, queries.shape[2:])
        scores = windowed(apart, size).flatten(3).flatten(1, 2) * maps.scale
        if maps.shrink is None:
            return scores
        return scores * maps.shrink[:, rows.start * maps.w : rows.stop * maps.w]

    def _paste(self, maps: "_Maps", attention: Tensor) -> Tensor:
        """``(N, rows + 1, w + 1, C * rate ** 2)``: what the blocks of places receive.

        Patches of side ``2 * rate`` lie ``rate`` apart, so each is four blocks of side
        ``rate``, and each block gets a part of four patches.
        """
        apart = attention.unflatten(2, (maps.h, maps.w)).unflatten(1, (-1, maps.w))
        shares = spread(apart, 2)
        pasted = shares.flatten(3).flatten(1, 2) @ maps.values
        return pasted.unflatten(1, shares.shape[1:3])

    def _paste_in_blocks(self, maps: "_Maps") -> Tensor:
        """The same for all rows, a few rows of queries at a time."""

        def paste(rows: range) -> Tensor:
            return self._paste(maps, self._attention(maps, rows))

        total = maps.values.new_zeros(
            len(maps.values), maps.h + 1, maps.w + 1, maps.values.shape[2]
        )
        per_row = len(maps.values) * maps.w * maps.usable.shape[-1]
        step = max(1, BLOCK // per_row)
        for start in range(0, maps.h, step):
            rows = range(start, min(start + step, maps.h))
            if torch.is_grad_enabled():  # backward computes the block again
                part = checkpoint(
                    paste, rows, use_reentrant=False, preserve_rng_state=False
                )
            else:
                part = paste(rows)
            total[:, start : rows.stop + 1] += part
        return total

    def _assemble(self, maps: "_Maps", pasted: Tensor) -> Tensor:
        """Blocks back in their places, divided by how many patches overlap there."""
        if self.compat == "deepfill":
            pasted = pasted / 4
        else:
            ones = F.pad(pasted.new_ones(1, maps.h, maps.w), (1, 1, 1, 1))
            count = F.avg_pool2d(ones, 2, 1, divisor_override=1)
            pasted = pasted / count.unsqueeze(-1)
        y = F.pixel_shuffle(pasted.permute(0, 3, 1, 2), self.rate)
        start = self.rate // 2
        return y.narrow(2, start, maps.h * self.rate).narrow(
            3, start, maps.w * self.rate
        )


class _Maps(NamedTuple):
    """What the matrices are made of; ``h`` by ``w`` places, ``r = patch_size // 2``."""

    queries: Tensor  # (N, C, h + 2 r, w + 2 r): the coarse map with zeros around it
    keys: Tensor  # the same of the background
    shrink: Tensor | None  # (N, h * w, 1): one by the length of a query patch
    scale: Tensor  # (N, 1, h * w): the softmax's scale by the length of a key patch
    usable: Tensor  # (N, 1, h * w): which keys may be copied
    values: Tensor  # (N, (h + 1) * (w + 1), C * rate ** 2): blocks of side rate
    h: int
    w: int


def _length(padded: Tensor, size: int) -> Tensor:
    """``(N, 1, h * w)``: the length of each patch, at least 1e-4."""
    squares = padded.square().sum(1, keepdim=True)
    summed = F.avg_pool2d(squares, size, 1, divisor_override=1)
    return summed.flatten(2).clamp_min(1e-8).sqrt()


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _check_settings(
    patch_size: int, rate: int, softmax_scale: float, compat: str | None
) -> None:
    if patch_size < 1 or patch_size % 2 == 0:
        raise ContractError(
            f"patch_size is {patch_size}, expected 1, 3, 5, ...: a patch has a middle"
        )
    if rate < 1:
        raise ContractError(f"rate is {rate}, expected a whole number of at least 1")
    if not 0 <= softmax_scale < float("inf"):
        raise ContractError(
            f"softmax_scale is {softmax_scale}, expected a number of at least 0"
        )
    if compat not in (None, "deepfill"):
        raise ContractError(f'compat is {compat!r}, expected None or "deepfill"')


def _check_places(places: Sequence[int], h: int, w: int) -> None:
    odd = [place for place in places if not 0 <= place < h * w]
    if odd or not len(places):
        raise ContractError(
            f"places are {odd or 'empty'}, expected numbers from 0 to {h * w - 1}: the "
            f"coarse grid has {h} rows of {w} queries"
        )


def _check_maps(
    query: Tensor, background: Tensor, hole: Tensor, rate: int, values: bool
) -> None:
    if query.dim() != 4 or query.shape != background.shape:
        raise ContractError(
            f"query {tuple(query.shape)} and background {tuple(background.shape)} must "
            "both be (N, C, H, W), of the same shape"
        )
    if query.dtype != background.dtype or not query.is_floating_point():
        raise ContractError(
            f"query is {query.dtype} and background {background.dtype}, expected the "
            "same type of float: convert one with .to()"
        )
    if not query.device == background.device == hole.device:
        raise ContractError(
            f"query is on {query.device}, background on {background.device} and hole "
            f"on {hole.device}: move them to one with .to()"
        )
    if values:  # reading them would make a GPU wait in every step of a training
        check_hole(hole)
    height, width = query.shape[-2:]
    if hole.shape != (len(query), 1, height, width):
        raise ContractError(
            f"hole {tuple(hole.shape)} does not fit maps {tuple(query.shape)}: "
            f"expected ({len(query)}, 1, {height}, {width}), a hole for each sample at "
            "the resolution of the maps; holes.resize brings it there"
        )
    if height % rate or width % rate:
        fits = (
            f"{side // rate * rate} or {-(-side // rate) * rate}"
            for side in (height, width)
        )
        raise ContractError(
            f"maps of {height} x {width} do not split into steps of rate={rate}: "
            f"height {next(fits)} and width {next(fits)} would; pad or crop"
        )
