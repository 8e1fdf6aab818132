"""Scenario protocols on hand-made encoders, against slow formulas."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.data.source import open_catalog
from crosslens.evaluation.protocols.scenario import CODA_MAP, judge_no_match
from crosslens.evaluation.scenarios import Scenario
from crosslens.ops.private import detect_private
from crosslens.support.errors import ConfigError, EvaluationError


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


def measure(pictures, kind, **options):
    scenario = options.pop("scenario", None)
    return crosslens.evaluate(
        crosslens.load_encoder("tiny"),
        pictures,
        protocol=kind,
        scenario=scenario,
        domains=["sketch", "photo"],
        **options,
    )


def test_partial_keeps_the_gallerys_private_classes_as_distractors(pictures):
    result = measure(pictures, "partial")
    drawn = Scenario.from_json(result.extra["scenario"])
    (direction,) = result.directions
    assert set(direction.query_labels) == set(drawn.shared)
    assert len(set(direction.gallery_labels)) == 4
    assert "no_match" not in result.extra
    encoder, catalog = crosslens.load_encoder("tiny"), open_catalog(pictures)
    queries = catalog.select(domains=["sketch"], labels=drawn.shared)
    gallery = catalog.select(domains=["photo"])
    scores = encoder.encode_images(queries.paths) @ encoder.encode_images(gallery.paths).T
    hits = np.array(queries.labels)[:, None] == np.array(gallery.labels)[None]
    plain, voc = [], []
    for row, relevant in zip(scores, hits, strict=True):
        r = relevant[np.argsort(-row, kind="stable")]
        precision = np.cumsum(r) / np.arange(1, len(r) + 1)
        plain.append((precision * r).sum() / r.sum())
        voc.append((np.maximum.accumulate(precision[::-1])[::-1] * r).sum() / r.sum())
    assert result.metrics["map@all"] == pytest.approx(np.mean(plain), abs=1e-3)
    labels = np.array(queries.labels)
    by_class = np.mean([np.array(voc)[labels == name].mean() for name in drawn.shared])
    assert result.metrics[CODA_MAP.key] == pytest.approx(by_class, abs=1e-3)
    assert 0 <= result.metrics["p@5"] <= 1
    assert "CoDA" in result.to_json()["convention_description"]


def test_open_set_measures_shared_queries_and_judges_the_rest(pictures):
    result = measure(pictures, "open-set")
    drawn = Scenario.from_json(result.extra["scenario"])
    (direction,) = result.directions
    assert set(direction.query_labels) == set(direction.gallery_labels) == set(drawn.shared)
    judged = result.extra["no_match"]
    names = ("cosine", "energy", "density")
    assert set(judged["scores"]) == {*names, *(f"backbone {name}" for name in names)}
    assert 0 <= judged["scores"]["cosine"]["auroc, queries"] <= 1
    rule = judged["rules"]["uem"]
    assert rule["balanced_accuracy"] == pytest.approx((rule["open_set_acc"] + 1 - rule["false_rejection"]) / 2)
    assert rule["second_test_fired"] == 0
    assert "cluster spread" in judged["rules"]
    assert judged["map@all with wrongly rejected queries as 0"] <= result.metrics["map@all"]
    assert result.to_json()["no_match"] == judged


def test_close_set_ranks_both_ways_and_is_the_pairs_protocol(pictures):
    result = measure(pictures, "close-set")
    pairs = crosslens.evaluate(crosslens.load_encoder("tiny"), pictures, domains=["sketch", "photo"])
    assert result.metrics["map@all"] == pytest.approx(pairs.metrics["map@all"])


def test_rules_are_counted_by_hand():
    rng = np.random.default_rng(0)
    centres = np.eye(4, 16)

    def rows(labels):
        points = centres[labels] + 0.02 * rng.normal(size=(len(labels), 16))
        return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)

    labels = np.arange(4).repeat(15)
    has_match = labels < 2
    value = judge_no_match(rows(labels), rows(np.arange(2).repeat(15)), has_match, (4, 2))
    assert value["scores"]["cosine"]["auroc, queries"] == 1
    for rule in ("cosine, queries", "cluster spread"):
        row = value["rules"][rule]
        assert row["open_set_acc"] == 1
        assert row["balanced_accuracy"] == (2 - row["false_rejection"]) / 2
    assert value["rules"]["cosine, queries"]["false_rejection"] == 0
    assert np.array_equal(~has_match, value["rejected"])


def test_quantiles_of_the_published_rules_variants(pictures):
    rng = np.random.default_rng(0)

    def rows(count):
        points = rng.normal(size=(count, 6))
        return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)

    queries, gallery, has_match = rows(60), rows(40), np.arange(60) < 30
    usual = judge_no_match(queries, gallery, has_match, (5, 4))["rules"]
    assert {"uem, spread quantile 0.95", "uem, merge quantile 0.25"} <= set(usual)
    given = judge_no_match(queries, gallery, has_match, (5, 4), spread_quantile=0.1, merge_quantile=0.0)["rules"]
    a, b = torch.from_numpy(queries), torch.from_numpy(gallery)
    for name, quantiles in (
        ("uem, spread quantile 0.1", {"spread_quantile": 0.1}),
        ("uem, merge quantile 0", {"merge_quantile": 0.0}),
    ):
        private = detect_private(a, b, (5, 4), **quantiles).private.numpy()
        assert given[name]["open_set_acc"] == pytest.approx(private[30:].mean())
        assert given[name]["false_rejection"] == pytest.approx(private[:30].mean())
    assert given["uem, spread quantile 0.1"] != usual["uem, spread quantile 0.95"]
    assert given["uem, merge quantile 0"] != usual["uem, merge quantile 0.25"]


def test_bad_input(pictures, tmp_path):
    with pytest.raises(ConfigError, match="query and a gallery domain"):
        crosslens.evaluate(crosslens.load_encoder("tiny"), pictures, protocol="partial", domains=["photo"])
    with pytest.raises(EvaluationError, match="both needed"):
        judge_no_match(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.ones(3, bool), (2, 2))
    drawn = Scenario.draw_for(open_catalog(pictures), "partial", "sketch", "photo")
    with pytest.raises(ConfigError, match="the scenario is partial, the protocol open-set"):
        measure(pictures, "open-set", scenario=drawn)
    with pytest.raises(ConfigError, match="takes no scenario"):
        measure(pictures, "pairs", scenario=drawn)
    for file in (pictures / "sketch").rglob("*.png"):
        file.unlink()
    (pictures / "sketch" / "one").mkdir()
    with pytest.raises(crosslens.support.errors.CrosslensError):
        measure(pictures, "partial")


def test_a_collapsed_encoder_is_measured_all_the_same():
    generator = np.random.default_rng(0)
    has_match = np.arange(30) < 15
    alike = np.tile(np.float32([0.6, 0.8]), (30, 1))
    free = generator.normal(size=(2, 30, 8)).astype(np.float32)
    free /= np.linalg.norm(free, axis=2, keepdims=True)
    judged = judge_no_match(alike, alike, has_match, (1, 1), (free[0], free[1]))
    assert "cannot be split in two" in judged["failed"]["cosine, queries"]
    assert "one cluster" in judged["failed"]["cosine, gallery"]
    assert judged["scores"]["cosine"] == {}
    assert 0 <= judged["scores"]["backbone cosine"]["auroc, queries"] <= 1
    assert len(judged["rejected"]) == 30
