"""Small collections: draws of a few classes and pictures, mAP@all over both directions of every pair.

    python benchmarks/small.py PACS --classes 5 --images 25 --draws 0,1,2 --rows frozen,centred,ucdir,uem
    python benchmarks/small.py PACS --rows ucdir,ucdir:least_steps=1,ucdir:centre=true+ema=0.9

A draw takes classes, and pictures of each class and domain, by its seed alone, out of the classes that have as
many pictures in both domains of the pair. A row is a method, and after a colon its settings, joined by plus signs.
A draw's seed is also the training's. Labels draw the collections and measure; no row learns from them.
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
from crosslens.cli.options import parse_settings
from crosslens.data.catalog import Catalog
from crosslens.support.errors import EvaluationError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--rows", default="frozen,centred,ucdir,uem")
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--images", type=int, default=25, help="of a class and domain")
    parser.add_argument("--draws", default="0,1,2")
    parser.add_argument("--pairs", help="only these pairs of domains: a:b,c:d")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path, help="a feature folder with at least 3 views")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    catalog = open_catalog(options.root)
    pairs = list(combinations(catalog.domains, 2))
    if options.pairs:
        pairs = [(a, b) for a, _, b in (pair.partition(":") for pair in options.pairs.split(","))]
    results: dict[str, Any] = {}
    for row in options.rows.split(","):
        values, seconds = [], []
        for seed in map(int, options.draws.split(",")):
            for pair in pairs:
                small = drawn(catalog, pair, options.classes, options.images, seed)
                started = time.perf_counter()
                values.append(measure(row, small, pair, seed, options))
                seconds.append(time.perf_counter() - started)
        table = np.array(values).reshape(-1, len(pairs), 2)
        results[row] = {
            "map@all": float(table.mean()),
            "draws": table.mean((1, 2)).tolist(),
            "pairs": dict(zip([f"{a}-{b}" for a, b in pairs], table.mean((0, 2)).tolist(), strict=True)),
            "seconds": float(np.median(seconds)),
        }
        show(row, results[row])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def drawn(catalog: Catalog, pair: tuple[str, str], classes: int, images: int, seed: int) -> Catalog:
    """A small collection of two domains.

    Raises:
        EvaluationError: when too few classes have that many images in both.
    """
    both = catalog.select(domains=pair)
    domains, labels = np.array(both.column("domain")), np.array(both.labels)
    rows = {
        name: [np.flatnonzero((domains == domain) & (labels == name)) for domain in pair] for name in both.classes
    }
    large = [name for name, found in rows.items() if min(map(len, found)) >= images]
    if len(large) < classes:
        raise EvaluationError(f"only {len(large)} classes have {images} images in both of {', '.join(pair)}")
    random = np.random.default_rng(seed)
    chosen = [large[i] for i in random.permutation(len(large))[:classes]]
    mask = np.zeros(len(both), dtype=bool)
    for name in chosen:
        for found in rows[name]:
            mask[random.permutation(found)[:images]] = True
    return both.where(mask)


def measure(row: str, catalog: Catalog, pair: tuple[str, str], seed: int, options: Any) -> list[float]:
    """mAP@all of both directions."""
    method, _, settings = row.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        crosslens.fit(
            method,
            catalog,
            out=out,
            domains=pair,
            backbone=options.backbone,
            features=options.features,
            seed=seed,
            set=parse_settings(settings.split("+") if settings else []),
        )
        result = crosslens.evaluate(out, catalog, features=options.features)
    return [direction.metrics["map@all"] for direction in result.directions]


def show(row: str, value: dict[str, Any]) -> None:
    draws = ", ".join(f"{draw:.3f}" for draw in value["draws"])
    print(f"{row}  mAP@all {value['map@all']:.4f}  draws {draws}  {value['seconds']:.1f} s")
    print("    " + "  ".join(f"{name} {mean:.3f}" for name, mean in value["pairs"].items()), flush=True)


if __name__ == "__main__":
    main()
