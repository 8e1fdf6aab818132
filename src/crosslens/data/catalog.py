"""The Catalog: one Arrow table of images, read from folders, manifests or list files.

Columns: ``id`` (unique string), ``path`` (relative to ``root`` or absolute), ``domain``, ``label`` (a class
*name* or null; never a position in a folder listing), ``split`` and ``role`` (``query``, ``gallery``, ``both``).
Domains and labels are names as ``crosslens.data.names.read_name`` reads them; ids and paths stay as the disk has
them. Behind these stand columns of people's own (``crosslens.data.columns``), which an index keeps.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.listing import Listing
from crosslens.data.names import Spelling, caseless, is_blank, nfc, read_name, stored_forms, told_apart
from crosslens.data.readers import read_in_parts
from crosslens.support.addresses import NOT_READ, Place, is_address, is_unread, joined, place_of, whole_name
from crosslens.support.errors import CatalogError, LabelsHiddenError
from crosslens.support.files import atomic_path
from crosslens.support.near_names import did_you_mean
from crosslens.support.remote import Remote

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
_ROLES = ("query", "gallery", "both")
_AT_ONCE = 1 << 16
"""Rows that are held as Python's own at a time."""
_SHOWN = 60
"""Letters of a wrong cell that a message shows."""


@dataclass(frozen=True, repr=False)
class Catalog:
    """An immutable table of images.

    Attributes:
        table: Arrow table with the columns of ``SCHEMA`` and people's own behind them, one row an image.
        root: folder that relative paths start from, on this machine or in object storage. Paths may be addresses,
            and pictures may lie in one large file (``crosslens.support.members``).
        notes: what the reader left out and why (stray files, symlink loops), one sentence each.
        left_out: how many files of each suffix are pictures or films that the reader left out.

    Raises:
        CatalogError: when columns or their types differ, ids repeat or differ in Unicode form alone, a cell is
            empty or a role is unknown; the message names the row.
    """

    table: pa.Table
    root: Place
    notes: tuple[str, ...] = field(default=(), compare=False)
    labels_hidden: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        names, count = self.table.schema.names, len(SCHEMA)
        if names[:count] != SCHEMA.names or len(set(names)) < len(names):
            raise CatalogError(f"a catalog has the columns {SCHEMA.names} and others behind them, not {names}")
        if self.table.schema.types[:count] != SCHEMA.types:
            first = [self.table.schema.field(number) for number in range(count)]
            wrong = [f"{field.name} ({field.type})" for field in first if field.type != pa.string()]
            raise CatalogError(f"every column of a catalog holds text; these do not: {', '.join(wrong)}")
        _check_rows(self.table)

    def __repr__(self) -> str:
        told = pc.value_counts(self.table.column("domain")).to_pylist()
        counts = {one["values"]: one["counts"] for one in told}
        domains = ", ".join(f"{name} {counts[name]}" for name in self.domains)
        classes = "labels hidden" if self.labels_hidden else f"{len(self.classes)} classes"
        return f"<Catalog of {len(self)} images below {self.root}: {domains or 'none'}; {classes}>"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list[Any]:
        """One column as a Python list of N values.

        Raises:
            LabelsHiddenError: for ``label`` of a catalog whose labels are hidden.
        """
        return list(self._shown(name).to_pylist())

    def _shown(self, name: str) -> pa.ChunkedArray:
        if name == "label" and self.labels_hidden:
            raise LabelsHiddenError(
                "labels are hidden: this method learns without them. Class counts are estimated or given as a"
                " number (--set clusters=N); labels belong to evaluation"
            )
        return self.table.column(name)

    @property
    def own(self) -> pa.Table:
        """The columns of people's own, N rows; see ``crosslens.data.columns``."""
        return self.table.select(self.table.column_names[len(SCHEMA) :])

    def with_own(self, own: pa.Table) -> Catalog:
        """The same images with these columns of people's own, in place of any that are called the same.

        Args:
            own: N rows, as ``tidy_columns`` gives them.
        """
        kept = self.table.drop_columns([name for name in self.own.column_names if name in own.column_names])
        for name, column in zip(own.column_names, own.columns, strict=True):
            kept = kept.append_column(name, column)
        return replace(self, table=kept)

    def with_prefix(self, prefix: str) -> Catalog:
        """The same images under ids that start with ``prefix/``; their paths stay."""
        column = pc.binary_join_element_wise(prefix, self.table.column("id"), "/")
        place = SCHEMA.get_field_index("id")
        return replace(self, table=self.table.set_column(place, SCHEMA.field("id"), column))

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
    def paths(self) -> list[Place]:
        """The N places of the pictures; paths are absolute when ``root`` is."""
        return [joined(self.root, path) for path in self.column("path")]

    @property
    def places(self) -> Sequence[Place]:
        """The same as ``paths``, each made when it is asked for."""
        return _Places(self.root, self.table.column("path"))

    @property
    def domains(self) -> list[str]:
        """The domain names, sorted."""
        return self.values("domain")

    @property
    def classes(self) -> list[str]:
        """The class names that occur, sorted.

        Raises:
            LabelsHiddenError: when labels are hidden.
        """
        return self.values("label")

    def domains_named(self, wanted: str | Sequence[str]) -> tuple[str, ...]:
        """The domains that are meant, as they are written here, in the order given; see ``crosslens.data.names``.

        Raises:
            CatalogError: for a name that no domain has, listing those there are and the near ones, or that could
                be two of them.
        """
        return Spelling(self.domains).require(wanted, "domain")

    def select(
        self,
        *,
        domains: Collection[str] | None = None,
        labels: Collection[str] | None = None,
        splits: Collection[str] | None = None,
    ) -> Catalog:
        """The rows whose domain, label and split are among those given (one name or several), in the same order.

        Names are found in any spelling that fits one name alone; see ``crosslens.data.names``.

        Raises:
            CatalogError: when a name given does not occur at all, listing those that do, or could be two.
            LabelsHiddenError: for ``labels`` when labels are hidden.
        """
        mask = np.ones(len(self), dtype=bool)
        for name, wanted in (("domain", domains), ("label", labels), ("split", splits)):
            if wanted is None:
                continue
            present = self.values(name)
            keep = Spelling(present).require(wanted if isinstance(wanted, str) else sorted(wanted), name)
            mask &= self.is_in(name, keep)
        return self.where(mask)

    def is_in(self, name: str, values: Collection[str]) -> NDArray[np.bool_]:
        """Which rows ``(N,)`` have one of these values in a column of text.

        Raises:
            LabelsHiddenError: for ``label`` when labels are hidden.
        """
        found = pc.is_in(self._shown(name), value_set=pa.array(list(values), pa.string()))
        return np.asarray(found.to_numpy(), bool)

    def values(self, name: str) -> list[str]:
        """What occurs in a column of text, nulls left out, sorted.

        Raises:
            LabelsHiddenError: for ``label`` when labels are hidden.
        """
        return sorted(pc.unique(self._shown(name)).drop_null().to_pylist())

    def where(self, mask: NDArray[np.bool_]) -> Catalog:
        """The rows where ``mask (N,)`` is True."""
        return replace(self, table=self.table.filter(pa.array(mask)))

    def with_ids(self, ids: Collection[str]) -> Catalog:
        """The rows whose id is among ``ids``, in the same order; ids that no row has do not matter."""
        return self.where(self.is_in("id", ids))

    def take(self, rows: Sequence[int] | pa.Array) -> Catalog:
        """The rows at the positions given, in that order."""
        chosen = rows if isinstance(rows, pa.Array) else pa.array(np.asarray(rows, np.int64))
        return replace(self, table=self.table.take(chosen))

    def part(self, start: int, count: int) -> Catalog:
        """At most ``count`` rows from ``start`` on, without copying them."""
        return replace(self, table=self.table.slice(start, count))

    def hide_labels(self) -> Catalog:
        """The same images with labels that raise when asked for: what unsupervised methods are given.

        Columns of people's own go too, which may tell what a picture shows.
        """
        nulls = pa.nulls(len(self), pa.string())
        table = self.table.select(SCHEMA.names).set_column(SCHEMA.get_field_index("label"), "label", nulls)
        return replace(self, table=table, labels_hidden=True)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images per domain and class: ``{domain: {class or "": count}}``, sorted by name."""
        counts: dict[str, dict[str, int]] = {}
        for domain, label in zip(self.column("domain"), self.labels, strict=True):
            row = counts.setdefault(domain, {})
            row[label or ""] = row.get(label or "", 0) + 1
        return {domain: dict(sorted(row.items())) for domain, row in sorted(counts.items())}

    def write(self, target: Path) -> None:
        """Write a manifest (``.parquet`` or ``.csv``) that ``open`` reads back.

        A manifest's paths start from its own folder, so they are rewritten when ``target`` lies elsewhere than in
        ``root``: relative where the image is below the manifest, absolute where it is not. Ids stay as they are;
        a list of text is a JSON list in CSV.

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
                pa_csv.write_csv(_as_cells(table), temporary)

    def rooted_at(self, folder: Place) -> Catalog:
        """The same images with paths that start from ``folder``; those outside it become absolute."""
        here, there = whole_name(self.root), whole_name(folder)
        if here == there:
            return self
        below = there.rstrip(os.sep) + os.sep

        def rooted(path: str) -> str:
            whole = whole_name(joined(self.root, path))
            return whole[len(below) :] if whole.startswith(below) else whole

        paths = _each(rooted, self.table.column("path"))
        table = self.table.set_column(SCHEMA.get_field_index("path"), SCHEMA.field("path"), paths)
        return replace(self, table=table, root=folder)

    @classmethod
    def from_rows(
        cls, rows: Iterable[dict[str, Any]], root: Place, notes: Sequence[str] = (), before: int = 0
    ) -> Catalog:
        """Build a catalog from dictionaries with at least ``path`` and ``domain``; ``before`` rows come first.

        ``id`` (text or a whole number) defaults to the path, ``role`` to ``both``; other keys are ignored. Case
        does not matter in ``split`` and ``role``.

        Raises:
            CatalogError: naming the first row that is wrong: no path or domain, a label that is a number, a name
                that holds a line end.
        """
        columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        for number, row in enumerate(rows, start=before + 1):
            path, domain = _text(row, "path", number), _name(row, "domain", number)
            if path is None or domain is None:
                raise CatalogError(f"row {number} lacks a {'domain' if path else 'path'}: {row}")
            path = _on_disk(root, path)
            split, role = _name(row, "split", number), _name(row, "role", number)
            columns["id"].append(_text(row, "id", number) or path)
            columns["path"].append(path)
            columns["domain"].append(domain)
            columns["label"].append(_name(row, "label", number))
            columns["split"].append(None if split is None else caseless(split))
            columns["role"].append("both" if role is None else caseless(role))
        return cls(pa.table(columns, schema=SCHEMA), root, tuple(notes))

    @classmethod
    def open(cls, source: str | Place) -> Catalog:
        """Read whatever ``source`` is: a folder in the domain layout, one image, a table, archives or a list file.

        Raises:
            CatalogError: when it does not exist, holds no image, or is none of these.
        """
        # Rows of a large table are Python's own for a moment only, a part of them at a time.
        listings = read_in_parts(_readable(source), _AT_ONCE)
        first = next(listings)
        parts = [cls.from_listing(first), *map(cls.from_listing, listings)]
        if len(parts) == 1:
            return parts[0]
        try:
            whole = concatenate(parts)
        except CatalogError as error:
            raise CatalogError(f"{first.file}: {error}") from error
        except pa.ArrowException as error:
            raise CatalogError(f"{first.file}: its columns are not of one type throughout: {error}") from error
        return replace(whole, notes=tuple(dict.fromkeys(whole.notes)))

    @classmethod
    def open_in_parts(cls, source: str | Place, rows: int) -> Iterator[Catalog]:
        """The same, of a Parquet or Lance table ``rows`` rows at a time; anything else is one part.

        Ids that repeat in one part are refused; whether two parts share some is not looked at.

        Raises:
            CatalogError: as ``open``.
        """
        for listing in read_in_parts(_readable(source), rows):
            yield cls.from_listing(listing)

    @classmethod
    def from_listing(cls, listing: Listing) -> Catalog:
        """The catalog of what a reader found.

        Raises:
            CatalogError: as ``from_rows``, naming the file that lists the row.
        """
        try:
            catalog = cls.from_rows(listing.rows, listing.root, listing.notes, listing.before)
        except CatalogError as error:
            if listing.file is None:
                raise
            raise CatalogError(f"{listing.file}: {error}") from error
        catalog = replace(catalog, left_out=dict(listing.left_out))
        return catalog if listing.own is None else catalog.with_own(listing.own)

    def relabel(self, rename: Callable[[str], str]) -> Catalog:
        """The same images with every class name passed through ``rename`` (class-name maps, aliases).

        Raises:
            LabelsHiddenError: when labels are hidden.
        """
        labels = [None if label is None else nfc(rename(label)) for label in self.labels]
        column = pa.array(labels, pa.string())
        table = self.table.set_column(SCHEMA.get_field_index("label"), "label", column)
        return replace(self, table=table)

    def of_one_domain(self, name: str) -> Catalog:
        """The same images, all of one domain and without labels, whatever folders they lie in.

        Folders that sort pictures by year, place or camera are no looks and no classes.
        """
        table = self.table
        for column, value in (("domain", name), ("label", None)):
            values = pa.repeat(pa.scalar(value, pa.string()), len(self))
            table = table.set_column(SCHEMA.get_field_index(column), SCHEMA.field(column), values)
        return replace(self, table=table)


