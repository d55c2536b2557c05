"""What each layer that reads validity was given, window by window (lesson 04).

The window explorer shows it; a lesson may ask it directly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.evidence import record
from course_lib.layers.parts import pairs, promises
from course_lib.networks.reading import device_of, evaluating
from course_lib.widgets.base import WidgetError

GREY = 0.5  # what a plain convolution is given in the hole, for comparison
UNKNOWN, KNOWN, PADDING = 0, 1, 2  # what a tap of a window finds


@dataclass(frozen=True)
class Layer:
    """What one layer was given and gave, batch 1, kept on the CPU.

    ``parts``: features and validity, ``(1, C, H, W)`` and ``(1, 1 or C, H, W)``, two
    pairs after a skip. ``window (1, 1, H', W')`` is the known share of each window,
    ``valid (1, 1, H', W')`` what is known afterwards, ``output (1, C', H', W')``.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    parts: list[tuple[Tensor, Tensor]]
    output: Tensor
    window: Tensor
    valid: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output grid."""
        return self.output.shape[-2], self.output.shape[-1]

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input grid."""
        return self.parts[0][0].shape[-2], self.parts[0][0].shape[-1]

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the window, in taps."""
        return self.weight.shape[-2], self.weight.shape[-1]

    @property
    def unknown(self) -> float:
        """Share of the map that is unknown after the layer."""
        return float((self.valid == 0).double().mean())

    @property
    def part_names(self) -> list[str]:
        """What the parts of the input are called."""
        count = len(self.parts)
        usual = {1: ["input"], 2: ["decoder", "skip"]}
        return usual.get(count) or [f"part {k}" for k in range(count)]

    @property
    def share(self) -> Tensor:
        """Known share of each window as far as it lies inside, ``(H', W')``."""
        sides = [
            torch.stack([self.place(n, n)[2].any(1 - axis).sum() for n in range(size)])
            for axis, size in enumerate(self.size)
        ]
        return self.window[0, 0] * self._places / (sides[0][:, None] * sides[1][None])

    @property
    def _places(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def maps(self) -> list[Tensor]:
        """Where anything is known, ``(H, W)``: each part of the input, then after."""
        known = [valid[0].amax(0) for _, valid in self.parts]
        return [*known, self.valid[0, 0]]

    def place(self, row: int, column: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows and columns of the window's taps, and which lie inside, ``(k, k)``."""
        found = [
            at * stride - padding + gap * torch.arange(taps)
            for at, stride, padding, gap, taps in zip(
                (row, column),
                self.stride,
                self.padding,
                self.dilation,
                self.kernel,
                strict=True,
            )
        ]
        within = [
            (n >= 0) & (n < size)
            for n, size in zip(found, self.input_size, strict=True)
        ]
        return found[0], found[1], within[0][:, None] & within[1][None]

    def read(self, row: int, column: int) -> list[tuple[Tensor, Tensor]]:
        """Each part of a window: its features and what is known, ``(C, k, k)``.

        Features are 0 wherever nothing is known, as they are in the padding.
        """
        rows, columns, inside = self.place(row, column)
        height, width = self.input_size
        down, across = rows.clamp(0, height - 1)[:, None], columns.clamp(0, width - 1)
        found = []
        for x, valid in self.parts:
            known = (valid[0].expand_as(x[0])[:, down, across] > 0) & inside
            found.append((torch.where(known, x[0][:, down, across], 0), known))
        return found


def record_layers(network: nn.Module, image: Tensor, hole: Tensor) -> list[Layer]:
    """Run the network once; what its validity-reading layers read, in that order.

    Those are the 2-D convolutions with ``reads_validity`` that emit the known share of
    each window as evidence. A layer that runs twice is kept as it ran last. Raises
    ``WidgetError`` when there is none.
    """
    names = {
        module: name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and promises(module, "reads_validity")
    }
    calls: dict[nn.Conv2d, tuple[list[tuple[Tensor, Tensor]], Tensor]] = {}

    def hear(layer: Any, args: Any, named: Any, output: Any) -> None:
        calls[layer] = (pairs(*args, **named), output[0])

    hooks = [layer.register_forward_hook(hear, with_kwargs=True) for layer in names]
    at = device_of(network)
    try:
        with record(network) as evidence, evaluating(network), torch.no_grad():
            network(image.to(at), hole.to(at))
    finally:
        for hook in hooks:
            hook.remove()
    found = [
        _kept(layer, names[layer], *calls[layer], evidence[names[layer]])
        for layer in calls
        if "window" in evidence.get(names[layer], {})
    ]
    if not found:
        raise WidgetError(
            "This network has no layer that reads validity: show one that is built of "
            "partial convolutions, such as UNet(conv=PartialConv2d)."
        )
    return found


def _kept(
    layer: nn.Conv2d,
    name: str,
    parts: list[tuple[Tensor, Tensor]],
    output: Tensor,
    evidence: dict[str, Tensor],
) -> Layer:
    def own(value: Tensor) -> Tensor:  # a copy: the network may learn on
        return value.detach().float().cpu().clone()

    def two(value: Any) -> tuple[int, int]:
        return int(value[0]), int(value[1])

    return Layer(
        name.removesuffix(".conv"),
        own(layer.weight),
        None if layer.bias is None else own(layer.bias),
        two(layer.stride),
        two(layer.padding),
        two(layer.dilation),
        [(own(x), own(valid)) for x, valid in parts],
        own(output),
        own(evidence["window"]),
        own(evidence["valid"]),
    )


def window_facts(layer: Layer, row: int, column: int, channel: int) -> dict[str, Any]:
    """All there is to say about one window and one output channel, in plain numbers.

    ``taps``: for each part a tap is UNKNOWN, KNOWN (in any channel) or PADDING, row by
    row. ``read`` of ``total`` values are known and ``ratio`` is total / read, None for
    an empty window. ``partial`` is the layer's own value, ``sum`` x ratio + ``bias``;
    ``zero`` (without the ratio) and ``grey`` are those of a plain convolution with the
    same weights that finds 0 or 0.5 where something is missing, and 0 in the padding.
    """
    rows, columns, inside = layer.place(row, column)
    found = layer.read(row, column)
    features = torch.cat([x for x, _ in found]).double()
    known = torch.cat([v for _, v in found])
    weight = layer.weight[channel].double()
    bias = 0.0 if layer.bias is None else float(layer.bias[channel])
    total, read = known.numel(), int(known.sum())
    known_sum = float((weight * features).sum())
    missing = float((weight * (inside & ~known)).sum())
    anything = [v.any(0) for _, v in found]
    taps = [torch.where(inside, v.long(), PADDING) for v in anything]
    spans = [int(at[-1] - at[0]) + 1 for at in (rows, columns)]
    return {
        "row": row,
        "column": column,
        "channel": channel,
        "box": [int(rows[0]), int(columns[0]), *spans],
        "taps": [tap.flatten().tolist() for tap in taps],
        "known": [int(v.sum()) for v in anything],
        "padding": int((~inside).sum()),
        "read": read,
        "total": total,
        "ratio": total / read if read else None,
        "sum": known_sum,
        "bias": bias,
        "partial": known_sum * total / read + bias if read else 0.0,
        "zero": known_sum + bias,
        "grey": known_sum + GREY * missing + bias,
    }
