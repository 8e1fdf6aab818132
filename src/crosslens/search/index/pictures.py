"""A look at pictures before they are embedded: what they say of themselves, and which nobody wants to find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from crosslens.data.catalog import Catalog
from crosslens.images.facts import Facts, read_facts
from crosslens.images.formats import RAW, SVG, format_of
from crosslens.support.addresses import Place
from crosslens.support.errors import NothingEmbeddedError
from crosslens.support.members import container_of, read_bytes, read_head
from crosslens.support.progress import progress
from crosslens.support.reading import read_ahead
from crosslens.support.remote import UnreachableError

_SMALLEST = 8
"""Pixels that a picture's shorter side has at least."""
_HEAD = 1 << 18
"""Bytes in which nearly every picture says what it is, previews in it included."""


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
        for image, path, found in zip(catalog.ids, catalog.paths, _facts_of(catalog.paths, gps), strict=True):
            facts[image] = found
            if found.width and (fault := find_fault(found.width, found.height)):
                unfit[image] = f"{path} {fault}"
            advance(1)
    return Looked(facts, unfit)


def _facts_of(paths: Sequence[Place], gps: bool) -> Iterator[Facts]:
    """What each picture says of itself; those that are no files of this machine are read ahead."""
    coming = read_ahead(lambda path: _distant_facts(path, gps), (path for path in paths if not _is_file(path)))
    for path in paths:
        yield read_facts(path, gps=gps) if _is_file(path) else next(coming)[1].result()


def _is_file(path: Place) -> TypeGuard[Path]:
    return isinstance(path, Path) and container_of(path) is None


def _distant_facts(path: Place, gps: bool) -> Facts:
    """The head tells nearly always; of pictures that keep such things at their end, the whole is fetched."""
    try:
        head = read_head(path, _HEAD)
        found = read_facts(head, gps=gps)
        if found.width or len(head) < _HEAD or format_of(head) in (None, SVG, RAW):
            return found
        return read_facts(read_bytes(path), gps=gps)
    except UnreachableError:
        raise
    except OSError:
        return Facts()


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
    if min(width, height) >= _SMALLEST:
        return None
    return f"is {width} x {height} pixels; pictures of less than {_SMALLEST} on a side are not indexed"
