"""UEM, its ablations and UCDIR where the two domains do not share their classes.

    python benchmarks/universal.py PACS_ROOT --rows ucdir,uem --scenarios partial,open-set --json out.json

Every ordered pair (X, Y) of domains is fitted once a draw and seed, X with half of the classes and Y with all of
them; that fit is measured as partial (X asks Y) and as open-set (Y asks X). Close-set fits every pair once, with
all classes, and measures both ways. Labels restrict the classes and score the result; no fit sees one.

Rows that differ in stage 2 alone take over one stage-1 training. The JSON file is written after every fit, and
what is in it already is not done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.evaluation.scenarios import Scenario
from crosslens.evaluation.significance import paired_randomisation
from crosslens.methods import method_class
from crosslens.methods.base import FitJob, make_config
from crosslens.training.run import Run

# The published losses and matching, on the schedule of a head.
PAPER = {
    "temperature": 0.07,
    "bank": "ema",
    "align_bank": "ema",
    "instance_weight": 1.0,
    "prototype_start": 0.5,
    "ladder": [],
    "matching": "distance",
    "frame": "translated",
    "merge_quantile": 0.0,
    "keep_stage1": 0.0,
    "exclude_same_prototype": False,
    "align_lr": 1.0,
}
# Row: method, settings, and the row whose stage 1 it shares.
ROWS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "frozen": ("frozen", {}, None),
    "centred": ("centred", {}, None),
    "ucdir": ("ucdir", {}, None),
    "uem": ("uem", {}, None),
    "uem-stage-1": ("uem", {"align_epochs": 0}, "uem"),
    "uem-no-merging": ("uem", {"merge": False}, None),
    "uem-no-sel": ("uem", {"semantic_weight": 0.0}, None),
    "uem-no-spr": ("uem", {"preserve_weight": 0.0}, "uem"),
    "uem-no-sn2m": ("uem", {"match": "neighbour"}, "uem"),
    "uem-no-adversary": ("uem", {"adversarial_weight": 0.0}, "uem"),
    "uem-paper": ("uem", PAPER, None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--rows", default="ucdir,uem,uem-stage-1", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--scenarios", default="partial,open-set", help="of close-set, partial, open-set")
    parser.add_argument("--draws", default="2024,2025,2026", help="seeds of the draw of classes")
    parser.add_argument("--seeds", default="0", help="of training")
    parser.add_argument("--pairs", help="ordered pairs, such as 'photo>sketch,sketch>photo'; all by default")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path, help="a feature folder with at least 3 views")
    parser.add_argument("--set", action="append", default=[], help="a setting for every uem row, key=value")
    parser.add_argument(
        "--members", type=int, help="heads a fit, for every trained row; each method's own by default"
    )
    parser.add_argument("--base", default="ucdir", help="the row that others are tested against")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    done: dict[str, Any] = json.loads(options.json.read_text()) if options.json.is_file() else {}
    catalog = open_catalog(options.root)
    scenarios = options.scenarios.split(",")
    for seed in map(int, options.seeds.split(",")):
        for draw in map(int, options.draws.split(",")):
            if {"partial", "open-set"} & set(scenarios):
                for pair in chosen_pairs(options.pairs, permutations(catalog.domains, 2)):
                    measure_pair(catalog, "partial", pair, draw, seed, options, done)
        if "close-set" in scenarios:
            for pair in chosen_pairs(options.pairs, combinations(catalog.domains, 2)):
                measure_pair(catalog, "close-set", pair, 0, seed, options, done)
    for scenario in scenarios:
        show(scenario, options.rows.split(","), options.base, done)


def chosen_pairs(names: str | None, everything: Any) -> list[tuple[str, str]]:
    pairs = list(everything)
    wanted = {tuple(pair.split(">")) for pair in names.split(",")} if names else set(pairs)
    return [pair for pair in pairs if pair in wanted]


def measure_pair(
    catalog: Any, kind: str, pair: tuple[str, str], draw: int, seed: int, options: Any, done: dict[str, Any]
) -> None:
    scenario = Scenario.draw_for(catalog, kind, *pair, seed=draw)
    images = scenario.restrict(catalog.select(domains=pair), *pair)
    with tempfile.TemporaryDirectory() as folder:
        for row in options.rows.split(","):
            key = f"{row}|{kind}|{draw}|{seed}|{pair[0]}>{pair[1]}"
            if key in done:
                continue
            encoder, seconds = fit_row(row, images, pair, seed, Path(folder), options)
            measured = [evaluated(encoder, catalog, scenario, pair, options)]
            if kind == "partial":
                measured.append(evaluated(encoder, catalog, scenario.mirrored, pair[::-1], options))
            done[key] = {"seconds": seconds, "results": measured}
            options.json.write_text(json.dumps(done, indent=1))
            values = "  ".join(f"{m['scenario']} {np.mean(m['map@all']):.3f}" for m in measured)
            print(f"{key:60} {values}  {seconds:.0f} s", flush=True)


def fit_row(row: str, images: Any, pair: tuple[str, str], seed: int, folder: Path, options: Any) -> Any:
    from crosslens.cli.options import parse_settings

    method, settings, donor = ROWS[row]
    kind = method_class(method)
    if method == "uem":
        settings = parse_settings(options.set) | settings
    if options.members and method in ("ucdir", "uem"):
        settings = settings | {"members": options.members}
    out = folder / row
    (out / "checkpoints").mkdir(parents=True)
    if donor is not None:
        for file in (folder / donor / "checkpoints").glob("*stage-1.pt"):
            shutil.copy(file, out / "checkpoints")
    job = FitJob(
        catalog=images.hide_labels(),
        domains=pair,
        backbone=crosslens.load_backbone(options.backbone),
        run=Run(out),
        seed=seed,
        features=options.features,
    )
    started = time.perf_counter()
    encoder = kind(make_config(kind.Config, settings, method)).fit(job)
    return encoder, time.perf_counter() - started


def evaluated(
    encoder: Any, catalog: Any, scenario: Scenario, pair: tuple[str, str], options: Any
) -> dict[str, Any]:
    result = crosslens.evaluate(
        encoder, catalog, protocol=scenario.kind, scenario=scenario, domains=pair, features=options.features
    )
    return {
        "scenario": scenario.kind,
        "directions": [f"{d.query_domain}>{d.gallery_domain}" for d in result.directions],
        "map@all": [d.metrics["map@all"] for d in result.directions],
        "map@all-voc-class": [d.metrics["map@all-voc-class"] for d in result.directions],
        "p@50": [d.metrics["p@50"] for d in result.directions],
        "no_match": result.extra.get("no_match"),
    }


def show(scenario: str, rows: list[str], base: str, done: dict[str, Any]) -> None:
    print(f"\n{scenario}")
    found = {row: collect(row, scenario, done) for row in rows}
    for row, entries in found.items():
        if not entries:
            continue
        maps = {key: value["map@all"] for key, value in entries.items()}
        line = f"{row:18} fits {len(entries):3}  map@all {mean(maps.values()):.4f}"
        if row != base and found.get(base):
            common = [key for key in maps if key in found[base]]
            if common:
                mine = np.array([np.mean(maps[key]) for key in common])
                theirs = np.array([np.mean(found[base][key]["map@all"]) for key in common])
                test = paired_randomisation(mine, theirs)
                line += f"  against {base} {test.mean_difference:+.4f} (p {test.p_value:.4f}, {len(common)} fits)"
        judged = [value["no_match"] for value in entries.values() if value["no_match"]]
        if judged:
            line += "\n" + "\n".join(no_match_lines(judged))
        print(line, flush=True)


def no_match_lines(judged: list[dict[str, Any]]) -> list[str]:
    lines = []
    for score, row in judged[0]["scores"].items():
        means = {key: np.mean([entry["scores"][score][key] for entry in judged]) for key in row}
        lines.append(f"      {score:26} " + "  ".join(f"{key} {value:.3f}" for key, value in means.items()))
    for rule in judged[0]["rules"]:
        means = [
            np.mean([entry["rules"][rule][key] for entry in judged])
            for key in ("open_set_acc", "false_rejection", "balanced_accuracy")
        ]
        lines.append(
            f"      {rule:26} Acc {means[0]:.3f}  false rejections {means[1]:.3f}  balanced {means[2]:.3f}"
        )
    return lines


def collect(row: str, scenario: str, done: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for key, value in done.items():
        name, *rest = key.split("|")
        if name == row:
            found |= {"|".join(rest): result for result in value["results"] if result["scenario"] == scenario}
    return found


def mean(values: Any) -> float:
    return float(np.mean([np.mean(value) for value in values]))


if __name__ == "__main__":
    main()
