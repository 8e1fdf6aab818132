"""Tables: what was put in is what a reader of the format gets out."""

from __future__ import annotations

import csv
import io
import sys
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from crosslens.support.errors import ConfigError
from crosslens.support.tables import FORMATS, Estimate, Table, to_pandas
from crosslens.support.terminal import visible

TABLE = Table(
    ("direction", "map@all", "queries"),
    (("sketch -> photo", Estimate(0.43219, 0.4, 0.46), 120), ("mean", 0.5, None)),
    "lite",
)


class Cells(HTMLParser):
    """The texts of a table's cells, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.is_inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.is_inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.is_inside = False

    def handle_data(self, data: str) -> None:
        if self.is_inside:
            self.rows[-1][-1] += data


def test_csv_keeps_numbers_whole_and_gives_intervals_columns_of_their_own() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.to_csv())))
    assert rows[0] == {
        "direction": "sketch -> photo",
        "map@all": "0.43219",
        "map@all_low": "0.4",
        "map@all_high": "0.46",
        "queries": "120",
    }
    assert (rows[1]["map@all"], rows[1]["map@all_low"], rows[1]["queries"]) == ("0.5", "", "")


def test_latex_is_as_booktabs_reads_it() -> None:
    table = Table(("name_1", "p@5 %"), (("a -> b & c", 0.1234), (r"\x{$}", Estimate(0.5, 0.4, 0.6))))
    assert table.to_latex().splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"name\_1 & p@5 \% \\",
        r"\midrule",
        r"a $\to$ b \& c & 0.123 \\",
        r"\textbackslash{}x\{\$\} & 0.500 {[}0.400, 0.600{]} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_list_is_one_cell() -> None:
    table = Table(("keywords",), ((["a", "b c"],), ([],), (None,)))
    assert table.to_csv() == 'keywords\na; b c\n""\n""\n'
    assert table.texts() == [["a; b c"], [""], [""]]
    assert "text-align:left" in table.to_html()
    assert table.to_arrow().column("keywords").to_pylist() == [["a", "b c"], [], None]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_any_name_comes_out_of_every_reader_as_it_went_in(rows: list[tuple[str, str]]) -> None:
    table = Table(("a", "b"), tuple(rows))
    assert list(csv.reader(io.StringIO(table.to_csv(), newline="")))[1:] == [list(row) for row in rows]
    shown = [[visible(cell).strip() for cell in row] for row in rows]
    assert [[cell.strip() for cell in row] for row in Cells(table.to_html()).rows[1:]] == shown
    read = Cells(MarkdownIt("commonmark").enable("table").render(table.to_markdown())).rows[1:]
    assert [[cell.strip() for cell in row] for row in read] == shown


def test_the_ending_of_a_file_tells_the_format(tmp_path) -> None:
    for name, start in (("a.csv", "direction,map"), ("a.md", "| dir"), ("a.tex", r"\begin"), ("a.html", "<table")):
        TABLE.write(tmp_path / name)
        assert (tmp_path / name).read_text().startswith(start)
    with pytest.raises(ConfigError, match=r"ends in \.csv, \.md"):
        TABLE.write(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="csv, markdown, latex, html"):
        TABLE.render("xls")
    assert all(TABLE.render(format) for format in FORMATS)


def test_it_reads_as_a_table_where_it_is_printed() -> None:
    assert str(TABLE).splitlines() == [
        "lite",
        "direction                     map@all  queries",
        "sketch -> photo  0.432 [0.400, 0.460]      120",
        "mean                            0.500",
    ]


def test_without_pandas_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": [1]})
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        to_pandas(table)
