"""The Catalog: one Arrow table of images, read from folders, manifests or list files.

Columns: ``id`` (unique string), ``path`` (relative to ``root`` or absolute), ``domain``, ``label`` (a class
*name* or null; never a position in a folder listing), ``split`` and ``role`` (``query``, ``gallery``, ``both``).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.errors import CatalogError, LabelsHiddenError
from crosslens.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("role", pa.string(), nullable=False),
    ]
)
ROLES = ("query", "gallery", "both")


@dataclass(frozen=True)
class Catalog:
    """An immutable table of images.

    Attributes:
        table: Arrow table with the columns of ``SCHEMA``, one row an image.
        root: folder that relative paths start from.
        notes: what the reader left out and why (stray files, symlink loops), one sentence each.
        left_out: how many files of each suffix are pictures or films that the reader left out.

    Raises:
        CatalogError: when columns or their types differ, ids repeat, a cell is empty or a role is unknown; the
            message names the row.
    """

    table: pa.Table
    root: Path
    notes: tuple[str, ...] = field(default=(), compare=False)
    labels_hidden: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.table.schema.names != SCHEMA.names:
            raise CatalogError(f"a catalog has the columns {SCHEMA.names}, not {self.table.schema.names}")
        if self.table.schema.types != SCHEMA.types:
            wrong = [f"{field.name} ({field.type})" for field in self.table.schema if field.type != pa.string()]
            raise CatalogError(f"every column of a catalog holds text; these do not: {', '.join(wrong)}")
        _check_rows(self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list[Any]:
        """One column as a Python list of N values.

        Raises:
            LabelsHiddenError: for ``label`` of a catalog whose labels are hidden.
        """
        if name == "label" and self.labels_hidden:
            raise LabelsHiddenError(
                "labels are hidden: this method learns without them. Class counts are estimated or given as a"
                " number (--set clusters=N); labels belong to evaluation"
            )
        return list(self.table.column(name).to_pylist())

    @property
    def ids(self) -> list[str]:
        """The N unique ids."""
        return self.column("id")

    @property
    def labels(self) -> list[str | None]:
        """The N class names; None where unknown.

        Raises:
            LabelsHiddenError: when labels are hidden.
        """
        return self.column("label")

    @property
    def paths(self) -> list[Path]:
        """The N paths, absolute when ``root`` is."""
        return [self.root / path for path in self.column("path")]

    @property
    def domains(self) -> list[str]:
        """The domain names, sorted."""
        return sorted(pc.unique(self.table.column("domain")).to_pylist())

    @property
    def classes(self) -> list[str]:
        """The class names that occur, sorted.

        Raises:
            LabelsHiddenError: when labels are hidden.
        """
        return sorted({label for label in self.labels if label is not None})

    def select(
        self,
        *,
        domains: Collection[str] | None = None,
        labels: Collection[str] | None = None,
        splits: Collection[str] | None = None,
    ) -> Catalog:
        """The rows whose domain, label and split are among those given (one name or several), in the same order.

        Raises:
            CatalogError: when a name given does not occur at all, listing those that do.
            LabelsHiddenError: for ``labels`` when labels are hidden.
        """
        mask = np.ones(len(self), dtype=bool)
        for name, wanted in (("domain", domains), ("label", labels), ("split", splits)):
            if wanted is None:
                continue
            values = self.column(name)
            present = set(values)
            keep = {wanted} if isinstance(wanted, str) else set(wanted)
            missing = sorted(keep - present)
            if missing:
                have = ", ".join(sorted(str(v) for v in present if v is not None)) or "none"
                raise CatalogError(f"no image has the {name} {', '.join(missing)}; the {name}s here are: {have}")
            mask &= np.fromiter((value in keep for value in values), dtype=bool, count=len(self))
        return self.where(mask)

    def where(self, mask: NDArray[np.bool_]) -> Catalog:
        """The rows where ``mask (N,)`` is True."""
        return replace(self, table=self.table.filter(pa.array(mask)))

    def with_ids(self, ids: Container[str]) -> Catalog:
        """The rows whose id is among ``ids``, in the same order; ids that no row has do not matter."""
        return self.where(np.fromiter((image in ids for image in self.ids), dtype=bool, count=len(self)))

    def take(self, rows: Sequence[int]) -> Catalog:
        """The rows at the positions given, in that order."""
        return replace(self, table=self.table.take(pa.array(rows, pa.int64())))

    def hide_labels(self) -> Catalog:
        """The same images with labels that raise when asked for: what unsupervised methods are given."""
        nulls = pa.nulls(len(self), pa.string())
        table = self.table.set_column(SCHEMA.get_field_index("label"), "label", nulls)
        return replace(self, table=table, labels_hidden=True)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images per domain and class: ``{domain: {class or "": count}}``, sorted by name."""
        counts: dict[str, dict[str, int]] = {}
        for domain, label in zip(self.column("domain"), self.labels, strict=True):
            row = counts.setdefault(domain, {})
            row[label or ""] = row.get(label or "", 0) + 1
        return {domain: dict(sorted(row.items())) for domain, row in sorted(counts.items())}

    def write(self, target: Path) -> None:
        """Write a manifest (``.parquet`` or ``.csv``) that ``crosslens.readers.read_manifest`` reads back.

        A manifest's paths start from its own folder, so they are rewritten when ``target`` lies elsewhere than in
        ``root``: relative where the image is below the manifest, absolute where it is not. Ids stay as they are.

        Raises:
            CatalogError: for another suffix.
            CrosslensError: when the file cannot be written.
        """
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pa_parquet

        if target.suffix not in (".parquet", ".csv"):
            raise CatalogError(f"a manifest ends in .parquet or .csv, not {target.suffix!r}")
        table = self.rooted_at(target.parent).table
        with atomic_path(target) as temporary:
            if target.suffix == ".parquet":
                pa_parquet.write_table(table, temporary)
            else:
                pa_csv.write_csv(table, temporary)

    def rooted_at(self, folder: Path) -> Catalog:
        """The same images with paths that start from ``folder``; those outside it become absolute."""
        here, there = os.path.abspath(self.root), os.path.abspath(folder)
        if here == there:
            return self
        below = there.rstrip(os.sep) + os.sep
        whole = [os.path.join(here, path) for path in self.column("path")]
        paths = [path[len(below) :] if path.startswith(below) else path for path in whole]
        table = self.table.set_column(SCHEMA.get_field_index("path"), SCHEMA.field("path"), pa.array(paths))
        return replace(self, table=table, root=folder)

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, Any]], root: Path, notes: Sequence[str] = ()) -> Catalog:
        """Build a catalog from dictionaries with at least ``path`` and ``domain``.

        ``id`` (text or a whole number) defaults to the path, ``role`` to ``both``; other keys are ignored.

        Raises:
            CatalogError: naming the first row that is wrong: no path or domain, a label that is a number.
        """
        columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        for number, row in enumerate(rows, start=1):
            path, domain = _text(row, "path", number), _text(row, "domain", number)
            if path is None or domain is None:
                raise CatalogError(f"row {number} lacks a {'domain' if path else 'path'}: {row}")
            columns["id"].append(_text(row, "id", number) or path)
            columns["path"].append(path)
            columns["domain"].append(domain)
            columns["label"].append(_text(row, "label", number))
            columns["split"].append(_text(row, "split", number))
            columns["role"].append(_text(row, "role", number) or "both")
        return cls(pa.table(columns, schema=SCHEMA), root, tuple(notes))

    @classmethod
    def open(cls, source: str | Path) -> Catalog:
        """Read whatever ``source`` is: a folder in the domain layout, one image, a manifest or a list file.

        Raises:
            CatalogError: when it does not exist, holds no image, or is none of these.
        """
        from crosslens import readers

        return readers.read(Path(source))

    def relabel(self, rename: Callable[[str], str]) -> Catalog:
        """The same images with every class name passed through ``rename`` (class-name maps, aliases).

        Raises:
            LabelsHiddenError: when labels are hidden.
        """
        labels = [None if label is None else rename(label) for label in self.labels]
        column = pa.array(labels, pa.string())
        table = self.table.set_column(SCHEMA.get_field_index("label"), "label", column)
        return replace(self, table=table)


