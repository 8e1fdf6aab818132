"""Exact rankings by inner product, chunk by chunk, in bounded memory.

Ties are broken by gallery index in every path ("stable" ranking). Queries ``(Q, D)``, gallery ``(G, D)``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosslens.support.errors import EvaluationError

Array = NDArray[Any]
Precision = Literal["float32", "float64"]
# What turns the scores of some rows into arrays of as many rows, and these arrays for one chunk.
Work = Callable[[slice, Array], tuple[Array, ...]]
Made = tuple[slice, tuple[Array, ...]]

DEFAULT_MEMORY = 256 * 2**20
_NO_LABEL = -1
NO_POSITION = np.iinfo(np.int32).max

# BLAS picks its kernel by the shape of the product. Padding every product to one height, a multiple of this, gives
# a query the same bits whatever the chunk.
# Products are as tall as memory allows, because each call to a threaded BLAS can stall on a busy machine.
_BLOCK_ROWS = 16
# Bytes of scores handed on at once, and scores sorted at once: few enough to stay in a processor's cache.
_CHUNK_BYTES = 2**22
_CACHED_SCORES = 2**17
# What the work on a chunk takes, in multiples of its scores.
_CHUNK_COST = 6


class RankOptions(TypedDict, total=False):
    """How to rank.

    Attributes:
        exclude: ``(Q,)`` gallery index to leave out of each query's ranking, -1 for none.
        precision: arithmetic of the scores, float32 (default) or float64 (several times slower).
        chunk: queries a chunk at most; by default what suits the processor's cache.
        memory_budget: bytes for the scores and all chunks under way (256 MiB by default); the scores of at
            least 16 queries are always held.
        workers: threads; by default one a processor, four at most.
    """

    exclude: ArrayLike | None
    precision: Precision
    chunk: int | None
    memory_budget: int
    workers: int | None


class RankedChunk(NamedTuple):
    """Queries ``queries``: gallery indices ``order (q, K) int32``, best first, and their ``scores (q, K)``.

    An excluded gallery item stands last as index -1 with score ``-inf``.
    """

    queries: slice
    order: Array
    scores: Array


class JudgedChunk(NamedTuple):
    """``relevance (q, W) bool`` in rank order, the first K of ``order`` and ``scores``, and where asked for
    ``tie_scores (q, G)``, the scores of all ranks.
    """

    queries: slice
    relevance: Array
    order: Array
    scores: Array
    tie_scores: Array | None = None


def rank_chunks(queries: ArrayLike, gallery: ArrayLike, **options: Unpack[RankOptions]) -> Iterator[RankedChunk]:
    """Rank the whole gallery for every query.

    Args:
        queries: ``(Q, D)`` finite features; scores are inner products, so unit rows give cosines.
        gallery: ``(G, D)`` finite features.
        options: see `RankOptions`.

    Yields:
        RankedChunk with ``order (q, G)`` and ``scores (q, G)``, in the order of the queries.

    Raises:
        EvaluationError: features that are not 2-D, of different widths, not finite or so large that
            their products overflow; an excluded index outside the gallery.
    """
    scorer = _Scorer.build(queries, gallery, options)
    chunks = scorer.map(lambda rows, scores: scorer.ranked(rows, scores, _full_order(scores)))
    return (RankedChunk(rows, order, scores) for rows, (order, scores) in chunks)


def top_k_chunks(
    queries: ArrayLike, gallery: ArrayLike, k: int, **options: Unpack[RankOptions]
) -> Iterator[RankedChunk]:
    """Rank only the best ``k``: the same order as the first ``min(k, G)`` columns of `rank_chunks`, ties included.

    Arguments and errors are those of `rank_chunks`; ``k`` must be at least 1.
    """
    if k < 1:
        raise EvaluationError(f"k must be at least 1, not {k}")
    scorer = _Scorer.build(queries, gallery, options)
    chunks = scorer.map(lambda rows, scores: scorer.ranked(rows, scores, _top_order(scores, k)))
    return (RankedChunk(rows, order, scores) for rows, (order, scores) in chunks)


def judged_chunks(
    queries: ArrayLike,
    gallery: ArrayLike,
    query_labels: ArrayLike,
    gallery_labels: ArrayLike,
    *,
    top: int,
    all_ranks: bool = True,
    tie_scores: bool = False,
    **options: Unpack[RankOptions],
) -> Iterator[JudgedChunk]:
    """Relevance in rank order, without keeping the order beyond rank ``top``: what metrics need, and fast.

    Args:
        query_labels: ``(Q,)`` integer label codes >= 0, or -1 for an item without a label, relevant to nothing.
        gallery_labels: ``(G,)`` label codes likewise.
        top: ranks to keep of order and scores (capped at ``G``).
        all_ranks: judge all ``G`` ranks, or only the first ``top``.
        tie_scores: also return the scores of all ranks (needs ``all_ranks``).

    The other arguments, and the errors, are those of `rank_chunks`; labels of the wrong length are an
    EvaluationError too.
    """
    if top < 1:
        raise EvaluationError(f"top must be at least 1, not {top}")
    scorer = _Scorer.build(queries, gallery, options)
    query_codes = _codes("query_labels", query_labels, len(scorer.queries))
    gallery_codes = _codes("gallery_labels", gallery_labels, len(scorer.gallery))

    def judge(rows: slice, scores: Array) -> tuple[Array, ...]:
        order = scorer.blank(rows, _full_order(scores) if all_ranks else _top_order(scores, top))
        relevance = relevance_of(order, query_codes[rows], gallery_codes)
        best = scorer.ranked(rows, scores, order[:, :top])
        return (relevance, *best, scorer.ranked(rows, scores, order)[1]) if tie_scores else (relevance, *best)

    return (JudgedChunk(rows, *arrays) for rows, arrays in scorer.map(judge))


def relevance_of(order: Array, query_labels: Array, gallery_labels: Array) -> Array:
    """``(Q, K) bool``: does the item at each rank of ``order (Q, K)`` share the query's label code?

    Code -1 (no label) and index -1 (no item) are relevant to nothing.
    """
    # Index -1 then reads the appended "no label".
    padded = np.append(gallery_labels, _NO_LABEL)
    return np.asarray(np.take(padded, order, mode="wrap") == _wanted(query_labels))


def relevant_counts(query_labels: Array, gallery_labels: Array, exclude: Array | None = None) -> Array:
    """``(Q,) int64`` relevant gallery items per query; an excluded item (index, -1 for none) does not count."""
    size = 1 + max(query_labels.max(initial=0), gallery_labels.max(initial=0))
    counts = np.bincount(gallery_labels[gallery_labels >= 0], minlength=size)
    n_rel: Array = np.where(query_labels >= 0, counts[query_labels], 0)
    if exclude is not None:
        n_rel = n_rel - relevance_of(exclude[:, None], query_labels, gallery_labels)[:, 0]
    return n_rel


def positions(mask: Array) -> Array:
    """Columns of the true entries of each row of ``mask (Q, W)``: ``(Q, M) int32``, ``M >= 1``.

    Rows with fewer than ``M`` true entries are filled up with `NO_POSITION`.
    """
    n_rows, width = mask.shape
    flat = np.flatnonzero(mask)
    row_starts = np.arange(n_rows + 1) * width
    counts = np.diff(np.searchsorted(flat, row_starts))
    columns = np.full((n_rows, max(int(counts.max(initial=0)), 1)), NO_POSITION, dtype=np.int32)
    columns[np.arange(columns.shape[1]) < counts[:, None]] = flat - np.repeat(row_starts[:-1], counts)
    return columns


@dataclass(frozen=True, eq=False)
class _Scorer:
    """Checked features and the scores of a slice of queries."""

    queries: Array
    gallery: Array
    exclude: Array
    copied: Array
    sources: Array
    chunk: int
    block: int
    workers: int

    @classmethod
    def build(cls, queries: ArrayLike, gallery: ArrayLike, options: RankOptions) -> _Scorer:
        precision, exclude = options.get("precision", "float32"), options.get("exclude")
        if precision not in ("float32", "float64"):
            raise EvaluationError(f"precision must be float32 or float64, not {precision!r}")
        dtype = np.dtype(precision)
        left = _checked_features("queries", queries, dtype)
        right = _checked_features("gallery", gallery, dtype)
        if left.shape[1] != right.shape[1]:
            raise EvaluationError(
                f"queries have {left.shape[1]} dimensions and the gallery {right.shape[1]}; "
                "embed both with the same encoder"
            )
        if _largest_norm(left) * _largest_norm(right) >= float(np.finfo(dtype).max):
            raise EvaluationError(f"inner products overflow {precision}; scale the features to unit length first")
        excluded = _codes("exclude", np.full(len(left), -1) if exclude is None else exclude, len(left))
        if excluded.max() >= len(right):
            raise EvaluationError(f"exclude names an index outside the gallery of {len(right)} items")
        chunk, workers = options.get("chunk"), options.get("workers")
        workers = min(4, os.cpu_count() or 1) if workers is None else workers
        if workers < 1 or (chunk is not None and chunk < 1):
            raise EvaluationError("chunk and workers must be at least 1")
        # Half of the memory for the scores of a block, half for the chunks of it that are being sorted or wait.
        half, row = options.get("memory_budget", DEFAULT_MEMORY) // 2, dtype.itemsize * len(right)
        most, needed = max(half // (row * _BLOCK_ROWS), 1), -(-len(left) // _BLOCK_ROWS)
        # As many blocks as memory asks for, of even size, so that the last one is not mostly padding.
        block = _BLOCK_ROWS * -(-needed // -(-needed // most))
        chunk = chunk or max(1, min(_CHUNK_BYTES, half // (_CHUNK_COST * (workers + 2))) // row)
        return cls(left, right, excluded, *_copies(right), chunk, block, workers)

    def map(self, work: Work) -> Iterator[Made]:
        """Chunks of queries in order, each with what ``work(rows, scores)`` makes of its rows.

        The scores of a block come from one product, and threads then share the chunks of it, at most
        ``workers + 1`` of them under way.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            for start in range(0, len(self.queries), self.block):
                yield from self._map_block(pool, work, start)

    def _map_block(self, pool: ThreadPoolExecutor, work: Work, start: int) -> Iterator[Made]:
        step = max(1, _CACHED_SCORES // len(self.gallery))

        def chunk(rows: slice, part: Array) -> Made:
            cuts = (slice(i, min(i + step, len(part))) for i in range(0, len(part), step))
            found = [work(slice(rows.start + c.start, rows.start + c.stop), part[c]) for c in cuts]
            return rows, tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))

        pending: deque[Future[Made]] = deque()
        scores = self.score(slice(start, start + self.block))
        try:
            for first in range(0, len(scores), self.chunk):
                part = scores[first : first + self.chunk]
                pending.append(pool.submit(chunk, slice(start + first, start + first + len(part)), part))
                if len(pending) > self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def score(self, rows: slice) -> Array:
        """``(q, G)`` scores of one block, the excluded item set to -inf, -0.0 made +0.0."""
        part = self.queries[rows]
        padding = self.block - len(part)
        scores = (np.pad(part, ((0, padding), (0, 0))) @ self.gallery.T)[: len(part)]
        # BLAS may give copies of a row other last digits by their place (OpenBLAS on Haswell does); they are ties.
        if len(self.copied):
            scores[:, self.copied] = scores[:, self.sources]
        scores += 0.0
        where = np.flatnonzero(self.exclude[rows] >= 0)
        scores[where, self.exclude[rows][where]] = -np.inf
        return scores

    def blank(self, rows: slice, order: Array) -> Array:
        """``order`` with -1 for the excluded item, wherever it is listed."""
        excluded = self.exclude[rows]
        if (excluded >= 0).any():
            order[order == np.where(excluded < 0, -2, excluded)[:, None]] = -1
        return order

    def ranked(self, rows: slice, scores: Array, order: Array) -> tuple[Array, Array]:
        """``order`` as int32 and the scores in that order, given all ``scores`` of ``rows``."""
        ranked = np.take_along_axis(scores, order, axis=1)
        order = self.blank(rows, order)
        # Index -1 fetched the score of some other item.
        ranked[order < 0] = -np.inf
        return order.astype(np.int32), ranked


