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
