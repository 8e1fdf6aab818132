"""Tables of images, CSV, Parquet or JSON lines, as spreadsheets, data frames and programs write them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslens.data.columns import tidy_columns
from crosslens.data.listing import Listing
from crosslens.data.names import name_or
from crosslens.support.addresses import Place
from crosslens.support.errors import CatalogError
from crosslens.support.local_copy import local_copy
from crosslens.support.members import lance_table, parquet_file, picture_column
from crosslens.support.near_names import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".jsonl"})
LARGE_SUFFIXES = frozenset({".parquet", ".lance"})
"""Tables that can be read in parts, column by column, and may hold the pictures themselves."""
_USED = ("id", "path", "domain", "label", "class", "split", "role")
_INDEX = re.compile(r"|index|unnamed: \d+|__index_level_\d+__")
"""What pandas calls the numbers of a frame's rows, folded."""
_DELIMITERS = ",;\t|"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FILE_NAME = re.compile(r".*\.\w{2,5}\s*", re.DOTALL)


def read_manifest(path: Place) -> Listing:
    """Read a CSV or JSON-lines manifest; paths are relative to the manifest's folder.

    Columns: ``path`` and ``domain`` are needed; ``id, label (or class), split, role`` are used when present. Case
    and spaces around these names do not matter. Other columns are kept as people's own
    (``crosslens.data.columns``); the numbers of rows that pandas writes are passed over. CSV is UTF-8 (or UTF-16
    with its mark) and separated by commas, semicolons, tabs or bars; a line of ``.jsonl`` is one JSON object.

    Raises:
        CatalogError: for missing or repeated columns, one that is nearly called as a known one, or a cell that
            holds further rows.
    """
    return _listing(path, read_table(path, ("path", "domain")), None, 0)


def read_manifest_in_parts(path: Place, rows: int) -> Iterator[Listing]:
    """The same of a Parquet or Lance table, at most ``rows`` rows at a time.

    Where it holds the pictures in a column of bytes (``members.picture_column``), it needs no ``path``, which then
    only names a picture, and no ``domain``: that is the table's name. The bytes are not read here.

    Raises:
        CatalogError: as ``read_manifest``, when its part is reached.
    """
    import pyarrow as pa

    first = 0
    try:
        for column, batch in _batches(path, rows):
            yield _listing(path, pa.Table.from_batches([batch]), column, first)
            first += batch.num_rows
    except CatalogError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(f"{path} cannot be read as a manifest: {error}") from error
    if not first:
        raise CatalogError(f"{path} lists no image")


def _batches(path: Place, rows: int) -> Iterator[tuple[str | None, pa.RecordBatch]]:
    """The rows of a large table without its pictures, and what the column of these is called."""
    if path.suffix.lower() == ".lance":
        table = lance_table(path)
        schema = table.schema
    else:
        table = parquet_file(path)
        schema = table.schema_arrow
    column = picture_column(schema)
    _require_columns(path, schema.names, () if column else ("path", "domain"))
    names = [name for name in schema.names if name != column]
    if not names:
        # Somebody must say how many rows there are.
        count = table.count_rows() if path.suffix.lower() == ".lance" else table.metadata.num_rows
        yield from ((column, part) for part in _empty_batches(count, rows))
    elif path.suffix.lower() == ".lance":
        yield from ((column, batch) for batch in table.to_batches(names, batch_size=rows))
    else:
        yield from ((column, batch) for batch in table.iter_batches(rows, columns=names))


def _empty_batches(count: int, rows: int) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for start in range(0, count, rows):
        yield pa.record_batch({"": pa.nulls(min(rows, count - start))})


def _listing(path: Place, table: pa.Table, pictures: str | None, first: int) -> Listing:
    """The rows of a table, which start at row ``first`` of it and may hold the ``pictures`` in that column."""
    used = table.select([n for n, name in enumerate(table.column_names) if _plain(name) in _USED])
    names = ["label" if _plain(name) == "class" else _plain(name) for name in used.column_names]
    own, notes = own_columns(path, table)
    rows = used.rename_columns(names).to_pylist() if names else [{} for _ in range(table.num_rows)]
    if pictures is not None:
        for number, row in enumerate(rows, start=first):
            row["id"] = row.get("id") or row.get("path")
            row["path"] = f"{path.name}/{number}"
            row["domain"] = row.get("domain") or name_or(path.stem, "pictures")
    return Listing(rows, path.parent, notes, file=path, own=own, before=first)


def own_columns(path: Place, table: pa.Table) -> tuple[pa.Table, list[str]]:
    """The columns of a table that are people's own, tidied, and a sentence for each that cannot be kept."""
    others = [
        number
        for number, name in enumerate(table.column_names)
        if _plain(name) not in _USED and not _INDEX.fullmatch(_plain(name))
    ]
    own, notes = tidy_columns(table.select(others), cells=path.suffix.lower() in (".csv", ".tsv"))
    return own, [f"{path}: {sentence}" for sentence in notes]


