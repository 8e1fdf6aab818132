"""Threads that ask together: everybody's own answer, few calls, one bad question fails alone."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.search.query.combining import Combiner, answer_in_groups


def ask_all(combiner, questions):
    """What each thread got for its question, an error as itself."""
    found = [None] * len(questions)

    def ask(place):
        try:
            found[place] = combiner(questions[place])
        except ValueError as error:
            found[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads)
    return found


@settings(max_examples=30, deadline=None)
@given(questions=st.lists(st.integers(), min_size=1, max_size=24), most=st.integers(1, 8))
def test_everybody_gets_their_own_answer(questions, most):
    sizes = []

    def run(asked):
        sizes.append(len(asked))
        time.sleep(0.001)
        return [3 * number + 1 for number in asked]

    assert ask_all(Combiner(run, most), questions) == [3 * number + 1 for number in questions]
    assert sum(sizes) == len(questions)
    assert max(sizes) <= most


@given(questions=st.lists(st.integers(), max_size=24), most=st.integers(1, 8))
def test_several_questions_of_one_thread_share_calls(questions, most):
    sizes = []

    def run(asked):
        sizes.append(len(asked))
        return [3 * number + 1 for number in asked]

    assert Combiner(run, most).several(questions) == [3 * number + 1 for number in questions]
    assert len(sizes) == -(-len(questions) // most)


def test_who_waits_is_answered_by_the_next_call():
    sizes, started, released = [], threading.Event(), threading.Event()

    def run(asked):
        sizes.append(len(asked))
        started.set()
        released.wait(300)
        return asked

    combiner = Combiner(run)
    threads = [threading.Thread(target=combiner, args=(number,)) for number in range(9)]
    threads[0].start()
    assert started.wait(300)
    for thread in threads[1:]:
        thread.start()
    while len(combiner._waiting) < 8:
        time.sleep(0.001)
    released.set()
    for thread in threads:
        thread.join(300)
    assert sizes == [1, 8]


def test_one_bad_question_fails_alone():
    started = threading.Event()

    def run(asked):
        started.wait(300)
        if any(number < 0 for number in asked):
            raise ValueError(f"{min(asked)} is negative")
        return [number + 1 for number in asked]

    combiner = Combiner(run)
    timer = threading.Timer(0.1, started.set)
    timer.start()
    found = ask_all(combiner, [1, 2, -3, 4, 5])
    assert str(found.pop(2)) == "-3 is negative"
    assert found == [2, 3, 5, 6]
    # And the next question is answered as if nothing had been.
    assert combiner(7) == 8


def test_too_few_answers_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        Combiner(lambda asked: [])(1)


def test_vectors_of_one_group_are_answered_in_one_call():
    calls = []

    def answer(group, vectors):
        calls.append((group, len(vectors)))
        return [(group, float(vector[0])) for vector in vectors]

    asked = [(group, np.array([number], np.float32)) for number, group in enumerate("abacb")]
    assert answer_in_groups(asked, answer) == [("a", 0), ("b", 1), ("a", 2), ("c", 3), ("b", 4)]
    assert calls == [("a", 2), ("b", 2), ("c", 1)]
    assert answer_in_groups([], answer) == []
