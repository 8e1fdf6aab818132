"""Maximal marginal relevance against the formula, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crosslens.nn.similarity import Similarity
from crosslens.search.query.query import SearchOptions
from crosslens.search.query.searcher import Searcher
from crosslens.search.rerank.base import Candidates
from crosslens.search.rerank.mmr import MaximalMarginalRelevance, marginal_order
from search.rerank.clusters import unit, world

SHARES = st.floats(0, 1, width=32)


def slow_order(scores, alike, relevance):
    left, chosen = list(range(len(scores))), []
    while left:

        def worth(i):
            if not chosen:
                return scores[i]
            return relevance * scores[i] - (1 - relevance) * max(alike[i, j] for j in chosen)

        best = max(left, key=worth)
        chosen.append(best)
        left.remove(best)
    return chosen


@given(st.data(), st.integers(0, 12), SHARES)
def test_it_is_the_formula_of_the_paper(data, count, relevance):
    scores = data.draw(arrays(np.float64, count, elements=st.integers(-4, 4).map(float)))
    alike = data.draw(arrays(np.float64, (count, count), elements=st.integers(-4, 4).map(float)))
    assert marginal_order(scores, alike, relevance).tolist() == slow_order(scores, alike, relevance)


def test_relevance_alone_keeps_the_order_of_the_scores():
    query, vectors = world()
    scores = vectors @ query
    assert marginal_order(scores, vectors @ vectors.T, 1).tolist() == np.argsort(-scores, kind="stable").tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_first_hits_come_from_more_clusters_and_the_best_one_stays_first(seed):
    query, vectors = world(seed, classes=6, each=10, noise=0.2)
    order = np.argsort(-(vectors @ query), kind="stable")
    listed = Candidates(vectors[order], (vectors @ query)[order])
    found = order[MaximalMarginalRelevance().order(query, listed)]
    assert found[0] == order[0]
    assert sorted(found) == list(range(60))
    assert len({*(found[:6] // 10)}) > len({*(order[:6] // 10)})


def test_of_copies_one_comes_early_and_the_others_late():
    rows = np.eye(7, dtype=np.float32)
    rows[1:3] = rows[0]
    scores = np.array([0.9, 0.9, 0.9, 0.5, 0.45, 0.4, 0.1], np.float32)
    found = MaximalMarginalRelevance().order(rows[0], Candidates(rows, scores)).tolist()
    assert found == [0, 3, 4, 5, 1, 2, 6]


def test_hyperbolic_vectors_are_compared_in_their_own_way():
    import torch

    similarity = Similarity(kind="lorentz")
    points = torch.from_numpy(0.4 * unit(np.random.default_rng(1).normal(size=(9, 4)))).float()
    rows = similarity.rows(points).numpy()
    scores = rows @ similarity.as_queries(rows[:1])[0]
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    alike = similarity.as_queries(rows) @ rows.T
    stretched = [(v - v.min()) / (v.max() - v.min()) for v in (scores, alike)]
    found = MaximalMarginalRelevance().order(rows[0], Candidates(rows, scores), similarity)
    assert found.tolist() == slow_order(*stretched, 0.5)


def test_a_search_shows_different_ones(index):
    """The tiny pictures of one shape and look are nearly equal, so plain hits are all of one class."""
    searcher, query = Searcher(index), index.get("photo/circle/00.png")[1]
    plain = searcher.answer_vector(query, SearchOptions(top=8))
    varied = searcher.answer_vector(query, SearchOptions(top=8, rerank="mmr"))
    kinds = [{(one.hit.domain, one.hit.label) for one in found.hits} for found in (plain, varied)]
    assert len(kinds[1]) > len(kinds[0])
    assert varied.hits[0] == plain.hits[0]
    scores = {one.hit.id: one.hit.score for one in searcher.answer_vector(query, SearchOptions(top=96)).hits}
    assert all(one.hit.score == pytest.approx(scores[one.hit.id]) for one in varied.hits)
