"""Shipped weights: a round trip, and one clear sentence for each kind of damage."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from course_lib import evaluation, holes, layers, networks, photos, zoo
from course_lib.mining import mined_holes
from course_lib.networks import UNet
from course_lib.zoo import ZooError

PLAN = {"class": "UNet", "arguments": {"channels": [4, 6], "kernels": [3, 3]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "weights")
    return tmp_path / "weights"


def saved(name: str = "tiny", **facts) -> UNet:
    torch.manual_seed(5)
    network = UNet(**PLAN["arguments"])
    network(torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8))  # moves the statistics
    zoo.save(network, name, PLAN, {"seed": 5, **facts})
    return network


def test_what_is_saved_is_loaded(folder: Path):
    network = saved(minutes=0.1).eval()
    loaded = zoo.load("tiny")
    image, hole = torch.rand(1, 3, 8, 12), torch.zeros(1, 1, 8, 12)
    hole[..., 2:5, 3:8] = 1
    expected = network(image, hole)
    torch.testing.assert_close(loaded(image, hole), expected, rtol=0, atol=5e-3)
    for key, value in loaded.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert value.dtype == torch.float32
            assert torch.equal(value, network.state_dict()[key].half().float())
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    hidden = torch.where(hole == 1, float("nan"), image)
    assert torch.equal(loaded(hidden, hole), loaded(image, hole))


def test_the_card_says_how_it_was_made(folder: Path):
    network = saved(minutes=0.1)
    facts = zoo.card("tiny")
    assert facts["network"] == PLAN
    assert facts["command"] == "python3 course.py weights tiny"
    assert (facts["seed"], facts["minutes"]) == (5, 0.1)
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert len(facts["sha256"]) == 64


def test_names_are_those_of_the_cards(folder: Path):
    assert zoo.names() == []
    saved("b")
    saved("a")
    assert zoo.names() == ["a", "b"]


def test_an_unknown_name_lists_what_exists(folder: Path):
    with pytest.raises(ZooError, match="'x'; there is none yet"):
        zoo.load("x")
    saved("a")
    saved("b")
    with pytest.raises(ZooError, match="'x'; there is a, b"):
        zoo.load("x")


def test_a_missing_file_is_named_with_what_to_do(folder: Path):
    saved()
    (folder / "tiny.safetensors").unlink()
    with pytest.raises(ZooError, match=r"^tiny\.safetensors is missing\..*retrain"):
        zoo.load("tiny")


def test_a_wrong_hash_is_noticed(folder: Path):
    saved()
    path = folder / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ZooError) as caught:
        zoo.load("tiny")
    said = zoo.card("tiny")["sha256"][:8]
    for part in ("tiny.safetensors is damaged", f"the card says {said}", "retrain"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", ["{", "", "[1, 2]"])
def test_a_damaged_card_is_named(folder: Path, content: str):
    saved()
    (folder / "tiny.json").write_text(content)
    with pytest.raises(ZooError, match=r"the card tiny\.json is damaged: .*retrain"):
        zoo.load("tiny")


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"class": "NoSuchNet", "arguments": {}}},
        {"network": {"class": "unet", "arguments": {}}},  # the module, not the class
        {"network": {"class": "UNet", "arguments": {"colours": 3}}},
        {"network": {"class": "UNet", "arguments": {"conv": "NoSuchConv"}}},
        {"network": {"class": "UNet", "arguments": {"channels": [4], "kernels": []}}},
        {
            "network": {
                "class": "UNet",
                "arguments": {"channels": [4, 8], "kernels": [3, 3]},
            }
        },
        {"network": None},
    ],
)
def test_a_card_of_another_network_does_not_fit(folder: Path, change: dict):
    saved()
    path = folder / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ZooError, match=r"tiny\.safetensors does not fit its card"):
        zoo.load("tiny")


def test_a_card_without_hash_does_not_pass(folder: Path):
    saved()
    path = folder / "tiny.json"
    facts = json.loads(path.read_text())
    del facts["sha256"]
    path.write_text(json.dumps(facts))
    with pytest.raises(ZooError, match="belongs to another card"):
        zoo.load("tiny")


def test_too_much_is_not_saved_and_leaves_the_old(folder: Path, monkeypatch):
    saved()
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    size = len(before["tiny.safetensors"])
    monkeypatch.setattr(zoo, "MAX_BYTES", size - 1)
    with pytest.raises(ZooError, match=f"tiny needs {size} bytes; at most {size - 1}"):
        saved()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    monkeypatch.setattr(zoo, "MAX_BYTES", size)
    saved()


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_what_half_precision_cannot_hold_is_not_saved(folder: Path, value: float):
    network = UNet(**PLAN["arguments"])
    with torch.no_grad():
        network.last.bias[0] = value
    with pytest.raises(ZooError, match=r"tiny: last\.bias is not finite in half"):
        zoo.save(network, "tiny", PLAN, {})
    assert zoo.names() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_facts_that_are_no_json_are_not_saved(folder: Path, value: float):
    with pytest.raises(ZooError, match="tiny: its card would hold NaN"):
        saved(scores={"seam": [value]})
    assert zoo.names() == []


def test_loading_draws_nothing_from_the_global_generator(folder: Path):
    saved()
    before = torch.get_rng_state()
    zoo.load("tiny")
    assert torch.equal(torch.get_rng_state(), before)


def test_build_makes_the_class_of_the_plan():
    assert isinstance(zoo.build(PLAN), networks.UNet)


def test_a_plan_names_the_convolution():
    plan = deepcopy(PLAN)
    plan["arguments"]["conv"] = "PartialConv2d"
    network = zoo.build(plan)
    assert isinstance(network.last, layers.PartialConv2d)
    assert json.loads(json.dumps(plan)) == plan  # building changed nothing in it


def test_a_plan_gives_a_layer_options_and_places():
    plan = deepcopy(PLAN)
    still = {"starts": "window", "moves": "none", "modulated": False}
    plan["arguments"] |= {
        "first": ["DeformableSampling2d", {"tells": "near"}],
        "decoder": ["DeformableSampling2d", still],
    }
    network = zoo.build(plan)
    assert network.encoder[0].conv.tells == "near"
    assert isinstance(network.encoder[1].conv, layers.PlainConv2d)
    assert network.last.head is None
    assert json.loads(json.dumps(plan)) == plan


def test_a_statistic_beyond_half_precision_stays_whole(folder: Path):
    network = zoo.build(PLAN)
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_var[0], norm.running_mean[0] = 7.5e8, 0.1
    zoo.save(network, "tiny", PLAN, {})
    for other in (zoo.load("tiny"), zoo.rounded(network)):
        found = next(m for m in other.modules() if isinstance(m, torch.nn.BatchNorm2d))
        assert found.running_var[0] == 7.5e8
        assert found.running_mean[0] == torch.tensor(0.1).half().float()
    assert norm.running_mean[0] == torch.tensor(0.1)


def branched() -> UNet:
    """The network "branch": as "base" but for the last layer, sharing the rest."""
    network = saved("base")
    with torch.no_grad():
        network.last.weight.mul_(0.5)
        network.last.bias.zero_()
    zoo.save(network, "branch", PLAN, {"seed": 6}, shares="base")
    return network


def stored(folder: Path, name: str) -> set[str]:
    return set(load_file(folder / f"{name}.safetensors"))


def test_what_is_shared_is_stored_once_and_loaded_to_the_bit(folder: Path):
    network = branched()
    facts = zoo.card("branch")
    assert facts["shares"] == {"base": zoo.card("base")["sha256"]}
    assert "shares" not in zoo.card("base")
    assert stored(folder, "branch") == {"last.weight", "last.bias"}
    expected = zoo.rounded(network).state_dict()
    for key, value in zoo.load("branch").state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert value.numpy().tobytes() == expected[key].numpy().tobytes(), key


def test_only_equal_bits_are_shared(folder: Path):
    network = saved("base")
    with torch.no_grad():
        network.last.bias.zero_()
    zoo.save(network, "base", PLAN, {})
    network.last.bias.data.neg_()  # -0 equals 0 and has other bits
    zoo.save(network, "branch", PLAN, {}, shares="base")
    assert stored(folder, "branch") == {"last.bias"}
    assert zoo.load("branch").last.bias.signbit().all()


def test_a_network_without_equal_weights_shares_nothing(folder: Path):
    network = saved("base")
    for value in [*network.parameters(), *network.buffers()]:
        value.data.add_(1)
    zoo.save(network, "branch", PLAN, {}, shares="base")
    assert "shares" not in zoo.card("branch")
    (folder / "base.safetensors").unlink()
    zoo.load("branch")


def test_what_else_lies_in_the_shared_file_does_no_harm(folder: Path):
    plan = deepcopy(PLAN)
    plan["arguments"] = {"channels": [4, 6, 8], "kernels": [3, 3, 3]}
    network, deeper = saved(), zoo.build(plan)
    deeper.last.load_state_dict(network.last.state_dict())
    zoo.save(deeper, "base", plan, {})
    zoo.save(network, "branch", PLAN, {}, shares="base")
    shared = set(network.state_dict()) - stored(folder, "branch")
    assert {"last.weight", "last.bias"} <= shared
    assert set(deeper.state_dict()) - set(network.state_dict())
    assert torch.equal(zoo.load("branch").last.bias, zoo.rounded(network).last.bias)


def test_sharing_is_one_level_deep(folder: Path):
    network = branched()
    zoo.save(network, "leaf", PLAN, {}, shares="branch")
    shared = {"last.weight", "last.bias"}  # all that lies in the file of the branch
    assert stored(folder, "leaf") == stored(folder, "base") - shared
    (folder / "base.safetensors").unlink()
    zoo.load("leaf")


def test_a_missing_shared_file_is_named_with_who_needs_it(folder: Path):
    branched()
    (folder / "base.safetensors").unlink()
    said = r"^base\.safetensors, of which branch shares a part, is missing\..*retrain"
    with pytest.raises(ZooError, match=said):
        zoo.load("branch")


def test_a_damaged_shared_file_is_noticed(folder: Path):
    branched()
    path = folder / "base.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    said = r"^base\.safetensors, of which branch shares a part, is damaged"
    with pytest.raises(ZooError, match=said):
        zoo.load("branch")


def test_a_retrained_shared_file_is_noticed(folder: Path):
    network = branched()
    wanted = zoo.card("base")["sha256"][:8]
    zoo.save(network, "base", PLAN, {})  # whole, and true to its own card
    zoo.load("base")
    said = f"base.* belongs to another card: .*the card says {wanted}"
    with pytest.raises(ZooError, match=said):
        zoo.load("branch")


@pytest.mark.parametrize("shares", [None, {}, ["base"], {"branch": ""}])
def test_a_card_that_forgot_what_it_shares_is_noticed(folder: Path, shares: object):
    branched()
    path = folder / "branch.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shares": shares}))
    with pytest.raises(ZooError, match=r"branch.*(does not fit|another card)"):
        zoo.load("branch")


def test_sharing_with_a_broken_file_saves_nothing(folder: Path):
    saved("base")
    (folder / "base.safetensors").unlink()
    with pytest.raises(ZooError, match=r"base\.safetensors is missing"):
        zoo.save(zoo.build(PLAN), "branch", PLAN, {}, shares="base")
    assert zoo.names() == ["base"]


def test_the_shipped_limit_is_two_and_a_half_megabytes():
    assert zoo.MAX_BYTES == 2_500_000


@pytest.fixture(scope="module")
def scored_on() -> tuple[torch.Tensor, holes.Benchmark]:
    """What every card was scored on, made once."""
    return photos.squares("evaluation", 128), holes.benchmark(128, 20)


FILLS = [name for name in zoo.names() if "scores" in zoo.card(name)]


def test_only_generators_of_holes_have_no_scores():
    others = set(zoo.names()) - set(FILLS)
    assert {zoo.card(name)["network"]["class"] for name in others} == {"MaskGenerator"}


def test_the_fillers_are_the_networks_with_scores():
    assert zoo.fillers() == FILLS


def test_the_miners_card_tells_the_errors_in_its_holes(
    scored_on: tuple[torch.Tensor, holes.Benchmark],
):
    images, told = scored_on[0], zoo.card("miner")["miner"]
    hole = mined_holes(zoo.load("miner")(images), 0.35)
    with torch.no_grad():
        for kind, given in (("mined", hole), ("hardest", None)):
            if given is None:
                given = mined_holes(-zoo.load("miner")(images), 0.35)
            made = zoo.load("partial_unet")(images, given)
            found = evaluation.hole_l1(made, images, given).mean().item()
            assert found == pytest.approx(told[kind], abs=1e-3)


@pytest.mark.parametrize("name", FILLS)
def test_a_card_tells_the_scores_of_its_weights(
    name: str, scored_on: tuple[torch.Tensor, holes.Benchmark]
):
    stored = zoo.card(name)["scores"]
    images, bench = scored_on
    cheap = [metric for metric in evaluation.METRICS if metric != "vgg"]
    table = evaluation.evaluate({name: zoo.load(name)}, images, bench, cheap)
    for metric in cheap:
        expected = torch.tensor(stored[metric])
        # Other processors round otherwise: 0.05 dB, or 0.002 of the unitless ones
        atol = 0.05 if "psnr" in metric else 2e-3
        torch.testing.assert_close(
            table.rows[name][metric], expected, atol=atol, rtol=0
        )
    first = holes.Benchmark(bench.hole[:20], bench.bucket[:20], bench.border[:20])
    cell = evaluation.evaluate({name: zoo.load(name)}, images, first, ["vgg"])
    number, border = int(first.bucket[0]), int(first.border[0])
    found = cell.rows[name]["vgg"][number, border].item()
    assert found == pytest.approx(stored["vgg"][number][border], abs=2e-3)
