"""Measuring the goal thing: the corrected scores by the slow formula, and what is said beside them."""

import numpy as np
import pytest

import crosslens
from crosslens.encoder import Encoder
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.goals import MARK, aim_at_thing
from crosslens.evaluation.measured import rank_directions
from crosslens.evaluation.side import Side
from crosslens.ops.hubs import TEMPERATURE, bank_potentials, softmax_numbers
from crosslens.support.errors import ConfigError, EvaluationError
from testing.stores import unit
from testing.tiny_backbone import TinyBackbone


def side(domain, labels, seed):
    vectors = unit(len(labels), dim=8, seed=seed)
    return Side(domain, [f"{domain}/{row}" for row in range(len(labels))], labels, vectors, vectors)


def test_each_half_is_measured_by_what_the_other_taught():
    query, gallery = side("sketch", ["a", "b"] * 25, 1), side("photo", ["a", "b"] * 20, 2)
    asking, answering = aim_at_thing(query, gallery)
    corrected = asking.queries @ answering.vectors.T
    first = asking.queries[:, -1] == -1
    assert first.sum() == 25
    scores = query.queries @ gallery.vectors.T
    for half in (first, ~first):
        bank = scores[~half]
        slow = scores[half] - softmax_numbers(bank, TEMPERATURE, bank_potentials(bank, TEMPERATURE))
        np.testing.assert_allclose(corrected[half], slow, atol=1e-5)
    # Labels take no part.
    other = Side(query.domain, query.ids, ["b"] * 50, query.vectors, query.queries)
    np.testing.assert_array_equal(aim_at_thing(other, gallery)[0].queries, asking.queries)


def test_few_queries_are_refused():
    with pytest.raises(EvaluationError, match="give at least 20"):
        aim_at_thing(side("sketch", ["a"] * 19, 1), side("photo", ["a"] * 40, 2))


def test_what_flatters_is_said():
    names = [str(row) for row in range(30)]
    order = [(side("line", names, 1), side("flat", names, 2))]
    ranked = rank_directions(order, [Metric("AP")], "test", 5, "thing")
    assert any("most queries have one counterpart" in note for note in ranked.notes)
    few = [(side("line", ["a", "b"] * 15, 1), side("flat", ["a", "b"] * 15, 2))]
    assert not rank_directions(few, [Metric("AP")], "test", 5, "thing").notes
    plain = rank_directions(order, [Metric("AP")], "test", 5)
    assert plain.directions[0].metrics != ranked.directions[0].metrics


def test_an_evaluation_is_marked_and_says_its_goal(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    encoder = Encoder(TinyBackbone())
    kind, thing = (crosslens.evaluate(encoder, pictures, goal=goal, k=[1]) for goal in ("kind", "thing"))
    assert (kind.to_json()["goal"], thing.to_json()["goal"]) == ("kind", "thing")
    assert (kind.marks, thing.marks) == ((), (MARK,))
    assert thing.metrics != kind.metrics
    assert crosslens.evaluate(encoder, pictures, k=[1]).metrics == kind.metrics
    with pytest.raises(ConfigError, match="did you mean 'thing'"):
        crosslens.evaluate(encoder, pictures, goal="things")
