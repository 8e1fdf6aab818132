"""Backbones by name. The core needs neither torchvision nor a network connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crosslens.errors import BackboneError

if TYPE_CHECKING:
    from crosslens.backbones.base import Backbone
    from crosslens.images.decode import DecodeMode


def _lite(source: str) -> Backbone:
    from crosslens.backbones.lite import LiteBackbone

    if source:
        raise BackboneError(f"lite takes no source, but got {source!r}")
    return LiteBackbone()


BACKBONES: dict[str, Callable[[str], Backbone]] = {"lite": _lite}


def load_backbone(name: str, *, decode: DecodeMode = "exact") -> Backbone:
    """Load a backbone by name: ``lite``, or ``KIND:SOURCE`` with a local folder, file or hub id.

    Args:
        name: for example ``lite``, ``clip:./clip-vit-base-patch32``, ``moco-v2:./moco_v2_800ep_pretrain.pth.tar``.
        decode: ``exact`` or ``fast`` JPEG decoding; part of the fingerprint.

    Raises:
        BackboneError: for an unknown kind, listing the known ones, or weights that do not fit.
    """
    kind, _, source = name.partition(":")
    if kind not in BACKBONES:
        raise BackboneError(f"there is no backbone {name!r}; known: {', '.join(f'{k}:SOURCE' for k in BACKBONES)}")
    backbone = BACKBONES[kind](source)
    backbone.preprocess = backbone.preprocess.model_copy(update={"decode": decode})
    return backbone
