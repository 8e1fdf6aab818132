"""Class names as a text tower should read them: cleaned, with an article, worded for a domain's look.

The tables are in ``wording.json`` beside this file. Every look has the same number of templates in matching order,
so that the texts of two domains differ by the wording alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.backbones.reading import require_readable, shortened
from crosslens.data.names import Spelling, spelling_key
from crosslens.support.errors import BackboneError, ConfigError


def clean_name(name: str) -> str:
    """A class name as written in a folder or list, as plain English: ``hot-air_balloon`` to ``hot air balloon``.

    Names of the table come first; else underscores and hyphens become spaces and ``x (y)`` becomes ``x, y``.
    """
    table = _wording()["names"]
    if name.casefold() in table:
        return str(table[name.casefold()])
    plain = " ".join(name.replace("_", " ").replace("-", " ").split())
    head, bracket, rest = plain.partition("(")
    return f"{head.strip()}, {rest.rstrip(') ').strip()}" if bracket and rest.strip(") ") else plain


def with_article(name: str) -> str:
    """A cleaned name with a or an; proper names with "the", plurals and substances stay bare."""
    if name.casefold() in _wording()["bare"] or name.casefold().startswith("the "):
        return name
    plain = name.casefold()
    # The sound decides: a silent h, a u said as "you", letters spelled out.
    is_vowel = plain.startswith(("a", "e", "i", "o", "u", "hour", "honest", "heir"))
    is_vowel &= not plain.startswith(("uni", "u ", "use", "eu", "one"))
    return f"{'an' if is_vowel or name.startswith('SUV') else 'a'} {name}"


def look_of(domain: str, looks: Mapping[str, str] | None = None) -> str:
    """The look whose templates word a domain: the user's choice, else by the domain's name, else ``any``.

    Raises:
        ConfigError: when the user chose a look that does not exist, listing those that do.
    """
    known = _wording()["templates"]
    named = Spelling(looks or {}).find(domain)
    if looks and named is not None:
        if looks[named] not in known:
            raise ConfigError(f"there is no look {looks[named]!r} for {domain}; known: {', '.join(known)}")
        return looks[named]
    plain = " ".join(domain.replace("_", " ").replace("-", " ").split()).casefold()
    return str(_wording()["domains"].get(plain, "any"))


def templates_of(look: str) -> list[str]:
    """The templates of a look, ``{}`` for the name with its article."""
    return list(_wording()["templates"][look])


def class_texts(backbone: Backbone, names: Sequence[str], look: str) -> Tensor:
    """Text embeddings of class names under a look's templates: unit rows, averaged, unit again.

    Args:
        backbone: with a text tower.
        names: C class names as the user wrote them.
        look: see ``look_of``.

    Returns:
        ``(C, J)``, in the order of ``names``.

    Raises:
        BackboneError: when the backbone has no text tower; the message lists those that have.
        ConfigError: when the text tower knows no word of a name, a name is longer than its context, or two names
            are the same words to it.
    """
    require_text(backbone)
    require_readable(backbone, names, "class name(s)")
    plain = [with_article(clean_name(name)) for name in names]
    parts = [backbone.embed_texts([template.format(name) for name in plain]) for template in templates_of(look)]
    rows = F.normalize(torch.stack(parts).mean(0), dim=1)
    if not torch.isfinite(rows).all():
        raise ConfigError(f"the text tower of {backbone.name} gave NaN or infinite vectors for the class names")
    _require_short(backbone, names, [max(templates_of(look), key=len).format(name) for name in plain])
    same = (torch.cdist(rows.double(), rows.double()) < 1e-6).fill_diagonal_(False).nonzero()
    if len(same):
        first, second = (shortened(names[int(index)]) for index in same[0])
        raise ConfigError(
            f"{backbone.name} reads the classes {first!r} and {second!r} as the same text; name it once"
        )
    return rows


def require_text(backbone: Backbone) -> None:
    """Check that a backbone understands words.

    Raises:
        BackboneError: listing the backbones that do.
    """
    if not backbone.has_text:
        raise BackboneError(
            f"{backbone.name} has no text tower, so class names mean nothing to it; use one that has: lite,"
            " clip:PATH, siglip:PATH, openai-clip:FILE, open-clip:FILE"
        )


def same_class(first: str, second: str) -> bool:
    """Whether two names are one class, whatever their spelling: ``hot-air_balloon`` and ``Hot air balloon``."""
    return comparable(first) == comparable(second)


def comparable(name: str) -> str:
    """What the spellings of one class share: its ``names.spelling_key``, or that of its wording in the table."""
    key = spelling_key(name)
    return _worded_keys().get(key, key)


def _require_short(backbone: Backbone, names: Sequence[str], texts: Sequence[str]) -> None:
    """Refuse names that the text tower would cut silently: words added behind such a text change nothing."""
    texts = [text.rstrip(".") for text in texts]
    rows = backbone.embed_texts([*texts, *(f"{text} and something else beside it" for text in texts)])
    cut = (rows[: len(texts)] - rows[len(texts) :]).abs().amax(dim=1) < 1e-7
    if bool(cut.any()):
        first = names[int(cut.nonzero()[0])]
        raise ConfigError(
            f"the class name {shortened(first)!r} is longer than {backbone.name} can read at once; shorten it"
        )


@cache
def _worded_keys() -> dict[str, str]:
    """The keys of the table's names, and of what they are worded as."""
    return {spelling_key(name): spelling_key(plain) for name, plain in _wording()["names"].items()}


@cache
def _wording() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(resources.files(__package__).joinpath("wording.json").read_text("utf-8"))
    return value