def read_table(path: Place, needed: Sequence[str]) -> pa.Table:
    """A table of images with all its columns as they are; those of CSV hold text.

    Args:
        path: ends in one of ``MANIFEST_SUFFIXES``.
        needed: columns that must be there.

    Raises:
        CatalogError: see ``read_manifest``.
    """
    import pyarrow as pa

    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = parquet_file(path).read()
            _require_columns(path, table.column_names, needed)
        elif suffix == ".jsonl":
            table = _read_lines(local_copy(path))
            _require_columns(path, table.column_names, needed)
        else:
            copy = local_copy(path)
            header, delimiter, encoding = _read_header(copy)
            _require_columns(path, header, needed)
            table = _read_csv(copy, header, delimiter, encoding)
            _refuse_swallowed_rows(path, table, delimiter)
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
        advice = "; save it as UTF-8" if isinstance(error, UnicodeError) or "UTF8" in str(error) else ""
        raise CatalogError(f"{path} cannot be read as a manifest: {error}{advice}") from error
    if table.num_rows == 0:
        raise CatalogError(f"{path} lists no image")
    return table


def _read_lines(path: Path) -> pa.Table:
    """JSON lines as a table; a key that a line lacks is null there."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CatalogError(f"{path} line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise CatalogError(f'{path} line {number}: expected an object such as {{"path": ...}}')
        rows.append(row)
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise CatalogError(f"{path}: the values of {name!r} are not all of one type: {error}") from None
    return pa.table(columns)


def _read_header(path: Path) -> tuple[list[str], str, str]:
    """The first row's cells, the delimiter and the encoding of a CSV file."""
    with open(path, "rb") as handle:
        encoding = "utf-16" if handle.read(2) in _UTF_16 else "utf-8-sig"
    with open(path, encoding=encoding, newline="") as text:
        lines = [line for line, _ in zip(text, range(1), strict=False)]
    if not lines:
        raise CatalogError(f"{path} cannot be read as a manifest: it is empty")
    rows = {delimiter: next(csv.reader(lines, delimiter=delimiter), []) for delimiter in _DELIMITERS}
    best = max(rows, key=lambda delimiter: len({_plain(name) for name in rows[delimiter]} & set(_USED)))
    return rows[best], best, "utf16" if encoding == "utf-16" else "utf8"


def _read_csv(path: Path, header: Sequence[str], delimiter: str, encoding: str) -> pa.Table:
    """Every cell as the text that is written there, the empty one as null."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    return pa_csv.read_csv(
        path,
        # One thread: only then does Arrow name the row that cannot be parsed.
        read_options=pa_csv.ReadOptions(use_threads=False, encoding=encoding),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in header},
            strings_can_be_null=True,
            null_values=[""],  # Arrow's own list would swallow classes named "null", "nan" or "NA"
        ),
    )


def _require_columns(path: Place, header: Sequence[str], needed: Sequence[str]) -> None:
    names = [_plain(name) for name in header]
    twice = sorted({name for name in names if name in _USED and names.count(name) > 1})
    if twice:
        raise CatalogError(f"{path} has more than one column {', '.join(map(repr, twice))}; keep one")
    if "label" in names and "class" in names:
        raise CatalogError(f"{path}: give either 'label' or 'class', not both")
    unknown = [name for name in header if _plain(name) not in _USED]
    for name in unknown:
        absent = [known for known in _USED if known not in names]
        if {"label", "class"} & set(names):
            absent = [known for known in absent if known not in ("label", "class")]
        if near := did_you_mean(name, absent, cutoff=0.8):
            raise CatalogError(f"{path}: a column {name!r} would be kept as one of your own{near}")
    if not set(needed) <= set(names):
        lacking = " or ".join(f"no column {name!r}" for name in needed)
        raise CatalogError(
            f"{path}: {lacking}; it has {', '.join(header) or 'none'}. A manifest has"
            f" {', '.join(sorted(_USED))}, and any of your own"
        )


def _refuse_swallowed_rows(path: Place, table: pa.Table, delimiter: str) -> None:
    """A quote that is never closed makes one cell of all rows behind it.

    Raises:
        CatalogError: naming the row with such a cell.
    """
    names = [_plain(name) for name in table.column_names]
    if "path" not in names:
        return
    place = names.index("path")
    for name, column in zip(table.column_names, table.columns, strict=True):
        for number, cell in _cells_of_several_lines(column):
            for line in cell.splitlines()[1:]:
                parts = line.split(delimiter)
                if len(parts) == table.num_columns and _FILE_NAME.fullmatch(parts[place]):
                    begin = repr(line[:60])
                    raise CatalogError(
                        f"{path}: row {number}: the {name} holds further rows ({begin}); a quote before it is open"
                    )


def _cells_of_several_lines(column: pa.ChunkedArray) -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    found = pc.fill_null(pc.match_substring_regex(column, "[\r\n]"), False)
    for row in pc.indices_nonzero(found).to_pylist():
        yield row + 1, column[row].as_py()


def _plain(name: Any) -> str:
    return str(name).strip().casefold()
