from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.clip import ClipBackbone
from crosslens.backbones.clip_files import infer_config, to_transformers
from crosslens.backbones.clip_tokens import MERGES, clip_file_tokens, find_clip_tokenizer, published_tokenizer
from crosslens.support.errors import BackboneError, FingerprintError
from testing.published_models import END, START, OpenAIClip, openai_clip, save_word_tokenizer


def load(name: str) -> ClipBackbone:
    backbone = load_backbone(name)
    assert isinstance(backbone, ClipBackbone)
    return backbone


def save_reference(folder: Path, *, quick: bool = True) -> tuple[Path, OpenAIClip, dict[str, int]]:
    words = save_word_tokenizer(folder)
    model = openai_clip(len(words), quick=quick)
    torch.save(model.state_dict(), folder / "clip.pt")
    return folder / "clip.pt", model, words


class TestAgainstOpenAIsModel:
    @pytest.mark.parametrize(
        ("form", "quick"),
        [
            ("openai-clip:{}", True),
            ("openai-clip:{}?act=gelu", False),
            ("open-clip:{}", False),
            ("open-clip:{}?act=quick_gelu", True),
        ],
    )
    def test_images_and_texts_agree(self, tmp_path: Path, form: str, quick: bool) -> None:
        file, model, words = save_reference(tmp_path, quick=quick)
        backbone = load(form.format(file))
        assert (backbone.name, backbone.dim, backbone.preprocess.crop) == (form.format(file), 24, 16)
        images = torch.randn(3, 3, 16, 16)
        numbers = [words[START], words["photo</w>"], words["of</w>"], words["dog</w>"], words[END]]
        with torch.inference_mode():
            assert torch.allclose(backbone.embed_images(images), model(images), atol=1e-5)
            expected = F.normalize(model.encode_text(torch.tensor([numbers])), dim=1)
        rows = backbone.embed_texts(["photo of dog", "a photo of a"])
        assert torch.allclose(rows[:1], expected, atol=1e-5)

    def test_the_activation_matters(self, tmp_path: Path) -> None:
        file, model, _ = save_reference(tmp_path)
        images = torch.randn(2, 3, 16, 16)
        with torch.inference_mode():
            difference = load(f"open-clip:{file}").embed_images(images) - model(images)
        assert difference.abs().max() > 1e-4

    def test_forms_of_the_same_weights_agree(self, tmp_path: Path) -> None:
        """Half precision, safetensors, data-parallel names, a wrapper, and open_clip's ``text.`` names."""
        file, model, _ = save_reference(tmp_path)
        state = model.state_dict()
        in_text = ("transformer.", "token_embedding", "positional_embedding", "ln_final", "text_projection")
        custom = {f"text.{key}" if key.startswith(in_text) else key: value for key, value in state.items()}
        sizes = {
            "input_resolution": torch.tensor(16),
            "vocab_size": torch.tensor(9),
            "attn_mask": torch.zeros(6, 6),
        }
        save_file(dict(state), tmp_path / "plain.safetensors")
        torch.save({**state, **sizes}, tmp_path / "sizes.pt")
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "parallel.pt")
        torch.save(custom, tmp_path / "custom.pt")
        one = load(f"openai-clip:{file}").fingerprint
        for name in ("plain.safetensors", "sizes.pt", "parallel.pt", "custom.pt"):
            assert load(f"openai-clip:{tmp_path / name}").fingerprint == one, name

    def test_the_option_is_in_the_fingerprint(self, tmp_path: Path) -> None:
        file, _, _ = save_reference(tmp_path)
        usual, told, other = (load(f"open-clip:{file}{end}") for end in ("", "?act=gelu", "?act=quick_gelu"))
        assert usual.fingerprint == told.fingerprint
        assert usual.fingerprint != other.fingerprint


