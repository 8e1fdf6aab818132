"""What a text tower's tokenizer makes of a text: whether it reads words, what it does not know or cuts off."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from crosslens.support.errors import ConfigError

# Letters and a symbol by their category, blank to the eye: fillers of Hangul, an empty Braille cell.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_MARKS = ("▁", "</w>", "##")
"""What tokenizers write at the ends of a piece to say where words begin or end."""


class Reader(Protocol):
    """What reads texts."""

    name: str

    def reading(self, text: str) -> Reading:
        """How it reads ``text``."""
        ...

    def reads(self, text: str) -> bool:
        """Whether there is anything in ``text`` that it knows."""
        ...


@dataclass(frozen=True)
class Reading:
    """How a text is read.

    Attributes:
        words: whether there is anything in it that the tower knows.
        unknown: parts of the text that it does not know, each once.
        lost: the end of the text, where it is longer than the tower can read at once; else empty.
    """

    words: bool
    unknown: tuple[str, ...] = ()
    lost: str = ""


def has_letters(text: str) -> bool:
    """Whether anything in ``text`` can be seen: a letter, digit, sign or symbol, not marks and blanks alone."""
    return any(unicodedata.category(letter)[0] in "LNPS" and letter not in _BLANK for letter in text)


def read_pieces(
    text: str, pieces: Sequence[str], known: Sequence[bool], spans: Sequence[tuple[int, int]], room: int
) -> Reading:
    """The reading of a text that a tokenizer has cut into pieces, all of them, without start and end.

    Args:
        text: as the tokenizer got it.
        pieces: N of them, as they stand in the vocabulary.
        known: which of them are more than the sign for "unknown" ``(N,)``.
        spans: where each begins and ends in the text ``(N,)``.
        room: the most pieces that the tower takes.
    """
    missed = (text[start:end].strip() for (start, end), knows in zip(spans, known, strict=True) if not knows)
    unknown = tuple(dict.fromkeys(filter(None, missed)))
    lost = text[spans[room - 1][1] :].strip() if len(pieces) > room else ""
    read = [_bare(piece) for piece, knows in zip(pieces[:room], known[:room], strict=True) if knows]
    # What is left of an unknown word by its exclamation mark says nothing of it.
    spoken = any(letter.isalnum() for piece in read for letter in piece) or (any(read) and not unknown)
    return Reading(spoken and has_letters(text), unknown, lost)


def read_by(tokenizer: Any, text: str, length: int) -> Reading:
    """How one of transformers' tokenizers reads a text, cut at ``length`` tokens with start and end among them."""
    room = length - tokenizer.num_special_tokens_to_add()
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    numbers = found["input_ids"]
    known = [number != tokenizer.unk_token_id for number in numbers]
    pieces = tokenizer.convert_ids_to_tokens(numbers)
    if tokenizer.is_fast:
        return read_pieces(text, pieces, known, found["offset_mapping"], room)
    # Without the places of its pieces only the words can be told, and what is cut as the tokenizer writes it.
    plain = read_pieces(text, pieces, known, [(0, 0)] * len(pieces), room)
    return replace(plain, lost=tokenizer.decode(numbers[room:]))


def require_readable(tower: Reader, texts: Sequence[str], what: str) -> None:
    """Refuse texts, ``what`` they are, in which the tower knows no word: to it they are all the same.

    Raises:
        ConfigError: listing them as they were written.
    """
    unread = [text for text in texts if not tower.reads(text.replace("_", " "))]
    if unread:
        more = f" and {len(unread) - 8} more" if len(unread) > 8 else ""
        shown = ", ".join(repr(shortened(text)) for text in unread[:8])
        raise ConfigError(
            f"{tower.name} reads no word in the {what} {shown}{more}; write them in words that it knows"
        )


def unread(tower: Reader, text: str) -> list[str]:
    """What the tower leaves unread of a text that it reads, in sentences."""
    reading = tower.reading(text)
    sentences = []
    if reading.unknown:
        unknown = ", ".join(repr(shortened(part)) for part in reading.unknown[:5])
        sentences.append(f"{tower.name} does not know {unknown} in the text {shortened(text)!r}")
    if reading.lost:
        lost = repr(shortened(reading.lost))
        sentences.append(f"the text is longer than {tower.name} reads at once; left out is {lost}")
    return sentences


def shortened(text: str, most: int = 40) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= most else text[:most] + "…"


def _bare(piece: str) -> str:
    for mark in _MARKS:
        piece = piece.removeprefix(mark).removesuffix(mark)
    return piece
