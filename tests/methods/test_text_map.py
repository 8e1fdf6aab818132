"""The method ``text-map`` and maps in an encoder folder."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.backbones import load_backbone
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.parts import DomainMap, Heads
from crosslens.methods.text_map import MapConfig, fit_map
from crosslens.nn.heads import Head
from crosslens.support.errors import BackboneError, ConfigError
from testing.reading_backbone import register_talker
from testing.tiny_pictures import SHAPES


@pytest.fixture(autouse=True)
def _talker():
    register_talker()


def fit(pictures, out, classes=SHAPES, backbone="talker", **settings):
    return crosslens.fit("text-map", pictures, out=out, backbone=backbone, classes=classes, settings=settings)


def test_it_maps_the_query_domain_and_says_how(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run", map_share=0.5)
    encoder = load_encoder(run.folder)
    assert list(encoder.part(DomainMap).maps) == ["photo"]
    facts = encoder.trained["map"]
    assert facts["share"] == 0.5
    assert facts["seconds"] < 1
    best = min(facts["domains"]["photo"]["leave_one_out"].items(), key=lambda pair: pair[1])[0]
    assert facts["domains"]["photo"]["strength"] == float(best)
    plain = load_encoder("talker")
    paths = open_catalog(pictures).paths[:5]
    assert np.array_equal(encoder.encode_images(paths, "sketch"), plain.encode_images(paths, "sketch"))
    assert not np.allclose(encoder.encode_images(paths, "photo"), plain.encode_images(paths, "photo"))
    expected = plain.encode_images(paths) @ encoder.part(DomainMap).maps["photo"].numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(encoder.encode_images(paths, "photo"), expected, atol=1e-5)
    assert encoder.fingerprint != plain.fingerprint
    assert encoder.has_text


def test_a_share_that_is_given_needs_no_images(pictures, tmp_path):
    seen = load_encoder(fit(pictures, tmp_path / "seen", map_share=1.0).folder)
    options = {"backbone": "talker", "classes": SHAPES, "domains": ["photo", "sketch"]}
    run = crosslens.fit("text-map", out=tmp_path / "blind", settings={"map_share": 1.0}, **options)
    blind = load_encoder(run.folder)
    assert torch.equal(blind.part(DomainMap).maps["photo"], seen.part(DomainMap).maps["photo"])
    assert blind.fingerprint == seen.fingerprint
    assert crosslens.evaluate(run.folder, pictures).metrics == crosslens.evaluate(seen, pictures).metrics
    with pytest.raises(ConfigError, match="share of the map"):
        crosslens.fit("text-map", out=tmp_path / "chosen", settings={}, **options)
    with pytest.raises(ConfigError, match="at least two"):
        crosslens.fit("text-map", out=tmp_path / "one", **{**options, "domains": None})


def test_sides(pictures, tmp_path):
    runs = {s: fit(pictures, tmp_path / s, map_side=s, map_share=1.0) for s in ("query", "gallery", "both")}
    maps = {side: load_encoder(run.folder).part(DomainMap).maps for side, run in runs.items()}
    assert [list(found) for found in maps.values()] == [["photo"], ["sketch"], ["photo", "sketch"]]


def test_the_share_is_chosen_without_labels_and_may_be_none(pictures, tmp_path):
    run = fit(pictures, tmp_path / "run")
    facts = load_encoder(run.folder).trained["map"]
    assert set(facts["shares"]) == {"0", "0.25", "0.5", "0.75", "1"}
    chosen = facts["share"]
    assert chosen == 0 or facts["shares"][f"{chosen:g}"] == max(facts["shares"].values())
    result = crosslens.evaluate(run.folder)
    frozen = crosslens.evaluate(load_encoder("talker"), pictures)
    assert result.metrics["map@all"] > frozen.metrics["map@all"] - 0.02
    off = fit(pictures, tmp_path / "off", map="none")
    assert load_encoder(off.folder).part(DomainMap) is None


@pytest.mark.parametrize("kind", ["ridge", "orthogonal"])
def test_a_strength_given_is_taken(kind):
    g = torch.Generator().manual_seed(0)
    source, target = (torch.nn.functional.normalize(torch.randn(4, 8, generator=g), dim=1) for _ in range(2))
    matrix, facts = fit_map(source, target, MapConfig(map=kind, map_strength=3.0))
    assert facts["strength"] == 3.0
    if kind == "orthogonal":
        assert torch.allclose(matrix @ matrix.t(), torch.eye(8).double(), atol=1e-9)


def test_maps_pass_through_a_folder_and_each_head_alone(pictures, tmp_path):
    torch.manual_seed(0)
    heads = [Head((64, 64)), Head((64, 64))]
    maps = {"photo": torch.randn(64, 64)}
    encoder = Encoder(load_backbone("talker"), [Heads(heads, text=True), DomainMap(maps)])
    encoder.save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    assert again.fingerprint == encoder.fingerprint
    features = torch.randn(6, 64)
    rows = again.encode_features(features, ["photo", "sketch"] * 3)
    assert np.array_equal(rows, encoder.encode_features(features, ["photo", "sketch"] * 3))
    parts = [head(features) for head in encoder.part(Heads).group.members]
    mapped = [torch.nn.functional.normalize(part @ maps["photo"], dim=1) for part in parts]
    expected = torch.cat(mapped, dim=1) / 2**0.5
    assert np.allclose(rows[::2], expected[::2], atol=1e-5)
    assert np.allclose(rows[1::2], (torch.cat(parts, dim=1) / 2**0.5)[1::2], atol=1e-6)


def test_maps_with_shifts_in_encoders_of_earlier_versions_still_work(tmp_path):
    """They were fitted on centred vectors: below the matrix stands one shift a head."""
    torch.manual_seed(0)
    heads = [Head((64, 64)), Head((64, 64))]
    matrix, means = torch.randn(64, 64), torch.randn(2, 64) / 8
    maps = {"photo": torch.cat([matrix, -means @ matrix])}
    Encoder(load_backbone("talker"), [Heads(heads, text=True), DomainMap(maps)]).save(tmp_path / "encoder")
    features = torch.randn(6, 64)
    rows = load_encoder(tmp_path / "encoder").encode_features(features, "photo")
    centred = [head(features) - mean for head, mean in zip(heads, means, strict=True)]
    expected = torch.cat([torch.nn.functional.normalize(part @ matrix, dim=1) for part in centred], dim=1) / 2**0.5
    assert np.allclose(rows, expected.detach().numpy(), atol=1e-5)


def test_bad_input(pictures, tmp_path):
    with pytest.raises(ConfigError, match="at least two class names"):
        fit(pictures, tmp_path / "one", classes=["circle"])
    with pytest.raises(BackboneError, match=r"no text tower.*lite"):
        fit(pictures, tmp_path / "deaf", backbone="tiny")
    with pytest.raises(ConfigError, match="at least two"):
        crosslens.fit(
            "text-map", pictures, out=tmp_path / "d", backbone="talker", classes=SHAPES, domains=["photo"]
        )
