"""The report of a run, beside what it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crosslens.api.evaluating import evaluate, run_marks
from crosslens.api.summary import seems_better
from crosslens.backbones import load_backbone
from crosslens.data.catalog import Catalog
from crosslens.data.source import Source, open_catalog
from crosslens.data.splits import ALL, Splits, select_splits
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.parts import Joint, TrainedTower
from crosslens.encoder.untrained import centred_encoder, frozen_encoder
from crosslens.evaluation.goals import MARK as GOAL_MARK
from crosslens.evaluation.learned import unlearned_ids
from crosslens.evaluation.measured import Evaluation
from crosslens.features.load import features_of
from crosslens.features.of_encoder import folder_for
from crosslens.methods import UNTRAINED, known_methods, method_class
from crosslens.ops.hubs import DEFAULT_GOAL
from crosslens.report.maps import Embeddings
from crosslens.report.page import write_report
from crosslens.report.tables import Section
from crosslens.support.errors import ConfigError, EvaluationError, RunError
from crosslens.support.progress import progress
from crosslens.support.remote import Remote
from crosslens.training.run import Run


@dataclass(frozen=True)
class RunReport:
    """The page, and what it shows.

    Attributes:
        path: the page.
        evaluations: by name; the first is the base and the last is the run.
        left_out: pictures that the reader of a folder leaves out, by suffix.
    """

    path: Path
    evaluations: Mapping[str, Evaluation]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class _Entry:
    """One encoder of the page, what must be said beside its numbers, and the run that it comes from, if any."""

    name: str
    encoder: Encoder
    marks: tuple[str, ...] = ()
    run: Run | None = None


def report(
    run: Run | str | Path,
    on: Source | None = None,
    *,
    out: str | Path | None = None,
    against: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    convention: str = "standard",
    features: str | Path | None = None,
    device: str | None = None,
    split: Splits | None = None,
    goal: str | None = DEFAULT_GOAL,
) -> RunReport:
    """Measure a run and what it is held against on its images, and write one page about it.

    Where the images of a domain have no label, nothing can be measured; the page then shows what each encoder
    finds for the same queries, the map and the curves.

    Where one of them was trained with labels, all are measured on the images it did not see. Of an ``--oracle``
    run the epoch that labels liked best is shown too, marked. The run's ``metrics.json`` stays as it is.

    Args:
        run: a finished run, or its folder.
        on: labelled images; the run's own by default.
        out: the page; ``RUN/report.html`` by default.
        against: what to hold it against, the first is the base: ``frozen``, ``centred``, or whatever
            ``load_encoder`` takes (a backbone, a run, an encoder folder). By default both baselines, without the
            run's own method; ``[]`` for none.
        domains: the domains to rank between; the run's own by default.
        convention: how metrics are defined; a name in ``CONVENTIONS``.
        features: a feature folder of the run's backbone; the cache by default, and for other backbones.
        device: where to embed; None chooses.
        split: the splits to measure on, of images that are marked with some; all by default.
        goal: ``thing`` or ``kind``; None is the latter. See ``EvaluateRequest``.

    Raises:
        ConfigError: when ``out`` is a folder.
        RunError: when ``run`` is none, or has not finished.
        EvaluationError: when no image is left that none of the encoders saw a label of.
        CrosslensError: of the kind that fits when an encoder cannot be loaded or measured.
    """
    record = run if isinstance(run, Run) else Run.at(run)
    config = record.config()
    if out is None and isinstance(record.place, Remote):
        raise ConfigError(f"{record.place} is read and not changed: name the page to write with --out FILE")
    target = record.folder / "report.html" if out is None else Path(out)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; name the file to write, such as {target / 'report.html'}")
    if not record.is_finished:
        raise RunError(f"the run {record.folder} has no encoder yet; finish it with 'crosslens fit ... --resume'")
    place = None if features is None else Path(features)
    chosen = list(domains or config.get("domains") or []) or None
    catalog = select_splits(record.catalog() if on is None else open_catalog(on), split)
    chosen = list(catalog.domains_named(chosen)) if chosen else None
    catalog = catalog.select(domains=chosen) if chosen else catalog
    own = _read(record.folder)
    names = [name for name in UNTRAINED if name != own.encoder.method] if against is None else against
    entries = [_beside(name, own.encoder, config["backbone"], catalog, place, device) for name in names]
    if (record.oracle_folder / "config.json").is_file():
        best = Encoder.load(record.oracle_folder)
        marks = (*own.marks, "oracle: labels chose the epoch")
        entries.append(replace(own, name=f"{own.name}, best epoch", encoder=best, marks=marks))
    entries = _named_apart([*entries, own])
    catalog, notes = _unseen(catalog, entries)
    if not _can_be_measured(catalog):
        title = f"{own.encoder.name} on {', '.join(chosen or catalog.domains)}"
        path = _write_unmarked(record, entries, catalog, target, title=title, features=place, device=device)
        return RunReport(path, {}, dict(catalog.left_out))
    evaluations = {}
    with progress(len(entries) + 1, "report") as advance:
        for entry in entries:
            # The run's own features must fit; other backbones have theirs in the cache.
            strict = entry.encoder is own.encoder and own.encoder.part(TrainedTower) is None
            measured = evaluate(
                entry.encoder,
                catalog,
                domains=chosen,
                convention=convention,
                features=place if strict else folder_for(entry.encoder, place),
                device=device,
                split=ALL if split is not None else None,
                goal=goal or DEFAULT_GOAL,
            )
            aimed = (GOAL_MARK,) if goal == "thing" else ()
            evaluations[entry.name] = replace(measured, marks=(*entry.marks, *aimed))
            advance(1, entry.name)
        ends = {entry.name: entry.encoder for entry in (entries[0], entries[-1])}
        path = write_report(
            Section("Results", evaluations),
            target,
            title=f"{own.encoder.name} on {', '.join(chosen or catalog.domains)}",
            catalog=catalog,
            embeddings=Embeddings.of(ends, catalog, features=place, device=device),
            log=record.read_log(),
            settings=config,
            notes=list(dict.fromkeys([*notes, *(note for e in evaluations.values() for note in e.told())])),
        )
        advance()
    return RunReport(path, evaluations, dict(catalog.left_out))


def _can_be_measured(catalog: Catalog) -> bool:
    """Whether every domain has an image with a label; one domain alone is left to the protocol to refuse."""
    labelled = {domain for domain, label in zip(catalog.column("domain"), catalog.labels, strict=True) if label}
    return len(catalog.domains) < 2 or labelled == set(catalog.domains)


def _write_unmarked(
    run: Run,
    entries: Sequence[_Entry],
    catalog: Catalog,
    target: Path,
    *,
    title: str,
    features: Path | None,
    device: str | None,
) -> Path:
    """The page of images that nothing can be measured on."""
    told = "A domain here has no image with a label, so nothing is measured: look at what was found instead."
    encoders = {entry.name: entry.encoder for entry in entries}
    hint = seems_better(run, features, device)
    return write_report(
        [],
        target,
        title=title,
        catalog=catalog,
        embeddings=Embeddings.of(encoders, catalog, features=features, device=device),
        log=run.read_log(),
        settings=run.config(),
        verdict=f"{entries[-1].name} {hint}." if hint else "",
        notes=[told],
    )


def _read(place: str | Path) -> _Entry:
    """An encoder by run, folder or backbone's name, with the marks that its training left."""
    encoder = load_encoder(place)
    labelled = encoder.method in known_methods() and "labels" in method_class(encoder.method).learns_from
    told = encoder.trained.get("oracle")
    marks = (
        [f"{'supervised' if labelled else 'oracle'}: {told or 'trained with labels'}"] if labelled or told else []
    )
    there = Run.at(place)
    folder, run = there.folder, None
    if (folder / "config.yaml").is_file():
        run = there
        marks += [mark for mark in run_marks(run) if not mark.startswith("oracle")]
        if scenario := run.config().get("scenario"):
            marks.append(f"trained on the classes of its {scenario['kind']} scenario only; measured here on all")
    name = encoder.name
    if folder.is_dir():
        own = there.place.resolve().name
        name = encoder.method if own == encoder.method else f"{encoder.method} ({own})"
    return _Entry(name, encoder, tuple(marks), run)


