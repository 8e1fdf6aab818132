"""Results of ``evaluate`` and ``compare`` for other programs: tables, every query, several seeds."""

import csv
import io
import json

import pyarrow.csv
import pyarrow.parquet
import pytest

QUICK = [
    "epochs=1",
    "clusters=4",
    "cluster_epoch=0",
    "align_epoch=0",
    "head=[16,8]",
    "views=1",
    "members=1",
    "batch_size=16",
]
SET = [part for pair in QUICK for part in ("--set", pair)]


@pytest.fixture
def runs(cli, pictures, tmp_path):
    status, _, err = cli(
        "fit", "ucdir", pictures, "--out", tmp_path / "r", "--backbone", "tiny", "--seeds", "0,2", *SET
    )
    assert status == 0, err
    return tmp_path / "r"


def test_tables_in_other_formats(cli, pictures):
    status, text, _ = cli("evaluate", "tiny", pictures, "--format", "csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["direction"] for row in rows] == ["photo -> sketch", "sketch -> photo", "mean"]
    assert float(rows[0]["map@all_low"]) <= float(rows[0]["map@all"]) <= float(rows[0]["map@all_high"])
    assert cli("evaluate", "tiny", pictures, "--format", "md")[1].startswith("| direction |")
    assert "\\toprule" in cli("compare", "tiny", "tiny:1", "--on", pictures, "--format", "latex")[1]
    status, _, err = cli("evaluate", "tiny", pictures, "--format", "markdwon")
    assert status == 2
    assert "did you mean 'markdown'" in err


def test_cuts_beyond_the_gallery_are_left_out_and_said(cli, pictures):
    status, text, _err = cli("evaluate", "tiny", pictures, "--k", "1,48,49", "--json", "-")
    assert status == 0
    value = json.loads(text)
    assert set(value["metrics"]) == {"map@all", "p@1", "p@48"}
    assert set(value["directions"][0]["intervals"]) == set(value["metrics"])
    assert any("cut beyond a gallery of 48" in note and "p@49" in note for note in value["notes"])


def test_every_query(cli, pictures, tmp_path):
    status, _, err = cli("evaluate", "tiny", pictures, "--per-query", tmp_path / "q.parquet")
    assert status == 0, err
    rows = pyarrow.parquet.read_table(tmp_path / "q.parquet")
    assert rows.num_rows == 96
    assert {"query", "label", "map@all"} <= set(rows.column_names)
    cli("compare", "tiny", "tiny:1", "--on", pictures, "--per-query", tmp_path / "q.csv")
    both = pyarrow.csv.read_csv(tmp_path / "q.csv")
    assert both.num_rows == 192
    assert set(both.column("encoder").to_pylist()) == {"tiny", "tiny:1"}
    assert cli("evaluate", "tiny", pictures, "--per-query", tmp_path / "q.txt")[0] == 2


def test_results_are_there_when_quiet(cli, pictures):
    status, text, _err = cli("evaluate", "tiny", pictures, "-q")
    assert status == 0
    assert "photo -> sketch" in text
    assert "tiny:1" in cli("compare", "tiny", "tiny:1", "--on", pictures, "-q")[1]


def test_compare_says_names_and_values(cli, pictures):
    _, text, _ = cli("compare", "tiny", "tiny:1", "--on", pictures, "--json", "-")
    value = json.loads(text)
    assert [one["name"] for one in value["encoders"]] == ["tiny", "tiny:1"]
    first, second = value["encoders"]
    assert value["others"][0]["difference"] == pytest.approx(second["value"] - first["value"])
    low, high = first["directions"][0]["interval"]
    assert low <= first["directions"][0]["value"] <= high


def test_several_seeds_are_one_group(cli, runs, pictures):
    assert sorted(run.name for run in runs.iterdir() if run.is_dir()) == ["seed-0", "seed-2"]
    status, text, err = cli("evaluate", runs, "--json", "-")
    assert status == 0, err
    value = json.loads(text)
    each = [run["metrics"]["map@all"] for run in value["runs"]]
    assert value["metrics"]["map@all"]["mean"] == pytest.approx(sum(each) / 2)
    assert value["metrics"]["map@all"]["deviation"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    status, text, _ = cli("evaluate", runs)
    assert [line.split("\t")[0] for line in text.splitlines()] == ["run", "seed-0", "seed-2", "mean", "spread"]
    status, text, err = cli("compare", "tiny", runs, "--on", pictures)
    assert status == 0, err
    assert [line.split("\t")[0] for line in text.splitlines()] == [
        "encoder", "tiny", str(runs / "seed-0"), str(runs / "seed-2"), f"{runs} (mean of 2)",
    ]  # fmt: skip
    _, text, _ = cli("compare", "tiny", runs, "--on", pictures, "--format", "csv")
    last = list(csv.DictReader(io.StringIO(text)))[-1]
    assert float(last["map@all"]) == pytest.approx(sum(each) / 2)
    assert cli("fit", "ucdir", pictures, "--out", runs, "--seeds", "1,1")[0] == 2


def test_open_set_answers_are_ordered_and_the_default_is_marked(cli, pictures):
    status, text, err = cli("evaluate", "tiny", pictures, "--protocol", "open-set", "--domains", "sketch,photo")
    assert status == 0, err
    lines = [line.split("\t") for line in text.splitlines()]
    start = next(row for row, line in enumerate(lines) if line[0] == "rule")
    rules = lines[start + 1 :]
    balanced = [float(line[3]) for line in rules]
    assert balanced == sorted(balanced, reverse=True)
    assert sum(line[0].endswith("(default)") for line in rules) == 1
