from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from crosslens.backbones import load_backbone
from crosslens.images.preprocess import IMAGENET_MEAN
from crosslens.support.errors import BackboneError
from testing.published_models import save_dinov2, save_siglip, save_transformers_resnet, save_vit


def test_vit_gives_the_class_token_after_the_last_norm(tmp_path: Path) -> None:
    model = save_vit(tmp_path)
    backbone = load_backbone(f"vit:{tmp_path}")
    assert (backbone.dim, backbone.has_text) == (16, False)
    assert (backbone.preprocess.squash, backbone.preprocess.crop) == (True, 16)
    images = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        states = model.vit(pixel_values=images, output_hidden_states=True).hidden_states[-1]
        expected = model.vit.layernorm(states)[:, 0]
    assert torch.allclose(backbone.embed_images(images), expected, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 2])
def test_dinov2_gives_the_class_token_after_the_last_norm(tmp_path: Path, registers: int) -> None:
    model = save_dinov2(tmp_path, registers=registers)
    backbone = load_backbone(f"dinov2:{tmp_path}")
    preprocess = backbone.preprocess
    assert (preprocess.resize, preprocess.crop, preprocess.interpolation) == (26, 24, "bicubic")
    assert preprocess.mean == IMAGENET_MEAN
    images = torch.rand(2, 3, 24, 24)
    with torch.inference_mode():
        states = model(pixel_values=images, output_hidden_states=True).hidden_states[-1]
        expected = model.layernorm(states)[:, 0]
    assert torch.allclose(backbone.embed_images(images), expected, atol=1e-5)


def test_transformers_resnet_gives_the_pooled_map(tmp_path: Path) -> None:
    model = save_transformers_resnet(tmp_path)
    backbone = load_backbone(f"resnet:{tmp_path}")
    assert (backbone.dim, backbone.preprocess.resize, backbone.preprocess.crop) == (16, 32, 28)
    images = torch.rand(2, 3, 28, 28)
    with torch.inference_mode():
        expected = model.resnet(pixel_values=images).last_hidden_state.mean(dim=(2, 3))
    assert torch.allclose(backbone.embed_images(images), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "save", "ending"),
    [
        ("vit", save_vit, "layernorm_before.weight"),
        ("dinov2", save_dinov2, "norm1.weight"),
        ("dinov2", partial(save_dinov2, registers=1), "register_tokens"),
        ("resnet", save_transformers_resnet, "running_var"),
        ("siglip", save_siglip, "layer_norm1.weight"),
    ],
)
def test_every_weight_must_be_there(tmp_path: Path, kind: str, save: Callable[[Path], Any], ending: str) -> None:
    save(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    del state[next(key for key in state if key.endswith(ending))]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"1 missing \("):
        load_backbone(f"{kind}:{tmp_path}")


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "resnet"])
def test_a_vit_is_nothing_else(tmp_path: Path, kind: str) -> None:
    save_vit(tmp_path)
    with pytest.raises(BackboneError, match=f"model of type 'vit', but {kind} reads {kind}"):
        load_backbone(f"{kind}:{tmp_path}")
