"""One side of a direction: the encoded images of a domain that ask, or that answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Side:
    """One domain's encoded images: ids, labels, unit vectors ``(N, d)`` and roles (all ``both`` when left out)."""

    domain: str
    ids: list[str]
    labels: list[str | None]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    roles: Sequence[str] = ()

    def of_classes(self, names: Collection[str | None]) -> Side:
        """The images whose label is among ``names``."""
        wanted = set(names)
        return self._take([row for row, label in enumerate(self.labels) if label in wanted])

    def asking(self) -> Side:
        """The images that may be queries: those whose role is not ``gallery``."""
        return self._take([row for row, role in enumerate(self._roles) if role != "gallery"])

    def answering(self) -> Side:
        """The images that may be in a gallery: those whose role is not ``query``."""
        return self._take([row for row, role in enumerate(self._roles) if role != "query"])

    @property
    def _roles(self) -> Sequence[str]:
        return self.roles or ["both"] * len(self.ids)

    def _take(self, rows: list[int]) -> Side:
        if len(rows) == len(self.ids):
            return self
        labels, roles = [self.labels[r] for r in rows], [self._roles[r] for r in rows]
        ids = [self.ids[r] for r in rows]
        return Side(self.domain, ids, labels, self.vectors[rows], self.queries[rows], roles)
