"""What many small networks scored under one protocol; lesson 08 reads the first.

Made by ``course.py weights sampling_study``: equal data, holes, steps and parameters,
several seeds; a cell is one form with one seed.
"""

import json
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib.session import ASSETS

FOLDER = ASSETS / "studies"


class StudyError(RuntimeError):
    """A study, or a part of one, that does not exist or is damaged."""


@dataclass(frozen=True)
class Study:
    """Scores and facts by form and seed; printed, it is the table, best form first."""

    every: dict[str, dict[str, Any]]

    @property
    def forms(self) -> list[str]:
        """All forms, by their mean hole L1, smallest first."""
        found = {key.rpartition(" ")[0] for key in self.every}
        return sorted(found, key=lambda form: float(self.mean(form).mean()))

    def of(self, form: str) -> list[dict[str, Any]]:
        """The cells of a form, by seed. Raises ``StudyError`` if there are none."""
        named = [key for key in self.every if key.rpartition(" ")[0] == form]
        found = sorted(
            (self.every[key] for key in named), key=lambda cell: cell["seed"]
        )
        if not found:
            raise StudyError(f"no form is called {form!r}; there is {self.forms}")
        return found

    def scores(self, form: str, metric: str = "hole_l1") -> Tensor:
        """``(seeds, 6, 2)``: hole-ratio bucket by border, as ``Table`` has them."""
        return torch.tensor([cell["scores"][metric] for cell in self.of(form)])

    def mean(self, form: str, metric: str = "hole_l1") -> Tensor:
        """``(seeds,)``: the mean over all buckets."""
        return self.scores(form, metric).nanmean((1, 2))

    def ahead(self, form: str, of: str) -> Tensor:
        """``(seeds,)``: how much less mean hole L1 than another form, as a share.

        Seed against the same seed. Raises ``StudyError`` if they have other seeds.
        """
        seeds = [[cell["seed"] for cell in self.of(each)] for each in (form, of)]
        if seeds[0] != seeds[1]:
            raise StudyError(f"{form!r} has the seeds {seeds[0]}, {of!r} {seeds[1]}")
        return 1 - self.mean(form) / self.mean(of)

    def plan(self, form: str) -> dict[str, Any]:
        """What ``zoo.build`` makes its network from."""
        plan: dict[str, Any] = self.of(form)[0]["network"]
        return plan

    @property
    def moving(self) -> list[str]:
        """The forms that have layers which move reads, best first."""
        return [form for form in self.forms if self.of(form)[0].get("reads")]

    def reads(self, form: str, fact: str) -> Tensor:
        """``(seeds, layers)``: ``before``, ``after``, ``length`` or ``spread``.

        Of the layers that move reads, in order; see ``layers.SamplingFacts``. NaN where
        a layer had no such read.
        """
        found = [
            [each[fact] for each in cell["reads"].values()] for cell in self.of(form)
        ]
        return torch.tensor([[nan if v is None else v for v in row] for row in found])

    def __str__(self) -> str:
        wide = max(map(len, self.forms)) + 1
        lines = [f"{'':{wide}} weights  hole L1 of each seed     mean  PSNR dB"]
        for form in self.forms:
            each, size = self.mean(form), self.of(form)[0]["parameters"]
            row = " ".join(f"{value:.4f}" for value in each)
            psnr = self.mean(form, "hole_psnr").mean()
            lines.append(
                f"{form:{wide}} {size:7,}  {row:20}  {each.mean():.4f}    {psnr:.2f}"
            )
        return "\n".join(lines)


def path(name: str) -> Path:
    """The file of a study."""
    return FOLDER / f"{name}.json"


def cells(name: str) -> dict[str, dict[str, Any]]:
    """What was measured, by ``"form seed"``; empty before a study has begun."""
    if not path(name).exists():
        return {}
    try:
        found = json.loads(path(name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(f"{path(name).name} is damaged: {error}. {_AGAIN}") from error
    if not isinstance(found, dict):
        raise StudyError(f"{path(name).name} is damaged: no JSON object. {_AGAIN}")
    return found


def load(name: str) -> Study:
    """A study. Raises ``StudyError`` when it is missing, empty or damaged."""
    found = cells(name)
    if not found:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json"))) or "none"
        raise StudyError(f"no study is called {name!r}; there is {known}. {_AGAIN}")
    return Study(found)


_AGAIN = "Fetch the course's files again, or measure: python3 course.py weights"
