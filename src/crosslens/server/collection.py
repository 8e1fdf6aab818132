"""A collection: one open index, kept up to date with what other processes commit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from crosslens.encoder import Encoder
from crosslens.errors import StoreError
from crosslens.search.calibrate import LEAST
from crosslens.search.filters import Eq
from crosslens.search.index import Hit, Index
from crosslens.search.searcher import Searcher
from crosslens.server.problems import Problem
from crosslens.server.schemas import CollectionInfo

UPLOADS = "uploads"
"""Folder inside an index that holds what was uploaded to it."""
FOLDERS = 500
REFRESH_SECONDS = 1.0


class Collection:
    """An index under a name.

    Attributes:
        name: its folder's name, as it stands in addresses.
        index: open for reading; jobs write through another one.
        searcher: answers queries on it.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.name = index.name
        self._address = f"/api/v1/collections/{quote(self.name, safe='')}"
        self.searcher = Searcher(index)
        self._looked = time.monotonic()
        self._refreshing = threading.Lock()
        self._described: CollectionInfo | None = None

    @property
    def encoder(self) -> Encoder:
        """The encoder of its vectors."""
        return self.searcher.encoder

    @property
    def uploads(self) -> Path:
        """Where uploaded images are kept."""
        return self.index.folder.resolve() / UPLOADS

    @property
    def roots(self) -> list[Path]:
        """The folders whose images may be shown, symbolic links resolved."""
        return [*(root.resolve() for root in self.index.roots), self.uploads.resolve()]

    def refresh(self, now: bool = False) -> None:
        """Take over what was committed meanwhile; looks at most once a second, or ``now``."""
        fresh = time.monotonic() - self._looked < REFRESH_SECONDS
        if not now and (fresh or self._refreshing.locked()):
            return
        with self._refreshing:
            self.index.refresh()
            self._looked = time.monotonic()

    def item(self, image: str) -> Hit:
        """One item by id.

        Raises:
            Problem: 404 when there is none.
        """
        self.refresh()
        try:
            return self.index.get(image)[0]
        except StoreError:
            raise Problem(404, f"there is no item {image[:200]!r} in {self.name}") from None

    def original(self, image: str) -> Path:
        """The file of an item, which lies under one of the roots.

        Raises:
            Problem: 404 when there is no such item, its file is gone or lies elsewhere.
        """
        path = Path(self.item(image).path)
        try:
            resolved = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise Problem(404, f"the image of {image[:200]!r} is no longer on the server's disk") from None
        if not resolved.is_file() or not any(resolved.is_relative_to(root) for root in self.roots):
            raise Problem(404, f"the image of {image[:200]!r} lies outside the folders that are served")
        return resolved

    def info(self) -> CollectionInfo:
        """What the collection holds; counted once a version."""
        self.refresh()
        described = self._described
        version = self.index.version
        if described is None or described.version != version:
            described = self._described = self._describe(version)
        return described.model_copy(update={"calibrated": self.searcher.calibrated})

    def shown(self, hit: Hit) -> dict[str, Any]:
        """An item as clients see it, the fields of ``Item``: without paths of this machine."""
        quoted = quote(hit.id, safe="")
        return {
            "id": hit.id,
            "domain": hit.domain,
            "label": hit.label,
            "folder": folder_of(hit.id),
            "size": hit.size,
            "modified": hit.modified,
            "thumbnail": f"{self._address}/thumbnail?id={quoted}",
            "image": f"{self._address}/image?id={quoted}",
        }

    def has(self, image: str) -> bool:
        """Whether there is an item of this id."""
        return self.index.count(Eq(field="id", value=image)) > 0

    def calibrate(self) -> None:
        """Make probabilities of a match ready for the index as it is; they take seconds for thousands of items."""
        if len(self.index) >= LEAST and not self.searcher.calibrated:
            self.searcher.matching.probability(self.index.sample(1)[0])

    def _describe(self, version: str) -> CollectionInfo:
        domains: Counter[str] = Counter()
        labels: set[str] = set()
        folders: set[str] = set()
        for table, _ in self.index.scan():
            domains.update(table.column("domain").to_pylist())
            labels.update(label for label in table.column("label").unique().to_pylist() if label is not None)
            if len(folders) < FOLDERS:
                for image in table.column("id").to_pylist():
                    steps = image.split("/")[:-1][:2]
                    folders.update("/".join(steps[: depth + 1]) for depth in range(len(steps)))
        return CollectionInfo(
            name=self.name,
            items=domains.total(),
            version=version,
            dim=self.index.fingerprint.dim,
            encoder=self.encoder.name,
            fingerprint=self.index.fingerprint.digest,
            text=self.encoder.has_text,
            domains=dict(sorted(domains.items())),
            labels=len(labels),
            folders=sorted(folders)[:FOLDERS],
            calibrated=False,
            store=str(self.index.store.stats().get("kind", "")),
        )


def folder_of(image: str) -> str:
    """An id up to its last slash; empty without one."""
    return image.rpartition("/")[0]


def open_collections(folders: tuple[Path, ...]) -> dict[str, Collection]:
    """Open every index; by name.

    Raises:
        StoreError: when one cannot be opened, or two have the same name.
    """
    opened: dict[str, Collection] = {}
    for folder in folders:
        collection = Collection(Index.open(folder))
        if collection.name in opened:
            raise StoreError(
                f"{opened[collection.name].index.folder} and {folder} would both be served as {collection.name!r};"
                " rename one of the folders"
            )
        opened[collection.name] = collection
    return opened
