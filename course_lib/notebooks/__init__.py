"""Building the lessons: one script an author edits, one notebook a learner opens.

``python -m course_lib.notebooks`` builds what is out of date. This is a tool for
authors and tests; no lesson imports it.
"""

from course_lib.notebooks.box import Box, box
from course_lib.notebooks.build import (
    NOTEBOOKS,
    SOURCES,
    Built,
    build,
    cells,
    from_source,
    is_stale,
    read,
    sources,
    target_of,
)
from course_lib.notebooks.normal import BuildError, normalise
from course_lib.notebooks.rules import RULES
from course_lib.notebooks.seal import seal

__all__ = [
    "NOTEBOOKS",
    "RULES",
    "SOURCES",
    "Box",
    "BuildError",
    "Built",
    "box",
    "build",
    "cells",
    "from_source",
    "is_stale",
    "normalise",
    "read",
    "seal",
    "sources",
    "target_of",
]
