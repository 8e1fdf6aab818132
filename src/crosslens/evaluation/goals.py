"""Measuring a goal: ``thing`` takes from a gallery item's scores what it gets from every query.

What is near every query is learned of queries without labels, and never of those that are measured: each half of a
direction's queries is measured with what the other half taught.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crosslens.evaluation.results import RetrievalResults
from crosslens.evaluation.side import Side
from crosslens.ops.calibration import LEAST
from crosslens.ops.hubs import MOST_ITEMS, MOST_QUERIES, TEMPERATURE, bank_potentials, softmax_numbers
from crosslens.ops.sampling import drawn_rows
from crosslens.support.errors import EvaluationError

MARK = (
    "goal thing: what is near every query counts less; learned of one half of the queries, without labels, for the"
    " other"
)


def aim_at_thing(query: Side, gallery: Side, seed: int = 0) -> tuple[Side, Side]:
    """Both sides with two more numbers a row, so that their inner products are the corrected scores.

    A gallery row ends with its item's numbers by the two halves, a query's row with -1 for the half it is not of.

    Args:
        query: Q images, of which two halves are drawn.
        gallery: G images.
        seed: of the draws.

    Raises:
        EvaluationError: for fewer than 20 queries.
    """
    if len(query.ids) < 2 * LEAST:
        raise EvaluationError(
            f"goal = 'thing' learns of one half of the queries for the other, and {query.domain} has"
            f" {len(query.ids)}; give at least {2 * LEAST}"
        )
    second = np.zeros(len(query.ids), dtype=bool)
    second[drawn_rows(len(second), len(second) // 2, seed)] = True
    learned = drawn_rows(len(gallery.ids), MOST_ITEMS, seed)
    numbers = []
    for half in (~second, second):
        asking = query.queries[half]
        bank = asking[drawn_rows(len(asking), MOST_QUERIES, seed)]
        potentials = bank_potentials(bank @ gallery.vectors[learned].T, TEMPERATURE)
        numbers.append(softmax_numbers(bank @ gallery.vectors.T, TEMPERATURE, potentials))
    weights = -np.stack([second, ~second], axis=1).astype(np.float32)
    aimed = replace(query, queries=np.concatenate([query.queries, weights], axis=1))
    table = np.stack(numbers, axis=1).astype(np.float32)
    return aimed, replace(gallery, vectors=np.concatenate([gallery.vectors, table], axis=1))


def flattered(result: RetrievalResults) -> str:
    """What to say where most queries have one counterpart: half of those in the gallery are then the bank's; or
    ""."""
    if result.n_relevant is None or not len(result.n_relevant) or np.median(result.n_relevant) != 1:
        return ""
    return (
        f"{result.query_domain} -> {result.gallery_domain}: most queries have one counterpart, so the half that"
        " goal thing learns of has its own in the gallery, which makes its numbers better than other queries would"
    )
