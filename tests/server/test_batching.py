"""The batcher: answers in their places, full batches, a bounded queue, nothing done for who has gone."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.server.batching import Batcher
from crosslens.server.metrics import Meter
from crosslens.server.problems import Problem


class Network:
    """Sums pixels; keeps the sizes of its batches and waits at a gate."""

    def __init__(self):
        self.sizes, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, pixels):
        self.gate.wait(120)
        self.sizes.append(len(pixels))
        if (pixels == 255).all((1, 2, 3)).any():
            raise ValueError("white")
        return pixels.reshape(len(pixels), -1).sum(1, keepdims=True).astype(np.float32)


def square(value):
    return np.full((2, 2, 3), value, np.uint8)


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def make(network):
    made = []

    def call(**options):
        settings = {"size": 4, "threads": 1, "wait": 0.0, "limit": 100, "meter": Meter()} | options
        made.append(Batcher(network, **settings))
        return made[-1]

    yield call
    network.gate.set()
    for batcher in made:
        batcher.close()


@settings(max_examples=20)
@given(
    values=st.lists(st.integers(0, 254), min_size=1, max_size=60),
    size=st.integers(1, 9),
    threads=st.integers(1, 3),
)
def test_everybody_gets_their_own_answer(values, size, threads):
    network = Network()
    batcher = Batcher(network, size=size, threads=threads, wait=0.001, limit=100, meter=Meter())
    futures = [batcher.submit(square(value)) for value in values]
    assert [future.result(120).features.tolist() for future in futures] == [[12.0 * value] for value in values]
    assert sum(network.sizes) == len(values)
    assert max(network.sizes) <= size
    batcher.close()


def test_what_gathers_behind_a_running_batch_runs_together(make, network):
    batcher = make()
    network.gate.clear()
    first = batcher.submit(square(0))
    while batcher._queue:
        time.sleep(0.001)
    rest = [batcher.submit(square(n)) for n in range(9)]
    network.gate.set()
    for future in [first, *rest]:
        future.result(120)
    assert network.sizes == [1, 4, 4, 1]


def test_a_free_thread_leaves_nothing_for_one_that_is_busy(make, network):
    batcher = make(threads=2, wait=60.0)
    network.gate.clear()
    first = batcher.submit(square(0))
    while batcher._queue:
        time.sleep(0.001)
    with batcher.coming(4):
        rest = [batcher.submit(square(n)) for n in range(4)]
        while batcher._queue:
            time.sleep(0.001)
    network.gate.set()
    for future in [first, *rest]:
        future.result(120)
    assert sorted(network.sizes) == [1, 4]


def test_it_waits_for_images_that_are_coming_but_not_for_ever(make, network):
    batcher = make(wait=5.0)
    with batcher.coming(2):
        one = batcher.submit(square(1))
        time.sleep(0.05)
        two = batcher.submit(square(2))
    assert one.result(120)
    assert two.result(120)
    assert network.sizes == [2]
    batcher = make(wait=0.05)
    with batcher.coming(2):
        began = time.monotonic()
        batcher.submit(square(1)).result(120)
        assert time.monotonic() - began < 60


def test_the_queue_is_bounded(make, network):
    batcher = make(limit=3)
    network.gate.clear()
    batcher.submit(square(0))
    while batcher._queue:
        time.sleep(0.001)
    for _ in range(3):
        batcher.submit(square(1))
    with pytest.raises(Problem) as refused:
        batcher.submit(square(2))
    assert refused.value.status == 503
    assert refused.value.headers["Retry-After"]
    with pytest.raises(Problem), batcher.coming(1):
        pass


def test_cancelled_images_are_not_run(make, network):
    batcher = make()
    network.gate.clear()
    first = batcher.submit(square(0))
    while batcher._queue:
        time.sleep(0.001)
    futures = [batcher.submit(square(n)) for n in range(4)]
    assert all(future.cancel() for future in futures[:3])
    network.gate.set()
    first.result(120)
    futures[3].result(120)
    assert network.sizes == [1, 1]


def test_an_error_reaches_its_batch_and_no_other(make, network):
    batcher = make(size=1)
    with pytest.raises(ValueError, match="white"):
        batcher.submit(square(255)).result(120)
    assert batcher.submit(square(1)).result(120).features.tolist() == [12.0]


def test_closing_runs_what_waits_and_takes_nothing_more(make, network):
    batcher = make()
    futures = [batcher.submit(square(n)) for n in range(6)]
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(Problem):
        batcher.submit(square(1))
