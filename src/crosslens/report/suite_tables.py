"""The tables of a suite: what stands on its page, in files beside it and in documents that quote it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from crosslens.evaluation.standings import Chapter, chapters_of, compare_entries, estimate_of, holm
from crosslens.evaluation.suite_results import SuiteResults
from crosslens.support.errors import EvaluationError
from crosslens.support.tables import Cell, Table

CEILING = " (saw labels)"
"""Behind the name of a method that is no rival of the others."""


def suite_tables(results: SuiteResults) -> dict[str, Table]:
    """All tables by name.

    Of every chapter ``CHAPTER`` (the mean, its interval, rank and share of the way), ``CHAPTER-tests``,
    ``CHAPTER-seeds``, where an answer may be "no match" ``CHAPTER-no-match``, and ``CHAPTER-DATA`` with each
    direction; and ``cost``.
    """
    chapters = chapters_of(results)
    tables: dict[str, Table] = {}
    for chapter in chapters:
        name = chapter_name(chapter, chapters)
        tables[name] = means_table(chapter)
        tables[f"{name}-tests"] = _tests_table(chapter, str(results.suite["base"]))
        tables[f"{name}-seeds"] = _seeds_table(chapter)
        for data in chapter.data:
            tables[f"{name}-{data}"] = _directions_table(chapter, data)
        judged = _no_match_table(chapter)
        if judged.rows:
            tables[f"{name}-no-match"] = judged
    tables["cost"] = _cost_table(chapters)
    return {name: table for name, table in tables.items() if table.rows}


def chapter_name(chapter: Chapter, chapters: Sequence[Chapter]) -> str:
    """``pairs``, with the goal where there is one, and the backbone where there are several."""
    several = len({one.backbone for one in chapters}) > 1
    parts = [chapter.protocol, chapter.goal, chapter.backbone if several else ""]
    return "-".join(part for part in parts if part).replace("/", "-").replace(":", "-")


def means_table(chapter: Chapter) -> Table:
    """Methods by data sets: the headline with its interval; the mean rank; the share of the way to the ceiling."""
    ranks = chapter.ranks()
    ways = {data: chapter.shares(data) for data in chapter.data}
    rows: list[tuple[Cell, ...]] = []
    for method in chapter.methods:
        cells: list[Cell] = []
        for data in chapter.data:
            entry = chapter.entries.get((method, data))
            cells.append(None if entry is None else estimate_of(entry.parts, chapter.metric))
        own = [shares[method] for shares in ways.values() if method in shares]
        way = float(np.mean(own)) if own else None
        rows.append((_row_name(chapter, method), *cells, ranks.get(method), way))
    columns = ["method", *chapter.data, "mean rank", "share of the way"]
    # A rank among one, or a way whose end nobody measured, is an empty column.
    kept = [c for c in range(len(columns)) if c == 0 or any(row[c] is not None for row in rows)]
    return Table(
        tuple(columns[c] for c in kept),
        tuple(tuple(row[c] for c in kept) for row in rows),
        f"{chapter.title}: {chapter.metric}",
    )


def _tests_table(chapter: Chapter, base: str) -> Table:
    """Every rival against the base on every data set: paired tests, and Holm's adjustment over the table."""
    if base not in chapter.rivals:
        base = chapter.rivals[0] if chapter.rivals else ""
    found = []
    for data in chapter.data:
        for method in chapter.rivals:
            ends = chapter.entries.get((base, data)), chapter.entries.get((method, data))
            if method == base or ends[0] is None or ends[1] is None:
                continue
            try:
                found.append((data, method, compare_entries(ends[0], ends[1], chapter.metric)))
            except EvaluationError:
                continue
    adjusted = holm([pair.p_value for _, _, pair in found])
    rows = tuple(
        (data, method, pair.difference, f"{pair.p_value:.4f}", f"{worth:.4f}", pair.gained, pair.lost)
        for (data, method, pair), worth in zip(found, adjusted, strict=True)
    )
    columns = ("data", "method", "difference", "p", "p, adjusted", "queries better", "queries worse")
    return Table(columns, rows, f"{chapter.title}: {chapter.metric} against {base}")


