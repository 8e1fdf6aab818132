"""The goals of a search, `thing` and `kind`, measured: corrections for hubs, and re-rankers, without a label.

    python benchmarks/goal.py --pacs PACS --photosketch PHOTOSKETCH --grocery GROCERY --json goal.json

Every ordered pair of domains is a direction; the figures are means over the directions, and in brackets how many
of them gained. ``r1`` is the share of queries whose first hit is right, ``mrr`` the reciprocal rank of the first
right one. ``emoji`` asks for the same concept, of which a gallery holds one; ``grocery`` for the same product; the
others for the same class, as ``emoji-kind`` does with Unicode's subgroups.

A correction learns from a bank of unlabelled queries. Where one thing has one counterpart (emoji, grocery),
concepts are cut into two halves: the queries of one are the bank, those of the other are measured among the items
of their own half, so the bank's own counterparts are not in the gallery; both ways. Else half of the query
domain's images are the bank, and the other half ask. ``gallery`` in a row's name: the gallery itself is the bank,
as in an index of one domain without queries.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.data.catalog import Catalog
from crosslens.datasets.emoji import concept_of, emoji_catalog
from crosslens.encoder import Encoder
from crosslens.encoder.untrained import centred_encoder
from crosslens.evaluation.metrics import average_precision
from crosslens.features.load import Features, features_of
from crosslens.ops.hubs import MOST_ITEMS, MOST_QUERIES, bank_potentials, csls_numbers, softmax_numbers
from crosslens.search.rerank import Rerank
from crosslens.search.rerank.base import RERANK_TOP
from crosslens.search.rerank.graph import neighbour_graph
from rerank import ranked, show, summary

TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.1)
RERANKED: tuple[Rerank, ...] = ("aqe", "dba", "k-reciprocal", "diffusion")
METRICS = ("r1", "mrr", "map")
WORLDS = ("emoji", "emoji-kind", "grocery", "pacs", "photosketch")
ONE_TO_ONE = ("emoji", "grocery")


class Trial(NamedTuple):
    """What is asked, of what, with labels ``(Q,)`` and ``(G,)``, and a bank; all vectors are unit rows."""

    queries: np.ndarray
    gallery: np.ndarray
    asked: np.ndarray
    held: np.ndarray
    bank: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pacs", "photosketch", "grocery"):
        parser.add_argument(f"--{name}", type=Path, help=f"{name} as root/<domain>/<class>/*")
    parser.add_argument("--features", type=Path, help="a folder of feature folders, NAME each; else the cache")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--encoders", default="frozen,centred")
    parser.add_argument("--run", action="append", default=[], help="WORLD=RUN: a trained encoder of a world")
    parser.add_argument("--queries", type=int, default=400, help="of each direction that are re-ranked")
    parser.add_argument("--temperatures", default=",".join(map(str, TEMPERATURES)))
    parser.add_argument("--no-rerank", action="store_true", help="corrections alone")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for world in options.worlds.split(","):
        catalog = catalog_of(world, options)
        if catalog is None:
            continue
        encoders = [
            *options.encoders.split(","),
            *(v for k, _, v in (r.partition("=") for r in options.run) if k == world),
        ]
        for kind in encoders:
            found = measure(world, catalog, kind, options)
            results[f"{world} {Path(kind).name}"] = found
            show(f"{world} {Path(kind).name}", found)
            options.json.write_text(json.dumps(results, indent=1))


def catalog_of(world: str, options: argparse.Namespace) -> Catalog | None:
    if world.startswith("emoji"):
        return emoji_catalog("subgroup", ("line", "flat"))
    root = getattr(options, world)
    return None if root is None else open_catalog(root)


def encoder_of(kind: str, features: Features) -> Encoder:
    backbone = crosslens.load_backbone("lite")
    if kind == "frozen":
        return Encoder(backbone)
    if kind == "centred":
        domains = features.catalog.domains
        return centred_encoder(backbone, {name: features.of_domain(name).centre for name in domains})
    return crosslens.load_encoder(kind)


def measure(world: str, catalog: Catalog, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    folder = None if options.features is None else options.features / world.removesuffix("-kind")
    features = features_of(
        catalog, crosslens.load_backbone("lite"), folder=folder if folder and folder.is_dir() else None
    )
    encoder = encoder_of(kind, features)
    vectors = {name: encoder.encode_features(features.of_domain(name).centre, name) for name in catalog.domains}
    rows: dict[str, list[dict[str, float]]] = {}
    for asking, answering in permutations(catalog.domains, 2):
        direction: dict[str, list[dict[str, float]]] = {}
        for trial in trials(world, features, vectors, asking, answering):
            for row, values in measured_rows(trial, options):
                direction.setdefault(row, []).append(values)
        for row, parts in direction.items():
            rows.setdefault(row, []).append({m: float(np.mean([part[m] for part in parts])) for m in METRICS})
    return summary(rows, lambda row: "plain, few queries" if row in RERANKED else "plain")


def trials(
    world: str, features: Features, vectors: dict[str, np.ndarray], asking: str, answering: str
) -> Iterator[Trial]:
    sides = [features.of_domain(name).catalog for name in (asking, answering)]
    if world == "emoji":
        labels = [np.array([concept_of(image) for image in side.ids]) for side in sides]
    else:
        labels = [np.array(side.labels) for side in sides]
    names = np.random.default_rng(0).permutation(np.unique(np.concatenate(labels)))
    if world in ONE_TO_ONE:
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            own = [np.isin(side, half) for side in labels]
            yield Trial(
                vectors[asking][own[0]],
                vectors[answering][own[1]],
                labels[0][own[0]],
                labels[1][own[1]],
                vectors[asking][~own[0]],
            )
        return
    drawn = np.random.default_rng(0).random(len(labels[0])) < 0.5
    for own in (drawn, ~drawn):
        yield Trial(vectors[asking][own], vectors[answering], labels[0][own], labels[1], vectors[asking][~own])


def measured_rows(trial: Trial, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    scores = trial.queries @ trial.gallery.T
    yield "plain", judged(trial, scores)
    for where, bank in banks(trial):
        yield f"csls{where}", judged(trial, scores - csls_numbers(bank))
        for temperature in map(float, options.temperatures.split(",")):
            yield (
                f"inverted softmax{where} {temperature:g}",
                judged(trial, scores - softmax_numbers(bank, temperature)),
            )
            learned = bank[:, np.sort(np.random.default_rng(2).permutation(bank.shape[1])[:MOST_ITEMS])]
            numbers = softmax_numbers(bank, temperature, bank_potentials(learned, temperature))
            yield f"sinkhorn{where} {temperature:g}", judged(trial, scores - numbers)
    if options.no_rerank:
        return
    graph = neighbour_graph(trial.gallery)
    drawn = np.sort(np.random.default_rng(1).permutation(len(scores))[: options.queries])
    few = trial._replace(queries=trial.queries[drawn], asked=trial.asked[drawn])
    yield "plain, few queries", judged(few, scores[drawn])
    for name in RERANKED:
        orders = ranked(few.queries, few.gallery, graph, name, RERANK_TOP)
        yield name, judged_orders(few, np.stack(list(orders)))


def banks(trial: Trial) -> Iterator[tuple[str, np.ndarray]]:
    """Scores ``(R, G)`` of the bank, and of the gallery's own items in its place, each less itself."""
    rng = np.random.default_rng(3)
    yield "", trial.bank[np.sort(rng.permutation(len(trial.bank))[:MOST_QUERIES])] @ trial.gallery.T
    drawn = np.sort(rng.permutation(len(trial.gallery))[:MOST_QUERIES])
    own = trial.gallery[drawn] @ trial.gallery.T
    own[np.arange(len(drawn)), drawn] = -1
    yield " gallery", own


def judged(trial: Trial, scores: np.ndarray) -> dict[str, float]:
    return judged_orders(trial, np.argsort(-scores, axis=1, kind="stable"))


def judged_orders(trial: Trial, orders: np.ndarray) -> dict[str, float]:
    relevance = trial.asked[:, None] == trial.held[orders]
    count = relevance.sum(1)
    counts = count > 0
    first = relevance[counts].argmax(1)
    return {
        "r1": float((first == 0).mean()),
        "mrr": float((1 / (first + 1)).mean()),
        "map": float(np.nanmean(average_precision(relevance[counts], count[counts]))),
    }


if __name__ == "__main__":
    main()
