"""docs/results.md and docs/results.parquet say the same, and no number of the page was typed by hand."""

import re
from pathlib import Path

import pytest

from crosslens.evaluation.suite_results import SuiteResults
from crosslens.report.suite_markdown import filled

DOCS = Path(__file__).parents[1] / "docs"
LARGEST = 2_000_000
"""Bytes that a file of results may bring into the repository."""


@pytest.fixture(scope="module")
def page():
    return (DOCS / "results.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_is_what_the_results_give(page):
    assert filled(page, SuiteResults.read(DOCS / "results.parquet")) == page


def test_no_number_was_typed_by_hand(page):
    prose = re.sub(r"^<!-- all chapters -->\n.*?^<!-- end -->$", "", page, flags=re.M | re.S)
    assert len(prose) < len(page)
    assert not re.findall(r"\d?\.\d{2,}", prose)


def test_the_results_are_small():
    assert (DOCS / "results.parquet").stat().st_size < LARGEST
