"""The commands on addresses of an S3 server on this machine, end to end."""

import json

import pytest

from testing.tiny_pictures import make_pictures

FIT = ("--backbone", "tiny", "--domains", "sketch,photo", "--device", "cpu", "--quiet")
QUICK = ("--set", "epochs=1", "--set", "clusters=4", "--set", "members=1", "--set", "batch_size=8")


@pytest.fixture
def away(storage, bucket, tmp_path):
    storage.upload(make_pictures(tmp_path / "data", count=4), bucket, "data")
    return f"s3://{bucket}"


def told(cli, *arguments):
    status, out, err = cli(*arguments, "--json", "-")
    assert status == 0, err
    return json.loads(out)


def test_embed_fit_evaluate_build_and_search(cli, away, storage, tmp_path):
    pictures, features, run = f"{away}/data", f"{away}/features", tmp_path / "run"
    assert told(cli, "embed", pictures, "--backbone", "tiny", "--views", 3, "--out", features)["embedded"] == 32
    storage.seen.clear()
    status, _, err = cli("fit", "ucdir", pictures, "--features", features, *FIT, *QUICK, "--out", run)
    assert status == 0, err
    assert f"source: {pictures}" in (run / "config.yaml").read_text()
    # The same as on a disk.
    local = tmp_path / "local"
    status, _, err = cli("fit", "ucdir", tmp_path / "data", *FIT, *QUICK, "--out", local)
    assert status == 0, err
    here = told(cli, "evaluate", local, tmp_path / "data")
    for asked in ((pictures,), (pictures, "--features", features), ()):
        there = told(cli, "evaluate", run, *asked)
        assert there["metrics"] == here["metrics"]
        assert there["directions"][0]["queries"] == here["directions"][0]["queries"] == 16
    built = told(cli, "index", "build", pictures, "--encoder", run, "--out", f"{away}/my.index")
    assert built["items"] == 32
    assert built["index"] == f"{away}/my.index"
    query = tmp_path / "data" / "sketch" / "circle" / "00.png"
    sheet = tmp_path / "sheet.png"
    found = told(cli, "search", f"{away}/my.index", "--image", query, "--grid", sheet, "--top", 3)
    assert found["hits"][0]["path"] == f"{pictures}/sketch/circle/00.png"
    assert sheet.stat().st_size > 1000
    copied = tmp_path / "copied"
    assert cli("search", f"{away}/my.index", "--image", query, "--top", 1, "--copy-to", copied)[0] == 0
    assert next(copied.iterdir()).read_bytes() == query.read_bytes()
    status, _, err = cli("index", "add", f"{away}/my.index", pictures)
    assert status == 1
    assert "where an index is read and not changed" in err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("embed", "s3://no-such-bucket/x", "--backbone", "tiny", "--out", "f"), "no bucket 'no-such-bucket'"),
        (("index", "info", "s3://no-such-bucket/x"), "no bucket 'no-such-bucket'"),
        (("embed", "https://host/x", "--backbone", "tiny", "--out", "f"), "such addresses are not read; s3://"),
        (("search", "https://host/x", "--image", "x.png"), "such addresses are not read; s3://"),
        (("embed", "s3://", "--backbone", "tiny", "--out", "f"), "names no bucket"),
    ],
)
def test_what_cannot_be_read_is_said(cli, storage, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = cli(*command)
    assert status == 1
    assert words in " ".join(err.split())
    assert list(tmp_path.glob("f")) == [] or not (tmp_path / "f" / "features.json").exists()


def test_a_folder_that_is_empty_or_not_there_is_said(cli, away, tmp_path):
    status, _, err = cli("embed", f"{away}/nothing", "--backbone", "tiny", "--out", tmp_path / "f")
    assert status == 1
    assert f"{away}/nothing does not exist" in " ".join(err.split())


@pytest.fixture
def run(cli, away, storage, tmp_path):
    """A run of this machine, and its copy in the bucket."""
    storage.upload(made := trained(cli, tmp_path), away.removeprefix("s3://"), "runs/seed-0")
    (made / "report.html").unlink(missing_ok=True)
    return made


def trained(cli, tmp_path):
    out = tmp_path / "own"
    status, _, err = cli("fit", "centred", tmp_path / "data", *FIT, "--out", out)
    assert status == 0, err
    return out


def test_runs_and_encoders_are_read_from_addresses_and_left_as_they_are(cli, away, run, storage, tmp_path):
    there, bucket = f"{away}/runs/seed-0", away.removeprefix("s3://")
    before = sorted(storage.keys(bucket))
    pictures = tmp_path / "data"
    here = told(cli, "evaluate", run)
    status, out, err = cli("evaluate", there, "--json", "-")
    assert status == 0, err
    assert json.loads(out)["metrics"] == here["metrics"]
    assert "is read and not changed" in " ".join(err.split())
    # A folder of runs, an encoder alone, and each command that takes one.
    assert told(cli, "evaluate", f"{away}/runs")["metrics"] == here["metrics"]
    assert told(cli, "evaluate", f"{there}/encoder", pictures)["metrics"] == here["metrics"]
    compared = told(cli, "compare", run, there)
    assert [one["value"] for one in compared["encoders"]] == [here["metrics"]["map@all"]] * 2
    built = told(cli, "index", "build", pictures, "--encoder", there, "--out", tmp_path / "a.index")
    assert built["items"] == 32
    sides = (pictures / "sketch", pictures / "photo")
    assert told(cli, "match", *sides, "--encoder", there) == told(cli, "match", *sides, "--encoder", run)
    assert cli("export", there, "--out", tmp_path / "exported")[0] == 0
    status, _, err = cli("report", there)
    assert status == 2
    assert "--out" in err
    assert cli("report", there, "--out", tmp_path / "page.html", "--quiet")[0] == 0
    assert (tmp_path / "page.html").stat().st_size > 1000
    assert sorted(storage.keys(bucket)) == before


def test_results_are_written_to_addresses(cli, away, run, storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options in (
        ("evaluate", run, "--json", f"{away}/out/m.json", "--per-query", f"{away}/out/q.csv"),
        ("report", run, "--out", f"{away}/out/page.html"),
    ):
        status, _, err = cli(*options)
        assert status == 0, err
    keys = storage.keys(away.removeprefix("s3://"))
    assert {"out/m.json", "out/q.csv", "out/page.html"} <= set(keys)
    assert not list(tmp_path.glob("s3:*"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("fit", "centred", "data", "--out", "s3://b/run"), "name a path of this machine"),
        (("fit", "auto", "data", "--out", "https://host/run"), "name a path of this machine"),
        (("benchmark", "suite.yaml", "--out", "s3://b/suite"), "name a path of this machine"),
        (("export", "tiny", "--out", "s3://b/exported"), "name a path of this machine"),
        (("match", "data/sketch", "data/photo", "--out", "s3://b/pairs"), "name a path of this machine"),
        (("demo", "--out", "s3://b/demo"), "name a path of this machine"),
        (("serve", "keys", "add", "anna", "--file", "s3://b/keys.json"), "name a path of this machine"),
        (("index", "build", "data", "--encoder", "AWAY/none", "--out", "x"), "holds no run and no encoder"),
        (("evaluate", "AWAY/none", "data"), "holds no run and no encoder"),
        (("export", "AWAY/none", "--out", "x"), "holds no run and no encoder"),
        (("report", "AWAY/none"), "holds no run and no encoder"),
        (("match", "data/sketch", "data/photo", "--encoder", "AWAY/none"), "holds no run and no encoder"),
        (("index", "build", "data", "--encoder", "https://host/run", "--out", "x"), "no encoder folder"),
    ],
)
def test_an_address_where_none_will_do_is_refused_before_any_work(
    cli, away, tmp_path, monkeypatch, command, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text("{}")
    before = {entry.name for entry in tmp_path.iterdir()}
    status, _, err = cli(*(part.replace("AWAY", away) for part in command))
    assert status in (1, 2)
    assert words in " ".join(err.split())
    assert {entry.name for entry in tmp_path.iterdir()} - before <= {"cache"}
