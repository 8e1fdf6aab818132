"""Whole fits of CLAIR on tiny pictures with a tiny network that reads."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Whitened
from crosslens.evaluation.label_accuracy import label_accuracy
from crosslens.methods.base import FitJob
from crosslens.methods.clair.method import ramp
from crosslens.methods.two_view import TwoViewTraining
from crosslens.support.errors import BackboneError, ConfigError, TrainingError
from testing.reading_backbone import register_talker
from testing.tiny_pictures import SHAPES, make_pictures

QUICK = {"epochs": 4, "batch_size": 16, "views": 2, "head": [32, 16], "members": 1, "neighbours": 4}
# A short training needs a momentum encoder that follows.
LONGER = {"epochs": 40, "ema": 0.9, "lr": 3e-3}


@pytest.fixture(autouse=True)
def _talker():
    register_talker()


def fit(pictures, out, settings=None, classes=SHAPES, **options):
    values = QUICK | (settings or {})
    return crosslens.fit(
        "clair", pictures, out=out, backbone="talker", classes=classes, settings=values, **options
    )


def vectors(run, pictures, domain="photo"):
    encoder = crosslens.load_encoder(run.folder)
    return encoder.encode_images(open_catalog(pictures).paths, domain)


def test_it_trains_measures_and_accounts_for_its_labels(pictures, tmp_path, capsys):
    run = fit(pictures, tmp_path / "run", LONGER)
    log = run.read_log()
    assert {"instance_a", "cluster_b", "domain_a", "consistency_b"} <= set(log[-1]["losses"])
    assert log[-1]["losses"]["total"] < log[0]["losses"]["total"] + 1
    assert log[-1]["agreement_a"] > 0.8
    account = json.loads((run.folder / "labels.json").read_text())
    assert account["reconstruction"] is True
    assert account["domains"]["photo"]["images"] == 48
    assert set(account["domains"]["sketch"]["classes"]) == set(SHAPES)
    assert "labels kept" in " ".join(capsys.readouterr().err.split())
    result = crosslens.evaluate(run.folder)
    frozen = crosslens.evaluate("talker", pictures)
    assert result.metrics["map@all"] > frozen.metrics["map@all"]
    assert any("reconstruction" in mark for mark in result.marks)
    assert result.extra["pseudo_labels"]["photo"]["all"] > 0.5
    assert "reconstruction" in (run.encoder_folder / "README.md").read_text()


def test_the_total_is_the_weighted_sum_with_its_ramps(pictures, tmp_path):
    weights = {"plain_weight": 0.5, "cluster_weight": 2.0, "domain_weight": 3.0, "consistency_weight": 0.7}
    settings = {**weights, "cluster_ramp": 0.0, "domain_ramp": 0.0, "level": "both", "novel_share": 0.3}
    losses = fit(pictures, tmp_path / "run", settings).read_log()[-1]["losses"]
    factors = {"plain": 0.5, "instance": 1.0, "cluster": 2.0, "domain": 3.0, "consistency": 0.7}
    expected = sum(f * (losses[f"{k}_a"] + losses[f"{k}_b"]) / 2 for k, f in factors.items())
    assert losses["total"] == pytest.approx(expected, rel=1e-4)
    ramped = fit(pictures, tmp_path / "ramp", {"cluster_ramp": 1.0, "domain_ramp": 1.0, "epochs": 1})
    assert ramp(0.125, 0.25) == pytest.approx(0.5, abs=1e-4)
    assert ramp(0.125, 0.0) == 1.0
    assert ramped.is_finished


def test_vectors_stay_in_the_space_of_texts(pictures, tmp_path):
    photos = open_catalog(pictures).select(domains=["photo"])

    def nearness(consistency_weight):
        """Mean cosine of each of two heads' vectors with the frozen joint vectors."""
        settings = {**LONGER, "members": 2, "consistency_weight": consistency_weight, "whitened_share": 0}
        run = fit(pictures, tmp_path / f"run{consistency_weight}", settings)
        encoder = crosslens.load_encoder(run.folder)
        assert encoder.has_text
        centred = crosslens.fit("centred", pictures, out=tmp_path / f"c{consistency_weight}", backbone="talker")
        frozen = crosslens.load_encoder(centred.folder).encode_images(photos.paths, "photo")
        found = encoder.encode_images(photos.paths, "photo").reshape(len(photos), 2, 64)
        return float((found * frozen[:, None]).sum(2).mean()) * 2**0.5, encoder

    (near, encoder), (far, _) = nearness(5.0), nearness(0.0)
    assert near > 0.3
    assert near > far + 0.2
    assert encoder.dim == 2 * 64
    texts = encoder.encode_texts([f"a photo of a {shape}" for shape in SHAPES])
    assert texts.shape == (4, 128)
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert np.allclose(texts[:, :64], texts[:, 64:])
    free = fit(pictures, tmp_path / "free", {"space": "free", "whitened_share": 0})
    assert not crosslens.load_encoder(free.folder).has_text
    assert crosslens.load_encoder(free.folder).dim == 16


