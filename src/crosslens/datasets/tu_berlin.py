"""TU-Berlin extended: 80 sketches of each of 250 classes (Eitz et al., 2012) and photos (Liu et al., 2017)."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets.benchmark import Benchmark, Headline, Split, read_classes, read_counts
from crosslens.datasets.layout import read_folders

DOMAINS = ("sketch", "photo")
LAYOUT = "png_ready/<class>/*.png and ImageResized_ready/<class>/*.jpg, or sketches/<class>/ and images/<class>/"
SPLIT = Split(
    name="zero-shot",
    train=read_classes("tu_berlin_seen"),
    unseen=read_classes("tu_berlin_unseen"),
    headline=Headline(("map@all", "p@100"), "sempcyc"),
    queries=2400,
    gallery=27_989,
)
CLASSES = tuple(sorted((*SPLIT.seen, *SPLIT.unseen)))

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

_FOLDERS = {
    "png_ready": "sketch",
    "png": "sketch",
    "sketches": "sketch",
    "ImageResized_ready": "photo",
    "ImageResized": "photo",
    "images": "photo",
    "photos": "photo",
}


def read(root: Path) -> Catalog:
    """Read ``png_ready/<class>/*`` and ``ImageResized_ready/<class>/*``, or ``sketches/`` and ``images/``.

    Raises:
        CatalogError: when neither is found or a folder cannot be listed.
    """
    return read_folders(root, Spelling(DOMAINS, _FOLDERS), DOMAINS, Spelling(CLASSES, ALIASES), LAYOUT)


TU_BERLIN = Benchmark(
    name="tu-berlin",
    title="TU-Berlin extended",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("tu_berlin"),
    reader=read,
    layout=LAYOUT,
    aliases=("tu-berlin-ext",),
    splits={SPLIT.name: SPLIT},
    notes=(
        "Two choices of 30 unseen classes are in use: MA-ZS-SBIR tests on others (2,400 sketches, 25,708 photos).",
    ),
)
