"""Tiny networks with random weights, saved in the formats that real ones are published in."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.backbones.resnet import ResNet

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = ["a", "photo", "of", "cat", "dog"]

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def save_clip(folder: Path, **text_options: Any) -> Any:
    """A CLIP with a tokenizer of whole words; returns transformers' model."""
    from transformers import CLIPConfig, CLIPModel

    vocabulary = save_word_tokenizer(folder)
    text = {
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 6,
        "bos_token_id": vocabulary[START],
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary[END],
        **text_options,
    }
    torch.manual_seed(0)
    return _save(CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)), folder)


def save_word_tokenizer(folder: Path) -> dict[str, int]:
    """CLIP's ``vocab.json`` and ``merges.txt`` that know ``WORDS`` only; returns the vocabulary."""
    words = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            if tuple(parts[:2]) not in merges:
                merges.append(tuple(parts[:2]))
                words.append(parts[0] + parts[1])
            parts[:2] = [parts[0] + parts[1]]
    vocabulary = {word: number for number, word in enumerate([*words, START, END])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    return vocabulary


def save_siglip(folder: Path) -> Any:
    """A SigLIP with a ``tokenizer.json`` of whole words; returns transformers' model."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import SiglipConfig, SiglipModel

    pieces = ["<unk>", "</s>", *(f"▁{word}" for word in WORDS)]
    tokenizer = Tokenizer(
        models.Unigram([(piece, -float(number)) for number, piece in enumerate(pieces)], unk_id=0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 6, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    text = {
        "hidden_size": 16,
        "intermediate_size": 20,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": len(pieces),
        "max_position_embeddings": 6,
        "projection_size": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(0)
    return _save(SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)), folder)


def save_vit(folder: Path) -> Any:
    """A ViT classifier, as most ViT checkpoints are."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    return _save(ViTForImageClassification(ViTConfig(**VISION, num_labels=3)), folder)


def save_dinov2(folder: Path, *, registers: int = 0) -> Any:
    """A DINOv2 made for 16 pixels that is used with 24, so that its position embeddings are interpolated."""
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(0)
    model = (
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**VISION, num_register_tokens=registers))
        if registers
        else Dinov2Model(Dinov2Config(**VISION))
    )
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"size": {"shortest_edge": 26}, "crop_size": {"height": 24, "width": 24}, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "resample": 3}))
    return _save(model, folder)


def save_transformers_resnet(folder: Path) -> Any:
    """A ResNet classifier of transformers with microsoft/resnet-50's preprocessing, for 28 pixels."""
    from transformers import ResNetConfig, ResNetForImageClassification

    folder.mkdir(parents=True, exist_ok=True)
    settings = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 28, "crop_pct": 0.875, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    return _save(ResNetForImageClassification(config), folder)


def _save(model: nn.Module, folder: Path) -> Any:
    model = model.eval()
    # Layer norms and batch norms start as the identity, which would hide a weight that was not loaded.
    scramble(model)
    model.save_pretrained(folder)
    return model


def scramble(model: nn.Module) -> None:
    """Random values for every vector of ``model``, positive ones for running variances."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim == 1 and value.is_floating_point():
                value.normal_(1.0, 0.2).abs_() if "var" in name else value.add_(0.2 * torch.randn_like(value))


def tiny_resnet() -> ResNet:
    """A ResNet with torchvision's names: one block a stage, 8 channels in the stem, D = 256."""
    torch.manual_seed(0)
    network = ResNet(layers=(1, 2, 1, 1), width=8)
    scramble(network)
    return network.eval()


def moco_checkpoint(network: nn.Module, head: nn.Sequential) -> dict[str, Any]:
    """What facebookresearch/moco saves: both encoders, the queue, and the optimiser's state."""
    query = {f"module.encoder_q.{key}": value for key, value in network.state_dict().items()}
    query |= {f"module.encoder_q.fc.{key}": value for key, value in head.state_dict().items()}
    key_encoder = {
        name.replace("encoder_q", "encoder_k"): torch.zeros_like(value) for name, value in query.items()
    }
    queue = {"module.queue": torch.zeros(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {
        "epoch": 800,
        "arch": "resnet50",
        "state_dict": OrderedDict({**query, **key_encoder, **queue}),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.03}]},
    }


class OpenAIClip(nn.Module):
    """CLIP as OpenAI's ``model.py`` defines it: ``nn.MultiheadAttention``, sequence first, the end by argmax.

    Two heads of 64 in each tower, as OpenAI takes the number of heads to be the width over 64.
    """

    def __init__(self, vocabulary: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        width, dim, context = 128, 24, 6
        self.visual = _Visual(width, dim, activation)
        self.transformer = _Transformer(width, activation)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(context, width) * 0.1)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, dim) * width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.6))

    def forward(self, images: Tensor) -> Tensor:
        return self.visual(images)

    def encode_text(self, numbers: Tensor) -> Tensor:
        x = self.token_embedding(numbers) + self.positional_embedding[: numbers.shape[1]]
        mask = torch.full((numbers.shape[1], numbers.shape[1]), float("-inf")).triu_(1)
        x = self.ln_final(self.transformer(x.permute(1, 0, 2), mask).permute(1, 0, 2))
        return x[torch.arange(len(x)), numbers.argmax(dim=-1)] @ self.text_projection


class _Visual(nn.Module):
    def __init__(self, width: int, dim: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(5, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Transformer(width, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, dim) * width**-0.5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).flatten(2).permute(0, 2, 1)
        token = self.class_embedding + torch.zeros(x.shape[0], 1, x.shape[2])
        x = self.ln_pre(torch.cat([token, x], dim=1) + self.positional_embedding)
        x = self.transformer(x.permute(1, 0, 2), None).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj


class _Transformer(nn.Module):
    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([_Block(width, activation) for _ in range(2)])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class _Block(nn.Module):
    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), act=_Act(activation), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class _Act(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def openai_clip(vocabulary: int, *, quick: bool = True) -> OpenAIClip:
    torch.manual_seed(0)
    model = OpenAIClip(vocabulary, quick_gelu if quick else F.gelu).eval()
    scramble(model)
    return model
