"""What a section comes to, in one sentence: the encoder that finds best, and whether the next is really behind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crosslens.evaluation.compare import compare_evaluations
from crosslens.report.tables import Section
from crosslens.support.errors import EvaluationError

_SURE = 0.05
"""Largest p-value at which a difference counts as one."""


def find_best(section: Section) -> str:
    """The name of the encoder of the highest value; one with a mark only where all have marks.

    A mark says that labels helped, so its number is a ceiling and no rival.
    """
    return _ranked(section)[0]


def judge(section: Section) -> str:
    """One sentence: the best encoder with its value, the next one and the paired test between them.

    Where the encoder that the report is about is neither, its own value follows.
    """
    names = _ranked(section)
    best, last = names[0], list(section.evaluations)[-1]
    value = _value(section, best)
    if len(names) == 1:
        count = len(section.last.directions)
        mean = f", the mean over {count} directions" if count > 1 else ""
        return f"{best} reaches {section.metric} {value:.3f}{mean}.{_ceilings(section, names)}"
    rival = names[1]
    behind = value - _value(section, rival)
    p_value = _p_value(section, best, rival)
    if p_value is not None and p_value > _SURE:
        sentence = f"{best} and {rival} find alike well: {section.metric} {value:.3f} and {value - behind:.3f}"
    else:
        sentence = f"{best} finds best: {section.metric} {value:.3f}, {behind:.3f} above {rival}"
    if p_value is not None:
        sentence += f" (paired test p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'})"
    if last in names[2:]:
        sentence += f"; {last} reaches {_value(section, last):.3f}"
    return f"{sentence}.{_ceilings(section, names)}"


def _ranked(section: Section) -> list[str]:
    """The encoders that compete, best first."""
    fair = [name for name, evaluation in section.evaluations.items() if not evaluation.marks]
    return sorted(fair or section.evaluations, key=lambda name: -_value(section, name))


def _value(section: Section, name: str) -> float:
    value = section.evaluations[name].metrics[section.metric]
    return value if math.isfinite(value) else 0.0


def _p_value(section: Section, name: str, rival: str) -> float | None:
    try:
        return compare_evaluations(section.evaluations[rival], section.evaluations[name], section.metric).p_value
    except EvaluationError:
        # Another backbone may have skipped other images: nothing to pair.
        return None


def _ceilings(section: Section, competing: Sequence[str]) -> str:
    """What encoders with marks reach, which labels helped to make."""
    told = [f"{name} {_value(section, name):.3f}" for name in section.evaluations if name not in competing]
    return f" With the marks below: {', '.join(told)}." if told else ""
