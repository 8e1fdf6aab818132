"""The ``path label`` lists of ZSE-SBIR, SAKE and CMCA for Sketchy, TU-Berlin and QuickDraw."""

from __future__ import annotations

from pathlib import Path

from crosslens.data.catalog import Catalog, concatenate
from crosslens.data.readers import read_class_numbers, read_list
from crosslens.support.errors import CatalogError

_SKETCH_STEMS = ("sketch", "png_ready")
_PHOTO_STEMS = ("all_photo", "ImageResized_ready")

# File names end in what the authors call the parts. Their "test" lists hold sketches of seen classes.
PARTS = {"train": "train", "zero": "unseen", "test": "validation"}
_NAMES_FILE = {"train": "cname_cid.txt", "zero": "cname_cid_zero.txt", "test": "cname_cid.txt"}


def read_zero_shot_lists(root: str | Path, lists: str | Path) -> Catalog:
    """Read a folder of list files, as ``zeroshot1``, for the images below ``root``.

    Read are ``{sketch*,png_ready*}_{train,test,zero}.txt`` as the domain ``sketch`` and
    ``{all_photo*,ImageResized_ready*}_{train,zero}.txt`` as ``photo``, with the class names of
    ``cname_cid.txt`` and ``cname_cid_zero.txt``. ``split`` is ``train``, ``validation`` or ``unseen``. The lists
    are taken as they are: those of Sketchy name 12,499 photos twice, original and extended.

    Raises:
        CatalogError: when a file is missing or unreadable, a number has no class name, or nothing is listed.
    """
    lists = Path(lists)
    if not lists.is_dir():
        raise CatalogError(f"{lists} is not a folder; give the one that holds cname_cid.txt and the list files")
    catalogs = []
    for path in sorted(lists.glob("*.txt")):
        stem, _, part = path.stem.rpartition("_")
        domain = _domain(stem)
        if domain is None or part not in PARTS:
            continue
        names = read_class_numbers(lists / _NAMES_FILE[part])
        listing = read_list(path, root=Path(root), domain=domain, class_names=names, split=PARTS[part])
        catalogs.append(Catalog.from_listing(listing))
    if not catalogs:
        raise CatalogError(
            f"{lists} holds no list such as {_SKETCH_STEMS[0]}_train.txt or {_PHOTO_STEMS[0]}_zero.txt"
        )
    return concatenate(catalogs)


def _domain(stem: str) -> str | None:
    if stem.startswith(_SKETCH_STEMS):
        return "sketch"
    return "photo" if stem.startswith(_PHOTO_STEMS) else None
