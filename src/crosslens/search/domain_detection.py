"""Which of an encoder's domains does a picture come from? The nearest mean, without labels or training.

An encoder that treats domains apart keeps the mean feature of each. A picture belongs to the mean it has the
largest cosine with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosslens.encoder import Encoder


def nearest_domain(rows: Tensor, means: Mapping[str, Tensor]) -> list[str]:
    """The domain of each row ``(N, D)``: the name of the mean ``(D,)`` with the largest cosine."""
    names = list(means)
    centres = F.normalize(torch.stack([means[name].float() for name in names]), dim=1)
    return [names[place] for place in (F.normalize(rows.float(), dim=1) @ centres.T).argmax(1).tolist()]


def known_domains(encoder: Encoder) -> tuple[str, ...]:
    """The domains that the encoder treats apart: by mean, map or prompts."""
    names = [*encoder.means, *encoder.maps]
    names += [] if encoder.whitened is None else list(encoder.whitened.means)
    names += [] if encoder.prompted is None else list(encoder.prompted.domains)
    return tuple(dict.fromkeys(names))


@torch.inference_mode()
def detect_domains(encoder: Encoder, features: NDArray[np.float32]) -> list[str | None]:
    """The domain of each picture among those whose means the encoder keeps.

    Args:
        encoder: its means, or those of its whitened part.
        features: of its frozen backbone ``(N, D)``.

    Returns:
        A name for each; None for all where the encoder keeps fewer than two means.
    """
    rows = torch.from_numpy(features)
    means = encoder.means
    if len(means) >= 2:
        found = nearest_domain(encoder.backbone.to_joint(rows) if encoder.space == "joint" else rows, means)
        return [*found]
    if encoder.whitened is not None and len(encoder.whitened.means) >= 2:
        return [*nearest_domain(rows, encoder.whitened.means)]
    return [None] * len(rows)
