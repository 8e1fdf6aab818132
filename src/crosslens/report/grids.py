"""What was found for a few queries, base and last encoder one under the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.evaluation.results import RetrievalResults
from crosslens.report.tables import Section
from crosslens.report.thumbnails import Thumbnails

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """An image of a grid; ``uri`` is None where it cannot be shown."""

    name: str
    label: str
    uri: str | None


@dataclass(frozen=True)
class Hit:
    """One retrieved image; ``right`` is None when relevance is unknown."""

    picture: Picture
    score: float
    right: bool | None


@dataclass(frozen=True)
class Strip:
    """What one encoder found for a query, best first, and the query's value of the metric (NaN: not counted)."""

    encoder: str
    value: float
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Example:
    """A query, why it is shown, and what was found for it."""

    query: Picture
    kind: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Grid:
    """The examples of one direction."""

    title: str
    examples: tuple[Example, ...]


def draw_grids(section: Section, thumbnails: Thumbnails, *, queries: int, depth: int, pictures: int) -> list[Grid]:
    """Grids of the directions of ``section``.

    Args:
        section: its base and last encoder are shown.
        thumbnails: of the images.
        queries: of each direction; fewer where ``pictures`` demands it.
        depth: retrieved images of each.
        pictures: of all grids together. When one query of each direction is too much, the last ones have no grid.
    """
    a_query = 1 + depth * min(2, len(section.all))
    count = len(section.last.directions)
    queries = min(queries, max(1, pictures // (a_query * count)))
    shown = min(count, pictures // (a_query * queries)) if queries else 0
    grids = []
    ends = [next(iter(section.evaluations)), list(section.evaluations)[-1]]
    for base, last in list(zip(section.base.directions, section.last.directions, strict=True))[:shown]:
        results = [last] if section.base is section.last else [base, last]
        names = ends[-len(results) :]
        examples = []
        for row, kind in choose_queries(base, last, section.metric, queries):
            identity = str(last.query_ids[row])
            strips = []
            for name, result in zip(names, results, strict=True):
                own = np.flatnonzero(result.query_ids == identity)
                # The base may have skipped this image.
                strips += [_strip(name, result, int(place), section.metric, depth, thumbnails) for place in own]
            examples.append(
                Example(_picture(last.query_ids, last.query_labels, row, thumbnails), kind, tuple(strips))
            )
        grids.append(Grid(f"{last.query_domain} → {last.gallery_domain}", tuple(examples)))
    return grids


def draw_best(section: Section, name: str, thumbnails: Thumbnails, *, queries: int, depth: int) -> list[Example]:
    """What an encoder finds where it is good: its best queries, of as many directions and classes as there are.

    Args:
        section: of the evaluation.
        name: of the encoder.
        thumbnails: of the images.
        queries: how many.
        depth: retrieved images of each.
    """
    orders = []
    for result in section.evaluations[name].directions:
        values = result.per_query[section.metric]
        counted = np.flatnonzero(np.isfinite(values))
        order = counted[np.argsort(-values[counted], kind="stable")]
        orders.append((result, _spread(order, result.query_labels, queries, set())))
    examples: list[Example] = []
    shown: set[str] = set()
    # One direction after the other, so that the second query is not the first one's answer.
    for result, rows in [orders[place % len(orders)] for place in range(len(orders) * queries)]:
        fresh = [row for row in rows if _label(result, row) not in shown] or rows
        if not fresh or len(examples) == queries:
            continue
        row = fresh[0]
        rows.remove(row)
        shown.add(_label(result, row))
        strip = _strip(name, result, row, section.metric, depth, thumbnails)
        kind = f"{result.query_domain} → {result.gallery_domain}"
        examples.append(Example(_picture(result.query_ids, result.query_labels, row, thumbnails), kind, (strip,)))
    return examples


def choose_queries(
    base: RetrievalResults, last: RetrievalResults, metric: str, count: int
) -> list[tuple[int, str]]:
    """At most ``count`` queries of ``last`` as ``(row, why)``: typical ones, and the two ends.

    The ends are the best gains and the worst losses against ``base``, or the best and worst values where ``base``
    is ``last`` itself. Each group prefers classes that it does not show yet. Deterministic.
    """
    values = last.per_query[metric]
    counted = np.flatnonzero(np.isfinite(values))
    changes = np.zeros(len(values))
    if base is not last:
        known = dict(zip(base.query_ids.tolist(), base.per_query[metric].tolist(), strict=True))
        before = np.array([known.get(identity, np.nan) for identity in last.query_ids.tolist()])
        changes = np.nan_to_num(values - before)
        up, down = counted[changes[counted] > 0], counted[changes[counted] < 0]
        ends = [
            ("gained most", up[np.argsort(-changes[up], kind="stable")]),
            ("lost most", down[np.argsort(changes[down], kind="stable")]),
        ]
    else:
        order = counted[np.argsort(-values[counted], kind="stable")]
        ends = [("among the best", order), ("among the worst", order[::-1])]
    chosen: dict[int, str] = {}
    for kind, order in ends:
        for row in _spread(order, last.query_labels, count // 3, set(chosen)):
            chosen[row] = f"{kind} ({changes[row]:+.3f})" if base is not last else kind
    rest = counted[~np.isin(counted, list(chosen))]
    rest = rest[np.argsort(values[rest], kind="stable")]
    wanted = min(count - len(chosen), len(rest))
    typical = {int(rest[int((place + 0.5) / wanted * len(rest))]): "typical" for place in range(wanted)}
    return [*typical.items(), *chosen.items()]


def _spread(order: Array, labels: Array | None, count: int, taken: set[int]) -> list[int]:
    """The first ``count`` rows of ``order`` that are not taken, one a class as long as there are classes."""
    free = [int(row) for row in order if int(row) not in taken]
    if labels is None:
        return free[:count]
    seen: set[str] = set()
    firsts: list[int] = []
    for row in free:
        if len(firsts) < count and str(labels[row]) not in seen:
            seen.add(str(labels[row]))
            firsts.append(row)
    return (firsts + [row for row in free if row not in set(firsts)])[:count]


def _label(result: RetrievalResults, row: int) -> str:
    return "" if result.query_labels is None else str(result.query_labels[row])


def _strip(
    name: str, result: RetrievalResults, row: int, metric: str, depth: int, thumbnails: Thumbnails
) -> Strip:
    hits = []
    for rank, item in enumerate(result.top[row, :depth].tolist()):
        right = None if result.relevant is None else bool(result.relevant[row, rank])
        picture = _picture(result.gallery_ids, result.gallery_labels, item, thumbnails)
        hits.append(Hit(picture, float(result.scores[row, rank]), right))
    return Strip(name, float(result.per_query[metric][row]), tuple(hits))


def _picture(ids: Sequence[str] | Array, labels: Array | None, row: int, thumbnails: Thumbnails) -> Picture:
    name = str(ids[row])
    return Picture(name, "" if labels is None else str(labels[row]), thumbnails.uri(name))
