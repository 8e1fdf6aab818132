"""Look at a collection without its labels, and say what the choice of a method rests on."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.api.auto.facts import Facts
from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.features.load import Features, features_of
from crosslens.labels.naming import class_scores
from crosslens.labels.wording import class_texts, look_of
from crosslens.methods.tuned import TunedConfig
from crosslens.ops.cluster_count import LEAST_POINTS, estimate_clusters
from crosslens.ops.kmeans import kmeans
from crosslens.ops.matching import cross_neighbours, vote_pairs
from crosslens.support.errors import CatalogError, ConfigError

_SAMPLE = 2000
"""Pictures of a domain that clusters are looked for in."""
_RESTARTS = 3


def observe(
    images: Catalog,
    domains: tuple[str, ...],
    backbone: Backbone,
    *,
    names: tuple[str, ...] = (),
    goal: str | None = None,
    features: Path | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> Facts:
    """Embed pictures as training will, and look at them.

    Args:
        images: to learn from; of their labels only whether there are any is asked.
        domains: of them, in order; without images none.
        backbone: what a method would start from.
        names: class names that were given.
        goal, features, workers, device: as a ``FitRequest`` has them.

    Raises:
        CatalogError: when a domain has fewer than two pictures that can be read.
        ConfigError: when every picture has the same nearest class name.
        FeatureError: as ``features_of``.
    """
    if not len(images):
        return Facts(names=len(names), reads_words=backbone.has_text, goal=goal)
    _require_two(Counter(images.column("domain")), domains)
    labels = () if images.labels_hidden else images.labels
    labelled = sum(label is not None for label in labels) / len(images)
    settings = TunedConfig()
    found = features_of(
        images.hide_labels(),
        backbone,
        # What is trained takes these views; what is not, takes the centre view that comes with them.
        views=settings.views if goal != "thing" else 0,
        augmentation=settings.augmentation if goal != "thing" else None,
        seed=0 if features is None else None,
        folder=features,
        workers=workers,
        device=device,
    )
    _require_two(Counter(found.catalog.column("domain")), domains)
    sides = {domain: found.of_domain(domain) for domain in domains}
    rows = [sampled_rows(side) for side in sides.values()]
    return Facts(
        pictures={domain: len(side.catalog) for domain, side in sides.items()},
        names=len(names),
        idle_names=idle_names(backbone, sides, names) if names and backbone.has_text else (),
        reads_words=backbone.has_text,
        goal=goal,
        labelled=labelled,
        copies=share_of_copies(sides),
        shared=shared_structure(*rows) if len(rows) == 2 else (),
        paired=max((share_of_pairs(*pair) for pair in combinations(rows, 2)), default=0.0),
    )


def idle_names(backbone: Backbone, sides: dict[str, Features], names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names that are the nearest of no picture of any domain.

    Raises:
        ConfigError: when all pictures have the same nearest name, so that names tell nothing apart.
    """
    taken: set[int] = set()
    for domain, side in sides.items():
        texts = class_texts(backbone, names, look_of(domain))
        taken |= set(class_scores(backbone, side.values[:, :1], texts, "none").argmax(1).tolist())
    if len(names) > 1 and len(taken) == 1:
        raise ConfigError(
            f"no picture shows any of the {len(names)} class names but {names[taken.pop()]!r}, as far as"
            f" {backbone.name} can tell; give names of what the pictures show, or leave --classes out"
        )
    return tuple(name for number, name in enumerate(names) if number not in taken)


def share_of_copies(sides: dict[str, Features]) -> float:
    """Share of the smallest domain's pictures that another one has too, told by equal features; in [0, 1]."""
    if len(sides) < 2:
        return 0.0
    smallest = min(sides, key=lambda domain: len(sides[domain].catalog))
    others = {row.tobytes() for domain, side in sides.items() if domain != smallest for row in side.values[:, 0]}
    own = sides[smallest].values[:, 0]
    return sum(row.tobytes() in others for row in own) / len(own)


def sampled_rows(side: Features) -> Tensor:
    """Unit rows ``(N, D)`` of a domain's centred features, of a sample where it is large."""
    centre = torch.from_numpy(side.centre)
    drawn = np.random.default_rng(0).permutation(len(centre))[:_SAMPLE]
    return F.normalize(centre - centre.mean(0), dim=1)[np.sort(drawn)]


def share_of_pairs(first: Tensor, second: Tensor) -> float:
    """Share of the smaller side's rows that are the nearest of their nearest row, hubs held down; in [0, 1]."""
    smaller, larger = sorted((first, second), key=len)
    there, back = cross_neighbours(smaller, larger)
    return float((back[there] == torch.arange(len(smaller))).float().mean())


def shared_structure(first: Tensor, second: Tensor) -> tuple[float, ...]:
    """For each of two domains the share of its rows whose cluster has a counterpart in the other; rough.

    UEM's own estimate: both sides are clustered, and clusters match that are each other's first choice when their
    pictures vote for their nearest neighbours' (``ops.matching.vote_pairs``).

    Returns:
        Two shares in [0, 1], or none where a side has too few pictures to be clustered.
    """
    rows = (first, second)
    if min(map(len, rows)) < LEAST_POINTS:
        return ()
    a, b = (kmeans(part, estimate_clusters(part), seed=0, restarts=_RESTARTS).assignments for part in rows)
    paired = vote_pairs(a, b, cross_neighbours(*rows))
    return tuple(float(torch.isin(own, kept).float().mean()) for own, kept in zip((a, b), paired, strict=True))


def _require_two(counts: Counter[str], domains: tuple[str, ...]) -> None:
    for domain in domains:
        if counts[domain] < 2:
            held = "no picture" if not counts[domain] else "one picture"
            raise CatalogError(
                f"the domain {domain!r} has {held} that can be read, and two are the least to learn from; add"
                " pictures, or leave it out (--domains)"
            )
