"""Office-Home: art, clipart, product and real-world pictures of 65 objects (Venkateswara et al., CVPR 2017)."""

from __future__ import annotations

from crosslens.datasets.benchmark import Benchmark, Headline, all_pairs, read_classes, read_counts
from crosslens.datasets.layout import class_folders

DOMAINS = ("art", "clipart", "product", "real_world")
CLASSES = read_classes("office_home_classes")
FOLDERS = {"Real": "real_world"}
"""``Real World`` (official), ``Real_World`` (TLlib), ``RealWorld`` and ``Real`` are one domain."""
LAYOUT = (
    "<Domain>/<Class>/*.jpg or <Domain>/train/<Class>/*.jpg with the domains Art, Clipart, Product, Real World"
)


OFFICE_HOME = Benchmark(
    name="office-home",
    title="Office-Home",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("office_home"),
    reader=class_folders(DOMAINS, CLASSES, LAYOUT, folders=FOLDERS),
    layout=LAYOUT,
    pairs={"ucdir": all_pairs(DOMAINS), "uem": all_pairs(DOMAINS)},
    headlines={
        "ucdir": Headline(("p@1", "p@5", "p@15"), "ucdir"),
        "uem": Headline(("map@all",), "trec"),
    },
    notes=("All images of a domain are used; there is no train and test split, even below a folder named train.",),
)
