"""How right a run's pseudo-labels are. Measured here alone: training never learns it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.labels.wording import comparable

LABELS = "labels.parquet"
"""The file in a run folder with ``id, label, confidence, kept`` of every image that was labelled."""


def label_accuracy(run: Path, catalog: Catalog) -> dict[str, dict[str, float]]:
    """Share of right pseudo-labels per domain: of all, of the kept ones, and weighted by confidence.

    Args:
        run: a run folder with ``LABELS``.
        catalog: images with true labels; only those that the run labelled and whose true label is known count.

    Returns:
        Per domain ``images, all, kept, weighted``; domains without a known label are left out.
    """
    import pyarrow.parquet as pa_parquet

    table = pa_parquet.read_table(run / LABELS).to_pydict()
    found = {image: row for row, image in enumerate(table["id"])}
    result = {}
    for domain in catalog.domains:
        part = catalog.select(domains=[domain])
        known = [(i, y) for i, y in zip(part.ids, part.labels, strict=True) if i in found and y is not None]
        if not known:
            continue
        rows = [found[image] for image, _ in known]
        right = np.array([comparable(table["label"][found[i]]) == comparable(y) for i, y in known], dtype=float)
        kept = np.array([table["kept"][row] for row in rows], dtype=bool)
        weights = np.array([table["confidence"][row] for row in rows]) * kept
        result[domain] = {
            "images": len(rows),
            "all": float(right.mean()),
            "kept": float(right[kept].mean()) if kept.any() else 0.0,
            "weighted": float((weights * right).sum() / max(weights.sum(), 1e-12)),
        }
    return result
