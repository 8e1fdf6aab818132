"""Where crosslens keeps what is its own: what it can always make again, and what runs."""

from __future__ import annotations

import os
from pathlib import Path

from crosslens.support.errors import CrosslensError


def cache_folder() -> Path:
    """``$CROSSLENS_CACHE``, else ``$XDG_CACHE_HOME/crosslens``, else ``~/.cache/crosslens``; made when missing.

    Raises:
        CrosslensError: when it cannot be made.
    """
    chosen = os.environ.get("CROSSLENS_CACHE")
    base = (
        Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosslens"
    )
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CrosslensError(
            f"the cache folder {base} cannot be made: {error.strerror or error}; CROSSLENS_CACHE names another"
        ) from error
    return base


def state_folder() -> Path:
    """``$CROSSLENS_STATE``, else ``$XDG_STATE_HOME/crosslens``, else ``~/.local/state/crosslens``; not made."""
    if chosen := os.environ.get("CROSSLENS_STATE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "crosslens"
