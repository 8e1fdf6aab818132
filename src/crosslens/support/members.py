"""Pictures that lie in one large file: members of tar archives, and cells of Parquet and Lance tables.

They have names as if the file were a folder: ``shards/shard-000000.tar/dog/7.jpg`` is a member, and
``photos.parquet/123`` the picture of row 123, counted from 0. Archives are plain, not compressed, so that a member
is a range of bytes.
"""

from __future__ import annotations

import hashlib
import tarfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from crosslens.support.addresses import Place
from crosslens.support.errors import CrosslensError
from crosslens.support.files import read_json, write_json
from crosslens.support.places import cache_folder
from crosslens.support.remote import NoObjectError, ObjectState, PlaceError, Remote

SUFFIXES = (".tar", ".parquet", ".lance")
_PICTURE_COLUMNS = ("image", "picture", "bytes", "content", "jpg", "jpeg", "png", "webp")
"""What the column of pictures may be called where a table has several columns of bytes."""
_FRESH = 10.0
"""Seconds for which an archive or a table in object storage is taken not to change."""
_GROUPS = 4
"""Row groups of Parquet files whose pictures are held: readers go on in order."""


class Span(NamedTuple):
    """Where a member's bytes lie in its archive."""

    start: int
    size: int


def container_of(place: Place) -> tuple[Place, str] | None:
    """The file that holds a picture, and the picture's name in it; None for a picture that is a file itself."""
    parts = place.parts
    for depth in range(len(parts) - 1, 0, -1):
        if parts[depth - 1].lower().endswith(SUFFIXES) and depth > isinstance(place, Remote):
            inside = parts[depth:]
            outside: Place = place
            for _ in inside:
                outside = outside.parent
            if isinstance(outside, Remote) or outside.is_file() or outside.suffix.lower() == ".lance":
                return outside, "/".join(inside)
    return None


def read_bytes(place: Place) -> bytes:
    """The bytes of a file, an object, or a picture that lies in one.

    Raises:
        OSError: when it is not there or cannot be read.
    """
    if isinstance(place, Path):
        try:
            return place.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if (held := container_of(place)) is None:
                raise
    elif (held := container_of(place)) is None:
        return place.read_bytes()
    container, name = held
    if container.suffix.lower() == ".tar":
        span = span_of(container, name)
        if isinstance(container, Remote):
            content = container.read_range(*span)
        else:
            with open(container, "rb") as file:
                file.seek(span.start)
                content = file.read(span.size)
        if len(content) != span.size:
            raise PlaceError(f"{place} is cut off: {len(content)} of {span.size} bytes are there")
        return content
    return _cell(container, name)


def read_head(place: Place, length: int) -> bytes:
    """The first ``length`` bytes of a picture, or all where it lies in another file.

    Raises:
        OSError: as ``read_bytes``.
    """
    if isinstance(place, Path) and place.is_file():
        with open(place, "rb") as file:
            return file.read(length)
    if isinstance(place, Remote) and container_of(place) is None:
        return place.read_range(0, length)
    return read_bytes(place)


def state_of(container: Place) -> tuple[int, int, int]:
    """Size, time of writing in nanoseconds, and a number that another content has not, of a file or object.

    Raises:
        OSError: when it is not there.
    """
    if isinstance(container, Remote):
        return _remote_state(container, int(time.monotonic() / _FRESH))
    if container.is_dir():
        newest = max((file.stat() for file in (container / "_versions").iterdir()), key=lambda s: s.st_mtime_ns)
        return newest.st_size, newest.st_mtime_ns, newest.st_ino
    state = container.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=4096)
def _remote_state(container: Remote, period: int) -> tuple[int, int, int]:
    """Asked once a period, not for each of the pictures in it."""
    if container.suffix.lower() != ".lance":
        return of_object(container.state())
    # A table is a folder; the newest of its versions tells of a change.
    versions = [state for _, state in (container / "_versions").walk()]
    if not versions:
        raise NoObjectError(f"{container} does not exist")
    return of_object(max(versions, key=lambda state: state.modified))


def of_object(state: ObjectState) -> tuple[int, int, int]:
    """The same of an object: its content tag stands for the file's number."""
    return state.size, int(state.modified.timestamp()) * 10**9, number_of(state.etag or str(state.modified))