def concatenate(catalogs: Sequence[Catalog]) -> Catalog:
    """Join catalogs of the same root; ids must stay unique.

    Raises:
        CatalogError: when there is none, roots differ or an id occurs twice.
    """
    if not catalogs:
        raise CatalogError("there is no catalog to join; give at least one")
    roots = {catalog.root for catalog in catalogs}
    if len(roots) != 1:
        raise CatalogError(f"catalogs of different roots cannot be joined: {sorted(map(str, roots))}")
    notes = tuple(note for catalog in catalogs for note in catalog.notes)
    hidden = any(catalog.labels_hidden for catalog in catalogs)
    left_out = sum((Counter(catalog.left_out) for catalog in catalogs), Counter())
    return Catalog(pa.concat_tables([c.table for c in catalogs]), roots.pop(), notes, hidden, dict(left_out))


def _text(row: dict[str, Any], name: str, number: int) -> str | None:
    """One cell of row ``number`` as text; None for null, NaN (a data frame's null) and the empty text."""
    value = row.get(name)
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, str | Path):
        return str(value)
    if name == "id" and isinstance(value, int):
        return str(value)
    advice = "a class is given by its name, never by a number" if name == "label" else "it must be text"
    raise CatalogError(f"row {number}: the {name} is {value!r}; {advice}")


def _check_rows(table: pa.Table) -> None:
    for name in SCHEMA.names:
        empty = pc.equal(table.column(name), "")
        # Null means "unknown" where the schema allows it; an empty text never means anything.
        empty = pc.fill_null(empty, not SCHEMA.field(name).nullable)
        if pc.any(empty).as_py():
            number = empty.to_pylist().index(True) + 1
            raise CatalogError(f"row {number}: the column {name!r} is empty")
    ids = table.column("id")
    if len(pc.unique(ids)) != len(ids):
        seen: dict[str, int] = {}
        for number, value in enumerate(ids.to_pylist(), start=1):
            if value in seen:
                raise CatalogError(f"row {number}: the id {value!r} was already used in row {seen[value]}")
            seen[value] = number
    known = pc.is_in(table.column("role"), value_set=pa.array(ROLES))
    if pc.all(known).as_py() is False:  # null for no row at all
        number = known.to_pylist().index(False) + 1
        value = table.column("role")[number - 1].as_py()
        raise CatalogError(f"row {number}: the role {value!r} is none of {', '.join(ROLES)}")
