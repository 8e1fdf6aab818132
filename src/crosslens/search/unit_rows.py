"""The door that every vector of an index comes through: rows of length 1, or a reason why one is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEAR = 1e-3
"""How far from 1 a length may be that fp16 or another library rounded."""
_EXACT = 2.5e-7
"""Lengths this near to 1 stay as they are: the row's score with itself is then 1 within 1e-6."""


def faults_of(vectors: NDArray[np.floating[Any]]) -> dict[int, str]:
    """Which of the rows ``(N, d)`` cannot be indexed, by position, and why: "... is NaN" is said of the vector."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= _NEAR))
    return {int(row): _fault(float(lengths[row])) for row in bad}


def unit_rows(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows ``(N, d)`` without faults as float32, those that were rounded brought back to length 1."""
    rows = np.ascontiguousarray(vectors, np.float32)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    rounded = np.abs(lengths - 1) > _EXACT
    return np.where(rounded, rows / lengths, rows).astype(np.float32) if rounded.any() else rows


def _fault(length: float) -> str:
    if not np.isfinite(length):
        return "holds NaN or infinity"
    if length < 1e-6:
        return "has length 0, so it is like no other"
    return f"has length {length:.4g}, not 1"
