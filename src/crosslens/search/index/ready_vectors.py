"""Vectors that an encoder made elsewhere, read from a file and checked before they are indexed.

V.parquet        columns ``id`` and ``vector`` (lists of numbers)
V.npy            (N, d), and V.txt beside it with N ids, one a line
V.safetensors    the tensor ``vectors`` (N, d), and V.txt beside it
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pa_parquet

from crosslens.data.catalog import Catalog
from crosslens.search.index.unit_rows import find_faults, restore_unit_length
from crosslens.support.errors import CrosslensError, FeatureError, FingerprintError, ImageError
from crosslens.support.progress import note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder

    Array = NDArray[np.float32]

_TRIED = 4
"""Pictures that are embedded to see whether the encoder made the vectors."""
_ALIKE = 0.98
"""Least cosine of a picture's vector from elsewhere with the one that the encoder gives it here."""


def read_ready_vectors(file: Path, catalog: Catalog, encoder: Encoder, device: str | None = None) -> Array:
    """The vectors of the images of a catalog, in its order, brought to length 1.

    Args:
        file: see the module.
        catalog: N images.
        encoder: must have made them: it embeds a few of the pictures to see.
        device: where to embed these.

    Returns:
        ``(N, d)`` float32.

    Raises:
        FeatureError: when the file cannot be read, has other ids, another width, or vectors without a length.
        FingerprintError: when another encoder made them.
    """
    ids, vectors = _read(file)
    if vectors.ndim != 2 or len(ids) != len(vectors):
        raise FeatureError(f"{file}: {len(ids)} ids for vectors of the shape {vectors.shape}; it must be (N, d)")
    if vectors.shape[1] != encoder.dim:
        raise FeatureError(
            f"{file} holds vectors of {vectors.shape[1]} numbers, and {encoder.name} makes {encoder.dim}; name the"
            " encoder that made them with --encoder"
        )
    place = {image: row for row, image in enumerate(ids)}
    if len(place) < len(ids):
        twice = next(image for row, image in enumerate(ids) if place[image] != row)
        raise FeatureError(f"{file} has two vectors of {twice!r}")
    missing = [image for image in catalog.ids if image not in place]
    if missing:
        raise FeatureError(
            f"{file} has no vector of {len(missing)} of {len(catalog)} images, the first: {missing[0]!r}; ids are"
            f" paths from {catalog.root}, or those of a manifest"
        )
    if len(ids) > len(catalog):
        note(f"{file}: {len(ids) - len(catalog)} of {len(ids)} vectors are of other images")
    rows = np.asarray(vectors, np.float32)[[place[image] for image in catalog.ids]]
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise FeatureError(f"{file}: the vector of {catalog.ids[bad]!r} holds NaN or infinity")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if encoder.similarity.kind == "cosine":
        rows = rows / np.maximum(lengths, 1e-12)
    if faults := find_faults(rows):
        row, fault = next(iter(faults.items()))
        raise FeatureError(f"{file}: the vector of {catalog.ids[row]!r} {fault}")
    _require_made_by(encoder, file, catalog, rows, device)
    return restore_unit_length(rows)


def _read(file: Path) -> tuple[list[str], NDArray[np.floating]]:
    try:
        if file.suffix.lower() == ".parquet":
            table = pa_parquet.read_table(file, columns=["id", "vector"])
            ids = [str(image) for image in table.column("id").to_pylist()]
            return ids, np.array(table.column("vector").to_pylist(), np.float32)
        if file.suffix.lower() == ".npy":
            vectors = np.load(file, allow_pickle=False)
        elif file.suffix.lower() == ".safetensors":
            from safetensors import safe_open

            with safe_open(file, framework="numpy") as tensors:
                vectors = tensors.get_tensor("vectors")
        else:
            raise FeatureError(f"{file}: vectors come as .parquet, .npy or .safetensors")
        beside = file.with_suffix(".txt")
        if not beside.is_file():
            raise FeatureError(f"{file} does not say whose its vectors are; write the ids to {beside}, one a line")
        return beside.read_text("utf-8").splitlines(), vectors
    except CrosslensError:
        raise
    except Exception as error:
        # Arrow, numpy, safetensors and the disk raise kinds of their own.
        raise FeatureError(f"{file} cannot be read as vectors: {error}") from error


def _require_made_by(encoder: Encoder, file: Path, catalog: Catalog, rows: Array, device: str | None) -> None:
    tried = 0
    for row in np.linspace(0, len(rows) - 1, min(len(rows), 4 * _TRIED)).astype(int).tolist():
        try:
            domain = catalog.column("domain")[row]
            own = encoder.encode_images([catalog.paths[row]], domain, device=device)[0]
        except ImageError:
            continue
        cosine = float(own @ rows[row])
        if cosine < _ALIKE:
            raise FingerprintError(
                f"{file} was not made by {encoder.name}: its vector of {catalog.ids[row]!r} and the encoder's own"
                f" have a cosine of {cosine:.2f}; name the encoder that made it with --encoder"
            )
        tried += 1
        if tried == _TRIED:
            return
