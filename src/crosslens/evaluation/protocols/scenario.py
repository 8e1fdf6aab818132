"""Close-set, partial and open-set retrieval, and "no match" as an answer (UEM, section 4 and appendix B)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosslens.encoder import Encoder
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.measured import (
    WITH_CODA,
    Evaluation,
    Side,
    encode_domain,
    labelled_part,
    rank,
    rank_directions,
)
from crosslens.evaluation.plan import Plan
from crosslens.features.of_encoder import features_of_encoder
from crosslens.ops.calibration import (
    LEAST,
    SCORES,
    MatchCalibration,
    centre_features,
    expected_calibration_error,
)
from crosslens.ops.cluster_count import estimate_clusters
from crosslens.ops.private import cluster_sides, detect_by_spread, detect_private
from crosslens.support.errors import ConfigError, EvaluationError, StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.features.load import Features

CODA_MAP = Metric("AP", average="class", interpolation="voc", tag="voc-class")
"""mAP@all as CoDA's scorer has it; the paper says its metric follows CoDA, not which of CoDA's choices."""


def evaluate_scenario(encoder: Encoder, plan: Plan) -> Evaluation:
    """Rank the gallery domain for the query domain, each with its own classes, and judge "no match".

    Retrieval is measured on the queries whose class the gallery has, against the whole gallery with its private
    classes. Where there are other queries, ``extra["no_match"]`` says how well they are told apart.

    Args:
        encoder: gives unit vectors.
        plan: with labelled images of all classes, the scenario, and the query domain and the gallery domain in
            this order. In a close-set scenario, where the two sides are alike, both directions are ranked.

    Raises:
        EvaluationError: unless two domains are given, for an unknown convention, or when a domain has none of its
            classes.
    """
    how, scenario = plan.how, plan.scenario
    if scenario is None:
        raise EvaluationError("the plan has no scenario: which classes query and gallery have")
    metrics = [metric for metric in how.metrics() if metric.key != CODA_MAP.key] + [CODA_MAP]
    domains = plan.chosen_domains
    if len(domains) != 2:
        raise EvaluationError(
            f"{scenario.kind} ranks one domain for another; name the query's and the gallery's: --domains A,B"
        )
    catalog, unlabelled = labelled_part(plan.images(), domains)
    catalog = scenario.restrict(catalog, *domains)
    found = features_of_encoder(catalog, encoder, folder=how.features, device=how.device)
    parts = [found.of_domain(domain) for domain in domains]
    sides = [encode_domain(encoder, part, domain) for part, domain in zip(parts, domains, strict=True)]
    name = how.convention + WITH_CODA
    order = [(sides[0], sides[1])]
    if scenario.kind == "close-set" and not scenario.private_query and not scenario.private_gallery:
        order.append((sides[1], sides[0]))
    pairs = [(a.of_classes(b.answering().labels), b) for a, b in order]
    ranked = rank_directions(pairs, metrics, name, how.depth, how.goal)
    extra: dict[str, Any] = {"scenario": scenario.to_json()}
    asking, answering = sides[0].asking(), sides[1].answering()
    answered = set(answering.labels)
    has_match = np.array([label in answered for label in asking.labels], dtype=bool)
    if has_match.any() and not has_match.all():
        clusters = _clusters(encoder, (asking, answering))
        plain = _plain(parts[0], asking), _plain(parts[1], answering)
        extra["no_match"] = judge_no_match(asking.vectors, answering.vectors, has_match, clusters, plain)
        rejected = np.array(extra["no_match"].pop("rejected"), dtype=bool)
        values = ranked.directions[0].per_query.get("map@all")
        if values is None:
            # The convention has no mAP@all; what is told of the rejections is the plain one.
            matched = asking.of_classes(answering.labels)
            values = rank(matched, answering, [Metric("AP")], "mAP@all", 1).per_query["map@all"]
        penalised = np.where(rejected[has_match], 0.0, values)
        extra["no_match"]["map@all with wrongly rejected queries as 0"] = float(penalised.mean())
    return ranked.evaluation(
        scenario.kind,
        name,
        encoder,
        marks=plan.marks,
        skipped=len(found.skipped),
        unlabelled=unlabelled,
        extra=extra,
    )


_DEFAULT_RULES = ("backbone cosine, queries", "cosine, queries", "uem")
"""What decides who is rejected, the first that there is: what ``search --queries`` asks, and what stands in."""


def judge_no_match(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    has_match: NDArray[np.bool_],
    clusters: tuple[int, int],
    plain: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    *,
    spread_quantile: float = 0.95,
    merge_quantile: float = 0.25,
) -> dict[str, Any]:
    """Every way to say "no match", held against the truth.

    Args:
        queries: ``(Q, d)``, unit rows.
        gallery: ``(G, d)``, unit rows.
        has_match: ``(Q,)``, whether the gallery has the query's class; both values must occur.
        clusters: of queries and gallery, for the rules that count on clusters.
        plain: centred backbone features of queries and gallery, scored beside the encoder's as ``backbone ...``.
        spread_quantile, merge_quantile: of the two variants of the published rule; see ``detect_private``.

    Returns:
        Plain values. ``scores``: per score the AUROC and, calibrated on the queries and on the gallery alone, the
        expected calibration error. ``rules``: per rule the share of private queries rejected (Open-set Acc), of
        shared queries rejected (``false_rejection``), and the balanced accuracy. ``rejected``: the answers of the
        backbone's calibrated cosine (the encoder's without ``plain``) at probability 0.5, one a query. ``failed``:
        why a score could not be calibrated, such as vectors that are all alike. ``default``: the rule that
        ``rejected`` follows.

    Raises:
        EvaluationError: when all queries have a counterpart, or none has.
    """
    from sklearn.metrics import roc_auc_score

    if has_match.all() or not has_match.any():
        raise EvaluationError("queries with and without a counterpart are both needed to judge 'no match'")
    value: dict[str, Any] = {"scores": {}, "rules": {}, "failed": {}}
    rejections: dict[str, NDArray[np.bool_]] = {}
    spaces = {"": (queries, gallery)} | ({"backbone ": plain} if plain else {})
    for space, score in product(spaces, SCORES):
        asking, answering = spaces[space]
        row: dict[str, float] = {}
        for source, unlabelled in (("queries", asking), ("gallery", None)):
            if (source == "gallery" and score == "density") or min(len(gallery), len(queries)) < LEAST:
                continue
            try:
                made = MatchCalibration.fit(answering, unlabelled, score=score, clusters=clusters[1])
            except (ConfigError, StoreError) as error:
                value["failed"][f"{space}{score}, {source}"] = str(error)
                continue
            own = unlabelled is not None
            probability = made.probability(asking, own=own)
            row[f"auroc, {source}"] = float(roc_auc_score(has_match, made.scores(asking, own=own)))
            row[f"ece, {source}"] = expected_calibration_error(probability, has_match)
            rejections[f"{space}{score}, {source}"] = probability < 0.5
        value["scores"][f"{space}{score}"] = row
    a, b = torch.from_numpy(queries), torch.from_numpy(gallery)
    sides = cluster_sides(a, b, clusters)
    paper = detect_private(a, b, clusters, clustered=sides)
    rejections["uem"] = paper.private.numpy()
    wide = detect_private(a, b, clusters, spread_quantile=spread_quantile, clustered=sides)
    rejections[f"uem, spread quantile {spread_quantile:g}"] = wide.private.numpy()
    eager = detect_private(a, b, clusters, merge_quantile=merge_quantile, clustered=sides)
    rejections[f"uem, merge quantile {merge_quantile:g}"] = eager.private.numpy()
    rejections["cluster spread"] = detect_by_spread(a, b, clusters[0], clustered=sides[0]).numpy()
    for name, rejected in rejections.items():
        value["rules"][name] = _rule(rejected, has_match)
    value["rules"]["uem"] |= {
        "clusters_query": paper.clusters[0],
        "clusters_gallery": paper.clusters[1],
        "n_merged": paper.n_merged,
        "second_test_fired": int(paper.far.sum()),
    }
    value["default"] = next(name for name in _DEFAULT_RULES if name in rejections)
    value["rejected"] = rejections[value["default"]].tolist()
    return value


def _plain(part: Features, side: Side) -> NDArray[np.float32]:
    """Centred backbone features of the images of ``side``, which are some of ``part``."""
    wanted = set(side.ids)
    rows = np.array([image in wanted for image in part.catalog.ids], dtype=bool)
    return centre_features(part.centre[rows])


def _rule(rejected: NDArray[np.bool_], has_match: NDArray[np.bool_]) -> dict[str, float]:
    caught, wrong = float(rejected[~has_match].mean()), float(rejected[has_match].mean())
    return {"open_set_acc": caught, "false_rejection": wrong, "balanced_accuracy": (caught + 1 - wrong) / 2}


def _clusters(encoder: Encoder, sides: Sequence[Side]) -> tuple[int, int]:
    """What training took, or else an estimate."""
    known = encoder.trained.get("clusters") or {}
    counts = []
    for side in sides:
        count = known.get(side.domain) if isinstance(known, dict) else None
        count = count or (estimate_clusters(torch.from_numpy(side.vectors)) if len(side.vectors) >= 10 else 1)
        counts.append(min(int(count), len(side.vectors)))
    return counts[0], counts[1]
