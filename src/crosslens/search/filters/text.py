"""Filters as text, for the command line.

    filter    = all ("or" all)*
    all       = one ("and" one)*
    one       = "not" one | "(" filter ")" | condition
    FIELD     = a name, in `backticks` where it holds spaces or signs
    condition = FIELD ("=" | "!=" | "<" | "<=" | ">" | ">=") VALUE
              | FIELD ["not"] "in" "(" VALUE ("," VALUE)* ")"
              | FIELD ["not"] "between" VALUE "and" VALUE
              | FIELD ["not"] "starts" "with" TEXT
              | FIELD "is" ["not"] "null"

A text stands in single or double quotes, with the quote doubled inside; numbers, ``true`` and ``false`` stand
without. A name that is none of ``FIELDS`` is a column of people's own, see ``binding``. ``modified`` also takes
a day or a time as text, ``'2026-01-31'`` or ``'2026-01-31T12:00'``, read as UTC; a day stands for all of it, from
its first second to its last. ``!=`` and ``not in`` are the opposites of ``=`` and ``in``, so rows without a value
match them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import NamedTuple, NoReturn

from pydantic import ValidationError

from crosslens.search.filters.conditions import (
    DEEPEST,
    FIELDS,
    And,
    Eq,
    Filter,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Value,
)
from crosslens.support.errors import ConfigError

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<word>[^\W\d]\w*)|(?P<name>`[^`]+`)|(?P<mark><=|>=|!=|<>|[=<>(),]))"
)

_DAY = 24 * 60 * 60
_DIGITS = 20
"""Of the longest whole number that a field may hold, with its sign."""


class _Token(NamedTuple):
    kind: str
    value: str
    position: int


def parse_filter(text: str) -> Filter:
    """Read the text form of a filter.

    Raises:
        ConfigError: pointing at the place that cannot be read.
    """
    try:
        return _Parser(text).whole()
    except ValidationError as error:
        raise ConfigError(f"filter: {_reason(error)}") from error


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split(text))
        self.at = 0
        self.depth = 0

    def _split(self, text: str) -> list[_Token]:
        tokens, position = [], 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                position += len(text[position:]) - len(text[position:].lstrip())
                self._fail("cannot be read; texts stand in quotes", position)
            assert match.lastgroup is not None
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            position = match.end()
        return [*tokens, _Token("end", "", len(text))]

    def whole(self) -> Filter:
        condition = self._any()
        if self._now.kind != "end":
            self._fail("is not expected here; join conditions with 'and' or 'or'")
        return condition

    def _any(self) -> Filter:
        self.depth += 1
        if self.depth > DEEPEST:
            self._fail(f"stands inside more than {DEEPEST} brackets")
        parts = [self._all()]
        while self._skip("or"):
            parts.append(self._all())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else Or(filters=tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._skip("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(filters=tuple(parts))

    def _one(self) -> Filter:
        negations = 0
        while self._skip("not"):
            negations += 1
        if self._skip("("):
            condition = self._any()
            self._expect(")")
        else:
            condition = self._condition()
        return Not(filter=condition) if negations % 2 else condition

    def _condition(self) -> Filter:
        token = self._now
        if token.kind not in ("word", "name"):
            self._fail(f"is no field; the fields are {', '.join(FIELDS)}, and those of the index's own")
        self.at += 1
        name = token.value.strip("`")
        if token.kind == "word" and name.lower() in FIELDS:
            name = name.lower()
        try:
            return self._of(name)
        except ValidationError as error:
            self._fail(_reason(error), token.position)

    def _of(self, name: str) -> Filter:
        if self._skip("is"):
            absent = not self._skip("not")
            self._expect("null")
            present = Range.model_validate({"field": name})
            return Not(filter=present) if absent else present
        unlike = self._skip("not")
        if self._skip("in"):
            among = self._among(name)
            return Not(filter=among) if unlike else among
        if self._skip("between"):
            first, _ = self._span(name)
            self._expect("and")
            _, last = self._span(name)
            condition: Filter = Range.model_validate({"field": name, "min": first, "max": last})
            return Not(filter=condition) if unlike else condition
        if self._skip("starts"):
            self._expect("with")
            condition = Prefix.model_validate({"field": name, "value": self._span(name)[0]})
            return Not(filter=condition) if unlike else condition
        if unlike:
            self._fail("is not expected here; after 'not' comes in, between or starts with")
        return self._comparison(name)

    def _comparison(self, name: str) -> Filter:
        marks = "=, !=, <, <=, >, >=, in, between, starts with, is null"
        mark = self._take("mark", f"is no comparison for {name!r}; use {marks}")
        first, last = self._span(name)
        equal = _within(name, first, last)
        if mark.value == "=":
            return equal
        if mark.value in ("!=", "<>"):
            return Not(filter=equal)
        # Up to the last second of a day, or from its first; "<" and ">" leave all of it out.
        ends = {"<": ("max", last), "<=": ("max", last), ">": ("min", first), ">=": ("min", first)}
        if mark.value not in ends:
            self._fail("is no comparison", mark.position)
        end, value = ends[mark.value]
        within = Range.model_validate({"field": name, end: value})
        if mark.value in ("<", ">"):
            return And(filters=(within, Not(filter=equal)))
        return within

    def _among(self, name: str) -> Filter:
        """What stands behind ``in``: days are ranges, everything else is one list of values."""
        self._expect("(")
        spans = [self._span(name)]
        while self._skip(","):
            spans.append(self._span(name))
        self._expect(")")
        days = [_within(name, first, last) for first, last in spans if first != last]
        values = tuple(first for first, last in spans if first == last)
        if not days:
            return In.model_validate({"field": name, "values": values})
        return Or(filters=(*days, In.model_validate({"field": name, "values": values})))

    def _span(self, name: str) -> tuple[Value, Value]:
        """A value as the first and the last one it stands for, which differ for a day alone."""
        token = self._now
        if token.kind == "number":
            if len(token.value) > _DIGITS:
                self._fail(f"is too large for {name}")
            self.at += 1
            number = float(token.value) if re.search(r"[.eE]", token.value) else int(token.value)
            return number, number
        if token.kind == "word" and name not in FIELDS and token.value.lower() in ("true", "false"):
            self.at += 1
            return token.value.lower() == "true", token.value.lower() == "true"
        self._take("text", "is no value; write a whole number, or text in quotes")
        text = token.value[1:-1].replace(token.value[0] * 2, token.value[0])
        return self._seconds(text, token.position) if name == "modified" else (text, text)

    def _seconds(self, text: str, position: int) -> tuple[int, int]:
        with suppress(ValueError):
            day = datetime.combine(date.fromisoformat(text), time(), UTC)
            return int(day.timestamp()), int(day.timestamp()) + _DAY - 1
        try:
            moment = datetime.fromisoformat(text)
            second = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except ValueError:
            self._fail("is no day or time; write '2026-01-31', or seconds since 1970 without quotes", position)
        return second, second

    @property
    def _now(self) -> _Token:
        return self.tokens[self.at]

    def _skip(self, value: str) -> bool:
        token = self._now
        if token.kind in ("word", "mark") and token.value.lower() == value:
            self.at += 1
            return True
        return False

    def _expect(self, value: str) -> None:
        if not self._skip(value):
            self._fail(f"stands where {value!r} should")

    def _take(self, kind: str, otherwise: str) -> _Token:
        token = self._now
        if token.kind != kind:
            self._fail(otherwise)
        self.at += 1
        return token

    def _fail(self, why: str, position: int | None = None) -> NoReturn:
        where = self._now.position if position is None else position
        shown = self.text[where : where + 20] or "the end"
        raise ConfigError(f"filter, at character {where + 1}: {shown!r} {why}")


def _within(name: str, first: Value, last: Value) -> Filter:
    if first == last:
        return Eq.model_validate({"field": name, "value": first})
    return Range.model_validate({"field": name, "min": first, "max": last})


def _reason(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
