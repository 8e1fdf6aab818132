"""The universal protocols on images of no published benchmark, with a split of their own."""

import json

import numpy as np
import pytest
from PIL import Image

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.evaluation.protocols.universal import find_universal, universal_lists
from crosslens.evaluation.universal_split import UniversalSplit
from crosslens.support.errors import ConfigError, EvaluationError

CLASSES = ("anvil", "bell", "clamp", "drill", "easel")
DOMAINS = ("etching", "oil", "snapshot")
SPLIT = {"gallery": "snapshot", "unseen_domains": ["oil"], "unseen_classes": ["bell", "clamp"]}


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


@pytest.fixture
def tools(tmp_path):
    """Three domains of five classes, eight pictures each, every class its own colour."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(CLASSES):
        colour = np.array([(place * 67) % 200, (place * 131) % 200, (place * 29) % 200])
        for shift, domain in enumerate(DOMAINS):
            folder = tmp_path / "tools" / domain / name
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = colour + 20 * shift + rng.integers(0, 10, (12, 12, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "tools"


def measured(tools, **options):
    return crosslens.evaluate(crosslens.load_encoder("tiny"), tools, **options)


@pytest.mark.parametrize(
    ("protocol", "asks", "asking", "answering"),
    [
        ("ucdr", "oil", {"bell", "clamp"}, {"bell", "clamp"}),
        ("ucdr-mixed", "oil", {"bell", "clamp"}, set(CLASSES)),
        ("uccdr", "etching", {"bell", "clamp"}, {"bell", "clamp"}),
        ("uccdr-mixed", "etching", {"bell", "clamp"}, set(CLASSES)),
        ("udcdr", "oil", {"anvil", "drill", "easel"}, {"anvil", "drill", "easel"}),
    ],
)
def test_who_asks_and_who_answers(tools, protocol, asks, asking, answering):
    """Every image of the classes and domains takes part: nothing is drawn."""
    result = measured(tools, protocol=protocol, universal_split=SPLIT)
    (only,) = result.directions
    assert (result.protocol, only.query_domain, only.gallery_domain) == (protocol, asks, "snapshot")
    assert set(only.query_labels) == asking
    assert set(only.gallery_labels) == answering
    assert len(only.query_ids) == 8 * len(asking)
    assert len(only.gallery_ids) == 8 * len(answering)
    # The cuts are those of any protocol, not 200 of a benchmark.
    assert {"map@all", "p@1", "p@5"} <= set(result.metrics)
    assert not any("published" in mark or "papers" in mark for mark in result.marks)
    assert json.loads(json.dumps(result.to_json()))["universal_split"]["unseen_domains"] == ["oil"]


def test_the_split_may_lie_in_a_file(tools, tmp_path):
    file = tmp_path / "split.yaml"
    file.write_text("gallery: Snapshot\nunseen_domains: [oil]\nunseen_classes: [bell, CLAMP]\n")
    by_file, given = measured(tools, universal_split=file), measured(tools, universal_split=SPLIT)
    assert by_file.protocol == "ucdr"
    assert by_file.metrics == given.metrics
    assert measured(tools, universal_split={**SPLIT, "unseen_domains": []}).protocol == "uccdr"


def test_a_run_is_asked_with_the_domains_that_it_did_not_learn_from(tools, tmp_path):
    run = crosslens.fit(
        "centred",
        tools,
        out=tmp_path / "run",
        backbone="tiny",
        domains=["etching", "snapshot"],
        unseen="bell,clamp",
    )
    result = crosslens.evaluate(run.folder, universal_split=SPLIT)
    assert [one.query_domain for one in result.directions] == ["oil"]
    assert not any("not unseen" in mark for mark in result.marks)
    every = crosslens.fit("centred", tools, out=tmp_path / "every", backbone="tiny", domains=["oil", "snapshot"])
    told = [mark for mark in crosslens.evaluate(every.folder, universal_split=SPLIT).marks if "not unseen" in mark]
    assert told == [
        "not unseen: training had the images of 2 of the 2 unseen classes (bell, clamp)",
        "not unseen: training had images of the query domain oil",
    ]
    assert len(crosslens.compare([run, every], tools, universal_split=SPLIT).comparisons) == 1


def test_seen_ones_may_be_named(tools):
    images = Catalog.open(tools)
    split = UniversalSplit.of(
        {**SPLIT, "seen_classes": ["drill", "easel"], "seen_domains": ["etching", "snapshot"]}
    )
    (run,) = universal_lists(images, find_universal(images, own=split), "udcdr")
    assert {images.labels[row] for row in run.queries} == {"drill", "easel"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"unseen_classes": ["bel", "clamp"]}, "no image has the class bel.*did you mean 'bell'"),
        ({"unseen_domains": ["oli"]}, "no image has the domain oli.*did you mean 'oil'"),
        ({"gallery": "snapshoot"}, "no image has the domain snapshoot.*did you mean 'snapshot'"),
        ({"unseen_domains": ["snapshot"]}, "calls its gallery snapshot an unseen domain"),
        ({"seen_classes": ["bell", "drill"]}, "calls the class bell seen and unseen"),
        ({"seen_domains": ["oil", "snapshot"]}, "calls the domain oil seen and unseen"),
        ({"unseen_classes": ["bell"]}, "fewer than two unseen classes"),
    ],
)
def test_a_split_that_does_not_fit_the_images(tools, change, told):
    with pytest.raises(EvaluationError, match=told):
        measured(tools, universal_split={**SPLIT, **change})


def test_protocols_that_a_split_does_not_allow(tools):
    with pytest.raises(EvaluationError, match=r"ucdr needs an unseen domain to ask with.*it does for uccdr"):
        measured(tools, protocol="ucdr", universal_split={**SPLIT, "unseen_domains": []})
    with pytest.raises(EvaluationError, match=r"uccdr needs another seen domain to ask with.*ucdr, udcdr"):
        measured(tools, protocol="uccdr", universal_split={**SPLIT, "seen_domains": ["snapshot"]})
    with pytest.raises(EvaluationError, match=r"udcdr needs a seen class.*it does for ucdr, uccdr"):
        measured(tools, protocol="udcdr", universal_split={**SPLIT, "unseen_classes": CLASSES})
    with pytest.raises(EvaluationError, match="ucdr-inverted is for the published benchmarks alone"):
        measured(tools, protocol="ucdr-inverted", universal_split=SPLIT)
    with pytest.raises(ConfigError, match="the protocol pairs takes no universal split; ucdr, uccdr and udcdr do"):
        measured(tools, protocol="pairs", universal_split=SPLIT)
    with pytest.raises(EvaluationError, match="--universal-split FILE"):
        measured(tools, protocol="ucdr")
