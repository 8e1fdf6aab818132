"""A collection: one open index, kept up to date with what other processes commit."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from crosslens.encoder.querying import QueryEncoder
from crosslens.ops.calibration import LEAST
from crosslens.search.index.index import Hit, Index
from crosslens.search.index.items import count_domains
from crosslens.search.index.making import UPLOADS, upload_of
from crosslens.search.index.stored_ids import near_ids
from crosslens.search.query.searcher import Searcher
from crosslens.server.problems import Problem, unknown_item
from crosslens.server.schemas import CollectionInfo
from crosslens.support.addresses import Place, place_of, whole_name
from crosslens.support.errors import CrosslensError, ReplacedIndexError, StoreError
from crosslens.support.file_stamp import stamp_of
from crosslens.support.members import container_of
from crosslens.support.presence import is_gone
from crosslens.support.remote import Remote

log = logging.getLogger(__name__)
FOLDERS = 500
_AT_ONCE = 1 << 16
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")
_REFRESH_SECONDS = 1.0
_REFRESH_AWAY = 30.0
"""The same of an index in object storage, where looking costs requests."""


class Collection:
    """An index under a name, whichever lies at its path: one that takes its place is opened without a restart.

    Args:
        index: what is served.
        root_path: see `ServerSettings`.

    Attributes:
        folder: of the index; of one in object storage, what this machine holds of it.
        place: where the index lies, wherever that is.
        name: the folder's name, as it stands in addresses.
        searcher: answers queries. It belongs to one index and its encoder: who asks for several things that must
            fit each other takes it once, since another one may stand here a moment later.
    """

    def __init__(self, index: Index, root_path: str = "") -> None:
        self.folder = index.folder
        self.place = index.contents.place
        self.name = index.name
        self._address = f"{root_path}/api/v1/collections/{quote(self.name, safe='')}"
        self.searcher = Searcher(index)
        self._refreshed = time.monotonic()
        self._refreshing = threading.Lock()
        self._described: CollectionInfo | None = None

    @property
    def index(self) -> Index:
        """Open for reading; jobs write through another one."""
        return self.searcher.index

    @property
    def encoder(self) -> QueryEncoder:
        """The encoder of its vectors."""
        return self.searcher.encoder

    @property
    def version(self) -> str:
        """The version that is read: it differs after every change, and for every index that replaces this one."""
        return version_of(self.index)

    @property
    def uploads(self) -> Path:
        """Where uploaded images are kept."""
        return self.folder.resolve() / UPLOADS

    @property
    def roots(self) -> list[Place]:
        """The folders and places whose images may be shown, symbolic links resolved."""
        return [*(root.resolve() for root in self.index.roots), self.uploads.resolve()]

    @property
    def due(self) -> bool:
        """Whether ``refresh`` would read the index again, which blocks."""
        seconds = _REFRESH_AWAY if isinstance(self.place, Remote) else _REFRESH_SECONDS
        return time.monotonic() - self._refreshed >= seconds and not self._refreshing.locked()

    def refresh(self, now: bool = False) -> None:
        """Take over what was committed meanwhile; reads the index at most once a second, or ``now``.

        Raises:
            StoreError: when the index is gone or cannot be read, or another one at its path cannot be opened.
        """
        if not (now or self.due):
            return
        with self._refreshing:
            try:
                self.index.refresh()
            except ReplacedIndexError:
                self.searcher = self._of_another()
                log.warning("%s holds another index now, which is served from here on", self.folder)
            self._refreshed = time.monotonic()

    def _of_another(self) -> Searcher:
        """A searcher of the index that took the place of the one that was open.

        What was open stays so, for requests under way.
        """
        try:
            index = Index.open(self.place)
            # Loaded here, so that nobody waits for it, or meets the encoder of a third index.
            index.require(index.query_encoder.fingerprint, "its encoder")
        except CrosslensError as error:
            raise StoreError(f"{self.folder} holds another index now, which cannot be opened: {error}") from error
        return Searcher(index)

    @property
    def writable(self) -> bool:
        """Whether items can be added and deleted: not in object storage, nor in a folder that is only read."""
        return isinstance(self.place, Path) and os.access(self.folder, os.W_OK)

    def require_writable(self) -> None:
        """Refuse changes to an index that is only read.

        Raises:
            Problem: 403 when it lies in object storage, or in a folder that the server may not write to.
        """
        if isinstance(self.place, Remote):
            raise Problem(403, f"{self.name} lies in object storage, where it is read and not changed")
        if not self.writable:
            raise Problem(403, f"{self.name} lies where the server may read and not write")

    def item(self, image: str, offer: bool = True) -> Hit:
        """One item by id.

        Args:
            image: the id.
            offer: look for ids that may have been meant, which takes up to a second.

        Raises:
            Problem: 404 when there is none.
        """
        self.refresh()
        try:
            return self.index.get(image)[0]
        except StoreError:
            near = near_ids(self.index.store, image) if offer else ""
            raise unknown_item(404, image, self.name, near) from None

    def original(self, image: str) -> Place:
        """The picture of an item, which lies under one of the roots, or is what a link led to when it was indexed.

        An upload is looked for in the index's folder as it is now: both may have been moved since it was added.

        Raises:
            Problem: 404 when there is no such item, its file is gone or lies elsewhere.
        """
        # A page may ask for the pictures of many items that are gone.
        item = self.item(image, offer=False)
        path = place_of(item.path)
        if isinstance(path, Remote):
            # Whether it is still there is seen when it is read, which spares a request.
            if not (self._is_inside(path) or self._is_as_indexed(item.id, path)):
                raise Problem(404, f"the image of {image[:200]!r} does not lie where images were indexed")
            return path
        upload = upload_of(item.path)
        if upload is not None and isinstance(self.place, Remote):
            return self.place / upload
        if upload is not None and (kept := self.folder.resolve() / upload).is_file():
            path = kept
        gone = Problem(404, f"the image of {image[:200]!r} is no longer on the server's disk")
        if is_gone(path, item.root):
            raise gone
        held = container_of(path)
        try:
            file = Path(whole_name(path if held is None else held[0])).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise gone from None
        resolved = file if held is None else file / held[1]
        inside = self._is_inside(resolved)
        readable = held is not None or resolved.is_file()
        if not readable or not (inside or (upload is None and self._is_as_indexed(item.id, resolved))):
            raise Problem(404, f"the image of {image[:200]!r} is a link to a file that was not indexed")
        return resolved

    def _is_inside(self, place: Place) -> bool:
        return any(
            (isinstance(place, Remote) and place.is_relative_to(root))
            or (isinstance(place, Path) and isinstance(root, Path) and place.is_relative_to(root))
            for root in self.roots
        )

    def _is_as_indexed(self, image: str, file: Place) -> bool:
        """Whether this very file was indexed as it is, by its stamp, so that a link may lead out to it."""
        stamp = self.index.store.get([image])[0].column("stamp")[0].as_py()
        try:
            return stamp is not None and stamp == str(stamp_of(file))
        except OSError:
            return False

    def info(self) -> CollectionInfo:
        """What the collection holds; counted once a version."""
        self.refresh()
        described, searcher = self._described, self.searcher
        if described is None or described.version != version_of(searcher.index):
            described = self._described = self._describe(searcher)
        return described.model_copy(update={"calibrated": searcher.calibrated, "writable": self.writable})

    def shown(self, hit: Hit) -> dict[str, Any]:
        """An item as clients see it, the fields of ``Item``: without paths of this machine."""
        quoted = _quoted(hit.id)
        return {
            "id": hit.id,
            "domain": hit.domain,
            "label": hit.label,
            "folder": folder_of(hit.id),
            "size": hit.size,
            "modified": hit.modified,
            "columns": hit.columns,
            "thumbnail": f"{self._address}/thumbnail?id={quoted}",
            "image": f"{self._address}/image?id={quoted}",
        }

    def prepare(self) -> None:
        """Make searches of the index as it is fast, and probabilities of a match ready, which takes seconds for
        thousands of items."""
        searcher = self.searcher
        searcher.index.store.quicken()
        if len(searcher.index) >= LEAST:
            searcher.match_estimator.prepare()

    def _describe(self, searcher: Searcher) -> CollectionInfo:
        index, encoder, version = searcher.index, searcher.encoder, version_of(searcher.index)
        domains = count_domains(index.store)
        return CollectionInfo(
            name=self.name,
            items=sum(domains.values()),
            version=version,
            dim=index.fingerprint.dim,
            encoder=encoder.name,
            fingerprint=index.fingerprint.digest,
            text=encoder.has_text,
            domains=domains,
            encoder_domains=encoder.domains,
            labels=len(pc.unique(index.store.column("label")).drop_null()),
            folders=_first_folders(index.store.column("id")),
            columns=dict(index.columns),
            goal=index.goal,
            goals=list(index.goals),
            calibrated=False,
            writable=self.writable,
            store=str(index.store.stats().get("kind", "")),
        )


def version_of(index: Index) -> str:
    """The version of an index, told from that of any other index; fit for clients."""
    return f"{index.version}-{index.collection[-8:]}"


def _quoted(image: str) -> str:
    """An id as a value in an address; most need no more than their slashes replaced, which is much faster."""
    return image.replace("/", "%2F") if _PLAIN.fullmatch(image) else quote(image, safe="")


def _first_folders(ids: pa.ChunkedArray) -> list[str]:
    """Folders that ids lie in, two steps deep and sorted: at most ``FOLDERS`` of those that come first."""
    folders: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        for pattern in (r"^(?P<folder>[^/]*)/", r"^(?P<folder>[^/]*/[^/]*)/"):
            found = pc.struct_field(pc.extract_regex(ids[start : start + _AT_ONCE], pattern), 0)
            folders.update(pc.unique(found).drop_null().to_pylist())
        if len(folders) >= FOLDERS:
            break
    return sorted(folders)[:FOLDERS]


def folder_of(image: str) -> str:
    """An id up to its last slash; empty without one."""
    return image.rpartition("/")[0]


def open_collections(folders: tuple[Path, ...], root_path: str = "") -> dict[str, Collection]:
    """Open every index; by name.

    Raises:
        StoreError: when one cannot be opened, or two have the same name.
    """
    opened: dict[str, Collection] = {}
    for folder in folders:
        collection = Collection(Index.open(folder), root_path)
        if collection.name in opened:
            raise StoreError(
                f"{opened[collection.name].index.folder} and {folder} would both be served as {collection.name!r};"
                " rename one of the folders"
            )
        opened[collection.name] = collection
    return opened
