"""A look at pictures before they are embedded: what they say of themselves, and which nobody wants to find."""

from __future__ import annotations

from dataclasses import dataclass

from crosslens.data.catalog import Catalog
from crosslens.images.facts import Facts, read_facts
from crosslens.support.errors import NothingEmbeddedError
from crosslens.support.progress import progress

SMALLEST = 8
"""Pixels that a picture's shorter side has at least."""


@dataclass(frozen=True)
class Looked:
    """What was seen of the images of a catalog.

    Attributes:
        facts: by id.
        unfit: why some are left out, by id.
    """

    facts: dict[str, Facts]
    unfit: dict[str, str]


def look_at(catalog: Catalog, *, gps: bool = False) -> Looked:
    """Read what the images of a catalog say of themselves.

    A picture of few pixels is unfit, as a strip of few is, of which the encoder sees the square in the middle: it
    sees a smear, which is near to many queries. What the bound is measured on stands in
    docs/how-to/search-index.md.

    Args:
        catalog: the images.
        gps: whether the place where they were taken may be read.
    """
    facts: dict[str, Facts] = {}
    unfit: dict[str, str] = {}
    with progress(len(catalog), "looking") as advance:
        for image, path in zip(catalog.ids, catalog.paths, strict=True):
            facts[image] = found = read_facts(path, gps=gps)
            if found.width and (fault := find_fault(found.width, found.height)):
                unfit[image] = f"{path} {fault}"
            advance(1)
    return Looked(facts, unfit)


def fit_for_index(catalog: Catalog, looked: Looked) -> Catalog:
    """The images that may be found.

    Raises:
        NothingEmbeddedError: when there is none.
    """
    if not looked.unfit:
        return catalog
    if len(looked.unfit) == len(catalog):
        first = next(iter(looked.unfit.values()))
        raise NothingEmbeddedError(
            f"none of the {len(catalog)} images can be indexed; the first: {first}", looked.unfit
        )
    return catalog.with_ids(looked.facts.keys() - looked.unfit)


def find_fault(width: int, height: int) -> str | None:
    """Why a picture of this size is not indexed; None where it is."""
    if min(width, height) >= SMALLEST:
        return None
    return f"is {width} x {height} pixels; pictures of less than {SMALLEST} on a side are not indexed"
