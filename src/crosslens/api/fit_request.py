"""What is asked of ``fit``, as recipes and a run's ``config.yaml`` hold it too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError

from crosslens.backbones.devices import Device
from crosslens.data.catalog import Catalog
from crosslens.data.source import Source
from crosslens.evaluation.scenarios import Scenario, ScenarioDraw
from crosslens.images.decode import DecodeMode
from crosslens.methods.tune import Tune
from crosslens.ops.hubs import Goal
from crosslens.recipes import read_recipe
from crosslens.support.addresses import PathHere, place_of
from crosslens.support.errors import ConfigError, RunError
from crosslens.support.request import Request
from crosslens.training.run import IMAGES, Run


class FitRequest(Request):
    """What is to be learned, from which images or names, and where the run goes."""

    method: str
    """A name in ``crosslens.methods.METHODS``, or ``auto``."""

    source: Source | None = None
    """The images: a folder, a manifest or a Catalog; methods that learn from texts alone need none."""

    out: PathHere
    """The run folder; must be new unless ``resume``."""

    domains: tuple[str, ...] | None = None
    """The domains to learn from; all of the catalog's by default."""

    backbone: str = "lite"
    """A name for ``load_backbone``."""

    tune: Tune | None = None
    """``head`` on cached features, ``full`` for the backbone too, or ``prompts`` in a frozen CLIP; the recipe's,
    else ``head``."""

    seed: int = 0
    """Of everything random."""

    settings: Mapping[str, Any] | None = None
    """Keys of the method's configuration."""

    recipe: str | Path | None = None
    """A recipe's name or file; ``settings`` go on top of it."""

    decode: DecodeMode = "exact"
    """``exact`` or ``fast`` JPEG decoding."""

    features: Path | None = None
    """A feature folder from ``embed``; by default features are cached."""

    device: Device | None = None
    """Where to train and embed; None chooses."""

    workers: int | None = Field(None, ge=1)
    """Decoding threads; None takes one a processor."""

    resume: bool = False
    """Continue the run in ``out``."""

    oracle: bool = False
    """Use labels as the published code does: the true number of classes for clustering, and the epoch they like
    best kept beside the last one. Results are marked."""

    classes: str | Path | tuple[str, ...] | None = None
    """Class names, or a file with one a line, for the methods that learn from names."""

    unseen: str | int | tuple[str, ...] | None = None
    """Classes that stay out of this fit, images and names alike, for the zero-shot protocol: names, a number to
    draw with ``seed``, or a published split; see ``unseen_classes``."""

    goal: Goal | None = None
    """What will be looked for, which ``auto`` chooses by: the very same ``thing`` in another look, or more of its
    ``kind``."""

    scenario: Scenario | ScenarioDraw | str | None = None
    """Train on the images of a scenario alone (``partial``, ``open-set``): the first domain is the query's, the
    second the gallery's. A name draws its classes by the published rule."""

    split: str | tuple[str, ...] | None = None
    """The splits to learn from, of images that are marked with some; ``train`` by default, and ``all`` for every
    image. See ``select_training``."""

    def with_recipe(self) -> Self:
        """The request with what its recipe says, where it says nothing itself.

        Raises:
            ConfigError: when there is no such recipe, or it is for another method.
        """
        if self.recipe is None:
            return self
        content = read_recipe(self.recipe)
        if content["method"] != self.method:
            raise ConfigError(f"the recipe {self.recipe} is for {content['method']}, not for {self.method}")
        values = {name: getattr(self, name) for name in self.model_fields_set}
        values |= {
            "settings": {**(content.get("settings") or {}), **(self.settings or {})},
            "tune": self.tune or content.get("tune"),
            "recipe": None,
        }
        return self.of(**values)

    def record(self, images: Catalog, fingerprint: str) -> dict[str, Any]:
        """What ``config.yaml`` keeps of a request in which nothing is open any more.

        Args:
            images: those to learn from.
            fingerprint: of the backbone.
        """
        place = Path(IMAGES) if isinstance(self.source, Catalog) else place_of(self.source or "").resolve()
        root = {} if self.source is None else {"source": str(place), "root": str(images.root.resolve())}
        optional = {
            "split": list(self.split or ()),
            "classes": list(self.classes) if isinstance(self.classes, tuple) else None,
            "unseen": list(self.unseen) if isinstance(self.unseen, tuple) else None,
            "scenario": self.scenario.to_json() if isinstance(self.scenario, Scenario) else None,
        }
        return {
            "method": self.method,
            **root,
            "domains": list(self.domains or ()),
            "images": len(images),
            "left_out": dict(images.left_out),
            "backbone": self.backbone,
            "fingerprint": fingerprint,
            "tune": self.tune,
            "seed": self.seed,
            "oracle": self.oracle,
            "settings": self.settings,
            **{name: value for name, value in optional.items() if value},
        }

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """What a run was asked for, as its ``config.yaml`` says.

        Raises:
            RunError: when that is missing or damaged.
        """
        config = run.config()
        values = {name: value for name, value in config.items() if name in cls.model_fields and value is not None}
        if "scenario" in values:
            values["scenario"] = Scenario.from_json(values["scenario"])
        try:
            return cls(**{**values, "out": run.folder})
        except ValidationError as error:
            raise RunError(f"{run.folder}/config.yaml is damaged: {error}") from error
