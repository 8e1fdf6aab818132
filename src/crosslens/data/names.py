"""How the names of domains and classes, and ids, are read, compared and matched to known ones.

A name that is typed need not be the text that is stored: archives and disks write an accent in one character
(NFC) or in two (NFD), hands write capitals, and lists write ``hot-air_balloon`` where folders have ``Hot air
balloon``. A known name is looked for by what is the same, strictest first: the text itself, its NFC form, that
without case, and at last its ``spelling_key`` or an alias. The first of these that finds one name decides; where
it finds two, nothing is guessed. What tells names apart, as the signs in ``C``, ``C#`` and ``C++`` or vowel signs
do, is never dropped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

from crosslens.support.errors import CatalogError, CrosslensError
from crosslens.support.near_names import did_you_mean

_INVISIBLE = (
    "\u00ad\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
"""Marks without width and without meaning at an end; joiners (U+200C, U+200D) belong to the letter before them."""
_ENDS = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_BRACKETS = re.compile(r"\(([^()]*)\)")
_DASHES = "\\-\u2010\u2011\u2012\u2013\u2014\u2212"
_SEPARATORS = re.compile(rf"[\s_,'\u2019\u02bc{_DASHES}]+")
_MIXED = 6
"""Up to this many folders of a path may be in either form without the others being so."""


def nfc(text: str) -> str:
    """The text in Unicode's composed form, in which readers hand on every name."""
    return unicodedata.normalize("NFC", text)


def read_name(text: str) -> str:
    """A domain's or class's name as it is kept: NFC, without white space and invisible marks at its ends.

    A tab between words is a space, which nobody can tell from it.

    Raises:
        ValueError: when nothing is left, or a line end, another control character or half a character is in it;
            the message goes on behind the name ("is blank").
    """
    if is_blank(text):
        raise ValueError("is blank")
    name = nfc(_ENDS.sub("", text)).replace("\t", " ")
    for letter in name:
        if letter in "\n\r\u0085\u2028\u2029":
            raise ValueError("holds a line end")
        if unicodedata.category(letter) == "Cc":
            raise ValueError(f"holds the control character U+{ord(letter):04X}")
        if unicodedata.category(letter) == "Cs":
            raise ValueError("is no UTF-8 text")
    return name


def name_or(text: str, otherwise: str) -> str:
    """``text`` as a name (``read_name``), or ``otherwise`` where it is none."""
    try:
        return read_name(text)
    except ValueError:
        return otherwise


def is_blank(text: str) -> bool:
    """Whether nothing is to be seen in a text: white space and invisible marks alone."""
    return not _ENDS.sub("", text)


def caseless(name: str) -> str:
    """What two writings of one name share that differ in Unicode form, case and spaces at the ends alone."""
    folded = unicodedata.normalize("NFD", _ENDS.sub("", name)).casefold()
    return unicodedata.normalize("NFC", folded)


def spelling_key(name: str) -> str:
    """What two spellings of one name share: no case, and no spaces, hyphens, commas and such between words.

    ``hot-air_balloon`` and ``Hot Air Balloon`` have one key; so have ``Real World`` and ``RealWorld``, ``mouse
    (animal)`` and ``mouse_(animal)``. All that is no separator stays: ``C#``, ``1.0``, ``मेला``, 😀. A separator
    between two digits stays (``1-0`` is not ``10``), and so does a hyphen at an end (``A-`` is not ``A``).
    """
    plain = caseless(name)
    apart = _BRACKETS.sub(r" \1 ", plain).strip(" _")
    return _SEPARATORS.sub(lambda found: _joint(apart, found), apart) or plain


def stored_forms(text: str) -> tuple[str, ...]:
    """The texts that may be stored where ``text`` is meant: itself, in NFC, in NFD; of a path, folder by folder.

    Indexes of earlier versions hold names as the disk had them, and ids start from paths, which stay so.

    Returns:
        At least one text, ``text`` first, none twice.
    """
    if text.isascii():
        return (text,)
    parts = [
        dict.fromkeys(unicodedata.normalize(form, part) for form in ("NFC", "NFD")) for part in text.split("/")
    ]
    if sum(len(forms) > 1 for forms in parts) > _MIXED:
        whole = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    else:
        whole = ["/".join(chosen) for chosen in product(*parts)]
    return tuple(dict.fromkeys((text, *whole)))


