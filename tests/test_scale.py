"""Training at scale: killed and resumed, in parts, by two processes: one curve."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import datasets, large, scale, training
from course_lib.scale import Plan
from course_lib.tensors import ContractError
from course_lib.training import TrainingError

ROOT = Path(__file__).parents[1]
TINY = Plan(
    data="validation", norm="group", size=32, batch=2, steps=4, precision="no", cpu=True
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="signals, gloo on lo")


def train(out: Path, **changes: object) -> training.History:
    return scale.train(dataclasses.replace(TINY, **changes), out, watch=False)


def losses(out: Path) -> torch.Tensor:
    found = json.loads((out / "losses.json").read_text())
    return torch.tensor([found["loss"], found["hole"]], dtype=torch.float64)


# -------------------------------------------------------------------------- one process


@pytest.mark.parametrize("conv", scale.HOSTED)
def test_each_layer_of_the_course_is_trained_and_loaded(tmp_path: Path, conv: str):
    history = train(tmp_path, conv=conv, steps=2, norm="batch")
    assert history.steps == 2
    network = scale.load(tmp_path)
    assert not network.training
    image, hole = torch.rand(1, 3, 40, 50), torch.zeros(1, 1, 40, 50)
    hole[..., 10:20, 10:20] = 1
    filled = large.fill_any(network, image, hole, tile=64, overlap=16)
    assert filled.shape == image.shape
    stored = torch.load(tmp_path / "checkpoint.pt")["state"]["network"]
    assert all(torch.equal(v, stored[k]) for k, v in network.state_dict().items())


def test_it_learns(tmp_path: Path):
    train(tmp_path, steps=40, batch=4, rate=5e-3)
    curve = losses(tmp_path)[0]
    assert curve[-10:].mean() < 0.8 * curve[:10].mean()


def test_parts_of_a_batch_are_one_batch(tmp_path: Path):
    train(tmp_path / "whole", batch=4)
    train(tmp_path / "parts", batch=2, accumulate=2)
    train(tmp_path / "fewer", batch=2)
    whole, parts, fewer = (
        losses(tmp_path / name) for name in ("whole", "parts", "fewer")
    )
    assert torch.allclose(parts, whole, rtol=1e-5)
    assert not torch.allclose(fewer, whole, rtol=1e-2)


def test_batch_norm_sees_the_parts(tmp_path: Path):
    train(tmp_path / "whole", batch=4, norm="batch")
    train(tmp_path / "parts", batch=2, accumulate=2, norm="batch")
    apart = losses(tmp_path / "whole") / losses(tmp_path / "parts") - 1
    assert apart.abs().max() > 1e-3


_KILLED = """
import json, os, signal, sys
from course_lib import scale

real, calls = scale.step, []

def step(*given):
    calls.append(1)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)

