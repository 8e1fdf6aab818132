"""``fit``: from images, or class names, to a run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.backbones.engine import require_device
from crosslens.data.catalog import Catalog
from crosslens.data.class_names import read_class_names
from crosslens.data.splits import Splits, select_training
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint, Looks
from crosslens.evaluation.protocols.zero_shot import unseen_classes, without_classes
from crosslens.evaluation.scenarios import Scenario
from crosslens.features.looks import looks_of
from crosslens.images.decode import DecodeMode
from crosslens.labels.wording import same_class
from crosslens.methods import method_class
from crosslens.methods.base import FitJob, Method, Tune, make_config, torch_device, without_removed
from crosslens.methods.oracle import Oracle
from crosslens.recipes import read_recipe
from crosslens.support.errors import CatalogError, ConfigError, RunError
from crosslens.support.progress import note
from crosslens.training.distributed import World, join_world
from crosslens.training.run import IMAGES, Run

Source = Catalog | str | Path
_NOTES = 3


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
    split: Splits | None = None,
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
        split: the splits to learn from, of images that are marked with some; ``train`` by default, and ``all``
            for every image. See ``splits.select_training``.

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
    if source is None and (kind.needs_images or (domains and not kind.words_domains)):
        raise ConfigError(f"{method} learns from images; name them: a folder, a manifest or a list")
    labelled = Catalog.from_rows([], Path()) if source is None else open_catalog(source)
    everything = labelled
    labelled, splits, left_aside = select_training(labelled, split)
    if left_aside:
        note(left_aside)
    asked = tuple(domains or labelled.domains)
    chosen = asked if source is None else labelled.domains_named(asked)
    if len(set(chosen)) != len(asked):
        raise CatalogError(f"a domain is named twice: {', '.join(asked)}")
    labelled = labelled if source is None else labelled.select(domains=chosen)
    left_out: tuple[str, ...] = ()
    marks = list(config.marks)
    if unseen is not None:
        left_out = unseen_classes(unseen, labelled.classes, seed)
        labelled = without_classes(labelled, left_out)
        seen = tuple(name for name in names if not any(same_class(name, other) for other in left_out))
        marks += ["names of unseen classes were seen"] if config.keeps_unseen_names and seen != names else []
        names = names if config.keeps_unseen_names else seen
        if "names" in kind.learns_from and not names:
            raise ConfigError(f"every name of --classes is unseen: {', '.join(left_out)}")
    if scenario is not None:
        scenario = scenario_for(scenario, labelled, chosen)
        labelled = scenario.restrict(labelled, *chosen)
    world = join_world(_device(device))
    network = load_backbone(backbone, decode=decode)
    folder = Path(out)
    network, fingerprint = _as_begun(network, Run(folder)) if resume else (network, network.fingerprint.digest)
    resolved = {
        "method": method,
        **({} if source is None else _place(source, labelled)),
        "domains": list(chosen),
        "images": len(labelled),
        "backbone": backbone,
        "fingerprint": fingerprint,
        "tune": tune,
        "seed": seed,
        "oracle": oracle,
        "settings": config.model_dump(mode="json"),
    }
    if splits:
        resolved["split"] = list(splits)
    if names:
        resolved["classes"] = list(names)
    if left_out:
        resolved["unseen"] = list(left_out)
    if scenario is not None:
        resolved["scenario"] = scenario.to_json()
    if marks:
        resolved["marks"] = marks
    run = _start(folder, resolved, kind, resume=resume, world=world)
    if isinstance(source, Catalog) and world.is_main:
        everything.write(folder / IMAGES)
    if run.is_finished:
        return run
    job = FitJob(
        catalog=labelled if "labels" in kind.learns_from else labelled.hide_labels(),
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
        _finish(kind(config).fit(job), job, kind, marks)
        return run
    try:
        with FileLock(folder / ".lock", timeout=0):
            _finish(kind(config).fit(job), job, kind, marks)
    except Timeout:
        raise RunError(f"another process is training in {folder}") from None
    return run


def open_catalog(source: Source) -> Catalog:
    """The catalog of a folder, a manifest, an image or a list; a Catalog is returned as it is.

    What was left out and may be an image, such as a file with a name in another encoding, is said.

    Raises:
        CatalogError: when there is nothing to read.
    """
    if isinstance(source, Catalog):
        return source
    catalog = Catalog.open(source)
    lost = [sentence for sentence in catalog.notes if "being no images" not in sentence]
    for sentence in lost[:_NOTES]:
        note(sentence)
    if len(lost) > _NOTES:
        note(f"{len(lost) - _NOTES} more such notes: crosslens data check {source}")
    return catalog


def scenario_for(scenario: Scenario | str, catalog: Catalog, domains: tuple[str, ...]) -> Scenario:
    """A scenario as it is, or one drawn by the published rule for a query and a gallery domain.

    Raises:
        ConfigError: unless two domains are given.
        EvaluationError: when it cannot be drawn from these classes.
    """
    name = scenario if isinstance(scenario, str) else scenario.kind
    if len(domains) != 2:
        raise ConfigError(f"{name} needs a query and a gallery domain (--domains A,B), not {len(domains)} domains")
    return Scenario.draw_for(catalog, scenario, *domains) if isinstance(scenario, str) else scenario


def _class_names(
    kind: type[Method[Any]], method: str, classes: str | Path | Sequence[str] | None
) -> tuple[str, ...]:
    if classes is None:
        if "names" in kind.learns_from:
            raise ConfigError(f"{method} learns from class names; give --classes FILE with one name a line")
        return ()
    if "names" not in kind.learns_from:
        raise ConfigError(f"{method} learns without class names; leave --classes out")
    return read_class_names(classes)


def _place(source: Source, catalog: Catalog) -> dict[str, str]:
    place = Path(IMAGES) if isinstance(source, Catalog) else Path(source).resolve()
    return {"source": str(place), "root": str(catalog.root.resolve())}


def _device(device: str | None) -> Any:
    if device:
        require_device(device)
    return torch_device(device)


def _as_begun(network: Backbone, run: Run) -> tuple[Backbone, str]:
    """A backbone as a run began with it, and what the run calls it.

    Version 0.1 named networks by their weights alone, and cropped for all of them as torchvision does.
    """
    older = copy.copy(network)
    older.preprocess = network.preprocess.model_copy(update={"margin": "round"})
    for begun in (network, older):
        name = begun.fingerprint.without_settings.digest
        if run.said("fingerprint") == name:
            return begun, name
    return network, network.fingerprint.digest


def _start(folder: Path, resolved: dict[str, Any], kind: type[Method[Any]], *, resume: bool, world: World) -> Run:
    def renewed(config: dict[str, Any]) -> dict[str, Any]:
        if config.get("method") != kind.name:
            return config
        return config | {"settings": without_removed(kind.Config, config.get("settings") or {}, kind.name)}

    if world.is_main:
        run = Run.start(folder, resolved, resume=resume, renewed=renewed)
        world.barrier()
        return run
    world.barrier()
    return Run(folder)


def _finish(encoder: Encoder, job: FitJob, kind: type[Method[Any]], marks: Sequence[str]) -> None:
    if job.world.is_main:
        learned = kind.needs_images or (kind.words_domains and len(job.catalog))
        centre = None if encoder.part(Joint) else encoder.part(Centre)
        # Means of the same features, where the encoder has some, tell domains already.
        if learned and (centre is None or len(centre.means) < 2):
            looks = looks_of(job.catalog, encoder, folder=job.features, device=job.device, workers=job.workers)
            encoder = encoder.with_part(Looks(looks))
        encoder.trained |= {"marks": list(marks)} if marks else {}
        encoder.save(job.run.encoder_folder)
    job.world.barrier()