def _beside(
    name: str, own: Encoder, backbone: str, catalog: Catalog, features: Path | None, device: str | None
) -> _Entry:
    """What ``--against NAME`` means; untrained methods are made with the own backbone of the run."""
    if name not in UNTRAINED:
        return _read(name)
    network = own.backbone
    if own.part(TrainedTower):
        network = load_backbone(backbone, decode=own.backbone.fingerprint.preprocess.decode)
    joint = own.part(Joint) is not None
    plain = frozen_encoder(network, joint=joint)
    if name == "frozen":
        return _Entry(name, plain)
    found = features_of(catalog, network, folder=folder_for(plain, features), device=device)
    centres = {domain: found.of_domain(domain).centre for domain in found.catalog.domains}
    return _Entry(name, centred_encoder(network, centres, joint=joint))


def _named_apart(entries: Sequence[_Entry]) -> list[_Entry]:
    """The entries, with a number behind a name that was there before."""
    seen: dict[str, int] = {}
    apart = []
    for entry in entries:
        seen[entry.name] = seen.get(entry.name, 0) + 1
        count = seen[entry.name]
        apart.append(entry if count == 1 else replace(entry, name=f"{entry.name} #{count}"))
    return apart


def _unseen(catalog: Catalog, entries: Sequence[_Entry]) -> tuple[Catalog, list[str]]:
    """The images that no encoder saw a label of, and a note on the page where these are not all."""
    found = (unlearned_ids(entry.run, catalog) for entry in entries if entry.run is not None)
    limits = [ids for ids in found if ids is not None]
    if not limits:
        return catalog, []
    kept = catalog.with_ids(set.intersection(*limits))
    if not len(kept):
        raise EvaluationError("the runs saw labels of all these images; compare runs that left some out")
    if len(kept) == len(catalog):
        return catalog, []
    note = f"An encoder here was trained with labels: all are measured on the {len(kept)} images it did not see."
    return kept, [note]
