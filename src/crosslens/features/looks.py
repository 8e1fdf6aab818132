"""The looks of domains: the mean feature of each, from which the domain of a picture is told later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crosslens.data.catalog import Catalog
from crosslens.features.load import features_of
from crosslens.features.of_encoder import folder_for
from crosslens.support.errors import CrosslensError

if TYPE_CHECKING:
    from crosslens.encoder import Encoder

SAMPLE = 200
"""Images of each domain that its mean is taken over."""


def looks_of(
    catalog: Catalog,
    encoder: Encoder,
    *,
    folder: Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The mean features ``(D,)`` of the encoder's backbone, without prompts, over each domain's images.

    Args:
        catalog: images of any number of domains; at most 200 of each, drawn by ``seed``, are looked at.
        encoder: the features of its backbone come from the cache, where they are there.
        folder: a feature folder, used where that backbone made it.
        device, workers: see ``embed_catalog``.
        seed: of the draw.

    Returns:
        One mean a domain; nothing with fewer than two domains, which need not be told apart.
    """
    place = folder_for(encoder, folder)
    rng = np.random.default_rng(seed)
    means: dict[str, Tensor] = {}
    for domain in catalog.domains:
        chosen = catalog.select(domains=[domain])
        drawn = np.sort(rng.permutation(len(chosen))[:SAMPLE]).tolist()
        try:
            found = features_of(chosen.take(drawn), encoder.backbone, folder=place, device=device, workers=workers)
        except CrosslensError:
            # A domain that nothing can be read of is one that cannot be told; a training must not be lost for it.
            continue
        means[domain] = torch.from_numpy(found.centre.mean(0))
    return means if len(means) > 1 else {}
