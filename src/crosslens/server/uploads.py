"""Uploaded images of one collection, kept inside its index under names made from their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow.compute as pc
from filelock import FileLock

from crosslens.search.index.index import Index
from crosslens.search.index.making import UPLOADS, is_upload, upload_of
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

    def path(self, file: str) -> Path:
        """Where an upload lies, by its path from the index folder.

        Raises:
            StoreError: when it is no upload's.
        """
        if not is_upload(file):
            raise StoreError(f"{file!r} is no upload")
        return self.root / file

    def keep(self, files: Sequence[ImageFile], then: Callable[[list[str]], Kept]) -> Kept:
        """Store files, and call ``then`` with their paths before anybody may delete them again.

        The same image twice is one file. The bytes stay as they are.

        Raises:
            StoreError: when the folder cannot be written.
        """
        names = [self._name(file) for file in files]
        with self._held():
            for name, file in zip(names, files, strict=True):
                path = self.path(name)
                if not path.is_file():
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(file.content)
            return then(names)

    def forget(self, index: Index, table: JobTable, files: Sequence[str], job: str) -> None:
        """Delete those of these files that neither the index nor a job other than ``job`` needs."""
        asked = {file for file in files if is_upload(file)}
        if not asked:
            return
        with self._held():
            index.refresh()
            needed = table.wanted(list(asked), job)
            # Ids may be people's own, so the paths tell.
            paths = index.store.column("path")
            paths = paths.filter(pc.match_substring(paths, f"/{UPLOADS}/"))
            needed.update(filter(None, map(upload_of, paths.to_pylist())))
            for file in asked - needed:
                self.path(file).unlink(missing_ok=True)

    def _name(self, file: ImageFile) -> str:
        digest = hashlib.sha256(file.content).hexdigest()[:40]
        return f"{UPLOADS}/{digest[:2]}/{digest}{file.format.suffixes[0]}"

    def _held(self) -> FileLock:
        try:
            (self.root / "server").mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.root} cannot be written: {error.strerror}") from error
        return FileLock(self.root / "server" / "uploads.lock", timeout=30)
