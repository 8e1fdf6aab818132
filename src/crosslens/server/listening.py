"""The sockets a server listens on, taken before it says where it is."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack

from crosslens.support.errors import CrosslensError


class PortTakenError(CrosslensError):
    """A port that another program listens on."""


BACKLOG = 2048
"""Connections that wait for the server to take them."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Take a port on every address of a host.

    Args:
        host: a name or an address.
        port: 0 takes any that is free.

    Returns:
        Listening sockets, at least one, all of one port.

    Raises:
        PortTakenError: for a port that is taken.
        CrosslensError: for an unknown host, or a port that is not allowed, saying what to do.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CrosslensError(f"there is no host {host!r} to listen on ({error.strerror}); see --host") from error
    with ExitStack() as until:
        taken: list[socket.socket] = []
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            if taken:
                port = taken[0].getsockname()[1]
            try:
                one = until.enter_context(socket.socket(family, kind, protocol))
                _take(one, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(addresses) > 1:
                    # A name may stand for IPv6 too where this machine has none.
                    continue
                kind_of = PortTakenError if error.errno == errno.EADDRINUSE else CrosslensError
                raise kind_of(_reason(error, host, port)) from error
            taken.append(one)
        if not taken:
            raise CrosslensError(f"{host} is no address of this machine; see --host")
        until.pop_all()
    return taken


def _take(one: socket.socket, address: tuple[str | int | bytes, ...]) -> None:
    if os.name == "posix":
        # A server may start again at once; elsewhere this would let two share a port.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    one.listen(BACKLOG)
    # Worker processes get it.
    one.set_inheritable(True)


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken by another program; choose another one with --port"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port} of {host}; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; see --host"
    return f"cannot listen on port {port} of {host}: {error.strerror}"
