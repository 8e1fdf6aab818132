"""Methods that learn from class names, and the zero-shot protocol, from the command line."""

import json

import pytest

from testing.reading_backbone import register_talker


@pytest.fixture(autouse=True)
def _talker(tiny_world):
    register_talker()


QUICK = ["epochs=1", "batch_size=16", "views=1", "head=[16,8]", "members=1", "neighbours=3"]


@pytest.fixture
def names(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("# shapes\ncircle\ncross\n\nsquare\ntriangle\n")
    return file


def test_clair_with_unseen_classes(cli, pictures, names, tmp_path):
    run, out = tmp_path / "run", tmp_path / "o.json"
    settings = [part for pair in QUICK for part in ("--set", pair)]
    common = ["--classes", names, "--backbone", "talker", "--unseen", "circle,cross", *settings]
    status, _, err = cli("fit", "clair", pictures, "--out", run, *common, "--json", out)
    assert status == 0, err
    assert json.loads(out.read_text())["unseen"] == ["circle", "cross"]
    status, _, err = cli("evaluate", run, "--protocol", "zero-shot", "--json", out)
    assert status == 0, err
    value = json.loads(out.read_text())
    assert value["unseen"] == ["circle", "cross"]
    assert value["directions"][0]["queries"] == 24
    assert "zero-shot: 2 unseen classes (circle, cross)" in err
    status, _, err = cli("evaluate", run, "--protocol", "zero-shot", "--unseen", "square")
    assert status == 1
    assert "may have learned from square" in " ".join(err.split())


def test_text_map(cli, pictures, names, tmp_path):
    run = tmp_path / "run"
    status, _, err = cli(
        *("fit", "text-map", pictures, "--domains", "sketch,photo", "--classes", names, "--backbone", "talker"),
        *("--out", run, "--set", "map_share=0.5"),
    )
    assert status == 0, err
    assert "text map: share 0.5" in " ".join(err.split())
    config = json.loads((run / "encoder" / "config.json").read_text())
    assert config["mapped"] == ["sketch"]


def test_refusals(cli, pictures, names, tmp_path):
    status, _, err = cli(
        "fit", "clair", pictures, "--backbone", "tiny", "--classes", names, "--out", tmp_path / "a"
    )
    assert status == 1
    assert "has no text tower" in err
    status, _, err = cli(
        "fit", "ucdir", pictures, "--backbone", "tiny", "--classes", names, "--out", tmp_path / "b"
    )
    assert status == 2
    assert "without class names" in " ".join(err.split())
    status, _, err = cli("evaluate", "tiny", pictures, "--protocol", "pairs", "--unseen", "circle")
    assert status != 0
    assert "use --protocol zero-shot" in " ".join(err.split())
