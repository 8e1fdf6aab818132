"""Universal cross-domain retrieval: UCDR, UcCDR and UdCDR with published class lists (SnMpNet, ProS) or one's own.

Which of the query's domain and class a method has seen gives a setting its name. UCDR: neither. UcCDR: the class
alone is unseen. UdCDR: the domain alone is unseen. A method that saw no image, such as TKI, has seen no domain, so
for it UCDR and UcCDR differ in the queries alone.

The published code draws images from unsorted folder listings, so its lists differ between file systems. Here paths
are sorted first, and numbers will differ a little from published ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets.benchmark import Headline, Split
from crosslens.datasets.domainnet import SPLIT as DOMAINNET
from crosslens.datasets.recognise import recognise
from crosslens.datasets.sketchy import SKETCHY
from crosslens.datasets.tu_berlin import SPLIT as TU_BERLIN
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.coverage import gallery_marks
from crosslens.evaluation.measured import (
    Evaluation,
    Side,
    encode_domain,
    labelled_part,
    rank_directions,
)
from crosslens.evaluation.plan import Plan
from crosslens.features.load import features_of
from crosslens.labels.wording import comparable
from crosslens.support.errors import EvaluationError

if TYPE_CHECKING:
    from crosslens.encoder import Encoder
    from crosslens.evaluation.universal_split import UniversalSplit

Setting = Literal["ucdr", "uccdr", "udcdr"]
_Invert = Literal["never", "protocol"]

SEEN_QUERY = {
    "sketch": "quickdraw",
    "quickdraw": "sketch",
    "painting": "infograph",
    "infograph": "painting",
    "clipart": "painting",
}
"""DomainNet's five runs: the domain held out, which asks in UCDR and UdCDR, and the seen one that asks in UcCDR.
"""
_INVERTED = ("sketch", "quickdraw")
"""Domains whose pictures the published code inverts to white strokes on black: those in folders of these names."""
_TRAINED_SHARE = 0.92
"""Of each seen class of the gallery domain; the rest joins the mixed gallery."""
_UDCDR_CLASSES = 45

METRICS = (
    Metric("AP"),
    Metric("AP", 200, "min"),
    Metric("AP", 200, "hits", tag="sempcyc"),
    Metric("P", 100),
    Metric("P", 100, "gallery", tag="sempcyc"),
    Metric("P", 200),
    Metric("P", 200, "gallery", tag="sempcyc"),
)
"""The standard forms, and beside them those of the published code; mAP@all is the same in both."""
BOTH = "standard, and sempcyc where a key says so"


@dataclass(frozen=True)
class UniversalBenchmark:
    """A data set of the universal protocol.

    Attributes:
        name: in messages.
        split: its classes.
        gallery: the domain that answers.
        queries: by setting, the domains that ask.
        inverted: domains whose pictures the published code inverts.
        headline: what papers report; empty where none do.
        mixes: whether a gallery of seen and unseen classes is defined on it.
        is_published: whether its lists are published: what is taken of seen classes is then drawn as the published
            code does. Of one's own lists every image takes part.
    """

    name: str
    split: Split
    gallery: str
    queries: dict[str, tuple[str, ...]]
    inverted: tuple[str, ...]
    headline: str
    mixes: bool = False
    is_published: bool = True

    @property
    def spelling(self) -> Spelling:
        """Finds the published name of a class."""
        return Spelling((*self.split.seen, *self.split.unseen), self.split.aliases)


@dataclass(frozen=True)
class UniversalLists:
    """Who asks and who answers in one run: rows of the catalog, in the order of their sorted paths."""

    query_domain: str
    gallery_domain: str
    queries: tuple[int, ...]
    gallery: tuple[int, ...]


BENCHMARKS = {
    "domainnet": UniversalBenchmark(
        "DomainNet",
        DOMAINNET,
        "real",
        {
            "ucdr": tuple(SEEN_QUERY),
            # Two runs ask with painting; a query domain is measured once.
            "uccdr": tuple(dict.fromkeys(SEEN_QUERY.values())),
            "udcdr": tuple(SEEN_QUERY),
        },
        _INVERTED,
        "map@200, p@200",
        mixes=True,
    ),
    "sketchy": UniversalBenchmark(
        "Sketchy, 21 unseen classes", SKETCHY.splits["split2"], "photo", {"uccdr": ("sketch",)}, ("sketch",),
        "map@200, p@200",
    ),
    "sketchy-random": UniversalBenchmark(
        "Sketchy, 25 unseen classes", SKETCHY.splits["split1"], "photo", {"uccdr": ("sketch",)}, ("sketch",),
        "map@all, p@100",
    ),
    # Its folder is called "sketches", so the published code does not invert it.
    "tu-berlin": UniversalBenchmark(
        "TU-Berlin", TU_BERLIN, "photo", {"uccdr": ("sketch",)}, (), "map@all, p@100"
    ),
}  # fmt: skip


def _evaluate_universal(
    encoder: Encoder,
    plan: Plan,
    *,
    setting: Setting = "ucdr",
    mixed: bool = False,
    invert: _Invert = "never",
    random_split: bool = False,
) -> Evaluation:
    """One setting of the universal protocol, on DomainNet, Sketchy or TU-Berlin (the classes tell which) or on
    images with a split of their own.

    Args:
        encoder: what is measured.
        plan: with the benchmark's domain names (``crosslens data list ROOT --as domainnet`` writes a manifest) or
            a universal split, and the query domains to measure, all that are there by default. On a published
            benchmark the convention ``standard`` gives ``METRICS``, both conventions side by side; another gives
            its own.
        setting: see the module.
        mixed: add images of the seen classes to the gallery: on DomainNet the held-out ones, with a split of one's
            own all.
        invert: ``protocol`` inverts line drawings as the published code does.
        random_split: Sketchy's 25 random unseen classes in place of the 21 outside ImageNet.

    Raises:
        EvaluationError: when the catalog is none of these benchmarks, lacks the gallery or every query domain, or
            the setting is not defined on it.
    """
    how = plan.how
    benchmark = find_universal(plan.catalog, random_split=random_split, own=plan.universal)
    if not benchmark.is_published and (invert == "protocol" or random_split):
        name = _protocol_name(setting, mixed=mixed, random_split=random_split, invert=invert)
        raise EvaluationError(f"{name} is for the published benchmarks alone; {setting} is for a universal split")
    catalog = published_spelling(plan.catalog, benchmark)
    if plan.only is not None:
        catalog = catalog.with_ids(plan.only)
    catalog, unlabelled = labelled_part(catalog, ())
    lists = universal_lists(catalog, benchmark, setting, mixed=mixed, domains=plan.domains)
    plain = how.convention == "standard" and benchmark.is_published
    convention = BOTH if plain else how.convention
    metrics = how.metrics()
    if plain:
        # The one of sempcyc that divides by its hits has no mean over orders in closed form.
        kept = [metric for metric in METRICS if how.ties == "stable" or metric.denominator != "hits"]
        metrics = [replace(metric, ties=how.ties) for metric in kept]
    order, skipped = [], 0
    sides: dict[tuple[str, tuple[int, ...]], Side] = {}
    for run in lists:
        turned = invert == "protocol" and run.query_domain in benchmark.inverted
        ends = []
        for domain, rows, is_turned in (
            (run.query_domain, run.queries, turned),
            (run.gallery_domain, run.gallery, False),
        ):
            if (domain, rows) not in sides:
                own = encoder.backbone_of(domain)
                network = inverted(own) if is_turned else own
                # A feature folder holds the pictures as they are, and seen without prompts.
                folder = None if is_turned or encoder.embeds_by_domain else how.features
                found = features_of(catalog.take(rows), network, folder=folder, device=how.device)
                skipped += len(found.skipped)
                sides[domain, rows] = encode_domain(encoder, found, domain)
            ends.append(sides[domain, rows])
        order.append((ends[0], ends[1]))
    ranked = rank_directions(order, metrics, convention, how.depth, how.goal)
    wanted = _asking_classes(benchmark, setting)
    labels = catalog.labels
    here = len({labels[row] for run in lists for row in run.queries})
    kind = f"{here} of {len(wanted)} {'seen' if setting == 'udcdr' else 'unseen'} classes"
    kind += " asking, seen and unseen ones answering" if mixed else ""
    told = f"{benchmark.name}: gallery {benchmark.gallery}, {kind}"
    about = [*plan.marks, f"{told}; papers report {benchmark.headline}" if benchmark.headline else told]
    if here < len(wanted):
        lack = f"{len(wanted) - here} classes have no images"
        published = f"{lack} here, so this is not the published benchmark"
        about.append(published if benchmark.is_published else f"{lack} that ask")
    about += gallery_marks(
        wanted,
        [labels[row] for run in lists for row in run.queries],
        [labels[row] for run in lists for row in run.gallery],
    )
    if invert == "protocol" and benchmark.inverted:
        about.append("line drawings are inverted, as in the published code")
    absent = [d for d in benchmark.queries[setting] if d not in {run.query_domain for run in lists}]
    if absent:
        about.append(f"not measured, since there are no images or they were not asked for: {', '.join(absent)}")
    name = _protocol_name(setting, mixed=mixed, random_split=random_split, invert=invert)
    extra = {} if plan.universal is None else {"universal_split": plan.universal.model_dump(mode="json")}
    return ranked.evaluation(
        name, convention, encoder, marks=about, skipped=skipped, unlabelled=unlabelled, extra=extra
    )


def find_universal(
    catalog: Catalog, *, random_split: bool = False, own: UniversalSplit | None = None
) -> UniversalBenchmark:
    """The benchmark that a catalog holds: the one that knows most of its classes and has its gallery's domain.

    Images of another benchmark whose classes are among them, such as PACS's, keep that one's name.

    Args:
        catalog: labelled images.
        random_split: see ``_evaluate_universal``.
        own: which classes and domains are unseen, where the images are of no published benchmark.

    Raises:
        EvaluationError: when it is none, or the split of one's own does not fit the images.
    """
    if own is not None:
        return _own_benchmark(catalog, own)
    labels, domains = catalog.classes, set(catalog.domains)
    best, known = None, 0
    for name, benchmark in BENCHMARKS.items():
        if name.startswith("sketchy") and name.endswith("random") != random_split:
            continue
        spelling = benchmark.spelling
        count = sum(label in spelling for label in labels) if benchmark.gallery in domains else 0
        if count > known:
            best, known = benchmark, count
    if best is None or 2 * known < len(labels):
        raise EvaluationError(
            "the universal protocols are defined on DomainNet, Sketchy and TU-Berlin, and these images are none of"
            " them (domain 'real' or 'photo' with the published class names). Write a manifest of a published"
            " layout with: crosslens data list ROOT --as domainnet --out domainnet.parquet. On images of your own,"
            " say in a file which classes and domains are unseen: --universal-split FILE"
        )
    other = recognise(labels, known=known, fewer=len(best.split.seen) + len(best.split.unseen))
    if other is None:
        return best
    # Its classes are a part of the benchmark's, so it can be measured; but what is measured is not the benchmark.
    name = f"{other.title}, by the classes of {best.name}"
    return replace(best, name=name, headline="no such numbers")


def _own_benchmark(catalog: Catalog, own: UniversalSplit) -> UniversalBenchmark:
    """What a universal split makes of these images, with names as the images have them."""
    classes, domains = Spelling(catalog.classes), Spelling(catalog.domains)
    unseen = classes.require(own.unseen_classes, "class", EvaluationError)
    others = [name for name in catalog.classes if name not in unseen]
    seen = others if own.seen_classes is None else classes.require(own.seen_classes, "class", EvaluationError)
    (gallery,) = domains.require(own.gallery, "domain", EvaluationError)
    strange = domains.require(own.unseen_domains, "domain", EvaluationError)
    known = [name for name in catalog.domains if name not in strange]
    known = known if own.seen_domains is None else [*domains.require(own.seen_domains, "domain", EvaluationError)]
    for what, both in (("class", {*seen} & {*unseen}), ("domain", {*known} & {*strange})):
        if both:
            raise EvaluationError(
                f"the universal split calls the {what} {', '.join(sorted(both))} seen and unseen"
            )
    if gallery in strange:
        raise EvaluationError(
            f"the universal split calls its gallery {gallery} an unseen domain; what answers is of a seen one"
        )
    if len(unseen) < 2:
        raise EvaluationError(
            "the universal split names fewer than two unseen classes: every answer would be right"
        )
    asking = {
        "ucdr": strange,
        "uccdr": tuple(name for name in known if name != gallery),
        "udcdr": strange if seen else (),
    }
    return UniversalBenchmark(
        name="your universal split",
        split=Split("own", "own", tuple(seen), unseen, Headline((), "standard")),
        gallery=gallery,
        queries={setting: names for setting, names in asking.items() if names},
        inverted=(),
        headline="",
        mixes=bool(seen),
        is_published=False,
    )


def _asking_classes(benchmark: UniversalBenchmark, setting: Setting) -> tuple[str, ...]:
    """The classes of a setting's queries."""
    if setting != "udcdr":
        return benchmark.split.unseen
    return benchmark.split.seen[: _UDCDR_CLASSES if benchmark.is_published else None]


