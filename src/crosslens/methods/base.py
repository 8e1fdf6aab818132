"""What a method is: a frozen configuration and ``fit``, from unlabelled images to an Encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.features.load import Features, StoredFeatures, features_of, stored_features_of
from crosslens.images.augment import Augmentation
from crosslens.methods.oracle import Oracle
from crosslens.methods.tune import Tune
from crosslens.ops.sampling import drawn_rows
from crosslens.support.errors import ConfigError, TrainingError
from crosslens.support.near_names import did_you_mean
from crosslens.support.progress import note
from crosslens.training.distributed import World
from crosslens.training.run import Run

Lesson = Literal["images", "names", "labels"]


class MethodConfig(BaseModel):
    """Base of every method's configuration: frozen, unknown keys refused, each setting documented where it stands.

    Attributes:
        removed: settings that are no more, with the value that says what the method does now; ``...`` where any
            value does. Old runs and recipes that name them with it go on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    removed: ClassVar[Mapping[str, Any]] = {}

    @property
    def keeps_unseen_names(self) -> bool:
        """Whether the names of classes that stay out of a fit are given to it all the same."""
        return False

    @property
    def marks(self) -> tuple[str, ...]:
        """What must be said beside every number of a run with these settings."""
        return ()


C = TypeVar("C", bound=MethodConfig)


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

    @property
    def torch_device(self) -> torch.device:
        """The device to train on."""
        return torch_device(self.device)

    def features_by_domain(self, views: int = 0, augmentation: Augmentation | None = None) -> dict[str, Features]:
        """Features of each domain's images, ``(N, 1 + views, D)``, from the cache or embedded now.

        Raises:
            FeatureError: when a domain has no image that can be embedded.
        """
        together = features_of(self.catalog, self.backbone, **self._embedding(views, augmentation))
        return {domain: together.of_domain(domain) for domain in self.domains}

    def stored_by_domain(
        self, views: int = 0, augmentation: Augmentation | None = None
    ) -> dict[str, StoredFeatures]:
        """The same, left on disk."""
        together = stored_features_of(self.catalog, self.backbone, **self._embedding(views, augmentation))
        return {domain: together.of_domain(domain) for domain in self.domains}

    def _embedding(self, views: int, augmentation: Augmentation | None) -> dict[str, Any]:
        return {
            "views": views,
            "augmentation": augmentation,
            # A folder that was given may hold views of any seed: no setting of a fit speaks of it.
            "seed": 0 if self.features is None else None,
            "folder": self.features,
            "workers": self.workers,
            "device": self.device,
        }

    def with_at_most(self, images: int) -> FitJob:
        """The same fit on a sample of so many images a domain, where a domain has more; says so."""
        kept = np.zeros(len(self.catalog), dtype=bool)
        for domain in self.domains:
            own = np.flatnonzero(self.catalog.is_in("domain", [domain]))
            kept[own[drawn_rows(len(own), images, self.seed)]] = True
            if len(own) > images:
                note(f"learning from {images} of the {len(own)} images of {domain}, drawn at random (bank_rows)")
        if kept.all():
            return self
        return replace(self, catalog=self.catalog.where(kept))


class Method(ABC, Generic[C]):
    """One way to obtain an Encoder, with all that others need to know of it.

    Attributes:
        name: as on the command line.
        summary: what it is, in one line that can follow "Made by".
        Config: its configuration.
        learns_from: what teaches it; ``names`` makes ``--classes`` necessary, ``labels`` shows ``fit`` the labels.
        needs_images: whether ``fit`` must have images; others take no ROOT, or one that only evaluation reads.
        words_domains: whether domains mean something without images, as words; images are then welcome.
        tunes: what may change: ``head``, ``full``, ``prompts``.
        least_domains: how many domains it needs.
        most_domains: how many it can take; None takes any number.
        reconstruction_of: the paper of which only the abstract could be read, if that is so.
        oracle_mark: what labels did in a run with ``--oracle``, beside every number.
        oracle_fact: the same in the model card's words.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    learns_from: ClassVar[frozenset[Lesson]] = frozenset({"images"})
    needs_images: ClassVar[bool] = True
    words_domains: ClassVar[bool] = False
    tunes: ClassVar[tuple[Tune, ...]] = ("head",)
    least_domains: ClassVar[int] = 1
    most_domains: ClassVar[int | None] = None
    reconstruction_of: ClassVar[str | None] = None
    oracle_mark: ClassVar[str] = "chose the number of clusters"
    oracle_fact: ClassVar[str] = "labels gave the number of clusters, and the best epoch where one was chosen"

    def __init__(self, config: C | None = None) -> None:
        # A method's own ``Config`` is its ``C``; Python cannot say so.
        self.config: C = config if config is not None else self.Config()  # type: ignore[assignment]

    @abstractmethod
    def fit(self, job: FitJob) -> Encoder:
        """Learn from ``job.catalog`` and return the encoder of the last epoch."""

    def require_domains(self, domains: Sequence[str]) -> None:
        """Refuse more or fewer domains than the method takes.

        Raises:
            TrainingError: saying how many it takes.
        """
        least, most, given = self.least_domains, self.most_domains, len(domains)
        if given >= least and (most is None or given <= most):
            return
        wanted = (
            f"exactly {least}" if least == most else f"at least {least}" if given < least else f"at most {most}"
        )
        raise TrainingError(f"{self.name} learns from {wanted} domains (--domains A,B), not {given}")

    def facts(self, job: FitJob) -> dict[str, Any]:
        """What the model card says about this fit."""
        facts: dict[str, Any] = {
            "method": self.name,
            "summary": self.summary,
            "domains": list(job.domains),
            "images": len(job.catalog),
            "tune": job.tune,
            "seed": job.seed,
            "settings": self.config.model_dump(mode="json"),
        }
        if job.oracle is not None:
            facts["oracle"] = self.oracle_fact
        return facts


def torch_device(name: str | None) -> torch.device:
    """The device of a name for users, such as ``cuda:1`` or ``torch-cpu``; for None a GPU where there is one."""
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device("cpu" if name == "torch-cpu" else name)


def make_config(config: type[MethodConfig], values: Mapping[str, Any], method: str) -> MethodConfig:
    """Validate ``values`` as a method's configuration.

    Raises:
        ConfigError: naming the key that is unknown, removed or out of range, and listing the keys there are.
    """
    try:
        return config.model_validate(without_removed(config, values, method))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(config.model_fields) or "none"
        unknown = [str(e["loc"][0]) for e in error.errors() if e["type"] == "extra_forbidden"]
        near = "".join(did_you_mean(key, config.model_fields) for key in unknown)
        raise ConfigError(f"{method}: {problems}. Keys of {method}: {known}{near}") from error


def without_removed(config: type[MethodConfig], values: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Settings without those that are no more.

    Raises:
        ConfigError: when one of them asks for what the method does no more.
    """
    removed: dict[str, Any] = {}
    for base in config.__mro__:
        removed |= vars(base).get("removed", {})
    for key, does in removed.items():
        if key in values and does is not ... and values[key] != does:
            raise ConfigError(
                f"{method} has no setting {key} any more ({key}={values[key]}), since it gained nothing; leave it"
                " out. A run that began with it can be measured and searched, but not resumed"
            )
    return {key: value for key, value in values.items() if key not in removed}