def _checked_features(name: str, value: ArrayLike, dtype: np.dtype[Any]) -> Array:
    features = np.asarray(value)
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise EvaluationError(f"{name} must be a (N, D) matrix of numbers, not {features.dtype} {features.shape}")
    if 0 in features.shape:
        raise EvaluationError(f"{name} is empty: its shape is {features.shape}")
    features = np.ascontiguousarray(features, dtype=dtype)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} of {len(features)} rows of {name} hold NaN or infinity, first at index {bad[0]}; "
            "leave these items out or embed them again"
        )
    return features


def _copies(rows: Array) -> tuple[Array, Array]:
    """Positions of rows ``(N, d)`` that repeat an earlier one, and of the first like each."""
    none = np.empty(0, np.intp)
    if not rows.size:
        return none, none
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    sources = first[inverse.ravel()]
    copied = np.flatnonzero(sources != np.arange(len(rows)))
    return copied, sources[copied]


def _largest_norm(features: Array) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64).max()))


def _codes(name: str, value: ArrayLike, count: int) -> Array:
    codes = np.asarray(value)
    if codes.shape != (count,) or codes.dtype.kind not in "iu" or codes.min(initial=0) < -1:
        raise EvaluationError(
            f"{name} must be {count} integers of at least -1, one an item, not {codes.dtype} {codes.shape}"
        )
    return codes.astype(np.int32)


