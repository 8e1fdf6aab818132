"""How often the domain of a picture is detected, on pictures that made no mean.

    python benchmarks/domain_detection.py PACS_ROOT --json out.json

Half of the images, drawn at random, give the means; the other half is asked. ``all`` is the mean over the domains
of the share that is right, ``pairs`` the same among two domains, a mean over all pairs.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.data.catalog import Catalog
from crosslens.datasets.emoji import emoji_catalog
from crosslens.encoder.untrained import centred_encoder
from crosslens.features.load import Features, features_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, help="PACS as root/<domain>/<class>/*; emoji alone without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    worlds: dict[str, Catalog] = {"emoji": emoji_catalog("subgroup", ("line", "color", "flat"))}
    if options.root is not None:
        worlds["pacs"] = open_catalog(options.root)
    values: dict[str, Any] = {}
    for name, catalog in worlds.items():
        features = features_of(catalog, crosslens.load_backbone("lite"))
        half = np.random.default_rng(options.seed).random(len(features.catalog)) < 0.5
        made, asked = features.where(half), features.where(~half)
        for space in ("features", "joint"):
            whole = shares(made, asked, catalog.domains, space)
            pairs = [
                np.mean(list(shares(made, asked, pair, space).values()))
                for pair in combinations(catalog.domains, 2)
            ]
            values[f"{name} {space}"] = {
                "all": float(np.mean(list(whole.values()))),
                "pairs": float(np.mean(pairs)),
            }
            values[f"{name} {space}"] |= {"domains": whole}
            print(f"{name} {space}", json.dumps(values[f"{name} {space}"]))
    if options.json is not None:
        options.json.write_text(json.dumps(values, indent=1))


def shares(made: Features, asked: Features, domains: Any, space: Any) -> dict[str, float]:
    """The share that is right, of each domain."""
    centres = {domain: made.of_domain(domain).centre for domain in domains}
    encoder = centred_encoder(crosslens.load_backbone("lite"), centres, joint=space == "joint")
    found = {domain: encoder.detect_domains(asked.of_domain(domain).centre) for domain in domains}
    return {domain: float(np.mean([name == domain for name in names])) for domain, names in found.items()}


if __name__ == "__main__":
    main()
