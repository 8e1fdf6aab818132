"""From parts to an answer, against scores computed from all vectors at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Joint
from crosslens.search.filters.conditions import Eq, Prefix
from crosslens.search.index.index import Index
from crosslens.search.query.query import QueryPart, SearchOptions, weighted_parts
from crosslens.search.query.search_request import SearchRequest
from crosslens.search.query.searcher import Searcher
from crosslens.search.rerank.diffusion import diffuse
from crosslens.search.rerank.graph import neighbour_graph
from crosslens.search.rerank.k_reciprocal import k_reciprocal
from crosslens.search.rerank.query_expansion import expand_query
from crosslens.support.errors import (
    BackboneError,
    ConfigError,
    CrosslensError,
    ImageError,
    StoreError,
    UnknownItemError,
)
from testing.reading_backbone import register_talker


def everything(index):
    batches = list(index.scan(vectors=True))
    ids = [image for table, _ in batches for image in table.column("id").to_pylist()]
    return np.array(ids), np.concatenate([vectors for _, vectors in batches])


def ids_of(answer):
    return [found.hit.id for found in answer.hits]


def ranked(index, vector):
    ids, vectors = everything(index)
    scores = vectors @ vector
    order = np.lexsort((ids, -scores))
    return ids[order].tolist(), scores[order]


@pytest.fixture
def searcher(index):
    return Searcher(index)


def test_pictures_items_and_vectors_are_mixed_with_their_weights(searcher, pictures):
    index = searcher.index
    picture = pictures / "photo" / "square" / "04.png"
    a, b = index.encoder.encode_images([picture])[0], index.get("sketch/cross/00.png")[1]
    c = index.get("photo/circle/00.png")[1]
    vector = a - 0.5 * b + 0.25 * c
    vector /= np.linalg.norm(vector)
    parts = [
        QueryPart("image", picture),
        QueryPart("like", "sketch/cross/00.png", -0.5),
        QueryPart("vector", c, 0.25),
    ]
    answer = searcher.answer(parts, SearchOptions(top=7, include_self=True))
    ids, scores = ranked(index, vector)
    assert ids_of(answer) == ids[:7]
    assert np.allclose([f.hit.score for f in answer.hits], scores[:7], atol=1e-5)
    assert answer.match_probability is None
    assert not answer.no_match
    assert set(answer.seconds) == {"embed", "search", "sort"}
    assert all(value >= 0 for value in answer.seconds.values())


def test_a_transparent_sketch_counts_as_drawn_on_white(searcher, pictures):
    drawn = Image.open(pictures / "sketch" / "circle" / "03.png").convert("L")
    layer = Image.merge("RGBA", [Image.new("L", drawn.size)] * 3 + [drawn.point(lambda v: 255 - v)])
    (clear, opaque) = searcher.embed([layer, drawn])
    assert clear.vector @ opaque.vector > 0.9999
    black = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    assert searcher.embed([black])[0].vector @ opaque.vector < 0.99
    pen = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    ImageDraw.Draw(pen).ellipse((60, 60, 240, 240), outline="black", width=12)
    answer = searcher.answer(
        [QueryPart("image", pen)], SearchOptions(top=8, where=Eq(field="domain", value="sketch"))
    )
    assert len(answer.hits) == 8


def test_an_indexed_item_leaves_itself_out_unless_told(searcher):
    parts = weighted_parts(like=["photo/circle/00.png"])
    without = searcher.answer(parts, SearchOptions(top=95))
    assert "photo/circle/00.png" not in ids_of(without)
    assert len(without.hits) == 95
    assert ids_of(searcher.answer(parts, SearchOptions(top=1, include_self=True))) == ["photo/circle/00.png"]


def test_cut_off_filter_and_order(searcher):
    parts = weighted_parts(like=["photo/circle/00.png"])
    vector = searcher.index.get("photo/circle/00.png")[1]
    ids, scores = ranked(searcher.index, vector)
    cut = float(scores[9] + scores[10]) / 2
    answer = searcher.answer(parts, SearchOptions(top=50, min_score=cut, include_self=True))
    assert ids_of(answer) == ids[:10]
    where = Prefix(field="id", value="sketch/")
    filtered = searcher.answer(parts, SearchOptions(top=50, where=where, sort="-id"))
    expected = [image for image in ids if image.startswith("sketch/")]
    assert ids_of(filtered) == sorted(expected, reverse=True)
    # The key orders the best ones; it does not choose them.
    assert set(ids_of(searcher.answer(parts, SearchOptions(top=5, sort="path", include_self=True)))) == set(
        ids[:5]
    )


def add_copies(index, of, count):
    _, vector = index.get(of)
    ids = [f"copy/{number:02d}" for number in range(count)]
    rows = {"id": ids, "path": [f"/{i}" for i in ids], "domain": ["photo"] * count, "label": [None] * count}
    index.upsert(pa.table(rows), np.repeat(vector[None], count, axis=0), index.fingerprint)


def test_folding_fetches_on_until_enough_are_left(searcher):
    index = searcher.index
    add_copies(index, "photo/circle/00.png", 40)
    parts = weighted_parts(like=["photo/circle/00.png"])
    answer = searcher.answer(parts, SearchOptions(top=10, fold=0.9999, include_self=True))
    assert len(answer.hits) == 10
    first = answer.hits[0]
    assert {first.hit.id, *first.duplicates} == {"photo/circle/00.png", *(f"copy/{n:02d}" for n in range(40))}
    ids, _ = ranked(index, index.get("photo/circle/00.png")[1])
    others = [image for image in ids if image not in {first.hit.id, *first.duplicates}]
    assert ids_of(answer)[1:] == others[:9]
    # No two of what is kept are alike, and nothing is shown twice.
    vectors = index.store.get(ids_of(answer))[1]
    assert (vectors @ vectors.T - 2 * np.eye(10)).max() < 0.9999
    everything_ = searcher.answer(parts, SearchOptions(top=1000, fold=0.9999, include_self=True))
    shown = [i for found in everything_.hits for i in (found.hit.id, *found.duplicates)]
    assert sorted(shown) == sorted(ids)
    assert len(ids_of(searcher.answer(parts, SearchOptions(top=10, include_self=True)))) == 10


def test_folding_is_bounded_and_says_so(searcher, monkeypatch):
    index, read = searcher.index, []
    add_copies(index, "photo/circle/00.png", 150)
    parts = weighted_parts(like=["photo/circle/00.png"])
    answer = searcher.answer(parts, SearchOptions(top=5, fold=0.9999))
    first = answer.hits[0]
    assert len(first.duplicates) == 100
    assert any("100 near-duplicates" in note for note in answer.notes)
    assert answer.to_json()["notes"] == list(answer.notes)
    # The rest is shown as if all had been listed.
    ids, _ = ranked(index, index.get("photo/circle/00.png")[1])
    others = [image for image in ids if not image.startswith("copy/") and image != "photo/circle/00.png"]
    assert ids_of(answer)[1:] == others[:4]

    monkeypatch.setattr("crosslens.search.query.listing.MOST_FOLDED", 60)
    get = index.store.get
    monkeypatch.setattr(index.store, "get", lambda ids: read.extend(ids) or get(ids))
    cut = searcher.answer(parts, SearchOptions(top=5, fold=0.9999))
    assert len(cut.hits) == 1
    assert any("60 items" in note for note in cut.notes)
    assert len(read) <= 62
    assert searcher.answer(parts, SearchOptions(top=5)).notes == ()


def test_rerankers_are_the_functions_on_the_whole_graph(searcher):
    index = searcher.index
    ids, vectors = everything(index)
    query = index.get("sketch/circle/05.png")[1]
    scores = vectors @ query
    graph = neighbour_graph(vectors, 50)
    expanded = expand_query(query, vectors[np.argsort(-scores)[:10]], np.sort(scores)[::-1][:10])
    expected = {
        "k-reciprocal": -k_reciprocal(scores, vectors, graph),
        "diffusion": diffuse(scores, graph),
        "aqe": vectors @ expanded,
    }
    parts = [QueryPart("vector", query)]
    for name, better in expected.items():
        answer = searcher.answer(parts, SearchOptions(top=20, rerank=name))
        values = dict(zip(ids, better, strict=True))
        got = [values[i] for i in ids_of(answer)]
        assert np.allclose(got, np.sort(better)[::-1][:20], atol=1e-5), name
        # Scores stay similarities with the query as it was asked.
        plain = dict(zip(ids, scores, strict=True))
        assert np.allclose([f.hit.score for f in answer.hits], [plain[i] for i in ids_of(answer)], atol=1e-5)
        assert "rerank" in answer.seconds
    assert len(searcher.answer(parts, SearchOptions(top=96, rerank="dba")).hits) == 96


def test_large_indexes_and_filters_are_reranked_on_the_list_alone(index):
    parts = weighted_parts(like=["photo/circle/00.png"])
    small, large = Searcher(index), Searcher(index, graph_limit=10)
    for name in ("dba", "k-reciprocal", "diffusion"):
        options = SearchOptions(top=96, rerank=name, include_self=True)
        # Here the list is the whole index, so both graphs are the same.
        assert ids_of(large.answer(parts, options)) == ids_of(small.answer(parts, options))
        where = Eq(field="domain", value="photo")
        filtered = large.answer(parts, options.model_copy(update={"where": where}))
        assert len(filtered.hits) == 48
        assert {found.hit.domain for found in filtered.hits} == {"photo"}
    assert large.graphs._made is None


def test_the_graph_follows_the_index(searcher):
    parts = weighted_parts(like=["photo/circle/00.png"])
    options = SearchOptions(top=96, rerank="diffusion", include_self=True)
    searcher.answer(parts, options)
    first = searcher.graphs._made
    searcher.answer(parts, options)
    assert searcher.graphs._made is first
    searcher.index.delete(["photo/circle/01.png"])
    assert len(searcher.answer(parts, options).hits) == 95
    assert searcher.graphs._made is not first


def test_fold_rerank_and_cut_together(searcher):
    add_copies(searcher.index, "photo/circle/00.png", 5)
    parts = weighted_parts(like=["photo/circle/00.png"])
    for name in ("aqe", "k-reciprocal"):
        answer = searcher.answer(parts, SearchOptions(top=8, fold=0.9999, rerank=name, min_score=0.2))
        assert len(answer.hits) == 8
        assert all(found.hit.score >= 0.2 for found in answer.hits)
        shown = [i for found in answer.hits for i in (found.hit.id, *found.duplicates)]
        assert len(shown) == len(set(shown))


def test_a_hit_that_is_deleted_meanwhile_is_no_error(searcher, monkeypatch):
    index, find = searcher.index, searcher.index.search
    vector = index.get("photo/circle/00.png")[1]

    def search_then_lose(*arguments, **options):
        found = find(*arguments, **options)
        index.delete(["photo/circle/00.png"])
        return found

    monkeypatch.setattr(index, "search", search_then_lose)
    answer = searcher.answer_vector(vector, SearchOptions(top=5, fold=0.9999))
    assert len(answer.hits) == 5
    assert "photo/circle/00.png" not in ids_of(answer)


def test_no_match_is_an_answer(searcher):
    parts = weighted_parts(like=["photo/circle/00.png"])
    answer = searcher.answer(parts, SearchOptions(min_match=1.0))
    assert answer.no_match
    assert answer.hits == ()
    assert 0 < answer.match_probability < 1
    assert searcher.calibrated
    # Once calibrated, the probability comes with every answer.
    again = searcher.answer(parts, SearchOptions())
    assert again.match_probability == pytest.approx(answer.match_probability, abs=1e-4)
    assert len(again.hits) == 20
    assert again.to_json()["hits"][0]["duplicates"] == []


def test_the_probability_is_that_of_what_is_searched(searcher):
    """An item that is alone of its kind has no counterpart, unless it may find itself."""
    odd = np.zeros((1, 64), np.float32)
    vectors = everything(searcher.index)[1]
    # The direction that all items have least of.
    odd[0] = np.linalg.svd(vectors, full_matrices=True)[2][-1]
    searcher.index.upsert(
        pa.table({"id": ["odd"], "path": ["/odd"], "domain": ["photo"], "label": ["guitar"]}),
        odd,
        searcher.index.fingerprint,
    )
    known, alone = weighted_parts(like=["photo/circle/00.png"]), weighted_parts(like=["odd"])
    asked = SearchOptions(min_match=0.0)
    found = searcher.answer(alone, asked)
    assert found.match_probability < 0.1
    assert searcher.answer(alone, SearchOptions(min_match=0.5)).no_match
    # Once calibrated, the hits say the same.
    assert searcher.answer(alone).match_probability == pytest.approx(found.match_probability, abs=1e-4)
    assert searcher.answer(known, asked).match_probability > 0.5
    itself = searcher.answer(alone, SearchOptions(min_match=0.0, include_self=True))
    assert itself.match_probability > 0.5
    where = Eq(field="label", value="guitar")
    filtered = searcher.answer(known, SearchOptions(min_match=0.0, where=where))
    assert filtered.match_probability < 0.1
    again = searcher.answer(known, SearchOptions(where=where, rerank="aqe"))
    assert again.match_probability == pytest.approx(filtered.match_probability, abs=1e-4)


def test_the_domain_told_or_detected_is_the_one_used(centred, pictures, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), centred, tmp_path / "c", store="exact")
    searcher = Searcher(index)
    sketch, photo = pictures / "sketch" / "cross" / "07.png", pictures / "photo" / "cross" / "07.png"
    detected = searcher.answer(weighted_parts(images=[sketch]), SearchOptions(top=1), "auto")
    told = searcher.answer(weighted_parts(images=[sketch]), SearchOptions(top=1), "sketch")
    unknown = searcher.answer(weighted_parts(images=[sketch]), SearchOptions(top=1))
    assert (detected.domain, told.domain, unknown.domain) == ("sketch", "sketch", None)
    assert ids_of(detected) == ids_of(told)
    assert detected.hits[0].hit.score == pytest.approx(1, abs=2e-3)
    assert unknown.hits[0].hit.score < detected.hits[0].hit.score
    both = searcher.answer(weighted_parts(images=[sketch, photo]), SearchOptions(top=1), "auto")
    assert both.domain is None
    assert [made.domain for made in searcher.embed([sketch, photo, sketch], ["auto", None, "photo"])] == [
        "sketch", None, "photo",
    ]  # fmt: skip
    assert Searcher(Index.open(index.folder)).embed([]) == []


def test_prompts_are_those_of_the_domain(prompted, pictures, tmp_path):
    images = Catalog.open(pictures)
    index, _ = Index.build(images, prompted, tmp_path / "p", store="exact", device="torch-cpu")
    sketch = pictures / "sketch" / "cross" / "07.png"
    searcher = Searcher(index, device="torch-cpu")
    for domain in ("sketch", "photo"):
        expected = prompted.encode_images([sketch], domain, device="torch-cpu")[0]
        assert np.allclose(searcher.embed([sketch], domain)[0].vector, expected, atol=1e-5)
    answer = searcher.answer(weighted_parts(images=[sketch]), SearchOptions(top=1), "sketch")
    assert answer.hits[0].hit.score == pytest.approx(1, abs=1e-3)


def test_embedding_apart_gives_the_same_answer(centred, pictures, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), centred, tmp_path / "c", store="exact")
    searcher = Searcher(index, unlabelled=pictures / "sketch", unlabelled_domain="sketch")
    files = [pictures / "sketch" / "cross" / f"0{n}.png" for n in range(3)]
    options = SearchOptions(top=5, min_match=0.0)
    for file, made in zip(files, searcher.embed([f.read_bytes() for f in files], "sketch"), strict=True):
        apart = searcher.answer([QueryPart("image", made)], options)
        at_once = searcher.answer([QueryPart("image", file)], options, "sketch")
        assert ids_of(apart) == ids_of(at_once)
        assert apart.domain == "sketch"
        assert apart.match_probability == pytest.approx(at_once.match_probability, abs=1e-5)
        alone = searcher.answer_vector(made.vector, options, features=made.features[None])
        assert ids_of(alone) == ids_of(at_once)


def test_words_where_the_encoder_reads(pictures, tmp_path):
    import crosslens

    register_talker()
    talker = crosslens.load_backbone("talker")
    encoder = Encoder(talker, [Joint(talker)])
    index, _ = Index.build(Catalog.open(pictures), encoder, tmp_path / "t", store="exact")
    searcher = Searcher(index)
    text = "a photo of a circle"
    answer = searcher.answer(weighted_parts(texts=[text]), SearchOptions(top=6))
    assert ids_of(answer) == ranked(index, encoder.encode_texts([text])[0])[0][:6]
    mixed = searcher.answer(
        weighted_parts(texts=[text], like=["photo/cross/01.png"], weights=[1, -0.5]), SearchOptions(top=6)
    )
    assert ids_of(mixed) != ids_of(answer)
    with pytest.raises(ConfigError, match="text to search for is empty"):
        searcher.answer(weighted_parts(texts=["  "]))


def test_many_threads_get_the_same_answers(index, pictures):
    parts = [weighted_parts(images=[file]) for file in sorted((pictures / "sketch").rglob("*.png"))[:12]]
    options = SearchOptions(top=5, rerank="diffusion", min_match=0.0)
    alone = [ids_of(Searcher(index).answer(part, options)) for part in parts]
    shared = Searcher(index)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda part: ids_of(shared.answer(part, options)), parts))
    assert together == alone


def test_queries_answered_together_keep_their_own_number_and_filter(searcher):
    index = searcher.index
    rows = index.sample(6, seed=2)
    circles, few = Eq(field="label", value="circle"), Eq(field="domain", value="sketch")
    wanted = [(3, None), (5, None), (3, circles), (3, few), (3, None), (40, circles)]
    goals = ["kind", "thing"] * 3
    asked = [(row, *rest, goal) for row, rest, goal in zip(rows, wanted, goals, strict=True)]
    alone = [index.search(row[None], count, where, goal=goal)[0] for row, count, where, goal in asked]
    assert searcher.search.search_all(asked) == alone
    assert len({len(hits) for hits in alone}) > 2


def shown(answer):
    """All of an answer but how long it took, an error as its words."""
    if isinstance(answer, Exception):
        return type(answer), str(answer)
    return (
        answer.hits,
        answer.match_probability,
        answer.no_match,
        answer.domain,
        answer.notes,
        answer.match_is_rough,
    )


def test_several_queries_at_once_have_the_answers_they_have_alone(index, pictures, monkeypatch):
    files = sorted((pictures / "sketch").rglob("*.png"))[:4]
    circles = Eq(field="label", value="circle")
    made_of = SearchRequest.made_of
    asked = [
        made_of(images=[files[0]], top=5),
        made_of(images=[files[1]], top=5, where=circles),
        made_of(like=["nobody"]),
        made_of(images=[files[2]], top=3, rerank="diffusion", fold=0.9),
        made_of(texts=["a cat"]),
        made_of(images=[files[3]], top=5, min_match=1.0),
        made_of(like=["photo/circle/00.png"], top=4, sort="label"),
        made_of(images=[files[0]], top=5, goal="thing", domain="sketch"),
        made_of(),
    ]
    made = Searcher(index)
    made.match_estimator.prepare()
    alone = []
    for one in asked:
        try:
            alone.append(made.answer_request(one))
        except CrosslensError as error:
            alone.append(error)
    passes = []
    real = index.search
    monkeypatch.setattr(
        index, "search", lambda *given, **more: passes.append(len(given[0])) or real(*given, **more)
    )
    together = made.answer_all(asked)
    assert [shown(one) for one in together] == [shown(one) for one in alone]
    assert [type(one) for one in together].count(UnknownItemError) == 1
    passes.clear()
    made.answer_all([made_of(images=[file], top=5) for file in files[:2]])
    assert passes == [2]


@pytest.mark.filterwarnings("ignore:Image size")
def test_bad_queries_are_named(searcher, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("1", (12_000, 12_000)).save(tmp_path / "huge.png")
    a = "photo/circle/00.png"
    for parts, error, message in (
        ([], ConfigError, "at least one query"),
        (weighted_parts(images=[tmp_path / "none.png"]), ImageError, "does not exist"),
        (weighted_parts(images=[tmp_path / "broken.png"]), ImageError, "broken.png"),
        (weighted_parts(images=[tmp_path / "empty.png"]), ImageError, "is empty"),
        (weighted_parts(images=[tmp_path / "huge.png"]), ImageError, "12000 x 12000 pixels"),
        (weighted_parts(images=[tmp_path]), ImageError, "cannot be read: Is a directory"),
        (weighted_parts(texts=["a cat"]), BackboneError, "does not understand text"),
        (weighted_parts(like=["nobody"]), UnknownItemError, "nobody"),
        (weighted_parts(like=[a, a], weights=[1, -1]), ConfigError, "cancel"),
        ([QueryPart("vector", np.ones(3, np.float32))], StoreError, "64 finite numbers"),
        ([QueryPart("vector", np.ones(64, np.float32))], StoreError, "length 1"),
        ([QueryPart("vector", np.full(64, np.nan, np.float32))], StoreError, "finite"),
    ):
        with pytest.raises(error, match=message):
            searcher.answer(parts)
    with pytest.raises(ConfigError, match="1 pictures need 1 domains"):
        searcher.embed([Image.new("RGB", (8, 8))], ["a", "b"])


def test_an_empty_index_answers_nothing(tmp_path, tiny_world):
    from testing.tiny_backbone import TinyBackbone

    index = Index.create(tmp_path / "e", Encoder(TinyBackbone()), store="exact")
    vector = np.eye(64, dtype=np.float32)[0]
    for options in (SearchOptions(), SearchOptions(fold=0.9, rerank="k-reciprocal"), SearchOptions(rerank="aqe")):
        assert Searcher(index).answer_vector(vector, options).hits == ()
