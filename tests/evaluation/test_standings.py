"""Means, intervals, tests and ranks of a suite against slow formulas."""

import numpy as np
import pytest

from crosslens.evaluation.significance import paired_randomisation
from crosslens.evaluation.standings import chapters_of, compare_entries, estimate_of, holm, mean_of
from crosslens.evaluation.suite_results import Cell, Direction, Measured, SuiteResults
from crosslens.support.errors import EvaluationError


def direction(values, seed=0, asking="a", answering="b", labels=None):
    count = len(values)
    names = np.array([f"{asking}/{i:03d}" for i in range(count)])
    labels = np.array(labels if labels is not None else ["x", "y"] * (count // 2))
    return Direction(seed, asking, answering, names, labels, {"map@all": np.asarray(values, np.float32)})


def measured(method, *parts, data="d", seed=0, **facts):
    about = {"registered": method, "learns_from": ["images"], **facts}
    return Measured(Cell(data, "pairs", "tiny", method, seed), tuple(parts), about)


def results(*cells):
    methods, data = (list(dict.fromkeys(getattr(m.cell, axis) for m in cells)) for axis in ("method", "data"))
    about = {"name": "s", "metrics": ["map@all"], "methods": methods, "data": data, "base": methods[0]}
    return SuiteResults(about, cells)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_mean_is_that_of_parts_and_leaves_out_what_does_not_count(rng):
    parts = [direction([0.0, 1.0, np.nan, 0.5]), direction([1.0, 1.0], asking="b", answering="a")]
    assert mean_of(parts, "map@all") == pytest.approx((0.5 + 1.0) / 2)
    assert np.isnan(mean_of([direction([np.nan, np.nan])], "map@all"))


def test_the_interval_resamples_images_with_all_they_ask(rng):
    """Against a plain loop that draws images and recomputes the number."""
    values = rng.random((2, 60))
    parts = [direction(values[0]), direction(values[1], answering="c")]
    found = estimate_of(parts, "map@all")
    draws = np.random.default_rng(1).integers(0, 60, size=(2000, 60))
    slow = np.quantile([values[:, draw].mean() for draw in draws], (0.025, 0.975))
    assert found.value == pytest.approx(values.mean(), abs=1e-6)
    assert (found.low, found.high) == pytest.approx(tuple(slow), abs=0.004)
    # As if the two directions were independent, the interval would be narrower where they go together.
    alike = estimate_of([direction(values[0]), direction(values[0], answering="c")], "map@all")
    alone = estimate_of([direction(values[0])], "map@all")
    assert alike.high - alike.low == pytest.approx(alone.high - alone.low, abs=1e-9)


def test_two_methods_on_the_same_queries(rng):
    first, second = rng.random(40), rng.random(40)
    base, other = (
        chapter.entries["m", "d"]
        for chapter in (
            chapters_of(results(measured("m", direction(values), direction(values[::-1], answering="c"))))[0]
            for values in (first, second)
        )
    )
    found = compare_entries(base, other, "map@all")
    shares = ((second - first) + (second - first)[::-1]) / 2 / 40
    test = paired_randomisation(shares, np.zeros(40))
    assert found.difference == pytest.approx(shares.sum(), abs=1e-6)
    assert found.p_value == pytest.approx(test.p_value, abs=0.01)
    assert found.gained + found.lost == 80
    best = max(found.flipped, key=lambda flip: flip[3])
    assert best[3] == pytest.approx((second - first).max(), abs=1e-6)


def test_flips_show_other_classes_first(rng):
    labels = ["x"] * 10 + ["y"] * 10
    base = chapters_of(results(measured("m", direction(np.zeros(20), labels=labels))))[0].entries["m", "d"]
    change = np.where(np.arange(20) < 10, 0.9, 0.1)
    other = chapters_of(results(measured("m", direction(change, labels=labels))))[0].entries["m", "d"]
    flipped = compare_entries(base, other, "map@all", most=2).flipped
    assert [round(flip[3], 3) for flip in flipped[:2]] == [0.9, 0.1]


def test_only_common_seeds_are_compared(rng):
    one, two = direction(np.zeros(10)), direction(np.ones(10), seed=1)
    base = chapters_of(results(measured("m", one), measured("m", two, seed=1)))[0].entries["m", "d"]
    other = chapters_of(results(measured("m", direction(np.full(10, 0.5)))))[0].entries["m", "d"]
    assert compare_entries(base, other, "map@all").difference == pytest.approx(0.5)


def test_other_queries_are_refused(rng):
    base = chapters_of(results(measured("m", direction(np.zeros(10)))))[0].entries["m", "d"]
    part = chapters_of(results(measured("m", direction(np.zeros(4)))))[0].entries["m", "d"]
    with pytest.raises(EvaluationError, match="the same queries"):
        compare_entries(base, part, "map@all")


def test_ranks_and_the_way_to_the_ceiling():
    labelled = {"learns_from": ["images", "labels"], "floor": {"map@all": 0.3}}
    cells = [
        measured(name, direction(np.full(10, value)), data=data, **facts)
        for data, low in (("d", 0.0), ("e", 0.1))
        for name, value, facts in (
            ("frozen", 0.2 + low, {}),
            ("good", 0.5 + low, {}),
            ("ceiling", 0.9 + low, labelled),
        )
    ]
    chapter = chapters_of(results(*cells))[0]
    assert chapter.rivals == ["frozen", "good"]
    assert chapter.ranks() == {"frozen": 2.0, "good": 1.0}
    # The way is 0.9 - 0.3 long, and begins at the frozen backbone's own number.
    assert chapter.shares("d") == pytest.approx({"frozen": 0.0, "good": 0.5})
    assert chapter.best("d") == "good"


def test_equal_methods_share_a_rank():
    cells = [measured(name, direction(np.full(10, 0.5))) for name in ("one", "two")]
    assert chapters_of(results(*cells))[0].ranks() == {"one": 1.5, "two": 1.5}


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.6], [0.2], []])
def test_holm_against_its_definition(p_values):
    """The largest, over all smaller or equal ones, of the p-value times the number of those not smaller."""
    slow = [max(min(1.0, q * sum(r >= q for r in p_values)) for q in p_values if q <= p) for p in p_values]
    assert holm(p_values) == pytest.approx(slow)
