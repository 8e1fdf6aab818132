"""Images per second of ``embed`` from an S3 server on this machine, beside the same files on disk; and clients.

The server is moto's, in a process of its own. With two processors or more it has one of them to itself, and the
embedding has the others in both turns, since a bucket is not served by the machine that reads it. Both sides take
turns over the same images; the first turn of each does not count. ``--clients`` compares what one
picture costs a client of obstore, pyarrow and boto3, in milliseconds of processor time, and how often it asks.

    python benchmarks/places.py PICTURES --images 512 --json places.json
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosslens.api import open_catalog
from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.features.embed import embed_catalog
from crosslens.support.addresses import Place
from crosslens.support.files import write_json
from crosslens.support.reading import REQUESTS
from crosslens.support.remote import Remote

BUCKET = "places"


@contextmanager
def server() -> Iterator[subprocess.Popen[bytes]]:
    """Moto's S3 server, which the environment then names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(running.pid, cores[-1:])
            os.sched_setaffinity(0, cores[:-1])
        yield running
    finally:
        running.kill()
        running.wait()


def upload(catalog: Catalog) -> Remote:
    import boto3

    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=BUCKET)
    root = Remote("s3", BUCKET, "data")
    with ThreadPoolExecutor(8) as pool:
        pairs = zip(catalog.column("path"), catalog.paths, strict=True)
        list(pool.map(lambda pair: (root / pair[0]).write(Path(str(pair[1]))), pairs))
    return root


def rate(root: Place, catalog: Catalog, backbone: Backbone, views: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        there = Catalog(catalog.table, root)
        started = time.perf_counter()
        report = embed_catalog(there, backbone, Path(folder) / "features", views=views)
        seconds = time.perf_counter() - started
    assert report.embedded == len(catalog), report.skipped[:3]
    return len(catalog) / seconds


def clients(root: Remote, catalog: Catalog, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What one picture costs, with ``REQUESTS`` under way at once."""
    import boto3
    from pyarrow import fs

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    arrow = fs.S3FileSystem(endpoint_override=endpoint.partition("//")[2], scheme="http", request_timeout=60)
    plain = boto3.client("s3", endpoint_url=endpoint)

    def by_arrow(path: str) -> int:
        with arrow.open_input_stream(f"{BUCKET}/{root.key}/{path}") as file:
            return len(file.read())

    def by_boto3(path: str) -> int:
        return len(plain.get_object(Bucket=BUCKET, Key=f"{root.key}/{path}")["Body"].read())

    readers: dict[str, Callable[[str], int]] = {
        "obstore": lambda path: len((root / path).read_bytes()),
        "pyarrow": by_arrow,
        "boto3": by_boto3,
    }
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in readers}
    for _ in range(4):
        for name, read in readers.items():
            before = sum(os.times()[:2]), _spent(process.pid), time.perf_counter()
            with ThreadPoolExecutor(REQUESTS) as pool:
                list(pool.map(read, catalog.column("path")))
            after = sum(os.times()[:2]), _spent(process.pid), time.perf_counter()
            one = [1000 * (b - a) / len(catalog) for a, b in zip(before, after, strict=True)]
            measured[name].append((one[0], one[1], one[2]))
    names = ("client_ms", "server_ms", "wall_ms")
    return {
        name: {what: round(statistics.median(turn[n] for turn in turns[1:]), 2) for n, what in enumerate(names)}
        for name, turns in measured.items()
    }


def _spent(process: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--views", type=int, default=0)
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    catalog = open_catalog(options.pictures)
    step = max(1, len(catalog) // options.images)
    catalog = catalog.take(list(range(0, len(catalog), step))[: options.images])
    with server() as process:
        # Loaded here, so that it counts the processors it has.
        backbone = load_backbone(options.backbone)
        root = upload(catalog)
        result: dict[str, Any] = {"images": len(catalog), "views": options.views, "backbone": options.backbone}
        if options.clients:
            result["clients"] = clients(root, catalog, process)
            print(result["clients"], flush=True)
        turns: dict[str, list[float]] = {"disk": [], "s3": []}
        ratios = []
        for number in range(options.rounds + 1):
            pair = {}
            for name, place in (("disk", catalog.root), ("s3", root)):
                pair[name] = rate(place, catalog, backbone, options.views)
            if number:
                ratios.append(pair["s3"] / pair["disk"])
                for name, value in pair.items():
                    turns[name].append(value)
                print(f"disk {pair['disk']:.1f} images/s, s3 {pair['s3']:.1f}: {ratios[-1]:.2f}", flush=True)
    result |= {name: round(statistics.median(values), 1) for name, values in turns.items()}
    result["ratios"] = [round(ratio, 3) for ratio in ratios]
    result["ratio"] = round(statistics.median(ratios), 3)
    print(f"s3 reaches {result['ratio']:.2f} of the disk's rate (median of {len(ratios)} turns)")
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
