"""Unseen classes: splits, the protocol, and that nothing of them reaches training."""

import json

import numpy as np
import pytest

import crosslens
from crosslens.backbones.base import Backbone
from crosslens.data.source import open_catalog
from crosslens.datasets import published_splits
from crosslens.evaluation.protocols import PROTOCOLS
from crosslens.evaluation.protocols.zero_shot import unseen_classes, without_classes
from crosslens.methods import method_class
from crosslens.support.errors import ConfigError, EvaluationError
from testing.reading_backbone import register_talker
from testing.tiny_pictures import SHAPES, make_pictures


@pytest.fixture
def world(tiny_world):
    register_talker()


@pytest.fixture
def shapes(world, tmp_path):
    return make_pictures(tmp_path / "pictures")


QUICK = {"epochs": 1, "batch_size": 8, "views": 1, "head": [16, 8], "members": 1, "neighbours": 3}


def names_of(stem):
    from importlib import resources

    text = resources.files("crosslens.datasets").joinpath("splits", f"{stem}.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize(
    ("split", "seen", "counts"),
    [
        ("tu-berlin", ["tu_berlin_seen"], (220, 30)),
        ("sketchy-1", ["sketchy_split1_seen"], (100, 25)),
        ("sketchy-2", ["sketchy_split2_seen"], (104, 21)),
        ("quickdraw", ["quickdraw_seen"], (80, 30)),
        ("domainnet", ["domainnet_train", "domainnet_validation"], (300, 45)),
    ],
)
def test_published_splits(split, seen, counts):
    unseen = published_splits()[split].unseen
    known = [name for stem in seen for name in names_of(stem)]
    assert (len(known), len(unseen)) == counts
    assert not set(known) & set(unseen)
    assert set(unseen_classes(split, [*known, *unseen])) == set(unseen)
    # Other spellings of the same names are found too.
    spelled = [name.replace("_", " ").title() for name in [*known, *unseen]]
    assert len(unseen_classes(split, spelled)) == counts[1]


def test_rules():
    classes = ["dog", "guitar", "hot-air_balloon", "person"]
    assert unseen_classes("person, guitar", classes) == ("guitar", "person")
    assert unseen_classes(["Hot air balloon"], classes) == ("hot-air_balloon",)
    assert unseen_classes(2, classes, seed=3) == unseen_classes("2", classes, seed=3)
    drawn = {unseen_classes(2, classes, seed=seed) for seed in range(20)}
    assert len(drawn) > 2
    for bad, said in (
        ("violin", "no image has the class violin"),
        ("", "none given"),
        (0, "0 unseen of 4"),
        (4, "4 unseen of 4"),
        (classes, "every class is unseen"),
        ("sketchy-1", "none of the unseen classes of sketchy-1"),
    ):
        with pytest.raises(EvaluationError, match=said):
            unseen_classes(bad, ["dog", "guitar", "hot-air_balloon", "person"])


def test_no_unseen_name_or_image_reaches_training(shapes, tmp_path, monkeypatch):
    seen = {}

    class Spy(method_class("clair")):
        def fit(self, job):
            seen.update(ids=job.catalog.ids, classes=job.classes, facts=self.facts(job))
            texts = []
            embed = type(job.backbone).embed_texts
            monkeypatch.setattr(type(job.backbone), "embed_texts", lambda own, t: texts.extend(t) or embed(own, t))
            encoder = super().fit(job)
            seen["texts"] = texts
            return encoder

    monkeypatch.setattr("crosslens.api.fitting.method_class", lambda name: Spy)
    run = crosslens.fit(
        "clair", shapes, out=tmp_path / "run", backbone="talker", classes=SHAPES, settings=QUICK, unseen="cross"
    )
    assert seen["classes"] == ("circle", "square", "triangle")
    assert len(seen["ids"]) == 2 * 3 * 12
    assert not [image for image in seen["ids"] if "cross" in image]
    assert seen["texts"]
    assert not [text for text in seen["texts"] if "cross" in text]
    assert run.config()["unseen"] == ["cross"]
    assert run.config()["classes"] == ["circle", "square", "triangle"]
    assert "cross" not in json.dumps(json.loads((run.folder / "labels.json").read_text())["classes"])
    assert "cross" not in (run.encoder_folder / "README.md").read_text().replace("cross-domain", "").replace(
        "crosslens", ""
    )


def test_unlabelled_images_stay_out_as_well(shapes):
    catalog = open_catalog(shapes)
    labels = [
        None if image.endswith("00.png") else label
        for image, label in zip(catalog.ids, catalog.labels, strict=True)
    ]
    table = catalog.table.set_column(3, "label", [labels])
    kept = without_classes(type(catalog)(table, catalog.root), ["circle"])
    assert len(kept) == 2 * 3 * 11
    assert "circle" not in kept.classes


