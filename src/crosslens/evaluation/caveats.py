"""What makes numbers better, or other, than they would be: copies of a query in its gallery, and tied answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from crosslens.data.catalog import Catalog
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.support.addresses import Place
from crosslens.support.file_stamp import stamps_of
from crosslens.support.members import read_bytes

# Of the queries: fewer with tied answers are coincidences of rounding.
_TIED_SHARE = 0.01
# Of a metric, as far as it is printed.
_MOVED = 0.001


def copied_queries(directions: Sequence[RetrievalResults], catalog: Catalog) -> tuple[list[int], str]:
    """How many queries of each direction have the same file, under the same label, in their gallery.

    Returns:
        One number a direction, and a sentence about them or "".
    """
    used = {image for result in directions for image in (*result.query_ids.tolist(), *result.gallery_ids.tolist())}
    digests = _shared_files(catalog.with_ids(used))
    counts, example = [], ""
    for result in directions:
        answers = {digests[image]: image for image in result.gallery_ids.tolist() if image in digests}
        found = [image for image in result.query_ids.tolist() if digests.get(image) in answers]
        counts.append(len(found))
        if found and not example:
            example = f"{found[0]} and {answers[digests[found[0]]]}"
    if not example:
        return counts, ""
    sentence = (
        f"{sum(counts)} queries have the very same file in the gallery, such as {example}: a hit that is easy to"
    )
    return counts, f"{sentence} find and says little; 'crosslens data check --duplicates' lists such files"


def expected_over_ties(
    result: RetrievalResults, queries: ArrayLike, gallery: ArrayLike
) -> tuple[dict[str, float], str]:
    """Metrics as their mean over the orders of tied items, where the order in which these happen to lie matters.

    Args:
        result: of ranking ``gallery`` for ``queries``.
        queries, gallery: ``(Q, D)`` and ``(G, D)``, as they were ranked.

    Returns:
        Value by key, without the metrics that have no such mean, and a sentence; both empty where ties move none.
    """
    tied = (result.scores[:, 1:] == result.scores[:, :-1]).any(axis=1)
    if any(metric.ties == "expected" for metric in result.definitions):
        return {}, ""
    labels = result.query_labels, result.gallery_labels
    if labels[0] is None or labels[1] is None or not len(tied) or tied.mean() < _TIED_SHARE:
        return {}, ""
    plain = Metric("AP", tag="plain", empty="skip")
    own = [m for m in result.definitions if m.interpolation == "none" and m.denominator != "hits"]
    asked = [plain, replace(plain, tag="mean", ties="expected"), *(replace(m, ties="expected") for m in own)]
    measured = evaluate_retrieval(
        queries, gallery, labels[0], labels[1], metrics=asked, convention="ties", depth=1
    )
    found = dict(measured.metrics)
    before, after = found.pop("map@all-plain"), found.pop("map@all-mean")
    moved = [abs(value - result.metrics[key]) for key, value in found.items()]
    if max([abs(before - after), *moved]) < _MOVED:
        return {}, ""
    key = "map@all" if "map@all" in found else next(iter(found), None)
    if key is not None:
        before, after = result.metrics[key], found[key]
    return found, (
        f"{result.query_domain} -> {result.gallery_domain}: {tied.mean():.0%} of the queries have answers with"
        f" equal scores, whose order in the gallery counts: {key or 'mAP@all'} is {before:.3f} in this order and"
        f" {after:.3f} as the mean over all (--ties expected)"
    )


def _shared_files(catalog: Catalog) -> dict[str, str]:
    """Digest by image id, of files that lie in another domain too under the same label."""
    groups: dict[tuple[str | None, int], list[tuple[str, str, Place]]] = {}
    paths = catalog.paths
    rows = zip(catalog.ids, catalog.column("domain"), catalog.labels, paths, stamps_of(paths), strict=True)
    for image, domain, label, path, stamp in rows:
        if stamp is not None:
            groups.setdefault((label, stamp.size), []).append((image, domain, path))
    shared: dict[str, str] = {}
    for alike in groups.values():
        if len({domain for _, domain, _ in alike}) < 2:
            continue
        digests = {image: _digest(path) for image, _, path in alike}
        shared |= {image: digest for image, digest in digests.items() if digest}
    return shared


def _digest(path: Place) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError:
        return ""
