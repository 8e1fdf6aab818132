"""A version of an index as two plain files that any tool reads."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crosslens.search.stores.base import ITEM_SCHEMA, as_items
from crosslens.support.addresses import Place
from crosslens.support.errors import StoreError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITEMS = "items.parquet"
VECTORS = "vectors.safetensors"


def write_pair(folder: Path, items: pa.Table, vectors: NDArray[np.float32]) -> None:
    """Write N items and their vectors ``(N, d)`` as a new folder, all or nothing.

    Raises:
        CrosslensError: when the disk is full or the folder cannot be written.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        pa_parquet.write_table(items, temporary / ITEMS)
        save_tensors({"vectors": np.ascontiguousarray(vectors, np.float32)}, temporary / VECTORS)


def save_tensors(tensors: dict[str, NDArray[Any]], file: Path) -> None:
    """Write arrays as safetensors.

    Raises:
        OSError: when the disk is full.
    """
    try:
        save_file(tensors, file)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error


def read_pair(folder: Path, dim: int) -> tuple[pa.Table, NDArray[np.float32]]:
    """Read what ``write_pair`` wrote: N items and their vectors ``(N, d)``.

    Raises:
        FileNotFoundError: when a file is missing.
        StoreError: when one is damaged, or the two do not fit.
    """
    try:
        items = as_items(pa_parquet.read_table(folder / ITEMS))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, StoreError) as error:
        raise damaged(folder / ITEMS, error) from error
    try:
        with safe_open(folder / VECTORS, framework="numpy") as tensors:
            vectors: NDArray[np.float32] = tensors.get_tensor("vectors")
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError) as error:
        raise damaged(folder / VECTORS, error) from error
    if vectors.shape != (items.num_rows, dim) or vectors.dtype != np.float32:
        raise damaged(folder / VECTORS, f"{vectors.shape} vectors for {items.num_rows} items of {dim} numbers")
    return items, vectors


def gather(
    batches: Iterator[tuple[pa.Table, NDArray[np.float32] | None]], dim: int
) -> tuple[pa.Table, NDArray[np.float32]]:
    """The batches of a scan with vectors as one table of N items and one array ``(N, d)``."""
    tables, arrays = [ITEM_SCHEMA.empty_table()], [np.empty((0, dim), np.float32)]
    for table, vectors in batches:
        assert vectors is not None
        tables.append(table)
        arrays.append(vectors)
    return pa.concat_tables(tables), np.concatenate(arrays)


def damaged(file: Place, error: object) -> StoreError:
    """The error of a file that cannot be read."""
    return StoreError(
        f"{file} is damaged ({error}); restore a copy of it, or build the index again with 'crosslens index build'"
    )
