"""Answering threads that ask at the same time with one call: one pass over the vectors serves several queries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Group = TypeVar("Group", bound=Hashable)


@dataclass(eq=False)
class _Waiting(Generic[Asked, Answered]):
    asked: Asked
    answered: Answered | None = None
    error: BaseException | None = None
    done: bool = False


class Combiner(Generic[Asked, Answered]):
    """Calls ``run`` for one thread at a time, with what all threads that wait by then have asked.

    Nobody waits for company: a thread that finds no call under way makes one for itself. While it runs, others
    gather, and the first of them answers all. A search that is bound by memory costs hardly more for eight queries
    than for one.

    Args:
        run: a list of questions to their answers, in order. When it raises, each question is asked alone.
        most: questions of one call.
    """

    def __init__(self, run: Callable[[Sequence[Asked]], Sequence[Answered]], most: int = 32) -> None:
        self._run, self._most = run, most
        self._waiting: deque[_Waiting[Asked, Answered]] = deque()
        self._turn = Lock()

    def __call__(self, asked: Asked) -> Answered:
        """The answer to one question.

        Raises:
            Exception: what ``run`` raised for it.
        """
        return self.several([asked])[0]

    def several(self, asked: Sequence[Asked]) -> list[Answered]:
        """The answers to several questions, in order; each call takes as many of them as it may.

        Raises:
            Exception: what ``run`` raised for the first that has no answer.
        """
        mine: list[_Waiting[Asked, Answered]] = [_Waiting(one) for one in asked]
        self._waiting.extend(mine)
        for one in mine:
            while not one.done:
                with self._turn:
                    # Another thread may have answered this one while it waited for its turn.
                    if not one.done:
                        count = min(len(self._waiting), self._most)
                        self._answer([self._waiting.popleft() for _ in range(count)])
        for one in mine:
            if one.error is not None:
                raise one.error
        return [one.answered for one in mine]  # type: ignore[misc]

    def _answer(self, batch: list[_Waiting[Asked, Answered]]) -> None:
        try:
            for waiting, answered in zip(batch, self._run([one.asked for one in batch]), strict=True):
                waiting.answered, waiting.done = answered, True
        except BaseException as error:
            if isinstance(error, Exception) and len(batch) > 1:
                # One bad question must not fail the others.
                for waiting in batch:
                    self._answer([waiting])
                return
            for waiting in batch:
                waiting.error, waiting.done = error, True


def answer_in_groups(
    asked: Sequence[tuple[Group, Array]], answer: Callable[[Group, Array], Iterable[Answered]]
) -> list[Answered]:
    """Answers to vectors ``(d,)``, those of one group in one call.

    Args:
        asked: each vector with what it has in common with others of its group.
        answer: a group and its vectors ``(n, d)`` to n answers.
    """
    answers: dict[int, Answered] = {}
    for group in dict.fromkeys(group for group, _ in asked):
        rows = [row for row, (other, _) in enumerate(asked) if other == group]
        answers |= zip(rows, answer(group, np.stack([asked[row][1] for row in rows])), strict=True)
    return [answers[row] for row in range(len(asked))]
