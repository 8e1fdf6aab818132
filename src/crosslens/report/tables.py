"""What the report says in numbers, as plain values for the page's template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosslens.evaluation.compare import Comparison, compare_evaluations
from crosslens.evaluation.conventions import ratio
from crosslens.evaluation.measured import Evaluation, describe_convention
from crosslens.support.errors import EvaluationError

MAX_CLASSES = 60
"""Classes in a table; of more, those whose value changed most."""


@dataclass(frozen=True)
class Section:
    """Several encoders on the same images under one labelling: one chapter of the page.

    Attributes:
        title: such as ``Categories``.
        evaluations: display name -> what that encoder reached; the first is the base that others are held against,
            the last is the one the report is about.
        text: a paragraph that says what to make of the numbers.
        metric: what is compared query by query; ``map@all`` where the convention has it, else its first.

    Raises:
        EvaluationError: when there is no evaluation, or they differ in protocol, convention or directions, or the
            metric has no per-query values.
    """

    title: str
    evaluations: Mapping[str, Evaluation]
    text: str = ""
    metric: str = ""

    def __post_init__(self) -> None:
        if not self.evaluations:
            raise EvaluationError(f"the section {self.title!r} needs at least one evaluation")
        kinds = {(e.protocol, e.convention, _routes(e), tuple(e.directions[0].metrics)) for e in self.all}
        if len(kinds) > 1:
            raise EvaluationError(
                f"the evaluations of the section {self.title!r} differ in protocol, convention, metrics or"
                " directions; evaluate all encoders in the same way, or give each way a section of its own"
            )
        keys = list(self.base.directions[0].per_query)
        metric = self.metric or ("map@all" if "map@all" in keys else keys[0] if keys else "")
        if metric not in keys:
            known = ", ".join(keys) or "none"
            raise EvaluationError(f"there is no per-query {metric!r} to compare encoders by; there are: {known}")
        object.__setattr__(self, "metric", metric)

    @property
    def all(self) -> list[Evaluation]:
        """The evaluations in order."""
        return list(self.evaluations.values())

    @property
    def base(self) -> Evaluation:
        """What the others are held against."""
        return self.all[0]

    @property
    def last(self) -> Evaluation:
        """The one the report is about."""
        return self.all[-1]

    @property
    def labels(self) -> dict[str, str]:
        """Class name by image id, of all images that were queries or in a gallery."""
        labels: dict[str, str] = {}
        for result in self.base.directions:
            for ids, names in (
                (result.query_ids, result.query_labels),
                (result.gallery_ids, result.gallery_labels),
            ):
                if names is not None:
                    labels.update(zip(ids.tolist(), names.tolist(), strict=True))
        return labels


@dataclass(frozen=True)
class Cell:
    """A number with its 95 % intervals ``(low, high)`` where they are known."""

    value: float
    best: bool = False
    queries: tuple[float, float] | None = None
    classes: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """One encoder's numbers, with what must be said beside them."""

    name: str
    marks: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Encoders by metrics."""

    title: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Against:
    """One encoder held against the base, or the reason why it cannot be."""

    name: str
    marks: tuple[str, ...]
    comparison: Comparison | None
    problem: str = ""


@dataclass(frozen=True)
class ClassRow:
    """One class: a value per encoder, how far the last is from the base, and that as a share of the largest."""

    name: str
    queries: int
    values: tuple[float, ...]
    delta: float
    share: float


@dataclass(frozen=True)
class ClassTable:
    """The classes, those that gained most first, and how many more there are."""

    encoders: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    left_out: int


def headline(section: Section) -> Table:
    """Every metric's mean over the directions."""
    metrics = tuple(section.base.metrics)
    values = [[evaluation.metrics[key] for key in metrics] for evaluation in section.all]
    cells = [[Cell(value) for value in row] for row in values]
    return _table("Mean over the directions", section, metrics, cells)


def directions(section: Section) -> list[Table]:
    """Per direction every metric with the intervals of ``Evaluation.to_json``."""
    reports = [evaluation.to_json()["directions"] for evaluation in section.all]
    tables = []
    for index, result in enumerate(section.base.directions):
        metrics = tuple(result.metrics)
        cells = [[_interval_cell(report[index], key) for key in metrics] for report in reports]
        title = f"{result.query_domain} → {result.gallery_domain}"
        size = f"{len(result.query_ids)} queries, {len(result.gallery_ids)} in the gallery"
        tables.append(_table(f"{title} ({size})", section, metrics, cells))
    return tables