def _wanted(query_codes: Array) -> Array:
    """``(Q, 1)`` gallery code that is relevant to each query; no gallery item has that of an unlabelled query."""
    return np.where(query_codes == _NO_LABEL, _NO_LABEL - 1, query_codes)[:, None]


def _image(scores: Array) -> Array:
    """Map float32 scores to uint32 so that ascending integers are descending scores."""
    bits = scores.view(np.int32)
    image = bits >> 31
    image &= 0x7FFFFFFF
    image ^= bits
    image ^= 0x7FFFFFFF
    return image.view(np.uint32)


def _full_order(scores: Array) -> Array:
    """``(q, G) int64`` stable descending order of ``scores (q, G)``."""
    if scores.dtype != np.float32:
        return np.argsort(-scores, axis=1, kind="stable")
    # A radix sort by halves: NumPy sorts 16-bit keys stably in linear time, far faster than any wider key.
    image = _image(scores)
    row_starts = (np.arange(len(scores)) * scores.shape[1])[:, None]
    first = np.argsort(image.astype(np.uint16), axis=1, kind="stable")
    first += row_starts
    image >>= 16
    second = np.argsort(image.astype(np.uint16).ravel().take(first), axis=1, kind="stable")
    second += row_starts
    order: Array = first.ravel().take(second)
    order -= row_starts
    return order


def _top_order(scores: Array, k: int) -> Array:
    """The first ``k`` columns of `_full_order`."""
    width = scores.shape[1]
    if k >= width or scores.dtype != np.float32:
        return _full_order(scores)[:, :k]
    # Only what reaches the k-th best score is sorted; fillers come last.
    threshold = np.partition(scores, width - k, axis=1)[:, width - k]
    columns = positions(scores >= threshold[:, None])
    found = np.take_along_axis(scores, np.minimum(columns, width - 1), axis=1)
    found[columns == NO_POSITION] = -np.inf
    return np.take_along_axis(columns, _full_order(found)[:, :k], axis=1).astype(np.int64)
