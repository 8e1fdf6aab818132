"""What is asked of a search: made by the command line, the server and Python alike, and put to a ``Searcher``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, InstanceOf

from crosslens.images.decode import ImageSource
from crosslens.search.query.query import QueryPart, SearchOptions, make_options, weighted_parts
from crosslens.support.request import Request


class SearchRequest(Request):
    """A query, and how it is to be answered."""

    parts: tuple[InstanceOf[QueryPart], ...]
    """What the query is made of: the weighted sum of their unit vectors is looked for."""

    options: SearchOptions = Field(default_factory=SearchOptions)
    """How to answer."""

    domain: str | None = None
    """Of its pictures: a name, ``auto`` to detect it, or None. Embedded pictures keep their own."""

    @classmethod
    def made_of(
        cls,
        *,
        images: Sequence[ImageSource] = (),
        texts: Sequence[str] = (),
        like: Sequence[str] = (),
        weights: Sequence[float] = (),
        regions: Sequence[Sequence[float] | None] = (),
        domain: str | None = None,
        **options: Any,
    ) -> Self:
        """A request of pictures, texts and ids of items; see ``weighted_parts``, and ``make_options``.

        Raises:
            ConfigError: for another number of weights or regions, or naming the option that is wrong.
        """
        parts = weighted_parts(images=images, texts=texts, like=like, weights=weights, regions=regions)
        return cls.of(parts=tuple(parts), options=make_options(**options), domain=domain)
