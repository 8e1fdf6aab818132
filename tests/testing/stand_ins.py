"""What programs on a page do in a test: ``crosslens`` the same as ever, and others as much as a test can."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing.doc_pages import REPOSITORY
from testing.parsing import parsed
from testing.plug_ins import install
from testing.staying import CROSSLENS, ask_assistant, served, wait_for_jobs

if TYPE_CHECKING:
    from testing.stage import Stage


def crosslens(stage: Stage, words: list[str]) -> int:
    """In this process; what stays, or takes the place of its process, in one of its own."""
    if words[0] == "mcp":
        ask_assistant([*CROSSLENS, *words])
        return 0
    if words[0] == "open" or (words[0] == "serve" and words[1] != "keys"):
        with served(words) as client:
            if keys := stage.keys.values():
                client.headers["Authorization"] = f"Bearer {next(iter(keys))}"
            answer = client.get("/api/v1/collections")
            assert answer.status_code == 200, answer.text
            assert all(one["items"] for one in answer.json())
        return 0
    if words[:2] == ["jobs", "resume"]:
        done = subprocess.run([*CROSSLENS, *words], capture_output=True, text=True)
        print(done.stdout, done.stderr)
        return done.returncode
    from crosslens.cli import main

    status = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["crosslens", *words])
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
    if words[:3] == ["serve", "keys", "add"]:
        stage.keys[words[3]] = sys.stdout.text.strip()  # type: ignore[attr-defined]
    return status


def pip(stage: Stage, words: list[str]) -> int:
    """No network: the extras and files that are named must be there. A plug-in's folder is put on the path."""
    own = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"\[(.*?)\]", " ".join(words)):
        assert {*extras.split(",")} <= {*own["optional-dependencies"]}, extras
    require_files(words)
    if Path("pyproject.toml").exists():
        project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
        install(Path.cwd(), project["name"], project["entry-points"]["crosslens.methods"])
        stage.patch.syspath_prepend(str(Path.cwd()))
    return 0


def docker(stage: Stage, words: list[str]) -> int:
    """No daemon: ``run`` does what the image's entry point would, the rest must find its files."""
    if words[0] == "run":
        command = words[words.index("crosslens") + 1 :]
        return crosslens(stage, command) if command else 0
    if words[0] == "build":
        assert (REPOSITORY / words[-1] / "Dockerfile").is_file()
        return 0
    asked = re.findall(r"\$\{?(\w+)", (REPOSITORY / "deploy" / "compose.yaml").read_text())
    assert {*asked} <= {*os.environ}, asked
    return 0


def kubectl(stage: Stage, words: list[str]) -> int:
    """No cluster: the files that are named must be there."""
    require_files(words)
    return 0


def sbatch(stage: Stage, words: list[str]) -> int:
    """No Slurm: the tasks of an array run one after another."""
    if "--wrap" in words:
        stage.shell(words[words.index("--wrap") + 1])
        return 0
    script = Path(words[-1])
    first, last = re.search(r"#SBATCH --array=(\d+)-(\d+)", script.read_text()).groups()
    for task in range(int(first), int(last) + 1):
        stage.shell(f"SLURM_ARRAY_TASK_ID={task} sh {shlex.quote(str(script.absolute()))}")
    print(4711)
    return 0


def srun(stage: Stage, words: list[str]) -> int:
    """No Slurm: the command runs."""
    assert words[0] == "crosslens"
    return crosslens(stage, words[1:])


def torchrun(stage: Stage, words: list[str]) -> int:
    """Four processes at once are too many: the command is parsed; two run in ``tests/training``."""
    parsed(words[words.index("crosslens") + 1 :])
    return 0


def claude(stage: Stage, words: list[str]) -> int:
    """No assistant: a client that is none starts the server that it is told of."""
    assert words[:2] == ["mcp", "add"]
    ask_assistant(words[words.index("--") + 1 :])
    return 0


class _ParsedError(Exception):
    """The words of a benchmark were read."""


def python(stage: Stage, words: list[str]) -> int:
    """Benchmarks take hours: their own parsers read the words."""
    script = REPOSITORY / words[0]
    assert script.parent == REPOSITORY / "benchmarks"

    def parse(self: argparse.ArgumentParser) -> None:
        read(self)
        raise _ParsedError

    read = argparse.ArgumentParser.parse_args
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", [str(script), *words[1:]])
        with pytest.raises(_ParsedError):
            runpy.run_path(str(script), run_name="__main__")
    return 0


def settled(stage: Stage, words: list[str]) -> int:
    """No program of a page: between two commands, wait until the page's server has done what it was asked for."""
    if stage.client:
        wait_for_jobs(stage.client)
    return 0


CALLED: dict[str, Callable[[Stage, list[str]], int]] = {
    program.__name__: program
    for program in (crosslens, pip, docker, kubectl, sbatch, srun, torchrun, claude, python, settled)
}
"""Every program that is not the machine's own, by its name."""


def require_files(words: list[str]) -> None:
    """Check that files that are named, as words or behind a ``=``, lie here or in the repository."""
    for word in words:
        name = word.rpartition("=")[2]
        if re.search(r"/|\.(json|txt)$", name):
            assert Path(name).exists() or (REPOSITORY / name).exists(), name
