"""Uploaded images of one collection, kept inside its index under names made from their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from crosslens.search.filters.conditions import In
from crosslens.search.index.index import Index
from crosslens.search.index.making import UPLOADS, is_upload
from crosslens.server.bodies import ImageFile
from crosslens.server.jobs import JobTable
from crosslens.support.errors import StoreError
from crosslens.support.files import atomic_path

Kept = TypeVar("Kept")


class Uploads:
    """The files below ``I/uploads``; no part of a path ever comes from a client.

    Args:
        folder: of the index.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def root(self) -> Path:
        """The index folder where it lies now, which ids of uploads start from."""
        return self._folder.resolve()

    def path(self, image: str) -> Path:
        """The file of an upload's id.

        Raises:
            StoreError: when it is no id of an upload.
        """
        if not is_upload(image):
            raise StoreError(f"{image!r} is no upload")
        return self.root / image

    def keep(self, files: Sequence[ImageFile], then: Callable[[list[str]], Kept]) -> Kept:
        """Store files, and call ``then`` with their ids before anybody may delete them again.

        The same image twice is one file. The bytes stay as they are.

        Raises:
            StoreError: when the folder cannot be written.
        """
        ids = [self._name(file) for file in files]
        with self._held():
            for image, file in zip(ids, files, strict=True):
                path = self.path(image)
                if not path.is_file():
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(file.content)
            return then(list(dict.fromkeys(ids)))

    def forget(self, index: Index, table: JobTable, ids: Sequence[str], job: str) -> None:
        """Delete the files of these ids that neither the index nor a job other than ``job`` needs."""
        asked = [image for image in ids if is_upload(image)]
        if not asked:
            return
        with self._held():
            index.refresh()
            needed = table.wanted(asked, job)
            for start in range(0, len(asked), 5000):
                part = In(field="id", values=tuple(asked[start : start + 5000]))
                for rows, _ in index.scan(part):
                    needed.update(rows.column("id").to_pylist())
            for image in asked:
                if image not in needed:
                    self.path(image).unlink(missing_ok=True)

    def _name(self, file: ImageFile) -> str:
        digest = hashlib.sha256(file.content).hexdigest()[:40]
        return f"{UPLOADS}/{digest[:2]}/{digest}{file.format.suffixes[0]}"

    def _held(self) -> FileLock:
        try:
            (self.root / "server").mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.root} cannot be written: {error.strerror}") from error
        return FileLock(self.root / "server" / "uploads.lock", timeout=30)
