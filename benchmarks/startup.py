"""How long a command takes from nothing, as a share of what ``import torch`` alone takes on the same machine.

An index of many items (random vectors; `lite:joint`, which knows text) is made and optimised once. Then every
command is started anew, over and over, in turn with ``python -c "import torch"``; the medians are compared, of the
time on the clock and of processor time, which says about the same on a machine that has other work.

    python benchmarks/startup.py --items 100000 --rounds 7 --json startup.json

- picture, text: ``crosslens search`` with a picture, with words;
- running: the same picture while ``crosslens serve`` holds the index;
- serve: from the start of ``crosslens serve`` until ``/ready`` says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

GOALS = {"picture": 0.7, "text": 0.9, "serve": 1.4}
"""Shares of ``import torch`` to stay below; what a running server answers should take 0.3 s at most."""
CROSSLENS = (sys.executable, "-m", "crosslens")


def make_index(folder: Path, items: int) -> None:
    """An index of random unit vectors, ready to be searched."""
    from crosslens.encoder import load_encoder
    from crosslens.search.index.index import Index

    encoder = load_encoder("lite:joint")
    vectors = np.random.default_rng(0).normal(size=(items, encoder.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"photo/{number:07d}.jpg" for number in range(items)]
    columns = {"id": ids, "path": [f"/pictures/{name}" for name in ids], "domain": ["photo"] * items}
    index = Index.create(folder, encoder)
    index.upsert(pa.table(columns), vectors, encoder.fingerprint)
    index.optimize()
    index.close()


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor by processes that were started and have ended."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(*words: str) -> Callable[[], None]:
    def run() -> None:
        subprocess.run(words, check=True, capture_output=True)

    return run


class Server:
    """``crosslens serve`` of one index."""

    def __init__(self, folder: Path) -> None:
        self._command = (*CROSSLENS, "serve", str(folder), "--port", "0")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        url = self._process.stdout.readline().split()[-1]
        while True:
            try:
                with urllib.request.urlopen(f"{url}/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.01)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()


def measure(folder: Path, picture: Path, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each, on the clock and of the processor, in turns."""
    search = (*CROSSLENS, "search", str(folder))
    runs = {
        "import torch": command(sys.executable, "-c", "import torch"),
        "picture": command(*search, "--image", str(picture)),
        "text": command(*search, "--text", "a photo of a dog"),
    }
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in (*runs, "serve", "running")}

    def note(name: str, seconds: float, processor: float) -> None:
        found[name][0].append(seconds)
        found[name][1].append(processor)

    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            note(name, *timed(run))
        server = Server(folder)
        started = time.perf_counter()
        server.start()
        note("serve", time.perf_counter() - started, 0.0)
        try:
            note("running", *timed(runs["picture"]))
        finally:
            server.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, picture = Path(place) / "photos.index", Path(place) / "sketch.png"
        pixels = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(picture)
        make_index(folder, settings.items)
        found = measure(folder, picture, settings.rounds)
    medians = {name: [statistics.median(part) for part in both] for name, both in found.items()}
    base = medians["import torch"]
    print(f"{settings.items} items, {settings.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, (seconds, processor) in medians.items():
        goal = f", goal {GOALS[name]}" if name in GOALS else ""
        shares = f"{seconds / base[0]:.2f} of import torch{goal}"
        told = f", {processor:.2f} s of the processor ({processor / base[1]:.2f})" if processor else ""
        print(f"{name:<13}{seconds:6.2f} s, {shares}{told}")
    if settings.json is not None:
        settings.json.write_text(json.dumps({"items": settings.items, "medians": medians, "all": found}, indent=1))


if __name__ == "__main__":
    main()
