"""Compiled encoders answer as those they were made of, without PyTorch, and never hide that something is wrong."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from crosslens.backbones import load_backbone
from crosslens.encoder import Encoder
from crosslens.encoder.compiled import FACTS, FOLDER, CompiledEncoder, source_digest
from crosslens.encoder.compiling import compile_folder
from crosslens.encoder.described import describe_encoder
from crosslens.encoder.opening import compile_in_place, open_query_encoder
from crosslens.encoder.parts import Centre, Joint, Looks
from crosslens.support.errors import BackboneError, ConfigError
from crosslens.support.places import cache_folder
from testing.encoder_kinds import CURVED, DOMAINS, KINDS, Draw
from testing.reading_backbone import register_talker
from testing.tiny_backbone import TinyBackbone

QUICK = ("joint, centred", "heads that serve text, maps with shifts, whitened")
LITE = ("frozen", "joint", "joint of lite:blend", "centred", "looks", "heads, centred", "head and whitened")
NAMES = ("photo", "sketch", None, "Photo", "clip art")


@pytest.fixture(autouse=True)
def _small(tiny_world):
    register_talker()


def compiled(encoder, folder):
    encoder.save(folder)
    assert compile_folder(encoder, folder)
    found = open_query_encoder(folder)
    assert isinstance(found, CompiledEncoder)
    return found


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_every_kind_answers_as_in_pytorch(kind, tmp_path):
    encoder = KINDS[kind](tmp_path)
    if kind in CURVED:
        encoder.save(tmp_path / "e")
        assert not compile_folder(encoder, tmp_path / "e")
        assert isinstance(open_query_encoder(tmp_path / "e"), Encoder)
        return
    quick = compiled(encoder, tmp_path / "e")
    for name in ("name", "dim", "has_text", "embeds_by_domain", "domains", "detectable", "similarity"):
        assert getattr(quick, name) == getattr(encoder, name), name
    assert (quick.preprocess, quick.fingerprint) == (encoder.preprocess, encoder.fingerprint)
    assert quick.fingerprint.digest == encoder.fingerprint.digest
    # Features as the networks give them: of a softmax over nothing but noise, rounding alone would be compared.
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(3)]
    for domain in NAMES:
        assert quick.network_of(domain) == encoder.network_of(domain)
        features = encoder.image_features(images, domain)
        assert np.allclose(quick.image_features(images, domain), features, atol=1e-5 * np.abs(features).max())
        expected = encoder.encode_features(features, domain)
        assert np.allclose(quick.encode_features(features, domain), expected, atol=2e-6)
    frozen = encoder.image_features(images, frozen=True)
    assert np.allclose(quick.image_features(images, frozen=True), frozen, atol=1e-5 * np.abs(frozen).max())
    mixed = ["sketch", None, "photo"]
    assert np.allclose(quick.encode_features(frozen, mixed), encoder.encode_features(frozen, mixed), atol=2e-6)
    assert quick.detect_domains(frozen) == encoder.detect_domains(frozen)
    if encoder.has_text:
        texts = ["a cat", "a dog"] if encoder.embeds_by_domain else ["a photo of a circle", "a cross"]
        assert np.allclose(quick.encode_texts(texts), encoder.encode_texts(texts), atol=2e-6)
        assert quick.unread(texts[0]) == encoder.unread(texts[0])
    elif kind in LITE:
        with pytest.raises(BackboneError, match="does not understand text"):
            quick.encode_texts("a cat")


@pytest.mark.slow
def test_texts_of_lite_need_no_pytorch(tmp_path):
    backbone = load_backbone("lite")
    compiled(Encoder(backbone, [Joint(backbone)]), tmp_path / "e")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from pathlib import Path; from crosslens.encoder.opening import open_query_encoder\n"
        "encoder = open_query_encoder(Path(sys.argv[1]))\n"
        "print(encoder.encode_texts('a dog').tolist()); print(encoder.unread('a dog \\u2603'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "e")], capture_output=True, text=True)
    vectors, notes = done.stdout.splitlines()
    assert np.allclose(json.loads(vectors), Encoder.load(tmp_path / "e").encode_texts("a dog"), atol=2e-6)
    assert "does not know" in notes
    with pytest.raises(ConfigError, match="reads no word"):
        open_query_encoder(tmp_path / "e").encode_texts("\u2603")


class TestOpening:
    @pytest.fixture
    def encoder(self):
        return Encoder(TinyBackbone(), [Centre(Draw(1).each(64))], method="centred")

    @pytest.fixture
    def folder(self, encoder, tmp_path):
        encoder.save(tmp_path / "e")
        return tmp_path / "e"

    def test_the_first_query_compiles_into_the_cache(self, folder, monkeypatch, tmp_path):
        monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
        before = sorted(folder.rglob("*"))
        assert isinstance(open_query_encoder(folder), Encoder)
        assert (cache_folder() / "encoders" / source_digest(folder) / FACTS).is_file()
        assert isinstance(open_query_encoder(folder), CompiledEncoder)
        assert sorted(folder.rglob("*")) == before
        shutil.copytree(folder, tmp_path / "elsewhere")
        assert isinstance(open_query_encoder(tmp_path / "elsewhere"), CompiledEncoder)

    def test_what_lies_in_the_folder_serves_without_the_cache(self, folder, monkeypatch, tmp_path):
        compile_in_place(folder)
        monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "empty"))
        assert isinstance(open_query_encoder(folder), CompiledEncoder)
        assert not (tmp_path / "empty" / "encoders").exists()

    @pytest.mark.parametrize("content", [b"", b"damaged"])
    def test_damaged_files_are_left_out(self, folder, encoder, content, caplog):
        compile_in_place(folder)
        (folder / FOLDER / "vectors.onnx").write_bytes(content)
        found = open_query_encoder(folder)
        assert "damaged" in caplog.text
        rows = Draw(2)(3, 64).numpy()
        assert np.allclose(found.encode_features(rows, "photo"), encoder.encode_features(rows, "photo"), atol=2e-6)

    def test_files_of_another_encoder_are_not_used(self, folder, encoder, tmp_path):
        compile_in_place(folder)
        other = encoder.with_part(Centre(Draw(9).each(64)))
        other.save(tmp_path / "other")
        shutil.copytree(folder / FOLDER, tmp_path / "other" / FOLDER)
        rows = Draw(2)(3, 64).numpy()
        found = open_query_encoder(tmp_path / "other").encode_features(rows, "photo")
        assert np.allclose(found, other.encode_features(rows, "photo"), atol=2e-6)

    def test_looks_change_no_fingerprint_but_are_not_confused(self, tmp_path):
        first, second = (Encoder(TinyBackbone(), [Looks(Draw(seed).each(64))]) for seed in (1, 2))
        assert first.fingerprint == second.fingerprint
        rows = np.abs(Draw(3)(40, 64).numpy())
        for name, encoder in (("a", first), ("b", second)):
            encoder.save(tmp_path / name)
            open_query_encoder(tmp_path / name)
            assert open_query_encoder(tmp_path / name).detect_domains(rows) == encoder.detect_domains(rows)
        assert first.detect_domains(rows) != second.detect_domains(rows)

    def test_many_rows_and_none(self, folder, encoder):
        compile_in_place(folder)
        found = open_query_encoder(folder)
        rows = torch.randn(9000, 64, generator=torch.Generator().manual_seed(0)).numpy()
        names = [DOMAINS[row % 2] for row in range(9000)]
        assert np.allclose(found.encode_features(rows, names), encoder.encode_features(rows, names), atol=2e-6)
        assert found.encode_features(rows[:0]).shape == (0, 64)
        assert found.image_features([]).shape == (0, 64)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_a_folder_says_what_its_encoder_is_before_anything_is_compiled(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "empty"))
    encoder = KINDS[kind](tmp_path)
    encoder.save(tmp_path / "e")
    assert describe_encoder(tmp_path / "e") == (encoder.backbone_title, encoder.has_text)


def test_without_pytorch_a_folder_that_was_not_compiled_says_what_it_can(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "empty"))
    encoder = KINDS["joint, centred"](tmp_path)
    encoder.save(tmp_path / "e")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert describe_encoder(tmp_path / "e") == (encoder.backbone_title, None)