def learned_marks(
    benchmark: UniversalBenchmark,
    setting: str,
    *,
    classes: Sequence[str],
    source: str,
    domains: Sequence[str] = (),
) -> list[str]:
    """What must be said where training knew what the protocol holds unseen.

    Args:
        benchmark: what is measured on.
        setting: a ``Setting``: whether classes, domains or both should be unseen.
        classes: that were learned from, in any spelling.
        source: what of them was learned from: ``names`` or ``images``.
        domains: whose images were learned from.
    """
    marks = []
    known = {comparable(benchmark.spelling(name)) for name in classes}
    leaked = [name for name in benchmark.split.unseen if comparable(name) in known]
    if setting != "udcdr" and leaked:
        told = ", ".join(leaked[:5]) + (", …" if len(leaked) > 5 else "")
        marks.append(
            f"not unseen: training had the {source} of {len(leaked)} of the {len(benchmark.split.unseen)} unseen"
            f" classes ({told})"
        )
    asking = [domain for domain in benchmark.queries.get(setting, ()) if domain in domains]
    if setting != "uccdr" and asking:
        marks.append(f"not unseen: training had images of the query domain {', '.join(asking)}")
    return marks


def published_spelling(catalog: Catalog, benchmark: UniversalBenchmark) -> Catalog:
    """The same images with class names as in the published lists."""
    return catalog.relabel(benchmark.spelling)


