"""Image searches a second over HTTP, as a share of what the encoder alone does on the same cores and images.

The server runs in a process of its own; sixteen clients send one image each, over and over, from another one, as
prepared bytes on plain sockets. The clients take their share of the same cores, so the server's own share is a
little higher than the one told. The encoder alone gets the same encoded images in one call, in a process of its
own. The two take turns, round after round. Processor time is told too, of the encoder, the server and the clients:
``processor_share`` is the encoder's an image as a share of the server's a search, without the clients', and about
the same on a machine that has other work.

The index is made of the pictures, or is one that is there (``--index``). With ``--items`` it is copied first, and
gets as many items by further ones, which are those that are there with a little noise.

    python benchmarks/server.py PICTURES --images 512 --clients 16 --json server.json
    python benchmarks/server.py PICTURES --index pictures.index --items 100000
    python benchmarks/server.py PICTURES --index pictures.index --before OLDER_CHECKOUT

With ``--before`` the server of another checkout takes turns with this one's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

BOUNDARY = "crosslens-benchmark"


def alone(encoder: Any, images: list[bytes]) -> float:
    """Images a second of ``encode_images`` on everything at once."""
    started = time.perf_counter()
    encoder.encode_images(images)
    return len(images) / (time.perf_counter() - started)


def encoder_process(folder: Path, paths: list[Path]) -> None:
    """Answer each line of standard input with the encoder's images a second."""
    from crosslens.search.index.index import Index

    encoder = Index.open(folder).encoder
    images = [path.read_bytes() for path in paths]
    encoder.encode_images(images[:32])
    print("ready", flush=True)
    for _ in sys.stdin:
        print(alone(encoder, images), flush=True)


