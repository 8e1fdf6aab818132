"""ProtoOT term by term, on pairs of domains of labelled folders.

    python benchmarks/protoot.py PACS:photo:sketch PACS:art_painting:cartoon PHOTOSKETCH:photo:sketch --runs RUNS

One head, seed 0, last epoch; mAP@all over both directions. Every row is tested against the whole method, query by
query. Labels measure, and no row learns from them. A run that is there is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest.mock import patch

import crosslens
from crosslens.api import open_catalog
from crosslens.methods import protoot
from crosslens.ops.sinkhorn import transport_codes
from crosslens.support.progress import set_quiet
from crosslens.training.run import Run

MUCH = 1e5
"""AdamW does not feel the scale of a loss, so a term of weight 1 beside such weights is none."""
ROWS: dict[str, dict[str, Any]] = {
    "ProtoOT": {},
    "no other view": {"neighbour_weight": 0.5 * MUCH, "prototype_weight": 0.1 * MUCH, "cross_weight": 0.3 * MUCH},
    "no neighbour": {"neighbour_weight": 0},
    "no own prototype": {"prototype_weight": 0},
    "other view alone": {"neighbour_weight": 0, "prototype_weight": 0, "cross_weight": 0},
    "nothing across domains": {"cross_weight": 0},
    "uniform shares": {},
    "no momentum": {"ema": 0},
    "momentum 0.999": {"ema": 0.999},
    "three heads": {"members": 3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", help="ROOT:A:B, of folders ROOT/<domain>/<class>/*")
    parser.add_argument("--rows", default=",".join(ROWS), help="the first is what the others are tested against")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path, help="a folder that holds a feature folder for each ROOT's name")
    parser.add_argument("--runs", type=Path, required=True, help="a folder for the runs")
    options = parser.parse_args()
    set_quiet(True)
    for pair in options.pairs:
        root, *domains = pair.rsplit(":", 2)
        name, catalog = Path(root).name, open_catalog(root)
        features = options.features / name if options.features else None
        rows = options.rows.split(",")
        runs = [options.runs / "-".join((name, *domains, row.replace(" ", "-"))) for row in rows]
        for row, folder in zip(rows, runs, strict=True):
            if folder.is_dir() and Run(folder).is_finished:
                continue
            codes = uniform_codes if row == "uniform shares" else transport_codes
            with patch.object(protoot, "transport_codes", codes):
                crosslens.fit(
                    "protoot",
                    catalog,
                    out=folder,
                    domains=domains,
                    backbone=options.backbone,
                    features=features,
                    set={"members": 1} | ROWS[row],
                    resume=True,
                )
        print(crosslens.compare(runs, catalog, domains=domains, features=features).to_markdown(), flush=True)


def uniform_codes(scores: Any, shares: Any, temperature: float, rounds: int) -> Any:
    return transport_codes(scores, shares.new_full(shares.shape, 1 / len(shares)), temperature, rounds)


if __name__ == "__main__":
    main()
