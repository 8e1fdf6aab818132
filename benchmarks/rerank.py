"""What each re-ranker gains, on PACS and on the built-in emoji, with its default settings and no label.

    python benchmarks/rerank.py PACS_ROOT --runs runs/ --json out.json

Every ordered pair of domains is a direction; the figures are means over the directions. Queries are a fixed random
draw of each query domain, the same for all rows. ``list`` is the graph of the query's top list alone, as a large
index has it; ``gallery`` the graph of the whole gallery. Beyond the top list the order stays, so that mAP@all is
that of the whole ranking. UCDIR is fitted once a pair, into ``--runs``, or read from there.

The built-in emoji are scored twice on the same rankings: by Unicode subgroup, as many relevant items as a class
has, and by concept, a single one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.data.catalog import Catalog
from crosslens.datasets.emoji import concept_of, emoji_catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.untrained import centred_encoder
from crosslens.evaluation.metrics import average_precision, precision_at
from crosslens.features.load import Features, features_of
from crosslens.search.rerank import RERANKERS, Rerank
from crosslens.search.rerank.base import RERANK_TOP, Candidates, Gallery
from crosslens.search.rerank.graph import Neighbours, neighbour_graph

ENCODERS = ("frozen", "centred", "ucdir")
# Row: which re-ranker, and the graph it has.
ROWS: dict[str, tuple[Rerank | None, str]] = {
    "none": (None, "list"),
    "aqe": ("aqe", "list"),
    "dba list": ("dba", "list"),
    "dba gallery": ("dba", "gallery"),
    "k-reciprocal list": ("k-reciprocal", "list"),
    "k-reciprocal gallery": ("k-reciprocal", "gallery"),
    "diffusion list": ("diffusion", "list"),
    "diffusion gallery": ("diffusion", "gallery"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, help="PACS as root/<domain>/<class>/*; emoji alone without")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the fitted pairs, NAME-A-B each")
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--worlds", default="emoji,pacs")
    parser.add_argument(
        "--rows", default=",".join(ROWS), help="separated by commas, spaces as they are: 'none,aqe'"
    )
    parser.add_argument("--queries", type=int, default=200, help="of each direction")
    parser.add_argument("--top", type=int, default=RERANK_TOP, help="length of the list that is re-ranked")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    worlds: list[tuple[str, Catalog]] = []
    if "emoji" in options.worlds:
        worlds.append(("emoji", emoji_catalog("subgroup", ("line", "color", "flat"))))
    if "pacs" in options.worlds and options.root is not None:
        worlds.append(("pacs", open_catalog(options.root)))
    values: dict[str, Any] = {"options": {k: str(v) for k, v in vars(options).items()}, "results": {}}
    for name, catalog in worlds:
        features = features_of(catalog, crosslens.load_backbone("lite"))
        for kind in options.encoders.split(","):
            found = measure(name, catalog, features, kind, options)
            values["results"] |= found
            options.json.write_text(json.dumps(values, indent=1))
            for key, table in found.items():
                show(key, table)


def encoders(
    name: str, catalog: Catalog, features: Features, kind: str, runs: Path
) -> Callable[[str, str], Encoder]:
    """The encoder of a pair of domains."""
    backbone = crosslens.load_backbone("lite")
    if kind == "frozen":
        return lambda a, b: Encoder(backbone)
    if kind == "centred":
        centred = centred_encoder(backbone, {d: features.of_domain(d).centre for d in catalog.domains})
        return lambda a, b: centred
    made: dict[tuple[str, str], Encoder] = {}
    for a, b in combinations(catalog.domains, 2):
        out = runs / f"{name}-{a}-{b}"
        if not (out / "encoder").is_dir():
            crosslens.fit("ucdir", catalog, domains=[a, b], out=out)
        made[a, b] = made[b, a] = load_encoder(out)
    return lambda a, b: made[a, b]


def measure(
    name: str, catalog: Catalog, features: Features, kind: str, options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Rows of one encoder on one world, by the labels it is scored with."""
    encoder_of = encoders(name, catalog, features, kind, options.runs)
    scored: dict[str, dict[str, list[dict[str, float]]]] = {}
    for asking, answering in permutations(catalog.domains, 2):
        encoder = encoder_of(asking, answering)
        a, b = features.of_domain(asking), features.of_domain(answering)
        rng = np.random.default_rng(options.seed)
        drawn = np.sort(rng.choice(len(a.catalog), min(options.queries, len(a.catalog)), replace=False))
        queries = encoder.encode_features(a.centre[drawn], asking)
        gallery = encoder.encode_features(b.centre, answering)
        graph = neighbour_graph(gallery)
        for row in ("none", *(row for row in options.rows.split(",") if row != "none")):
            method, where = ROWS[row]
            started = time.perf_counter()
            orders = ranked(queries, gallery, graph if where == "gallery" else None, method, options.top)
            order = np.stack(list(orders))
            milliseconds = 1000 * (time.perf_counter() - started) / len(queries)
            for key, labels in judged(name, a, b, drawn):
                relevance = labels[0][:, None] == labels[1][order]
                count = relevance.sum(1)
                measured = {
                    "map@all": average_precision(relevance, count),
                    "map@200": average_precision(relevance[:, :200], count, 200, "min"),
                    "p@10": precision_at(relevance, count, 10),
                }
                entry = {metric: float(np.nanmean(v)) for metric, v in measured.items()} | {"ms": milliseconds}
                scored.setdefault(f"{key} {kind}", {}).setdefault(row, []).append(entry)
    return {key: summary(rows, lambda _: "none") for key, rows in scored.items()}


