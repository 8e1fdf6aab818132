"""The column ``split`` of a catalog: which of its images a command takes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.support.errors import CatalogError

ALL = "all"
"""Stands for every split, and for the images without one."""
NONE = "none"
"""Stands for the images without a split, unless a split is called so."""
_TRAINING = ("train", "training")

Splits = str | Sequence[str]
"""Names as a list, or as a text separated by commas; ``all`` for every image."""


def select_splits(catalog: Catalog, wanted: Splits | None) -> Catalog:
    """The images of the splits named; ``all`` and None take every image, ``none`` those without a split.

    Raises:
        CatalogError: for a split that no image is in, listing those there are.
    """
    names = None if wanted is None else _names(wanted)
    if names is None:
        return catalog
    column = pc.fill_null(catalog.table.column("split"), NONE)
    chosen = Spelling(pc.unique(column).to_pylist()).require(names, "split")
    return catalog.where(pc.is_in(column, value_set=pa.array(chosen, pa.string())).to_numpy())


def select_training(catalog: Catalog, wanted: Splits | None) -> tuple[Catalog, tuple[str, ...], str]:
    """The images to learn from: those of the splits named, or else what the column leaves to training.

    Without a choice that is the split ``train``, and where there is none, the images without a split. A catalog
    without splits is taken whole.

    Returns:
        The images; the splits they are in, empty when every image was taken; and a sentence on what was left out
        unasked, or "".

    Raises:
        CatalogError: for a split that does not occur, or when nothing tells which images training may see.
    """
    if wanted is not None:
        return select_splits(catalog, wanted), tuple(_names(wanted) or ()), ""
    column, present = catalog.table.column("split"), catalog.values("split")
    if not present:
        return catalog, (), ""
    chosen = [name for name in present if name.casefold() in _TRAINING]
    if not chosen and not column.null_count:
        raise CatalogError(
            f"the images are in the splits {_counted(column)}, and none is called train; say which to learn from,"
            f" such as --split {present[0]}, or --split {ALL}"
        )
    chosen = chosen or [NONE]
    kept = select_splits(catalog, chosen)
    told = f"learning from the split {' and '.join(chosen)} alone, of {_counted(column)}; --split {ALL} takes all"
    return kept, tuple(chosen), told if len(kept) < len(catalog) else ""


def mixed_splits(catalog: Catalog) -> str:
    """A sentence where a catalog has images of several splits, else ""."""
    column = catalog.table.column("split")
    count = len(pc.unique(column))
    return "" if count < 2 else f"{count} splits are mixed: {_counted(column)}; --split takes some of them"


def _names(wanted: Splits) -> list[str] | None:
    """The names; None for all."""
    names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    if not names or not all(names):
        raise CatalogError(f"the split {wanted!r} holds an empty name; write NAME or A,B")
    return None if names == [ALL] else names


def _counted(column: pa.ChunkedArray) -> str:
    counts = {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}
    ordered = sorted(counts, key=lambda name: (name is None, name or ""))
    return ", ".join(f"{NONE if name is None else name} ({counts[name]})" for name in ordered)
