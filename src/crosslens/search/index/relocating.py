"""Folders whose images were added and that lie elsewhere now: their items follow, with the vectors they have."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from crosslens.search.filters.conditions import In
from crosslens.search.index.adding import rewrite
from crosslens.search.index.contents import Contents
from crosslens.search.index.items import read_file_columns
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.addresses import Place, place_of, whole_name
from crosslens.support.errors import StoreError
from crosslens.support.presence import is_gone
from crosslens.support.remote import Remote


@dataclass
class RelocateReport:
    """What a move did.

    Attributes:
        moved: items that lie below the new folder now.
        changed: those of them whose file there is not the one that was indexed, by size and time; the next
            ``Index.add`` embeds them.
        missing: ids of those whose file is not there; the next ``Index.add`` deletes them.
        roots: old path to new of every folder that was added.
    """

    moved: int = 0
    changed: int = 0
    missing: list[str] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def relocate_roots(contents: Contents, old: str | Path, new: str | Path, *, force: bool = False) -> RelocateReport:
    """Move the items of folders that were added; see ``Index.relocate``."""
    contents.refresh()
    folder = place_of(new).resolve()
    if not folder.is_dir():
        raise StoreError(f"{new} is no folder; name the one in which the pictures lie now")
    report = RelocateReport(roots=_moved_roots(contents, old, folder))
    items = _moved_items(contents, report)
    if report.missing and not force:
        raise StoreError(
            f"{len(report.missing)} of {items.num_rows} images are not in {new}, the first: {report.missing[0]};"
            " nothing was changed. With --force (force=True) their items move too, and 'crosslens index add'"
            " deletes them"
        )
    rewrite(contents, items)
    # Last: a move that was interrupted finds the old paths and goes on.
    contents.move_roots(report.roots)
    return report


def _moved_roots(contents: Contents, old: str | Path, new: Place) -> dict[str, str]:
    """Old path to new of every folder that was added and is ``old`` or lies below it.

    Raises:
        StoreError: when there is none.
    """
    roots = contents.roots
    # By the name that was written down; and where a link leads to the new folder now, by what it led to.
    named = place_of(old)
    here: Place = named if isinstance(named, Remote) else Path(os.path.realpath(named))
    for above in dict.fromkeys((place_of(whole_name(named)), here)):
        moves = {root: str(new / below) for root in roots if (below := _below(root, above)) is not None}
        if moves:
            return {before: after for before, after in moves.items() if before != after}
    raise StoreError(f"nothing in {old} was added to {contents.folder}; what was: {', '.join(roots) or 'nothing'}")


def _moved_items(contents: Contents, report: RelocateReport) -> pa.Table:
    """The items with their new paths; the report learns which are not there, or are other files."""
    rows: list[dict[str, Any]] = []
    for table, _ in contents.store.scan(In(field="root", values=tuple(report.roots))):
        rows += table.to_pylist()
    for row in rows:
        below = _below(row["path"], place_of(row["root"]))
        row["root"] = report.roots[row["root"]]
        if row["stamp"] is None and os.path.lexists(name := Path(row["root"], row["id"])):
            # Format 2 held what a link led to, not its name.
            row["path"] = str(name)
        elif below is not None:
            row["path"] = str(place_of(row["root"]) / below)
    files = read_file_columns([place_of(row["path"]) for row in rows])
    for row, size, modified, stamp in zip(rows, *files.values(), strict=True):
        if is_gone(row["path"], row["root"]):
            report.missing.append(row["id"])
        elif (row["size"], row["modified"]) == (size, modified):
            # A copy is another file with the same content; its time says so.
            row["stamp"] = stamp
        else:
            report.changed += 1
    report.moved = len(rows)
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)


def _below(name: str, above: Place) -> str | None:
    """The steps from ``above`` to the place of this name; None where it does not lie below."""
    place = place_of(name)
    if isinstance(place, Remote) and isinstance(above, Remote):
        return str(place.relative_to(above)) if place.is_relative_to(above) else None
    if isinstance(place, Path) and isinstance(above, Path):
        return str(place.relative_to(above)) if place.is_relative_to(above) else None
    return None
