"""Losses of several terms: of partial convolution (lesson 04), of a cascade (07).

Liu et al. 2018, equation 7, whose terms lesson 02 builds one by one; Zhu et al. 2021.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

from course_lib.losses.perceptual import Extractor, perceptual_and_style
from course_lib.losses.reconstruction import l1, total_variation
from course_lib.tensors import ContractError

PARTIAL_CONVOLUTION_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "valid": 1.0,
        "hole": 6.0,
        "perceptual": 0.05,
        "style": 120.0,
        "total_variation": 0.1,
    }
)


def partial_convolution_loss(
    prediction: Tensor,
    image: Tensor,
    hole: Tensor,
    extractor: Extractor | None = None,
    weights: Mapping[str, float] = PARTIAL_CONVOLUTION_WEIGHTS,
) -> dict[str, Tensor]:
    """The five terms, as they are, and ``"total"``, their weighted sum; scalars.

    ``prediction``, ``image`` ``(N, 3, H, W)`` in [0, 1] and ``hole (N, 1, H, W)``.
    ``"valid"``, ``"hole"`` and ``"total_variation"`` are divided by all values of the
    batch (the paper's FAQ: "size-averaged"); ``"perceptual"`` and ``"style"`` are of
    the prediction and of the composite. The published weights were found for
    torchvision's VGG-16; the default extractor's activations are scaled to suit them.
    Raises ``ContractError`` for weights of other terms, and when the shapes do not
    belong together.
    """
    _check(weights)
    found = {
        **_pixels(prediction, image, hole),
        **perceptual_and_style(prediction, image, hole, extractor),
        "total_variation": total_variation(prediction, image, hole),
    }
    return found | {"total": _weighted(found, weights)}


def cascade_loss(
    predictions: Sequence[Tensor],
    image: Tensor,
    hole: Tensor,
    extractor: Extractor | None = None,
    weights: Mapping[str, float] = PARTIAL_CONVOLUTION_WEIGHTS,
) -> dict[str, Tensor]:
    """The same five terms coarse to fine, each added up over the answers it is for.

    ``predictions``: the answers of a cascade's decoders, each ``(N, 3, H, W)``, the
    last one last. ``"valid"`` and ``"hole"`` are asked of all, ``"perceptual"`` from
    the second on, ``"style"`` and ``"total_variation"`` from the third on: what is not
    asked of any is left out. ``"total"`` is the weighted sum; a term whose weight is 0
    is not computed. Zhu et al. 2021; their code takes the style of the second answer
    in place of the third, and the variation of the whole composite. Raises
    ``ContractError`` as :func:`partial_convolution_loss` does, and for no predictions.
    """
    _check(weights)
    if not predictions:
        raise ContractError("no predictions: give the answer of one decoder at least")
    found: dict[str, Tensor] = {}
    for place, prediction in enumerate(predictions):
        terms = _pixels(prediction, image, hole)
        looks = [n for n in ("perceptual", "style") if place >= _FROM[n] and weights[n]]
        if looks:
            seen = perceptual_and_style(prediction, image, hole, extractor)
            terms |= {name: seen[name] for name in looks}
        if place >= _FROM["total_variation"] and weights["total_variation"]:
            terms["total_variation"] = total_variation(prediction, image, hole)
        found |= {name: found.get(name, 0) + value for name, value in terms.items()}
    return found | {"total": _weighted(found, weights)}


_FROM = {"perceptual": 1, "style": 2, "total_variation": 2}  # the place of an answer


def _pixels(prediction: Tensor, image: Tensor, hole: Tensor) -> dict[str, Tensor]:
    return {
        "valid": l1(prediction, image, hole, "valid"),
        "hole": l1(prediction, image, hole, "hole"),
    }


def _weighted(found: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    parts = [weights[name] * value for name, value in found.items()]
    return sum(parts[1:], parts[0])


def _check(weights: Mapping[str, float]) -> None:
    if set(weights) != set(PARTIAL_CONVOLUTION_WEIGHTS):
        raise ContractError(
            f"weights are for {', '.join(weights) or 'nothing'}, expected one for each "
            f"of {', '.join(PARTIAL_CONVOLUTION_WEIGHTS)}"
        )
