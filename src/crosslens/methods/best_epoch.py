"""With ``--oracle``: the epoch that labels like best, kept beside the last one as the published code keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.methods.base import FitJob


class BestEpoch:
    """Scores every epoch with labels; does nothing in an honest run, or on one domain, which has no other to ask.

    Args:
        job: the fit.
        catalogs: the images of each domain.

    Attributes:
        score: the best one so far.
    """

    def __init__(self, job: FitJob, catalogs: Sequence[Catalog]) -> None:
        self.job, self.catalogs, self.score = job, catalogs, -1.0

    def observe(self, features: Callable[[int], Tensor], encoder: Callable[[], Encoder]) -> Mapping[str, float]:
        """Score an epoch and keep its encoder where it is the best so far; returns numbers for the log.

        Args:
            features: gives the rows ``(N, d)`` of a domain's images.
            encoder: gives the encoder of this epoch.
        """
        if self.job.oracle is None or len(self.catalogs) < 2:
            return {}
        ids = [catalog.ids for catalog in self.catalogs]
        score = self.job.oracle.score(ids, [features(domain) for domain in range(len(ids))])
        if score > self.score and self.job.world.is_main:
            self.score = score
            encoder().save(self.job.run.oracle_folder)
        return {"oracle_score": score}
