"""Vision transformers without text: ViT (Dosovitskiy et al., 2021), DINO, DINOv2 (Oquab et al., 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from crosslens.backbones.base import Backbone
from crosslens.backbones.pretrained import Pretrained
from crosslens.backbones.processor import require_side
from crosslens.images.preprocess import HALF, Preprocess


class _ClassToken(nn.Module):
    """A vision transformer's class token after its final layer norm."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to the class token ``(N, D)``."""
        token: Tensor = self.model(pixel_values=images).last_hidden_state[:, 0]
        return token


class VitBackbone(Backbone):
    """ViT or DINOv2; a feature is the class token after the final layer norm.

    Args:
        name: as ``load_backbone`` takes it.
        tower: ``(N, 3, H, W)`` to ``(N, D)``, in evaluation mode.
        dim: D.
        preprocess: what is done to an image first.
        settings: see ``Fingerprint``.
    """

    def __init__(self, name: str, tower: nn.Module, dim: int, preprocess: Preprocess, settings: str = "") -> None:
        self.name = name
        self.settings = settings
        self.tower = tower.eval()
        self.dim = dim
        self.preprocess = preprocess


def load_vit(source: str) -> VitBackbone:
    """ViT or DINO in transformers' format, from a local folder or a hub id; a classifier in it is ignored.

    Raises:
        BackboneError: when it cannot be found, holds another model, or lacks weights.
    """
    from transformers import ViTModel

    found = Pretrained("vit", source, ("vit",))
    # The pooler of BERT's time is missing from many checkpoints, and the class token does not need it.
    model = found.load(ViTModel, add_pooling_layer=False)
    side = model.config.image_size
    preprocess = found.preprocess(Preprocess(resize=side, crop=side, squash=True, mean=HALF, std=HALF))
    require_side(f"vit:{source}", preprocess, side)
    settings = found.settings(model.config)
    return VitBackbone(f"vit:{source}", _ClassToken(model), model.config.hidden_size, preprocess, settings)


def load_dinov2(source: str) -> VitBackbone:
    """DINOv2, with or without registers, in transformers' format, from a local folder or a hub id.

    Its position embeddings adapt to the image, so the preprocessing chooses the side (256, then 224 by default).

    Raises:
        BackboneError: when it cannot be found, holds another model, or lacks weights.
    """
    from transformers import Dinov2Model, Dinov2WithRegistersModel

    found = Pretrained("dinov2", source, ("dinov2", "dinov2_with_registers"))
    has_registers = found.config["model_type"] == "dinov2_with_registers"
    model = found.load(Dinov2WithRegistersModel if has_registers else Dinov2Model)
    preprocess = found.preprocess(Preprocess(resize=256, crop=224, interpolation="bicubic"))
    settings = found.settings(model.config)
    return VitBackbone(f"dinov2:{source}", _ClassToken(model), model.config.hidden_size, preprocess, settings)
