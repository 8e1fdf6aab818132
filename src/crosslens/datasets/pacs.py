"""PACS: photo, art painting, cartoon and sketch of 7 classes (Li et al., ICCV 2017)."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.data.readers import read_list
from crosslens.datasets.benchmark import Benchmark, Headline, all_pairs, read_classes, read_counts
from crosslens.datasets.layout import (
    DomainFolders,
    absent_domains,
    catalog_of,
    class_rows,
    find_domains,
    find_file,
)
from crosslens.support.errors import CatalogError

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = read_classes("pacs_classes")
ALIASES = {"art": "art_painting", "painting": "art_painting", "photos": "photo", "sketches": "sketch"}
LAYOUT = "kfold/<domain>/<class>/* or <domain>/<class>/* with the domains art_painting, cartoon, photo and sketch"

# The official lists, then those of TLlib. Both count classes from 1; the test and all lists name every image.
_SPLIT_LISTS = {"train_kfold": "train", "crossval_kfold": "val", "train": "train", "val": "val"}


def read(root: Path) -> Catalog:
    """Read ``kfold/<domain>/<class>/*`` or ``<domain>/<class>/*``; ``split`` comes from the list files beside it.

    Raises:
        CatalogError: when no domain is found, a folder cannot be listed, or a list's number is not the 1-based
            position of the class it stands behind.
    """
    found = find_domains(root, Spelling(DOMAINS, ALIASES), DOMAINS, LAYOUT)
    notes = absent_domains(found, DOMAINS)
    classes = Spelling(CLASSES)
    rows = []
    for domain, folder in found.folders.items():
        splits = _splits(root, found, domain)
        for row in class_rows(found.base, folder, domain, classes, notes):
            in_domain = row["path"].removeprefix(f"{folder}/")
            rows.append(row | {"split": splits.get(in_domain, row["split"])})
    return catalog_of(rows, found.base, notes, LAYOUT)


def _splits(root: Path, found: DomainFolders, domain: str) -> dict[str, str]:
    """The split of each ``<class>/<file>`` of a domain; empty without list files."""
    splits: dict[str, str] = {}
    numbers = dict(enumerate(CLASSES, start=1))
    for suffix, split in _SPLIT_LISTS.items():
        path = find_file(root, found.base, f"{domain}_{suffix}.txt")
        if path is None:
            continue
        listed = Catalog.from_listing(read_list(path, domain=domain, class_names=numbers))
        for file, label in zip(listed.column("path"), listed.labels, strict=True):
            parts = Path(file).parts[-2:]
            if parts[0] != label:
                raise CatalogError(
                    f"{path}: {file} has the number of {label}, counted from 1; PACS lists count from 1"
                )
            splits["/".join(parts)] = split
    return splits


PACS = Benchmark(
    name="pacs",
    title="PACS",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("pacs"),
    reader=read,
    layout=LAYOUT,
    pairs={"all": all_pairs(DOMAINS)},
    headlines={"all": Headline(("map@all",), "trec")},
    notes=("DG-UCDIR trains on some pairs and tests on the others; the pairs here are simply all of them.",),
)
