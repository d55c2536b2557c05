"""Wrong answers with a name, and a judge that recognises them in what a learner gives.

Used by the exercises from lesson 07 on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from course_lib.exercises.comparison import difference

# By name: a wrong answer, and what to say to one that gives the same
Mistakes = Mapping[str, tuple[Callable[..., Any], str]]


@dataclass(frozen=True)
class Judge:
    """Compares with the reference, and looks for the mistake behind a difference."""

    reference: Callable[..., Any]
    mistakes: Mistakes
    atol: float = 1e-9
    rtol: float = 1e-7

    def __call__(self, got: Any, *case: Any) -> str:
        """What is wrong with ``got`` in this case, and why if known; "" if right."""
        text = difference(got, self.reference(*case), self.atol, self.rtol)
        for answer, hint in self.mistakes.values() if text else ():
            if not difference(got, answer(*case), self.atol, self.rtol):
                return f"{text}\n  {hint}"
        return text


def answers(mistakes: Mistakes) -> dict[str, Callable[..., Any]]:
    """The wrong answers without what is said to them, as ``Exercise.wrong`` has it."""
    return {name: answer for name, (answer, _) in mistakes.items()}
