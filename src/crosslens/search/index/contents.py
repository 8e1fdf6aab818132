"""What lies in the folder of an index, kept true to itself: ``index.json``, the encoder, and a store of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.data.columns import ColumnType
from crosslens.encoder.opening import open_query_encoder
from crosslens.encoder.querying import QueryEncoder
from crosslens.nn.similarity import Similarity
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.search.filters.binding import bind
from crosslens.search.filters.conditions import BaseFilter, Filter
from crosslens.search.index.description import (
    domains_of,
    is_numbered,
    list_root,
    open_description,
    prefix_of,
    read_description,
    relist_roots,
    require_same,
    upgrade_format,
)
from crosslens.search.index.hubs import Hubs, describe_hubs, read_hubs, write_hubs
from crosslens.search.index.items import check_items
from crosslens.search.index.mirrored import mirror_index
from crosslens.search.index.occupancy import Occupancy
from crosslens.search.index.own_columns import columns_of, declare, fold_own
from crosslens.search.index.stored_ids import find_stored_ids
from crosslens.search.index.writer_lock import hold_for_writing
from crosslens.search.stores import store_class
from crosslens.search.stores.base import OpenStore
from crosslens.search.stores.numbered import NumberedStore
from crosslens.support.addresses import Place
from crosslens.support.errors import StoreError
from crosslens.support.files import write_json
from crosslens.support.remote import Remote

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder

ENCODER = "encoder"
"""Folder of the encoder in that of an index."""


class Contents:
    """The items of an index and its description, which change together and under one writer.

    ``Index`` is the face of it; what adds, moves and copies items works on this.

    Attributes:
        folder: where it lies; of one in object storage, what this machine holds of it.
        place: where it lies, wherever that is.
        description: what ``index.json`` says.
        fingerprint: of the embedding whose vectors it holds.
        similarity: how vectors are compared.
        store: where the items are kept.
    """

    def __init__(
        self, folder: Path, description: dict[str, Any], store: OpenStore, away: Remote | None = None
    ) -> None:
        self.folder = folder
        self.place: Place = away or folder
        self.description = description
        self.fingerprint = Fingerprint.model_validate(description["fingerprint"])
        self.similarity = Similarity.model_validate(description["similarity"])
        self.store: OpenStore = store
        if is_numbered(description):
            self.store = NumberedStore(store, self.fingerprint.dim, self._numbers_of)
        self._occupancy = Occupancy(folder, description)
        self._hubs: tuple[dict[str, Any], Hubs] | None = None

    @classmethod
    def open(cls, place: Place) -> Contents:
        """Open what is there; see ``Index.open``."""
        away = place if isinstance(place, Remote) else None
        folder = mirror_index(place) if isinstance(place, Remote) else place
        description, context, kind = open_description(folder)
        return cls(folder, description, store_class(kind).open(replace(context, away=away)), away)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder whose vectors these are."""
        from crosslens.encoder import Encoder

        return Encoder.load(self.folder / ENCODER)

    @cached_property
    def query_encoder(self) -> QueryEncoder:
        """The same for queries, which may do without PyTorch."""
        return self.encoder if "encoder" in self.__dict__ else open_query_encoder(self.folder / ENCODER)

    @property
    def roots(self) -> list[str]:
        """The absolute folders whose images were added."""
        return [str(root) for root in self.description["roots"]]

    @property
    def plain(self) -> str | None:
        """The one domain of all items, where folders are no looks; else None."""
        return self.description.get("plain")

    @property
    def goal(self) -> Goal:
        """What a search is for where it does not say."""
        goal: Goal = self.description.get("goal", DEFAULT_GOAL)
        return goal

    @property
    def hubs(self) -> Hubs | None:
        """What was learned of hubs; None where nothing was.

        Raises:
            StoreError: when it is damaged.
        """
        told = self.description.get("hubs")
        if told is None:
            return None
        if self._hubs is None or self._hubs[0] != told:
            self._hubs = told, read_hubs(self.folder, self.fingerprint.digest, self.similarity)
        return self._hubs[1]

    def take_hubs(self, hubs: Hubs, items: pa.Table, vectors: NDArray[np.float32]) -> None:
        """Number all items by what was learned of them, for who holds the folder for writing.

        A process killed meanwhile leaves an index without hubs, until they are learned again.

        Args:
            hubs: what was learned.
            items: all N of them, of an index whose rows have numbers.
            vectors: of the items ``(N, d)``.
        """
        assert isinstance(self.store, NumberedStore)
        self._describe({key: value for key, value in self.description.items() if key != "hubs"})
        write_hubs(self.folder, hubs, self.fingerprint.digest)
        self.store.put(items, vectors, hubs.numbers(items.column("domain").to_pylist(), vectors))
        self._describe({**self.description, "hubs": describe_hubs(hubs, items.num_rows)})

    def _numbers_of(self, items: pa.Table, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        hubs = self.hubs
        if hubs is None:
            return np.zeros(len(vectors), np.float32)
        return hubs.numbers(items.column("domain").to_pylist(), vectors)

    def domains_of(self, root: str) -> list[str] | None:
        """The domains chosen of a folder that was added; None where all are wanted."""
        return domains_of(self.description, root)

    def require(self, fingerprint: Fingerprint, what: str) -> None:
        """Check that ``what`` was made with the same embedding; see ``require_same``."""
        require_same(self.fingerprint, fingerprint, what)

    def refresh(self) -> bool:
        """Take over what other processes committed; see ``Index.refresh``."""
        if isinstance(self.place, Remote):
            mirror_index(self.place)
        self._occupancy.check()
        changed = self.store.refresh()
        # Once more: the folder may have been replaced while the store was read.
        self.description = self._occupancy.check()
        return changed

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one writer, on its newest version.

        Raises:
            AnotherWriterError, ReplacedIndexError: see ``hold_for_writing`` and ``refresh``.
            StoreError: for an index in object storage, which is only read.
        """
        if isinstance(self.place, Remote):
            raise StoreError(
                f"{self.place} lies in object storage, where an index is read and not changed: change the one that"
                " it was copied from, or one made of its snapshot, and copy that there"
            )
        with hold_for_writing(self.folder):
            self.refresh()
            yield

    def upsert(self, items: pa.Table, vectors: NDArray[np.floating[Any]], fingerprint: Fingerprint) -> None:
        """Add items, or replace those whose id is here already, in one step; see ``Index.upsert``."""
        self.require(fingerprint, "what you add")
        folded, types = fold_own(items, self.description)
        table, rows = check_items(folded, vectors, self.fingerprint.dim)
        if not table.num_rows:
            return
        self.require_own(table)
        with self.writing():
            self._describe(upgrade_format(declare(self.description, types, given=True)))
            self.store.upsert(table, rows)

    def require_own(self, items: pa.Table) -> None:
        """Check that the store can keep the columns of people's own that items have.

        Raises:
            StoreError: when it was made by an older crosslens and gets no new column.
        """
        if items.column("own").null_count < items.num_rows and not self.store.keeps("own"):
            self.refuse_own()

    def refuse_own(self) -> NoReturn:
        """Say that the store keeps no columns of people's own.

        Raises:
            StoreError: always.
        """
        raise StoreError(
            f"the store of {self.folder} was made before items had columns of their own, and gets none. Copy it:"
            f" 'crosslens index snapshot {self.folder} COPY', then 'crosslens index restore COPY --store ... --out"
            " NEW'; nothing is embedded again"
        )

    def keep_gps(self) -> None:
        """Remember that the place where pictures were taken is asked for."""
        with self.writing():
            self.description = read_description(self.folder)
            self._describe({**self.description, "gps": True})

    def declare(self, types: Mapping[str, ColumnType], *, given: bool) -> None:
        """Remember that items have these columns; see ``own_columns.declare``."""
        with self.writing():
            self.description = read_description(self.folder)
            self._describe(declare(self.description, types, given=given))

    def bound(self, where: Filter | None) -> Filter | None:
        """A filter bound to the columns that there are; see ``crosslens.search.filters.binding.bind``."""
        return None if where is None else bind(where, self.columns)

    @property
    def columns(self) -> dict[str, ColumnType]:
        """The items' own columns by name, and their types."""
        return columns_of(self.description)

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items in one step and say how many there were; see ``Index.delete``."""
        if isinstance(which, str):
            raise StoreError(f"delete takes a list of ids or a filter, not the text {which!r}")
        with self.writing():
            if isinstance(which, BaseFilter):
                return self.store.delete(bind(which, self.columns))
            return self.store.delete(find_stored_ids(self.store, which))

    def prefix_of(self, root: str) -> str | None:
        """What the ids of the images of a folder that was added start with; None where with its own names."""
        return prefix_of(self.description, root)

    def add_root(self, root: str, domains: Sequence[str] | None = None, prefix: str | None = None) -> None:
        """Remember a folder whose images were added, and what was chosen of it; see ``list_root``."""
        with self.writing():
            # Read again under the lock: another process may have added one.
            self.description = read_description(self.folder)
            self._describe(list_root(self.description, root, domains, prefix))

    def recall_domains(self) -> None:
        """Let an index of format 2, which keeps no domains chosen of a folder, say what it has of each.

        Else the domains that were left out when it was made would come in with the next addition.
        """
        if "domains" in self.description:
            return
        found: dict[str, set[str]] = {}
        for root, domain in zip(
            *(self.store.column(name).to_pylist() for name in ("root", "domain")), strict=True
        ):
            found.setdefault(root, set()).add(domain)
        with self.writing():
            self.description = read_description(self.folder)
            chosen = {root: sorted(found[root]) for root in self.description["roots"] if root in found}
            self._describe({"domains": chosen, **self.description})

    def move_roots(self, moves: Mapping[str, str]) -> None:
        """Remember that folders whose images were added lie elsewhere, old path to new."""
        self.recall_domains()
        with self.writing():
            self.description = read_description(self.folder)
            self._describe(relist_roots(self.description, moves))

    def _describe(self, description: dict[str, Any]) -> None:
        """Write another description, for who holds the folder for writing."""
        if description != self.description:
            write_json(self.folder / "index.json", description)
            self.description = description
