"""An index answers for every form of a name, also one of an earlier version, with names as the disk had them."""

import shutil
import unicodedata

import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.filters.text import parse_filter
from crosslens.search.index.index import Index
from crosslens.search.query.query import QueryPart, make_options
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import CatalogError, StoreError
from testing.tiny_backbone import TinyBackbone


def nfd(text):
    return unicodedata.normalize("NFD", text)


FORMS = pytest.mark.parametrize("typed", [str, nfd], ids=["typed-nfc", "typed-nfd"])


@pytest.fixture
def accented(pictures):
    """Domains and classes with accents, both in the decomposed form."""
    root = pictures.parent / "accented"
    shutil.copytree(pictures / "photo" / "circle", root / nfd("été") / nfd("café"))
    shutil.copytree(pictures / "sketch" / "circle", root / "sketch" / "café")
    return root


@pytest.fixture(params=["lance", "exact", "milvus"])
def built(accented, tmp_path, request):
    if request.param == "milvus":
        pytest.importorskip("milvus_lite")
    return Index.build(Catalog.open(accented), Encoder(TinyBackbone()), tmp_path / "i", store=request.param)[0]


@pytest.fixture(params=["new", "old"])
def index(built, request):
    """As it is built now, or with labels and domains as earlier versions took them from the disk."""
    if request.param == "old":
        rows = [
            {**row, "domain": nfd(row["domain"]), "label": nfd(row["label"])} for row in built.items.to_pylist()
        ]
        built.upsert(type(built.items).from_pylist(rows, built.items.schema), built.vectors, built.fingerprint)
    return built


@FORMS
@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("label = 'café'", 24),
        ("label in ('thé', 'café')", 24),
        ("domain = 'été'", 12),
        ("domain != 'été'", 12),
        ("not label = 'café'", 0),
        ("id = 'été/café/03.png'", 1),
        ("id starts with 'été/ca'", 12),
        ("label = 'cafe'", 0),
    ],
)
def test_filters(index, typed, where, count):
    assert index.count(parse_filter(typed(where))) == count


@FORMS
@pytest.mark.parametrize(
    ("where", "count"),
    [("label between 'café' and 'café'", 24), ("domain >= 'été'", 12), ("domain < 'été'", 12)],
)
def test_ranges(built, typed, where, count):
    assert built.count(parse_filter(typed(where))) == count


@FORMS
def test_like_get_and_delete(index, typed):
    image = "été/café/03.png"
    stored = f"{nfd('été')}/{nfd('café')}/03.png"
    assert index.get(typed(image))[0].id == stored
    searcher = Searcher(index)
    found = searcher.answer([QueryPart("like", typed(image))], make_options(top=24)).hits
    assert stored not in [entry.hit.id for entry in found]
    assert index.delete([typed(image), typed("été/café/none.png")]) == 1
    assert len(index) == 23
    with pytest.raises(StoreError, match="there is no item"):
        index.get(typed(image))


@FORMS
def test_domains_of_build_and_add(accented, tmp_path, typed):
    encoder, catalog = Encoder(TinyBackbone()), Catalog.open(accented)
    made = Index.build(catalog, encoder, tmp_path / "one", store="exact", domains=[typed("Été")])[0]
    assert len(made) == 12
    assert made.domains_of(str(accented.resolve())) == ["été"]
    report = made.add(catalog, domains=[typed("SKETCH")])
    assert (report.added, report.unchanged, len(made)) == (12, 12, 24)
    with pytest.raises(CatalogError, match="did you mean 'sketch'"):
        made.add(catalog, domains=["skech"])
