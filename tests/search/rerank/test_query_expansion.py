"""The expanded query against its weighted sum, written out."""

import numpy as np

from crosslens.search.rerank import RERANKERS
from crosslens.search.rerank.query_expansion import expand_query
from search.rerank.clusters import world


def test_expansion_is_the_weighted_sum():
    query, vectors = world()
    scores = vectors @ query
    expected = query + sum(max(s, 0) ** 3 * v for s, v in zip(scores[:7], vectors[:7], strict=True))
    found = expand_query(query, vectors[:7], scores[:7])
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    assert np.allclose(expand_query(query, vectors[:0], scores[:0]), query, atol=1e-6)
    assert RERANKERS["aqe"].expand(query, vectors[:0], scores[:0]) is query
