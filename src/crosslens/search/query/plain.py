"""A search from plain values to plain values, as a command prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosslens.search.query.search_request import SearchRequest

if TYPE_CHECKING:
    from crosslens.search.query.query import Answer
    from crosslens.search.query.searcher import Searcher


def answer_plainly(searcher: Searcher, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to the arguments of ``SearchRequest.made_of``; see ``plain_answer``.

    Raises:
        CrosslensError: see ``Searcher.answer``.
    """
    request = SearchRequest.made_of(**asked)
    answer = request.put_to(searcher)
    return plain_answer(answer, len(searcher.index), request.options.min_match is not None)


def plain_answer(answer: Answer, items: int, with_probability: bool) -> dict[str, Any]:
    """An answer as plain values under ``answer``, and the number of ``items`` of the index.

    Args:
        answer: of a searcher.
        items: of its index.
        with_probability: whether the probability of a match was asked for; one that a server had ready is left out
            otherwise.
    """
    value = answer.to_json()
    if not with_probability:
        value = {key: found for key, found in value.items() if key not in ("match_probability", "no_match")}
    return {"answer": value, "items": items}
