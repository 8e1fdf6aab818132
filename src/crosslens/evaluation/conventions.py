"""What is measured: metrics with every choice of convention spelled out, and the conventions papers use.

One ranking gives mAP@200 of 0.21, 0.25 or 0.48 depending on whose definition is used, so a number is only
comparable with numbers of the same convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosslens.support.errors import EvaluationError
from crosslens.support.near_names import did_you_mean

Array = NDArray[Any]
Name = Literal["AP", "P", "R", "CMC", "MRR", "nDCG", "R-precision"]
Denominator = Literal["n_rel", "k", "min", "hits", "gallery"]
Average = Literal["macro", "micro", "class"]
Interpolation = Literal["none", "voc"]
Ties = Literal["stable", "expected"]
Empty = Literal["neg", "pos", "skip", "error"]

DEFAULT_KS = (1, 5, 15, 50, 100, 200)

# Denominators each quantity may have, its usual one first. The others divide by what their name says.
_DENOMINATORS: dict[str, tuple[Denominator, ...]] = {
    "AP": ("n_rel", "k", "min", "hits"),
    "P": ("k", "min", "gallery"),
    "R": ("n_rel",),
    "R-precision": ("n_rel",),
    "CMC": (),
    "MRR": (),
    "nDCG": (),
}
_KEYS = {"AP": "map", "P": "p", "R": "recall", "CMC": "cmc", "MRR": "mrr", "nDCG": "ndcg"}
_CHOICES: dict[str, tuple[str, ...]] = {
    "average": ("macro", "micro", "class"),
    "interpolation": ("none", "voc"),
    "ties": ("stable", "expected"),
    "empty": ("neg", "pos", "skip", "error"),
}
_DENOMINATOR_WORDS = {
    "n_rel": "n_rel",
    "k": "{k}",
    "min": "min({k}, n_rel)",
    "hits": "the hits in the top {k}",
    "gallery": "min({k}, gallery size)",
}


@dataclass(frozen=True)
class Metric:
    """One retrieval metric in one convention; all values lie in [0, 1].

    Attributes:
        name: AP, P (precision), R (recall), CMC (a hit in the top k), MRR, nDCG or R-precision.
        k: the cut, None for the whole gallery. A k above the gallery size is not capped.
        denominator: what AP, P and R are divided by: ``n_rel``, ``k``, ``min`` (of k and n_rel), ``hits`` (in
            the top k) or ``gallery`` (min of k and the gallery size). None takes the usual one: n_rel for AP
            and R, k for P.
        average: ``macro`` = mean over queries, ``micro`` = sum of the hits divided by the sum of the
            denominators (UCDIR ``main.py``), ``class`` = mean over query classes of the class mean.
        interpolation: ``voc`` takes, at each rank, the best precision there or later (ZSE-SBIR ``utils/ap.py``).
        ties: ``stable`` = in the order given; ``expected`` = the mean over all orders of tied items.
        empty: a query without relevant items counts 0 (``neg``), 1 (``pos``), not at all (``skip``), or is an
            ``error``. With ``micro`` and ``min`` its denominator is 0, so it never counts.
        tag: added to the key, to tell two conventions of one quantity apart in one report.

    Raises:
        EvaluationError: for a combination that has no meaning.
    """

    name: Name
    k: int | None = None
    denominator: Denominator | None = None
    average: Average = "macro"
    interpolation: Interpolation = "none"
    ties: Ties = "stable"
    empty: Empty = "neg"
    tag: str = ""

    def __post_init__(self) -> None:
        if self.name not in _DENOMINATORS:
            raise EvaluationError(f"unknown metric {self.name!r}; choose one of {', '.join(_DENOMINATORS)}")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise EvaluationError(f"{field}={getattr(self, field)!r} is not one of {', '.join(choices)}")
        if self.k is not None and (isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1):
            raise EvaluationError(f"k must be a whole number of at least 1, or None, not {self.k!r}")
        if self.k is None and self.name in ("P", "R", "CMC"):
            raise EvaluationError(f"{self.name} needs a k")
        if self.k is not None and self.name == "R-precision":
            raise EvaluationError("R-precision cuts at n_rel and takes no k")
        allowed = _DENOMINATORS[self.name]
        if self.denominator is None and allowed:
            object.__setattr__(self, "denominator", allowed[0])
        if self.denominator is not None and self.denominator not in allowed:
            raise EvaluationError(
                f"{self.name} cannot have denominator {self.denominator!r}; "
                + (f"choose one of {', '.join(allowed)}" if allowed else "leave it out")
            )
        if self.name == "AP" and self.k is None and self.denominator != "n_rel":
            raise EvaluationError("AP over the whole gallery is divided by n_rel; another denominator needs a k")
        if self.average == "micro" and self.name not in ("P", "R", "R-precision"):
            raise EvaluationError(f"{self.name} has no micro average; choose macro or class")
        if self.interpolation == "voc" and self.name != "AP":
            raise EvaluationError("interpolation voc exists for AP only")
        if self.ties == "expected" and (self.interpolation == "voc" or self.denominator == "hits"):
            raise EvaluationError("ties=expected has no closed form for voc and hits; take ties=stable")

    @property
    def key(self) -> str:
        """The metric's name in reports and JSON: ``map@all``, ``p@50``, ``recall@3``, ``mrr``, ``r-precision``."""
        if self.name == "R-precision":
            key = "r-precision"
        elif self.k is None:
            key = _KEYS[self.name] + ("" if self.name == "MRR" else "@all")
        else:
            key = f"{_KEYS[self.name]}@{self.k}"
        return f"{key}-{self.tag}" if self.tag else key

    @property
    def needs_all_ranks(self) -> bool:
        """Whether the first k ranks are not enough to compute it."""
        return self.k is None or self.ties == "expected"

    def describe(self) -> str:
        """One line that says how the number is made, for reports."""
        parts = [self.name if self.k is None else f"{self.name}@{self.k}"]
        if self.denominator is not None:
            parts.append("divided by " + _DENOMINATOR_WORDS[self.denominator].format(k=self.k))
        if self.interpolation == "voc":
            parts.append("interpolated (VOC)")
        average = {"macro": "mean over queries", "micro": "pooled over queries", "class": "mean over classes"}
        parts.append(average[self.average])
        if self.ties == "expected":
            parts.append("expected over the orders of ties")
        empty = {"neg": "count 0", "pos": "count 1", "skip": "are skipped", "error": "are an error"}
        return ", ".join(parts) + f"; queries without relevant items {empty[self.empty]}"

    def check_empty(self, n_rel: Array) -> None:
        """Refuse queries without relevant items under ``empty="error"``; ``n_rel (Q,)``.

        Raises:
            EvaluationError: saying how many there are, and the index of the first.
        """
        empty = n_rel == 0
        if self.empty == "error" and empty.any():
            raise EvaluationError(
                f"{int(empty.sum())} of {len(empty)} queries have no relevant item in the gallery (first at index "
                f"{int(np.argmax(empty))}); choose how they count: empty='neg' (0), 'pos' (1) or 'skip'"
            )

    def settle(self, numerators: Array, denominators: Array, n_rel: Array) -> tuple[Array, Array]:
        """Apply `empty` and prepare for `aggregate`: ``(Q,)`` numerators and denominators, all float64.

        For macro and class averages the numerator is the query's value and the denominator 1, or 0 for a query
        that does not count.

        Raises:
            EvaluationError: a query without relevant items under ``empty="error"``.
        """
        self.check_empty(n_rel)
        empty = n_rel == 0
        if self.average != "micro":
            # A query with relevant items but a zero denominator has no hit in the top k: it counts 0.
            numerators = np.divide(numerators, denominators, out=np.zeros(len(empty)), where=denominators > 0)
            denominators = np.ones(len(empty))
        if self.empty == "pos":
            numerators = np.where(empty, denominators, numerators)
        elif self.empty == "skip":
            denominators = np.where(empty, 0.0, denominators)
        return numerators.astype(np.float64), denominators.astype(np.float64)

    def aggregate(self, numerators: Array, denominators: Array, classes: Array | None = None) -> float:
        """The average over queries of settled ``(Q,)`` sums; NaN when no query counts.

        Args:
            classes: ``(Q,)`` integer class codes, for ``average="class"``; -1 belongs to no class.

        Raises:
            EvaluationError: average "class" without classes.
        """
        if self.average == "class":
            if classes is None:
                raise EvaluationError("average='class' needs the class of every query")
            named = classes >= 0
            sums = (np.bincount(classes[named], part[named]) for part in (numerators, denominators))
            values = ratio(*sums)
            values = values[np.isfinite(values)]
            return float(values.mean()) if len(values) else float("nan")
        return float(ratio(numerators.sum(), denominators.sum()))


