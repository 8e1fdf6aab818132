"""CLAIR with ``--tune prompts``, end to end on a tiny CLIP in transformers' format on disk."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.backbones import load_backbone
from crosslens.backbones.engine import onnx_engine
from crosslens.encoder import load_encoder
from crosslens.encoder.export import export_encoder
from crosslens.encoder.parts import DomainMap, Prompts
from crosslens.methods.two_view import TwoViewTraining
from crosslens.support.errors import ConfigError
from testing import published_models
from testing.published_models import save_clip
from testing.tiny_pictures import SHAPES

QUICK = {"epochs": 2, "batch_size": 16, "ema": 0.5, "lr": 0.05, "norm_lr": 0.01, "neighbours": 4}


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A CLIP whose tokenizer knows the words of the templates, with room for them."""
    words = [*published_models.WORDS, *SHAPES, "sketch", "image", "color", "realistic", "black", "white", "line"]
    monkeypatch.setattr(published_models, "WORDS", words)
    save_clip(tmp_path / "clip", max_position_embeddings=64)
    return f"clip:{tmp_path / 'clip'}"


def fit(pictures, out, clip, settings=None, **options):
    values = QUICK | (settings or {})
    return crosslens.fit(
        "clair", pictures, out=out, backbone=clip, classes=SHAPES, tune="prompts", settings=values, **options
    )


def test_end_to_end(pictures, tmp_path, clip):
    run = fit(pictures, tmp_path / "run", clip, {"epochs": 6})
    log = run.read_log()
    assert log[-1]["losses"]["instance_a"] < log[0]["losses"]["instance_a"] + 1
    assert run.config()["tune"] == "prompts"
    encoder = load_encoder(run.folder)
    base = load_backbone(clip)
    # What is frozen is the backbone's, to the bit; prompts and norms moved.
    own = encoder.part(Prompts).tower.state_dict()
    for name, value in base.tower.state_dict().items():
        moved = not torch.equal(own[f"tower.{name}"], value)
        assert moved == ("norm" in name)
    assert float(encoder.part(Prompts).tower.shared.abs().max()) > 0.1
    files = load_weights(run.encoder_folder)
    assert not [name for name in files if "mlp" in name]
    paths = open_catalog(pictures).paths[:6]
    photo, sketch, unknown = (encoder.encode_images(paths, domain) for domain in ("photo", "sketch", None))
    assert photo.shape == (6, 8)
    assert np.allclose(np.linalg.norm(photo, axis=1), 1, atol=1e-5)
    assert not np.allclose(photo, sketch, atol=1e-4)
    assert not np.allclose(photo, unknown, atol=1e-4)
    assert encoder.encode_texts(["a photo of a circle"]).shape == (1, 8)
    result = crosslens.evaluate(run.folder)
    assert 0.2 < result.metrics["map@all"] <= 1
    # Evaluation, which embeds through the cache, gives the same vectors as encode_images.
    from crosslens.features.of_encoder import features_of_encoder

    catalog = open_catalog(pictures)
    found = features_of_encoder(catalog, encoder)
    assert found.catalog.ids == catalog.ids
    rows = encoder.encode_features(found.centre, catalog.column("domain"))
    first = encoder.encode_images(catalog.paths[:3], catalog.column("domain")[0])
    assert np.allclose(rows[:3], first, atol=1e-3)


def load_weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_killed_fit_resumes_to_the_same_bits(pictures, tmp_path, clip, killed_after):
    whole = fit(pictures, tmp_path / "whole", clip)
    with killed_after(4, TwoViewTraining):
        fit(pictures, tmp_path / "broken", clip)
    resumed = fit(pictures, tmp_path / "broken", clip, resume=True)
    first, second = (load_weights(run.encoder_folder) for run in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_variants(pictures, tmp_path, clip):
    settings = {"epochs": 1, "shared_tokens": 0, "tune_norms": False, "consistency_weight": 0, "novel_share": 0.3}
    run = fit(pictures, tmp_path / "run", clip, settings)
    encoder = load_encoder(run.folder)
    assert encoder.part(Prompts).tower.shared.shape[1] == 0
    assert "consistency_a" not in run.read_log()[0]["losses"]
    mapped = fit(pictures, tmp_path / "mapped", clip, {"epochs": 1, "map_share": 1.0})
    assert list(load_encoder(mapped.folder).part(DomainMap).maps) == ["photo"]
    index, skipped = crosslens.Index.build(open_catalog(pictures), encoder, tmp_path / "index")
    assert not skipped
    assert len(index) == 96


def test_a_tower_without_prompts_agrees_with_its_frozen_self(pictures, tmp_path, clip):
    still = {"epochs": 1, "domain_tokens": 0, "shared_tokens": 0, "lr": 1e-12, "norm_lr": 1e-12}
    # What is left is what the milder augmentation of the student's view costs.
    run = fit(pictures, tmp_path / "run", clip, still)
    losses = run.read_log()[0]["losses"]
    assert max(losses["consistency_a"], losses["consistency_b"]) < 0.1


@pytest.mark.parametrize("domain", ["photo", None])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_prompted_tower_runs_in_the_fast_engine_and_is_exported(
    pictures, tmp_path, clip, domain, depth, monkeypatch
):
    monkeypatch.setitem(published_models.VISION, "num_hidden_layers", 2)
    save_clip(tmp_path / "clip", max_position_embeddings=64)
    run = fit(pictures, tmp_path / "run", clip, {"epochs": 1, "prompt_depth": depth, "map": "none"})
    encoder = load_encoder(run.folder)
    paths = open_catalog(pictures).paths[:5]
    pixels = np.stack([encoder.backbone.preprocess.pixels(path) for path in paths])
    with torch.no_grad():
        images = torch.from_numpy(encoder.backbone.preprocess.normalise(pixels))
        expected = encoder.part(Prompts).tower.for_domain(domain)(images).numpy()
    assert np.abs(onnx_engine(encoder.backbone_of(domain)).run(pixels) - expected).max() < 1e-4
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(encoder.encode_images(paths, domain), expected, atol=1e-3)
    for kind in ("onnx", "torchscript"):
        # What is written is checked against the encoder.
        export_encoder(encoder, tmp_path / kind, kind, domain)
        assert list((tmp_path / kind).iterdir())


def test_several_members_or_too_deep_prompts_are_refused(pictures, tmp_path, clip):
    with pytest.raises(ConfigError, match="members=1"):
        fit(pictures, tmp_path / "members", clip, {"members": 2})
    with pytest.raises(ConfigError, match="this transformer has 1"):
        fit(pictures, tmp_path / "deep", clip, {"prompt_depth": 9})
