"""Known mistakes are named, each by a hint of its own; what is unknown gets none."""

from typing import Any

import pytest
from verdicts import verdict

from course_lib.exercises import (
    find,
    lesson_07,
    lesson_08,
    lesson_09,
    lesson_10,
    lesson_11,
)
from course_lib.exercises.mistakes import Mistakes

BANKS = {
    "07.1": lesson_07.MADE,
    "07.2": lesson_07.FILTERED,
    "07.3": lesson_07.WINDOWS,
    "07.4": lesson_07.NORMALISED,
    "08.1": lesson_08.BILINEAR,
    "08.2": lesson_08.DEFORMED,
    "08.3": lesson_08.SPREAD,
    "08.4": lesson_08.SUMMED,
    "08.5": lesson_08.SELECTED,
    "09.1": lesson_09.LOWEST,
    "09.2": lesson_09.LOSSES,
    "09.3": lesson_09.OVERLAPS,
    "09.4": lesson_09.BUDGETED,
    "09.5": lesson_09.JUDGED,
    "10.1": lesson_10.MEANS,
    "10.2": lesson_10.VERDICTS,
    "10.3": lesson_10.BEST,
    "10.4": lesson_10.FRONTS,
    "10.5": lesson_10.INTERVALS,
    "11.1": lesson_11.TAKEN,
    "11.2": lesson_11.PADDED,
    "11.3": lesson_11.SHARED,
    "11.4": lesson_11.LOSSES,
}
MISTAKES = [(key, name) for key, bank in BANKS.items() for name in bank]


@pytest.mark.parametrize(("key", "name"), MISTAKES)
def test_a_known_mistake_is_named(key: str, name: str):
    answer, hint = BANKS[key][name]
    assert verdict(key, answer).endswith(f"\n  {hint}")


@pytest.mark.parametrize("key", BANKS)
def test_mistakes_can_be_looked_for_in_every_case(key: str):
    for answer, _ in BANKS[key].values():
        for case in find(key).cases().values():
            find(key).call(answer, *case)


@pytest.mark.parametrize("bank", BANKS.values(), ids=BANKS)
def test_no_two_mistakes_have_the_same_hint(bank: Mistakes):
    assert len({hint for _, hint in bank.values()}) == len(bank)


@pytest.mark.parametrize("key", BANKS)
def test_an_unknown_mistake_gets_no_hint(key: str):
    def other(*case: Any) -> Any:
        found = find(key).reference(*case)
        return (found[0] + 7, found[1]) if isinstance(found, tuple) else found + 7

    told = verdict(key, other)
    assert not any(hint in told for _, hint in BANKS[key].values())
