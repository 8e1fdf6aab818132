"""The images that a fit learns from: of the splits, domains, classes and the scenario that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crosslens.api.fit_request import FitRequest
from crosslens.data.catalog import Catalog
from crosslens.data.plain_folders import tell_doubt
from crosslens.data.source import open_catalog
from crosslens.data.splits import select_training
from crosslens.evaluation.protocols.zero_shot import unseen_classes, without_classes
from crosslens.evaluation.scenarios import Scenario, ScenarioDraw
from crosslens.support.errors import CatalogError, ConfigError


@dataclass(frozen=True)
class TrainingImages:
    """What a request takes of its source.

    Attributes:
        everything: all images of the source.
        images: those to learn from, with labels where there are any; none where there is no source.
        domains: those to learn from, in the order asked for.
        splits: that the images are in; empty when every one was taken.
        unseen: classes that stay out.
        scenario: which classes each side has.
        left_aside: a sentence on what was left out unasked, or "".
    """

    everything: Catalog
    images: Catalog
    domains: tuple[str, ...]
    splits: tuple[str, ...]
    unseen: tuple[str, ...]
    scenario: Scenario | None
    left_aside: str


def select_images(asked: FitRequest) -> TrainingImages:
    """Open the source of a request and take what it asks for.

    Raises:
        CatalogError: when there is nothing to read, or no such domain or split.
        ConfigError: when a scenario is asked for of other than two domains, or without images.
        EvaluationError: when a scenario or unseen classes cannot be drawn from these images.
    """
    source = asked.source
    if source is None and asked.scenario is not None:
        raise ConfigError("name the images too: the classes of a scenario are drawn from theirs")
    everything = Catalog.from_rows([], Path()) if source is None else open_catalog(source)
    if source is not None and not asked.domains:
        tell_doubt(everything, source)
    images, splits, left_aside = select_training(everything, asked.split)
    wanted = tuple(asked.domains or images.domains)
    domains = wanted if source is None else images.domains_named(wanted)
    if len(set(domains)) != len(wanted):
        raise CatalogError(f"a domain is named twice: {', '.join(wanted)}")
    images = images if source is None else images.select(domains=domains)
    unseen: tuple[str, ...] = ()
    if asked.unseen is not None:
        unseen = unseen_classes(asked.unseen, images.classes, asked.seed)
        images = without_classes(images, unseen)
    scenario: Scenario | None = None
    if asked.scenario is not None:
        scenario = scenario_for(asked.scenario, images, domains)
        images = scenario.restrict(images, *domains)
    return TrainingImages(everything, images, domains, splits, unseen, scenario, left_aside)


def scenario_for(scenario: Scenario | ScenarioDraw | str, catalog: Catalog, domains: tuple[str, ...]) -> Scenario:
    """A scenario as it is, or one drawn for a query and a gallery domain; for a name by the published rule.

    Raises:
        ConfigError: unless two domains are given.
        EvaluationError: when it cannot be drawn from these classes.
    """
    name = scenario if isinstance(scenario, str) else scenario.kind
    if len(domains) != 2:
        raise ConfigError(f"{name} needs a query and a gallery domain (--domains A,B), not {len(domains)} domains")
    if isinstance(scenario, Scenario):
        return scenario
    draw = ScenarioDraw(scenario) if isinstance(scenario, str) else scenario
    return draw.among(catalog, *domains)
