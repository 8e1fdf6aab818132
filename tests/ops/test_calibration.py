import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from torch.nn import functional as F

from crosslens.ops.calibration import (
    SCORES,
    MatchCalibration,
    density_ratio,
    expected_calibration_error,
    largest_cosine,
    mixture_curve,
    platt_curve,
    prototype_energy,
    standard_curve,
)
from crosslens.support.errors import ConfigError, StoreError


def unit(rows):
    return F.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=1).numpy()


def world(seed=0, shared=4, private=4, each=40, dim=24, noise=0.15, shift=0.3):
    """A gallery of the shared classes; queries of shared and private ones, the whole domain moved."""
    generator = np.random.default_rng(seed)
    centres = unit(generator.normal(size=(shared + private, dim)))
    labels = np.arange(shared + private).repeat(each)
    direction = unit(generator.normal(size=(1, dim)))[0]
    queries = centres[labels] + noise * generator.normal(size=(len(labels), dim)) + shift * direction
    own = np.arange(shared).repeat(each)
    gallery = centres[own] + noise * generator.normal(size=(len(own), dim))
    return unit(gallery), unit(queries), labels < shared


def test_scores_are_the_slow_formulas():
    gallery, queries, _ = world(each=6)
    cosines = queries @ gallery.T
    assert np.allclose(largest_cosine(queries, gallery), cosines.max(1), atol=1e-6)
    assert np.allclose(largest_cosine(queries, gallery, 3), np.sort(cosines)[:, -3:].mean(1), atol=1e-6)
    energy = 0.1 * np.log(np.exp(cosines[:, :5] / 0.1).sum(1))
    assert np.allclose(prototype_energy(queries, gallery[:5], 0.1), energy, atol=1e-5)
    to_gallery = np.sort(np.linalg.norm(queries[:, None] - gallery[None], axis=2))[:, :4].mean(1)
    between = np.linalg.norm(queries[:, None] - queries[None], axis=2)
    np.fill_diagonal(between, np.inf)
    ratio = np.log(np.sort(between)[:, :4].mean(1)) - np.log(to_gallery)
    assert np.allclose(density_ratio(queries, gallery, queries, 4), ratio, atol=1e-4)


@pytest.mark.parametrize("score", SCORES)
def test_queries_with_a_counterpart_are_told_apart(score):
    gallery, queries, truth = world()
    made = MatchCalibration.fit(gallery, queries, score=score, curve="mixture")
    probability = made.probability(queries, own=True)
    assert made.source == "queries"
    assert roc_auc_score(truth, probability) > 0.95
    assert expected_calibration_error(probability, truth) < 0.1
    assert ((probability > 0.5) == truth).mean() > 0.9


@pytest.mark.parametrize("score", ["cosine", "energy"])
def test_the_gallery_alone_calibrates_queries_of_its_own_look(score):
    gallery, queries, truth = world(shift=0.0)
    made = MatchCalibration.fit(gallery, score=score, clusters=4)
    probability = made.probability(queries)
    assert made.source == "gallery"
    assert roc_auc_score(truth, probability) > 0.95
    assert expected_calibration_error(probability, truth) < 0.2


def test_smoothing_averages_the_nearest_references():
    gallery, queries, _ = world(each=10)
    made = MatchCalibration.fit(gallery, queries, smooth=3)
    alone = (queries @ gallery.T).max(1)
    order = np.argsort(-(queries @ queries.T), axis=1, kind="stable")[:, :4]
    assert np.allclose(made.scores(queries, own=True), alone[order].mean(1), atol=1e-5)
    fresh = unit(queries[:5] + 0.05)
    near = np.argsort(-(fresh @ queries.T), axis=1, kind="stable")[:, :3]
    expected = (alone[near].sum(1) + (fresh @ gallery.T).max(1)) / 4
    assert np.allclose(made.scores(fresh), expected, atol=1e-5)


@given(seed=st.integers(0, 200), low=st.floats(-1, 0), gap=st.floats(0.3, 2))
def test_the_mixture_is_the_reference_librarys(seed, low, gap):
    generator = np.random.default_rng(seed)
    scores = np.concatenate([generator.normal(low, 0.08, 150), generator.normal(low + gap, 0.08, 100)])
    found = mixture_curve(scores)
    reference = GaussianMixture(2, covariance_type="tied", random_state=0, tol=1e-6, max_iter=500).fit(
        scores[:, None]
    )
    upper = reference.predict_proba(scores[:, None])[:, int(np.argmax(reference.means_[:, 0]))]
    assert np.allclose(found(scores), upper, atol=0.02)
    assert found.slope > 0


