"""Folders that sort pictures by time, place or camera, and so are no looks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from crosslens.data.catalog import Catalog
from crosslens.data.readers import manifest_in
from crosslens.data.source import Source
from crosslens.support.addresses import place_of
from crosslens.support.progress import note

_NAMED = 3
_PLAIN = "'crosslens open' and 'crosslens index build --plain' take them as plain folders"
# Dates as 2019, 2019-05, 20190524 or "2019-05-24 Rome"; cameras' own names (DCF): three digits and five signs.
_BY_TIME_OR_CAMERA = re.compile(
    r"(19|20)\d\d([-_. ]?(0[1-9]|1[0-2])([-_. ]?[0-3]\d)?)?([-_ ]\D.*)?"
    r"|dcim|camera( roll)?|[1-9]\d\d(?![x\d])[a-z0-9_]{5}",
    re.IGNORECASE,
)


class Doubt(NamedTuple):
    """Why folders may be no looks.

    Attributes:
        kind: a word to sort by.
        told: half a sentence, which says what they may be and what takes them so.
    """

    kind: Literal["no-common-class", "folder-names"]
    told: str


def tell_doubt(catalog: Catalog, source: Source) -> None:
    """Say where folders are taken as looks that may be none; whoever wrote a manifest means its domains.

    Args:
        catalog: with its labels.
        source: that it was read from.
    """
    if isinstance(source, Catalog) or not (root := place_of(source)).is_dir() or manifest_in(root) is not None:
        return
    if (doubt := doubt_of_looks(catalog.counts())) is not None:
        note(f"{doubt.told}; here they are taken as looks", "yellow")


def doubt_of_looks(counts: Mapping[str, Mapping[str, int]]) -> Doubt | None:
    """Why the folders of a collection may be no looks; None where nothing says so.

    Args:
        counts: images by domain and class; the class "" stands for no label.
    """
    labelled = {domain: {name for name in row if name} for domain, row in counts.items() if set(row) != {""}}
    classes = set().union(*labelled.values())
    if len(labelled) > 1 and len(classes) > 1 and sum(map(len, labelled.values())) == len(classes):
        return Doubt(
            "no-common-class",
            "no class occurs in two domains, so these folders may be no looks and classes, but years or places;"
            f" {_PLAIN}",
        )
    named = [domain for domain in counts if _BY_TIME_OR_CAMERA.fullmatch(domain)]
    # One folder more among them, such as "others", makes no looks of years.
    if 2 * len(named) <= len(counts):
        return None
    more = ", ..." if len(named) > _NAMED else ""
    some = ", ".join(named[:_NAMED]) + more
    told = f"the folders are named like dates or cameras ({some}), so they may be no looks; {_PLAIN}"
    return Doubt("folder-names", told)
