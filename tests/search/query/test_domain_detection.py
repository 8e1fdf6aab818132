import numpy as np
import pytest
import torch

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, DomainMap, Looks, Whitened
from crosslens.encoder.querying import find_nearest_domain
from crosslens.features.load import features_of
from crosslens.search.filters.conditions import Eq
from crosslens.search.index.index import Index
from crosslens.search.query.domain_detection import DomainDetector
from crosslens.search.query.query import SearchOptions, weighted_parts
from crosslens.search.query.searcher import Searcher
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import SHAPES, make_pictures


def test_the_nearest_mean_is_the_one_with_the_largest_cosine():
    rng = np.random.default_rng(0)
    rows, means = rng.normal(size=(20, 6)), rng.normal(size=(3, 6))
    cosines = rows @ means.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    names = ["line", "photo", "clipart"]
    found = find_nearest_domain(rows, dict(zip(names, means, strict=True)))
    assert found == [names[place] for place in cosines.argmax(1)]


def test_pictures_that_made_no_mean_are_told_apart(centred, tmp_path):
    fresh = Catalog.open(make_pictures(tmp_path / "fresh", seed=9))
    detected = centred.detect_domains(centred.image_features(fresh.paths, frozen=True))
    right = [name == own for name, own in zip(detected, fresh.column("domain"), strict=True)]
    assert np.mean(right) > 0.9


def test_a_whitened_part_knows_domains_too_and_a_bare_encoder_none(centred, tmp_path, pictures):
    features = features_of(Catalog.open(pictures), TinyBackbone())
    unit = features.centre / np.linalg.norm(features.centre, axis=1, keepdims=True)
    own = np.array(features.catalog.column("domain"))
    means = {d: torch.from_numpy(unit[own == d].mean(0)) for d in ("photo", "sketch")}
    part = Whitened(torch.eye(64), means, 0.3)
    detected = Encoder(TinyBackbone(), [part]).detect_domains(features.centre)
    assert np.mean(np.array(detected) == own) > 0.9
    assert Encoder(TinyBackbone()).detect_domains(features.centre[:2]) == [None, None]
    alone = Encoder(TinyBackbone(), [Centre({"photo": torch.zeros(64)})])
    assert alone.detect_domains(features.centre[:1]) == [None]
    assert alone.domains == ["photo"]
    assert Encoder(TinyBackbone()).domains == []


@pytest.fixture
def fresh(tmp_path, tiny_world):
    """Pictures of the two looks that no encoder and no index has seen."""
    return Catalog.open(make_pictures(tmp_path / "fresh", count=6, seed=9))


def share_right(detected, catalog):
    return np.mean([name == own for name, own in zip(detected, catalog.column("domain"), strict=True)])


QUICK = {"epochs": 2, "batch_size": 16, "views": 2, "head": [32, 16]}


@pytest.mark.parametrize("method", ["instance", "text-map", "frozen"])
def test_a_fitted_encoder_tells_its_domains(pictures, tmp_path, fresh, method):
    """Methods without means of their own, one of them with a map of one domain alone."""
    from testing.reading_backbone import register_talker

    register_talker()
    settings = {"instance": QUICK, "text-map": {"map_share": 1.0}, "frozen": {}}[method]
    options = {"classes": SHAPES} if method == "text-map" else {}
    backbone = "talker" if method == "text-map" else "tiny"
    run = crosslens.fit(method, pictures, out=tmp_path / "run", backbone=backbone, settings=settings, **options)
    encoder = crosslens.load_encoder(run.folder)
    assert encoder.part(Centre) is None
    features = encoder.image_features(fresh.paths, frozen=True)
    assert share_right(encoder.detect_domains(features), fresh) > 0.9
    # A look is the mean feature of the domain's images, and changes neither a vector nor the fingerprint.
    found = features_of(Catalog.open(pictures), encoder.backbone)
    for domain, look in encoder.part(Looks).means.items():
        assert np.allclose(look, found.of_domain(domain).centre.mean(0), atol=1e-3)
    vectors = encoder.encode_features(features, "photo")
    bare = encoder.with_part(Looks({}))
    assert bare.fingerprint == encoder.fingerprint
    assert np.array_equal(bare.encode_features(features, "photo"), vectors)
    # The detected domain is the one that is applied: also where it has a map and no mean.
    index, _ = Index.build(Catalog.open(pictures), encoder, tmp_path / "i", store="exact")
    searcher = Searcher(index)
    embedded = searcher.embed(fresh.paths, "auto")
    told = searcher.embed(fresh.paths, fresh.column("domain"))
    same = [np.allclose(a.vector, b.vector, atol=1e-6) for a, b in zip(embedded, told, strict=True)]
    assert np.mean(same) > 0.9
    assert searcher.detector.notes() == ()