class _Places(Sequence[Place]):
    def __init__(self, root: Place, paths: pa.ChunkedArray) -> None:
        self._root, self._paths = root, paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, row: int) -> Place: ...
    @overload
    def __getitem__(self, row: slice) -> list[Place]: ...
    def __getitem__(self, row: int | slice) -> Place | list[Place]:
        if isinstance(row, slice):
            return [joined(self._root, path) for path in self._paths[row].to_pylist()]
        return joined(self._root, self._paths[row].as_py())


def _each(change: Callable[[str], str], column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Every text of a column changed, a part of them at a time."""
    parts = (column[start : start + _AT_ONCE] for start in range(0, len(column), _AT_ONCE))
    return pa.chunked_array([pa.array(map(change, part.to_pylist()), pa.string()) for part in parts], pa.string())


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
    table = pa.concat_tables([c.table for c in catalogs], promote_options="permissive")
    return Catalog(table, roots.pop(), notes, hidden, dict(left_out))


def _readable(source: str | Place) -> Place:
    if is_unread(source):
        raise CatalogError(f"{source}: {NOT_READ}")
    return place_of(source)


def _as_cells(table: pa.Table) -> pa.Table:
    """The table with lists as JSON, for CSV, which knows none."""
    for number, column in enumerate(table.schema):
        if pa.types.is_list(column.type):
            cells = [None if value is None else json.dumps(value) for value in table.column(number).to_pylist()]
            table = table.set_column(number, column.name, pa.array(cells, pa.string()))
    return table


def _text(row: dict[str, Any], name: str, number: int) -> str | None:
    """One cell of row ``number`` as text; None for a data frame's nulls and the empty text."""
    value = row.get(name)
    if _is_null(value):
        return None
    if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()):
        # A data frame with an empty cell among whole numbers holds them all as floats.
        if name == "id" and not isinstance(value, bool):
            return str(int(value))
        advice = "; with pandas: frame['label'].astype(str)" if name == "label" else ""
    elif isinstance(value, str | Path):
        text = str(value)
        if "\0" in text or not _is_unicode(text):
            raise CatalogError(f"row {number}: the {name} {text!r} holds what no file's name in UTF-8 can hold")
        return text
    else:
        advice = ""
    rule = "a class is given by its name, never by a number" if name == "label" else "it must be text"
    raise CatalogError(f"row {number}: the {name} is {value!r}; {rule}{advice}")


