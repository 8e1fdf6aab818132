"""Real servers on free ports, and a client for them."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import uvicorn
from PIL import Image

from crosslens.server.app import create_app
from crosslens.server.connections import DeadlineProtocol
from crosslens.server.run import configuration
from crosslens.server.settings import ServerSettings


class Served:
    """A running server."""

    def __init__(self, app, port):
        self.app, self.port = app, port
        self.service = app.state.service
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx2.Client(base_url=self.url, timeout=120)

    def search(self, query, *images, name="pictures.index", **options):
        """POST a search as a form."""
        files = [("images", (f"{n}.png", content)) for n, content in enumerate(images)]
        return self.client.post(
            f"/api/v1/collections/{name}/search",
            data={"query": json.dumps(query)},
            files=files,
            **options,
        )

    def ask(self, query, name="pictures.index", **options):
        """POST a search as JSON."""
        return self.client.post(f"/api/v1/collections/{name}/search", json=query, **options)

    def add(self, *images, domain="photo", label=None, name="pictures.index", **options):
        """Upload images."""
        data = {"domain": domain} | ({} if label is None else {"label": label})
        files = [("images", (f"{n}.png", content)) for n, content in enumerate(images)]
        return self.client.post(f"/api/v1/collections/{name}/items", data=data, files=files, **options)

    def ended(self, answer, seconds=120):
        """Wait until the job of a 202 answer is over; gives the job."""
        assert answer.status_code == 202, answer.text
        place = answer.headers["location"]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.client.get(place).json()
            if job["state"] in ("done", "failed", "cancelled"):
                return job
            time.sleep(0.02)
        raise AssertionError(job)

    def raw(self, content, seconds=60):
        """Send bytes over a bare connection; gives what comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(content)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return received


@contextmanager
def running(*indexes, protocol=DeadlineProtocol, **options):
    """Serve index folders in a thread of this process, with a real uvicorn on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ServerSettings(
        indexes=tuple(Path(i) for i in indexes), port=port, **{"rate": 1e6, "burst": 1e6} | options
    )
    app = create_app(settings)
    config = configuration(settings, app)
    config.http = protocol
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    served = Served(app, port)
    try:
        for _ in range(500):
            if server.started and served.service.ready.is_set():
                break
            time.sleep(0.02)
        assert served.service.ready.is_set()
        yield served
    finally:
        served.client.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def encoded(image, kind="PNG", **options):
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(colour=(200, 30, 30), size=(40, 40), kind="PNG", **options):
    """A picture of one colour, as the bytes of a file."""
    return encoded(Image.new("RGB", size, colour), kind, **options)


def is_problem(answer, status):
    """Whether an answer is a problem document with this status."""
    document = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["type"].endswith(f"#problem-{status}")
    return document
