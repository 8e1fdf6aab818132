"""One set of weights under several configurations: each is a network of its own, also in caches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crosslens.backbones import load_backbone
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.encoder import Encoder
from crosslens.support.errors import FingerprintError
from testing.published_models import save_clip, save_dinov2, save_siglip, save_transformers_resnet, save_vit

SAVED = {
    "clip": save_clip,
    "siglip": save_siglip,
    "vit": save_vit,
    "dinov2": save_dinov2,
    "resnet": save_transformers_resnet,
}
CHANGES = [
    ("clip", {"vision_config": {"hidden_act": "gelu"}}),
    ("clip", {"vision_config": {"num_attention_heads": 4}}),
    ("clip", {"vision_config": {"layer_norm_eps": 1e-2}}),
    ("siglip", {"vision_config": {"hidden_act": "relu"}}),
    ("vit", {"num_attention_heads": 4}),
    ("vit", {"layer_norm_eps": 1e-2}),
    ("dinov2", {"hidden_act": "relu"}),
    ("resnet", {"downsample_in_bottleneck": True}),
    ("resnet", {"hidden_act": "gelu"}),
]
WITHOUT_EFFECT = {
    "_name_or_path": "elsewhere",
    "architectures": ["Other"],
    "attention_dropout": 0.1,
    "hidden_dropout_prob": 0.1,
    "id2label": {"0": "cat"},
    "initializer_range": 0.5,
    "transformers_version": "4.0.0",
}


def changed(folder: Path, name: str, changes: dict) -> Path:
    """A copy of a model folder whose config.json alone says something else."""
    other = folder.with_name(name)
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) and key in config else value
    (other / "config.json").write_text(json.dumps(config))
    return other


@pytest.mark.parametrize(("kind", "changes"), CHANGES)
def test_a_setting_that_weights_do_not_tell_is_another_network(kind: str, changes: dict, tmp_path: Path) -> None:
    """Also for what the engine has cached: the second folder's graph is not that of the first."""
    SAVED[kind](tmp_path / "one")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    found = []
    for folder in (tmp_path / "one", changed(tmp_path / "one", "two", changes)):
        backbone = load_backbone(f"{kind}:{folder}")
        pixels = torch.from_numpy(backbone.preprocess([picture]))
        features = Encoder(backbone).image_features([picture])
        plain = backbone.embed_images(pixels).numpy()
        found.append((backbone.fingerprint, plain, features, Encoder(backbone).fingerprint))
    (first, values, run, encoder), (second, others, other_run, other_encoder) = found
    apart = np.abs(values - others).max()
    assert apart > 1e-5 * np.abs(values).max()
    assert np.abs(run - values).max() < 0.3 * apart
    assert np.abs(other_run - others).max() < 0.3 * apart
    assert first.weights == second.weights
    assert first.digest != second.digest
    assert encoder != other_encoder
    for one, other in ((first, second), (encoder, other_encoder)):
        with pytest.raises(FingerprintError, match="settings"):
            one.require(other, "the index i")


@pytest.mark.parametrize("kind", SAVED)
def test_names_paths_and_settings_of_training_make_no_other_network(kind: str, tmp_path: Path) -> None:
    SAVED[kind](tmp_path / "one")
    inner = {"vision_config": WITHOUT_EFFECT} if kind in ("clip", "siglip") else {}
    moved = changed(tmp_path / "one", "moved", {**WITHOUT_EFFECT, **inner})
    first, second = (load_backbone(f"{kind}:{folder}").fingerprint for folder in (tmp_path / "one", moved))
    assert first == second
    assert first.digest == second.digest


@pytest.mark.parametrize("kind", SAVED)
def test_what_version_0_1_wrote_is_still_the_same_embedding(kind: str, tmp_path: Path) -> None:
    """It told a network by its weights, and cropped like torchvision: a saved encoder goes on doing so."""
    SAVED[kind](tmp_path / "model")
    backbone = load_backbone(f"{kind}:{tmp_path / 'model'}")
    backbone.settings = ""
    backbone.preprocess = backbone.preprocess.model_copy(update={"margin": "round"})
    older = Encoder(backbone)
    older.save(tmp_path / "encoder")
    said = json.loads((tmp_path / "encoder" / "config.json").read_text())["fingerprint"]
    assert "settings" not in said
    assert "margin" not in said["preprocess"]
    again = Encoder.load(tmp_path / "encoder")
    assert again.backbone.preprocess == backbone.preprocess
    Fingerprint.model_validate(older.fingerprint.model_dump()).require(again.fingerprint, "the index i")
    assert again.backbone.fingerprint.without_settings.digest == backbone.fingerprint.digest


def test_networks_whose_weights_tell_all_keep_their_digests() -> None:
    """Digests of version 0.1: every index, encoder and run of what ``lite`` was then holds one."""
    lite = load_backbone("lite:photo")
    assert lite.fingerprint.model_dump().keys() == {"model", "weights", "preprocess", "dim"}
    assert lite.fingerprint.digest == "6f36067c1f49db0a"
    assert Encoder(lite).fingerprint.digest == "f48070c74ec93a71"
