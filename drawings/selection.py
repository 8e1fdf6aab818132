"""Which icons teach, and what they show: concrete things by WordNet's nouns, of sets whose licence allows it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LICENCES = ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-3.0", "ISC", "Unlicense", "BSD-3-Clause")
"""Licences that neither bind what is learned to themselves nor forbid commerce."""
LEFT_OUT = {
    "openmoji": "measured on",
    "twemoji": "measured on",
    "flag": "flags",
    "circle-flags": "flags",
    "flagpack": "flags",
    "cif": "flags",
    "svg-spinners": "nothing but motion",
    "line-md": "drawn by an animation",
    "fa": "older than fa7-solid",
    "fa-solid": "older than fa7-solid",
    "fa-regular": "older than fa7-regular",
    "fa6-solid": "older than fa7-solid",
    "fa6-regular": "older than fa7-regular",
    "heroicons-solid": "older than heroicons",
    "heroicons-outline": "older than heroicons",
    "bx": "older than boxicons",
    "bxs": "older than boxicons",
    "famicons": "a copy of ion",
    "material-symbols-light": "material-symbols, thinner",
}
"""Sets that stay out, and why; OpenMoji and Twemoji because the built-in data is made of them."""
CATEGORIES_LEFT_OUT = ("Logos", "Programming")

CONCRETE = {
    5: "animal",
    6: "artifact",
    8: "body",
    13: "food",
    17: "object",
    18: "person",
    20: "plant",
}
"""WordNet's lexicographer files of things one can draw."""
PICTORIAL = (
    "fluent-emoji-flat", "fluent-emoji", "fluent-emoji-high-contrast", "noto", "noto-v1", "emojione",
    "emojione-monotone", "fxemoji", "streamline-emojis", "game-icons", "dinkie-icons",
    "streamline-freehand", "streamline-freehand-color", "healthicons", "pinhead", "temaki", "maki", "roentgen",
    "osmic", "lucide-lab", "icon-park", "icon-park-outline", "icon-park-solid", "icon-park-twotone", "iconmind",
    "ph", "fa7-solid", "lucide", "tabler", "mdi", "hugeicons", "solar", "streamline-color", "streamline",
    "streamline-ultimate", "streamline-ultimate-color", "streamline-flex", "streamline-flex-color",
    "streamline-plump", "streamline-plump-color", "streamline-sharp", "streamline-sharp-color",
    "streamline-kameleon-color", "streamline-stickies-color", "streamline-cyber", "streamline-cyber-color",
    "flat-color-icons", "marketeq", "meteocons", "fluent", "la",
)  # fmt: skip
"""Sets of pictures rather than signs, richest first; the order in which a name's icons are taken."""
EMOJI = PICTORIAL[:9]
"""Sets whose names are phrases written for people: they are taken as they stand."""
SIGNS = re.compile(
    r"^flag|\b(arrows?|button|chat|face with|keycap|letter|sign|square|circle|zodiac|card|road|map)\b|\b[a-z0-9]$"
)
"""Names of signs rather than things."""
_STYLE = re.compile(
    r"[- ](outlined?|filled?|solid|line|linear|bold|broken|duo|duotone|two[- ]?tone|twotone|thin|light|regular|"
    r"rounded|round|sharp|alt|alternate|color|colour|mini|small|large|negative|off|slash|\d+(px)?|[a-z]?\d+|x\d+)$"
)
_TONE = re.compile(r"[- ](medium[- ]light|medium[- ]dark|light|medium|dark)([- ]skin[- ]tone)?$")


@dataclass(frozen=True)
class Icon:
    """One drawing: where it stands and what it shows."""

    set: str
    name: str
    says: str
    """What it shows, in words."""

    @property
    def family(self) -> str:
        """The hand that drew it: sets that share their first word are one."""
        return self.set.split("-")[0].rstrip("0123456789")


def read_nouns(wordnet: Path) -> dict[str, int]:
    """Every noun of WordNet's ``dict`` folder, with the lexicographer file of its first sense."""
    files: dict[str, int] = {}
    for line in (wordnet / "data.noun").read_text("latin1").splitlines():
        if not line.startswith("  "):
            offset, file = line.split(" ", 2)[:2]
            files[offset] = int(file)
    nouns = {}
    for line in (wordnet / "index.noun").read_text("latin1").splitlines():
        if not line.startswith("  "):
            parts = line.split()
            nouns[parts[0].replace("_", " ")] = files[parts[-int(parts[2])]]
    return nouns


def usable_sets(collections: dict[str, Any]) -> list[str]:
    """Sets whose licence allows it and that are no logos, flags or the data that is measured on."""
    return [
        name
        for name, facts in collections.items()
        if facts["license"].get("spdx") in LICENCES
        and facts.get("category") not in CATEGORIES_LEFT_OUT
        and name not in LEFT_OUT
    ]


def plain_name(name: str, suffixes: list[str]) -> str:
    """An icon's name without its style: ``dog-side-outline`` is ``dog side``."""
    for suffix in sorted(suffixes, key=len, reverse=True):
        if suffix and name.endswith("-" + suffix):
            name = name[: -len(suffix) - 1]
            break
    while (shorter := _STYLE.sub("", name)) != name:
        name = shorter
    return name.replace("-", " ")


def select_icons(package: Path, wordnet: Path, *, most: int = 24) -> list[Icon]:
    """The icons that teach, in a fixed order.

    A name is taken when it is a concrete noun, or when its first or last word is one and the set's names are
    phrases; and when two families draw it. Of each set a name has two icons at most.

    Args:
        package: the unpacked ``@iconify/json``.
        wordnet: WordNet's ``dict``.
        most: icons a name.
    """
    nouns = read_nouns(wordnet)

    def concrete(words: str) -> bool:
        return nouns.get(words, nouns.get(words.removesuffix("s"), -1)) in CONCRETE

    collections = json.loads((package / "collections.json").read_text())
    usable = set(usable_sets(collections))
    order = [name for name in PICTORIAL if name in usable] + sorted(usable - set(PICTORIAL))
    found: dict[str, list[Icon]] = defaultdict(list)
    for set_name in order:
        content = json.loads((package / "json" / f"{set_name}.json").read_text())
        suffixes = list(content.get("suffixes") or {})
        taken: dict[str, int] = defaultdict(int)
        for name in sorted(content["icons"]):
            if content["icons"][name].get("hidden"):
                continue
            if set_name in EMOJI:
                if _TONE.search(name):
                    continue
                says = name.replace("-", " ")
                words = says.split()
                fits = concrete(says) or any(concrete(word) for word in (words[0], words[-1]))
            else:
                says = plain_name(name, suffixes)
                fits = concrete(says) or (set_name in PICTORIAL and " " in says and concrete(says.split()[-1]))
            if fits and taken[says] < 2 and not SIGNS.search(says):
                taken[says] += 1
                found[says].append(Icon(set_name, name, says))
    chosen = []
    for says in sorted(found):
        if len({icon.family for icon in found[says]}) >= 2 or found[says][0].set in EMOJI or says in nouns:
            chosen += found[says][:most]
    return chosen
