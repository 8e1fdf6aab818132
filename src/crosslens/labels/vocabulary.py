"""Many everyday nouns, without those kept back: what a tuned encoder should go on telling apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from crosslens.labels.wording import clean_name, comparable


def nouns_without(names: Sequence[str]) -> tuple[str, ...]:
    """The class names of all bundled benchmark lists, cleaned, without ``names`` and what means much the same.

    Left out is every noun that shares a word with one of the names, singular or plural, or stands in one line of
    ``synonyms.json`` with it. Names a table cannot know are the user's own to judge.

    Args:
        names: classes that nothing may be learned about, in any spelling.

    Returns:
        Sorted nouns, some 480 where nothing is left out.
    """
    gone: set[str] = set()
    for name in names:
        gone |= _words(clean_name(name))
    related = [line for line in _synonyms() if any(_words(word) & gone for word in line)]
    whole = {comparable(name) for name in names} | {comparable(word) for line in related for word in line}
    return tuple(noun for noun in _nouns() if not _words(noun) & gone and comparable(noun) not in whole)


_SMALL = frozenset({"a", "an", "the", "of", "for", "with", "and", "in", "on", "animal", "great", "set"})


def _words(name: str) -> set[str]:
    """The words that carry a name's meaning, without a plural s."""
    plain = "".join(letter if letter.isalnum() else " " for letter in name.casefold())
    return {word.removesuffix("s") for word in plain.split() if word not in _SMALL}


@cache
def _nouns() -> tuple[str, ...]:
    folder = resources.files("crosslens.datasets").joinpath("splits")
    lines = [
        line.strip()
        for file in folder.iterdir()
        if file.name.endswith(".txt")
        for line in file.read_text("utf-8").splitlines()
    ]
    return tuple(sorted({clean_name(line).casefold() for line in lines if line}))


@cache
def _synonyms() -> list[list[str]]:
    found: list[list[str]] = json.loads(resources.files(__package__).joinpath("synonyms.json").read_text("utf-8"))
    return found
