"""The suite file: what is measured, on what and how, as YAML that is checked before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crosslens.backbones import require_kind
from crosslens.evaluation.conventions import CONVENTIONS, DEFAULT_KS
from crosslens.evaluation.protocol_names import PROTOCOL_NAMES
from crosslens.methods import AUTO, known_methods
from crosslens.methods.declared import require_settings
from crosslens.methods.tune import Tune
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.support.addresses import Place, joined
from crosslens.support.errors import BackboneError, ConfigError
from crosslens.support.files import read_yaml
from crosslens.support.near_names import did_you_mean

_SAFE = re.compile(r"[\w.+ -]+")


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MethodEntry(_Declared):
    """A row of the tables: a method and what is set of it."""

    method: str | None = None
    """A name of ``crosslens fit``, ``auto`` among them; the row's own name by default."""
    settings: Mapping[str, Any] = {}
    """Settings of the method, as ``fit --set`` takes them."""
    recipe: str | None = None
    """A recipe's name, or a file beside the suite."""
    tune: Tune | None = None
    """What may change; the recipe's, else ``head``."""
    classes: bool | None = None
    """Whether it is given the data set's class names; by default where the method learns from names."""


class DataEntry(_Declared):
    """A labelled set of images."""

    path: str | None = None
    """A folder, a manifest or an address of one: absolute, or beside the suite; ``$NAME`` and ``${NAME}`` are
    environment variables."""
    emoji: Literal["subgroup", "concept"] | None = None
    """In place of a path: the built-in pictures of the demo, labelled by Unicode subgroup or by concept."""
    domains: tuple[str, ...] | None = None
    """The domains to measure between; all by default."""
    unseen: str | int | tuple[str, ...] | None = None
    """For the protocol ``zero-shot``: how many classes to draw with the seed, names, or a published split."""

    @model_validator(mode="after")
    def _one_source(self) -> DataEntry:
        if (self.path is None) == (self.emoji is None):
            raise ValueError("give either path or emoji")
        return self


class Block(_Declared):
    """A part of the product of all axes; what it leaves out is the suite's own."""

    data: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    backbones: tuple[str, ...] | None = None
    protocols: tuple[str, ...] | None = None
    goals: tuple[Goal, ...] | None = None
    seeds: tuple[int, ...] | None = None


class Suite(_Declared):
    """Methods x backbones x data sets x protocols x goals x seeds."""

    name: str
    """Of the suite, in titles."""
    methods: Mapping[str, MethodEntry] = Field(min_length=1)
    """The rows of the tables, by name; a list of names where nothing is set."""
    data: Mapping[str, DataEntry] = Field(min_length=1)
    """The data sets, by name."""
    backbones: tuple[str, ...] = Field(("lite",), min_length=1)
    """Names for ``--backbone``."""
    protocols: tuple[str, ...] = Field(("pairs",), min_length=1)
    """Names for ``evaluate --protocol``."""
    goals: tuple[Goal, ...] = Field((DEFAULT_GOAL,), min_length=1)
    """What is looked for, as ``evaluate --goal`` takes it; ``auto`` chooses by it."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Of training; seed N also draws the N-th set of unseen classes, and of scenarios the draw 2024 + N."""
    metrics: tuple[str, ...] = Field(("map@all", "p@1"), min_length=1)
    """What is kept of every query, in the convention ``standard``; the first is the headline."""
    base: str | None = None
    """The row that the others are tested against; the first one by default."""
    blocks: tuple[Block, ...] = ()
    """Parts of the product to measure, in this order; all of it by default."""

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {name: {} for name in value}
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, Mapping) else value

    @property
    def base_row(self) -> str:
        """The row that the others are tested against."""
        return self.base or next(iter(self.methods))

    def method_of(self, row: str) -> str:
        """The method behind a row."""
        return self.methods[row].method or row


def read_suite(file: Path) -> Suite:
    """Read and check a suite file.

    Raises:
        ConfigError: naming every key and name that is unknown, with what may have been meant.
    """
    if not file.exists():
        raise ConfigError(f"there is no suite {file}")
    content = read_yaml(file, ConfigError)
    try:
        suite = Suite.model_validate(content)
    except ValidationError as error:
        problems = [_told(one) for one in error.errors()]
        raise ConfigError(f"the suite {file} is wrong: {told_apart(problems)}") from error
    problems = list(_unknown_names(suite))
    if problems:
        raise ConfigError(f"the suite {file} is wrong: {told_apart(problems)}")
    return suite


def place_of(entry: DataEntry, suite: Path) -> Place:
    """Where the images of a data set with a path should lie.

    Args:
        entry: of the suite, with a path.
        suite: the suite's file.

    Raises:
        ConfigError: for an environment variable that is not set.
    """
    path = os.path.expanduser(os.path.expandvars(entry.path or ""))
    if missing := re.search(r"\$\{?(\w+)", path):
        raise ConfigError(f"the environment variable {missing[1]} is not set ({entry.path})")
    return joined(suite.resolve().parent, path)


def _unknown_names(suite: Suite) -> list[str]:
    """A sentence for each name that stands for nothing."""
    problems = [
        f"{row!r}: a name takes letters, digits, spaces and . _ + -"
        for row in (*suite.methods, *suite.data)
        if not _SAFE.fullmatch(row)
    ]
    methods = [*known_methods(), AUTO]
    asked = [("method", suite.method_of(row), methods, f"methods.{row}") for row in suite.methods]
    asked += [("protocol", name, list(PROTOCOL_NAMES), "protocols") for name in suite.protocols]
    for row, entry in suite.methods.items():
        try:
            require_settings(suite.method_of(row), entry.settings)
        except ConfigError as error:
            problems.append(f"methods.{row}: {error}")
    for name in suite.backbones:
        try:
            require_kind(name)
        except BackboneError as error:
            problems.append(f"backbones: {error}")
    known_metrics = [metric.key for metric in CONVENTIONS["standard"].metrics(DEFAULT_KS)]
    asked += [("metric", key, known_metrics, "metrics") for key in suite.metrics]
    if suite.base is not None:
        asked.append(("method of this suite", suite.base, list(suite.methods), "base"))
    known = {"data": list(suite.data), "methods": list(suite.methods), "protocols": list(PROTOCOL_NAMES)}
    for number, block in enumerate(suite.blocks, 1):
        for axis, names in known.items():
            where = f"block {number}, {axis}"
            asked += [(axis.removesuffix("s"), name, names, where) for name in getattr(block, axis) or ()]
    problems += [
        f"{where}: there is no {what} {name!r}; known: {', '.join(names)}{did_you_mean(name, names)}"
        for what, name, names, where in asked
        if name not in names
    ]
    return problems


def _told(problem: Mapping[str, Any]) -> str:
    """What pydantic found, with the keys there are where one is unknown."""
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{place or 'suite'}: {problem['msg'].removeprefix('Value error, ')}"
    kinds: dict[Any, type[BaseModel]] = {"methods": MethodEntry, "data": DataEntry, "blocks": Block}
    keys = (kinds[problem["loc"][0]] if len(problem["loc"]) > 1 else Suite).model_fields
    name = str(problem["loc"][-1])
    return f"{place}: there is no such key; there are {', '.join(keys)}{did_you_mean(name, keys)}"


def told_apart(problems: Sequence[str]) -> str:
    """Several sentences on one line, as a terminal shows an error: ``(1) ... (2) ...``."""
    if len(problems) == 1:
        return problems[0]
    return " ".join(f"({number}) {problem}" for number, problem in enumerate(problems, 1))
