"""The page and the tables of a suite say what its results say, and no name that was typed is obeyed."""

import csv
import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crosslens.data.catalog import Catalog
from crosslens.evaluation.standings import chapters_of
from crosslens.evaluation.suite_results import Cell, Direction, Measured, SuiteResults
from crosslens.report.suite_markdown import filled, write_tables
from crosslens.report.suite_page import Ranks, SuitePictures, write_suite_page
from crosslens.report.suite_tables import suite_tables
from crosslens.support.errors import ConfigError
from testing.page_parser import Page

DATA = ("one", "two")
LEVELS = {"frozen": 0.2, "good": 0.5, "ceiling": 0.9}


@pytest.fixture
def results():
    rng = np.random.default_rng(0)
    cells = []
    for data in DATA:
        for method, level in LEVELS.items():
            for seed in (0, 1):
                parts = []
                for asking, answering in (("a", "b"), ("b", "a")):
                    values = np.clip(level + rng.normal(0, 0.1, 30), 0, 1).astype(np.float32).round(4)
                    ids = np.array([f"{asking}/{i:02d}" for i in range(30)])
                    labels = np.array([("<b>cat</b>", "dog")[i % 2] for i in range(30)])
                    own = {"map@all": values, "p@1": (values > 0.5).astype(np.float32)}
                    parts.append(Direction(seed, asking, answering, ids, labels, own))
                facts = {
                    "registered": method,
                    "learns_from": ["images", "labels"] if method == "ceiling" else ["images"],
                    "floor": {"map@all": 0.25} if method == "ceiling" else {},
                    "marks": ["supervised"] if method == "ceiling" else [],
                    "notes": ["a note"],
                    "seconds": {"fit": None if method == "frozen" else 3.2, "evaluate": 1.0},
                    "bytes": {"encoder": 1000, "vector": 512},
                }
                cells.append(Measured(Cell(data, "pairs", "lite", method, seed), tuple(parts), facts))
    about = {
        "name": "<script>s",
        "metrics": ["map@all", "p@1"],
        "methods": list(LEVELS),
        "data": list(DATA),
        "base": "frozen",
    }
    return SuiteResults(about, tuple(cells))


def test_the_tables_say_what_the_results_say(results):
    tables = suite_tables(results)
    assert {"pairs", "pairs-tests", "pairs-seeds", "pairs-one", "pairs-two", "cost"} <= set(tables)
    chapter = chapters_of(results)[0]
    rows = list(csv.DictReader(io.StringIO(tables["pairs"].to_csv())))
    for row in rows:
        entry = chapter.entries[row["method"].removesuffix(" (saw labels)"), "one"]
        slow = np.mean([one.values["map@all"].astype(float).mean() for one in entry.parts])
        assert float(row["one"]) == pytest.approx(slow, abs=1e-6)
        assert float(row["one_low"]) < float(row["one"]) < float(row["one_high"])
    assert [row["mean rank"] for row in rows] == ["2.0", "1.0", ""]
    way = [chapter.shares(data)["good"] for data in DATA]
    assert float(rows[1]["share of the way"]) == pytest.approx(np.mean(way))
    tests = list(csv.DictReader(io.StringIO(tables["pairs-tests"].to_csv())))
    assert [(row["data"], row["method"]) for row in tests] == [("one", "good"), ("two", "good")]
    assert all(float(row["p, adjusted"]) >= float(row["p"]) for row in tests)


def test_the_page_holds_every_table_and_escapes_names(results, tmp_path):
    page = write_suite_page(results, tmp_path / "p.html", problems=["<i>x</i> failed"]).read_text()
    Page(page)
    for table in suite_tables(results).values():
        for row in table.texts():
            for cell in row:
                assert cell in page
    assert "<script>s" not in page
    assert "<b>cat" not in page
    assert "<i>x" not in page
    assert "Best without labels: good on one" in page
    # A number that is best without labels, not the ceiling's.
    best = re.findall(r'class="best">([^<]*)<', page)
    assert best[0] == suite_tables(results)["pairs"].texts()[1][1]


def test_queries_that_flip_are_shown_with_what_was_found(results, tmp_path):
    for domain in "ab":
        (tmp_path / "pictures" / domain).mkdir(parents=True)
    rows = []
    for domain in "ab":
        for number in range(30):
            path = f"{domain}/{number:02d}.png"
            Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / "pictures" / path)
            label = ("cat", "dog")[number % 2]
            rows.append({"id": path.removesuffix(".png"), "path": path, "domain": domain, "label": label})
    catalog = Catalog.from_rows(rows, tmp_path / "pictures")
    ranks = pa.table(
        {
            "query_domain": [q for q in "ab" for _ in range(60)],
            "gallery_domain": [g for g in "ba" for _ in range(60)],
            "query": [f"{q}/{i:02d}" for q in "ab" for i in range(30) for _ in range(2)],
            "rank": [1, 2] * 60,
            "item": [f"{g}/{i:02d}" for g in "ba" for _ in range(30) for i in range(2)],
            "score": [0.75, 0.5] * 60,
            "relevant": [True, False] * 60,
        }
    )
    pq.write_table(ranks, tmp_path / "ranks.parquet")
    places = {m.cell: Ranks(tmp_path / "ranks.parquet") for m in results.cells if m.cell.data == "one"}
    shown = SuitePictures({"one": catalog}, places)
    page = write_suite_page(results, tmp_path / "p.html", pictures=shown).read_text()
    # Two gains and at most two losses, each with two strips of two hits, and the query itself.
    assert page.count("data:image/jpeg") >= 2 * 5
    assert "0.750" in page
    assert Ranks(tmp_path / "gone.parquet").of("a", "b", "a/00") == []


def test_the_tables_of_a_document_are_written_anew(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Words\n\n<!-- table: pairs -->\nold\n<!-- end -->\n\nMore.\n\n<!-- best: pairs -->\n<!-- end -->\n"
    )
    write_tables(results, page)
    text = page.read_text()
    assert "old" not in text
    assert suite_tables(results)["pairs"].to_markdown() in text
    assert "Best without labels: good on one" in text
    assert text.startswith("# Words\n")
    assert "\nMore.\n" in text
    # Once more changes nothing.
    assert filled(text, results) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [("# None", "marks no table"), ("<!-- table: pars -->\n<!-- end -->\n", "did you mean 'pairs'")],
)
def test_a_document_that_asks_for_nothing_or_too_much(results, tmp_path, text, told):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ConfigError, match=told):
        write_tables(results, page)
    assert page.read_text() == text
    with pytest.raises(ConfigError, match="cannot be read"):
        write_tables(results, tmp_path / "none.md")
