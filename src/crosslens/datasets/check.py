"""Is the data on disk what it should be? Counts, spellings, missing and damaged files, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from crosslens.data.catalog import Catalog
from crosslens.data.names import spelt_apart, told_apart
from crosslens.data.plain_folders import doubt_of_looks
from crosslens.datasets import find_benchmark
from crosslens.datasets.benchmark import Benchmark, DomainCount, Split
from crosslens.datasets.inspect_files import FileState, inspect_files
from crosslens.support.addresses import Place

Severity = Literal["error", "warning", "info"]
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        severity: ``error`` (not the data it should be), ``warning`` (look at it) or ``info`` (cannot be settled,
            as a difference from an unverified count).
        kind: a word to sort by: ``count``, ``domain-missing``, ``domain-unknown``, ``class-missing``,
            ``class-unknown``, ``class-spelling``, ``domain-spelling``, ``class-in-one-domain``,
            ``no-common-class``, ``folder-names``, ``unlabelled``,
            ``split``, ``missing``, ``empty``, ``unreadable``, ``undecodable``, ``duplicate``, ``duplicate-label``,
            ``duplicate-domain``, ``note``.
        message: one sentence with the names and numbers.
        path: the file concerned, relative to the root, if it is about one file.
    """

    severity: Severity
    kind: str
    message: str
    path: str | None = None


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found.

    Attributes:
        root: folder of the images.
        benchmark: name of the benchmark compared with, or None.
        images: number of images.
        counts: images by domain and class; the class "" stands for no label.
        problems: errors first, then warnings, then information.
        decoded: whether every image was decoded.
        hashed: whether contents were compared.
        left_out: pictures that the reader of the folder left out, by suffix.
    """

    root: Place
    benchmark: str | None
    images: int
    counts: Counts
    problems: tuple[Problem, ...]
    decoded: bool
    hashed: bool
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when there is no error (warnings do not count)."""
        return all(problem.severity != "error" for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values that ``json.dumps`` takes."""
        return {
            "root": str(self.root),
            "benchmark": self.benchmark,
            "ok": self.ok,
            "images": self.images,
            "counts": {domain: dict(row) for domain, row in self.counts.items()},
            "decoded": self.decoded,
            "hashed": self.hashed,
            "left_out": dict(self.left_out),
            "problems_by_kind": dict(sorted(Counter(problem.kind for problem in self.problems).items())),
            "problems": [asdict(problem) for problem in self.problems],
        }


def check(
    source: Catalog | str | Path,
    benchmark: Benchmark | str | None = None,
    *,
    decode: bool = False,
    hash: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Check a collection of images, against a benchmark's published numbers when one is named.

    Args:
        source: a catalog, or a folder, manifest or list; with ``benchmark`` a folder is read in its layouts.
        benchmark: a benchmark or its name (``crosslens.datasets.find_benchmark``).
        decode: decode every image, in threads; else files are only looked up.
        hash: find files of equal contents (SHA-256 of those that share their size with another).
        on_progress: called with (files done, files in all), from the calling thread.

    Returns:
        The report; data that is wrong is reported, never raised.

    Raises:
        CatalogError: when ``source`` cannot be read as images at all, or the benchmark is not known.
        LabelsHiddenError: for a catalog whose labels are hidden.
    """
    if isinstance(benchmark, str):
        benchmark = find_benchmark(benchmark)
    catalog = _open(source, benchmark)
    counts = catalog.counts()
    problems = [Problem("warning", "note", note) for note in catalog.notes]
    problems += _label_problems(counts)
    if benchmark is not None:
        problems += _benchmark_problems(counts, benchmark)
    states = inspect_files(catalog.paths, decode=decode, hash=hash, on_progress=on_progress)
    problems += _file_problems(catalog, states)
    problems += _duplicate_problems(catalog, states)
    rank = {"error": 0, "warning": 1, "info": 2}
    return CheckReport(
        root=catalog.root,
        benchmark=None if benchmark is None else benchmark.name,
        images=len(catalog),
        counts=counts,
        problems=tuple(sorted(problems, key=lambda problem: rank[problem.severity])),
        decoded=decode,
        hashed=hash,
        left_out=catalog.left_out,
    )


def _open(source: Catalog | str | Path, benchmark: Benchmark | None) -> Catalog:
    if isinstance(source, Catalog):
        return source
    if benchmark is not None and Path(source).is_dir():
        return benchmark.read(source)
    return Catalog.open(source)


def _label_problems(counts: Counts) -> Iterator[Problem]:
    labelled = {domain: row for domain, row in counts.items() if set(row) != {""}}
    for domain, row in labelled.items():
        if "" in row:
            yield Problem("warning", "unlabelled", f"{domain}: {row['']} image(s) have no class")
    classes = sorted({label for row in labelled.values() for label in row if label})
    for same in spelt_apart(classes):
        yield Problem("warning", "class-spelling", f"{told_apart(same)} look like one class in two spellings")
    for same in spelt_apart(counts):
        yield Problem("warning", "domain-spelling", f"{told_apart(same)} look like one domain in two spellings")
    if (doubt := doubt_of_looks(counts)) is not None:
        yield Problem("warning", doubt.kind, doubt.told)
        return
    if len(labelled) < 2:
        return
    having_class = {name: [domain for domain, row in labelled.items() if name in row] for name in classes}
    for name, having in having_class.items():
        if len(having) == 1:
            others = ", ".join(domain for domain in labelled if domain not in having)
            message = f"the class {name!r} occurs in {having[0]} only; {others} have no image of it"
            yield Problem("warning", "class-in-one-domain", message)


def _benchmark_problems(counts: Counts, benchmark: Benchmark) -> Iterator[Problem]:
    for domain in benchmark.domains:
        expected = benchmark.counts[domain]
        if domain not in counts:
            message = f"the domain {domain} is missing; expected {expected.images} images"
            yield Problem("error", "domain-missing", message)
            continue
        yield from _count_problems(domain, counts[domain], expected, benchmark)
    for domain in counts:
        if domain not in benchmark.domains:
            known = ", ".join(benchmark.domains)
            yield Problem("error", "domain-unknown", f"{benchmark.title} has no domain {domain!r}; it has {known}")
    for split in benchmark.splits.values():
        yield from _split_problems(counts, split)


def _count_problems(
    domain: str, row: Mapping[str, int], expected: DomainCount, benchmark: Benchmark
) -> Iterator[Problem]:
    found = sum(row.values())
    if found != expected.images:
        message = f"{domain}: found {found} images, expected {expected.images}"
        known = next((other for other in expected.other if other.images == found), None)
        if known is not None:
            severity: Severity = "info" if known.accepted else "error"
            message += f"; {found} is {known.what}"
        elif expected.verified:
            severity = "error"
        else:
            severity = "info"
            message += " (widely quoted, unverified)"
        yield Problem(severity, "count", message)
    for name in benchmark.classes:
        wanted, have = expected.classes.get(name), row.get(name, 0)
        if wanted is not None and have != wanted:
            message = f"{domain}, class {name}: found {have} images, expected {wanted}"
            yield Problem("error", "count", message)
        elif have == 0:
            yield Problem("error", "class-missing", f"{domain}: no image of the class {name}")
    for name in sorted(set(row) - set(benchmark.classes) - {""}):
        message = f"{domain}: {row[name]} image(s) of {name!r}, which is no class of {benchmark.title}"
        yield Problem("error", "class-unknown", message)


def _split_problems(counts: Counts, split: Split) -> Iterator[Problem]:
    parts = (
        ("queries", split.query_domain, split.queries),
        ("gallery", split.gallery_domain, split.gallery),
    )
    for part, domain, expected in parts:
        if expected is None or domain not in counts:
            continue
        found = sum(counts[domain].get(name, 0) for name in split.unseen)
        if found != expected:
            message = f"split {split.name}: {found} images of {domain} as {part}, published lists have {expected}"
            yield Problem("warning", "split", message)


def _file_problems(catalog: Catalog, states: list[FileState]) -> Iterator[Problem]:
    for path, state in zip(catalog.column("path"), states, strict=True):
        if state.fault is not None:
            yield Problem("error", state.fault, f"{path} {state.detail}", path)


def _duplicate_problems(catalog: Catalog, states: list[FileState]) -> Iterator[Problem]:
    same: dict[str, list[int]] = {}
    for row, state in enumerate(states):
        if state.sha256 is not None:
            same.setdefault(state.sha256, []).append(row)
    paths, domains, labels = catalog.column("path"), catalog.column("domain"), catalog.labels
    for rows in same.values():
        if len(rows) < 2:
            continue
        if len({labels[row] for row in rows}) > 1:
            kind, which = "duplicate-label", "of different classes "
        elif len({domains[row] for row in rows}) > 1:
            kind, which = "duplicate-domain", "of different domains "
        else:
            kind, which = "duplicate", ""
        some = ", ".join(paths[row] for row in rows[:4]) + (", ..." if len(rows) > 4 else "")
        yield Problem("warning", kind, f"{len(rows)} files {which}have the same contents: {some}", paths[rows[0]])
