"""What a TAB offers for a value: the names that a command knows, none of which takes long to find.

Where there is nothing to offer, the shell completes names of files, as for any argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import get_args

_Completion = Callable[[str], list[str]]
_PLAIN = re.compile(r"[\w./@%+=:,~-]+")
"""Names that need no quotes; the others are left to the shell, which knows how to write them."""


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _offers(module: str, name: str) -> _Completion:
    """What a module, imported when TAB is pressed, calls ``name``: a table, a ``Literal`` or what lists names."""

    def offered(incomplete: str) -> list[str]:
        known = getattr(import_module(f"crosslens.{module}"), name)
        # A Literal can be called too, to no good.
        names = get_args(known) or (known() if callable(known) else known)
        return _begun(names, incomplete)

    return offered


def _methods(incomplete: str) -> list[str]:
    from crosslens.methods import AUTO, known_methods

    return _begun([AUTO, *known_methods()], incomplete)


def _formats(incomplete: str) -> list[str]:
    return _begun(("csv", "md", "latex", "html"), incomplete)


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


METHODS: _Completion = _methods
PROTOCOLS = _offers("evaluation.protocol_names", "PROTOCOL_NAMES")
CONVENTIONS = _offers("evaluation.conventions", "CONVENTIONS")
TIES = _offers("evaluation.conventions", "Ties")
GOALS = _offers("ops.hubs", "Goal")
RERANKERS = _offers("search.rerank", "RERANKERS")
TUNES = _offers("methods.tune", "Tune")
RECIPES = _offers("recipes", "recipe_names")
BENCHMARKS = _offers("datasets", "BENCHMARKS")
BACKBONES = _offers("backbones", "BACKBONES")
STORES = _offers("search.stores", "STORES")
CACHED = _offers("support.cache", "KINDS")
DECODE_MODES = _offers("images.picture", "DecodeMode")
FORMATS: _Completion = _formats
INDEXES: _Completion = _indexes
