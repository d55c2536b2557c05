"""Trained weights that come with the course, and their cards.

``zoo.load("plain_unet")`` gives a network ``(image, hole) -> image`` in ``[0, 1]``,
ready to use; :func:`fillers` names all that are of this kind, the others make holes.
The card beside each file says how it was trained and what it scores.
"""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
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


def fillers() -> list[str]:
    """The names of those that fill: ``(image, hole) -> image``. Raises ``ZooError``."""
    return [name for name in names() if _kind(name) in _FILLERS]


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

    What its own file leaves out comes from the file that its card ``shares``. Raises
    ``ZooError`` if a file is missing or damaged, or its hash is not the card's.
    """
    facts = card(name)
    try:
        own, given = _read(name, facts.get("sha256")), _given(name, facts)
        with torch.random.fork_rng(devices=[]):  # new layers draw their weights
            network = build(facts["network"])
        given = {key: given[key] for key in given.keys() & network.state_dict().keys()}
        weights = {key: value.float() for key, value in (given | own).items()}
        network.load_state_dict(weights | _counters(network))
    except ZooError:
        raise
    except (
        AttributeError,
        KeyError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise ZooError(
            f"{name}.safetensors does not fit its card ({type(error).__name__}: "
            f"{error}). {_AGAIN}"
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
    network: nn.Module,
    name: str,
    plan: dict[str, Any],
    facts: dict[str, Any],
    shares: str | None = None,
) -> None:
    """Write half-precision weights and their card. Raises ``ZooError`` above 2.5 MB,
    and for weights or facts that are not finite.

    A running statistic that half precision cannot hold stays in float32.
    ``facts`` are the card's own entries: command, seed, device, minutes, data, scores.
    ``shares`` names a network whose file holds some of these weights to the bit: they
    are left out. Sharing is one level deep: a file gives only what lies in it itself,
    never what it shares in turn.
    """
    weights = _stored(network)
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ZooError(f"{name}: {key} is not finite in half precision")
    shared: dict[str, Any] = {}
    if shares is not None:
        weights, shared = _without_shared(weights, shares)
    content = serialise(weights)
    if len(content) > MAX_BYTES:
        raise ZooError(f"{name} needs {len(content)} bytes; at most {MAX_BYTES} ship")
    entries = {
        "name": name,
        "network": plan,
        "parameters": sum(p.numel() for p in network.parameters()),
        "command": f"python3 course.py weights {name}",
        **facts,
        **shared,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    try:
        text = json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:  # NaN is no JSON: other readers would refuse the card
        raise ZooError(f"{name}: its card would hold NaN or infinity") from error
    _write({f"{name}.safetensors": content, f"{name}.json": f"{text}\n".encode()})


def rounded(network: nn.Module) -> nn.Module:
    """A copy, on the CPU, with the values that :func:`save` would write."""
    copy = deepcopy(network).cpu()
    stored = {key: value.float() for key, value in _stored(network).items()}
    copy.load_state_dict(stored | _counters(copy))
    return copy


_FILLERS = {"Cascade", "CoarseToFine", "UNet"}
_AGAIN = "Fetch the course's files again, or retrain: python3 course.py weights NAME"


def _kind(name: str) -> object:
    plan = card(name).get("network")
    return plan.get("class") if isinstance(plan, dict) else None


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


def _read(name: str, sha256: object, role: str = "") -> dict[str, torch.Tensor]:
    """What lies in one file of weights; ``role`` says in a complaint why it is read."""
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        raise ZooError(f"{path.name}{role} is missing. {_AGAIN}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ZooError(
            f"{path.name}{role} is damaged or belongs to another card: its hash begins "
            f"with {found[:8]}, the card says {str(sha256)[:8]}. {_AGAIN}"
        )
    return deserialise(content)


def _given(name: str, facts: dict[str, Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for other, sha256 in facts.get("shares", {}).items():
        found |= _read(other, sha256, f", of which {name} shares a part,")
    return found


def _without_shared(
    weights: dict[str, torch.Tensor], other: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights that the other file lacks, and the card's entry that names it."""
    sha256 = card(other).get("sha256")
    there = _read(other, sha256)
    own = {
        key: value
        for key, value in weights.items()
        if key not in there or not _same_bits(value, there[key])
    }
    return own, {"shares": {other: sha256}} if len(own) < len(weights) else {}


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return one.numpy().tobytes() == other.numpy().tobytes()  # 0 is not -0


def _write(files: dict[str, bytes]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():  # an interrupt here leaves the old pair whole
        (FOLDER / f"{file}.draft").write_bytes(content)
    for file in files:
        (FOLDER / f"{file}.draft").replace(FOLDER / file)


def _counters(network: nn.Module) -> dict[str, Any]:
    state = network.state_dict()
    return {key: state[key] for key in state if key.endswith("num_batches_tracked")}
