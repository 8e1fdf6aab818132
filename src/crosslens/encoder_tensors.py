"""The tensors of an encoder by name, as its ``model.safetensors`` holds them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from crosslens.nn.heads import Head, HeadGroup
from crosslens.nn.projection import Projection
from crosslens.nn.prompts import PromptedTower
from crosslens.nn.whitened import WhitenedPart

if TYPE_CHECKING:
    from crosslens.backbones.base import Backbone
    from crosslens.encoder import Encoder
    from crosslens.encoder_config import EncoderConfig


def tensors_of(encoder: Encoder) -> dict[str, Tensor]:
    """Everything learnt, by name; the backbone's own weights only where they were trained."""
    tensors = {f"head.{k}": v for k, v in encoder.head.state_dict().items()} if encoder.head else {}
    tensors |= {f"mean.{index}": mean for index, mean in enumerate(encoder.means.values())}
    tensors |= {f"map.{index}": matrix for index, matrix in enumerate(encoder.maps.values())}
    tensors |= {f"look.{index}": mean for index, mean in enumerate(encoder.looks.values())}
    if encoder.prompted is not None:
        tensors |= {f"prompted.{k}": v for k, v in encoder.prompted.learned().items()}
    if encoder.whitened is not None:
        tensors |= {f"whitened.{k}": v for k, v in encoder.whitened.tensors().items()}
    if encoder.tuned:
        tensors |= {f"tower.{k}": v.cpu() for k, v in encoder.backbone.tower.state_dict().items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def parts_of(config: EncoderConfig, tensors: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Any]:
    """The parts of an encoder that ``tensors`` hold, by the names of ``Encoder``'s arguments.

    A trained tower goes into ``backbone``.

    Raises:
        KeyError, RuntimeError: when the tensors are not those of this configuration.
    """
    head: HeadGroup | Projection | None = None
    if config.tuned:
        backbone.tower.load_state_dict(_below(tensors, "tower."))
    if config.head is not None:
        head = HeadGroup([Head(config.head, unit_inputs=config.unit_inputs) for _ in range(config.members)])
        head.load_state_dict(_below(tensors, "head."))
    if config.projection is not None:
        head = Projection(config.projection)
        head.load_state_dict(_below(tensors, "head."))
    whitened = prompted = None
    if config.whitened:
        own = _below(tensors, "whitened.")
        whitened = WhitenedPart.from_tensors(own, config.whitened, config.whitened_share, config.whitened_power)
    if config.prompts is not None:
        prompted = PromptedTower(backbone.tower, config.prompts)
        prompted.load_learned(_below(tensors, "prompted."))
    return {
        "head": head,
        "means": {domain: tensors[f"mean.{index}"] for index, domain in enumerate(config.domains)},
        "maps": {domain: tensors[f"map.{index}"] for index, domain in enumerate(config.mapped)},
        "looks": {domain: tensors[f"look.{index}"] for index, domain in enumerate(config.looks)},
        "whitened": whitened,
        "prompted": prompted,
    }


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
