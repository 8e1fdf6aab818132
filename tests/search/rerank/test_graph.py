"""Neighbour graphs against all similarities."""

import numpy as np

from crosslens.search.rerank.graph import NONE, neighbour_graph, restrict
from search.rerank.clusters import world


def test_the_graph_is_exact_and_never_holds_the_item_itself():
    _, vectors = world()
    vectors[7] = vectors[3]
    done = []
    graph = neighbour_graph(vectors, 9, advance=done.append)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    assert np.allclose(graph.scores, np.sort(cosines, axis=1)[:, ::-1][:, :9], atol=1e-6)
    assert not (graph.rows == np.arange(len(vectors))[:, None]).any()
    assert graph.rows[3, 0] == 7
    assert sum(done) == len(vectors)
    few = neighbour_graph(vectors[:3], 5)
    assert (few.rows[:, 2:] == NONE).all()
    assert (neighbour_graph(vectors[:1], 5).rows == NONE).all()


def test_restricting_renumbers_and_keeps_the_scores_of_what_is_left_out():
    _, vectors = world()
    graph = neighbour_graph(vectors, 6)
    rows = np.array([5, 0, 1, 40])
    part = restrict(graph, rows)
    for place, row in enumerate(rows):
        for column in range(6):
            outside = graph.rows[row, column] not in rows
            inside = part.rows[place, column]
            assert (inside == NONE) if outside else (rows[inside] == graph.rows[row, column])
    assert np.array_equal(part.scores, graph.scores[rows])
