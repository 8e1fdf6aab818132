"""Goal: what a question is for, this very thing or more of its kind; see ``crosslens.ops.hubs``."""

from __future__ import annotations

from dataclasses import replace

from crosslens.search.index.index import Index
from crosslens.search.query.question import Course, Question
from crosslens.support.errors import ConfigError

_FOR_THINGS = (None, "mmr")
"""Re-rankers that leave the very thing where it is; the others bring up what is like the first hits."""


def choose_goal(question: Question, index: Index, course: Course) -> Question:
    """The question with the goal that its options say, else the index's own as far as that can be served.

    Raises:
        ConfigError: for a goal that was asked for and that the index cannot serve, or that a re-ranker
        contradicts.
    """
    asked, rerank = question.options.goal, question.options.rerank
    if asked is not None:
        index.require_goal(asked)
        if asked == "thing" and rerank not in _FOR_THINGS:
            raise ConfigError(
                f"rerank = {rerank!r} brings up what is like the first hits, which is goal = 'kind'; leave one of"
                " the two out"
            )
    goal = asked or index.goal
    if goal == "thing" and question.of_words:
        course.note("words name a kind, so they ask for kind: what is near every picture is not near every word")
        goal = "kind"
    elif goal not in index.goals:
        course.note(
            "asked for kind: the index is to be asked for the thing, and nothing is learned for that yet;"
            f" 'crosslens index optimize {index.name}' does it"
        )
        goal = "kind"
    elif goal == "thing" and rerank not in _FOR_THINGS:
        course.note(f"asked for kind, as {rerank} does")
        goal = "kind"
    return replace(question, goal=goal)
