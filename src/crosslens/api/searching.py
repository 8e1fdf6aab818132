"""``search``: what looks like pictures, words or indexed items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from crosslens.data.catalog import Catalog
from crosslens.images.decode import ImageSource
from crosslens.search.index.index import Index
from crosslens.search.query.query import AUTO, Answer, SearchOptions
from crosslens.search.query.search_request import SearchRequest
from crosslens.search.query.searcher import Searcher
from crosslens.support.request import takes

T = TypeVar("T")


@takes(SearchOptions)
def search(
    index: Index | Searcher | str | Path,
    image: ImageSource | Sequence[ImageSource] = (),
    *,
    text: str | Sequence[str] = (),
    like: str | Sequence[str] = (),
    weight: float | Sequence[float] = (),
    region: Sequence[float] | Sequence[Sequence[float] | None] = (),
    domain: str | None = None,
    queries: Catalog | str | Path | None = None,
    device: str | None = None,
    **options: Any,
) -> Answer:
    """Find the indexed images most like pictures, words or indexed items, or a weighted mix of them.

    A path or an Index is made ready anew each time; a ``Searcher`` stays ready, and keeps its own ``queries`` and
    ``device``.

    Args:
        index: an index, its folder, or a Searcher on it.
        image: pictures: paths, encoded bytes, Pillow images or arrays of pixels; one or several.
        text: words, where the index's encoder understands text.
        like: ids of indexed items.
        weight: one for each of the pictures, texts and ids, in this order; a negative one pushes away.
        region: the part of a picture that is meant, ``(x, y, width, height)`` as shares of it; one for each.
        domain: of the pictures, where known; ``auto`` detects it.
        queries: unlabelled images of the query's kind, to calibrate the probability of a match on.
        device: where to embed; None chooses.
        options: of ``SearchOptions``; ``where`` also as text.

    Raises:
        ConfigError: for a query of nothing, or naming the option that is wrong.
        ImageError: naming a picture that cannot be decoded.
        BackboneError: for text where the encoder knows none.
        StoreError: for an unknown id, or a folder that is no index.
    """
    if queries is not None and options.get("min_match") is None:
        options["min_match"] = 0.0
    is_region = len(region) == 4 and all(isinstance(number, int | float) for number in region)
    request = SearchRequest.made_of(
        images=_several(image, ImageSource),
        texts=_several(text, str),
        like=_several(like, str),
        weights=_several(weight, float | int),
        regions=[region] if is_region else region,  # type: ignore[list-item, arg-type]
        domain=domain,
        **options,
    )
    if isinstance(index, Searcher):
        return index.answer_request(request)
    opened = index if isinstance(index, Index) else Index.open(index)
    told = None if domain == AUTO else domain
    searcher = Searcher(opened, unlabelled=queries, unlabelled_domain=told, device=device)
    return searcher.answer_request(request)


def _several(given: T | Sequence[T], kind: Any) -> Sequence[T]:
    return [given] if isinstance(given, kind) else given  # type: ignore[return-value]
