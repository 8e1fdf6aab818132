"""Rounds: what is due in one turn of the loop is done by one call, and everybody gets their own."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crosslens.server.rounds import Rounds


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as made:
        yield made


def double(numbers):
    return [2 * number if number >= 0 else ValueError(f"{number} is negative") for number in numbers]


class Work:
    """Doubles numbers, and keeps what each call was given."""

    def __init__(self):
        self.rounds, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, numbers):
        self.rounds.append(list(numbers))
        self.gate.wait(60)
        return double(numbers)


def test_one_turn_is_one_call(pool):
    work = Work()

    async def ask():
        together = Rounds(pool)
        first = await asyncio.gather(*(together(work, number) for number in range(5)))
        return first, await together(work, 7)

    assert asyncio.run(ask()) == ([0, 2, 4, 6, 8], 14)
    assert work.rounds == [[0, 1, 2, 3, 4], [7]]


def test_other_work_has_a_call_of_its_own(pool):
    work, other = Work(), Work()

    async def ask():
        together = Rounds(pool)
        return await asyncio.gather(together(work, 1), together(other, 2), together(work, 3))

    assert asyncio.run(ask()) == [2, 4, 6]
    assert work.rounds == [[1, 3]]
    assert other.rounds == [[2]]


def test_an_error_is_of_its_item_alone_unless_all_failed(pool):
    def fail(numbers):
        raise OSError("gone")

    async def ask(work, *numbers):
        together = Rounds(pool)
        return await asyncio.gather(*(together(work, n) for n in numbers), return_exceptions=True)

    made = asyncio.run(ask(Work(), 1, -1, 2))
    assert (made[0], str(made[1]), made[2]) == (2, "-1 is negative", 4)
    assert [str(one) for one in asyncio.run(ask(fail, 1, 2))] == ["gone", "gone"]


def test_who_leaves_takes_nothing_from_the_others(pool):
    work = Work()
    work.gate.clear()

    async def ask():
        together = Rounds(pool)
        leaving, staying = (asyncio.ensure_future(together(work, number)) for number in (1, 2))
        while not work.rounds:
            await asyncio.sleep(0.001)
        leaving.cancel()
        work.gate.set()
        assert await staying == 4
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(ask())
