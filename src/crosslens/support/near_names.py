"""Known names that are near one that is not known: what somebody may have meant who mistyped."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

_NEAR = 0.65
"""From this similarity on (``difflib``, 0 to 1) a known name is offered for one that is not known."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = _NEAR) -> str:
    """``; did you mean 'sketch'?``, with at most three known names that are near ``name``; else the empty text."""
    return in_question(near_names(name, known, cutoff))


def in_question(names: Sequence[str]) -> str:
    """``; did you mean 'sketch'?``; the empty text without names."""
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def near_names(name: str, known: Iterable[str], cutoff: float = _NEAR) -> list[str]:
    """At most three known names that are near ``name``, the nearest first."""
    by_key: dict[str, str] = {}
    for own in known:
        by_key.setdefault(_folded(own), own)
    return [by_key[key] for key in difflib.get_close_matches(_folded(name), by_key, n=3, cutoff=cutoff)]


def near_folder(path: str | Path) -> str:
    """``did_you_mean`` of a folder that is not there, among those beside where it should be."""
    missing = Path(path)
    try:
        beside = [entry.name for entry in missing.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return did_you_mean(missing.name, beside)


def _folded(name: str) -> str:
    """A name without case, spaces at its ends and the form of its accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name.strip()).casefold())
