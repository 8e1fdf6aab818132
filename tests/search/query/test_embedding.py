"""Which calls of the network pictures need, and what is made of them."""

import numpy as np

from crosslens.encoder import Encoder
from crosslens.search.query.embedding import (
    PictureFeatures,
    assign_domains,
    encode_pictures,
    group_by_domain,
    needs_frozen,
)
from testing.tiny_backbone import TinyBackbone


def test_domains_are_detected_where_asked_for_alone():
    asked = []

    def detect(features):
        asked.append(len(features))
        return ["sketch", "photo", None]

    frozen = np.zeros((3, 4), np.float32)
    assert assign_domains(["auto", None, "auto"], frozen, detect) == ["sketch", None, None]
    assert assign_domains(["a", None, "b"], frozen, detect) == ["a", None, "b"]
    assert asked == [3]


def test_pictures_of_one_domain_are_one_call():
    assert group_by_domain(["a", None, "a", "b"]) == {"a": [0, 2], None: [1], "b": [3]}
    assert group_by_domain([]) == {}


def test_one_network_for_all_domains_needs_its_features_alone(tiny_world):
    encoder = Encoder(TinyBackbone())
    frozen = np.random.default_rng(0).normal(size=(3, encoder.backbone.dim)).astype(np.float32)
    assert needs_frozen(encoder, ["photo"])
    domains = ["photo", None, "sketch"]
    made = encode_pictures(encoder, [PictureFeatures(*one) for one in zip(domains, frozen, frozen, strict=True)])
    assert [picture.domain for picture in made] == domains
    assert np.array_equal(np.stack([picture.features for picture in made]), frozen)
    assert np.array_equal(np.stack([picture.vector for picture in made]), encoder.encode_features(frozen))


def test_networks_of_each_domain_have_features_of_their_own(prompted):
    assert not needs_frozen(prompted, ["photo", None])
    assert needs_frozen(prompted, ["photo", "auto"])
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, prompted.backbone.dim)).astype(np.float32)
    domains = ["photo", "sketch", "photo"]
    made = encode_pictures(prompted, [PictureFeatures(*one, None) for one in zip(domains, rows, strict=True)])
    expected = prompted.encode_features(rows, domains)
    assert np.allclose(np.stack([picture.vector for picture in made]), expected, atol=1e-6)
    assert all(picture.features is None for picture in made)
