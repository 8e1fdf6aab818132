import pytest

from crosslens.datasets.office_home import OFFICE_HOME

DOMAINS = ["art", "clipart", "product", "real_world"]


@pytest.mark.parametrize("wrap", ["", "OfficeHomeDataset_10072016/"])
@pytest.mark.parametrize("real", ["Real World", "Real_World", "RealWorld"])
@pytest.mark.parametrize("train", ["", "train/"])
def test_layouts(tree, wrap, real, train):
    domains = ("Art", "Clipart", "Product", real)
    root = tree(*(f"{wrap}{domain}/{train}Alarm_Clock/00001.jpg" for domain in domains))
    catalog = OFFICE_HOME.read(root)
    assert catalog.domains == DOMAINS
    assert set(catalog.labels) == {"Alarm_Clock"}
    assert set(catalog.column("split")) == {"train" if train else None}
    assert all(path.is_file() for path in catalog.paths)
    assert catalog.notes == ()


def test_a_class_that_is_not_in_the_list_keeps_its_name(tree):
    catalog = OFFICE_HOME.read(tree("Art/Alarm Clock/1.jpg", "Art/Unicorn/1.jpg"))
    assert catalog.labels == ["Alarm_Clock", "Unicorn"]
