"""Every option has its effect, or is refused; defaults are those of the requests."""

import json
from pathlib import Path

import pytest
from typer.main import get_command

from crosslens.api.evaluate_request import EvaluateRequest
from crosslens.api.fit_request import FitRequest
from crosslens.cli.app import app
from crosslens.images import limits
from crosslens.search.index.index import Index
from crosslens.search.index.index_request import AddRequest, BuildRequest

REQUESTS = {
    ("fit",): FitRequest,
    ("evaluate",): EvaluateRequest,
    ("compare",): EvaluateRequest,
    ("report",): EvaluateRequest,
    ("index", "build"): BuildRequest,
    ("index", "add"): AddRequest,
}


@pytest.mark.parametrize("words", REQUESTS)
def test_defaults_are_those_of_the_request(words):
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    fields = REQUESTS[words].model_fields
    options = {option.name: option.default for option in command.params if option.name in fields}
    assert {"domains", "device", "split"} <= set(options)
    for name, default in options.items():
        field = fields[name].get_default(call_default_factory=True)
        # What lists and tables are by default, an option that may be repeated says by None; so does decode, which
        # an encoder that is there has already.
        if isinstance(default, str) and isinstance(field, tuple):
            # Numbers separated by commas.
            field = ",".join(map(str, field))
        assert default == field or not (default and field), name


def test_decode_reaches_the_index(cli, pictures, tmp_path):
    digests = {}
    for mode in ("exact", "fast"):
        status, _, err = cli(
            "index", "build", pictures, "--encoder", "tiny", "--decode", mode, "--out", tmp_path / mode
        )
        assert status == 0, err
        made = Index.open(tmp_path / mode)
        assert made.encoder.backbone.preprocess.decode == mode
        digests[mode] = made.fingerprint.digest
    assert digests["exact"] != digests["fast"]


def test_an_encoder_that_is_there_keeps_its_way_to_decode(cli, pictures, tmp_path):
    run = tmp_path / "run"
    status, _, err = cli("fit", "centred", pictures, "--out", run, "--backbone", "tiny", "--decode", "fast")
    assert status == 0, err
    build = ("index", "build", pictures, "--encoder", run, "--out")
    status, _, err = cli(*build, tmp_path / "wrong", "--decode", "exact")
    assert status == 2
    assert "decodes pictures in the mode 'fast'" in " ".join(err.split())
    assert not (tmp_path / "wrong").exists()
    for number, more in enumerate(((), ("--decode", "fast"))):
        status, _, err = cli(*build, tmp_path / f"right{number}", *more)
        assert status == 0, err


def commands(root, index, out):
    both = ("--domains", "sketch,photo")
    return {
        "embed": ("embed", root, "--backbone", "tiny", "--out", out / "f"),
        "fit": ("fit", "frozen", root, "--backbone", "tiny", "--out", out / "r"),
        "evaluate": ("evaluate", "tiny", root, *both),
        "compare": ("compare", "tiny", "tiny:1", "--on", root, *both),
        "build": ("index", "build", root, "--encoder", "tiny", "--out", out / "i"),
        "add": ("index", "add", index, root),
        "search": ("search", index, "--like", "photo/circle/00.png"),
    }


@pytest.fixture
def index(cli, pictures, tmp_path):
    status, _, err = cli("index", "build", pictures, "--encoder", "tiny", "--out", tmp_path / "index")
    assert status == 0, err
    return tmp_path / "index"


@pytest.mark.parametrize("name", commands("", "", Path()))
def test_every_command_refuses_a_device_that_is_none(cli, pictures, index, tmp_path, name):
    status, _, err = cli(*commands(pictures, index, tmp_path)[name], "--device", "gpu")
    assert status == 1
    assert "there is no device 'gpu'" in err


@pytest.mark.parametrize("name", commands("", "", Path()))
def test_json_on_the_screen_stands_alone_and_quiet_is_silent(cli, pictures, index, tmp_path, name):
    status, out, err = cli(*commands(pictures, index, tmp_path)[name], "--json", "-", "--quiet")
    assert status == 0, err
    assert isinstance(json.loads(out), dict)
    assert err == ""
    again = {"fit": ("--resume",), "build": ("--out", tmp_path / "j")}.get(name, ())
    status, out, err = cli(*commands(pictures, index, tmp_path)[name], *again, "--json", "-")
    assert status == 0, err
    assert isinstance(json.loads(out), dict)


@pytest.mark.parametrize(
    ("more", "message"), [(("--decode", "quick"), "decode"), (("--protocol", "pairs"), "takes")]
)
def test_fit_refuses_what_it_has_no_use_for(cli, pictures, tmp_path, more, message):
    status, _, err = cli("fit", "frozen", pictures, "--out", tmp_path / "r", "--backbone", "tiny", *more)
    assert status == 2
    assert message in err


def test_embed_refuses_another_way_to_decode(cli, pictures, tmp_path):
    status, _, err = cli("embed", pictures, "--backbone", "tiny", "--out", tmp_path / "f", "--decode", "quick")
    assert status == 2
    assert "no way to decode called 'quick'" in err


def test_max_pixels_leaves_out_what_is_larger(cli, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_limit", None)
    status, _, err = cli(
        "index", "build", pictures, "--encoder", "tiny", "--out", tmp_path / "i", "--max-pixels", 0.001
    )
    assert status == 1
    assert "pixels" in err


def test_a_scenario_is_drawn_from_the_split(cli, pictures, tmp_path):
    from crosslens.data.catalog import Catalog

    rows = Catalog.open(pictures).table.to_pylist()
    rows = [row | {"split": "test" if row["label"] in ("circle", "cross") else "train"} for row in rows]
    Catalog.from_rows(rows, pictures).write(pictures / "marked.csv")
    asked = ("evaluate", "tiny", pictures / "marked.csv", "--domains", "sketch,photo", "--protocol", "partial")
    status, out, err = cli(*asked, "--shared", 1, "--split", "test", "--json", "-")
    assert status == 0, err
    scenario = json.loads(out)["scenario"]
    assert sorted(scenario["shared"] + scenario["private_gallery"]) == ["circle", "cross"]
