"""The whitened part of an encoder, fitted on pseudo-labels after the head is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Whitened
from crosslens.features.load import Features
from crosslens.labels.naming import centred_rows
from crosslens.labels.pseudo_labels import PseudoLabels
from crosslens.ops.whitening import balanced_share, powered, within_class_whitening

Share = Annotated[float, Field(ge=0, le=1)] | Literal["auto"]
RIDGE = 10.0
"""Of the whitening, in mean variances: directions that classes hardly vary in are not blown up."""
KNOWN_CLASS_RATIO, NEW_CLASS_RATIO = 4.0, 0.25
"""How many times as much as this part the head moves scores: it is stronger on the classes that it was shown, and
as much weaker where new ones will come."""
_MOST = 2000


def whitened_part(
    encoder: Encoder,
    features: Sequence[Features],
    labels: Sequence[PseudoLabels],
    share: Share,
    power: float,
    *,
    new_classes: bool,
) -> Whitened:
    """A whitened part from frozen features of two domains and their pseudo-labels; its share goes to the card.

    Args:
        encoder: with the trained head, so far without this part.
        features: of both domains.
        labels: pseudo-labels of the same images.
        share: w in [0, 1], or ``auto``: see ``balanced_share``.
        power: of the features; see ``powered``.
        new_classes: whether the encoder will meet classes that are not here, which ``auto`` minds.
    """
    rows = torch.cat([centred_rows(found.values, power) for found in features])
    classes = labels[0].posteriors.shape[1]
    matrix = within_class_whitening(
        rows, torch.cat([f.labels for f in labels]), torch.cat([f.weights for f in labels]), classes, RIDGE
    )
    domains = [found.catalog.column("domain")[0] for found in features]
    centres = [torch.from_numpy(found.centre) for found in features]
    means = {domain: powered(x, power).mean(0) for domain, x in zip(domains, centres, strict=True)}
    if share == "auto":
        part = Whitened(matrix, means, 0.0, power)
        some = [x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:_MOST]] for x in centres]
        heads = [torch.from_numpy(encoder.encode_features(x, d)) for x, d in zip(some, domains, strict=True)]
        bases = [part.of_features(x, [d] * len(x)) for x, d in zip(some, domains, strict=True)]
        ratio = NEW_CLASS_RATIO if new_classes else KNOWN_CLASS_RATIO
        share = balanced_share(heads[0], bases[0], heads[1], bases[1], ratio)
    encoder.trained["whitened_share"] = round(share, 4)
    return Whitened(matrix, means, share, power)
