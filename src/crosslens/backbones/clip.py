"""CLIP (Radford et al., 2021) and SigLIP (Zhai et al., 2023): images and texts in one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from crosslens.backbones.base import VisionLanguageBackbone
from crosslens.backbones.clip_tokens import Tokens, clip_tokens, siglip_tokens
from crosslens.backbones.pretrained import Pretrained
from crosslens.backbones.processor import require_side
from crosslens.backbones.reading import Reading
from crosslens.images.preprocess import CLIP_MEAN, CLIP_STD, HALF, Preprocess
from crosslens.support.errors import BackboneError


class ImageTower(nn.Module):
    """A vision transformer of transformers' CLIP or SigLIP, with the projection into the joint space."""

    def __init__(self, vision: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.vision = vision
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to the image embedding ``(N, D)``, not normalised."""
        embedding: Tensor = self.projection(self.vision(pixel_values=images).pooler_output)
        return embedding


class _TextTower(nn.Module):
    """A text transformer of transformers' CLIP or SigLIP, with the projection into the joint space."""

    def __init__(self, text: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.text = text
        self.projection = projection

    def forward(self, numbers: Tensor) -> Tensor:
        """Token numbers ``(T, L)``, int64, to the text embedding ``(T, D)``, not normalised."""
        embedding: Tensor = self.projection(self.text(input_ids=numbers).pooler_output)
        return embedding


class ClipBackbone(VisionLanguageBackbone):
    """The two towers of CLIP or SigLIP; a feature is the projected image embedding, and J = D.

    Args:
        name: as ``load_backbone`` takes it.
        model: transformers' ``CLIPModel`` or ``SiglipModel``, in evaluation mode.
        preprocess: squares of the side the model was made for.
        tokens: gives the tokenizer; called when the first text comes, so images need none.

    Raises:
        BackboneError: when the squares have another side than the model's images.
    """

    def __init__(self, name: str, model: Any, preprocess: Preprocess, tokens: Callable[[], Tokens]) -> None:
        self.name = name
        self.preprocess = preprocess
        vision, text = model.config.vision_config, model.config.text_config
        require_side(name, preprocess, vision.image_size)
        # SigLIP's towers end in the joint space, CLIP's need a linear map each.
        is_siglip = model.config.model_type == "siglip"
        self.tower = ImageTower(model.vision_model, nn.Identity() if is_siglip else model.visual_projection).eval()
        self.text_tower = _TextTower(
            model.text_model, nn.Identity() if is_siglip else model.text_projection
        ).eval()
        self.dim = vision.hidden_size if is_siglip else model.config.projection_dim
        self.joint_dim = self.dim
        self._make_tokens = tokens
        self._vocabulary = text.vocab_size
        # CLIP reads a text at its end token, which old configurations give as 2 for "the highest number".
        self._end = None if is_siglip or text.eos_token_id == 2 else text.eos_token_id
        self._is_causal = not is_siglip

    @cached_property
    def _tokens(self) -> Tokens:
        return self._make_tokens()

    @property
    def is_causal(self) -> bool:
        """Whether the text tower looks to the left alone and reads a text at its end token (CLIP, not SigLIP)."""
        return self._is_causal

    def token_numbers(self, texts: Sequence[str]) -> Tensor:
        """Texts to token numbers ``(T, L)``, padded; long texts are cut.

        Raises:
            BackboneError: when the tokenizer is missing or belongs to another model.
        """
        numbers = self._tokens(texts)
        strange = int(numbers.max()) >= self._vocabulary
        if strange or (self._end is not None and not (numbers == self._end).any(dim=1).all()):
            raise BackboneError(f"the tokenizer of {self.name} belongs to another model; its numbers do not fit")
        return numbers

    def end_positions(self, numbers: Tensor) -> Tensor:
        """Where CLIP reads each of the texts ``(T, L)``: position of the first end token ``(T,)``."""
        return numbers.argmax(1) if self._end is None else (numbers == self._end).int().argmax(1)

    def reading(self, text: str) -> Reading:
        """How the tokenizer reads ``text``."""
        return self._tokens.read(text)

    @torch.inference_mode()
    def encode_text_batch(self, texts: Sequence[str]) -> Tensor:
        """At most a few hundred texts to ``(T, D)``, float32, not normalised; long texts are cut.

        Raises:
            BackboneError: when the tokenizer is missing or belongs to another model.
        """
        embedding: Tensor = self.text_tower(self.token_numbers(texts))
        return embedding.float()


def load_clip(source: str) -> ClipBackbone:
    """CLIP in transformers' format, from a local folder or a hub id.

    Raises:
        BackboneError: when it cannot be found, holds another model, or lacks weights.
    """
    from transformers import CLIPModel

    found = Pretrained("clip", source, ("clip",))
    model = found.load(CLIPModel)
    preprocess = found.preprocess(clip_preprocess(model.config.vision_config.image_size))
    length = model.config.text_config.max_position_embeddings
    backbone = ClipBackbone(f"clip:{source}", model, preprocess, lambda: clip_tokens(found, length))
    backbone.settings = found.settings(model.config.vision_config)
    return backbone


def load_siglip(source: str) -> ClipBackbone:
    """SigLIP or SigLIP 2 of fixed resolution in transformers' format, from a local folder or a hub id.

    Raises:
        BackboneError: when it cannot be found, holds another model, or lacks weights.
    """
    from transformers import SiglipModel

    found = Pretrained("siglip", source, ("siglip",))
    model = found.load(SiglipModel)
    side = model.config.vision_config.image_size
    default = Preprocess(resize=side, crop=side, squash=True, interpolation="bicubic", mean=HALF, std=HALF)
    length = model.config.text_config.max_position_embeddings
    preprocess = found.preprocess(default)
    backbone = ClipBackbone(f"siglip:{source}", model, preprocess, lambda: siglip_tokens(found, length))
    backbone.settings = found.settings(model.config.vision_config)
    return backbone


def clip_preprocess(side: int) -> Preprocess:
    """CLIP's own preprocessing for images of ``side`` pixels: shorter side and centre crop, bicubic."""
    return Preprocess(resize=side, crop=side, interpolation="bicubic", mean=CLIP_MEAN, std=CLIP_STD)
