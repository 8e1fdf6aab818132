import pytest

from crosslens.datasets.tu_berlin import TU_BERLIN


@pytest.mark.parametrize(
    "paths",
    [
        ("TUBerlin/png_ready/bottle opener/1.png", "TUBerlin/ImageResized_ready/bottle opener/n1.JPEG"),
        ("sketches/bottle_opener/1.png", "images/bottle_opener/1.jpg"),
    ],
)
def test_layouts(tree, paths):
    catalog = TU_BERLIN.read(tree(*paths))
    assert catalog.column("domain") == ["sketch", "photo"]
    assert catalog.classes == ["bottle opener"]
    assert all(path.is_file() for path in catalog.paths)


def test_a_class_called_train_is_a_class(tree):
    assert TU_BERLIN.read(tree("png_ready/train/1.png")).labels == ["train"]
