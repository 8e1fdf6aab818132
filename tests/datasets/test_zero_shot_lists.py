import pytest

from crosslens.datasets.zero_shot_lists import read_zero_shot_lists
from crosslens.support.errors import CatalogError

NAMES = {"cname_cid.txt": "wrist-watch 0\nalarm clock 1\n", "cname_cid_zero.txt": "bottle opener 0\n"}


def test_all_parts(tree):
    lists = tree(
        texts={
            **NAMES,
            "png_ready_filelist_train.txt": "png_ready/alarm clock/1.png 1\n",
            "png_ready_filelist_test.txt": "png_ready/wrist-watch/2.png 0\n",
            "png_ready_filelist_zero.txt": "png_ready/bottle opener/3.png 0\n",
            "ImageResized_ready_filelist_zero.txt": "ImageResized_ready/bottle opener/n1.JPEG 0\n",
        }
    )
    catalog = read_zero_shot_lists("/images", lists)
    assert catalog.paths[0].as_posix().startswith("/images/ImageResized_ready")
    rows = set(zip(catalog.column("domain"), catalog.labels, catalog.column("split"), strict=True))
    assert rows == {
        ("photo", "bottle opener", "unseen"),
        ("sketch", "bottle opener", "unseen"),
        ("sketch", "wrist-watch", "validation"),
        ("sketch", "alarm clock", "train"),
    }


def test_bad_lists(tree, tmp_path):
    with pytest.raises(CatalogError, match="is not a folder"):
        read_zero_shot_lists(tmp_path, tmp_path / "nowhere")
    with pytest.raises(CatalogError, match=r"holds no list such as sketch_train.txt"):
        read_zero_shot_lists(tmp_path, tree(texts=NAMES, root="names only"))
    with pytest.raises(CatalogError, match="label 1 has no class name"):
        read_zero_shot_lists(tmp_path, tree(texts={**NAMES, "all_photo_zero.txt": "images/bat/1.jpg 1\n"}))
    with pytest.raises(CatalogError, match=r"cname_cid.txt cannot be read"):
        read_zero_shot_lists(tmp_path, tree(texts={"sketch_train.txt": "sketches/bat/1.png 1\n"}, root="nameless"))
