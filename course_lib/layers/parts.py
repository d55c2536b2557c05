"""Features with their validity, whole or in the parts of a skip; lesson 04.

After a skip a layer gets two features and two validities: ``layer((x, skip),
(valid, skip_valid))``. Each part brings its own validity, so no layer can take one
part for the other, and none has to be told how many channels a part has.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.tensors import ContractError

Parts = Tensor | Sequence[Tensor]


def pairs(x: Parts, valid: Parts, dim: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Each part of the features beside its validity; one pair if there is no skip.

    A part is a tensor of ``dim`` axes ``(N, C, H, W)``; its validity is a float tensor
    of the same N and size with one channel or C of them, 1 = known. Shapes and types
    are checked, values are not. Raises ``ContractError``.
    """
    if isinstance(x, Tensor) != isinstance(valid, Tensor):
        raise ContractError(
            "features and validity must both be tensors, or both be parts: "
            "layer(x, valid), or layer((x, skip), (valid, skip_valid))"
        )
    features = [x] if isinstance(x, Tensor) else list(x)
    validities = [valid] if isinstance(valid, Tensor) else list(valid)
    if len(features) != len(validities) or not features:
        raise ContractError(
            f"{len(features)} parts of features but {len(validities)} of validity: "
            "each part needs its own"
        )
    for part, known in zip(features, validities, strict=True):
        _check(part, known, dim)
    return list(zip(features, validities, strict=True))


def together(x: Parts, valid: Parts, dim: int = 4) -> tuple[Tensor, Tensor]:
    """All channels in one tensor, and one validity: what any of them knows is known.

    For layers that need no more than that. Returns ``(N, C, H, W)`` and
    ``(N, 1, H, W)``. Raises ``ContractError`` as ``pairs`` does.
    """
    found = pairs(x, valid, dim)
    known = [v if v.shape[1] == 1 else v.amax(1, keepdim=True) for _, v in found]
    if len(found) == 1:
        return found[0][0], known[0]
    return torch.cat([part for part, _ in found], 1), torch.cat(known, 1).amax(1, True)


def carried(valid: Tensor, y: Tensor) -> Tensor:
    """Validity at the size of ``y``, for layers that do not change it.

    By nearest neighbour: where the stride divides the side, every stride-th value.
    """
    return F.interpolate(valid, y.shape[2:], mode="nearest")


def promises(conv: object, name: str) -> bool:
    """Whether a layer, or what builds one, has ``name = True`` on its class.

    ``activates``: it brings its own activation. ``reads_validity``: it needs no hole as
    a channel. A ``functools.partial`` hides what it builds, so it is unwrapped first.
    """
    while isinstance(conv, partial):
        conv = conv.func
    return bool(getattr(conv, name, False))


def _check(x: Tensor, valid: Tensor, dim: int) -> None:
    shapes = f"features {tuple(x.shape)} and validity {tuple(valid.shape)}"
    if x.dim() != dim or valid.dim() != dim:
        raise ContractError(f"{shapes} must both have {dim} axes, batch and channels")
    if x.shape[0] != valid.shape[0] or x.shape[2:] != valid.shape[2:]:
        raise ContractError(
            f"{shapes} must have the same batch and size; one validity for a whole "
            "batch is valid.expand(N, -1, -1, -1)"
        )
    if valid.shape[1] not in (1, x.shape[1]):
        raise ContractError(
            f"{shapes}: validity has one channel, or one for each of the "
            f"{x.shape[1]} feature channels. What a skip brings is given beside, not "
            "concatenated: layer((x, skip), (valid, skip_valid))"
        )
    if not valid.is_floating_point():
        raise ContractError(
            f"validity has dtype {valid.dtype}, expected a float tensor of 0 and 1: "
            "use valid.float()"
        )
    if x.device != valid.device:
        raise ContractError(
            f"features are on {x.device} and validity on {valid.device}: move one with "
            ".to()"
        )
