"""Objects of an S3 server on this machine: reading, writing, listing, and everything that may go wrong."""

import pickle
from pathlib import Path

import pytest

from crosslens.support import remote
from crosslens.support.addresses import joined, place_of
from crosslens.support.errors import CrosslensError
from crosslens.support.remote import (
    AccessError,
    ExistingError,
    NoObjectError,
    PlaceError,
    Remote,
    UnreachableError,
)

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def place(bucket):
    return Remote("s3", bucket)


@pytest.fixture
def quick(monkeypatch):
    """Give up soon."""
    from datetime import timedelta

    monkeypatch.setattr(remote, "_RETRIES", {"max_retries": 2, "retry_timeout": timedelta(seconds=5)})
    monkeypatch.setattr(remote, "_TRIES", 2)


@pytest.mark.parametrize("name", ["a.jpg", "ä ö/b c.jpg", "a#b?c%20[1].png", "deep/er/x.tar"])
def test_what_is_written_is_read_under_any_name(place, name):
    file = place / name
    assert not file.exists()
    file.write(CONTENT)
    assert file.read_bytes() == CONTENT
    assert file.read_range(10, 5) == CONTENT[10:15]
    assert file.read_range(len(CONTENT) - 3, 100) == CONTENT[-3:]
    assert file.is_file()
    assert not file.is_dir()
    assert place.is_dir()
    assert [(str(found), state.size) for found, state in place.walk()] == [(str(file), len(CONTENT))]
    assert file.state() == next(place.walk())[1]
    file.unlink()
    assert not file.exists()


def test_names_are_those_of_a_path(place):
    file = place / "a" / "b.c" / "d.tar.gz"
    path = Path("/a/b.c/d.tar.gz")
    assert (file.name, file.stem, file.suffix) == (path.name, path.stem, path.suffix)
    assert str(file.parent) == f"s3://{place.bucket}/a/b.c"
    assert str(file.with_suffix(".json")) == f"s3://{place.bucket}/a/b.c/d.tar.json"
    assert file.relative_to(place / "a").as_posix() == "b.c/d.tar.gz"
    assert file.is_relative_to(place)
    assert not file.is_relative_to(place / "b.c")
    assert pickle.loads(pickle.dumps(file)) == file


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("s3://b/x/y.jpg", Remote("s3", "b", "x/y.jpg")),
        (Path("s3://b/x/y.jpg"), Remote("s3", "b", "x/y.jpg")),
        ("gs://b/", Remote("gs", "b")),
        ("az://c//x/", Remote("az", "c", "x")),
        ("file:///pictures/a%20b", Path("/pictures/a b")),
        (Path("file:///pictures/x"), Path("/pictures/x")),
        ("file://localhost/pictures/x", Path("/pictures/x")),
        ("pictures/dog", Path("pictures/dog")),
        ("https://host/x", Path("https://host/x")),
    ],
)
def test_a_name_says_which_place_is_meant(named, meant):
    assert place_of(named) == meant


def test_a_folder_that_is_called_like_an_address_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:/b/x").mkdir(parents=True)
    assert place_of("s3://b/x") == Path("s3://b/x")


def test_paths_of_a_catalog_start_from_its_root_or_are_whole():
    root = Remote("s3", "b", "pictures")
    assert joined(root, "dog/1.jpg") == root / "dog/1.jpg"
    assert joined(root, "s3://c/1.jpg") == Remote("s3", "c", "1.jpg")
    assert joined(root, "/tmp/1.jpg") == Path("/tmp/1.jpg")
    assert joined(Path("/here"), "s3://c/1.jpg") == Remote("s3", "c", "1.jpg")
    with pytest.raises(CrosslensError, match="names no bucket"):
        place_of("s3://")


def test_a_new_object_never_takes_the_place_of_another(place):
    (place / "x").write(b"1", new=True)
    with pytest.raises(ExistingError, match="is there already"):
        (place / "x").write(b"2", new=True)
    assert (place / "x").read_bytes() == b"1"
    (place / "x").write(b"3")
    assert (place / "x").read_bytes() == b"3"


