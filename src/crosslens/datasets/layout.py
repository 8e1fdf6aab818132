"""Finding a benchmark's folders whatever wrapping an archive left around them, and spelling names one way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling, caseless
from crosslens.data.names import spelling_key as key
from crosslens.data.readers import is_system_folder, list_images
from crosslens.support.errors import CatalogError

_MAX_DEPTH = 2
"""How many folders an archive may wrap around the domains, as in ``OfficeHomeDataset_10072016/Art``."""

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "crossval": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders, folded, and the split that each stands for."""
_WRAPPERS = _SPLIT_FOLDERS.keys() | {"images"}

SKETCHES_AND_PHOTOS = {"sketches": "sketch", "images": "photo", "photos": "photo"}
"""Plain names of the folders of two domains, and the domain each holds."""


@dataclass(frozen=True)
class DomainFolders:
    """Where a benchmark's domains lie: ``base`` and, by domain, the folder relative to it."""

    base: Path
    folders: Mapping[str, str]


def find_domains(root: Path, spelling: Spelling, domains: Sequence[str], layout: str) -> DomainFolders:
    """Find the folder below ``root`` (or ``root`` itself) that holds the domains' folders.

    The shallowest level that holds any wins, and on it the folder that holds most. A domain's folder that has one
    of its own name in it, as some archives unpack, stands for that one.

    Raises:
        CatalogError: when none is found, a folder cannot be listed, two folders spell the same domain, or two
            hold the domains, as ``train`` and ``test`` may.
    """
    for level in levels(root):
        candidates = [DomainFolders(base, _match(base, spelling)) for base in level]
        best = max(candidates, key=lambda found: len(found.folders))
        if best.folders:
            _require_only(best, candidates, layout)
            present = {domain: best.folders[domain] for domain in domains if domain in best.folders}
            return DomainFolders(best.base, present)
    raise CatalogError(f"none of the domains {', '.join(domains)} was found below {root}; expected {layout}")


def find_file(root: Path, base: Path, name: str) -> Path | None:
    """The list file ``name`` beside the domains, in ``root``, or one folder below either; None when absent."""
    for place in (base, root, *subfolders(base), *subfolders(root)):
        if (place / name).is_file():
            return place / name
    return None


def class_rows(
    base: Path, folder: str, domain: str, classes: Spelling, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """Rows of ``base/folder/<class>/*``; paths are relative to ``base``.

    The class is the first folder that is called as one; what archives put above it is stepped over. Where none is,
    it is the first folder that is none of ``_WRAPPERS``. A name of ``_SPLIT_FOLDERS`` above the class gives the
    split, unless a class is called so (DomainNet and TU-Berlin have a class ``train``).

    Raises:
        CatalogError: when a folder cannot be listed.
    """
    outside = 0
    for path in list_images(base / folder, notes):
        above = path.parts[:-1]
        named = [place for place, name in enumerate(above) if name in classes]
        named = named or [place for place, name in enumerate(above) if caseless(name) not in _WRAPPERS]
        place = named[0] if named else len(above)
        label = classes(above[place]) if named else None
        split = next(
            (_SPLIT_FOLDERS[name] for name in map(caseless, above[:place]) if name in _SPLIT_FOLDERS), None
        )
        outside += label is None
        yield {"path": f"{folder}/{path.as_posix()}", "domain": domain, "label": label, "split": split}
    if outside:
        notes.append(f"{outside} image(s) in {base / folder} lie in no class folder and have no label")


def class_folders(
    domains: Sequence[str],
    classes: Sequence[str],
    layout: str,
    *,
    folders: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Callable[[Path], Catalog]:
    """The reader of a benchmark whose images all lie in ``<domain>/<class>/*``.

    Args:
        domains: the domains; those that have no folder are noted.
        classes: the classes, as the published list spells them.
        layout: the folders that are looked for, for messages.
        folders: further names of folders, and the domain each holds.
        aliases: further names of classes, and the class each stands for.

    Returns:
        A function of the root. It raises ``CatalogError`` when no domain is found or holds an image, or a folder
        cannot be listed.
    """
    domain_names, class_names = Spelling(domains, folders), Spelling(classes, aliases)

    def read(root: Path) -> Catalog:
        found = find_domains(root, domain_names, domains, layout)
        notes = absent_domains(found, domains)
        rows = [
            row
            for domain, folder in found.folders.items()
            for row in class_rows(found.base, folder, domain, class_names, notes)
        ]
        return catalog_of(rows, found.base, notes, layout)

    return read


def catalog_of(rows: Sequence[dict[str, Any]], base: Path, notes: Sequence[str], layout: str) -> Catalog:
    """The catalog of ``rows``.

    Raises:
        CatalogError: when there is no row.
    """
    if not rows:
        raise CatalogError(f"the folders in {base} hold no image; expected {layout}")
    return Catalog.from_rows(rows, base, notes)


def absent_domains(found: DomainFolders, domains: Sequence[str]) -> list[str]:
    """A sentence on the domains that have no folder, and on the folders that are none; none where all are here."""
    absent = [domain for domain in domains if domain not in found.folders]
    if not absent:
        return []
    read = {folder.split("/")[0] for folder in found.folders.values()} | _WRAPPERS
    others = [
        child.name
        for child in subfolders(found.base)
        if child.name not in read and child.name not in found.folders
    ]
    unread = f"; folders that are none of its domains: {', '.join(others)}" if others else ""
    plural = "s" if len(absent) > 1 else ""
    return [f"{found.base} has no folder of the domain{plural} {', '.join(absent)}{unread}"]


def subfolders(folder: Path) -> list[Path]:
    """The folders in ``folder`` that are neither hidden nor a system's own, sorted by name.

    Raises:
        CatalogError: when it cannot be listed.
    """
    try:
        with os.scandir(folder) as listing:
            names = [entry.name for entry in listing if not is_system_folder(entry.name)]
    except OSError as error:
        raise CatalogError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    # Not DirEntry.is_dir, which raises on a link to itself.
    return [folder / name for name in sorted(names) if (folder / name).is_dir()]


def levels(root: Path) -> Iterator[list[Path]]:
    """The folder ``root``, then the folders in it, and so on down to ``_MAX_DEPTH``; lazily.

    Raises:
        CatalogError: when a folder cannot be listed.
    """
    level = [root]
    for _ in range(_MAX_DEPTH + 1):
        if not level:
            return
        yield level
        level = [child for folder in level for child in subfolders(folder)]


def _match(base: Path, spelling: Spelling) -> dict[str, str]:
    found: dict[str, str] = {}
    for child in subfolders(base):
        if child.name not in spelling:
            continue
        domain = spelling(child.name)
        if domain in found:
            raise CatalogError(
                f"{base} holds both {found[domain]!r} and {child.name!r}, which are the same domain; keep one"
            )
        inner = next((name.name for name in subfolders(child) if key(name.name) == key(child.name)), None)
        found[domain] = child.name if inner is None else f"{child.name}/{inner}"
    return found


def _require_only(best: DomainFolders, candidates: Sequence[DomainFolders], layout: str) -> None:
    """Domains that lie in two places are not half of them read."""
    for other in candidates:
        halves = {caseless(best.base.name), caseless(other.base.name)} <= _SPLIT_FOLDERS.keys()
        tied = len(other.folders) == len(best.folders)
        if other is not best and other.folders and (halves or tied):
            held, more = (", ".join(sorted(found.folders)) for found in (best, other))
            raise CatalogError(
                f"{best.base} holds {held}, and {other.base} {more}; give one of the two, or bring them together"
                f" as {layout}"
            )
