"""What an index learns of hubs, and keeps true as items come and go."""

import json

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.nn.similarity import Similarity
from crosslens.ops.hubs import TEMPERATURE, bank_potentials, softmax_numbers
from crosslens.ops.sampling import drawn_rows
from crosslens.search.index.hubs import HUBS, learn_hubs
from crosslens.search.index.index import Index
from crosslens.search.index.kept_queries import QUERIES
from crosslens.support.errors import ConfigError, StoreError
from testing.stores import unit
from testing.tiny_backbone import TinyBackbone


def held(index):
    """Ids, domains and vectors of all items, in the order of ids."""
    items, vectors = index.items, index.vectors
    order = np.argsort(items.column("id").to_pylist())
    return [np.array(items.column(name).to_pylist())[order] for name in ("id", "domain")] + [vectors[order]]


def numbers_by_hand(index, bank_of):
    """Every item's number, recomputed whole: what an item's own formula must keep to.

    Args:
        bank_of: the bank's vectors for the items of a domain.
    """
    ids, domains, vectors = held(index)
    numbers = {}
    for domain in np.unique(domains):
        rows = np.flatnonzero(domains == domain)
        scores = bank_of(domain) @ vectors[rows].T
        potentials = bank_potentials(scores, TEMPERATURE)
        numbers |= zip(ids[rows], softmax_numbers(scores, TEMPERATURE, potentials), strict=True)
    return numbers


def test_without_queries_the_other_domains_are_the_bank(index):
    _, domains, vectors = held(index)
    expected = numbers_by_hand(index, lambda domain: vectors[domains != domain])
    ids = sorted(expected)
    np.testing.assert_allclose(index.hub_numbers(ids), [expected[image] for image in ids], atol=1e-5)
    assert index.stats()["hubs"] == {
        "bank": "domains", "size": 96, "domains": ["photo", "sketch"], "items": 96,
    }  # fmt: skip
    assert index.goals == ("thing", "kind")


def test_kept_queries_are_the_bank_of_all(index, pictures):
    queries = Catalog.open(pictures).select(domains=["sketch"])
    # Sketches are no longer numbered by what photos see in them.
    before = index.hub_numbers(["sketch/circle/00.png"])
    index.keep_queries(queries)
    kept = Index.open(index.folder)
    ids, domains, vectors = held(kept)
    expected = numbers_by_hand(kept, lambda domain: vectors[domains == "sketch"])
    np.testing.assert_allclose(kept.hub_numbers(sorted(expected)), [expected[i] for i in ids], atol=1e-5)
    assert kept.hub_numbers(["sketch/circle/00.png"]) != before
    assert kept.stats()["hubs"]["bank"] == "queries"


def test_items_that_come_are_numbered_by_the_same_formula(index):
    hubs = index.contents.hubs
    ids, domains, vectors = held(index)
    everything = hubs.numbers(list(domains), vectors)
    np.testing.assert_allclose(index.hub_numbers(list(ids)), everything, atol=1e-6)
    index.delete([ids[3], ids[60]])
    fresh = unit(2, dim=vectors.shape[1], seed=5)
    more = index.items.slice(0, 2).drop_columns("id").append_column("id", [["new/a", "new/b"]])
    index.upsert(more, fresh, index.fingerprint)
    opened = Index.open(index.folder)
    expected = hubs.numbers(more.column("domain").to_pylist(), fresh)
    np.testing.assert_allclose(opened.hub_numbers(["new/a", "new/b"]), expected, atol=1e-6)
    kept = [0, 5, 50]
    np.testing.assert_allclose(opened.hub_numbers([ids[row] for row in kept]), everything[kept], atol=1e-6)
    # Optimising learns of what is there now, and once more changes nothing.
    assert opened.optimize()["numbered"]
    _, domains, vectors = held(opened)
    hand = numbers_by_hand(opened, lambda domain: vectors[domains != domain])
    np.testing.assert_allclose(opened.hub_numbers(sorted(hand)), [hand[i] for i in sorted(hand)], atol=1e-5)
    version = opened.version
    assert not opened.optimize()["numbered"]
    assert opened.version == version


def test_thing_ranks_by_the_similarity_less_the_number(index):
    ids, _, vectors = held(index)
    numbers = index.hub_numbers(list(ids))
    for query in vectors[[0, 30, 70]]:
        corrected = vectors @ query - numbers
        hits = index.search(query[None], 5, goal="thing")[0]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(corrected)[::-1][:5], atol=1e-5)
        plain = index.search(query[None], 5)[0]
        np.testing.assert_allclose([hit.score for hit in plain], np.sort(vectors @ query)[::-1][:5], atol=1e-5)
        assert index.search(query[None], 5, goal="kind")[0] == plain


