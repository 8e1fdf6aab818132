"""What a TAB offers for a value: the names that a command knows, none of which takes long to find.

Where there is nothing to offer, the shell completes names of files, as for any argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

_Completion = Callable[[str], list[str]]
_PLAIN = re.compile(r"[\w./@%+=:,~-]+")
"""Names that need no quotes; the others are left to the shell, which knows how to write them."""


def _offers(names: Callable[[], Iterable[str]]) -> _Completion:
    def begun(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return begun


def _methods() -> list[str]:
    from crosslens.methods import AUTO, known_methods

    return [AUTO, *known_methods()]


def _protocols() -> Iterable[str]:
    from crosslens.evaluation.protocol_names import PROTOCOL_NAMES

    return PROTOCOL_NAMES


def _conventions() -> Iterable[str]:
    from crosslens.evaluation.conventions import CONVENTIONS

    return CONVENTIONS


def _ties() -> Iterable[str]:
    from crosslens.evaluation.conventions import Ties

    return get_args(Ties)


def _goals() -> Iterable[str]:
    from crosslens.ops.hubs import Goal

    return get_args(Goal)


def _rerankers() -> Iterable[str]:
    from crosslens.search.rerank import RERANKERS

    return RERANKERS


def _tunes() -> Iterable[str]:
    from crosslens.methods.tune import Tune

    return get_args(Tune)


def _recipes() -> Iterable[str]:
    from crosslens.recipes import recipe_names

    return recipe_names()


def _benchmarks() -> Iterable[str]:
    from crosslens.datasets import BENCHMARKS

    return BENCHMARKS


def _backbones() -> Iterable[str]:
    from crosslens.backbones import BACKBONES

    return BACKBONES


def _stores() -> Iterable[str]:
    from crosslens.search.stores import STORES

    return STORES


def _cached() -> Iterable[str]:
    from crosslens.support.cache import KINDS

    return KINDS


def _decode_modes() -> Iterable[str]:
    from crosslens.images.picture import DecodeMode

    return get_args(DecodeMode)


def _indexes(incomplete: str) -> list[str]:
    """The indexes beside each other where the name that is begun lies."""
    above = incomplete[: incomplete.rfind("/") + 1]
    try:
        there = sorted(entry.name for entry in Path(above or ".").expanduser().iterdir())
    except OSError:
        return []
    names = [above + name for name in there]
    begun = [name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)]
    return [name for name in begun if (Path(name).expanduser() / "index.json").is_file()]


METHODS = _offers(_methods)
PROTOCOLS = _offers(_protocols)
CONVENTIONS = _offers(_conventions)
TIES = _offers(_ties)
GOALS = _offers(_goals)
RERANKERS = _offers(_rerankers)
TUNES = _offers(_tunes)
RECIPES = _offers(_recipes)
BENCHMARKS = _offers(_benchmarks)
BACKBONES = _offers(_backbones)
STORES = _offers(_stores)
CACHED = _offers(_cached)
DECODE_MODES = _offers(_decode_modes)
FORMATS = _offers(lambda: ("csv", "md", "latex", "html"))
INDEXES: _Completion = _indexes
