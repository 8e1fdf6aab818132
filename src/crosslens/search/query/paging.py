"""Page and sort: as many hits as are shown, by score or another key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crosslens.search.query.query import SORTS, FoldedHit, Sort


def take_page(growing: Iterable[list[FoldedHit]], top: int) -> list[FoldedHit]:
    """The best ``top`` hits of a list that grows, which is asked for no more than that takes."""
    hits: list[FoldedHit] = []
    for hits in growing:
        if len(hits) >= top:
            break
    return hits[:top]


def sort_hits(hits: Sequence[FoldedHit], key: Sort) -> list[FoldedHit]:
    """Hits that come best first, by another key; equal ones stay best first, missing values come last."""
    if key == "score":
        return list(hits)
    name = key.removeprefix("-")
    values = [getattr(shown.hit, name) if name in SORTS else shown.hit.columns.get(name) for shown in hits]
    with_value = [(value, shown) for value, shown in zip(values, hits, strict=True) if value is not None]
    without = [shown for value, shown in zip(values, hits, strict=True) if value is None]
    ordered = sorted(with_value, key=lambda pair: pair[0], reverse=key.startswith("-"))
    return [*(shown for _, shown in ordered), *without]
