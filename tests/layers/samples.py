"""What the tests of all layers are fed with: numbers, validity, seeded layers."""

import torch
from torch import Tensor, nn


def draw(*shape: int, seed: int = 0) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=numbers, dtype=torch.float64)


def scattered(*shape: int, share: float = 0.6, seed: int = 1) -> Tensor:
    """Validity: a block of unknowns larger than any kernel, and single ones."""
    numbers = torch.Generator().manual_seed(seed)
    valid = (torch.rand(shape, generator=numbers) < share).double()
    valid[0, ..., :8, :7] = 0
    return valid


def made(layer: type, *arguments, seed: int = 2, **options) -> nn.Module:
    """A layer whose bias is as large as what the windows bring."""
    torch.manual_seed(seed)
    found = layer(*arguments, **options).double()
    if found.bias is not None:
        nn.init.normal_(found.bias)
    return found
