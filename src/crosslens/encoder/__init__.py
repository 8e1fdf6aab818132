"""Encoders: a backbone and an ordered list of parts, saved as a folder.

PyTorch is imported with the first of these names: a search may do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslens.encoder.encoder import Encoder
    from crosslens.encoder.load import load_encoder

__all__ = ["Encoder", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name == "Encoder":
        from crosslens.encoder.encoder import Encoder

        return Encoder
    if name == "load_encoder":
        from crosslens.encoder.load import load_encoder

        return load_encoder
    raise AttributeError(f"module 'crosslens.encoder' has no attribute {name!r}")
