"""What the tests of several lessons' exercises ask: what a wrong answer is told."""

from collections.abc import Callable
from typing import Any

import pytest

from course_lib.exercises import WrongAnswer, find, grade


def verdict(key: str, answer: Callable[..., Any]) -> str:
    """What is said of a wrong answer, which must not have crashed."""
    with pytest.raises(WrongAnswer) as caught:
        grade(find(key), answer)
    assert not caught.value.crashed
    return str(caught.value).split(": ", 1)[1]
