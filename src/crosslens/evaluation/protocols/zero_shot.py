"""The ``zero-shot`` protocol (CLAIR, zero-shot SBIR): classes that training never saw, split by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import permutations
from pathlib import Path

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling, did_you_mean
from crosslens.datasets.tu_berlin import ALIASES as TU_BERLIN_ALIASES
from crosslens.encoder import Encoder
from crosslens.evaluation.conventions import DEFAULT_KS, Ties
from crosslens.evaluation.coverage import look_alikes
from crosslens.evaluation.measured import (
    Evaluation,
    convention_metrics,
    encode_domain,
    labelled_part,
    rank_directions,
)
from crosslens.features.of_encoder import features_of_encoder
from crosslens.labels.wording import comparable
from crosslens.support.errors import EvaluationError

SPLITS = {
    "tu-berlin": "tu_berlin_unseen",
    "sketchy-1": "sketchy_split1_unseen",
    "sketchy-2": "sketchy_split2_unseen",
    "quickdraw": "quickdraw_unseen",
    "domainnet": "domainnet_unseen",
}
"""Published splits: the name for ``--unseen`` and the file of unseen classes in ``datasets/splits``.

TU-Berlin 220 / 30, Sketchy split 1 100 / 25 and split 2 104 / 21, QuickDraw 80 / 30 as in ZSE-SBIR's files;
DomainNet 300 / 45 as in UCDR's (validation classes belong to the seen ones).
"""


def unseen_classes(rule: str | int | Sequence[str], classes: Sequence[str], seed: int = 0) -> tuple[str, ...]:
    """The unseen classes of a collection, in its own spelling and sorted.

    Args:
        rule: a name in ``SPLITS``; a number of classes to draw, also as text; or class names, as a list or
            separated by commas. The exact name goes first, then any spelling of it; see ``crosslens.data.names``.
        classes: the class names of the collection.
        seed: of the draw.

    Raises:
        EvaluationError: for a name that does not occur or could be two classes, a number or a list in a text that
            is a class's name too, or when no class would be left on either side.
    """
    own = sorted(set(classes))
    known = Spelling(own, key=comparable)
    text = rule.strip() if isinstance(rule, str) else ""
    if text in own and (text in SPLITS or text.isdecimal()):
        other = "a published split" if text in SPLITS else "a number of classes to draw"
        raise EvaluationError(
            f"{text} is a class here, and could be {other} too; for the class put a comma behind it: {text},"
        )
    if text in SPLITS:
        wanted = set(map(comparable, _split(SPLITS[text])))
        published = Spelling((), TU_BERLIN_ALIASES if text == "tu-berlin" else None)
        chosen = [name for name in own if comparable(published(name)) in wanted]
        if not chosen:
            raise EvaluationError(
                f"none of the unseen classes of {rule} occurs here; the classes are {', '.join(own)}"
            )
    elif isinstance(rule, int) or text.isdecimal():
        count = rule if isinstance(rule, int) else int(text)
        if not 1 <= count < len(own):
            raise EvaluationError(
                f"{count} unseen of {len(own)} classes leaves nothing to measure or to learn from"
            )
        picks = np.random.default_rng(seed).permutation(len(own))[:count]
        chosen = sorted(own[index] for index in picks)
    else:
        names = [part.strip() for part in rule.split(",")] if isinstance(rule, str) else list(rule)
        names = [name for name in names if name]
        if text in own and len(names) > 1:
            if all(name in known for name in names):
                raise EvaluationError(f"{text} is a class here, and a list of classes too; give a list in Python")
            names = [text]
        splits = f"; the published splits are {', '.join(SPLITS)}"
        if not names:
            raise EvaluationError(f"no unseen class (none given); the classes are {', '.join(own)}{splits}")
        near = "".join(did_you_mean(name, SPLITS) for name in names if name not in known)
        chosen = sorted(known.require(names, "class", EvaluationError, splits + near))
    if len(chosen) == len(own):
        raise EvaluationError("every class is unseen; leave at least one to learn from")
    return tuple(chosen)


def without_classes(catalog: Catalog, unseen: Sequence[str]) -> Catalog:
    """The images a training may see: all but those of unseen classes. Images without a label leave too.

    An unlabelled image may show anything, so it cannot be shown to be of a seen class.
    """
    gone = {comparable(name) for name in unseen}
    keep = [label is not None and comparable(label) not in gone for label in catalog.labels]
    return catalog.where(np.array(keep, dtype=bool))


def evaluate_zero_shot(
    encoder: Encoder,
    catalog: Catalog,
    *,
    unseen: Sequence[str] = (),
    generalised: bool = False,
    domains: Sequence[str] | None = None,
    convention: str = "standard",
    ks: Sequence[int] = DEFAULT_KS,
    depth: int = 100,
    ties: Ties = "stable",
    only: set[str] | None = None,
    features: Path | None = None,
    device: str | None = None,
    marks: Sequence[str] = (),
) -> Evaluation:
    """Queries of unseen classes against a gallery of unseen classes, every two domains both ways.

    Args:
        encoder: gives unit vectors.
        catalog: labelled images.
        unseen: the class names that training did not see.
        generalised: the gallery holds the images of seen classes too.
        domains: the domains to rank between; all by default.
        convention, ks, depth, ties, only, features, device, marks: as in the ``pairs`` protocol.

    Raises:
        EvaluationError: for fewer than two domains, no unseen class, or domains without a common unseen class.
    """
    metrics = convention_metrics(convention, ks, ties)
    chosen = list(catalog.domains_named(domains)) if domains else catalog.domains
    if len(chosen) < 2:
        raise EvaluationError(f"zero-shot needs at least two domains, not {', '.join(chosen) or 'none'}")
    if not unseen:
        raise EvaluationError(
            "zero-shot measures classes that training did not see; name them (--unseen), or evaluate a run that"
            " was fitted with --unseen"
        )
    catalog = catalog.select(domains=chosen)
    names = unseen_classes(tuple(unseen), catalog.classes)
    if only is not None:
        catalog = catalog.with_ids(only)
    gallery, unlabelled = labelled_part(catalog, chosen)
    if not generalised:
        gallery = gallery.select(labels=names)
    rows = zip(gallery.column("domain"), gallery.labels, strict=True)
    asking = {domain for domain, label in rows if label in names}
    for domain in chosen:
        if domain not in asking:
            alike = look_alikes(names, set(catalog.classes).difference(names))
            raise EvaluationError(
                f"no image of the domain {domain!r} is of an unseen class ({', '.join(names)}){alike}"
            )
    found = features_of_encoder(gallery, encoder, folder=features, device=device)
    sides = {domain: encode_domain(encoder, found.of_domain(domain), domain) for domain in chosen}
    asked = {domain: side.of_classes(names) for domain, side in sides.items()}
    order = [(asked[query], sides[answer]) for query, answer in permutations(chosen, 2)]
    ranked = rank_directions(order, metrics, convention, depth)
    said = [f"zero-shot: {len(names)} unseen classes ({', '.join(names[:10])}{', …' if len(names) > 10 else ''})"]
    if generalised:
        said.append("generalised: the gallery holds seen classes too")
    return ranked.evaluation(
        "zero-shot",
        convention,
        encoder,
        marks=(*marks, *said),
        skipped=len(found.skipped),
        unlabelled=unlabelled,
        extra={"unseen": list(names), "generalised": generalised},
    )


@cache
def _split(name: str) -> tuple[str, ...]:
    text = resources.files("crosslens.datasets").joinpath("splits", f"{name}.txt").read_text("utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())
