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


ARCHIVE = {
    "chandelier": "chandeler",
    "diamond": "diamod",
    "giraffe": "griaffe",
    "mouse (animal)": "mouse",
    "pipe (for smoking)": "pipe",
    "space shuttle": "spacesshuttle",
    "spider": "spidar",
    "trombone": "tromobone",
    "wrist-watch": "wristwatching",
    "computer-mouse": "computermouse",
    "bear (animal)": "bearanimal",
    "t-shirt": "tshirt",
    "flower with stem": "flowerwithstem",
}


def test_the_archives_spell_all_250_classes_alike(tree):
    paths = []
    for name in TU_BERLIN.classes:
        photos = ARCHIVE.get(name, name.replace(" ", "").replace("-", "").replace("(", "").replace(")", ""))
        paths += [f"png/{name}/1.png", f"ImageResized/{photos}/1.JPEG"]
    catalog = TU_BERLIN.read(tree(*paths))
    sides = [catalog.select(domains=[domain]).classes for domain in ("sketch", "photo")]
    assert sides[0] == sides[1] == sorted(TU_BERLIN.classes)
