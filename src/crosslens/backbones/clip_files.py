"""CLIP weight files in OpenAI's layout (also open_clip's), turned into transformers' ``CLIPModel`` by renaming.

The two differ in the activation: OpenAI's weights were trained with ``quick_gelu``, those of open_clip (LAION,
DataComp) with ``gelu``, except the ones whose names end in ``-quickgelu``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from crosslens.backbones.base import hash_settings, load_weights
from crosslens.backbones.clip import ClipBackbone, clip_preprocess
from crosslens.backbones.clip_tokens import clip_file_tokens
from crosslens.backbones.open_clip_settings import OpenClipSettings
from crosslens.backbones.weights import read_state
from crosslens.support.errors import BackboneError

_ACTIVATIONS = ("gelu", "quick_gelu")

# Width of one attention head, where it is not 64: open_clip's ViT-H, ViT-g, ViT-G and ViT-e by their width.
_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104, 1792: 112}
_NEEDED = (
    "visual.conv1.weight",
    "visual.positional_embedding",
    "visual.proj",
    "positional_embedding",
    "token_embedding.weight",
    "text_projection",
    "ln_final.weight",
    "transformer.resblocks.0.mlp.c_fc.weight",
    "visual.transformer.resblocks.0.mlp.c_fc.weight",
)
# Sizes that OpenAI's archives carry, masks, and SigLIP's bias: none is a weight of CLIP's towers.
_IGNORED = ("input_resolution", "context_length", "vocab_size", "attn_mask", "logit_bias")
_RENAMED = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)")
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def load_clip_file(kind: str, source: str) -> ClipBackbone:
    """CLIP with a vision transformer, from a weights file of OpenAI's code or of open_clip.

    The activation is ``quick_gelu`` for ``openai-clip`` and ``gelu`` for ``open-clip``, unless
    ``open_clip_config.json`` beside the file or the ending ``?act=quick_gelu`` of ``source`` says otherwise. That
    file also tells heads and preprocessing; what it asks for and is not known here is an error. The tokenizer is
    read from files beside the weights when the first text comes.

    Args:
        kind: ``openai-clip`` or ``open-clip``.
        source: the file, with ``?act=gelu`` or ``?act=quick_gelu`` at its end where wanted.

    Raises:
        BackboneError: when the file is no CLIP with a vision transformer or lacks weights, or for settings that
            are not known here.
    """
    from transformers import CLIPModel

    path, _, wanted = source.partition("?act=")
    if not path:
        raise BackboneError(f"{kind} needs a weights file: {kind}:FILE")
    if wanted and wanted not in _ACTIVATIONS:
        raise BackboneError(f"there is no activation {wanted!r}; use {kind}:{path}?act=gelu or ?act=quick_gelu")
    file = Path(path)
    state = _plain_names(read_state(file))
    _require_vit(state, file)
    settings = OpenClipSettings.beside(file) if kind == "open-clip" else OpenClipSettings()
    usual = "quick_gelu" if kind == "openai-clip" else "gelu"
    activation = wanted or ("quick_gelu" if settings.quick_gelu else usual)
    try:
        config = infer_config(state, activation)
        heads = settings.heads(config)
        model = CLIPModel(config)
    except BackboneError:
        raise
    except Exception as error:
        # transformers refuses sizes that do not go together with errors of its own.
        raise BackboneError(f"{path} has sizes that no CLIP has: {error}") from error
    load_weights(model, to_transformers(state), path, ignore=_IGNORED)
    preprocess = settings.preprocess(clip_preprocess(config.vision_config.image_size))
    # The activation is part of the fingerprint through the name, as the weights do not tell it.
    name = f"{kind}:{path}" if activation == usual else f"{kind}:{path}?act={activation}"
    length = config.text_config.max_position_embeddings
    model = model.eval().requires_grad_(False)
    backbone = ClipBackbone(name, model, preprocess, lambda: clip_file_tokens(file.parent, length))
    # OpenAI's code has no file that could say otherwise: there the weights tell all.
    backbone.settings = hash_settings(heads) if kind == "open-clip" else ""
    return backbone


def infer_config(state: Mapping[str, Tensor], activation: str) -> Any:
    """Infer transformers' ``CLIPConfig`` for a state dict in OpenAI's layout, from the shapes of its tensors."""
    from transformers import CLIPConfig

    conv, proj = state["visual.conv1.weight"], state["visual.proj"]
    width, patch = conv.shape[0], conv.shape[-1]
    grid = math.isqrt(len(state["visual.positional_embedding"]) - 1)
    text_width = len(state["ln_final.weight"])
    return CLIPConfig(
        projection_dim=proj.shape[1],
        vision_config={
            "hidden_size": width,
            "intermediate_size": len(state["visual.transformer.resblocks.0.mlp.c_fc.weight"]),
            "num_hidden_layers": _count_blocks(state, "visual.transformer"),
            "num_attention_heads": max(1, width // _HEAD_WIDTHS.get(width, 64)),
            "image_size": grid * patch,
            "patch_size": patch,
            "hidden_act": activation,
            "projection_dim": proj.shape[1],
        },
        text_config={
            "hidden_size": text_width,
            "intermediate_size": len(state["transformer.resblocks.0.mlp.c_fc.weight"]),
            "num_hidden_layers": _count_blocks(state, "transformer"),
            "num_attention_heads": max(1, text_width // 64),
            "max_position_embeddings": len(state["positional_embedding"]),
            "vocab_size": len(state["token_embedding.weight"]),
            "hidden_act": activation,
            "projection_dim": proj.shape[1],
            # 2 makes transformers read the text's embedding at its highest number, which is OpenAI's definition.
            "eos_token_id": 2,
            "bos_token_id": 0,
            "pad_token_id": 1,
        },
    )


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict in OpenAI's layout to transformers' names, in float32.

    The stacked ``in_proj`` ``(3 W, W)`` is split into query, key and value; the projections are transposed from
    ``(W, D)`` to a linear layer's ``(D, W)``. Names that are not known are kept, for strict loading to report.
    """
    renamed: dict[str, Tensor] = {}
    for key, stored in state.items():
        value = stored.float()
        block = _BLOCK.fullmatch(key)
        layer = f"{'vision' if block[1] else 'text'}_model.encoder.layers.{block[2]}" if block else ""
        if block and block[3] == "attn.in_proj":
            rows = len(value) // 3
            for index, part in enumerate("qkv"):
                own = value[index * rows : (index + 1) * rows]
                renamed[f"{layer}.self_attn.{part}_proj.{block[4]}"] = own
        elif block and block[3] in _IN_BLOCK:
            renamed[f"{layer}.{_IN_BLOCK[block[3]]}.{block[4]}"] = value
        elif key in ("visual.proj", "text_projection"):
            renamed[_RENAMED[key]] = value.t().contiguous()
        elif key == "logit_scale":
            renamed[key] = value.squeeze()
        else:
            renamed[_RENAMED.get(key, key)] = value
    return renamed


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the beginnings that data-parallel training and open_clip's newer classes add."""
    names = (key.removeprefix("module.") for key in state)
    return dict(zip((name.removeprefix("text.") for name in names), state.values(), strict=True))


def _require_vit(state: Mapping[str, Tensor], file: Path) -> None:
    if any(key.startswith(("visual.layer1.", "visual.trunk.")) for key in state):
        raise BackboneError(
            f"{file} holds a CLIP whose image tower is a ResNet (RN50 and the like) or comes from timm; only those"
            " with a plain vision transformer (ViT-B-32, ViT-L-14, …) are read"
        )
    missing = [key for key in _NEEDED if key not in state]
    if missing:
        raise BackboneError(f"{file} is not a CLIP file in OpenAI's layout: {', '.join(missing)} missing")


def _count_blocks(state: Mapping[str, Tensor], tower: str) -> int:
    beginning = f"{tower}.resblocks."
    return len({key.removeprefix(beginning).split(".")[0] for key in state if key.startswith(beginning)})