@given(seed=st.integers(0, 200), share=st.floats(0.05, 0.95))
def test_the_standard_curve_has_the_expected_mean_and_the_scores_slope(seed, share):
    scores = np.random.default_rng(seed).normal(0.4, 0.1, 60)
    curve = standard_curve(scores, share)
    assert curve.slope == pytest.approx(1 / scores.std())
    assert curve(scores).mean() == pytest.approx(share, abs=1e-3)


def test_the_standard_curve_decides_as_well_and_is_less_sure():
    gallery, queries, truth = world()
    made = MatchCalibration.fit(gallery, queries)
    probability = made.probability(queries, own=True)
    assert ((probability > 0.5) == truth).mean() > 0.9
    sure = MatchCalibration.fit(gallery, queries, curve="mixture").probability(queries, own=True)
    assert np.abs(probability - 0.5).mean() < np.abs(sure - 0.5).mean()


@given(st.lists(st.floats(-1, 1), min_size=20, max_size=60), st.integers(0, 99))
def test_curves_never_fall(values, seed):
    scores = np.array(values)
    truth = np.random.default_rng(seed).random(len(scores)) < 0.5
    if truth.all() or not truth.any():
        return
    curve = platt_curve(scores, truth)
    rising = np.linspace(-1, 1, 50)
    assert (np.diff(curve(rising)) >= 0).all()
    assert ((curve(rising) >= 0) & (curve(rising) <= 1)).all()


def test_calibration_error_by_hand():
    probability = np.array([0.05, 0.05, 0.95, 0.95])
    assert expected_calibration_error(probability, np.array([False, False, True, True])) == pytest.approx(0.05)
    assert expected_calibration_error(probability, np.array([True, True, False, False])) == pytest.approx(0.95)
    assert expected_calibration_error(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx(0)


def test_many_rows_are_sampled():
    gallery, queries, truth = world(each=60)
    made = MatchCalibration.fit(gallery, queries, most=100)
    assert len(made.gallery) == len(made.reference) == 100
    assert roc_auc_score(truth, made.probability(queries)) > 0.9


@pytest.mark.parametrize("score", SCORES)
def test_a_sample_tells_all_queries_apart(score):
    gallery, queries, truth = world(each=60)
    order = np.random.default_rng(1).permutation(len(queries))
    queries, truth = queries[order], truth[order]
    made = MatchCalibration.fit(gallery, queries, score=score, most=100)
    found = made.scores(queries, own=True)
    assert roc_auc_score(truth, found) > 0.95
    # References leave themselves out; for all others own makes no difference.
    others = np.setdiff1d(np.arange(len(queries)), made.drawn)
    assert np.array_equal(found[others], made.scores(queries)[others])
    among = MatchCalibration.fit(gallery, queries[made.drawn], score=score, most=100, smooth=made.smooth)
    assert np.allclose(found[made.drawn], among.scores(queries[made.drawn], own=True), atol=1e-5)


class TestBadInput:
    def test_own_queries_are_all_of_them(self):
        gallery, queries, _ = world()
        made = MatchCalibration.fit(gallery, queries)
        with pytest.raises(ConfigError, match="7 queries are not the 320"):
            made.scores(queries[:7], own=True)
        with pytest.raises(ConfigError, match="leave own=True out"):
            MatchCalibration.fit(gallery).probability(queries, own=True)

    def test_too_small_a_gallery(self):
        gallery, queries, _ = world()
        with pytest.raises(StoreError, match="too few"):
            MatchCalibration.fit(gallery[:9], queries)

    def test_density_needs_queries(self):
        gallery, queries, _ = world()
        with pytest.raises(ConfigError, match="unlabelled queries"):
            MatchCalibration.fit(gallery, queries[:5], score="density")

    def test_unknown_score_and_one_cluster(self):
        gallery, _, _ = world()
        with pytest.raises(ConfigError, match="cosine, energy, density"):
            MatchCalibration.fit(gallery, score="guess")
        with pytest.raises(StoreError, match="one cluster"):
            MatchCalibration.fit(gallery, clusters=1)

    def test_equal_queries_cannot_be_split(self):
        gallery, queries, _ = world()
        with pytest.raises(ConfigError, match="cannot be split"):
            MatchCalibration.fit(gallery, np.repeat(queries[:1], 20, axis=0))
