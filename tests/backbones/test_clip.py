from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.clip import ClipBackbone
from crosslens.images.preprocess import CLIP_MEAN, CLIP_STD
from crosslens.support.errors import BackboneError
from testing.published_models import END, START, Malicious, save_clip, save_siglip, save_vit


def load(name: str) -> ClipBackbone:
    backbone = load_backbone(name)
    assert isinstance(backbone, ClipBackbone)
    return backbone


def change_json(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **changes}))


def change_weights(folder: Path, **changes: Tensor | None) -> None:
    """Replace weights by name (with ``__`` for dots), or drop those that are None."""
    state = load_file(folder / "model.safetensors")
    state.update({key.replace("__", "."): value for key, value in changes.items()})
    kept = {key: value for key, value in state.items() if value is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


class TestClip:
    def test_both_towers_give_the_projected_embeddings(self, tmp_path: Path) -> None:
        model = save_clip(tmp_path)
        backbone = load(f"clip:{tmp_path}")
        assert (backbone.dim, backbone.joint_dim, backbone.has_text) == (8, 8, True)

        images = torch.rand(3, 3, 16, 16)
        with torch.inference_mode():
            expected = model.visual_projection(model.vision_model(pixel_values=images).pooler_output)
        features = backbone.embed_images(images)
        assert torch.allclose(features, expected, atol=1e-6)
        assert torch.allclose(backbone.to_joint(features), F.normalize(expected, dim=1), atol=1e-6)

        words = json.loads((tmp_path / "vocab.json").read_text())
        for text in ("a photo of a", "Dog"):
            numbers = [words[START], *(words[f"{word.lower()}</w>"] for word in text.split()), words[END]]
            with torch.inference_mode():
                pooled = model.text_model(input_ids=torch.tensor([numbers])).pooler_output
                expected = F.normalize(model.text_projection(pooled), dim=1)
            # Padding beside a longer text must not matter.
            rows = backbone.embed_texts([text, "a photo of a dog"])
            assert torch.allclose(rows[:1], expected, atol=1e-6)
        assert backbone.embed_texts([]).shape == (0, 8)

    def test_long_texts_are_cut_and_still_end(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        backbone = load(f"clip:{tmp_path}")
        rows = backbone.embed_texts(["a photo of a dog", "a photo of a dog dog cat", "a photo of a"])
        assert torch.isfinite(rows).all()
        assert torch.allclose(rows[0], rows[2], atol=1e-6)  # four words, a start and an end fit into six
        assert torch.allclose(rows[1], rows[2], atol=1e-6)

    def test_old_configurations_name_the_wrong_end(self, tmp_path: Path) -> None:
        model = save_clip(tmp_path, eos_token_id=2)
        words = json.loads((tmp_path / "vocab.json").read_text())
        numbers = torch.tensor([[words[START], words["dog</w>"], words[END]]])
        with torch.inference_mode():
            states = model.text_model(input_ids=numbers).last_hidden_state[:, 2]
            expected = F.normalize(model.text_projection(states), dim=1)
        assert torch.allclose(load(f"clip:{tmp_path}").embed_texts(["dog"]), expected, atol=1e-6)

    def test_default_and_stored_preprocessing(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        default = load(f"clip:{tmp_path}").preprocess
        assert (default.resize, default.crop, default.squash, default.interpolation) == (16, 16, False, "bicubic")
        assert (default.mean, default.std) == (CLIP_MEAN, CLIP_STD)
        settings = {"size": {"shortest_edge": 20}, "crop_size": 16, "resample": 2, "image_mean": [0.1, 0.2, 0.3]}
        change_json(tmp_path / "preprocessor_config.json", **settings)
        stored = load(f"clip:{tmp_path}").preprocess
        assert (stored.resize, stored.crop, stored.interpolation) == (20, 16, "bilinear")
        assert (stored.mean, stored.std) == ((0.1, 0.2, 0.3), CLIP_STD)

    def test_preprocessing_for_another_side_is_refused(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        change_json(tmp_path / "preprocessor_config.json", size={"shortest_edge": 24}, crop_size=24)
        with pytest.raises(BackboneError, match="made for images of 16 pixels, but its preprocessing gives 24"):
            load(f"clip:{tmp_path}")

    def test_images_need_no_tokenizer_and_texts_say_so(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        (tmp_path / "vocab.json").unlink()
        (tmp_path / "merges.txt").unlink()
        backbone = load(f"clip:{tmp_path}")
        assert backbone.embed_images(torch.rand(1, 3, 16, 16)).shape == (1, 8)
        with pytest.raises(BackboneError, match="has no tokenizer, so images can be embedded but texts cannot"):
            backbone.embed_texts(["dog"])

    def test_another_models_tokenizer_is_noticed(self, tmp_path: Path) -> None:
        save_clip(tmp_path, eos_token_id=3)
        with pytest.raises(BackboneError, match=r"tokenizer .* belongs to another model"):
            load(f"clip:{tmp_path}").embed_texts(["dog"])

    def test_half_precision_is_read_as_float32(self, tmp_path: Path) -> None:
        model = save_clip(tmp_path).half()
        model.save_pretrained(tmp_path)
        backbone = load(f"clip:{tmp_path}")
        assert {value.dtype for value in backbone.tower.parameters()} == {torch.float32}
        assert not any(value.requires_grad for value in backbone.tower.parameters())

    def test_fingerprint_does_not_depend_on_the_place(self, tmp_path: Path) -> None:
        save_clip(tmp_path / "one")
        save_clip(tmp_path / "two")
        assert load(f"clip:{tmp_path / 'one'}").fingerprint == load(f"clip:{tmp_path / 'two'}").fingerprint


class TestSiglip:
    def test_both_towers(self, tmp_path: Path) -> None:
        model = save_siglip(tmp_path)
        backbone = load(f"siglip:{tmp_path}")
        assert (backbone.dim, backbone.joint_dim) == (16, 16)
        assert backbone.preprocess.squash
        assert backbone.preprocess.mean == (0.5, 0.5, 0.5)
        images = torch.rand(2, 3, 16, 16)
        with torch.inference_mode():
            expected = model.vision_model(pixel_values=images).pooler_output
        assert torch.allclose(backbone.embed_images(images), expected, atol=1e-6)

        # Lower case, no punctuation, the end token, padding with it to the full length, and no attention mask.
        numbers = torch.tensor([[2, 3, 6, 1, 1, 1]])
        with torch.inference_mode():
            expected = F.normalize(model.text_model(input_ids=numbers).pooler_output, dim=1)
        assert torch.allclose(backbone.embed_texts(["A photo,  DOG!"]), expected, atol=1e-6)
        assert torch.allclose(backbone.embed_texts(["a photo dog", "a photo of a dog"])[:1], expected, atol=1e-6)

    def test_a_tokenizer_that_cannot_be_read(self, tmp_path: Path) -> None:
        save_siglip(tmp_path)
        (tmp_path / "tokenizer.json").unlink()
        with pytest.raises(BackboneError, match="has no tokenizer"):
            load(f"siglip:{tmp_path}").embed_texts(["dog"])
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(BackboneError, match=r"the tokenizer of .* cannot be loaded"):
            load(f"siglip:{tmp_path}").embed_texts(["dog"])

    @pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is here")
    def test_a_sentencepiece_model_alone_says_what_it_needs(self, tmp_path: Path) -> None:
        save_siglip(tmp_path)
        (tmp_path / "tokenizer.json").rename(tmp_path / "spiece.model")
        with pytest.raises(BackboneError, match=r"needs the package sentencepiece, or a tokenizer.json"):
            load(f"siglip:{tmp_path}").embed_texts(["dog"])


class TestStrictLoading:
    def test_missing_weights_are_listed(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        change_weights(tmp_path, visual_projection__weight=None)
        with pytest.raises(BackboneError, match=r"1 missing \(visual_projection.weight\)"):
            load(f"clip:{tmp_path}")

    def test_other_shapes_are_listed(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        change_weights(tmp_path, text_projection__weight=torch.zeros(7, 12))
        with pytest.raises(BackboneError, match=r"1 of another shape \(text_projection.weight\)"):
            load(f"clip:{tmp_path}")

    def test_damaged_weights(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        file = tmp_path / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(BackboneError, match="cannot be loaded"):
            load(f"clip:{tmp_path}")

    def test_no_weights_at_all(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(BackboneError, match="cannot be loaded"):
            load(f"clip:{tmp_path}")

    @pytest.mark.parametrize("content", ["{", "[]", ""])
    def test_damaged_config(self, tmp_path: Path, content: str) -> None:
        save_clip(tmp_path)
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(BackboneError, match=r"config\.json"):
            load(f"clip:{tmp_path}")

    def test_code_in_pytorch_weights_does_not_run(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        torch.save({"logit_scale": Malicious(tmp_path / "made-by-code")}, tmp_path / "pytorch_model.bin")
        with pytest.raises(BackboneError, match="cannot be loaded"):
            load(f"clip:{tmp_path}")
        assert not (tmp_path / "made-by-code").exists()

    def test_code_beside_the_model_is_not_imported(self, tmp_path: Path) -> None:
        save_clip(tmp_path)
        (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'made-by-code')!r})\n")
        change_json(tmp_path / "config.json", auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"})
        change_json(tmp_path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
        load(f"clip:{tmp_path}").embed_texts(["dog"])
        assert not (tmp_path / "made-by-code").exists()


class TestSources:
    def test_wrong_kind_names_both(self, tmp_path: Path) -> None:
        save_vit(tmp_path)
        with pytest.raises(BackboneError, match="model of type 'vit', but clip reads clip"):
            load(f"clip:{tmp_path}")

    def test_folder_without_config(self, tmp_path: Path) -> None:
        with pytest.raises(BackboneError, match=r"has no config.json"):
            load(f"clip:{tmp_path}")

    def test_places_that_are_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "clip-vit").mkdir()
        with pytest.raises(BackboneError, match="did you mean 'clip-vit'"):
            load(f"clip:{tmp_path}/clp-vit")
        for source in ("./nowhere", tmp_path / "no", tmp_path / "file", "./nowhere/at/all"):
            with pytest.raises(BackboneError, match="is not a folder"):
                load(f"clip:{source}")
        with pytest.raises(BackboneError, match="needs a model folder or a hub id"):
            load("clip:")

    def test_unreachable_hub_says_to_give_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError

        def unreachable(*_: Any, **__: Any) -> str:
            raise LocalEntryNotFoundError("no connection\nand a long story")

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
        with pytest.raises(BackboneError, match=r"openai/clip .*\(no connection\).*give its local folder"):
            load("clip:openai/clip")

    def test_what_the_hubs_cache_has_needs_no_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A cache as the hub's library makes it: snapshots by commit, and a note of files that do not exist."""
        import huggingface_hub

        repository = tmp_path / "models--openai--clip"
        expected = save_clip(repository / "snapshots" / "0123")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0123")
        absent = repository / ".no_exist" / "0123"
        absent.mkdir(parents=True)
        for name in ("preprocessor_config.json", "processor_config.json"):
            (absent / name).touch()
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (absent / name).touch()
        for name in ("added_tokens.json", "spiece.model"):
            (absent / name).touch()

        def refuse(*_: Any, **__: Any) -> str:
            raise AssertionError("the network was asked")

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
        for module in ("huggingface_hub.constants", "huggingface_hub.file_download", "transformers.utils.hub"):
            for constant in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
                monkeypatch.setattr(f"{module}.{constant}", str(tmp_path), raising=False)
        backbone = load("clip:openai/clip")
        images = torch.rand(1, 3, 16, 16)
        with torch.inference_mode():
            rows = expected.visual_projection(expected.vision_model(pixel_values=images).pooler_output)
        assert torch.allclose(backbone.embed_images(images), rows, atol=1e-6)
        assert backbone.embed_texts(["dog"]).shape == (1, 8)
