"""Which classes of the queries are in the gallery at all, and what must be said where some are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from crosslens.data.names import spelt_apart, told_apart

if TYPE_CHECKING:
    from crosslens.evaluation.results import RetrievalResults

_NAMED = 5


def gallery_marks(
    wanted: Sequence[str], asking: Iterable[str | None], answering: Iterable[str | None]
) -> list[str]:
    """What must be said of a published benchmark whose gallery lacks classes that ask; else nothing.

    Args:
        wanted: the published classes of the queries.
        asking, answering: class of every query and gallery image.
    """
    here = set(answering)
    lost = sorted({name for name in asking if name is not None} - here)
    if not lost:
        return []
    found = len(here.intersection(wanted))
    return [
        f"{found} of {len(wanted)} of these classes in the gallery; queries of {_join(lost)} have no relevant item"
        " and count 0"
    ]


def look_alikes(asking: Iterable[str | None], answering: Iterable[str | None]) -> str:
    """What follows a sentence on classes that only one side has: pairs that look like one in two spellings, or "".

    Args:
        asking, answering: classes of the queries and of the gallery; None and "" are none.
    """
    left, right = ({name for name in names if name} for names in (asking, answering))
    pairs = [same for same in spelt_apart(sorted(left | right)) if left & {*same} and right & {*same}]
    return "".join(f"; {told_apart(same)} look like one class in two spellings" for same in pairs[:_NAMED])


def unmatched_marks(directions: Sequence[RetrievalResults]) -> list[str]:
    """One sentence for each direction with queries whose class the gallery lacks, and the likely misspellings."""
    marks = []
    for found in directions:
        if found.query_labels is None or found.gallery_labels is None:
            continue
        asking, answering = found.query_labels.tolist(), set(found.gallery_labels.tolist()) - {""}
        lost = [name for name in asking if name and name not in answering]
        if lost:
            names = set(lost)
            pairs = [same for same in spelt_apart(sorted(names | answering)) if names & {*same}]
            alike = "".join(
                f"; {told_apart(same)} look like one class in two spellings" for same in pairs[:_NAMED]
            )
            marks.append(
                f"{found.query_domain} to {found.gallery_domain}: {len(lost)} of {len(asking)} queries have no"
                f" relevant item, since the gallery has no image of {_join(sorted(names))}{alike}"
            )
    return marks


def _join(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
