"""TU-Berlin extended: 80 sketches of each of 250 classes (Eitz et al., 2012) and photos (Liu et al., 2017)."""

from __future__ import annotations

from crosslens.datasets.benchmark import Benchmark, Headline, Split, read_classes, read_counts
from crosslens.datasets.layout import SKETCHES_AND_PHOTOS, class_folders

DOMAINS = ("sketch", "photo")
LAYOUT = "png_ready/<class>/*.png and ImageResized_ready/<class>/*.jpg, or sketches/<class>/ and images/<class>/"
ALIASES = {
    "chandeler": "chandelier",
    "diamod": "diamond",
    "griaffe": "giraffe",
    "mouse": "mouse (animal)",
    "pipe": "pipe (for smoking)",
    "spacesshuttle": "space shuttle",
    "spidar": "spider",
    "tromobone": "trombone",
    "wristwatching": "wrist-watch",
}
"""Classes that the archive of the photos (``ImageResized``) spells otherwise than that of the sketches, as the
download script of sem-pcyc (Dutta and Akata, CVPR 2019) renames them; spaces and hyphens aside."""

SPLIT = Split(
    name="zero-shot",
    full_name="tu-berlin",
    train=read_classes("tu_berlin_seen"),
    unseen=read_classes("tu_berlin_unseen"),
    headline=Headline(("map@all", "p@100"), "sempcyc"),
    queries=2400,
    gallery=27_989,
    aliases=ALIASES,
)
CLASSES = tuple(sorted((*SPLIT.seen, *SPLIT.unseen)))
FOLDERS = SKETCHES_AND_PHOTOS | {
    "png_ready": "sketch",
    "png": "sketch",
    "ImageResized_ready": "photo",
    "ImageResized": "photo",
}

TU_BERLIN = Benchmark(
    name="tu-berlin",
    title="TU-Berlin extended",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("tu_berlin"),
    reader=class_folders(DOMAINS, CLASSES, LAYOUT, folders=FOLDERS, aliases=ALIASES),
    layout=LAYOUT,
    aliases=("tu-berlin-ext",),
    splits={SPLIT.name: SPLIT},
    notes=(
        "Two choices of 30 unseen classes are in use: MA-ZS-SBIR tests on others (2,400 sketches, 25,708 photos).",
    ),
)
