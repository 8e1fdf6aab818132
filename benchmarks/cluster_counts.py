"""How well the number of classes is estimated without labels, on PACS and the built-in pictures.

    python benchmarks/cluster_counts.py PACS_ROOT --json counts.json

Each domain is counted by every method on its frozen features, with all of its classes and with half of them. The
classes of the built-in pictures are Unicode's subgroups of at least --members emoji.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import crosslens
from crosslens.api import open_catalog
from crosslens.datasets.emoji import emoji_catalog
from crosslens.evaluation.scenarios import Scenario
from crosslens.features.load import Features, features_of
from crosslens.ops.cluster_count import METHODS, estimate_clusters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", help="a folder root/<domain>/<class>/*")
    parser.add_argument("--members", type=int, default=20, help="0 leaves the built-in pictures out")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--draws", default="2024,2025,2026")
    parser.add_argument("--dim", type=int, default=64, help="principal components that are clustered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    backbone = crosslens.load_backbone(options.backbone)
    rows: list[dict[str, Any]] = []
    if options.root:
        count(features_of(open_catalog(options.root), backbone, folder=options.features), options, rows)
    if options.members:
        emoji = emoji_catalog("subgroup", ("line", "flat"), min_members=options.members)
        count(features_of(emoji, backbone), options, rows)
    for method in options.methods.split(","):
        ratios = np.array([row[method] / row["true"] for row in rows])
        off = np.exp(np.abs(np.log(ratios)).mean())
        seconds = np.mean([row[f"{method} seconds"] for row in rows])
        print(
            f"{method:14} off by a factor of {off:.2f} (geometric mean), median ratio {np.median(ratios):.2f},"
            f" {seconds:.1f} s"
        )


def count(found: Features, options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    for domain in found.catalog.domains:
        part = found.of_domain(domain)
        labels = np.array([label or "" for label in part.catalog.labels])
        sets = {"all": set(labels)}
        for draw in map(int, options.draws.split(",")):
            sets[f"half {draw}"] = set(Scenario.draw("partial", sorted(set(labels)), seed=draw).shared)
        for name, classes in sets.items():
            kept = np.isin(labels, sorted(classes))
            points = principal(F.normalize(torch.from_numpy(part.centre[kept]), dim=1), options.dim)
            row: dict[str, Any] = {
                "domain": domain,
                "classes": name,
                "true": len(classes),
                "images": int(kept.sum()),
            }
            for method in options.methods.split(","):
                started = time.perf_counter()
                row[method] = estimate_clusters(points, method=method, seed=options.seed)
                row[f"{method} seconds"] = time.perf_counter() - started
            rows.append(row)
            shown = "  ".join(f"{method} {row[method]}" for method in options.methods.split(","))
            print(f"{domain:14} {name:10} true {len(classes):3}  images {row['images']:5}  {shown}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=2))


def principal(points: torch.Tensor, dim: int) -> torch.Tensor:
    """The first principal components: about as many numbers as a head gives, and far cheaper to cluster."""
    centred = points - points.mean(0)
    return centred @ torch.linalg.svd(centred, full_matrices=False)[2][:dim].t()


if __name__ == "__main__":
    main()
