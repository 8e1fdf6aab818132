"""Columns of people's own that lie in a table beside the images, joined to a catalog by id or by path."""

from __future__ import annotations

import os

import pyarrow as pa

from crosslens.data.catalog import Catalog
from crosslens.data.manifests import MANIFEST_SUFFIXES, own_columns, read_table
from crosslens.data.names import nfc
from crosslens.support.addresses import Place, joined, whole_name
from crosslens.support.errors import CatalogError
from crosslens.support.progress import note


def join_columns(catalog: Catalog, file: Place) -> Catalog:
    """The same images with the columns of a table, which names them by ``id``, or else by ``path``.

    A path starts from the catalog's root or from the table's folder, or is absolute. Images without a row have no
    value; rows without an image are noted.

    Args:
        catalog: the images.
        file: ``.csv``, ``.tsv``, ``.parquet`` or ``.jsonl``; see ``read_manifest``.

    Raises:
        CatalogError: when it cannot be read, names no image by id or path, names one twice, or none that is here.
    """
    if not file.is_file() or file.suffix.lower() not in MANIFEST_SUFFIXES:
        some = ", ".join(sorted(MANIFEST_SUFFIXES))
        raise CatalogError(f"{file} is no table of columns; give a file ({some}) with a column 'path' or 'id'")
    table = read_table(file, ())
    by_name = {str(name).strip().casefold(): number for number, name in enumerate(table.column_names)}
    key = next((name for name in ("id", "path") if name in by_name), None)
    if key is None:
        raise CatalogError(f"{file} has no column 'path' or 'id' that says of which image a row is")
    own, notes = own_columns(file, table)
    for sentence in notes:
        note(sentence)
    if not own.num_columns:
        raise CatalogError(f"{file} has no columns of its own beside those a manifest has; nothing can be joined")
    rows: dict[str, int] = {}
    named = [None if name is None else nfc(str(name)) for name in table.column(by_name[key]).to_pylist()]
    for row, name in enumerate(named):
        if name is not None and rows.setdefault(name, row) != row:
            raise CatalogError(f"{file}: row {row + 1} names {name!r}, as row {rows[name] + 1} does; keep one")
    places = [_row_of(rows, names) for names in _names(catalog, key, file)]
    missing = len(rows) - len({place for place in places if place is not None})
    if missing == len(rows):
        raise CatalogError(f"{file}: no row names an image of {catalog.root} by its {key}, such as {named[0]!r}")
    if missing:
        note(f"{file}: {missing} of {len(rows)} rows name no image of {catalog.root}")
    return catalog.with_own(own.take(pa.array(places, pa.int64())))


def _names(catalog: Catalog, key: str, file: Place) -> list[tuple[str, ...]]:
    """What a row may call each of the N images."""
    if key == "id":
        return [(image,) for image in catalog.ids]
    above = whole_name(file.parent)
    names: list[tuple[str, ...]] = []
    for path in catalog.column("path"):
        whole = whole_name(joined(catalog.root, path))
        names.append((path, whole, os.path.relpath(whole, above)))
    return names


def _row_of(rows: dict[str, int], names: tuple[str, ...]) -> int | None:
    return next((rows[nfc(name)] for name in names if nfc(name) in rows), None)