class TestConfig:
    @pytest.mark.parametrize(
        ("width", "heads"), [(384, 6), (768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16), (1792, 16)]
    )
    def test_heads_of_published_widths(self, width: int, heads: int) -> None:
        with torch.device("meta"):
            state = {
                "visual.conv1.weight": torch.empty(width, 3, 14, 14),
                "visual.positional_embedding": torch.empty(257, width),
                "visual.proj": torch.empty(width, 512),
                "visual.transformer.resblocks.0.mlp.c_fc.weight": torch.empty(4 * width, width),
                "visual.transformer.resblocks.11.mlp.c_fc.weight": torch.empty(4 * width, width),
                "transformer.resblocks.0.mlp.c_fc.weight": torch.empty(2048, 512),
                "positional_embedding": torch.empty(77, 512),
                "token_embedding.weight": torch.empty(49408, 512),
                "ln_final.weight": torch.empty(512),
            }
        config = infer_config(state, "gelu")
        vision, text = config.vision_config, config.text_config
        assert (vision.num_attention_heads, vision.image_size, vision.patch_size) == (heads, 224, 14)
        assert (vision.num_hidden_layers, vision.intermediate_size) == (2, 4 * width)
        assert (text.num_attention_heads, text.max_position_embeddings, text.vocab_size) == (8, 77, 49408)
        assert config.projection_dim == 512

    def test_open_clip_config_beside_the_file(self, tmp_path: Path) -> None:
        file, model, _ = save_reference(tmp_path)
        settings = {
            "model_cfg": {"quick_gelu": True},
            "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "resize_mode": "squash"},
        }
        (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
        backbone = load(f"open-clip:{file}")
        assert (backbone.preprocess.mean, backbone.preprocess.std) == ((0.5,) * 3, (0.25,) * 3)
        assert (backbone.preprocess.squash, backbone.preprocess.interpolation) == (True, "bicubic")
        assert backbone.name.endswith("?act=quick_gelu")
        images = torch.randn(2, 3, 16, 16)
        with torch.inference_mode():
            assert torch.allclose(backbone.embed_images(images), model(images), atol=1e-5)
        settings["preprocess_cfg"]["interpolation"] = "random"
        (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
        with pytest.raises(BackboneError, match="unknown preprocessing"):
            load(f"open-clip:{file}")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"preprocess_cfg": {"resize_mode": "longest"}}, "resize_mode 'longest'"),
            ({"preprocess_cfg": {"resize_mode": "anything"}}, "resize_mode 'anything'"),
            ({"preprocess_cfg": {"size": 32}}, "to 32, but the weights are for 16"),
            ({"preprocess_cfg": {"size": [16, 24]}}, r"to \[16, 24\]"),
            ({"preprocess_cfg": {"mode": "L"}}, "mode 'L'"),
            ({"preprocess_cfg": {"do_invert": True}}, "sets do_invert"),
            ({"preprocess_cfg": {"interpolation": "nearest"}}, "unknown preprocessing"),
            ({"model_cfg": {"vision_cfg": {"pool_type": "avg"}}}, "sets pool_type to 'avg'"),
            ({"model_cfg": {"vision_cfg": {"head_width": 48}}}, "heads in the vision tower, which do not fit"),
            ({"model_cfg": {"vision_cfg": {"timm_model_name": "vit"}}}, "sets timm_model_name"),
            ({"model_cfg": {"text_cfg": {"hf_model_name": "bert"}}}, "sets hf_model_name"),
            ({"model_cfg": {"text_cfg": {"no_causal_mask": True}}}, "sets no_causal_mask"),
            ({"model_cfg": {"multimodal_cfg": {"width": 8}}}, "sets multimodal_cfg"),
            ({"model_cfg": {"vision_cfg": [1]}}, "holds no settings under vision_cfg"),
        ],
    )
    def test_what_open_clip_config_asks_for_is_done_or_refused(
        self, tmp_path: Path, settings: dict[str, object], message: str
    ) -> None:
        file, _, _ = save_reference(tmp_path)
        (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
        with pytest.raises(BackboneError, match=message):
            load(f"open-clip:{file}")

    def test_heads_are_those_of_open_clip_config(self, tmp_path: Path) -> None:
        file, _, _ = save_reference(tmp_path)
        usual = load(f"open-clip:{file}")
        settings = {"model_cfg": {"vision_cfg": {"head_width": 32, "width": 128}, "text_cfg": {"heads": 4}}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
        other = load(f"open-clip:{file}")
        assert other.tower.vision.config.num_attention_heads == 4
        assert other.text_tower.text.config.num_attention_heads == 4
        assert other.fingerprint.weights == usual.fingerprint.weights
        assert other.fingerprint.digest != usual.fingerprint.digest
        with pytest.raises(FingerprintError, match="settings"):
            usual.fingerprint.require(other.fingerprint, "the index i")
        usual.fingerprint.without_settings.require(other.fingerprint, "an index of version 0.1")
        settings = {"model_cfg": {"vision_cfg": {"head_width": 64}, "text_cfg": {"heads": 2}}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
        assert load(f"open-clip:{file}").fingerprint.digest == usual.fingerprint.digest


class TestFaults:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.pop("visual.ln_pre.bias"), r"1 missing \(vision_model.pre_layrnorm.bias\)"),
            (
                lambda s: s.pop("transformer.resblocks.1.attn.in_proj_weight"),
                r"3 missing \(text_model.encoder.layers.1.self_attn.k_proj.weight",
            ),
            (lambda s: s.pop("text_projection"), "not a CLIP file in OpenAI's layout: text_projection missing"),
            (lambda s: s.update({"visual.extra.weight": torch.zeros(1)}), r"1 unexpected \(visual.extra.weight\)"),
            (
                lambda s: s.update({"visual.ln_post.weight": torch.zeros(3)}),
                r"1 of another shape .*post_layernorm",
            ),
            (lambda s: s.update({"text_projection": torch.zeros(128)}), "sizes that no CLIP has|of another shape"),
            (lambda s: s.update({"visual.conv1.weight": torch.zeros(200, 3, 8, 8)}), "sizes that no CLIP has"),
            (lambda s: s.update({"visual.layer1.0.conv1.weight": torch.zeros(1)}), "image tower is a ResNet"),
            (lambda s: s.update({"visual.trunk.cls_token": torch.zeros(1)}), "comes from timm"),
        ],
    )
    def test_what_does_not_fit_is_named(
        self, tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
    ) -> None:
        state = openai_clip(20).state_dict()
        change(state)
        torch.save(state, tmp_path / "clip.pt")
        with pytest.raises(BackboneError, match=message):
            load(f"openai-clip:{tmp_path / 'clip.pt'}")

    def test_wrong_option_and_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(BackboneError, match=r"no activation 'relu'; use open-clip:x.pt\?act=gelu"):
            load("open-clip:x.pt?act=relu")
        with pytest.raises(BackboneError, match="openai-clip needs a weights file"):
            load("openai-clip:")
        with pytest.raises(BackboneError, match="is not a file"):
            load(f"openai-clip:{tmp_path}")

    def test_unknown_names_are_kept_for_the_report(self) -> None:
        state = {"transformer.resblocks.0.attn.ln.weight": torch.zeros(1), "x": torch.zeros(1)}
        assert to_transformers(state).keys() == state.keys()


