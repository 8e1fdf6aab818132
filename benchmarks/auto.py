"""What ``fit auto`` takes, without and with class names, beside every method that it takes or leaves.

    python benchmarks/auto.py PACS_ROOT --json auto.json                                # every pair, all pictures
    python benchmarks/auto.py PACS_ROOT --classes 5 --pictures 25 --draws 0,1 --json auto.json
    python benchmarks/auto.py PACS_ROOT --scenario partial --pictures 25 --draws 2024,2025 --json auto.json
    python benchmarks/auto.py emoji --json auto.json

mAP@all, the mean of both directions, of one fit a pair and draw; for ``emoji``, the built-in pictures, by
subgroup, and beside it the share of queries whose very concept comes first. A partial scenario is measured as such
and, with the sides exchanged, as open-set. Labels draw the pictures and score the result; no fit sees one. Whether
the check without labels was right is told for every encoder that was trained. The JSON file is written after every
pair, and what is in it is not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.api.demo import demo_catalog
from crosslens.api.summary import judge_run
from crosslens.data.catalog import Catalog
from crosslens.datasets.emoji import emoji_catalog
from crosslens.evaluation.scenarios import Scenario
from crosslens.training.run import Run

ROWS = ("frozen", "centred", "ucdir", "uem", "clair")
NAMED = ("clair",)
NOISE = 0.005
"""mAP from which one fit counts as better than another."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="a folder root/<domain>/<class>/*, or emoji")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--pairs", help="only these pairs of domains: a:b,c:d")
    parser.add_argument(
        "--classes", type=int, help="classes to draw of those that both domains have; all by default"
    )
    parser.add_argument("--pictures", type=int, help="pictures of a class and domain at most")
    parser.add_argument("--draws", default="0", help="seeds of the draw of classes and pictures")
    parser.add_argument("--scenario", choices=("close-set", "partial"), default="close-set")
    parser.add_argument("--goal", choices=("thing", "kind"))
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--features", type=Path, help="a feature folder with at least 3 views")
    parser.add_argument("--runs", type=Path, help="keep the runs here, and go on with those that are there")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    done: dict[str, Any] = json.loads(options.json.read_text()) if options.json.is_file() else {}
    catalog = demo_catalog() if options.root == "emoji" else open_catalog(options.root)
    pairs = list(combinations(catalog.domains, 2))
    if options.pairs:
        pairs = [(a, b) for a, _, b in (pair.partition(":") for pair in options.pairs.split(","))]
    for draw in map(int, options.draws.split(",")):
        for pair in pairs:
            which = f"{options.scenario} {options.classes}x{options.pictures} {draw} {options.goal}"
            key = f"{Path(options.root).name} {which} {pair[0]}:{pair[1]}"
            if key not in done:
                with tempfile.TemporaryDirectory() as folder:
                    place = (options.runs or Path(folder)) / key.replace(" ", "+").replace(":", "+")
                    done[key] = measure(catalog, pair, draw, place, options)
                options.json.write_text(json.dumps(done, indent=1))
            show(key, done[key])


def drawn(
    catalog: Catalog, pair: tuple[str, str], classes: int | None, pictures: int | None, draw: int
) -> Catalog:
    """At most so many pictures of each class and domain, of classes that both domains have."""
    rng = np.random.default_rng(draw)
    labels, domains = np.array(catalog.labels), np.array(catalog.column("domain"))
    shared = sorted(set.intersection(*(set(labels[domains == domain]) for domain in pair)))
    shared = sorted(rng.permutation(shared)[:classes].tolist()) if classes else shared
    rows: list[int] = []
    for domain in pair:
        for name in shared:
            rows += rng.permutation(np.flatnonzero((labels == name) & (domains == domain)))[:pictures].tolist()
    return catalog.take(sorted(rows))


def measure(catalog: Catalog, pair: tuple[str, str], draw: int, place: Path, options: Any) -> dict[str, Any]:
    images, scenario = drawn(catalog, pair, options.classes, options.pictures, draw), None
    if options.scenario == "partial":
        scenario = Scenario.draw_for(images, "partial", *pair, seed=draw)
        images = scenario.restrict(images, *pair)
    names = tuple(images.classes)
    asked = {"domains": pair, "backbone": options.backbone, "features": options.features, "resume": True}
    found: dict[str, Any] = {"images": len(images)}
    for row, given in (("auto", {}), ("auto, names", {"classes": names})):
        run = crosslens.fit("auto", images, out=place / row, goal=options.goal, **given, **asked)
        took = run.config()["auto"]
        found[row] = scored(run, images, scenario, options)
        found[row] |= {"took": took["method"], "tried": took.get("instead_of")}
    for row in options.rows.split(","):
        given = {"classes": names} if row in NAMED else {}
        run = crosslens.fit(row, images, out=place / row, **given, **asked)
        found[row] = scored(run, images, scenario, options) | judged(run, options)
    return found


def scored(run: Run, images: Catalog, scenario: Scenario | None, options: Any) -> dict[str, float]:
    if scenario is None:
        result = crosslens.evaluate(run.folder, images, features=options.features)
        values = {"map@all": result.metrics["map@all"]}
    else:
        pair = tuple(run.config()["domains"])
        values = {
            one.kind: crosslens.evaluate(
                run.folder, images, protocol=one.kind, scenario=one, domains=domains, features=options.features
            ).metrics["map@all"]
            for one, domains in ((scenario, pair), (scenario.mirrored, pair[::-1]))
        }
        values = {"map@all": float(np.mean(list(values.values()))), **values}
    if options.root == "emoji":
        concepts = emoji_catalog("concept", ("line", "flat")).with_ids(set(images.ids))
        result = crosslens.evaluate(run.folder, concepts, features=options.features, k=(1,))
        values["same concept first"] = result.metrics["p@1"]
    return values


def judged(run: Run, options: Any) -> dict[str, Any]:
    found = judge_run(run, options.features)
    if found is None:
        return {}
    return {"verdict": found.verdict, "agreement": [found.value, found.base, found.error]}


def show(key: str, found: dict[str, Any]) -> None:
    print(f"\n{key}: {found['images']} images")
    base = found["centred"]["map@all"]
    for row, values in found.items():
        if row == "images":
            continue
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in values.items() if isinstance(value, float))
        told = ""
        if "took" in values:
            told = f"  took {values['took']}" + (f" after {values['tried']}" if values["tried"] else "")
        if "verdict" in values:
            gain = values["map@all"] - base
            truth = "alike" if abs(gain) <= NOISE else ("better" if gain > 0 else "worse")
            told = f"  seems {values['verdict']}, is {truth} ({gain:+.3f})"
        print(f"  {row:12} {numbers}{told}", flush=True)


if __name__ == "__main__":
    main()
