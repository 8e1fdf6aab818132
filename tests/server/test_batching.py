"""The batcher: answers in their places, full batches, a bounded queue, nothing done for who has gone."""

import threading
from concurrent.futures import ThreadPoolExecutor

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
        self.sizes, self.gate, self.begun = [], threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, pixels):
        self.begun.set()
        self.gate.wait(120)
        self.sizes.append(len(pixels))
        if (pixels == 255).all((1, 2, 3)).any():
            raise ValueError("white")
        return pixels.reshape(len(pixels), -1).sum(1, keepdims=True).astype(np.float32)


def picture(value):
    """What decodes to a square of one value."""
    return lambda: np.full((2, 2, 3), value, np.uint8)


def submit(batcher, value):
    (future,) = batcher.submit([picture(value)])
    return future


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def make(network):
    made = []

    def call(**options):
        settings = {"size": 4, "threads": 1, "limit": 100, "meter": Meter()} | options
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
    side_by_side=st.booleans(),
)
def test_everybody_gets_their_own_answer(values, size, threads, side_by_side):
    network = Network()
    with ThreadPoolExecutor(2) as pool:
        decoders = pool if side_by_side else None
        batcher = Batcher(network, size=size, threads=threads, limit=100, meter=Meter(), decoders=decoders)
        futures = batcher.submit([picture(value) for value in values])
        found = [future.result(120) for future in futures]
        batcher.close()
    assert [one.features.tolist() for one in found] == [[12.0 * value] for value in values]
    assert [int(one.square[0, 0, 0]) for one in found] == values
    assert all(min(one.waited, one.decoded, one.took) >= 0 for one in found)
    assert sum(network.sizes) == len(values)
    assert max(network.sizes) <= size


def test_what_gathers_behind_a_running_batch_runs_together(make, network):
    batcher = make()
    network.gate.clear()
    first = submit(batcher, 0)
    assert network.begun.wait(120)
    rest = [submit(batcher, n) for n in range(9)]
    network.gate.set()
    for future in [first, *rest]:
        future.result(120)
    assert network.sizes == [1, 4, 4, 1]


def test_a_batch_takes_what_arrives_while_it_decodes(make, network):
    batcher, others = make(size=3), []

    def decode():
        others.extend(batcher.submit([picture(1), picture(2), picture(3)]))
        return picture(0)()

    (first,) = batcher.submit([decode])
    for future in [first, *others]:
        future.result(120)
    assert network.sizes == [3, 1]


def test_free_threads_share_what_waits(make, network):
    batcher, both = make(threads=2), threading.Barrier(2)

    def decode():
        both.wait(120)
        return picture(1)()

    for future in batcher.submit([decode, decode]):
        future.result(120)
    assert network.sizes == [1, 1]


def test_decoders_work_side_by_side_on_one_batch(make, network):
    with ThreadPoolExecutor(2) as pool:
        batcher, both = make(decoders=pool), threading.Barrier(2)

        def decode():
            both.wait(120)
            return picture(1)()

        for future in batcher.submit([decode, decode]):
            future.result(120)
    assert network.sizes == [2]


def test_what_cannot_be_decoded_fails_alone(make, network):
    def decode():
        raise Problem(422, "no picture")

    good, bad, other = make().submit([picture(1), decode, picture(2)])
    with pytest.raises(Problem, match="no picture"):
        bad.result(120)
    assert [one.result(120).features.tolist() for one in (good, other)] == [[12.0], [24.0]]


def test_the_queue_is_bounded(make, network):
    batcher = make(limit=3)
    network.gate.clear()
    submit(batcher, 0)
    assert network.begun.wait(120)
    for _ in range(3):
        submit(batcher, 1)
    with pytest.raises(Problem) as refused:
        submit(batcher, 2)
    assert refused.value.status == 503
    assert refused.value.headers["Retry-After"]
    batcher = make(limit=3)
    with pytest.raises(Problem):
        batcher.submit([picture(1)] * 4)
    assert not batcher._queue


def test_cancelled_images_are_not_run(make, network):
    batcher = make()
    network.gate.clear()
    first = submit(batcher, 0)
    assert network.begun.wait(120)
    futures = [submit(batcher, n) for n in range(4)]
    assert all(future.cancel() for future in futures[:3])
    network.gate.set()
    first.result(120)
    futures[3].result(120)
    assert network.sizes == [1, 1]


def test_an_error_reaches_its_batch_and_no_other(make, network):
    batcher = make(size=1)
    with pytest.raises(ValueError, match="white"):
        submit(batcher, 255).result(120)
    assert submit(batcher, 1).result(120).features.tolist() == [12.0]


def test_closing_runs_what_waits_and_takes_nothing_more(make, network):
    batcher = make()
    futures = [submit(batcher, n) for n in range(6)]
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(Problem):
        submit(batcher, 1)
