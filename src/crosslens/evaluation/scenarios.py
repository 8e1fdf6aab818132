"""Which classes the query and the gallery domain have: close-set, partial, open-set (UEM, section 4.1).

A scenario restricts training and measuring alike. The labels it takes to restrict them are the protocol's; the
method gets the images that are left, with labels hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling, nfc
from crosslens.evaluation.coverage import look_alikes
from crosslens.support.errors import EvaluationError
from crosslens.support.near_names import did_you_mean

Kind = Literal["close-set", "partial", "open-set"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Scenario:
    """The classes on each side, by name.

    Attributes:
        kind: ``close-set``, ``partial`` or ``open-set``.
        shared: classes that both domains have.
        private_query: classes of the query domain alone; their queries have no counterpart.
        private_gallery: classes of the gallery domain alone.
        seed: of the draw.
    """

    kind: Kind
    shared: tuple[str, ...]
    private_query: tuple[str, ...] = ()
    private_gallery: tuple[str, ...] = ()
    seed: int = 2024

    @property
    def query_classes(self) -> tuple[str, ...]:
        """All classes of the query domain, sorted."""
        return tuple(sorted((*self.shared, *self.private_query)))

    @property
    def gallery_classes(self) -> tuple[str, ...]:
        """All classes of the gallery domain, sorted."""
        return tuple(sorted((*self.shared, *self.private_gallery)))

    @classmethod
    def draw(
        cls,
        kind: str,
        classes: Sequence[str],
        *,
        seed: int = 2024,
        shared: int | None = None,
        private_query: int | None = None,
        private_gallery: int | None = None,
    ) -> Scenario:
        """ScenarioDraw the classes of a scenario: a random permutation of the sorted names, cut in parts.

        The published rule is the default: half of the C classes, ``C // 2``, are shared; the rest belong to the
        gallery alone in ``partial`` and to the queries alone in ``open-set``. How the authors rounded and drew is
        not stated. Private classes asked for on the other side are set apart first, and the rule halves what is
        left.

        Args:
            kind: the scenario.
            classes: all class names.
            seed: of the permutation; 2024, 2025 and 2026 are the seeds of the paper's runs.
            shared, private_query, private_gallery: how many classes of each sort; the rule's where left out.

        Raises:
            EvaluationError: for an unknown scenario, more classes than there are, no shared class, or none of the
                sort the scenario is about: private to the gallery in ``partial``, to the queries in ``open-set``.
        """
        if kind not in KINDS:
            raise EvaluationError(
                f"there is no scenario {kind!r}; known: {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
            )
        names = sorted(set(classes))
        if not names:
            raise EvaluationError("these images have no labels, so classes cannot be split; give labelled images")
        given = {"shared": shared, "private_query": private_query, "private_gallery": private_gallery}
        shared, private_query, private_gallery = _numbers(kind, len(names), given)
        order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
        cuts = np.cumsum([shared, private_query, private_gallery])
        parts = [tuple(sorted(order[a:b])) for a, b in zip((0, *cuts[:-1]), cuts, strict=True)]
        return cls(kind, parts[0], parts[1], parts[2], seed)

    @classmethod
    def draw_for(cls, catalog: Catalog, kind: str, query: str, gallery: str, **numbers: int | None) -> Scenario:
        """ScenarioDraw a scenario from the classes two domains have in common; ``numbers`` as in ``draw``.

        Raises:
            EvaluationError: see ``draw``; also when the domains have no class in common.
        """
        sides = [set(catalog.select(domains=[domain]).classes) for domain in (query, gallery)]
        if not all(sides):
            raise EvaluationError("these images have no labels, so classes cannot be split; give labelled images")
        if not sides[0] & sides[1]:
            raise EvaluationError(
                f"{query} and {gallery} have no class in common, so no scenario can be drawn{look_alikes(*sides)}"
            )
        chosen = {key: value for key, value in numbers.items() if value is not None}
        return cls.draw(kind, sorted(sides[0] & sides[1]), **chosen)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scenario:
        """What ``to_json`` gave.

        Raises:
            EvaluationError: when a key is missing or unknown.
        """
        try:
            lists = {key: tuple(map(nfc, value[key])) for key in ("shared", "private_query", "private_gallery")}
            return cls(kind=value["kind"], seed=int(value["seed"]), **lists)
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"this is no scenario: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a run's ``config.yaml`` keeps them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def mirrored(self) -> Scenario:
        """The same classes with query and gallery exchanged: partial becomes open-set and the reverse."""
        kinds: dict[Kind, Kind] = {"partial": "open-set", "open-set": "partial", "close-set": "close-set"}
        return Scenario(kinds[self.kind], self.shared, self.private_gallery, self.private_query, self.seed)

    def restrict(self, catalog: Catalog, query: str, gallery: str) -> Catalog:
        """The images of the query and the gallery domain whose classes the scenario keeps; the order stays.

        Raises:
            EvaluationError: when a domain has none of its classes, or the two share none.
        """
        as_here = Spelling(catalog.domains)
        query, gallery = as_here(query), as_here(gallery)
        wanted = {query: set(self.query_classes), gallery: set(self.gallery_classes)}
        pairs = list(zip(catalog.column("domain"), catalog.labels, strict=True))
        mask = np.array([domain in wanted and label in wanted[domain] for domain, label in pairs], dtype=bool)
        present: dict[str, set[str | None]] = {query: set(), gallery: set()}
        for (domain, label), keep in zip(pairs, mask, strict=True):
            if keep:
                present[domain].add(label)
        for domain, classes in present.items():
            if not classes:
                asked = ", ".join(sorted(wanted[domain]))
                raise EvaluationError(f"no image of the domain {domain!r} has one of the classes {asked}")
        if not present[query] & present[gallery]:
            raise EvaluationError(
                f"{query} and {gallery} share no class in this {self.kind} scenario; draw another (--draw) or"
                " raise --shared"
            )
        return catalog.where(mask)


@dataclass(frozen=True)
class ScenarioDraw:
    """A scenario whose classes are drawn once the images are known; what is None follows the published rule.

    Attributes:
        kind: ``close-set``, ``partial`` or ``open-set``.
        shared, private_query, private_gallery: how many classes of each sort.
        seed: of the draw.
    """

    kind: str
    shared: int | None = None
    private_query: int | None = None
    private_gallery: int | None = None
    seed: int | None = None

    def among(self, catalog: Catalog, query: str, gallery: str) -> Scenario:
        """The scenario for these images; see ``Scenario.draw_for``."""
        numbers = {name: number for name, number in asdict(self).items() if name != "kind"}
        return Scenario.draw_for(catalog, self.kind, query, gallery, **numbers)


def _numbers(kind: str, total: int, given: Mapping[str, int | None]) -> tuple[int, int, int]:
    """Classes shared, private to the queries and private to the gallery, of ``total``; see ``Scenario.draw``."""
    asked = {sort: count for sort, count in given.items() if count is not None}
    named = {"shared": "shared", "private_query": "query-private", "private_gallery": "gallery-private"}
    if min(asked.values(), default=0) < 0 or sum(asked.values()) > total:
        numbers = ", ".join(f"{count} {named[sort]}" for sort, count in asked.items())
        raise EvaluationError(f"{numbers}: these classes cannot be taken from {total}; give smaller numbers")
    own = {"partial": "private_gallery", "open-set": "private_query"}.get(kind)
    left = total - sum(asked.values())
    if "shared" not in asked:
        asked["shared"] = left // 2 if own and own not in asked else left
        left -= asked["shared"]
    if own and own not in asked:
        asked[own] = left
    if asked["shared"] < 1:
        raise EvaluationError(
            f"{kind} with {total} classes would share none, so nothing could be found; give --shared 1 or more"
            " and fewer private classes"
        )
    if own and asked[own] < 1:
        option = own.replace("_", "-")
        raise EvaluationError(
            f"{kind} needs a {named[own]} class, and these numbers of {total} classes have none; give --{option} 1"
            " or more and fewer of the others"
        )
    return asked["shared"], asked.get("private_query", 0), asked.get("private_gallery", 0)
