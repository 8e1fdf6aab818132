"""Whole fits on tiny pictures: every method, exact resume, hidden labels, oracle, bad input."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.encoder.parts import Centre, Heads, TrainedTower
from crosslens.methods import METHODS, method_class
from crosslens.methods.supervised import Supervised
from crosslens.methods.two_view import TwoViewTraining, step_momentum
from crosslens.support.errors import (
    BackboneError,
    CatalogError,
    ConfigError,
    CrosslensError,
    EvaluationError,
    FeatureError,
    LabelsHiddenError,
    RunError,
    TrainingError,
)
from testing.tiny_pictures import make_pictures

QUICK = {"epochs": 4, "batch_size": 16, "views": 2, "head": [32, 16]}
UCDIR_QUICK = {**QUICK, "clusters": [3, 5], "cluster_epoch": 1, "align_epoch": 2, "restarts": 2, "members": 1}


def fit(pictures, out, method="ucdir", settings=None, **options):
    values = settings if settings is not None else (UCDIR_QUICK if method == "ucdir" else QUICK)
    return crosslens.fit(method, pictures, out=out, backbone="tiny", settings=values, **options)


def encode(run, pictures):
    encoder = crosslens.load_encoder(run.folder)
    catalog = open_catalog(pictures)
    return encoder.encode_images(catalog.paths, "photo")


@pytest.mark.parametrize("method", ["instance", "protonce", "ucdir"])
def test_two_view_methods_train_and_measure(pictures, tmp_path, method):
    run = fit(pictures, tmp_path / "run", method)
    log = run.read_log()
    assert [entry["epoch"] for entry in log] == [0, 1, 2, 3]
    assert log[-1]["losses"]["instance_a"] < log[0]["losses"]["instance_a"]
    result = crosslens.evaluate(run.folder)
    assert [(d.query_domain, d.gallery_domain) for d in result.directions] == [
        ("photo", "sketch"),
        ("sketch", "photo"),
    ]
    assert 0.2 < result.metrics["map@all"] <= 1
    assert run.read_metrics()["pairs"]["metrics"]["map@all"] == pytest.approx(result.metrics["map@all"])


@pytest.mark.parametrize("looks", [("photo",), ("ink", "photo", "sketch")], ids=len)
@pytest.mark.parametrize("method", ["instance", "protonce", "protoot", "ucdir", "uem"])
def test_one_domain_and_three_train_one_encoder(tmp_path, method, looks):
    if method == "uem" and len(looks) < 2:
        pytest.skip("UEM brings domains together")
    pictures = make_pictures(tmp_path / "p", 6, looks=looks)
    settings = {**(UCDIR_QUICK if method == "ucdir" else QUICK), "members": 1}
    if method == "uem":
        settings |= {"clusters": [3], "align_epochs": 2, "epochs": 6}
    run = fit(pictures, tmp_path / "run", method, settings)
    assert run.is_finished
    losses = run.read_log()[-1]["losses"]
    letters = "abc"[: len(looks)]
    own = "view_" if method == "protoot" else "instance_"
    assert {key for key in losses if key.startswith(own)} == {own + letter for letter in letters}
    if method == "ucdir":
        # The domains' own terms count as much in one domain as in three; one has no other to be held against.
        terms = [losses[f"instance_{letter}"] + losses[f"cluster_{letter}"] for letter in letters]
        total = sum(terms) / len(looks) + 0.5 * losses["entropy"] + 0.1 * losses.get("distance", 0)
        assert losses["total"] == pytest.approx(total, rel=1e-5)
        assert ("distance" in losses) == (len(looks) > 1)
    if len(looks) > 1:
        result = crosslens.evaluate(run.folder)
        assert len(result.directions) == 6
        assert result.metrics["map@all"] > 0.35


def test_small_domains_take_as_many_steps_as_asked(pictures, tmp_path):
    """More passes an epoch, and a momentum encoder that has left its untrained start at the end."""
    settings = UCDIR_QUICK | {"batch_size": 4096, "least_steps": 5, "epochs": 2}
    run = fit(pictures, tmp_path / "run", settings=settings)
    assert run.is_finished
    assert [step_momentum("auto", steps) for steps in (10, 298, 299)] == pytest.approx(
        [0.05**0.1, 0.05 ** (1 / 298), 0.99]
    )
    assert step_momentum(0.999, 10) == 0.999


def test_ucdir_switches_its_terms_on_by_schedule(pictures, tmp_path):
    log = fit(pictures, tmp_path / "run").read_log()
    terms = [set(entry["losses"]) for entry in log]
    assert "cluster_a" not in terms[0]
    assert "cluster_a" in terms[1]
    assert "entropy" not in terms[1]
    assert {"entropy", "distance"} <= terms[2]
    # At the first epoch with clusters their weight is 0: the total is the mean instance loss.
    first = log[1]["losses"]
    assert first["total"] == pytest.approx((first["instance_a"] + first["instance_b"]) / 2, rel=1e-5)
    last = log[3]["losses"]
    expected = (last["instance_a"] + last["instance_b"] + last["cluster_a"] + last["cluster_b"]) / 2
    expected += 0.5 * last["entropy"] + 0.1 * last["distance"]
    assert last["total"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["ucdir", "protonce", "protoot", "supervised"])
@pytest.mark.parametrize("stop_after", [2, 7, 11])
def test_a_fit_killed_at_any_step_resumes_to_the_same_bits(pictures, tmp_path, killed_after, method, stop_after):
    settings = {"supervised": {"epochs": 4, "batch_size": 8}}.get(method)
    whole = fit(pictures, tmp_path / "whole", method, settings)
    trained = Supervised if method == "supervised" else TwoViewTraining
    with killed_after(stop_after, trained, modules=(trained.__module__,)):
        fit(pictures, tmp_path / "broken", method, settings)
    resumed = fit(pictures, tmp_path / "broken", method, settings, resume=True)
    assert np.array_equal(encode(whole, pictures), encode(resumed, pictures))


def test_same_seed_same_encoder_other_seed_another(pictures, tmp_path):
    first, again, other = (fit(pictures, tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert np.array_equal(encode(first, pictures), encode(again, pictures))
    assert not np.allclose(encode(first, pictures), encode(other, pictures))


def test_members_are_joined_heads(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", settings=UCDIR_QUICK | {"members": 3})
    encoder = crosslens.load_encoder(run.folder)
    assert encoder.dim == 3 * 16
    vectors = encode(run, pictures)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(run.read_log()) == 3 * 4
    single = encoder.part(Heads).group.members[0](torch.zeros(1, 64))
    assert single.shape == (1, 16)


def test_unsupervised_methods_never_see_a_label(pictures, tmp_path, monkeypatch):
    class Spy(method_class("frozen")):
        def fit(self, job):
            assert set(job.catalog.table.column("label").to_pylist()) == {None}
            for ask in ("labels", "classes"):
                with pytest.raises(LabelsHiddenError, match="learns without them"):
                    getattr(job.catalog, ask)
            assert job.oracle is None
            return super().fit(job)

    monkeypatch.setattr("crosslens.api.fitting.method_class", lambda name: Spy)
    fit(pictures, tmp_path / "run", "frozen", {})
    hidden = [m for m in METHODS if "labels" not in method_class(m).learns_from and m != "frozen"]
    assert set(hidden) == {
        "centred",
        "instance",
        "protonce",
        "ucdir",
        "protoot",
        "uem",
        "clair",
        "text-map",
        "tki",
    }


def test_oracle_takes_the_true_count_and_the_best_epoch_and_says_so(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", oracle=True)
    assert all(entry["clusters_a"] == 4 for entry in run.read_log()[1:])
    scores = [entry["oracle_score"] for entry in run.read_log()]
    assert max(scores) >= scores[-1]
    result = crosslens.evaluate(run.folder)
    assert any("oracle" in mark for mark in result.marks)
    metrics = run.read_metrics()
    assert "labels chose the epoch" in " ".join(metrics["oracle-best"]["marks"])
    assert "Oracle" in (run.encoder_folder / "README.md").read_text()
    honest = fit(pictures, tmp_path / "honest")
    assert not honest.oracle_folder.exists()


def test_centred_removes_each_domains_mean(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", "centred", {})
    encoder = crosslens.load_encoder(run.folder)
    assert set(encoder.part(Centre).means) == {"photo", "sketch"}
    rows = torch.randn(5, 64)
    expected = torch.nn.functional.normalize(rows - encoder.part(Centre).means["photo"], dim=1)
    assert np.allclose(encoder.encode_features(rows, "photo"), expected.numpy(), atol=1e-6)
    middle = (encoder.part(Centre).means["photo"] + encoder.part(Centre).means["sketch"]) / 2
    expected = torch.nn.functional.normalize(rows - middle, dim=1)
    assert np.allclose(encoder.encode_features(rows, None), expected.numpy(), atol=1e-6)


def test_centre_goes_with_training_too(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", settings=UCDIR_QUICK | {"centre": True})
    assert set(crosslens.load_encoder(run.folder).part(Centre).means) == {"photo", "sketch"}


def test_supervised_is_measured_on_held_out_images_and_reaches_far(tmp_path):
    pictures = make_pictures(tmp_path / "p", count=24)
    run = fit(pictures, tmp_path / "run", "supervised", {"epochs": 60, "batch_size": 32})
    held_out = run.read_held_out()
    assert len(held_out) == 2 * 4 * 12
    result = crosslens.evaluate(run.folder)
    assert len(result.directions[0].query_ids) == 48
    assert "held-out" in result.marks[0]
    frozen = crosslens.evaluate(crosslens.load_encoder("tiny"), pictures).metrics["map@all"]
    assert result.metrics["map@all"] > frozen + 0.1


def test_full_tuning_changes_the_tower_and_round_trips(pictures, tmp_path):
    settings = UCDIR_QUICK | {"epochs": 2, "cluster_epoch": 0, "align_epoch": 1, "lr": 0.01}
    run = fit(pictures, tmp_path / "run", settings=settings, tune="full")
    encoder = crosslens.load_encoder(run.folder)
    fresh = crosslens.load_backbone("tiny")
    assert encoder.part(TrainedTower)
    assert not torch.equal(encoder.backbone.tower.conv.weight, fresh.tower.conv.weight)
    assert encoder.fingerprint.digest != crosslens.load_encoder("tiny").fingerprint.digest
    assert crosslens.evaluate(run.folder).metrics["map@all"] > 0.2


def test_full_tuning_resumes_to_the_same_bits(pictures, tmp_path, killed_after):
    settings = UCDIR_QUICK | {"epochs": 2, "cluster_epoch": 0, "align_epoch": 1}
    whole = fit(pictures, tmp_path / "whole", settings=settings, tune="full")
    with killed_after(4, TwoViewTraining):
        fit(pictures, tmp_path / "broken", settings=settings, tune="full")
    resumed = fit(pictures, tmp_path / "broken", settings=settings, tune="full", resume=True)
    assert np.array_equal(encode(whole, pictures), encode(resumed, pictures))


class TestBadInput:
    def test_unknown_settings_are_named_with_the_known_ones(self, pictures, tmp_path):
        with pytest.raises(ConfigError, match=r"epoch: Extra inputs.*Keys of ucdir: epochs"):
            fit(pictures, tmp_path / "run", settings={"epoch": 3})
        with pytest.raises(ConfigError, match="greater than 0"):
            fit(pictures, tmp_path / "run", settings={"lr": -1})

    def test_unknown_method_recipe_and_tune(self, pictures, tmp_path):
        with pytest.raises(ConfigError, match="no method 'ucdri'; known: frozen"):
            fit(pictures, tmp_path / "run", "ucdri", {})
        with pytest.raises(ConfigError, match="no recipe"):
            fit(pictures, tmp_path / "run", recipe="nowhere")
        with pytest.raises(ConfigError, match="frozen has no --tune full"):
            fit(pictures, tmp_path / "run", "frozen", {}, tune="full")

    def test_too_few_and_too_many_domains(self, pictures, tmp_path):
        with pytest.raises(TrainingError, match=r"uem learns from at least 2 domains .*, not 1"):
            fit(pictures, tmp_path / "run", "uem", domains=["photo"])
        with pytest.raises(TrainingError, match=r"clair learns from exactly 2 domains .*, not 3"):
            method_class("clair")().require_domains(["a", "b", "c"])
        with pytest.raises(EvaluationError, match="at least two domains"):
            crosslens.evaluate(crosslens.load_encoder("tiny"), pictures, domains=["photo"])
        with pytest.raises(CatalogError, match="named twice"):
            fit(pictures, tmp_path / "run2", domains=["photo", "photo"])

    def test_a_missing_domain_lists_those_there(self, pictures, tmp_path):
        with pytest.raises(
            CatalogError, match="no image has the domain clipart; the domains here are: photo, sketch"
        ):
            fit(pictures, tmp_path / "run", domains=["photo", "clipart"])

    def test_more_clusters_than_images(self, pictures, tmp_path):
        with pytest.raises(ConfigError, match="500 clusters cannot be made of 48 images"):
            fit(pictures, tmp_path / "run", settings=UCDIR_QUICK | {"clusters": 500})

    def test_a_domain_of_one_picture_alone(self, tmp_path):
        pictures = make_pictures(tmp_path / "p", 1, looks=("photo",), shapes=("circle",))
        with pytest.raises(TrainingError, match="too few images to learn from: 1"):
            fit(pictures, tmp_path / "run", "instance")

    def test_corrupt_images_are_left_out_and_training_goes_on(self, pictures, tmp_path):
        (pictures / "photo" / "circle" / "00.png").write_bytes(b"")
        (pictures / "sketch" / "cross" / "01.png").write_bytes(b"no image")
        run = fit(pictures, tmp_path / "run")
        result = crosslens.evaluate(run.folder)
        assert result.skipped == 2
        assert len(result.directions[0].query_ids) == 47

    def test_a_domain_without_one_readable_image(self, pictures, tmp_path):
        for file in (pictures / "sketch").rglob("*.png"):
            file.write_bytes(b"")
        with pytest.raises(FeatureError, match="no image of the domain 'sketch'"):
            fit(pictures, tmp_path / "run")

    def test_nothing_in_common_cannot_be_measured(self, tmp_path):
        make_pictures(tmp_path / "p", 3, looks=("photo",), shapes=("circle",))
        make_pictures(tmp_path / "p", 3, looks=("sketch",), shapes=("cross",))
        with pytest.raises(EvaluationError, match="no class in common"):
            crosslens.evaluate(crosslens.load_encoder("tiny"), tmp_path / "p")

    def test_a_class_in_one_domain_only_does_no_harm(self, pictures):
        for file in (pictures / "sketch" / "cross").iterdir():
            file.unlink()
        result = crosslens.evaluate(crosslens.load_encoder("tiny"), pictures)
        forth = result.directions[0]
        assert forth.metrics["map@all"] == pytest.approx(np.nanmean(forth.per_query["map@all"]))

    def test_unlabelled_images_train_but_cannot_be_measured(self, pictures, tmp_path):
        flat = tmp_path / "flat"
        for look in ("photo", "sketch"):
            (flat / look).mkdir(parents=True)
            for number, file in enumerate(sorted((pictures / look).rglob("*.png"))):
                file.rename(flat / look / f"{number:03d}.png")
        run = fit(flat, tmp_path / "run")
        with pytest.raises(EvaluationError, match="has a label"):
            crosslens.evaluate(run.folder)

    def test_an_unfinished_run_has_no_encoder(self, pictures, tmp_path, monkeypatch):
        monkeypatch.setattr(
            "crosslens.methods.two_view.train", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "full"))
        )
        with pytest.raises(OSError, match="full"):
            fit(pictures, tmp_path / "run")
        with pytest.raises(RunError, match="--resume"):
            crosslens.load_encoder(tmp_path / "run")


def test_class_names_are_refused_by_methods_that_do_not_take_them(pictures, tmp_path):
    with pytest.raises(ConfigError, match="leave --classes out"):
        fit(pictures, tmp_path / "run", "instance", classes=["cat"])
    assert not (tmp_path / "run").exists()


def test_a_refused_fit_does_not_block_its_folder(pictures, tmp_path):
    with pytest.raises(CrosslensError, match="pretrained_head"):
        fit(pictures, tmp_path / "run", settings={**UCDIR_QUICK, "pretrained_head": True})
    assert fit(pictures, tmp_path / "run").is_finished


def test_a_device_that_is_not_there_is_told_before_anything_is_written(pictures, tmp_path):
    for device, message in (("nosuch", "no device 'nosuch'"), ("cuda:99", "is not here")):
        with pytest.raises(BackboneError, match=message):
            crosslens.fit("centred", pictures, out=tmp_path / "run", backbone="tiny", device=device)
        with pytest.raises(BackboneError, match=message):
            crosslens.evaluate("tiny", pictures, device=device)
    assert not (tmp_path / "run").exists()
