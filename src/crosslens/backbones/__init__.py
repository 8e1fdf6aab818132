"""Backbones by name. The core needs neither torchvision nor a network connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from crosslens.images.picture import DecodeMode
from crosslens.support.errors import BackboneError, ConfigError
from crosslens.support.near_names import did_you_mean, near_folder

if TYPE_CHECKING:
    from crosslens.backbones.base import Backbone
    from crosslens.backbones.sentences import SentenceReader

_DECODE_MODES: tuple[str, ...] = get_args(DecodeMode)


@dataclass(frozen=True)
class BackboneKind:
    """One way to obtain a backbone; call it with the part of the name after the colon.

    Attributes:
        source: what follows the colon: ``FOLDER``, ``FILE``, or nothing.
        about: one line for ``--help``.
        load: from that source to a backbone; imports what it needs only when called.
    """

    source: str
    about: str
    load: Callable[[str], Backbone]

    def __call__(self, source: str) -> Backbone:
        """Load from ``source``, the part of the name after the colon."""
        return self.load(source)


# Each loader imports its module itself, so that a name costs nothing until it is used.


def _lite(source: str) -> Backbone:
    from crosslens.backbones.lite import LiteBackbone, PhotoBackbone

    if source not in ("", "photo", "blend"):
        raise BackboneError(
            "lite is 'lite', 'lite:photo' (without the reader of drawings) or 'lite:blend' (that with another"
            f" space shared with text), not 'lite:{source}'"
        )
    return PhotoBackbone(blend=source == "blend") if source else LiteBackbone()


def _clip(source: str) -> Backbone:
    from crosslens.backbones.clip import load_clip

    return load_clip(source)


def _siglip(source: str) -> Backbone:
    from crosslens.backbones.clip import load_siglip

    return load_siglip(source)


def _openai_clip(source: str) -> Backbone:
    from crosslens.backbones.clip_files import load_clip_file

    return load_clip_file("openai-clip", source)


def _open_clip(source: str) -> Backbone:
    from crosslens.backbones.clip_files import load_clip_file

    return load_clip_file("open-clip", source)


def _dinov2(source: str) -> Backbone:
    from crosslens.backbones.vit import load_dinov2

    return load_dinov2(source)


def _vit(source: str) -> Backbone:
    from crosslens.backbones.vit import load_vit

    return load_vit(source)


def _resnet(source: str) -> Backbone:
    from crosslens.backbones.resnet import load_resnet

    return load_resnet(source)


def _torchvision_resnet(source: str) -> Backbone:
    from crosslens.backbones.resnet import load_torchvision_resnet

    return load_torchvision_resnet(source)


def _moco(source: str) -> Backbone:
    from crosslens.backbones.resnet import load_moco

    return load_moco(source)


BACKBONES: dict[str, BackboneKind] = {
    "lite": BackboneKind("", "EfficientNet-Lite0 taught drawings, MiniLM, offline; images and text", _lite),
    "clip": BackboneKind("FOLDER", "CLIP in transformers' format; images and text", _clip),
    "siglip": BackboneKind("FOLDER", "SigLIP in transformers' format; images and text", _siglip),
    "openai-clip": BackboneKind("FILE", "CLIP ViT weights of OpenAI's code; images and text", _openai_clip),
    "open-clip": BackboneKind(
        "FILE", "CLIP ViT weights of open_clip; FILE?act=quick_gelu where needed", _open_clip
    ),
    "dinov2": BackboneKind("FOLDER", "DINOv2 in transformers' format; images", _dinov2),
    "vit": BackboneKind("FOLDER", "ViT or DINO in transformers' format; images", _vit),
    "resnet": BackboneKind("FOLDER", "ResNet in transformers' format; images", _resnet),
    "torchvision-resnet50": BackboneKind("FILE", "ResNet-50 weights of torchvision; images", _torchvision_resnet),
    "moco-v2": BackboneKind("FILE", "MoCo v2's ResNet-50 (moco_v2_800ep_pretrain.pth.tar); images", _moco),
}


def _minilm() -> SentenceReader:
    from crosslens.backbones.sentences import SentenceReader

    return SentenceReader()


TEXT_READERS: dict[str, Callable[[], SentenceReader]] = {"minilm": _minilm}
"""What reads texts without PyTorch, giving the rows that ``Backbone.place_texts`` takes."""


def load_backbone(name: str, *, decode: DecodeMode = "exact") -> Backbone:
    """Load a backbone by name: ``lite``, or ``KIND:SOURCE`` with a local folder, file or hub id.

    Args:
        name: for example ``lite``, ``clip:./clip-vit-base-patch32``, ``moco-v2:./moco_v2_800ep_pretrain.pth.tar``.
        decode: ``exact`` or ``fast`` JPEG decoding; part of the fingerprint.

    Raises:
        ConfigError: for another way to decode.
        BackboneError: for an unknown kind, listing the known ones, or weights that do not fit.
    """
    require_decode_mode(decode)
    require_kind(name)
    kind, _, source = name.partition(":")
    backbone = BACKBONES[kind](source)
    backbone.preprocess = backbone.preprocess.model_copy(update={"decode": decode})
    return backbone


def require_decode_mode(name: str) -> None:
    """Check the name of a way to decode.

    Raises:
        ConfigError: listing those there are.
    """
    if name not in _DECODE_MODES:
        raise ConfigError(f"there is no way to decode called {name!r}; there are {', '.join(_DECODE_MODES)}")


def require_kind(name: str) -> None:
    """Check what a backbone's name begins with, and that a path in it leads somewhere; nothing is loaded.

    Raises:
        BackboneError: for an unknown kind, listing the known ones, or a path where nothing is.
    """
    kind, _, source = name.partition(":")
    if kind not in BACKBONES:
        raise BackboneError(
            f"there is no backbone {name!r}{did_you_mean(kind, BACKBONES)}; known: {describe_backbones()}"
        )
    # Anything else may be an id of the hub.
    if is_place(source) and not Path(source.partition("?")[0]).exists():
        raise BackboneError(f"{source} is not a folder, and no file either; {kind} needs one{near_folder(source)}")


def is_place(text: str) -> bool:
    """Whether a text can only be a path."""
    return text.startswith(("/", "./", "../", "~"))


def describe_backbones() -> str:
    """Every kind, as ``load_backbone`` takes it and what it is; FOLDER may also be a Hugging Face hub id."""
    forms = {kind: f"{kind}:{entry.source}" if entry.source else kind for kind, entry in BACKBONES.items()}
    return "; ".join(f"{forms[kind]} ({entry.about})" for kind, entry in BACKBONES.items())
