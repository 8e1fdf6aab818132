"""A place where a page of the documentation is done as its reader would do it: a home, a desk, a shell.

Blocks run in a real bash. The programs of ``testing.stand_ins`` lie first on its path and hand their words to this
process: ``crosslens``, whose imports would take every process seconds, and what no test can do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import traceback
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from testing.doc_pages import Block, prompted
from testing.stand_ins import CALLED
from testing.staying import served

_CLIENT = """\
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", int(os.environ["STAGE_PORT"]))) as there:
    call = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]
    there.sendall(json.dumps(call).encode() + b"\\n")
    status, out, err = json.loads(b"".join(iter(lambda: there.recv(65536), b"")))
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


class Stage:
    """Where pages are done, always in the same folders, so that what is cached for one page helps the next.

    Attributes:
        desk: the folder that a reader works in; empty before every page.
        home: the reader's home, whose cache outlives a page, but for indexes.
        means: what a page says, such as an address, and what it is here.
        keys: keys of the server by name, as they were printed.
        patch: what a page changes in this process, until it is over.
        client: of the server of a page, while one runs for it.
        storage: an S3 server for pages that need one; see ``testing.s3``.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.desk, self.home, self._bin = root, root / "desk", root / "home", root / "bin"
        self.means: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.patch = pytest.MonkeyPatch()
        self.storage: Any = None
        self.client: httpx2.Client | None = None
        self._bin.mkdir(parents=True)
        for name in CALLED:
            script = self._bin / name
            script.write_text(f"#!{sys.executable} -IS\n{_CLIENT}")
            script.chmod(0o755)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(0.02)

    @contextmanager
    def cleared(self) -> Iterator[Stage]:
        """The stage for one page."""
        for folder in (self.desk, *(self.root / name for name in ("anna", "data", "media", "srv"))):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("Pictures", ".local", ".cache/crosslens/indexes"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        self.desk.mkdir()
        self.home.mkdir(exist_ok=True)
        # An answer of the server that is an error ends the block.
        (self.home / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
        self.means, self.keys = {}, {}
        with pytest.MonkeyPatch.context() as self.patch:
            self.patch.setattr(webbrowser, "open", _there_to_be_shown)
            yield self

    def close(self) -> None:
        """Let no program call any more."""
        self._door.close()

    @property
    def environment(self) -> dict[str, str]:
        """What is set in the reader's shell."""
        ours = ("XDG_", "CROSSLENS_", "DISPLAY", "WAYLAND_DISPLAY", "PYTEST_", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        given = {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([str(self._bin), kept["PATH"]]),
            "BROWSER": "true",
            "HF_HUB_OFFLINE": "1",
            "STAGE_PORT": str(self._door.getsockname()[1]),
        }
        return kept | given | ({"KEY": next(iter(self.keys.values()))} if self.keys else {})

    def run(self, block: Block, names: dict[str, Any], given: Mapping[str, Callable[[], Any]]) -> None:
        """Run a block of a shell or of Python.

        Args:
            block: of this page.
            names: what the blocks of Python before it left.
            given: what its reader's program has beside that, made where the block names it.
        """
        if block.language == "python":
            # Empty lines before it, so that a traceback names the line of the page.
            code = compile("\n" * (block.line - 1) + self.here(block.text), block.page, "exec")
            with self._as_reader(self.desk, self.environment), redirect_stdout(_Text()):
                names |= {name: make() for name, make in given.items() if name in block.text}
                exec(code, names)
        elif block.language == "console":
            # What a command asks the server to do is done before the next.
            self.shell("settled\n".join(prompted(block.text)))
        else:
            self.shell(block.text)

    def here(self, text: str) -> str:
        """A text of a page with what it means here; folders of whole machines lie in the stage."""
        for said, meant in self.means.items():
            text = text.replace(said, meant)
        return re.sub(r"(?<![\w.~:/-])(?:/home)?/(anna|data|media|srv)/", rf"{self.root}/\1/", text)

    def shell(self, text: str) -> str:
        """Run lines of bash; the first that fails is an error. Gives what they print.

        Where they ask the server of a page, one runs over ``photos.index`` with the keys of ``keys.json``.
        """
        text = self.here(text)
        if "localhost:8000" not in text:
            return self._bash(text)
        with self._as_reader(self.desk, self.environment):
            asked = served(["serve", "photos.index", "--api-key-file", "keys.json"])
            with asked as self.client:
                self.client.headers["Authorization"] = f"Bearer {self.environment['KEY']}"
                return self._bash(text.replace("localhost:8000", self.client.base_url.netloc.decode()))

    def _bash(self, text: str) -> str:
        with TemporaryFile() as log:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self.desk,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None:
                self._answer()
            log.seek(0)
            printed = log.read().decode()
        assert process.returncode == 0, f"this ends with {process.returncode}:\n{text}\n{printed}"
        return printed

    def _answer(self) -> None:
        """Do what a program in bash asks for, where one does."""
        try:
            connection, _ = self._door.accept()
        except TimeoutError:
            return
        with connection, connection.makefile("rb") as asked:
            name, words, folder, environment = json.loads(asked.readline())
            out, err, status = _Text(), _Text(), 1
            with self._as_reader(Path(folder), environment), redirect_stdout(out), redirect_stderr(err):
                try:
                    status = CALLED[name](self, words)
                except Exception:
                    traceback.print_exc()
            connection.sendall(json.dumps([status, out.text, err.text]).encode())

    @contextmanager
    def _as_reader(self, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
        before, place = dict(os.environ), Path.cwd()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            os.chdir(place)


class _Text(TextIOWrapper):
    """What is printed, kept."""

    def __init__(self) -> None:
        super().__init__(BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


def _there_to_be_shown(address: str) -> bool:
    """Instead of a browser: what it is to show must be there."""
    place = urlsplit(address)
    assert place.scheme == "file"
    assert Path(place.path).is_file(), address
    return True
