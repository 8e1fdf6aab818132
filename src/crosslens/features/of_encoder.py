"""Features for an encoder: one backbone for all images, or one with prompts for each domain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.catalog import Catalog
from crosslens.errors import FeatureError
from crosslens.features.load import Features, features_of

if TYPE_CHECKING:
    from crosslens.encoder import Encoder


def features_of_encoder(
    catalog: Catalog, encoder: Encoder, *, folder: Path | None = None, device: str | None = None
) -> Features:
    """Features of ``catalog`` as ``encoder.encode_features`` takes them, in the catalog's order.

    Args:
        catalog: N images.
        encoder: its prompts, if any, are chosen by each image's domain.
        folder: a feature folder of the backbone; an encoder with prompts has features of its own in the cache.
        device: see ``crosslens.backbones.engine.make_engine``.

    Raises:
        FeatureError: when no image could be embedded.
    """
    if encoder.prompted is None:
        return features_of(catalog, encoder.backbone, folder=folder, device=device)
    parts, failures = [], []
    for domain in catalog.domains:
        try:
            parts.append(features_of(catalog.select(domains=[domain]), encoder.backbone_of(domain), device=device))
        except FeatureError as error:
            failures.append(error)
    if not parts:
        raise failures[0]
    row = {image: (p, r) for p, part in enumerate(parts) for r, image in enumerate(part.catalog.ids)}
    kept = catalog.with_ids(row)
    values = np.stack([parts[row[image][0]].values[row[image][1]] for image in kept.ids])
    skipped = tuple(skip for part in parts for skip in part.skipped)
    return Features(kept, values, encoder.backbone.fingerprint, skipped)
