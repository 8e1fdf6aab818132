"""The published benchmarks by name, and the built-in emoji data (``crosslens.datasets.emoji``)."""

from __future__ import annotations

from crosslens.data.names import spelling_key as key
from crosslens.datasets import domainnet, office31, office_home, pacs, quickdraw, sketchy, tu_berlin
from crosslens.datasets.benchmark import Benchmark, Split
from crosslens.support.errors import CatalogError
from crosslens.support.near_names import did_you_mean

BENCHMARKS: dict[str, Benchmark] = {
    "office-31": office31.OFFICE31,
    "office-home": office_home.OFFICE_HOME,
    "domainnet": domainnet.DOMAINNET,
    "domainnet-7": domainnet.DOMAINNET_7,
    "pacs": pacs.PACS,
    "sketchy": sketchy.SKETCHY,
    "sketchy-all": sketchy.SKETCHY_ALL,
    "tu-berlin": tu_berlin.TU_BERLIN,
    "quickdraw": quickdraw.QUICKDRAW,
}
"""Every benchmark by the name that ``--as`` takes."""


def find_benchmark(name: str) -> Benchmark:
    """The benchmark called ``name``: its name, title or an alias; case, spaces and hyphens do not matter.

    Raises:
        CatalogError: when there is none, listing the names.
    """
    for benchmark in BENCHMARKS.values():
        if key(name) in map(key, (benchmark.name, benchmark.title, *benchmark.aliases)):
            return benchmark
    near = did_you_mean(name, BENCHMARKS)
    raise CatalogError(f"there is no benchmark {name!r}{near}; known are {', '.join(BENCHMARKS)}")


def published_splits() -> dict[str, Split]:
    """Every published split by the name that ``--unseen`` takes."""
    found: dict[str, Split] = {}
    for benchmark in BENCHMARKS.values():
        for split in benchmark.splits.values():
            # Benchmarks that differ in their photos alone share the lists of classes.
            found.setdefault(split.full_name, split)
    return found
