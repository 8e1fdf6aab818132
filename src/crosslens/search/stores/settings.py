"""Settings of the default store."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LanceSettings(BaseModel):
    """When the store keeps a serving structure of which kind. The defaults are measured (``benchmarks/index.py``).

    Attributes:
        exact_below: fewer rows than this are searched exactly; from here on through inverted lists.
        exact_rows: when at most so many rows match a filter they are searched exactly.
        tail_rows: rows that may be newer than the structure before it is made again.
        tail_share: and the share of its rows that they may be; the larger of the two counts.
        small_bytes: vectors that take no more together are put into a structure with every change, so that nothing
            need be read of the table when the index is opened, nor Lance be imported.
        recall: of the best 10 that inverted lists must find when they are made.
        most_lists: share of the lists; where a query must look into more of them, the matrix alone is kept.
        refine: candidates from the lists a result wanted, scored again with exact vectors.
        checked_bytes: read of the files of a structure when it is opened, to see whether they are whole.
        touched_bytes: mapped files no larger are brought into memory when a structure is opened.
        most_fragments: small files of the table before they are joined.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exact_below: int = Field(200_000, ge=2)
    exact_rows: int = Field(5_000, ge=0)
    tail_rows: int = Field(10_000, ge=0)
    tail_share: float = Field(0.2, ge=0)
    small_bytes: int = Field(2**26, ge=0)
    recall: float = Field(0.99, gt=0, le=1)
    most_lists: float = Field(0.5, gt=0, le=1)
    refine: int = Field(2, ge=1)
    checked_bytes: int = Field(2**28, ge=0)
    touched_bytes: int = Field(2**30, ge=0)
    most_fragments: int = Field(64, ge=2)