def request(image: bytes, port: int, name: str, top: int) -> bytes:
    """One search as the bytes that go over the wire."""
    query = json.dumps({"parts": [{"image": 0}], "top": top})
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="query"\r\n\r\n{query}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="q"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    body += image + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST /api/v1/collections/{name}/search HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def exchange(connection: socket.socket, sent: bytes) -> None:
    """Send a request and read its whole answer."""
    connection.sendall(sent)
    received = b""
    while b"\r\n\r\n" not in received:
        received += some(connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(received.decode(errors="replace"))
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(rest) < length:
        rest += some(connection)


def some(connection: socket.socket) -> bytes:
    """What has arrived; ends the benchmark when the server went away."""
    chunk = connection.recv(65536)
    if not chunk:
        raise SystemExit("the server closed a connection")
    return chunk


def over_http(requests: list[bytes], port: int, clients: int) -> tuple[float, list[float]]:
    """Searches a second, and the seconds of each one."""
    seconds: list[float] = []
    places = iter(range(len(requests)))
    lock = threading.Lock()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    place = next(places, None)
                if place is None:
                    return
                started = time.perf_counter()
                exchange(connection, requests[place])
                seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(requests) / (time.perf_counter() - started), seconds


def processor_seconds(pid: int) -> float:
    """Processor time of a process and its workers so far; other programs on the machine do not count."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # What stands before the bracket is the number and name of the process, behind it its parent's number.
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if str(pid) in (file.parent.name, fields[1]):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until_ready(port: int, pid: int) -> None:
    """Wait until the server answers and has done what it does once for a version of the index.

    That goes on after the collections are calibrated, and would count as work for searches: it is over when the
    server is idle.
    """
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/collections", timeout=5) as answer:
                if all(collection["calibrated"] for collection in json.load(answer)):
                    break
        except OSError:
            pass
        time.sleep(0.2)
    else:
        raise SystemExit("the server does not become ready")
    idle = 0
    while idle < 2:
        before = processor_seconds(pid)
        time.sleep(2.5)
        idle = idle + 1 if processor_seconds(pid) - before < 0.3 else 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of pictures")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--encoder", default="lite")
    parser.add_argument("--index", type=Path, help="search this one instead of one of the pictures")
    parser.add_argument("--items", type=int, default=0, help="items to search through, by copies with noise")
    parser.add_argument("--before", type=Path, help="another checkout, whose server takes turns with this one's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = sorted(file for file in options.root.rglob("*") if file.suffix in (".jpg", ".png"))
    chosen = [files[n] for n in np.linspace(0, len(files) - 1, min(options.images, len(files))).astype(int)]
    if options.child:
        encoder_process(options.child, chosen)
        return
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(options, chosen, Path(folder) / "benchmark.index")
    print(json.dumps(measured, indent=2))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


def grow(folder: Path, items: int) -> None:
    """Add items to an index until there are so many, those that are there with a little noise."""
    from crosslens.search.index.index import Index

    index = Index.open(folder)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(index), max(0, items - len(index)))
    vectors = index.vectors[drawn]
    vectors += rng.normal(0, 0.5 / vectors.shape[1] ** 0.5, vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    domains = index.items.column("domain").take(drawn)
    ids = [f"copies/{number:07d}.jpg" for number in range(len(drawn))]
    copies = pa.table({"id": ids, "path": [f"/copies/{name}" for name in ids], "domain": domains})
    index.upsert(copies, vectors, index.fingerprint)
    index.optimize()
    index.close()


class Served:
    """A server in a process of its own, and what was measured of it."""

    def __init__(self, options: argparse.Namespace, folder: Path, source: Path | None) -> None:
        self.port, self._clients = free_port(), options.clients
        serve = [sys.executable, "-m", "crosslens", "serve", str(folder), "--port", str(self.port)]
        environment = os.environ | ({} if source is None else {"PYTHONPATH": str(source / "src")})
        with open(folder.with_suffix(f".{self.port}.log"), "wb") as log:
            self._process = subprocess.Popen(
                [*serve, "--rate", "1000000", "--workers", str(options.workers)],
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.rates: list[float] = []
        self._latencies: list[float] = []
        self._work = self._of_clients = 0.0
        self._requests: list[bytes] = []

    def begin(self, images: list[Path], name: str, top: int) -> None:
        """Wait until it answers, and ask it a first time."""
        wait_until_ready(self.port, self._process.pid)
        self._requests = [request(path.read_bytes(), self.port, name, top) for path in images]
        over_http(self._requests[:64], self.port, self._clients)

    def ask(self) -> None:
        """One round of all searches."""
        before, of_clients = processor_seconds(self._process.pid), time.process_time()
        rate, seconds = over_http(self._requests, self.port, self._clients)
        self._of_clients += time.process_time() - of_clients
        self._work += processor_seconds(self._process.pid) - before
        self.rates.append(rate)
        self._latencies += seconds

    def told(self, own: list[float], work: float) -> dict[str, Any]:
        """What was measured, beside the encoder's images a second of each round and its seconds of a processor."""
        shares = [served / alone for served, alone in zip(self.rates, own, strict=True)]
        single = over_http(self._requests[:64], self.port, 1)[1]
        searches = len(self._requests) * len(self.rates)
        return {
            "searches_per_second": statistics.median(self.rates),
            "share": statistics.median(shares),
            "shares": shares,
            "processor_share": work / self._work,
            "processor_ms_per_search": 1e3 * self._work / searches,
            "clients_processor_ms_per_search": 1e3 * self._of_clients / searches,
            "p50_ms": 1e3 * statistics.median(self._latencies),
            "p99_ms": 1e3 * statistics.quantiles(self._latencies, n=100)[98],
            "one_client_p50_ms": 1e3 * statistics.median(single),
            "one_client_p99_ms": 1e3 * statistics.quantiles(single, n=100)[98],
        }

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(60)


def measure(options: argparse.Namespace, chosen: list[Path], folder: Path) -> dict[str, Any]:
    if options.index is None:
        build = [
            sys.executable,
            "-m",
            "crosslens",
            "index",
            "build",
            str(options.root),
            "--encoder",
            options.encoder,
        ]
        subprocess.run([*build, "--out", str(folder), "--quiet"], check=True)
    else:
        shutil.copytree(options.index, folder)
    if options.items:
        grow(folder, options.items)
    served = {"server": Served(options, folder, None)}
    if options.before is not None:
        served["before"] = Served(options, folder, options.before)
    child = [sys.executable, __file__, str(options.root), "--images", str(options.images), "--child", str(folder)]
    encoder = subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert encoder.stdin is not None
    assert encoder.stdout is not None
    own, work = [], 0.0
    try:
        for one in served.values():
            one.begin(chosen, folder.name, options.top)
        assert encoder.stdout.readline() == "ready\n"
        for number in range(options.repeats):
            before = processor_seconds(encoder.pid)
            encoder.stdin.write("\n")
            encoder.stdin.flush()
            own.append(float(encoder.stdout.readline()))
            work += processor_seconds(encoder.pid) - before
            # Whoever comes second finds another machine than the first: they change places.
            for one in list(served.values())[:: 1 if number % 2 else -1]:
                one.ask()
        told = {name: one.told(own, work) for name, one in served.items()}
    finally:
        encoder.stdin.close()
        encoder.wait(30)
        for one in served.values():
            one.end()
    return {
        "images": len(chosen),
        "clients": options.clients,
        "workers": options.workers,
        "encoder_images_per_second": statistics.median(own),
        "encoder_processor_ms_per_image": 1e3 * work / options.repeats / len(chosen),
        **told,
    }


if __name__ == "__main__":
    main()
