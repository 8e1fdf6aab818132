"""An encoder from whatever names one."""

from __future__ import annotations

from pathlib import Path

from crosslens.backbones import load_backbone
from crosslens.encoder.encoder import Encoder
from crosslens.encoder.folders import folder_here
from crosslens.encoder.parts import Joint
from crosslens.encoder.untrained import frozen_encoder
from crosslens.images.decode import DecodeMode
from crosslens.support.errors import BackboneError, ConfigError, RunError
from crosslens.support.near_names import near_folder


def load_encoder(source: Encoder | str | Path, *, decode: DecodeMode | None = None) -> Encoder:
    """An encoder from a run folder, an encoder folder, or a backbone's name; an Encoder is returned as it is.

    A run or an encoder at an address is read from a copy in the cache. A backbone's name gives the frozen encoder;
    ``lite:joint`` gives its space shared with text.

    Args:
        source: an Encoder, a run, an encoder folder or a name.
        decode: ``exact`` or ``fast`` JPEG decoding, ``exact`` for a backbone's name by default; what was trained
            or saved has its own.

    Raises:
        ConfigError: for an encoder that is there already and decodes in another way.
        RunError: for a run that has not finished.
        BackboneError: when ``source`` is none of these.
    """
    if isinstance(source, Encoder):
        return _as_it_decodes(source, source.name, decode)
    folder = folder_here(source)
    if (folder / "encoder" / "config.json").is_file():
        return _as_it_decodes(Encoder.load(folder / "encoder"), folder, decode)
    if (folder / "config.json").is_file():
        return _as_it_decodes(Encoder.load(folder), folder, decode)
    if (folder / "config.yaml").is_file():
        raise RunError(f"the run {folder} has no encoder yet; finish it with 'crosslens fit ... --resume'")
    name, mode = str(source), decode or "exact"
    if name.endswith(Joint.suffix):
        return frozen_encoder(load_backbone(name.removesuffix(Joint.suffix), decode=mode), joint=True)
    try:
        backbone = load_backbone(name, decode=mode)
    except BackboneError as error:
        near = near_folder(folder)
        raise BackboneError(f"{source} is no run, no encoder folder and no backbone{near}: {error}") from error
    # A space that text shares already costs nothing to use.
    return frozen_encoder(backbone, joint=backbone.joint_dim == backbone.dim)


def _as_it_decodes(encoder: Encoder, name: str | Path, decode: DecodeMode | None) -> Encoder:
    own = encoder.backbone.preprocess.decode
    if decode not in (None, own):
        raise ConfigError(f"{name} decodes pictures in the mode {own!r}, as it was made; leave --decode out")
    return encoder
