"""Encoders: a backbone and an ordered list of parts, saved as a folder."""

from __future__ import annotations

from crosslens.encoder.encoder import Encoder, ImageSource
from crosslens.encoder.load import load_encoder

__all__ = ["Encoder", "ImageSource", "load_encoder"]
