"""Sketchy extended: sketches of 125 classes, the photos they were drawn from, and 60,502 more photos.

Sources: Sangkloy et al., SIGGRAPH 2016; photos of Liu et al., CVPR 2017.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets.benchmark import Benchmark, Headline, Split, read_classes, read_counts
from crosslens.datasets.layout import catalog_of, class_rows, levels, subfolders
from crosslens.support.errors import CatalogError

Photos = Literal["extended", "original", "all"]

DOMAINS = ("sketch", "photo")
LAYOUT = (
    "256x256/sketch/tx_000000000000/<class>/*.png, 256x256/photo/tx_000000000000/<class>/*.jpg and"
    " EXTEND_image_sketchy/<class>/*.jpg"
)
_VARIANTS = ("tx_000000000000", "tx_000000000000_ready")
"""The pictures stretched to 256 x 256, which every protocol uses (``tx_000100000000`` and others are centred)."""

_SKETCHES = ("256x256/sketch", "sketch")
_ORIGINALS = ("256x256/photo", "photo")
_EXTENDED = ("EXTEND_image_sketchy", "EXTEND_image_sketchy_ready", "extended_photo")
_PHOTOS: dict[str, tuple[tuple[str, ...], ...]] = {
    "extended": (_EXTENDED,),
    "original": (_ORIGINALS,),
    "all": (_ORIGINALS, _EXTENDED),
}


def read(root: Path, *, photos: Photos = "extended") -> Catalog:
    """Read sketches and photos as the domains ``sketch`` and ``photo``.

    Args:
        root: the folder that holds ``256x256`` and ``EXTEND_image_sketchy`` (or ``sketch``, ``photo`` and
            ``extended_photo``), or one up to two levels above it.
        photos: ``extended`` (73,002; split 2 then has a gallery of 10,453), ``original`` (12,500), or ``all``
            (85,502; a gallery of 12,553, as ZSE-SBIR and CMCA count). 12,499 originals lie in the extended
            folder too, so ``all`` has them twice.

    Raises:
        CatalogError: when a folder is missing, cannot be listed, or holds only other variants of the sketches.
    """
    base = _find_base(root)
    if photos not in _PHOTOS:
        raise CatalogError(f"photos is {photos!r}; choose one of {', '.join(_PHOTOS)}")
    notes: list[str] = []
    classes = Spelling(CLASSES)
    rows = list(class_rows(base, _folder(base, _SKETCHES), "sketch", classes, notes))
    for choices in _PHOTOS[photos]:
        rows += class_rows(base, _folder(base, choices), "photo", classes, notes)
    return catalog_of(rows, base, notes, LAYOUT)


def _find_base(root: Path) -> Path:
    for level in levels(root):
        for folder in level:
            if any((folder / name).is_dir() for name in _SKETCHES):
                return folder
    raise CatalogError(f"no folder of sketches was found below {root}; expected {LAYOUT}")


def _folder(base: Path, choices: tuple[str, ...]) -> str:
    """The first of ``choices`` below ``base``, down to the folder that holds the classes."""
    folder = next((name for name in choices if (base / name).is_dir()), None)
    if folder is None:
        raise CatalogError(f"{base} has none of the folders {', '.join(choices)}; expected {LAYOUT}")
    inside = [child.name for child in subfolders(base / folder)]
    for variant in _VARIANTS:
        if variant in inside:
            return f"{folder}/{variant}"
    others = [name for name in inside if name.startswith("tx_")]
    if others:
        raise CatalogError(
            f"{base / folder} holds only {', '.join(others)};"
            f" the protocols use {_VARIANTS[0]} (stretched pictures)"
        )
    return folder


def _splits(*, all_photos: bool) -> dict[str, Split]:
    """Both class splits, with the gallery sizes of one choice of photos."""
    return {
        "split1": Split(
            name="split1",
            full_name="sketchy-1",
            train=read_classes("sketchy_split1_seen"),
            unseen=read_classes("sketchy_split1_unseen"),
            headline=Headline(("map@all", "p@100"), "sempcyc"),
            queries=15_229,
            gallery=17_101 if all_photos else 14_601,
        ),
        "split2": Split(
            name="split2",
            full_name="sketchy-2",
            train=read_classes("sketchy_split2_seen"),
            unseen=read_classes("sketchy_split2_unseen"),
            headline=Headline(("map@200", "p@200"), "sempcyc"),
            queries=12_694,
            gallery=12_553 if all_photos else 10_453,
        ),
    }


CLASSES = tuple(sorted(read_classes("sketchy_split1_seen") + read_classes("sketchy_split1_unseen")))
_NOTES = (
    "split1 is zeroshot1 of ZSE-SBIR (random 25), split2 is zeroshot0 (21 classes outside ImageNet, also 'eccv').",
    "sem-pcyc draws other 25 classes at random; name the list when comparing.",
)

SKETCHY = Benchmark(
    name="sketchy",
    title="Sketchy extended",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("sketchy"),
    reader=read,
    layout=LAYOUT,
    aliases=("sketchy-ext",),
    splits=_splits(all_photos=False),
    notes=(*_NOTES, "The gallery is the extended photos alone, each photo once (10,453 in split 2)."),
)

SKETCHY_ALL = Benchmark(
    name="sketchy-all",
    title="Sketchy extended, with the original photos",
    domains=DOMAINS,
    classes=CLASSES,
    counts=read_counts("sketchy_all"),
    reader=partial(read, photos="all"),
    layout=LAYOUT,
    splits=_splits(all_photos=True),
    notes=(*_NOTES, "The gallery has 12,499 original photos twice (12,553 in split 2), as ZSE-SBIR counts."),
)
