"""Images per second of ``embed``, beside bare ONNX Runtime and PyTorch eager, and its memory at two sizes.

All three take turns over the same images. The bare run has every batch decoded in memory beforehand and only
calls ``InferenceSession.run``, with the best of two ways to use the cores: one session with all threads, or one
thread per core with a session each. The eager run is the way one would first write it: a ``Dataset`` that decodes
with Pillow, a plain ``DataLoader``, the same tower in ``inference_mode``. Memory is the peak of a process of its
own that embeds N images, then 4 N.

    python benchmarks/embedding.py PICTURES --images 1024 --json embedding.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from crosslens.api import open_catalog
from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.backbones.engine import onnx_engine
from crosslens.backbones.graphs import OnnxEngine
from crosslens.data.catalog import Catalog
from crosslens.features.embed import embed_catalog
from crosslens.support.files import write_json


def ours(catalog: Catalog, backbone: Backbone) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        report = embed_catalog(catalog, backbone, Path(folder) / "features")
        seconds = time.perf_counter() - started
    assert report.embedded == len(catalog)
    return len(catalog) / seconds


def bare(batches: list[np.ndarray], backbone: Backbone, *, sessions: int, threads: int) -> float:
    engines = [onnx_engine(backbone, threads=threads) for _ in range(sessions)]
    started = time.perf_counter()
    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(lambda pair: engines[pair[0] % sessions].run(pair[1]), enumerate(batches)))
    return sum(map(len, batches)) / (time.perf_counter() - started)


class Pictures(Dataset[torch.Tensor]):
    def __init__(self, paths: list[Path], backbone: Backbone) -> None:
        self.paths, self.preprocess = paths, backbone.preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.preprocess([self.paths[index]])[0])


@torch.inference_mode()
def eager(paths: list[Path], backbone: Backbone) -> float:
    tower = backbone.tower.eval()
    started = time.perf_counter()
    for batch in DataLoader(Pictures(paths, backbone), batch_size=64):
        tower(batch)
    return len(paths) / (time.perf_counter() - started)


def peak_memory(root: Path, images: int, copies: int) -> float:
    """Peak resident MiB of a fresh process that embeds ``images`` images ``copies`` times under new ids."""
    command = [sys.executable, __file__, str(root), "--images", str(images), "--copies", str(copies), "--child"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def child(root: Path, images: int, copies: int) -> None:
    catalog = sample(open_catalog(root), images)
    rows = [
        {"id": f"{copy}/{image}", "path": path, "domain": domain}
        for copy in range(copies)
        for image, path, domain in zip(catalog.ids, catalog.column("path"), catalog.column("domain"), strict=True)
    ]
    several = Catalog.from_rows(rows, catalog.root)
    with tempfile.TemporaryDirectory() as folder:
        embed_catalog(several, load_backbone("lite"), Path(folder) / "features", shard_size=256)
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def sample(catalog: Catalog, images: int) -> Catalog:
    """``images`` images spread evenly over the catalog."""
    chosen = np.linspace(0, len(catalog) - 1, min(images, len(catalog))).astype(int)
    return catalog.take(np.unique(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of pictures")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--copies", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.root, options.images, options.copies)
        return

    catalog = sample(open_catalog(options.root), options.images)
    backbone = load_backbone("lite")
    paths = list(catalog.paths)
    pixels = [backbone.preprocess.pixels(path) for path in paths]
    size = OnnxEngine.batch_size
    batches = [np.stack(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    cores = os.cpu_count() or 1
    ways = {
        "embed": lambda: ours(catalog, backbone),
        "onnxruntime, one session": lambda: bare(batches, backbone, sessions=1, threads=cores),
        "onnxruntime, a session a core": lambda: bare(batches, backbone, sessions=cores, threads=1),
        "torch eager, DataLoader": lambda: eager(paths[: max(64, len(paths) // 4)], backbone),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            rates[name].append(way())
    median = {name: statistics.median(values) for name, values in rates.items()}
    best = max(value for name, value in median.items() if name.startswith("onnx"))
    report: dict[str, Any] = {
        "images": len(paths),
        "images_per_second": rates,
        "median": median,
        "share_of_bare": median["embed"] / best,
        "times_eager": median["embed"] / median["torch eager, DataLoader"],
        "peak_mib": {str(n): peak_memory(options.root, options.images, n) for n in (1, 4)},
        "cpus": cores,
        "load": os.getloadavg()[0],
    }
    for name, value in median.items():
        print(f"{name:32s} {value:7.1f} images/s")
    print(f"embed reaches {report['share_of_bare']:.0%} of bare onnxruntime, {report['times_eager']:.1f} x eager")
    print(
        "peak memory "
        + ", ".join(f"{int(n) * len(paths)} images {m:.0f} MiB" for n, m in report["peak_mib"].items())
    )
    print(f"load {report['load']:.1f}")
    if options.json:
        write_json(options.json, report)


if __name__ == "__main__":
    main()
