"""The hint without labels whether an encoder finds better across two domains."""

import numpy as np
import pytest

from crosslens.evaluation.without_labels import HITS, NEIGHBOURS, agree_without_labels

CLASSES, EACH, DIM = 5, 20, 32


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def world():
    """Two domains of the same classes, whose features share no direction across the domains."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    sides = tuple(
        (rng.normal(size=(CLASSES, DIM))[labels] + 0.3 * rng.normal(size=(len(labels), DIM))).astype(np.float32)
        for _ in range(2)
    )
    shared = rng.normal(size=(CLASSES, DIM))
    good = tuple(unit(shared[labels] + 0.3 * rng.normal(size=(len(labels), DIM))) for _ in range(2))
    blind = tuple(unit(rng.normal(size=(len(labels), DIM))) for _ in range(2))
    return sides, good, blind


def test_an_encoder_that_aligns_the_domains_is_better_than_one_that_sees_nothing(world):
    sides, good, blind = world
    found = agree_without_labels(sides, good, blind)
    assert found.verdict == "better"
    assert found.value > 0.3
    assert abs(found.base) < 0.05
    turned = agree_without_labels(sides, blind, good)
    assert turned.verdict == "worse"
    assert turned.value == found.base
    assert turned.base == found.value


def test_one_that_finds_the_same_for_everything_gains_nothing(world):
    sides, _, blind = world
    collapsed = tuple(unit(np.ones((len(side), DIM)) + 1e-3) for side in sides)
    assert agree_without_labels(sides, collapsed, collapsed).value == pytest.approx(0)
    assert agree_without_labels(sides, blind, blind).verdict == "alike"


def test_the_share_in_common_is_the_plain_count(world):
    """Against a slow count with sets, where every picture is drawn as its own random partner's complement."""
    sides, good, _ = world
    rng = np.random.default_rng(0)
    expected = []
    for (a, b), side in (((good[0], good[1]), sides[0]), ((good[1], good[0]), sides[1])):
        hits = [set(np.argsort(-(b @ row), kind="stable")[:HITS].tolist()) for row in a]
        rows = side - side.mean(0)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        drawn = rng.integers(1, len(a), (len(a), NEIGHBOURS)) + np.arange(len(a))[:, None]
        for i in range(len(a)):
            cosines = rows @ rows[i]
            cosines[i] = -np.inf
            near = np.argsort(-cosines, kind="stable")[:NEIGHBOURS]
            own = np.mean([len(hits[i] & hits[j]) / HITS for j in near])
            chance = np.mean([len(hits[i] & hits[j]) / HITS for j in drawn[i] % len(a)])
            expected.append(own - chance)
    assert agree_without_labels(sides, good, good).value == pytest.approx(np.mean(expected), abs=1e-6)


def test_more_domains_are_all_pairs_of_them(world):
    sides, good, blind = world
    three = [[*part, part[0]] for part in (sides, good, blind)]
    found = agree_without_labels(*three)
    assert found.verdict == "better"
    # Each image counts once for the error, however many domains it asks.
    assert found.error == pytest.approx(agree_without_labels(sides, good, blind).error, rel=0.3)
