"""The box below a lesson's title: goals, minutes, what comes before, cost.

Its form, which a test reads::

    | | |
    |---|---|
    | **Goals** | paint a hole<br>compare four fills<br>say what PSNR rewards |
    | **Minutes** | read 15 · run 2 · practise 20 |
    | **Before you start** | nothing: this is the first lesson |
    | **Cost** | ci 10 s · laptop 20 s · gpu 10 s |

Goals are three to five, divided by ``<br>``; minutes are whole numbers; the cost names
every profile.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from course_lib.notebooks.build import read
from course_lib.notebooks.normal import BuildError
from course_lib.session import PROFILES

_ROW = re.compile(r"^\|\s*\*\*(.+?)\*\*\s*\|\s*(.+?)\s*\|\s*$", re.MULTILINE)
_MINUTES = re.compile(r"read (\d+) · run (\d+) · practise (\d+)")
ROWS = ["Goals", "Minutes", "Before you start", "Cost"]


@dataclass(frozen=True)
class Box:
    """What a lesson promises and asks for."""

    goals: tuple[str, ...]
    read: int  # minutes
    run: int  # minutes
    practise: int  # minutes
    before: str
    cost: dict[str, str]  # profile: time, as written

    @property
    def minutes(self) -> int:
        """All minutes together."""
        return self.read + self.run + self.practise


def box(path: Path) -> Box:
    """The box of a lesson, from its source script or its notebook."""
    return box_of(read(path))


def box_of(notebook: NotebookNode) -> Box:
    """The box of a notebook. Raises ``BuildError`` that says what its form must be."""
    markdown = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    tables = [text for text in markdown if "**Goals**" in text]
    if not tables:
        raise BuildError("no lesson box: a table with the rows " + ", ".join(ROWS))
    rows = dict(_ROW.findall(tables[0]))
    if list(rows) != ROWS:
        raise BuildError(f"the box has the rows {list(rows)}, not {ROWS}")
    goals = tuple(goal.strip() for goal in rows["Goals"].split("<br>"))
    minutes = _MINUTES.fullmatch(rows["Minutes"])
    cost = dict(part.strip().partition(" ")[::2] for part in rows["Cost"].split("·"))
    if not 3 <= len(goals) <= 5 or not all(goals):
        raise BuildError(f"the box has {len(goals)} goals, 3 to 5 divided by <br>")
    if not minutes:
        raise BuildError("minutes in the box read: read 15 · run 2 · practise 20")
    if tuple(cost) != PROFILES or not all(cost.values()):
        raise BuildError("cost in the box reads: ci 10 s · laptop 20 s · gpu 10 s")
    reading, running, practising = (int(number) for number in minutes.groups())
    return Box(goals, reading, running, practising, rows["Before you start"], cost)
