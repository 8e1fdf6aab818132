"""``evaluate`` and ``compare``: a run is measured on what it was trained for, and what must be said is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosslens.api.evaluate_request import EvaluateRequest
from crosslens.api.fit_request import FitRequest
from crosslens.api.training_images import scenario_for
from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.data.plain_folders import tell_doubt
from crosslens.data.source import Source, open_catalog
from crosslens.data.splits import mixed_splits, select_splits
from crosslens.encoder import Encoder, load_encoder
from crosslens.evaluation.caveats import copied_queries
from crosslens.evaluation.compare import Comparisons, compare_evaluations, require_metric
from crosslens.evaluation.coverage import unmatched_marks
from crosslens.evaluation.goals import MARK as GOAL_MARK
from crosslens.evaluation.label_accuracy import LABELS, label_accuracy
from crosslens.evaluation.learned import learned_images, own_images, unlearned_ids
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.plan import Plan
from crosslens.evaluation.protocols import PROTOCOLS
from crosslens.evaluation.protocols.universal import UNIVERSAL, UniversalBenchmark, find_universal, learned_marks
from crosslens.evaluation.protocols.zero_shot import unseen_classes
from crosslens.evaluation.scenarios import KINDS, Scenario
from crosslens.labels.wording import same_class
from crosslens.methods import method_class
from crosslens.support.errors import ConfigError, CrosslensError, EvaluationError
from crosslens.support.near_names import did_you_mean
from crosslens.support.request import takes
from crosslens.training.run import Run

_ALL_MATCHED = ("pairs", "zero-shot")
"""Protocols in which every query should have a counterpart; elsewhere some lack one by design."""


@takes(EvaluateRequest)
def evaluate(encoder: Encoder | Run | str | Path, on: Source | None = None, **options: Any) -> Evaluation:
    """Measure an encoder, a run or a backbone on labelled images.

    A run is measured on its own domains and images unless others are given, and its numbers are written to its
    ``metrics.json``.

    Args:
        encoder: an Encoder, a run or its folder, an encoder folder or a backbone's name.
        on: labelled images; a run's own by default.
        options: of an ``EvaluateRequest``.

    Raises:
        ConfigError: for an unknown protocol, a domain named twice, ``unseen`` with a protocol that has none, or a
            universal split that cannot be read.
        EvaluationError: when the protocol cannot be applied to these images.
    """
    return measure(_place(encoder), EvaluateRequest.of(on=on, **options))


@takes(EvaluateRequest)
def compare(
    encoders: Sequence[Encoder | Run | str | Path],
    on: Source | None = None,
    *,
    metric: str | None = None,
    **options: Any,
) -> Comparisons:
    """Measure several encoders on the same images and hold each against the first, query by query.

    Where one was trained with labels, all are measured on the images it did not see.

    Args:
        encoders: as ``evaluate`` takes them, at least two.
        on: labelled images; those of the first run among ``encoders`` by default.
        metric: what is compared; by default ``map@all``, or the first of a convention that has none.
        options: of an ``EvaluateRequest``; what it leaves open is what the first run is for.

    Returns:
        One evaluation per encoder, and one comparison for each but the first; as a table, ``table``.

    Raises:
        ConfigError: for fewer than two encoders, or when no images are known.
        EvaluationError: when the metric has no per-query values, the protocol cannot be applied to these images,
            or a run may have learned from a class that should be unseen.
    """
    places = [_place(encoder) for encoder in encoders]
    return measure_and_compare(places, EvaluateRequest.of(on=on, **options), metric)


def measure(encoder: Encoder | str | Path, request: EvaluateRequest) -> Evaluation:
    """What ``evaluate`` does, for a request."""
    run = None if isinstance(encoder, Encoder) else _run_at(encoder)
    if run is None and request.on is None:
        # Says first where there is no such encoder.
        load_encoder(encoder)
    plan = _plan(run, request)
    result = _measured(load_encoder(encoder), plan)
    if plan.catalog.left_out:
        result = replace(result, extra={**result.extra, "left_out": dict(plan.catalog.left_out)})
    if run is not None and (run.folder / LABELS).is_file():
        accuracy = label_accuracy(run.folder, own_images(run, plan.catalog))
        if accuracy:
            result = replace(result, extra={**result.extra, "pseudo_labels": accuracy})
    if run is not None:
        metrics = {plan.protocol: result.to_json()}
        if (run.oracle_folder / "config.json").is_file():
            chosen = replace(plan, marks=(*plan.marks, "oracle: labels chose the epoch"))
            metrics["oracle-best"] = _measured(Encoder.load(run.oracle_folder), chosen).to_json()
        run.write_metrics((run.read_metrics() or {}) | metrics)
    return result


def measure_and_compare(
    encoders: Sequence[Encoder | str | Path], request: EvaluateRequest, metric: str | None = None
) -> Comparisons:
    """What ``compare`` does, for a request."""
    if len(encoders) < 2:
        raise ConfigError("compare takes at least two runs, encoders or backbones")
    runs = [None if isinstance(place, Encoder) else _run_at(place) for place in encoders]
    first = next((run for run in runs if run is not None), None)
    if request.on is None and first is None:
        raise ConfigError("give the images to compare on; only a run remembers its own")
    base = _plan(first, request)
    limits = [unlearned_ids(run, base.catalog) for run in runs if run is not None]
    kept = [frozenset(ids) for ids in (request.only, *limits) if ids is not None]
    alike = {
        "on": base.catalog,
        "protocol": base.protocol,
        "domains": tuple(base.domains or base.catalog.domains),
        "scenario": base.scenario,
        "unseen": base.unseen,
        "only": frozenset.intersection(*kept) if kept else None,
    }
    plans = [_plan(run, request.model_copy(update=alike)) for run in runs]
    measured = [_measured(load_encoder(encoders[0]), plans[0])]
    keys = list(measured[0].directions[0].per_query)
    if metric is not None:
        # Before the others are measured, which may take minutes each.
        require_metric(measured[0].directions[0], metric)
    more = zip(encoders[1:], plans[1:], strict=True)
    measured += [_measured(load_encoder(place), plan) for place, plan in more]
    chosen = metric or ("map@all" if "map@all" in keys else keys[0])
    names = [place.name if isinstance(place, Encoder) else str(place) for place in encoders]
    others = [
        compare_evaluations(measured[0], other, chosen, names=(names[0], name))
        for name, other in zip(names[1:], measured[1:], strict=True)
    ]
    return Comparisons(measured, others)


def _plan(run: Run | None, asked: EvaluateRequest) -> Plan:
    """What a run, or another encoder for None, is measured on."""
    protocol, domains, scenario, only = asked.protocol, asked.domains, asked.scenario, asked.only
    universal = asked.universal_split
    if protocol is not None and protocol not in PROTOCOLS:
        raise ConfigError(
            f"there is no protocol {protocol!r}; known: {', '.join(PROTOCOLS)}{did_you_mean(protocol, PROTOCOLS)}"
        )
    source = run.catalog() if asked.on is None and run is not None else asked.on
    if source is None:
        raise ConfigError("give the images to evaluate on; only a run remembers its own")
    catalog = open_catalog(source)
    if domains is None and run is None:
        tell_doubt(catalog, source)
    catalog = select_splits(catalog, asked.split)
    # What the universal protocols do not find here they leave out and say so.
    as_here = Spelling(catalog.domains)
    domains = None if domains is None else tuple(map(as_here, domains))
    if domains is not None and len(set(domains)) != len(domains):
        raise ConfigError(f"a domain is named twice: {', '.join(domains)}")
    marks: list[str] = []
    own: Scenario | None = None
    trained: tuple[str, ...] = ()
    if run is not None:
        fitted = FitRequest.of_run(run)
        trained = tuple(map(as_here, fitted.domains or ()))
        own = fitted.scenario if isinstance(fitted.scenario, Scenario) else None
        if own is not None and scenario is None:
            scenario, domains = _own_scenario(own, trained, protocol, domains)
        unlearned = unlearned_ids(run, catalog)
        if unlearned is not None:
            only = frozenset(unlearned if only is None else only & unlearned)
            whole = len(unlearned) == len(catalog)
            told = "trained with the labels of other images" if whole else "measured on the held-out images only"
            marks.append(f"supervised: {told}")
    if only is not None and not len(catalog.with_ids(only)):
        raise EvaluationError("no image is left to measure on: training saw the labels of all that were asked for")
    if protocol is None:
        left_out = asked.unseen is not None or asked.generalised or (run is not None and run.said("unseen"))
        protocol = scenario.kind if scenario else "zero-shot" if left_out else "pairs"
        # What is given beside the images says more than what a run was for.
        protocol = protocol if universal is None else universal.usual_protocol
    if protocol not in UNIVERSAL:
        # Those ask with domains that a run did not learn from; the split says which.
        domains = domains or trained or None
    unseen: tuple[str, ...] | None = None
    if protocol == "zero-shot":
        unseen = _unseen(run, catalog, asked.unseen, asked.seed)
    elif asked.unseen is not None or asked.generalised:
        raise ConfigError(f"the protocol {protocol} has no unseen classes; use --protocol zero-shot")
    chosen: Scenario | None = None
    if protocol in KINDS:
        chosen = scenario_for(scenario or protocol, catalog, tuple(domains or catalog.domains))
        if chosen.kind != protocol:
            raise ConfigError(f"the scenario is {chosen.kind}, the protocol {protocol}; give one of the two")
    elif scenario is not None:
        raise ConfigError(f"the protocol {protocol} takes no scenario")
    benchmark: UniversalBenchmark | None = None
    if protocol in UNIVERSAL:
        benchmark = find_universal(catalog, random_split="random" in protocol, own=universal)
    elif universal is not None:
        raise ConfigError(f"the protocol {protocol} takes no universal split; ucdr, uccdr and udcdr do")
    if own is not None and chosen not in (own, own.mirrored):
        marks.append(f"trained on the classes of its {own.kind} scenario only")
    if run is not None:
        marks += [] if benchmark is None else _universal_marks(run, protocol, benchmark)
        marks += run_marks(run)
    here = [row for row, domain in enumerate(catalog.column("domain")) if domains is None or domain in domains]
    mixed = mixed_splits(catalog.take(here)) if asked.split is None else ""
    return Plan(
        catalog=catalog,
        how=asked,
        protocol=protocol,
        domains=domains,
        only=only,
        scenario=chosen,
        unseen=unseen,
        generalised=asked.generalised,
        universal=universal,
        marks=tuple(marks),
        notes=(mixed,) if mixed else (),
    )


def _universal_marks(run: Run, protocol: str, benchmark: UniversalBenchmark) -> list[str]:
    """Where the run's training knew, or may have known, what a universal protocol holds unseen."""
    config = run.config()
    setting = protocol.partition("-")[0]
    told = learned_marks(benchmark, setting, classes=config.get("classes") or (), source="names")
    kind = method_class(config["method"])
    if not ("images" in kind.learns_from or (kind.words_domains and "source" in config)):
        return told
    try:
        images = learned_images(run)
    except CrosslensError as error:
        return [*told, f"whether training saw unseen classes cannot be checked: {error}"]
    if None in images.labels:
        told.append("training had images without a label, which may be of unseen classes")
    return told + learned_marks(
        benchmark, setting, classes=images.classes, source="images", domains=config["domains"]
    )


