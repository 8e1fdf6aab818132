"""Page and sort: as many hits as are shown, by score or another key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crosslens.search.query.query import FoundHit, Sort


def take_page(growing: Iterable[list[FoundHit]], top: int) -> list[FoundHit]:
    """The best ``top`` hits of a list that grows, which is asked for no more than that takes."""
    hits: list[FoundHit] = []
    for hits in growing:
        if len(hits) >= top:
            break
    return hits[:top]


def sort_hits(hits: Sequence[FoundHit], key: Sort) -> list[FoundHit]:
    """Hits that come best first, by another key; equal ones stay best first, missing values come last."""
    if key == "score":
        return list(hits)
    name = key.removeprefix("-")
    with_value = [shown for shown in hits if getattr(shown.hit, name) is not None]
    without = [shown for shown in hits if getattr(shown.hit, name) is None]
    ordered = sorted(with_value, key=lambda shown: getattr(shown.hit, name), reverse=key.startswith("-"))
    return [*ordered, *without]
