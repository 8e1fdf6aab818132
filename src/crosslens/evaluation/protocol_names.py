"""The names in ``PROTOCOLS``, for who must not import what measures."""

from __future__ import annotations

from crosslens.evaluation.scenarios import KINDS

_UNIVERSAL = ("ucdr", "ucdr-mixed", "uccdr", "uccdr-mixed", "uccdr-random", "udcdr")
PROTOCOL_NAMES = ("pairs", "zero-shot", *_UNIVERSAL, *(f"{name}-inverted" for name in _UNIVERSAL), *KINDS)
