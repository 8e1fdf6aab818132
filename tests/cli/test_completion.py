"""What a TAB offers: in the shell, and beside what the commands take."""

import os
import shutil
import subprocess
import sys

import pytest

from crosslens.cli import completion
from crosslens.evaluation.protocol_names import PROTOCOL_NAMES
from crosslens.methods import known_methods

SHELL = """
eval "$(crosslens --show-completion bash)"
tab() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _crosslens_completion crosslens
    echo "${COMPREPLY[*]}"
}
tab crosslens inde
tab crosslens index ad
tab crosslens search --contact
tab crosslens fit uc
tab crosslens evaluate lite P --protocol open
tab crosslens search mi
tab crosslens fit uem P --out ru
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_values_and_indexes(tmp_path):
    """The function that the shell calls, run as it calls it."""
    program = tmp_path / "bin" / "crosslens"
    program.parent.mkdir()
    body = "import sys; sys.argv[0] = 'crosslens'; from crosslens.cli import main; main()"
    program.write_text(f"#!{sys.executable}\n{body}\n")
    program.chmod(0o755)
    for name in ("mine.index", "mixed"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine.index" / "index.json").write_text("{}")
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "SHELL": "/bin/bash"}
    told = subprocess.run(
        ["bash", "-c", SHELL], env=env, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300
    )
    assert told.stdout.splitlines() == ["index", "add", "--contact-sheet", "ucdir", "open-set", "mine.index", ""]


def test_names_are_those_that_the_commands_take():
    assert completion.METHODS("") == ["auto", *known_methods()]
    assert completion.PROTOCOLS("") == list(PROTOCOL_NAMES)
    assert completion.PROTOCOLS("close") == ["close-set"]
    assert completion.GOALS("t") == ["thing"]
    for offers in (
        completion.CONVENTIONS,
        completion.TIES,
        completion.RERANKERS,
        completion.TUNES,
        completion.RECIPES,
        completion.BENCHMARKS,
        completion.BACKBONES,
        completion.STORES,
        completion.CACHED,
        completion.DECODE_MODES,
        completion.FORMATS,
    ):
        assert len(offers("")) > 1
        assert offers("no such") == []


def test_an_index_is_offered_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.index", "b.index", "my photos.index", "pictures"):
        (tmp_path / "kept" / name).mkdir(parents=True)
        if name != "pictures":
            (tmp_path / "kept" / name / "index.json").write_text("{}")
    assert completion.INDEXES("") == []
    # A name that needs quotes is left to the shell.
    assert completion.INDEXES("kept/") == ["kept/a.index", "kept/b.index"]
    assert completion.INDEXES(f"{tmp_path}/kept/b") == [f"{tmp_path}/kept/b.index"]
    assert completion.INDEXES("nowhere/") == []