def number_of(text: str) -> int:
    """A text as a number of 63 bits, which another text has not."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def prepare(container: Place) -> None:
    """Learn once what reading each of the pictures in an archive or a table asks for.

    Raises:
        OSError: when it cannot be read.
    """
    if container.suffix.lower() == ".tar":
        _spans_of(container)
    else:
        _opened_table(container, state_of(container))


def span_of(archive: Place, name: str) -> Span:
    """Where a member of an archive lies.

    Raises:
        NoObjectError: when the archive has no such member.
        OSError: when it cannot be read.
    """
    spans = _spans_of(archive)
    if name not in spans:
        raise NoObjectError(f"{archive} has no member {name!r}")
    return spans[name]


def _spans_of(archive: Place) -> dict[str, Span]:
    """The files in an archive, in its order, and where each lies; known from then on while it does not change."""
    return _spans(archive, state_of(archive))


@lru_cache(maxsize=256)
def _spans(archive: Place, state: tuple[int, int, int]) -> dict[str, Span]:
    known = cache_folder() / "members" / f"{number_of(f'{archive}|{state}'):016x}.json"
    if isinstance(archive, Remote) and known.is_file():
        return {name: Span(*span) for name, span in read_json(known).items()}
    spans = {name: span for name, span, _ in scan_archive(archive)}
    if isinstance(archive, Remote):
        write_json(known, spans)
    return spans


def scan_archive(archive: Place, texts: tuple[str, ...] = ()) -> Iterator[tuple[str, Span, bytes | None]]:
    """Every file in an archive, in its order: name, place, and content where its suffix is among ``texts``.

    Raises:
        PlaceError: when it is no plain tar, or ends too early.
        OSError: when it cannot be read.
    """
    with archive.open() if isinstance(archive, Remote) else open(archive, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if not member.isfile() or member.issparse():
                        continue
                    wanted = member.name.lower().endswith(texts) if texts else False
                    reader = tar.extractfile(member) if wanted else None
                    name = member.name.removeprefix("./")
                    yield name, Span(member.offset_data, member.size), reader.read() if reader else None
        except tarfile.TarError as error:
            raise PlaceError(f"{archive} is no whole, uncompressed tar: {error}") from error


def picture_column(schema: pa.Schema) -> str | None:
    """The column of a table that holds pictures as bytes; None where there is none.

    ``datasets`` of Hugging Face keep a struct of ``bytes`` and ``path``; elsewhere it is a column of bytes.
    """
    found = [field.name for field in schema if _is_bytes(field.type)]
    named = [name for name in found if name.strip().casefold() in _PICTURE_COLUMNS]
    return next(iter(named), found[0] if len(found) == 1 else None)


def _is_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(n).name == "bytes" and _is_bytes(kind.field(n).type) for n in range(kind.num_fields))
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary))


def parquet_file(place: Place) -> Any:
    """An open Parquet file, of which only what is asked for is read.

    Raises:
        OSError: when it is not there or no Parquet.
    """
    import pyarrow.parquet as pa_parquet

    if not isinstance(place, Remote):
        return pa_parquet.ParquetFile(place)
    return pa_parquet.ParquetFile(pa.PythonFile(place.open(0), mode="r"), pre_buffer=True)


def lance_table(place: Place) -> Any:
    """An open Lance table, wherever it lies; Lance reads object storage by itself.

    Raises:
        PlaceError: when it cannot be opened.
    """
    import lance

    from crosslens.support.remote import lance_options

    try:
        options = lance_options(place.scheme) if isinstance(place, Remote) else None
        return lance.dataset(str(place), storage_options=options)
    except Exception as error:
        # Lance raises ValueError, OSError, RuntimeError and its own.
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise PlaceError(f"{place} cannot be opened as a Lance table: {first}") from error


def _cell(table: Place, name: str) -> bytes:
    if not name.isdigit():
        raise NoObjectError(f"{table} has no row {name!r}; its pictures are called by the numbers of their rows")
    opened = _opened_table(table, state_of(table))
    try:
        content = opened.cell(int(name))
    except CrosslensError:
        raise
    except Exception as error:
        raise PlaceError(f"{table}: row {name} cannot be read: {error}") from error
    if content is None:
        raise NoObjectError(f"{table}: row {name} holds no picture")
    return content


@lru_cache(maxsize=16)
def _opened_table(table: Place, state: tuple[int, int, int]) -> _ParquetCells | _LanceCells:
    return _LanceCells(table) if table.suffix.lower() == ".lance" else _ParquetCells(table)


class _ParquetCells:
    """The pictures of a Parquet file: a row group is read at once, and the last few are held."""

    def __init__(self, table: Place) -> None:
        self._file, self._lock = parquet_file(table), threading.Lock()
        self._column = _required(table, self._file.schema_arrow)
        self._starts = [0]
        for group in range(self._file.num_row_groups):
            self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def cell(self, row: int) -> bytes | None:
        import bisect

        if row >= self._starts[-1]:
            raise NoObjectError(f"there is no row {row}; there are {self._starts[-1]}")
        group = bisect.bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._held:
                self._held[group] = self._file.read_row_group(group, columns=[self._column]).column(self._column)
                while len(self._held) > _GROUPS:
                    self._held.popitem(last=False)
            self._held.move_to_end(group)
            held = self._held[group]
        return _content(held[row - self._starts[group]].as_py())


class _LanceCells:
    """The pictures of a Lance table, each read alone."""

    def __init__(self, table: Place) -> None:
        self._table = lance_table(table)
        self._column = _required(table, self._table.schema)

    def cell(self, row: int) -> bytes | None:
        return _content(self._table.take([row], columns=[self._column]).column(self._column)[0].as_py())


def _required(table: Place, schema: pa.Schema) -> str:
    column = picture_column(schema)
    if column is None:
        raise PlaceError(f"{table} has no column of pictures; call it 'image'")
    return column


def _content(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value
