"""What many small networks scored under one protocol; lesson 08 reads the first.

Made by ``course.py weights sampling_study``.
"""

import json
from pathlib import Path
from typing import Any

from course_lib.session import ASSETS

FOLDER = ASSETS / "studies"


def path(name: str) -> Path:
    """The file of a study."""
    return FOLDER / f"{name}.json"


def cells(name: str) -> dict[str, dict[str, Any]]:
    """What was measured, by ``"form seed"``; nothing before a study has begun."""
    if not path(name).exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(path(name).read_text("utf-8"))
    return found