def test_the_whitened_part_stands_beside_the_head(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", {"whitened_share": 0.3})
    encoder = crosslens.load_encoder(run.folder)
    alone = Encoder(encoder.backbone, [part for part in encoder.parts if not isinstance(part, Whitened)])
    assert encoder.dim == alone.dim + 64
    paths = open_catalog(pictures).paths[:9]
    rows, head = encoder.encode_images(paths, "sketch"), alone.encode_images(paths, "sketch")
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    features = encoder.backbone.embed_images(
        torch.from_numpy(
            encoder.backbone.preprocess.normalise(np.stack([encoder.backbone.preprocess.pixels(p) for p in paths]))
        )
    )
    base = encoder.part(Whitened).of_features(features, ["sketch"] * 9).numpy()
    assert np.allclose(rows @ rows.T, 0.7 * head @ head.T + 0.3 * base @ base.T, atol=1e-4)
    text = encoder.encode_texts("a photo of a circle")
    assert np.allclose(rows @ text.T, 0.7**0.5 * head @ alone.encode_texts("a photo of a circle").T, atol=1e-5)
    assert encoder.fingerprint != alone.fingerprint
    auto = crosslens.load_encoder(fit(pictures, tmp_path / "auto").folder)
    assert 0 < auto.part(Whitened).share < 1
    assert auto.trained["whitened_share"] == pytest.approx(auto.part(Whitened).share, abs=1e-4)


@pytest.mark.parametrize("stop_after", [2, 7, 14])
def test_a_killed_fit_resumes_to_the_same_bits(pictures, tmp_path, killed_after, stop_after):
    settings = {"members": 2, "relabel": True}
    whole = fit(pictures, tmp_path / "whole", settings)
    with killed_after(stop_after, TwoViewTraining):
        fit(pictures, tmp_path / "broken", settings)
    resumed = fit(pictures, tmp_path / "broken", settings, resume=True)
    assert np.array_equal(vectors(whole, pictures), vectors(resumed, pictures))


def test_labels_are_the_names_own_and_never_the_images(pictures, tmp_path):
    """Other true labels change nothing that is trained."""
    scrambled = open_catalog(pictures)
    labels = np.random.default_rng(0).permutation(scrambled.labels)
    table = scrambled.table.set_column(3, "label", [labels.tolist()])
    other = type(scrambled)(table, scrambled.root)
    first, second = fit(open_catalog(pictures), tmp_path / "a"), fit(other, tmp_path / "b")
    assert np.array_equal(vectors(first, pictures), vectors(second, pictures))
    found = pq.read_table(first.folder / "labels.parquet").to_pydict()
    assert set(found) == {"id", "label", "confidence", "kept"}
    assert found == pq.read_table(second.folder / "labels.parquet").to_pydict()
    assert label_accuracy(first.folder, open_catalog(pictures)) != label_accuracy(second.folder, other)


def test_oracle_labels_teach_and_are_marked(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", {**LONGER, "whitened_share": 0}, oracle=True)
    result = crosslens.evaluate(run.folder)
    assert result.extra["pseudo_labels"]["sketch"]["all"] == 1.0
    assert result.metrics["map@all"] > 0.82
    assert any("oracle: labels taught" in mark for mark in result.marks)
    assert "Oracle" in (run.encoder_folder / "README.md").read_text()
    with pytest.raises(ConfigError, match="lacks triangle"):
        fit(pictures, tmp_path / "less", classes=SHAPES[:3], oracle=True)
    # A list may spell the classes otherwise than the folders.
    spelt = fit(
        pictures, tmp_path / "spelt", {"epochs": 1}, classes=[f" {n.title()}" for n in SHAPES], oracle=True
    )
    assert crosslens.evaluate(spelt.folder).extra["pseudo_labels"]["sketch"]["all"] == 1.0


def test_kmeans_labels_and_the_recipe_of_the_first_proposal(pictures, tmp_path):
    run = fit(pictures, tmp_path / "kmeans", {"labels_from": "kmeans"})
    assert crosslens.evaluate(run.folder).metrics["map@all"] > 0.2
    spec = crosslens.fit(
        "clair",
        pictures,
        out=tmp_path / "spec",
        backbone="talker",
        classes=SHAPES,
        recipe="clair-spec",
        settings={"epochs": 2, "batch_size": 16, "views": 2},
    )
    settings = spec.config()["settings"]
    assert (settings["temperature"], settings["keep"], settings["spread"]) == (0.07, 0.7, False)
    kept = json.loads((spec.folder / "labels.json").read_text())["domains"]["photo"]["kept_share"]
    assert 0.6 < kept < 0.85


def test_relabelling_reports_its_churn(pictures, tmp_path):
    log = fit(pictures, tmp_path / "run", {"relabel": True, "spread": False, "calibration": "none"}).read_log()
    assert "churn_a" not in log[1]
    assert 0 <= log[2]["churn_a"] <= 1


def test_bad_class_lists(pictures, tmp_path, monkeypatch):
    # All of them are noticed before an image is embedded.
    monkeypatch.setattr(FitJob, "features_by_domain", None)
    with pytest.raises(ConfigError, match="at least two class names, and --classes gives 1"):
        fit(pictures, tmp_path / "one", classes=["circle"])
    with pytest.raises(ConfigError, match="twice"):
        fit(pictures, tmp_path / "twice", classes=["circle", "Circle", "square"])
    with pytest.raises(ConfigError, match="as the same text"):
        fit(pictures, tmp_path / "same", classes=["red-circle", "red_circle", "square"])
    with pytest.raises(ConfigError, match="longer than talker can read"):
        fit(pictures, tmp_path / "long", classes=["circle", "square " * 40])
    with pytest.raises(ConfigError, match="give --classes FILE"):
        fit(pictures, tmp_path / "none", classes=None)
    with pytest.raises(BackboneError, match=r"tiny has no text tower.*lite, clip:PATH, siglip:PATH"):
        crosslens.fit("clair", pictures, out=tmp_path / "deaf", backbone="tiny", classes=SHAPES, settings=QUICK)


def test_names_that_match_no_image(pictures, tmp_path, capsys):
    fit(
        pictures,
        tmp_path / "run",
        {"threshold": 0.3, "calibration": "none", "spread": False},
        [*SHAPES, "violin"],
    )
    account = json.loads((tmp_path / "run" / "labels.json").read_text())
    assert "violin" in account["domains"]["photo"]["empty_classes"]
    assert "no image for" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(TrainingError, match="the class names match no images"):
        fit(pictures, tmp_path / "strict", {"threshold": 1.0})


def test_needs_two_domains_and_settings_that_fit(pictures, tmp_path):
    with pytest.raises(TrainingError, match="exactly 2 domains"):
        fit(pictures, tmp_path / "one", domains=["photo"])
    with pytest.raises(ConfigError, match="no look 'cubist'"):
        fit(pictures, tmp_path / "look", {"looks": {"photo": "cubist"}})
    with pytest.raises(ConfigError, match="keep"):
        fit(pictures, tmp_path / "keep", {"keep": 0})
    with pytest.raises(ConfigError, match="no --tune full; it has head, prompts"):
        fit(pictures, tmp_path / "full", tune="full")
    with pytest.raises(ConfigError, match="prompts go into the vision transformer of a CLIP"):
        fit(pictures, tmp_path / "prompts", tune="prompts")


def test_one_image_in_a_domain(tiny_world, tmp_path):
    root = make_pictures(tmp_path / "few")
    for shape in SHAPES:
        for file in sorted((root / "sketch" / shape).iterdir())[int(shape == "circle") :]:
            file.unlink()
    run = fit(root, tmp_path / "run", {"epochs": 1})
    assert torch.isfinite(torch.from_numpy(vectors(run, root, "sketch"))).all()
