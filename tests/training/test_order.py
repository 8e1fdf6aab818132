"""Block shuffle: every image once a pass, each process its own range, near images read together."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from crosslens.support.errors import TrainingError
from crosslens.training import order
from crosslens.training.batches import DomainBatches
from crosslens.training.distributed import World
from crosslens.training.order import BlockOrder
from crosslens.training.views import CachedViews


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(order, "BLOCK", 8)
    monkeypatch.setattr(order, "WINDOW", 4)


def drawn(order, epoch, size, steps):
    return torch.cat([order.batch(epoch, step, size) for step in range(steps)]).tolist()


@pytest.mark.parametrize(("size", "parts"), [(320, 1), (333, 1), (320, 2), (7, 1), (330, 3)])
def test_a_pass_shows_every_image_once_and_the_next_one_in_another_order(size, parts):
    if parts > 1:
        ranges = [size * part // parts for part in range(parts + 1)]
        # A batch of `parts` images has one of each range.
        steps = min(b - a for a, b in pairwise(ranges))
        told = []
        one = BlockOrder(size, 3, 0, World(1, parts), lambda *rows: told.append(rows))
        for step in range(steps):
            batch = one.batch(0, step, parts).tolist()
            assert all(a <= row < b for row, a, b in zip(batch, ranges[:-1], ranges[1:], strict=True))
        assert len(set(drawn(one, 0, parts, steps))) == steps * parts
        # A process is told of no other one's images.
        assert told
        assert all(ranges[1] <= start < end <= ranges[2] for start, end in told)
        return
    rows = drawn(BlockOrder(size, 3, 0), 0, size, 2)
    assert sorted(rows[:size]) == sorted(rows[size:]) == list(range(size))
    assert rows[:size] != rows[size:]
    assert rows != drawn(BlockOrder(size, 3, 0), 1, size, 2)
    assert rows != drawn(BlockOrder(size, 3, 1), 0, size, 2)


def test_a_window_lies_in_few_blocks_and_the_next_one_is_announced():
    announced = []
    one = BlockOrder(333, 3, 0, read_ahead=lambda start, end: announced.append((start, end)))
    rows = drawn(one, 0, 16, 20)
    for number in range(10):
        window = rows[32 * number : 32 * number + 32]
        assert len({row // 8 for row in window}) == 4
        # Shuffled within: a block is not read off in order.
        assert window != sorted(window)
        if number:
            told = announced[4 * number - 4 : 4 * number]
            assert {row // 8 * 8 for row in window} == {start for start, _ in told}
    assert (328, 333) in announced


def test_any_step_is_the_same_whether_steps_before_it_were_made():
    forward = BlockOrder(333, 3, 0)
    made = [forward.batch(2, step, 10) for step in range(50)]
    for step in (49, 7, 33):
        assert torch.equal(BlockOrder(333, 3, 0).batch(2, step, 10), made[step])


def views(count, seed):
    values = np.random.default_rng(seed).normal(size=(count, 4, 3)).astype(np.float16)
    return CachedViews(values, None, torch.device("cpu"))


def test_batches_come_in_blocks_beyond_the_size_and_as_before_up_to_it():
    domains = (views(100, 0), views(30, 1))
    whole = DomainBatches(domains, 10, 5)
    same = DomainBatches(domains, 10, 5, shuffled_whole=100)
    blocks = DomainBatches(domains, 10, 5, shuffled_whole=99)
    assert whole.steps == same.steps == blocks.steps
    for step in range(whole.steps):
        assert torch.equal(whole.get(1, step).queries[0], same.get(1, step).queries[0])
    rows = [torch.cat([blocks.get(1, step).index[domain] for step in range(10)]) for domain in (0, 1)]
    assert sorted(rows[0].tolist()) == list(range(100))
    # Three passes over the smaller domain, and a part of the fourth.
    counts = torch.bincount(rows[1], minlength=30)
    assert set(counts.tolist()) == {3, 4}


def test_processes_draw_from_ranges_of_their_own():
    domains = (views(100, 0), views(40, 1))
    parts = [DomainBatches(domains, 10, 5, world=World(rank, 2), shuffled_whole=50) for rank in (0, 1)]
    for step in range(5):
        batches = [part.get(0, step) for part in parts]
        assert torch.equal(batches[0].index[0], batches[1].index[0])
        assert (batches[0].index[0][:5] < 50).all()
        assert (batches[0].index[0][5:] >= 50).all()
        assert not torch.equal(batches[0].queries[0], batches[1].queries[0])


def test_a_joint_order_and_fewer_images_than_processes_are_refused():
    with pytest.raises(TrainingError, match="order=joint pairs"):
        DomainBatches((views(100, 0),), 10, 5, "joint", shuffled_whole=50)
    with pytest.raises(TrainingError, match="fewer images than there are processes"):
        DomainBatches((views(100, 0), views(1, 1)), 10, 5, world=World(0, 2), shuffled_whole=50)
