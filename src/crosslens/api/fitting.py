"""``fit``: from images, or class names, to a run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crosslens.api.auto.train_chosen import train_chosen
from crosslens.api.fit_request import FitRequest
from crosslens.api.training_images import TrainingImages, select_images
from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.data.class_names import read_class_names
from crosslens.data.source import Source
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint, Looks
from crosslens.features.looks import looks_of
from crosslens.labels.wording import same_class
from crosslens.methods import AUTO, method_class
from crosslens.methods.base import FitJob, Method, make_config, torch_device, without_removed
from crosslens.methods.oracle import Oracle
from crosslens.support.errors import ConfigError, RunError
from crosslens.support.progress import note
from crosslens.support.request import takes
from crosslens.training.distributed import World, join_world
from crosslens.training.run import IMAGES, Run


@takes(FitRequest, without=("settings",))
def fit(
    method: str,
    source: Source | None = None,
    *,
    out: str | Path,
    set: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Fit a method and write its run folder, with the encoder of the last epoch in ``out/encoder``.

    Args:
        method: a name in ``crosslens.methods.METHODS``, or ``auto`` to have one chosen by what there is.
        source: the images: a folder, a manifest or a Catalog; methods that learn from texts alone need none.
        out: the run folder; must be new unless ``resume``.
        set: keys of the method's configuration with their values, as ``--set`` takes them.
        options: of a ``FitRequest``.

    Returns:
        The run.

    Raises:
        CrosslensError: of the kind that fits, with what to do about it.
    """
    if set is not None and "settings" in options:
        raise ConfigError("'settings' is the earlier name of 'set': give one of them")
    chosen = {} if set is None else {"settings": set}
    return train(FitRequest.of(**options, **chosen, method=method, source=source, out=out))


def train(request: FitRequest) -> Run:
    """What ``fit`` does, for a request."""
    asked = request.with_recipe()
    return train_chosen(asked, _train_method) if asked.method == AUTO else _train_method(asked)


def _train_method(
    asked: FitRequest, selected: TrainingImages | None = None, chosen_because: Mapping[str, Any] | None = None
) -> Run:
    """Train the method that a request names.

    Args:
        asked: without a recipe.
        selected: what ``select_images`` took for it, where that was done before.
        chosen_because: what ``config.yaml`` says under ``auto`` of a method that nobody named.
    """
    method, source = asked.method, asked.source
    kind = method_class(method)
    tune = asked.tune or "head"
    config = make_config(kind.Config, asked.settings or {}, method)
    if tune not in kind.tunes:
        raise ConfigError(f"{method} has no --tune {tune}; it has {', '.join(kind.tunes)}")
    names = _class_names(kind, method, asked.classes)
    if source is None and (kind.needs_images or (asked.domains and not kind.words_domains)):
        raise ConfigError(f"{method} learns from images; name them: a folder, a manifest or a list")
    selected = selected or select_images(asked)
    labelled, left_out = selected.images, selected.unseen
    if selected.left_aside:
        note(selected.left_aside)
    marks = list(config.marks)
    if left_out:
        seen = tuple(name for name in names if not any(same_class(name, other) for other in left_out))
        marks += ["names of unseen classes were seen"] if config.keeps_unseen_names and seen != names else []
        names = names if config.keeps_unseen_names else seen
        if "names" in kind.learns_from and not names:
            raise ConfigError(f"every name of --classes is unseen: {', '.join(left_out)}")
    world = join_world(torch_device(asked.device))
    network = load_backbone(asked.backbone, decode=asked.decode)
    folder = asked.out
    began = _as_begun(network, Run(folder)) if asked.resume else (network, network.fingerprint.digest)
    network, fingerprint = began
    resolved = asked.model_copy(
        update={
            "domains": selected.domains,
            "tune": tune,
            "settings": config.model_dump(mode="json"),
            "split": selected.splits,
            "classes": names,
            "unseen": left_out,
            "scenario": selected.scenario,
        }
    )
    record = resolved.record(labelled, fingerprint) | ({"marks": marks} if marks else {})
    record |= {"auto": dict(chosen_because)} if chosen_because else {}
    run = _start(folder, record, kind, resume=asked.resume, world=world)
    if isinstance(source, Catalog) and world.is_main:
        selected.everything.write(folder / IMAGES)
    if run.is_finished:
        return run
    job = FitJob(
        catalog=labelled if "labels" in kind.learns_from else labelled.hide_labels(),
        domains=selected.domains,
        backbone=network,
        run=run,
        tune=tune,
        seed=asked.seed,
        features=asked.features,
        device=asked.device,
        workers=asked.workers,
        world=world,
        oracle=Oracle.from_catalog(labelled) if asked.oracle else None,
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
        # Who chose the method changes nothing of it, nor do files that nothing is learned from.
        config = config | {key: resolved.get(key) for key in ("auto", "left_out")}
        if config.get("method") != kind.name:
            return config
        # What came since a run began has its default there.
        since = kind.Config.model_construct().model_dump(mode="json")
        settings = without_removed(kind.Config, config.get("settings") or {}, kind.name)
        return config | {"settings": since | settings}

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
        # A finished run is never resumed.
        job.run.drop_checkpoints()
    job.world.barrier()
