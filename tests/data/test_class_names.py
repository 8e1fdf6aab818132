"""Reading class names."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosslens.data.class_names import read_class_names
from crosslens.support.errors import ConfigError


def test_a_file_is_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffdog\n\n  ice cream  \n# nothing\nC#\r\nÉclair\r\n".encode())
    assert read_class_names(file) == ("dog", "ice cream", "C#", "Éclair")


def test_a_list_is_taken_as_it_is() -> None:
    assert read_class_names(["b", " a "]) == ("b", "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no class name"), (b"dog\nDog\n", "'Dog' twice"), (b"\xff\xfe\x00", "cannot be read")],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_class_names(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.txt"):
        read_class_names(tmp_path / "absent.txt")
