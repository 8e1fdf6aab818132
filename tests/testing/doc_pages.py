"""The pages of the documentation, and the blocks of code on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"[ >]*(?:```|~~~)")


@dataclass(frozen=True)
class Block:
    """One block of code: the name of its page, the line of its first line, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    """How a page is called: ``README.md``, ``how-to/search.md``."""
    return page.relative_to(REPOSITORY).as_posix().removeprefix("docs/")


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order, whatever is fenced."""
    found, begun = [], None
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not _FENCE.match(line):
            continue
        if begun is None:
            begun = number
        else:
            language = (lines[begun - 1].strip(" >`~").split() or [""])[0]
            text = "".join(f"{inside}\n" for inside in lines[begun : number - 1])
            found.append(Block(name_of(page), begun + 1, language, text))
            begun = None
    assert begun is None, f"{page}:{begun}: this block has no end"
    return found


def prompted(text: str) -> list[str]:
    """The commands of a ``console`` block behind their ``$``; those of root, behind ``#``, are not among them."""
    commands: list[str] = []
    root = False
    for line in text.splitlines(keepends=True):
        if line[:2] in ("$ ", "# "):
            root = line[0] == "#"
            if not root:
                commands.append(line[2:])
        elif not root:
            commands[-1] += line
    return commands
