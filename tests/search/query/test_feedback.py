"""A query moved by what was liked and disliked, against the formula."""

import numpy as np
import pytest

from crosslens.search.query.feedback import rocchio
from crosslens.search.query.query import QueryPart, SearchOptions
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import ConfigError, StoreError

PART = QueryPart("like", "photo/circle/00.png")
LIKED = ("photo/cross/01.png", "photo/cross/02.png")
DISLIKED = ("photo/circle/03.png",)


def ids_of(answer):
    return [found.hit.id for found in answer.hits]


def test_it_is_rocchios_formula():
    rng = np.random.default_rng(0)
    query, liked, disliked = (rng.normal(size=shape).astype(np.float32) for shape in ((6,), (3, 6), (2, 6)))
    query /= np.linalg.norm(query)
    expected = query.astype(np.float64)
    for row in liked:
        expected = expected + 0.75 / 3 * row
    for row in disliked:
        expected = expected - 0.15 / 2 * row
    assert np.allclose(rocchio(query, liked, disliked), expected / np.linalg.norm(expected), atol=1e-6)
    assert np.allclose(rocchio(query, liked[:0], disliked[:0]), query, atol=1e-6)


def test_a_search_follows_it_and_leaves_out_what_was_disliked(index):
    searcher = Searcher(index)
    rows = {image: index.get(image)[1] for image in (PART.value, *LIKED, *DISLIKED)}
    moved = rocchio(rows[PART.value], np.array([rows[i] for i in LIKED]), np.array([rows[i] for i in DISLIKED]))
    found = searcher.answer([PART], SearchOptions(top=20, liked=LIKED, disliked=DISLIKED))
    plain = searcher.answer_vector(moved, SearchOptions(top=20), exclude=[PART.value, *DISLIKED])
    assert ids_of(found) == ids_of(plain)
    assert {*LIKED} <= {*ids_of(found)}
    assert ids_of(found) != ids_of(searcher.answer([PART], SearchOptions(top=20)))
    assert "feedback" in found.seconds
    as_vector = searcher.answer_vector(rows[PART.value], SearchOptions(top=20, liked=LIKED, disliked=DISLIKED))
    assert ids_of(as_vector)[0] in (PART.value, *LIKED)


def test_what_is_unknown_or_cancels_is_refused(index):
    searcher = Searcher(index)
    with pytest.raises(StoreError, match="nothere"):
        searcher.answer([PART], SearchOptions(liked=("nothere",)))
    query = index.get(PART.value)[1]
    with pytest.raises(ConfigError, match="cancel"):
        rocchio(query, -query[None] / 0.75, query[:0].reshape(0, len(query)))