def test_a_goal_that_cannot_be_served_says_what_to_do(pictures, tmp_path):
    photos = Catalog.open(pictures).select(domains=["photo"])
    with pytest.raises(ConfigError, match="--queries"):
        Index.build(photos, Encoder(TinyBackbone()), tmp_path / "i", goal="thing")
    alone, _ = Index.build(photos, Encoder(TinyBackbone()), tmp_path / "i", store="exact")
    assert alone.goals == ("kind",)
    with pytest.raises(ConfigError, match="nothing to learn hubs from"):
        alone.search(alone.vectors[:1], goal="thing")
    # A second look is a bank, learned of as soon as it is there.
    alone.add(Catalog.open(pictures))
    assert alone.goals == ("thing", "kind")
    assert alone.search(alone.vectors[:1], goal="thing")[0]
    sketches = Catalog.open(pictures).select(domains=["sketch"])
    aimed, _ = Index.build(
        photos, Encoder(TinyBackbone()), tmp_path / "j", store="exact", queries=sketches, goal="thing"
    )
    assert (aimed.goal, aimed.stats()["hubs"]["bank"]) == ("thing", "queries")
    row = aimed.vectors[:1]
    assert aimed.search(row)[0] == aimed.search(row, goal="thing")[0]
    aimed.snapshot(tmp_path / "copy")
    back = Index.restore(tmp_path / "copy", tmp_path / "back", store="lance")
    assert (back.goal, back.stats()["hubs"]["bank"]) == ("thing", "queries")
    ids = sorted(aimed.items.column("id").to_pylist())
    np.testing.assert_allclose(back.hub_numbers(ids), aimed.hub_numbers(ids), atol=1e-6)


@pytest.mark.parametrize("queries", [np.empty((0, 8), np.float32), unit(1, dim=8), unit(9, dim=8)])
def test_a_bank_of_too_few_teaches_nothing(queries):
    assert learn_hubs(["photo"] * 40, unit(40, dim=8), Similarity(), queries) is None


def test_a_large_bank_is_drawn_from(monkeypatch):
    monkeypatch.setattr("crosslens.search.index.hubs.MOST_QUERIES", 50)
    monkeypatch.setattr("crosslens.search.index.hubs.MOST_ITEMS", 30)
    vectors = unit(200, dim=8)
    learned = learn_hubs(["a", "b"] * 100, vectors, Similarity())
    assert len(learned.bank) == 50
    numbers = learned.numbers(["a", "b"] * 100, vectors)
    assert np.isfinite(numbers).all()
    # The mean is that of the items that were learned of.
    for first in (0, 1):
        drawn = first + 2 * drawn_rows(100, 30, 0)
        assert abs(numbers[drawn].mean()) < 1e-6


def test_a_bank_that_is_damaged_or_of_another_encoder_is_said(index, pictures):
    file = index.folder / HUBS
    whole = file.read_bytes()
    row = index.items.slice(0, 1)
    for wrong, told in ((b"no tensors", "damaged"), (None, "missing")):
        if wrong is None:
            file.unlink()
        else:
            file.write_bytes(wrong)
        opened = Index.open(index.folder)
        # Searching needs no bank, an item that comes does.
        assert opened.search(opened.vectors[:1], goal="thing")[0]
        with pytest.raises(StoreError, match=f"{told}.*index optimize"):
            opened.upsert(row, opened.vectors[:1], opened.fingerprint)
    file.write_bytes(whole.replace(index.fingerprint.digest.encode(), b"0" * 16))
    with pytest.raises(StoreError, match="another encoder"):
        Index.open(index.folder).upsert(row, index.vectors[:1], index.fingerprint)
    opened = Index.open(index.folder)
    opened.optimize()
    opened.upsert(row, opened.vectors[:1], opened.fingerprint)
    # Queries of another encoder are no bank: it stays as it is, and why is said.
    opened.keep_queries(Catalog.open(pictures).select(domains=["sketch"]))
    kept = opened.folder / QUERIES
    kept.write_bytes(kept.read_bytes().replace(opened.fingerprint.digest.encode(), b"0" * 16))
    assert Index.open(opened.folder).optimize()["numbered"]
    assert Index.open(opened.folder).stats()["hubs"]["bank"] == "domains"


def test_numbering_that_was_killed_leaves_an_index_that_learns_again(index, monkeypatch):
    told = json.loads((index.folder / "index.json").read_text())
    monkeypatch.setattr(index.store, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    hubs = index.contents.hubs
    with pytest.raises(KeyboardInterrupt), index.writing():
        index.contents.take_hubs(hubs, index.items, index.vectors)
    opened = Index.open(index.folder)
    assert opened.goals == ("kind",)
    with pytest.raises(ConfigError, match="index optimize"):
        opened.search(opened.vectors[:1], goal="thing")
    assert opened.optimize()["numbered"]
    assert {**opened.contents.description, "hubs": {}} == {**told, "hubs": {}}
    assert opened.search(opened.vectors[:1], goal="thing")[0]