class AmbiguousNameError(CrosslensError):
    """A name that could be either of two known ones."""


class Spelling:
    """Finds the known name that is meant, whatever its spelling; see the module for what goes first.

    Args:
        names: the known names, each in the one spelling that ``find`` gives back.
        aliases: further spellings, and the known name each stands for.
        key: what spellings of one name share; the last thing that is compared.
    """

    def __init__(
        self,
        names: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        *,
        key: Callable[[str], str] = spelling_key,
    ) -> None:
        spelt = {name: name for name in names} | dict(aliases or {})
        self.names = tuple(dict.fromkeys(spelt.values()))
        self._compared: list[tuple[Callable[[str], str], dict[str, dict[str, None]]]] = []
        for same in (str, lambda name: nfc(_ENDS.sub("", name)), caseless, key):
            found: dict[str, dict[str, None]] = {}
            for spelling, name in spelt.items():
                found.setdefault(same(spelling), {})[name] = None
            self._compared.append((same, found))

    def __contains__(self, name: str) -> bool:
        return any(same(name) in found for same, found in self._compared)

    def __call__(self, name: str) -> str:
        """The known spelling of ``name``; a name that is not known stays as it is.

        Raises:
            AmbiguousNameError: see ``find``.
        """
        known = self.find(name)
        return name if known is None else known

    def find(self, name: str) -> str | None:
        """The known name that is meant; None where there is none.

        Raises:
            AmbiguousNameError: when two known names could be meant, naming both.
        """
        for same, found in self._compared:
            names = tuple(found.get(same(name), ()))
            if len(names) == 1:
                return names[0]
            if names:
                both = told_apart(names)
                raise AmbiguousNameError(f"{name!r} could be either of {both}; write the one you mean exactly")
        return None

    def require(
        self, wanted: str | Sequence[str], what: str, error: type[CrosslensError] = CatalogError, advice: str = ""
    ) -> tuple[str, ...]:
        """The known names that are meant, in the order given, none twice.

        Args:
            wanted: one name or several.
            what: kind of name, for messages: ``domain``, ``class``.
            error: what to raise.
            advice: goes behind the names that are known.

        Raises:
            CrosslensError: of the kind ``error``, for a name that is not known, with those that are near it, or
                that could be two.
        """
        found: dict[str, None] = {}
        missing = []
        for name in [wanted] if isinstance(wanted, str) else wanted:
            try:
                known = self.find(name)
            except AmbiguousNameError as ambiguous:
                raise error(f"the {what} {ambiguous}") from None
            if known is None:
                missing.append(name)
            else:
                found[known] = None
        if missing:
            plural = f"{what}es" if what.endswith("s") else f"{what}s"
            have = ", ".join(sorted(self.names)) or "none"
            near = "".join(dict.fromkeys(did_you_mean(name, self.names) for name in missing))
            told = f"no image has the {what} {', '.join(missing)}; the {plural} here are: {have}"
            raise error(f"{told}{advice}{near}")
        return tuple(found)


def spelt_apart(names: Iterable[str], key: Callable[[str], str] = spelling_key) -> list[tuple[str, ...]]:
    """Names that look like one in several spellings, in groups of two or more, as they came."""
    by_key: dict[str, dict[str, None]] = {}
    for name in names:
        by_key.setdefault(key(name), {})[name] = None
    return [tuple(group) for group in by_key.values() if len(group) > 1]


def told_apart(names: Sequence[str]) -> str:
    """Names in quotes, joined by "and"; by their code points where they would look the same."""
    look = {nfc(name) for name in names}
    return " and ".join(repr(name) if len(look) == len(names) else ascii(name) for name in names)


def _joint(text: str, found: re.Match[str]) -> str:
    """What a run of separators counts for between spellings: nothing, but see ``spelling_key``."""
    start, end = found.span()
    if start == 0 or end == len(text):
        return "-" if re.search(rf"[{_DASHES}]", found[0]) else ""
    return " " if text[start - 1].isnumeric() and text[end].isnumeric() else ""
