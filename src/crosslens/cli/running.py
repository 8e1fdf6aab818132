"""Asking a server that already holds the index, which saves a command its start."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from crosslens.support.local_socket import receive, send, socket_of

_SECONDS = 60
"""For an answer; a calibration takes some."""


def ask_running(index: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of a server of this user that serves the index on this machine.

    Args:
        index: its folder.
        asked: what ``request_plainly`` takes, as plain values.

    Returns:
        What ``to_plain`` gives; None where no server runs, or where it cannot answer: the command then finds
        out why by itself, and says so.
    """
    place = socket_of(index)
    if place is None or not place.exists():
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(place))
            send(connection, {"index": str(index.resolve()), "asked": asked})
            told = receive(connection)
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and "answer" in told else None