def ratio(numerators: Array, denominators: Array) -> Array:
    """Elementwise quotient, NaN where the denominator is not positive."""
    counts = denominators > 0
    return np.where(counts, numerators / np.where(counts, denominators, 1), np.nan)


@dataclass(frozen=True)
class Convention:
    """How one code base or paper family computes its numbers.

    Attributes:
        name: the key in `CONVENTIONS`.
        description: one sentence on its denominators, for reports.
        templates: one Metric a quantity; the k of those that have one is replaced by the k asked for.
        empty: what happens to a query without relevant items unless the caller chooses.
    """

    name: str
    description: str
    templates: tuple[Metric, ...]
    empty: Empty

    def metrics(
        self, ks: Sequence[int] = DEFAULT_KS, *, ap_ks: Sequence[int] | None = None, empty: Empty | None = None
    ) -> list[Metric]:
        """The metrics of this convention.

        Args:
            ks: cuts of P@k, each >= 1.
            ap_ks: cuts of AP@k; the largest of ``ks`` when left out.
            empty: policy for queries without relevant items; the convention's own when left out.

        Raises:
            EvaluationError: no cut at all, or one below 1.
        """
        if not ks:
            raise EvaluationError("give at least one k, for example ks=(1, 5, 15)")
        cuts = {"P": ks, "AP": (max(ks),) if ap_ks is None else ap_ks}
        policy = self.empty if empty is None else empty
        made: list[Metric] = []
        for template in self.templates:
            wanted = (None,) if template.k is None else tuple(dict.fromkeys(cuts[template.name]))
            made += [replace(template, k=k, empty=policy) for k in wanted]
        return made

    def check(self, metrics: Sequence[Metric]) -> None:
        """Refuse metrics that would put another definition under this convention's name.

        Quantities the convention does not report (recall, CMC, nDCG, ...) pass.

        Raises:
            EvaluationError: naming the first metric that differs.
        """
        for metric in metrics:
            same = [t for t in self.templates if t.name == metric.name and (t.k is None) == (metric.k is None)]
            if same and _definition(metric) not in {_definition(template) for template in same}:
                raise EvaluationError(
                    f"{metric.key} ({metric.describe()}) is not what convention {self.name!r} reports "
                    f"({replace(same[0], k=metric.k).describe()}); pass convention='custom', or its own metrics()"
                )


