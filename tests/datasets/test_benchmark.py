import hashlib
from importlib.resources import files

import pytest

from crosslens.datasets import BENCHMARKS, find_benchmark
from crosslens.datasets.benchmark import all_pairs, both_ways
from crosslens.datasets.layout import key
from crosslens.support.errors import CatalogError

PACKAGE = files("crosslens.datasets")
ALL = pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)


def test_data_files_are_those_of_the_manifest():
    listed = {}
    for line in (PACKAGE / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    there = {
        f"{folder}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in ("splits", "counts")
        for file in (PACKAGE / folder).iterdir()
    }
    assert there == listed


@pytest.mark.parametrize(
    ("name", "split", "train", "validation", "unseen"),
    [
        ("domainnet", "ucdr", 245, 55, 45),
        ("sketchy", "split1", 100, 0, 25),
        ("sketchy", "split2", 104, 0, 21),
        ("tu-berlin", "zero-shot", 220, 0, 30),
        ("quickdraw", "zero-shot", 80, 0, 30),
    ],
)
def test_split_sizes(name, split, train, validation, unseen):
    found = BENCHMARKS[name].splits[split]
    assert (len(found.train), len(found.validation), len(found.unseen)) == (train, validation, unseen)
    assert found.seen == found.train + found.validation


def test_lists_keep_the_published_order_and_spelling():
    domainnet = BENCHMARKS["domainnet"].splits["ucdr"]
    assert domainnet.seen[44] == "church"  # the universal protocol takes "the first 45 of the seen list"
    assert domainnet.train[-1] == "bulldozer"
    assert domainnet.validation[:3] == ("angel", "animal_migration", "anvil")
    assert domainnet.unseen[0] == "giraffe"
    sketchy = BENCHMARKS["sketchy"].splits
    assert "hot-air_balloon" in sketchy["split1"].seen
    assert sketchy["split1"].unseen[:2] == ("cup", "swan")
    assert sketchy["split2"].unseen[0] == "bat"
    assert set(sketchy["split1"].seen) != set(sketchy["split2"].seen)
    assert "bottle opener" in BENCHMARKS["tu-berlin"].splits["zero-shot"].unseen
    assert {"palm tree", "fire_hydrant"} < set(BENCHMARKS["quickdraw"].splits["zero-shot"].unseen)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("office-31", 31),
        ("office-home", 65),
        ("domainnet", 345),
        ("domainnet-7", 7),
        ("pacs", 7),
        ("sketchy", 125),
        ("tu-berlin", 250),
        ("quickdraw", 110),
    ],
)
def test_class_numbers(name, classes):
    assert len(BENCHMARKS[name].classes) == classes


@ALL
def test_descriptions_agree_with_themselves(benchmark):
    assert BENCHMARKS[benchmark.name] is benchmark
    assert len({key(name) for name in benchmark.classes}) == len(benchmark.classes), "two classes share a key"
    assert tuple(benchmark.counts) == benchmark.domains
    for domain, count in benchmark.counts.items():
        assert set(count.classes) <= set(benchmark.classes), domain
        if set(count.classes) == set(benchmark.classes):
            assert sum(count.classes.values()) == count.images, domain
    for split in benchmark.splits.values():
        assert sorted(split.seen + split.unseen) == sorted(benchmark.classes)
        assert {split.query_domain, split.gallery_domain} <= set(benchmark.domains)
        for domain, expected in ((split.query_domain, split.queries), (split.gallery_domain, split.gallery)):
            classes = benchmark.counts[domain].classes
            if expected is not None and set(split.unseen) <= set(classes):
                assert sum(classes[name] for name in split.unseen) == expected
    for pairs in benchmark.pairs.values():
        assert len(set(pairs)) == len(pairs)
        assert {domain for pair in pairs for domain in pair} <= set(benchmark.domains)
    conventions = {"trec", "ucdir", "zse", "sempcyc"}
    headlines = [*benchmark.headlines.values(), *(split.headline for split in benchmark.splits.values())]
    assert headlines
    assert {headline.convention for headline in headlines} <= conventions


def test_published_totals():
    totals = {
        name: {domain: count.images for domain, count in benchmark.counts.items()}
        for name, benchmark in BENCHMARKS.items()
    }
    assert totals["office-31"] == {"amazon": 2817, "dslr": 498, "webcam": 795}
    assert totals["office-home"] == {"art": 2427, "clipart": 4365, "product": 4439, "real_world": 4357}
    assert totals["pacs"] == {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}
    assert totals["domainnet"]["real"] == 172_947
    assert totals["domainnet-7"] == {
        "clipart": 1959,
        "infograph": 2121,
        "painting": 2415,
        "quickdraw": 3500,
        "real": 4458,
        "sketch": 2091,
    }
    galleries = [BENCHMARKS[name].splits["split2"].gallery for name in ("sketchy", "sketchy-all")]
    assert galleries == [10_453, 12_553]
    smallest = [min(count.classes.values()) for count in BENCHMARKS["office-home"].counts.values()]
    assert smallest == [15, 39, 38, 23]
    assert min(min(count.classes.values()) for count in BENCHMARKS["domainnet-7"].counts.values()) == 202


def test_unverified_counts_are_marked():
    marked = {
        (name, domain)
        for name, benchmark in BENCHMARKS.items()
        for domain, count in benchmark.counts.items()
        if not count.verified
    }
    assert marked == {("tu-berlin", "photo"), ("quickdraw", "sketch"), ("quickdraw", "photo")}


def test_pairs():
    assert len(BENCHMARKS["office-home"].pairs["ucdir"]) == 12
    assert len(BENCHMARKS["domainnet-7"].pairs["ucdir"]) == 12
    assert len(BENCHMARKS["domainnet-7"].pairs["uem"]) == 5
    assert both_ways(("a", "b")) == (("a", "b"), ("b", "a"))
    assert all_pairs(("a", "b", "c"))[:2] == (("a", "b"), ("a", "c"))


@pytest.mark.parametrize("name", ["office-home", "OfficeHome", "Office Home", "office_home"])
def test_find(name):
    assert find_benchmark(name).name == "office-home"


def test_names_are_unique_and_unknown_ones_listed():
    names = [
        key(name) for b in BENCHMARKS.values() for name in dict.fromkeys(map(key, (b.name, b.title, *b.aliases)))
    ]
    assert len(set(names)) == len(names)
    with pytest.raises(CatalogError, match="there is no benchmark 'cifar'; known are office-31, office-home"):
        find_benchmark("cifar")


@ALL
def test_a_folder_without_the_layout(benchmark, tmp_path, tree):
    with pytest.raises(CatalogError, match=r"is not a folder; .* needs"):
        benchmark.read(tmp_path / "nowhere")
    with pytest.raises(CatalogError, match="found below"):
        benchmark.read(tree("holiday/beach/1.jpg"))
