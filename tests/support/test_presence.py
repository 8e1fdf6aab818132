"""When a picture is gone: what its own name leads to, and nothing else, decides."""

import os
from pathlib import Path

import pytest

from crosslens.support.presence import can_be_read, is_gone


@pytest.fixture
def root(tmp_path):
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "Dog.jpg").write_bytes(b"dog")
    return tmp_path


def test_a_file_is_there_until_it_is_removed(root):
    file = root / "photo" / "Dog.jpg"
    assert not is_gone(file, root)
    assert not is_gone(str(file), str(root))
    file.unlink()
    assert is_gone(file, root)


@pytest.mark.parametrize(
    ("target", "gone"),
    [("photo/Dog.jpg", False), ("nowhere", True), ("photo", True), ("link", True)],
    ids=["file", "broken", "folder", "loop"],
)
def test_a_link_is_there_as_long_as_it_leads_to_a_file(root, target, gone):
    (root / "link").symlink_to(root / target)
    assert is_gone(root / "link", root) == gone


def test_a_removed_link_is_gone_though_its_target_stays(root):
    link = root / "link.jpg"
    link.symlink_to(root / "photo" / "Dog.jpg")
    link.unlink()
    assert is_gone(link, root)
    assert not is_gone(root / "photo" / "Dog.jpg", root)


def test_a_folder_or_a_file_in_its_place(root):
    file = root / "photo" / "Dog.jpg"
    file.unlink()
    file.mkdir()
    assert is_gone(file, root)
    file.rmdir()
    (root / "photo").rmdir()
    (root / "photo").write_bytes(b"a file now")
    assert is_gone(file, root)
    os.mkfifo(root / "pipe.jpg")
    assert is_gone(root / "pipe.jpg", root)


def fold_case(monkeypatch, root):
    """The folders below ``root`` find names in either case, as on most disks of Windows and macOS."""

    def found(path):
        place = Path(root)
        for part in Path(path).relative_to(root).parts:
            names = os.listdir(place) if place.is_dir() else []
            place /= next((name for name in names if name.lower() == part.lower()), part)
        return place

    stat, lstat = os.stat, os.lstat

    def folded(look):
        def looked(path, *arguments, **options):
            if isinstance(path, str | Path) and Path(path).is_relative_to(root) and Path(path) != Path(root):
                monkeypatch.undo()
                try:
                    path = found(path)
                finally:
                    patch()
            return look(path, *arguments, **options)

        return looked

    def patch():
        monkeypatch.setattr(os, "stat", folded(stat))
        monkeypatch.setattr(os, "lstat", folded(lstat))

    patch()


@pytest.mark.parametrize("name", ["photo/dog.jpg", "Photo/Dog.jpg", "PHOTO/DOG.JPG"])
def test_a_name_of_another_case_is_another_name(root, monkeypatch, name):
    fold_case(monkeypatch, root)
    assert os.stat(root / name).st_size == 3
    assert is_gone(root / name, root)
    assert not is_gone(root / "photo" / "Dog.jpg", root)


def test_two_names_of_one_file_that_differ_in_case(root):
    os.link(root / "photo" / "Dog.jpg", root / "photo" / "dOG.JPG")
    assert not is_gone(root / "photo" / "Dog.jpg", root)
    assert not is_gone(root / "photo" / "dOG.JPG", root)


def refuse(*arguments, **options):
    raise PermissionError(13, "Permission denied")


def test_what_cannot_be_looked_at_is_not_known_to_be_gone(root, monkeypatch):
    monkeypatch.setattr(os, "stat", refuse)
    assert not is_gone(root / "photo" / "Dog.jpg", root)
    assert not is_gone(root / "photo" / "nobody.jpg", root)


def test_what_can_be_read(root, monkeypatch):
    assert can_be_read(root / "photo" / "Dog.jpg")
    assert not can_be_read(root / "photo")
    assert not can_be_read(root / "nobody")
    monkeypatch.setattr("builtins.open", refuse)
    assert not can_be_read(root / "photo" / "Dog.jpg")
