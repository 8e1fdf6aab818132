"""Where CLAIR's labels come from: names, clusters or, for measuring, the truth; all without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.data.names import Spelling
from crosslens.features.load import Features
from crosslens.labels.account import write_account
from crosslens.labels.naming import centred_rows, class_scores
from crosslens.labels.pseudo_labels import PseudoLabels, calibrated, pseudo_labels
from crosslens.labels.spread import spread_labels
from crosslens.labels.wording import comparable
from crosslens.methods.base import FitJob
from crosslens.methods.clair.config import ClairConfig
from crosslens.ops.kmeans import kmeans
from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean


def first_labels(
    job: FitJob, config: ClairConfig, features: Sequence[Features], texts: Mapping[str, Tensor]
) -> list[PseudoLabels]:
    """Labels from before training, the same for every head and process; their account goes into the run.

    Args and errors: see ``_label_domains``.
    """
    found, took = _label_domains(job, config, features, texts)
    labels: list[PseudoLabels] = job.world.share(found)
    if job.world.is_main:
        write_account(
            job.run.folder,
            job.classes,
            {domain: part.catalog.ids for domain, part in zip(job.domains, features, strict=True)},
            dict(zip(job.domains, labels, strict=True)),
            dict(zip(job.domains, took, strict=False)),
        )
    return labels


def _label_domains(
    job: FitJob, config: ClairConfig, features: Sequence[Features], texts: Mapping[str, Tensor]
) -> tuple[list[PseudoLabels], list[bool]]:
    """Pseudo-labels of every domain from the frozen features; with an oracle the true ones.

    Args:
        job: the fit, with its domains and class names.
        config: how labels are made.
        features: of every domain, in order.
        texts: class texts ``(C, J)`` by domain.

    Returns:
        The labels of each domain, and whether it took some from the others (empty unless labels were spread).

    Raises:
        ConfigError: when the oracle holds a label that is no class name.
        TrainingError: when a score is not finite.
    """
    found, took = _labels(job, config, features, texts)
    if config.label_noise:
        found = [with_noise(labels, config.label_noise, job.seed + n) for n, labels in enumerate(found)]
    return found, took


def filtered(config: ClairConfig, scores: Tensor, temperature: float | None = None) -> PseudoLabels:
    """Labels and confidences from scores ``(N, C)`` by the filter that is set; see ``pseudo_labels``."""
    return pseudo_labels(
        scores,
        temperature or config.label_temperature,
        keep=config.keep,
        floor=config.floor,
        fixed=config.threshold,
        confidence=config.confidence,
        is_weighted=config.weighted,
    )


def with_noise(labels: PseudoLabels, share: float, seed: int) -> PseudoLabels:
    """The labels with a share of them replaced by another class, drawn evenly; confidences stay.

    Args:
        labels: of N images and C >= 2 classes.
        share: in [0, 1], of the images.
        seed: of the draw.
    """
    count, classes = labels.posteriors.shape
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(count, generator=generator)[: round(share * count)]
    moved = labels.labels.clone()
    moved[chosen] = (moved[chosen] + torch.randint(1, classes, (len(chosen),), generator=generator)) % classes
    posteriors = labels.posteriors.clone()
    # The likeliest class changes places with the new one, so that confidence still fits the label.
    rows, old, new = chosen, labels.labels[chosen], moved[chosen]
    posteriors[rows, old], posteriors[rows, new] = posteriors[rows, new], posteriors[rows, old]
    return PseudoLabels(posteriors, moved, labels.confidence, labels.kept)


def held_out(labels: PseudoLabels, share: float, seed: int) -> Tensor:
    """A seeded share of the images that are kept, as a mask ``(N,)``."""
    generator = torch.Generator().manual_seed(seed)
    return labels.kept.cpu() & (torch.rand(len(labels.labels), generator=generator) < share)


def held_out_masks(job: FitJob, config: ClairConfig, labels: Sequence[PseudoLabels]) -> list[Tensor]:
    """Per domain the images ``(N,)`` whose labels teach nothing; the share of the map is chosen on them."""
    return [held_out(found, config.map_holdout, job.seed + 17 * number) for number, found in enumerate(labels)]


def labels_to_choose_on(
    job: FitJob, config: ClairConfig, labels: Sequence[PseudoLabels]
) -> Sequence[PseudoLabels]:
    """The labels that the share of the map is chosen on: those held out, else all."""
    if not config.map_holdout:
        return labels
    return [
        PseudoLabels(found.posteriors, found.labels, found.confidence, held)
        for found, held in zip(labels, held_out_masks(job, config, labels), strict=True)
    ]


def _labels(
    job: FitJob, config: ClairConfig, features: Sequence[Features], texts: Mapping[str, Tensor]
) -> tuple[list[PseudoLabels], list[bool]]:
    if job.oracle is not None:
        return [_true_labels(job, found.catalog.ids) for found in features], []
    if config.labels_from == "kmeans":
        rows = torch.cat([centred_rows(found.values) for found in features])
        clusters = kmeans(rows, len(job.classes), seed=0, restarts=5)
        parts = (rows @ clusters.prototypes.t()).split([len(found.catalog) for found in features])
        return [filtered(config, calibrated(part, "standardise")) for part in parts], []
    scores: list[Tensor] = []
    took: list[bool] = []
    for domain, found in zip(job.domains, features, strict=True):
        values = found.values if config.label_views else found.values[:, :1]
        scores.append(class_scores(job.backbone, values, texts[domain], config.calibration))
    if config.spread:
        scores, took = spread_labels(
            [centred_rows(found.values) for found in features],
            [calibrated(part, "standardise") for part in scores],
            neighbours=config.neighbours,
            reach=config.reach,
            rounds=config.rounds,
            temperature=config.label_temperature,
        )
    return [filtered(config, part) for part in scores], took


def _true_labels(job: FitJob, ids: list[str]) -> PseudoLabels:
    assert job.oracle is not None
    names, spelling = job.classes, Spelling(job.classes, key=comparable)
    true = [job.oracle.labels.get(image) for image in ids]
    known = {label: spelling.find(label) for label in set(true) if label is not None}
    if unnamed := sorted(label for label, name in known.items() if name is None):
        near = "".join(dict.fromkeys(did_you_mean(label, names) for label in unnamed))
        raise ConfigError(f"--classes lacks {', '.join(unnamed)}, which the oracle's labels hold{near}")
    true = [None if label is None else known[label] for label in true]
    labels = torch.tensor([0 if label is None else names.index(label) for label in true])
    kept = torch.tensor([label is not None for label in true])
    posteriors = F.one_hot(labels, len(names)).float()
    return PseudoLabels(posteriors, labels, torch.ones(len(ids)), kept)
