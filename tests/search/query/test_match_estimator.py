from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.features.of_encoder import features_of_encoder
from crosslens.ops.calibration import MatchCalibration, centre_features
from crosslens.search.filters.text import parse_filter
from crosslens.search.index.index import Index
from crosslens.search.index.items import sample_items
from crosslens.search.index.kept_queries import draw_images
from crosslens.search.query import match_estimator as module
from crosslens.search.query.match_estimator import MatchEstimator, draw_indexed_images
from crosslens.support.errors import StoreError
from testing.tiny_pictures import make_pictures


def rounding(calibration):
    """How far apart two probabilities may lie of cosines that were summed in another order.

    Such cosines differ by a few float32 steps, less than 1e-6; a logistic curve is at most slope / 4 steep.
    """
    return 1e-6 * calibration.curve.slope / 4


def test_without_queries_it_is_the_rehearsal_on_the_gallery(index):
    vector = index.get("photo/circle/00.png")[1]
    calibration = MatchCalibration.fit(index.sample(1000))
    expected = calibration.probability(vector[None])[0]
    assert MatchEstimator(index).probability(vector) == pytest.approx(expected, abs=rounding(calibration))


def test_with_queries_it_rests_on_the_backbones_centred_features(index, pictures):
    sketches = Catalog.open(pictures).select(domains=["sketch"])
    backbone = index.encoder.backbone
    gallery = index.encoder.image_features(Catalog.open(pictures).paths, frozen=True)
    queries = index.encoder.image_features(sketches.paths, frozen=True)
    calibration = MatchCalibration.fit(centre_features(gallery), centre_features(queries))
    asked = (queries[3] - queries.mean(0))[None]
    expected = calibration.probability((asked / np.linalg.norm(asked)).astype(np.float32))[0]
    found = MatchEstimator(index, sketches).probability(
        index.encoder.encode_features(queries[3:4])[0], queries[3:4]
    )
    assert backbone.name == "tiny"
    # The cache holds features in half precision.
    assert found == pytest.approx(expected, abs=0.02)


def test_it_is_calibrated_once_for_each_version_of_the_index(index, monkeypatch):
    fits = []
    real = MatchCalibration.fit
    monkeypatch.setattr(module.MatchCalibration, "fit", lambda *a, **k: fits.append(len(a[0])) or real(*a, **k))
    made = MatchEstimator(index, sample=50)
    vector = index.get("photo/circle/00.png")[1]
    assert not made.ready
    assert made.probability(vector) == made.probability(vector)
    assert made.ready
    # A bounded sample, never everything.
    assert fits == [50]
    index.delete(["sketch/cross/00.png"])
    assert not made.ready
    made.probability(vector)
    assert fits == [50, 50]


def test_an_index_that_was_moved_away_leaves_no_folder_behind(index):
    index.folder.rename(index.folder.with_name("away"))
    MatchEstimator(index).prepare()
    assert not index.folder.exists()


def test_prompts_are_used_where_the_index_answers_with_its_own_vectors(prompted, pictures, tmp_path):
    """Unlabelled queries must pass the tower that the indexed images passed: the one with prompts."""
    catalog = Catalog.open(pictures)
    index, _ = Index.build(
        catalog.select(domains=["photo"]), prompted, tmp_path / "p", store="exact", device="torch-cpu"
    )
    sketches = catalog.select(domains=["sketch"])
    seen = features_of_encoder(sketches, prompted, device="torch-cpu")
    right = prompted.encode_features(seen.centre, "sketch")
    wrong = prompted.encode_features(
        prompted.image_features(sketches.paths, frozen=True, device="torch-cpu"), "sketch"
    )
    vector = right[5]
    gallery = index.sample(1000)
    expected = MatchCalibration.fit(gallery, right).probability(vector[None])[0]
    assert abs(expected - MatchCalibration.fit(gallery, wrong).probability(vector[None])[0]) > 0.01
    made = MatchEstimator(index, sketches, device="torch-cpu")
    assert made.probability(vector) == pytest.approx(expected, abs=1e-4)
    # The same pictures said to be photos pass through the photos' prompts.
    as_photos = features_of_encoder(sketches.of_one_domain("photo"), prompted, device="torch-cpu")
    others = prompted.encode_features(as_photos.centre, "photo")
    expected = MatchCalibration.fit(gallery, others).probability(vector[None])[0]
    told = MatchEstimator(index, sketches, "photo", device="torch-cpu")
    assert told.probability(vector) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("gone", ["none", "some", "all but a few", "all"])
