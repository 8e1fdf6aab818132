"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from crosslens.data.catalog import Catalog
from crosslens.report import tables
from crosslens.report.grids import Example, Grid, draw_best, draw_grids
from crosslens.report.lines import Line, draw_lines, swatch
from crosslens.report.maps import EmbeddingMap, Embeddings, draw_maps
from crosslens.report.tables import Section
from crosslens.report.thumbnails import Thumbnails
from crosslens.report.training import read_training
from crosslens.report.unmarked import draw_unmarked
from crosslens.report.verdict import find_best, judge
from crosslens.support.errors import ConfigError
from crosslens.support.files import write_text
from crosslens.support.version import __version__

PICTURES = 600
"""Pictures in the grids of a page: with ``thumbnails.MAX_BYTES`` at most 4.8 MB."""
BEST_QUERIES, BEST_DEPTH = 3, 8
"""Queries of the first screen, and what is shown of what each finds."""
_MAX_CURVES = 30
_MAX_LISTED = 50


@dataclass(frozen=True)
class _Curve:
    title: str
    plot: Markup
    summary: str


@dataclass(frozen=True)
class _Best:
    """The pictures of the first screen."""

    title: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class _View:
    """A section with all that the template prints of it."""

    section: Section
    convention: str
    lead: str
    headline: tables.Table
    pairs: tuple[tables.Against, ...]
    directions: tuple[tables.Table, ...]
    classes: tables.ClassTable
    curves: tuple[_Curve, ...]
    grids: tuple[Grid, ...]
    definitions: tuple[tuple[str, str], ...]

    @property
    def base_name(self) -> str:
        return next(iter(self.section.evaluations))

    @property
    def last_name(self) -> str:
        return list(self.section.evaluations)[-1]

    @property
    def marked(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(name, e.marks) for name, e in self.section.evaluations.items() if e.marks]

    @property
    def legend(self) -> list[tuple[Markup, str]]:
        return [(swatch(style), name) for style, name in enumerate(self.section.evaluations)]


def write_report(
    sections: Section | Sequence[Section],
    target: Path,
    *,
    title: str,
    catalog: Catalog,
    embeddings: Embeddings | None = None,
    log: Sequence[Any] = (),
    settings: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    verdict: str = "",
    credits: Sequence[str] = (),
    grid_queries: int = 6,
    grid_depth: int = 10,
    map_points: int = 1500,
    seed: int = 0,
) -> Path:
    """Write a report as one self-contained HTML file, all or nothing; the same input gives the same file.

    With the defaults and up to 30 directions the page stays below 8 MB: 4.8 MB of thumbnails, 1.5 MB of maps, and
    tables and curves.

    Args:
        sections: one, or several where the same images are judged by several labellings, such as category and
            concept. None where no image has a label; then the page shows what each encoder of ``embeddings``
            finds.
        target: the file.
        title: of the page.
        catalog: where the images of the evaluations lie, by id. Those that are missing or cannot be decoded are
            shown by name.
        embeddings: vectors of the encoders, under the names the sections use, for the maps before (the first
            encoder) and after (the last); None leaves the maps out. Without sections, those that are compared.
        log: what ``Run.read_log`` gives, for the training curves.
        settings: what ``Run.config`` gives.
        notes: what the reader of the numbers should know, one sentence each.
        verdict: what the page begins with where no image has a label.
        credits: whose the pictures are, at the end.
        grid_queries: queries shown per direction; fewer where there are many directions; 0 leaves the grids out.
        grid_depth: retrieved images shown for each, at least 1; no deeper than the evaluations were kept.
        map_points: at most so many images on a map; 0 leaves the maps out.
        seed: of the maps.

    Returns:
        ``target``.

    Raises:
        ConfigError: neither a section nor embeddings, or a number out of range.
        CrosslensError: when the file cannot be written.
    """
    chapters = [sections] if isinstance(sections, Section) else list(sections)
    if not chapters and embeddings is None:
        raise ConfigError("a report needs at least one section, or embeddings to show what they find")
    if grid_queries < 0 or grid_depth < 1 or map_points < 0:
        raise ConfigError("grid_queries and map_points must be at least 0, and grid_depth at least 1")
    thumbnails = Thumbnails(dict(zip(catalog.ids, catalog.paths, strict=True)))
    views = []
    for index, section in enumerate(chapters):
        pictures = PICTURES // len(chapters)
        grids = draw_grids(section, thumbnails, queries=grid_queries, depth=grid_depth, pictures=pictures)
        views.append(_view(section, index, grids))
    unmarked: list[Grid] = []
    if embeddings is not None and not chapters:
        unmarked = draw_unmarked(embeddings, thumbnails, queries=grid_queries, depth=grid_depth, pictures=PICTURES)
    skipped = embeddings.skipped if embeddings else ()
    maps = _maps(chapters, embeddings, map_points, seed)
    template = environment().get_template("page.html.j2")
    text = template.render(
        title=title,
        version=__version__,
        notes=notes,
        views=views,
        verdict=views[0].lead if views else verdict,
        best=_best(chapters, unmarked, thumbnails) if grid_queries else None,
        unmarked=unmarked,
        maps=maps,
        spots=_spots(maps, thumbnails),
        credits=credits,
        training=read_training(log, (settings or {}).get("domains") or ()) if log else None,
        skipped=skipped[:_MAX_LISTED],
        skipped_count=max([len(skipped), *(e.skipped for section in chapters for e in section.all)]),
        catalog_notes=catalog.notes[:_MAX_LISTED],
        settings=list(_flat(settings or {})),
    )
    # A lone surrogate in a name has no place in a file.
    write_text(target, text.encode("utf-8", "replace").decode("utf-8"))
    return target


