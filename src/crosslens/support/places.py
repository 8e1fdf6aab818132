"""Where crosslens keeps what it can always make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$CROSSLENS_CACHE``, else ``$XDG_CACHE_HOME/crosslens``, else ``~/.cache/crosslens``; made when missing."""
    chosen = os.environ.get("CROSSLENS_CACHE")
    base = (
        Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosslens"
    )
    base.mkdir(parents=True, exist_ok=True)
    return base