def _on_disk(root: Place, path: str) -> str:
    """The path in the Unicode form in which the disk has it; as it is where the disk has it in none."""
    if path.isascii() or isinstance(root, Remote) or is_address(path):
        return path
    return next((form for form in stored_forms(path) if os.path.lexists(root / form)), path)


def _name(row: dict[str, Any], column: str, number: int) -> str | None:
    """One cell of row ``number`` as a name, None where it is blank."""
    text = _text(row, column, number)
    if text is None or is_blank(text):
        return None
    try:
        return read_name(text)
    except ValueError as error:
        shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
        advice = "; is a quote not closed?" if "line end" in str(error) else ""
        raise CatalogError(f"row {number}: the {column} {shown} {error}{advice}") from None


def _is_null(value: Any) -> bool:
    """None, the empty text, NaN, and the nulls of pandas, which refuse to be compared."""
    if value is None or value == "":
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_rows(table: pa.Table) -> None:
    for name in SCHEMA.names:
        empty = pc.equal(table.column(name), "")
        # Null means "unknown" where the schema allows it; an empty text never means anything.
        empty = pc.fill_null(empty, not SCHEMA.field(name).nullable)
        if pc.any(empty).as_py():
            number = empty.to_pylist().index(True) + 1
            raise CatalogError(f"row {number}: the column {name!r} is empty")
    _check_ids(table)
    known = pc.is_in(table.column("role"), value_set=pa.array(_ROLES))
    if pc.all(known).as_py() is False:  # null for no row at all
        number = known.to_pylist().index(False) + 1
        value = table.column("role")[number - 1].as_py()
        raise CatalogError(
            f"row {number}: the role {value!r} is none of {', '.join(_ROLES)}{did_you_mean(value, _ROLES)}"
        )


def _check_ids(table: pa.Table) -> None:
    ids = table.column("id")
    if pc.all(pc.string_is_ascii(ids)).as_py() is False:
        ids = pc.utf8_normalize(ids, form="NFC")
    if len(pc.unique(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    own, paths = table.column("id").to_pylist(), table.column("path").to_pylist()
    for number, value in enumerate(ids.to_pylist(), start=1):
        if value not in seen:
            seen[value] = number
            continue
        first = seen[value]
        if own[first - 1] != own[number - 1]:
            both = told_apart((own[first - 1], own[number - 1]))
            raise CatalogError(
                f"row {number}: its id and that of row {first} differ in Unicode form alone ({both}); rename one"
                " of the files, or give them other ids"
            )
        advice = ""
        if own[number - 1] == paths[number - 1] == paths[first - 1]:
            advice = "; the same image is listed twice, and has one class and one domain: keep one row"
        raise CatalogError(f"row {number}: the id {own[number - 1]!r} was already used in row {first}{advice}")
