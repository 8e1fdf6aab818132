"""Which row of A belongs to which row of B, and how surely: no labels, no threshold on a score.

Four steps, in memory that grows with N + M and not with N x M:

1. ``find_candidates``: only the nearest rows each way can be partners.
2. ``share_out``: Sinkhorn's plan on these. No row may take more than its part, so one that is near to everything
   (a hub) cannot be everybody's partner. How fast a share falls with the score is
   told by how far all scores spread, so it needs no label and fits any encoder.
3. ``pair_one_to_one`` or ``pair_many_to_one``: who goes with whom.
4. ``doubt_shares``: what a share is worth where not everything has a partner.

The plan is the posterior of a matching whose scores are log-likelihoods up to a scale (vectors of partners differ
by directional noise), under the assumption that the smaller side has its partners in the larger one. How many
really have one is estimated from how far pairs stand out of what is next to them, one to one alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosslens.ops.ranking import top_k_chunks
from crosslens.ops.rounding import NOISE
from crosslens.ops.sampling import drawn_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

SHARPNESS = 5.0
"""How many temperatures one standard deviation of all scores is: T = deviation / 5. Of 4 to 8, 5 and 6 had the
smallest errors of calibration on emoji and groceries; 5 is better on all emoji and on many photos of a product."""
_CANDIDATES = 150
"""Nearest rows of the other side that are looked at. With 20 the plan lacks what the many others would take, and
shares are too large."""
_MOST_ODDS = 20.0
_SAMPLED = 2000
_ROUNDS = 100
_AT_ONCE = 2**18
_TOLERANCE = 1e-3


class Candidates(NamedTuple):
    """Pairs of rows that may be partners, sorted by the row of A, then of B; every row of both sides has some.

    Attributes:
        rows: of A ``(E,)``.
        columns: rows of B ``(E,)``.
        scores: their inner products ``(E,)``.
        shape: N and M.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scores: Array
    shape: tuple[int, int]


