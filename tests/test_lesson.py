"""Claims hold or raise, on every machine with the same words."""

import html
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

import course_lib.exercises
from course_lib.lesson import claim, close, show_source


@pytest.mark.parametrize("truth", [True, np.bool_(True), torch.tensor(2.0) > 1])
def test_a_true_claim_is_printed(truth: Any, capsys: pytest.CaptureFixture[str]):
    claim("two is more than one", truth)
    assert capsys.readouterr().out == "✓ two is more than one\n"


@pytest.mark.parametrize("truth", [False, np.bool_(False), torch.tensor(1.0) > 1])
def test_a_false_claim_raises(truth: Any, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(AssertionError, match="✗ one is more than one"):
        claim("one is more than one", truth)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "nearly",
    [
        (False, "a reason"),
        1,
        0.0,
        "yes",
        None,
        [True],
        torch.ones(2) > 0,
        torch.ones(()),
    ],
)
def test_what_is_not_a_truth_value_is_refused(nearly: Any):
    with pytest.raises(TypeError, match="needs True or False"):
        claim("anything", nearly)


@pytest.mark.parametrize("value", [0.50, 0.549, torch.tensor(0.451), np.float32(0.5)])
def test_close_prints_the_same_for_all_values_within(
    value: Any, capsys: pytest.CaptureFixture[str]
):
    close("loss", value, 0.5, 0.05)
    assert capsys.readouterr().out == "✓ loss = 0.5 (± 0.05)\n"


@pytest.mark.parametrize("value", [0.56, 0.44, math.nan, math.inf])
def test_close_raises_outside_and_for_no_number(value: float):
    with pytest.raises(AssertionError, match=r"loss is .*, expected 0\.5 ± 0\.05"):
        close("loss", value, 0.5, 0.05)


def test_show_source_shows_file_and_code(monkeypatch: pytest.MonkeyPatch):
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    show_source(claim)
    plain, rich = shown[0]["text/plain"], shown[0]["text/html"]
    assert plain.startswith("course_lib/lesson.py\n\ndef claim(text: str")
    assert plain.endswith('\n    print(f"✓ {text}")')
    assert ">course_lib/lesson.py<" in rich
    bare = html.unescape(re.sub(r"<[^>]*>", "", rich.partition("<pre")[2]))
    assert bare.partition(">")[2].strip() == plain.partition("\n\n")[2]
    assert (
        '<span style="color: var(--jp-mirror-editor-keyword-color)">def</span>' in rich
    )
    show_source(course_lib.exercises.Exercise)
    assert "class Exercise:" in shown[1]["text/plain"]


@pytest.mark.parametrize("thing", [math.sqrt, torch.nn.Linear, 3, "claim"])
def test_show_source_is_for_the_course_only(thing: Any):
    with pytest.raises(TypeError, match="of course_lib"):
        show_source(thing)
