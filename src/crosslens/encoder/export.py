"""Encoders for other programs: one network from pixels to unit vectors (ONNX, TorchScript), or the folder itself.

OUT/encoder.onnx (or encoder.pt)    squares (N, H, W, 3) uint8 to unit vectors (N, d) float32
OUT/preprocess.json                 how to make the squares, and how vectors are compared
OUT/README.md                       the model card
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from crosslens.backbones.engine import ExportError, PixelTower, export_onnx
from crosslens.encoder import Encoder
from crosslens.support.addresses import path_here
from crosslens.support.errors import ConfigError
from crosslens.support.files import atomic_path, write_json

Format = Literal["onnx", "safetensors", "torchscript"]
FORMATS: tuple[Format, ...] = get_args(Format)
_TOLERANCE = 1e-3


class _PixelEncoder(nn.Module):
    """An encoder for the images of one domain, as a network: ``(N, H, W, 3)`` uint8 to unit rows ``(N, d)``.

    Args:
        encoder: what it does.
        domain: whose prompts, centre and map are used; None for images of an unknown one.
    """

    def __init__(self, encoder: Encoder, domain: str | None) -> None:
        super().__init__()
        backbone = encoder.backbone_of(domain)
        self.tower = PixelTower(backbone.tower.cpu(), backbone.preprocess)
        self._encoder = encoder
        self._domain = domain

    def forward(self, pixels: Tensor) -> Tensor:
        """Squares ``(N, H, W, 3)`` uint8 to unit rows ``(N, d)`` float32."""
        return self._encoder.encode_rows(self.tower(pixels), [self._domain])


def export_encoder(encoder: Encoder, target: str | Path, kind: Format = "onnx", domain: str | None = None) -> Path:
    """Write an encoder in a form that other programs run; what was written is checked against the encoder.

    Args:
        encoder: any one that reads images.
        target: a new folder.
        kind: ``onnx`` or ``torchscript`` for one network; ``safetensors`` for crosslens' own folder.
        domain: of the images the network will see; it takes this domain's prompts, centre and map. A folder
            (``safetensors``) keeps all domains.

    Returns:
        The folder.

    Raises:
        ConfigError: for another kind, a domain that the encoder does not know, or a target that exists.
        ExportError: when the network cannot be written, or computes other values than the encoder.
    """
    folder = path_here(target)
    if kind not in FORMATS:
        raise ConfigError(f"there is no format {kind!r}; use {', '.join(FORMATS)}")
    if folder.exists():
        raise ConfigError(f"{folder} exists already; name a new folder")
    # Domains that were learned from, but are treated like any other, have the network of all.
    known = sorted({*encoder.domains, *encoder.domain_means})
    if domain is not None and (kind == "safetensors" or domain not in known):
        told = f"it knows {', '.join(known) or 'none'}"
        reason = "a folder keeps all domains" if kind == "safetensors" else told
        raise ConfigError(f"this export takes no domain {domain!r}: {reason}")
    if kind == "safetensors":
        encoder.save(folder)
        return folder
    if kind == "onnx" and encoder.similarity.kind == "lorentz":
        raise ExportError("a hyperbolic projection cannot be written as ONNX; use --format torchscript")
    network = _PixelEncoder(encoder, domain).eval()
    side = encoder.backbone.preprocess.crop
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with torch.no_grad():
        # What a backbone computes on first use must be there before the network is traced.
        network(example)
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        if kind == "onnx":
            export_onnx(network, example, file=temporary / "encoder.onnx", tolerance=_TOLERANCE)
        else:
            _trace(network, example, temporary / "encoder.pt")
        write_json(temporary / "preprocess.json", _description(encoder, domain))
        (temporary / "README.md").write_text(encoder.model_card(), encoding="utf-8")
    return folder


def _description(encoder: Encoder, domain: str | None) -> dict[str, Any]:
    preprocess = encoder.backbone.preprocess
    return {
        "input": {"shape": ["N", preprocess.crop, preprocess.crop, 3], "type": "uint8", "order": "RGB"},
        "preprocess": preprocess.model_dump(mode="json", exclude={"mean", "std"}),
        "transparency": "white",
        "output": {"shape": ["N", encoder.dim], "type": "float32", "length": 1.0},
        "domain": domain,
        "similarity": encoder.similarity.model_dump(mode="json"),
        "fingerprint": encoder.fingerprint.digest,
    }


def _trace(network: nn.Module, example: Tensor, file: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, (example,), check_trace=False)
        torch.jit.save(traced, str(file))
        again = torch.jit.load(str(file))
        probe = torch.randint(0, 256, (3, *example.shape[1:]), dtype=torch.uint8)
        if not torch.allclose(again(probe), network(probe), atol=_TOLERANCE):
            raise ExportError("the TorchScript network computes other values than the encoder")
