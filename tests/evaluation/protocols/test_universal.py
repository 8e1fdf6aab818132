"""The universal protocols: who asks and who answers, by seed and sorted path, and both metric conventions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.datasets.domainnet import DOMAINNET
from crosslens.datasets.sketchy import SKETCHY
from crosslens.datasets.tu_berlin import TU_BERLIN
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Prompts
from crosslens.evaluation.protocols import PROTOCOLS
from crosslens.evaluation.protocols.universal import (
    BENCHMARKS,
    SEEN_QUERY,
    UNIVERSAL,
    find_universal,
    inverted,
    published_spelling,
    universal_lists,
)
from crosslens.nn.prompts import PromptedTower, PromptShape
from crosslens.support.errors import EvaluationError
from testing.golden import read_golden
from testing.published_models import save_clip
from testing.reading_backbone import register_talker
from testing.tiny_backbone import TinyBackbone

KNOWN = read_golden("tki")["constants"]
SPLIT = DOMAINNET.splits["ucdr"]
DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SEEN, UNSEEN = SPLIT.seen[:50], SPLIT.unseen[:4]


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


def catalog(domains=DOMAINS, seen=SEEN, unseen=UNSEEN, per_class=20, shuffle=None, real_per_class=None):
    rows = [
        {"path": f"{domain}/{name}/{number:03d}.png", "domain": domain, "label": name}
        for domain in domains
        for name in (*seen, *unseen)
        for number in range(real_per_class or per_class if domain == "real" else per_class)
    ]
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(rows)
    return Catalog.from_rows(rows, Path("root"))


def lists(images, setting, **options):
    return universal_lists(images, find_universal(images), setting, **options)


def named(images, rows):
    return [images.column("path")[row] for row in rows]


def test_the_published_class_lists():
    split = BENCHMARKS["domainnet"].split
    assert (len(split.train), len(split.validation)) == (KNOWN["domainnet_train"], KNOWN["domainnet_validation"])
    assert len(split.unseen) == KNOWN["domainnet_unseen"]
    assert not set(split.seen) & set(split.unseen)
    assert len(split.seen) == len(set(split.seen)) == 300
    # The order fixes the seeds.
    assert (split.seen[0], split.seen[44], split.seen[245]) == ("aircraft_carrier", "church", "angel")
    assert len(BENCHMARKS["sketchy"].split.unseen) == KNOWN["sketchy_unseen"]
    assert len(BENCHMARKS["sketchy-random"].split.unseen) == KNOWN["sketchy_random_unseen"]
    assert len(BENCHMARKS["tu-berlin"].split.unseen) == KNOWN["tu_berlin_unseen"]
    assert (len(BENCHMARKS["sketchy"].split.seen), len(BENCHMARKS["tu-berlin"].split.seen)) == (104, 220)


def test_ucdr_asks_with_each_held_out_domain_and_answers_with_real():
    images = catalog()
    found = lists(images, "ucdr")
    assert [run.query_domain for run in found] == list(SEEN_QUERY)
    assert {run.gallery_domain for run in found} == {"real"}
    for run in found:
        assert {Path(p).parts[1] for p in named(images, run.queries)} == set(UNSEEN)
        assert len(run.queries) == len(run.gallery) == 4 * 20
        assert {Path(p).parts[0] for p in named(images, run.gallery)} == {"real"}
    assert [run.query_domain for run in lists(images, "uccdr")] == ["quickdraw", "sketch", "infograph", "painting"]


def test_the_mixed_gallery_adds_what_the_training_share_leaves():
    images = catalog(real_per_class=25)
    (run,) = lists(images, "ucdr", mixed=True, domains=["sketch"])
    gallery = named(images, run.gallery)
    assert len(gallery) == len(set(gallery)) == 4 * 25 + 50 * 2
    for position in (0, 7, 49):
        name = SEEN[position]
        paths = sorted(p for p in images.column("path") if p.startswith(f"real/{name}/"))
        np.random.seed(position)
        trained = np.random.choice(paths, int(0.92 * 25), replace=False)
        assert {p for p in gallery if p.startswith(f"real/{name}/")} == set(paths) - set(trained)


def test_udcdr_draws_a_share_of_the_first_45_seen_classes():
    images = catalog()
    for run in lists(images, "udcdr"):
        share = 0.1 if run.query_domain == "quickdraw" else 0.25
        queries = named(images, run.queries)
        assert {Path(p).parts[1] for p in queries} == set(SPLIT.seen[:45])
        assert len(run.queries) == len(run.gallery) == 45 * int(share * 20)
        name = SPLIT.seen[3]
        paths = sorted(p for p in images.column("path") if p.startswith(f"{run.query_domain}/{name}/"))
        np.random.seed(3)
        assert [p for p in queries if Path(p).parts[1] == name] == list(
            np.random.choice(paths, int(share * 20), replace=False)
        )


@pytest.mark.parametrize(("setting", "mixed"), [("ucdr", True), ("uccdr", False), ("udcdr", False)])
def test_lists_do_not_depend_on_the_order_of_the_folders(setting, mixed):
    ordered, shuffled = catalog(), catalog(shuffle=1)
    for a, b in zip(lists(ordered, setting, mixed=mixed), lists(shuffled, setting, mixed=mixed), strict=True):
        assert named(ordered, a.queries) == named(shuffled, b.queries)
        assert named(ordered, a.gallery) == named(shuffled, b.gallery)


def test_sketchy_and_tu_berlin_are_told_by_their_classes():
    both = ("sketch", "photo")
    sketchy = catalog(both, SKETCHY.splits["split2"].seen, SKETCHY.splits["split2"].unseen, per_class=1)
    assert find_universal(sketchy) is BENCHMARKS["sketchy"]
    assert find_universal(sketchy, random_split=True) is BENCHMARKS["sketchy-random"]
    (run,) = lists(sketchy, "uccdr")
    assert (run.query_domain, len(run.queries), len(run.gallery)) == ("sketch", 21, 21)
    split = TU_BERLIN.splits["zero-shot"]
    tu_berlin = catalog(both, split.seen, split.unseen, per_class=1)
    assert find_universal(tu_berlin) is BENCHMARKS["tu-berlin"]
    assert [len(run.queries) for run in lists(tu_berlin, "uccdr")] == [30]
    # The published code inverts folders called "sketch", and TU-Berlin's is called "sketches".
    assert BENCHMARKS["sketchy"].inverted == ("sketch",)
    assert BENCHMARKS["tu-berlin"].inverted == ()


def test_other_spellings_of_a_class_count():
    images = catalog(("sketch", "real"), ("alarm clock", "TEDDY_BEAR"), ("Giraffe",), per_class=2)
    spelled = published_spelling(images, find_universal(images))
    assert set(spelled.classes) == {"alarm_clock", "teddy-bear", "giraffe"}


@pytest.fixture
def drawn(tmp_path):
    """Twelve seen and four unseen classes of DomainNet, each its own colour, slightly shifted by domain."""
    rng = np.random.default_rng(0)
    for position, name in enumerate((*SPLIT.seen[:12], *UNSEEN)):
        colour = np.array([(position * 67) % 200, (position * 131) % 200, (position * 29) % 200])
        for domain, shift in (("real", 0), ("sketch", 25), ("quickdraw", 45)):
            folder = tmp_path / "domainnet" / domain / name
            folder.mkdir(parents=True)
            for number in range(13 if domain == "real" else 10):
                pixels = colour + shift + rng.integers(0, 10, (12, 12, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "domainnet"


@pytest.mark.parametrize("protocol", ["ucdr", "ucdr-mixed", "uccdr", "uccdr-mixed", "udcdr", "ucdr-inverted"])
def test_protocols_measure_in_both_conventions(drawn, protocol):
    result = crosslens.evaluate(crosslens.load_encoder("tiny"), drawn, protocol=protocol)
    assert result.protocol == protocol
    assert set(result.metrics) == {
        "map@all",
        "map@200",
        "map@200-sempcyc",
        "p@100",
        "p@100-sempcyc",
        "p@200",
        "p@200-sempcyc",
    }
    assert [d.query_domain for d in result.directions] == (
        ["quickdraw", "sketch"] if protocol.startswith("uccdr") else ["sketch", "quickdraw"]
    )
    assert any("not measured" in mark and "clipart" in mark for mark in result.marks) == (
        not protocol.startswith("uccdr")
    )
    first = result.directions[0]
    wanted = {"ucdr": (40, 52), "ucdr-mixed": (40, 52 + 12 * 2), "udcdr": (12 * 2, 12 * 3)}
    expected = wanted.get(protocol.removesuffix("-inverted"), wanted["ucdr"])
    if not protocol.startswith("uccdr"):
        assert (len(first.query_ids), len(first.gallery_ids)) == expected
    # The reference divides by hits in the top 200: never below the standard form.
    assert result.metrics["map@200-sempcyc"] >= result.metrics["map@200"] - 1e-12
    assert result.metrics["p@200-sempcyc"] > result.metrics["p@200"]
    assert json.loads(json.dumps(result.to_json(intervals=False)))["convention"].startswith(
        "standard, and sempcyc"
    )


def test_values_equal_the_formulas(drawn):
    encoder = crosslens.load_encoder("tiny")
    result = crosslens.evaluate(encoder, drawn, protocol="ucdr", domains=["sketch"])
    images = Catalog.open(drawn).select(labels=UNSEEN)
    vectors = {}
    for domain in ("sketch", "real"):
        part = images.select(domains=domain)
        vectors[domain] = encoder.encode_images(part.paths), np.array(part.labels)
    (queries, asked), (gallery, answers) = vectors["sketch"], vectors["real"]
    relevant = answers[np.argsort(-(queries @ gallery.T), axis=1, kind="stable")] == asked[:, None]
    precision = relevant.cumsum(1) / np.arange(1, relevant.shape[1] + 1)
    ap = (precision * relevant).sum(1) / relevant.sum(1)
    # 52 images are fewer than 200, so every form of mAP is that over all; P@200 divides by 200, or by 52.
    for key in ("map@all", "map@200", "map@200-sempcyc"):
        assert result.metrics[key] == pytest.approx(ap.mean(), abs=2e-3)
    assert result.metrics["p@200"] == pytest.approx(13 / 200)
    assert result.metrics["p@200-sempcyc"] == pytest.approx(13 / 52)


def test_inversion_turns_queries_and_has_features_of_its_own(drawn):
    backbone = TinyBackbone()
    turned = inverted(backbone)
    path = drawn / "sketch" / UNSEEN[0] / "0.png"
    # Scaling rounds, before or after.
    assert np.abs(turned.preprocess.pixels(path) - (255.0 - backbone.preprocess.pixels(path))).max() <= 1
    assert turned.fingerprint != backbone.fingerprint
    assert not backbone.preprocess.invert
    plain = crosslens.evaluate(Encoder(backbone), drawn, protocol="ucdr", domains=["sketch"])
    other = crosslens.evaluate(Encoder(backbone), drawn, protocol="ucdr-inverted", domains=["sketch"])
    assert not np.allclose(plain.directions[0].scores, other.directions[0].scores)
    assert any("inverted" in mark for mark in other.marks)


@pytest.mark.parametrize("protocol", ["ucdr", "ucdr-inverted"])
def test_prompts_are_those_of_each_domain(drawn, monkeypatch, tmp_path, protocol):
    """An encoder with prompts is measured with the tower it has, not with the frozen one below it."""
    import crosslens.evaluation.protocols.universal as module

    save_clip(tmp_path / "clip")
    backbone = crosslens.load_backbone(f"clip:{tmp_path / 'clip'}")
    tower = PromptedTower(backbone.tower, PromptShape(domains=("real", "sketch")))
    with torch.no_grad():
        for number, own in enumerate(tower.own):
            own.copy_(3 * torch.randn(own.shape, generator=torch.Generator().manual_seed(number)))
    encoder = Encoder(backbone, [Prompts(tower)])
    taken = {}
    encode = module.encode_domain

    def watched(by, found, domain):
        taken[domain] = (found.catalog.paths[0], found.centre[0])
        return encode(by, found, domain)

    monkeypatch.setattr(module, "encode_domain", watched)
    crosslens.evaluate(encoder, drawn, protocol=protocol, domains=["sketch"], device="torch-cpu")
    assert set(taken) == {"real", "sketch"}
    for domain, (path, features) in taken.items():
        turned = domain == "sketch" and protocol.endswith("inverted")
        network = encoder.backbone_of(domain)
        network = inverted(network) if turned else network
        pixels = torch.tensor(network.preprocess.pixels(path)).permute(2, 0, 1)[None].float()
        mean = 255 * torch.tensor(network.preprocess.mean).view(1, 3, 1, 1)
        scale = 255 * torch.tensor(network.preprocess.std).view(1, 3, 1, 1)
        expected = network.embed_images((pixels - mean) / scale).numpy()[0]
        plain = backbone.embed_images((pixels - mean) / scale).numpy()[0]
        assert np.allclose(features, expected, atol=2e-2), domain
        assert np.abs(plain - expected).max() > 0.1


def test_a_perfect_encoder_reaches_one(drawn, monkeypatch):
    encoder = Encoder(TinyBackbone())
    codes = {name: number for number, name in enumerate((*SPLIT.seen, *SPLIT.unseen))}

    def perfect(found, domain):
        vectors = np.eye(len(codes), dtype=np.float32)[[codes[label] for label in found.catalog.labels]]
        from crosslens.evaluation.measured import Side

        return Side(domain, found.catalog.ids, found.catalog.labels, vectors, vectors)

    monkeypatch.setattr(
        "crosslens.evaluation.protocols.universal.encode_domain", lambda e, found, domain: perfect(found, domain)
    )
    result = crosslens.evaluate(encoder, drawn, protocol="ucdr-mixed")
    assert result.metrics["map@all"] == result.metrics["map@200-sempcyc"] == pytest.approx(1)


def test_a_named_convention_gives_its_own_metrics(drawn):
    encoder = crosslens.load_encoder("tiny")
    result = crosslens.evaluate(encoder, drawn, protocol="ucdr", convention="zse", k=(50,))
    assert set(result.metrics) == {"map@all", "map@50", "p@50"}


def test_all_are_registered_under_their_names():
    names = ["ucdr", "ucdr-mixed", "uccdr", "uccdr-mixed", "uccdr-random", "udcdr"]
    assert list(UNIVERSAL) == [*names, *(f"{name}-inverted" for name in names)]
    assert set(UNIVERSAL) <= set(PROTOCOLS)


class TestBadInput:
    def test_images_of_no_benchmark(self, pictures):
        with pytest.raises(EvaluationError, match="defined on DomainNet, Sketchy and TU-Berlin"):
            crosslens.evaluate(crosslens.load_encoder("tiny"), pictures, protocol="ucdr")

    def test_no_gallery_and_no_query_domain(self):
        with pytest.raises(EvaluationError, match="defined on DomainNet"):
            find_universal(catalog(("sketch", "clipart"), per_class=1))
        images = catalog(("real",), per_class=1)
        with pytest.raises(EvaluationError, match="at least one of sketch, quickdraw"):
            lists(images, "ucdr")

    def test_settings_that_a_benchmark_does_not_have(self):
        sketchy = catalog(("sketch", "photo"), SKETCHY.classes, (), per_class=1)
        with pytest.raises(EvaluationError, match="no setting ucdr; it has uccdr"):
            lists(sketchy, "ucdr")
        with pytest.raises(EvaluationError, match="no setting uccdr-mixed"):
            lists(sketchy, "uccdr", mixed=True)

    def test_classes_too_small_for_their_share(self):
        images = catalog(per_class=3)
        with pytest.raises(EvaluationError, match="no image of sketch is in the classes that it asks with"):
            lists(images, "udcdr", domains=["sketch"])
        with pytest.raises(EvaluationError, match="no image of sketch"):
            lists(catalog(unseen=()), "ucdr", domains=["sketch"])

    def test_a_missing_class_is_no_obstacle(self):
        torch.manual_seed(0)
        images = catalog(unseen=UNSEEN[:1])
        assert len(lists(images, "ucdr", mixed=True)[0].queries) == 20


def test_a_run_says_what_it_knew_of_the_unseen(drawn, tmp_path):
    save_clip(tmp_path / "clip", max_position_embeddings=24)
    few = {"words": 4, "steps": 2, "epochs": 1, "batch_size": 8, "template": "a X of a {class}"}

    def marks(run, protocol):
        return [
            mark for mark in crosslens.evaluate(run.folder, drawn, protocol=protocol).marks if "not unseen" in mark
        ]

    def names_only(names):
        return crosslens.fit(
            "tki",
            out=tmp_path / f"tki{len(names)}",
            backbone=f"clip:{tmp_path / 'clip'}",
            classes=names,
            settings=few,
        )

    # It knows no domains of its own, so all that are there ask.
    clean = names_only(["cat", "dog"])
    assert len(crosslens.evaluate(clean.folder, drawn, protocol="ucdr").directions) == 2
    assert marks(clean, "ucdr") == marks(clean, "udcdr") == []
    told = names_only(["cat", "dog", UNSEEN[1].title()])
    assert marks(told, "ucdr") == [
        f"not unseen: training had the names of 1 of the 45 unseen classes ({UNSEEN[1]})"
    ]
    assert marks(told, "udcdr") == []

    def on_images(name, **options):
        return crosslens.fit(
            "centred", drawn, out=tmp_path / name, backbone="tiny", domains=["sketch", "real"], **options
        )

    every, kept = on_images("every"), on_images("kept", unseen=",".join(UNSEEN))
    domain = "not unseen: training had images of the query domain sketch"
    classes = f"not unseen: training had the images of 4 of the 45 unseen classes ({', '.join(UNSEEN)})"
    register_talker()
    # The text map looks at images too, and what is gone cannot be looked into.
    mapped = crosslens.fit(
        "text-map",
        drawn,
        out=tmp_path / "map",
        backbone="talker",
        domains=["sketch", "real"],
        classes=["circle", "square"],
    )
    assert marks(mapped, "ucdr") == [classes, domain]
    moved = drawn.rename(drawn.with_name("moved"))
    gone = crosslens.evaluate(every.folder, moved, protocol="ucdr").marks
    assert any("cannot be checked" in mark for mark in gone)
    moved.rename(drawn)
    for run, protocol, expected in (
        (every, "ucdr", [classes, domain]),
        (every, "udcdr", [domain]),
        (kept, "ucdr", [domain]),
    ):
        assert marks(run, protocol) == expected


def test_a_part_of_a_benchmark_is_called_so(drawn):
    marks = crosslens.evaluate(crosslens.load_encoder("tiny"), drawn, protocol="ucdr").marks
    assert any("4 of 45 unseen classes" in mark for mark in marks)
    assert "41 classes have no images here, so this is not the published benchmark" in marks
    one = catalog(("sketch", "real"), unseen=UNSEEN[:1])
    with pytest.raises(EvaluationError, match=f"the gallery has one class, {UNSEEN[0]}"):
        lists(one, "ucdr")
