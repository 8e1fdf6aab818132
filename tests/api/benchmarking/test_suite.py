"""What is wrong in a suite file is told before anything runs, all of it at once."""

import pytest

from crosslens.api.benchmarking.suite import place_of, read_suite
from crosslens.support.errors import ConfigError

GOOD = """
name: s
methods: [frozen, centred]
data:
  pictures: {path: here}
"""


@pytest.fixture
def suite(tmp_path):
    def write(text):
        file = tmp_path / "suite.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_a_short_suite(suite):
    found = read_suite(suite(GOOD))
    assert list(found.methods) == ["frozen", "centred"]
    assert (found.backbones, found.protocols, found.seeds) == (("lite",), ("pairs",), (0,))
    assert found.base_row == "frozen"
    assert found.method_of("centred") == "centred"


def test_rows_have_names_of_their_own(suite):
    text = "name: s\nmethods: {one head: {method: ucdir, settings: {members: 1}}, ucdir: }\ndata: {d: {path: x}}\n"
    found = read_suite(suite(text))
    assert [found.method_of(row) for row in found.methods] == ["ucdir", "ucdir"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("name: s", "naem: s"), r"naem: there is no such key.*did you mean 'name'"),
        (("path: here", "pth: here"), r"pth: there is no such key.*did you mean 'path'"),
        (("[frozen, centred]", "[frozen, centered]"), r"no method 'centered'.*did you mean 'centred'"),
        (("[frozen, centred]", "{a: {method: frozn}}"), r"methods.a: .*did you mean 'frozen'"),
        (("name: s", "name: s\nprotocols: [pair]"), r"no protocol 'pair'.*did you mean 'pairs'"),
        (("name: s", "name: s\nbase: centerd"), r"base: .*did you mean 'centred'"),
        (("name: s", "name: s\nblocks: [{data: [picture]}]"), r"block 1, data: .*did you mean 'pictures'"),
        (
            ("name: s", "name: s\nblocks: [{datas: [pictures]}]"),
            r"datas: there is no such key.*did you mean 'data'",
        ),
        (("path: here", "emoji: subgrup"), r"'subgroup' or 'concept'"),
        (("{path: here}", "{path: here, emoji: concept}"), "either path or emoji"),
        (("{path: here}", "{}"), "either path or emoji"),
        (("name: s", "name: s\nseeds: []"), "seeds"),
        (("name: s", "name: s\ngoals: [things]"), "goals.*'thing' or 'kind'"),
        (("pictures", "../pictures"), "a name takes letters"),
    ],
)
def test_what_is_wrong_is_named(suite, change, told):
    with pytest.raises(ConfigError, match=told):
        read_suite(suite(GOOD.replace(*change)))


def test_everything_wrong_is_told_at_once(suite):
    with pytest.raises(ConfigError, match=r"\(1\) .*frozn.*\(2\) .*pear"):
        read_suite(suite("name: s\nmethods: [frozn]\nprotocols: [pear]\ndata: {d: {path: x}}\n"))


@pytest.mark.parametrize("text", ["- a\n", "a: [", "\t"])
def test_what_is_no_suite(suite, text):
    with pytest.raises(ConfigError, match="suite"):
        read_suite(suite(text))


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="there is no suite"):
        read_suite(tmp_path / "none.yaml")


def test_paths_start_at_the_suite_or_at_a_variable(suite, tmp_path, monkeypatch):
    file = suite(GOOD)
    assert place_of(read_suite(file).data["pictures"], file) == tmp_path / "here"
    file = suite(GOOD.replace("here", "'${PLACE}/x'"))
    monkeypatch.setenv("PLACE", "/somewhere")
    assert str(place_of(read_suite(file).data["pictures"], file)) == "/somewhere/x"
    monkeypatch.setenv("PLACE", "s3://bucket")
    assert str(place_of(read_suite(file).data["pictures"], file)) == "s3://bucket/x"
    monkeypatch.delenv("PLACE")
    with pytest.raises(ConfigError, match="PLACE is not set"):
        place_of(read_suite(file).data["pictures"], file)
