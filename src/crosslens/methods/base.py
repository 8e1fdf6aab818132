"""What a method is: a frozen configuration and ``fit``, from unlabelled images to an Encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.features.load import Features, features_of
from crosslens.images.augment import Augmentation
from crosslens.methods.oracle import Oracle
from crosslens.support.errors import ConfigError
from crosslens.training.distributed import World
from crosslens.training.run import Run

Tune = Literal["head", "full", "prompts"]


class MethodConfig(BaseModel):
    """Base of every method's configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def keeps_unseen_names(self) -> bool:
        """Whether the names of classes that stay out of a fit are given to it all the same."""
        return False

    @property
    def marks(self) -> tuple[str, ...]:
        """What must be said beside every number of a run with these settings."""
        return ()


@dataclass(frozen=True)
class FitJob:
    """One fit: which images, which backbone, where to.

    Attributes:
        catalog: the images; labels are hidden unless the method is supervised.
        domains: the domains to learn from, in the order given.
        backbone: the network to start from.
        run: the folder of this run.
        tune: what may change: ``head``, ``full`` or ``prompts``.
        seed: of everything random.
        features: a feature folder made before, or None for the cache.
        device: where to train; None chooses a GPU when there is one.
        workers: decoding threads; None takes one a processor.
        world: the processes that train together.
        oracle: see ``Oracle``; None in an honest run.
        classes: class names the user gave; empty unless the method takes them.
        new_classes: whether the encoder will meet classes that are not here; which ones is never told.
        nouns: many everyday nouns, without those classes and what means much the same.
    """

    catalog: Catalog
    domains: tuple[str, ...]
    backbone: Backbone
    run: Run
    tune: Tune = "head"
    seed: int = 0
    features: Path | None = None
    device: str | None = None
    workers: int | None = None
    world: World = field(default_factory=World)
    oracle: Oracle | None = None
    classes: tuple[str, ...] = ()
    new_classes: bool = False
    nouns: tuple[str, ...] = ()

    @property
    def torch_device(self) -> torch.device:
        """The device to train on."""
        return torch_device(self.device)

    def features_by_domain(self, views: int = 0, augmentation: Augmentation | None = None) -> dict[str, Features]:
        """Features of each domain's images, ``(N, 1 + views, D)``, from the cache or embedded now.

        Raises:
            FeatureError: when a domain has no image that can be embedded.
        """
        together = features_of(
            self.catalog,
            self.backbone,
            views=views,
            augmentation=augmentation,
            # A folder that was given may hold views of any seed: no setting of a fit speaks of it.
            seed=0 if self.features is None else None,
            folder=self.features,
            workers=self.workers,
            device=self.device,
        )
        return {domain: together.of_domain(domain) for domain in self.domains}


class Method(ABC):
    """One way to obtain an Encoder.

    Attributes:
        name: as on the command line.
        Config: its configuration.
        needs_labels: whether ``fit`` sees labels.
        needs_images: whether ``fit`` learns from images; others take no ROOT, or one that only evaluation reads.
        words_domains: whether domains mean something without images, as words.
        needs_classes: whether ``fit`` works from class names (``--classes``); others refuse them.
        tunes: what may change: ``head``, ``full``, ``prompts``.
    """

    name: ClassVar[str]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    needs_labels: ClassVar[bool] = False
    needs_images: ClassVar[bool] = True
    words_domains: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False
    tunes: ClassVar[tuple[str, ...]] = ("head",)

    def __init__(self, config: MethodConfig | None = None) -> None:
        self.settings = config or self.Config()

    @abstractmethod
    def fit(self, job: FitJob) -> Encoder:
        """Learn from ``job.catalog`` and return the encoder of the last epoch."""

    def facts(self, job: FitJob) -> dict[str, Any]:
        """What the model card says about this fit."""
        facts: dict[str, Any] = {
            "method": self.name,
            "domains": list(job.domains),
            "images": len(job.catalog),
            "tune": job.tune,
            "seed": job.seed,
            "settings": self.settings.model_dump(mode="json"),
        }
        if job.oracle is not None:
            facts["oracle"] = "labels gave the number of clusters, and the best epoch where one was chosen"
        return facts


def torch_device(name: str | None) -> torch.device:
    """The device of a name for users, such as ``cuda:1`` or ``torch-cpu``; for None a GPU where there is one."""
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device("cpu" if name == "torch-cpu" else name)


def make_config(config: type[MethodConfig], values: Mapping[str, Any], method: str) -> MethodConfig:
    """Validate ``values`` as a method's configuration.

    Raises:
        ConfigError: naming the key that is unknown or out of range, and listing the keys there are.
    """
    try:
        return config.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(config.model_fields) or "none"
        raise ConfigError(f"{method}: {problems}. Keys of {method}: {known}") from error
