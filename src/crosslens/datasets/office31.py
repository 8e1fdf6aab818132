"""Office-31: amazon, dslr and webcam pictures of 31 office objects (Saenko et al., ECCV 2010)."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets.benchmark import Benchmark, Headline, all_pairs, read_classes, read_counts
from crosslens.datasets.layout import read_folders

DOMAINS = ("amazon", "dslr", "webcam")
CLASSES = read_classes("office31_classes")
LAYOUT = "<domain>/images/<class>/*.jpg or <domain>/<class>/*.jpg with the domains amazon, dslr and webcam"


def read(root: Path) -> Catalog:
    """Read ``<domain>/images/<class>/*`` or ``<domain>/<class>/*``.

    Raises:
        CatalogError: when no domain is found or a folder cannot be listed.
    """
    return read_folders(root, Spelling(DOMAINS), DOMAINS, Spelling(CLASSES), LAYOUT)


OFFICE31 = Benchmark(
    name="office-31",
    title="Office-31",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("office31"),
    reader=read,
    layout=LAYOUT,
    aliases=("office",),
    pairs={"uem": all_pairs(DOMAINS)},
    headlines={"uem": Headline(("map@all",), "trec")},
    notes=(
        "dslr has classes of 7 images only, so figures per class are noisy.",
        "The partition into shared and private classes that UEM used is not published.",
    ),
)
