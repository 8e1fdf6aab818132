"""A search as a command asks it and prints it: from plain values to plain values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslens.search.query.search_request import SearchRequest

if TYPE_CHECKING:
    from crosslens.search.query.query import Answer
    from crosslens.search.query.searcher import Searcher

_OF_MATCH = ("match_probability", "match_is_rough", "no_match")


def request_plainly(folder: Path, asked: dict[str, Any], *, has_queries: bool = False) -> SearchRequest:
    """The request of a command.

    Args:
        folder: of the index.
        asked: arguments of ``SearchRequest.made_of``.
        has_queries: whether unlabelled queries come with it.

    Raises:
        ConfigError: see ``SearchRequest.made_of``.
    """
    from crosslens.search.index.kept_queries import keeps_queries

    # Hits are shown whatever the probability, so ``answer_plainly`` makes the cut.
    wanted = asked.get("min_match") is not None or has_queries or keeps_queries(folder)
    return SearchRequest.made_of(**asked | {"min_match": 0.0 if wanted else None})


def answer_plainly(
    searcher: Searcher, request: SearchRequest, min_match: float | None, *, has_queries: bool = False
) -> Answer:
    """The answer to a command, with the hits of one that has no match too.

    Raises:
        CrosslensError: see ``Searcher.answer``.
    """
    from crosslens.ops.calibration import LEAST

    if min_match is None and not has_queries and len(searcher.index) < LEAST:
        # Kept queries alone ask for no probability that nobody could tell.
        request = request.model_copy(update={"options": request.options.model_copy(update={"min_match": None})})
    answer = searcher.answer_request(request)
    if request.options.min_match is None:
        # A server may have one ready that nobody asked for.
        return replace(answer, match_probability=None)
    if min_match is not None and answer.match_probability is not None:
        return replace(answer, no_match=answer.match_probability < min_match)
    return answer


def to_plain(answer: Answer, items: int) -> dict[str, Any]:
    """An answer as plain values under ``answer``, and the number of ``items`` of the index."""
    value = answer.to_json()
    if answer.match_probability is None:
        value = {key: found for key, found in value.items() if key not in _OF_MATCH}
    return {"answer": value, "items": items}
