"""What every protocol shares: encoded sides, the ranking of a direction, and the evaluation that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.evaluation.caveats import expected_over_ties
from crosslens.evaluation.conventions import CONVENTIONS, Metric
from crosslens.evaluation.coverage import look_alikes
from crosslens.evaluation.goals import aim_at_thing, flattered
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.evaluation.rows import per_query_rows, ranking_rows
from crosslens.evaluation.side import Side
from crosslens.evaluation.weighting import intervals as intervals_of
from crosslens.features.load import Features
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.support.curves import draw_curves
from crosslens.support.errors import EvaluationError
from crosslens.support.tables import Estimate, Table, to_pandas

if TYPE_CHECKING:
    import pandas
    import pyarrow

WITH_CODA = " and CoDA"
_CODA_DESCRIPTION = "map@all-voc-class as CoDA's scorer has it: interpolated, and a mean over classes."


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What one encoder reached on one catalog under one protocol.

    Attributes:
        protocol: its name.
        convention: how the metrics are defined.
        encoder: name of the encoder.
        directions: one result per ranked direction.
        marks: what must be said beside every number, such as ``oracle``.
        skipped: images that could not be embedded.
        extra: what a protocol measures besides.
        unlabelled: images without a label, which took no part.
        notes: what else the reader of the numbers should know, one sentence each.
    """

    protocol: str
    convention: str
    encoder: str
    directions: tuple[RetrievalResults, ...]
    marks: tuple[str, ...] = ()
    skipped: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: int = 0
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric's mean over the directions."""
        keys = self.directions[0].metrics
        return {key: float(np.mean([result.metrics[key] for result in self.directions])) for key in keys}

    def told(self) -> list[str]:
        """What the reader of the numbers should know besides ``marks``, one sentence each."""
        sentences = list(self.notes)
        if self.unlabelled:
            sentences.append(
                f"{self.unlabelled} image(s) have no label and took no part, as queries or in a gallery"
            )
        if self.skipped:
            sentences.append(f"{self.skipped} image(s) could not be embedded and took no part")
        return sentences

    def within_gallery(self) -> Evaluation:
        """The same without metrics that are cut beyond a gallery, which a note says.

        P@200 of 125 items says nothing but their number. Where only such metrics were asked for, they stay.
        """
        smallest = min(len(result.gallery_ids) for result in self.directions)
        first = self.directions[0]
        beyond = [metric.key for metric in first.definitions if metric.k is not None and metric.k > smallest]
        if not beyond or len(beyond) == len(first.metrics):
            return self
        told = f"left out, being cut beyond a gallery of {smallest}: {', '.join(beyond)}"
        directions = tuple(result.without(beyond) for result in self.directions)
        return replace(self, directions=directions, notes=(*self.notes, told))

    def table(self, *, intervals: bool = True) -> Table:
        """Directions by metrics, and their mean in the last row.

        Args:
            intervals: with the 95 % interval over queries behind each number of a direction, which takes time.
        """
        keys = tuple(self.metrics)

        def cell(result: RetrievalResults, key: str) -> float | Estimate:
            if not intervals or key not in result.per_query:
                return result.metrics[key]
            found = intervals_of(result, key)["queries"]
            return Estimate(result.metrics[key], found.low, found.high)

        rows = [(_route(result), *(cell(result, key) for key in keys)) for result in self.directions]
        title = f"{self.encoder}, protocol {self.protocol}, convention {self.convention}"
        return Table(("direction", *keys), (*rows, ("mean", *self.metrics.values())), title)

    def __repr__(self) -> str:
        return "\n".join(
            [str(self.table(intervals=False)), *(f"note: {told}" for told in (*self.marks, *self.told()))]
        )

    def _repr_html_(self) -> str:
        curves = {_route(result): result.curve for result in self.directions if result.curve is not None}
        drawn = draw_curves(curves, x="recall", y="precision") if curves else ""
        told = "".join(f"<li>{escape(sentence)}</li>" for sentence in (*self.marks, *self.told()))
        return f"{self.table(intervals=False).to_html()}{drawn}<ul>{told}</ul>"

    def to_csv(self) -> str:
        """``table`` as CSV."""
        return self.table().to_csv()

    def to_markdown(self) -> str:
        """``table`` as Markdown."""
        return self.table().to_markdown()

    def to_latex(self) -> str:
        """``table`` as LaTeX, for the package booktabs."""
        return self.table().to_latex()

    def per_query(self) -> pyarrow.Table:
        """Every query of every direction, one row each, with a column for each metric.

        Columns: ``query_domain``, ``gallery_domain``, ``query``, ``label``, ``relevant`` (counterparts in the
        gallery) and the metrics; empty where a label is unknown or a query does not count.
        """
        return per_query_rows(self.directions)

    def rankings(self) -> pyarrow.Table:
        """The best ranks of every query, one row each, as deep as they were kept (``depth``).

        Columns: ``query_domain``, ``gallery_domain``, ``query``, ``rank`` (from 1), ``item``, ``score`` and
        ``relevant``.
        """
        return ranking_rows(self.directions)

    def to_pandas(self) -> pandas.DataFrame:
        """``per_query`` as a data frame.

        Raises:
            ConfigError: where pandas is not installed.
        """
        return to_pandas(self.per_query())

    def to_json(self, *, intervals: bool = True) -> dict[str, Any]:
        """The evaluation as plain values: means, and per direction the metrics, intervals and classes."""
        return {
            "protocol": self.protocol,
            "convention": self.convention,
            "convention_description": describe_convention(self.convention),
            "encoder": self.encoder,
            "marks": list(self.marks),
            "notes": self.told(),
            "skipped": self.skipped,
            "unlabelled": self.unlabelled,
            "metrics": self.metrics,
            "directions": [_direction_json(result, intervals) for result in self.directions],
            **self.extra,
        }


