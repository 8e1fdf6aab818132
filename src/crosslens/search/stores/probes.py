"""How many inverted lists a query must look into: measured against exact answers, not guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.stores.inverted_lists import Allowed, InvertedLists
from crosslens.search.stores.numbered import with_weight
from crosslens.search.stores.scoring import exact_top, rescored
from crosslens.search.stores.structure_files import Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Positions = NDArray[np.int64]

SHARES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Shares of rows that a filter leaves, for which the lists are measured, besides the least that uses them."""
K = 10
_QUERIES = 200
_EQUAL = 1e-6
_BLOCK = 65_536


class HeldQueries(NamedTuple):
    """Queries in the form an inner product takes ``(Q, d)``, and the row each must not find, -1 for none."""

    vectors: Array
    left_out: Positions


def held_queries(
    vectors: Array, similarity: Similarity, count: int = _QUERIES, *, numbered: bool = False
) -> tuple[HeldQueries, HeldQueries]:
    """Two kinds of queries: items that must not find themselves, and points away from all items.

    The second kind lies at cosine 0.7 from an item, in a random direction: a query of another domain is that far
    from what it is like, or farther.

    Args:
        vectors: ``(M, d)`` unit rows.
        similarity: the form queries come in.
        count: of each kind.
        numbered: whether the rows end with numbers; then each query asks twice, without them and with them.
    """
    generator = np.random.default_rng(1)
    rows = np.sort(generator.choice(len(vectors), min(count, len(vectors)), replace=False))
    items = np.asarray(vectors[rows], np.float32)
    items = items[:, :-1] if numbered else items
    noise = generator.standard_normal(items.shape).astype(np.float32)
    noise -= np.einsum("nd,nd->n", noise, items)[:, None] * items
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
    away = np.float32(0.7) * items + np.float32(np.sqrt(1 - 0.7**2)) * noise
    nobody = np.full(len(rows), -1, np.int64)
    kinds = ((similarity.as_queries(items), rows), (similarity.as_queries(away), nobody))
    first, second = (_held(asked, left_out, numbered) for asked, left_out in kinds)
    return first, second


def _held(asked: Array, left_out: Positions, numbered: bool) -> HeldQueries:
    if not numbered:
        return HeldQueries(np.ascontiguousarray(asked), left_out)
    twice = np.concatenate([with_weight(asked, weight) for weight in (0, 1)])
    return HeldQueries(twice, np.tile(left_out, 2))


def choose_probes(
    lists: InvertedLists,
    vectors: Array,
    similarity: Similarity,
    recall: float,
    refine: int,
    exact_rows: int,
    *,
    numbered: bool = False,
) -> tuple[Probe, ...]:
    """The fewest lists that find ``recall`` of the best 10 for both kinds of queries, by share of rows allowed.

    Args:
        lists: of the M rows.
        vectors: ``(M, d)``.
        similarity: the form queries come in.
        recall: wanted, in (0, 1].
        refine: candidates a result.
        exact_rows: where a filter leaves no more rows they are searched exactly, so no smaller share is measured.
        numbered: whether the rows end with numbers.
    """
    total = len(vectors)
    kinds = held_queries(vectors, similarity, numbered=numbered)
    generator = np.random.default_rng(2)
    probes: list[Probe] = []
    fewest = 1
    least = max(exact_rows, K) / total
    for share in [1.0, *(share for share in SHARES if least < share < 1), *([least] if least < 1 else [])]:
        kept = round(share * total)
        allowed = None
        if share < 1:
            allowed = Allowed(np.sort(generator.choice(total, kept, replace=False)), total)
        truths = [_truth(held, vectors, allowed) for held in kinds]
        trial = _Trial(lists, vectors, kinds, truths, refine, allowed)
        # Fewer rows allowed lie farther apart, so they never need fewer lists.
        fewest = _fewest(trial, fewest, recall)
        items, others = trial(fewest)
        probes.append(Probe(share=share, lists=fewest, items=round(items, 4), others=round(others, 4)))
    return tuple(probes)


@dataclass
class _Trial:
    """Measures the recall of both kinds of queries for a number of lists, each number once."""

    lists: InvertedLists
    vectors: Array
    kinds: tuple[HeldQueries, HeldQueries]
    truths: list[list[float]]
    refine: int
    allowed: Allowed | None
    tried: dict[int, list[float]] = field(default_factory=dict)

    def __call__(self, probes: int) -> list[float]:
        if probes not in self.tried:
            self.tried[probes] = [
                _recall(self.lists, self.vectors, held, truth, probes, self.refine, self.allowed)
                for held, truth in zip(self.kinds, self.truths, strict=True)
            ]
        return self.tried[probes]


def _fewest(trial: _Trial, low: int, recall: float) -> int:
    """The fewest lists, ``low`` or more, that reach the recall; all of them where none do."""
    high, total = low, trial.lists.index.nlist
    while min(trial(high)) < recall and high < total:
        low, high = high + 1, min(2 * high, total)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if min(trial(middle)) >= recall else (middle + 1, high)
    return high


def _truth(held: HeldQueries, vectors: Array, allowed: Allowed | None) -> list[float]:
    """The score of each query's tenth best row, its own left out."""
    positions = np.arange(len(vectors)) if allowed is None else allowed.positions
    found: list[list[Array]] = [[] for _ in held.left_out]
    # By blocks, each for all queries: a pass over millions of vectors for every query would wait for memory.
    for start in range(0, len(positions), _BLOCK):
        block = positions[start : start + _BLOCK]
        rows = vectors[start : start + _BLOCK] if allowed is None else vectors[block]
        for parts, (near, scores), barred in zip(
            found, exact_top(held.vectors, rows, K + 1), held.left_out, strict=True
        ):
            parts.append(scores[block[near] != barred])
    cuts = []
    for parts in found:
        others = np.sort(np.concatenate(parts))[::-1] if parts else np.empty(0)
        cuts.append(float(others[min(K, len(others)) - 1]) if len(others) else np.inf)
    return cuts


def _recall(
    lists: InvertedLists,
    vectors: Array,
    held: HeldQueries,
    cuts: list[float],
    probes: int,
    refine: int,
    allowed: Allowed | None,
) -> float:
    """Share of the best ten that are found; any row as good as the tenth counts."""
    candidates = lists.candidates(held.vectors, max((K + 1) * refine, 20), probes, allowed)
    shares = []
    for query, rows, barred, cut in zip(held.vectors, candidates, held.left_out, cuts, strict=True):
        near = rows[(rows >= 0) & (rows != barred)]
        good = int((rescored(query, vectors[near]) >= cut - _EQUAL).sum())
        shares.append(min(good, K) / K)
    return float(np.mean(shares))
