"""What a published benchmark consists of: domains, classes, expected counts, pairs, splits, headline metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from crosslens.data.catalog import Catalog
from crosslens.support.errors import CatalogError

Pair = tuple[str, str]
"""Query domain, gallery domain."""


@dataclass(frozen=True)
class Headline:
    """The numbers a paper prints, with the convention that makes them comparable (``trec``, ``ucdir``, ...)."""

    metrics: tuple[str, ...]
    convention: str


@dataclass(frozen=True)
class Split:
    """Seen and unseen classes of a zero-shot or universal protocol, in the order of the published lists.

    Attributes:
        name: what papers or list folders call it.
        full_name: the name for ``--unseen``, which tells the benchmark too.
        train: classes for training.
        validation: further seen classes that some codes hold out; final training uses them too.
        unseen: classes of the queries and the gallery; neither names nor images may enter training.
        headline: what is reported on it.
        queries: expected number of query images, all images of the unseen classes; None where unknown.
        gallery: the same for the gallery.
        query_domain: domain of the queries that ``queries`` counts.
        gallery_domain: domain of the gallery that ``gallery`` counts.
        aliases: further names of classes in the benchmark's archives, and the class each stands for.
    """

    name: str
    full_name: str
    train: tuple[str, ...]
    unseen: tuple[str, ...]
    headline: Headline
    validation: tuple[str, ...] = ()
    queries: int | None = None
    gallery: int | None = None
    query_domain: str = "sketch"
    gallery_domain: str = "photo"
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def seen(self) -> tuple[str, ...]:
        """All seen classes: ``train``, then ``validation``."""
        return self.train + self.validation


@dataclass(frozen=True)
class KnownCount:
    """Another number of images that a domain is known to have, and what that number means."""

    images: int
    what: str
    accepted: bool = False


@dataclass(frozen=True)
class DomainCount:
    """Expected images of a domain.

    Attributes:
        images: expected total.
        verified: False where the total is only widely quoted; a difference is then reported, never a failure.
        classes: expected images of a class, verified; a class that is missing here was not counted.
        other: totals of other releases.
    """

    images: int
    verified: bool = True
    classes: Mapping[str, int] = field(default_factory=dict)
    other: tuple[KnownCount, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A published benchmark.

    Attributes:
        name: the name for ``--as NAME``.
        title: the name in prose.
        domains: domain names as the catalog has them.
        classes: class names, spelled as in the published list.
        counts: expected images by domain.
        reader: reads every official layout below a folder.
        layout: the folders that ``reader`` looks for, for messages.
        aliases: further names for ``--as``.
        pairs: directed (query, gallery) pairs by protocol paper (``ucdir``, ``uem``, ``ucdr``).
        headlines: what is reported, by protocol paper; zero-shot splits carry their own.
        splits: seen and unseen classes, by name.
        notes: traps and open questions, one sentence each.
    """

    name: str
    title: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    counts: Mapping[str, DomainCount]
    reader: Callable[[Path], Catalog]
    layout: str
    aliases: tuple[str, ...] = ()
    pairs: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)
    headlines: Mapping[str, Headline] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def read(self, root: str | Path) -> Catalog:
        """Read the images below ``root``, in whichever official layout they lie.

        Returns:
            A catalog with the benchmark's domain names and class spellings. A class folder that the published
            list does not have keeps its own name.

        Raises:
            CatalogError: when no official layout is found, a folder cannot be listed, or a list file is wrong.
        """
        root = Path(root)
        if not root.is_dir():
            raise CatalogError(f"{root} is not a folder; {self.title} needs {self.layout}")
        return self.reader(root)


def read_classes(name: str) -> tuple[str, ...]:
    """The published class list ``splits/<name>.txt`` of this package, in the order of the file."""
    text = (files("crosslens.datasets") / "splits" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def read_counts(name: str) -> dict[str, DomainCount]:
    """The expected counts ``counts/<name>.json`` of this package, by domain."""
    text = (files("crosslens.datasets") / "counts" / f"{name}.json").read_text(encoding="utf-8")
    return {domain: _domain_count(entry) for domain, entry in json.loads(text)["domains"].items()}


def both_ways(*pairs: Pair) -> tuple[Pair, ...]:
    """Every pair, followed by its reverse."""
    return tuple(directed for a, b in pairs for directed in ((a, b), (b, a)))


def all_pairs(domains: tuple[str, ...]) -> tuple[Pair, ...]:
    """Every ordered pair of two different domains."""
    return tuple((a, b) for a in domains for b in domains if a != b)


def _domain_count(entry: dict[str, Any]) -> DomainCount:
    other = tuple(KnownCount(**known) for known in entry.get("other", ()))
    return DomainCount(entry["images"], entry["verified"], entry.get("classes", {}), other)
