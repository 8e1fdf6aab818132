"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]

# Processes that tests start find the folder ``testing`` too, as pytest's ``pythonpath`` lets this one do.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(REPOSITORY / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# A busy machine is slow, not wrong.
settings.register_profile("crosslens", deadline=None)
settings.load_profile("crosslens")


@pytest.fixture(autouse=True)
def _heard(monkeypatch):
    """A command told to be quiet must not silence the tests after it; a busy machine says nothing in them."""
    from crosslens.support import progress

    for patience in ("_FIRST", "_LONGEST"):
        monkeypatch.setattr(progress, patience, float("inf"))
    yield
    progress.set_quiet(False)


@pytest.fixture(scope="module", autouse=True)
def _no_loop_left():
    """An event loop that a file's tests leave running, as a browser's driver does, stops those of other files."""
    yield
    assert asyncio._get_running_loop() is None, "an event loop still runs in this thread"


@pytest.fixture
def pacs_root() -> Path:
    """The PACS images, whole or in part; the test is skipped where there are none."""
    root = Path(os.environ.get("CROSSLENS_PACS") or REPOSITORY.parent / "shared" / "data" / "pacs")
    if not root.is_dir():
        pytest.skip("no PACS images: set CROSSLENS_PACS")
    return root


@pytest.fixture
def tree(tmp_path):
    """A factory of folders with small real pictures: ``tree("photo/cat/1.jpg", "lists/a.txt", ...)``.

    Every picture is another one; a file that is no picture is given with its text: ``{"a.txt": "..."}``.
    """
    shades = random.Random(0)

    def make(*pictures: str, texts: dict[str, str] | None = None, root: str = "data") -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for name in pictures:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (8, 8), tuple(shades.randbytes(3)))
            image.putpixel((0, 0), tuple(shades.randbytes(3)))
            image.save(path)
        for name, text in (texts or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def _exports(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny_world(_exports, monkeypatch):
    """A tiny backbone under the name ``tiny``, and a cache of this test session's own."""
    from testing.tiny_backbone import register_tiny

    monkeypatch.setenv("CROSSLENS_CACHE", str(_exports))
    monkeypatch.setenv("CROSSLENS_STATE", str(_exports / "state"))
    register_tiny()


@pytest.fixture
def pictures(tiny_world, tmp_path):
    """Two looks of four shapes, 12 pictures each: ``root/<look>/<shape>/*.png``."""
    from testing.tiny_pictures import make_pictures

    return make_pictures(tmp_path / "pictures")


@pytest.fixture(scope="session")
def _storage():
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    from testing.s3 import start_storage

    storage, stop = start_storage()
    yield storage
    stop()


@pytest.fixture
def storage(_storage, monkeypatch, tmp_path):
    """An S3 server of this machine, which the environment names; see ``testing.s3``."""
    from crosslens.support import remote
    from testing.s3 import KEY, SECRET

    _storage.rules.clear()
    _storage.seen.clear()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _storage.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    remote._store.cache_clear()
    yield _storage
    remote._store.cache_clear()


@pytest.fixture
def bucket(storage, request):
    """A new bucket for this test alone."""
    import hashlib

    return storage.bucket("b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16])
