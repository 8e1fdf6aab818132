"""The ``zero-shot`` protocol (CLAIR, zero-shot SBIR): classes that training never saw, split by name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.data.names import Spelling
from crosslens.datasets import published_splits
from crosslens.encoder import Encoder
from crosslens.evaluation.coverage import look_alikes
from crosslens.evaluation.measured import Evaluation, encode_domain, labelled_part, rank_directions
from crosslens.evaluation.plan import Plan
from crosslens.features.of_encoder import features_of_encoder
from crosslens.labels.wording import comparable
from crosslens.support.errors import EvaluationError
from crosslens.support.near_names import did_you_mean


def unseen_classes(rule: str | int | Sequence[str], classes: Sequence[str], seed: int = 0) -> tuple[str, ...]:
    """The unseen classes of a collection, in its own spelling and sorted.

    Args:
        rule: the name of a published split; a number of classes to draw, also as text; or class names, as a list
            or separated by commas. The exact name goes first, then any spelling of it; see ``data.names``.
        classes: the class names of the collection.
        seed: of the draw.

    Raises:
        EvaluationError: for a name that does not occur or could be two classes, a number or a list in a text that
            is a class's name too, or when no class would be left on either side.
    """
    own = sorted(set(classes))
    known = Spelling(own, key=comparable)
    text = rule.strip() if isinstance(rule, str) else ""
    published = published_splits()
    if text in own and (text in published or text.isdecimal()):
        other = "a published split" if text in published else "a number of classes to draw"
        raise EvaluationError(
            f"{text} is a class here, and could be {other} too; for the class put a comma behind it: {text},"
        )
    if text in published:
        wanted = set(map(comparable, published[text].unseen))
        spelling = Spelling((), published[text].aliases)
        chosen = [name for name in own if comparable(spelling(name)) in wanted]
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
        splits = f"; the published splits are {', '.join(published)}"
        if not names:
            raise EvaluationError(f"no unseen class (none given); the classes are {', '.join(own)}{splits}")
        near = "".join(did_you_mean(name, published) for name in names if name not in known)
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


def evaluate_zero_shot(encoder: Encoder, plan: Plan) -> Evaluation:
    """Queries of unseen classes against a gallery of unseen classes, every two domains both ways.

    Args:
        encoder: gives unit vectors.
        plan: with labelled images and the class names that training did not see.

    Raises:
        EvaluationError: for fewer than two domains, no unseen class, or domains without a common unseen class.
    """
    how, metrics = plan.how, plan.how.metrics()
    domains = plan.chosen_domains
    if len(domains) < 2:
        raise EvaluationError(f"zero-shot needs at least two domains, not {', '.join(domains) or 'none'}")
    if not plan.unseen:
        raise EvaluationError(
            "zero-shot measures classes that training did not see; name them (--unseen), or evaluate a run that"
            " was fitted with --unseen"
        )
    names = unseen_classes(plan.unseen, plan.catalog.select(domains=domains).classes)
    gallery, unlabelled = labelled_part(plan.images(), domains)
    if not plan.generalised:
        gallery = gallery.select(labels=names)
    rows = zip(gallery.column("domain"), gallery.labels, strict=True)
    asking = {domain for domain, label in rows if label in names}
    for domain in domains:
        if domain not in asking:
            alike = look_alikes(names, set(plan.catalog.classes).difference(names))
            raise EvaluationError(
                f"no image of the domain {domain!r} is of an unseen class ({', '.join(names)}){alike}"
            )
    found = features_of_encoder(gallery, encoder, folder=how.features, device=how.device)
    sides = {domain: encode_domain(encoder, found.of_domain(domain), domain) for domain in domains}
    asked = {domain: side.of_classes(names) for domain, side in sides.items()}
    order = [(asked[query], sides[answer]) for query, answer in permutations(domains, 2)]
    ranked = rank_directions(order, metrics, how.convention, how.depth, how.goal)
    said = [f"zero-shot: {len(names)} unseen classes ({', '.join(names[:10])}{', …' if len(names) > 10 else ''})"]
    if len(set(gallery.labels)) == 1:
        said.append("the gallery has one class, so that every answer is right; give more unseen classes")
    known = set(map(comparable, encoder.backbone.taught))
    if taught := [name for name in names if comparable(name) in known]:
        said.append(
            f"{encoder.backbone.name} learned drawings of {len(taught)} of these by name ({', '.join(taught[:10])}"
            f"{', …' if len(taught) > 10 else ''}): unseen by the training, not by the backbone"
        )
    if plan.generalised:
        said.append("generalised: the gallery holds seen classes too")
    return ranked.evaluation(
        "zero-shot",
        how.convention,
        encoder,
        marks=(*plan.marks, *said),
        skipped=len(found.skipped),
        unlabelled=unlabelled,
        extra={"unseen": list(names), "generalised": plan.generalised},
    )
