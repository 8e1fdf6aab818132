"""A search as one value, put to a searcher."""

import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.search.query.query import QueryPart, SearchOptions
from crosslens.search.query.search_request import SearchRequest
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import ConfigError
from testing.tiny_backbone import TinyBackbone


def test_it_is_made_of_pictures_texts_and_ids_and_gives_the_searchers_answer(tiny_world, pictures, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="exact")
    searcher, picture = Searcher(index), pictures / "sketch" / "circle" / "00.png"
    request = SearchRequest.made_of(
        images=[picture], like=["photo/circle/00.png"], weights=[1, -0.5], top=3, where="domain = 'photo'"
    )
    assert request.parts == (QueryPart("image", picture), QueryPart("like", "photo/circle/00.png", -0.5))
    found = searcher.answer_request(request)
    assert found.hits == searcher.answer(request.parts, request.options).hits
    assert {one.hit.domain for one in found.hits} == {"photo"}
    assert SearchRequest(parts=request.parts).options == SearchOptions()


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"top": 0}, "top = 0"), ({"weights": [1]}, "need 0|0 queries"), ({"where": "dog"}, "dog")],
)
def test_wrong_ones_are_refused(asked, message):
    with pytest.raises(ConfigError, match=message):
        SearchRequest.made_of(**asked)
