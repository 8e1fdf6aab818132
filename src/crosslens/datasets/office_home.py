"""Office-Home: art, clipart, product and real-world pictures of 65 objects (Venkateswara et al., CVPR 2017)."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets.benchmark import Benchmark, Headline, all_pairs, read_classes, read_counts
from crosslens.datasets.layout import read_folders

DOMAINS = ("art", "clipart", "product", "real_world")
CLASSES = read_classes("office_home_classes")
ALIASES = {"Real": "real_world"}
LAYOUT = (
    "<Domain>/<Class>/*.jpg or <Domain>/train/<Class>/*.jpg with the domains Art, Clipart, Product, Real World"
)


def read(root: Path) -> Catalog:
    """Read ``<Domain>/<Class>/*``, or ``<Domain>/train/<Class>/*`` as UCDIR's code wants it.

    ``Real World`` (official), ``Real_World`` (TLlib), ``RealWorld`` and ``Real`` are one domain, ``real_world``.

    Raises:
        CatalogError: when no domain is found or a folder cannot be listed.
    """
    return read_folders(root, Spelling(DOMAINS, ALIASES), DOMAINS, Spelling(CLASSES), LAYOUT)


OFFICE_HOME = Benchmark(
    name="office-home",
    title="Office-Home",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("office_home"),
    reader=read,
    layout=LAYOUT,
    pairs={"ucdir": all_pairs(DOMAINS), "uem": all_pairs(DOMAINS)},
    headlines={
        "ucdir": Headline(("p@1", "p@5", "p@15"), "ucdir"),
        "uem": Headline(("map@all",), "trec"),
    },
    notes=("All images of a domain are used; there is no train and test split, even below a folder named train.",),
)
