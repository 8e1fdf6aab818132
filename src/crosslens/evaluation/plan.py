"""What an encoder is measured on, and how: what every protocol takes."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from crosslens.backbones.devices import Device
from crosslens.data.catalog import Catalog
from crosslens.evaluation.conventions import DEFAULT_KS, Metric, Ties, convention_metrics
from crosslens.evaluation.scenarios import Scenario
from crosslens.evaluation.universal_split import UniversalSplit
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.support.request import Request


def _known_ties(value: Any) -> Ties:
    return Metric("AP", ties=value).ties


Cuts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
KnownTies = Annotated[Ties, BeforeValidator(_known_ties)]


class Measuring(Request):
    """How retrieval is measured, whatever the images."""

    convention: str = "standard"
    """How metrics are defined; a name in ``CONVENTIONS``."""

    k: Cuts = DEFAULT_KS
    """Cuts of P@k."""

    depth: int = Field(100, ge=1)
    """Ranks kept per query, for grids and further use."""

    ties: KnownTies = "stable"
    """``stable`` ranks items with equal scores in the gallery's order, as the published codes do, and notes where
    that moves a number; ``expected`` takes the mean over all their orders."""

    goal: Goal = DEFAULT_GOAL
    """``kind`` ranks by similarity; ``thing`` by similarity less what an item has with every query, learned of
    queries without labels (``goals``)."""

    features: Path | None = None
    """A feature folder; the cache by default."""

    device: Device | None = None
    """Where to embed; None chooses. See ``crosslens.backbones.engine.make_engine``."""

    def metrics(self) -> list[Metric]:
        """The metrics of the convention; see ``convention_metrics``."""
        return convention_metrics(self.convention, self.k, self.ties)


@dataclass(frozen=True)
class Plan:
    """What one encoder is measured on.

    Attributes:
        catalog: labelled images.
        how: the convention and all else that does not depend on the images.
        protocol: a name in ``PROTOCOLS``.
        domains: to rank between; None takes all.
        only: ids to measure on, where training saw labels of the others; None takes all.
        scenario: the classes of query and gallery, for a protocol that has them.
        unseen: classes that training did not see, for ``zero-shot``.
        generalised: whether the gallery of ``zero-shot`` holds seen classes too.
        universal: what is unseen, for the universal protocols on images of no published benchmark.
        marks: what must be said beside the numbers.
        notes: what else should be known of the images.
    """

    catalog: Catalog
    how: Measuring = field(default_factory=Measuring)
    protocol: str = "pairs"
    domains: tuple[str, ...] | None = None
    only: AbstractSet[str] | None = None
    scenario: Scenario | None = None
    unseen: tuple[str, ...] | None = None
    generalised: bool = False
    universal: UniversalSplit | None = None
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def chosen_domains(self) -> list[str]:
        """The domains to rank between, as the catalog writes them."""
        return list(self.catalog.domains_named(self.domains)) if self.domains else self.catalog.domains

    def images(self) -> Catalog:
        """The images of the chosen domains that may be measured on."""
        catalog = self.catalog.select(domains=self.chosen_domains)
        return catalog if self.only is None else catalog.with_ids(self.only)
