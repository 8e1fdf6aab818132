"""Rows of a feature folder that stay on disk and are read as they are asked for, whatever their number."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.support.addresses import Place
from crosslens.support.errors import FeatureError
from crosslens.support.file_stamp import FileStamp, stamp_of
from crosslens.support.local_copy import local_copy

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPEN = 64
"""Files that are held open at once."""


@dataclass(frozen=True)
class StoredFile:
    """A file of ``features (n, 1 + V, D)`` fp16, and the state in which its rows were found."""

    place: Place
    stamp: FileStamp


class StoredRows:
    """Features of N images on disk, 8 bytes an image in memory.

    Rows are read by place, not mapped: what is read stays in the system's cache and is none of this process's.

    Args:
        files: of the folder.
        file: of each image, its number among them ``(N,)``.
        row: of each image there ``(N,)``.
        held: vectors of an image in a file, 1 + V.
        views: how many of the V random views are read.
        dim: D.

    Attributes:
        shape: ``(N, 1 + views, D)``.
    """

    def __init__(
        self,
        files: Sequence[StoredFile],
        file: NDArray[np.int32],
        row: NDArray[np.int32],
        held: int,
        views: int,
        dim: int,
    ) -> None:
        self._files, self._file, self._row, self._held = tuple(files), file, row, held
        self.shape = (len(file), 1 + views, dim)
        self._open: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def where(self, mask: NDArray[np.bool_]) -> StoredRows:
        """The rows where ``mask (N,)`` is True."""
        own = (self._file[mask], self._row[mask])
        return StoredRows(self._files, *own, self._held, self.shape[1] - 1, self.shape[2])

    def load(self) -> NDArray[np.float16]:
        """All of them, ``(N, 1 + views, D)`` fp16."""
        images, views = np.arange(len(self)), np.arange(self.shape[1])
        rows = self.read(np.repeat(images, len(views)), np.tile(views, len(images)))
        return rows.reshape(self.shape)

    def read(self, index: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.float16]:
        """One view of each image asked for.

        Args:
            index: images ``(b,)``.
            view: of each, 0 is the centre ``(b,)``.

        Returns:
            ``(b, D)`` fp16.

        Raises:
            FeatureError: when a file is gone, cut off, or no longer the one whose rows were found.
        """
        result = np.empty((len(index), self.shape[2]), np.float16)
        files, places = self._file[index], self._row[index].astype(np.int64) * self._held + view
        size = result.itemsize * self.shape[2]
        with self._lock:
            # File after file and front to back, as a disk reads best.
            for position in np.lexsort((places, files)):
                descriptor, start = self._opened(int(files[position]))
                content = os.pread(descriptor, size, start + int(places[position]) * size)
                if len(content) < size:
                    raise _changed(self._files[files[position]].place, "was cut off")
                result[position] = np.frombuffer(content, np.float16)
        return result

    def read_ahead(self, start: int, end: int) -> None:
        """Ask the system to have the rows of images ``start .. end - 1`` at hand."""
        size = 2 * self._held * self.shape[2]
        with self._lock:
            for number in np.unique(self._file[start:end]):
                rows = self._row[start:end][self._file[start:end] == number]
                descriptor, first = self._opened(int(number))
                extent = (first + int(rows.min()) * size, (int(rows.max() - rows.min()) + 1) * size)
                with suppress(OSError, AttributeError):  # advice that not every system takes
                    os.posix_fadvise(descriptor, *extent, os.POSIX_FADV_WILLNEED)

    def _opened(self, number: int) -> tuple[int, int]:
        """A file's descriptor, and where its vectors begin; the one that was not used for longest is closed."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        file = self._files[number]
        try:
            if stamp_of(file.place) != file.stamp:
                raise _changed(file.place, "changed")
            descriptor = os.open(local_copy(file.place), os.O_RDONLY)
        except FileNotFoundError:
            raise _changed(file.place, "was removed") from None
        except OSError as error:
            raise FeatureError(f"{file.place} cannot be read: {error}") from error
        self._open[number] = (descriptor, _start_of(descriptor, file.place, (self._held, self.shape[2])))
        if len(self._open) > _OPEN:
            os.close(self._open.popitem(last=False)[1][0])
        return self._open[number]

    def __del__(self) -> None:
        for descriptor, _ in getattr(self, "_open", {}).values():
            with suppress(OSError):
                os.close(descriptor)


def stored_file(place: Place) -> StoredFile:
    """A file as it is now.

    Raises:
        FeatureError: when it is gone.
    """
    try:
        return StoredFile(place, stamp_of(place))
    except OSError as error:
        raise FeatureError(f"{place} cannot be read: {error}") from error


def _start_of(descriptor: int, place: Place, shape: tuple[int, ...]) -> int:
    """Where the vectors of an open safetensors file begin, whose header tells."""
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    try:
        head = json.loads(os.pread(descriptor, length, 8))["features"]
        start, end = head["data_offsets"]
        fits = head["dtype"] == "F16" and tuple(head["shape"][1:]) == shape
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        os.close(descriptor)
        raise FeatureError(f"{place} is damaged ({error}); run the same 'crosslens embed' again") from error
    if not fits or os.fstat(descriptor).st_size < 8 + length + end:
        os.close(descriptor)
        raise _changed(place, "was cut off or changed")
    return int(8 + length + start)


def _changed(place: Place | Path, what: str) -> FeatureError:
    return FeatureError(
        f"{place} {what} while its vectors were in use. Run the same 'crosslens embed' again, let nothing else"
        " write to that folder, and go on from the last checkpoint with --resume"
    )
