"""Line plots as SVG that lives inside the page: it takes the page's colours, light or dark.

A plot holds numbers and axis names only. Whatever a user named (encoders, losses, domains) stands in the HTML
around it, where it is escaped, wraps on a phone and can be read aloud.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

_STYLES = 8
"""Different looks of a line; a ninth series repeats the first."""

# Colours that only mark where the style sheet's own go; the dashes tell lines apart without colour.
_INK, _GRID = "#010203", "#040506"
_SERIES = [f"#0a0b{index:02x}" for index in range(_STYLES)]
_DASHES: list[Any] = [
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (7, 2, 1.5, 2)),
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    "-",
]
_SVG_DASHES = ("", "7 3", "2 2", "9 3 2 3", "", "7 3", "2 2", "")
_LONG_DECIMALS = re.compile(r"(?<=\d)\.(\d\d)\d+")
_LAYOUT: Any = {"svg.fonttype": "none", "svg.hashsalt": "crosslens", "font.size": 11.0, "path.simplify": True}


@dataclass(frozen=True)
class Line:
    """One series: ``x (P,)``, ``y (P,)``; values that are not finite leave a gap. ``style`` in 0.._STYLES-1."""

    x: Sequence[float]
    y: Sequence[float]
    style: int


def draw_lines(
    name: str,
    lines: Sequence[Line],
    *,
    x_name: str,
    y_name: str = "",
    unit_axes: bool = False,
    size: tuple[float, float] = (4.2, 3.2),
) -> Markup:
    """Draw lines over one pair of axes.

    Args:
        name: unlike that of every other plot of the page; a letter, then letters, digits and ``-``.
        lines: at least one.
        x_name, y_name: what the axes show; plain words.
        unit_axes: both axes from 0 to 1.
        size: in inches; the page scales it.

    Returns:
        An ``<svg>`` element, hidden from screen readers: the caller describes it.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(_LAYOUT):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for line in lines:
            style = line.style % _STYLES
            y = [value if math.isfinite(value) else math.nan for value in line.y]
            marker = "o" if len(line.x) == 1 else None
            axes.plot(
                line.x,
                y,
                color=_SERIES[style],
                linestyle=_DASHES[style],
                linewidth=1.8,
                marker=marker,
                markersize=4,
            )
        axes.set_xlabel(x_name, color=_INK)
        axes.set_ylabel(y_name, color=_INK)
        axes.grid(True, color=_GRID, linewidth=0.6)
        axes.tick_params(color=_GRID, labelcolor=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_GRID)
        if unit_axes:
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.01)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return Markup(_inline(buffer.getvalue(), name))


def swatch(style: int) -> Markup:
    """A short stroke in the look of a line, for the legend beside its name."""
    style %= _STYLES
    return Markup(
        '<svg class="swatch" viewBox="0 0 28 8" aria-hidden="true" focusable="false">'
        f'<path d="M1 4H27" fill="none" style="stroke:var(--series-{style})" stroke-width="2.5"'
        f' stroke-dasharray="{_SVG_DASHES[style]}"/></svg>'
    )


def _inline(svg: str, name: str) -> str:
    """A stand-alone SVG file as an element of a page with others like it."""
    body = svg[svg.index("<svg") :]
    head, body = body.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    # Ids must be unique in the page, and groups need none.
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r' id="', f' id="{name}-', body)
    body = body.replace('"#', f'"#{name}-').replace("url(#", f"url(#{name}-")
    body = re.sub(r' d="[^"]*"', lambda path: _LONG_DECIMALS.sub(r".\1", path[0]), body)
    for marker, variable in ((_INK, "ink"), (_GRID, "grid"), *((c, f"series-{i}") for i, c in enumerate(_SERIES))):
        body = body.replace(marker, f"var(--{variable})")
    return (
        f'<svg class="plot" {box[0] if box else ""} aria-hidden="true" focusable="false"'
        f' stroke-linejoin="round">{body.rstrip()}'
    )
