import pytest

from crosslens.datasets.quickdraw import QUICKDRAW


@pytest.mark.parametrize(
    "paths",
    [
        ("sketches/palm tree/1.png", "images/palm tree/1.jpg"),
        ("QuickDraw_sketches_final/palm_tree/1.png", "QuickDraw_images_final/palm_tree/1.jpg"),
    ],
)
def test_layouts(tree, paths):
    catalog = QUICKDRAW.read(tree(*paths))
    assert catalog.column("domain") == ["sketch", "photo"]
    assert catalog.classes == ["palm tree"]
