"""The serving structure: vectors in mapped memory, and for many of them FAISS inverted lists.

The lists hold 8-bit codes and find candidates; candidates are scored again with the exact vectors. How many lists
a query looks into is measured when the structure is made. A structure may be thrown away at any time: it is made
again from the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file

from crosslens.nn.similarity import Similarity
from crosslens.ops.screen import Screen, make_screen
from crosslens.search.stores.inverted_lists import Allowed, InvertedLists, list_count
from crosslens.search.stores.probes import choose_probes
from crosslens.search.stores.scoring import best, exact_top, rescored
from crosslens.search.stores.settings import LanceSettings
from crosslens.search.stores.snapshot import save_tensors
from crosslens.search.stores.structure_files import (
    ITEMS,
    LISTS,
    MANIFEST,
    ROWS,
    VECTORS,
    Manifest,
    check_files,
    map_items,
    map_vectors,
    mark,
    read_ahead,
    read_manifest,
    write_items,
)
from crosslens.support.errors import StoreError
from crosslens.support.files import atomic_path, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Positions = NDArray[np.int64]
    Names = Callable[[Positions], list[str]]

_PAGE = 4096


class Structure:
    """An opened serving structure of M rows.

    Attributes:
        folder: where it lies.
        number: its number.
        manifest: what it says of itself.
        seqs: ``(M,)`` rising.
        vectors: ``(M, d)`` in mapped memory.
        lists: inverted lists, where there are some.
        items: of the M rows, in mapped memory; None in a structure of an older version.
    """

    def __init__(self, folder: Path, manifest: Manifest, settings: LanceSettings) -> None:
        self.folder = folder
        self.number = int(folder.name)
        self.manifest = manifest
        self._settings = settings
        try:
            rows = load_file(folder / ROWS)
            self.seqs: NDArray[np.int64] = rows["seq"]
            # A plain view: a memmap makes another memmap of every part that is taken from it.
            self.vectors: Array = np.asarray(map_vectors(folder / VECTORS, manifest.rows, manifest.dim))
            self.lists = InvertedLists.read(folder / LISTS, rows["list"]) if manifest.kind == "ivf" else None
            self.items = map_items(folder / ITEMS, manifest.rows)
            self._screen: Screen | None = None
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise StoreError(f"{folder} cannot be read: {error}") from error
        if len(self.seqs) != manifest.rows:
            raise StoreError(f"{folder / ROWS} does not list {manifest.rows} rows")

    @classmethod
    def open(cls, folder: Path, dim: int, settings: LanceSettings) -> Structure:
        """Open a structure after checking its files.

        Raises:
            StoreError: when it is missing or damaged.
        """
        manifest = read_manifest(folder)
        if manifest.dim != dim:
            raise StoreError(f"{folder} holds vectors of {manifest.dim} numbers instead of {dim}")
        check_files(folder, manifest, settings.checked_bytes)
        structure = cls(folder, manifest, settings)
        structure._touch()
        return structure

    def search(
        self,
        queries: Array,
        k: int,
        allowed: Allowed | None = None,
        exact: bool = False,
        names: Names | None = None,
    ) -> list[tuple[Positions, Array]]:
        """The k best rows of each query ``(Q, d)`` among those allowed: positions and exact scores, best first.

        All k come back when as many are allowed. Ties are ordered by name.
        """
        positions = None if allowed is None else allowed.positions
        few = positions is not None and len(positions) <= self._settings.exact_rows
        if self.lists is None or exact or few:
            return exact_top(queries, self.vectors, k, positions, names, self._screen)
        wanted = min(k, self.manifest.rows if positions is None else len(positions))
        probes = self._probes(1.0 if allowed is None else allowed.share)
        candidates = self.lists.candidates(queries, max(wanted * self._settings.refine, 20), probes, allowed)
        nearest: list[tuple[Positions, Array]] = []
        for query, rows in zip(queries, candidates, strict=True):
            # Where there are fewer candidates, -1 fills the end.
            near = rows if rows[-1] >= 0 else rows[rows >= 0]
            scores = rescored(query, self.vectors[near])
            ranked = best(near, scores, k, names)
            # Rows equal to the last result may have been cut off with the candidates.
            tied = len(near) > wanted and len(near) == len(rows) and ranked[1][-1] == scores.min()
            if len(near) < wanted or tied:
                ranked = exact_top(query[None], self.vectors, k, positions, names)[0]
            nearest.append(ranked)
        return nearest

    def quicken(self) -> None:
        """Hold codes of the vectors in memory, where all are looked at for a query; see ``ops/screen.py``."""
        if self.lists is None and self._screen is None:
            self._screen = make_screen(self.vectors)

    def _touch(self) -> None:
        """Bring the mapped files in where they are not too large, so that no query waits for their pages.

        Behind lists a query reads a few vectors alone, so these are asked for and not waited for.
        """
        sizes = {name: file.bytes for name, file in self.manifest.files.items()}
        if sizes.get(VECTORS, 0) <= self._settings.touched_bytes:
            if self.lists is None:
                self.vectors.reshape(-1)[:: _PAGE // 4].max(initial=0)
            else:
                read_ahead(self.folder / VECTORS)
        if self.lists is not None and sizes[LISTS] <= self._settings.touched_bytes:
            self.lists.touch()

    def _probes(self, share: float) -> int:
        """As measured for this share of rows allowed, or the next smaller one that was measured."""
        for probe in self.manifest.probes:
            if probe.share <= share:
                return probe.lists
        return self.manifest.probes[-1].lists


def build_structure(
    target: Path,
    blocks: Iterator[tuple[NDArray[np.int64], Array]],
    seqs: NDArray[np.int64],
    items: pa.Table | None,
    dim: int,
    table_version: int,
    similarity: Similarity,
    settings: LanceSettings,
    *,
    numbered: bool = False,
) -> None:
    """Write the structure of M rows as a new folder, all or nothing.

    Args:
        target: the folder.
        blocks: all rows in any order, as seqs ``(n,)`` and vectors ``(n, d)``.
        seqs: of all rows ``(M,)``, rising.
        items: M rows of ``ITEM_SCHEMA`` in this order; None for vectors alone.
        dim: d.
        table_version: noted in the manifest.
        similarity: the form queries come in, for measuring.
        settings: when to make inverted lists, and how well they must find.
        numbered: whether the rows end with numbers; see ``NumberedStore``.

    Raises:
        CrosslensError: when the disk is full or the folder cannot be written.
        StoreError: when the blocks do not hold exactly the rows of ``seqs``.
    """
    started = time.perf_counter()
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        vectors = map_vectors(temporary / VECTORS, len(seqs), dim, new=True)
        _fill(vectors, blocks, seqs)
        manifest = Manifest(
            kind="exact",
            rows=len(seqs),
            dim=dim,
            last_seq=int(seqs[-1]) if len(seqs) else 0,
            table_version=table_version,
            files={},
        )
        tensors: dict[str, NDArray[np.integer[Any]]] = {"seq": seqs}
        count = list_count(len(seqs))
        if len(seqs) >= settings.exact_below and count > 1:
            lists = InvertedLists.make(vectors, count)
            probes = choose_probes(
                lists,
                vectors,
                similarity,
                settings.recall,
                settings.refine,
                settings.exact_rows,
                numbered=numbered,
            )
            if probes[0].lists <= max(1, settings.most_lists * count):
                lists.write(temporary / LISTS)
                tensors["list"] = lists.list_of
                manifest = manifest.model_copy(update={"kind": "ivf", "lists": count, "probes": probes})
        save_tensors(tensors, temporary / ROWS)
        if items is not None:
            write_items(temporary / ITEMS, items)
        files = {file.name: mark(file) for file in sorted(temporary.iterdir())}
        seconds = round(time.perf_counter() - started, 3)
        manifest = manifest.model_copy(update={"files": files, "seconds": seconds})
        write_json(temporary / MANIFEST, manifest.model_dump(mode="json"))


def _fill(vectors: Array, blocks: Iterator[tuple[NDArray[np.int64], Array]], seqs: NDArray[np.int64]) -> None:
    written = 0
    for block, rows in blocks:
        positions = np.searchsorted(seqs, block)
        if positions.max(initial=0) >= len(seqs) or not np.array_equal(seqs[positions], block):
            raise StoreError("the table changed while a serving structure was made of it")
        vectors[positions] = rows
        written += len(block)
    if written != len(seqs):
        raise StoreError(f"the table gave {written} of {len(seqs)} rows; it may be damaged")
    if isinstance(vectors, np.memmap):
        vectors.flush()
