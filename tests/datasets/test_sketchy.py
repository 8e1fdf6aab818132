import pytest

from crosslens.datasets.sketchy import SKETCHY, SKETCHY_ALL, read
from crosslens.support.errors import CatalogError

OFFICIAL = (
    "256x256/sketch/tx_000000000000/hot-air_balloon/n02782093_1-1.png",
    "256x256/sketch/tx_000100000000/hot-air_balloon/n02782093_1-1.png",
    "256x256/photo/tx_000000000000/hot-air_balloon/n02782093_1.jpg",
    "256x256/photo/tx_000100000000/hot-air_balloon/n02782093_1.jpg",
    "EXTEND_image_sketchy/hot-air_balloon/n02782093_1.jpg",
    "EXTEND_image_sketchy/hot-air_balloon/ext_1.jpg",
)
FLAT = ("sketch/hot_air_balloon/1.png", "photo/hot_air_balloon/1.jpg", "extended_photo/hot_air_balloon/1.jpg")


def test_extended_photos_each_once(tree):
    root = tree(*OFFICIAL)
    catalog = SKETCHY.read(root.parent)
    assert catalog.column("path") == [OFFICIAL[0], OFFICIAL[5], OFFICIAL[4]]
    assert catalog.column("domain") == ["sketch", "photo", "photo"]
    assert set(catalog.labels) == {"hot-air_balloon"}


def test_other_choices_of_photos(tree):
    root = tree(*OFFICIAL)
    assert SKETCHY_ALL.read(root).column("path")[1:] == [OFFICIAL[2], OFFICIAL[5], OFFICIAL[4]]
    assert read(root, photos="original").column("path") == [OFFICIAL[0], OFFICIAL[2]]
    with pytest.raises(CatalogError, match="photos is 'both'; choose one of extended, original, all"):
        read(root, photos="both")


@pytest.mark.parametrize(
    "paths",
    [FLAT, [path.replace("000/", "000_ready/").replace("sketchy/", "sketchy_ready/") for path in OFFICIAL]],
)
def test_layouts_of_other_codes(tree, paths):
    catalog = SKETCHY_ALL.read(tree(*paths))
    assert set(catalog.labels) == {"hot-air_balloon"}
    assert catalog.domains == ["photo", "sketch"]


def test_missing_parts_are_named(tree):
    with pytest.raises(CatalogError, match="none of the folders EXTEND_image_sketchy"):
        SKETCHY.read(tree(*OFFICIAL[:4]))
    centred = tree(OFFICIAL[1], OFFICIAL[5], root="centred")
    with pytest.raises(CatalogError, match="holds only tx_000100000000; the protocols use tx_000000000000"):
        SKETCHY.read(centred)
