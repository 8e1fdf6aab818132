"""Tar archives in the layout of webdataset: what lies beside a picture under the same key says what it is.

    shard-000000.tar    dog/7.jpg, dog/7.cls, dog/7.json, dog/7.txt, ...

``.cls`` holds the class, ``.json`` an object with ``domain``, ``label`` (or ``class``), ``split``, ``role`` and
``id``, where it has them; everything else in it is people's own, and so is ``.txt``, as ``caption``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from crosslens.data.columns import tidy_columns
from crosslens.data.listing import Listing
from crosslens.data.names import name_or
from crosslens.images.formats import SUFFIXES
from crosslens.support.addresses import Place
from crosslens.support.errors import CatalogError
from crosslens.support.members import scan_archive
from crosslens.support.remote import UnreachableError

if TYPE_CHECKING:
    import pyarrow as pa

_BESIDE = (".cls", ".json", ".txt")
_USED = ("id", "domain", "label", "class", "split", "role")


def archives_in(folder: Place) -> list[Place]:
    """The tar archives that lie directly in a folder, by name."""
    return sorted((one for one in folder.iterdir() if one.suffix.lower() == ".tar"), key=lambda one: one.name)


def read_archives(archives: Sequence[Place], root: Place) -> Listing:
    """Read the pictures of tar archives; without a ``domain`` one is of its first folder, or of ``root``.

    Args:
        archives: at least one, directly in ``root``.
        root: their folder.

    Raises:
        CatalogError: when one cannot be read, or there is no picture in all of them.
    """
    rows: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for archive in archives:
        try:
            for row, other in _rows(archive, name_or(root.name, "pictures")):
                rows.append(row)
                own.append(other)
        except UnreachableError:
            raise
        except OSError as error:
            raise CatalogError(f"{archive} cannot be read: {error}") from error
    if not rows:
        raise CatalogError(f"no image in {archives[0]}{f' and {len(archives) - 1} more' if archives[1:] else ''}")
    table, notes = _own_table(own)
    return Listing(rows, root, notes, own=table)


def _rows(archive: Place, domain: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The row of each picture, and what is people's own; what belongs to a key lies together."""
    key, pictures, beside = "", list[str](), dict[str, bytes]()
    for name, _, content in scan_archive(archive, _BESIDE):
        folder, _, file = name.rpartition("/")
        own_key = f"{folder}/{file.partition('.')[0]}"
        if file.startswith("."):
            continue
        if own_key != key:
            yield from _sample(archive, pictures, beside, domain)
            key, pictures, beside = own_key, [], {}
        suffix = PurePosixPath(file).suffix.lower()
        if content is not None:
            beside[suffix] = content
        elif suffix in SUFFIXES:
            pictures.append(name)
    yield from _sample(archive, pictures, beside, domain)


def _sample(
    archive: Place, pictures: list[str], beside: dict[str, bytes], domain: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    if not pictures:
        return
    told: dict[str, Any] = {}
    try:
        if ".json" in beside:
            read = json.loads(beside[".json"])
            told = read if isinstance(read, dict) else {}
        texts = {name: text.decode("utf-8-sig").strip() for name, text in beside.items() if name != ".json"}
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{archive}: what lies beside {pictures[0]} cannot be read: {error}") from error
    folders = pictures[0].split("/")[:-1]
    label = told.get("label", told.get("class", texts.get(".cls") or (folders[1] if folders[1:] else None)))
    row = {name: told[name] for name in ("split", "role") if told.get(name) is not None}
    row |= {"domain": told.get("domain") or (folders[0] if folders else domain)}
    # A class is a name here; that of a number is the number as it is written.
    row |= {"label": str(label) if isinstance(label, int) and not isinstance(label, bool) else label}
    own = {name: value for name, value in told.items() if name not in _USED}
    if ".txt" in texts:
        own.setdefault("caption", texts[".txt"])
    for picture in pictures:
        alone = {"id": told["id"]} if told.get("id") is not None and len(pictures) == 1 else {}
        yield {**row, **alone, "path": f"{archive.name}/{picture}"}, own


def _own_table(rows: list[dict[str, Any]]) -> tuple[pa.Table | None, list[str]]:
    import pyarrow as pa

    columns, notes = {}, []
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, TypeError, OverflowError) as error:
            notes.append(
                f"the values of {name!r} in the archives are not all of one type, so they are not kept: {error}"
            )
    if not columns:
        return None, notes
    own, more = tidy_columns(pa.table(columns), cells=False)
    return own, [*notes, *more]
