"""``crosslens cache``, ``index list``, and names that are nearly right."""

import json
import os

import pytest

from crosslens.data.catalog import Catalog
from crosslens.search.index.index import Index


def test_indexes_here_and_in_the_cache(cli, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    status, _, err = cli(
        "index", "build", pictures, "--encoder", "tiny", "--store", "exact", "--out", "a.index", "--plain",
        "--queries", pictures / "sketch",
    )  # fmt: skip
    assert status == 0, err
    assert Index.open("a.index").stats()["domains"] == {pictures.name: 96}
    cli("index", "build", pictures, "-e", "tiny", "--store", "exact", "--out", tmp_path / "cache/indexes/0/photos")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.json").write_text("{}")
    status, text, _ = cli("index", "list", "--json", "-")
    found = {one["index"]: one for one in json.loads(text)["indexes"]}
    assert status == 0
    assert set(found) == {"a.index", "broken", str(tmp_path / "cache/indexes/0/photos")}
    assert found["a.index"]["items"] == 96
    assert found["a.index"]["roots"] == [str(pictures)]
    assert "error" in found["broken"]
    # What is kept of the queries is used without naming them.
    drawing = pictures / "sketch" / "cross" / "00.png"
    status, text, err = cli("search", "a.index", "--image", drawing, "-k", 1)
    assert status == 0, err
    assert text.startswith("probability of a counterpart 0.")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is closed to this user")
def test_a_folder_that_may_not_be_looked_into_hides_no_other(cli, pictures, tmp_path):
    Index.build(Catalog.open(pictures), "tiny", tmp_path / "open", store="exact")
    (tmp_path / "closed").mkdir(mode=0)
    status, text, err = cli("index", "list", tmp_path)
    assert status == 0, err
    assert "open" in text


def test_an_index_that_is_there_is_given_queries(cli, pictures, tmp_path):
    index = Index.build(Catalog.open(pictures), "tiny", tmp_path / "i", store="exact")[0]
    status, _, err = cli("index", "add", tmp_path / "i", pictures, "--queries", pictures / "sketch")
    assert status == 0, err
    assert (index.folder / "queries.safetensors").is_file()


def test_the_cache_is_told_and_cleaned(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path))
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "a.onnx").write_bytes(b"x" * 2500)
    status, text, _ = cli("cache")
    assert status == 0
    assert "onnx\t1\t2.5 kB" in text
    status, text, err = cli("cache", "clean")
    assert status == 0
    # It was written a moment ago.
    assert (tmp_path / "onnx" / "a.onnx").exists()
    assert "in use" in err
    assert cli("cache", "clean", "onyx")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("fit", "ucdr", "P", "--out", "r"), "ucdir"),
        (("fit", "ucdir", "P", "--out", "r", "--set", "epcohs=3"), "epochs"),
        (("fit", "ucdir", "P", "--out", "r", "--recipe", "ucdir-ofice-home"), "ucdir-office-home"),
        (("fit", "ucdir", "P", "--out", "r", "--domains", "skech,photo"), "sketch"),
        (("evaluate", "lit", "P"), "lite"),
        (("evaluate", "tiny", "P", "--protocol", "pair"), "pairs"),
        (("evaluate", "tiny", "P", "--convention", "standart"), "standard"),
        (("index", "build", "P", "--out", "i", "--encoder", "tiny", "--store", "lanse"), "lance"),
        (("search", "photos.indx", "--like", "a"), "photos.index"),
        (("serach", "i"), "search"),
    ],
)
def test_did_you_mean(cli, pictures, tmp_path, monkeypatch, arguments, near):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.index").mkdir()
    status, _, err = cli(*[pictures if part == "P" else part for part in arguments])
    assert status != 0
    assert f"'{near}'" in err
    assert "ean" in err
