"""No name, label or message reaches a terminal as a command, or breaks a line of a table."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from crosslens.support import progress
from crosslens.support.terminal import VisibleFormatter, print_document, print_json, print_table, visible

HOSTILE = {
    "x [edited].jpg": "x [edited].jpg",
    "dog [bold red]": "dog [bold red]",
    "q[/x].jpg": "q[/x].jpg",
    ":dog: back\\[slash\\": ":dog: back\\[slash\\",
    "a\tb\nc\rd": "a\\tb\\nc\\rd",
    "\x1b[31mred\x1b]0;title\x07": "\\x1b[31mred\\x1b]0;title\\x07",
    "\x9b2J\x7f\x00": "\\x9b2J\\x7f\\x00",
    "gpj.\u202efdp": "gpj.\\u202efdp",
    "a\u2028b\u2066c\ufeff\u200b": "a\\u2028b\\u2066c\\ufeff\\u200b",
    "caf\udce9": "caf\\xe9",
    "\ud83d": "\\ud83d",
    "\U000e0041": "\\U000e0041",
}
PLAIN = ["Ωmega 東京.png", "1.00.00\u202fPM.png", "\U0001f469\u200d\U0001f467", "می\u200cخواهم", "C:\\new\\x.png"]


class Terminal(io.StringIO):
    """Standard output as a terminal of some width."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """What is printed on a terminal 60 letters wide, without its colours and frames."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")

    def printed(*table):
        monkeypatch.setattr(sys, "stdout", shown := Terminal())
        print_table(*table)
        monkeypatch.undo()
        return shown.getvalue()

    return printed


def cells(text):
    """The letters of a drawn table, put together again where a cell takes several lines."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", plain)
    return re.sub(r"[\s│┃━─┏┓┡┩└┘┳╇┴├┤]", "", plain)


@pytest.mark.parametrize(("name", "told"), HOSTILE.items())
def test_what_is_made_visible(name, told):
    assert visible(name) == told


@pytest.mark.parametrize("name", PLAIN)
def test_what_stays_as_it_is(name):
    assert visible(name) == name


@given(st.text(st.characters(), max_size=12))
def test_nothing_that_a_terminal_obeys_is_left(text):
    told = visible(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in told)
    assert not any(unicodedata.bidirectional(x) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI") for x in told)
    assert visible(told) == told
    assert told.encode().decode() == told


@pytest.mark.parametrize("name", [*HOSTILE, *PLAIN])
def test_a_table_on_a_terminal_shows_every_letter(screen, name):
    row = ("1", f"/some/folder/{name}/" + "long" * 40 + ".jpg")
    told = re.sub(r"\s", "", visible(name))
    drawn = cells(screen(f"title {name}", (f"head {name}", "path"), [row]))
    assert "title" + told in drawn
    assert drawn.count(told) == 3
    assert "…" not in drawn
    assert drawn.count("long") == 40


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=4))
def test_a_piped_table_has_a_line_a_row(rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", shown := io.StringIO())
        print_table("t", ("a", "b"), rows)
    expected = [("a", "b"), *((visible(a), visible(b)) for a, b in rows)]
    assert [tuple(line.split("\t")) for line in shown.getvalue().split("\n")[:-1]] == expected


@pytest.mark.parametrize("name", [*HOSTILE, *PLAIN])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_is_one_line_and_says_every_letter(name, terminal, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=shown, width=40, force_terminal=terminal))
    progress.note(f"left out {name} of {'many ' * 20}", "yellow")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())
    assert plain == f"left out {visible(name)} of {'many ' * 20}\n"


def test_a_progress_bar_takes_names_for_names(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=shown, width=200, force_terminal=True))
    with progress.progress(2, "looking at [x]") as advance:
        advance(1, note="q[/x].jpg \x1b[31m")
    assert "looking at [x]" in shown.getvalue()
    assert "q[/x].jpg \\x1b[31m" in shown.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_is_exact_in_every_encoding(encoding, monkeypatch):
    value = {"path": ["é", "東", *HOSTILE]}
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_json(value)
    stream.flush()
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == value


@pytest.mark.parametrize(
    ("kind", "told"), [(io.StringIO, "id,é\na\x1b[2J\tb,\n"), (Terminal, "id,é\na\\x1b[2J\\tb,\n")]
)
def test_a_document_is_exact_but_for_terminals(kind, told, monkeypatch):
    monkeypatch.setattr(sys, "stdout", shown := kind())
    print_document("id,é\na\x1b[2J\tb,\n")
    monkeypatch.undo()
    assert shown.getvalue() == told


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_narrow_terminal_gets_escapes(encoding):
    code = (
        "from crosslens.support.terminal import accept_every_letter, echo, print_table\n"
        "accept_every_letter(); echo('é 東'); echo('caf\\udce9', err=True); print_table('t', ('a',), [('東',)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = {"ascii": r"\xe9 \u6771", "latin-1": r"é \u6771", "utf-8": "é 東"}[encoding]
    assert done.stdout.decode(encoding).splitlines() == [words, "a", words.split()[1]]
    assert done.stderr.decode(encoding).strip() == r"caf\xe9"


def test_commands_print_through_this_module_alone():
    package = Path(__file__).parents[2] / "src" / "crosslens"
    for file in (*(package / "cli").glob("*.py"), package / "api" / "demo.py"):
        assert not re.search(r"typer\.s?echo|\bprint\(|sys\.stdout|rich", file.read_text()), file


def test_log_lines_hold_no_command(capsys):
    record = logging.LogRecord("crosslens.x", logging.ERROR, "", 0, "job of %s failed", ("a\x1b[2J\nb",), None)
    assert VisibleFormatter().format(record) == r"job of a\x1b[2J\nb failed"
    try:
        raise ValueError("caf\udce9\x1b[31m")
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = VisibleFormatter().format(record).splitlines()
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"ValueError: caf\xe9\x1b[31m"


def test_what_the_package_logs_is_written_once():
    code = (
        "import logging; from crosslens.support.terminal import log_visibly; log_visibly(); log_visibly();"
        "logging.getLogger('crosslens.server').warning('%s is gone', 'x\\x1b[1m')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [r"x\x1b[1m is gone"]
