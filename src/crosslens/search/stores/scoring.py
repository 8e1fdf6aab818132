"""Exact answers by inner product over a matrix, the same to the last bit however the work is cut up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from crosslens.ops.screen import Screen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Positions = NDArray[np.int64]

_CHUNK_SCORES = 2**22
_BLOCKS = 16
# Up to this share of the matrix, rows are copied out and scored alone; above it, all are scored and some masked.
_GATHERED = 0.25
# Where a screen leaves a larger share of the rows, reading them one by one takes longer than a product with all.
_LEFT = 0.05
# Where it leaves fewer rows than so many times k, exact scores are as fast as looking at them once more.
_MANY = 4
# So many times k rows with the best scores by codes nearly always have the k best among them.
_LIKELY = 2


def rescored(query: Array, rows: Array) -> Array:
    """Inner products ``(n,)`` of one query ``(d,)`` and rows ``(n, d)``, computed in float64.

    Each row's sum is taken alone and in one order, so equal rows have equal scores wherever they stand. BLAS does
    not promise that.
    """
    return np.einsum("nd,d->n", rows.astype(np.float64), query.astype(np.float64)).astype(np.float32)


def exact_top(
    queries: Array,
    matrix: Array,
    k: int,
    among: Positions | None = None,
    names: Callable[[Positions], list[str]] | None = None,
    screen: Screen | None = None,
) -> list[tuple[Positions, Array]]:
    """The k best rows of ``matrix`` for each query, exactly; ties by name, or by position without names.

    A screen, or else a float32 product, finds everything that can be among the best, its rounding error allowed
    for; the few candidates are scored again by ``rescored``.

    Args:
        queries: ``(Q, d)``.
        matrix: ``(N, d)`` of any length, finite; may be a memory map.
        k: at most this many a query.
        among: rising positions ``(m,)`` of the rows allowed; all by default.
        names: gives the names of positions, by which ties are ordered.
        screen: of the matrix; it saves time and changes nothing.

    Returns:
        For each query positions ``(k',)`` and scores ``(k',)``, best first.
    """
    allowed = len(matrix) if among is None else len(among)
    if not allowed:
        return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    gathered = among is not None and allowed <= _GATHERED * len(matrix)
    part = matrix[among] if gathered else matrix
    hidden = None
    if among is not None and not gathered:
        hidden = np.ones(len(matrix), dtype=bool)
        hidden[among] = False
    if screen is not None and not gathered and k <= _LEFT * allowed:
        return [
            best(near, rescored(query, matrix[near]), k, names)
            for query, near in zip(queries, _screened(queries, matrix, k, hidden, screen), strict=True)
        ]
    longest = float(np.sqrt(np.einsum("nd,nd->n", queries, queries).max(initial=0)))
    nearest: list[tuple[Positions, Array]] = []
    step = max(1, _CHUNK_SCORES // len(part))
    for start in range(0, len(queries), step):
        chunk = queries[start : start + step]
        # One query is bound by memory: threads of BLAS gain little and stall on a busy machine.
        scores = np.einsum("nd,d->n", part, chunk[0])[None] if len(chunk) == 1 else chunk @ part.T
        if hidden is not None:
            scores[:, hidden] = -np.inf
        for query, row in zip(chunk, scores, strict=True):
            near = _candidates(row, min(k, allowed), part.shape[1], longest)
            positions = among[near] if gathered and among is not None else near
            nearest.append(best(positions, rescored(query, part[near]), k, names))
    return nearest


def best(
    positions: Positions, scores: Array, k: int, names: Callable[[Positions], list[str]] | None = None
) -> tuple[Positions, Array]:
    """The k best of some scored positions, best first; ties by name, or by position without names."""
    order = np.lexsort((positions, -scores))
    cut = scores[order[min(k, len(order)) - 1]] if len(order) else 0
    order = order[scores[order] >= cut]
    ranked = scores[order]
    if names is not None and len(order) > 1 and (ranked[1:] == ranked[:-1]).any():
        called = names(positions[order])
        order = order[sorted(range(len(order)), key=lambda row: (-ranked[row], called[row]))]
    order = order[:k]
    return positions[order], scores[order]


def _screened(
    queries: Array, matrix: Array, k: int, hidden: NDArray[np.bool_] | None, screen: Screen
) -> Iterator[Positions]:
    """For each query the positions of all rows that can be among the best k, by a screen."""
    for query, (scores, most) in zip(queries, screen.bounds(queries), strict=True):
        if hidden is not None:
            scores[hidden] = most[hidden] = -np.inf
        likely = _candidates(scores, min(_LIKELY * k, len(scores)), 0, 0.0)
        rows = matrix[likely]
        # So much the k-th best has at least, whatever float32 rounds away.
        longest = float(np.linalg.norm(query) * np.linalg.norm(rows, axis=1).max())
        floor = _largest(rows @ query, k) - rows.shape[1] * float(np.finfo(np.float32).eps) * longest
        near = np.flatnonzero(most >= floor)
        if len(near) > _MANY * k:
            near = screen.narrow(query, near, floor)
        if len(near) > _LEFT * len(matrix):
            scores = np.einsum("nd,d->n", matrix, query)
            if hidden is not None:
                scores[hidden] = -np.inf
            near = _candidates(scores, k, matrix.shape[1], float(np.linalg.norm(query)))
        yield near


def _candidates(scores: Array, k: int, dim: int, longest: float) -> Positions:
    """Positions of all scores that rounding may have kept from the best k; k is at most the number allowed."""
    # The rounding error of a sum of d products of float32 is at most d u |q| |x|, here on both scores compared.
    slack = 2 * dim * float(np.finfo(np.float32).eps) * longest
    size = len(scores) // (_BLOCKS * k)
    if size > 1:
        # The k-th largest of some scores, here each block's largest, is no larger than that of all.
        blocks = scores[: size * (len(scores) // size)].reshape(-1, size).max(1)
        near = np.flatnonzero(scores >= _largest(blocks, k) - slack)
    else:
        near = np.arange(len(scores))
    if k < len(near):
        near = near[scores[near] >= _largest(scores[near], k) - slack]
    return near[scores[near] > -np.inf]


def _largest(scores: Array, k: int) -> float:
    """The k-th largest score."""
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])
