"""Ids as an index has them, and those that are near one that it has not."""

import pyarrow as pa
import pytest

from crosslens.search.index import stored_ids
from crosslens.search.index.stored_ids import near_ids


class Ids:
    """A store of nothing but ids."""

    def __init__(self, ids):
        self.ids = pa.chunked_array([pa.array(ids, pa.string())])

    def count(self):
        return len(self.ids)

    def column(self, name):
        assert name == "id"
        return self.ids


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("photo/cat/0001.jpeg", "photo/cat/0001.jpg"),
        ("PHOTO/cat/0001.jpg", "photo/cat/0001.jpg"),
        ("0001.jpg", "photo/cat/0001.jpg"),
        ("elsewhere/dogs/rex.png", "a/rex.png"),
        ("photo/cat/zebra", None),
        ("nobody", None),
        ("long/" * 200 + "0001.jpg", None),
    ],
)
def test_the_folder_and_the_file_tell(asked, meant):
    near = near_ids(Ids(["photo/cat/0001.jpg", "photo/cat/2.jpg", "a/rex.png"]), asked)
    assert (f"did you mean '{meant}'" in near) if meant else near == ""


def test_few_of_many_ids_are_compared(monkeypatch):
    compared = []
    near_names = stored_ids.near_names

    def counted(name, known, **options):
        compared.append(len(known))
        return near_names(name, known, **options)

    monkeypatch.setattr(stored_ids, "near_names", counted)
    many = Ids([f"a/{number:06}.jpg" for number in range(20_000)])
    assert "did you mean 'a/012345.jpg'" in near_ids(many, "a/012345.jpeg")
    assert max(compared) <= stored_ids._COMPARED
    monkeypatch.setattr(stored_ids, "_LOOKED_AT", 10)
    assert near_ids(many, "a/012345.jpeg") == ""