def universal_lists(
    catalog: Catalog,
    benchmark: UniversalBenchmark,
    setting: Setting,
    *,
    mixed: bool = False,
    domains: Sequence[str] | None = None,
) -> list[UniversalLists]:
    """Queries and gallery of every run of a setting; a function of the sorted paths and class lists alone.

    Args:
        catalog: with published domain and class names.
        benchmark: what it holds.
        setting, mixed, domains: see ``_evaluate_universal``.

    Raises:
        EvaluationError: see ``_evaluate_universal``.
    """
    defined = setting in benchmark.queries and not (mixed and (setting == "udcdr" or not benchmark.mixes))
    if not defined and not benchmark.is_published:
        name = _protocol_name(setting, mixed=mixed)
        lacks = "another seen domain to ask with" if setting == "uccdr" else "an unseen domain to ask with"
        lacks = "a seen class" if not benchmark.split.seen and (mixed or setting == "udcdr") else lacks
        have = ", ".join(benchmark.queries) or "no protocol"
        raise EvaluationError(f"{name} needs {lacks}, and the universal split names none; it does for {have}")
    if not defined:
        raise EvaluationError(
            f"{benchmark.name} has no setting {_protocol_name(setting, mixed=mixed)}; it has"
            f" {', '.join(benchmark.queries)}. These images were taken for it by their class names; if they are"
            " none of DomainNet, Sketchy and TU-Berlin, say which classes and domains are unseen"
            " (--universal-split FILE), or measure with --protocol pairs or zero-shot"
        )
    present = set(catalog.domains)
    domains = None if domains is None else [*map(Spelling(present), domains)]
    asked = [d for d in benchmark.queries[setting] if d in present and (domains is None or d in domains)]
    if benchmark.gallery not in present or not asked:
        raise EvaluationError(
            f"{setting} on {benchmark.name} needs the domain {benchmark.gallery} and at least one of"
            f" {', '.join(benchmark.queries[setting])}; here are {', '.join(sorted(present))}"
        )
    rows = _rows_by_class(catalog)
    unseen, seen = benchmark.split.unseen, benchmark.split.seen
    runs = []
    for domain in asked:
        if setting == "udcdr":
            share = 0.1 if domain == "quickdraw" else 0.25
            classes = _asking_classes(benchmark, setting)
            draw = partial(_drawn, share=share) if benchmark.is_published else _all
            queries = _each(classes, rows[domain], draw)
            gallery = _each(classes, rows[benchmark.gallery], draw)
        else:
            queries = _each(unseen, rows[domain], _all)
            gallery = _each(unseen, rows[benchmark.gallery], _all)
            if mixed:
                gallery += _each(seen, rows[benchmark.gallery], _held_out if benchmark.is_published else _all)
        if not queries or not gallery:
            empty = domain if not queries else benchmark.gallery
            raise EvaluationError(
                f"{setting} on {benchmark.name}: no image of {empty} is in the classes that it asks with"
            )
        if len({catalog.labels[row] for row in gallery}) < 2:
            raise EvaluationError(
                f"{setting} on {benchmark.name}: the gallery has one class, {catalog.labels[gallery[0]]}; then"
                " every answer would be right" + ("; are these its images?" if benchmark.is_published else "")
            )
        runs.append(UniversalLists(domain, benchmark.gallery, tuple(queries), tuple(gallery)))
    return runs


