from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torch.nn import functional as F

import crosslens
from crosslens.backbones import load_backbone
from crosslens.backbones.lite import DRAWINGS, LiteBackbone, PhotoBackbone


@pytest.fixture(scope="module")
def lite() -> LiteBackbone:
    return LiteBackbone()


@pytest.fixture(scope="module")
def photo() -> PhotoBackbone:
    return PhotoBackbone()


def noise(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_features_hold_the_photo_part_and_the_shared_space(lite: LiteBackbone, photo: PhotoBackbone) -> None:
    images = noise(3)
    features = lite.embed_images(images)
    assert features.shape == (3, lite.dim) == (3, 1664)
    seen = F.normalize(photo.embed_images(images), dim=1)
    assert torch.allclose(features[:, :1280], seen, atol=1e-5)
    joint = lite.to_joint(features)
    assert torch.allclose(joint * lite.tower.balance, features[:, 1280:], atol=1e-5)
    assert torch.allclose(joint.norm(dim=1), torch.ones(3), atol=1e-5)


def test_the_mixture_by_its_formula(lite: LiteBackbone, photo: PhotoBackbone) -> None:
    images, tower = noise(2), lite.tower
    with torch.inference_mode():
        seen, activity, pooled = tower.observe(images)
        share = 0.4 + 0.5 / (1 + torch.exp(-(0.8 - activity) / 0.06))
        read = tower.reader(seen)
        mixed = share[:, None] * read + (1 - share[:, None]) * photo.to_joint(pooled)
    assert torch.allclose(lite.to_joint(lite.embed_images(images)), F.normalize(mixed, dim=1), atol=2e-3)


def test_activity_is_the_mean_square_in_the_units_of_the_photographs(lite: LiteBackbone) -> None:
    """A slow count, a channel at a time; dead channels stay out."""
    blocks = lite.tower.photo._blocks
    x = noise(1)
    with torch.inference_mode():
        _, activity, _ = lite.tower.observe(x)
        y = F.relu6(lite.tower.photo._bn0(lite.tower.photo._conv_stem(x)))
        for block in blocks[:15]:
            y = block(y)
        z, norm = blocks[15]._expand_conv(y)[0], blocks[15]._bn0
        squares = [
            float(((z[c] - norm.running_mean[c]) ** 2).mean() / norm.running_var[c])
            for c in range(len(z))
            if norm.running_var[c] > 1e-3 * norm.running_var.mean()
        ]
    assert float(activity) == pytest.approx(float(np.mean(squares)), rel=1e-4)


def test_a_line_drawing_is_told_from_photographs(lite: LiteBackbone) -> None:
    page = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(page).ellipse((40, 40, 180, 180), outline="black", width=3)
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    images = torch.from_numpy(lite.preprocess([page, *photographs]))
    with torch.inference_mode():
        drawn, *others = lite.tower.drawn(lite.tower.observe(images)[1])[:, 0].tolist()
    assert drawn > 0.85
    assert all(0.39 < other < 0.6 for other in others)


def test_texts_lie_among_the_features(lite: LiteBackbone) -> None:
    encoder = crosslens.load_encoder("lite")
    assert encoder.has_text
    texts = encoder.encode_texts(["a guitar", "a horse"])
    assert texts.shape == (2, 1664)
    assert not texts[:, :1280].any()
    features = lite.embed_images(noise(4))
    scores = encoder.encode_features(features.numpy()) @ texts.T
    joint = (lite.to_joint(features) @ lite.embed_texts(["a guitar", "a horse"]).T).numpy()
    # The photo part has the same length in every picture, so that the order is that of the shared space.
    weight = float(lite.tower.balance / (1 + lite.tower.balance**2).sqrt())
    np.testing.assert_allclose(scores, weight * joint, atol=1e-5)


def test_the_weights_are_small_and_named_by_the_fingerprint(lite: LiteBackbone, photo: PhotoBackbone) -> None:
    assert DRAWINGS.stat().st_size < 10e6
    assert lite.fingerprint.digest != photo.fingerprint.digest
    other = lite.with_tower(LiteBackbone().tower)
    other.tower.reader.layers[0].bias.data[0] += 1
    assert other.fingerprint.digest != lite.fingerprint.digest


def test_class_texts_are_those_of_the_text_tower(lite: LiteBackbone, photo: PhotoBackbone) -> None:
    assert torch.allclose(lite.tower.class_texts, photo.class_texts, atol=1e-3)


def test_names_that_icons_bore_are_known(lite: LiteBackbone) -> None:
    assert {"cat", "elephant", "guitar"} <= lite.taught
    assert load_backbone("lite:photo").taught == frozenset()


@pytest.mark.pacs
def test_sketches_are_read(pacs_root: Path, lite: LiteBackbone) -> None:
    """0.51 over all sketches, .18 for the photo network; six a class."""
    classes = sorted(folder.name for folder in (pacs_root / "sketch").iterdir() if folder.is_dir())
    files = [sorted((pacs_root / "sketch" / name).iterdir())[:6] for name in classes]
    labels = torch.tensor([index for index, chosen in enumerate(files) for _ in chosen])
    images = torch.from_numpy(lite.preprocess([file for chosen in files for file in chosen]))
    texts = lite.embed_texts([f"a photo of a {name}" for name in classes])
    guesses = (lite.to_joint(lite.embed_images(images)) @ texts.T).argmax(1)
    assert float((guesses == labels).float().mean()) > 0.35
