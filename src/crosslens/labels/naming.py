"""From images and class texts to class scores, one domain at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.labels.pseudo_labels import Calibration, calibrated
from crosslens.ops.rounding import difference
from crosslens.ops.whitening import powered

if TYPE_CHECKING:
    from numpy.typing import NDArray


def class_scores(
    backbone: Backbone, values: NDArray[np.float16], texts: Tensor, calibration: Calibration
) -> Tensor:
    """Class scores of one domain's images, the mean of the views' joint vectors against the class texts.

    With a calibration the domain's mean feature is taken away first: what all its images share is the look.

    Args:
        backbone: with a text tower.
        values: ``(N, V, D)`` features of V views of each image.
        texts: ``(C, J)``, unit rows.
        calibration: see ``calibrated``.

    Returns:
        ``(N, C)``: cosines with ``none``, else calibrated ones.
    """
    return calibrated(joint_rows(backbone, values, calibration != "none") @ texts.t(), calibration)


def joint_rows(backbone: Backbone, values: NDArray[np.float16], is_centred: bool) -> Tensor:
    """Unit rows ``(N, J)`` in the space shared with text: the mean over the views ``(N, V, D)`` of each image."""
    mean = torch.from_numpy(values[:, 0].astype(np.float32)).mean(0) if is_centred else None
    total = torch.zeros(len(values), backbone.joint_dim or 0)
    for view in range(values.shape[1]):
        rows = torch.from_numpy(values[:, view].astype(np.float32))
        total += backbone.to_joint(rows if mean is None else rows - mean)
    return F.normalize(total, dim=1)


def centred_rows(values: NDArray[np.float16], power: float = 1.0) -> Tensor:
    """Unit rows ``(N, D)`` of one domain's centre features, with a ``power`` first, without their mean."""
    rows = powered(torch.from_numpy(values[:, 0].astype(np.float32)), power)
    return F.normalize(difference(rows, rows.mean(0)), dim=1)
