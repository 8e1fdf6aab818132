"""Names that mean something to a terminal, arguments that are no text, terminals that know few letters."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from PIL import Image

NAMES = ["x [edited].jpg", "q[_x].png", "a\tb.png", "a\nb.png", "\x1b[31mred.png", "gpj.\u202e.png", ":dog:.png"]
START = "from crosslens.cli import main; from testing.tiny_backbone import register_tiny; register_tiny(); main()"
COMMAND = [sys.executable, "-c", START]
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(NAMES):
        file = tmp_path / "pics" / "photo" / "dog [bold red]" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (30 * number, 99, 0)).save(file)
    (tmp_path / "pics" / "photo" / "dog [bold red]" / "q[_y \x1b[5m].png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return tmp_path / "pics"


@pytest.fixture
def index(cli, root, tmp_path):
    made = tmp_path / "i"
    status, out, err = cli("index", "build", root, "--encoder", "tiny", "--out", made, "--store", "exact")
    assert status == 0, err
    assert "7 images indexed" in out
    return made


def test_names_reach_no_screen_as_commands(cli, root, index, tmp_path):
    picture = next((root / "photo" / "dog [bold red]").glob("x *"))
    for arguments in (
        ("search", index, "--image", picture),
        ("index", "add", index, root),
        ("index", "info", index),
        ("data", "check", root, "--decode"),
        ("data", "list", root, "--out", tmp_path / "\x1b[31mlist.csv"),
        ("embed", root, "--out", tmp_path / "f", "--backbone", "tiny"),
        ("search", index, "--like", "photo/\x1b[31m"),
        ("search", index, "--image", tmp_path / "\x1b[31m.png"),
        ("search", index, "--like", "x", "--sort", "\x1b[31m"),
        ("index", "build", tmp_path / "\x1b[2J", "--out", tmp_path / "o"),
        ("search", "--\x1b[31m"),
        ("\x1b[31m",),
        ("search", index, "extra\x1b[31m"),
        ("search", index, "--top", "\x1b[31m"),
    ):
        _, out, err = cli(*arguments)
        assert not RAW.search(out), (arguments, out)
        assert not RAW.search(err), (arguments, err)
        assert "Traceback" not in err


def test_a_piped_table_has_a_line_a_hit(cli, root, index):
    picture = next((root / "photo" / "dog [bold red]").glob("x *"))
    status, out, _ = cli("search", index, "--image", picture, "--top", 50)
    rows = [line.split("\t") for line in out.splitlines()]
    assert status == 0
    assert {len(row) for row in rows} == {4}
    assert {row[2] for row in rows[1:]} == {"dog [bold red]"}
    shown = {row[3].rpartition("/")[2] for row in rows[1:]}
    assert shown == {
        "x [edited].jpg", "q[_x].png", "a\\tb.png", "a\\nb.png", "\\x1b[31mred.png", "gpj.\\u202e.png", ":dog:.png"
    }  # fmt: skip
    status, out, _ = cli("search", index, "--image", picture, "--top", 50, "--json", "-")
    assert {hit["id"].rpartition("/")[2] for hit in json.loads(out)["hits"]} == set(NAMES)


def test_a_terminal_shows_whole_names(root, index):
    picture = next((root / "photo" / "dog [bold red]").glob("x *"))
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [*COMMAND, "search", str(index), "--image", str(picture)],
        stdout=theirs, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "70", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert done.wait() == 0, done.stderr.read()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert not RAW.search(plain.replace("\r\n", "\n"))
    letters = re.sub(r"[\s│┃━─┏┓┡┩└┘┳╇┴├┤]", "", plain)
    for name in ("x[edited].jpg", "q[_x].png", "\\x1b[31mred.png", ":dog:.png", "a\\tb.png"):
        assert name in letters
    assert letters.count("dog[boldred]") >= 2 * len(NAMES)
    assert "…" not in letters


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "INDEX", "--like", "caf\udce9"),
        ("search", "INDEX", "--where", "label = 'caf\udce9'"),
        ("search", "INDEX", "--domain", "caf\udce9", "--like", "x"),
        ("index", "delete", "INDEX", "caf\udce9"),
        ("index", "delete", "INDEX", "--where", "label = 'caf\udce9'"),
        ("index", "build", "ROOT", "--encoder", "tiny", "--out", "OUT"),
        ("index", "add", "INDEX", "ROOT"),
    ],
    ids=lambda arguments: " ".join(arguments[:4]).encode("ascii", "replace").decode(),
)
def test_bytes_that_are_no_text(cli, index, tmp_path, arguments):
    root = tmp_path / "caf\udce9"
    (root / "photo").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(root / "photo" / "1.png")
    places = {"INDEX": index, "ROOT": root, "OUT": tmp_path / "new"}
    status, _, err = cli(*(places.get(one, one) for one in arguments))
    assert status in (1, 2), err
    assert err.startswith("error: ")
    assert "UTF-8" in err
    assert err.count("\n") == 1
    before = cli("index", "info", index, "--json", "-")[1]
    assert json.loads(before)["items"] == 7
    assert not (tmp_path / "new" / "index.json").exists()


def test_files_may_be_called_anything(cli, index, tmp_path):
    picture = tmp_path / "caf\udce9 [x].png"
    Image.new("RGB", (32, 32)).save(picture)
    for name in ("caf\udce9.png", "caf\udce9.html", "caf\udce9.json"):
        option = "--json" if name.endswith("json") else "--grid"
        status, _, err = cli("search", index, "--image", picture, option, tmp_path / name)
        assert status == 0, err
        assert (tmp_path / name).stat().st_size > 100
    assert "caf\\xe9 [x].png" in (tmp_path / "caf\udce9.html").read_text()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_narrow_terminals(index, root, encoding):
    picture = next((root / "photo" / "dog [bold red]").glob("x *"))
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    for more in ((), ("--json", "-")):
        done = subprocess.run(
            [*COMMAND, "search", str(index), "--image", str(picture), *more], capture_output=True, env=environment,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        if more:
            assert len(json.loads(done.stdout.decode(encoding))["hits"]) == 7


def test_an_argument_that_is_too_large(cli, index):
    status, _, err = cli("search", index, "--like", "x", "--where", " or ".join(["size = 1"] * 10_001))
    assert status == 2
    assert err.startswith("error: filter: ")
    assert "at most 10000" in err