class TestTokenizers:
    def test_without_files_images_work_and_texts_say_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crosslens.backbones.clip_tokens._package_folders", list)
        torch.save(openai_clip(20).state_dict(), tmp_path / "clip.pt")
        backbone = load(f"openai-clip:{tmp_path / 'clip.pt'}")
        assert backbone.embed_images(torch.rand(1, 3, 16, 16)).shape == (1, 24)
        with pytest.raises(BackboneError, match=rf"vocab.json and merges.txt, or {MERGES} beside the weights"):
            backbone.embed_texts(["dog"])

    def test_every_form_of_the_vocabulary_gives_the_same_numbers(self, tmp_path: Path) -> None:
        words = save_word_tokenizer(tmp_path / "pair")
        (tmp_path / "json").mkdir()
        find_clip_tokenizer(tmp_path / "pair").save(str(tmp_path / "json" / "tokenizer.json"))
        for folder in ("pair", "json"):
            tokens = clip_file_tokens(tmp_path / folder, 6)
            expected = [words[START], words["a</w>"], words["dog</w>"], words[END]]
            assert tokens(["A  dog", "dog"]).tolist() == [expected, [expected[0], *expected[2:], words[END]]]
            cut = tokens(["a photo of a dog dog cat"])[0].tolist()
            assert (len(cut), cut[0], cut[-1]) == (6, words[START], words[END])

    def test_transformers_own_tokenizer_agrees(self, tmp_path: Path) -> None:
        from transformers import CLIPTokenizer

        save_word_tokenizer(tmp_path)
        texts = ["a photo of a DOG", "dogcat  a", "cat's photo, of a dog!", "A\n\tdog 12", ""]
        theirs = CLIPTokenizer.from_pretrained(str(tmp_path))
        ours = find_clip_tokenizer(tmp_path)
        for text in texts:
            assert ours.encode(text).ids == theirs(text)["input_ids"], text

    def test_published_merges_file(self, tmp_path: Path) -> None:
        """Against byte-pair encoding done by hand, on OpenAI's numbering: 512 letters, merges, start, end."""
        merges = [("d", "o"), ("do", "g</w>"), ("c", "a"), ("ca", "t</w>"), ("â", "Ģ")]
        text = '"bpe_simple_vocab_16e6.txt#version: 0.2\n' + "\n".join(" ".join(pair) for pair in merges) + "\n"
        (tmp_path / MERGES).write_bytes(gzip.compress(text.encode()))
        tokens = clip_file_tokens(tmp_path, 12)
        letters = published_letters()
        number = {letter: index for index, letter in enumerate([*letters.values()])}
        number |= {f"{letter}</w>": 256 + index for letter, index in number.items()}
        number |= {"".join(pair): 512 + index for index, pair in enumerate(merges)}
        start, end = 512 + len(merges), 513 + len(merges)
        assert published_tokenizer(text).get_vocab_size() == end + 1
        for phrase in ("dog", "cat do", "dogs", "é", "“dog”", "cat 12"):
            expected = [start, *by_hand(phrase, merges, letters, number), end]
            assert tokens([phrase])[0].tolist() == expected, phrase
        assert tokens(["dog"])[0].tolist() == [start, 513, end]

    def test_damaged_and_foreign_tokenizers(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(BackboneError, match="cannot be read"):
            find_clip_tokenizer(tmp_path)
        from tokenizers import Tokenizer, models

        Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(BackboneError, match="it is not CLIP's"):
            clip_file_tokens(tmp_path, 6)


def published_letters() -> dict[int, str]:
    """GPT-2's and CLIP's ``bytes_to_unicode`` in its order, from its definition."""
    codes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {code: chr(code) for code in codes}
    for code in range(256):
        if code not in letters:
            letters[code] = chr(256 + len(letters) - len(codes))
    return letters


def by_hand(
    phrase: str, merges: list[tuple[str, str]], letters: dict[int, str], number: dict[str, int]
) -> list[int]:
    """Byte-pair encoding of words of letters, single digits and runs of other signs."""
    import re

    numbers = []
    for word in re.findall(r"[^\W\d_]+|\d|[^\s\w]+", phrase.lower()):
        parts = [letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        for first, second in merges:
            index = 0
            while index < len(parts) - 1:
                if (parts[index], parts[index + 1]) == (first, second):
                    parts[index : index + 2] = [first + second]
                index += 1
        numbers.extend(number[part] for part in parts)
    return numbers
