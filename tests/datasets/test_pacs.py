import pytest

from crosslens.datasets.check import check
from crosslens.datasets.pacs import PACS
from crosslens.support.errors import CatalogError


@pytest.mark.parametrize("wrap", ["", "kfold/"])
def test_layouts(tree, wrap):
    catalog = PACS.read(tree(*(f"{wrap}{domain}/dog/pic_001.jpg" for domain in PACS.domains)))
    assert tuple(catalog.domains) == PACS.domains
    assert catalog.column("split") == [None] * 4


@pytest.mark.parametrize(
    ("train", "val", "folder"),
    [
        ("train_kfold", "crossval_kfold", "Train val splits/"),
        ("train", "val", "image_list/"),
        ("train", "val", ""),
    ],
)
def test_splits_come_from_the_lists(tree, train, val, folder):
    root = tree(
        "kfold/photo/dog/1.jpg",
        "kfold/photo/dog/2.jpg",
        "kfold/photo/person/1.jpg",
        texts={
            f"{folder}photo_{train}.txt": "photo/dog/1.jpg 1\n",
            f"{folder}photo_{val}.txt": "photo/person/1.jpg 7\n",
        },
    )
    assert PACS.read(root).column("split") == ["train", None, "val"]


def test_lists_that_count_from_zero_are_refused(tree):
    lists = {"photo_train.txt": "photo/elephant/1.jpg 1\n"}
    with pytest.raises(CatalogError, match=r"photo/elephant/1.jpg has the number of dog, counted from 1"):
        PACS.read(tree("photo/elephant/1.jpg", texts=lists))
    lists = {"photo_train.txt": "photo/dog/1.jpg 0\n"}
    with pytest.raises(CatalogError, match=r"label 0 has no class name \(known: 1 to 7\)"):
        PACS.read(tree("photo/dog/1.jpg", texts=lists))


@pytest.mark.pacs
def test_the_real_images(pacs_root):
    catalog = PACS.read(pacs_root)
    assert tuple(catalog.domains) == PACS.domains
    assert tuple(catalog.classes) == PACS.classes
    assert set(catalog.labels) == set(PACS.classes)
    report = check(catalog, "pacs")
    assert report.images == len(catalog)
    different = {domain: sum(row.values()) for domain, row in report.counts.items()} != {
        domain: count.images for domain, count in PACS.counts.items()
    }
    assert report.ok != different
    if different:
        assert {problem.kind for problem in report.problems if problem.severity == "error"} == {"count"}