def _own_scenario(
    own: Scenario, trained: tuple[str, ...], protocol: str | None, domains: tuple[str, ...] | None
) -> tuple[Scenario | None, tuple[str, ...] | None]:
    """The scenario a run was trained for, where that is what is asked for, and its domains; else what was given.

    Args:
        own: with the query domain first in ``trained``.
        trained: the run's query and gallery domain.
        protocol, domains: asked for; None where it was left open.
    """
    for scenario, order in ((own, trained), (own.mirrored, trained[::-1])):
        if domains == order or (domains is None and (protocol or own.kind) == scenario.kind):
            return (scenario, order) if protocol in (None, scenario.kind) else (None, domains)
    return None, domains


def _measured(encoder: Encoder, plan: Plan) -> Evaluation:
    """What the plan's protocol says of an encoder, with what must be said beside it."""
    # An encoder folder remembers what its run said.
    aimed = (GOAL_MARK,) if plan.how.goal == "thing" else ()
    marks = tuple(dict.fromkeys((*plan.marks, *aimed, *encoder.trained.get("marks", ()))))
    result = PROTOCOLS[plan.protocol](encoder, replace(plan, marks=marks))
    if plan.protocol not in UNIVERSAL or plan.universal is not None:
        # The published ones have their own cuts, which papers report.
        result = result.within_gallery()
    copies, copied = copied_queries(result.directions, plan.catalog)
    unmatched = unmatched_marks(result.directions) if plan.protocol in _ALL_MATCHED else []
    expected = plan.how.ties == "expected"
    averaged = ["items with equal scores are ranked as the mean over their orders"] if expected else []
    notes = (*plan.notes, *averaged, *result.notes, *unmatched, *([copied] if copied else []))
    extra = {"goal": plan.how.goal, **result.extra, **({"copied_queries": copies} if copied else {})}
    return replace(result, notes=notes, extra=extra)


