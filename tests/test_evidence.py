"""Layers speak, and are heard only where somebody listens."""

import pytest
import torch
from torch import Tensor, nn

from course_lib.evidence import emit, record


class Talker(nn.Module):
    """Emits what it gets, once as a value and once as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        emit(self, "input", x)
        emit(self, "double", lambda: self._double(x))
        return x + 1

    def _double(self, x: Tensor) -> Tensor:
        self.asked += 1
        return 2 * x


def network() -> nn.Sequential:
    return nn.Sequential(Talker(), nn.Sequential(Talker()))


def test_evidence_is_kept_by_layer_and_fact():
    talkers = network()
    x = torch.ones(2, requires_grad=True)
    with record(talkers) as evidence:
        talkers(x)
    assert set(evidence) == {"0", "1.0"}
    assert set(evidence["0"]) == {"input", "double"}
    assert evidence["1.0"]["double"].tolist() == [4, 4]
    assert not any(
        value.requires_grad for facts in evidence.values() for value in facts.values()
    )


def test_nothing_is_computed_when_nobody_listens():
    talkers = network()
    with record(talkers) as evidence:
        pass
    talkers(torch.ones(1))
    assert evidence == {}
    assert talkers[0].asked == 0


def test_recording_changes_no_output():
    talkers, x = network(), torch.rand(3)
    with record(talkers):
        heard = talkers(x)
    assert torch.equal(heard, talkers(x))


def test_the_last_value_of_a_name_wins_and_the_root_has_no_name():
    talker = Talker()
    with record(talker) as evidence:
        talker(torch.zeros(1))
        talker(torch.ones(1))
    assert evidence[""]["input"].tolist() == [1]


def test_an_inner_recording_hears_its_own_network_only():
    outside, inside = Talker(), Talker()
    with record(outside) as outer:
        with record(inside) as inner:
            inside(torch.zeros(1))
            outside(torch.zeros(1))
        assert outer == {}
        inside(torch.zeros(1))
        outside(torch.ones(1))
    assert list(inner) == [""]
    assert inner[""]["input"].tolist() == [0]
    assert outer[""]["input"].tolist() == [1]


def test_an_error_ends_the_recording():
    talker = Talker()
    with pytest.raises(ZeroDivisionError), record(talker):
        raise ZeroDivisionError
    talker(torch.zeros(1))
    assert talker.asked == 0
