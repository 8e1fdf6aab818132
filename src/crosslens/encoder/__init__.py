"""Encoders: a backbone and an ordered list of parts, saved as a folder.

PyTorch is imported with the first of these names: a search may do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslens.support.first_use import on_first_use

if TYPE_CHECKING:
    from crosslens.encoder.encoder import Encoder
    from crosslens.encoder.load import load_encoder

__all__ = ["Encoder", "load_encoder"]


__getattr__ = on_first_use(
    __name__, {"Encoder": "crosslens.encoder.encoder", "load_encoder": "crosslens.encoder.load"}
)
