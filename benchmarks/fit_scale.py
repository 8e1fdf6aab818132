"""Memory and speed of head training by the number of images.

    python benchmarks/fit_scale.py FEATURES --sizes 100000,1000000 --json out.json

Takes the vectors of a feature folder (``crosslens embed --views 1``), repeats them with noise until there are
enough, writes them to a folder of their own as ``embed`` would, in shards of 2,048 images and half of the images a
domain, with a table of the images, and trains on both in a process of its own for ``--steps`` steps: what a step
takes and what is held do not depend on how many follow. The table names pictures that do not exist; no picture is
read. Tells images a second of the training alone, the seconds of a step and before the first one, and the memory
that the process held: at its start, when training began, and at most. A million images take 5 GB of disk for a
while.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

import crosslens
from crosslens.features.store import FeatureConfig, FeatureStore

SHARD = 2048
TABLE = "images.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="a feature folder with a view at least")
    parser.add_argument("--sizes", default="100000,1000000", help="numbers of images")
    parser.add_argument("--method", default="ucdir")
    parser.add_argument("--backbone", default="lite", help="that made the features")
    parser.add_argument("--bank-rows", type=int, default=16_384)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, help="where the folders are written and deleted again")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        measure(args)
        return
    found = []
    for size in map(int, args.sizes.split(",")):
        folder = Path(tempfile.mkdtemp(dir=args.scratch))
        try:
            started = time.perf_counter()
            make_features(args.features, folder / "features", size)
            write_table(folder / TABLE, size)
            print(f"{size} images written in {time.perf_counter() - started:.0f} s", flush=True)
            subprocess.run([sys.executable, *sys.argv, "--one", str(folder)], check=True)
            found.append({"images": size, **json.loads((folder / "measured.json").read_text())})
            args.json.write_text(json.dumps(found, indent=2))
            print(found[-1], flush=True)
        finally:
            shutil.rmtree(folder)


def make_features(source: Path, target: Path, size: int) -> None:
    """Write ``size`` images' vectors, the centre and one view, that are those of ``source`` with noise."""
    store = FeatureStore.open(source)
    known = store.gather(pa.array(sorted(store.ids.to_pylist())), 1)
    rng = np.random.default_rng(0)
    noise = (
        rng.standard_normal((4 * SHARD, *known.shape[1:])) * 0.1 * known[:1000].astype(np.float32).std()
    ).astype(np.float16)
    made = FeatureStore.create(target, store.config.model_copy(update={"views": 1}))
    assert isinstance(made.config, FeatureConfig)
    for number, start in enumerate(range(0, size, SHARD)):
        names = [name(row) for row in range(start, min(start + SHARD, size))]
        first = int(rng.integers(3 * SHARD))
        features = known[rng.integers(len(known), size=len(names))] + noise[first : first + len(names)]
        made.add_shard(names, [f"{one}|missing" for one in names], features, [], number=number)
        if number % 50 == 49:
            print(f"{start + len(names)} of {size} images written", flush=True)


def name(row: int) -> str:
    """Of an image that does not exist."""
    return f"pictures/{row:09d}.jpg"


def write_table(file: Path, size: int) -> None:
    """So many images, the first half of one domain, in the order of their features."""
    schema = pa.schema([("path", pa.string()), ("domain", pa.string())])
    with pa_parquet.ParquetWriter(file, schema) as writer:
        for start in range(0, size, SHARD):
            rows = range(start, min(start + SHARD, size))
            domains = ["painted" if row < size // 2 else "photo" for row in rows]
            writer.write_table(pa.table([list(map(name, rows)), domains], schema=schema))


def measure(args: argparse.Namespace) -> None:
    """Train in this process and write what it took."""
    from crosslens.methods.two_view import TwoViewTraining

    before: dict[str, Any] = {"held_at_the_start_mib": held()}
    run_training = TwoViewTraining.run
    started = time.perf_counter()

    def run(self: Any, member: Any) -> None:
        before["seconds_before_training"] = round(time.perf_counter() - started, 1)
        before["peak_before_training_mib"] = peak()
        before["held_before_training_mib"] = held()
        before["steps"], before["batch"] = self.steps, self.batches.batch_size
        print(f"training begins: {before}", flush=True)
        run_training(self, member)

    TwoViewTraining.run = run  # type: ignore[method-assign]
    settings: dict[str, Any] = {
        "epochs": 1,
        "most_steps": args.steps,
        "batch_size": args.batch_size,
        "bank_rows": args.bank_rows,
        "views": 1,
        "members": 1,
    }
    if args.method == "ucdir":
        settings |= {"clusters": [args.clusters], "cluster_epoch": 0, "align_epoch": 0}
    trained = crosslens.fit(
        args.method,
        args.one / TABLE,
        out=args.one / "run",
        backbone=args.backbone,
        features=args.one / "features",
        set=settings,
        device="cpu",
    )
    seconds = sum(entry["seconds"] for entry in trained.read_log())
    measured = {
        **before,
        "images_a_second": round(before["steps"] * before["batch"] * 2 / seconds),
        "seconds_a_step": round(seconds / before["steps"], 3),
        "whole_seconds": round(time.perf_counter() - started, 1),
        "peak_mib": peak(),
        "held_at_the_end_mib": held(),
        "settings": settings,
    }
    (args.one / "measured.json").write_text(json.dumps(measured))


def peak() -> int:
    """The most memory that this process held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def held() -> int:
    """What it holds now, MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) // 1024


if __name__ == "__main__":
    main()
