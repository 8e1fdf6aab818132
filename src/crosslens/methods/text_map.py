"""``text-map``: a closed-form map between domains from class names alone, for any encoder that understands text.

Part of a reconstruction of CLAIR (specification 6): the paper states that the map is closed, learned from text
embeddings alone and applied to image features; objective, regulariser and side are proposals.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.encoder.parts import DomainMap, Joint
from crosslens.features.load import Features
from crosslens.labels.naming import class_scores
from crosslens.labels.pseudo_labels import PseudoLabels, pseudo_labels
from crosslens.labels.wording import class_texts, look_of, require_text
from crosslens.methods.base import FitJob, Method, MethodConfig
from crosslens.ops.text_map import (
    STRENGTHS,
    blend,
    choose_strength,
    mean_shift_score,
    orthogonal_map,
    ridge_map,
    scaled_strength,
)
from crosslens.support.errors import ConfigError, TrainingError
from crosslens.support.progress import note

Side = Literal["query", "gallery", "both"]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""alpha, how much of a map is applied; 0 is the identity."""


class LooksConfig(MethodConfig):
    """How domains are worded."""

    looks: Mapping[str, str] = Field(default_factory=dict)
    """The look of each domain whose name does not tell it, such as ``{"catalogue": "product"}``."""


class MapConfig(LooksConfig):
    """Settings of the text map."""

    map: Literal["ridge", "orthogonal", "none"] = "ridge"
    """``ridge`` anchored at the identity, ``orthogonal``, or ``none``."""
    map_strength: float | None = Field(None, gt=0)
    """lambda_0 of the regulariser; None takes the one with the least leave-one-class-out score."""
    map_share: float | None = Field(None, ge=0, le=1)
    """alpha in [0, 1], how much of the map is applied; None takes the one whose ranking agrees best with
    pseudo-labels, and the identity unless the gain is beyond twice its standard error."""
    map_side: Side = "query"
    """``query`` maps all domains but the last to the last, ``gallery`` all but the first to the first, ``both``
    maps every domain to the mean wording."""

    removed: ClassVar[Mapping[str, Any]] = {"map_centre": False}


class TextMap(Method[MapConfig]):
    """The joint space as it is, with a map of each domain's own behind it."""

    name = "text-map"
    summary = (
        "a closed-form map between domains, fitted on the class names' text embeddings alone (part of a"
        " reconstruction of CLAIR)"
    )
    Config = MapConfig
    learns_from = frozenset({"names"})
    needs_images = False
    words_domains = True
    reconstruction_of = "CLAIR"

    def fit(self, job: FitJob) -> Encoder:
        """Fit the maps; images serve to choose the share alpha through pseudo-labels, where it is not given.

        Raises:
            ConfigError: for fewer than two class names or domains, or no images where they are needed.
            BackboneError: when the backbone has no text tower.
        """
        require_text(job.backbone)
        if len(job.classes) < 2:
            raise ConfigError(f"text-map needs at least two class names, and --classes gives {len(job.classes)}")
        if len(job.domains) < 2:
            raise ConfigError("text-map maps between domains; give at least two (--domains A,B)")
        config = self.config
        texts = domain_texts(job, config)
        encoder = Encoder(job.backbone, [Joint(job.backbone)], method=self.name, trained=self.facts(job))
        features: list[Features] = []
        labels: list[PseudoLabels] = []
        if config.map != "none" and config.map_share is None:
            if not len(job.catalog):
                raise ConfigError(
                    "the share of the map is taken from images; name them (fit text-map ROOT), or say"
                    " --set map_share=1"
                )
            by_domain = job.features_by_domain()
            features = [by_domain[domain] for domain in job.domains]
            labels = label_images(job, features, texts)
        return encoder.with_part(DomainMap(domain_maps(encoder, job, config, features, labels, texts)))


def label_images(job: FitJob, features: Sequence[Features], texts: Mapping[str, Tensor]) -> list[PseudoLabels]:
    """Calibrated pseudo-labels of every domain's images by its class texts ``(C, J)``, to choose alpha by."""
    labels = []
    for domain, found in zip(job.domains, features, strict=True):
        scores = class_scores(job.backbone, found.values[:, :1], texts[domain], "standardise")
        labels.append(pseudo_labels(scores, 0.5))
    return labels


