"""The training curves of a run, from the entries of its log."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from crosslens.report.lines import Line, draw_lines, swatch
from crosslens.training.letters import domain_letters

_MAX_PANELS = 24
_MAX_FAILURES = 10
_NOT_DRAWN = ("epoch", "seconds")
# Terms of the single domains end like this and belong into one plot.
_SIDE = re.compile(r"_([a-z]\d*)$")


@dataclass(frozen=True)
class CurvePanel:
    """One plot: a quantity over the epochs, with a legend when it has several kinds of lines."""

    title: str
    plot: Markup
    legend: tuple[tuple[Markup, str], ...]
    summary: str


@dataclass(frozen=True)
class Training:
    """What a log tells.

    Attributes:
        panels: the plots.
        stages: names of the trainings in the log; each has a line of its own in every plot.
        joining: a sentence on the terms of the loss that join after the first epoch; empty where none does.
        failures: a sentence for each of the last ``_MAX_FAILURES`` times that training failed.
        epochs: epochs that were logged, all trainings together.
        seconds: that they took.
        left_out: quantities that are not drawn, because there are so many.
    """

    panels: tuple[CurvePanel, ...]
    stages: tuple[str, ...]
    joining: str
    failures: tuple[str, ...]
    epochs: int
    seconds: float
    left_out: int


# Of one quantity: (side, stage) -> epoch -> value.
_Curves = dict[tuple[str, str], dict[float, float]]


def read_training(log: Iterable[Any], domains: Sequence[str] = ()) -> Training:
    """Curves of every number that was logged, one plot a quantity; entries of any other form are passed over.

    Args:
        log: entries as ``Run.read_log`` gives them; a failure has the key ``failed``.
        domains: names of the domains ``a``, ``b`` and so on.
    """
    quantities: dict[str, _Curves] = {}
    failures: list[str] = []
    stages: dict[str, None] = {}
    epochs, seconds = 0, 0.0
    for entry in log:
        if not isinstance(entry, Mapping):
            continue
        if entry.get("failed"):
            failures.append(_failure(entry))
            continue
        epoch = _finite(entry.get("epoch"))
        if epoch is None:
            continue
        epochs += 1
        seconds += _finite(entry.get("seconds")) or 0.0
        stage = str(entry.get("name") or "")
        stages[stage] = None
        for key, value in _numbers(entry):
            side = _SIDE.search(key)
            curves = quantities.setdefault(_SIDE.sub("", key), {})
            curves.setdefault((side[1] if side else "", stage), {})[epoch] = value
    names = dict(zip(domain_letters(len(domains)), map(str, domains), strict=True))
    # A loss that joins in a later epoch still stands with the others.
    drawn = sorted(quantities.items(), key=lambda item: not item[0].startswith("loss "))[:_MAX_PANELS]
    panels = [_panel(index, title, curves, names) for index, (title, curves) in enumerate(drawn)]
    return Training(
        tuple(panels),
        tuple(stages),
        _joining(quantities),
        tuple(failures[-_MAX_FAILURES:]),
        epochs,
        seconds,
        len(quantities) - len(drawn),
    )


def _joining(quantities: Mapping[str, _Curves]) -> str:
    """Which terms of the loss are first there, or first unlike 0, after the first epoch of their training."""
    first: dict[str, float] = {}
    for curves in quantities.values():
        for (_, stage), points in curves.items():
            first[stage] = min(first.get(stage, math.inf), *points)
    starts: dict[float, list[str]] = {}
    for title, curves in quantities.items():
        term = title.removeprefix("loss ")
        begun = [min((e for e, value in points.items() if value), default=-1) for points in curves.values()]
        late = [epoch > first[stage] for epoch, (_, stage) in zip(begun, curves, strict=True)]
        if term not in (title, "total") and all(late):
            starts.setdefault(min(begun), []).append(term)
    if not starts:
        return ""
    joined = [
        f"{', '.join(name.replace('_', ' ') for name in names)} from epoch {epoch:g}"
        for epoch, names in sorted(starts.items())
    ]
    return (
        f"Terms of the loss join as training goes on: {'; '.join(joined)}. The total rises where a term joins,"
        " and nothing gets worse by it."
    )


def _numbers(entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The finite numbers of an entry by name, losses first."""
    losses = entry.get("losses")
    named = [(f"loss {key}", value) for key, value in losses.items()] if isinstance(losses, Mapping) else []
    named += [(str(key), value) for key, value in entry.items() if key not in _NOT_DRAWN]
    numbers = ((key, _finite(value)) for key, value in named)
    return [(key, value) for key, value in numbers if value is not None]


def _panel(index: int, title: str, curves: _Curves, names: Mapping[str, str]) -> CurvePanel:
    """The plot of one quantity: the sides differ in style, several trainings of one side do not."""
    sides = sorted({side for side, _ in curves})
    several = len({stage for _, stage in curves}) > 1
    lines, ends = [], []
    for (side, stage), points in sorted(curves.items()):
        x = sorted(points)
        y = [points[epoch] for epoch in x]
        lines.append(Line(x, y, sides.index(side)))
        who = " ".join(part for part in (names.get(side, side), stage if several else "") if part)
        ends.append(f"{who} from {y[0]:.4g} to {y[-1]:.4g}".strip())
    legend = [(swatch(style), names.get(side, side) or "all") for style, side in enumerate(sides)]
    plot = draw_lines(f"training-{index}", lines, x_name="epoch", size=(3.4, 2.2))
    return CurvePanel(title.replace("_", " "), plot, tuple(legend) if len(sides) > 1 else (), "; ".join(ends))


def _failure(entry: Mapping[str, Any]) -> str:
    losses = entry.get("losses")
    terms = ", ".join(f"{key} {value}" for key, value in losses.items()) if isinstance(losses, Mapping) else ""
    place = f"epoch {entry.get('at_epoch', '?')}, step {entry.get('at_step', '?')}"
    return f"training failed at {place}" + (f" ({terms})" if terms else "")


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        return None
    return float(value)
