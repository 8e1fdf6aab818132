"""Progress where nothing is a terminal."""

import io

from rich.console import Console

from crosslens.support import progress as module


def test_plain_lines_come_now_and_then(monkeypatch):
    """A long job says how far it is in whole lines; a short one says nothing."""
    now = [0.0]
    text = io.StringIO()
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "console", Console(file=text))
    with module.progress(100, "embedding") as advance:
        for _ in range(100):
            now[0] += 0.01
            advance()
    assert text.getvalue() == ""
    with module.progress(200, "embedding") as advance:
        for _ in range(200):
            now[0] += 1.0
            advance(1, "loss 0.5")
    lines = text.getvalue().splitlines()
    assert lines[0] == "embedding: 20 of 200, about 3 min left; loss 0.5"
    assert lines[-1] == "embedding: 200 of 200; loss 0.5"
    assert len(lines) == 10


def test_quiet_says_nothing(monkeypatch):
    text = io.StringIO()
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "console", Console(file=text))
    module.set_quiet(True)
    with module.progress(2, "embedding") as advance:
        now[0] = 100
        advance()
    assert text.getvalue() == ""
