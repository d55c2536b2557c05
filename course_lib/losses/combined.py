"""The loss that partial convolution was published with; lesson 04 reads its terms.

Liu et al. 2018, equation 7. Lesson 02 builds the terms one by one.
"""

from collections.abc import Mapping
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
    if set(weights) != set(PARTIAL_CONVOLUTION_WEIGHTS):
        raise ContractError(
            f"weights are for {', '.join(weights) or 'nothing'}, expected one for each "
            f"of {', '.join(PARTIAL_CONVOLUTION_WEIGHTS)}"
        )
    found = {
        "valid": l1(prediction, image, hole, "valid"),
        "hole": l1(prediction, image, hole, "hole"),
        **perceptual_and_style(prediction, image, hole, extractor),
        "total_variation": total_variation(prediction, image, hole),
    }
    parts = [weights[name] * value for name, value in found.items()]
    return {**found, "total": sum(parts[1:], parts[0])}
