"""``crosslens fit tki`` without any image, then ``evaluate``, ``index`` and ``search`` with what it made."""

import json

import pytest

from testing.published_models import save_clip

QUICK = ("words=4", "steps=3", "epochs=2", "batch_size=8", "template=a X of a {class}")
SET = [part for pair in QUICK for part in ("--set", pair)]


@pytest.fixture
def cli(cli):
    """Messages are wrapped at the width of the screen; here they come on one line."""

    def call(*arguments):
        status, out, err = cli(*arguments)
        return status, out, " ".join(err.split())

    return call


@pytest.fixture
def world(tmp_path):
    save_clip(tmp_path / "clip", max_position_embeddings=24)
    (tmp_path / "names.txt").write_text("# animals\ncat\ndog\n\nphoto of cat\n")
    return tmp_path


def test_names_to_search(cli, world, pictures):
    run, out, index = world / "run", world / "o.json", world / "index"
    fitting = ("fit", "tki", "--classes", world / "names.txt", "--backbone", f"clip:{world / 'clip'}", *SET)
    status, _, err = cli(*fitting, "--out", run, "--json", out)
    assert status == 0, err
    assert json.loads(out.read_text())["classes"] == ["cat", "dog", "photo of cat"]
    assert f"crosslens report {run} --on PICTURES" in err
    assert f"crosslens evaluate {run} PICTURES" in err
    status, text, err = cli("evaluate", run, pictures, "--json", out)
    assert status == 0, err
    assert "sketch -> photo" in text
    assert json.loads((run / "metrics.json").read_text())["pairs"]["metrics"]["map@all"] > 0
    assert cli("index", "build", pictures, "--encoder", run, "--out", index)[0] == 0
    picture = pictures / "sketch" / "circle" / "00.png"
    status, text, _ = cli("search", index, "--image", picture, "--top", 3, "--json", "-")
    hits = json.loads(text)["hits"]
    assert hits[0]["id"] == "sketch/circle/00.png"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-4)
    other = pictures / "photo" / "square" / "01.png"

    def scores(*query):
        status, text, err = cli("search", index, *query, "--top", 96, "--json", "-")
        assert status == 0, err
        return {hit["id"]: hit["score"] for hit in json.loads(text)["hits"]}

    # A weighted query scores the weighted mean, so it stays in [-1, 1].
    first, second = scores("--image", picture), scores("--image", other)
    mixed = scores("--image", picture, "--image", other, "--weight", 1, "--weight", -0.5)
    assert mixed == pytest.approx({id: (first[id] - 0.5 * second[id]) / 1.5 for id in mixed}, abs=1e-4)
    assert max(map(abs, mixed.values())) <= 1
    status, text, _ = cli("search", index, "--text", "cat", "--top", 2, "--json", "-")
    assert status == 0
    # Run again: it is finished, so nothing is done.
    assert cli(*fitting, "--out", run, "--resume")[0] == 0


def test_what_is_missing_is_said(cli, world):
    status, _, err = cli("fit", "tki", "--out", world / "run", "--backbone", f"clip:{world / 'clip'}")
    assert status == 2
    assert "--classes FILE with one name a line" in err
    (world / "none.txt").write_text("# nothing\n")
    status, _, err = cli("fit", "tki", "--out", world / "run", "--classes", world / "none.txt")
    assert status == 2
    assert "holds no class name" in err
    status, _, err = cli("fit", "ucdir", "--out", world / "run")
    assert status == 2
    assert "learns from images" in err
