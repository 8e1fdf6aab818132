"""``crosslens match``: right pairs, what a probability is worth, and what it costs at size.

    python benchmarks/match.py emoji                         # line and flat, built in
    python benchmarks/match.py grocery=ROOT:natural:iconic   # ROOT/<domain>/<thing>/*, many photos of a thing
    python benchmarks/match.py --size 20000                  # seconds and memory of the pairing, random rows

Labels say which pairs are right; nothing that is measured sees them. Of a collection with many photos of a thing,
one to one takes one photo of each at random, five times over; ``many`` takes all. ``gone`` is the share of B that
is taken away at random: 1 splits the things in two halves, so that nothing has a partner.
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

GONE = (0.0, 0.3, 1.0)
SHARPNESSES = (4.0, 5.0, 6.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", help="emoji, or NAME=ROOT:A:B")
    parser.add_argument("--features", type=Path, help="a folder that holds a feature folder for each NAME")
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--sweep", action="store_true", help="also with other values of SHARPNESS")
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
    rows = []
    for centred in (False, True):
        for sharpness in SHARPNESSES if options.sweep else (pairing.SHARPNESS,):
            pairing.SHARPNESS = sharpness
            for gone in GONE:
                for many in (False, True) if len(a) > 2 * len(b) else (False,):
                    once = len(a) > 2 * len(b) and not many
                    drawn = [
                        draw(a, a_names, b, b_names, gone, once, seed) for seed in range(5 if len(b) < 500 else 1)
                    ]
                    row = {"world": name, "centred": centred, "sharpness": sharpness, "gone": gone, "many": many}
                    row |= score([pair(*sides, centred, many) for sides in drawn])
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    return rows


def read(world: str, options: argparse.Namespace) -> tuple[str, Any, Any, Any, Any]:
    if world == "emoji":
        from crosslens.datasets.emoji import concept_of, emoji_catalog

        name, first, second, catalog = "emoji", "line", "flat", emoji_catalog("concept")
        things = np.array([concept_of(image) for image in catalog.ids])
    else:
        name, _, place = world.partition("=")
        root, first, second = place.rsplit(":", 2)
        catalog = open_catalog(root)
        things = np.array(catalog.labels)
    folder = options.features / name if options.features else None
    found = features_of(catalog, load_backbone(options.backbone), folder=folder)
    domains = np.array(catalog.column("domain"))
    a, b = domains == first, domains == second
    return name, found.centre[a], things[a], found.centre[b], things[b]


def draw(a: Any, a_names: Any, b: Any, b_names: Any, gone: float, once: bool, seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    if once:
        rows = [rng.choice(np.flatnonzero(a_names == thing)) for thing in np.unique(a_names)]
        a, a_names = a[rows], a_names[rows]
    if gone == 1:
        things = rng.permutation(np.unique(b_names))
        here = things[: len(things) // 2]
        mine, theirs = np.isin(a_names, here), ~np.isin(b_names, here)
        return a[mine], a_names[mine], b[theirs], b_names[theirs]
    kept = rng.random(len(b)) >= gone
    return a, a_names, b[kept], b_names[kept]


def pair(a: Any, a_names: Any, b: Any, b_names: Any, centred: bool, many: bool) -> dict[str, Any]:
    if centred:
        a, b = a - a.mean(0), b - b.mean(0)
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    found = pairing.find_candidates(a, b)
    shares = pairing.share_out(found, pairing.temperature_of(a, b), many=many)
    chosen = (pairing.pair_many_to_one if many else pairing.pair_one_to_one)(found, shares)
    scores = a @ b.T
    nearest = scores.argmax(1)
    mutual = many | (scores.argmax(0)[nearest] == np.arange(len(a)))
    right = a_names == b_names[nearest]
    return {
        "asked": len(a),
        "findable": float(np.isin(a_names, b_names).sum()),
        "p": shares[chosen].clip(0, 1),
        "right": a_names[found.rows[chosen]] == b_names[found.columns[chosen]],
        "nearest": right & mutual,
        "mutual": mutual,
    }


def score(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all draws: recall is of the pictures of A whose partner is there."""
    p, right = (np.concatenate([one[key] for one in draws]) for key in ("p", "right"))
    findable = sum(one["findable"] for one in draws)
    nearest, mutual = (sum(one[key].sum() for one in draws) for key in ("nearest", "mutual"))
    told: dict[str, Any] = {
        "asked": sum(one["asked"] for one in draws),
        "nearest_recall": nearest / max(findable, 1),
        "nearest_precision": nearest / max(mutual, 1),
        "recall": right.sum() / max(findable, 1),
        "precision": right.mean(),
        "mean_p": p.mean(),
        "ece": expected_calibration_error(p, right),
    }
    for cut in (0.5, 0.9):
        above = p >= cut
        told |= {f"n@{cut}": above.sum(), f"precision@{cut}": right[above].mean() if above.any() else None}
        told[f"recall@{cut}"] = right[above].sum() / max(findable, 1)
    edges = np.linspace(0, 1, 6)
    bins = np.clip(np.digitize(p, edges) - 1, 0, 4)
    told["reliability"] = [[p[bins == n].mean(), right[bins == n].mean()] for n in range(5) if (bins == n).any()]
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
    paired = time.perf_counter()
    right = (found.rows[chosen] == found.columns[chosen]).mean()
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(
        f"{size} x {size} of {dim}: candidates {searched - started:.1f} s, plan {shared - searched:.1f} s, pairs"
        f" {paired - shared:.1f} s; {more:.2f} GiB beside the vectors; right {right:.3f}"
    )


if __name__ == "__main__":
    main()
