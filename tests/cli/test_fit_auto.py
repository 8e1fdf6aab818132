"""``crosslens fit auto``: what it says, and what it writes."""

import json

import pytest

from crosslens.training.run import Run


@pytest.fixture
def cli(cli):
    """Messages are wrapped at the width of the screen; here they come on one line."""

    def call(*arguments):
        status, out, err = cli(*arguments)
        return status, out, " ".join(err.split())

    return call


def test_explain_says_what_why_and_what_would_change_it(cli, pictures, tmp_path):
    target = tmp_path / "choice.json"
    asked = ("fit", "auto", pictures, "--backbone", "tiny", "--explain")
    status, out, err = cli(*asked, "--json", target)
    assert status == 0, err
    chosen, because, unless = out.splitlines()
    assert chosen == "auto takes uem for photo 48, sketch 48"
    assert because.startswith("because there are pictures and no class names")
    assert "--classes FILE" in because
    assert "--goal thing would give centred" in unless
    value = json.loads(target.read_text())
    assert (value["method"], value["facts"]["pictures"]) == ("uem", {"photo": 48, "sketch": 48})
    assert {file.name for file in tmp_path.iterdir()} == {"pictures", "choice.json"}
    # --out may stand there already; nothing is made of it.
    assert cli(*asked, "--out", tmp_path / "run")[0] == 0
    assert not (tmp_path / "run").exists()


def test_a_goal_of_things(cli, pictures, tmp_path):
    run = tmp_path / "run"
    status, _, err = cli("fit", "auto", pictures, "--backbone", "tiny", "--goal", "thing", "--out", run)
    assert status == 0, err
    assert "auto takes centred for photo 48, sketch 48 because the goal is the very same thing" in err
    assert Run(run).config()["method"] == "centred"
    assert cli("evaluate", run)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("auto",), "name the run folder to make: --out RUN"),
        (("ucdir",), "name the run folder to make: --out RUN"),
        (("ucdir", "--explain"), "--explain is for 'fit auto', and this is 'fit ucdir'"),
        (("ucdir", "--goal", "kind", "--out", "r"), "--goal is for 'fit auto'"),
        (("auto", "--goal", "all", "--explain"), "'thing' or 'kind'"),
        (("auto", "--seeds", "0,1", "--out", "r"), "auto chooses for one run"),
        (("auto", "--set", "epochs=2", "--out", "r"), "to give settings, name a method"),
        (("auto", "--settings"), "auto has no settings"),
    ],
)
def test_what_cannot_be_is_said(cli, pictures, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    method, *options = arguments
    status, _, err = cli("fit", method, pictures, "--backbone", "tiny", *options)
    assert status == 2
    assert said in err
    assert not (tmp_path / "r").exists()


def test_help_lists_it(cli):
    status, out, _ = cli("fit", "--help")
    assert status == 0
    assert "auto: one of these, chosen by what there is" in " ".join(out.split())