def test_images_that_are_gone_leave_the_others_or_the_indexs_vectors(index, pictures, tmp_path, gone):
    """Each case against a calibration by hand, which is far from that of the other cases."""
    # Other sketches than the indexed ones, elsewhere: they outlive them.
    asked = Catalog.open(make_pictures(tmp_path / "asked", looks=("sketch",), seed=1))
    queries = index.encoder.image_features(asked.paths, frozen=True)
    vectors = index.encoder.encode_features(queries)

    def on_features(catalog):
        gallery = index.encoder.image_features(catalog.paths, frozen=True)
        calibration = MatchCalibration.fit(centre_features(gallery), centre_features(queries))
        return calibration.probability(centre_features(queries))

    indexed = Catalog.open(pictures)
    expected = {
        "none": on_features(indexed),
        "some": on_features(indexed.select(domains=["sketch"])),
        "all": MatchCalibration.fit(index.sample(1000), vectors).probability(vectors),
    }
    for one, other in combinations(expected.values(), 2):
        assert np.abs(one - other).max() > 0.1

    few = 3 if gone == "all but a few" else 0
    lost = [] if gone == "none" else indexed.select(domains=["photo"]).paths if gone == "some" else indexed.paths
    for path in lost[few:]:
        path.unlink()
    # A few pictures say too little, so then the index's vectors decide as when none is left.
    expected["all but a few"] = expected["all"]
    made = MatchEstimator(index, asked)
    found = [made.probability(vector, row[None]) for vector, row in zip(vectors, queries, strict=True)]
    # The cache holds features in half precision.
    assert np.allclose(found, expected[gone], atol=0.02)


def test_small_indexes_say_so(index):
    ids = [image for table, _ in index.scan() for image in table.column("id").to_pylist()]
    index.delete(ids[5:])
    with pytest.raises(StoreError, match="5 items are too few"):
        MatchEstimator(index).probability(index.get(ids[0])[1])


def test_samples_are_bounded_and_even(index, pictures):
    (everything,) = draw_indexed_images(index, 1000)
    assert sorted(everything.ids) == sorted(Catalog.open(pictures).ids)
    assert all(path.is_file() for path in everything.paths)
    counts = dict.fromkeys(everything.ids, 0)
    for seed in range(200):
        (drawn,) = draw_indexed_images(index, 24, seed)
        assert len(set(drawn.ids)) == 24
        for image in drawn.ids:
            counts[image] += 1
    # Binomial(200, 1/4): 50, and seven standard deviations are 43.
    assert min(counts.values()) > 7
    assert max(counts.values()) < 93
    assert len(draw_images(Catalog.open(pictures), 10)) == 10
    assert len(draw_images(Catalog.open(pictures), 1000)) == 96


def test_the_nearest_hit_that_the_sample_holds_has_its_largest_cosine(index):
    made = MatchEstimator(index, sample=60)
    for image in ("photo/circle/00.png", "sketch/cross/01.png", "sketch/circle/02.png"):
        vector = index.get(image)[1]
        nearest = index.search(vector[None], len(index))[0]
        looked = made.probability(vector)
        assert made.probability(vector, nearest=nearest) == pytest.approx(
            looked, abs=rounding(made._made[False, "kind"].calibration)
        )
        # Hits that were not drawn say nothing, however near they are.
        held = next(iter(made._made.values())).ids
        assert len(held) == 60
        assert made.probability(vector, nearest=[hit for hit in nearest if hit.id not in held]) == looked


def by_hand(index, calibration, vector, keep):
    """The curve at the largest cosine over all items that ``keep`` names."""
    batches = list(index.scan(vectors=True))
    rows = [row for table, _ in batches for row in table.to_pylist()]
    vectors = np.concatenate([part for _, part in batches])
    best = max(float(v @ vector) for row, v in zip(rows, vectors, strict=True) if keep(row))
    return float(calibration.curve(np.array([best], np.float32))[0])


