"""The page of a suite: tables, paired tests, classes as a heat map, and queries that flip with what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosslens.data.catalog import Catalog
from crosslens.evaluation.standings import Chapter, chapters_of, compare_entries
from crosslens.evaluation.suite_results import Cell as SuiteCell
from crosslens.evaluation.suite_results import SuiteResults
from crosslens.report.grids import Example, Hit, Picture, Strip
from crosslens.report.page import environment
from crosslens.report.suite_tables import CEILING, chapter_name, class_values, suite_tables
from crosslens.report.thumbnails import Thumbnails
from crosslens.support.errors import EvaluationError
from crosslens.support.files import write_text
from crosslens.support.tables import Estimate, Table
from crosslens.support.version import __version__

PICTURES = 600
"""Of a page: with ``thumbnails.MAX_BYTES`` at most 4.8 MB."""
_FLIPS = 2
"""Queries shown at either end, of each data set."""
MAX_CLASSES = 60


class Ranks:
    """The best ranks of a cell's queries, read when they are asked for.

    Args:
        file: rows as ``Evaluation.rankings`` has them.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def of(self, query_domain: str, gallery_domain: str, query: str) -> list[tuple[str, float, bool | None]]:
        """Item, score and whether it is right, best first; nothing where the file is gone."""
        import pyarrow.parquet

        if not self.file.is_file():
            return []
        wanted = [
            ("query_domain", "==", query_domain),
            ("gallery_domain", "==", gallery_domain),
            ("query", "==", query),
        ]
        rows = pyarrow.parquet.read_table(self.file, filters=wanted).sort_by("rank").to_pylist()
        return [(row["item"], row["score"], row["relevant"]) for row in rows]


@dataclass(frozen=True)
class SuitePictures:
    """What the page can show of queries: the images by data set, and the ranks by cell."""

    catalogs: Mapping[str, Catalog] = field(default_factory=dict)
    ranks: Mapping[SuiteCell, Ranks] = field(default_factory=dict)


