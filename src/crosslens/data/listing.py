"""What a reader finds before it is checked: rows of images, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosslens.support.addresses import Place

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Listing:
    """Images as they are listed in one place; ``Catalog.from_listing`` checks them and makes a table of them.

    Attributes:
        rows: one an image, in the form that ``Catalog.from_rows`` takes.
        root: folder that relative paths start from.
        notes: what was left out and why, one sentence each.
        left_out: how many files of each suffix are pictures or films that were left out.
        file: the file that lists the rows, which errors about a row name; None where a folder was read.
        own: columns of people's own, a row for each of ``rows``; None where there are none.
        before: rows of the file that stand before these.
    """

    rows: Sequence[dict[str, Any]]
    root: Place
    notes: Sequence[str] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    file: Place | None = None
    own: pa.Table | None = None
    before: int = 0
