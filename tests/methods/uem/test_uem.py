"""UEM on tiny pictures: both stages, exact resume, scenarios, what the log watches, bad input."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.cli.options import parse_settings
from crosslens.encoder.parts import TrainedTower
from crosslens.evaluation.scenarios import Scenario
from crosslens.methods.base import make_config
from crosslens.methods.ucdir import UCDIRConfig
from crosslens.methods.uem.config import UEMConfig
from crosslens.methods.uem.learner import Learner, write_banks
from crosslens.methods.uem.method import UEM, SemanticEnhanced, SemanticMatched
from crosslens.support.errors import ConfigError, EvaluationError, TrainingError
from testing.golden import read_golden
from testing.tiny_pictures import make_pictures

GOLDEN = read_golden("uem")
QUICK = {
    "epochs": 6,
    "align_epochs": 3,
    "batch_size": 16,
    "views": 2,
    "head": [32, 16],
    "members": 1,
    "clusters": 4,
    "restarts": 2,
}


def fit(pictures, out, settings=None, **options):
    return crosslens.fit("uem", pictures, out=out, backbone="tiny", settings=QUICK | (settings or {}), **options)


def encode(run, pictures):
    return crosslens.load_encoder(run.folder).encode_images(open_catalog(pictures).paths, "photo")


def entries(run, stage):
    return [entry for entry in run.read_log() if entry["name"].endswith(f"stage-{stage}")]


@contextmanager
def steps_forbidden(monkeypatch):
    """A fit inside may not get as far as a training step."""

    def step(self, epoch, number):
        pytest.fail("trained before it complained")

    with monkeypatch.context() as patch:
        patch.setattr(SemanticEnhanced, "step", step)
        yield


def test_both_stages_train_and_the_log_watches_the_traps(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run")
    first, second = entries(run, 1), entries(run, 2)
    assert [e["epoch"] for e in first] == list(range(6))
    assert [e["epoch"] for e in second] == [0, 1, 2]
    assert {"clusters_a", "clusters_b", "n_merged", "merge_threshold", "mean_cosine", "mean_distance"} <= set(
        first[-1]
    )
    watched = {"switch_rate_a", "switch_rate_b", "discriminator_accuracy", "adversarial", "preserve_a", "match_b"}
    assert watched <= set(second[-1]["losses"])
    assert 0 <= second[-1]["losses"]["switch_rate_a"] <= 1
    result = crosslens.evaluate(run.folder)
    assert 0.2 < result.metrics["map@all"] <= 1
    assert crosslens.load_encoder(run.folder).trained["clusters"] == {"photo": 4, "sketch": 4}


def test_totals_are_the_papers_sums(pictures, tmp_path):
    settings = {"instance_weight": 1, "prototype_weight": 1, "semantic_weight": 1, "prototype_start": 0.5}
    settings |= {"adversarial_weight": 1, "preserve_weight": 1, "match_weight": 1, "keep_stage1": 0, "ladder": []}
    run = fit(pictures, tmp_path / "run", settings)
    for entry in entries(run, 1):
        part, weight = entry["losses"], entry["prototype_schedule"]
        assert weight == pytest.approx(1 / (1 + np.exp(3 - entry["epoch"])))
        total = part["instance_a"] + part["instance_b"]
        total += weight * sum(part[f"{kind}_{d}"] for kind in ("prototype", "semantic") for d in "ab")
        assert part["total"] == pytest.approx(total, rel=1e-5)
    for entry in entries(run, 2):
        part = entry["losses"]
        total = part["adversarial"] + sum(part[f"{kind}_{d}"] for kind in ("preserve", "match") for d in "ab")
        assert part["total"] == pytest.approx(total, rel=1e-5)


def test_the_regulariser_starts_at_zero_and_the_reversal_too(pictures, tmp_path, monkeypatch):
    seen = []
    original = SemanticMatched.losses

    def spying(self, epoch, anchors, before, strength):
        losses = original(self, epoch, anchors, before, strength)
        seen.append((strength, float(losses["preserve_a"].detach())))
        return losses

    monkeypatch.setattr(SemanticMatched, "losses", spying)
    fit(pictures, tmp_path / "run")
    assert seen[0] == (0.0, pytest.approx(0, abs=1e-9))
    assert seen[-1][0] > 0.9
    assert seen[-1][1] > 0


def test_fifty_visits_leave_the_golden_share_of_a_bank_row():
    banks = [torch.eye(3, dtype=torch.float64) for _ in (0, 1)]
    for _ in range(50):
        visited = [(torch.tensor([1]), torch.tensor([[0.0, 0, 1]]).double())] * 2
        write_banks(banks, visited, 0.99, unit=False)
    share = GOLDEN["first_row_after_50_visits"]
    for bank in banks:
        assert torch.allclose(bank, torch.tensor([[1, 0, 0], [0, share, 1 - share], [0, 0, 1]]).double())


@pytest.mark.parametrize("unit_bank", [True, False])
def test_a_visited_bank_row_is_the_mean_and_others_stay(pictures, tmp_path, monkeypatch, unit_bank):
    checks = []
    original = Learner.write_banks

    def spying(self):
        before = [bank.clone() for bank in self.banks]
        pending = self.pending
        original(self)
        for old, bank, (index, z) in zip(before, self.banks, pending, strict=False):
            beta = self.config.bank_momentum
            untouched = torch.ones(len(bank), dtype=torch.bool)
            untouched[index] = False
            assert torch.equal(bank[untouched], old[untouched])
            single = [i for i in index.tolist() if index.tolist().count(i) == 1]
            for slot in single[:3]:
                row = beta * old[slot] + (1 - beta) * z[index.tolist().index(slot)]
                assert torch.allclose(bank[slot], row / row.norm() if unit_bank else row, atol=1e-6)
                checks.append(float(bank[slot].norm()))

    monkeypatch.setattr(Learner, "write_banks", spying)
    fit(pictures, tmp_path / "run", {"bank_momentum": 0.9, "unit_bank": unit_bank})
    assert len(checks) > 20
    assert (min(checks) > 0.9999) == unit_bank


@pytest.mark.parametrize("stop_after", [1, 7, 20, 23])
def test_a_fit_killed_at_any_step_of_either_stage_resumes_to_the_same_bits(
    pictures, tmp_path, killed_after, stop_after
):
    whole = fit(pictures, tmp_path / "whole")
    with killed_after(stop_after, SemanticEnhanced, SemanticMatched) as calls:
        fit(pictures, tmp_path / "broken")
    assert calls[-1][0].stage == (1 if stop_after < 18 else 2)
    resumed = fit(pictures, tmp_path / "broken", resume=True)
    assert np.array_equal(encode(whole, pictures), encode(resumed, pictures))


def test_the_clusters_it_remembers_are_the_estimates(pictures, tmp_path, monkeypatch):
    # A ladder of 2 has the rungs 2 and 4. Then photos 7, 3, 9, 9 and sketches 9, 4, 4, 8; the last three count.
    found = iter([2, 8, 7, 9, 3, 4, 9, 4, 9, 8])

    def estimate(points, *, method, seed):
        assert (points.shape, method, seed) == ((48, 16), "silhouette", 3)
        return next(found)

    monkeypatch.setattr("crosslens.methods.uem.counts.estimate_clusters", estimate)
    settings = {"clusters": "auto", "ladder": [0.25, 0.5, 1, 2], "epochs": 1, "count_method": "silhouette"}
    run = fit(pictures, tmp_path / "once", settings, seed=3)
    assert entries(run, 1)[0]["clusters_a"] == 4
    assert crosslens.load_encoder(run.folder).trained["clusters"] == {"photo": 2, "sketch": 8}
    run = fit(pictures, tmp_path / "often", settings | {"epochs": 8, "count_every": 2}, seed=3)
    assert crosslens.load_encoder(run.folder).trained["clusters"] == {"photo": 9, "sketch": 4}
    assert next(found, None) is None


def test_members_are_joined_and_seeds_differ(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", {"members": 2, "clusters": "auto", "ladder": [0.5, 1]})
    encoder = crosslens.load_encoder(run.folder)
    assert encoder.dim == 2 * 16
    assert len(run.read_log()) == 2 * 9
    again = fit(pictures, tmp_path / "again", {"members": 2, "clusters": "auto", "ladder": [0.5, 1]})
    assert np.array_equal(encode(run, pictures), encode(again, pictures))
    other = fit(pictures, tmp_path / "other", {"members": 2, "clusters": "auto", "ladder": [0.5, 1]}, seed=1)
    assert not np.allclose(encode(run, pictures), encode(other, pictures))


@pytest.mark.parametrize(
    "settings",
    [
        {"bank": "refresh", "align_bank": "refresh", "negatives": "bank"},
        {"merge": False},
        {"match": "neighbour"},
        {"match": "none", "semantic_weight": 0.0, "preserve_weight": 0.0},
        {"match_epoch": 2, "exclude_same_prototype": True, "keep_stage1": 0.5},
        {"matching": "votes", "frame": "common", "foreign_negatives": False},
        {"unit_prototypes": False, "detach_weights": True, "warm_start": False},
        {"clusters": "auto", "count_every": 1, "ladder": [0.5, 1, 2]},
        {"unit_bank": False, "bank": "ema", "reduction": "sum", "reversal_ramp": None},
        {"kmeans_start": "k-means++", "clusters": [3, 6]},
        {"align_epochs": 0, "optimizer": "sgd", "centre": True},
    ],
)
def test_every_choice_trains(pictures, tmp_path, settings):
    run = fit(pictures, tmp_path / "run", settings)
    assert np.isfinite(encode(run, pictures)).all()
    if settings.get("merge") is False:
        assert all(entry.get("n_merged", 0) == 0 for entry in run.read_log())
    if settings.get("match_epoch"):
        assert ["match_a" in entry["losses"] for entry in entries(run, 2)] == [False, False, True]


def test_too_few_merges_fall_back_to_the_quantile_and_say_so(pictures, tmp_path):
    settings = {"matching": "distance", "frame": "translated", "merge_quantile": 0.0, "clusters": 16}
    run = fit(pictures, tmp_path / "run", settings | {"merge_fallback": 0.5})
    assert entries(run, 1)[-1]["n_merged"] < 0.2 * 16
    assert {entry["merge_quantile"] for entry in entries(run, 2)} == {0.5}
    assert entries(run, 2)[0]["n_merged"] >= entries(run, 1)[-1]["n_merged"]
    never = fit(pictures, tmp_path / "never", settings | {"merge_fallback": None})
    assert {entry["merge_quantile"] for entry in entries(never, 2)} == {0.0}


def test_full_tuning_trains_the_tower_and_leaves_the_frozen_one(pictures, tmp_path, monkeypatch):
    frozen = []
    original = SemanticMatched.__init__

    def spying(self, learner):
        original(self, learner)
        frozen.append((self.frozen, {k: v.clone() for k, v in self.frozen.state_dict().items()}))

    monkeypatch.setattr(SemanticMatched, "__init__", spying)
    run = fit(pictures, tmp_path / "run", {"epochs": 2, "align_epochs": 1, "lr": 0.01}, tune="full")
    encoder = crosslens.load_encoder(run.folder)
    assert encoder.part(TrainedTower)
    assert not torch.equal(encoder.backbone.tower.conv.weight, crosslens.load_backbone("tiny").tower.conv.weight)
    network, before = frozen[0]
    for key, value in network.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(value, before[key]), key
    assert 0.2 < crosslens.evaluate(run.folder).metrics["map@all"] <= 1


class TestScenarios:
    def test_training_sees_the_restricted_images_and_no_label(self, pictures, tmp_path, monkeypatch):
        seen = []
        original = UEM.fit

        def spying(self, job):
            seen.append(job.catalog)
            return original(self, job)

        monkeypatch.setattr(UEM, "fit", spying)
        run = fit(pictures, tmp_path / "run", scenario="partial", domains=["sketch", "photo"])
        drawn = Scenario.from_json(run.config()["scenario"])
        assert len(drawn.shared) == 2
        assert len(seen[0].select(domains=["sketch"])) == 2 * 12
        assert len(seen[0].select(domains=["photo"])) == 4 * 12
        assert set(seen[0].table.column("label").to_pylist()) == {None}
        result = crosslens.evaluate(run.folder)
        assert result.protocol == "partial"
        assert len(result.directions) == 1
        assert (result.directions[0].query_domain, len(result.directions[0].query_ids)) == ("sketch", 24)
        assert set(result.directions[0].query_labels) == set(drawn.shared)
        mirror = crosslens.evaluate(run.folder, protocol="open-set")
        assert (mirror.directions[0].query_domain, len(mirror.directions[0].query_ids)) == ("photo", 24)
        assert len(mirror.directions[0].gallery_ids) == 24
        assert {"partial", "open-set"} <= set(run.read_metrics())
        measured, _ = crosslens.compare([run.folder, "tiny"])
        assert [m.protocol for m in measured] == ["partial", "partial"]
        assert measured[0].metrics["map@all"] == pytest.approx(result.metrics["map@all"])
        marks = crosslens.evaluate(run.folder, protocol="pairs").marks
        assert any("partial scenario" in mark for mark in marks)

    def test_resuming_with_another_draw_is_refused(self, pictures, tmp_path):
        drawn = Scenario.draw_for(open_catalog(pictures), "partial", "photo", "sketch", seed=1)
        fit(pictures, tmp_path / "run", scenario=drawn, domains=["photo", "sketch"])
        other = Scenario.draw_for(open_catalog(pictures), "partial", "photo", "sketch", shared=1)
        with pytest.raises(crosslens.support.errors.RunError, match="other settings"):
            fit(pictures, tmp_path / "run", scenario=other, domains=["photo", "sketch"], resume=True)

    def test_two_domains_are_needed(self, pictures, tmp_path):
        with pytest.raises(ConfigError, match="query and a gallery domain"):
            fit(pictures, tmp_path / "run", scenario="partial", domains=["photo"])
        with pytest.raises(EvaluationError, match="known: close-set"):
            fit(pictures, tmp_path / "run", scenario="half-open")


class TestBadInput:
    def test_a_domain_with_one_image(self, tmp_path):
        make_pictures(tmp_path / "p", 12, looks=("photo",))
        make_pictures(tmp_path / "p", 1, looks=("sketch",), shapes=("circle",))
        with pytest.raises(TrainingError, match="'sketch' has one image"):
            fit(tmp_path / "p", tmp_path / "run")

    def test_more_clusters_than_images(self, pictures, tmp_path, monkeypatch):
        # Prototypes start late here; the complaint must not.
        with (
            pytest.raises(ConfigError, match="500 clusters cannot be made of 48 images"),
            steps_forbidden(monkeypatch),
        ):
            fit(pictures, tmp_path / "run", {"clusters": [2, 500], "prototype_start": 1.0, "epochs": 40})

    @pytest.mark.parametrize("config", [UEMConfig, UCDIRConfig])
    @pytest.mark.parametrize("clusters", ["[]", "0", "[4, 0]"])
    def test_no_number_of_clusters(self, config, clusters):
        with pytest.raises(ConfigError, match=r"uem: clusters.*give auto, or one or more numbers of at least 1"):
            make_config(config, parse_settings([f"clusters={clusters}"]), "uem")
        assert make_config(config, {"clusters": 3}, "uem").clusters == (3,)

    def test_too_few_images_to_estimate_clusters(self, tmp_path, monkeypatch):
        make_pictures(tmp_path / "p", 12, looks=("photo",))
        make_pictures(tmp_path / "p", 2, looks=("sketch",))
        with pytest.raises(TrainingError, match="too few to estimate"), steps_forbidden(monkeypatch):
            fit(tmp_path / "p", tmp_path / "run", {"clusters": "auto", "prototype_start": 1.0, "epochs": 40})
        run = fit(tmp_path / "p", tmp_path / "given", {"clusters": 4})
        assert run.is_finished

    def test_domains_without_a_shared_class_still_train(self, tmp_path):
        make_pictures(tmp_path / "p", 12, looks=("photo",), shapes=("circle", "cross"))
        make_pictures(tmp_path / "p", 12, looks=("sketch",), shapes=("square", "triangle"))
        run = fit(tmp_path / "p", tmp_path / "run", {"clusters": 2})
        with pytest.raises(EvaluationError, match="no class in common"):
            crosslens.evaluate(run.folder)

    def test_equal_images_empty_clusters_and_training_survives(self, tmp_path):
        pictures = make_pictures(tmp_path / "p", 12)
        for look in ("photo", "sketch"):
            files = sorted((pictures / look).rglob("*.png"))
            for file in files[1:]:
                file.write_bytes(files[0].read_bytes())
        run = fit(pictures, tmp_path / "run", {"clusters": 6, "align_bank": "refresh"})
        assert np.isfinite(encode(run, pictures)).all()
        log = run.read_log()
        assert len(log) == 9
        assert {(entry["clusters_a"], entry["clusters_b"]) for entry in log} == {(1, 1)}
        assert crosslens.load_encoder(run.folder).trained["clusters"] == {"photo": 1, "sketch": 1}

    @pytest.mark.parametrize(("logits", "state"), [(20.0, "wins"), (0.0, "collapsed")])
    def test_a_discriminator_that_wins_or_collapses_is_logged(
        self, pictures, tmp_path, monkeypatch, logits, state
    ):
        from crosslens.nn.gradient_reversal import DomainClassifier

        def forced(self, z):
            # The first half of a step is domain A; each domain comes alone.
            self.turn = not getattr(self, "turn", False)
            return self.layers(z).squeeze(1) * 0 + (logits if self.turn else -logits)

        monkeypatch.setattr(DomainClassifier, "forward", forced)
        run = fit(pictures, tmp_path / "run")
        assert [entry[f"discriminator_{state}"] for entry in entries(run, 2)] == [1, 1, 1]
        assert run.is_finished


@pytest.mark.parametrize("name", ["uem-office-home", "uem-domainnet"])
def test_recipes_are_the_paper_and_turn_every_deviation_off(name):
    from crosslens.recipes import read_recipe

    content = read_recipe(name)
    assert (content["method"], content["tune"]) == ("uem", "full")
    config = make_config(UEMConfig, content["settings"], "uem")
    assert (config.temperature, config.bank_momentum, config.align_epochs) == (0.07, 0.99, 50)
    assert config.epochs == (200 if name == "uem-domainnet" else 100)
    assert (config.matching, config.frame, config.merge_quantile, config.ladder) == (
        "distance",
        "translated",
        0,
        (),
    )
    weights = ("instance", "prototype", "semantic", "adversarial", "preserve", "match")
    assert [getattr(config, f"{weight}_weight") for weight in weights] == [1] * 6
    assert (config.keep_stage1, config.exclude_same_prototype, config.prototype_start) == (0, False, 0.5)
