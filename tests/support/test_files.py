"""Whole files or none, wherever the target points."""

import json
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from safetensors.numpy import save_file

from crosslens.support.errors import CrosslensError
from crosslens.support.files import atomic_path, read_yaml, write_json, write_text


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.json"
    write_text(target, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"a": float("nan")})

    def half():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_link_stays_one(tmp_path):
    real, link = tmp_path / "there" / "real.txt", tmp_path / "link.txt"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_pipe_takes_the_bytes(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(10)
    assert read == ['{\n  "a": 1\n}\n']
    assert pipe.is_fifo()


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no name for standard output")
@pytest.mark.parametrize("where", ["file", "pipe"])
def test_standard_output_keeps_what_was_printed_before(tmp_path, where):
    program = (
        "from pathlib import Path\nfrom crosslens.support.files import write_text\nprint('before', flush=True)\n"
        "write_text(Path('/dev/stdout'), 'content\\n')\nprint('after', flush=True)"
    )
    if where == "pipe":
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    else:
        with open(tmp_path / "out.txt", "a") as out:
            subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
        shown = (tmp_path / "out.txt").read_text()
    assert shown.splitlines() == ["before", "content", "after"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_device_is_told_and_stays_a_device(tmp_path):
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(CrosslensError, match="No space left"):
        write_text(link, "x" * 100_000)
    assert not os.path.isfile("/dev/full")


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CrosslensError, match=r"could not write .*sub"):
        write_text(tmp_path / "file" / "sub", "text")


def test_text_that_is_no_utf8_is_kept_in_json(tmp_path):
    value = {"path": "caf\udce9/é"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == value
    write_json(tmp_path / "b.json", {"path": "é"})
    assert "é" in (tmp_path / "b.json").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_what_libraries_write_for_their_owner_alone_has_the_usual_mode(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            save_file({"a": np.zeros(3)}, temporary / "a.safetensors")
            (temporary / "program").write_text("run")
            (temporary / "program").chmod(0o750)
            (temporary / "secret").write_text("key")
            (temporary / "secret").chmod(0o600)
        with atomic_path(tmp_path / "b.safetensors") as temporary:
            save_file({"b": np.zeros(3)}, temporary)
        with atomic_path(tmp_path / "keys.json") as temporary:
            temporary.write_text("key")
            temporary.chmod(0o600)
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.rglob("*") if file.is_file()}
    usual = 0o666 & ~umask
    private = {"secret": 0o600, "keys.json": 0o600}
    assert modes == {"a.safetensors": usual, "b.safetensors": usual, "program": 0o750} | private


def test_yaml_is_read_as_pairs(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("name: größe\nlist: [1, 2]\n", encoding="utf-8")
    assert read_yaml(file) == {"name": "größe", "list": [1, 2]}
    assert read_yaml(file, as_text=True) == {"name": "größe", "list": ["1", "2"]}
    # As Windows' editors write it.
    file.write_bytes(b"\xef\xbb\xbfname: 007\n")
    assert read_yaml(file, as_text=True) == {"name": "007"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1\nb: 2\n", "YAML: expected ',' or ']', but got ':' in line 2$"),
        (b"a: \xff\n", "cannot be read as YAML"),
        (b"a: \x00\n", "cannot be read as YAML"),
        (b"- a\n", "must hold key: value pairs"),
        (b"", "must hold key: value pairs"),
        (b"!!python/object/apply:os.getcwd []\n", "cannot be read as YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_of_pairs_says_so(tmp_path, content, words):
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(CrosslensError, match=words):
        read_yaml(file)


def test_a_yaml_file_that_is_missing_says_so(tmp_path):
    with pytest.raises(CrosslensError, match="is missing"):
        read_yaml(tmp_path / "gone.yaml")


def test_a_full_disk_is_told_whoever_writes(tmp_path):
    """What the writer of safetensors raises is no OSError, yet it is the disk that is full."""
    from safetensors import SafetensorError

    target = tmp_path / "features.safetensors"
    told = "Error while serializing: I/O error: No space left on device (os error 28)"
    with (
        pytest.raises(CrosslensError, match=f"could not write {re.escape(str(target))}: No space left on device$"),
        atomic_path(target),
    ):
        raise SafetensorError(told)
    with pytest.raises(SafetensorError, match="header"), atomic_path(target):
        raise SafetensorError("Error while serializing: invalid header")
    with pytest.raises(CrosslensError, match=r"^the store said: full .os error 28.$"), atomic_path(target):
        raise CrosslensError("the store said: full (os error 28)")
    assert not list(tmp_path.iterdir())
