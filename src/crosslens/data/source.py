"""Whatever names a collection of images, and the images of it that a command is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from crosslens.data.catalog import Catalog
from crosslens.support.addresses import Place
from crosslens.support.progress import note

Source = Catalog | str | Place
"""A folder, a table, archives, an image or a list, here or in object storage; or the images themselves."""
PART = 100_000
"""Rows of a large table that are read at once."""
_NOTES = 3


def open_catalog(source: Source) -> Catalog:
    """The catalog of a folder, a manifest, an image or a list; a Catalog is returned as it is.

    What was left out and may be an image, such as a file with a name in another encoding, is said.

    Raises:
        CatalogError: when there is nothing to read.
    """
    if isinstance(source, Catalog):
        return source
    return _told(Catalog.open(source), source)


def open_in_parts(source: Source, rows: int = PART) -> Iterator[Catalog]:
    """The same in parts that fit into memory, where the source is a table; see ``Catalog.open_in_parts``."""
    if isinstance(source, Catalog):
        yield source
        return
    for part in Catalog.open_in_parts(source, rows):
        yield _told(part, source)


def _told(catalog: Catalog, source: Source) -> Catalog:
    """The catalog, after what was left out of it was said."""
    lost = [sentence for sentence in catalog.notes if "being no images" not in sentence]
    for sentence in lost[:_NOTES]:
        note(sentence)
    if len(lost) > _NOTES:
        note(f"{len(lost) - _NOTES} more such notes: crosslens data check {source}")
    return catalog
