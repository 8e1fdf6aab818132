"""Tables of a suite inside a page of prose: what stands between two marks is written anew, all else stays.

A mark is an HTML comment on a line of its own and ends with ``<!-- end -->``. ``<!-- table: NAME -->`` stands for
a table of ``suite_tables``, ``<!-- best: CHAPTER -->`` for a sentence on which method is best, and
``<!-- all chapters -->`` for every chapter with its main tables under a heading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from crosslens.evaluation.standings import chapters_of
from crosslens.evaluation.suite_results import SuiteResults
from crosslens.report.suite_page import lead_of
from crosslens.report.suite_tables import chapter_name, suite_tables
from crosslens.support.errors import ConfigError
from crosslens.support.files import write_text
from crosslens.support.near_names import did_you_mean
from crosslens.support.tables import Table

_BLOCK = re.compile(r"^<!-- (?:(table|best): (.+?)|all chapters) -->\n.*?^<!-- end -->$", re.M | re.S)

_COST = "Seconds are those of the machine that measured, with whatever else it did; a picture takes one vector."


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
        mark = block[0].partition("\n")[0]
        if block[1] is None:
            body = f"{len(results.cells)} measurements.\n\n"
            body += "\n".join(_chapter(name, lead, tables) for name, lead in leads.items())
            body += f"\n## What it costs\n\n{_COST}\n\n{tables['cost'].to_markdown()}"
            return f"{mark}\n\n{body}\n<!-- end -->"
        known = tables if block[1] == "table" else leads
        if block[2] not in known:
            raise ConfigError(
                f"{name} marks the {block[1]} {block[2]!r}, which these results do not have; they have"
                f" {', '.join(known)}{did_you_mean(block[2], known)}"
            )
        body = tables[block[2]].to_markdown() if block[1] == "table" else leads[block[2]] + "\n"
        return f"{mark}\n\n{body}\n<!-- end -->"

    if not _BLOCK.search(text):
        raise ConfigError(f"{name} marks no table: write <!-- table: {next(iter(tables))} --> and <!-- end -->")
    return _BLOCK.sub(made, text)


def _chapter(name: str, lead: str, tables: Mapping[str, Table]) -> str:
    """A chapter's heading, what is best, its numbers, and the tests and what else there is of it."""
    parts = [f"## {tables[name].title}\n", f"{lead}\n", tables[name].to_markdown()]
    for suffix in ("-seeds", "-no-match", "-tests"):
        if name + suffix in tables:
            table = tables[name + suffix]
            parts += [f"{table.title}:\n", table.to_markdown()]
    return "\n".join(parts)
