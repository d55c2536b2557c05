"""A view without a browser: sends requests, keeps the replies."""

import pytest
import torch
from torch import nn


class Elsewhere(nn.Module):
    """Its weights are on another device than the photo, as after training on a GPU."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))

    def forward(self, image, *others):
        assert {given.device.type for given in (image, *others)} == {"meta"}
        channels = 3 if others else 1  # a miner is asked about the photo alone
        ramp = torch.linspace(-4, -1, image.shape[-1])
        return ramp.expand(len(image), channels, *image.shape[2:]).exp()


@pytest.fixture
def elsewhere():
    return Elsewhere()


class View:
    """Plays the page's part in the protocol of ``course_lib.widgets.base``."""

    def __init__(self, widget, monkeypatch, name="view"):
        self.widget, self.name, self.seq = widget, name, 0
        self.replies = []
        monkeypatch.setattr(widget, "send", self._keep)

    def _keep(self, content, buffers=None):
        named = zip(content.get("binary", ()), buffers or (), strict=True)
        self.replies.append({**content, **dict(named)})

    def ask(self, kind, **values):
        """Send one request; return its reply."""
        binary = {k: v for k, v in values.items() if isinstance(v, bytes)}
        plain = {k: v for k, v in values.items() if k not in binary}
        self.seq += 1
        content = {**plain, "kind": kind, "view": self.name, "seq": self.seq}
        content["binary"] = list(binary)
        buffers = [memoryview(data) for data in binary.values()]
        self.widget._handle_custom_msg(content, buffers)
        return self.replies[-1]


@pytest.fixture
def make_view(monkeypatch):
    return lambda widget, name="view": View(widget, monkeypatch, name)
