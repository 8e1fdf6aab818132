"""Settings of CLAIR that reach labels, steps and the whitened part: what each of them does."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.encoder.parts import Whitened
from crosslens.methods.clair import labels as clair_labels
from crosslens.methods.clair.prompts import TunedPrompts
from crosslens.ops.whitening import powered
from testing import published_models
from testing.published_models import save_clip
from testing.reading_backbone import register_talker
from testing.tiny_pictures import SHAPES

QUICK = {"epochs": 2, "batch_size": 16, "neighbours": 4}
HEAD = QUICK | {"views": 2, "head": [32, 16], "members": 1}


def fit(pictures, out, settings, backbone="talker", **options):
    register_talker()
    return crosslens.fit(
        "clair", pictures, out=out, backbone=backbone, classes=SHAPES, settings=settings, **options
    )


@pytest.mark.parametrize("power", [0.5, 0.8])
def test_whitened_power_is_what_features_are_raised_to(pictures, tmp_path, power):
    run = fit(pictures, tmp_path / "run", HEAD | {"whitened_share": 0.3, "whitened_power": power})
    encoder = crosslens.load_encoder(run.folder)
    assert encoder.part(Whitened).power == power
    preprocess = encoder.backbone.preprocess
    for domain in ("photo", "sketch"):
        paths = open_catalog(pictures).select(domains=[domain]).paths
        pixels = np.stack([preprocess.pixels(path) for path in paths])
        features = encoder.backbone.embed_images(torch.from_numpy(preprocess.normalise(pixels)))
        mean = powered(features.float(), power).mean(0)
        # The fit's features were kept in half precision.
        assert torch.allclose(encoder.part(Whitened).means[domain], mean, atol=2e-3)
        assert not torch.allclose(powered(features.float(), 1.0).mean(0), mean, atol=2e-3)


@pytest.mark.parametrize(("all_views", "scored"), [(True, 3), (False, 1)])
def test_label_views_chooses_what_is_scored(pictures, tmp_path, monkeypatch, all_views, scored):
    seen = []
    original = clair_labels.class_scores

    def scoring(backbone, values, *more):
        seen.append(values.shape[:2])
        return original(backbone, values, *more)

    monkeypatch.setattr(clair_labels, "class_scores", scoring)
    fit(pictures, tmp_path / "run", HEAD | {"label_views": all_views})
    assert set(seen) == {(48, scored)}


@pytest.mark.parametrize("most", [1e-3, 1e6])
def test_clip_norm_bounds_the_gradient_of_every_step(pictures, tmp_path, monkeypatch, most):
    words = [*published_models.WORDS, *SHAPES, "sketch", "image", "color", "realistic", "black", "white", "line"]
    monkeypatch.setattr(published_models, "WORDS", words)
    save_clip(tmp_path / "clip", max_position_embeddings=64)
    norms = []
    original = TunedPrompts.optimizer

    def watched(self, network):
        optimizer = original(self, network)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]

        def measure(*_):
            norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))

        # Hooks run in the order they were added: after the clipping.
        optimizer.register_step_pre_hook(measure)
        return optimizer

    monkeypatch.setattr(TunedPrompts, "optimizer", watched)
    settings = QUICK | {"ema": 0.5, "lr": 0.05, "clip_norm": most}
    fit(pictures, tmp_path / "run", settings, backbone=f"clip:{tmp_path / 'clip'}", tune="prompts")
    assert len(norms) == 6
    if most < 1:
        assert norms == pytest.approx([most] * 6, rel=1e-2)
    else:
        assert min(norms) > 1e-2
