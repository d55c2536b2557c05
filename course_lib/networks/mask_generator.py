"""The network that says, before anything is hidden, how hard it would be; lesson 09.

Cai et al. 2024 train a mask generator together with the inpainter, so that holes are
large yet predictable. Only the abstract is public: what this one predicts, and how a
hole is cut from it (``course_lib.mining``), is ours.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.evidence import emit
from course_lib.tensors import check_image

STRIDE = 4  # pixels: free single pixels become a checkerboard that gives itself away
USUAL_ERROR = 0.1  # what an untrained generator expects, about an inpainter's error


class MaskGenerator(nn.Module):
    """Picture in; the logarithm of each pixel's expected error, were it hidden, out.

    Two convolutions of stride 2, then one 3 x 3 convolution for each of ``dilations``,
    each added to what it read, then one score for each ``STRIDE`` x ``STRIDE`` pixels,
    enlarged bilinearly. ``channels``: after the first and after all others; the
    default has 69 thousand weights. It is never told a hole. Zeros around the picture
    let it know the border, where an inpainter has less to go by.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 40),
        dilations: Sequence[int] = (1, 2, 4, 8),
    ) -> None:
        super().__init__()
        first, wide = channels
        # Windows of 4 are centred between pixels, as the enlarged grid will be
        self.down = nn.ModuleList(
            [nn.Conv2d(3, first, 4, 2, 1), nn.Conv2d(first, wide, 4, 2, 1)]
        )
        self.around = nn.ModuleList(
            nn.Conv2d(wide, wide, 3, padding=gap, dilation=gap) for gap in dilations
        )
        self.last = nn.Conv2d(wide, 1, 1)
        self.reset_parameters()

    def forward(self, image: Tensor) -> Tensor:
        """``image (N, 3, H, W)`` in ``[0, 1]`` -> score ``(N, 1, H, W)``, any number.

        Lower is more predictable; ``score.exp()`` is an error between 0 and 1, the
        mean over colours. Any size. Raises ``ContractError`` for what is no image;
        its values are checked in evaluation mode only.
        """
        check_image(image, finite=not self.training)
        height, width = image.shape[-2:]
        x = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        x = 2 * x - 1
        for conv in self.down:
            x = F.relu(conv(x))
        for conv in self.around:
            x = x + F.relu(conv(x))
        grid = math.log(USUAL_ERROR) + self.last(x)
        enlarged = F.interpolate(
            grid, scale_factor=STRIDE, mode="bilinear", align_corners=False
        )
        score = enlarged[..., :height, :width]
        emit(self, "score", score)
        return score

    def reset_parameters(self) -> None:
        """Draw all weights anew: small ones last, so that it begins nearly undecided.

        Not 0: equal scores would make the same hole in every picture.
        """
        for conv in [*self.down, *self.around, self.last]:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
        self.last.weight.data.mul_(0.1)
