"""The neighbour graph of an index that is small enough: made once, and brought up to date with each version."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosslens.search.index.index import Index
from crosslens.search.rerank.base import Gallery
from crosslens.search.rerank.graph import GRAPH_NEIGHBOURS, NONE, Neighbours, neighbour_graph
from crosslens.search.rerank.graph_update import update_graph
from crosslens.support.progress import note, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GRAPH_LIMIT = 10_000
"""Items up to which a graph of the whole index is made; 20,000 x 512 took 39 s on two cores that were busy."""


class _Graph(NamedTuple):
    version: str
    positions: dict[str, int]
    vectors: NDArray[np.float32]
    graph: Neighbours


class GraphCache:
    """Graphs of an index; may be asked by several threads at once.

    Args:
        index: whose items are the nodes.
        limit: no graph is made of more items.
    """

    def __init__(self, index: Index, limit: int = GRAPH_LIMIT) -> None:
        self.index = index
        self.limit = limit
        self._made: _Graph | None = None
        self._making = Lock()

    def of(self, ids: Sequence[str]) -> Gallery | None:
        """The graph of the whole index and the positions of these items in it.

        Returns:
            None where the index is larger than the limit, or changed so that it lacks one of them.
        """
        if len(self.index) > self.limit:
            return None
        with self._making:
            if self._made is None or self._made.version != self.index.version:
                self._made = self._make()
            made = self._made
        if not all(image in made.positions for image in ids):
            return None
        return Gallery(np.array([made.positions[image] for image in ids], np.int64), made.vectors, made.graph)

    def _make(self) -> _Graph:
        version = self.index.version
        ids: list[str] = []
        parts: list[NDArray[np.float32]] = []
        for table, vectors in self.index.scan(vectors=True):
            assert vectors is not None
            ids += table.column("id").to_pylist()
            parts.append(vectors)
        everything = np.concatenate(parts) if parts else np.empty((0, self.index.fingerprint.dim), np.float32)
        # Equal neighbours come in the order of their positions, which must not be the one they were written in.
        order = sorted(range(len(ids)), key=ids.__getitem__)
        ids, everything = [ids[row] for row in order], everything[order]
        if len(ids) > 2000 and self._made is None:
            note(f"finding the neighbours of {len(ids)} items, once")
        with progress(len(ids), "neighbours") as advance:
            if self._made is None:
                graph = neighbour_graph(everything, GRAPH_NEIGHBOURS, self.index.similarity, advance)
            else:
                origins = _origins(self._made, ids, everything)
                graph = update_graph(self._made.graph, origins, everything, self.index.similarity, advance)
        return _Graph(version, {image: row for row, image in enumerate(ids)}, everything, graph)


def _origins(before: _Graph, ids: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of N items in a graph that has them with the same vector ``(N,)``; -1 of those it has not."""
    origins = np.array([before.positions.get(image, NONE) for image in ids], np.int64)
    held = np.flatnonzero(origins != NONE)
    changed = (vectors[held] != before.vectors[origins[held]]).any(1)
    origins[held[changed]] = NONE
    return origins
