"""``crosslens serve`` in processes of its own."""

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2


@contextmanager
def started(folder, *options, log=None):
    """A server over an index as a process of its own, and a client of it; it writes to a pipe, or to a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        str(Path(__file__).with_name("server_process.py")),
        "serve",
        str(folder),
        "--port",
        str(port),
        *options,
    ]
    target = subprocess.PIPE if log is None else log.open("w")
    process = subprocess.Popen(command, stdout=target, stderr=subprocess.STDOUT, text=True)
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
    try:
        for _ in range(2400):
            try:
                if client.get("/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            assert process.poll() is None, process.stdout.read() if log is None else log.read_text()
            time.sleep(0.1)
        yield process, client
    finally:
        client.close()
        if process.poll() is None:
            process.kill()
        process.wait(120)
        if log is not None:
            target.close()
