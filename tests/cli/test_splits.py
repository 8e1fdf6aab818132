"""``--split`` wherever images are given."""

import json
from pathlib import Path

import pytest

from crosslens.data.catalog import Catalog


@pytest.fixture
def marked(pictures):
    """Of each class and look, pictures 0 to 7 for training and the others for the test."""
    rows = Catalog.open(pictures).table.to_pylist()
    rows = [row | {"split": "train" if int(Path(row["path"]).stem) < 8 else "test"} for row in rows]
    Catalog.from_rows(rows, pictures).write(pictures / "marked.csv")
    return pictures / "marked.csv"


def test_fit_evaluate_list_embed_report_and_index(cli, marked, tmp_path):
    out, run = tmp_path / "o.json", tmp_path / "run"
    both = ("--domains", "sketch,photo")
    status, _, err = cli("fit", "centred", marked, "--out", run, "--backbone", "tiny", *both)
    assert status == 0, err
    assert "split train alone" in " ".join(err.split())
    status, _, err = cli("evaluate", run, "--json", out)
    assert status == 0, err
    assert "note: 2 splits are mixed" in err
    status, _, err = cli("evaluate", run, "--split", "test", "--json", out)
    assert status == 0, err
    assert json.loads(out.read_text())["directions"][0]["queries"] == 16
    status, _, err = cli("compare", "tiny", run, "--split", "test", "--json", out)
    assert status == 0, err
    assert not any("split" in note for note in json.loads(out.read_text())["notes"])
    assert cli("compare", "tiny", run, "--json", out)[0] == 0
    assert "2 splits are mixed" in json.loads(out.read_text())["notes"][0]
    status, _, err = cli("report", run, "--split", "test", "--against", "frozen", "--json", out)
    assert status == 0, err
    notes = [note for row in json.loads(out.read_text())["encoders"].values() for note in row["notes"]]
    assert not any("split" in note for note in notes)
    status, _, err = cli("data", "list", marked, "--split", "test", "--out", tmp_path / "test.csv")
    assert status == 0, err
    assert len(Catalog.open(tmp_path / "test.csv")) == 32
    status, _, err = cli("embed", marked, "--split", "test", "--backbone", "tiny", "--out", tmp_path / "f",
                         "--json", out)  # fmt: skip
    assert status == 0, err
    assert json.loads(out.read_text())["embedded"] == 32
    index = tmp_path / "i"
    status, text, err = cli("index", "build", marked, "--split", "test", "--encoder", "tiny", "--out", index)
    assert status == 0, err
    assert "32 images indexed" in text
    status, text, err = cli("index", "add", index, marked)
    assert status == 0, err
    assert "2 splits are mixed" in " ".join(err.split())
    assert "64 added" in text


def test_a_split_that_is_not_there(cli, marked, tmp_path):
    status, _, err = cli("evaluate", "tiny", marked, "--split", "val")
    assert status != 0
    assert "the splits here are: test, train" in " ".join(err.split())
