"""An encoder from whatever names one."""

from __future__ import annotations

from pathlib import Path

from crosslens.backbones import load_backbone
from crosslens.encoder.encoder import Encoder
from crosslens.encoder.parts import Joint
from crosslens.encoder.untrained import frozen_encoder
from crosslens.support.errors import BackboneError, RunError


def load_encoder(source: str | Path) -> Encoder:
    """An encoder from a run folder, an encoder folder, or a backbone's name.

    A backbone's name gives the frozen encoder; ``lite:joint`` gives its space shared with text.

    Raises:
        RunError: for a run that has not finished.
        BackboneError: when ``source`` is none of these.
    """
    folder = Path(source)
    if (folder / "encoder" / "config.json").is_file():
        return Encoder.load(folder / "encoder")
    if (folder / "config.json").is_file():
        return Encoder.load(folder)
    if (folder / "config.yaml").is_file():
        raise RunError(f"the run {folder} has no encoder yet; finish it with 'crosslens fit ... --resume'")
    name = str(source)
    if name.endswith(Joint.suffix):
        return frozen_encoder(load_backbone(name.removesuffix(Joint.suffix)), joint=True)
    try:
        backbone = load_backbone(name)
    except BackboneError as error:
        raise BackboneError(f"{source} is no run, no encoder folder and no backbone: {error}") from error
    # A space that text shares already costs nothing to use.
    return frozen_encoder(backbone, joint=backbone.joint_dim == backbone.dim)
