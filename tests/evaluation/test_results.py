"""Evaluating from features to results, and the results themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.evaluation.conventions import CONVENTIONS, Metric
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval, label_codes, self_matches
from crosslens.support.errors import EvaluationError

METRICS = [
    Metric("AP"),
    Metric("AP", 3, "min", interpolation="voc"),
    Metric("P", 4),
    Metric("P", 5, "min", average="micro"),
    Metric("R", 3, average="class"),
    Metric("CMC", 2),
    Metric("MRR"),
    Metric("nDCG", 5),
    Metric("R-precision"),
    Metric("AP", 4, ties="expected"),
]


def lists_as_features() -> dict[str, Any]:
    """The golden lists A, B and C over one gallery; each query has a coordinate, and so scores, of its own."""
    labels, items = ["one", "two", "two"], ["two", "one", "one", "two", "one"]
    scores = np.zeros((5, 3))
    for query, row in enumerate(([0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 1, 0, 1])):
        hits = iter([i for i, item in enumerate(items) if item == labels[query]])
        misses = iter([i for i, item in enumerate(items) if item != labels[query]])
        for rank, relevant in enumerate(row):
            scores[next(hits if relevant else misses), query] = 5 - rank
    return {"queries": np.eye(3), "gallery": scores, "query_labels": labels, "gallery_labels": items}


def evaluate(**changes: Any) -> RetrievalResults:
    arguments = lists_as_features() | {"depth": 4} | changes
    return evaluate_retrieval(**arguments)


def test_golden_lists_from_features() -> None:
    results = evaluate(query_domain="sketch", gallery_domain="photo")
    assert results.metrics["map@all"] == pytest.approx(0.568519, abs=1e-6)
    np.testing.assert_allclose(results.per_query["map@all"], [0.588889, 0.75, 0.366667], atol=1e-6)
    np.testing.assert_array_equal(results.n_relevant, [3, 2, 2])
    np.testing.assert_array_equal(results.relevant, [[0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0]])
    assert (results.depth, results.convention, results.query_domain) == (4, "standard", "sketch")
    assert results.curve is not None
    assert results.curve.shape == (101,)
    assert results.per_class()["two"]["map@all"] == pytest.approx((0.75 + 0.366667) / 2, abs=1e-6)


def test_recipe_under_every_convention(recipe: tuple[np.ndarray, ...], golden: dict[str, Any]) -> None:
    metrics = [Metric(**case["metric"], tag=str(n)) for n, case in enumerate(golden["recipe"])]
    results = evaluate_retrieval(*recipe, metrics=metrics, convention="all")
    assert list(results.metrics.values()) == pytest.approx([c["value"] for c in golden["recipe"]], abs=5e-5)


@pytest.mark.parametrize(
    ("convention", "values"),
    [
        ("standard", {"map@all": 0.3190, "map@200": 0.2494, "p@200": 0.3129}),
        ("second_table", {"map@200-hits": 0.4766, "map@all-voc": 0.3237, "map@200-voc": 0.2544}),
        ("trec", {"map@all": 0.3190, "map@200": 0.2071, "p@200": 0.3129}),
        ("sempcyc", {"map@all": 0.3190, "map@200": 0.4766, "p@200": 0.3129}),
        ("zse", {"map@all": 0.3237, "map@200": 0.2544, "p@200": 0.3606}),
        ("ucdir", {"p@200": 0.4054}),
    ],
)
def test_presets_on_the_recipe(recipe: tuple[np.ndarray, ...], convention: str, values: dict[str, float]) -> None:
    results = evaluate_retrieval(*recipe, metrics=CONVENTIONS[convention].metrics((200,)), convention=convention)
    assert results.metrics == pytest.approx(values, abs=5e-5)
    assert (results.curve is None) == (convention == "ucdir")


def test_float64_agrees(recipe: tuple[np.ndarray, ...]) -> None:
    queries, gallery, left, right = recipe
    single = evaluate_retrieval(queries[:50], gallery, left[:50], right)
    double = evaluate_retrieval(queries[:50], gallery, left[:50], right, precision="float64")
    assert double.scores.dtype == np.float64
    assert double.metrics == pytest.approx(single.metrics, abs=1e-6)


def test_top_k_path_agrees_with_all_ranks(recipe: tuple[np.ndarray, ...]) -> None:
    cut = [Metric("P", 50), Metric("AP", 20, "hits"), Metric("nDCG", 30)]
    fast = evaluate_retrieval(*recipe, metrics=cut, convention="mine", depth=10)
    full = evaluate_retrieval(*recipe, metrics=[*cut, Metric("AP")], convention="mine", depth=10)
    assert fast.curve is None
    assert fast.metrics == {metric.key: full.metrics[metric.key] for metric in cut}
    np.testing.assert_array_equal(fast.top, full.top)


def test_own_item_is_left_out_of_gallery_and_count() -> None:
    # Query B again, with its rank 1 being the query itself.
    ids, items = ["a", "w", "c"], ["w", "x", "y", "z", "v"]
    gallery = np.array([[5.0], [4], [3], [2], [1]])
    labels = ["two", "one", "one", "two", "one"]
    arguments: dict[str, Any] = {
        "queries": np.ones((3, 1)),
        "gallery": gallery,
        "query_labels": ["one", "two", "two"],
        "gallery_labels": labels,
        "query_ids": ids,
        "gallery_ids": items,
    }
    kept = evaluate_retrieval(**arguments)
    assert kept.per_query["map@all"][1] == pytest.approx(0.75)
    for metrics in ([Metric("AP")], [Metric("P", 1), Metric("AP", 4)], [Metric("AP", ties="expected")]):
        out = evaluate_retrieval(**arguments, exclude_same_id=True, metrics=metrics, convention="mine")
        assert out.n_relevant is not None
        assert out.per_query[metrics[-1].key][1] == pytest.approx(1 / 3)
        np.testing.assert_array_equal(out.n_relevant, [3, 1, 2])
        np.testing.assert_array_equal(out.top[1], [1, 2, 3, 4])
    arguments["convention"] = "sempcyc"
    sized = evaluate_retrieval(**arguments, exclude_same_id=True, metrics=[Metric("P", 9, "gallery")])
    np.testing.assert_allclose(sized.per_query["p@9"], [3 / 5, 1 / 4, 2 / 5])
    with pytest.raises(EvaluationError, match="exclude_same_id needs"):
        evaluate_retrieval(**arguments | {"query_ids": None}, exclude_same_id=True)


def test_items_without_a_label_and_open_set_queries() -> None:
    results = evaluate(query_labels=["one", None, "three"], gallery_labels=["one", None, "", "one", "two"])
    np.testing.assert_array_equal(results.n_relevant, [2, 0, 0])
    assert set(results.per_class()) == {"one", "three"}
    skipped = evaluate(query_labels=["one", None, "three"], metrics=[Metric("AP", empty="skip")])
    assert np.isnan(skipped.per_query["map@all"][1:]).all()
    assert np.isnan(skipped.per_class()["three"]["map@all"])
    with pytest.raises(EvaluationError, match=r"2 of 3 queries .* index 1"):
        evaluate(query_labels=["one", None, "three"], convention="trec")
    with pytest.raises(EvaluationError, match="share class names"):
        evaluate(query_labels=["x", "y", "z"], convention="zse")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_invariances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = int(rng.integers(6, 30))
    scores = rng.integers(-9, 10, (items, 4)).astype(float)
    left, right = rng.choice(["a", "b"], 4), rng.choice(["a", "b", "c"], items)
    left[0], right[0] = "a", "a"

    def run(gallery: np.ndarray, names: np.ndarray, metrics: list[Metric] = METRICS) -> RetrievalResults:
        tagged = [replace(metric, tag=str(n)) for n, metric in enumerate(metrics)]
        return evaluate_retrieval(np.eye(4), gallery, left, names, metrics=tagged, convention="mine")

    plain = run(scores, right)
    # A strictly increasing map of the scores, to values around zero and to positive ones.
    for mapped in (scores**3 + 2, (scores + 10) / 32):
        moved = run(mapped, right)
        assert moved.metrics == plain.metrics
        np.testing.assert_array_equal(moved.top, plain.top)
    # A permutation of the gallery: any metric without ties, expected values with them.
    order = rng.permutation(items)
    expected = [replace(m, ties="expected") for m in METRICS if m.interpolation == "none"]
    moved, still = run(scores[order], right[order], expected), run(scores, right, expected)
    assert moved.metrics == pytest.approx(still.metrics)
    distinct = scores + np.argsort(rng.random(scores.shape), axis=0) / 64
    assert run(distinct[order], right[order]).metrics == pytest.approx(run(distinct, right).metrics)


def test_a_repeated_query_repeats_its_values(recipe: tuple[np.ndarray, ...]) -> None:
    queries, gallery, left, right = recipe
    rows = [3, 8, 3]
    results = evaluate_retrieval(queries[rows], gallery, left[rows], right)
    for values in results.per_query.values():
        assert values[0] == values[2]
    np.testing.assert_array_equal(results.top[0], results.top[2])


def test_one_class_only_gives_one_everywhere() -> None:
    rng = np.random.default_rng(0)
    by_n_rel = [metric for metric in METRICS if metric.k and metric.denominator == "n_rel"]
    metrics = [replace(metric, tag=str(n)) for n, metric in enumerate(METRICS) if metric not in by_n_rel]
    results = evaluate_retrieval(
        rng.normal(size=(7, 3)), rng.normal(size=(9, 3)), ["x"] * 7, ["x"] * 9, metrics=metrics, convention="mine"
    )
    assert list(results.metrics.values()) == pytest.approx([1] * len(metrics))


def test_sums_average_to_the_metric() -> None:
    metrics = [Metric("AP", empty="skip"), Metric("P", 5, "min", average="micro")]
    results = evaluate(metrics=metrics, query_labels=["one", "two", "none"], convention="mine")
    for key, value in results.metrics.items():
        numerators, denominators = results.sums(key)
        assert numerators.sum() / denominators.sum() == pytest.approx(value)
    np.testing.assert_array_equal(results.sums("p@5")[1], [3, 2, 0])
    with pytest.raises(EvaluationError, match=r"no per-query values for 'p@7'; there are map@all, p@5"):
        results.sums("p@7")


def test_subset() -> None:
    metrics = [Metric("AP"), Metric("P", 5, "min", average="micro"), Metric("R", 3, average="class")]
    results = evaluate(metrics=metrics, convention="mine")
    part = results.subset([True, False, True])
    assert part.metrics["map@all"] == pytest.approx((0.588889 + 0.366667) / 2, abs=1e-6)
    assert part.metrics["p@5"] == pytest.approx(2 / 5)
    assert part.metrics["recall@3"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert part.query_ids.tolist() == ["query-0", "query-2"]
    assert part.curve is None
    np.testing.assert_array_equal(results.subset([2, 0]).top, results.top[[2, 0]])
    with pytest.raises(EvaluationError, match="no query"):
        results.subset([False] * 3)


@pytest.mark.parametrize("name", ["out", "out/run.npz"])
def test_save_and_load(tmp_path: Path, name: str) -> None:
    metrics = [Metric("AP", empty="skip"), Metric("P", 5, "min", average="micro", tag="pooled")]
    results = evaluate(metrics=metrics, convention="mine", query_labels=["one", "two", "Zürich"])
    file = results.save(tmp_path / name)
    assert file == tmp_path / ("out/results.npz" if name == "out" else name)
    again = RetrievalResults.load(tmp_path / name)
    for field in ("query_ids", "gallery_ids", "query_labels", "top", "scores", "relevant", "curve"):
        np.testing.assert_array_equal(getattr(again, field), getattr(results, field))
    for key in results.metrics:
        np.testing.assert_array_equal(again.per_query[key], results.per_query[key])
    assert (again.metrics, again.definitions, again.convention) == (
        results.metrics,
        results.definitions,
        "mine",
    )


def test_damaged_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is missing"):
        RetrievalResults.load(tmp_path)
    file = evaluate().save(tmp_path)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[60:90] = bytes(30)
    for damaged in (b"", b"text", whole[: len(whole) // 2], bytes(flipped)):
        file.write_bytes(damaged)
        with pytest.raises(EvaluationError, match="evaluate again"):
            RetrievalResults.load(tmp_path)
    with open(file, "wb") as handle:
        np.savez(handle, header=np.array('{"format": 99}'))
    with pytest.raises(EvaluationError, match="format 99"):
        RetrievalResults.load(file)
    with open(file, "wb") as handle:
        np.savez(handle, header=np.array(["x", None], dtype=object))
    with pytest.raises(EvaluationError, match="evaluate again"):
        RetrievalResults.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ids": np.array(["a", "b", "a"])}, r"query_ids repeats 1 ids, first \['a'\]"),
        ({"query_ids": np.array([1, 2, 3])}, "array of strings"),
        ({"top": np.zeros((2, 4))}, r"top must be \(3, K\)"),
        ({"top": np.full((3, 4), 9)}, "outside the gallery of 5"),
        ({"top": np.zeros((3, 4))}, "item twice"),
        ({"scores": np.ones((3, 2))}, "differ in shape"),
        ({"scores": np.ones((3, 4), int)}, "must be floats"),
        ({"scores": np.full((3, 4), np.nan)}, "NaN or infinity"),
        ({"scores": np.tile(np.arange(4.0), (3, 1))}, "must not increase"),
        ({"relevant": np.zeros((3, 4), bool)}, "contradicts the labels"),
        ({"relevant": np.zeros((3, 4))}, "relevant must be bool"),
        ({"query_labels": np.array(["one"])}, "query_labels must be"),
        ({"n_relevant": np.zeros(3, int)}, "below the relevant items"),
        ({"n_relevant": np.ones(3)}, "whole numbers"),
        ({"curve": np.ones(11)}, "curve must hold 101"),
        ({"metrics": {}}, "no average in metrics"),
        ({"definitions": ()}, "must name the same metrics"),
        ({"weights": {"p@5": np.ones(2)}}, "must hold 3 values"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        replace(evaluate(), **change)


def test_metrics_must_be_the_averages_of_their_values() -> None:
    results = evaluate()
    with pytest.raises(EvaluationError, match="map@all is not the average"):
        replace(results, metrics=dict(results.metrics) | {"map@all": 0.9})
    with pytest.raises(EvaluationError, match="metric mine is nan"):
        replace(results, metrics=dict(results.metrics) | {"mine": float("nan")})


def test_results_need_neither_labels_nor_metrics_and_cannot_be_written_to() -> None:
    bare = RetrievalResults(
        query_ids=np.array(["q"]),
        gallery_ids=np.array(["a", "b"]),
        top=np.array([[1, 0]]),
        scores=np.array([[0.5, 0.5]]),
    )
    assert bare.depth == 2
    assert bare.metrics == {}
    with pytest.raises(EvaluationError, match="labels are unknown"):
        bare.per_class()
    with pytest.raises(ValueError, match="read-only"):
        bare.top[0, 0] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_labels": ["one"]}, "3 queries but 1 query labels"),
        ({"gallery_labels": ["one"]}, "5 gallery items but 1 gallery labels"),
        ({"query_labels": [0, 1, 1]}, "labels are class names"),
        ({"query_ids": ["a"]}, "3 query features but 1 query_ids"),
        ({"gallery_ids": ["a"] * 5}, "gallery_ids repeats"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"convention": "mine"}, "unknown convention"),
        ({"metrics": [Metric("P", 5, "min")]}, "is not what convention 'standard' reports"),
        ({"queries": np.full((3, 3), np.nan)}, "3 of 3 rows of queries"),
    ],
)
def test_bad_input_is_explained(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate(**change)


def test_label_codes_and_self_matches() -> None:
    left, right = label_codes(["b", None, "a"], ["", "b", "c"])
    assert left.tolist() == [1, -1, 0]
    assert right.tolist() == [-1, 1, 2]
    assert label_codes(["b", "a"])[0].tolist() == [1, 0]
    assert self_matches(np.array(["x", "y"]), np.array(["y", "z"])).tolist() == [-1, 0]