def _protocol_name(
    setting: str, *, mixed: bool = False, random_split: bool = False, invert: _Invert = "never"
) -> str:
    """The name under which a setting is registered, such as ``ucdr-mixed-inverted``."""
    parts = [setting, "random" * random_split, "mixed" * mixed, "inverted" * (invert == "protocol")]
    return "-".join(part for part in parts if part)


def inverted(backbone: Any) -> Any:
    """The same backbone behind colour inversion; its fingerprint, and so its cached features, are others."""
    twin = copy.copy(backbone)
    twin.preprocess = backbone.preprocess.model_copy(update={"invert": True})
    return twin


def _rows_by_class(catalog: Catalog) -> dict[str, dict[str, list[int]]]:
    """Rows by domain and class, each in the order of its sorted paths."""
    found: dict[str, dict[str, list[int]]] = {}
    domains, labels, paths = catalog.column("domain"), catalog.labels, catalog.column("path")
    for row in sorted(range(len(catalog)), key=paths.__getitem__):
        label = labels[row]
        if label is not None:
            found.setdefault(domains[row], {}).setdefault(label, []).append(row)
    return found


def _each(
    classes: Sequence[str], rows: dict[str, list[int]], take: Callable[[int, list[int]], list[int]]
) -> list[int]:
    return [row for number, name in enumerate(classes) for row in take(number, rows.get(name, []))]


