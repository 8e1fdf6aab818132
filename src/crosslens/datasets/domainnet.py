"""DomainNet: 345 classes in six domains (Peng et al., ICCV 2019), whole and as the 7 classes of UCDIR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.data.readers import read_list
from crosslens.datasets.benchmark import Benchmark, Headline, Split, both_ways, read_classes, read_counts
from crosslens.datasets.layout import (
    DomainFolders,
    absent_domains,
    catalog_of,
    class_rows,
    find_domains,
    find_file,
    subfolders,
)

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
_UCDIR_CLASSES = read_classes("domainnet_ucdir")
LAYOUT = "<domain>/<class>/* with the domains clipart, infograph, painting, quickdraw, real and sketch"

_HEADLINE = Headline(("map@200", "p@200"), "sempcyc")
SPLIT = Split(
    name="ucdr",
    full_name="domainnet",
    train=read_classes("domainnet_train"),
    validation=read_classes("domainnet_validation"),
    unseen=read_classes("domainnet_unseen"),
    headline=_HEADLINE,
    gallery_domain="real",
)
CLASSES = tuple(sorted((*SPLIT.seen, *SPLIT.unseen)))


def read(root: Path) -> Catalog:
    """Read ``<domain>/<class>/*``.

    Where ``<domain>_train.txt`` and ``<domain>_test.txt`` are found, only the images they list are read: that is
    how the cleaned release differs from the original one. The lists give ``split`` too. Cleaned archives
    unpacked below ``groundtruth/`` win over a folder of the same domain beside it.

    Raises:
        CatalogError: when no domain is found, a folder cannot be listed or a list is wrong.
    """
    found = _with_groundtruth(find_domains(root, Spelling(DOMAINS), DOMAINS, LAYOUT))
    notes = absent_domains(found, DOMAINS)
    classes = Spelling(CLASSES)
    rows: list[dict[str, Any]] = []
    for domain, folder in found.folders.items():
        listed = list(_listed(root, found, domain, classes))
        if listed:
            notes.append(f"the images of {domain} are those of its list files")
        rows += listed or class_rows(found.base, folder, domain, classes, notes)
    return catalog_of(rows, found.base, notes, LAYOUT)


def _read_seven(root: Path) -> Catalog:
    """Read the seven classes of UCDIR, train and test lists together.

    Raises:
        CatalogError: as ``read``, or when a class is missing altogether.
    """
    return read(root).select(labels=_UCDIR_CLASSES)


def _with_groundtruth(found: DomainFolders) -> DomainFolders:
    cleaned = found.base / "groundtruth"
    if not cleaned.is_dir():
        return found
    names = {child.name for child in subfolders(cleaned)}
    folders = {d: f"groundtruth/{d}" if d in names else found.folders.get(d) for d in DOMAINS}
    return DomainFolders(found.base, {d: folder for d, folder in folders.items() if folder is not None})


def _listed(root: Path, found: DomainFolders, domain: str, classes: Spelling) -> Iterator[dict[str, Any]]:
    folder = found.folders[domain]
    for split in ("train", "test"):
        path = find_file(root, found.base, f"{domain}_{split}.txt")
        if path is None:
            continue
        listed = Catalog.from_listing(read_list(path, domain=domain))
        for file, label in zip(listed.column("path"), listed.labels, strict=True):
            inside = "/".join(Path(file).parts[-2:])
            yield {
                "path": f"{folder}/{inside}",
                "domain": domain,
                "label": None if label is None else classes(label),
                "split": split,
            }


DOMAINNET = Benchmark(
    name="domainnet",
    title="DomainNet",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("domainnet"),
    reader=read,
    layout=LAYOUT,
    pairs={"ucdr": tuple((domain, "real") for domain in DOMAINS if domain != "real")},
    headlines={"ucdr": _HEADLINE},
    splits={"ucdr": SPLIT},
    notes=("Expected counts are those of the cleaned release.",),
)

DOMAINNET_7 = Benchmark(
    name="domainnet-7",
    title="DomainNet, 7 classes",
    domains=DOMAINS,
    classes=_UCDIR_CLASSES,
    counts=read_counts("domainnet_ucdir"),
    reader=_read_seven,
    layout=LAYOUT,
    aliases=("domainnet-ucdir",),
    pairs={
        "ucdir": both_ways(
            ("clipart", "sketch"),
            ("infograph", "real"),
            ("infograph", "sketch"),
            ("painting", "clipart"),
            ("painting", "quickdraw"),
            ("quickdraw", "real"),
        ),
        "uem": (
            ("quickdraw", "clipart"),
            ("clipart", "painting"),
            ("painting", "infograph"),
            ("infograph", "sketch"),
            ("sketch", "real"),
        ),
    },
    headlines={
        "ucdir": Headline(("p@50", "p@100", "p@200"), "ucdir"),
        "uem": Headline(("map@all",), "trec"),
    },
    notes=(
        "UCDIR does not name the seven classes; they follow from the sizes of its memory banks.",
        "Only the pair clipart-sketch stands in UCDIR's scripts; the other five pairs are unverified.",
    ),
)
