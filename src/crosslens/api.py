"""The verbs of the command line as Python functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crosslens.backbones import load_backbone
from crosslens.catalog import Catalog
from crosslens.class_names import read_class_names
from crosslens.encoder import Encoder, load_encoder
from crosslens.errors import CatalogError, ConfigError, EvaluationError, RunError
from crosslens.evaluation.compare import Comparison, compare_evaluations
from crosslens.evaluation.conventions import DEFAULT_KS
from crosslens.evaluation.label_accuracy import LABELS, label_accuracy
from crosslens.evaluation.protocols import PROTOCOLS, Evaluation
from crosslens.evaluation.scenarios import KINDS, Scenario
from crosslens.evaluation.zero_shot import unseen_classes, without_classes
from crosslens.features.embed import EmbedReport, embed_catalog
from crosslens.images.decode import DecodeMode
from crosslens.labels.wording import same_class
from crosslens.methods import method_class
from crosslens.methods.base import FitJob, Method, Tune, make_config
from crosslens.methods.oracle import Oracle
from crosslens.recipes import read_recipe
from crosslens.training.distributed import World, join_world
from crosslens.training.run import IMAGES, Run

Source = Catalog | str | Path


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


def fit(
    method: str,
    source: Source | None = None,
    *,
    out: str | Path,
    domains: Sequence[str] | None = None,
    backbone: str = "lite",
    tune: Tune | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    decode: DecodeMode = "exact",
    features: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    oracle: bool = False,
    classes: str | Path | Sequence[str] | None = None,
    unseen: str | int | Sequence[str] | None = None,
    scenario: Scenario | str | None = None,
) -> Run:
    """Fit a method and write its run folder, with the encoder of the last epoch in ``out/encoder``.

    Args:
        method: a name in ``crosslens.methods.METHODS``.
        source: the images: a folder, a manifest or a Catalog; methods that learn from texts alone need none.
        out: the run folder; must be new unless ``resume``.
        domains: the domains to learn from; all of the catalog's by default.
        backbone: a name for ``load_backbone``.
        tune: ``head`` on cached features, ``full`` for the backbone too, or ``prompts`` in a frozen CLIP; the
            recipe's, else ``head``.
        seed: of everything random.
        settings: keys of the method's configuration.
        recipe: a recipe's name or file; ``settings`` go on top of it.
        decode: ``exact`` or ``fast`` JPEG decoding.
        features: a feature folder from ``embed``; by default features are cached.
        device: where to train and embed; None chooses.
        workers: decoding threads; None takes one a processor.
        resume: continue the run in ``out``.
        oracle: use labels as the published code does: the true number of classes for clustering, and the epoch
            they like best kept beside the last one. Results are marked.
        classes: class names, or a file with one a line, for the methods that learn from names.
        unseen: classes that stay out of this fit, images and names alike, for the zero-shot protocol: names, a
            number to draw with ``seed``, or a published split; see ``evaluation.zero_shot.unseen_classes``.
        scenario: train on the images of a scenario alone (``partial``, ``open-set``): the first domain is the
            query's, the second the gallery's. A name draws its classes by the published rule.

    Returns:
        The run.

    Raises:
        CrosslensError: of the kind that fits, with what to do about it.
    """
    kind = method_class(method)
    values: dict[str, Any] = {}
    if recipe is not None:
        content = read_recipe(recipe)
        if content["method"] != method:
            raise ConfigError(f"the recipe {recipe} is for {content['method']}, not for {method}")
        values |= content.get("settings") or {}
        tune = tune or content.get("tune")
    values |= settings or {}
    tune = tune or "head"
    config = make_config(kind.Config, values, method)
    if tune not in kind.tunes:
        raise ConfigError(f"{method} has no --tune {tune}; it has {', '.join(kind.tunes)}")
    names = _class_names(kind, method, classes)
    if source is None and (kind.needs_images or domains):
        raise ConfigError(f"{method} learns from images; name them: a folder, a manifest or a list")
    labelled = Catalog.from_rows([], Path()) if source is None else open_catalog(source)
    everything = labelled
    chosen = tuple(domains or labelled.domains)
    if len(set(chosen)) != len(chosen):
        raise CatalogError(f"a domain is named twice: {', '.join(chosen)}")
    labelled = labelled.select(domains=chosen)
    left_out: tuple[str, ...] = ()
    if unseen is not None:
        left_out = unseen_classes(unseen, labelled.classes, seed)
        labelled = without_classes(labelled, left_out)
        names = tuple(name for name in names if not any(same_class(name, other) for other in left_out))
        if kind.needs_classes and not names:
            raise ConfigError(f"every name of --classes is unseen: {', '.join(left_out)}")
    if scenario is not None:
        scenario = _scenario(scenario, labelled, chosen)
        labelled = scenario.restrict(labelled, *chosen)
    network = load_backbone(backbone, decode=decode)
    folder = Path(out)
    resolved = {
        "method": method,
        **({} if source is None else _place(source, labelled)),
        "domains": list(chosen),
        "images": len(labelled),
        "backbone": backbone,
        "fingerprint": network.fingerprint.digest,
        "tune": tune,
        "seed": seed,
        "oracle": oracle,
        "settings": config.model_dump(mode="json"),
    }
    if names:
        resolved["classes"] = list(names)
    if left_out:
        resolved["unseen"] = list(left_out)
    if scenario is not None:
        resolved["scenario"] = scenario.to_json()
    world = join_world(_device(device))
    run = _start(folder, resolved, resume=resume, world=world)
    if isinstance(source, Catalog) and world.is_main:
        everything.write(folder / IMAGES)
    if run.is_finished:
        return run
    job = FitJob(
        catalog=labelled if kind.needs_labels else labelled.hide_labels(),
        domains=chosen,
        backbone=network,
        run=run,
        tune=tune,
        seed=seed,
        features=None if features is None else Path(features),
        device=device,
        workers=workers,
        world=world,
        oracle=Oracle.from_catalog(labelled) if oracle else None,
        classes=names,
        new_classes=bool(left_out),
    )
    if not world.is_main:
        _finish(kind(config).fit(job), run, world)
        return run
    try:
        with FileLock(folder / ".lock", timeout=0):
            _finish(kind(config).fit(job), run, world)
    except Timeout:
        raise RunError(f"another process is training in {folder}") from None
    return run


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
        if config.get("oracle"):
            told = "taught" if config["method"] == "clair" else "chose the number of clusters"
            marks.append(f"oracle: labels {told}")
        if config["method"] in ("clair", "text-map"):
            marks.append("reconstruction of CLAIR from its abstract")
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
        scenario = _scenario(scenario or protocol, catalog, tuple(domains or catalog.domains))
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
    runs = [run for run in (_run_at(Path(place)) for place in encoders) if run is not None]
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
    return measured, [compare_evaluations(measured[0], other, metric) for other in measured[1:]]


def open_catalog(source: Source) -> Catalog:
    """The catalog of a folder, a manifest, an image or a list; a Catalog is returned as it is.

    Raises:
        CatalogError: when there is nothing to read.
    """
    return source if isinstance(source, Catalog) else Catalog.open(source)


def _scenario(scenario: Scenario | str, catalog: Catalog, domains: tuple[str, ...]) -> Scenario:
    name = scenario if isinstance(scenario, str) else scenario.kind
    if len(domains) != 2:
        raise ConfigError(f"{name} needs a query and a gallery domain (--domains A,B), not {len(domains)} domains")
    return Scenario.draw_for(catalog, scenario, *domains) if isinstance(scenario, str) else scenario


def _class_names(kind: type[Method], method: str, classes: str | Path | Sequence[str] | None) -> tuple[str, ...]:
    if classes is None:
        if kind.needs_classes:
            raise ConfigError(f"{method} learns from class names; give --classes FILE with one name a line")
        return ()
    if not kind.needs_classes:
        raise ConfigError(f"{method} learns without class names; leave --classes out")
    return read_class_names(classes)


def _place(source: Source, catalog: Catalog) -> dict[str, str]:
    place = Path(IMAGES) if isinstance(source, Catalog) else Path(source).resolve()
    return {"source": str(place), "root": str(catalog.root.resolve())}


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


def _device(device: str | None) -> Any:
    import torch

    if device:
        return torch.device("cpu" if device == "torch-cpu" else device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _start(folder: Path, resolved: dict[str, Any], *, resume: bool, world: World) -> Run:
    if world.is_main:
        run = Run.start(folder, resolved, resume=resume)
        world.barrier()
        return run
    world.barrier()
    return Run(folder)


def _finish(encoder: Encoder, run: Run, world: World) -> None:
    if world.is_main:
        encoder.save(run.encoder_folder)
    world.barrier()


def _run_at(path: Path) -> Run | None:
    return Run(path) if (path / "config.yaml").is_file() else None
