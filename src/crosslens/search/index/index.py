"""A collection of encoded images that one can search: its encoder, its description, and a store of items.

    I/index.json    format, fingerprint, encoder, similarity, kind and settings of the store, roots
    I/encoder/      a copy of the encoder, so that queries need nothing else
    I/...           what the store keeps, see ``crosslens.search.stores``

Every change is one step of the store. A process killed at any moment leaves the index as it was before the change
or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crosslens.backbones.base import Fingerprint
from crosslens.data.source import Source
from crosslens.encoder import Encoder, load_encoder
from crosslens.nn.similarity import Similarity
from crosslens.search.filters.conditions import BaseFilter, Filter
from crosslens.search.index.description import (
    domains_of,
    moved_roots,
    new_description,
    of_newest_format,
    open_description,
    read_description,
    require_same,
    with_root,
)
from crosslens.search.index.index_request import AddRequest, BuildRequest
from crosslens.search.index.items import (
    Hit,
    checked_items,
    count_domains,
    gallery_of,
    hits_of,
    items_of,
    root_of,
    sample_items,
)
from crosslens.search.index.making import embedded_items, make_index, require_free
from crosslens.search.index.occupancy import Occupancy
from crosslens.search.index.snapshots import restore_snapshot, write_snapshot
from crosslens.search.index.stored_ids import stored_ids
from crosslens.search.index.writer_lock import only_writer
from crosslens.search.stores import DEFAULT, parse_store, store_class
from crosslens.search.stores.base import ITEM_SCHEMA, Store
from crosslens.search.stores.snapshot import gather
from crosslens.support.errors import StoreError
from crosslens.support.files import write_json
from crosslens.support.request import takes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.search.index.adding import AddReport
    from crosslens.search.index.relocating import RelocateReport

__all__ = ["Hit", "Index"]


class Index:
    """A collection of encoded images that one can search.

    Open one with ``Index.open``, make one with ``Index.build`` or ``Index.create``. One process writes at a time;
    any number may read, each sees one whole version until it calls ``refresh``.

    Attributes:
        folder: where it lies.
        collection: text that no other index has, wherever they are moved.
        fingerprint: of the embedding whose vectors it holds.
        similarity: how vectors are compared.
        store: where the items are kept.
    """

    def __init__(self, folder: Path, description: dict[str, Any], store: Store) -> None:
        self.folder = folder
        self._description = description
        self.collection = str(description["collection"])
        self.fingerprint = Fingerprint.model_validate(description["fingerprint"])
        self.similarity = Similarity.model_validate(description["similarity"])
        self.store = store
        self._occupancy = Occupancy(folder, description)

    @classmethod
    def create(cls, folder: str | Path, encoder: Encoder, store: str = DEFAULT) -> Index:
        """Make an empty index for vectors of ``encoder``.

        Args:
            folder: made when missing; must be empty when not.
            encoder: copied into it.
            store: ``lance``, ``exact``, ``milvus:FILE.db`` or ``milvus:http://HOST:19530``.

        Raises:
            ConfigError: for an unknown kind of store.
            StoreError: when there is an index already, the folder holds something else, or no store can be made.
        """
        path = Path(folder)
        description = new_description(encoder, *parse_store(store))
        return cls(path, *make_index(path, encoder, description))

    @classmethod
    def open(cls, folder: str | Path) -> Index:
        """Open an existing index.

        Raises:
            StoreError: when it is none, is damaged, or of another version of crosslens.
        """
        path = Path(folder)
        description, context, kind = open_description(path)
        return cls(path, description, store_class(kind).open(context))

    @classmethod
    @takes(BuildRequest)
    def build(
        cls, source: Source, encoder: Encoder | str | Path, folder: str | Path, **options: Any
    ) -> tuple[Index, list[str]]:
        """Embed images and index them, all or nothing. Images whose role is ``query`` stay out.

        A process killed meanwhile leaves no index, and a folder that another call may take over.

        Args:
            source: the images.
            encoder: makes their vectors.
            folder: of the new index.
            options: of a ``BuildRequest``.

        Returns:
            The index, and one sentence for each image that was left out.

        Raises:
            StoreError: when the folder is in use.
            FeatureError: when no image can be embedded.
        """
        return cls.from_request(BuildRequest.of(source=source, encoder=encoder, folder=folder, **options))

    @classmethod
    def from_request(cls, request: BuildRequest) -> tuple[Index, list[str]]:
        """What ``build`` does, for a request."""
        source, path = request.images(), request.folder
        encoder = load_encoder(request.encoder, decode=request.decode)
        domains = None if request.domains is None else source.domains_named(request.domains)
        description = with_root(new_description(encoder, *parse_store(request.store)), root_of(source), domains)
        # Before the hours that embedding may take.
        require_free(path)
        chosen = gallery_of(source if domains is None else source.select(domains=domains))
        found, vectors, skipped = embedded_items(chosen, items_of(chosen), encoder, request.device)
        items, rows = checked_items(found, vectors, encoder.dim)
        index = cls(path, *make_index(path, encoder, description, items, rows))
        return index, [entry.reason for entry in skipped]

    @classmethod
    def restore(cls, snapshot: str | Path, folder: str | Path, *, store: str = DEFAULT) -> Index:
        """Make an index of a snapshot, all or nothing; the snapshot stays as it is.

        Args:
            snapshot: a folder that ``snapshot`` wrote.
            folder: of the new index; see ``create``.
            store: of any kind, whatever the snapshot was taken of; see ``create``.

        Raises:
            StoreError: when it is no snapshot, is damaged, or ``folder`` is in use.
            FingerprintError: when its encoder did not make its vectors.
            RunError: when its encoder cannot be read.
        """
        path = Path(folder)
        return cls(path, *restore_snapshot(Path(snapshot), path, store))

    def __len__(self) -> int:
        return self.store.count()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def version(self) -> str:
        """Another text after every committed change."""
        return self.store.version

    @property
    def roots(self) -> list[Path]:
        """The absolute folders whose images were added."""
        return [Path(root) for root in self._description["roots"]]

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder whose vectors this index holds."""
        return Encoder.load(self.folder / "encoder")

    @property
    def items(self) -> pa.Table:
        """All N items as one table of ``ITEM_SCHEMA``."""
        return pa.concat_tables([ITEM_SCHEMA.empty_table(), *(table for table, _ in self.store.scan())])

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All N unit vectors ``(N, d)`` in memory, in the order of ``items``; ``sample`` holds fewer."""
        return gather(self.store.scan(vectors=True), self.fingerprint.dim)[1]

    def upsert(self, items: pa.Table, vectors: NDArray[np.floating[Any]], fingerprint: Fingerprint) -> None:
        """Add items, or replace those whose id is here already, in one step.

        Args:
            items: n rows of ``ITEM_SCHEMA``, ids distinct; root, label, size and modified may be missing.
            vectors: ``(n, d)`` unit rows.
            fingerprint: of the encoder that made them.

        Raises:
            FingerprintError: for vectors of another encoder.
            StoreError: for wrong shapes or columns, vectors that are not finite or not of length 1, repeated ids,
                or a second writer.
        """
        self.require(fingerprint, "what you add")
        table, rows = checked_items(items, vectors, self.fingerprint.dim)
        if not table.num_rows:
            return
        with self.writing():
            self._describe(of_newest_format(self._description))
            self.store.upsert(table, rows)

    @takes(AddRequest, without=("source",))
    def add(
        self, catalog: Source, *, on_progress: Callable[[int, int], None] | None = None, **options: Any
    ) -> AddReport:
        """Bring the index up to date with the images of a catalog: embed what is new or changed by its stamp.

        Each batch is one step: what was committed before an interruption stays, and a second call goes on there.

        Args:
            catalog: its ids must not be those of another root's items.
            on_progress: called with the images done and their total.
            options: of an ``AddRequest``.

        Raises:
            StoreError: for ids of another root's items, when more than half of a domain's items would go without
                ``force``, or for a second writer. Nothing is changed then.
        """
        from crosslens.search.index.adding import add_images

        return add_images(self, AddRequest.of(source=catalog, **options), on_progress)

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id, unknown ones passed over, or by filter, in one step.

        Returns:
            How many were deleted.

        Raises:
            StoreError: for a second writer.
        """
        if isinstance(which, str):
            raise StoreError(f"delete takes a list of ids or a filter, not the text {which!r}")
        with self.writing():
            return self.store.delete(which if isinstance(which, BaseFilter) else self.ids_of(which))

    def search(
        self, queries: NDArray[np.floating[Any]], k: int = 10, where: Filter | None = None, exact: bool = False
    ) -> list[list[Hit]]:
        """The k most similar items of each query, best first; ties in the order of ids.

        Args:
            queries: ``(Q, d)`` unit rows of this index's encoder.
            k: at most this many; fewer only when fewer items match.
            where: looks at these items alone.
            exact: score every item, whatever the size of the index.

        Raises:
            StoreError: for another length of vectors, values that are not finite, or k < 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.fingerprint.dim:
            raise StoreError(f"queries must be (Q, {self.fingerprint.dim}), not {queries.shape}")
        if k < 1:
            raise StoreError(f"k must be at least 1, not {k}")
        if not np.isfinite(queries).all():
            raise StoreError("the queries hold NaN or infinity")
        if not len(queries):
            return []
        asked = np.ascontiguousarray(self.similarity.as_queries(queries))
        # Rounding may take a copy's score beyond the 1 that scores are promised to stay below.
        return [
            hits_of(found.rows, np.minimum(found.scores, 1).tolist())
            for found in self.store.search(asked, k, where, exact)
        ]

    def get(self, image: str) -> tuple[Hit, NDArray[np.float32]]:
        """One item by id, with its vector ``(d,)``; its score is 1.

        Raises:
            StoreError: when there is no such id.
        """
        try:
            rows, vectors = self.store.get([image])
        except StoreError:
            # Only now, since looking for another form costs as much again.
            rows, vectors = self.store.get(self.ids_of([image]))
        return hits_of(rows, [1.0])[0], vectors[0]

    def ids_of(self, ids: Sequence[str]) -> list[str]:
        """The ids of items as they are stored, for ids in any form of Unicode; see ``stored_ids``."""
        return stored_ids(self.store, ids)

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        return self.store.count(where)

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, NDArray[np.float32] | None]]:
        """All items of one version, or those that match, in batches, with vectors ``(n, d)`` if asked for."""
        return self.store.scan(where, vectors, batch)

    def sample(self, n: int, seed: int = 0) -> NDArray[np.float32]:
        """Vectors ``(n', d)`` of n items drawn at random by ``seed``; all of them where there are fewer."""
        return sample_items(self.store, n, seed)[1]

    def optimize(self) -> dict[str, Any]:
        """Make searching fast and the files small again; says what was done.

        Raises:
            StoreError: for a second writer.
        """
        with self.writing():
            return self.store.optimize()

    def refresh(self) -> bool:
        """Take over what other processes committed; True when something changed.

        Raises:
            ReplacedIndexError: when the folder holds another index now.
        """
        self._occupancy.look()
        changed = self.store.refresh()
        # Once more: the folder may have been replaced while the store was read.
        self._description = self._occupancy.look()
        return changed

    def snapshot(self, target: str | Path) -> None:
        """Write this version as plain files to a new folder, all or nothing: items, vectors, encoder, uploads.

        Raises:
            StoreError: when ``target`` exists.
            CrosslensError: when it cannot be written.
        """
        write_snapshot(self, self._description, Path(target))

    def stats(self) -> dict[str, Any]:
        """Size, encoder, domains and store, as plain values."""
        return {
            "items": len(self),
            "dim": self.fingerprint.dim,
            "encoder": self._description["encoder"],
            "fingerprint": self.fingerprint.digest,
            "domains": count_domains(self.store),
            "bytes": sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file()),
            "text_queries": self.encoder.has_text,
            "version": self.version,
            "roots": [str(root) for root in self.roots],
            "store": self.store.stats(),
        }

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()

    def require(self, fingerprint: Fingerprint, what: str) -> None:
        """Check that ``what`` was made with this index's embedding.

        Raises:
            FingerprintError: saying how to make the one fit the other.
        """
        require_same(self.fingerprint, fingerprint, what)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the index for one writer, on its newest version.

        Raises:
            AnotherWriterError, ReplacedIndexError: see ``only_writer`` and ``refresh``.
        """
        with only_writer(self.folder):
            self.refresh()
            yield

    def add_root(self, root: str, domains: Sequence[str] | None = None) -> None:
        """Remember a folder whose images were added, and the domains chosen of it; see ``with_root``."""
        with self.writing():
            # Read again under the lock: another process may have added one.
            self._description = read_description(self.folder)
            self._describe(with_root(self._description, root, domains))

    def domains_of(self, root: str) -> list[str] | None:
        """The domains chosen of a folder that was added; None where all are wanted."""
        return domains_of(self._description, root)

    def relocate(self, old: str | Path, new: str | Path, *, force: bool = False) -> RelocateReport:
        """Say that the images of a folder lie in another one now; nothing is embedded again.

        A process killed meanwhile leaves some items at the old place, and a second call goes on.

        Args:
            old: a folder that was added, or one above several.
            new: where it lies now.
            force: also where some of the images are not there.

        Raises:
            StoreError: when nothing below ``old`` was added, ``new`` is no folder or lacks images, or for a second
                writer. Nothing is changed then.
        """
        from crosslens.search.index.relocating import relocate_roots

        return relocate_roots(self, old, new, force=force)

    def move_roots(self, places: Mapping[str, str]) -> None:
        """Remember that folders whose images were added lie elsewhere, old place to new; see ``relocate``."""
        with self.writing():
            self._description = read_description(self.folder)
            self._describe(moved_roots(self._description, places))

    def _describe(self, description: dict[str, Any]) -> None:
        """Change what the index says of itself, for who holds it for writing."""
        if description != self._description:
            write_json(self.folder / "index.json", description)
            self._description = description
