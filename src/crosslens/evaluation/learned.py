"""What a run has learned from, and which of some images are its own: told by the file, never by the id alone.

Ids are relative paths or what a manifest says, so that images of two folders may share them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pyarrow as pa

from crosslens.data.catalog import SCHEMA, Catalog
from crosslens.data.splits import select_splits
from crosslens.evaluation.protocols.zero_shot import without_classes
from crosslens.evaluation.scenarios import Scenario
from crosslens.support.addresses import whole_name
from crosslens.support.errors import CatalogError, CrosslensError
from crosslens.support.presence import is_gone
from crosslens.training.run import Run

Key = tuple[str, str]
"""A domain and a file."""


def learned_images(run: Run) -> Catalog:
    """The images that a run's training was given: of its splits, domains and classes.

    Raises:
        RunError: when the run does not say which.
        CatalogError: when they are no longer there.
    """
    config = run.config()
    images = select_splits(run.catalog(), config.get("split"))
    images = images.select(domains=images.domains_named(config["domains"]))
    if config.get("unseen"):
        images = without_classes(images, config["unseen"])
    if config.get("scenario"):
        images = Scenario.from_json(config["scenario"]).restrict(images, *config["domains"])
    return images


def own_images(run: Run, catalog: Catalog) -> Catalog:
    """Those of the images that are files of the run's own, under the ids that the run knows them by.

    Where the run's images are gone, as after a move, there is nothing to hold the files against: an image then is
    the run's where its id is.
    """
    images = _read_images(run)
    if images is None:
        return catalog
    known = dict(zip(_keys(images), images.ids, strict=True))
    rows: dict[str, int] = {}
    for row, key in enumerate(_keys(catalog)):
        if key in known:
            rows.setdefault(known[key], row)
    own = catalog.take(list(rows.values()))
    table = own.table.set_column(0, SCHEMA.field("id"), pa.array(list(rows), pa.string()))
    return Catalog(table, own.root, own.notes)


def unlearned_ids(run: Run, catalog: Catalog) -> set[str] | None:
    """Ids of the images whose label the run's training did not see; None when it saw none at all."""
    held_out = run.read_held_out()
    if held_out is None:
        return None
    images = _read_images(run)
    if images is None:
        # Of a folder that moved the held-out ids are here; where none is, these are other images.
        return (held_out & set(catalog.ids)) or set(catalog.ids)
    try:
        learned = learned_images(run)
    except CrosslensError:
        # A part of them is gone; of the rest, any may have been learned from.
        learned = images
    seen = {image for image in learned.ids if image not in held_out}
    files = {file for image, (_, file) in zip(images.ids, _keys(images), strict=True) if image in seen}
    return {image for image, (_, file) in zip(catalog.ids, _keys(catalog), strict=True) if file not in files}


def _read_images(run: Run) -> Catalog | None:
    """The run's images; None where they are gone."""
    try:
        images = run.catalog()
    except CatalogError:
        return None
    return images if any(not is_gone(whole_name(path)) for path in images.paths) else None


def _keys(catalog: Catalog) -> list[Key]:
    """Domain and resolved file of every image."""
    folder = cache(os.path.realpath)
    return [
        (d, _file(path, folder(path.parent)) if isinstance(path, Path) else str(path))
        for d, path in zip(catalog.column("domain"), catalog.paths, strict=True)
    ]


def _file(path: Path, folder: str) -> str:
    # A link to a file is rare, and resolving every whole path is slow.
    return os.path.realpath(path) if path.is_symlink() else os.path.join(folder, path.name)
