"""What training loses, kept: the features that an encoder was trained on join its head.

Measured, mAP@all of both directions, ``lite``, seed 0, without labels or names; ``both`` is what is made here:

=================================  =======  =====  =====
domains                            centred  uem    both
=================================  =======  =====  =====
PACS, photo and sketch             .406     .538   .548
PACS, art and cartoon              .398     .598   .562
photosketch, photo and sketch      .183     .168   .205
photosketch, clip art and photo    .534     .448   .569
photosketch, clip art and sketch   .311     .208   .305
emoji, line and flat, subgroups    .177     .192   .219
clip art and emoji, three pairs    .241     .267   .279
grocery, 81 products               .450     .316   .428
=================================  =======  =====  =====

Shares from .35 to .65 of balanced scores were tried; more for the head gains on PACS what it loses elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Untrained, Whitened
from crosslens.encoder.untrained import centred_encoder
from crosslens.ops.whitening import balanced_share
from crosslens.training.run import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def keep_untrained(run: Run, sides: Mapping[str, NDArray[np.float32]]) -> float | None:
    """Give a run's encoder the untrained features beside its head, so that both move scores alike.

    Args:
        run: finished.
        sides: what ``look_at_run`` gave.

    Returns:
        Their share of every score; None where the encoder stays as it is, since it has such a part already.
    """
    encoder = Encoder.load(run.encoder_folder)
    if encoder.part(Whitened) is not None or encoder.similarity.kind != "cosine":
        return None
    trained = encoder.with_part(Untrained(encoder.backbone, {}, 0.0, 0))
    base = centred_encoder(encoder.backbone, sides)
    rows = [
        (
            torch.from_numpy(trained.encode_features(part, domain)),
            torch.from_numpy(base.encode_features(part, domain)),
        )
        for domain, part in sides.items()
    ]
    share = fmean(
        balanced_share(main, plain, other_main, other_plain)
        for (main, plain), (other_main, other_plain) in combinations(rows, 2)
    )
    encoder.with_part(Untrained(encoder.backbone, base.domain_means, share, trained.dim)).save(run.encoder_folder)
    return share
