"""The universal protocols from folders as they are published, and galleries larger than their cuts."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.datasets.domainnet import DOMAINNET
from crosslens.datasets.sketchy import SKETCHY
from crosslens.datasets.tu_berlin import TU_BERLIN
from crosslens.encoder import Encoder
from crosslens.evaluation.measured import Side
from crosslens.evaluation.protocols.universal import find_universal
from testing.tiny_backbone import TinyBackbone

DOMAINNET_SPLIT = DOMAINNET.splits["ucdr"]


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


def measure(catalog, protocol):
    return crosslens.evaluate(crosslens.load_encoder("tiny"), catalog, protocol=protocol)


def sizes(result):
    return {d.query_domain: (len(d.query_ids), len(d.gallery_ids)) for d in result.directions}


def pictures_of(pattern, classes, count):
    return [pattern.format(name, number) for name in classes for number in range(count)]


def test_domainnet_with_its_cleaned_archives(tree):
    unseen, seen = DOMAINNET_SPLIT.unseen[:2], DOMAINNET_SPLIT.seen[:2]
    root = tree(
        *pictures_of("groundtruth/clipart/{}/{}.jpg", unseen, 3),
        *pictures_of("clipart/{}/old{}.jpg", unseen, 2),
        *pictures_of("sketch/{}/{}.jpg", (*unseen, *seen), 4),
        *pictures_of("real/{}/{}.jpg", (*unseen, *seen), 13),
    )
    catalog = DOMAINNET.read(root)
    result = measure(catalog, "ucdr")
    assert sizes(result) == {"sketch": (8, 26), "clipart": (6, 26)}
    # int(0.92 * 13) = 11 of each seen class were for training.
    assert sizes(measure(catalog, "ucdr-mixed")) == {"sketch": (8, 30), "clipart": (6, 30)}
    # int(0.25 n) of each domain; clipart has none of the seen classes.
    assert sizes(
        crosslens.evaluate(crosslens.load_encoder("tiny"), catalog, protocol="udcdr", domains=["sketch"])
    ) == {"sketch": (2, 6)}
    assert sizes(measure(catalog, "uccdr")) == {"sketch": (8, 26)}
    assert any("papers report map@200, p@200" in mark for mark in result.marks)


def test_sketchy_as_its_archives_unpack(tree):
    eccv, other = SKETCHY.splits["split2"], SKETCHY.splits["split1"]
    both = sorted(set(eccv.unseen) & set(other.unseen))[:2]
    only_eccv = sorted(set(eccv.unseen) - set(other.unseen))[:1]
    root = tree(
        *pictures_of("256x256/sketch/tx_000000000000/{}/{}.png", (*both, *only_eccv), 2),
        *pictures_of("256x256/photo/tx_000000000000/{}/{}.jpg", both, 1),
        *pictures_of("EXTEND_image_sketchy/{}/{}.jpg", (*both, *only_eccv), 3),
    )
    catalog = SKETCHY.read(root)
    result = measure(catalog, "uccdr")
    assert sizes(result) == {"sketch": (6, 9)}
    assert any("papers report map@200, p@200" in mark for mark in result.marks)
    random = measure(catalog, "uccdr-random")
    assert sizes(random) == {"sketch": (4, 6)}
    assert any("papers report map@all, p@100" in mark for mark in random.marks)
    assert any("inverted" in mark for mark in measure(catalog, "uccdr-inverted").marks)


def test_tu_berlin_with_its_own_spelling(tree):
    names = ("bottle opener", "banana", "frying-pan")
    root = tree(
        *pictures_of("TUBerlin/png_ready/{}/{}.png", (*names, "angel"), 2),
        *pictures_of("TUBerlin/ImageResized_ready/{}/{}.jpg", (*names, "angel"), 3),
    )
    result = measure(TU_BERLIN.read(root), "uccdr")
    assert sizes(result) == {"sketch": (6, 9)}
    assert any("papers report map@all, p@100" in mark for mark in result.marks)
    # Its folder is called "sketches" in the published code, which therefore inverts nothing.
    turned = measure(TU_BERLIN.read(root), "uccdr-inverted")
    assert not any("inverted" in mark for mark in turned.marks)
    assert np.array_equal(turned.directions[0].scores, result.directions[0].scores)


def test_both_conventions_on_a_gallery_larger_than_the_cuts(monkeypatch):
    """Against the formulas written as loops: the reference divides AP@k by the hits among the first k."""
    unseen = TU_BERLIN.splits["zero-shot"].unseen
    rows = [
        {"path": f"{domain}/{name}/{number}.png", "domain": domain, "label": name}
        for domain, count in (("sketch", 1), ("photo", 10))
        for name in unseen
        for number in range(count)
    ]
    vectors = np.random.default_rng(0).normal(size=(len(rows), 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vector_of = {row["path"]: vector for row, vector in zip(rows, vectors, strict=True)}

    def encode(encoder, found, domain):
        own = np.stack([vector_of[path] for path in found.catalog.column("path")])
        return Side(domain, found.catalog.ids, found.catalog.labels, own, own)

    patched = "crosslens.evaluation.protocols.universal."
    monkeypatch.setattr(patched + "features_of", lambda c, *a, **k: SimpleNamespace(catalog=c, skipped=[]))
    monkeypatch.setattr(patched + "encode_domain", encode)
    catalog = Catalog.from_rows(rows, Path("root"))
    result = crosslens.evaluate(Encoder(TinyBackbone()), catalog, protocol="uccdr")

    expected = {key: [] for key in result.metrics}
    for query in rows[:30]:
        scored = [(-float(vector_of[row["path"]] @ vector_of[query["path"]]), row["label"]) for row in rows[30:]]
        relevant = [label == query["label"] for _, label in sorted(scored)]
        total, found, summed = sum(relevant), 0, {200: 0.0, len(relevant): 0.0}
        for position, hit in enumerate(relevant, 1):
            found += hit
            for cut in summed:
                summed[cut] += hit * found / position if position <= cut else 0
        hits = {k: sum(relevant[:k]) for k in (100, 200)}
        expected["map@all"].append(summed[len(relevant)] / total)
        expected["map@200"].append(summed[200] / min(200, total))
        expected["map@200-sempcyc"].append(summed[200] / max(1, hits[200]))
        for k in (100, 200):
            expected[f"p@{k}"].append(hits[k] / k)
            expected[f"p@{k}-sempcyc"].append(hits[k] / k)
    assert len(rows) - 30 == 300
    for key, values in expected.items():
        assert result.metrics[key] == pytest.approx(np.mean(values), abs=1e-6), key
    assert result.metrics["map@200-sempcyc"] > result.metrics["map@200"] + 0.01


@pytest.mark.parametrize("other", ["pacs", "quickdraw"])
def test_other_benchmarks_keep_their_name(tree, other):
    """Many of their classes are TU-Berlin's too, so they can be measured as it is; but it they are not."""
    from crosslens.datasets import BENCHMARKS

    own = BENCHMARKS[other]
    classes = [name.replace("/", " ") for name in own.classes]
    rows = [
        {"path": f"{look}/{name}.png", "domain": look, "label": name}
        for look in ("photo", "sketch")
        for name in classes
    ]
    found = find_universal(Catalog.from_rows(rows, tree()))
    assert found.name == f"{own.title}, by the classes of TU-Berlin"
    assert found.split is TU_BERLIN.splits["zero-shot"]
    both = [row for row in rows if row["label"] in TU_BERLIN.splits["zero-shot"].unseen]
    root = tree(*(row["path"] for row in rows))
    if len({row["label"] for row in both}) > 1:
        result = measure(Catalog.from_rows(rows, root), "uccdr")
        assert any(mark.startswith(f"{found.name}: gallery photo") for mark in result.marks)
        assert not any("map@all" in mark for mark in result.marks)


def test_tu_berlin_as_its_archives_unpack(tree):
    names = {"trombone": "tromobone", "space shuttle": "spacesshuttle", "bell": "bell"}
    assert set(names) <= set(TU_BERLIN.splits["zero-shot"].unseen) | {"bell"}
    root = tree(*pictures_of("sketch/{}/{}.png", names, 2), *pictures_of("photo/{}/{}.jpg", names.values(), 3))
    result = measure(Catalog.open(root), "uccdr")
    assert set(result.directions[0].query_labels) == set(result.directions[0].gallery_labels)
    assert not any("in the gallery" in mark for mark in result.marks)


def test_classes_that_the_gallery_lacks_are_said(tree):
    unseen = TU_BERLIN.splits["zero-shot"].unseen
    root = tree(*pictures_of("sketch/{}/{}.png", unseen, 1), *pictures_of("photo/{}/{}.jpg", unseen[2:], 1))
    marks = measure(Catalog.open(root), "uccdr").marks
    (said,) = [mark for mark in marks if "in the gallery" in mark]
    assert said.startswith("28 of 30 of these classes in the gallery")
    assert all(name in said for name in unseen[:2])
