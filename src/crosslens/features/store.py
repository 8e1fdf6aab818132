"""The feature folder: shards of fp16 vectors with done-marks, readable without the code that wrote them.

    F/features.json                what the vectors are: fingerprint, views, augmentation, seed
    F/shards/000000.safetensors    ``features (n, 1 + V, D)`` fp16; row 0 is the centre view, then V random views
    F/shards/000000.json           the done-mark: n ids, n stamps (path, state, digest), what was skipped and why
    F/parts/                       only while the folder is made in parts; see ``crosslens.features.parts``

A shard counts only once its done-mark exists, so a killed job loses at most one shard. Where an id occurs in two
shards the later one holds; that is how changed images are replaced. A row, and a failure, speaks for
the image of its stamp alone: readers compare the stamp with the file as it is now
(``crosslens.support.file_stamp``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crosslens.backbones.base import Backbone
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.features.stored import StoredRows, stored_file
from crosslens.images.augment import Augmentation
from crosslens.support.addresses import Place
from crosslens.support.errors import FeatureError
from crosslens.support.files import atomic_path, read_json, remove, require_known_format, write_json
from crosslens.support.local_copy import local_copy
from crosslens.support.progress import progress
from crosslens.support.reading import read_ahead
from crosslens.support.remote import ExistingError, NoObjectError, PlaceError, Remote

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ids: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray
"""Some ids; a column of them is taken as it is."""

FORMAT = 1
PLAN = Path("parts", "plan.json")
"""In a folder whose parts are not joined yet, how they were cut; see ``crosslens.features.parts``."""
_FP16_MAX = 65504.0
_AT_ONCE = 1 << 16


class FeatureConfig(BaseModel):
    """What the vectors of a folder are.

    Attributes:
        fingerprint: the backbone and its preprocessing.
        views: V, random views beside the centre view.
        augmentation: how random views are drawn; None without views.
        seed: of the random views.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    fingerprint: Fingerprint
    views: int = Field(0, ge=0)
    augmentation: Augmentation | None = None
    seed: int = 0

    @classmethod
    def of(
        cls, backbone: Backbone, views: int = 0, augmentation: Augmentation | None = None, seed: int = 0
    ) -> FeatureConfig:
        """What a backbone's vectors are; without views neither their augmentation nor their seed counts."""
        return cls(
            fingerprint=backbone.fingerprint,
            views=views,
            augmentation=(augmentation or Augmentation()) if views else None,
            seed=seed if views else 0,
        )


@dataclass(frozen=True)
class Skipped:
    """An image without features, and why; the stamp tells whether it changed since."""

    id: str
    path: str
    reason: str
    stamp: str

    @property
    def told(self) -> str:
        """The image and the reason, which may begin with the image's name."""
        return f"{self.path}: {self.reason.removeprefix(self.path).lstrip(' :')}"


@dataclass(frozen=True)
class _Shard:
    """Ids and stamps are Arrow's: a tenth of what they take as Python's, and outside its heap."""

    file: Place
    ids: pa.StringArray
    stamps: pa.StringArray
    skipped: list[Skipped]


