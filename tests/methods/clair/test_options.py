"""CLAIR's options: each is trained with, changes what it should, and leaves the rest alone."""

import json

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.backbones import load_backbone
from crosslens.encoder import load_encoder
from crosslens.encoder.parts import DomainMap
from crosslens.labels.pseudo_labels import PseudoLabels
from crosslens.labels.wording import class_texts
from crosslens.methods.clair.labels import held_out, with_noise
from crosslens.methods.clair.texts import TextContexts
from crosslens.methods.two_view import TwoViewTraining
from crosslens.support.errors import BackboneError, ConfigError
from testing import published_models
from testing.published_models import save_clip
from testing.reading_backbone import register_talker
from testing.tiny_pictures import SHAPES

QUICK = {"epochs": 3, "batch_size": 16, "views": 2, "head": [32, 16], "members": 1, "neighbours": 4}


@pytest.fixture(autouse=True)
def _talker():
    register_talker()


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A CLIP whose tokenizer knows the words of the templates, with room for them."""
    words = [*published_models.WORDS, *SHAPES, "sketch", "image", "color", "realistic", "black", "white", "line"]
    monkeypatch.setattr(published_models, "WORDS", words)
    save_clip(tmp_path / "clip", max_position_embeddings=64)
    return f"clip:{tmp_path / 'clip'}"


def fit(pictures, out, settings=None, backbone="talker", **options):
    values = QUICK | {"whitened_share": 0} | (settings or {})
    return crosslens.fit("clair", pictures, out=out, backbone=backbone, classes=SHAPES, settings=values, **options)


def vectors(run, pictures, domain="photo"):
    return load_encoder(run.folder).encode_images(open_catalog(pictures).paths, domain)


def test_every_new_term_counts_with_its_weight(pictures, tmp_path):
    weights = {
        "keep": 0.6,
        "separation_weight": 0.7,
        "cluster_ramp": 0.0,
        "domain_ramp": 0.0,
        "candidates": "batch",
        "prototype_momentum": 0.9,
        "warmup": True,
    }
    losses = fit(pictures, tmp_path / "run", weights).read_log()[-1]["losses"]
    factors = {"instance": 1, "cluster": 1, "domain": 1, "consistency": 1, "separation": 0.7}
    expected = sum(f * (losses[f"{k}_a"] + losses[f"{k}_b"]) / 2 for k, f in factors.items())
    assert losses["total"] == pytest.approx(expected, rel=1e-4)


def test_stand_ins_for_new_classes_keep_the_instance_terms_and_consistency(pictures, tmp_path):
    still = {"lr": 1e-12, "epochs": 1, "cluster_ramp": 0.0, "domain_ramp": 0.0, "keep": 0.6}
    plain, novel = (
        fit(pictures, tmp_path / f"run{share}", {**still, "novel_share": share}).read_log()[-1]["losses"]
        for share in (0.0, 0.5)
    )
    for term in ("instance", "consistency"):
        assert novel[f"{term}_a"] == pytest.approx(plain[f"{term}_a"], rel=1e-6)
    for term in ("cluster", "domain"):
        assert novel[f"{term}_a"] != pytest.approx(plain[f"{term}_a"], rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"candidates": "batch"},
        {"prototype_momentum": 0.9},
        {"prototypes_of": "bank"},
        {"novel_share": 0.3},
        {"separation_weight": 1.0},
        {"map_holdout": 0.3},
        {"warmup": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_an_option_changes_the_result_and_resumes_to_the_same_bits(pictures, tmp_path, killed_after, settings):
    plain = fit(pictures, tmp_path / "plain")
    whole = fit(pictures, tmp_path / "whole", settings)
    assert not np.array_equal(vectors(plain, pictures), vectors(whole, pictures))
    with killed_after(7, TwoViewTraining):
        fit(pictures, tmp_path / "broken", settings)
    resumed = fit(pictures, tmp_path / "broken", settings, resume=True)
    assert np.array_equal(vectors(whole, pictures), vectors(resumed, pictures))


def test_text_contexts_are_learned_and_give_the_map_its_texts(pictures, tmp_path, clip, killed_after):
    settings = {"text_tokens": 4, "text_lr": 0.05, "map_share": 1.0, "members": 2}
    whole = fit(pictures, tmp_path / "whole", settings, clip)
    losses = whole.read_log()[-1]["losses"]
    assert losses["text_a"] > 0
    assert losses["text_consistency_a"] > 0
    # Further away from the written texts than at the start of the second head's training.
    unmoved = fit(pictures, tmp_path / "unmoved", settings | {"text_lr": 1e-9}, clip)
    maps = [load_encoder(run.folder).part(DomainMap).maps["photo"] for run in (whole, unmoved)]
    assert not torch.allclose(*maps, atol=1e-4)
    with killed_after(8, TwoViewTraining):
        fit(pictures, tmp_path / "broken", settings, clip)
    resumed = fit(pictures, tmp_path / "broken", settings, clip, resume=True)
    assert torch.equal(load_encoder(resumed.folder).part(DomainMap).maps["photo"], maps[0])


def test_contexts_start_as_the_templates_words(tmp_path, clip):
    backbone = load_backbone(clip)
    contexts = TextContexts(backbone, SHAPES, ["photo", "sketch"], 4, 0, torch.device("cpu"))
    for found, look in zip(contexts().detach(), ("photo", "sketch"), strict=True):
        plain = backbone.embed_texts([f"a {look} of a {shape}." for shape in SHAPES])
        assert torch.allclose(found, plain, atol=1e-5)
    assert torch.equal(contexts.written_texts(0), class_texts(backbone, SHAPES, "photo"))
    more = TextContexts(backbone, SHAPES, ["photo"], 6, 0, torch.device("cpu"))
    assert torch.allclose(more.vectors[0, 2:], contexts.vectors[0])
    contexts()[..., 0].sum().backward()
    assert float(contexts.vectors.grad.abs().sum(2).min()) > 0
    assert [name for name, _ in contexts.named_parameters()] == ["vectors"]


def test_text_contexts_need_a_text_tower_that_takes_vectors(pictures, tmp_path):
    with pytest.raises(BackboneError, match="not of talker"):
        fit(pictures, tmp_path / "run", {"text_tokens": 4})


def test_an_epoch_can_be_cut_short(pictures, tmp_path, monkeypatch):
    """48 images a domain are three steps."""
    counted = []
    original = TwoViewTraining.step
    monkeypatch.setattr(TwoViewTraining, "step", lambda *given: (counted.append(given[1:]), original(*given))[1])
    whole, short = fit(pictures, tmp_path / "whole"), fit(pictures, tmp_path / "short", {"most_steps": 2})
    assert counted[9:] == [(epoch, step) for epoch in range(3) for step in range(2)]
    same = fit(pictures, tmp_path / "same", {"most_steps": 3})
    assert np.array_equal(vectors(whole, pictures), vectors(same, pictures))
    assert not np.array_equal(vectors(whole, pictures), vectors(short, pictures))


def test_label_noise_is_for_measuring_with_an_oracle(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", {"label_noise": 0.25}, oracle=True)
    accuracy = crosslens.evaluate(run.folder).extra["pseudo_labels"]
    assert accuracy["photo"]["all"] == 0.75
    with pytest.raises(ConfigError, match="add --oracle"):
        fit(pictures, tmp_path / "honest", {"label_noise": 0.25})


def test_noise_moves_the_share_asked_for_and_the_posterior_with_it():
    posteriors = torch.softmax(torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    trust, labels = posteriors.max(dim=1)
    before = PseudoLabels(posteriors, labels, trust, torch.ones(200, dtype=torch.bool))
    after = with_noise(before, 0.3, seed=1)
    assert int((after.labels != before.labels).sum()) == 60
    assert torch.equal(after.posteriors.max(dim=1).values, trust)
    assert torch.equal(after.posteriors.argmax(dim=1), after.labels)
    assert torch.equal(with_noise(before, 0.0, seed=1).labels, labels)


def test_held_out_images_are_kept_ones():
    kept = torch.arange(1000) % 2 == 0
    labels = PseudoLabels(torch.ones(1000, 1), torch.zeros(1000).long(), torch.ones(1000), kept)
    held = held_out(labels, 0.2, seed=0)
    assert not bool((held & ~kept).any())
    assert 60 < int(held.sum()) < 140
    assert not bool(held_out(labels, 0.0, seed=0).any())


def test_text_contexts_need_the_joint_space(pictures, tmp_path):
    with pytest.raises(ConfigError, match="text_tokens works in the space of texts"):
        fit(pictures, tmp_path / "run", {"space": "free", "text_tokens": 1})


def test_the_recipe_holds_images_out_for_the_map(pictures, tmp_path):
    run = crosslens.fit(
        "clair",
        pictures,
        out=tmp_path / "spec",
        backbone="talker",
        classes=SHAPES,
        recipe="clair-spec",
        settings={"epochs": 2, "batch_size": 16, "views": 2},
    )
    assert run.config()["settings"]["map_holdout"] == 0.1
    log = run.read_log()
    kept = json.loads((run.folder / "labels.json").read_text())["domains"]["photo"]["kept_share"]
    assert log[-1]["kept_a"] < kept