def _definition(metric: Metric) -> tuple[object, ...]:
    return metric.denominator, metric.average, metric.interpolation


# The k of a template only says that it has one.
_MAP_ALL = Metric("AP")
_CONVENTIONS = (
    Convention(
        "standard",
        "mAP@all divided by n_rel, mAP@k by min(k, n_rel) and P@k by k, each a mean over queries.",
        (_MAP_ALL, Metric("AP", 1, "min"), Metric("P", 1)),
        "neg",
    ),
    Convention(
        "second_table",
        "The forms not comparable with the standard ones: mAP@k divided by the hits in the top k (hits), and "
        "mAP@all by n_rel and mAP@k by min(k, n_rel) under the precision envelope (voc), means over queries.",
        (
            Metric("AP", 1, "hits", tag="hits"),
            Metric("AP", interpolation="voc", tag="voc"),
            Metric("AP", 1, "min", interpolation="voc", tag="voc"),
        ),
        "neg",
    ),
    Convention(
        "ucdir",
        "UCDIR main.py: P@k is the sum of the hits in the first min(k, n_rel) over the sum of min(k, n_rel), "
        "pooled over queries; no mAP.",
        (Metric("P", 1, "min", average="micro"),),
        "skip",
    ),
    Convention(
        "trec",
        "trec_eval, ranx and ir-measures: mAP@all and mAP@k divided by n_rel, P@k by k, means over queries.",
        (_MAP_ALL, Metric("AP", 1), Metric("P", 1)),
        # trec_eval leaves the choice to its judgement files, so a silent default would be a guess.
        "error",
    ),
    Convention(
        "sempcyc",
        "sem-pcyc and SnMpNet: mAP@all divided by n_rel, mAP@k by the hits in the top k (0 without a hit), P@k "
        "by min(k, gallery size), means over queries.",
        (_MAP_ALL, Metric("AP", 1, "hits"), Metric("P", 1, "gallery")),
        "neg",
    ),
    Convention(
        "zse",
        "ZSE-SBIR utils/ap.py: mAP@all divided by n_rel and mAP@k by min(k, n_rel), both under the precision "
        "envelope (VOC); P@k over the first min(k, n_rel); means over the queries that have relevant items.",
        (
            Metric("AP", interpolation="voc"),
            Metric("AP", 1, "min", interpolation="voc"),
            Metric("P", 1, "min"),
        ),
        "skip",
    ),
)
CONVENTIONS: dict[str, Convention] = {convention.name: convention for convention in _CONVENTIONS}


def choose_metrics(convention: str, metrics: Sequence[Metric] | None = None) -> list[Metric]:
    """``metrics``, checked if ``convention`` is one of `CONVENTIONS`, or else that convention's own.

    Raises:
        EvaluationError: an unknown convention without metrics, or metrics that break a known one.
    """
    known = CONVENTIONS.get(convention)
    if metrics is None:
        if known is None:
            raise EvaluationError(f"unknown convention {convention!r}; take one of {', '.join(CONVENTIONS)}")
        return known.metrics()
    if known is not None:
        known.check(metrics)
    return list(metrics)


def convention_metrics(convention: str, ks: Sequence[int], ties: Ties = "stable") -> list[Metric]:
    """The metrics of a named convention at these cuts, with tied items as in ``Metric.ties``.

    Raises:
        EvaluationError: for an unknown convention, listing the known ones, or ``ties="expected"`` in one with a
            metric that has no mean over orders in closed form.
    """
    if convention not in CONVENTIONS:
        near = did_you_mean(convention, CONVENTIONS)
        raise EvaluationError(f"there is no convention {convention!r}; known: {', '.join(CONVENTIONS)}{near}")
    return [replace(metric, ties=ties) for metric in CONVENTIONS[convention].metrics(ks)]
