"""Closed-form maps between domains, fitted on text embeddings alone (CLAIR; a reconstruction).

Rows of ``source`` and ``target`` are the same class names, worded for one domain and for the other. A map acts on
row vectors, ``z -> z W``. Everything is solved in float64 with a Cholesky factorisation; nothing is inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from crosslens.ops.rounding import NOISE, difference
from crosslens.support.errors import ConfigError

Solver = Literal["auto", "primal", "dual"]
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""lambda_0, the multiples of the mean non-zero eigenvalue that are tried."""


def ridge_map(source: Tensor, target: Tensor, strength: float, *, solver: Solver = "auto") -> Tensor:
    """``argmin_W |S W - T|_F^2 + lam |W - I|_F^2``: least squares that stays at the identity off the texts' span.

    primal ``(S^T S + lam I)^-1 (S^T T + lam I)``, dual ``I + S^T (S S^T + lam I)^-1 (T - S)``. The dual solves a
    C x C system, the primal a d x d one; ``auto`` takes the smaller.

    Args:
        source, target: text embeddings ``(C, d)``, unit rows.
        strength: lam >= 0; 0 needs linearly independent rows and the dual, or columns and the primal.
        solver: see above.

    Returns:
        W ``(d, d)``, float64.

    Raises:
        ConfigError: when the shapes differ, a value is not finite, lam is negative, or the system is singular.
    """
    source, target = _checked(source, target, strength)
    classes, dim = source.shape
    if solver == "primal" or (solver == "auto" and dim < classes):
        eye = torch.eye(dim, dtype=torch.float64)
        return _solve(source.t() @ source + strength * eye, source.t() @ target + strength * eye)
    gram = source @ source.t() + strength * torch.eye(classes, dtype=torch.float64)
    return torch.eye(dim, dtype=torch.float64) + source.t() @ _solve(gram, target - source)


def orthogonal_map(source: Tensor, target: Tensor, strength: float) -> Tensor:
    """The orthogonal W nearest to the same objective: the polar factor of ``S^T T + lam I``.

    Without the anchor (lam = 0) the factor is arbitrary outside the texts' span wherever C < d; with it the map is
    unique and stable.

    Args:
        source, target: text embeddings ``(C, d)``, unit rows.
        strength: lam > 0.

    Returns:
        W ``(d, d)``, float64, ``W W^T = I``.

    Raises:
        ConfigError: as ``ridge_map``.
    """
    source, target = _checked(source, target, strength)
    left, _, right = torch.linalg.svd(source.t() @ target + strength * torch.eye(source.shape[1]).double())
    return left @ right


def leave_one_out_score(source: Tensor, target: Tensor, strength: float) -> float:
    """How far the ridge map misses the wording of class names it was not fitted on, 1 being the identity's miss.

    Closed form with ``A = (S S^T + lam I)^-1``, ``D = T - S``: ``e_c = (A D)_c / A_cc`` and
    ``score = sum_c |e_c|^2 / sum_c |D_c|^2``. (With ``H = S S^T A`` it is ``(D - H D)_c / (1 - H_cc)``, which
    would divide two small differences.)

    Args:
        source, target: text embeddings ``(C, d)``, unit rows.
        strength: lam > 0 (at 0 nothing is left out).

    Returns:
        A value >= 0; below 1 the map transfers to new names; 1 where both wordings are the same.
    """
    source, target = _checked(source, target, strength)
    eye = torch.eye(len(source), dtype=torch.float64)
    inverse = _solve(source @ source.t() + strength * eye, eye)
    delta = difference(target, source)
    total = float(delta.square().sum())
    if total == 0:
        return 1.0
    errors = inverse @ delta / inverse.diagonal()[:, None]
    return float(errors.square().sum()) / total


def mean_shift_score(source: Tensor, target: Tensor) -> float:
    """The leave-one-class-out score of a constant shift: what a map must beat to be more than a mean shift."""
    delta = difference(target.double(), source.double())
    total, count = float(delta.square().sum()), len(delta)
    if total == 0 or count < 2:
        return 1.0
    others = (delta.sum(0) - delta) / (count - 1)
    return float((delta - others).square().sum()) / total


def scaled_strength(source: Tensor, multiple: float) -> float:
    """A multiple lambda_0 of the mean non-zero eigenvalue of ``S^T S``, which is ``C / min(C, d)``."""
    return multiple * len(source) / min(source.shape)


def choose_strength(source: Tensor, target: Tensor, multiples: Sequence[float] = STRENGTHS) -> dict[float, float]:
    """The leave-one-class-out score of every multiple; the least one is the choice. No label or image is used."""
    return {m: leave_one_out_score(source, target, scaled_strength(source, m)) for m in multiples}


def blend(matrix: Tensor, share: float) -> Tensor:
    """``(1 - alpha) I + alpha W``: a map applied by the share alpha."""
    return (1 - share) * torch.eye(len(matrix), dtype=matrix.dtype) + share * matrix


def _checked(source: Tensor, target: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    if source.ndim != 2 or source.shape != target.shape:
        raise ConfigError(
            f"a map needs the same class names in both wordings, not {tuple(source.shape)} and"
            f" {tuple(target.shape)}"
        )
    if not strength >= 0:
        raise ConfigError(f"the regulariser must be 0 or more, not {strength}")
    source, target = source.detach().cpu().double(), target.detach().cpu().double()
    if not (torch.isfinite(source).all() and torch.isfinite(target).all()):
        raise ConfigError("a text embedding is NaN or infinite; no map can be fitted")
    return source, target


def _solve(positive: Tensor, right: Tensor) -> Tensor:
    factor, fault = torch.linalg.cholesky_ex(positive)
    pivots = factor.diagonal()
    # A system without an inverse may still pass by rounding, on one processor and not on another.
    if fault or bool(pivots.min() <= NOISE * pivots.max()):
        raise ConfigError("the class texts depend on each other linearly; the regulariser must be above 0")
    return torch.cholesky_solve(right, factor)
