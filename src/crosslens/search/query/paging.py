"""Page and sort: as many hits as are shown, by score or another key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crosslens.search.query.query import FoldedHit, Sort


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
    with_value = [shown for shown in hits if getattr(shown.hit, name) is not None]
    without = [shown for shown in hits if getattr(shown.hit, name) is None]
    ordered = sorted(with_value, key=lambda shown: getattr(shown.hit, name), reverse=key.startswith("-"))
    return [*ordered, *without]
