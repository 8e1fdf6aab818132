"""Unlabelled queries that an index keeps, so that probabilities of a match are calibrated on what will be asked.

    I/queries.safetensors    features (R, D) of the frozen backbone, vectors (R, d) of the index's encoder

The pictures themselves are not needed again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.backbones.fingerprint import Fingerprint
from crosslens.data.catalog import Catalog
from crosslens.ops.calibration import LEAST
from crosslens.ops.sampling import drawn_rows
from crosslens.search.index.contents import Contents
from crosslens.support.addresses import Place
from crosslens.support.errors import ConfigError, StoreError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder

    Array = NDArray[np.float32]

QUERIES = "queries.safetensors"
SAMPLE = 5000
"""Unlabelled queries, and items of an index, that a calibration looks at."""


@dataclass(frozen=True, eq=False)
class KeptQueries:
    """What is kept of R queries.

    Attributes:
        features: of the frozen backbone ``(R, D)``.
        vectors: of the index's encoder ``(R', d)``, unit rows.
        key: differs for other queries that are kept.
    """

    features: Array
    vectors: Array
    key: str = ""


def keep_queries(contents: Contents, queries: Catalog, device: str | None = None) -> int:
    """Keep queries with an index, in place of those that it kept before.

    Args:
        contents: of the index.
        queries: unlabelled images like those that will be asked with, with and without counterparts; beyond 5,000
            some are drawn at random.
        device: where to embed; None chooses.

    Returns:
        How many are kept.

    Raises:
        ConfigError: for fewer than 10 images.
        NothingEmbeddedError: when none can be embedded.
    """
    kept = embed_queries(queries, contents.encoder, device)
    write_queries(contents.place, kept, contents.fingerprint)
    return len(kept.features)


def embed_queries(queries: Catalog, encoder: Encoder, device: str | None = None) -> KeptQueries:
    """What an index of an encoder keeps of queries; see ``keep_queries``."""
    from crosslens.features.load import features_of
    from crosslens.features.of_encoder import features_of_encoder

    drawn = draw_images(queries, SAMPLE)
    features = features_of(drawn, encoder.backbone, device=device).centre
    if len(features) < LEAST:
        raise ConfigError(f"{len(features)} queries tell too little; give at least {LEAST} images")
    seen = features_of_encoder(drawn, encoder, device=device)
    vectors = encoder.encode_features(seen.centre, seen.catalog.column("domain"))
    return KeptQueries(np.ascontiguousarray(features, np.float32), np.ascontiguousarray(vectors))


def write_queries(folder: Place, kept: KeptQueries, fingerprint: Fingerprint) -> None:
    """Keep queries in the folder of an index, whose vectors have this fingerprint.

    Raises:
        CrosslensError: when they cannot be written.
    """
    from safetensors.numpy import save_file

    tensors = {"features": kept.features, "vectors": kept.vectors}
    with atomic_path(folder / QUERIES) as temporary:
        save_file(tensors, temporary, {"fingerprint": fingerprint.digest})


def read_queries(folder: Path, fingerprint: Fingerprint) -> KeptQueries | None:
    """The queries that the index in a folder keeps; None where it keeps none.

    Args:
        folder: of an index, or of a snapshot.
        fingerprint: of its vectors.

    Raises:
        StoreError: when they are damaged, or were embedded by another encoder.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / QUERIES
    if not file.is_file():
        return None
    try:
        key = str(file.stat().st_mtime_ns)
        with safe_open(file, "numpy") as held:
            made_by = (held.metadata() or {}).get("fingerprint")
            kept = KeptQueries(held.get_tensor("features"), held.get_tensor("vectors"), key)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{file} is damaged ({error}); delete it, or give the queries again") from error
    if made_by != fingerprint.digest or kept.vectors.ndim != 2 or kept.vectors.shape[1] != fingerprint.dim:
        raise StoreError(f"{file} was made by another encoder; delete it, or give the queries again")
    return kept


def keeps_queries(folder: Path) -> bool:
    """Whether the index in a folder keeps queries."""
    # Asked at every search, and three times as fast as by a ``Path``.
    return os.path.isfile(os.path.join(folder, QUERIES))


def draw_images(catalog: Catalog, most: int, seed: int = 0) -> Catalog:
    """At most ``most`` images of a catalog, drawn at random."""
    if len(catalog) <= most:
        return catalog
    return catalog.take(drawn_rows(len(catalog), most, seed).tolist())
