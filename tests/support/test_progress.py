"""Progress where nothing is a terminal."""

import io

import pytest
from rich.console import Console

from crosslens.support import progress as module


@pytest.fixture
def told(monkeypatch):
    """The clock, which stands still until it is moved, and what is said."""
    now, text = [0.0], io.StringIO()
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "console", Console(file=text))
    monkeypatch.setattr(module, "_FIRST", 5.0)
    monkeypatch.setattr(module, "_LONGEST", 60.0)
    return now, text


def test_plain_lines_come_now_and_then(told):
    """A long job says how far it is in whole lines; a short one says nothing."""
    now, text = told
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
    assert lines[0] == "embedding: 20 of 200, 1/s, about 3 min left; loss 0.5"
    assert lines[-1] == "embedding: 200 of 200, 1/s; loss 0.5"
    assert len(lines) == 10


def test_slow_work_says_that_it_goes_on(told):
    now, text = told
    with module.progress(1000, "embedding") as advance:
        for _ in range(3):
            now[0] += 61
            advance()
    assert text.getvalue().splitlines()[0] == "embedding: 1 of 1000, 0.0164/s, about 16 h 56 min left"
    assert len(text.getvalue().splitlines()) == 3


def test_quiet_says_nothing(told):
    now, text = told
    module.set_quiet(True)
    with module.progress(2, "embedding") as advance:
        now[0] = 100
        advance()
    assert text.getvalue() == ""


@pytest.mark.parametrize(("seconds", "words"), [(4, "4 s"), (600, "10 min"), (12000, "3 h 20 min")])
def test_durations(seconds, words):
    assert module.duration(seconds) == words
