"""``export``: an encoder for other programs."""

from __future__ import annotations

from pathlib import Path

from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.export import Format, export_encoder
from crosslens.training.run import Run


def export(
    encoder: Encoder | Run | str | Path, *, out: str | Path, format: Format = "onnx", domain: str | None = None
) -> Path:
    """Write an encoder as one checked network from RGB squares to unit vectors.

    Args:
        encoder: an Encoder, a run or its folder, an encoder folder or a backbone's name.
        out: the folder to make.
        format: ``onnx``, ``safetensors`` or ``torchscript``.
        domain: of the pictures: its centre, map and prompts go into the network.

    Returns:
        The folder.

    Raises:
        ConfigError: for an unknown format, or an encoder that cannot be written in it.
    """
    loaded = load_encoder(encoder.folder if isinstance(encoder, Run) else encoder)
    return export_encoder(loaded, Path(out), format, domain)
