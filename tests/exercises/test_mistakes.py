"""A mistake that is known gets its hint, one that is not gets none."""

import torch
from torch import Tensor

from course_lib.exercises.mistakes import Judge, Mistakes, answers

DOUBLED: Mistakes = {
    "squared": (lambda x: x**2, "this is the square"),
    "as it came": (torch.clone, "this is x itself"),
}
judge = Judge(lambda x: 2 * x, DOUBLED, atol=0.1)
x = torch.tensor([1.0, 3.0])


def test_the_first_mistake_with_the_same_answer_is_named():
    assert judge(2 * x, x) == judge(2 * x + 0.05, x) == ""
    assert judge(x**2, x).endswith("\n  this is the square")
    assert judge(x, x).startswith("the values of your answer differ in 2 of 2 places.")
    assert judge(x, x).endswith("\n  this is x itself")
    ones = torch.ones(2)
    assert judge(ones, ones).endswith("\n  this is the square")


def test_another_answer_gets_no_hint():
    for other in (3 * x, x[None], x.double(), "x"):
        text = judge(other, x)
        assert text
        assert not any(hint in text for _, hint in DOUBLED.values())


def test_the_answers_are_those_that_the_judge_knows():
    found: dict[str, Tensor] = {name: f(x) for name, f in answers(DOUBLED).items()}
    assert list(found) == ["squared", "as it came"]
    assert found["squared"].tolist() == [1, 9]
