import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosslens.labels.pseudo_labels import PseudoLabels, calibrated, pseudo_labels, refreshed_scores
from crosslens.support.errors import TrainingError
from testing.golden import read_golden

GOLDEN = read_golden("clair")["confidence"]


def scores(seed=0, images=60, classes=4):
    return torch.randn(images, classes, generator=torch.Generator().manual_seed(seed))


def test_golden_confidence():
    found = pseudo_labels(torch.tensor([GOLDEN["cosines"]], dtype=torch.float64), GOLDEN["temperature"])
    assert found.posteriors[0].tolist() == pytest.approx(GOLDEN["softmax"], abs=1e-6)
    assert int(found.labels[0]) == GOLDEN["label"]
    assert float(found.confidence[0]) == pytest.approx(GOLDEN["confidence"], abs=1e-6)


@given(st.integers(0, 200), st.sampled_from([0.5, 0.7, 0.9]))
def test_every_label_keeps_its_best_share(seed, keep):
    found = pseudo_labels(scores(seed), 1.0, keep=keep, floor=0.0)
    for label in found.labels.unique():
        own = found.labels == label
        trust, kept = found.confidence[own], found.kept[own]
        assert kept.sum() >= keep * own.sum() - 1
        assert kept.sum() <= keep * own.sum() + 1
        if (~kept).any():
            assert trust[~kept].max() <= trust[kept].min()


def test_floor_and_fixed_threshold():
    s = scores()
    assert not pseudo_labels(s, 1.0, floor=1.1).kept.any()
    found = pseudo_labels(s, 1.0, fixed=0.6)
    assert torch.equal(found.kept, found.confidence >= 0.6)
    assert torch.equal(found.weights > 0, found.kept)


def test_other_confidences():
    s = scores()
    cosine = pseudo_labels(s, 1.0, confidence="cosine").confidence
    best = s.max(1).values
    assert torch.allclose(cosine, (best - best.min()) / (best.max() - best.min()), atol=1e-6)
    margin = pseudo_labels(s, 1.0, confidence="margin").confidence
    p = torch.softmax(s, 1).sort(1, descending=True).values
    assert torch.allclose(margin, p[:, 0] - p[:, 1], atol=1e-6)
    assert set(pseudo_labels(s, 1.0, is_weighted=False).confidence.tolist()) == {1.0}


def test_calibration_takes_the_looks_own_part_away():
    s = scores() * torch.tensor([1.0, 5.0, 0.1, 1.0]) + torch.tensor([3.0, 0.0, -2.0, 0.0])
    assert torch.equal(calibrated(s, "none"), s)
    assert torch.allclose(calibrated(s, "centre").mean(0), torch.zeros(4), atol=1e-6)
    standard = calibrated(s, "standardise")
    assert torch.allclose(standard.std(0), torch.ones(4), atol=1e-5)
    assert torch.allclose(standard, calibrated(scores(), "standardise"), atol=1e-5)
    s[:, 2] = 7.0
    assert torch.equal(calibrated(s, "standardise")[:, 2], torch.zeros(60))


def test_the_account_names_empty_classes():
    labels = torch.tensor([0, 0, 2, 2])
    kept = torch.tensor([True, False, False, False])
    found = PseudoLabels(torch.eye(4)[labels], labels, torch.tensor([0.9, 0.5, 0.5, 0.5]), kept)
    account = found.account(("a", "b", "c"))
    assert account["empty_classes"] == ["b", "c"]
    assert account["kept_share"] == 0.25
    assert account["effective_classes"] == pytest.approx(2.0)
    assert account["classes"]["c"] == {"labelled": 2, "kept": 0}


def test_relabelling_is_half_prior_half_prototypes():
    prior = torch.tensor([[0.5, 0.5, 0.0]])
    rows, prototypes = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found = refreshed_scores(prior, rows, prototypes, 0.5).exp()
    share = torch.softmax(torch.tensor([2.0, 0.0]), 0)
    # The empty class in the middle gets nothing from prototypes.
    assert torch.allclose(found, torch.tensor([[0.25 + share[0] / 2, 0.25, share[1] / 2]]), atol=1e-5)


def test_scores_that_are_not_finite_are_refused():
    s = scores()
    s[3, 1] = float("nan")
    with pytest.raises(TrainingError, match="1 of 60 images"):
        pseudo_labels(s, 1.0)
    with pytest.raises(TrainingError, match="images, classes"):
        pseudo_labels(torch.zeros(3, 0), 1.0)