def comparisons(section: Section) -> list[Against]:
    """Every encoder but the first, paired with the first query by query."""
    held = []
    for name, evaluation in list(section.evaluations.items())[1:]:
        try:
            comparison, problem = compare_evaluations(section.base, evaluation, section.metric), ""
        except EvaluationError as error:
            # Another backbone may have skipped other images; the rest of the page still stands.
            comparison, problem = None, str(error)
        held.append(Against(name, evaluation.marks, comparison, problem))
    return held


def class_table(section: Section) -> ClassTable:
    """The section's metric per class over the queries of all directions together; empty without labels."""
    columns = [_by_class(evaluation, section.metric) for evaluation in section.all]
    counts: dict[str, int] = {}
    for result in section.last.directions:
        for name in result.query_labels.tolist() if result.query_labels is not None else []:
            counts[name] = counts.get(name, 0) + 1
    found = []
    for name in sorted(columns[-1]):
        values = tuple(column.get(name, math.nan) for column in columns)
        found.append((name, values, values[-1] - values[0] if len(values) > 1 else 0.0))
    compared = len(columns) > 1
    # Without a base the values themselves are what to sort by.
    found.sort(key=lambda row: (-_number(row[2] if compared else row[1][-1]), row[0]))
    half = MAX_CLASSES // 2
    chosen = found if len(found) <= MAX_CLASSES else found[:half] + found[-half:]
    largest = max((abs(_number(delta)) for _, _, delta in chosen), default=0.0) or 1.0
    rows = tuple(
        ClassRow(name, counts.get(name, 0), values, delta, abs(_number(delta)) / largest)
        for name, values, delta in chosen
    )
    return ClassTable(tuple(section.evaluations), rows, len(found) - len(chosen))


def definitions(section: Section) -> list[tuple[str, str]]:
    """Key and definition of every metric."""
    return [(metric.key, metric.describe()) for metric in section.base.directions[0].definitions]


def convention(section: Section) -> str:
    """Name and description of the convention, to stand beside every number."""
    name = section.base.convention
    description = describe_convention(name)
    return name if description == name else f"{name}: {description}"


def _routes(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    return tuple((result.query_domain, result.gallery_domain) for result in evaluation.directions)


def _table(title: str, section: Section, metrics: tuple[str, ...], cells: Sequence[Sequence[Cell]]) -> Table:
    """The table, with the best number of each column marked: a ceiling that saw labels does not compete."""
    fair = [not evaluation.marks for evaluation in section.all]
    rows = []
    for (name, evaluation), own, competes in zip(section.evaluations.items(), cells, fair, strict=True):
        marked = []
        for index, cell in enumerate(own):
            rivals = [row[index].value for row, other in zip(cells, fair, strict=True) if other]
            best = competes and len(rivals) > 1 and cell.value == max(rivals)
            marked.append(Cell(cell.value, best, cell.queries, cell.classes))
        rows.append(Row(name, evaluation.marks, tuple(marked)))
    return Table(title, metrics, tuple(rows))


def _interval_cell(report: Mapping[str, Any], key: str) -> Cell:
    intervals = report["intervals"].get(key, {})
    queries, classes = intervals.get("queries"), intervals.get("classes")
    return Cell(
        report["metrics"][key],
        queries=None if queries is None else (queries[0], queries[1]),
        classes=None if classes is None else (classes[0], classes[1]),
    )


def _by_class(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """The metric over all queries of a class, all directions together; NaN where none counts."""
    tops: list[Any] = []
    bottoms: list[Any] = []
    names: list[Any] = []
    for result in evaluation.directions:
        if result.query_labels is not None:
            top, bottom = result.sums(metric)
            tops.append(top)
            bottoms.append(bottom)
            names.append(result.query_labels)
    if not names:
        return {}
    known, codes = np.unique(np.concatenate(names), return_inverse=True)
    values = ratio(np.bincount(codes, np.concatenate(tops)), np.bincount(codes, np.concatenate(bottoms)))
    return {str(name): float(value) for name, value in zip(known, values, strict=True) if name}


def _number(value: float) -> float:
    return value if math.isfinite(value) else 0.0
