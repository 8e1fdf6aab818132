"""Sinkhorn's scaling: the potentials that give a table of scores wanted sums of rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]


def scale_by_sinkhorn(
    scores: NDArray[np.floating],
    temperature: float,
    rows: NDArray[np.floating] | None = None,
    columns: NDArray[np.floating] | None = None,
    *,
    rounds: int = 100,
    tolerance: float = 1e-6,
) -> tuple[Array, Array]:
    """Find ``u`` and ``v`` so that ``exp((scores + u_i + v_j) / T)`` has the wanted sums (Cuturi, NeurIPS 2013).

    Worked in logarithms, so no temperature overflows. The last update is that of the rows: their sums are exact
    after any number of rounds, and those of the columns as near as the rounds come.

    Args:
        scores: ``(N, M)``, finite; the higher, the likelier.
        temperature: T > 0, in the unit of the scores; the smaller, the harder the plan.
        rows: wanted sums of rows ``(N,)``, >= 0; equal shares of 1 by default.
        columns: wanted sums of columns ``(M,)``, >= 0, scaled to the total of ``rows``; equal shares by default.
        rounds: most updates of both sides.
        tolerance: rounds end when no column's sum is off by more than this share of the mean column.

    Returns:
        u ``(N,)`` and v ``(M,)`` float64, in the unit of the scores, v with a mean of 0 over columns with mass;
        -inf where the wanted sum is 0.

    Raises:
        ValueError: when the table is empty, or no row or no column has mass.
    """
    log_plan = np.asarray(scores, dtype=np.float64) / temperature
    if log_plan.size == 0:
        raise ValueError("a table without rows or columns cannot be scaled")
    n, m = log_plan.shape
    row_mass = np.full(n, 1 / n) if rows is None else np.asarray(rows, dtype=np.float64)
    column_mass = np.full(m, 1 / m) if columns is None else np.asarray(columns, dtype=np.float64)
    if row_mass.sum() <= 0 or column_mass.sum() <= 0:
        raise ValueError("no mass to share out")
    column_mass = column_mass * (row_mass.sum() / column_mass.sum())
    with np.errstate(divide="ignore"):
        log_rows, log_columns = np.log(row_mass), np.log(column_mass)
    v = np.where(column_mass > 0, 0.0, -np.inf)
    u = log_rows - _log_sum(log_plan + v, 1)
    for _ in range(rounds):
        sums = _log_sum(log_plan + u[:, None], 0)
        off = np.abs(np.exp(sums + v) - column_mass).max()
        if off <= tolerance * row_mass.sum() / m:
            break
        v = log_columns - sums
        u = log_rows - _log_sum(log_plan + v, 1)
    level = v[column_mass > 0].mean()
    return (u + level) * temperature, (v - level) * temperature


def transport_codes(scores: Tensor, shares: Tensor, temperature: float, rounds: int) -> Tensor:
    """Share N rows out among C columns so that each column gets its share, on the scores' device.

    ``Q = diag(u) exp(scores / T) diag(v)``; a round sets ``v`` to give the columns ``N shares`` and then ``u`` to
    give every row 1 (SwAV, NeurIPS 2020; three rounds there and in ProtoOT). With many rounds it is the plan of
    ``scale_by_sinkhorn``; this form, without logarithms, is for a few of them in every step of a training.

    Args:
        scores: ``(N, C)``, finite, worked on in float64; the higher, the likelier. ``max |scores| / T`` must stay
            below 150.
        shares: wanted share of each column ``(C,)``, >= 0, with the sum 1.
        temperature: T > 0; the smaller, the harder the codes.
        rounds: of both updates, at least 1.

    Returns:
        Q ``(N, C)``: rows sum to 1, columns nearly to ``N shares``.
    """
    kernel, shares = (scores.double() / temperature).exp(), shares.double()
    rows = kernel.new_ones(len(kernel))
    for _ in range(rounds):
        columns = len(kernel) * shares / (rows @ kernel)
        rows = 1 / (kernel @ columns)
    return (rows[:, None] * kernel * columns).to(scores.dtype)


def _log_sum(values: Array, axis: int) -> Array:
    top = values.max(axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        found: Array = np.log(np.exp(values - top).sum(axis)) + top.squeeze(axis)
    return found
