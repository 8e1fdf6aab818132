import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.catalog import Catalog
from crosslens.errors import EvaluationError
from crosslens.evaluation.scenarios import KINDS, Scenario

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


@given(
    kind=st.sampled_from(KINDS),
    total=st.integers(2, 30),
    shared=st.integers(1, 5),
    query=st.integers(0, 5),
    gallery=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_numbers_are_kept_or_refused(kind, total, shared, query, gallery, seed):
    asked = {"seed": seed, "shared": shared, "private_query": query, "private_gallery": gallery}
    if shared + query + gallery > total:
        with pytest.raises(EvaluationError, match="cannot be taken"):
            Scenario.draw(kind, NAMES[:total], **asked)
        return
    drawn = Scenario.draw(kind, NAMES[:total], **asked)
    parts = (drawn.shared, drawn.private_query, drawn.private_gallery)
    assert [len(part) for part in parts] == [shared, query, gallery]
    assert len(set().union(*parts)) == shared + query + gallery
    assert drawn == Scenario.draw(kind, NAMES[:total][::-1], **asked)
    assert Scenario.from_json(drawn.to_json()) == drawn
    assert drawn.mirrored.mirrored == drawn
    assert drawn.mirrored.query_classes == drawn.gallery_classes


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
