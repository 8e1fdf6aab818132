"""Unlabelled queries that an index keeps, so that probabilities of a match are calibrated on what will be asked.

    I/queries.safetensors    features (R, D) of the frozen backbone, vectors (R, d) of the index's encoder

The pictures themselves are not needed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.ops.calibration import LEAST
from crosslens.ops.sampling import drawn_rows
from crosslens.search.index.contents import Contents
from crosslens.support.errors import ConfigError, StoreError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        key: differs for other queries.
    """

    features: Array
    vectors: Array
    key: str


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
    from safetensors.numpy import save_file

    from crosslens.features.load import features_of
    from crosslens.features.of_encoder import features_of_encoder

    drawn = draw_images(queries, SAMPLE)
    features = features_of(drawn, contents.encoder.backbone, device=device).centre
    if len(features) < LEAST:
        raise ConfigError(f"{len(features)} queries tell too little; give at least {LEAST} images")
    seen = features_of_encoder(drawn, contents.encoder, device=device)
    vectors = contents.encoder.encode_features(seen.centre, seen.catalog.column("domain"))
    tensors = {"features": np.ascontiguousarray(features, np.float32), "vectors": np.ascontiguousarray(vectors)}
    with atomic_path(contents.place / QUERIES) as temporary:
        save_file(tensors, temporary, {"fingerprint": contents.fingerprint.digest})
    return len(features)


def read_queries(contents: Contents) -> KeptQueries | None:
    """The queries that an index keeps; None where it keeps none.

    Raises:
        StoreError: when they are damaged, or were embedded by another encoder.
    """
    from safetensors import SafetensorError, safe_open

    file = contents.folder / QUERIES
    if not file.is_file():
        return None
    try:
        key = str(file.stat().st_mtime_ns)
        with safe_open(file, "numpy") as held:
            made_by = (held.metadata() or {}).get("fingerprint")
            kept = KeptQueries(held.get_tensor("features"), held.get_tensor("vectors"), key)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{file} is damaged ({error}); delete it, or give the queries again") from error
    if made_by != contents.fingerprint.digest:
        raise StoreError(f"{file} was made by another encoder; delete it, or give the queries again")
    return kept


def keeps_queries(folder: Path) -> bool:
    """Whether the index in a folder keeps queries."""
    return (folder / QUERIES).is_file()


def draw_images(catalog: Catalog, most: int, seed: int = 0) -> Catalog:
    """At most ``most`` images of a catalog, drawn at random."""
    if len(catalog) <= most:
        return catalog
    return catalog.take(drawn_rows(len(catalog), most, seed).tolist())