def _seeds_table(chapter: Chapter) -> Table:
    """Each seed's mean, and the sample deviation over seeds; of what was measured with several."""
    rows: list[tuple[Cell, ...]] = []
    seeds = sorted({s for e in chapter.entries.values() for s in e.by_seed(chapter.metric)})
    for data in chapter.data:
        for method in chapter.methods:
            entry = chapter.entries.get((method, data))
            own = {} if entry is None else entry.by_seed(chapter.metric)
            if len(own) > 1:
                spread = float(np.std(list(own.values()), ddof=1))
                rows.append((data, _row_name(chapter, method), *(own.get(seed) for seed in seeds), spread))
    columns = ("data", "method", *(f"seed {seed}" for seed in seeds), "deviation")
    return Table(columns, tuple(rows), f"{chapter.title}: {chapter.metric} by seed")


def _directions_table(chapter: Chapter, data: str) -> Table:
    """Methods by directions on one data set, means over the seeds."""
    values = {
        method: chapter.entries[method, data].by_route(chapter.metric)
        for method in chapter.methods
        if (method, data) in chapter.entries
    }
    routes = list(dict.fromkeys(route for own in values.values() for route in own))
    rows = tuple(
        (_row_name(chapter, method), *(_finite(own.get(route)) for route in routes))
        for method, own in values.items()
    )
    return Table(("method", *routes), rows, f"{chapter.title}, {data}: {chapter.metric} of each direction")


def _no_match_table(chapter: Chapter) -> Table:
    """How well queries without a counterpart are told from the others, where there are some."""
    rows: list[tuple[Cell, ...]] = []
    keys = ("AUROC", "balanced accuracy")
    for data in chapter.data:
        for method in chapter.methods:
            entry = chapter.entries.get((method, data))
            told = [m.facts["no_match"] for m in entry.cells if "no_match" in m.facts] if entry else []
            if told:
                means = [float(np.mean([t[key] for t in told])) if key in told[0] else None for key in keys]
                rows.append((data, _row_name(chapter, method), *means))
    return Table(("data", "method", *keys), tuple(rows), f"{chapter.title}: is there a counterpart at all?")


def _cost_table(chapters: Sequence[Chapter]) -> Table:
    """Of the first chapter: seconds of one fit and of measuring, bytes of an encoder and of an indexed picture."""
    chapter = chapters[0]
    rows: list[tuple[Cell, ...]] = []
    for data in chapter.data:
        for method in chapter.methods:
            entry = chapter.entries.get((method, data))
            if entry is None:
                continue
            facts = [measured.facts for measured in entry.cells]
            fits = [f["seconds"]["fit"] for f in facts if f["seconds"]["fit"] is not None]
            # Whole ones: these are times of a machine that may have been busy.
            fit = round(float(np.median(fits))) if fits else None
            measuring = round(float(np.median([f["seconds"]["evaluate"] for f in facts])))
            sizes = facts[0]["bytes"]
            rows.append((data, method, fit, measuring, sizes["encoder"], sizes["vector"]))
    columns = (
        "data",
        "method",
        "seconds of a fit",
        "seconds to measure",
        "bytes of the encoder",
        "bytes a picture",
    )
    return Table(columns, tuple(rows), f"{chapter.title}: what it costs")


def class_values(chapter: Chapter, data: str, most: int) -> Mapping[str, Mapping[str, float]]:
    """By class, each method's mean over its queries; of many classes those in which the rivals differ most."""
    own = {
        m: chapter.entries[m, data].by_class(chapter.metric)
        for m in chapter.methods
        if (m, data) in chapter.entries
    }
    names = sorted({name for values in own.values() for name in values})
    table = {name: {m: values[name] for m, values in own.items() if name in values} for name in names}

    def spread(name: str) -> float:
        values = [value for method, value in table[name].items() if method in chapter.rivals]
        return max(values) - min(values) if values else 0.0

    chosen = sorted(sorted(names, key=lambda name: (-spread(name), name))[:most])
    return {name: table[name] for name in chosen}


def _row_name(chapter: Chapter, method: str) -> str:
    return method if method in chapter.rivals else f"{method}{CEILING}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