def _all(number: int, found: list[int]) -> list[int]:
    return found


def _drawn(number: int, found: list[int], share: float) -> list[int]:
    """``int(share n)`` of the n images, without replacement, under the class's position as seed."""
    if not found:
        return []
    chosen = np.random.RandomState(number).choice(len(found), int(share * len(found)), replace=False)
    return [found[position] for position in chosen]


def _held_out(number: int, found: list[int]) -> list[int]:
    """What is left of the images when the training share is drawn."""
    drawn = set(_drawn(number, found, _TRAINED_SHARE))
    return [row for row in found if row not in drawn]


_SETTINGS: tuple[tuple[Setting, bool, bool], ...] = (
    ("ucdr", False, False),
    ("ucdr", True, False),
    ("uccdr", False, False),
    ("uccdr", True, False),
    ("uccdr", False, True),
    ("udcdr", False, False),
)
_INVERT: tuple[_Invert, ...] = ("never", "protocol")
UNIVERSAL: dict[str, Callable[[Encoder, Plan], Evaluation]] = {
    _protocol_name(setting, mixed=mixed, random_split=random_split, invert=invert): partial(
        _evaluate_universal, setting=setting, mixed=mixed, random_split=random_split, invert=invert
    )
    for invert in _INVERT
    for setting, mixed, random_split in _SETTINGS
}
"""By name: ``ucdr``, ``ucdr-mixed``, ``uccdr``, ``uccdr-mixed``, ``uccdr-random``, ``udcdr``; the same names with
``-inverted`` invert line drawings as the published code does."""