def find_candidates(
    a: Array, b: Array, most: int = _CANDIDATES, *, on_progress: Callable[[int], Any] = lambda rows: None
) -> Candidates:
    """The ``most`` nearest rows of B for every row of A, and of A for every row of B.

    Exact, block by block: the scores of all pairs are computed twice and never held.

    Args:
        a: ``(N, d)``, what asks.
        b: ``(M, d)``.
        most: at least 1, capped at N and M.
        on_progress: called with rows that are done, of N + M in all.

    Raises:
        EvaluationError: for an empty side, other widths or rows that are not finite.
    """
    n, m = len(a), len(b)
    keys: list[NDArray[np.int64]] = []
    scores: list[Array] = []
    for queries, gallery, is_a in ((a, b, True), (b, a, False)):
        for chunk in top_k_chunks(queries, gallery, most):
            asking = np.arange(chunk.queries.start, chunk.queries.stop, dtype=np.int64)[:, None]
            found = chunk.order.astype(np.int64)
            keys.append((asking * m + found if is_a else found * m + asking).ravel())
            scores.append(chunk.scores.ravel())
            on_progress(len(asking))
    # A pair that both name is one; the score that A computed is kept.
    pairs, first = np.unique(np.concatenate(keys), return_index=True)
    return Candidates(pairs // m, pairs % m, np.concatenate(scores)[first], (n, m))


def temperature_of(a: Array, b: Array, seed: int = 0) -> float:
    """What scores are divided by before they are shared out: their standard deviation over ``SHARPNESS``.

    Args:
        a: ``(N, d)``.
        b: ``(M, d)``; of either side 2,000 rows are drawn where there are more.
        seed: of the draw.
    """
    some, others = (rows[drawn_rows(len(rows), _SAMPLED, seed)] for rows in (a, b))
    return max(float((some @ others.T).std()), NOISE) / SHARPNESS


def share_out(candidates: Candidates, temperature: float, *, many: bool = False) -> NDArray[np.float64]:
    """Sinkhorn's plan on the candidates (Cuturi, NeurIPS 2013), every other pair having no share.

    Every row of the smaller side gives 1 in all, and a row of the larger side takes at most 1: a capacity, as in
    Benamou et al. (SIAM J. Sci. Comput. 2015), since not all of these can have a partner.

    Args:
        candidates: E pairs.
        temperature: T > 0, in the unit of the scores.
        many: whether every row of A gives 1, however many they are; a row of B takes at most N / M of them, or 1
            where there are fewer.

    Returns:
        Shares ``(E,)`` in [0, 1]. What is given is exact, what is taken as near as 100 rounds come to it.
    """
    rows, columns, scores, (n, m) = candidates
    logs = scores.astype(np.float64) / temperature
    givers, takers = (rows, columns) if many or n <= m else (columns, rows)
    giving, taking = (n, m) if many or n <= m else (m, n)
    by_giver, by_taker = np.argsort(givers, kind="stable"), np.argsort(takers, kind="stable")
    giver_starts = np.searchsorted(givers[by_giver], np.arange(giving))
    taker_starts = np.searchsorted(takers[by_taker], np.arange(taking))
    capacity = max(1.0, giving / taking)
    v = np.zeros(taking)
    for _ in range(_ROUNDS):
        u = -_log_sums((logs + v[takers])[by_giver], giver_starts)
        wanted = np.log(capacity) - _log_sums((logs + u[givers])[by_taker], taker_starts)
        # Where all that can be taken is given, a taker that gets too little has to get more.
        wanted = wanted if giving >= taking else np.minimum(wanted, 0.0)
        moved, v = np.abs(wanted - v).max(), wanted
        if moved <= _TOLERANCE:
            break
    u = -_log_sums((logs + v[takers])[by_giver], giver_starts)
    return np.asarray(np.exp(logs + u[givers] + v[takers]))


def pair_one_to_one(candidates: Candidates, shares: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The pairs that are left when the largest share is taken again and again, with both its rows.

    No row of A and row of B that were not paired with each other would both gain by it, as in a stable marriage.

    Args:
        candidates: E pairs.
        shares: ``(E,)``.

    Returns:
        Positions among the candidates ``(P,)``, largest share first; each row of either side at most once.
    """
    free_rows, free_columns = (np.ones(count, dtype=bool) for count in candidates.shape)
    order = np.argsort(-shares, kind="stable")
    taken = []
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        part = part[free_rows[candidates.rows[part]] & free_columns[candidates.columns[part]]]
        rows, columns = candidates.rows[part].tolist(), candidates.columns[part].tolist()
        for place, row, column in zip(part.tolist(), rows, columns, strict=True):
            if free_rows[row] and free_columns[column]:
                free_rows[row] = free_columns[column] = False
                taken.append(place)
    return np.array(taken, np.int64)


def pair_many_to_one(candidates: Candidates, shares: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The largest share of every row of A; a row of B may have many.

    Args:
        candidates: E pairs.
        shares: ``(E,)``.

    Returns:
        Positions among the candidates ``(N,)``, largest share first.
    """
    order = np.argsort(-shares, kind="stable")
    _, first = np.unique(candidates.rows[order], return_index=True)
    return np.asarray(order[np.sort(first)])


def doubt_shares(
    candidates: Candidates, shares: NDArray[np.floating[Any]], chosen: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How probable the pairs of ``pair_one_to_one`` are, where nobody knows how many have a partner at all.

    Strangers too are each other's best: their share p is that of the largest of many, and how large such are is
    seen beside the pair. Among exponential tails the gap between the first and the second is spread as twice that
    between the second and the third (Renyi, 1953), so the decoy of a pair stands as far above the second best of
    its row and column. Where shares are calibrated among partners, they have there those of strangers weighted by
    g = 1 / (1 - p) over its mean among strangers. That mean is the decoys', each counted by how likely its pair
    is one of strangers (1 - p), and a standard error more, so that chance counts for nothing. All pairs are a
    mixture, with a share r of pictures that have a partner, and r has the greatest likelihood
    ``sum log(1 - r + r g)`` over the pairs that are the best of their row and column. A pair then is right with
    ``p r g / (1 - r + r g)``: with p where all have partners, with 0 where none stands out more than decoys do.

    Args:
        candidates: E pairs.
        shares: ``(E,)``, of ``share_out``.
        chosen: positions among the candidates ``(P,)``.

    Returns:
        ``(P,)`` in [0, 1], no larger than the shares but for rounding, and in their order.
    """
    p = np.clip(shares[chosen], 0, 1 - 1e-9)
    places = [_largest_three(side, shares, chosen) for side in (candidates.rows, candidates.columns)]
    near = np.concatenate(places, axis=1)
    others = np.where((near < 0) | (near == chosen[:, None]), 0.0, shares[near])
    second, third = np.maximum(np.sort(others, axis=1)[:, :-3:-1].T, 1e-100)
    best = shares[chosen] > second
    if not best.any():
        return np.asarray(p)
    odds = 1 / (1 - p)
    decoys = np.minimum(second / (1 - p) * (second / third) ** 2, _MOST_ODDS - 1)[best]
    strange = 1 - p[best]
    mean = (strange @ decoys) / strange.sum()
    # A difference of two such means is what chance makes large.
    error = np.sqrt(2 * ((strange * (decoys - mean)) ** 2).sum()) / strange.sum()
    level = 1 + mean + error
    partnered = _largest_likelihood(np.minimum(odds, _MOST_ODDS)[best] / level)
    weight = partnered * odds / level
    return np.asarray(p * weight / (1 - partnered + weight))


def _largest_three(
    side: NDArray[np.int64], shares: NDArray[np.floating[Any]], chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Candidates ``(P, 3)`` of the largest shares in each chosen one's row, or column; -1 where there is none."""
    order = np.lexsort((-shares, side))
    starts = np.searchsorted(side[order], side[chosen])[:, None] + np.arange(3)
    found = order[np.minimum(starts, len(order) - 1)]
    mine = (starts < len(order)) & (side[found] == side[chosen][:, None])
    return np.where(mine, found, -1)


def _largest_likelihood(ratios: NDArray[np.float64]) -> float:
    """The r in [0, 1] with the largest ``sum log(1 - r + r g)``, which is concave in r."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        rising = ((ratios - 1) / (1 - middle + middle * ratios)).sum() > 0
        low, high = (middle, high) if rising else (low, middle)
    # Halves never reach the ends.
    return round((low + high) / 2, 9)


def _log_sums(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """``log sum exp`` of each run of values; runs begin at ``starts`` and none is empty."""
    top = np.maximum.reduceat(values, starts)
    lengths = np.diff(np.append(starts, len(values)))
    sums = np.add.reduceat(np.exp(values - np.repeat(top, lengths)), starts)
    return np.asarray(top + np.log(sums))
