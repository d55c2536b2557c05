"""Trained weights that come with the course, and their cards.

``zoo.load("plain_unet")`` gives a network ``(image, hole) -> image`` in ``[0, 1]``,
ready to use. The card beside each file says how it was trained and what it scores.
"""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from course_lib import layers, networks
from course_lib.session import ASSETS

FOLDER = ASSETS / "weights"
MAX_BYTES = 2_500_000


class ZooError(RuntimeError):
    """Weights that do not exist, are damaged, or do not fit their card."""


def names() -> list[str]:
    """The names of all shipped networks."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def card(name: str) -> dict[str, Any]:
    """How a network was trained and what it scores. Raises ``ZooError``."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        known = ", ".join(names()) or "none yet"
        raise ZooError(f"no weights are called {name!r}; there is {known}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ZooError(f"the card {path.name} is damaged: {error}. {_AGAIN}") from error
    if not isinstance(facts, dict):
        raise ZooError(f"the card {path.name} is damaged: no JSON object. {_AGAIN}")
    return facts


def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """A trained network in evaluation mode, float32, without gradients.

    Raises ``ZooError`` if the file is missing or damaged, or its hash is not the
    card's.
    """
    facts = card(name)
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        raise ZooError(f"{path.name} is missing. {_AGAIN}")
    found = _hash(path)
    if found != facts.get("sha256"):
        raise ZooError(
            f"{path.name} is damaged or belongs to another card: its hash begins with "
            f"{found[:8]}, the card says {str(facts.get('sha256'))[:8]}. {_AGAIN}"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # new layers draw their weights
            network = build(facts["network"])
        weights = {key: value.float() for key, value in load_file(path).items()}
        network.load_state_dict(weights | _counters(network))
    except (
        AttributeError,
        KeyError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise ZooError(
            f"{path.name} does not fit its card ({type(error).__name__}: {error}). "
            f"{_AGAIN}"
        ) from error
    return network.to(device).eval().requires_grad_(False)


def build(plan: dict[str, Any]) -> nn.Module:
    """An untrained network from a card's ``{"class": ..., "arguments": {...}}``.

    The arguments ``conv``, ``first`` and ``decoder`` name a layer, ``"PartialConv2d"``
    for example, or one with options, ``["DeformableSampling2d", {"kernels": 4}]``.
    """
    arguments = dict(plan["arguments"])
    for place in {"conv", "first", "decoder"} & arguments.keys():
        arguments[place] = _layer(arguments[place])
    return getattr(networks, plan["class"])(**arguments)


def _layer(named: str | list[Any]) -> Callable[..., nn.Module]:
    name, options = (named, {}) if isinstance(named, str) else named
    kind = getattr(layers, name)
    return partial(kind, **options) if options else kind


def save(
    network: nn.Module, name: str, plan: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Write half-precision weights and their card. Raises ``ZooError`` above 2.5 MB.

    A running statistic that half precision cannot hold stays in float32.
    ``facts`` are the card's own entries: command, seed, device, minutes, data, scores.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.safetensors"
    weights = _stored(network)
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ZooError(f"{name}: {key} is not finite in half precision")
    content = serialise(weights)
    if len(content) > MAX_BYTES:
        raise ZooError(f"{name} needs {len(content)} bytes; at most {MAX_BYTES} ship")
    entries = {
        "name": name,
        "network": plan,
        "parameters": sum(p.numel() for p in network.parameters()),
        "command": f"python3 course.py weights {name}",
        **facts,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    drafts = {path: content, FOLDER / f"{name}.json": text.encode()}
    for target, data in drafts.items():  # an interrupt here leaves the old pair whole
        Path(f"{target}.draft").write_bytes(data)
    for target in drafts:
        Path(f"{target}.draft").replace(target)


def rounded(network: nn.Module) -> nn.Module:
    """A copy, on the CPU, with the values that :func:`save` would write."""
    copy = deepcopy(network).cpu()
    stored = {key: value.float() for key, value in _stored(network).items()}
    copy.load_state_dict(stored | _counters(copy))
    return copy


_AGAIN = "Fetch the course's files again, or retrain: python3 course.py weights NAME"


def _stored(network: nn.Module) -> dict[str, torch.Tensor]:
    statistics = {name for name, _ in network.named_buffers()}
    found = {}
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        whole = value.detach().float().cpu().contiguous()
        wide = key in statistics and not whole.half().isfinite().all()
        found[key] = whole if wide else whole.half()
    return found


def _counters(network: nn.Module) -> dict[str, Any]:
    state = network.state_dict()
    return {key: state[key] for key in state if key.endswith("num_batches_tracked")}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
