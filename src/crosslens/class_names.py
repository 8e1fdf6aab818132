"""Class names that a user gives: a file with one name a line, or a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosslens.errors import ConfigError


def read_class_names(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in the order given, without the spaces around them; empty lines and ``# comments`` are left out.

    Args:
        source: a UTF-8 text file with one name a line, or the names themselves.

    Raises:
        ConfigError: when the file cannot be read, holds no name, or a name comes twice (upper and lower case are
            one name).
    """
    if isinstance(source, str | Path):
        place = str(source)
        try:
            lines = Path(source).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the class names in {source} cannot be read: {error}") from error
    else:
        place, lines = "the list of classes", list(source)
    names = [name for line in lines if (name := line.strip()) and not name.startswith("#")]
    if not names:
        raise ConfigError(f"{place} holds no class name; write one a line")
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            raise ConfigError(f"{place} names the class {name!r} twice; every class needs one line")
        seen[name.casefold()] = name
    return tuple(names)
