"""A collection of encoded images that one can search: its encoder, its description, and a store of items.

    I/index.json    format, fingerprint, encoder, similarity, kind and settings of the store, roots
    I/encoder/      a copy of the encoder, so that queries need nothing else
    I/...           what the store keeps, see ``crosslens.search.stores``

Every change is one step of the store. A process killed at any moment leaves the index as it was before the change
or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.data.columns import ColumnType
from crosslens.data.source import Source, open_catalog
from crosslens.encoder.described import describe_encoder
from crosslens.encoder.opening import compile_in_place
from crosslens.encoder.querying import QueryEncoder
from crosslens.nn.similarity import Similarity
from crosslens.ops.hubs import Goal
from crosslens.search.filters.conditions import Eq, Filter
from crosslens.search.index.adding import AddReport, add_images
from crosslens.search.index.contents import ENCODER, Contents
from crosslens.search.index.description import describe_index, is_numbered
from crosslens.search.index.facets import Facet, count_facets
from crosslens.search.index.hubs import NO_BANK
from crosslens.search.index.index_request import AddRequest, BuildRequest
from crosslens.search.index.items import Hit, count_domains, make_all_hits, make_hits, sample_items
from crosslens.search.index.kept_queries import keep_queries
from crosslens.search.index.making import build_index, make_at, make_index
from crosslens.search.index.numbering import is_numbering_due, number_items
from crosslens.search.index.relocating import RelocateReport, relocate_roots
from crosslens.search.index.snapshots import restore_snapshot, write_snapshot
from crosslens.search.index.stored_ids import find_stored_ids, near_ids
from crosslens.search.stores import DEFAULT, parse_store
from crosslens.search.stores.base import ITEM_SCHEMA, OpenStore
from crosslens.search.stores.numbered import NumberedStore, with_weight
from crosslens.search.stores.snapshot import gather
from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import ConfigError, StoreError, UnknownItemError
from crosslens.support.request import takes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder

__all__ = ["Hit", "Index"]

_SAMPLE = 12
"""Items that an index shows of itself."""


class Index:
    """A collection of encoded images that one can search.

    Open one with ``Index.open``, make one with ``Index.build`` or ``Index.create``. One process writes at a time;
    any number may read, each sees one whole version until it calls ``refresh``.

    Attributes:
        contents: what lies in its folder.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    @classmethod
    def create(cls, folder: str | Path, encoder: Encoder, store: str = DEFAULT) -> Index:
        """Make an empty index for vectors of ``encoder``.

        Args:
            folder: made when missing; must be empty when not.
            encoder: copied into it.
            store: see ``stores.parse_store``.

        Raises:
            ConfigError: for an unknown kind of store.
            StoreError: when there is an index already, the folder holds something else, or no store can be made.
        """
        description = describe_index(encoder, *parse_store(store))
        return cls(make_at(place_of(folder), lambda here: make_index(here, encoder, description)))

    @classmethod
    def open(cls, folder: str | Place) -> Index:
        """Open an existing index; one in object storage is read, not changed (``search/index/mirrored.py``).

        Raises:
            StoreError: when it is none, is damaged, or of another version of crosslens.
        """
        return cls(Contents.open(place_of(folder)))

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
        contents, left_out = build_index(request)
        return cls(contents), left_out

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
        return cls(make_at(place_of(folder), lambda here: restore_snapshot(place_of(snapshot), here, store)))

    def __len__(self) -> int:
        return self.store.count()

    def __repr__(self) -> str:
        return f"<Index {self.contents.place}: {len(self)} items of {self.contents.description['encoder']}>"

    def _repr_html_(self) -> str:
        from crosslens.search.grid import picture_tile, tiles_as_html

        domains = ", ".join(f"{name} {count}" for name, count in count_domains(self.store).items())
        hits = make_hits(drawn := sample_items(self.store, _SAMPLE)[0], [0.0] * drawn.num_rows)
        tiles = [picture_tile(hit.path, (hit.domain, hit.label or Path(hit.id).name)) for hit in hits]
        return tiles_as_html(tiles, f"{self!r}; {domains}")

    @property
    def folder(self) -> Path:
        """The folder of the index; of one in object storage, what this machine holds of it."""
        return self.contents.folder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.contents.place.resolve().name

    @property
    def collection(self) -> str:
        """A text that no other index has, wherever they are moved."""
        return str(self.contents.description["collection"])

    @property
    def version(self) -> str:
        """The version that is read: a text that differs after every committed change."""
        return self.store.version

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the embedding whose vectors this index holds."""
        return self.contents.fingerprint

    @property
    def similarity(self) -> Similarity:
        """How vectors are compared."""
        return self.contents.similarity

    @property
    def goal(self) -> Goal:
        """What a search is for where it does not say."""
        return self.contents.goal

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What it can be searched for; ``thing`` needs numbers of its items, see ``hubs``."""
        return ("thing", "kind") if "hubs" in self.contents.description else ("kind",)

    @property
    def encoder(self) -> Encoder:
        """The encoder whose vectors this index holds."""
        return self.contents.encoder

    @property
    def query_encoder(self) -> QueryEncoder:
        """The same encoder for queries, without PyTorch where that is possible; see ``open_query_encoder``."""
        return self.contents.query_encoder

    @property
    def store(self) -> OpenStore:
        """Where the items are kept."""
        return self.contents.store

    @property
    def roots(self) -> list[Place]:
        """The absolute folders and addresses whose images were added."""
        return [place_of(root) for root in self.contents.roots]

    @property
    def columns(self) -> dict[str, ColumnType]:
        """The items' own columns by name, and their types (``crosslens.data.columns``)."""
        return self.contents.columns

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
            items: n rows of ``ITEM_SCHEMA``, ids distinct; root, label, size and modified may be missing. Other
                columns become the items' own.
            vectors: ``(n, d)`` unit rows.
            fingerprint: of the encoder that made them.

        Raises:
            FingerprintError: for vectors of another encoder.
            StoreError: for wrong shapes or columns, vectors that are not finite or not of length 1, repeated ids,
                or a second writer.
        """
        self.contents.upsert(items, vectors, fingerprint)

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
        return add_images(self.contents, AddRequest.of(source=catalog, **options), on_progress)

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id, unknown ones passed over, or by filter, in one step.

        Returns:
            How many were deleted.

        Raises:
            StoreError: for a second writer.
        """
        return self.contents.delete(which)

    def search(
        self,
        queries: NDArray[np.floating[Any]],
        k: int = 10,
        where: Filter | None = None,
        exact: bool = False,
        goal: Goal | None = None,
    ) -> list[list[Hit]]:
        """The k most similar items of each query, best first; ties in the order of ids.

        Args:
            queries: ``(Q, d)`` unit rows of this index's encoder.
            k: at most this many; fewer only when fewer items match.
            where: looks at these items alone.
            exact: score every item, whatever the size of the index.
            goal: ``kind`` ranks by similarity, ``thing`` by similarity less what is near every query; the index's
                own by default.

        Raises:
            ConfigError: for a goal that the index cannot serve.
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
        most = 1.0
        if (goal or self.goal) == "thing":
            self.require_goal("thing")
            asked, most = with_weight(asked, 1), np.inf
        # Rounding may take a copy's score beyond the 1 that similarities are promised to stay below.
        return make_all_hits(self.store.search(asked, k, self.contents.bound(where), exact), most)

    def require_goal(self, goal: Goal) -> None:
        """Check that the index can be searched for a goal.

        Raises:
            ConfigError: saying what to do.
        """
        if goal in self.goals:
            return
        if not is_numbered(self.contents.description):
            raise ConfigError(
                f"goal = {goal!r}: {self.folder} was made before an index could serve it. Copy it: 'crosslens"
                f" index snapshot {self.folder} COPY', then 'crosslens index restore COPY --out NEW'; nothing is"
                " embedded again"
            )
        if is_numbering_due(self.contents):
            raise ConfigError(
                f"goal = {goal!r}: nothing was learned of hubs yet; do it with 'crosslens index optimize"
                f" {self.folder}'"
            )
        raise ConfigError(f"goal = {goal!r}: {self.folder} has nothing to learn hubs from. {NO_BANK}")

    def hub_numbers(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """What ``thing`` takes from the scores of items ``(n,)``; 0 where the index has no numbers.

        Raises:
            StoreError: naming the first id that is not there.
        """
        store = self.store
        return store.numbers(ids) if isinstance(store, NumberedStore) else np.zeros(len(ids), np.float32)

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
        return make_hits(rows, [1.0])[0], vectors[0]

    def vectors_of(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of items.

        Args:
            ids: as they are stored.

        Raises:
            UnknownItemError: naming the first id that is not there, and what may have been meant.
        """
        try:
            return self.store.get(ids)[1]
        except StoreError:
            missing = self.missing(ids)
            if not missing:
                raise
            raise UnknownItemError(missing[0], self.folder, near_ids(self.store, missing[0])) from None

    def ids_of(self, ids: Sequence[str]) -> list[str]:
        """The ids of items as they are stored, for ids in any form of Unicode; see ``find_stored_ids``."""
        return find_stored_ids(self.store, ids)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of ``ids`` that no item has, in any form of Unicode."""
        stored = self.ids_of(ids)
        return [
            image for image, there in zip(ids, stored, strict=True) if not self.count(Eq(field="id", value=there))
        ]

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        return self.store.count(self.contents.bound(where))

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, NDArray[np.float32] | None]]:
        """All items of one version, or those that match, in batches, with vectors ``(n, d)`` if asked for."""
        return self.store.scan(self.contents.bound(where), vectors, batch)

    def facets(self, where: Filter | None = None) -> dict[str, Facet]:
        """How many items have which values of their own columns: of all items, or of those that match."""
        return count_facets(self.store, self.columns, self.contents.bound(where))

    def sample(self, n: int, seed: int = 0) -> NDArray[np.float32]:
        """Vectors ``(n', d)`` of n items drawn at random by ``seed``; all of them where there are fewer."""
        return sample_items(self.store, n, seed)[1]

    def keep_queries(self, queries: Source, *, device: str | None = None) -> int:
        """Keep unlabelled images like those that will be asked with, to calibrate probabilities of a match on.

        They are embedded now, and not needed again; what was kept before is replaced. See ``kept_queries``. The
        items are numbered anew by how near they are to all of them; see ``hubs``.

        Returns:
            How many are kept.

        Raises:
            ConfigError: for fewer than 10 images.
            NothingEmbeddedError: when none can be embedded.
        """
        kept = keep_queries(self.contents, open_catalog(queries), device)
        number_items(self.contents)
        return kept

    def optimize(self) -> dict[str, Any]:
        """Make searching fast, from its start on, and the files small again, and learn of hubs anew; says what was
        done.

        Raises:
            StoreError: for a second writer.
        """
        numbered = number_items(self.contents)
        with self.writing():
            compile_in_place(self.folder / ENCODER)
            return {"numbered": numbered, **self.store.optimize()}

    def refresh(self) -> bool:
        """Take over what other processes committed; True when something changed.

        Raises:
            ReplacedIndexError: when the folder holds another index now.
        """
        return self.contents.refresh()

    def snapshot(self, target: str | Path) -> None:
        """Write this version as plain files to a new folder, all or nothing: items, vectors, encoder, uploads.

        Raises:
            StoreError: when ``target`` exists.
            CrosslensError: when it cannot be written.
        """
        write_snapshot(self.contents, place_of(target))

    def stats(self) -> dict[str, Any]:
        """Size, encoder, domains and store, as plain values; no network is loaded for it."""
        encoder = describe_encoder(self.folder / ENCODER)
        return {
            "items": len(self),
            "dim": self.fingerprint.dim,
            "encoder": self.contents.description["encoder"],
            "fingerprint": self.fingerprint.digest,
            "domains": count_domains(self.store),
            "bytes": sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file()),
            "backbone": encoder.backbone_title,
            "text_queries": encoder.has_text,
            "version": self.version,
            "roots": [str(root) for root in self.roots],
            "columns": self.columns,
            "format": self.contents.description["format"],
            "goal": self.goal,
            "goals": list(self.goals),
            "hubs": {
                key: value for key, value in self.contents.description.get("hubs", {}).items() if key != "key"
            },
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
        self.contents.require(fingerprint, what)

    def writing(self) -> AbstractContextManager[None]:
        """Hold the index for one writer, on its newest version.

        Raises:
            AnotherWriterError, ReplacedIndexError: on entry; see ``hold_for_writing`` and ``refresh``.
        """
        return self.contents.writing()

    def add_root(self, root: str, domains: Sequence[str] | None = None) -> None:
        """Remember a folder whose images were added, and the domains chosen of it; see ``list_root``."""
        self.contents.add_root(root, domains)

    def domains_of(self, root: str) -> list[str] | None:
        """The domains chosen of a folder that was added; None where all are wanted."""
        return self.contents.domains_of(root)

    def relocate(self, old: str | Path, new: str | Path, *, force: bool = False) -> RelocateReport:
        """Say that the images of a folder lie in another one now; nothing is embedded again.

        A process killed meanwhile leaves some items with their old paths, and a second call goes on.

        Args:
            old: a folder that was added, or one above several.
            new: where it lies now.
            force: also where some of the images are not there.

        Raises:
            StoreError: when nothing below ``old`` was added, ``new`` is no folder or lacks images, or for a second
                writer. Nothing is changed then.
        """
        return relocate_roots(self.contents, old, new, force=force)
