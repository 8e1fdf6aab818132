"""What a fit may change, as a word."""

from __future__ import annotations

from typing import Literal

Tune = Literal["head", "full", "prompts"]
