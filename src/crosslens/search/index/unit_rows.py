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


def find_faults(vectors: NDArray[np.floating[Any]]) -> dict[int, str]:
    """Which of the rows ``(N, d)`` cannot be indexed, by position, and why: "... is NaN" is said of the vector."""
    lengths = _lengths(vectors)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= _NEAR))
    return {int(row): _fault(float(lengths[row])) for row in bad}


def restore_unit_length(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows ``(N, d)`` without faults as float32, those that were rounded brought back to length 1."""
    rows = np.ascontiguousarray(vectors, np.float32)
    lengths = _lengths(rows)
    rounded = np.flatnonzero(np.abs(lengths - 1) > _EXACT)
    if len(rounded) and np.may_share_memory(rows, vectors):
        rows = rows.copy()
    for start in range(0, len(rounded), 8192):
        part = rounded[start : start + 8192]
        rows[part] = rows[part] / lengths[part, None]
    return rows


def _lengths(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    # In float64 without a copy of all vectors in it, of which there may be millions.
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))


def _fault(length: float) -> str:
    if not np.isfinite(length):
        return "holds NaN or infinity"
    if length < 1e-6:
        return "has length 0, so it is like no other"
    return f"has length {length:.4g}, not 1"
