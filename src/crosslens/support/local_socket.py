"""How programs of one user on one machine talk about an index: JSON over a Unix socket in the cache.

A socket belongs to the folder of an index. It lies in a folder that only its user may enter, and whoever listens
checks who calls; a socket that a killed process left is refused by the system, and means that nobody listens.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from crosslens.support.places import cache_folder

_LENGTH = struct.Struct("!I")
_MOST = 64 << 20
_LONGEST = 100
"""Bytes of a socket's path; systems take 104 or 108."""


def socket_of(folder: Path) -> Path | None:
    """Where the socket of an index folder lies; None where there can be none."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    place = cache_folder() / "sockets" / digest
    return place if len(os.fsencode(place)) <= _LONGEST else None


def send(connection: socket.socket, value: Any) -> None:
    """Send one JSON value.

    Raises:
        OSError: when the other side is gone.
    """
    content = json.dumps(value).encode()
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket) -> Any:
    """Receive one JSON value.

    Raises:
        OSError: when the other side is gone.
        ValueError: when it sent something else.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > _MOST:
        raise ValueError(f"a message of {length} bytes is too long")
    return json.loads(_exactly(connection, length))


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end runs as this user; where the system does not tell, rights must do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == os.getuid())


def _exactly(connection: socket.socket, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        chunk = connection.recv(min(length - len(content), 1 << 20))
        if not chunk:
            raise ConnectionError("the other side closed the connection")
        content += chunk
    return bytes(content)
