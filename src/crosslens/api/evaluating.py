"""``evaluate`` and ``compare``: a run is measured on what it was trained for, and what must be said is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crosslens.api.fitting import Source, open_catalog, scenario_for
from crosslens.backbones.engine import require_device
from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.data.splits import Splits, mixed_splits, select_splits
from crosslens.encoder import Encoder, load_encoder
from crosslens.evaluation.caveats import copied_queries
from crosslens.evaluation.compare import Comparison, compare_evaluations
from crosslens.evaluation.conventions import DEFAULT_KS, Ties
from crosslens.evaluation.coverage import unmatched_marks
from crosslens.evaluation.label_accuracy import LABELS, label_accuracy
from crosslens.evaluation.learned import learned_images, own_images, unlearned_ids
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.protocols import PROTOCOLS
from crosslens.evaluation.protocols.universal import UNIVERSAL, find_universal, learned_marks
from crosslens.evaluation.protocols.zero_shot import unseen_classes
from crosslens.evaluation.scenarios import KINDS, Scenario
from crosslens.labels.wording import same_class
from crosslens.methods import method_class
from crosslens.support.errors import ConfigError, CrosslensError, EvaluationError
from crosslens.training.run import Run

_ALL_MATCHED = ("pairs", "zero-shot")
"""Protocols in which every query should have a counterpart; elsewhere some lack one by design."""


@dataclass(frozen=True)
class _Asked:
    """What a caller of ``evaluate`` or ``compare`` wants measured; None leaves it open."""

    protocol: str | None
    domains: Sequence[str] | None
    scenario: Scenario | None
    unseen: str | int | Sequence[str] | None
    generalised: bool
    only: set[str] | None
    seed: int
    split: Splits | None = None


@dataclass(frozen=True)
class _Plan:
    """What one encoder is measured on.

    Attributes:
        catalog: labelled images.
        protocol: a name in ``PROTOCOLS``.
        domains: to rank between; None takes all.
        scenario: the classes of query and gallery, for a protocol that has them.
        unseen: classes, for ``zero-shot``.
        generalised: whether the gallery of ``zero-shot`` holds seen classes too.
        only: ids to measure on; None takes all.
        marks: what must be said beside the numbers.
        notes: what else should be known of the images.
    """

    catalog: Catalog
    protocol: str
    domains: tuple[str, ...] | None
    scenario: Scenario | None
    unseen: tuple[str, ...] | None
    generalised: bool
    only: set[str] | None
    marks: tuple[str, ...]
    notes: tuple[str, ...]


def evaluate(
    encoder: Encoder | str | Path,
    source: Source | None = None,
    *,
    protocol: str | None = None,
    convention: str = "standard",
    domains: Sequence[str] | None = None,
    scenario: Scenario | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    depth: int = 100,
    only: set[str] | None = None,
    features: str | Path | None = None,
    device: str | None = None,
    unseen: str | int | Sequence[str] | None = None,
    generalised: bool = False,
    seed: int = 0,
    split: Splits | None = None,
    ties: Ties = "stable",
) -> Evaluation:
    """Measure an encoder, a run or a backbone on labelled images.

    A run is measured on its own domains and images unless others are given, and its numbers are written to its
    ``metrics.json``.

    Args:
        encoder: an Encoder, a run folder, an encoder folder or a backbone's name.
        source: labelled images; a run's own by default.
        protocol: a name in ``PROTOCOLS``; by default the scenario a run was trained for, else ``pairs``.
        convention: how metrics are defined; a name in ``CONVENTIONS``.
        domains: the domains to rank between.
        scenario: the classes of query and gallery; by default a run's own, else drawn by the published rule.
        ks: cuts of P@k.
        depth: ranks kept per query.
        only: ids to measure on; all by default. Images whose label a supervised run saw are left out in any case.
        features: a feature folder, or None for the cache.
        device: where to embed; None chooses.
        unseen: for the protocol ``zero-shot``, as in ``fit``; a run's own by default.
        generalised: for ``zero-shot``: the gallery holds seen classes too.
        seed: of the draw where ``unseen`` is a number.
        split: the splits to measure on, of images that are marked with some; all by default, which is noted.
        ties: ``stable`` ranks items with equal scores in the gallery's order, as the published codes do, and notes
            where that moves a number; ``expected`` takes the mean over all their orders.

    Raises:
        ConfigError: for an unknown protocol, a domain named twice, or ``unseen`` with a protocol that has none.
        EvaluationError: when the protocol cannot be applied to these images.
    """
    run = None if isinstance(encoder, Encoder) else _run_at(Path(encoder))
    plan = _plan(run, source, _Asked(protocol, domains, scenario, unseen, generalised, only, seed, split))
    settings: dict[str, Any] = {"convention": convention, "ks": ks, "depth": depth, "ties": ties}
    settings |= {"features": features, "device": device}
    result = _measured(encoder if isinstance(encoder, Encoder) else load_encoder(encoder), plan, **settings)
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
            metrics["oracle-best"] = _measured(Encoder.load(run.oracle_folder), chosen, **settings).to_json()
        run.write_metrics((run.read_metrics() or {}) | metrics)
    return result


def compare(
    encoders: Sequence[str | Path],
    source: Source | None = None,
    *,
    metric: str | None = None,
    protocol: str | None = None,
    domains: Sequence[str] | None = None,
    scenario: Scenario | None = None,
    unseen: str | int | Sequence[str] | None = None,
    generalised: bool = False,
    seed: int = 0,
    split: Splits | None = None,
    **settings: Any,
) -> tuple[list[Evaluation], list[Comparison]]:
    """Measure several encoders on the same images and hold each against the first, query by query.

    Where one was trained with labels, all are measured on the images it did not see.

    Args:
        encoders: runs, encoder folders or backbones, at least two.
        source: labelled images; those of the first run among ``encoders`` by default.
        metric: what is compared; by default ``map@all``, or the first of a convention that has none.
        protocol, domains, scenario, unseen: what all are measured on; by default what the first run is for.
        generalised, seed, split: see ``evaluate``.
        settings: ``convention``, ``ks``, ``depth``, ``ties``, ``features`` and ``device`` of ``evaluate``.

    Returns:
        One evaluation per encoder, and one comparison for each but the first.

    Raises:
        ConfigError: for fewer than two encoders, or when no images are known.
        EvaluationError: when the metric has no per-query values, the protocol cannot be applied to these images,
            or a run may have learned from a class that should be unseen.
    """
    if len(encoders) < 2:
        raise ConfigError("compare takes at least two runs, encoders or backbones")
    runs = [_run_at(Path(place)) for place in encoders]
    first = next((run for run in runs if run is not None), None)
    if source is None and first is None:
        raise ConfigError("give the images to compare on; only a run remembers its own")
    asked = _Asked(protocol, domains, scenario, unseen, generalised, None, seed, split)
    base = _plan(first, source, asked)
    limits = [ids for ids in (unlearned_ids(r, base.catalog) for r in runs if r is not None) if ids is not None]
    everyone = base.domains or base.catalog.domains
    asked = replace(asked, protocol=base.protocol, domains=everyone, scenario=base.scenario, unseen=base.unseen)
    asked = replace(asked, only=set.intersection(*limits) if limits else None)
    plans = [_plan(run, base.catalog, asked) for run in runs]
    measured = [
        _measured(load_encoder(place), plan, **settings) for place, plan in zip(encoders, plans, strict=True)
    ]
    keys = list(measured[0].directions[0].per_query)
    chosen = metric or ("map@all" if "map@all" in keys else keys[0])
    return measured, [compare_evaluations(measured[0], other, chosen) for other in measured[1:]]


def _plan(run: Run | None, source: Source | None, asked: _Asked) -> _Plan:
    """What a run, or another encoder for None, is measured on."""
    protocol, domains, scenario, only = asked.protocol, asked.domains, asked.scenario, asked.only
    if protocol is not None and protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if source is None and run is not None:
        source = run.catalog()
    if source is None:
        raise ConfigError("give the images to evaluate on; only a run remembers its own")
    catalog = select_splits(open_catalog(source), asked.split)
    # What the universal protocols do not find here they leave out and say so.
    as_here = Spelling(catalog.domains)
    domains = None if domains is None else tuple(map(as_here, domains))
    if domains is not None and len(set(domains)) != len(domains):
        raise ConfigError(f"a domain is named twice: {', '.join(domains)}")
    marks: list[str] = []
    own: Scenario | None = None
    if run is not None:
        config = run.config()
        trained = tuple(map(as_here, config["domains"] or ()))
        own = Scenario.from_json(config["scenario"]) if config.get("scenario") else None
        if own is not None and scenario is None:
            scenario, domains = _own_scenario(own, trained, protocol, domains)
        domains = domains or trained or None
        unlearned = unlearned_ids(run, catalog)
        if unlearned is not None:
            only = unlearned if only is None else only & unlearned
            whole = len(unlearned) == len(catalog)
            told = "trained with the labels of other images" if whole else "measured on the held-out images only"
            marks.append(f"supervised: {told}")
    if only is not None and not len(catalog.with_ids(only)):
        raise EvaluationError("no image is left to measure on: training saw the labels of all that were asked for")
    protocol = protocol or (scenario.kind if scenario else "pairs")
    chosen: tuple[str, ...] | None = None
    if protocol == "zero-shot":
        chosen = _unseen(run, catalog, asked.unseen, asked.seed)
    elif asked.unseen is not None or asked.generalised:
        raise ConfigError(f"the protocol {protocol} has no unseen classes; use --protocol zero-shot")
    if protocol in KINDS:
        scenario = scenario_for(scenario or protocol, catalog, tuple(domains or catalog.domains))
        if scenario.kind != protocol:
            raise ConfigError(f"the scenario is {scenario.kind}, the protocol {protocol}; give one of the two")
    elif scenario is not None:
        raise ConfigError(f"the protocol {protocol} takes no scenario")
    if own is not None and scenario not in (own, own.mirrored):
        marks.append(f"trained on the classes of its {own.kind} scenario only")
    if run is not None:
        marks += _universal_marks(run, protocol, catalog) if protocol in UNIVERSAL else []
        marks += run_marks(run)
    ranked = None if domains is None else tuple(domains)
    here = [row for row, domain in enumerate(catalog.column("domain")) if ranked is None or domain in ranked]
    mixed = mixed_splits(catalog.take(here)) if asked.split is None else ""
    notes = (mixed,) if mixed else ()
    return _Plan(catalog, protocol, ranked, scenario, chosen, asked.generalised, only, tuple(marks), notes)


def _universal_marks(run: Run, protocol: str, catalog: Catalog) -> list[str]:
    """Where the run's training knew, or may have known, what a universal protocol holds unseen."""
    config = run.config()
    setting, *more = protocol.split("-")
    benchmark = find_universal(catalog, random_split="random" in more)
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
    own: Scenario, trained: Sequence[str], protocol: str | None, domains: Sequence[str] | None
) -> tuple[Scenario | None, Sequence[str] | None]:
    """The scenario a run was trained for, where that is what is asked for, and its domains; else what was given.

    Args:
        own: with the query domain first in ``trained``.
        trained: the run's query and gallery domain.
        protocol, domains: asked for; None where it was left open.
    """
    for scenario, order in ((own, list(trained)), (own.mirrored, list(trained[::-1]))):
        given = list(domains) if domains is not None else None
        if given == order or (given is None and (protocol or own.kind) == scenario.kind):
            return (scenario, order) if protocol in (None, scenario.kind) else (None, domains)
    return None, domains