class FeatureStore:
    """Read access to a feature folder, and the one way to add a shard to it.

    A row has a *place*: how many rows stand before it, shard after shard.
    """

    def __init__(self, folder: Place, config: FeatureConfig, shards: list[_Shard], damaged: list[Place]) -> None:
        self.folder = folder
        self.config = config
        self.damaged = damaged
        self._shards: list[_Shard] = []
        self._failures: dict[str, Skipped] = {}
        for shard in shards:
            self._take(shard)

    @classmethod
    def create(cls, folder: Place, config: FeatureConfig) -> FeatureStore:
        """Open ``folder``, made when missing; an existing one must hold this very configuration.

        Raises:
            FingerprintError: when it holds vectors of another backbone.
            FeatureError: when it holds other views, or cannot be read.
        """
        if not (folder / "features.json").exists():
            write_json(folder / "features.json", config.model_dump(mode="json"))
        store = cls.open(folder)
        store.config.fingerprint.require(config.fingerprint, f"the feature folder {folder}")
        if store.config != config:
            raise FeatureError(
                f"{folder} holds {store.config.views} views of seed {store.config.seed}, not"
                f" {config.views} of seed {config.seed} with this augmentation; choose another folder"
            )
        return store

    @classmethod
    def open(cls, folder: Place) -> FeatureStore:
        """Open an existing feature folder.

        Raises:
            FeatureError: when it is no feature folder, is of a newer crosslens, or its description is damaged.
        """
        if not (folder / "features.json").is_file():
            raise FeatureError(
                f"{folder} is no feature folder; make one with 'crosslens embed ROOT --out {folder}'"
            )
        description = read_json(folder / "features.json", FeatureError)
        require_known_format(description, folder, FORMAT, FeatureError)
        try:
            config = FeatureConfig.model_validate(description)
        except ValidationError as error:
            raise FeatureError(f"{folder}/features.json is damaged: {error}") from error
        shards, damaged = [], []
        marks: list[Place] = sorted((folder / "shards").glob("*.json"), key=str)
        for mark, shard in _read_shards(marks, config):
            if shard is None:
                damaged.append(mark)
            else:
                shards.append(shard)
        return cls(folder, config, shards, damaged)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image: str) -> bool:
        return bool(self.locate([image])[0] >= 0)

    @property
    def ids(self) -> pa.ChunkedArray:
        """The images that have features, each once."""
        return pc.unique(pa.chunked_array([shard.ids for shard in self._shards], pa.string()))

    def locate(self, ids: Ids) -> NDArray[np.int64]:
        """The places ``(N,)`` of N images' rows; -1 for one that has none."""
        # The first of several is found, and the last shard holds.
        known = pa.chunked_array([shard.ids for shard in reversed(self._shards)], pa.string())
        found = pc.fill_null(pc.index_in(_as_column(ids), value_set=known), -1).to_numpy()
        starts, count = self._starts(), len(self._shards)
        from_end = starts[-1] - starts[::-1]
        places = np.full(len(found), -1, np.int64)
        for some in (slice(start, start + _AT_ONCE) for start in range(0, len(found), _AT_ONCE)):
            nth = np.searchsorted(from_end, found[some], side="right")
            places[some] = np.where(nth > 0, starts[count - nth] + found[some] - from_end[nth - 1], -1)
        return places

    def stamps(self, places: NDArray[np.int64]) -> list[str | None]:
        """The stamps (path, state, digest) that N images had when they were embedded; None where a place is -1."""
        stamps: list[str | None] = [None] * len(places)
        shards, rows = self._split(places)
        for number in np.unique(shards[places >= 0]):
            chosen = np.flatnonzero((shards == number) & (places >= 0))
            told = self._shards[number].stamps.take(pa.array(rows[chosen])).to_pylist()
            for position, stamp in zip(chosen.tolist(), told, strict=True):
                stamps[position] = stamp
        return stamps

    def stamp(self, image: str) -> str | None:
        """The stamp of one image; None when it is not here."""
        return self.stamps(self.locate([image]))[0]

    def _starts(self) -> NDArray[np.int64]:
        """The place of each shard's first row, and how many rows there are."""
        return np.cumsum([0, *(len(shard.ids) for shard in self._shards)], dtype=np.int64)

    def _split(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and row there of each place that is one."""
        starts = self._starts()
        shards = np.searchsorted(starts, places, side="right") - 1
        return shards, places - starts[shards]

    def failure(self, image: str) -> Skipped | None:
        """The last time an image could not be embedded, with the stamp it had then; None when it always could."""
        return self._failures.get(image)

    @property
    def skipped(self) -> list[Skipped]:
        """The failures of images that have no features here at all."""
        found = self.locate(list(self._failures))
        return [entry for entry, place in zip(self._failures.values(), found, strict=True) if place < 0]

    def gather(self, ids: Ids, views: int | None = None) -> NDArray[np.float16]:
        """The features of ``ids`` in that order.

        Args:
            ids: N ids.
            views: how many random views to read beside the centre; all V by default.

        Returns:
            ``(N, 1 + views, D)`` fp16.

        Raises:
            FeatureError: naming an id that is not here, or a damaged shard.
        """
        self._require_whole()
        count = self._views_wanted(views) + 1
        result = np.empty((len(ids), count, self.config.fingerprint.dim), dtype=np.float16)
        shards, rows = self._places(ids)
        for number in np.unique(shards):
            chosen = np.flatnonzero(shards == number)
            with safe_open(local_copy(self._shards[number].file), framework="numpy") as tensors:
                part = tensors.get_slice("features")[:, :count]
            result[chosen] = part[rows[chosen]]
        return result

    def stored(self, ids: Ids, views: int | None = None) -> StoredRows:
        """The features of ``ids`` in that order, left on disk; arguments and errors as of ``gather``."""
        self._require_whole()
        count = self._views_wanted(views)
        shards, rows = self._places(ids)
        used = np.unique(shards)
        files = [stored_file(self._shards[number].file) for number in used]
        numbers = np.searchsorted(used, shards).astype(np.int32)
        held, dim = 1 + self.config.views, self.config.fingerprint.dim
        return StoredRows(files, numbers, rows.astype(np.int32), held, count, dim)

    def _require_whole(self) -> None:
        if self.damaged:
            raise FeatureError(
                f"{self.damaged[0]} and its .safetensors do not fit together ({len(self.damaged)} damaged shards);"
                f" run the same 'crosslens embed' again to make them anew"
            )

    def _views_wanted(self, views: int | None) -> int:
        if views is not None and views > self.config.views:
            raise FeatureError(
                f"{self.folder} holds {self.config.views} views an image, not {views}; make it with"
                f" 'crosslens embed --views {views}' in a new folder"
            )
        return self.config.views if views is None else views

    def _places(self, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and row there of each image.

        Raises:
            FeatureError: naming the first that is not here.
        """
        places = self.locate(ids)
        if len(lost := np.flatnonzero(places < 0)):
            image = _as_column(ids)[int(lost[0])].as_py()
            raise FeatureError(f"{self.folder} has no features of {image!r}; run 'crosslens embed' again")
        return self._split(places)

    @property
    def next_number(self) -> int:
        """The number of the shard that comes after all others."""
        # In object storage vectors without a mark are left alone: another machine may be about to write it.
        marks = (self.folder / "shards").glob("*" if isinstance(self.folder, Remote) else "*.json")
        return max((int(mark.stem) for mark in marks if re.fullmatch(r"\d+", mark.stem)), default=-1) + 1

    def add_shard(
        self,
        ids: list[str],
        stamps: list[str],
        features: NDArray[np.floating],
        skipped: list[Skipped],
        *,
        number: int | None = None,
    ) -> None:
        """Append one shard durably: first the vectors, then the done-mark.

        Args:
            ids: n ids.
            stamps: n stamps.
            features: ``(n, 1 + V, D)``.
            skipped: images tried in this shard that failed.
            number: of the shard, which there is none of; by default the next one.

        Raises:
            FeatureError: when a value does not fit fp16.
            CrosslensError: when the disk is full; earlier shards stay as they were.
        """
        if features.size and not float(np.abs(features).max()) <= _FP16_MAX:
            raise FeatureError("a feature is larger than fp16 can hold; this backbone's features need scaling")
        number = self.next_number if number is None else number
        file = self.folder / "shards" / f"{number:06d}.safetensors"
        try:
            with atomic_path(file, new=True) as temporary:
                save_file({"features": features.astype(np.float16)}, temporary)
        except ExistingError:
            raise FeatureError(
                f"another machine is writing to {self.folder}; what it wrote stays. Run again when it is done,"
                " or give each machine a folder of its own"
            ) from None
        mark = {"ids": ids, "stamps": stamps, "skipped": [vars(entry) for entry in skipped]}
        write_json(file.with_suffix(".json"), mark)
        self._take(_Shard(file, pa.array(ids, pa.string()), pa.array(stamps, pa.string()), skipped))

    def join(self, others: Sequence[Place]) -> int:
        """Take the shards of other feature folders in, such as those of several machines.

        Vectors stay as they were written. Where an id is in several folders, the last one holds.

        Args:
            others: folders of the same backbone and views.

        Returns:
            How many images they have features of.

        Raises:
            FingerprintError: when one holds vectors of another backbone.
            FeatureError: when one is no feature folder, is damaged, or holds other views.
        """
        stores = [FeatureStore.open(folder) for folder in others]
        for other in stores:
            self.config.fingerprint.require(other.config.fingerprint, f"the feature folder {other.folder}")
            if other.config != self.config:
                raise FeatureError(
                    f"{other.folder} holds other random views than {self.folder}; they cannot be joined"
                )
            if other.damaged:
                raise FeatureError(f"{other.damaged[0]} is damaged; run the 'crosslens embed' that made it again")
        shards = [shard for other in stores for shard in other._shards]
        lacking = self._lacking(shards)
        with progress(len(shards), "joining shards") as advance:
            for shard, lacks in zip(shards, lacking, strict=True):
                if lacks:
                    with safe_open(local_copy(shard.file), framework="numpy") as tensors:
                        features = tensors.get_tensor("features")
                    self.add_shard(shard.ids.to_pylist(), shard.stamps.to_pylist(), features, shard.skipped)
                advance()
        return sum(len(other) for other in stores)

    def _lacking(self, shards: Sequence[_Shard]) -> list[bool]:
        """Which shards of other folders have a row, or failures alone, that are not here with the same stamps."""
        places = self.locate(pa.chunked_array([shard.ids for shard in shards], pa.string()))
        ends = np.cumsum([len(shard.ids) for shard in shards], dtype=np.int64)
        own = np.split(places, ends[:-1]) if shards else []
        return [
            not len(shard.ids) or self.stamps(found) != shard.stamps.to_pylist()
            for shard, found in zip(shards, own, strict=True)
        ]

    def drop_damaged(self) -> int:
        """Delete shards whose parts do not fit together, so that their images are embedded again; how many."""
        for mark in self.damaged:
            remove(mark)
            remove(mark.with_suffix(".safetensors"))
        count, self.damaged = len(self.damaged), []
        return count

    def _take(self, shard: _Shard) -> None:
        self._failures.update((entry.id, entry) for entry in shard.skipped)
        self._shards.append(shard)


def _read_shards(marks: Sequence[Place], config: FeatureConfig) -> Iterator[tuple[Place, _Shard | None]]:
    """Each mark with its shard: many at once in object storage; on a disk one, whose names Python holds."""
    here = [mark for mark in marks if isinstance(mark, Path)]
    yield from ((mark, _read_shard(mark, config)) for mark in here)
    away = [mark for mark in marks if isinstance(mark, Remote)]
    yield from ((mark, read.result()) for mark, read in read_ahead(lambda mark: _read_shard(mark, config), away))


def _read_shard(mark: Place, config: FeatureConfig) -> _Shard | None:
    file = mark.with_suffix(".safetensors")
    try:
        content = read_json(mark, FeatureError)
        shard = _Shard(
            file,
            pa.array(content["ids"], pa.string()),
            pa.array(content["stamps"], pa.string()),
            [Skipped(**entry) for entry in content["skipped"]],
        )
        shape = _shape_of(file)
    except NoObjectError:
        return None
    except PlaceError:
        # That it cannot be asked for says nothing of it; a damaged one would be dropped.
        raise
    except (FeatureError, KeyError, TypeError, ValueError, OSError, SafetensorError):
        return None
    expected = (len(shard.ids), 1 + config.views, config.fingerprint.dim)
    return shard if shape == expected and len(shard.stamps) == len(shard.ids) else None


def _shape_of(file: Place) -> tuple[int, ...]:
    """The shape of a shard's features; of one in object storage its head alone is fetched."""
    if isinstance(file, Remote):
        length = int.from_bytes(file.read_range(0, 8), "little")
        return tuple(json.loads(file.read_range(8, length))["features"]["shape"])
    with safe_open(file, framework="numpy") as tensors:
        return tuple(tensors.get_slice("features").get_shape())


def _as_column(ids: Ids) -> pa.Array | pa.ChunkedArray:
    return ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
