"""Showing a page in the browser of whoever sits at this machine."""

from __future__ import annotations

import os
import sys


def show_in_browser(address: str) -> bool:
    """Open an address in a browser with windows; False where there is none, as on a server.

    A browser for terminals is not opened: it would take the terminal from the command that runs in it.
    """
    import webbrowser

    needs_display = sys.platform not in ("darwin", "win32") and "BROWSER" not in os.environ
    if needs_display and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
