import numpy as np
import pytest
import torch

from crosslens.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.features.load import features_of
from crosslens.nn.whitened import WhitenedPart
from crosslens.search.domain_detection import detect_domains, known_domains, nearest_domain
from tiny import TinyBackbone, make_pictures


def test_the_nearest_mean_is_the_one_with_the_largest_cosine():
    rng = np.random.default_rng(0)
    rows, means = rng.normal(size=(20, 6)), rng.normal(size=(3, 6))
    cosines = rows @ means.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    names = ["line", "photo", "clipart"]
    found = nearest_domain(torch.from_numpy(rows), dict(zip(names, torch.from_numpy(means), strict=True)))
    assert found == [names[place] for place in cosines.argmax(1)]


def test_pictures_that_made_no_mean_are_told_apart(centred, tmp_path):
    fresh = Catalog.open(make_pictures(tmp_path / "fresh", seed=9))
    detected = detect_domains(centred, centred.image_features(fresh.paths, frozen=True))
    right = [name == own for name, own in zip(detected, fresh.column("domain"), strict=True)]
    assert np.mean(right) > 0.9


def test_a_whitened_part_knows_domains_too_and_a_bare_encoder_none(centred, tmp_path, pictures):
    features = features_of(Catalog.open(pictures), TinyBackbone())
    unit = features.centre / np.linalg.norm(features.centre, axis=1, keepdims=True)
    own = np.array(features.catalog.column("domain"))
    means = {d: torch.from_numpy(unit[own == d].mean(0)) for d in ("photo", "sketch")}
    part = WhitenedPart(torch.eye(64), means, 0.3)
    detected = detect_domains(Encoder(TinyBackbone(), whitened=part), features.centre)
    assert np.mean(np.array(detected) == own) > 0.9
    assert detect_domains(Encoder(TinyBackbone()), features.centre[:2]) == [None, None]
    alone = Encoder(TinyBackbone(), means={"photo": torch.zeros(64)})
    assert detect_domains(alone, features.centre[:1]) == [None]
    assert known_domains(alone) == ("photo",)
    assert known_domains(Encoder(TinyBackbone())) == ()


@pytest.mark.slow
@pytest.mark.pacs
def test_pacs_is_told_apart(pacs_root):
    import crosslens

    backbone = crosslens.load_backbone("lite")
    found = features_of(Catalog.open(pacs_root), backbone)
    half = np.random.default_rng(0).random(len(found.catalog)) < 0.5
    made, tested = found.where(half), found.where(~half)
    means = {d: torch.from_numpy(made.of_domain(d).centre).mean(0) for d in made.catalog.domains}
    detected = np.array(detect_domains(Encoder(backbone, means=means), tested.centre))
    own = np.array(tested.catalog.column("domain"))
    assert np.mean([(detected[own == d] == d).mean() for d in means]) > 0.9
