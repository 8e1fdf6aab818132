"""Runs that differ in their seed alone: a folder ``seed-N`` for each, measured together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crosslens.support.addresses import Place, place_of


class Spread(NamedTuple):
    """A number over several runs: its mean, and its standard deviation as of a sample (0 for one run)."""

    mean: float
    deviation: float


def seed_folder(group: Path, seed: int) -> Path:
    """Where the run of a seed lies in its group."""
    return group / f"seed-{seed}"


def runs_of(place: str | Path) -> list[str]:
    """The runs of a group, by seed; what is no group is given back as it is."""
    folder = place_of(place)
    if (folder / "config.yaml").is_file() or not folder.is_dir():
        return [str(place)]
    runs: list[Place] = [run for run in folder.glob("seed-*") if (run / "config.yaml").is_file()]
    return [str(run) for run in sorted(runs, key=_seed)] or [str(place)]


def spread_of(values: Sequence[float]) -> Spread:
    """Mean and spread of one number over n runs."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), deviation)


def _seed(run: Place) -> tuple[int, str]:
    number = run.name.removeprefix("seed-")
    return (int(number) if number.isdecimal() else 1 << 62, run.name)