scale.step = step
scale.train(scale.Plan(**json.loads(sys.argv[2])), sys.argv[1], watch=False)
"""


@linux
def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path):
    plan = {"steps": 14, "every": 3, "workers": 1, "accumulate": 2, "batch": 1}
    whole = train(tmp_path / "whole", **plan | {"workers": 0})
    given = json.dumps(dataclasses.asdict(dataclasses.replace(TINY, **plan)))
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "cut"), given]
    alone(command, 240, ends=-signal.SIGKILL, threads=torch.get_num_threads())
    done = torch.load(tmp_path / "cut" / "checkpoint.pt")["history"]["steps"]
    assert done == 6
    assert train(tmp_path / "cut", **plan).losses == whole.losses
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoint.pt")["state"]["network"]
        for name in ("cut", "whole")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_another_plan_is_not_mixed_into_a_training(tmp_path: Path):
    train(tmp_path, steps=1)
    with pytest.raises(TrainingError, match=r"another size, rate: go on"):
        train(tmp_path, steps=1, size=64, rate=1e-3)
    assert train(tmp_path, steps=1, every=7, channels_last=False).steps == 1
    assert not list(tmp_path.glob("*.partial"))


def test_what_the_machine_adds_to_a_plan_is_kept_too(tmp_path: Path):
    train(tmp_path, steps=1)
    path = tmp_path / "plan.json"
    plan = json.loads(path.read_text())
    assert plan["processes"] == 1
    path.write_text(json.dumps(plan | {"processes": 2, "precision": "bf16"}))
    with pytest.raises(TrainingError, match=r"another precision, processes: go on"):
        train(tmp_path, steps=1)


def test_a_training_that_could_not_begin_may_be_corrected(tmp_path: Path):
    with pytest.raises(datasets.DatasetError, match="no folder"):
        train(tmp_path / "run", data=f"folder:{tmp_path}/none")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ContractError, match="multiples of 32"):
        train(tmp_path / "run", size=40)
    assert train(tmp_path / "run", steps=1).steps == 1


def test_the_script_says_in_a_line_what_cannot_be(tmp_path: Path, capsys):
    out = str(tmp_path / "run")
    for options, says in (
        (["--data", f"folder:{tmp_path}/none"], "none is no folder"),
        (["--norm", "layer"], "choose batch or group"),
        (
            ["--data", "validation", "--hole", str(tmp_path), "--hole-is", "black"],
            "holds no PNG",
        ),
        (["--data", "validation", "--hole", str(tmp_path)], "which colour is missing"),
        (["--data", "validation", "--size", "40"], "multiples of 32"),
    ):
        assert scale.main([out, "--cpu", "--steps", "1", "--batch", "2", *options]) == 2
        printed = capsys.readouterr().out
        assert says in printed
        assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"norm": "layer"}, "choose batch or group"),
        ({"conv": "Conv2d"}, "no layer of the course"),
        ({"conv": "pairs"}, "choose PlainConv2d, PartialConv2d, GatedConv2d, Def"),
        ({"conv": "ContextualAttention"}, "no layer .* that a whole U-Net can have"),
        ({"conv": "GatedConv3d"}, "no layer .* that a whole U-Net can have"),
        ({"steps": 0}, "steps 0: at least 1"),
        ({"every": 0}, "every 0: at least 1"),
        ({"size": 0}, "size 0: at least 1"),
        ({"accumulate": 0}, "accumulate 0: at least 1"),
        ({"batch": -1}, "batch -1: at least 1"),
        ({"workers": -1}, "workers -1: at least 0"),
        ({"precision": "fp16"}, "fp16 needs a GPU"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, wrong, says: str):
    with pytest.raises(TrainingError, match=says):
        train(tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()
    with pytest.raises(TrainingError, match="no training in"):
        scale.load(tmp_path / "run")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"{}", b"half"])
def test_a_damaged_training_is_named(tmp_path: Path, damage: bytes):
    train(tmp_path, steps=1)
    checkpoint, plan = tmp_path / "checkpoint.pt", tmp_path / "plan.json"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(damage or whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is damaged.*Delete it"):
        scale.load(tmp_path)
    plan.write_bytes(plan.read_bytes()[:40])
    for again in (scale.load, lambda out: train(out, steps=1)):
        with pytest.raises(
            TrainingError, match=r"plan\.json is damaged: .*another fol"
        ):
            again(tmp_path)
    plan.write_text("[]")
    with pytest.raises(TrainingError, match=r"plan\.json is damaged: it holds no plan"):
        scale.load(tmp_path)
    checkpoint.unlink()
    plan.write_text(json.dumps(dataclasses.asdict(TINY)))
    with pytest.raises(TrainingError, match=r"no training in .*no checkpoint\.pt yet"):
        scale.load(tmp_path)


def test_training_leaves_the_global_random_state_alone(tmp_path: Path):
    torch.manual_seed(5)  # no training before this one left it so
    before = torch.get_rng_state()
    train(tmp_path, steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_option_of_the_script_is_a_field_of_the_plan(tmp_path, capsys):
    options = "--size 32 --batch 2 --steps 2 --norm group --cpu --no-channels-last"
    scale.main([str(tmp_path), *options.split(), "--data", "validation"])
    assert capsys.readouterr().out.startswith("2 steps in ")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan.pop("processes") == 1
    chosen = training.accelerator("cpu").mixed_precision  # what auto becomes here
    assert Plan(**plan) == dataclasses.replace(
        TINY, steps=2, precision=chosen, channels_last=False
    )


def test_half_precision_is_near(tmp_path: Path):
    train(tmp_path / "whole", steps=2)
    train(tmp_path / "half", steps=2, precision="bf16")
    ratio = losses(tmp_path / "half") / losses(tmp_path / "whole")
    assert 1e-6 < (ratio - 1).abs().max() < 0.05


def test_group_norms_replace_every_batch_norm_and_fit_their_channels():
    network = nn.Sequential(nn.BatchNorm2d(12), nn.Sequential(nn.BatchNorm2d(96)))
    kinds = [m for m in scale.group_norms(network).modules() if not list(m.children())]
    assert [type(m) for m in kinds] == [nn.GroupNorm] * 2
    assert [(m.num_groups, m.num_channels) for m in kinds] == [(6, 12), (8, 96)]


# ------------------------------------------------------------------------ two processes

_TWO = """
import dataclasses, sys
from pathlib import Path
from accelerate import debug_launcher, notebook_launcher
from course_lib import scale

