"""Encoder folders: round trips, model card, fingerprints, refusals."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import crosslens
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.parts import Centre, Heads, Joint
from crosslens.methods import METHODS, method_class
from crosslens.nn.heads import Head
from crosslens.support.errors import BackboneError, FingerprintError, ImageError, RunError
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import draw


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


def trained():
    torch.manual_seed(0)
    heads = [Head((64, 16, 8)), Head((64, 16, 8))]
    means = {"sketch": torch.randn(64), "photo": torch.randn(64)}
    return Encoder(TinyBackbone(), [Heads(heads), Centre(means)], method="ucdir", trained={"seed": 3})


def test_save_and_load_give_the_same_vectors(tmp_path):
    encoder = trained()
    encoder.save(tmp_path / "e")
    again = Encoder.load(tmp_path / "e")
    rows = torch.randn(5, 64)
    for domain in ("sketch", "photo", None, "unknown"):
        assert np.array_equal(encoder.encode_features(rows, domain), again.encode_features(rows, domain))
    assert again.fingerprint == encoder.fingerprint
    assert again.dim == 16
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_rows_take_the_centre_of_their_own_domain():
    encoder = trained()
    rows = torch.randn(3, 64)
    mixed = encoder.encode_features(rows, ["photo", "sketch", None])
    for position, domain in enumerate(("photo", "sketch", None)):
        assert np.allclose(mixed[position], encoder.encode_features(rows, domain)[position], atol=1e-6)


def test_joined_cosine_is_the_mean_of_the_members():
    group = trained().part(Heads).group
    x, y = torch.randn(4, 64), torch.randn(4, 64)
    joined = (group(x) * group(y)).sum(1)
    single = torch.stack([(head(x) * head(y)).sum(1) for head in group.members]).mean(0)
    assert torch.allclose(joined, single, atol=1e-6)


def test_images_from_paths_bytes_pillow_and_tensors_agree(tmp_path):
    encoder = trained()
    pictures = [draw("circle", "photo", np.random.default_rng(seed)) for seed in range(3)]
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(tmp_path / f"{number}.png")
        picture.save(paths[-1])
    by_path = encoder.encode_images(paths, "photo")
    assert np.allclose(np.linalg.norm(by_path, axis=1), 1, atol=1e-5)
    assert np.array_equal(by_path, encoder.encode_images([str(p) for p in paths], "photo"))
    assert np.array_equal(by_path, encoder.encode_images([p.read_bytes() for p in paths], "photo"))
    assert np.array_equal(by_path, encoder.encode_images(pictures, "photo"))
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    assert np.array_equal(by_path, encoder.encode_images(arrays, "photo"))
    assert np.allclose(by_path[:1], encoder.encode_images(arrays[0], "photo"), atol=1e-6)
    assert np.allclose(by_path[[0, 0]], encoder.encode_images(np.stack([arrays[0]] * 2), "photo"), atol=1e-6)
    tensor = torch.from_numpy(encoder.backbone.preprocess(pictures))
    assert np.allclose(by_path, encoder.encode_images(tensor, "photo"), atol=1e-4)
    assert encoder.encode_images(Image.new("RGB", (9, 9))).shape == (1, 16)
    assert encoder.encode_images([]).shape == (0, 16)
    with pytest.raises(ImageError, match="does not exist"):
        encoder.encode_images([tmp_path / "none.png"])


def test_the_model_card_says_what_it_is(tmp_path):
    trained().save(tmp_path / "e")
    card = (tmp_path / "e" / "README.md").read_text()
    assert "ucdir on tiny" in card
    assert "photo, sketch" in card
    assert "16 numbers" in card
    assert "seed: 3" in card


def test_the_model_card_names_every_method_in_words(tmp_path):
    for name in METHODS:
        kind = method_class(name)
        assert kind.name == name
        Encoder(TinyBackbone(), method=name, trained={"summary": kind.summary}).save(tmp_path / name)
        card = (tmp_path / name / "README.md").read_text()
        assert f"Made by {kind.summary}." in card
        assert "summary:" not in card


def test_fingerprints_tell_encoders_apart():
    plain, other = Encoder(TinyBackbone()), Encoder(TinyBackbone(seed=1))
    assert plain.fingerprint == Encoder(TinyBackbone()).fingerprint
    assert len({e.fingerprint.digest for e in (plain, other, trained())}) == 3


def test_an_encoder_that_has_the_name_of_one_that_reads_says_what_it_is(monkeypatch):
    """As an index of an earlier version, whose lite was the photo network alone."""
    encoder = Encoder(TinyBackbone())
    with pytest.raises(BackboneError, match=r"^tiny does not understand text"):
        encoder.encode_texts("a cat")
    monkeypatch.setattr(type(encoder.backbone), "title", "tiny:photo")
    with pytest.raises(BackboneError, match=r"^tiny \(its backbone is tiny:photo\) does not understand text"):
        encoder.encode_texts("a cat")


def test_text_needs_a_shared_space():
    with pytest.raises(BackboneError, match="does not understand text"):
        Encoder(TinyBackbone()).encode_texts("a cat")
    with pytest.raises(BackboneError, match="no space shared with text"):
        Joint(TinyBackbone())


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path):
        trained().save(tmp_path / "e")
        return tmp_path / "e"

    def test_a_newer_format(self, folder):
        config = json.loads((folder / "config.json").read_text()) | {"format": 99}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(RunError, match="newer crosslens"):
            Encoder.load(folder)

    @pytest.mark.parametrize("said", ["abc", "2", None, [], {}, 1.5, True])
    def test_a_format_that_is_no_number(self, folder, said):
        config = json.loads((folder / "config.json").read_text()) | {"format": said}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(RunError, match=r"is damaged: its format is .* no whole number"):
            Encoder.load(folder)

    def test_broken_and_foreign_json(self, folder):
        (folder / "config.json").write_text("{")
        with pytest.raises(RunError, match="cannot be read as JSON"):
            Encoder.load(folder)
        (folder / "config.json").write_text('{"format": 1, "shape": 3}')
        with pytest.raises(RunError, match="damaged"):
            Encoder.load(folder)

    def test_truncated_weights(self, folder):
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:50])
        with pytest.raises(RunError, match="cannot be read"):
            Encoder.load(folder)

    def test_weights_of_another_shape(self, folder):
        config = json.loads((folder / "config.json").read_text()) | {"head": [64, 32, 8]}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(RunError, match="does not fit its config"):
            Encoder.load(folder)

    def test_a_backbone_that_changed_underneath(self, folder):
        config = json.loads((folder / "config.json").read_text())
        config["fingerprint"]["weights"] = "0" * 16
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(FingerprintError, match="weights"):
            Encoder.load(folder)

    def test_sources_that_are_no_encoder(self, tmp_path):
        with pytest.raises(BackboneError, match="no run, no encoder folder and no backbone"):
            load_encoder(tmp_path / "nothing")


def test_package_surface_is_lazy_and_complete():
    for name in crosslens.__all__:
        assert getattr(crosslens, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        crosslens.nothing  # noqa: B018


def test_domains_of_an_earlier_version_are_known_in_every_form():
    nfd = "cafe\u0301"
    backbone = TinyBackbone()
    encoder = Encoder(backbone, [Centre({nfd: torch.ones(backbone.dim), "photo": -torch.ones(backbone.dim)})])
    rows = np.random.default_rng(0).normal(size=(3, backbone.dim)).astype(np.float32)
    own = encoder.encode_features(rows, nfd)
    for name in ("caf\u00e9", "CAF\u00c9", ["Cafe\u0301"] * 3):
        assert np.array_equal(encoder.encode_features(rows, name), own)
    assert not np.array_equal(encoder.encode_features(rows, "photo"), own)
    assert not np.array_equal(encoder.encode_features(rows, "cafe"), own)
