"""QuickDraw extended: 110 classes of doodles and photos (Dey et al., CVPR 2019)."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets.benchmark import Benchmark, Headline, Split, read_classes, read_counts
from crosslens.datasets.layout import read_folders

DOMAINS = ("sketch", "photo")
LAYOUT = "sketches/<class>/*.png and images/<class>/*.jpg, or QuickDraw_{sketches,images}_final/<class>/"
SPLIT = Split(
    name="zero-shot",
    train=read_classes("quickdraw_seen"),
    unseen=read_classes("quickdraw_unseen"),
    headline=Headline(("map@all", "p@200"), "zse"),
    queries=92_291,
    gallery=54_151,
)
CLASSES = tuple(sorted((*SPLIT.seen, *SPLIT.unseen)))

_FOLDERS = {
    "sketches": "sketch",
    "QuickDraw_sketches_final": "sketch",
    "images": "photo",
    "photos": "photo",
    "QuickDraw_images_final": "photo",
}


def read(root: Path) -> Catalog:
    """Read ``sketches/<class>/*`` and ``images/<class>/*``, or the archives' ``QuickDraw_*_final`` folders.

    Raises:
        CatalogError: when neither is found or a folder cannot be listed.
    """
    return read_folders(root, Spelling(DOMAINS, _FOLDERS), DOMAINS, Spelling(CLASSES), LAYOUT)


QUICKDRAW = Benchmark(
    name="quickdraw",
    title="QuickDraw extended",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("quickdraw"),
    reader=read,
    layout=LAYOUT,
    aliases=("quickdraw-ext",),
    splits={SPLIT.name: SPLIT},
    notes=(
        "The totals are widely quoted and unverified; the counts of the 30 unseen classes come from list files.",
        "In those lists the class cake has 5,262 sketches where every other one has 3,001.",
    ),
)
