"""QuickDraw extended: 110 classes of doodles and photos (Dey et al., CVPR 2019)."""

from __future__ import annotations

from crosslens.datasets.benchmark import Benchmark, Headline, Split, read_classes, read_counts
from crosslens.datasets.layout import SKETCHES_AND_PHOTOS, class_folders

DOMAINS = ("sketch", "photo")
LAYOUT = "sketches/<class>/*.png and images/<class>/*.jpg, or QuickDraw_{sketches,images}_final/<class>/"
SPLIT = Split(
    name="zero-shot",
    full_name="quickdraw",
    train=read_classes("quickdraw_seen"),
    unseen=read_classes("quickdraw_unseen"),
    headline=Headline(("map@all", "p@200"), "zse"),
    queries=92_291,
    gallery=54_151,
)
CLASSES = tuple(sorted((*SPLIT.seen, *SPLIT.unseen)))

FOLDERS = SKETCHES_AND_PHOTOS | {"QuickDraw_sketches_final": "sketch", "QuickDraw_images_final": "photo"}

QUICKDRAW = Benchmark(
    name="quickdraw",
    title="QuickDraw extended",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("quickdraw"),
    reader=class_folders(DOMAINS, CLASSES, LAYOUT, folders=FOLDERS),
    layout=LAYOUT,
    aliases=("quickdraw-ext",),
    splits={SPLIT.name: SPLIT},
    notes=(
        "The totals are widely quoted and unverified; the counts of the 30 unseen classes come from list files.",
        "In those lists the class cake has 5,262 sketches where every other one has 3,001.",
    ),
)
