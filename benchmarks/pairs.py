"""Every method on every pair of domains of a labelled folder: mAP@all over both directions, seeds, fit seconds.

    python benchmarks/pairs.py PACS_ROOT --seeds 0,1,2 --json pairs.json

Rows are fitted without labels unless their name says otherwise: ``supervised`` trains on half of the labelled
images and is measured on the other half; ``ucdir-paper-oracle`` is the authors' DomainNet recipe on a frozen
backbone's head with the true number of classes, at the last epoch and at the one that labels like best.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.training.run import Run

# The authors' schedule and weights; a frozen backbone only brings no pretrained head to start from.
PAPER = {"recipe": "ucdir-domainnet", "tune": "head", "settings": {"pretrained_head": False, "head": [2048, 128]}}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "frozen": ("frozen", {}),
    "centred": ("centred", {}),
    "instance": ("instance", {}),
    "protonce": ("protonce", {}),
    "ucdir": ("ucdir", {}),
    "ucdir-one-head": ("ucdir", {"settings": {"members": 1}}),
    "ucdir-paper": ("ucdir", PAPER),
    "ucdir-paper-oracle": ("ucdir", PAPER | {"oracle": True}),
    "protoot": ("protoot", {}),
    "supervised": ("supervised", {}),
}
UNSEEDED = {"frozen", "centred"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--rows", default="frozen,centred,instance,protonce,ucdir", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--pairs", help="only these pairs of domains: a:b,c:d")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path, help="a feature folder with at least 3 views")
    parser.add_argument("--set", action="append", default=[], help="for every row of ucdir and protoot, key=value")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    catalog = open_catalog(options.root)
    pairs = list(combinations(catalog.domains, 2))
    if options.pairs:
        pairs = [(a, b) for a, _, b in (pair.partition(":") for pair in options.pairs.split(","))]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    results: dict[str, Any] = {}
    for row in options.rows.split(","):
        method, extra = ROWS[row]
        extra = with_settings(extra, options.set) if method in ("ucdir", "protoot") else extra
        measured = [
            measure(method, extra, catalog, pairs, seed, options)
            for seed in (seeds[:1] if row in UNSEEDED else seeds)
        ]
        results[row] = summary(measured, pairs)
        show(row, results[row])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def with_settings(extra: dict[str, Any], pairs: list[str]) -> dict[str, Any]:
    from crosslens.cli.options import parse_settings

    return extra | {"settings": extra.get("settings", {}) | parse_settings(pairs)}


def measure(
    method: str, extra: dict[str, Any], catalog: Any, pairs: list[tuple[str, str]], seed: int, options: Any
) -> Any:
    values, best, seconds = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, pair in enumerate(pairs):
            out = Path(folder) / str(number)
            started = time.perf_counter()
            crosslens.fit(
                method,
                catalog,
                out=out,
                domains=pair,
                backbone=options.backbone,
                features=options.features,
                seed=seed,
                **extra,
            )
            seconds.append(time.perf_counter() - started)
            result = crosslens.evaluate(out, catalog, features=options.features)
            values += [direction.metrics["map@all"] for direction in result.directions]
            oracle = (Run(out).read_metrics() or {}).get("oracle-best")
            best += [d["metrics"]["map@all"] for d in oracle["directions"]] if oracle else []
    return values, best, seconds


def summary(measured: list[Any], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    values = np.array([run[0] for run in measured])
    names = [f"{a}->{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    value: dict[str, Any] = {
        "map@all": float(values.mean()),
        "seeds": values.mean(1).tolist(),
        "directions": dict(zip(names, values.mean(0).tolist(), strict=True)),
        "direction_std": dict(zip(names, values.std(0).tolist(), strict=True)),
        "fit_seconds": float(np.median([second for run in measured for second in run[2]])),
    }
    if measured[0][1]:
        value["map@all oracle-best epoch"] = float(np.mean([run[1] for run in measured]))
    return value


def show(row: str, value: dict[str, Any]) -> None:
    seeds = ", ".join(f"{seed:.3f}" for seed in value["seeds"])
    best = value.get("map@all oracle-best epoch")
    extra = f"  (best epoch by labels {best:.4f})" if best else ""
    print(f"{row:20} mAP@all {value['map@all']:.4f}  seeds {seeds}  fit {value['fit_seconds']:.1f} s{extra}")
    print("    " + "  ".join(f"{name} {mean:.3f}" for name, mean in value["directions"].items()), flush=True)


if __name__ == "__main__":
    main()