def ranked(
    queries: np.ndarray, gallery: np.ndarray, graph: Neighbours | None, method: Rerank | None, top: int
) -> Iterator[np.ndarray]:
    """The whole gallery in its new order, for each query."""
    for query in queries:
        scores = gallery @ query
        before = np.argsort(-scores, kind="stable")
        if method is None:
            yield before
            continue
        reranker, head = RERANKERS[method], before[:top]
        if reranker.expands:
            first = before[: reranker.expands]
            expanded = reranker.expand(query, gallery[first], scores[first])
            yield np.argsort(-(gallery @ expanded), kind="stable")
        else:
            whole = None if graph is None else Gallery(head, gallery, graph)
            order = reranker.order(query, Candidates(gallery[head], scores[head], whole))
            yield np.concatenate([head[order], before[top:]])


def judged(
    name: str, a: Features, b: Features, drawn: np.ndarray
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    yield name, (np.array(a.catalog.labels)[drawn], np.array(b.catalog.labels))
    if name == "emoji":
        concepts = [np.array([concept_of(image) for image in side.catalog.ids]) for side in (a, b)]
        yield "emoji-concept", (concepts[0][drawn], concepts[1])


def summary(rows: dict[str, list[dict[str, float]]], base_of: Callable[[str], str]) -> dict[str, Any]:
    """Of each row the means over its directions, and in how many of these it is better than its base."""
    table: dict[str, Any] = {}
    for row, entries in rows.items():
        pairs = list(zip(entries, rows[base_of(row)], strict=True))
        table[row] = {m: float(np.mean([e[m] for e in entries])) for m in entries[0]}
        table[row]["better"] = {m: sum(e[m] > o[m] for e, o in pairs) for m in entries[0] if m != "ms"}
        table[row]["directions"] = len(entries)
    return table


def show(key: str, table: dict[str, Any]) -> None:
    directions = next(iter(table.values()))["directions"]
    print(f"\n{key}: mean over {directions} directions (directions that gained)")
    for row, entry in table.items():
        figures = "  ".join(f"{m} {entry[m]:.4f} ({count:2})" for m, count in entry["better"].items())
        took = f"  {entry['ms']:.1f} ms" if "ms" in entry else ""
        print(f"  {row:28} {figures}{took}", flush=True)


if __name__ == "__main__":
    main()
