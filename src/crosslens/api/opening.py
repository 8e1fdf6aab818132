"""Indexing a folder of pictures for people who only want to search: no domains, no training, nothing to decide."""

from __future__ import annotations

import hashlib
from pathlib import Path

from crosslens.data.names import name_or
from crosslens.data.readers import manifest_in
from crosslens.data.source import open_catalog
from crosslens.search.index.adding import AddReport, add_images
from crosslens.search.index.index import Index
from crosslens.search.index.index_request import AddRequest, BuildRequest
from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import TooManyGoneError
from crosslens.support.places import cache_folder
from crosslens.support.progress import note

EVERYDAY = "lite:joint"
"""The encoder of such an index: one that answers pictures, drawings and words, offline. The shared space alone
finds photographs by a drawing better than all features do (.185 and .079 mAP on photosketch)."""


def place_of_index(pictures: str | Path) -> Path:
    """Where the index of a folder lies unless somebody says otherwise: in the cache, under the folder's name."""
    whole = place_of(pictures).resolve()
    key = hashlib.sha256(str(whole).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return cache_folder() / "indexes" / key / name_or(whole.name, "pictures")


def is_index(folder: str | Place) -> bool:
    """Whether a folder is an index."""
    return (place_of(folder) / "index.json").is_file()


def index_pictures(
    pictures: str | Path, folder: str | Path | None = None, *, device: str | None = None
) -> tuple[Index, AddReport]:
    """Index the pictures of a folder, or bring its index up to date: only what is new or changed is embedded.

    Nothing is written beside the pictures. Folders below are kept as folders, whatever they stand for: all
    pictures count as of one domain. A manifest's domains and labels stay as they are.

    Args:
        pictures: a folder of pictures, or a manifest of some.
        folder: of the index; ``place_of_index`` by default.
        device: where to embed; None chooses.

    Returns:
        The index, and what was done. Where most of the pictures are gone, as when a disk is not mounted, their
        items are kept, which is noted.

    Raises:
        CatalogError: when there is no picture.
        NothingEmbeddedError: when none of them can be read.
        StoreError: when ``folder`` holds something else, or another process is writing to the index.
    """
    place = place_of_index(pictures) if folder is None else place_of(folder)
    catalog = open_catalog(pictures)
    if not is_index(place):
        # Whoever wrote a manifest means its domains.
        plain = Path(pictures).is_dir() and manifest_in(Path(pictures)) is None
        request = BuildRequest.of(source=catalog, encoder=EVERYDAY, folder=place, plain=plain, device=device)
        made, skipped = Index.from_request(request)
        return made, AddReport(added=len(made), skipped=skipped)
    index = Index.open(place)
    update = AddRequest.of(source=catalog, device=device)
    try:
        return index, add_images(index.contents, update)
    except TooManyGoneError as error:
        note(f"{error}. Until then their items stay in the index, {place}", "yellow")
        return index, add_images(index.contents, update.model_copy(update={"remove_gone": False}))
