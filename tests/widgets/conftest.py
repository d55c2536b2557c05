"""A view without a browser: sends requests, keeps the replies."""

import pytest


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