def test_a_query_is_no_counterpart_of_itself(index):
    made, own = MatchEstimator(index), "photo/circle/00.png"
    vector = index.get(own)[1]
    calibration = MatchCalibration.fit(index.sample(1000))
    expected = by_hand(index, calibration, vector, lambda row: row["id"] != own)
    assert made.probability(vector, exclude=[own]) == pytest.approx(expected, abs=rounding(calibration))
    assert expected < made.probability(vector) - 0.005
    hits = index.search(vector[None], 5)[0]
    assert made.probability(vector, nearest=hits, exclude=[own]) == pytest.approx(
        expected, abs=rounding(calibration)
    )


def test_only_what_is_searched_can_be_a_counterpart(index):
    made, own = MatchEstimator(index), "sketch/cross/00.png"
    vector = index.get(own)[1]
    calibration = MatchCalibration.fit(index.sample(1000))
    where = parse_filter("label = 'circle' and domain = 'photo'")
    expected = by_hand(
        index, calibration, vector, lambda row: (row["label"], row["domain"]) == ("circle", "photo")
    )
    assert made.probability(vector, where=where) == pytest.approx(expected, abs=rounding(calibration))
    assert expected < made.probability(vector) - 0.05
    hits = index.search(vector[None], 5, where)[0]
    assert made.probability(vector, nearest=hits, where=where) == pytest.approx(
        expected, abs=rounding(calibration)
    )
    assert made.probability(vector, where=parse_filter("label = 'guitar'")) == 0


def test_few_sampled_items_give_way_to_the_nearest_that_are_searched(index):
    made = MatchEstimator(index, sample=20)
    own = "sketch/cross/00.png"
    vector = index.get(own)[1]
    calibration = MatchCalibration.fit(sample_items(index.store, 20)[1])
    where = parse_filter("label = 'cross' and domain = 'sketch'")
    # Of 12 such items at most a few were drawn, so all 12 are looked at.
    expected = by_hand(
        index, calibration, vector, lambda row: row["id"].startswith("sketch/cross/") and row["id"] != own
    )
    assert made.probability(vector, where=where, exclude=[own]) == pytest.approx(
        expected, abs=rounding(calibration)
    )
    assert made.probability(vector, where=parse_filter("label = 'guitar'")) == 0


def test_a_filter_holds_for_pictures_and_their_features_too(index, pictures):
    sketches = Catalog.open(pictures).select(domains=["sketch"])
    made = MatchEstimator(index, sketches)
    features = index.encoder.image_features(sketches.paths[:1], frozen=True)
    vector = index.encoder.encode_features(features)[0]
    catalog = Catalog.open(pictures)
    gallery = centre_features(index.encoder.image_features(catalog.paths, frozen=True))
    queries = index.encoder.image_features(sketches.paths, frozen=True)
    calibration = MatchCalibration.fit(gallery, centre_features(queries))
    photos = np.array([domain == "photo" for domain in catalog.column("domain")])
    asked = features - queries.mean(0)
    asked /= np.linalg.norm(asked)
    expected = replace(calibration, gallery=gallery[photos]).probability(asked.astype(np.float32))[0]
    found = made.probability(vector, features, where=parse_filter("domain = 'photo'"))
    # The cache holds features in half precision.
    assert found == pytest.approx(expected, abs=0.02)
    assert found < made.probability(vector, features) - 0.05


def test_curves_over_queries_look_at_more_than_the_nearest_hit(index, pictures):
    sketches = Catalog.open(pictures).select(domains=["sketch"])
    made = MatchEstimator(index, sketches)
    vector = index.get("photo/circle/00.png")[1]
    nearest = index.search(vector[None], 5)[0]
    assert made.probability(vector, nearest=nearest) == made.probability(vector)


def test_vectors_asked_about_together_have_their_own_probabilities(index):
    calibration = MatchCalibration.fit(index.sample(1000))
    other = MatchCalibration.fit(index.sample(40))
    rows = index.sample(6, seed=3)
    asked = [(calibration if place % 2 else other, row) for place, row in enumerate(rows)]
    alone = [float(made.probability(row[None])[0]) for made, row in asked]
    assert module.estimate_together(asked) == pytest.approx(alone, abs=rounding(calibration))
