"""What is known of a collection before anything is trained, as far as the choice of a method rests on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What ``choose`` decides by; no label is among it.

    Attributes:
        pictures: readable pictures of every domain, in the order asked for; empty where there are none.
        names: class names that were given.
        idle_names: those that are the nearest name of no picture.
        reads_words: whether the backbone has a text tower.
        goal: what will be looked for, ``thing`` or ``kind``; None where nobody said.
        labelled: share of the pictures that lie in class folders or have another label; in [0, 1].
        copies: share of the smallest domain's pictures that another domain has too, pixel by pixel; in [0, 1].
        shared: for two domains the share of each one's pictures whose cluster has a counterpart in the other, as
            UEM matches clusters; rough. Empty where that was not asked.
        paired: share of the smaller domain's pictures that are the nearest of their own nearest picture in the
            other domain; of several pairs of domains the largest. High where pictures show things, each its own,
            and not kinds.
    """

    pictures: Mapping[str, int] = field(default_factory=dict)
    names: int = 0
    idle_names: tuple[str, ...] = ()
    reads_words: bool = True
    goal: str | None = None
    labelled: float = 0.0
    copies: float = 0.0
    shared: tuple[float, ...] = ()
    paired: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a run's ``config.yaml`` keeps them."""
        values = asdict(self)
        rounded = {"shared": [round(part, 2) for part in self.shared], "paired": round(self.paired, 2)}
        return values | {"idle_names": list(self.idle_names), **rounded}
