"""Hubs, gallery items that are near everything: what is taken from an item's scores so that it is one no more.

A hub is the nearest neighbour of many queries whatever they show (Radovanovic et al., JMLR 2010). Each function
takes the scores of a bank of unlabelled queries against the gallery and gives one number an item; ``score -
number`` ranks. The numbers are in the unit of the scores, and what all items have in common is left in them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crosslens.ops.sinkhorn import scale_by_sinkhorn

Array = NDArray[np.float64]
Goal = Literal["thing", "kind"]
"""What a search is for: this very thing in another look, or more of its kind."""
DEFAULT_GOAL: Goal = "kind"
TEMPERATURE = 0.05
"""Of the soft largest score; see docs/how-to/goal.md for what it was chosen by."""
MOST_QUERIES = 1000
"""Of a bank."""
MOST_ITEMS = 2000
"""That a bank's potentials are learned on."""


def csls_numbers(scores: NDArray[np.floating], k: int = 10) -> Array:
    """Half the mean of an item's k best scores in the bank: the item's part of CSLS (Conneau et al., ICLR 2018).

    Args:
        scores: ``(R, N)`` of R queries of the bank and N items.
        k: fewer where the bank is smaller.

    Returns:
        ``(N,)``.

    Raises:
        ValueError: when the bank is empty.
    """
    table = _checked(scores)
    k = min(k, len(table))
    return np.asarray(np.partition(table, len(table) - k, axis=0)[len(table) - k :].mean(0) / 2)


def softmax_numbers(
    scores: NDArray[np.floating], temperature: float, potentials: NDArray[np.floating] | None = None
) -> Array:
    """``T log sum_i exp((scores_ij + u_i) / T)``, the soft largest score of an item in the bank.

    Without potentials this is the inverted softmax (Smith et al., ICLR 2017). With those of ``bank_potentials`` it
    is, up to a constant, minus Sinkhorn's potential of the item: a closed formula of its own scores alone.

    Args:
        scores: ``(R, N)`` of R queries of the bank and N items; -inf where a query does not count for an item.
        temperature: T > 0.
        potentials: u ``(R,)``; 0 by default.

    Returns:
        ``(N,)``; -inf where no query counts.

    Raises:
        ValueError: when the bank is empty.
    """
    shifted = _checked(scores)
    if potentials is not None:
        shifted = shifted + np.asarray(potentials, np.float64)[:, None]
    top = shifted.max(0)
    level = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        found = level + temperature * np.log(np.exp((shifted - level) / temperature).sum(0))
    return np.asarray(found)


def bank_potentials(scores: NDArray[np.floating], temperature: float, rounds: int = 20) -> Array:
    """The potentials ``(R,)`` of a bank's queries with which every query and every item gets its equal share.

    That is Sinkhorn's scaling (``crosslens.ops.sinkhorn``). Their level is such that ``softmax_numbers`` of the
    same scores have a mean of 0.

    Args:
        scores: ``(R, N)``; -inf where a query does not count for an item.
        temperature: T > 0.
        rounds: most rounds of Sinkhorn; after these few nothing in a ranking moves any more.

    Raises:
        ValueError: when the bank or the gallery is empty, or a query or an item has no score.
    """
    table = _checked(scores)
    counted = np.isfinite(table)
    if not (counted.any(0).all() and counted.any(1).all()):
        raise ValueError("each query and each item needs a score that counts")
    # Far below all others, yet finite: its share is 0 in float64.
    lowest = table[counted].min() - 1e4 * temperature
    potentials, _ = scale_by_sinkhorn(np.where(counted, table, lowest), temperature, rounds=rounds)
    return np.asarray(potentials - softmax_numbers(table, temperature, potentials).mean())


def _checked(scores: NDArray[np.floating]) -> Array:
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or not len(table):
        raise ValueError("the bank holds no query")
    return table
