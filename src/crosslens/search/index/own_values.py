"""The own columns of a catalog's images while an index is brought up to date with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.catalog import Catalog
from crosslens.search.index.contents import Contents
from crosslens.search.index.own_columns import given_columns, merge_all, read_given, types_of_facts
from crosslens.search.index.pictures import Looked, look_at

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OwnValues:
    """What the images of a catalog are to have as their own columns.

    Args:
        contents: of the index.
        catalog: N images, with the columns that people give.
        indexed: the items that the index has of their root.
        gps: whether the place where pictures were taken is asked for; once it was, it is.

    Raises:
        CatalogError: when a column holds another type than the index does. Nothing is changed then.
        StoreError: when there are columns and the store keeps none.
    """

    def __init__(self, contents: Contents, catalog: Catalog, indexed: pa.Table, *, gps: bool) -> None:
        self._contents, self._catalog = contents, catalog
        self._types, self._given = read_given(catalog.own, contents.description)
        self._names = given_columns(contents.description) | self._types.keys()
        self._kept = contents.store.keeps("own")
        if self._types and not self._kept:
            contents.refuse_own()
        before = contents.description.get("gps", False)
        self._gps, self._gps_is_new = gps or before, gps and not before
        rows = pc.index_in(pa.array(catalog.ids, pa.string()), value_set=indexed.column("id")).to_pylist()
        own = indexed.column("own").to_pylist()
        self._before = [None if row is None else own[row] for row in rows]

    @property
    def are_given(self) -> bool:
        """Whether people give any; otherwise items whose columns differ were but looked at for the first time."""
        return bool(self._types)

    def declare_given(self) -> None:
        """Tell the index which columns people give, and that places are asked for."""
        if self._types:
            self._contents.declare(self._types, given=True)
        if self._gps_is_new:
            self._contents.keep_gps()

    def of_indexed(self, rows: NDArray[np.int64]) -> tuple[list[str | None], dict[str, str]]:
        """The columns of items that are there, which are looked at once.

        Args:
            rows: positions of the images in the catalog whose pictures are as they were indexed.

        Returns:
            N texts, as ``write_own`` writes them, those of other images as they are; and why some of these
            pictures should not be in the index, by id.
        """
        texts = list(self._before)
        if not self._kept:
            return texts, {}
        unseen = [row for row in rows.tolist() if texts[row] is None or self._gps_is_new]
        looked = self._look(unseen)
        own = self._merged(rows.tolist(), looked)
        for row, text in zip(rows.tolist(), own, strict=True):
            texts[row] = text
        return texts, looked.unfit

    def of_new(self, rows: NDArray[np.int64]) -> tuple[list[str | None], dict[str, str]]:
        """The columns of n images that are new or were changed, and why some of these are not to be indexed."""
        looked = self._look(rows.tolist())
        if not self._kept:
            return [None] * len(rows), looked.unfit
        return self._merged(rows.tolist(), looked), looked.unfit

    def differs(self, items: pa.Table) -> NDArray[np.bool_]:
        """Which of the N items have other columns than before ``(N,)``."""
        now = items.column("own").to_pylist()
        return np.array([one != other for one, other in zip(now, self._before, strict=True)], dtype=bool)

    def _look(self, rows: list[int]) -> Looked:
        looked = look_at(self._catalog.take(rows), gps=self._gps)
        types = types_of_facts(looked.facts.values())
        if self._kept and types.keys() - self._contents.columns.keys():
            self._contents.declare(types, given=False)
        return looked

    def _merged(self, rows: list[int], looked: Looked) -> list[str | None]:
        before, given = [self._before[row] for row in rows], [self._given[row] for row in rows]
        return merge_all(self._catalog.take(rows).ids, looked, given, self._names, before)
