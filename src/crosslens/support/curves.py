"""A few curves as a small SVG, for notebooks; the report has plots of its own."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import ArrayLike

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 360, 200, 44, 28
_COLOURS = ("#1b6e53", "#c05a1c", "#3d5fb4", "#8a3d8f", "#7a7a1f", "#3a8fa8")
_DASHES = ("", "7 3", "2 2")
MOST = 18
"""Curves that can be told apart; of more, the first are drawn."""


def draw_curves(curves: Mapping[str, ArrayLike], *, x: str, y: str) -> str:
    """Curves over evenly spaced places, each by its name.

    Args:
        curves: name to values ``(P,)``; what is not finite is left out.
        x, y: names of the axes; x runs from the first value to the last.
    """
    shown = {name: np.asarray(values, float) for name, values in list(curves.items())[:MOST]}
    finite = np.concatenate([values[np.isfinite(values)] for values in shown.values()] or [np.zeros(0)])
    if not len(finite):
        return ""
    low, high = min(0.0, float(finite.min())), max(float(finite.max()), 1e-12)
    wide, tall = _WIDTH - _LEFT - 8, _HEIGHT - _BOTTOM - 8
    lines, legend = [], []
    for number, (name, values) in enumerate(shown.items()):
        places = _LEFT + wide * np.arange(len(values)) / max(len(values) - 1, 1)
        heights = 8 + tall * (1 - (values - low) / (high - low))
        kept = np.isfinite(values)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(places[kept], heights[kept], strict=True))
        colour = _COLOURS[number % len(_COLOURS)]
        style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{_DASHES[number // 6]}"'
        lines.append(f'<polyline {style} points="{points}"/>')
        legend.append(f'<span style="color:{colour}">&#9644;</span> {escape(name)}')
    bottom = _HEIGHT - _BOTTOM
    axes = (
        f'<path d="M{_LEFT} 8V{bottom}H{_WIDTH - 8}" fill="none" stroke="#888"/>'
        f'<text x="{_LEFT - 4}" y="16" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_WIDTH // 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>'
    )
    return (
        f'<figure style="margin:8px 0"><figcaption>{escape(y)}</figcaption>'
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" font-size="11" fill="currentColor" role="img">'
        f"{axes}{''.join(lines)}</svg><div>{' &#160; '.join(legend)}</div></figure>"
    )