def _unseen(
    run: Run | None, catalog: Catalog, rule: str | int | Sequence[str] | None, seed: int
) -> tuple[str, ...]:
    """The classes to measure on; a run that was trained on one of them is refused."""
    own = tuple((run.config().get("unseen") or ()) if run is not None else ())
    if rule is None:
        return own
    chosen = unseen_classes(rule, catalog.classes, seed)
    if run is not None and method_class(run.config()["method"]).learns_from:
        seen = [name for name in chosen if not any(same_class(name, other) for other in own)]
        if seen:
            raise EvaluationError(
                f"the run {run.folder} may have learned from {', '.join(seen)}; it left out"
                f" {', '.join(own) or 'nothing'}. Fit it again with --unseen"
            )
    return chosen


def _place(encoder: Encoder | Run | str | Path) -> Encoder | str | Path:
    return encoder.folder if isinstance(encoder, Run) else encoder


def _run_at(place: str | Path) -> Run | None:
    run = Run.at(place)
    return run if (run.folder / "config.yaml").is_file() else None


def run_marks(run: Run) -> list[str]:
    """What must be said beside every number of a run."""
    config = run.config()
    marks = list(config.get("marks", ()))
    kind = method_class(config["method"])
    if config.get("oracle"):
        marks.append(f"oracle: labels {kind.oracle_mark}")
    if kind.reconstruction_of:
        marks.append(f"reconstruction of {kind.reconstruction_of} from its abstract")
    return marks
