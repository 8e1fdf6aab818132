"""A round of searches: what fails for one collection leaves the others their answers."""

import json

import numpy as np

from crosslens.search.query.embedding import PictureFeatures
from crosslens.server.answering import _answer_all, _Due
from crosslens.server.schemas import SearchRequest


def test_an_encoder_that_fails_ends_its_own_searches_alone(served):
    (collection,) = served.service.collections.values()

    class Broken:
        index = collection.index

        @property
        def encoder(self):
            return self

        def encode_features(self, features, domains):
            raise ValueError("no vectors")

    asked = SearchRequest.model_validate_json('{"parts": [{"image": 0}], "top": 1}')
    features = collection.encoder.image_features([np.zeros((8, 8, 3), np.uint8)], frozen=True)[0]
    pictures = [PictureFeatures(None, features, features)]
    failed, answered = _answer_all(
        [
            _Due(served.service.meter, collection, searcher, asked, pictures, {})
            for searcher in (Broken(), collection.searcher)
        ]
    )
    assert isinstance(failed, ValueError)
    assert len(json.loads(answered)["hits"]) == 1