def describe_convention(convention: str) -> str:
    """One sentence on how a convention divides and averages."""
    if convention.endswith(WITH_CODA):
        known = convention.removesuffix(WITH_CODA)
        return f"{describe_convention(known)} {_CODA_DESCRIPTION}"
    return CONVENTIONS[convention].description if convention in CONVENTIONS else convention


def labelled_part(catalog: Catalog, domains: Sequence[str]) -> tuple[Catalog, int]:
    """The images whose class is known, and how many others there are: an unknown class is neither right nor wrong.

    Args:
        catalog: of which the images without a label leave, queries and gallery items alike.
        domains: that must have labelled images.

    Raises:
        EvaluationError: when one of ``domains`` has no image, or none with a label.
    """
    known = np.array([label is not None for label in catalog.labels], dtype=bool)
    kept = catalog.where(known)
    for domain in domains:
        if domain not in kept.domains:
            what = "has a label" if domain in catalog.domains else "is left"
            raise EvaluationError(
                f"no image of the domain {domain!r} {what}, so nothing can be measured; give a labelled folder"
                " (root/<domain>/<class>/*) or a manifest with labels"
            )
    return kept, int((~known).sum())


def encode_domain(encoder: Encoder, features: Features, domain: str) -> Side:
    """Encode one domain's images, all of which have a label (``labelled_part``)."""
    catalog = features.catalog
    vectors = encoder.encode_features(features.centre, domain)
    queries = encoder.similarity.as_queries(vectors)
    return Side(domain, catalog.ids, catalog.labels, vectors, queries, catalog.column("role"))


@dataclass(frozen=True)
class Ranked:
    """The directions that were ranked, and what must be known of them and of those that were not."""

    directions: tuple[RetrievalResults, ...]
    notes: tuple[str, ...] = ()
    ties: tuple[Mapping[str, Any], ...] = ()

    def evaluation(
        self,
        protocol: str,
        convention: str,
        encoder: Encoder,
        *,
        marks: Sequence[str],
        skipped: int,
        unlabelled: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """The evaluation that these directions make; see ``Evaluation``."""
        more = {**(extra or {}), **({"expected_over_ties": list(self.ties)} if self.ties else {})}
        return Evaluation(
            protocol,
            convention,
            encoder.name,
            self.directions,
            tuple(marks),
            skipped,
            more,
            unlabelled,
            self.notes,
        )


def rank_directions(
    order: Iterable[tuple[Side, Side]],
    metrics: Sequence[Metric],
    convention: str,
    depth: int,
    goal: Goal = DEFAULT_GOAL,
) -> Ranked:
    """Rank query and gallery sides by their roles, for a goal; a direction without queries or without a gallery is
    left out.

    Raises:
        EvaluationError: when the roles leave no direction, or two sides share no class.
    """
    results, unranked, restricted = [], [], set()
    notes, ties = [], []
    for query, gallery in order:
        asking, answering = query.asking(), gallery.answering()
        restricted |= {side.domain for side, part in ((query, asking), (gallery, answering)) if part is not side}
        if (query.ids and not asking.ids) or (gallery.ids and not answering.ids):
            unranked.append(f"{query.domain} -> {gallery.domain}")
            continue
        if goal == "thing":
            asking, answering = aim_at_thing(asking, answering)
        result = rank(asking, answering, metrics, convention, depth)
        results.append(result)
        if goal == "thing" and (told := flattered(result)):
            notes.append(told)
        expected, told = expected_over_ties(result, asking.queries, answering.vectors)
        if told:
            notes.append(told)
            ties.append({"query": query.domain, "gallery": gallery.domain, "metrics": expected})
    if not results:
        raise EvaluationError(
            "the column 'role' leaves no direction with both queries and a gallery; mark the images that ask as"
            " query or both, and those of another domain that answer as gallery or both"
        )
    if restricted:
        told = f"the column 'role' decides which images of {', '.join(sorted(restricted))} ask and answer"
        notes.append(told + (f"; it leaves out {', '.join(unranked)}" if unranked else ""))
    return Ranked(tuple(results), tuple(notes), tuple(ties))


def rank(query: Side, gallery: Side, metrics: Sequence[Metric], convention: str, depth: int) -> RetrievalResults:
    """Rank one direction.

    Raises:
        EvaluationError: when the two sides share no class.
    """
    if not set(filter(None, query.labels)) & set(filter(None, gallery.labels)):
        raise EvaluationError(
            f"{query.domain} and {gallery.domain} have no class in common; nothing can be measured"
            f"{look_alikes(query.labels, gallery.labels)}"
        )
    return evaluate_retrieval(
        query.queries,
        gallery.vectors,
        query.labels,
        gallery.labels,
        query_ids=query.ids,
        gallery_ids=gallery.ids,
        metrics=metrics,
        convention=convention,
        depth=depth,
        query_domain=query.domain,
        gallery_domain=gallery.domain,
    )


def _route(result: RetrievalResults) -> str:
    return f"{result.query_domain} -> {result.gallery_domain}"


def _direction_json(result: RetrievalResults, intervals: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "query": result.query_domain,
        "gallery": result.gallery_domain,
        "queries": len(result.query_ids),
        "gallery_size": len(result.gallery_ids),
        "without_relevant": 0 if result.n_relevant is None else int((result.n_relevant == 0).sum()),
        "metrics": dict(result.metrics),
        "per_class": {
            name: {key: value if np.isfinite(value) else None for key, value in row.items()}
            for name, row in result.per_class().items()
        },
    }
    if intervals:
        value["intervals"] = {
            key: {kind: [found.low, found.high] for kind, found in intervals_of(result, key).items()}
            for key in result.metrics
        }
    return value
