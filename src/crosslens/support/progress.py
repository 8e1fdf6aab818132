"""Progress: a bar on a terminal and in a notebook, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Protocol

from rich.console import Console
from rich.text import Text

from crosslens.support.terminal import visible

console = Console(stderr=True)
"""Where progress and notes go; results go to standard output."""


class Advance(Protocol):
    """Move a bar on by ``steps`` and show ``note`` at its end; ``total`` corrects what was not known before."""

    def __call__(self, steps: int = 1, note: str = "", total: int | None = None) -> None:
        """Move on."""
        ...


_quiet = False
_FIRST, _NEXT, _LONGEST = 5.0, 10.0, 60.0
"""Seconds until the first plain line, between two lines at least, and after which a line comes in any case."""
_STEP = 0.1
"""Share of the work that is worth a line."""


def set_quiet(quiet: bool) -> None:
    """Turn progress bars and notes off (``--quiet``) or on, for the whole process."""
    global _quiet
    _quiet = quiet


def note(text: str, style: str = "") -> None:
    """Print one line of information to standard error, unless quiet; ``style`` is Rich's, such as ``yellow``."""
    _say(text, style)


def _say(text: str, style: str = "") -> None:
    if not _quiet:
        # Plain strings would be read as markup, and cut into lines where nothing is a terminal.
        console.print(Text(visible(text), style), soft_wrap=True)


class Watcher(Protocol):
    """Who hears of all progress, shown or not."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """A stage is so far."""
        ...

    def skip(self, reason: str) -> None:
        """A picture is left out."""
        ...


_watcher: Watcher | None = None


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of all progress inside ``with``, and no longer who heard of it before."""
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def tell_skip(reason: str) -> None:
    """Tell who watches that a picture is left out; a ``reason`` without names, so that like ones add up."""
    if _watcher is not None:
        _watcher.skip(reason)


@contextmanager
def progress(total: int, label: str) -> Iterator[Advance]:
    """Show a bar of ``total`` steps on a terminal or in a notebook, plain lines elsewhere, nothing when quiet."""
    with _shown(total, label) as advance:
        if _watcher is None:
            yield advance
            return
        yield _Watched(advance, _watcher, total, label)


class _Watched:
    """Moves a bar on, and tells who watches."""

    def __init__(self, advance: Advance, watcher: Watcher, total: int, label: str) -> None:
        self._advance, self._watcher, self._total, self._label, self._done = advance, watcher, total, label, 0
        watcher.progress(label, 0, total)

    def __call__(self, steps: int = 1, note: str = "", total: int | None = None) -> None:
        self._advance(steps, note, total)
        self._done += steps
        self._total = self._total if total is None else total
        self._watcher.progress(self._label, self._done, self._total)


@contextmanager
def _shown(total: int, label: str) -> Iterator[Advance]:
    if console.is_jupyter and not _quiet:
        yield _notebook_bar(total, label)
        return
    if _quiet or not console.is_terminal:
        yield _PlainLines(total, label)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(visible(label), total=total, note="", rate="")
        started, done = time.monotonic(), 0

        def advance(steps: int = 1, note: str = "", total: int | None = None) -> None:
            nonlocal done
            done += steps
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, advance=steps, total=total, rate=rate_of(rate) if done else "")
            if note:
                bar.update(task, note=visible(note))

        yield advance


def _notebook_bar(total: int, label: str) -> Advance:
    """A bar in the output of a cell; Rich's own would need widgets. It stays, and says what was done."""
    from IPython.display import HTML, display

    done, most, told, shown_at = 0, total, "", 0.0

    def drawn() -> HTML:
        words = escape(f"{visible(label)} {done} of {most} {told}")
        return HTML(f'<progress value="{done}" max="{max(most, 1)}" style="width:16em"></progress> {words}')

    place = display(drawn(), display_id=True)

    def advance(steps: int = 1, note: str = "", total: int | None = None) -> None:
        nonlocal done, most, told, shown_at
        done, most, told = done + steps, most if total is None else total, visible(note) or told
        now = time.monotonic()
        # A front end that gets an update for each of many short steps falls behind.
        if done >= most or now - shown_at > 0.2:
            shown_at = now
            place.update(drawn())

    return advance


class _PlainLines:
    """Says now and then how far the work is, in whole lines that a log can keep; work of seconds says nothing."""

    def __init__(self, total: int, label: str) -> None:
        self._total, self._label, self._done, self._told = total, label, 0, 0
        self._started = self._last = time.monotonic()

    def __call__(self, steps: int = 1, note: str = "", total: int | None = None) -> None:
        self._done += steps
        self._total = self._total if total is None else total
        now = time.monotonic()
        since, first = now - self._last, self._last == self._started
        enough = self._done - self._told >= _STEP * self._total and since >= (_FIRST if first else _NEXT)
        if self._total < 1 or self._done < 1 or not (enough or since >= _LONGEST):
            return
        self._last, self._told = now, self._done
        rate = self._done / (now - self._started)
        left = max(self._total - self._done, 0) / rate
        wait = f", about {duration(left)} left" if left >= 1 else ""
        told = f"{self._label}: {self._done} of {self._total}, {rate_of(rate)}{wait}"
        _say(told + (f"; {note}" if note else ""))


def rate_of(steps: float) -> str:
    """``0.0164/s``, ``41.3/s`` or ``1250/s``."""
    return f"{steps:.3g}/s" if steps < 100 else f"{steps:.0f}/s"


def duration(seconds: float) -> str:
    """A duration as people read it: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def counted_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that counts its own steps: call what is yielded with the steps done and their total."""
    done = 0
    with progress(0, label) as advance:

        def show(now: int, total: int) -> None:
            nonlocal done
            advance(now - done, total=total)
            done = now

        yield show
