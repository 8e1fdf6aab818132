"""What was found for a few queries where no image has a label: nothing is marked right or wrong."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from crosslens.report.grids import Example, Grid, Hit, Picture, Strip
from crosslens.report.maps import Embeddings
from crosslens.report.thumbnails import Thumbnails


def draw_unmarked(
    embeddings: Embeddings, thumbnails: Thumbnails, *, queries: int, depth: int, pictures: int
) -> list[Grid]:
    """Grids of every two domains, both ways, with what each encoder found.

    Queries lie evenly in the order of the images.

    Args:
        embeddings: of the encoders that are shown, in their order.
        thumbnails: of the images.
        queries: of each direction; fewer where ``pictures`` demands it.
        depth: retrieved images of each.
        pictures: of all grids together. When one query of each direction is too much, the last ones have no grid.
    """
    domains = np.array(embeddings.domains)
    routes = list(permutations(dict.fromkeys(embeddings.domains), 2))
    a_query = 1 + depth * len(embeddings.vectors)
    if not routes or not queries:
        return []
    queries = min(queries, max(1, pictures // (a_query * len(routes))))
    grids = []
    for asking, answering in routes[: pictures // (a_query * queries)]:
        rows, items = np.flatnonzero(domains == asking), np.flatnonzero(domains == answering)
        chosen = rows[
            ((np.arange(min(queries, len(rows))) + 0.5) / min(queries, len(rows)) * len(rows)).astype(int)
        ]
        examples = tuple(_example(embeddings, int(row), items, depth, thumbnails) for row in chosen)
        grids.append(Grid(f"{asking} → {answering}", examples))
    return grids


def _example(embeddings: Embeddings, row: int, items: np.ndarray, depth: int, thumbnails: Thumbnails) -> Example:
    strips = []
    for name, vectors in embeddings.vectors.items():
        scores = np.asarray(vectors)[items] @ np.asarray(vectors)[row]
        best = np.argsort(-scores, kind="stable")[:depth]
        hits = tuple(
            Hit(_picture(embeddings.ids[items[place]], thumbnails), float(scores[place]), None) for place in best
        )
        strips.append(Strip(name, float("nan"), hits))
    # Nothing but its name tells one such query from the others.
    return Example(_picture(embeddings.ids[row], thumbnails), embeddings.ids[row], tuple(strips))


def _picture(image: str, thumbnails: Thumbnails) -> Picture:
    return Picture(image, "", thumbnails.uri(image))
