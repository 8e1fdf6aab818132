"""Metric definitions, their keys, and the presets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosslens.evaluation.conventions import CONVENTIONS, Metric, choose_metrics
from crosslens.evaluation.metrics import MetricAccumulator
from crosslens.support.errors import EvaluationError

A, B, C = [0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        (Metric("AP"), "map@all"),
        (Metric("AP", 200, "hits"), "map@200"),
        (Metric("AP", 200, "hits", tag="hits"), "map@200-hits"),
        (Metric("P", 50), "p@50"),
        (Metric("R", 3), "recall@3"),
        (Metric("CMC", 1), "cmc@1"),
        (Metric("MRR"), "mrr"),
        (Metric("MRR", 10), "mrr@10"),
        (Metric("nDCG", 5), "ndcg@5"),
        (Metric("nDCG"), "ndcg@all"),
        (Metric("R-precision"), "r-precision"),
    ],
)
def test_keys(metric: Metric, key: str) -> None:
    assert metric.key == key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mAP"}, "unknown metric 'mAP'"),
        ({"name": "P"}, "needs a k"),
        ({"name": "P", "k": 0}, "at least 1"),
        ({"name": "P", "k": 2.5}, "whole number"),
        ({"name": "P", "k": True}, "whole number"),
        ({"name": "P", "k": 5, "denominator": "hits"}, "cannot have denominator 'hits'"),
        ({"name": "MRR", "denominator": "k"}, "leave it out"),
        ({"name": "AP", "denominator": "hits"}, "needs a k"),
        ({"name": "AP", "average": "micro"}, "no micro average"),
        ({"name": "AP", "average": "mean"}, "average='mean'"),
        ({"name": "AP", "empty": "zero"}, "empty='zero'"),
        ({"name": "P", "k": 1, "interpolation": "voc"}, "AP only"),
        ({"name": "AP", "ties": "expected", "interpolation": "voc"}, "no closed form"),
        ({"name": "AP", "k": 3, "ties": "expected", "denominator": "hits"}, "no closed form"),
        ({"name": "R-precision", "k": 3}, "takes no k"),
    ],
)
def test_meaningless_metrics_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Metric(**arguments)


def test_usual_denominators_and_descriptions() -> None:
    assert Metric("AP").denominator == "n_rel"
    assert Metric("P", 5).denominator == "k"
    assert Metric("MRR").denominator is None
    text = Metric("AP", 200, "min", interpolation="voc", empty="skip").describe()
    assert text == (
        "AP@200, divided by min(200, n_rel), interpolated (VOC), mean over queries; "
        "queries without relevant items are skipped"
    )


def test_every_convention_describes_itself_and_has_distinct_keys() -> None:
    for name, convention in CONVENTIONS.items():
        assert convention.name == name
        assert convention.description.endswith(".")
        metrics = convention.metrics()
        assert len({metric.key for metric in metrics}) == len(metrics)
        convention.check(metrics)


def table(name: str) -> list[tuple[Any, ...]]:
    metrics = CONVENTIONS[name].metrics(ks=(5, 200))
    return [(m.key, m.denominator, m.interpolation, m.average, m.empty) for m in metrics]


def test_presets() -> None:
    assert table("ucdir") == [("p@5", "min", "none", "micro", "skip"), ("p@200", "min", "none", "micro", "skip")]
    assert table("trec") == [
        ("map@all", "n_rel", "none", "macro", "error"),
        ("map@200", "n_rel", "none", "macro", "error"),
        ("p@5", "k", "none", "macro", "error"),
        ("p@200", "k", "none", "macro", "error"),
    ]
    assert table("sempcyc") == [
        ("map@all", "n_rel", "none", "macro", "neg"),
        ("map@200", "hits", "none", "macro", "neg"),
        ("p@5", "gallery", "none", "macro", "neg"),
        ("p@200", "gallery", "none", "macro", "neg"),
    ]
    assert table("zse") == [
        ("map@all", "n_rel", "voc", "macro", "skip"),
        ("map@200", "min", "voc", "macro", "skip"),
        ("p@5", "min", "none", "macro", "skip"),
        ("p@200", "min", "none", "macro", "skip"),
    ]
    assert table("standard") == [
        ("map@all", "n_rel", "none", "macro", "neg"),
        ("map@200", "min", "none", "macro", "neg"),
        ("p@5", "k", "none", "macro", "neg"),
        ("p@200", "k", "none", "macro", "neg"),
    ]
    assert [row[0] for row in table("second_table")] == ["map@200-hits", "map@all-voc", "map@200-voc"]


def test_cuts_can_be_chosen() -> None:
    metrics = CONVENTIONS["trec"].metrics(ks=(1, 5, 5), ap_ks=(2, 3), empty="pos")
    assert [metric.key for metric in metrics] == ["map@all", "map@2", "map@3", "p@1", "p@5"]
    assert {metric.empty for metric in metrics} == {"pos"}
    with pytest.raises(EvaluationError, match="at least one k"):
        CONVENTIONS["trec"].metrics(ks=())
    with pytest.raises(EvaluationError, match="at least 1"):
        CONVENTIONS["trec"].metrics(ks=(0,))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("trec", {"map@all": 0.568519, "map@10": 0.568519, "p@10": 7 / 30}),
        ("sempcyc", {"map@all": 0.568519, "map@10": 0.568519, "p@10": 7 / 15}),
        ("zse", {"map@all": 0.598148, "map@10": 0.598148, "p@10": 0.388889}),
        ("ucdir", {"p@10": 3 / 7}),
    ],
)
def test_presets_on_the_golden_lists(name: str, values: dict[str, float]) -> None:
    accumulator = MetricAccumulator(CONVENTIONS[name].metrics(ks=(10,)))
    accumulator.update([A, B, C], [3, 2, 2])
    assert accumulator.compute() == pytest.approx(values, abs=1e-6)


def test_empty_queries_in_each_preset() -> None:
    def precision(name: str) -> float:
        accumulator = MetricAccumulator(CONVENTIONS[name].metrics(ks=(5,)))
        accumulator.update([A, B, C, [0] * 5], [3, 2, 2, 0])
        return accumulator.compute()["p@5"]

    assert precision("sempcyc") == pytest.approx(1.4 / 4)
    assert precision("zse") == pytest.approx(0.388889, abs=1e-6)
    assert precision("ucdir") == pytest.approx(3 / 7)
    with pytest.raises(EvaluationError, match="choose how they count"):
        precision("trec")


def test_a_convention_keeps_its_name_clean() -> None:
    with pytest.raises(EvaluationError, match="is not what convention 'ucdir' reports"):
        choose_metrics("ucdir", [Metric("P", 5)])
    with pytest.raises(EvaluationError, match="is not what convention 'zse' reports"):
        choose_metrics("zse", [Metric("AP")])
    # Policies and quantities the convention says nothing about are the caller's.
    chosen = [Metric("P", 5, empty="skip"), Metric("CMC", 1)]
    assert choose_metrics("trec", chosen) == chosen
    assert choose_metrics("mine", [Metric("AP", 3, "k")]) == [Metric("AP", 3, "k")]
    assert choose_metrics("trec") == CONVENTIONS["trec"].metrics()
    with pytest.raises(EvaluationError, match="unknown convention 'mine'"):
        choose_metrics("mine")


def test_class_average_needs_classes_and_leaves_nameless_queries_out() -> None:
    metric = Metric("AP", average="class")
    values, ones = np.array([1.0, 0.0, 0.5, 0.9]), np.ones(4)
    assert metric.aggregate(values, ones, np.array([0, 0, 1, -1])) == pytest.approx(0.5)
    with pytest.raises(EvaluationError, match="class of every query"):
        metric.aggregate(values, ones)
    assert np.isnan(metric.aggregate(values, ones * 0, np.array([0, 0, 1, 1])))
