"""A study is read as it was measured, by form and seed."""

import json
from pathlib import Path

import pytest
import torch

from course_lib import studies


def cell(value: float, seed: int = 0, **more: object) -> dict[str, object]:
    rows = [[value, value + 0.02]] * 6
    scores = {"hole_l1": rows, "hole_psnr": [[10 * value, 10 * value]] * 6}
    return {"seed": seed, "parameters": 1200, "scores": scores, **more}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    every = {
        "b c 0": cell(0.2),
        "b c 1": cell(0.4, 1),
        "a 0": cell(0.1, reads={}, network={"class": "UNet"}),
    }
    every["a 0"]["reads"] = {"one": {"length": 2.0}, "two": {"length": 3.0}}
    (tmp_path / "tried.json").write_text(json.dumps(every), encoding="utf-8")
    return tmp_path


def test_forms_come_best_first_and_seeds_in_order(folder: Path):
    study = studies.load("tried")
    assert study.forms == ["a", "b c"]
    assert study.scores("b c").shape == (2, 6, 2)
    torch.testing.assert_close(study.mean("b c"), torch.tensor([0.21, 0.41]))
    torch.testing.assert_close(study.mean("b c", "hole_psnr"), torch.tensor([2.0, 4.0]))
    assert study.reads("a", "length").tolist() == [[2.0, 3.0]]


def test_a_read_that_was_not_there_is_no_number(folder: Path):
    study = studies.load("tried")
    study.every["a 0"]["reads"]["one"]["length"] = None
    found = study.reads("a", "length")
    assert found.isnan().tolist() == [[True, False]]
    assert found[0, 1] == 3


def test_forms_are_compared_seed_by_seed_and_only_where_both_have_it(folder: Path):
    study = studies.load("tried")
    with pytest.raises(studies.StudyError, match=r"'a' has the seeds \[0\], 'b c' \[0"):
        study.ahead("a", of="b c")
    assert study.ahead("a", of="a").tolist() == [0]
    both = studies.Study(study.every | {"a 1": cell(0.2, 1)})
    expected = torch.tensor([1 - 0.11 / 0.21, 1 - 0.21 / 0.41])
    torch.testing.assert_close(both.ahead("a", of="b c"), expected)


def test_it_knows_who_moves_reads_and_how_a_form_is_built(folder: Path):
    study = studies.load("tried")
    assert study.moving == ["a"]
    assert study.plan("a") == {"class": "UNet"}


def test_the_table_says_every_seed_and_the_mean(folder: Path):
    lines = str(studies.load("tried")).splitlines()
    assert lines[1].split() == ["a", "1,200", "0.1100", "0.1100", "1.00"]
    assert lines[2].split()[:4] == ["b", "c", "1,200", "0.2100"]
    assert lines[2].split()[4:] == ["0.4100", "0.3100", "3.00"]


def test_what_is_missing_or_damaged_is_named(folder: Path):
    with pytest.raises(studies.StudyError, match="no form is called 'd'; there is"):
        studies.load("tried").of("d")
    with pytest.raises(studies.StudyError, match=r"no study is called 'new'.* tried"):
        studies.load("new")
    (folder / "tried.json").write_text("[]")
    with pytest.raises(studies.StudyError, match="damaged: no JSON object"):
        studies.load("tried")
    (folder / "tried.json").write_text("{")
    with pytest.raises(studies.StudyError, match=r"tried\.json is damaged: Expecting"):
        studies.load("tried")
    assert studies.cells("new") == {}
