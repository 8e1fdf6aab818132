"""From a suite to the jobs that it takes: one a cell, each with a key of all that decides its outcome."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

from crosslens.api.benchmarking.suite import DataEntry, MethodEntry, Suite, place_of, told_apart
from crosslens.api.demo import demo_catalog
from crosslens.api.fit_request import FitRequest
from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.data.source import open_catalog
from crosslens.evaluation.protocols.universal import find_universal, universal_lists
from crosslens.evaluation.protocols.zero_shot import unseen_classes
from crosslens.evaluation.scenarios import KINDS, Scenario
from crosslens.evaluation.suite_results import DIGITS, Cell
from crosslens.labels.wording import comparable
from crosslens.methods import AUTO, method_class
from crosslens.methods.base import make_config
from crosslens.ops.hubs import DEFAULT_GOAL
from crosslens.support.errors import ConfigError, CrosslensError
from crosslens.support.file_stamp import stamps_of
from crosslens.support.near_names import near_folder
from crosslens.support.version import __version__

_OUTCOME = 1
"""Raise it when a cell is measured in another way under the same request: jobs done before are then done again."""
_FIRST_DRAW = 2024
"""Of a scenario's classes, with seed 0."""


@dataclass(frozen=True)
class Part:
    """One fit of a cell and what is measured of it.

    Attributes:
        learned: the domains to fit on.
        measured: the domains to measure between.
        scenario: what the fit is restricted to, as ``Scenario.to_json`` has it; None for all images.
        judged: the scenario that is measured.
        unseen: classes that the fit leaves out.
    """

    learned: tuple[str, ...]
    measured: tuple[str, ...]
    scenario: Mapping[str, Any] | None = None
    judged: Mapping[str, Any] | None = None
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One cell of a suite, ready to be done by a process of its own.

    Attributes:
        cell: which.
        key: of all that decides the outcome.
        method, settings, tune: what is fitted, complete.
        source: ``path`` or ``emoji``, and ``domains`` where these are some of them.
        digest: of the images: ids, domains, labels, splits and sizes.
        parts: the fits.
        images: that all fits together learn from, for estimates.
        metrics: what is kept of every query.
        classes: names for methods that learn from some.
    """

    cell: Cell
    key: str
    method: str
    settings: Mapping[str, Any]
    tune: str
    source: Mapping[str, Any]
    digest: str
    parts: tuple[Part, ...]
    images: int
    metrics: tuple[str, ...]
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Job:
        """What ``to_json`` gave."""
        lists_of = ("learned", "measured", "unseen")
        parts = tuple(Part(**{**part, **{k: tuple(part[k]) for k in lists_of}}) for part in value["parts"])
        own = {"cell": Cell(**value["cell"]), "parts": parts}
        lists = {name: tuple(value[name]) for name in ("metrics", "classes")}
        return cls(**{**value, **own, **lists})

    def fit_key(self, part: Part, fingerprint: str) -> str:
        """Of all that decides what one of its fits comes to; cells of other protocols may share it."""
        told = asdict(part)
        del told["measured"], told["judged"]
        # A goal is one of measuring, but for who chooses a method by it.
        told |= {"goal": self.cell.goal} if self.method == AUTO and self.cell.goal else {}
        decides = [_OUTCOME, __version__, self.method, self.settings, self.tune, self.digest, fingerprint]
        return _digest([*decides, told, self.cell.seed, self.classes])


@dataclass(frozen=True)
class Planned:
    """What a suite comes to.

    Attributes:
        jobs: in the order to do them.
        catalogs: the images of each data set.
        sources: where they come from.
        left_out: data sets that are not there, with the reason.
    """

    jobs: tuple[Job, ...]
    catalogs: Mapping[str, Catalog]
    sources: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str]


def plan_suite(suite: Suite, file: Path, *, skip_missing: bool = False) -> Planned:
    """Find everything that a suite names, and check that every cell can be measured.

    Args:
        suite: as ``read_suite`` gives it.
        file: where it stands; paths are relative to it.
        skip_missing: leave data sets out that are not there.

    Raises:
        ConfigError: for data sets that are not there, and for combinations that cannot be, all in one message.
    """
    catalogs: dict[str, Catalog] = {}
    sources: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, str] = {}
    for name, entry in suite.data.items():
        try:
            sources[name] = _source(entry, file)
            catalogs[name] = open_source(sources[name])
            if not catalogs[name].classes:
                raise ConfigError("no image has a label, so nothing can be measured on it")
        except CrosslensError as error:
            missing[name] = str(error)
            catalogs.pop(name, None)
    if missing and not (skip_missing and catalogs):
        told = told_apart([f"{name}: {reason}" for name, reason in missing.items()])
        hint = "" if skip_missing else ". With --skip-missing the suite goes on without them"
        raise ConfigError(f"the suite {suite.name} names data sets that cannot be read: {told}{hint}")
    planner = _Planner(suite, file, catalogs, sources)
    jobs = list(planner.jobs())
    if planner.problems:
        told = told_apart(planner.problems)
        raise ConfigError(
            f"the suite {suite.name} asks for what cannot be measured: {told}. Give blocks that leave such"
            " combinations out"
        )
    return Planned(tuple(jobs), catalogs, sources, missing)


def open_source(source: Mapping[str, Any]) -> Catalog:
    """The images of a data set, of the domains to measure between."""
    catalog = demo_catalog(source["emoji"]) if "emoji" in source else open_catalog(source["path"])
    domains = source.get("domains")
    return catalog.select(domains=catalog.domains_named(domains)) if domains else catalog


class _Planner:
    """Expands a suite, and gathers what is wrong with it."""

    def __init__(
        self,
        suite: Suite,
        file: Path,
        catalogs: Mapping[str, Catalog],
        sources: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.suite, self.file, self.catalogs, self.sources = suite, file, catalogs, sources
        self.problems: list[str] = []
        self._backbones: dict[str, Backbone] = {}
        self._digests = {name: _catalog_digest(catalog) for name, catalog in catalogs.items()}
        self._methods: dict[str, tuple[str, dict[str, Any], str] | None] = {}
        self._parts: dict[tuple[str, str, int], tuple[Part, ...]] = {}

    def jobs(self) -> Iterator[Job]:
        """Every cell once. Seed by seed, so that whoever stops in the middle has a whole table of the first."""
        for cell in sorted(self._cells(), key=self._place):
            job = self._job(cell)
            if job is not None:
                yield job

    def _cells(self) -> dict[Cell, int]:
        """Cells with the number of the block they stand in."""
        suite = self.suite
        found: dict[Cell, int] = {}
        blocks: Sequence[Any] = suite.blocks or (suite,)
        for number, block in enumerate(blocks):
            axes = product(
                block.data or suite.data,
                block.protocols or suite.protocols,
                block.goals or suite.goals,
                block.backbones or suite.backbones,
                block.methods or suite.methods,
                block.seeds or suite.seeds,
            )
            for data, protocol, goal, backbone, method, seed in axes:
                # The usual goal goes without saying, also in the keys of jobs.
                aim = "" if goal == DEFAULT_GOAL else goal
                if data in self.catalogs:
                    found.setdefault(Cell(data, protocol, backbone, method, seed, aim), number)
        self._block = found
        return found

    def _place(self, cell: Cell) -> tuple[int, ...]:
        suite = self.suite
        seeds = list(dict.fromkeys([*suite.seeds, *(s for block in suite.blocks for s in block.seeds or ())]))
        protocols = list(dict.fromkeys([*(p for b in suite.blocks for p in b.protocols or ()), *suite.protocols]))
        return (
            seeds.index(cell.seed),
            self._block[cell],
            protocols.index(cell.protocol),
            int(cell.goal != ""),
            list(suite.data).index(cell.data),
            list(suite.methods).index(cell.method),
        )

    def _job(self, cell: Cell) -> Job | None:
        fitted = self._method(cell.method)
        backbone = self._backbone(cell.backbone)
        if fitted is None or backbone is None:
            return None
        name, settings, tune = fitted
        catalog, asked = self.catalogs[cell.data], self.suite.methods[cell.method].classes
        learns = name != AUTO and "names" in method_class(name).learns_from
        if learns and not backbone.joint_dim:
            self._problem(f"{cell.method} learns from names, and {cell.backbone} has no text tower")
            return None
        if name != AUTO and asked is not None and asked != learns:
            self._problem(f"methods.{cell.method}: {name} learns {'from' if learns else 'without'} class names")
            return None
        named = learns or bool(asked)
        try:
            parts = self._parts_of(cell)
        except CrosslensError as error:
            self._problem(f"{cell.protocol} on {cell.data}: {error}")
            return None
        by_domain = {d: len(catalog.select(domains=[d])) for d in catalog.domains}
        images = sum(by_domain[d] for part in parts for d in part.learned)
        classes = tuple(catalog.classes) if named else ()
        digest = self._digests[cell.data]
        fingerprint = backbone.fingerprint.digest
        told = [_OUTCOME, __version__, DIGITS, name, settings, tune, digest, fingerprint, classes]
        told += [cell.protocol, cell.goal, cell.seed, [asdict(part) for part in parts], self.suite.metrics]
        key = _digest(told)
        source = self.sources[cell.data]
        metrics = tuple(self.suite.metrics)
        return Job(cell, key, name, settings, tune, source, digest, parts, images, metrics, classes)

    def _method(self, row: str) -> tuple[str, dict[str, Any], str] | None:
        """Name, whole settings and ``tune`` of a row."""
        if row not in self._methods:
            entry, name = self.suite.methods[row], self.suite.method_of(row)
            recipe: Any = entry.recipe
            if recipe is not None and (beside := self.file.resolve().parent / recipe).is_file():
                recipe = beside
            try:
                if name == AUTO:
                    self._methods[row] = _auto(entry)
                    return self._methods[row]
                asked = FitRequest.of(
                    method=name, out=Path(), settings=entry.settings, recipe=recipe, tune=entry.tune
                ).with_recipe()
                config = make_config(method_class(name).Config, asked.settings or {}, name)
                tune = asked.tune or "head"
                if tune not in method_class(name).tunes:
                    raise ConfigError(f"{name} has no tune {tune}; it has {', '.join(method_class(name).tunes)}")
                self._methods[row] = name, config.model_dump(mode="json"), tune
            except CrosslensError as error:
                self._problem(f"methods.{row}: {error}")
                self._methods[row] = None
        return self._methods[row]

    def _backbone(self, name: str) -> Backbone | None:
        if name not in self._backbones:
            try:
                self._backbones[name] = load_backbone(name)
            except CrosslensError as error:
                self._problem(f"backbones: {error}")
                return None
        return self._backbones[name]

    def _parts_of(self, cell: Cell) -> tuple[Part, ...]:
        key = (cell.data, cell.protocol, cell.seed)
        if key not in self._parts:
            entry = self.suite.data[cell.data]
            self._parts[key] = parts_of(self.catalogs[cell.data], cell.protocol, cell.seed, entry.unseen)
        return self._parts[key]

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


def parts_of(
    catalog: Catalog, protocol: str, seed: int, unseen: str | int | tuple[str, ...] | None = None
) -> tuple[Part, ...]:
    """The fits of a protocol on a catalog, and what is measured of each.

    Raises:
        CrosslensError: when the protocol cannot be applied to these images.
    """
    domains = catalog.domains
    if len(domains) < 2:
        raise ConfigError(f"it needs two domains, and here is {', '.join(domains) or 'none'}")
    if protocol == "pairs":
        return tuple(Part(pair, pair) for pair in combinations(domains, 2))
    if protocol == "zero-shot":
        if unseen is None:
            raise ConfigError("say which classes stay unseen, such as 'unseen: 2' (a number to draw)")
        return tuple(
            Part(pair, pair, unseen=unseen_classes(unseen, catalog.select(domains=pair).classes, seed))
            for pair in combinations(domains, 2)
        )
    if protocol in KINDS:
        pairs = combinations(domains, 2) if protocol == "close-set" else permutations(domains, 2)
        return tuple(_scenario_part(catalog, protocol, pair, seed) for pair in pairs)
    return _universal_parts(catalog, protocol)


def _scenario_part(catalog: Catalog, kind: str, pair: tuple[str, str], seed: int) -> Part:
    scenario = Scenario.draw_for(catalog, kind, *pair, seed=_FIRST_DRAW + seed)
    chosen = catalog.select(domains=pair)
    judged = scenario.to_json()
    if len(scenario.restrict(catalog, *pair)) == len(chosen):
        # It leaves nothing out: the fit is that of the protocol pairs.
        return Part(pair, pair, judged=judged)
    if kind == "open-set":
        # The images are those of the mirrored partial scenario, whose fit serves both.
        return Part(pair[::-1], pair, scenario=scenario.mirrored.to_json(), judged=judged)
    return Part(pair, pair, scenario=judged, judged=judged)


def _universal_parts(catalog: Catalog, protocol: str) -> tuple[Part, ...]:
    """One fit a query domain, without what the protocol holds unseen."""
    setting, *more = protocol.split("-")
    benchmark = find_universal(catalog, random_split="random" in more)
    lists = universal_lists(catalog, benchmark, setting, mixed="mixed" in more)  # type: ignore[arg-type]
    hidden = set(map(comparable, benchmark.split.unseen))
    unseen = tuple(n for n in catalog.classes if comparable(benchmark.spelling(n)) in hidden)
    parts = []
    for run in lists:
        if setting == "uccdr":
            learned: tuple[str, ...] = (run.query_domain, run.gallery_domain)
        else:
            learned = tuple(d for d in catalog.domains if d != run.query_domain)
        parts.append(Part(learned, (run.query_domain,), unseen=() if setting == "udcdr" else unseen))
    return tuple(parts)


def _auto(entry: MethodEntry) -> tuple[str, dict[str, Any], str]:
    if entry.settings or entry.recipe or entry.tune:
        raise ConfigError(f"{AUTO} chooses the method and its settings; leave settings, recipe and tune out")
    return AUTO, {}, ""


def _source(entry: DataEntry, file: Path) -> Mapping[str, Any]:
    domains = {"domains": list(entry.domains)} if entry.domains else {}
    if entry.emoji is not None:
        return {"emoji": entry.emoji, **domains}
    place = place_of(entry, file)
    if not place.exists():
        raise ConfigError(f"{place} is not there{near_folder(place) if isinstance(place, Path) else ''}")
    return {"path": str(place), **domains}


def _catalog_digest(catalog: Catalog) -> str:
    columns = [catalog.column(name) for name in ("id", "domain", "label", "split", "role")]
    sizes = [-1 if stamp is None else stamp.size for stamp in stamps_of(catalog.paths)]
    return _digest(sorted(map(list, zip(*columns, sizes, strict=True)), key=lambda row: (row[1], row[0])))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
