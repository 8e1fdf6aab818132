"""Commands that stay until they are stopped, in processes of their own: started, asked, stopped."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

CROSSLENS = (sys.executable, "-m", "crosslens")


@contextmanager
def served(words: Sequence[str]) -> Iterator[httpx2.Client]:
    """``crosslens serve`` or ``open``, on a free port in place of the one that is named; gives a client of it."""
    words = list(words)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if "--port" in words:
        words[words.index("--port") + 1] = str(port)
    else:
        words += ["--port", str(port)]
    log = Path(f"server-{port}.log")
    with log.open("w") as file:
        process = subprocess.Popen([*CROSSLENS, *words], stdout=file, stderr=subprocess.STDOUT)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not _is_ready(client):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield client
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(60)
    log.unlink()


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False


def wait_for_jobs(client: httpx2.Client) -> None:
    """Wait until what a client asked a server to do is done."""
    while True:
        answer = client.get("/api/v1/jobs")
        assert answer.status_code == 200, answer.text
        states = {job["state"] for job in answer.json()}
        assert "failed" not in states, answer.text
        if not states - {"done", "cancelled"}:
            return
        time.sleep(0.05)


def ask_assistant(command: Sequence[str]) -> None:
    """Start ``crosslens mcp`` as an assistant does, and ask it what it holds."""
    from mcp import Client, StdioServerParameters, stdio_client

    async def ask(place: object) -> None:
        async with Client(place) as client:
            answer = await client.call_tool("describe_index", {})
            assert not answer.is_error, answer.content
            assert answer.structured_content["items"] > 0

    if "--http" not in command:
        asked = StdioServerParameters(command=command[0], args=[*command[1:]], env=dict(os.environ))
        asyncio.run(ask(stdio_client(asked, errlog=sys.__stderr__)))
        return
    words = [*command]
    words[words.index("--port") + 1] = "0"
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            asyncio.run(ask(re.search(r"http://\S+", process.stdout.readline()).group()))
        finally:
            process.terminate()
