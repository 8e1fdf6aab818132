"""The files of a serving structure, and whether they are whole.

    I/serving/000003/manifest.json     what it was made from and of, sizes and checksums of the other files
    I/serving/000003/rows.safetensors  seq (M,) int64, rising; for inverted lists also list (M,) int32
    I/serving/000003/vectors.f32       M rows of d float32, mapped into memory
    I/serving/000003/lists.faiss       inverted lists, where there are some
    I/serving/000003/items.arrow       the items of the rows, mapped too; structures of older versions lack it
    I/serving/000003/whole.json        which version of the table has exactly these rows, written where one has

A structure is never changed: a new one is written beside it, all or nothing, under the next number. Of a table of
the version in ``whole.json`` nothing need be read.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import StoreError
from crosslens.support.files import read_json, remove

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
ROWS = "rows.safetensors"
VECTORS = "vectors.f32"
LISTS = "lists.faiss"
ITEMS = "items.arrow"
WHOLE = "whole.json"
BLOCK = 2**22
KEPT = 2
"""Structures kept: the newest, and the one before, which a reader may be about to open."""


class FileMark(BaseModel):
    """Size of a file in bytes and the CRC-32 of each of its blocks of 4 MiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    crc32: tuple[int, ...]


class Probe(BaseModel):
    """How many lists to look into when this share of the rows is allowed, and what that finds.

    ``items`` and ``others`` are the recall@10 measured: of queries that are items, and of queries away from them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    lists: int
    items: float
    others: float


class Manifest(BaseModel):
    """What a structure is.

    Attributes:
        format: of these files.
        kind: ``exact``, a matrix, or ``ivf``, inverted lists of 8-bit codes beside it.
        rows: M.
        dim: d.
        last_seq: rows of the table up to this seq are in it.
        table_version: the version of the table it was made from.
        lists: how many inverted lists.
        probes: by share of rows allowed, falling.
        seconds: it took to make.
        files: by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: Literal["exact", "ivf"]
    rows: int
    dim: int
    last_seq: int
    table_version: int
    lists: int = 0
    probes: tuple[Probe, ...] = ()
    seconds: float = 0.0
    files: dict[str, FileMark]


class Whole(BaseModel):
    """A version of a table that has exactly the rows of a structure; ``mark``: see ``LanceTable.mark``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    mark: str


def read_whole(folder: Path) -> Whole | None:
    """What a structure is known to be the whole of; None where nothing is known, or it cannot be read."""
    try:
        return Whole.model_validate(read_json(folder / WHOLE, StoreError))
    except (StoreError, ValidationError):
        return None


def mark(file: Path) -> FileMark:
    """Size and checksums of a file."""
    return FileMark(bytes=file.stat().st_size, crc32=tuple(zlib.crc32(block) for block in _blocks(file)))


def read_manifest(folder: Path) -> Manifest:
    """Read what a structure says of itself.

    Raises:
        StoreError: when the manifest is missing or damaged.
    """
    try:
        return Manifest.model_validate(read_json(folder / MANIFEST, StoreError))
    except ValidationError as error:
        raise StoreError(f"{folder / MANIFEST} is damaged: {error.errors()[0]['msg']}") from error


def check_files(folder: Path, manifest: Manifest, most: int) -> None:
    """Compare the files with their checksums.

    Args:
        folder: of the structure.
        manifest: of the structure.
        most: bytes read of all files together; where they hold more, evenly spread blocks of each are checked.

    Raises:
        StoreError: naming the first file that is missing, has another size, or other bytes.
    """
    share = min(1.0, most / max(1, sum(file.bytes for file in manifest.files.values())))
    for name, expected in manifest.files.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else -1
        if size != expected.bytes:
            raise StoreError(f"{file} has {size} bytes instead of {expected.bytes}")
        count = len(expected.crc32)
        checked = range(count) if share == 1 else np.linspace(0, count - 1, math.ceil(share * count)).astype(int)
        with open(file, "rb") as handle:
            for number in checked:
                handle.seek(int(number) * BLOCK)
                if zlib.crc32(handle.read(BLOCK)) != expected.crc32[number]:
                    raise StoreError(f"{file} holds other bytes than were written, in block {number}")


def numbers(serving: Path) -> list[int]:
    """The numbers of the structures that are there, newest first."""
    if not serving.is_dir():
        return []
    return sorted((int(entry.name) for entry in serving.iterdir() if entry.name.isdigit()), reverse=True)


def folder_of(serving: Path, number: int) -> Path:
    """Where the structure of a number lies."""
    return serving / f"{number:06d}"


def remove_old(serving: Path) -> int:
    """Remove structures that no reader opens any more, and what interrupted builds left; says how many."""
    if not serving.is_dir():
        return 0
    old = [folder_of(serving, number) for number in numbers(serving)[KEPT:]]
    left = [entry for entry in serving.iterdir() if entry.name.endswith((".tmp", ".old"))]
    for folder in (*old, *left):
        remove(folder)
    return len(old)


def map_vectors(file: Path, rows: int, dim: int, *, new: bool = False) -> NDArray[np.float32]:
    """A file of ``rows`` times ``dim`` float32 as an array in mapped memory.

    Raises:
        OSError: when the file is missing, too short, or there is no room for a new one.
    """
    if new:
        with open(file, "wb") as handle:
            # Without its blocks, writing to mapped memory on a full disk would kill the process.
            if rows:
                os.posix_fallocate(handle.fileno(), 0, rows * dim * 4)
    if not rows:
        return np.empty((0, dim), np.float32)
    return np.memmap(file, np.float32, "r+" if new else "r", shape=(rows, dim))


def read_ahead(file: Path) -> None:
    """Ask the system to bring a file into its cache, where it can, without waiting for it."""
    if hasattr(os, "posix_fadvise"):
        with open(file, "rb") as handle:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def write_items(file: Path, items: pa.Table) -> None:
    """Write M items of ``ITEM_SCHEMA`` to be mapped into memory, in as few batches as Arrow allows."""
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, ITEM_SCHEMA) as writer:
        writer.write_table(items.combine_chunks())


def map_items(file: Path, rows: int) -> pa.Table | None:
    """The items of a structure in mapped memory; None where it has none, or those of another version of crosslens.

    Raises:
        ValueError: when the file is damaged, or does not hold so many rows.
    """
    if not file.is_file():
        return None
    items = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    if items.schema != ITEM_SCHEMA:
        return None
    items.validate()
    if items.num_rows != rows:
        raise ValueError(f"{file} holds {items.num_rows} items instead of {rows}")
    return items


def _blocks(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as handle:
        while block := handle.read(BLOCK):
            yield block