def train(out, norm, batch, accumulate):
    plan = scale.Plan(
        data="validation", norm=norm, size=32, batch=batch, accumulate=accumulate,
        steps=4, precision="no", cpu=True, every=2,
    )
    scale.train(plan, Path(sys.argv[1]) / out, watch=False)

debug_launcher(train, ("two", "group", 2, 1), 2)
debug_launcher(train, ("two parts", "group", 1, 2), 2)
notebook_launcher(train, ("from a notebook", "group", 2, 1), num_processes=2)
try:
    debug_launcher(train, ("refused", "batch", 2, 1), 2)
except Exception as error:
    print(str(error).splitlines()[-1])
"""


def alone(command: list[str], seconds: float, ends: int = 0, threads: int = 1) -> str:
    """What a command prints; none of its processes is left behind."""
    own = {"OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
    environment = os.environ | own
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == ends, printed
    return printed


@linux
def test_two_processes_are_one_with_the_same_global_batch(tmp_path: Path):
    train(tmp_path / "one", batch=4)
    printed = alone([sys.executable, "-c", _TWO, str(tmp_path)], 240)
    one = losses(tmp_path / "one")
    for name in ("two", "two parts", "from a notebook"):
        assert torch.allclose(losses(tmp_path / name), one, rtol=1e-5), name
    assert "each would normalise its own share" in printed
    ours, theirs = (scale.load(tmp_path / name).state_dict() for name in ("two", "one"))
    assert all(torch.allclose(ours[k], theirs[k], atol=1e-4) for k in theirs)


@linux
def test_accelerate_launches_the_script(tmp_path: Path):
    """One process: `accelerate launch` starts several on GPUs only."""
    train(tmp_path / "one")
    options = "--cpu --num_processes 1 --num_machines 1 --mixed_precision no"
    options += " --dynamo_backend no --num_cpu_threads_per_process 1"
    options += " -m course_lib.scale"
    plan = "--data validation --norm group --size 32 --batch 2 --steps 4 --cpu"
    launch = [sys.executable, "-m", "accelerate.commands.launch", *options.split()]
    plan += " --precision no"
    printed = alone([*launch, str(tmp_path / "launched"), *plan.split()], 240)
    assert "4 steps in" in printed
    assert torch.equal(losses(tmp_path / "launched"), losses(tmp_path / "one"))
