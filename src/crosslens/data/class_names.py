"""Class names that a user gives: a file with one name a line, or a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosslens.data.names import caseless, read_name, spelt_apart, told_apart
from crosslens.support.addresses import place_of
from crosslens.support.errors import ConfigError


def read_class_names(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in the order given, as ``names.read_name`` reads them, without blank lines and ``# comments``.

    Args:
        source: a UTF-8 text file with one name a line, or the names themselves.

    Raises:
        ConfigError: when the file cannot be read, holds no name, or a name comes twice (upper and lower case,
            and the forms of Unicode, are one name).
    """
    if isinstance(source, str | Path):
        place = str(source)
        try:
            lines = place_of(source).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the class names in {source} cannot be read: {error}") from error
    else:
        place, lines = "the list of classes", list(source)
    names = []
    for line in lines:
        if line.strip() and not line.strip().startswith("#"):
            try:
                names.append(read_name(line))
            except ValueError as error:
                raise ConfigError(f"{place}: the class {line.strip()!r} {error}") from None
    if not names:
        raise ConfigError(f"{place} holds no class name; write one a line")
    for same in spelt_apart(names, caseless):
        raise ConfigError(f"{place} names the class {told_apart(same)} twice; every class needs one line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{place} names the class {twice!r} twice; every class needs one line")
    return tuple(names)
