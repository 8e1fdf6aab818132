"""The first index: exact, on disk, and never half-written.

    I/index.json            format, fingerprint, encoder, and which generation is current
    I/encoder/              a copy of the encoder, so that queries need nothing else
    I/generations/000001/   items.parquet (id, path, domain, label) and vectors.safetensors (N, d), row by row

A change writes a new generation beside the current one and then replaces ``index.json``, one small file. A
process killed at any moment leaves the old generation or the new one, whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crosslens.backbones.base import Fingerprint
from crosslens.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.errors import StoreError
from crosslens.evaluation.ranking import top_k_chunks
from crosslens.features.of_encoder import features_of_encoder
from crosslens.files import atomic_path, read_json, remove, write_json
from crosslens.similarity import Similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
_COLUMNS = ("id", "path", "domain", "label")


@dataclass(frozen=True)
class Hit:
    """One found item.

    Attributes:
        id: of the item.
        score: similarity with the query, in [-1, 1]: the cosine, or what ``Similarity`` says.
        path: where the image lay when it was indexed.
        domain: its domain.
        label: its class name, where known.
    """

    id: str
    score: float
    path: str
    domain: str
    label: str | None


class Index:
    """A collection of encoded images that one can search.

    Open one with ``Index.open``, make one with ``Index.build`` or ``Index.create``.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder = folder
        self._description = description
        self.fingerprint = Fingerprint.model_validate(description["fingerprint"])
        self.similarity = Similarity.model_validate(description.get("similarity", {}))

    @classmethod
    def create(cls, folder: Path, encoder: Encoder) -> Index:
        """Make an empty index for vectors of ``encoder``.

        Raises:
            StoreError: when there is one already, or the folder holds something else.
        """
        if (folder / "index.json").exists():
            raise StoreError(f"{folder} holds an index already; choose another folder or delete it first")
        if folder.is_dir() and any(e.name != "encoder" and not e.name.startswith(".") for e in folder.iterdir()):
            raise StoreError(f"{folder} is not empty and holds no index; choose another folder")
        encoder.save(folder / "encoder")
        description = {
            "format": FORMAT,
            "fingerprint": encoder.fingerprint.model_dump(mode="json"),
            "encoder": encoder.name,
            "similarity": encoder.similarity.model_dump(mode="json"),
            "generation": 0,
            "items": 0,
        }
        write_json(folder / "index.json", description)
        return cls(folder, description)

    @classmethod
    def open(cls, folder: str | Path) -> Index:
        """Open an existing index.

        Raises:
            StoreError: when it is none, is damaged, or of a newer crosslens.
        """
        path = Path(folder)
        if not (path / "index.json").is_file():
            raise StoreError(f"{path} holds no index; make one with 'crosslens index build ROOT --out {path}'")
        description = read_json(path / "index.json", StoreError)
        if int(description.get("format", 0)) > FORMAT:
            raise StoreError(f"{path} was written by a newer crosslens; upgrade to read it")
        try:
            return cls(path, description)
        except (KeyError, ValueError) as error:
            raise StoreError(f"{path}/index.json is damaged: {error}") from error

    @classmethod
    def build(
        cls, source: Catalog, encoder: Encoder, folder: str | Path, *, device: str | None = None
    ) -> tuple[Index, list[str]]:
        """Embed every image of a catalog and index it.

        Returns:
            The index, and one sentence for each image that was left out.

        Raises:
            StoreError: when the folder is in use.
            FeatureError: when no image can be embedded.
        """
        found = features_of_encoder(source, encoder, device=device)
        catalog = found.catalog
        domains = catalog.column("domain")
        vectors = encoder.encode_features(found.centre, domains)
        items = {
            "id": catalog.ids,
            "path": [str(path.resolve()) for path in catalog.paths],
            "domain": domains,
            "label": catalog.labels,
        }
        index = cls.create(Path(folder), encoder)
        index.upsert(pa.table(items, schema=_schema()), vectors, encoder.fingerprint)
        return index, [entry.reason for entry in found.skipped]

    def __len__(self) -> int:
        return int(self._description["items"])

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder whose vectors this index holds."""
        return Encoder.load(self.folder / "encoder")

    @cached_property
    def items(self) -> pa.Table:
        """The N items: id, path, domain, label.

        Raises:
            StoreError: when the file is missing or damaged.
        """
        if not len(self):
            return pa.table({name: [] for name in _COLUMNS}, schema=_schema())
        file = self._generation / "items.parquet"
        try:
            return pa_parquet.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(file, error) from error

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The N unit vectors ``(N, d)``.

        Raises:
            StoreError: when the file is missing or damaged.
        """
        if not len(self):
            return np.empty((0, self.fingerprint.dim), np.float32)
        file = self._generation / "vectors.safetensors"
        try:
            with safe_open(file, framework="numpy") as tensors:
                vectors: NDArray[np.float32] = tensors.get_tensor("vectors")
        except (OSError, SafetensorError) as error:
            raise self._damaged(file, error) from error
        if vectors.shape != (len(self), self.fingerprint.dim):
            raise self._damaged(file, f"{vectors.shape} vectors for {len(self)} items")
        return vectors

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {image: row for row, image in enumerate(self.items.column("id").to_pylist())}

    def upsert(self, items: pa.Table, vectors: NDArray[np.float32], fingerprint: Fingerprint) -> None:
        """Add items, or replace those whose id is here already.

        Args:
            items: n rows of id, path, domain, label; ids distinct.
            vectors: ``(n, d)`` unit rows.
            fingerprint: of the encoder that made them.

        Raises:
            FingerprintError: for vectors of another encoder.
            StoreError: for wrong shapes, values that are not finite, or a second writer.
        """
        self.fingerprint.require(fingerprint, "what you add")
        if vectors.shape != (items.num_rows, self.fingerprint.dim):
            raise StoreError(f"{items.num_rows} items need vectors ({items.num_rows}, {self.fingerprint.dim})")
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors).all(1)).sum())
            raise StoreError(f"{bad} of {len(vectors)} vectors hold NaN or infinity; nothing was added")
        ids = items.column("id").to_pylist()
        if len(set(ids)) != len(ids):
            raise StoreError("the items to add repeat an id; nothing was added")
        with self._writing():
            keep = ~np.isin(np.array(list(self._rows), dtype=object), np.array(ids, dtype=object))
            self._commit(
                pa.concat_tables([self.items.filter(pa.array(keep)), items.select(_COLUMNS).cast(_schema())]),
                np.concatenate([self.vectors[keep], vectors.astype(np.float32)]),
            )

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items by id; unknown ids are passed over.

        Returns:
            How many were deleted.

        Raises:
            StoreError: for a second writer.
        """
        with self._writing():
            drop = set(ids)
            keep = np.array([image not in drop for image in self._rows], dtype=bool)
            removed = int((~keep).sum())
            if removed:
                self._commit(self.items.filter(pa.array(keep)), self.vectors[keep])
            return removed

    def search(self, queries: NDArray[np.float32], k: int = 10) -> list[list[Hit]]:
        """The k most similar items of each query, best first; ties in the order of the index.

        Args:
            queries: ``(Q, d)`` unit rows of this index's encoder.
            k: at most this many; fewer only when the index holds fewer.

        Raises:
            StoreError: for another length of vectors or k < 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.fingerprint.dim:
            raise StoreError(f"queries must be (Q, {self.fingerprint.dim}), not {queries.shape}")
        if k < 1:
            raise StoreError(f"k must be at least 1, not {k}")
        if not len(self) or not len(queries):
            return [[] for _ in queries]
        hits: list[list[Hit]] = []
        queries = self.similarity.as_queries(queries)
        for _, order, scores in top_k_chunks(queries, self.vectors, min(k, len(self))):
            for rows, values in zip(order.tolist(), scores.tolist(), strict=True):
                hits.append([self._hit(row, value) for row, value in zip(rows, values, strict=True)])
        return hits

    def get(self, image: str) -> tuple[Hit, NDArray[np.float32]]:
        """One item by id, with its vector ``(d,)``; its score is 1.

        Raises:
            StoreError: when there is no such id.
        """
        if image not in self._rows:
            raise StoreError(f"there is no item {image!r} in {self.folder}")
        row = self._rows[image]
        return self._hit(row, 1.0), self.vectors[row]

    def stats(self) -> dict[str, Any]:
        """Size, encoder and domains, as plain values."""
        domains = self.items.column("domain").value_counts().to_pylist()
        size = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        return {
            "items": len(self),
            "dim": self.fingerprint.dim,
            "encoder": self._description["encoder"],
            "fingerprint": self.fingerprint.digest,
            "domains": {entry["values"]: entry["counts"] for entry in domains},
            "bytes": size,
            "text_queries": self.encoder.has_text,
        }

    @property
    def _generation(self) -> Path:
        return self.folder / "generations" / f"{self._description['generation']:06d}"

    def _hit(self, row: int, score: float) -> Hit:
        values = {name: self.items.column(name)[row].as_py() for name in _COLUMNS}
        return Hit(score=float(score), **values)

    def _writing(self) -> _Writing:
        return _Writing(self)

    def _refresh(self) -> None:
        """Take over what another process committed meanwhile."""
        self._description = read_json(self.folder / "index.json", StoreError)
        for name in ("items", "vectors", "_rows"):
            self.__dict__.pop(name, None)

    def _commit(self, items: pa.Table, vectors: NDArray[np.float32]) -> None:
        number = int(self._description["generation"]) + 1
        target = self.folder / "generations" / f"{number:06d}"
        # A generation that was never made current is left over from a killed process.
        remove(target)
        with atomic_path(target) as temporary:
            temporary.mkdir(parents=True)
            pa_parquet.write_table(items, temporary / "items.parquet")
            save_file({"vectors": np.ascontiguousarray(vectors)}, temporary / "vectors.safetensors")
        write_json(self.folder / "index.json", self._description | {"generation": number, "items": items.num_rows})
        self._refresh()
        for old in (self.folder / "generations").iterdir():
            if old.name != target.name:
                remove(old)

    def _damaged(self, file: Path, error: object) -> StoreError:
        return StoreError(f"{file} is damaged ({error}); build the index again with 'crosslens index build'")


class _Writing:
    """One writer at a time, on the newest generation."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = FileLock(index.folder / ".lock", timeout=10)

    def __enter__(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise StoreError(
                f"another process is writing to {self._index.folder}; try again when it is done"
            ) from None
        self._index._refresh()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


def _schema() -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in _COLUMNS])
