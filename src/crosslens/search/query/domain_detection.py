"""Which domain does a picture come from? The nearest mean, without labels or training.

A fitted encoder keeps the mean feature of each domain it learned from: as what it takes away, or as the domain's
look, for this question alone. A picture belongs to the mean it has the largest cosine with. Where an encoder keeps
none, the indexed items stand in: a picture is encoded as each of their domains would be, and belongs to the one
whose mean vector it is nearest to.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from crosslens.support.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.search.index.index import Index

    Array = NDArray[np.float32]

SAMPLE = 200
"""Items of each domain that its mean vector is taken over."""


class DomainDetector:
    """Detects the domains of pictures for one index; may be asked by several threads at once.

    By what the encoder keeps of its domains, else by the mean vectors of the index's items, which are taken once
    for each version of the index. Prompts change the network itself, so an encoder with prompts that keeps no
    means detects nothing.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._made: tuple[str, dict[str, Array]] | None = None
        self._making = Lock()

    def __call__(self, features: Array) -> list[str | None]:
        """Each picture's domain, by the backbone's frozen features ``(N, D)``; None where none is detected."""
        encoder = self._index.query_encoder
        if encoder.detectable:
            return encoder.detect_domains(features)
        # Where no domain is treated apart, the answer would change no vector.
        means = self._means() if encoder.domains else {}
        if not means or not len(features):
            return [None] * len(features)
        # As a domain the picture should be encoded as that domain's items were.
        apart = [
            np.linalg.norm(encoder.encode_features(features, domain) - mean, axis=1)
            for domain, mean in means.items()
        ]
        names = list(means)
        return [names[row] for row in np.argmin(apart, axis=0).tolist()]

    def notes(self) -> tuple[str, ...]:
        """Sentences on what this detection cannot do; none where that changes no vector."""
        encoder = self._index.query_encoder
        if not encoder.domains:
            return ()
        detectable = encoder.detectable
        if not detectable:
            detectable = tuple(self._means())
            if not detectable:
                return (
                    "no domain can be detected: the encoder keeps no means of domains, and the indexed items give"
                    " none; name the domain",
                )
            sentences = [
                "the domain is detected by the looks of the indexed items, "
                f"{', '.join(detectable)}; a picture of another domain is taken for one of these"
            ]
        else:
            sentences = []
        others = [name for name in encoder.domains if name not in detectable]
        if others:
            sentences.append(f"{', '.join(others)} cannot be detected; name that domain where a picture is of it")
        return tuple(sentences)

    def _means(self) -> dict[str, Array]:
        """The mean vectors ``(d,)`` of the items by domain; none with fewer than two domains, or with prompts."""
        if self._index.query_encoder.embeds_by_domain:
            return {}
        with self._making:
            version = self._index.version
            if self._made is None or self._made[0] != version:
                try:
                    self._made = version, _item_means(self._index)
                except StoreError:
                    # Items went away while they were read; the next query looks again.
                    return {} if self._made is None else self._made[1]
            return self._made[1]


def _item_means(index: Index, seed: int = 0) -> dict[str, Array]:
    ids: dict[str, list[str]] = {}
    for table, _ in index.scan():
        for image, domain in zip(*(table.column(name).to_pylist() for name in ("id", "domain")), strict=True):
            ids.setdefault(domain, []).append(image)
    if len(ids) < 2:
        return {}
    rng = np.random.default_rng(seed)
    drawn = {
        domain: [images[row] for row in np.sort(rng.permutation(len(images))[:SAMPLE])]
        for domain, images in sorted(ids.items())
    }
    return {domain: index.store.get(images)[1].mean(0) for domain, images in drawn.items()}
