"""The verbs of the command line as Python functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosslens.backbones import load_backbone
from crosslens.catalog import Catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.errors import ConfigError, EvaluationError
from crosslens.evaluation.compare import Comparison, compare_evaluations
from crosslens.evaluation.conventions import DEFAULT_KS
from crosslens.evaluation.label_accuracy import LABELS, label_accuracy
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.protocols import PROTOCOLS
from crosslens.evaluation.scenarios import KINDS, Scenario
from crosslens.evaluation.zero_shot import unseen_classes
from crosslens.features.embed import EmbedReport, embed_catalog
from crosslens.fitting import Source, fit, open_catalog, scenario_for
from crosslens.images.decode import DecodeMode
from crosslens.labels.wording import same_class
from crosslens.training.run import Run

_RECONSTRUCTIONS = {"clair": "CLAIR", "text-map": "CLAIR", "tki": "TKI"}
__all__ = ["Source", "compare", "embed", "evaluate", "fit", "open_catalog"]


def embed(
    source: Source,
    *,
    out: str | Path,
    backbone: str = "lite",
    views: int = 0,
    decode: DecodeMode = "exact",
    device: str | None = None,
    workers: int | None = None,
    shard_size: int = 2048,
) -> EmbedReport:
    """Embed every image of ``source`` into the feature folder ``out``; see ``features.embed.embed_catalog``."""
    network = load_backbone(backbone, decode=decode)
    return embed_catalog(
        open_catalog(source),
        network,
        Path(out),
        views=views,
        device=device,
        workers=workers,
        shard_size=shard_size,
    )


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
        only: ids to measure on; all by default, or those that a supervised run did not train on.
        features: a feature folder, or None for the cache.
        device: where to embed; None chooses.
        unseen: for the protocol ``zero-shot``, as in ``fit``; a run's own by default.
        generalised: for ``zero-shot``: the gallery holds seen classes too.
        seed: of the draw where ``unseen`` is a number.

    Raises:
        ConfigError: for an unknown protocol, or ``unseen`` with a protocol that has none.
        EvaluationError: when the protocol cannot be applied to these images.
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    run = None if isinstance(encoder, Encoder) else _run_at(Path(encoder))
    marks: list[str] = []
    if run is not None:
        config = run.config()
        source = run.catalog() if source is None else source
        own = Scenario.from_json(config["scenario"]) if config.get("scenario") else None
        if own is not None and domains is None and scenario is None:
            protocol = protocol or own.kind
            mirror = protocol == own.mirrored.kind != own.kind
            if protocol in KINDS and (mirror or protocol == own.kind):
                scenario = own.mirrored if mirror else own
                domains = config["domains"][::-1] if mirror else config["domains"]
            else:
                marks.append(f"trained on the classes of a {own.kind} scenario only")
        domains = domains or config["domains"]
        held_out = run.read_held_out()
        if held_out is not None:
            only = held_out if only is None else only & held_out
            marks.append("supervised: measured on the held-out images only")
        marks += _marks(run)
    if source is None:
        raise ConfigError("give the images to evaluate on; only a run remembers its own")
    loaded = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    catalog = open_catalog(source)
    protocol = protocol or (scenario.kind if scenario else "pairs")
    options: dict[str, Any] = {}
    if protocol == "zero-shot":
        options = {"unseen": _unseen(run, catalog, unseen, seed), "generalised": generalised}
    elif unseen is not None or generalised:
        raise ConfigError(f"the protocol {protocol} has no unseen classes; use --protocol zero-shot")
    if protocol in KINDS:
        scenario = scenario_for(scenario or protocol, catalog, tuple(domains or catalog.domains))
        if scenario.kind != protocol:
            raise ConfigError(f"the scenario is {scenario.kind}, the protocol {protocol}; give one of the two")
        options["scenario"] = scenario
    elif scenario is not None:
        raise ConfigError(f"the protocol {protocol} takes no scenario")
    kind = protocol

    def measure(encoder: Encoder, marks: list[str]) -> Evaluation:
        return PROTOCOLS[kind](
            encoder,
            catalog,
            domains=domains,
            convention=convention,
            ks=ks,
            depth=depth,
            only=only,
            features=None if features is None else Path(features),
            device=device,
            marks=marks,
            **options,
        )

    result = measure(loaded, marks)
    if run is not None and (run.folder / LABELS).is_file():
        result = replace(result, extra={**result.extra, "pseudo_labels": label_accuracy(run.folder, catalog)})
    if run is not None:
        metrics = {protocol: result.to_json()}
        if (run.oracle_folder / "config.json").is_file():
            best = measure(Encoder.load(run.oracle_folder), [*marks, "oracle: labels chose the epoch"])
            metrics["oracle-best"] = best.to_json()
        run.write_metrics((run.read_metrics() or {}) | metrics)
    return result


def compare(
    encoders: Sequence[str | Path],
    source: Source | None = None,
    *,
    metric: str = "map@all",
    domains: Sequence[str] | None = None,
    **options: Any,
) -> tuple[list[Evaluation], list[Comparison]]:
    """Measure several encoders on the same images and hold each against the first, query by query.

    Where one was trained with labels, all are measured on the images it did not see.

    Args:
        encoders: runs, encoder folders or backbones, at least two.
        source: labelled images; those of the first run among ``encoders`` by default.
        metric: what is compared, such as ``map@all``.
        domains: the domains to rank between; those of the first run by default, and its scenario.
        options: see ``evaluate``.

    Returns:
        One evaluation per encoder, and one comparison for each but the first.

    Raises:
        ConfigError: for fewer than two encoders, or when no images are known.
        EvaluationError: when the metric has no per-query values.
    """
    if len(encoders) < 2:
        raise ConfigError("compare takes at least two runs, encoders or backbones")
    places = [_run_at(Path(place)) for place in encoders]
    runs = [run for run in places if run is not None]
    if runs:
        source = runs[0].catalog() if source is None else source
        trained_for = runs[0].config().get("scenario")
        if trained_for and domains is None and not options.get("protocol"):
            options["scenario"] = Scenario.from_json(trained_for)
        domains = domains or runs[0].config()["domains"]
    held_out = [ids for ids in (run.read_held_out() for run in runs) if ids is not None]
    only = set.intersection(*held_out) if held_out else None
    if source is None:
        raise ConfigError("give the images to compare on; only a run remembers its own")
    measured = [evaluate(load_encoder(e), source, domains=domains, only=only, **options) for e in encoders]
    # Here encoders are measured, not runs, so what must be said of a run is carried over.
    measured = [replace(m, marks=(*m.marks, *_marks(run))) for m, run in zip(measured, places, strict=True)]
    return measured, [compare_evaluations(measured[0], other, metric) for other in measured[1:]]


def _unseen(
    run: Run | None, catalog: Catalog, rule: str | int | Sequence[str] | None, seed: int
) -> tuple[str, ...]:
    """The classes to measure on; a run that was trained on one of them is refused."""
    own = tuple((run.config().get("unseen") or ()) if run is not None else ())
    if rule is None:
        return own
    chosen = unseen_classes(rule, catalog.classes, seed)
    if run is not None:
        seen = [name for name in chosen if not any(same_class(name, other) for other in own)]
        if seen:
            raise EvaluationError(
                f"the run {run.folder} may have learned from {', '.join(seen)}; it left out"
                f" {', '.join(own) or 'nothing'}. Fit it again with --unseen"
            )
    return chosen


def _run_at(path: Path) -> Run | None:
    return Run(path) if (path / "config.yaml").is_file() else None


def _marks(run: Run | None) -> list[str]:
    """What must be said beside every number of a run."""
    if run is None:
        return []
    config = run.config()
    marks = []
    if config.get("oracle"):
        told = "taught" if config["method"] == "clair" else "chose the number of clusters"
        marks.append(f"oracle: labels {told}")
    if config["method"] in _RECONSTRUCTIONS:
        marks.append(f"reconstruction of {_RECONSTRUCTIONS[config['method']]} from its abstract")
    return marks
