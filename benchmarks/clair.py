"""CLAIR (a reconstruction) on every pair of domains of a labelled folder: ablations, unseen classes, text maps.

    python benchmarks/clair.py pairs PACS_ROOT --rows clair,ucdir --seeds 0,1,2 --json clair.json
    python benchmarks/clair.py pairs PACS_ROOT --rows clair-one,no-spread,no-weights,oracle,kmeans --seeds 0
    python benchmarks/clair.py zero-shot PACS_ROOT --unseen 2 --splits 7 --rows frozen,centred,clair
    python benchmarks/clair.py maps PACS_ROOT

The class names are the folder's own. No row but ``oracle`` learns from a label; labels measure. Unseen splits are
a seeded choice out of all combinations of classes. With ``--keep FOLDER`` every fit leaves its figures there and
a later call takes them; empty the folder when the code has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import DomainMap, Joint
from crosslens.evaluation.significance import paired_randomisation
from crosslens.methods import METHODS, method_class
from crosslens.methods.base import FitJob
from crosslens.methods.text_map import MapConfig, domain_maps, domain_texts, label_images
from crosslens.support.progress import set_quiet
from crosslens.training.run import Run

ONE = {"members": 1}
# Ablations train one head each, so they are held against clair-one.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "frozen": ("frozen", {}),
    "centred": ("centred", {}),
    "ucdir": ("ucdir", {}),
    "clair": ("clair", {}),
    "clair-one": ("clair", {"settings": ONE}),
    "no-spread": ("clair", {"settings": {**ONE, "spread": False}}),
    "no-handover": ("clair", {"settings": {**ONE, "rounds": 0}}),
    "no-calibration": ("clair", {"settings": {**ONE, "calibration": "none", "spread": False}}),
    "filter-0.7": ("clair", {"settings": {**ONE, "keep": 0.7}}),
    "no-weights": ("clair", {"settings": {**ONE, "weighted": False}}),
    "no-instance": ("clair", {"settings": {**ONE, "instance_weight": 0}}),
    "no-cluster": ("clair", {"settings": {**ONE, "cluster_weight": 0}}),
    "no-domain": ("clair", {"settings": {**ONE, "domain_weight": 0}}),
    "no-consistency": ("clair", {"settings": {**ONE, "consistency_weight": 0}}),
    "plain": ("clair", {"settings": {**ONE, "plain_weight": 1}}),
    "domain-instance": ("clair", {"settings": {**ONE, "level": "instance"}}),
    "relabel": ("clair", {"settings": {**ONE, "relabel": True}}),
    "head-alone": ("clair", {"settings": {**ONE, "whitened_share": 0}}),
    "whitened-alone": ("clair", {"settings": {**ONE, "epochs": 1, "whitened_share": 1.0}}),
    "no-power": ("clair", {"settings": {**ONE, "whitened_power": 1.0}}),
    "clair-heads": ("clair", {"settings": {"whitened_share": 0}}),
    "no-map": ("clair", {"settings": {**ONE, "map": "none"}}),
    "full-map": ("clair", {"settings": {**ONE, "map_share": 1.0}}),
    "text-contexts": ("clair", {"settings": {**ONE, "text_tokens": 4}}),
    "batch": ("clair", {"settings": {**ONE, "candidates": "batch"}}),
    "prototype-momentum": ("clair", {"settings": {**ONE, "prototype_momentum": 0.9}}),
    "separation": ("clair", {"settings": {**ONE, "separation_weight": 1.0}}),
    "episodes": ("clair", {"settings": {**ONE, "novel_share": 0.1}}),
    "oracle-noise-0.2": ("clair", {"settings": {**ONE, "label_noise": 0.2}, "oracle": True}),
    "oracle-noise-0.4": ("clair", {"settings": {**ONE, "label_noise": 0.4}, "oracle": True}),
    "first-proposal": ("clair", {"recipe": "clair-spec"}),
    "oracle": ("clair", {"settings": ONE, "oracle": True}),
    "kmeans": ("clair", {"settings": {**ONE, "labels_from": "kmeans"}}),
}
NAMED = {name for name in METHODS if "names" in method_class(name).learns_from}
UNSEEDED = {"frozen", "centred"}


@dataclass(frozen=True)
class Measured:
    """One fit's figures: AP of every query by direction, seconds, and how right its pseudo-labels were."""

    precisions: list[np.ndarray]
    seconds: float
    label_accuracy: dict[str, Any]

    @property
    def values(self) -> list[float]:
        """mAP@all of both directions."""
        return [float(part.mean()) for part in self.precisions]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pairs", "zero-shot", "maps"))
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--rows", default="clair", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--unseen", type=int, default=2, help="unseen classes of a split")
    parser.add_argument("--splits", type=int, default=7, help="how many splits, drawn with seed 0")
    parser.add_argument("--pairs", help="domain pairs as a-b,c-d; all by default")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path, help="a feature folder with at least 3 views")
    parser.add_argument("--set", action="append", default=[], help="a setting for every clair row, key=value")
    parser.add_argument("--kinds", default="ridge,orthogonal", help="of text maps")
    parser.add_argument("--sides", default="query,gallery,both", help="of text maps")
    parser.add_argument("--against", default="clair-one", help="pairs: the row that later rows are tested against")
    parser.add_argument("--keep", type=Path, help="a folder for the figures of every fit; resumes from it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    set_quiet(True)
    catalog = open_catalog(options.root)
    pairs = list(combinations(catalog.domains, 2))
    if options.pairs:
        pairs = [tuple(pair.split("-")) for pair in options.pairs.split(",")]
    run = {"pairs": run_pairs, "zero-shot": run_zero_shot, "maps": run_maps}[options.what]
    results = run(catalog, pairs, options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def run_pairs(catalog: Any, pairs: list[tuple[str, str]], options: Any) -> dict[str, Any]:
    results: dict[str, Any] = {}
    queries: dict[str, np.ndarray] = {}
    for row in options.rows.split(","):
        measured, accuracies, precisions = [], [], []
        for seed in seeds_of(row, options):
            fits = []
            for pair in pairs:
                fits.append(fit_and_measure(row, catalog, pair, seed, options))
                values, spent = np.round(fits[-1].values, 4), fits[-1].seconds
                print(f"    {row} seed {seed} {'-'.join(pair)} {values} {spent:.0f} s", flush=True)
            measured.append(([v for fit in fits for v in fit.values], [fit.seconds for fit in fits]))
            accuracies += [fit.label_accuracy for fit in fits]
            precisions.append(np.concatenate([part for fit in fits for part in fit.precisions]))
        results[row] = summary(measured, pairs)
        queries[row] = np.mean(precisions, axis=0)
        shares = [part["all"] for found in accuracies for part in found.values()]
        if shares:
            results[row]["label_accuracy"] = float(np.mean(shares))
            results[row]["label_accuracy_by_pair"] = accuracies
        show(row, results[row])
        if shares:
            print(f"    pseudo-labels right: {np.mean(shares):.3f}", flush=True)
        if options.against in queries and row != options.against:
            directions = [np.array(list(results[r]["directions"].values())) for r in (row, options.against)]
            tested = against(*directions, queries[row], queries[options.against])
            results[row][f"against {options.against}"] = tested
            print(f"    against {options.against}: {tested}", flush=True)
    return results


def run_zero_shot(catalog: Any, pairs: list[tuple[str, str]], options: Any) -> dict[str, Any]:
    every = list(combinations(catalog.classes, options.unseen))
    chosen = sorted(np.random.default_rng(0).permutation(len(every))[: options.splits].tolist())
    rows = options.rows.split(",")
    results: dict[str, Any] = {"splits": [list(every[index]) for index in chosen], "rows": {}}
    queries: dict[str, list[np.ndarray]] = {row: [] for row in rows}
    means: dict[str, list[float]] = {row: [] for row in rows}
    by_seed: dict[str, list[list[float]]] = {row: [] for row in rows}
    for index in chosen:
        for row in rows:
            values, precisions = [], []
            for seed in seeds_of(row, options):
                fits = [fit_and_measure(row, catalog, pair, seed, options, every[index]) for pair in pairs]
                values.append(float(np.mean([v for fit in fits for v in fit.values])))
                precisions.append(np.concatenate([part for fit in fits for part in fit.precisions]))
            by_seed[row].append(values)
            means[row].append(float(np.mean(values)))
            queries[row].append(np.mean(precisions, axis=0))
        print("  ".join([", ".join(every[index])] + [f"{row} {means[row][-1]:.4f}" for row in rows]), flush=True)
    for row in rows:
        value: dict[str, Any] = {
            "map@all": float(np.mean(means[row])),
            "splits": means[row],
            "seeds": np.mean(by_seed[row], axis=0).tolist(),
        }
        print(f"{row:16} unseen mAP@all {value['map@all']:.4f}  seeds {np.round(value['seeds'], 4)}", flush=True)
        for base in [base for base in ("frozen", "centred") if base in rows and row not in UNSEEDED]:
            own, other = np.concatenate(queries[row]), np.concatenate(queries[base])
            value[f"against {base}"] = against(np.array(means[row]), np.array(means[base]), own, other)
            print(f"    against {base}: {value[f'against {base}']}", flush=True)
        results["rows"][row] = value
    return results


def against(own: np.ndarray, other: np.ndarray, precisions: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Two rows compared, paired: over their means (directions or splits) and over all queries."""
    return {
        "difference": float(np.mean(own - other)),
        "better": f"{int(np.sum(own > other))} of {len(own)}",
        "p_over_means": paired_randomisation(own, other).p_value,
        "p_over_queries": paired_randomisation(precisions, others).p_value,
    }


def run_maps(catalog: Any, pairs: list[tuple[str, str]], options: Any) -> dict[str, Any]:
    """The text map alone, behind the untrained joint space: every kind, side and share, the chosen one marked."""
    backbone = crosslens.load_backbone(options.backbone)
    results: dict[str, Any] = {}
    for pair in pairs:
        part = catalog.select(domains=pair)
        classes = tuple(part.classes)
        job = FitJob(part.hide_labels(), pair, backbone, Run(Path()), features=options.features, classes=classes)
        by_domain = job.features_by_domain()
        features = [by_domain[domain] for domain in pair]
        texts = domain_texts(job, MapConfig())
        labels = label_images(job, features, texts)
        row: dict[str, Any] = {}
        for kind, side in product(options.kinds.split(","), options.sides.split(",")):
            encoder = Encoder(backbone, [Joint(backbone)])
            config = MapConfig(map=kind, map_side=side)
            chosen = domain_maps(encoder, job, config, features, labels, texts)
            whole = config.model_copy(update={"map_share": 1.0})
            full = domain_maps(encoder, job, whole, features, [], texts)
            facts = encoder.trained["map"]
            row["identity"] = row.get("identity") or ranked(encoder, part, pair, {}, options)
            row[f"{kind} {side}"] = {
                "chosen": ranked(encoder, part, pair, chosen, options) if chosen else row["identity"],
                "full": ranked(encoder, part, pair, full, options),
                "is_identity": not chosen,
                "leave_one_out": facts["domains"],
                "seconds": facts["seconds"],
            }
            gains = [np.subtract(row[f"{kind} {side}"][key], row["identity"]) for key in ("chosen", "full")]
            print(
                f"{pair[0]}-{pair[1]:14} {kind:10} {side:8} identity {np.round(row['identity'], 4)}"
                f"  chosen {'identity' if not chosen else np.round(gains[0], 4)}  full {np.round(gains[1], 4)}",
                flush=True,
            )
        results["-".join(pair)] = row
    return results


def ranked(
    encoder: Encoder, catalog: Any, pair: tuple[str, str], maps: dict[str, Any], options: Any
) -> list[float]:
    mapped = encoder.with_part(DomainMap(maps))
    found = crosslens.evaluate(mapped, catalog, domains=pair, features=options.features)
    return [direction.metrics["map@all"] for direction in found.directions]


def fit_and_measure(
    row: str,
    catalog: Any,
    pair: tuple[str, str],
    seed: int,
    options: Any,
    unseen: tuple[str, ...] | None = None,
) -> Measured:
    from crosslens.cli.options import parse_settings

    method, extra = ROWS[row]
    if method in NAMED:
        settings = extra.get("settings", {}) | parse_settings(options.set)
        extra = extra | {"classes": catalog.classes, "settings": settings}
    facts = {"method": method, **extra, "pair": pair, "seed": seed, "unseen": unseen, "backbone": options.backbone}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode()).hexdigest()[:16]
    file = options.keep / f"{row}-{name}.json" if options.keep else None
    if file and file.is_file():
        known = json.loads(file.read_text())
        return Measured([np.array(part) for part in known["ap"]], known["seconds"], known["label_accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = crosslens.fit(
            method,
            catalog,
            out=Path(folder) / "run",
            domains=pair,
            backbone=options.backbone,
            features=options.features,
            seed=seed,
            unseen=unseen,
            **extra,
        )
        seconds = time.perf_counter() - started
        protocol = "zero-shot" if unseen else "pairs"
        result = crosslens.evaluate(run.folder, catalog, protocol=protocol, features=options.features)
    found = Measured(
        [direction.per_query["map@all"] for direction in result.directions],
        seconds,
        result.extra.get("pseudo_labels", {}),
    )
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        rounded = [np.round(part, 6).tolist() for part in found.precisions]
        file.write_text(
            json.dumps({"ap": rounded, "seconds": seconds, "label_accuracy": found.label_accuracy, "facts": facts})
        )
    return found


def seeds_of(row: str, options: Any) -> list[int]:
    seeds = [int(part) for part in options.seeds.split(",")]
    return seeds[:1] if row in UNSEEDED else seeds


def summary(measured: list[Any], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    values = np.array([run[0] for run in measured])
    names = [f"{a}->{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    value: dict[str, Any] = {
        "map@all": float(values.mean()),
        "seeds": values.mean(1).tolist(),
        "directions": dict(zip(names, values.mean(0).tolist(), strict=True)),
        "direction_std": dict(zip(names, values.std(0).tolist(), strict=True)),
        "fit_seconds": float(np.median([second for run in measured for second in run[1]])),
    }
    return value


def show(row: str, value: dict[str, Any]) -> None:
    seeds = ", ".join(f"{seed:.3f}" for seed in value["seeds"])
    print(f"{row:20} mAP@all {value['map@all']:.4f}  seeds {seeds}  fit {value['fit_seconds']:.1f} s")
    print("    " + "  ".join(f"{name} {mean:.3f}" for name, mean in value["directions"].items()), flush=True)


if __name__ == "__main__":
    main()