@pytest.mark.parametrize("fault", ["503", "cut", "short", "reset"])
def test_what_fails_once_or_twice_is_asked_for_again(storage, place, fault):
    (place / "x").write(CONTENT)
    storage.fault(fault, "/x", times=2)
    assert (place / "x").read_bytes() == CONTENT
    storage.fault(fault, "/x", times=1)
    assert (place / "x").read_range(0, 1000) == CONTENT[:1000]
    assert storage.count("GET", "/x") >= 5


@pytest.mark.parametrize("fault", ["503", "cut", "short", "reset"])
def test_what_goes_on_failing_is_given_up_with_the_reason(storage, place, fault, quick):
    (place / "x").write(CONTENT)
    storage.fault(fault, "/x")
    with pytest.raises(PlaceError, match=f"s3://{place.bucket}/x .*after several tries"):
        (place / "x").read_bytes()
    assert storage.count("GET", "/x") < 20


def test_a_slow_answer_is_waited_for(storage, place):
    (place / "x").write(CONTENT)
    storage.fault("slow", "/x", times=1)
    assert (place / "x").read_bytes() == CONTENT


def test_an_answer_that_never_comes_is_given_up(storage, place, quick, monkeypatch):
    from datetime import timedelta

    (place / "x").write(CONTENT)
    monkeypatch.setattr(remote, "_WAITS", {"timeout": timedelta(seconds=0.2)})
    remote._store.cache_clear()
    storage.fault("slow", "/x")
    with pytest.raises(PlaceError, match="after several tries"):
        (place / "x").read_bytes()


def test_a_missing_object_and_a_missing_bucket_are_told_apart(place):
    with pytest.raises(NoObjectError, match=f"s3://{place.bucket}/nothing does not exist") as error:
        (place / "nothing").read_bytes()
    assert isinstance(error.value, FileNotFoundError)
    with pytest.raises(UnreachableError, match="there is no bucket 'no-such-bucket'; check"):
        Remote("s3", "no-such-bucket", "x").read_bytes()
    with pytest.raises(UnreachableError, match="there is no bucket"):
        list(Remote("s3", "no-such-bucket").walk())
    with pytest.raises(UnreachableError, match="there is no bucket"):
        Remote("s3", "no-such-bucket", "x").write(b"1")


def test_wrong_credentials_and_a_lacking_right_are_told_apart(storage, place, monkeypatch):
    (place / "x").write(b"1")
    storage.fault("denied", "/x", "PUT")
    with pytest.raises(AccessError, match=f"s3://{place.bucket}/x: these credentials may not do that"):
        (place / "x").write(b"2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    remote._store.cache_clear()
    with pytest.raises(UnreachableError, match=r"the credentials are wrong.*AWS_ACCESS_KEY_ID"):
        (place / "x").read_bytes()
    with pytest.raises(UnreachableError, match="the credentials are wrong"):
        list(place.walk())


def test_an_endpoint_that_nobody_listens_at_is_no_matter_of_one_object(place, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setitem(remote._RETRIES, "max_retries", 1)
    remote._store.cache_clear()
    for ask in ((place / "x").read_bytes, (place / "x").is_file, lambda: list(place.walk())):
        with pytest.raises(UnreachableError, match=r"nothing answers for s3://.*AWS_ENDPOINT_URL"):
            ask()


def test_without_the_package_it_is_said_which_to_install(place, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(PlaceError, match=r"pip install 'crosslens\[cloud\]'"):
        (place / "x").read_bytes()


def test_an_error_of_a_machine_without_credentials_says_so():
    asked = OSError("Error performing PUT http://169.254.169.254/latest/api/token: timed out")
    error = Remote("s3", "b", "x")._explained(asked)
    assert isinstance(error, UnreachableError)
    assert "s3://b/x: the credentials are wrong, or there are none" in str(error)
