"""A method of another package, as the documentation shows it: found by its entry point, fitted and measured."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

import crosslens
from crosslens.cli import main
from crosslens.methods import METHODS, known_methods, method_class
from crosslens.support.errors import ConfigError
from testing.plug_ins import install

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plug-in.md"


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def told(monkeypatch, capsys):
    """What a command prints."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["crosslens", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        return capsys.readouterr().out

    return call


def test_the_example_of_the_page_works(site, pictures, tmp_path, told):
    blocks = dict(re.findall(r"```(toml|python)\n(.*?)```", PAGE.read_text(), re.S))
    project = tomllib.loads(blocks["toml"])["project"]
    install(site, project["name"], project["entry-points"]["crosslens.methods"], crosslens_median=blocks["python"])
    assert known_methods() == [*METHODS, "median"]
    assert "median: each domain's median taken away" in told("fit", "--help")
    assert "share=1 " in told("fit", "median", "--settings")
    run = crosslens.fit("median", pictures, out=tmp_path / "run", backbone="tiny", set={"share": 0.5})
    assert run.config()["settings"] == {"share": 0.5}
    assert len(crosslens.evaluate(run).directions) == 2


def test_what_is_no_method_is_said(site):
    broken = "raise RuntimeError('half installed')"
    points = {"broken": "broken_one:X", "odd": "odd_one:X", "ucdir": "odd_one:X"}
    install(site, "others", points, broken_one=broken, odd_one="class X:\n    name = 'odd'\n")
    assert known_methods()[-2:] == ["broken", "odd"]
    assert method_class("ucdir").__module__ == "crosslens.methods.ucdir"
    with pytest.raises(ConfigError, match="broken of the package others cannot be loaded: half installed"):
        method_class("broken")
    with pytest.raises(ConfigError, match="odd_one:X of the package others is no method called odd"):
        method_class("odd")
    with pytest.raises(ConfigError, match=r"no method 'nothere'; known: frozen.*, odd"):
        method_class("nothere")
