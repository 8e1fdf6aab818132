"""Office-31: amazon, dslr and webcam pictures of 31 office objects (Saenko et al., ECCV 2010)."""

from __future__ import annotations

from crosslens.datasets.benchmark import Benchmark, Headline, all_pairs, read_classes, read_counts
from crosslens.datasets.layout import class_folders

DOMAINS = ("amazon", "dslr", "webcam")
CLASSES = read_classes("office31_classes")
LAYOUT = "<domain>/images/<class>/*.jpg or <domain>/<class>/*.jpg with the domains amazon, dslr and webcam"


OFFICE31 = Benchmark(
    name="office-31",
    title="Office-31",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("office31"),
    reader=class_folders(DOMAINS, CLASSES, LAYOUT),
    layout=LAYOUT,
    aliases=("office",),
    pairs={"uem": all_pairs(DOMAINS)},
    headlines={"uem": Headline(("map@all",), "trec")},
    notes=(
        "dslr has classes of 7 images only, so figures per class are noisy.",
        "The partition into shared and private classes that UEM used is not published.",
    ),
)
