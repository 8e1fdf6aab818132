"""What labels would tell a method. Only an explicit ``--oracle`` run has one, and its results are marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from torch import Tensor

from crosslens.data.catalog import Catalog
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.results import evaluate_retrieval


@dataclass(frozen=True)
class Oracle:
    """The labels of the training images, used as the published code uses them.

    Attributes:
        labels: class name by image id.
        classes: the true number of classes per domain.
        k: of the P@k that picks the best epoch.
    """

    labels: Mapping[str, str]
    classes: Mapping[str, int]
    k: int = 1

    @classmethod
    def from_catalog(cls, catalog: Catalog, k: int = 1) -> Oracle:
        """Collect the labels of a catalog; images without one are left out."""
        known = catalog.where(np.array([label is not None for label in catalog.labels], dtype=bool))
        labels = {image: str(label) for image, label in zip(known.ids, known.labels, strict=True)}
        classes = {domain: len(known.select(domains=[domain]).classes) for domain in known.domains}
        return cls(labels, classes, k)

    def score(self, ids: Sequence[Sequence[str]], features: Sequence[Tensor]) -> float:
        """The mean over all directions of the pooled P@k, in [0, 1] (UCDIR ``main.py``).

        Args:
            ids: of the images of two or more domains.
            features: their rows ``(N, d)``, per domain.
        """
        metric = Metric("P", k=self.k, denominator="min", average="micro")
        values = []
        for query, gallery in permutations(range(len(ids)), 2):
            result = evaluate_retrieval(
                features[query].cpu().numpy(),
                features[gallery].cpu().numpy(),
                [self.labels.get(image) for image in ids[query]],
                [self.labels.get(image) for image in ids[gallery]],
                metrics=[metric],
                convention="oracle",
                depth=self.k,
            )
            values.append(result.metrics[metric.key])
        return float(np.mean(values))
