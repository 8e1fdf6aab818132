"""Baselines that need no training: the backbone as it is, and each domain's mean taken away."""

from __future__ import annotations

from typing import Literal

import torch

from crosslens.encoder import Encoder
from crosslens.errors import TrainingError
from crosslens.methods.base import FitJob, Method, MethodConfig


class FrozenConfig(MethodConfig):
    """Configuration of ``frozen`` and ``centred``.

    Attributes:
        space: ``features``, or ``joint`` for the space shared with text.
    """

    space: Literal["features", "joint"] = "features"


class Frozen(Method):
    """The backbone's features, normalised."""

    name = "frozen"
    Config = FrozenConfig

    def fit(self, job: FitJob) -> Encoder:
        """Nothing is learned; images that cannot be read are reported all the same."""
        job.features_by_domain()
        return self._encoder(job, {})

    def _encoder(self, job: FitJob, means: dict[str, torch.Tensor]) -> Encoder:
        assert isinstance(self.settings, FrozenConfig)
        return Encoder(
            job.backbone, method=self.name, means=means, space=self.settings.space, trained=self.facts(job)
        )


class Centred(Frozen):
    """Features minus the mean of their domain: what a constant shift between the looks explains."""

    name = "centred"

    def fit(self, job: FitJob) -> Encoder:
        """Compute one mean per domain.

        Raises:
            TrainingError: for a domain whose pictures do not differ: all of them would get a vector of length 0.
        """
        assert isinstance(self.settings, FrozenConfig)
        means = {}
        for domain, features in job.features_by_domain().items():
            rows = torch.from_numpy(features.centre)
            rows = job.backbone.to_joint(rows) if self.settings.space == "joint" else rows
            means[domain] = rows.mean(0)
            if torch.allclose(rows, means[domain].expand_as(rows), rtol=1e-4, atol=1e-6):
                raise TrainingError(
                    f"the domain {domain!r} has one picture alone, or copies of one ({len(rows)}): its mean is"
                    " that picture, and without it nothing is left; add pictures, leave the domain out"
                    " (--domains), or use the method 'frozen'"
                )
        return self._encoder(job, means)
