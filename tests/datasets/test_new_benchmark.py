"""A new benchmark is one file and one line in ``BENCHMARKS``; its numbers and lists of classes lie beside it."""

import pytest

from crosslens.data.catalog import Catalog
from crosslens.datasets import BENCHMARKS, find_benchmark, published_splits
from crosslens.datasets.benchmark import Benchmark, DomainCount, Headline, Split, all_pairs
from crosslens.datasets.check import check
from crosslens.datasets.layout import class_folders
from crosslens.evaluation.protocols.zero_shot import unseen_classes
from crosslens.support.errors import CatalogError

DOMAINS = ("ink", "oil")
LAYOUT = "<domain>/<class>/*.png with the domains ink and oil"
SPLIT = Split(
    name="zero-shot",
    full_name="paintings",
    train=("boat", "hill"),
    unseen=("sea shell",),
    headline=Headline(("map@all",), "trec"),
    query_domain="ink",
    gallery_domain="oil",
    aliases={"shell": "sea shell"},
)
PAINTINGS = Benchmark(
    name="paintings",
    title="Paintings",
    domains=DOMAINS,
    classes=(*SPLIT.seen, *SPLIT.unseen),
    counts={"ink": DomainCount(3), "oil": DomainCount(4, classes={"boat": 2})},
    reader=class_folders(
        DOMAINS, (*SPLIT.seen, *SPLIT.unseen), LAYOUT, folders={"oil on canvas": "oil"}, aliases=SPLIT.aliases
    ),
    layout=LAYOUT,
    pairs={"all": all_pairs(DOMAINS)},
    headlines={"all": SPLIT.headline},
    splits={SPLIT.name: SPLIT},
)


def test_a_line_makes_a_benchmark(tree, tmp_path, monkeypatch):
    with pytest.raises(CatalogError, match="there is no benchmark 'paintings'"):
        find_benchmark("paintings")
    monkeypatch.setitem(BENCHMARKS, "paintings", PAINTINGS)

    root = tree(
        *(f"release 2/Ink/{name}/1.png" for name in ("boat", "Hill", "sea_shell")),
        *(f"release 2/oil_on_canvas/{name}.png" for name in ("boat/1", "boat/2", "hill/1", "shell/1")),
    )
    catalog = find_benchmark("Paintings").read(root)
    assert catalog.domains == ["ink", "oil"]
    assert catalog.classes == ["boat", "hill", "sea shell"]
    assert check(catalog, PAINTINGS).ok

    assert published_splits()["paintings"] is SPLIT
    assert unseen_classes("paintings", catalog.classes) == ("sea shell",)

    catalog.write(tmp_path / "paintings.csv")
    assert Catalog.open(tmp_path / "paintings.csv").labels == catalog.labels
