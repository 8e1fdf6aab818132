import pytest

from crosslens.datasets import find_benchmark
from crosslens.datasets.layout import Spelling, class_rows, find_domains, find_file, key
from crosslens.support.errors import CatalogError


@pytest.mark.parametrize(
    "spellings",
    [
        ("hot-air_balloon", "hot_air_balloon", "hot air balloon"),
        ("jack-o-lantern", "jack_o_lantern"),
        ("Real World", "Real_World", "RealWorld"),
        ("back_pack", "backpack"),
        ("mouse (animal)", "mouse_(animal)", "mouse_animal"),
        ("t-shirt", "t_shirt", "T-Shirt"),
    ],
)
def test_spellings_of_one_name(spellings):
    assert len({key(name) for name in spellings}) == 1
    assert {Spelling([spellings[0]])(name) for name in spellings} == {spellings[0]}


def test_unknown_names_stay_and_aliases_lead_elsewhere():
    spelling = Spelling(["photo"], {"images": "photo"})
    assert (spelling("Images"), spelling("PHOTO"), spelling("Clip Art")) == ("photo", "photo", "Clip Art")
    assert "images" in spelling
    assert "Clip Art" not in spelling


def test_the_fullest_folder_of_the_shallowest_level_wins(tree):
    root = tree("a/photo/x/1.jpg", "b/photo/x/1.jpg", "b/sketch/x/1.jpg", "c/d/photo/x/1.jpg")
    found = find_domains(root, Spelling(["photo", "sketch"]), ["sketch", "photo"], "a layout")
    assert found.base == root / "b"
    assert list(found.folders) == ["sketch", "photo"]


def test_too_deep_or_twice(tree):
    domains = Spelling(["Real World"])
    with pytest.raises(CatalogError, match=r"none of the domains Real World was found .* expected a layout"):
        find_domains(tree("a/b/c/Real World/x/1.jpg", root="deep"), domains, ["Real World"], "a layout")
    with pytest.raises(
        CatalogError, match=r"holds both 'Real World' and 'Real_World'|'Real_World' and 'Real World'"
    ):
        find_domains(tree("Real World/x/1.jpg", "Real_World/x/2.jpg"), domains, ["Real World"], "a layout")


def test_wrappers_are_stepped_over_unless_they_are_classes(tree):
    root = tree("photo/train/cat/1.jpg", "photo/images/dog/1.jpg", "photo/2.jpg")
    notes = []
    rows = list(class_rows(root, "photo", "photo", Spelling(["cat", "dog"]), notes))
    assert [(row["label"], row["split"]) for row in rows] == [(None, None), ("dog", None), ("cat", "train")]
    assert notes == [f"1 image(s) in {root / 'photo'} lie in no class folder and have no label"]
    rows = list(class_rows(root, "photo", "photo", Spelling(["cat", "train"]), []))
    assert [row["label"] for row in rows] == [None, "dog", "train"]


@pytest.mark.parametrize(
    ("above", "split"),
    [
        ("training/", "train"),
        ("crossval/", "val"),
        ("Validation/", "val"),
        ("testing/images/", "test"),
        ("photo/photo/", None),
        ("tx_000000000000/", None),
        ("kfold/part 1/train/", "train"),
    ],
)
def test_the_class_is_the_folder_called_as_one_whatever_lies_above_it(tree, above, split):
    root = tree(f"photo/{above}Cat/1.jpg", f"photo/{above}cat/deeper/2.jpg", f"photo/{above}dog/3.jpg")
    rows = list(class_rows(root, "photo", "photo", Spelling(["cat", "dog"]), []))
    assert sorted((row["label"], row["split"]) for row in rows) == [("cat", split), ("cat", split), ("dog", split)]


def test_links_to_themselves_do_not_stop_the_search(tree):
    root = tree("wrap/photo/x/1.jpg", texts={"wrap/list.txt": ""})
    (root / "self").symlink_to("self")
    assert find_domains(root, Spelling(["photo"]), ["photo"], "").base == root / "wrap"
    assert find_file(root, root, "list.txt") == root / "wrap" / "list.txt"
    assert find_file(root, root, "other.txt") is None


@pytest.mark.parametrize(
    ("benchmark", "folders"),
    [
        ("office-home", ("Art", "Clipart", "Product", "Real")),
        ("office-home", ("art", "Clip Art", "PRODUCT", "Real_World")),
        ("pacs", ("art", "cartoon", "photo", "sketch")),
        ("office-31", ("Amazon", "DSLR", "Webcam")),
    ],
)
def test_every_domain_is_read_whatever_its_archive_calls_it(tree, benchmark, folders):
    found = find_benchmark(benchmark)
    catalog = found.read(tree(*(f"{folder}/{found.classes[0]}/1.jpg" for folder in folders)))
    assert catalog.domains == sorted(found.domains)
    assert catalog.classes == [found.classes[0]]
    assert catalog.notes == ()


def test_a_folder_in_a_folder_of_its_name_is_stepped_into(tree):
    domainnet = find_benchmark("domainnet")
    catalog = domainnet.read(tree("clipart/clipart/apple/1.jpg", "real/real/apple/1.jpg", "sketch/apple/1.jpg"))
    assert catalog.classes == ["apple"]
    assert catalog.domains == ["clipart", "real", "sketch"]
    assert all(path.is_file() for path in catalog.paths)


def test_domains_in_two_places_are_not_half_of_them_read(tree):
    office = find_benchmark("office-home")
    halves = [f"{part}/{domain}/Bike/1.jpg" for part in ("train", "test") for domain in ("Art", "Clipart")]
    with pytest.raises(CatalogError, match=r"test holds art, clipart, and .*train art, clipart; give one"):
        office.read(tree(*halves))
    with pytest.raises(CatalogError, match=r"train holds art, clipart, and .*test art; give one of the two"):
        office.read(tree(*halves[:3], root="uneven"))


def test_a_domain_without_a_folder_is_noted_with_what_was_not_read(tree):
    (note,) = (
        find_benchmark("office-31").read(tree("amazon/bike/1.jpg", "dslr/bike/1.jpg", "web/bike/1.jpg")).notes
    )
    assert "no folder of the domain webcam" in note
    assert "none of its domains: web" in note


def test_a_domain_in_two_places_is_not_told_as_none_of_the_domains(tree):
    root = tree("clipart/cat/1.jpg", "real/cat/1.jpg", "groundtruth/clipart/clipart/cat/2.jpg", "extra/cat/1.jpg")
    catalog = find_benchmark("domainnet").read(root)
    assert catalog.counts() == {"clipart": {"cat": 1}, "real": {"cat": 1}}
    (note,) = [note for note in catalog.notes if "no folder" in note]
    assert note == (
        f"{root} has no folder of the domains infograph, painting, quickdraw, sketch; folders that are none of its"
        " domains: extra"
    )
