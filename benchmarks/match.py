"""``crosslens match``: right pairs, what a probability is worth, and what it costs at size.

    python benchmarks/match.py emoji                              # line and flat, built in
    python benchmarks/match.py grocery=ROOT:natural:iconic        # ROOT/<domain>/<thing>/*, many photos of a thing
    python benchmarks/match.py sketch=ROOT:sketch                 # pictures, and a random view of each
    python benchmarks/match.py --kinds pacs=ROOT:photo:sketch     # classes split in two: nothing has a partner
    python benchmarks/match.py --size 20000                       # seconds and memory of the pairing, random rows

Labels say which pairs are right; nothing that is measured sees them. ``partners`` is the share of either side's
things that the other side has too, all others being drawn apart. Of a collection with many photos of a thing, one
to one takes one photo of each at random; ``many`` takes all. Small collections are drawn five times over.
``assumed`` is the probability under the assumption that everything has a partner, the plan's own share; ``told``
is what ``match`` says.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from crosslens.api import open_catalog
from crosslens.api.matching import LEAST
from crosslens.backbones import load_backbone
from crosslens.features.load import features_of
from crosslens.ops import pairing
from crosslens.ops.calibration import expected_calibration_error

PARTNERS = (0.0, 0.1, 0.5, 1.0)
SMALL = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", help="emoji, NAME=ROOT:A:B or NAME=ROOT:A")
    parser.add_argument("--kinds", action="store_true", help="classes are kinds, not things")
    parser.add_argument("--features", type=Path, help="a folder that holds a feature folder for each ROOT's name")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--size", type=int, help="rows of either side to time the pairing on")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for world in options.worlds:
        rows += measure(world, options)
    if options.size:
        time_pairing(options.size)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


def measure(world: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    name, a, a_names, b, b_names = read(world, options)
    photos = not options.kinds and len(a) > 2 * len(b)
    rows = []
    for many in (False, True) if photos else (False,):
        for partners in (0.0,) if options.kinds else PARTNERS:
            seeds = range(5 if options.kinds or len(b) < SMALL else 1)
            drawn = [draw(a, a_names, b, b_names, partners, photos and not many, seed) for seed in seeds]
            row = {"world": name, "many": many, "partners": partners}
            row |= score([pair(*sides, many) for sides in drawn])
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def read(world: str, options: argparse.Namespace) -> tuple[str, Any, Any, Any, Any]:
    if world == "emoji":
        from crosslens.datasets.emoji import concept_of, emoji_catalog

        name, root, domains, catalog = "emoji", "emoji", ["line", "flat"], emoji_catalog("concept")
        things = np.array([concept_of(image) for image in catalog.ids])
    else:
        name, _, place = world.partition("=")
        root, *domains = place.split(":")
        catalog = open_catalog(root)
        things = np.array(catalog.labels)
    folder = options.features / Path(root).name if options.features and world != "emoji" else None
    found = features_of(catalog, load_backbone(options.backbone), folder=folder, views=int(len(domains) == 1))
    a, b = (np.array(catalog.column("domain")) == domain for domain in (domains[0], domains[-1]))
    if len(domains) == 1:
        things = np.array(catalog.ids)
        return name, found.centre[a], things[a], found.values[a, 1], things[a]
    return name, found.centre[a], things[a], found.centre[b], things[b]


def draw(a: Any, a_names: Any, b: Any, b_names: Any, partners: float, once: bool, seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    if once:
        rows = [rng.choice(np.flatnonzero(a_names == thing)) for thing in np.unique(a_names)]
        a, a_names = a[rows], a_names[rows]
    things = rng.permutation(np.union1d(a_names, b_names))
    own = int(len(things) / (2 - partners))
    both = round(partners * own)
    mine = np.isin(a_names, things[:own])
    theirs = np.isin(b_names, np.concatenate([things[:both], things[own : 2 * own - both]]))
    return a[mine], a_names[mine], b[theirs], b_names[theirs]


def pair(a: Any, a_names: Any, b: Any, b_names: Any, many: bool) -> dict[str, Any]:
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    found = pairing.find_candidates(a, b)
    shares = pairing.share_out(found, pairing.temperature_of(a, b), many=many)
    chosen = (pairing.pair_many_to_one if many else pairing.pair_one_to_one)(found, shares)
    scores = a @ b.T
    nearest = scores.argmax(1)
    mutual = many | (scores.argmax(0)[nearest] == np.arange(len(a)))
    assumed = shares[chosen].clip(0, 1)
    return {
        "findable": float(np.isin(a_names, b_names).sum()),
        "assumed": assumed,
        "told": assumed if many else pairing.doubt_shares(found, shares, chosen),
        "right": a_names[found.rows[chosen]] == b_names[found.columns[chosen]],
        "nearest": (a_names == b_names[nearest]) & mutual,
        "mutual": mutual,
    }


def score(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all draws."""
    whole = {key: np.concatenate([np.atleast_1d(one[key]) for one in draws]) for key in draws[0]}
    right = whole["right"]
    told: dict[str, Any] = {
        "findable": whole["findable"].sum(),
        "nearest": [whole["nearest"].sum(), whole["mutual"].sum()],
        "pairs": [right.sum(), len(right)],
    }
    for key in ("assumed", "told"):
        p = whole[key]
        edges = np.clip((p * 5).astype(int), 0, 4)
        told[key] = {
            "mean": p.mean(),
            "ece": expected_calibration_error(p, right),
            "reliability": [
                [p[edges == n].mean(), right[edges == n].mean(), (edges == n).sum()]
                for n in range(5)
                if (edges == n).any()
            ],
        } | {f"right at {cut}": [right[p >= cut].sum(), (p >= cut).sum()] for cut in (0.5, 0.9)}
    plain = json.dumps(told, default=float)
    return json.loads(plain, parse_float=lambda value: round(float(value), 4))


def time_pairing(size: int, dim: int = 512) -> None:
    """Seconds of each step on random unit rows whose partners are noisy copies, and the memory at its highest."""
    assert size >= LEAST
    rng = np.random.default_rng(0)
    a = rng.standard_normal((size, dim), np.float32)
    b = a + 2 * rng.standard_normal((size, dim), np.float32)
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    found = pairing.find_candidates(a, b)
    searched = time.perf_counter()
    shares = pairing.share_out(found, pairing.temperature_of(a, b))
    shared = time.perf_counter()
    chosen = pairing.pair_one_to_one(found, shares)
    pairing.doubt_shares(found, shares, chosen)
    paired = time.perf_counter()
    right = (found.rows[chosen] == found.columns[chosen]).mean()
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(
        f"{size} x {size} of {dim}: candidates {searched - started:.1f} s, plan {shared - searched:.1f} s, pairs"
        f" {paired - shared:.1f} s; {more:.2f} GiB beside the vectors; right {right:.3f}"
    )


if __name__ == "__main__":
    main()
