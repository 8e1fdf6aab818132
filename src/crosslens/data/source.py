"""Whatever names a collection of images, and the images of it that a command is asked for."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.support.progress import note

Source = Catalog | str | Path
"""A folder, a manifest, an image or a list; or the images themselves."""
_NOTES = 3


def open_catalog(source: Source) -> Catalog:
    """The catalog of a folder, a manifest, an image or a list; a Catalog is returned as it is.

    What was left out and may be an image, such as a file with a name in another encoding, is said.

    Raises:
        CatalogError: when there is nothing to read.
    """
    if isinstance(source, Catalog):
        return source
    catalog = Catalog.open(source)
    lost = [sentence for sentence in catalog.notes if "being no images" not in sentence]
    for sentence in lost[:_NOTES]:
        note(sentence)
    if len(lost) > _NOTES:
        note(f"{len(lost) - _NOTES} more such notes: crosslens data check {source}")
    return catalog
