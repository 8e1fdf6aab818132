"""From facts to a method: rules alone, each with its reason. What they were measured on: docs/how-to/choose.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crosslens.api.auto.facts import Facts
from crosslens.evaluation.without_labels import LEAST, Agreement
from crosslens.methods import AUTO
from crosslens.support.errors import ConfigError, RunError
from crosslens.training.run import Run

KEPT = "centred"
"""What is taken where nothing that is trained would be better, or can be shown to be."""
_LEAST_NAMES = 2
_SAME_PICTURES = 0.5
"""Share of a domain's pictures that another one has too, from which there is no look between them."""
_THINGS = 0.8
"""Share of pictures that pair off, from which things are looked for unless a goal says otherwise.

Measured: 81 products 0.86, where uem beside the untrained features loses 0.02 and clair 0.13; clip art 0.74, where
uem gains 0.03 on one pair and loses 0.01 on another, clair gains 0.18; below 0.65 both gain. Things with a few
pictures each look like kinds (0.44 to 0.75), so it is better to say the goal."""


@dataclass(frozen=True)
class Choice:
    """A method for a collection, and what speaks for it.

    Attributes:
        method: its name.
        because: why this one.
        unless: what would change it.
        facts: what it rests on, as plain values.
        agreement: how the trained encoder was held against ``centred``, where it was.
        instead_of: the method that was trained first and set aside.
    """

    method: str
    because: str
    unless: str
    facts: Mapping[str, Any]
    agreement: Mapping[str, Any] | None = None
    instead_of: str | None = None

    @property
    def sentences(self) -> tuple[str, str, str]:
        """What was chosen, why, and what would change it."""
        seen = self.facts["pictures"]
        what = ", ".join(f"{domain} {count}" for domain, count in seen.items()) or "class names alone"
        return f"auto takes {self.method} for {what}", f"because {self.because}", f"it would change: {self.unless}"

    def to_json(self) -> dict[str, Any]:
        """As ``config.yaml`` keeps it under ``auto``."""
        values = {"method": self.method, "because": self.because, "unless": self.unless, "facts": dict(self.facts)}
        more = {"agreement": self.agreement and dict(self.agreement), "instead_of": self.instead_of}
        return values | {key: value for key, value in more.items() if value is not None}

    @classmethod
    def of_run(cls, run: Run) -> Choice | None:
        """What a run that began before was chosen by; None where nobody chose for it.

        Raises:
            RunError: when its ``config.yaml`` is damaged.
        """
        value = run.said(AUTO)
        try:
            return None if value is None else cls(**value)
        except TypeError as error:
            raise RunError(f"{run.folder}/config.yaml is damaged: {AUTO}: {error}") from error

    def judged(self, found: Agreement) -> Choice:
        """The choice after its encoder was held against ``centred``; another one unless it seems better."""
        held = {
            "value": round(found.value, 4),
            "centred": round(found.base, 4),
            "error": round(found.error, 4),
            "verdict": found.verdict,
        }
        if found.verdict == "better":
            return replace(self, agreement=held)
        return replace(
            self,
            method=KEPT,
            because=(
                f"{self.method} was trained and does not seem better: pictures alike find the same across the"
                f" looks to {found.value:.2f} with it, to {found.base:.2f} with {KEPT} (a hint without labels)"
            ),
            unless=f"labelled pictures could tell more: crosslens compare {KEPT} and the {self.method} set aside",
            agreement=held,
            instead_of=self.method,
        )


def choose(facts: Facts) -> Choice:
    """The method for what there is.

    Raises:
        ConfigError: when there is nothing to learn from: neither pictures nor two class names.
    """
    method, because, unless = _rule(facts)
    return Choice(method, because, "; ".join(unless), facts.to_json())


def _rule(facts: Facts) -> tuple[str, str, Sequence[str]]:
    if not facts.pictures:
        if facts.names < _LEAST_NAMES:
            raise ConfigError(
                "auto needs something to choose by: pictures (crosslens fit auto PICTURES), or at least"
                f" {_LEAST_NAMES} class names (--classes FILE)"
            )
        return "tki", "there are class names and no picture", ["pictures of two looks would, even unlabelled"]
    labels = f"{facts.labelled:.0%} of the pictures have labels, which 'fit supervised' alone learns from"
    others = [labels] if facts.labelled else []
    smallest = min(facts.pictures, key=lambda domain: facts.pictures[domain])
    if facts.goal == "thing":
        return (
            KEPT,
            "the goal is the very same thing, and heads that are trained draw all of a kind together",
            ["--goal kind would" if len(facts.pictures) > 1 else "--goal kind and another look would", *others],
        )
    if facts.copies >= _SAME_PICTURES:
        return (
            KEPT,
            f"{facts.copies:.0%} of the pictures of {smallest} lie in another domain too, so that there is no look"
            " to overcome",
            ["domains that show different looks would", *others],
        )
    is_named = facts.names >= _LEAST_NAMES and facts.reads_words
    if facts.goal is None and facts.paired >= _THINGS:
        return (
            KEPT,
            f"{facts.paired:.0%} of the pictures of the smaller look pair off with one of the other, as things do"
            " rather than kinds, and training loses the very same thing",
            ["--goal kind would, where more of a sort is looked for", *others],
        )
    if len(facts.pictures) == 1:
        return (
            KEPT,
            "there is one look, and nothing to bring together",
            ["pictures of another look would", *others],
        )
    if facts.pictures[smallest] < LEAST:
        return (
            KEPT,
            f"{smallest} has {facts.pictures[smallest]} pictures, and below {LEAST} nothing tells whether training"
            " helped",
            [f"{LEAST} pictures or more of every domain would", *others],
        )
    if is_named and len(facts.pictures) == 2:
        return (
            "clair",
            f"there are pictures and {facts.names} class names, and with names clair gained most on the whole",
            ["without names it would be uem", f"--goal thing would give {KEPT}", *others],
        )
    return (
        "uem",
        f"there are pictures and {_no_names(facts)}, and uem gained most of what is given these, whether the"
        " domains show the same classes or not",
        [f"--goal thing would give {KEPT}", *others],
    )


def _no_names(facts: Facts) -> str:
    if not facts.names:
        return "no class names (--classes FILE), with which clair gains most for two domains"
    if facts.names < _LEAST_NAMES:
        return "1 class name, which tells nothing apart"
    if not facts.reads_words:
        return "class names that the backbone cannot read"
    return f"{len(facts.pictures)} domains, and clair takes two"
