from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.data.catalog import Catalog
from crosslens.evaluation.scenarios import KINDS, Scenario
from crosslens.support.errors import EvaluationError

NAMES = [f"class-{i:02d}" for i in range(65)]


def catalog(tmp_path, classes_a="abcdefg", classes_b="abcdefg"):
    rows = [
        {"path": f"{domain}/{label}/{n}.png", "domain": domain, "label": label}
        for domain, labels in (("photo", classes_a), ("sketch", classes_b))
        for label in labels
        for n in range(2)
    ]
    return Catalog.from_rows(rows, tmp_path)


@pytest.mark.parametrize(("total", "half"), [(31, 15), (65, 32), (7, 3)])
def test_published_rule(total, half):
    names = NAMES[:total]
    partial, opened = (Scenario.draw(kind, names) for kind in ("partial", "open-set"))
    assert len(partial.shared) == len(opened.shared) == half
    assert set(partial.query_classes) < set(partial.gallery_classes) == set(names)
    assert set(opened.gallery_classes) < set(opened.query_classes) == set(names)
    assert partial.shared == opened.shared
    order = np.random.default_rng(2024).permutation(total)
    assert set(partial.shared) == {names[i] for i in order[:half]}
    closed = Scenario.draw("close-set", names)
    assert closed.query_classes == closed.gallery_classes == tuple(names)


OWN = {"partial": "private_gallery", "open-set": "private_query"}


def possible(kind, total, asked):
    """Every choice of numbers that keeps those asked for and has the classes the scenario is about."""
    ranges = {
        "shared": range(1, total + 1),
        "private_query": range(total + 1) if kind == "open-set" else range(1),
        "private_gallery": range(total + 1) if kind == "partial" else range(1),
    }
    for sort, count in asked.items():
        ranges[sort] = [count] if sort != "shared" or count > 0 else []
    if kind in OWN:
        ranges[OWN[kind]] = [count for count in ranges[OWN[kind]] if count > 0]
    return [numbers for numbers in product(*ranges.values()) if sum(numbers) <= total]


numbers_or_none = st.none() | st.integers(0, 6)


@given(
    kind=st.sampled_from(KINDS),
    total=st.integers(1, 12),
    shared=numbers_or_none,
    query=numbers_or_none,
    gallery=numbers_or_none,
    seed=st.integers(0, 99),
)
def test_numbers_are_kept_and_completed_or_refused_where_none_would_do(kind, total, shared, query, gallery, seed):
    given_all = {"shared": shared, "private_query": query, "private_gallery": gallery}
    asked = {sort: count for sort, count in given_all.items() if count is not None}
    choices = possible(kind, total, asked)
    if not choices:
        with pytest.raises(EvaluationError, match=r"cannot be taken|would share none|needs a"):
            Scenario.draw(kind, NAMES[:total], seed=seed, **asked)
        return
    drawn = Scenario.draw(kind, NAMES[:total], seed=seed, **asked)
    parts = (drawn.shared, drawn.private_query, drawn.private_gallery)
    assert tuple(len(part) for part in parts) in choices
    assert len(set().union(*parts)) == sum(len(part) for part in parts)
    own = OWN.get(kind)
    if "shared" not in asked or (own and own not in asked):
        assert sum(len(part) for part in parts) == total
    if own and "shared" not in asked and own not in asked:
        others = sum(asked.values())
        assert len(drawn.shared) == (total - others) // 2
    assert drawn == Scenario.draw(kind, NAMES[:total][::-1], seed=seed, **asked)
    assert Scenario.from_json(drawn.to_json()) == drawn
    assert drawn.mirrored.mirrored == drawn
    assert drawn.mirrored.query_classes == drawn.gallery_classes


