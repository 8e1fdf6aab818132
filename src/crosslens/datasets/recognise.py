"""Which published benchmark some images are of, told by their classes."""

from __future__ import annotations

from collections.abc import Collection

from crosslens.data.names import Spelling
from crosslens.datasets import BENCHMARKS
from crosslens.datasets.benchmark import Benchmark


def recognise(classes: Collection[str], *, known: int, fewer: int) -> Benchmark | None:
    """The benchmark that fits classes better than one that is taken for it; None where there is none.

    Args:
        classes: the class names of the images, in any spelling.
        known: so many of them the other one knows; a better one knows as many.
        fewer: so many classes the other one has; a better one has fewer, and half of its own are here.

    Returns:
        The one with the fewest classes.
    """
    fitting = []
    for benchmark in BENCHMARKS.values():
        spelling = Spelling(benchmark.classes)
        found = [spelling(name) for name in classes if name in spelling]
        if len(found) >= known and len(benchmark.classes) < fewer and 2 * len({*found}) >= len(benchmark.classes):
            fitting.append(benchmark)
    return min(fitting, key=lambda benchmark: len(benchmark.classes), default=None)
