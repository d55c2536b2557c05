"""Features and validity, whole or in parts; what a layer promises.

What does not belong together is refused through every layer: ``test_contract.py``.
"""

from functools import partial

import torch
from torch import nn

from course_lib.layers import (
    GatedConv2d,
    PartialConv2d,
    PlainConv2d,
    pairs,
    promises,
    together,
)

X, SKIP = torch.rand(2, 5, 6, 7), torch.rand(2, 3, 6, 7)
VALID = (torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(0)) < 0.5) * 1.0
OTHER = (torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(1)) < 0.5) * 1.0


def test_one_tensor_is_one_pair():
    assert [(x is X, v is VALID) for x, v in pairs(X, VALID)] == [(True, True)]
    x, valid = together(X, VALID)
    assert x is X
    assert valid is VALID


def test_parts_keep_their_own_validity():
    (x, valid), (skip, skip_valid) = pairs((X, SKIP), [VALID, OTHER])
    assert x is X
    assert valid is VALID
    assert skip is SKIP
    assert skip_valid is OTHER


def test_together_knows_what_either_knows():
    x, valid = together((X, SKIP), (VALID, OTHER))
    assert torch.equal(x, torch.cat([X, SKIP], 1))
    assert torch.equal(valid, torch.maximum(VALID, OTHER))
    channels = torch.zeros(2, 3, 6, 7)
    channels[:, 1, 2, 3] = 1
    _, valid = together((X, SKIP), (VALID * 0, channels))
    assert torch.equal(valid, channels[:, 1:2])


def test_a_layer_keeps_its_promises_in_a_functools_partial():
    for kind, expected in {
        PlainConv2d: [],
        PartialConv2d: ["reads_validity"],
        GatedConv2d: ["activates"],
        nn.Conv2d: [],
    }.items():
        filled = partial(kind, bias=False)
        for conv in (kind, kind(5, 2, 3), filled, partial(filled, stride=2)):
            found = [n for n in ("reads_validity", "activates") if promises(conv, n)]
            assert found == expected
