"""A question on its way to the answer: what is searched for, and what is noted meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.search.query.query import SearchOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Question:
    """A query after embedding and mixing.

    Attributes:
        vector: ``(d,)``, unit length.
        options: how to answer.
        exclude: ids that are not to be found.
        features: of the frozen backbone ``(n, D)``, of the pictures that the query is made of alone.
        domain: of its pictures; None where unknown or where they differ.
        of_items: whether it is made of indexed items alone.
        of_words: whether it is made of words alone.
        goal: what it is for.
    """

    vector: Array
    options: SearchOptions
    exclude: frozenset[str] = frozenset()
    features: Array | None = None
    domain: str | None = None
    of_items: bool = False
    of_words: bool = False
    goal: Goal = DEFAULT_GOAL


@dataclass
class Course:
    """What is noted while one query is answered.

    Attributes:
        seconds: taken by each stage.
        notes: sentences for the answer.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Keep a sentence for the answer, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of what is done inside to a stage's."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.took(name, time.perf_counter() - started)

    def took(self, name: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