def domain_maps(
    encoder: Encoder,
    job: FitJob,
    config: MapConfig,
    features: Sequence[Features],
    labels: Sequence[PseudoLabels],
    texts: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The map of each domain that gets one, chosen without any label; facts are added to the encoder's card.

    Args:
        encoder: whose vectors are mapped; without maps yet.
        job: the fit, with its domains and class names.
        config: see ``MapConfig``.
        features: of every domain, in order.
        labels: pseudo-labels of the same images; needed only when alpha is to be chosen.
        texts: class texts ``(C, J)`` by domain, see ``domain_texts``.

    Returns:
        By domain ``(J, J)`` float32; empty with ``map=none`` and where the identity is chosen.
    """
    if config.map == "none":
        return {}
    started = time.perf_counter()
    targets = _targets(texts, config.map_side)
    matrices, facts = {}, {}
    for domain, target in targets.items():
        matrices[domain], facts[domain] = fit_map(texts[domain], target, config)
    seconds = time.perf_counter() - started
    shares: dict[str, Any] = {}
    share = config.map_share
    if share is None:
        rows, guesses = _sample(encoder, job.domains, features, labels)
        share, shares = _choose_share(job.domains, matrices, rows, guesses)
    encoder.trained["map"] = {
        "kind": config.map,
        "side": config.map_side,
        "share": share,
        "shares": shares,
        "seconds": round(seconds, 4),
        "domains": facts,
    }
    note(
        f"text map: share {share:g} of it is applied; fitted in {seconds * 1000:.0f} ms"
        f" from {len(job.classes)} class names"
    )
    return _applied(matrices, share)


def domain_texts(job: FitJob, config: LooksConfig) -> dict[str, Tensor]:
    """Class texts ``(C, J)`` of every domain, in its own wording."""
    return {d: class_texts(job.backbone, job.classes, look_of(d, config.looks)) for d in job.domains}


def fit_map(source: Tensor, target: Tensor, config: MapConfig) -> tuple[Tensor, dict[str, Any]]:
    """One map W ``(J, J)`` float64 and how it was chosen, from the texts ``(C, J)`` of two wordings alone."""
    scores = choose_strength(source, target)
    multiple = config.map_strength or min(STRENGTHS, key=lambda m: scores[m])
    strength = scaled_strength(source, multiple)
    matrix = (ridge_map if config.map == "ridge" else orthogonal_map)(source, target, strength)
    return matrix, {
        "strength": multiple,
        "leave_one_out": {f"{m:g}": round(score, 4) for m, score in scores.items()},
        "mean_shift_leave_one_out": round(mean_shift_score(source, target), 4),
    }


def _targets(texts: Mapping[str, Tensor], side: Side) -> dict[str, Tensor]:
    names = list(texts)
    if side == "both":
        mean = F.normalize(torch.stack(list(texts.values())).mean(0), dim=1)
        return dict.fromkeys(names, mean)
    anchor = names[-1] if side == "query" else names[0]
    return {name: texts[anchor] for name in names if name != anchor}


def _sample(
    encoder: Encoder,
    domains: Sequence[str],
    features: Sequence[Features],
    labels: Sequence[PseudoLabels],
    most: int = 1000,
) -> tuple[list[Tensor], list[Tensor]]:
    """Vectors ``(n, d)`` and pseudo-labels ``(n,)`` of at most ``most`` images of each domain, of those kept."""
    if len(domains) != len(labels):
        raise TrainingError("choosing the share of the map needs pseudo-labels of every domain")
    generator = torch.Generator().manual_seed(0)
    rows, targets = [], []
    for domain, found, guessed in zip(domains, features, labels, strict=True):
        kept = guessed.kept.cpu().nonzero().squeeze(1)
        chosen = kept[torch.randperm(len(kept), generator=generator)[:most]].sort().values
        own = found.where(_mask(len(found.catalog), chosen))
        if not encoder.embeds_by_domain:
            vectors = encoder.encode_features(own.centre, domain)
        else:
            vectors = encoder.encode_images(own.catalog.paths, domain)
        rows.append(torch.from_numpy(vectors))
        targets.append(guessed.labels.cpu()[chosen])
    return rows, targets


def _applied(maps: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """What goes into the encoder: ``W_alpha``."""
    return {domain: blend(matrix, share).float() for domain, matrix in maps.items()} if share else {}


def _choose_share(
    domains: Sequence[str],
    maps: Mapping[str, Tensor],
    rows: Sequence[Tensor],
    targets: Sequence[Tensor],
) -> tuple[float, dict[str, float]]:
    """The alpha whose rankings agree best with pseudo-labels: mAP over a sample, all directions together."""
    values = {}
    for share in SHARES:
        applied = DomainMap(_applied(maps, share))
        mapped = [applied(part, [domain]) for part, domain in zip(rows, domains, strict=True)]
        values[share] = _average_precisions(mapped, targets)
    best = max(SHARES, key=lambda share: float(values[share].mean()))
    gain = values[best] - values[0.0]
    error = float(gain.std()) / max(len(gain), 1) ** 0.5 if len(gain) > 1 else float("inf")
    report = {f"{share:g}": round(float(found.mean()), 4) for share, found in values.items()}
    return (best if best and float(gain.mean()) > 2 * error else 0.0), report


def _average_precisions(rows: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """AP of every query that has a match, over all directions."""
    found = []
    for a, (query, own) in enumerate(zip(rows, targets, strict=True)):
        for b, (gallery, other) in enumerate(zip(rows, targets, strict=True)):
            if a == b or not len(query) or not len(gallery):
                continue
            order = (query @ gallery.t()).argsort(dim=1, descending=True, stable=True)
            hits = (other[order] == own[:, None]).double()
            precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
            total = hits.sum(1)
            # A query without a match counts 0 under every share, so pairs of shares stay comparable.
            found.append((precision * hits).sum(1) / total.clamp_min(1))
    return torch.cat(found) if found else torch.zeros(1)


def _mask(count: int, chosen: Tensor) -> Any:
    mask = torch.zeros(count, dtype=torch.bool)
    mask[chosen] = True
    return mask.numpy()