@pytest.mark.parametrize("method", ["centred", "ucdir", "clair"])
def test_a_run_is_measured_on_its_unseen_classes(shapes, tmp_path, method):
    settings = {"centred": {}, "ucdir": {k: v for k, v in QUICK.items() if k != "neighbours"}, "clair": QUICK}
    run = crosslens.fit(
        method,
        shapes,
        out=tmp_path / "run",
        backbone="talker",
        classes=SHAPES if method == "clair" else None,
        settings=settings[method],
        unseen="circle,cross",
    )
    result = crosslens.evaluate(run.folder, protocol="zero-shot")
    assert result.extra["unseen"] == ["circle", "cross"]
    assert [len(d.query_ids) for d in result.directions] == [24, 24]
    assert [len(d.gallery_ids) for d in result.directions] == [24, 24]
    assert set(result.directions[0].query_labels) == {"circle", "cross"}
    assert run.read_metrics()["zero-shot"]["unseen"] == ["circle", "cross"]
    wide = crosslens.evaluate(run.folder, protocol="zero-shot", generalised=True)
    assert [len(d.gallery_ids) for d in wide.directions] == [48, 48]
    assert wide.metrics["map@all"] < result.metrics["map@all"]
    # A subset of what the run left out is fine; what it may have learned from is not.
    crosslens.evaluate(run.folder, protocol="zero-shot", unseen="circle")
    with pytest.raises(EvaluationError, match=r"may have learned from square.*left out circle, cross"):
        crosslens.evaluate(run.folder, protocol="zero-shot", unseen="circle,square")


def test_classes_that_the_backbone_learned_by_name_are_marked(shapes, world, monkeypatch):
    monkeypatch.setattr(Backbone, "taught", frozenset({"Square", "house"}))
    marks = crosslens.evaluate("tiny", shapes, protocol="zero-shot", unseen="circle,square").marks
    (taught,) = (mark for mark in marks if "by name" in mark)
    assert "1 of these by name (square)" in taught
    marks = crosslens.evaluate("tiny", shapes, protocol="zero-shot", unseen="circle,cross").marks
    assert not any("by name" in mark for mark in marks)


def test_the_protocol_is_the_pairs_protocol_on_unseen_images(shapes, tmp_path):
    catalog = open_catalog(shapes)
    found = crosslens.evaluate("tiny", catalog, protocol="zero-shot", unseen="circle,square")
    kept = catalog.where(np.array([label in ("circle", "square") for label in catalog.labels]))
    pairs = crosslens.evaluate("tiny", kept)
    assert found.metrics == pytest.approx(pairs.metrics)
    assert set(PROTOCOLS) >= {"pairs", "zero-shot"}


def test_bad_use(shapes, tmp_path):
    with pytest.raises(EvaluationError, match="name them"):
        crosslens.evaluate("tiny", shapes, protocol="zero-shot")
    with pytest.raises(ConfigError, match="the protocol pairs has no unseen classes"):
        crosslens.evaluate("tiny", shapes, protocol="pairs", unseen="circle")
    with pytest.raises(EvaluationError, match="at least two domains"):
        crosslens.evaluate("tiny", shapes, protocol="zero-shot", unseen="circle", domains=["photo"])
    with pytest.raises(ConfigError, match="every name of --classes is unseen"):
        crosslens.fit(
            "clair",
            shapes,
            out=tmp_path / "r",
            backbone="talker",
            classes=["cross"],
            unseen="cross",
            settings=QUICK,
        )


def test_a_class_whose_name_holds_a_comma_is_a_class():
    """As those of ImageNet do; read as a list only where that is all it can be."""
    classes = ["tench, Tinca tinca", "goldfish", "5,6", "dog"]
    assert unseen_classes("tench, Tinca tinca", classes) == ("tench, Tinca tinca",)
    assert unseen_classes("5,6", classes) == ("5,6",)
    assert unseen_classes("dog,goldfish", classes) == ("dog", "goldfish")
    with pytest.raises(EvaluationError, match="5,6 is a class here, and a list of classes too"):
        unseen_classes("5,6", [*classes, "5", "6"])


@pytest.mark.parametrize("generalised", [False, True])
def test_a_domain_without_unseen_classes_is_named_with_what_looks_like_them(shapes, generalised):
    (shapes / "sketch" / "circle").rename(shapes / "sketch" / "Circle")
    told = r"domain 'sketch' is of an unseen class \(circle\); 'Circle' and 'circle' look like one class"
    with pytest.raises(EvaluationError, match=told):
        crosslens.evaluate("tiny", shapes, protocol="zero-shot", unseen="circle", generalised=generalised)


def test_a_gallery_of_one_class_is_marked(shapes):
    """Whatever the encoder, the numbers are 1."""
    one = crosslens.evaluate("tiny", shapes, protocol="zero-shot", unseen="circle")
    assert one.metrics["map@all"] == 1
    assert any("one class, so that every answer is right" in mark for mark in one.marks)
    for options in ({"unseen": "circle", "generalised": True}, {"unseen": "circle,cross"}):
        more = crosslens.evaluate("tiny", shapes, protocol="zero-shot", **options)
        assert not any("every answer" in mark for mark in more.marks)