def test_the_items_of_an_index_stand_in_for_means(pictures, tmp_path, fresh):
    """An encoder that keeps no means and maps sketches far from where they were."""
    turned, _ = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))
    encoder = Encoder(TinyBackbone(), [DomainMap({"sketch": turned})])
    index, _ = Index.build(Catalog.open(pictures), encoder, tmp_path / "i", store="exact")
    searcher = Searcher(index)
    detected = searcher.detector(encoder.image_features(fresh.paths, frozen=True))
    assert share_right(detected, fresh) > 0.9
    answer = searcher.answer(weighted_parts(images=fresh.paths[:1]), SearchOptions(top=1), "auto")
    assert answer.domain == detected[0]
    assert "looks of the indexed items, photo, sketch" in answer.notes[0]
    assert searcher.answer(weighted_parts(images=fresh.paths[:1]), SearchOptions(top=1), "photo").notes == ()
    # The means are those of the present version: without sketches there is nothing to tell apart.
    index.delete(Eq(field="domain", value="sketch"))
    bare = searcher.answer(weighted_parts(images=fresh.paths[:1]), SearchOptions(top=1), "auto")
    assert bare.domain is None
    assert "no domain can be detected" in bare.notes[0]


def test_no_item_is_looked_at_where_a_domain_would_change_nothing(index, monkeypatch, fresh):
    monkeypatch.setattr(index, "scan", None)
    searcher = Searcher(index)
    answer = searcher.answer(weighted_parts(images=fresh.paths[:1]), SearchOptions(top=1), "auto")
    assert (answer.domain, answer.notes) == (None, ())


def test_means_of_items_are_taken_once_a_version(index, monkeypatch):
    index.contents.encoder = index.encoder.with_part(DomainMap({"sketch": torch.eye(64)}))
    detector, scans = DomainDetector(index), []
    scan = index.scan
    monkeypatch.setattr(index, "scan", lambda *arguments: scans.append(1) or scan(*arguments))
    features = np.ones((2, 64), np.float32)
    assert detector(features) == detector(features)
    assert len(scans) == 1
    index.delete(["sketch/cross/00.png"])
    detector(features)
    assert len(scans) == 2


def test_what_cannot_be_detected_is_said(prompted, pictures, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), prompted, tmp_path / "p", store="exact", device="torch-cpu")
    detector = DomainDetector(index)
    # Its items went through prompts that the query cannot go through before its domain is known.
    assert detector(np.ones((1, prompted.backbone.dim), np.float32)) == [None]
    assert "no domain can be detected" in detector.notes()[0]
    looks = {"photo": torch.zeros(prompted.backbone.dim), "line": torch.ones(prompted.backbone.dim)}
    index.contents.query_encoder = index.encoder.with_part(Looks(looks))
    assert detector.notes() == ("sketch cannot be detected; name that domain where a picture is of it",)


@pytest.mark.slow
@pytest.mark.pacs
def test_pacs_is_told_apart(pacs_root):
    import crosslens

    backbone = crosslens.load_backbone("lite")
    found = features_of(Catalog.open(pacs_root), backbone)
    half = np.random.default_rng(0).random(len(found.catalog)) < 0.5
    made, tested = found.where(half), found.where(~half)
    means = {d: torch.from_numpy(made.of_domain(d).centre).mean(0) for d in made.catalog.domains}
    detected = np.array(Encoder(backbone, [Centre(means)]).detect_domains(tested.centre))
    own = np.array(tested.catalog.column("domain"))
    assert np.mean([(detected[own == d] == d).mean() for d in means]) > 0.9
