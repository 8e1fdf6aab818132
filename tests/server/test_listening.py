"""Taking a port, and what the command says when it cannot."""

import contextlib
import re
import socket
import sys

import pytest

from crosslens.server import run
from crosslens.server.listening import listen
from crosslens.support.errors import CrosslensError


@contextlib.contextmanager
def taken(host="127.0.0.1"):
    with socket.socket() as holder:
        holder.bind((host, 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_is_said_before_anything_is_announced(cli, own_index, workers):
    with taken() as port:
        status, out, err = cli("serve", own_index, "--port", port, "--workers", workers)
    assert status == 1
    assert out == ""
    assert err.startswith("error: ")
    assert str(port) in err
    assert "--port" in err
    assert "Traceback" not in err


def test_the_port_that_was_taken_is_announced(cli, own_index, monkeypatch):
    listening = []

    def ask(settings, sockets):
        listening.extend(one.getsockname()[1] for one in sockets)
        # Who reads the address may connect at once.
        socket.create_connection(("127.0.0.1", listening[0]), timeout=60).close()

    monkeypatch.setattr(run, "_run", ask)
    status, out, _ = cli("serve", own_index, "--port", 0)
    assert status == 0
    (port,) = set(listening)
    assert port > 0
    assert re.findall(r"http://127\.0\.0\.1:(\d+)", out) == [str(port)] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_does_not_start_ends_with_1(cli, own_index, monkeypatch, workers):
    if workers == 1:
        monkeypatch.setattr("uvicorn.Server.run", lambda *_: sys.exit(3))
    else:
        monkeypatch.setattr(
            "uvicorn.supervisors.multiprocess.Process.start", lambda self: setattr(self, "process", Dead())
        )
        monkeypatch.setattr("uvicorn.supervisors.multiprocess.Process.is_ready", lambda *_, **__: False)
    status, _, err = cli("serve", own_index, "--port", 0, "--workers", workers)
    assert status == 1
    assert "did not start" in err


class Dead:
    """A worker process that failed to start."""

    exitcode = 3
    pid = 0

    def is_alive(self):
        return False

    def kill(self):
        pass

    join = terminate = kill


def test_every_address_of_a_name_has_the_same_port():
    sockets = listen("localhost", 0)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        for one in sockets:
            socket.create_connection(one.getsockname()[:2], timeout=60).close()
    finally:
        for one in sockets:
            one.close()


def test_hosts_that_are_none():
    with pytest.raises(CrosslensError, match="--host"):
        listen("no-such-host.invalid", 0)
    with pytest.raises(CrosslensError, match="no address of this machine; see --host"):
        listen("192.0.2.1", 0)


def test_nothing_stays_taken_after_a_refusal():
    with taken() as port, pytest.raises(CrosslensError, match="is taken by another program"):
        listen("127.0.0.1", port)
    for one in listen("127.0.0.1", port):
        one.close()
