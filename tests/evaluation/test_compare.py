"""Comparisons: the p-value is that of the printed difference."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from crosslens.evaluation import compare as module
from crosslens.evaluation.compare import compare_evaluations
from crosslens.evaluation.conventions import CONVENTIONS, Metric
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.support.errors import EvaluationError

DOMAINS = {"photo": 30, "sketch": 12, "clip": 9}
CODA = Metric("AP", average="class", interpolation="voc", tag="voc-class")


def world(seed: int, signal: float, convention: str) -> Evaluation:
    """Three domains of different sizes and classes, ranked in all six directions by vectors of any quality."""
    labels = {}
    draw = np.random.default_rng(7)
    for domain, count in DOMAINS.items():
        names = draw.choice(["a", "a", "a", "b", "c"], count)
        names[:3] = ["a", "b", "c"]
        # Only sketches show this class, so that its queries have no answer.
        labels[domain] = np.append(names, ["only"] * 2) if domain == "sketch" and convention != "trec" else names
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=8) for name in ("a", "b", "c", "only")}
    rows = {d: np.array([centres[n] for n in names]) * signal for d, names in labels.items()}
    rows = {d: r + rng.normal(size=r.shape) for d, r in rows.items()}
    metrics = [*CONVENTIONS[convention].metrics((1, 5)), CODA]
    directions = [
        evaluate_retrieval(
            rows[q],
            rows[g],
            labels[q],
            labels[g],
            query_ids=[f"{q}/{n}" for n in range(len(rows[q]))],
            gallery_ids=[f"{g}/{n}" for n in range(len(rows[g]))],
            metrics=metrics,
            convention=convention + " and CoDA",
            query_domain=q,
            gallery_domain=g,
        )
        for q, g in product(DOMAINS, DOMAINS)
        if q != g
    ]
    return Evaluation("pairs", convention, "made", tuple(directions))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_is_permuted_is_what_is_printed(convention, monkeypatch):
    tested = []
    test = module.paired_randomisation

    def watched(first, second):
        tested.append(np.asarray(first) - np.asarray(second))
        return test(first, second)

    monkeypatch.setattr(module, "paired_randomisation", watched)
    base, other = world(0, 0.3, convention), world(1, 0.8, convention)
    for key in base.metrics:
        tested.clear()
        found = compare_evaluations(base, other, key)
        *directions, whole = tested
        assert found.difference == pytest.approx(other.metrics[key] - base.metrics[key], abs=1e-12)
        assert whole.sum() == pytest.approx(found.difference, abs=1e-12)
        # One sign an image, whatever the number of galleries that it asks.
        assert len(whole) <= sum(DOMAINS.values()) + 2
        for row, a, b, told in zip(directions, base.directions, other.directions, found.directions, strict=True):
            assert told["difference"] == pytest.approx(b.metrics[key] - a.metrics[key], abs=1e-12)
            assert row.sum() == pytest.approx(told["difference"], abs=1e-12)


def one(values, ids, labels, gallery="photo", weights=None, average="macro") -> RetrievalResults:
    values = np.array(values, dtype=float)
    top = np.zeros((len(values), 1), dtype=int)
    metric = Metric("P", 5, "min", average=average)
    counted = np.isfinite(values)
    shares = counted if weights is None else np.where(counted, weights, 0.0)
    if average == "class":
        names = sorted({n for n, c in zip(labels, counted, strict=True) if c})
        mean = np.mean([values[counted & (np.array(labels) == name)].mean() for name in names])
    else:
        mean = (np.nan_to_num(values) * shares).sum() / shares.sum()
    return RetrievalResults(
        query_ids=np.array(ids),
        gallery_ids=np.array(["g"]),
        top=top,
        scores=np.zeros((len(values), 1)),
        query_labels=np.array(labels),
        per_query={"p@5": values},
        weights={} if weights is None else {"p@5": np.array(weights, dtype=float)},
        metrics={"p@5": mean},
        definitions=(metric,),
        query_domain="sketch",
        gallery_domain=gallery,
    )


def made(*directions) -> Evaluation:
    return Evaluation("pairs", "made", "made", directions)


def brute_force(shares) -> float:
    signs = np.array(list(product([1, -1], repeat=len(shares))))
    sums = np.abs(signs @ np.array(shares))
    return float((sums >= abs(sum(shares)) - 1e-12).mean())


def test_pooled_queries_are_weighed():
    ids, labels = ["1", "2", "3", "4", "5"], ["a"] * 5
    weights = [5, 1, 1, 1, 1]
    base = made(one([0.6, 0, 0, 0, 0], ids, labels, weights=weights, average="micro"))
    other = made(one([0.4, 1, 1, 1, 0], ids, labels, weights=weights, average="micro"))
    found = compare_evaluations(base, other, "p@5")
    shares = np.array([-0.2 * 5, 1, 1, 1, 0]) / 9
    assert found.difference == pytest.approx(shares.sum())
    assert found.p_value == pytest.approx(brute_force(shares))
    assert found.p_value != pytest.approx(brute_force([-0.2, 1, 1, 1, 0]))


def test_the_sign_of_the_mean_over_directions_is_the_sign_of_the_test():
    """Many queries gain a little in one direction, few lose much in the other: the mean falls."""
    many, few = [f"m{n}" for n in range(200)], ["f1", "f2", "f3"]
    base = made(one([0.5] * 200, many, ["a"] * 200), one([0.5] * 3, few, ["a"] * 3, gallery="clip"))
    gains = [0.51] * 190 + [0.49] * 10
    other = made(one(gains, many, ["a"] * 200), one([0.4] * 3, few, ["a"] * 3, gallery="clip"))
    found = compare_evaluations(base, other, "p@5")
    assert found.difference == pytest.approx((0.009 - 0.1) / 2)
    # Only the signs of the three weigh: all alike in a quarter of the patterns.
    assert found.p_value == pytest.approx(0.25, abs=0.03)


def test_an_image_in_two_directions_is_one():
    ids, labels = ["1", "2", "3"], ["a"] * 3
    base = made(one([0] * 3, ids, labels), one([0] * 3, ids, labels, gallery="clip"))
    other = made(one([0.1] * 3, ids, labels), one([0.2] * 3, ids, labels, gallery="clip"))
    found = compare_evaluations(base, other, "p@5")
    assert found.p_value == 2 / 2**3
    assert (found.gained, found.lost) == (6, 0)
    assert {row["p_value"] for row in found.directions} == {2 / 2**3}


def test_classes_are_weighed_alike_in_a_mean_over_classes():
    ids, labels = ["1", "2", "3", "4"], ["a", "a", "a", "b"]
    base, other = (made(one(values, ids, labels, average="class")) for values in ([0.3] * 4, [0.4, 0.4, 0.4, 0.0]))
    found = compare_evaluations(base, other, "p@5")
    shares = [0.1 / 6] * 3 + [-0.3 / 2]
    assert found.difference == pytest.approx(sum(shares))
    assert found.p_value == pytest.approx(brute_force(shares))


def test_a_class_is_the_mean_over_its_queries_that_count():
    ids, labels = ["1", "2", "3"], ["a", "c", "c"]
    nothing = [np.nan] * 2
    base = made(one([0.1, 0.2, 0.4], ids, labels), one([0.1, *nothing], ids, labels, gallery="clip"))
    other = made(one([0.1, 0.6, 0.9], ids, labels), one([0.5, *nothing], ids, labels, gallery="clip"))
    found = compare_evaluations(base, other, "p@5")
    assert found.classes == {"a": pytest.approx(0.2), "c": pytest.approx(0.45)}


def test_what_cannot_be_compared_is_refused():
    ids, labels = ["1", "2"], ["a", "b"]
    base = made(one([0.1, 0.2], ids, labels))
    with pytest.raises(EvaluationError, match="count in one of them only"):
        compare_evaluations(base, made(one([0.1, np.nan], ids, labels)), "p@5")
    with pytest.raises(EvaluationError, match="define p@5 in two ways"):
        compare_evaluations(base, made(one([0.1, 0.2], ids, labels, average="class")), "p@5")
    with pytest.raises(EvaluationError, match="not hold the same images"):
        compare_evaluations(base, made(one([0.1, 0.2], ["1", "3"], labels)), "p@5")
