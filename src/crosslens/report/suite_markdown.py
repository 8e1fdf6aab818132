"""Tables of a suite inside a page of prose: what stands between two marks is written anew, all else stays.

A mark is an HTML comment on a line of its own, ``<!-- table: NAME -->``, and ends with ``<!-- end -->``; the
names are those of ``suite_tables``. ``<!-- best: CHAPTER -->`` stands for a sentence on which method is best.
"""

from __future__ import annotations

import re
from pathlib import Path

from crosslens.evaluation.standings import chapters_of
from crosslens.evaluation.suite_results import SuiteResults
from crosslens.report.suite_page import lead_of
from crosslens.report.suite_tables import chapter_name, suite_tables
from crosslens.support.errors import ConfigError
from crosslens.support.files import write_text
from crosslens.support.near_names import did_you_mean

_BLOCK = re.compile(r"^<!-- (table|best): (.+?) -->\n.*?^<!-- end -->$", re.M | re.S)


def write_tables(results: SuiteResults, page: Path) -> None:
    """Write the tables that a Markdown page marks.

    Raises:
        ConfigError: for a page that is not there, has no mark, or marks a table that these results lack.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{page} cannot be read: {error.strerror or error}") from error
    write_text(page, filled(text, results, str(page)))


def filled(text: str, results: SuiteResults, name: str = "the page") -> str:
    """The text with every marked part as these results have it; ``name`` is for messages.

    Raises:
        ConfigError: see ``write_tables``.
    """
    tables = suite_tables(results)
    chapters = chapters_of(results)
    leads = {chapter_name(one, chapters): lead_of(one) for one in chapters}

    def made(block: re.Match[str]) -> str:
        kind, wanted = block[1], block[2]
        known = tables if kind == "table" else leads
        if wanted not in known:
            raise ConfigError(
                f"{name} marks the {kind} {wanted!r}, which these results do not have; they have"
                f" {', '.join(known)}{did_you_mean(wanted, known)}"
            )
        body = tables[wanted].to_markdown() if kind == "table" else leads[wanted] + "\n"
        return f"<!-- {kind}: {wanted} -->\n\n{body}\n<!-- end -->"

    if not _BLOCK.search(text):
        raise ConfigError(f"{name} marks no table: write <!-- table: {next(iter(tables))} --> and <!-- end -->")
    return _BLOCK.sub(made, text)
