"""Queries made of pictures, words and indexed items, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.catalog import Catalog
from crosslens.errors import ConfigError, FeatureError
from crosslens.features.load import features_of
from crosslens.progress import note
from crosslens.search.filters import Filter
from crosslens.search.index import Hit, Index

if TYPE_CHECKING:
    from numpy.typing import NDArray


def query_vector(
    index: Index,
    *,
    images: Sequence[Path | bytes] = (),
    texts: Sequence[str] = (),
    like: Sequence[str] = (),
    weights: Sequence[float] = (),
    domain: str | None = None,
) -> NDArray[np.float32]:
    """One unit vector ``(d,)`` for a mix of queries: the weighted sum of their unit vectors.

    Args:
        index: whose encoder understands the queries.
        images: pictures.
        texts: words; only where the index's encoder shares its space with text.
        like: ids of indexed items.
        weights: one a query, in the order images, texts, like; 1 each by default. Negative ones push away.
        domain: of the pictures, where it is known.

    Raises:
        ConfigError: without any query, with another number of weights, or when the mix cancels out.
        ImageError: naming a picture that cannot be decoded.
        BackboneError: for text where the encoder knows none.
        StoreError: for an unknown id.
    """
    rows: list[NDArray[np.float32]] = []
    if images:
        rows.extend(index.encoder.encode_images(images, domain))
    if texts:
        rows.extend(index.encoder.encode_texts(list(texts)))
    rows.extend(index.get(image)[1] for image in like)
    if not rows:
        raise ConfigError("give at least one query: a picture, a text or an indexed item")
    chosen = list(weights) or [1.0] * len(rows)
    if len(chosen) != len(rows):
        raise ConfigError(f"{len(rows)} queries need {len(rows)} weights, not {len(chosen)}")
    mixed = np.tensordot(np.asarray(chosen, np.float32), np.stack(rows), axes=1)
    length = float(np.linalg.norm(mixed))
    if length < 1e-6:
        raise ConfigError("these queries and weights cancel each other out")
    return np.asarray(mixed / length, dtype=np.float32)


def search(
    index: Index,
    vector: NDArray[np.float32],
    *,
    top: int = 10,
    min_score: float = -1.0,
    exclude: Sequence[str] = (),
    where: Filter | None = None,
) -> list[Hit]:
    """The best ``top`` items that match for one vector ``(d,)``; not those below ``min_score`` and ``exclude``."""
    hits = index.search(vector[None], top + len(exclude), where)[0]
    left_out = set(exclude)
    return [hit for hit in hits if hit.id not in left_out and hit.score >= min_score][:top]


def match_probability(
    index: Index,
    vector: NDArray[np.float32],
    *,
    images: Sequence[Path] = (),
    unlabelled: Catalog | str | Path | None = None,
    domain: str | None = None,
) -> float:
    """Probability in (0, 1) that the index holds a counterpart of one query.

    With unlabelled queries, and a query made of pictures alone, it rests on the backbone's centred features, which
    tell a missing counterpart best; those of the indexed images come from the cache, or are embedded once. Else it
    rests on the index's own vectors.

    Args:
        index: the gallery.
        vector: of the query ``(d,)``, unit length.
        images: the pictures the query is made of; empty when words or indexed items are part of it.
        unlabelled: images like the query, with and without counterparts, that the probability is calibrated on;
            without them it is calibrated on the gallery alone, which knows nothing of the gap between domains.
        domain: of these images where they name none of the encoder's; their own by default.

    Raises:
        StoreError: for an index of fewer than 10 items.
        FeatureError: when no unlabelled image can be embedded.
    """
    from crosslens.search.calibrate import MatchCalibration, centred_rows

    if unlabelled is None:
        return float(MatchCalibration.fit(index.vectors).probability(vector[None])[0])
    backbone = index.encoder.backbone
    found = features_of(unlabelled if isinstance(unlabelled, Catalog) else Catalog.open(unlabelled), backbone)
    try:
        gallery = features_of(_indexed_images(index), backbone).centre if images else None
    except FeatureError:
        note("the indexed images are gone, so the probability of a match rests on the index's vectors")
        gallery = None
    if gallery is None:
        domains = domain or found.catalog.column("domain")
        queries = index.encoder.encode_features(found.centre, domains)
        return float(MatchCalibration.fit(index.vectors, queries).probability(vector[None])[0])
    asked = np.concatenate([features_of(Catalog.open(image), backbone).centre for image in images])
    asked = asked - found.centre.mean(0)
    mixed = (asked / np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), 1e-12)).sum(0, keepdims=True)
    mixed /= max(float(np.linalg.norm(mixed)), 1e-12)
    calibration = MatchCalibration.fit(centred_rows(gallery), centred_rows(found.centre))
    return float(calibration.probability(mixed.astype(np.float32))[0])


def _indexed_images(index: Index) -> Catalog:
    """The images of an index, under the root they were indexed from where their ids tell it."""
    rows = index.items.select(["id", "path", "domain"]).to_pylist()
    roots = {row["path"][: -len(row["id"])] for row in rows if row["path"].endswith("/" + row["id"])}
    if len(roots) == 1 and all(row["path"].endswith("/" + row["id"]) for row in rows):
        return Catalog.from_rows([row | {"path": row["id"]} for row in rows], Path(roots.pop()))
    return Catalog.from_rows(rows, Path("/"))
