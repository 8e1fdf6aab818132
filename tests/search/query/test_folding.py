import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosslens.nn.similarity import Similarity
from crosslens.search.query.folding import Folds


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 1000), st.integers(1, 12), st.floats(0.3, 0.99))
def test_each_hit_goes_under_the_first_kept_one_it_nearly_equals(seed, split, threshold):
    vectors = unit(np.random.default_rng(seed).normal(size=(12, 4)))
    kept, expected = [], []
    for row in range(12):
        under = [n for n, other in enumerate(kept) if vectors[other] @ vectors[row] >= threshold - 1e-6]
        if under:
            expected.append(under[0])
        else:
            expected.append(len(kept))
            kept.append(row)
    folding = Folds(threshold)
    # In one go or in two, the answer is the same.
    assert folding.add(vectors[:split]) + folding.add(vectors[split:]) == expected
    assert len(folding) == len(kept)


def test_a_threshold_of_one_folds_copies_alone():
    vectors = unit(np.random.default_rng(0).normal(size=(3, 700)))
    assert Folds(1.0).add(vectors[[0, 1, 0, 2, 1]]) == [0, 1, 0, 2, 1]


def test_hyperbolic_rows_are_compared_by_distance():
    similarity = Similarity(kind="lorentz", curvature=1.0, radius=2.0)
    points = torch.tensor([[0.9, 0.0], [0.0, 0.9], [0.9, 0.001]], dtype=torch.float64)
    rows = similarity.rows(points).numpy()
    scores = similarity.as_queries(rows) @ rows.T
    cosine = float(rows[0] @ rows[1])
    between = (scores[0, 1] + cosine) / 2
    # As bare unit rows the first two are nearer than the threshold; by distance they are not.
    assert scores[0, 1] < between < cosine
    assert Folds(float(between)).add(rows) == [0, 0, 0]
    assert Folds(float(between), similarity).add(rows) == [0, 1, 0]