def _view(section: Section, index: int, grids: Sequence[Grid]) -> _View:
    return _View(
        section=section,
        convention=tables.convention(section),
        lead=judge(section),
        headline=tables.headline(section),
        pairs=tuple(tables.comparisons(section)),
        directions=tuple(tables.directions(section)),
        classes=tables.class_table(section),
        curves=tuple(_curves(section, index)),
        grids=tuple(grids),
        definitions=tuple(tables.definitions(section)),
    )


def _curves(section: Section, index: int) -> Iterator[_Curve]:
    recall = [point / 100 for point in range(101)]
    for place, result in enumerate(section.base.directions[:_MAX_CURVES]):
        lines, words = [], []
        for style, (name, evaluation) in enumerate(section.evaluations.items()):
            curve = evaluation.directions[place].curve
            if curve is not None:
                lines.append(Line(recall, curve.tolist(), style))
                points = ", ".join(f"{curve[at]:.2f} at recall {at / 100:.1f}" for at in (10, 50, 90))
                words.append(f"{_short(name)}: precision {points}")
        if lines:
            plot = draw_lines(f"curve-{index}-{place}", lines, x_name="recall", y_name="precision", unit_axes=True)
            yield _Curve(f"{result.query_domain} → {result.gallery_domain}", plot, "; ".join(words) + ".")


def _maps(
    sections: Sequence[Section], embeddings: Embeddings | None, points: int, seed: int
) -> list[EmbeddingMap]:
    """Maps of the first and the last encoder that have vectors, coloured by the labelling of fewest classes."""
    if embeddings is None or not points or not len(embeddings.ids):
        return []
    order = [name for section in sections for name in section.evaluations if name in embeddings.vectors]
    order = order or list(embeddings.vectors)
    ends = list(dict.fromkeys([*order[:1], *order[-1:]]))
    labels = min((section.labels for section in sections), key=lambda names: len(set(names.values())), default={})
    return draw_maps(embeddings, labels, encoders=ends, points=points, seed=seed)


def _best(chapters: Sequence[Section], unmarked: Sequence[Grid], thumbnails: Thumbnails) -> _Best | None:
    """A few queries for the first screen: good ones of the best encoder, or any where nothing is measured."""
    if chapters:
        name = find_best(chapters[0])
        examples = draw_best(chapters[0], name, thumbnails, queries=BEST_QUERIES, depth=BEST_DEPTH)
        title = f"Where {_short(name)} is at its best"
    else:
        found = [(grid.title, example) for grid in unmarked for example in grid.examples][:BEST_QUERIES]
        examples = [
            Example(e.query, title, (replace(e.strips[-1], hits=e.strips[-1].hits[:BEST_DEPTH]),))
            for title, e in found
        ]
        title = f"What {_short(examples[0].strips[0].encoder)} finds" if examples else ""
    return _Best(title, tuple(examples)) if examples else None


def _spots(maps: Sequence[EmbeddingMap], thumbnails: Thumbnails) -> dict[str, tuple[int, str]]:
    """Number and data URI of every picture that a map can show, by image."""
    shown = dict.fromkeys(spot.image for drawn in maps for panel in drawn.panels for spot in panel.spots)
    uris = ((image, thumbnails.uri(image)) for image in shown)
    there = ((image, uri) for image, uri in uris if uri is not None)
    return {image: (number, uri) for number, (image, uri) in enumerate(there)}


def environment() -> Any:
    """What fills the templates of all pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("crosslens.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"short": _short, "number": _number, "signed": _signed, "p_value": _p_value}
    return environment


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", str(value)


def _short(text: str, most: int = 80) -> str:
    """``text`` without its middle when it is longer than ``most``: names differ at their ends."""
    text = str(text)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else ""


def _p_value(value: float, equals: str = "") -> str:
    return "< 0.001" if value < 0.001 else f"{equals} {value:.3f}".strip()