def _measured(
    encoder: Encoder,
    plan: _Plan,
    *,
    convention: str = "standard",
    ks: Sequence[int] = DEFAULT_KS,
    depth: int = 100,
    ties: Ties = "stable",
    features: str | Path | None = None,
    device: str | None = None,
) -> Evaluation:
    if device is not None:
        # Cached features need no device, and a name that is none should not pass for that.
        require_device(device)
    options: dict[str, Any] = {}
    if plan.unseen is not None:
        options = {"unseen": plan.unseen, "generalised": plan.generalised}
    elif plan.scenario is not None:
        options = {"scenario": plan.scenario}
    result = PROTOCOLS[plan.protocol](
        encoder,
        plan.catalog,
        domains=plan.domains,
        convention=convention,
        ks=ks,
        depth=depth,
        ties=ties,
        only=plan.only,
        features=None if features is None else Path(features),
        device=device,
        # An encoder folder remembers what its run said.
        marks=tuple(dict.fromkeys((*plan.marks, *encoder.trained.get("marks", ())))),
        **options,
    )
    copies, copied = copied_queries(result.directions, plan.catalog)
    unmatched = unmatched_marks(result.directions) if plan.protocol in _ALL_MATCHED else []
    averaged = ["items with equal scores are ranked as the mean over their orders"] if ties == "expected" else []
    notes = (*plan.notes, *averaged, *result.notes, *unmatched, *([copied] if copied else []))
    extra = {**result.extra, **({"copied_queries": copies} if copied else {})}
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


def _run_at(path: Path) -> Run | None:
    return Run(path) if (path / "config.yaml").is_file() else None


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
