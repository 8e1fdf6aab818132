"""What people tell of their query: words, a domain, a score; each told wrong is said, in every store and door."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.untrained import frozen_encoder
from crosslens.search.index.index import Index
from crosslens.search.query.query import MOST_LETTERS, QueryPart, SearchOptions, weighted_parts
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import ConfigError
from testing.reading_backbone import register_talker
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone

STORES = ["exact", "lance", pytest.param("milvus", marks=needs_milvus)]


@pytest.mark.parametrize("store", STORES)
def test_copies_reach_the_score_of_one(store, pictures, tmp_path):
    encoder = Encoder(TinyBackbone())
    address = f"milvus:{tmp_path / 'items.db'}" if store == "milvus" else store
    index = Index.create(tmp_path / "i", encoder, store=address)
    rng = np.random.default_rng(3)
    noise = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    # Directions for which a float32 row times itself falls on both sides of 1.
    rows = rng.standard_normal((60, encoder.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[:40] = encoder.encode_images([noise])[0]
    ids = [f"{number:02d}" for number in range(60)]
    table = pa.table({"id": ids, "path": ids, "domain": ["photo"] * 60})
    index.upsert(table, rows, encoder.fingerprint)
    searcher = Searcher(index)
    answer = searcher.answer([QueryPart("image", noise)], SearchOptions(top=60, min_score=1.0))
    assert [found.hit.id for found in answer.hits] == ids[:40]
    for number in range(40, 60):
        only = searcher.answer([QueryPart("vector", rows[number])], SearchOptions(top=60, min_score=1.0))
        assert [found.hit.id for found in only.hits] == [ids[number]]
        assert only.hits[0].hit.score <= 1
    folded = searcher.answer([QueryPart("image", noise)], SearchOptions(top=60, fold=1.0))
    assert len(folded.hits) == 21
    for method in ("aqe", "dba"):
        options = SearchOptions(top=60, min_score=1.0, rerank=method)
        assert len(searcher.answer([QueryPart("image", noise)], options).hits) == 40


@pytest.mark.parametrize("score", [1.0001, -2, float("nan"), float("inf")])
def test_scores_that_no_hit_can_have(score):
    with pytest.raises(ValueError, match="min_score"):
        SearchOptions(min_score=score)


class TestWords:
    @pytest.fixture
    def searcher(self, pictures, tmp_path):
        register_talker()
        encoder = frozen_encoder(crosslens.load_backbone("talker"), joint=True)
        return Searcher(Index.build(Catalog.open(pictures), encoder, tmp_path / "t", store="exact")[0])

    @pytest.mark.parametrize("text", ["\u200b", "\u0301\u0001", "\u202e\u202c", "caf\udce9"])
    def test_no_words(self, searcher, text):
        for ask in (searcher.embed_texts, lambda texts: searcher.answer(weighted_parts(texts=texts))):
            with pytest.raises(ConfigError, match=r"reads no word in the text '|is no UTF-8 text"):
                ask(["circle", text])

    def test_too_many_letters(self, searcher):
        searcher.embed_texts(["é" * MOST_LETTERS])
        with pytest.raises(ConfigError, match="has 2,001 letters, more than 2,000"):
            searcher.embed_texts(["é" * 2001])

    def test_what_was_not_read_is_said(self, searcher):
        from crosslens.backbones.reading import Reading

        readings = {"a 🐘 dog": Reading(True, ("🐘",)), "long": Reading(True, (), "an elephant " * 9)}
        # The encoder itself, before its compiled form is made of it.
        searcher.index.encoder.backbone.reading = lambda text: readings.get(text, Reading(True))
        notes = searcher.answer(weighted_parts(texts=["a 🐘 dog", "circle", "long"])).notes
        assert notes == (
            "talker does not know '🐘' in the text 'a 🐘 dog'",
            "the text is longer than talker reads at once;"
            " left out is 'an elephant an elephant an elephant an e…'",
        )
        assert searcher.answer(weighted_parts(texts=["circle"])).notes == ()


KNOWN = ["photo", "peinture_é", "sketch"]


@pytest.mark.parametrize(
    ("name", "meant", "said"),
    [
        (None, None, ()),
        ("auto", "auto", ()),
        ("sketch", "sketch", ()),
        ("  sketch\u200b ", "sketch", ()),
        ("peinture_e\u0301", "peinture_é", ()),
        (
            "Sketch",
            "sketch",
            ("knows no domain 'Sketch', only photo, peinture_é, sketch; it is taken for",),
        ),
        ("skech", "skech", ("the encoder knows no domain 'skech'", "unknown domain; did you mean 'sketch'?")),
    ],
)
def test_the_domain_that_is_meant(name, meant, said):
    found, notes = resolve_domain(name, KNOWN)
    assert found == meant
    assert len(notes) == bool(said)
    assert all(part in notes[0] for part in said)
    # Where no domain is treated apart every name is as good.
    assert resolve_domain("anything", []) == ("anything", ())


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "a\nb", "a\x1b[31m", "caf\udce9"])
def test_names_that_are_none(name):
    for known in (KNOWN, []):
        with pytest.raises(ConfigError, match="the domain '"):
            resolve_domain(name, known)


def test_an_unknown_domain_is_said_with_the_answer(centred, pictures, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), centred, tmp_path / "c", store="exact")
    searcher = Searcher(index)
    picture = pictures / "sketch" / "cross" / "01.png"
    told, near, far = (
        searcher.answer([QueryPart("image", picture)], SearchOptions(top=5), name)
        for name in ("sketch", "Sketch", "Zeichnung")
    )
    assert told.notes == ()
    assert [found.hit for found in near.hits] == [found.hit for found in told.hits]
    assert near.domain == "sketch"
    assert "'Sketch'" in near.notes[0]
    assert far.domain == "Zeichnung"
    assert "'Zeichnung'" in far.notes[0]
    assert [found.hit.score for found in far.hits] != [found.hit.score for found in told.hits]
    (embedded,) = searcher.embed([picture], "Sketch")
    assert embedded.domain == "sketch"
