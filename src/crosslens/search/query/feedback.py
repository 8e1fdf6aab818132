"""Move: a query towards the items that somebody liked, and away from those that were disliked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.index.index import Index
from crosslens.search.query.query import mix
from crosslens.search.query.question import Course, Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

LIKED, DISLIKED = 0.75, 0.15
"""Weights of the two means beside the query's 1: those of Manning, Raghavan and Schütze (2008), section 9.1.1."""


def move_query(question: Question, index: Index, course: Course) -> Question:
    """The question moved by what its options say was liked and disliked; disliked items are not found again.

    Raises:
        UnknownItemError: for an unknown id.
        ConfigError: where nothing is left of the query.
    """
    options = question.options
    if not (options.liked or options.disliked):
        return question
    with course.stage("feedback"):
        ids = index.ids_of([*options.liked, *options.disliked])
        vectors = index.vectors_of(ids)
        count = len(options.liked)
        moved = rocchio(question.vector, vectors[:count], vectors[count:], index.similarity)
    exclude = question.exclude | frozenset(ids[count:])
    # Of no picture alone any more.
    return replace(question, vector=moved, exclude=exclude, features=None)


def rocchio(query: Array, liked: Array, disliked: Array, similarity: Similarity | None = None) -> Array:
    """``normalise(q + 0.75 mean(liked) - 0.15 mean(disliked))``: Rocchio, "Relevance Feedback" (1971).

    Args:
        query: ``(d,)``, unit length.
        liked: vectors ``(n, d)``, unit rows; none moves nothing.
        disliked: vectors ``(m, d)``, unit rows; none moves nothing.
        similarity: how vectors are compared; the cosine by default.

    Raises:
        ConfigError: where nothing is left of the query.
    """
    weights = [1.0, *(LIKED / len(liked) for _ in liked), *(-DISLIKED / len(disliked) for _ in disliked)]
    return mix(np.concatenate([query[None], liked, disliked]), weights, similarity)
