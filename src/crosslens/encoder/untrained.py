"""Encoders that need no training: the backbone as it is, and each domain's mean taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosslens.backbones.base import Backbone
from crosslens.encoder.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint

if TYPE_CHECKING:
    from numpy.typing import NDArray


def frozen_encoder(backbone: Backbone, *, joint: bool = False) -> Encoder:
    """The backbone's features, or with ``joint`` its space shared with text.

    Raises:
        BackboneError: when there is no such space.
    """
    return Encoder(backbone, [Joint(backbone) if joint else None])


def centred_encoder(
    backbone: Backbone, features: Mapping[str, NDArray[np.floating[Any]]], *, joint: bool = False
) -> Encoder:
    """The same less the mean of each domain: what a constant shift between the looks explains.

    Args:
        backbone: what made the features.
        features: of each domain's images ``(N, D)``.
        joint: see ``frozen_encoder``.

    Raises:
        BackboneError: when there is no such space.
    """
    rows = {domain: torch.from_numpy(np.asarray(part, np.float32)) for domain, part in features.items()}
    means = {domain: (backbone.to_joint(part) if joint else part).mean(0) for domain, part in rows.items()}
    return Encoder(backbone, [Joint(backbone) if joint else None, Centre(means)], method="centred")
