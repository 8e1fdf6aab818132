"""Folders that are no looks."""

import pytest

from crosslens.data.plain_folders import doubt_of_looks


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["2019", "2020", "2021", "2022", "others"], "folder-names"),
        (["2020-05", "2020-06-01", "20200702", "2021_07", "2022-08-01 Rome"], "folder-names"),
        (["100APPLE", "101MSDCF", "102_PANA"], "folder-names"),
        (["DCIM"], "folder-names"),
        (["Camera Roll", "2019"], "folder-names"),
        (["photo", "sketch"], None),
        (["photo", "2019"], None),
        (["120px", "1984px", "224x1024", "10000000", "2000s art"], None),
    ],
)
def test_names(names, kind):
    doubt = doubt_of_looks({name: {"": 3} for name in names})
    assert (doubt and doubt.kind) == kind


def test_classes():
    assert doubt_of_looks({"paris": {"louvre": 1}, "rome": {"forum": 2}}).kind == "no-common-class"
    assert doubt_of_looks({"photo": {"cat": 1, "dog": 1}, "sketch": {"cat": 2}}) is None
    assert doubt_of_looks({"photo": {"cat": 1}, "sketch": {"": 2}}) is None
