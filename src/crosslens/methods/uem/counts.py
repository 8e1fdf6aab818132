"""How many clusters UEM makes of each domain: given, known, or estimated now and then."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosslens.methods.uem.config import UEMConfig
from crosslens.ops.cluster_count import LEAST_POINTS, count_ladder, estimate_clusters
from crosslens.support.errors import ConfigError, TrainingError


class ClusterCounts:
    """The numbers of clusters of every domain in one training.

    Args:
        config: the settings.
        sizes: images of each domain.
        known: the true numbers (``--oracle``), or None.
        seed: of the estimates.

    Attributes:
        history: every estimate so far, per domain.

    Raises:
        ConfigError: when more clusters are asked for than the smallest domain has images.
        TrainingError: when a domain has too few images to estimate a number.
    """

    def __init__(self, config: UEMConfig, sizes: Sequence[int], known: Sequence[int] | None, seed: int) -> None:
        self.config, self.sizes, self.known, self.seed = config, sizes, known, seed
        self.history: list[list[int]] = [[] for _ in sizes]
        if known is not None:
            return
        if config.clusters == "auto":
            if min(sizes) < LEAST_POINTS:
                raise TrainingError(
                    f"{min(sizes)} images are too few to estimate a number of clusters;"
                    " give it yourself (--set clusters=N)"
                )
        elif max(config.clusters) > min(sizes):
            raise ConfigError(f"{max(config.clusters)} clusters cannot be made of {min(sizes)} images")

    @property
    def estimates(self) -> tuple[int, ...] | None:
        """The median of each domain's last three estimates; None where nothing was estimated."""
        if not self.history[0]:
            return None
        return tuple(int(torch.tensor(found[-3:]).median()) for found in self.history)

    def of_epoch(self, banks: Sequence[Tensor], *, due: bool) -> list[tuple[int, ...]]:
        """Counts of every domain, for each clustering.

        Args:
            banks: of each domain ``(N, d)``.
            due: estimate anew; the first time an estimate is made in any case.
        """
        if self.known is not None:
            return [tuple(self.known)]
        if self.config.clusters != "auto":
            return [(count,) * len(self.sizes) for count in sorted(self.config.clusters)]
        if due or not self.history[0]:
            for found, bank in zip(self.history, banks, strict=True):
                found.append(estimate_clusters(bank.cpu(), method=self.config.count_method, seed=self.seed))
        assert self.estimates is not None
        if not self.config.ladder:
            return [self.estimates]
        pairs = zip(self.estimates, self.sizes, strict=True)
        ladders = [count_ladder(estimate, size, self.config.ladder) for estimate, size in pairs]
        # A shorter ladder stays on its last rung.
        rungs = range(max(map(len, ladders)))
        return [tuple(ladder[min(rung, len(ladder) - 1)] for ladder in ladders) for rung in rungs]
