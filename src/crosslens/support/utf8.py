"""Text that can be written: Python's also holds half characters, and bytes of file names that are no text."""

from __future__ import annotations

from collections.abc import Iterable

from crosslens.support.errors import ConfigError
from crosslens.support.terminal import visible


def is_utf8(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8, which every store, filter and tokenizer needs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def require_utf8(texts: Iterable[str], what: str) -> None:
    """Refuse texts that cannot be written as UTF-8; ``what`` names them in the message.

    Raises:
        ConfigError: naming the first.
    """
    for text in texts:
        if not is_utf8(text):
            raise ConfigError(f"the {what} '{visible(text)}' is no UTF-8 text; write it in UTF-8")
