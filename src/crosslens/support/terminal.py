"""What people read in a terminal: every text goes through here, so that no name is taken for a command.

File names, labels and error messages hold whatever somebody typed: markup of Rich, escape sequences, letters that
turn the line round, bytes that are no UTF-8. JSON keeps them as they are; here they are made visible.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

# Joiners are part of emoji and of Persian words; signs such as the Arabic number sign can be seen.
_KEPT = frozenset(
    "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object) -> str:
    """``text`` on one line, with everything that a terminal would obey or hide written as an escape.

    Control characters, surrogates, line separators and the formatting characters that turn or hide letters become
    ``\\n``, ``\\x1b``, ``\\u202e``; a byte of a name that is no UTF-8 becomes ``\\xe9``.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(_escaped(letter) for letter in shown)


def in_bytes(size: int) -> str:
    """A size as people read it: ``12 kB``, ``3.4 MB``."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def echo(text: object, err: bool = False) -> None:
    """Print one line of text to standard output, or to standard error."""
    print(visible(text), file=sys.stderr if err else sys.stdout)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to standard output: drawn on a terminal, nothing cut off, and tab-separated elsewhere."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(map(visible, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Rich reads its markup out of every plain string.
    table = Table(title=Text(visible(title), "table.title"), title_justify="left", header_style="bold")
    for index, name in enumerate(header):
        table.add_column(Text(visible(name)), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    Console().print(table)


class VisibleFormatter(logging.Formatter):
    """Log records as lines without anything that a terminal would obey; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its names made visible."""
        lines = [visible(record.getMessage())]
        if record.exc_info:
            lines += map(visible, self.formatException(record.exc_info).splitlines())
        return "\n".join(lines)


def log_visibly() -> None:
    """Write what the package logs, warnings and worse, to standard error through ``VisibleFormatter``."""
    logger = logging.getLogger("crosslens")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(VisibleFormatter())
        logger.addHandler(handler)


def print_json(value: Any) -> None:
    """Print a value as exact JSON to standard output: in ASCII where the terminal cannot write all its letters."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


def print_document(text: str) -> None:
    """Print text of many lines for other programs, such as CSV: exact, but made visible on a terminal.

    Args:
        text: lines that end in ``\\n``.
    """
    if sys.stdout.isatty():
        text = "".join(f"{visible(line)}\n" for line in text.removesuffix("\n").split("\n"))
    print(text, end="")


def flush() -> None:
    """Hand on what was printed, before another program takes this one's place."""
    sys.stdout.flush()


def accept_every_letter() -> None:
    """Let standard output and error write an escape for a letter that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _escaped(letter: str) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    category = unicodedata.category(letter)
    if category not in ("Cc", "Cf", "Cs", "Zl", "Zp") or letter in _KEPT:
        return letter
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:
        # How Python keeps a byte of a file name that it cannot decode.
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
