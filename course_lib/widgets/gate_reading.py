"""What each gated layer let through, beside partial convolution's rule (lesson 05).

The gate explorer shows it; a lesson may ask it directly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.evaluation import auc
from course_lib.evidence import Evidence, record
from course_lib.layers import carried
from course_lib.networks.reading import device_of, evaluating
from course_lib.widgets.base import WidgetError

BINS = 10  # of the gate between 0 and 1


@dataclass(frozen=True)
class GatedLayer:
    """The gates of one layer for one picture, kept on the CPU.

    ``gate (C, h, w)`` in ``[0, 1]``; ``hole (1, 1, h, w)`` by nearest neighbour, as
    validity is carried; ``auc (C,)`` of each channel, see :func:`evaluation.auc`;
    ``rule (1, 1, h, w)``, 1 = open: what partial convolution knows after its layer of
    the same name, None where the rival has no such layer.
    """

    name: str
    gate: Tensor
    hole: Tensor
    auc: Tensor
    rule: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the map."""
        return self.gate.shape[-2], self.gate.shape[-1]

    @property
    def order(self) -> list[int]:
        """The channels by AUC, the highest first; by number where it is undefined."""
        below = -self.auc.nan_to_num(0.5)
        ranked: list[int] = below.argsort(stable=True).tolist()
        return ranked

    @property
    def strongest(self) -> int:
        """The channel that tells the hole best, open or shut in it; else the first."""
        return int((self.auc.nan_to_num(0.5) - 0.5).abs().argmax())

    def facts(self, channel: int, row: int, column: int) -> dict[str, Any]:
        """All there is to say about a channel and a place of the map, in numbers.

        ``bins`` are shares of the missing and of the known places by the value of the
        gate, in tenths; ``here`` is the gate of every channel at the place. A number
        that is undefined is None.
        """
        missing = self.hole[0, 0].bool()
        rule = None
        if self.rule is not None:
            value = self.rule[0]
            rule = _compared(value[0], missing, auc(value, self.hole)[0])
            rule["here"] = float(value[0, row, column])
        here = self.gate[:, row, column]
        return {
            **_compared(self.gate[channel], missing, self.auc[channel]),
            "bins": [_bins(self.gate[channel][at]) for at in (missing, ~missing)],
            "rule": rule,
            "cell": [row, column],
            "missing_here": bool(missing[row, column]),
            "here": here.tolist(),
            "open_here": int((here > 0.5).sum()),
        }


def record_gates(
    network: nn.Module, rival: nn.Module | None, image: Tensor, hole: Tensor
) -> list[GatedLayer]:
    """Run both networks once; the layers that emit a gate, in the order they ran.

    ``rival`` is a network of partial convolutions; its layers emit what they know. A
    layer that runs twice is kept as it ran last. Raises ``WidgetError`` when no layer
    emits a gate.
    """
    evidence = _heard(network, image, hole)
    rules = _heard(rival, image, hole) if rival is not None else {}
    found = []
    for name, facts in evidence.items():
        if "gate" not in facts or facts["gate"].dim() != 4:
            continue
        gate = facts["gate"][0].float().cpu().clone()
        small = carried(hole, gate[None])
        rule = rules.get(name, {}).get("valid")
        if rule is not None:
            rule = rule.float().cpu() if rule.shape == small.shape else None
        found.append(GatedLayer(_short(name), gate, small, auc(gate, small), rule))
    if not found:
        raise WidgetError(
            "This network has no gates: show one that is built of gated convolutions, "
            "such as UNet(conv=GatedConv2d)."
        )
    return found


def _heard(network: nn.Module, image: Tensor, hole: Tensor) -> Evidence:
    at = device_of(network)
    with record(network) as evidence, evaluating(network), torch.no_grad():
        network(image.to(at), hole.to(at))
    return evidence


def _short(name: str) -> str:
    return name.removesuffix(".conv").replace(".layers.", ".")


def _compared(value: Tensor, missing: Tensor, area: Tensor) -> dict[str, Any]:
    """The means of a map inside and outside the hole, and its AUC."""
    found = {"inside": value[missing].mean(), "outside": value[~missing].mean()}
    return {k: _number(v) for k, v in {**found, "auc": area}.items()}


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _bins(values: Tensor) -> list[float]:
    counts = torch.histc(values, BINS, 0, 1)
    shares: list[float] = (counts / max(1, values.numel())).tolist()
    return shares
