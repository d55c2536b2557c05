"""Contextual attention, which fills a hole by copying from far away; lesson 06.

Yu et al. 2018, "Generative image inpainting with contextual attention", section 4.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.tensors import ContractError, check_hole


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
    - ``compat="deepfill"``: the published arithmetic. Unusable keys get the score 0 and
      afterwards the weight 0, so rows sum to less than one, and sums of patches are
      divided by 4 even at borders, where fewer than 4 overlap.

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
        _check_settings(patch_size, rate, compat)
        self.patch_size, self.rate = patch_size, rate
        self.softmax_scale, self.fuse = softmax_scale, fuse
        self.compat, self.cosine = compat, cosine

    def forward(
        self, query: Tensor, background: Tensor, hole: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fill maps ``(N, C, H, W)``: ``y`` of the same shape, and the attention.

        ``hole (N, 1, H, W)`` is that of the background at this resolution, 1 = missing. A key is
        usable when neither its patch nor what it would paste touches a missing place.
        ``y (N, C, H, W)``; ``attention (N, h * w, h * w)``, a row for each query and a
        column for each key, both row by row; rows sum to one over the usable keys. A
        sample without usable keys gets zeros, in y and in its attention.

        Under the hole nothing of ``background`` is ever copied, and NaN there counts as
        0. With ``fuse`` the scores of unusable keys still reach those of their
        neighbours, so finite values under the hole (a first fill) have a say there.
        NaN in ``query`` makes NaN of what is computed from it, and only of that.
        Computed in float32 under autocast. Raises ``ContractError`` when the sides are
        no multiples of ``rate`` or the shapes do not belong together.
        """
        _check_maps(query, background, hole, self.rate)
        with torch.autocast(query.device.type, enabled=False):
            attention = self._attention(_wide(query), _wide(background), hole)
            y = self._paste(attention, _wide(background), hole).to(query.dtype)
        emit(self, "query", query)
        emit(self, "background", background)
        emit(self, "hole", hole)
        emit(self, "attention", attention)
        return y, attention

    def _attention(self, query: Tensor, background: Tensor, hole: Tensor) -> Tensor:
        h, w = (side // self.rate for side in hole.shape[-2:])
        missing = hole.bool() & ~background.isfinite()
        keys = self._patches(background.masked_fill(missing, 0.0))
        queries = self._patches(query)
        keys = keys / keys.norm(dim=1, keepdim=True).clamp_min(1e-4)
        if self.cosine:
            queries = queries / queries.norm(dim=1, keepdim=True).clamp_min(1e-4)
        scores = queries.transpose(1, 2) @ keys
        if self.fuse:
            scores = propagated(scores, h, w)
        return self._shares(scores * self.softmax_scale, self._usable(hole))

    def _shares(self, logits: Tensor, usable: Tensor) -> Tensor:
        """Softmax over the usable keys; ``logits (N, queries, keys)``."""
        if self.compat == "deepfill":
            return logits.masked_fill(~usable, 0.0).softmax(-1).masked_fill(~usable, 0)
        some = usable.any(-1, keepdim=True)  # softmax of nothing but -inf is NaN
        logits = logits.masked_fill(~usable & some, -torch.inf)
        return logits.softmax(-1).masked_fill(~usable, 0.0)

    def _patches(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C * patch_size ** 2, h * w)``, on the coarse grid."""
        coarse = x[..., :: self.rate, :: self.rate]
        return F.unfold(coarse, self.patch_size, padding=self.patch_size // 2)

    def _usable(self, hole: Tensor) -> Tensor:
        """``(N, 1, h * w)``: which keys touch nothing that is missing."""
        usable = self._patches(hole).sum(1, keepdim=True) == 0
        if self.compat == "deepfill":
            return usable
        return usable & (self._pasted(hole).sum(1, keepdim=True) == 0)

    def _pasted(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C * (2 * rate) ** 2, h * w)``, at full resolution."""
        before, after = self.rate // 2, self.rate - self.rate // 2
        padded = F.pad(x, (before, after, before, after))
        return F.unfold(padded, 2 * self.rate, stride=self.rate)

    def _paste(self, attention: Tensor, background: Tensor, hole: Tensor) -> Tensor:
        values = self._pasted(background.masked_fill(hole.bool(), 0.0))
        total = self._folded(values @ attention.transpose(1, 2), hole)
        if self.compat == "deepfill":
            return total / 4
        return total / self._folded(
            torch.ones_like(values[:1, : 4 * self.rate**2]), hole
        )

    def _folded(self, pasted: Tensor, hole: Tensor) -> Tensor:
        """The sum of the pasted patches, ``(N, C, H, W)``; undoes ``_pasted``."""
        height, width = hole.shape[-2:]
        rate, before = self.rate, self.rate // 2
        size = (height + rate, width + rate)
        padded = F.fold(pasted, size, 2 * rate, stride=rate)
        return padded[..., before : before + height, before : before + width]


def propagated(scores: Tensor, h: int, w: int) -> Tensor:
    """Scores ``(N, h * w, h * w)`` that agree with those of their neighbours.

    ``s'[p, q] = s[p-1, q-1] + s[p, q] + s[p+1, q+1]`` with the places numbered row by
    row, then the same with them numbered column by column.
    """
    along = _with_neighbours(scores)
    turned = _turned(along, h, w)
    return _turned(_with_neighbours(turned), w, h)


def _with_neighbours(scores: Tensor) -> Tensor:
    padded = F.pad(scores, (1, 1, 1, 1))
    return padded[:, :-2, :-2] + scores + padded[:, 2:, 2:]


def _turned(scores: Tensor, h: int, w: int) -> Tensor:
    """Both places numbered column by column instead of row by row."""
    apart = scores.unflatten(2, (h, w)).unflatten(1, (h, w))
    return apart.permute(0, 2, 1, 4, 3).flatten(3, 4).flatten(1, 2)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _check_settings(patch_size: int, rate: int, compat: str | None) -> None:
    if patch_size < 1 or patch_size % 2 == 0:
        raise ContractError(
            f"patch_size is {patch_size}, expected 1, 3, 5, ...: a patch has a middle"
        )
    if rate < 1:
        raise ContractError(f"rate is {rate}, expected a whole number of at least 1")
    if compat not in (None, "deepfill"):
        raise ContractError(f'compat is {compat!r}, expected None or "deepfill"')


def _check_maps(query: Tensor, background: Tensor, hole: Tensor, rate: int) -> None:
    if query.dim() != 4 or query.shape != background.shape:
        raise ContractError(
            f"query {tuple(query.shape)} and background {tuple(background.shape)} must "
            "both be (N, C, H, W), of the same shape"
        )
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
