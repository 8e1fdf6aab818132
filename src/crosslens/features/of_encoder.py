"""Features for an encoder: one backbone for all images, or one with prompts for each domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.features.load import Features, features_of
from crosslens.features.store import FeatureStore, Skipped
from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import NothingEmbeddedError

if TYPE_CHECKING:
    from crosslens.encoder import Encoder


def folder_for(encoder: Encoder, features: Place | None) -> Place | None:
    """``features`` if the encoder's backbone made that folder (or it is still empty), else None for the cache."""
    features = None if features is None else place_of(features)
    if features is None or not (features / "features.json").is_file():
        return features
    made_by = FeatureStore.open(features).config.fingerprint
    return features if made_by == encoder.backbone.fingerprint else None


def features_of_encoder(
    catalog: Catalog,
    encoder: Encoder,
    *,
    folder: Place | None = None,
    device: str | None = None,
    tell: bool = True,
) -> Features:
    """Features of ``catalog`` as ``encoder.encode_features`` takes them, in the catalog's order.

    Args:
        catalog: N images.
        encoder: its prompts, if any, are chosen by each image's domain.
        folder: a feature folder of the backbone; an encoder with prompts has features of its own in the cache.
        device: see ``crosslens.backbones.engine.make_engine``.
        tell: see ``features_of``.

    Raises:
        NothingEmbeddedError: when no image could be embedded.
    """
    if not encoder.embeds_by_domain:
        return features_of(catalog, encoder.backbone, folder=folder, device=device, tell=tell)
    parts, skipped = [], []
    for domain in catalog.domains:
        chosen = catalog.select(domains=[domain])
        try:
            part = features_of(chosen, encoder.backbone_of(domain), device=device, tell=tell)
        except NothingEmbeddedError as error:
            # The other domains go on, and every image of this one is named.
            lost = zip(chosen.ids, chosen.paths, strict=True)
            skipped += [Skipped(image, str(path), error.reasons[image], "") for image, path in lost]
            continue
        parts.append(part)
        skipped += part.skipped
    if not parts:
        raise NothingEmbeddedError(
            f"none of the {len(catalog)} images could be embedded; the first: {skipped[0].reason}",
            {entry.id: entry.reason for entry in skipped},
        )
    row = {image: (p, r) for p, part in enumerate(parts) for r, image in enumerate(part.catalog.ids)}
    kept = catalog.with_ids(row)
    values = np.stack([parts[row[image][0]].values[row[image][1]] for image in kept.ids])
    return Features(kept, values, encoder.backbone.fingerprint, tuple(skipped))
