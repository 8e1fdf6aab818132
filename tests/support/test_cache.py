"""Making room in the cache."""

import os
import time

import pytest
from filelock import FileLock

from crosslens.support.cache import clean_cache, list_cached
from crosslens.support.errors import ConfigError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with one thing of each kind, all of them a day old."""
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path))
    old = time.time() - 86400
    for name in (
        "features/pictures-1/lite-v0/shards/0.json",
        "features/pictures-1/clip-v0/shards/0.json",
        "onnx/a.onnx",
        "encoders/0123/compiled.json",
        "lite/class.safetensors",
        "thumbnails/ab/cd.webp",
        "emoji-3/line/1F408.png",
        "indexes/0123/Pictures/index.json",
        "last-search.html",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 10)
        os.utime(file, (old, old))
    return tmp_path


def kinds(things):
    return [one.kind for one in things]


def test_what_is_there(cache):
    found = list_cached()
    assert kinds(found) == [
        "features",
        "features",
        "onnx",
        "encoders",
        "lite",
        "thumbnails",
        "emoji",
        "indexes",
        "other",
    ]
    assert {one.size for one in found} == {10}
    assert found[-2].path == cache / "indexes" / "0123" / "Pictures"


def test_what_took_hours_goes_only_when_it_is_named(cache):
    gone, kept = clean_cache(pretend=True)
    assert kinds(gone) == ["features", "features", "onnx", "encoders", "lite", "thumbnails"]
    assert not kept
    assert len(list_cached()) == 9
    clean_cache()
    assert kinds(list_cached()) == ["emoji", "indexes", "other"]
    clean_cache(["indexes"])
    assert not (cache / "indexes").exists() or not any((cache / "indexes").rglob("index.json"))
    with pytest.raises(ConfigError, match="did you mean 'features'"):
        clean_cache(["feature"])


def test_what_is_new_or_in_use_stays(cache):
    """A lock that somebody holds, and a change a moment ago, both keep a thing."""
    lock = cache / "features" / "pictures-1" / "lite-v0" / ".lock"
    with FileLock(lock):
        os.utime(lock, (time.time() - 86400,) * 2)
        gone, kept = clean_cache(["features"])
        assert [one.path.name for one in gone] == ["clip-v0"]
        assert [one.path.name for one in kept] == ["lite-v0"]
    (cache / "onnx" / "b.onnx").write_bytes(b"new")
    assert [one.path.name for one in clean_cache(["onnx"])[1]] == ["b.onnx"]
    assert clean_cache(["lite"], older_than=2) == ([], [])
