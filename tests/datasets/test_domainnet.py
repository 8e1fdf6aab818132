import pytest

from crosslens.datasets.domainnet import DOMAINNET, DOMAINNET_7
from crosslens.support.errors import CatalogError


def test_folders(tree):
    catalog = DOMAINNET.read(
        tree("clipart/hot_air_balloon/1.jpg", "clipart/train/1.jpg", "sketch/The_Eiffel_Tower/1.jpg")
    )
    assert catalog.labels == ["hot_air_balloon", "train", "The_Eiffel_Tower"]
    assert catalog.column("split") == [None] * 3


@pytest.mark.parametrize("folder", ["", "splits/"])
def test_lists_choose_the_cleaned_images(tree, folder):
    root = tree(
        "clipart/bird/1.jpg",
        "clipart/bird/2.jpg",
        "clipart/bird/3.jpg",
        "real/bird/1.jpg",
        texts={
            f"{folder}clipart_train.txt": "clipart/bird/3.jpg 23\n",
            f"{folder}clipart_test.txt": "clipart/bird/1.jpg 23\n",
        },
    )
    catalog = DOMAINNET.read(root)
    assert catalog.column("path") == ["clipart/bird/3.jpg", "clipart/bird/1.jpg", "real/bird/1.jpg"]
    assert catalog.column("split") == ["train", "test", None]
    assert "the images of clipart are those of its list files" in catalog.notes


def test_cleaned_archives_below_groundtruth_win(tree):
    root = tree("clipart/bird/old.jpg", "groundtruth/clipart/bird/new.jpg", "real/bird/1.jpg")
    catalog = DOMAINNET.read(root)
    assert catalog.column("path") == ["groundtruth/clipart/bird/new.jpg", "real/bird/1.jpg"]
    assert all(path.is_file() for path in catalog.paths)


def test_the_seven_classes_of_ucdir(tree):
    seven = [f"clipart/{name}/1.jpg" for name in DOMAINNET_7.classes]
    catalog = DOMAINNET_7.read(tree(*seven, "clipart/shark/1.jpg"))
    assert tuple(catalog.classes) == DOMAINNET_7.classes
    with pytest.raises(CatalogError, match=r"no image has the label .*whale"):
        DOMAINNET_7.read(tree("real/bird/1.jpg", root="other"))
