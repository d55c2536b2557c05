"""How the shipped weights and pictures are made: ``course.py weights NAME`` repeats it.

A recipe can be interrupted and called again: it goes on from its checkpoint.
"""

from collections.abc import Callable

from course_lib.recipes.figures import figures
from course_lib.recipes.generators import miner, miners
from course_lib.recipes.occlusion_maps import occlusions
from course_lib.recipes.rungs import ladder, ladder_time
from course_lib.recipes.studies import (
    mining_late,
    mining_study,
    sampling_kept,
    sampling_study,
)
from course_lib.recipes.weights import WEIGHTS

RECIPES: dict[str, Callable[[], None]] = {
    recipe.__name__: recipe
    for recipe in (
        occlusions,
        *WEIGHTS,
        sampling_kept,
        sampling_study,
        miner,
        miners,
        mining_study,
        mining_late,
        ladder,
        ladder_time,
        figures,
    )
}


def main(wanted: list[str]) -> int:
    """Make the named weights, or all of them."""
    unknown = [name for name in wanted if name not in RECIPES]
    if unknown:
        print(f"unknown: {', '.join(unknown)}. There is {', '.join(RECIPES)}")
        return 2
    for name in wanted or RECIPES:
        print(f"{name}: {RECIPES[name].__doc__}")
        RECIPES[name]()
    return 0
