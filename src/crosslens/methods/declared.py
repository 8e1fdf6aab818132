"""The names of a method's settings as its source declares them, so that a wrong one is told at once.

To ask the class itself takes importing it, and PyTorch with it, which takes seconds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec

from crosslens.methods import METHODS
from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean

_OWN = "crosslens."
_Place = tuple[str, ast.ClassDef]
"""A class where it is written: its module, and the class."""


def require_settings(method: str, names: Iterable[str]) -> None:
    """Refuse settings that a method does not have.

    Args:
        method: a name; of those of other packages nothing is told.
        names: keys of its configuration.

    Raises:
        ConfigError: naming the first that is unknown, and listing those there are.
    """
    known = declared_settings(method) if method in METHODS else {}
    listed = [name for name, is_there in known.items() if is_there]
    for name in names:
        if known and name not in known:
            there = ", ".join(listed) or "none"
            raise ConfigError(f"{method} has no setting {name!r}; it has {there}{did_you_mean(name, listed)}")


def declared_settings(method: str) -> dict[str, bool]:
    """The settings of a method of ``METHODS``, and with False those that are no more (``removed``).

    Nothing where its source is not at hand.
    """
    module, _, name = METHODS[method].partition(":")
    for place, written in _lineage(module, name):
        for node in written.body:
            if isinstance(node, ast.Assign) and _named(node.targets[0]) == "Config":
                return _fields(place, _named(node.value))
    return {}


def _fields(module: str, name: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for _, written in reversed(list(_lineage(module, name))):
        for node in written.body:
            if not isinstance(node, ast.AnnAssign):
                continue
            if _named(node.target) == "removed" and isinstance(node.value, ast.Dict):
                found |= {ast.literal_eval(key): False for key in node.value.keys if key is not None}
            elif not ast.unparse(node.annotation).startswith("ClassVar"):
                found[_named(node.target)] = True
    return found


def _lineage(module: str, name: str) -> Iterator[_Place]:
    """A class and those of crosslens that it stands on, the nearest first."""
    for node in ast.walk(_source(module)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield module, node
            for base in node.bases:
                yield from _lineage(module, _named(base))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_OWN):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield from _lineage(str(node.module), alias.name)


def _named(node: ast.expr) -> str:
    """The name of ``X`` and of ``X[...]``; empty for anything else."""
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.id if isinstance(node, ast.Name) else ""


@cache
def _source(module: str) -> ast.Module:
    found = find_spec(module)
    # Installed without its source, a method tells its settings when it is imported.
    return ast.parse(getattr(found and found.loader, "get_source", lambda _: "")(module) or "")