@pytest.mark.parametrize(
    ("kind", "asked", "numbers"),
    [
        ("open-set", {}, (3, 4, 0)),
        ("partial", {}, (3, 0, 4)),
        ("open-set", {"private_gallery": 2}, (2, 3, 2)),
        ("partial", {"private_query": 1}, (3, 1, 3)),
        ("open-set", {"private_query": 2}, (5, 2, 0)),
        ("open-set", {"private_query": 2, "private_gallery": 1}, (4, 2, 1)),
        ("partial", {"shared": 2, "private_query": 1}, (2, 1, 4)),
        ("close-set", {"private_query": 1}, (6, 1, 0)),
    ],
)
def test_what_is_left_out_follows_from_what_is_given(kind, asked, numbers):
    drawn = Scenario.draw(kind, NAMES[:7], **asked)
    assert tuple(map(len, (drawn.shared, drawn.private_query, drawn.private_gallery))) == numbers


def test_another_seed_draws_other_classes():
    assert len({Scenario.draw("partial", NAMES, seed=s).shared for s in (2024, 2025, 2026)}) == 3


def test_restriction_keeps_each_sides_classes(tmp_path):
    images = catalog(tmp_path)
    drawn = Scenario.draw("open-set", images.classes, shared=2, private_query=1)
    kept = drawn.restrict(images, "photo", "sketch")
    assert kept.select(domains=["photo"]).classes == list(drawn.query_classes)
    assert kept.select(domains=["sketch"]).classes == list(drawn.gallery_classes)
    assert kept.ids == [i for i in images.ids if i in set(kept.ids)]


class TestBadInput:
    def test_no_shared_class_at_all(self, tmp_path):
        images = catalog(tmp_path, "abc", "def")
        with pytest.raises(EvaluationError, match="no class in common"):
            Scenario.draw_for(images, "partial", "photo", "sketch")
        with pytest.raises(EvaluationError, match="share no class in this partial scenario"):
            Scenario("partial", ("a",), (), ("d",)).restrict(images, "photo", "sketch")
        with pytest.raises(EvaluationError, match="--shared 1"):
            Scenario.draw("partial", ["one"])

    @pytest.mark.parametrize(
        ("kind", "asked", "message"),
        [
            ("open-set", {"shared": 7}, "open-set needs a query-private class.*--private-query 1"),
            ("open-set", {"private_query": 0}, "needs a query-private class"),
            ("open-set", {"shared": 5, "private_gallery": 2}, "needs a query-private class"),
            (
                "partial",
                {"shared": 6, "private_query": 1},
                "partial needs a gallery-private class.*--private-gallery",
            ),
            ("partial", {"private_query": 6}, "would share none"),
            ("partial", {"private_gallery": 7}, "would share none"),
            ("partial", {"shared": 0}, "would share none"),
            ("partial", {"shared": 6, "private_query": 2}, "^6 shared, 2 query-private: .* taken from 7"),
            ("open-set", {"private_gallery": -1}, "-1 gallery-private: .* taken from 7"),
        ],
    )
    def test_numbers_that_leave_no_scenario(self, kind, asked, message):
        with pytest.raises(EvaluationError, match=message):
            Scenario.draw(kind, NAMES[:7], **asked)

    def test_unlabelled_images(self, tmp_path):
        rows = [{"path": f"{d}/1.png", "domain": d} for d in ("photo", "sketch")]
        with pytest.raises(EvaluationError, match="no labels"):
            Scenario.draw_for(Catalog.from_rows(rows, tmp_path), "partial", "photo", "sketch")

    def test_a_domain_without_its_classes(self, tmp_path):
        images = catalog(tmp_path, "abc", "bc")
        with pytest.raises(EvaluationError, match="no image of the domain 'sketch' has one of the classes a"):
            Scenario("close-set", ("a",)).restrict(images, "photo", "sketch")

    def test_unknown_kind_and_damaged_json(self):
        with pytest.raises(EvaluationError, match="known: close-set, partial, open-set"):
            Scenario.draw("half-open", NAMES)
        with pytest.raises(EvaluationError, match="no scenario"):
            Scenario.from_json({"kind": "partial"})
