"""What a question finds, batch after batch, against one search for everything."""

from itertools import pairwise

import numpy as np
import pytest

from crosslens.search.index.items import Hit
from crosslens.search.query.listing import Batch, Search, cut
from crosslens.search.query.query import SearchOptions
from crosslens.search.query.question import Course, Question


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({"photo/circle/00.png", "sketch/cross/01.png"})])
@pytest.mark.parametrize("least", [0, 40])
def test_batches_are_the_whole_list_in_parts(index, exclude, least):
    vector = index.get("photo/circle/00.png")[1]
    course = Course()
    listing = Search(index)(Question(vector, SearchOptions(top=7), exclude), course)
    batches = list(listing.batches(vector, least))
    everything = index.search(vector[None], len(index))[0]
    hits = [hit for batch in batches for hit in batch.hits]
    assert [hit.id for hit in hits] == [hit.id for hit in everything if hit.id not in exclude]
    assert len(batches[0].hits) == max(7, least)
    for before, after in pairwise(batches):
        assert before.ceiling == min(hit.score for hit in before.hits)
        assert all(hit.score <= before.ceiling for hit in after.hits)
    assert [hit.id for hit in listing.nearest] == [hit.id for hit in everything]
    assert set(course.seconds) == {"search"}


def test_the_first_hits_leave_out_what_is_excluded(index):
    vector = index.get("photo/circle/00.png")[1]
    listing = Search(index)(Question(vector, SearchOptions(), frozenset({"photo/circle/00.png"})), Course())
    everything = [hit.id for hit in index.search(vector[None], 5)[0]]
    assert [hit.id for hit in listing.first(4)] == everything[1:]
    assert [hit.id for hit in listing.nearest] == everything


def test_a_cut_ends_where_no_later_hit_reaches_it():
    def batch(*scores, ceiling=None):
        hits = [Hit(str(score), score, "/x", "photo", None) for score in scores]
        return Batch(hits, min(scores) if ceiling is None else ceiling)

    batches = iter([batch(0.9, 0.8), batch(0.7, 0.4), batch(0.3)])
    assert [[hit.score for hit in hits] for hits in cut(batches, 0.5)] == [[0.9, 0.8], [0.7]]
    assert len(list(batches)) == 1
    unordered = [batch(0.4, 0.9, ceiling=np.inf), batch(0.2, 0.8, ceiling=np.inf)]
    assert [[hit.score for hit in hits] for hits in cut(unordered, 0.5)] == [[0.9], [0.8]]
