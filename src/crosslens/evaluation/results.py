"""The value an evaluation leaves behind, and the one pass over the rankings that makes it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosslens.evaluation.conventions import Metric, choose_metrics, ratio
from crosslens.evaluation.metrics import CURVE_POINTS, MetricAccumulator
from crosslens.ops.ranking import DEFAULT_MEMORY, Precision, judged_chunks, relevance_of, relevant_counts
from crosslens.support.errors import EvaluationError
from crosslens.support.files import atomic_path

Array = NDArray[Any]
Labels = Sequence[str | None] | Array

FORMAT = 1
_RANKED = ("query_ids", "gallery_ids", "top", "scores")
_ARRAYS = (*_RANKED, "query_labels", "gallery_labels", "relevant", "n_relevant", "curve")
_TEXTS = ("convention", "query_domain", "gallery_domain", "precision")


@dataclass(frozen=True, eq=False, kw_only=True)
class RetrievalResults:
    """Who was found for whom, and what that is worth; checks itself, and its arrays are read-only.

    Attributes:
        query_ids: ``(Q,)`` distinct strings.
        gallery_ids: ``(G,)`` distinct strings.
        top: ``(Q, K) int32`` gallery indices, best first.
        scores: ``(Q, K)`` inner products of ``top``, non-increasing along a row.
        query_labels: ``(Q,)`` class names, "" where an item has none; None when labels are unknown.
        gallery_labels: ``(G,)`` likewise.
        relevant: ``(Q, K) bool``; with labels known, true where the names of query and item are equal.
        n_relevant: ``(Q,)`` relevant items in the gallery, without an item left out of it.
        per_query: metric key -> ``(Q,)`` values in [0, 1], NaN for a query that does not count.
        weights: metric key -> ``(Q,)`` denominators of a micro (pooled) metric.
        metrics: metric key -> average.
        definitions: the Metric behind each key of per_query.
        convention: the name the metrics go by; a number means nothing without it.
        query_domain, gallery_domain: where the images come from.
        curve: ``(101,)`` interpolated precision at recall 0, 0.01, ..., 1 (mean over queries with relevant
            items), when all ranks were judged.
        precision: arithmetic of the scores, float32 or float64.

    Raises:
        EvaluationError: naming the field that contradicts the others.
    """

    query_ids: Array
    gallery_ids: Array
    top: Array
    scores: Array
    query_labels: Array | None = None
    gallery_labels: Array | None = None
    relevant: Array | None = None
    n_relevant: Array | None = None
    per_query: Mapping[str, Array] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    definitions: tuple[Metric, ...] = ()
    convention: str = "standard"
    query_domain: str = ""
    gallery_domain: str = ""
    curve: Array | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None:
                dtype = np.int32 if name == "top" else None
                object.__setattr__(self, name, _frozen(np.asarray(value, dtype=dtype)))
        for name in ("per_query", "weights"):
            columns = {key: _frozen(np.asarray(value, np.float64)) for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, columns)
        object.__setattr__(self, "metrics", {key: float(value) for key, value in self.metrics.items()})
        self._check_ranking()
        self._check_relevance()
        self._check_metrics()

    @property
    def depth(self) -> int:
        """K, the ranks kept."""
        return int(self.top.shape[1])

    def _check_ranking(self) -> None:
        for name in ("query_ids", "gallery_ids"):
            ids = getattr(self, name)
            _require(ids.ndim == 1 and ids.dtype.kind == "U", f"{name} must be a (N,) array of strings")
            names, counts = np.unique(ids, return_counts=True)
            repeated = names[counts > 1]
            _require(not len(repeated), f"{name} repeats {len(repeated)} ids, first {repeated[:1].tolist()}")
        rows, items = len(self.query_ids), len(self.gallery_ids)
        top, scores = self.top, self.scores
        _require(top.ndim == 2 and len(top) == rows, f"top must be ({rows}, K), not {top.shape}")
        _require(scores.shape == top.shape, f"scores {scores.shape} and top {top.shape} differ in shape")
        _require(scores.dtype.kind == "f", f"scores must be floats, not {scores.dtype}")
        _require(((top >= 0) & (top < items)).all(), f"top holds indices outside the gallery of {items} items")
        ordered = np.sort(top, axis=1)
        _require((ordered[:, 1:] != ordered[:, :-1]).all(), "top lists an item twice for one query")
        _require(np.isfinite(scores).all(), "scores hold NaN or infinity")
        _require((scores[:, 1:] <= scores[:, :-1]).all(), "scores must not increase along a row; rank best first")

    def _check_relevance(self) -> None:
        rows, items = len(self.query_ids), len(self.gallery_ids)
        for name, count in (("query_labels", rows), ("gallery_labels", items)):
            labels = getattr(self, name)
            known = labels is None or (labels.shape == (count,) and labels.dtype.kind == "U")
            _require(known, f"{name} must be a ({count},) array of class names, or None")
        if self.relevant is not None:
            fits = self.relevant.shape == self.top.shape and self.relevant.dtype == np.bool_
            _require(fits, f"relevant must be bool {self.top.shape}, not {self.relevant.shape}")
            if self.query_labels is not None and self.gallery_labels is not None:
                same = relevance_of(self.top, *label_codes(self.query_labels, self.gallery_labels))
                _require((same == self.relevant).all(), "relevant contradicts the labels")
        if self.n_relevant is not None:
            fits = self.n_relevant.shape == (rows,) and self.n_relevant.dtype.kind in "iu"
            _require(fits, f"n_relevant must hold {rows} whole numbers")
            seen = 0 if self.relevant is None else self.relevant.sum(axis=1)
            _require((self.n_relevant >= seen).all(), "n_relevant is below the relevant items in top")
        if self.curve is not None:
            fits = self.curve.shape == (CURVE_POINTS,) and bool(np.isfinite(self.curve).all())
            _require(fits, f"curve must hold {CURVE_POINTS} finite precisions")

    def _check_metrics(self) -> None:
        rows = len(self.query_ids)
        for name in ("per_query", "weights"):
            for key, values in getattr(self, name).items():
                fits = values.shape == (rows,) and not np.isinf(values).any()
                _require(fits, f"{name}[{key!r}] must hold {rows} values without infinity")
        for key, value in self.metrics.items():
            _require(np.isfinite(value), f"metric {key} is {value}")
        keys = {metric.key for metric in self.definitions}
        _require(keys == set(self.per_query), "per_query and definitions must name the same metrics")
        _require(keys <= set(self.metrics), "a metric with per-query values has no average in metrics")
        for metric in self.definitions:
            if metric.average != "class" or self.query_labels is not None:
                agrees = abs(self._average(metric, slice(None)) - self.metrics[metric.key]) < 1e-9
                _require(agrees, f"metric {metric.key} is not the average of its per-query values")

    def sums(self, key: str) -> tuple[Array, Array]:
        """``(Q,)`` numerators and denominators whose sums give the metric: what the bootstraps resample.

        The denominator is 1 for a query that counts and 0 for another, or its weight in a micro average.

        Raises:
            EvaluationError: no per-query values under that key.
        """
        known = ", ".join(self.per_query) or "none"
        _require(key in self.per_query, f"no per-query values for {key!r}; there are {known}")
        values = self.per_query[key]
        counted = np.isfinite(values)
        weights = np.where(counted, self.weights.get(key, np.ones(len(values))), 0.0)
        return np.where(counted, values, 0.0) * weights, weights

    def per_class(self) -> dict[str, dict[str, float]]:
        """Every metric over the queries of one class: class name -> metric key -> value, NaN if no query counts.

        Raises:
            EvaluationError: when the query labels are unknown.
        """
        if self.query_labels is None:
            raise EvaluationError("the query labels are unknown, so there are no classes")
        names, classes = np.unique(self.query_labels, return_inverse=True)
        table: dict[str, dict[str, float]] = {str(name): {} for name in names if name}
        for key in self.per_query:
            sums = (np.bincount(classes, part, minlength=len(names)) for part in self.sums(key))
            for name, value in zip(names, ratio(*sums), strict=True):
                if name:
                    table[str(name)][key] = float(value)
        return table

    def without(self, keys: Collection[str]) -> RetrievalResults:
        """The same results without some metrics."""

        def kept(values: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in values.items() if key not in keys}

        return replace(
            self,
            metrics=kept(self.metrics),
            per_query=kept(self.per_query),
            weights=kept(self.weights),
            definitions=tuple(metric for metric in self.definitions if metric.key not in keys),
        )

    def subset(self, mask: ArrayLike) -> RetrievalResults:
        """The results of some queries only; metrics are averaged again and the curve, a mean over all, is dropped.

        Args:
            mask: ``(Q,)`` bool, or indices of queries.

        Raises:
            EvaluationError: no query left, or none that counts.
        """
        chosen = np.arange(len(self.query_ids))[np.asarray(mask)]
        _require(len(chosen) > 0, "the subset holds no query")
        averages = {metric.key: self._average(metric, chosen) for metric in self.definitions}
        changes: dict[str, Any] = {"metrics": averages, "curve": None}
        for name in ("query_ids", "top", "scores", "query_labels", "relevant", "n_relevant"):
            value = getattr(self, name)
            changes[name] = None if value is None else value[chosen]
        for name in ("per_query", "weights"):
            changes[name] = {key: values[chosen] for key, values in getattr(self, name).items()}
        return replace(self, **changes)

    def _average(self, metric: Metric, chosen: Array | slice) -> float:
        numerators, denominators = self.sums(metric.key)
        classes = None if self.query_labels is None else label_codes(self.query_labels)[0][chosen]
        return metric.aggregate(numerators[chosen], denominators[chosen], classes)

    def save(self, path: str | Path) -> Path:
        """Write one file, atomically and without pickle: ``path`` if it ends in .npz, else ``path/results.npz``.

        Returns:
            The file written.

        Raises:
            CrosslensError: the disk is full or the folder cannot be written.
        """
        file = _file(path)
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        for group in ("per_query", "weights"):
            arrays.update({f"{group}/{key}": values for key, values in getattr(self, group).items()})
        header = {name: getattr(self, name) for name in _TEXTS}
        header |= {"format": FORMAT, "metrics": self.metrics, "definitions": [asdict(m) for m in self.definitions]}
        arrays["header"] = np.array(json.dumps(header, allow_nan=False))
        with atomic_path(file) as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, **arrays)
        return file

    @classmethod
    def load(cls, path: str | Path) -> RetrievalResults:
        """Read what `save` wrote, and check it again.

        Raises:
            EvaluationError: the file is missing, damaged, of another format or contradicts itself.
        """
        file = _file(path)
        try:
            with np.load(file, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                if header["format"] != FORMAT:
                    raise EvaluationError(f"{file} has format {header['format']}, this version reads {FORMAT}")
                fields: dict[str, Any] = {name: header[name] for name in (*_TEXTS, "metrics")}
                fields |= {"per_query": {}, "weights": {}}
                for name in set(stored.files) - {"header"}:
                    group, _, key = name.partition("/")
                    (fields[group] if key else fields)[key or name] = stored[name]
                return cls(**fields, definitions=tuple(Metric(**metric) for metric in header["definitions"]))
        except FileNotFoundError:
            raise EvaluationError(f"{file} is missing; evaluate and save first") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as cause:
            raise EvaluationError(f"{file} cannot be read as results ({cause}); evaluate again") from cause


def evaluate_retrieval(
    queries: ArrayLike,
    gallery: ArrayLike,
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    query_ids: Sequence[str] | Array | None = None,
    gallery_ids: Sequence[str] | Array | None = None,
    metrics: Sequence[Metric] | None = None,
    convention: str = "standard",
    depth: int = 100,
    exclude_same_id: bool = False,
    query_domain: str = "",
    gallery_domain: str = "",
    precision: Precision = "float32",
    memory_budget: int = DEFAULT_MEMORY,
) -> RetrievalResults:
    """Rank the gallery for every query by inner product and measure it, in one pass and bounded memory.

    Args:
        queries, gallery: ``(Q, D)`` and ``(G, D)`` finite features; unit rows make the scores cosines.
        query_labels, gallery_labels: ``(Q,)`` and ``(G,)`` class names; None or "" for an item without one. Such a
            query does not count, and such a gallery item is relevant to nothing.
        query_ids, gallery_ids: ``(Q,)`` and ``(G,)`` distinct strings; made up when left out.
        metrics: what to compute; the convention's own when left out.
        convention: a name in `CONVENTIONS`, which ``metrics`` must then follow, or any other name.
        depth: ranks to keep, at most the gallery size (less one where a query's own item is left out).
        exclude_same_id: leave the item with the query's id out of its gallery, and so out of n_rel.
        query_domain, gallery_domain: kept for reports.
        precision: arithmetic of the scores.
        memory_budget: bytes for the rankings under way.

    Raises:
        EvaluationError: features that are not finite or do not fit, labels or ids of the wrong number,
            metrics that break the convention, ``exclude_same_id`` without ids, or no query that counts.
    """
    chosen = choose_metrics(convention, metrics)
    _require(depth >= 1, f"depth must be at least 1, not {depth}")
    named = query_ids is not None and gallery_ids is not None
    _require(named or not exclude_same_id, "exclude_same_id needs query_ids and gallery_ids")
    rows, items = len(np.asarray(queries)), len(np.asarray(gallery))
    _require(len(query_labels) == rows, f"{rows} queries but {len(query_labels)} query labels")
    _require(len(gallery_labels) == items, f"{items} gallery items but {len(gallery_labels)} gallery labels")
    left, right = _ids("query", query_ids, rows), _ids("gallery", gallery_ids, items)
    left_codes, right_codes = label_codes(query_labels, gallery_labels)
    exclude = self_matches(left, right) if exclude_same_id else np.full(rows, -1)
    n_relevant = relevant_counts(left_codes, right_codes, exclude)
    sizes = items - (exclude >= 0)
    smallest = int(sizes.min(initial=items))
    _require(smallest >= 1, "the gallery holds nothing but the query itself")
    for metric in chosen:
        metric.check_empty(n_relevant)

    all_ranks = any(metric.needs_all_ranks for metric in chosen)
    accumulator = MetricAccumulator(chosen, curve=all_ranks)
    kept: list[tuple[Array, Array, Array]] = []
    # Nothing can be said of how well a query is answered that may be of any class.
    asking = left_codes >= 0
    _require(asking.any(), "no query has a label, so nothing can be measured")
    for chunk in judged_chunks(
        queries,
        gallery,
        left_codes,
        right_codes,
        top=depth if all_ranks else max([depth, *(metric.k or 1 for metric in chosen)]),
        all_ranks=all_ranks,
        tie_scores=any(metric.ties == "expected" for metric in chosen),
        exclude=exclude,
        precision=precision,
        memory_budget=memory_budget,
    ):
        rows_asking = asking[chunk.queries]
        accumulator.update(
            chunk.relevance[rows_asking],
            n_relevant[chunk.queries][rows_asking],
            gallery_size=sizes[chunk.queries][rows_asking],
            scores=None if chunk.tie_scores is None else chunk.tie_scores[rows_asking],
            classes=left_codes[chunk.queries][rows_asking],
        )
        cut = min(depth, smallest)
        kept.append((chunk.order[:, :cut].copy(), chunk.scores[:, :cut].copy(), chunk.relevance[:, :cut].copy()))
    tops, scores, relevant = (np.concatenate(part) for part in zip(*kept, strict=True))
    pooled = [metric.key for metric in chosen if metric.average == "micro"]
    return RetrievalResults(
        query_ids=left,
        gallery_ids=right,
        top=tops,
        scores=scores,
        query_labels=_names(query_labels),
        gallery_labels=_names(gallery_labels),
        relevant=relevant,
        n_relevant=n_relevant,
        per_query={key: _spread(values, asking, np.nan) for key, values in accumulator.per_query().items()},
        weights={key: _spread(accumulator.sums(key)[1], asking, 0.0) for key in pooled},
        metrics=accumulator.compute(),
        definitions=tuple(chosen),
        convention=convention,
        query_domain=query_domain,
        gallery_domain=gallery_domain,
        curve=accumulator.curve(),
        precision=precision,
    )


def label_codes(*labels: Labels) -> tuple[Array, ...]:
    """Turn label names into integer codes shared by all the lists given; None and "" become -1.

    Returns:
        One ``(N,) int32`` array a list.
    """
    names = [_names(part) for part in labels]
    known, codes = np.unique(np.concatenate(names), return_inverse=True)
    shift = int(len(known) > 0 and known[0] == "")
    return tuple(np.split((codes - shift).astype(np.int32), np.cumsum([len(part) for part in names])[:-1]))


def self_matches(query_ids: Array, gallery_ids: Array) -> Array:
    """``(Q,) int64`` gallery index of the item with the query's own id, -1 where the gallery lacks it."""
    place = {identity: index for index, identity in enumerate(gallery_ids.tolist())}
    return np.array([place.get(identity, -1) for identity in query_ids.tolist()], dtype=np.int64)


def _names(labels: Labels) -> Array:
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "U":
        return labels
    wrong = [label for label in labels if not (label is None or isinstance(label, str))]
    _require(not wrong, f"labels are class names, not {wrong[:1]}; give strings or None")
    return np.array(["" if label is None else label for label in labels], dtype=np.str_)


def _spread(values: Array, mask: Array, other: float) -> Array:
    """``(Q,)`` with ``values`` where ``mask`` is true and ``other`` elsewhere."""
    spread = np.full(len(mask), other)
    spread[mask] = values
    return spread


def _ids(side: str, ids: Sequence[str] | Array | None, count: int) -> Array:
    if ids is None:
        return np.array([f"{side}-{index}" for index in range(count)], dtype=np.str_)
    _require(len(ids) == count, f"{count} {side} features but {len(ids)} {side}_ids")
    return np.asarray(ids, dtype=np.str_)


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".npz" else path / "results.npz"


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise EvaluationError(message)
