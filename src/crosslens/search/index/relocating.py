"""Folders whose images were added and that lie elsewhere now: their items follow, with the vectors they have."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crosslens.search.filters.conditions import In
from crosslens.search.index.adding import rewrite
from crosslens.search.index.items import file_columns
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import StoreError
from crosslens.support.presence import is_gone

if TYPE_CHECKING:
    from crosslens.search.index.index import Index


@dataclass
class RelocateReport:
    """What a move did.

    Attributes:
        moved: items that lie below the new folder now.
        changed: those of them whose file there is not the one that was indexed, by size and time; the next
            ``Index.add`` embeds them.
        missing: ids of those whose file is not there; the next ``Index.add`` deletes them.
        roots: old place to new of every folder that was added.
    """

    moved: int = 0
    changed: int = 0
    missing: list[str] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def relocate_roots(index: Index, old: str | Path, new: str | Path, *, force: bool = False) -> RelocateReport:
    """Move the items of folders that were added; see ``Index.relocate``."""
    index.refresh()
    place = Path(new).resolve()
    if not place.is_dir():
        raise StoreError(f"{new} is no folder; name the one in which the pictures lie now")
    report = RelocateReport(roots=_places(index, old, place))
    items = _moved(index, report)
    if report.missing and not force:
        raise StoreError(
            f"{len(report.missing)} of {items.num_rows} images are not in {new}, the first: {report.missing[0]};"
            " nothing was changed. With --force (force=True) their items move too, and 'crosslens index add'"
            " deletes them"
        )
    rewrite(index, items)
    # Last: what was interrupted is then found at the old place and goes on.
    index.move_roots(report.roots)
    return report


def _places(index: Index, old: str | Path, new: Path) -> dict[str, str]:
    """Old place to new of every folder that was added and is ``old`` or lies below it.

    Raises:
        StoreError: when there is none.
    """
    roots = [str(root) for root in index.roots]
    # By the name that was written down; and where a link leads to the new place now, by what it led to.
    for above in dict.fromkeys((os.path.abspath(old), os.path.realpath(old))):
        found = {
            root: str(new / Path(root).relative_to(above)) for root in roots if Path(root).is_relative_to(above)
        }
        if found:
            return {root: place for root, place in found.items() if root != place}
    raise StoreError(f"nothing in {old} was added to {index.folder}; what was: {', '.join(roots) or 'nothing'}")


def _moved(index: Index, report: RelocateReport) -> pa.Table:
    """The items at their new places; the report learns which are not there, or are other files."""
    rows: list[dict[str, Any]] = []
    for table, _ in index.scan(In(field="root", values=tuple(report.roots))):
        rows += table.to_pylist()
    for row in rows:
        before, path = Path(row["root"]), Path(row["path"])
        row["root"] = report.roots[row["root"]]
        if row["stamp"] is None and os.path.lexists(name := Path(row["root"], row["id"])):
            # Format 2 held what a link led to, not its name.
            row["path"] = str(name)
        elif path.is_relative_to(before):
            row["path"] = str(row["root"] / path.relative_to(before))
    found = file_columns([Path(row["path"]) for row in rows])
    for row, size, modified, stamp in zip(rows, *found.values(), strict=True):
        if is_gone(row["path"], row["root"]):
            report.missing.append(row["id"])
        elif (row["size"], row["modified"]) == (size, modified):
            # A copy is another file with the same content; its time says so.
            row["stamp"] = stamp
        else:
            report.changed += 1
    report.moved = len(rows)
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)