@dataclass(frozen=True)
class _Shown:
    """A table as the page prints it: texts, which columns are numbers, and the best cells of rivals."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    numbers: list[bool]
    best: set[tuple[int, int]]


@dataclass(frozen=True)
class _Heat:
    """Classes by methods on one data set; a cell is a text and its share of the way from 0 to 1."""

    data: str
    methods: tuple[str, ...]
    rows: list[tuple[str, list[tuple[str, float]]]]
    left_out: int


@dataclass(frozen=True)
class _Flips:
    """Queries of one data set that two methods answer in different ways."""

    title: str
    told: str
    examples: list[Example]


@dataclass(frozen=True)
class _View:
    chapter: Chapter
    lead: str
    marked: list[tuple[str, tuple[str, ...]]]
    notes: list[str]
    means: _Shown
    more: list[_Shown]
    heats: list[_Heat]
    flips: list[_Flips]


def write_suite_page(
    results: SuiteResults,
    target: Path,
    *,
    tables: Mapping[str, Table] | None = None,
    pictures: SuitePictures | None = None,
    problems: Sequence[str] = (),
) -> Path:
    """Write a suite's page as one self-contained HTML file, all or nothing.

    Args:
        results: of the suite.
        target: the file.
        tables: what ``suite_tables`` gives, where it was made already.
        pictures: for the queries that flip; without them these are named only.
        problems: what failed or was left out, one sentence each.

    Returns:
        ``target``.

    Raises:
        CrosslensError: when the file cannot be written.
    """
    made = suite_tables(results) if tables is None else tables
    chapters = chapters_of(results)
    drawer = _Drawer(pictures or SuitePictures())
    views = [_view(results, chapter, chapters, made, drawer) for chapter in chapters]
    text = (
        environment()
        .get_template("suite.html.j2")
        .render(
            title=f"Suite {results.suite['name']}",
            version=__version__,
            metric=results.metric,
            cells=len(results.cells),
            problems=problems,
            views=views,
            cost=_shown(made["cost"]),
            base=results.suite["base"],
        )
    )
    write_text(target, text.encode("utf-8", "replace").decode("utf-8"))
    return target


def _view(
    results: SuiteResults,
    chapter: Chapter,
    chapters: Sequence[Chapter],
    tables: Mapping[str, Table],
    drawer: _Drawer,
) -> _View:
    name = chapter_name(chapter, chapters)
    suffixes = ["-tests", "-seeds", "-no-match", *(f"-{data}" for data in chapter.data)]
    entries = chapter.entries.values()
    marked = {e.method: e.marks for e in entries if e.marks}
    notes = [note for e in entries for m in e.cells for note in m.facts.get("notes", ())]
    return _View(
        chapter=chapter,
        lead=lead_of(chapter),
        marked=list(marked.items()),
        notes=list(dict.fromkeys(notes)),
        means=_shown(tables[name], best=True),
        more=[_shown(tables[name + suffix]) for suffix in suffixes if name + suffix in tables],
        heats=[_heat(chapter, data) for data in chapter.data],
        flips=[found for data in chapter.data if (found := drawer.flips(chapter, data, results)) is not None],
    )


def lead_of(chapter: Chapter) -> str:
    """Which rival is best on each data set."""
    told = []
    for data in chapter.data:
        best = chapter.best(data)
        if best is not None:
            told.append(f"{best} on {data} ({chapter.entries[best, data].mean(chapter.metric):.3f})")
    return f"Best without labels: {', '.join(told)}." if told else ""


def _shown(table: Table, *, best: bool = False) -> _Shown:
    numbers = [any(map(_is_number, cells)) for cells in zip(*table.rows, strict=True)]
    marked: set[tuple[int, int]] = set()
    if best:
        rivals = [r for r, row in enumerate(table.rows) if not str(row[0]).endswith(CEILING)]
        for column in (c for c, number in enumerate(numbers) if number):
            values = {r: _value(table.rows[r][column]) for r in rivals}
            known = [v for v in values.values() if math.isfinite(v)]
            if len(known) > 1:
                top = min(known) if table.columns[column] == "mean rank" else max(known)
                marked |= {(r, column) for r, v in values.items() if v == top}
    return _Shown(table.title, table.columns, table.texts(), numbers, marked)


def _is_number(cell: Any) -> bool:
    """Whether a cell is one, or the text of one, such as a p-value."""
    return not isinstance(cell, str | None) or (cell is not None and cell.replace(".", "", 1).isdecimal())


def _value(cell: Any) -> float:
    if isinstance(cell, Estimate):
        return cell.value
    return float(cell) if isinstance(cell, int | float) else math.nan


def _heat(chapter: Chapter, data: str) -> _Heat:
    values = class_values(chapter, data, MAX_CLASSES)
    methods = tuple(m for m in chapter.methods if (m, data) in chapter.entries)
    rows = []
    for name, own in values.items():
        cells = [(f"{own[m]:.2f}" if m in own else "", own.get(m, 0.0)) for m in methods]
        rows.append((name, cells))
    count = len({label for m in methods for label in chapter.entries[m, data].by_class(chapter.metric)})
    return _Heat(data, methods, rows, count - len(rows))


class _Drawer:
    """Draws queries that flip, as long as there is room for pictures."""

    def __init__(self, pictures: SuitePictures) -> None:
        self.pictures, self.left = pictures, PICTURES
        self._thumbnails = {
            data: Thumbnails(dict(zip(catalog.ids, catalog.paths, strict=True)))
            for data, catalog in pictures.catalogs.items()
        }
        self._labels = {
            data: dict(zip(catalog.ids, catalog.labels, strict=True))
            for data, catalog in pictures.catalogs.items()
        }

    def flips(self, chapter: Chapter, data: str, results: SuiteResults) -> _Flips | None:
        """The base against the best rival, or the next where the base is the best itself."""
        base, other = str(results.suite["base"]), chapter.best(data)
        if base == other or (base, data) not in chapter.entries:
            base = next((m for m in chapter.rivals if m != other and (m, data) in chapter.entries), "")
        if not base or other is None:
            return None
        try:
            ends = chapter.entries[base, data], chapter.entries[other, data]
            found = compare_entries(*ends, chapter.metric, most=_FLIPS)
        except EvaluationError:
            return None
        examples = []
        for query_domain, gallery_domain, query, change in found.flipped:
            strips = []
            for entry in ends:
                measured = entry.cells[0]
                ranks = self.pictures.ranks.get(measured.cell)
                hits = ranks.of(query_domain, gallery_domain, query) if ranks is not None else []
                self.left -= len(hits)
                value = _value_of(measured.directions, query_domain, gallery_domain, query, chapter.metric)
                strips.append(Strip(entry.method, value, tuple(self._hit(data, hit) for hit in hits)))
            kind = f"{query_domain} → {gallery_domain}, {change:+.3f}"
            examples.append(Example(self._picture(data, query), kind, tuple(strips)))
        told = (
            f"{found.gained} queries are better and {found.lost} worse with {other} than with {base}:"
            f" {found.difference:+.3f} (paired test p {found.p_value:.4f})."
        )
        return _Flips(f"{data}: {base} and {other}", told, examples)

    def _hit(self, data: str, hit: tuple[str, float, bool | None]) -> Hit:
        return Hit(self._picture(data, hit[0]), hit[1], hit[2])

    def _picture(self, data: str, image: str) -> Picture:
        thumbnails = self._thumbnails.get(data)
        uri = thumbnails.uri(image) if thumbnails is not None and self.left > 0 else None
        return Picture(image, self._labels.get(data, {}).get(image) or "", uri)


def _value_of(directions: Sequence[Any], asking: str, answering: str, query: str, metric: str) -> float:
    for one in directions:
        if (one.query_domain, one.gallery_domain) == (asking, answering):
            places = (one.queries == query).nonzero()[0]
            return float(one.values[metric][places[0]]) if len(places) else math.nan
    return math.nan
